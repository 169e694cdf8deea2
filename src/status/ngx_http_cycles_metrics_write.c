
/*
 * Copyright (C) nginx-cycles authors
 *
 * How a metric is written.  A scrape may have ten thousands of lines, so they
 * are put together from pieces, without a format to be read for each.
 */


#include "ngx_http_cycles_metrics.h"


static size_t ngx_http_cycles_labels_size(
    ngx_http_cycles_metric_label_t *labels, ngx_uint_t n);
static u_char *ngx_http_cycles_labels_print(u_char *p,
    ngx_http_cycles_metric_label_t *labels, ngx_uint_t n, ngx_uint_t json);
static u_char *ngx_http_cycles_json_next(ngx_http_cycles_metrics_t *m,
    u_char *p);
static void ngx_http_cycles_histogram_text(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, ngx_http_cycles_histogram_t *h,
    ngx_http_cycles_histogram_e which, ngx_uint_t decimals);
static void ngx_http_cycles_histogram_json(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, ngx_http_cycles_histogram_t *h,
    ngx_http_cycles_histogram_e which, ngx_uint_t decimals);


void
ngx_http_cycles_metric(ngx_http_cycles_metrics_t *m, const char *name,
    const char *type, const char *help)
{
    u_char  *p;

    ngx_http_cycles_metric_end(m);

    m->name = name;
    m->name_len = ngx_strlen(name);
    m->samples = 0;

    p = ngx_http_cycles_text_room(m->text, 2 * m->name_len + ngx_strlen(help)
                                           + ngx_strlen(type) + 32);
    if (p == NULL) {
        return;
    }

    if (m->json) {
        p = ngx_sprintf(p, "%s\"%s\":[", m->metrics ? "," : "", name);

    } else {
        p = ngx_sprintf(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
                        type);
    }

    m->metrics++;

    ngx_http_cycles_text_wrote(m->text, p);
}


void
ngx_http_cycles_metric_end(ngx_http_cycles_metrics_t *m)
{
    if (m->json && m->metrics) {
        ngx_http_cycles_text_add(m->text, "]");
    }
}


void
ngx_http_cycles_sample(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *labels, ngx_uint_t n, uint64_t value,
    ngx_uint_t decimals)
{
    u_char  *p;

    p = ngx_http_cycles_text_room(m->text, m->name_len
                                    + ngx_http_cycles_labels_size(labels, n)
                                    + NGX_INT64_LEN + 32);
    if (p == NULL) {
        return;
    }

    if (m->json) {
        p = ngx_http_cycles_json_next(m, p);
        p = ngx_http_cycles_labels_print(p, labels, n, 1);
        p = ngx_cpymem(p, "\"value\":", sizeof("\"value\":") - 1);
        p = ngx_http_cycles_print_decimals(p, value, decimals);
        *p++ = '}';

    } else {
        p = ngx_cpymem(p, m->name, m->name_len);

        if (n) {
            *p++ = '{';
            p = ngx_http_cycles_labels_print(p, labels, n, 0);
            *p++ = '}';
        }

        *p++ = ' ';
        p = ngx_http_cycles_print_decimals(p, value, decimals);
        *p++ = '\n';
    }

    ngx_http_cycles_text_wrote(m->text, p);
}


static size_t
ngx_http_cycles_labels_size(ngx_http_cycles_metric_label_t *labels,
    ngx_uint_t n)
{
    size_t      size;
    ngx_uint_t  i;

    size = 0;

    for (i = 0; i < n; i++) {
        size += ngx_strlen(labels[i].name) + labels[i].value.len
                + sizeof("\"\":\"\",") - 1;
    }

    return size;
}


static u_char *
ngx_http_cycles_labels_print(u_char *p, ngx_http_cycles_metric_label_t *labels,
    ngx_uint_t n, ngx_uint_t json)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if (json) {
            *p++ = '"';
        }

        p = ngx_cpymem(p, labels[i].name, ngx_strlen(labels[i].name));

        if (json) {
            *p++ = '"';
        }

        *p++ = json ? ':' : '=';
        *p++ = '"';
        p = ngx_cpymem(p, labels[i].value.data, labels[i].value.len);
        *p++ = '"';

        if (json || i < n - 1) {
            *p++ = ',';
        }
    }

    return p;
}


