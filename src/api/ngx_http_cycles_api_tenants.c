
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tenants and API keys.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "ngx_http_cycles_api_admin.h"


#define NGX_HTTP_CYCLES_API_RANDOM  24

/* of the secret, to tell keys by: what the reference server shows */
#define NGX_HTTP_CYCLES_API_PREFIX  14


static ngx_int_t ngx_http_cycles_api_tenant_known(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_close(ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_closed(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_secret(
    ngx_http_cycles_api_admin_t *adm);
static cycles_str_t ngx_http_cycles_api_id(ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_tenant(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_key(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_new_key(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


ngx_int_t
ngx_http_cycles_api_tenant_create(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    unsigned                      created;
    cycles_code_t                 code;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;
    created = 0;

    code = cycles_ledger_tenant_create(ctx->core, &adm->rq.tenant, &created,
                                       &adm->show, adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code,
                                          created ? NGX_HTTP_CREATED
                                                  : NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_tenant);
}


ngx_int_t
ngx_http_cycles_api_tenant_get(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_code_t  code;

    code = cycles_ledger_tenant(ctx->core, ngx_http_cycles_api_id(ctx),
                                &ctx->adm->show);

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_tenant);
}


/* a close takes what the tenant owns with it, which may be much */

ngx_int_t
ngx_http_cycles_api_tenant_update(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_code_t                 code;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;
    adm->rq.tenant.tenant_id = ngx_http_cycles_api_id(ctx);

    code = cycles_ledger_tenant_update(ctx->core, &adm->rq.tenant,
                                       adm->rq.set, &adm->show, adm->now);
    adm->record = adm->show.record;

    if (code == CYCLES_OK && (adm->rq.set & CYCLES_SET_STATUS)
        && adm->rq.tenant.status == CYCLES_TENANT_IS_CLOSED)
    {
        return ngx_http_cycles_api_thread(r, ctx, ngx_http_cycles_api_close,
                                          ngx_http_cycles_api_closed);
    }

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_tenant);
}


static void
ngx_http_cycles_api_close(ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;

    adm->code = cycles_ledger_close_tenants(ctx->core, adm->now, &adm->record)
                == 0 ? CYCLES_OK : CYCLES_INTERNAL_ERROR;
}


static ngx_int_t
ngx_http_cycles_api_closed(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    return ngx_http_cycles_api_admin_done(r, ctx, ctx->adm->code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_tenant);
}


ngx_int_t
ngx_http_cycles_api_key_create(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t                     rc;
    cycles_code_t                 code;
    cycles_key_def_t             *def;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;
    def = &adm->rq.key;

    rc = ngx_http_cycles_api_tenant_known(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_secret(adm) != NGX_OK) {
        return NGX_ERROR;
    }

    SHA256(adm->secret, NGX_HTTP_CYCLES_API_SECRET, def->sha256);

    def->prefix.len = NGX_HTTP_CYCLES_API_PREFIX;
    def->prefix.data = adm->secret;

    if (def->expires_ms == 0) {
        def->expires_ms = adm->now + CYCLES_ADMIN_KEY_LIFE_MS;
    }

    code = cycles_ledger_key_create(ctx->core, def, &adm->show, adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_CREATED,
                                          ngx_http_cycles_api_write_new_key);
}


/*
 * The key of a tenant that is not known yet makes it known, if it can be
 * called so: the quick start of the protocol begins with a key.
 */

static ngx_int_t
ngx_http_cycles_api_tenant_known(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_str_t  id;

    id = ctx->adm->rq.tenant_id;

    if (cycles_admin_tenant_id_ok(id)
        || cycles_ledger_tenant(ctx->core, id, &ctx->adm->show) == CYCLES_OK)
    {
        return NGX_DECLINED;
    }

    return ngx_http_cycles_api_admin_refuse(r, ctx, CYCLES_TENANT_NOT_FOUND);
}


static ngx_int_t
ngx_http_cycles_api_secret(ngx_http_cycles_api_admin_t *adm)
{
    u_char     bytes[NGX_HTTP_CYCLES_API_RANDOM];
    ngx_str_t  src, dst;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return NGX_ERROR;
    }

    src.len = sizeof(bytes);
    src.data = bytes;
    dst.data = ngx_cpymem(adm->secret, "cyc_live_", 9);

    ngx_encode_base64url(&dst, &src);

    OPENSSL_cleanse(bytes, sizeof(bytes));

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_api_key_update(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_code_t                 code;
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;

    code = cycles_ledger_key_update(ctx->core, ngx_http_cycles_api_id(ctx),
                                    &adm->rq.key, adm->rq.set, &adm->show,
                                    adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_key);
}


ngx_int_t
ngx_http_cycles_api_key_revoke(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_str_t                     reason;
    cycles_code_t                 code;
    ngx_http_cycles_api_admin_t  *adm;

    if (ngx_http_cycles_api_arg(r, "reason", &reason) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cycles_utf8_length(reason.data, reason.len)
        > CYCLES_ADMIN_MAX_REASON)
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "\"reason\" must have at most 512 characters");
    }

    adm = ctx->adm;

    code = cycles_ledger_key_revoke(ctx->core, ngx_http_cycles_api_id(ctx),
                                    ngx_http_cycles_api_str(reason.data,
                                                            reason.len),
                                    &adm->show, adm->now);
    adm->record = adm->show.record;

    return ngx_http_cycles_api_admin_done(r, ctx, code, NGX_HTTP_OK,
                                          ngx_http_cycles_api_write_key);
}


static cycles_str_t
ngx_http_cycles_api_id(ngx_http_cycles_api_ctx_t *ctx)
{
    return ngx_http_cycles_api_str(ctx->id.data, ctx->id.len);
}


static void
ngx_http_cycles_api_write_tenant(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_admin_write_tenant(js, &ctx->adm->tenant);
}


static void
ngx_http_cycles_api_write_key(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_admin_write_key(js, &ctx->adm->key, ctx->adm->now);
}


static void
ngx_http_cycles_api_write_new_key(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_admin_write_new_key(js, &ctx->adm->key,
                               ngx_http_cycles_api_str(ctx->adm->secret,
                                               NGX_HTTP_CYCLES_API_SECRET));
}
