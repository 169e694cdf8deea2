
/*
 * Copyright (C) nginx-cycles authors
 *
 * The state of all ledgers as JSON.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_ledger.h"
#include "../cycles_time.h"


#define NGX_HTTP_CYCLES_STATUS_BUF      16384

/* of one ledger; whoever has more asks the ledger for the ones of interest */
#define NGX_HTTP_CYCLES_STATUS_BUDGETS  10000

/* written under the ledger's lock at once */
#define NGX_HTTP_CYCLES_STATUS_BATCH    16

/* the longest Balance: two scopes, six amounts, a period, the names */
#define NGX_HTTP_CYCLES_STATUS_BALANCE  (2 * CYCLES_MAX_SCOPE + 1024)


typedef struct {
    ngx_pool_t          *pool;
    ngx_chain_t        **last;
    ngx_buf_t           *buf;
    size_t               len;
    ngx_uint_t           n;              /* of balances so far */
    unsigned             failed:1;
} ngx_http_cycles_status_out_t;


static u_char *ngx_http_cycles_status_room(
    ngx_http_cycles_status_out_t *out, size_t size);
static void ngx_http_cycles_status_wrote(ngx_http_cycles_status_out_t *out,
    u_char *end);
static void ngx_http_cycles_status_text(ngx_http_cycles_status_out_t *out,
    char *text);
static ngx_int_t ngx_http_cycles_status_budgets(
    ngx_http_cycles_status_out_t *out, ngx_http_cycles_ledger_t *l);
static int ngx_http_cycles_status_balance(void *data,
    const cycles_balance_t *balance);
static u_char *ngx_http_cycles_status_amount(u_char *p, char *name,
    const char *unit, int64_t amount);
static u_char *ngx_http_cycles_status_period(u_char *p,
    const cycles_period_t *period);
static u_char *ngx_http_cycles_status_time(u_char *p, char *name,
    int64_t time);
static void ngx_http_cycles_status_ledger(ngx_http_cycles_status_out_t *out,
    ngx_http_cycles_ledger_t *l, cycles_ledger_stat_t *stat);


ngx_int_t
ngx_http_cycles_ledger_status_json(ngx_pool_t *pool, ngx_chain_t **chain,
    size_t *len)
{
    u_char                               *p;
    uint64_t                              live;
    ngx_uint_t                            i, n, truncated;
    cycles_ledger_stat_t                  stat;
    ngx_http_cycles_ledger_t            **ledger;
    ngx_http_cycles_status_out_t          out;
    ngx_http_cycles_ledger_main_conf_t   *lmcf;

    ngx_memzero(&out, sizeof(ngx_http_cycles_status_out_t));

    out.pool = pool;
    out.last = chain;
    *chain = NULL;

    lmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_cycles_ledger_module);
    ledger = lmcf ? lmcf->ledgers.elts : NULL;
    n = lmcf ? lmcf->ledgers.nelts : 0;
    live = 0;
    truncated = 0;

    ngx_http_cycles_status_text(&out, "{\"ledgers\":{");

    for (i = 0; i < n; i++) {
        cycles_ledger_stat(ledger[i]->core, &stat);
        live += stat.live_reservations;

        ngx_http_cycles_status_text(&out, i ? ",\"" : "\"");

        p = ngx_http_cycles_status_room(&out, ledger[i]->name.len + 16);

        if (p) {
            p = ngx_sprintf(p, "%V\":{\"budgets\":[", &ledger[i]->name);
            ngx_http_cycles_status_wrote(&out, p);
        }

        out.n = 0;

        if (ngx_http_cycles_status_budgets(&out, ledger[i]) == NGX_DECLINED) {
            truncated = 1;
        }

        ngx_http_cycles_status_ledger(&out, ledger[i], &stat);
    }

    ngx_http_cycles_status_text(&out, "},\"budgets\":[");

    for (out.n = 0, i = 0; i < n; i++) {
        (void) ngx_http_cycles_status_budgets(&out, ledger[i]);
    }

    p = ngx_http_cycles_status_room(&out, 128);

    if (p) {
        p = ngx_sprintf(p, "],%s\"live_reservations\":%uL}",
                        truncated ? "\"budgets_truncated\":true," : "", live);
        ngx_http_cycles_status_wrote(&out, p);
    }

    *out.last = NULL;
    *len = out.len;

    return out.failed ? NGX_ERROR : NGX_OK;
}


static u_char *
ngx_http_cycles_status_room(ngx_http_cycles_status_out_t *out, size_t size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (out->buf && (size_t) (out->buf->end - out->buf->last) >= size) {
        return out->buf->last;
    }

    b = ngx_create_temp_buf(out->pool,
                            ngx_max(size, NGX_HTTP_CYCLES_STATUS_BUF));
    cl = ngx_alloc_chain_link(out->pool);

    if (b == NULL || cl == NULL) {
        out->failed = 1;
        return NULL;
    }

    cl->buf = b;
    cl->next = NULL;

    *out->last = cl;
    out->last = &cl->next;
    out->buf = b;

    return b->last;
}


static void
ngx_http_cycles_status_wrote(ngx_http_cycles_status_out_t *out, u_char *end)
{
    out->len += end - out->buf->last;
    out->buf->last = end;
}


static void
ngx_http_cycles_status_text(ngx_http_cycles_status_out_t *out, char *text)
{
    u_char  *p;
    size_t   len;

    len = ngx_strlen(text);
    p = ngx_http_cycles_status_room(out, len);

    if (p) {
        ngx_http_cycles_status_wrote(out, ngx_cpymem(p, text, len));
    }
}


/* NGX_DECLINED: there are more than are shown */

