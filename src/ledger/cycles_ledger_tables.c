
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a record of the log does to the tables of ledger.db: one function for
 * each type.
 */


#include <stdlib.h>
#include <string.h>

#include "../cycles_json.h"
#include "cycles_ledger_db.h"


typedef int (*cycles_fold_pt)(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);

typedef void (*cycles_fold_write_pt)(cycles_json_t *js, const void *data);


static int cycles_fold_tenant(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_budget(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_api_key(cycles_folder_t *f,
    const cycles_record_t *rec, const unsigned char *buf, size_t len);
static int cycles_fold_admin_key(cycles_folder_t *f,
    const cycles_record_t *rec, const unsigned char *buf, size_t len);
static int cycles_fold_funding(cycles_folder_t *f,
    const cycles_record_t *rec, const unsigned char *buf, size_t len);
static int cycles_fold_period(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_status(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_reserve(cycles_folder_t *f,
    const cycles_record_t *rec, const unsigned char *buf, size_t len);
static int cycles_fold_reserved(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec);
static int cycles_fold_caps(cycles_folder_t *f, const cycles_record_t *rec,
    cycles_fold_statement_t statement);
static int cycles_fold_commit(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_release(cycles_folder_t *f,
    const cycles_record_t *rec, const unsigned char *buf, size_t len);
static int cycles_fold_ended(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_extend(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_event(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len);
static int cycles_fold_decision(cycles_folder_t *f,
    const cycles_record_t *rec, const unsigned char *buf, size_t len);

static int cycles_fold_request(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec, const char *operation, unsigned fresh);
static int cycles_fold_subject(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec);
static void cycles_fold_committed(cycles_bind_t *b,
    const cycles_record_t *rec);
static void cycles_fold_metrics(cycles_bind_t *b,
    const cycles_record_t *rec);
static void cycles_fold_caps_of(cycles_bind_t *b,
    const cycles_budget_def_t *def);
static void cycles_fold_period_of(cycles_bind_t *b,
    const cycles_period_t *period);
static int64_t cycles_fold_key(cycles_folder_t *f, const char *operation,
    const cycles_record_t *rec, unsigned fresh);
static int cycles_bind_json(cycles_folder_t *f, cycles_bind_t *b,
    cycles_fold_write_pt write, const void *data);
static void cycles_fold_row(cycles_folder_t *f, cycles_bind_t *b,
    const uint8_t *id);
static void cycles_fold_id(cycles_folder_t *f, cycles_bind_t *b,
    const uint8_t *id);
static void cycles_fold_copy(cycles_folder_t *f, cycles_bind_t *b,
    const void *p, size_t len);
static void cycles_write_budgets(cycles_json_t *js, const void *data);
static void cycles_write_permissions(cycles_json_t *js, const void *data);
static void cycles_bind_policy(cycles_bind_t *b, unsigned policy);


static const struct {
    unsigned          type;
    cycles_fold_pt    fold;
} cycles_fold_types[] = {
    { CYCLES_RECORD_TENANT, cycles_fold_tenant },
    { CYCLES_RECORD_BUDGET, cycles_fold_budget },
    { CYCLES_RECORD_API_KEY, cycles_fold_api_key },
    { CYCLES_RECORD_ADMIN_KEY, cycles_fold_admin_key },
    { CYCLES_RECORD_FUNDING, cycles_fold_funding },
    { CYCLES_RECORD_PERIOD, cycles_fold_period },
    { CYCLES_RECORD_STATUS, cycles_fold_status },
    { CYCLES_RECORD_RESERVE, cycles_fold_reserve },
    { CYCLES_RECORD_COMMIT, cycles_fold_commit },
    { CYCLES_RECORD_RELEASE, cycles_fold_release },
    { CYCLES_RECORD_EXPIRE, cycles_fold_ended },
    { CYCLES_RECORD_CLOSE, cycles_fold_ended },
    { CYCLES_RECORD_EXTEND, cycles_fold_extend },
    { CYCLES_RECORD_EVENT, cycles_fold_event },
    { CYCLES_RECORD_DECISION, cycles_fold_decision }
};


#define CYCLES_FOLD_TYPES                                                     \
    (sizeof(cycles_fold_types) / sizeof(cycles_fold_types[0]))


#define CYCLES_CAPS_COLUMNS                                                   \
    "(caps_max_tokens, caps_max_steps_remaining, caps_cooldown_ms,"           \
    " caps_tool_allowlist, caps_tool_denylist)"

#define CYCLES_CAPS_OF_BUDGET                                                 \
    " SET " CYCLES_CAPS_COLUMNS " = (SELECT caps_max_tokens,"                 \
    " caps_max_steps_remaining, caps_cooldown_ms, caps_tool_allowlist,"       \
    " caps_tool_denylist FROM budget_rows WHERE id = ?1) WHERE seq = ?2"

#define CYCLES_REQUEST_COLUMNS                                                \
    " tenant_id, idempotency_key, key_hash, digest, scope_path,"              \
    " subject_tenant, subject_workspace, subject_app, subject_workflow,"      \
    " subject_agent, subject_toolset, subject_dimensions, action_kind,"       \
    " action_name, action_tags, unit, trace_id, created_at_ms"

#define CYCLES_METRICS_COLUMNS                                                \
    " tokens_input, tokens_output, latency_ms, model_version,"                \
    " custom_metrics, texts_omitted"


/*
 * In the order of the table, so that SQLite takes values where they are.  And
 * a batch that fails is rolled back as a whole: SQLite need not be able to
 * take back a statement.
 */

#define CYCLES_INSERT_COMMITTED                                               \
    "INSERT OR FAIL INTO reservation_rows (seq, reservation_id,"              \
    CYCLES_REQUEST_COLUMNS ", overage_policy, decision, estimate,"            \
    " remaining, expires_at_ms, granted_until_ms, ttl_ms, grace_period_ms,"   \
    " key_is_fresh, metadata, budgets, finalized_at_ms, settle_seq,"          \
    " settle_key, settle_digest, settle_trace_id, settle_remaining, actual,"  \
    " charged, committed_metadata," CYCLES_METRICS_COLUMNS ","                \
    " settle_by_operator, status) VALUES "

#define CYCLES_COMMITTED_VALUES                                               \
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"   \
    " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"   \
    " 0, 'COMMITTED')"


static const char *const  cycles_fold_sql[CYCLES_FOLD_STATEMENTS] = {

    /* CYCLES_FOLD_BEGIN */
    "BEGIN IMMEDIATE",

    /* CYCLES_FOLD_COMMIT */
    "COMMIT",

    /* CYCLES_FOLD_META */
    "UPDATE meta SET folded = ?, folded_at_ms = ?, segment = ?,"
    " segment_offset = ?, expired = ?",

    /* CYCLES_FOLD_ADMIN_KEY */
    "UPDATE meta SET admin_key_sha256 = ?",

    /* CYCLES_FOLD_TENANT */
    "INSERT OR REPLACE INTO tenants (id, tenant_id, name, status,"
    " parent_tenant_id, default_commit_overage_policy,"
    " default_reservation_ttl_ms, max_reservation_ttl_ms,"
    " max_reservation_extensions, created_at_ms, updated_at_ms,"
    " suspended_at_ms, closed_at_ms, metadata, definition)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_BUDGET */
    "INSERT INTO budget_rows (id, scope, unit, status, commit_overage_policy,"
    " allocated, overdraft_limit, created_at_ms, updated_at_ms, metadata,"
    " definition, caps_above_percent, caps_max_tokens,"
    " caps_max_steps_remaining, caps_cooldown_ms, caps_tool_allowlist,"
    " caps_tool_denylist, period, period_every, period_timezone,"
    " period_length_ms, period_start_ms, period_end_ms) VALUES (?, ?, ?, ?,"
    " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET status = excluded.status,"
    " commit_overage_policy = excluded.commit_overage_policy,"
    " allocated = excluded.allocated,"
    " overdraft_limit = excluded.overdraft_limit,"
    " created_at_ms = excluded.created_at_ms,"
    " updated_at_ms = excluded.updated_at_ms, metadata = excluded.metadata,"
    " definition = excluded.definition,"
    " caps_above_percent = excluded.caps_above_percent,"
    " caps_max_tokens = excluded.caps_max_tokens,"
    " caps_max_steps_remaining = excluded.caps_max_steps_remaining,"
    " caps_cooldown_ms = excluded.caps_cooldown_ms,"
    " caps_tool_allowlist = excluded.caps_tool_allowlist,"
    " caps_tool_denylist = excluded.caps_tool_denylist,"
    " period = excluded.period, period_every = excluded.period_every,"
    " period_timezone = excluded.period_timezone,"
    " period_length_ms = excluded.period_length_ms,"
    " period_start_ms = excluded.period_start_ms,"
    " period_end_ms = excluded.period_end_ms",

    /* CYCLES_FOLD_SUMS_OF */
    "SELECT reserved, spent, debt, is_over_limit FROM budget_sums"
    " WHERE block = ?",

    /* CYCLES_FOLD_SUMS */
    "UPDATE budget_sums SET reserved = ?, spent = ?, debt = ?,"
    " is_over_limit = ? WHERE block = ?",

    /* CYCLES_FOLD_NEW_SUMS */
    "INSERT INTO budget_sums (reserved, spent, debt, is_over_limit, block)"
    " VALUES (?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_STATUS */
    "UPDATE budget_rows SET status = ?, updated_at_ms = ? WHERE id = ?",

    /* CYCLES_FOLD_CHANGE */
    "INSERT INTO status_changes (budget, seq, status, reason, metadata,"
    " changed_at_ms) VALUES (?, ?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_ALLOCATED */
    "UPDATE budget_rows SET allocated = ?, updated_at_ms = ? WHERE id = ?",

    /* CYCLES_FOLD_API_KEY */
    "INSERT OR REPLACE INTO api_keys (id, tenant_id, name, status,"
    " key_prefix, secret_sha256, permissions, scope_filter, description,"
    " created_at_ms, expires_at_ms, revoked_at_ms, revoked_reason, metadata,"
    " definition) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_FUNDING */
    "INSERT INTO fundings (seq, funding_id, budget, tenant_id,"
    " idempotency_key, key_hash, digest, operation, unit, amount,"
    " by_operator, given_spent, previous_allocated, new_allocated,"
    " previous_spent, new_spent, previous_debt, new_debt,"
    " previous_remaining, new_remaining, reason, metadata, trace_id,"
    " created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " ?, ?, ?, ?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_PERIOD */
    "INSERT INTO periods (budget, seq, start_ms, end_ms, allocated, spent,"
    " reserved, debt, closed_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_BOUNDARY */
    "UPDATE budget_rows SET period_start_ms = ?, period_end_ms = ?"
    " WHERE id = ?",

    /* CYCLES_FOLD_RESERVE */
    "INSERT INTO reservation_rows (seq, reservation_id,"
    CYCLES_REQUEST_COLUMNS ", overage_policy, decision, estimate,"
    " remaining, expires_at_ms, granted_until_ms, ttl_ms, grace_period_ms,"
    " key_is_fresh, metadata, budgets, status) VALUES (?, ?, ?, ?, ?, ?, ?,"
    " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " 'ACTIVE')",

    /* CYCLES_FOLD_RESERVE_COMMITTED */
    CYCLES_INSERT_COMMITTED CYCLES_COMMITTED_VALUES,

    /* CYCLES_FOLD_RESERVE_COMMITTED_8 */
    CYCLES_INSERT_COMMITTED
    CYCLES_COMMITTED_VALUES "," CYCLES_COMMITTED_VALUES ","
    CYCLES_COMMITTED_VALUES "," CYCLES_COMMITTED_VALUES ","
    CYCLES_COMMITTED_VALUES "," CYCLES_COMMITTED_VALUES ","
    CYCLES_COMMITTED_VALUES "," CYCLES_COMMITTED_VALUES,

    /* CYCLES_FOLD_RESERVE_CAPS */
    "UPDATE reservation_rows" CYCLES_CAPS_OF_BUDGET,

    /* CYCLES_FOLD_BUNDLE */
    "INSERT OR FAIL INTO reservation_bundles VALUES (?, ?, ?, ?, ?, ?, ?, ?,"
    " ?, ?)",

    /* CYCLES_FOLD_COMMITTED */
    "UPDATE reservation_rows SET status = 'COMMITTED', finalized_at_ms = ?,"
    " settle_seq = ?, settle_key = ?, settle_digest = ?,"
    " settle_trace_id = ?, settle_remaining = ?, actual = ?, charged = ?,"
    " settle_by_operator = 0, committed_metadata = ?,"
    " (" CYCLES_METRICS_COLUMNS ") = (?, ?, ?, ?, ?, ?)"
    " WHERE seq = ? AND reservation_id = ? AND status = 'ACTIVE'",

    /* CYCLES_FOLD_RELEASED */
    "UPDATE reservation_rows SET status = 'RELEASED', finalized_at_ms = ?,"
    " settle_seq = ?, settle_key = ?, settle_digest = ?,"
    " settle_trace_id = ?, settle_remaining = ?, release_reason = ?,"
    " texts_omitted = ?, settle_by_operator = ?"
    " WHERE seq = ? AND reservation_id = ? AND status = 'ACTIVE'",

    /* CYCLES_FOLD_ENDED */
    "UPDATE reservation_rows SET status = ?, finalized_at_ms = ?,"
    " settle_seq = ? WHERE seq = ? AND reservation_id = ?"
    " AND status = 'ACTIVE'",

    /* CYCLES_FOLD_EXTEND */
    "INSERT INTO extensions (seq, reservation, idempotency_key,"
    " extend_by_ms, expires_at_ms, created_at_ms, trace_id, metadata, digest)"
    " SELECT ?1, seq, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM reservation_rows"
    " WHERE seq = ?9 AND reservation_id = ?10",

    /* CYCLES_FOLD_EXTENDED */
    "UPDATE reservation_rows SET expires_at_ms = ?, extensions = extensions + 1"
    " WHERE seq = ? AND reservation_id = ? AND status = 'ACTIVE'",

    /* CYCLES_FOLD_EVENT */
    "INSERT INTO events (seq, event_id," CYCLES_REQUEST_COLUMNS ","
    " overage_policy, actual, charged, remaining, client_time_ms,"
    " key_is_fresh, metadata," CYCLES_METRICS_COLUMNS ") VALUES (?, ?, ?, ?,"
    " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " ?, ?, ?, ?, ?)",

    /* CYCLES_FOLD_DECISION */
    "INSERT INTO decisions (seq, decision_id, dry_run,"
    CYCLES_REQUEST_COLUMNS ", decision, reason_code, estimate, remaining)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
    " ?, ?, ?, ?)",

    /* CYCLES_FOLD_DECISION_CAPS */
    "UPDATE decisions" CYCLES_CAPS_OF_BUDGET
};


static const char *const  cycles_tenant_statuses[] = {
    "ACTIVE", "SUSPENDED", "CLOSED"
};

static const char *const  cycles_key_statuses[] = {
    "ACTIVE", "REVOKED", "REVOKED"
};

static const char *const  cycles_period_types[] = {
    NULL, "calendar", "rolling"
};

static const char *const  cycles_funding_names[] = {
    "CREDIT", "DEBIT", "RESET", "REPAY_DEBT", "RESET_SPENT"
};


int
cycles_fold_record(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    unsigned  i;

    for (i = 0; i < CYCLES_FOLD_TYPES; i++) {
        if (cycles_fold_types[i].type == rec->type) {
            break;
        }
    }

    if (i == CYCLES_FOLD_TYPES
        || cycles_fold_types[i].fold(f, rec, buf, len) != 0)
    {
        return -1;
    }

    return cycles_sums_add(f, rec);
}


static int
cycles_fold_tenant(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t               b;
    sqlite3_stmt               *st;
    const cycles_tenant_def_t  *def;

    st = cycles_fold_statement(f, CYCLES_FOLD_TENANT);

    if (st == NULL) {
        return -1;
    }

    def = &rec->tenant;

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->def_id);
    cycles_bind_str(&b, def->tenant_id);
    cycles_bind_str(&b, def->name);
    cycles_bind_name(&b, cycles_tenant_statuses[def->status]);
    cycles_bind_opt_str(&b, def->parent_id);
    cycles_bind_policy(&b, def->policy);
    cycles_bind_opt_int(&b, def->default_ttl_ms);
    cycles_bind_opt_int(&b, def->max_ttl_ms);
    cycles_bind_opt_int(&b, def->max_extensions);
    cycles_bind_time(&b, def->created_ms);
    cycles_bind_time(&b, def->updated_ms);
    cycles_bind_time(&b, def->suspended_ms);
    cycles_bind_time(&b, def->closed_ms);
    cycles_bind_opt_str(&b, def->metadata);
    cycles_bind_blob(&b, buf, len);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_budget(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t               b;
    sqlite3_stmt               *st;
    const cycles_budget_def_t  *def;

    st = cycles_fold_statement(f, CYCLES_FOLD_BUDGET);

    if (st == NULL) {
        return -1;
    }

    def = &rec->budget;

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->def_id);
    cycles_bind_str(&b, def->scope);
    cycles_bind_name(&b, cycles_unit_name(def->unit));
    cycles_bind_name(&b, cycles_budget_statuses[def->status]);
    cycles_bind_policy(&b, def->policy);
    cycles_bind_int(&b, def->allocated);
    cycles_bind_int(&b, def->overdraft_limit);
    cycles_bind_time(&b, def->created_ms);
    cycles_bind_time(&b, def->updated_ms);
    cycles_bind_opt_str(&b, def->metadata);
    cycles_bind_blob(&b, buf, len);
    cycles_fold_caps_of(&b, def);
    cycles_fold_period_of(&b, &def->period);

    return cycles_fold_run(f, st, 1);
}


static void
cycles_fold_caps_of(cycles_bind_t *b, const cycles_budget_def_t *def)
{
    int  i;

    if (!def->has_caps) {

        for (i = 0; i < 6; i++) {
            cycles_bind_null(b);
        }

        return;
    }

    cycles_bind_int(b, def->above_percent);
    cycles_bind_opt_int(b, def->caps.max_tokens);
    cycles_bind_opt_int(b, def->caps.max_steps_remaining);
    cycles_bind_opt_int(b, def->caps.cooldown_ms);
    cycles_bind_opt_str(b, def->caps.tool_allowlist);
    cycles_bind_opt_str(b, def->caps.tool_denylist);
}


static void
cycles_fold_period_of(cycles_bind_t *b, const cycles_period_t *period)
{
    int  i;

    if (period->type == CYCLES_PERIOD_NONE) {

        for (i = 0; i < 6; i++) {
            cycles_bind_null(b);
        }

        return;
    }

    cycles_bind_name(b, cycles_period_types[period->type]);

    if (period->type == CYCLES_PERIOD_CALENDAR) {
        cycles_bind_name(b, cycles_every_name(period->every));
        cycles_bind_opt_str(b, period->timezone);
        cycles_bind_null(b);

    } else {
        cycles_bind_null(b);
        cycles_bind_null(b);
        cycles_bind_int(b, period->length_ms);
    }

    cycles_bind_int(b, period->start_ms);
    cycles_bind_int(b, period->end_ms);
}


static int
cycles_fold_api_key(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t            b;
    sqlite3_stmt            *st;
    const cycles_key_def_t  *def;

    st = cycles_fold_statement(f, CYCLES_FOLD_API_KEY);

    if (st == NULL) {
        return -1;
    }

    def = &rec->api_key;

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->def_id);
    cycles_bind_str(&b, def->tenant_id);
    cycles_bind_str(&b, def->name);
    cycles_bind_name(&b, cycles_key_statuses[def->status]);
    cycles_bind_opt_str(&b, def->prefix);
    cycles_bind_blob(&b, def->sha256, 32);

    if (cycles_bind_json(f, &b, cycles_write_permissions, def) != 0) {
        return -1;
    }

    cycles_bind_opt_str(&b, def->scope_filter);
    cycles_bind_opt_str(&b, def->description);
    cycles_bind_time(&b, def->created_ms);
    cycles_bind_time(&b, def->expires_ms);
    cycles_bind_time(&b, def->revoked_ms);
    cycles_bind_opt_str(&b, def->revoked_reason);
    cycles_bind_opt_str(&b, def->metadata);
    cycles_bind_blob(&b, buf, len);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_admin_key(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, CYCLES_FOLD_ADMIN_KEY);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_blob(&b, rec->sha256, 32);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_funding(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t           b;
    sqlite3_stmt           *st;
    cycles_funding_sums_t   sums;

    st = cycles_fold_statement(f, CYCLES_FOLD_FUNDING);

    if (st == NULL) {
        return -1;
    }

    cycles_funding_sums(rec, &sums);

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->seq);
    cycles_fold_id(f, &b, rec->id);
    cycles_bind_int(&b, rec->effects[0].budget);
    cycles_bind_str(&b, rec->owner);
    cycles_bind_opt_str(&b, rec->key);

    if (rec->key.len) {
        cycles_bind_int(&b, cycles_fold_key(f, "fund", rec, 0));

    } else {
        cycles_bind_null(&b);
    }

    cycles_bind_blob(&b, rec->digest.bytes, 16);
    cycles_bind_name(&b, cycles_funding_names[rec->funding]);
    cycles_bind_name(&b, cycles_unit_name(rec->unit));
    cycles_bind_int(&b, rec->amount);
    cycles_bind_int(&b, rec->admin);
    cycles_bind_opt_int(&b, rec->given_spent);
    cycles_bind_int(&b, sums.previous_allocated);
    cycles_bind_int(&b, sums.new_allocated);
    cycles_bind_int(&b, sums.previous_spent);
    cycles_bind_int(&b, sums.new_spent);
    cycles_bind_int(&b, sums.previous_debt);
    cycles_bind_int(&b, sums.new_debt);
    cycles_bind_int(&b, sums.previous_remaining);
    cycles_bind_int(&b, sums.new_remaining);
    cycles_bind_opt_str(&b, rec->reason);
    cycles_bind_opt_str(&b, rec->metadata);
    cycles_bind_opt_str(&b, rec->trace_id);
    cycles_bind_int(&b, rec->time);

    if (cycles_fold_run(f, st, 1) != 0) {
        return -1;
    }

    st = cycles_fold_statement(f, CYCLES_FOLD_ALLOCATED);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->new_allocated);
    cycles_bind_int(&b, rec->time);
    cycles_bind_int(&b, rec->effects[0].budget);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_period(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    unsigned              i;
    cycles_bind_t         b;
    sqlite3_stmt         *st;
    const cycles_turn_t  *turn;

    for (i = 0; i < rec->neffects; i++) {
        turn = &rec->turns[i];
        st = cycles_fold_statement(f, CYCLES_FOLD_PERIOD);

        if (st == NULL) {
            return -1;
        }

        cycles_bind_init(&b, st);
        cycles_bind_int(&b, rec->effects[i].budget);
        cycles_bind_int(&b, rec->seq);
        cycles_bind_int(&b, turn->start_ms);
        cycles_bind_int(&b, turn->end_ms);
        cycles_bind_int(&b, turn->allocated);
        cycles_bind_int(&b, -rec->effects[i].spent);
        cycles_bind_int(&b, turn->reserved);
        cycles_bind_int(&b, turn->debt);
        cycles_bind_int(&b, rec->time);

        if (cycles_fold_run(f, st, 1) != 0) {
            return -1;
        }

        st = cycles_fold_statement(f, CYCLES_FOLD_BOUNDARY);

        if (st == NULL) {
            return -1;
        }

        cycles_bind_init(&b, st);
        cycles_bind_int(&b, turn->next_start_ms);
        cycles_bind_int(&b, turn->next_end_ms);
        cycles_bind_int(&b, rec->effects[i].budget);

        if (cycles_fold_run(f, st, 1) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
cycles_fold_status(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    unsigned        i;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    for (i = 0; i < rec->nbudgets; i++) {
        st = cycles_fold_statement(f, CYCLES_FOLD_STATUS);

        if (st == NULL) {
            return -1;
        }

        cycles_bind_init(&b, st);
        cycles_bind_name(&b, cycles_budget_statuses[rec->status]);
        cycles_bind_int(&b, rec->time);
        cycles_bind_int(&b, rec->budgets[i]);

        if (cycles_fold_run(f, st, 1) != 0) {
            return -1;
        }

        st = cycles_fold_statement(f, CYCLES_FOLD_CHANGE);

        if (st == NULL) {
            return -1;
        }

        cycles_bind_init(&b, st);
        cycles_bind_int(&b, rec->budgets[i]);
        cycles_bind_int(&b, rec->seq);
        cycles_bind_name(&b, cycles_budget_statuses[rec->status]);
        cycles_bind_opt_str(&b, rec->reason);
        cycles_bind_opt_str(&b, rec->metadata);
        cycles_bind_int(&b, rec->time);

        if (cycles_fold_run(f, st, 1) != 0) {
            return -1;
        }
    }

    return 0;
}


/* caps are those of now, later a budget may have others */

static int
cycles_fold_reserve(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    if (rec->caps_from == 0 && cycles_held_reserve(f, rec, buf, len)) {
        return 0;
    }

    return cycles_fold_reservation(f, rec, NULL);
}


int
cycles_fold_reservation(cycles_folder_t *f, const cycles_record_t *rec,
    const cycles_record_t *commit)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, commit ? CYCLES_FOLD_RESERVE_COMMITTED
                                         : CYCLES_FOLD_RESERVE);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);

    if (cycles_fold_reserved(f, &b, rec) != 0) {
        return -1;
    }

    if (commit) {
        cycles_fold_committed(&b, commit);
    }

    if (cycles_fold_run(f, st, 1) != 0) {
        return -1;
    }

    return cycles_fold_caps(f, rec, CYCLES_FOLD_RESERVE_CAPS);
}


int
cycles_fold_committed_rows(cycles_folder_t *f, const cycles_held_row_t *rows)
{
    unsigned        i;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, CYCLES_FOLD_RESERVE_COMMITTED_8);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);

    for (i = 0; i < CYCLES_HELD_ROWS; i++) {

        if (cycles_fold_reserved(f, &b, &rows[i].reserve) != 0) {
            return -1;
        }

        cycles_fold_committed(&b, &rows[i].commit);
    }

    return cycles_fold_run(f, st, CYCLES_HELD_ROWS);
}


