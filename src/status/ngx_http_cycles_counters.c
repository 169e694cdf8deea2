
/*
 * Copyright (C) nginx-cycles authors
 *
 * A slice belongs to a process, not to the number of a worker: two workers of
 * one number live side by side during a reload.  That of one that has gone is
 * taken over with all it has counted.
 */


#include "ngx_http_cycles_counters.h"


/* one in so many pages of the zone is left for what a reload may ask for */
#define NGX_HTTP_CYCLES_RESERVE  8


static ngx_http_cycles_slice_t *ngx_http_cycles_slice_take(
    ngx_http_cycles_counters_t *all);
static u_char *ngx_http_cycles_series_init(ngx_http_cycles_series_t *series,
    u_char *p, ngx_uint_t max);
static ngx_uint_t ngx_http_cycles_table_size(ngx_uint_t max);
static void ngx_http_cycles_no_room(ngx_log_t *log);
static ngx_uint_t ngx_http_cycles_room(size_t zone, size_t each,
    ngx_uint_t max);


/* of processes that have no zone, or no room in it */

static ngx_http_cycles_slice_t  ngx_http_cycles_no_slice;

ngx_http_cycles_slice_t     *ngx_http_cycles_slice =
                                 &ngx_http_cycles_no_slice;
ngx_http_cycles_counters_t  *ngx_http_cycles_counters;

static uint64_t              ngx_http_cycles_stopped;    /* 0: it goes on */
ngx_uint_t                   ngx_http_cycles_by_tenant;


/* in ns: from what the ledger takes to what a server may */

static const uint64_t  ngx_http_cycles_time_bounds[NGX_HTTP_CYCLES_BUCKETS] = {
    2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000, 10000000, 25000000, 50000000,
    100000000, 250000000, 500000000, 1000000000, 2500000000, 10000000000
};


/* in 1/1000000: the actual amount as a part of the estimate */

#define NGX_HTTP_CYCLES_RATIOS  12

static const uint64_t  ngx_http_cycles_ratio_bounds[NGX_HTTP_CYCLES_RATIOS] = {
    10000, 50000, 100000, 250000, 500000, 750000, 900000, 1000000, 1100000,
    1250000, 1500000, 2000000
};


size_t
ngx_http_cycles_counters_size(size_t zone)
{
    size_t      size;
    ngx_uint_t  i, max;

    size = ngx_align(sizeof(ngx_http_cycles_counters_t), 64);

    for (i = 0; i < NGX_HTTP_CYCLES_NAMES; i++) {
        max = ngx_http_cycles_room(zone, 4096, 16384);
        size += max * sizeof(ngx_http_cycles_name_t *)
                + ngx_http_cycles_table_size(max) * sizeof(uint32_t);
    }

    max = ngx_http_cycles_room(zone, 1024, NGX_HTTP_CYCLES_MAX_REQUESTS);
    size += max * sizeof(uint64_t)
            + ngx_http_cycles_table_size(max) * sizeof(uint32_t);

    max = ngx_http_cycles_room(zone, 4096, NGX_HTTP_CYCLES_MAX_USAGES);
    size += max * (sizeof(uint64_t) + sizeof(uint64_t)
                   + sizeof(ngx_http_cycles_spent_t *))
            + 2 * ngx_http_cycles_table_size(max) * sizeof(uint32_t);

    return ngx_align(size, 64);
}


/* of the zone: so many bytes for each */

static ngx_uint_t
ngx_http_cycles_room(size_t zone, size_t each, ngx_uint_t max)
{
    ngx_uint_t  n;

    n = zone / each;

    return ngx_min(ngx_max(n, 32), max);
}


