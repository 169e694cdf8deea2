
/*
 * Copyright (C) nginx-cycles authors
 *
 * The step from one event of a tree to the next, inside of the loops that most
 * of them are read in.  Private to src/llm.
 */


#ifndef _LLM_WALK_STEP_H_INCLUDED_
#define _LLM_WALK_STEP_H_INCLUDED_


#include "llm_json_step.h"
#include "llm_walk.h"


#define LLM_WALK_ANY  (~(uint64_t) 0)

/* one bit of 64 */

#define llm_walk_hash(word)                                                   \
    ((uint64_t) 1 << (((word) * 0x9e3779b97f4a7c15) >> 58))


/* what is left of eight bytes of which so many are a name's */

extern const uint64_t  llm_walk_left[8];


/* behind the first eight bytes; a call would cost more than it does */

llm_json_inline int
llm_walk_same(const char *name, const unsigned char *key, size_t len)
{
    uint64_t  a, b;

    if (len <= 8) {
        return 1;
    }

    for ( /* void */ ; len > 16; len -= 8) {

        name += 8;
        key += 8;

        memcpy(&a, name, 8);
        memcpy(&b, key, 8);

        if (a != b) {
            return 0;
        }
    }

    /* the end of it overlaps what precedes it */

    memcpy(&a, name + len - 8, 8);
    memcpy(&b, key + len - 8, 8);

    return a == b;
}


/* nearly all names that an event repeats are of no interest */

llm_json_inline const llm_member_t *
llm_walk_find(const llm_walk_t *w, uint64_t word, const unsigned char *name,
    size_t len)
{
    const llm_member_t  *m;

    if (len < 8) {
        word &= llm_walk_left[len];
    }

    m = w->at[w->depth];

    if (m == w->root && !(w->hashes & llm_walk_hash(word))) {
        return NULL;
    }

    for (m = m->members; m->len; m++) {

        if (m->word == word
            && m->len == len
            && llm_walk_same(m->name, name, len))
        {
            return m;
        }
    }

    return NULL;
}


/* an element of an array belongs to the member that has the array */

llm_json_inline void
llm_walk_value(llm_walk_t *w)
{
    w->element = (w->depth && w->array[w->depth]);

    if (w->element) {
        w->member = w->at[w->depth];
    }
}


llm_json_inline void
llm_walk_enter(llm_walk_t *w, int event)
{
    unsigned  flags, wanted;

    if (w->all) {
        return;
    }

    llm_walk_value(w);

    flags = w->member->flags;

    if (event == LLM_JSON_OBJECT) {
        wanted = w->element || (flags & LLM_WALK_OBJECT);

    } else {
        wanted = !w->element && (flags & LLM_WALK_ARRAY);
    }

    if ((!wanted && !(flags & LLM_WALK_ALL))
        || w->depth + 1 == LLM_WALK_DEPTH)
    {
        llm_json_skip(&w->json);
        return;
    }

    w->depth++;
    w->at[w->depth] = w->member;
    w->array[w->depth] = (event == LLM_JSON_ARRAY);

    if (w->begin) {
        w->begin[w->depth] = w->json.start;
    }

    if (flags & LLM_WALK_ALL) {
        w->all = w->json.depth;
    }
}


llm_json_inline void
llm_walk_leave(llm_walk_t *w)
{
    if (w->all) {

        if (w->json.depth >= w->all) {
            return;
        }

        w->all = 0;
    }

    w->member = w->at[w->depth];
    w->depth--;
    w->element = w->depth && w->array[w->depth];
}


/* whether a container's begin or end is an event */

llm_json_inline int
llm_walk_wanted(const llm_walk_t *w)
{
    return w->member->kind || w->member->twice || w->member == w->root;
}


/* llm_walk.c: the next event of any text, or LLM_WALK_NONE; see js->event */

#define LLM_WALK_NONE  100

/* bytes that can be read of a name and of the quote in front of it */

#define LLM_WALK_NAME  17

/* where a guard is looked for */

#define LLM_WALK_NEAR  64

const unsigned char *llm_walk_rest(llm_walk_t *w, const unsigned char *p,
    const unsigned char *last);


/*
 * The end of what can be read without a look at where the bytes end: the last
 * one in front of it is none that anything has to follow but in a string.  It
 * is p if there is none near the end.
 */

