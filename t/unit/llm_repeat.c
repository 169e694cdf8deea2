
/*
 * Copyright (C) nginx-cycles authors
 *
 * Events that are not parsed again: the results are those of a reader that
 * has to read each byte when it comes, and so never sees a whole event.
 */


#include "reply.h"
#include "tap.h"


#define EVENT(text, more)                                                     \
    "data: {\"id\":\"c-1\",\"object\":\"chunk\",\"created\":17,\"model\":"    \
    "\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text     \
    "\"}}]" more "}\n\n"

#define USED(text)                                                            \
    EVENT(text, ",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}")


#define LONG                                                                  \
    "a text that is so long that an event with three of them is longer than " \
    "what is kept of an event that has not ended, and has to be read before " \
    "its end; with only two of them it is shorter, but longer than an event " \
    "from which others are known"


static void test_same(void);
static void test_random(void);
static void test_use(void);
static void test_pieces(void);
static void test_flush(void);
static void compare(const char *text, size_t n, const char *what);
static void read_in(llm_reply_t *rp, const char *text, size_t n, size_t step);
static void read_at_random(llm_reply_t *rp, const char *text, size_t n);
static void read_bytes(llm_reply_t *rp, const char *text, size_t n);


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
    { "an error that was a word", "event: x\n" EVENT("a", "") "event: x\n"
                                  EVENT("b", "") "event: error\nevent: x\n"
                                  EVENT("c", "") "event: x\n" EVENT("d", "")
                                  "event: error\n" EVENT("e", "")
                                  "event: x\n" EVENT("f", "") },
    { "a long text", EVENT("a", "") EVENT("b", "") EVENT(LONG, "")
                     EVENT(LONG LONG, "") EVENT(LONG LONG LONG, "")
                     EVENT("c", "") EVENT(LONG LONG, ",\"a\":1")
                     EVENT("d", "") },
    { "an id each", "id: 1\n" EVENT("a", "") "id: 2\n" EVENT("b", "")
                    ":\n\n" "id: 3\n" EVENT("c", "") "retry: 1\n" "id\n"
                    EVENT("d", "") ": x\n" EVENT("e", "") },
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
    { "CR and LF of two lines", EVENT("a", "") "id: 1\rid\ndata: {\"text\":"
                                "\"b\"}\n\n" EVENT("c", "") },
    { "no blank line", "data: {\"text\":\"a\"}\n\ndata: {\"text\":\"b\"}\n\n"
                       "data: {\"text\":\"c\"}\ndata: {\"text\":\"d\"}\n\n" }
};


int
main(void)
{
    test_same();
    test_random();
    test_use();
    test_pieces();
    test_flush();

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

        read_bytes(&a, text, len);
        read_in(&b, text, len, len);

        bad += !reply_same(&a, &b);

        read_at_random(&b, text, len);

        bad += !reply_same(&a, &b);
    }

    ok(bad == 0, "%u readings of %u random streams differ", bad, i);
}


static void
test_use(void)
{
    llm_reply_t           rp;
    llm_repeat_found_t    found;
    const unsigned char  *end;

    static const char  begin[] = EVENT("a", ",\"o\":\"x\"")
                                 EVENT("b", ",\"o\":\"yy\"")
                                 EVENT("c", ",\"o\":\"z\"");
    static const char  next[] = EVENT("text", ",\"o\":\"next\"");
    static const char  other[] = EVENT("text", ",\"p\":\"next\"");

    read_in(&rp, begin, sizeof(begin) - 1, sizeof(begin) - 1);

    end = llm_repeat_match(&rp.u.repeat, (const unsigned char *) next,
                           (const unsigned char *) next + sizeof(next) - 1,
                           &found);

    ok(end == (const unsigned char *) next + sizeof(next) - 3,
       "another text and another value are the same line");
    ok(end && found.text && found.len == 4
       && memcmp(found.text, "text", 4) == 0,
       "and its text is found");

    ok(llm_repeat_match(&rp.u.repeat, (const unsigned char *) other,
                        (const unsigned char *) other + sizeof(other) - 1,
                        &found)
       == NULL, "another name is another line");
}


