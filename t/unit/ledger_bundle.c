
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reservations that are alike are one row of reservation_bundles.  Nobody may
 * see a difference: what was folded one by one, and once more from the same
 * log all at once, looks the same.
 */


#include <stdarg.h>

#include "ledger/cycles_ledger_db.h"
#include "ledger_db.h"


/* of all kinds, then of two kinds, then of one tenant after the other */
#define RESERVATIONS  900
#define ALIKE         1000
#define TURNS         300
#define TENANTS       40

#define LISTS         60

/* reservations in a bundle */
#define IN_BUNDLE     "(SELECT sum(json_array_length(value))"                \
                      " FROM json_each(rows))"


/* a text that grows */

typedef struct {
    char    *text;
    size_t   len;
    size_t   size;
} text_t;


static void
text_add(text_t *t, const char *fmt, ...)
{
    int      n;
    va_list  args;

    if (t->size - t->len < 8192) {
        t->size = t->size * 2 + 65536;
        t->text = realloc(t->text, t->size);

        if (t->text == NULL) {
            exit(2);
        }
    }

    va_start(args, fmt);
    n = vsnprintf(t->text + t->len, t->size - t->len, fmt, args);
    va_end(args);

    t->len += n;
}


/* all that the view shows, or a query, with the types of its values */

