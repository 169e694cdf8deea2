
/*
 * Copyright (C) nginx-cycles authors
 *
 * The JSON of the HTTP API: bodies of requests, and of answers.
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cycles_api.h"
#include "cycles_time.h"
#include "tap.h"


static int read_text(cycles_api_request_t *rq, cycles_api_operation_t op,
    const char *text);
static int refused(cycles_api_operation_t op, const char *text,
    const char *want);
static cycles_str_t str(const char *text);
static const char *text_of(cycles_json_t *js);
static void test_reserve(void);
static void test_canonical(void);
static void test_lengths(void);
static void test_refused(void);
static void test_every_prefix(void);
static void test_errors(void);
static void test_reserved(void);
static void test_settled(void);
static void test_statuses(void);
static void test_times(void);
static void test_integers(void);


#define SUBJECT  "\"subject\":{\"tenant\":\"acme\",\"agent\":\"a\"," \
                 "\"dimensions\":{\"team\":\"x\"}}"
#define ACTION   "\"action\":{\"kind\":\"k\",\"name\":\"n\",\"tags\":[\"t\"]}"
#define ESTIMATE "\"estimate\":{\"unit\":\"TOKENS\"," \
                 "\"amount\":9007199254740993}"
#define RESERVE  "{\"idempotency_key\":\"k\"," SUBJECT "," ACTION "," \
                 ESTIMATE


static char           err[CYCLES_API_MESSAGE];
static unsigned char  buf[16384];


int
main(void)
{
    test_reserve();
    test_canonical();
    test_lengths();
    test_refused();
    test_every_prefix();
    test_errors();
    test_reserved();
    test_settled();
    test_statuses();
    test_times();
    test_integers();

    return done_testing();
}


static int
read_text(cycles_api_request_t *rq, cycles_api_operation_t op,
    const char *text)
{
    err[0] = '\0';

    return cycles_api_read(rq, op, (const unsigned char *) text, strlen(text),
                           err, sizeof(err));
}


static int
refused(cycles_api_operation_t op, const char *text, const char *want)
{
    cycles_api_request_t  rq;

    if (read_text(&rq, op, text) == 0) {
        cycles_api_free(&rq);
        return ok(0, "%s is refused", text);
    }

    return ok(strstr(err, want) != NULL, "%.100s: %s", text, err);
}


static cycles_str_t
str(const char *text)
{
    cycles_str_t  s;

    s.len = strlen(text);
    s.data = (unsigned char *) text;

    return s;
}


static const char *
text_of(cycles_json_t *js)
{
    buf[js->len < sizeof(buf) ? js->len : sizeof(buf) - 1] = '\0';

    return (const char *) buf;
}


static void
test_reserve(void)
{
    cycles_api_request_t  rq;

    is_int(read_text(&rq, CYCLES_API_RESERVE, RESERVE "}"), 0,
           "the least: %s", err);
    ok(rq.amount == 9007199254740993LL, "an amount above 2^53");
    is_int(rq.unit, CYCLES_TOKENS, "its unit");
    is_int(rq.ttl_ms, -1, "no lifetime");
    is_int(rq.grace_ms, 5000, "the default grace period");
    is_int(rq.policy, CYCLES_POLICIES, "no policy");
    is_int(rq.dry_run, 0, "no dry run");
    is_int(rq.metadata.len, 0, "no metadata");
    is_int(rq.subject.levels[CYCLES_AGENT].len, 1, "a level");
    is_int(rq.subject.levels[CYCLES_APP].len, 0, "another one is missing");
    is_int(rq.subject.ndimensions, 1, "a dimension");
    is_int(rq.action.ntags, 1, "a tag");
    cycles_api_free(&rq);
    cycles_api_free(&rq);

    is_int(read_text(&rq, CYCLES_API_RESERVE, RESERVE ",\"ttl_ms\":1000,"
                     "\"grace_period_ms\":0,\"overage_policy\":\"REJECT\","
                     "\"dry_run\":true,\"metadata\":{}}"), 0, "all: %s", err);
    is_int(rq.ttl_ms, 1000, "lifetime");
    is_int(rq.grace_ms, 0, "grace period");
    is_int(rq.policy, CYCLES_REJECT, "policy");
    is_int(rq.dry_run, 1, "dry run");
    is_int(rq.metadata.len, 2, "metadata");
    cycles_api_free(&rq);
}


/* equal values have one text, others have another one */

