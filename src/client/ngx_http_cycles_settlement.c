
/*
 * Copyright (C) nginx-cycles authors
 *
 * The rules are those of the recovery profile of the protocol's SDKs:
 *
 *     reply                               | what follows
 *     ------------------------------------+----------------------------------
 *     exactly the success asked for       | done
 *     a code that is known and final      | done, and told as an error
 *     the reservation has expired         | an event with the same key, which
 *                                         | the journal has first
 *     it has been finalized               | a look at it: the same if it was
 *                                         | released, or with the rest if it
 *                                         | was committed with less
 *     401, 403, a 4xx that says nothing,  | the record stays: a later one may
 *     404 when an earlier try may have    | find a new key, or another server
 *     arrived                             |
 *     429                                 | again, not before it says; so does
 *                                         | the journal
 *     anything else, or nothing           | again with the same bytes
 *
 * Without a journal, what stays is lost.
 */


#include "ngx_http_cycles_settlement.h"


/* a delay is shortened by up to this part, so that retries spread out */
#define NGX_HTTP_CYCLES_JITTER  10

/* how often a worker that has something to settle looks if it is to quit */
#define NGX_HTTP_CYCLES_HOLD_TIME  500


/* of this worker */

typedef struct {
    ngx_queue_t                  queue;
    ngx_event_t                  hold;
    ngx_connection_t             dumb;        /* for debug logs */
    ngx_msec_t                   deadline;
    unsigned                     init:1;
    unsigned                     exiting:1;
} ngx_http_cycles_settlements_t;


static ngx_int_t ngx_http_cycles_settlement_record(
    ngx_http_cycles_settlement_t *st);
static void ngx_http_cycles_settlement_recorded(void *data, ngx_err_t error);
static void ngx_http_cycles_settlement_go(ngx_http_cycles_settlement_t *st);
static void ngx_http_cycles_settlement_send(ngx_http_cycles_settlement_t *st);
static ngx_int_t ngx_http_cycles_settlement_uri(
    ngx_http_cycles_settlement_t *st);
static void ngx_http_cycles_settlement_reply(ngx_http_cycles_call_t *call);
static cycles_verdict_t ngx_http_cycles_settlement_verdict(
    ngx_http_cycles_settlement_t *st, cycles_reply_t *reply);
static ngx_int_t ngx_http_cycles_settlement_has_event(
    ngx_http_cycles_settlement_t *st);
static void ngx_http_cycles_settlement_turn(ngx_http_cycles_settlement_t *st,
    cycles_op_t op);
static ngx_int_t ngx_http_cycles_settlement_event(
    ngx_http_cycles_settlement_t *st);
static ngx_uint_t ngx_http_cycles_settlement_keeps(
    ngx_http_cycles_settlement_t *st, cycles_verdict_t verdict,
    cycles_reply_t *reply);
static void ngx_http_cycles_settlement_again(ngx_http_cycles_settlement_t *st,
    cycles_reply_t *reply);
static ngx_msec_t ngx_http_cycles_settlement_delay(
    ngx_http_cycles_call_conf_t *conf, ngx_uint_t tries);
static void ngx_http_cycles_settlement_retry(ngx_event_t *ev);
static void ngx_http_cycles_settlement_end(ngx_http_cycles_settlement_t *st,
    ngx_http_cycles_outcome_t outcome, ngx_uint_t keep);

static void ngx_http_cycles_settlement_hold(ngx_http_cycles_settlement_t *st);
static void ngx_http_cycles_settlement_hold_handler(ngx_event_t *ev);
static int64_t ngx_http_cycles_settlement_now(void);


static ngx_http_cycles_settlements_t  ngx_http_cycles_settlements;


