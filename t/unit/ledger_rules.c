
/*
 * Copyright (C) nginx-cycles authors
 *
 * The rules of the Cycles protocol in the embedded ledger: which budgets a
 * request concerns, what it is answered, and what it does to them.
 */


#include "ledger.h"


#define BIG  9007199254740993LL          /* 2^53 + 1: no double has it */


/* writes a definition as the admin plane would: with a status */

static void
budget_set(cycles_ledger_t *ledger, const char *scope, unsigned status,
    int64_t debt, unsigned over)
{
    cycles_str_t      s;
    cycles_budget_t  *b;
    cycles_record_t  *rec;

    s = str(scope);

    cycles_ledger_lock(ledger);

    b = cycles_budget_find(ledger, scope, s.len, cycles_scope_hash_str(s),
                           CYCLES_TOKENS);
    rec = &ledger->record;
    memset(rec, 0, sizeof(*rec));

    rec->type = CYCLES_RECORD_BUDGET;
    rec->def_id = b->id;
    rec->budget.scope = s;
    rec->budget.unit = CYCLES_TOKENS;
    rec->budget.status = status;
    rec->budget.policy = CYCLES_POLICY_NONE;
    rec->budget.allocated = b->allocated;
    rec->budget.overdraft_limit = b->overdraft_limit;
    cycles_effect_add(rec, b, 0, 0, debt);
    rec->effects[0].over_limit = over;

    if (cycles_log_commit(ledger, rec, T0, 0) != 0) {
        printf("# budget_set: %s\n", ledger->trouble);
        exit(2);
    }

    cycles_ledger_unlock(ledger);
}


static void
tenant_set(cycles_ledger_t *ledger, const char *id, unsigned status)
{
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    cycles_ledger_lock(ledger);

    tenant = cycles_tenant_find(ledger, (const unsigned char *) id,
                                strlen(id));
    rec = &ledger->record;

    rec->type = CYCLES_RECORD_TENANT;
    rec->def_id = tenant->id;
    cycles_tenant_fill(ledger, tenant, &rec->tenant);
    rec->tenant.status = status;

    if (cycles_log_commit(ledger, rec, T0, 0) != 0) {
        printf("# tenant_set: %s\n", ledger->trouble);
        exit(2);
    }

    cycles_ledger_unlock(ledger);
}


/* which budgets of four a subject concerns */

static void
test_scopes(void)
{
    size_t            i;
    cycles_ledger_t  *l;

    static const struct {
        const char  *subject;
        const char  *path;
        const char  *held;               /* at a, a/b, a//c, c alone */
    } t[] = {
        { "a", "tenant:a", "1000" },
        { "A", "tenant:a", "1000" },
        { "a/b", "tenant:a/workspace:b", "1100" },
        { "A/B", "tenant:a/workspace:b", "1100" },
        { "a//c", "tenant:a/app:c", "1010" },
        { "a/b/c", "tenant:a/workspace:b/app:c", "1100" },
        { "a/x/c", "tenant:a/workspace:x/app:c", "1000" },
        { "a/b/c/d/e/f", "tenant:a/workspace:b/app:c/workflow:d/agent:e"
                         "/toolset:f", "1100" },
        { "//c", "app:c", "0001" },
        { "//c///t", "app:c/toolset:t", "0001" },
        { "a/////f", "tenant:a/toolset:f", "1000" }
    };

    static const char  *scopes[] = {
        "tenant:a", "tenant:a/workspace:b", "tenant:a/app:c", "app:c"
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        char      held[5];
        unsigned  k;

        l = led_fresh("tenant:a 100 0,tenant:a/workspace:b 100 0,"
                      "tenant:a/app:c 100 0,app:c 100 0");

        is_int(led_reserve(l, t[i].subject, "k", 5, T0), CYCLES_OK,
               "subject %s", t[i].subject);

        ok(led_rs.scope_path_len == strlen(t[i].path)
           && memcmp(led_rs.scope_path, t[i].path, strlen(t[i].path)) == 0,
           "its path is %s", t[i].path);

        for (k = 0; k < 4; k++) {
            held[k] = led_look(l, scopes[k]).balance.reserved ? '1' : '0';
        }

        held[4] = '\0';
        is_str(held, t[i].held, "the budgets it holds money of");

        cycles_ledger_close(l);
    }
}


/* codes and denials of reserve, in the order of the reference server */

static void
test_denials(void)
{
    size_t            i;
    cycles_ledger_t  *l;

    static const struct {
        const char     *name;
        const char     *subject;
        int64_t         estimate;
        unsigned        status[2];       /* of tenant:a, tenant:a/app:b */
        int64_t         debt[2];
        unsigned        over[2];
        cycles_code_t   code;
        const char     *reason;
        const char     *scope;           /* of the denial */
    } t[] = {
        { "enough", "a//b", 50, {0,0}, {0,0}, {0,0}, CYCLES_OK, "", "" },
        { "exactly enough in the least", "a//b", 60, {0,0}, {0,0}, {0,0},
          CYCLES_OK, "", "" },
        { "one more", "a//b", 61, {0,0}, {0,0}, {0,0},
          CYCLES_BUDGET_EXCEEDED, "BUDGET_EXCEEDED", "tenant:a/app:b" },
        { "too much for both", "a//b", 101, {0,0}, {0,0}, {0,0},
          CYCLES_BUDGET_EXCEEDED, "BUDGET_EXCEEDED", "tenant:a" },
        { "nothing at all", "a//b", 0, {0,0}, {0,0}, {0,0}, CYCLES_OK,
          "", "" },
        { "frozen tenant", "a//b", 1, {1,0}, {0,0}, {0,0},
          CYCLES_BUDGET_FROZEN, "BUDGET_FROZEN", "tenant:a" },
        { "closed app", "a//b", 1, {0,2}, {0,0}, {0,0},
          CYCLES_BUDGET_CLOSED, "BUDGET_CLOSED", "tenant:a/app:b" },
        { "frozen comes before too little", "a//b", 101, {1,0}, {0,0}, {0,0},
          CYCLES_BUDGET_FROZEN, "BUDGET_FROZEN", "tenant:a" },
        { "an ancestor's shortage hides a frozen child", "a//b", 101, {0,1},
          {0,0}, {0,0}, CYCLES_BUDGET_EXCEEDED, "BUDGET_EXCEEDED",
          "tenant:a" },
        { "over its limit", "a//b", 1, {0,0}, {0,0}, {0,1},
          CYCLES_OVERDRAFT_LIMIT_EXCEEDED, "OVERDRAFT_LIMIT_EXCEEDED",
          "tenant:a/app:b" },
        { "over its limit comes before debt", "a//b", 1, {0,0}, {5,0}, {1,0},
          CYCLES_OVERDRAFT_LIMIT_EXCEEDED, "OVERDRAFT_LIMIT_EXCEEDED",
          "tenant:a" },
        { "debt without a limit", "a//b", 1, {0,0}, {5,0}, {0,0},
          CYCLES_DEBT_OUTSTANDING, "DEBT_OUTSTANDING", "tenant:a" },
        { "debt comes before too little", "a//b", 101, {0,0}, {5,0}, {0,0},
          CYCLES_DEBT_OUTSTANDING, "DEBT_OUTSTANDING", "tenant:a" },
        { "debt with a limit does not block", "a//b", 1, {0,0}, {0,5},
          {0,0}, CYCLES_OK, "", "" },
        { "debt counts as spent", "a//b", 56, {0,0}, {0,5}, {0,0},
          CYCLES_BUDGET_EXCEEDED, "BUDGET_EXCEEDED", "tenant:a/app:b" },
        { "no budget", "z//b", 1, {0,0}, {0,0}, {0,0}, CYCLES_NOT_FOUND,
          "BUDGET_NOT_FOUND", "tenant:z/app:b" },
        { "too large for any budget", "a", INT64_MAX, {0,0}, {0,0}, {0,0},
          CYCLES_BUDGET_EXCEEDED, "BUDGET_EXCEEDED", "tenant:a" }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        unsigned          k, dry;
        uint64_t          written;
        const char       *before;
        cycles_code_t     code;
        cycles_reserve_t  rq;

        for (dry = 0; dry < 2; dry++) {
            l = led_fresh("tenant:a 100 0,tenant:a/app:b 60 10");

            for (k = 0; k < 2; k++) {
                if (t[i].status[k] || t[i].debt[k] || t[i].over[k]) {
                    budget_set(l, k ? "tenant:a/app:b" : "tenant:a",
                               t[i].status[k], t[i].debt[k], t[i].over[k]);
                }
            }

            before = led_balance(l, "tenant:a/app:b");
            written = cycles_ledger_written(l);

            rq = led_reserve_rq(t[i].subject, "k", t[i].estimate);
            rq.dry_run = dry;
            code = cycles_ledger_reserve(l, &rq, &led_rs, T0);

            is_int(code, dry ? CYCLES_OK : t[i].code, "%s%s", t[i].name,
                   dry ? ", dry run" : "");
            is_int(led_rs.code, code, "the code is in the answer");
            is_int(led_rs.decision,
                   t[i].code == CYCLES_OK ? CYCLES_ALLOW : CYCLES_DENY,
                   "its decision");
            is_str(led_rs.reason, t[i].reason, "its reason");
            ok(led_rs.denial.scope_len == strlen(t[i].scope)
               && memcmp(led_rs.denial.scope, t[i].scope,
                         strlen(t[i].scope)) == 0,
               "the scope of the denial");

            if (t[i].code != CYCLES_OK) {
                is_int(led_rs.denial.requested, t[i].estimate, "requested");
            }

            if (t[i].code != CYCLES_OK || dry) {
                is_int(cycles_ledger_written(l), written + dry,
                       dry ? "a record of the answer" : "no record");
                is_str(led_balance(l, "tenant:a/app:b"), before,
                       "no money has moved");
                is_str(led_rs.id, "", "no id");
                is_int(led_rs.expires_at_ms, 0, "no expiry");
            }

            cycles_ledger_close(l);
        }
    }
}


