
/*
 * Copyright (C) nginx-cycles authors
 *
 * The embedded ledger behind the interface of authorities.  Answers come at
 * the end of a turn of the event loop, for all of the turn, but for those that
 * have to wait for the disk: with "sync=always", or when a settlement could
 * not be written.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_ledger.h"
#include "../status/ngx_http_cycles_counters.h"


/* how much a power failure may take, in milliseconds */
#define NGX_HTTP_CYCLES_LEDGER_SYNC       50

/* operations that are written at once: the lock is not held for long */
#define NGX_HTTP_CYCLES_LEDGER_TOGETHER   64

/* between two syncs, in microseconds, while records keep coming */
#define NGX_HTTP_CYCLES_LEDGER_GATHER     2000

#define NGX_HTTP_CYCLES_LEDGER_HOLD       60000

#define NGX_HTTP_CYCLES_LEDGER_EXPIRE     1000
#define NGX_HTTP_CYCLES_LEDGER_EXPIRE_MIN 10
#define NGX_HTTP_CYCLES_LEDGER_EXPIRE_MAX 256

#define NGX_HTTP_CYCLES_LEDGER_RETRY      100
#define NGX_HTTP_CYCLES_LEDGER_RETRY_MAX  5000

/* attempts of a worker that is about to exit, until it gives up */
#define NGX_HTTP_CYCLES_LEDGER_LAST_TRIES 10

#define NGX_HTTP_CYCLES_LEDGER_COMPLAIN   60

#define NGX_HTTP_CYCLES_TRACE_ID_LEN      32


typedef struct {
    ngx_http_cycles_reservation_t   *reservation;
    ngx_http_cycles_ledger_look_up_t  *look_up;
    ngx_queue_t                      queue;       /* of a turn, or failed */
    u_char                           id[sizeof(((cycles_reserved_t *) 0)->id)];
    unsigned                         settling:1;
    unsigned                         queued:1;    /* in this turn */
    unsigned                         failed:1;    /* has been logged */
    unsigned                         last_tries:8;

    ngx_http_cycles_ledger_wait_t    wait;        /* last: with sync=always */
} ngx_http_cycles_ledger_call_t;


#if (NGX_THREADS)

typedef struct {
    cycles_ledger_t                 *core;
    ngx_int_t                        error;
} ngx_http_cycles_ledger_sync_t;


static void ngx_http_cycles_ledger_sync_thread(void *data, ngx_log_t *log);
static void ngx_http_cycles_ledger_sync_ready(ngx_event_t *ev);

#endif

