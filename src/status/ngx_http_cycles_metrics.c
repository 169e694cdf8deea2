
/*
 * Copyright (C) nginx-cycles authors
 *
 * The metrics: what they are called, and where they come from.
 */


#include "ngx_http_cycles_metrics.h"
#include "../gateway/ngx_http_cycles_module.h"


/* counters that follow each other in a slice, by the values of one label */

typedef struct {
    const char                 *name;
    const char                 *help;
    const char                 *label;
    const char                 *values;       /* with a space behind each */
    ngx_uint_t                  first;
} ngx_http_cycles_counter_metric_t;


static void ngx_http_cycles_request_metrics(ngx_http_cycles_metrics_t *m);
static void ngx_http_cycles_usage_metrics(ngx_http_cycles_metrics_t *m);
static void ngx_http_cycles_usage_metric(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_usage_t *sums, size_t offset);
static void ngx_http_cycles_token_metric(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_usage_t *sums);
static void ngx_http_cycles_counter_metrics(ngx_http_cycles_metrics_t *m);
static void ngx_http_cycles_gauge_metrics(ngx_http_cycles_metrics_t *m);
static void ngx_http_cycles_time_metrics(ngx_http_cycles_metrics_t *m);

static ngx_int_t ngx_http_cycles_quote_names(ngx_pool_t *pool);
static void ngx_http_cycles_text_label(ngx_http_cycles_metric_label_t *label,
    const char *name, const char *value);
static ngx_uint_t ngx_http_cycles_key_labels(
    ngx_http_cycles_metric_label_t *labels, ngx_http_cycles_key_t *key);


/* of the scrape that is under way: the names as they stand in quotes */

static ngx_str_t  *ngx_http_cycles_quoted_names[NGX_HTTP_CYCLES_NAMES];


static const ngx_http_cycles_counter_metric_t
    ngx_http_cycles_counter_table[] = {

    { "cycles_settlements_total",
      "Reservations by what became of them.",
      "outcome", "commit release event hold refused failed abandoned ",
      NGX_HTTP_CYCLES_N_COMMIT },

    { "cycles_retries_total",
      "Tries after the first one that an operation took.",
      "operation", "reserve commit release extend event lookup ",
      NGX_HTTP_CYCLES_N_RETRY_RESERVE },

    { "cycles_journal_replayed_total",
      "Records of the journal that were sent again, by what came of it.",
      "result", "settled failed ",
      NGX_HTTP_CYCLES_N_REPLAY_SETTLED },

    { "cycles_journal_quarantined_records_total",
      "Files of the journal that were no records, and set aside.",
      NULL, NULL,
      NGX_HTTP_CYCLES_N_QUARANTINED },

    { "cycles_journal_errors_total",
      "Records that the journal could not write or remove.",
      NULL, NULL,
      NGX_HTTP_CYCLES_N_JOURNAL_ERROR },

    { "cycles_heartbeats_total",
      "Extensions of reservations whose reply takes longer than their lease.",
      "result", "extended failed gave_up ",
      NGX_HTTP_CYCLES_N_BEAT_EXTENDED },

    { "cycles_unmetered_requests_total",
      "Requests that passed without a reservation or a price, by cause.",
      "cause", "outage free websocket trusted unknown_price ",
      NGX_HTTP_CYCLES_N_PASS_OUTAGE },

    { "cycles_usage_missing_total",
      "Replies that did not tell their usage, by what was done instead.",
      "action", "estimated released held ",
      NGX_HTTP_CYCLES_N_MISSING_ESTIMATED },

    { "cycles_dry_run_would_deny_total",
      "Requests that a dry run would have denied.",
      NULL, NULL,
      NGX_HTTP_CYCLES_N_WOULD_DENY },

    { "cycles_breaker_opened_total",
      "Times that a Cycles server was found not to answer.",
      NULL, NULL,
      NGX_HTTP_CYCLES_N_BREAKER_OPENED },

    { "cycles_label_overflow_total",
      "Samples counted as \"other\" for lack of room: make cycles_zone larger.",
      NULL, NULL,
      NGX_HTTP_CYCLES_N_OVERFLOW }
};


static const char *const  ngx_http_cycles_token_kinds[] = {
    "input", "output", "cached_input", "cache_write", "reasoning"
};


