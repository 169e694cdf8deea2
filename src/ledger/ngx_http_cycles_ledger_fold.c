
/*
 * Copyright (C) nginx-cycles authors
 *
 * The log becomes ledger.db in the background.  Every worker has a timer, and
 * whichever comes first folds for all of them, in a thread, and goes on to do
 * so: the pages that it needs are in its cache.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_ledger.h"
#include "../status/ngx_http_cycles_counters.h"


/* between two looks at the log, in milliseconds */
#define NGX_HTTP_CYCLES_LEDGER_FOLD       1000

/*
 * Less than that waits for longer, so that most reservations have ended when
 * they are written: each is a row then that is not written twice, or a part
 * of a bundle.  Lists do not wait, see ngx_http_cycles_ledger_wait_folded().
 */

#define NGX_HTTP_CYCLES_LEDGER_FOLD_FEW   4096
#define NGX_HTTP_CYCLES_LEDGER_FOLD_LAZY  5000

/* a pause when there is much to do, and while somebody waits for another */
#define NGX_HTTP_CYCLES_LEDGER_FOLD_PAUSE 100
#define NGX_HTTP_CYCLES_LEDGER_FOLD_POLL  5

/* later than another worker should have done it, which seems to be gone */
#define NGX_HTTP_CYCLES_LEDGER_FOLD_OTHER 3000

/* without anything new, for what gets old */
#define NGX_HTTP_CYCLES_LEDGER_FOLD_IDLE  60000

/* after a failure, and how long others wait for the end of it */
#define NGX_HTTP_CYCLES_LEDGER_FOLD_RETRY 5000
#define NGX_HTTP_CYCLES_LEDGER_FOLD_WAIT  5000

#define NGX_HTTP_CYCLES_LEDGER_COMPLAIN   60


typedef struct {
    cycles_ledger_t                 *core;
    int64_t                          now;
    int64_t                          retention_ms;
    cycles_fold_t                    fold;
    ngx_int_t                        failed;
    char                             err[CYCLES_LEDGER_ERROR_LEN];
} ngx_http_cycles_ledger_folding_t;


static void ngx_http_cycles_ledger_fold_timer(ngx_event_t *ev);
static void ngx_http_cycles_ledger_fold(ngx_http_cycles_ledger_t *l);
static void ngx_http_cycles_ledger_fold_inline(ngx_event_t *ev);
#if (NGX_THREADS)
static void ngx_http_cycles_ledger_fold_thread(void *data, ngx_log_t *log);
static void ngx_http_cycles_ledger_fold_ready(ngx_event_t *ev);
#endif
static void ngx_http_cycles_ledger_fold_done(ngx_http_cycles_ledger_t *l);
static void ngx_http_cycles_ledger_fold_wake(ngx_http_cycles_ledger_t *l,
    ngx_int_t error);


ngx_int_t
ngx_http_cycles_ledger_init_fold(ngx_http_cycles_ledger_t *l,
    ngx_cycle_t *cycle)
{
    ngx_http_cycles_ledger_folding_t  *folding;

    ngx_queue_init(&l->unfolded);

    folding = ngx_pcalloc(cycle->pool,
                          sizeof(ngx_http_cycles_ledger_folding_t));
    if (folding == NULL) {
        return NGX_ERROR;
    }

    folding->core = l->core;
    folding->retention_ms = (int64_t) l->retention * 1000;
    l->folding = folding;

    l->fold.handler = ngx_http_cycles_ledger_fold_timer;
    l->fold.data = &ngx_http_cycles_ledger_connection;
    l->fold.log = cycle->log;
    l->fold.cancelable = 1;

    l->folded.handler = ngx_http_cycles_ledger_fold_inline;
    l->folded.data = &ngx_http_cycles_ledger_connection;
    l->folded.log = cycle->log;

#if (NGX_THREADS)

    l->fold_task = ngx_thread_task_alloc(cycle->pool, 0);
    if (l->fold_task == NULL) {
        return NGX_ERROR;
    }

    l->fold_task->ctx = folding;
    l->fold_task->handler = ngx_http_cycles_ledger_fold_thread;
    l->fold_task->event.handler = ngx_http_cycles_ledger_fold_ready;
    l->fold_task->event.data = l;

    /* takes too long for an event loop */

    cycles_ledger_prewrite(l->core,
                           l->sync_mode == NGX_HTTP_CYCLES_LEDGER_ALWAYS);

#endif

    ngx_add_timer(&l->fold, NGX_HTTP_CYCLES_LEDGER_FOLD);

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_ledger_wait_folded(void *data, uint64_t record,
    ngx_http_cycles_ledger_wait_t *wait)
{
    ngx_http_cycles_ledger_t  *l = data;

    if (record <= cycles_ledger_folded(l->core)) {
        return NGX_OK;
    }

    wait->record = record;
    wait->until = ngx_current_msec + NGX_HTTP_CYCLES_LEDGER_FOLD_WAIT;
    wait->waiting = 1;
    ngx_http_cycles_gauge(LEDGER_WAITING, 1);
    ngx_queue_insert_tail(&l->unfolded, &wait->queue);

    ngx_http_cycles_ledger_hold(l);

    cycles_ledger_want_folded(l->core, record);
    ngx_http_cycles_ledger_fold(l);

    return NGX_AGAIN;
}


static void
ngx_http_cycles_ledger_fold_timer(ngx_event_t *ev)
{
    int64_t                            age, wait;
    uint64_t                           folded, records;
    unsigned                           mine;
    ngx_http_cycles_ledger_t          *l;
    ngx_http_cycles_ledger_folding_t  *folding;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, fold));

    folding = l->folding;
    age = cycles_ledger_fold_age(l->core, &mine);

    folded = cycles_ledger_folded(l->core);
    records = cycles_ledger_synced(l->core) - folded;

    wait = (mine ? 0 : NGX_HTTP_CYCLES_LEDGER_FOLD_OTHER)
           + (records < NGX_HTTP_CYCLES_LEDGER_FOLD_FEW
              ? NGX_HTTP_CYCLES_LEDGER_FOLD_LAZY : 0);

    if ((records && age >= wait)
        || (mine && folding->fold.more)
        || age >= NGX_HTTP_CYCLES_LEDGER_FOLD_IDLE
        || !ngx_queue_empty(&l->unfolded))
    {
        ngx_http_cycles_ledger_fold(l);
        return;
    }

    ngx_add_timer(ev, NGX_HTTP_CYCLES_LEDGER_FOLD);
}


