
/*
 * Copyright (C) nginx-cycles authors
 *
 * ledger.db, the part of a ledger that can be queried: connections to it, and
 * what its statements are bound to and read from.  Private to the ledger;
 * docs/ledger-format.md describes the tables.
 */


#ifndef _CYCLES_LEDGER_DB_H_INCLUDED_
#define _CYCLES_LEDGER_DB_H_INCLUDED_


#include <sqlite3.h>

#include "../cycles_json.h"
#include "cycles_ledger_core.h"


#define CYCLES_DB_NAME     "ledger.db"

/* "CYCL", and the version of the tables */
#define CYCLES_DB_ID       0x4359434c
#define CYCLES_DB_VERSION  3


/* what ledger.db knows of the log */

typedef struct {
    unsigned          exists;
    unsigned          log_lost;           /* the operator says so */
    uint8_t           uuid[16];
    uint64_t          folded;             /* the last record in the tables */
    uint64_t          segment;            /* where the next one begins */
    uint64_t          offset;
    uint64_t          expired;
    unsigned          has_admin_key;
    uint8_t           admin_key[32];
} cycles_db_meta_t;


/* parameters of a statement, in their order */

typedef struct {
    sqlite3_stmt     *st;
    int               n;
} cycles_bind_t;


/*
 * cycles_db_open() opens ledger.db, or with "create" makes an empty one for
 * the uuid of the ledger; NULL and a sentence in err when it can't be used,
 * or nothing in err when there is nothing in it.
 * The connection is of the process that opened it, and of one thread at a
 * time.
 */

sqlite3 *cycles_db_open(cycles_ledger_t *ledger, int create, char *err,
    size_t errlen);

/* 1: there is one, 0: there is none, -1: the directory can't be read */

int cycles_db_exists(cycles_ledger_t *ledger);

/* forgets that the log was lost: there is one again */

int cycles_db_found(cycles_ledger_t *ledger, char *err, size_t errlen);

/* whether the file was removed, or replaced, since it was opened */

int cycles_db_moved(sqlite3 *db);

int cycles_db_meta(cycles_ledger_t *ledger, sqlite3 *db,
    cycles_db_meta_t *meta, char *err, size_t errlen);

/* by which the row of an idempotency key is found */

int64_t cycles_db_key_hash(const cycles_digest_t *key);

void cycles_db_error(cycles_ledger_t *ledger, sqlite3 *db, char *err,
    size_t errlen);


/*
 * What is not there becomes NULL: an empty string, a count or a duration of
 * -1, a time of 0, an amount that is not known.
 */

void cycles_bind_init(cycles_bind_t *b, sqlite3_stmt *st);
void cycles_bind_int(cycles_bind_t *b, int64_t n);
void cycles_bind_opt_int(cycles_bind_t *b, int64_t n);
void cycles_bind_time(cycles_bind_t *b, int64_t ms);
void cycles_bind_amount(cycles_bind_t *b, int64_t amount);
void cycles_bind_str(cycles_bind_t *b, cycles_str_t s);
void cycles_bind_opt_str(cycles_bind_t *b, cycles_str_t s);
void cycles_bind_name(cycles_bind_t *b, const char *name);
void cycles_bind_blob(cycles_bind_t *b, const void *p, size_t len);
void cycles_bind_text(cycles_bind_t *b, const void *p, size_t len);
void cycles_bind_id(cycles_bind_t *b, const uint8_t *id);
void cycles_bind_null(cycles_bind_t *b);


/* values of the current row; a decision or a status that is none is -1 */

cycles_str_t cycles_column_str(sqlite3_stmt *st, int n);
int64_t cycles_column_opt_int(sqlite3_stmt *st, int n);
int64_t cycles_column_amount(sqlite3_stmt *st, int n);
int cycles_column_digest(sqlite3_stmt *st, int n, cycles_digest_t *digest);
int cycles_column_unit(sqlite3_stmt *st, int n);
int cycles_column_policy(sqlite3_stmt *st, int n);
int cycles_column_name(sqlite3_stmt *st, int n, const char *const *names,
    int nnames);


/* the words of the tables, by the enumerations of the same names */

extern const char *const  cycles_reservation_statuses[CYCLES_EXPIRED + 1];
extern const char *const  cycles_budget_statuses[CYCLES_BUDGET_STATUSES];
extern const char *const  cycles_decisions[CYCLES_ALLOW_WITH_CAPS + 1];


