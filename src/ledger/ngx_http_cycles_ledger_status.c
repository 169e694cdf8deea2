
/*
 * Copyright (C) nginx-cycles authors
 *
 * The state of all ledgers: numbers, and budgets as JSON.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_ledger.h"
#include "../cycles_time.h"


/* written under the ledger's lock at once */
#define NGX_HTTP_CYCLES_STATUS_BATCH    16

/* the longest Balance: two scopes, six amounts, a period, the names */
#define NGX_HTTP_CYCLES_STATUS_BALANCE  (2 * CYCLES_MAX_SCOPE + 1280)


typedef struct {
    ngx_http_cycles_text_t          *text;
    ngx_http_cycles_ledger_t        *ledger;
    ngx_uint_t                       n;         /* of balances so far */
} ngx_http_cycles_balances_t;


static ngx_http_cycles_ledger_t *ngx_http_cycles_ledger_number(ngx_uint_t i);
static ngx_int_t ngx_http_cycles_status_cursor(ngx_str_t *text,
    ngx_uint_t *number, uint64_t *position);
static void ngx_http_cycles_status_ledgers(ngx_http_cycles_balances_t *out,
    ngx_uint_t first, uint64_t position, ngx_uint_t limit);
static void ngx_http_cycles_status_budgets(ngx_http_cycles_balances_t *out,
    uint64_t *position, ngx_uint_t limit);
static int ngx_http_cycles_status_balance(void *data,
    const cycles_balance_t *balance);
static u_char *ngx_http_cycles_status_amount(u_char *p, char *name,
    const char *unit, int64_t amount);
static u_char *ngx_http_cycles_status_period(u_char *p,
    const cycles_period_t *period);
static u_char *ngx_http_cycles_status_time(u_char *p, char *name,
    int64_t time);
static void ngx_http_cycles_status_ledger(ngx_http_cycles_text_t *text,
    ngx_http_cycles_ledger_state_t *state);


static ngx_http_cycles_ledger_t *
ngx_http_cycles_ledger_number(ngx_uint_t i)
{
    ngx_http_cycles_ledger_t            **ledger;
    ngx_http_cycles_ledger_main_conf_t   *lmcf;

    lmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_cycles_ledger_module);

    if (lmcf == NULL || i >= lmcf->ledgers.nelts) {
        return NULL;
    }

    ledger = lmcf->ledgers.elts;

    return ledger[i];
}


ngx_int_t
ngx_http_cycles_ledger_state(ngx_uint_t i,
    ngx_http_cycles_ledger_state_t *state)
{
    ngx_http_cycles_ledger_t  *l;

    l = ngx_http_cycles_ledger_number(i);

    if (l == NULL) {
        return NGX_DECLINED;
    }

    cycles_ledger_stat(l->core, &state->stat);

    state->name = l->name;
    state->synced = cycles_ledger_synced(l->core);
    state->always = (l->sync_mode == NGX_HTTP_CYCLES_LEDGER_ALWAYS);

    return NGX_OK;
}


ngx_int_t
ngx_http_cycles_ledger_budgets_json(ngx_http_cycles_text_t *text,
    ngx_str_t *cursor, ngx_uint_t limit, ngx_uint_t ledgers)
{
    u_char                      *p;
    uint64_t                     position;
    ngx_uint_t                   i;
    ngx_http_cycles_balances_t   out;

    if (ngx_http_cycles_status_cursor(cursor, &i, &position) != NGX_OK) {
        return NGX_DECLINED;
    }

    out.text = text;

    if (ledgers) {
        ngx_http_cycles_status_ledgers(&out, i, position, limit);
    }

    ngx_http_cycles_text_add(text, "\"budgets\":[");

    for (out.n = 0; /* void */ ; i++) {
        out.ledger = ngx_http_cycles_ledger_number(i);

        if (out.ledger == NULL || out.n == limit) {
            break;
        }

        ngx_http_cycles_status_budgets(&out, &position, limit - out.n);

        if (position) {
            break;
        }
    }

    ngx_http_cycles_text_add(text, "]");

    if (out.ledger == NULL) {
        return NGX_OK;
    }

    p = ngx_http_cycles_text_room(text, 64);

    if (p) {
        p = ngx_sprintf(p, ",\"next_cursor\":\"%ui.%uL\"", i, position);
        ngx_http_cycles_text_wrote(text, p);
    }

    return NGX_OK;
}


/* number of a ledger, and how many of its budgets were shown: "0.1000" */

