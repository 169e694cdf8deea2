
/*
 * Copyright (C) nginx-cycles authors
 *
 * Where the events of streams end, and what is written when one is cut off.
 */


#include <stdlib.h>

#include <jansson.h>

#include "llm/llm_cut.h"
#include "tap.h"


#define EVENTS  64


static void test_ends(void);
static void test_samples(void);
static void test_sample(const char *name, llm_reply_format_t format,
    llm_provider_t provider, llm_api_t api);
static void test_words(void);
static void test_message(void);
static size_t split(llm_reply_format_t format, const char *text, size_t len,
    size_t step, size_t *ends);
static const char *cut(llm_api_t api, llm_reply_format_t format,
    llm_errors_t errors, int64_t events);


static const llm_error_t  error = {
    .kind = LLM_QUOTA,
    .status = 429,
    .message = { sizeof("No \"more\".") - 1, (unsigned char *) "No \"more\"." }
};


int
main(void)
{
    test_ends();
    test_samples();
    test_words();
    test_message();

    return done_testing();
}


/* the ends are marked by "|" */

static struct {
    llm_reply_format_t   format;
    const char          *text;
} ends[] = {

    { LLM_REPLY_SSE, "data: a\n\n|data: b\nid: 1\n\n|: c\n\n|\n|data: d\n" },
    { LLM_REPLY_SSE, "data: a\r\n\r\n|event: b\r\ndata: c\r\n\r\n|" },
    { LLM_REPLY_SSE, "" },

    { LLM_REPLY_LINES, "{\"a\":1}\n|{\"b\":\"\\n\"}\n|\n|{\"c\":" },
    { LLM_REPLY_LINES, "{\"a\":1}\r\n|" },

    { LLM_REPLY_JSON, "[{\"a\":[{}]}|,\r\n{\"b\":\"}]\\\"}\"}|\n]" },
    { LLM_REPLY_JSON, "\xef\xbb\xbf [[1]|,{}|,2,{\"a\":\"\\\\\"}|]\n" },
    { LLM_REPLY_JSON, "{\"a\":[{},{}]}" },
    { LLM_REPLY_JSON, "[]" },
    { LLM_REPLY_JSON, " \"[{}]\"" }
};


static void
test_ends(void)
{
    char        text[256];
    size_t      i, n, step, wanted[EVENTS], found[EVENTS], count;
    const char  *p;

    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {

        n = 0;
        count = 0;

        for (p = ends[i].text; *p; p++) {
            if (*p == '|') {
                wanted[count++] = n;
            } else {
                text[n++] = *p;
            }
        }

        for (step = 1; step <= n + 1; step++) {

            if (split(ends[i].format, text, n, step, found) != count
                || memcmp(wanted, found, count * sizeof(size_t)) != 0)
            {
                break;
            }
        }

        is_int((long long) step, (long long) n + 2, "ends of %s, in pieces",
               ends[i].text);
    }
}


/* behind any event of theirs an error can follow, and its reader sees it */

static void
test_samples(void)
{
    test_sample("openai-chat-stream-usage.sse", LLM_REPLY_SSE, LLM_OPENAI,
                LLM_API_CHAT);
    test_sample("openai-chat-stream-crlf-comments.sse", LLM_REPLY_SSE,
                LLM_OPENAI, LLM_API_CHAT);
    test_sample("openai-responses-stream.sse", LLM_REPLY_SSE,
                LLM_OPENAI_RESPONSES, LLM_API_RESPONSES);
    test_sample("openai-completions-stream.sse", LLM_REPLY_SSE, LLM_OPENAI,
                LLM_API_COMPLETIONS);
    test_sample("anthropic-messages-stream.sse", LLM_REPLY_SSE, LLM_ANTHROPIC,
                LLM_API_MESSAGES);
    test_sample("gemini-stream.sse", LLM_REPLY_SSE, LLM_GEMINI,
                LLM_API_GENERATE);
    test_sample("gemini-stream-array.json", LLM_REPLY_JSON, LLM_GEMINI,
                LLM_API_GENERATE);
    test_sample("cohere-chat-stream.sse", LLM_REPLY_SSE, LLM_COHERE,
                LLM_API_COHERE_CHAT);
    test_sample("ollama-chat-stream.ndjson", LLM_REPLY_LINES, LLM_OLLAMA,
                LLM_API_OLLAMA);
    test_sample("bedrock-converse-stream.bin", LLM_REPLY_EVENTSTREAM,
                LLM_BEDROCK_CONVERSE, LLM_API_CONVERSE);
    test_sample("bedrock-invoke-stream.bin", LLM_REPLY_EVENTSTREAM,
                LLM_BEDROCK_INVOKE, LLM_API_INVOKE);
    test_sample("mistral-chat-stream.sse", LLM_REPLY_SSE, LLM_MISTRAL,
                LLM_API_CHAT);
    test_sample("openrouter-chat-stream.sse", LLM_REPLY_SSE, LLM_OPENROUTER,
                LLM_API_CHAT);
    test_sample("groq-chat-stream.sse", LLM_REPLY_SSE, LLM_GROQ,
                LLM_API_CHAT);
    test_sample("llamacpp-chat-stream.sse", LLM_REPLY_SSE, LLM_LLAMACPP,
                LLM_API_CHAT);
}