/* providers may send an event in parts, none of which has a whole line */

static void
test_pieces(void)
{
    size_t       i, step, bad;
    llm_reply_t  rp;

    static const char  text[] = "event: x\n" EVENT("a", "")
                                "event: x\n" EVENT("b", "")
                                "event: x\n" EVENT("c", "");

    bad = 0;

    for (step = 1; step < sizeof(text); step++) {

        read_in(&rp, text, sizeof(text) - 1, step);

        bad += !rp.u.repeat.ready
               || memcmp(rp.u.repeat.event, "event: x\ndata: {", 16) != 0;

        /* an event that is known needs no reader of JSON */

        llm_reply_init(&rp, LLM_API_CHAT, LLM_REPLY_SSE);
        reply_piece(&rp, text, 2 * (sizeof(text) / 3));
        memset(&rp.walk, 0xff, sizeof(rp.walk));
        rp.walking = 0;

        for (i = 2 * (sizeof(text) / 3); i < sizeof(text) - 1; i += step) {
            reply_piece(&rp, text + i, (step < sizeof(text) - 1 - i)
                                       ? step : sizeof(text) - 1 - i);
        }

        bad += rp.walking || rp.nheld || rp.unreadable;
    }

    ok(bad == 0, "an event is known whatever parts it comes in");
}


/* results can be asked for at any place */

static void
test_flush(void)
{
    size_t       i, k, n, bad;
    llm_reply_t  a, b;

    bad = 0;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        n = strlen(cases[i].text);

        for (k = 1; k < n; k++) {
            llm_reply_init(&a, LLM_API_CHAT, LLM_REPLY_SSE);
            llm_reply_init(&b, LLM_API_CHAT, LLM_REPLY_SSE);

            read_bytes(&a, cases[i].text, k);

            reply_piece(&b, cases[i].text, k);
            llm_reply_finish(&b);

            bad += !reply_same(&a, &b);

            llm_reply_init(&b, LLM_API_CHAT, LLM_REPLY_SSE);

            reply_piece(&b, cases[i].text, k);
            llm_reply_flush(&b);
            reply_piece(&b, cases[i].text + k, n - k);
            llm_reply_finish(&b);

            read_bytes(&a, cases[i].text, n);

            bad += !reply_same(&a, &b);
        }
    }

    ok(bad == 0, "results are right in the middle of an event");
}


static void
compare(const char *text, size_t n, const char *what)
{
    int          good;
    size_t       step;
    llm_reply_t  a, b;

    read_bytes(&a, text, n);
    good = 1;

    for (step = 1; step <= n; step++) {
        read_in(&b, text, n, step);
        good = good && reply_same(&a, &b);
    }

    ok(good, "%s", what);
}


static void
read_in(llm_reply_t *rp, const char *text, size_t n, size_t step)
{
    reply_read(rp, LLM_API_CHAT, LLM_REPLY_SSE, text, n, step);
}


static void
read_at_random(llm_reply_t *rp, const char *text, size_t n)
{
    size_t  i, len;

    llm_reply_init(rp, LLM_API_CHAT, LLM_REPLY_SSE);

    for (i = 0; i < n; i += len) {
        len = 1 + (size_t) rand() % (rand() % 4 ? 100 : 1000);
        len = (len < n - i) ? len : n - i;
        reply_piece(rp, text + i, len);

        if (rand() % 64 == 0) {
            llm_reply_flush(rp);
        }
    }

    llm_reply_finish(rp);
}


static void
read_bytes(llm_reply_t *rp, const char *text, size_t n)
{
    size_t  i;

    llm_reply_init(rp, LLM_API_CHAT, LLM_REPLY_SSE);

    for (i = 0; i < n; i++) {
        reply_piece(rp, text + i, 1);
        llm_reply_flush(rp);
    }

    llm_reply_finish(rp);
}
