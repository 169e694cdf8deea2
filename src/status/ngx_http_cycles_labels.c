
/*
 * Copyright (C) nginx-cycles authors
 *
 * Names and combinations of them that are counted.  They are looked for
 * without a lock, as nothing of them ever changes; who adds one has the lock
 * of the zone, and publishes it when it is complete: who finds a number finds
 * what it stands for, and who has read how many there are finds each of them.
 */


#include "ngx_http_cycles_counters.h"


#define NGX_HTTP_CYCLES_KEY          ((uint64_t) 1 << 63)

#define NGX_HTTP_CYCLES_NAME_MAX     128


/*
 * What this process has found last, which is often what is looked for next: it
 * has the same counters for all its life.
 */

typedef struct {
    ngx_http_cycles_name_t          *name;
    ngx_uint_t                       number;
} ngx_http_cycles_last_name_t;

typedef struct {
    uint64_t                         key;
    ngx_uint_t                       number;
} ngx_http_cycles_last_key_t;


static uint32_t ngx_http_cycles_hash(u_char *p, size_t n);
static ngx_uint_t ngx_http_cycles_name_find(ngx_http_cycles_namespace_t *ns,
    uint32_t hash, ngx_str_t *name, ngx_uint_t *slot);
static ngx_uint_t ngx_http_cycles_name_add(ngx_http_cycles_namespace_t *ns,
    uint32_t hash, ngx_str_t *name);
static uint64_t ngx_http_cycles_key(ngx_uint_t first, ngx_uint_t reason,
    ngx_http_cycles_labels_t *labels);
static ngx_uint_t ngx_http_cycles_key_find(ngx_http_cycles_series_t *series,
    uint64_t key, ngx_http_cycles_last_key_t *last);
static ngx_uint_t ngx_http_cycles_series_slot(
    ngx_http_cycles_series_t *series, uint64_t key);


static ngx_http_cycles_last_name_t
    ngx_http_cycles_last_names[NGX_HTTP_CYCLES_NAMES];
static ngx_http_cycles_last_key_t  ngx_http_cycles_last_request;
static ngx_http_cycles_last_key_t  ngx_http_cycles_last_usage;



ngx_uint_t
ngx_http_cycles_label(ngx_http_cycles_names_e kind, ngx_str_t *name,
    ngx_uint_t add)
{
    uint32_t                      hash;
    ngx_str_t                     s;
    ngx_uint_t                    number, slot;
    ngx_slab_pool_t              *pool;
    ngx_http_cycles_last_name_t  *last;
    ngx_http_cycles_namespace_t  *ns;

    if (name->len == 0) {
        return NGX_HTTP_CYCLES_NO_NAME;
    }

    if (ngx_http_cycles_counters == NULL) {
        return NGX_HTTP_CYCLES_OTHER_NAME;
    }

    s.data = name->data;
    s.len = ngx_min(name->len, NGX_HTTP_CYCLES_NAME_MAX);

    last = &ngx_http_cycles_last_names[kind];

    if (last->name && last->name->len == s.len
        && ngx_memcmp(last->name->data, s.data, s.len) == 0)
    {
        return last->number;
    }

    ns = &ngx_http_cycles_counters->names[kind];
    hash = ngx_http_cycles_hash(s.data, s.len);

    number = ngx_http_cycles_name_find(ns, hash, &s, &slot);

    if (number) {
        last->name = ns->names[number];
        last->number = number;
        return number;
    }

    if (!add) {
        return NGX_HTTP_CYCLES_OTHER_NAME;
    }

    if (ns->n < ns->max && ngx_http_cycles_counters_room()) {
        pool = ngx_http_cycles_counters->pool;

        ngx_shmtx_lock(&pool->mutex);

        number = ngx_http_cycles_name_add(ns, hash, &s);

        ngx_shmtx_unlock(&pool->mutex);
    }

    if (number == 0) {
        ngx_http_cycles_count(OVERFLOW);

        return NGX_HTTP_CYCLES_OTHER_NAME;
    }

    return number;
}