static ngx_int_t ngx_http_cycles_ledger_reserve(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_ledger_reserve_once(
    ngx_http_cycles_ledger_call_t *call);
static ngx_int_t ngx_http_cycles_ledger_call_look_up(
    ngx_http_cycles_ledger_call_t *call);
static void ngx_http_cycles_ledger_found(void *data, ngx_int_t error);
static ngx_http_cycles_ledger_call_t *ngx_http_cycles_ledger_call(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_trace(ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_complain(ngx_http_cycles_ledger_t *l);
static void ngx_http_cycles_ledger_abandon(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_destroy(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_ledger_extend(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_ledger_settle(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_leave(ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_turn(ngx_event_t *ev);
static void ngx_http_cycles_ledger_several(ngx_http_cycles_ledger_t *l,
    ngx_queue_t *calls);
static ngx_uint_t ngx_http_cycles_ledger_undone(cycles_code_t code,
    uint64_t record, ngx_uint_t failed, uint64_t written);
static ngx_int_t ngx_http_cycles_ledger_queue(
    ngx_http_cycles_ledger_call_t *call, ngx_int_t rc);
static ngx_int_t ngx_http_cycles_ledger_reserve_answered(
    ngx_http_cycles_ledger_call_t *call, cycles_code_t code);
static ngx_int_t ngx_http_cycles_ledger_settle_once(
    ngx_http_cycles_ledger_call_t *call);
static ngx_int_t ngx_http_cycles_ledger_settle_answered(
    ngx_http_cycles_ledger_call_t *call);
static ngx_int_t ngx_http_cycles_ledger_settle_failed(
    ngx_http_cycles_ledger_call_t *call);
static void ngx_http_cycles_ledger_settle_by_kind(
    ngx_http_cycles_ledger_t *l, ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_commit(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_too_late(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_release(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_event(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_ledger_retry(ngx_event_t *ev);
static void ngx_http_cycles_ledger_sync(ngx_http_cycles_ledger_t *l);
static void ngx_http_cycles_ledger_sync_timer(ngx_event_t *ev);
static void ngx_http_cycles_ledger_hold_timer(ngx_event_t *ev);
static void ngx_http_cycles_ledger_gather(ngx_event_t *ev);
static void ngx_http_cycles_ledger_sync_begin(ngx_http_cycles_ledger_t *l);
static int64_t ngx_http_cycles_ledger_clock(void);
static void ngx_http_cycles_ledger_sync_inline(ngx_event_t *ev);
static void ngx_http_cycles_ledger_sync_done(ngx_http_cycles_ledger_t *l);
static void ngx_http_cycles_ledger_finish(
    ngx_http_cycles_ledger_wait_t *wait, ngx_int_t error);
static void ngx_http_cycles_ledger_expire(ngx_event_t *ev);
static cycles_str_t ngx_http_cycles_ledger_str(ngx_str_t *str);


const ngx_http_cycles_authority_ops_t  ngx_http_cycles_ledger_ops = {
    ngx_http_cycles_ledger_reserve,
    ngx_http_cycles_ledger_abandon,
    ngx_http_cycles_ledger_extend,
    ngx_http_cycles_ledger_settle,
    ngx_http_cycles_ledger_leave,
    952
};


ngx_connection_t  ngx_http_cycles_ledger_connection;


ngx_int_t
ngx_http_cycles_ledger_init_authority(ngx_http_cycles_ledger_t *l,
    ngx_cycle_t *cycle)
{
    ngx_http_cycles_ledger_connection.fd = (ngx_socket_t) -1;

    ngx_queue_init(&l->queued);
    ngx_queue_init(&l->waiting);
    ngx_queue_init(&l->failed);

    l->turn.handler = ngx_http_cycles_ledger_turn;
    l->turn.data = &ngx_http_cycles_ledger_connection;
    l->turn.log = cycle->log;

    l->sync.handler = ngx_http_cycles_ledger_sync_timer;
    l->sync.data = &ngx_http_cycles_ledger_connection;
    l->sync.log = cycle->log;
    l->sync.cancelable = 1;

    l->synced.handler = ngx_http_cycles_ledger_sync_inline;
    l->synced.data = &ngx_http_cycles_ledger_connection;
    l->synced.log = cycle->log;

    l->gather.handler = ngx_http_cycles_ledger_gather;
    l->gather.data = &ngx_http_cycles_ledger_connection;
    l->gather.log = cycle->log;

    l->hold.handler = ngx_http_cycles_ledger_hold_timer;
    l->hold.data = &ngx_http_cycles_ledger_connection;
    l->hold.log = cycle->log;

    l->retry.handler = ngx_http_cycles_ledger_retry;
    l->retry.data = &ngx_http_cycles_ledger_connection;
    l->retry.log = cycle->log;
    l->retry_delay = NGX_HTTP_CYCLES_LEDGER_RETRY;

    l->expire.handler = ngx_http_cycles_ledger_expire;
    l->expire.data = &ngx_http_cycles_ledger_connection;
    l->expire.log = cycle->log;
    l->expire.cancelable = 1;

#if (NGX_THREADS)
    {
    ngx_http_cycles_ledger_sync_t  *sync;

    l->task = ngx_thread_task_alloc(cycle->pool,
                                    sizeof(ngx_http_cycles_ledger_sync_t));
    if (l->task == NULL) {
        return NGX_ERROR;
    }

    sync = l->task->ctx;
    sync->core = l->core;

    l->task->handler = ngx_http_cycles_ledger_sync_thread;
    l->task->event.handler = ngx_http_cycles_ledger_sync_ready;
    l->task->event.data = l;
    }
#endif

    ngx_add_timer(&l->expire, NGX_HTTP_CYCLES_LEDGER_EXPIRE_MIN);

    /* what the master has written, which has no event loop to sync in */

    ngx_http_cycles_ledger_wrote(l);

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_ledger_reserve(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ledger_call_t  *call;

    ngx_str_null(&rsv->id);
    ngx_str_null(&rsv->request_id);
    ngx_str_null(&rsv->trace_id);

    rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
    rsv->reserve_time = 0;

    call = ngx_http_cycles_ledger_call(rsv);

    if (call == NULL) {
        return NGX_OK;
    }

    call->settling = 0;

    ngx_http_cycles_ledger_trace(rsv);

    /* what is only reported is not asked for again, so nothing remembers it */

    if (rsv->terms.dry_run) {
        rsv->terms.idempotency_key.len = 0;
        return ngx_http_cycles_ledger_reserve_once(call);
    }

    return ngx_http_cycles_ledger_queue(call, NGX_AGAIN);
}


static ngx_int_t
ngx_http_cycles_ledger_reserve_once(ngx_http_cycles_ledger_call_t *call)
{
    cycles_code_t                   code;
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = call->reservation;

    l = rsv->authority->data;

    code = cycles_ledger_reserve(l->core, &rsv->terms, rsv->reserved,
                                 ngx_http_cycles_ledger_now());

    return ngx_http_cycles_ledger_reserve_answered(call, code);
}


static ngx_int_t
ngx_http_cycles_ledger_reserve_answered(ngx_http_cycles_ledger_call_t *call,
    cycles_code_t code)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = call->reservation;
    l = rsv->authority->data;

    if (code == CYCLES_LOOK_UP) {
        return ngx_http_cycles_ledger_call_look_up(call);
    }

    if (code == CYCLES_INTERNAL_ERROR) {
        ngx_http_cycles_ledger_complain(l);
        return NGX_OK;
    }

    rsv->outcome = NGX_HTTP_CYCLES_ANSWERED;
    rsv->id.len = ngx_strlen(rsv->reserved->id);
    rsv->id.data = call->id;
    ngx_memcpy(call->id, rsv->reserved->id, rsv->id.len);

    return ngx_http_cycles_ledger_wait(l, rsv->reserved->record,
                                       &call->wait);
}


/* somebody may have used this key long ago, or settled this reservation */

static ngx_int_t
ngx_http_cycles_ledger_call_look_up(ngx_http_cycles_ledger_call_t *call)
{
    call->look_up = ngx_http_cycles_ledger_look_up(
                                            call->reservation->authority->data,
                                            ngx_http_cycles_ledger_found,
                                            call);
    if (call->look_up) {
        return NGX_AGAIN;
    }

    return call->settling ? ngx_http_cycles_ledger_settle_failed(call)
                          : NGX_OK;
}


static void
ngx_http_cycles_ledger_found(void *data, ngx_int_t error)
{
    ngx_http_cycles_ledger_call_t *call = data;

    ngx_int_t                       rc;
    ngx_http_cycles_reservation_t  *rsv;

    call->look_up = NULL;
    rsv = call->reservation;

    if (call->settling) {
        rc = (error == NGX_OK) ? ngx_http_cycles_ledger_settle_once(call)
                               : ngx_http_cycles_ledger_settle_failed(call);

        if (rc == NGX_OK) {
            rsv->settle_done(rsv);
        }

        return;
    }

    if (error == NGX_OK
        && ngx_http_cycles_ledger_reserve_once(call) == NGX_AGAIN)
    {
        return;
    }

    rsv->reserve_done(rsv);
}


static ngx_http_cycles_ledger_call_t *
ngx_http_cycles_ledger_call(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_ledger_call_t  *call;

    if (rsv->call_data) {
        return rsv->call_data;
    }

    l = rsv->authority->data;

    call = ngx_pcalloc(rsv->pool,
                       (l->sync_mode == NGX_HTTP_CYCLES_LEDGER_ALWAYS)
                       ? sizeof(ngx_http_cycles_ledger_call_t)
                       : offsetof(ngx_http_cycles_ledger_call_t, wait));
    if (call == NULL) {
        return NULL;
    }

    call->reservation = rsv;

    if (l->sync_mode == NGX_HTTP_CYCLES_LEDGER_ALWAYS) {
        call->wait.handler = ngx_http_cycles_ledger_finish;
        call->wait.data = call;
    }

    rsv->call_data = call;

    return call;
}


/* the log of the ledger keeps it */

static void
ngx_http_cycles_ledger_trace(ngx_http_cycles_reservation_t *rsv)
{
    if (rsv->traceparent.len == 0) {
        return;
    }

    rsv->trace_id.data = rsv->traceparent.data + sizeof("00-") - 1;
    rsv->trace_id.len = NGX_HTTP_CYCLES_TRACE_ID_LEN;
    rsv->terms.trace_id = ngx_http_cycles_ledger_str(&rsv->trace_id);
}


static void
ngx_http_cycles_ledger_complain(ngx_http_cycles_ledger_t *l)
{
    if (l->complained
        && ngx_time() - l->complained < NGX_HTTP_CYCLES_LEDGER_COMPLAIN)
    {
        return;
    }

    l->complained = ngx_time();

    ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                  "ledger \"%V\" can't take reservations: %s", &l->name,
                  cycles_ledger_trouble(l->core));
}


static void
ngx_http_cycles_ledger_abandon(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_ledger_call_t  *call;

    l = rsv->authority->data;
    call = rsv->call_data;

    if (call) {
        if (l->sync_mode == NGX_HTTP_CYCLES_LEDGER_ALWAYS) {
            ngx_http_cycles_ledger_wait_cancel(&call->wait);
        }

        if (call->queued) {
            ngx_queue_remove(&call->queue);
            call->queued = 0;
        }

        if (call->look_up) {
            ngx_http_cycles_ledger_look_up_cancel(call->look_up);
            call->look_up = NULL;
        }
    }

    if (rsv->id.len == 0) {
        ngx_http_cycles_ledger_destroy(rsv);
        return;
    }

    rsv->kind = NGX_HTTP_CYCLES_RELEASE;
    rsv->settle_done = ngx_http_cycles_ledger_destroy;
    ngx_str_set(&rsv->reason, "client_disconnect");

    /* keys are by operation: the one of the reserve is as good */

    rsv->settle_key.len = rsv->terms.idempotency_key.len;
    rsv->settle_key.data = rsv->terms.idempotency_key.data;

    if (ngx_http_cycles_ledger_settle(rsv) == NGX_OK) {
        ngx_http_cycles_ledger_destroy(rsv);
    }
}


static void
ngx_http_cycles_ledger_destroy(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_destroy_reservation(rsv);
}


static ngx_int_t
ngx_http_cycles_ledger_extend(ngx_http_cycles_reservation_t *rsv)
{
    cycles_code_t              code;
    cycles_extend_t            rq;
    cycles_settled_t           rs;
    ngx_http_cycles_ledger_t  *l;

    l = rsv->authority->data;

    rq.idempotency_key = ngx_http_cycles_ledger_str(&rsv->extend_key);
    rq.extend_by_ms = rsv->terms.ttl_ms;
    rq.metadata.len = 0;
    rq.trace_id = rsv->terms.trace_id;

    rsv->extend_status = 0;
    rsv->extend_rtt = 0;
    rsv->extend_retry_after = 0;

    code = cycles_ledger_extend(l->core, ngx_http_cycles_ledger_str(&rsv->id),
                                &rq, &rs, ngx_http_cycles_ledger_now());

    ngx_http_cycles_keep_settled(&rsv->extended, &rs);

    /* what memory has forgotten has ended */

    if (code == CYCLES_LOOK_UP) {
        rsv->extended.code = CYCLES_RESERVATION_EXPIRED;
    }

    if (code == CYCLES_INTERNAL_ERROR) {
        rsv->extend_outcome = NGX_HTTP_CYCLES_OUTAGE;
        ngx_http_cycles_ledger_complain(l);
        return NGX_OK;
    }

    rsv->extend_outcome = NGX_HTTP_CYCLES_ANSWERED;

    ngx_http_cycles_ledger_wrote(l);

    return NGX_OK;
}


/* an extension is answered at once */

static void
ngx_http_cycles_ledger_leave(ngx_http_cycles_reservation_t *rsv)
{
}


static ngx_int_t
ngx_http_cycles_ledger_settle(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_ledger_call_t  *call;

    ngx_memzero(&rsv->settled, sizeof(ngx_http_cycles_settled_t));

    call = ngx_http_cycles_ledger_call(rsv);

    if (call == NULL) {
        rsv->settle_outcome = NGX_HTTP_CYCLES_OUTAGE;
        return NGX_OK;
    }

    call->settling = 1;
    call->failed = 0;
    call->last_tries = 0;

    if (rsv->settle_tried == NULL) {
        return ngx_http_cycles_ledger_settle_once(call);
    }

    return ngx_http_cycles_ledger_queue(call, NGX_BUSY);
}


static ngx_int_t
ngx_http_cycles_ledger_queue(ngx_http_cycles_ledger_call_t *call,
    ngx_int_t rc)
{
    ngx_http_cycles_ledger_t  *l;

    l = call->reservation->authority->data;

    call->queued = 1;
    ngx_queue_insert_tail(&l->queued, &call->queue);

    if (!l->turn.posted) {
        ngx_post_event(&l->turn, &ngx_posted_events);
    }

    return rc;
}


/*
 * The end of a turn of the event loop: a worker neither sleeps nor exits
 * before it.
 */

static void
ngx_http_cycles_ledger_turn(ngx_event_t *ev)
{
    ngx_uint_t                 n;
    ngx_queue_t                calls, *q;
    ngx_http_cycles_ledger_t  *l;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, turn));

    while (!ngx_queue_empty(&l->queued)) {
        ngx_queue_init(&calls);

        for (n = 0; n < NGX_HTTP_CYCLES_LEDGER_TOGETHER; n++) {

            if (ngx_queue_empty(&l->queued)) {
                break;
            }

            q = ngx_queue_head(&l->queued);

            ngx_queue_remove(q);
            ngx_queue_insert_tail(&calls, q);
        }

        ngx_http_cycles_ledger_several(l, &calls);
    }
}


/*
 * One lock and one write for all of them.  What needs more than that, or could
 * not be written with the others, is then done on its own.
 */

static void
ngx_http_cycles_ledger_several(ngx_http_cycles_ledger_t *l,
    ngx_queue_t *calls)
{
    uint64_t                        written;
    ngx_int_t                       rc;
    ngx_uint_t                      together, failed;
    ngx_queue_t                    *q;
    ngx_http_cycles_ledger_call_t  *call;
    ngx_http_cycles_reservation_t  *rsv;

    together = 0;
    failed = 0;
    written = 0;

    if (ngx_queue_head(calls) != ngx_queue_last(calls)
        && cycles_ledger_together(l->core) == 0)
    {
        together = 1;

        for (q = ngx_queue_head(calls);
             q != ngx_queue_sentinel(calls);
             q = ngx_queue_next(q))
        {
            call = ngx_queue_data(q, ngx_http_cycles_ledger_call_t, queue);
            rsv = call->reservation;

            if (call->settling) {
                ngx_http_cycles_ledger_settle_by_kind(l, rsv);

            } else {
                (void) cycles_ledger_reserve(l->core, &rsv->terms,
                                             rsv->reserved,
                                             ngx_http_cycles_ledger_now());
            }
        }

        failed = (cycles_ledger_apart(l->core, &written) != 0);

        ngx_http_cycles_clock_stop();
    }

    while (!ngx_queue_empty(calls)) {
        q = ngx_queue_head(calls);
        call = ngx_queue_data(q, ngx_http_cycles_ledger_call_t, queue);
        rsv = call->reservation;

        ngx_queue_remove(q);
        call->queued = 0;

        if (!call->settling) {

            if (!together
                || ngx_http_cycles_ledger_undone(rsv->reserved->code,
                                                 rsv->reserved->record,
                                                 failed, written))
            {
                rc = ngx_http_cycles_ledger_reserve_once(call);

            } else {
                rc = ngx_http_cycles_ledger_reserve_answered(call,
                                                     rsv->reserved->code);
            }

            if (rc == NGX_OK) {
                rsv->reserve_done(rsv);
            }

            continue;
        }

        if (!together
            || ngx_http_cycles_ledger_undone(rsv->settled.code,
                                             rsv->settled.record, failed,
                                             written))
        {
            rc = ngx_http_cycles_ledger_settle_once(call);

        } else {
            rc = ngx_http_cycles_ledger_settle_answered(call);
        }

        rsv->settle_tried(rsv);

        if (rc == NGX_OK) {
            rsv->settle_done(rsv);
        }
    }

    ngx_http_cycles_clock_go_on();
}


static ngx_uint_t
ngx_http_cycles_ledger_undone(cycles_code_t code, uint64_t record,
    ngx_uint_t failed, uint64_t written)
{
    switch (code) {

    case CYCLES_LOOK_UP:
    case CYCLES_INTERNAL_ERROR:
    case CYCLES_RESERVATION_EXPIRED:
    case CYCLES_RESERVATION_FINALIZED:
        return 1;

    default:
        return failed && (record == 0 || record > written);
    }
}


static ngx_int_t
ngx_http_cycles_ledger_settle_once(ngx_http_cycles_ledger_call_t *call)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = call->reservation;
    l = rsv->authority->data;

    ngx_http_cycles_ledger_settle_by_kind(l, rsv);

    if (rsv->kind == NGX_HTTP_CYCLES_COMMIT) {
        ngx_http_cycles_ledger_too_late(l, rsv);
    }

    return ngx_http_cycles_ledger_settle_answered(call);
}


static void
ngx_http_cycles_ledger_settle_by_kind(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv)
{
    switch (rsv->kind) {

    case NGX_HTTP_CYCLES_COMMIT:
        ngx_http_cycles_ledger_commit(l, rsv);
        break;

    case NGX_HTTP_CYCLES_RELEASE:
        ngx_http_cycles_ledger_release(l, rsv);
        break;

    default: /* NGX_HTTP_CYCLES_EVENT */
        ngx_http_cycles_ledger_event(l, rsv);
    }
}


static ngx_int_t
ngx_http_cycles_ledger_settle_answered(ngx_http_cycles_ledger_call_t *call)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = call->reservation;
    l = rsv->authority->data;

    if (rsv->settled.code == CYCLES_LOOK_UP) {
        return ngx_http_cycles_ledger_call_look_up(call);
    }

    if (rsv->settled.code == CYCLES_INTERNAL_ERROR) {
        return ngx_http_cycles_ledger_settle_failed(call);
    }

    rsv->settle_outcome = NGX_HTTP_CYCLES_ANSWERED;

    return ngx_http_cycles_ledger_wait(l, rsv->settled.record, &call->wait);
}


/*
 * The disk is full beyond what was kept free.  The reservation still holds
 * the money, so there is time; a commit that gets too late becomes an event.
 */

static ngx_int_t
ngx_http_cycles_ledger_settle_failed(ngx_http_cycles_ledger_call_t *call)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = call->reservation;
    l = rsv->authority->data;

    if (ngx_exiting
        && call->last_tries++ == NGX_HTTP_CYCLES_LEDGER_LAST_TRIES)
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "reservation \"%V\" of ledger \"%V\" was not settled "
                      "with %L before the process ended: %s", &rsv->id,
                      &l->name,
                      (rsv->kind == NGX_HTTP_CYCLES_RELEASE) ? 0
                                                             : rsv->actual,
                      cycles_ledger_trouble(l->core));

        rsv->settle_outcome = NGX_HTTP_CYCLES_OUTAGE;
        return NGX_OK;
    }

    if (!call->failed) {
        call->failed = 1;

        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "reservation \"%V\" of ledger \"%V\" can't be settled "
                      "yet: %s", &rsv->id, &l->name,
                      cycles_ledger_trouble(l->core));
    }

    ngx_queue_insert_tail(&l->failed, &call->queue);

    if (!l->retry.timer_set) {
        ngx_add_timer(&l->retry, l->retry_delay);
    }

    return NGX_AGAIN;
}


static void
ngx_http_cycles_ledger_commit(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv)
{
    cycles_commit_t    rq;
    cycles_settled_t   rs;

    rq.idempotency_key = ngx_http_cycles_ledger_str(&rsv->settle_key);
    rq.unit = rsv->terms.unit;
    rq.actual = rsv->actual;
    rq.metrics = rsv->metrics;
    rq.metadata = ngx_http_cycles_ledger_str(&rsv->settle_metadata);
    rq.trace_id = rsv->terms.trace_id;
    rq.fresh_key = 1;

    cycles_ledger_commit(l->core, ngx_http_cycles_ledger_str(&rsv->id), &rq,
                         &rs, ngx_http_cycles_ledger_now());

    ngx_http_cycles_keep_settled(&rsv->settled, &rs);
}


/* what was spent is recorded in any case */

static void
ngx_http_cycles_ledger_too_late(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv)
{
    const char  *why;

    switch (rsv->settled.code) {

    case CYCLES_RESERVATION_EXPIRED:
        why = "had expired";
        break;

    case CYCLES_RESERVATION_FINALIZED:

        /* by a client of the API: that is not for it to say what was spent */

        why = "was settled by another";
        break;

    default:
        return;
    }

    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "reservation \"%V\" of ledger \"%V\" %s, %L is recorded "
                  "as an event", &rsv->id, &l->name, why, rsv->actual);

    rsv->kind = NGX_HTTP_CYCLES_EVENT;

    ngx_http_cycles_ledger_event(l, rsv);
}


static void
ngx_http_cycles_ledger_release(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv)
{
    cycles_release_t  rq;
    cycles_settled_t  rs;

    rq.idempotency_key = ngx_http_cycles_ledger_str(&rsv->settle_key);
    rq.reason = ngx_http_cycles_ledger_str(&rsv->reason);
    rq.trace_id = rsv->terms.trace_id;
    rq.admin = 0;
    rq.fresh_key = 1;

    cycles_ledger_release(l->core, ngx_http_cycles_ledger_str(&rsv->id), &rq,
                          &rs, ngx_http_cycles_ledger_now());

    ngx_http_cycles_keep_settled(&rsv->settled, &rs);
}


/* the money is gone already: a policy that could refuse it is of no use */

static void
ngx_http_cycles_ledger_event(ngx_http_cycles_ledger_t *l,
    ngx_http_cycles_reservation_t *rsv)
{
    cycles_event_t    rq;
    cycles_settled_t  rs;

    rq.idempotency_key = ngx_http_cycles_ledger_str(&rsv->settle_key);
    rq.subject = rsv->terms.subject;
    rq.action = rsv->terms.action;
    rq.unit = rsv->terms.unit;
    rq.actual = rsv->actual;
    rq.policy = CYCLES_ALLOW_IF_AVAILABLE;
    rq.metrics = rsv->metrics;
    rq.metadata = ngx_http_cycles_ledger_str(&rsv->settle_metadata);
    rq.client_time_ms = -1;
    rq.fresh_key = 1;
    rq.trace_id = rsv->terms.trace_id;

    cycles_ledger_event(l->core, &rq, &rs, ngx_http_cycles_ledger_now());

    ngx_http_cycles_keep_settled(&rsv->settled, &rs);
}


/* all that have failed, and wait longer each time that one of them does */

static void
ngx_http_cycles_ledger_retry(ngx_event_t *ev)
{
    ngx_queue_t                     calls, *q;
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_ledger_call_t  *call;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, retry));

    ngx_queue_init(&calls);
    ngx_queue_add(&calls, &l->failed);
    ngx_queue_init(&l->failed);

    l->retry_delay = ngx_min(l->retry_delay * 2,
                             NGX_HTTP_CYCLES_LEDGER_RETRY_MAX);

    while (!ngx_queue_empty(&calls)) {
        q = ngx_queue_head(&calls);
        call = ngx_queue_data(q, ngx_http_cycles_ledger_call_t, queue);

        ngx_queue_remove(q);

        if (ngx_http_cycles_ledger_settle_once(call) == NGX_OK) {
            call->reservation->settle_done(call->reservation);
        }
    }

    if (ngx_queue_empty(&l->failed)) {
        l->retry_delay = NGX_HTTP_CYCLES_LEDGER_RETRY;
    }
}


ngx_int_t
ngx_http_cycles_ledger_wait(void *data, uint64_t record,
    ngx_http_cycles_ledger_wait_t *wait)
{
    ngx_http_cycles_ledger_t  *l = data;

    if (l->sync_mode != NGX_HTTP_CYCLES_LEDGER_ALWAYS
        || record <= cycles_ledger_synced(l->core))
    {
        ngx_http_cycles_ledger_wrote(l);
        return NGX_OK;
    }

    wait->record = record;
    wait->waiting = 1;
    ngx_http_cycles_gauge(LEDGER_WAITING, 1);
    ngx_queue_insert_tail(&l->waiting, &wait->queue);

    ngx_http_cycles_ledger_hold(l);
    ngx_http_cycles_ledger_sync(l);

    return NGX_AGAIN;
}


void
ngx_http_cycles_ledger_wait_cancel(ngx_http_cycles_ledger_wait_t *wait)
{
    if (wait->waiting) {
        wait->waiting = 0;
        ngx_http_cycles_gauge(LEDGER_WAITING, -1);
        ngx_queue_remove(&wait->queue);
    }
}


void
ngx_http_cycles_ledger_wrote(void *data)
{
    ngx_http_cycles_ledger_t  *l = data;

    if (l->syncing || l->sync.timer_set
        || cycles_ledger_written(l->core) <= cycles_ledger_synced(l->core))
    {
        return;
    }

    ngx_add_timer(&l->sync, NGX_HTTP_CYCLES_LEDGER_SYNC);
}


static void
ngx_http_cycles_ledger_sync_timer(ngx_event_t *ev)
{
    ngx_http_cycles_ledger_t  *l;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, sync));

    /* another worker may have done it for all */

    if (cycles_ledger_written(l->core) > cycles_ledger_synced(l->core)) {
        ngx_http_cycles_ledger_sync(l);
    }
}


