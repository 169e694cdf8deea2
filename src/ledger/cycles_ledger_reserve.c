
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reserving, and giving back what expires.
 */


#include <stdio.h>
#include <string.h>

#include "cycles_ledger_core.h"


/* a request, and what has been found out about it */

typedef struct {
    const cycles_reserve_t  *rq;
    unsigned                 dry;         /* reserves nothing */
    uint8_t                  id[16];
    cycles_digest_t          digest;
    cycles_scopes_t          scopes;
    cycles_tenant_t         *tenant;
    cycles_budget_t         *budgets[CYCLES_LEVELS];
    unsigned                 n;
    uint32_t                 caps_from;
} cycles_reserving_t;


static int cycles_reserve_ok(const cycles_reserve_t *rq);
static void cycles_reserve_digest(cycles_ledger_t *ledger,
    const cycles_reserve_t *rq, cycles_digest_t *digest);
static cycles_code_t cycles_reserve_locked(cycles_ledger_t *ledger,
    cycles_reserving_t *r, cycles_reserved_t *rs, int64_t now);
static cycles_code_t cycles_reserve_replay(cycles_ledger_t *ledger,
    const cycles_cell_t *cell, const cycles_digest_t *digest,
    cycles_reserved_t *rs, int64_t now);
static cycles_code_t cycles_reserve_evaluate(cycles_ledger_t *ledger,
    cycles_reserving_t *r, cycles_reserved_t *rs, int64_t now);
static cycles_code_t cycles_reserve_decide(cycles_budget_t *const *budgets,
    unsigned n, int64_t estimate, cycles_denial_t *denial);
static cycles_code_t cycles_reserve_record(cycles_ledger_t *ledger,
    const cycles_reserving_t *r, cycles_reserved_t *rs, int64_t now);
static cycles_code_t cycles_decision_record(cycles_ledger_t *ledger,
    const cycles_reserving_t *r, cycles_code_t code, cycles_reserved_t *rs,
    int64_t now);
static void cycles_record_request(cycles_record_t *rec,
    const cycles_reserving_t *r, const cycles_reserved_t *rs);
static void cycles_reserve_denied(cycles_reserved_t *rs, cycles_code_t code,
    unsigned dry);
static int cycles_denial_decides(cycles_code_t code);
static uint32_t cycles_caps_find(cycles_budget_t *const *budgets, unsigned n);
static void cycles_caps_copy(cycles_ledger_t *ledger, cycles_ref_t ref,
    cycles_reserved_t *rs);


cycles_code_t
cycles_ledger_reserve(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    cycles_reserved_t *rs, int64_t now)
{
    cycles_code_t       code;
    cycles_reserving_t  r;

    /* the texts are long, and empty as they are */

    memset(rs, 0, offsetof(cycles_reserved_t, scope_path));
    rs->scope_path_len = 0;
    memset(&rs->caps, 0, sizeof(cycles_caps_t));
    cycles_denial_init(&rs->denial);
    rs->record = 0;
    rs->remaining = CYCLES_NOT_KNOWN;

    rs->caps.max_tokens = -1;
    rs->caps.max_steps_remaining = -1;
    rs->caps.cooldown_ms = -1;

    if (!cycles_reserve_ok(rq)) {
        cycles_reserve_denied(rs, CYCLES_INVALID_REQUEST, 0);
        return rs->code;
    }

    cycles_scopes_derive(&rq->subject, &r.scopes);

    if (cycles_ledger_id(ledger, r.id, now) != 0) {
        cycles_ledger_trouble_set(ledger, "no random numbers");
        cycles_reserve_denied(rs, CYCLES_INTERNAL_ERROR, 0);
        return rs->code;
    }

    r.rq = rq;
    r.dry = rq->dry_run || rq->decide;
    r.caps_from = 0;

    cycles_reserve_digest(ledger, rq, &r.digest);

    rs->scope_path_len = r.scopes.prefix[r.scopes.n - 1].len;
    memcpy(rs->scope_path, r.scopes.path, rs->scope_path_len);

    if (cycles_ledger_enter(ledger) != 0) {
        cycles_reserve_denied(rs, CYCLES_INTERNAL_ERROR, 0);
        return rs->code;
    }

    code = cycles_reserve_locked(ledger, &r, rs, now);

    cycles_ledger_leave(ledger);

    if (code == CYCLES_LOOK_UP) {
        rs->code = code;

    } else if (code != CYCLES_OK) {
        cycles_reserve_denied(rs, code, r.dry);
    }

    return rs->code;
}


