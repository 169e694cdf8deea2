
/*
 * Copyright (C) nginx-cycles authors
 */


#include "ngx_http_cycles_text.h"
#include "../cycles.h"


#define NGX_HTTP_CYCLES_TEXT_SIZE  65536


void
ngx_http_cycles_text_init(ngx_http_cycles_text_t *text, ngx_pool_t *pool)
{
    ngx_memzero(text, sizeof(ngx_http_cycles_text_t));

    text->pool = pool;
    text->next = &text->chain;
}


u_char *
ngx_http_cycles_text_room(ngx_http_cycles_text_t *text, size_t size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (text->buf && (size_t) (text->buf->end - text->buf->last) >= size) {
        return text->buf->last;
    }

    b = ngx_create_temp_buf(text->pool,
                            ngx_max(size, NGX_HTTP_CYCLES_TEXT_SIZE));
    cl = ngx_alloc_chain_link(text->pool);

    if (b == NULL || cl == NULL) {
        text->failed = 1;
        return NULL;
    }

    cl->buf = b;
    cl->next = NULL;

    *text->next = cl;
    text->next = &cl->next;
    text->buf = b;

    return b->last;
}


void
ngx_http_cycles_text_wrote(ngx_http_cycles_text_t *text, u_char *end)
{
    text->len += end - text->buf->last;
    text->buf->last = end;
}


void
ngx_http_cycles_text_add(ngx_http_cycles_text_t *text, const char *s)
{
    u_char  *p;
    size_t   len;

    len = ngx_strlen(s);
    p = ngx_http_cycles_text_room(text, len);

    if (p) {
        ngx_http_cycles_text_wrote(text, ngx_cpymem(p, s, len));
    }
}


u_char *
ngx_http_cycles_quoted(u_char *p, u_char *s, size_t n)
{
    size_t  i, len;

    for (i = 0; i < n; i += len) {
        len = 1;

        if (s[i] == '"' || s[i] == '\\') {
            *p++ = '\\';
            *p++ = s[i];
            continue;
        }

        if (s[i] >= 0x80) {
            len = cycles_utf8_char(s + i, n - i);

        } else if (s[i] < 0x20 || s[i] == 0x7f) {
            len = 0;
        }

        if (len) {
            p = ngx_cpymem(p, s + i, len);

        } else {
            p = ngx_cpymem(p, "\xef\xbf\xbd", 3);
            len = 1;
        }
    }

    return p;
}


u_char *
ngx_http_cycles_print(u_char *p, uint64_t number)
{
    u_char  *d, digits[NGX_INT64_LEN];

    d = digits + NGX_INT64_LEN;

    do {
        *--d = (u_char) ('0' + number % 10);
        number /= 10;
    } while (number);

    return ngx_cpymem(p, d, digits + NGX_INT64_LEN - d);
}


u_char *
ngx_http_cycles_print_decimals(u_char *p, uint64_t number,
    ngx_uint_t decimals)
{
    uint64_t    one, part;
    ngx_uint_t  i;

    for (one = 1, i = 0; i < decimals; i++) {
        one *= 10;
    }

    p = ngx_http_cycles_print(p, number / one);

    part = number % one;

    if (part) {
        *p++ = '.';
    }

    while (part) {
        one /= 10;
        *p++ = (u_char) ('0' + part / one);
        part %= one;
    }

    return p;
}
