
/*
 * Copyright (C) nginx-cycles authors
 *
 * Most bytes of a body are inside strings, and most strings are of no
 * interest: these are passed many bytes at a time.
 */


#include <string.h>

#include "llm_json_step.h"


static int llm_json_string(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last);
static const unsigned char *llm_json_contents(llm_json_t *js,
    const unsigned char *p, const unsigned char *last);
static int llm_json_content(llm_json_t *js, unsigned ch);
static inline int llm_json_escape(unsigned ch);
static const unsigned char *llm_json_sequences(const unsigned char *p,
    const unsigned char *last);
static inline size_t llm_json_sequence(const unsigned char *p,
    const unsigned char *last);
static int llm_json_piece(llm_json_t *js, const unsigned char *p, size_t n,
    int last);
static int llm_json_key(llm_json_t *js, const unsigned char *p, size_t n,
    int last);
static int llm_json_number(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last);
static int llm_json_digit(llm_json_t *js, unsigned ch);
static int llm_json_literal(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last);


const char  llm_json_syntax[] = "the body is not JSON";


void
llm_json_init(llm_json_t *js, int strict)
{
    js->offset = 0;
    js->start = 0;
    js->text = NULL;
    js->len = 0;
    js->first = 0;
    js->last = 0;
    js->empty = 0;
    js->comma = 0;
    js->depth = 0;
    js->error = NULL;
    js->skip = 0;
    js->state = sw_value;
    js->strict = (unsigned char) strict;
    js->array = 0;
    js->key = 0;
    js->started = 0;
    js->utf8.left = 0;
    js->stack = 0;
    js->deep = 0;
}


int
llm_json_next(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    int                   event;
    const unsigned char  *p;

    p = *pos;
    llm_json_begin(js, p);

    event = llm_json_event(js, &p, last);

    js->offset = llm_json_position(js, p);
    *pos = p;

    return event;
}