static char *
dump(cycles_ledger_t *l, const char *sql)
{
    int            i;
    char          *value;
    text_t         t;
    sqlite3       *db;
    sqlite3_stmt  *st;

    memset(&t, 0, sizeof(t));
    db = cycles_ledger_database(l, led_err, sizeof(led_err));

    if (db == NULL
        || sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
    {
        printf("# %s\n", db ? sqlite3_errmsg(db) : led_err);
        exit(2);
    }

    while (sqlite3_step(st) == SQLITE_ROW) {
        for (i = 0; i < sqlite3_column_count(st); i++) {
            value = sqlite3_column_type(st, i) == SQLITE_BLOB
                    ? sqlite3_mprintf("x%02x%02x..%02x (%d)",
                          ((uint8_t *) sqlite3_column_blob(st, i))[0],
                          ((uint8_t *) sqlite3_column_blob(st, i))[1],
                          ((uint8_t *) sqlite3_column_blob(st, i))[15],
                          sqlite3_column_bytes(st, i))
                    : sqlite3_mprintf("%s", sqlite3_column_text(st, i));
            text_add(&t, "%s=%d:%s ", sqlite3_column_name(st, i),
                     sqlite3_column_type(st, i), value ? value : "");
            sqlite3_free(value);
        }

        text_add(&t, "\n");
    }

    sqlite3_finalize(st);
    cycles_ledger_database_return(l, db);

    return t.text;
}


/* the first line that differs */

static void
is_text(const char *got, const char *want, const char *name)
{
    size_t       n;
    const char  *g, *w;

    ok(strcmp(got, want) == 0, "%s (%zu bytes)", name, strlen(want));

    for (g = got, w = want; *g || *w; g += n + 1, w += n + 1) {
        n = strcspn(w, "\n");

        if (strncmp(g, w, n + 1) != 0 || *w == '\0') {
            printf("# got:  %.*s\n# want: %.*s\n", (int) strcspn(g, "\n"), g,
                   (int) n, w);
            break;
        }
    }
}


static int
list_row(void *data, const cycles_reservation_t *row)
{
    text_add(data, "%.*s %d %.*s %lld %lld %lld %lld %lld %.*s\n",
             (int) row->id.len, row->id.data, row->status,
             (int) row->scope_path.len, row->scope_path.data,
             (long long) row->reserved, (long long) row->committed,
             (long long) row->created_at_ms, (long long) row->expires_at_ms,
             (long long) row->finalized_at_ms,
             (int) row->idempotency_key.len, row->idempotency_key.data);

    return 0;
}


/* lists of many kinds, each from its first row to its last one */

static char *
lists(cycles_ledger_t *l)
{
    text_t           t;
    uint64_t         seed;
    unsigned         i, n;
    cycles_list_t    list;
    cycles_code_t    code;
    cycles_cursor_t  next;

    static const char *tenants[] = { "a", "a", "a", "b", "t7", "" };

    memset(&t, 0, sizeof(t));
    seed = led_seed;
    led_seed = 4711;

    for (i = 0; i < LISTS; i++) {
        memset(&list, 0, sizeof(list));
        list.tenant = str(tenants[rnd(6)]);
        list.status = rnd(3) ? -1 : (int) rnd(4);
        list.sort = i % 3 ? CYCLES_BY_CREATED : rnd(CYCLES_BY_STATUS + 1);
        list.ascending = rnd(2);
        list.limit = rnd(2) ? 500 : 7 + rnd(50);

        if (rnd(3) == 0) {
            list.levels[CYCLES_APP] = str(rnd(2) ? "X" : "y");
        }

        if (rnd(4) == 0) {
            list.scope_filter = str("tenant:*/app:x");
        }

        if (rnd(3) == 0) {
            list.created.limited = 1;
            list.created.from = T0 + rnd(1000);
            list.created.to = list.created.from + rnd(300);
        }

        if (rnd(5) == 0) {
            list.finalized.limited = 1;
            list.finalized.from = T0 + rnd(1000);
            list.finalized.to = list.finalized.from + rnd(300);
        }

        text_add(&t, "list %u: sort %d %s, status %d, %.*s\n", i, list.sort,
                 list.ascending ? "up" : "down", list.status,
                 (int) list.tenant.len, list.tenant.data);

        next.len = 0;

        for (n = 0; n == 0 || next.len; n++) {
            cycles_cursor_t  from = next;

            list.cursor.data = (unsigned char *) from.text;
            list.cursor.len = from.len;
            code = cycles_ledger_list(l, &list, list_row, &t, &next,
                                      T0 + 5000, led_err, sizeof(led_err));

            if (code != CYCLES_OK) {
                text_add(&t, "failed with %d: %s\n", code, led_err);
                break;
            }
        }

        text_add(&t, "%u bundles\n", n);
    }

    led_seed = seed;

    return t.text;
}


/* keys as nginx makes them, and that of the settlement; or others */

static void
keys(char *key, char *settle, size_t size)
{
    char  *digit;

    snprintf(key, size, "%08x-aaaa-4bbb-8ccc-%012x", (unsigned) rnd(1u << 31),
             (unsigned) rnd(1u << 31));
    snprintf(settle, size, "%s", key);

    digit = settle + strlen(settle) - 1;
    *digit = (*digit == '9') ? 'a' : (*digit == 'f') ? '0' : *digit + 1;

    switch (rnd(16)) {

    case 0:
        key[3] = 'A';
        break;

    case 1:
        snprintf(key, size, "%s", "a \"key\"");
        break;

    case 2:
        snprintf(key, size, "key-%u", (unsigned) rnd(1000));
        break;

    case 3:
        snprintf(settle, size, "%s", key);
        break;

    case 4:
        snprintf(settle, size, "%s", "a \"key\"");
        break;

    case 5:
        snprintf(settle, size, "settle-%u", (unsigned) rnd(1000));
        break;

    case 6:
        key[35] = '\0';
        break;

    default:
        break;
    }
}


/* most are much alike; some are something else */

static void
reservation(cycles_ledger_t *l, unsigned i, char *id)
{
    char              key[64], settle[64], subject[64], trace[64], other[64];
    cycles_pair_t     pairs[2];
    cycles_str_t      tags[2];
    cycles_commit_t   commit;
    cycles_reserve_t  rq;

    static const char *subjects[] = {
        "a//x", "a//x", "a", "b//y", "A//X", "b/w/x/f/g/s", "/w", "rich"
    };
    static const char *models[] = {
        "gpt-4o", "gpt-4o-mini", "", "a \"model\""
    };
    static const char *names[] = {
        "openai:gpt-4o", "a \"name\"", "\303\266", "a\\b"
    };
    static const char *traces[] = {
        "", "0123456789abcdef0123456789abcdef",
        "0123456789ABCDEF0123456789ABCDEF", "00000000000000000000000000000000",
        "short", "a \"trace\""
    };

    keys(key, settle, sizeof(key));
    snprintf(trace, sizeof(trace), "%032u", i);
    snprintf(other, sizeof(other), "%s", trace);
    snprintf(subject, sizeof(subject), "%s", subjects[rnd(8)]);

    if (rnd(3) == 0) {
        snprintf(subject, sizeof(subject), "t%u", (unsigned) rnd(TENANTS));
    }

    if (rnd(4) == 0) {
        snprintf(trace, sizeof(trace), "%s", traces[rnd(6)]);
    }

    if (rnd(4) == 0) {
        snprintf(other, sizeof(other), "%s", traces[rnd(6)]);
    }

    if (rnd(10) == 0) {
        snprintf(key, sizeof(key), "given-%u", i);
    }

    rq = led_reserve_rq(subject, key, 1 + rnd(100));
    rq.fresh_key = (key[0] != 'g');
    rq.trace_id = str(trace);

    if (rnd(12) == 0) {
        rq.metadata = str("{\"a\":1}");
    }

    if (rnd(12) == 0) {
        rq.ttl_ms = 20000;
    }

    if (rnd(6) == 0) {
        rq.subject.ndimensions = 1 + rnd(2);
        rq.subject.dimensions = pairs;
        pairs[0].key = str("team");
        pairs[0].value = str(rnd(2) ? "red" : "bl}],[{ue");
        pairs[1].key = str("what");
        pairs[1].value = str(rnd(2) ? "a \"}value\"" : "plain");
    }

    if (rnd(6) == 0) {
        rq.action.ntags = 1 + rnd(2);
        rq.action.tags = tags;
        tags[0] = str("]],[[");
        tags[1] = str(rnd(2) ? "a \"tag\"" : "");
    }

    if (rnd(8) == 0) {
        rq.action.name = str(names[rnd(4)]);
    }

    if (rnd(12) == 0) {
        rq.action.kind = str("tool");
    }

    if (led_do_reserve(l, &rq, T0 + i / 2) != CYCLES_OK) {
        printf("# reserve %u for %s failed\n", i, subject);
    }

    strcpy(id, led_rs.id);

    switch (rnd(20)) {

    case 0:
        break;

    case 1:
        led_release_why(l, id, "r", "because", T0 + i / 2 + 1);
        break;

    case 2:
        led_extend(l, id, "x", 5000, T0 + i / 2 + 1);

        /* fall through */

    default:
        commit = led_commit_rq(settle, rnd(150));
        commit.trace_id = str(other);
        commit.fresh_key = (rnd(12) != 0);
        commit.metrics.model_version = str(models[rnd(30) ? rnd(3) : 3]);
        commit.metrics.tokens_input = rnd(5) ? (int64_t) rnd(1000) : -1;
        commit.metrics.tokens_output = rnd(5) ? (int64_t) rnd(1000) : -1;
        commit.metrics.latency_ms = rnd(5) ? (int64_t) rnd(1000) : -1;

        if (rnd(12) == 0) {
            commit.metrics.custom = str("{\"cached\":7}");
        }

        if (rnd(12) == 0) {
            commit.metadata = str("{\"b\":[1,2]}");
        }

        if (cycles_ledger_commit(l, str(id), &commit, &led_st,
                                 T0 + i / 2 + rnd(20))
            != CYCLES_OK)
        {
            printf("# commit %u failed\n", i);
        }
    }
}


/* as nginx does it */

static cycles_code_t
commit_fresh(cycles_ledger_t *l, const char *id, const char *key,
    int64_t actual, int64_t now)
{
    cycles_commit_t  commit;

    commit = led_commit_rq(key, actual);
    commit.fresh_key = 1;

    return cycles_ledger_commit(l, str(id), &commit, &led_st, now);
}


/* nothing is like what was before it */

static void
turn(cycles_ledger_t *l, unsigned i)
{
    char              key[64], settle[64], subject[64];
    int64_t           now;
    cycles_reserve_t  rq;

    now = T0 + (RESERVATIONS + ALIKE) / 2 + i;

    keys(key, settle, sizeof(key));
    snprintf(subject, sizeof(subject), "t%u", i % TENANTS);

    rq = led_reserve_rq(subject, key, 1 + rnd(100));
    rq.fresh_key = 1;
    led_do_reserve(l, &rq, now);
    commit_fresh(l, led_rs.id, settle, rnd(100), now);
}


/* bundles that follow each other, and lie side by side */

static void
alike(cycles_ledger_t *l, unsigned i)
{
    char              key[64];
    cycles_reserve_t  rq;

    snprintf(key, sizeof(key), "alike-%u", i);

    rq = led_reserve_rq(i % 2 ? "a" : "a//x", key, 1 + rnd(100));
    rq.fresh_key = 1;
    led_do_reserve(l, &rq, T0 + RESERVATIONS / 2 + i);
    commit_fresh(l, led_rs.id, key, 7, T0 + RESERVATIONS / 2 + i);
}


static int
list_count(void *data, const cycles_reservation_t *row)
{
    (void) row;
    ++*(unsigned *) data;

    return 0;
}


/* a list that just takes all of the first few bundles goes on behind them */

static void
test_enough(cycles_ledger_t *l)
{
    unsigned         n;
    cycles_list_t    list;
    cycles_cursor_t  next;

    memset(&list, 0, sizeof(list));
    list.tenant = str("a");
    list.status = -1;
    list.limit = atoi(query(l, "SELECT count(*) FROM reservations WHERE"
                            " tenant_id = 'a' AND created_at_ms > (SELECT"
                            " created_to_ms FROM reservation_bundles WHERE"
                            " tenant_id = 'a' ORDER BY created_to_ms DESC"
                            " LIMIT 1 OFFSET 4)"));
    n = 0;
    is_int(cycles_ledger_list(l, &list, list_count, &n, &next, T0 + 5000,
                              led_err, sizeof(led_err)),
           CYCLES_OK, "a list of %u", list.limit);
    is_int(n, list.limit, "has as many");
    ok(next.len > 0, "and is not the end");
}


static void
test_same(void)
{
    char             *rows, *bundles, *listed, *again, path[600];
    char              id[40];
    unsigned          i, n;
    cycles_ledger_t  *l;

    static char       budgets[8192];

    n = snprintf(budgets, sizeof(budgets), "tenant:a 900000000000 0,"
                 "tenant:a/app:x 800000000000 0,tenant:b 900000000000 0,"
                 "workspace:w 900000000000 0,"
                 "tenant:rich 9223372036854775807 0");

    for (i = 0; i < TENANTS; i++) {
        n += snprintf(budgets + n, sizeof(budgets) - n,
                      ",tenant:t%u 900000000000 0", i);
    }

    l = led_fresh(budgets);

    for (i = 0; i < RESERVATIONS + ALIKE + TURNS; i++) {

        if (i < RESERVATIONS) {
            reservation(l, i, id);

        } else if (i < RESERVATIONS + ALIKE) {
            alike(l, i - RESERVATIONS);

        } else {
            turn(l, i - RESERVATIONS - ALIKE);
        }

        if (fold(l) != 0) {
            break;
        }
    }

    is_str(query(l, "SELECT count(*), (SELECT count(*) FROM"
                 " reservation_bundles) FROM reservation_rows"),
           "2200|0", "each in its own batch is a row");
    rows = dump(l, "SELECT * FROM reservations ORDER BY seq");
    listed = lists(l);
    cycles_ledger_close(l);

    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/ledger.db%s", led_dir,
                 i == 0 ? "" : i == 1 ? "-wal" : "-shm");
        unlink(path);
    }

    l = led_open();
    is_int(fold(l), 0, "once more, all at once");

    is_str(query(l, "SELECT sum(n < 128), max(n), sum(n) > 1300, sum(n)"
                 " + (SELECT count(*) FROM reservation_rows) FROM (SELECT "
                 IN_BUNDLE " AS n FROM reservation_bundles)"),
           "1|128|1|2200", "bundles are full, and nothing is lost");

    bundles = dump(l, "SELECT * FROM reservations ORDER BY seq");
    is_text(bundles, rows, "the view is the same");
    free(bundles);

    bundles = dump(l, "SELECT * FROM (SELECT * FROM reservation_rows UNION"
                   " ALL " CYCLES_BUNDLE_FAST ") ORDER BY seq");
    is_text(bundles, rows, "and what is read the fast way");

    again = lists(l);
    is_text(again, listed, "and all lists");

    is_str(query(l, "SELECT count(*) > 10, sum(cycles_has(tenants, 't7'))"
                 " BETWEEN 1 AND 3, sum(cycles_has(tenants, 'nobody')) < 2"
                 " FROM reservation_bundles"),
           "1|1|1", "few of them are looked into for one tenant");
    is_str(query(l, "SELECT sum(least), sum(most = last_seq - first_seq) ="
                 " count(*) FROM (SELECT min(r.value ->> 0) AS least,"
                 " max(r.value ->> 0) AS most, last_seq, first_seq FROM"
                 " reservation_bundles AS b, json_each(b.rows) AS q,"
                 " json_each(q.value) AS r GROUP BY first_seq)"),
           "0|1", "they know their first and last numbers");

    test_enough(l);
    cycles_ledger_close(l);

    free(rows);
    free(bundles);
    free(listed);
    free(again);
}


