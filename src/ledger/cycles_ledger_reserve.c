
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reserving, and giving back what expires.
 */


#include <stdio.h>
#include <string.h>

#include "cycles_ledger_core.h"


static int cycles_reserve_ok(const cycles_reserve_t *rq);
static void cycles_reserve_digest(cycles_ledger_t *ledger,
    const cycles_reserve_t *rq, cycles_digest_t *digest);
static cycles_code_t cycles_reserve_locked(cycles_ledger_t *ledger,
    const cycles_reserve_t *rq, const cycles_scopes_t *scopes,
    const cycles_digest_t *digest, const uint8_t *id, cycles_reserved_t *rs,
    int64_t now);
static cycles_code_t cycles_reserve_replay(cycles_ledger_t *ledger,
    const cycles_cell_t *cell, const cycles_digest_t *digest,
    cycles_reserved_t *rs, int64_t now);
static cycles_code_t cycles_reserve_decide(cycles_budget_t *const *budgets,
    unsigned n, int64_t estimate, cycles_denial_t *denial);
static cycles_code_t cycles_reserve_record(cycles_ledger_t *ledger,
    const cycles_reserve_t *rq, const cycles_scopes_t *scopes,
    const cycles_digest_t *digest, const uint8_t *id,
    cycles_budget_t *const *budgets, unsigned n, uint32_t caps_from,
    cycles_reserved_t *rs, int64_t now);
static void cycles_reserve_denied(cycles_reserved_t *rs, cycles_code_t code,
    unsigned dry_run);
static uint32_t cycles_caps_find(cycles_budget_t *const *budgets, unsigned n);
static void cycles_caps_copy(cycles_ledger_t *ledger, cycles_ref_t ref,
    cycles_reserved_t *rs);


cycles_code_t
cycles_ledger_reserve(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    cycles_reserved_t *rs, int64_t now)
{
    uint8_t           id[16];
    cycles_code_t     code;
    cycles_digest_t   digest;
    cycles_scopes_t   scopes;

    /* the texts are long, and empty as they are */

    memset(rs, 0, offsetof(cycles_reserved_t, scope_path));
    rs->scope_path_len = 0;
    memset(&rs->caps, 0, sizeof(cycles_caps_t));
    memset(&rs->denial, 0, sizeof(cycles_denial_t));
    rs->record = 0;
    rs->remaining = CYCLES_NOT_KNOWN;

    rs->caps.max_tokens = -1;
    rs->caps.max_steps_remaining = -1;
    rs->caps.cooldown_ms = -1;

    if (!cycles_reserve_ok(rq)) {
        cycles_reserve_denied(rs, CYCLES_INVALID_REQUEST, 0);
        return rs->code;
    }

    if (cycles_ledger_uuid(ledger, id) != 0) {
        cycles_ledger_trouble_set(ledger, "no random numbers");
        cycles_reserve_denied(rs, CYCLES_INTERNAL_ERROR, 0);
        return rs->code;
    }

    cycles_scopes_derive(&rq->subject, &scopes);
    cycles_reserve_digest(ledger, rq, &digest);

    rs->scope_path_len = scopes.prefix[scopes.n - 1].len;
    memcpy(rs->scope_path, scopes.path, rs->scope_path_len);

    if (cycles_ledger_lock(ledger) != 0) {
        cycles_reserve_denied(rs, CYCLES_INTERNAL_ERROR, 0);
        return rs->code;
    }

    code = cycles_reserve_locked(ledger, rq, &scopes, &digest, id, rs, now);

    cycles_ledger_unlock(ledger);

    if (code != CYCLES_OK) {
        cycles_reserve_denied(rs, code, rq->dry_run);
    }

    return rs->code;
}


static int
cycles_reserve_ok(const cycles_reserve_t *rq)
{
    return cycles_key_ok(rq->idempotency_key)
           && cycles_subject_ok(&rq->subject)
           && cycles_action_ok(&rq->action)
           && cycles_trace_ok(rq->trace_id)
           && (unsigned) rq->unit < CYCLES_UNITS
           && (unsigned) rq->policy < CYCLES_POLICIES
           && rq->estimate >= 0
           && rq->ttl_ms >= CYCLES_MIN_TTL_MS
           && rq->ttl_ms <= CYCLES_MAX_TTL_MS
           && rq->grace_ms >= 0
           && rq->grace_ms <= CYCLES_MAX_GRACE_MS
           && rq->metadata.len <= CYCLES_MAX_METADATA;
}