void
ngx_http_cycles_counters_init(ngx_http_cycles_counters_t *all, size_t zone,
    ngx_slab_pool_t *pool)
{
    u_char                       *p;
    ngx_uint_t                    i, max;
    struct timeval                tv;
    ngx_http_cycles_namespace_t  *ns;

    if (all->pool) {
        return;
    }

    p = (u_char *) all + ngx_align(sizeof(ngx_http_cycles_counters_t), 64);

    max = ngx_http_cycles_room(zone, 1024, NGX_HTTP_CYCLES_MAX_REQUESTS);
    p = ngx_http_cycles_series_init(&all->requests, p, max);

    max = ngx_http_cycles_room(zone, 4096, NGX_HTTP_CYCLES_MAX_USAGES);
    p = ngx_http_cycles_series_init(&all->usages, p, max);
    p = ngx_http_cycles_series_init(&all->spends, p, max);

    all->spent = (ngx_http_cycles_spent_t **) p;
    p += max * sizeof(ngx_http_cycles_spent_t *);

    for (i = 0; i < NGX_HTTP_CYCLES_NAMES; i++) {
        ns = &all->names[i];

        ns->n = NGX_HTTP_CYCLES_OTHER_NAME + 1;
        ns->max = ngx_http_cycles_room(zone, 4096, 16384);
        ns->names = (ngx_http_cycles_name_t **) p;
        p += ns->max * sizeof(ngx_http_cycles_name_t *);

        ns->mask = ngx_http_cycles_table_size(ns->max) - 1;
        ns->table = (uint32_t *) p;
        p += (ns->mask + 1) * sizeof(uint32_t);
    }

    ngx_gettimeofday(&tv);

    all->since = (uint64_t) tv.tv_sec * 1000 + tv.tv_usec / 1000;
    all->pool = pool;

    /* that there is no room is told once, and not for each request */

    pool->log_nomem = 0;
}


static u_char *
ngx_http_cycles_series_init(ngx_http_cycles_series_t *series, u_char *p,
    ngx_uint_t max)
{
    series->n = 1;
    series->max = max;
    series->keys = (uint64_t *) p;
    p += max * sizeof(uint64_t);

    series->mask = ngx_http_cycles_table_size(max) - 1;
    series->table = (uint32_t *) p;
    p += (series->mask + 1) * sizeof(uint32_t);

    return p;
}


/* a power of two, and twice as many at least; even, so what follows aligns */

static ngx_uint_t
ngx_http_cycles_table_size(ngx_uint_t max)
{
    ngx_uint_t  size;

    for (size = 64; size < 2 * max; size *= 2) { /* void */ }

    return size;
}


void
ngx_http_cycles_counters_claim(ngx_http_cycles_counters_t *all,
    ngx_log_t *log)
{
    ngx_uint_t                 i;
    ngx_http_cycles_slice_t   *slice;
    ngx_http_cycles_stream_t  *page;

    ngx_http_cycles_counters = all;

    ngx_shmtx_lock(&all->pool->mutex);

    slice = ngx_http_cycles_slice_take(all);

    if (slice) {
        slice->pid = ngx_pid;
    }

    ngx_shmtx_unlock(&all->pool->mutex);

    if (slice == NULL) {
        ngx_http_cycles_no_room(log);
        return;
    }

    /* what the one before has left when it was killed */

    ngx_memzero(slice->gauges, sizeof(slice->gauges));

    for (i = 0;
         i < NGX_HTTP_CYCLES_MAX_STREAMS / NGX_HTTP_CYCLES_PAGE_STREAMS;
         i++)
    {
        page = slice->streams[i];

        if (page) {
            ngx_memzero(page, NGX_HTTP_CYCLES_PAGE_STREAMS
                              * sizeof(ngx_http_cycles_stream_t));
        }
    }

    ngx_http_cycles_slice = slice;
}


/* one that is ours already is that of a dead worker, whose pid we have got */

