
/*
 * Copyright (C) nginx-cycles authors
 *
 * The embedded ledger: budgets, live reservations and recent idempotency keys
 * in memory that all processes share, with every operation in an append-only
 * log.  The memory is the speed, the log is the truth.
 *
 * Plain C.  Every function may be called from any process that inherited or
 * attached the ledger; each takes one short critical section.  Times are
 * milliseconds since the epoch, given by the caller.  Amounts are int64 of
 * the budget's unit, never negative on input.
 */


#ifndef _CYCLES_LEDGER_H_INCLUDED_
#define _CYCLES_LEDGER_H_INCLUDED_


#include "../cycles.h"
#include "cycles_hash.h"
#include "cycles_period.h"
#include "cycles_permissions.h"


#define CYCLES_LEDGER_MIN_ZONE    (1024 * 1024)
#define CYCLES_LEDGER_ERROR_LEN   1024

/* "tenant:" + value + "/" ... for six levels */

#define CYCLES_MAX_SCOPE                                                      \
    (CYCLES_LEVELS * (CYCLES_MAX_SUBJECT_VALUE + 12))


typedef struct cycles_ledger_s  cycles_ledger_t;


typedef enum {
    CYCLES_LEDGER_NOTICE = 0,
    CYCLES_LEDGER_WARN,
    CYCLES_LEDGER_ERR,
    CYCLES_LEDGER_ALERT
} cycles_ledger_level_t;


typedef void (*cycles_ledger_log_pt)(void *data, cycles_ledger_level_t level,
    const char *text);


typedef struct {
    const char            *path;          /* an existing directory */
    size_t                 zone_size;
    unsigned               upgrade:1;     /* a binary upgrade: attach to the
                                             memory of the running nginx */
    cycles_ledger_log_pt   log;
    void                  *log_data;
    size_t                 segment_size;  /* of the log; 0: 64 MB */
} cycles_ledger_conf_t;


/*
 * Opens the ledger in a directory: rebuilds the state from the log, or, in a
 * binary upgrade, attaches to the state of the nginx that runs.  To be called
 * before the workers are forked; they inherit it.  NULL: err says why in one
 * sentence (in use by another nginx, a damaged log, a zone too small, …).  A
 * torn tail of the log is logged and cut.
 */

cycles_ledger_t *cycles_ledger_open(const cycles_ledger_conf_t *conf,
    char *err, size_t errlen);

/*
 * Gives up what this process has of the ledger, which the others that have
 * it open keep; the last one to do so lets go of the directory.
 */

void cycles_ledger_close(cycles_ledger_t *ledger);

/*
 * Says which process has the ledger, for the messages and the binary upgrade
 * of another nginx.  To be called whenever it is no longer the process that
 * opened the ledger: after it became a daemon.
 */

void cycles_ledger_announce(cycles_ledger_t *ledger, long pid);

/* why the last CYCLES_INTERNAL_ERROR in this process came about */

const char *cycles_ledger_trouble(const cycles_ledger_t *ledger);


/*
 * The budgets file (JSON).  cycles_budgets_parse() needs no ledger, so that
 * "nginx -t" can check a file: NULL and a sentence in err when it is wrong.
 * cycles_ledger_apply() creates what is new, changes limits, keeps what was
 * spent, and leaves alone what the file no longer names; applying the same
 * file again appends nothing to the log.
 */

typedef struct cycles_budgets_s  cycles_budgets_t;

cycles_budgets_t *cycles_budgets_parse(const char *json, size_t len,
    char *err, size_t errlen);
void cycles_budgets_free(cycles_budgets_t *budgets);

int cycles_ledger_apply(cycles_ledger_t *ledger,
    const cycles_budgets_t *budgets, int64_t now, char *err, size_t errlen);


/*
 * Reads the time zones of all budgets, and those again that were read before:
 * to be called when the ledger has been opened and the budgets file applied,
 * and whenever a new database of time zones shall be used.  Otherwise the
 * first boundary of a zone would have to wait for a file.
 */

void cycles_ledger_zones(cycles_ledger_t *ledger);


/*
 * What a reserve asks for.  What it leaves to the ledger: a lifetime of -1 is
 * the tenant's default, else 60 seconds; CYCLES_POLICIES is the policy of the
 * deepest budget that has one, else the tenant's, else ALLOW_IF_AVAILABLE.
 *
 * A dry run reserves nothing, and neither does a decision, which is a dry run
 * with idempotency keys of its own.  The answers of both are remembered by
 * their key, unless it is empty.
 */

