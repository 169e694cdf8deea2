
/*
 * Copyright (C) nginx-cycles authors
 *
 * cycles_bundle(first_seq, created_from_ms, actions, requests, rows, names):
 * the reservations of a bundle, see cycles_ledger_bundle.c, as a table with
 * the columns of reservation_rows.  json_each() and "->>" tell the same, but
 * parse a text for each value.  And cycles_has(tenants, tenant).
 */


#include <string.h>

#include "cycles_ledger_db.h"


/* arguments, which are hidden columns */

typedef enum {
    CYCLES_ARG_FIRST_SEQ = 0,
    CYCLES_ARG_CREATED_FROM,
    CYCLES_ARG_ACTIONS,
    CYCLES_ARG_REQUESTS,
    CYCLES_ARG_ROWS,
    CYCLES_ARG_NAMES,
    CYCLES_ARGS
} cycles_bundle_arg_t;

#define CYCLES_ARG_TEXTS  (CYCLES_ARGS - CYCLES_ARG_ACTIONS)

/* of columns, what the rest of a query may ask for */

#define CYCLES_BUNDLE_OF_SEQ     1
#define CYCLES_BUNDLE_OF_TENANT  2


/* the columns of reservation_rows, in their order */

typedef enum {
    CYCLES_COLUMN_SEQ = 0,
    CYCLES_COLUMN_ID,
    CYCLES_COLUMN_TENANT,
    CYCLES_COLUMN_KEY,
    CYCLES_COLUMN_KEY_HASH,
    CYCLES_COLUMN_DIGEST,
    CYCLES_COLUMN_SCOPE,
    CYCLES_COLUMN_LEVELS,
    CYCLES_COLUMN_DIMENSIONS = CYCLES_COLUMN_LEVELS + CYCLES_LEVELS,
    CYCLES_COLUMN_ACTION_KIND,
    CYCLES_COLUMN_ACTION_NAME,
    CYCLES_COLUMN_ACTION_TAGS,
    CYCLES_COLUMN_UNIT,
    CYCLES_COLUMN_TRACE,
    CYCLES_COLUMN_CREATED,
    CYCLES_COLUMN_POLICY,
    CYCLES_COLUMN_DECISION,
    CYCLES_COLUMN_ESTIMATE,
    CYCLES_COLUMN_REMAINING,
    CYCLES_COLUMN_EXPIRES,
    CYCLES_COLUMN_GRANTED,
    CYCLES_COLUMN_TTL,
    CYCLES_COLUMN_GRACE,
    CYCLES_COLUMN_FRESH,
    CYCLES_COLUMN_METADATA,
    CYCLES_COLUMN_BUDGETS,
    CYCLES_COLUMN_FINALIZED,
    CYCLES_COLUMN_SETTLE_SEQ,
    CYCLES_COLUMN_SETTLE_KEY,
    CYCLES_COLUMN_SETTLE_DIGEST,
    CYCLES_COLUMN_SETTLE_TRACE,
    CYCLES_COLUMN_SETTLE_REMAINING,
    CYCLES_COLUMN_ACTUAL,
    CYCLES_COLUMN_CHARGED,
    CYCLES_COLUMN_COMMITTED_METADATA,
    CYCLES_COLUMN_TOKENS_INPUT,
    CYCLES_COLUMN_TOKENS_OUTPUT,
    CYCLES_COLUMN_LATENCY,
    CYCLES_COLUMN_MODEL,
    CYCLES_COLUMN_CUSTOM,
    CYCLES_COLUMN_OMITTED,
    CYCLES_COLUMN_BY_OPERATOR,
    CYCLES_COLUMN_STATUS,
    CYCLES_COLUMN_EXTENSIONS,
    CYCLES_COLUMN_REASON,
    CYCLES_COLUMN_CAPS,
    CYCLES_COLUMN_ARGS = CYCLES_COLUMN_CAPS + 5
} cycles_bundle_column_t;


/* values of a request, and of an action */

typedef enum {
    CYCLES_REQUEST_START = 0,
    CYCLES_REQUEST_ACTION,
    CYCLES_REQUEST_BASE,
    CYCLES_REQUEST_BUDGETS,
    CYCLES_REQUEST_OWNER,
    CYCLES_REQUEST_DIMENSIONS,
    CYCLES_REQUEST_LEVELS,
    CYCLES_REQUEST_VALUES = CYCLES_REQUEST_LEVELS + CYCLES_LEVELS
} cycles_bundle_request_t;

