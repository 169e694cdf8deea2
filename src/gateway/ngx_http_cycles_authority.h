
/*
 * Copyright (C) nginx-cycles authors
 *
 * The one interface to a budget authority, with two implementations: the
 * embedded ledger and a Cycles server.  The gateway never asks which one it
 * has; neither implementation knows the gateway.
 */


#ifndef _NGX_HTTP_CYCLES_AUTHORITY_H_INCLUDED_
#define _NGX_HTTP_CYCLES_AUTHORITY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../cycles.h"
#include "../ledger/cycles_ledger.h"
#include "../status/ngx_http_cycles_counters.h"


typedef struct ngx_http_cycles_authority_s    ngx_http_cycles_authority_t;
typedef struct ngx_http_cycles_reservation_s  ngx_http_cycles_reservation_t;

typedef void (*ngx_http_cycles_done_pt)(ngx_http_cycles_reservation_t *rsv);


/* how an operation ended, whoever answered it */

typedef enum {
    NGX_HTTP_CYCLES_ANSWERED = 0,     /* code and the rest of it are valid */
    NGX_HTTP_CYCLES_OUTAGE            /* transport, timeout, 5xx, a reply that
                                         is not of the protocol */
} ngx_http_cycles_outcome_t;


typedef enum {
    NGX_HTTP_CYCLES_COMMIT = 0,
    NGX_HTTP_CYCLES_RELEASE,
    NGX_HTTP_CYCLES_EVENT
} ngx_http_cycles_settle_kind_t;


/* what a call to a Cycles server may take; unused by the ledger */

typedef struct {
    ngx_msec_t                      timeout;        /* total, one attempt */
    ngx_msec_t                      connect_timeout;

    ngx_uint_t                      retry_attempts;
    ngx_msec_t                      retry_initial;
    ngx_uint_t                      retry_multiplier;   /* in 1/1000 */
    ngx_msec_t                      retry_max;
} ngx_http_cycles_call_conf_t;


/* of the answer to extend() and settle(), what is of use to the gateway */

typedef struct {
    cycles_code_t                   code;
    int64_t                         charged;
    int64_t                         remaining;
    int64_t                         expires_at_ms;
    int64_t                         remaining_ttl_ms;
    uint64_t                        record;
} ngx_http_cycles_settled_t;


/*
 * From reserve to settlement, in a pool of its own: it outlives the client's
 * request.  Strings point into this pool or into the cycle's configuration.
 *
 * The gateway fills in the terms before reserve() and the settlement before
 * settle(); an authority fills in the answers.  An authority keeps at most
 * one operation of each kind under way; calling settle() cancels a running
 * extend().
 */

struct ngx_http_cycles_reservation_s {
    ngx_pool_t                     *pool;
    ngx_http_cycles_authority_t    *authority;

    /* terms */

    cycles_reserve_t                terms;
    ngx_str_t                       api_key;
    ngx_str_t                       traceparent;     /* valid, or empty */

    /* the answer to reserve() */

    ngx_http_cycles_outcome_t       outcome;
    cycles_reserved_t              *reserved;        /* not of the pool:
                                                        large, so it may be
                                                        forgotten */
    ngx_str_t                       id;
    ngx_str_t                       request_id;      /* X-Request-Id */
    ngx_str_t                       trace_id;        /* X-Cycles-Trace-Id */
    ngx_msec_t                      reserve_time;
    ngx_http_cycles_done_pt         reserve_done;

    ngx_http_cycles_done_pt         extend_done;
    ngx_http_cycles_done_pt         settle_done;

    /* each of them has a key of its own, in the same place */

    union {
        ngx_str_t                   extend_key;
        ngx_str_t                   settle_key;
    };

    union {

        /* the answer to extend() */

        struct {
            ngx_http_cycles_outcome_t       extend_outcome;
            ngx_uint_t                      extend_status;   /* HTTP, 0 for a
                                                                ledger */
            ngx_msec_t                      extend_rtt;
            ngx_msec_t                      extend_retry_after;   /* 0: none
                                                                     given */
            ngx_http_cycles_settled_t       extended;
        };