typedef struct {
    cycles_str_t           idempotency_key;
    cycles_subject_t       subject;
    cycles_action_t        action;
    cycles_unit_t          unit;
    int64_t                estimate;
    int64_t                ttl_ms;
    int64_t                grace_ms;
    cycles_policy_t        policy;
    cycles_str_t           metadata;      /* JSON object text, or empty */
    unsigned               dry_run:1;
    unsigned               decide:1;
    unsigned               fresh_key:1;   /* random, and never repeated */
    cycles_str_t           trace_id;      /* 32 hex digits, or empty */
} cycles_reserve_t;


/* why it was denied: the scope that could not fund it */

typedef struct {
    char                   scope[CYCLES_MAX_SCOPE];
    size_t                 scope_len;
    int64_t                requested;
    int64_t                remaining;     /* may be negative */
    int64_t                held;          /* reserved by running requests */
    int64_t                allocated;
    int64_t                reset_at_ms;   /* 0: not known */
} cycles_denial_t;


/*
 * The answer to a reserve.  Live: code is CYCLES_OK with decision ALLOW or
 * ALLOW_WITH_CAPS, or the error code.  Dry run: code is CYCLES_OK and
 * decision may be DENY with reason.
 */

typedef struct {
    cycles_code_t          code;
    cycles_decision_t      decision;
    char                   reason[64];    /* DecisionReasonCode, "" if none */
    char                   id[40];        /* UUIDv7, zero-terminated */
    int64_t                reserved;
    int64_t                expires_at_ms;
    int64_t                remaining_ttl_ms;   /* -1: not told */
    int64_t                remaining;     /* least over the scopes, after;
                                             or CYCLES_NOT_KNOWN */
    char                   scope_path[CYCLES_MAX_SCOPE];
    size_t                 scope_path_len;

    /* the caps of the deepest budget that has them; texts in caps_text */

    cycles_caps_t          caps;
    unsigned char          caps_text[2048];

    cycles_denial_t        denial;
    uint64_t               record;        /* its place in the log, see sync */
} cycles_reserved_t;


cycles_code_t cycles_ledger_reserve(cycles_ledger_t *ledger,
    const cycles_reserve_t *rq, cycles_reserved_t *rs, int64_t now);


typedef struct {
    cycles_code_t          code;
    int64_t                charged;
    int64_t                released;
    int64_t                remaining;     /* least over the scopes, after;
                                             or CYCLES_NOT_KNOWN */
    int64_t                expires_at_ms;      /* extend */
    int64_t                remaining_ttl_ms;   /* extend */
    char                   event_id[40];       /* event */
    cycles_denial_t        denial;
    uint64_t               record;
} cycles_settled_t;


typedef struct {
    cycles_str_t           idempotency_key;
    cycles_unit_t          unit;
    int64_t                actual;
    cycles_metrics_t       metrics;
    cycles_str_t           metadata;
    cycles_str_t           trace_id;
    unsigned               fresh_key:1;   /* as in a reserve */
} cycles_commit_t;


cycles_code_t cycles_ledger_commit(cycles_ledger_t *ledger, cycles_str_t id,
    const cycles_commit_t *rq, cycles_settled_t *rs, int64_t now);


typedef struct {
    cycles_str_t           idempotency_key;
    cycles_str_t           reason;
    cycles_str_t           trace_id;
    unsigned               admin:1;       /* the operator, on behalf */
    unsigned               fresh_key:1;
} cycles_release_t;


cycles_code_t cycles_ledger_release(cycles_ledger_t *ledger, cycles_str_t id,
    const cycles_release_t *rq, cycles_settled_t *rs, int64_t now);


typedef struct {
    cycles_str_t           idempotency_key;
    int64_t                extend_by_ms;
    cycles_str_t           metadata;
    cycles_str_t           trace_id;
} cycles_extend_t;


cycles_code_t cycles_ledger_extend(cycles_ledger_t *ledger, cycles_str_t id,
    const cycles_extend_t *rq, cycles_settled_t *rs, int64_t now);


/* the policy as in a reserve */