typedef enum {
    CYCLES_ACTION_KIND = 0,
    CYCLES_ACTION_NAME,
    CYCLES_ACTION_TAGS,
    CYCLES_ACTION_UNIT,
    CYCLES_ACTION_POLICY,
    CYCLES_ACTION_DECISION,
    CYCLES_ACTION_TTL,
    CYCLES_ACTION_GRACE,
    CYCLES_ACTION_MODEL,
    CYCLES_ACTION_VALUES
} cycles_action_value_t;


/* JSON that is read */

typedef struct {
    const char            *p;
    const char            *end;
} cycles_bundle_in_t;


/* a number, or a text: a string, an array or an object; or nothing */

typedef struct {
    int                    type;          /* SQLITE_INTEGER, _TEXT, _NULL */
    int64_t                n;
    const char            *text;
    size_t                 len;
} cycles_bundle_json_t;


typedef struct {
    sqlite3_vtab_cursor    base;
    int64_t                first_seq;
    int64_t                created_from;
    sqlite3_value         *texts[CYCLES_ARG_TEXTS];
    sqlite3_value         *tenant;        /* the only one, or NULL */
    unsigned               of_seq;
    int64_t                seq;           /* the only one */

    cycles_bundle_in_t     actions;
    cycles_bundle_in_t     requests;      /* what follows the current one */
    cycles_bundle_in_t     rows;
    const cycles_bundle_names_t  *names;
    size_t                 nnames;

    unsigned               begun;         /* there was a request */
    unsigned               within;        /* it has more rows */
    unsigned               eof;
    int64_t                n;             /* of the current row */
    cycles_bundle_json_t   request[CYCLES_REQUEST_VALUES];
    cycles_bundle_json_t   action[CYCLES_ACTION_VALUES];
    cycles_bundle_json_t   row[CYCLES_BUNDLE_VALUES];
    size_t                 owner_len;
    char                   owner[CYCLES_MAX_SUBJECT_VALUE];
} cycles_bundle_cursor_t;


static int cycles_bundle_connect(sqlite3 *db, void *data, int argc,
    const char *const *argv, sqlite3_vtab **vtab, char **err);
static int cycles_bundle_best_index(sqlite3_vtab *vtab,
    sqlite3_index_info *info);
static int cycles_bundle_disconnect(sqlite3_vtab *vtab);
static int cycles_bundle_open(sqlite3_vtab *vtab,
    sqlite3_vtab_cursor **cursor);
static int cycles_bundle_close(sqlite3_vtab_cursor *cursor);
static void cycles_bundle_release(cycles_bundle_cursor_t *c);
static int cycles_bundle_filter(sqlite3_vtab_cursor *cursor, int number,
    const char *name, int argc, sqlite3_value **argv);
static int cycles_bundle_next(sqlite3_vtab_cursor *cursor);
static int cycles_bundle_step(cycles_bundle_cursor_t *c);
static int cycles_bundle_next_request(cycles_bundle_cursor_t *c);
static int cycles_bundle_owner(cycles_bundle_cursor_t *c);
static int cycles_bundle_skip_rows(cycles_bundle_cursor_t *c);
static int cycles_bundle_wanted(const cycles_bundle_cursor_t *c);
static int cycles_bundle_eof(sqlite3_vtab_cursor *cursor);
static int cycles_bundle_column(sqlite3_vtab_cursor *cursor,
    sqlite3_context *context, int n);
static void cycles_bundle_own_column(const cycles_bundle_cursor_t *c,
    sqlite3_context *context, int n);
static void cycles_bundle_scope(const cycles_bundle_cursor_t *c,
    sqlite3_context *context);
static void cycles_bundle_trace(const cycles_bundle_cursor_t *c,
    sqlite3_context *context);
static void cycles_bundle_result_sum(sqlite3_context *context, int64_t a,
    int64_t b);
static int64_t cycles_bundle_seq(const cycles_bundle_cursor_t *c);
static int64_t cycles_bundle_created(const cycles_bundle_cursor_t *c);
static int64_t cycles_bundle_remaining(const cycles_bundle_cursor_t *c);
static void cycles_bundle_uuid(sqlite3_context *context, const uint8_t *bin,
    unsigned settle);
static void cycles_bundle_result(sqlite3_context *context,
    const cycles_bundle_json_t *value);
static int64_t cycles_bundle_sum(int64_t a, int64_t b);
static int cycles_bundle_rowid(sqlite3_vtab_cursor *cursor,
    sqlite3_int64 *rowid);
static int cycles_bundle_is(cycles_bundle_in_t *in, char ch);
static int cycles_bundle_array(cycles_bundle_in_t *in,
    cycles_bundle_json_t *values, unsigned n);
