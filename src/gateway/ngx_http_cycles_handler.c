
/*
 * Copyright (C) nginx-cycles authors
 *
 * The life of one request, up to the provider.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static ngx_http_cycles_ctx_t *ngx_http_cycles_create_ctx(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_begin(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_read(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_reserve(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_wait(ngx_http_request_t *r);
static void ngx_http_cycles_reserve_done(ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_answer(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_uint_t ngx_http_cycles_key_taken(
    ngx_http_cycles_reservation_t *rsv);
static ngx_int_t ngx_http_cycles_keep_answer(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_outage(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_pass(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_refuse_unknown(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_refuse_large(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_refuse(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_bad_request(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);
static ngx_uint_t ngx_http_cycles_needs_body(ngx_http_cycles_loc_conf_t *conf);
static void ngx_http_cycles_drop_reservation(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_cleanup(void *data);
static void ngx_http_cycles_pool_cleanup(void *data);


static ngx_http_cycles_pieces_t  ngx_http_cycles_ctxs;


/*
 * Called in the precontent phase, again whenever an awaited event has come,
 * and again behind an internal redirect.
 */

ngx_int_t
ngx_http_cycles_handler(ngx_http_request_t *r)
{
    ngx_http_cycles_ctx_t       *ctx;
    ngx_http_cycles_loc_conf_t  *conf;

    if (r != r->main) {
        return NGX_DECLINED;
    }

    conf = ngx_http_get_module_loc_conf(r, ngx_http_cycles_module);

    if (conf->mode == NGX_HTTP_CYCLES_OFF) {
        return NGX_DECLINED;
    }

    if (conf->authority == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"cycles\" is on in this server, but what it needs is "
                      "only configured in its locations");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_http_cycles_get_ctx(r);

    if (ctx == NULL) {
        ctx = ngx_http_cycles_create_ctx(r);
        if (ctx == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "cycles handler, state:%ui mode:%ui",
                   (ngx_uint_t) ctx->state, conf->mode);

    switch (ctx->state) {

    case NGX_HTTP_CYCLES_REFUSED:

        /* the operator redirects a refused request: it is a new attempt */

        if (ctx->reservation) {
            return NGX_HTTP_FORBIDDEN;
        }

        ctx->verdict = NGX_HTTP_CYCLES_NONE;
        ctx->denial = NULL;
        ctx->conf = conf;

        if (ctx->facts) {
            ctx->state = NGX_HTTP_CYCLES_READ;
            return ngx_http_cycles_reserve(r, ctx);
        }

        ctx->state = NGX_HTTP_CYCLES_START;

        return ngx_http_cycles_begin(r, ctx);

    case NGX_HTTP_CYCLES_START:

        ctx->conf = conf;

        return ngx_http_cycles_begin(r, ctx);

    case NGX_HTTP_CYCLES_READ:

        return ngx_http_cycles_reserve(r, ctx);

    case NGX_HTTP_CYCLES_READING:
    case NGX_HTTP_CYCLES_RESERVING:

        return NGX_AGAIN;

    case NGX_HTTP_CYCLES_RESERVED:

        return ngx_http_cycles_answer(r, ctx);

    case NGX_HTTP_CYCLES_PASSED:

        /* another location, and so another upstream */

        ngx_http_cycles_guard(r, ctx);
        break;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_begin(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t  error;

    if (ngx_http_cycles_find_route(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_cycles_trusts(r, ctx)) {
        ngx_http_cycles_count(PASS_TRUSTED);
        ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_BYPASS);
        ctx->state = NGX_HTTP_CYCLES_PASSED;
        return NGX_DECLINED;
    }

    if (!ngx_http_cycles_needs_body(ctx->conf)) {
        return ngx_http_cycles_reserve(r, ctx);
    }

    if (ngx_http_cycles_is_websocket(r, ctx)) {

        if (ctx->conf->websocket == NGX_HTTP_CYCLES_WEBSOCKET_DENY) {
            ngx_str_set(&error, "a connection that is upgraded can't be "
                                "metered, use requests over HTTP");
            return ngx_http_cycles_bad_request(r, ctx, &error);
        }

        ngx_http_cycles_count(PASS_WEBSOCKET);

    } else if (ctx->route.free) {
        ngx_http_cycles_count(PASS_FREE);

    } else {
        return ngx_http_cycles_read(r, ctx);
    }

    ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_BYPASS);
    ctx->state = NGX_HTTP_CYCLES_PASSED;

    return NGX_DECLINED;
}


static ngx_http_cycles_ctx_t *
ngx_http_cycles_create_ctx(ngx_http_request_t *r)
{
    ngx_uint_t              i;
    ngx_pool_cleanup_t     *pcln;
    ngx_http_cycles_ctx_t  *ctx;

    /* an internal redirect clears r->ctx; this is how it is found again */

    pcln = ngx_pool_cleanup_add(r->pool, 0);
    if (pcln == NULL) {
        return NULL;
    }

    ctx = ngx_http_cycles_piece(&ngx_http_cycles_ctxs,
                                sizeof(ngx_http_cycles_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    ngx_memzero(ctx, offsetof(ngx_http_cycles_ctx_t, text));

    pcln->handler = ngx_http_cycles_pool_cleanup;
    pcln->data = ctx;

    /* as ngx_http_cleanup_add() does it, of which there is no other use */

    ctx->cleanup.handler = ngx_http_cycles_cleanup;
    ctx->cleanup.data = ctx;
    ctx->cleanup.next = r->cleanup;
    r->cleanup = &ctx->cleanup;

    for (i = 0; i < NGX_HTTP_CYCLES_LINKS; i++) {
        ngx_free_chain(r->pool, &ctx->links[i]);
    }

    ctx->request = r;
    ngx_http_cycles_free_reply(ctx);
    ctx->remaining = CYCLES_NOT_KNOWN;
    ctx->charged = -1;
    ctx->actual = -1;
    ctx->estimate = -1;
    ctx->started = ngx_current_msec;

    ngx_http_set_ctx(r, ctx, ngx_http_cycles_module);

    ngx_http_cycles_log_ids(r, ctx);

    return ctx;
}


ngx_http_cycles_ctx_t *
ngx_http_cycles_get_ctx(ngx_http_request_t *r)
{
    ngx_http_cycles_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_cycles_module);

    if (ctx || r != r->main || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    ctx = ngx_http_cycles_find_ctx(r);

    if (ctx) {
        ngx_http_set_ctx(r, ctx, ngx_http_cycles_module);
    }

    return ctx;
}


ngx_http_cycles_ctx_t *
ngx_http_cycles_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_cycles_pool_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


u_char *
ngx_http_cycles_keep(ngx_http_cycles_ctx_t *ctx, size_t len)
{
    u_char  *p;

    if (len > NGX_HTTP_CYCLES_TEXT - (size_t) ctx->ntext) {
        return ngx_pnalloc(ctx->request->pool, len);
    }

    p = ctx->text + ctx->ntext;
    ctx->ntext += len;

    return p;
}


u_char *
ngx_http_cycles_keep_str(ngx_http_cycles_ctx_t *ctx, ngx_str_t *s)
{
    u_char  *p;

    p = ngx_http_cycles_keep(ctx, s->len);

    if (p) {
        ngx_memcpy(p, s->data, s->len);
    }

    return p;
}


/* the request has been logged: nobody asks for it any more */

static void
ngx_http_cycles_pool_cleanup(void *data)
{
    ngx_http_cycles_ctx_t *ctx = data;

    ngx_http_cycles_free_reply(ctx);
    ngx_http_cycles_free_piece(&ngx_http_cycles_ctxs, ctx);
}


static ngx_uint_t
ngx_http_cycles_needs_body(ngx_http_cycles_loc_conf_t *conf)
{
    return conf->estimate == NULL
           || conf->actual == NGX_HTTP_CYCLES_ACTUAL_AUTO
           || conf->action == NULL;
}


static ngx_int_t
ngx_http_cycles_read(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_int_t  rc;

    ctx->state = NGX_HTTP_CYCLES_READING;

    rc = ngx_http_read_client_request_body(r, ngx_http_cycles_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


static void
ngx_http_cycles_body_handler(ngx_http_request_t *r)
{
    ngx_http_cycles_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_cycles_module);

    ctx->state = NGX_HTTP_CYCLES_READ;

    r->preserve_body = 1;

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


static ngx_int_t
ngx_http_cycles_reserve(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_str_t                       error;
    ngx_http_cycles_reservation_t  *rsv;

    if (ctx->state == NGX_HTTP_CYCLES_READ && ctx->facts == NULL) {
        rc = ngx_http_cycles_read_facts(r, ctx, &error);

        if (rc == NGX_HTTP_BAD_REQUEST) {
            return ngx_http_cycles_bad_request(r, ctx, &error);
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    rsv = ngx_http_cycles_create_reservation(ctx->conf->authority);
    if (rsv == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rsv->data = ctx;
    rsv->reserve_done = ngx_http_cycles_reserve_done;
    rsv->settle_done = ngx_http_cycles_settle_done;
    rsv->settled.remaining = CYCLES_NOT_KNOWN;

    ctx->reservation = rsv;

    rc = ngx_http_cycles_terms(r, ctx, &error);

    switch (rc) {

    case NGX_OK:
        break;

    case NGX_HTTP_BAD_REQUEST:
        ngx_http_cycles_drop_reservation(ctx);
        return ngx_http_cycles_bad_request(r, ctx, &error);

    case NGX_ABORT:
        ngx_http_cycles_drop_reservation(ctx);
        return ngx_http_cycles_refuse_unknown(r, ctx);

    case NGX_DECLINED:
        ngx_http_cycles_drop_reservation(ctx);
        return ngx_http_cycles_refuse_large(r, ctx);

    default:
        ngx_http_cycles_drop_reservation(ctx);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->clock = ngx_http_cycles_clock();

    rc = rsv->authority->ops->reserve(rsv);

    if (rc == NGX_OK) {
        ngx_http_cycles_meter_reserved(ctx);
        ctx->state = NGX_HTTP_CYCLES_RESERVED;
        return ngx_http_cycles_answer(r, ctx);
    }

    ctx->state = NGX_HTTP_CYCLES_RESERVING;

    return ngx_http_cycles_wait(r);
}


/* as limit_req: to notice that the client leaves while we wait */

static ngx_int_t
ngx_http_cycles_wait(ngx_http_request_t *r)
{
    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;

    /* that the client could be written to is told with its request */

    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
}


static void
ngx_http_cycles_reserve_done(ngx_http_cycles_reservation_t *rsv)
{
    ngx_http_request_t     *r;
    ngx_http_cycles_ctx_t  *ctx;

    ctx = rsv->data;
    r = ctx->request;

    ctx->state = NGX_HTTP_CYCLES_RESERVED;

    ngx_http_cycles_meter_reserved(ctx);

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_post_event(r->connection->write, &ngx_posted_events);
}


static ngx_int_t
ngx_http_cycles_answer(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_int_t                       rc;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = ctx->reservation;

    if (ctx->stable_key && ngx_http_cycles_key_taken(rsv)) {

        /* this is another call of the provider: it needs a hold of its own */

        ngx_http_cycles_drop_reservation(ctx);

        ctx->stable_key = 0;
        ctx->reused_key = 1;
        ctx->state = ctx->facts ? NGX_HTTP_CYCLES_READ
                                : NGX_HTTP_CYCLES_START;

        return ngx_http_cycles_reserve(r, ctx);
    }

    if (ngx_http_cycles_keep_answer(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rsv->outcome == NGX_HTTP_CYCLES_OUTAGE) {
        return ngx_http_cycles_outage(r, ctx);
    }

    if (ctx->conf->mode == NGX_HTTP_CYCLES_DRY_RUN) {

        if (ctx->code == CYCLES_OK
            && rsv->reserved->decision != CYCLES_DENY)
        {
            ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DRY_RUN_ALLOW);
            ctx->dry_run.data = (u_char *)
                               cycles_decision_name(rsv->reserved->decision);
            ctx->dry_run.len = ngx_strlen(ctx->dry_run.data);

        } else {
            ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DRY_RUN_DENY);
            ngx_str_set(&ctx->dry_run, "DENY");

            ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                          "cycles dry run: would deny, reason \"%V\"",
                          &ctx->reason);
        }

        ngx_http_cycles_drop_reservation(ctx);

        return ngx_http_cycles_pass(r, ctx);
    }

    if (ctx->code != CYCLES_OK) {
        ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DENY);
        ctx->state = NGX_HTTP_CYCLES_REFUSED;

        ngx_http_cycles_drop_reservation(ctx);

        return ngx_http_cycles_send_denial(r, ctx);
    }

    ctx->verdict = (rsv->reserved->decision == CYCLES_ALLOW_WITH_CAPS)
                   ? NGX_HTTP_CYCLES_ALLOW_WITH_CAPS : NGX_HTTP_CYCLES_ALLOW;

    if (ctx->verdict == NGX_HTTP_CYCLES_ALLOW_WITH_CAPS
        && ctx->conf->apply_caps)
    {
        rc = ngx_http_cycles_apply_caps(r, ctx);

        if (rc == NGX_DECLINED) {

            /* what was held goes back */

            ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DENY);
            ctx->state = NGX_HTTP_CYCLES_REFUSED;

            ngx_http_cycles_settle(r, ctx);

            return ngx_http_cycles_send_denial(r, ctx);
        }

        if (rc != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ngx_http_cycles_decided(ctx, ctx->verdict);
    ngx_http_cycles_meter_begin(ctx);
    ngx_http_cycles_heartbeat_start(ctx);

    /* a stream may last for hours, and has no more use for the answer */

    ngx_http_cycles_forget_answer(rsv);

    return ngx_http_cycles_pass(r, ctx);
}


/*
 * The client's key was used before: with other terms, which ours always are
 * for a server that compares them, or the reservation has ended already.
 */

static ngx_uint_t
ngx_http_cycles_key_taken(ngx_http_cycles_reservation_t *rsv)
{
    if (rsv->outcome == NGX_HTTP_CYCLES_OUTAGE) {
        return 0;
    }

    return rsv->reserved->code == CYCLES_IDEMPOTENCY_MISMATCH
           || (rsv->reserved->code == CYCLES_OK
               && rsv->id.len && rsv->reserved->remaining_ttl_ms == 0);
}


/* what variables and headers show must not die with the reservation */

static ngx_int_t
ngx_http_cycles_keep_answer(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t                       s;
    cycles_reserved_t              *rs;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = ctx->reservation;
    rs = rsv->reserved;

    ctx->code = rs->code;
    ctx->reserve_time = rsv->reserve_time;

    if (rsv->request_id.len) {
        ctx->request_id.len = rsv->request_id.len;
        ctx->request_id.data = ngx_http_cycles_keep_str(ctx, &rsv->request_id);
        if (ctx->request_id.data == NULL) {
            return NGX_ERROR;
        }
    }

    if (rsv->trace_id.len
        && (rsv->trace_id.len != ctx->trace_id.len
            || ngx_memcmp(rsv->trace_id.data, ctx->trace_id.data,
                          ctx->trace_id.len)
               != 0))
    {
        ctx->trace_id.len = rsv->trace_id.len;
        ctx->trace_id.data = ngx_http_cycles_keep_str(ctx, &rsv->trace_id);
        if (ctx->trace_id.data == NULL) {
            return NGX_ERROR;
        }
    }

    if (rsv->outcome == NGX_HTTP_CYCLES_OUTAGE) {
        ngx_str_set(&ctx->reason, "AUTHORITY_UNAVAILABLE");
        return NGX_OK;
    }

    s.data = (u_char *) rs->reason;
    s.len = ngx_strlen(rs->reason);

    if (rs->code == CYCLES_NOT_FOUND) {

        /* as the protocol calls it where it is not an error, in a dry run */

        ngx_str_set(&s, "BUDGET_NOT_FOUND");

    } else if (s.len == 0 && rs->code != CYCLES_OK) {
        s.data = (u_char *) cycles_code_name(rs->code);
        s.len = ngx_strlen(s.data);
    }

    if (s.len) {
        ctx->reason.len = s.len;
        ctx->reason.data = ngx_http_cycles_keep_str(ctx, &s);
        if (ctx->reason.data == NULL) {
            return NGX_ERROR;
        }
    }

    if (rs->code != CYCLES_OK || rs->decision == CYCLES_DENY) {
        ctx->denial = ngx_palloc(r->pool, sizeof(cycles_denial_t));
        if (ctx->denial == NULL) {
            return NGX_ERROR;
        }

        *ctx->denial = rs->denial;

        return NGX_OK;
    }

    ctx->remaining = rs->remaining;
    ctx->reserved = rs->reserved;

    s.data = (u_char *) rs->scope_path;
    s.len = rs->scope_path_len;

    ctx->scope.len = s.len;
    ctx->scope.data = ngx_http_cycles_keep_str(ctx, &s);
    if (ctx->scope.data == NULL) {
        return NGX_ERROR;
    }

    ctx->reservation_id.len = rsv->id.len;
    ctx->reservation_id.data = ngx_http_cycles_keep_str(ctx, &rsv->id);
    if (ctx->reservation_id.data == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_outage(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->conf->mode == NGX_HTTP_CYCLES_DRY_RUN
        || ctx->conf->on_outage == NGX_HTTP_CYCLES_OUTAGE_ALLOW)
    {
        ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_OUTAGE_ALLOWED);

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "cycles authority \"%V\" is unavailable, "
                      "request passes unreserved", &ctx->conf->authority->name);

        if (ctx->conf->mode == NGX_HTTP_CYCLES_DRY_RUN) {
            ngx_http_cycles_drop_reservation(ctx);

        } else {
            ctx->unreserved = 1;
            ngx_http_cycles_forget_answer(ctx->reservation);
        }

        return ngx_http_cycles_pass(r, ctx);
    }

    ngx_http_cycles_drop_reservation(ctx);

    ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_OUTAGE_DENIED);
    ctx->state = NGX_HTTP_CYCLES_REFUSED;

    return ngx_http_cycles_send_outage(r, ctx);
}


static ngx_int_t
ngx_http_cycles_pass(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ctx->state = NGX_HTTP_CYCLES_PASSED;

    if (ctx->facts && ngx_http_cycles_rewrite(r, ctx) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_cycles_guard(r, ctx);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_refuse_unknown(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t  model;

    ngx_str_set(&ctx->reason, "UNKNOWN_PRICE");

    ngx_str_null(&model);

    if (ctx->facts) {
        model.data = ctx->facts->model;
        model.len = ctx->facts->model_len;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "cycles: model \"%V\" has no price: add it with "
                  "\"cycles_price\" or \"cycles_model_alias\"", &model);

    return ngx_http_cycles_refuse(r, ctx);
}


static ngx_int_t
ngx_http_cycles_refuse_large(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_set(&ctx->reason, "MAX_ESTIMATE_EXCEEDED");

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "cycles: estimate %L is over \"cycles_max_estimate\"",
                  ctx->estimate);

    return ngx_http_cycles_refuse(r, ctx);
}


/* a denial of our own, nobody was asked */

static ngx_int_t
ngx_http_cycles_refuse(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->conf->mode == NGX_HTTP_CYCLES_DRY_RUN) {
        ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DRY_RUN_DENY);
        ngx_str_set(&ctx->dry_run, "DENY");
        return ngx_http_cycles_pass(r, ctx);
    }

    ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DENY);
    ctx->state = NGX_HTTP_CYCLES_REFUSED;

    return ngx_http_cycles_send_denial(r, ctx);
}


static ngx_int_t
ngx_http_cycles_bad_request(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    ngx_str_set(&ctx->reason, "INVALID_REQUEST");

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "cycles: request can't be understood: %V", error);

    if (ctx->conf->mode == NGX_HTTP_CYCLES_DRY_RUN) {
        ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DRY_RUN_DENY);
        ngx_str_set(&ctx->dry_run, "DENY");
        ctx->state = NGX_HTTP_CYCLES_PASSED;
        return NGX_DECLINED;
    }

    ngx_http_cycles_decided(ctx, NGX_HTTP_CYCLES_DENY);
    ctx->state = NGX_HTTP_CYCLES_REFUSED;

    return ngx_http_cycles_send_bad_request(r, ctx, error);
}


/* nothing was reserved, or its owner is somebody else */

static void
ngx_http_cycles_drop_reservation(ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_destroy_reservation(ctx->reservation);
    ctx->reservation = NULL;
}


/* the request ends, in whatever state it is */

static void
ngx_http_cycles_cleanup(void *data)
{
    ngx_http_cycles_ctx_t *ctx = data;

    ngx_http_cycles_reservation_t  *rsv;

    rsv = ctx->reservation;

    ngx_http_cycles_unguard(ctx);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, ctx->request->connection->log, 0,
                   "cycles cleanup, state:%ui settling:%ui settled:%ui",
                   (ngx_uint_t) ctx->state, (ngx_uint_t) ctx->settling,
                   (ngx_uint_t) ctx->settled);

    if (rsv == NULL) {

        if (ctx->state == NGX_HTTP_CYCLES_PASSED) {
            ngx_http_cycles_settle(ctx->request, ctx);
        }

        return;
    }

    if (ctx->state == NGX_HTTP_CYCLES_RESERVING) {

        /* what it may still reserve is released by the authority */

        ngx_http_cycles_count(ABANDONED);

        ctx->reservation = NULL;
        rsv->data = NULL;
        rsv->authority->ops->abandon(rsv);
        return;
    }

    if (ctx->state == NGX_HTTP_CYCLES_RESERVED
        && (rsv->outcome == NGX_HTTP_CYCLES_OUTAGE || rsv->terms.dry_run
            || (rsv->reserved && rsv->reserved->code != CYCLES_OK)))
    {
        ngx_http_cycles_drop_reservation(ctx);
        return;
    }

    ngx_http_cycles_settle(ctx->request, ctx);
    ngx_http_cycles_let_go(ctx);

    ctx->reservation = NULL;
    rsv->data = NULL;

    if (ctx->settled) {
        ngx_http_cycles_destroy_reservation(rsv);
    }
}
