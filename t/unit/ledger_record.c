
/*
 * Copyright (C) nginx-cycles authors
 *
 * Records as bytes: what is read is what was written, at the limits of each
 * of its forms, and what is cut or has forms that nobody writes is refused.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "ledger.h"


#define KEY    "01234567-89ab-4def-8123-456789abcdef"
#define TRACE  "0123456789abcdef0123456789abcdef"

/* a reserve and a commit as nginx makes them, of 62 bytes of names */
#define PAIR   330


static unsigned char      buf[CYCLES_RECORD_MAX];
static cycles_record_t    rec, copy;
static cycles_subject_t   subject;
static cycles_action_t    action;


static int
same(cycles_str_t a, cycles_str_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static void
effect(unsigned i, uint32_t budget, int64_t reserved, int64_t spent,
    int64_t debt)
{
    rec.effects[i].budget = budget;
    rec.effects[i].reserved = reserved;
    rec.effects[i].spent = spent;
    rec.effects[i].debt = debt;
    rec.neffects = i + 1;
}


/* of nginx itself */

static void
reserve(void)
{
    memset(&rec, 0, sizeof(rec));
    memset(&subject, 0, sizeof(subject));
    memset(&action, 0, sizeof(action));

    subject.levels[CYCLES_TENANT] = str("t00000000");
    subject.levels[CYCLES_APP] = str("bench");
    action.kind = str("llm.completion");
    action.name = str("openai:gpt-4o-mini");

    rec.seq = 1234567;
    rec.time = 1764547200000;
    rec.type = CYCLES_RECORD_RESERVE;
    memcpy(rec.id, "0123456789abcdef", 16);
    rec.owner = subject.levels[CYCLES_TENANT];
    rec.key = str(KEY);
    rec.trace_id = str(TRACE);
    rec.subject = &subject;
    rec.action = &action;
    rec.decision = CYCLES_ALLOW;
    rec.fresh_key = 1;
    rec.amount = 123456;
    rec.remaining = 9999999876544;
    rec.ttl_ms = 60000;
    rec.grace_ms = 5000;
    rec.expires_at_ms = rec.time + rec.ttl_ms;

    effect(0, 1, 123456, 0, 0);
    effect(1, 2, 123456, 0, 0);
}


static void
commit(void)
{
    reserve();

    rec.type = CYCLES_RECORD_COMMIT;
    rec.charged = rec.amount;
    rec.metrics.tokens_input = 300;
    rec.metrics.tokens_output = 120;
    rec.metrics.latency_ms = 850;
    rec.metrics.model_version = str("gpt-4o-mini");

    effect(0, 1, -123456, 100000, 0);
    effect(1, 2, -123456, 100000, 0);
}


static int
again(void)
{
    size_t  len;

    len = cycles_record_write(&rec, buf, sizeof(buf));
    memset(&copy, 0x5a, sizeof(copy));

    return len && cycles_record_read(&copy, buf, len) == 0;
}


static void
test_pair(void)
{
    size_t  n;

    reserve();
    n = cycles_record_write(&rec, buf, sizeof(buf));
    commit();
    n += cycles_record_write(&rec, buf, sizeof(buf));

    ok(n <= PAIR, "a reserve and a commit are %zu bytes, at most %u", n, PAIR);
}


static void
test_amounts(void)
{
    unsigned  i, wrong;

    static const int64_t  amounts[] = {
        0, -1, 1, 123, 124, -124, -125, 127, 128, 255, 256, -128, -129, 32767,
        32768, 8388607, 8388608, INT32_MAX, INT32_MIN, 1LL << 31, 1LL << 39,
        1LL << 47, 1LL << 55, (1LL << 55) - 1, INT64_MAX, INT64_MIN,
        INT64_MAX - 1, INT64_MIN + 1
    };

    for (wrong = 0, i = 0; i < sizeof(amounts) / sizeof(int64_t); i++) {
        commit();
        rec.amount = amounts[i];
        rec.charged = -(amounts[i] + 1);
        rec.remaining = amounts[i];
        rec.metrics.latency_ms = amounts[i];
        effect(1, (uint32_t) amounts[i], amounts[i], 7, amounts[i]);

        if (!again() || copy.amount != rec.amount
            || copy.charged != rec.charged || copy.remaining != rec.remaining
            || copy.metrics.latency_ms != amounts[i]
            || copy.effects[1].budget != (uint32_t) amounts[i]
            || copy.effects[1].reserved != amounts[i]
            || copy.effects[1].spent != 7
            || copy.effects[1].debt != amounts[i])
        {
            printf("# %lld\n", (long long) amounts[i]);
            wrong++;
        }
    }

    is_int(wrong, 0, "amounts of all lengths");
}


static void
test_strings(void)
{
    char      *text;
    unsigned   n, wrong;

    text = malloc(70000);
    memset(text, 'x', 70000);

    for (wrong = 0, n = 0; n < 40000; n += (n < 520) ? 1 : 4001) {
        reserve();
        rec.metadata.data = (unsigned char *) text;
        rec.metadata.len = n;
        wrong += !again() || !same(copy.metadata, rec.metadata);
    }

    is_int(wrong, 0, "strings of all lengths");

    rec.metadata.len = 70000;
    is_int(cycles_record_write(&rec, buf, sizeof(buf)), 0, "one is too long");

    free(text);
}


static void
test_names(void)
{
    size_t    uuid;
    unsigned  i, wrong;

    static const char  *keys[] = {
        KEY, "01234567-89AB-4def-8123-456789abcdef", "key",
        "01234567-89ab-4def-8123-456789abcde", "",
        "01234567-89ab-4def-8123-456789abcdeg",
        "01234567a89ab-4def-8123-456789abcdef",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "ffffffff-ffff-ffff-ffff-ffffffffffff"
    };

    static const char  *traces[] = {
        TRACE, "", "0123456789ABCDEF0123456789abcdef",
        "0123456789abcdef0123456789abcde",
        "00000000000000000000000000000000",
        "0123456789abcdef0123456789abcdeF"
    };

    for (wrong = 0, i = 0; i < 9 * 6; i++) {
        reserve();
        rec.key = str(keys[i % 9]);
        rec.trace_id = str(traces[i / 9]);
        wrong += !again() || !same(copy.key, rec.key)
                 || !same(copy.trace_id, rec.trace_id);
    }

    is_int(wrong, 0, "keys and traces of all forms");

    reserve();
    uuid = cycles_record_write(&rec, buf, sizeof(buf));
    rec.key = str("01234567-89AB-4def-8123-456789abcdef");
    is_int(cycles_record_write(&rec, buf, sizeof(buf)), uuid + 21,
           "a UUID in lower case takes 16 bytes, another one is a text");

    reserve();
    ok(again() && copy.key_is_uuid && copy.trace_is_hex
       && memcmp(copy.key_uuid, "\x01\x23\x45\x67\x89\xab\x4d\xef", 8) == 0
       && memcmp(copy.trace, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8) == 0,
       "and is known as such");

    reserve();
    again();
    wrong = memcmp(copy.digest.bytes, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    rec.digest.bytes[15] = 1;
    ok(!wrong && again() && copy.digest.bytes[15] == 1, "digests");
}


static void
test_owners(void)
{
    reserve();
    ok(again() && same(copy.owner, rec.owner)
       && same(copy.subject->levels[CYCLES_TENANT], str("t00000000"))
       && same(copy.subject->levels[CYCLES_APP], str("bench")),
       "the owner is the tenant");

    subject.levels[CYCLES_TENANT] = str("T00000000");
    ok(again() && same(copy.owner, str("t00000000"))
       && same(copy.subject->levels[CYCLES_TENANT], str("T00000000")),
       "in lower case");

    rec.owner = str("");
    ok(again() && copy.owner.len == 0, "nobody");

    subject.levels[CYCLES_TENANT] = str("");
    ok(again() && copy.owner.len == 0, "nor a tenant");

    rec.owner = str("acme");
    ok(again() && same(copy.owner, rec.owner), "an owner without one");

    commit();
    rec.type = CYCLES_RECORD_EVENT;
    rec.client_time_ms = -1;
    ok(again() && same(copy.owner, rec.owner) && copy.fresh_key
       && same(copy.action->name, action.name), "of an event");

    reserve();
    rec.expires_at_ms = INT64_MIN;
    rec.time = INT64_MAX;
    ok(again() && copy.expires_at_ms == INT64_MIN, "the end of time");
}


/* of so many bytes of the buffer, and a sanitizer sees a look at more */

static int
part(size_t n)
{
    int             rc;
    unsigned char  *exact;

    exact = malloc(n);
    memcpy(exact, buf, n);
    rc = cycles_record_read(&copy, exact, n);
    free(exact);

    return rc;
}


/* each record ends where it ends */

static void
test_cut(void)
{
    size_t    len, n, wrong;
    unsigned  i;

    for (i = 0; i < 2; i++) {
        (i ? commit : reserve)();

        len = cycles_record_write(&rec, buf, sizeof(buf));

        for (wrong = 0, n = CYCLES_RECORD_HEAD; n < len; n++) {
            wrong += part(n) == 0;
            wrong += cycles_record_write(&rec, buf, n) != 0;
            wrong += cycles_record_write(&rec, buf, sizeof(buf)) != len;
        }

        wrong += part(len) != 0 || part(len + 1) == 0;

        is_int(wrong, 0, "no part of a record, nor more than it, is one");
    }

    commit();
    len = cycles_record_write(&rec, buf, sizeof(buf));
    buf[CYCLES_RECORD_HEAD + 16] |= 8;
    ok(cycles_record_read(&copy, buf, len) != 0, "an unknown form of a head");
}


/* what fits no member, though the record may be as long as it should be */

static void
test_refused(void)
{
    size_t          len, at;
    unsigned char  *p;

    /* the expiry of nothing: no ids, then the number of its effects */

    memset(&rec, 0, sizeof(rec));
    rec.type = CYCLES_RECORD_EXPIRE;
    effect(0, 1, -1, 0, 0);
    len = cycles_record_write(&rec, buf, sizeof(buf));
    at = CYCLES_RECORD_HEAD + 2;

    ok(len == at + 6 && buf[at] == 1 && buf[at + 1] == 1
       && cycles_record_read(&copy, buf, len) == 0, "a number, and a budget");

    memmove(buf + at + 6, buf + at + 1, 5);
    memcpy(buf + at, "\xfc\1\0\0\0\1", 6);
    ok(cycles_record_read(&copy, buf, len + 5) != 0,
       "more effects than there are numbers");

    (void) cycles_record_write(&rec, buf, sizeof(buf));
    memmove(buf + at + 7, buf + at + 2, 4);
    memcpy(buf + at + 1, "\xfc\1\0\0\0\1", 6);
    ok(cycles_record_read(&copy, buf, len + 5) != 0,
       "a budget that no id is for");

    reserve();
    rec.owner = str("");
    subject.levels[CYCLES_TENANT] = str("");
    len = cycles_record_write(&rec, buf, sizeof(buf));
    at = CYCLES_RECORD_HEAD + 17 + 32 + 3;
    ok(buf[at] == 4 && cycles_record_read(&copy, buf, len) == 0, "no tenant");

    /* the empty owner is before the subject */

    buf[at] |= 8;
    p = memmem(buf, len, "\0\4\5bench", 8);
    memmove(p, p + 1, len - (size_t) (p + 1 - buf));
    len--;
    ok(cycles_record_read(&copy, buf, len) != 0, "who can't be the owner");
}


int
main(void)
{
    test_pair();
    test_amounts();
    test_strings();
    test_names();
    test_owners();
    test_cut();
    test_refused();

    return done_testing();
}
