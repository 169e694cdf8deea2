
/*
 * Copyright (C) nginx-cycles authors
 *
 * From the tables of ledger.db into memory, at a start: definitions, sums,
 * and all that lives.
 */


#include <stdio.h>
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
        return err[0] ? -1 : 0;
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
                              " debt, is_over_limit, period_start_ms,"
                              " period_end_ms, id FROM budget_rows JOIN"
                              " budget_sums ON block = id / "
                              CYCLES_STRING(CYCLES_SUMS_BLOCK)
                              " ORDER BY id",
                              cycles_load_budget, err, errlen);
    }

    if (rc == 0) {
        rc = cycles_load_rows(ledger, db, "SELECT definition FROM api_keys"
                              " ORDER BY id", cycles_load_definition, err,
                              errlen);
    }

    if (rc == 0) {
        rc = cycles_load_rows(ledger, db, CYCLES_RESERVATION_ROW
                              "reservation_rows WHERE status = 'ACTIVE'"
                              " ORDER BY seq",
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

    return cycles_kept_apply(ledger);
}


/* and what other records have changed since */

static int
cycles_load_budget(cycles_ledger_t *ledger, sqlite3 *db, sqlite3_stmt *st)
{
    int               status;
    int64_t           over_limit;
    unsigned          n;
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

    if (rec->budget.period.type != CYCLES_PERIOD_NONE) {
        rec->budget.period.start_ms = sqlite3_column_int64(st, 8);
        rec->budget.period.end_ms = sqlite3_column_int64(st, 9);

        if (!cycles_period_ok(&rec->budget.period)) {
            return -1;
        }
    }

    sum = &rec->effects[0];
    n = (unsigned) (sqlite3_column_int64(st, 10) % CYCLES_SUMS_BLOCK);

    if (cycles_sums_at(cycles_column_str(st, 4), n, &sum->reserved) != 0
        || cycles_sums_at(cycles_column_str(st, 5), n, &sum->spent) != 0
        || cycles_sums_at(cycles_column_str(st, 6), n, &sum->debt) != 0
        || cycles_sums_at(cycles_column_str(st, 7), n, &over_limit) != 0)
    {
        return -1;
    }

    sum->over_limit = (over_limit != 0);

    return cycles_kept_apply(ledger);
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
cycles_load_reservation(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st)
{
    cycles_kept_t  kept;

    if (cycles_kept_extensions(ledger, db, st, &kept) != 0) {
        return -1;
    }

    return cycles_kept_reservation(ledger, st, &kept);
}
