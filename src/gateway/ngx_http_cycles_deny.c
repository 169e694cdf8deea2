
/*
 * Copyright (C) nginx-cycles authors
 *
 * Denials in the dialect of the client, so that its SDK raises its own error
 * and, where waiting can't help, does not try again.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"
#include "../cycles_json.h"


#define NGX_HTTP_CYCLES_RETRY_SOON     1
#define NGX_HTTP_CYCLES_RETRY_OUTAGE   5


typedef struct {
    ngx_uint_t               status;
    const char              *type;
    const char              *code;
    ngx_str_t                message;
    ngx_int_t                retry_after;     /* seconds, -1: not sent */
    ngx_uint_t               no_retry;        /* unsigned  no_retry:1; */
    ngx_uint_t               amounts;         /* unsigned  amounts:1; */
} ngx_http_cycles_refusal_t;


static ngx_int_t ngx_http_cycles_refuse(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal);
static ngx_int_t ngx_http_cycles_refuse_headers(ngx_http_request_t *r,
    ngx_http_cycles_refusal_t *refusal);
static void ngx_http_cycles_refuse_body(cycles_json_t *js,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal);
static ngx_int_t ngx_http_cycles_denial_message(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal);
static ngx_uint_t ngx_http_cycles_denial_status(ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_until_reset(ngx_http_cycles_ctx_t *ctx);


ngx_uint_t
ngx_http_cycles_transient(ngx_http_cycles_ctx_t *ctx)
{
    cycles_denial_t  *denial;

    if (ctx->code == CYCLES_LIMIT_EXCEEDED) {
        return 1;
    }

    denial = ctx->denial;

    if (ctx->code != CYCLES_BUDGET_EXCEEDED || denial == NULL
        || denial->held <= 0)
    {
        return 0;
    }

    /* subtracted so that nothing overflows: held is positive */

    return denial->requested - denial->held <= denial->remaining;
}


ngx_int_t
ngx_http_cycles_send_denial(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_refusal_t  refusal;

    ngx_memzero(&refusal, sizeof(ngx_http_cycles_refusal_t));

    refusal.status = ngx_http_cycles_denial_status(ctx);

    if (ngx_http_cycles_transient(ctx)) {
        refusal.type = "rate_limit_exceeded";
        refusal.code = "budget_reserved";
        refusal.retry_after = (ctx->code == CYCLES_LIMIT_EXCEEDED)
                              ? ngx_http_cycles_until_reset(ctx) : -1;

        if (refusal.retry_after == -1) {
            refusal.retry_after = NGX_HTTP_CYCLES_RETRY_SOON;
        }

    } else {
        refusal.type = "insufficient_quota";
        refusal.code = "insufficient_quota";
        refusal.retry_after = ngx_http_cycles_until_reset(ctx);
        refusal.no_retry = 1;
    }

    refusal.amounts = (ctx->denial && ctx->denial->scope_len
                       && ctx->conf->response_headers
                          == NGX_HTTP_CYCLES_HEADERS_AMOUNTS);

    if (ngx_http_cycles_denial_message(r, ctx, &refusal) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* as limit_req tells of its own refusals */

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "cycles: denying request, reason \"%V\", trace id \"%V\"",
                  &ctx->reason, &ctx->trace_id);

    return ngx_http_cycles_refuse(r, ctx, &refusal);
}


ngx_int_t
ngx_http_cycles_send_outage(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_refusal_t  refusal;

    ngx_memzero(&refusal, sizeof(ngx_http_cycles_refusal_t));

    refusal.status = NGX_HTTP_SERVICE_UNAVAILABLE;
    refusal.type = "server_error";
    refusal.code = "budget_unavailable";
    refusal.retry_after = NGX_HTTP_CYCLES_RETRY_OUTAGE;

    ngx_str_set(&refusal.message,
                "The budget of this request can't be checked right now.");

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "cycles: denying request, authority \"%V\" is unavailable, "
                  "trace id \"%V\"",
                  &ctx->conf->authority->name, &ctx->trace_id);

    return ngx_http_cycles_refuse(r, ctx, &refusal);
}


ngx_int_t
ngx_http_cycles_send_bad_request(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error)
{
    ngx_http_cycles_refusal_t  refusal;

    ngx_memzero(&refusal, sizeof(ngx_http_cycles_refusal_t));

    refusal.status = NGX_HTTP_BAD_REQUEST;
    refusal.type = "invalid_request_error";
    refusal.code = "invalid_request";
    refusal.retry_after = -1;
    refusal.message = *error;

    return ngx_http_cycles_refuse(r, ctx, &refusal);
}


