
/*
 * Copyright (C) nginx-cycles authors
 *
 * GET /v1/reservations and GET /v1/reservations/{id}: from the tables of the
 * ledger, in a thread, once all that was written before is in them.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api.h"
#include "../cycles_time.h"


#define NGX_HTTP_CYCLES_API_MAX_ROWS  200


typedef ngx_int_t (*ngx_http_cycles_api_arg_pt)(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);


struct ngx_http_cycles_api_query_s {
    cycles_list_t                    list;
    cycles_cursor_t                  next;
    cycles_api_rows_t                rows;
    cycles_code_t                    code;
    char                             err[CYCLES_LEDGER_ERROR_LEN];
};


static ngx_http_cycles_api_query_t *ngx_http_cycles_api_query(
    ngx_http_request_t *r, ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_query_cleanup(void *data);
static ngx_int_t ngx_http_cycles_api_folded(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_work_pt work,
    ngx_http_cycles_api_run_pt then);
static void ngx_http_cycles_api_folded_handler(
    ngx_http_cycles_ledger_wait_t *wait, ngx_int_t error);
static ngx_int_t ngx_http_cycles_api_query_failed(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, const char *why);

static void ngx_http_cycles_api_detail_read(ngx_http_cycles_api_ctx_t *ctx);
static int ngx_http_cycles_api_detail_take(void *data,
    const cycles_reservation_t *row);
static ngx_int_t ngx_http_cycles_api_detail_send(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_detail_write(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);

static ngx_int_t ngx_http_cycles_api_list_tenant(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_list_filters(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_list_windows(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_list_bound(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, ngx_uint_t up,
    cycles_window_t *window, int64_t *bound);
static ngx_int_t ngx_http_cycles_api_list_order(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_list_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static unsigned ngx_http_cycles_api_list_include(ngx_str_t *tokens);
static void ngx_http_cycles_api_list_read(ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_list_send(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_list_write(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


static const ngx_http_cycles_api_arg_pt  ngx_http_cycles_api_list_args[] = {
    ngx_http_cycles_api_list_tenant,
    ngx_http_cycles_api_list_filters,
    ngx_http_cycles_api_list_windows,
    ngx_http_cycles_api_list_order,
    ngx_http_cycles_api_list_page,
    NULL
};


ngx_int_t
ngx_http_cycles_api_detail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_http_cycles_api_query_t  *query;

    query = ngx_http_cycles_api_query(r, ctx);
    if (query == NULL) {
        return NGX_ERROR;
    }

    query->rows.include = CYCLES_API_METADATA|CYCLES_API_COMMITTED_METADATA;

    return ngx_http_cycles_api_folded(r, ctx, ngx_http_cycles_api_detail_read,
                                      ngx_http_cycles_api_detail_send);
}


ngx_int_t
ngx_http_cycles_api_list(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t                          rc;
    const ngx_http_cycles_api_arg_pt  *arg;

    if (ngx_http_cycles_api_query(r, ctx) == NULL) {
        return NGX_ERROR;
    }

    for (arg = ngx_http_cycles_api_list_args; *arg; arg++) {
        rc = (*arg)(r, ctx);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_http_cycles_api_folded(r, ctx, ngx_http_cycles_api_list_read,
                                      ngx_http_cycles_api_list_send);
}


static ngx_http_cycles_api_query_t *
ngx_http_cycles_api_query(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    ctx->query = ngx_pcalloc(r->pool, sizeof(ngx_http_cycles_api_query_t));
    if (ctx->query == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_cycles_api_query_cleanup;
    cln->data = ctx;

    return ctx->query;
}


static void
ngx_http_cycles_api_query_cleanup(void *data)
{
    ngx_http_cycles_api_ctx_t  *ctx = data;

    ngx_http_cycles_ledger_wait_cancel(&ctx->wait);
    cycles_api_rows_free(&ctx->query->rows);
}


/* who has just reserved finds it here */

