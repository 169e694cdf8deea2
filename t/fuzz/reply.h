
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the fuzzers of replies share: nothing that is read of a reply depends
 * on the pieces, and the results keep their word whatever came.
 */


#include <stdlib.h>
#include <string.h>

#include "llm/llm_reply.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* in no more memory than its format needs */

static llm_reply_t *
read_body(llm_api_t api, llm_reply_format_t format, const uint8_t *data,
    size_t size, size_t step, int flush)
{
    size_t        i, n;
    uint8_t      *copy;
    llm_reply_t  *rp;

    rp = malloc(llm_reply_size(format));

    if (rp == NULL) {
        abort();
    }

    llm_reply_init(rp, api, format);

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);
        llm_reply_feed(rp, copy, n);
        free(copy);

        if (flush) {
            llm_reply_flush(rp);
        }
    }

    llm_reply_finish(rp);

    return rp;
}


static void
check_counts(const llm_usage_t *usage)
{
    size_t          i;
    const int64_t  *count;

    /* the counts are the members in front of the tier */

    count = &usage->input;

    for (i = 0; i < offsetof(llm_usage_t, tier) / sizeof(int64_t); i++) {
        if (count[i] < -1) {
            abort();
        }
    }
}


/* the first byte: two bits of the format, an API of these, and the pieces */

static int
fuzz_reply(const uint8_t *data, size_t size, const llm_api_t *apis,
    size_t napis)
{
    llm_api_t            api;
    llm_reply_t         *a, *b;
    llm_reply_format_t   format;

    if (size < 2) {
        return 0;
    }

    format = (llm_reply_format_t) (data[0] & 3);
    api = apis[(data[0] >> 2) % napis];

    a = read_body(api, format, data + 2, size - 2, size, 0);
    b = read_body(api, format, data + 2, size - 2, 1 + data[1] % 32,
                  data[1] & 32);

    if (memcmp(&a->usage, &b->usage, sizeof(llm_usage_t)) != 0
        || a->model_len != b->model_len
        || memcmp(a->model, b->model, a->model_len) != 0
        || a->output_tokens != b->output_tokens
        || a->usage_seen != b->usage_seen
        || a->early != b->early
        || a->later != b->later
        || a->done != b->done
        || a->error != b->error
        || a->pending != b->pending
        || a->unreadable != b->unreadable)
    {
        abort();
    }

    check_counts(&a->usage);

    if ((a->usage.input >= 0 && a->usage.output >= 0 && !a->usage_seen)
        || !llm_text_printable(a->model, a->model_len)
        || a->output_tokens < 0)
    {
        abort();
    }

    free(a);
    free(b);

    return 0;
}