static void
cycles_reserve_digest(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    cycles_digest_begin(ledger, &h, "reserve");
    cycles_digest_subject(&h, &rq->subject);
    cycles_digest_action(&h, &rq->action);
    cycles_digest_int(&h, rq->unit);
    cycles_digest_int(&h, rq->estimate);
    cycles_digest_int(&h, rq->ttl_ms);
    cycles_digest_int(&h, rq->grace_ms);
    cycles_digest_int(&h, rq->policy);
    cycles_digest_int(&h, rq->dry_run);
    cycles_digest_str(&h, rq->metadata);
    cycles_siphash_final(&h, digest);
}


/* what was granted is never asked again: a replay comes before all checks */

static cycles_code_t
cycles_reserve_locked(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    const cycles_scopes_t *scopes, const cycles_digest_t *digest,
    const uint8_t *id, cycles_reserved_t *rs, int64_t now)
{
    unsigned          n;
    uint32_t          caps_from;
    cycles_code_t     code;
    cycles_cell_t    *cell;
    cycles_digest_t   key;
    cycles_tenant_t  *tenant;
    cycles_budget_t  *budgets[CYCLES_LEVELS];

    cycles_key_digest(ledger, "reserve", scopes->tenant.data,
                      scopes->tenant.len, rq->idempotency_key, &key);

    cell = cycles_cell_by_key(ledger, &key);

    if (cell) {
        return cycles_reserve_replay(ledger, cell, digest, rs, now);
    }

    tenant = cycles_tenant_find(ledger, scopes->tenant.data,
                                scopes->tenant.len);

    if (tenant && tenant->status == CYCLES_TENANT_IS_CLOSED) {
        return CYCLES_TENANT_CLOSED;
    }

    (void) cycles_expire_due(ledger, now);

    n = cycles_scopes_find(ledger, scopes, rq->unit, budgets);

    if (n == 0) {
        return cycles_scopes_missing(ledger, scopes, rq->estimate,
                                     &rs->denial);
    }

    do {
        code = cycles_reserve_decide(budgets, n, rq->estimate, &rs->denial);

    } while (code == CYCLES_BUDGET_EXCEEDED
             && cycles_expire_due(ledger, now) > 0);

    if (code != CYCLES_OK) {
        return code;
    }

    caps_from = cycles_caps_find(budgets, n);

    rs->decision = CYCLES_ALLOW;
    rs->remaining = cycles_least_remaining(budgets, n) - rq->estimate;

    if (caps_from) {
        rs->decision = CYCLES_ALLOW_WITH_CAPS;
        cycles_caps_copy(ledger,
                         cycles_budget_by_id(ledger, caps_from)->caps, rs);
    }

    if (rq->dry_run) {
        return CYCLES_OK;
    }

    return cycles_reserve_record(ledger, rq, scopes, digest, id, budgets, n,
                                 caps_from, rs, now);
}


static cycles_code_t
cycles_reserve_replay(cycles_ledger_t *ledger, const cycles_cell_t *cell,
    const cycles_digest_t *digest, cycles_reserved_t *rs, int64_t now)
{
    if (memcmp(&cell->digest, digest, sizeof(cycles_digest_t)) != 0) {
        return CYCLES_IDEMPOTENCY_MISMATCH;
    }

    cycles_id_print(cell->id, rs->id);

    rs->decision = cell->decision;
    rs->reserved = cell->estimate;
    rs->expires_at_ms = cell->granted_ms;
    rs->remaining = cell->remaining;
    rs->record = cell->record;

    if (cell->status == CYCLES_ACTIVE && cell->granted_ms > now) {
        rs->remaining_ttl_ms = cell->granted_ms - now;
    }

    if (cell->caps) {
        cycles_caps_copy(ledger, cell->caps, rs);
    }

    return CYCLES_OK;
}


/*
 * All scopes must be able to fund it.  The first one that can't, from the
 * tenant down, gives the reason; in each the order of the checks is that of
 * the reference server.
 */

