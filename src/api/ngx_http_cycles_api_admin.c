
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the routes of the admin plane share.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api_admin.h"


static void ngx_http_cycles_api_admin_cleanup(void *data);
static void ngx_http_cycles_api_show_tenant(void *data,
    const cycles_tenant_def_t *tenant);
static void ngx_http_cycles_api_show_budget(void *data,
    const cycles_budget_view_t *budget);
static void ngx_http_cycles_api_show_key(void *data,
    const cycles_key_view_t *key);
static void ngx_http_cycles_api_keep(ngx_http_cycles_api_admin_t *adm,
    cycles_str_t *str);


ngx_int_t
ngx_http_cycles_api_admin_init(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ngx_pcalloc(r->pool, sizeof(ngx_http_cycles_api_admin_t));
    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (adm == NULL || cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_cycles_api_admin_cleanup;
    cln->data = adm;

    adm->pool = r->pool;
    adm->now = ngx_http_cycles_ledger_now();

    adm->show.tenant = ngx_http_cycles_api_show_tenant;
    adm->show.budget = ngx_http_cycles_api_show_budget;
    adm->show.key = ngx_http_cycles_api_show_key;
    adm->show.data = adm;

    ctx->adm = adm;

    return NGX_OK;
}


static void
ngx_http_cycles_api_admin_cleanup(void *data)
{
    ngx_http_cycles_api_admin_t  *adm = data;

    cycles_admin_free(&adm->rq);
    cycles_page_free(&adm->list);
}


/* under the ledger's lock: strings are copied, and used later */

static void
ngx_http_cycles_api_show_tenant(void *data,
    const cycles_tenant_def_t *tenant)
{
    ngx_http_cycles_api_admin_t  *adm = data;

    adm->tenant = *tenant;

    ngx_http_cycles_api_keep(adm, &adm->tenant.tenant_id);
    ngx_http_cycles_api_keep(adm, &adm->tenant.name);
    ngx_http_cycles_api_keep(adm, &adm->tenant.parent_id);
    ngx_http_cycles_api_keep(adm, &adm->tenant.metadata);
}


static void
ngx_http_cycles_api_show_budget(void *data,
    const cycles_budget_view_t *budget)
{
    ngx_http_cycles_api_admin_t  *adm = data;

    adm->budget = *budget;

    ngx_http_cycles_api_keep(adm, &adm->budget.tenant_id);
    ngx_http_cycles_api_keep(adm, &adm->budget.def.scope);
}


static void
ngx_http_cycles_api_show_key(void *data, const cycles_key_view_t *key)
{
    cycles_key_def_t             *def;
    ngx_http_cycles_api_admin_t  *adm = data;

    adm->key = *key;
    def = &adm->key.def;

    ngx_http_cycles_api_keep(adm, &def->tenant_id);
    ngx_http_cycles_api_keep(adm, &def->name);
    ngx_http_cycles_api_keep(adm, &def->description);
    ngx_http_cycles_api_keep(adm, &def->prefix);
    ngx_http_cycles_api_keep(adm, &def->scope_filter);
    ngx_http_cycles_api_keep(adm, &def->revoked_reason);
    ngx_http_cycles_api_keep(adm, &def->metadata);
}


static void
ngx_http_cycles_api_keep(ngx_http_cycles_api_admin_t *adm, cycles_str_t *str)
{
    u_char  *p;

    if (str->len == 0) {
        return;
    }

    p = ngx_pnalloc(adm->pool, str->len);

    if (p == NULL) {
        adm->failed = 1;
        str->len = 0;
        return;
    }

    ngx_memcpy(p, str->data, str->len);
    str->data = p;
}


ngx_int_t
ngx_http_cycles_api_admin_done(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code, ngx_uint_t status,
    ngx_http_cycles_api_write_pt write)
{
    if (code != CYCLES_OK) {
        return ngx_http_cycles_api_admin_refuse(r, ctx, code);
    }

    if (ctx->adm->failed) {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_durable(r, ctx, ctx->adm->record, status,
                                       write);
}


/* some codes mean another thing here than in answers to API keys */

ngx_int_t
ngx_http_cycles_api_admin_refuse(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code)
{
    ngx_uint_t  operation, status;

    if (code == CYCLES_LOOK_UP) {
        return ngx_http_cycles_api_refuse(r, ctx, code, NULL);
    }

    operation = ctx->route->operation;
    status = cycles_api_status(code);

    switch (code) {

    case CYCLES_TENANT_NOT_FOUND:
        if (operation & (CYCLES_ADMIN_CREATE_BUDGET|CYCLES_ADMIN_CREATE_KEY))
        {
            status = NGX_HTTP_BAD_REQUEST;
        }

        cycles_api_error_init(&ctx->error, code, "The tenant is not known");
        break;

    case CYCLES_BUDGET_NOT_FOUND:
        cycles_api_error_init(&ctx->error, code, "There is no budget for "
                              "this scope and unit");
        break;

    case CYCLES_NOT_FOUND:
        cycles_api_error_init(&ctx->error, code, "There is no API key with "
                              "this id");
        break;

    case CYCLES_DUPLICATE_RESOURCE:
        cycles_api_error_init(&ctx->error, code, "There is a budget for this "
                              "scope and unit already");
        break;

    case CYCLES_KEY_REVOKED:
    case CYCLES_KEY_EXPIRED:
        status = NGX_HTTP_CONFLICT;
        cycles_api_error_init(&ctx->error, code, "The API key is %s already",
                              (code == CYCLES_KEY_REVOKED) ? "revoked"
                                                           : "expired");
        break;

    case CYCLES_BUDGET_EXCEEDED:
        cycles_api_error_init(&ctx->error, code, "Less than that remains of "
                              "the budget");
        break;

    case CYCLES_BUDGET_FROZEN:
        cycles_api_error_init(&ctx->error, code, "The budget is frozen");
        break;

    case CYCLES_BUDGET_CLOSED:
        cycles_api_error_init(&ctx->error, code, "The budget is closed");
        break;

    case CYCLES_INVALID_REQUEST:
        if (operation == CYCLES_ADMIN_CHANGE_STATUS) {
            status = NGX_HTTP_CONFLICT;
            cycles_api_error_init(&ctx->error, code, "The budget is active "
                                  "already");
            break;
        }

        cycles_api_error_init(&ctx->error, code, "The sums of the budget "
                              "would not fit into 64 bits");
        break;

    default:
        return ngx_http_cycles_api_refuse(r, ctx, code, NULL);
    }

    return ngx_http_cycles_api_send_error(r, ctx, status);
}


ngx_int_t
ngx_http_cycles_api_admin_scope(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_str_t *scope, cycles_unit_t *unit)
{
    int         n;
    ngx_str_t   text, name;
    const char  *wrong;

    if (ngx_http_cycles_api_arg(r, "scope", &text) != NGX_OK
        || ngx_http_cycles_api_arg(r, "unit", &name) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (text.len == 0 || name.len == 0) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              text.len ? "\"unit\" must be given"
                                       : "\"scope\" must be given");
    }

    n = cycles_unit_find(name.data, name.len);

    if (n == -1) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "\"unit\" must be USD_MICROCENTS, TOKENS, "
                              "CREDITS or RISK_POINTS");
    }

    ngx_strlow(text.data, text.data, text.len);

    wrong = (text.len > CYCLES_MAX_SCOPE)
            ? "is too long" : cycles_scope_check(text.data, text.len);

    if (wrong) {
        cycles_api_error_init(&ctx->error, CYCLES_INVALID_REQUEST,
                              "\"scope\" %s", wrong);

        return ngx_http_cycles_api_send_error(r, ctx, NGX_HTTP_BAD_REQUEST);
    }

    *unit = n;
    scope->len = text.len;
    scope->data = text.data;

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_cycles_api_admin_may(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_str_t scope,
    cycles_str_t tenant_id)
{
    cycles_str_t          owner;
    cycles_credential_t  *credential;

    owner = cycles_scope_tenant_id(scope);

    if (!ctx->admin) {
        tenant_id = ngx_http_cycles_api_str(ctx->who.tenant,
                                            ctx->who.tenant_len);
    }

    if (tenant_id.len
        && (owner.len != tenant_id.len
            || ngx_memcmp(owner.data, tenant_id.data, owner.len) != 0))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "The scope is of another tenant");
    }

    credential = &ctx->credential;

    if (!ctx->admin
        && !cycles_filter_path(credential->scope_filter,
                               credential->scope_filter_len, scope.data,
                               scope.len))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "The scope is outside of the scopes of the API "
                              "key");
    }

    return NGX_DECLINED;
}
