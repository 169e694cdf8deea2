
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a dialect is to the readers: tables.  Private to src/llm.
 */


#ifndef _LLM_DIALECT_H_INCLUDED_
#define _LLM_DIALECT_H_INCLUDED_


#include "llm_walk.h"


/* llm_member_t.kind; LLM_PLAIN is only on the way to others */

typedef enum {
    LLM_PLAIN = 0,

    /* of requests and replies */

    LLM_MODEL,
    LLM_TEXT,                             /* the model reads or writes it */

    /* of requests */

    LLM_STREAM,
    LLM_STREAM_OPTIONS,
    LLM_INCLUDE_USAGE,
    LLM_MAX_TOKENS,
    LLM_MAX_COMPLETION_TOKENS,            /* wins over LLM_MAX_TOKENS */
    LLM_CHOICES,
    LLM_MESSAGES,
    LLM_TOOLS,
    LLM_SCHEMA,                           /* all of it is text */
    LLM_IMAGE,
    LLM_AUDIO,
    LLM_AUDIO_DATA,
    LLM_FILE,
    LLM_FILE_DATA,
    LLM_VIDEO,

    /* of replies */

    LLM_FAILURE,
    LLM_USAGE,
    LLM_COUNT,                            /* slot: llm_count_t */
    LLM_CHOICE,
    LLM_CHOICE_INDEX
} llm_kind_t;


typedef enum {
    LLM_COUNT_INPUT = 0,
    LLM_COUNT_OUTPUT,
    LLM_COUNT_TOTAL,
    LLM_COUNT_CACHED,
    LLM_COUNT_CACHE_WRITE,
    LLM_COUNT_REASONING,
    LLM_COUNTS
} llm_count_t;


typedef struct {
    const llm_member_t   *request;        /* the root of each tree */
    const llm_member_t   *reply;
} llm_dialect_t;


extern const llm_dialect_t  llm_openai;

const llm_dialect_t *llm_dialect(llm_api_t api);


#endif /* _LLM_DIALECT_H_INCLUDED_ */
