
/*
 * Copyright (C) nginx-cycles authors
 *
 * The life of a reservation at a Cycles server: one call for each operation,
 * and what a reply to it leads to.
 */


#include "ngx_http_cycles_client.h"
#include "ngx_http_cycles_call.h"
#include "cycles_protocol.h"


/* a delay is shortened by up to this part, so that retries spread out */
#define NGX_HTTP_CYCLES_JITTER  10

#define NGX_HTTP_CYCLES_RESERVE_TRIES  2


/* one operation; what it sends stays the same over its tries */

typedef struct {
    ngx_http_cycles_call_t          call;
    cycles_op_t                     op;
    ngx_uint_t                      tries;
    ngx_msec_t                      started;
    size_t                          size;         /* of the body's buffer */
    unsigned                        running:1;
} ngx_http_cycles_operation_t;


typedef struct {
    ngx_http_cycles_reservation_t  *reservation;
    ngx_log_t                      *log;

    ngx_http_cycles_operation_t     reserve;
    ngx_http_cycles_operation_t     extend;
    ngx_http_cycles_operation_t     settle;

    ngx_event_t                     retry;        /* of settle */

    unsigned                        abandoned:1;
    unsigned                        recovered:1;  /* a commit, now an event */
} ngx_http_cycles_client_t;


