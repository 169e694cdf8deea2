
/*
 * Copyright (C) nginx-cycles authors
 *
 * The one place that decides how a reservation is settled.  It is reached
 * when the reply is complete, or else when the request dies, and acts once.
 *
 *     how it ended                          | what is settled
 *     --------------------------------------+-----------------------------
 *     usage was reported, whatever followed | commit of its cost
 *     a stream that "cycles_stream_cutoff"  | commit of what has passed
 *     has ended                             |
 *     a cached reply, or none was asked for | release
 *     refused, or broke before a byte came  | release
 *     the provider timed out with the       | commit of the input estimate
 *     request, or its header is unreadable  |
 *     a reply of 300 or more                | release
 *     a whole reply without usage           | as "cycles_on_missing_usage"
 *     part of a reply, or the client left   | as "cycles_on_abort"
 *     before it came                        |
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


/* what is known of the provider's side of a request */

typedef enum {
    NGX_HTTP_CYCLES_NOT_TAKEN = 0,        /* it never got the request */
    NGX_HTTP_CYCLES_TAKEN,                /* got it, and said nothing usable */
    NGX_HTTP_CYCLES_CUT,                  /* got it, then the client left */
    NGX_HTTP_CYCLES_FAILED,               /* answered with an error */
    NGX_HTTP_CYCLES_REPLIED               /* answered, at least in part */
} ngx_http_cycles_ended_t;