static ngx_int_t
ngx_http_cycles_status_budgets(ngx_http_cycles_status_out_t *out,
    ngx_http_cycles_ledger_t *l)
{
    uint64_t    cursor;
    ngx_uint_t  n;

    cursor = 0;

    for (n = 0; n < NGX_HTTP_CYCLES_STATUS_BUDGETS;
         n += NGX_HTTP_CYCLES_STATUS_BATCH)
    {
        cycles_ledger_balances(l->core, &cursor, NGX_HTTP_CYCLES_STATUS_BATCH,
                               ngx_http_cycles_ledger_now(),
                               ngx_http_cycles_status_balance, out);

        if (cursor == 0) {
            break;
        }
    }

    ngx_http_cycles_ledger_wrote(l);

    return cursor ? NGX_DECLINED : NGX_OK;
}


static int
ngx_http_cycles_status_balance(void *data, const cycles_balance_t *balance)
{
    ngx_http_cycles_status_out_t *out = data;

    u_char      *p, *leaf, *end;
    ngx_str_t    path, scope;
    const char  *unit;

    p = ngx_http_cycles_status_room(out, NGX_HTTP_CYCLES_STATUS_BALANCE);

    if (p == NULL) {
        return 1;
    }

    unit = cycles_unit_name(balance->unit);

    path.data = balance->scope_path.data;
    path.len = balance->scope_path.len;
    end = path.data + path.len;

    for (leaf = end; leaf > path.data && leaf[-1] != '/'; leaf--) {
        /* void */
    }

    scope.data = leaf;
    scope.len = end - leaf;

    p = ngx_sprintf(p, "%s{\"scope\":\"%V\",\"scope_path\":\"%V\",",
                    out->n++ ? "," : "", &scope, &path);
    p = ngx_http_cycles_status_amount(p, "remaining", unit,
                                      balance->remaining);
    *p++ = ',';
    p = ngx_http_cycles_status_amount(p, "reserved", unit, balance->reserved);
    *p++ = ',';
    p = ngx_http_cycles_status_amount(p, "spent", unit, balance->spent);
    *p++ = ',';
    p = ngx_http_cycles_status_amount(p, "debt", unit, balance->debt);
    *p++ = ',';
    p = ngx_http_cycles_status_amount(p, "allocated", unit,
                                      balance->allocated);
    *p++ = ',';
    p = ngx_http_cycles_status_amount(p, "overdraft_limit", unit,
                                      balance->overdraft_limit);
    p = ngx_sprintf(p, ",\"is_over_limit\":%s",
                    balance->is_over_limit ? "true" : "false");
    p = ngx_http_cycles_status_period(p, &balance->period);
    *p++ = '}';

    ngx_http_cycles_status_wrote(out, p);

    return 0;
}


static u_char *
ngx_http_cycles_status_amount(u_char *p, char *name, const char *unit,
    int64_t amount)
{
    return ngx_sprintf(p, "\"%s\":{\"unit\":\"%s\",\"amount\":%L}", name,
                       unit, amount);
}


static u_char *
ngx_http_cycles_status_period(u_char *p, const cycles_period_t *period)
{
    switch (period->type) {

    case CYCLES_PERIOD_CALENDAR:
        p = ngx_sprintf(p, ",\"period\":{\"type\":\"calendar\",\"every\":"
                        "\"%s\",\"timezone\":\"%*s\",",
                        cycles_every_name(period->every),
                        period->timezone.len ? period->timezone.len : 3,
                        period->timezone.len ? (char *) period->timezone.data
                                             : "UTC");
        break;

    case CYCLES_PERIOD_ROLLING:
        p = ngx_sprintf(p, ",\"period\":{\"type\":\"rolling\","
                        "\"seconds\":%L,", period->length_ms / 1000);
        break;

    default: /* CYCLES_PERIOD_NONE */
        return p;
    }

    p = ngx_http_cycles_status_time(p, "start", period->start_ms);
    *p++ = ',';
    p = ngx_http_cycles_status_time(p, "resets_at", period->end_ms);
    *p++ = '}';

    return p;
}


static u_char *
ngx_http_cycles_status_time(u_char *p, char *name, int64_t time)
{
    p = ngx_sprintf(p, "\"%s\":\"", name);

    cycles_time_print(time, p);
    p += CYCLES_TIME_LEN;

    *p++ = '"';

    return p;
}


static void
ngx_http_cycles_status_ledger(ngx_http_cycles_status_out_t *out,
    ngx_http_cycles_ledger_t *l, cycles_ledger_stat_t *stat)
{
    u_char  *p;

    p = ngx_http_cycles_status_room(out, 512);

    if (p == NULL) {
        return;
    }

    p = ngx_sprintf(p, "],\"live_reservations\":%uL,\"budget_count\":%uL,"
                    "\"expired\":%uL,\"zone_used\":%uL,\"zone_size\":%uL,"
                    "\"records\":%uL,\"synced\":%uL,\"folded\":%uL,"
                    "\"fold_lag\":%uL,\"log_size\":%uL,"
                    "\"database_size\":%uL,\"sync\":\"%s\"}",
                    stat->live_reservations, stat->budgets, stat->expired,
                    stat->zone_used, stat->zone_size, stat->records,
                    cycles_ledger_synced(l->core), stat->folded,
                    (stat->records > stat->folded)
                    ? stat->records - stat->folded : 0,
                    stat->log_size, stat->database_size,
                    (l->sync_mode == NGX_HTTP_CYCLES_LEDGER_ALWAYS)
                    ? "always" : "interval");

    ngx_http_cycles_status_wrote(out, p);
}