static void
test_denial_numbers(void)
{
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 100 0");

    led_reserve(l, "a", "k1", 30, T0);
    is_int(led_rs.remaining, 70, "remaining after a reserve");
    is_int(led_rs.reserved, 30, "reserved");
    is_int(led_rs.expires_at_ms, T0 + 10000, "expiry");
    is_int(led_rs.remaining_ttl_ms, 10000, "remaining ttl");
    is_int(strlen(led_rs.id), 36, "an id: %s", led_rs.id);
    is_int(led_rs.id[14], '7', "of version 7");

    led_commit(l, led_rs.id, "k", 20, T0);
    led_reserve(l, "a", "k2", 50, T0);

    is_int(led_reserve(l, "a", "k3", 31, T0), CYCLES_BUDGET_EXCEEDED,
           "more than is left");
    is_int(led_rs.denial.requested, 31, "requested");
    is_int(led_rs.denial.remaining, 30, "remaining");
    is_int(led_rs.denial.held, 50, "held");
    is_int(led_rs.denial.allocated, 100, "allocated");

    cycles_ledger_close(l);
}


static void
test_units(void)
{
    cycles_ledger_t   *l;
    cycles_reserve_t   rq;

    led_clean();
    l = led_open();
    led_budgets(l, "{\"budgets\":["
                "{\"scope\":\"tenant:a\",\"unit\":\"USD_MICROCENTS\","
                "\"allocated\":{\"unit\":\"USD_MICROCENTS\",\"amount\":7}},"
                "{\"scope\":\"tenant:a/app:b\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":100}}]}");

    is_int(led_reserve(l, "a//b", "k1", 50, T0), CYCLES_OK,
           "a budget of another unit is skipped");
    is_int(led_rs.remaining, 50, "only the one of the unit counts");

    is_int(led_reserve(l, "a", "k2", 1, T0), CYCLES_UNIT_MISMATCH,
           "only another unit");
    ok(led_rs.denial.scope_len == 8, "the scope that has another unit");

    rq = led_reserve_rq("a//c", "k3", 1);
    rq.dry_run = 1;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_UNIT_MISMATCH,
           "also an error of a dry run");

    rq = led_reserve_rq("a//b", "k4", 1);
    rq.unit = CYCLES_CREDITS;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_UNIT_MISMATCH,
           "a third unit");

    is_int(led_event(l, "a", "e", 1, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_UNIT_MISMATCH, "an event in another unit");
    is_int(led_event(l, "z", "e", 1, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_NOT_FOUND, "an event without a budget");

    cycles_ledger_close(l);
}


/* one commit with two scopes: the balances of both, and the answer */

static void
test_commit(void)
{
    size_t            i;
    cycles_ledger_t  *l;

    static const struct {
        const char       *name;
        const char       *budgets;
        int64_t           spent;         /* in a sibling, before */
        int64_t           estimate;
        int64_t           actual;
        cycles_policy_t   policy;
        cycles_code_t     code;
        int64_t           charged;
        int64_t           released;
        const char       *a;
        const char       *b;
    } t[] = {
#define AVAILABLE  CYCLES_ALLOW_IF_AVAILABLE
#define OVERDRAFT  CYCLES_ALLOW_WITH_OVERDRAFT
        { "exactly", "tenant:a 100 0,tenant:a/app:b 80 0", 0, 30, 30,
          AVAILABLE, CYCLES_OK, 30, 0, "r70 h0 s30 d0", "r50 h0 s30 d0" },
        { "less", "tenant:a 100 0,tenant:a/app:b 80 0", 0, 30, 12,
          AVAILABLE, CYCLES_OK, 12, 18, "r88 h0 s12 d0", "r68 h0 s12 d0" },
        { "nothing", "tenant:a 100 0,tenant:a/app:b 80 0", 0, 30, 0,
          AVAILABLE, CYCLES_OK, 0, 30, "r100 h0 s0 d0", "r80 h0 s0 d0" },
        { "more, and it is there", "tenant:a 100 0,tenant:a/app:b 80 0", 0,
          30, 80, AVAILABLE, CYCLES_OK, 80, 0, "r20 h0 s80 d0",
          "r0 h0 s80 d0" },
        { "more than the app has", "tenant:a 100 0,tenant:a/app:b 80 0", 0,
          30, 81, AVAILABLE, CYCLES_OK, 80, 0, "r20 h0 s80 d0",
          "r0 h0 s80 d0 over" },
        { "more than both have", "tenant:a 100 0,tenant:a/app:b 80 0", 0, 30,
          500, AVAILABLE, CYCLES_OK, 80, 0, "r20 h0 s80 d0 over",
          "r0 h0 s80 d0 over" },
        { "more than the tenant has", "tenant:a 100 0,tenant:a/app:b 80 0",
          50, 30, 70, AVAILABLE, CYCLES_OK, 50, 0, "r0 h0 s100 d0 over",
          "r30 h0 s50 d0" },
        { "a limit does not matter here", "tenant:a 100 50,"
          "tenant:a/app:b 80 50", 0, 30, 500, AVAILABLE, CYCLES_OK, 80, 0,
          "r20 h0 s80 d0 over", "r0 h0 s80 d0 over" },
        { "REJECT, exactly", "tenant:a 100 0,tenant:a/app:b 80 0", 0, 30, 30,
          CYCLES_REJECT, CYCLES_OK, 30, 0, "r70 h0 s30 d0",
          "r50 h0 s30 d0" },
        { "REJECT, one more", "tenant:a 100 0,tenant:a/app:b 80 0", 0, 30,
          31, CYCLES_REJECT, CYCLES_BUDGET_EXCEEDED, 0, 0, "r70 h30 s0 d0",
          "r50 h30 s0 d0" },
        { "REJECT, more than nothing", "tenant:a 100 0,tenant:a/app:b 80 0",
          0, 0, 1, CYCLES_REJECT, CYCLES_BUDGET_EXCEEDED, 0, 0,
          "r100 h0 s0 d0", "r80 h0 s0 d0" },
        { "overdraft, covered", "tenant:a 100 50,tenant:a/app:b 80 50", 0,
          30, 80, OVERDRAFT, CYCLES_OK, 80, 0, "r20 h0 s80 d0",
          "r0 h0 s80 d0" },
        { "overdraft, into debt in one", "tenant:a 100 50,"
          "tenant:a/app:b 80 50", 0, 30, 95, OVERDRAFT, CYCLES_OK, 95, 0,
          "r5 h0 s95 d0", "r-15 h0 s80 d15" },
        { "overdraft, up to the limit", "tenant:a 100 50,"
          "tenant:a/app:b 80 50", 0, 30, 130, OVERDRAFT, CYCLES_OK, 130, 0,
          "r-30 h0 s100 d30", "r-50 h0 s80 d50" },
        { "overdraft, beyond the limit", "tenant:a 100 50,"
          "tenant:a/app:b 80 50", 0, 30, 131, OVERDRAFT,
          CYCLES_OVERDRAFT_LIMIT_EXCEEDED, 0, 0, "r70 h30 s0 d0",
          "r50 h30 s0 d0" },
        { "overdraft, no limit in one: capped there", "tenant:a 100 50,"
          "tenant:a/app:b 80 0", 0, 30, 95, OVERDRAFT, CYCLES_OK, 80, 0,
          "r20 h0 s80 d0", "r0 h0 s80 d0 over" },
        { "overdraft, the cap is debt in the other", "tenant:a 100 50,"
          "tenant:a/app:b 120 0", 0, 30, 500, OVERDRAFT, CYCLES_OK, 120, 0,
          "r-20 h0 s100 d20", "r0 h0 s120 d0 over" },
        { "overdraft, the cap keeps within the limit", "tenant:a 100 10,"
          "tenant:a/app:b 80 0", 0, 30, 1000, OVERDRAFT, CYCLES_OK, 80, 0,
          "r20 h0 s80 d0", "r0 h0 s80 d0 over" },
        { "overdraft, no limit at all", "tenant:a 100 0,tenant:a/app:b 80 0",
          0, 30, 90, OVERDRAFT, CYCLES_OK, 80, 0, "r20 h0 s80 d0",
          "r0 h0 s80 d0 over" },
        { "above 2^53", "tenant:a 9007199254740999 0,"
          "tenant:a/app:b 9007199254740999 0", 0, BIG, BIG - 1, AVAILABLE,
          CYCLES_OK, BIG - 1, 1, "r7 h0 s9007199254740992 d0",
          "r7 h0 s9007199254740992 d0" },
        { "the largest amount", "tenant:a 9223372036854775807 0,"
          "tenant:a/app:b 9223372036854775807 0", 0, INT64_MAX, INT64_MAX,
          AVAILABLE, CYCLES_OK, INT64_MAX, 0,
          "r0 h0 s9223372036854775807 d0", "r0 h0 s9223372036854775807 d0" },
        { "the largest debt", "tenant:a 0 9223372036854775807,"
          "tenant:a/app:b 0 9223372036854775807", 0, 0, INT64_MAX, OVERDRAFT,
          CYCLES_OK, INT64_MAX, 0, "r-9223372036854775807 h0 s0 "
          "d9223372036854775807", "r-9223372036854775807 h0 s0 "
          "d9223372036854775807" }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        cycles_code_t  code;

        l = led_fresh(t[i].budgets);

        if (t[i].spent) {
            led_event(l, "a//x", "e", t[i].spent, CYCLES_ALLOW_IF_AVAILABLE,
                      T0);
        }

        is_int(led_reserve_as(l, "a//b", "k", t[i].estimate, t[i].policy,
                              T0), CYCLES_OK, "commit: %s", t[i].name);

        code = led_commit(l, led_rs.id, "c", t[i].actual, T0);

        is_int(code, t[i].code, "its code");
        is_int(led_st.charged, t[i].charged, "charged");
        is_int(led_st.released, t[i].released, "released");
        is_str(led_balance(l, "tenant:a"), t[i].a, "tenant:a");
        is_str(led_balance(l, "tenant:a/app:b"), t[i].b, "tenant:a/app:b");

        if (code == CYCLES_OK) {
            led_look_t  a, b;

            a = led_look(l, "tenant:a");
            b = led_look(l, "tenant:a/app:b");
            is_int(led_st.remaining,
                   a.balance.remaining < b.balance.remaining
                   ? a.balance.remaining : b.balance.remaining,
                   "the least remaining is in the answer");
            is_int(led_commit(l, led_rs.id, "other", t[i].actual, T0),
                   CYCLES_RESERVATION_FINALIZED, "it is final");

        } else {
            ok(led_st.denial.scope_len > 0, "the scope is named");
            is_int(led_release(l, led_rs.id, "r", T0), CYCLES_OK,
                   "it is still active, and can be released");
        }

        cycles_ledger_close(l);
    }
}


static void
test_event(void)
{
    size_t            i;
    cycles_ledger_t  *l;

    static const struct {
        const char       *name;
        const char       *budgets;
        int64_t           actual;
        cycles_policy_t   policy;
        unsigned          status;
        cycles_code_t     code;
        int64_t           charged;
        const char       *a;
        const char       *b;
    } t[] = {
        { "covered", "tenant:a 100 0,tenant:a/app:b 80 0", 80, AVAILABLE, 0,
          CYCLES_OK, 80, "r20 h0 s80 d0", "r0 h0 s80 d0" },
        { "capped", "tenant:a 100 0,tenant:a/app:b 80 0", 90, AVAILABLE, 0,
          CYCLES_OK, 80, "r20 h0 s80 d0", "r0 h0 s80 d0 over" },
        { "nothing left to charge", "tenant:a 100 0,tenant:a/app:b 0 0", 90,
          AVAILABLE, 0, CYCLES_OK, 0, "r100 h0 s0 d0", "r0 h0 s0 d0 over" },
        { "REJECT, covered", "tenant:a 100 0,tenant:a/app:b 80 0", 80,
          CYCLES_REJECT, 0, CYCLES_OK, 80, "r20 h0 s80 d0",
          "r0 h0 s80 d0" },
        { "REJECT, not covered", "tenant:a 100 0,tenant:a/app:b 80 0", 81,
          CYCLES_REJECT, 0, CYCLES_BUDGET_EXCEEDED, 0, "r100 h0 s0 d0",
          "r80 h0 s0 d0" },
        { "overdraft", "tenant:a 100 0,tenant:a/app:b 80 10", 90, OVERDRAFT,
          0, CYCLES_OK, 90, "r10 h0 s90 d0", "r-10 h0 s80 d10" },
        { "overdraft, beyond", "tenant:a 100 0,tenant:a/app:b 80 10", 91,
          OVERDRAFT, 0, CYCLES_OVERDRAFT_LIMIT_EXCEEDED, 0, "r100 h0 s0 d0",
          "r80 h0 s0 d0" },
        { "frozen", "tenant:a 100 0,tenant:a/app:b 80 0", 1, AVAILABLE,
          CYCLES_BUDGET_IS_FROZEN, CYCLES_BUDGET_FROZEN, 0, "r100 h0 s0 d0",
          "r80 h0 s0 d0" },
        { "closed", "tenant:a 100 0,tenant:a/app:b 80 0", 1, AVAILABLE,
          CYCLES_BUDGET_IS_CLOSED, CYCLES_BUDGET_CLOSED, 0, "r100 h0 s0 d0",
          "r80 h0 s0 d0" }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        l = led_fresh(t[i].budgets);

        if (t[i].status) {
            budget_set(l, "tenant:a/app:b", t[i].status, 0, 0);
        }

        is_int(led_event(l, "a//b", "e", t[i].actual, t[i].policy, T0),
               t[i].code, "event: %s", t[i].name);
        is_int(led_st.charged, t[i].charged, "charged");
        is_int(strlen(led_st.event_id), t[i].code == CYCLES_OK ? 36 : 0,
               "its id");
        is_str(led_balance(l, "tenant:a"), t[i].a, "tenant:a");
        is_str(led_balance(l, "tenant:a/app:b"), t[i].b, "tenant:a/app:b");

        cycles_ledger_close(l);
    }

    /* neither debt nor an exceeded limit stops what has happened */

    l = led_fresh("tenant:a 100 0");
    budget_set(l, "tenant:a", 0, 5, 1);
    is_int(led_event(l, "a", "e", 10, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_OK, "an event with debt and over the limit");
    cycles_ledger_close(l);
}


/* what frozen and closed budgets leave alone */

static void
test_in_flight(void)
{
    unsigned          status;
    cycles_ledger_t  *l;

    for (status = CYCLES_BUDGET_IS_FROZEN; status <= CYCLES_BUDGET_IS_CLOSED;
         status++)
    {
        char  id[2][40];

        l = led_fresh("tenant:a 100 0");

        led_reserve(l, "a", "k1", 10, T0);
        strcpy(id[0], led_rs.id);
        led_reserve(l, "a", "k2", 10, T0);
        strcpy(id[1], led_rs.id);
        budget_set(l, "tenant:a", status, 0, 1);

        is_int(led_extend(l, id[0], "x", 1000, T0), CYCLES_OK,
               "extend with status %u", status);
        is_int(led_commit(l, id[0], "c", 10, T0), CYCLES_OK,
               "commit with status %u", status);
        is_int(led_release(l, id[1], "r", T0), CYCLES_OK,
               "release with status %u", status);
        is_str(led_balance(l, "tenant:a"), "r90 h0 s10 d0 over",
               "and the flag stays");

        led_define(l, "tenant:a 200 0");
        is_int(led_reserve(l, "a", "k3", 1, T0),
               status == CYCLES_BUDGET_IS_FROZEN ? CYCLES_BUDGET_FROZEN
                                                 : CYCLES_BUDGET_CLOSED,
               "a new limit does not change the status");

        cycles_ledger_close(l);
    }
}


static void
test_replay(void)
{
    char               id[40], event[40];
    unsigned           i;
    uint64_t           record;
    cycles_str_t       tag;
    cycles_pair_t      dimensions[2], others[2];
    cycles_ledger_t   *l;
    cycles_commit_t    cm;
    cycles_reserve_t   rq, other;

    l = led_fresh("tenant:a 100 0,tenant:b 100 0");

    rq = led_reserve_rq("a", "k", 40);
    rq.metadata = str("{\"x\":1}");
    rq.subject.ndimensions = 2;
    rq.subject.dimensions = dimensions;
    dimensions[0].key = str("team");
    dimensions[0].value = str("red");
    dimensions[1].key = str("cost");
    dimensions[1].value = str("7");

    cycles_ledger_reserve(l, &rq, &led_rs, T0);
    strcpy(id, led_rs.id);
    record = cycles_ledger_written(l);

    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0 + 3000), CYCLES_OK,
           "a replayed reserve");
    is_str(led_rs.id, id, "same id");
    is_int(led_rs.expires_at_ms, T0 + 10000, "same expiry");
    is_int(led_rs.remaining_ttl_ms, 7000, "but less of it left");
    is_int(led_rs.remaining, 60, "same remaining");
    is_int(led_rs.record, record, "its record");
    is_int(cycles_ledger_written(l), record, "and no new one");

    other = rq;
    other.subject.dimensions = others;
    others[0] = dimensions[1];
    others[1] = dimensions[0];
    is_int(cycles_ledger_reserve(l, &other, &led_rs, T0), CYCLES_OK,
           "dimensions in another order");
    is_str(led_rs.id, id, "same id");

    for (i = 0; i < 13; i++) {
        static const char *names[] = {
            "estimate", "unit", "ttl", "grace", "policy", "dry run",
            "metadata", "app", "action kind", "action name", "tags",
            "dimension", "case of the tenant"
        };

        other = rq;

        switch (i) {
        case 0: other.estimate = 41; break;
        case 1: other.unit = CYCLES_CREDITS; break;
        case 2: other.ttl_ms = 10001; break;
        case 3: other.grace_ms = 2001; break;
        case 4: other.policy = CYCLES_REJECT; break;
        case 5: other.dry_run = 1; break;
        case 6: other.metadata = str("{\"x\":2}"); break;
        case 7: other.subject.levels[CYCLES_APP] = str("b"); break;
        case 8: other.action.kind = str("llm.completioN"); break;
        case 9: other.action.name = str("openai:gpt-4o-minI"); break;
        case 10: other.action.ntags = 1; other.action.tags = &tag;
                 tag = str("t"); break;
        case 11: other.subject.dimensions = others; others[0] = dimensions[0];
                 others[1] = dimensions[1]; others[1].value = str("8"); break;
        case 12: other.subject.levels[CYCLES_TENANT] = str("A"); break;
        }

        is_int(cycles_ledger_reserve(l, &other, &led_rs, T0),
               CYCLES_IDEMPOTENCY_MISMATCH, "same key, other %s", names[i]);
        is_int(led_rs.decision, CYCLES_DENY, "denied");
    }

    other = rq;
    other.subject.levels[CYCLES_TENANT] = str("b");
    is_int(cycles_ledger_reserve(l, &other, &led_rs, T0), CYCLES_OK,
           "the same key of another tenant");
    ok(strcmp(led_rs.id, id) != 0, "is another reservation");

    is_int(led_event(l, "a", "k", 5, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_OK, "the same key for an event is another key");
    strcpy(event, led_st.event_id);
    is_int(led_event(l, "a", "k", 5, CYCLES_ALLOW_IF_AVAILABLE, T0 + 9),
           CYCLES_OK, "a replayed event");
    is_str(led_st.event_id, event, "same id");
    is_int(led_st.charged, 5, "same charge");
    is_int(led_event(l, "a", "k", 6, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "same event key, other amount");
    is_str(led_balance(l, "tenant:a"), "r55 h40 s5 d0", "charged once");

    is_int(led_commit(l, id, "k", 30, T0), CYCLES_OK, "commit");
    record = cycles_ledger_written(l);
    is_int(led_commit(l, id, "k", 30, T0 + 99999999), CYCLES_OK,
           "a replayed commit, long after");
    is_int(led_st.charged, 30, "same charge");
    is_int(led_st.released, 10, "same release");
    is_int(led_st.remaining, 65, "same remaining");
    is_int(led_st.record, record, "its record");
    is_int(led_commit(l, id, "k", 31, T0), CYCLES_IDEMPOTENCY_MISMATCH,
           "same key, other amount");

    cm = led_commit_rq("k", 30);
    cm.metrics.tokens_input = 5;
    is_int(cycles_ledger_commit(l, str(id), &cm, &led_st, T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "same key, other metrics");
    cm = led_commit_rq("k", 30);
    cm.metrics.custom = str("{}");
    is_int(cycles_ledger_commit(l, str(id), &cm, &led_st, T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "same key, other custom metrics");

    is_int(led_commit(l, id, "k2", 30, T0), CYCLES_RESERVATION_FINALIZED,
           "another key");
    is_int(led_release(l, id, "k", T0), CYCLES_RESERVATION_FINALIZED,
           "a release of it");
    is_int(led_extend(l, id, "x", 1000, T0), CYCLES_RESERVATION_FINALIZED,
           "an extension of it");

    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0 + 3000), CYCLES_OK,
           "a reserve replayed after the commit");
    is_str(led_rs.id, id, "same id");
    is_int(led_rs.remaining_ttl_ms, 0, "with no time left");

    is_int(cycles_ledger_written(l), record, "nothing was written");
    is_str(led_balance(l, "tenant:a"), "r65 h0 s35 d0", "charged once");

    cycles_ledger_close(l);
}


static void
test_failed_keys(void)
{
    cycles_ledger_t  *l;

    /* what failed is not remembered */

    l = led_fresh("tenant:a 100 0");

    led_reserve(l, "a", "k1", 101, T0);
    is_int(led_reserve(l, "a", "k1", 50, T0), CYCLES_OK,
           "the key of a denied reserve can be used again");

    led_reserve_as(l, "a", "k3", 10, CYCLES_REJECT, T0);
    is_int(led_commit(l, led_rs.id, "c", 11, T0), CYCLES_BUDGET_EXCEEDED,
           "a rejected commit");
    is_int(led_commit(l, led_rs.id, "c", 10, T0), CYCLES_OK,
           "its key can be used again");

    cycles_ledger_close(l);
}


static void
test_release(void)
{
    char              id[40];
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 100 0,tenant:a/app:b 50 0");

    led_reserve(l, "a//b", "k", 40, T0);
    strcpy(id, led_rs.id);

    is_int(led_release_why(l, id, "r", "why", T0), CYCLES_OK, "release");
    is_int(led_st.released, 40, "released");
    is_int(led_st.remaining, 50, "remaining");
    is_str(led_balance(l, "tenant:a"), "r100 h0 s0 d0", "tenant:a");
    is_str(led_balance(l, "tenant:a/app:b"), "r50 h0 s0 d0", "app:b");

    is_int(led_release_why(l, id, "r", "why", T0 + 5), CYCLES_OK, "again");
    is_int(led_st.released, 40, "released is the same");
    is_int(led_release_why(l, id, "r", "other", T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "same key, other reason");
    is_int(led_release(l, id, "r2", T0), CYCLES_RESERVATION_FINALIZED,
           "another key");
    is_int(led_commit(l, id, "r", 1, T0), CYCLES_RESERVATION_FINALIZED,
           "a commit of it");
    is_str(led_balance(l, "tenant:a"), "r100 h0 s0 d0", "returned once");

    is_int(led_release(l, "00000000-0000-4000-8000-000000000000", "r", T0),
           CYCLES_NOT_FOUND, "an unknown id");
    is_int(led_release(l, "not-an-id", "r", T0), CYCLES_NOT_FOUND,
           "no id at all");
    is_int(led_commit(l, "", "r", 1, T0), CYCLES_NOT_FOUND, "an empty id");

    cycles_ledger_close(l);
}


static void
test_expiry(void)
{
    char              id[3][40];
    int64_t           next;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 100 0");

    /* ttl 10000, grace 2000 */

    led_reserve(l, "a", "k0", 10, T0);
    strcpy(id[0], led_rs.id);
    led_reserve(l, "a", "k1", 20, T0);
    strcpy(id[1], led_rs.id);

    is_int(led_extend(l, id[0], "x", 1000, T0 + 10000), CYCLES_OK,
           "extend at the last moment");
    is_int(led_st.expires_at_ms, T0 + 11000, "counted from the old expiry");
    is_int(led_st.remaining_ttl_ms, 1000, "remaining ttl");
    is_int(led_extend(l, id[1], "x", 1000, T0 + 10001),
           CYCLES_RESERVATION_EXPIRED, "extend in the grace period");
    is_int(led_commit(l, id[1], "c", 20, T0 + 12000), CYCLES_OK,
           "commit at the last moment of grace");
    is_int(led_commit(l, id[0], "c", 10, T0 + 13001),
           CYCLES_RESERVATION_EXPIRED, "commit after it");
    is_int(led_release(l, id[0], "r", T0 + 13001),
           CYCLES_RESERVATION_EXPIRED, "release after it");
    is_str(led_balance(l, "tenant:a"), "r70 h10 s20 d0",
           "nobody has returned the hold yet");

    is_int(cycles_ledger_expire(l, T0 + 13000, 100, &next), 0,
           "not yet due");
    is_int(next, T0 + 13001, "when it will be");
    is_int(cycles_ledger_expire(l, T0 + 13001, 100, &next), 1, "due");
    is_int(next, 0, "no other one");
    is_str(led_balance(l, "tenant:a"), "r80 h0 s20 d0", "returned");

    is_int(led_commit(l, id[0], "c", 10, T0 + 5), CYCLES_RESERVATION_EXPIRED,
           "expired is expired, whatever the time");
    is_int(led_release(l, id[0], "r", T0 + 5), CYCLES_RESERVATION_EXPIRED,
           "no release");
    is_int(led_extend(l, id[0], "y", 1000, T0 + 5),
           CYCLES_RESERVATION_EXPIRED, "no extension");
    is_int(led_extend(l, id[0], "x", 1000, T0 + 10000), CYCLES_OK,
           "but a replayed one");
    is_int(led_st.remaining_ttl_ms, 0, "with no time left");

    /* a reserve returns what is due */

    led_reserve(l, "a", "k2", 80, T0);
    is_int(led_reserve(l, "a", "k3", 80, T0 + 12000),
           CYCLES_BUDGET_EXCEEDED, "held");
    is_int(led_reserve(l, "a", "k3", 80, T0 + 12001), CYCLES_OK,
           "due holds are returned by a reserve");
    strcpy(id[0], led_rs.id);

    /* so does a commit that needs more, and an event */

    led_release(l, id[0], "r", T0 + 12001);
    led_reserve(l, "a", "k4", 30, T0 + 20000);
    led_reserve(l, "a", "k5", 30, T0 + 30000);
    is_int(led_commit(l, led_rs.id, "c", 70, T0 + 32001), CYCLES_OK,
           "commit of more while a hold is due");
    is_int(led_st.charged, 70, "charged in full");
    is_str(led_balance(l, "tenant:a"), "r10 h0 s90 d0", "and no flag");

    led_reserve(l, "a", "k6", 10, T0 + 40000);
    is_int(led_event(l, "a", "e", 10, CYCLES_REJECT, T0 + 52000),
           CYCLES_BUDGET_EXCEEDED, "an event while it is held");
    is_int(led_event(l, "a", "e", 10, CYCLES_REJECT, T0 + 52001), CYCLES_OK,
           "an event when it is due");
    is_str(led_balance(l, "tenant:a"), "r0 h0 s100 d0", "all is spent");

    cycles_ledger_close(l);
}


/* many at once, in any order of expiry: the heap and the batches */

static void
test_expiry_many(void)
{
    char              key[32];
    int64_t           now, next, last;
    unsigned          i, n, left;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh("tenant:a 100000 0");

    for (i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 1);
        rq.ttl_ms = 1000 + rnd(50000);
        rq.grace_ms = 0;
        cycles_ledger_reserve(l, &rq, &led_rs, T0);

        if (rnd(4) == 0) {
            led_extend(l, led_rs.id, "x", 1 + rnd(9000), T0);
        }

        if (rnd(3) == 0) {
            led_commit(l, led_rs.id, "c", 0, T0);
        }
    }

    left = led_look(l, "tenant:a").balance.reserved;
    last = 0;
    n = 0;
    now = T0;

    do {
        i = cycles_ledger_expire(l, now, 1000, &next);
        n += i;

        if (next && next <= now) {
            break;
        }

        last = next;
        now = next + rnd(500);
    } while (last);

    is_int(n, left, "each of %u expired once", left);
    is_str(led_balance(l, "tenant:a"), "r100000 h0 s0 d0", "all returned");

    for (i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "m%u", i);
        led_reserve(l, "a", key, 200, T0);
    }

    is_str(led_balance(l, "tenant:a"), "r0 h100000 s0 d0", "all held");
    is_int(led_reserve(l, "a", "big", 100000, T0 + 12001), CYCLES_OK,
           "one reserve returns as many as it needs");

    cycles_ledger_close(l);
}


static void
test_extend(void)
{
    char              id[40], key[32];
    unsigned          i;
    cycles_ledger_t  *l;
    cycles_extend_t   ex;

    led_clean();
    l = led_open();
    led_budgets(l, "{\"tenants\":[{\"tenant_id\":\"t3\",\"name\":\"T\","
                "\"max_reservation_extensions\":2,"
                "\"max_reservation_ttl_ms\":4000}],"
                "\"budgets\":[{\"scope\":\"tenant:t3\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":100}},"
                "{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":100}}]}");

    led_reserve(l, "t3", "k", 1, T0);
    strcpy(id, led_rs.id);
    is_int(led_rs.remaining_ttl_ms, 4000, "ttl is cut to the tenant's");
    is_int(led_rs.expires_at_ms, T0 + 4000, "and the expiry");

    is_int(led_extend(l, id, "x1", 1000, T0), CYCLES_OK, "first");
    is_int(led_extend(l, id, "x1", 1000, T0 + 100), CYCLES_OK, "replayed");
    is_int(led_st.expires_at_ms, T0 + 5000, "the same expiry");
    is_int(led_st.remaining_ttl_ms, 4900, "less of it left");
    is_int(led_extend(l, id, "x1", 1001, T0), CYCLES_IDEMPOTENCY_MISMATCH,
           "same key, other time");
    memset(&ex, 0, sizeof(ex));
    ex.idempotency_key = str("x1");
    ex.extend_by_ms = 1000;
    ex.metadata = str("{\"beat\":1}");
    is_int(cycles_ledger_extend(l, str(id), &ex, &led_st, T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "same key, other metadata");
    is_int(led_extend(l, id, "x2", 1000, T0), CYCLES_OK, "second");
    is_int(led_extend(l, id, "x3", 1000, T0), CYCLES_MAX_EXTENSIONS_EXCEEDED,
           "third");
    is_int(led_extend(l, id, "x1", 1000, T0), CYCLES_OK,
           "the first replayed");
    is_int(led_st.expires_at_ms, T0 + 5000, "its own expiry");

    is_int(led_extend(l, id, "x4", 0, T0), CYCLES_INVALID_REQUEST, "by 0");
    is_int(led_extend(l, id, "x4", 86400001, T0), CYCLES_INVALID_REQUEST,
           "by more than a day");
    is_int(led_extend(l, id, "", 1, T0), CYCLES_INVALID_REQUEST, "no key");

    led_reserve(l, "a", "k", 1, T0);
    strcpy(id, led_rs.id);

    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "x%u", i);

        if (led_extend(l, id, key, 1000, T0) != CYCLES_OK) {
            break;
        }
    }

    is_int(i, 100, "no maximum without a tenant");
    is_int(led_st.expires_at_ms, T0 + 110000, "the sum");

    for (i = 99; i > 69; i--) {
        snprintf(key, sizeof(key), "x%u", i);

        if (led_extend(l, id, key, 1000, T0) != CYCLES_OK
            || led_st.expires_at_ms != T0 + 11000 + 1000 * i)
        {
            break;
        }
    }

    is_int(i, 69, "the latest 30 extensions are remembered");

    cycles_ledger_close(l);
}


