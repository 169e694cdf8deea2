
/*
 * Copyright (C) nginx-cycles authors
 *
 * The directive "cycles_ledger", and the life of ledgers in the processes of
 * nginx.  The master opens a ledger and keeps it open over all reloads; the
 * workers inherit it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_ledger.h"
#include "../gateway/ngx_http_cycles_pieces.h"


#define NGX_HTTP_CYCLES_LEDGER_ZONE      (32 * 1024 * 1024)
#define NGX_HTTP_CYCLES_LEDGER_MAX_FILE  (1024 * 1024 * 1024)

#define NGX_HTTP_CYCLES_LEDGER_MIN_SEGMENT    (1024 * 1024)
#define NGX_HTTP_CYCLES_LEDGER_MAX_SEGMENT    (1024 * 1024 * 1024)

/* in seconds: 30 days, and from one day to ten years */
#define NGX_HTTP_CYCLES_LEDGER_RETENTION      (30 * 86400)
#define NGX_HTTP_CYCLES_LEDGER_MIN_RETENTION  86400
#define NGX_HTTP_CYCLES_LEDGER_MAX_RETENTION  (3650 * 86400)


/* what the master has open, whatever the configuration says by now */

typedef struct {
    dev_t                            dev;
    ino_t                            ino;
    cycles_ledger_t                 *core;
} ngx_http_cycles_open_ledger_t;


