
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reservations that are alike are one row of reservation_bundles.  Nobody may
 * see a difference: what was folded one by one, and once more from the same
 * log all at once, looks the same.
 */


#include <stdarg.h>

#include "ledger_db.h"


/* of all kinds, and then of two kinds */
#define RESERVATIONS  600
#define ALIKE         1000

#define LISTS         60


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


/* all that the view shows, with the types of its values */

static char *
dump(cycles_ledger_t *l)
{
    int            i;
    char          *value;
    text_t         t;
    sqlite3       *db;
    sqlite3_stmt  *st;

    memset(&t, 0, sizeof(t));
    db = cycles_ledger_database(l, led_err, sizeof(led_err));

    if (db == NULL
        || sqlite3_prepare_v2(db, "SELECT * FROM reservations ORDER BY seq",
                              -1, &st, NULL) != SQLITE_OK)
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

    memset(&t, 0, sizeof(t));
    seed = led_seed;
    led_seed = 4711;

    for (i = 0; i < LISTS; i++) {
        memset(&list, 0, sizeof(list));
        list.tenant = str(rnd(4) ? "a" : "b");
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


/* most are alike; each tenth is something else */

static void
reservation(cycles_ledger_t *l, unsigned i, char *id)
{
    char              key[64], trace[40];
    cycles_pair_t     team;
    cycles_commit_t   commit;
    cycles_reserve_t  rq;

    static const char *subjects[] = { "a//x", "a//x", "a", "b//y" };
    static const char *models[] = { "gpt-4o", "gpt-4o-mini", "" };

    snprintf(key, sizeof(key), "key-%u", i);
    snprintf(trace, sizeof(trace), "%032u", i);

    rq = led_reserve_rq(subjects[rnd(4)], key, 1 + rnd(100));
    rq.fresh_key = (rnd(10) != 0);
    rq.trace_id = str(rnd(10) ? trace : "");

    if (rnd(12) == 0) {
        rq.metadata = str("{\"a\":1}");
    }

    if (rnd(12) == 0) {
        rq.ttl_ms = 20000;
    }

    if (rnd(12) == 0) {
        rq.subject.ndimensions = 1;
        rq.subject.dimensions = &team;
        team.key = str("team");
        team.value = str(rnd(2) ? "red" : "blue");
    }

    led_do_reserve(l, &rq, T0 + i / 2);
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
        commit = led_commit_rq(rnd(10) ? key : "a \"key\"", rnd(150));
        commit.trace_id = str(rnd(3) ? trace : "");
        commit.fresh_key = (rnd(3) != 0);
        commit.metrics.model_version = str(models[rnd(3)]);
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
    led_commit(l, led_rs.id, key, 7, T0 + RESERVATIONS / 2 + i);
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
    unsigned          i;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 900000000000 0,tenant:b 900000000000 0");

    for (i = 0; i < RESERVATIONS + ALIKE; i++) {

        if (i < RESERVATIONS) {
            reservation(l, i, id);

        } else {
            alike(l, i - RESERVATIONS);
        }

        if (fold(l) != 0) {
            break;
        }
    }

    is_str(query(l, "SELECT count(*), (SELECT count(*) FROM"
                 " reservation_bundles) FROM reservation_rows"),
           "1600|0", "each in its own batch is a row");
    rows = dump(l);
    listed = lists(l);
    cycles_ledger_close(l);

    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/ledger.db%s", led_dir,
                 i == 0 ? "" : i == 1 ? "-wal" : "-shm");
        unlink(path);
    }

    l = led_open();
    is_int(fold(l), 0, "once more, all at once");
    ok(atoi(query(l, "SELECT count(*) FROM reservation_bundles")) > 16,
       "bundles: %s", query(l, "SELECT count(*) FROM reservation_bundles"));
    ok(atoi(query(l, "SELECT count(*) FROM reservation_rows")) < 1000,
       "rows: %s", query(l, "SELECT count(*) FROM reservation_rows"));
    is_str(query(l, "SELECT min(n), max(n) > 100, sum(n) + (SELECT"
                 " count(*) FROM reservation_rows) FROM (SELECT"
                 " json_array_length(rows) AS n FROM reservation_bundles)"),
           "4|1|1600", "bundles are not small, and nothing is lost");

    bundles = dump(l);
    again = lists(l);
    is_text(bundles, rows, "the view is the same");
    is_text(again, listed, "and all lists");
    test_enough(l);
    cycles_ledger_close(l);

    free(rows);
    free(bundles);
    free(listed);
    free(again);
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
        led_commit(l, id[i], key, 500 + i, T0);
    }

    is_int(fold(l), 0, "fold");
    is_str(query(l, "SELECT group_concat(json_array_length(rows)) FROM"
                 " (SELECT * FROM reservation_bundles ORDER BY first_seq)"),
           "128,128,44", "three bundles");
    is_str(query(l, "SELECT min(last_seq >= first_seq), sum(last_seq ="
                 " rows ->> '$[#-1][0]'), sum(first_seq = rows ->> '$[0][0]')"
                 " FROM reservation_bundles"),
           "1|3|3", "in order");
    cycles_ledger_close(l);

    l = led_open();

    for (wrong = 0, i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "c%u", i);
        reserved = 0;

        wrong += cycles_ledger_reservation(l, str(id[i]), took, &reserved,
                                           T0, led_err, sizeof(led_err))
                 != CYCLES_OK;
        wrong += reserved != 1000 + i;
        wrong += led_commit(l, id[i], key, 501 + i, T0)
                 != CYCLES_IDEMPOTENCY_MISMATCH;
        wrong += led_commit(l, id[i], key, 500 + i, T0) != CYCLES_OK;
        wrong += led_st.charged != 500 + i;
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
        led_commit(l, led_rs.id, key, 10, i == 100 ? T0 + 5000 : T0);
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
    char              key[32], path[600], sql[256];
    sqlite3          *db;
    unsigned          i, n;
    cycles_list_t     list;
    cycles_code_t     code;
    cycles_ledger_t  *l;
    cycles_cursor_t   next;
    cycles_reserve_t  rq;

    static const char *rows[] = {
        "", "{", "[", "[[", "[[1", "[[1]", "[[1]]", "[[1,\"2", "[[1,\"2\"",
        "[1]", "[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]",
        "[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]]",
        "[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18][", "[,]"
    };

    l = led_fresh("tenant:a 1000 0");

    for (i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 1);
        rq.fresh_key = 1;
        led_do_reserve(l, &rq, T0);
        led_commit(l, led_rs.id, key, 1, T0);
    }

    is_int(fold(l), 0, "fold");

    memset(&list, 0, sizeof(list));
    list.tenant = str("a");
    list.status = -1;
    list.limit = 50;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(path, sizeof(path), "%s/ledger.db", led_dir);
        snprintf(sql, sizeof(sql), "UPDATE reservation_bundles SET rows ="
                 " '%s'", rows[i]);

        if (sqlite3_open(path, &db) != SQLITE_OK
            || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        {
            printf("# %s: %s\n", sql, sqlite3_errmsg(db));
        }

        sqlite3_close(db);

        n = 0;
        led_err[0] = '\0';
        code = cycles_ledger_list(l, &list, list_count, &n, &next, T0,
                                  led_err, sizeof(led_err));
        ok(code == CYCLES_INTERNAL_ERROR && strstr(led_err, "ledger.db"),
           "'%s': %d, %s", rows[i], code, led_err);
    }

    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_same();
    test_found();
    test_retention();
    test_damaged();

    return done_testing();
}