llm_json_inline const unsigned char *
llm_walk_guard(const unsigned char *p, const unsigned char *last)
{
    const unsigned char  *near;

    near = (last - p > LLM_WALK_NEAR) ? last - LLM_WALK_NEAR : p;

    /* no blank, quote, comma, digit, colon, and nothing that opens */

    for ( /* void */ ; last > near; last--) {
        if (last[-1] > ':' && last[-1] != '[' && last[-1] != '{') {
            return last;
        }
    }

    return p;
}


/* a value that has no members: its end, or NULL */

llm_json_inline const unsigned char *
llm_walk_scalar(const llm_json_t *js, const unsigned char *p,
    const unsigned char *guard, int *event)
{
    const unsigned char  *begin;

    if (*p == '"') {
        *event = LLM_JSON_STRING;
        p = llm_json_plain(js, p + 1, guard);

        return (p < guard && *p == '"') ? p + 1 : NULL;
    }

    begin = p;

    if ((unsigned char) (*p - '1') < 9) {
        do {
            p++;
        } while ((unsigned char) (*p - '0') < 10);

    } else if (*p == '0') {
        p++;
    }

    if (p != begin) {
        *event = LLM_JSON_NUMBER;

        return (*p == '.' || (*p | 0x20) == 'e' || p - begin > LLM_JSON_TEXT)
               ? NULL : p;
    }

    if (guard - p <= 5) {
        return NULL;
    }

    if (memcmp(p, "null", 4) == 0) {
        *event = LLM_JSON_NULL;
        return p + 4;
    }

    if (memcmp(p, "true", 4) == 0) {
        *event = LLM_JSON_TRUE;
        return p + 4;
    }

    if (memcmp(p, "false", 5) == 0) {
        *event = LLM_JSON_FALSE;
        return p + 5;
    }

    return NULL;
}


#if defined(__SSE2__)

/* a bit for each of 16 bytes */

llm_json_inline unsigned
llm_walk_quotes(const unsigned char *p)
{
    return (unsigned) _mm_movemask_epi8(
               _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *) p),
                              _mm_set1_epi8('"')));
}

#endif


/* the first quote, or NULL; there are 16 bytes or more in front of the guard */

llm_json_inline const unsigned char *
llm_walk_quote(const unsigned char *p, const unsigned char *guard)
{
#if defined(__SSE2__)

    unsigned  quotes;

    do {
        quotes = llm_walk_quotes(p);

        if (quotes) {
            return p + (unsigned) __builtin_ctz(quotes);
        }

        p += 16;

    } while (guard - p >= 16);

    quotes = llm_walk_quotes(guard - 16) >> (16 - (guard - p));

    return quotes ? p + (unsigned) __builtin_ctz(quotes) : NULL;

#else

    return memchr(p, '"', (size_t) (guard - p));

#endif
}


/* whether a name has nothing but printable ASCII, and no escapes */

llm_json_inline int
llm_walk_plain(const llm_json_t *js, const unsigned char *p,
    const unsigned char *end)
{
    return cycles_scan(js->begin, p, end, CYCLES_SCAN_ASCII) == end;
}


/* as llm_json_space() */

llm_json_inline const unsigned char *
llm_walk_space(const unsigned char *p, const unsigned char *guard)
{
    if (*p <= ' ') {
        p += (*p == ' ');

        if (*p <= ' ') {
            p = llm_json_spaces(p, guard);
        }
    }

    return p;
}


/*
 * The next event of members that are there as a whole, without a look at the
 * state for each of their tokens.  LLM_JSON_AGAIN: what is at *pos wants a
 * closer one, and all is as if what precedes it had had that, too.
 */

