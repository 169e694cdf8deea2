
/*
 * Copyright (C) nginx-cycles authors
 *
 * A call is a connection without a socket, a request on it, and one subrequest
 * in memory that runs the named location.  A subrequest of the client's own
 * request would not do: it dies with the client, whatever it has reserved.
 */


#include "ngx_http_cycles_call.h"
#include "cycles_head.h"
#include "../status/ngx_http_cycles_counters.h"


#define NGX_HTTP_CYCLES_MAX_CALLS     512

#define NGX_HTTP_CYCLES_CALL_POOL     16384

/* attempts that have ended and are kept for those that follow, and how long */
#define NGX_HTTP_CYCLES_MAX_KEPT      64
#define NGX_HTTP_CYCLES_KEPT_TIME     1000

/* buffers for replies up to this size are kept with them */
#define NGX_HTTP_CYCLES_KEPT_BUFFER   16384

/* of an image: those between the four lists of two requests */
#define NGX_HTTP_CYCLES_PIECES        5

/* how long to wait for somebody else's thread to let go of a request */
#define NGX_HTTP_CYCLES_BLOCKED_TIME  50

#define NGX_HTTP_CYCLES_MAX_RETRY_AFTER  3600

/* eight times the same byte */
#define NGX_HTTP_CYCLES_BYTES(byte)   ((uint64_t) 0x0101010101010101 * (byte))


/* of a request's pool: what an image of it has, one piece after the other */

typedef struct {
    u_char                     *data;
    size_t                      len;
} ngx_http_cycles_piece_t;


/* a header of each call */

typedef struct {
    ngx_str_t                   name;
    ngx_uint_t                  hash;         /* 0: not known yet */
    u_char                     *lowcase;
} ngx_http_cycles_header_t;


/*
 * One try; it lives in its connection's pool and may outlive its call.  One
 * that has come to its end is kept, with its connection and its request as
 * they were before they knew of a call: an image of the request's pool has
 * that.  To make them anew takes more than all that is special in a call.
 */

struct ngx_http_cycles_attempt_s {
    ngx_http_cycles_call_t     *call;         /* NULL: nobody waits for it */
    ngx_http_conf_ctx_t        *conf_ctx;
    ngx_connection_t           *connection;
    ngx_http_request_t         *request;

    ngx_socket_t                fd;           /* as in a call */

    ngx_http_request_t         *subrequest;
    ngx_str_t                   location;
    ngx_uint_t                  status;
    ngx_msec_t                  start;
    ngx_msec_t                  deadline;
    ngx_msec_t                  connect_timeout;

    ngx_event_t                 timer;
    ngx_event_t                 event;        /* it has ended */

    u_char                     *buffer;       /* for what is received */
    size_t                      size;

    ngx_int_t                 (*process_header)(ngx_http_request_t *r);
    cycles_head_t               head;         /* of a reply that is whole */
    ngx_str_t                   reply;

    ngx_queue_t                 queue;        /* of those that are kept */
    ngx_pool_t                 *pool;         /* the request's */
    u_char                     *image;        /* NULL: it can't be kept */
    ngx_http_cycles_piece_t     pieces[NGX_HTTP_CYCLES_PIECES];
    u_char                     *last;         /* of the connection's pool */

    unsigned                    done:1;
    unsigned                    whole:1;
    unsigned                    kept:1;
};


/* of this worker */

typedef struct {
    ngx_queue_t                 urgent;
    ngx_queue_t                 normal;
    ngx_uint_t                  running;
    ngx_uint_t                  limit;
    ngx_event_t                 event;        /* there may be room */
    ngx_queue_t                 kept;
    ngx_uint_t                  nkept;
} ngx_http_cycles_calls_t;


static ngx_http_cycles_calls_t *ngx_http_cycles_calls_get(void);
static void ngx_http_cycles_calls_post(ngx_http_cycles_calls_t *calls);
static void ngx_http_cycles_calls_handler(ngx_event_t *ev);
static void ngx_http_cycles_calls_wait(ngx_http_cycles_calls_t *calls);
static void ngx_http_cycles_call_dequeue(ngx_http_cycles_call_t *call);
static void ngx_http_cycles_call_expire(ngx_event_t *ev);

static void ngx_http_cycles_attempt_start(ngx_http_cycles_call_t *call);
static ngx_http_cycles_attempt_t *ngx_http_cycles_attempt_get(
    ngx_http_conf_ctx_t *conf_ctx);
static ngx_http_cycles_attempt_t *ngx_http_cycles_attempt_again(
    ngx_http_conf_ctx_t *conf_ctx);
