
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_text.h"


static void llm_text_escape(llm_text_t *t, unsigned ch);
static void llm_text_code(llm_text_t *t, unsigned code);
static void llm_text_put(llm_text_t *t, unsigned ch);


void
llm_text_init(llm_text_t *t, unsigned char *data, size_t size)
{
    t->data = data;
    t->size = size;
    t->len = 0;
    t->code = 0;
    t->high = 0;
    t->escape = 0;
    t->digits = 0;
}


void
llm_text_add(llm_text_t *t, const unsigned char *p, size_t n)
{
    size_t                room, plain;
    const unsigned char  *last, *slash;

    last = p + n;

    while (p < last) {

        if (t->escape) {
            llm_text_escape(t, *p++);
            continue;
        }

        slash = memchr(p, '\\', (size_t) (last - p));
        plain = (size_t) ((slash ? slash : last) - p);

        if (plain) {

            if (t->len < t->size) {
                room = t->size - t->len;
                memcpy(t->data + t->len, p, plain < room ? plain : room);
            }

            t->len += plain;
            t->high = 0;
            p += plain;
        }

        if (slash) {
            t->escape = 1;
            p++;
        }
    }
}


size_t
llm_text_characters(unsigned *state, const unsigned char *p, size_t n)
{
    size_t                count;
    const unsigned char  *last;

    enum {
        sw_plain = 0,
        sw_escape,
        sw_unicode,                       /* four digits follow */
        sw_surrogate,                     /* three, behind a "d" */
        sw_digit2,
        sw_digit3,
        sw_digit4
    };

    count = 0;

    for (last = p + n; p < last; p++) {

        switch (*state) {

        case sw_plain:
            if (*p == '\\') {
                *state = sw_escape;

            } else {
                count += ((*p & 0xc0) != 0x80);
            }

            break;

        case sw_escape:
            *state = (*p == 'u') ? sw_unicode : sw_plain;
            count += (*p != 'u');
            break;

        case sw_unicode:
            *state = ((*p | 0x20) == 'd') ? sw_surrogate : sw_digit2;
            break;

        case sw_surrogate:

            /* the second half of a pair is none of its own */

            *state = sw_digit3;
            count += !((*p | 0x20) >= 'c' && (*p | 0x20) <= 'f');
            break;

        case sw_digit2:
            *state = sw_digit3;
            count++;
            break;

        case sw_digit3:
            *state = sw_digit4;
            break;

        default: /* sw_digit4 */
            *state = sw_plain;
        }
    }

    return count;
}


/*
 * Whether eight bytes are printable ASCII.  As long as none of them is above
 * 0x7f, nothing is carried from one of them to the next.
 */

static inline int
llm_text_plain(const unsigned char *p)
{
    uint64_t  word, ones, highs;

    ones = 0x0101010101010101;
    highs = ones << 7;

    memcpy(&word, p, 8);

    return (word & highs) == 0
           && ((word + ones) & highs) == 0
           && (((word | highs) - ones * 0x20) & highs) == highs;
}


int
llm_text_printable(const unsigned char *p, size_t n)
{
    llm_utf8_t            u;
    const unsigned char  *last;

    u.left = 0;

    for (last = p + n; p < last; p++) {

        while (u.left == 0 && last - p >= 8 && llm_text_plain(p)) {
            p += 8;
        }

        if (p == last) {
            break;
        }

        if (u.left || *p >= 0x80) {

            if (llm_utf8_next(&u, *p) != LLM_OK) {
                return 0;
            }

        } else if (*p < 0x20 || *p == 0x7f) {
            return 0;
        }
    }

    return u.left == 0;
}


int
llm_utf8_next(llm_utf8_t *u, unsigned ch)
{
    if (u->left) {

        if (ch < u->low || ch > u->high) {
            return LLM_ERROR;
        }

        u->left--;
        u->low = 0x80;
        u->high = 0xbf;

        return LLM_OK;
    }

    if (ch < 0xc2 || ch > 0xf4) {
        return LLM_ERROR;
    }

    u->left = (ch < 0xe0) ? 1 : (ch < 0xf0) ? 2 : 3;
    u->low = (ch == 0xe0) ? 0xa0 : (ch == 0xf0) ? 0x90 : 0x80;
    u->high = (ch == 0xed) ? 0x9f : (ch == 0xf4) ? 0x8f : 0xbf;

    return LLM_OK;
}


uint64_t
llm_hash(uint64_t hash, const unsigned char *p, size_t n)
{
    while (n--) {
        hash = (hash ^ *p++) * 1099511628211u;
    }

    return hash ? hash : 1;
}


unsigned
llm_hex(unsigned ch)
{
    if (ch >= '0' && ch <= '9') {
        return ch - '0';
    }

    ch |= 0x20;

    return (ch >= 'a' && ch <= 'f') ? ch - 'a' + 10 : 16;
}


/* a byte behind a backslash */

static void
llm_text_escape(llm_text_t *t, unsigned ch)
{
    static const char  from[] = "bfnrt";
    static const char  to[] = "\b\f\n\r\t";

    const char  *found;

    if (t->digits) {
        t->code = (t->code << 4 | llm_hex(ch)) & 0xffff;

        if (--t->digits == 0) {
            t->escape = 0;
            llm_text_code(t, t->code);
        }

        return;
    }

    if (ch == 'u') {
        t->digits = 4;
        return;
    }

    found = (ch == '\0') ? NULL : strchr(from, (int) ch);

    t->escape = 0;
    t->high = 0;
    llm_text_put(t, found ? (unsigned) to[found - from] : ch);
}


/*
 * The first half of a surrogate pair is written on its own and taken back
 * when the second one follows.
 */

static void
llm_text_code(llm_text_t *t, unsigned code)
{
    if (t->high && code >= 0xdc00 && code <= 0xdfff) {

        t->len -= 3;
        code = 0x10000 + ((t->high - 0xd800) << 10) + (code - 0xdc00);
        t->high = 0;

        llm_text_put(t, 0xf0 | code >> 18);
        llm_text_put(t, 0x80 | (code >> 12 & 0x3f));
        llm_text_put(t, 0x80 | (code >> 6 & 0x3f));
        llm_text_put(t, 0x80 | (code & 0x3f));

        return;
    }

    t->high = (code >= 0xd800 && code <= 0xdbff) ? code : 0;

    if (code < 0x80) {
        llm_text_put(t, code);
        return;
    }

    if (code < 0x800) {
        llm_text_put(t, 0xc0 | code >> 6);

    } else {
        llm_text_put(t, 0xe0 | code >> 12);
        llm_text_put(t, 0x80 | (code >> 6 & 0x3f));
    }

    llm_text_put(t, 0x80 | (code & 0x3f));
}


static void
llm_text_put(llm_text_t *t, unsigned ch)
{
    if (t->len < t->size) {
        t->data[t->len] = (unsigned char) ch;
    }

    t->len++;
}
