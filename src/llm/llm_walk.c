
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_walk_step.h"


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
            w->hashes |= llm_walk_hash(m->name, m->len);
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

    event = llm_walk_event(w, &p, last);

    w->json.offset = llm_json_position(&w->json, p);
    *pos = p;

    return event;
}