static void
test_canonical(void)
{
    size_t                i;
    char                  text[1024], one[256];
    cycles_api_request_t  rq;

    static const struct {
        const char  *value;
        const char  *want;
    } t[] = {
        { "{ }", "{}" },
        { "{\"b\": [1, {\"d\": 2, \"c\": null}], \"a\": \"\\u0041\"}",
          "{\"a\":\"A\",\"b\":[1,{\"c\":null,\"d\":2}]}" },
        { "{\"ab\":1,\"a\":2,\"\":3,\"B\":4,\"\\u00e9\":5,\"z\":6}",
          "{\"\":3,\"B\":4,\"a\":2,\"ab\":1,\"z\":6,\"\xc3\xa9\":5}" },
        { "{\"a\":[true, false, null, \"\\/\\u001f\\\"\"]}",
          "{\"a\":[true,false,null,\"/\\u001f\\\"\"]}" },
        { "{\"a\":[0, -0, 0.0, -0.0, 0e5, 1e-400]}",
          "{\"a\":[0,0,0,0,0,0]}" },
        { "{\"a\":[1.0, 1e0, 10e-1, 100E-2]}", "{\"a\":[1,1,1,1]}" },
        { "{\"a\":[0.1, 1e-1, 0.10]}", "{\"a\":[0.1,0.1,0.1]}" },
        { "{\"a\":[0.30000000000000004, 1e21, 1.5e300, -2.5]}",
          "{\"a\":[0.30000000000000004,1e+21,1.5e+300,-2.5]}" },
        { "{\"a\":[9007199254740993, 9223372036854775807,"
          " -9223372036854775808]}",
          "{\"a\":[9007199254740993,9223372036854775807,"
          "-9223372036854775808]}" },
        { "{\"a\":[9007199254740991.0, 9007199254740992.0]}",
          "{\"a\":[9007199254740991,9007199254740992]}" },
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        snprintf(text, sizeof(text), "{\"idempotency_key\":\"k\",\"actual\":"
                 "{\"unit\":\"TOKENS\",\"amount\":1},\"metadata\":%s,"
                 "\"metrics\":{\"custom\":%s}}", t[i].value, t[i].value);

        is_int(read_text(&rq, CYCLES_API_COMMIT, text), 0, "%s: %s",
               t[i].value, err);

        snprintf(one, sizeof(one), "%.*s", (int) rq.metadata.len,
                 rq.metadata.data);
        is_str(one, t[i].want, "metadata");

        snprintf(one, sizeof(one), "%.*s", (int) rq.metrics.custom.len,
                 rq.metrics.custom.data);
        is_str(one, t[i].want, "custom metrics");

        cycles_api_free(&rq);
    }
}


/* what a schema calls a length is a number of characters */

static void
test_lengths(void)
{
    char                 *text, *p;
    size_t                n;
    cycles_api_request_t  rq;

    text = malloc(CYCLES_API_MAX_BODY);

    for (n = 256; n < 258; n++) {
        p = text + sprintf(text, "{\"idempotency_key\":\"");

        while (p < text + 20 + 4 * n) {
            p += sprintf(p, "\xf0\x9f\x92\xb0");
        }

        sprintf(p, "\"}");

        is_int(read_text(&rq, CYCLES_API_RELEASE, text), n == 256 ? 0 : -1,
               "a key of %zu characters of four bytes: %s", n, err);

        if (n == 256) {
            is_int(rq.idempotency_key.len, 1024, "in bytes");
            cycles_api_free(&rq);
        }
    }

    for (n = CYCLES_API_MAX_METADATA / 2; n <= CYCLES_API_MAX_METADATA;
         n += CYCLES_API_MAX_METADATA / 2)
    {
        sprintf(text, "{\"idempotency_key\":\"k\",\"actual\":{\"unit\":"
                "\"TOKENS\",\"amount\":1},\"metadata\":{\"a\":\"%0*d\"},"
                "\"metrics\":{\"custom\":{\"a\":\"%0*d\"}}}",
                CYCLES_API_MAX_METADATA / 2 - 8, 0, (int) n - 8, 0);

        is_int(read_text(&rq, CYCLES_API_COMMIT, text),
               n == CYCLES_API_MAX_METADATA ? -1 : 0,
               "metadata of 16384 bytes and metrics of %zu: %s", n, err);
        cycles_api_free(&rq);
    }

    ok(strstr(err, "together") != NULL, "it is the sum");

    sprintf(text, "{\"idempotency_key\":\"k\",\"extend_by_ms\":1,"
            "\"metadata\":{\"a\":\"%0*d\"}}", CYCLES_API_MAX_METADATA - 7, 0);
    is_int(read_text(&rq, CYCLES_API_EXTEND, text), -1, "32769 bytes: %s",
           err);

    free(text);
}