static void
test_tenants(void)
{
    char               id[40];
    cycles_ledger_t   *l;
    cycles_reserve_t   rq;

    led_clean();
    l = led_open();
    led_budgets(l, "{\"tenants\":[{\"tenant_id\":\"acme\",\"name\":\"A\"}],"
                "\"budgets\":[{\"scope\":\"tenant:acme\","
                "\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":100}}]}");

    led_reserve(l, "acme", "k", 10, T0);
    strcpy(id, led_rs.id);
    led_event(l, "acme", "e", 1, CYCLES_ALLOW_IF_AVAILABLE, T0);
    led_extend(l, id, "x", 1, T0);
    tenant_set(l, "acme", CYCLES_TENANT_IS_CLOSED);

    is_int(led_reserve(l, "acme", "k", 10, T0), CYCLES_OK,
           "a replay comes before a closed tenant");
    is_int(led_reserve(l, "ACME", "k2", 10, T0), CYCLES_TENANT_CLOSED,
           "reserve");
    is_str(led_rs.reason, "TENANT_CLOSED", "its reason");

    rq = led_reserve_rq("acme", "k3", 10);
    rq.dry_run = 1;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK, "dry run");
    is_int(led_rs.decision, CYCLES_DENY, "is denied");
    is_str(led_rs.reason, "TENANT_CLOSED", "its reason");

    is_int(led_commit(l, id, "c", 1, T0), CYCLES_TENANT_CLOSED, "commit");
    is_int(led_release(l, id, "c", T0), CYCLES_TENANT_CLOSED, "release");
    is_int(led_extend(l, id, "y", 1, T0), CYCLES_TENANT_CLOSED, "extend");
    is_int(led_extend(l, id, "x", 1, T0), CYCLES_OK, "a replayed extend");
    is_int(led_event(l, "acme", "e", 1, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_OK, "a replayed event");
    is_int(led_event(l, "acme", "e2", 1, CYCLES_ALLOW_IF_AVAILABLE, T0),
           CYCLES_TENANT_CLOSED, "an event");
    is_int(led_commit(l, id, "c", 1, T0 + 99999), CYCLES_TENANT_CLOSED,
           "closed comes before expired");

    tenant_set(l, "acme", CYCLES_TENANT_ACTIVE);
    is_int(led_commit(l, id, "c", 1, T0), CYCLES_OK, "opened again");

    cycles_ledger_close(l);
}


