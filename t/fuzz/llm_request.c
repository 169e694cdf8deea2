
/*
 * Copyright (C) nginx-cycles authors
 *
 * Facts must not depend on the pieces, the spans must lie where they say, and
 * what is read as a request must be JSON to jansson as well.
 */


#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "llm/llm_request.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_body(llm_request_t *rq, const uint8_t *data, size_t size,
    size_t step);
static int same(const llm_facts_t *a, const llm_facts_t *b);
static int comparable(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             rc;
    json_t         *json;
    llm_request_t   whole, pieces;

    if (size == 0) {
        return 0;
    }

    rc = read_body(&whole, data + 1, size - 1, size);

    if (rc != read_body(&pieces, data + 1, size - 1, 1 + data[0] % 16)) {
        abort();
    }

    if (rc != LLM_OK) {

        if (llm_request_error(&whole) == NULL
            || strcmp(llm_request_error(&whole), llm_request_error(&pieces))
               != 0)
        {
            abort();
        }

        return 0;
    }

    if (!same(&whole.facts, &pieces.facts)) {
        abort();
    }

    data++;
    size--;

    if (data[whole.facts.object_start - 1] != '{'
        || whole.facts.max_tokens_value.end > size
        || whole.facts.stream_options.end > size
        || (whole.facts.stream_options_start
            && data[whole.facts.stream_options.start] != '{'))
    {
        abort();
    }

    if (comparable(data, size)) {

        json = json_loadb((const char *) data, size, JSON_ALLOW_NUL, NULL);

        if (!json_is_object(json)) {
            abort();
        }

        json_decref(json);
    }

    return 0;
}


static int
read_body(llm_request_t *rq, const uint8_t *data, size_t size, size_t step)
{
    size_t    i, n;
    uint8_t  *copy;

    llm_request_init(rq, LLM_API_CHAT);

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);
        (void) llm_request_feed(rq, copy, n);
        free(copy);
    }

    return llm_request_finish(rq);
}


static int
same(const llm_facts_t *a, const llm_facts_t *b)
{
    return a->model_len == b->model_len
           && memcmp(a->model, b->model, a->model_len) == 0
           && a->max_tokens == b->max_tokens
           && a->max_tokens_value.start == b->max_tokens_value.start
           && a->max_tokens_value.end == b->max_tokens_value.end
           && a->choices == b->choices
           && a->input_tokens == b->input_tokens
           && a->object_start == b->object_start
           && a->stream_options.start == b->stream_options.start
           && a->stream_options.end == b->stream_options.end
           && a->stream_options_start == b->stream_options_start
           && a->empty == b->empty
           && a->stream == b->stream
           && a->stream_options_empty == b->stream_options_empty
           && a->include_usage == b->include_usage;
}


/* jansson refuses half surrogates and numbers that no double can hold */

static int
comparable(const uint8_t *data, size_t size)
{
    size_t  i, digits;

    digits = 0;

    for (i = 0; i < size; i++) {

        digits = (data[i] >= '0' && data[i] <= '9') ? digits + 1 : 0;

        if (digits > 15 || (data[i] == '\\' && i + 1 < size
                            && data[i + 1] == 'u'))
        {
            return 0;
        }

        if ((data[i] | 0x20) == 'e' && i
            && data[i - 1] >= '0' && data[i - 1] <= '9')
        {
            return 0;
        }
    }

    return 1;
}
