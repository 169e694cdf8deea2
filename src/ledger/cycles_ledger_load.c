
/*
 * Copyright (C) nginx-cycles authors
 *
 * From the tables of ledger.db into memory.  What a row tells becomes the
 * records that made it, without what they did to the budgets, whose sums are
 * in rows of their own; so memory is changed in one way only.
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_ledger_db.h"


typedef int (*cycles_load_pt)(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st);


static int cycles_load_rows(cycles_ledger_t *ledger, sqlite3 *db,
    const char *sql, cycles_load_pt load, char *err, size_t errlen);
static int cycles_load_meta(cycles_ledger_t *ledger, sqlite3 *db,
    cycles_db_meta_t *meta, char *err, size_t errlen);
static int cycles_load_definition(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st);
static int cycles_load_budget(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st);
static int cycles_load_reservation(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st);
static int cycles_load_record(cycles_record_t *rec, sqlite3_stmt *st);
static int cycles_load_apply(cycles_ledger_t *ledger);
static int cycles_load_caps(cycles_ledger_t *ledger, cycles_cell_t *cell,
    sqlite3_stmt *st);
static int cycles_load_extensions(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st, cycles_cell_t *cell);
static int cycles_load_effects(cycles_ledger_t *ledger, cycles_record_t *rec,
    const char *budgets);


int
cycles_tables_load(cycles_ledger_t *ledger, cycles_db_meta_t *meta, char *err,
    size_t errlen)
{
    int       rc;
    sqlite3  *db;

    memset(meta, 0, sizeof(cycles_db_meta_t));

    if (!cycles_db_exists(ledger)) {
        return 0;
    }

    db = cycles_db_open(ledger, 0, err, errlen);

    if (db == NULL) {
        return -1;
    }

    /* all of it as of one moment */

    rc = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);

    if (rc != SQLITE_OK) {
        cycles_db_error(ledger, db, err, errlen);

    } else {
        rc = cycles_load_meta(ledger, db, meta, err, errlen);
    }

    if (rc == 0) {
        rc = cycles_load_rows(ledger, db, "SELECT definition FROM tenants"
                              " ORDER BY id", cycles_load_definition, err,
                              errlen);
    }

    if (rc == 0) {
        rc = cycles_load_rows(ledger, db, "SELECT definition, status,"
                              " allocated, updated_at_ms, reserved, spent,"
                              " debt, is_over_limit FROM budgets ORDER BY id",
                              cycles_load_budget, err, errlen);
    }

    if (rc == 0) {
        rc = cycles_load_rows(ledger, db, "SELECT definition FROM api_keys"
                              " ORDER BY id", cycles_load_definition, err,
                              errlen);
    }

    if (rc == 0) {
        rc = cycles_load_rows(ledger, db, CYCLES_RESERVATION_ROW
                              " WHERE status = 'ACTIVE' ORDER BY seq",
                              cycles_load_reservation, err, errlen);
    }

    sqlite3_close(db);

    if (rc != 0) {
        return -1;
    }

    ledger->shm->written = meta->folded;
    ledger->shm->loaded = meta->folded;
    ledger->shm->evicted = meta->folded;
    ledger->shm->nexpired = meta->expired;

    return 0;
}


static int
cycles_load_rows(cycles_ledger_t *ledger, sqlite3 *db, const char *sql,
    cycles_load_pt load, char *err, size_t errlen)
{
    int            rc;
    sqlite3_stmt  *st;

    rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

    if (rc != SQLITE_OK) {
        cycles_db_error(ledger, db, err, errlen);
        return -1;
    }

    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {

        if (load(ledger, db, st) != 0) {

            if (cycles_cells_ensure(ledger, 1) == -1
                || cycles_defs_room(ledger) < CYCLES_CELL_SIZE)
            {
                snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" needs a "
                         "larger zone than %zu bytes", ledger->path,
                         ledger->size);

            } else {
                snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" is damaged: "
                         "restore it from a backup", ledger->path);
            }

            sqlite3_finalize(st);
            return -1;
        }
    }

    if (rc != SQLITE_DONE) {
        cycles_db_error(ledger, db, err, errlen);
    }

    sqlite3_finalize(st);

    return rc == SQLITE_DONE ? 0 : -1;
}