static void
test_sample(const char *name, llm_reply_format_t format,
    llm_provider_t provider, llm_api_t api)
{
    char          path[256], *body;
    FILE         *file;
    size_t        i, len, n, count, found[EVENTS], again[EVENTS], size;
    llm_reply_t   rp;
    llm_errors_t  errors;
    unsigned char end[1024];

    errors = llm_errors_of(provider, api);

    snprintf(path, sizeof(path), "t/samples/%s", name);

    body = malloc(1 << 16);
    file = fopen(path, "rb");
    len = file ? fread(body, 1, 1 << 16, file) : 0;

    if (!ok(len > 0, "%s: read", name)) {
        free(body);
        return;
    }

    fclose(file);

    count = split(format, body, len, len, found);

    ok(count > 1, "%s: has events", name);

    for (n = 1; n < 20; n++) {
        if (split(format, body, len, n, again) != count
            || memcmp(found, again, count * sizeof(size_t)) != 0)
        {
            break;
        }
    }

    is_int((long long) n, 20, "%s: the same in pieces", name);

    for (i = 0; i <= count; i++) {

        n = i ? found[i - 1] : 0;
        size = llm_cut(end, sizeof(end), api, format, errors, &error,
                       (int64_t) i);

        llm_reply_init(&rp, api, format);
        llm_reply_feed(&rp, (unsigned char *) body, n);
        llm_reply_feed(&rp, end, size);
        llm_reply_finish(&rp);

        if (size > sizeof(end) || !rp.error || rp.unreadable) {
            break;
        }
    }

    is_int((long long) i, (long long) count + 1,
           "%s: an error behind each event", name);

    free(body);
}


#define NAMES  "\"message\":\"No \\\"more\\\".\",\"type\":"                    \
               "\"insufficient_quota\",\"param\":null,\"code\":"              \
               "\"insufficient_quota\""


static struct {
    llm_api_t            api;
    llm_reply_format_t   format;
    llm_errors_t         errors;
    int64_t              events;
    const char          *text;
} words[] = {

    { LLM_API_CHAT, LLM_REPLY_SSE, LLM_ERRORS_OPENAI, 3,
      "data: {\"error\":{" NAMES "}}\n\n" },

    { LLM_API_RESPONSES, LLM_REPLY_SSE, LLM_ERRORS_OPENAI, 3,
      "event: error\ndata: {\"type\":\"error\",\"code\":"
      "\"insufficient_quota\",\"message\":\"No \\\"more\\\".\",\"param\":null,"
      "\"sequence_number\":3}\n\n" },

    { LLM_API_MESSAGES, LLM_REPLY_SSE, LLM_ERRORS_ANTHROPIC, 3,
      "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
      "\"rate_limit_error\",\"message\":\"No \\\"more\\\".\",\"details\":{"
      "\"error_code\":\"enforced_spend_limit_reached\"}}}\n\n" },

    { LLM_API_RESPONSES, LLM_REPLY_SSE, LLM_ERRORS_ANTHROPIC, 3,
      "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
      "\"rate_limit_error\",\"message\":\"No \\\"more\\\".\",\"details\":{"
      "\"error_code\":\"enforced_spend_limit_reached\"}}}\n\n" },

    { LLM_API_COHERE_CHAT, LLM_REPLY_SSE, LLM_ERRORS_COHERE, 3,
      "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{"
      "\"error\":\"No \\\"more\\\".\",\"finish_reason\":\"ERROR\"}}\n\n" },

    { LLM_API_COHERE_CHAT, LLM_REPLY_LINES, LLM_ERRORS_COHERE, 3,
      "{\"is_finished\":true,\"event_type\":\"stream-end\","
      "\"finish_reason\":\"ERROR\",\"error\":\"No \\\"more\\\".\"}\n" },

    { LLM_API_OLLAMA, LLM_REPLY_LINES, LLM_ERRORS_OLLAMA, 3,
      "{\"error\":\"No \\\"more\\\".\"}\n" },

    { LLM_API_INTERACTIONS, LLM_REPLY_SSE, LLM_ERRORS_GOOGLE, 3,
      "event: error\ndata: {\"event_type\":\"error\",\"error\":{\"code\":"
      "\"insufficient_quota\",\"message\":\"No \\\"more\\\".\"}}\n\n" },

    { LLM_API_CHAT, LLM_REPLY_SSE, LLM_ERRORS_MISTRAL, 3,
      "data: {\"error\":{" NAMES "}}\n\n" },

    { LLM_API_OTHER, LLM_REPLY_JSON, LLM_ERRORS_OLLAMA, 0,
      "[{\"error\":\"No \\\"more\\\".\"}\n]\n" },

    { LLM_API_OTHER, LLM_REPLY_JSON, LLM_ERRORS_OLLAMA, 1,
      ",\n{\"error\":\"No \\\"more\\\".\"}\n]\n" }
};


