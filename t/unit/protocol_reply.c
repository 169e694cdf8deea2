
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a client makes of what it gets.
 */


#include <stdlib.h>
#include <string.h>

#include "client/cycles_protocol.h"
#include "tap.h"


#define R       "{\"decision\":\"ALLOW\",\"affected_scopes\":[\"tenant:a\"]," \
                "\"reservation_id\":\"r1\""
#define CAPS    "{\"decision\":\"ALLOW_WITH_CAPS\",\"affected_scopes\":[]," \
                "\"reservation_id\":\"r1\",\"caps\":"
#define AMOUNT  "{\"unit\":\"USD_MICROCENTS\",\"amount\":"
#define DONE    CYCLES_REPLY_DONE
#define REFUSED CYCLES_REPLY_REJECTED
#define RETRY   CYCLES_REPLY_RETRY
#define UNKNOWN CYCLES_REPLY_UNKNOWN
#define EXPIRED CYCLES_REPLY_EXPIRED


typedef struct {
    const char       *name;
    unsigned          status;
    const char       *body;
    cycles_verdict_t  verdict;
    cycles_code_t     code;
} reply_case_t;


static cycles_verdict_t reserve(unsigned status, const char *body,
    int dry_run);
static cycles_verdict_t settled(cycles_op_t op, unsigned status,
    const char *body);
static void test_reserve_table(void);
static void test_reserve_values(void);
static void test_dry_run(void);
static void test_caps(void);
static void test_denial(void);
static void test_settled_table(void);
static void test_settled_values(void);
static void test_found(void);
static void test_ids(void);
static void test_prefixes(void);


static cycles_reserved_t  rs;
static cycles_settled_t   ss;
static cycles_reply_t     reply;


