
/*
 * Copyright (C) nginx-cycles authors
 *
 * The budgets file: what is accepted, the sentence for what is not, and what
 * applying it does to a ledger that is in use.
 */


#include "ledger.h"


#define BUDGET(scope, more)                                                   \
    "{\"budgets\":[{\"scope\":\"" scope "\",\"unit\":\"TOKENS\","             \
    "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":5}" more "}]}"

#define PERIOD(type, more)                                                    \
    ",\"period\":{\"type\":\"" type "\"" more "}"

#define CALENDAR(every)                                                       \
    PERIOD("calendar", ",\"every\":\"" every "\","                           \
           "\"timezone\":\"Europe/Berlin\"")

#define SHA  "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"


static void
test_errors(void)
{
    size_t             i, n;
    cycles_budgets_t  *b;

    static const struct {
        const char  *json;
        const char  *want;               /* all of the sentence, or "" */
    } t[] = {
        { "{}", "" },
        { "{\"budgets\":[]}", "" },
        { BUDGET("tenant:a", ""), "" },
        { BUDGET("tenant:a.b_c-9/app:x", ""), "" },
        { BUDGET("app:x", ""), "" },
        { BUDGET("tenant:a/workspace:b/app:c/workflow:d/agent:e/toolset:f",
                 ""), "" },

        { "", "line 1, column 0: '[' or '{' expected near end of file" },
        { "{", "line 1, column 1: string or '}' expected near end of file" },
        { "{\"budgets\":[],\"budgets\":[]}", "line 1, column 23: duplicate "
          "object key near '\"budgets\"'" },
        { "[]", "the document must be an object" },
        { "{\"budget\":[]}", "budget is not known" },
        { "{\"budgets\":{}}", "budgets must be an array" },
        { "{\"budgets\":[7]}", "budgets[0] must be an object" },
        { "{\"budgets\":[{}]}", "budgets[0].scope is missing" },
        { "{\"budgets\":[{\"scope\":7}]}",
          "budgets[0].scope must be a string" },
        { "{\"budgets\":[{\"scope\":\"\"}]}",
          "budgets[0].scope must have 1 to 840 bytes" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\"}]}",
          "budgets[0].unit is missing" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"EUR\"}]}",
          "budgets[0].unit must be \"USD_MICROCENTS\", \"TOKENS\", "
          "\"CREDITS\" or \"RISK_POINTS\"" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\"}]}",
          "budgets[0].allocated is missing" },

        { BUDGET("Tenant:a", ""),
          "budgets[0].scope \"Tenant:a\" must be in lower case" },
        { BUDGET("tenant:A", ""),
          "budgets[0].scope \"tenant:A\" must be in lower case" },
        { BUDGET("tenant", ""), "budgets[0].scope \"tenant\" must be "
          "\"level:value\", with \"/\" between several" },
        { BUDGET("tenant:a/", ""), "budgets[0].scope \"tenant:a/\" must be "
          "\"level:value\", with \"/\" between several" },
        { BUDGET("team:a", ""), "budgets[0].scope \"team:a\" has a level "
          "that is not tenant, workspace, app, workflow, agent or toolset" },
        { BUDGET("app:a/tenant:b", ""), "budgets[0].scope \"app:a/tenant:b\""
          " must have its levels in the order tenant, workspace, app, "
          "workflow, agent, toolset" },
        { BUDGET("app:a/app:b", ""), "budgets[0].scope \"app:a/app:b\" must "
          "have its levels in the order tenant, workspace, app, workflow, "
          "agent, toolset" },
        { BUDGET("tenant:", ""), "budgets[0].scope \"tenant:\" must have "
          "values of 1 to 128 letters, digits, \"_\", \".\" and \"-\"" },
        { BUDGET("tenant:a b", ""), "budgets[0].scope \"tenant:a b\" must "
          "have values of 1 to 128 letters, digits, \"_\", \".\" and "
          "\"-\"" },

        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":5}]}", "budgets[0].allocated must be an object" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"amount\":5}}]}", "budgets[0].allocated.unit must "
          "be \"TOKENS\", the unit of the budget" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"CREDITS\",\"amount\":5}}]}",
          "budgets[0].allocated.unit must be \"TOKENS\", the unit of the "
          "budget" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\"}}]}",
          "budgets[0].allocated.amount is missing" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1.5}}]}",
          "budgets[0].allocated.amount must be an integer from 0 to "
          "9223372036854775807" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":-1}}]}",
          "budgets[0].allocated.amount must be an integer from 0 to "
          "9223372036854775807" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":\"5\"}}]}",
          "budgets[0].allocated.amount must be an integer from 0 to "
          "9223372036854775807" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1,\"x\":1}}]}",
          "budgets[0].allocated.x is not known" },

        { BUDGET("tenant:a", ",\"overdraft_limit\":{\"unit\":\"TOKENS\","
                 "\"amount\":null}"), "budgets[0].overdraft_limit.amount "
          "must be an integer from 0 to 9223372036854775807" },
        { BUDGET("tenant:a", ",\"commit_overage_policy\":\"YES\""),
          "budgets[0].commit_overage_policy must be \"REJECT\", "
          "\"ALLOW_IF_AVAILABLE\" or \"ALLOW_WITH_OVERDRAFT\"" },
        { BUDGET("tenant:a", ",\"commit_overage_policy\":1"),
          "budgets[0].commit_overage_policy must be \"REJECT\", "
          "\"ALLOW_IF_AVAILABLE\" or \"ALLOW_WITH_OVERDRAFT\"" },
        { BUDGET("tenant:a", ",\"remaining\":1"),
          "budgets[0].remaining is not known" },

        { BUDGET("tenant:a", CALENDAR("day")), "" },
        { BUDGET("tenant:a", CALENDAR("week")), "" },
        { BUDGET("tenant:a", CALENDAR("month")), "" },
        { BUDGET("tenant:a", CALENDAR("quarter")), "" },
        { BUDGET("tenant:a", CALENDAR("year")), "" },
        { BUDGET("tenant:a", PERIOD("calendar", ",\"every\":\"day\"")), "" },
        { BUDGET("tenant:a", PERIOD("rolling", ",\"seconds\":1")), "" },
        { BUDGET("tenant:a", PERIOD("rolling", ",\"seconds\":315360000")),
          "" },
        { BUDGET("tenant:a", ",\"period\":null"),
          "budgets[0].period must be an object" },
        { BUDGET("tenant:a", ",\"period\":\"month\""),
          "budgets[0].period must be an object" },
        { BUDGET("tenant:a", ",\"period\":{}"),
          "budgets[0].period.type must be \"calendar\" or \"rolling\"" },
        { BUDGET("tenant:a", PERIOD("monthly", "")),
          "budgets[0].period.type must be \"calendar\" or \"rolling\"" },
        { BUDGET("tenant:a", CALENDAR("hour")),
          "budgets[0].period.every must be \"day\", \"week\", \"month\", "
          "\"quarter\" or \"year\"" },
        { BUDGET("tenant:a", PERIOD("calendar", "")),
          "budgets[0].period.every must be \"day\", \"week\", \"month\", "
          "\"quarter\" or \"year\"" },
        { BUDGET("tenant:a", PERIOD("calendar", ",\"every\":1")),
          "budgets[0].period.every must be \"day\", \"week\", \"month\", "
          "\"quarter\" or \"year\"" },
        { BUDGET("tenant:a", PERIOD("calendar", ",\"every\":\"day\","
                 "\"seconds\":1")),
          "budgets[0].period.seconds is not known" },
        { BUDGET("tenant:a", PERIOD("calendar", ",\"every\":\"day\","
                 "\"timezone\":1")),
          "budgets[0].period.timezone must be a string" },
        { BUDGET("tenant:a", PERIOD("calendar", ",\"every\":\"day\","
                 "\"timezone\":\"Mars/Olympus\"")),
          "budgets[0].period.timezone can't be used: time zone "
          "\"Mars/Olympus\": there is no such file in /usr/share/zoneinfo" },
        { BUDGET("tenant:a", PERIOD("calendar", ",\"every\":\"day\","
                 "\"timezone\":\"../zoneinfo/UTC\"")),
          "budgets[0].period.timezone can't be used: a time zone is a name "
          "of the IANA database, for example \"Europe/Berlin\"" },
        { BUDGET("tenant:a", PERIOD("rolling", "")),
          "budgets[0].period.seconds is missing" },
        { BUDGET("tenant:a", PERIOD("rolling", ",\"seconds\":0")),
          "budgets[0].period.seconds must be an integer from 1 to "
          "315360000" },
        { BUDGET("tenant:a", PERIOD("rolling", ",\"seconds\":1.5")),
          "budgets[0].period.seconds must be an integer from 1 to "
          "315360000" },
        { BUDGET("tenant:a", PERIOD("rolling", ",\"seconds\":60,"
                 "\"every\":\"day\"")),
          "budgets[0].period.every is not known" },
        { BUDGET("tenant:a", CALENDAR("day") ",\"caps\":1"),
          "budgets[0].caps must be an object" },

        { BUDGET("tenant:a", ",\"caps\":{\"max_tokens\":0}"), "" },
        { BUDGET("tenant:a", ",\"caps\":{\"tool_allowlist\":[]}"), "" },
        { BUDGET("tenant:a", ",\"caps\":{}"),
          "budgets[0].caps limits nothing" },
        { BUDGET("tenant:a", ",\"caps\":{\"above_percent\":80}"),
          "budgets[0].caps limits nothing" },
        { BUDGET("tenant:a", ",\"caps\":1"),
          "budgets[0].caps must be an object" },
        { BUDGET("tenant:a", ",\"caps\":{\"max_token\":1}"),
          "budgets[0].caps.max_token is not known" },
        { BUDGET("tenant:a", ",\"caps\":{\"above_percent\":101}"),
          "budgets[0].caps.above_percent must be an integer from 0 to 100" },
        { BUDGET("tenant:a", ",\"caps\":{\"max_tokens\":-1}"),
          "budgets[0].caps.max_tokens must be an integer from 0 to "
          "9223372036854775807" },
        { BUDGET("tenant:a", ",\"caps\":{\"tool_denylist\":\"x\"}"),
          "budgets[0].caps.tool_denylist must be an array of strings" },
        { BUDGET("tenant:a", ",\"caps\":{\"tool_denylist\":[1]}"),
          "budgets[0].caps.tool_denylist must be an array of strings" },
        { BUDGET("tenant:a", ",\"caps\":{\"tool_denylist\":[\"\"]}"),
          "budgets[0].caps.tool_denylist must have names of 1 to 256 "
          "bytes" },

        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1}},"
          "{\"scope\":\"tenant:b\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1}},"
          "{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1}}]}",
          "budgets has scope \"tenant:a\" with unit \"TOKENS\" twice" },
        { "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1}},"
          "{\"scope\":\"tenant:a\",\"unit\":\"CREDITS\","
          "\"allocated\":{\"unit\":\"CREDITS\",\"amount\":1}}]}", "" },

        { "{\"tenants\":[{}]}", "tenants[0].tenant_id is missing" },
        { "{\"tenants\":[{\"tenant_id\":\"A\"}]}", "tenants[0].tenant_id "
          "must have lower-case letters, digits, \"-\", \"_\" and \".\" "
          "only" },
        { "{\"tenants\":[{\"tenant_id\":\"a\",\"nam\":\"x\"}]}",
          "tenants[0].nam is not known" },
        { "{\"tenants\":[{\"tenant_id\":\"a\"},{\"tenant_id\":\"a\"}]}",
          "tenants has \"a\" twice" },
        { "{\"tenants\":[{\"tenant_id\":\"a\","
          "\"max_reservation_ttl_ms\":999}]}",
          "tenants[0].max_reservation_ttl_ms must be an integer from 1000 "
          "to 86400000" },
        { "{\"tenants\":[{\"tenant_id\":\"a\","
          "\"max_reservation_extensions\":-1}]}",
          "tenants[0].max_reservation_extensions must be an integer from 0 "
          "to 4294967295" },

        { "{\"api_keys\":[{\"tenant_id\":\"a\"}]}",
          "api_keys[0].secret_sha256 is missing" },
        { "{\"api_keys\":[{\"tenant_id\":\"a\",\"secret_sha256\":\"0\"}]}",
          "api_keys[0].secret_sha256 must be a SHA-256 in 64 hexadecimal "
          "digits" },
        { "{\"api_keys\":[{\"tenant_id\":\"a\",\"secret\":\"0\"}]}",
          "api_keys[0].secret is not known" },
        { "{\"api_keys\":[{\"tenant_id\":\"a\",\"secret_sha256\":\"" SHA
          "\"}]}", "api_keys[0].tenant_id \"a\" is not one of the tenants" },
        { "{\"tenants\":[{\"tenant_id\":\"a\"}],"
          "\"api_keys\":[{\"tenant_id\":\"a\",\"secret_sha256\":\"" SHA
          "\"},{\"tenant_id\":\"a\",\"secret_sha256\":\"" SHA "\"}]}",
          "api_keys has the same secret_sha256 twice" },
        { "{\"tenants\":[{\"tenant_id\":\"a\",\"name\":\"n\"}],"
          "\"api_keys\":[{\"tenant_id\":\"a\",\"name\":\"k\","
          "\"secret_sha256\":\"" SHA "\"}],\"admin_key_sha256\":\"" SHA
          "\"}", "" },
        { "{\"admin_key_sha256\":null}", "admin_key_sha256 must be a "
          "SHA-256 in 64 hexadecimal digits" },
        { "{\"admin_key_sha256\":\"g0112233445566778899aabbccddeeff"
          "00112233445566778899AABBCCDDEEFF\"}", "admin_key_sha256 must be "
          "a SHA-256 in 64 hexadecimal digits" }
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        led_err[0] = '\0';
        b = cycles_budgets_parse(t[i].json, strlen(t[i].json), led_err,
                                 sizeof(led_err));

        /* what to write instead follows */

        n = strlen(t[i].want);
        ok(n ? strncmp(led_err, t[i].want, n) == 0 : led_err[0] == '\0',
           "%.60s: \"%s\", not \"%s\"", t[i].json, led_err, t[i].want);
        ok((b == NULL) == (t[i].want[0] != '\0'), "accepted or not");

        if (b) {
            cycles_budgets_free(b);
        }
    }

    b = cycles_budgets_parse("{\"budgets\":[]}\0x", 16, led_err,
                             sizeof(led_err));
    ok(b == NULL, "a zero byte");
}