/* what CYCLES_FOLD_RESERVE begins with, up to the budgets */

static int
cycles_fold_reserved(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec)
{
    cycles_bind_int(b, rec->seq);
    cycles_fold_id(f, b, rec->id);

    if (cycles_fold_request(f, b, rec, "reserve", rec->fresh_key) != 0) {
        return -1;
    }

    cycles_bind_name(b, cycles_policy_name(rec->policy));
    cycles_bind_name(b, cycles_decisions[rec->decision]);
    cycles_bind_int(b, rec->amount);
    cycles_bind_amount(b, rec->remaining);
    cycles_bind_int(b, rec->expires_at_ms);
    cycles_bind_int(b, rec->expires_at_ms);
    cycles_bind_int(b, rec->ttl_ms);
    cycles_bind_int(b, rec->grace_ms);
    cycles_bind_int(b, rec->fresh_key);
    cycles_bind_opt_str(b, rec->metadata);

    return cycles_bind_json(f, b, cycles_write_budgets, rec);
}


/* as they are at this point of the log, see cycles_cell_caps() */

static int
cycles_fold_caps(cycles_folder_t *f, const cycles_record_t *rec,
    cycles_fold_statement_t statement)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    if (rec->caps_from == 0) {
        return 0;
    }

    st = cycles_fold_statement(f, statement);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->caps_from);
    cycles_bind_int(&b, rec->seq);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_commit(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    int             held;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    held = cycles_held_commit(f, rec, buf, len);

    if (held != 0) {
        return (held == 1) ? 0 : -1;
    }

    st = cycles_fold_statement(f, CYCLES_FOLD_COMMITTED);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_fold_committed(&b, rec);
    cycles_fold_row(f, &b, rec->id);

    return cycles_fold_run(f, st, 1);
}