static void
test_caps(void)
{
    char               id[40];
    cycles_ledger_t   *l;
    cycles_reserve_t   rq;

    static const char  *file =
        "{\"budgets\":["
        "{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
        "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1000},"
        "\"caps\":{\"above_percent\":0,\"max_tokens\":512,"
        "\"tool_denylist\":[\"web\",\"sh\"]}},"
        "{\"scope\":\"tenant:a/app:b\",\"unit\":\"TOKENS\","
        "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":101},"
        "\"caps\":{\"above_percent\":80,\"max_steps_remaining\":3,"
        "\"cooldown_ms\":250,\"tool_allowlist\":[\"read\"]}}]}";

    led_clean();
    l = led_open();
    led_budgets(l, file);

    is_int(led_reserve(l, "a", "k0", 1, T0), CYCLES_OK, "caps at any level");
    is_int(led_rs.decision, CYCLES_ALLOW_WITH_CAPS, "ALLOW_WITH_CAPS");
    is_int(led_rs.caps.max_tokens, 512, "max_tokens");
    is_int(led_rs.caps.max_steps_remaining, -1, "no steps");
    is_int(led_rs.caps.cooldown_ms, -1, "no cooldown");
    is_int(led_rs.caps.tool_allowlist.len, 0, "no allowlist");
    ok(led_rs.caps.tool_denylist.len == 12
       && memcmp(led_rs.caps.tool_denylist.data, "[\"web\",\"sh\"]", 12)
          == 0, "denylist");

    /* 80 % of 101 is 80.8 */

    led_reserve(l, "a//b", "k1", 80, T0);
    is_int(led_rs.caps.max_tokens, 512, "the app's are not in force yet");
    strcpy(id, led_rs.id);
    led_reserve(l, "a//b", "k2", 1, T0);
    is_int(led_rs.caps.max_tokens, 512, "80 of 101 is less than 80 percent");
    led_reserve(l, "a//b", "k3", 1, T0);
    is_int(led_rs.caps.max_tokens, -1, "81 is more: the deepest caps apply");
    is_int(led_rs.caps.max_steps_remaining, 3, "steps");
    is_int(led_rs.caps.cooldown_ms, 250, "cooldown");
    ok(led_rs.caps.tool_allowlist.len == 8
       && memcmp(led_rs.caps.tool_allowlist.data, "[\"read\"]", 8) == 0,
       "allowlist");

    rq = led_reserve_rq("a//b", "k4", 1);
    rq.dry_run = 1;
    cycles_ledger_reserve(l, &rq, &led_rs, T0);
    is_int(led_rs.decision, CYCLES_ALLOW_WITH_CAPS, "a dry run tells caps");
    is_int(led_rs.caps.max_steps_remaining, 3, "the same");

    led_commit(l, id, "c", 10, T0);
    led_reserve(l, "a//b", "k5", 1, T0);
    is_int(led_rs.caps.max_tokens, 512, "less is used again");

    /* a replay gets the caps that were answered, whatever they are now */

    led_budgets(l, "{\"budgets\":[{\"scope\":\"tenant:a/app:b\","
                "\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":101}},"
                "{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1000},"
                "\"caps\":{\"above_percent\":0,\"max_tokens\":7}}]}");
    led_budgets(l, "{\"budgets\":[{\"scope\":\"tenant:a/app:b/agent:q\","
                "\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1},"
                "\"caps\":{\"max_steps_remaining\":9,"
                "\"tool_allowlist\":[\"XXXX\"]}}]}");
    led_reserve(l, "a//b", "k3", 1, T0);
    is_int(led_rs.decision, CYCLES_ALLOW_WITH_CAPS, "replayed");
    is_int(led_rs.caps.max_steps_remaining, 3, "with the caps of then");
    led_reserve(l, "a", "k0", 1, T0);
    is_int(led_rs.caps.max_tokens, 512, "and the first one, too");
    led_reserve(l, "a//b", "k6", 1, T0);
    is_int(led_rs.caps.max_tokens, 7, "new ones get the caps of now");

    cycles_ledger_close(l);

    l = led_open();
    led_reserve(l, "a//b", "k3", 1, T0);
    is_int(led_rs.caps.max_steps_remaining, 3, "also after a restart");
    cycles_ledger_close(l);
}


