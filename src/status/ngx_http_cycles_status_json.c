
/*
 * Copyright (C) nginx-cycles authors
 *
 * What goes on, as JSON: live requests, denials, spend; and all metrics.
 */


#include "ngx_http_cycles_metrics.h"
#include "../cycles_time.h"
#include "../gateway/ngx_http_cycles_module.h"
#include "../ledger/ngx_http_cycles_ledger.h"
#include "../client/ngx_http_cycles_client.h"


/* of one list, so that an answer stays an answer to a person */

#define NGX_HTTP_CYCLES_SHOWN_STREAMS  500
#define NGX_HTTP_CYCLES_SHOWN_DENIALS  100

/* the longest item of a list, without its names */

#define NGX_HTTP_CYCLES_ITEM           768


static void ngx_http_cycles_streams_json(ngx_http_cycles_text_t *text,
    uint64_t now);
static void ngx_http_cycles_stream_json(ngx_http_cycles_text_t *text,
    ngx_http_cycles_stream_t *stream, uint64_t now, ngx_uint_t first);
static void ngx_http_cycles_denials_json(ngx_http_cycles_text_t *text);
static int ngx_libc_cdecl ngx_http_cycles_denial_compare(const void *one,
    const void *two);
static void ngx_http_cycles_denial_json(ngx_http_cycles_text_t *text,
    ngx_http_cycles_denied_t *denied, ngx_uint_t first);
static void ngx_http_cycles_spend_json(ngx_http_cycles_text_t *text,
    uint64_t now);
static void ngx_http_cycles_authorities_json(ngx_http_cycles_text_t *text);
static u_char *ngx_http_cycles_member(u_char *p, const char *name,
    u_char *value, size_t len);
static u_char *ngx_http_cycles_time_member(u_char *p, const char *name,
    uint64_t time);
static u_char *ngx_http_cycles_provider_member(u_char *p,
    ngx_uint_t provider);


void
ngx_http_cycles_summary_json(ngx_http_cycles_text_t *text)
{
    u_char                          *p;
    uint64_t                         live, now;
    ngx_uint_t                       i;
    ngx_time_t                      *tp;
    ngx_http_cycles_ledger_state_t   state;

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    live = 0;

    for (i = 0; ngx_http_cycles_ledger_state(i, &state) == NGX_OK; i++) {
        live += state.stat.live_reservations;
    }

    p = ngx_http_cycles_text_room(text, 256);

    if (p == NULL) {
        return;
    }

    p = ngx_sprintf(p, "\"live_reservations\":%uL,", live);
    p = ngx_http_cycles_time_member(p, "now", now);

    if (ngx_http_cycles_counters) {
        *p++ = ',';
        p = ngx_http_cycles_time_member(p, "counting_since",
                                        ngx_http_cycles_counters->since);
    }

    ngx_http_cycles_text_wrote(text, p);

    if (ngx_http_cycles_counters) {
        ngx_http_cycles_streams_json(text, now);
        ngx_http_cycles_denials_json(text);
        ngx_http_cycles_spend_json(text, now);
    }

    ngx_http_cycles_authorities_json(text);

    ngx_http_cycles_text_add(text, ",\"metrics\":{");
    ngx_http_cycles_metrics(text, 1);
    ngx_http_cycles_text_add(text, "}");
}


static void
ngx_http_cycles_streams_json(ngx_http_cycles_text_t *text, uint64_t now)
{
    ngx_uint_t                   i, k, n;
    ngx_http_cycles_slice_t     *slice;
    ngx_http_cycles_stream_t    *page;
    ngx_http_cycles_counters_t  *all;

    ngx_http_cycles_text_add(text, ",\"streams\":[");

    all = ngx_http_cycles_counters;
    n = 0;

    for (i = 0; i < all->nslices; i++) {
        slice = all->slices[i];

        if (!ngx_http_cycles_slice_lives(slice)) {
            continue;
        }

        for (k = 0; k < NGX_HTTP_CYCLES_MAX_STREAMS; k++) {
            page = slice->streams[k / NGX_HTTP_CYCLES_PAGE_STREAMS];

            if (page == NULL || n == NGX_HTTP_CYCLES_SHOWN_STREAMS) {
                break;
            }

            page += k % NGX_HTTP_CYCLES_PAGE_STREAMS;

            if (page->lease) {
                ngx_http_cycles_stream_json(text, page, now, n++ == 0);
            }
        }
    }

    ngx_http_cycles_text_add(text, "]");
}


/* it may end while it is read, so what is read is no pointer and no length */