static u_char *
ngx_http_cycles_json_next(ngx_http_cycles_metrics_t *m, u_char *p)
{
    if (m->samples++) {
        *p++ = ',';
    }

    *p++ = '{';

    return p;
}


/* the sum of all slices; values are in units of so many decimals */

void
ngx_http_cycles_metric_histogram(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, ngx_http_cycles_histogram_e which,
    ngx_uint_t decimals)
{
    ngx_uint_t                    i, k;
    ngx_http_cycles_histogram_t   sum, *h;

    ngx_memzero(&sum, sizeof(ngx_http_cycles_histogram_t));

    for (i = 0; i < ngx_http_cycles_counters->nslices; i++) {
        h = &ngx_http_cycles_counters->slices[i]->histograms[which];

        for (k = 0; k <= NGX_HTTP_CYCLES_BUCKETS; k++) {
            sum.buckets[k] += h->buckets[k];
        }

        sum.sum += h->sum;
    }

    if (m->json) {
        ngx_http_cycles_histogram_json(m, label, &sum, which, decimals);

    } else {
        ngx_http_cycles_histogram_text(m, label, &sum, which, decimals);
    }
}


static void
ngx_http_cycles_histogram_text(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, ngx_http_cycles_histogram_t *h,
    ngx_http_cycles_histogram_e which, ngx_uint_t decimals)
{
    u_char          *p, braces[64], comma[64];
    uint64_t         count;
    ngx_uint_t       i, n;
    const uint64_t  *bounds;

    bounds = ngx_http_cycles_bounds(which, &n);

    p = ngx_http_cycles_text_room(m->text, (n + 3) * (m->name_len + 128));
    if (p == NULL) {
        return;
    }

    braces[0] = '\0';
    comma[0] = '\0';

    if (label) {
        ngx_sprintf(braces, "{%s=\"%V\"}%Z", label->name, &label->value);
        ngx_sprintf(comma, "%s=\"%V\",%Z", label->name, &label->value);
    }

    count = 0;

    for (i = 0; i < n; i++) {
        count += h->buckets[i];

        p = ngx_sprintf(p, "%s_bucket{%sle=\"", m->name, comma);
        p = ngx_http_cycles_print_decimals(p, bounds[i], decimals);
        p = ngx_sprintf(p, "\"} %uL\n", count);
    }

    count += h->buckets[n];

    p = ngx_sprintf(p, "%s_bucket{%sle=\"+Inf\"} %uL\n%s_sum%s ", m->name,
                    comma, count, m->name, braces);
    p = ngx_http_cycles_print_decimals(p, h->sum, decimals);
    p = ngx_sprintf(p, "\n%s_count%s %uL\n", m->name, braces, count);

    ngx_http_cycles_text_wrote(m->text, p);
}


/* buckets are cumulative here too */

static void
ngx_http_cycles_histogram_json(ngx_http_cycles_metrics_t *m,
    ngx_http_cycles_metric_label_t *label, ngx_http_cycles_histogram_t *h,
    ngx_http_cycles_histogram_e which, ngx_uint_t decimals)
{
    u_char          *p;
    uint64_t         count;
    ngx_uint_t       i, n;
    const uint64_t  *bounds;

    bounds = ngx_http_cycles_bounds(which, &n);

    p = ngx_http_cycles_text_room(m->text, (n + 3) * 64 + 128);
    if (p == NULL) {
        return;
    }

    p = ngx_http_cycles_json_next(m, p);
    p = ngx_http_cycles_labels_print(p, label, label ? 1 : 0, 1);
    p = ngx_sprintf(p, "\"buckets\":{");

    count = 0;

    for (i = 0; i < n; i++) {
        count += h->buckets[i];

        *p++ = '"';
        p = ngx_http_cycles_print_decimals(p, bounds[i], decimals);
        p = ngx_sprintf(p, "\":%uL,", count);
    }

    count += h->buckets[n];

    p = ngx_sprintf(p, "\"+Inf\":%uL},\"count\":%uL,\"sum\":", count, count);
    p = ngx_http_cycles_print_decimals(p, h->sum, decimals);
    *p++ = '}';

    ngx_http_cycles_text_wrote(m->text, p);
}