/* percent of large and odd amounts, and of nothing */

static void
test_caps_percent(void)
{
    size_t            i;
    char              json[512];
    cycles_ledger_t  *l;

    static const struct {
        int64_t   allocated;
        unsigned  percent;
        int64_t   used;
        int       capped;
    } t[] = {
        { 100, 80, 79, 0 }, { 100, 80, 80, 1 },
        { 101, 80, 80, 0 }, { 101, 80, 81, 1 },
        { 3, 50, 1, 0 }, { 3, 50, 2, 1 },
        { 100, 0, 0, 1 }, { 100, 100, 99, 0 },
        { INT64_MAX, 99, INT64_MAX / 100 * 99 + 6, 0 },
        { INT64_MAX, 99, INT64_MAX / 100 * 99 + 7, 1 },
        { 0, 80, 0, 1 }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        led_clean();
        l = led_open();
        snprintf(json, sizeof(json), "{\"budgets\":[{\"scope\":\"tenant:a\","
                 "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":\"TOKENS\","
                 "\"amount\":%lld},\"caps\":{\"above_percent\":%u,"
                 "\"max_tokens\":1}}]}", (long long) t[i].allocated,
                 t[i].percent);
        led_budgets(l, json);

        led_reserve(l, "a", "k", t[i].used, T0);
        is_int(led_reserve(l, "a", "k2", 0, T0), CYCLES_OK,
               "%lld of %lld at %u percent", (long long) t[i].used,
               (long long) t[i].allocated, t[i].percent);
        is_int(led_rs.decision,
               t[i].capped ? CYCLES_ALLOW_WITH_CAPS : CYCLES_ALLOW,
               "capped: %d", t[i].capped);
        cycles_ledger_close(l);
    }
}


