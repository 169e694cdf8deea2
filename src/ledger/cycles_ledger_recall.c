
/*
 * Copyright (C) nginx-cycles authors
 *
 * What memory has forgotten comes back from ledger.db when somebody asks for
 * it, so that the operation that asks finds it as if it had stayed.
 *
 * What a row tells becomes the records that made it, without what they did to
 * the budgets, whose sums have that already; so memory is changed in one way
 * only.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_ledger_db.h"


/* makes a cell of the current row */

typedef int (*cycles_kept_pt)(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept);


/* a table whose rows have keys; the first columns are cycles_kept_column_t */

typedef struct {
    const char            *sql;
    const char            *operation;
    cycles_cell_kind_t     kind;
    cycles_kept_pt         keep;
} cycles_kept_table_t;


static int cycles_recall_from(cycles_ledger_t *ledger, sqlite3 *db,
    const cycles_kept_table_t *table, const cycles_look_up_t *look_up,
    char *err, size_t errlen);
static int cycles_recall_key_is(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_table_t *table, const cycles_digest_t *key);
static int cycles_recall_row(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st, const cycles_kept_table_t *table, char *err,
    size_t errlen);
static int cycles_recall_locked(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_table_t *table, const cycles_kept_t *kept, char *err,
    size_t errlen);

static int cycles_kept_settlement(cycles_ledger_t *ledger, sqlite3_stmt *st);
static int cycles_kept_event(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept);
static int cycles_kept_decision(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept);
static int cycles_kept_funding(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept);
static int cycles_kept_head(cycles_record_t *rec, sqlite3_stmt *st);
static int cycles_kept_budgets(cycles_ledger_t *ledger, cycles_record_t *rec,
    const char *budgets);
static int cycles_kept_caps(cycles_ledger_t *ledger, sqlite3_stmt *st,
    int column, cycles_cell_t *cell);


#define CYCLES_DECISION_ROW                                                   \
    "SELECT seq, decision_id, tenant_id, idempotency_key, digest, unit,"      \
    " created_at_ms, dry_run, decision, reason_code, remaining,"              \
    " caps_max_tokens, caps_max_steps_remaining, caps_cooldown_ms,"           \
    " caps_tool_allowlist, caps_tool_denylist FROM decisions"                 \
    " WHERE key_hash = ?1"


static const cycles_kept_table_t  cycles_kept_tables[] = {

    { CYCLES_RESERVATION_ROW "reservation_rows WHERE key_hash = ?1"
      " AND key_is_fresh = 0 ORDER BY seq DESC",
      "reserve", CYCLES_CELL_RESERVATION, cycles_kept_reservation },

    { CYCLES_DECISION_ROW " AND dry_run = 1 ORDER BY seq DESC",
      "reserve", CYCLES_CELL_DECISION, cycles_kept_decision },

    { CYCLES_DECISION_ROW " AND dry_run = 0 ORDER BY seq DESC",
      "decide", CYCLES_CELL_DECISION, cycles_kept_decision },

    { "SELECT seq, event_id, tenant_id, idempotency_key, digest, unit,"
      " created_at_ms, overage_policy, charged, remaining FROM events"
      " WHERE key_hash = ?1 ORDER BY seq DESC",
      "event", CYCLES_CELL_EVENT, cycles_kept_event },

    { "SELECT seq, funding_id, tenant_id, idempotency_key, digest, unit,"
      " created_at_ms, previous_allocated, new_allocated,"
      " previous_remaining, new_remaining, previous_debt, new_debt,"
      " previous_spent, new_spent FROM fundings"
      " WHERE key_hash = ?1 ORDER BY seq DESC",
      "fund", CYCLES_CELL_FUNDING, cycles_kept_funding }
};

#define CYCLES_KEPT_TABLES                                                    \
    (sizeof(cycles_kept_tables) / sizeof(cycles_kept_tables[0]))


static const cycles_kept_table_t  cycles_kept_by_id = {
    CYCLES_RESERVATION_ROW CYCLES_RESERVATION_BY_SEQ
    " WHERE reservation_id = ?2",
    NULL, CYCLES_CELL_RESERVATION, cycles_kept_reservation
};


/*
 * Whether a key that is not in memory may be in the tables.  What has been
 * written since it was missed is in memory, or has been forgotten since.
 */

