
/*
 * Copyright (C) nginx-cycles authors
 *
 * What all workers count, in the shared memory of "cycles_zone".  Each worker
 * writes to a slice of its own, so counting takes no lock and no atomic
 * operation, and no cache line is shared; who reads adds the slices up.  What
 * is counted outlives the worker and a reload.
 *
 *     ngx_http_cycles_counters.c       slices: taken, and written to
 *     ngx_http_cycles_labels.c         names and series that are counted by
 *     ngx_http_cycles_activity.c       what goes on: requests, denials, spend
 *     ngx_http_cycles_text.c           text in buffers
 *     ngx_http_cycles_metrics.c        what metrics there are
 *     ngx_http_cycles_metrics_write.c  for Prometheus, and as JSON
 *     ngx_http_cycles_state.c          metrics that are not counted
 *     ngx_http_cycles_status_json.c    what goes on as JSON
 *     ngx_http_cycles_page.c           the page, which is status.html
 *     ngx_http_cycles_status.c         "cycles_status"
 */


#ifndef _NGX_HTTP_CYCLES_COUNTERS_H_INCLUDED_
#define _NGX_HTTP_CYCLES_COUNTERS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_zone.h"


/* what is counted without more labels than one; see the tables of both faces */

typedef enum {

    /* settlements, by what came of them */

    NGX_HTTP_CYCLES_N_COMMIT = 0,
    NGX_HTTP_CYCLES_N_RELEASE,
    NGX_HTTP_CYCLES_N_EVENT,
    NGX_HTTP_CYCLES_N_HOLD,               /* left to its expiry */
    NGX_HTTP_CYCLES_N_REFUSED,            /* by the authority, for good */
    NGX_HTTP_CYCLES_N_FAILED,             /* no answer after all tries */
    NGX_HTTP_CYCLES_N_ABANDONED,          /* the client left the reserve */

    /* tries beyond the first, in the order of cycles_op_t */

    NGX_HTTP_CYCLES_N_RETRY_RESERVE,
    NGX_HTTP_CYCLES_N_RETRY_COMMIT,
    NGX_HTTP_CYCLES_N_RETRY_RELEASE,
    NGX_HTTP_CYCLES_N_RETRY_EXTEND,
    NGX_HTTP_CYCLES_N_RETRY_EVENT,
    NGX_HTTP_CYCLES_N_RETRY_LOOKUP,       /* nobody tries a decide again */

    /* records of the journal that were taken up again */

    NGX_HTTP_CYCLES_N_REPLAY_SETTLED,
    NGX_HTTP_CYCLES_N_REPLAY_FAILED,
    NGX_HTTP_CYCLES_N_QUARANTINED,
    NGX_HTTP_CYCLES_N_JOURNAL_ERROR,

    NGX_HTTP_CYCLES_N_BEAT_EXTENDED,
    NGX_HTTP_CYCLES_N_BEAT_FAILED,
    NGX_HTTP_CYCLES_N_BEAT_GAVE_UP,

    /* requests that nobody was asked about, or had no price, by cause */

    NGX_HTTP_CYCLES_N_PASS_OUTAGE,
    NGX_HTTP_CYCLES_N_PASS_FREE,
    NGX_HTTP_CYCLES_N_PASS_WEBSOCKET,
    NGX_HTTP_CYCLES_N_PASS_TRUSTED,
    NGX_HTTP_CYCLES_N_PASS_PRICE,

    /* replies without usage, by what was done then */

    NGX_HTTP_CYCLES_N_MISSING_ESTIMATED,
    NGX_HTTP_CYCLES_N_MISSING_RELEASED,
    NGX_HTTP_CYCLES_N_MISSING_HELD,

    NGX_HTTP_CYCLES_N_WOULD_DENY,
    NGX_HTTP_CYCLES_N_BREAKER_OPENED,
    NGX_HTTP_CYCLES_N_OVERFLOW,           /* of the labels */

    NGX_HTTP_CYCLES_COUNTERS
} ngx_http_cycles_counter_e;


/* how many there are now */