/* without threads at the end of this turn of the event loop, which waits */

static void
ngx_http_cycles_ledger_fold(ngx_http_cycles_ledger_t *l)
{
    ngx_http_cycles_ledger_folding_t  *folding;

    if (l->folds) {
        return;
    }

    if (l->fold.timer_set) {
        ngx_del_timer(&l->fold);
    }

    l->folds = 1;

    folding = l->folding;
    folding->now = ngx_http_cycles_ledger_now();

#if (NGX_THREADS)

    if (ngx_thread_task_post(l->threads, l->fold_task) == NGX_OK) {
        return;
    }

#endif

    ngx_post_event(&l->folded, &ngx_posted_events);
}


static void
ngx_http_cycles_ledger_fold_inline(ngx_event_t *ev)
{
    ngx_http_cycles_ledger_t          *l;
    ngx_http_cycles_ledger_folding_t  *folding;

    l = (ngx_http_cycles_ledger_t *)
            ((u_char *) ev - offsetof(ngx_http_cycles_ledger_t, folded));

    folding = l->folding;
    folding->failed = cycles_ledger_fold(folding->core, folding->now,
                                         folding->retention_ms,
                                         &folding->fold, folding->err,
                                         sizeof(folding->err));

    ngx_http_cycles_ledger_fold_done(l);
}


#if (NGX_THREADS)

static void
ngx_http_cycles_ledger_fold_thread(void *data, ngx_log_t *log)
{
    ngx_http_cycles_ledger_folding_t *folding = data;

    folding->failed = cycles_ledger_fold(folding->core, folding->now,
                                         folding->retention_ms,
                                         &folding->fold, folding->err,
                                         sizeof(folding->err));
}


static void
ngx_http_cycles_ledger_fold_ready(ngx_event_t *ev)
{
    ev->complete = 0;

    ngx_http_cycles_ledger_fold_done(ev->data);
}

#endif


static void
ngx_http_cycles_ledger_fold_done(ngx_http_cycles_ledger_t *l)
{
    ngx_msec_t                         delay;
    ngx_http_cycles_ledger_folding_t  *folding;

    l->folds = 0;
    folding = l->folding;

    if (folding->failed
        && (l->fold_complained == 0
            || ngx_time() - l->fold_complained
               >= NGX_HTTP_CYCLES_LEDGER_COMPLAIN))
    {
        l->fold_complained = ngx_time();

        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "ledger \"%V\" can't write its log to ledger.db: %s",
                      &l->name, folding->err);
    }

    ngx_http_cycles_ledger_fold_wake(l, folding->failed ? EIO : 0);

    if (l->folds) {
        return;
    }

    delay = NGX_HTTP_CYCLES_LEDGER_FOLD;

    if (folding->failed) {
        delay = NGX_HTTP_CYCLES_LEDGER_FOLD_RETRY;

    } else if (!ngx_queue_empty(&l->unfolded)) {
        delay = folding->fold.busy ? NGX_HTTP_CYCLES_LEDGER_FOLD_POLL : 0;

    } else if (folding->fold.more) {
        delay = NGX_HTTP_CYCLES_LEDGER_FOLD_PAUSE;
    }

    ngx_add_timer(&l->fold, delay);
}


static void
ngx_http_cycles_ledger_fold_wake(ngx_http_cycles_ledger_t *l,
    ngx_int_t error)
{
    uint64_t                        folded;
    ngx_int_t                       rc;
    ngx_queue_t                     ready, *q;
    ngx_http_cycles_ledger_wait_t  *wait;

    folded = cycles_ledger_folded(l->core);

    ngx_queue_init(&ready);

    if (!ngx_queue_empty(&l->unfolded)) {
        ngx_queue_add(&ready, &l->unfolded);
        ngx_queue_init(&l->unfolded);
    }

    while (!ngx_queue_empty(&ready)) {
        q = ngx_queue_head(&ready);
        wait = ngx_queue_data(q, ngx_http_cycles_ledger_wait_t, queue);

        ngx_queue_remove(q);

        rc = (wait->record <= folded) ? 0 : error;

        if (wait->record > folded && rc == 0) {

            if ((ngx_msec_int_t) (wait->until - ngx_current_msec) > 0) {
                ngx_queue_insert_tail(&l->unfolded, q);
                continue;
            }

            rc = ETIMEDOUT;
        }

        wait->waiting = 0;
        ngx_http_cycles_gauge(LEDGER_WAITING, -1);
        wait->handler(wait, rc);
    }

    ngx_http_cycles_ledger_unhold(l);
}
