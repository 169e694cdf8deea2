
/*
 * Copyright (C) nginx-cycles authors
 *
 * Where one period of a budget ends and the next one begins.  Whoever comes
 * first after a boundary closes the period, in a record of its own, before it
 * does anything else with the budget: so no job can be missed, and a replay
 * needs neither a clock nor a time zone.
 *
 * As with RESET_SPENT of the governance specification, spent begins at 0,
 * while reservations stay held, to be charged where they are settled, and debt
 * stays to be paid.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cycles_time.h"
#include "cycles_ledger_core.h"


/* one that begins later could end at a time that can't be written */
#define CYCLES_LAST_PERIOD  (CYCLES_MAX_TIME - CYCLES_MAX_PERIOD_MS)

/* how many budgets are looked at in one critical section */
#define CYCLES_ZONES_BATCH  1024


static void cycles_period_next(cycles_ledger_t *ledger,
    cycles_budget_t *budget, int64_t now, int64_t *start, int64_t *end);
static const cycles_zone_t *cycles_zone_of(cycles_ledger_t *ledger,
    cycles_str_t name);
static cycles_known_zone_t *cycles_zone_known(cycles_ledger_t *ledger,
    cycles_str_t name);
static void cycles_zone_read_again(cycles_ledger_t *ledger,
    cycles_known_zone_t *known);


/*
 * Closes the periods of these budgets that have ended.  live: as for
 * cycles_log_commit().  -1: it could not be written, and nothing is changed.
 */

