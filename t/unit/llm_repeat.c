
/*
 * Copyright (C) nginx-cycles authors
 *
 * Lines that are not parsed again: the results are those of a reader that
 * gets one byte at a time and so never sees a whole line.
 */


#include <stdlib.h>
#include <string.h>

#include "llm/llm_reply.h"
#include "tap.h"


#define EVENT(text, more)                                                     \
    "data: {\"id\":\"c-1\",\"object\":\"chunk\",\"created\":17,\"model\":"    \
    "\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text     \
    "\"}}]" more "}\n\n"

#define USED(text)                                                            \
    EVENT(text, ",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}")


static void test_same(void);
static void test_random(void);
static void test_use(void);
static void compare(const char *text, size_t n, const char *what);
static void read_in(llm_reply_t *rp, const char *text, size_t n, size_t step);
static int same(const llm_reply_t *a, const llm_reply_t *b);


static const struct {
    const char          *what;
    const char          *text;
} cases[] = {
    { "words", EVENT("a", "") EVENT("b", "") EVENT("cd", "")
               EVENT(" word", "") EVENT("", "") EVENT("Word", "") },
    { "escapes", EVENT("a", "") EVENT("b", "") EVENT("\\n", "")
                 EVENT("\\\"", "") EVENT("\\\\", "") EVENT("\\u00e9", "")
                 EVENT("x\\ny", "") },
    { "an escape that is none", EVENT("a", "") EVENT("b", "")
                                EVENT("\\q", "") EVENT("c", "") },
    { "text that is not UTF-8", EVENT("a", "") EVENT("b", "")
                                EVENT("\xff\xfe", "") EVENT("c", "") },
    { "a control character", EVENT("a", "") EVENT("b", "")
                             EVENT("\x01\t", "") EVENT("c", "") },
    { "a line end in a text", EVENT("a", "") EVENT("b", "")
                              EVENT("c\nd", "") EVENT("e", "") },
    { "a usage", EVENT("a", "") EVENT("b", "") USED("c") USED("d") USED("e")
                 EVENT("f", "") },
    { "text behind a usage", USED("a") USED("b") EVENT("c", "")
                             EVENT("d", "") EVENT("e", "") },
    { "another model", EVENT("a", ",\"model\":\"m\"") EVENT("b", "")
                       EVENT("c", "") },
    { "a value that varies", EVENT("a", ",\"o\":\"x\"")
                             EVENT("b", ",\"o\":\"yz\"")
                             EVENT("c", ",\"o\":\"\"")
                             EVENT("d", ",\"o\":\"\\\"\"")
                             EVENT("e", ",\"o\":\"zzz\"")
                             EVENT("f", ",\"o\":[\"zzz\"]")
                             EVENT("g", ",\"o\":\"zzz") EVENT("h", "") },
    { "a number that varies", EVENT("a", ",\"s\":1") EVENT("b", ",\"s\":2")
                              EVENT("c", ",\"s\":13") EVENT("d", ",\"s\":0")
                              EVENT("e", ",\"s\":01") EVENT("f", ",\"s\":1.5")
                              EVENT("g", ",\"s\":-1") EVENT("h", ",\"s\":") },
    { "an error", EVENT("a", "") EVENT("b", "") "event: error\n"
                  EVENT("c", "") EVENT("d", "") },
    { "a named event", "event: x\n" EVENT("a", "") "event: x\n"
                       EVENT("b", "") "event: x\n" EVENT("c", "") },
    { "data in two lines", EVENT("a", "") EVENT("b", "") "data: \n"
                           EVENT("c", "") EVENT("d", "") },
    { "a member behind it", EVENT("a", "") EVENT("b", "")
                            EVENT("c", ",\"error\":{}") EVENT("d", "") },
    { "an end", EVENT("a", "") EVENT("b", "") EVENT("c", "")
                "data: [DONE]\n\n" EVENT("d", "") },
    { "two texts", EVENT("a", ",\"text\":\"more\"")
                   EVENT("b", ",\"text\":\"mores\"")
                   EVENT("c", ",\"text\":\"x\"") },
    { "values of another kind", EVENT("a", ",\"o\":1") EVENT("b", ",\"o\":2")
                                EVENT("c", ",\"o\":\"2\"")
                                EVENT("d", ",\"o\":null") },
    { "a picture each", "data: {\"data\":[{\"url\":\"x\"}]}\n\n"
                        "data: {\"data\":[{\"url\":\"x\"}]}\n\n"
                        "data: {\"data\":[{\"url\":\"x\"}]}\n\n" },
    { "a call each", "data: {\"type\":\"response.output_item.done\",\"item\":"
                     "{\"type\":\"web_search_call\"}}\n\n"
                     "data: {\"type\":\"response.output_item.done\",\"item\":"
                     "{\"type\":\"web_search_call\"}}\n\n" },
    { "CR and LF", "data: {\"text\":\"a\"}\r\n\r\ndata: {\"text\":\"b\"}\r\n"
                   "\r\ndata: {\"text\":\"c\"}\r\n\r\ndata: {\"text\":\"d\"}"
                   "\r\n\r\n" },
    { "CR alone", "data: {\"text\":\"a\"}\r\rdata: {\"text\":\"b\"}\r\r"
                  "data: {\"text\":\"c\"}\r\rdata: {\"text\":\"d\"}\r\r" },
    { "no blank line", "data: {\"text\":\"a\"}\n\ndata: {\"text\":\"b\"}\n\n"
                       "data: {\"text\":\"c\"}\ndata: {\"text\":\"d\"}\n\n" }
};