llm_json_inline int
llm_walk_quick(llm_walk_t *w, const unsigned char **pos,
    const unsigned char *guard)
{
    int                   event;
    size_t                len;
    unsigned              state;
    uint64_t              word;
    llm_json_t           *js;
    const llm_member_t   *member;
    const unsigned char  *p, *end;

    p = *pos;
    js = &w->json;
    state = js->state;

    if (p >= guard) {
        return LLM_JSON_AGAIN;
    }

    if (js->skip == 0) {

        if (state == sw_next) {
            goto next;
        }

        if (state > sw_next) {
            return LLM_JSON_AGAIN;
        }

    } else if (state != sw_value || js->skip != js->depth + 1) {

        /* of what is passed, no more than the value of a name */

        return LLM_JSON_AGAIN;
    }

    p = llm_walk_space(p, guard);

    if (state >= sw_key_or_end) {
        goto key;
    }

    goto value;

next:

    state = sw_next;

    if (*p == ',') {
        js->comma = llm_json_position(js, p);

        p = llm_walk_space(p + 1, guard);

        if (js->array) {
            state = sw_value;
            goto value;
        }

        state = sw_key;
        goto key;
    }

    if (*p == (js->array ? ']' : '}')) {
        js->start = llm_json_position(js, p);
        js->state = sw_next;

        event = llm_json_close(js, js->array);
        p++;

        llm_walk_leave(w);

        if (llm_walk_wanted(w)) {
            *pos = p;
            return event;
        }

        if (p < guard) {
            goto next;
        }

        goto rest;
    }

    if (*p <= ' ') {
        end = llm_json_spaces(p, guard);

        if (end != p) {
            p = end;
            goto next;
        }
    }

    goto rest;

key:

    if (*p != '"' || p + LLM_WALK_NAME >= guard) {
        goto rest;
    }

    end = llm_walk_quote(p + 1, guard);

    if (end == NULL || end[1] != ':') {
        goto rest;
    }

    len = (size_t) (end - p - 1);
    member = NULL;

    if (!w->all) {
        memcpy(&word, p + 1, 8);

        member = llm_walk_find(w, word, p + 1, len);

        if (member && !(member->flags & LLM_WALK_IGNORED)) {
            w->member = member;
            w->key = llm_json_position(js, p);

            state = sw_value;
            p = llm_walk_space(end + 2, guard);
            goto value;
        }
    }

    /* one that is not known may be written with escapes */

    if (member == NULL
        && (!llm_walk_plain(js, p + 1, end) || len > LLM_JSON_TEXT))
    {
        goto rest;
    }

    if (!w->all) {
        w->member = NULL;
        w->key = llm_json_position(js, p);
        js->skip = js->depth + 1;

        if (w->depth > 1) {
            state = sw_value;
            p = llm_walk_space(end + 2, guard);
            goto value;
        }
    }

    js->start = llm_json_position(js, p);
    js->text = p + 1;
    js->len = len;
    js->state = sw_value;
    *pos = end + 2;

    return LLM_JSON_KEY;

value:

    if ((*p | 0x20) == '{') {

        /* it is a brace or a bracket */

        if (js->skip || js->depth == LLM_JSON_DEPTH) {
            goto rest;
        }

        js->start = llm_json_position(js, p);

        event = llm_json_open(js, *p == '[');
        state = js->state;
        p++;

        llm_walk_enter(w, event);

        if (llm_walk_wanted(w)) {
            *pos = p;
            return event;
        }

        if (js->skip) {
            goto rest;
        }

        p = llm_walk_space(p, guard);

        if (event == LLM_JSON_OBJECT) {
            goto key;
        }

        goto value;
    }

    end = llm_walk_scalar(js, p, guard, &event);

    if (end == NULL || js->depth == 0) {
        goto rest;
    }

    if (js->skip) {
        js->skip = 0;
        p = end;
        goto next;
    }

    js->start = llm_json_position(js, p);

    if (event == LLM_JSON_STRING) {
        js->text = p + 1;
        js->len = (size_t) (end - p - 2);
        js->first = 1;
        js->last = 1;

    } else {
        js->text = p;
        js->len = (size_t) (end - p);
    }

    js->state = sw_next;
    llm_walk_value(w);

    *pos = end;

    return event;

rest:

    js->state = (unsigned char) state;
    *pos = p;

    return LLM_JSON_AGAIN;
}


/* as llm_walk_next(), behind llm_json_begin() */

llm_json_inline int
llm_walk_event(llm_walk_t *w, const unsigned char **pos,
    const unsigned char *guard, const unsigned char *last)
{
    int  event;

    for ( ;; ) {

        event = llm_walk_quick(w, pos, guard);

        if (event != LLM_JSON_AGAIN) {
            return event;
        }

        if (*pos == last && w->json.state <= sw_done) {
            return LLM_JSON_AGAIN;
        }

        *pos = llm_walk_rest(w, *pos, last);

        if (w->json.event != LLM_WALK_NONE) {
            return w->json.event;
        }
    }
}


#endif /* _LLM_WALK_STEP_H_INCLUDED_ */