/* a hold that is over counts for nothing any more, also where there is money
   enough */

static void
test_due_first(void)
{
    cycles_ledger_t  *l;

    l = led_fresh(NULL);
    led_budgets(l, "{\"budgets\":[{\"scope\":\"tenant:a\","
                "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":\"TOKENS\","
                "\"amount\":1000},\"caps\":{\"max_tokens\":1}}]}");

    led_reserve(l, "a", "k", 900, T0);
    led_reserve(l, "a", "k2", 10, T0 + 1000);
    is_int(led_rs.decision, CYCLES_ALLOW_WITH_CAPS, "held: with caps");
    is_int(led_rs.remaining, 90, "what remains");

    led_reserve(l, "a", "k3", 10, T0 + 12001);
    is_int(led_rs.decision, CYCLES_ALLOW, "returned: without caps");
    is_int(led_rs.remaining, 980, "what remains");

    cycles_ledger_close(l);
}


/* whether the record that was written last has left something out */

static unsigned
ledger_texts(cycles_ledger_t *l)
{
    return l->record.texts_omitted;
}


/* answers that are remembered by their key, until its request changes */

static void
test_decisions(void)
{
    unsigned           i, dry;
    uint64_t           record;
    cycles_ledger_t   *l;
    cycles_reserve_t   rq, other;

    for (dry = 0; dry < 2; dry++) {
        l = led_fresh("tenant:a 100 0");

        rq = led_reserve_rq("a", "k", 60);
        rq.metadata = str("{\"x\":1}");
        rq.dry_run = dry;
        rq.decide = !dry;

        is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK,
               dry ? "a dry run" : "a decision");
        is_int(led_rs.decision, CYCLES_ALLOW, "allows");
        is_int(led_rs.remaining, 40, "what it would leave");
        is_str(led_rs.id, "", "no reservation");
        record = led_rs.record;
        is_int(record, cycles_ledger_written(l), "its record");

        led_reserve(l, "a", "k1", 50, T0);

        for (i = 0; i < 2; i++) {
            is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0 + 5), CYCLES_OK,
                   "again");
            is_int(led_rs.decision, CYCLES_ALLOW, "the same answer");
            is_int(led_rs.remaining, 40, "the same remaining");
            is_int(led_rs.record, record, "the same record");

            other = rq;
            other.estimate++;
            is_int(cycles_ledger_reserve(l, &other, &led_rs, T0),
                   CYCLES_IDEMPOTENCY_MISMATCH, "another estimate");
            other = rq;
            other.metadata.len = 0;
            is_int(cycles_ledger_reserve(l, &other, &led_rs, T0),
                   CYCLES_IDEMPOTENCY_MISMATCH, "another metadata");
            other = rq;
            other.dry_run = 0;
            other.decide = 0;
            is_int(cycles_ledger_reserve(l, &other, &led_rs, T0),
                   dry ? CYCLES_IDEMPOTENCY_MISMATCH : CYCLES_BUDGET_EXCEEDED,
                   "a live reserve with its key");

            other = rq;
            other.idempotency_key = str("denied");
            is_int(cycles_ledger_reserve(l, &other, &led_rs, T0), CYCLES_OK,
                   "a denied one");
            is_int(led_rs.decision, CYCLES_DENY, "is denied");
            is_str(led_rs.reason, "BUDGET_EXCEEDED", "with a reason");
            is_int(led_rs.remaining, CYCLES_NOT_KNOWN, "nothing to tell");

            other.subject = led_subject("z");
            is_int(cycles_ledger_reserve(l, &other, &led_rs, T0), CYCLES_OK,
                   "one without a budget");
            is_str(led_rs.reason, "BUDGET_NOT_FOUND", "says so");

            is_str(led_balance(l, "tenant:a"), "r50 h50 s0 d0", "no effect");

            if (i == 0) {
                cycles_ledger_close(l);
                l = led_open();
            }
        }

        record = cycles_ledger_written(l);
        rq.idempotency_key.len = 0;
        is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK,
               "without a key");
        is_int(led_rs.decision, CYCLES_DENY, "it is asked anew");
        is_int(cycles_ledger_written(l), record, "and not remembered");

        cycles_ledger_close(l);
    }
}


