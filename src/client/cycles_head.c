
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>
#include <strings.h>

#include "../cycles_scan.h"
#include "cycles_head.h"


#define CYCLES_HEAD_HTTP     "HTTP/1.1 "
#define CYCLES_HEAD_STATUS   (sizeof(CYCLES_HEAD_HTTP) - 1)

/* of a Content-Length: more digits have no body that we would read */

#define CYCLES_HEAD_DIGITS   9

#define CYCLES_HEAD_UNKNOWN  ((size_t) -1)


static const unsigned char *cycles_head_status(cycles_head_t *head,
    const unsigned char *p, const unsigned char *last);
static const unsigned char *cycles_head_name(const unsigned char *p,
    const unsigned char *last);
static const unsigned char *cycles_head_line(const unsigned char *begin,
    const unsigned char *p, const unsigned char *last);
static int cycles_head_field(cycles_head_t *head, cycles_str_t name,
    cycles_str_t value);
static int cycles_head_length(cycles_head_t *head, cycles_str_t value);
static int cycles_head_connection(cycles_head_t *head, cycles_str_t value);
static int cycles_head_is(cycles_str_t name, const char *known);


int
cycles_head_read(cycles_head_t *head, const unsigned char *text, size_t len)
{
    cycles_str_t          name, value;
    const unsigned char  *p, *last, *end;

    memset(head, 0, sizeof(cycles_head_t));
    head->content_length = CYCLES_HEAD_UNKNOWN;

    last = text + len;

    p = cycles_head_status(head, text, last);

    while (p && last - p >= 2) {

        if (p[0] == '\r') {
            head->size = (size_t) (p + 2 - text);

            return p[1] == '\n'
                   && head->content_length != CYCLES_HEAD_UNKNOWN ? 0 : -1;
        }

        name.data = (unsigned char *) p;
        p = cycles_head_name(p, last);

        if (p == NULL) {
            return -1;
        }

        name.len = (size_t) (p - name.data);

        do {
            p++;
        } while (p < last && *p == ' ');

        end = cycles_head_line(text, p, last);

        if (end == NULL) {
            return -1;
        }

        value.data = (unsigned char *) p;
        value.len = (size_t) (end - p);

        while (value.len && p[value.len - 1] == ' ') {
            value.len--;
        }

        if (cycles_head_field(head, name, value) != 0) {
            return -1;
        }

        p = end + 2;
    }

    return -1;
}


static const unsigned char *
cycles_head_status(cycles_head_t *head, const unsigned char *p,
    const unsigned char *last)
{
    int                   i;
    unsigned              digit;
    const unsigned char  *begin;

    begin = p;

    if ((size_t) (last - p) < CYCLES_HEAD_STATUS + 4
        || memcmp(p, CYCLES_HEAD_HTTP, CYCLES_HEAD_STATUS) != 0)
    {
        return NULL;
    }

    p += CYCLES_HEAD_STATUS;

    for (i = 0; i < 3; i++) {
        digit = (unsigned) *p++ - '0';

        if (digit > 9) {
            return NULL;
        }

        head->status = head->status * 10 + digit;
    }

    if (*p != ' ' && *p != '\r') {
        return NULL;
    }

    p = cycles_head_line(begin, p, last);

    return p ? p + 2 : NULL;
}


/* to the colon */

static const unsigned char *
cycles_head_name(const unsigned char *p, const unsigned char *last)
{
    const unsigned char  *begin;

    begin = p;

    while (p < last && ((unsigned) (*p | 0x20) - 'a' < 26 || *p == '-'
                        || (unsigned) *p - '0' < 10))
    {
        p++;
    }

    return p > begin && p < last && *p == ':' ? p : NULL;
}


/* to the end of a line, which has no controls but for that, and tabs */

static const unsigned char *
cycles_head_line(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last)
{
    for ( ;; ) {
        p = cycles_scan(begin, p, last, CYCLES_SCAN_UTF8);

        if (p == last) {
            return NULL;
        }

        if (*p < 0x20 && *p != '\t') {
            return *p == '\r' && last - p >= 2 && p[1] == '\n' ? p : NULL;
        }

        /* quotes and backslashes end a scan only because JSON's do */

        p++;
    }
}


static int
cycles_head_field(cycles_head_t *head, cycles_str_t name, cycles_str_t value)
{
    switch (name.len) {

    case 7:
        if (cycles_head_is(name, "Upgrade")) {
            return -1;
        }

        break;

    case 10:
        if (cycles_head_is(name, "Connection")) {
            return cycles_head_connection(head, value);
        }

        break;

    case 11:
        if (cycles_head_is(name, "Retry-After")) {
            head->retry_after = value;
            return 0;
        }

        break;

    case 12:
        if (cycles_head_is(name, "X-Request-Id")) {
            head->request_id = value;
            return 0;
        }

        break;

    case 14:
        if (cycles_head_is(name, "Content-Length")) {
            return cycles_head_length(head, value);
        }

        break;

    case 16:
        if (cycles_head_is(name, "Content-Encoding")) {
            return -1;
        }

        break;

    case 17:
        if (cycles_head_is(name, "X-Cycles-Trace-Id")) {
            head->trace_id = value;
            return 0;
        }

        if (cycles_head_is(name, "Transfer-Encoding")) {
            return -1;
        }

        break;

    default:
        break;
    }

    /* what nginx obeys */

    name.len = name.len < 8 ? name.len : 8;

    return cycles_head_is(name, "X-Accel-") ? -1 : 0;
}


static int
cycles_head_length(cycles_head_t *head, cycles_str_t value)
{
    size_t    i, n;
    unsigned  digit;

    if (head->content_length != CYCLES_HEAD_UNKNOWN
        || value.len == 0 || value.len > CYCLES_HEAD_DIGITS)
    {
        return -1;
    }

    for (i = 0, n = 0; i < value.len; i++) {
        digit = (unsigned) value.data[i] - '0';

        if (digit > 9) {
            return -1;
        }

        n = n * 10 + digit;
    }

    head->content_length = n;

    return 0;
}


static int
cycles_head_connection(cycles_head_t *head, cycles_str_t value)
{
    if (cycles_head_is(value, "close")) {
        head->close = 1;
        return 0;
    }

    return cycles_head_is(value, "keep-alive") ? 0 : -1;
}


static int
cycles_head_is(cycles_str_t name, const char *known)
{
    size_t  len;

    len = strlen(known);

    return name.len == len
           && strncasecmp((const char *) name.data, known, len) == 0;
}