static void
test_words(void)
{
    size_t  i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        is_str(cut(words[i].api, words[i].format, words[i].errors,
                   words[i].events),
               words[i].text, "the end of a stream, %d", (int) i);
    }
}


/* its checksums are looked at by the reader */

static void
test_message(void)
{
    size_t               size, step, n;
    unsigned             i, seen;
    unsigned char        buf[512];
    const unsigned char *p;
    llm_eventstream_t    es;

    size = llm_cut(NULL, 0, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM,
                   LLM_ERRORS_BEDROCK, &error, 3);

    memset(buf, 0x55, sizeof(buf));

    is_int((long long) llm_cut(buf, size - 1, LLM_API_CONVERSE,
                               LLM_REPLY_EVENTSTREAM, LLM_ERRORS_BEDROCK,
                               &error, 3),
           (long long) size, "a message that has no room");
    ok(buf[0] == 0x55, "is not written in part");

    (void) llm_cut(buf, size, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM,
                   LLM_ERRORS_BEDROCK, &error, 3);

    ok(buf[size] == 0x55, "one that has is no longer");

    for (step = 1; step <= size; step++) {

        llm_eventstream_init(&es);
        seen = 0;

        for (n = 0; n < size; n += step) {

            p = buf + n;

            do {
                i = (unsigned) llm_eventstream_next(&es, &p,
                                     buf + (n + step < size ? n + step : size));

                if (i == (unsigned) LLM_EVENTSTREAM_HEADER) {
                    seen |= (es.value_len == 9
                             && memcmp(es.value, "exception", 9) == 0);
                    seen |= (es.value_len == 19
                             && memcmp(es.value, "throttlingException", 19)
                                == 0) << 1;
                }

                seen |= (i == (unsigned) LLM_EVENTSTREAM_END) << 2;

            } while (i != LLM_EVENTSTREAM_AGAIN
                     && i != (unsigned) LLM_EVENTSTREAM_ERROR);
        }

        if (seen != 7 || !llm_eventstream_complete(&es)) {
            break;
        }
    }

    is_int((long long) step, (long long) size + 1,
           "an exception whose checksums are right");
}


static size_t
split(llm_reply_format_t format, const char *text, size_t len, size_t step,
    size_t *ends)
{
    size_t                i, n, count;
    llm_events_t          ev;
    const unsigned char  *p, *last, *end;

    count = 0;
    llm_events_init(&ev, format);

    for (i = 0; i < len; i += n) {

        n = (step < len - i) ? step : len - i;
        p = (const unsigned char *) text + i;
        last = p + n;

        while (p < last && count < EVENTS) {

            end = llm_events_end(&ev, p, last);

            if (end == NULL) {
                break;
            }

            /* an LF that came too late belongs to the event before */

            if (format == LLM_REPLY_SSE && end == p + 1 && *p == '\n'
                && count && p[-1] == '\r'
                && ends[count - 1] == i && p == (unsigned char *) text + i)
            {
                count--;
            }

            ends[count++] = (size_t) (end - (const unsigned char *) text);
            p = end;
        }
    }

    return count;
}


static const char *
cut(llm_api_t api, llm_reply_format_t format, llm_errors_t errors,
    int64_t events)
{
    size_t       size, again;
    static char  buf[1024];

    size = llm_cut(NULL, 0, api, format, errors, &error, events);
    again = llm_cut((unsigned char *) buf, sizeof(buf) - 1, api, format,
                    errors, &error, events);

    if (size != again || size >= sizeof(buf)) {
        return "another size";
    }

    buf[size] = '\0';

    return buf;
}
