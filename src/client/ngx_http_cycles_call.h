
/*
 * Copyright (C) nginx-cycles authors
 *
 * One POST to a Cycles server that belongs to no client's request: it runs
 * the named location that leads to the server, so that balancing, keepalive,
 * TLS and name resolution are nginx's own.  Knows nothing of budgets.
 */


#ifndef _NGX_HTTP_CYCLES_CALL_H_INCLUDED_
#define _NGX_HTTP_CYCLES_CALL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct ngx_http_cycles_call_s     ngx_http_cycles_call_t;
typedef struct ngx_http_cycles_attempt_s  ngx_http_cycles_attempt_t;

typedef void (*ngx_http_cycles_call_pt)(ngx_http_cycles_call_t *call);


/*
 * The caller zeroes the structure, fills in the first part, and keeps it and
 * what it points to until the handler is called or the call is cancelled.
 */

struct ngx_http_cycles_call_s {
    void                       *data;
    ngx_http_cycles_call_pt     handler;
    ngx_http_conf_ctx_t        *conf_ctx;     /* see below */

    /* debug logs read an event's data as a connection, whose fd is here */
    ngx_socket_t                fd;

    ngx_str_t                   location;     /* "@name" */
    ngx_str_t                   uri;
    ngx_str_t                   unparsed_uri; /* the same, percent-encoded */
    ngx_str_t                   body;         /* not of a GET */
    ngx_str_t                   api_key;      /* headers; empty: not sent */
    ngx_str_t                   idempotency_key;
    ngx_str_t                   traceparent;

    ngx_msec_t                  timeout;      /* of the whole call */
    ngx_msec_t                  connect_timeout;

    /*
     * When too many calls are under way the others wait, first the urgent
     * ones, each kind in the order of its start.  Of a call that is not
     * urgent the time in the queue is a part of its timeout.
     */
    unsigned                    urgent:1;
    unsigned                    get:1;        /* or else a POST */

    /* the reply; the texts live no longer than the handler runs */

    unsigned                    timedout:1;
    unsigned                    sent:1;       /* 0: died in the queue */
    ngx_uint_t                  status;       /* 0: there was no reply */
    ngx_str_t                   reply;
    ngx_str_t                   request_id;
    ngx_str_t                   trace_id;
    ngx_msec_t                  retry_after;  /* 0: none given */
    ngx_msec_t                  rtt;          /* from sending to the reply */

    /* of the call itself */

    ngx_queue_t                 queue;
    ngx_event_t                 timer;        /* while it is queued */
    ngx_msec_t                  deadline;
    ngx_http_cycles_attempt_t  *attempt;
    unsigned                    queued:1;
};


/*
 * The configuration of the server that has the location, as calls use it;
 * nginx has merged it before.  NULL: no memory.
 */

ngx_http_conf_ctx_t *ngx_http_cycles_call_ctx(ngx_pool_t *pool,
    ngx_http_conf_ctx_t *conf_ctx);


/*
 * Starts a call from the event loop, never at once: it may be called from
 * anywhere.  The handler is called once, from the event loop; it may start
 * the same call again, or free it.  A call that can't be made ends like one
 * without a reply.
 */

void ngx_http_cycles_call_start(ngx_http_cycles_call_t *call);


/* the handler will not be called; does nothing to a call that has ended */

void ngx_http_cycles_call_cancel(ngx_http_cycles_call_t *call);


#endif /* _NGX_HTTP_CYCLES_CALL_H_INCLUDED_ */