static void
test_refused(void)
{
    refused(CYCLES_API_RESERVE, "", "not the JSON");
    refused(CYCLES_API_RESERVE, "[]", "must be a JSON object");
    refused(CYCLES_API_RESERVE, "{}", "\"idempotency_key\" is missing");
    refused(CYCLES_API_RESERVE, RESERVE ",\"x\":1}",
            "\"x\" is not a member of this request");
    refused(CYCLES_API_RESERVE, RESERVE ",\"actual\":1}",
            "\"actual\" is not a member of this request");
    refused(CYCLES_API_RESERVE, RESERVE ",\"ttl_ms\":1000.5}",
            "\"ttl_ms\" must be an integer");
    refused(CYCLES_API_RESERVE, RESERVE ",\"ttl_ms\":null}",
            "\"ttl_ms\" must be an integer");
    refused(CYCLES_API_RESERVE, RESERVE ",\"ttl_ms\":999}",
            "\"ttl_ms\" must be at least 1000");
    refused(CYCLES_API_RESERVE, RESERVE ",\"ttl_ms\":86400001}",
            "\"ttl_ms\" must be at most 86400000");
    refused(CYCLES_API_RESERVE, RESERVE ",\"ttl_ms\":1000,\"ttl_ms\":1000}",
            "duplicate");
    refused(CYCLES_API_DECIDE, RESERVE ",\"ttl_ms\":1000}",
            "\"ttl_ms\" is not a member");
    refused(CYCLES_API_RELEASE, "{\"idempotency_key\":\"k\",\"metadata\":{}}",
            "\"metadata\" is not a member");
    refused(CYCLES_API_EXTEND, "{\"idempotency_key\":\"k\"}",
            "\"extend_by_ms\" is missing");
    refused(CYCLES_API_COMMIT, "{\"idempotency_key\":\"k\",\"actual\":"
            "{\"unit\":\"TOKENS\",\"amount\":-1}}",
            "\"actual.amount\" must be at least 0");
    refused(CYCLES_API_COMMIT, "{\"idempotency_key\":\"k\",\"actual\":"
            "{\"unit\":\"TOKENS\",\"amount\":1,\"x\":1}}",
            "\"x\" is not a member of \"actual\"");
    refused(CYCLES_API_COMMIT, "{\"idempotency_key\":\"k\",\"actual\":"
            "{\"unit\":\"TOKENS\",\"amount\":9223372036854775808}}",
            "too big");
    refused(CYCLES_API_RELEASE, "{\"idempotency_key\":\"k\",\"reason\":"
            "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1"
            "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
            "32 levels");
}


/* a body that breaks off anywhere is refused, with a sentence */

static void
test_every_prefix(void)
{
    int                   rc;
    char                 *copy;
    size_t                i, len;
    unsigned              bad;
    static const char     text[] = RESERVE ",\"metadata\":{\"a\":"
                                   "\"\\u00e9\"}}";
    cycles_api_request_t  rq;

    for (bad = 0, len = sizeof(text) - 1, i = 0; i < len; i++) {

        /* of its own size: what reads past the end is seen */

        copy = malloc(i + 1);
        memcpy(copy, text, i);
        err[0] = '\0';

        rc = cycles_api_read(&rq, CYCLES_API_RESERVE, (unsigned char *) copy,
                             i, err, sizeof(err));
        bad += (rc == 0 || err[0] == '\0');

        if (rc == 0) {
            cycles_api_free(&rq);
        }

        free(copy);
    }

    is_int(bad, 0, "%zu beginnings of a body", i);
}


static void
test_errors(void)
{
    cycles_json_t       js;
    cycles_denial_t     denial;
    cycles_api_error_t  error;

    memset(&denial, 0, sizeof(denial));
    memcpy(denial.scope, "tenant:a", 8);
    denial.scope_len = 8;
    denial.requested = INT64_MAX;
    denial.remaining = -5;
    denial.held = 7;

    cycles_api_refused(&error, CYCLES_BUDGET_EXCEEDED, CYCLES_TOKENS, &denial);
    error.request_id = str("r");
    error.trace_id = str("t");

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_error(&js, &error);
    is_str(text_of(&js), "{\"error\":\"BUDGET_EXCEEDED\",\"message\":"
           "\"Budget exceeded for scope: tenant:a\",\"request_id\":\"r\","
           "\"trace_id\":\"t\",\"details\":{\"scope\":\"tenant:a\","
           "\"requested\":9223372036854775807,\"remaining\":-5,\"held\":7,"
           "\"unit\":\"TOKENS\"}}", "a denial");

    cycles_api_refused(&error, CYCLES_UNIT_MISMATCH, CYCLES_CREDITS, &denial);
    error.expected_units = 1u << CYCLES_TOKENS | 1u << CYCLES_USD_MICROCENTS;

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_error(&js, &error);
    ok(strstr(text_of(&js), "\"details\":{\"scope\":\"tenant:a\","
              "\"requested_unit\":\"CREDITS\",\"expected_units\":"
              "[\"USD_MICROCENTS\",\"TOKENS\"]}}") != NULL, "another unit: %s",
       text_of(&js));

    cycles_api_error_init(&error, CYCLES_INVALID_REQUEST, "a \"%s\"", "\x01");
    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_error(&js, &error);
    ok(strstr(text_of(&js), "\"message\":\"a \\\"\\u0001\\\"\"") != NULL
       && strstr(text_of(&js), "details") == NULL, "no details: %s",
       text_of(&js));
}