void
ngx_http_cycles_metrics(ngx_http_cycles_text_t *text, ngx_uint_t json)
{
    ngx_http_cycles_metrics_t  m;

    ngx_memzero(&m, sizeof(ngx_http_cycles_metrics_t));

    m.text = text;
    m.json = json;

    if (ngx_http_cycles_counters) {

        /* a name is there before the series that have it */

        m.nrequests = ngx_http_cycles_counters->requests.n;
        m.nusages = ngx_http_cycles_counters->usages.n;

        ngx_memory_barrier();

        if (ngx_http_cycles_quote_names(text->pool) != NGX_OK) {
            text->failed = 1;
            return;
        }

        ngx_http_cycles_request_metrics(&m);
        ngx_http_cycles_usage_metrics(&m);
        ngx_http_cycles_time_metrics(&m);
        ngx_http_cycles_counter_metrics(&m);
        ngx_http_cycles_gauge_metrics(&m);
    }

    ngx_http_cycles_state_metrics(&m);
    ngx_http_cycles_metric_end(&m);
}


static ngx_int_t
ngx_http_cycles_quote_names(ngx_pool_t *pool)
{
    u_char      *p;
    ngx_str_t    name, *quoted;
    ngx_uint_t   kind, i, n;

    for (kind = 0; kind < NGX_HTTP_CYCLES_NAMES; kind++) {
        n = ngx_http_cycles_counters->names[kind].n;

        quoted = ngx_palloc(pool, n * sizeof(ngx_str_t));
        if (quoted == NULL) {
            return NGX_ERROR;
        }

        for (i = 0; i < n; i++) {
            ngx_http_cycles_name(kind, i, &name);

            p = ngx_pnalloc(pool, ngx_http_cycles_quoted_size(name.len) + 1);
            if (p == NULL) {
                return NGX_ERROR;
            }

            quoted[i].data = p;
            quoted[i].len = ngx_http_cycles_quoted(p, name.data, name.len) - p;
        }

        ngx_http_cycles_quoted_names[kind] = quoted;
    }

    return NGX_OK;
}


static void
ngx_http_cycles_text_label(ngx_http_cycles_metric_label_t *label,
    const char *name, const char *value)
{
    label->name = name;
    label->value.data = (u_char *) value;
    label->value.len = ngx_strlen(value);
}


/*
 * Provider, model and, if they are wanted, tenants; a series that has one from
 * before a reload keeps it, or there were two series with the same labels.
 */

static ngx_uint_t
ngx_http_cycles_key_labels(ngx_http_cycles_metric_label_t *labels,
    ngx_http_cycles_key_t *key)
{
    ngx_http_cycles_text_label(&labels[0], "provider",
                               (key->provider < LLM_PROVIDERS)
                               ? llm_provider_name(key->provider) : "");

    labels[1].name = "model";
    labels[1].value =
          ngx_http_cycles_quoted_names[NGX_HTTP_CYCLES_MODELS][key->model];

    if (!ngx_http_cycles_by_tenant
        && key->tenant == NGX_HTTP_CYCLES_NO_NAME)
    {
        return 2;
    }

    labels[2].name = "tenant";
    labels[2].value =
          ngx_http_cycles_quoted_names[NGX_HTTP_CYCLES_TENANTS][key->tenant];

    return 3;
}


static void
ngx_http_cycles_request_metrics(ngx_http_cycles_metrics_t *m)
{
    uint64_t                         sum, *page;
    ngx_uint_t                       i, n, number;
    ngx_http_cycles_key_t            key;
    ngx_http_cycles_counters_t      *all;
    ngx_http_cycles_metric_label_t   labels[5];

    ngx_http_cycles_metric(m, "cycles_requests_total", "counter",
                           "Decisions on requests.");

    all = ngx_http_cycles_counters;

    for (number = 0; number < m->nrequests; number++) {
        sum = 0;

        for (i = 0; i < all->nslices; i++) {
            page = all->slices[i]->requests[number
                                            / NGX_HTTP_CYCLES_PAGE_REQUESTS];
            if (page) {
                sum += page[number % NGX_HTTP_CYCLES_PAGE_REQUESTS];
            }
        }

        if (sum == 0) {
            continue;
        }

        ngx_http_cycles_key_read(all->requests.keys[number], &key);

        if (number == 0) {
            key.model = NGX_HTTP_CYCLES_OTHER_NAME;
            key.tenant = ngx_http_cycles_by_tenant
                         ? NGX_HTTP_CYCLES_OTHER_NAME
                         : NGX_HTTP_CYCLES_NO_NAME;
            key.provider = LLM_PROVIDERS;
        }

        labels[0].name = "decision";
        labels[0].value = *ngx_http_cycles_verdict_name(key.first);

        labels[1].name = "reason";
        labels[1].value =
          ngx_http_cycles_quoted_names[NGX_HTTP_CYCLES_REASONS][key.reason];

        n = 2 + ngx_http_cycles_key_labels(&labels[2], &key);

        ngx_http_cycles_sample(m, labels, n, sum, 0);
    }
}


