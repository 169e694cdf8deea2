
/*
 * Copyright (C) nginx-cycles authors
 *
 * Sums of budgets in ledger.db: a row has those of 64 of them, and a batch is
 * written once.
 */


#include "ledger/cycles_ledger_admin.h"
#include "ledger_db.h"


#define BUDGETS  150
#define MANY     8500


typedef struct {
    sqlite3_stmt  *st;
    unsigned       n;
    unsigned       wrong;
} compare_t;


/* each budget of the memory, by what the view tells */

static int
compare_walk(void *data, const cycles_balance_t *b)
{
    compare_t      *c = data;
    sqlite3_stmt   *st = c->st;

    sqlite3_reset(st);
    sqlite3_bind_text(st, 1, (char *) b->scope_path.data,
                      (int) b->scope_path.len, SQLITE_TRANSIENT);

    c->n++;

    if (sqlite3_step(st) != SQLITE_ROW
        || sqlite3_column_int64(st, 0) != b->reserved
        || sqlite3_column_int64(st, 1) != b->spent
        || sqlite3_column_int64(st, 2) != b->debt
        || sqlite3_column_int(st, 3) != (int) b->is_over_limit
        || sqlite3_column_int64(st, 4) != b->remaining
        || sqlite3_column_type(st, 3) != SQLITE_INTEGER)
    {
        printf("# %.*s: %s, %s, %s, %s\n", (int) b->scope_path.len,
               b->scope_path.data, sqlite3_column_text(st, 0),
               sqlite3_column_text(st, 1), sqlite3_column_text(st, 2),
               sqlite3_column_text(st, 3));
        c->wrong++;
    }

    return 0;
}


static void
is_same(cycles_ledger_t *l, unsigned n, const char *name)
{
    sqlite3    *db;
    uint64_t    cursor;
    compare_t   c;

    memset(&c, 0, sizeof(c));
    cursor = 0;
    db = cycles_ledger_database(l, led_err, sizeof(led_err));

    if (db == NULL
        || sqlite3_prepare_v2(db, "SELECT reserved, spent, debt,"
                              " is_over_limit, remaining FROM balances WHERE"
                              " scope = ?", -1, &c.st, NULL) != SQLITE_OK)
    {
        printf("# %s\n", db ? sqlite3_errmsg(db) : led_err);
        exit(2);
    }

    do {
        cycles_ledger_balances(l, &cursor, 50, T0 + 100000, compare_walk, &c);
    } while (cursor);

    sqlite3_finalize(c.st);
    cycles_ledger_database_return(l, db);

    is_int(c.wrong, 0, "%s", name);
    is_int(c.n, n, "of %u budgets", n);
}


static void
no_budget(void *data, const cycles_budget_view_t *b)
{
    (void) data;
    (void) b;
}


static void
no_tenant(void *data, const cycles_tenant_def_t *t)
{
    (void) data;
    (void) t;
}


/* a tenant and its app, whose numbers follow each other */

static unsigned
define(cycles_ledger_t *l, unsigned n, int64_t allocated)
{
    char                 scope[64], name[32];
    unsigned             created, wrong;
    cycles_show_t        show;
    cycles_budget_def_t  def;
    cycles_tenant_def_t  tenant;

    memset(&show, 0, sizeof(show));
    show.tenant = no_tenant;
    show.budget = no_budget;

    snprintf(name, sizeof(name), "t%u", n);

    memset(&tenant, 0, sizeof(tenant));
    tenant.tenant_id = str(name);
    tenant.name = str(name);
    tenant.policy = CYCLES_POLICY_NONE;
    tenant.default_ttl_ms = -1;
    tenant.max_ttl_ms = -1;
    tenant.max_extensions = -1;

    wrong = cycles_ledger_tenant_create(l, &tenant, &created, &show, T0)
            != CYCLES_OK;

    memset(&def, 0, sizeof(def));
    def.unit = CYCLES_TOKENS;
    def.policy = CYCLES_POLICY_NONE;
    def.allocated = allocated;
    def.overdraft_limit = 50;

    snprintf(scope, sizeof(scope), "tenant:t%u", n);
    def.scope = str(scope);
    wrong += cycles_ledger_budget_create(l, &def, &show, T0) != CYCLES_OK;

    snprintf(scope, sizeof(scope), "tenant:t%u/app:a", n);
    def.scope = str(scope);
    wrong += cycles_ledger_budget_create(l, &def, &show, T0) != CYCLES_OK;

    return wrong;
}


