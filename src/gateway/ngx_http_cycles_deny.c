
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
#include "../llm/llm_error.h"


#define NGX_HTTP_CYCLES_RETRY_SOON     1
#define NGX_HTTP_CYCLES_RETRY_OUTAGE   5


typedef struct {
    llm_error_kind_t         kind;
    ngx_uint_t               status;
    ngx_str_t                message;
    ngx_int_t                retry_after;     /* seconds, -1: not sent */
    ngx_uint_t               no_retry;        /* unsigned  no_retry:1; */
    ngx_uint_t               amounts;         /* unsigned  amounts:1; */
} ngx_http_cycles_refusal_t;


static ngx_int_t ngx_http_cycles_refuse(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal);
static ngx_int_t ngx_http_cycles_refuse_headers(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal);
static ngx_int_t ngx_http_cycles_add_number(ngx_http_request_t *r,
    char *name, ngx_int_t number);
static ngx_int_t ngx_http_cycles_refuse_body(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal,
    ngx_str_t *body);
static ngx_int_t ngx_http_cycles_refuse_id(ngx_http_request_t *r,
    ngx_str_t *id);
static ngx_int_t ngx_http_cycles_refuse_details(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, cycles_str_t *details);
static void ngx_http_cycles_write_details(cycles_json_t *js,
    ngx_http_cycles_ctx_t *ctx);
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
        refusal.kind = LLM_BUSY;
        refusal.retry_after = (ctx->code == CYCLES_LIMIT_EXCEEDED)
                              ? ngx_http_cycles_until_reset(ctx) : -1;

        if (refusal.retry_after == -1) {
            refusal.retry_after = NGX_HTTP_CYCLES_RETRY_SOON;
        }

    } else {
        refusal.kind = LLM_QUOTA;
        refusal.retry_after = ngx_http_cycles_until_reset(ctx);
        refusal.no_retry = 1;
    }

    refusal.amounts = (ctx->denial && ctx->denial->scope_len
                       && ctx->conf->response_headers
                          == NGX_HTTP_CYCLES_HEADERS_AMOUNTS);

    if (ngx_http_cycles_denial_message(r, ctx, &refusal) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

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
    refusal.kind = LLM_UNAVAILABLE;
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
    refusal.kind = LLM_INVALID;
    refusal.retry_after = -1;
    refusal.message = *error;

    return ngx_http_cycles_refuse(r, ctx, &refusal);
}


