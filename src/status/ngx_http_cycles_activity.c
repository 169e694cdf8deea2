
/*
 * Copyright (C) nginx-cycles authors
 *
 * What goes on: requests that have a reservation, the last denials, and what
 * was spent in the last hour and day.
 */


#include "ngx_http_cycles_counters.h"


#define NGX_HTTP_CYCLES_TEN_MINUTES  600000
#define NGX_HTTP_CYCLES_HOUR         3600000


static void ngx_http_cycles_spend_by(ngx_http_cycles_names_e kind,
    ngx_uint_t name, ngx_uint_t unit, uint64_t amount);
static void ngx_http_cycles_spend_in(ngx_http_cycles_spent_t *spent,
    ngx_uint_t n, uint64_t number, uint64_t amount);
static uint64_t ngx_http_cycles_spent_sum(ngx_http_cycles_spent_t *spent,
    ngx_uint_t n, uint64_t now, uint64_t length);


/* of this worker's slice: those that are free again, and the first unused */

static uint16_t    ngx_http_cycles_free_streams[NGX_HTTP_CYCLES_MAX_STREAMS];
static ngx_uint_t  ngx_http_cycles_nfree_streams;
static ngx_uint_t  ngx_http_cycles_nstreams;


ngx_http_cycles_stream_t *
ngx_http_cycles_stream_begin(void)
{
    ngx_uint_t                  number;
    ngx_http_cycles_stream_t  **page;

    if (ngx_http_cycles_nfree_streams) {
        number = ngx_http_cycles_free_streams[--ngx_http_cycles_nfree_streams];

    } else if (ngx_http_cycles_nstreams < NGX_HTTP_CYCLES_MAX_STREAMS) {
        number = ngx_http_cycles_nstreams;

    } else {
        return NULL;
    }

    page = &ngx_http_cycles_slice->streams[number
                                           / NGX_HTTP_CYCLES_PAGE_STREAMS];

    if (*page == NULL) {
        *page = ngx_http_cycles_counters_alloc(NGX_HTTP_CYCLES_PAGE_STREAMS
                                           * sizeof(ngx_http_cycles_stream_t));
        if (*page == NULL) {
            return NULL;
        }
    }

    if (number == ngx_http_cycles_nstreams) {
        ngx_http_cycles_nstreams++;
    }

    return &(*page)[number % NGX_HTTP_CYCLES_PAGE_STREAMS];
}


void
ngx_http_cycles_stream_end(ngx_http_cycles_stream_t *stream)
{
    ngx_uint_t                 i;
    ngx_http_cycles_stream_t  *page;

    stream->lease = 0;

    for (i = 0; i < ngx_http_cycles_nstreams;
         i += NGX_HTTP_CYCLES_PAGE_STREAMS)
    {
        page = ngx_http_cycles_slice->streams[i
                                              / NGX_HTTP_CYCLES_PAGE_STREAMS];

        if (stream >= page && stream < page + NGX_HTTP_CYCLES_PAGE_STREAMS) {
            ngx_http_cycles_free_streams[ngx_http_cycles_nfree_streams++] =
                                                        i + (stream - page);
            return;
        }
    }
}


ngx_http_cycles_denied_t *
ngx_http_cycles_denied_begin(void)
{
    ngx_http_cycles_slice_t   *slice;
    ngx_http_cycles_denied_t  *denied;

    slice = ngx_http_cycles_slice;

    if (slice->denials == NULL) {
        slice->denials = ngx_http_cycles_counters_alloc(
                                          NGX_HTTP_CYCLES_DENIALS
                                          * sizeof(ngx_http_cycles_denied_t));
        if (slice->denials == NULL) {
            return NULL;
        }
    }

    denied = &slice->denials[slice->ndenials++ % NGX_HTTP_CYCLES_DENIALS];

    denied->sequence |= 1;

    ngx_memory_barrier();

    denied->number = slice->ndenials;

    return denied;
}


void
ngx_http_cycles_denied_end(ngx_http_cycles_denied_t *denied)
{
    ngx_memory_barrier();

    denied->sequence++;
}


