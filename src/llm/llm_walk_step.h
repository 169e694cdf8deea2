
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

/* one bit of 64; no member has an empty name, and a key may */

#define llm_walk_hash(name, len)                                              \
    ((uint64_t) 1 << (((len) * 5 + ((len) ? (unsigned char) (name)[0] : 0))   \
                      & 63))


/* a call would cost more than it does; the two ends of a name overlap */

llm_json_inline int
llm_walk_same(const char *name, const unsigned char *key, size_t len)
{
    uint32_t  a, b, c, d;
    uint64_t  w, x, y, z;

    for ( /* void */ ; len > 16; len -= 8) {

        memcpy(&w, name, 8);
        memcpy(&x, key, 8);

        if (w != x) {
            return 0;
        }

        name += 8;
        key += 8;
    }

    if (len >= 8) {
        memcpy(&w, name, 8);
        memcpy(&x, key, 8);
        memcpy(&y, name + len - 8, 8);
        memcpy(&z, key + len - 8, 8);

        return ((w ^ x) | (y ^ z)) == 0;
    }

    if (len >= 4) {
        memcpy(&a, name, 4);
        memcpy(&b, key, 4);
        memcpy(&c, name + len - 4, 4);
        memcpy(&d, key + len - 4, 4);

        return ((a ^ b) | (c ^ d)) == 0;
    }

    return name[0] == (const char) key[0]
           && name[len / 2] == (const char) key[len / 2]
           && name[len - 1] == (const char) key[len - 1];
}


/* nearly all names that an event repeats are of no interest */

llm_json_inline const llm_member_t *
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


/* as llm_walk_next(), behind llm_json_begin() */

llm_json_inline int
llm_walk_event(llm_walk_t *w, const unsigned char **pos,
    const unsigned char *last)
{
    int          event;
    llm_json_t  *js;

    js = &w->json;

    for ( ;; ) {

        event = llm_json_event(js, pos, last);

        if (event == LLM_JSON_KEY) {

            if (w->all) {
                return event;
            }

            w->key = js->start;
            w->member = js->text ? llm_walk_find(w, js->text, js->len) : NULL;

            if (w->member) {
                continue;
            }

            llm_json_skip(js);

            if (w->depth == 1) {
                return event;
            }

            continue;
        }

        if (event <= LLM_JSON_AGAIN) {
            return event;
        }

        if (event >= LLM_JSON_STRING) {
            llm_walk_value(w);
            return event;
        }

        if (event == LLM_JSON_OBJECT || event == LLM_JSON_ARRAY) {
            llm_walk_enter(w, event);

        } else {
            llm_walk_leave(w);
        }

        if (w->member->kind || w->member->twice || w->member == w->root) {
            return event;
        }
    }
}


#endif /* _LLM_WALK_STEP_H_INCLUDED_ */
