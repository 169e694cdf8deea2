
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

#include "cycles_ledger_core.h"


#define CYCLES_DB_NAME     "ledger.db"

/* "CYCL", and the version of the tables */
#define CYCLES_DB_ID       0x4359434c
#define CYCLES_DB_VERSION  1


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
 * the uuid of the ledger; NULL and a sentence in err when it can't be used.
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


/* what memory knows of a reservation */

#define CYCLES_RESERVATION_ROW                                                \
    "SELECT seq, reservation_id, status, tenant_id, idempotency_key, digest," \
    " unit, overage_policy, decision, estimate, remaining, grace_period_ms,"  \
    " granted_until_ms, extensions, budgets, finalized_at_ms, charged,"       \
    " settle_key, settle_digest, settle_seq, settle_remaining,"               \
    " subject_tenant, subject_workspace, subject_app, subject_workflow,"      \
    " subject_agent, subject_toolset,"                                        \
    " caps_max_tokens, caps_max_steps_remaining, caps_cooldown_ms,"           \
    " caps_tool_allowlist, caps_tool_denylist FROM reservations"

typedef enum {
    CYCLES_ROW_SEQ = 0,
    CYCLES_ROW_ID,
    CYCLES_ROW_STATUS,
    CYCLES_ROW_TENANT,
    CYCLES_ROW_KEY,
    CYCLES_ROW_DIGEST,
    CYCLES_ROW_UNIT,
    CYCLES_ROW_POLICY,
    CYCLES_ROW_DECISION,
    CYCLES_ROW_ESTIMATE,
    CYCLES_ROW_REMAINING,
    CYCLES_ROW_GRACE,
    CYCLES_ROW_GRANTED,
    CYCLES_ROW_EXTENSIONS,
    CYCLES_ROW_BUDGETS,
    CYCLES_ROW_FINALIZED,
    CYCLES_ROW_CHARGED,
    CYCLES_ROW_SETTLE_KEY,
    CYCLES_ROW_SETTLE_DIGEST,
    CYCLES_ROW_SETTLE_SEQ,
    CYCLES_ROW_SETTLE_REMAINING,
    CYCLES_ROW_SUBJECT,
    CYCLES_ROW_CAPS = CYCLES_ROW_SUBJECT + CYCLES_LEVELS
} cycles_reservation_row_t;


/* what records do to one budget, until it is written */

typedef struct {
    cycles_effect_t   sum;                /* over_limit as of the last one */
    unsigned          used;
} cycles_fold_sum_t;

#define CYCLES_FOLD_SUMS  1024


typedef enum {
    CYCLES_FOLD_BEGIN = 0,
    CYCLES_FOLD_COMMIT,
    CYCLES_FOLD_META,
    CYCLES_FOLD_ADMIN_KEY,
    CYCLES_FOLD_TENANT,
    CYCLES_FOLD_BUDGET,
    CYCLES_FOLD_SUMS_OF,
    CYCLES_FOLD_STATUS,
    CYCLES_FOLD_ALLOCATED,
    CYCLES_FOLD_API_KEY,
    CYCLES_FOLD_FUNDING,
    CYCLES_FOLD_RESERVE,
    CYCLES_FOLD_RESERVE_CAPS,
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

    cycles_fold_sum_t   sums[CYCLES_FOLD_SUMS];
    unsigned            nsums;
} cycles_folder_t;


/* cycles_ledger_load.c: from the tables into memory */

/*
 * Makes the state that the tables tell, in memory that is empty: definitions,
 * sums, and what lives.  meta->exists: there are tables.
 */

int cycles_tables_load(cycles_ledger_t *ledger, cycles_db_meta_t *meta,
    char *err, size_t errlen);


/* cycles_ledger_tables.c: what a record does to the tables */

/*
 * The record has been read from buf.  -1: it does not fit the tables, or the
 * database has failed, which is then its error.
 */

int cycles_fold_record(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);

/* writes the sums of the budgets that records have changed */

int cycles_fold_sums(cycles_folder_t *f);

/* a prepared statement, reset; NULL: the database has failed */

sqlite3_stmt *cycles_fold_statement(cycles_folder_t *f,
    cycles_fold_statement_t statement);

/* runs it; changes: how many rows it has to change, -1: any number */

int cycles_fold_run(cycles_folder_t *f, sqlite3_stmt *st, int changes);


#endif /* _CYCLES_LEDGER_DB_H_INCLUDED_ */
