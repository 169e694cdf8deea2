
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a client sends, byte for byte.
 */


#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "client/cycles_protocol.h"
#include "tap.h"


static cycles_str_t str(const char *text);
static cycles_str_t bytes(const char *text, size_t len);
static void is_body(unsigned char *buf, size_t len, const char *want,
    const char *name);
static void metrics_none(cycles_metrics_t *metrics);
static void test_reserve(void);
static void test_escapes(void);
static void test_commit(void);
static void test_release(void);
static void test_extend(void);
static void test_event(void);
static void test_sizes(void);
static void test_path(void);


static unsigned char  buf[16384];


static cycles_str_t
str(const char *text)
{
    return bytes(text, strlen(text));
}


static cycles_str_t
bytes(const char *text, size_t len)
{
    cycles_str_t  s;

    s.len = len;
    s.data = (unsigned char *) text;

    return s;
}


static void
is_body(unsigned char *body, size_t len, const char *want, const char *name)
{
    json_t  *json;

    body[len] = '\0';

    is_str((char *) body, want, "%s", name);

    json = json_loadb((char *) body, len, JSON_REJECT_DUPLICATES, NULL);

    ok(json_is_object(json), "%s is JSON", name);

    json_decref(json);
}


static void
metrics_none(cycles_metrics_t *metrics)
{
    memset(metrics, 0, sizeof(cycles_metrics_t));

    metrics->tokens_input = -1;
    metrics->tokens_output = -1;
    metrics->latency_ms = -1;
}


static void
test_reserve(void)
{
    cycles_str_t      tags[2];
    cycles_pair_t     dimensions[2];
    cycles_reserve_t  rq;

    memset(&rq, 0, sizeof(rq));

    rq.idempotency_key = str("k1");
    rq.subject.levels[CYCLES_TENANT] = str("acme");
    rq.action.kind = str("llm.completion");
    rq.action.name = str("openai:gpt-4o");
    rq.estimate = 1200000;
    rq.ttl_ms = 60000;

    is_body(buf, cycles_reserve_body(buf, sizeof(buf), &rq),
            "{\"idempotency_key\":\"k1\",\"subject\":{\"tenant\":\"acme\"},"
            "\"action\":{\"kind\":\"llm.completion\","
            "\"name\":\"openai:gpt-4o\"},"
            "\"estimate\":{\"unit\":\"USD_MICROCENTS\",\"amount\":1200000},"
            "\"ttl_ms\":60000,\"grace_period_ms\":0,"
            "\"overage_policy\":\"ALLOW_IF_AVAILABLE\"}",
            "the least reserve");

    rq.subject.levels[CYCLES_TOOLSET] = str("t");
    rq.subject.levels[CYCLES_APP] = str("chat");
    rq.subject.dimensions = dimensions;
    dimensions[0].key = str("user");
    dimensions[0].value = str("u1");
    dimensions[1].key = str("session");
    dimensions[1].value = str("");
    rq.subject.ndimensions = 2;
    rq.action.tags = tags;
    tags[0] = str("a");
    tags[1] = str("b");
    rq.action.ntags = 2;
    rq.unit = CYCLES_TOKENS;
    rq.estimate = INT64_MAX;
    rq.grace_ms = 5000;
    rq.policy = CYCLES_REJECT;
    rq.dry_run = 1;
    rq.metadata = str("{\"n\":1}");

    is_body(buf, cycles_reserve_body(buf, sizeof(buf), &rq),
            "{\"idempotency_key\":\"k1\",\"subject\":{\"tenant\":\"acme\","
            "\"app\":\"chat\",\"toolset\":\"t\","
            "\"dimensions\":{\"user\":\"u1\",\"session\":\"\"}},"
            "\"action\":{\"kind\":\"llm.completion\","
            "\"name\":\"openai:gpt-4o\",\"tags\":[\"a\",\"b\"]},"
            "\"estimate\":{\"unit\":\"TOKENS\","
            "\"amount\":9223372036854775807},"
            "\"ttl_ms\":60000,\"grace_period_ms\":5000,"
            "\"overage_policy\":\"REJECT\",\"dry_run\":true,"
            "\"metadata\":{\"n\":1}}",
            "the whole reserve");
}