static char *ngx_http_cycles_ledger(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_cycles_ledger_name_ok(ngx_str_t *name);
static char *ngx_http_cycles_ledger_option(ngx_conf_t *cf,
    ngx_http_cycles_ledger_t *l, ngx_str_t *option);
static char *ngx_http_cycles_ledger_path(ngx_conf_t *cf,
    ngx_http_cycles_ledger_t *l, ngx_str_t *path);
static char *ngx_http_cycles_ledger_budgets(ngx_conf_t *cf,
    ngx_http_cycles_ledger_t *l);
static char *ngx_http_cycles_ledger_read(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *text);
static void ngx_http_cycles_ledger_cleanup(void *data);
static char *ngx_http_cycles_ledger_zone(ngx_conf_t *cf,
    ngx_http_cycles_ledger_t *l);
static void *ngx_http_cycles_ledger_create_main_conf(ngx_conf_t *cf);

static ngx_int_t ngx_http_cycles_ledger_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_cycles_ledger_open(ngx_http_cycles_ledger_t *l,
    ngx_log_t *log);
static void ngx_http_cycles_ledger_log(void *data,
    cycles_ledger_level_t level, const char *text);
static ngx_int_t ngx_http_cycles_ledger_init_process(ngx_cycle_t *cycle);
static void ngx_http_cycles_ledger_exit_process(ngx_cycle_t *cycle);
static void ngx_http_cycles_ledger_exit_master(ngx_cycle_t *cycle);
static void ngx_http_cycles_ledger_close(void);


static ngx_command_t  ngx_http_cycles_ledger_commands[] = {

    { ngx_string("cycles_ledger"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_cycles_ledger,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_cycles_ledger_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_cycles_ledger_create_main_conf,   /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_cycles_ledger_module = {
    NGX_MODULE_V1,
    &ngx_http_cycles_ledger_module_ctx,    /* module context */
    ngx_http_cycles_ledger_commands,       /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_cycles_ledger_init_process,   /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_cycles_ledger_exit_process,   /* exit process */
    ngx_http_cycles_ledger_exit_master,    /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_cycles_open_ledger_t  *ngx_http_cycles_open_ledgers;
static ngx_uint_t                      ngx_http_cycles_nopen_ledgers;


static char *
ngx_http_cycles_ledger(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_ledger_main_conf_t *lmcf = conf;

    char                       *rv;
    ngx_str_t                  *value;
    ngx_uint_t                  i;
    ngx_http_cycles_ledger_t   *l, **ledger;

    value = cf->args->elts;

    if (ngx_http_cycles_ledger_name_ok(&value[1]) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" in \"cycles_ledger\": it must "
                           "have 1 to 64 letters, digits, \"_\", \"-\" and "
                           "\".\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_cycles_ledger_find(cf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate \"cycles_ledger %V\": give each ledger "
                           "a name of its own", &value[1]);
        return NGX_CONF_ERROR;
    }

    l = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_ledger_t));
    if (l == NULL) {
        return NGX_CONF_ERROR;
    }

    l->name = value[1];
    l->zone = NGX_HTTP_CYCLES_LEDGER_ZONE;
    l->sync_mode = NGX_HTTP_CYCLES_LEDGER_INTERVAL;
    l->retention = NGX_HTTP_CYCLES_LEDGER_RETENTION;

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_cycles_ledger_option(cf, l, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (l->path == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cycles_ledger %V\" needs a \"path=DIR\"",
                           &l->name);
        return NGX_CONF_ERROR;
    }

#if (NGX_THREADS)

    l->threads = ngx_thread_pool_add(cf, NULL);
    if (l->threads == NULL) {
        return NGX_CONF_ERROR;
    }

#else

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                       "nginx was built without threads: the workers wait "
                       "for the disk when ledger \"%V\" is synced", &l->name);

#endif

    ledger = ngx_array_push(&lmcf->ledgers);
    if (ledger == NULL) {
        return NGX_CONF_ERROR;
    }

    *ledger = l;

    rv = ngx_http_cycles_ledger_budgets(cf, l);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_cycles_ledger_zone(cf, l);
}


static ngx_int_t
ngx_http_cycles_ledger_name_ok(ngx_str_t *name)
{
    if (name->len > 64
        || cycles_subject_value_ok(name->data, name->len) == 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static char *
ngx_http_cycles_ledger_option(ngx_conf_t *cf, ngx_http_cycles_ledger_t *l,
    ngx_str_t *option)
{
    ssize_t    size;
    ngx_str_t  value;

    if (ngx_strncmp(option->data, "path=", 5) == 0) {
        value.data = option->data + 5;
        value.len = option->len - 5;

        return ngx_http_cycles_ledger_path(cf, l, &value);
    }

    if (ngx_strncmp(option->data, "zone=", 5) == 0) {
        value.data = option->data + 5;
        value.len = option->len - 5;

        size = ngx_parse_size(&value);

        if (size == NGX_ERROR || size < CYCLES_LEDGER_MIN_ZONE) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid zone size \"%V\" in \"cycles_ledger "
                               "%V\": it must be a number with \"k\" or "
                               "\"m\" behind it, 1m at least", &value,
                               &l->name);
            return NGX_CONF_ERROR;
        }

        l->zone = ngx_align(size, ngx_pagesize);

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(option->data, "budgets=", 8) == 0) {
        l->budgets_file.data = option->data + 8;
        l->budgets_file.len = option->len - 8;

        if (l->budgets_file.len == 0
            || ngx_conf_full_name(cf->cycle, &l->budgets_file, 1) != NGX_OK)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"budgets=\" in \"cycles_ledger %V\": "
                               "give one file", &l->name);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strcmp(option->data, "sync=interval") == 0) {
        l->sync_mode = NGX_HTTP_CYCLES_LEDGER_INTERVAL;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(option->data, "sync=always") == 0) {
        l->sync_mode = NGX_HTTP_CYCLES_LEDGER_ALWAYS;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(option->data, "segment=", 8) == 0) {
        value.data = option->data + 8;
        value.len = option->len - 8;

        size = ngx_parse_size(&value);

        if (size == NGX_ERROR || size < NGX_HTTP_CYCLES_LEDGER_MIN_SEGMENT
            || size > NGX_HTTP_CYCLES_LEDGER_MAX_SEGMENT)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid segment size \"%V\" in "
                               "\"cycles_ledger %V\": it must be from 1m to "
                               "1024m", &value, &l->name);
            return NGX_CONF_ERROR;
        }

        l->segment = size;

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(option->data, "retention=", 10) == 0) {
        value.data = option->data + 10;
        value.len = option->len - 10;

        l->retention = ngx_parse_time(&value, 1);

        if (l->retention < NGX_HTTP_CYCLES_LEDGER_MIN_RETENTION
            || l->retention > NGX_HTTP_CYCLES_LEDGER_MAX_RETENTION)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid retention \"%V\" in \"cycles_ledger "
                               "%V\": it must be a time from 1d to 3650d",
                               &value, &l->name);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"cycles_ledger %V\": "
                       "there are path=DIR, zone=SIZE, budgets=FILE, "
                       "sync=interval|always, segment=SIZE and "
                       "retention=TIME", option, &l->name);
    return NGX_CONF_ERROR;
}