static const reply_case_t  reserve_cases[] = {

    { "an allow", 200, R "}", DONE, CYCLES_OK },
    { "unknown members", 200, R ",\"x\":{\"y\":[1.5]}}", DONE, CYCLES_OK },
    { "null is absent", 200,
      R ",\"caps\":null,\"reserved\":null,\"balances\":null,"
      "\"expires_at_ms\":null,\"remaining_ttl_ms\":null,"
      "\"reason_code\":null,\"scope_path\":null}", DONE, CYCLES_OK },

    { "no id", 200, "{\"decision\":\"ALLOW\",\"affected_scopes\":[]}", RETRY,
      CYCLES_OK },
    { "an empty id", 200, "{\"decision\":\"ALLOW\",\"affected_scopes\":[],"
      "\"reservation_id\":\"\"}", RETRY, CYCLES_OK },
    { "an id that is a number", 200, "{\"decision\":\"ALLOW\","
      "\"affected_scopes\":[],\"reservation_id\":1}", RETRY, CYCLES_OK },
    { "no scopes", 200, "{\"decision\":\"ALLOW\",\"reservation_id\":\"r\"}",
      RETRY, CYCLES_OK },
    { "scopes that are no strings", 200, "{\"decision\":\"ALLOW\","
      "\"affected_scopes\":[1],\"reservation_id\":\"r\"}", RETRY, CYCLES_OK },
    { "no decision", 200, "{\"affected_scopes\":[],"
      "\"reservation_id\":\"r\"}", RETRY, CYCLES_OK },
    { "an unknown decision", 200, "{\"decision\":\"PERHAPS\","
      "\"affected_scopes\":[],\"reservation_id\":\"r\"}", RETRY, CYCLES_OK },
    { "a duplicate member", 200, R ",\"decision\":\"DENY\"}", RETRY,
      CYCLES_OK },
    { "a real time", 200, R ",\"remaining_ttl_ms\":60000.0}", RETRY,
      CYCLES_OK },
    { "a negative time", 200, R ",\"remaining_ttl_ms\":-1}", RETRY,
      CYCLES_OK },
    { "an expiry that is a string", 200, R ",\"expires_at_ms\":\"1\"}", RETRY,
      CYCLES_OK },
    { "a number beyond 64 bits", 200,
      R ",\"expires_at_ms\":9223372036854775808}", RETRY, CYCLES_OK },
    { "a real amount", 200, R ",\"reserved\":" AMOUNT "1.0}}", RETRY,
      CYCLES_OK },
    { "a negative amount", 200, R ",\"reserved\":" AMOUNT "-1}}", RETRY,
      CYCLES_OK },
    { "an amount of another unit", 200,
      R ",\"reserved\":{\"unit\":\"TOKENS\",\"amount\":1}}", RETRY,
      CYCLES_OK },
    { "balances that are no array", 200, R ",\"balances\":{}}", RETRY,
      CYCLES_OK },
    { "a real balance", 200,
      R ",\"balances\":[{\"remaining\":" AMOUNT "1e3}}]}", RETRY, CYCLES_OK },

    { "an empty 200", 200, "", RETRY, CYCLES_OK },
    { "a page", 200, "<html>", RETRY, CYCLES_OK },
    { "an array", 200, "[]", RETRY, CYCLES_OK },
    { "half of it", 200, "{\"decision\":\"ALLOW\"", RETRY, CYCLES_OK },
    { "another 2xx", 201, R "}", RETRY, CYCLES_OK },
    { "accepted", 202, R "}", RETRY, CYCLES_OK },
    { "a redirect", 302, "", RETRY, CYCLES_OK },
    { "no reply", 0, "", RETRY, CYCLES_OK },
    { "a request timeout", 408, "", RETRY, CYCLES_OK },
    { "an internal error", 500, "{\"error\":\"INTERNAL_ERROR\"}", RETRY,
      CYCLES_OK },
    { "unavailable", 503, "<html>", RETRY, CYCLES_OK },
    { "an internal error of status 400", 400,
      "{\"error\":\"INTERNAL_ERROR\"}", RETRY, CYCLES_OK },
    { "the store is away", 401, "{\"error\":\"UNAUTHORIZED\","
      "\"message\":\"INTERNAL_ERROR\"}", RETRY, CYCLES_OK },
    { "a code with status 500", 500, "{\"error\":\"BUDGET_EXCEEDED\"}", RETRY,
      CYCLES_OK },

    { "a live deny", 200, "{\"decision\":\"DENY\",\"affected_scopes\":[],"
      "\"reason_code\":\"BUDGET_FROZEN\"}", REFUSED, CYCLES_BUDGET_FROZEN },
    { "a live deny of an unknown reason", 200, "{\"decision\":\"DENY\","
      "\"affected_scopes\":[],\"reason_code\":\"X\"}", REFUSED,
      CYCLES_BUDGET_EXCEEDED },
    { "a reason that is no code", 200, "{\"decision\":\"DENY\","
      "\"affected_scopes\":[],\"reason_code\":\"OK\"}", REFUSED,
      CYCLES_BUDGET_EXCEEDED },
    { "a denial", 409, "{\"error\":\"BUDGET_EXCEEDED\"}", REFUSED,
      CYCLES_BUDGET_EXCEEDED },
    { "a debt", 409, "{\"error\":\"DEBT_OUTSTANDING\"}", REFUSED,
      CYCLES_DEBT_OUTSTANDING },
    { "an unknown code", 409, "{\"error\":\"ACTION_QUOTA_EXCEEDED\"}", REFUSED,
      CYCLES_BUDGET_EXCEEDED },
    { "a code that is none", 409, "{\"error\":\"OK\"}", REFUSED,
      CYCLES_BUDGET_EXCEEDED },
    { "no budget", 404, "{\"error\":\"NOT_FOUND\"}", REFUSED,
      CYCLES_NOT_FOUND },
    { "a page of status 404", 404, "<html>", REFUSED, CYCLES_NOT_FOUND },
    { "a bad key", 401, "{\"error\":\"UNAUTHORIZED\","
      "\"message\":\"INVALID_KEY\"}", REFUSED, CYCLES_UNAUTHORIZED },
    { "another tenant", 403, "{\"error\":\"FORBIDDEN\"}", REFUSED,
      CYCLES_FORBIDDEN },
    { "a bad request", 400, "{\"error\":\"UNIT_MISMATCH\"}", REFUSED,
      CYCLES_UNIT_MISMATCH },
    { "a teapot", 418, "", REFUSED, CYCLES_INVALID_REQUEST },
    { "too many requests", 429, "", REFUSED, CYCLES_LIMIT_EXCEEDED },
};


