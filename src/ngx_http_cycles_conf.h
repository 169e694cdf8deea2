
/*
 * Copyright (C) nginx-cycles authors
 *
 * Values of directives, for all parts of the module that have some.
 */


#ifndef _NGX_HTTP_CYCLES_CONF_H_INCLUDED_
#define _NGX_HTTP_CYCLES_CONF_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* each says itself what went wrong */

ngx_int_t ngx_http_cycles_complex_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *cv);

/* "file:PATH", whose content is the value, or a value with variables */

ngx_int_t ngx_http_cycles_secret_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *cv);

/* a whole file in cf->temp_pool */

ngx_int_t ngx_http_cycles_read_file(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *text);


#endif /* _NGX_HTTP_CYCLES_CONF_H_INCLUDED_ */