/* nginx itself creates the directory, for the user of the workers only */

static char *
ngx_http_cycles_ledger_path(ngx_conf_t *cf, ngx_http_cycles_ledger_t *l,
    ngx_str_t *path)
{
    ngx_uint_t                           i;
    ngx_http_cycles_ledger_t           **ledger;
    ngx_http_cycles_ledger_main_conf_t  *lmcf;

    while (path->len > 1 && path->data[path->len - 1] == '/') {
        path->data[--path->len] = '\0';
    }

    if (path->len == 0 || l->path) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"cycles_ledger %V\" must have one \"path=DIR\"",
                           &l->name);
        return NGX_CONF_ERROR;
    }

    l->path = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
    if (l->path == NULL) {
        return NGX_CONF_ERROR;
    }

    l->path->name = *path;
    l->path->conf_file = cf->conf_file->file.name.data;
    l->path->line = cf->conf_file->line;

    if (ngx_conf_full_name(cf->cycle, &l->path->name, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_cycles_ledger_module);
    ledger = lmcf->ledgers.elts;

    for (i = 0; i < lmcf->ledgers.nelts; i++) {

        if (ledger[i]->path->name.len == l->path->name.len
            && ngx_strncmp(ledger[i]->path->name.data, l->path->name.data,
                           l->path->name.len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"cycles_ledger %V\" has the path \"%V\" of "
                               "\"cycles_ledger %V\": give each ledger a "
                               "directory of its own", &l->name,
                               &l->path->name, &ledger[i]->name);
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_add_path(cf, &l->path) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_ledger_budgets(ngx_conf_t *cf, ngx_http_cycles_ledger_t *l)
{
    char                 err[CYCLES_LEDGER_ERROR_LEN], *rv;
    ngx_str_t            text;
    ngx_pool_cleanup_t  *cln;

    if (l->budgets_file.len == 0) {
        return NGX_CONF_OK;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_cycles_ledger_read(cf, &l->budgets_file, &text);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    l->budgets = cycles_budgets_parse((char *) text.data, text.len, err,
                                      sizeof(err));
    ngx_free(text.data);

    if (l->budgets == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "budgets file \"%V\" of \"cycles_ledger %V\": %s",
                           &l->budgets_file, &l->name, err);
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_cycles_ledger_cleanup;
    cln->data = l;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_ledger_read(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    char        *rv;
    ssize_t      n;
    ngx_file_t   file;

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *name;
    file.log = cf->log;
    file.fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed, the budgets file "
                           "of \"cycles_ledger\": give a file that nginx can "
                           "read", name);
        return NGX_CONF_ERROR;
    }

    rv = NGX_CONF_ERROR;
    text->data = NULL;

    if (ngx_fd_info(file.fd, &file.info) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", name);
        goto done;
    }

    if (ngx_file_size(&file.info) > NGX_HTTP_CYCLES_LEDGER_MAX_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "budgets file \"%V\" is too large", name);
        goto done;
    }

    text->len = (size_t) ngx_file_size(&file.info);
    text->data = ngx_alloc(text->len + 1, cf->log);

    if (text->data == NULL) {
        goto done;
    }

    n = ngx_read_file(&file, text->data, text->len, 0);

    if (n != (ssize_t) text->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "budgets file \"%V\" could not be read whole",
                           name);
        ngx_free(text->data);
        goto done;
    }

    rv = NGX_CONF_OK;

done:

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    return rv;
}


static void
ngx_http_cycles_ledger_cleanup(void *data)
{
    ngx_http_cycles_ledger_t  *l = data;

    if (l->budgets) {
        cycles_budgets_free(l->budgets);
        l->budgets = NULL;
    }
}


/*
 * The smallest shared zone that there is.  Nothing is kept in there: its init
 * handler is the one place where a configuration that can't be put into
 * effect still leaves a running nginx as it was.
 */

static char *
ngx_http_cycles_ledger_zone(ngx_conf_t *cf, ngx_http_cycles_ledger_t *l)
{
    ngx_str_t        name;
    ngx_shm_zone_t  *zone;

    name.len = sizeof("cycles_ledger:") - 1 + l->name.len;
    name.data = ngx_pnalloc(cf->pool, name.len);

    if (name.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_sprintf(name.data, "cycles_ledger:%V", &l->name);

    zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize,
                                 &ngx_http_cycles_ledger_module);
    if (zone == NULL) {
        return NGX_CONF_ERROR;
    }

    zone->init = ngx_http_cycles_ledger_init_zone;
    zone->data = l;

    return NGX_CONF_OK;
}


static void *
ngx_http_cycles_ledger_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_cycles_ledger_main_conf_t  *lmcf;

    lmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_ledger_main_conf_t));
    if (lmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&lmcf->ledgers, cf->pool, 1,
                       sizeof(ngx_http_cycles_ledger_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return lmcf;
}


void *
ngx_http_cycles_ledger_find(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                           i;
    ngx_http_cycles_ledger_t           **ledger;
    ngx_http_cycles_ledger_main_conf_t  *lmcf;

    lmcf = ngx_http_conf_get_module_main_conf(cf,
                                              ngx_http_cycles_ledger_module);
    ledger = lmcf->ledgers.elts;

    for (i = 0; i < lmcf->ledgers.nelts; i++) {

        if (ledger[i]->name.len == name->len
            && ngx_strncmp(ledger[i]->name.data, name->data, name->len) == 0)
        {
            return ledger[i];
        }
    }

    return NULL;
}


cycles_ledger_t *
ngx_http_cycles_ledger_core(void *data)
{
    ngx_http_cycles_ledger_t  *l = data;

    return l->core;
}


/* a test of the configuration leaves the ledger to the nginx that runs */

static ngx_int_t
ngx_http_cycles_ledger_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    char                       err[CYCLES_LEDGER_ERROR_LEN];
    uint64_t                   record;
    ngx_log_t                 *log;
    ngx_http_cycles_ledger_t  *l;

    if (ngx_test_config) {
        return NGX_OK;
    }

    l = shm_zone->data;
    log = shm_zone->shm.log;

    if (ngx_http_cycles_ledger_open(l, log) != NGX_OK) {
        return NGX_ERROR;
    }

    /* what a process that died may have left over */

    if (cycles_ledger_close_tenants(l->core, ngx_http_cycles_ledger_now(),
                                    &record)
        != 0)
    {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "tenants of ledger \"%V\" that are closed still have "
                      "open budgets, reservations or keys: %s", &l->name,
                      cycles_ledger_trouble(l->core));
    }

    if (l->budgets
        && cycles_ledger_apply(l->core, l->budgets,
                               ngx_http_cycles_ledger_now(), err, sizeof(err))
           != 0)
    {
        ngx_log_error(NGX_LOG_EMERG, log, 0,
                      "budgets file \"%V\" could not be applied to ledger "
                      "\"%V\": %s", &l->budgets_file, &l->name, err);
        return NGX_ERROR;
    }

    ngx_http_cycles_ledger_cleanup(l);

    cycles_ledger_zones(l->core);

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_ledger_open(ngx_http_cycles_ledger_t *l, ngx_log_t *log)
{
    char                            err[CYCLES_LEDGER_ERROR_LEN];
    ngx_uint_t                      i;
    ngx_file_info_t                 fi;
    cycles_ledger_conf_t            conf;
    cycles_ledger_stat_t            numbers;
    ngx_http_cycles_open_ledger_t  *open;

    if (ngx_file_info(l->path->name.data, &fi) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
                      ngx_file_info_n " \"%V\" failed", &l->path->name);
        return NGX_ERROR;
    }

    open = ngx_http_cycles_open_ledgers;

    for (i = 0; i < ngx_http_cycles_nopen_ledgers; i++) {

        if (open[i].dev != fi.st_dev || open[i].ino != fi.st_ino) {
            continue;
        }

        l->core = open[i].core;

        cycles_ledger_stat(l->core, &numbers);

        if (numbers.zone_size && numbers.zone_size != l->zone) {
            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "zone of ledger \"%V\" keeps its size of %uL bytes "
                          "until nginx is restarted", &l->name,
                          numbers.zone_size);
        }

        return NGX_OK;
    }

    open = ngx_alloc((i + 1) * sizeof(ngx_http_cycles_open_ledger_t), log);
    if (open == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&conf, sizeof(cycles_ledger_conf_t));

    conf.path = (char *) l->path->name.data;
    conf.zone_size = l->zone;
    conf.segment_size = l->segment;
    conf.upgrade = (ngx_inherited && ngx_is_init_cycle(ngx_cycle));
    conf.log = ngx_http_cycles_ledger_log;

    l->core = cycles_ledger_open(&conf, err, sizeof(err));

    if (l->core == NULL) {
        ngx_log_error(NGX_LOG_EMERG, log, 0, "%s", err);
        ngx_free(open);
        return NGX_ERROR;
    }

    if (i) {
        ngx_memcpy(open, ngx_http_cycles_open_ledgers,
                   i * sizeof(ngx_http_cycles_open_ledger_t));
        ngx_free(ngx_http_cycles_open_ledgers);
    }

    open[i].dev = fi.st_dev;
    open[i].ino = fi.st_ino;
    open[i].core = l->core;

    ngx_http_cycles_open_ledgers = open;
    ngx_http_cycles_nopen_ledgers = i + 1;

    return NGX_OK;
}