static int cycles_bundle_read(cycles_bundle_in_t *in,
    cycles_bundle_json_t *value);
static int cycles_bundle_read_number(cycles_bundle_in_t *in,
    cycles_bundle_json_t *value);
static int cycles_bundle_pass(cycles_bundle_in_t *in);
static void cycles_bundle_has_tenant(sqlite3_context *context, int n,
    sqlite3_value **values);


static const sqlite3_module  cycles_bundle_functions = {
    .xConnect = cycles_bundle_connect,
    .xBestIndex = cycles_bundle_best_index,
    .xDisconnect = cycles_bundle_disconnect,
    .xOpen = cycles_bundle_open,
    .xClose = cycles_bundle_close,
    .xFilter = cycles_bundle_filter,
    .xNext = cycles_bundle_next,
    .xEof = cycles_bundle_eof,
    .xColumn = cycles_bundle_column,
    .xRowid = cycles_bundle_rowid
};


int
cycles_bundle_module(sqlite3 *db)
{
    int  rc;

    rc = sqlite3_create_module_v2(db, "cycles_bundle",
                                  &cycles_bundle_functions, NULL, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }

    return sqlite3_create_function_v2(db, "cycles_has", 2,
                                      SQLITE_UTF8|SQLITE_DETERMINISTIC, NULL,
                                      cycles_bundle_has_tenant, NULL, NULL,
                                      NULL);
}


static int
cycles_bundle_connect(sqlite3 *db, void *data, int argc,
    const char *const *argv, sqlite3_vtab **vtab, char **err)
{
    int  rc;

    rc = sqlite3_declare_vtab(db, "CREATE TABLE bundle (seq, reservation_id,"
                              " tenant_id, idempotency_key, key_hash, digest,"
                              " scope_path, subject_tenant,"
                              " subject_workspace, subject_app,"
                              " subject_workflow, subject_agent,"
                              " subject_toolset, subject_dimensions,"
                              " action_kind, action_name, action_tags, unit,"
                              " trace_id, created_at_ms, overage_policy,"
                              " decision, estimate, remaining, expires_at_ms,"
                              " granted_until_ms, ttl_ms, grace_period_ms,"
                              " key_is_fresh, metadata, budgets,"
                              " finalized_at_ms, settle_seq, settle_key,"
                              " settle_digest, settle_trace_id,"
                              " settle_remaining, actual, charged,"
                              " committed_metadata, tokens_input,"
                              " tokens_output, latency_ms, model_version,"
                              " custom_metrics, texts_omitted,"
                              " settle_by_operator, status, extensions,"
                              " release_reason, caps_max_tokens,"
                              " caps_max_steps_remaining, caps_cooldown_ms,"
                              " caps_tool_allowlist, caps_tool_denylist,"
                              " first_seq HIDDEN, created_from_ms HIDDEN,"
                              " actions HIDDEN, requests HIDDEN,"
                              " rows HIDDEN, names HIDDEN)");

    if (rc != SQLITE_OK) {
        return rc;
    }

    *vtab = sqlite3_malloc(sizeof(sqlite3_vtab));

    if (*vtab == NULL) {
        return SQLITE_NOMEM;
    }

    memset(*vtab, 0, sizeof(sqlite3_vtab));

    return SQLITE_OK;
}


static int
cycles_bundle_disconnect(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);

    return SQLITE_OK;
}


/*
 * There is nothing to be read without the arguments.  A number, or a tenant,
 * that is asked for spares what does not have it.
 */

static int
cycles_bundle_best_index(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    int       i, n, at[CYCLES_ARGS], seq, tenant;
    unsigned  found;

    found = 0;
    seq = -1;
    tenant = -1;

    for (i = 0; i < info->nConstraint; i++) {

        if (info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ
            || !info->aConstraint[i].usable)
        {
            continue;
        }

        n = info->aConstraint[i].iColumn - CYCLES_COLUMN_ARGS;

        if (n >= 0 && n < CYCLES_ARGS) {
            at[n] = i;
            found |= 1u << n;

        } else if (info->aConstraint[i].iColumn == CYCLES_COLUMN_SEQ) {
            seq = i;

        } else if (info->aConstraint[i].iColumn == CYCLES_COLUMN_TENANT) {
            tenant = i;
        }
    }

    if (found != (1u << CYCLES_ARGS) - 1) {
        return SQLITE_CONSTRAINT;
    }

    for (n = 0; n < CYCLES_ARGS; n++) {
        info->aConstraintUsage[at[n]].argvIndex = n + 1;
        info->aConstraintUsage[at[n]].omit = 1;
    }

    info->idxNum = 0;
    info->estimatedCost = CYCLES_BUNDLE_ROWS;
    info->estimatedRows = CYCLES_BUNDLE_ROWS;

    if (seq != -1) {
        info->aConstraintUsage[seq].argvIndex = ++n;
        info->idxNum |= CYCLES_BUNDLE_OF_SEQ;
    }

    if (tenant != -1) {
        info->aConstraintUsage[tenant].argvIndex = ++n;
        info->idxNum |= CYCLES_BUNDLE_OF_TENANT;
    }

    return SQLITE_OK;
}


