
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>
#include <zlib.h>

#include "llm_eventstream.h"


#define LLM_EVENTSTREAM_PRELUDE  12
#define LLM_EVENTSTREAM_CRC      4
#define LLM_EVENTSTREAM_STRING   7

#define llm_min(a, b)  ((a) < (b) ? (a) : (b))


typedef enum {
    sw_prelude = 0,
    sw_name_len,
    sw_name,
    sw_type,
    sw_value_len,
    sw_value,
    sw_payload,
    sw_crc,
    sw_error
} llm_eventstream_state_t;


static int llm_eventstream_prelude(llm_eventstream_t *es);
static int llm_eventstream_header(llm_eventstream_t *es, unsigned ch);
static int llm_eventstream_type(llm_eventstream_t *es);
static void llm_eventstream_body(llm_eventstream_t *es);
static size_t llm_eventstream_take(llm_eventstream_t *es,
    const unsigned char *p, const unsigned char *last, unsigned size);
static uint32_t llm_eventstream_number(const unsigned char *p);


/* bytes of a value by its type; -1: its length comes in front of it */

static const int  llm_eventstream_sizes[] = {
    0, 0, 1, 2, 4, 8, -1, -1, 8, 16
};


void
llm_eventstream_init(llm_eventstream_t *es)
{
    memset(es, 0, sizeof(llm_eventstream_t));
}


int
llm_eventstream_complete(const llm_eventstream_t *es)
{
    return es->state == sw_prelude && es->got == 0;
}


int
llm_eventstream_next(llm_eventstream_t *es, const unsigned char **pos,
    const unsigned char *last)
{
    int                   rc;
    const unsigned char  *p;

    p = *pos;

    while (p < last) {

        rc = LLM_EVENTSTREAM_AGAIN;

        switch (es->state) {

        case sw_prelude:
            p += llm_eventstream_take(es, p, last, LLM_EVENTSTREAM_PRELUDE);

            if (es->got == LLM_EVENTSTREAM_PRELUDE) {
                rc = llm_eventstream_prelude(es);
            }

            break;

        case sw_payload:
            es->text = p;
            es->len = llm_min((size_t) (last - p), es->payload);
            es->payload -= (uint32_t) es->len;
            es->crc = (uint32_t) crc32(es->crc, p, (uInt) es->len);

            p += es->len;

            if (es->payload == 0) {
                es->state = sw_crc;
                es->got = 0;
            }

            rc = LLM_EVENTSTREAM_PAYLOAD;
            break;

        case sw_crc:
            p += llm_eventstream_take(es, p, last, LLM_EVENTSTREAM_CRC);

            if (es->got == LLM_EVENTSTREAM_CRC) {
                rc = (llm_eventstream_number(es->number) == es->crc)
                     ? LLM_EVENTSTREAM_END : LLM_EVENTSTREAM_ERROR;
                es->state = sw_prelude;
                es->got = 0;
            }

            break;

        case sw_error:
            rc = LLM_EVENTSTREAM_ERROR;
            break;

        default:
            es->crc = (uint32_t) crc32(es->crc, p, 1);
            rc = llm_eventstream_header(es, *p++);
        }

        if (rc == LLM_EVENTSTREAM_ERROR) {
            es->state = sw_error;
            p = last;
        }

        if (rc != LLM_EVENTSTREAM_AGAIN) {
            *pos = p;
            return rc;
        }
    }

    *pos = p;

    return LLM_EVENTSTREAM_AGAIN;
}


/* the lengths, and the checksum of these alone */

static int
llm_eventstream_prelude(llm_eventstream_t *es)
{
    uint32_t  total, headers, crc;

    total = llm_eventstream_number(es->number);
    headers = llm_eventstream_number(es->number + 4);

    crc = (uint32_t) crc32(0, es->number, 8);

    if (crc != llm_eventstream_number(es->number + 8)
        || total > LLM_EVENTSTREAM_MAX
        || total < LLM_EVENTSTREAM_PRELUDE + LLM_EVENTSTREAM_CRC
        || headers > total - LLM_EVENTSTREAM_PRELUDE - LLM_EVENTSTREAM_CRC)
    {
        return LLM_EVENTSTREAM_ERROR;
    }

    es->crc = (uint32_t) crc32(0, es->number, LLM_EVENTSTREAM_PRELUDE);
    es->headers = headers;
    es->payload = total - headers - LLM_EVENTSTREAM_PRELUDE
                  - LLM_EVENTSTREAM_CRC;

    if (headers == 0) {
        llm_eventstream_body(es);

    } else {
        es->state = sw_name_len;
    }

    return LLM_EVENTSTREAM_AGAIN;
}


/* a byte of the headers; their last one must end a header */

static int
llm_eventstream_header(llm_eventstream_t *es, unsigned ch)
{
    int  whole;

    whole = 0;
    es->headers--;

    switch (es->state) {

    case sw_name_len:
        if (ch == 0) {
            return LLM_EVENTSTREAM_ERROR;
        }

        es->name_len = 0;
        es->value_len = 0;
        es->left = ch;
        es->state = sw_name;
        break;

    case sw_name:
        if (es->name_len < LLM_EVENTSTREAM_TEXT) {
            es->name[es->name_len++] = (unsigned char) ch;
        }

        if (--es->left == 0) {
            es->state = sw_type;
        }

        break;

    case sw_type:
        es->type = ch;
        whole = llm_eventstream_type(es);
        break;

    case sw_value_len:
        es->left = (es->left << 8) | ch;

        if (++es->got == 2) {
            es->state = sw_value;
            whole = (es->left == 0);
        }

        break;

    default: /* sw_value */
        if (es->value_len < LLM_EVENTSTREAM_TEXT) {
            es->value[es->value_len++] = (unsigned char) ch;
        }

        whole = (--es->left == 0);
    }

    if (whole < 0 || (es->headers == 0 && !whole)) {
        return LLM_EVENTSTREAM_ERROR;
    }

    if (!whole) {
        return LLM_EVENTSTREAM_AGAIN;
    }

    es->state = sw_name_len;

    if (es->headers == 0) {
        llm_eventstream_body(es);
    }

    return (es->type == LLM_EVENTSTREAM_STRING) ? LLM_EVENTSTREAM_HEADER
                                                : LLM_EVENTSTREAM_AGAIN;
}


/* 1: the header has no value, -1: there is no such type */

static int
llm_eventstream_type(llm_eventstream_t *es)
{
    int  size;

    if (es->type >= sizeof(llm_eventstream_sizes)
                    / sizeof(llm_eventstream_sizes[0]))
    {
        return -1;
    }

    size = llm_eventstream_sizes[es->type];

    if (size == 0) {
        return 1;
    }

    if (size < 0) {
        es->left = 0;
        es->got = 0;
        es->state = sw_value_len;
        return 0;
    }

    es->left = (uint32_t) size;
    es->state = sw_value;

    return 0;
}


static void
llm_eventstream_body(llm_eventstream_t *es)
{
    es->got = 0;
    es->state = es->payload ? sw_payload : sw_crc;
}


/* collects up to size bytes in es->number */

static size_t
llm_eventstream_take(llm_eventstream_t *es, const unsigned char *p,
    const unsigned char *last, unsigned size)
{
    size_t  n;

    n = llm_min((size_t) (last - p), size - es->got);

    memcpy(es->number + es->got, p, n);
    es->got += (unsigned) n;

    return n;
}


static uint32_t
llm_eventstream_number(const unsigned char *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}