/* what is in one batch has nothing to do with what is in the next one */

static void
test_batches(void)
{
    char              key[64], subject[16];
    unsigned          i, k;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    static const char *names[] = { "one", "two", "six" };

    l = led_fresh("tenant:a 100000000 0,tenant:b 100000000 0");

    for (i = 0; i < 3; i++) {

        for (k = 0; k < 40; k++) {
            snprintf(key, sizeof(key), "k-%u-%u", i, k);
            snprintf(subject, sizeof(subject), "%s//%c",
                     k % 3 == 2 ? "a" : "b", "xyz"[k % 3]);
            rq = led_reserve_rq(subject, key, 10);
            rq.action.name = str(names[k % 3 ? i : 0]);
            rq.fresh_key = 1;
            led_do_reserve(l, &rq, T0 + i);
            commit_fresh(l, led_rs.id, key, i, T0 + i);
        }

        is_int(fold(l), 0, "batch %u", i);
    }

    is_str(query(l, "SELECT group_concat(r || n) FROM (SELECT r, count(*) AS"
                 " n FROM (SELECT substr(scope_path, 8) || ' ' || action_name"
                 " || ' ' || actual || ' ' AS r FROM reservations) GROUP BY r"
                 " ORDER BY r)"),
           "a/app:z one 0 13,a/app:z six 2 13,a/app:z two 1 13,"
           "b/app:x one 0 14,b/app:x one 1 14,b/app:x one 2 14,"
           "b/app:y one 0 13,b/app:y six 2 13,b/app:y two 1 13",
           "each has its own");
    cycles_ledger_close(l);
}


