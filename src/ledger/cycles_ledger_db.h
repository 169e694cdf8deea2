
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
 * The reservations of bundles, with the columns of reservation_rows.  Programs
 * that know nothing of us see them by way of json_each(): q is a request of
 * the bundle, a its action, v the values of a row, n its number in the bundle.
 * The table-valued function cycles_bundle() tells the same, and is faster.
 */

#define CYCLES_BUNDLE_HEX(at, n)                                              \
    "lower(hex(substr(b.names, 48 * b.n + " #at ", " #n ")))"

#define CYCLES_BUNDLE_ID(a, b, c, d, e)                                       \
    CYCLES_BUNDLE_HEX(a, 4) " || '-' || " CYCLES_BUNDLE_HEX(b, 2)             \
    " || '-' || " CYCLES_BUNDLE_HEX(c, 2) " || '-' || "                       \
    CYCLES_BUNDLE_HEX(d, 2) " || '-' || " CYCLES_BUNDLE_HEX(e, 6)

#define CYCLES_BUNDLE_LEVEL(name, n)                                          \
    " || coalesce('/" name ":' || lower(b.q ->> " #n "), '')"

#define CYCLES_BUNDLE_TRACE_ID                                                \
    "coalesce(b.v ->> 13, nullif(" CYCLES_BUNDLE_HEX(33, 16) ","              \
    " '00000000000000000000000000000000'))"

#define CYCLES_BUNDLE_UNTIL                                                   \
    "b.created_from_ms + (b.v ->> 1) + (b.a ->> 6)"

#define CYCLES_BUNDLE_VIEW                                                    \
    "SELECT b.first_seq + (b.v ->> 0), " CYCLES_BUNDLE_ID(1, 5, 7, 9, 11)     \
    ", coalesce(b.q ->> 4, lower(b.q ->> 6)),"                                \
    " coalesce(b.v ->> 12, " CYCLES_BUNDLE_ID(17, 21, 23, 25, 27) "),"        \
    " 0, zeroblob(16), substr(''"                                             \
    CYCLES_BUNDLE_LEVEL("tenant", 6) CYCLES_BUNDLE_LEVEL("workspace", 7)      \
    CYCLES_BUNDLE_LEVEL("app", 8) CYCLES_BUNDLE_LEVEL("workflow", 9)          \
    CYCLES_BUNDLE_LEVEL("agent", 10) CYCLES_BUNDLE_LEVEL("toolset", 11)       \
    ", 2), b.q ->> 6, b.q ->> 7, b.q ->> 8, b.q ->> 9, b.q ->> 10,"           \
    " b.q ->> 11, b.q ->> 5, b.a ->> 0, b.a ->> 1, b.a ->> 2, b.a ->> 3, "    \
    CYCLES_BUNDLE_TRACE_ID ", b.created_from_ms + (b.v ->> 1), b.a ->> 4,"    \
    " b.a ->> 5, b.v ->> 2, (b.q ->> 2) + (b.v ->> 3), "                      \
    CYCLES_BUNDLE_UNTIL ", " CYCLES_BUNDLE_UNTIL ", b.a ->> 6, b.a ->> 7, 1," \
    " NULL, b.q ->> 3, b.created_from_ms + (b.v ->> 1) + (b.v ->> 4),"        \
    " b.first_seq + (b.v ->> 0) + (b.v ->> 5),"                               \
    " coalesce(b.v ->> 14, substr(" CYCLES_BUNDLE_ID(17, 21, 23, 25, 27) ","  \
    " 1, 35) || substr('123456789abcdef0', instr('0123456789ABCDEF',"         \
    " substr(hex(substr(b.names, 48 * b.n + 32, 1)), 2)), 1)),"               \
    " zeroblob(16), CASE b.v ->> 15 WHEN 0 THEN NULL"                         \
    " ELSE coalesce(b.v ->> 15, " CYCLES_BUNDLE_TRACE_ID ") END,"             \
    " (b.q ->> 2) + (b.v ->> 3) + (b.v ->> 6), b.v ->> 7,"                    \
    " coalesce(b.v ->> 11, b.v ->> 7), NULL, b.v ->> 8, b.v ->> 9,"           \
    " b.v ->> 10, b.a ->> 8, NULL, 0, 0, 'COMMITTED', 0, NULL, NULL, NULL,"   \
    " NULL, NULL, NULL FROM (SELECT b.first_seq, b.created_from_ms, b.names," \
    " q.value AS q, b.actions -> (q.value ->> 1) AS a, r.value AS v,"         \
    " (q.value ->> 0) + r.key AS n FROM reservation_bundles AS b,"            \
    " json_each(b.requests) AS q, json_each(b.rows -> q.key) AS r) AS b"

#define CYCLES_BUNDLE_FAST                                                    \
    "SELECT r.* FROM reservation_bundles AS b, cycles_bundle(b.first_seq,"    \
    " b.created_from_ms, b.actions, b.requests, b.rows, b.names) AS r"


