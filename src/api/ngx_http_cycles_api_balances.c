
/*
 * Copyright (C) nginx-cycles authors
 *
 * GET /v1/balances: the budgets of the key's tenant that match a filter, page
 * by page.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api.h"


#define NGX_HTTP_CYCLES_API_MAX_LIMIT  200

/* budgets looked at under the lock at once, and for one answer */
#define NGX_HTTP_CYCLES_API_BATCH      128
#define NGX_HTTP_CYCLES_API_SCAN       65536


static ngx_int_t ngx_http_cycles_api_filters(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_balance_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static int ngx_http_cycles_api_collect(void *data,
    const cycles_balance_t *balance);
static ngx_uint_t ngx_http_cycles_api_matches(
    ngx_http_cycles_api_page_t *page, const cycles_str_t *path);
static void ngx_http_cycles_api_write_balances(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


ngx_int_t
ngx_http_cycles_api_balances(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    uint64_t                     cursor, end;
    ngx_int_t                    rc;
    ngx_http_cycles_api_page_t  *page;

    page = &ctx->page;
    page->pool = r->pool;
    page->credential = &ctx->credential;

    rc = ngx_http_cycles_api_filters(r, ctx);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_balance_page(r, ctx);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_array_init(&page->items, r->pool, ngx_min(page->limit, 8),
                       sizeof(cycles_balance_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cursor = page->position;
    end = cursor + NGX_HTTP_CYCLES_API_SCAN;

    do {
        cycles_ledger_balances(ctx->core, &cursor, NGX_HTTP_CYCLES_API_BATCH,
                               ngx_http_cycles_ledger_now(),
                               ngx_http_cycles_api_collect, page);

        if (cursor && cursor >= end) {
            page->more = 1;
        }

    } while (cursor && !page->more);

    ngx_http_cycles_ledger_wrote(ctx->ledger);

    if (page->failed) {
        return NGX_ERROR;
    }

    return ngx_http_cycles_api_send(r, ctx, NGX_HTTP_OK,
                                    ngx_http_cycles_api_write_balances);
}


/* NGX_DECLINED: they are right, otherwise it is answered */

static ngx_int_t
ngx_http_cycles_api_filters(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_str_t   *filter;
    ngx_uint_t   i, n;

    for (n = 0, i = 0; i < CYCLES_LEVELS; i++) {
        filter = &ctx->page.filters[i];

        if (ngx_http_cycles_api_arg(r, (char *) cycles_level_name(i), filter)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        n += (filter->len != 0);
    }

    if (n == 0) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "At least one of tenant, workspace, app, "
                              "workflow, agent and toolset must be given");
    }

    filter = &ctx->page.filters[CYCLES_TENANT];

    if (filter->len && (filter->len != ctx->who.tenant_len
                        || ngx_memcmp(filter->data, ctx->who.tenant,
                                      filter->len)
                           != 0))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "\"tenant\" is another one than the API key's");
    }

    filter->len = ctx->who.tenant_len;
    filter->data = ctx->who.tenant;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        ngx_strlow(ctx->page.filters[i].data, ctx->page.filters[i].data,
                   ctx->page.filters[i].len);
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_balance_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    int        children;
    ngx_int_t  n, rc;
    ngx_str_t  cursor;

    rc = ngx_http_cycles_api_limit_arg(r, ctx, NGX_HTTP_CYCLES_API_MAX_LIMIT,
                                       &ctx->page.limit);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_flag_arg(r, ctx, "include_children",
                                          &children);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_arg(r, "cursor", &cursor) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cursor.len) {
        n = ngx_atoi(cursor.data, cursor.len);

        if (n < 1 || n > NGX_MAX_INT32_VALUE) {
            return ngx_http_cycles_api_bad_arg(r, ctx, "cursor",
                              "one that an earlier answer gave");
        }

        ctx->page.position = n;
    }

    return NGX_DECLINED;
}


/* under the ledger's lock; a non-zero value ends the walk */

static int
ngx_http_cycles_api_collect(void *data, const cycles_balance_t *balance)
{
    ngx_http_cycles_api_page_t *page = data;

    cycles_balance_t  *item;

    if (!ngx_http_cycles_api_matches(page, &balance->scope_path)
        || !cycles_filter_path(page->credential->scope_filter,
                               page->credential->scope_filter_len,
                               balance->scope_path.data,
                               balance->scope_path.len))
    {
        page->position++;
        return 0;
    }

    if (page->items.nelts == page->limit) {
        page->more = 1;
        return 1;
    }

    page->position++;

    item = ngx_array_push(&page->items);

    if (item == NULL) {
        page->failed = 1;
        return 1;
    }

    *item = *balance;

    item->scope_path.data = ngx_pnalloc(page->pool, balance->scope_path.len);

    if (item->scope_path.data == NULL) {
        page->failed = 1;
        return 1;
    }

    ngx_memcpy(item->scope_path.data, balance->scope_path.data,
               balance->scope_path.len);

    return 0;
}


/* each filter names one level of the path; what is below it matches too */

static ngx_uint_t
ngx_http_cycles_api_matches(ngx_http_cycles_api_page_t *page,
    const cycles_str_t *path)
{
    int          level;
    u_char      *p, *end, *colon, *slash;
    ngx_str_t   *filter;
    ngx_uint_t   i, wanted;

    for (wanted = 0, i = 0; i < CYCLES_LEVELS; i++) {
        wanted += (page->filters[i].len != 0);
    }

    end = path->data + path->len;

    for (p = path->data; p < end; p = slash + 1) {
        slash = ngx_strlchr(p, end, '/');

        if (slash == NULL) {
            slash = end;
        }

        colon = ngx_strlchr(p, slash, ':');

        if (colon == NULL) {
            return 0;
        }

        level = cycles_level_find(p, colon - p);

        if (level == -1) {
            return 0;
        }

        filter = &page->filters[level];

        if (filter->len == 0) {
            continue;
        }

        colon++;

        if (filter->len != (size_t) (slash - colon)
            || ngx_memcmp(filter->data, colon, filter->len) != 0)
        {
            return 0;
        }

        wanted--;
    }

    return wanted == 0;
}


static void
ngx_http_cycles_api_write_balances(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_uint_t         i;
    cycles_str_t       cursor;
    unsigned char      text[NGX_INT64_LEN];
    cycles_balance_t  *item;

    cycles_json_begin(js);
    cycles_json_key(js, "balances", 8);
    cycles_json_raw(js, "[", 1);

    item = ctx->page.items.elts;

    for (i = 0; i < ctx->page.items.nelts; i++) {
        cycles_json_next(js);
        cycles_api_write_balance(js, &item[i]);
    }

    cycles_json_raw(js, "]", 1);

    cycles_json_key(js, "has_more", 8);
    cycles_json_raw(js, ctx->page.more ? "true" : "false",
                    ctx->page.more ? 4 : 5);

    if (ctx->page.more) {
        cursor.data = text;
        cursor.len = ngx_sprintf(text, "%uL", ctx->page.position) - text;

        cycles_json_member_string(js, "next_cursor", cursor);
    }

    cycles_json_end(js);
}