/* what is left out counts as the protocol's default, whatever is in force */

static void
test_defaults(void)
{
    char               id[40];
    cycles_ledger_t   *l;
    cycles_reserve_t   rq;

    static const char  file[] = "{\"tenants\":[{\"tenant_id\":\"a\","
        "\"name\":\"A\",\"default_commit_overage_policy\":\"%s\","
        "\"default_reservation_ttl_ms\":%u}],\"budgets\":["
        "{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
        "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":100}}]}";
    char               json[sizeof(file) + 64];

    led_clean();
    l = led_open();
    snprintf(json, sizeof(json), file, "REJECT", 30000);
    led_budgets(l, json);

    rq = led_reserve_rq("a", "k", 10);
    rq.ttl_ms = -1;
    rq.policy = CYCLES_POLICIES;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK, "reserve");
    is_int(led_rs.expires_at_ms, T0 + 30000, "the tenant's lifetime");
    strcpy(id, led_rs.id);
    is_int(led_commit(l, id, "c", 11, T0), CYCLES_BUDGET_EXCEEDED,
           "the tenant's policy");
    is_int(led_event(l, "a", "e", 91, CYCLES_POLICIES, T0),
           CYCLES_BUDGET_EXCEEDED, "also of an event");

    snprintf(json, sizeof(json), file, "ALLOW_IF_AVAILABLE", 20000);
    led_budgets(l, json);

    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0 + 1), CYCLES_OK,
           "the same request under other defaults");
    is_str(led_rs.id, id, "is the same reservation");
    is_int(led_rs.expires_at_ms, T0 + 30000, "with its lifetime");

    rq.ttl_ms = 60000;
    rq.policy = CYCLES_ALLOW_IF_AVAILABLE;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK,
           "the protocol's defaults given");
    is_str(led_rs.id, id, "are the same request");
    rq.ttl_ms = 30000;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "the tenant's given are not");

    is_int(led_event(l, "a", "e", 91, CYCLES_POLICIES, T0), CYCLES_OK,
           "another policy for the event");
    is_int(led_st.charged, 90, "takes what there is");

    cycles_ledger_close(l);
}