static int
took(void *data, const cycles_reservation_t *row)
{
    *(int64_t *) data = row->reserved;
    return 0;
}


/* what memory has forgotten is found in a bundle */

static void
test_found(void)
{
    char              key[32], id[300][40], other[40];
    uint8_t           bin[16];
    int64_t           reserved;
    unsigned          i, wrong;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh("tenant:a 100000000 0");

    for (i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 1000 + i);
        rq.fresh_key = 1;
        led_do_reserve(l, &rq, T0);
        strcpy(id[i], led_rs.id);
    }

    for (i = 300; i-- > 0; /* void */ ) {
        snprintf(key, sizeof(key), "c%u", i);
        commit_fresh(l, id[i], key, 500 + i, T0);
    }

    is_int(fold(l), 0, "fold");
    is_str(query(l, "SELECT group_concat(" IN_BUNDLE ") FROM"
                 " (SELECT * FROM reservation_bundles ORDER BY first_seq)"),
           "128,128,44", "three bundles");
    is_str(query(l, "SELECT min(last_seq > first_seq), sum(last_seq ="
                 " first_seq + (rows ->> '$[0][#-1][0]')), sum(rows ->>"
                 " '$[0][0][0]') FROM reservation_bundles"),
           "1|3|0", "in order");
    cycles_ledger_close(l);

    l = led_open();

    for (wrong = 0, i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "c%u", i);
        reserved = 0;

        wrong += cycles_ledger_reservation(l, str(id[i]), took, &reserved,
                                           T0, led_err, sizeof(led_err))
                 != CYCLES_OK;
        wrong += reserved != 1000 + i;
        wrong += led_commit(l, id[i], key, 500 + i, T0)
                 != CYCLES_RESERVATION_FINALIZED;
        wrong += led_commit(l, id[i], "another", 500 + i, T0)
                 != CYCLES_RESERVATION_FINALIZED;
        wrong += led_release(l, id[i], "r", T0)
                 != CYCLES_RESERVATION_FINALIZED;
    }

    is_int(wrong, 0, "each is answered as it was");
    is_str(led_balance(l, "tenant:a"), "r99805150 h0 s194850 d0", "once");

    is_int(cycles_id_parse(str(id[7]), bin), 0, "an id");
    i = cycles_ledger_id_seq(l, bin);
    bin[7] ^= 1;
    cycles_ledger_id_number(l, bin, i);
    cycles_id_print(bin, other);
    is_int(cycles_ledger_reservation(l, str(other), took, &reserved, T0,
                                     led_err, sizeof(led_err)),
           CYCLES_NOT_FOUND, "another id of the same number is not found");
    is_int(led_commit(l, other, "c7", 507, T0), CYCLES_NOT_FOUND,
           "nor settled");
    cycles_ledger_close(l);
}


