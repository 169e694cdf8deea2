
/*
 * Copyright (C) nginx-cycles authors
 *
 * Text that grows in memory buffers of a pool.
 */


#ifndef _NGX_HTTP_CYCLES_TEXT_H_INCLUDED_
#define _NGX_HTTP_CYCLES_TEXT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    ngx_pool_t          *pool;
    ngx_chain_t         *chain;
    ngx_chain_t        **next;
    ngx_buf_t           *buf;
    size_t               len;
    unsigned             failed:1;       /* no memory: the text is useless */
} ngx_http_cycles_text_t;


void ngx_http_cycles_text_init(ngx_http_cycles_text_t *text,
    ngx_pool_t *pool);

/* room for so many bytes, or NULL; what was written then ends at "end" */

u_char *ngx_http_cycles_text_room(ngx_http_cycles_text_t *text, size_t size);
void ngx_http_cycles_text_wrote(ngx_http_cycles_text_t *text, u_char *end);

void ngx_http_cycles_text_add(ngx_http_cycles_text_t *text, const char *s);

/*
 * What may stand in quotes both in JSON and in a label of Prometheus: quotes
 * and backslashes escaped, controls and what is no UTF-8 replaced by U+FFFD.
 */

#define ngx_http_cycles_quoted_size(n)  (3 * (n))

u_char *ngx_http_cycles_quoted(u_char *p, u_char *s, size_t n);

/* a number, and one of so many decimals, without "%" to be read for it */

u_char *ngx_http_cycles_print(u_char *p, uint64_t number);
u_char *ngx_http_cycles_print_decimals(u_char *p, uint64_t number,
    ngx_uint_t decimals);


#endif /* _NGX_HTTP_CYCLES_TEXT_H_INCLUDED_ */