        /* settlement and its final answer, after all retries */

        struct {
            ngx_http_cycles_settle_kind_t   kind;
            ngx_http_cycles_outcome_t       settle_outcome;
            int64_t                         actual;
            cycles_metrics_t                metrics;
            ngx_str_t                       settle_metadata; /* JSON object
                                                                text */
            ngx_str_t                       reason;          /* of a release */
            ngx_http_cycles_done_pt         settle_tried;    /* or NULL, see
                                                                below */
            ngx_http_cycles_settled_t       settled;
        };
    };

    /* of the gateway, and of the authority */

    void                           *data;
    ngx_http_cycles_labels_t        labels;
    uint64_t                        clock;
    void                           *call_data;

    ngx_http_cycles_call_conf_t     call;    /* last: a ledger's has none */
};


/*
 * Each operation returns NGX_OK when it is answered at once (the result is
 * in place and the done handler is not called), or NGX_AGAIN when the done
 * handler will be called later, from the event loop, exactly once; an
 * operation that can't be started is an outage, never an error.
 *
 * abandon(): the client has gone while reserve() is under way; the authority
 * finishes it, releases what it may have reserved, and destroys the
 * reservation itself.
 *
 * leave(): it is not settled but left to its expiry; cancels a running
 * extend().
 *
 * settle(): with a settle_tried handler it may also return NGX_BUSY, and do
 * it at the end of this turn of the event loop, with all others of the turn:
 * this handler is called then, and settle_done after it, or later.
 *
 * A null answer to settle() does not exist: it is retried as the protocol
 * wants and its done handler is called once it is final.
 */

typedef struct {
    ngx_int_t  (*reserve)(ngx_http_cycles_reservation_t *rsv);
    void       (*abandon)(ngx_http_cycles_reservation_t *rsv);
    ngx_int_t  (*extend)(ngx_http_cycles_reservation_t *rsv);
    ngx_int_t  (*settle)(ngx_http_cycles_reservation_t *rsv);
    void       (*leave)(ngx_http_cycles_reservation_t *rsv);

    /* a reservation with its strings, as a rule */

    size_t       pool_size;
} ngx_http_cycles_authority_ops_t;


static ngx_inline void
ngx_http_cycles_keep_settled(ngx_http_cycles_settled_t *settled,
    const cycles_settled_t *rs)
{
    settled->code = rs->code;
    settled->charged = rs->charged;
    settled->remaining = rs->remaining;
    settled->expires_at_ms = rs->expires_at_ms;
    settled->remaining_ttl_ms = rs->remaining_ttl_ms;
    settled->record = rs->record;
}


struct ngx_http_cycles_authority_s {
    const ngx_http_cycles_authority_ops_t  *ops;
    ngx_str_t                       name;    /* "ledger=NAME" or "@location" */
    ngx_http_conf_ctx_t            *conf_ctx;     /* of the named location */
    void                           *data;         /* of the implementation */

    /*
     * The longest that one call can take, for the heartbeat; 0: calls are
     * answered at once.
     */
    ngx_uint_t                      remote;  /* unsigned  remote:1; */

    /* of a worker: reservations that have ended, to be used again */

    ngx_http_cycles_reservation_t  *idle;
    ngx_uint_t                      nidle;
    size_t                          grown;   /* bytes, beyond pool_size */
};


/* ngx_http_cycles_reservation.c */

/* with room for the answer to reserve(), and all else zeroed; or NULL */

ngx_http_cycles_reservation_t *ngx_http_cycles_create_reservation(
    ngx_http_cycles_authority_t *authority);

/* nobody will read rsv->reserved any more */

void ngx_http_cycles_forget_answer(ngx_http_cycles_reservation_t *rsv);

void ngx_http_cycles_destroy_reservation(ngx_http_cycles_reservation_t *rsv);


#endif /* _NGX_HTTP_CYCLES_AUTHORITY_H_INCLUDED_ */
