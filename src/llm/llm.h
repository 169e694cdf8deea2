
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the gateway knows of requests and replies of LLM providers.  Plain C:
 * no nginx header, no allocation per chunk, the bytes may be split anywhere.
 *
 *     llm_request.h   facts of a request body (model, limits, estimate)
 *     llm_reply.h     usage in a JSON or SSE reply, as it passes
 *     llm_price.h     price table and cost
 *     llm_estimate.h  tokens of a text without a tokenizer
 */


#ifndef _LLM_H_INCLUDED_
#define _LLM_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define LLM_OK          0
#define LLM_ERROR      -1
#define LLM_NOT_FOUND  -2

#define LLM_MODEL_MAX  256


/* how to read requests and replies; more dialects join here */

typedef enum {
    LLM_OPENAI = 0,                       /* OpenAI Chat Completions */
    LLM_PROVIDERS
} llm_provider_t;


/*
 * Token counts of one reply; -1 is "not reported".  Input includes cached
 * and cache-write tokens, output includes reasoning.
 */

typedef struct {
    int64_t          input;
    int64_t          output;
    int64_t          cached_input;
    int64_t          cache_write;
    int64_t          reasoning;
} llm_usage_t;


/*
 * The name of a provider as in "openai:gpt-4o", and the reverse; the latter
 * returns -1 for a name that is not known.
 */

const char *llm_provider_name(llm_provider_t provider);
int llm_provider_find(const unsigned char *name, size_t len);


#endif /* _LLM_H_INCLUDED_ */