/* some of it is folded when something else is defined */

static void
test_all(void)
{
    char              subject[32], key[32];
    int64_t           now;
    unsigned          i, n, rounds, wrong;
    cycles_ledger_t  *l;

    l = led_fresh(NULL);
    wrong = 0;
    n = 0;
    rounds = 0;

    for (i = 0; i < 6000; i++) {

        if (i % (6000 / BUDGETS) == 0) {
            wrong += define(l, n++, 300 + rnd(3000));
        }

        now = T0 + i;
        snprintf(key, sizeof(key), "k%u", i);
        snprintf(subject, sizeof(subject), "t%u%s", (unsigned) rnd(n),
                 rnd(2) ? "//a" : "");

        if (rnd(4) == 0) {
            led_event(l, subject, key, rnd(60), CYCLES_ALLOW_WITH_OVERDRAFT,
                      now);

        } else if (led_reserve_as(l, subject, key, rnd(40),
                                  rnd(2) ? CYCLES_ALLOW_WITH_OVERDRAFT
                                         : CYCLES_ALLOW_IF_AVAILABLE, now)
                   == CYCLES_OK)
        {
            switch (rnd(4)) {

            case 0:
                break;

            case 1:
                led_release(l, led_rs.id, key, now);
                break;

            default:
                led_commit(l, led_rs.id, key, rnd(80), now);
            }
        }

        if (rnd(300) == 0) {
            wrong += fold(l) != 0;
            rounds++;
        }
    }

    is_int(wrong, 0, "budgets are defined, and folded %u times", rounds);
    is_int(fold(l), 0, "the rest");
    is_same(l, 2 * BUDGETS, "all sums are in the tables");
    is_str(query(l, "SELECT count(*), min(json_array_length(spent)),"
                 " max(json_array_length(spent)), sum(is_over_limit ->> 63"
                 " IS NULL) FROM budget_sums"), "5|64|64|1",
           "of 64 budgets in a row");
    ok(atoi(query(l, "SELECT sum(is_over_limit) FROM budgets")) > 1,
       "some are over their limit: %s",
       query(l, "SELECT sum(is_over_limit) FROM budgets"));
    ok(atoi(query(l, "SELECT count(*) FROM budgets WHERE debt > 0")) > 3,
       "have debt: %s",
       query(l, "SELECT count(*) FROM budgets WHERE debt > 0"));
    ok(atoi(query(l, "SELECT count(*) FROM budgets WHERE reserved > 0")) > 3,
       "and live reservations: %s",
       query(l, "SELECT count(*) FROM budgets WHERE reserved > 0"));
    cycles_ledger_close(l);

    l = led_open_size(4 * 1024 * 1024, 0);
    is_same(l, 2 * BUDGETS, "and in memory once more");
    cycles_ledger_close(l);
}


/* the flag, each time in a batch of its own */

static void
test_over_limit(void)
{
    cycles_show_t      show;
    cycles_funded_t    rs;
    cycles_funding_t   rq;
    cycles_ledger_t   *l;

    l = led_fresh("tenant:a 100 0");
    led_event(l, "a", "e", 500, CYCLES_ALLOW_IF_AVAILABLE, T0);
    is_int(fold(l), 0, "fold");
    is_str(query(l, "SELECT is_over_limit FROM budgets"), "1", "over");

    memset(&show, 0, sizeof(show));
    memset(&rq, 0, sizeof(rq));
    rq.scope = str("tenant:a");
    rq.unit = CYCLES_TOKENS;
    rq.operation = CYCLES_CREDIT;
    rq.amount = 1000;
    rq.spent = -1;
    rq.idempotency_key = str("f");
    is_int(cycles_ledger_fund(l, &rq, &rs, T0), CYCLES_OK, "more of it");
    is_int(fold(l), 0, "fold");
    is_str(query(l, "SELECT is_over_limit FROM budgets"), "0", "not over");
    is_same(l, 1, "as in memory");
    cycles_ledger_close(l);
}


