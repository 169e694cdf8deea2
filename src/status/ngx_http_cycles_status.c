
/*
 * Copyright (C) nginx-cycles authors
 *
 * The content handler of "cycles_status": counters, budgets, and what goes
 * on, in the notation that is asked for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_metrics.h"
#include "ngx_http_cycles_page.h"
#include "../gateway/ngx_http_cycles_module.h"
#include "../ledger/ngx_http_cycles_ledger.h"


/* budgets in one answer: it takes a worker a millisecond or two */

#define NGX_HTTP_CYCLES_STATUS_LIMIT  1000


static ngx_int_t ngx_http_cycles_status_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_status_page(ngx_http_request_t *r,
    ngx_http_cycles_text_t *text);
static ngx_int_t ngx_http_cycles_status_json(ngx_http_request_t *r,
    ngx_http_cycles_text_t *text);
static ngx_int_t ngx_http_cycles_status_send(ngx_http_request_t *r,
    ngx_http_cycles_text_t *text);


char *
ngx_http_cycles_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_cycles_main_conf_t  *cmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    clcf->handler = ngx_http_cycles_status_handler;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_module);

    cmcf->counts = 1;

    if (cmcf->page_policy.len == 0
        && ngx_http_cycles_page_policy(cf->pool, &cmcf->page_policy)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_cycles_status_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_str_t               format;
    ngx_http_cycles_text_t  text;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_cycles_text_init(&text, r->pool);

    if (ngx_http_arg(r, (u_char *) "format", 6, &format) != NGX_OK) {

        if (ngx_http_cycles_status_page(r, &text) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

    } else if (format.len == 4 && ngx_strncmp(format.data, "json", 4) == 0) {
        rc = ngx_http_cycles_status_json(r, &text);

        if (rc != NGX_OK) {
            return rc;
        }

        ngx_str_set(&r->headers_out.content_type, "application/json");

    } else if (format.len == 10
               && ngx_strncmp(format.data, "prometheus", 10) == 0)
    {
        ngx_http_cycles_metrics(&text, 0);

        ngx_str_set(&r->headers_out.content_type,
                    "text/plain; version=0.0.4; charset=utf-8");

    } else {
        return NGX_HTTP_NOT_FOUND;
    }

    return ngx_http_cycles_status_send(r, &text);
}


static ngx_int_t
ngx_http_cycles_status_page(ngx_http_request_t *r,
    ngx_http_cycles_text_t *text)
{
    u_char                       *p;
    ngx_str_t                     page, value;
    ngx_http_cycles_main_conf_t  *cmcf;

    ngx_http_cycles_page(&page);

    p = ngx_http_cycles_text_room(text, page.len);

    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_http_cycles_text_wrote(text, ngx_cpymem(p, page.data, page.len));

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_cycles_module);

    ngx_str_set(&value, "no-referrer");

    if (ngx_http_cycles_add_header(r, "Content-Security-Policy",
                                   &cmcf->page_policy)
        != NGX_OK
        || ngx_http_cycles_add_header(r, "Referrer-Policy", &value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_str_set(&r->headers_out.content_type, "text/html; charset=utf-8");

    return NGX_OK;
}


/* "part" leaves out what a reader does not need each time */

static ngx_int_t
ngx_http_cycles_status_json(ngx_http_request_t *r,
    ngx_http_cycles_text_t *text)
{
    ngx_int_t   limit;
    ngx_str_t   part, cursor, value;
    ngx_uint_t  budgets, summary;

    budgets = 1;
    summary = 1;

    if (ngx_http_arg(r, (u_char *) "part", 4, &part) == NGX_OK) {
        budgets = (part.len == 7
                   && ngx_strncmp(part.data, "budgets", 7) == 0);
        summary = (part.len == 7
                   && ngx_strncmp(part.data, "summary", 7) == 0);

        if (!budgets && !summary) {
            return NGX_HTTP_BAD_REQUEST;
        }
    }

    limit = NGX_HTTP_CYCLES_STATUS_LIMIT;

    if (ngx_http_arg(r, (u_char *) "limit", 5, &value) == NGX_OK) {
        limit = ngx_atoi(value.data, value.len);

        if (limit < 1 || limit > NGX_HTTP_CYCLES_STATUS_LIMIT) {
            return NGX_HTTP_BAD_REQUEST;
        }
    }

    if (ngx_http_arg(r, (u_char *) "cursor", 6, &cursor) != NGX_OK) {
        ngx_str_null(&cursor);
    }

    ngx_http_cycles_text_add(text, "{");

    if (budgets
        && ngx_http_cycles_ledger_budgets_json(text, &cursor, limit, summary)
           != NGX_OK)
    {
        return NGX_HTTP_BAD_REQUEST;
    }

    if (summary) {

        if (budgets) {
            ngx_http_cycles_text_add(text, ",");
        }

        ngx_http_cycles_summary_json(text);
    }

    ngx_http_cycles_text_add(text, "}");

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_status_send(ngx_http_request_t *r,
    ngx_http_cycles_text_t *text)
{
    ngx_int_t  rc;
    ngx_str_t  value;

    if (text->failed) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&value, "no-store");

    if (ngx_http_cycles_add_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&value, "nosniff");

    if (ngx_http_cycles_add_header(r, "X-Content-Type-Options", &value)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    text->buf->last_buf = (r == r->main) ? 1 : 0;
    text->buf->last_in_chain = 1;

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = text->len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, text->chain);
}
