
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_walk_step.h"


#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

const uint64_t  llm_walk_left[8] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff,
    0xffffffffffffff
};

#else

const uint64_t  llm_walk_left[8] = {
    0, 0xff00000000000000, 0xffff000000000000, 0xffffff0000000000,
    0xffffffff00000000, 0xffffffffff000000, 0xffffffffffff0000,
    0xffffffffffffff00
};

#endif


static const llm_member_t *llm_walk_member(llm_walk_t *w);


void
llm_walk_init(llm_walk_t *w, const llm_member_t *root, int strict)
{
    w->root = root;
    w->strict = (unsigned char) strict;
    w->begin = NULL;
    w->hashes = LLM_WALK_ANY;
    w->json.offset = 0;

    llm_walk_again(w);
}


void
llm_walk_places(llm_walk_t *w, uint64_t *begin)
{
    w->begin = begin;
}


void
llm_walk_again(llm_walk_t *w)
{
    const llm_member_t  *m;

    /* this is for many texts: for one alone it does not pay */

    if (w->json.offset && w->hashes == LLM_WALK_ANY) {

        w->hashes = 0;

        for (m = w->root->members; m->len; m++) {
            w->hashes |= llm_walk_hash(m->word);
        }
    }

    llm_json_init(&w->json, w->strict);

    w->member = w->root;
    w->element = 0;
    w->key = 0;
    w->depth = 0;
    w->all = 0;
}


int
llm_walk_next(llm_walk_t *w, const unsigned char **pos,
    const unsigned char *last)
{
    int                   event;
    const unsigned char  *p;

    p = *pos;
    llm_json_begin(&w->json, p);

    event = llm_walk_event(w, &p, llm_walk_guard(p, last), last);

    w->json.offset = llm_json_position(&w->json, p);
    *pos = p;

    return event;
}


const unsigned char *
llm_walk_rest(llm_walk_t *w, const unsigned char *p,
    const unsigned char *last)
{
    int          event;
    llm_json_t  *js;

    js = &w->json;

    event = llm_json_event(js, &p, last);

    if (event == LLM_JSON_KEY && !w->all) {

        w->key = js->start;
        w->member = llm_walk_member(w);

        if (w->member == NULL) {
            llm_json_skip(js);
        }

        if (w->member || w->depth != 1) {
            event = LLM_WALK_NONE;
        }

    } else if (event >= LLM_JSON_STRING) {
        llm_walk_value(w);

    } else if (event > LLM_JSON_AGAIN && event != LLM_JSON_KEY) {

        if (event == LLM_JSON_OBJECT || event == LLM_JSON_ARRAY) {
            llm_walk_enter(w, event);

        } else {
            llm_walk_leave(w);
        }

        if (!llm_walk_wanted(w)) {
            event = LLM_WALK_NONE;
        }
    }

    js->event = (signed char) event;

    return p;
}


/* what the name that has just been read is, or NULL */

static const llm_member_t *
llm_walk_member(llm_walk_t *w)
{
    uint64_t             word;
    llm_json_t          *js;
    const llm_member_t  *m;

    js = &w->json;

    if (js->text == NULL) {
        return NULL;
    }

    word = 0;
    memcpy(&word, js->text, (js->len < 8) ? js->len : 8);

    m = llm_walk_find(w, word, js->text, js->len);

    return (m && (m->flags & LLM_WALK_IGNORED)) ? NULL : m;
}
