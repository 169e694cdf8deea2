
/*
 * Copyright (C) nginx-cycles authors
 *
 * Metrics in two notations: the text format of Prometheus, and JSON, where
 * each metric is a list of its samples.
 */


#ifndef _NGX_HTTP_CYCLES_METRICS_H_INCLUDED_
#define _NGX_HTTP_CYCLES_METRICS_H_INCLUDED_


#include "ngx_http_cycles_counters.h"
#include "ngx_http_cycles_text.h"


#define NGX_HTTP_CYCLES_MAX_LABELS  6

/* the value as it is to stand in quotes */

typedef struct {
    const char                  *name;
    ngx_str_t                    value;
} ngx_http_cycles_metric_label_t;


typedef struct {
    ngx_http_cycles_text_t      *text;
    const char                  *name;        /* of the current metric */
    size_t                       name_len;
    ngx_uint_t                   samples;     /* of it so far */
    ngx_uint_t                   metrics;
    ngx_uint_t                   nrequests;   /* series that are written */
    ngx_uint_t                   nusages;
    unsigned                     json:1;
} ngx_http_cycles_metrics_t;


/* all of them; the members of a JSON object without its braces */

void ngx_http_cycles_metrics(ngx_http_cycles_text_t *text, ngx_uint_t json);


/* for what is measured outside of the counters */

void ngx_http_cycles_metric(ngx_http_cycles_metrics_t *m, const char *name,
    const char *type, const char *help);
void ngx_http_cycles_sample(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *labels, ngx_uint_t n, uint64_t value,
    ngx_uint_t decimals);
void ngx_http_cycles_metric_histogram(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, ngx_http_cycles_histogram_e which,
    ngx_uint_t decimals);
void ngx_http_cycles_metric_end(ngx_http_cycles_metrics_t *m);

/* ngx_http_cycles_status_json.c: members of the JSON object, but budgets */

void ngx_http_cycles_summary_json(ngx_http_cycles_text_t *text);


/* ngx_http_cycles_state.c: ledgers, servers, the journal, prices */

void ngx_http_cycles_state_metrics(ngx_http_cycles_metrics_t *m);


#endif /* _NGX_HTTP_CYCLES_METRICS_H_INCLUDED_ */
