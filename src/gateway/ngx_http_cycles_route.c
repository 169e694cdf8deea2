
/*
 * Copyright (C) nginx-cycles authors
 *
 * Which provider a request is for, and what must not or need not be guarded.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


/* routes of late, by what they depend on: most requests have the same path */

#define NGX_HTTP_CYCLES_ROUTES      16
#define NGX_HTTP_CYCLES_ROUTE_TEXT  256


typedef struct {
    ngx_uint_t                provider;
    ngx_uint_t                known;
    size_t                    method_len;
    size_t                    host_len;
    size_t                    path_len;
    llm_route_t               route;
    u_char                    text[NGX_HTTP_CYCLES_ROUTE_TEXT];
} ngx_http_cycles_lately_t;


static ngx_int_t ngx_http_cycles_keep_route(ngx_http_request_t *r,
    ngx_http_cycles_route_t *kept, llm_route_t *route);
static llm_route_t *ngx_http_cycles_route(ngx_uint_t provider,
    ngx_str_t *method, ngx_str_t *host, ngx_str_t *path);
static ngx_uint_t ngx_http_cycles_is_provider(ngx_str_t *host);
static ngx_str_t *ngx_http_cycles_upstream_host(ngx_http_request_t *r);
static ngx_uint_t ngx_http_cycles_overridden(ngx_http_request_t *r);
static ngx_uint_t ngx_http_cycles_has_header(ngx_http_request_t *r,
    ngx_str_t *name);


static ngx_uint_t  ngx_http_cycles_proxy_index = NGX_CONF_UNSET_UINT;


/*
 * nginx's own proxy module is found by its name: this module must load into
 * an nginx that is built without it.
 */

void
ngx_http_cycles_find_proxy(ngx_conf_t *cf)
{
    ngx_uint_t      i;
    ngx_module_t  **modules;

    ngx_http_cycles_proxy_index = NGX_CONF_UNSET_UINT;

    modules = cf->cycle->modules;

    for (i = 0; modules[i]; i++) {
        if (modules[i]->type == NGX_HTTP_MODULE
            && ngx_strcmp(modules[i]->name, "ngx_http_proxy_module") == 0)
        {
            ngx_http_cycles_proxy_index = modules[i]->ctx_index;
        }
    }
}


/*
 * The path is the client's own, escapes in place, until something has
 * rewritten it; the host is that of "proxy_pass" if that is not a variable.
 */

