
/*
 * Copyright (C) nginx-cycles authors
 *
 * Metrics of what is not counted but measured when it is asked for: ledgers,
 * Cycles servers, the journal, and prices.
 */


#include "ngx_http_cycles_metrics.h"
#include "../gateway/ngx_http_cycles_module.h"
#include "../ledger/ngx_http_cycles_ledger.h"
#include "../client/ngx_http_cycles_client.h"
#include "../client/ngx_http_cycles_journal.h"


/* one number of a ledger */

typedef struct {
    const char                 *name;
    const char                 *type;
    const char                 *help;
    uint64_t                  (*value)(ngx_http_cycles_ledger_state_t *state);
} ngx_http_cycles_ledger_metric_t;


static void ngx_http_cycles_ledger_metrics(ngx_http_cycles_metrics_t *m);
static uint64_t ngx_http_cycles_ledger_live(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_expired(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_count(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_log_lag(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_fold_lag(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_log_size(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_database_size(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_zone_used(
    ngx_http_cycles_ledger_state_t *state);
static uint64_t ngx_http_cycles_ledger_zone_size(
    ngx_http_cycles_ledger_state_t *state);
static void ngx_http_cycles_server_metrics(ngx_http_cycles_metrics_t *m);
static void ngx_http_cycles_journal_metrics(ngx_http_cycles_metrics_t *m);
static void ngx_http_cycles_price_metrics(ngx_http_cycles_metrics_t *m);
static ngx_int_t ngx_http_cycles_quoted_label(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, const char *name,
    ngx_str_t *value);


static const ngx_http_cycles_ledger_metric_t
    ngx_http_cycles_ledger_table[] = {

    { "cycles_ledger_live_reservations", "gauge",
      "Reservations that are neither settled nor expired.",
      ngx_http_cycles_ledger_live },

    { "cycles_ledger_expired_reservations_total", "counter",
      "Leaked leases: reservations that nobody settled, given back by the "
      "sweeper.",
      ngx_http_cycles_ledger_expired },

    { "cycles_ledger_budgets", "gauge",
      "Budgets in the ledger.",
      ngx_http_cycles_ledger_count },

    { "cycles_ledger_unsynced_records", "gauge",
      "Records that a power failure could lose.",
      ngx_http_cycles_ledger_log_lag },

    { "cycles_ledger_unfolded_records", "gauge",
      "Records of the log that are not in ledger.db yet.",
      ngx_http_cycles_ledger_fold_lag },

    { "cycles_ledger_log_size_bytes", "gauge",
      "Size of the log.",
      ngx_http_cycles_ledger_log_size },

    { "cycles_ledger_database_size_bytes", "gauge",
      "Size of ledger.db.",
      ngx_http_cycles_ledger_database_size },

    { "cycles_ledger_zone_used_bytes", "gauge",
      "Memory that the ledger uses.",
      ngx_http_cycles_ledger_zone_used },

    { "cycles_ledger_zone_size_bytes", "gauge",
      "Memory that the ledger may use.",
      ngx_http_cycles_ledger_zone_size }
};


void
ngx_http_cycles_state_metrics(ngx_http_cycles_metrics_t *m)
{
    ngx_http_cycles_ledger_metrics(m);
    ngx_http_cycles_server_metrics(m);
    ngx_http_cycles_journal_metrics(m);
    ngx_http_cycles_price_metrics(m);
}


static void
ngx_http_cycles_ledger_metrics(ngx_http_cycles_metrics_t *m)
{
    ngx_uint_t                              i, n, k;
    ngx_array_t                             ledgers;
    ngx_http_cycles_ledger_state_t         *states;
    ngx_http_cycles_metric_label_t          label;
    const ngx_http_cycles_ledger_metric_t  *metric;

    if (ngx_array_init(&ledgers, m->text->pool, 4,
                       sizeof(ngx_http_cycles_ledger_state_t))
        != NGX_OK)
    {
        m->text->failed = 1;
        return;
    }

    do {
        states = ngx_array_push(&ledgers);

        if (states == NULL) {
            m->text->failed = 1;
            return;
        }

    } while (ngx_http_cycles_ledger_state(ledgers.nelts - 1, states)
             == NGX_OK);

    states = ledgers.elts;
    n = ledgers.nelts - 1;

    if (n == 0) {
        return;
    }

    k = sizeof(ngx_http_cycles_ledger_table)
        / sizeof(ngx_http_cycles_ledger_metric_t);

    for (metric = ngx_http_cycles_ledger_table;
         metric < ngx_http_cycles_ledger_table + k;
         metric++)
    {
        ngx_http_cycles_metric(m, metric->name, metric->type, metric->help);

        for (i = 0; i < n; i++) {
            label.name = "ledger";
            label.value = states[i].name;

            ngx_http_cycles_sample(m, &label, 1, metric->value(&states[i]), 0);
        }
    }
}


static uint64_t
ngx_http_cycles_ledger_live(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.live_reservations;
}


static uint64_t
ngx_http_cycles_ledger_expired(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.expired;
}


static uint64_t
ngx_http_cycles_ledger_count(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.budgets;
}


/* the numbers are read one after the other, while it goes on */

static uint64_t
ngx_http_cycles_ledger_log_lag(ngx_http_cycles_ledger_state_t *state)
{
    return (state->stat.records > state->synced)
           ? state->stat.records - state->synced : 0;
}


static uint64_t
ngx_http_cycles_ledger_fold_lag(ngx_http_cycles_ledger_state_t *state)
{
    return (state->stat.records > state->stat.folded)
           ? state->stat.records - state->stat.folded : 0;
}


static uint64_t
ngx_http_cycles_ledger_log_size(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.log_size;
}


static uint64_t
ngx_http_cycles_ledger_database_size(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.database_size;
}


static uint64_t
ngx_http_cycles_ledger_zone_used(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.zone_used;
}


static uint64_t
ngx_http_cycles_ledger_zone_size(ngx_http_cycles_ledger_state_t *state)
{
    return state->stat.zone_size;
}


/* several servers of nginx may have the same one, by its name */

static void
ngx_http_cycles_server_metrics(ngx_http_cycles_metrics_t *m)
{
    ngx_uint_t                       i, k;
    ngx_array_t                     *servers;
    ngx_http_cycles_server_t       **server;
    ngx_http_cycles_breaker_t       *breaker;
    ngx_http_cycles_metric_label_t   label;

    servers = ngx_http_cycles_client_servers();

    if (servers->nelts == 0) {
        return;
    }

    ngx_http_cycles_metric(m, "cycles_breaker_open", "gauge",
                           "Whether a Cycles server is not asked since it "
                           "does not answer.");

    server = servers->elts;

    for (i = 0; i < servers->nelts; i++) {

        for (k = 0; server[k]->breaker != server[i]->breaker; k++) {
            /* void */
        }

        if (k < i) {
            continue;
        }

        if (ngx_http_cycles_quoted_label(m, &label, "server",
                                         &server[i]->base_url)
            != NGX_OK)
        {
            return;
        }

        breaker = server[i]->breaker->data;

        ngx_http_cycles_sample(m, &label, 1, breaker->opened ? 1 : 0, 0);
    }
}


static void
ngx_http_cycles_journal_metrics(ngx_http_cycles_metrics_t *m)
{
    if (ngx_http_cycles_journal() == NULL || ngx_http_cycles_counters == NULL)
    {
        return;
    }

    ngx_http_cycles_metric(m, "cycles_journal_pending_records", "gauge",
                           "Settlements in the journal when it was last "
                           "looked through.");
    ngx_http_cycles_sample(m, NULL, 0,
                           ngx_http_cycles_counters->journal_pending, 0);

    ngx_http_cycles_metric(m, "cycles_journal_scan_timestamp_seconds",
                           "gauge",
                           "When the journal was last looked through.");
    ngx_http_cycles_sample(m, NULL, 0,
                           ngx_http_cycles_counters->journal_looked, 3);
}


static void
ngx_http_cycles_price_metrics(ngx_http_cycles_metrics_t *m)
{
    ngx_uint_t                       i, n;
    ngx_http_cycles_main_conf_t     *cmcf;
    ngx_http_cycles_price_table_t   *table;
    ngx_http_cycles_metric_label_t  *labels;

    cmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_cycles_module);
    table = cmcf->price_tables.elts;
    n = cmcf->price_tables.nelts;

    if (n == 0) {
        return;
    }

    labels = ngx_palloc(m->text->pool,
                        2 * n * sizeof(ngx_http_cycles_metric_label_t));
    if (labels == NULL) {
        m->text->failed = 1;
        return;
    }

    for (i = 0; i < n; i++) {

        if (ngx_http_cycles_quoted_label(m, &labels[2 * i], "file",
                                         &table[i].path)
            != NGX_OK)
        {
            return;
        }

        labels[2 * i + 1].name = "sha256";
        labels[2 * i + 1].value.data = table[i].sha256;
        labels[2 * i + 1].value.len = sizeof(table[i].sha256);
    }

    ngx_http_cycles_metric(m, "cycles_price_table_info", "gauge",
                           "The price table that is used, by its SHA-256.");

    for (i = 0; i < n; i++) {
        ngx_http_cycles_sample(m, &labels[2 * i], 2, 1, 0);
    }

    ngx_http_cycles_metric(m, "cycles_price_table_modified_timestamp_seconds",
                           "gauge", "When the price table that is used was "
                           "written.");

    for (i = 0; i < n; i++) {
        ngx_http_cycles_sample(m, &labels[2 * i], 1, table[i].modified, 0);
    }

    ngx_http_cycles_metric(m, "cycles_price_table_models", "gauge",
                           "Models in the price table.");

    for (i = 0; i < n; i++) {
        ngx_http_cycles_sample(m, &labels[2 * i], 1,
                               llm_prices_count(table[i].prices), 0);
    }
}


static ngx_int_t
ngx_http_cycles_quoted_label(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, const char *name, ngx_str_t *value)
{
    u_char  *p;

    p = ngx_pnalloc(m->text->pool,
                    ngx_http_cycles_quoted_size(value->len) + 1);
    if (p == NULL) {
        m->text->failed = 1;
        return NGX_ERROR;
    }

    label->name = name;
    label->value.data = p;
    label->value.len = ngx_http_cycles_quoted(p, value->data, value->len) - p;

    return NGX_OK;
}
