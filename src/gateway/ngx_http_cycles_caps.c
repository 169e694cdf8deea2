
/*
 * Copyright (C) nginx-cycles authors
 *
 * ALLOW_WITH_CAPS: what has to change in the request, or why it can't go on.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <jansson.h>

#include "ngx_http_cycles_module.h"
#include "../llm/llm_caps.h"


/* more tools than that are not looked through one by one */
#define NGX_HTTP_CYCLES_MAX_TOOLS  1024


/* the lists of the caps; NULL: there is none */

typedef struct {
    json_t  *allow;
    json_t  *deny;
} ngx_http_cycles_tools_t;


static ngx_int_t ngx_http_cycles_cooldown(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, int64_t cooldown_ms);
static ngx_int_t ngx_http_cycles_cap_tokens(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, int64_t max_tokens);
static ngx_int_t ngx_http_cycles_cap_tools(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, cycles_caps_t *caps);
static json_t *ngx_http_cycles_cap_list(cycles_str_t *text);
static int ngx_http_cycles_tool_allowed(void *data, const unsigned char *name,
    size_t len);
static ngx_int_t ngx_http_cycles_drop_tools(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_tools_t *lists);
static ngx_uint_t ngx_http_cycles_is_signed(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_cap_refuse(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, char *reason, const char *why);


ngx_int_t
ngx_http_cycles_apply_caps(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_int_t       rc;
    ngx_uint_t      ntools;
    cycles_caps_t  *caps;

    caps = &ctx->reservation->reserved->caps;

    if (caps->max_tokens == 0) {
        return ngx_http_cycles_cap_refuse(r, ctx, "BUDGET_EXCEEDED",
                                          "a reply of no tokens is no reply");
    }

    if (caps->cooldown_ms > 0) {
        return ngx_http_cycles_cooldown(r, ctx, caps->cooldown_ms);
    }

    if (ctx->facts == NULL) {
        return NGX_OK;
    }

    /* how many there are is the client's word: no splice is made of more */

    ntools = ngx_min(ctx->facts->ntools, NGX_HTTP_CYCLES_MAX_TOOLS);

    ctx->splices = ngx_palloc(r->pool, llm_splices(ntools)
                                       * sizeof(llm_splice_t));
    if (ctx->splices == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_cycles_cap_tokens(r, ctx, caps->max_tokens);

    if (rc == NGX_OK) {
        rc = ngx_http_cycles_cap_tools(r, ctx, caps);
    }

    if (rc != NGX_OK || ctx->nsplices == 0
        || !ngx_http_cycles_is_signed(r))
    {
        return rc;
    }

    /* a signature is of the whole body */

    ctx->nsplices = 0;

    if (ctx->conf->signed_requests == NGX_HTTP_CYCLES_SIGNED_PASS) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "cycles: request is signed, so caps are not applied to "
                      "reservation \"%V\"", &ctx->reservation_id);
        return NGX_OK;
    }

    return ngx_http_cycles_cap_refuse(r, ctx, "CAPS_NOT_APPLICABLE",
                                      "the request is signed");
}


/* as a server says it that limits the rate of calls */

static ngx_int_t
ngx_http_cycles_cooldown(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    int64_t cooldown_ms)
{
    ngx_time_t  *tp;

    ctx->denial = ngx_pcalloc(r->pool, sizeof(cycles_denial_t));
    if (ctx->denial == NULL) {
        return NGX_ERROR;
    }

    tp = ngx_timeofday();

    ctx->code = CYCLES_LIMIT_EXCEEDED;
    ctx->denial->reset_at_ms = (int64_t) tp->sec * 1000 + tp->msec
                               + cooldown_ms + 999;

    return ngx_http_cycles_cap_refuse(r, ctx, "COOLDOWN",
                                      "it has to wait");
}


