
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_repeat.h"
#include "llm_json.h"


static void llm_repeat_add(llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *end, llm_repeat_kind_t kind);
static void llm_repeat_compare(llm_repeat_t *rt);
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
    rt->learning = 0;
    rt->ready = 0;
    rt->n = 0;
}


void
llm_repeat_begin(llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *last)
{
    rt->ready = 0;
    rt->learning = (last - p <= LLM_REPEAT_LINE);
    rt->begin = p;
    rt->last = last;
    rt->texts = 0;
    rt->nfresh = 0;
}


/* a second text would need a second choice, and is too rare for it */

void
llm_repeat_text(llm_repeat_t *rt, const unsigned char *p, size_t n,
    unsigned choice)
{
    if (!rt->learning) {
        return;
    }

    if (rt->texts++) {
        rt->learning = 0;
        return;
    }

    rt->choice = choice;
    llm_repeat_add(rt, p, p + n, LLM_REPEAT_TEXT);
}


void
llm_repeat_spoil(llm_repeat_t *rt)
{
    rt->learning = 0;
}


void
llm_repeat_ignored(llm_repeat_t *rt, const unsigned char *p)
{
    const unsigned char  *end;

    if (!rt->learning) {
        return;
    }

    while (p < rt->last && *p == ' ') {
        p++;
    }

    if (p < rt->last && *p == '"') {
        p++;
        end = llm_json_string_end(p, rt->last);

        if (end) {
            llm_repeat_add(rt, p, end, LLM_REPEAT_STRING);
        }

        return;
    }

    end = llm_repeat_number(p, rt->last);

    if (end) {
        llm_repeat_add(rt, p, end, LLM_REPEAT_NUMBER);
    }
}


/* a value that there is no room for has to stay the same */

static void
llm_repeat_add(llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *end, llm_repeat_kind_t kind)
{
    llm_repeat_value_t  *value;

    if (p < rt->begin || end > rt->last
        || (rt->nfresh == LLM_REPEAT_VALUES && kind == LLM_REPEAT_TEXT))
    {
        rt->learning = 0;
        return;
    }

    if (rt->nfresh == LLM_REPEAT_VALUES) {
        return;
    }

    value = &rt->fresh[rt->nfresh++];
    value->begin = (unsigned short) (p - rt->begin);
    value->end = (unsigned short) (end - rt->begin);
    value->kind = (unsigned char) kind;
    value->varies = (kind == LLM_REPEAT_TEXT);
}


void
llm_repeat_end(llm_repeat_t *rt, uint64_t state, int same)
{
    if (!rt->learning) {
        return;
    }

    rt->learning = 0;

    if (same) {
        llm_repeat_compare(rt);

        rt->ready = 1;
        rt->changed = 0;
        rt->state = state;
        rt->n = rt->nfresh;
        rt->len = (unsigned) (rt->last - rt->begin);

        memcpy(rt->values, rt->fresh, rt->n * sizeof(llm_repeat_value_t));
        memcpy(rt->line, rt->begin, rt->len);
    }
}


/* most values stay the same, and these need not be looked for */

static void
llm_repeat_compare(llm_repeat_t *rt)
{
    size_t               n;
    unsigned             i;
    llm_repeat_value_t  *fresh, *kept;

    if (rt->nfresh != rt->n) {
        return;
    }

    for (i = 0; i < rt->n; i++) {
        fresh = &rt->fresh[i];
        kept = &rt->values[i];
        n = (size_t) (fresh->end - fresh->begin);

        if (kept->varies
            || n != (size_t) (kept->end - kept->begin)
            || memcmp(rt->begin + fresh->begin, rt->line + kept->begin, n)
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
    const unsigned char *last, const unsigned char **text, size_t *len)
{
    size_t                     n;
    unsigned                   i, from;
    const unsigned char       *end;
    const llm_repeat_value_t  *value;

    if (!rt->ready) {
        return NULL;
    }

    *text = NULL;
    from = 0;

    for (i = 0; i < rt->n; i++) {

        value = &rt->values[i];

        if (!value->varies) {
            continue;
        }

        n = value->begin - from;

        if ((size_t) (last - p) < n || memcmp(p, rt->line + from, n) != 0) {
            return NULL;
        }

        p += n;

        end = (value->kind == LLM_REPEAT_NUMBER)
              ? llm_repeat_number(p, last) : llm_json_string_end(p, last);

        if (end == NULL) {
            return NULL;
        }

        if (value->kind == LLM_REPEAT_TEXT) {
            *text = p;
            *len = (size_t) (end - p);
        }

        p = end;
        from = value->end;
    }

    n = rt->len - from;

    if ((size_t) (last - p) < n || memcmp(p, rt->line + from, n) != 0) {
        return NULL;
    }

    return p + n;
}


/* the end of a plain whole number, which something follows; NULL: none */

static const unsigned char *
llm_repeat_number(const unsigned char *p, const unsigned char *last)
{
    const unsigned char  *begin;

    begin = p;

    while (p < last && *p >= '0' && *p <= '9') {
        p++;
    }

    if (p == begin || p == last || (*begin == '0' && p - begin > 1)
        || (*p != ',' && *p != '}'))
    {
        return NULL;
    }

    return p;
}
