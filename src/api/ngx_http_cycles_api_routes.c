
/*
 * Copyright (C) nginx-cycles authors
 *
 * The routes of the API: paths, methods, and whose keys they take.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api_admin.h"


#define NGX_HTTP_CYCLES_API_READ   (NGX_HTTP_GET|NGX_HTTP_HEAD)


static ngx_int_t ngx_http_cycles_api_allow(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t methods);
static ngx_int_t ngx_http_cycles_api_match(
    const ngx_http_cycles_api_route_t *route, ngx_str_t *path,
    ngx_str_t *id);


static const ngx_http_cycles_api_route_t  ngx_http_cycles_api_routes[] = {

    { ngx_string("/reservations"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_TENANT|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_RESERVE, CYCLES_API_RESERVE, ngx_http_cycles_api_reserve },

    { ngx_string("/reservations"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_BOTH, CYCLES_MAY_LIST, 0,
      ngx_http_cycles_api_list },

    { ngx_string("/reservations/"), ngx_string("/commit"), 1, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_TENANT|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_COMMIT, CYCLES_API_COMMIT, ngx_http_cycles_api_commit },

    { ngx_string("/reservations/"), ngx_string("/release"), 1, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_BOTH|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_RELEASE, CYCLES_API_RELEASE, ngx_http_cycles_api_release },

    { ngx_string("/reservations/"), ngx_string("/extend"), 1, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_TENANT|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_EXTEND, CYCLES_API_EXTEND, ngx_http_cycles_api_extend },

    { ngx_string("/reservations/"), ngx_null_string, 1,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_BOTH, CYCLES_MAY_LIST, 0,
      ngx_http_cycles_api_detail },

    { ngx_string("/decide"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_TENANT|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_DECIDE, CYCLES_API_DECIDE, ngx_http_cycles_api_reserve },

    { ngx_string("/events"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_TENANT|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_CREATE_EVENTS, CYCLES_API_EVENT, ngx_http_cycles_api_event },

    { ngx_string("/balances"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_TENANT, CYCLES_MAY_READ_BALANCES, 0,
      ngx_http_cycles_api_balances },

    { ngx_string("/auth/introspect"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_BOTH, CYCLES_PERMISSIONS, 0,
      ngx_http_cycles_api_introspect },

    { ngx_string("/admin/tenants"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_CREATE_TENANT,
      ngx_http_cycles_api_tenant_create },

    { ngx_string("/admin/tenants"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_ADMIN,
      CYCLES_PERMISSIONS, 0,
      ngx_http_cycles_api_tenants },

    { ngx_string("/admin/tenants/"), ngx_null_string, 1,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_ADMIN,
      CYCLES_PERMISSIONS, 0,
      ngx_http_cycles_api_tenant_get },

    { ngx_string("/admin/tenants/"), ngx_null_string, 1, NGX_HTTP_PATCH,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_UPDATE_TENANT,
      ngx_http_cycles_api_tenant_update },

    { ngx_string("/admin/api-keys"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_CREATE_KEY,
      ngx_http_cycles_api_key_create },

    { ngx_string("/admin/api-keys"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_ADMIN,
      CYCLES_PERMISSIONS, 0,
      ngx_http_cycles_api_keys },

    { ngx_string("/admin/api-keys/"), ngx_null_string, 1, NGX_HTTP_PATCH,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_UPDATE_KEY,
      ngx_http_cycles_api_key_update },

    { ngx_string("/admin/api-keys/"), ngx_null_string, 1, NGX_HTTP_DELETE,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, 0,
      ngx_http_cycles_api_key_revoke },

    { ngx_string("/admin/budgets"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_BOTH|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_WRITE_BUDGETS, CYCLES_ADMIN_CREATE_BUDGET,
      ngx_http_cycles_api_budget_create },

    { ngx_string("/admin/budgets"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_BOTH,
      CYCLES_MAY_READ_BUDGETS, 0,
      ngx_http_cycles_api_budgets },

    { ngx_string("/admin/budgets"), ngx_null_string, 0, NGX_HTTP_PATCH,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_UPDATE_BUDGET,
      ngx_http_cycles_api_budget_update },

    { ngx_string("/admin/budgets/lookup"), ngx_null_string, 0,
      NGX_HTTP_CYCLES_API_READ,
      NGX_HTTP_CYCLES_API_BOTH,
      CYCLES_MAY_READ_BUDGETS, 0,
      ngx_http_cycles_api_budget_get },

    { ngx_string("/admin/budgets/fund"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_BOTH|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_MAY_WRITE_BUDGETS, CYCLES_ADMIN_FUND_BUDGET,
      ngx_http_cycles_api_budget_fund },

    { ngx_string("/admin/budgets/freeze"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_CHANGE_STATUS,
      ngx_http_cycles_api_budget_freeze },

    { ngx_string("/admin/budgets/unfreeze"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_CHANGE_STATUS,
      ngx_http_cycles_api_budget_unfreeze },

    { ngx_string("/admin/budgets/close"), ngx_null_string, 0, NGX_HTTP_POST,
      NGX_HTTP_CYCLES_API_ADMIN|NGX_HTTP_CYCLES_API_CHANGES,
      CYCLES_PERMISSIONS, CYCLES_ADMIN_CHANGE_STATUS,
      ngx_http_cycles_api_budget_close },

    { ngx_null_string, ngx_null_string, 0, 0, 0, CYCLES_PERMISSIONS, 0,
      NULL }
};


ngx_int_t
ngx_http_cycles_api_find_route(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_str_t *base)
{
    ngx_str_t                           path;
    ngx_uint_t                          methods;
    const ngx_http_cycles_api_route_t  *route;

    path.len = 0;
    path.data = r->uri.data + base->len + 3;
    methods = 0;

    if (r->uri.len > base->len + 3
        && ngx_strncmp(r->uri.data + base->len, "/v1/", 4) == 0)
    {
        path.len = r->uri.len - base->len - 3;
    }

    for (route = ngx_http_cycles_api_routes; route->run; route++) {

        if (ngx_http_cycles_api_match(route, &path, &ctx->id) != NGX_OK) {
            continue;
        }

        if (route->methods & r->method) {
            ctx->route = route;
            break;
        }

        methods |= route->methods;
    }

    ctx->admin_plane = (path.len > 7
                        && ngx_strncmp(path.data, "/admin/", 7) == 0);

    if (ctx->route == NULL) {
        if (ngx_http_cycles_api_allow(r, ctx, methods) != NGX_OK) {
            return NGX_ERROR;
        }

        cycles_api_error_init(&ctx->error,
                              methods ? CYCLES_INVALID_REQUEST
                                      : CYCLES_NOT_FOUND,
                              methods ? "This resource does not have this "
                                        "method"
                                      : "There is no such resource");

        return ngx_http_cycles_api_send_error(r, ctx,
                                              methods ? NGX_HTTP_NOT_ALLOWED
                                                      : NGX_HTTP_NOT_FOUND);
    }

    if (cycles_utf8_length(ctx->id.data, ctx->id.len)
        > CYCLES_MAX_RESERVATION_ID)
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "A reservation id has at most 128 characters");
    }

    return NGX_DECLINED;
}


/* what else the resource has, for a 405 */