static const reply_case_t  commit_cases[] = {

    { "a commit", 200, "{\"status\":\"COMMITTED\",\"charged\":" AMOUNT "9}}",
      DONE, CYCLES_OK },
    { "another status", 200, "{\"status\":\"RELEASED\",\"charged\":" AMOUNT
      "9}}", RETRY, CYCLES_OK },
    { "no status", 200, "{\"charged\":" AMOUNT "9}}", RETRY, CYCLES_OK },
    { "no charge", 200, "{\"status\":\"COMMITTED\"}", RETRY, CYCLES_OK },
    { "a null charge", 200, "{\"status\":\"COMMITTED\",\"charged\":null}",
      RETRY, CYCLES_OK },
    { "a charge without a unit", 200,
      "{\"status\":\"COMMITTED\",\"charged\":{\"amount\":9}}", RETRY,
      CYCLES_OK },
    { "a charge in another unit", 200, "{\"status\":\"COMMITTED\","
      "\"charged\":{\"unit\":\"CREDITS\",\"amount\":9}}", RETRY, CYCLES_OK },
    { "a charge that is a number", 200,
      "{\"status\":\"COMMITTED\",\"charged\":9}", RETRY, CYCLES_OK },
    { "a real charge", 200, "{\"status\":\"COMMITTED\",\"charged\":" AMOUNT
      "9.0}}", RETRY, CYCLES_OK },
    { "a bad release", 200, "{\"status\":\"COMMITTED\",\"charged\":" AMOUNT
      "9},\"released\":" AMOUNT "true}}", RETRY, CYCLES_OK },
    { "created", 201, "{\"status\":\"COMMITTED\",\"charged\":" AMOUNT "9}}",
      RETRY, CYCLES_INTERNAL_ERROR },
    { "empty", 200, "", RETRY, CYCLES_OK },
    { "no content", 204, "", RETRY, CYCLES_INTERNAL_ERROR },
    { "moved", 301, "", RETRY, CYCLES_INTERNAL_ERROR },
    { "nothing", 0, "", RETRY, CYCLES_INTERNAL_ERROR },
    { "a bad gateway", 502, "<html>", RETRY, CYCLES_INTERNAL_ERROR },
    { "throttled", 429, "{\"error\":\"LIMIT_EXCEEDED\"}", RETRY,
      CYCLES_LIMIT_EXCEEDED },
    { "throttled without a code", 429, "", RETRY, CYCLES_LIMIT_EXCEEDED },
    { "throttled by another status", 409, "{\"error\":\"LIMIT_EXCEEDED\"}",
      RETRY, CYCLES_LIMIT_EXCEEDED },
    { "a timeout", 408, "", RETRY, CYCLES_INVALID_REQUEST },
    { "the store is away", 401, "{\"error\":\"UNAUTHORIZED\","
      "\"message\":\"lookup: INTERNAL_ERROR\"}", RETRY,
      CYCLES_INTERNAL_ERROR },

    { "expired", 410, "{\"error\":\"RESERVATION_EXPIRED\"}", EXPIRED,
      CYCLES_RESERVATION_EXPIRED },
    { "gone", 410, "", EXPIRED, CYCLES_RESERVATION_EXPIRED },
    { "gone for another reason", 410, "{\"error\":\"NOT_FOUND\"}", EXPIRED,
      CYCLES_RESERVATION_EXPIRED },
    { "expired by another status", 409, "{\"error\":\"RESERVATION_EXPIRED\"}",
      EXPIRED, CYCLES_RESERVATION_EXPIRED },

    { "finalized", 409, "{\"error\":\"RESERVATION_FINALIZED\"}", REFUSED,
      CYCLES_RESERVATION_FINALIZED },
    { "a mismatch", 409, "{\"error\":\"IDEMPOTENCY_MISMATCH\"}", REFUSED,
      CYCLES_IDEMPOTENCY_MISMATCH },
    { "no overage", 409, "{\"error\":\"BUDGET_EXCEEDED\"}", REFUSED,
      CYCLES_BUDGET_EXCEEDED },
    { "a closed tenant", 409, "{\"error\":\"TENANT_CLOSED\"}", REFUSED,
      CYCLES_TENANT_CLOSED },
    { "not found", 404, "{\"error\":\"NOT_FOUND\"}", REFUSED,
      CYCLES_NOT_FOUND },

    { "a page of status 404", 404, "<html>", UNKNOWN, CYCLES_NOT_FOUND },
    { "an unknown code", 409, "{\"error\":\"NEW\"}", UNKNOWN,
      CYCLES_BUDGET_EXCEEDED },
    { "a bad key", 401, "{\"error\":\"UNAUTHORIZED\"}", UNKNOWN,
      CYCLES_UNAUTHORIZED },
    { "a bad key with a code", 401, "{\"error\":\"RESERVATION_FINALIZED\"}",
      UNKNOWN, CYCLES_RESERVATION_FINALIZED },
    { "forbidden", 403, "{\"error\":\"FORBIDDEN\"}", UNKNOWN,
      CYCLES_FORBIDDEN },
    { "an error that is a number", 400, "{\"error\":5}", UNKNOWN,
      CYCLES_INVALID_REQUEST },
};