ngx_int_t
ngx_http_cycles_find_route(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t            *host, *path;
    llm_route_t          *route;
    const unsigned char  *region;

    host = ngx_http_cycles_upstream_host(r);

    if (host == NULL) {
        host = &r->headers_in.server;
    }

    path = r->valid_unparsed_uri ? &r->unparsed_uri : &r->uri;

    route = ngx_http_cycles_route(ctx->conf->provider, &r->method_name, host,
                                  path);

    if (ngx_http_cycles_keep_route(r, &ctx->route, route) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->conf->price_region.len) {
        ctx->region = ctx->conf->price_region;

    } else if (llm_region(ctx->route.provider, host->data, host->len,
                          path->data, path->len, &region, &ctx->region.len)
               == LLM_OK)
    {
        ctx->region.data = (u_char *) region;
    }

    if (ctx->route.free && ngx_http_cycles_overridden(r)) {
        ctx->route.free = 0;
    }

    ngx_log_debug5(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "cycles route: %s, api:%ui free:%ui host:\"%V\" "
                   "path:\"%V\"", llm_provider_name(ctx->route.provider),
                   (ngx_uint_t) ctx->route.api, (ngx_uint_t) ctx->route.free,
                   host, path);

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_keep_route(ngx_http_request_t *r,
    ngx_http_cycles_route_t *kept, llm_route_t *route)
{
    kept->provider = route->provider;
    kept->api = route->api;
    kept->known = route->known;
    kept->free = route->free;
    kept->stream = route->stream;
    kept->stream_usage = route->stream_usage;

    kept->model.len = route->model_len;

    if (route->model_len == 0) {
        return NGX_OK;
    }

    kept->model.data = ngx_pnalloc(r->pool, route->model_len);
    if (kept->model.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(kept->model.data, route->model, route->model_len);

    return NGX_OK;
}


/* as llm_route(); until the next call */

static llm_route_t *
ngx_http_cycles_route(ngx_uint_t provider, ngx_str_t *method, ngx_str_t *host,
    ngx_str_t *path)
{
    u_char                    *p;
    ngx_uint_t                 hash;
    ngx_http_cycles_lately_t  *kept;

    static llm_route_t               single;
    static ngx_http_cycles_lately_t  routes[NGX_HTTP_CYCLES_ROUTES];

    if (path->len == 0
        || method->len + host->len + path->len > NGX_HTTP_CYCLES_ROUTE_TEXT)
    {
        llm_route(&single, provider, method->data, method->len, host->data,
                  host->len, path->data, path->len);

        return &single;
    }

    hash = path->len + 3 * path->data[path->len - 1]
           + 5 * path->data[path->len / 2] + method->len + host->len
           + provider;

    kept = &routes[hash % NGX_HTTP_CYCLES_ROUTES];
    p = kept->text;

    if (kept->known
        && kept->provider == provider
        && kept->method_len == method->len
        && kept->host_len == host->len
        && kept->path_len == path->len
        && ngx_memcmp(p, path->data, path->len) == 0
        && ngx_memcmp(p + path->len, method->data, method->len) == 0
        && ngx_memcmp(p + path->len + method->len, host->data, host->len)
           == 0)
    {
        return &kept->route;
    }

    llm_route(&kept->route, provider, method->data, method->len, host->data,
              host->len, path->data, path->len);

    kept->known = 1;
    kept->provider = provider;
    kept->method_len = method->len;
    kept->host_len = host->len;
    kept->path_len = path->len;

    p = ngx_cpymem(p, path->data, path->len);
    p = ngx_cpymem(p, method->data, method->len);
    ngx_memcpy(p, host->data, host->len);

    return &kept->route;
}


/* of the same host again and again, as there is only one in most servers */

static ngx_uint_t
ngx_http_cycles_is_provider(ngx_str_t *host)
{
    static size_t      len;
    static u_char      last[NGX_HTTP_CYCLES_ROUTE_TEXT];
    static ngx_uint_t  provider;

    if (host->len == 0 || host->len > sizeof(last)) {
        return llm_host_provider(host->data, host->len) != LLM_PROVIDERS;
    }

    if (len != host->len || ngx_memcmp(last, host->data, len) != 0) {
        provider = llm_host_provider(host->data, host->len);
        len = host->len;
        ngx_memcpy(last, host->data, len);
    }

    return provider != LLM_PROVIDERS;
}


/* the configuration of proxy begins with that of upstream, in any version */

static ngx_str_t *
ngx_http_cycles_upstream_host(ngx_http_request_t *r)
{
    ngx_http_upstream_conf_t      *conf;
    ngx_http_upstream_server_t    *server;
    ngx_http_upstream_srv_conf_t  *uscf;

    if (ngx_http_cycles_proxy_index == NGX_CONF_UNSET_UINT) {
        return NULL;
    }

    conf = r->loc_conf[ngx_http_cycles_proxy_index];
    uscf = conf->upstream;

    if (uscf == NULL || uscf == NGX_CONF_UNSET_PTR) {
        return NULL;
    }

    if (uscf->servers && uscf->servers->nelts
        && !ngx_http_cycles_is_provider(&uscf->host))
    {
        server = uscf->servers->elts;
        return &server[0].name;
    }

    return &uscf->host;
}


/* a GET may be a POST in disguise to a server that knows this header */

static ngx_uint_t
ngx_http_cycles_overridden(ngx_http_request_t *r)
{
    static ngx_str_t  name = ngx_string("x-http-method");

    return ngx_http_cycles_has_header(r, &name);
}


/* whether a header's name begins with that */

static ngx_uint_t
ngx_http_cycles_has_header(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len >= name->len
            && ngx_strncmp(h[i].lowcase_key, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* as if the path were that of chat completions, or of Anthropic's messages */

ngx_int_t
ngx_http_cycles_guess_route(ngx_http_request_t *r,
    ngx_http_cycles_route_t *guessed)
{
    ngx_str_t    *path;
    llm_route_t   route;

    static ngx_str_t  version = ngx_string("anthropic-version");
    static ngx_str_t  messages = ngx_string("/v1/messages");
    static ngx_str_t  chat = ngx_string("/v1/chat/completions");

    path = ngx_http_cycles_has_header(r, &version) ? &messages : &chat;

    llm_route(&route, LLM_PROVIDER_AUTO, r->method_name.data,
              r->method_name.len, NULL, 0, path->data, path->len);

    return ngx_http_cycles_keep_route(r, guessed, &route);
}


ngx_uint_t
ngx_http_cycles_is_websocket(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_table_elt_t  *upgrade;

    /* secrets and calls of realtime lead around the gateway */

    if (ctx->route.api == LLM_API_REALTIME && !ctx->route.free) {
        return 1;
    }

    upgrade = r->headers_in.upgrade;

    return upgrade
           && ngx_strcasestrn(upgrade->value.data, "websocket",
                              sizeof("websocket") - 2)
              != NULL;
}
