
/*
 * Copyright (C) nginx-cycles authors
 *
 * A client that leaves before its reply has ended.  The provider has the
 * request and will bill it, so with "cycles_on_abort drain" its reply is read
 * to the end, for nobody, to learn what it costs.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static void ngx_http_cycles_watch_handler(ngx_event_t *ev);
static void ngx_http_cycles_guard_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_guard_create(ngx_http_request_t *r);
static void ngx_http_cycles_guard_connection(ngx_http_request_t *r);
static void ngx_http_cycles_test_client(ngx_http_request_t *r);
static void ngx_http_cycles_left(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_err_t err);
static ngx_uint_t ngx_http_cycles_drains_enough(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_err_t err);
static void ngx_http_cycles_drain_handler(ngx_http_request_t *r);
static void ngx_http_cycles_give_up(ngx_http_request_t *r);


static ngx_uint_t  ngx_http_cycles_draining;      /* of this worker */


/*
 * The upstream module takes the events of the client's connection when it is
 * initialized, which is behind our phase and before any of our filters.
 */

void
ngx_http_cycles_guard(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->conf->on_abort != NGX_HTTP_CYCLES_ABORT_DRAIN
        || ctx->reservation == NULL || ctx->watch.posted)
    {
        return;
    }

    ctx->watch.handler = ngx_http_cycles_watch_handler;
    ctx->watch.data = r;
    ctx->watch.log = r->connection->log;

    ngx_post_event(&ctx->watch, &ngx_posted_events);
}


void
ngx_http_cycles_unguard(ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->watch.posted) {
        ngx_delete_posted_event(&ctx->watch);
    }

    if (ctx->watch.timer_set) {
        ngx_del_timer(&ctx->watch);
    }

    if (ctx->left) {
        ctx->left = 0;
        ngx_http_cycles_draining--;
    }
}


static void
ngx_http_cycles_watch_handler(ngx_event_t *ev)
{
    if (ev->timedout) {
        ev->timedout = 0;
        ngx_http_cycles_drain_handler(ev->data);
        return;
    }

    ngx_http_cycles_guard_handler(ev->data);
}


static void
ngx_http_cycles_guard_handler(ngx_http_request_t *r)
{
    ngx_http_upstream_t    *u;
    ngx_http_cycles_ctx_t  *ctx;

    u = r->upstream;
    ctx = ngx_http_cycles_get_ctx(r);

    if (u == NULL || ctx == NULL || ctx->settling) {
        return;
    }

    if (u->output.output_filter) {
        ngx_http_cycles_guard_connection(r);
        return;
    }

    /* not initialized: the request's body is still being read for it */

    if (u->create_request != ngx_http_cycles_guard_create) {
        ctx->original_create = u->create_request;
        u->create_request = ngx_http_cycles_guard_create;
    }
}


static ngx_int_t
ngx_http_cycles_guard_create(ngx_http_request_t *r)
{
    ngx_http_cycles_ctx_t  *ctx;

    ctx = ngx_http_cycles_get_ctx(r);

    ngx_http_cycles_guard_connection(r);

    return ctx->original_create(r);
}


static void
ngx_http_cycles_guard_connection(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_cycles_test_client;

    /* until there is something to write, an event is a failure's */

    if (!r->header_sent) {
        r->write_event_handler = ngx_http_request_empty_handler;
    }
}


/* as ngx_http_test_reading(), but the request goes on */

static void
ngx_http_cycles_test_client(ngx_http_request_t *r)
{
    int                     n;
    char                    buf[1];
    ngx_err_t               err;
    ngx_event_t            *rev;
    ngx_connection_t       *c;
    ngx_http_cycles_ctx_t  *ctx;

    c = r->connection;
    rev = c->read;
    ctx = ngx_http_cycles_get_ctx(r);

    if (ctx == NULL || ctx->left) {
        ngx_http_block_reading(r);
        return;
    }

#if (NGX_HTTP_V2)

    if (r->stream) {
        if (c->error) {
            ngx_http_cycles_left(r, ctx, 0);
        }

        return;
    }

#endif

    n = recv(c->fd, buf, 1, MSG_PEEK);

    if (n == 0) {
        rev->eof = 1;
        err = 0;

    } else if (n == -1) {
        err = ngx_socket_errno;

        if (err == NGX_EAGAIN) {
            return;
        }

    } else {

        /* the next request; it has to wait for its turn */

        if ((ngx_event_flags & NGX_USE_LEVEL_EVENT) && rev->active) {
            (void) ngx_del_event(rev, NGX_READ_EVENT, 0);
        }

        return;
    }

    if ((ngx_event_flags & NGX_USE_LEVEL_EVENT) && rev->active) {
        (void) ngx_del_event(rev, NGX_READ_EVENT, 0);
    }

    ngx_http_cycles_left(r, ctx, err);
}


/* it may have only closed its sending side, so the reply is still written */