static void
ngx_http_cycles_usage_metrics(ngx_http_cycles_metrics_t *m)
{
    ngx_uint_t                   i, k, number;
    ngx_http_cycles_usage_t     *sums, *page, *usage;
    ngx_http_cycles_counters_t  *all;

    all = ngx_http_cycles_counters;

    sums = ngx_pcalloc(m->text->pool,
                       m->nusages * sizeof(ngx_http_cycles_usage_t));
    if (sums == NULL) {
        m->text->failed = 1;
        return;
    }

    for (i = 0; i < all->nslices; i++) {

        for (number = 0; number < m->nusages; number++) {
            page = all->slices[i]->usages[number
                                          / NGX_HTTP_CYCLES_PAGE_USAGES];

            if (page == NULL) {
                continue;
            }

            usage = &page[number % NGX_HTTP_CYCLES_PAGE_USAGES];

            sums[number].estimated += usage->estimated;
            sums[number].actual += usage->actual;
            sums[number].charged += usage->charged;

            for (k = 0; k < NGX_HTTP_CYCLES_TOKENS; k++) {
                sums[number].tokens[k] += usage->tokens[k];
            }
        }
    }

    ngx_http_cycles_metric(m, "cycles_estimated_units_total", "counter",
                           "Estimates of the requests whose actual amount is "
                           "known, in units.");
    ngx_http_cycles_usage_metric(m, sums,
                                 offsetof(ngx_http_cycles_usage_t, estimated));

    ngx_http_cycles_metric(m, "cycles_actual_units_total", "counter",
                           "Actual amounts of requests, in units.");
    ngx_http_cycles_usage_metric(m, sums,
                                 offsetof(ngx_http_cycles_usage_t, actual));

    ngx_http_cycles_metric(m, "cycles_charged_units_total", "counter",
                           "Amounts that the authority has charged, in "
                           "units.");
    ngx_http_cycles_usage_metric(m, sums,
                                 offsetof(ngx_http_cycles_usage_t, charged));

    ngx_http_cycles_metric(m, "cycles_tokens_total", "counter",
                           "Tokens that providers have reported; cached_input "
                           "and cache_write are part of input, reasoning is "
                           "part of output.");
    ngx_http_cycles_token_metric(m, sums);
}


static void
ngx_http_cycles_usage_metric(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_usage_t *sums, size_t offset)
{
    ngx_uint_t                       n, number;
    ngx_http_cycles_key_t            key;
    ngx_http_cycles_series_t        *usages;
    ngx_http_cycles_metric_label_t   labels[4];

    usages = &ngx_http_cycles_counters->usages;

    for (number = 1; number < m->nusages; number++) {
        ngx_http_cycles_key_read(usages->keys[number], &key);

        ngx_http_cycles_text_label(&labels[0], "unit",
                                   cycles_unit_name(key.first));

        n = 1 + ngx_http_cycles_key_labels(&labels[1], &key);

        ngx_http_cycles_sample(m, labels, n,
                               *(uint64_t *) ((u_char *) &sums[number]
                                              + offset),
                               0);
    }
}


static void
ngx_http_cycles_token_metric(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_usage_t *sums)
{
    ngx_uint_t                       k, n, number;
    ngx_http_cycles_key_t            key;
    ngx_http_cycles_series_t        *usages;
    ngx_http_cycles_metric_label_t   labels[5];

    usages = &ngx_http_cycles_counters->usages;

    for (number = 1; number < m->nusages; number++) {
        ngx_http_cycles_key_read(usages->keys[number], &key);

        /* the same tokens may be counted in requests of two units */

        ngx_http_cycles_text_label(&labels[1], "unit",
                                   cycles_unit_name(key.first));

        n = 2 + ngx_http_cycles_key_labels(&labels[2], &key);

        for (k = 0; k < NGX_HTTP_CYCLES_TOKENS; k++) {

            if (sums[number].tokens[k] == 0) {
                continue;
            }

            ngx_http_cycles_text_label(&labels[0], "kind",
                                       ngx_http_cycles_token_kinds[k]);

            ngx_http_cycles_sample(m, labels, n, sums[number].tokens[k], 0);
        }
    }
}


