
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the gateway counts of a request, and shows of it while it lasts.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static void ngx_http_cycles_set_labels(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_keep_denied(ngx_http_cycles_ctx_t *ctx);
static uint8_t ngx_http_cycles_keep_text(u_char *p, ngx_str_t *text);
static int64_t ngx_http_cycles_now(void);


void
ngx_http_cycles_decided(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_verdict_t verdict)
{
    ngx_uint_t  reason;

    ctx->verdict = verdict;

    ngx_http_cycles_set_labels(ctx);

    reason = ngx_http_cycles_label(NGX_HTTP_CYCLES_REASONS, &ctx->reason, 1);

    ngx_http_cycles_count_decision(verdict, reason, &ctx->labels);

    switch (verdict) {

    case NGX_HTTP_CYCLES_DRY_RUN_DENY:
        ngx_http_cycles_count(WOULD_DENY);
        ngx_http_cycles_keep_denied(ctx);
        break;

    case NGX_HTTP_CYCLES_DENY:
    case NGX_HTTP_CYCLES_OUTAGE_DENIED:
        ngx_http_cycles_keep_denied(ctx);
        break;

    case NGX_HTTP_CYCLES_OUTAGE_ALLOWED:
        ngx_http_cycles_count(PASS_OUTAGE);
        break;

    case NGX_HTTP_CYCLES_BYPASS:
        break;

    default:
        if (ctx->unpriced) {
            ngx_http_cycles_count(PASS_PRICE);
        }
    }
}


/*
 * A model is counted by the name of its price, of which there is a limited
 * number.  Other names, which are the client's, become labels only when the
 * authority has allowed a request that has them.
 */

static void
ngx_http_cycles_set_labels(ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t                  model;
    ngx_uint_t                 add;
    ngx_http_cycles_labels_t  *labels;

    labels = &ctx->labels;

    add = (ctx->verdict == NGX_HTTP_CYCLES_ALLOW
           || ctx->verdict == NGX_HTTP_CYCLES_ALLOW_WITH_CAPS
           || ctx->verdict == NGX_HTTP_CYCLES_DRY_RUN_ALLOW);

    labels->provider = ctx->route.provider;
    labels->unit = ctx->conf->unit;
    labels->tenant = ngx_http_cycles_label(NGX_HTTP_CYCLES_TENANTS,
                                           &ctx->tenant, add);

    ngx_str_null(&model);

    if (ctx->price_key.len) {
        model = ctx->price_key;
        add = 1;

    } else if (ctx->facts && ctx->conf->prices) {
        ngx_str_set(&model, "unknown");
        add = 1;

    } else if (ctx->facts) {
        model.data = ctx->facts->model;
        model.len = ctx->facts->model_len;
    }

    labels->model = ngx_http_cycles_label(NGX_HTTP_CYCLES_MODELS, &model, add);

    if (ctx->reservation) {
        ctx->reservation->labels = *labels;
    }
}


static void
ngx_http_cycles_keep_denied(ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t                  model;
    ngx_http_cycles_denied_t  *denied;

    ngx_str_null(&model);

    if (ctx->facts) {
        model.data = ctx->facts->model;
        model.len = ctx->facts->model_len;
    }

    denied = ngx_http_cycles_denied_begin();

    if (denied == NULL) {
        return;
    }

    denied->time = ngx_http_cycles_now();
    denied->verdict = ctx->verdict;
    denied->provider = ctx->route.provider;
    denied->unit = ctx->conf->unit;
    denied->estimate = ctx->estimate;
    denied->remaining = (ctx->denial && ctx->denial->scope_len)
                        ? ctx->denial->remaining : CYCLES_NOT_KNOWN;

    denied->reason_len = ngx_http_cycles_keep_text(denied->reason,
                                                   &ctx->reason);
    denied->model_len = ngx_http_cycles_keep_text(denied->model, &model);
    denied->tenant_len = ngx_http_cycles_keep_text(denied->tenant,
                                                   &ctx->tenant);

    ngx_http_cycles_denied_end(denied);
}


static uint8_t
ngx_http_cycles_keep_text(u_char *p, ngx_str_t *text)
{
    size_t  len;

    len = ngx_min(text->len, NGX_HTTP_CYCLES_DENIED_SIZE);

    ngx_memcpy(p, text->data, len);

    return (uint8_t) len;
}


static int64_t
ngx_http_cycles_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}


void
ngx_http_cycles_meter_reserved(ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_observe(ctx->conf->authority->remote
                            ? NGX_HTTP_CYCLES_H_RESERVE_SERVER
                            : NGX_HTTP_CYCLES_H_RESERVE_LEDGER,
                            ngx_http_cycles_clock() - ctx->clock);
}


