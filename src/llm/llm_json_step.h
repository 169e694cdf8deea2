
/*
 * Copyright (C) nginx-cycles authors
 *
 * The step from one event of a JSON text to the next.  In a header, because it
 * is inside of two loops and costs less than a call of it.  Private to
 * src/llm.
 */


#ifndef _LLM_JSON_STEP_H_INCLUDED_
#define _LLM_JSON_STEP_H_INCLUDED_


#include <string.h>

#include "llm_json.h"
#include "../cycles_scan.h"


#define llm_json_inline  static inline __attribute__((always_inline))


/* llm_json_t.state; behind sw_done something has begun */

typedef enum {
    sw_value = 0,
    sw_value_or_end,
    sw_key_or_end,
    sw_key,
    sw_next,
    sw_colon,
    sw_done,
    sw_string,
    sw_escape,
    sw_unicode,
    sw_minus,
    sw_zero,
    sw_digits,
    sw_point,
    sw_fraction,
    sw_exponent_sign,
    sw_exponent_first,
    sw_exponent,
    sw_literal,
    sw_error
} llm_json_state_t;


/*
 * llm_json.c: what is not there as a whole, or wants a closer look.  js->event
 * tells what it is; its end is returned, so that no address is taken of a place
 * that may be in a register.
 */

const unsigned char *llm_json_rest(llm_json_t *js, const unsigned char *p,
    const unsigned char *last);
const unsigned char *llm_json_spaces(const unsigned char *p,
    const unsigned char *last);
int llm_json_fail(llm_json_t *js, const char *error);

extern const char  llm_json_syntax[];


/* js->origin is where a text that began in front of *pos would have begun */

llm_json_inline uint64_t
llm_json_position(const llm_json_t *js, const unsigned char *p)
{
    return (uintptr_t) p - js->origin;
}


llm_json_inline void
llm_json_begin(llm_json_t *js, const unsigned char *p)
{
    js->begin = p;
    js->origin = (uintptr_t) p - js->offset;
}


llm_json_inline void
llm_json_after(llm_json_t *js)
{
    js->state = js->depth ? sw_next : sw_done;
}


/* behind a token is none, or one blank, unless a text is made for the eye */

llm_json_inline const unsigned char *
llm_json_space(const unsigned char *p, const unsigned char *last)
{
    if (p < last && *p == ' ') {
        p++;
    }

    return (p < last && *p <= ' ') ? llm_json_spaces(p, last) : p;
}


llm_json_inline const unsigned char *
llm_json_plain(const llm_json_t *js, const unsigned char *p,
    const unsigned char *last)
{
    return js->strict ? cycles_scan(js->begin, p, last, CYCLES_SCAN_ASCII)
                      : cycles_scan(js->begin, p, last, CYCLES_SCAN_ANY);
}


llm_json_inline int
llm_json_slowly(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    *pos = llm_json_rest(js, *pos, last);

    return js->event;
}


/* most strings are there as a whole, and have no escapes */

llm_json_inline int
llm_json_whole_string(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last, int key)
{
    const unsigned char  *p, *begin;

    begin = *pos;
    p = llm_json_plain(js, begin, last);

    if (p == last || *p != '"') {
        js->state = sw_string;
        js->key = (unsigned char) key;
        js->started = 0;
        js->escaped = 0;
        return llm_json_slowly(js, pos, last);
    }

    js->text = begin;
    js->len = (size_t) (p - begin);
    *pos = ++p;

    if (!key) {
        js->first = 1;
        js->last = 1;
        llm_json_after(js);
        return LLM_JSON_STRING;
    }

    if (js->len > LLM_JSON_TEXT) {
        js->text = NULL;
    }

    js->state = sw_colon;

    if (p < last && *p == ':') {
        (*pos)++;
        js->state = sw_value;
    }

    return LLM_JSON_KEY;
}


/* most numbers are digits only */

llm_json_inline int
llm_json_integer(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    const unsigned char  *p, *begin;

    begin = *pos;
    p = begin;

    if (*p == '0') {
        p++;

    } else {
        while (p < last && *p >= '0' && *p <= '9') {
            p++;
        }
    }

    if (p == begin || p == last || *p == '.' || (*p | 0x20) == 'e'
        || p - begin > LLM_JSON_TEXT)
    {
        js->state = sw_value;
        js->started = 0;
        return llm_json_slowly(js, pos, last);
    }

    js->text = begin;
    js->len = (size_t) (p - begin);
    *pos = p;

    llm_json_after(js);

    return LLM_JSON_NUMBER;
}