static void
test_reserved(void)
{
    cycles_json_t         js;
    cycles_reserved_t     rs;
    cycles_api_request_t  rq;

    memset(&rs, 0, sizeof(rs));
    memset(&rq, 0, sizeof(rq));

    rs.decision = CYCLES_ALLOW_WITH_CAPS;
    rs.reserved = INT64_MAX;
    rs.expires_at_ms = 2;
    rs.remaining_ttl_ms = -1;
    memcpy(rs.id, "id", 3);
    memcpy(rs.scope_path, "tenant:a/app:b", 14);
    rs.scope_path_len = 14;
    rs.caps.max_tokens = 0;
    rs.caps.max_steps_remaining = -1;
    rs.caps.cooldown_ms = -1;
    rs.caps.tool_denylist = str("[\"x\"]");

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_reserved(&js, CYCLES_API_RESERVE, &rq, &rs);
    is_str(text_of(&js), "{\"decision\":\"ALLOW_WITH_CAPS\","
           "\"affected_scopes\":[\"tenant:a\",\"tenant:a/app:b\"],"
           "\"scope_path\":\"tenant:a/app:b\",\"reservation_id\":\"id\","
           "\"reserved\":{\"unit\":\"USD_MICROCENTS\","
           "\"amount\":9223372036854775807},\"expires_at_ms\":2,"
           "\"remaining_ttl_ms\":0,\"caps\":{\"max_tokens\":0,"
           "\"tool_denylist\":[\"x\"]}}", "a live one");

    rq.dry_run = 1;
    rs.decision = CYCLES_DENY;
    memcpy(rs.reason, "BUDGET_NOT_FOUND", 17);

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_reserved(&js, CYCLES_API_RESERVE, &rq, &rs);
    is_str(text_of(&js), "{\"decision\":\"DENY\",\"affected_scopes\":"
           "[\"tenant:a\",\"tenant:a/app:b\"],\"scope_path\":"
           "\"tenant:a/app:b\",\"reason_code\":\"BUDGET_NOT_FOUND\"}",
           "a dry run");

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_reserved(&js, CYCLES_API_DECIDE, &rq, &rs);
    ok(strstr(text_of(&js), "scope_path") == NULL, "a decision: %s",
       text_of(&js));
}


static void
test_settled(void)
{
    cycles_json_t         js;
    cycles_settled_t      rs;
    cycles_api_request_t  rq;

    memset(&rs, 0, sizeof(rs));
    memset(&rq, 0, sizeof(rq));

    rs.charged = 5;
    rq.amount = 5;
    memcpy(rs.event_id, "e", 2);

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_settled(&js, CYCLES_API_COMMIT, &rq, &rs, CYCLES_TOKENS);
    is_str(text_of(&js), "{\"status\":\"COMMITTED\",\"charged\":"
           "{\"unit\":\"TOKENS\",\"amount\":5}}", "nothing is left");

    rs.released = 2;
    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_settled(&js, CYCLES_API_COMMIT, &rq, &rs, CYCLES_TOKENS);
    ok(strstr(text_of(&js), "\"released\":{\"unit\":\"TOKENS\",\"amount\":2}")
       != NULL, "something is left");

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_settled(&js, CYCLES_API_EVENT, &rq, &rs, CYCLES_TOKENS);
    is_str(text_of(&js), "{\"status\":\"APPLIED\",\"event_id\":\"e\"}",
           "an event is charged in full");

    rs.charged = 0;
    cycles_json_init(&js, buf, sizeof(buf));
    cycles_api_write_settled(&js, CYCLES_API_EVENT, &rq, &rs, CYCLES_TOKENS);
    is_str(text_of(&js), "{\"status\":\"APPLIED\",\"event_id\":\"e\","
           "\"charged\":{\"unit\":\"TOKENS\",\"amount\":0}}", "or capped");
}


