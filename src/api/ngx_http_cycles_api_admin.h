
/*
 * Copyright (C) nginx-cycles authors
 *
 * The admin plane of the HTTP API: /v1/admin/…
 *
 *     ngx_http_cycles_api_admin.c      what its routes share
 *     ngx_http_cycles_api_tenants.c    tenants and API keys
 *     ngx_http_cycles_api_budgets.c    budgets
 *     ngx_http_cycles_api_lists.c      lists of each
 *     cycles_api_admin_read.c, _write.c   the JSON, without nginx
 */


#ifndef _NGX_HTTP_CYCLES_API_ADMIN_H_INCLUDED_
#define _NGX_HTTP_CYCLES_API_ADMIN_H_INCLUDED_


#include "ngx_http_cycles_api.h"
#include "cycles_api_admin.h"
#include "../ledger/cycles_ledger_page.h"


/* "cyc_live_" and 24 random bytes in base64 */

#define NGX_HTTP_CYCLES_API_SECRET  (sizeof("cyc_live_") - 1 + 32)


/* of a request to the admin plane: what it says, and what is answered */

struct ngx_http_cycles_api_admin_s {
    ngx_pool_t                      *pool;
    cycles_admin_request_t           rq;
    cycles_show_t                    show;
    int64_t                          now;

    cycles_tenant_def_t              tenant;
    cycles_budget_view_t             budget;
    cycles_key_view_t                key;
    cycles_funded_t                  funded;
    u_char                           secret[NGX_HTTP_CYCLES_API_SECRET];
    uint64_t                         record;

    cycles_page_query_t              query;
    cycles_page_t                    list;
    cycles_code_t                    code;        /* of what a thread did */
    unsigned                         failed:1;    /* out of memory */
};


/* makes ctx->adm */

ngx_int_t ngx_http_cycles_api_admin_init(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

/* answers with what is shown, or with what the ledger has refused */

ngx_int_t ngx_http_cycles_api_admin_done(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code, ngx_uint_t status,
    ngx_http_cycles_api_write_pt write);
ngx_int_t ngx_http_cycles_api_admin_refuse(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code);

/*
 * The query parameters "scope", in lower case, and "unit".  NGX_DECLINED: both
 * are right, otherwise it is answered.
 */

ngx_int_t ngx_http_cycles_api_admin_scope(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_str_t *scope, cycles_unit_t *unit);

/*
 * Whether a scope is of the tenant of the key, and within its scopes; for the
 * operator: of the tenant that is given, if one is.
 */

ngx_int_t ngx_http_cycles_api_admin_may(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_str_t scope,
    cycles_str_t tenant_id);

ngx_int_t ngx_http_cycles_api_tenant_create(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_tenant_get(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_tenant_update(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_tenants(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

ngx_int_t ngx_http_cycles_api_key_create(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_key_update(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_key_revoke(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_keys(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

ngx_int_t ngx_http_cycles_api_budget_create(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budget_get(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budget_update(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budget_freeze(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budget_unfreeze(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budget_close(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budget_fund(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_budgets(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);


#endif /* _NGX_HTTP_CYCLES_API_ADMIN_H_INCLUDED_ */
