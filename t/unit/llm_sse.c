
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "llm/llm_reply.h"
#include "tap.h"


static void test_line_end(void);
static void test_event_end(void);
static void test_usage_only(void);
static void test_samples(void);
static const char *ends(const char *text, size_t n, size_t step);


int
main(void)
{
    test_line_end();
    test_event_end();
    test_usage_only();
    test_samples();

    return done_testing();
}


static void
test_line_end(void)
{
    int             lf;
    size_t          at, wrong;
    unsigned char   text[2000];

    for (lf = 0; lf < 2; lf++) {

        wrong = 0;

        for (at = 0; at < sizeof(text); at++) {
            memset(text, 'x', sizeof(text));
            text[at] = lf ? '\n' : '\r';

            wrong += llm_sse_line_end(text, text + sizeof(text)) != text + at;
            wrong += llm_sse_line_end(text, text + at) != NULL;

            text[at / 2] = '\r';
            wrong += llm_sse_line_end(text, text + sizeof(text))
                     != text + at / 2;
        }

        is_int((long long) wrong, 0, "line ends with %s", lf ? "LF" : "CR");
    }
}


/* the text with a bar behind each event */

static struct {
    const char  *text;
    const char  *ends;
} event_cases[] = {
    { "data: a\n\ndata: b\n\n", "data: a\n\n|data: b\n\n|" },
    { "data: a\r\n\r\ndata: b\r\n\r\n",
      "data: a\r\n\r\n|data: b\r\n\r\n|" },
    { "data: a\r\rdata: b\r\r", "data: a\r\r|data: b\r\r|" },
    { "data: a\n\r\n\r\ndata: b", "data: a\n\r\n|\r\n|data: b" },
    { "data: a\ndata: b\n", "data: a\ndata: b\n" },
    { "\n\n", "\n|\n|" },
    { "\r\n\n", "\r\n|\n|" },
    { ": c\n\n", ": c\n\n|" },
    { "a\n \n\n", "a\n \n\n|" },
    { "a", "a" },
    { "", "" }
};


static void
test_event_end(void)
{
    size_t       i, n, step, wrong;
    llm_sse_t    sse;
    const char  *got;

    for (i = 0; i < sizeof(event_cases) / sizeof(event_cases[0]); i++) {

        n = strlen(event_cases[i].text);

        is_str(ends(event_cases[i].text, n, n), event_cases[i].ends,
               "events of %s", event_cases[i].text);

        wrong = 0;

        for (step = 1; step < n; step++) {

            got = ends(event_cases[i].text, n, step);

            /* the LF of a CR that came alone may be in the next event */

            if (strcmp(got, event_cases[i].ends) != 0
                && strstr(got, "\r|\n") == NULL)
            {
                wrong++;
            }
        }

        is_int((long long) wrong, 0, "the same in pieces");
    }

    is_str(ends("data: a\r\n\r\ndata: b\r\n\r\n", 22, 11),
           "data: a\r\n\r\n|data: b\r\n\r\n|", "cut behind an event");
    is_str(ends("data: a\r\n\r\ndata: b\r\n\r\n", 22, 10),
           "data: a\r\n\r|\ndata: b\r\n\r\n|", "cut in a blank CRLF");
    is_str(ends("data: a\r\n\r\ndata: b\r\n\r\n", 22, 8),
           "data: a\r\n\r\n|data: b\r\n\r\n|", "cut in another CRLF");

    llm_sse_init(&sse);
    ok(llm_sse_event_end(&sse, NULL, NULL) == NULL, "no bytes, no event");
}


#define ID     "\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","
#define USAGE  "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}"