static void
ngx_http_cycles_ledger_log(void *data, cycles_ledger_level_t level,
    const char *text)
{
    static ngx_uint_t  levels[] = {
        NGX_LOG_NOTICE, NGX_LOG_WARN, NGX_LOG_ERR, NGX_LOG_ALERT
    };

    ngx_log_error(levels[level], ngx_cycle->log, 0, "cycles: %s", text);
}


int64_t
ngx_http_cycles_ledger_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}


/* cache managers and other helpers have no use for a ledger */

static ngx_int_t
ngx_http_cycles_ledger_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                           i;
    ngx_http_cycles_ledger_t           **ledger;
    ngx_http_cycles_ledger_main_conf_t  *lmcf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    lmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_cycles_ledger_module);
    if (lmcf == NULL) {
        return NGX_OK;
    }

    if (lmcf->ledgers.nelts) {
        ngx_http_cycles_keep_memory();
    }

    ledger = lmcf->ledgers.elts;

    for (i = 0; i < lmcf->ledgers.nelts; i++) {

        if (ledger[i]->core == NULL) {
            continue;
        }

        cycles_ledger_announce(ledger[i]->core,
                               (ngx_process == NGX_PROCESS_WORKER)
                               ? ngx_parent : ngx_pid);

        if (ngx_http_cycles_ledger_init_authority(ledger[i], cycle)
            != NGX_OK
            || ngx_http_cycles_ledger_init_fold(ledger[i], cycle) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* the last word to the disk, so that a clean stop loses nothing at all */

static void
ngx_http_cycles_ledger_exit_process(ngx_cycle_t *cycle)
{
    ngx_int_t                            rc;
    ngx_uint_t                           i;
    ngx_http_cycles_ledger_t           **ledger;
    ngx_http_cycles_ledger_main_conf_t  *lmcf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return;
    }

    lmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_cycles_ledger_module);
    if (lmcf == NULL) {
        return;
    }

    ledger = lmcf->ledgers.elts;

    for (i = 0; i < lmcf->ledgers.nelts; i++) {

        if (ledger[i]->core == NULL) {
            continue;
        }

        rc = cycles_ledger_sync(ledger[i]->core);

        if (rc) {
            ngx_log_error(NGX_LOG_ALERT, cycle->log, rc,
                          "ledger \"%V\" could not be synced",
                          &ledger[i]->name);
        }
    }

    ngx_http_cycles_ledger_close();
}


static void
ngx_http_cycles_ledger_exit_master(ngx_cycle_t *cycle)
{
    ngx_http_cycles_ledger_close();
}


static void
ngx_http_cycles_ledger_close(void)
{
    ngx_uint_t  i;

    for (i = 0; i < ngx_http_cycles_nopen_ledgers; i++) {
        cycles_ledger_close(ngx_http_cycles_open_ledgers[i].core);
    }

    if (ngx_http_cycles_open_ledgers) {
        ngx_free(ngx_http_cycles_open_ledgers);
    }

    ngx_http_cycles_open_ledgers = NULL;
    ngx_http_cycles_nopen_ledgers = 0;
}