static ngx_int_t
ngx_http_cycles_cap_tokens(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    int64_t max_tokens)
{
    unsigned            n;
    const char         *why;
    const llm_edits_t  *edits;

    if (max_tokens < 0) {
        return NGX_OK;
    }

    edits = ngx_http_cycles_read_edits(r, ctx, NULL, 0);

    if (edits == NULL) {
        return NGX_ERROR;
    }

    n = 0;

    why = llm_clamp(ctx->facts, edits, ctx->route.provider, ctx->route.api,
                    max_tokens, ctx->splices, &n);

    if (why) {
        return ngx_http_cycles_cap_refuse(r, ctx, "CAPS_NOT_APPLICABLE", why);
    }

    ctx->nsplices = n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_cap_tools(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    cycles_caps_t *caps)
{
    ngx_int_t                rc;
    ngx_http_cycles_tools_t  lists;

    if (ctx->facts->ntools == 0) {
        return NGX_OK;
    }

    lists.allow = ngx_http_cycles_cap_list(&caps->tool_allowlist);
    lists.deny = ngx_http_cycles_cap_list(&caps->tool_denylist);

    /* of the protocol: one that allows any makes the other one void */

    if (json_array_size(lists.allow) || json_array_size(lists.deny)) {
        rc = ngx_http_cycles_drop_tools(r, ctx, &lists);

    } else {
        rc = NGX_OK;
    }

    json_decref(lists.allow);
    json_decref(lists.deny);

    return rc;
}


static json_t *
ngx_http_cycles_cap_list(cycles_str_t *text)
{
    return text->len ? json_loadb((char *) text->data, text->len, 0, NULL)
                     : NULL;
}


static int
ngx_http_cycles_tool_allowed(void *data, const unsigned char *name,
    size_t len)
{
    ngx_http_cycles_tools_t *lists = data;

    size_t   i;
    json_t  *list, *item;

    list = json_array_size(lists->allow) ? lists->allow : lists->deny;

    json_array_foreach(list, i, item) {

        if (json_string_length(item) == len
            && ngx_memcmp(json_string_value(item), name, len) == 0)
        {
            return list == lists->allow;
        }
    }

    return list != lists->allow;
}


static ngx_int_t
ngx_http_cycles_drop_tools(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_tools_t *lists)
{
    unsigned            n;
    llm_tool_t         *tools;
    const llm_edits_t  *edits;

    if (ctx->facts->ntools > NGX_HTTP_CYCLES_MAX_TOOLS) {
        return ngx_http_cycles_cap_refuse(r, ctx, "CAPS_NOT_APPLICABLE",
                                          "it has too many tools");
    }

    tools = ngx_palloc(r->pool, ctx->facts->ntools * sizeof(llm_tool_t));
    if (tools == NULL) {
        return NGX_ERROR;
    }

    edits = ngx_http_cycles_read_edits(r, ctx, tools, ctx->facts->ntools);

    if (edits == NULL) {
        return NGX_ERROR;
    }

    n = ctx->nsplices;

    llm_drop_tools(ctx->facts, edits, tools, ngx_http_cycles_tool_allowed,
                   lists, ctx->splices, &n);

    ctx->nsplices = n;

    ngx_pfree(r->pool, tools);

    return NGX_OK;
}


/* AWS Signature Version 4 */

static ngx_uint_t
ngx_http_cycles_is_signed(ngx_http_request_t *r)
{
    ngx_str_t         value;
    ngx_table_elt_t  *h;

    h = r->headers_in.authorization;

    if (h && h->value.len >= sizeof("AWS4-HMAC-SHA256") - 1
        && ngx_strncmp(h->value.data, "AWS4-HMAC-SHA256",
                       sizeof("AWS4-HMAC-SHA256") - 1)
           == 0)
    {
        return 1;
    }

    return ngx_http_arg(r, (u_char *) "X-Amz-Signature",
                        sizeof("X-Amz-Signature") - 1, &value)
           == NGX_OK;
}


/* NGX_DECLINED */

static ngx_int_t
ngx_http_cycles_cap_refuse(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    char *reason, const char *why)
{
    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                  "cycles: request can't keep within the caps of reservation "
                  "\"%V\": %s", &ctx->reservation_id, why);

    ctx->reason.data = (u_char *) reason;
    ctx->reason.len = ngx_strlen(reason);

    return NGX_DECLINED;
}