static cycles_code_t
cycles_reserve_decide(cycles_budget_t *const *budgets, unsigned n,
    int64_t estimate, cycles_denial_t *denial)
{
    unsigned                i;
    cycles_code_t           code;
    const cycles_budget_t  *b;

    for (i = 0; i < n; i++) {
        b = budgets[i];
        code = CYCLES_OK;

        if (b->status == CYCLES_BUDGET_IS_FROZEN) {
            code = CYCLES_BUDGET_FROZEN;

        } else if (b->status == CYCLES_BUDGET_IS_CLOSED) {
            code = CYCLES_BUDGET_CLOSED;

        } else if (b->over_limit) {
            code = CYCLES_OVERDRAFT_LIMIT_EXCEEDED;

        } else if (b->debt > 0 && b->overdraft_limit == 0) {
            code = CYCLES_DEBT_OUTSTANDING;

        } else if (cycles_budget_remaining(b) < estimate) {
            code = CYCLES_BUDGET_EXCEEDED;
        }

        if (code != CYCLES_OK) {
            cycles_denial_fill(denial, b, estimate);
            return code;
        }
    }

    return CYCLES_OK;
}


void
cycles_denial_fill(cycles_denial_t *denial, const cycles_budget_t *budget,
    int64_t requested)
{
    denial->scope_len = budget->scope_len;
    memcpy(denial->scope, budget->scope, budget->scope_len);

    denial->requested = requested;
    denial->remaining = cycles_budget_remaining(budget);
    denial->held = budget->reserved;
    denial->allocated = budget->allocated;
    denial->reset_at_ms = 0;
}