void
ngx_http_cycles_settlement_start(ngx_http_cycles_settlement_t *st)
{
    ngx_http_cycles_journal_t  *journal;

    st->retry.handler = ngx_http_cycles_settlement_retry;
    st->retry.data = &st->call;
    st->retry.log = st->log;

    st->call.data = st;
    st->call.handler = ngx_http_cycles_settlement_reply;

    journal = ngx_http_cycles_journal();

    ngx_http_cycles_settlement_hold(st);

    if (st->entry) {

        /* a replay is on the disk as it is */

        ngx_http_cycles_settlement_send(st);
        return;
    }

    if (journal && st->op != CYCLES_OP_RELEASE) {
        st->recorded_at_ms = ngx_http_cycles_settlement_now();

        st->entry = ngx_http_cycles_journal_add(journal, &st->id,
                                                &st->server->base_url,
                                                &st->tenant, &st->api_key);

        if (ngx_http_cycles_settlement_record(st) == NGX_OK) {
            return;
        }
    }

    ngx_http_cycles_settlement_send(st);
}


/* NGX_OK: it is on its way to the disk, and goes on from there */

static ngx_int_t
ngx_http_cycles_settlement_record(ngx_http_cycles_settlement_t *st)
{
    cycles_journal_record_t  rec;

    if (st->entry == NULL) {
        return NGX_DECLINED;
    }

    rec.reservation_id.len = st->id.len;
    rec.reservation_id.data = st->id.data;
    rec.base_url.len = st->server->base_url.len;
    rec.base_url.data = st->server->base_url.data;

    rec.mode = (st->op == CYCLES_OP_EVENT) ? CYCLES_JOURNAL_EVENT
                                           : CYCLES_JOURNAL_COMMIT;

    rec.commit_body.len = st->body.len;
    rec.commit_body.data = st->body.data;
    rec.event_body.len = st->event_body.len;
    rec.event_body.data = st->event_body.data;

    rec.recorded_at_ms = st->recorded_at_ms;
    rec.not_before_ms = st->not_before_ms;

    if (ngx_http_cycles_journal_put(st->entry, &rec,
                                    ngx_http_cycles_settlement_recorded, st)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    st->writing = 1;

    return NGX_OK;
}


/* a journal that can't be written is told by itself, and stops nothing */

static void
ngx_http_cycles_settlement_recorded(void *data, ngx_err_t error)
{
    ngx_http_cycles_settlement_t  *st = data;

    st->writing = 0;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, st->log, error,
                   "cycles settlement of \"%V\" is in the journal, op:%ui",
                   &st->id, (ngx_uint_t) st->op);

    ngx_http_cycles_settlement_go(st);
}


static void
ngx_http_cycles_settlement_go(ngx_http_cycles_settlement_t *st)
{
    if (st->last) {
        ngx_http_cycles_settlement_end(st, NGX_HTTP_CYCLES_OUTAGE, 1);
        return;
    }

    if (st->delay) {
        ngx_add_timer(&st->retry, st->delay);
        st->delay = 0;
        return;
    }

    ngx_http_cycles_settlement_send(st);
}


static void
ngx_http_cycles_settlement_send(ngx_http_cycles_settlement_t *st)
{
    ngx_http_cycles_call_t  *call;

    call = &st->call;

    call->conf_ctx = st->server->call_ctx;
    call->location = st->server->location;
    call->api_key = st->api_key;
    call->idempotency_key = st->key;
    call->traceparent = st->traceparent;
    call->timeout = st->conf->timeout;
    call->connect_timeout = st->conf->connect_timeout;
    call->body = (st->op == CYCLES_OP_EVENT) ? st->event_body : st->body;
    call->urgent = 1;
    call->get = (st->op == CYCLES_OP_LOOKUP);

    if (ngx_http_cycles_settlement_uri(st) != NGX_OK) {
        ngx_http_cycles_settlement_end(st, NGX_HTTP_CYCLES_OUTAGE, 1);
        return;
    }

    ngx_http_cycles_call_start(call);
}


static ngx_int_t
ngx_http_cycles_settlement_uri(ngx_http_cycles_settlement_t *st)
{
    if (st->call.uri.len) {
        return NGX_OK;
    }

    return ngx_http_cycles_client_uri(st->pool, st->op, &st->id, &st->call);
}