static int
cycles_load_meta(cycles_ledger_t *ledger, sqlite3 *db, cycles_db_meta_t *meta,
    char *err, size_t errlen)
{
    cycles_shm_t          *shm;
    static const uint8_t   unknown[16];

    if (cycles_db_meta(ledger, db, meta, err, errlen) != 0) {
        return -1;
    }

    shm = ledger->shm;

    if (memcmp(shm->uuid, unknown, 16) == 0) {
        memcpy(shm->uuid, meta->uuid, 16);

    } else if (memcmp(shm->uuid, meta->uuid, 16) != 0) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" belongs to another "
                 "ledger: restore the one of this ledger from a backup",
                 ledger->path);
        return -1;
    }

    if (meta->has_admin_key) {
        shm->has_admin_key = 1;
        memcpy(shm->admin_key, meta->admin_key, 32);
    }

    return 0;
}


/* the record that has defined it last, as it is in the log */

static int
cycles_load_definition(cycles_ledger_t *ledger, sqlite3 *db, sqlite3_stmt *st)
{
    if (cycles_load_record(&ledger->record, st) != 0) {
        return -1;
    }

    return cycles_load_apply(ledger);
}


/* and what other records have changed since */

static int
cycles_load_budget(cycles_ledger_t *ledger, sqlite3 *db, sqlite3_stmt *st)
{
    int               status;
    cycles_effect_t  *sum;
    cycles_record_t  *rec;

    rec = &ledger->record;
    status = cycles_column_name(st, 1, cycles_budget_statuses,
                                CYCLES_BUDGET_STATUSES);

    if (status == -1 || cycles_load_record(rec, st) != 0
        || rec->type != CYCLES_RECORD_BUDGET)
    {
        return -1;
    }

    rec->budget.status = status;
    rec->budget.allocated = sqlite3_column_int64(st, 2);
    rec->budget.updated_ms = sqlite3_column_int64(st, 3);

    sum = &rec->effects[0];

    sum->reserved = sqlite3_column_int64(st, 4);
    sum->spent = sqlite3_column_int64(st, 5);
    sum->debt = sqlite3_column_int64(st, 6);
    sum->over_limit = sqlite3_column_int(st, 7);

    return cycles_load_apply(ledger);
}


static int
cycles_load_record(cycles_record_t *rec, sqlite3_stmt *st)
{
    size_t                len;
    const unsigned char  *buf;

    buf = sqlite3_column_blob(st, 0);
    len = sqlite3_column_bytes(st, 0);

    if (len < CYCLES_RECORD_HEAD || len != cycles_get32(buf + 4)
        || cycles_get32(buf) != cycles_crc32c(0, buf + 4, len - 4)
        || cycles_record_frame(buf, cycles_get64(buf + 8)) != NULL)
    {
        return -1;
    }

    return cycles_record_read(rec, buf, len);
}


static int
cycles_load_apply(cycles_ledger_t *ledger)
{
    char  why[128];

    return cycles_record_apply(ledger, &ledger->record, why, sizeof(why));
}


/* CYCLES_RESERVATION_ROW */

