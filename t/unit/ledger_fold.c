
/*
 * Copyright (C) nginx-cycles authors
 *
 * Folding the log into ledger.db: what is in the tables afterwards.
 */


#include <sqlite3.h>

#include "ledger.h"


/* the first row of a query as "a|b|c", NULL as "-" */

static const char *
query(cycles_ledger_t *l, const char *sql)
{
    int            i, n;
    sqlite3       *db;
    const char    *text;
    sqlite3_stmt  *st;
    static char    row[8][1024];
    static int     slot;

    slot = (slot + 1) % 8;
    row[slot][0] = '\0';
    db = cycles_ledger_database(l, led_err, sizeof(led_err));

    if (db == NULL) {
        return led_err;
    }

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) {
        snprintf(row[slot], sizeof(row[slot]), "%s", sqlite3_errmsg(db));
        cycles_ledger_database_return(l, db);
        return row[slot];
    }

    if (sqlite3_step(st) == SQLITE_ROW) {
        for (n = 0, i = 0; i < sqlite3_column_count(st); i++) {
            text = (const char *) sqlite3_column_text(st, i);
            n += snprintf(row[slot] + n, sizeof(row[slot]) - n, "%s%s",
                          i ? "|" : "", text ? text : "-");
        }
    }

    sqlite3_finalize(st);
    cycles_ledger_database_return(l, db);

    return row[slot];
}


static cycles_fold_t  folded;


static int
fold(cycles_ledger_t *l)
{
    int  rc;

    cycles_ledger_want_folded(l, cycles_ledger_written(l));

    do {
        rc = cycles_ledger_fold(l, T0 + 5000, &folded, led_err,
                                sizeof(led_err));
    } while (rc == 0 && folded.more);

    if (rc != 0) {
        printf("# fold: %s\n", led_err);
    }

    return rc;
}


/* sums in the tables are those of memory */

typedef struct {
    cycles_ledger_t  *ledger;
    unsigned          wrong;
} compare_t;


static int
compare_walk(void *data, const cycles_balance_t *b)
{
    compare_t   *c = data;
    char         sql[CYCLES_MAX_SCOPE + 256], want[256];
    const char  *got;

    snprintf(sql, sizeof(sql), "SELECT allocated, remaining, reserved, spent,"
             " debt, overdraft_limit, is_over_limit FROM balances WHERE scope"
             " = '%.*s' AND unit = '%s'", (int) b->scope_path.len,
             b->scope_path.data, cycles_unit_name(b->unit));
    snprintf(want, sizeof(want), "%lld|%lld|%lld|%lld|%lld|%lld|%d",
             (long long) b->allocated, (long long) b->remaining,
             (long long) b->reserved, (long long) b->spent,
             (long long) b->debt, (long long) b->overdraft_limit,
             b->is_over_limit);

    got = query(c->ledger, sql);

    if (strcmp(got, want) != 0) {
        printf("# %.*s: got %s, want %s\n", (int) b->scope_path.len,
               b->scope_path.data, got, want);
        c->wrong++;
    }

    return 0;
}


static unsigned
compare(cycles_ledger_t *l)
{
    uint64_t   cursor;
    compare_t  c;

    c.ledger = l;
    c.wrong = 0;
    cursor = 0;

    do {
        cycles_ledger_balances(l, &cursor, 7, compare_walk, &c);
    } while (cursor);

    return c.wrong;
}