static void
cycles_fold_committed(cycles_bind_t *b, const cycles_record_t *rec)
{
    cycles_bind_int(b, rec->time);
    cycles_bind_int(b, rec->seq);
    cycles_bind_str(b, rec->key);
    cycles_bind_blob(b, rec->digest.bytes, 16);
    cycles_bind_opt_str(b, rec->trace_id);
    cycles_bind_amount(b, rec->remaining);
    cycles_bind_int(b, rec->amount);
    cycles_bind_int(b, rec->charged);
    cycles_bind_opt_str(b, rec->metadata);
    cycles_fold_metrics(b, rec);
}


static int
cycles_fold_release(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    if (cycles_held_write(f, rec->id) != 0) {
        return -1;
    }

    st = cycles_fold_statement(f, CYCLES_FOLD_RELEASED);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->time);
    cycles_bind_int(&b, rec->seq);
    cycles_bind_str(&b, rec->key);
    cycles_bind_blob(&b, rec->digest.bytes, 16);
    cycles_bind_opt_str(&b, rec->trace_id);
    cycles_bind_amount(&b, rec->remaining);
    cycles_bind_opt_str(&b, rec->reason);
    cycles_bind_int(&b, rec->texts_omitted);
    cycles_bind_int(&b, rec->admin);
    cycles_fold_row(f, &b, rec->id);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_ended(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    unsigned        i;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    for (i = 0; i < rec->nids; i++) {

        if (cycles_held_write(f, rec->ids[i]) != 0) {
            return -1;
        }

        st = cycles_fold_statement(f, CYCLES_FOLD_ENDED);

        if (st == NULL) {
            return -1;
        }

        cycles_bind_init(&b, st);
        cycles_bind_name(&b, rec->type == CYCLES_RECORD_EXPIRE
                             ? cycles_reservation_statuses[CYCLES_EXPIRED]
                             : cycles_reservation_statuses[CYCLES_RELEASED]);
        cycles_bind_int(&b, rec->time);
        cycles_bind_int(&b, rec->seq);
        cycles_fold_row(f, &b, rec->ids[i]);

        if (cycles_fold_run(f, st, 1) != 0) {
            return -1;
        }
    }

    if (rec->type == CYCLES_RECORD_EXPIRE) {
        f->meta.expired += rec->nids;
    }

    return 0;
}