/*
 * The one with the number ?1, wherever it is: the records of a bundle are of
 * one batch.
 */

#define CYCLES_RESERVATION_BY_SEQ                                             \
    "(SELECT * FROM reservation_rows WHERE seq = ?1 UNION ALL "               \
    CYCLES_BUNDLE_FAST " WHERE b.first_seq <= ?1"                             \
    " AND b.first_seq > ?1 - " CYCLES_STRING(CYCLES_FOLD_BATCH)               \
    " AND b.last_seq >= ?1 AND r.seq = ?1)"


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


typedef enum {
    CYCLES_FOLD_BEGIN = 0,
    CYCLES_FOLD_COMMIT,
    CYCLES_FOLD_META,
    CYCLES_FOLD_ADMIN_KEY,
    CYCLES_FOLD_TENANT,
    CYCLES_FOLD_BUDGET,
    CYCLES_FOLD_SUMS_OF,
    CYCLES_FOLD_SUMS,
    CYCLES_FOLD_NEW_SUMS,
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
typedef struct cycles_sums_s  cycles_sums_t;


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

    cycles_sums_t      *sums;             /* NULL: nothing yet */
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

#define CYCLES_BUNDLE_ROWS     128
#define CYCLES_BUNDLE_TEXT     65536

/* of a row at most: 12 numbers and four texts of 256 */
#define CYCLES_BUNDLE_ROW      1408

/* that are compared with the next one */
#define CYCLES_BUNDLE_ACTIONS  8

/* what tells requests from one another, at most */
#define CYCLES_BUNDLE_SHAPE    2048

/* of the filter of tenants, in bytes */
#define CYCLES_BUNDLE_FILTER   (2 * CYCLES_BUNDLE_ROWS)


/* values of a row, in their order */

typedef enum {
    CYCLES_BUNDLE_SEQ = 0,
    CYCLES_BUNDLE_CREATED,
    CYCLES_BUNDLE_ESTIMATE,
    CYCLES_BUNDLE_REMAINING,
    CYCLES_BUNDLE_FINALIZED,
    CYCLES_BUNDLE_SETTLE_SEQ,
    CYCLES_BUNDLE_SETTLE_REMAINING,
    CYCLES_BUNDLE_ACTUAL,
    CYCLES_BUNDLE_TOKENS_INPUT,
    CYCLES_BUNDLE_TOKENS_OUTPUT,
    CYCLES_BUNDLE_LATENCY,
    CYCLES_BUNDLE_CHARGED,
    CYCLES_BUNDLE_KEY,
    CYCLES_BUNDLE_TRACE,
    CYCLES_BUNDLE_SETTLE_KEY,
    CYCLES_BUNDLE_SETTLE_TRACE,
    CYCLES_BUNDLE_VALUES
} cycles_bundle_value_t;

/* the last of them are texts that are no UUIDs, or not what they mostly are */

#define CYCLES_BUNDLE_TEXTS  (CYCLES_BUNDLE_VALUES - CYCLES_BUNDLE_KEY)


/* in "names", for each row */

typedef struct {
    uint8_t               id[16];
    uint8_t               key[16];        /* a UUID */
    uint8_t               trace[16];      /* zeroes: none */
} cycles_bundle_names_t;


/* a reservation that may be in a bundle; what its texts point to stays */

typedef struct {
    cycles_bundle_names_t  names;
    uint64_t              seq;
    int64_t               created_at_ms;
    int64_t               estimate;
    int64_t               remaining;
    uint64_t              settle_seq;
    int64_t               finalized_at_ms;
    int64_t               settle_remaining;
    int64_t               actual;
    int64_t               charged;
    int64_t               tokens_input;
    int64_t               tokens_output;
    int64_t               latency_ms;
    const unsigned char  *texts[CYCLES_BUNDLE_TEXTS];
    uint16_t              lens[CYCLES_BUNDLE_TEXTS];
    unsigned              settle_untraced;
} cycles_bundle_row_t;


/* what requests have in common, see cycles_bundle_shape() */

typedef struct {
    const unsigned char  *key;
    uint16_t              len;
    uint16_t              action_len;     /* the action is its first part */
} cycles_bundle_shape_t;


typedef struct {
    const cycles_bundle_shape_t  *shape;
    cycles_str_t                  model;
} cycles_bundle_action_t;


typedef struct {
    unsigned              n;              /* so far, 0: nothing is set */
    uint64_t              first_seq;
    uint64_t              last_seq;
    int64_t               created_from_ms;
    int64_t               created_to_ms;
    int64_t               finalized_to_ms;

    const cycles_bundle_row_t  *rows[CYCLES_BUNDLE_ROWS];
    cycles_bundle_names_t       names[CYCLES_BUNDLE_ROWS];

    /* of each request: its first row, what "remaining" counts from, whose */

    unsigned              nrequests;
    unsigned              starts[CYCLES_BUNDLE_ROWS];
    int64_t               bases[CYCLES_BUNDLE_ROWS];
    uint64_t              owners[CYCLES_BUNDLE_ROWS];

    unsigned              nactions;
    cycles_bundle_action_t  known[CYCLES_BUNDLE_ACTIONS];

    cycles_json_t         requests;
    cycles_json_t         actions;
    unsigned char         requests_text[CYCLES_BUNDLE_TEXT];
    unsigned char         actions_text[CYCLES_BUNDLE_TEXT];
    unsigned char         text[CYCLES_BUNDLE_ROWS * CYCLES_BUNDLE_ROW];
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

/* of a cycles_subject_t and a cycles_action_t, as JSON */

void cycles_write_dimensions(cycles_json_t *js, const void *data);
void cycles_write_tags(cycles_json_t *js, const void *data);

/* CYCLES_HELD_ROWS of them that have no caps, in one statement */

int cycles_fold_committed_rows(cycles_folder_t *f,
    const cycles_held_row_t *rows);

/* a prepared statement, reset; NULL: the database has failed */

sqlite3_stmt *cycles_fold_statement(cycles_folder_t *f,
    cycles_fold_statement_t statement);

/* runs it; changes: how many rows it has to change, -1: any number */

int cycles_fold_run(cycles_folder_t *f, sqlite3_stmt *st, int changes);


/* cycles_ledger_sums.c: what records do to budgets */

/* budgets whose sums are one row, those of id / CYCLES_SUMS_BLOCK */
#define CYCLES_SUMS_BLOCK  64

/* adds what a record does; the sums are in the tables once they are written */

int cycles_sums_add(cycles_folder_t *f, const cycles_record_t *rec);
int cycles_sums_write(cycles_folder_t *f);
void cycles_sums_forget(cycles_folder_t *f);

/* number n of an array of a row; -1: it is not there */

int cycles_sums_at(cycles_str_t array, unsigned n, int64_t *sum);


/* cycles_ledger_bundle.c: reservations that tell little that is their own */

/* whether it may be in a bundle, by what its reserve, or its commit, says */

int cycles_bundle_takes_reserve(const cycles_record_t *reserve);
int cycles_bundle_takes_commit(const cycles_record_t *commit);

/*
 * cycles_bundle_shape() writes what tells the request from others, and how
 * much of that is its action: CYCLES_BUNDLE_SHAPE at most, 0: it is too long.
 * cycles_bundle_shape_ok(): whether bundles may have such requests; action_ok:
 * they have one with the same action.
 */

size_t cycles_bundle_shape(const cycles_record_t *reserve, unsigned char *key,
    size_t *action_len);
int cycles_bundle_shape_ok(const cycles_record_t *reserve,
    unsigned action_ok);

/* what is its own; 0: there is something in it that no bundle has */

int cycles_bundle_reserve(cycles_bundle_row_t *row,
    const cycles_record_t *reserve);
int cycles_bundle_commit(cycles_bundle_row_t *row,
    const cycles_record_t *commit);

/* texts of the record in buf are in a copy of it now */

void cycles_bundle_move(cycles_bundle_row_t *row, const unsigned char *buf,
    size_t len, const unsigned char *copy);

/*
 * A bundle is empty when "n" is 0.  cycles_bundle_request() begins a request,
 * whose first row is to be added, and then those that have the same shape and
 * model, unless it is full.  cycles_bundle_write() leaves it empty; -1: the
 * database has failed.
 */

int cycles_bundle_full(const cycles_bundle_t *bundle);
void cycles_bundle_request(cycles_bundle_t *bundle,
    const cycles_bundle_shape_t *shape, const cycles_record_t *reserve,
    cycles_str_t model, const cycles_bundle_row_t *row);
void cycles_bundle_add(cycles_bundle_t *bundle,
    const cycles_bundle_row_t *row);
int cycles_bundle_write(cycles_folder_t *f, cycles_bundle_t *bundle);

/* whether a bundle may have reservations of a tenant, by its filter */

uint64_t cycles_bundle_hash(const unsigned char *tenant, size_t len);
int cycles_bundle_has(const unsigned char *filter, size_t size,
    uint64_t tenant);

/* the key of a settlement by nginx from that of its reserve, 16 bytes each */

void cycles_bundle_settle_key(const uint8_t *reserve, uint8_t *key);


/*
 * cycles_ledger_bundle_rows.c: makes the table-valued function
 * cycles_bundle(), and cycles_has(tenants, tenant), known to a connection; an
 * error code of SQLite.
 */

int cycles_bundle_module(sqlite3 *db);


/* cycles_ledger_prune.c; -1: the database has failed */

int cycles_fold_prune(cycles_folder_t *f, int64_t now, int64_t retention_ms,
    unsigned *more);


/* cycles_ledger_filter.c */

int cycles_filter_step(cycles_folder_t *f, int64_t now, unsigned *more);


#endif /* _CYCLES_LEDGER_DB_H_INCLUDED_ */