typedef enum {
    NGX_HTTP_CYCLES_G_LIVE = 0,           /* requests with a reservation */
    NGX_HTTP_CYCLES_G_LEDGER_WAITING,     /* for the disk, or for ledger.db */
    NGX_HTTP_CYCLES_G_CALLS_QUEUED,
    NGX_HTTP_CYCLES_G_CALLS_RUNNING,

    NGX_HTTP_CYCLES_GAUGES
} ngx_http_cycles_gauge_e;


/* times of an authority, by what it is; and how far estimates were off */

typedef enum {
    NGX_HTTP_CYCLES_H_RESERVE_LEDGER = 0,
    NGX_HTTP_CYCLES_H_RESERVE_SERVER,
    NGX_HTTP_CYCLES_H_SETTLE_LEDGER,
    NGX_HTTP_CYCLES_H_SETTLE_SERVER,
    NGX_HTTP_CYCLES_H_RATIO,

    NGX_HTTP_CYCLES_HISTOGRAMS
} ngx_http_cycles_histogram_e;


#define NGX_HTTP_CYCLES_BUCKETS  20

typedef struct {
    uint64_t                         buckets[NGX_HTTP_CYCLES_BUCKETS + 1];
    uint64_t                         sum;     /* ns, or millionths */
} ngx_http_cycles_histogram_t;


/* of settled requests of one kind */

#define NGX_HTTP_CYCLES_TOKENS           5

typedef struct {
    uint64_t                         estimated;
    uint64_t                         actual;
    uint64_t                         charged;
    uint64_t                         tokens[NGX_HTTP_CYCLES_TOKENS];
} ngx_http_cycles_usage_t;


/*
 * In blocks, which come as they are needed: what a worker takes of the zone is
 * little if there is little to count.  A block is a kilobyte or two, and what
 * the slab allocator makes of that shares no cache line with another.
 */

#define NGX_HTTP_CYCLES_PAGE_REQUESTS    128
#define NGX_HTTP_CYCLES_PAGE_USAGES      32
#define NGX_HTTP_CYCLES_PAGE_STREAMS     12

#define NGX_HTTP_CYCLES_MAX_REQUESTS     16384
#define NGX_HTTP_CYCLES_MAX_USAGES       4096
#define NGX_HTTP_CYCLES_MAX_STREAMS      768


/* a request with a reservation */

#define NGX_HTTP_CYCLES_ID_SIZE          40

typedef struct {
    uint64_t                         started;     /* ms since the epoch */
    uint64_t                         lease;       /* until then; 0: free */
    int64_t                          estimate;
    uint32_t                         beats;
    uint16_t                         model;       /* as labels */
    uint16_t                         tenant;
    uint8_t                          provider;
    uint8_t                          unit;
    uint8_t                          left;        /* its client has */
    uint8_t                          id_len;
    u_char                           id[NGX_HTTP_CYCLES_ID_SIZE];
} ngx_http_cycles_stream_t;


/* the last ones that were denied */

#define NGX_HTTP_CYCLES_DENIALS          16
#define NGX_HTTP_CYCLES_DENIED_SIZE      64

typedef struct {
    uint64_t                         time;        /* ms since the epoch */
    int64_t                          estimate;    /* -1: not known */
    int64_t                          remaining;   /* or CYCLES_NOT_KNOWN */
    uint32_t                         sequence;    /* odd: it is written to */
    uint32_t                         number;      /* of the slice's */
    uint8_t                          verdict;
    uint8_t                          provider;
    uint8_t                          unit;
    uint8_t                          reason_len;
    uint8_t                          model_len;
    uint8_t                          tenant_len;
    u_char                           reason[NGX_HTTP_CYCLES_DENIED_SIZE];
    u_char                           model[NGX_HTTP_CYCLES_DENIED_SIZE];
    u_char                           tenant[NGX_HTTP_CYCLES_DENIED_SIZE];
} ngx_http_cycles_denied_t;


/* of one worker, which is the only one to write to it */