static int
cycles_bundle_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **cursor)
{
    cycles_bundle_cursor_t  *c;

    c = sqlite3_malloc(sizeof(cycles_bundle_cursor_t));

    if (c == NULL) {
        return SQLITE_NOMEM;
    }

    memset(c, 0, sizeof(cycles_bundle_cursor_t));
    *cursor = &c->base;

    return SQLITE_OK;
}


static int
cycles_bundle_close(sqlite3_vtab_cursor *cursor)
{
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    cycles_bundle_release(c);
    sqlite3_free(c);

    return SQLITE_OK;
}


static void
cycles_bundle_release(cycles_bundle_cursor_t *c)
{
    int  i;

    for (i = 0; i < CYCLES_ARG_TEXTS; i++) {
        sqlite3_value_free(c->texts[i]);
        c->texts[i] = NULL;
    }

    sqlite3_value_free(c->tenant);
    c->tenant = NULL;
}


static int
cycles_bundle_filter(sqlite3_vtab_cursor *cursor, int number,
    const char *name, int argc, sqlite3_value **argv)
{
    int                      i;
    cycles_bundle_in_t      *in;
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    cycles_bundle_release(c);

    c->first_seq = sqlite3_value_int64(argv[CYCLES_ARG_FIRST_SEQ]);
    c->created_from = sqlite3_value_int64(argv[CYCLES_ARG_CREATED_FROM]);

    cycles_bundle_in_t *const  ins[] = { &c->actions, &c->requests, &c->rows };

    for (i = 0; i < CYCLES_ARG_TEXTS; i++) {
        c->texts[i] = sqlite3_value_dup(argv[CYCLES_ARG_ACTIONS + i]);

        if (c->texts[i] == NULL) {
            return SQLITE_NOMEM;
        }
    }

    for (i = 0; i < 3; i++) {
        in = ins[i];
        in->p = (const char *) sqlite3_value_text(c->texts[i]);

        if (in->p == NULL) {
            return SQLITE_CORRUPT_VTAB;
        }

        in->end = in->p + sqlite3_value_bytes(c->texts[i]);
    }

    c->names = sqlite3_value_blob(c->texts[3]);
    c->nnames = (size_t) sqlite3_value_bytes(c->texts[3])
                / sizeof(cycles_bundle_names_t);

    i = CYCLES_ARGS;
    c->of_seq = number & CYCLES_BUNDLE_OF_SEQ;

    if (c->of_seq) {
        c->seq = sqlite3_value_int64(argv[i++]);
    }

    if (number & CYCLES_BUNDLE_OF_TENANT) {
        c->tenant = sqlite3_value_dup(argv[i]);

        if (c->tenant == NULL || sqlite3_value_text(c->tenant) == NULL) {
            return SQLITE_NOMEM;
        }
    }

    c->eof = 0;
    c->begun = 0;
    c->within = 0;

    if (!cycles_bundle_is(&c->requests, '[')
        || !cycles_bundle_is(&c->rows, '['))
    {
        return SQLITE_CORRUPT_VTAB;
    }

    return cycles_bundle_next(cursor);
}


static int
cycles_bundle_next(sqlite3_vtab_cursor *cursor)
{
    int                      rc;
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    do {
        rc = cycles_bundle_step(c);
    } while (rc == 0 && !c->eof && !cycles_bundle_wanted(c));

    return rc == 0 ? SQLITE_OK : SQLITE_CORRUPT_VTAB;
}


/* to the next row, or what ends them */

static int
cycles_bundle_step(cycles_bundle_cursor_t *c)
{
    if (c->within && !cycles_bundle_is(&c->rows, ',')) {

        if (!cycles_bundle_is(&c->rows, ']')) {
            return -1;
        }

        c->within = 0;
    }

    while (!c->within) {

        if (cycles_bundle_next_request(c) != 0) {
            return -1;
        }

        if (c->eof) {
            return 0;
        }
    }

    c->n++;

    if (c->n < 0 || (uint64_t) c->n >= c->nnames) {
        return -1;
    }

    return cycles_bundle_array(&c->rows, c->row, CYCLES_BUNDLE_VALUES);
}