static void
test_values(void)
{
    cycles_budgets_t  *b;

    static const char  *json =
        "{\"tenants\":[{\"tenant_id\":\"acme\",\"name\":\"Acme\","
        "\"default_commit_overage_policy\":\"REJECT\","
        "\"default_reservation_ttl_ms\":2000,"
        "\"max_reservation_ttl_ms\":3000,"
        "\"max_reservation_extensions\":4}],"
        "\"budgets\":[{\"scope\":\"tenant:acme\",\"unit\":\"CREDITS\","
        "\"allocated\":{\"unit\":\"CREDITS\",\"amount\":9007199254740993},"
        "\"overdraft_limit\":{\"unit\":\"CREDITS\","
        "\"amount\":9223372036854775807},"
        "\"commit_overage_policy\":\"ALLOW_WITH_OVERDRAFT\","
        "\"caps\":{\"above_percent\":80,\"max_tokens\":512,"
        "\"tool_denylist\":[ \"web_search\", \"\\u00fc\" ]}}],"
        "\"api_keys\":[{\"tenant_id\":\"acme\",\"name\":\"dev\","
        "\"secret_sha256\":\"" SHA "\"}],"
        "\"admin_key_sha256\":\"" SHA "\"}";

    b = cycles_budgets_parse(json, strlen(json), led_err, sizeof(led_err));

    if (!ok(b != NULL, "parsed")) {
        printf("# %s\n", led_err);
        return;
    }

    ok(b->ntenants == 1 && b->nbudgets == 1 && b->napi_keys == 1, "counts");
    is_int(b->tenants[0].policy, CYCLES_REJECT, "tenant: policy");
    is_int(b->tenants[0].default_ttl_ms, 2000, "tenant: default ttl");
    is_int(b->tenants[0].max_ttl_ms, 3000, "tenant: max ttl");
    is_int(b->tenants[0].max_extensions, 4, "tenant: extensions");
    is_int(b->budgets[0].unit, CYCLES_CREDITS, "unit");
    is_int(b->budgets[0].allocated, 9007199254740993, "allocated");
    is_int(b->budgets[0].overdraft_limit, INT64_MAX, "overdraft limit");
    is_int(b->budgets[0].policy, CYCLES_ALLOW_WITH_OVERDRAFT, "policy");
    is_int(b->budgets[0].above_percent, 80, "above percent");
    is_int(b->budgets[0].caps.max_tokens, 512, "max tokens");
    is_int(b->budgets[0].caps.cooldown_ms, -1, "no cooldown");
    ok(b->budgets[0].caps.tool_denylist.len == 19
       && memcmp(b->budgets[0].caps.tool_denylist.data,
                 "[\"web_search\",\"\xc3\xbc\"]", 19) == 0, "denylist");
    ok(b->api_keys[0].sha256[1] == 0x11 && b->api_keys[0].sha256[31] == 0xff,
       "api key");
    ok(b->has_admin_key && b->admin_key[30] == 0xee, "admin key");

    cycles_budgets_free(b);
}


