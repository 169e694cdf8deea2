
/*
 * Copyright (C) nginx-cycles authors
 *
 * Commit, release, extend and event.
 */


#include <string.h>

#include "cycles_ledger_core.h"


typedef struct {
    cycles_budget_t       *budgets[CYCLES_LEVELS];
    unsigned               n;
    cycles_policy_t        policy;
    int64_t                held;          /* by the reservation */
    int64_t                actual;
    unsigned               event;
} cycles_charge_t;


/* a release has none */

static const cycles_metrics_t  cycles_no_metrics = {
    -1, -1, -1, { 0, NULL }, { 0, NULL }
};


static void cycles_commit_digest(cycles_ledger_t *ledger,
    const cycles_commit_t *rq, cycles_digest_t *digest);
static void cycles_settled_init(cycles_settled_t *rs);
static void cycles_release_digest(cycles_ledger_t *ledger,
    const cycles_release_t *rq, cycles_digest_t *digest);
static cycles_code_t cycles_commit_locked(cycles_ledger_t *ledger,
    const uint8_t *id, const cycles_commit_t *rq,
    const cycles_digest_t *digest, cycles_settled_t *rs, int64_t now);
static cycles_code_t cycles_settle_replay(const cycles_cell_t *cell,
    const cycles_digest_t *digest, cycles_settled_t *rs);
static cycles_code_t cycles_settle_state(cycles_ledger_t *ledger,
    const cycles_cell_t *cell);
static cycles_code_t cycles_release_locked(cycles_ledger_t *ledger,
    const uint8_t *id, const cycles_release_t *rq,
    const cycles_digest_t *digest, cycles_settled_t *rs, int64_t now);
static cycles_code_t cycles_extend_locked(cycles_ledger_t *ledger,
    const uint8_t *id, const cycles_extend_t *rq,
    const cycles_digest_t *digest, cycles_settled_t *rs, int64_t now);
static const cycles_extension_t *cycles_extension_find(
    cycles_ledger_t *ledger, const cycles_cell_t *cell,
    const cycles_digest_t *key);
static cycles_code_t cycles_event_locked(cycles_ledger_t *ledger,
    const cycles_event_t *rq, const cycles_scopes_t *scopes,
    const cycles_digest_t *digest, const uint8_t *id, cycles_settled_t *rs,
    int64_t now);
static cycles_code_t cycles_event_allowed(const cycles_charge_t *charge,
    cycles_denial_t *denial);
static cycles_code_t cycles_charge(cycles_ledger_t *ledger,
    cycles_charge_t *charge, cycles_settled_t *rs, int64_t now);
static cycles_code_t cycles_charge_once(cycles_record_t *rec,
    const cycles_charge_t *charge, cycles_settled_t *rs, int *short_of);
static cycles_code_t cycles_charge_excess(cycles_record_t *rec,
    const cycles_charge_t *charge, int64_t excess, int64_t *charged,
    cycles_denial_t *denial, int *short_of);
static int64_t cycles_positive(int64_t n);
static int cycles_settle_write(cycles_ledger_t *ledger,
    cycles_record_t *rec, int64_t now);
static int64_t cycles_remaining_after(const cycles_record_t *rec);


cycles_code_t
cycles_ledger_commit(cycles_ledger_t *ledger, cycles_str_t id,
    const cycles_commit_t *rq, cycles_settled_t *rs, int64_t now)
{
    uint8_t          bin[16];
    cycles_digest_t  digest;

    cycles_settled_init(rs);

    if (!cycles_key_ok(rq->idempotency_key) || rq->actual < 0
        || (unsigned) rq->unit >= CYCLES_UNITS
        || !cycles_trace_ok(rq->trace_id))
    {
        rs->code = CYCLES_INVALID_REQUEST;
        return rs->code;
    }

    if (cycles_id_parse(id, bin) != 0) {
        rs->code = CYCLES_NOT_FOUND;
        return rs->code;
    }

    cycles_commit_digest(ledger, rq, &digest);

    if (cycles_ledger_enter(ledger) != 0) {
        rs->code = CYCLES_INTERNAL_ERROR;
        return rs->code;
    }

    rs->code = cycles_commit_locked(ledger, bin, rq, &digest, rs, now);

    cycles_ledger_leave(ledger);

    return rs->code;
}