/* to the first row of the next request, or behind all rows of that */

static int
cycles_bundle_next_request(cycles_bundle_cursor_t *c)
{
    int64_t              n;
    cycles_bundle_in_t   actions;

    if (c->begun && cycles_bundle_is(&c->requests, ']')) {
        c->eof = 1;
        return cycles_bundle_is(&c->rows, ']') ? 0 : -1;
    }

    if (c->begun && (!cycles_bundle_is(&c->requests, ',')
                     || !cycles_bundle_is(&c->rows, ',')))
    {
        return -1;
    }

    c->begun = 1;

    if (cycles_bundle_array(&c->requests, c->request, CYCLES_REQUEST_VALUES)
        != 0
        || cycles_bundle_owner(c) != 0
        || !cycles_bundle_is(&c->rows, '['))
    {
        return -1;
    }

    if (c->tenant
        && (c->owner_len != (size_t) sqlite3_value_bytes(c->tenant)
            || memcmp(c->owner, sqlite3_value_text(c->tenant), c->owner_len)
               != 0))
    {
        return cycles_bundle_skip_rows(c);
    }

    actions = c->actions;

    if (!cycles_bundle_is(&actions, '[')) {
        return -1;
    }

    for (n = c->request[CYCLES_REQUEST_ACTION].n; n > 0; n--) {
        if (cycles_bundle_pass(&actions) != 0
            || !cycles_bundle_is(&actions, ','))
        {
            return -1;
        }
    }

    if (cycles_bundle_array(&actions, c->action, CYCLES_ACTION_VALUES) != 0) {
        return -1;
    }

    c->n = cycles_bundle_sum(c->request[CYCLES_REQUEST_START].n, -1);
    c->within = 1;

    return 0;
}


/* the tenant of the subject, unless it says otherwise */

static int
cycles_bundle_owner(cycles_bundle_cursor_t *c)
{
    size_t                       i, level;
    const cycles_bundle_json_t  *owner;

    owner = &c->request[CYCLES_REQUEST_OWNER];

    for (level = 0, i = 0; i < CYCLES_LEVELS; i++) {

        if (c->request[CYCLES_REQUEST_LEVELS + i].len
            > CYCLES_MAX_SUBJECT_VALUE)
        {
            return -1;
        }

        level += c->request[CYCLES_REQUEST_LEVELS + i].len;
    }

    if (level == 0) {
        return -1;
    }

    if (owner->type == SQLITE_NULL) {
        owner = &c->request[CYCLES_REQUEST_LEVELS + CYCLES_TENANT];
    }

    if (owner->len > sizeof(c->owner)) {
        return -1;
    }

    c->owner_len = owner->len;

    for (i = 0; i < owner->len; i++) {
        c->owner[i] = owner->text[i];

        if (c->owner[i] >= 'A' && c->owner[i] <= 'Z') {
            c->owner[i] |= 0x20;
        }
    }

    return 0;
}


/* of a tenant that nobody has asked for */

static int
cycles_bundle_skip_rows(cycles_bundle_cursor_t *c)
{
    do {
        if (cycles_bundle_pass(&c->rows) != 0) {
            return -1;
        }
    } while (cycles_bundle_is(&c->rows, ','));

    return cycles_bundle_is(&c->rows, ']') ? 0 : -1;
}


static int
cycles_bundle_wanted(const cycles_bundle_cursor_t *c)
{
    return !c->of_seq
           || cycles_bundle_seq(c) == c->seq;
}


static int
cycles_bundle_eof(sqlite3_vtab_cursor *cursor)
{
    return ((cycles_bundle_cursor_t *) cursor)->eof;
}