/* bodies are copied to their exact size: the sanitizer sees a byte too many */

static cycles_verdict_t
reserve(unsigned status, const char *body, int dry_run)
{
    size_t             len;
    unsigned char     *p;
    cycles_verdict_t   verdict;
    cycles_reserve_t   rq;

    memset(&rq, 0, sizeof(rq));
    rq.estimate = 1200000;
    rq.dry_run = dry_run;

    memset(&rs, 0xa5, sizeof(rs));
    memset(&reply, 0xa5, sizeof(reply));

    len = strlen(body);
    p = malloc(len ? len : 1);

    if (p == NULL) {
        abort();
    }

    memcpy(p, body, len);

    verdict = cycles_parse_reserve(status, p, len, &rq, &rs, &reply);

    free(p);

    return verdict;
}


static cycles_verdict_t
settled(cycles_op_t op, unsigned status, const char *body)
{
    memset(&ss, 0xa5, sizeof(ss));
    memset(&reply, 0xa5, sizeof(reply));

    return cycles_parse_settled(op, status, (unsigned char *) body,
                                strlen(body), CYCLES_USD_MICROCENTS, 77, &ss,
                                &reply);
}


static void
test_reserve_table(void)
{
    unsigned             i;
    const reply_case_t  *c;

    for (i = 0; i < sizeof(reserve_cases) / sizeof(reserve_cases[0]); i++) {
        c = &reserve_cases[i];

        is_int(reserve(c->status, c->body, 0), c->verdict, "reserve: %s",
               c->name);
        is_int(rs.code, c->code, "its code");

        if (c->verdict != DONE) {
            ok(rs.id[0] == '\0' && reply.id[0] == '\0' && rs.reserved == 0,
               "nothing is reserved");
        }
    }
}


static void
test_reserve_values(void)
{
    is_int(reserve(200, R ",\"expires_at_ms\":1790000060000,"
                   "\"remaining_ttl_ms\":60000,"
                   "\"scope_path\":\"tenant:a/app:b\","
                   "\"reserved\":" AMOUNT "9223372036854775807},"
                   "\"balances\":["
                   "{\"remaining\":{\"unit\":\"TOKENS\",\"amount\":-9}},"
                   "{\"remaining\":" AMOUNT "50}},"
                   "{\"remaining\":" AMOUNT "-4}},"
                   "{\"remaining\":" AMOUNT "3}}]}", 0),
           DONE, "a whole reply");

    is_int(rs.decision, CYCLES_ALLOW, "decision");
    is_str(rs.id, "r1", "id");
    is_str(reply.id, "r1", "id of the reply");
    is_int(rs.expires_at_ms, 1790000060000, "expires_at_ms");
    is_int(rs.remaining_ttl_ms, 60000, "remaining_ttl_ms");
    is_int(rs.reserved, INT64_MAX, "reserved, all 64 bits of it");
    is_str(rs.scope_path, "tenant:a/app:b", "scope_path");
    is_int(rs.scope_path_len, 14, "length of scope_path");
    is_int(rs.remaining, -4, "remaining is the least of the unit");

    reserve(200, R "}", 0);

    is_int(rs.reserved, 1200000, "reserved is the estimate when absent");
    is_int(rs.expires_at_ms, -1, "no expires_at_ms");
    is_int(rs.remaining_ttl_ms, -1, "no remaining_ttl_ms");
    ok(rs.remaining == CYCLES_NOT_KNOWN, "no balances");
    is_int(rs.caps.max_tokens, -1, "no caps");

    reserve(200, R ",\"balances\":[{\"remaining\":{\"unit\":\"TOKENS\","
            "\"amount\":1}}]}", 0);
    ok(rs.remaining == CYCLES_NOT_KNOWN, "no balance of the unit");
}