static ngx_int_t ngx_http_cycles_attempt_init(ngx_http_cycles_attempt_t *at);
static ngx_int_t ngx_http_cycles_attempt_subrequest(
    ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_image(ngx_http_cycles_attempt_t *at);
static size_t ngx_http_cycles_attempt_pieces(ngx_http_cycles_attempt_t *at,
    ngx_pool_t *pool);
static void ngx_http_cycles_attempt_restore(ngx_http_cycles_attempt_t *at);
static ngx_int_t ngx_http_cycles_attempt_request(
    ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_wait(ngx_http_cycles_attempt_t *at,
    ngx_msec_t timeout);
static ngx_int_t ngx_http_cycles_attempt_headers(ngx_http_request_t *sr,
    ngx_http_cycles_call_t *call);
static ngx_int_t ngx_http_cycles_attempt_header(ngx_http_request_t *sr,
    ngx_http_cycles_header_t *header, ngx_str_t *value);
static ngx_int_t ngx_http_cycles_attempt_body(ngx_http_request_t *sr,
    ngx_str_t *body);
static ngx_int_t ngx_http_cycles_copy(ngx_pool_t *pool, ngx_str_t *to,
    ngx_str_t *from);
static ngx_uint_t ngx_http_cycles_printable(ngx_str_t *value);
static void ngx_http_cycles_attempt_run(ngx_http_request_t *sr);
static void ngx_http_cycles_attempt_expect(ngx_http_request_t *sr,
    ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_buffer(ngx_http_upstream_t *u,
    ngx_http_cycles_attempt_t *at);
static ngx_int_t ngx_http_cycles_attempt_process_header(
    ngx_http_request_t *sr);
static ngx_int_t ngx_http_cycles_attempt_lists(ngx_http_request_t *sr);
static ngx_int_t ngx_http_cycles_attempt_whole(ngx_http_request_t *sr,
    ngx_http_cycles_attempt_t *at);
static ngx_int_t ngx_http_cycles_attempt_done(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);
static void ngx_http_cycles_attempt_wake(ngx_http_request_t *r);
static void ngx_http_cycles_attempt_cleanup(void *data);
static void ngx_http_cycles_attempt_handler(ngx_event_t *ev);
static void ngx_http_cycles_attempt_reply(ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_taken(ngx_http_cycles_attempt_t *at);
static ngx_msec_t ngx_http_cycles_retry_after(ngx_str_t *value);
static void ngx_http_cycles_attempt_timer(ngx_event_t *ev);
static ngx_msec_t ngx_http_cycles_attempt_connecting(
    ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_abort(ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_close(ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_end(ngx_http_cycles_attempt_t *at);
static ngx_int_t ngx_http_cycles_attempt_keep(ngx_http_cycles_attempt_t *at);
static void ngx_http_cycles_attempt_free(ngx_http_cycles_attempt_t *at);

static ngx_connection_t *ngx_http_cycles_connection(
    ngx_http_conf_ctx_t *conf_ctx);
static ngx_connection_t *ngx_http_cycles_connection_get(void);
static void ngx_http_cycles_connection_free(ngx_connection_t *c);
static void ngx_http_cycles_connection_handler(ngx_event_t *ev);
static u_char *ngx_http_cycles_log_error(ngx_log_t *log, u_char *buf,
    size_t len);


static ngx_http_cycles_calls_t  ngx_http_cycles_calls;

static struct sockaddr_in  ngx_http_cycles_sockaddr;
static ngx_str_t  ngx_http_cycles_addr_text = ngx_string("127.0.0.1");

static ngx_str_t  ngx_http_cycles_get = ngx_string("GET");
static ngx_str_t  ngx_http_cycles_post = ngx_string("POST");
static ngx_str_t  ngx_http_cycles_http_11 = ngx_string("HTTP/1.1");
static ngx_str_t  ngx_http_cycles_json = ngx_string("application/json");
static ngx_str_t  ngx_http_cycles_root = ngx_string("/");


#define ngx_http_cycles_header(name, lowcase)                                 \
    { ngx_string(name), 0, (u_char *) lowcase }

static ngx_http_cycles_header_t  ngx_http_cycles_content_type =
    ngx_http_cycles_header("Content-Type", "content-type");
static ngx_http_cycles_header_t  ngx_http_cycles_accept =
    ngx_http_cycles_header("Accept", "accept");
static ngx_http_cycles_header_t  ngx_http_cycles_api_key =
    ngx_http_cycles_header("X-Cycles-API-Key", "x-cycles-api-key");
static ngx_http_cycles_header_t  ngx_http_cycles_idempotency_key =
    ngx_http_cycles_header("X-Idempotency-Key", "x-idempotency-key");
static ngx_http_cycles_header_t  ngx_http_cycles_traceparent =
    ngx_http_cycles_header("traceparent", "traceparent");


/*
 * What a call keeps in its request's pool is some 14 KB: in one piece that is
 * less work than in those of "request_pool_size".
 */

ngx_http_conf_ctx_t *
ngx_http_cycles_call_ctx(ngx_pool_t *pool, ngx_http_conf_ctx_t *conf_ctx)
{
    void                     **srv_conf;
    ngx_http_conf_ctx_t       *ctx;
    ngx_http_core_srv_conf_t  *cscf;

    ctx = ngx_palloc(pool, sizeof(ngx_http_conf_ctx_t));
    cscf = ngx_palloc(pool, sizeof(ngx_http_core_srv_conf_t));
    srv_conf = ngx_palloc(pool, sizeof(void *) * ngx_http_max_module);

    if (ctx == NULL || cscf == NULL || srv_conf == NULL) {
        return NULL;
    }

    ngx_memcpy(srv_conf, conf_ctx->srv_conf,
               sizeof(void *) * ngx_http_max_module);

    *cscf = *(ngx_http_core_srv_conf_t *)
                srv_conf[ngx_http_core_module.ctx_index];

    cscf->request_pool_size = ngx_max(cscf->request_pool_size,
                                      NGX_HTTP_CYCLES_CALL_POOL);

    srv_conf[ngx_http_core_module.ctx_index] = cscf;

    *ctx = *conf_ctx;
    ctx->srv_conf = srv_conf;

    return ctx;
}


void
ngx_http_cycles_call_start(ngx_http_cycles_call_t *call)
{
    ngx_http_cycles_calls_t  *calls;

    calls = ngx_http_cycles_calls_get();

    call->timedout = 0;
    call->sent = 0;
    call->status = 0;
    call->retry_after = 0;
    call->rtt = 0;
    ngx_str_null(&call->reply);
    ngx_str_null(&call->request_id);
    ngx_str_null(&call->trace_id);

    call->fd = (ngx_socket_t) -1;
    call->queued = 1;
    ngx_http_cycles_gauge(CALLS_QUEUED, 1);

    if (call->urgent) {
        ngx_queue_insert_tail(&calls->urgent, &call->queue);

    } else {
        ngx_queue_insert_tail(&calls->normal, &call->queue);

        call->deadline = ngx_current_msec + call->timeout;
    }

    ngx_http_cycles_calls_post(calls);
}


void
ngx_http_cycles_call_cancel(ngx_http_cycles_call_t *call)
{
    ngx_http_cycles_attempt_t  *at;

    if (call->queued) {
        ngx_http_cycles_call_dequeue(call);
        return;
    }

    at = call->attempt;

    if (at == NULL) {
        return;
    }

    call->attempt = NULL;
    at->call = NULL;

    ngx_http_cycles_attempt_abort(at);
}


static ngx_http_cycles_calls_t *
ngx_http_cycles_calls_get(void)
{
    ngx_http_cycles_calls_t  *calls;

    calls = &ngx_http_cycles_calls;

    if (calls->limit) {
        return calls;
    }

    ngx_queue_init(&calls->urgent);
    ngx_queue_init(&calls->normal);
    ngx_queue_init(&calls->kept);

    calls->event.handler = ngx_http_cycles_calls_handler;
    calls->event.data = calls;

    /*
     * A call takes two connections, its own and the one to the server, and
     * all calls together at most a quarter of what the worker has.
     */

    calls->limit = ngx_cycle->connection_n / 8;

    if (calls->limit > NGX_HTTP_CYCLES_MAX_CALLS) {
        calls->limit = NGX_HTTP_CYCLES_MAX_CALLS;
    }

    if (calls->limit == 0) {
        calls->limit = 1;
    }

    return calls;
}


static void
ngx_http_cycles_calls_post(ngx_http_cycles_calls_t *calls)
{
    calls->event.log = ngx_cycle->log;

    ngx_post_event(&calls->event, &ngx_posted_events);
}


static void
ngx_http_cycles_calls_handler(ngx_event_t *ev)
{
    ngx_queue_t              *q;
    ngx_http_cycles_call_t   *call;
    ngx_http_cycles_calls_t  *calls;

    calls = ev->data;

    while (calls->running < calls->limit) {

        if (!ngx_queue_empty(&calls->urgent)) {
            q = ngx_queue_head(&calls->urgent);

        } else if (!ngx_queue_empty(&calls->normal)) {
            q = ngx_queue_head(&calls->normal);

        } else {
            break;
        }

        call = ngx_queue_data(q, ngx_http_cycles_call_t, queue);

        ngx_http_cycles_call_dequeue(call);
        ngx_http_cycles_attempt_start(call);
    }

    ngx_http_cycles_calls_wait(calls);
}


/* nearly no call waits: a timer is only for one that has found no room */

static void
ngx_http_cycles_calls_wait(ngx_http_cycles_calls_t *calls)
{
    ngx_msec_t               left;
    ngx_queue_t             *q;
    ngx_http_cycles_call_t  *call;

    for (q = ngx_queue_last(&calls->normal);
         q != ngx_queue_sentinel(&calls->normal);
         q = ngx_queue_prev(q))
    {
        call = ngx_queue_data(q, ngx_http_cycles_call_t, queue);

        if (call->timer.timer_set) {

            /* so have those before it */

            break;
        }

        left = call->deadline - ngx_current_msec;

        call->timer.handler = ngx_http_cycles_call_expire;
        call->timer.data = call;
        call->timer.log = ngx_cycle->log;

        ngx_add_timer(&call->timer, ((ngx_msec_int_t) left > 0) ? left : 0);
    }
}


static void
ngx_http_cycles_call_dequeue(ngx_http_cycles_call_t *call)
{
    ngx_queue_remove(&call->queue);
    call->queued = 0;
    ngx_http_cycles_gauge(CALLS_QUEUED, -1);

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }
}


static void
ngx_http_cycles_call_expire(ngx_event_t *ev)
{
    ngx_http_cycles_call_t  *call;

    call = ev->data;

    ngx_http_cycles_call_dequeue(call);

    call->timedout = 1;
    call->handler(call);
}


static void
ngx_http_cycles_attempt_start(ngx_http_cycles_call_t *call)
{
    ngx_msec_t                  timeout;
    ngx_http_cycles_attempt_t  *at;

    at = ngx_http_cycles_attempt_get(call->conf_ctx);

    if (at == NULL) {
        call->handler(call);
        return;
    }

    ngx_http_cycles_calls.running++;
    ngx_http_cycles_gauge(CALLS_RUNNING, 1);

    at->call = call;
    call->attempt = at;
    call->sent = 1;

    timeout = call->timeout;

    if (!call->urgent) {
        timeout = call->deadline - ngx_current_msec;
        timeout = ((ngx_msec_int_t) timeout > 0) ? timeout : 0;
    }

    at->start = ngx_current_msec;
    at->deadline = ngx_current_msec + timeout;
    at->connect_timeout = call->connect_timeout ? call->connect_timeout
                                                : call->timeout;

    if ((at->request == NULL && ngx_http_cycles_attempt_init(at) != NGX_OK)
        || ngx_http_cycles_attempt_request(at) != NGX_OK)
    {
        ngx_post_event(&at->event, &ngx_posted_events);
        return;
    }

    ngx_http_cycles_attempt_wait(at, ngx_min(at->connect_timeout, timeout));

    ngx_http_run_posted_requests(at->connection);
}


static ngx_http_cycles_attempt_t *
ngx_http_cycles_attempt_get(ngx_http_conf_ctx_t *conf_ctx)
{
    ngx_connection_t           *c;
    ngx_http_cycles_attempt_t  *at;

    at = ngx_http_cycles_attempt_again(conf_ctx);

    if (at) {
        return at;
    }

    c = ngx_http_cycles_connection(conf_ctx);
    if (c == NULL) {
        return NULL;
    }

    at = ngx_pcalloc(c->pool, sizeof(ngx_http_cycles_attempt_t));

    if (at == NULL) {
        ngx_http_cycles_connection_free(c);
        return NULL;
    }

    at->conf_ctx = conf_ctx;
    at->connection = c;
    at->fd = (ngx_socket_t) -1;

    at->event.handler = ngx_http_cycles_attempt_handler;
    at->event.data = at;
    at->event.log = c->log;

    at->timer.handler = ngx_http_cycles_attempt_timer;
    at->timer.data = at;
    at->timer.log = c->log;

    return at;
}


/* of those that are kept the last one, whose memory is near */

static ngx_http_cycles_attempt_t *
ngx_http_cycles_attempt_again(ngx_http_conf_ctx_t *conf_ctx)
{
    ngx_queue_t                *q;
    ngx_connection_t           *c;
    ngx_http_log_ctx_t         *ctx;
    ngx_http_request_t         *r;
    ngx_http_cycles_calls_t    *calls;
    ngx_http_cycles_attempt_t  *at;

    calls = &ngx_http_cycles_calls;

    for (q = ngx_queue_head(&calls->kept);
         q != ngx_queue_sentinel(&calls->kept);
         q = ngx_queue_next(q))
    {
        at = ngx_queue_data(q, ngx_http_cycles_attempt_t, queue);

        if (at->conf_ctx == conf_ctx) {
            goto found;
        }
    }

    return NULL;

found:

    ngx_queue_remove(&at->queue);
    calls->nkept--;

    at->kept = 0;
    at->done = 0;
    at->whole = 0;
    at->status = 0;
    at->timer.cancelable = 0;

    ngx_http_cycles_attempt_restore(at);

    r = at->request;
    c = at->connection;

    /* as ngx_http_create_request() and ngx_http_subrequest() leave it */

    c->data = at->subrequest;
    c->destroyed = 0;
    c->sent = 0;

    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    c->log->connection = c->number;
    c->log->action = "starting cycles call";

    ctx = c->log->data;
    ctx->request = r;
    ctx->current_request = r;

    return at;
}


static ngx_int_t
ngx_http_cycles_attempt_init(ngx_http_cycles_attempt_t *at)
{
    ngx_uint_t           clean;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = at->connection;

    /* not hand-made: distributions add contexts of their own there */

    r = ngx_http_create_request(c);
    if (r == NULL) {
        return NGX_ERROR;
    }

    c->data = r;
    at->request = r;

    clean = (r->cleanup == NULL);

    /* nobody but us may free it */

    r->blocked = 1;

    r->logged = 1;
    r->internal = 1;
    r->http_state = NGX_HTTP_PROCESS_REQUEST_STATE;
    r->write_event_handler = ngx_http_cycles_attempt_wake;

    /* limits for clients may be inherited by the location */

    r->limit_conn_status = 1;
    r->limit_req_status = 1;

#if (NGX_STAT_STUB)

    /* not a client's request */

    if (r->stat_reading) {
        r->stat_reading = 0;
        (void) ngx_atomic_fetch_add(ngx_stat_reading, -1);
        (void) ngx_atomic_fetch_add(ngx_stat_requests, -1);
    }

#endif

    if (ngx_http_cycles_attempt_subrequest(at) != NGX_OK) {
        return NGX_ERROR;
    }

    if (clean) {
        ngx_http_cycles_attempt_image(at);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_attempt_subrequest(ngx_http_cycles_attempt_t *at)
{
    ngx_http_cleanup_t          *cln;
    ngx_http_request_t          *r, *sr;
    ngx_http_post_subrequest_t  *ps;

    r = at->request;

    r->http_version = NGX_HTTP_VERSION_11;
    r->http_protocol = ngx_http_cycles_http_11;

    if (ngx_list_init(&r->headers_in.headers, r->pool, 1,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* for when a filter that fails has the request terminated */

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_cycles_attempt_cleanup;
    cln->data = at;

    ps = ngx_palloc(r->pool, sizeof(ngx_http_post_subrequest_t));
    if (ps == NULL) {
        return NGX_ERROR;
    }

    ps->handler = ngx_http_cycles_attempt_done;
    ps->data = at;

    if (ngx_http_subrequest(r, &ngx_http_cycles_root, NULL, &sr, ps,
                            NGX_HTTP_SUBREQUEST_IN_MEMORY
                            |NGX_HTTP_SUBREQUEST_WAITED)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    at->subrequest = sr;

    sr->write_event_handler = ngx_http_cycles_attempt_run;

    /* what is encoded in the path stays so */

    sr->valid_unparsed_uri = 1;

    return NGX_OK;
}


/*
 * All of it has to be in one piece, and nothing in it may be anybody's to
 * clean up, or else the attempt is not kept.
 */

static void
ngx_http_cycles_attempt_image(ngx_http_cycles_attempt_t *at)
{
    size_t       size;
    u_char      *p;
    ngx_uint_t   i;
    ngx_pool_t  *pool;

    pool = at->request->pool;

    if (pool->d.next || pool->large || pool->cleanup) {
        return;
    }

    size = ngx_http_cycles_attempt_pieces(at, pool);

    at->image = ngx_alloc(size, at->connection->log);
    if (at->image == NULL) {
        return;
    }

    p = at->image;

    for (i = 0; i < NGX_HTTP_CYCLES_PIECES; i++) {
        p = ngx_cpymem(p, at->pieces[i].data, at->pieces[i].len);
    }

    at->pool = pool;
    at->last = at->connection->pool->d.last;
}


/* what lists have room for is nobody's yet, and a third of all */

static size_t
ngx_http_cycles_attempt_pieces(ngx_http_cycles_attempt_t *at,
    ngx_pool_t *pool)
{
    size_t               size;
    u_char              *begin, *elts, *end;
    ngx_uint_t           i;
    ngx_list_t          *lists[NGX_HTTP_CYCLES_PIECES - 1];
    ngx_http_request_t  *r, *sr;

    r = at->request;
    sr = at->subrequest;

    lists[0] = &r->headers_out.headers;
    lists[1] = &r->headers_out.trailers;
    lists[2] = &sr->headers_out.headers;
    lists[3] = &sr->headers_out.trailers;

    size = 0;
    begin = (u_char *) pool;

    for (i = 0; i < NGX_HTTP_CYCLES_PIECES - 1; i++) {

        elts = lists[i]->part.elts;
        end = elts + lists[i]->nalloc * lists[i]->size;

        if (elts < begin || end > pool->d.last || lists[i]->part.nelts) {

            /* not as we know it: there is no need to leave it out */

            elts = begin;
            end = begin;
        }

        at->pieces[i].data = begin;
        at->pieces[i].len = elts - begin;

        size += elts - begin;
        begin = end;
    }

    at->pieces[i].data = begin;
    at->pieces[i].len = pool->d.last - begin;

    return size + at->pieces[i].len;
}


static void
ngx_http_cycles_attempt_restore(ngx_http_cycles_attempt_t *at)
{
    u_char                   *p;
    ngx_uint_t                i;
    ngx_http_cycles_piece_t  *piece;

    p = at->image;

    for (i = 0; i < NGX_HTTP_CYCLES_PIECES; i++) {
        piece = &at->pieces[i];

        ngx_memcpy(piece->data, p, piece->len);
        p += piece->len;
    }
}


static ngx_int_t
ngx_http_cycles_attempt_request(ngx_http_cycles_attempt_t *at)
{
    ngx_time_t              *tp;
    ngx_http_request_t      *r, *sr;
    ngx_http_cycles_call_t  *call;

    r = at->request;
    sr = at->subrequest;
    call = at->call;

    /* the name is of the configuration, the rest of the call is not */

    at->location = call->location;

    if (ngx_http_cycles_copy(r->pool, &r->uri, &call->uri) != NGX_OK) {
        return NGX_ERROR;
    }

    r->unparsed_uri = r->uri;

    if ((call->unparsed_uri.len != call->uri.len
         || ngx_memcmp(call->unparsed_uri.data, call->uri.data, call->uri.len)
            != 0)
        && ngx_http_cycles_copy(r->pool, &r->unparsed_uri,
                                &call->unparsed_uri)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->method = call->get ? NGX_HTTP_GET : NGX_HTTP_POST;
    r->method_name = call->get ? ngx_http_cycles_get : ngx_http_cycles_post;

    sr->uri = r->uri;
    sr->unparsed_uri = r->unparsed_uri;
    sr->method = r->method;
    sr->method_name = r->method_name;

    ngx_http_set_exten(sr);

    tp = ngx_timeofday();

    r->start_sec = tp->sec;
    r->start_msec = tp->msec;
    sr->start_sec = tp->sec;
    sr->start_msec = tp->msec;

    if (ngx_http_cycles_attempt_headers(sr, call) != NGX_OK) {
        return NGX_ERROR;
    }

    if (call->get) {
        return NGX_OK;
    }

    return ngx_http_cycles_attempt_body(sr, &call->body);
}


/*
 * The timer that the last call has left may go off a little early, as that of
 * one who has to be asked again does, but not late.
 */

static void
ngx_http_cycles_attempt_wait(ngx_http_cycles_attempt_t *at, ngx_msec_t timeout)
{
    ngx_msec_t    key;
    ngx_event_t  *ev;

    ev = &at->timer;
    key = ngx_current_msec + timeout;

    if (ev->timer_set && (ngx_msec_int_t) (ev->timer.key - key) > 0) {
        ngx_del_timer(ev);
    }

    ngx_add_timer(ev, timeout);
}


static ngx_int_t
ngx_http_cycles_attempt_headers(ngx_http_request_t *sr,
    ngx_http_cycles_call_t *call)
{
    ngx_str_t  api_key, idempotency_key, traceparent;

    ngx_memzero(&sr->headers_in, sizeof(ngx_http_headers_in_t));

    sr->headers_in.content_length_n = call->get ? -1 : (off_t) call->body.len;
    sr->headers_in.keep_alive_n = -1;

    if (ngx_list_init(&sr->headers_in.headers, sr->pool, 6,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!ngx_http_cycles_printable(&call->api_key)) {
        ngx_log_error(NGX_LOG_ERR, sr->connection->log, 0,
                      "cycles api key has characters that a header can't "
                      "have");
        return NGX_ERROR;
    }

    if (ngx_http_cycles_copy(sr->pool, &api_key, &call->api_key) != NGX_OK
        || ngx_http_cycles_copy(sr->pool, &idempotency_key,
                                &call->idempotency_key)
           != NGX_OK
        || ngx_http_cycles_copy(sr->pool, &traceparent, &call->traceparent)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!call->get
        && ngx_http_cycles_attempt_header(sr, &ngx_http_cycles_content_type,
                                          &ngx_http_cycles_json)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_cycles_attempt_header(sr, &ngx_http_cycles_accept,
                                       &ngx_http_cycles_json)
        != NGX_OK
        || ngx_http_cycles_attempt_header(sr, &ngx_http_cycles_api_key,
                                          &api_key)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    /*
     * The header only mirrors the key of the body, which may be any text; a
     * key that would not arrive as it is must not be sent at all.
     */

    if (!call->get && ngx_http_cycles_printable(&call->idempotency_key)
        && ngx_http_cycles_attempt_header(sr,
                                          &ngx_http_cycles_idempotency_key,
                                          &idempotency_key)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!ngx_http_cycles_printable(&call->traceparent)) {
        return NGX_OK;
    }

    return ngx_http_cycles_attempt_header(sr, &ngx_http_cycles_traceparent,
                                          &traceparent);
}


static ngx_int_t
ngx_http_cycles_attempt_header(ngx_http_request_t *sr,
    ngx_http_cycles_header_t *header, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    if (value->len == 0) {
        return NGX_OK;
    }

    h = ngx_list_push(&sr->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    /* the true hash: proxy_set_header is to find and replace it */

    if (header->hash == 0) {
        header->hash = ngx_hash_key(header->lowcase, header->name.len);
    }

    h->hash = header->hash;
    h->key = header->name;
    h->lowcase_key = header->lowcase;
    h->value = *value;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_attempt_body(ngx_http_request_t *sr, ngx_str_t *body)
{
    ngx_str_t                 text;
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_http_request_body_t  *rb;

    if (ngx_http_cycles_copy(sr->pool, &text, body) != NGX_OK) {
        return NGX_ERROR;
    }

    rb = ngx_pcalloc(sr->pool, sizeof(ngx_http_request_body_t));
    b = ngx_calloc_buf(sr->pool);
    cl = ngx_alloc_chain_link(sr->pool);

    if (rb == NULL || b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->start = text.data;
    b->pos = text.data;
    b->last = text.data + text.len;
    b->end = b->last;
    b->memory = 1;
    b->last_buf = 1;
    b->last_in_chain = 1;

    cl->buf = b;
    cl->next = NULL;

    rb->bufs = cl;
    rb->buf = b;

    sr->request_body = rb;

    return NGX_OK;
}


/* a call may be freed while its request lives on */

static ngx_int_t
ngx_http_cycles_copy(ngx_pool_t *pool, ngx_str_t *to, ngx_str_t *from)
{
    ngx_str_null(to);

    if (from->len == 0) {
        return NGX_OK;
    }

    to->len = from->len;
    to->data = ngx_pstrdup(pool, from);

    return to->data ? NGX_OK : NGX_ERROR;
}


static ngx_uint_t
ngx_http_cycles_printable(ngx_str_t *value)
{
    size_t    i;
    u_char   *p;
    uint64_t  word, found;

    p = value->data;
    i = value->len;

    /* the highest bit of a byte: it is below '!' or above '~' */

    for ( /* void */ ; i >= 8; i -= 8, p += 8) {
        ngx_memcpy(&word, p, 8);

        found = ((word - NGX_HTTP_CYCLES_BYTES(0x21)) & ~word)
                | (word + NGX_HTTP_CYCLES_BYTES(0x01)) | word;

        if (found & NGX_HTTP_CYCLES_BYTES(0x80)) {
            return 0;
        }
    }

    for ( /* void */ ; i; i--, p++) {
        if (*p <= 0x20 || *p >= 0x7f) {
            return 0;
        }
    }

    return 1;
}


static void
ngx_http_cycles_attempt_run(ngx_http_request_t *sr)
{
    ngx_int_t                   rc;
    ngx_http_cycles_attempt_t  *at;

    at = sr->post_subrequest->data;

    rc = ngx_http_named_location(sr, &at->location);

    ngx_http_cycles_attempt_expect(sr, at);

    ngx_http_finalize_request(sr, rc);
}


/* nearly all replies are short, plain, and arrive at once */

static void
ngx_http_cycles_attempt_expect(ngx_http_request_t *sr,
    ngx_http_cycles_attempt_t *at)
{
    ngx_http_upstream_t  *u;

    static ngx_str_t  proxy = ngx_string("proxy");

    u = sr->upstream;

    if (at->done || u == NULL
        || u->cleanup == NULL || u->process_header == NULL
        || u->cacheable || u->store
        || u->conf->module.len != proxy.len
        || ngx_strncmp(u->conf->module.data, proxy.data, proxy.len) != 0)
    {
        return;
    }

    at->process_header = u->process_header;
    u->process_header = ngx_http_cycles_attempt_process_header;

    if (u->buffer.start == NULL) {
        ngx_http_cycles_attempt_buffer(u, at);
    }
}


/* without one nginx allocates it, and lists of what it finds in a header */

static void
ngx_http_cycles_attempt_buffer(ngx_http_upstream_t *u,
    ngx_http_cycles_attempt_t *at)
{
    size_t  size;

    size = u->conf->buffer_size;

    if (size > NGX_HTTP_CYCLES_KEPT_BUFFER) {
        return;
    }

    if (at->size < size) {

        if (at->buffer) {
            ngx_free(at->buffer);
        }

        at->buffer = ngx_alloc(size, at->connection->log);
        at->size = at->buffer ? size : 0;

        if (at->buffer == NULL) {
            return;
        }
    }

    u->buffer.start = at->buffer;
    u->buffer.pos = at->buffer;
    u->buffer.last = at->buffer;
    u->buffer.end = at->buffer + size;
    u->buffer.temporary = 1;
    u->buffer.tag = u->output.tag;
}


static ngx_int_t
ngx_http_cycles_attempt_process_header(ngx_http_request_t *sr)
{
    ngx_http_upstream_t        *u;
    ngx_http_cycles_attempt_t  *at;

    u = sr->upstream;
    at = sr->post_subrequest->data;

    if (ngx_http_cycles_attempt_whole(sr, at) == NGX_OK) {
        return NGX_OK;
    }

    if (u->headers_in.headers.part.elts == NULL
        && ngx_http_cycles_attempt_lists(sr) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* nothing has been taken out of the buffer */

    u->process_header = at->process_header;

    return u->process_header(sr);
}


static ngx_int_t
ngx_http_cycles_attempt_lists(ngx_http_request_t *sr)
{
    ngx_http_upstream_t  *u;

    u = sr->upstream;

    if (ngx_list_init(&u->headers_in.headers, sr->pool, 8,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_list_init(&u->headers_in.trailers, sr->pool, 2,
                         sizeof(ngx_table_elt_t));
}


/*
 * A reply that is all in the buffer is taken from there: neither pipe nor
 * filters see it.
 */

static ngx_int_t
ngx_http_cycles_attempt_whole(ngx_http_request_t *sr,
    ngx_http_cycles_attempt_t *at)
{
    size_t                     len;
    ngx_buf_t                 *b;
    cycles_head_t             *head;
    ngx_http_upstream_t       *u;
    ngx_http_core_loc_conf_t  *clcf;

    u = sr->upstream;
    b = &u->buffer;
    head = &at->head;
    len = b->last - b->pos;

    clcf = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);

    if (cycles_head_read(head, b->pos, len) != 0
        || (head->status != NGX_HTTP_OK && head->status != NGX_HTTP_CREATED)
        || head->content_length == 0
        || head->content_length != len - head->size
        || head->content_length > clcf->subrequest_output_buffer_size)
    {
        return NGX_DECLINED;
    }

    at->whole = 1;
    at->reply.len = head->content_length;
    at->reply.data = b->pos + head->size;

    b->pos = b->last;

    u->headers_in.status_n = head->status;
    u->headers_in.content_length_n = head->content_length;
    u->state->status = head->status;
    u->state->response_length = head->content_length;

    u->headers_in.connection_close = head->close;
    u->keepalive = !head->close;

    /* what has nobody to be sent to ends with its header, and has none */

    sr->post_action = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_attempt_done(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_cycles_attempt_t  *at = data;

    ngx_http_upstream_t  *u;

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, sr->connection->log, 0,
                   "http cycles call done: %i, status:%ui",
                   rc, sr->headers_out.status);

    if (at->done) {
        return NGX_OK;
    }

    at->done = 1;
    at->status = sr->headers_out.status;

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        u = sr->upstream;

        /* a refusal by our own configuration is not the authority's */

        at->status = (rc >= NGX_HTTP_INTERNAL_SERVER_ERROR
                      || (u && u->headers_in.status_n))
                     ? (ngx_uint_t) rc : 0;
    }

    if (rc == NGX_ERROR) {
        at->status = 0;
    }

    if (sr->connection->error) {
        at->status = 0;

        ngx_log_error(NGX_LOG_ERR, sr->connection->log, 0,
                      "cycles reply can't be read, "
                      "\"subrequest_output_buffer_size\" of the location "
                      "\"%V\" may be too small", &at->location);
    }

    /* anything else would have an error page sent to nobody */

    return NGX_OK;
}


static void
ngx_http_cycles_attempt_wake(ngx_http_request_t *r)
{
    ngx_http_cleanup_t         *cln;
    ngx_http_cycles_attempt_t  *at;

    for (cln = r->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_cycles_attempt_cleanup) {
            at = cln->data;

            if (at->done) {
                ngx_http_cycles_attempt_cleanup(at);
            }

            return;
        }
    }
}


static void
ngx_http_cycles_attempt_cleanup(void *data)
{
    ngx_http_cycles_attempt_t  *at = data;

    /* to free the request here would pull it from under its caller */

    ngx_post_event(&at->event, &ngx_posted_events);
}


static void
ngx_http_cycles_attempt_handler(ngx_event_t *ev)
{
    ngx_http_cycles_call_t     *call;
    ngx_http_cycles_attempt_t  *at;

    at = ev->data;
    call = at->call;

    if (call) {
        if (at->done && at->status) {
            ngx_http_cycles_attempt_reply(at);
        }

        call->rtt = ngx_current_msec - at->start;

        call->attempt = NULL;
        at->call = NULL;

        call->handler(call);
    }

    ngx_http_cycles_attempt_abort(at);
}


static void
ngx_http_cycles_attempt_reply(ngx_http_cycles_attempt_t *at)
{
    ngx_uint_t               i;
    ngx_list_part_t         *part;
    ngx_table_elt_t         *h;
    ngx_http_request_t      *sr;
    ngx_http_cycles_call_t  *call;

    static ngx_str_t  retry_after = ngx_string("Retry-After");
    static ngx_str_t  request_id = ngx_string("X-Request-Id");
    static ngx_str_t  trace_id = ngx_string("X-Cycles-Trace-Id");

    sr = at->subrequest;
    call = at->call;

    call->status = at->status;

    if (at->whole) {
        ngx_http_cycles_attempt_taken(at);
        return;
    }

    if (sr->out && sr->out->buf) {
        call->reply.data = sr->out->buf->pos;
        call->reply.len = sr->out->buf->last - sr->out->buf->pos;
    }

    part = &sr->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash == 0) {
            continue;
        }

        if (h[i].key.len == request_id.len
            && ngx_strncasecmp(h[i].key.data, request_id.data, request_id.len)
               == 0)
        {
            call->request_id = h[i].value;

        } else if (h[i].key.len == trace_id.len
                   && ngx_strncasecmp(h[i].key.data, trace_id.data,
                                      trace_id.len)
                      == 0)
        {
            call->trace_id = h[i].value;

        } else if (h[i].key.len == retry_after.len
                   && ngx_strncasecmp(h[i].key.data, retry_after.data,
                                      retry_after.len)
                      == 0)
        {
            call->retry_after = ngx_http_cycles_retry_after(&h[i].value);
        }
    }
}


static void
ngx_http_cycles_attempt_taken(ngx_http_cycles_attempt_t *at)
{
    ngx_str_t                retry_after;
    cycles_head_t           *head;
    ngx_http_cycles_call_t  *call;

    call = at->call;
    head = &at->head;

    call->reply = at->reply;

    call->request_id.len = head->request_id.len;
    call->request_id.data = head->request_id.data;
    call->trace_id.len = head->trace_id.len;
    call->trace_id.data = head->trace_id.data;

    retry_after.len = head->retry_after.len;
    retry_after.data = head->retry_after.data;

    call->retry_after = ngx_http_cycles_retry_after(&retry_after);
}


static ngx_msec_t
ngx_http_cycles_retry_after(ngx_str_t *value)
{
    size_t      i;
    ngx_uint_t  n;

    /* in seconds; the protocol has no dates here: they count as missing */

    for (i = 0, n = 0; i < value->len; i++) {

        if (value->data[i] < '0' || value->data[i] > '9') {
            return 0;
        }

        n = n * 10 + (value->data[i] - '0');
        n = ngx_min(n, NGX_HTTP_CYCLES_MAX_RETRY_AFTER);
    }

    return (ngx_msec_t) n * 1000;
}


static void
ngx_http_cycles_attempt_timer(ngx_event_t *ev)
{
    ngx_msec_t                  left, timeout;
    ngx_http_upstream_t        *u;
    ngx_http_cycles_call_t     *call;
    ngx_http_cycles_attempt_t  *at;

    at = ev->data;
    call = at->call;

    if (at->kept) {
        ngx_queue_remove(&at->queue);
        ngx_http_cycles_calls.nkept--;

        ngx_http_cycles_attempt_free(at);
        return;
    }

    if (call == NULL) {
        ngx_http_cycles_attempt_abort(at);
        return;
    }

    if (at->done) {
        return;
    }

    left = at->deadline - ngx_current_msec;

    if ((ngx_msec_int_t) left > 0) {
        timeout = ngx_http_cycles_attempt_connecting(at);
        ngx_add_timer(&at->timer, ngx_min(timeout, left));
        return;
    }

    ngx_log_error(NGX_LOG_ERR, at->connection->log, NGX_ETIMEDOUT,
                  "cycles call timed out");

    /* or else the balancer would offer the same server again */

    u = at->subrequest->upstream;

    if (u && u->peer.free && u->peer.sockaddr) {
        u->peer.free(&u->peer, u->peer.data, NGX_PEER_FAILED);
        u->peer.sockaddr = NULL;
    }

    call->timedout = 1;
    call->rtt = ngx_current_msec - at->start;

    call->attempt = NULL;
    at->call = NULL;

    ngx_http_cycles_attempt_abort(at);

    call->handler(call);
}


/*
 * The time to connect is the location's, which others may share: where ours
 * is the shorter one, the connection is told that its time is over, so that
 * nginx goes on to the next server as it would on its own.  Returns the time
 * to look again.
 */

static ngx_msec_t
ngx_http_cycles_attempt_connecting(ngx_http_cycles_attempt_t *at)
{
    ngx_msec_t            elapsed;
    ngx_event_t          *wev;
    ngx_http_upstream_t  *u;

    u = at->subrequest->upstream;

    if (u == NULL || u->peer.connection == NULL
        || u->state == NULL || u->state->connect_time != (ngx_msec_t) -1)
    {
        return at->connect_timeout;
    }

    elapsed = ngx_current_msec - u->start_time;

    if (elapsed < at->connect_timeout) {
        return at->connect_timeout - elapsed;
    }

    wev = u->peer.connection->write;

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    ngx_add_timer(wev, 1);

    return at->connect_timeout;
}


static void
ngx_http_cycles_attempt_abort(ngx_http_cycles_attempt_t *at)
{
    /*
     * A file operation in a thread holds the request as well and can't be
     * stopped.
     */

    if (at->request && at->request->blocked > 1) {

        if (!at->timer.timer_set) {
            ngx_add_timer(&at->timer, NGX_HTTP_CYCLES_BLOCKED_TIME);
        }

        return;
    }

    ngx_http_cycles_attempt_close(at);
}


static void
ngx_http_cycles_attempt_close(ngx_http_cycles_attempt_t *at)
{
    ngx_http_cycles_calls_t  *calls;

    calls = &ngx_http_cycles_calls;

    if (at->event.posted) {
        ngx_delete_posted_event(&at->event);
    }

    if (ngx_http_cycles_attempt_keep(at) != NGX_OK) {
        ngx_http_cycles_attempt_end(at);
        ngx_http_cycles_attempt_free(at);
    }

    calls->running--;
    ngx_http_cycles_gauge(CALLS_RUNNING, -1);

    if (!ngx_queue_empty(&calls->urgent) || !ngx_queue_empty(&calls->normal)) {
        ngx_http_cycles_calls_post(calls);
    }
}


static void
ngx_http_cycles_attempt_end(ngx_http_cycles_attempt_t *at)
{
    ngx_http_cleanup_t  *cln;

    if (at->request == NULL) {
        return;
    }

    for (cln = at->request->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_cycles_attempt_cleanup) {
            cln->handler = NULL;
        }
    }

    /* the cleanup of the upstream closes what is still open */

    ngx_http_free_request(at->request, 0);
}


static ngx_int_t
ngx_http_cycles_attempt_keep(ngx_http_cycles_attempt_t *at)
{
    ngx_pool_t               *pool, *p, *next;
    ngx_connection_t         *c;
    ngx_pool_large_t         *l;
    ngx_pool_cleanup_t       *cln;
    ngx_http_cycles_calls_t  *calls;

    c = at->connection;
    calls = &ngx_http_cycles_calls;

    if (at->image == NULL || !at->done || at->status == 0
        || c->error || c->timedout || c->buffered
        || c->read->timer_set || c->write->timer_set
        || c->read->posted || c->write->posted
        || c->pool->d.last != at->last || c->pool->d.next
        || c->pool->large || c->pool->cleanup
        || calls->nkept == ngx_min(calls->limit, NGX_HTTP_CYCLES_MAX_KEPT)
        || ngx_exiting || ngx_terminate)
    {
        return NGX_DECLINED;
    }

    /* who frees the request has a pool to destroy */

    p = ngx_create_pool(NGX_MIN_POOL_SIZE, c->log);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    pool = at->pool;
    at->request->pool = p;

    ngx_http_cycles_attempt_end(at);

    for (cln = pool->cleanup; cln; cln = cln->next) {
        if (cln->handler) {
            cln->handler(cln->data);
        }
    }

    for (l = pool->large; l; l = l->next) {
        if (l->alloc) {
            ngx_free(l->alloc);
        }
    }

    for (p = pool->d.next; p; p = next) {
        next = p->d.next;
        ngx_free(p);
    }

    /* the rest of it is put right once it is used again */

    pool->d.next = NULL;
    pool->large = NULL;
    pool->cleanup = NULL;

    ngx_queue_insert_head(&calls->kept, &at->queue);
    calls->nkept++;

    at->kept = 1;

    if (!at->timer.timer_set) {
        ngx_add_timer(&at->timer, NGX_HTTP_CYCLES_KEPT_TIME);
    }

    /* a worker that quits does not wait for it */

    at->timer.cancelable = 1;

    return NGX_OK;
}


static void
ngx_http_cycles_attempt_free(ngx_http_cycles_attempt_t *at)
{
    if (at->timer.timer_set) {
        ngx_del_timer(&at->timer);
    }

    if (at->kept) {
        ngx_destroy_pool(at->pool);
    }

    if (at->image) {
        ngx_free(at->image);
    }

    if (at->buffer) {
        ngx_free(at->buffer);
    }

    ngx_http_cycles_connection_free(at->connection);
}


static ngx_connection_t *
ngx_http_cycles_connection(ngx_http_conf_ctx_t *conf_ctx)
{
    ngx_log_t              *log;
    ngx_connection_t       *c;
    ngx_http_log_ctx_t     *ctx;
    ngx_http_connection_t  *hc;

    c = ngx_http_cycles_connection_get();
    if (c == NULL) {
        return NULL;
    }

    log = ngx_palloc(c->pool, sizeof(ngx_log_t));
    ctx = ngx_pcalloc(c->pool, sizeof(ngx_http_log_ctx_t));
    hc = ngx_pcalloc(c->pool, sizeof(ngx_http_connection_t));

    if (log == NULL || ctx == NULL || hc == NULL) {
        ngx_http_cycles_connection_free(c);
        return NULL;
    }

    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    *log = *ngx_cycle->log;
    log->connection = c->number;
    log->handler = ngx_http_cycles_log_error;
    log->data = ctx;
    log->action = "starting cycles call";

    ctx->connection = c;

    c->log = log;
    c->read->log = log;
    c->write->log = log;
    c->pool->log = log;
    c->log_error = NGX_ERROR_INFO;

    /* variables and filters look at these */

    ngx_http_cycles_sockaddr.sin_family = AF_INET;
    ngx_http_cycles_sockaddr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->sockaddr = (struct sockaddr *) &ngx_http_cycles_sockaddr;
    c->socklen = sizeof(struct sockaddr_in);
    c->local_sockaddr = c->sockaddr;
    c->local_socklen = c->socklen;
    c->addr_text = ngx_http_cycles_addr_text;

    hc->conf_ctx = conf_ctx;
    c->data = hc;

    return c;
}


static ngx_connection_t *
ngx_http_cycles_connection_get(void)
{
    ngx_connection_t  *c, *saved;

    /*
     * Some event methods keep connections by their descriptor; 0 is only
     * borrowed, since -1 is no index.
     */

    saved = ngx_cycle->files ? ngx_cycle->files[0] : NULL;

    c = ngx_get_connection(0, ngx_cycle->log);

    if (ngx_cycle->files) {
        ngx_cycle->files[0] = saved;
    }

    if (c == NULL) {
        return NULL;
    }

    /* no scan over all connections touches one without a descriptor */

    c->fd = (ngx_socket_t) -1;

    /* there is nothing to poll, nor a socket to set options on */

    c->read->active = 1;
    c->read->handler = ngx_http_cycles_connection_handler;
    c->write->active = 1;
    c->write->ready = 1;
    c->write->handler = ngx_http_cycles_connection_handler;
    c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;
    c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;

    c->pool = ngx_create_pool(1024, ngx_cycle->log);

    if (c->pool == NULL) {
        ngx_http_cycles_connection_free(c);
        return NULL;
    }

    return c;
}


static void
ngx_http_cycles_connection_free(ngx_connection_t *c)
{
    ngx_pool_t        *pool;
    ngx_connection_t  *saved;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    c->read->active = 0;
    c->read->closed = 1;
    c->write->active = 0;
    c->write->closed = 1;
    c->destroyed = 1;

    pool = c->pool;
    c->pool = NULL;

    saved = ngx_cycle->files ? ngx_cycle->files[0] : NULL;

    c->fd = 0;

    ngx_free_connection(c);

    c->fd = (ngx_socket_t) -1;

    if (ngx_cycle->files) {
        ngx_cycle->files[0] = saved;
    }

    if (pool) {
        ngx_destroy_pool(pool);
    }
}


static void
ngx_http_cycles_connection_handler(ngx_event_t *ev)
{
    ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                  "event on a connection without a socket");
}


static u_char *
ngx_http_cycles_log_error(ngx_log_t *log, u_char *buf, size_t len)
{
    u_char              *p;
    ngx_http_request_t  *r;
    ngx_http_log_ctx_t  *ctx;

    p = buf;

    if (log->action) {
        p = ngx_snprintf(buf, len, " while %s", log->action);
        len -= p - buf;
        buf = p;
    }

    ctx = log->data;
    r = ctx->current_request;

    if (r == NULL) {
        return p;
    }

    p = ngx_snprintf(buf, len, ", cycles call: \"%V\"", &r->uri);
    len -= p - buf;
    buf = p;

    if (r->upstream && r->upstream->peer.name) {
        p = ngx_snprintf(buf, len, ", upstream: \"%V\"",
                         r->upstream->peer.name);
    }

    return p;
}