static int
cycles_bundle_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context,
    int n)
{
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    static const uint8_t     zeroes[16];

    if (n >= CYCLES_COLUMN_LEVELS && n < CYCLES_COLUMN_DIMENSIONS) {
        n += CYCLES_REQUEST_LEVELS - CYCLES_COLUMN_LEVELS;
        cycles_bundle_result(context, &c->request[n]);
        return SQLITE_OK;
    }

    switch (n) {

    case CYCLES_COLUMN_TENANT:
        sqlite3_result_text(context, c->owner, (int) c->owner_len,
                            SQLITE_TRANSIENT);
        break;

    case CYCLES_COLUMN_DIGEST:
    case CYCLES_COLUMN_SETTLE_DIGEST:
        sqlite3_result_blob(context, zeroes, 16, SQLITE_STATIC);
        break;

    case CYCLES_COLUMN_SCOPE:
        cycles_bundle_scope(c, context);
        break;

    case CYCLES_COLUMN_DIMENSIONS:
        cycles_bundle_result(context, &c->request[CYCLES_REQUEST_DIMENSIONS]);
        break;

    case CYCLES_COLUMN_ACTION_KIND:
    case CYCLES_COLUMN_ACTION_NAME:
    case CYCLES_COLUMN_ACTION_TAGS:
    case CYCLES_COLUMN_UNIT:
        n += CYCLES_ACTION_KIND - CYCLES_COLUMN_ACTION_KIND;
        cycles_bundle_result(context, &c->action[n]);
        break;

    case CYCLES_COLUMN_POLICY:
        cycles_bundle_result(context, &c->action[CYCLES_ACTION_POLICY]);
        break;

    case CYCLES_COLUMN_DECISION:
        cycles_bundle_result(context, &c->action[CYCLES_ACTION_DECISION]);
        break;

    case CYCLES_COLUMN_TTL:
        cycles_bundle_result(context, &c->action[CYCLES_ACTION_TTL]);
        break;

    case CYCLES_COLUMN_GRACE:
        cycles_bundle_result(context, &c->action[CYCLES_ACTION_GRACE]);
        break;

    case CYCLES_COLUMN_FRESH:
        sqlite3_result_int(context, 1);
        break;

    case CYCLES_COLUMN_BUDGETS:
        cycles_bundle_result(context, &c->request[CYCLES_REQUEST_BUDGETS]);
        break;

    case CYCLES_COLUMN_MODEL:
        cycles_bundle_result(context, &c->action[CYCLES_ACTION_MODEL]);
        break;

    case CYCLES_COLUMN_KEY_HASH:
    case CYCLES_COLUMN_OMITTED:
    case CYCLES_COLUMN_BY_OPERATOR:
    case CYCLES_COLUMN_EXTENSIONS:
        sqlite3_result_int(context, 0);
        break;

    case CYCLES_COLUMN_STATUS:
        sqlite3_result_text(context, "COMMITTED", -1, SQLITE_STATIC);
        break;

    default:
        cycles_bundle_own_column(c, context, n);
    }

    return SQLITE_OK;
}


/* what a reservation does not share with others; NULL: no other column */

static void
cycles_bundle_own_column(const cycles_bundle_cursor_t *c,
    sqlite3_context *context, int n)
{
    const cycles_bundle_json_t   *row;
    const cycles_bundle_names_t  *names;

    row = c->row;
    names = &c->names[c->n];

    switch (n) {

    case CYCLES_COLUMN_SEQ:
        sqlite3_result_int64(context, cycles_bundle_seq(c));
        break;

    case CYCLES_COLUMN_ID:
        cycles_bundle_uuid(context, names->id, 0);
        break;

    case CYCLES_COLUMN_KEY:
        if (row[CYCLES_BUNDLE_KEY].type == SQLITE_NULL) {
            cycles_bundle_uuid(context, names->key, 0);

        } else {
            cycles_bundle_result(context, &row[CYCLES_BUNDLE_KEY]);
        }

        break;

    case CYCLES_COLUMN_TRACE:
        cycles_bundle_trace(c, context);
        break;

    case CYCLES_COLUMN_CREATED:
        sqlite3_result_int64(context, cycles_bundle_created(c));
        break;

    case CYCLES_COLUMN_ESTIMATE:
        cycles_bundle_result(context, &row[CYCLES_BUNDLE_ESTIMATE]);
        break;

    case CYCLES_COLUMN_REMAINING:
        sqlite3_result_int64(context, cycles_bundle_remaining(c));
        break;

    case CYCLES_COLUMN_EXPIRES:
    case CYCLES_COLUMN_GRANTED:
        cycles_bundle_result_sum(context, cycles_bundle_created(c),
                                 c->action[CYCLES_ACTION_TTL].n);
        break;

    case CYCLES_COLUMN_FINALIZED:
        cycles_bundle_result_sum(context, cycles_bundle_created(c),
                                 row[CYCLES_BUNDLE_FINALIZED].n);
        break;

    case CYCLES_COLUMN_SETTLE_SEQ:
        cycles_bundle_result_sum(context, cycles_bundle_seq(c),
                                 row[CYCLES_BUNDLE_SETTLE_SEQ].n);
        break;

    case CYCLES_COLUMN_SETTLE_KEY:
        if (row[CYCLES_BUNDLE_SETTLE_KEY].type == SQLITE_NULL) {
            cycles_bundle_uuid(context, names->key, 1);

        } else {
            cycles_bundle_result(context, &row[CYCLES_BUNDLE_SETTLE_KEY]);
        }

        break;

    case CYCLES_COLUMN_SETTLE_TRACE:
        if (row[CYCLES_BUNDLE_SETTLE_TRACE].type == SQLITE_NULL) {
            cycles_bundle_trace(c, context);

        } else if (row[CYCLES_BUNDLE_SETTLE_TRACE].type == SQLITE_TEXT) {
            cycles_bundle_result(context, &row[CYCLES_BUNDLE_SETTLE_TRACE]);
        }

        break;

    case CYCLES_COLUMN_SETTLE_REMAINING:
        cycles_bundle_result_sum(context, cycles_bundle_remaining(c),
                                 row[CYCLES_BUNDLE_SETTLE_REMAINING].n);
        break;

    case CYCLES_COLUMN_CHARGED:
        if (row[CYCLES_BUNDLE_CHARGED].type != SQLITE_NULL) {
            cycles_bundle_result(context, &row[CYCLES_BUNDLE_CHARGED]);
            break;
        }

        /* fall through */

    case CYCLES_COLUMN_ACTUAL:
        cycles_bundle_result(context, &row[CYCLES_BUNDLE_ACTUAL]);
        break;

    case CYCLES_COLUMN_TOKENS_INPUT:
        cycles_bundle_result(context, &row[CYCLES_BUNDLE_TOKENS_INPUT]);
        break;

    case CYCLES_COLUMN_TOKENS_OUTPUT:
        cycles_bundle_result(context, &row[CYCLES_BUNDLE_TOKENS_OUTPUT]);
        break;

    case CYCLES_COLUMN_LATENCY:
        cycles_bundle_result(context, &row[CYCLES_BUNDLE_LATENCY]);
        break;

    default:
        break;
    }
}