static ngx_int_t
ngx_http_cycles_status_cursor(ngx_str_t *text, ngx_uint_t *number,
    uint64_t *position)
{
    u_char     *point;
    ngx_int_t   n, k;

    *number = 0;
    *position = 0;

    if (text->len == 0) {
        return NGX_OK;
    }

    point = ngx_strlchr(text->data, text->data + text->len, '.');

    if (point == NULL) {
        return NGX_ERROR;
    }

    n = ngx_atoi(text->data, point - text->data);
    k = ngx_atoi(point + 1, text->data + text->len - point - 1);

    if (n == NGX_ERROR || k == NGX_ERROR || k > NGX_MAX_INT32_VALUE) {
        return NGX_ERROR;
    }

    *number = n;
    *position = k;

    return NGX_OK;
}


/* each ledger with those of the same page that are its own */

static void
ngx_http_cycles_status_ledgers(ngx_http_cycles_balances_t *out,
    ngx_uint_t first, uint64_t position, ngx_uint_t limit)
{
    u_char                          *p;
    ngx_uint_t                       i;
    ngx_http_cycles_ledger_state_t   state;

    ngx_http_cycles_text_add(out->text, "\"ledgers\":{");

    for (i = 0; ngx_http_cycles_ledger_state(i, &state) == NGX_OK; i++) {
        p = ngx_http_cycles_text_room(out->text, state.name.len + 32);

        if (p == NULL) {
            return;
        }

        p = ngx_sprintf(p, "%s\"%V\":{\"budgets\":[", i ? "," : "",
                        &state.name);
        ngx_http_cycles_text_wrote(out->text, p);

        out->n = 0;

        if (i >= first && limit) {
            out->ledger = ngx_http_cycles_ledger_number(i);

            ngx_http_cycles_status_budgets(out, &position, limit);

            limit -= ngx_min(out->n, limit);
            position = 0;
        }

        ngx_http_cycles_status_ledger(out->text, &state);
    }

    ngx_http_cycles_text_add(out->text, "},");
}


/* from *position on, which becomes 0 at the end of the ledger */

static void
ngx_http_cycles_status_budgets(ngx_http_cycles_balances_t *out,
    uint64_t *position, ngx_uint_t limit)
{
    ngx_uint_t  n;

    do {
        n = ngx_min(limit, NGX_HTTP_CYCLES_STATUS_BATCH);
        limit -= n;

        cycles_ledger_balances(out->ledger->core, position, n,
                               ngx_http_cycles_ledger_now(),
                               ngx_http_cycles_status_balance, out);

    } while (*position && limit);

    ngx_http_cycles_ledger_wrote(out->ledger);
}


static int
ngx_http_cycles_status_balance(void *data, const cycles_balance_t *balance)
{
    ngx_http_cycles_balances_t *out = data;

    u_char      *p, *leaf, *end;
    ngx_str_t    path, scope;
    const char  *unit;

    p = ngx_http_cycles_text_room(out->text, NGX_HTTP_CYCLES_STATUS_BALANCE);

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

    p = ngx_sprintf(p, "%s{\"ledger\":\"%V\",\"scope\":\"%V\","
                    "\"scope_path\":\"%V\",", out->n++ ? "," : "",
                    &out->ledger->name, &scope, &path);
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

    ngx_http_cycles_text_wrote(out->text, p);

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
ngx_http_cycles_status_ledger(ngx_http_cycles_text_t *text,
    ngx_http_cycles_ledger_state_t *state)
{
    u_char                *p;
    cycles_ledger_stat_t  *stat;

    p = ngx_http_cycles_text_room(text, 512);

    if (p == NULL) {
        return;
    }

    stat = &state->stat;

    p = ngx_sprintf(p, "],\"live_reservations\":%uL,\"budget_count\":%uL,"
                    "\"expired\":%uL,\"zone_used\":%uL,\"zone_size\":%uL,"
                    "\"records\":%uL,\"synced\":%uL,\"folded\":%uL,"
                    "\"fold_lag\":%uL,\"log_size\":%uL,"
                    "\"database_size\":%uL,\"sync\":\"%s\"}",
                    stat->live_reservations, stat->budgets, stat->expired,
                    stat->zone_used, stat->zone_size, stat->records,
                    state->synced, stat->folded,
                    (stat->records > stat->folded)
                    ? stat->records - stat->folded : 0,
                    stat->log_size, stat->database_size,
                    state->always ? "always" : "interval");

    ngx_http_cycles_text_wrote(text, p);
}
