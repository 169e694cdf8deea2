
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the values of a reply mean.  Private to src/llm.
 */


#ifndef _LLM_REPLY_VALUE_H_INCLUDED_
#define _LLM_REPLY_VALUE_H_INCLUDED_


#include <string.h>

#include "llm_reply.h"
#include "llm_dialect.h"


/* the next n bytes of a JSON text */

void llm_reply_json(llm_reply_t *rp, const unsigned char *p, size_t n);


/* the text of a choice goes on with n bytes that are a string of their own */

void llm_reply_add_text(llm_reply_t *rp, unsigned choice,
    const unsigned char *p, size_t n, int escaped);


static inline void
llm_counts_init(llm_counts_t *counts)
{
    counts->set = 0;
    memset(counts->count, 0xff, sizeof(counts->count));
}


static inline void
llm_counts_set(llm_counts_t *counts, unsigned slot, int64_t count)
{
    counts->set |= (uint32_t) 1 << slot;
    counts->count[slot] = count;
}


/* takes over what rp->fresh has, if that is a usage */

void llm_reply_usage(llm_reply_t *rp);


/* rp->usage and what belongs to it, from what was counted */

void llm_reply_results(llm_reply_t *rp);


#endif /* _LLM_REPLY_VALUE_H_INCLUDED_ */