static void
ngx_http_cycles_time_metrics(ngx_http_cycles_metrics_t *m)
{
    ngx_uint_t                       i;
    ngx_http_cycles_metric_label_t   label;

    static const char *const  authorities[] = { "ledger", "server" };

    ngx_http_cycles_metric(m, "cycles_reserve_duration_seconds", "histogram",
                           "Time until the authority has answered a "
                           "reserve.");

    for (i = 0; i < 2; i++) {
        ngx_http_cycles_text_label(&label, "authority", authorities[i]);
        ngx_http_cycles_metric_histogram(m, &label,
                                        NGX_HTTP_CYCLES_H_RESERVE_LEDGER + i,
                                        9);
    }

    ngx_http_cycles_metric(m, "cycles_settle_duration_seconds", "histogram",
                           "Time until a reservation is settled, with all "
                           "retries.");

    for (i = 0; i < 2; i++) {
        ngx_http_cycles_text_label(&label, "authority", authorities[i]);
        ngx_http_cycles_metric_histogram(m, &label,
                                         NGX_HTTP_CYCLES_H_SETTLE_LEDGER + i,
                                         9);
    }

    ngx_http_cycles_metric(m, "cycles_actual_to_estimate_ratio", "histogram",
                           "The actual amount of a request as a part of its "
                           "estimate.");
    ngx_http_cycles_metric_histogram(m, NULL, NGX_HTTP_CYCLES_H_RATIO, 6);
}


static void
ngx_http_cycles_counter_metrics(ngx_http_cycles_metrics_t *m)
{
    size_t                                   len;
    uint64_t                                 sum;
    ngx_uint_t                               i, k, n;
    const char                              *value;
    ngx_http_cycles_metric_label_t           label;
    const ngx_http_cycles_counter_metric_t  *t;

    n = sizeof(ngx_http_cycles_counter_table)
        / sizeof(ngx_http_cycles_counter_metric_t);

    for (t = ngx_http_cycles_counter_table;
         t < ngx_http_cycles_counter_table + n;
         t++)
    {
        ngx_http_cycles_metric(m, t->name, "counter", t->help);

        label.name = t->label;
        value = t->values;
        k = t->first;

        do {
            sum = 0;

            for (i = 0; i < ngx_http_cycles_counters->nslices; i++) {
                sum += ngx_http_cycles_counters->slices[i]->counters[k];
            }

            k++;

            if (value == NULL) {
                ngx_http_cycles_sample(m, NULL, 0, sum, 0);
                break;
            }

            len = ngx_strchr(value, ' ') - value;

            label.value.data = (u_char *) value;
            label.value.len = len;

            ngx_http_cycles_sample(m, &label, 1, sum, 0);

            value += len + 1;

        } while (*value);
    }
}


static void
ngx_http_cycles_gauge_metrics(ngx_http_cycles_metrics_t *m)
{
    int64_t                          sums[NGX_HTTP_CYCLES_GAUGES];
    ngx_uint_t                       i, k, workers;
    ngx_http_cycles_slice_t         *slice;
    ngx_http_cycles_metric_label_t   label;

    ngx_memzero(sums, sizeof(sums));
    workers = 0;

    for (i = 0; i < ngx_http_cycles_counters->nslices; i++) {
        slice = ngx_http_cycles_counters->slices[i];

        if (!ngx_http_cycles_slice_lives(slice)) {
            continue;
        }

        workers++;

        for (k = 0; k < NGX_HTTP_CYCLES_GAUGES; k++) {
            sums[k] += slice->gauges[k];
        }
    }

    /* two of them are read at different moments */

    for (k = 0; k < NGX_HTTP_CYCLES_GAUGES; k++) {
        sums[k] = ngx_max(sums[k], 0);
    }

    ngx_http_cycles_metric(m, "cycles_workers", "gauge",
                           "Worker processes, with those that quit after a "
                           "reload.");
    ngx_http_cycles_sample(m, NULL, 0, workers, 0);

    ngx_http_cycles_metric(m, "cycles_live_requests", "gauge",
                           "Requests that have a reservation now.");
    ngx_http_cycles_sample(m, NULL, 0, sums[NGX_HTTP_CYCLES_G_LIVE], 0);

    ngx_http_cycles_metric(m, "cycles_ledger_queue", "gauge",
                           "Operations that wait for the disk of a ledger.");
    ngx_http_cycles_sample(m, NULL, 0, sums[NGX_HTTP_CYCLES_G_LEDGER_WAITING],
                           0);

    ngx_http_cycles_metric(m, "cycles_calls", "gauge",
                           "Calls to Cycles servers, under way or waiting for "
                           "room.");
    ngx_http_cycles_text_label(&label, "state", "running");
    ngx_http_cycles_sample(m, &label, 1,
                           sums[NGX_HTTP_CYCLES_G_CALLS_RUNNING], 0);
    ngx_http_cycles_text_label(&label, "state", "queued");
    ngx_http_cycles_sample(m, &label, 1,
                           sums[NGX_HTTP_CYCLES_G_CALLS_QUEUED], 0);
}