static ngx_int_t
ngx_http_cycles_refuse(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_refusal_t *refusal)
{
    ngx_int_t                 rc;
    ngx_http_complex_value_t  cv;

    static ngx_str_t  type = ngx_string("application/json");

    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    if (ngx_http_cycles_refuse_headers(r, ctx, refusal) != NGX_OK
        || ngx_http_cycles_refuse_body(r, ctx, refusal, &cv.value) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

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
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_refusal_t *refusal)
{
    ngx_str_t    value;
    const char  *name;

    ngx_str_set(&value, "no-store");

    if (ngx_http_cycles_add_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    name = llm_error_amzn_type(ngx_http_cycles_deny_format(ctx),
                               ctx->route.api, refusal->kind,
                               refusal->status);
    if (name) {
        value.data = (u_char *) name;
        value.len = ngx_strlen(name);

        if (ngx_http_cycles_add_header(r, "x-amzn-errortype", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
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

    if (ngx_http_cycles_add_number(r, "Retry-After", refusal->retry_after)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* in milliseconds; AWS's SDK for Python knows no other */

    return (name == NULL) ? NGX_OK
           : ngx_http_cycles_add_number(r, "x-amz-retry-after",
                                        refusal->retry_after * 1000);
}


static ngx_int_t
ngx_http_cycles_add_number(ngx_http_request_t *r, char *name,
    ngx_int_t number)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%i", number) - value.data;

    return ngx_http_cycles_add_named(r, name, ngx_strlen(name), &value);
}


static ngx_int_t
ngx_http_cycles_refuse_body(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_refusal_t *refusal, ngx_str_t *body)
{
    ngx_str_t      id;
    llm_error_t    error;
    llm_errors_t   errors;
    cycles_json_t  js;

    ngx_memzero(&error, sizeof(llm_error_t));

    errors = ngx_http_cycles_deny_format(ctx);

    error.kind = refusal->kind;
    error.status = refusal->status;
    error.message.data = refusal->message.data;
    error.message.len = refusal->message.len;

    if (errors == LLM_ERRORS_ANTHROPIC) {

        if (ngx_http_cycles_refuse_id(r, &id) != NGX_OK) {
            return NGX_ERROR;
        }

        error.request_id.data = id.data;
        error.request_id.len = id.len;
    }

    if (refusal->amounts
        && ngx_http_cycles_refuse_details(r, ctx, &error.details) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cycles_json_init(&js, NULL, 0);
    llm_error_body(&js, errors, &error);

    body->len = js.len;
    body->data = ngx_pnalloc(r->pool, js.len);
    if (body->data == NULL) {
        return NGX_ERROR;
    }

    cycles_json_init(&js, body->data, body->len);
    llm_error_body(&js, errors, &error);

    return NGX_OK;
}


/* Anthropic's SDKs show it, from the header */

static ngx_int_t
ngx_http_cycles_refuse_id(ngx_http_request_t *r, ngx_str_t *id)
{
    id->len = sizeof("req_") - 1 + CYCLES_UUID_LEN;
    id->data = ngx_pnalloc(r->pool, id->len);

    if (id->data == NULL
        || cycles_uuid(ngx_cpymem(id->data, "req_", sizeof("req_") - 1)) != 0)
    {
        return NGX_ERROR;
    }

    return ngx_http_cycles_add_header(r, "request-id", id);
}


static ngx_int_t
ngx_http_cycles_refuse_details(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, cycles_str_t *details)
{
    cycles_json_t  js;

    cycles_json_init(&js, NULL, 0);
    ngx_http_cycles_write_details(&js, ctx);

    details->len = js.len;
    details->data = ngx_pnalloc(r->pool, js.len);
    if (details->data == NULL) {
        return NGX_ERROR;
    }

    cycles_json_init(&js, details->data, details->len);
    ngx_http_cycles_write_details(&js, ctx);

    return NGX_OK;
}


static void
ngx_http_cycles_write_details(cycles_json_t *js, ngx_http_cycles_ctx_t *ctx)
{
    cycles_str_t      s;
    cycles_denial_t  *denial;

    denial = ctx->denial;

    s.data = (u_char *) denial->scope;
    s.len = denial->scope_len;

    cycles_json_begin(js);
    cycles_json_member_string(js, "scope", s);
    cycles_json_member_name(js, "unit",
                            cycles_unit_name((cycles_unit_t) ctx->conf->unit));
    cycles_json_member_integer(js, "requested", denial->requested);
    cycles_json_member_integer(js, "remaining", denial->remaining);
    cycles_json_member_integer(js, "held", denial->held);
    cycles_json_end(js);
}


/* that of the API that the client speaks, unless the operator says so */

llm_errors_t
ngx_http_cycles_deny_format(ngx_http_cycles_ctx_t *ctx)
{
    return (ctx->conf->deny_format == NGX_HTTP_CYCLES_DENY_FORMAT_AUTO)
           ? llm_errors_of(ctx->route.provider, ctx->route.api)
           : (llm_errors_t) ctx->conf->deny_format;
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

    } else if (ctx->reason.len == sizeof("MAX_ESTIMATE_EXCEEDED") - 1
               && ngx_strncmp(ctx->reason.data, "MAX_ESTIMATE_EXCEEDED",
                              ctx->reason.len)
                  == 0)
    {
        ngx_str_set(&refusal->message,
                    "This request may cost more than a single one is allowed "
                    "to. Lower its limit of output tokens, or shorten its "
                    "input.");

    } else if (refusal->no_retry && refusal->retry_after != -1) {
        ngx_str_set(&refusal->message,
                    "The budget for this request is used up for its period. "
                    "Trying again will not help until the next one begins, "
                    "or until it is raised.");

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

    /* what may be retried has to look like it */

    return llm_error_status(ngx_http_cycles_deny_format(ctx),
                            ngx_http_cycles_transient(ctx) ? LLM_BUSY
                                                           : LLM_QUOTA);
}


static ngx_int_t
ngx_http_cycles_until_reset(ngx_http_cycles_ctx_t *ctx)
{
    int64_t      left;
    ngx_time_t  *tp;

    if (ctx->denial == NULL || ctx->denial->reset_at_ms == 0) {
        return -1;
    }

    /* up: who waits so long must not come too early */

    tp = ngx_timeofday();

    left = ctx->denial->reset_at_ms - (int64_t) tp->sec * 1000 - tp->msec;
    left = (left + 999) / 1000;

    return (ngx_int_t) ngx_max(left, 1);
}