static void
test_dry_run(void)
{
    is_int(reserve(200, "{\"decision\":\"ALLOW\",\"affected_scopes\":[]}", 1),
           DONE, "dry run: an allow has no id");
    is_int(rs.code, CYCLES_OK, "its code");
    is_int(rs.decision, CYCLES_ALLOW, "its decision");

    is_int(reserve(200, "{\"decision\":\"DENY\",\"affected_scopes\":[],"
                   "\"reason_code\":\"BUDGET_EXCEEDED\"}", 1),
           DONE, "dry run: a deny");
    is_int(rs.code, CYCLES_OK, "its code");
    is_int(rs.decision, CYCLES_DENY, "its decision");
    is_str(rs.reason, "BUDGET_EXCEEDED", "its reason");

    is_int(reserve(400, "{\"error\":\"UNIT_MISMATCH\"}", 1), REFUSED,
           "dry run: an error");
    is_int(rs.code, CYCLES_UNIT_MISMATCH, "its code");
}


static void
test_caps(void)
{
    char    *body;
    size_t   i;

    is_int(reserve(200, CAPS "{\"max_tokens\":512,\"max_steps_remaining\":0,"
                   "\"cooldown_ms\":null,\"tool_allowlist\":[],"
                   "\"tool_denylist\":[\"web search\", \"\\\"x\\\"\"],"
                   "\"new\":1}}", 0),
           DONE, "caps");
    is_int(rs.decision, CYCLES_ALLOW_WITH_CAPS, "their decision");
    is_int(rs.caps.max_tokens, 512, "max_tokens");
    is_int(rs.caps.max_steps_remaining, 0, "max_steps_remaining");
    is_int(rs.caps.cooldown_ms, -1, "cooldown_ms");
    ok(rs.caps.tool_allowlist.len == 2
       && memcmp(rs.caps.tool_allowlist.data, "[]", 2) == 0,
       "tool_allowlist");
    ok(rs.caps.tool_denylist.len == 22
       && memcmp(rs.caps.tool_denylist.data, "[\"web search\",\"\\\"x\\\"\"]",
                 22)
          == 0,
       "tool_denylist");

    is_int(reserve(200, CAPS "{}}", 0), DONE, "caps that cap nothing");
    is_int(rs.caps.max_tokens, -1, "no max_tokens");
    is_int(rs.caps.tool_denylist.len, 0, "no tool_denylist");

    is_int(reserve(200, CAPS "null}", 0), RETRY, "caps announced, none there");
    is_int(reserve(200, CAPS "[]}", 0), RETRY, "caps that are an array");
    is_int(reserve(200, CAPS "{\"max_tokens\":5.0}}", 0), RETRY,
           "a real max_tokens");
    is_int(reserve(200, CAPS "{\"max_tokens\":-5}}", 0), RETRY,
           "a negative max_tokens");
    is_int(reserve(200, CAPS "{\"tool_denylist\":\"x\"}}", 0), RETRY,
           "a denylist that is a string");
    is_int(reserve(200, CAPS "{\"tool_denylist\":[1]}}", 0), RETRY,
           "a denylist of numbers");

    /* to leave a part of a list out would allow what it denies */

    body = malloc(8192);

    if (!ok(body != NULL, "malloc()")) {
        return;
    }

    strcpy(body, CAPS "{\"tool_denylist\":[\"");
    i = strlen(body);
    memset(body + i, 'x', 2500);
    strcpy(body + i + 2500, "\"]}}");

    is_int(reserve(200, body, 0), RETRY, "a denylist that is too long");

    strcpy(body + i + 1000, "\"],\"tool_allowlist\":[\"");
    memset(body + strlen(body), 'y', 1200);
    strcpy(body + i + 1000 + 21 + 1200, "\"]}}");

    is_int(reserve(200, body, 0), RETRY, "lists that are too long together");

    strcpy(body + i + 1000 + 21 + 1000, "\"]}}");

    is_int(reserve(200, body, 0), DONE, "lists that are just not");

    free(body);
}


