
/*
 * Copyright (C) nginx-cycles authors
 *
 * Budgets: made, looked at, changed and funded.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api_admin.h"


static ngx_int_t ngx_http_cycles_api_budget_status(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_budget_status_t status);
static ngx_int_t ngx_http_cycles_api_budget_unit(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_unit_t unit);
static ngx_int_t ngx_http_cycles_api_funded_tenant(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_str_t *tenant_id);
static void ngx_http_cycles_api_write_budget(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_funded(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


ngx_int_t
ngx_http_cycles_api_budget_create(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t                     rc;
    cycles_code_t                 code;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;

    if (ctx->admin && adm->rq.tenant_id.len == 0) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "\"tenant_id\" is missing: the operator acts on "
                              "behalf of a tenant");
    }

    if (!ctx->admin && adm->rq.tenant_id.len) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "\"tenant_id\" must not be given: it is the one "
                              "of the API key");
    }

    rc = ngx_http_cycles_api_admin_may(r, ctx, adm->rq.budget.scope,
                                       adm->rq.tenant_id);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    code = cycles_ledger_budget_create(ctx->core, &adm->rq.budget, &adm->show,
                                       adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_CREATED,
                                          ngx_http_cycles_api_write_budget);
}


ngx_int_t
ngx_http_cycles_api_budget_get(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t      rc;
    cycles_str_t   scope, any;
    cycles_unit_t  unit;
    cycles_code_t  code;

    rc = ngx_http_cycles_api_admin_scope(r, ctx, &scope, &unit);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    any.len = 0;
    any.data = NULL;

    rc = ngx_http_cycles_api_admin_may(r, ctx, scope, any);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    code = cycles_ledger_budget(ctx->core, scope, unit, &ctx->adm->show,
                                ctx->adm->now);

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_budget);
}


ngx_int_t
ngx_http_cycles_api_budget_update(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t                     rc;
    cycles_code_t                 code;
    cycles_budget_def_t          *def;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;
    def = &adm->rq.budget;

    rc = ngx_http_cycles_api_admin_scope(r, ctx, &def->scope, &def->unit);

    if (rc == NGX_DECLINED && (adm->rq.set & CYCLES_SET_OVERDRAFT)) {
        rc = ngx_http_cycles_api_budget_unit(r, ctx, def->unit);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    code = cycles_ledger_budget_update(ctx->core, def, adm->rq.set,
                                       &adm->show, adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_budget);
}


ngx_int_t
ngx_http_cycles_api_budget_freeze(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    return ngx_http_cycles_api_budget_status(r, ctx, CYCLES_BUDGET_IS_FROZEN);
}


ngx_int_t
ngx_http_cycles_api_budget_unfreeze(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    return ngx_http_cycles_api_budget_status(r, ctx, CYCLES_BUDGET_ACTIVE);
}


ngx_int_t
ngx_http_cycles_api_budget_close(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    return ngx_http_cycles_api_budget_status(r, ctx, CYCLES_BUDGET_IS_CLOSED);
}


static ngx_int_t
ngx_http_cycles_api_budget_status(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_budget_status_t status)
{
    ngx_int_t                     rc;
    cycles_code_t                 code;
    cycles_transition_t           rq;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;

    rc = ngx_http_cycles_api_admin_scope(r, ctx, &rq.scope, &rq.unit);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq.status = status;
    rq.reason = adm->rq.reason;
    rq.metadata = adm->rq.metadata;

    code = cycles_ledger_budget_status(ctx->core, &rq, &adm->show, adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_budget);
}


ngx_int_t
ngx_http_cycles_api_budget_fund(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t                     rc;
    cycles_str_t                  tenant_id;
    cycles_code_t                 code;
    cycles_funding_t             *rq;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;
    rq = &adm->rq.funding;

    rc = ngx_http_cycles_api_admin_scope(r, ctx, &rq->scope, &rq->unit);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_http_cycles_api_funded_tenant(r, ctx, &tenant_id);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rc = ngx_http_cycles_api_budget_unit(r, ctx, rq->unit);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_admin_may(r, ctx, rq->scope, tenant_id);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    rq->reason = adm->rq.reason;
    rq->metadata = adm->rq.metadata;
    rq->admin = ctx->admin;
    rq->trace_id = ngx_http_cycles_api_str(ctx->trace_id,
                                           CYCLES_API_TRACE_LEN);

    /* the specification has it ignored elsewhere */

    if (rq->operation != CYCLES_RESET_SPENT) {
        rq->spent = -1;
    }

    code = cycles_ledger_fund(ctx->core, rq, &adm->funded, adm->now);
    adm->record = adm->funded.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_funded);
}


static ngx_int_t
ngx_http_cycles_api_funded_tenant(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_str_t *tenant_id)
{
    ngx_str_t  value;

    if (ngx_http_cycles_api_arg(r, "tenant_id", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->admin && value.len == 0) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "\"tenant_id\" must be given: the operator acts "
                              "on behalf of a tenant");
    }

    *tenant_id = ngx_http_cycles_api_str(value.data, value.len);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_budget_unit(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_unit_t unit)
{
    if (ctx->adm->rq.amount_unit == unit) {
        return NGX_DECLINED;
    }

    cycles_api_error_init(&ctx->error, CYCLES_UNIT_MISMATCH,
                          "The amount is in another unit than the budget");
    ctx->error.unit = ctx->adm->rq.amount_unit;
    ctx->error.expected_units = 1u << unit;

    return ngx_http_cycles_api_send_error(r, ctx, NGX_HTTP_BAD_REQUEST);
}


static void
ngx_http_cycles_api_write_budget(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_admin_write_budget(js, &ctx->adm->budget);
}


static void
ngx_http_cycles_api_write_funded(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_funding_t  *rq;

    rq = &ctx->adm->rq.funding;

    cycles_admin_write_funded(js, rq->operation, rq->unit,
                              &ctx->adm->funded);
}