typedef struct {
    ngx_pid_t                        pid;         /* 0: nobody's */

    uint64_t                         counters[NGX_HTTP_CYCLES_COUNTERS];
    int64_t                          gauges[NGX_HTTP_CYCLES_GAUGES];
    ngx_http_cycles_histogram_t      histograms[NGX_HTTP_CYCLES_HISTOGRAMS];

    uint64_t                        *requests[NGX_HTTP_CYCLES_MAX_REQUESTS
                                              / NGX_HTTP_CYCLES_PAGE_REQUESTS];
    ngx_http_cycles_usage_t         *usages[NGX_HTTP_CYCLES_MAX_USAGES
                                            / NGX_HTTP_CYCLES_PAGE_USAGES];
    ngx_http_cycles_stream_t        *streams[NGX_HTTP_CYCLES_MAX_STREAMS
                                             / NGX_HTTP_CYCLES_PAGE_STREAMS];

    uint32_t                         ndenials;
    ngx_http_cycles_denied_t        *denials;     /* NULL: none so far */
} ngx_http_cycles_slice_t;


/*
 * Names that requests bring, by small numbers.  There is room for a limited
 * number of each kind, so that nobody can fill the memory with names: those
 * that come later are all "other".
 */

#define NGX_HTTP_CYCLES_NO_NAME          0
#define NGX_HTTP_CYCLES_OTHER_NAME       1

typedef enum {
    NGX_HTTP_CYCLES_MODELS = 0,
    NGX_HTTP_CYCLES_TENANTS,
    NGX_HTTP_CYCLES_REASONS,
    NGX_HTTP_CYCLES_NAMES
} ngx_http_cycles_names_e;

typedef struct {
    uint32_t                         hash;
    uint32_t                         len;
    u_char                           data[1];
} ngx_http_cycles_name_t;


/* keys by small numbers; 0 is that of what has found no room */

typedef struct {
    ngx_uint_t                       n;
    ngx_uint_t                       max;
    ngx_uint_t                       mask;        /* of the table */
    uint32_t                        *table;       /* numbers, by hash */
    uint64_t                        *keys;
} ngx_http_cycles_series_t;

typedef struct {
    ngx_uint_t                       n;
    ngx_uint_t                       max;
    ngx_uint_t                       mask;
    uint32_t                        *table;
    ngx_http_cycles_name_t         **names;
} ngx_http_cycles_namespace_t;


/*
 * What was spent in the last hour and day, in intervals of ten minutes and of
 * an hour, each marked with its own number.
 */

#define NGX_HTTP_CYCLES_SPENT_HOUR       7
#define NGX_HTTP_CYCLES_SPENT_DAY        25
#define NGX_HTTP_CYCLES_SPENT            (NGX_HTTP_CYCLES_SPENT_HOUR          \
                                          + NGX_HTTP_CYCLES_SPENT_DAY)

typedef struct {
    ngx_atomic_t                     number;
    ngx_atomic_t                     amount;
} ngx_http_cycles_spent_t;


#define NGX_HTTP_CYCLES_SLICES           1024

/* of all workers, and of those of earlier configurations */

typedef struct {
    ngx_slab_pool_t                 *pool;
    ngx_http_cycles_namespace_t      names[NGX_HTTP_CYCLES_NAMES];
    ngx_http_cycles_series_t         requests;
    ngx_http_cycles_series_t         usages;
    ngx_http_cycles_series_t         spends;
    ngx_http_cycles_spent_t        **spent;       /* one for each number */

    /* of the one who looks for records of the journal */

    uint64_t                         journal_looked;   /* time, 0: never */
    uint64_t                         journal_pending;

    uint64_t                         since;       /* ms since the epoch */

    ngx_uint_t                       nslices;
    ngx_http_cycles_slice_t         *slices[NGX_HTTP_CYCLES_SLICES];
} ngx_http_cycles_counters_t;


/* what a request is counted by */

typedef struct {
    uint16_t                         model;
    uint16_t                         tenant;
    uint8_t                          provider;
    uint8_t                          unit;
} ngx_http_cycles_labels_t;


/* ngx_http_cycles_counters.c */

extern ngx_http_cycles_slice_t     *ngx_http_cycles_slice;   /* never NULL */
extern ngx_http_cycles_counters_t  *ngx_http_cycles_counters;  /* or NULL */

/* whether tenants are among the labels of series */

