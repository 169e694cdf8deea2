
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the values of a reply mean.  Private to src/llm.
 */


#ifndef _LLM_REPLY_VALUE_H_INCLUDED_
#define _LLM_REPLY_VALUE_H_INCLUDED_


#include "llm_reply.h"
#include "llm_dialect.h"


/* an event of rp->walk */

void llm_reply_value(llm_reply_t *rp, int event);


/* takes over what rp->fresh has, if that is a usage */

void llm_reply_usage(llm_reply_t *rp);


/* rp->usage and what belongs to it, from what was counted */

void llm_reply_results(llm_reply_t *rp);


#endif /* _LLM_REPLY_VALUE_H_INCLUDED_ */
