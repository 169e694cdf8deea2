
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a dialect is to the readers: tables, and a few rules.  Private to
 * src/llm.
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
    LLM_VALUE,                            /* all of it is text */

    /* of requests */

    LLM_STREAM,
    LLM_STREAM_OPTIONS,
    LLM_INCLUDE_USAGE,
    LLM_LIMIT,                            /* of generated tokens */
    LLM_LIMIT_FIRST,                      /* wins over LLM_LIMIT */
    LLM_LIMIT_OPEN,                       /* a negative one is none */
    LLM_CONFIG,                           /* an object that has a limit */
    LLM_CHOICES,
    LLM_BEST_OF,
    LLM_PROMPT,                           /* texts, or ids of tokens */
    LLM_MESSAGES,
    LLM_MESSAGES_OR_TEXT,
    LLM_TOOLS,
    LLM_TOOL_CHOICE,
    LLM_TOOLS_CONFIG,                     /* an object that has the tools */
    LLM_SCHEMA,                           /* an object, all of it is text */
    LLM_THINKING,
    LLM_THINKING_BUDGET,
    LLM_TIER,
    LLM_STATE,                            /* slot: llm_state_t */
    LLM_STATE_ID,
    LLM_BACKGROUND,
    LLM_CACHE_CONTROL,
    LLM_CACHE_TTL,
    LLM_SEARCH,                           /* the model may search the web */
    LLM_SEARCH_SIZE,
    LLM_MADE_SIZE,                        /* "1024x1792" */
    LLM_MADE_QUALITY,
    LLM_GEO,
    LLM_SPEED,
    LLM_TOOL_USES,
    LLM_MADE,                             /* how many images */
    LLM_SPOKEN,                           /* text that is billed by length */
    LLM_IMAGE,
    LLM_AUDIO,
    LLM_AUDIO_DATA,
    LLM_FILE,
    LLM_FILE_DATA,
    LLM_VIDEO,
    LLM_INLINE,                           /* an object with the next two */
    LLM_MIME,
    LLM_INLINE_DATA,

    /* of replies */

    LLM_FAILURE,                          /* an object, or a text */
    LLM_FAILURE_TEXT,                     /* a text */
    LLM_USAGE,                            /* slot: llm_usage_slot_t */
    LLM_COUNT,                            /* slot: llm_count_t */
    LLM_COUNT_ADDED,                      /* one of several that add up */
    LLM_COUNTED,                          /* input alone: nothing is made */
    LLM_DETAILS,                          /* slot: llm_details_t */
    LLM_DETAIL_COUNT,
    LLM_ITERATIONS,                       /* some of them are beside usage */
    LLM_ITERATION_COUNT,                  /* slot: llm_more_t */
    LLM_WORD,                             /* slot: llm_word_t */
    LLM_ELEMENTS,                         /* they are counted, slot as above */
    LLM_MILLISECONDS,                     /* it is in seconds */
    LLM_COST,                             /* slot: llm_cost_t */
    LLM_TURN,                             /* slot: llm_turn_t */
    LLM_BYOK,
    LLM_DONE,                             /* true: nothing follows */
    LLM_ITEMS,                            /* of which some are tools' calls */
    LLM_PICTURE,                          /* an image that was made */
    LLM_BASE64,                           /* of another JSON text */
    LLM_CHOICE,
    LLM_CHOICE_INDEX
} llm_kind_t;


/* what a provider reports; the conventions are in llm_usage.c */

typedef enum {
    LLM_COUNT_INPUT = 0,
    LLM_COUNT_INPUT_TOOLS,                /* beside LLM_COUNT_INPUT */
    LLM_COUNT_CACHED,                     /* inside of it */
    LLM_COUNT_CACHED_APART,               /* beside it */
    LLM_COUNT_WRITE,
    LLM_COUNT_WRITE_APART,
    LLM_COUNT_WRITE_1H,
    LLM_COUNT_OUTPUT,
    LLM_COUNT_REASONING,                  /* inside of LLM_COUNT_OUTPUT */
    LLM_COUNT_REASONING_APART,
    LLM_COUNT_REASONING_SOMEWHERE,        /* apart if searches are counted */
    LLM_COUNT_TOTAL,
    LLM_COUNT_INPUT_AUDIO,
    LLM_COUNT_INPUT_IMAGE,
    LLM_COUNT_INPUT_VIDEO,
    LLM_COUNT_CACHED_AUDIO,
    LLM_COUNT_OUTPUT_AUDIO,
    LLM_COUNT_OUTPUT_IMAGE,
    LLM_COUNT_CITATIONS,
    LLM_COUNT_SEARCHES,
    LLM_COUNT_QUERIES,
    LLM_COUNT_IMAGES,
    LLM_COUNT_CHARACTERS,
    LLM_COUNT_MS,
    LLM_COUNT_MORE,                       /* llm_more_t from here on */
    LLM_COUNTS = LLM_COUNT_MORE + 5
} llm_count_t;


/* what is beside the input, of whichever kind, and beside the output */

typedef enum {
    LLM_MORE_INPUT = 0,
    LLM_MORE_CACHED,
    LLM_MORE_WRITE,
    LLM_MORE_WRITE_1H,
    LLM_MORE_OUTPUT
} llm_more_t;


typedef enum {
    LLM_USAGE_FINAL = 0,
    LLM_USAGE_EARLY,                      /* its output is a placeholder */
    LLM_USAGE_LAST                        /* nothing follows */
} llm_usage_slot_t;


