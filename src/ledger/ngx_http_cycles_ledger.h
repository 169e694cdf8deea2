
/*
 * Copyright (C) nginx-cycles authors
 *
 * The embedded ledger in nginx: the directive, its life over start, reload
 * and upgrade, durability in the background, and the ledger as an authority.
 */


#ifndef _NGX_HTTP_CYCLES_LEDGER_H_INCLUDED_
#define _NGX_HTTP_CYCLES_LEDGER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "cycles_ledger.h"
#include "cycles_ledger_admin.h"
#include "../gateway/ngx_http_cycles_authority.h"
#include "../status/ngx_http_cycles_text.h"


#define NGX_HTTP_CYCLES_LEDGER_INTERVAL  0
#define NGX_HTTP_CYCLES_LEDGER_ALWAYS    1


/* one "cycles_ledger" of a cycle; members are for the files in this folder */

typedef struct {
    ngx_str_t                        name;
    ngx_path_t                      *path;
    size_t                           zone;
    ngx_uint_t                       sync_mode;
    size_t                           segment;     /* 0: the default */
    time_t                           retention;

    ngx_str_t                        budgets_file;
    cycles_budgets_t                *budgets;     /* until it is applied */

    cycles_ledger_t                 *core;

    /* of a worker */

    ngx_event_t                      sync;        /* the next one */
    ngx_event_t                      synced;      /* without a thread */
    ngx_event_t                      gather;      /* more for a sync */
    uint64_t                         gathered;    /* the last record so far */
    int64_t                          sync_began;  /* in microseconds */
    ngx_event_t                      hold;        /* the worker must not exit */
    ngx_event_t                      expire;
    ngx_queue_t                      queued;      /* in this turn */
    ngx_event_t                      turn;        /* its end */
    ngx_queue_t                      waiting;     /* for a sync */
    ngx_queue_t                      failed;      /* to be settled */
    ngx_event_t                      retry;       /* of these */
    ngx_msec_t                       retry_delay;
    ngx_int_t                        sync_error;
    time_t                           complained;

    ngx_event_t                      fold;        /* the next one */
    ngx_event_t                      folded;      /* without a thread */
    ngx_queue_t                      unfolded;    /* waiting for it */
    void                            *folding;
    time_t                           fold_complained;
    ngx_uint_t                       looking;     /* in ledger.db */

#if (NGX_THREADS)
    ngx_thread_pool_t               *threads;
    ngx_thread_task_t               *task;
    ngx_thread_task_t               *fold_task;
#endif

    unsigned                         syncing:1;
    unsigned                         folds:1;
} ngx_http_cycles_ledger_t;


typedef struct {
    ngx_array_t                      ledgers;   /* ngx_http_cycles_ledger_t * */
} ngx_http_cycles_ledger_main_conf_t;


/*
 * The ledger that "cycles_ledger NAME" declares, for authority->data and the
 * handlers; NULL if there is none of this name.  Valid as soon as all of the
 * http block has been parsed, and as long as the cycle.
 */

void *ngx_http_cycles_ledger_find(ngx_conf_t *cf, ngx_str_t *name);

/* the core object, for a request's handler; NULL under "nginx -t" */

cycles_ledger_t *ngx_http_cycles_ledger_core(void *data);

/*
 * To be called after an operation on the core object has been done outside of
 * the authority's operations: has it synced in the background.
 */

void ngx_http_cycles_ledger_wrote(void *data);

/*
 * Waits, with "sync=always", until a record is on the disk.  NGX_OK: there is
 * nothing to wait for.  NGX_AGAIN: the handler is called from the event loop,
 * exactly once, with 0 or the errno of a failed sync; until then the caller
 * keeps "wait", or cancels it.  Does what ngx_http_cycles_ledger_wrote() does.
 */

typedef struct ngx_http_cycles_ledger_wait_s  ngx_http_cycles_ledger_wait_t;

typedef void (*ngx_http_cycles_ledger_wait_pt)(
    ngx_http_cycles_ledger_wait_t *wait, ngx_int_t error);

struct ngx_http_cycles_ledger_wait_s {
    ngx_queue_t                      queue;
    uint64_t                         record;
    ngx_msec_t                       until;
    ngx_http_cycles_ledger_wait_pt   handler;
    void                            *data;
    unsigned                         waiting:1;
};