static void
ngx_http_cycles_stream_json(ngx_http_cycles_text_t *text,
    ngx_http_cycles_stream_t *stream, uint64_t now, ngx_uint_t first)
{
    u_char                    *p;
    ngx_str_t                  model, tenant;
    ngx_http_cycles_stream_t   s;

    s = *stream;

    if (s.id_len > NGX_HTTP_CYCLES_ID_SIZE || s.unit >= CYCLES_UNITS) {
        return;
    }

    ngx_http_cycles_name(NGX_HTTP_CYCLES_MODELS, s.model, &model);
    ngx_http_cycles_name(NGX_HTTP_CYCLES_TENANTS, s.tenant, &tenant);

    p = ngx_http_cycles_text_room(text, NGX_HTTP_CYCLES_ITEM
                              + ngx_http_cycles_quoted_size(model.len)
                              + ngx_http_cycles_quoted_size(tenant.len));
    if (p == NULL) {
        return;
    }

    p = ngx_cpymem(p, first ? "{" : ",{", first ? 1 : 2);
    p = ngx_http_cycles_member(p, "reservation_id", s.id, s.id_len);
    *p++ = ',';
    p = ngx_http_cycles_member(p, "tenant", tenant.data, tenant.len);
    *p++ = ',';
    p = ngx_http_cycles_member(p, "model", model.data, model.len);
    *p++ = ',';
    p = ngx_http_cycles_provider_member(p, s.provider);
    p = ngx_sprintf(p, ",\"age_ms\":%L,\"lease_ms\":%L,\"heartbeats\":%uD,"
                    "\"estimate\":{\"unit\":\"%s\",\"amount\":%L},"
                    "\"client_left\":%s}",
                    (int64_t) (now - s.started), (int64_t) (s.lease - now),
                    s.beats, cycles_unit_name(s.unit), s.estimate,
                    s.left ? "true" : "false");

    ngx_http_cycles_text_wrote(text, p);
}


/* the last ones of all workers, the latest first */

static void
ngx_http_cycles_denials_json(ngx_http_cycles_text_t *text)
{
    uint32_t                     sequence;
    ngx_uint_t                   i, k, n;
    ngx_array_t                  denials;
    ngx_http_cycles_denied_t    *denied, *copy;
    ngx_http_cycles_counters_t  *all;

    if (ngx_array_init(&denials, text->pool, NGX_HTTP_CYCLES_DENIALS,
                       sizeof(ngx_http_cycles_denied_t))
        != NGX_OK)
    {
        text->failed = 1;
        return;
    }

    all = ngx_http_cycles_counters;

    for (i = 0; i < all->nslices; i++) {

        if (all->slices[i]->denials == NULL) {
            continue;
        }

        for (k = 0; k < NGX_HTTP_CYCLES_DENIALS; k++) {
            denied = &all->slices[i]->denials[k];
            sequence = denied->sequence;

            if (sequence == 0 || (sequence & 1)) {
                continue;
            }

            copy = ngx_array_push(&denials);

            if (copy == NULL) {
                text->failed = 1;
                return;
            }

            ngx_memory_barrier();
            *copy = *denied;
            ngx_memory_barrier();

            if (denied->sequence != sequence) {

                /* there is another one in its place now */

                denials.nelts--;
            }
        }
    }

    denied = denials.elts;
    n = ngx_min(denials.nelts, NGX_HTTP_CYCLES_SHOWN_DENIALS);

    ngx_qsort(denied, denials.nelts, sizeof(ngx_http_cycles_denied_t),
              ngx_http_cycles_denial_compare);

    ngx_http_cycles_text_add(text, ",\"denials\":[");

    for (i = 0; i < n; i++) {
        ngx_http_cycles_denial_json(text, &denied[i], i == 0);
    }

    ngx_http_cycles_text_add(text, "]");
}


static int ngx_libc_cdecl
ngx_http_cycles_denial_compare(const void *one, const void *two)
{
    const ngx_http_cycles_denied_t *a = one;
    const ngx_http_cycles_denied_t *b = two;

    if (a->time == b->time) {
        return (a->number < b->number) - (a->number > b->number);
    }

    return (a->time < b->time) ? 1 : -1;
}


static void
ngx_http_cycles_denial_json(ngx_http_cycles_text_t *text,
    ngx_http_cycles_denied_t *denied, ngx_uint_t first)
{
    u_char     *p;
    ngx_str_t  *decision;

    p = ngx_http_cycles_text_room(text, NGX_HTTP_CYCLES_ITEM
              + 3 * ngx_http_cycles_quoted_size(NGX_HTTP_CYCLES_DENIED_SIZE));
    if (p == NULL) {
        return;
    }

    decision = ngx_http_cycles_verdict_name(denied->verdict);

    p = ngx_cpymem(p, first ? "{" : ",{", first ? 1 : 2);
    p = ngx_http_cycles_time_member(p, "time", denied->time);
    *p++ = ',';
    p = ngx_http_cycles_member(p, "decision", decision->data, decision->len);
    *p++ = ',';
    p = ngx_http_cycles_member(p, "reason", denied->reason,
                               denied->reason_len);
    *p++ = ',';
    p = ngx_http_cycles_member(p, "tenant", denied->tenant,
                               denied->tenant_len);
    *p++ = ',';
    p = ngx_http_cycles_member(p, "model", denied->model, denied->model_len);
    *p++ = ',';
    p = ngx_http_cycles_provider_member(p, denied->provider);

    if (denied->estimate >= 0) {
        p = ngx_sprintf(p, ",\"estimate\":{\"unit\":\"%s\",\"amount\":%L}",
                        cycles_unit_name(denied->unit), denied->estimate);
    }

    if (denied->remaining != CYCLES_NOT_KNOWN) {
        p = ngx_sprintf(p, ",\"remaining\":{\"unit\":\"%s\",\"amount\":%L}",
                        cycles_unit_name(denied->unit), denied->remaining);
    }

    *p++ = '}';

    ngx_http_cycles_text_wrote(text, p);
}