/*
 * A worker that is to exit does so when no timer is left, and a thread that
 * syncs is none: this one stands for those who wait for it.
 */

void
ngx_http_cycles_ledger_hold(ngx_http_cycles_ledger_t *l)
{
    if (!l->hold.timer_set) {
        ngx_add_timer(&l->hold, NGX_HTTP_CYCLES_LEDGER_HOLD);
    }
}


void
ngx_http_cycles_ledger_unhold(ngx_http_cycles_ledger_t *l)
{
    if (l->hold.timer_set && l->looking == 0
        && ngx_queue_empty(&l->waiting) && ngx_queue_empty(&l->unfolded))
    {
        ngx_del_timer(&l->hold);
    }
}


static void
ngx_http_cycles_ledger_hold_timer(ngx_event_t *ev)
{
    ngx_add_timer(ev, NGX_HTTP_CYCLES_LEDGER_HOLD);
}


/*
 * One sync is under way at a time; what comes meanwhile shares the next one.
 * It takes the time of a core, too, and where the disk is quick that would be
 * much for a few records: then more of them are waited for, as long as each
 * turn of the event loop has some.
 */

static void
ngx_http_cycles_ledger_sync(ngx_http_cycles_ledger_t *l)
{
    if (l->syncing) {
        return;
    }

    l->syncing = 1;

    if (ngx_http_cycles_ledger_clock() - l->sync_began
        >= NGX_HTTP_CYCLES_LEDGER_GATHER)
    {
        ngx_http_cycles_ledger_sync_begin(l);
        return;
    }

    l->gathered = cycles_ledger_written(l->core);

    ngx_post_event(&l->gather, &ngx_posted_next_events);
}


