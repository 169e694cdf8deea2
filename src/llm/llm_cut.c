
/*
 * Copyright (C) nginx-cycles authors
 *
 * The end of a stream that is cut off.
 */


#include <string.h>
#include <zlib.h>

#include "llm_cut.h"


/* a message's two lengths and their checksum, and the one at its end */

#define LLM_CUT_PRELUDE  12
#define LLM_CUT_CRC      4


typedef enum {
    sw_start = 0,                         /* of the text */
    sw_whole,                             /* no array */
    sw_array,
    sw_string,
    sw_escape
} llm_events_state_t;


static const unsigned char *llm_events_sse(llm_events_t *ev,
    const unsigned char *p, const unsigned char *last);
static const unsigned char *llm_events_line(const unsigned char *p,
    const unsigned char *last);
static const unsigned char *llm_events_message(llm_events_t *ev,
    const unsigned char *p, const unsigned char *last);
static const unsigned char *llm_events_element(llm_events_t *ev,
    const unsigned char *p, const unsigned char *last);
static void llm_cut_text(cycles_json_t *js, const char *text);
static size_t llm_cut_message(unsigned char *buf, size_t size,
    llm_errors_t errors, const llm_error_t *error);
static unsigned char *llm_cut_header(unsigned char *p, const char *name,
    const char *value);
static unsigned char *llm_cut_number(unsigned char *p, uint32_t number);


/* the one of Bedrock's exceptions that is about an account's quota */

static const struct {
    const char  *name;
    const char  *value;
} llm_cut_headers[] = {
    { ":exception-type", "throttlingException" },
    { ":content-type", "application/json" },
    { ":message-type", "exception" }
};


void
llm_events_init(llm_events_t *ev, llm_reply_format_t format)
{
    ev->format = format;
    ev->state = sw_start;
    ev->late = 0;
    ev->got = 0;
    ev->left = 0;
    ev->depth = 0;

    llm_sse_init(&ev->sse);
}


const unsigned char *
llm_events_end(llm_events_t *ev, const unsigned char *p,
    const unsigned char *last)
{
    switch (ev->format) {

    case LLM_REPLY_SSE:
        return llm_events_sse(ev, p, last);

    case LLM_REPLY_LINES:
        return llm_events_line(p, last);

    case LLM_REPLY_EVENTSTREAM:
        return llm_events_message(ev, p, last);

    default: /* LLM_REPLY_JSON */
        return llm_events_element(ev, p, last);
    }
}


/*
 * An LF that comes later than its CR does not begin the next event: to some
 * readers the one before would not end if what has the LF was not sent.
 */

static const unsigned char *
llm_events_sse(llm_events_t *ev, const unsigned char *p,
    const unsigned char *last)
{
    const unsigned char  *end;

    if (ev->late && p < last) {
        ev->late = 0;

        if (*p == '\n') {
            (void) llm_sse_event_end(&ev->sse, p, p + 1);
            return p + 1;
        }
    }

    end = llm_sse_event_end(&ev->sse, p, last);

    ev->late = (end && end == last && end[-1] == '\r');

    return end;
}


static const unsigned char *
llm_events_line(const unsigned char *p, const unsigned char *last)
{
    p = memchr(p, '\n', (size_t) (last - p));

    return p ? p + 1 : NULL;
}


static const unsigned char *
llm_events_message(llm_events_t *ev, const unsigned char *p,
    const unsigned char *last)
{
    size_t  n;

    for ( /* void */ ; ev->got < 4; ev->got++) {

        if (p == last) {
            return NULL;
        }

        ev->left = ev->left << 8 | *p++;

        if (ev->got == 3) {

            /* no message is so short: its reader says so, and no more */

            ev->left = (ev->left >= LLM_CUT_PRELUDE + LLM_CUT_CRC)
                       ? ev->left - 4 : UINT32_MAX;
        }
    }

    n = (size_t) (last - p);

    if (n < ev->left) {
        ev->left -= (uint32_t) n;
        return NULL;
    }

    p += ev->left;

    ev->got = 0;
    ev->left = 0;

    return p;
}


