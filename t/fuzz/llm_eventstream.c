
/*
 * Copyright (C) nginx-cycles authors
 *
 * Frames do not depend on the pieces.  The first byte says how long these
 * are; with its highest bit set the checksums of the input are made right
 * first, else no mutation would get behind them.
 */


#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "llm/llm_eventstream.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(uint8_t *p, size_t size);
static uint32_t get(const uint8_t *p);
static void put(uint8_t *p, uint32_t value);
static uint64_t read_frames(const uint8_t *data, size_t size, size_t step);
static uint64_t add(uint64_t sum, const void *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t  *copy;

    if (size < 2) {
        return 0;
    }

    copy = malloc(size - 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data + 1, size - 1);

    if (data[0] & 0x80) {
        repair(copy, size - 1);
    }

    if (read_frames(copy, size - 1, size)
        != read_frames(copy, size - 1, 1 + data[0] % 32))
    {
        abort();
    }

    free(copy);

    return 0;
}


static void
repair(uint8_t *p, size_t size)
{
    uint32_t  total;

    while (size >= 16) {

        total = get(p);

        if (total < 16 || total > size) {
            total = (uint32_t) size;
            put(p, total);
        }

        put(p + 8, (uint32_t) crc32(0, p, 8));
        put(p + total - 4, (uint32_t) crc32(0, p, total - 4));

        p += total;
        size -= total;
    }
}


static uint32_t
get(const uint8_t *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}


static void
put(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t) (value >> 24);
    p[1] = (uint8_t) (value >> 16);
    p[2] = (uint8_t) (value >> 8);
    p[3] = (uint8_t) value;
}


/* a number that stands for all that was read */

static uint64_t
read_frames(const uint8_t *data, size_t size, size_t step)
{
    int                   event;
    size_t                i, n;
    uint64_t              sum;
    uint8_t              *copy;
    llm_eventstream_t     es;
    const unsigned char  *p;

    sum = 14695981039346656037ull;

    llm_eventstream_init(&es);

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);
        p = copy;

        do {
            event = llm_eventstream_next(&es, &p, copy + n);

            if (p < copy || p > copy + n) {
                abort();
            }

            switch (event) {

            case LLM_EVENTSTREAM_HEADER:
                if (es.name_len > LLM_EVENTSTREAM_TEXT
                    || es.value_len > LLM_EVENTSTREAM_TEXT)
                {
                    abort();
                }

                sum = add(sum, es.name, es.name_len);
                sum = add(sum, es.value, es.value_len);
                break;

            case LLM_EVENTSTREAM_PAYLOAD:
                sum = add(sum, es.text, es.len);
                break;

            case LLM_EVENTSTREAM_END:
            case LLM_EVENTSTREAM_ERROR:
                sum = add(sum, "e", 1);
                break;

            default:
                break;
            }

        } while (event > LLM_EVENTSTREAM_AGAIN);

        free(copy);

        if (event == LLM_EVENTSTREAM_ERROR) {
            return sum;
        }
    }

    return sum + (uint64_t) llm_eventstream_complete(&es);
}


/* FNV-1a */

static uint64_t
add(uint64_t sum, const void *data, size_t size)
{
    const uint8_t  *p, *last;

    for (p = data, last = p + size; p < last; p++) {
        sum = (sum ^ *p) * 1099511628211ull;
    }

    return sum;
}
