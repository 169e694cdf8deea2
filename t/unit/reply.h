
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies that are read in pieces, for the tests of their readers.
 */


#ifndef _REPLY_H_INCLUDED_
#define _REPLY_H_INCLUDED_


#include <stdlib.h>
#include <string.h>

#include "llm/llm_reply.h"


/* in memory of its own, so that a sanitizer sees its end */

static inline void
reply_piece(llm_reply_t *rp, const char *text, size_t n)
{
    unsigned char  *copy;

    copy = malloc(n);

    if (copy == NULL) {
        exit(2);
    }

    memcpy(copy, text, n);
    llm_reply_feed(rp, copy, n);
    free(copy);
}


static inline void
reply_feed(llm_reply_t *rp, const char *text, size_t n, size_t step)
{
    size_t  i, size;

    for (i = 0; i < n; i += size) {
        size = (step < n - i) ? step : n - i;
        reply_piece(rp, text + i, size);
    }

    llm_reply_finish(rp);
}


/* what was there before is nothing that it may rely on */

static inline void
reply_read(llm_reply_t *rp, llm_api_t api, llm_reply_format_t format,
    const char *text, size_t n, size_t step)
{
    memset(rp, 0xaa, sizeof(llm_reply_t));

    llm_reply_init(rp, api, format);
    reply_feed(rp, text, n, step);
}


/* all that is known of a reply, however it was cut */

static inline int
reply_same(const llm_reply_t *a, const llm_reply_t *b)
{
    return memcmp(&a->usage, &b->usage, sizeof(llm_usage_t)) == 0
           && a->model_len == b->model_len
           && memcmp(a->model, b->model, a->model_len) == 0
           && a->output_tokens == b->output_tokens
           && a->estimate.sum == b->estimate.sum
           && memcmp(a->turns, b->turns, sizeof(a->turns)) == 0
           && a->usage_seen == b->usage_seen
           && a->early == b->early
           && a->later == b->later
           && a->done == b->done
           && a->error == b->error
           && a->pending == b->pending
           && a->unreadable == b->unreadable;
}


#endif /* _REPLY_H_INCLUDED_ */
