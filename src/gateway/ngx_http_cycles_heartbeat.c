
/*
 * Copyright (C) nginx-cycles authors
 *
 * Keeps a reservation alive while its reply takes longer than its lease: the
 * lead-based schedule of the protocol (revision 0.1.25.16), in which nothing
 * but the server's remaining_ttl_ms and our own clock counts.  A beat that
 * fails never ends the client's request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


#define NGX_HTTP_CYCLES_MIN_ATTEMPT  1000
#define NGX_HTTP_CYCLES_MIN_MARGIN   1000
#define NGX_HTTP_CYCLES_MAX_HOLD     30000
#define NGX_HTTP_CYCLES_MIN_HOLD     500

/* nearly all requests have ended before, and take no timer */

#define NGX_HTTP_CYCLES_BEGINNING    1000


static void ngx_http_cycles_heartbeat_beat(ngx_event_t *ev);
static void ngx_http_cycles_heartbeat_done(ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_heartbeat_extended(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_heartbeat_failed(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_heartbeat_schedule(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_heartbeat_legacy(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_heartbeat_first(ngx_http_cycles_ctx_t *ctx,
    int64_t delay);
static void ngx_http_cycles_heartbeat_sweep(ngx_event_t *ev);
static void ngx_http_cycles_heartbeat_add(ngx_http_cycles_ctx_t *ctx,
    int64_t delay);
static void ngx_http_cycles_heartbeat_give_up(ngx_http_cycles_ctx_t *ctx,
    const char *why);
static int64_t ngx_http_cycles_heartbeat_lead(ngx_http_cycles_heartbeat_t *hb);
static int64_t ngx_http_cycles_heartbeat_attempt(ngx_http_cycles_ctx_t *ctx);
static int64_t ngx_http_cycles_heartbeat_margin(ngx_http_cycles_ctx_t *ctx);
static int64_t ngx_http_cycles_heartbeat_hold(ngx_http_cycles_ctx_t *ctx);


/* those that have just begun; in event.timer.key is when they are to beat */

static ngx_queue_t  ngx_http_cycles_beginning;
static ngx_event_t  ngx_http_cycles_beginning_event;


void
ngx_http_cycles_heartbeat_start(ngx_http_cycles_ctx_t *ctx)
{
    cycles_reserved_t            *rs;
    ngx_http_cycles_heartbeat_t  *hb;

    hb = &ctx->heartbeat;
    rs = ctx->reservation->reserved;

    ngx_memzero(hb, sizeof(ngx_http_cycles_heartbeat_t));

    hb->event.handler = ngx_http_cycles_heartbeat_beat;
    hb->event.data = ctx;
    hb->event.log = ngx_cycle->log;

    hb->expires_at_ms = rs->expires_at_ms;
    hb->since = ngx_current_msec;
    hb->granted = ngx_current_msec;
    hb->max_rtt = ctx->reservation->reserve_time;

    ctx->reservation->extend_done = ngx_http_cycles_heartbeat_done;

    if (rs->remaining_ttl_ms < 0) {

        /* a server older than the field: its first beat is due at once */

        hb->legacy = 1;
        ngx_http_cycles_heartbeat_add(ctx, 1);
        return;
    }

    hb->lead = ngx_max(rs->remaining_ttl_ms - hb->max_rtt, 0);

    ngx_http_cycles_heartbeat_schedule(ctx);
}


void
ngx_http_cycles_heartbeat_stop(ngx_http_cycles_ctx_t *ctx)
{
    ctx->heartbeat.stopped = 1;

    if (ctx->heartbeat.event.timer_set) {
        ngx_del_timer(&ctx->heartbeat.event);
    }

    if (ctx->heartbeat.beginning) {
        ctx->heartbeat.beginning = 0;
        ngx_queue_remove(&ctx->heartbeat.event.queue);

        if (ngx_queue_empty(&ngx_http_cycles_beginning)) {
            ngx_http_cycles_beginning_event.cancelable = 1;
        }
    }
}


static void
ngx_http_cycles_heartbeat_beat(ngx_event_t *ev)
{
    ngx_http_cycles_ctx_t *ctx = ev->data;

    ngx_http_cycles_heartbeat_t    *hb;
    ngx_http_cycles_reservation_t  *rsv;

    hb = &ctx->heartbeat;
    rsv = ctx->reservation;

    if (hb->legacy && hb->grant > 0
        && 2 * ngx_http_cycles_heartbeat_lead(hb) >= 3 * hb->grant)
    {
        /* far enough ahead: more would only strand a hold after a crash */

        ngx_http_cycles_heartbeat_add(ctx,
                                     ngx_http_cycles_heartbeat_hold(ctx));
        return;
    }

    if (!hb->failed && cycles_uuid(rsv->extend_key.data) != 0) {
        ngx_http_cycles_heartbeat_give_up(ctx, "RAND_bytes() failed");
        return;
    }

    if (rsv->authority->ops->extend(rsv) == NGX_OK) {
        ngx_http_cycles_heartbeat_done(rsv);
    }
}


static void
ngx_http_cycles_heartbeat_done(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ctx_t *ctx = rsv->data;

    if (ctx == NULL || ctx->heartbeat.stopped) {
        return;
    }

    if (rsv->extend_outcome == NGX_HTTP_CYCLES_OUTAGE
        || rsv->extended.code == CYCLES_LIMIT_EXCEEDED)
    {
        ngx_http_cycles_heartbeat_failed(ctx);
        return;
    }

    if (rsv->extended.code != CYCLES_OK) {
        ngx_http_cycles_heartbeat_give_up(ctx,
                                        cycles_code_name(rsv->extended.code));
        return;
    }

    ngx_http_cycles_heartbeat_extended(ctx);
}


static void
ngx_http_cycles_heartbeat_extended(ngx_http_cycles_ctx_t *ctx)
{
    int64_t                       rtt;
    ngx_http_cycles_settled_t    *rs;
    ngx_http_cycles_heartbeat_t  *hb;

    hb = &ctx->heartbeat;
    rs = &ctx->reservation->extended;
    rtt = ctx->reservation->extend_rtt;

    ngx_http_cycles_meter_extended(ctx);

    hb->failed = 0;
    hb->max_rtt = ngx_max(hb->max_rtt, rtt);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "cycles extended \"%V\", remaining:%L rtt:%L",
                   &ctx->reservation_id, rs->remaining_ttl_ms, rtt);

    if (rs->remaining_ttl_ms < 0) {
        hb->legacy = 1;
        ngx_http_cycles_heartbeat_legacy(ctx);
        return;
    }

    hb->legacy = 0;
    hb->lead = ngx_max(rs->remaining_ttl_ms - rtt, 0);
    hb->since = ngx_current_msec;

    ngx_http_cycles_heartbeat_schedule(ctx);
}


/* the next beat comes as late as two attempts and a margin allow */

static void
ngx_http_cycles_heartbeat_schedule(ngx_http_cycles_ctx_t *ctx)
{
    int64_t                       delay;
    ngx_http_cycles_heartbeat_t  *hb;

    hb = &ctx->heartbeat;

    if (!ctx->reservation->authority->remote) {

        /* no call that could be lost: half of the lease is left for load */

        ngx_http_cycles_heartbeat_add(ctx, ngx_max(hb->lead / 2, 1));
        return;
    }

    delay = hb->lead - 2 * ngx_http_cycles_heartbeat_attempt(ctx)
            - ngx_http_cycles_heartbeat_margin(ctx);

    if (delay > 0) {
        hb->zero = 0;
        ngx_http_cycles_heartbeat_add(ctx, delay);
        return;
    }

    if (hb->zero) {
        ngx_http_cycles_heartbeat_give_up(ctx, "the lease is too short for "
                                               "\"cycles_timeout\"");
        return;
    }

    hb->zero = 1;

    ngx_http_cycles_heartbeat_add(ctx, 1);
}


/* the outcome is not known: the same key again, while there is time for it */

static void
ngx_http_cycles_heartbeat_failed(ngx_http_cycles_ctx_t *ctx)
{
    int64_t                         lead, window, delay;
    ngx_http_cycles_heartbeat_t    *hb;
    ngx_http_cycles_reservation_t  *rsv;

    hb = &ctx->heartbeat;
    rsv = ctx->reservation;

    ngx_http_cycles_count(BEAT_FAILED);

    lead = ngx_http_cycles_heartbeat_lead(hb);
    window = lead - ngx_http_cycles_heartbeat_attempt(ctx)
             - ngx_http_cycles_heartbeat_margin(ctx);

    if (hb->legacy) {
        delay = ngx_http_cycles_heartbeat_hold(ctx);

    } else if (window < 0) {
        ngx_http_cycles_heartbeat_give_up(ctx, "no time is left for a retry");
        return;

    } else if (hb->failed && window == hb->window) {
        ngx_http_cycles_heartbeat_give_up(ctx, "retries make no progress");
        return;

    } else if (rsv->extend_outcome == NGX_HTTP_CYCLES_ANSWERED) {

        delay = rsv->extend_retry_after;

        if (delay == 0 || delay > window) {
            ngx_http_cycles_heartbeat_give_up(ctx, "LIMIT_EXCEEDED");
            return;
        }

    } else {
        delay = ngx_min(lead / 4, window);
        delay = ngx_min(delay, NGX_HTTP_CYCLES_MAX_HOLD);
    }

    hb->failed = 1;
    hb->window = window;

    ngx_http_cycles_count(RETRY_EXTEND);

    ngx_log_error(NGX_LOG_WARN, ctx->request->connection->log, 0,
                  "cycles: extending reservation \"%V\" failed, status %ui, "
                  "retry in %L ms, request goes on",
                  &ctx->reservation_id, rsv->extend_status, delay);

    ngx_http_cycles_heartbeat_add(ctx, ngx_max(delay, 1));
}


/*
 * A server that does not tell how much is left: only the differences of
 * expires_at_ms can be used, and beating too often is the safe side.
 */

static void
ngx_http_cycles_heartbeat_legacy(ngx_http_cycles_ctx_t *ctx)
{
    int64_t                       grant, elapsed, hold, interval, ttl;
    ngx_http_cycles_heartbeat_t  *hb;

    hb = &ctx->heartbeat;
    ttl = ctx->reservation->terms.ttl_ms;
    hold = ngx_http_cycles_heartbeat_hold(ctx);

    grant = ctx->reservation->extended.expires_at_ms - hb->expires_at_ms;
    elapsed = (int64_t) (ngx_current_msec - hb->granted);

    hb->expires_at_ms = ctx->reservation->extended.expires_at_ms;
    hb->granted = ngx_current_msec;

    interval = hold;

    if (grant > 0) {
        hb->lead = ngx_http_cycles_heartbeat_lead(hb) + grant;
        hb->since = ngx_current_msec;
        hb->grant = grant;

        /* a grant that equals the time gone by is no grant: it was clamped */

        if (10 * grant >= 9 * ttl
            || 4 * grant < 3 * elapsed || 4 * grant > 5 * elapsed)
        {
            interval = ngx_max(grant / 2, NGX_HTTP_CYCLES_MIN_HOLD);
            interval = ngx_min(interval, ttl / 2);
        }
    }

    ngx_http_cycles_heartbeat_add(ctx, interval);
}


/* a worker that is to exit waits for them as for any timer */

static void
ngx_http_cycles_heartbeat_first(ngx_http_cycles_ctx_t *ctx, int64_t delay)
{
    ngx_event_t                  *ev;
    ngx_http_cycles_heartbeat_t  *hb;

    hb = &ctx->heartbeat;
    ev = &ngx_http_cycles_beginning_event;

    if (ev->handler == NULL) {
        ngx_queue_init(&ngx_http_cycles_beginning);

        ev->handler = ngx_http_cycles_heartbeat_sweep;
        ev->data = ev;
    }

    hb->beginning = 1;
    hb->event.timer.key = ngx_current_msec + (ngx_msec_t) delay;
    ngx_queue_insert_tail(&ngx_http_cycles_beginning, &hb->event.queue);

    ev->cancelable = 0;

    if (!ev->timer_set) {
        ev->log = ngx_cycle->log;
        ngx_add_timer(ev, NGX_HTTP_CYCLES_BEGINNING);
    }
}


static void
ngx_http_cycles_heartbeat_sweep(ngx_event_t *ev)
{
    ngx_queue_t            *q;
    ngx_event_t            *event;
    ngx_msec_int_t          delay;
    ngx_http_cycles_ctx_t  *ctx;

    while (!ngx_queue_empty(&ngx_http_cycles_beginning)) {
        q = ngx_queue_head(&ngx_http_cycles_beginning);
        event = ngx_queue_data(q, ngx_event_t, queue);
        ctx = event->data;

        ngx_queue_remove(q);
        ctx->heartbeat.beginning = 0;

        delay = (ngx_msec_int_t) (event->timer.key - ngx_current_msec);

        ngx_add_timer(event, (ngx_msec_t) ngx_max(delay, 1));
    }
}


static void
ngx_http_cycles_heartbeat_add(ngx_http_cycles_ctx_t *ctx, int64_t delay)
{
    ngx_http_cycles_heartbeat_t  *hb;

    hb = &ctx->heartbeat;

    if (!hb->begun) {
        hb->begun = 1;

        if (delay >= 2 * NGX_HTTP_CYCLES_BEGINNING) {
            ngx_http_cycles_heartbeat_first(ctx, delay);
            return;
        }
    }

    ngx_add_timer(&hb->event, (ngx_msec_t) delay);
}


static void
ngx_http_cycles_heartbeat_give_up(ngx_http_cycles_ctx_t *ctx, const char *why)
{
    ctx->heartbeat.stopped = 1;

    ngx_http_cycles_count(BEAT_GAVE_UP);

    ngx_log_error(NGX_LOG_ERR, ctx->request->connection->log, 0,
                  "cycles: reservation \"%V\" is not extended any more: %s, "
                  "request goes on and is settled at its end",
                  &ctx->reservation_id, why);
}


static int64_t
ngx_http_cycles_heartbeat_lead(ngx_http_cycles_heartbeat_t *hb)
{
    int64_t  elapsed;

    elapsed = (int64_t) (ngx_current_msec - hb->since);

    return ngx_max(hb->lead - elapsed, 0);
}


static int64_t
ngx_http_cycles_heartbeat_attempt(ngx_http_cycles_ctx_t *ctx)
{
    int64_t  timeout;

    if (!ctx->reservation->authority->remote) {
        return 0;
    }

    timeout = ctx->reservation->call.timeout;
    timeout = ngx_max(timeout, NGX_HTTP_CYCLES_MIN_ATTEMPT);

    return ngx_max(timeout, 2 * ctx->heartbeat.max_rtt);
}


static int64_t
ngx_http_cycles_heartbeat_margin(ngx_http_cycles_ctx_t *ctx)
{
    if (!ctx->reservation->authority->remote) {
        return 0;
    }

    return ngx_max(2 * ctx->heartbeat.max_rtt, NGX_HTTP_CYCLES_MIN_MARGIN);
}


static int64_t
ngx_http_cycles_heartbeat_hold(ngx_http_cycles_ctx_t *ctx)
{
    return ngx_min(ctx->reservation->terms.ttl_ms / 2,
                   NGX_HTTP_CYCLES_MAX_HOLD);
}
