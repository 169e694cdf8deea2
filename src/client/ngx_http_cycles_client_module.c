
/*
 * Copyright (C) nginx-cycles authors
 *
 * The Cycles servers of a configuration, and the journal of what they are
 * owed.
 */


#include "ngx_http_cycles_settlement.h"
#include "../gateway/ngx_http_cycles_pieces.h"


#define NGX_HTTP_CYCLES_JOURNAL_FLUSH   10000
#define NGX_HTTP_CYCLES_JOURNAL_REPLAY  30000


typedef struct {
    ngx_array_t                      servers;  /* ngx_http_cycles_server_t * */
    ngx_http_cycles_journal_conf_t  *journal;
} ngx_http_cycles_client_main_conf_t;


static char *ngx_http_cycles_journal_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_cycles_journal_option(ngx_conf_t *cf,
    ngx_http_cycles_journal_conf_t *journal, ngx_str_t *option);
static char *ngx_http_cycles_journal_path(ngx_conf_t *cf,
    ngx_http_cycles_journal_conf_t *journal, ngx_str_t *path);
static char *ngx_http_cycles_journal_time(ngx_conf_t *cf, ngx_str_t *option,
    size_t name, ngx_msec_t min, ngx_msec_t max, ngx_msec_t *time);
static void *ngx_http_cycles_client_create_main_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_cycles_client_init_process(ngx_cycle_t *cycle);
static void ngx_http_cycles_client_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_cycles_client_commands[] = {

    { ngx_string("cycles_journal"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_cycles_journal_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_cycles_client_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_cycles_client_create_main_conf,   /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_cycles_client_module = {
    NGX_MODULE_V1,
    &ngx_http_cycles_client_module_ctx,    /* module context */
    ngx_http_cycles_client_commands,       /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_cycles_client_init_process,   /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_cycles_client_exit_process,   /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_http_cycles_server_t *
ngx_http_cycles_client_server(ngx_conf_t *cf, ngx_str_t *location,
    ngx_http_conf_ctx_t *conf_ctx, ngx_str_t *base_url)
{
    u_char                              *p;
    ngx_str_t                            url, name;
    ngx_uint_t                           i;
    ngx_http_cycles_server_t            *server, **sp;
    ngx_http_cycles_client_main_conf_t  *ccmf;

    ccmf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_cycles_client_module);
    url = *base_url;

    if (url.len == 0) {
        url.len = sizeof("http://") - 1 + location->len - 1;
        url.data = ngx_pnalloc(cf->pool, url.len);
        if (url.data == NULL) {
            return NULL;
        }

        p = ngx_cpymem(url.data, "http://", sizeof("http://") - 1);
        ngx_memcpy(p, location->data + 1, location->len - 1);
    }

    sp = ccmf->servers.elts;

    for (i = 0; i < ccmf->servers.nelts; i++) {
        server = sp[i];

        if (server->conf_ctx == conf_ctx
            && server->location.len == location->len
            && ngx_strncmp(server->location.data, location->data,
                           location->len)
               == 0
            && server->base_url.len == url.len
            && ngx_strncmp(server->base_url.data, url.data, url.len) == 0)
        {
            return server;
        }
    }

    server = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_server_t));
    if (server == NULL) {
        return NULL;
    }

    server->location = *location;
    server->base_url = url;
    server->conf_ctx = conf_ctx;

    name.len = sizeof("breaker ") - 1 + url.len;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NULL;
    }

    ngx_sprintf(name.data, "breaker %V", &url);

    server->breaker = ngx_http_cycles_zone_area(cf, &name,
                                         sizeof(ngx_http_cycles_breaker_t));
    if (server->breaker == NULL) {
        return NULL;
    }

    sp = ngx_array_push(&ccmf->servers);
    if (sp == NULL) {
        return NULL;
    }

    *sp = server;

    return server;
}


ngx_array_t *
ngx_http_cycles_client_servers(void)
{
    ngx_http_cycles_client_main_conf_t  *ccmf;

    ccmf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_cycles_client_module);
    return &ccmf->servers;
}


static char *
ngx_http_cycles_journal_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_cycles_client_main_conf_t *ccmf = conf;

    char                            *rv;
    ngx_str_t                       *value;
    ngx_uint_t                       i;
    ngx_http_cycles_journal_conf_t  *journal;

    if (ccmf->journal) {
        return "is duplicate";
    }

    journal = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_journal_conf_t));
    if (journal == NULL) {
        return NGX_CONF_ERROR;
    }

    journal->flush_timeout = NGX_HTTP_CYCLES_JOURNAL_FLUSH;
    journal->replay_time = NGX_HTTP_CYCLES_JOURNAL_REPLAY;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        rv = ngx_http_cycles_journal_option(cf, journal, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (journal->path == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cycles_journal\" needs a \"path=DIR\"");
        return NGX_CONF_ERROR;
    }

