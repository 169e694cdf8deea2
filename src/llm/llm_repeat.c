
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_repeat.h"
#include "llm_json.h"
#include "../cycles_scan.h"


static void llm_repeat_add(llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *end, llm_repeat_kind_t kind);
static void llm_repeat_cut(llm_repeat_t *rt, size_t len);
static void llm_repeat_compare(const llm_repeat_t *rt,
    llm_repeat_draft_t *draft);
static inline const unsigned char *llm_repeat_value_end(
    const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, unsigned kind, llm_repeat_found_t *found);
static const unsigned char *llm_repeat_number(const unsigned char *p,
    const unsigned char *last);


static inline uint64_t
llm_repeat_mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0x9e3779b97f4a7c15;

    return sum ^ (sum >> 32);
}


void
llm_repeat_init(llm_repeat_t *rt)
{
    rt->draft = NULL;
    rt->ready = 0;
    rt->n = 0;
}


void
llm_repeat_begin(llm_repeat_t *rt, llm_repeat_draft_t *draft,
    const unsigned char *begin, const unsigned char *last)
{
    rt->draft = (last - begin <= LLM_REPEAT_EVENT) ? draft : NULL;

    draft->begin = begin;
    draft->last = last;
    draft->texts = 0;
    draft->choice = 0;
    draft->n = 0;
}


/* a second text would need a second choice, and is too rare for it */

void
llm_repeat_text(llm_repeat_t *rt, const unsigned char *p, size_t n,
    unsigned choice)
{
    if (rt->draft == NULL) {
        return;
    }

    if (rt->draft->texts++) {
        rt->draft = NULL;
        return;
    }

    rt->draft->choice = choice;
    llm_repeat_add(rt, p, p + n, LLM_REPEAT_TEXT);
}


void
llm_repeat_spoil(llm_repeat_t *rt)
{
    rt->draft = NULL;
}


void
llm_repeat_ignored(llm_repeat_t *rt, const unsigned char *p)
{
    int                   escaped;
    const unsigned char  *end, *last;

    if (rt->draft == NULL) {
        return;
    }

    escaped = 0;
    last = rt->draft->last;

    while (p < last && *p == ' ') {
        p++;
    }

    if (p < last && *p == '"') {
        p++;
        end = llm_json_string_end(rt->draft->begin, p, last, &escaped);

        if (end && end < last) {
            llm_repeat_add(rt, p, end, LLM_REPEAT_STRING);
        }

        return;
    }

    end = llm_repeat_number(p, last);

    if (end && end < last) {
        llm_repeat_add(rt, p, end, LLM_REPEAT_NUMBER);
    }
}


/* a value that there is no room for has to stay the same */

static void
llm_repeat_add(llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *end, llm_repeat_kind_t kind)
{
    llm_repeat_draft_t  *draft;
    llm_repeat_value_t  *value;

    draft = rt->draft;

    if (p < draft->begin || end > draft->last
        || (draft->n == LLM_REPEAT_VALUES && kind == LLM_REPEAT_TEXT))
    {
        rt->draft = NULL;
        return;
    }

    if (draft->n == LLM_REPEAT_VALUES) {
        return;
    }

    value = &draft->values[draft->n++];
    value->begin = (unsigned short) (p - draft->begin);
    value->end = (unsigned short) (end - draft->begin);
    value->kind = (unsigned char) kind;
    value->varies = (kind == LLM_REPEAT_TEXT);
}


void
llm_repeat_end(llm_repeat_t *rt, uint64_t state, int same)
{
    llm_repeat_draft_t  *draft;

    draft = rt->draft;
    rt->draft = NULL;

    if (draft == NULL || !same) {
        return;
    }

    llm_repeat_compare(rt, draft);

    rt->ready = 1;
    rt->state = state;
    rt->choice = (unsigned char) draft->choice;
    rt->n = (unsigned char) draft->n;

    memcpy(rt->values, draft->values, rt->n * sizeof(llm_repeat_value_t));

    llm_repeat_cut(rt, (size_t) (draft->last - draft->begin));

    memcpy(rt->event, draft->begin, (size_t) (draft->last - draft->begin));
}


/* the event, which has that length, into what is between varying values */