static int
cycles_fold_extend(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    if (cycles_held_write(f, rec->id) != 0) {
        return -1;
    }

    st = cycles_fold_statement(f, CYCLES_FOLD_EXTEND);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->seq);
    cycles_bind_str(&b, rec->key);
    cycles_bind_int(&b, rec->extend_by_ms);
    cycles_bind_int(&b, rec->expires_at_ms);
    cycles_bind_int(&b, rec->time);
    cycles_bind_opt_str(&b, rec->trace_id);
    cycles_bind_opt_str(&b, rec->metadata);
    cycles_bind_blob(&b, rec->digest.bytes, 16);
    cycles_fold_row(f, &b, rec->id);

    if (cycles_fold_run(f, st, 1) != 0) {
        return -1;
    }

    st = cycles_fold_statement(f, CYCLES_FOLD_EXTENDED);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->expires_at_ms);
    cycles_fold_row(f, &b, rec->id);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_event(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, CYCLES_FOLD_EVENT);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->seq);
    cycles_fold_id(f, &b, rec->id);

    if (cycles_fold_request(f, &b, rec, "event", rec->fresh_key) != 0) {
        return -1;
    }

    cycles_bind_name(&b, cycles_policy_name(rec->policy));
    cycles_bind_int(&b, rec->amount);
    cycles_bind_int(&b, rec->charged);
    cycles_bind_amount(&b, rec->remaining);
    cycles_bind_opt_int(&b, rec->client_time_ms);
    cycles_bind_int(&b, rec->fresh_key);
    cycles_bind_opt_str(&b, rec->metadata);
    cycles_fold_metrics(&b, rec);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_decision(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, CYCLES_FOLD_DECISION);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, rec->seq);
    cycles_fold_id(f, &b, rec->id);
    cycles_bind_int(&b, !rec->decide);

    if (cycles_fold_request(f, &b, rec,
                            cycles_reserve_namespace(rec->decide), 0)
        != 0)
    {
        return -1;
    }

    cycles_bind_name(&b, cycles_decisions[rec->decision]);

    if (rec->denied == CYCLES_OK) {
        cycles_bind_null(&b);

    } else {
        cycles_bind_name(&b, cycles_denial_name(rec->denied));
    }

    cycles_bind_int(&b, rec->amount);
    cycles_bind_amount(&b, rec->remaining);

    if (cycles_fold_run(f, st, 1) != 0) {
        return -1;
    }

    return cycles_fold_caps(f, rec, CYCLES_FOLD_DECISION_CAPS);
}