int
cycles_periods_turn(cycles_ledger_t *ledger, cycles_budget_t *const *budgets,
    unsigned n, int64_t now, int live)
{
    unsigned          i;
    cycles_turn_t    *turn;
    cycles_record_t  *rec;
    cycles_budget_t  *b;

    for (i = 0; i < n; i++) {
        if (now >= budgets[i]->period_end_ms) {
            break;
        }
    }

    if (i == n || now > CYCLES_LAST_PERIOD) {
        return 0;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_PERIOD;
    rec->neffects = 0;

    for ( /* void */ ; i < n; i++) {
        b = budgets[i];

        if (now < b->period_end_ms || b->status == CYCLES_BUDGET_IS_CLOSED) {
            continue;
        }

        turn = &rec->turns[rec->neffects];

        turn->start_ms = b->period_start_ms;
        turn->end_ms = b->period_end_ms;
        turn->allocated = b->allocated;
        turn->reserved = b->reserved;
        turn->debt = b->debt;

        cycles_period_next(ledger, b, now, &turn->next_start_ms,
                           &turn->next_end_ms);

        cycles_effect_add(rec, b, 0, -b->spent, 0);
        rec->effects[rec->neffects - 1].over_limit = (b->debt
                                                      > b->overdraft_limit);
    }

    return rec->neffects ? cycles_log_commit(ledger, rec, now, live) : 0;
}


/*
 * The period that contains now.  Those between, in which nobody came, are
 * passed over: nothing was spent in them.
 */

static void
cycles_period_next(cycles_ledger_t *ledger, cycles_budget_t *budget,
    int64_t now, int64_t *start, int64_t *end)
{
    int64_t               ended;
    cycles_period_t       period;
    const cycles_zone_t  *zone;

    cycles_period_fill(ledger, budget, &period);
    ended = period.end_ms;

    if (period.type == CYCLES_PERIOD_ROLLING) {
        *start = ended + (now - ended) / period.length_ms * period.length_ms;
        *end = *start + period.length_ms;
        return;
    }

    zone = cycles_zone_of(ledger, period.timezone);

    (void) cycles_calendar_bounds(zone, period.every, now, start, end);

    if (*start >= ended) {
        return;
    }

    /*
     * The zone has other rules than when the boundary was set: the same
     * period must not be had twice.
     */

    if (ended - *start > *end - ended) {
        (void) cycles_calendar_bounds(zone, period.every, *end, start, end);
    }

    *start = ended;
}


/*
 * The first period by this definition.  What has been spent already, and since
 * when, counts in it.
 */

void
cycles_period_begin(cycles_ledger_t *ledger, cycles_period_t *period,
    const cycles_budget_t *budget, int64_t now)
{
    int64_t  start;

    now = (now < 0) ? 0
          : (now > CYCLES_LAST_PERIOD) ? CYCLES_LAST_PERIOD : now;
    start = now;

    switch (period->type) {

    case CYCLES_PERIOD_CALENDAR:
        (void) cycles_calendar_bounds(cycles_zone_of(ledger,
                                                     period->timezone),
                                      period->every, now, &start,
                                      &period->end_ms);
        break;

    case CYCLES_PERIOD_ROLLING:
        period->end_ms = now + period->length_ms;
        break;

    default: /* CYCLES_PERIOD_NONE */
        period->start_ms = 0;
        period->end_ms = CYCLES_NO_BOUNDARY;
        return;
    }

    period->start_ms = start;

    if (budget == NULL) {
        return;
    }

    period->start_ms = (budget->period == CYCLES_PERIOD_NONE)
                       ? budget->created_ms : budget->period_start_ms;

    if (period->start_ms > now) {
        period->start_ms = start;
    }
}


int
cycles_period_same(const cycles_period_t *a, const cycles_period_t *b)
{
    if (a->type != b->type) {
        return 0;
    }

    switch (a->type) {

    case CYCLES_PERIOD_CALENDAR:
        return a->every == b->every
               && a->timezone.len == b->timezone.len
               && (a->timezone.len == 0
                   || memcmp(a->timezone.data, b->timezone.data,
                             a->timezone.len)
                      == 0);

    case CYCLES_PERIOD_ROLLING:
        return a->length_ms == b->length_ms;

    default: /* CYCLES_PERIOD_NONE */
        return 1;
    }
}


/* whether it can be one: it may come from a log */

int
cycles_period_ok(const cycles_period_t *period)
{
    switch (period->type) {

    case CYCLES_PERIOD_CALENDAR:
        if (period->timezone.len > CYCLES_MAX_TIMEZONE) {
            return 0;
        }

        break;

    case CYCLES_PERIOD_ROLLING:
        if (period->length_ms < CYCLES_MIN_PERIOD_MS
            || period->length_ms > CYCLES_MAX_PERIOD_MS)
        {
            return 0;
        }

        break;

    default: /* CYCLES_PERIOD_NONE */
        return 1;
    }

    return cycles_bounds_ok(period->start_ms, period->end_ms);
}


int
cycles_bounds_ok(int64_t start, int64_t end)
{
    return start >= 0 && start < end && end <= CYCLES_MAX_TIME;
}


/*
 * UTC, if the zone can't be had: the log says so, and the boundaries are off
 * by some hours until it can.
 */

static const cycles_zone_t *
cycles_zone_of(cycles_ledger_t *ledger, cycles_str_t name)
{
    cycles_known_zone_t  *known;

    known = name.len ? cycles_zone_known(ledger, name) : NULL;

    return (known && known->zone) ? known->zone : ledger->utc;
}


static cycles_known_zone_t *
cycles_zone_known(cycles_ledger_t *ledger, cycles_str_t name)
{
    unsigned              i;
    cycles_known_zone_t  *known;

    for (i = 0; i < ledger->nzones; i++) {
        known = &ledger->zones[i];

        if (known->name.len == name.len
            && memcmp(known->name.data, name.data, name.len) == 0)
        {
            return known;
        }
    }

    known = realloc(ledger->zones,
                    (ledger->nzones + 1) * sizeof(cycles_known_zone_t));

    if (known == NULL) {
        return NULL;
    }

    ledger->zones = known;
    known = &known[ledger->nzones];

    known->zone = NULL;
    known->name.len = name.len;
    known->name.data = malloc(name.len + 1);

    if (known->name.data == NULL) {
        return NULL;
    }

    memcpy(known->name.data, name.data, name.len);
    ledger->nzones++;

    cycles_zone_read_again(ledger, known);

    return known;
}


/* one that was read once is better than none */

static void
cycles_zone_read_again(cycles_ledger_t *ledger, cycles_known_zone_t *known)
{
    char            err[256];
    cycles_zone_t  *zone;

    zone = cycles_zone_load(known->name, err, sizeof(err));

    if (zone == NULL) {
        cycles_ledger_say(ledger, CYCLES_LEDGER_ERR, "%s: budgets of ledger "
                          "\"%s\" with this time zone have their periods %s",
                          err, ledger->path,
                          known->zone ? "by its rules as they were read before"
                                      : "in UTC");
        return;
    }

    cycles_zone_free(known->zone);
    known->zone = zone;
}


/* a few budgets at a time: the workers must not wait for a million of them */

void
cycles_ledger_zones(cycles_ledger_t *ledger)
{
    unsigned          n;
    uint32_t          id, all;
    cycles_period_t   period;
    cycles_budget_t  *budget;

    if (cycles_ledger_lock(ledger) != 0) {
        return;
    }

    for (n = 0; n < ledger->nzones; n++) {
        cycles_zone_read_again(ledger, &ledger->zones[n]);
    }

    cycles_ledger_unlock(ledger);

    id = 1;

    do {
        if (cycles_ledger_lock(ledger) != 0) {
            return;
        }

        all = ledger->shm->budgets.n;

        for (n = 0; n < CYCLES_ZONES_BATCH && id <= all; n++, id++) {
            budget = cycles_budget_by_id(ledger, id);

            if (budget->period == CYCLES_PERIOD_CALENDAR) {
                cycles_period_fill(ledger, budget, &period);
                (void) cycles_zone_known(ledger, period.timezone);
            }
        }

        cycles_ledger_unlock(ledger);

    } while (id <= all);
}


void
cycles_zones_free(cycles_ledger_t *ledger)
{
    while (ledger->nzones) {
        ledger->nzones--;

        cycles_zone_free(ledger->zones[ledger->nzones].zone);
        free(ledger->zones[ledger->nzones].name.data);
    }

    free(ledger->zones);
    cycles_zone_free(ledger->utc);
}