static void
ngx_http_cycles_ledger_gather(ngx_event_t *ev)
{
    uint64_t                   written;
    ngx_http_cycles_ledger_t  *l;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, gather));

    written = cycles_ledger_written(l->core);

    if (written == l->gathered
        || ngx_http_cycles_ledger_clock() - l->sync_began
           >= NGX_HTTP_CYCLES_LEDGER_GATHER)
    {
        ngx_http_cycles_ledger_sync_begin(l);
        return;
    }

    l->gathered = written;

    ngx_post_event(&l->gather, &ngx_posted_next_events);
}


/* without threads at the end of this turn, for all that was written in it */

static void
ngx_http_cycles_ledger_sync_begin(ngx_http_cycles_ledger_t *l)
{
    l->sync_began = ngx_http_cycles_ledger_clock();

#if (NGX_THREADS)

    if (ngx_thread_task_post(l->threads, l->task) == NGX_OK) {
        return;
    }

#endif

    ngx_post_event(&l->synced, &ngx_posted_events);
}


static int64_t
ngx_http_cycles_ledger_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


static void
ngx_http_cycles_ledger_sync_inline(ngx_event_t *ev)
{
    ngx_http_cycles_ledger_t  *l;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, synced));

    l->sync_error = cycles_ledger_sync(l->core);

    ngx_http_cycles_ledger_sync_done(l);
}