typedef struct {
    cycles_str_t           idempotency_key;
    cycles_subject_t       subject;
    cycles_action_t        action;
    cycles_unit_t          unit;
    int64_t                actual;
    cycles_policy_t        policy;
    cycles_metrics_t       metrics;
    cycles_str_t           metadata;
    int64_t                client_time_ms;    /* kept only; -1: not given */
    unsigned               fresh_key:1;       /* as in a reserve */
    cycles_str_t           trace_id;
} cycles_event_t;


cycles_code_t cycles_ledger_event(cycles_ledger_t *ledger,
    const cycles_event_t *rq, cycles_settled_t *rs, int64_t now);


/*
 * Reserves, commits, releases and events between these two are done under one
 * lock, and written together: nobody may be told of them before
 * cycles_ledger_apart().  -1 of the first: there is no together now, each is
 * to be called on its own.  -1 of the second: not all could be written.  Those
 * whose record is behind "written", or that have none, have not been done
 * then, and are to be called again.  Between the two, the process does nothing
 * else with the ledger.
 */

int cycles_ledger_together(cycles_ledger_t *ledger);
int cycles_ledger_apart(cycles_ledger_t *ledger, uint64_t *written);


/*
 * Memory keeps what is finished for some time only; ledger.db keeps it longer.
 * An operation that does not find a key, or a reservation, there returns
 * CYCLES_LOOK_UP and has done nothing, if it could have been there.  Then
 *
 *     cycles_ledger_missed()       says what, right after the operation;
 *     cycles_ledger_look_up()      once cycles_ledger_folded() has reached
 *                                  look_up.record: fetches it from ledger.db;
 *                                  blocks, and may run in a thread;
 *     cycles_ledger_looked_up()    right before the operation is called
 *                                  again: what is not there now is new.
 *
 * It may have to be looked up again, when very much has been forgotten in the
 * meantime.  Keys that nobody will send again (fresh_key) are never looked up.
 */

typedef struct {
    cycles_digest_t        key;
    uint8_t                id[16];        /* instead of a key */
    unsigned               by_key:1;
    uint64_t               record;
    uint64_t               seen;
} cycles_look_up_t;

void cycles_ledger_missed(cycles_ledger_t *ledger, cycles_look_up_t *look_up);

/* -1: err says why it could not be looked up */

int cycles_ledger_look_up(cycles_ledger_t *ledger,
    const cycles_look_up_t *look_up, char *err, size_t errlen);

void cycles_ledger_looked_up(cycles_ledger_t *ledger,
    const cycles_look_up_t *look_up);


/*
 * Returns the holds whose expiry + grace has passed to their budgets, at most
 * max of them.  Returns how many; *next_ms is the time of the next one, 0 if
 * there is none.  Operations do this on their own when it matters; a timer
 * calls it so that balances are right without traffic.
 */

unsigned cycles_ledger_expire(cycles_ledger_t *ledger, int64_t now,
    unsigned max, int64_t *next_ms);


/*
 * Durability.  A record is safe from a crash of any process when the
 * operation returns.  It is safe from a power failure once
 * cycles_ledger_synced() has reached its number; cycles_ledger_sync() does
 * one fdatasync() for all written so far, blocks, takes no lock while it
 * does, and may run in a thread.  0: done, otherwise an errno.
 */

uint64_t cycles_ledger_written(const cycles_ledger_t *ledger);
uint64_t cycles_ledger_synced(const cycles_ledger_t *ledger);
int cycles_ledger_sync(cycles_ledger_t *ledger);

/*
 * Whether cycles_ledger_fold() of this process has a file ready for the next
 * segment of the log, as large as that, whose blocks have been written.  A
 * sync takes a fraction of the time then, and the disk takes all records
 * twice.
 */

void cycles_ledger_prewrite(cycles_ledger_t *ledger, unsigned on);


/*
 * ledger.db.  Records that are safe from a power failure are folded into its
 * tables, see docs/ledger-format.md; one process does so at a time.
 *
 * cycles_ledger_fold() goes on for about a tenth of a second, blocks, and may
 * run in a thread.  0: done, or busy: another one is at it; more: it is not
 * at the end yet.  -1: err says what stands in the way, nothing is lost, and
 * the next call tries again.  What has ended longer than retention_ms ago is
 * removed from the tables; 0: it is kept.
 *
 * cycles_ledger_want_folded() has the record that somebody waits for synced
 * by whoever folds next.
 */