/* CYCLES_REQUEST_COLUMNS */

static int
cycles_fold_request(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec, const char *operation, unsigned fresh)
{
    cycles_bind_str(b, rec->owner);
    cycles_bind_str(b, rec->key);
    cycles_bind_int(b, cycles_fold_key(f, operation, rec, fresh));
    cycles_bind_blob(b, rec->digest.bytes, 16);

    if (cycles_fold_subject(f, b, rec) != 0) {
        return -1;
    }

    cycles_bind_opt_str(b, rec->trace_id);
    cycles_bind_int(b, rec->time);

    return 0;
}


static int
cycles_fold_subject(cycles_folder_t *f, cycles_bind_t *b,
    const cycles_record_t *rec)
{
    unsigned          i;
    cycles_scopes_t  *scopes;

    if (!cycles_subject_ok(rec->subject)) {
        return -1;
    }

    scopes = &f->scopes;
    cycles_scopes_derive(rec->subject, scopes);

    cycles_fold_copy(f, b, scopes->path, scopes->prefix[scopes->n - 1].len);

    for (i = 0; i < CYCLES_LEVELS; i++) {
        cycles_bind_opt_str(b, rec->subject->levels[i]);
    }

    if (rec->subject->ndimensions == 0) {
        cycles_bind_null(b);

    } else if (cycles_bind_json(f, b, cycles_write_dimensions, rec->subject)
               != 0)
    {
        return -1;
    }

    cycles_bind_str(b, rec->action->kind);
    cycles_bind_str(b, rec->action->name);

    if (rec->action->ntags == 0) {
        cycles_bind_null(b);

    } else if (cycles_bind_json(f, b, cycles_write_tags, rec->action) != 0) {
        return -1;
    }

    cycles_bind_name(b, cycles_unit_name(rec->unit));

    return 0;
}