#if (NGX_THREADS)

static void
ngx_http_cycles_ledger_sync_thread(void *data, ngx_log_t *log)
{
    ngx_http_cycles_ledger_sync_t  *sync = data;

    sync->error = cycles_ledger_sync(sync->core);
}


static void
ngx_http_cycles_ledger_sync_ready(ngx_event_t *ev)
{
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_ledger_sync_t  *sync;

    l = ev->data;
    sync = l->task->ctx;

    ev->complete = 0;
    l->sync_error = sync->error;

    ngx_http_cycles_ledger_sync_done(l);
}

#endif


static void
ngx_http_cycles_ledger_sync_done(ngx_http_cycles_ledger_t *l)
{
    uint64_t                        synced;
    ngx_int_t                       error;
    ngx_queue_t                     ready, *q, *next;
    ngx_http_cycles_ledger_wait_t  *wait;

    l->syncing = 0;
    synced = cycles_ledger_synced(l->core);

    if (l->sync_error) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, l->sync_error,
                      "ledger \"%V\" could not be synced, a power failure "
                      "could lose its last records", &l->name);
    }

    ngx_queue_init(&ready);

    for (q = ngx_queue_head(&l->waiting);
         q != ngx_queue_sentinel(&l->waiting);
         q = next)
    {
        next = ngx_queue_next(q);
        wait = ngx_queue_data(q, ngx_http_cycles_ledger_wait_t, queue);

        if (wait->record <= synced || l->sync_error) {
            ngx_queue_remove(q);
            ngx_queue_insert_tail(&ready, q);
        }
    }

    /* the disk has its next task while requests go on that have waited */

    if (!ngx_queue_empty(&l->waiting)) {
        ngx_http_cycles_ledger_sync(l);
    }

    error = l->sync_error;

    while (!ngx_queue_empty(&ready)) {
        q = ngx_queue_head(&ready);
        wait = ngx_queue_data(q, ngx_http_cycles_ledger_wait_t, queue);

        ngx_queue_remove(q);

        wait->waiting = 0;
        ngx_http_cycles_gauge(LEDGER_WAITING, -1);
        wait->handler(wait, wait->record > synced ? error : 0);
    }

    if (ngx_queue_empty(&l->waiting)) {
        ngx_http_cycles_ledger_unhold(l);
        ngx_http_cycles_ledger_wrote(l);
    }
}


