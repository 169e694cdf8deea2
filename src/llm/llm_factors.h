
/*
 * Copyright (C) nginx-cycles authors
 *
 * How many tokens the models' own tokenizers make of a token of our estimate:
 * learned from what providers report, in memory that processes share.  No
 * lock: what is lost in a race is one of many observations.
 */


#ifndef _LLM_FACTORS_H_INCLUDED_
#define _LLM_FACTORS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* factors are in 1/1000, from the first to the second of these */

#define LLM_FACTOR_LEAST  500
#define LLM_FACTOR_MOST   3000

/* an estimate of less tells more of a message's frame than of a tokenizer */

#define LLM_FACTOR_TOKENS 128

#define LLM_FACTORS       1024


typedef struct {
    uint64_t         key;                 /* of a model; 0: not taken */
    uint64_t         value;               /* factor in 10^-6, observations */
} llm_factor_slot_t;


/* zeroed memory is an empty table */

typedef struct {
    llm_factor_slot_t  slots[LLM_FACTORS];
} llm_factors_t;


/* of a name that means one model, as of a provider */

uint64_t llm_factor_key(const char *provider, const unsigned char *model,
    size_t len);


/* for what the model writes, where key is for what it reads */

uint64_t llm_factor_output_key(uint64_t key);


/* first, as long as too little has been learned; factors may be NULL */

int64_t llm_factor_get(const llm_factors_t *factors, uint64_t key,
    int64_t first);


/*
 * A request whose text was estimated at so many tokens has had so many.  What
 * is estimated at less than LLM_FACTOR_TOKENS does not count, nor what has had
 * less than a quarter of that.
 */

void llm_factor_learn(llm_factors_t *factors, uint64_t key,
    int64_t estimated, int64_t actual);


#endif /* _LLM_FACTORS_H_INCLUDED_ */