static void
cycles_bundle_scope(const cycles_bundle_cursor_t *c, sqlite3_context *context)
{
    unsigned          i;
    cycles_scopes_t   scopes;
    cycles_subject_t  subject;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        subject.levels[i].data = (unsigned char *)
                                 c->request[CYCLES_REQUEST_LEVELS + i].text;
        subject.levels[i].len = c->request[CYCLES_REQUEST_LEVELS + i].len;
    }

    cycles_scopes_derive(&subject, &scopes);

    sqlite3_result_text(context, scopes.path,
                        (int) scopes.prefix[scopes.n - 1].len,
                        SQLITE_TRANSIENT);
}


static void
cycles_bundle_trace(const cycles_bundle_cursor_t *c, sqlite3_context *context)
{
    char                  text[32];
    const uint8_t        *trace;
    static const uint8_t  none[16];

    if (c->row[CYCLES_BUNDLE_TRACE].type != SQLITE_NULL) {
        cycles_bundle_result(context, &c->row[CYCLES_BUNDLE_TRACE]);
        return;
    }

    trace = c->names[c->n].trace;

    if (memcmp(trace, none, 16) != 0) {
        (void) cycles_hex_write(trace, 16, text);
        sqlite3_result_text(context, text, sizeof(text), SQLITE_TRANSIENT);
    }
}


static void
cycles_bundle_result_sum(sqlite3_context *context, int64_t a, int64_t b)
{
    sqlite3_result_int64(context, cycles_bundle_sum(a, b));
}


static int64_t
cycles_bundle_seq(const cycles_bundle_cursor_t *c)
{
    return cycles_bundle_sum(c->first_seq, c->row[CYCLES_BUNDLE_SEQ].n);
}


static int64_t
cycles_bundle_created(const cycles_bundle_cursor_t *c)
{
    return cycles_bundle_sum(c->created_from,
                             c->row[CYCLES_BUNDLE_CREATED].n);
}


static int64_t
cycles_bundle_remaining(const cycles_bundle_cursor_t *c)
{
    return cycles_bundle_sum(c->request[CYCLES_REQUEST_BASE].n,
                             c->row[CYCLES_BUNDLE_REMAINING].n);
}


static void
cycles_bundle_uuid(sqlite3_context *context, const uint8_t *bin,
    unsigned settle)
{
    char     text[CYCLES_UUID_LEN];
    uint8_t  key[16];

    if (settle) {
        cycles_bundle_settle_key(bin, key);
        bin = key;
    }

    cycles_uuid_write(bin, text);

    sqlite3_result_text(context, text, CYCLES_UUID_LEN, SQLITE_TRANSIENT);
}


static void
cycles_bundle_result(sqlite3_context *context,
    const cycles_bundle_json_t *value)
{
    if (value->type == SQLITE_INTEGER) {
        sqlite3_result_int64(context, value->n);

    } else if (value->type == SQLITE_TEXT) {
        sqlite3_result_text(context, value->text, (int) value->len,
                            SQLITE_TRANSIENT);
    }
}


