
/*
 * Copyright (C) nginx-cycles authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static ngx_int_t ngx_http_cycles_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_cycles_text(ngx_http_cycles_ctx_t *ctx,
    uintptr_t data, ngx_str_t *value);
static ngx_int_t ngx_http_cycles_number(ngx_http_cycles_ctx_t *ctx,
    uintptr_t data, int64_t *value);
static void ngx_http_cycles_model(ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *value);


typedef enum {
    NGX_HTTP_CYCLES_VAR_DECISION = 0,
    NGX_HTTP_CYCLES_VAR_REASON,
    NGX_HTTP_CYCLES_VAR_RESERVATION_ID,
    NGX_HTTP_CYCLES_VAR_SETTLEMENT,
    NGX_HTTP_CYCLES_VAR_USAGE_SOURCE,
    NGX_HTTP_CYCLES_VAR_CUTOFF,
    NGX_HTTP_CYCLES_VAR_PROVIDER,
    NGX_HTTP_CYCLES_VAR_MODEL,
    NGX_HTTP_CYCLES_VAR_PRICE_KEY,
    NGX_HTTP_CYCLES_VAR_SCOPE,
    NGX_HTTP_CYCLES_VAR_TRACE_ID,
    NGX_HTTP_CYCLES_VAR_REQUEST_ID,

    /* numbers from here on */

    NGX_HTTP_CYCLES_VAR_ESTIMATE,
    NGX_HTTP_CYCLES_VAR_ACTUAL,
    NGX_HTTP_CYCLES_VAR_CHARGED,
    NGX_HTTP_CYCLES_VAR_REMAINING,
    NGX_HTTP_CYCLES_VAR_TOKENS_INPUT,
    NGX_HTTP_CYCLES_VAR_TOKENS_OUTPUT,
    NGX_HTTP_CYCLES_VAR_TOKENS_CACHED,
    NGX_HTTP_CYCLES_VAR_TOKENS_REASONING,

    NGX_HTTP_CYCLES_VAR_RESERVE_TIME
} ngx_http_cycles_variable_e;


