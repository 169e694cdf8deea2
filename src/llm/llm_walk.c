
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_walk.h"


static const llm_member_t *llm_walk_find(const llm_walk_t *w,
    const unsigned char *name, size_t len);
static void llm_walk_value(llm_walk_t *w);
static void llm_walk_enter(llm_walk_t *w, int event);
static void llm_walk_leave(llm_walk_t *w);


/* one bit of 64; no member has an empty name, and a key may */

#define llm_walk_hash(name, len)                                              \
    ((uint64_t) 1 << (((len) * 5 + ((len) ? (unsigned char) (name)[0] : 0))   \
                      & 63))


void
llm_walk_init(llm_walk_t *w, const llm_member_t *root, int strict)
{
    const llm_member_t  *m;

    w->root = root;
    w->strict = strict;
    w->begin = NULL;
    w->hashes = 0;

    for (m = root->members; m->len; m++) {
        w->hashes |= llm_walk_hash(m->name, m->len);
    }

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
    int          event;
    llm_json_t  *js;

    js = &w->json;

    for ( ;; ) {

        event = llm_json_next(js, pos, last);

        switch (event) {

        case LLM_JSON_KEY:
            if (w->all) {
                return event;
            }

            w->key = js->start;
            w->member = js->text ? llm_walk_find(w, js->text, js->len) : NULL;

            if (w->member == NULL) {
                llm_json_skip(js);

                if (w->depth == 1) {
                    return event;
                }
            }

            continue;

        case LLM_JSON_OBJECT:
        case LLM_JSON_ARRAY:
            llm_walk_enter(w, event);
            break;

        case LLM_JSON_OBJECT_END:
        case LLM_JSON_ARRAY_END:
            llm_walk_leave(w);
            break;

        case LLM_JSON_ERROR:
        case LLM_JSON_AGAIN:
            return event;

        default:
            llm_walk_value(w);
            return event;
        }

        if (w->member->kind || w->member->twice || w->member == w->root) {
            return event;
        }
    }
}


/* nearly all names that an event repeats are of no interest */

static const llm_member_t *
llm_walk_find(const llm_walk_t *w, const unsigned char *name, size_t len)
{
    const llm_member_t  *m;

    m = w->at[w->depth];

    if (m == w->root && !(w->hashes & llm_walk_hash(name, len))) {
        return NULL;
    }

    for (m = m->members; m->len; m++) {

        if (m->len == len
            && m->name[0] == (const char) name[0]
            && memcmp(m->name, name, len) == 0)
        {
            return m;
        }
    }

    return NULL;
}


/* an element of an array belongs to the member that has the array */

static void
llm_walk_value(llm_walk_t *w)
{
    w->element = (w->depth && w->array[w->depth]);

    if (w->element) {
        w->member = w->at[w->depth];
    }
}


static void
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


static void
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