/* FNV-1a */

static uint32_t
ngx_http_cycles_hash(u_char *p, size_t n)
{
    uint32_t  hash;

    hash = 2166136261U;

    while (n--) {
        hash = (hash ^ *p++) * 16777619U;
    }

    return hash;
}


static ngx_uint_t
ngx_http_cycles_name_find(ngx_http_cycles_namespace_t *ns, uint32_t hash,
    ngx_str_t *name, ngx_uint_t *slot)
{
    ngx_uint_t               i, number;
    ngx_http_cycles_name_t  *n;

    for (i = hash & ns->mask; /* void */ ; i = (i + 1) & ns->mask) {
        number = ns->table[i];

        if (number == 0) {
            *slot = i;
            return 0;
        }

        n = ns->names[number];

        if (n->hash == hash && n->len == name->len
            && ngx_memcmp(n->data, name->data, n->len) == 0)
        {
            return number;
        }
    }
}


/* 0: there is no room */

static ngx_uint_t
ngx_http_cycles_name_add(ngx_http_cycles_namespace_t *ns, uint32_t hash,
    ngx_str_t *name)
{
    ngx_uint_t               number, slot;
    ngx_http_cycles_name_t  *n;

    number = ngx_http_cycles_name_find(ns, hash, name, &slot);

    if (number) {
        return number;
    }

    if (ns->n == ns->max) {
        return 0;
    }

    n = ngx_slab_alloc_locked(ngx_http_cycles_counters->pool,
                              offsetof(ngx_http_cycles_name_t, data)
                              + name->len);
    if (n == NULL) {
        return 0;
    }

    n->hash = hash;
    n->len = name->len;
    ngx_memcpy(n->data, name->data, name->len);

    number = ns->n;
    ns->names[number] = n;

    ngx_memory_barrier();

    ns->n = number + 1;

    ngx_memory_barrier();

    ns->table[slot] = number;

    return number;
}


void
ngx_http_cycles_name(ngx_http_cycles_names_e kind, ngx_uint_t number,
    ngx_str_t *name)
{
    ngx_http_cycles_name_t  *n;

    if (number <= NGX_HTTP_CYCLES_OTHER_NAME) {
        name->len = number ? sizeof("other") - 1 : 0;
        name->data = (u_char *) "other";
        return;
    }

    n = ngx_http_cycles_counters->names[kind].names[number];

    name->len = n->len;
    name->data = n->data;
}


static uint64_t
ngx_http_cycles_key(ngx_uint_t first, ngx_uint_t reason,
    ngx_http_cycles_labels_t *labels)
{
    return NGX_HTTP_CYCLES_KEY | first
           | (uint64_t) labels->provider << 8
           | (uint64_t) reason << 16
           | (uint64_t) labels->model << 32
           | (uint64_t) (ngx_http_cycles_by_tenant ? labels->tenant : 0) << 48;
}


void
ngx_http_cycles_key_read(uint64_t value, ngx_http_cycles_key_t *key)
{
    key->first = value & 0xff;
    key->provider = (value >> 8) & 0xff;
    key->reason = (value >> 16) & 0xffff;
    key->model = (value >> 32) & 0xffff;
    key->tenant = (value >> 48) & 0x7fff;
}


void
ngx_http_cycles_count_decision(ngx_uint_t verdict, ngx_uint_t reason,
    ngx_http_cycles_labels_t *labels)
{
    uint64_t    **page;
    ngx_uint_t    number;

    if (ngx_http_cycles_counters == NULL) {
        return;
    }

    number = ngx_http_cycles_key_find(&ngx_http_cycles_counters->requests,
                                 ngx_http_cycles_key(verdict, reason, labels),
                                 &ngx_http_cycles_last_request);

    page = &ngx_http_cycles_slice->requests[number
                                            / NGX_HTTP_CYCLES_PAGE_REQUESTS];
    if (*page == NULL) {
        *page = ngx_http_cycles_counters_alloc(NGX_HTTP_CYCLES_PAGE_REQUESTS
                                               * sizeof(uint64_t));
        if (*page == NULL) {
            return;
        }
    }

    (*page)[number % NGX_HTTP_CYCLES_PAGE_REQUESTS]++;
}