extern ngx_uint_t  ngx_http_cycles_by_tenant;


#define ngx_http_cycles_count(what)                                           \
    (ngx_http_cycles_slice->counters[NGX_HTTP_CYCLES_N_ ## what]++)

#define ngx_http_cycles_gauge(what, change)                                   \
    (ngx_http_cycles_slice->gauges[NGX_HTTP_CYCLES_G_ ## what] += (change))


/*
 * The area of the counters in a zone of that size, set up if it is new: once
 * there is shared memory.  NGX_ERROR: the zone is too small.
 */

size_t ngx_http_cycles_counters_size(size_t zone);
void ngx_http_cycles_counters_init(ngx_http_cycles_counters_t *all,
    size_t zone, ngx_slab_pool_t *pool);

/* a worker takes a slice, and gives it back */

void ngx_http_cycles_counters_claim(ngx_http_cycles_counters_t *all,
    ngx_log_t *log);
void ngx_http_cycles_counters_leave(void);

/* whether the gauges and streams of a slice are those of a living worker */

ngx_uint_t ngx_http_cycles_slice_lives(ngx_http_cycles_slice_t *slice);

/*
 * n bytes of the zone, zeroed, or NULL: some room is left for others.  Whether
 * there is any is told without the lock, so a full zone keeps nobody waiting.
 */

void *ngx_http_cycles_counters_alloc(size_t n);
ngx_uint_t ngx_http_cycles_counters_room(void);

/* of a histogram: a time in ns, or a ratio in millionths */

void ngx_http_cycles_observe(ngx_http_cycles_histogram_e which,
    uint64_t value);
const uint64_t *ngx_http_cycles_bounds(ngx_http_cycles_histogram_e which,
    ngx_uint_t *n);

/* a clock for such times */

uint64_t ngx_http_cycles_clock(void);

/* the same time for many who are told of it at once, until it goes on */

void ngx_http_cycles_clock_stop(void);
void ngx_http_cycles_clock_go_on(void);


/* ngx_http_cycles_labels.c */

/* the number of a name; without add, of one that was there before */

ngx_uint_t ngx_http_cycles_label(ngx_http_cycles_names_e kind,
    ngx_str_t *name, ngx_uint_t add);

/* one more decision; and where the worker counts what was used, never NULL */

void ngx_http_cycles_count_decision(ngx_uint_t verdict, ngx_uint_t reason,
    ngx_http_cycles_labels_t *labels);
ngx_http_cycles_usage_t *ngx_http_cycles_usage_of(
    ngx_http_cycles_labels_t *labels);

/* the key's number in a series that may grow; 0: there is no room */

ngx_uint_t ngx_http_cycles_series_find(ngx_http_cycles_series_t *series,
    uint64_t key, ngx_uint_t max);

/* the other way round */

typedef struct {
    uint8_t                          first;       /* verdict or unit */
    uint8_t                          provider;
    uint16_t                         reason;
    uint16_t                         model;
    uint16_t                         tenant;
} ngx_http_cycles_key_t;

void ngx_http_cycles_key_read(uint64_t value, ngx_http_cycles_key_t *key);
void ngx_http_cycles_name(ngx_http_cycles_names_e kind, ngx_uint_t number,
    ngx_str_t *name);


/* ngx_http_cycles_activity.c */

/* NULL: there are too many to show this one */

ngx_http_cycles_stream_t *ngx_http_cycles_stream_begin(void);
void ngx_http_cycles_stream_end(ngx_http_cycles_stream_t *stream);

/* to be filled in between these two; NULL: there is no room to show it */

ngx_http_cycles_denied_t *ngx_http_cycles_denied_begin(void);
void ngx_http_cycles_denied_end(ngx_http_cycles_denied_t *denied);

/* an amount that was charged; and all of it in the hour and day before "now" */

void ngx_http_cycles_spend(ngx_http_cycles_labels_t *labels, int64_t amount);
void ngx_http_cycles_spent_in(ngx_http_cycles_spent_t *spent, uint64_t now,
    uint64_t *hour, uint64_t *day);


#endif /* _NGX_HTTP_CYCLES_COUNTERS_H_INCLUDED_ */