static ngx_int_t
ngx_http_cycles_refuse(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_refusal_t *refusal)
{
    ngx_int_t                 rc;
    cycles_json_t             js;
    ngx_http_complex_value_t  cv;

    static ngx_str_t  type = ngx_string("application/json");

    if (ngx_http_cycles_refuse_headers(r, refusal) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    cycles_json_init(&js, NULL, 0);
    ngx_http_cycles_refuse_body(&js, ctx, refusal);

    cv.value.len = js.len;
    cv.value.data = ngx_pnalloc(r->pool, js.len);
    if (cv.value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cycles_json_init(&js, cv.value.data, cv.value.len);
    ngx_http_cycles_refuse_body(&js, ctx, refusal);

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_send_response(r, refusal->status, &type, &cv);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_cycles_refuse_headers(ngx_http_request_t *r,
    ngx_http_cycles_refusal_t *refusal)
{
    ngx_str_t  value;

    ngx_str_set(&value, "no-store");

    if (ngx_http_cycles_add_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (refusal->no_retry) {

        /* the one word that all SDKs generated by Stainless obey */

        ngx_str_set(&value, "false");

        if (ngx_http_cycles_add_header(r, "x-should-retry", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (refusal->retry_after < 0) {
        return NGX_OK;
    }

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%i", refusal->retry_after)
                - value.data;

    return ngx_http_cycles_add_header(r, "Retry-After", &value);
}


/* {"error":{"message":…,"type":…,"param":null,"code":…}} */

static void
ngx_http_cycles_refuse_body(cycles_json_t *js, ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_refusal_t *refusal)
{
    cycles_str_t      s;
    cycles_denial_t  *denial;

    cycles_json_begin(js);
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);

    s.data = refusal->message.data;
    s.len = refusal->message.len;

    cycles_json_member_string(js, "message", s);
    cycles_json_member_name(js, "type", refusal->type);
    cycles_json_key(js, "param", sizeof("param") - 1);
    cycles_json_raw(js, "null", sizeof("null") - 1);
    cycles_json_member_name(js, "code", refusal->code);

    if (refusal->amounts) {
        denial = ctx->denial;

        s.data = (u_char *) denial->scope;
        s.len = denial->scope_len;

        cycles_json_key(js, "cycles", sizeof("cycles") - 1);
        cycles_json_begin(js);
        cycles_json_member_string(js, "scope", s);
        cycles_json_member_name(js, "unit",
                             cycles_unit_name(
                                         (cycles_unit_t) ctx->conf->unit));
        cycles_json_member_integer(js, "requested", denial->requested);
        cycles_json_member_integer(js, "remaining", denial->remaining);
        cycles_json_member_integer(js, "held", denial->held);
        cycles_json_end(js);
    }

    cycles_json_end(js);
    cycles_json_end(js);
}


static ngx_int_t
ngx_http_cycles_denial_message(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal)
{
    if (ctx->conf->deny_message) {
        return ngx_http_complex_value(r, ctx->conf->deny_message,
                                      &refusal->message);
    }

    if (ctx->reason.len == sizeof("UNKNOWN_PRICE") - 1
        && ngx_strncmp(ctx->reason.data, "UNKNOWN_PRICE", ctx->reason.len)
           == 0)
    {
        ngx_str_set(&refusal->message,
                    "This model has no price here, so it can't be used "
                    "within a budget. Ask for it to be added, or choose "
                    "another model.");

    } else if (refusal->no_retry) {
        ngx_str_set(&refusal->message,
                    "The budget for this request is used up or not "
                    "available. Trying again will not help until it is "
                    "raised.");

    } else {
        ngx_str_set(&refusal->message,
                    "The budget for this request is held by requests that "
                    "are still running. Try again in a moment.");
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_cycles_denial_status(ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->conf->deny_status != NGX_HTTP_CYCLES_DENY_STATUS_AUTO) {
        return ctx->conf->deny_status;
    }

    /*
     * SDKs of OpenAI never retry a 402, with or without our header; but what
     * may be retried has to look like it.
     */

    return ngx_http_cycles_transient(ctx) ? NGX_HTTP_TOO_MANY_REQUESTS : 402;
}


static ngx_int_t
ngx_http_cycles_until_reset(ngx_http_cycles_ctx_t *ctx)
{
    int64_t  left;

    if (ctx->denial == NULL || ctx->denial->reset_at_ms == 0) {
        return -1;
    }

    left = ctx->denial->reset_at_ms / 1000 - (int64_t) ngx_time();

    return (ngx_int_t) ngx_max(left, 1);
}
