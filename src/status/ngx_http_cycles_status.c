
/*
 * Copyright (C) nginx-cycles authors
 *
 * The content handler of "cycles_status": budgets and live reservations of
 * the embedded ledgers, as JSON.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../gateway/ngx_http_cycles_module.h"
#include "../ledger/ngx_http_cycles_ledger.h"


static ngx_int_t ngx_http_cycles_status_handler(ngx_http_request_t *r);


char *
ngx_http_cycles_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    clcf->handler = ngx_http_cycles_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_cycles_status_handler(ngx_http_request_t *r)
{
    size_t            len;
    ngx_int_t         rc;
    ngx_str_t         format, value;
    ngx_chain_t      *out, *cl;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_arg(r, (u_char *) "format", 6, &format) == NGX_OK
        && (format.len != 4 || ngx_strncmp(format.data, "json", 4) != 0))
    {
        return NGX_HTTP_NOT_FOUND;
    }

    if (ngx_http_cycles_ledger_status_json(r->pool, &out, &len) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (cl = out; cl->next; cl = cl->next) { /* void */ }

    cl->buf->last_buf = (r == r->main) ? 1 : 0;
    cl->buf->last_in_chain = 1;

    ngx_str_set(&value, "no-store");

    if (ngx_http_cycles_add_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, out);
}