static ngx_int_t ngx_http_cycles_client_reserve(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_client_abandon(ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_client_extend(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_client_settle(
    ngx_http_cycles_reservation_t *rsv);

static ngx_http_cycles_client_t *ngx_http_cycles_client_get(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_client_start(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op, cycles_op_t type);
static ngx_int_t ngx_http_cycles_client_uri(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op);
static ngx_int_t ngx_http_cycles_client_body(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op);
static size_t ngx_http_cycles_client_write(ngx_http_cycles_client_t *client,
    cycles_op_t op, u_char *buf, size_t size);
static size_t ngx_http_cycles_client_event(ngx_http_cycles_client_t *client,
    u_char *buf, size_t size);

static void ngx_http_cycles_client_reserved(ngx_http_cycles_call_t *call);
static void ngx_http_cycles_client_answered(ngx_http_cycles_client_t *client,
    cycles_reply_t *reply);
static void ngx_http_cycles_client_release(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_client_destroy(ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_client_extended(ngx_http_cycles_call_t *call);
static void ngx_http_cycles_client_settled(ngx_http_cycles_call_t *call);
static void ngx_http_cycles_client_retry(ngx_http_cycles_client_t *client,
    cycles_reply_t *reply);
static ngx_msec_t ngx_http_cycles_client_delay(
    ngx_http_cycles_call_conf_t *conf, ngx_uint_t tries);
static void ngx_http_cycles_client_retry_handler(ngx_event_t *ev);
static void ngx_http_cycles_client_recover(ngx_http_cycles_client_t *client);
static void ngx_http_cycles_client_final(ngx_http_cycles_client_t *client,
    ngx_http_cycles_outcome_t outcome);

static void ngx_http_cycles_client_copy(ngx_pool_t *pool, ngx_str_t *to,
    ngx_str_t *header, const char *text);
static void ngx_http_cycles_client_log(ngx_http_cycles_client_t *client,
    ngx_uint_t level, ngx_http_cycles_operation_t *op, cycles_reply_t *reply,
    const char *fmt, ...);


const ngx_http_cycles_authority_ops_t  ngx_http_cycles_client_ops = {
    ngx_http_cycles_client_reserve,
    ngx_http_cycles_client_abandon,
    ngx_http_cycles_client_extend,
    ngx_http_cycles_client_settle
};


static ngx_int_t
ngx_http_cycles_client_reserve(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_client_t  *client;

    ngx_memzero(&rsv->reserved, sizeof(cycles_reserved_t));
    ngx_str_null(&rsv->id);
    ngx_str_null(&rsv->request_id);
    ngx_str_null(&rsv->trace_id);

    rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
    rsv->reserve_time = 0;

    client = ngx_http_cycles_client_get(rsv);

    if (client == NULL
        || ngx_http_cycles_client_start(client, &client->reserve,
                                        CYCLES_OP_RESERVE)
           != NGX_OK)
    {
        return NGX_OK;
    }

    return NGX_AGAIN;
}


static void
ngx_http_cycles_client_abandon(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_client_t     *client;
    ngx_http_cycles_operation_t  *op;

    client = rsv->call_data;

    if (client == NULL || !client->reserve.running) {
        ngx_http_cycles_client_release(rsv);
        return;
    }

    op = &client->reserve;

    if (op->call.queued && op->tries == 0) {

        /* nothing has been sent */

        ngx_http_cycles_call_cancel(&op->call);
        ngx_http_cycles_client_destroy(rsv);
        return;
    }

    client->abandoned = 1;
}


static ngx_int_t
ngx_http_cycles_client_extend(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_client_t  *client;

    ngx_memzero(&rsv->extended, sizeof(cycles_settled_t));

    rsv->extend_outcome = NGX_HTTP_CYCLES_OUTAGE;
    rsv->extend_status = 0;
    rsv->extend_rtt = 0;
    rsv->extend_retry_after = 0;

    client = ngx_http_cycles_client_get(rsv);

    if (client == NULL
        || ngx_http_cycles_client_start(client, &client->extend,
                                        CYCLES_OP_EXTEND)
           != NGX_OK)
    {
        return NGX_OK;
    }

    return NGX_AGAIN;
}


static ngx_int_t
ngx_http_cycles_client_settle(ngx_http_cycles_reservation_t *rsv)
{
    cycles_op_t                type;
    ngx_http_cycles_client_t  *client;

    ngx_memzero(&rsv->settled, sizeof(cycles_settled_t));

    rsv->settle_outcome = NGX_HTTP_CYCLES_OUTAGE;

    client = ngx_http_cycles_client_get(rsv);

    if (client == NULL) {
        return NGX_OK;
    }

    if (client->extend.running) {
        client->extend.running = 0;
        ngx_http_cycles_call_cancel(&client->extend.call);
    }

    switch (rsv->kind) {

    case NGX_HTTP_CYCLES_COMMIT:
        type = CYCLES_OP_COMMIT;
        break;

    case NGX_HTTP_CYCLES_RELEASE:
        type = CYCLES_OP_RELEASE;
        break;

    default: /* NGX_HTTP_CYCLES_EVENT */
        type = CYCLES_OP_EVENT;
        break;
    }

    if (rsv->id.len == 0 && type != CYCLES_OP_EVENT) {
        rsv->settle_outcome = NGX_HTTP_CYCLES_ANSWERED;
        rsv->settled.code = CYCLES_NOT_FOUND;
        rsv->settled.remaining = CYCLES_NOT_KNOWN;
        return NGX_OK;
    }

    if (ngx_http_cycles_client_start(client, &client->settle, type) != NGX_OK) {
        return NGX_OK;
    }

    return NGX_AGAIN;
}


static ngx_http_cycles_client_t *
ngx_http_cycles_client_get(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_conf_ctx_t       *ctx;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_cycles_client_t  *client;

    if (rsv->call_data) {
        return rsv->call_data;
    }

    client = ngx_pcalloc(rsv->pool, sizeof(ngx_http_cycles_client_t));
    if (client == NULL) {
        return NULL;
    }

    ctx = rsv->authority->conf_ctx;
    clcf = ctx->loc_conf[ngx_http_core_module.ctx_index];

    client->reservation = rsv;
    client->log = clcf->error_log;

    client->reserve.call.handler = ngx_http_cycles_client_reserved;
    client->extend.call.handler = ngx_http_cycles_client_extended;
    client->settle.call.handler = ngx_http_cycles_client_settled;

    client->extend.call.urgent = 1;
    client->settle.call.urgent = 1;

    client->retry.handler = ngx_http_cycles_client_retry_handler;
    client->retry.data = &client->settle.call;
    client->retry.log = client->log;

    rsv->call_data = client;

    return client;
}


static ngx_int_t
ngx_http_cycles_client_start(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op, cycles_op_t type)
{
    cycles_str_t                   *key;
    ngx_str_t                      *location;
    ngx_http_cycles_call_t         *call;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;
    call = &op->call;
    location = rsv->authority->data;

    op->op = type;
    op->tries = 0;
    op->started = ngx_current_msec;

    call->data = client;
    call->conf_ctx = rsv->authority->conf_ctx;
    call->location = *location;
    call->api_key = rsv->api_key;
    call->traceparent = rsv->traceparent;
    call->timeout = rsv->call.timeout;
    call->connect_timeout = rsv->call.connect_timeout;

    switch (type) {

    case CYCLES_OP_RESERVE:
        key = &rsv->terms.idempotency_key;
        call->idempotency_key.len = key->len;
        call->idempotency_key.data = key->data;
        break;

    case CYCLES_OP_EXTEND:
        call->idempotency_key = rsv->extend_key;
        break;

    default:
        call->idempotency_key = rsv->settle_key;
        break;
    }

    if (ngx_http_cycles_client_uri(client, op) != NGX_OK
        || ngx_http_cycles_client_body(client, op) != NGX_OK)
    {
        return NGX_ERROR;
    }

    op->running = 1;
    ngx_http_cycles_call_start(call);

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_client_uri(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op)
{
    size_t                          len, encoded;
    u_char                         *p;
    cycles_str_t                    id;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;

    id.len = rsv->id.len;
    id.data = rsv->id.data;

    /* all extends of a reservation are alike but for their keys */

    if (op->op == CYCLES_OP_EXTEND && op->call.uri.len) {
        return NGX_OK;
    }

    len = cycles_path(NULL, 0, op->op, id, 0);
    encoded = cycles_path(NULL, 0, op->op, id, 1);

    p = ngx_pnalloc(rsv->pool, len + encoded);
    if (p == NULL) {
        return NGX_ERROR;
    }

    op->call.uri.len = cycles_path(p, len, op->op, id, 0);
    op->call.uri.data = p;

    p += len;

    op->call.unparsed_uri.len = cycles_path(p, encoded, op->op, id, 1);
    op->call.unparsed_uri.data = p;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_client_body(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op)
{
    size_t      len;
    ngx_str_t  *body;

    body = &op->call.body;

    len = ngx_http_cycles_client_write(client, op->op, NULL, 0);

    if (len > op->size) {
        body->data = ngx_pnalloc(client->reservation->pool, len);

        if (body->data == NULL) {
            op->size = 0;
            return NGX_ERROR;
        }

        op->size = len;
    }

    body->len = ngx_http_cycles_client_write(client, op->op, body->data, len);

    return NGX_OK;
}


static size_t
ngx_http_cycles_client_write(ngx_http_cycles_client_t *client, cycles_op_t op,
    u_char *buf, size_t size)
{
    cycles_str_t                    key, reason;
    cycles_commit_t                 commit;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;

    key.len = rsv->settle_key.len;
    key.data = rsv->settle_key.data;

    switch (op) {

    case CYCLES_OP_RESERVE:
        return cycles_reserve_body(buf, size, &rsv->terms);

    case CYCLES_OP_EXTEND:
        key.len = rsv->extend_key.len;
        key.data = rsv->extend_key.data;

        return cycles_extend_body(buf, size, key, rsv->terms.ttl_ms);

    case CYCLES_OP_RELEASE:
        reason.len = rsv->reason.len;
        reason.data = rsv->reason.data;

        return cycles_release_body(buf, size, key, reason);

    case CYCLES_OP_COMMIT:
        commit.idempotency_key = key;
        commit.unit = rsv->terms.unit;
        commit.actual = rsv->actual;
        commit.metrics = rsv->metrics;
        commit.metadata.len = rsv->settle_metadata.len;
        commit.metadata.data = rsv->settle_metadata.data;

        return cycles_commit_body(buf, size, &commit);

    default: /* CYCLES_OP_EVENT */
        return ngx_http_cycles_client_event(client, buf, size);
    }
}


static size_t
ngx_http_cycles_client_event(ngx_http_cycles_client_t *client, u_char *buf,
    size_t size)
{
    cycles_str_t                    recovered;
    cycles_event_t                  event;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;

    event.idempotency_key.len = rsv->settle_key.len;
    event.idempotency_key.data = rsv->settle_key.data;
    event.subject = rsv->terms.subject;
    event.action = rsv->terms.action;
    event.unit = rsv->terms.unit;
    event.actual = rsv->actual;
    event.policy = rsv->terms.policy;
    event.metrics = rsv->metrics;
    event.metadata.len = rsv->settle_metadata.len;
    event.metadata.data = rsv->settle_metadata.data;

    recovered.len = 0;
    recovered.data = NULL;

    if (client->recovered) {
        recovered.len = rsv->id.len;
        recovered.data = rsv->id.data;

        /* the money is spent: to have this rejected would only hide it */

        if (event.policy == CYCLES_REJECT) {
            event.policy = CYCLES_ALLOW_IF_AVAILABLE;
        }
    }

    return cycles_event_body(buf, size, &event, recovered);
}


static void
ngx_http_cycles_client_reserved(ngx_http_cycles_call_t *call)
{
    cycles_reply_t                  reply;
    cycles_verdict_t                verdict;
    ngx_http_cycles_client_t       *client;
    ngx_http_cycles_operation_t    *op;
    ngx_http_cycles_reservation_t  *rsv;

    client = call->data;
    rsv = client->reservation;
    op = &client->reserve;

    verdict = cycles_parse_reserve(call->status, call->reply.data,
                                   call->reply.len, &rsv->terms,
                                   &rsv->reserved, &reply);
    op->tries++;

    if (verdict == CYCLES_REPLY_RETRY && call->sent
        && op->tries < NGX_HTTP_CYCLES_RESERVE_TRIES)
    {
        ngx_http_cycles_client_log(client, NGX_LOG_WARN, op, &reply,
                                   "trying again");
        ngx_http_cycles_call_start(call);
        return;
    }

    op->running = 0;
    rsv->reserve_time = ngx_current_msec - op->started;

    if (verdict == CYCLES_REPLY_RETRY) {
        rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
        ngx_http_cycles_client_log(client, NGX_LOG_ERR, op, &reply,
                                   "giving up");

    } else {
        rsv->outcome = NGX_HTTP_CYCLES_ANSWERED;

        if (verdict == CYCLES_REPLY_REJECTED) {
            ngx_http_cycles_client_log(client, NGX_LOG_INFO, op, &reply,
                                       "denied");
        }
    }

    ngx_http_cycles_client_answered(client, &reply);

    if (client->abandoned) {
        ngx_http_cycles_client_release(rsv);
        return;
    }

    rsv->reserve_done(rsv);
}


static void
ngx_http_cycles_client_answered(ngx_http_cycles_client_t *client,
    cycles_reply_t *reply)
{
    ngx_str_t                       none;
    ngx_time_t                     *tp;
    ngx_http_cycles_call_t         *call;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;
    call = &client->reserve.call;

    ngx_str_null(&none);

    ngx_http_cycles_client_copy(rsv->pool, &rsv->request_id,
                                &call->request_id, reply->request_id);
    ngx_http_cycles_client_copy(rsv->pool, &rsv->trace_id, &call->trace_id,
                                reply->trace_id);
    ngx_http_cycles_client_copy(rsv->pool, &rsv->id, &none, reply->id);

    if (reply->id[0] && rsv->id.len == 0) {

        /* without its id the reservation can't be used */

        rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
    }

    if (call->retry_after && rsv->outcome == NGX_HTTP_CYCLES_ANSWERED
        && rsv->reserved.denial.reset_at_ms == 0)
    {
        tp = ngx_timeofday();

        rsv->reserved.denial.reset_at_ms = (int64_t) tp->sec * 1000 + tp->msec
                                           + call->retry_after;
    }
}


/* of a client that has gone: whatever it has got is given back */

static void
ngx_http_cycles_client_release(ngx_http_cycles_reservation_t *rsv)
{
    u_char  *p;

    if (rsv->id.len == 0) {
        ngx_http_cycles_client_destroy(rsv);
        return;
    }

    rsv->kind = NGX_HTTP_CYCLES_RELEASE;
    rsv->settle_done = ngx_http_cycles_client_destroy;
    ngx_str_set(&rsv->reason, "client_disconnect");

    p = ngx_pnalloc(rsv->pool, CYCLES_UUID_LEN);

    if (p == NULL || cycles_uuid(p) != 0) {

        /* keys are by endpoint: the one of the reserve is as good */

        rsv->settle_key.len = rsv->terms.idempotency_key.len;
        rsv->settle_key.data = rsv->terms.idempotency_key.data;

    } else {
        rsv->settle_key.len = CYCLES_UUID_LEN;
        rsv->settle_key.data = p;
    }

    if (ngx_http_cycles_client_settle(rsv) == NGX_OK) {
        ngx_http_cycles_client_destroy(rsv);
    }
}


static void
ngx_http_cycles_client_destroy(ngx_http_cycles_reservation_t *rsv)
{
    ngx_destroy_pool(rsv->pool);
}


static void
ngx_http_cycles_client_extended(ngx_http_cycles_call_t *call)
{
    cycles_reply_t                  reply;
    cycles_verdict_t                verdict;
    ngx_http_cycles_client_t       *client;
    ngx_http_cycles_operation_t    *op;
    ngx_http_cycles_reservation_t  *rsv;

    client = call->data;
    rsv = client->reservation;
    op = &client->extend;

    verdict = cycles_parse_settled(CYCLES_OP_EXTEND, call->status,
                                   call->reply.data, call->reply.len,
                                   rsv->terms.unit, 0, &rsv->extended, &reply);
    op->running = 0;
    op->tries++;

    rsv->extend_status = call->status;
    rsv->extend_rtt = call->rtt;
    rsv->extend_retry_after = call->retry_after;

    if (verdict != CYCLES_REPLY_RETRY
        || reply.code == CYCLES_LIMIT_EXCEEDED)
    {
        rsv->extend_outcome = NGX_HTTP_CYCLES_ANSWERED;
    }

    if (verdict != CYCLES_REPLY_DONE) {

        /* whether there is time for another one is for the caller to say */

        ngx_http_cycles_client_log(client, NGX_LOG_INFO, op, &reply,
                                   "not extended");
    }

    rsv->extend_done(rsv);
}


static void
ngx_http_cycles_client_settled(ngx_http_cycles_call_t *call)
{
    ngx_uint_t                      level;
    cycles_reply_t                  reply;
    cycles_verdict_t                verdict;
    ngx_http_cycles_client_t       *client;
    ngx_http_cycles_operation_t    *op;
    ngx_http_cycles_reservation_t  *rsv;

    client = call->data;
    rsv = client->reservation;
    op = &client->settle;

    verdict = cycles_parse_settled(op->op, call->status, call->reply.data,
                                   call->reply.len, rsv->terms.unit,
                                   rsv->actual, &rsv->settled, &reply);
    op->tries++;

    /* a release that fails holds up money for a while; the others lose it */

    level = (op->op == CYCLES_OP_RELEASE) ? NGX_LOG_WARN : NGX_LOG_ERR;

    switch (verdict) {

    case CYCLES_REPLY_DONE:
        break;

    case CYCLES_REPLY_RETRY:

        if (op->tries <= rsv->call.retry_attempts) {
            ngx_http_cycles_client_retry(client, &reply);
            return;
        }

        ngx_http_cycles_client_log(client, level, op, &reply,
                                   "giving up after %ui tries", op->tries);
        ngx_http_cycles_client_final(client, NGX_HTTP_CYCLES_OUTAGE);
        return;

    case CYCLES_REPLY_EXPIRED:

        if (op->op == CYCLES_OP_COMMIT) {
            ngx_http_cycles_client_log(client, NGX_LOG_WARN, op, &reply,
                                       "sending it as an event");
            ngx_http_cycles_client_recover(client);
            return;
        }

        ngx_http_cycles_client_log(client, level, op, &reply, "refused");
        break;

    case CYCLES_REPLY_UNKNOWN:
        ngx_http_cycles_client_log(client, level, op, &reply, "not settled");
        break;

    default: /* CYCLES_REPLY_REJECTED */
        ngx_http_cycles_client_log(client, level, op, &reply, "refused");
        break;
    }

    ngx_http_cycles_client_final(client, NGX_HTTP_CYCLES_ANSWERED);
}


static void
ngx_http_cycles_client_retry(ngx_http_cycles_client_t *client,
    cycles_reply_t *reply)
{
    ngx_msec_t                    delay;
    ngx_http_cycles_operation_t  *op;

    op = &client->settle;

    delay = ngx_http_cycles_client_delay(&client->reservation->call,
                                         op->tries);

    /* earlier than asked for would be worse than at the same time as others */

    delay = ngx_max(delay, op->call.retry_after);

    ngx_http_cycles_client_log(client, NGX_LOG_WARN, op, reply,
                               "trying again in %M ms", delay);

    ngx_add_timer(&client->retry, delay);
}


static ngx_msec_t
ngx_http_cycles_client_delay(ngx_http_cycles_call_conf_t *conf,
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
ngx_http_cycles_client_retry_handler(ngx_event_t *ev)
{
    ngx_http_cycles_call_t  *call;

    call = ev->data;

    ngx_http_cycles_call_start(call);
}


static void
ngx_http_cycles_client_recover(ngx_http_cycles_client_t *client)
{
    client->recovered = 1;
    client->reservation->kind = NGX_HTTP_CYCLES_EVENT;

    if (ngx_http_cycles_client_start(client, &client->settle, CYCLES_OP_EVENT)
        != NGX_OK)
    {
        ngx_http_cycles_client_final(client, NGX_HTTP_CYCLES_OUTAGE);
    }
}


static void
ngx_http_cycles_client_final(ngx_http_cycles_client_t *client,
    ngx_http_cycles_outcome_t outcome)
{
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;

    client->settle.running = 0;

    rsv->settle_outcome = outcome;
    rsv->settle_done(rsv);
}


/* a header of the reply, or what its body says */

static void
ngx_http_cycles_client_copy(ngx_pool_t *pool, ngx_str_t *to, ngx_str_t *header,
    const char *text)
{
    ngx_str_t  from;

    from = *header;

    if (from.len == 0) {
        from.len = ngx_strlen(text);
        from.data = (u_char *) text;
    }

    ngx_str_null(to);

    if (from.len) {
        to->data = ngx_pstrdup(pool, &from);

        if (to->data) {
            to->len = from.len;
        }
    }
}


static void
ngx_http_cycles_client_log(ngx_http_cycles_client_t *client, ngx_uint_t level,
    ngx_http_cycles_operation_t *op, cycles_reply_t *reply,
    const char *fmt, ...)
{
    u_char                         *p, *last;
    va_list                         args;
    ngx_str_t                       id, request_id, trace_id;
    ngx_http_cycles_call_t         *call;
    ngx_http_cycles_reservation_t  *rsv;
    u_char                          text[256];

    if (client->log->log_level < level) {
        return;
    }

    rsv = client->reservation;
    call = &op->call;

    p = text;
    last = text + sizeof(text);

    if (call->timedout) {
        p = ngx_slprintf(p, last, "timed out%s",
                         call->sent ? "" : " before it was sent");

    } else if (call->status == 0) {
        p = ngx_slprintf(p, last, "no reply");

    } else {
        p = ngx_slprintf(p, last, "status %ui", call->status);

        if (reply->reason[0]) {
            p = ngx_slprintf(p, last, " \"%s\"", reply->reason);
        }

        if (reply->problem) {
            p = ngx_slprintf(p, last, ", %s", reply->problem);
        }
    }

    p = ngx_slprintf(p, last, ", ");

    va_start(args, fmt);
    p = ngx_vslprintf(p, last, fmt, args);
    va_end(args);

    /* a reserve has no reservation yet, only its key */

    id = (op->op == CYCLES_OP_RESERVE) ? call->idempotency_key : rsv->id;

    request_id = call->request_id;
    trace_id = call->trace_id;

    if (request_id.len == 0) {
        request_id.len = ngx_strlen(reply->request_id);
        request_id.data = (u_char *) reply->request_id;
    }

    if (trace_id.len == 0) {
        trace_id.len = ngx_strlen(reply->trace_id);
        trace_id.data = (u_char *) reply->trace_id;
    }

    ngx_log_error(level, client->log, 0,
                  "cycles %s of %s \"%V\": %*s, "
                  "request id: \"%V\", trace id: \"%V\"",
                  cycles_op_name(op->op),
                  op->op == CYCLES_OP_RESERVE ? "key" : "reservation", &id,
                  (size_t) (p - text), text, &request_id, &trace_id);
}