static void
ngx_http_cycles_settlement_reply(ngx_http_cycles_call_t *call)
{
    ngx_uint_t                     level, keep;
    cycles_reply_t                 reply;
    cycles_verdict_t               verdict;
    ngx_http_cycles_settlement_t  *st;

    st = call->data;

    verdict = ngx_http_cycles_settlement_verdict(st, &reply);

    st->tries++;

    ngx_http_cycles_client_heard(st->server, call, st->log);

    switch (verdict) {

    case CYCLES_REPLY_DONE:

        if (st->op == CYCLES_OP_LOOKUP) {
            break;
        }

        ngx_http_cycles_settlement_end(st, NGX_HTTP_CYCLES_ANSWERED, 0);
        return;

    case CYCLES_REPLY_RETRY:
        st->ambiguous |= call->sent;
        ngx_http_cycles_settlement_again(st, &reply);
        return;

    case CYCLES_REPLY_EXPIRED:

        if ((st->op != CYCLES_OP_COMMIT && st->op != CYCLES_OP_LOOKUP)
            || ngx_http_cycles_settlement_has_event(st) != NGX_OK)
        {
            break;
        }

        ngx_http_cycles_client_log(st->log, NGX_LOG_WARN, st->op, &st->id,
                                   call, &reply, "sending it as an event");

        if (ngx_http_cycles_settlement_event(st) != NGX_OK) {
            ngx_http_cycles_settlement_end(st, NGX_HTTP_CYCLES_OUTAGE, 1);
        }

        return;

    case CYCLES_REPLY_REJECTED:

        if (st->op != CYCLES_OP_COMMIT
            || reply.code != CYCLES_RESERVATION_FINALIZED
            || ngx_http_cycles_settlement_has_event(st) != NGX_OK)
        {
            break;
        }

        ngx_http_cycles_client_log(st->log, NGX_LOG_WARN, st->op, &st->id,
                                   call, &reply, "looking at it");

        ngx_http_cycles_settlement_turn(st, CYCLES_OP_LOOKUP);
        ngx_http_cycles_settlement_send(st);
        return;

    default:
        break;
    }

    /* a release that fails holds up money for a while; the others lose it */

    level = (st->op == CYCLES_OP_RELEASE) ? NGX_LOG_WARN : NGX_LOG_ERR;

    keep = ngx_http_cycles_settlement_keeps(st, verdict, &reply);

    ngx_http_cycles_client_log(st->log, level, st->op, &st->id, call, &reply,
                               (keep && st->entry)
                               ? "not settled, the journal keeps it"
                               : (verdict == CYCLES_REPLY_UNKNOWN)
                               ? "not settled"
                               : (verdict == CYCLES_REPLY_DONE)
                               ? "somebody else has committed it"
                               : "refused");

    ngx_http_cycles_settlement_end(st, NGX_HTTP_CYCLES_ANSWERED, keep);
}


static cycles_verdict_t
ngx_http_cycles_settlement_verdict(ngx_http_cycles_settlement_t *st,
    cycles_reply_t *reply)
{
    cycles_verdict_t         verdict;
    ngx_http_cycles_call_t  *call;

    call = &st->call;

    if (st->op != CYCLES_OP_LOOKUP) {
        return cycles_parse_settled(st->op, call->status, call->reply.data,
                                    call->reply.len, st->unit, st->amount,
                                    &st->settled, reply);
    }

    verdict = cycles_parse_found(call->status, call->reply.data,
                                 call->reply.len, st->unit, st->amount,
                                 &st->rest, reply);
    st->settled.code = reply->code;

    return verdict;
}


/* whether it can go on as an event */

static ngx_int_t
ngx_http_cycles_settlement_has_event(ngx_http_cycles_settlement_t *st)
{
    if (st->event_body.len) {
        return NGX_OK;
    }

    return st->write_event ? st->write_event(st) : NGX_DECLINED;
}