static ngx_int_t
ngx_http_cycles_api_allow(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t methods)
{
    u_char      *p;
    ngx_uint_t   i;

    static const struct {
        ngx_uint_t  method;
        ngx_str_t   name;
    } names[] = {
        { NGX_HTTP_GET, ngx_string(", GET") },
        { NGX_HTTP_HEAD, ngx_string(", HEAD") },
        { NGX_HTTP_POST, ngx_string(", POST") },
        { NGX_HTTP_PATCH, ngx_string(", PATCH") },
        { NGX_HTTP_DELETE, ngx_string(", DELETE") }
    };

    if (methods == 0) {
        return NGX_OK;
    }

    p = ngx_pcalloc(r->pool, sizeof(", GET, HEAD, POST, PATCH, DELETE"));
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->allow = (char *) p + 2;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (methods & names[i].method) {
            p = ngx_cpymem(p, names[i].name.data, names[i].name.len);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_api_match(const ngx_http_cycles_api_route_t *route,
    ngx_str_t *path, ngx_str_t *id)
{
    u_char  *p, *end;

    if (path->len < route->path.len
        || ngx_memcmp(path->data, route->path.data, route->path.len) != 0)
    {
        return NGX_DECLINED;
    }

    p = path->data + route->path.len;
    end = path->data + path->len;

    if (!route->has_id) {
        return (p == end) ? NGX_OK : NGX_DECLINED;
    }

    id->data = p;

    while (p < end && *p != '/') {
        p++;
    }

    id->len = p - id->data;

    if (id->len == 0 || (size_t) (end - p) != route->action.len
        || ngx_memcmp(p, route->action.data, route->action.len) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}