static void
test_escapes(void)
{
    size_t         n;
    cycles_str_t   none;
    unsigned char  again[256];

    none = bytes(NULL, 0);

    n = cycles_release_body(buf, sizeof(buf),
                            bytes("\"\\\b\t\n\f\r\x01\x1f\x7f/", 11), none);

    is_body(buf, n, "{\"idempotency_key\":\"\\\"\\\\\\u0008\\u0009\\u000a"
                    "\\u000c\\u000d\\u0001\\u001f\x7f/\"}",
            "controls, quotes and backslashes are escaped");

    n = cycles_release_body(buf, sizeof(buf), bytes("a\0b", 3), none);
    is_str((buf[n] = '\0', (char *) buf),
           "{\"idempotency_key\":\"a\\u0000b\"}", "a zero is escaped");

    n = cycles_release_body(buf, sizeof(buf),
                            str("\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"), none);
    is_body(buf, n, "{\"idempotency_key\":"
                    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\"}",
            "UTF-8 is sent as it is");

    n = cycles_release_body(buf, sizeof(buf),
                            str("\xff" "a\xc3" "b\xc0\xaf\xed\xa0\x80"), none);
    is_body(buf, n, "{\"idempotency_key\":\"\xef\xbf\xbd" "a\xef\xbf\xbd"
                    "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                    "\xef\xbf\xbd\"}",
            "what is not UTF-8 is replaced");

    memcpy(again, buf, n);
    cycles_release_body(buf, sizeof(buf),
                        str("\xff" "a\xc3" "b\xc0\xaf\xed\xa0\x80"), none);
    ok(memcmp(again, buf, n) == 0, "the same arguments give the same bytes");
}


static void
test_commit(void)
{
    char             version[300];
    cycles_commit_t  rq;

    memset(&rq, 0, sizeof(rq));
    metrics_none(&rq.metrics);

    rq.idempotency_key = str("k2");
    rq.unit = CYCLES_CREDITS;

    is_body(buf, cycles_commit_body(buf, sizeof(buf), &rq),
            "{\"idempotency_key\":\"k2\","
            "\"actual\":{\"unit\":\"CREDITS\",\"amount\":0}}",
            "the least commit");

    rq.actual = 930000;
    rq.metrics.tokens_input = 0;
    rq.metrics.tokens_output = (int64_t) INT32_MAX + 1;
    rq.metrics.latency_ms = INT32_MAX;
    rq.metrics.model_version = str("gpt-4o-2024-08-06");
    rq.metadata = str("{}");

    is_body(buf, cycles_commit_body(buf, sizeof(buf), &rq),
            "{\"idempotency_key\":\"k2\","
            "\"actual\":{\"unit\":\"CREDITS\",\"amount\":930000},"
            "\"metrics\":{\"tokens_input\":0,\"tokens_output\":2147483647,"
            "\"latency_ms\":2147483647,"
            "\"model_version\":\"gpt-4o-2024-08-06\"},\"metadata\":{}}",
            "metrics are clamped to 32 bits");

    metrics_none(&rq.metrics);
    rq.metrics.latency_ms = 5;

    is_body(buf, cycles_commit_body(buf, sizeof(buf), &rq),
            "{\"idempotency_key\":\"k2\","
            "\"actual\":{\"unit\":\"CREDITS\",\"amount\":930000},"
            "\"metrics\":{\"latency_ms\":5},\"metadata\":{}}",
            "what was not measured is not sent");

    /* 127 bytes, then characters of three */

    memset(version, 'v', sizeof(version));
    memcpy(version + 127, "\xe2\x82\xac\xe2\x82\xac", 6);

    rq.metrics.model_version = bytes(version, 133);

    buf[cycles_commit_body(buf, sizeof(buf), &rq)] = '\0';
    ok(strstr((char *) buf, "vvv\"}") != NULL,
       "a model version is cut at a character");

    memset(version, 0x80, sizeof(version));
    rq.metrics.model_version = bytes(version, 300);

    ok(cycles_commit_body(buf, sizeof(buf), &rq) < 600,
       "a model version of broken characters is cut as well");
}


static void
test_release(void)
{
    size_t  n;
    char    reason[300];

    is_body(buf, cycles_release_body(buf, sizeof(buf), str("k3"), str("x")),
            "{\"idempotency_key\":\"k3\",\"reason\":\"x\"}", "a release");

    memset(reason, 'r', sizeof(reason));

    n = cycles_release_body(buf, sizeof(buf), str("k"), bytes(reason, 256));
    is_int(cycles_release_body(buf, sizeof(buf), str("k"), bytes(reason, 300)),
           n, "a reason is cut to 256");
}


static void
test_extend(void)
{
    is_body(buf, cycles_extend_body(buf, sizeof(buf), str("k4"), 60000),
            "{\"idempotency_key\":\"k4\",\"extend_by_ms\":60000}",
            "an extend");

    is_body(buf, cycles_extend_body(buf, sizeof(buf), str("k4"), -105),
            "{\"idempotency_key\":\"k4\",\"extend_by_ms\":-105}",
            "a negative number");
}