static void
test_statuses(void)
{
    is_int(cycles_api_status(CYCLES_INVALID_REQUEST), 400, "400");
    is_int(cycles_api_status(CYCLES_UNIT_MISMATCH), 400, "unit: 400");
    is_int(cycles_api_status(CYCLES_UNAUTHORIZED), 401, "401");
    is_int(cycles_api_status(CYCLES_FORBIDDEN), 403, "403");
    is_int(cycles_api_status(CYCLES_NOT_FOUND), 404, "404");
    is_int(cycles_api_status(CYCLES_TENANT_CLOSED), 409, "409");
    is_int(cycles_api_status(CYCLES_RESERVATION_EXPIRED), 410, "410");
    is_int(cycles_api_status(CYCLES_LIMIT_EXCEEDED), 429, "429");
    is_int(cycles_api_status(CYCLES_INTERNAL_ERROR), 500, "500");
}


static void
test_times(void)
{
    size_t   i;
    int64_t  ms;

    static const struct {
        const char  *text;
        int64_t      down, up;
    } t[] = {
        { "1970-01-01T00:00:00Z", 0, 0 },
        { "1970-01-01T00:00:00.001Z", 1, 1 },
        { "1970-01-01T00:00:00.0010000000001Z", 1, 2 },
        { "1969-12-31T23:59:59.9999z", -1, 0 },
        { "2026-11-25T02:52:50.789Z", 1795575170789, 1795575170789 },
        { "2026-11-25T03:52:50.789+01:00", 1795575170789, 1795575170789 },
        { "2026-11-25T03:52:50.789 01:00", 1795575170789, 1795575170789 },
        { "2026-11-24t23:22:50.789-03:30", 1795575170789, 1795575170789 },
        { "2000-02-29T00:00:00Z", 951782400000, 951782400000 },
        { "2000-03-01T00:00:00Z", 951868800000, 951868800000 },
        { "1900-03-01T00:00:00Z", -2203891200000, -2203891200000 },
        { "0000-01-01T00:00:00Z", -62167219200000, -62167219200000 },
        { "9999-12-31T23:59:60Z", 253402300800000, 253402300800000 }
    };

    static const char *const  bad[] = {
        "", "2026", "2026-11-25", "2026-11-25T02:52:50", "2026-11-25T02:52Z",
        "2026-11-31T00:00:00Z", "1900-02-29T00:00:00Z",
        "2026-11-25T02:52:50.Z", "2026-11-25T02:52:50+1:00",
        "2026-11-25T02:52:50+24:00", "2026-11-25T02:52:50Zx",
        "+026-11-25T02:52:50Z", "2026/11/25T02:52:50Z",
        "2026-11-25T02:60:50Z", "2026-11-25T02:52:61Z"
    };

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        is_int(cycles_time_parse((unsigned char *) t[i].text,
                               strlen(t[i].text), 0, &ms), 0, "%s", t[i].text);
        is_int(ms, t[i].down, "down");
        (void) cycles_time_parse((unsigned char *) t[i].text,
                               strlen(t[i].text), 1, &ms);
        is_int(ms, t[i].up, "up");
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(cycles_time_parse((unsigned char *) bad[i], strlen(bad[i]), 0,
                               &ms), -1, "not \"%s\"", bad[i]);
    }
}


/* numbers of each length, the first and the last of them */

static void
test_integers(void)
{
    int            k, sign;
    char           want[32];
    int64_t        n, m;
    unsigned       wrong;
    cycles_json_t  js;

    for (wrong = 0, n = 1; /* void */ ; n *= 10) {
        for (k = -2; k <= 2; k++) {
            for (sign = -1; sign <= 1; sign += 2) {
                m = sign * (n + k);
                snprintf(want, sizeof(want), "%" PRId64, m);
                cycles_json_init(&js, buf, sizeof(buf));
                cycles_json_integer(&js, m);
                wrong += strcmp(text_of(&js), want) != 0;
            }
        }

        if (n > INT64_MAX / 10) {
            break;
        }
    }

    is_int(wrong, 0, "numbers of all lengths");

    cycles_json_init(&js, buf, sizeof(buf));
    cycles_json_raw(&js, "[", 1);
    cycles_json_integer(&js, INT64_MAX);
    cycles_json_next(&js);
    cycles_json_integer(&js, INT64_MIN);
    is_str(text_of(&js), "[9223372036854775807,-9223372036854775808",
           "and the longest ones");
}