static void
test_apply(void)
{
    uint64_t          written;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 100 20,tenant:b 100 0");
    written = cycles_ledger_written(l);

    led_define(l, "tenant:a 100 20,tenant:b 100 0");
    is_int(cycles_ledger_written(l), written, "the same again: no record");

    led_reserve(l, "a", "k", 30, T0);
    led_commit(l, led_rs.id, "c", 25, T0);
    led_reserve(l, "a", "k2", 10, T0);

    led_define(l, "tenant:a 200 20");
    is_str(led_balance(l, "tenant:a"), "r165 h10 s25 d0",
           "a raised limit keeps what was spent and held");
    is_str(led_balance(l, "tenant:b"), "r100 h0 s0 d0",
           "what is not named any more stays");
    is_int(cycles_ledger_written(l), written + 4, "one record for it");

    led_define(l, "tenant:a 20 20");
    is_str(led_balance(l, "tenant:a"), "r-15 h10 s25 d0",
           "a lowered limit may be below what was spent");
    is_int(led_reserve(l, "a", "k3", 0, T0), CYCLES_BUDGET_EXCEEDED,
           "then there is nothing to reserve");
    is_int(led_commit(l, led_rs.id, "c", 1, T0), CYCLES_NOT_FOUND,
           "nor anything to commit");

    /* over its limit, until an operator does something about it */

    led_define(l, "tenant:a 100 0");
    led_event(l, "a", "e", 500, CYCLES_ALLOW_IF_AVAILABLE, T0);
    is_str(led_balance(l, "tenant:a"), "r0 h10 s90 d0 over", "over");
    led_define(l, "tenant:a 100 0");
    is_str(led_balance(l, "tenant:a"), "r0 h10 s90 d0 over",
           "the same file does not change that");
    led_define(l, "tenant:a 150 0");
    is_str(led_balance(l, "tenant:a"), "r50 h10 s90 d0",
           "another limit clears it");

    /* debt is paid from what is added */

    led_define(l, "tenant:b 100 50");
    led_event(l, "b", "e", 140, CYCLES_ALLOW_WITH_OVERDRAFT, T0);
    is_str(led_balance(l, "tenant:b"), "r-40 h0 s100 d40", "debt");
    led_define(l, "tenant:b 100 30");
    is_str(led_balance(l, "tenant:b"), "r-40 h0 s100 d40 over",
           "a limit below the debt");
    led_define(l, "tenant:b 110 30");
    is_str(led_balance(l, "tenant:b"), "r-30 h0 s110 d30",
           "10 more pay 10 of it");
    led_define(l, "tenant:b 200 30");
    is_str(led_balance(l, "tenant:b"), "r60 h0 s140 d0",
           "90 more pay the rest");

    led_define(l, "tenant:c 7 0");
    is_str(led_balance(l, "tenant:c"), "r7 h0 s0 d0", "a new one");

    cycles_ledger_close(l);
    l = led_open();
    is_str(led_balance(l, "tenant:a"), "r50 h10 s90 d0", "after a restart");
    is_str(led_balance(l, "tenant:b"), "r60 h0 s140 d0", "after a restart");
    cycles_ledger_close(l);
}


