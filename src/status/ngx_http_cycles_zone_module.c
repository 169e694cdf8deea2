
/*
 * Copyright (C) nginx-cycles authors
 *
 * "cycles_zone": what all workers share besides the ledgers.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_counters.h"


#define NGX_HTTP_CYCLES_ZONE_SIZE  (1024 * 1024)


/* in the zone, in front of an area's contents */

typedef struct ngx_http_cycles_shared_area_s  ngx_http_cycles_shared_area_t;

struct ngx_http_cycles_shared_area_s {
    ngx_http_cycles_shared_area_t  *next;
    size_t                          size;
    size_t                          len;
    void                           *data;
    u_char                          name[1];
};


typedef struct {
    ngx_shm_zone_t                 *zone;
    size_t                          size;
    ngx_array_t                     areas;    /* ngx_http_cycles_area_t * */
    ngx_http_cycles_area_t         *counters;
    ngx_uint_t                      by_tenant;
} ngx_http_cycles_zone_conf_t;


static ngx_int_t ngx_http_cycles_zone_init(ngx_shm_zone_t *zone, void *data);
static ngx_int_t ngx_http_cycles_zone_place(ngx_shm_zone_t *zone,
    ngx_http_cycles_area_t *area);
static char *ngx_http_cycles_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void *ngx_http_cycles_zone_create_main_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_cycles_zone_init_process(ngx_cycle_t *cycle);
static void ngx_http_cycles_zone_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_cycles_zone_commands[] = {

    { ngx_string("cycles_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_cycles_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_cycles_zone_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_cycles_zone_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_cycles_zone_module = {
    NGX_MODULE_V1,
    &ngx_http_cycles_zone_module_ctx,      /* module context */
    ngx_http_cycles_zone_commands,         /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_cycles_zone_init_process,     /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_cycles_zone_exit_process,     /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_http_cycles_area_t *
ngx_http_cycles_zone_area(ngx_conf_t *cf, ngx_str_t *name, size_t size)
{
    ngx_uint_t                    i;
    ngx_http_cycles_area_t       *area, **ap;
    ngx_http_cycles_zone_conf_t  *zcf;

    static ngx_str_t  zone_name = ngx_string("ngx_http_cycles");

    zcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_zone_module);

    if (zcf->zone == NULL) {
        zcf->zone = ngx_shared_memory_add(cf, &zone_name,
                                          zcf->size ? zcf->size
                                          : NGX_HTTP_CYCLES_ZONE_SIZE,
                                          &ngx_http_cycles_zone_module);
        if (zcf->zone == NULL) {
            return NULL;
        }

        zcf->zone->init = ngx_http_cycles_zone_init;
        zcf->zone->data = zcf;
    }

    ap = zcf->areas.elts;

    for (i = 0; i < zcf->areas.nelts; i++) {

        if (ap[i]->name.len == name->len
            && ngx_strncmp(ap[i]->name.data, name->data, name->len) == 0)
        {
            return (ap[i]->size == size) ? ap[i] : NULL;
        }
    }

    area = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_area_t));
    if (area == NULL) {
        return NULL;
    }

    area->name = *name;
    area->size = size;

    ap = ngx_array_push(&zcf->areas);
    if (ap == NULL) {
        return NULL;
    }

    *ap = area;

    return area;
}


ngx_int_t
ngx_http_cycles_zone_count(ngx_conf_t *cf)
{
    size_t                        size;
    ngx_http_cycles_zone_conf_t  *zcf;

    static ngx_str_t  name = ngx_string("counters");

    zcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_zone_module);

    size = zcf->size ? zcf->size : NGX_HTTP_CYCLES_ZONE_SIZE;

    zcf->counters = ngx_http_cycles_zone_area(cf, &name,
                                         ngx_http_cycles_counters_size(size));

    return zcf->counters ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_cycles_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_uint_t                    i;
    ngx_http_cycles_area_t      **area;
    ngx_http_cycles_zone_conf_t  *zcf;

    zcf = zone->data;
    area = zcf->areas.elts;

    for (i = 0; i < zcf->areas.nelts; i++) {

        if (ngx_http_cycles_zone_place(zone, area[i]) != NGX_OK) {
            ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                          "\"cycles_zone\" of %uz bytes is too small: make it "
                          "%uz bytes larger at least", zone->shm.size,
                          area[i]->size);
            return NGX_ERROR;
        }
    }

    if (zcf->counters) {
        ngx_http_cycles_counters_init(zcf->counters->data, zone->shm.size,
                                      (ngx_slab_pool_t *) zone->shm.addr);
    }

    return NGX_OK;
}


/* slab->data is a list of what has been placed, by earlier cycles too */

static ngx_int_t
ngx_http_cycles_zone_place(ngx_shm_zone_t *zone, ngx_http_cycles_area_t *area)
{
    ngx_slab_pool_t                *pool;
    ngx_http_cycles_shared_area_t  *sa;

    pool = (ngx_slab_pool_t *) zone->shm.addr;

    for (sa = pool->data; sa; sa = sa->next) {

        if (sa->size == area->size && sa->len == area->name.len
            && ngx_memcmp(sa->name, area->name.data, sa->len) == 0)
        {
            area->data = sa->data;
            return NGX_OK;
        }
    }

    sa = ngx_slab_alloc(pool, offsetof(ngx_http_cycles_shared_area_t, name)
                              + area->name.len);
    if (sa == NULL) {
        return NGX_ERROR;
    }

    sa->data = ngx_slab_calloc(pool, area->size);

    if (sa->data == NULL) {
        ngx_slab_free(pool, sa);
        return NGX_ERROR;
    }

    sa->size = area->size;
    sa->len = area->name.len;
    ngx_memcpy(sa->name, area->name.data, sa->len);

    sa->next = pool->data;
    pool->data = sa;

    area->data = sa->data;

    return NGX_OK;
}


static char *
ngx_http_cycles_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_zone_conf_t *zcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    if (zcf->size) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[1]);

    if (size == NGX_ERROR || size < (ssize_t) (32 * ngx_pagesize)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\" in \"cycles_zone\": it must be "
                           "%uz bytes at least, as in \"cycles_zone 1m;\"",
                           &value[1], 32 * ngx_pagesize);
        return NGX_CONF_ERROR;
    }

    zcf->size = ngx_align(size, ngx_pagesize);

    if (cf->args->nelts == 2) {
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[2].data, "tenant_label") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"cycles_zone\": "
                           "there is \"tenant_label\" only, which has tenants "
                           "among the labels of metrics", &value[2]);
        return NGX_CONF_ERROR;
    }

    zcf->by_tenant = 1;

    return NGX_CONF_OK;
}


static void *
ngx_http_cycles_zone_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_cycles_zone_conf_t  *zcf;

    zcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_zone_conf_t));
    if (zcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&zcf->areas, cf->pool, 4,
                       sizeof(ngx_http_cycles_area_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return zcf;
}


static ngx_int_t
ngx_http_cycles_zone_init_process(ngx_cycle_t *cycle)
{
    ngx_http_cycles_zone_conf_t  *zcf;

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    zcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_cycles_zone_module);

    if (zcf && zcf->counters) {
        ngx_http_cycles_by_tenant = zcf->by_tenant;
        ngx_http_cycles_counters_claim(zcf->counters->data, cycle->log);
    }

    return NGX_OK;
}


static void
ngx_http_cycles_zone_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_cycles_counters_leave();
}
