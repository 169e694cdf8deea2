
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the end of a tenant takes with it.  The tenant is closed first, and
 * from then on nothing of it can be changed; the rest follows, and may be
 * finished by another process if this one dies.
 */


#include <string.h>

#include "cycles_ledger_core.h"


/* how many are looked at in one critical section */
#define CYCLES_CLOSE_BATCH  1024


typedef int (*cycles_close_pt)(cycles_ledger_t *ledger, uint32_t *i,
    int64_t now);


static int cycles_any_closed(cycles_ledger_t *ledger);
static int cycles_close_all(cycles_ledger_t *ledger, cycles_close_pt close,
    int64_t now);
static int cycles_close_reservations(cycles_ledger_t *ledger, uint32_t *i,
    int64_t now);
static int cycles_close_budgets(cycles_ledger_t *ledger, uint32_t *i,
    int64_t now);
static int cycles_close_keys(cycles_ledger_t *ledger, uint32_t *i,
    int64_t now);
static int cycles_is_closed(const cycles_tenant_t *tenant);
static cycles_str_t cycles_close_reason(void);


int
cycles_ledger_close_tenants(cycles_ledger_t *ledger, int64_t now,
    uint64_t *record)
{
    int  n;

    *record = 0;

    if (!cycles_any_closed(ledger)) {
        return 0;
    }

    /* a hold that is returned may move another one to where we have been */

    do {
        n = cycles_close_all(ledger, cycles_close_reservations, now);
    } while (n > 0);

    if (n < 0
        || cycles_close_all(ledger, cycles_close_budgets, now) < 0
        || cycles_close_all(ledger, cycles_close_keys, now) < 0)
    {
        return -1;
    }

    *record = cycles_ledger_written(ledger);

    return 0;
}


static int
cycles_any_closed(cycles_ledger_t *ledger)
{
    int                  closed;
    uint32_t             i;
    cycles_directory_t  *all;

    if (cycles_ledger_lock(ledger) != 0) {
        return 0;
    }

    all = &ledger->shm->tenants_by_id;

    for (closed = 0, i = 1; i <= all->n && !closed; i++) {
        closed = cycles_is_closed(cycles_directory_at(ledger, all, i));
    }

    cycles_ledger_unlock(ledger);

    return closed;
}


/* returns how many were closed, -1 when the log could not be written */

static int
cycles_close_all(cycles_ledger_t *ledger, cycles_close_pt close, int64_t now)
{
    int       n, total;
    uint32_t  i;

    i = 0;
    total = 0;

    do {
        if (cycles_ledger_lock(ledger) != 0) {
            return -1;
        }

        n = close(ledger, &i, now);

        cycles_ledger_unlock(ledger);

        if (n == -1) {
            return -1;
        }

        total += n;

    } while (i);

    return total;
}


static int
cycles_close_reservations(cycles_ledger_t *ledger, uint32_t *i, int64_t now)
{
    uint32_t          end;
    cycles_cell_t    *cell;
    cycles_record_t  *rec;

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_CLOSE;
    rec->nids = 0;
    rec->neffects = 0;

    end = *i + CYCLES_CLOSE_BATCH;

    while (*i < end && rec->nids < CYCLES_EXPIRE_BATCH) {
        cell = cycles_heap_cell(ledger, *i);

        if (cell == NULL) {
            *i = 0;
            break;
        }

        (*i)++;

        if (cycles_is_closed(cycles_cell_tenant(ledger, cell))) {
            cycles_holds_add(ledger, rec, cell);
        }
    }

    if (rec->nids
        && cycles_log_commit(ledger, rec, now, CYCLES_LOG_OWED) != 0)
    {
        return -1;
    }

    return rec->nids;
}


static int
cycles_close_budgets(cycles_ledger_t *ledger, uint32_t *i, int64_t now)
{
    uint32_t             end;
    cycles_str_t         scope;
    cycles_budget_t     *budget;
    cycles_record_t     *rec;
    cycles_directory_t  *all;

    rec = &ledger->record;
    all = &ledger->shm->budgets;

    rec->type = CYCLES_RECORD_STATUS;
    rec->status = CYCLES_BUDGET_IS_CLOSED;
    rec->reason = cycles_close_reason();
    rec->metadata.len = 0;
    rec->nbudgets = 0;
    rec->neffects = 0;

    end = *i + CYCLES_CLOSE_BATCH;

    while (*i < all->n && *i < end && rec->nbudgets < CYCLES_STATUS_BATCH) {
        budget = cycles_directory_at(ledger, all, ++*i);

        scope.len = budget->scope_len;
        scope.data = budget->scope;

        if (budget->status != CYCLES_BUDGET_IS_CLOSED
            && cycles_is_closed(cycles_scope_tenant(ledger, scope)))
        {
            rec->budgets[rec->nbudgets++] = budget->id;
        }
    }

    if (*i == all->n) {
        *i = 0;
    }

    if (rec->nbudgets
        && cycles_log_commit(ledger, rec, now, ledger->shm->nlive) != 0)
    {
        return -1;
    }

    return rec->nbudgets;
}


static int
cycles_close_keys(cycles_ledger_t *ledger, uint32_t *i, int64_t now)
{
    uint32_t             end;
    cycles_record_t     *rec;
    cycles_api_key_t    *key;
    cycles_directory_t  *all;

    rec = &ledger->record;
    all = &ledger->shm->api_keys_by_id;
    end = *i + CYCLES_CLOSE_BATCH;

    while (*i < all->n && *i < end) {
        key = cycles_directory_at(ledger, all, ++*i);

        if (key->status != CYCLES_KEY_ACTIVE
            || !cycles_is_closed(cycles_memory_at(ledger, key->tenant)))
        {
            continue;
        }

        cycles_key_end(ledger, key, CYCLES_KEY_IS_CLOSED,
                       cycles_close_reason(), rec, now);

        if (cycles_definition_commit(ledger, rec, now) != 0) {
            return -1;
        }
    }

    if (*i == all->n) {
        *i = 0;
    }

    return 0;
}


static int
cycles_is_closed(const cycles_tenant_t *tenant)
{
    return tenant && tenant->status == CYCLES_TENANT_IS_CLOSED;
}


static cycles_str_t
cycles_close_reason(void)
{
    cycles_str_t  reason;

    static unsigned char  text[] = "tenant_closed";

    reason.len = sizeof(text) - 1;
    reason.data = text;

    return reason;
}
