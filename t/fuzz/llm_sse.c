
/*
 * Copyright (C) nginx-cycles authors
 *
 * Events end where blank lines do, in any pieces, and an event that is said
 * to bring usage only has neither a choice nor an error in the eyes of the
 * reader of replies.
 */


#include <stdlib.h>
#include <string.h>

#include "llm/llm_reply.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t events(const uint8_t *data, size_t size, size_t step,
    size_t *ends, size_t max);
static void check(const uint8_t *data, size_t size);


#define ENDS  4096


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t         i, j, at, n, m;
    static size_t  a[ENDS], b[ENDS];

    if (size == 0 || size > ENDS) {
        return 0;
    }

    n = events(data + 1, size - 1, size, a, ENDS);
    m = events(data + 1, size - 1, 1 + data[0] % 16, b, ENDS);

    if (n != m) {
        abort();
    }

    data++;
    at = 0;

    for (i = 0; i < n; i++) {

        /* the LF of a blank line's CR may have come too late */

        if (a[i] != b[i]
            && !(a[i] == b[i] + 1 && data[b[i]] == '\n'
                 && data[b[i] - 1] == '\r'))
        {
            abort();
        }

        if (data[a[i] - 1] != '\n' && data[a[i] - 1] != '\r') {
            abort();
        }

        for (j = at; j < a[i]; j++) {
            if (llm_sse_line_end(data + j, data + a[i]) == NULL) {
                abort();
            }
        }

        check(data + at, a[i] - at);
        at = a[i];
    }

    return 0;
}


static size_t
events(const uint8_t *data, size_t size, size_t step, size_t *ends,
    size_t max)
{
    size_t          i, n, count;
    uint8_t        *copy;
    llm_sse_t       sse;
    const uint8_t  *p, *end;

    count = 0;
    llm_sse_init(&sse);

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);

        for (p = copy; p < copy + n; p = end) {

            end = llm_sse_event_end(&sse, p, copy + n);

            if (end == NULL) {
                break;
            }

            if (end <= p || end > copy + n || count == max) {
                abort();
            }

            ends[count++] = i + (size_t) (end - copy);
        }

        free(copy);
    }

    return count;
}


static void
check(const uint8_t *data, size_t size)
{
    uint8_t      *copy;
    llm_reply_t   rp;

    copy = malloc(size);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, size);

    if (llm_sse_usage_only(copy, size)) {

        llm_reply_init(&rp, LLM_API_CHAT, LLM_REPLY_SSE);
        llm_reply_feed(&rp, copy, size);
        llm_reply_finish(&rp);

        if (rp.unreadable) {
            abort();
        }
    }

    free(copy);
}