#if (NGX_THREADS)

    journal->threads = ngx_thread_pool_add(cf, NULL);
    if (journal->threads == NULL) {
        return NGX_CONF_ERROR;
    }

#else

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                       "nginx was built without threads: the workers wait "
                       "for the disk when the journal is written");

#endif

    ccmf->journal = journal;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_journal_option(ngx_conf_t *cf,
    ngx_http_cycles_journal_conf_t *journal, ngx_str_t *option)
{
    ngx_str_t  value;

    if (ngx_strncmp(option->data, "path=", 5) == 0) {
        value.data = option->data + 5;
        value.len = option->len - 5;

        return ngx_http_cycles_journal_path(cf, journal, &value);
    }

    if (ngx_strncmp(option->data, "flush_timeout=", 14) == 0) {
        return ngx_http_cycles_journal_time(cf, option, 14, 0, 600000,
                                            &journal->flush_timeout);
    }

    if (ngx_strncmp(option->data, "replay=", 7) == 0) {
        return ngx_http_cycles_journal_time(cf, option, 7, 100, 3600000,
                                            &journal->replay_time);
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"cycles_journal\": there "
                       "are path=DIR, flush_timeout=TIME and replay=TIME",
                       option);
    return NGX_CONF_ERROR;
}


/* nginx itself creates the directory, for the user of the workers only */

static char *
ngx_http_cycles_journal_path(ngx_conf_t *cf,
    ngx_http_cycles_journal_conf_t *journal, ngx_str_t *path)
{
    while (path->len > 1 && path->data[path->len - 1] == '/') {
        path->data[--path->len] = '\0';
    }

    if (path->len == 0 || journal->path) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cycles_journal\" must have one \"path=DIR\"");
        return NGX_CONF_ERROR;
    }

    journal->path = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
    if (journal->path == NULL) {
        return NGX_CONF_ERROR;
    }

    journal->path->name = *path;
    journal->path->conf_file = cf->conf_file->file.name.data;
    journal->path->line = cf->conf_file->line;

    if (ngx_conf_full_name(cf->cycle, &journal->path->name, 0) != NGX_OK
        || ngx_add_path(cf, &journal->path) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_journal_time(ngx_conf_t *cf, ngx_str_t *option, size_t name,
    ngx_msec_t min, ngx_msec_t max, ngx_msec_t *time)
{
    ngx_int_t  n;
    ngx_str_t  value;

    value.data = option->data + name;
    value.len = option->len - name;

    n = ngx_parse_time(&value, 0);

    if (n == NGX_ERROR || (ngx_msec_t) n < min || (ngx_msec_t) n > max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\" in \"cycles_journal\": write a "
                           "time from %Mms to %Mms", option, min, max);
        return NGX_CONF_ERROR;
    }

    *time = (ngx_msec_t) n;

    return NGX_CONF_OK;
}


static void *
ngx_http_cycles_client_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_cycles_client_main_conf_t  *ccmf;

    ccmf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_client_main_conf_t));
    if (ccmf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&ccmf->servers, cf->pool, 4,
                       sizeof(ngx_http_cycles_server_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return ccmf;
}


static ngx_int_t
ngx_http_cycles_client_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                            i;
    cycles_str_t                         *urls;
    ngx_http_cycles_server_t            **server;
    ngx_http_cycles_client_main_conf_t   *ccmf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    ccmf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_cycles_client_module);

    if (ccmf == NULL || ccmf->servers.nelts == 0) {
        return NGX_OK;
    }

    server = ccmf->servers.elts;

    for (i = 0; i < ccmf->servers.nelts; i++) {
        server[i]->call_ctx = ngx_http_cycles_call_ctx(cycle->pool,
                                                       server[i]->conf_ctx);
        if (server[i]->call_ctx == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_http_cycles_keep_memory();

    if (ccmf->journal == NULL) {
        return NGX_OK;
    }

    urls = ngx_palloc(cycle->pool,
                      ccmf->servers.nelts * sizeof(cycles_str_t));
    if (urls == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ccmf->servers.nelts; i++) {
        urls[i].len = server[i]->base_url.len;
        urls[i].data = server[i]->base_url.data;
    }

    return ngx_http_cycles_journal_start(cycle, ccmf->journal, urls, i,
                                         ngx_http_cycles_replay);
}


static void
ngx_http_cycles_client_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_cycles_journal_stop();
    ngx_http_cycles_replay_forget();
}