static cycles_code_t
cycles_reserve_record(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    const cycles_scopes_t *scopes, const cycles_digest_t *digest,
    const uint8_t *id, cycles_budget_t *const *budgets, unsigned n,
    uint32_t caps_from, cycles_reserved_t *rs, int64_t now)
{
    unsigned          i;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    if (cycles_cells_ensure(ledger, 1) != 0) {
        return cycles_ledger_no_space(ledger);
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_RESERVE;
    memcpy(rec->id, id, 16);
    rec->digest = *digest;
    rec->owner = scopes->tenant;
    rec->key = rq->idempotency_key;
    rec->trace_id = rq->trace_id;
    rec->metadata = rq->metadata;
    rec->subject = &rq->subject;
    rec->action = &rq->action;
    rec->unit = rq->unit;
    rec->policy = rq->policy;
    rec->amount = rq->estimate;
    rec->remaining = rs->remaining;
    rec->decision = rs->decision;
    rec->caps_from = caps_from;
    rec->ttl_ms = rq->ttl_ms;
    rec->grace_ms = rq->grace_ms;

    tenant = cycles_tenant_find(ledger, scopes->tenant.data,
                                scopes->tenant.len);

    if (tenant && tenant->max_ttl_ms > 0 && rec->ttl_ms > tenant->max_ttl_ms)
    {
        rec->ttl_ms = tenant->max_ttl_ms;
    }

    rec->expires_at_ms = now + rec->ttl_ms;
    rec->neffects = 0;

    for (i = 0; i < n; i++) {
        cycles_effect_add(rec, budgets[i], rq->estimate, 0, 0);
    }

    if (cycles_log_commit(ledger, rec, now, ledger->shm->nlive + 1) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    cycles_id_print(id, rs->id);

    rs->reserved = rq->estimate;
    rs->expires_at_ms = rec->expires_at_ms;
    rs->remaining_ttl_ms = rec->ttl_ms;
    rs->record = rec->seq;

    return CYCLES_OK;
}


cycles_code_t
cycles_ledger_no_space(cycles_ledger_t *ledger)
{
    cycles_ledger_trouble_set(ledger, "the zone of %zu bytes is full of live "
                              "reservations", ledger->size);

    return CYCLES_INTERNAL_ERROR;
}


/*
 * An amount for one budget; over_limit stays as it is.  An operator may have
 * moved limits so that a sum would not fit any more: it stops at the end.
 */

void
cycles_effect_add(cycles_record_t *rec, const cycles_budget_t *budget,
    int64_t reserved, int64_t spent, int64_t debt)
{
    cycles_effect_t  *effect;

    effect = &rec->effects[rec->neffects++];

    effect->budget = budget->id;
    effect->over_limit = budget->over_limit;
    effect->reserved = reserved;
    effect->spent = spent;
    effect->debt = debt;

    if (effect->spent > INT64_MAX - budget->spent) {
        effect->spent = INT64_MAX - budget->spent;
    }

    if (effect->debt > INT64_MAX - budget->debt) {
        effect->debt = INT64_MAX - budget->debt;
    }
}


/*
 * A dry run answers with a decision where a live request gets an error; both
 * get an error when the request itself is wrong.
 */

static void
cycles_reserve_denied(cycles_reserved_t *rs, cycles_code_t code,
    unsigned dry_run)
{
    const char  *reason;

    reason = (code == CYCLES_NOT_FOUND) ? "BUDGET_NOT_FOUND"
                                        : cycles_code_name(code);

    snprintf(rs->reason, sizeof(rs->reason), "%s", reason);

    rs->decision = CYCLES_DENY;
    rs->remaining = CYCLES_NOT_KNOWN;
    rs->code = code;

    if (dry_run && code != CYCLES_INVALID_REQUEST
        && code != CYCLES_UNIT_MISMATCH
        && code != CYCLES_IDEMPOTENCY_MISMATCH
        && code != CYCLES_INTERNAL_ERROR)
    {
        rs->code = CYCLES_OK;
    }
}


int64_t
cycles_least_remaining(cycles_budget_t *const *budgets, unsigned n)
{
    int64_t   least, remaining;
    unsigned  i;

    for (least = INT64_MAX, i = 0; i < n; i++) {
        remaining = cycles_budget_remaining(budgets[i]);

        if (remaining < least) {
            least = remaining;
        }
    }

    return least;
}


/*
 * The deepest budget whose caps are in force.  Percent of a hundredth and of
 * the rest: a product of the whole could overflow.
 */

static uint32_t
cycles_caps_find(cycles_budget_t *const *budgets, unsigned n)
{
    int64_t                 used, mark;
    const cycles_budget_t  *b;

    while (n--) {
        b = budgets[n];

        if (b->caps == 0) {
            continue;
        }

        mark = b->allocated / 100 * b->above_percent
               + (b->allocated % 100 * b->above_percent + 99) / 100;

        if (__builtin_add_overflow(b->spent, b->reserved, &used)
            || used >= mark)
        {
            return b->id;
        }
    }

    return 0;
}


static void
cycles_caps_copy(cycles_ledger_t *ledger, cycles_ref_t ref,
    cycles_reserved_t *rs)
{
    const cycles_shm_caps_t  *caps;

    caps = cycles_memory_at(ledger, ref);

    rs->caps.max_tokens = caps->max_tokens;
    rs->caps.max_steps_remaining = caps->max_steps_remaining;
    rs->caps.cooldown_ms = caps->cooldown_ms;

    memcpy(rs->caps_text, caps->text, caps->allow_len + caps->deny_len);

    rs->caps.tool_allowlist.len = caps->allow_len;
    rs->caps.tool_allowlist.data = rs->caps_text;
    rs->caps.tool_denylist.len = caps->deny_len;
    rs->caps.tool_denylist.data = rs->caps_text + caps->allow_len;
}


unsigned
cycles_ledger_expire(cycles_ledger_t *ledger, int64_t now, unsigned max,
    int64_t *next_ms)
{
    int       n;
    int64_t   when;
    unsigned  expired;

    *next_ms = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return 0;
    }

    for (expired = 0; expired < max; expired += n) {
        n = cycles_expire_due(ledger, now);

        if (n <= 0) {
            break;
        }
    }

    if (cycles_heap_min(ledger, &when)) {
        *next_ms = when + 1;
    }

    cycles_ledger_unlock(ledger);

    return expired;
}


/*
 * One record for many: after a crash all that was live expires at about the
 * same time.  Returns how many, -1 if it could not be written.
 */

int
cycles_expire_due(cycles_ledger_t *ledger, int64_t now)
{
    unsigned          i, k, e, n;
    cycles_cell_t    *cells[CYCLES_EXPIRE_BATCH];
    cycles_record_t  *rec;

    n = cycles_heap_due(ledger, now, cells, CYCLES_EXPIRE_BATCH);

    if (n == 0) {
        return 0;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_EXPIRE;
    rec->nids = n;
    rec->neffects = 0;

    for (i = 0; i < n; i++) {
        memcpy(rec->ids[i], cells[i]->id, 16);

        for (k = 0; k < cells[i]->nbudgets; k++) {

            for (e = 0; e < rec->neffects; e++) {
                if (rec->effects[e].budget == cells[i]->budgets[k]) {
                    break;
                }
            }

            if (e == rec->neffects) {
                cycles_effect_add(rec,
                                  cycles_budget_by_id(ledger,
                                                      cells[i]->budgets[k]),
                                  0, 0, 0);
            }

            rec->effects[e].reserved -= cells[i]->estimate;
        }
    }

    if (cycles_log_commit(ledger, rec, now, CYCLES_LOG_OWED) != 0) {
        return -1;
    }

    return n;
}