int
cycles_key_missed(cycles_ledger_t *ledger, const cycles_digest_t *key)
{
    uint64_t           evicted;
    cycles_look_up_t  *last;

    evicted = ledger->shm->evicted;

    if (evicted == 0) {
        return 0;
    }

    last = &ledger->looked_up;

    if (last->by_key && last->seen >= evicted
        && memcmp(&last->key, key, sizeof(cycles_digest_t)) == 0)
    {
        return 0;
    }

    if (evicted <= cycles_ledger_folded(ledger)
        && !cycles_filter_has(ledger, cycles_db_key_hash(key)))
    {
        return 0;
    }

    ledger->missed.by_key = 1;
    ledger->missed.key = *key;
    ledger->missed.record = evicted;
    ledger->missed.seen = ledger->shm->written;

    return 1;
}


/* the same for a reservation */

int
cycles_id_missed(cycles_ledger_t *ledger, const uint8_t *id)
{
    uint64_t           evicted;
    cycles_look_up_t  *last;

    evicted = ledger->shm->evicted;

    if (evicted == 0) {
        return 0;
    }

    last = &ledger->looked_up;

    if (!last->by_key && last->seen >= evicted
        && memcmp(last->id, id, 16) == 0)
    {
        return 0;
    }

    ledger->missed.by_key = 0;
    memcpy(ledger->missed.id, id, 16);
    ledger->missed.record = evicted;
    ledger->missed.seen = ledger->shm->written;

    return 1;
}


/* of the process, whose operations come one after the other */

void
cycles_ledger_missed(cycles_ledger_t *ledger, cycles_look_up_t *look_up)
{
    *look_up = ledger->missed;
}


void
cycles_ledger_looked_up(cycles_ledger_t *ledger,
    const cycles_look_up_t *look_up)
{
    ledger->looked_up = *look_up;
}


int
cycles_ledger_look_up(cycles_ledger_t *ledger,
    const cycles_look_up_t *look_up, char *err, size_t errlen)
{
    int        rc;
    sqlite3   *db;
    unsigned   i;

    db = cycles_ledger_database(ledger, err, errlen);

    if (db == NULL) {
        return -1;
    }

    if (look_up->by_key) {

        for (rc = 0, i = 0; rc == 0 && i < CYCLES_KEPT_TABLES; i++) {
            rc = cycles_recall_from(ledger, db, &cycles_kept_tables[i],
                                    look_up, err, errlen);
        }

    } else {
        rc = cycles_recall_from(ledger, db, &cycles_kept_by_id, look_up, err,
                                errlen);
    }

    cycles_ledger_database_return(ledger, db);

    return (rc == -1) ? -1 : 0;
}


/* 1: it is there, and in memory by now */

static int
cycles_recall_from(cycles_ledger_t *ledger, sqlite3 *db,
    const cycles_kept_table_t *table, const cycles_look_up_t *look_up,
    char *err, size_t errlen)
{
    int             rc;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    if (sqlite3_prepare_v2(db, table->sql, -1, &st, NULL) != SQLITE_OK) {
        cycles_db_error(ledger, db, err, errlen);
        return -1;
    }

    cycles_bind_init(&b, st);

    if (look_up->by_key) {
        cycles_bind_int(&b, cycles_db_key_hash(&look_up->key));

    } else {
        cycles_bind_int(&b, cycles_ledger_id_seq(ledger, look_up->id));
        cycles_bind_id(&b, look_up->id);
    }

    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {

        if (!look_up->by_key
            || cycles_recall_key_is(ledger, st, table, &look_up->key))
        {
            break;
        }
    }

    if (rc == SQLITE_ROW) {
        rc = cycles_recall_row(ledger, db, st, table, err, errlen) == 0
             ? 1 : -1;

    } else if (rc == SQLITE_DONE) {
        rc = 0;

    } else {
        cycles_db_error(ledger, db, err, errlen);
        rc = -1;
    }

    sqlite3_finalize(st);

    return rc;
}


static int
cycles_recall_key_is(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_table_t *table, const cycles_digest_t *key)
{
    cycles_str_t     tenant;
    cycles_digest_t  digest;

    tenant = cycles_column_str(st, CYCLES_KEPT_TENANT);

    cycles_key_digest(ledger, table->operation, tenant.data, tenant.len,
                      cycles_column_str(st, CYCLES_KEPT_KEY), &digest);

    return memcmp(&digest, key, sizeof(cycles_digest_t)) == 0;
}


/* what lives never leaves memory: it has been settled since it was missed */