/* goes on with another operation */

static void
ngx_http_cycles_settlement_turn(ngx_http_cycles_settlement_t *st,
    cycles_op_t op)
{
    st->op = op;
    st->tries = 0;
    st->not_before_ms = 0;
    st->ambiguous = 0;
    st->call.uri.len = 0;
}


/* it is one in the journal first */

static ngx_int_t
ngx_http_cycles_settlement_event(ngx_http_cycles_settlement_t *st)
{
    u_char        *p;
    size_t         len;
    cycles_str_t   body;

    if (st->op == CYCLES_OP_LOOKUP && st->rest != st->amount) {
        body.len = st->event_body.len;
        body.data = st->event_body.data;

        len = cycles_event_rest(NULL, 0, body, st->rest);

        p = len ? ngx_pnalloc(st->pool, len) : NULL;
        if (p == NULL) {
            return NGX_ERROR;
        }

        st->event_body.len = cycles_event_rest(p, len, body, st->rest);
        st->event_body.data = p;
        st->amount = st->rest;
    }

    ngx_http_cycles_settlement_turn(st, CYCLES_OP_EVENT);

    if (ngx_http_cycles_settlement_record(st) != NGX_OK) {
        ngx_http_cycles_settlement_send(st);
    }

    return NGX_OK;
}


/* whether somebody may know better later */

static ngx_uint_t
ngx_http_cycles_settlement_keeps(ngx_http_cycles_settlement_t *st,
    cycles_verdict_t verdict, cycles_reply_t *reply)
{
    if (verdict == CYCLES_REPLY_DONE) {
        return 0;
    }

    if (verdict == CYCLES_REPLY_REJECTED && st->op != CYCLES_OP_LOOKUP) {

        /* an earlier try may have arrived, and what answers now be another */

        return (reply->code == CYCLES_NOT_FOUND && st->ambiguous);
    }

    return 1;
}


static void
ngx_http_cycles_settlement_again(ngx_http_cycles_settlement_t *st,
    cycles_reply_t *reply)
{
    ngx_uint_t  level;

    if (st->tries > st->conf->retry_attempts) {
        level = (st->op == CYCLES_OP_RELEASE) ? NGX_LOG_WARN : NGX_LOG_ERR;

        ngx_http_cycles_client_log(st->log, level, st->op, &st->id, &st->call,
                                   reply, "giving up after %ui tries%s",
                                   st->tries,
                                   st->entry ? ", the journal keeps it" : "");
        st->last = 1;

    } else {
        st->delay = ngx_http_cycles_settlement_delay(st->conf, st->tries);

        /* earlier than asked for is worse than at the same time as others */

        st->delay = ngx_max(st->delay, st->call.retry_after);

        ngx_http_cycles_client_log(st->log, NGX_LOG_WARN, st->op, &st->id,
                                   &st->call, reply, "trying again in %M ms",
                                   st->delay);
    }

    if (st->call.retry_after) {

        /* whoever looks for it must wait as well */

        st->not_before_ms = ngx_http_cycles_settlement_now()
                            + st->call.retry_after;

        if (ngx_http_cycles_settlement_record(st) == NGX_OK) {
            return;
        }
    }

    ngx_http_cycles_settlement_go(st);
}


static ngx_msec_t
ngx_http_cycles_settlement_delay(ngx_http_cycles_call_conf_t *conf,
    ngx_uint_t tries)
{
    uint64_t    delay;
    ngx_uint_t  i;

    delay = conf->retry_initial;

    for (i = 1; i < tries && delay < conf->retry_max; i++) {
        delay = delay * conf->retry_multiplier / 1000;
    }

    delay = ngx_min(delay, conf->retry_max);
    delay -= (uint64_t) ngx_random() % (delay / NGX_HTTP_CYCLES_JITTER + 1);

    return (ngx_msec_t) delay;
}