static ngx_int_t
ngx_http_cycles_api_folded(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_work_pt work,
    ngx_http_cycles_api_run_pt then)
{
    ctx->request = r;
    ctx->work = work;
    ctx->then = then;
    ctx->wait.handler = ngx_http_cycles_api_folded_handler;
    ctx->wait.data = ctx;

    if (ngx_http_cycles_ledger_wait_folded(ctx->ledger,
                                           cycles_ledger_written(ctx->core),
                                           &ctx->wait)
        == NGX_OK)
    {
        return ngx_http_cycles_api_thread(r, ctx, work, then);
    }

    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_cycles_api_folded_handler(ngx_http_cycles_ledger_wait_t *wait,
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

    if (error) {
        rc = ngx_http_cycles_api_query_failed(r, ctx,
                                              "its log is not in them yet");

    } else {
        rc = ngx_http_cycles_api_thread(r, ctx, ctx->work, ctx->then);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}


static ngx_int_t
ngx_http_cycles_api_query_failed(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, const char *why)
{
    ngx_http_cycles_ledger_t  *l;

    l = ctx->ledger;

    ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                  "the tables of ledger \"%V\" can't be read: %s", &l->name,
                  why);

    return ngx_http_cycles_api_fail(r, ctx, CYCLES_INTERNAL_ERROR,
                              "The tables of the ledger can't be read now");
}


static void
ngx_http_cycles_api_detail_read(ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_http_cycles_api_query_t  *query;

    query = ctx->query;

    query->code = cycles_ledger_reservation(ctx->core,
                                  ngx_http_cycles_api_str(ctx->id.data,
                                                          ctx->id.len),
                                  ngx_http_cycles_api_detail_take, ctx,
                                  ngx_http_cycles_ledger_now(), query->err,
                                  sizeof(query->err));
}


static int
ngx_http_cycles_api_detail_take(void *data, const cycles_reservation_t *row)
{
    ngx_http_cycles_api_ctx_t *ctx = data;

    ngx_uint_t      i;
    cycles_view_t  *view;

    view = &ctx->view;

    view->status = row->status;
    view->owner.tenant_len = ngx_min(row->owner.len,
                                     sizeof(view->owner.tenant));
    ngx_memcpy(view->owner.tenant, row->owner.data, view->owner.tenant_len);

    for (i = 0; i < CYCLES_LEVELS; i++) {
        view->segments[i] = row->levels[i].len
                            ? cycles_segment_hash(row->levels[i].data,
                                                  row->levels[i].len)
                            : 0;
    }

    return cycles_api_rows_add(&ctx->query->rows, row);
}


static ngx_int_t
ngx_http_cycles_api_detail_send(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->query->code == CYCLES_NOT_FOUND) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_NOT_FOUND,
                              "There is no reservation with this id, or it "
                              "ended too long ago");
    }

    if (ctx->query->code != CYCLES_OK) {
        return ngx_http_cycles_api_query_failed(r, ctx, ctx->query->err);
    }

    rc = ngx_http_cycles_api_owned(r, ctx, &ctx->view);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->view.status == CYCLES_EXPIRED) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_RESERVATION_EXPIRED,
                                        "The reservation has expired");
    }

    return ngx_http_cycles_api_send(r, ctx, NGX_HTTP_OK,
                                    ngx_http_cycles_api_detail_write);
}


static void
ngx_http_cycles_api_detail_write(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_json_raw(js, ctx->query->rows.text, ctx->query->rows.len);
}


/*
 * The parameters of a list.  Each of these returns NGX_DECLINED when they are
 * right, otherwise it is answered.  What is empty is as good as absent.
 */