static ngx_http_cycles_slice_t *
ngx_http_cycles_slice_take(ngx_http_cycles_counters_t *all)
{
    ngx_uint_t                i;
    ngx_http_cycles_slice_t  *slice;

    for (i = 0; i < all->nslices; i++) {
        slice = all->slices[i];

        if (slice->pid == ngx_pid || !ngx_http_cycles_slice_lives(slice)) {
            return slice;
        }
    }

    if (all->nslices == NGX_HTTP_CYCLES_SLICES) {
        return NULL;
    }

    /* a page of memory: no other slice shares a cache line with it */

    slice = ngx_slab_calloc_locked(all->pool, sizeof(ngx_http_cycles_slice_t));

    if (slice) {
        all->slices[all->nslices] = slice;
        ngx_memory_barrier();
        all->nslices++;
    }

    return slice;
}


ngx_uint_t
ngx_http_cycles_slice_lives(ngx_http_cycles_slice_t *slice)
{
    ngx_pid_t  pid;

    pid = slice->pid;

    return pid && (pid == ngx_pid || kill(pid, 0) == 0 || ngx_errno != ESRCH);
}


void
ngx_http_cycles_counters_leave(void)
{
    ngx_http_cycles_slice->pid = 0;
    ngx_http_cycles_slice = &ngx_http_cycles_no_slice;
    ngx_http_cycles_counters = NULL;
}


void *
ngx_http_cycles_counters_alloc(size_t n)
{
    void             *p;
    ngx_slab_pool_t  *pool;

    p = NULL;

    if (ngx_http_cycles_counters_room()) {
        pool = ngx_http_cycles_counters->pool;

        ngx_shmtx_lock(&pool->mutex);

        if (ngx_http_cycles_counters_room()) {
            p = ngx_slab_calloc_locked(pool, n);
        }

        ngx_shmtx_unlock(&pool->mutex);
    }

    if (p == NULL) {
        ngx_http_cycles_no_room(ngx_cycle->log);
    }

    return p;
}


ngx_uint_t
ngx_http_cycles_counters_room(void)
{
    ngx_slab_pool_t  *pool;

    if (ngx_http_cycles_slice == &ngx_http_cycles_no_slice) {
        return 0;
    }

    pool = ngx_http_cycles_counters->pool;

    return pool->pfree > (ngx_uint_t) (pool->last - pool->pages)
                         / NGX_HTTP_CYCLES_RESERVE;
}


static void
ngx_http_cycles_no_room(ngx_log_t *log)
{
    static ngx_uint_t  told;

    if (!told) {
        told = 1;

        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "\"cycles_zone\" has no room for the counters of this "
                      "worker: make it larger, meanwhile they are too low");
    }
}


const uint64_t *
ngx_http_cycles_bounds(ngx_http_cycles_histogram_e which, ngx_uint_t *n)
{
    if (which == NGX_HTTP_CYCLES_H_RATIO) {
        *n = NGX_HTTP_CYCLES_RATIOS;
        return ngx_http_cycles_ratio_bounds;
    }

    *n = NGX_HTTP_CYCLES_BUCKETS;
    return ngx_http_cycles_time_bounds;
}


void
ngx_http_cycles_observe(ngx_http_cycles_histogram_e which, uint64_t value)
{
    ngx_uint_t                    i, n;
    const uint64_t               *bounds;
    ngx_http_cycles_histogram_t  *h;

    h = &ngx_http_cycles_slice->histograms[which];
    bounds = ngx_http_cycles_bounds(which, &n);

    for (i = 0; i < n && value > bounds[i]; i++) { /* void */ }

    h->buckets[i]++;
    h->sum += value;
}


uint64_t
ngx_http_cycles_clock(void)
{
    struct timespec  ts;

    if (ngx_http_cycles_stopped) {
        return ngx_http_cycles_stopped;
    }

    if (clock_gettime(CLOCK_MONOTONIC, &ts) == -1) {
        return 0;
    }

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


void
ngx_http_cycles_clock_stop(void)
{
    ngx_http_cycles_stopped = ngx_http_cycles_clock();
}


void
ngx_http_cycles_clock_go_on(void)
{
    ngx_http_cycles_stopped = 0;
}