#define DAY  86400000LL


/* a bundle goes when all that is in it has ended long ago */

static void
test_retention(void)
{
    char              key[32];
    unsigned          i;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh("tenant:a 100000000 0");

    for (i = 0; i < 2600; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 10);
        rq.fresh_key = 1;
        led_do_reserve(l, &rq, T0);
        commit_fresh(l, led_rs.id, key, 10, i == 100 ? T0 + 5000 : T0);
    }

    is_int(fold_at(l, T0 + 30 * DAY, 30 * DAY), 0, "after 30 days");
    is_str(query(l, "SELECT count(*), (SELECT count(*) FROM"
                 " reservation_bundles) FROM reservations"),
           "2600|21", "all are there");
    is_int(fold_at(l, T0 + 30 * DAY + 1, 30 * DAY), 0, "a little later");
    is_str(query(l, "SELECT count(*), min(idempotency_key),"
                 " max(idempotency_key) FROM reservations"),
           "128|k0|k99", "only the bundle with the one that ended later");
    is_int(fold_at(l, T0 + 30 * DAY + 5000, 30 * DAY), 0, "still later");
    is_str(query(l, "SELECT count(*) FROM reservations"), "128", "the same");
    is_int(fold_at(l, T0 + 30 * DAY + 5001, 30 * DAY), 0, "then");
    is_str(query(l, "SELECT count(*) FROM reservations"), "0", "nothing");
    cycles_ledger_close(l);
}