static int
cycles_reserve_ok(const cycles_reserve_t *rq)
{
    unsigned  forgotten;

    forgotten = (rq->dry_run || rq->decide) && rq->idempotency_key.len == 0;

    return (forgotten || cycles_key_ok(rq->idempotency_key))
           && cycles_subject_ok(&rq->subject)
           && cycles_action_ok(&rq->action)
           && cycles_trace_ok(rq->trace_id)
           && (unsigned) rq->unit < CYCLES_UNITS
           && (unsigned) rq->policy <= CYCLES_POLICIES
           && rq->estimate >= 0
           && (rq->ttl_ms == -1 || rq->ttl_ms >= CYCLES_MIN_TTL_MS)
           && rq->ttl_ms <= CYCLES_MAX_TTL_MS
           && rq->grace_ms >= 0
           && rq->grace_ms <= CYCLES_MAX_GRACE_MS
           && rq->metadata.len <= CYCLES_MAX_METADATA;
}


/*
 * What is left to the ledger counts as the protocol's default, whatever an
 * operator has changed since: the same request is always the same.  That of
 * a key which is never repeated need not be known again.
 */

static void
cycles_reserve_digest(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    if (rq->fresh_key) {
        memset(digest, 0, sizeof(cycles_digest_t));
        return;
    }

    cycles_digest_begin(ledger, &h, cycles_reserve_namespace(rq->decide));
    cycles_digest_subject(&h, &rq->subject);
    cycles_digest_action(&h, &rq->action);
    cycles_digest_int(&h, rq->unit);
    cycles_digest_int(&h, rq->estimate);
    cycles_digest_int(&h, rq->ttl_ms == -1 ? CYCLES_DEFAULT_TTL_MS
                                           : rq->ttl_ms);
    cycles_digest_int(&h, rq->grace_ms);
    cycles_digest_policy(&h, rq->policy);
    cycles_digest_int(&h, rq->dry_run);
    cycles_digest_str(&h, rq->metadata);
    cycles_siphash_final(&h, digest);
}


const char *
cycles_reserve_namespace(unsigned decide)
{
    return decide ? "decide" : "reserve";
}


/* what was answered is never asked again: a replay comes before all checks */

static cycles_code_t
cycles_reserve_locked(cycles_ledger_t *ledger, cycles_reserving_t *r,
    cycles_reserved_t *rs, int64_t now)
{
    cycles_str_t      name;
    cycles_code_t     code;
    cycles_cell_t    *cell;
    cycles_digest_t   key;

    name = r->rq->idempotency_key;

    if (name.len && !r->rq->fresh_key) {
        cycles_key_digest(ledger, cycles_reserve_namespace(r->rq->decide),
                          r->scopes.tenant.data, r->scopes.tenant.len, name,
                          &key);

        cell = cycles_cell_by_key(ledger, &key);

        if (cell) {
            return cycles_reserve_replay(ledger, cell, &r->digest, rs, now);
        }

        if (cycles_key_missed(ledger, &key)) {
            return CYCLES_LOOK_UP;
        }
    }

    code = cycles_reserve_evaluate(ledger, r, rs, now);

    if (r->dry && name.len
        && (code == CYCLES_OK || cycles_denial_decides(code)))
    {
        return cycles_decision_record(ledger, r, code, rs, now);
    }

    if (r->dry || code != CYCLES_OK) {
        return code;
    }

    return cycles_reserve_record(ledger, r, rs, now);
}


static cycles_code_t
cycles_reserve_replay(cycles_ledger_t *ledger, const cycles_cell_t *cell,
    const cycles_digest_t *digest, cycles_reserved_t *rs, int64_t now)
{
    if (memcmp(&cell->digest, digest, sizeof(cycles_digest_t)) != 0) {
        return CYCLES_IDEMPOTENCY_MISMATCH;
    }

    rs->decision = cell->decision;
    rs->remaining = cell->remaining;
    rs->record = cell->record;

    if (cell->caps) {
        cycles_caps_copy(ledger, cell->caps, rs);
    }

    if (cell->kind == CYCLES_CELL_DECISION) {
        return cell->denied;
    }

    cycles_id_print(cell->id, rs->id);

    rs->reserved = cell->estimate;
    rs->expires_at_ms = cell->granted_ms;

    if (cell->status == CYCLES_ACTIVE && cell->granted_ms > now) {
        rs->remaining_ttl_ms = cell->granted_ms - now;
    }

    return CYCLES_OK;
}