static const unsigned char *
llm_events_element(llm_events_t *ev, const unsigned char *p,
    const unsigned char *last)
{
    for ( /* void */ ; p < last; p++) {

        switch (ev->state) {

        case sw_start:

            /* white space, or a byte order mark */

            if (*p == '[') {
                ev->state = sw_array;

            } else if (*p > ' ' && *p < 0x80) {
                ev->state = sw_whole;
            }

            break;

        case sw_whole:
            return NULL;

        case sw_string:
            ev->state = (*p == '"') ? sw_array
                        : (*p == '\\') ? sw_escape : sw_string;
            break;

        case sw_escape:
            ev->state = sw_string;
            break;

        default: /* sw_array */

            if (*p == '"') {
                ev->state = sw_string;

            } else if (*p == '{' || *p == '[') {
                ev->depth++;

            } else if (*p == '}' || *p == ']') {

                if (--ev->depth == 0) {
                    return p + 1;
                }
            }
        }
    }

    return NULL;
}


size_t
llm_cut(unsigned char *buf, size_t size, llm_api_t api,
    llm_reply_format_t format, llm_errors_t errors, const llm_error_t *error,
    int64_t events)
{
    const char     *name;
    cycles_json_t   js;

    if (format == LLM_REPLY_EVENTSTREAM) {
        return llm_cut_message(buf, size, errors, error);
    }

    cycles_json_init(&js, buf, size);

    switch (format) {

    case LLM_REPLY_SSE:
        name = llm_error_event(errors, api);

        if (name) {
            llm_cut_text(&js, "event: ");
            llm_cut_text(&js, name);
            llm_cut_text(&js, "\n");
        }

        llm_cut_text(&js, "data: ");
        llm_error_data(&js, errors, api, error, events);
        llm_cut_text(&js, "\n\n");
        break;

    case LLM_REPLY_LINES:
        llm_error_line(&js, errors, error);
        llm_cut_text(&js, "\n");
        break;

    default: /* LLM_REPLY_JSON */
        llm_cut_text(&js, events ? ",\n" : "[");
        llm_error_body(&js, errors, error);
        llm_cut_text(&js, "\n]\n");
    }

    return js.len;
}


static void
llm_cut_text(cycles_json_t *js, const char *text)
{
    cycles_json_raw(js, text, strlen(text));
}


/* the body of the error between headers and checksums */

static size_t
llm_cut_message(unsigned char *buf, size_t size, llm_errors_t errors,
    const llm_error_t *error)
{
    size_t          i, headers, total;
    unsigned char  *p;
    cycles_json_t   js;

    headers = 0;

    for (i = 0; i < sizeof(llm_cut_headers) / sizeof(llm_cut_headers[0]); i++)
    {
        headers += strlen(llm_cut_headers[i].name) + 4
                   + strlen(llm_cut_headers[i].value);
    }

    cycles_json_init(&js, NULL, 0);
    llm_error_body(&js, errors, error);

    total = LLM_CUT_PRELUDE + headers + js.len + LLM_CUT_CRC;

    if (total > size) {
        return total;
    }

    p = llm_cut_number(buf, (uint32_t) total);
    p = llm_cut_number(p, (uint32_t) headers);
    p = llm_cut_number(p, (uint32_t) crc32(0, buf, 8));

    for (i = 0; i < sizeof(llm_cut_headers) / sizeof(llm_cut_headers[0]); i++)
    {
        p = llm_cut_header(p, llm_cut_headers[i].name,
                           llm_cut_headers[i].value);
    }

    cycles_json_init(&js, p, js.len);
    llm_error_body(&js, errors, error);
    p += js.len;

    (void) llm_cut_number(p, (uint32_t) crc32(0, buf, (uInt) (p - buf)));

    return total;
}


static unsigned char *
llm_cut_header(unsigned char *p, const char *name, const char *value)
{
    size_t  n;

    n = strlen(name);
    *p++ = (unsigned char) n;
    memcpy(p, name, n);
    p += n;

    *p++ = 7;                             /* a string */

    n = strlen(value);
    *p++ = (unsigned char) (n >> 8);
    *p++ = (unsigned char) n;
    memcpy(p, value, n);

    return p + n;
}


static unsigned char *
llm_cut_number(unsigned char *p, uint32_t number)
{
    *p++ = (unsigned char) (number >> 24);
    *p++ = (unsigned char) (number >> 16);
    *p++ = (unsigned char) (number >> 8);
    *p++ = (unsigned char) number;

    return p;
}
