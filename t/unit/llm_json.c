
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "llm/llm_json.h"
#include "tap.h"


typedef struct {
    char                 text[4096];
    size_t               len;
} log_t;


static void test_events(void);
static void test_grammar(void);
static void test_strict(void);
static void test_depth(void);
static void test_keys(void);
static void test_skip(void);
static void test_whole(void);
static void test_unescape(void);
static void test_printable(void);
static void test_offsets(void);
static int run(log_t *log, const char *text, size_t n, size_t step,
    int strict, const char *skip);
static void record(log_t *log, const char *what, const unsigned char *text,
    size_t len);
static const char *any_pieces(const char *text, int strict, const char *skip);


int
main(void)
{
    test_events();
    test_grammar();
    test_strict();
    test_depth();
    test_keys();
    test_skip();
    test_whole();
    test_unescape();
    test_printable();
    test_offsets();

    return done_testing();
}


static void
test_events(void)
{
    is_str(any_pieces(" { \"a\" : [ 1 , -2.5e+3 , true, false , null ] ,"
                      "\"b\":{}, \"c\":[],\"d\":\"x\\\"\\u00e9y\" }\r\n\t", 1,
                      NULL),
           "{ a: [ 1 -2.5e+3 true false null ] b: { } c: [ ]"
           " d: 'x\\\"\\u00e9y' }", "every kind of event");

    is_str(any_pieces("\"\"", 1, NULL), "''", "an empty string alone");
    is_str(any_pieces("{\"\":0}", 1, NULL), "{ : 0 }", "an empty key");
    is_str(any_pieces("[[],[[]]]", 1, NULL), "[ [ ] [ [ ] ] ]", "arrays");

    is_str(any_pieces("{\"\\u006dodel\\n\\ud83d\\ude00\":1}", 1, NULL),
           "{ model\n\xf0\x9f\x98\x80: 1 }", "escapes of a key");
}


/* what RFC 8259 accepts (1) and what it does not (0) */

static struct {
    int          accepted;
    const char  *text;
} grammar[] = {
    { 1, "{}" }, { 1, "[]" }, { 1, "0" }, { 1, "-0" }, { 1, "1.0" },
    { 1, "1e5" }, { 1, "1E+5" }, { 1, "1.25e-5" }, { 1, "true" },
    { 1, "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\uABcd\"" }, { 1, "[1,2]" },
    { 1, "{\"a\":1,\"a\":2}" }, { 1, "\"\xc3\xa9\xe2\x82\xac\"" },
    { 1, "\"\x7f\"" },

    { 0, "" }, { 0, " " }, { 0, "{" }, { 0, "[" }, { 0, "\"" },
    { 0, "{]" }, { 0, "[}" }, { 0, "{}}" }, { 0, "[]]" }, { 0, "[1,]" },
    { 0, "[,1]" }, { 0, "[1 2]" }, { 0, "{\"a\"}" }, { 0, "{\"a\":}" },
    { 0, "{\"a\":1,}" }, { 0, "{,\"a\":1}" }, { 0, "{\"a\" 1}" },
    { 0, "{a:1}" }, { 0, "{1:1}" }, { 0, "{'a':1}" }, { 0, "[:]" },
    { 0, "01" }, { 0, "-" }, { 0, "-a" }, { 0, "+1" }, { 0, ".5" },
    { 0, "5." }, { 0, "5.e1" }, { 0, "1e" }, { 0, "1e+" }, { 0, "1.2.3" },
    { 0, "0x10" }, { 0, "--1" }, { 0, "1-" }, { 0, "1e5.5" }, { 0, "00" },
    { 0, "-01" }, { 0, "NaN" }, { 0, "Infinity" }, { 0, "tru" },
    { 0, "trux" }, { 0, "True" }, { 0, "nul" }, { 0, "nulll" },
    { 0, "falsee" }, { 0, "\"\\x\"" }, { 0, "\"\\u12\"" },
    { 0, "\"\\u123\"" },
    { 0, "\"\\u12g4\"" }, { 0, "\"\\" }, { 0, "{} {}" }, { 0, "1 2" },
    { 0, "{}x" }, { 0, "[1]//" }, { 0, "/**/1" }, { 0, "\xef\xbb\xbf{}" },
    { 0, "[1\x0b,2]" }, { 0, "[1\xc2\xa0]" }
};


static void
test_grammar(void)
{
    size_t       i, n, step, wrong;
    log_t        log;
    const char  *text;

    for (i = 0; i < sizeof(grammar) / sizeof(grammar[0]); i++) {

        text = grammar[i].text;
        n = strlen(text);
        wrong = 0;

        for (step = 1; step <= n + 1; step++) {
            wrong += (run(&log, text, n, step, 1, NULL)
                      != grammar[i].accepted);
        }

        is_int((long long) wrong, 0, "%s: %s",
               grammar[i].accepted ? "accepted" : "refused", text);
    }

    is_int(run(&log, "[\0]", 3, 3, 1, NULL), 0, "refused: a zero byte");
    is_int(run(&log, "\"\\\0\"", 4, 4, 1, NULL), 0, "refused: its escape");
}