static ngx_int_t
ngx_http_cycles_api_list_tenant(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_str_t   *tenant;
    cycles_list_t  *list;

    list = &ctx->query->list;
    tenant = &list->tenant;

    if (ngx_http_cycles_api_str_arg(r, "tenant", tenant) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->admin) {

        if (tenant->len == 0) {
            return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "tenant query parameter is required when using "
                              "admin key authentication");
        }

        ngx_strlow(tenant->data, tenant->data, tenant->len);

        return NGX_DECLINED;
    }

    if (tenant->len && (tenant->len != ctx->who.tenant_len
                        || ngx_memcmp(tenant->data, ctx->who.tenant,
                                      tenant->len)
                           != 0))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_FORBIDDEN,
                              "\"tenant\" is another one than the API key's");
    }

    *tenant = ngx_http_cycles_api_str(ctx->who.tenant, ctx->who.tenant_len);

    list->scope_filter = ngx_http_cycles_api_str(
                              ctx->credential.scope_filter,
                              ctx->credential.scope_filter_len);

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_list_filters(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_uint_t      level;
    cycles_str_t    status;
    cycles_list_t  *list;

    list = &ctx->query->list;

    for (level = CYCLES_WORKSPACE; level < CYCLES_LEVELS; level++) {

        if (ngx_http_cycles_api_str_arg(r,
                                         (char *) cycles_level_name(level),
                                         &list->levels[level])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (ngx_http_cycles_api_str_arg(r, "idempotency_key",
                                     &list->idempotency_key)
        != NGX_OK
        || ngx_http_cycles_api_str_arg(r, "status", &status) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (cycles_utf8_length(list->idempotency_key.data,
                           list->idempotency_key.len)
        > CYCLES_MAX_IDEMPOTENCY_KEY)
    {
        return ngx_http_cycles_api_bad_arg(r, ctx, "idempotency_key",
                                             "at most 256 characters");
    }

    list->status = -1;

    if (status.len) {
        list->status = cycles_status_find(status);

        if (list->status == -1) {
            return ngx_http_cycles_api_bad_arg(r, ctx, "status",
                              "ACTIVE, COMMITTED, RELEASED or EXPIRED");
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_list_windows(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t         rc;
    ngx_uint_t        i;
    cycles_window_t  *window;

    static struct {
        char         *from;
        char         *to;
        size_t        offset;
    } windows[] = {
        { "from", "to", offsetof(cycles_list_t, created) },
        { "expires_from", "expires_to", offsetof(cycles_list_t, expires) },
        { "finalized_from", "finalized_to",
          offsetof(cycles_list_t, finalized) }
    };

    for (i = 0; i < 3; i++) {
        window = (cycles_window_t *) (void *)
                     ((u_char *) &ctx->query->list + windows[i].offset);

        window->from = INT64_MIN;
        window->to = INT64_MAX;

        rc = ngx_http_cycles_api_list_bound(r, ctx, windows[i].from, 1,
                                            window, &window->from);

        if (rc == NGX_DECLINED) {
            rc = ngx_http_cycles_api_list_bound(r, ctx, windows[i].to, 0,
                                                window, &window->to);
        }

        if (rc != NGX_DECLINED) {
            return rc;
        }

        if (window->from > window->to) {
            return ngx_http_cycles_api_bad_arg(r, ctx, windows[i].from,
                                             "before its end");
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_list_bound(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, ngx_uint_t up,
    cycles_window_t *window, int64_t *bound)
{
    cycles_str_t  value;

    if (ngx_http_cycles_api_str_arg(r, name, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_DECLINED;
    }

    if (cycles_time_parse(value.data, value.len, up, bound) != 0) {
        return ngx_http_cycles_api_bad_arg(r, ctx, name,
                              "a date-time such as 2026-01-31T12:00:00Z");
    }

    window->limited = 1;

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_list_order(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    int             sort;
    ngx_int_t       rc;
    cycles_str_t    by;
    cycles_list_t  *list;

    list = &ctx->query->list;

    rc = ngx_http_cycles_api_ascending_arg(r, ctx, &list->ascending);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_str_arg(r, "sort_by", &by) != NGX_OK) {
        return NGX_ERROR;
    }

    list->sort = CYCLES_BY_CREATED;

    if (by.len) {
        sort = cycles_reservation_sort_find(by);

        if (sort == -1) {
            return ngx_http_cycles_api_bad_arg(r, ctx, "sort_by",
                              "reservation_id, tenant, scope_path, status, "
                              "reserved, created_at_ms or expires_at_ms");
        }

        list->sort = sort;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_cycles_api_list_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t       rc;
    ngx_str_t       include;
    cycles_list_t  *list;

    list = &ctx->query->list;

    rc = ngx_http_cycles_api_limit_arg(r, ctx, NGX_HTTP_CYCLES_API_MAX_ROWS,
                                       &list->limit);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ngx_http_cycles_api_arg(r, "include", &include) != NGX_OK
        || ngx_http_cycles_api_str_arg(r, "cursor", &list->cursor) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ctx->query->rows.include = ngx_http_cycles_api_list_include(&include);

    return NGX_DECLINED;
}


/* what is not known may be of a later revision */

static unsigned
ngx_http_cycles_api_list_include(ngx_str_t *tokens)
{
    u_char    *p, *start, *last, *end;
    unsigned   include;

    include = 0;
    end = tokens->data + tokens->len;

    for (p = tokens->data; p < end; p++) {
        start = p;

        while (p < end && *p != ',') {
            p++;
        }

        last = p;

        while (start < last && *start == ' ') {
            start++;
        }

        while (last > start && last[-1] == ' ') {
            last--;
        }

        if (last - start == 8 && ngx_strncmp(start, "metadata", 8) == 0) {
            include |= CYCLES_API_METADATA;

        } else if (last - start == 18
                   && ngx_strncmp(start, "committed_metadata", 18) == 0)
        {
            include |= CYCLES_API_COMMITTED_METADATA;
        }
    }

    return include;
}


static void
ngx_http_cycles_api_list_read(ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_http_cycles_api_query_t  *query;

    query = ctx->query;

    query->code = cycles_ledger_list(ctx->core, &query->list,
                                     cycles_api_rows_add, &query->rows,
                                     &query->next,
                                     ngx_http_cycles_ledger_now(),
                                     query->err, sizeof(query->err));
}


static ngx_int_t
ngx_http_cycles_api_list_send(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    if (ctx->query->code == CYCLES_INVALID_REQUEST) {
        return ngx_http_cycles_api_bad_arg(r, ctx, "cursor",
                              "one that an earlier answer to the same query "
                              "gave");
    }

    if (ctx->query->code != CYCLES_OK) {
        return ngx_http_cycles_api_query_failed(r, ctx, ctx->query->err);
    }

    return ngx_http_cycles_api_send(r, ctx, NGX_HTTP_OK,
                                    ngx_http_cycles_api_list_write);
}


static void
ngx_http_cycles_api_list_write(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_api_write_list(js, &ctx->query->rows, &ctx->query->next);
}
