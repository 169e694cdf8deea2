
/*
 * Copyright (C) nginx-cycles authors
 *
 * The directive "cycles_api", and what comes in.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_api_admin.h"
#include "../ngx_http_cycles_conf.h"


static char *ngx_http_cycles_api(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cycles_api_option(ngx_conf_t *cf,
    ngx_http_cycles_api_conf_t *acf, ngx_str_t *option);
static void *ngx_http_cycles_api_create_conf(ngx_conf_t *cf);
static char *ngx_http_cycles_api_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void ngx_http_cycles_api_base(ngx_str_t *location, ngx_str_t *base);
static ngx_int_t ngx_http_cycles_api_error_pages(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf);

static ngx_int_t ngx_http_cycles_api_handler(ngx_http_request_t *r);
static void ngx_http_cycles_api_cleanup(void *data);
static ngx_int_t ngx_http_cycles_api_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_content_type(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static void ngx_http_cycles_api_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_api_run(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_api_text(ngx_http_request_t *r,
    ngx_str_t *text);


static ngx_command_t  ngx_http_cycles_api_commands[] = {

    { ngx_string("cycles_api"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_cycles_api,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_cycles_api_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_cycles_api_create_conf,       /* create location configuration */
    ngx_http_cycles_api_merge_conf         /* merge location configuration */
};


ngx_module_t  ngx_http_cycles_api_module = {
    NGX_MODULE_V1,
    &ngx_http_cycles_api_module_ctx,       /* module context */
    ngx_http_cycles_api_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* what nginx itself may answer in a location */

static const ngx_int_t  ngx_http_cycles_api_pages[] = {
    400, 401, 403, 404, 405, 408, 411, 412, 413, 414, 415, 416, 429, 500,
    501, 502, 503, 504, 507, 0
};


static char *
ngx_http_cycles_api(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_api_conf_t *acf = conf;

    char                      *rv;
    ngx_str_t                 *value;
    ngx_uint_t                 i, prefix;
    ngx_http_core_loc_conf_t  *clcf;

    value = cf->args->elts;

    if (acf->name.data) {
        return "is duplicate";
    }

    for (i = 1; i < cf->args->nelts; i++) {
        rv = ngx_http_cycles_api_option(cf, acf, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (acf->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cycles_api\" needs a \"ledger=NAME\"");
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    prefix = (!clcf->named && !clcf->noname);

#if (NGX_PCRE)
    prefix = prefix && clcf->regex == NULL;
#endif

    if (!prefix) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cycles_api\" must be in a location with a "
                           "prefix, such as \"location /v1/\"");
        return NGX_CONF_ERROR;
    }

    clcf->handler = ngx_http_cycles_api_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_api_option(ngx_conf_t *cf, ngx_http_cycles_api_conf_t *acf,
    ngx_str_t *option)
{
    ngx_str_t  value;

    if (option->len > 7 && ngx_strncmp(option->data, "ledger=", 7) == 0
        && acf->name.len == 0)
    {
        acf->name.len = option->len - 7;
        acf->name.data = option->data + 7;

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(option->data, "admin_key=", 10) == 0) {

        if (option->len == 10 || acf->admin_key) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"cycles_api\" must have one \"admin_key=\" "
                               "at most, with a value or \"file:PATH\"");
            return NGX_CONF_ERROR;
        }

        value.len = option->len - 10;
        value.data = option->data + 10;

        acf->admin_key = ngx_pcalloc(cf->pool,
                                     sizeof(ngx_http_complex_value_t));
        if (acf->admin_key == NULL) {
            return NGX_CONF_ERROR;
        }

        return ngx_http_cycles_secret_value(cf, &value, acf->admin_key)
               == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"cycles_api\": there "
                       "are one \"ledger=NAME\" and \"admin_key=VALUE\"",
                       option);
    return NGX_CONF_ERROR;
}


static void *
ngx_http_cycles_api_create_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_api_conf_t));
}


/*
 * Ledgers are known by now, wherever they are declared.  An "if" in the
 * location keeps its handler, so it needs the same configuration.
 */