/* CYCLES_METRICS_COLUMNS */

static void
cycles_fold_metrics(cycles_bind_t *b, const cycles_record_t *rec)
{
    cycles_bind_opt_int(b, rec->metrics.tokens_input);
    cycles_bind_opt_int(b, rec->metrics.tokens_output);
    cycles_bind_opt_int(b, rec->metrics.latency_ms);
    cycles_bind_opt_str(b, rec->metrics.model_version);
    cycles_bind_opt_str(b, rec->metrics.custom);
    cycles_bind_int(b, rec->texts_omitted);
}


/* by which the row of a key is found; it is known before it is committed */

static int64_t
cycles_fold_key(cycles_folder_t *f, const char *operation,
    const cycles_record_t *rec, unsigned fresh)
{
    int64_t          hash;
    cycles_digest_t  digest;

    if (fresh) {
        return 0;
    }

    cycles_key_digest(f->ledger, operation, rec->owner.data, rec->owner.len,
                      rec->key, &digest);

    hash = cycles_db_key_hash(&digest);
    cycles_filter_add(f->ledger, hash);

    return hash;
}


static int
cycles_bind_json(cycles_folder_t *f, cycles_bind_t *b,
    cycles_fold_write_pt write, const void *data)
{
    cycles_json_t   js;
    unsigned char  *p;

    cycles_json_init(&js, f->text, f->text_size);
    write(&js, data);

    if (js.len > f->text_size) {
        p = realloc(f->text, js.len);

        if (p == NULL) {
            return -1;
        }

        f->text = p;
        f->text_size = js.len;

        cycles_json_init(&js, f->text, f->text_size);
        write(&js, data);
    }

    cycles_fold_copy(f, b, f->text, js.len);

    return 0;
}