/* that of a key which is never repeated need not be known again */

static void
cycles_commit_digest(cycles_ledger_t *ledger, const cycles_commit_t *rq,
    cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    if (rq->fresh_key) {
        memset(digest, 0, sizeof(cycles_digest_t));
        return;
    }

    cycles_digest_begin(ledger, &h, "commit");
    cycles_digest_int(&h, rq->unit);
    cycles_digest_int(&h, rq->actual);
    cycles_digest_metrics(&h, &rq->metrics);
    cycles_digest_str(&h, rq->metadata);
    cycles_siphash_final(&h, digest);
}


/* without the texts, which are long, and empty as they are */

static void
cycles_settled_init(cycles_settled_t *rs)
{
    memset(rs, 0, offsetof(cycles_settled_t, event_id));
    rs->event_id[0] = '\0';
    cycles_denial_init(&rs->denial);
    rs->record = 0;
    rs->remaining = CYCLES_NOT_KNOWN;
}


static cycles_code_t
cycles_commit_locked(cycles_ledger_t *ledger, const uint8_t *id,
    const cycles_commit_t *rq, const cycles_digest_t *digest,
    cycles_settled_t *rs, int64_t now)
{
    unsigned          i;
    cycles_code_t     code;
    cycles_cell_t    *cell;
    cycles_charge_t   charge;
    cycles_digest_t   key;
    cycles_record_t  *rec;

    cell = cycles_cell_by_id(ledger, id, CYCLES_CELL_RESERVATION);

    if (cell == NULL) {
        return cycles_id_missed(ledger, id) ? CYCLES_LOOK_UP
                                            : CYCLES_NOT_FOUND;
    }

    if (cell->status == CYCLES_COMMITTED) {
        cycles_key_digest(ledger, "commit", id, 16, rq->idempotency_key, &key);

        if (memcmp(&cell->settle_key, &key, sizeof(key)) == 0) {
            return cycles_settle_replay(cell, digest, rs);
        }
    }

    code = cycles_settle_state(ledger, cell);

    if (code != CYCLES_OK) {
        return code;
    }

    if (cell->unit != rq->unit) {
        return CYCLES_UNIT_MISMATCH;
    }

    if (now > cell->expires_at_ms + cell->grace_ms) {
        return CYCLES_RESERVATION_EXPIRED;
    }

    charge.n = cell->nbudgets;
    charge.policy = cell->policy;
    charge.held = cell->estimate;
    charge.actual = rq->actual;
    charge.event = 0;

    for (i = 0; i < charge.n; i++) {
        charge.budgets[i] = cycles_memory_at(ledger, cell->budgets[i]);
    }

    if (cycles_periods_turn(ledger, charge.budgets, charge.n, now,
                            CYCLES_LOG_OWED)
        != 0)
    {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_charge(ledger, &charge, rs, now);

    if (code != CYCLES_OK) {
        return code;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_COMMIT;
    rec->reason.len = 0;
    memcpy(rec->id, id, 16);
    rec->digest = *digest;
    rec->key = rq->idempotency_key;
    rec->trace_id = rq->trace_id;
    rec->unit = rq->unit;
    rec->policy = charge.policy;
    rec->amount = rq->actual;
    rec->metrics = rq->metrics;
    rec->metadata = rq->metadata;

    if (cycles_settle_write(ledger, rec, now) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    rs->released = charge.held - rs->charged;

    if (rs->released < 0) {
        rs->released = 0;
    }

    rs->record = rec->seq;

    return CYCLES_OK;
}


static cycles_code_t
cycles_settle_replay(const cycles_cell_t *cell, const cycles_digest_t *digest,
    cycles_settled_t *rs)
{
    if (memcmp(&cell->settle_digest, digest, sizeof(cycles_digest_t)) != 0) {
        return CYCLES_IDEMPOTENCY_MISMATCH;
    }

    rs->charged = cell->charged;
    rs->released = cell->estimate - cell->charged;
    rs->remaining = cell->settle_remaining;
    rs->record = cell->settle_record;

    if (rs->released < 0) {
        rs->released = 0;
    }

    return CYCLES_OK;
}


/* a closed tenant comes before what became of the reservation */

static cycles_code_t
cycles_settle_state(cycles_ledger_t *ledger, const cycles_cell_t *cell)
{
    const cycles_tenant_t  *tenant;

    tenant = cycles_cell_tenant(ledger, cell);

    if (tenant && tenant->status == CYCLES_TENANT_IS_CLOSED) {
        return CYCLES_TENANT_CLOSED;
    }

    if (cell->status == CYCLES_EXPIRED) {
        return CYCLES_RESERVATION_EXPIRED;
    }

    if (cell->status != CYCLES_ACTIVE) {
        return CYCLES_RESERVATION_FINALIZED;
    }

    return CYCLES_OK;
}


cycles_code_t
cycles_ledger_release(cycles_ledger_t *ledger, cycles_str_t id,
    const cycles_release_t *rq, cycles_settled_t *rs, int64_t now)
{
    uint8_t          bin[16];
    cycles_digest_t  digest;

    cycles_settled_init(rs);

    if (!cycles_key_ok(rq->idempotency_key)
        || rq->reason.len > CYCLES_UTF8(CYCLES_MAX_REASON)
        || !cycles_trace_ok(rq->trace_id))
    {
        rs->code = CYCLES_INVALID_REQUEST;
        return rs->code;
    }

    if (cycles_id_parse(id, bin) != 0) {
        rs->code = CYCLES_NOT_FOUND;
        return rs->code;
    }

    cycles_release_digest(ledger, rq, &digest);

    if (cycles_ledger_enter(ledger) != 0) {
        rs->code = CYCLES_INTERNAL_ERROR;
        return rs->code;
    }

    rs->code = cycles_release_locked(ledger, bin, rq, &digest, rs, now);

    cycles_ledger_leave(ledger);

    return rs->code;
}


static void
cycles_release_digest(cycles_ledger_t *ledger, const cycles_release_t *rq,
    cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    if (rq->fresh_key) {
        memset(digest, 0, sizeof(cycles_digest_t));
        return;
    }

    cycles_digest_begin(ledger, &h, "release");
    cycles_digest_str(&h, rq->reason);
    cycles_siphash_final(&h, digest);
}


static cycles_code_t
cycles_release_locked(cycles_ledger_t *ledger, const uint8_t *id,
    const cycles_release_t *rq, const cycles_digest_t *digest,
    cycles_settled_t *rs, int64_t now)
{
    unsigned          i;
    cycles_code_t     code;
    cycles_cell_t    *cell;
    cycles_digest_t   key;
    cycles_record_t  *rec;
    cycles_budget_t  *budgets[CYCLES_LEVELS];

    cell = cycles_cell_by_id(ledger, id, CYCLES_CELL_RESERVATION);

    if (cell == NULL) {
        return cycles_id_missed(ledger, id) ? CYCLES_LOOK_UP
                                            : CYCLES_NOT_FOUND;
    }

    if (cell->status == CYCLES_RELEASED) {
        cycles_key_digest(ledger, "release", id, 16, rq->idempotency_key, &key);

        if (memcmp(&cell->settle_key, &key, sizeof(key)) == 0) {
            return cycles_settle_replay(cell, digest, rs);
        }
    }

    code = cycles_settle_state(ledger, cell);

    if (code != CYCLES_OK) {
        return code;
    }

    if (now > cell->expires_at_ms + cell->grace_ms) {
        return CYCLES_RESERVATION_EXPIRED;
    }

    for (i = 0; i < cell->nbudgets; i++) {
        budgets[i] = cycles_memory_at(ledger, cell->budgets[i]);
    }

    if (cycles_periods_turn(ledger, budgets, cell->nbudgets, now,
                            CYCLES_LOG_OWED)
        != 0)
    {
        return CYCLES_INTERNAL_ERROR;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_RELEASE;
    memcpy(rec->id, id, 16);
    rec->digest = *digest;
    rec->key = rq->idempotency_key;
    rec->trace_id = rq->trace_id;
    rec->unit = cell->unit;
    rec->policy = cell->policy;
    rec->amount = cell->estimate;
    rec->charged = 0;
    rec->reason = rq->reason;
    rec->admin = rq->admin;
    rec->metrics = cycles_no_metrics;
    rec->metadata.len = 0;
    rec->neffects = 0;

    for (i = 0; i < cell->nbudgets; i++) {
        cycles_effect_add(rec, budgets[i], -cell->estimate, 0, 0);
    }

    rec->remaining = cycles_remaining_after(rec);

    if (cycles_settle_write(ledger, rec, now) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    rs->released = cell->estimate;
    rs->remaining = rec->remaining;
    rs->record = rec->seq;

    return CYCLES_OK;
}


cycles_code_t
cycles_ledger_extend(cycles_ledger_t *ledger, cycles_str_t id,
    const cycles_extend_t *rq, cycles_settled_t *rs, int64_t now)
{
    uint8_t           bin[16];
    cycles_digest_t   digest;
    cycles_siphash_t  h;

    cycles_settled_init(rs);

    if (!cycles_key_ok(rq->idempotency_key)
        || !cycles_trace_ok(rq->trace_id)
        || rq->extend_by_ms < 1 || rq->extend_by_ms > CYCLES_MAX_TTL_MS
        || rq->metadata.len > CYCLES_MAX_METADATA)
    {
        rs->code = CYCLES_INVALID_REQUEST;
        return rs->code;
    }

    if (cycles_id_parse(id, bin) != 0) {
        rs->code = CYCLES_NOT_FOUND;
        return rs->code;
    }

    cycles_digest_begin(ledger, &h, "extend");
    cycles_digest_int(&h, rq->extend_by_ms);
    cycles_digest_str(&h, rq->metadata);
    cycles_siphash_final(&h, &digest);

    if (cycles_ledger_lock(ledger) != 0) {
        rs->code = CYCLES_INTERNAL_ERROR;
        return rs->code;
    }

    rs->code = cycles_extend_locked(ledger, bin, rq, &digest, rs, now);

    cycles_ledger_unlock(ledger);

    return rs->code;
}


static cycles_code_t
cycles_extend_locked(cycles_ledger_t *ledger, const uint8_t *id,
    const cycles_extend_t *rq, const cycles_digest_t *digest,
    cycles_settled_t *rs, int64_t now)
{
    cycles_code_t              code;
    cycles_cell_t             *cell;
    cycles_digest_t            key;
    cycles_record_t           *rec;
    const cycles_tenant_t     *tenant;
    const cycles_extension_t  *ext;

    cell = cycles_cell_by_id(ledger, id, CYCLES_CELL_RESERVATION);

    if (cell == NULL) {
        return cycles_id_missed(ledger, id) ? CYCLES_LOOK_UP
                                            : CYCLES_NOT_FOUND;
    }

    cycles_key_digest(ledger, "extend", id, 16, rq->idempotency_key, &key);

    ext = cycles_extension_find(ledger, cell, &key);

    if (ext) {

        if (memcmp(&ext->digest, digest, sizeof(cycles_digest_t)) != 0) {
            return CYCLES_IDEMPOTENCY_MISMATCH;
        }

        rs->expires_at_ms = ext->expires_at_ms;
        rs->record = ext->record;

        if (cell->status == CYCLES_ACTIVE) {
            rs->remaining_ttl_ms = cycles_positive(ext->expires_at_ms - now);
        }

        return CYCLES_OK;
    }

    code = cycles_settle_state(ledger, cell);

    if (code != CYCLES_OK) {
        return code;
    }

    /* the grace period is for settling only */

    if (now > cell->expires_at_ms) {
        return CYCLES_RESERVATION_EXPIRED;
    }

    tenant = cycles_cell_tenant(ledger, cell);

    if (tenant && tenant->max_extensions >= 0
        && cell->extended >= tenant->max_extensions)
    {
        return CYCLES_MAX_EXTENSIONS_EXCEEDED;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_EXTEND;
    memcpy(rec->id, id, 16);
    rec->digest = *digest;
    rec->key = rq->idempotency_key;
    rec->trace_id = rq->trace_id;
    rec->extend_by_ms = rq->extend_by_ms;
    rec->expires_at_ms = cell->expires_at_ms + rq->extend_by_ms;
    rec->metadata = rq->metadata;
    rec->neffects = 0;

    if (cycles_log_commit(ledger, rec, now, ledger->shm->nlive) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    rs->expires_at_ms = rec->expires_at_ms;
    rs->remaining_ttl_ms = rec->expires_at_ms - now;
    rs->record = rec->seq;

    return CYCLES_OK;
}


static const cycles_extension_t *
cycles_extension_find(cycles_ledger_t *ledger, const cycles_cell_t *cell,
    const cycles_digest_t *key)
{
    unsigned                    i;
    cycles_ref_t                ref;
    const cycles_extensions_t  *ext;

    for (ref = cell->extensions; ref; ref = ext->next) {
        ext = cycles_memory_at(ledger, ref);

        for (i = 0; i < ext->n; i++) {
            if (memcmp(&ext->items[i].key, key, sizeof(cycles_digest_t)) == 0)
            {
                return &ext->items[i];
            }
        }
    }

    return NULL;
}


cycles_code_t
cycles_ledger_event(cycles_ledger_t *ledger, const cycles_event_t *rq,
    cycles_settled_t *rs, int64_t now)
{
    uint8_t           id[16];
    cycles_digest_t   digest;
    cycles_scopes_t   scopes;
    cycles_siphash_t  h;

    cycles_settled_init(rs);

    if (!cycles_key_ok(rq->idempotency_key)
        || !cycles_subject_ok(&rq->subject)
        || !cycles_action_ok(&rq->action)
        || !cycles_trace_ok(rq->trace_id)
        || (unsigned) rq->unit >= CYCLES_UNITS
        || (unsigned) rq->policy > CYCLES_POLICIES
        || rq->actual < 0)
    {
        rs->code = CYCLES_INVALID_REQUEST;
        return rs->code;
    }

    if (cycles_ledger_id(ledger, id, now) != 0) {
        cycles_ledger_trouble_set(ledger, "no random numbers");
        rs->code = CYCLES_INTERNAL_ERROR;
        return rs->code;
    }

    cycles_scopes_derive(&rq->subject, &scopes);

    cycles_digest_begin(ledger, &h, "event");
    cycles_digest_subject(&h, &rq->subject);
    cycles_digest_action(&h, &rq->action);
    cycles_digest_int(&h, rq->unit);
    cycles_digest_int(&h, rq->actual);
    cycles_digest_policy(&h, rq->policy);
    cycles_digest_metrics(&h, &rq->metrics);
    cycles_digest_str(&h, rq->metadata);
    cycles_siphash_final(&h, &digest);

    if (cycles_ledger_enter(ledger) != 0) {
        rs->code = CYCLES_INTERNAL_ERROR;
        return rs->code;
    }

    rs->code = cycles_event_locked(ledger, rq, &scopes, &digest, id, rs, now);

    cycles_ledger_leave(ledger);

    return rs->code;
}


static cycles_code_t
cycles_event_locked(cycles_ledger_t *ledger, const cycles_event_t *rq,
    const cycles_scopes_t *scopes, const cycles_digest_t *digest,
    const uint8_t *id, cycles_settled_t *rs, int64_t now)
{
    cycles_code_t     code;
    cycles_cell_t    *cell;
    cycles_charge_t   charge;
    cycles_digest_t   key;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    cycles_key_digest(ledger, "event", scopes->tenant.data,
                      scopes->tenant.len, rq->idempotency_key, &key);

    cell = cycles_cell_by_key(ledger, &key);

    if (cell) {

        if (memcmp(&cell->digest, digest, sizeof(cycles_digest_t)) != 0) {
            return CYCLES_IDEMPOTENCY_MISMATCH;
        }

        cycles_id_print(cell->id, rs->event_id);
        rs->charged = cell->charged;
        rs->remaining = cell->settle_remaining;
        rs->record = cell->record;

        return CYCLES_OK;
    }

    if (!rq->fresh_key && cycles_key_missed(ledger, &key)) {
        return CYCLES_LOOK_UP;
    }

    tenant = cycles_tenant_find(ledger, scopes->tenant.data,
                                scopes->tenant.len);

    if (tenant && tenant->status == CYCLES_TENANT_IS_CLOSED) {
        return CYCLES_TENANT_CLOSED;
    }

    charge.n = cycles_scopes_find(ledger, scopes, rq->unit, charge.budgets);

    if (charge.n == 0) {
        return cycles_scopes_missing(ledger, scopes, rq->actual,
                                     &rs->denial);
    }

    if (cycles_periods_turn(ledger, charge.budgets, charge.n, now,
                            ledger->shm->nlive)
        != 0)
    {
        return CYCLES_INTERNAL_ERROR;
    }

    charge.policy = cycles_policy_of(rq->policy, tenant, charge.budgets,
                                     charge.n);
    charge.held = 0;
    charge.actual = rq->actual;
    charge.event = 1;

    do {
        code = cycles_event_allowed(&charge, &rs->denial);

    } while (code == CYCLES_BUDGET_EXCEEDED
             && cycles_expire_due(ledger, now) > 0);

    if (code == CYCLES_OK) {
        code = cycles_charge(ledger, &charge, rs, now);
    }

    if (code != CYCLES_OK) {
        return code;
    }

    if (cycles_cells_ensure(ledger, 0) != 0) {
        return cycles_ledger_no_space(ledger);
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_EVENT;
    rec->reason.len = 0;
    memcpy(rec->id, id, 16);
    rec->digest = *digest;
    rec->owner = scopes->tenant;
    rec->key = rq->idempotency_key;
    rec->trace_id = rq->trace_id;
    rec->subject = &rq->subject;
    rec->action = &rq->action;
    rec->unit = rq->unit;
    rec->policy = charge.policy;
    rec->amount = rq->actual;
    rec->metrics = rq->metrics;
    rec->client_time_ms = rq->client_time_ms;
    rec->fresh_key = rq->fresh_key;
    rec->metadata = rq->metadata;

    if (cycles_settle_write(ledger, rec, now) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    cycles_id_print(id, rs->event_id);
    rs->record = rec->seq;

    return CYCLES_OK;
}


/* debt and an exceeded limit don't stop what has happened already */

static cycles_code_t
cycles_event_allowed(const cycles_charge_t *charge, cycles_denial_t *denial)
{
    unsigned                i;
    cycles_code_t           code;
    const cycles_budget_t  *b;

    for (i = 0; i < charge->n; i++) {
        b = charge->budgets[i];
        code = CYCLES_OK;

        if (b->status == CYCLES_BUDGET_IS_FROZEN) {
            code = CYCLES_BUDGET_FROZEN;

        } else if (b->status == CYCLES_BUDGET_IS_CLOSED) {
            code = CYCLES_BUDGET_CLOSED;

        } else if (charge->policy == CYCLES_REJECT
                   && cycles_budget_remaining(b) < charge->actual)
        {
            code = CYCLES_BUDGET_EXCEEDED;
        }

        if (code != CYCLES_OK) {
            cycles_denial_fill(denial, b, charge->actual);
            return code;
        }
    }

    return CYCLES_OK;
}


/*
 * Fills in what a commit or an event charges, in the ledger's record and in
 * the answer.  Before anything is found to be short of money, the holds that
 * are due are returned.
 */

static cycles_code_t
cycles_charge(cycles_ledger_t *ledger, cycles_charge_t *charge,
    cycles_settled_t *rs, int64_t now)
{
    int               short_of;
    cycles_code_t     code;
    cycles_record_t  *rec;

    rec = &ledger->record;

    do {
        rec->neffects = 0;
        short_of = 0;

        code = cycles_charge_once(rec, charge, rs, &short_of);

    } while (short_of && cycles_expire_due(ledger, now) > 0);

    if (code == CYCLES_OK) {
        rec->charged = rs->charged;
        rec->remaining = cycles_remaining_after(rec);
        rs->remaining = rec->remaining;
    }

    return code;
}


static cycles_code_t
cycles_charge_once(cycles_record_t *rec, const cycles_charge_t *charge,
    cycles_settled_t *rs, int *short_of)
{
    int64_t        excess;
    unsigned       i;
    cycles_code_t  code;

    excess = charge->actual - charge->held;

    if (excess <= 0) {

        for (i = 0; i < charge->n; i++) {
            cycles_effect_add(rec, charge->budgets[i], -charge->held,
                              charge->actual, 0);
        }

        rs->charged = charge->actual;

        return CYCLES_OK;
    }

    /* an event under REJECT has been found to be covered */

    if (charge->policy == CYCLES_REJECT && !charge->event) {
        cycles_denial_fill(&rs->denial, charge->budgets[0], charge->actual);
        rs->denial.reset_at_ms = 0;

        return CYCLES_BUDGET_EXCEEDED;
    }

    code = cycles_charge_excess(rec, charge, excess, &rs->charged,
                                &rs->denial, short_of);

    rs->charged = (code == CYCLES_OK) ? rs->charged + charge->held : 0;

    return code;
}


/*
 * The part of it that no reservation holds.  A scope without an overdraft
 * limit gives what it has and is marked as over its limit; one with a limit
 * goes into debt.
 */

static cycles_code_t
cycles_charge_excess(cycles_record_t *rec, const cycles_charge_t *charge,
    int64_t excess, int64_t *charged, cycles_denial_t *denial, int *short_of)
{
    int64_t           c, funded, deficit;
    unsigned          i, overdraft;
    cycles_budget_t  *b;

    overdraft = (charge->policy == CYCLES_ALLOW_WITH_OVERDRAFT);

    for (c = excess, i = 0; i < charge->n; i++) {
        b = charge->budgets[i];
        funded = cycles_positive(cycles_budget_remaining(b));

        if (funded < excess) {
            *short_of = 1;

            if (funded < c && !(overdraft && b->overdraft_limit > 0)) {
                c = funded;
            }
        }
    }

    *charged = c;

    for (i = 0; i < charge->n; i++) {
        b = charge->budgets[i];

        funded = cycles_positive(cycles_budget_remaining(b));
        deficit = 0;

        if (overdraft && b->overdraft_limit > 0) {
            deficit = cycles_positive(c - funded);

            if (deficit && deficit > b->overdraft_limit - b->debt) {
                cycles_denial_fill(denial, b, charge->actual);
                return CYCLES_OVERDRAFT_LIMIT_EXCEEDED;
            }
        }

        cycles_effect_add(rec, b, -charge->held,
                          charge->held + c - deficit, deficit);

        if (funded < excess && !(overdraft && b->overdraft_limit > 0)) {
            rec->effects[rec->neffects - 1].over_limit = 1;
        }
    }

    return CYCLES_OK;
}


static int64_t
cycles_positive(int64_t n)
{
    return n > 0 ? n : 0;
}


/*
 * A settlement has room in the log that its reservation kept free.  Texts that
 * do not fit in there are left out when the disk has no more room.
 */

static int
cycles_settle_write(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now)
{
    int     live;
    size_t  texts;

    live = (rec->type == CYCLES_RECORD_EVENT) ? (int) ledger->shm->nlive
                                              : CYCLES_LOG_OWED;

    if (rec->metrics.model_version.len
        > CYCLES_UTF8(CYCLES_MAX_MODEL_VERSION))
    {
        rec->metrics.model_version.len = CYCLES_MAX_MODEL_VERSION;
    }

    rec->texts_omitted = 0;

    if (rec->metadata.len + rec->metrics.custom.len <= CYCLES_MAX_METADATA
        && cycles_log_commit(ledger, rec, now, live) == 0)
    {
        return 0;
    }

    texts = rec->reason.len + rec->metrics.model_version.len
            + rec->metrics.custom.len + rec->metadata.len;

    if (texts == 0 || ledger->shm->broken) {
        return -1;
    }

    rec->texts_omitted = 1;
    rec->reason.len = 0;
    rec->metrics.model_version.len = 0;
    rec->metrics.custom.len = 0;
    rec->metadata.len = 0;

    return cycles_log_commit(ledger, rec, now, live);
}


/* least over the scopes when the effects have been applied */

static int64_t
cycles_remaining_after(const cycles_record_t *rec)
{
    int64_t                 least, n;
    unsigned                i;
    const cycles_effect_t  *effect;

    for (least = INT64_MAX, i = 0; i < rec->neffects; i++) {
        effect = &rec->effects[i];

        n = cycles_remaining(effect->at->allocated,
                             effect->at->reserved + effect->reserved,
                             effect->at->spent + effect->spent,
                             effect->at->debt + effect->debt);

        if (n < least) {
            least = n;
        }
    }

    return least;
}