#define NGX_HTTP_CYCLES_VAR(name, data)                                       \
    { ngx_string("cycles_" name), NULL, ngx_http_cycles_variable,             \
      NGX_HTTP_CYCLES_VAR_ ## data, NGX_HTTP_VAR_NOCACHEABLE, 0 }


static ngx_http_variable_t  ngx_http_cycles_vars[] = {

    NGX_HTTP_CYCLES_VAR("decision", DECISION),
    NGX_HTTP_CYCLES_VAR("reason", REASON),
    NGX_HTTP_CYCLES_VAR("reservation_id", RESERVATION_ID),
    NGX_HTTP_CYCLES_VAR("estimate", ESTIMATE),
    NGX_HTTP_CYCLES_VAR("actual", ACTUAL),
    NGX_HTTP_CYCLES_VAR("charged", CHARGED),
    NGX_HTTP_CYCLES_VAR("remaining", REMAINING),
    NGX_HTTP_CYCLES_VAR("settlement", SETTLEMENT),
    NGX_HTTP_CYCLES_VAR("usage_source", USAGE_SOURCE),
    NGX_HTTP_CYCLES_VAR("cutoff", CUTOFF),
    NGX_HTTP_CYCLES_VAR("provider", PROVIDER),
    NGX_HTTP_CYCLES_VAR("model", MODEL),
    NGX_HTTP_CYCLES_VAR("price_key", PRICE_KEY),
    NGX_HTTP_CYCLES_VAR("tokens_input", TOKENS_INPUT),
    NGX_HTTP_CYCLES_VAR("tokens_output", TOKENS_OUTPUT),
    NGX_HTTP_CYCLES_VAR("tokens_cached", TOKENS_CACHED),
    NGX_HTTP_CYCLES_VAR("tokens_reasoning", TOKENS_REASONING),
    NGX_HTTP_CYCLES_VAR("scope", SCOPE),
    NGX_HTTP_CYCLES_VAR("trace_id", TRACE_ID),
    NGX_HTTP_CYCLES_VAR("request_id", REQUEST_ID),
    NGX_HTTP_CYCLES_VAR("reserve_time", RESERVE_TIME),

      ngx_http_null_variable
};


static ngx_str_t  ngx_http_cycles_verdicts[] = {
    ngx_null_string,
    ngx_string("ALLOW"),
    ngx_string("ALLOW_WITH_CAPS"),
    ngx_string("DENY"),
    ngx_string("DRY_RUN_ALLOW"),
    ngx_string("DRY_RUN_DENY"),
    ngx_string("OUTAGE_ALLOW"),
    ngx_string("OUTAGE_DENY"),
    ngx_string("BYPASS")
};


static ngx_str_t  ngx_http_cycles_settlements[] = {
    ngx_null_string,
    ngx_string("pending"),
    ngx_string("commit"),
    ngx_string("release"),
    ngx_string("event"),
    ngx_string("hold")
};


static ngx_str_t  ngx_http_cycles_usage_sources[] = {
    ngx_string("none"),
    ngx_string("reported"),
    ngx_string("provider_cost"),
    ngx_string("estimated"),
    ngx_string("input_only")
};


ngx_int_t
ngx_http_cycles_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_cycles_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


ngx_str_t *
ngx_http_cycles_verdict_name(ngx_http_cycles_verdict_t verdict)
{
    return &ngx_http_cycles_verdicts[verdict];
}


static ngx_int_t
ngx_http_cycles_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    u_char                 *p;
    int64_t                 number;
    ngx_str_t               value;
    ngx_http_cycles_ctx_t  *ctx;

    v->not_found = 1;

    ctx = ngx_http_cycles_get_ctx(r->main);

    if (ctx == NULL) {
        return NGX_OK;
    }

    if (data < NGX_HTTP_CYCLES_VAR_ESTIMATE) {

        if (ngx_http_cycles_text(ctx, data, &value) != NGX_OK) {
            return NGX_OK;
        }

    } else if (data == NGX_HTTP_CYCLES_VAR_RESERVE_TIME) {

        if (ctx->state < NGX_HTTP_CYCLES_RESERVED) {
            return NGX_OK;
        }

        p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "%T.%03M",
                                (time_t) ctx->reserve_time / 1000,
                                ctx->reserve_time % 1000)
                    - p;

    } else {

        if (ngx_http_cycles_number(ctx, data, &number) != NGX_OK) {
            return NGX_OK;
        }

        p = ngx_pnalloc(r->pool, NGX_INT64_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        value.data = p;
        value.len = ngx_sprintf(p, "%L", number) - p;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = value.data;
    v->len = value.len;

    return NGX_OK;
}


/* NGX_DECLINED: there is no such value */

static ngx_int_t
ngx_http_cycles_text(ngx_http_cycles_ctx_t *ctx, uintptr_t data,
    ngx_str_t *value)
{
    switch (data) {

    case NGX_HTTP_CYCLES_VAR_DECISION:
        *value = ngx_http_cycles_verdicts[ctx->verdict];
        break;

    case NGX_HTTP_CYCLES_VAR_REASON:
        *value = ctx->reason;
        break;

    case NGX_HTTP_CYCLES_VAR_RESERVATION_ID:
        *value = ctx->reservation_id;
        break;

    case NGX_HTTP_CYCLES_VAR_SETTLEMENT:
        *value = ngx_http_cycles_settlements[ctx->settlement];
        break;

    case NGX_HTTP_CYCLES_VAR_USAGE_SOURCE:
        if (!ctx->settling) {
            return NGX_DECLINED;
        }

        *value = ngx_http_cycles_usage_sources[ctx->usage_source];
        break;

    case NGX_HTTP_CYCLES_VAR_CUTOFF:
        if (!ngx_http_cycles_is_cut(ctx)) {
            return NGX_DECLINED;
        }

        ngx_str_set(value, "1");
        break;

    case NGX_HTTP_CYCLES_VAR_PROVIDER:
        if (ctx->facts == NULL) {
            return NGX_DECLINED;
        }

        value->data = (u_char *) llm_provider_name(ctx->route.provider);
        value->len = ngx_strlen(value->data);
        break;

    case NGX_HTTP_CYCLES_VAR_MODEL:
        ngx_http_cycles_model(ctx, value);
        break;

    case NGX_HTTP_CYCLES_VAR_PRICE_KEY:
        *value = ctx->price_key;
        break;

    case NGX_HTTP_CYCLES_VAR_SCOPE:
        *value = ctx->scope;
        break;

    case NGX_HTTP_CYCLES_VAR_TRACE_ID:
        *value = ctx->trace_id;
        break;

    default: /* NGX_HTTP_CYCLES_VAR_REQUEST_ID */
        *value = ctx->request_id;
    }

    return value->len ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_number(ngx_http_cycles_ctx_t *ctx, uintptr_t data,
    int64_t *value)
{
    llm_usage_t  *usage;

    usage = ctx->readable ? &ctx->reply->usage : NULL;

    switch (data) {

    case NGX_HTTP_CYCLES_VAR_ESTIMATE:
        *value = ctx->estimate;
        break;

    case NGX_HTTP_CYCLES_VAR_ACTUAL:
        *value = ctx->actual;
        break;

    case NGX_HTTP_CYCLES_VAR_CHARGED:
        *value = ctx->charged;
        break;

    case NGX_HTTP_CYCLES_VAR_REMAINING:
        *value = ctx->remaining;
        return (*value == CYCLES_NOT_KNOWN) ? NGX_DECLINED : NGX_OK;

    case NGX_HTTP_CYCLES_VAR_TOKENS_INPUT:
        *value = usage ? usage->input : -1;
        break;

    case NGX_HTTP_CYCLES_VAR_TOKENS_OUTPUT:
        *value = usage ? usage->output : -1;
        break;

    case NGX_HTTP_CYCLES_VAR_TOKENS_CACHED:
        *value = usage ? usage->cached_input : -1;
        break;

    default: /* NGX_HTTP_CYCLES_VAR_TOKENS_REASONING */
        *value = usage ? usage->reasoning : -1;
    }

    return (*value < 0) ? NGX_DECLINED : NGX_OK;
}


/* the model that the reply names, else the request's */

static void
ngx_http_cycles_model(ngx_http_cycles_ctx_t *ctx, ngx_str_t *value)
{
    ngx_str_null(value);

    if (ctx->readable && ctx->reply->model_len) {
        value->data = ctx->reply->model;
        value->len = ctx->reply->model_len;

    } else if (ctx->facts) {
        value->data = ctx->facts->model;
        value->len = ctx->facts->model_len;
    }
}
