
/*
 * Copyright (C) nginx-cycles authors
 *
 * Whose key a request has, and what it may do.  Keys are compared by their
 * digests, in constant time, and never written to a log.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "ngx_http_cycles_api.h"


static ngx_int_t ngx_http_cycles_api_operator(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_str_t *key, ngx_uint_t *known);
static ngx_int_t ngx_http_cycles_api_admin(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_str_t *key);
static ngx_int_t ngx_http_cycles_api_tenant(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_may(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_str_t *ngx_http_cycles_api_credential(ngx_http_request_t *r,
    char *name);


ngx_int_t
ngx_http_cycles_api_authenticate(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_str_t   *key;
    ngx_uint_t   known;

    key = ngx_http_cycles_api_credential(r, "X-Admin-API-Key");

    if (ctx->admin_plane) {

        if (ngx_http_cycles_api_operator(r, ctx, NULL, &known) == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (!known) {
            return ngx_http_cycles_api_fail(r, ctx, CYCLES_NOT_FOUND,
                              "The admin plane is off: there is no admin key");
        }
    }

    if ((ctx->route->keys & NGX_HTTP_CYCLES_API_ADMIN)
        && (key || !(ctx->route->keys & NGX_HTTP_CYCLES_API_TENANT)))
    {
        return ngx_http_cycles_api_admin(r, ctx, key);
    }

    return ngx_http_cycles_api_tenant(r, ctx);
}


/*
 * NGX_OK: it is the key of the operator, the one of the location or the one
 * that the budgets file gave to the ledger.  *known: there is one.
 */

static ngx_int_t
ngx_http_cycles_api_operator(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_str_t *key, ngx_uint_t *known)
{
    u_char                       digest[SHA256_DIGEST_LENGTH];
    u_char                       want[SHA256_DIGEST_LENGTH];
    unsigned                     in_ledger;
    ngx_str_t                    value;
    ngx_uint_t                   same;
    ngx_http_cycles_api_conf_t  *acf;

    acf = ngx_http_get_module_loc_conf(r, ngx_http_cycles_api_module);

    ngx_str_null(&value);

    if (acf->admin_key
        && ngx_http_complex_value(r, acf->admin_key, &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_memzero(digest, SHA256_DIGEST_LENGTH);

    if (key) {
        SHA256(key->data, key->len, digest);
    }

    same = cycles_ledger_is_admin_key(ctx->core, digest, &in_ledger);

    if (value.len) {
        SHA256(value.data, value.len, want);
        same |= (CRYPTO_memcmp(digest, want, SHA256_DIGEST_LENGTH) == 0);
    }

    *known = (in_ledger || value.len);

    return (key && same) ? NGX_OK : NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_admin(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_str_t *key)
{
    ngx_int_t   rc;
    ngx_uint_t  known;

    if (key == NULL) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_UNAUTHORIZED,
                                        "There is no X-Admin-API-Key");
    }

    rc = ngx_http_cycles_api_operator(r, ctx, key, &known);

    if (rc == NGX_OK) {
        ctx->admin = 1;
        return NGX_DECLINED;
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_fail(r, ctx, CYCLES_UNAUTHORIZED,
                                    "The admin key is not the right one");
}


static ngx_int_t
ngx_http_cycles_api_tenant(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    u_char          digest[SHA256_DIGEST_LENGTH];
    ngx_str_t      *key;
    cycles_code_t   code;

    key = ngx_http_cycles_api_credential(r, "X-Cycles-API-Key");

    if (key == NULL) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_UNAUTHORIZED,
                                        "There is no X-Cycles-API-Key");
    }

    SHA256(key->data, key->len, digest);

    code = cycles_ledger_authenticate(ctx->core, digest, &ctx->credential,
                                      ngx_http_cycles_ledger_now());

    switch (code) {

    case CYCLES_OK:
        break;

    case CYCLES_UNAUTHORIZED:
        return ngx_http_cycles_api_fail(r, ctx, code,
                                        "The API key is not known");

    case CYCLES_KEY_REVOKED:
        return ngx_http_cycles_api_fail(r, ctx, code,
                                        "The API key is revoked");

    case CYCLES_KEY_EXPIRED:
        return ngx_http_cycles_api_fail(r, ctx, code,
                                        "The API key has expired");

    default:
        return ngx_http_cycles_api_fail(r, ctx, code,
                                        "The ledger can't be read now");
    }

    ctx->who = ctx->credential.who;

    return ngx_http_cycles_api_may(r, ctx);
}


/*
 * A suspended tenant may read, and settle what it has; only the ledger knows
 * what is new.  The keys of a closed one are good for nothing but to say so.
 */

static ngx_int_t
ngx_http_cycles_api_may(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_uint_t           changes;
    cycles_permission_t  permission;

    changes = (ctx->route->keys & NGX_HTTP_CYCLES_API_CHANGES);
    permission = ctx->route->permission;

    if (ctx->credential.closed && !changes) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_KEY_REVOKED,
                              "The API key was revoked when its tenant was "
                              "closed");
    }

    if (permission != CYCLES_PERMISSIONS
        && !cycles_permitted(ctx->credential.permissions, permission))
    {
        cycles_api_error_init(&ctx->error, CYCLES_INSUFFICIENT_PERMISSIONS,
                              "The API key lacks the permission %s",
                              cycles_permission_name(permission));

        return ngx_http_cycles_api_send_error(r, ctx,
                  cycles_api_status(CYCLES_INSUFFICIENT_PERMISSIONS));
    }

    if (ctx->credential.suspended && changes && ctx->admin_plane) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_TENANT_SUSPENDED,
                                        "The tenant is suspended");
    }

    return NGX_DECLINED;
}


/* an empty header is as good as none */

static ngx_str_t *
ngx_http_cycles_api_credential(ngx_http_request_t *r, char *name)
{
    ngx_str_t  *value;

    value = ngx_http_cycles_api_header(r, name);

    return (value && value->len) ? value : NULL;
}


/*
 * A subject belongs to the tenant of the key: it may not name another one,
 * and need not name it.
 */

ngx_int_t
ngx_http_cycles_api_subject(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_str_t         *tenant;
    cycles_credential_t  *credential;

    credential = &ctx->credential;
    tenant = &ctx->rq.subject.levels[CYCLES_TENANT];

    if (tenant->len == 0) {
        *tenant = ngx_http_cycles_api_str(ctx->who.tenant,
                                          ctx->who.tenant_len);
    }

    if (tenant->len != ctx->who.tenant_len
        || ngx_memcmp(tenant->data, ctx->who.tenant, tenant->len) != 0)
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "The subject is of another tenant than the API "
                              "key");
    }

    if (!cycles_filter_subject(credential->scope_filter,
                               credential->scope_filter_len,
                               &ctx->rq.subject))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "The subject is outside of the scopes of the "
                              "API key");
    }

    return NGX_DECLINED;
}


/* the operator acts on behalf of all tenants */

ngx_int_t
ngx_http_cycles_api_owned(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, const cycles_view_t *view)
{
    cycles_credential_t  *credential;

    if (ctx->admin) {
        return NGX_DECLINED;
    }

    credential = &ctx->credential;

    if (view->owner.tenant_len != ctx->who.tenant_len
        || ngx_memcmp(view->owner.tenant, ctx->who.tenant,
                      view->owner.tenant_len)
           != 0)
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "The reservation is of another tenant than the "
                              "API key");
    }

    if (!cycles_filter_hashes(credential->scope_filter,
                              credential->scope_filter_len, view->segments))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "The reservation is outside of the scopes of "
                              "the API key");
    }

    return NGX_DECLINED;
}