llm_json_inline int
llm_json_word(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last, const char *rest, size_t len, int event)
{
    if ((size_t) (last - *pos) >= len && memcmp(*pos, rest, len) == 0) {
        *pos += len;
        llm_json_after(js);
        return event;
    }

    js->state = sw_literal;
    js->literal = rest;

    return llm_json_slowly(js, pos, last);
}


/* a bit for each container that is open, the innermost one lowest */

typedef char  llm_json_stack_t[(LLM_JSON_DEPTH == 128) ? 1 : -1];


llm_json_inline int
llm_json_open(llm_json_t *js, int array)
{
    if (js->depth == LLM_JSON_DEPTH) {
        return llm_json_fail(js, "the body is nested too deeply");
    }

    if (js->depth++ >= 64) {
        js->deep = js->deep << 1 | js->stack >> 63;
    }

    js->stack = js->stack << 1 | (unsigned) array;
    js->array = (unsigned char) array;

    if (array) {
        js->state = sw_value_or_end;
        return LLM_JSON_ARRAY;
    }

    js->state = sw_key_or_end;

    return LLM_JSON_OBJECT;
}


llm_json_inline int
llm_json_close(llm_json_t *js, int array)
{
    if (js->array != array) {
        return llm_json_fail(js, llm_json_syntax);
    }

    js->empty = (js->state != sw_next);
    js->stack >>= 1;
    js->array = js->stack & 1;

    if (--js->depth >= 64) {
        js->stack |= js->deep << 63;
        js->deep >>= 1;
    }

    llm_json_after(js);

    return array ? LLM_JSON_ARRAY_END : LLM_JSON_OBJECT_END;
}


llm_json_inline int
llm_json_value(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    unsigned  ch;

    ch = *(*pos)++;

    switch (ch) {

    case '"':
        return llm_json_whole_string(js, pos, last, 0);

    case '{':
        return llm_json_open(js, 0);

    case '[':
        return llm_json_open(js, 1);

    case ']':
        if (js->state != sw_value_or_end) {
            return llm_json_fail(js, llm_json_syntax);
        }

        return llm_json_close(js, 1);

    case 't':
        return llm_json_word(js, pos, last, "rue", 3, LLM_JSON_TRUE);

    case 'f':
        return llm_json_word(js, pos, last, "alse", 4, LLM_JSON_FALSE);

    case 'n':
        return llm_json_word(js, pos, last, "ull", 3, LLM_JSON_NULL);

    default:
        (*pos)--;
        return llm_json_integer(js, pos, last);
    }
}


/* what begins in the bytes from *pos on; most of it ends there as well */

llm_json_inline int
llm_json_step(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    const unsigned char  *p;

    p = llm_json_space(*pos, last);

    if (p < last && js->state > sw_value_or_end) {

        if (js->state == sw_next && *p == ',') {
            js->comma = llm_json_position(js, p);
            js->state = js->array ? sw_value : sw_key;
            p = llm_json_space(p + 1, last);

        } else if (js->state == sw_colon && *p == ':') {
            js->state = sw_value;
            p = llm_json_space(p + 1, last);
        }
    }

    *pos = p;

    if (p == last) {
        return LLM_JSON_AGAIN;
    }

    js->start = llm_json_position(js, p);

    if (js->state <= sw_value_or_end) {
        return llm_json_value(js, pos, last);
    }

    (*pos)++;

    switch (js->state) {

    case sw_key_or_end:
        if (*p == '}') {
            return llm_json_close(js, 0);
        }

        /* fall through */

    case sw_key:
        if (*p == '"') {
            return llm_json_whole_string(js, pos, last, 1);
        }

        break;

    case sw_next:
        if (*p == '}' || *p == ']') {
            return llm_json_close(js, *p == ']');
        }

        break;

    case sw_done:
        return llm_json_fail(js, "there is text behind the JSON");

    default: /* sw_colon */
        break;
    }

    return llm_json_fail(js, llm_json_syntax);
}


/* as llm_json_next(), behind llm_json_begin(); js->offset is left as it is */

llm_json_inline int
llm_json_event(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last)
{
    int  event;

    for ( ;; ) {

        event = (js->state <= sw_done) ? llm_json_step(js, pos, last)
                                       : llm_json_slowly(js, pos, last);

        if (event <= LLM_JSON_AGAIN) {
            return event;
        }

        if (js->skip == 0) {
            return event;
        }

        /* a skipped value ends where its member or element does */

        if (js->depth < js->skip
            && (js->state == sw_next || js->state == sw_done))
        {
            js->skip = 0;
        }
    }
}


#endif /* _LLM_JSON_STEP_H_INCLUDED_ */
