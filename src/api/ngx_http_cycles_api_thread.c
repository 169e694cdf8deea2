
/*
 * Copyright (C) nginx-cycles authors
 *
 * What takes longer than an event loop can wait: reading the log, and looking
 * at all of the ledger.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api.h"


#if (NGX_THREADS)

#define NGX_HTTP_CYCLES_API_HOLD  60000


static void ngx_http_cycles_api_thread_handler(void *data, ngx_log_t *log);
static void ngx_http_cycles_api_thread_event(ngx_event_t *ev);


/* the task and all that it uses is in the request's pool: it blocks its end */

ngx_int_t
ngx_http_cycles_api_thread(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_work_pt work,
    ngx_http_cycles_api_run_pt then)
{
    ngx_thread_task_t         *task;
    ngx_http_cycles_ledger_t  *l;

    l = ctx->ledger;

    task = ngx_thread_task_alloc(r->pool, 0);
    if (task == NULL) {
        return NGX_ERROR;
    }

    ctx->request = r;
    ctx->work = work;
    ctx->then = then;

    task->ctx = ctx;
    task->handler = ngx_http_cycles_api_thread_handler;
    task->event.handler = ngx_http_cycles_api_thread_event;
    task->event.data = ctx;
    task->event.log = r->connection->log;

    if (ngx_thread_task_post(l->threads, task) != NGX_OK) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INTERNAL_ERROR,
                                        "The server is too busy to do this");
    }

    /* or else a worker that is to exit would not wait for the thread */

    ngx_add_timer(&task->event, NGX_HTTP_CYCLES_API_HOLD);

    r->main->blocked++;
    r->main->count++;
    r->aio = 1;

    return NGX_DONE;
}


static void
ngx_http_cycles_api_thread_handler(void *data, ngx_log_t *log)
{
    ngx_http_cycles_api_ctx_t  *ctx = data;

    ctx->work(ctx);
}


static void
ngx_http_cycles_api_thread_event(ngx_event_t *ev)
{
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_cycles_api_ctx_t  *ctx;

    if (ev->timedout) {
        ev->timedout = 0;
        ngx_add_timer(ev, NGX_HTTP_CYCLES_API_HOLD);
        return;
    }

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    r->main->blocked--;
    r->aio = 0;

    /* the client may have gone: then the end of the request waited for us */

    ngx_http_finalize_request(r, c->error ? NGX_ERROR : ctx->then(r, ctx));
    ngx_http_run_posted_requests(c);
}

#else

ngx_int_t
ngx_http_cycles_api_thread(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_work_pt work,
    ngx_http_cycles_api_run_pt then)
{
    work(ctx);

    return then(r, ctx);
}

#endif