static void
test_invalid(void)
{
    char               big[1040];
    unsigned           i;
    uint64_t           written;
    cycles_str_t       tag, tags[10];
    cycles_pair_t      dimension, dimensions[16];
    cycles_event_t     ev;
    cycles_ledger_t   *l;
    cycles_commit_t    cm;
    cycles_reserve_t   rq;

    static const char *names[] = {
        "no key", "a key of 1025", "a negative estimate", "no subject",
        "ttl 999", "ttl of more than a day", "grace -1", "grace 60001",
        "a bad character", "a value of 129", "no kind", "a kind of 257",
        "no name", "a name of 1025", "11 tags", "a tag of 257",
        "17 dimensions", "a dimension of 1025", "only dimensions",
        "a bad policy", "a bad unit", "metadata of 32 KB and more",
        "a dimension's name of 257"
    };

    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = '\0';

    l = led_fresh("tenant:a 100 0");
    written = cycles_ledger_written(l);

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        rq = led_reserve_rq("a", "k", 1);

        switch (i) {
        case 0: rq.idempotency_key.len = 0; break;
        case 1: rq.idempotency_key = str(big);
                rq.idempotency_key.len = 1025; break;
        case 2: rq.estimate = -1; break;
        case 3: memset(&rq.subject, 0, sizeof(rq.subject)); break;
        case 4: rq.ttl_ms = 999; break;
        case 5: rq.ttl_ms = 86400001; break;
        case 6: rq.grace_ms = -1; break;
        case 7: rq.grace_ms = 60001; break;
        case 8: rq.subject.levels[2] = str("a/b"); break;
        case 9: rq.subject.levels[2] = str(big);
                rq.subject.levels[2].len = 129; break;
        case 10: rq.action.kind.len = 0; break;
        case 11: rq.action.kind = str(big); rq.action.kind.len = 257; break;
        case 12: rq.action.name.len = 0; break;
        case 13: rq.action.name = str(big); rq.action.name.len = 1025; break;
        case 14: rq.action.ntags = 11; break;
        case 15: rq.action.ntags = 1; rq.action.tags = &tag;
                 tag = str(big); tag.len = 257; break;
        case 16: rq.subject.ndimensions = 17; break;
        case 17: rq.subject.ndimensions = 1;
                 rq.subject.dimensions = &dimension;
                 dimension.key = str("k"); dimension.value = str(big);
                 dimension.value.len = 1025; break;
        case 18: rq.subject.levels[0].len = 0;
                 rq.subject.ndimensions = 1;
                 rq.subject.dimensions = &dimension;
                 dimension.key = str("k"); dimension.value = str("v"); break;
        case 19: rq.policy = CYCLES_POLICIES + 1; break;
        case 20: rq.unit = CYCLES_UNITS; break;
        case 21: rq.metadata.data = (unsigned char *) big;
                 rq.metadata.len = 32769; break;
        case 22: rq.subject.ndimensions = 1;
                 rq.subject.dimensions = &dimension;
                 dimension.key = str(big); dimension.key.len = 257;
                 dimension.value = str("v"); break;
        }

        is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0),
               CYCLES_INVALID_REQUEST, "reserve with %s", names[i]);

        if (i > 0) {
            rq.dry_run = 1;
            is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0),
                   CYCLES_INVALID_REQUEST, "and as a dry run");
        }
    }

    is_int(led_event(l, "a", "", 1, 0, T0), CYCLES_INVALID_REQUEST,
           "an event without a key");
    is_int(led_event(l, "a", "k", -1, 0, T0), CYCLES_INVALID_REQUEST,
           "an event of less than nothing");

    written = cycles_ledger_written(l) - written;
    is_int(written, 0, "nothing was written");

    /* the longest of all that is allowed fits */

    rq = led_reserve_rq("a", "k", 1);
    rq.idempotency_key = str(big);
    rq.idempotency_key.len = 1024;
    rq.subject.levels[2] = str(big);
    rq.subject.levels[2].len = 128;
    rq.subject.levels[3] = rq.subject.levels[4] = rq.subject.levels[5]
                         = rq.subject.levels[1] = rq.subject.levels[2];
    rq.action.kind = str(big);
    rq.action.kind.len = 256;
    rq.action.name = str(big);
    rq.action.name.len = 1024;
    rq.action.tags = tags;
    rq.action.ntags = 10;
    rq.subject.dimensions = dimensions;
    rq.subject.ndimensions = 16;

    for (i = 0; i < 16; i++) {
        tags[i < 10 ? i : 0].data = (unsigned char *) big;
        tags[i < 10 ? i : 0].len = 256;
        dimensions[i].key.data = (unsigned char *) big;
        dimensions[i].key.len = 256 - i;
        dimensions[i].value.data = (unsigned char *) big;
        dimensions[i].value.len = 1024;
    }

    rq.metadata.data = calloc(1, 32768);
    rq.metadata.len = 32768;
    rq.trace_id.data = (unsigned char *) big;
    rq.trace_id.len = 32;

    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK,
           "the longest reserve");

    cm = led_commit_rq("k", 1);
    cm.idempotency_key = rq.idempotency_key;
    cm.metadata = rq.metadata;
    cm.metadata.len = 20000;
    cm.metrics.custom = rq.metadata;
    cm.metrics.custom.len = 12768;
    cm.metrics.model_version.data = (unsigned char *) big;
    cm.metrics.model_version.len = 600;
    is_int(cycles_ledger_commit(l, str(led_rs.id), &cm, &led_st, T0),
           CYCLES_OK, "a long commit, also with a model too long");

    ev.idempotency_key = rq.idempotency_key;
    ev.subject = rq.subject;
    ev.action = rq.action;
    ev.unit = rq.unit;
    ev.actual = 0;
    ev.policy = CYCLES_POLICIES;
    ev.metrics = cm.metrics;
    ev.metadata = cm.metadata;
    ev.client_time_ms = T0;
    ev.trace_id = rq.trace_id;
    is_int(cycles_ledger_event(l, &ev, &led_st, T0), CYCLES_OK,
           "the longest event");
    is_int(ledger_texts(l), 0, "with all of its texts");

    free(rq.metadata.data);

    led_reserve(l, "a", "k9", 1, T0);
    cm = led_commit_rq("k", 1);
    cm.actual = -1;
    is_int(cycles_ledger_commit(l, str(led_rs.id), &cm, &led_st, T0),
           CYCLES_INVALID_REQUEST, "commit of less than nothing");
    cm = led_commit_rq("", 1);
    is_int(cycles_ledger_commit(l, str(led_rs.id), &cm, &led_st, T0),
           CYCLES_INVALID_REQUEST, "commit without a key");
    cm = led_commit_rq("k", 1);
    cm.unit = CYCLES_CREDITS;
    is_int(cycles_ledger_commit(l, str(led_rs.id), &cm, &led_st, T0),
           CYCLES_UNIT_MISMATCH, "commit in another unit");

    cycles_ledger_close(l);

    l = led_open();
    is_str(led_balance(l, "tenant:a"), "r98 h1 s1 d0", "all of it is read");
    cycles_ledger_close(l);
}


/* nothing an operator does to limits makes a sum wrap */

static void
test_saturation(void)
{
    unsigned          i;
    char              key[16];
    led_look_t        look;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 0 9223372036854775807");

    for (i = 0; i < 3; i++) {
        snprintf(key, sizeof(key), "e%u", i);
        led_event(l, "a", key, INT64_MAX - 1, CYCLES_ALLOW_WITH_OVERDRAFT,
                  T0);
        led_define(l, "tenant:a 9223372036854775807 9223372036854775807");
        led_define(l, "tenant:a 0 9223372036854775807");
    }

    look = led_look(l, "tenant:a");
    is_int(look.balance.spent, INT64_MAX, "spent stops at the end");
    ok(look.balance.remaining < 0, "and remaining is far below zero");

    cycles_ledger_close(l);
    l = led_open();
    is_int(led_look(l, "tenant:a").balance.spent, INT64_MAX,
           "also after a restart");
    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_scopes();
    test_denials();
    test_denial_numbers();
    test_units();
    test_commit();
    test_event();
    test_in_flight();
    test_replay();
    test_failed_keys();
    test_release();
    test_expiry();
    test_expiry_many();
    test_extend();
    test_decisions();
    test_defaults();
    test_tenants();
    test_caps();
    test_caps_percent();
    test_due_first();
    test_invalid();
    test_saturation();

    return done_testing();
}