static int
cycles_recall_row(cycles_ledger_t *ledger, sqlite3 *db, sqlite3_stmt *st,
    const cycles_kept_table_t *table, char *err, size_t errlen)
{
    int            rc;
    cycles_kept_t  kept;

    if (table->kind == CYCLES_CELL_RESERVATION) {

        if (cycles_column_name(st, CYCLES_KEPT_STATUS,
                               cycles_reservation_statuses,
                               CYCLES_EXPIRED + 1)
            == CYCLES_ACTIVE)
        {
            return 0;
        }

        if (cycles_kept_extensions(ledger, db, st, &kept) != 0) {
            cycles_db_error(ledger, db, err, errlen);
            return -1;
        }
    }

    if (cycles_ledger_lock(ledger) != 0) {
        snprintf(err, errlen, "%s", ledger->trouble);
        return -1;
    }

    rc = cycles_recall_locked(ledger, st, table, &kept, err, errlen);

    cycles_ledger_unlock(ledger);

    return rc;
}


static int
cycles_recall_locked(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_table_t *table, const cycles_kept_t *kept, char *err,
    size_t errlen)
{
    int            rc;
    uint8_t        id[16];
    uint64_t       expired;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (cycles_id_parse(cycles_column_str(st, CYCLES_KEPT_ID), id) != 0) {
        snprintf(err, errlen, "a row of \"%s/" CYCLES_DB_NAME "\" is damaged",
                 ledger->path);
        return -1;
    }

    if (cycles_cell_by_id(ledger, id, table->kind)) {
        return 0;
    }

    if (cycles_cells_ensure(ledger, 0) != 0
        || shm->nlive == shm->max_cells
        || cycles_defs_room(ledger) < sizeof(cycles_shm_caps_t)
                                      + CYCLES_MAX_CAPS_TEXT)
    {
        snprintf(err, errlen, "the zone of %zu bytes is full", ledger->size);
        return -1;
    }

    expired = shm->nexpired;
    shm->changing = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);

    rc = table->keep(ledger, st, kept);

    shm->nexpired = expired;

    /* half of it may have been done */

    if (rc != 0) {
        snprintf(err, errlen, "a row of \"%s/" CYCLES_DB_NAME "\" is damaged",
                 ledger->path);
        (void) cycles_ledger_restore(ledger);
        return -1;
    }

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    shm->changing = 0;

    return 0;
}


int
cycles_kept_reservation(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept)
{
    int               i, status;
    unsigned          k;
    cycles_cell_t    *cell;
    cycles_record_t  *rec;

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_RESERVE;
    rec->owner_at = NULL;
    rec->segments = NULL;
    rec->fresh_key = sqlite3_column_int(st, CYCLES_KEPT_FRESH);
    rec->policy = cycles_column_policy(st, CYCLES_KEPT_POLICY);
    rec->decision = cycles_column_name(st, CYCLES_KEPT_DECISION,
                                       cycles_decisions,
                                       CYCLES_ALLOW_WITH_CAPS + 1);
    rec->amount = sqlite3_column_int64(st, CYCLES_KEPT_ESTIMATE);
    rec->remaining = cycles_column_amount(st, CYCLES_KEPT_REMAINING);
    rec->grace_ms = sqlite3_column_int64(st, CYCLES_KEPT_GRACE);
    rec->expires_at_ms = sqlite3_column_int64(st, CYCLES_KEPT_GRANTED);

    rec->subject = &rec->subject_read;
    rec->subject_read.ndimensions = 0;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        rec->subject_read.levels[i] = cycles_column_str(st,
                                                   CYCLES_KEPT_SUBJECT + i);
    }

    status = cycles_column_name(st, CYCLES_KEPT_STATUS,
                                cycles_reservation_statuses,
                                CYCLES_EXPIRED + 1);

    if (cycles_kept_head(rec, st) != 0
        || status == -1
        || (unsigned) rec->policy >= CYCLES_POLICIES
        || (unsigned) rec->decision > CYCLES_ALLOW_WITH_CAPS
        || cycles_kept_budgets(ledger, rec, (const char *)
                               sqlite3_column_text(st, CYCLES_KEPT_BUDGETS))
           != 0
        || cycles_kept_apply(ledger) != 0)
    {
        return -1;
    }

    cell = cycles_cell_by_id(ledger, rec->id, CYCLES_CELL_RESERVATION);

    if (rec->decision == CYCLES_ALLOW_WITH_CAPS
        && cycles_kept_caps(ledger, st, CYCLES_KEPT_CAPS, cell) != 0)
    {
        return -1;
    }

    for (k = 0; k < kept->n; k++) {
        cycles_extension_keep(ledger, cell, &kept->extensions[k]);
    }

    cell->extended = sqlite3_column_int64(st, CYCLES_KEPT_EXTENSIONS);
    cell->expires_at_ms = sqlite3_column_int64(st, CYCLES_KEPT_EXPIRES);
    cycles_heap_update(ledger, cell);

    return (status == CYCLES_ACTIVE) ? 0
                                     : cycles_kept_settlement(ledger, st);
}


