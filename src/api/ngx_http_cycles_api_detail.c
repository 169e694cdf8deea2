
/*
 * Copyright (C) nginx-cycles authors
 *
 * GET /v1/reservations/{id}: memory says what it is worth, the log says what
 * it was for.  The log is read in a thread.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api.h"


static void ngx_http_cycles_api_read_history(
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_send_detail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_forget(void *data);
static void ngx_http_cycles_api_write_detail(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


ngx_int_t
ngx_http_cycles_api_detail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_int_t            rc;
    ngx_pool_cleanup_t  *cln;

    rc = ngx_http_cycles_api_own(r, ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->view.status == CYCLES_EXPIRED) {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_RESERVATION_EXPIRED,
                                        "The reservation has expired");
    }

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_cycles_api_forget;
    cln->data = ctx;

    return ngx_http_cycles_api_thread(r, ctx,
                                      ngx_http_cycles_api_read_history,
                                      ngx_http_cycles_api_send_detail);
}


static void
ngx_http_cycles_api_read_history(ngx_http_cycles_api_ctx_t *ctx)
{
    ctx->history_error = cycles_ledger_history(ctx->core, &ctx->view,
                                               &ctx->history);
}


static ngx_int_t
ngx_http_cycles_api_send_detail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    if (ctx->history_error) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, ctx->history_error,
                      "reservation \"%V\" could not be read from the log of "
                      "its ledger", &ctx->id);

        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INTERNAL_ERROR,
                              "The log of the ledger can't be read");
    }

    return ngx_http_cycles_api_send(r, ctx, NGX_HTTP_OK,
                                    ngx_http_cycles_api_write_detail);
}


static void
ngx_http_cycles_api_forget(void *data)
{
    ngx_http_cycles_api_ctx_t  *ctx = data;

    cycles_ledger_history_free(&ctx->history);
}


static void
ngx_http_cycles_api_write_detail(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx)
{
    cycles_str_t  id;

    id.len = ctx->id.len;
    id.data = ctx->id.data;

    cycles_api_write_detail(js, id, &ctx->view, &ctx->history);
}
