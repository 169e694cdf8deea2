
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reservations as ledger.db has them: one by its id, or a list of a tenant's,
 * page by page.
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cycles_ledger_db.h"


#define CYCLES_LIST_SQL       8192

/* bundles that are looked into at first, and how many times more then */
#define CYCLES_LIST_BUNDLES   4
#define CYCLES_LIST_MORE      8

/* a cursor: the last row, its sort key, and a digest of both and the list */
#define CYCLES_CURSOR_DIGEST  8
#define CYCLES_CURSOR_MAX     (8 + CYCLES_MAX_SCOPE + CYCLES_CURSOR_DIGEST)


typedef struct {
    int64_t            seq;
    cycles_str_t       text;              /* the sort key, or */
    int64_t            number;
} cycles_position_t;


typedef struct {
    char               text[CYCLES_LIST_SQL];
    size_t             len;
} cycles_sql_t;


/* what is asked for: the list behind a row, or up to a time only */

typedef struct {
    cycles_ledger_t          *ledger;
    sqlite3                  *db;
    const cycles_list_t      *list;
    const cycles_position_t  *after;      /* NULL: from the first one */
    int64_t                   now;
    unsigned                  bounded;
    int64_t                   bound;
} cycles_query_t;


static int cycles_list_bound(cycles_query_t *q);
static int cycles_list_bound_at(cycles_query_t *q, unsigned bundles);
static int cycles_list_count(const cycles_query_t *q);
static sqlite3_stmt *cycles_list_prepare(const cycles_query_t *q);
static sqlite3_stmt *cycles_list_statement(const cycles_query_t *q,
    cycles_sql_t *sql);
