
/*
 * Copyright (C) nginx-cycles authors
 *
 * Lists of tenants, budgets and API keys: query parameters, and pages.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <math.h>

#include "ngx_http_cycles_api_admin.h"


#define NGX_HTTP_CYCLES_API_MAX_PAGE    100
#define NGX_HTTP_CYCLES_API_MAX_SEARCH  128


typedef struct {
    char            *name;
    cycles_sort_t    sort;
} ngx_http_cycles_api_order_t;

typedef int (*ngx_http_cycles_api_find_pt)(cycles_str_t name);


static ngx_int_t ngx_http_cycles_api_paging(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx,
    const ngx_http_cycles_api_order_t *orders);
static ngx_int_t ngx_http_cycles_api_order(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx,
    const ngx_http_cycles_api_order_t *orders);
static ngx_int_t ngx_http_cycles_api_status(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_find_pt find,
    char *text);
static ngx_int_t ngx_http_cycles_api_budget_filters(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_utilization(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, int64_t *value);

static void ngx_http_cycles_api_collect_page(ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_send_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_write_page(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


static const ngx_http_cycles_api_order_t
    ngx_http_cycles_api_tenant_orders[] = {
    { "tenant_id", CYCLES_SORT_TENANT_ID },
    { "name", CYCLES_SORT_NAME },
    { "status", CYCLES_SORT_STATUS },
    { "created_at", CYCLES_SORT_CREATED },
    { NULL, CYCLES_SORT_NONE }
};


static const ngx_http_cycles_api_order_t
    ngx_http_cycles_api_budget_orders[] = {
    { "tenant_id", CYCLES_SORT_TENANT_ID },
    { "scope", CYCLES_SORT_SCOPE },
    { "unit", CYCLES_SORT_UNIT },
    { "status", CYCLES_SORT_STATUS },
    { "commit_overage_policy", CYCLES_SORT_POLICY },
    { "utilization", CYCLES_SORT_UTILIZATION },
    { "debt", CYCLES_SORT_DEBT },
    { NULL, CYCLES_SORT_NONE }
};


static const ngx_http_cycles_api_order_t  ngx_http_cycles_api_key_orders[] = {
    { "key_id", CYCLES_SORT_KEY_ID },
    { "name", CYCLES_SORT_NAME },
    { "tenant_id", CYCLES_SORT_TENANT_ID },
    { "status", CYCLES_SORT_STATUS },
    { "created_at", CYCLES_SORT_CREATED },
    { "expires_at", CYCLES_SORT_EXPIRES },
    { NULL, CYCLES_SORT_NONE }
};


ngx_int_t
ngx_http_cycles_api_tenants(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t             rc;
    cycles_page_query_t  *q;

    q = &ctx->adm->query;
    cycles_page_query_init(q, CYCLES_DEFINED_TENANTS);

    rc = ngx_http_cycles_api_paging(r, ctx,
                                    ngx_http_cycles_api_tenant_orders);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_status(r, ctx,
                                        cycles_admin_tenant_status_find,
                                        "ACTIVE, SUSPENDED or CLOSED");
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_str_arg(r, "parent_tenant_id", &q->parent_id)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_thread(r, ctx,
                                      ngx_http_cycles_api_collect_page,
                                      ngx_http_cycles_api_send_page);
}


ngx_int_t
ngx_http_cycles_api_keys(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t             rc;
    cycles_page_query_t  *q;

    q = &ctx->adm->query;
    cycles_page_query_init(q, CYCLES_DEFINED_KEYS);

    rc = ngx_http_cycles_api_paging(r, ctx, ngx_http_cycles_api_key_orders);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_status(r, ctx, cycles_admin_key_status_find,
                                        "ACTIVE, REVOKED or EXPIRED");
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_str_arg(r, "tenant_id", &q->tenant_id) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_thread(r, ctx,
                                      ngx_http_cycles_api_collect_page,
                                      ngx_http_cycles_api_send_page);
}


ngx_int_t
ngx_http_cycles_api_budgets(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t             rc;
    cycles_page_query_t  *q;
    cycles_credential_t  *credential;

    q = &ctx->adm->query;
    credential = &ctx->credential;

    cycles_page_query_init(q, CYCLES_DEFINED_BUDGETS);

    rc = ngx_http_cycles_api_paging(r, ctx,
                                    ngx_http_cycles_api_budget_orders);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_status(r, ctx,
                                        cycles_admin_budget_status_find,
                                        "ACTIVE, FROZEN or CLOSED");
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_budget_filters(r, ctx);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (!ctx->admin) {
        q->tenant_id = ngx_http_cycles_api_str(ctx->who.tenant,
                                               ctx->who.tenant_len);
        q->scope_filter = ngx_http_cycles_api_str(credential->scope_filter,
                                                  credential->scope_filter_len);
    }

    return ngx_http_cycles_api_thread(r, ctx,
                                      ngx_http_cycles_api_collect_page,
                                      ngx_http_cycles_api_send_page);
}


static ngx_int_t
ngx_http_cycles_api_paging(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx,
    const ngx_http_cycles_api_order_t *orders)
{
    ngx_int_t             rc;
    cycles_page_query_t  *q;

    q = &ctx->adm->query;

    rc = ngx_http_cycles_api_limit_arg(r, ctx, NGX_HTTP_CYCLES_API_MAX_PAGE,
                                       &q->limit);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_str_arg(r, "cursor", &q->cursor) != NGX_OK
        || ngx_http_cycles_api_str_arg(r, "search", &q->search) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (cycles_utf8_length(q->search.data, q->search.len)
        > NGX_HTTP_CYCLES_API_MAX_SEARCH)
    {
        return ngx_http_cycles_api_bad_arg(r, ctx, "search",
                                           "at most 128 characters");
    }

    return ngx_http_cycles_api_order(r, ctx, orders);
}


/* a direction without something to sort by means nothing */