/* what rows that have keys begin with, when they are read back */

typedef enum {
    CYCLES_KEPT_SEQ = 0,
    CYCLES_KEPT_ID,
    CYCLES_KEPT_TENANT,
    CYCLES_KEPT_KEY,
    CYCLES_KEPT_DIGEST,
    CYCLES_KEPT_UNIT,
    CYCLES_KEPT_CREATED,
    CYCLES_KEPT_COLUMNS
} cycles_kept_column_t;


/*
 * The reservations of bundles, with the columns of reservation_rows: r has
 * the values of one in the rows of a bundle b.  Programs that know nothing of
 * us see them by way of json_each(), cycles_bundle() is faster.
 */

#define CYCLES_BUNDLE_JSON(n)   "r.value ->> " #n
#define CYCLES_BUNDLE_VALUE(n)  "r.c" #n

#define CYCLES_BUNDLE_SELECT(v)                                               \
    "SELECT " v(0) ", " v(1) ", b.tenant_id, " v(2) ", 0, zeroblob(16),"      \
    " b.scope_path, b.subject_tenant, b.subject_workspace, b.subject_app,"    \
    " b.subject_workflow, b.subject_agent, b.subject_toolset,"                \
    " b.subject_dimensions, b.action_kind, b.action_name, b.action_tags,"     \
    " b.unit, " v(3) ", " v(4) ", b.overage_policy, b.decision, " v(5) ","    \
    " " v(6) ", " v(7) ", " v(7) ", b.ttl_ms, b.grace_period_ms, 1, NULL,"    \
    " b.budgets, " v(8) ", " v(9) ", " v(10) ","                              \
    " substr(b.digests, 16 * r.key + 1, 16), " v(11) ", " v(12) ","           \
    " " v(13) ", " v(14) ", NULL, " v(15) ", " v(16) ", " v(17) ","           \
    " b.model_version, NULL, 0, 0, 'COMMITTED', 0, NULL, NULL, NULL, NULL,"   \
    " NULL, NULL"

#define CYCLES_BUNDLE_VALUES  18

#define CYCLES_BUNDLE_VIEW                                                    \
    CYCLES_BUNDLE_SELECT(CYCLES_BUNDLE_JSON)                                  \
    " FROM reservation_bundles AS b, json_each(b.rows) AS r"

#define CYCLES_BUNDLE_FAST                                                    \
    CYCLES_BUNDLE_SELECT(CYCLES_BUNDLE_VALUE)                                 \
    " FROM reservation_bundles AS b, cycles_bundle(b.rows) AS r"


/*
 * The one with the number ?1, wherever it is: the records of a bundle are of
 * one batch.
 */

#define CYCLES_RESERVATION_BY_SEQ                                             \
    "(SELECT * FROM reservation_rows WHERE seq = ?1 UNION ALL "               \
    CYCLES_BUNDLE_FAST " WHERE b.first_seq <= ?1"                             \
    " AND b.first_seq > ?1 - " CYCLES_STRING(CYCLES_FOLD_BATCH)               \
    " AND b.last_seq >= ?1 AND r.c0 = ?1)"


/* what memory knows of a reservation; what it is read FROM follows */

#define CYCLES_RESERVATION_ROW                                                \
    "SELECT seq, reservation_id, tenant_id, idempotency_key, digest, unit,"   \
    " created_at_ms, status, key_is_fresh, overage_policy, decision,"         \
    " estimate, remaining, grace_period_ms, granted_until_ms, expires_at_ms," \
    " extensions, budgets,"                                                   \
    " finalized_at_ms, charged, settle_key, settle_digest, settle_seq,"       \
    " settle_remaining, subject_tenant, subject_workspace, subject_app,"      \
    " subject_workflow, subject_agent, subject_toolset, caps_max_tokens,"     \
    " caps_max_steps_remaining, caps_cooldown_ms, caps_tool_allowlist,"       \
    " caps_tool_denylist FROM "