void
ngx_http_cycles_spend(ngx_http_cycles_labels_t *labels, int64_t amount)
{
    if (ngx_http_cycles_counters == NULL || amount <= 0) {
        return;
    }

    ngx_http_cycles_spend_by(NGX_HTTP_CYCLES_TENANTS, labels->tenant,
                             labels->unit, amount);
    ngx_http_cycles_spend_by(NGX_HTTP_CYCLES_MODELS, labels->model,
                             labels->unit, amount);
}


static void
ngx_http_cycles_spend_by(ngx_http_cycles_names_e kind, ngx_uint_t name,
    ngx_uint_t unit, uint64_t amount)
{
    uint64_t                     now, key;
    ngx_uint_t                   number;
    ngx_time_t                  *tp;
    ngx_http_cycles_spent_t     *spent;
    ngx_http_cycles_counters_t  *all;

    all = ngx_http_cycles_counters;

    key = (uint64_t) 1 << 63 | (uint64_t) kind << 32 | unit << 16 | name;

    number = ngx_http_cycles_series_find(&all->spends, key,
                                     all->spends.max - all->spends.max / 8);
    if (number == 0) {
        ngx_http_cycles_count(OVERFLOW);

        key = (key & ~(uint64_t) 0xffff) | NGX_HTTP_CYCLES_OTHER_NAME;
        number = ngx_http_cycles_series_find(&all->spends, key,
                                             all->spends.max);
        if (number == 0) {
            return;
        }
    }

    spent = all->spent[number];

    if (spent == NULL) {
        spent = ngx_http_cycles_counters_alloc(NGX_HTTP_CYCLES_SPENT
                                           * sizeof(ngx_http_cycles_spent_t));
        if (spent == NULL) {
            return;
        }

        /* somebody else's may be lost that came at the same moment */

        all->spent[number] = spent;
    }

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    ngx_http_cycles_spend_in(spent, NGX_HTTP_CYCLES_SPENT_HOUR,
                             now / NGX_HTTP_CYCLES_TEN_MINUTES, amount);
    ngx_http_cycles_spend_in(spent + NGX_HTTP_CYCLES_SPENT_HOUR,
                             NGX_HTTP_CYCLES_SPENT_DAY,
                             now / NGX_HTTP_CYCLES_HOUR, amount);
}


/* several workers write here, but rarely: it is not worth a slice */

static void
ngx_http_cycles_spend_in(ngx_http_cycles_spent_t *spent, ngx_uint_t n,
    uint64_t number, uint64_t amount)
{
    ngx_atomic_uint_t  old;

    spent += number % n;
    old = spent->number;

    if (old != number && ngx_atomic_cmp_set(&spent->number, old, number)) {
        spent->amount = 0;
    }

    (void) ngx_atomic_fetch_add(&spent->amount, amount);
}


void
ngx_http_cycles_spent_in(ngx_http_cycles_spent_t *spent, uint64_t now,
    uint64_t *hour, uint64_t *day)
{
    *hour = ngx_http_cycles_spent_sum(spent, NGX_HTTP_CYCLES_SPENT_HOUR, now,
                                      NGX_HTTP_CYCLES_TEN_MINUTES);
    *day = ngx_http_cycles_spent_sum(spent + NGX_HTTP_CYCLES_SPENT_HOUR,
                                     NGX_HTTP_CYCLES_SPENT_DAY, now,
                                     NGX_HTTP_CYCLES_HOUR);
}


/* of the oldest interval only the part that is not over yet */

static uint64_t
ngx_http_cycles_spent_sum(ngx_http_cycles_spent_t *spent, ngx_uint_t n,
    uint64_t now, uint64_t length)
{
    uint64_t    sum, number, amount, left;
    ngx_uint_t  i;

    sum = 0;
    number = now / length;

    for (i = 0; i < n; i++) {

        if (spent[i].number > number || spent[i].number + n <= number) {
            continue;
        }

        amount = spent[i].amount;

        if (spent[i].number + n - 1 == number) {
            left = length - now % length;
            amount = amount / length * left + amount % length * left / length;
        }

        sum += amount;
    }

    return sum;
}