static void
test_strict(void)
{
    size_t              i;
    char                text[16];
    log_t               log;

    static const char  *invalid[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3\x28",
        "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x28\xa1",
        "\x01", "\n", "\x1f", "1234567\x1f", "12345678\x1f", "123456789\xff"
    };

    static const char  *valid[] = {
        "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
        "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf", "123456\xc3\xa9", "1234567\xc3\xa9"
    };

    for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {

        snprintf(text, sizeof(text), "\"%s\"", invalid[i]);

        is_int(run(&log, text, strlen(text), 99, 1, NULL), 0,
               "strict: invalid string %d", (int) i);
        is_int(run(&log, text, strlen(text), 1, 1, NULL), 0,
               "strict: invalid string %d byte by byte", (int) i);
        is_int(run(&log, text, strlen(text), 99, 0, NULL), 1,
               "tolerant: invalid string %d", (int) i);
        is_int(run(&log, text, strlen(text), 1, 0, NULL), 1,
               "tolerant: invalid string %d byte by byte", (int) i);
    }

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {

        snprintf(text, sizeof(text), "\"%s\"", valid[i]);

        is_int(run(&log, text, strlen(text), 99, 1, NULL), 1,
               "strict: valid string %d", (int) i);
        is_int(run(&log, text, strlen(text), 1, 1, NULL), 1,
               "strict: valid string %d byte by byte", (int) i);
    }
}


static void
test_depth(void)
{
    char   text[LLM_JSON_DEPTH * 2 + 2];
    log_t  log;

    memset(text, '[', LLM_JSON_DEPTH + 1);
    memset(text + LLM_JSON_DEPTH + 1, ']', LLM_JSON_DEPTH + 1);

    is_int(run(&log, text, sizeof(text), 64, 1, NULL), 0,
           "one level too deep");
    is_int(run(&log, text + 1, sizeof(text) - 2, 64, 1, NULL), 1,
           "as deep as may be");

    text[LLM_JSON_DEPTH + 1] = '}';
    is_int(run(&log, text + 1, sizeof(text) - 2, 64, 1, NULL), 0,
           "the deepest end is of the wrong kind");
}


/* at the limit of what is delivered, by lengths and not by pieces */

static void
test_keys(void)
{
    char    text[LLM_JSON_TEXT + 32], want[LLM_JSON_TEXT + 32];
    size_t  extra;

    for (extra = 0; extra < 2; extra++) {

        memset(text, 0, sizeof(text));
        memset(text, 'k', LLM_JSON_TEXT + 2 + extra);
        memcpy(text, "{\"", 2);
        strcpy(text + LLM_JSON_TEXT + 2 + extra, "\":1}");

        snprintf(want, sizeof(want), "{ %s: 1 }", "<257>");

        if (extra == 0) {
            memset(want, 0, sizeof(want));
            memset(want, 'k', LLM_JSON_TEXT + 2);
            memcpy(want, "{ ", 2);
            strcpy(want + LLM_JSON_TEXT + 2, ": 1 }");
        }

        is_str(any_pieces(text, 1, NULL), want, "a key of %d bytes",
               (int) (LLM_JSON_TEXT + extra));

        memset(text, 0, sizeof(text));
        memset(text, '1', LLM_JSON_TEXT + 1 + extra);
        text[0] = '[';
        strcpy(text + LLM_JSON_TEXT + 1 + extra, "]");

        snprintf(want, sizeof(want), "[ %s ]", "<257>");

        if (extra == 0) {
            memset(want, 0, sizeof(want));
            memset(want, '1', LLM_JSON_TEXT + 2);
            memcpy(want, "[ ", 2);
            strcpy(want + LLM_JSON_TEXT + 2, " ]");
        }

        is_str(any_pieces(text, 1, NULL), want, "a number of %d bytes",
               (int) (LLM_JSON_TEXT + extra));
    }
}