static void
ngx_http_cycles_left(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_err_t err)
{
    if (!r->upstream->request_sent) {

        /* the provider knows nothing of it yet */

        ngx_log_error(NGX_LOG_INFO, r->connection->log, err,
                      "cycles: client has left before its request was sent");

        ngx_http_cycles_give_up(r);
        return;
    }

    if (ngx_http_cycles_drains_enough(r, ctx, err)) {
        ngx_http_cycles_give_up(r);
        return;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, err,
                  "cycles: client has left, its reply is read to the end for "
                  "reservation \"%V\"", &ctx->reservation_id);

    if (ctx->stream) {
        ctx->stream->left = 1;
    }

    ctx->left = 1;
    ctx->drained = 0;
    ngx_http_cycles_draining++;

    ctx->watch.handler = ngx_http_cycles_watch_handler;
    ctx->watch.data = r;
    ctx->watch.log = r->connection->log;

    ngx_add_timer(&ctx->watch, ctx->conf->drain_timeout);
}


static ngx_uint_t
ngx_http_cycles_drains_enough(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_err_t err)
{
    if (ngx_http_cycles_draining < ctx->conf->drain_number) {
        return 0;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, err,
                  "cycles: client has left, and as many replies as "
                  "\"cycles_drain\" allows are read to their end already: "
                  "reservation \"%V\" is settled by estimate",
                  &ctx->reservation_id);

    return 1;
}


/* this and the size are its bounds; the reply is at no safe place right now */

void
ngx_http_cycles_drained(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    size_t n)
{
    if (!ctx->left) {
        return;
    }

    ctx->drained += n;

    if (ctx->drained > (off_t) ctx->conf->drain_size
        && ctx->watch.timer_set)
    {
        ngx_add_timer(&ctx->watch, 0);
    }
}


static void
ngx_http_cycles_drain_handler(ngx_http_request_t *r)
{
    ngx_connection_t       *c;
    ngx_http_cycles_ctx_t  *ctx;

    c = r->connection;
    ctx = ngx_http_cycles_get_ctx(r);

    ngx_http_set_log_request(c->log, r);

    ngx_log_error(NGX_LOG_WARN, c->log, 0,
                  "cycles: reply of a client that has left goes beyond "
                  "\"cycles_drain\" after %O bytes: reservation \"%V\" is "
                  "settled by estimate", ctx->drained, &ctx->reservation_id);

    ngx_http_cycles_give_up(r);

    ngx_http_run_posted_requests(c);
}


/*
 * The cleanup of the upstream ends its part of the request as well, which must
 * not be the last one while the request is being terminated.
 */

static void
ngx_http_cycles_give_up(ngx_http_request_t *r)
{
    r->main->count++;

    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}


/*
 * Nothing can be written to the client any more.  NGX_OK: the buffers are
 * consumed, the reply is read on.
 */

ngx_int_t
ngx_http_cycles_lost(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t *in)
{
    if (ctx->conf->on_abort != NGX_HTTP_CYCLES_ABORT_DRAIN
        || ctx->reservation == NULL || r->upstream == NULL || !ctx->tapped
        || ctx->complete)
    {
        return NGX_ERROR;
    }

    if (!ctx->left) {

        if (ngx_http_cycles_drains_enough(r, ctx, 0)) {
            return NGX_ERROR;
        }

        ngx_http_cycles_left(r, ctx, 0);
    }

    ctx->gone = 1;

    for ( /* void */ ; in; in = in->next) {
        in->buf->pos = in->buf->last;
        in->buf->file_pos = in->buf->file_last;
    }

    return NGX_OK;
}


char *
ngx_http_cycles_drain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ssize_t      size;
    ngx_int_t    n;
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    if (clcf->drain_timeout != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    clcf->drain_timeout = 300000;
    clcf->drain_size = 64 * 1024 * 1024;
    clcf->drain_number = 128;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        s.data = (u_char *) ngx_strchr(value[i].data, '=');

        if (s.data == NULL) {
            goto invalid;
        }

        s.data++;
        s.len = value[i].data + value[i].len - s.data;

        if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {
            n = ngx_parse_time(&s, 0);

            if (n == NGX_ERROR || n < 1 || n > 3600000) {
                goto invalid;
            }

            clcf->drain_timeout = n;
            continue;
        }

        if (ngx_strncmp(value[i].data, "size=", 5) == 0) {
            size = ngx_parse_size(&s);

            if (size == NGX_ERROR || size < 1) {
                goto invalid;
            }

            clcf->drain_size = size;
            continue;
        }

        if (ngx_strncmp(value[i].data, "number=", 7) == 0) {
            n = ngx_atoi(s.data, s.len);

            if (n == NGX_ERROR || n > 65536) {
                goto invalid;
            }

            clcf->drain_number = n;
            continue;
        }

        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"cycles_drain\": there "
                       "are timeout=TIME from 1ms to 1h, size=SIZE, and "
                       "number=NUMBER from 0 to 65536", &value[i]);
    return NGX_CONF_ERROR;
}