/* of a damaged file, they may be anything */

static int64_t
cycles_bundle_sum(int64_t a, int64_t b)
{
    return (int64_t) ((uint64_t) a + (uint64_t) b);
}


static int
cycles_bundle_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
    *rowid = ((cycles_bundle_cursor_t *) cursor)->n;

    return SQLITE_OK;
}


static int
cycles_bundle_is(cycles_bundle_in_t *in, char ch)
{
    if (in->p < in->end && *in->p == ch) {
        in->p++;
        return 1;
    }

    return 0;
}


/* values that are not there are nulls at the end */

static int
cycles_bundle_array(cycles_bundle_in_t *in, cycles_bundle_json_t *values,
    unsigned n)
{
    unsigned  i;

    memset(values, 0, n * sizeof(cycles_bundle_json_t));

    for (i = 0; i < n; i++) {

        if (!cycles_bundle_is(in, i ? ',' : '[')
            || cycles_bundle_read(in, &values[i]) != 0)
        {
            return -1;
        }

        if (cycles_bundle_is(in, ']')) {
            break;
        }
    }

    if (i == n) {
        return -1;
    }

    for (i++; i < n; i++) {
        values[i].type = SQLITE_NULL;
    }

    return 0;
}


/* strings have no escapes */

static int
cycles_bundle_read(cycles_bundle_in_t *in, cycles_bundle_json_t *value)
{
    const char  *p;

    value->type = SQLITE_TEXT;

    if (in->p < in->end && (*in->p == '[' || *in->p == '{')) {
        value->text = in->p;

        if (cycles_bundle_pass(in) != 0) {
            return -1;
        }

        value->len = (size_t) (in->p - value->text);
        return 0;
    }

    if (cycles_bundle_is(in, '"')) {
        p = memchr(in->p, '"', (size_t) (in->end - in->p));

        if (p == NULL) {
            return -1;
        }

        value->text = in->p;
        value->len = (size_t) (p - in->p);
        in->p = p + 1;
        return 0;
    }

    if (in->end - in->p >= 4 && memcmp(in->p, "null", 4) == 0) {
        value->type = SQLITE_NULL;
        in->p += 4;
        return 0;
    }

    value->type = SQLITE_INTEGER;

    return cycles_bundle_read_number(in, value);
}


static int
cycles_bundle_read_number(cycles_bundle_in_t *in, cycles_bundle_json_t *value)
{
    unsigned     minus;
    int64_t      n;
    const char  *start;

    minus = (unsigned) cycles_bundle_is(in, '-');
    start = in->p;

    for (n = 0; in->p < in->end && *in->p >= '0' && *in->p <= '9'; in->p++) {

        /* below zero there is one more */

        if (__builtin_mul_overflow(n, 10, &n)
            || __builtin_sub_overflow(n, *in->p - '0', &n))
        {
            return -1;
        }
    }

    if (in->p == start || (!minus && n == INT64_MIN)) {
        return -1;
    }

    value->n = minus ? n : -n;

    return 0;
}


/* over a value that is an array or an object, with all that is in it */

static int
cycles_bundle_pass(cycles_bundle_in_t *in)
{
    unsigned  depth;

    depth = 0;

    while (in->p < in->end) {

        switch (*in->p++) {

        case '"':
            in->p = memchr(in->p, '"', (size_t) (in->end - in->p));

            if (in->p == NULL) {
                in->p = in->end;
                return -1;
            }

            in->p++;
            break;

        case '[':
        case '{':
            depth++;
            break;

        case ']':
        case '}':
            if (depth-- == 0) {
                return -1;
            }

            break;

        default:
            break;
        }

        if (depth == 0) {
            return 0;
        }
    }

    return -1;
}


/* whether a bundle may have rows of the tenant: cycles_has(tenants, tenant) */

static void
cycles_bundle_has_tenant(sqlite3_context *context, int n,
    sqlite3_value **values)
{
    size_t                size;
    uint64_t              hash;
    const unsigned char  *filter, *tenant;

    filter = sqlite3_value_blob(values[0]);
    size = (size_t) sqlite3_value_bytes(values[0]);
    tenant = sqlite3_value_text(values[1]);

    if (filter == NULL || tenant == NULL || (size & (size - 1)) != 0) {
        sqlite3_result_int(context, 1);
        return;
    }

    hash = cycles_bundle_hash(tenant, (size_t) sqlite3_value_bytes(values[1]));

    sqlite3_result_int(context, cycles_bundle_has(filter, size, hash));
}