static void
test_event(void)
{
    cycles_event_t  rq;

    memset(&rq, 0, sizeof(rq));
    metrics_none(&rq.metrics);

    rq.idempotency_key = str("k5");
    rq.subject.levels[CYCLES_AGENT] = str("a1");
    rq.action.kind = str("k");
    rq.action.name = str("n");
    rq.actual = 7;
    rq.policy = CYCLES_ALLOW_WITH_OVERDRAFT;

    is_body(buf, cycles_event_body(buf, sizeof(buf), &rq, str("")),
            "{\"idempotency_key\":\"k5\",\"subject\":{\"agent\":\"a1\"},"
            "\"action\":{\"kind\":\"k\",\"name\":\"n\"},"
            "\"actual\":{\"unit\":\"USD_MICROCENTS\",\"amount\":7},"
            "\"overage_policy\":\"ALLOW_WITH_OVERDRAFT\"}",
            "an event");

    is_body(buf, cycles_event_body(buf, sizeof(buf), &rq, str("r\"1")),
            "{\"idempotency_key\":\"k5\",\"subject\":{\"agent\":\"a1\"},"
            "\"action\":{\"kind\":\"k\",\"name\":\"n\"},"
            "\"actual\":{\"unit\":\"USD_MICROCENTS\",\"amount\":7},"
            "\"overage_policy\":\"ALLOW_WITH_OVERDRAFT\","
            "\"metadata\":{\"recovered_reservation_id\":\"r\\\"1\","
            "\"recovery_reason\":\"commit_after_reservation_expired\"}}",
            "an event for an expired reservation");

    rq.metadata = str("{\"a\":{\"b\":1}}");

    is_body(buf, cycles_event_body(buf, sizeof(buf), &rq, str("r")),
            "{\"idempotency_key\":\"k5\",\"subject\":{\"agent\":\"a1\"},"
            "\"action\":{\"kind\":\"k\",\"name\":\"n\"},"
            "\"actual\":{\"unit\":\"USD_MICROCENTS\",\"amount\":7},"
            "\"overage_policy\":\"ALLOW_WITH_OVERDRAFT\","
            "\"metadata\":{\"a\":{\"b\":1},"
            "\"recovered_reservation_id\":\"r\","
            "\"recovery_reason\":\"commit_after_reservation_expired\"}}",
            "its metadata keeps that of the commit");

    rq.metadata = str("{ }");

    buf[cycles_event_body(buf, sizeof(buf), &rq, str("r"))] = '\0';
    ok(strstr((char *) buf, "\"metadata\":{\"recovered") != NULL,
       "also when that is empty");

    rq.metadata = str("{\"a\":1}");

    buf[cycles_event_body(buf, sizeof(buf), &rq, str(""))] = '\0';
    ok(strstr((char *) buf, "\"metadata\":{\"a\":1}}") != NULL,
       "metadata of an event of its own");
}


static void
test_sizes(void)
{
    size_t            n, size;
    unsigned char    *p;
    cycles_reserve_t  rq;

    memset(&rq, 0, sizeof(rq));

    rq.idempotency_key = str("\x01\xff\"");
    rq.subject.levels[CYCLES_TENANT] = str("acme");
    rq.action.kind = str("k");
    rq.action.name = str("\xc3\xa9");
    rq.estimate = INT64_MIN;

    n = cycles_reserve_body(NULL, 0, &rq);

    /* of exact size: the sanitizer sees a byte too many */

    p = malloc(n);

    if (!ok(p != NULL, "malloc()")) {
        return;
    }

    is_int(cycles_reserve_body(p, n, &rq), n, "the size is known before");

    memset(buf, '!', sizeof(buf));

    for (size = 0; size < n; size++) {
        if (cycles_reserve_body(buf, size, &rq) != n || buf[size] != '!') {
            break;
        }

        memset(buf, '!', n + 1);
    }

    is_int(size, n, "a small buffer is never overrun");

    p[n - 1] = '\0';
    ok(strstr((char *) p, "\"amount\":-9223372036854775808") != NULL,
       "the least integer");

    free(p);
}


static void
test_path(void)
{
    size_t  n;

    n = cycles_path(buf, sizeof(buf), CYCLES_OP_RESERVE, str(""), 1);
    is_str((buf[n] = '\0', (char *) buf), "/v1/reservations", "reserve");

    n = cycles_path(buf, sizeof(buf), CYCLES_OP_EVENT, str("r"), 1);
    is_str((buf[n] = '\0', (char *) buf), "/v1/events", "event");

    n = cycles_path(buf, sizeof(buf), CYCLES_OP_COMMIT, str("r/?#% \xc3._~-"),
                    1);
    is_str((buf[n] = '\0', (char *) buf),
           "/v1/reservations/r%2F%3F%23%25%20%C3._~-/commit",
           "an id is percent-encoded");

    n = cycles_path(buf, sizeof(buf), CYCLES_OP_RELEASE, str("r/ "), 0);
    is_str((buf[n] = '\0', (char *) buf), "/v1/reservations/r/ /release",
           "release, not encoded");

    n = cycles_path(buf, sizeof(buf), CYCLES_OP_LOOKUP, str("r/1"), 1);
    is_str((buf[n] = '\0', (char *) buf), "/v1/reservations/r%2F1",
           "a lookup is of the reservation itself");

    n = cycles_path(buf, sizeof(buf), CYCLES_OP_EXTEND, bytes("\0", 1), 1);
    is_str((buf[n] = '\0', (char *) buf), "/v1/reservations/%00/extend",
           "extend, a zero byte");
}


int
main(void)
{
    test_reserve();
    test_escapes();
    test_commit();
    test_release();
    test_extend();
    test_event();
    test_sizes();
    test_path();

    return done_testing();
}