static void cycles_list_from(const cycles_query_t *q, cycles_sql_t *sql);
static int cycles_list_bundled(const cycles_list_t *list);
static void cycles_list_bundles(const cycles_query_t *q, cycles_sql_t *sql);
static void cycles_list_where(const cycles_query_t *q, cycles_sql_t *sql);
static void cycles_sql_add(cycles_sql_t *sql, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void cycles_list_bind(const cycles_query_t *q, sqlite3_stmt *st);
static void cycles_list_visible(sqlite3_context *context, int n,
    sqlite3_value **values);
static int cycles_list_rows(sqlite3_stmt *st, const cycles_list_t *list,
    cycles_reservation_pt take, void *data, cycles_position_t *last,
    unsigned char *buf);
static int cycles_row_read(sqlite3_stmt *st, cycles_reservation_t *row);
static cycles_str_t cycles_row_text(sqlite3_stmt *st, int column);
static int cycles_cursor_read(cycles_ledger_t *ledger,
    const cycles_list_t *list, cycles_position_t *after, unsigned char *buf);
static void cycles_cursor_write(cycles_ledger_t *ledger,
    const cycles_list_t *list, const cycles_position_t *last,
    cycles_cursor_t *cursor);
static void cycles_cursor_digest(cycles_ledger_t *ledger,
    const cycles_list_t *list, const unsigned char *position, size_t len,
    cycles_digest_t *digest);


/* a hold that is past its grace period has expired, whoever has seen it */

#define CYCLES_ROW_STATUS                                                     \
    "CASE WHEN status = 'ACTIVE' AND expires_at_ms + grace_period_ms < ?2"    \
    " THEN 'EXPIRED' ELSE status END"

#define CYCLES_ROW_COLUMNS                                                    \
    " reservation_id, " CYCLES_ROW_STATUS ", tenant_id, idempotency_key,"     \
    " scope_path, subject_tenant, subject_workspace, subject_app,"            \
    " subject_workflow, subject_agent, subject_toolset,"                      \
    " subject_dimensions, action_kind, action_name, action_tags, unit,"       \
    " estimate, charged, created_at_ms, expires_at_ms, finalized_at_ms,"      \
    " metadata, committed_metadata"


/* by cycles_status_t */

static const char *const  cycles_row_statuses[] = {
    "ACTIVE", "COMMITTED", "RELEASED", "EXPIRED", NULL
};


/* by cycles_reservation_sort_t: what is sorted by, and if that is a number */

static const struct {
    const char        *column;
    int                number;
} cycles_list_sorts[] = {
    { "created_at_ms", 1 },
    { "expires_at_ms", 1 },
    { "estimate", 1 },
    { "reservation_id", 0 },
    { "coalesce(subject_tenant, '')", 0 },
    { "scope_path", 0 },
    { CYCLES_ROW_STATUS, 0 }
};


cycles_code_t
cycles_ledger_reservation(cycles_ledger_t *ledger, cycles_str_t id,
    cycles_reservation_pt take, void *data, int64_t now, char *err,
    size_t errlen)
{
    int                    rc;
    uint8_t                bin[16];
    sqlite3               *db;
    sqlite3_stmt          *st;
    cycles_bind_t          b;
    cycles_code_t          code;
    cycles_reservation_t   row;

    static const char      sql[] = "SELECT 0, 0," CYCLES_ROW_COLUMNS
                                   " FROM " CYCLES_RESERVATION_BY_SEQ
                                   " WHERE reservation_id = ?3";

    if (cycles_id_parse(id, bin) != 0) {
        return CYCLES_NOT_FOUND;
    }

    db = cycles_ledger_database(ledger, err, errlen);

    if (db == NULL) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = CYCLES_INTERNAL_ERROR;

    if (sqlite3_prepare_v2(db, sql, sizeof(sql), &st, NULL) == SQLITE_OK) {
        cycles_bind_init(&b, st);
        cycles_bind_int(&b, cycles_ledger_id_seq(ledger, bin));
        cycles_bind_int(&b, now);
        cycles_bind_str(&b, id);

        rc = sqlite3_step(st);

        if (rc == SQLITE_ROW && cycles_row_read(st, &row) == 0) {
            code = take(data, &row) == 0 ? CYCLES_OK : CYCLES_INTERNAL_ERROR;

        } else if (rc == SQLITE_DONE) {
            code = CYCLES_NOT_FOUND;
        }
    }

    if (code == CYCLES_INTERNAL_ERROR) {
        cycles_db_error(ledger, db, err, errlen);
    }

    (void) sqlite3_finalize(st);
    cycles_ledger_database_return(ledger, db);

    return code;
}


cycles_code_t
cycles_ledger_list(cycles_ledger_t *ledger, const cycles_list_t *list,
    cycles_reservation_pt take, void *data, cycles_cursor_t *next,
    int64_t now, char *err, size_t errlen)
{
    int                 n;
    sqlite3            *db;
    sqlite3_stmt       *st;
    cycles_code_t       code;
    unsigned char       from[CYCLES_CURSOR_MAX], to[CYCLES_MAX_SCOPE];
    cycles_query_t      query;
    cycles_position_t   after, last;

    next->len = 0;
    memset(&last, 0, sizeof(last));

    if (list->cursor.len
        && cycles_cursor_read(ledger, list, &after, from) != 0)
    {
        return CYCLES_INVALID_REQUEST;
    }

    db = cycles_ledger_database(ledger, err, errlen);

    if (db == NULL) {
        return CYCLES_INTERNAL_ERROR;
    }

    query.ledger = ledger;
    query.db = db;
    query.list = list;
    query.after = list->cursor.len ? &after : NULL;
    query.now = now;

    code = CYCLES_INTERNAL_ERROR;
    st = NULL;

    if (cycles_list_bound(&query) == 0) {
        st = cycles_list_prepare(&query);
    }

    if (st) {
        n = cycles_list_rows(st, list, take, data, &last, to);

        if (n >= 0) {
            code = CYCLES_OK;
        }

        if (n > 0) {
            cycles_cursor_write(ledger, list, &last, next);
        }
    }

    if (code != CYCLES_OK) {
        cycles_db_error(ledger, db, err, errlen);
    }

    (void) sqlite3_finalize(st);
    cycles_ledger_database_return(ledger, db);

    return code;
}


/*
 * A list by time ends in the first few bundles of many: rows up to a time,
 * which is that of a bundle, are enough if a list of them is full.  It is
 * made with more and more of them until it is.
 */

static int
cycles_list_bound(cycles_query_t *q)
{
    int       n;
    unsigned  bundles;

    q->bounded = 0;

    if (q->list->sort != CYCLES_BY_CREATED || !cycles_list_bundled(q->list)) {
        return 0;
    }

    for (bundles = CYCLES_LIST_BUNDLES; ; bundles *= CYCLES_LIST_MORE) {

        if (cycles_list_bound_at(q, bundles) != 0) {
            return -1;
        }

        if (!q->bounded) {
            return 0;
        }

        n = cycles_list_count(q);

        if (n < 0) {
            return -1;
        }

        if ((unsigned) n > q->list->limit) {
            return 0;
        }
    }
}


/* the time of the bundle behind so many; not bounded: there are not more */

static int
cycles_list_bound_at(cycles_query_t *q, unsigned bundles)
{
    int            rc;
    cycles_sql_t   sql;
    sqlite3_stmt  *st;

    q->bounded = 0;
    sql.len = 0;

    cycles_sql_add(&sql, "SELECT b.created_to_ms"
                         " FROM reservation_bundles AS b");
    cycles_list_bundles(q, &sql);
    cycles_sql_add(&sql, " ORDER BY b.created_to_ms %s LIMIT 1 OFFSET %u",
                   q->list->ascending ? "ASC" : "DESC", bundles);

    st = cycles_list_statement(q, &sql);

    if (st == NULL) {
        return -1;
    }

    rc = sqlite3_step(st);

    if (rc == SQLITE_ROW) {
        q->bounded = 1;
        q->bound = sqlite3_column_int64(st, 0);
    }

    sqlite3_finalize(st);

    return (rc == SQLITE_ROW || rc == SQLITE_DONE) ? 0 : -1;
}


/* of the list's rows, and of one that would follow them */

static int
cycles_list_count(const cycles_query_t *q)
{
    int            n;
    cycles_sql_t   sql;
    sqlite3_stmt  *st;

    sql.len = 0;

    cycles_sql_add(&sql, "SELECT count(*) FROM (SELECT 1 FROM ");
    cycles_list_from(q, &sql);
    cycles_list_where(q, &sql);
    cycles_sql_add(&sql, " LIMIT ?3)");

    st = cycles_list_statement(q, &sql);

    if (st == NULL) {
        return -1;
    }

    n = (sqlite3_step(st) == SQLITE_ROW) ? sqlite3_column_int(st, 0) : -1;

    sqlite3_finalize(st);

    return n;
}


static sqlite3_stmt *
cycles_list_prepare(const cycles_query_t *q)
{
    const char    *column, *direction;
    cycles_sql_t   sql;

    column = cycles_list_sorts[q->list->sort].column;
    direction = q->list->ascending ? "ASC" : "DESC";

    sql.len = 0;

    cycles_sql_add(&sql, "SELECT seq, %s," CYCLES_ROW_COLUMNS " FROM ",
                   column);
    cycles_list_from(q, &sql);
    cycles_list_where(q, &sql);
    cycles_sql_add(&sql, " ORDER BY %s %s, seq %s LIMIT ?3", column,
                   direction, direction);

    return cycles_list_statement(q, &sql);
}


static sqlite3_stmt *
cycles_list_statement(const cycles_query_t *q, cycles_sql_t *sql)
{
    sqlite3_stmt  *st;

    if (q->list->scope_filter.len
        && sqlite3_create_function_v2(q->db, "cycles_visible", 1,
                                      SQLITE_UTF8|SQLITE_DETERMINISTIC,
                                      (void *) q->list, cycles_list_visible,
                                      NULL, NULL, NULL)
           != SQLITE_OK)
    {
        return NULL;
    }

    if (sqlite3_prepare_v2(q->db, sql->text, sql->len, &st, NULL)
        != SQLITE_OK)
    {
        return NULL;
    }

    cycles_list_bind(q, st);

    return st;
}


static void
cycles_list_from(const cycles_query_t *q, cycles_sql_t *sql)
{
    cycles_sql_add(sql, "(SELECT * FROM reservation_rows WHERE tenant_id ="
                   " ?1");

    if (!cycles_list_bundled(q->list)) {
        cycles_sql_add(sql, ")");
        return;
    }

    /* the index has all that tells which bundles they are */

    cycles_sql_add(sql, " UNION ALL " CYCLES_BUNDLE_FAST
                   " WHERE r.tenant_id = ?1 AND b.first_seq IN"
                   " (SELECT b.first_seq FROM reservation_bundles AS b");
    cycles_list_bundles(q, sql);

    if (q->bounded) {
        cycles_sql_add(sql, q->list->ascending
                            ? " AND b.created_from_ms < ?23"
                            : " AND b.created_to_ms > ?23");
    }

    cycles_sql_add(sql, "))");
}


/* what bundles have is committed, and has a key that nobody knows */

static int
cycles_list_bundled(const cycles_list_t *list)
{
    return (list->status == -1 || list->status == CYCLES_COMMITTED)
           && list->idempotency_key.len == 0;
}


/* bundles in which there may be rows of the list */

static void
cycles_list_bundles(const cycles_query_t *q, cycles_sql_t *sql)
{
    cycles_sql_add(sql, " WHERE cycles_has(b.tenants, ?1)");

    if (q->after && q->list->sort == CYCLES_BY_CREATED) {
        cycles_sql_add(sql, q->list->ascending
                            ? " AND b.created_to_ms >= ?15"
                            : " AND b.created_from_ms <= ?15");
    }

    if (q->list->created.limited) {
        cycles_sql_add(sql, " AND b.created_to_ms >= ?17"
                            " AND b.created_from_ms <= ?18");
    }
}


/* the numbers of parameters are those of cycles_list_bind() */

static void
cycles_list_where(const cycles_query_t *q, cycles_sql_t *sql)
{
    unsigned              level;
    const char           *column;
    const cycles_list_t  *list;

    list = q->list;
    column = cycles_list_sorts[list->sort].column;

    cycles_sql_add(sql, " WHERE tenant_id = ?1");

    /* keys that nobody knows are in no index, and nobody asks for them */

    if (list->idempotency_key.len) {
        cycles_sql_add(sql, " AND key_hash = ?4 AND key_is_fresh = 0"
                            " AND idempotency_key = ?5");
    }

    if (list->status != -1) {
        cycles_sql_add(sql, " AND " CYCLES_ROW_STATUS " = ?6");
    }

    if (list->status == CYCLES_ACTIVE) {
        cycles_sql_add(sql, " AND status = 'ACTIVE'");
    }

    for (level = CYCLES_WORKSPACE; level < CYCLES_LEVELS; level++) {
        if (list->levels[level].len) {
            cycles_sql_add(sql, " AND subject_%s = ?%u COLLATE NOCASE",
                           cycles_level_name(level), 6 + level);
        }
    }

    if (list->created.limited) {
        cycles_sql_add(sql, " AND created_at_ms BETWEEN ?17 AND ?18");
    }

    if (list->expires.limited) {
        cycles_sql_add(sql, " AND expires_at_ms BETWEEN ?19 AND ?20");
    }

    /* the table says of an expired one, too, when it ended */

    if (list->finalized.limited) {
        cycles_sql_add(sql, " AND status IN ('COMMITTED', 'RELEASED')"
                       " AND finalized_at_ms BETWEEN ?21 AND ?22");
    }

    if (list->scope_filter.len) {
        cycles_sql_add(sql, " AND cycles_visible(scope_path)");
    }

    if (q->after) {
        cycles_sql_add(sql, " AND (%s, seq) %s (?15, ?16)", column,
                       list->ascending ? ">" : "<");
    }

    if (q->bounded) {
        cycles_sql_add(sql, " AND created_at_ms %s ?23",
                       list->ascending ? "<" : ">");
    }
}


/* the longest statement fits */

static void
cycles_sql_add(cycles_sql_t *sql, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    sql->len += vsnprintf(sql->text + sql->len, CYCLES_LIST_SQL - sql->len,
                          fmt, args);
    va_end(args);
}


/* values that the statement does not mention are not there to be bound */

static void
cycles_list_bind(const cycles_query_t *q, sqlite3_stmt *st)
{
    unsigned                  level;
    cycles_bind_t             b;
    cycles_digest_t           key;
    const cycles_list_t      *list;
    const cycles_position_t  *after;

    list = q->list;
    after = q->after;

    cycles_key_digest(q->ledger, "reserve", list->tenant.data,
                      list->tenant.len, list->idempotency_key, &key);

    cycles_bind_init(&b, st);
    cycles_bind_str(&b, list->tenant);
    cycles_bind_int(&b, q->now);
    cycles_bind_int(&b, (int64_t) list->limit + 1);
    cycles_bind_int(&b, cycles_db_key_hash(&key));
    cycles_bind_str(&b, list->idempotency_key);
    cycles_bind_name(&b, list->status == -1
                         ? "" : cycles_row_statuses[list->status]);

    for (level = CYCLES_WORKSPACE; level < CYCLES_LEVELS; level++) {
        cycles_bind_str(&b, list->levels[level]);
    }

    b.n = 14;

    if (after == NULL || cycles_list_sorts[list->sort].number) {
        cycles_bind_int(&b, after ? after->number : 0);

    } else {
        cycles_bind_str(&b, after->text);
    }

    cycles_bind_int(&b, after ? after->seq : 0);
    cycles_bind_int(&b, list->created.from);
    cycles_bind_int(&b, list->created.to);
    cycles_bind_int(&b, list->expires.from);
    cycles_bind_int(&b, list->expires.to);
    cycles_bind_int(&b, list->finalized.from);
    cycles_bind_int(&b, list->finalized.to);

    if (q->bounded) {
        cycles_bind_int(&b, q->bound);
    }
}


static void
cycles_list_visible(sqlite3_context *context, int n, sqlite3_value **values)
{
    const cycles_list_t  *list;

    list = sqlite3_user_data(context);

    sqlite3_result_int(context,
                       cycles_filter_path(list->scope_filter.data,
                                          list->scope_filter.len,
                                          sqlite3_value_text(values[0]),
                                          sqlite3_value_bytes(values[0])));
}


/* 1: there is more behind the last one, 0: there is not; -1: it failed */

static int
cycles_list_rows(sqlite3_stmt *st, const cycles_list_t *list,
    cycles_reservation_pt take, void *data, cycles_position_t *last,
    unsigned char *buf)
{
    int                   rc;
    unsigned              n;
    cycles_str_t          text;
    cycles_reservation_t  row;

    for (n = 0; n < list->limit; n++) {
        rc = sqlite3_step(st);

        if (rc != SQLITE_ROW) {
            return (rc == SQLITE_DONE) ? 0 : -1;
        }

        if (cycles_row_read(st, &row) != 0 || take(data, &row) != 0) {
            return -1;
        }

        last->seq = sqlite3_column_int64(st, 0);
        last->number = sqlite3_column_int64(st, 1);

        if (!cycles_list_sorts[list->sort].number) {
            text = cycles_row_text(st, 1);

            if (text.len > CYCLES_MAX_SCOPE) {
                return -1;
            }

            memcpy(buf, text.data, text.len);
            last->text.len = text.len;
            last->text.data = buf;
        }
    }

    rc = sqlite3_step(st);

    return (rc == SQLITE_ROW) ? 1 : (rc == SQLITE_DONE) ? 0 : -1;
}


/* CYCLES_ROW_COLUMNS, behind the two that a list wants for itself */

static int
cycles_row_read(sqlite3_stmt *st, cycles_reservation_t *row)
{
    int           i, unit, status;
    cycles_str_t  text;

    i = 2;

    row->id = cycles_row_text(st, i++);
    status = cycles_status_find(cycles_row_text(st, i++));
    row->owner = cycles_row_text(st, i++);
    row->idempotency_key = cycles_row_text(st, i++);
    row->scope_path = cycles_row_text(st, i++);

    for (unit = 0; unit < CYCLES_LEVELS; unit++) {
        row->levels[unit] = cycles_row_text(st, i++);
    }

    row->dimensions = cycles_row_text(st, i++);
    row->action_kind = cycles_row_text(st, i++);
    row->action_name = cycles_row_text(st, i++);
    row->action_tags = cycles_row_text(st, i++);

    text = cycles_row_text(st, i++);
    unit = cycles_unit_find(text.data, text.len);

    row->reserved = sqlite3_column_int64(st, i++);
    row->committed = sqlite3_column_int64(st, i++);
    row->created_at_ms = sqlite3_column_int64(st, i++);
    row->expires_at_ms = sqlite3_column_int64(st, i++);
    row->finalized_at_ms = sqlite3_column_int64(st, i++);
    row->metadata = cycles_row_text(st, i++);
    row->committed_metadata = cycles_row_text(st, i++);

    if (status == -1 || unit == -1) {
        return -1;
    }

    row->status = status;
    row->unit = unit;

    return 0;
}


static cycles_str_t
cycles_row_text(sqlite3_stmt *st, int column)
{
    cycles_str_t  s;

    s.data = (unsigned char *) sqlite3_column_text(st, column);
    s.len = s.data ? sqlite3_column_bytes(st, column) : 0;

    return s;
}


int
cycles_status_find(cycles_str_t name)
{
    int  i;

    for (i = 0; cycles_row_statuses[i]; i++) {
        if (strlen(cycles_row_statuses[i]) == name.len
            && memcmp(cycles_row_statuses[i], name.data, name.len) == 0)
        {
            return i;
        }
    }

    return -1;
}


int
cycles_reservation_sort_find(cycles_str_t name)
{
    int                       i;

    static const char *const  names[] = {
        "created_at_ms", "expires_at_ms", "reserved", "reservation_id",
        "tenant", "scope_path", "status"
    };

    for (i = 0; i <= CYCLES_BY_STATUS; i++) {
        if (strlen(names[i]) == name.len
            && memcmp(names[i], name.data, name.len) == 0)
        {
            return i;
        }
    }

    return -1;
}


/*
 * A cursor is good for the list that it came from and for no other one, also
 * of other filters; nobody can make one up.
 */

static int
cycles_cursor_read(cycles_ledger_t *ledger, const cycles_list_t *list,
    cycles_position_t *after, unsigned char *buf)
{
    size_t            n;
    cycles_digest_t   digest;

    n = list->cursor.len / 2;

    if (list->cursor.len % 2 || n < 8 + CYCLES_CURSOR_DIGEST
        || n > CYCLES_CURSOR_MAX
        || cycles_hex_read(list->cursor.data, n, buf) != 0)
    {
        return -1;
    }

    n -= CYCLES_CURSOR_DIGEST;

    cycles_cursor_digest(ledger, list, buf, n, &digest);

    if (memcmp(digest.bytes, buf + n, CYCLES_CURSOR_DIGEST) != 0) {
        return -1;
    }

    after->seq = cycles_get64(buf);
    after->text.data = buf + 8;
    after->text.len = n - 8;
    after->number = 0;

    if (cycles_list_sorts[list->sort].number) {

        if (n != 16) {
            return -1;
        }

        after->number = cycles_get64(buf + 8);
    }

    return 0;
}


static void
cycles_cursor_write(cycles_ledger_t *ledger, const cycles_list_t *list,
    const cycles_position_t *last, cycles_cursor_t *cursor)
{
    size_t           n;
    unsigned char    buf[CYCLES_CURSOR_MAX];
    cycles_digest_t  digest;

    cycles_put64(buf, last->seq);

    if (cycles_list_sorts[list->sort].number) {
        cycles_put64(buf + 8, last->number);
        n = 16;

    } else {
        memcpy(buf + 8, last->text.data, last->text.len);
        n = 8 + last->text.len;
    }

    cycles_cursor_digest(ledger, list, buf, n, &digest);
    memcpy(buf + n, digest.bytes, CYCLES_CURSOR_DIGEST);
    n += CYCLES_CURSOR_DIGEST;

    cycles_hex_write(buf, n, cursor->text);
    cursor->len = 2 * n;
}


static void
cycles_cursor_digest(cycles_ledger_t *ledger, const cycles_list_t *list,
    const unsigned char *position, size_t len, cycles_digest_t *digest)
{
    unsigned                i;
    cycles_siphash_t        h;
    const cycles_window_t  *window;

    const cycles_window_t  *windows[] = {
        &list->created, &list->expires, &list->finalized
    };

    cycles_digest_begin(ledger, &h, "list");
    cycles_digest_str(&h, list->tenant);

    for (i = CYCLES_WORKSPACE; i < CYCLES_LEVELS; i++) {
        cycles_digest_str(&h, list->levels[i]);
    }

    cycles_digest_str(&h, list->idempotency_key);
    cycles_digest_int(&h, list->status);

    for (i = 0; i < 3; i++) {
        window = windows[i];

        cycles_digest_int(&h, window->limited);
        cycles_digest_int(&h, window->limited ? window->from : 0);
        cycles_digest_int(&h, window->limited ? window->to : 0);
    }

    cycles_digest_int(&h, list->sort);
    cycles_digest_int(&h, list->ascending);
    cycles_digest_str(&h, list->scope_filter);
    cycles_siphash_update(&h, position, len);
    cycles_siphash_final(&h, digest);
}