static cycles_code_t
cycles_reserve_evaluate(cycles_ledger_t *ledger, cycles_reserving_t *r,
    cycles_reserved_t *rs, int64_t now)
{
    int64_t        estimate;
    cycles_code_t  code;

    estimate = r->rq->estimate;

    r->tenant = cycles_tenant_hashed(ledger, r->scopes.tenant,
                                     r->scopes.segments[CYCLES_TENANT]);

    if (r->tenant && r->tenant->status != CYCLES_TENANT_ACTIVE) {
        return (r->tenant->status == CYCLES_TENANT_IS_CLOSED)
               ? CYCLES_TENANT_CLOSED : CYCLES_TENANT_SUSPENDED;
    }

    (void) cycles_expire_due(ledger, now);

    r->n = cycles_scopes_find(ledger, &r->scopes, r->rq->unit, r->budgets);

    if (r->n == 0) {
        return cycles_scopes_missing(ledger, &r->scopes, estimate,
                                     &rs->denial);
    }

    if (cycles_periods_turn(ledger, r->budgets, r->n, now,
                            ledger->shm->nlive)
        != 0)
    {
        return CYCLES_INTERNAL_ERROR;
    }

    do {
        code = cycles_reserve_decide(r->budgets, r->n, estimate,
                                     &rs->denial);

    } while (code == CYCLES_BUDGET_EXCEEDED
             && cycles_expire_due(ledger, now) > 0);

    if (code != CYCLES_OK) {
        return code;
    }

    r->caps_from = cycles_caps_find(r->budgets, r->n);

    rs->decision = CYCLES_ALLOW;
    rs->remaining = cycles_least_remaining(r->budgets, r->n) - estimate;

    if (r->caps_from) {
        rs->decision = CYCLES_ALLOW_WITH_CAPS;
        cycles_caps_copy(ledger,
                         cycles_budget_by_id(ledger, r->caps_from)->caps, rs);
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


/* without its scope, which is long, and empty */

void
cycles_denial_init(cycles_denial_t *denial)
{
    memset((unsigned char *) denial + offsetof(cycles_denial_t, scope_len), 0,
           sizeof(cycles_denial_t) - offsetof(cycles_denial_t, scope_len));
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

    /* a new period helps if its money is enough, and debt is no matter */

    if (budget->period != CYCLES_PERIOD_NONE
        && budget->status == CYCLES_BUDGET_ACTIVE
        && budget->debt <= budget->overdraft_limit
        && requested <= cycles_remaining(budget->allocated, 0, 0,
                                         budget->debt))
    {
        denial->reset_at_ms = budget->period_end_ms;
    }
}


static cycles_code_t
cycles_reserve_record(cycles_ledger_t *ledger, const cycles_reserving_t *r,
    cycles_reserved_t *rs, int64_t now)
{
    unsigned          i;
    cycles_record_t  *rec;

    if (cycles_cells_ensure(ledger, 1) != 0) {
        return cycles_ledger_no_space(ledger);
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_RESERVE;
    cycles_record_request(rec, r, rs);
    rec->policy = cycles_policy_of(r->rq->policy, r->tenant, r->budgets,
                                   r->n);
    rec->ttl_ms = cycles_ttl_of(r->rq->ttl_ms, r->tenant);
    rec->grace_ms = r->rq->grace_ms;
    rec->metadata = r->rq->metadata;
    rec->expires_at_ms = now + rec->ttl_ms;
    rec->neffects = 0;

    for (i = 0; i < r->n; i++) {
        cycles_effect_add(rec, r->budgets[i], r->rq->estimate, 0, 0);
    }

    if (cycles_log_commit(ledger, rec, now, ledger->shm->nlive + 1) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    cycles_id_print(rec->id, rs->id);

    rs->reserved = r->rq->estimate;
    rs->expires_at_ms = rec->expires_at_ms;
    rs->remaining_ttl_ms = rec->ttl_ms;
    rs->record = rec->seq;

    return CYCLES_OK;
}


/* the answer of a dry run or a decision, which has no effect but this */

static cycles_code_t
cycles_decision_record(cycles_ledger_t *ledger, const cycles_reserving_t *r,
    cycles_code_t code, cycles_reserved_t *rs, int64_t now)
{
    cycles_record_t  *rec;

    if (cycles_cells_ensure(ledger, 0) != 0) {
        return cycles_ledger_no_space(ledger);
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_DECISION;
    cycles_record_request(rec, r, rs);
    rec->denied = code;
    rec->decide = r->rq->decide;
    rec->neffects = 0;

    if (code != CYCLES_OK) {
        rec->decision = CYCLES_DENY;
    }

    if (cycles_log_commit(ledger, rec, now, ledger->shm->nlive) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    rs->record = rec->seq;

    return code;
}


static void
cycles_record_request(cycles_record_t *rec, const cycles_reserving_t *r,
    const cycles_reserved_t *rs)
{
    memcpy(rec->id, r->id, 16);
    rec->digest = r->digest;
    rec->owner = r->scopes.tenant;
    rec->owner_at = r->tenant;
    rec->segments = r->scopes.segments;
    rec->key = r->rq->idempotency_key;
    rec->trace_id = r->rq->trace_id;
    rec->subject = &r->rq->subject;
    rec->action = &r->rq->action;
    rec->unit = r->rq->unit;
    rec->amount = r->rq->estimate;
    rec->remaining = rs->remaining;
    rec->decision = rs->decision;
    rec->caps_from = r->caps_from;
    rec->fresh_key = r->rq->fresh_key;
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
cycles_effect_add(cycles_record_t *rec, cycles_budget_t *budget,
    int64_t reserved, int64_t spent, int64_t debt)
{
    cycles_effect_t  *effect;

    effect = &rec->effects[rec->neffects++];

    effect->budget = budget->id;
    effect->over_limit = budget->over_limit;
    effect->reserved = reserved;
    effect->spent = spent;
    effect->debt = debt;
    effect->at = budget;

    if (effect->spent > INT64_MAX - budget->spent) {
        effect->spent = INT64_MAX - budget->spent;
    }

    if (effect->debt > INT64_MAX - budget->debt) {
        effect->debt = INT64_MAX - budget->debt;
    }
}


/* none, on a budget that the record makes */

void
cycles_effect_new(cycles_record_t *rec, uint32_t budget)
{
    cycles_effect_t  *effect;

    effect = &rec->effects[rec->neffects++];

    memset(effect, 0, sizeof(cycles_effect_t));
    effect->budget = budget;
}


/*
 * A dry run answers with a decision where a live request gets an error; both
 * get an error when the request itself is wrong.
 */

static void
cycles_reserve_denied(cycles_reserved_t *rs, cycles_code_t code,
    unsigned dry)
{
    snprintf(rs->reason, sizeof(rs->reason), "%s",
             cycles_denial_name(code));

    rs->decision = CYCLES_DENY;
    rs->remaining = CYCLES_NOT_KNOWN;
    rs->code = (dry && cycles_denial_decides(code)) ? CYCLES_OK : code;
}


static int
cycles_denial_decides(cycles_code_t code)
{
    return code != CYCLES_INVALID_REQUEST
           && code != CYCLES_UNIT_MISMATCH
           && code != CYCLES_IDEMPOTENCY_MISMATCH
           && code != CYCLES_INTERNAL_ERROR;
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
    unsigned          i, n;
    cycles_cell_t    *cells[CYCLES_EXPIRE_BATCH];
    cycles_record_t  *rec;

    n = cycles_heap_due(ledger, now, cells, CYCLES_EXPIRE_BATCH);

    if (n == 0) {
        return 0;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_EXPIRE;
    rec->nids = 0;
    rec->neffects = 0;

    for (i = 0; i < n; i++) {
        cycles_holds_add(ledger, rec, cells[i]);
    }

    if (cycles_log_commit(ledger, rec, now, CYCLES_LOG_OWED) != 0) {
        return -1;
    }

    return n;
}


/* what a reservation holds, to what a record gives back */

void
cycles_holds_add(cycles_ledger_t *ledger, cycles_record_t *rec,
    const cycles_cell_t *cell)
{
    unsigned          i, e;
    cycles_budget_t  *budget;

    memcpy(rec->ids[rec->nids++], cell->id, 16);

    for (i = 0; i < cell->nbudgets; i++) {
        budget = cycles_memory_at(ledger, cell->budgets[i]);

        for (e = 0; e < rec->neffects; e++) {
            if (rec->effects[e].at == budget) {
                break;
            }
        }

        if (e == rec->neffects) {
            cycles_effect_add(rec, budget, 0, 0, 0);
        }

        rec->effects[e].reserved -= cell->estimate;
    }
}
