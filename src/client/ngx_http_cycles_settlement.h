
/*
 * Copyright (C) nginx-cycles authors
 *
 * The final act of one reservation at a Cycles server: sent, tried again,
 * turned into an event when it comes too late, and kept in the journal until
 * it is known how it ended.  Private to this folder.
 */


#ifndef _NGX_HTTP_CYCLES_SETTLEMENT_H_INCLUDED_
#define _NGX_HTTP_CYCLES_SETTLEMENT_H_INCLUDED_


#include "../status/ngx_http_cycles_counters.h"
#include "ngx_http_cycles_client.h"
#include "ngx_http_cycles_call.h"
#include "ngx_http_cycles_journal.h"
#include "cycles_protocol.h"


typedef struct ngx_http_cycles_settlement_s  ngx_http_cycles_settlement_t;

typedef void (*ngx_http_cycles_settlement_pt)(
    ngx_http_cycles_settlement_t *st);
typedef ngx_int_t (*ngx_http_cycles_settlement_event_pt)(
    ngx_http_cycles_settlement_t *st);


/*
 * The caller zeroes it, fills in the first part, and keeps it and what it
 * points to until the handler is called.
 */

struct ngx_http_cycles_settlement_s {
    ngx_pool_t                       *pool;
    ngx_log_t                        *log;
    void                             *data;
    ngx_http_cycles_settlement_pt     handler;

    ngx_http_cycles_server_t         *server;
    ngx_http_cycles_call_conf_t      *conf;
    cycles_op_t                       op;         /* the first one */
    ngx_str_t                         id;
    ngx_str_t                         key;
    ngx_str_t                         api_key;
    ngx_str_t                         traceparent;
    ngx_str_t                         tenant;

    /*
     * What is sent, always the same bytes.  A commit has both bodies; without
     * the event's it can't be sent once the reservation has expired.  Where no
     * journal keeps that one, it is written when there is need of it.
     */

    ngx_str_t                         body;
    ngx_str_t                         event_body;
    ngx_http_cycles_settlement_event_pt  write_event;   /* or NULL */
    cycles_unit_t                     unit;
    int64_t                           amount;
    int64_t                           recorded_at_ms;     /* 0: not yet */

    /* of a replay; NULL: its own, if there is a journal */
    ngx_http_cycles_journal_entry_t  *entry;

    /* how it ended; op is the one that was answered */

    ngx_http_cycles_outcome_t         outcome;
    cycles_settled_t                  settled;

    /* of the settlement itself */

    ngx_queue_t                       queue;      /* of all in this worker */
    ngx_http_cycles_call_t            call;
    ngx_event_t                       retry;
    ngx_uint_t                        tries;
    ngx_msec_t                        delay;
    int64_t                           not_before_ms;
    int64_t                           rest;       /* nobody has committed */
    unsigned                          ambiguous:1;/* a try may have arrived */
    unsigned                          writing:1;  /* to the journal */
    unsigned                          last:1;     /* no more tries */
};


/* the handler is called once, from the event loop or from within this call */

void ngx_http_cycles_settlement_start(ngx_http_cycles_settlement_t *st);


/* tells the server's breaker how a call has ended */

void ngx_http_cycles_client_heard(ngx_http_cycles_server_t *server,
    ngx_http_cycles_call_t *call, ngx_log_t *log);


/* one line for what a reply has led to; fills in the path of a call */

void ngx_http_cycles_client_log(ngx_log_t *log, ngx_uint_t level,
    cycles_op_t op, ngx_str_t *id, ngx_http_cycles_call_t *call,
    cycles_reply_t *reply, const char *fmt, ...);


ngx_int_t ngx_http_cycles_client_uri(ngx_pool_t *pool, cycles_op_t op,
    ngx_str_t *id, ngx_http_cycles_call_t *call);


/*
 * ngx_http_cycles_replay.c: settles what others have left.  The API key of a
 * tenant is only known from its requests when it depends on them, and is
 * remembered for that.
 */

ngx_int_t ngx_http_cycles_replay(ngx_http_cycles_journal_entry_t *entry,
    cycles_journal_found_t *found);

void ngx_http_cycles_replay_remember(ngx_http_cycles_server_t *server,
    ngx_str_t *tenant, ngx_str_t *api_key);

void ngx_http_cycles_replay_forget(void);


#endif /* _NGX_HTTP_CYCLES_SETTLEMENT_H_INCLUDED_ */
