
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a request may use at most, before it has used anything.
 */


#ifndef _LLM_BOUND_H_INCLUDED_
#define _LLM_BOUND_H_INCLUDED_


#include "llm.h"
#include "llm_request.h"
#include "llm_price.h"


/* factors are in 1/1000 */

typedef struct {
    llm_provider_t   provider;
    llm_api_t        api;
    int64_t          factor;              /* of this model's tokenizer */
    int64_t          margin;              /* on all that is estimated */
    int64_t          max_output;          /* where neither the request nor the
                                             table has a limit */
    int64_t          held;                /* tokens that are known to be held
                                             upstream; -1: it is not known */
} llm_bound_t;


/*
 * The usage that is to be reserved; price may be NULL.  Its output is the
 * request's limit, else the table's, else bound->max_output, for each choice;
 * state that is held upstream is what is known of it, else a whole context.
 */

void llm_bound(const llm_bound_t *bound, const llm_facts_t *facts,
    const llm_price_t *price, llm_usage_t *usage);


/*
 * Micro-cents of such a usage, whatever of it turns out to be what: its output
 * may all be of the dearest kind, its input may be written into a cache, and
 * the tier that was asked for may not be the one that it gets.
 */

int64_t llm_bound_cost(const llm_facts_t *facts, const llm_price_t *price,
    const llm_usage_t *usage);


/*
 * The factor that a model begins with, in 1/1000: the estimator is made for
 * OpenAI's newer vocabulary, others cut a text into more tokens.
 */

int64_t llm_bound_factor(const unsigned char *model, size_t len);


#endif /* _LLM_BOUND_H_INCLUDED_ */