/* a list of objects, each with a word and a count */

typedef enum {
    LLM_DETAILS_INPUT = 0,                /* the word is a modality */
    LLM_DETAILS_CACHED,
    LLM_DETAILS_OUTPUT,
    LLM_DETAILS_WRITE,                    /* the word is a lifetime */
    LLM_DETAILS_TOOLS                     /* the word is a tool */
} llm_details_t;


typedef enum {
    LLM_WORD_TYPE = 0,                    /* of an event */
    LLM_WORD_STATUS,
    LLM_WORD_FINISH,                      /* any reason will do */
    LLM_WORD_ITEM,
    LLM_WORD_DETAIL,
    LLM_WORD_ITERATION,
    LLM_WORD_TIER,
    LLM_WORD_GEO,
    LLM_WORD_SPEED
} llm_word_t;


/* slots of LLM_COST and of the reader's counts of calls */

typedef enum {
    LLM_COST_USD = 0,
    LLM_COST_TICKS,                       /* 10^-10 USD */
    LLM_COST_UPSTREAM                     /* USD, on a key of one's own */
} llm_cost_t;


/* what a request continues, and whether its name tells what it is */

typedef enum {
    LLM_STATE_OTHER = 0,
    LLM_STATE_TURN,                       /* a reply, or a list of them */
    LLM_STATE_CACHED
} llm_state_t;


/* names by which a reply may be continued */

typedef enum {
    LLM_TURN_REPLY = 0,
    LLM_TURN_CONVERSATION
} llm_turn_t;


/* llm_dialect_t.rules */

#define LLM_RULE_NO_OUTPUT  0x01          /* input is all that is counted */
#define LLM_RULE_SUM        0x02          /* each usage is one of many */
#define LLM_RULE_LINES      0x04          /* JSON comes a text a line */
#define LLM_RULE_STREAMS    0x08          /* unless the request says no */
#define LLM_RULE_LENIENT    0x10          /* any request will do */


typedef struct {
    const llm_member_t   *request;        /* the root of each tree */
    const llm_member_t   *reply;
    unsigned              rules;
} llm_dialect_t;


/* a member that is no more than a value, or only leads to other members */

#define llm_leaf(name, kind, slot)                                            \
    { llm_member_name(name), kind, 0, slot, NULL, NULL, NULL }

#define llm_node(name, kind, flags, members)                                  \
    { llm_member_name(name), kind, flags, 0, members, NULL, NULL }

#define llm_list(name, kind, slot, members)                                   \
    { llm_member_name(name), kind, LLM_WALK_ARRAY, slot, members, NULL, NULL }

/* a member that is none to the reader, and is found at once; no request's */

#define llm_ignored(name)                                                     \
    { llm_member_name(name), LLM_PLAIN, LLM_WALK_IGNORED, 0, NULL, NULL, NULL }

/* a member that may be there only once, and what its value must be */

#define llm_fact(name, kind, slot, flags, members, must)                      \
    { llm_member_name(name), kind, flags, slot, members,                      \
      "member \"" name "\" is there twice",                                   \
      "member \"" name "\" must be " must }

#define llm_limit(name, kind, slot)                                           \
    llm_fact(name, kind, slot, 0, NULL, "a whole number of at least 1")


extern const llm_dialect_t  llm_chat;
extern const llm_dialect_t  llm_completions;
extern const llm_dialect_t  llm_embeddings;
extern const llm_dialect_t  llm_responses;
extern const llm_dialect_t  llm_images;
extern const llm_dialect_t  llm_transcriptions;
extern const llm_dialect_t  llm_speech;
extern const llm_dialect_t  llm_realtime;
extern const llm_dialect_t  llm_messages;
extern const llm_dialect_t  llm_batch_results;
extern const llm_dialect_t  llm_generate;
extern const llm_dialect_t  llm_gemini_embed;
extern const llm_dialect_t  llm_interactions;
extern const llm_dialect_t  llm_predict;
extern const llm_dialect_t  llm_converse;
extern const llm_dialect_t  llm_invoke;
extern const llm_dialect_t  llm_cohere_chat;
extern const llm_dialect_t  llm_cohere_embed;
extern const llm_dialect_t  llm_ollama;
extern const llm_dialect_t  llm_llamacpp;
extern const llm_dialect_t  llm_other;

/* parts of dialects that others share */

extern const llm_member_t   llm_no_members[];
extern const llm_member_t   llm_openai_reply;
extern const llm_member_t   llm_openai_choice[];
extern const llm_member_t   llm_openai_input_details[];
extern const llm_member_t   llm_openai_output_details[];
extern const llm_member_t   llm_messages_creation[];
extern const llm_member_t   llm_messages_details[];
extern const llm_member_t   llm_messages_reply_block[];
extern const llm_member_t   llm_messages_delta[];
extern const llm_member_t   llm_messages_start[];
extern const llm_member_t   llm_messages_metrics[];

/* the outer text of an event of Bedrock's InvokeModelWithResponseStream */

extern const llm_member_t   llm_invoke_chunk;

const llm_dialect_t *llm_dialect(llm_api_t api);


/* the price column that a provider's word for it means */

llm_tier_t llm_tier_find(const unsigned char *name, size_t len);


/* and the size of a search */

llm_search_t llm_search_size(const unsigned char *name, size_t len);


/* what was reported, by the conventions of llm_usage_t */

void llm_usage_derive(llm_usage_t *usage, const int64_t *counts,
    unsigned early);


#endif /* _LLM_DIALECT_H_INCLUDED_ */
