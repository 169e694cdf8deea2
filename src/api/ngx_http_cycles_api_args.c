
/*
 * Copyright (C) nginx-cycles authors
 *
 * The query parameters of the API.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api.h"


ngx_int_t
ngx_http_cycles_api_arg(ngx_http_request_t *r, char *name, ngx_str_t *value)
{
    u_char     *src, *dst;
    size_t      i;
    ngx_str_t   raw;

    ngx_str_null(value);

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &raw) != NGX_OK
        || raw.len == 0)
    {
        return NGX_OK;
    }

    src = ngx_pnalloc(r->pool, 2 * raw.len);
    if (src == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < raw.len; i++) {
        src[i] = (raw.data[i] == '+') ? ' ' : raw.data[i];
    }

    value->data = src + raw.len;
    dst = value->data;

    ngx_unescape_uri(&dst, &src, raw.len, 0);

    value->len = dst - value->data;

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_api_str_arg(ngx_http_request_t *r, char *name,
    cycles_str_t *value)
{
    ngx_str_t  arg;

    if (ngx_http_cycles_api_arg(r, name, &arg) != NGX_OK) {
        return NGX_ERROR;
    }

    *value = ngx_http_cycles_api_str(arg.data, arg.len);

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_api_limit_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t max, unsigned *limit)
{
    u_char     text[sizeof("a number from 1 to ") + NGX_INT_T_LEN];
    ngx_int_t  n;
    ngx_str_t  arg;

    if (ngx_http_cycles_api_arg(r, "limit", &arg) != NGX_OK) {
        return NGX_ERROR;
    }

    *limit = NGX_HTTP_CYCLES_API_PAGE;

    if (arg.len == 0) {
        return NGX_DECLINED;
    }

    n = ngx_atoi(arg.data, arg.len);

    if (n < 1 || n > (ngx_int_t) max) {
        *ngx_sprintf(text, "a number from 1 to %ui", max) = '\0';
        return ngx_http_cycles_api_bad_arg(r, ctx, "limit", (char *) text);
    }

    *limit = n;

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_cycles_api_flag_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, int *flag)
{
    ngx_str_t  arg;

    if (ngx_http_cycles_api_arg(r, name, &arg) != NGX_OK) {
        return NGX_ERROR;
    }

    if (arg.len == 0) {
        return NGX_DECLINED;
    }

    *flag = (arg.len == 4 && ngx_strncmp(arg.data, "true", 4) == 0);

    if (!*flag && !(arg.len == 5 && ngx_strncmp(arg.data, "false", 5) == 0)) {
        return ngx_http_cycles_api_bad_arg(r, ctx, name, "true or false");
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_cycles_api_ascending_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, unsigned *ascending)
{
    ngx_str_t  arg;

    if (ngx_http_cycles_api_arg(r, "sort_dir", &arg) != NGX_OK) {
        return NGX_ERROR;
    }

    *ascending = (arg.len == 3 && ngx_strncmp(arg.data, "asc", 3) == 0);

    if (arg.len && !*ascending
        && !(arg.len == 4 && ngx_strncmp(arg.data, "desc", 4) == 0))
    {
        return ngx_http_cycles_api_bad_arg(r, ctx, "sort_dir", "asc or desc");
    }

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_cycles_api_bad_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, char *what)
{
    cycles_api_error_init(&ctx->error, CYCLES_INVALID_REQUEST,
                          "\"%s\" must be %s", name, what);

    return ngx_http_cycles_api_send_error(r, ctx, NGX_HTTP_BAD_REQUEST);
}