static ngx_uint_t ngx_http_cycles_can_hold_back(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_settle_key(ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_settle_tried(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_decide(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_reported(ngx_http_cycles_ctx_t *ctx,
    llm_usage_t *usage);
static ngx_int_t ngx_http_cycles_unreported(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_http_cycles_ended_t ended);
static ngx_http_cycles_ended_t ngx_http_cycles_ended(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static int64_t ngx_http_cycles_passed_cost(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_ended_t ended);
static int64_t ngx_http_cycles_given_actual(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_fill_commit(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_fill_metadata(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_record(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_reservation_t *rsv);


void
ngx_http_cycles_settle(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_http_cycles_reservation_t  *rsv;

    if (ctx->settling || ctx->verdict == NGX_HTTP_CYCLES_BYPASS) {
        return;
    }

    ctx->settling = 1;

    ngx_http_cycles_heartbeat_stop(ctx);

    ngx_http_cycles_meter_end(ctx);

    if (ctx->readable) {
        llm_reply_flush(ctx->reply);
    }

    rc = ngx_http_cycles_decide(r, ctx);

    if (rc == NGX_OK) {
        ngx_http_cycles_meter_actual(ctx);
    }

    rsv = ctx->reservation;

    if (rsv == NULL) {
        return;
    }

    if (rc == NGX_ABORT
        || (ctx->unreserved && (rc != NGX_OK || ctx->actual == 0)))
    {
        rsv->authority->ops->leave(rsv);

        if (!ctx->unreserved) {
            ngx_http_cycles_count(HOLD);
        }

        ctx->settled = 1;
        ctx->settlement = ctx->unreserved ? NGX_HTTP_CYCLES_UNSETTLED
                                          : NGX_HTTP_CYCLES_SETTLED_NOT;
        return;
    }

    /* the answer to the last beat may be in their place */

    rsv->actual = 0;
    ngx_memzero(&rsv->metrics, sizeof(cycles_metrics_t));
    ngx_str_null(&rsv->settle_metadata);
    ngx_str_null(&rsv->reason);

    if (rc == NGX_OK) {

        /* what was not reserved can't be committed, but it was spent */

        rsv->kind = ctx->unreserved ? NGX_HTTP_CYCLES_EVENT
                                    : NGX_HTTP_CYCLES_COMMIT;
        rsv->actual = ctx->actual;

        if (ngx_http_cycles_fill_commit(r, ctx) != NGX_OK) {

            /* metrics are a courtesy, the amount is not */

            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "cycles: reservation \"%V\" is committed without "
                          "its metrics", &ctx->reservation_id);
        }

    } else {
        rsv->kind = NGX_HTTP_CYCLES_RELEASE;
        ngx_str_set(&rsv->reason, "not_used");
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "cycles settle \"%V\", kind:%ui actual:%L source:%ui",
                   &ctx->reservation_id, (ngx_uint_t) rsv->kind, ctx->actual,
                   (ngx_uint_t) ctx->usage_source);

    ctx->settlement = NGX_HTTP_CYCLES_PENDING;

    ngx_http_cycles_settle_key(rsv);

    rsv->clock = ngx_http_cycles_clock();
    rsv->settle_tried = ngx_http_cycles_can_hold_back(r, ctx)
                        ? ngx_http_cycles_settle_tried : NULL;

    rc = rsv->authority->ops->settle(rsv);

    if (rc == NGX_OK) {
        ngx_http_cycles_settle_done(rsv);

    } else if (rc == NGX_BUSY) {
        ctx->held_back = 1;
        r->connection->write->delayed = 1;
    }
}


/*
 * The UUID that was made for the reserve precedes this one: with another last
 * digit it is as good as a new one, and takes no random bytes.
 */

static void
ngx_http_cycles_settle_key(ngx_http_cycles_reservation_t *rsv)
{
    u_char  *key, *digit;

    key = rsv->settle_key.data;

    ngx_memcpy(key, key - CYCLES_UUID_LEN, CYCLES_UUID_LEN);

    digit = key + CYCLES_UUID_LEN - 1;

    *digit = (*digit == '9') ? 'a' : (*digit == 'f') ? '0' : *digit + 1;
}


/*
 * Settlements of a turn of the event loop are cheaper together.  Nobody sees
 * the end of a reply before its settlement, so what would be written in this
 * turn is left to nginx's write filter, as with "limit_rate".  That walks over
 * all buffers again: of a stream they are many.
 */

static ngx_uint_t
ngx_http_cycles_can_hold_back(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = r->connection;

    return ctx->complete && ctx->readable
           && ctx->reply->format == LLM_REPLY_JSON
           && c->write->ready && !c->write->delayed && !c->write->timer_set
           && !c->error;
}


static void
ngx_http_cycles_settle_tried(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ctx_t  *ctx;

    ctx = rsv->data;

    if (ctx && ctx->held_back) {
        ngx_http_cycles_let_go(ctx);

        ngx_post_event(ctx->request->connection->write, &ngx_posted_events);
    }
}


void
ngx_http_cycles_let_go(ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->held_back) {
        ctx->held_back = 0;
        ctx->request->connection->write->delayed = 0;
    }
}


void
ngx_http_cycles_settle_done(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ctx_t  *ctx;

    ngx_http_cycles_meter_settled(rsv);

    ctx = rsv->data;

    if (ctx == NULL) {
        ngx_http_cycles_destroy_reservation(rsv);
        return;
    }

    ngx_http_cycles_record(ctx, rsv);
}


static void
ngx_http_cycles_record(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_reservation_t *rsv)
{
    ctx->settled = 1;

    if (rsv->settle_outcome != NGX_HTTP_CYCLES_ANSWERED
        || rsv->settled.code != CYCLES_OK)
    {
        ctx->settlement = NGX_HTTP_CYCLES_SETTLED_NOT;
        return;
    }

    switch (rsv->kind) {

    case NGX_HTTP_CYCLES_COMMIT:
        ctx->settlement = NGX_HTTP_CYCLES_SETTLED_COMMIT;
        ctx->charged = rsv->settled.charged;
        break;

    case NGX_HTTP_CYCLES_EVENT:
        ctx->settlement = NGX_HTTP_CYCLES_SETTLED_EVENT;
        ctx->charged = rsv->settled.charged;
        break;

    default:
        ctx->settlement = NGX_HTTP_CYCLES_SETTLED_RELEASE;
        ctx->charged = 0;
    }

    if (rsv->settled.remaining != CYCLES_NOT_KNOWN) {
        ctx->remaining = rsv->settled.remaining;
    }
}


/*
 * NGX_OK: ctx->actual is to be committed; NGX_DECLINED: a release; NGX_ABORT:
 * nothing, the reservation expires.
 */

static ngx_int_t
ngx_http_cycles_decide(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    llm_usage_t              usage;
    ngx_http_cycles_ended_t  ended;

    if (ngx_http_cycles_cutoff_usage(ctx, &usage) == NGX_OK) {
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_ESTIMATED;
        ngx_http_cycles_set_actual(r, ctx, &usage);
        return NGX_OK;
    }

    ended = ngx_http_cycles_ended(r, ctx);

    if (ctx->facts && ctx->conf->actual == NGX_HTTP_CYCLES_ACTUAL_AUTO
        && ngx_http_cycles_reported(ctx, &usage) == NGX_OK)
    {
        if (ctx->usage_source == NGX_HTTP_CYCLES_USAGE_REPORTED) {
            ngx_http_cycles_learn(ctx, &usage);
        }

        ngx_http_cycles_set_actual(r, ctx, &usage);
        return NGX_OK;
    }

    if (ended == NGX_HTTP_CYCLES_NOT_TAKEN || ended == NGX_HTTP_CYCLES_FAILED)
    {
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_NONE;
        ctx->actual = 0;
        return NGX_DECLINED;
    }

    ctx->usage_source = NGX_HTTP_CYCLES_USAGE_ESTIMATED;

    switch (ctx->conf->actual) {

    case NGX_HTTP_CYCLES_ACTUAL_ESTIMATE:
        ctx->actual = ctx->estimate;
        break;

    case NGX_HTTP_CYCLES_ACTUAL_VALUE:
        ctx->actual = ngx_http_cycles_given_actual(r, ctx);
        break;

    default:
        return ngx_http_cycles_unreported(r, ctx, ended);
    }

    return NGX_OK;
}


/* the usage of the reply; what it lacks is estimated */

static ngx_int_t
ngx_http_cycles_reported(ngx_http_cycles_ctx_t *ctx, llm_usage_t *usage)
{
    llm_reply_t  *reply;

    reply = ctx->reply;

    if (!ctx->readable
        || (!reply->usage_seen
            && ((reply->usage.input < 0 && reply->usage.output < 0)
                || (ctx->complete
                    && ctx->conf->on_missing_usage
                       != NGX_HTTP_CYCLES_MISSING_ESTIMATE))))
    {
        return NGX_DECLINED;
    }

    *usage = reply->usage;

    ctx->usage_source = NGX_HTTP_CYCLES_USAGE_REPORTED;

    if (!reply->usage_seen
        || (ctx->conf->unit != CYCLES_USD_MICROCENTS
            && (usage->input < 0 || usage->output < 0)))
    {
        if (usage->input < 0) {
            usage->input = ctx->input_estimate;
        }

        if (usage->output < 0) {
            usage->output = reply->output_tokens;
        }

        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_ESTIMATED;
    }

    if (reply->early
        || (reply->later && !(ctx->complete && reply->done)
            && usage->output < reply->output_tokens))
    {
        /* a running total, or less, that broke off behind what has passed */

        usage->output = ngx_max(usage->output, reply->output_tokens);
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_ESTIMATED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_unreported(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_ended_t ended)
{
    ngx_int_t    rc;
    ngx_uint_t   missing, abort;
    const char  *how, *what;

    missing = NGX_HTTP_CYCLES_MISSING_ESTIMATE;
    abort = NGX_HTTP_CYCLES_ABORT_ESTIMATE;

    if (ended == NGX_HTTP_CYCLES_TAKEN) {

        /* what has ended, if anything has, is an error page of nginx */

        how = "request without a reply";

    } else if (ctx->complete) {
        missing = ctx->conf->on_missing_usage;
        how = "reply without usage";

    } else {
        abort = ctx->conf->on_abort;
        how = "reply that broke off without usage";
    }

    if (missing == NGX_HTTP_CYCLES_MISSING_RELEASE) {
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_NONE;
        ctx->actual = 0;
        rc = NGX_DECLINED;
        what = "is released";
        ngx_http_cycles_count(MISSING_RELEASED);

    } else if (missing == NGX_HTTP_CYCLES_MISSING_HOLD
               || abort == NGX_HTTP_CYCLES_ABORT_HOLD)
    {
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_NONE;
        ctx->actual = -1;
        rc = NGX_ABORT;
        what = "is left to its expiry";
        ngx_http_cycles_count(MISSING_HELD);

    } else {
        if (abort == NGX_HTTP_CYCLES_ABORT_INPUT) {
            ended = NGX_HTTP_CYCLES_TAKEN;
        }

        ctx->actual = ngx_http_cycles_passed_cost(ctx, ended);
        rc = NGX_OK;
        what = "is settled by estimate";
        ngx_http_cycles_count(MISSING_ESTIMATED);
    }

    if (ctx->reservation) {
        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "cycles: %s, reservation \"%V\" %s, actual: %L", how,
                      &ctx->reservation_id, what, ctx->actual);
    }

    return rc;
}


static ngx_http_cycles_ended_t
ngx_http_cycles_ended(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_uint_t                  i, taken;
    ngx_http_upstream_state_t  *state;

    if (ctx->state != NGX_HTTP_CYCLES_PASSED) {
        return NGX_HTTP_CYCLES_NOT_TAKEN;
    }

    if (r->upstream_states == NULL || r->upstream_states->nelts == 0) {

        /*
         * No upstream of nginx: a page of its own, or another module's
         * content, which only counts when it was told what that costs.
         */

        if (r->upstream == NULL && ctx->conf->actual
                                   != NGX_HTTP_CYCLES_ACTUAL_AUTO
            && r->header_sent
            && r->headers_out.status < NGX_HTTP_SPECIAL_RESPONSE)
        {
            return NGX_HTTP_CYCLES_REPLIED;
        }

        return NGX_HTTP_CYCLES_NOT_TAKEN;
    }

    state = r->upstream_states->elts;
    taken = 0;

    for (i = 0; i < r->upstream_states->nelts; i++) {

        if (state[i].peer == NULL) {

            /* a separator of internal redirects */

            continue;
        }

        if (state[i].header_time != (ngx_msec_t) -1) {

            if (state[i].status == NGX_HTTP_SWITCHING_PROTOCOLS
                || (state[i].status >= NGX_HTTP_OK
                    && state[i].status < NGX_HTTP_SPECIAL_RESPONSE))
            {
                return NGX_HTTP_CYCLES_REPLIED;
            }

            continue;
        }

        /*
         * It got the request, and no reply came: it timed out, or the client
         * has cut it short, or nginx could make nothing of what came.  A
         * connection that was reset before a byte counts as not taken.
         */

        if (state[i].bytes_received > 0
            || (state[i].bytes_sent > 0
                && (state[i].status == NGX_HTTP_GATEWAY_TIME_OUT
                    || state[i].status == 0
                    || state[i].status == NGX_HTTP_CLIENT_CLOSED_REQUEST)))
        {
            taken = 1;

            if (state[i].status == 0
                || state[i].status == NGX_HTTP_CLIENT_CLOSED_REQUEST)
            {
                return NGX_HTTP_CYCLES_CUT;
            }
        }
    }

    if (taken) {
        return NGX_HTTP_CYCLES_TAKEN;
    }

    return NGX_HTTP_CYCLES_FAILED;
}


/* a cost from what has passed, when the provider did not report one */

static int64_t
ngx_http_cycles_passed_cost(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_ended_t ended)
{
    llm_usage_t  usage;

    if (ended == NGX_HTTP_CYCLES_REPLIED && !ctx->readable) {

        /* nothing of the reply could be read: it may have cost all of it */

        return ctx->estimate;
    }

    llm_usage_init(&usage);

    usage.input = ctx->input_estimate;
    usage.output = 0;

    if (ended == NGX_HTTP_CYCLES_REPLIED) {

        if (ctx->reply->unreadable || ctx->reply->pending) {

            /* damaged, or still to come */

            return ctx->estimate;
        }

        usage.output = ctx->reply->output_tokens;
    }

    if (usage.output == 0) {
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_INPUT_ONLY;
    }

    return ngx_http_cycles_cost(ctx, &usage);
}


static int64_t
ngx_http_cycles_given_actual(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    off_t      n;
    ngx_str_t  value;

    if (ngx_http_complex_value(r, ctx->conf->actual_value, &value) != NGX_OK) {
        return ctx->estimate;
    }

    n = ngx_atoof(value.data, value.len);

    if (n == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "cycles: actual \"%V\" of reservation \"%V\" is not a "
                      "whole number, the estimate %L is taken", &value,
                      &ctx->reservation_id, ctx->estimate);
        return ctx->estimate;
    }

    ctx->usage_source = NGX_HTTP_CYCLES_USAGE_REPORTED;

    return n;
}


static ngx_int_t
ngx_http_cycles_fill_commit(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    u_char                         *p;
    cycles_metrics_t               *m;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = ctx->reservation;
    m = &rsv->metrics;

    m->tokens_input = -1;
    m->tokens_output = -1;
    m->latency_ms = (int64_t) (ngx_current_msec - ctx->started);

    if (ngx_http_cycles_fill_metadata(ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!ctx->readable) {
        return NGX_OK;
    }

    if (ctx->reply->usage_seen) {
        m->tokens_input = ctx->reply->usage.input;
        m->tokens_output = ctx->reply->usage.output;
    }

    if (ctx->reply->model_len) {
        p = ngx_pnalloc(rsv->pool, ctx->reply->model_len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, ctx->reply->model, ctx->reply->model_len);

        m->model_version.data = p;
        m->model_version.len = ctx->reply->model_len;
    }

    return NGX_OK;
}


/* that of the reserve; an amount that is estimated is marked as SDKs do it */

static ngx_int_t
ngx_http_cycles_fill_metadata(ngx_http_cycles_ctx_t *ctx)
{
    u_char                         *p;
    cycles_str_t                   *metadata;
    ngx_http_cycles_reservation_t  *rsv;

    static ngx_str_t  estimated = ngx_string("\"actual_source\":\"estimate\"}");

    rsv = ctx->reservation;
    metadata = &rsv->terms.metadata;

    if (ctx->usage_source == NGX_HTTP_CYCLES_USAGE_REPORTED
        || ctx->usage_source == NGX_HTTP_CYCLES_USAGE_PROVIDER_COST)
    {
        rsv->settle_metadata.data = metadata->data;
        rsv->settle_metadata.len = metadata->len;
        return NGX_OK;
    }

    p = ngx_pnalloc(rsv->pool, metadata->len + 1 + estimated.len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rsv->settle_metadata.data = p;

    if (metadata->len > sizeof("{}") - 1) {
        p = ngx_cpymem(p, metadata->data, metadata->len - 1);
        *p++ = ',';

    } else {
        *p++ = '{';
    }

    p = ngx_cpymem(p, estimated.data, estimated.len);

    rsv->settle_metadata.len = p - rsv->settle_metadata.data;

    return NGX_OK;
}