/* what no bundle has is no reason to read past its end */

static void
test_damaged(void)
{
    char              key[32], path[600], sql[512];
    sqlite3          *db;
    unsigned          i, n;
    cycles_list_t     list;
    cycles_code_t     code;
    cycles_ledger_t  *l;
    cycles_cursor_t   next;
    cycles_reserve_t  rq;

    static const struct {
        const char  *column, *text;
    } t[] = {
        { "rows", "" }, { "rows", "{" }, { "rows", "[" }, { "rows", "[[" },
        { "rows", "[[[" }, { "rows", "[[[1" }, { "rows", "[[[1]" },
        { "rows", "[[[1]]" }, { "rows", "[[[1,\"2" }, { "rows", "[[1]]" },
        { "rows", "[[[]]]" }, { "rows", "[[[-]]]" }, { "rows", "[[[1x]]]" },
        { "rows", "[[[nul]]]" }, { "rows", "[[[1,[2]]" },
        { "rows", "[[[9223372036854775808]]]" },
        { "rows", "[[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]]]" },
        { "rows", "[[[1]],[[2]]]" }, { "rows", "[,]" },
        { "rows", "[[[1],[1],[1],[1],[1],[1],[1],[1],[1],[1],[1]]]" },
        { "requests", "" }, { "requests", "[" }, { "requests", "[]" },
        { "requests", "[[0,0,0,[1],null,null,\"a\"]" },
        { "requests", "[[0,0,0,[1],null,null,\"a\"" },
        { "requests", "[[0,0,0,[1],null,null]]" },
        { "requests", "[[0,1,0,[1],null,null,\"a\"]]" },
        { "requests", "[[1,0,0,[1],null,null,\"a\"]]" },
        { "requests", "[[-1,0,0,[1],null,null,\"a\"]]" },
        { "requests", "[[0,0,0,[1],null,null,\"a\"],[10,0,0]]" },
        { "requests", "[[0,0,0,[1],null,null,\"a\",1,2,3,4,5,6,7,8]]" },
        { "actions", "" }, { "actions", "[" }, { "actions", "[[1,{]" },
        { "actions", "[[\"a\"" }, { "actions", "[[1,2,3,4,5,6,7,8,9,10]]" },
        { "names", "short" }
    };

    l = led_fresh("tenant:a 1000 0");

    for (i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 1);
        rq.fresh_key = 1;
        led_do_reserve(l, &rq, T0);
        commit_fresh(l, led_rs.id, key, 1, T0);
    }

    is_int(fold(l), 0, "fold");

    memset(&list, 0, sizeof(list));
    list.tenant = str("a");
    list.status = -1;
    list.limit = 50;

    snprintf(path, sizeof(path), "%s/ledger.db", led_dir);

    if (sqlite3_open(path, &db) != SQLITE_OK
        || sqlite3_exec(db, "CREATE TABLE kept AS SELECT * FROM"
                        " reservation_bundles", NULL, NULL, NULL)
           != SQLITE_OK)
    {
        printf("# %s\n", sqlite3_errmsg(db));
    }

    sqlite3_close(db);

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        snprintf(sql, sizeof(sql), "DELETE FROM kept; INSERT INTO kept SELECT"
                 " * FROM reservation_bundles; UPDATE reservation_bundles SET"
                 " %s = '%s'", t[i].column, t[i].text);

        if (sqlite3_open(path, &db) != SQLITE_OK
            || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        {
            printf("# %s: %s\n", sql, sqlite3_errmsg(db));
        }

        n = 0;
        led_err[0] = '\0';
        code = cycles_ledger_list(l, &list, list_count, &n, &next, T0,
                                  led_err, sizeof(led_err));
        ok(code == CYCLES_INTERNAL_ERROR && strstr(led_err, "ledger.db"),
           "%s '%s': %d, %s", t[i].column, t[i].text, code, led_err);

        (void) sqlite3_exec(db, "DELETE FROM reservation_bundles; INSERT INTO"
                            " reservation_bundles SELECT * FROM kept", NULL,
                            NULL, NULL);
        sqlite3_close(db);
    }

    n = 0;
    is_int(cycles_ledger_list(l, &list, list_count, &n, &next, T0, led_err,
                              sizeof(led_err)),
           CYCLES_OK, "as it was");
    is_int(n, 10, "there are all of them");

    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_same();
    test_batches();
    test_found();
    test_retention();
    test_damaged();

    return done_testing();
}