static int
cycles_kept_settlement(cycles_ledger_t *ledger, sqlite3_stmt *st)
{
    cycles_str_t      status;
    cycles_record_t  *rec;

    rec = &ledger->record;
    status = cycles_column_str(st, CYCLES_KEPT_STATUS);

    rec->time = sqlite3_column_int64(st, CYCLES_KEPT_FINALIZED);
    rec->seq = sqlite3_column_int64(st, CYCLES_KEPT_SETTLE_SEQ);
    rec->neffects = 0;

    if (status.data[0] == 'E'
        || sqlite3_column_type(st, CYCLES_KEPT_SETTLE_KEY) == SQLITE_NULL)
    {
        rec->type = (status.data[0] == 'E') ? CYCLES_RECORD_EXPIRE
                                            : CYCLES_RECORD_CLOSE;
        rec->nids = 1;
        memcpy(rec->ids[0], rec->id, 16);

        return cycles_kept_apply(ledger);
    }

    rec->type = (status.data[0] == 'C') ? CYCLES_RECORD_COMMIT
                                        : CYCLES_RECORD_RELEASE;
    rec->key = cycles_column_str(st, CYCLES_KEPT_SETTLE_KEY);
    rec->charged = sqlite3_column_int64(st, CYCLES_KEPT_CHARGED);
    rec->remaining = cycles_column_amount(st, CYCLES_KEPT_SETTLE_REMAINING);

    if (cycles_column_digest(st, CYCLES_KEPT_SETTLE_DIGEST, &rec->digest)
        != 0)
    {
        return -1;
    }

    return cycles_kept_apply(ledger);
}


static int
cycles_kept_event(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept)
{
    cycles_record_t  *rec;

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_EVENT;
    rec->time = sqlite3_column_int64(st, CYCLES_KEPT_CREATED);
    rec->policy = cycles_column_policy(st, CYCLES_KEPT_COLUMNS);
    rec->charged = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 1);
    rec->remaining = cycles_column_amount(st, CYCLES_KEPT_COLUMNS + 2);
    rec->neffects = 0;

    if (cycles_kept_head(rec, st) != 0
        || (unsigned) rec->policy >= CYCLES_POLICIES)
    {
        return -1;
    }

    return cycles_kept_apply(ledger);
}


static int
cycles_kept_decision(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept)
{
    int               code;
    cycles_str_t      reason;
    cycles_record_t  *rec;

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_DECISION;
    rec->time = sqlite3_column_int64(st, CYCLES_KEPT_CREATED);
    rec->decide = !sqlite3_column_int(st, CYCLES_KEPT_COLUMNS);
    rec->decision = cycles_column_name(st, CYCLES_KEPT_COLUMNS + 1,
                                       cycles_decisions,
                                       CYCLES_ALLOW_WITH_CAPS + 1);
    reason = cycles_column_str(st, CYCLES_KEPT_COLUMNS + 2);
    rec->remaining = cycles_column_amount(st, CYCLES_KEPT_COLUMNS + 3);
    rec->neffects = 0;

    code = reason.len ? cycles_denial_find(reason) : CYCLES_OK;

    if (cycles_kept_head(rec, st) != 0
        || code == -1
        || (unsigned) rec->decision > CYCLES_ALLOW_WITH_CAPS)
    {
        return -1;
    }

    rec->denied = code;

    if (cycles_kept_apply(ledger) != 0) {
        return -1;
    }

    return (rec->decision != CYCLES_ALLOW_WITH_CAPS) ? 0
           : cycles_kept_caps(ledger, st, CYCLES_KEPT_COLUMNS + 4,
                              cycles_cell_by_id(ledger, rec->id,
                                                CYCLES_CELL_DECISION));
}


static int
cycles_kept_funding(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept)
{
    cycles_record_t        *rec;
    cycles_funding_sums_t   sums;

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_FUNDING;
    rec->time = sqlite3_column_int64(st, CYCLES_KEPT_CREATED);

    if (cycles_kept_head(rec, st) != 0) {
        return -1;
    }

    sums.previous_allocated = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS);
    sums.new_allocated = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 1);
    sums.previous_remaining = sqlite3_column_int64(st,
                                                   CYCLES_KEPT_COLUMNS + 2);
    sums.new_remaining = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 3);
    sums.previous_debt = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 4);
    sums.new_debt = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 5);
    sums.previous_spent = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 6);
    sums.new_spent = sqlite3_column_int64(st, CYCLES_KEPT_COLUMNS + 7);

    return cycles_funding_keep(ledger, rec, &sums);
}


/* the columns that all of them have */

