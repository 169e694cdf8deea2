
/*
 * Copyright (C) nginx-cycles authors
 *
 * The life of a reservation at a Cycles server: one call for each operation,
 * and what a reply to it leads to.
 */


#include "ngx_http_cycles_settlement.h"


#define NGX_HTTP_CYCLES_RESERVE_TRIES  2

/* a buffer for what a body is before its length is known */
#define NGX_HTTP_CYCLES_BODY           4096

/* the longest path without an id */
#define NGX_HTTP_CYCLES_PATH           (sizeof("/v1/reservations//release") - 1)


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

    ngx_http_cycles_server_t       *server;

    ngx_http_cycles_operation_t     reserve;
    ngx_http_cycles_operation_t     extend;
    ngx_http_cycles_settlement_t    settlement;

    unsigned                        abandoned:1;
} ngx_http_cycles_client_t;


typedef struct {
    ngx_http_cycles_call_t          call;
    ngx_pool_t                     *pool;
    ngx_log_t                      *log;
    ngx_http_cycles_server_t       *server;
} ngx_http_cycles_probe_t;


static ngx_int_t ngx_http_cycles_client_reserve(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_client_probe(ngx_http_cycles_client_t *client);
static void ngx_http_cycles_client_probed(ngx_http_cycles_call_t *call);
static void ngx_http_cycles_client_abandon(ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_client_extend(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_client_settle(
    ngx_http_cycles_reservation_t *rsv);
static void ngx_http_cycles_client_leave(ngx_http_cycles_reservation_t *rsv);

static ngx_http_cycles_client_t *ngx_http_cycles_client_get(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_client_start(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op, cycles_op_t type);
static ngx_int_t ngx_http_cycles_client_bodies(
    ngx_http_cycles_client_t *client);
static ngx_int_t ngx_http_cycles_client_event_body(
    ngx_http_cycles_settlement_t *st);
static ngx_int_t ngx_http_cycles_client_body(ngx_http_cycles_client_t *client,
    cycles_op_t op, ngx_str_t *body, size_t *size);
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
static void ngx_http_cycles_client_settled(ngx_http_cycles_settlement_t *st);

static void ngx_http_cycles_client_copy(ngx_pool_t *pool, ngx_str_t *to,
    ngx_str_t *header, const char *text);


const ngx_http_cycles_authority_ops_t  ngx_http_cycles_client_ops = {
    ngx_http_cycles_client_reserve,
    ngx_http_cycles_client_abandon,
    ngx_http_cycles_client_extend,
    ngx_http_cycles_client_settle,
    ngx_http_cycles_client_leave,
    8192
};


static ngx_int_t
ngx_http_cycles_client_reserve(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_client_t  *client;
    ngx_http_cycles_server_t  *server;

    cycles_reserved_clear(rsv->reserved);
    ngx_str_null(&rsv->id);
    ngx_str_null(&rsv->request_id);
    ngx_str_null(&rsv->trace_id);

    rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
    rsv->reserve_time = 0;

    client = ngx_http_cycles_client_get(rsv);

    if (client == NULL) {
        return NGX_OK;
    }

    server = client->server;

    switch (ngx_http_cycles_breaker_ask(server->breaker->data,
                                        &server->breaker_conf))
    {

    case NGX_HTTP_CYCLES_BREAKER_PROBE:
        ngx_http_cycles_client_probe(client);

        /* fall through */

    case NGX_HTTP_CYCLES_BREAKER_OPEN:
        return NGX_OK;

    default: /* NGX_HTTP_CYCLES_BREAKER_CLOSED */
        break;
    }

    if (ngx_http_cycles_client_start(client, &client->reserve,
                                     CYCLES_OP_RESERVE)
        != NGX_OK)
    {
        return NGX_OK;
    }

    return NGX_AGAIN;
}


/*
 * Asks the server something that changes nothing, on behalf of a request that
 * does not wait for it.
 */

static void
ngx_http_cycles_client_probe(ngx_http_cycles_client_t *client)
{
    size_t                          len;
    ngx_pool_t                     *pool;
    ngx_str_t                       none;
    ngx_http_cycles_call_t         *call;
    ngx_http_cycles_probe_t        *probe;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;

    pool = ngx_create_pool(1024, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    probe = ngx_pcalloc(pool, sizeof(ngx_http_cycles_probe_t));
    if (probe == NULL) {
        goto failed;
    }

    probe->pool = pool;
    probe->log = client->log;
    probe->server = client->server;

    call = &probe->call;

    call->data = probe;
    call->handler = ngx_http_cycles_client_probed;
    call->conf_ctx = client->server->call_ctx;
    call->location = client->server->location;
    call->timeout = rsv->call.timeout;
    call->connect_timeout = rsv->call.connect_timeout;
    call->urgent = 1;

    call->idempotency_key.len = rsv->terms.idempotency_key.len;
    call->idempotency_key.data = rsv->terms.idempotency_key.data;
    call->api_key = rsv->api_key;

    call->idempotency_key.data = ngx_pstrdup(pool, &call->idempotency_key);
    call->api_key.data = ngx_pstrdup(pool, &call->api_key);

    len = cycles_decide_body(NULL, 0, &rsv->terms);

    call->body.data = ngx_pnalloc(pool, len);

    if (call->idempotency_key.data == NULL || call->api_key.data == NULL
        || call->body.data == NULL)
    {
        goto failed;
    }

    call->body.len = cycles_decide_body(call->body.data, len, &rsv->terms);

    ngx_str_null(&none);

    if (ngx_http_cycles_client_uri(pool, CYCLES_OP_DECIDE, &none, call)
        != NGX_OK)
    {
        goto failed;
    }

    ngx_http_cycles_call_start(call);

    return;

failed:

    ngx_destroy_pool(pool);
}


static void
ngx_http_cycles_client_probed(ngx_http_cycles_call_t *call)
{
    ngx_http_cycles_probe_t  *probe;

    probe = call->data;

    ngx_http_cycles_client_heard(probe->server, call, probe->log);

    ngx_destroy_pool(probe->pool);
}


void
ngx_http_cycles_client_heard(ngx_http_cycles_server_t *server,
    ngx_http_cycles_call_t *call, ngx_log_t *log)
{
    ngx_http_cycles_breaker_result(server->breaker->data,
                                   &server->breaker_conf, call, log);
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

    ngx_memzero(&rsv->extended, sizeof(ngx_http_cycles_settled_t));

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
    cycles_str_t                  *tenant;
    ngx_http_cycles_client_t      *client;
    ngx_http_cycles_settlement_t  *st;

    static const cycles_op_t  ops[] = {
        CYCLES_OP_COMMIT,             /* NGX_HTTP_CYCLES_COMMIT */
        CYCLES_OP_RELEASE,
        CYCLES_OP_EVENT
    };

    ngx_memzero(&rsv->settled, sizeof(ngx_http_cycles_settled_t));

    rsv->settle_outcome = NGX_HTTP_CYCLES_OUTAGE;

    client = ngx_http_cycles_client_get(rsv);

    if (client == NULL) {
        return NGX_OK;
    }

    ngx_http_cycles_client_leave(rsv);

    if (rsv->id.len == 0 && rsv->kind != NGX_HTTP_CYCLES_EVENT) {
        rsv->settle_outcome = NGX_HTTP_CYCLES_ANSWERED;
        rsv->settled.code = CYCLES_NOT_FOUND;
        rsv->settled.remaining = CYCLES_NOT_KNOWN;
        return NGX_OK;
    }

    st = &client->settlement;
    tenant = &rsv->terms.subject.levels[CYCLES_TENANT];

    ngx_memzero(st, sizeof(ngx_http_cycles_settlement_t));

    st->pool = rsv->pool;
    st->log = client->log;
    st->data = client;
    st->handler = ngx_http_cycles_client_settled;

    st->server = client->server;
    st->conf = &rsv->call;
    st->op = ops[rsv->kind];
    st->id = (st->op == CYCLES_OP_EVENT) ? rsv->settle_key : rsv->id;
    st->key = rsv->settle_key;
    st->api_key = rsv->api_key;
    st->traceparent = rsv->traceparent;
    st->tenant.len = tenant->len;
    st->tenant.data = tenant->data;
    st->unit = rsv->terms.unit;
    st->amount = rsv->actual;

    if (ngx_http_cycles_client_bodies(client) != NGX_OK) {
        return NGX_OK;
    }

    ngx_http_cycles_replay_remember(st->server, &st->tenant, &st->api_key);

    ngx_http_cycles_settlement_start(st);

    return NGX_AGAIN;
}


static void
ngx_http_cycles_client_leave(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_cycles_client_t  *client;

    client = rsv->call_data;

    if (client && client->extend.running) {
        client->extend.running = 0;
        ngx_http_cycles_call_cancel(&client->extend.call);
    }
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

    client->server = rsv->authority->data;

    client->reserve.call.handler = ngx_http_cycles_client_reserved;
    client->extend.call.handler = ngx_http_cycles_client_extended;

    client->extend.call.urgent = 1;

    rsv->call_data = client;

    return client;
}


static ngx_int_t
ngx_http_cycles_client_start(ngx_http_cycles_client_t *client,
    ngx_http_cycles_operation_t *op, cycles_op_t type)
{
    cycles_str_t                   *key;
    ngx_http_cycles_call_t         *call;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = client->reservation;
    call = &op->call;

    op->op = type;
    op->tries = 0;
    op->started = ngx_current_msec;

    call->data = client;
    call->conf_ctx = client->server->call_ctx;
    call->location = client->server->location;
    call->api_key = rsv->api_key;
    call->traceparent = rsv->traceparent;
    call->timeout = rsv->call.timeout;
    call->connect_timeout = rsv->call.connect_timeout;

    if (type == CYCLES_OP_RESERVE) {
        key = &rsv->terms.idempotency_key;
        call->idempotency_key.len = key->len;
        call->idempotency_key.data = key->data;

    } else {
        call->idempotency_key = rsv->extend_key;
    }

    /* all extends of a reservation are alike but for their keys */

    if (call->uri.len == 0
        && ngx_http_cycles_client_uri(rsv->pool, type, &rsv->id, call)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_cycles_client_body(client, type, &call->body, &op->size)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    op->running = 1;
    ngx_http_cycles_call_start(call);

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_client_uri(ngx_pool_t *pool, cycles_op_t op, ngx_str_t *id,
    ngx_http_cycles_call_t *call)
{
    size_t         size;
    u_char        *p;
    cycles_str_t   s;

    s.len = id->len;
    s.data = id->data;

    /* no byte takes more than three when it is encoded */

    size = NGX_HTTP_CYCLES_PATH + id->len * 3;

    p = ngx_pnalloc(pool, size + NGX_HTTP_CYCLES_PATH + id->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    call->unparsed_uri.len = cycles_path(p, size, op, s, 1);
    call->unparsed_uri.data = p;

    p += call->unparsed_uri.len;

    call->uri.len = cycles_path(p, NGX_HTTP_CYCLES_PATH + id->len, op, s, 0);
    call->uri.data = p;

    return NGX_OK;
}


/* a commit may come too late: a journal has to know what is sent then */

static ngx_int_t
ngx_http_cycles_client_bodies(ngx_http_cycles_client_t *client)
{
    size_t                         size;
    ngx_http_cycles_settlement_t  *st;

    st = &client->settlement;
    size = 0;

    if (st->op != CYCLES_OP_EVENT
        && ngx_http_cycles_client_body(client, st->op, &st->body, &size)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (st->op == CYCLES_OP_RELEASE) {
        return NGX_OK;
    }

    st->write_event = ngx_http_cycles_client_event_body;

    if (st->op == CYCLES_OP_COMMIT && ngx_http_cycles_journal() == NULL) {
        return NGX_OK;
    }

    return st->write_event(st);
}


static ngx_int_t
ngx_http_cycles_client_event_body(ngx_http_cycles_settlement_t *st)
{
    size_t  size;

    size = 0;

    return ngx_http_cycles_client_body(st->data, CYCLES_OP_EVENT,
                                       &st->event_body, &size);
}


/* size is that of a buffer which body already has */

static ngx_int_t
ngx_http_cycles_client_body(ngx_http_cycles_client_t *client, cycles_op_t op,
    ngx_str_t *body, size_t *size)
{
    size_t  len;
    u_char  text[NGX_HTTP_CYCLES_BODY];

    /* nearly all bodies are short: they are written once, and copied */

    len = ngx_http_cycles_client_write(client, op, text, sizeof(text));

    if (len > *size) {
        body->data = ngx_pnalloc(client->reservation->pool, len);

        if (body->data == NULL) {
            *size = 0;
            return NGX_ERROR;
        }

        *size = len;
    }

    body->len = len;

    if (len > sizeof(text)) {
        (void) ngx_http_cycles_client_write(client, op, body->data, len);

    } else {
        ngx_memcpy(body->data, text, len);
    }

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

    if (rsv->kind == NGX_HTTP_CYCLES_COMMIT) {
        recovered.len = rsv->id.len;
        recovered.data = rsv->id.data;

    }

    /* the money is spent: to have this rejected would only hide it */

    if (event.policy == CYCLES_REJECT) {
        event.policy = CYCLES_ALLOW_IF_AVAILABLE;
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
                                   rsv->reserved, &reply);
    op->tries++;

    ngx_http_cycles_client_heard(client->server, call, client->log);

    if (verdict == CYCLES_REPLY_RETRY && call->sent
        && op->tries < NGX_HTTP_CYCLES_RESERVE_TRIES
        && !ngx_http_cycles_breaker_opened(client->server->breaker->data,
                                           &client->server->breaker_conf))
    {
        ngx_http_cycles_client_log(client->log, NGX_LOG_WARN, op->op,
                                   &call->idempotency_key, call, &reply,
                                   "trying again");
        ngx_http_cycles_count(RETRY_RESERVE);
        ngx_http_cycles_call_start(call);
        return;
    }

    op->running = 0;
    rsv->reserve_time = ngx_current_msec - op->started;

    if (verdict == CYCLES_REPLY_RETRY) {
        rsv->outcome = NGX_HTTP_CYCLES_OUTAGE;
        ngx_http_cycles_client_log(client->log, NGX_LOG_ERR, op->op,
                                   &call->idempotency_key, call, &reply,
                                   "giving up");

    } else {
        rsv->outcome = NGX_HTTP_CYCLES_ANSWERED;

        if (verdict == CYCLES_REPLY_REJECTED) {
            ngx_http_cycles_client_log(client->log, NGX_LOG_INFO, op->op,
                                       &call->idempotency_key, call, &reply,
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
        && rsv->reserved->denial.reset_at_ms == 0)
    {
        tp = ngx_timeofday();

        rsv->reserved->denial.reset_at_ms = (int64_t) tp->sec * 1000 + tp->msec
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
    ngx_http_cycles_destroy_reservation(rsv);
}


static void
ngx_http_cycles_client_extended(ngx_http_cycles_call_t *call)
{
    cycles_reply_t                  reply;
    cycles_settled_t                rs;
    cycles_verdict_t                verdict;
    ngx_http_cycles_client_t       *client;
    ngx_http_cycles_operation_t    *op;
    ngx_http_cycles_reservation_t  *rsv;

    client = call->data;
    rsv = client->reservation;
    op = &client->extend;

    verdict = cycles_parse_settled(CYCLES_OP_EXTEND, call->status,
                                   call->reply.data, call->reply.len,
                                   rsv->terms.unit, 0, &rs, &reply);

    ngx_http_cycles_keep_settled(&rsv->extended, &rs);

    op->running = 0;
    op->tries++;

    ngx_http_cycles_client_heard(client->server, call, client->log);

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

        ngx_http_cycles_client_log(client->log, NGX_LOG_INFO, op->op, &rsv->id,
                                   call, &reply, "not extended");
    }

    rsv->extend_done(rsv);
}


static void
ngx_http_cycles_client_settled(ngx_http_cycles_settlement_t *st)
{
    ngx_http_cycles_client_t       *client;
    ngx_http_cycles_reservation_t  *rsv;

    client = st->data;
    rsv = client->reservation;

    if (st->op == CYCLES_OP_EVENT) {
        rsv->kind = NGX_HTTP_CYCLES_EVENT;
    }

    rsv->settle_outcome = st->outcome;
    ngx_http_cycles_keep_settled(&rsv->settled, &st->settled);
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


void
ngx_http_cycles_client_log(ngx_log_t *log, ngx_uint_t level, cycles_op_t op,
    ngx_str_t *id, ngx_http_cycles_call_t *call, cycles_reply_t *reply,
    const char *fmt, ...)
{
    u_char     *p, *last;
    va_list     args;
    ngx_str_t   request_id, trace_id;
    u_char      text[256];

    if (log->log_level < level) {
        return;
    }

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

    if (trace_id.len == 0 && call->traceparent.len) {

        /* of what we have sent, as nobody has answered */

        trace_id.data = call->traceparent.data + sizeof("00-") - 1;
        trace_id.len = 32;
    }

    /* a reserve has no reservation yet, only its key */

    ngx_log_error(level, log, 0,
                  "cycles %s of %s \"%V\": %*s, "
                  "request id: \"%V\", trace id: \"%V\"",
                  cycles_op_name(op),
                  op == CYCLES_OP_RESERVE ? "key" : "reservation", id,
                  (size_t) (p - text), text, &request_id, &trace_id);
}