ngx_int_t ngx_http_cycles_ledger_wait(void *data, uint64_t record,
    ngx_http_cycles_ledger_wait_t *wait);

/*
 * As ngx_http_cycles_ledger_wait(), until a record, and so all before it, is
 * in the tables of ledger.db, in both modes: a query that begins then sees it.
 * The handler is called with ETIMEDOUT after five seconds, or with EIO when
 * the tables can't be written to.
 */

ngx_int_t ngx_http_cycles_ledger_wait_folded(void *data, uint64_t record,
    ngx_http_cycles_ledger_wait_t *wait);

void ngx_http_cycles_ledger_wait_cancel(ngx_http_cycles_ledger_wait_t *wait);

/*
 * To be called at once when an operation has returned CYCLES_LOOK_UP: fetches
 * what it has missed.  The handler is called from the event loop, exactly
 * once, with NGX_OK: the operation is to be called again before anything else;
 * or NGX_ERROR: what it needs can't be found out, as has been logged.  Until
 * then it can be cancelled.  NULL: out of memory.
 */

typedef struct ngx_http_cycles_ledger_look_up_s
    ngx_http_cycles_ledger_look_up_t;

typedef void (*ngx_http_cycles_ledger_look_up_pt)(void *data,
    ngx_int_t error);

ngx_http_cycles_ledger_look_up_t *ngx_http_cycles_ledger_look_up(
    void *ledger, ngx_http_cycles_ledger_look_up_pt handler, void *data);

void ngx_http_cycles_ledger_look_up_cancel(
    ngx_http_cycles_ledger_look_up_t *lu);

/* milliseconds since the epoch: the "now" of all ledger operations */

int64_t ngx_http_cycles_ledger_now(void);

/* the state of the i-th ledger of this cycle; NGX_DECLINED: there is none */

typedef struct {
    ngx_str_t                        name;
    cycles_ledger_stat_t             stat;
    uint64_t                         synced;
    ngx_uint_t                       always;      /* unsigned  always:1; */
} ngx_http_cycles_ledger_state_t;

ngx_int_t ngx_http_cycles_ledger_state(ngx_uint_t i,
    ngx_http_cycles_ledger_state_t *state);

/*
 * Budgets of all ledgers as JSON, at most so many: members of an object,
 *
 *     "budgets": [ Balance… ], "next_cursor": "LEDGER.POSITION"
 *
 * and, if "ledgers" is set, before them
 *
 *     "ledgers": { NAME: { "budgets": [ Balance… ], … } }
 *
 * The cursor is empty, or what an earlier answer has as next_cursor, which is
 * left out at the end.  NGX_DECLINED: it is no such text.
 */

ngx_int_t ngx_http_cycles_ledger_budgets_json(ngx_http_cycles_text_t *text,
    ngx_str_t *cursor, ngx_uint_t limit, ngx_uint_t ledgers);


/*
 * The ledger as an authority.  A commit that comes too late, or after somebody
 * else's settlement, becomes an event with the same key: rsv->kind is
 * NGX_HTTP_CYCLES_EVENT then.
 */

/* the rest is between the files in this folder */

ngx_int_t ngx_http_cycles_ledger_init_authority(ngx_http_cycles_ledger_t *l,
    ngx_cycle_t *cycle);
ngx_int_t ngx_http_cycles_ledger_init_fold(ngx_http_cycles_ledger_t *l,
    ngx_cycle_t *cycle);

/* keeps a worker that is to exit alive as long as somebody waits */

void ngx_http_cycles_ledger_hold(ngx_http_cycles_ledger_t *l);
void ngx_http_cycles_ledger_unhold(ngx_http_cycles_ledger_t *l);


/* debug logs of events look for a descriptor in there */

extern ngx_connection_t  ngx_http_cycles_ledger_connection;


extern const ngx_http_cycles_authority_ops_t  ngx_http_cycles_ledger_ops;

extern ngx_module_t  ngx_http_cycles_ledger_module;


#endif /* _NGX_HTTP_CYCLES_LEDGER_H_INCLUDED_ */