static void
test_denial(void)
{
    reserve(409, "{\"error\":\"BUDGET_EXCEEDED\",\"message\":\"m\","
            "\"request_id\":\"req-1\",\"trace_id\":\"0af7\","
            "\"details\":{\"scope\":\"tenant:acme\",\"requested\":100,"
            "\"remaining\":-20,\"reserved\":80,\"allocated\":500,"
            "\"reset_at_ms\":1790000000000}}", 0);

    is_int(rs.decision, CYCLES_DENY, "denied");
    is_str(rs.reason, "BUDGET_EXCEEDED", "reason");
    is_str(rs.denial.scope, "tenant:acme", "scope");
    is_int(rs.denial.scope_len, 11, "its length");
    is_int(rs.denial.requested, 100, "requested");
    is_int(rs.denial.remaining, -20, "remaining");
    is_int(rs.denial.held, 80, "held");
    is_int(rs.denial.allocated, 500, "allocated");
    is_int(rs.denial.reset_at_ms, 1790000000000, "reset_at_ms");
    is_int(rs.remaining, -20, "remaining of the answer");
    is_str(reply.request_id, "req-1", "request_id");
    is_str(reply.trace_id, "0af7", "trace_id");

    reserve(409, "{\"error\":\"BUDGET_EXCEEDED\",\"details\":{"
            "\"scope_path\":\"tenant:acme/app:b\",\"scope\":\"app:b\","
            "\"requested\":" AMOUNT "5},\"held\":" AMOUNT "6},"
            "\"remaining\":\"7\",\"allocated\":8.0}}", 0);

    is_str(rs.denial.scope, "tenant:acme/app:b", "the path of the scope");
    is_int(rs.denial.requested, 5, "an amount object");
    is_int(rs.denial.held, 6, "another one");
    is_int(rs.denial.remaining, 0, "a string is somebody else's member");
    is_int(rs.denial.allocated, 0, "so is a real number");
    ok(rs.remaining == CYCLES_NOT_KNOWN, "nothing is said of what remains");

    is_int(reserve(409, "{\"error\":\"BUDGET_EXCEEDED\",\"details\":[]}", 0),
           REFUSED, "details of another type");

    reserve(409, "{\"error\":\"A B\\r\\nX: \xc3\xa9\"}", 0);
    is_str(reply.reason, "A_B__X:___", "a reason is made printable");
    is_str(rs.reason, "A_B__X:___", "also in the answer");

    reserve(409, "{\"error\":\"0123456789012345678901234567890123456789"
            "0123456789012345678901234567890123456789\"}", 0);
    is_int(strlen(rs.reason), 63, "a reason is cut");
}


static void
test_settled_table(void)
{
    unsigned             i;
    const reply_case_t  *c;

    for (i = 0; i < sizeof(commit_cases) / sizeof(commit_cases[0]); i++) {
        c = &commit_cases[i];

        is_int(settled(CYCLES_OP_COMMIT, c->status, c->body), c->verdict,
               "commit: %s", c->name);
        is_int(ss.code, c->code, "its code");

        if (c->verdict != DONE) {
            ok(ss.charged == 0, "nothing is charged");
        }
    }
}