static char *
ngx_http_cycles_api_merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_cycles_api_conf_t *prev = parent;
    ngx_http_cycles_api_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->name.data == NULL && clcf->noname) {
        *conf = *prev;
    }

    if (conf->name.data == NULL) {
        return NGX_CONF_OK;
    }

    conf->ledger = ngx_http_cycles_ledger_find(cf, &conf->name);

    if (conf->ledger == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"cycles_api\" in location \"%V\" wants ledger \"%V\", "
                      "which no \"cycles_ledger\" declares", &clcf->name,
                      &conf->name);
        return NGX_CONF_ERROR;
    }

    ngx_http_cycles_api_base(&clcf->name, &conf->base);

    if (ngx_http_cycles_api_error_pages(cf, clcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* "/v1/", "/v1/decide" and "/" have none, "/budget/" has "/budget" */

static void
ngx_http_cycles_api_base(ngx_str_t *location, ngx_str_t *base)
{
    u_char  *p, *end;

    *base = *location;
    end = location->data + location->len;

    for (p = location->data; end - p >= 3; p++) {

        if (ngx_strncmp(p, "/v1", 3) == 0 && (p + 3 == end || p[3] == '/')) {
            base->len = p - location->data;
            return;
        }
    }

    if (base->len && base->data[base->len - 1] == '/') {
        base->len--;
    }
}


/*
 * Errors that nginx finds before or while it reads a request come back to our
 * handler, which gives them the ids and the JSON of the protocol.
 */

static ngx_int_t
ngx_http_cycles_api_error_pages(ngx_conf_t *cf,
    ngx_http_core_loc_conf_t *clcf)
{
    ngx_uint_t           i;
    ngx_http_err_page_t  *page;

    clcf->error_pages = ngx_array_create(cf->pool, 16,
                                         sizeof(ngx_http_err_page_t));
    if (clcf->error_pages == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; ngx_http_cycles_api_pages[i]; i++) {
        page = ngx_array_push(clcf->error_pages);
        if (page == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(page, sizeof(ngx_http_err_page_t));

        page->status = ngx_http_cycles_api_pages[i];
        page->overwrite = -1;
        page->value.value = clcf->name;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_api_handler(ngx_http_request_t *r)
{
    ngx_int_t                    rc;
    ngx_pool_cleanup_t          *cln;
    ngx_http_cycles_api_ctx_t   *ctx;
    ngx_http_cycles_api_conf_t  *acf;

    acf = ngx_http_get_module_loc_conf(r, ngx_http_cycles_api_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_cycles_api_ctx_t));
    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (ctx == NULL || cln == NULL
        || ngx_http_cycles_api_identify(r, ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_cycles_api_cleanup;
    cln->data = ctx;

    ctx->ledger = acf->ledger;
    ctx->core = ngx_http_cycles_ledger_core(acf->ledger);

    ngx_http_set_ctx(r, ctx, ngx_http_cycles_api_module);

    if (r->error_page) {
        return ngx_http_cycles_api_page(r, ctx);
    }

    rc = ngx_http_cycles_api_find_route(r, ctx, &acf->base);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_api_authenticate(r, ctx);
    }

    if (rc == NGX_DECLINED && ctx->admin_plane
        && ngx_http_cycles_api_admin_init(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED && ctx->route->operation) {
        rc = ngx_http_cycles_api_content_type(r, ctx);
    }

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (ctx->route->operation == 0) {
        return ctx->route->run(r, ctx);
    }

    r->request_body_in_single_buf = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_cycles_api_body);

    return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
}


static void
ngx_http_cycles_api_cleanup(void *data)
{
    ngx_http_cycles_api_ctx_t  *ctx = data;

    cycles_api_free(&ctx->rq);
}


/* an error of nginx itself */

static ngx_int_t
ngx_http_cycles_api_page(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    ngx_uint_t      status;
    const char     *text;
    cycles_code_t   code;

    status = r->err_status;
    code = CYCLES_INVALID_REQUEST;
    text = "The request is not one that this server can read";

    switch (status) {

    case NGX_HTTP_UNAUTHORIZED:
        code = CYCLES_UNAUTHORIZED;
        text = "This server wants other credentials";
        break;

    case NGX_HTTP_FORBIDDEN:
        code = CYCLES_FORBIDDEN;
        text = "This server does not serve this client";
        break;

    case NGX_HTTP_NOT_FOUND:
        code = CYCLES_NOT_FOUND;
        text = "There is nothing here";
        break;

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        text = "The body is longer than this server takes";
        break;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        code = CYCLES_LIMIT_EXCEEDED;
        text = "Too many requests, try again later";
        break;

    default:
        if (status >= NGX_HTTP_INTERNAL_SERVER_ERROR) {
            code = CYCLES_INTERNAL_ERROR;
            text = "The server can't answer now, try again with the same "
                   "idempotency key";
        }
    }

    cycles_api_error_init(&ctx->error, code, "%s", text);

    return ngx_http_cycles_api_send_error(r, ctx, status);
}


static ngx_int_t
ngx_http_cycles_api_content_type(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    size_t      len;
    ngx_str_t  *type;

    static ngx_str_t  json = ngx_string("application/json");

    /* no body is not a body of another type, but not the right one either */

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        return NGX_DECLINED;
    }

    type = r->headers_in.content_type ? &r->headers_in.content_type->value
                                      : NULL;

    if (type && type->len >= json.len
        && ngx_strncasecmp(type->data, json.data, json.len) == 0)
    {
        for (len = json.len; len < type->len && type->data[len] == ' '; len++)
        {
            /* void */
        }

        if (len == type->len || type->data[len] == ';') {
            return NGX_DECLINED;
        }
    }

    cycles_api_error_init(&ctx->error, CYCLES_INVALID_REQUEST,
                          "The Content-Type must be application/json");

    return ngx_http_cycles_api_send_error(r, ctx,
                                          NGX_HTTP_UNSUPPORTED_MEDIA_TYPE);
}


static void
ngx_http_cycles_api_body(ngx_http_request_t *r)
{
    ngx_http_cycles_api_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_cycles_api_module);

    ngx_http_finalize_request(r, ngx_http_cycles_api_run(r, ctx));
}


static ngx_int_t
ngx_http_cycles_api_run(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx)
{
    int            bad;
    char           err[CYCLES_API_MESSAGE];
    ngx_int_t      rc;
    ngx_str_t      text, *key;
    cycles_code_t  code;
    cycles_str_t  *name;

    rc = ngx_http_cycles_api_text(r, &text);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx->adm) {
        bad = cycles_admin_read(&ctx->adm->rq, ctx->route->operation,
                                text.data, text.len, err, sizeof(err));
        code = ctx->adm->rq.code;
        name = &ctx->adm->rq.funding.idempotency_key;

    } else {
        bad = cycles_api_read(&ctx->rq, ctx->route->operation, text.data,
                              text.len, err, sizeof(err));
        code = CYCLES_INVALID_REQUEST;
        name = &ctx->rq.idempotency_key;
    }

    if (bad) {
        return ngx_http_cycles_api_fail(r, ctx, code, err);
    }

    key = ngx_http_cycles_api_header(r, "X-Idempotency-Key");

    if (key && ctx->route->operation == CYCLES_ADMIN_FUND_BUDGET
        && name->len == 0
        && cycles_utf8_length(key->data, key->len)
           <= CYCLES_MAX_IDEMPOTENCY_KEY)
    {
        *name = ngx_http_cycles_api_str(key->data, key->len);
        return ctx->route->run(r, ctx);
    }

    if (key
        && (ctx->adm == NULL
            || ctx->route->operation == CYCLES_ADMIN_FUND_BUDGET)
        && (key->len != name->len
            || ngx_memcmp(key->data, name->data, key->len) != 0))
    {
        return ngx_http_cycles_api_fail(r, ctx, CYCLES_INVALID_REQUEST,
                              "X-Idempotency-Key is another one than the "
                              "\"idempotency_key\" of the body");
    }

    return ctx->route->run(r, ctx);
}


/*
 * The body in one piece.  Where client_body_buffer_size has sent it to a file,
 * nginx has just written that, so it is read from the page cache.
 */

static ngx_int_t
ngx_http_cycles_api_text(ngx_http_request_t *r, ngx_str_t *text)
{
    off_t         len;
    size_t        size;
    u_char       *p;
    ssize_t       n;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *in;

    in = r->request_body ? r->request_body->bufs : NULL;

    for (len = 0, cl = in; cl; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
    }

    if (len > CYCLES_API_MAX_BODY) {
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }

    text->len = (size_t) len;

    if (in && in->next == NULL && !in->buf->in_file) {
        text->data = in->buf->pos;
        return NGX_OK;
    }

    text->data = ngx_pnalloc(r->pool, text->len + 1);
    if (text->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    for (p = text->data, cl = in; cl; cl = cl->next) {
        b = cl->buf;
        size = (size_t) ngx_buf_size(b);

        if (!b->in_file) {
            p = ngx_cpymem(p, b->pos, size);
            continue;
        }

        n = ngx_read_file(b->file, p, size, b->file_pos);

        if (n != (ssize_t) size) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        p += size;
    }

    return NGX_OK;
}