void
ngx_http_cycles_meter_begin(ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_stream_t       *stream;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = ctx->reservation;

    ctx->live = 1;

    ngx_http_cycles_gauge(LIVE, 1);

    stream = ngx_http_cycles_stream_begin();

    if (stream == NULL) {
        return;
    }

    stream->started = ngx_http_cycles_now();
    stream->estimate = ctx->estimate;
    stream->beats = 0;
    stream->model = ctx->labels.model;
    stream->tenant = ctx->labels.tenant;
    stream->provider = ctx->labels.provider;
    stream->unit = ctx->labels.unit;
    stream->left = 0;
    stream->id_len = ngx_min(rsv->id.len, NGX_HTTP_CYCLES_ID_SIZE);
    ngx_memcpy(stream->id, rsv->id.data, stream->id_len);

    ngx_memory_barrier();

    stream->lease = stream->started
                    + ((rsv->reserved->remaining_ttl_ms < 0)
                       ? rsv->terms.ttl_ms : rsv->reserved->remaining_ttl_ms);

    ctx->stream = stream;
}


void
ngx_http_cycles_meter_extended(ngx_http_cycles_ctx_t *ctx)
{
    int64_t  left;

    ngx_http_cycles_count(BEAT_EXTENDED);

    if (ctx->stream) {
        left = ctx->reservation->extended.remaining_ttl_ms;

        ctx->stream->beats++;
        ctx->stream->lease = ngx_http_cycles_now()
                             + ((left < 0) ? ctx->reservation->terms.ttl_ms
                                           : left);
    }
}


void
ngx_http_cycles_meter_end(ngx_http_cycles_ctx_t *ctx)
{
    if (!ctx->live) {
        return;
    }

    ctx->live = 0;

    ngx_http_cycles_gauge(LIVE, -1);

    if (ctx->stream) {
        ngx_http_cycles_stream_end(ctx->stream);
        ctx->stream = NULL;
    }
}


/* the actual amount is known, whether it will be charged or not */

void
ngx_http_cycles_meter_actual(ngx_http_cycles_ctx_t *ctx)
{
    ngx_uint_t                i;
    llm_usage_t              *usage;
    ngx_http_cycles_usage_t  *sum;

    if (ctx->estimate < 0 || ctx->actual < 0) {
        return;
    }

    sum = ngx_http_cycles_usage_of(&ctx->labels);

    sum->estimated += ctx->estimate;
    sum->actual += ctx->actual;

    if (ctx->estimate) {
        ngx_http_cycles_observe(NGX_HTTP_CYCLES_H_RATIO,
                                (ctx->actual < INT64_MAX / 1000000)
                                ? ctx->actual * 1000000 / ctx->estimate
                                : ctx->actual / ctx->estimate * 1000000);
    }

    if (!ctx->readable || !ctx->reply->usage_seen) {
        return;
    }

    usage = &ctx->reply->usage;

    {
    int64_t  tokens[] = { usage->input, usage->output, usage->cached_input,
                          usage->cache_write, usage->reasoning };

    for (i = 0; i < NGX_HTTP_CYCLES_TOKENS; i++) {
        sum->tokens[i] += ngx_max(tokens[i], 0);
    }
    }
}


/* the authority's last word, also when the request has gone */

void
ngx_http_cycles_meter_settled(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_observe(rsv->authority->remote
                            ? NGX_HTTP_CYCLES_H_SETTLE_SERVER
                            : NGX_HTTP_CYCLES_H_SETTLE_LEDGER,
                            ngx_http_cycles_clock() - rsv->clock);

    if (rsv->settle_outcome != NGX_HTTP_CYCLES_ANSWERED) {
        ngx_http_cycles_count(FAILED);
        return;
    }

    if (rsv->settled.code != CYCLES_OK) {
        ngx_http_cycles_count(REFUSED);
        return;
    }

    switch (rsv->kind) {

    case NGX_HTTP_CYCLES_COMMIT:
        ngx_http_cycles_count(COMMIT);
        break;

    case NGX_HTTP_CYCLES_EVENT:
        ngx_http_cycles_count(EVENT);
        break;

    default:
        ngx_http_cycles_count(RELEASE);
        return;
    }

    if (rsv->settled.charged > 0) {
        ngx_http_cycles_usage_of(&rsv->labels)->charged +=
                                                        rsv->settled.charged;
        ngx_http_cycles_spend(&rsv->labels, rsv->settled.charged);
    }
}