static struct {
    int          only;
    const char  *event;
} usage_cases[] = {
    { 1, "data: {" ID "\"choices\":[]," USAGE "}\n\n" },
    { 1, "data: {" ID "\"choices\":[]," USAGE ",\"obfuscation\":\"\"}\n\n" },
    { 1, "data: {" USAGE ",\"choices\": [ ] }\n\n" },
    { 1, "data:{\"choices\":[]," USAGE "}\r\n\r\n" },
    { 1, "data: {\"choices\":[]," USAGE "}\r\r" },
    { 1, "\ndata: {\"choices\":[]," USAGE "}\n\n" },
    { 1, "id: 4\nevent: x\ndata: {\"choices\":[]," USAGE "}\n\n" },
    { 1, "data: {\"choices\":[],\ndata: " USAGE "}\n\n" },
    { 1, "data: {\"ch\\u006fices\":[],\"us\\u0061ge\":{}}\n\n" },
    { 1, "data: {\"choices\":[]," USAGE ",\"error\":null}\n\n" },
    { 1, "data: {\"choices\":[]," USAGE ",\"x\":{\"choices\":[1]}}\n\n" },
    { 1, "data: {\"choices\":[]," USAGE ",\"x\":\"\\\"choices\\\":[{\"}\n\n" },

    { 1, "data: {\"filters\":[{\"a\":1}],\"choices\":[]," USAGE "}\n\n" },

    { 0, "data: {\"choices\":[],\"usage\":{\"a\":1\ndata: 2}}\n\n" },
    { 0, "data: {" ID "\"choices\":[{\"index\":0,\"delta\":{}}]," USAGE
      "}\n\n" },
    { 0, "data: {" ID "\"choices\":[{\"index\":0}],\"usage\":null}\n\n" },
    { 0, "data: {\"choices\":[],\"usage\":null}\n\n" },
    { 0, "data: {\"choices\":[]}\n\n" },
    { 0, "data: {" USAGE "}\n\n" },
    { 0, "data: {\"choices\":null," USAGE "}\n\n" },
    { 0, "data: {\"choices\":{}," USAGE "}\n\n" },
    { 0, "data: {\"choices\":[null]," USAGE "}\n\n" },
    { 0, "data: {\"choices\":[[]]," USAGE "}\n\n" },
    { 0, "data: {\"choices\":[],\"usage\":[]}\n\n" },
    { 0, "data: {\"choices\":[],\"usage\":\"{}\"}\n\n" },
    { 0, "data: {\"choices\":[],\"x\":{" USAGE "}}\n\n" },
    { 0, "data: {\"x\":{\"choices\":[]}," USAGE "}\n\n" },
    { 0, "data: {\"choices\":[]," USAGE ",\"error\":{\"message\":\"x\"}}"
      "\n\n" },
    { 0, "data: {\"choices\":[1],\"choices\":[]," USAGE "}\n\n" },
    { 0, "data: {\"choices\":[]," USAGE ",\"usage\":null}\n\n" },
    { 0, "data: {\"choices\":[]," USAGE "\n\n" },
    { 0, "data: {\"choices\":[]," USAGE ",x}\n\n" },
    { 0, "data: {\"choices\":[]," USAGE ",\"x\":[}]}\n\n" },
    { 0, "data: {\"choices\":[]," USAGE "}}\n\n" },
    { 0, "data: [{\"choices\":[]," USAGE "}]\n\n" },
    { 0, "data: [DONE]\n\n" },
    { 0, "data: \n\n" },
    { 0, "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"choices\\\":[],"
      "\\\"usage\\\":{}\"}}]}\n\n" },
    { 0, "datum: {\"choices\":[]," USAGE "}\n\n" },
    { 0, ": {\"choices\":[]," USAGE "}\n\n" },
    { 0, "{\"choices\":[]," USAGE "}\n\n" },
    { 0, "dat" },
    { 0, "\n" },
    { 0, "" }
};


static void
test_usage_only(void)
{
    size_t          i, n;
    unsigned char  *copy;

    for (i = 0; i < sizeof(usage_cases) / sizeof(usage_cases[0]); i++) {

        n = strlen(usage_cases[i].event);
        copy = malloc(n);

        if (n && copy == NULL) {
            exit(2);
        }

        memcpy(copy, usage_cases[i].event, n);

        is_int(llm_sse_usage_only(copy, n), usage_cases[i].only,
               "usage only: %s", usage_cases[i].event);
        free(copy);
    }
}


/* in each sample, the one event that is extra, if it is there */

static void
test_samples(void)
{
    FILE                 *file;
    char                  path[256];
    size_t                i, n;
    int                   events, only;
    llm_sse_t             sse;
    unsigned char         body[65536];
    const unsigned char  *p, *end;

    static struct {
        const char  *name;
        int          events;
        int          only;
    } samples[] = {
        { "openai-chat-stream-usage.sse", 5, 1 },
        { "openai-chat-stream-nousage.sse", 4, 0 },
        { "openai-chat-stream-crlf-comments.sse", 6, 1 },
        { "openai-chat-stream-decoy.sse", 7, 1 },
        { "openai-chat-stream-error.sse", 2, 0 },
        { "openai-completions-stream.sse", 4, 1 },
        { "azure-chat-stream.sse", 6, 1 },
        { "mistral-chat-stream.sse", 3, 0 },
        { "deepseek-chat-stream.sse", 5, 0 }
    };

    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {

        snprintf(path, sizeof(path), "t/samples/%s", samples[i].name);
        file = fopen(path, "rb");

        if (!ok(file != NULL, "%s: opened", samples[i].name)) {
            continue;
        }

        n = fread(body, 1, sizeof(body), file);
        fclose(file);

        events = 0;
        only = 0;

        llm_sse_init(&sse);

        for (p = body; p < body + n; p = end) {

            end = llm_sse_event_end(&sse, p, body + n);

            if (end == NULL) {
                break;
            }

            events++;
            only += llm_sse_usage_only(p, (size_t) (end - p));
        }

        is_int(events, samples[i].events, "%s: events", samples[i].name);
        is_int(only, samples[i].only, "%s: extra", samples[i].name);
    }
}


static const char *
ends(const char *text, size_t n, size_t step)
{
    char                 *out;
    size_t                i, size;
    llm_sse_t             sse;
    unsigned char        *copy;
    const unsigned char  *p, *end;
    static char           buffer[256];

    out = buffer;
    llm_sse_init(&sse);

    for (i = 0; i < n; i += size) {

        size = (step < n - i) ? step : n - i;
        copy = malloc(size);

        if (copy == NULL) {
            exit(2);
        }

        memcpy(copy, text + i, size);

        for (p = copy; p < copy + size; p = end) {

            end = llm_sse_event_end(&sse, p, copy + size);

            if (end == NULL) {
                end = copy + size;
                memcpy(out, p, (size_t) (end - p));
                out += end - p;
                break;
            }

            memcpy(out, p, (size_t) (end - p));
            out += end - p;
            *out++ = '|';
        }

        free(copy);
    }

    *out = '\0';

    return buffer;
}