static void
test_settled_values(void)
{
    settled(CYCLES_OP_COMMIT, 200, "{\"status\":\"COMMITTED\",\"charged\":"
            AMOUNT "9007199254740993},\"released\":" AMOUNT "4},"
            "\"balances\":[{\"remaining\":" AMOUNT "5}}],"
            "\"cycles_evidence\":{}}");
    is_int(ss.charged, 9007199254740993, "charged, beyond 53 bits");
    is_int(ss.released, 4, "released");
    is_int(ss.remaining, 5, "remaining");

    is_int(settled(CYCLES_OP_RELEASE, 200, "{\"status\":\"RELEASED\","
                   "\"released\":" AMOUNT "12}}"),
           DONE, "a release");
    is_int(ss.released, 12, "released");
    is_int(ss.charged, 0, "nothing is charged");
    ok(ss.remaining == CYCLES_NOT_KNOWN, "no balances");

    is_int(settled(CYCLES_OP_RELEASE, 200, "{\"status\":\"RELEASED\"}"),
           RETRY, "a release of nothing");

    is_int(settled(CYCLES_OP_EXTEND, 200, "{\"status\":\"ACTIVE\","
                   "\"expires_at_ms\":5,\"remaining_ttl_ms\":4}"),
           DONE, "an extend");
    is_int(ss.expires_at_ms, 5, "expires_at_ms");
    is_int(ss.remaining_ttl_ms, 4, "remaining_ttl_ms");

    is_int(settled(CYCLES_OP_EXTEND, 200, "{\"status\":\"ACTIVE\","
                   "\"expires_at_ms\":5}"),
           DONE, "an extend of an old server");
    is_int(ss.remaining_ttl_ms, -1, "no remaining_ttl_ms");

    is_int(settled(CYCLES_OP_EXTEND, 200, "{\"status\":\"ACTIVE\"}"),
           RETRY, "an extend to nowhere");
    is_int(settled(CYCLES_OP_EXTEND, 200, "{\"status\":\"ACTIVE\","
                   "\"expires_at_ms\":5,\"remaining_ttl_ms\":1.5}"),
           RETRY, "an extend of a real time");
    is_int(settled(CYCLES_OP_EXTEND, 409,
                   "{\"error\":\"MAX_EXTENSIONS_EXCEEDED\"}"),
           REFUSED, "one extend too many");
    is_int(ss.code, CYCLES_MAX_EXTENSIONS_EXCEEDED, "its code");
    is_int(ss.remaining_ttl_ms, -1, "no time");

    is_int(settled(CYCLES_OP_EVENT, 201, "{\"status\":\"APPLIED\","
                   "\"event_id\":\"e1\"}"),
           DONE, "an event");
    is_int(ss.charged, 77, "it has charged all");
    is_str(ss.event_id, "e1", "event_id");

    is_int(settled(CYCLES_OP_EVENT, 201, "{\"status\":\"APPLIED\","
                   "\"event_id\":\"e1\",\"charged\":" AMOUNT "7}}"),
           DONE, "an event that was capped");
    is_int(ss.charged, 7, "it has charged a part");

    is_int(settled(CYCLES_OP_EVENT, 200, "{\"status\":\"APPLIED\","
                   "\"event_id\":\"e1\"}"),
           RETRY, "an event with another 2xx");
    is_int(settled(CYCLES_OP_EVENT, 201, "{\"status\":\"APPLIED\"}"),
           RETRY, "an event without an id");
    is_int(settled(CYCLES_OP_EVENT, 201, "{\"status\":\"APPLIED\","
                   "\"event_id\":\"0123456789012345678901234567890123456789"
                   "\"}"),
           DONE, "an event with a long id");
    is_str(ss.event_id, "", "which has no room");
}


/* a reservation that has been finalized, looked at */

#define COMMITTED(n)                                                          \
    "\"committed\":{\"unit\":\"USD_MICROCENTS\",\"amount\":" n "}"