typedef struct {
    uint64_t               folded;
    unsigned               busy:1;
    unsigned               more:1;
} cycles_fold_t;

int cycles_ledger_fold(cycles_ledger_t *ledger, int64_t now,
    int64_t retention_ms, cycles_fold_t *fold, char *err, size_t errlen);

uint64_t cycles_ledger_folded(const cycles_ledger_t *ledger);

/*
 * How many milliseconds ago it was folded by anybody, since the ledger was
 * opened; *mine: by this process, which has the pages of the tables at hand.
 */

int64_t cycles_ledger_fold_age(const cycles_ledger_t *ledger, unsigned *mine);

void cycles_ledger_want_folded(cycles_ledger_t *ledger, uint64_t record);

/*
 * A connection to ledger.db (a "sqlite3") that can only read, for one thread
 * until it is given back, with all statements finalized.  It sees all that
 * was folded before its first statement.  NULL: err says why not.
 */

struct sqlite3;

struct sqlite3 *cycles_ledger_database(cycles_ledger_t *ledger, char *err,
    size_t errlen);
void cycles_ledger_database_return(cycles_ledger_t *ledger,
    struct sqlite3 *db);


/* Balance of the protocol */

typedef struct {
    cycles_str_t           scope_path;
    cycles_unit_t          unit;
    int64_t                allocated;
    int64_t                remaining;
    int64_t                reserved;
    int64_t                spent;
    int64_t                debt;
    int64_t                overdraft_limit;
    unsigned               is_over_limit:1;
    cycles_period_t        period;
} cycles_balance_t;

/* a non-zero return value ends the walk */

typedef int (*cycles_ledger_walk_pt)(void *data,
    const cycles_balance_t *balance);

/*
 * Walks the budgets from position *cursor (0 at first) for at most max of
 * them in one critical section; *cursor becomes 0 at the end.  A budget that
 * exists throughout is seen exactly once.  Periods that have ended are closed,
 * so this may write.
 */

void cycles_ledger_balances(cycles_ledger_t *ledger, uint64_t *cursor,
    unsigned max, int64_t now, cycles_ledger_walk_pt walk, void *data);


/*
 * Questions of the HTTP API; they change nothing.
 */

/* whose an API key is, "tenant" in lower case */

typedef struct {
    unsigned char          tenant[CYCLES_MAX_SUBJECT_VALUE];
    size_t                 tenant_len;
} cycles_principal_t;

/* what an API key is good for */

typedef struct {
    cycles_principal_t     who;
    uint32_t               permissions;   /* bits by cycles_permission_t */
    unsigned               suspended;     /* its tenant is */
    unsigned               closed;
    size_t                 scope_filter_len;
    unsigned char          scope_filter[CYCLES_MAX_SCOPE_FILTER];
} cycles_credential_t;

/*
 * Looks an API key up by the SHA-256 of its secret, 32 bytes; digests are
 * compared in constant time.  CYCLES_UNAUTHORIZED: there is no such key.
 * CYCLES_KEY_REVOKED, CYCLES_KEY_EXPIRED: there was one.  A key that was
 * revoked with its tenant is still known, so that its operations can say why
 * they are refused.
 */

cycles_code_t cycles_ledger_authenticate(cycles_ledger_t *ledger,
    const uint8_t *sha256, cycles_credential_t *credential, int64_t now);

/* the units of the budgets of one scope, bits by cycles_unit_t */

unsigned cycles_ledger_units(cycles_ledger_t *ledger, const char *scope,
    size_t len);

/* a reservation that is live or has ended recently */

typedef struct {
    cycles_status_t        status;
    cycles_unit_t          unit;
    int64_t                reserved;
    int64_t                charged;       /* of a commit */
    int64_t                expires_at_ms;
    int64_t                done_ms;       /* when it ended, 0: live */
    uint64_t               record;        /* its reserve in the log */
    uint64_t               settle_record; /* its end there, 0: none */
    cycles_principal_t     owner;         /* tenant_len 0: of no tenant
                                             that is known */
    uint32_t               segments[CYCLES_LEVELS];  /* of its subject, for
                                                        scope filters */
} cycles_view_t;

/*
 * CYCLES_NOT_FOUND: there is none with this id, or it ended too long ago;
 * CYCLES_LOOK_UP as for the operations.  A
 * reservation that is past its grace period is EXPIRED, whether or not its
 * hold has been returned yet.
 */

