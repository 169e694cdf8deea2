
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the memory of a ledger has forgotten is fetched from ledger.db, in a
 * thread, when an operation asks for it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_ledger.h"


#define NGX_HTTP_CYCLES_LEDGER_LOOK_UP_POOL  1024


struct ngx_http_cycles_ledger_look_up_s {
    ngx_pool_t                           *pool;
    ngx_http_cycles_ledger_t             *ledger;
    cycles_look_up_t                      what;

    ngx_http_cycles_ledger_wait_t         wait;
    ngx_event_t                           done;      /* without a thread */
#if (NGX_THREADS)
    ngx_thread_task_t                    *task;
#endif

    int                                   failed;
    char                                  err[CYCLES_LEDGER_ERROR_LEN];

    ngx_http_cycles_ledger_look_up_pt     handler;   /* NULL: cancelled */
    void                                 *data;
};


static void ngx_http_cycles_ledger_look_up_folded(
    ngx_http_cycles_ledger_wait_t *wait, ngx_int_t error);
static void ngx_http_cycles_ledger_look_up_start(
    ngx_http_cycles_ledger_look_up_t *lu);
static void ngx_http_cycles_ledger_look_up_read(void *data, ngx_log_t *log);
static void ngx_http_cycles_ledger_look_up_ready(ngx_event_t *ev);
static void ngx_http_cycles_ledger_look_up_free(
    ngx_http_cycles_ledger_look_up_t *lu);


ngx_http_cycles_ledger_look_up_t *
ngx_http_cycles_ledger_look_up(void *ledger,
    ngx_http_cycles_ledger_look_up_pt handler, void *data)
{
    ngx_pool_t                        *pool;
    ngx_http_cycles_ledger_t          *l = ledger;
    ngx_http_cycles_ledger_look_up_t  *lu;

    pool = ngx_create_pool(NGX_HTTP_CYCLES_LEDGER_LOOK_UP_POOL,
                           ngx_cycle->log);
    if (pool == NULL) {
        return NULL;
    }

    lu = ngx_pcalloc(pool, sizeof(ngx_http_cycles_ledger_look_up_t));
    if (lu == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    lu->pool = pool;
    lu->ledger = l;
    lu->handler = handler;
    lu->data = data;

    lu->done.handler = ngx_http_cycles_ledger_look_up_ready;
    lu->done.data = lu;
    lu->done.log = ngx_cycle->log;

#if (NGX_THREADS)

    lu->task = ngx_thread_task_alloc(pool, 0);
    if (lu->task == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    lu->task->ctx = lu;
    lu->task->handler = ngx_http_cycles_ledger_look_up_read;
    lu->task->event.handler = ngx_http_cycles_ledger_look_up_ready;
    lu->task->event.data = lu;

#endif

    cycles_ledger_missed(l->core, &lu->what);

    l->looking++;
    ngx_http_cycles_ledger_hold(l);

    lu->wait.handler = ngx_http_cycles_ledger_look_up_folded;
    lu->wait.data = lu;

    if (ngx_http_cycles_ledger_wait_folded(l, lu->what.record, &lu->wait)
        == NGX_OK)
    {
        ngx_http_cycles_ledger_look_up_start(lu);
    }

    return lu;
}


static void
ngx_http_cycles_ledger_look_up_folded(ngx_http_cycles_ledger_wait_t *wait,
    ngx_int_t error)
{
    ngx_http_cycles_ledger_look_up_t  *lu;

    lu = wait->data;

    if (error) {
        lu->failed = -1;
        ngx_cpystrn((u_char *) lu->err, (u_char *) "the log is not in it yet",
                    sizeof(lu->err));

        ngx_post_event(&lu->done, &ngx_posted_events);
        return;
    }

    ngx_http_cycles_ledger_look_up_start(lu);
}


static void
ngx_http_cycles_ledger_look_up_start(ngx_http_cycles_ledger_look_up_t *lu)
{
#if (NGX_THREADS)

    if (ngx_thread_task_post(lu->ledger->threads, lu->task) == NGX_OK) {
        return;
    }

#endif

    ngx_http_cycles_ledger_look_up_read(lu, ngx_cycle->log);
    ngx_post_event(&lu->done, &ngx_posted_events);
}


static void
ngx_http_cycles_ledger_look_up_read(void *data, ngx_log_t *log)
{
    ngx_http_cycles_ledger_look_up_t *lu = data;

    lu->failed = cycles_ledger_look_up(lu->ledger->core, &lu->what, lu->err,
                                       sizeof(lu->err));
}


static void
ngx_http_cycles_ledger_look_up_ready(ngx_event_t *ev)
{
    ngx_int_t                          error;
    ngx_http_cycles_ledger_t          *l;
    ngx_http_cycles_ledger_look_up_t  *lu;

    lu = ev->data;
    l = lu->ledger;

    ev->complete = 0;
    l->looking--;

    error = NGX_OK;

    if (lu->failed) {
        error = NGX_ERROR;

        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "ledger \"%V\" could not look up in ledger.db what it "
                      "has forgotten: %s", &l->name, lu->err);

    } else {
        cycles_ledger_looked_up(l->core, &lu->what);
    }

    if (lu->handler) {
        lu->handler(lu->data, error);
    }

    ngx_http_cycles_ledger_look_up_free(lu);
    ngx_http_cycles_ledger_unhold(l);
}


/* a thread that is at it goes on, for nobody */

void
ngx_http_cycles_ledger_look_up_cancel(ngx_http_cycles_ledger_look_up_t *lu)
{
    ngx_http_cycles_ledger_t  *l;

    lu->handler = NULL;

    if (lu->wait.waiting) {
        l = lu->ledger;
        l->looking--;

        ngx_http_cycles_ledger_wait_cancel(&lu->wait);
        ngx_http_cycles_ledger_look_up_free(lu);
        ngx_http_cycles_ledger_unhold(l);
    }
}


static void
ngx_http_cycles_ledger_look_up_free(ngx_http_cycles_ledger_look_up_t *lu)
{
    ngx_destroy_pool(lu->pool);
}