static void
test_found(void)
{
    size_t         i, n;
    int64_t        rest;
    cycles_str_t   body;
    unsigned char  text[256];

    static const struct {
        reply_case_t  r;
        int64_t       rest;
    } cases[] = {
        { { "a commit of as much", 200, "{\"status\":\"COMMITTED\","
            COMMITTED("77") "}", DONE, CYCLES_RESERVATION_FINALIZED }, 77 },
        { { "a commit of more", 200, "{\"status\":\"COMMITTED\","
            COMMITTED("78") "}", DONE, CYCLES_RESERVATION_FINALIZED }, 77 },
        { { "a commit of less", 200, "{\"status\":\"COMMITTED\","
            COMMITTED("70") "}", EXPIRED, CYCLES_RESERVATION_FINALIZED }, 7 },
        { { "a commit of nothing", 200, "{\"status\":\"COMMITTED\","
            COMMITTED("0") "}", EXPIRED, CYCLES_RESERVATION_FINALIZED }, 77 },
        { { "a commit of nobody knows what", 200,
            "{\"status\":\"COMMITTED\"}",
            DONE, CYCLES_RESERVATION_FINALIZED }, 77 },
        { { "a commit in another unit", 200, "{\"status\":\"COMMITTED\","
            "\"committed\":{\"unit\":\"TOKENS\",\"amount\":1}}",
            DONE, CYCLES_RESERVATION_FINALIZED }, 77 },
        { { "one that was released", 200, "{\"status\":\"RELEASED\"}",
            EXPIRED, CYCLES_OK }, 77 },
        { { "one that has expired", 200, "{\"status\":\"EXPIRED\"}",
            EXPIRED, CYCLES_OK }, 77 },
        { { "or is gone", 410, "{\"error\":\"RESERVATION_EXPIRED\"}",
            EXPIRED, CYCLES_RESERVATION_EXPIRED }, 77 },
        { { "one that is active", 200, "{\"status\":\"ACTIVE\"}",
            RETRY, CYCLES_OK }, 77 },
        { { "no status", 200, "{}", RETRY, CYCLES_OK }, 77 },
        { { "no JSON", 200, "COMMITTED", RETRY, CYCLES_OK }, 77 },
        { { "another 2xx", 202, "{\"status\":\"COMMITTED\"}",
            RETRY, CYCLES_INTERNAL_ERROR }, 77 },
        { { "no reply", 0, "", RETRY, CYCLES_INTERNAL_ERROR }, 77 },
        { { "an error of the server", 500, "{\"status\":\"RELEASED\"}",
            RETRY, CYCLES_INTERNAL_ERROR }, 77 },
        { { "one that is not there", 404, "{\"error\":\"NOT_FOUND\"}",
            CYCLES_REPLY_REJECTED, CYCLES_NOT_FOUND }, 77 },
        { { "an unknown key", 401, "{\"error\":\"UNAUTHORIZED\"}",
            UNKNOWN, CYCLES_UNAUTHORIZED }, 77 },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&reply, 0xa5, sizeof(reply));

        is_int(cycles_parse_found(cases[i].r.status,
                                  (unsigned char *) cases[i].r.body,
                                  strlen(cases[i].r.body),
                                  CYCLES_USD_MICROCENTS, 77, &rest, &reply),
               cases[i].r.verdict, "looked at: %s", cases[i].r.name);
        is_int(reply.code, cases[i].r.code, "its code");
        is_int(rest, cases[i].rest, "and what is left to be charged");
    }

    body.data = (unsigned char *) "{\"idempotency_key\":\"k\",\"actual\":"
                "{\"unit\":\"TOKENS\",\"amount\":77},\"metrics\":{}}";
    body.len = strlen((char *) body.data);

    n = cycles_event_rest(NULL, 0, body, 7);
    ok(n < sizeof(text) && cycles_event_rest(text, n, body, 7) == n,
       "the event of the rest");
    text[n] = '\0';
    is_str((char *) text, "{\"idempotency_key\":\"k\",\"actual\":"
           "{\"unit\":\"TOKENS\",\"amount\":7},\"metrics\":{}}",
           "is the same but for its amount");

    body.len--;
    is_int(cycles_event_rest(text, n, body, 7), 0, "no event");
}


static void
test_ids(void)
{
    size_t  i, n;
    char    body[2048];

    static const char  head[] = "{\"decision\":\"ALLOW\","
                                "\"affected_scopes\":[],"
                                "\"reservation_id\":\"";

    for (i = 0; i < 4; i++) {
        n = (size_t []) { 39, 40, 512, 513 }[i];

        strcpy(body, head);
        memset(body + sizeof(head) - 1, 'r', n);
        strcpy(body + sizeof(head) - 1 + n, "\"}");

        is_int(reserve(200, body, 0), n <= 512 ? DONE : RETRY,
               "an id of %d bytes", (int) n);
        is_int(strlen(rs.id), n <= 39 ? n : 0, "where it fits");
        is_int(strlen(reply.id), n <= 512 ? n : 0, "where it always does");
    }
}


/* every prefix of a valid reply is an invalid one */

static void
test_prefixes(void)
{
    size_t         n, len;
    char           body[512];
    static char    whole[] = CAPS "{\"max_tokens\":1,\"tool_denylist\":[\"a\"]"
                             "},\"balances\":[{\"remaining\":" AMOUNT "1}}]}";

    len = strlen(whole);

    for (n = 0; n < len; n++) {
        memcpy(body, whole, n);
        body[n] = '\0';

        if (reserve(200, body, 0) != RETRY || rs.code != CYCLES_OK
            || rs.decision != CYCLES_DENY)
        {
            break;
        }
    }

    is_int(n, len, "no prefix of a reply is one");
    is_int(reserve(200, whole, 0), DONE, "the whole of it is");
}


int
main(void)
{
    test_reserve_table();
    test_reserve_values();
    test_dry_run();
    test_caps();
    test_denial();
    test_settled_table();
    test_settled_values();
    test_found();
    test_ids();
    test_prefixes();

    return done_testing();
}