/* seq and id of a reservation */

static void
cycles_fold_row(cycles_folder_t *f, cycles_bind_t *b, const uint8_t *id)
{
    cycles_bind_int(b, cycles_ledger_id_seq(f->ledger, id));
    cycles_fold_id(f, b, id);
}


static void
cycles_fold_id(cycles_folder_t *f, cycles_bind_t *b, const uint8_t *id)
{
    char  text[CYCLES_UUID_LEN + 1];

    cycles_id_print(id, text);
    cycles_fold_copy(f, b, text, CYCLES_UUID_LEN);
}


/* until cycles_fold_run(); SQLite would take memory for each of its copies */

static void
cycles_fold_copy(cycles_folder_t *f, cycles_bind_t *b, const void *p,
    size_t len)
{
    char  *copy;

    if (len > CYCLES_FOLD_COPIES - f->copied) {
        (void) sqlite3_bind_text(b->st, ++b->n, p, (int) len,
                                 SQLITE_TRANSIENT);
        return;
    }

    copy = f->copies + f->copied;
    memcpy(copy, p, len);
    f->copied += len;

    (void) sqlite3_bind_text(b->st, ++b->n, copy, (int) len, SQLITE_STATIC);
}


void
cycles_write_dimensions(cycles_json_t *js, const void *data)
{
    unsigned                 i;
    const cycles_subject_t  *subject = data;

    cycles_json_begin(js);

    for (i = 0; i < subject->ndimensions; i++) {
        cycles_json_key(js, subject->dimensions[i].key.data,
                        subject->dimensions[i].key.len);
        cycles_json_string(js, subject->dimensions[i].value);
    }

    cycles_json_end(js);
}


