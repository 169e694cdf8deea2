
/*
 * Copyright (C) nginx-cycles authors
 *
 * Events end at the same places in any pieces, and behind any of them an
 * error can be put: what could be read before it can still be.
 */


#include <stdlib.h>
#include <string.h>

#include "llm/llm_cut.h"


#define ENDS  4096


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t events(llm_reply_format_t format, const uint8_t *data,
    size_t size, size_t step, size_t *ends);
static void check(llm_provider_t provider, llm_api_t api,
    llm_reply_format_t format, const uint8_t *data, size_t size,
    int64_t number);


static const struct {
    llm_provider_t       provider;
    llm_api_t            api;
    llm_reply_format_t   format;
} streams[] = {
    { LLM_OPENAI, LLM_API_CHAT, LLM_REPLY_SSE },
    { LLM_OPENAI_RESPONSES, LLM_API_RESPONSES, LLM_REPLY_SSE },
    { LLM_ANTHROPIC, LLM_API_MESSAGES, LLM_REPLY_SSE },
    { LLM_GEMINI, LLM_API_GENERATE, LLM_REPLY_SSE },
    { LLM_GEMINI, LLM_API_GENERATE, LLM_REPLY_JSON },
    { LLM_COHERE, LLM_API_COHERE_CHAT, LLM_REPLY_SSE },
    { LLM_BEDROCK_CONVERSE, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM },
    { LLM_BEDROCK_INVOKE, LLM_API_INVOKE, LLM_REPLY_EVENTSTREAM },
    { LLM_OPENROUTER, LLM_API_CHAT, LLM_REPLY_SSE },
    { LLM_OLLAMA, LLM_API_OLLAMA, LLM_REPLY_LINES }
};


/* the first byte: a stream, and the pieces */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t              i, n, m, which;
    static size_t       a[ENDS], b[ENDS];
    llm_reply_format_t  format;

    if (size < 2 || size > ENDS) {
        return 0;
    }

    which = data[0] % (sizeof(streams) / sizeof(streams[0]));
    format = streams[which].format;

    n = events(format, data + 1, size - 1, size, a);
    m = events(format, data + 1, size - 1, 1 + data[0] / 16, b);

    if (n != m) {
        abort();
    }

    data++;

    for (i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            abort();
        }
    }

    /* a line is not always a whole text */

    if (format == LLM_REPLY_LINES) {
        return 0;
    }

    check(streams[which].provider, streams[which].api, format, data, 0, 0);

    for (i = 0; i < n; i += 1 + n / 8) {
        check(streams[which].provider, streams[which].api, format, data, a[i],
              (int64_t) i + 1);
    }

    return 0;
}


static size_t
events(llm_reply_format_t format, const uint8_t *data, size_t size,
    size_t step, size_t *ends)
{
    size_t          i, n, count;
    uint8_t        *copy;
    llm_events_t    ev;
    const uint8_t  *p, *end;

    count = 0;
    llm_events_init(&ev, format);

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);

        for (p = copy; p < copy + n; p = end) {

            end = llm_events_end(&ev, p, copy + n);

            if (end == NULL) {
                break;
            }

            if (end <= p || end > copy + n || count == ENDS) {
                abort();
            }

            /* an LF that came too late belongs to the event before */

            if (format == LLM_REPLY_SSE && p == copy && *p == '\n' && count
                && ends[count - 1] == i && data[i - 1] == '\r')
            {
                count--;
            }

            ends[count++] = i + (size_t) (end - copy);
        }

        free(copy);
    }

    return count;
}


static void
check(llm_provider_t provider, llm_api_t api, llm_reply_format_t format,
    const uint8_t *data, size_t size, int64_t number)
{
    size_t         n;
    uint8_t       *text;
    llm_error_t    error;
    llm_reply_t    rp;
    llm_errors_t   errors;

    static const uint8_t  none[] = "x";

    memset(&error, 0, sizeof(llm_error_t));

    error.status = 429;
    error.message.data = (unsigned char *) (size ? data : none);
    error.message.len = (size < 16) ? size + !size : 16;

    errors = llm_errors_of(provider, api);

    n = llm_cut(NULL, 0, api, format, errors, &error, number);
    text = malloc(n);

    if (text == NULL
        || llm_cut(text, n, api, format, errors, &error, number) != n)
    {
        abort();
    }

    llm_reply_init(&rp, api, format);
    llm_reply_feed(&rp, data, size);

    if (!rp.unreadable) {

        llm_reply_feed(&rp, text, n);
        llm_reply_finish(&rp);

        if (rp.unreadable || !rp.error) {
            abort();
        }
    }

    free(text);
}