typedef enum {
    CYCLES_KEPT_STATUS = CYCLES_KEPT_COLUMNS,
    CYCLES_KEPT_FRESH,
    CYCLES_KEPT_POLICY,
    CYCLES_KEPT_DECISION,
    CYCLES_KEPT_ESTIMATE,
    CYCLES_KEPT_REMAINING,
    CYCLES_KEPT_GRACE,
    CYCLES_KEPT_GRANTED,
    CYCLES_KEPT_EXPIRES,
    CYCLES_KEPT_EXTENSIONS,
    CYCLES_KEPT_BUDGETS,
    CYCLES_KEPT_FINALIZED,
    CYCLES_KEPT_CHARGED,
    CYCLES_KEPT_SETTLE_KEY,
    CYCLES_KEPT_SETTLE_DIGEST,
    CYCLES_KEPT_SETTLE_SEQ,
    CYCLES_KEPT_SETTLE_REMAINING,
    CYCLES_KEPT_SUBJECT,
    CYCLES_KEPT_CAPS = CYCLES_KEPT_SUBJECT + CYCLES_LEVELS
} cycles_reservation_column_t;


/* what other tables know of a row */

typedef struct {
    unsigned             n;
    cycles_extension_t   extensions[CYCLES_MAX_EXTENSIONS];
} cycles_kept_t;


/* what records do to one budget, until it is written */

typedef struct {
    cycles_effect_t   sum;                /* over_limit as of the last one */
    unsigned          used;
} cycles_fold_sum_t;

#define CYCLES_FOLD_SUMS  8192


typedef enum {
    CYCLES_FOLD_BEGIN = 0,
    CYCLES_FOLD_COMMIT,
    CYCLES_FOLD_META,
    CYCLES_FOLD_ADMIN_KEY,
    CYCLES_FOLD_TENANT,
    CYCLES_FOLD_BUDGET,
    CYCLES_FOLD_NO_SUMS,
    CYCLES_FOLD_SUMS_OF,
    CYCLES_FOLD_STATUS,
    CYCLES_FOLD_CHANGE,
    CYCLES_FOLD_ALLOCATED,
    CYCLES_FOLD_API_KEY,
    CYCLES_FOLD_FUNDING,
    CYCLES_FOLD_PERIOD,
    CYCLES_FOLD_BOUNDARY,
    CYCLES_FOLD_RESERVE,
    CYCLES_FOLD_RESERVE_COMMITTED,
    CYCLES_FOLD_RESERVE_COMMITTED_8,
    CYCLES_FOLD_RESERVE_CAPS,
    CYCLES_FOLD_BUNDLE,
    CYCLES_FOLD_COMMITTED,
    CYCLES_FOLD_RELEASED,
    CYCLES_FOLD_ENDED,
    CYCLES_FOLD_EXTEND,
    CYCLES_FOLD_EXTENDED,
    CYCLES_FOLD_EVENT,
    CYCLES_FOLD_DECISION,
    CYCLES_FOLD_DECISION_CAPS,
    CYCLES_FOLD_STATEMENTS
} cycles_fold_statement_t;


typedef struct cycles_held_s  cycles_held_t;


/* records of one transaction */
#define CYCLES_FOLD_BATCH   16384

#define CYCLES_STRING(n)    CYCLES_STRING_OF(n)
#define CYCLES_STRING_OF(n) #n

/* of what a statement is bound to, until it has run */
#define CYCLES_FOLD_COPIES  8192


/* of a process that folds the log: one of its threads at a time uses it */

typedef struct cycles_folder_s {
    cycles_ledger_t    *ledger;
    pid_t               pid;
    sqlite3            *db;
    sqlite3_stmt       *statements[CYCLES_FOLD_STATEMENTS];
    int                 lock_fd;
    cycles_db_meta_t    meta;
    uint64_t            trimmed;          /* the log begins with this one */

    cycles_record_t     record;
    cycles_scopes_t     scopes;
    unsigned char      *text;             /* JSON */
    size_t              text_size;
    char                copies[CYCLES_FOLD_COPIES];
    size_t              copied;

    cycles_fold_sum_t   sums[CYCLES_FOLD_SUMS];
    unsigned            nsums;
    unsigned            late;             /* there is a lot to fold */
    cycles_held_t      *held;             /* NULL: nothing yet */
} cycles_folder_t;


/* a reservation and its commit, of which so many are written at once */

typedef struct {
    cycles_record_t     reserve;
    cycles_record_t     commit;
} cycles_held_row_t;

#define CYCLES_HELD_ROWS  8


/* reservations that are one row of the tables, see cycles_ledger_bundle.c */

#define CYCLES_BUNDLE_ROWS  128
#define CYCLES_BUNDLE_TEXT  65536