static void
llm_repeat_cut(llm_repeat_t *rt, size_t len)
{
    size_t                     begin;
    unsigned                   i;
    llm_repeat_piece_t        *piece;
    const llm_repeat_value_t  *value;

    begin = 0;
    piece = rt->pieces;

    for (i = 0; i < rt->n; i++) {

        value = &rt->values[i];

        if (value->varies) {
            piece->begin = (unsigned short) begin;
            piece->len = (unsigned short) (value->begin - begin);
            piece->kind = value->kind;

            begin = value->end;
            piece++;
        }
    }

    piece->begin = (unsigned short) begin;
    piece->len = (unsigned short) (len - begin);
    piece->kind = LLM_REPEAT_END;
}


/* most values stay the same, and these need not be looked for */

static void
llm_repeat_compare(const llm_repeat_t *rt, llm_repeat_draft_t *draft)
{
    size_t                     n;
    unsigned                   i;
    llm_repeat_value_t        *fresh;
    const llm_repeat_value_t  *kept;

    if (draft->n != rt->n) {
        return;
    }

    for (i = 0; i < rt->n; i++) {
        fresh = &draft->values[i];
        kept = &rt->values[i];
        n = (size_t) (fresh->end - fresh->begin);

        if (kept->varies
            || n != (size_t) (kept->end - kept->begin)
            || memcmp(draft->begin + fresh->begin, rt->event + kept->begin, n)
               != 0)
        {
            fresh->varies = 1;
        }
    }
}


/* two at a time: a product has to wait for the one before it */

uint64_t
llm_repeat_digest(const uint64_t *words, size_t n)
{
    size_t    i;
    uint64_t  a, b;

    a = 1;
    b = n;

    for (i = 0; i + 1 < n; i += 2) {
        a = llm_repeat_mix(a, words[i]);
        b = llm_repeat_mix(b, words[i + 1]);
    }

    if (i < n) {
        a = llm_repeat_mix(a, words[i]);
    }

    return llm_repeat_mix(a, b);
}


const unsigned char *
llm_repeat_match(const llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *last, llm_repeat_found_t *found)
{
    const unsigned char       *begin, *end;
    const llm_repeat_piece_t  *piece;

    begin = p;

    found->text = NULL;
    found->escaped = 0;
    found->more = 0;

    for (piece = rt->pieces; /* void */ ; piece++) {

        if (last - p < piece->len) {
            found->more = (memcmp(p, rt->event + piece->begin,
                                  (size_t) (last - p)) == 0);
            return NULL;
        }

        if (memcmp(p, rt->event + piece->begin, piece->len) != 0) {
            return NULL;
        }

        p += piece->len;

        if (piece->kind == LLM_REPEAT_END) {
            return p;
        }

        end = llm_repeat_value_end(begin, p, last, piece->kind, found);

        if (end == NULL) {
            return NULL;
        }

        if (end == last) {
            found->more = 1;
            return NULL;
        }

        if (piece->kind == LLM_REPEAT_TEXT) {
            found->text = p;
            found->len = (size_t) (end - p);
        }

        p = end;
    }
}


/* last: it may go on; NULL: it is of another kind, or wants a closer look */

static inline const unsigned char *
llm_repeat_value_end(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, unsigned kind, llm_repeat_found_t *found)
{
    const unsigned char  *end;

    if (kind == LLM_REPEAT_NUMBER) {
        return llm_repeat_number(p, last);
    }

    end = cycles_scan(begin, p, last, CYCLES_SCAN_UTF8);

    if (end < last && *end == '\\') {
        return llm_json_string_end(begin, end, last, &found->escaped);
    }

    return (end == last || *end == '"') ? end : NULL;
}


/* the end of a plain whole number; last: it may go on; NULL: there is none */

static const unsigned char *
llm_repeat_number(const unsigned char *p, const unsigned char *last)
{
    const unsigned char  *begin;

    begin = p;

    while (p < last && *p >= '0' && *p <= '9') {
        p++;
    }

    if (p - begin > 1 && *begin == '0') {
        return NULL;
    }

    if (p < last && (p == begin || (*p != ',' && *p != '}'))) {
        return NULL;
    }

    return p;
}