static void
test_skip(void)
{
    is_str(any_pieces("{\"a\":1,\"s\":1,\"b\":2}", 1, "s"),
           "{ a: 1 s: b: 2 }", "a number is skipped");
    is_str(any_pieces("{\"s\":\"x\\\"}\",\"b\":2}", 1, "s"), "{ s: b: 2 }",
           "a string");
    is_str(any_pieces("{\"s\":null}", 1, "s"), "{ s: }", "a literal");
    is_str(any_pieces("{\"s\":{},\"b\":2}", 1, "s"), "{ s: b: 2 }",
           "an empty object");
    is_str(any_pieces("{\"s\":[{\"x\":[1,{}],\"s\":2},\"]\"],\"b\":2}", 1,
                      "s"), "{ s: b: 2 }", "an array");
    is_str(any_pieces("{\"s\":[1,2}", 1, "s"), "{ s: error",
           "what is skipped is checked");
    is_str(any_pieces("[1,{\"a\":{\"b\":[]}},[2,[3]],4]", 1, "{"),
           "[ 1 { [ 2 [ 3 ] ] 4 ]", "the rest of an object");
    is_str(any_pieces("[1,{\"a\":[2]},5]", 1, "["), "[", "all of an array");
}


static void
test_whole(void)
{
    size_t  i;

    static struct {
        const char  *text;
        int64_t      value;
    } cases[] = {
        { "0", 0 }, { "1", 1 }, { "100", 100 }, { "1e3", 1000 },
        { "1E+3", 1000 }, { "100.0", 100 }, { "1.5e1", 15 },
        { "12.50e2", 1250 }, { "1000e-3", 1 }, { "0.0", 0 }, { "0e99", 0 },
        { "0e999999999999999999999", 0 }, { "0.001e3", 1 },
        { "9007199254740992", 9007199254740992 },
        { "9007199254740993", -1 }, { "90071992547409920e-1",
        9007199254740992 }, { "900719925474099200e-1", -1 },
        { "1.5", -1 }, { "1e-1", -1 }, { "0.1", -1 }, { "15e-1", -1 },
        { "-1", -1 }, { "-0", -1 }, { "1e16", -1 }, { "1e300", -1 },
        { "1e99999999999999999999", -1 }, { "1e-99999999999999999999", -1 },
        { "100000000000000000000000000000000000000000e-40", 10 },
        { "1.00000000000000000000000000000000000000000000000", 1 },
        { "1.00000000000000000000000000000000000000000000001", -1 },
        { "18446744073709551617", -1 }, { "184467440737095516160", -1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(llm_json_whole((const unsigned char *) cases[i].text,
                              strlen(cases[i].text)),
               cases[i].value, "whole: %s", cases[i].text);
    }

    is_int(llm_json_whole(NULL, 300), -1, "whole: a number too long");
}


static void
test_unescape(void)
{
    size_t          i, cut;
    llm_text_t      t;
    unsigned char   out[8];

    static struct {
        const char  *text;
        const char  *value;
        size_t       len;
    } cases[] = {
        { "abc", "abc", 3 },
        { "a\\\"\\\\\\/b", "a\"\\/b", 5 },
        { "\\b\\f\\n\\r\\t", "\b\f\n\r\t", 5 },
        { "\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac", 6 },
        { "\\ud83d\\ude00", "\xf0\x9f\x98\x80", 4 },
        { "\\udbff\\udfff", "\xf4\x8f\xbf\xbf", 4 },
        { "\\ud83d\\ude00\\ude00", "\xf0\x9f\x98\x80\xed\xb8\x80", 7 },
        { "x\\u0000y", "x\0y", 3 },
        { "\\ud83dx", "\xed\xa0\xbdx", 4 },
        { "\\ud83d\\n", "\xed\xa0\xbd\n", 4 },
        { "\\ude00", "\xed\xb8\x80", 3 },
        { "\\u00e9\\ude00", "\xc3\xa9\xed\xb8\x80", 5 },
        { "\\ud83d\\ud83d\\ude00", "\xed\xa0\xbd\xf0\x9f\x98\x80", 7 },
        { "12345678901", "12345678901", 11 },
        { "1234567\\u00e9", "1234567\xc3\xa9", 9 },
        { "123456\\ud83d\\ude00", "123456\xf0\x9f\x98\x80", 10 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        for (cut = 0; cut <= strlen(cases[i].text); cut++) {

            llm_text_init(&t, out, sizeof(out));
            llm_text_add(&t, (const unsigned char *) cases[i].text, cut);
            llm_text_add(&t, (const unsigned char *) cases[i].text + cut,
                         strlen(cases[i].text) - cut);

            if (t.len != cases[i].len
                || memcmp(out, cases[i].value,
                          t.len < sizeof(out) ? t.len : sizeof(out)) != 0)
            {
                break;
            }
        }

        ok(cut > strlen(cases[i].text), "escapes: %s", cases[i].text);
    }
}


static void
test_printable(void)
{
    int            wrong;
    size_t         n, place;
    unsigned       ch;
    unsigned char  text[20];

    ok(llm_text_printable((const unsigned char *) "gpt 4\xc3\xa9", 7),
       "printable");
    ok(llm_text_printable(NULL, 0), "nothing is printable");
    ok(!llm_text_printable((const unsigned char *) "a\0b", 3), "a zero");
    ok(!llm_text_printable((const unsigned char *) "a\x7f", 2), "a delete");
    ok(!llm_text_printable((const unsigned char *) "a\xc3", 2), "a part");
    ok(!llm_text_printable((const unsigned char *) "\xed\xa0\xbd", 3),
       "a surrogate");

    wrong = 0;

    for (n = 1; n <= sizeof(text); n++) {
        for (place = 0; place < n; place++) {
            for (ch = 0; ch < 256; ch++) {

                memset(text, (n & 1) ? '~' : ' ', sizeof(text));
                text[place] = (unsigned char) ch;

                wrong += (llm_text_printable(text, n)
                          != (ch >= ' ' && ch < 0x7f));
            }
        }
    }

    is_int(wrong, 0, "each byte, in each place");
}


static void
test_offsets(void)
{
    int                   event;
    size_t                step, n, size;
    uint64_t              start, end;
    llm_json_t            js;
    const unsigned char  *p, *text;

    text = (const unsigned char *) "{ \"key\" : 12345 , \"b\": null}";
    n = strlen((const char *) text);

    for (step = 1; step <= n; step++) {

        llm_json_init(&js, 1);

        start = 0;
        end = 0;
        p = text;

        while (p < text + n) {

            size = (step < (size_t) (text + n - p)) ? step
                                                    : (size_t) (text + n - p);
            size += (size_t) (p - text);

            while ((event = llm_json_next(&js, &p, text + size))
                   > LLM_JSON_AGAIN)
            {
                if (event == LLM_JSON_NUMBER) {
                    start = js.start;
                    end = js.offset;
                }
            }
        }

        ok(start == 10 && end == 15 && js.start == 27 && js.offset == n,
           "offsets in pieces of %d bytes", (int) step);
    }
}


/* 1: accepted */

static int
run(log_t *log, const char *text, size_t n, size_t step, int strict,
    const char *skip)
{
    int                   event;
    size_t                i, size;
    llm_json_t            js;
    unsigned char        *copy;
    const unsigned char  *p;

    static const char    *names[] = {
        "", "{", "}", "[", "]", "", "", "", "true", "false", "null"
    };

    log->len = 0;
    llm_json_init(&js, strict);

    for (i = 0; i < n; i += size) {

        size = (step < n - i) ? step : n - i;
        copy = malloc(size);

        if (copy == NULL) {
            exit(2);
        }

        memcpy(copy, text + i, size);
        p = copy;

        while ((event = llm_json_next(&js, &p, copy + size))
               > LLM_JSON_AGAIN)
        {
            switch (event) {

            case LLM_JSON_KEY:
                record(log, " ", js.text, js.len);
                record(log, ":", NULL, 0);

                if (skip && js.len == strlen(skip)
                    && memcmp(js.text, skip, js.len) == 0)
                {
                    llm_json_skip(&js);
                }

                break;

            case LLM_JSON_STRING:
                record(log, js.first ? " '" : "", js.text, js.len);
                record(log, js.last ? "'" : "", NULL, 0);
                break;

            case LLM_JSON_NUMBER:
                record(log, " ", js.text, js.len);
                break;

            default:
                record(log, " ", (const unsigned char *) names[event],
                       strlen(names[event]));

                if (skip && strcmp(skip, names[event]) == 0) {
                    llm_json_skip(&js);
                }
            }
        }

        /* no bytes are no event */

        p = copy + size;

        if (event == LLM_JSON_AGAIN
            && llm_json_next(&js, &p, copy + size) != LLM_JSON_AGAIN)
        {
            event = LLM_JSON_ERROR;
        }

        free(copy);

        if (event == LLM_JSON_ERROR) {
            record(log, " error", NULL, 0);
            return 0;
        }
    }

    return llm_json_complete(&js);
}


static void
record(log_t *log, const char *what, const unsigned char *text, size_t len)
{
    log->len += (size_t) snprintf(log->text + log->len,
                                  sizeof(log->text) - log->len, "%s",
                                  what + (log->len == 0 && *what == ' '));

    if (text == NULL && len) {
        log->len += (size_t) snprintf(log->text + log->len,
                                      sizeof(log->text) - log->len, "<%d>",
                                      (int) len);

    } else if (len) {
        memcpy(log->text + log->len, text, len);
        log->len += len;
    }

    log->text[log->len] = '\0';
}


/* the events, or which pieces gave others */

static const char *
any_pieces(const char *text, int strict, const char *skip)
{
    size_t        n, step;

    static log_t  whole, log;

    n = strlen(text);

    (void) run(&whole, text, n, n, strict, skip);

    for (step = 1; step < n; step++) {

        (void) run(&log, text, n, step, strict, skip);

        if (strcmp(log.text, whole.text) != 0) {
            printf("# in pieces of %d: %s\n", (int) step, log.text);
            return "pieces differ";
        }
    }

    return whole.text;
}