int
main(void)
{
    test_same();
    test_random();
    test_use();

    return done_testing();
}


static void
test_same(void)
{
    size_t  i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        compare(cases[i].text, strlen(cases[i].text), cases[i].what);
    }
}


/* events of all cases in any order, and now and then a damaged byte */

static void
test_random(void)
{
    char          text[8192];
    size_t        len, n, k;
    unsigned      i, bad;
    const char   *from, *end;
    llm_reply_t   a, b;

    srand(17);
    bad = 0;

    for (i = 0; i < 3000; i++) {

        for (len = 0; len < 3000; len += n) {
            k = (size_t) rand() % (sizeof(cases) / sizeof(cases[0]));
            from = cases[k].text;
            end = strstr(from, "\n\n");
            n = end ? (size_t) (end - from) + 2 : strlen(from);

            for (k = 1 + (size_t) rand() % 4; k && len + n < 4000; k--) {
                memcpy(text + len, from, n);
                len += (k > 1) ? n : 0;
            }
        }

        if (i % 3 == 0) {
            text[(size_t) rand() % len] = "\"\\{}:,1\n"[rand() % 8];
        }

        read_in(&a, text, len, len);
        read_in(&b, text, len, 1);

        bad += !same(&a, &b);
    }

    ok(bad == 0, "%u of %u random streams are read in another way", bad, i);
}


static void
test_use(void)
{
    size_t                n;
    llm_reply_t           rp;
    const unsigned char  *text, *end;

    static const char  begin[] = EVENT("a", ",\"o\":\"x\"")
                                 EVENT("b", ",\"o\":\"yy\"")
                                 EVENT("c", ",\"o\":\"z\"");
    static const char  next[] = EVENT("text", ",\"o\":\"next\"");
    static const char  other[] = EVENT("text", ",\"p\":\"next\"");

    read_in(&rp, begin, sizeof(begin) - 1, sizeof(begin) - 1);

    end = llm_repeat_match(&rp.u.repeat, (const unsigned char *) next,
                           (const unsigned char *) next + sizeof(next) - 1,
                           &text, &n);

    ok(end == (const unsigned char *) next + sizeof(next) - 3,
       "another text and another value are the same line");
    ok(end && text && n == 4 && memcmp(text, "text", 4) == 0,
       "and its text is found");

    ok(llm_repeat_match(&rp.u.repeat, (const unsigned char *) other,
                        (const unsigned char *) other + sizeof(other) - 1,
                        &text, &n)
       == NULL, "another name is another line");
}


static void
compare(const char *text, size_t n, const char *what)
{
    int          good;
    size_t       step;
    llm_reply_t  a, b;

    read_in(&a, text, n, 1);
    good = 1;

    for (step = 2; step <= n; step++) {
        read_in(&b, text, n, step);
        good = good && same(&a, &b);
    }

    ok(good, "%s", what);
}


/* portions in memory of their own, so that a sanitizer sees their ends */

static void
read_in(llm_reply_t *rp, const char *text, size_t n, size_t step)
{
    size_t  i, len;
    char   *copy;

    llm_reply_init(rp, LLM_API_CHAT, LLM_REPLY_SSE);

    for (i = 0; i < n; i += len) {
        len = (step < n - i) ? step : n - i;
        copy = malloc(len);
        memcpy(copy, text + i, len);
        llm_reply_feed(rp, (const unsigned char *) copy, len);
        free(copy);
    }

    llm_reply_finish(rp);
}


static int
same(const llm_reply_t *a, const llm_reply_t *b)
{
    return memcmp(&a->usage, &b->usage, sizeof(llm_usage_t)) == 0
           && a->model_len == b->model_len
           && memcmp(a->model, b->model, a->model_len) == 0
           && a->output_tokens == b->output_tokens
           && memcmp(a->turns, b->turns, sizeof(a->turns)) == 0
           && a->usage_seen == b->usage_seen
           && a->early == b->early
           && a->later == b->later
           && a->done == b->done
           && a->error == b->error
           && a->pending == b->pending
           && a->unreadable == b->unreadable;
}