static void
test_apply_others(void)
{
    uint8_t           sha[32];
    uint64_t          written;
    cycles_ledger_t  *l;
    cycles_tenant_t  *tenant;

    static const char  *one =
        "{\"tenants\":[{\"tenant_id\":\"a\",\"name\":\"One\"}],"
        "\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
        "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1},"
        "\"caps\":{\"max_tokens\":5,\"tool_allowlist\":[\"x\"]}}],"
        "\"api_keys\":[{\"tenant_id\":\"a\",\"name\":\"dev\","
        "\"secret_sha256\":\"" SHA "\"}],\"admin_key_sha256\":\"" SHA "\"}";
    static const char  *two =
        "{\"tenants\":[{\"tenant_id\":\"a\",\"name\":\"Another\"},"
        "{\"tenant_id\":\"b\"}],"
        "\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
        "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1},"
        "\"caps\":{\"max_tokens\":5,\"tool_allowlist\":[\"y\"]}}],"
        "\"api_keys\":[{\"tenant_id\":\"b\",\"name\":\"dev\","
        "\"secret_sha256\":\"" SHA "\"}]}";

    led_clean();
    l = led_open();
    led_budgets(l, one);
    written = cycles_ledger_written(l);
    is_int(written, 4, "a tenant, a budget, a key and the admin's");
    led_budgets(l, one);
    is_int(cycles_ledger_written(l), written, "the same again: no record");

    led_budgets(l, two);
    is_int(cycles_ledger_written(l), written + 4,
           "a changed and a new tenant, changed caps, a moved key");
    led_budgets(l, two);
    is_int(cycles_ledger_written(l), written + 4, "the same again");

    tenant = cycles_tenant_find(l, (unsigned char *) "a", 1);
    ok(tenant->name.len == 7
       && memcmp(cycles_memory_at(l, tenant->name.ref), "Another", 7) == 0,
       "the new name");

    memcpy(sha, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd"
                "\xee\xff", 16);
    memcpy(sha + 16, sha, 16);
    ok(cycles_api_key_find(l, sha)
       && cycles_memory_at(l, cycles_api_key_find(l, sha)->tenant)
          == cycles_tenant_find(l, (unsigned char *) "b", 1),
       "the key is of the other tenant");

    cycles_ledger_close(l);
}


