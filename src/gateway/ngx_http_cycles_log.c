
/*
 * Copyright (C) nginx-cycles authors
 *
 * Whoever writes to the error log for a request, be it nginx itself, also says
 * which reservation, request and trace it was.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static u_char *ngx_http_cycles_log_handler(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);
static u_char *ngx_http_cycles_log_value(u_char *p, u_char *last,
    const char *name, ngx_str_t *value);


void
ngx_http_cycles_log_ids(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ctx->log_handler = r->log_handler;
    r->log_handler = ngx_http_cycles_log_handler;
}


/* a request that we have no context of has not been given this handler */

static u_char *
ngx_http_cycles_log_handler(ngx_http_request_t *r, ngx_http_request_t *sr,
    u_char *buf, size_t len)
{
    u_char                 *p, *last;
    ngx_http_cycles_ctx_t  *ctx;

    ctx = ngx_http_cycles_find_ctx(r);

    if (ctx == NULL) {
        return buf;
    }

    p = ctx->log_handler(r, sr, buf, len);
    last = buf + len;

    p = ngx_http_cycles_log_value(p, last, "reservation",
                                  &ctx->reservation_id);
    p = ngx_http_cycles_log_value(p, last, "cycles request",
                                  &ctx->request_id);
    p = ngx_http_cycles_log_value(p, last, "trace", &ctx->trace_id);

    return p;
}


static u_char *
ngx_http_cycles_log_value(u_char *p, u_char *last, const char *name,
    ngx_str_t *value)
{
    if (value->len == 0) {
        return p;
    }

    return ngx_slprintf(p, last, ", %s: \"%V\"", name, value);
}