ngx_http_cycles_usage_t *
ngx_http_cycles_usage_of(ngx_http_cycles_labels_t *labels)
{
    ngx_uint_t                number;
    ngx_http_cycles_usage_t  *usages, **page;

    static ngx_http_cycles_usage_t  nobody;

    if (ngx_http_cycles_counters == NULL) {
        return &nobody;
    }

    number = ngx_http_cycles_key_find(&ngx_http_cycles_counters->usages,
                                 ngx_http_cycles_key(labels->unit, 0, labels),
                                 &ngx_http_cycles_last_usage);

    page = &ngx_http_cycles_slice->usages[number
                                          / NGX_HTTP_CYCLES_PAGE_USAGES];
    usages = *page;

    if (usages == NULL) {
        usages = ngx_http_cycles_counters_alloc(NGX_HTTP_CYCLES_PAGE_USAGES
                                            * sizeof(ngx_http_cycles_usage_t));
        if (usages == NULL) {
            return &nobody;
        }

        *page = usages;
    }

    return &usages[number % NGX_HTTP_CYCLES_PAGE_USAGES];
}


/* what has no room of its own is counted as another model's and tenant's */

static ngx_uint_t
ngx_http_cycles_key_find(ngx_http_cycles_series_t *series, uint64_t key,
    ngx_http_cycles_last_key_t *last)
{
    ngx_uint_t                number;
    ngx_http_cycles_key_t     parts;
    ngx_http_cycles_labels_t  labels;

    if (last->key == key) {
        return last->number;
    }

    number = ngx_http_cycles_series_find(series, key,
                                         series->max - series->max / 8);
    if (number) {
        last->key = key;
        last->number = number;
        return number;
    }

    ngx_http_cycles_count(OVERFLOW);

    ngx_http_cycles_key_read(key, &parts);

    labels.provider = parts.provider;
    labels.model = NGX_HTTP_CYCLES_OTHER_NAME;
    labels.tenant = NGX_HTTP_CYCLES_OTHER_NAME;

    return ngx_http_cycles_series_find(series,
                                       ngx_http_cycles_key(parts.first,
                                                           parts.reason,
                                                           &labels),
                                       series->max);
}


ngx_uint_t
ngx_http_cycles_series_find(ngx_http_cycles_series_t *series, uint64_t key,
    ngx_uint_t max)
{
    ngx_uint_t        slot, number;
    ngx_slab_pool_t  *pool;

    slot = ngx_http_cycles_series_slot(series, key);
    number = series->table[slot];

    if (number || series->n >= max) {
        return number;
    }

    pool = ngx_http_cycles_counters->pool;

    ngx_shmtx_lock(&pool->mutex);

    slot = ngx_http_cycles_series_slot(series, key);
    number = series->table[slot];

    if (number == 0 && series->n < max) {
        number = series->n;
        series->keys[number] = key;

        ngx_memory_barrier();

        series->n = number + 1;

        ngx_memory_barrier();

        series->table[slot] = number;
    }

    ngx_shmtx_unlock(&pool->mutex);

    return number;
}


/* where the key is, or is to be */

static ngx_uint_t
ngx_http_cycles_series_slot(ngx_http_cycles_series_t *series, uint64_t key)
{
    ngx_uint_t  i;

    i = (key * 0x9e3779b97f4a7c15) >> 40;

    for (i &= series->mask;
         series->table[i] && series->keys[series->table[i]] != key;
         i = (i + 1) & series->mask)
    {
        /* void */
    }

    return i;
}