static ngx_int_t
ngx_http_cycles_api_order(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx,
    const ngx_http_cycles_api_order_t *orders)
{
    unsigned                            ascending;
    ngx_int_t                           rc;
    ngx_str_t                           by;
    cycles_page_query_t                *q;
    const ngx_http_cycles_api_order_t  *order;

    q = &ctx->adm->query;

    rc = ngx_http_cycles_api_ascending_arg(r, ctx, &ascending);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_arg(r, "sort_by", &by) != NGX_OK) {
        return NGX_ERROR;
    }

    if (by.len == 0) {
        return NGX_DECLINED;
    }

    for (order = orders; order->name; order++) {

        if (ngx_strlen(order->name) == by.len
            && ngx_strncmp(order->name, by.data, by.len) == 0)
        {
            q->sort = order->sort;
            q->descending = !ascending;
            return NGX_DECLINED;
        }
    }

    return ngx_http_cycles_api_bad_arg(r, ctx, "sort_by",
                                       "a member that this list can be "
                                       "sorted by");
}


static ngx_int_t
ngx_http_cycles_api_status(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_find_pt find,
    char *text)
{
    cycles_str_t          value;
    cycles_page_query_t  *q;

    q = &ctx->adm->query;

    if (ngx_http_cycles_api_str_arg(r, "status", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len) {
        q->status = find(value);

        if (q->status == -1) {
            return ngx_http_cycles_api_bad_arg(r, ctx, "status", text);
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_budget_filters(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t             rc;
    cycles_str_t          unit;
    cycles_page_query_t  *q;

    q = &ctx->adm->query;

    if (ngx_http_cycles_api_str_arg(r, "tenant_id", &q->tenant_id) != NGX_OK
        || ngx_http_cycles_api_str_arg(r, "scope_prefix", &q->scope_prefix)
           != NGX_OK
        || ngx_http_cycles_api_str_arg(r, "unit", &unit) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_strlow(q->scope_prefix.data, q->scope_prefix.data,
               q->scope_prefix.len);

    if (unit.len) {
        q->unit = cycles_unit_find(unit.data, unit.len);

        if (q->unit == -1) {
            return ngx_http_cycles_api_bad_arg(r, ctx, "unit",
                              "USD_MICROCENTS, TOKENS, CREDITS or "
                              "RISK_POINTS");
        }
    }

    rc = ngx_http_cycles_api_flag_arg(r, ctx, "over_limit", &q->over_limit);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_flag_arg(r, ctx, "has_debt", &q->has_debt);
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_utilization(r, ctx, "utilization_min",
                                             &q->utilization_min);
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_utilization(r, ctx, "utilization_max",
                                             &q->utilization_max);
    }

    if (rc == NGX_DECLINED && q->utilization_max != -1
        && q->utilization_min > q->utilization_max)
    {
        return ngx_http_cycles_api_bad_arg(r, ctx, "utilization_min",
                                           "at most utilization_max");
    }

    return rc;
}


static ngx_int_t
ngx_http_cycles_api_utilization(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, int64_t *value)
{
    char       text[64], *end;
    double     number;
    ngx_str_t  arg;

    if (ngx_http_cycles_api_arg(r, name, &arg) != NGX_OK) {
        return NGX_ERROR;
    }

    if (arg.len == 0) {
        return NGX_DECLINED;
    }

    number = -1;

    if (arg.len < sizeof(text)) {
        ngx_cpystrn((u_char *) text, arg.data, arg.len + 1);
        number = strtod(text, &end);

        if (end != text + arg.len) {
            number = -1;
        }
    }

    /* not a number is neither */

    if (!(number >= 0 && number <= 1)) {
        return ngx_http_cycles_api_bad_arg(r, ctx, name,
                                           "a number from 0 to 1");
    }

    *value = (int64_t) llround(number * CYCLES_PAGE_ONE);

    return NGX_DECLINED;
}


static void
ngx_http_cycles_api_collect_page(ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_http_cycles_api_admin_t  *adm;

    adm = ctx->adm;

    adm->code = cycles_ledger_page(ctx->core, &adm->query, &adm->list,
                                   adm->now);
}


static ngx_int_t
ngx_http_cycles_api_send_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_http_cycles_ledger_wrote(ctx->ledger);

    if (ctx->adm->code == CYCLES_INVALID_REQUEST) {
        return ngx_http_cycles_api_bad_arg(r, ctx, "cursor",
                                           "one that an earlier answer to "
                                           "the same query gave");
    }

    if (ctx->adm->code != CYCLES_OK) {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_send(r, ctx, NGX_HTTP_OK,
                                    ngx_http_cycles_api_write_page);
}


static void
ngx_http_cycles_api_write_page(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    unsigned                      i;
    cycles_page_t                *list;
    cycles_page_item_t           *item;
    ngx_http_cycles_api_admin_t  *adm;

    static const char  *names[] = { "tenants", "ledgers", "keys" };

    adm = ctx->adm;
    list = &adm->list;

    cycles_json_begin(js);
    cycles_json_key(js, names[adm->query.kind],
                    ngx_strlen(names[adm->query.kind]));
    cycles_json_raw(js, "[", 1);

    for (i = 0; i < list->n; i++) {
        item = list->items[i];

        cycles_json_next(js);

        switch (adm->query.kind) {

        case CYCLES_DEFINED_TENANTS:
            cycles_admin_write_tenant(js, &item->u.tenant);
            break;

        case CYCLES_DEFINED_BUDGETS:
            cycles_admin_write_budget(js, &item->u.budget);
            break;

        default: /* CYCLES_DEFINED_KEYS */
            cycles_admin_write_key(js, &item->u.key, adm->now);
        }
    }

    cycles_json_raw(js, "]", 1);
    cycles_api_write_flag(js, "has_more", list->more);

    if (list->more) {
        cycles_json_member_string(js, "next_cursor",
                                  ngx_http_cycles_api_str(
                                                (u_char *) list->cursor,
                                                list->cursor_len));
    }

    cycles_json_end(js);
}
