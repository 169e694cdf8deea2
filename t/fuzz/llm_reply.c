
/*
 * Copyright (C) nginx-cycles authors
 *
 * What is read out of a reply must not depend on the pieces.  The first byte
 * chooses the format and their sizes.
 */


#include <stdlib.h>
#include <string.h>

#include "llm/llm_reply.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_body(llm_reply_t *rp, llm_reply_format_t format,
    const uint8_t *data, size_t size, size_t step);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    llm_reply_t          a, b;
    llm_reply_format_t   format;

    if (size == 0) {
        return 0;
    }

    format = (data[0] & 1) ? LLM_REPLY_SSE : LLM_REPLY_JSON;

    read_body(&a, format, data + 1, size - 1, size);
    read_body(&b, format, data + 1, size - 1, 1 + (data[0] >> 1) % 32);

    if (memcmp(&a.usage, &b.usage, sizeof(llm_usage_t)) != 0
        || a.model_len != b.model_len
        || memcmp(a.model, b.model, a.model_len) != 0
        || a.output_tokens != b.output_tokens
        || a.usage_seen != b.usage_seen
        || a.done != b.done
        || a.error != b.error
        || a.unreadable != b.unreadable)
    {
        abort();
    }

    if (a.usage.input < -1 || a.usage.output < -1
        || a.usage_seen != (a.usage.input >= 0 && a.usage.output >= 0)
        || !llm_text_printable(a.model, a.model_len))
    {
        abort();
    }

    return 0;
}


static void
read_body(llm_reply_t *rp, llm_reply_format_t format, const uint8_t *data,
    size_t size, size_t step)
{
    size_t    i, n;
    uint8_t  *copy;

    llm_reply_init(rp, LLM_API_CHAT, format);

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);
        llm_reply_feed(rp, copy, n);
        free(copy);
    }

    llm_reply_finish(rp);
}