/* many, found again by their scopes, and walked through once each */

static void
test_many(void)
{
    int                n;
    char              *json, scope[64];
    uint64_t           cursor, before, steps;
    unsigned           i, wrong;
    led_look_t         look;
    cycles_ledger_t   *l;
    cycles_budgets_t  *b;

    json = malloc(30000 * 160);
    n = sprintf(json, "{\"budgets\":[");

    for (i = 0; i < 30000; i++) {
        n += sprintf(json + n, "%s{\"scope\":\"tenant:t%u\","
                     "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":"
                     "\"TOKENS\",\"amount\":%u}}", i ? "," : "", i, i);
    }

    sprintf(json + n, "]}");

    led_clean();
    l = led_open_size(16 * 1024 * 1024, 0);
    led_budgets(l, json);

    for (wrong = 0, i = 1; i < 30000; i += 97) {
        snprintf(scope, sizeof(scope), "t%u", i);
        wrong += led_reserve(l, scope, scope, i, T0) != CYCLES_OK;
        wrong += led_reserve(l, scope, "more", 1, T0)
                 != CYCLES_BUDGET_EXCEEDED;
    }

    is_int(wrong, 0, "each is found");

    memset(&look, 0, sizeof(look));

    for (steps = 0, cursor = 0; steps == 0 || cursor; steps++) {
        before = cursor;
        cycles_ledger_balances(l, &cursor, 1000, T0, led_look_walk, &look);

        if (cursor && cursor != before + 1000) {
            wrong++;
        }
    }

    is_int(steps, 30, "30000 in steps of 1000");
    is_int(wrong, 0, "no step is short");
    is_int(look.broken, 0, "all sums are right");
    cycles_ledger_close(l);

    /* what does not fit is refused as a whole */

    led_clean();
    l = led_open_size(CYCLES_LEDGER_MIN_ZONE, 0);
    b = cycles_budgets_parse(json, strlen(json), led_err, sizeof(led_err));
    is_int(cycles_ledger_apply(l, b, T0, led_err, sizeof(led_err)), -1,
           "30000 don't fit into 1 MB");
    ok(strstr(led_err, "larger zone") != NULL, "it says so");
    is_int(cycles_ledger_written(l), 0, "nothing of it was applied");
    led_define(l, "tenant:a 5 0");
    is_int(led_reserve(l, "a", "k", 5, T0), CYCLES_OK, "it still works");
    cycles_ledger_close(l);

    cycles_budgets_free(b);
    free(json);
}


int
main(void)
{
    led_start();

    test_errors();
    test_values();
    test_apply();
    test_apply_others();
    test_many();

    return done_testing();
}