cycles_code_t cycles_ledger_view(cycles_ledger_t *ledger, cycles_str_t id,
    cycles_view_t *view, int64_t now);

/*
 * Reservations as ledger.db has them, also those that memory has forgotten.
 * What is seen is what was folded before: a caller that must see its own
 * records waits for them first.  These functions block, and may run in a
 * thread.
 */

typedef struct {
    cycles_str_t           id;
    cycles_status_t        status;
    cycles_str_t           owner;             /* a tenant, in lower case */
    cycles_str_t           idempotency_key;
    cycles_str_t           scope_path;
    cycles_str_t           levels[CYCLES_LEVELS];
    cycles_str_t           dimensions;        /* JSON object, or empty */
    cycles_str_t           action_kind;
    cycles_str_t           action_name;
    cycles_str_t           action_tags;       /* JSON array, or empty */
    cycles_unit_t          unit;
    int64_t                reserved;
    int64_t                committed;         /* if it is COMMITTED */
    int64_t                created_at_ms;
    int64_t                expires_at_ms;
    int64_t                finalized_at_ms;   /* COMMITTED and RELEASED */
    cycles_str_t           metadata;          /* JSON, or empty */
    cycles_str_t           committed_metadata;
} cycles_reservation_t;

/* valid during the call only; non-zero: it can't be taken */

typedef int (*cycles_reservation_pt)(void *data,
    const cycles_reservation_t *reservation);

/* CYCLES_NOT_FOUND, or CYCLES_INTERNAL_ERROR and why in err */

cycles_code_t cycles_ledger_reservation(cycles_ledger_t *ledger,
    cycles_str_t id, cycles_reservation_pt take, void *data, int64_t now,
    char *err, size_t errlen);


typedef enum {
    CYCLES_BY_CREATED = 0,
    CYCLES_BY_EXPIRES,
    CYCLES_BY_RESERVED,
    CYCLES_BY_ID,
    CYCLES_BY_TENANT,
    CYCLES_BY_SCOPE,
    CYCLES_BY_STATUS
} cycles_reservation_sort_t;

/* both ends belong to it */

typedef struct {
    unsigned               limited;
    int64_t                from;
    int64_t                to;
} cycles_window_t;

typedef struct {
    cycles_str_t           tenant;            /* the owner, in lower case */
    cycles_str_t           levels[CYCLES_LEVELS];  /* but for the tenant */
    cycles_str_t           idempotency_key;
    int                    status;            /* -1: any */
    cycles_window_t        created;
    cycles_window_t        expires;
    cycles_window_t        finalized;
    cycles_str_t           scope_filter;      /* see cycles_permissions.h */
    cycles_reservation_sort_t          sort;
    unsigned               ascending;
    unsigned               limit;             /* at least 1 */
    cycles_str_t           cursor;            /* empty: from the first one */
} cycles_list_t;

#define CYCLES_MAX_CURSOR  (2 * (CYCLES_MAX_SCOPE + 16))

typedef struct {
    size_t                 len;               /* 0: that was the last one */
    char                   text[CYCLES_MAX_CURSOR];
} cycles_cursor_t;

/*
 * Takes the next ones of a list.  Equal ones are in the order of their making;
 * one that is made meanwhile moves no other to another page.  A cursor belongs
 * to its list: CYCLES_INVALID_REQUEST if it comes from one that differs in
 * more than the limit.  CYCLES_INTERNAL_ERROR: err says why.
 */

cycles_code_t cycles_ledger_list(cycles_ledger_t *ledger,
    const cycles_list_t *list, cycles_reservation_pt take, void *data,
    cycles_cursor_t *next, int64_t now, char *err, size_t errlen);

/* by the names of the protocol; -1: there is none of this name */

int cycles_reservation_sort_find(cycles_str_t name);
int cycles_status_find(cycles_str_t name);


typedef struct {
    uint64_t               live_reservations;
    uint64_t               budgets;
    uint64_t               zone_used;
    uint64_t               zone_size;
    uint64_t               records;
    uint64_t               folded;        /* of them, into ledger.db */
    uint64_t               log_size;
    uint64_t               database_size;
    uint64_t               expired;
} cycles_ledger_stat_t;

void cycles_ledger_stat(cycles_ledger_t *ledger, cycles_ledger_stat_t *stat);


#endif /* _CYCLES_LEDGER_H_INCLUDED_ */
