
/*
 * Copyright (C) nginx-cycles authors
 *
 * Money into a budget, and out of it.
 */


#include <string.h>

#include "cycles_ledger_core.h"


/* where the cell of a reservation has what a funding has no use for */

typedef char  cycles_funding_fits[
    (offsetof(cycles_cell_t, budgets) + sizeof(cycles_funding_sums_t)
     <= offsetof(cycles_cell_t, key)) ? 1 : -1];


static int cycles_funding_ok(const cycles_funding_t *rq);
static cycles_code_t cycles_fund_locked(cycles_ledger_t *ledger,
    const cycles_funding_t *rq, const cycles_digest_t *digest,
    const uint8_t *id, cycles_funded_t *rs, int64_t now);
static cycles_code_t cycles_fund_decide(cycles_budget_t *budget,
    const cycles_funding_t *rq, cycles_record_t *rec);


cycles_code_t
cycles_ledger_fund(cycles_ledger_t *ledger, const cycles_funding_t *rq,
    cycles_funded_t *rs, int64_t now)
{
    uint8_t           id[16];
    cycles_code_t     code;
    cycles_digest_t   digest;
    cycles_siphash_t  h;

    memset(rs, 0, sizeof(cycles_funded_t));

    if (!cycles_funding_ok(rq)) {
        return CYCLES_INVALID_REQUEST;
    }

    cycles_digest_begin(ledger, &h, "fund");
    cycles_digest_str(&h, rq->scope);
    cycles_digest_int(&h, rq->unit);
    cycles_digest_int(&h, rq->operation);
    cycles_digest_int(&h, rq->amount);
    cycles_digest_int(&h, rq->spent);
    cycles_digest_str(&h, rq->reason);
    cycles_digest_str(&h, rq->metadata);
    cycles_siphash_final(&h, &digest);

    if (cycles_ledger_id(ledger, id, now) != 0) {
        cycles_ledger_trouble_set(ledger, "no random numbers");
        return CYCLES_INTERNAL_ERROR;
    }

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_fund_locked(ledger, rq, &digest, id, rs, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static int
cycles_funding_ok(const cycles_funding_t *rq)
{
    return (unsigned) rq->unit < CYCLES_UNITS
           && (unsigned) rq->operation < CYCLES_FUNDINGS
           && rq->amount >= 0
           && rq->spent >= -1
           && (rq->idempotency_key.len == 0
               || cycles_key_ok(rq->idempotency_key))
           && cycles_trace_ok(rq->trace_id)
           && rq->reason.len <= CYCLES_MAX_OPERATOR_REASON
           && rq->metadata.len <= CYCLES_MAX_METADATA;
}


static cycles_code_t
cycles_fund_locked(cycles_ledger_t *ledger, const cycles_funding_t *rq,
    const cycles_digest_t *digest, const uint8_t *id, cycles_funded_t *rs,
    int64_t now)
{
    cycles_str_t      owner;
    cycles_code_t     code;
    cycles_cell_t    *cell;
    cycles_digest_t   key;
    cycles_budget_t  *budget;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    owner = cycles_scope_tenant_id(rq->scope);

    if (rq->idempotency_key.len) {
        cycles_key_digest(ledger, "fund", owner.data, owner.len,
                          rq->idempotency_key, &key);

        cell = cycles_cell_by_key(ledger, &key);

        if (cell) {
            rs->sums = *cycles_cell_funding(cell);
            rs->when_ms = cell->done_ms;
            rs->record = cell->record;

            return memcmp(&cell->digest, digest, sizeof(cycles_digest_t)) == 0
                   ? CYCLES_OK : CYCLES_IDEMPOTENCY_MISMATCH;
        }

        if (cycles_key_missed(ledger, &key)) {
            return CYCLES_LOOK_UP;
        }
    }

    tenant = cycles_scope_tenant(ledger, rq->scope);

    if (tenant && tenant->status == CYCLES_TENANT_IS_CLOSED) {
        return CYCLES_TENANT_CLOSED;
    }

    budget = cycles_budget_find(ledger, (const char *) rq->scope.data,
                                rq->scope.len,
                                cycles_scope_hash_str(rq->scope), rq->unit);
    if (budget == NULL) {
        return CYCLES_BUDGET_NOT_FOUND;
    }

    if (budget->status != CYCLES_BUDGET_ACTIVE) {
        return (budget->status == CYCLES_BUDGET_IS_FROZEN)
               ? CYCLES_BUDGET_FROZEN : CYCLES_BUDGET_CLOSED;
    }

    /* what is due is not held any more */

    (void) cycles_expire_due(ledger, now);

    if (cycles_periods_turn(ledger, &budget, 1, now, ledger->shm->nlive)
        != 0)
    {
        return CYCLES_INTERNAL_ERROR;
    }

    if (rq->idempotency_key.len && cycles_cells_ensure(ledger, 0) != 0) {
        return cycles_ledger_no_space(ledger);
    }

    rec = &ledger->record;

    code = cycles_fund_decide(budget, rq, rec);

    if (code != CYCLES_OK) {
        return code;
    }

    rec->type = CYCLES_RECORD_FUNDING;
    memcpy(rec->id, id, 16);
    rec->digest = *digest;
    rec->owner = owner;
    rec->key = rq->idempotency_key;
    rec->trace_id = rq->trace_id;
    rec->metadata = rq->metadata;
    rec->unit = rq->unit;
    rec->funding = rq->operation;
    rec->admin = rq->admin;
    rec->amount = rq->amount;
    rec->given_spent = rq->spent;
    rec->reason = rq->reason;

    if (cycles_log_commit(ledger, rec, now, ledger->shm->nlive) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    cycles_funding_sums(rec, &rs->sums);

    rs->when_ms = now;
    rs->record = rec->seq;

    return CYCLES_OK;
}


/* fills in what it does, in the record: all of it fits, or nothing is done */

static cycles_code_t
cycles_fund_decide(cycles_budget_t *budget, const cycles_funding_t *rq,
    cycles_record_t *rec)
{
    int64_t   allocated, spent, debt, repaid, used;
    unsigned  overflow;

    allocated = budget->allocated;
    spent = budget->spent;
    debt = budget->debt;
    overflow = 0;

    repaid = rq->amount < debt ? rq->amount : debt;

    switch (rq->operation) {

    case CYCLES_CREDIT:
        overflow = __builtin_add_overflow(allocated, rq->amount, &allocated);
        spent += repaid;
        debt -= repaid;
        break;

    case CYCLES_DEBIT:
        if (cycles_budget_remaining(budget) < rq->amount) {
            return CYCLES_BUDGET_EXCEEDED;
        }

        allocated -= rq->amount;
        break;

    case CYCLES_RESET:
        allocated = rq->amount;
        break;

    case CYCLES_REPAY_DEBT:
        overflow = __builtin_add_overflow(allocated, rq->amount - repaid,
                                          &allocated);
        debt -= repaid;
        break;

    default: /* CYCLES_RESET_SPENT */
        allocated = rq->amount;
        spent = (rq->spent == -1) ? 0 : rq->spent;
    }

    if (overflow
        || __builtin_add_overflow(spent, budget->reserved, &used)
        || __builtin_add_overflow(used, debt, &used)
        || allocated < 0)
    {
        return CYCLES_INVALID_REQUEST;
    }

    rec->allocated = budget->allocated;
    rec->new_allocated = allocated;
    rec->spent = budget->spent;
    rec->reserved = budget->reserved;
    rec->debt = budget->debt;

    rec->neffects = 0;
    cycles_effect_add(rec, budget, 0, spent - budget->spent,
                      debt - budget->debt);

    rec->effects[0].over_limit = (debt > budget->overdraft_limit);

    return CYCLES_OK;
}


/* before and after */

void
cycles_funding_sums(const cycles_record_t *rec, cycles_funding_sums_t *sums)
{
    sums->previous_allocated = rec->allocated;
    sums->new_allocated = rec->new_allocated;
    sums->previous_spent = rec->spent;
    sums->new_spent = rec->spent + rec->effects[0].spent;
    sums->previous_debt = rec->debt;
    sums->new_debt = rec->debt + rec->effects[0].debt;

    sums->previous_remaining = cycles_remaining(rec->allocated, rec->reserved,
                                                rec->spent, rec->debt);
    sums->new_remaining = cycles_remaining(rec->new_allocated, rec->reserved,
                                           sums->new_spent, sums->new_debt);
}


cycles_funding_sums_t *
cycles_cell_funding(cycles_cell_t *cell)
{
    return (cycles_funding_sums_t *) (void *) cell->budgets;
}