/*
 * A reservation that may be forgotten is no reservation; a settlement that
 * may be forgotten has still been made, and the log has said so.
 */

static void
ngx_http_cycles_ledger_finish(ngx_http_cycles_ledger_wait_t *wait,
    ngx_int_t error)
{
    cycles_release_t                rq;
    cycles_settled_t                settled;
    ngx_http_cycles_ledger_t       *l;
    ngx_http_cycles_ledger_call_t  *call;
    ngx_http_cycles_reservation_t  *rsv;

    call = wait->data;
    rsv = call->reservation;
    l = rsv->authority->data;

    if (call->settling) {
        rsv->settle_done(rsv);
        return;
    }

    if (error) {
        rq.idempotency_key = rsv->terms.idempotency_key;
        rq.reason.data = (u_char *) "not_durable";
        rq.reason.len = sizeof("not_durable") - 1;
        rq.trace_id = rsv->terms.trace_id;
        rq.admin = 0;
        rq.fresh_key = 1;

        cycles_ledger_release(l->core, ngx_http_cycles_ledger_str(&rsv->id),
                              &rq, &settled, ngx_http_cycles_ledger_now());

        ngx_str_null(&rsv->id);
        rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
    }

    rsv->reserve_done(rsv);
}


/* for the balances when there is no traffic; operations expire on their own */

static void
ngx_http_cycles_ledger_expire(ngx_event_t *ev)
{
    int64_t                    now, next;
    ngx_msec_t                 delay;
    ngx_http_cycles_ledger_t  *l;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, expire));

    now = ngx_http_cycles_ledger_now();

    if (cycles_ledger_expire(l->core, now, NGX_HTTP_CYCLES_LEDGER_EXPIRE_MAX,
                             &next))
    {
        ngx_http_cycles_ledger_wrote(l);
    }

    delay = NGX_HTTP_CYCLES_LEDGER_EXPIRE;

    if (next && next - now < NGX_HTTP_CYCLES_LEDGER_EXPIRE) {
        delay = (next - now > NGX_HTTP_CYCLES_LEDGER_EXPIRE_MIN)
                ? (ngx_msec_t) (next - now)
                : NGX_HTTP_CYCLES_LEDGER_EXPIRE_MIN;
    }

    ngx_add_timer(ev, delay);
}


static cycles_str_t
ngx_http_cycles_ledger_str(ngx_str_t *str)
{
    cycles_str_t  s;

    s.len = str->len;
    s.data = str->data;

    return s;
}
