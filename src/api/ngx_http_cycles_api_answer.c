
/*
 * Copyright (C) nginx-cycles authors
 *
 * What every answer of the API has: its ids, its headers, one JSON object.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/rand.h>

#include "ngx_http_cycles_api.h"


static ngx_uint_t ngx_http_cycles_api_hex_ok(u_char *p, size_t len);
static ngx_uint_t ngx_http_cycles_api_traceparent_ok(ngx_str_t *value);
static ngx_int_t ngx_http_cycles_api_add_headers(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_add_limit(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_api_add_header(ngx_http_request_t *r,
    char *name, u_char *value, size_t len);
static void ngx_http_cycles_api_write_error(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


/*
 * The trace: the one of "traceparent", else of "X-Cycles-Trace-Id", else a
 * new one.  What is malformed is as good as absent, never an error.
 */

ngx_int_t
ngx_http_cycles_api_identify(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    u_char      bytes[CYCLES_API_TRACE_LEN / 2];
    ngx_str_t  *value;

    if (cycles_uuid(ctx->request_id) != 0) {
        return NGX_ERROR;
    }

    value = ngx_http_cycles_api_header(r, "traceparent");

    if (value && ngx_http_cycles_api_traceparent_ok(value)) {
        ngx_memcpy(ctx->trace_id, value->data + 3, CYCLES_API_TRACE_LEN);
        return NGX_OK;
    }

    value = ngx_http_cycles_api_header(r, "X-Cycles-Trace-Id");

    if (value && value->len == CYCLES_API_TRACE_LEN
        && ngx_http_cycles_api_hex_ok(value->data, value->len))
    {
        ngx_memcpy(ctx->trace_id, value->data, CYCLES_API_TRACE_LEN);
        return NGX_OK;
    }

    do {
        if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
            return NGX_ERROR;
        }

        ngx_hex_dump(ctx->trace_id, bytes, sizeof(bytes));

    } while (!ngx_http_cycles_api_hex_ok(ctx->trace_id,
                                         CYCLES_API_TRACE_LEN));

    return NGX_OK;
}


/* lower case, and not all zero */

static ngx_uint_t
ngx_http_cycles_api_hex_ok(u_char *p, size_t len)
{
    ngx_uint_t  any;

    for (any = 0; len; len--, p++) {

        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'))) {
            return 0;
        }

        any |= (*p != '0');
    }

    return any;
}


/* version 00 of W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex> */

static ngx_uint_t
ngx_http_cycles_api_traceparent_ok(ngx_str_t *value)
{
    u_char  *p, flags[3];

    p = value->data;

    if (value->len != 55 || ngx_strncmp(p, "00-", 3) != 0 || p[35] != '-'
        || p[52] != '-')
    {
        return 0;
    }

    /* flags may be zero */

    flags[0] = '1';
    flags[1] = p[53];
    flags[2] = p[54];

    return ngx_http_cycles_api_hex_ok(p + 3, 32)
           && ngx_http_cycles_api_hex_ok(p + 36, 16)
           && ngx_http_cycles_api_hex_ok(flags, 3);
}


ngx_str_t *
ngx_http_cycles_api_header(ngx_http_request_t *r, char *name)
{
    size_t            len;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    len = ngx_strlen(name);
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {

            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == len
            && ngx_strncasecmp(h[i].key.data, (u_char *) name, len) == 0)
        {
            return &h[i].value;
        }
    }
}


ngx_int_t
ngx_http_cycles_api_send(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t status,
    ngx_http_cycles_api_write_pt write)
{
    ngx_int_t      rc;
    ngx_buf_t     *b;
    ngx_chain_t    out;
    cycles_json_t  js;

    /* what was not read would be taken for the next request */

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    cycles_json_init(&js, NULL, 0);
    write(&js, ctx);

    b = ngx_create_temp_buf(r->pool, js.len);
    if (b == NULL) {
        return NGX_ERROR;
    }

    cycles_json_init(&js, b->pos, b->end - b->pos);
    write(&js, ctx);

    b->last = b->pos + js.len;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    if (ngx_http_cycles_api_add_headers(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.status = status;
    r->headers_out.content_length_n = js.len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_cycles_api_add_headers(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    if (ngx_http_cycles_api_add_header(r, "X-Request-Id", ctx->request_id,
                                       CYCLES_UUID_LEN)
        != NGX_OK
        || ngx_http_cycles_api_add_header(r, "X-Cycles-Trace-Id",
                                          ctx->trace_id, CYCLES_API_TRACE_LEN)
           != NGX_OK
        || ngx_http_cycles_api_add_header(r, "X-Cycles-Tenant",
                                          ctx->who.tenant,
                                          ctx->who.tenant_len)
           != NGX_OK
        || ngx_http_cycles_api_add_header(r, "Cache-Control",
                                          (u_char *) "no-store", 8)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->error.code == CYCLES_LIMIT_EXCEEDED) {
        return ngx_http_cycles_api_add_limit(r);
    }

    if (ctx->allow == NULL) {
        return NGX_OK;
    }

    return ngx_http_cycles_api_add_header(r, "Allow", (u_char *) ctx->allow,
                                          ngx_strlen(ctx->allow));
}


/* nginx does not tell when its limit lets a request pass again */

static ngx_int_t
ngx_http_cycles_api_add_limit(ngx_http_request_t *r)
{
    u_char  *p, *last;

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(p, "%T", ngx_time() + 1);

    if (ngx_http_cycles_api_add_header(r, "X-RateLimit-Reset", p, last - p)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_add_header(r, "Retry-After", (u_char *) "1",
                                          1);
}


/* the value is not copied */

static ngx_int_t
ngx_http_cycles_api_add_header(ngx_http_request_t *r, char *name,
    u_char *value, size_t len)
{
    ngx_table_elt_t  *h;

    if (len == 0) {
        return NGX_OK;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.len = ngx_strlen(name);
    h->key.data = (u_char *) name;
    h->value.len = len;
    h->value.data = value;

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_api_send_error(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t status)
{
    if (!ctx->admin_plane) {
        ctx->error.code = cycles_api_runtime_code(ctx->error.code);
    }

    ctx->error.request_id.len = CYCLES_UUID_LEN;
    ctx->error.request_id.data = ctx->request_id;
    ctx->error.trace_id.len = CYCLES_API_TRACE_LEN;
    ctx->error.trace_id.data = ctx->trace_id;

    return ngx_http_cycles_api_send(r, ctx, status,
                                    ngx_http_cycles_api_write_error);
}


static void
ngx_http_cycles_api_write_error(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_api_write_error(js, &ctx->error);
}


ngx_int_t
ngx_http_cycles_api_fail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code, char *text)
{
    cycles_api_error_init(&ctx->error, code, "%s", text);

    return ngx_http_cycles_api_send_error(r, ctx, cycles_api_status(code));
}