static void
ngx_http_cycles_spend_json(ngx_http_cycles_text_t *text, uint64_t now)
{
    u_char                      *p;
    uint64_t                     key, hour, day;
    ngx_str_t                    name;
    ngx_uint_t                   i, n, kind;
    ngx_http_cycles_counters_t  *all;

    all = ngx_http_cycles_counters;

    ngx_http_cycles_text_add(text, ",\"spend\":[");

    for (n = 0, i = 1; i < all->spends.n; i++) {

        if (all->spent[i] == NULL) {
            continue;
        }

        ngx_http_cycles_spent_in(all->spent[i], now, &hour, &day);

        if (day == 0) {
            continue;
        }

        key = all->spends.keys[i];
        kind = (key >> 32) & 0xff;

        ngx_http_cycles_name(kind, key & 0xffff, &name);

        p = ngx_http_cycles_text_room(text, NGX_HTTP_CYCLES_ITEM
                                   + ngx_http_cycles_quoted_size(name.len));
        if (p == NULL) {
            return;
        }

        p = ngx_sprintf(p, "%s{\"by\":\"%s\",", n++ ? "," : "",
                        (kind == NGX_HTTP_CYCLES_TENANTS) ? "tenant"
                                                          : "model");
        p = ngx_http_cycles_member(p, "name", name.data, name.len);
        p = ngx_sprintf(p, ",\"unit\":\"%s\",\"hour\":%uL,\"day\":%uL}",
                        cycles_unit_name((key >> 16) & 0xff), hour, day);

        ngx_http_cycles_text_wrote(text, p);
    }

    ngx_http_cycles_text_add(text, "]");
}


/* who is asked; a ledger's own state is elsewhere */

static void
ngx_http_cycles_authorities_json(ngx_http_cycles_text_t *text)
{
    u_char                          *p;
    ngx_uint_t                       i, n;
    ngx_array_t                     *servers;
    ngx_http_cycles_server_t       **server;
    ngx_http_cycles_breaker_t       *breaker;
    ngx_http_cycles_ledger_state_t   state;

    ngx_http_cycles_text_add(text, ",\"authorities\":[");

    for (n = 0; ngx_http_cycles_ledger_state(n, &state) == NGX_OK; n++) {
        p = ngx_http_cycles_text_room(text, NGX_HTTP_CYCLES_ITEM);

        if (p == NULL) {
            return;
        }

        p = ngx_sprintf(p, "%s{\"kind\":\"ledger\",\"name\":\"%V\","
                        "\"budgets\":%uL,\"live_reservations\":%uL,"
                        "\"sync\":\"%s\"}",
                        n ? "," : "", &state.name, state.stat.budgets,
                        state.stat.live_reservations,
                        state.always ? "always" : "interval");

        ngx_http_cycles_text_wrote(text, p);
    }

    servers = ngx_http_cycles_client_servers();
    server = servers->elts;

    for (i = 0; i < servers->nelts; i++) {
        p = ngx_http_cycles_text_room(text, NGX_HTTP_CYCLES_ITEM
                     + ngx_http_cycles_quoted_size(server[i]->location.len)
                     + ngx_http_cycles_quoted_size(server[i]->base_url.len));
        if (p == NULL) {
            return;
        }

        breaker = server[i]->breaker->data;

        p = ngx_sprintf(p, "%s{\"kind\":\"server\",", n++ ? "," : "");
        p = ngx_http_cycles_member(p, "name", server[i]->location.data,
                                   server[i]->location.len);
        *p++ = ',';
        p = ngx_http_cycles_member(p, "base_url", server[i]->base_url.data,
                                   server[i]->base_url.len);
        p = ngx_sprintf(p, ",\"breaker\":\"%s\",\"failures\":%uA}",
                        breaker->opened ? "open" : "closed",
                        breaker->failures);

        ngx_http_cycles_text_wrote(text, p);
    }

    ngx_http_cycles_text_add(text, "]");
}


static u_char *
ngx_http_cycles_member(u_char *p, const char *name, u_char *value, size_t len)
{
    p = ngx_sprintf(p, "\"%s\":\"", name);
    p = ngx_http_cycles_quoted(p, value, len);
    *p++ = '"';

    return p;
}


static u_char *
ngx_http_cycles_time_member(u_char *p, const char *name, uint64_t time)
{
    p = ngx_sprintf(p, "\"%s\":\"", name);

    cycles_time_print(time, p);
    p += CYCLES_TIME_LEN;

    *p++ = '"';

    return p;
}


static u_char *
ngx_http_cycles_provider_member(u_char *p, ngx_uint_t provider)
{
    const char  *name;

    name = (provider < LLM_PROVIDERS) ? llm_provider_name(provider) : "";

    return ngx_http_cycles_member(p, "provider", (u_char *) name,
                                  ngx_strlen(name));
}