static int
cycles_load_reservation(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st)
{
    int               i;
    cycles_str_t      id;
    cycles_cell_t    *cell;
    cycles_record_t  *rec;

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_RESERVE;
    rec->caps_from = 0;

    id = cycles_column_str(st, CYCLES_ROW_ID);
    rec->seq = sqlite3_column_int64(st, CYCLES_ROW_SEQ);
    rec->owner = cycles_column_str(st, CYCLES_ROW_TENANT);
    rec->key = cycles_column_str(st, CYCLES_ROW_KEY);
    rec->unit = cycles_column_unit(st, CYCLES_ROW_UNIT);
    rec->policy = cycles_column_policy(st, CYCLES_ROW_POLICY);
    rec->decision = cycles_column_name(st, CYCLES_ROW_DECISION,
                                       cycles_decisions,
                                       CYCLES_ALLOW_WITH_CAPS + 1);
    rec->amount = sqlite3_column_int64(st, CYCLES_ROW_ESTIMATE);
    rec->remaining = cycles_column_amount(st, CYCLES_ROW_REMAINING);
    rec->grace_ms = sqlite3_column_int64(st, CYCLES_ROW_GRACE);
    rec->expires_at_ms = sqlite3_column_int64(st, CYCLES_ROW_GRANTED);

    rec->subject = &rec->subject_read;
    rec->subject_read.ndimensions = 0;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        rec->subject_read.levels[i] = cycles_column_str(st,
                                                   CYCLES_ROW_SUBJECT + i);
    }

    if (cycles_id_parse(id, rec->id) != 0
        || (unsigned) rec->unit >= CYCLES_UNITS
        || (unsigned) rec->policy >= CYCLES_POLICIES
        || (unsigned) rec->decision > CYCLES_ALLOW_WITH_CAPS
        || cycles_column_digest(st, CYCLES_ROW_DIGEST, &rec->digest) != 0
        || cycles_load_effects(ledger, rec, (const char *)
                               sqlite3_column_text(st, CYCLES_ROW_BUDGETS))
           != 0
        || cycles_load_apply(ledger) != 0)
    {
        return -1;
    }

    cell = cycles_cell_by_id(ledger, rec->id, CYCLES_CELL_RESERVATION);

    if (rec->decision == CYCLES_ALLOW_WITH_CAPS
        && cycles_load_caps(ledger, cell, st) != 0)
    {
        return -1;
    }

    if (sqlite3_column_int(st, CYCLES_ROW_EXTENSIONS)
        && cycles_load_extensions(ledger, db, st, cell) != 0)
    {
        return -1;
    }

    return 0;
}


/* the sums of the budgets have them already */

static int
cycles_load_effects(cycles_ledger_t *ledger, cycles_record_t *rec,
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


/* they may have been changed since they were granted */

static int
cycles_load_caps(cycles_ledger_t *ledger, cycles_cell_t *cell,
    sqlite3_stmt *st)
{
    unsigned          i;
    cycles_caps_t     caps;
    cycles_budget_t  *budget;

    caps.max_tokens = cycles_column_opt_int(st, CYCLES_ROW_CAPS);
    caps.max_steps_remaining = cycles_column_opt_int(st, CYCLES_ROW_CAPS + 1);
    caps.cooldown_ms = cycles_column_opt_int(st, CYCLES_ROW_CAPS + 2);
    caps.tool_allowlist = cycles_column_str(st, CYCLES_ROW_CAPS + 3);
    caps.tool_denylist = cycles_column_str(st, CYCLES_ROW_CAPS + 4);

    for (i = 0; i < cell->nbudgets; i++) {
        budget = cycles_budget_by_id(ledger, cell->budgets[i]);

        if (budget->caps && cycles_caps_equal(ledger, budget->caps, &caps)) {
            cell->caps = cycles_caps_use(ledger, budget->caps);
            return 0;
        }
    }

    cell->caps = cycles_caps_alloc(ledger, &caps);

    return cell->caps ? 0 : -1;
}


/* as many as memory remembers, in their order */

static int
cycles_load_extensions(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st, cycles_cell_t *cell)
{
    int               rc;
    sqlite3_stmt     *ext;
    cycles_record_t  *rec;

    rc = sqlite3_prepare_v2(db, "SELECT * FROM (SELECT seq, idempotency_key,"
                            " expires_at_ms, digest FROM extensions WHERE"
                            " reservation = ?1 ORDER BY seq DESC LIMIT ?2)"
                            " ORDER BY seq", -1, &ext, NULL);
    if (rc != SQLITE_OK) {
        return -1;
    }

    (void) sqlite3_bind_int64(ext, 1, cell->record);
    (void) sqlite3_bind_int(ext, 2, CYCLES_MAX_EXTENSIONS);

    rec = &ledger->record;
    rec->type = CYCLES_RECORD_EXTEND;
    rec->neffects = 0;

    while (rc == 0 && sqlite3_step(ext) == SQLITE_ROW) {
        rec->seq = sqlite3_column_int64(ext, 0);
        rec->key = cycles_column_str(ext, 1);
        rec->expires_at_ms = sqlite3_column_int64(ext, 2);

        rc = cycles_column_digest(ext, 3, &rec->digest) == 0
             ? cycles_load_apply(ledger) : -1;
    }

    cell->extended = sqlite3_column_int(st, CYCLES_ROW_EXTENSIONS);

    return (sqlite3_finalize(ext) == SQLITE_OK && rc == 0) ? 0 : -1;
}
