
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the routes of the API do with the ledger.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api.h"


static ngx_int_t ngx_http_cycles_api_look_up(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_found(void *data, ngx_int_t error);
static void ngx_http_cycles_api_unfound(void *data);
static void ngx_http_cycles_api_synced(ngx_http_cycles_ledger_wait_t *wait,
    ngx_int_t error);
static void ngx_http_cycles_api_age(ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_gone(void *data);
static void ngx_http_cycles_api_write_reserved(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_settled(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_introspection(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


/* and decide, which is a reserve without doing it */

ngx_int_t
ngx_http_cycles_api_reserve(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t           rc;
    cycles_code_t       code;
    cycles_reserve_t    rq;

    rc = ngx_http_cycles_api_subject(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq.idempotency_key = ctx->rq.idempotency_key;
    rq.subject = ctx->rq.subject;
    rq.action = ctx->rq.action;
    rq.unit = ctx->rq.unit;
    rq.estimate = ctx->rq.amount;
    rq.ttl_ms = ctx->rq.ttl_ms;
    rq.grace_ms = ctx->rq.grace_ms;
    rq.policy = ctx->rq.policy;
    rq.metadata = ctx->rq.metadata;
    rq.dry_run = ctx->rq.dry_run;
    rq.fresh_key = 0;
    rq.decide = (ctx->route->operation == CYCLES_API_DECIDE);
    rq.trace_id = ngx_http_cycles_api_str(ctx->trace_id,
                                          CYCLES_API_TRACE_LEN);

    code = cycles_ledger_reserve(ctx->core, &rq, &ctx->reserved,
                                 ngx_http_cycles_ledger_now());

    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_refuse(r, ctx, code,
                                          &ctx->reserved.denial);
    }

    return ngx_http_cycles_api_durable(r, ctx, ctx->reserved.record,
                                       NGX_HTTP_OK,
                                       ngx_http_cycles_api_write_reserved);
}


ngx_int_t
ngx_http_cycles_api_event(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t           rc;
    cycles_code_t       code;
    cycles_event_t      rq;

    rc = ngx_http_cycles_api_subject(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq.idempotency_key = ctx->rq.idempotency_key;
    rq.subject = ctx->rq.subject;
    rq.action = ctx->rq.action;
    rq.unit = ctx->rq.unit;
    rq.actual = ctx->rq.amount;
    rq.policy = ctx->rq.policy;
    rq.metrics = ctx->rq.metrics;
    rq.metadata = ctx->rq.metadata;
    rq.client_time_ms = ctx->rq.client_time_ms;
    rq.fresh_key = 0;
    rq.trace_id = ngx_http_cycles_api_str(ctx->trace_id,
                                          CYCLES_API_TRACE_LEN);

    code = cycles_ledger_event(ctx->core, &rq, &ctx->settled,
                               ngx_http_cycles_ledger_now());

    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_refuse(r, ctx, code,
                                          &ctx->settled.denial);
    }

    ctx->unit = rq.unit;

    return ngx_http_cycles_api_durable(r, ctx, ctx->settled.record,
                                       NGX_HTTP_CREATED,
                                       ngx_http_cycles_api_write_settled);
}


ngx_int_t
ngx_http_cycles_api_commit(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t         rc;
    cycles_code_t     code;
    cycles_commit_t   rq;

    rc = ngx_http_cycles_api_own(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq.idempotency_key = ctx->rq.idempotency_key;
    rq.unit = ctx->rq.unit;
    rq.actual = ctx->rq.amount;
    rq.metrics = ctx->rq.metrics;
    rq.metadata = ctx->rq.metadata;
    rq.fresh_key = 0;
    rq.trace_id = ngx_http_cycles_api_str(ctx->trace_id,
                                          CYCLES_API_TRACE_LEN);

    code = cycles_ledger_commit(ctx->core,
                                ngx_http_cycles_api_str(ctx->id.data,
                                                        ctx->id.len),
                                &rq, &ctx->settled,
                                ngx_http_cycles_ledger_now());

    if (code == CYCLES_UNIT_MISMATCH) {
        cycles_api_error_init(&ctx->error, code, "The reservation is in %s",
                              cycles_unit_name(ctx->unit));
        ctx->error.unit = rq.unit;
        ctx->error.expected_units = 1u << ctx->unit;

        return ngx_http_cycles_api_send_error(r, ctx,
                                              cycles_api_status(code));
    }

    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_refuse(r, ctx, code,
                                          &ctx->settled.denial);
    }

    return ngx_http_cycles_api_durable(r, ctx, ctx->settled.record,
                                       NGX_HTTP_OK,
                                       ngx_http_cycles_api_write_settled);
}


ngx_int_t
ngx_http_cycles_api_release(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t         rc;
    cycles_code_t     code;
    cycles_release_t  rq;

    rc = ngx_http_cycles_api_own(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq.idempotency_key = ctx->rq.idempotency_key;
    rq.reason = ctx->rq.reason;
    rq.admin = ctx->admin;
    rq.fresh_key = 0;
    rq.trace_id = ngx_http_cycles_api_str(ctx->trace_id,
                                          CYCLES_API_TRACE_LEN);

    code = cycles_ledger_release(ctx->core,
                                 ngx_http_cycles_api_str(ctx->id.data,
                                                         ctx->id.len),
                                 &rq, &ctx->settled,
                                 ngx_http_cycles_ledger_now());

    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_refuse(r, ctx, code, NULL);
    }

    return ngx_http_cycles_api_durable(r, ctx, ctx->settled.record,
                                       NGX_HTTP_OK,
                                       ngx_http_cycles_api_write_settled);
}


ngx_int_t
ngx_http_cycles_api_extend(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t        rc;
    cycles_code_t    code;
    cycles_extend_t  rq;

    rc = ngx_http_cycles_api_own(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq.idempotency_key = ctx->rq.idempotency_key;
    rq.extend_by_ms = ctx->rq.extend_by_ms;
    rq.metadata = ctx->rq.metadata;
    rq.trace_id = ngx_http_cycles_api_str(ctx->trace_id,
                                          CYCLES_API_TRACE_LEN);

    code = cycles_ledger_extend(ctx->core,
                                ngx_http_cycles_api_str(ctx->id.data,
                                                        ctx->id.len),
                                &rq, &ctx->settled,
                                ngx_http_cycles_ledger_now());

    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_refuse(r, ctx, code, NULL);
    }

    return ngx_http_cycles_api_durable(r, ctx, ctx->settled.record,
                                       NGX_HTTP_OK,
                                       ngx_http_cycles_api_write_settled);
}


ngx_int_t
ngx_http_cycles_api_introspect(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    return ngx_http_cycles_api_send(r, ctx, NGX_HTTP_OK,
                                    ngx_http_cycles_api_write_introspection);
}


ngx_int_t
ngx_http_cycles_api_refuse(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code,
    cycles_denial_t *denial)
{
    if (code == CYCLES_LOOK_UP) {
        return ngx_http_cycles_api_look_up(r, ctx);
    }

    ngx_http_cycles_ledger_wrote(ctx->ledger);

    cycles_api_refused(&ctx->error, code, ctx->rq.unit, denial);

    if (code == CYCLES_INTERNAL_ERROR) {
        ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                      "ledger can't serve its HTTP API: %s",
                      cycles_ledger_trouble(ctx->core));

    } else if (code == CYCLES_UNIT_MISMATCH && denial) {
        ctx->error.expected_units = cycles_ledger_units(ctx->core,
                                                        denial->scope,
                                                        denial->scope_len);
    }

    return ngx_http_cycles_api_send_error(r, ctx, cycles_api_status(code));
}


static ngx_int_t
ngx_http_cycles_api_look_up(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ctx->request = r;
    ctx->look_up = ngx_http_cycles_ledger_look_up(ctx->ledger,
                                              ngx_http_cycles_api_found, ctx);
    if (ctx->look_up == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_cycles_api_unfound;
    cln->data = ctx;

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_cycles_api_found(void *data, ngx_int_t error)
{
    ngx_http_cycles_api_ctx_t *ctx = data;

    ngx_int_t            rc;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    ctx->look_up = NULL;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    rc = (error == NGX_OK) ? ctx->route->run(r, ctx)
         : ngx_http_cycles_api_fail(r, ctx, CYCLES_INTERNAL_ERROR,
                               "The ledger can't look up now what has been, "
                               "try again with the same idempotency key");

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_cycles_api_unfound(void *data)
{
    ngx_http_cycles_api_ctx_t  *ctx = data;

    if (ctx->look_up) {
        ngx_http_cycles_ledger_look_up_cancel(ctx->look_up);
        ctx->look_up = NULL;
    }
}


ngx_int_t
ngx_http_cycles_api_own(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t       rc;
    cycles_code_t   code;
    cycles_view_t  *view;

    view = &ctx->view;

    code = cycles_ledger_view(ctx->core,
                              ngx_http_cycles_api_str(ctx->id.data,
                                                      ctx->id.len),
                              view, ngx_http_cycles_ledger_now());

    if (code == CYCLES_NOT_FOUND) {
        return ngx_http_cycles_api_fail(r, ctx, code,
                              "There is no reservation with this id, or it "
                              "ended too long ago");
    }

    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_refuse(r, ctx, code, NULL);
    }

    rc = ngx_http_cycles_api_owned(r, ctx, view);

    ctx->unit = view->unit;

    return rc;
}


ngx_int_t
ngx_http_cycles_api_durable(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, uint64_t record, ngx_uint_t status,
    ngx_http_cycles_api_write_pt write)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    ctx->request = r;
    ctx->status = status;
    ctx->write = write;
    ctx->wait.handler = ngx_http_cycles_api_synced;
    ctx->wait.data = ctx;

    if (ngx_http_cycles_ledger_wait(ctx->ledger, record, &ctx->wait)
        == NGX_OK)
    {
        return ngx_http_cycles_api_send(r, ctx, status, write);
    }

    cln->handler = ngx_http_cycles_api_gone;
    cln->data = ctx;

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_cycles_api_synced(ngx_http_cycles_ledger_wait_t *wait,
    ngx_int_t error)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_http_request_t         *r;
    ngx_http_cycles_api_ctx_t  *ctx;

    ctx = wait->data;
    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    /*
     * The operation stands, and may get lost only with the power: the same
     * key gets the same answer once it is on the disk.
     */

    if (error) {
        rc = ngx_http_cycles_api_fail(r, ctx, CYCLES_INTERNAL_ERROR,
                              "The ledger could not write to its disk, try "
                              "again with the same idempotency key");

    } else {
        ngx_http_cycles_api_age(ctx);
        rc = ngx_http_cycles_api_send(r, ctx, ctx->status, ctx->write);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


/* what is left of a lease was told when its record was written */

static void
ngx_http_cycles_api_age(ngx_http_cycles_api_ctx_t *ctx)
{
    int64_t  now;

    now = ngx_http_cycles_ledger_now();

    ctx->reserved.remaining_ttl_ms = ngx_min(ctx->reserved.remaining_ttl_ms,
                                        ctx->reserved.expires_at_ms - now);
    ctx->settled.remaining_ttl_ms = ngx_min(ctx->settled.remaining_ttl_ms,
                                        ctx->settled.expires_at_ms - now);
}


static void
ngx_http_cycles_api_gone(void *data)
{
    ngx_http_cycles_api_ctx_t  *ctx = data;

    ngx_http_cycles_ledger_wait_cancel(&ctx->wait);
}


static void
ngx_http_cycles_api_write_reserved(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_api_write_reserved(js, ctx->route->operation, &ctx->rq,
                              &ctx->reserved);
}


static void
ngx_http_cycles_api_write_settled(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_api_write_settled(js, ctx->route->operation, &ctx->rq,
                             &ctx->settled, ctx->unit);
}


static void
ngx_http_cycles_api_write_introspection(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_api_write_introspection(js, ctx->admin ? NULL : &ctx->credential);
}


cycles_str_t
ngx_http_cycles_api_str(u_char *data, size_t len)
{
    cycles_str_t  s;

    s.len = len;
    s.data = data;

    return s;
}