static int
cycles_kept_head(cycles_record_t *rec, sqlite3_stmt *st)
{
    rec->caps_from = 0;
    rec->seq = sqlite3_column_int64(st, CYCLES_KEPT_SEQ);
    rec->owner = cycles_column_str(st, CYCLES_KEPT_TENANT);
    rec->key = cycles_column_str(st, CYCLES_KEPT_KEY);
    rec->unit = cycles_column_unit(st, CYCLES_KEPT_UNIT);

    if (cycles_id_parse(cycles_column_str(st, CYCLES_KEPT_ID), rec->id) != 0
        || (unsigned) rec->unit >= CYCLES_UNITS)
    {
        return -1;
    }

    return cycles_column_digest(st, CYCLES_KEPT_DIGEST, &rec->digest);
}


int
cycles_kept_apply(cycles_ledger_t *ledger)
{
    char  why[128];

    return cycles_record_apply(ledger, &ledger->record, why, sizeof(why));
}


/* "[1,2]"; their sums have it already */

static int
cycles_kept_budgets(cycles_ledger_t *ledger, cycles_record_t *rec,
    const char *budgets)
{
    char             *end;
    cycles_budget_t  *budget;

    rec->neffects = 0;

    if (budgets == NULL || *budgets != '[') {
        return -1;
    }

    while (*budgets != ']' && rec->neffects < CYCLES_LEVELS) {
        budget = cycles_budget_by_id(ledger, strtoul(budgets + 1, &end, 10));

        if (budget == NULL || end == budgets + 1
            || (*end != ',' && *end != ']'))
        {
            return -1;
        }

        cycles_effect_add(rec, budget, 0, 0, 0);
        budgets = end;
    }

    return (*budgets == ']') ? 0 : -1;
}


/* the budget may have got others since */

static int
cycles_kept_caps(cycles_ledger_t *ledger, sqlite3_stmt *st, int column,
    cycles_cell_t *cell)
{
    unsigned          i;
    cycles_caps_t     caps;
    cycles_budget_t  *budget;

    caps.max_tokens = cycles_column_opt_int(st, column);
    caps.max_steps_remaining = cycles_column_opt_int(st, column + 1);
    caps.cooldown_ms = cycles_column_opt_int(st, column + 2);
    caps.tool_allowlist = cycles_column_str(st, column + 3);
    caps.tool_denylist = cycles_column_str(st, column + 4);

    for (i = 0; i < cell->nbudgets; i++) {
        budget = cycles_memory_at(ledger, cell->budgets[i]);

        if (budget->caps && cycles_caps_equal(ledger, budget->caps, &caps)) {
            cell->caps = cycles_caps_use(ledger, budget->caps);
            return 0;
        }
    }

    cell->caps = cycles_caps_alloc(ledger, &caps);

    return cell->caps ? 0 : -1;
}


/* as many as memory remembers, the oldest first */

int
cycles_kept_extensions(cycles_ledger_t *ledger, sqlite3 *db, sqlite3_stmt *st,
    cycles_kept_t *kept)
{
    int                  rc;
    uint8_t              id[16];
    sqlite3_stmt        *ext;
    cycles_extension_t  *item;

    kept->n = 0;

    if (sqlite3_column_int(st, CYCLES_KEPT_EXTENSIONS) == 0) {
        return 0;
    }

    if (cycles_id_parse(cycles_column_str(st, CYCLES_KEPT_ID), id) != 0
        || sqlite3_prepare_v2(db, "SELECT * FROM (SELECT seq,"
                              " idempotency_key, expires_at_ms, digest FROM"
                              " extensions WHERE reservation = ?1"
                              " ORDER BY seq DESC LIMIT ?2) ORDER BY seq",
                              -1, &ext, NULL)
           != SQLITE_OK)
    {
        return -1;
    }

    (void) sqlite3_bind_int64(ext, 1,
                              sqlite3_column_int64(st, CYCLES_KEPT_SEQ));
    (void) sqlite3_bind_int(ext, 2, CYCLES_MAX_EXTENSIONS);

    rc = 0;

    while (rc == 0 && sqlite3_step(ext) == SQLITE_ROW) {
        item = &kept->extensions[kept->n++];

        item->record = sqlite3_column_int64(ext, 0);
        item->expires_at_ms = sqlite3_column_int64(ext, 2);

        cycles_key_digest(ledger, "extend", id, 16,
                          cycles_column_str(ext, 1), &item->key);
        rc = cycles_column_digest(ext, 3, &item->digest);
    }

    return (sqlite3_finalize(ext) == SQLITE_OK && rc == 0) ? 0 : -1;
}