void
cycles_write_tags(cycles_json_t *js, const void *data)
{
    unsigned                i;
    const cycles_action_t  *action = data;

    cycles_json_raw(js, "[", 1);

    for (i = 0; i < action->ntags; i++) {
        cycles_json_next(js);
        cycles_json_string(js, action->tags[i]);
    }

    cycles_json_raw(js, "]", 1);
}


static void
cycles_write_budgets(cycles_json_t *js, const void *data)
{
    unsigned                i;
    const cycles_record_t  *rec = data;

    cycles_json_raw(js, "[", 1);

    for (i = 0; i < rec->neffects; i++) {
        cycles_json_next(js);
        cycles_json_integer(js, rec->effects[i].budget);
    }

    cycles_json_raw(js, "]", 1);
}


static void
cycles_write_permissions(cycles_json_t *js, const void *data)
{
    int                      i;
    cycles_str_t             name;
    const cycles_key_def_t  *def = data;

    cycles_json_raw(js, "[", 1);

    for (i = 0; i < CYCLES_PERMISSIONS; i++) {
        if (def->permissions & CYCLES_PERMIT(i)) {
            name.data = (unsigned char *) cycles_permission_name(i);
            name.len = strlen(cycles_permission_name(i));

            cycles_json_next(js);
            cycles_json_string(js, name);
        }
    }

    cycles_json_raw(js, "]", 1);
}


static void
cycles_bind_policy(cycles_bind_t *b, unsigned policy)
{
    if (policy >= CYCLES_POLICIES) {
        cycles_bind_null(b);

    } else {
        cycles_bind_name(b, cycles_policy_name(policy));
    }
}


sqlite3_stmt *
cycles_fold_statement(cycles_folder_t *f, cycles_fold_statement_t statement)
{
    if (f->statements[statement] == NULL
        && sqlite3_prepare_v3(f->db, cycles_fold_sql[statement], -1,
                              SQLITE_PREPARE_PERSISTENT,
                              &f->statements[statement], NULL)
           != SQLITE_OK)
    {
        return NULL;
    }

    return f->statements[statement];
}


int
cycles_fold_run(cycles_folder_t *f, sqlite3_stmt *st, int changes)
{
    int  rc;

    (void) sqlite3_step(st);

    rc = sqlite3_reset(st);

    (void) sqlite3_clear_bindings(st);

    f->copied = 0;

    if (rc != SQLITE_OK) {
        return -1;
    }

    return (changes == -1 || sqlite3_changes(f->db) == changes) ? 0 : -1;
}