const unsigned char *
llm_json_spaces(const unsigned char *p, const unsigned char *last)
{
    while (p < last
           && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
    {
        p++;
    }

    return p;
}


/* of what has begun here, or in bytes that were read before */

const unsigned char *
llm_json_rest(llm_json_t *js, const unsigned char *p,
    const unsigned char *last)
{
    int  event;

    switch (js->state) {

    case sw_string:
    case sw_escape:
    case sw_unicode:
        event = llm_json_string(js, &p, last);
        break;

    case sw_literal:
        event = llm_json_literal(js, &p, last);
        break;

    case sw_error:
        event = LLM_JSON_ERROR;
        break;

    default:
        event = llm_json_number(js, &p, last);
    }

    js->event = (signed char) event;

    return p;
}


void
llm_json_skip(llm_json_t *js)
{
    /* one more than the depth at which the value is over */

    js->skip = js->depth + (js->state == sw_colon || js->state == sw_value);
}


int
llm_json_complete(const llm_json_t *js)
{
    /* only a number does not know its own end */

    return js->state == sw_done
           || (js->depth == 0
               && (js->state == sw_zero || js->state == sw_digits
                   || js->state == sw_fraction || js->state == sw_exponent));
}


int
llm_json_blank(const llm_json_t *js)
{
    return js->state == sw_value && js->depth == 0;
}


int
llm_json_in_array(const llm_json_t *js)
{
    return js->depth && js->array;
}


int
llm_json_fail(llm_json_t *js, const char *error)
{
    js->state = sw_error;
    js->error = error;

    return LLM_JSON_ERROR;
}


static int
llm_json_string(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    size_t                n;
    const unsigned char  *p, *begin;

    begin = *pos;
    p = llm_json_contents(js, begin, last);
    n = (size_t) (p - begin);

    if (js->state == sw_error) {
        js->start = llm_json_position(js, p);
        *pos = p;

        /* what precedes the error is delivered as if it had come alone */

        return (n == 0 || js->key || js->skip) ? LLM_JSON_ERROR
                                               : llm_json_piece(js, begin, n,
                                                                0);
    }

    if (p == last) {
        *pos = p;
        return js->key ? llm_json_key(js, begin, n, 0)
                       : llm_json_piece(js, begin, n, 0);
    }

    *pos = p + 1;

    if (js->key) {

        if (p + 1 < last && p[1] == ':') {
            *pos = p + 2;
            js->state = sw_value;

        } else {
            js->state = sw_colon;
        }

        return llm_json_key(js, begin, n, 1);
    }

    llm_json_after(js);

    return llm_json_piece(js, begin, n, 1);
}


/* returns the closing quote, or last */

static const unsigned char *
llm_json_contents(llm_json_t *js, const unsigned char *p,
    const unsigned char *last)
{
    const unsigned char  *end;

    while (p < last) {

        if (js->state == sw_string && js->utf8.left == 0) {

            p = llm_json_plain(js, p, last);

            if (p == last || *p == '"') {
                return p;
            }

            if (*p == '\\' && last - p > 1 && llm_json_escape(p[1])) {
                js->escaped = 1;
                p += 2;
                continue;
            }

            end = llm_json_sequences(p, last);

            if (end != p) {
                p = end;
                continue;
            }
        }

        if (llm_json_content(js, *p) != LLM_OK) {
            return p;
        }

        p++;
    }

    return p;
}


/* a byte of what may have no end yet, or be an error */

static int
llm_json_content(llm_json_t *js, unsigned ch)
{
    if (js->state == sw_escape) {

        if (ch == 'u') {
            js->state = sw_unicode;
            js->digits = 0;
            return LLM_OK;
        }

        js->state = sw_string;

        return llm_json_escape(ch) ? LLM_OK
                                   : llm_json_fail(js, llm_json_syntax);
    }

    if (js->state == sw_unicode) {

        if (++js->digits == 4) {
            js->state = sw_string;
        }

        return (llm_hex(ch) <= 15) ? LLM_OK
                                   : llm_json_fail(js, llm_json_syntax);
    }

    if (js->utf8.left || ch >= 0x80) {
        return (llm_utf8_next(&js->utf8, ch) == LLM_OK)
               ? LLM_OK
               : llm_json_fail(js, "a string in the body is not UTF-8");
    }

    if (ch == '\\') {
        js->state = sw_escape;
        js->escaped = 1;
        return LLM_OK;
    }

    return llm_json_fail(js, "a string in the body contains a control"
                             " character");
}


/* whether it may follow a backslash, and nothing that belongs to it follows */

static inline int
llm_json_escape(unsigned ch)
{
    switch (ch) {

    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 1;

    default:
        return 0;
    }
}


/* the end of as many whole sequences of UTF-8 as begin at p */

static const unsigned char *
llm_json_sequences(const unsigned char *p, const unsigned char *last)
{
    size_t  n;

    while (p < last && *p >= 0x80) {

        n = llm_json_sequence(p, last);

        if (n == 0) {
            break;
        }

        p += n;
    }

    return p;
}


/* the length of one of two to four bytes; 0: it may have no end, or be none */

static inline size_t
llm_json_sequence(const unsigned char *p, const unsigned char *last)
{
    size_t  n;

    n = (p[0] < 0xe0) ? 2 : (p[0] < 0xf0) ? 3 : 4;

    if ((size_t) (last - p) < n || p[0] < 0xc2 || (p[1] & 0xc0) != 0x80) {
        return 0;
    }

    if (n == 2) {
        return 2;
    }

    /* those that are too long, surrogates, and what is above all code points */

    if ((p[2] & 0xc0) != 0x80
        || (p[0] == 0xe0 && p[1] < 0xa0)
        || (p[0] == 0xed && p[1] > 0x9f))
    {
        return 0;
    }

    if (n == 3) {
        return 3;
    }

    return ((p[3] & 0xc0) != 0x80
            || p[0] > 0xf4
            || (p[0] == 0xf0 && p[1] < 0x90)
            || (p[0] == 0xf4 && p[1] > 0x8f)) ? 0 : 4;
}


const unsigned char *
llm_json_string_end(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, int *escaped)
{
    for ( ;; ) {

        p = cycles_scan(begin, p, last, CYCLES_SCAN_UTF8);

        if (p == last || *p == '"') {
            return p;
        }

        if (*p != '\\') {
            return NULL;
        }

        *escaped = 1;

        if (last - p < 2) {
            return last;
        }

        if (!llm_json_escape(p[1])) {
            return NULL;
        }

        p += 2;
    }
}


static int
llm_json_piece(llm_json_t *js, const unsigned char *p, size_t n, int last)
{
    if (js->skip) {

        /* the end of the value, not its text, is what ends the skipping */

        return last ? LLM_JSON_STRING : LLM_JSON_AGAIN;
    }

    if (n == 0 && !last) {
        return LLM_JSON_AGAIN;
    }

    js->text = p;
    js->len = n;
    js->first = !js->started;
    js->last = (unsigned) last;
    js->started = 1;

    return LLM_JSON_STRING;
}


static int
llm_json_key(llm_json_t *js, const unsigned char *p, size_t n, int last)
{
    if (js->skip) {
        return last ? LLM_JSON_KEY : LLM_JSON_AGAIN;
    }

    if (last && !js->started && !js->escaped) {
        js->text = (n > LLM_JSON_TEXT) ? NULL : p;
        js->len = n;
        return LLM_JSON_KEY;
    }

    if (!js->started) {
        llm_text_init(&js->token, js->buffer, LLM_JSON_TEXT);
        js->started = 1;
        js->raw = 0;
    }

    llm_text_add(&js->token, p, n);
    js->raw += n;

    if (!last) {
        return LLM_JSON_AGAIN;
    }

    if (js->token.len > LLM_JSON_TEXT) {
        js->text = NULL;
        js->len = js->raw;

    } else {
        js->text = js->buffer;
        js->len = js->token.len;
    }

    return LLM_JSON_KEY;
}


static int
llm_json_number(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    int                   rc;
    const unsigned char  *p, *begin;

    begin = *pos;
    rc = LLM_OK;

    for (p = begin; p < last; p++) {

        rc = llm_json_digit(js, *p);

        if (rc != LLM_OK) {
            break;
        }
    }

    *pos = p;

    if (rc == LLM_ERROR) {
        js->start = llm_json_position(js, p);
        return llm_json_fail(js, llm_json_syntax);
    }

    if (p < last && !js->started) {
        js->text = begin;
        js->len = (size_t) (p - begin);

    } else {

        if (!js->started) {
            llm_text_init(&js->token, js->buffer, LLM_JSON_TEXT);
            js->started = 1;
        }

        llm_text_add(&js->token, begin, (size_t) (p - begin));

        if (p == last) {
            return LLM_JSON_AGAIN;
        }

        js->text = js->buffer;
        js->len = js->token.len;
    }

    if (js->len > LLM_JSON_TEXT) {
        js->text = NULL;
    }

    llm_json_after(js);

    return LLM_JSON_NUMBER;
}


/* LLM_NOT_FOUND: the number has ended in front of ch */

static int
llm_json_digit(llm_json_t *js, unsigned ch)
{
    int  digit;

    digit = (ch >= '0' && ch <= '9');

    switch (js->state) {

    case sw_value:
        if (ch == '-') {
            js->state = sw_minus;
            return LLM_OK;
        }

        /* fall through */

    case sw_minus:
        js->state = (ch == '0') ? sw_zero : sw_digits;
        return digit ? LLM_OK : LLM_ERROR;

    case sw_digits:
        if (digit) {
            return LLM_OK;
        }

        /* fall through */

    case sw_zero:
        if (ch == '.') {
            js->state = sw_point;
            return LLM_OK;
        }

        break;

    case sw_point:
        js->state = sw_fraction;
        return digit ? LLM_OK : LLM_ERROR;

    case sw_exponent_sign:
        js->state = sw_exponent_first;

        if (ch == '+' || ch == '-') {
            return LLM_OK;
        }

        /* fall through */

    case sw_exponent_first:
        js->state = sw_exponent;
        return digit ? LLM_OK : LLM_ERROR;

    default: /* sw_fraction, sw_exponent */
        if (digit) {
            return LLM_OK;
        }
    }

    if (js->state == sw_exponent) {
        return LLM_NOT_FOUND;
    }

    if (ch == 'e' || ch == 'E') {
        js->state = sw_exponent_sign;
        return LLM_OK;
    }

    return LLM_NOT_FOUND;
}


static int
llm_json_literal(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    int                   event;
    const unsigned char  *p;

    for (p = *pos; p < last && *js->literal; p++) {

        if (*p != (unsigned char) *js->literal) {
            js->start = llm_json_position(js, p);
            *pos = p;
            return llm_json_fail(js, llm_json_syntax);
        }

        js->literal++;
    }

    *pos = p;

    if (*js->literal) {
        return LLM_JSON_AGAIN;
    }

    /* the letter in front of the last one tells them apart */

    event = (js->literal[-2] == 'u') ? LLM_JSON_TRUE
            : (js->literal[-2] == 's') ? LLM_JSON_FALSE : LLM_JSON_NULL;

    llm_json_after(js);

    return event;
}


int64_t
llm_json_whole(const unsigned char *text, size_t len)
{
    int      point, minus;
    size_t   i;
    int64_t  value, zeros, shift, exponent;

    if (text == NULL || len == 0 || text[0] == '-') {
        return -1;
    }

    value = 0;

    if (len <= 15) {

        /* most of them are no more than digits */

        for (i = 0; i < len && (unsigned char) (text[i] - '0') < 10; i++) {
            value = value * 10 + (text[i] - '0');
        }

        if (i == len) {
            return value;
        }

        value = 0;
    }

    zeros = 0;
    shift = 0;
    point = 0;

    /* zeros are held back: they count only when another digit follows */

    for (i = 0; i < len && (text[i] | 0x20) != 'e'; i++) {

        if (text[i] == '.') {
            point = 1;
            continue;
        }

        shift -= point;
        zeros++;

        if (text[i] == '0') {
            continue;
        }

        for ( /* void */ ; zeros; zeros--) {

            if (value > LLM_JSON_WHOLE_MAX) {
                return -1;
            }

            value *= 10;
        }

        value += text[i] - '0';
    }

    minus = 0;
    exponent = 0;

    for (i++; i < len; i++) {

        if (text[i] == '-') {
            minus = 1;

        } else if (text[i] != '+' && exponent < 1000000) {
            exponent = exponent * 10 + (text[i] - '0');
        }
    }

    shift += zeros + (minus ? -exponent : exponent);

    if (value == 0) {
        return 0;
    }

    for ( /* void */ ; shift > 0 && value <= LLM_JSON_WHOLE_MAX; shift--) {
        value *= 10;
    }

    return (shift || value > LLM_JSON_WHOLE_MAX) ? -1 : value;
}
