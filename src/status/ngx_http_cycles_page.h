
/*
 * Copyright (C) nginx-cycles authors
 *
 * The page of "cycles_status".
 */


#ifndef _NGX_HTTP_CYCLES_PAGE_H_INCLUDED_
#define _NGX_HTTP_CYCLES_PAGE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


void ngx_http_cycles_page(ngx_str_t *page);

/* its Content-Security-Policy */

ngx_int_t ngx_http_cycles_page_policy(ngx_pool_t *pool, ngx_str_t *policy);


#endif /* _NGX_HTTP_CYCLES_PAGE_H_INCLUDED_ */