typedef struct {
    unsigned            n;                /* so far, 0: nothing is set */
    uint64_t            first_seq;
    uint64_t            last_seq;
    int64_t             created_from_ms;
    int64_t             created_to_ms;
    int64_t             finalized_to_ms;
    cycles_digest_t     digests[CYCLES_BUNDLE_ROWS];
    cycles_json_t       rows;
    unsigned char       text[CYCLES_BUNDLE_TEXT];
} cycles_bundle_t;


/* cycles_ledger_fold.c: called by what takes long, a few times each ms */

void cycles_fold_give_way(const cycles_folder_t *f);


/* cycles_ledger_held.c: reservations that may end within their batch */

int cycles_held_reserve(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
int cycles_held_commit(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
int cycles_held_write(cycles_folder_t *f, const uint8_t *id);
int cycles_held_write_all(cycles_folder_t *f);
void cycles_held_forget(cycles_folder_t *f);
void cycles_held_rest(cycles_folder_t *f);


/* cycles_ledger_load.c: from the tables into memory */

/*
 * Makes the state that the tables tell, in memory that is empty: definitions,
 * sums, and what lives.  meta->exists: there are tables.
 */

int cycles_tables_load(cycles_ledger_t *ledger, cycles_db_meta_t *meta,
    char *err, size_t errlen);


/* cycles_ledger_recall.c: from one row into memory */

/*
 * cycles_kept_extensions() reads what belongs to the current row of
 * CYCLES_RESERVATION_ROW; cycles_kept_reservation() then makes its cell,
 * without the database, in memory that has room for it.
 */

int cycles_kept_extensions(cycles_ledger_t *ledger, sqlite3 *db,
    sqlite3_stmt *st, cycles_kept_t *kept);
int cycles_kept_reservation(cycles_ledger_t *ledger, sqlite3_stmt *st,
    const cycles_kept_t *kept);

/* the record of the ledger, once it tells what a row has told */

int cycles_kept_apply(cycles_ledger_t *ledger);


/* cycles_ledger_tables.c: what a record does to the tables */

/*
 * The record has been read from buf.  -1: it does not fit the tables, or the
 * database has failed, which is then its error.
 */

int cycles_fold_record(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);

/* writes the row of a reservation; commit: how it has ended, or NULL */

int cycles_fold_reservation(cycles_folder_t *f, const cycles_record_t *rec,
    const cycles_record_t *commit);

/* parts of a row: the scope, subject, action and unit; the budgets */

int cycles_fold_subject(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec);
int cycles_fold_budgets(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec);

/* CYCLES_HELD_ROWS of them that have no caps, in one statement */

int cycles_fold_committed_rows(cycles_folder_t *f,
    const cycles_held_row_t *rows);

/* writes the sums of the budgets that records have changed */

int cycles_fold_sums(cycles_folder_t *f);

/* a prepared statement, reset; NULL: the database has failed */

sqlite3_stmt *cycles_fold_statement(cycles_folder_t *f,
    cycles_fold_statement_t statement);

/* runs it; changes: how many rows it has to change, -1: any number */

int cycles_fold_run(cycles_folder_t *f, sqlite3_stmt *st, int changes);


/* cycles_ledger_bundle.c: reservations that are alike */

/* whether it may be in a bundle, by what its reserve, or its commit, says */

int cycles_bundle_takes_reserve(const cycles_record_t *reserve);
int cycles_bundle_takes_commit(const cycles_record_t *commit);

/* those in one bundle have the same digest, and the same model */

void cycles_bundle_digest(cycles_folder_t *f, const cycles_record_t *reserve,
    cycles_digest_t *digest);

/* in the order of their numbers; writes the bundle when it is full */

int cycles_bundle_add(cycles_folder_t *f, cycles_bundle_t *bundle,
    const cycles_record_t *reserve, const cycles_record_t *commit);

/* with the last one that was added; -1: the database has failed */

int cycles_bundle_write(cycles_folder_t *f, cycles_bundle_t *bundle,
    const cycles_record_t *reserve, const cycles_record_t *commit);


/*
 * cycles_ledger_bundle_rows.c: makes the table-valued function
 * cycles_bundle(rows) known to a connection; an error code of SQLite.
 */

int cycles_bundle_module(sqlite3 *db);


/* cycles_ledger_prune.c; -1: the database has failed */

int cycles_fold_prune(cycles_folder_t *f, int64_t now, int64_t retention_ms,
    unsigned *more);


/* cycles_ledger_filter.c */

int cycles_filter_step(cycles_folder_t *f, int64_t now, unsigned *more);


#endif /* _CYCLES_LEDGER_DB_H_INCLUDED_ */