static void
test_tables(void)
{
    char              id[40];
    cycles_event_t    event;
    cycles_commit_t   commit;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh(NULL);
    led_budgets(l, "{\"tenants\":[{\"tenant_id\":\"acme\",\"name\":\"Acme\"}],"
                "\"budgets\":[{\"scope\":\"tenant:acme\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1000},"
                "\"caps\":{\"above_percent\":5,\"max_tokens\":7,"
                "\"tool_denylist\":[\"x\"]}},"
                "{\"scope\":\"tenant:acme/app:b\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":900}}]}");

    rq = led_reserve_rq("Acme//B", "first", 100);
    rq.metadata = str("{\"a\":1}");
    rq.subject.ndimensions = 1;
    rq.subject.dimensions[0].key = str("team");
    rq.subject.dimensions[0].value = str("\"red\"");
    rq.action.ntags = 2;
    rq.action.tags[0] = str("one");
    rq.action.tags[1] = str("two");
    rq.trace_id = str("0123456789abcdef0123456789abcdef");
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK, "reserve");
    strcpy(id, led_rs.id);

    is_int(fold(l), 0, "fold");
    is_int(cycles_ledger_folded(l), cycles_ledger_written(l), "all of it");
    is_int(folded.folded, cycles_ledger_written(l), "says so");
    is_int(compare(l), 0, "sums");

    is_str(query(l, "SELECT tenant_id, name, status FROM tenants"),
           "acme|Acme|ACTIVE", "tenants");
    is_str(query(l, "SELECT scope, caps_above_percent, caps_max_tokens,"
                 " caps_tool_denylist, caps_cooldown_ms, status FROM budgets"
                 " WHERE id = 1"),
           "tenant:acme|5|7|[\"x\"]|-|ACTIVE", "budgets");
    is_str(query(l, "SELECT reservation_id, status, tenant_id,"
                 " idempotency_key, scope_path, subject_tenant,"
                 " subject_workspace, subject_app, subject_dimensions,"
                 " action_kind, action_name, action_tags, unit,"
                 " overage_policy, decision, estimate, created_at_ms,"
                 " expires_at_ms, ttl_ms, grace_period_ms, extensions,"
                 " budgets, trace_id, metadata, finalized_at_ms"
                 " FROM reservations") + 36,
           "|ACTIVE|acme|first|tenant:acme/app:b|Acme|-|B|"
           "{\"team\":\"\\\"red\\\"\"}|llm.completion|openai:gpt-4o-mini|"
           "[\"one\",\"two\"]|TOKENS|ALLOW_IF_AVAILABLE|ALLOW|100|"
           "1700000000000|1700000010000|10000|2000|0|[1,2]|"
           "0123456789abcdef0123456789abcdef|{\"a\":1}|-", "reservations");
    is_str(query(l, "SELECT reservation_id FROM reservations"), id, "its id");

    led_extend(l, id, "x1", 5000, T0 + 1);
    commit = led_commit_rq("done", 60);
    commit.metadata = str("{\"b\":2}");
    commit.metrics.tokens_input = 3;
    commit.metrics.model_version = str("m");
    is_int(cycles_ledger_commit(l, str(id), &commit, &led_st, T0 + 2),
           CYCLES_OK, "commit");
    is_int(led_reserve(l, "acme", "second", 100, T0 + 3), CYCLES_OK,
           "with caps");
    is_int(led_rs.decision, CYCLES_ALLOW_WITH_CAPS, "they apply");
    led_release_why(l, led_rs.id, "r", "because", T0 + 4);
    led_reserve(l, "acme", "third", 100, T0 + 5);
    cycles_ledger_expire(l, T0 + 20000, 10, &(int64_t) { 0 });

    memset(&event, 0, sizeof(event));
    event.idempotency_key = str("e");
    event.subject = led_subject("acme");
    event.action = rq.action;
    event.unit = CYCLES_TOKENS;
    event.actual = 7;
    event.policy = CYCLES_POLICIES;
    event.metrics.tokens_input = -1;
    event.metrics.tokens_output = 9;
    event.metrics.latency_ms = -1;
    event.client_time_ms = 5;
    is_int(cycles_ledger_event(l, &event, &led_st, T0 + 6), CYCLES_OK,
           "event");

    rq = led_reserve_rq("acme", "asked", 100000);
    rq.decide = 1;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0 + 7), CYCLES_OK,
           "decision");

    is_int(fold(l), 0, "fold");
    is_int(compare(l), 0, "sums");
    is_str(query(l, "SELECT status, finalized_at_ms, actual, charged,"
                 " settle_key, committed_metadata, tokens_input,"
                 " tokens_output, model_version, texts_omitted, extensions,"
                 " expires_at_ms, granted_until_ms FROM reservations WHERE"
                 " idempotency_key = 'first'"),
           "COMMITTED|1700000000002|60|60|done|{\"b\":2}|3|-|m|0|1|"
           "1700000015000|1700000010000", "committed");
    is_str(query(l, "SELECT idempotency_key, extend_by_ms, e.expires_at_ms"
                 " FROM extensions e WHERE reservation = (SELECT seq FROM"
                 " reservations WHERE idempotency_key = 'first')"),
           "x1|5000|1700000015000", "extensions");
    is_str(query(l, "SELECT status, release_reason, charged, caps_max_tokens,"
                 " caps_tool_denylist FROM reservations WHERE"
                 " idempotency_key = 'second'"),
           "RELEASED|because|-|7|[\"x\"]", "released");
    is_str(query(l, "SELECT status, finalized_at_ms FROM reservations WHERE"
                 " idempotency_key = 'third'"),
           "EXPIRED|1700000020000", "expired");
    is_str(query(l, "SELECT tenant_id, idempotency_key, actual, charged,"
                 " tokens_input, tokens_output, client_time_ms,"
                 " overage_policy, action_tags FROM events"),
           "acme|e|7|7|-|9|5|ALLOW_IF_AVAILABLE|[\"one\",\"two\"]",
           "events");
    is_str(query(l, "SELECT dry_run, decision, reason_code, estimate,"
                 " remaining FROM decisions"),
           "0|DENY|BUDGET_EXCEEDED|100000|-", "decisions");
    is_str(query(l, "SELECT folded, expired, segment FROM meta"), "12|1|1",
           "meta");

    is_int(fold(l), 0, "nothing is left");
    cycles_ledger_close(l);

    l = led_open();
    is_int(fold(l), 0, "after a start");
    is_int(compare(l), 0, "the same sums");
    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_tables();

    return done_testing();
}