static void
ngx_http_cycles_settlement_retry(ngx_event_t *ev)
{
    ngx_http_cycles_call_t        *call;
    ngx_http_cycles_settlement_t  *st;

    call = ev->data;
    st = call->data;

    ngx_http_cycles_slice->counters[NGX_HTTP_CYCLES_N_RETRY_RESERVE
                                    + st->op]++;

    ngx_http_cycles_settlement_send(st);
}


static void
ngx_http_cycles_settlement_end(ngx_http_cycles_settlement_t *st,
    ngx_http_cycles_outcome_t outcome, ngx_uint_t keep)
{
    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, st->log, 0,
                   "cycles settlement of \"%V\" ends, outcome:%ui keep:%ui",
                   &st->id, (ngx_uint_t) outcome, keep);

    ngx_queue_remove(&st->queue);

    if (st->entry) {
        ngx_http_cycles_journal_end(st->entry, keep);
        st->entry = NULL;
    }

    st->outcome = outcome;
    st->handler(st);
}


/*
 * With a journal, a worker that is to quit goes on for a limited time, and
 * what is not settled by then stays on the disk.  Without one its timers keep
 * it alive for as long as there are tries.
 */

static void
ngx_http_cycles_settlement_hold(ngx_http_cycles_settlement_t *st)
{
    ngx_http_cycles_settlements_t  *all;

    all = &ngx_http_cycles_settlements;

    if (!all->init) {
        all->init = 1;

        ngx_queue_init(&all->queue);

        all->dumb.fd = (ngx_socket_t) -1;

        all->hold.handler = ngx_http_cycles_settlement_hold_handler;
        all->hold.data = &all->dumb;
    }

    ngx_queue_insert_tail(&all->queue, &st->queue);

    if (ngx_http_cycles_journal() && !all->hold.timer_set) {
        all->hold.log = ngx_cycle->log;
        ngx_add_timer(&all->hold, NGX_HTTP_CYCLES_HOLD_TIME);
    }
}


static void
ngx_http_cycles_settlement_hold_handler(ngx_event_t *ev)
{
    ngx_queue_t                    *q, *next;
    ngx_http_cycles_settlement_t   *st;
    ngx_http_cycles_settlements_t  *all;

    all = &ngx_http_cycles_settlements;

    if (ngx_queue_empty(&all->queue)) {
        return;
    }

    if (!all->exiting) {

        if (ngx_exiting) {
            all->exiting = 1;
            all->deadline = ngx_current_msec
                            + ngx_http_cycles_journal_flush_timeout();
        }

        ngx_add_timer(ev, NGX_HTTP_CYCLES_HOLD_TIME);
        return;
    }

    if ((ngx_msec_int_t) (all->deadline - ngx_current_msec) > 0) {
        ngx_add_timer(ev, ngx_min(all->deadline - ngx_current_msec,
                                  NGX_HTTP_CYCLES_HOLD_TIME));
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, ev->log, 0,
                  "cycles: the worker has to quit, the journal keeps what is "
                  "not settled");

    for (q = ngx_queue_head(&all->queue);
         q != ngx_queue_sentinel(&all->queue);
         q = next)
    {
        next = ngx_queue_next(q);
        st = ngx_queue_data(q, ngx_http_cycles_settlement_t, queue);

        st->last = 1;

        if (st->writing) {
            continue;
        }

        if (st->retry.timer_set) {
            ngx_del_timer(&st->retry);
        }

        ngx_http_cycles_call_cancel(&st->call);
        ngx_http_cycles_settlement_end(st, NGX_HTTP_CYCLES_OUTAGE, 1);
    }

    /* for the disk, and for those that the handlers above have begun */

    ngx_add_timer(ev, NGX_HTTP_CYCLES_HOLD_TIME);
}


static int64_t
ngx_http_cycles_settlement_now(void)
{
    struct timeval  tv;

    ngx_gettimeofday(&tv);

    return (int64_t) tv.tv_sec * 1000 + tv.tv_usec / 1000;
}