/* more than are gathered in a batch */

static void
test_many(void)
{
    char              subject[32];
    unsigned          i, wrong;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(64 * 1024 * 1024, 0);

    for (wrong = 0, i = 0; i < MANY; i++) {
        wrong += define(l, i, 1000);
    }

    wrong += fold(l) != 0;

    for (i = 0; i < MANY; i++) {
        snprintf(subject, sizeof(subject), "t%u//a", i);
        wrong += led_event(l, subject, subject, 1 + i % 900, 0, T0 + 1)
                 != CYCLES_OK;
    }

    is_int(wrong, 0, "many budgets");
    is_int(fold(l), 0, "and in one batch");
    is_str(query(l, "SELECT count(*), sum(spent), min(spent), max(spent) FROM"
                 " budgets"), "17000|7458500|1|900", "all of them");
    is_same(l, 2 * MANY, "as they are in memory");
    cycles_ledger_close(l);
}


/* what is no array of numbers is not read past its end, nor written over */

static void
test_damaged(void)
{
    char              path[600], sql[512];
    sqlite3          *db;
    unsigned          i;
    cycles_ledger_t  *l;

    static const char *texts[] = {
        "", "[", "]", "[]", "[1", "x", "[1,2", "[1,2]", "[1,2,", "[null,null]",
        "[null,null,null]", "[1,2,-]", "[1,2,nul]", "[1,2,3.5,4]",
        "[1,2,\"3\"]", "[1,2,9223372036854775808,4]",
        "[1,2,9223372036854775807]",
        "[1,2,3,4"
    };

    snprintf(path, sizeof(path), "%s/ledger.db", led_dir);

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        l = led_fresh("tenant:a 1000 0,tenant:b 1000 0");
        led_event(l, "b", "e", 3, 0, T0);
        is_int(fold(l), 0, "fold");

        snprintf(sql, sizeof(sql), "UPDATE budget_sums SET spent = '%s'",
                 texts[i]);

        if (sqlite3_open(path, &db) != SQLITE_OK
            || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        {
            printf("# %s: %s\n", sql, sqlite3_errmsg(db));
        }

        sqlite3_close(db);

        led_event(l, "b", "f", 4, 0, T0);
        is_int(fold(l), -1, "'%s': %s", texts[i], led_err);
        ok(strstr(led_err, "does not fit the log: restore it from a backup")
           != NULL, "it says what to do");
        is_str(query(l, "SELECT spent FROM budget_sums"), texts[i],
               "nothing is written");
        is_str(query(l, "SELECT count(*) FROM events"), "1",
               "nor the event");
        cycles_ledger_close(l);
    }

    /* one that is longer than any */

    l = led_fresh("tenant:a 1000 0,tenant:b 1000 0");
    is_int(fold(l), 0, "fold");
    is_int(sqlite3_open(path, &db), SQLITE_OK, "open");
    (void) sqlite3_exec(db, "UPDATE budget_sums SET spent = '[0,0,0,' ||"
                        " hex(zeroblob(10000)) || ']'", NULL, NULL, NULL);
    sqlite3_close(db);
    led_event(l, "b", "f", 4, 0, T0);
    is_int(fold(l), -1, "a long text: %s", led_err);
    cycles_ledger_close(l);

    /* an array that lacks one that is there */

    l = led_fresh("tenant:a 1000 0,tenant:b 1000 0");
    is_int(fold(l), 0, "fold");
    is_int(sqlite3_open(path, &db), SQLITE_OK, "open");
    (void) sqlite3_exec(db, "UPDATE budget_sums SET debt ="
                        " '[null,0,null]'", NULL, NULL, NULL);
    sqlite3_close(db);
    cycles_ledger_close(l);

    ok(led_open_size(4 * 1024 * 1024, 0) == NULL,
       "there is no start without a budget's debt");
    ok(strstr(led_err, "is damaged: restore it from a backup") != NULL,
       "it says so: %s", led_err);
}


int
main(void)
{
    led_start();

    test_all();
    test_over_limit();
    test_many();
    test_damaged();

    return done_testing();
}
