
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the gateway knows of requests and replies of LLM providers.  Plain C:
 * no nginx header, no allocation per chunk, the bytes may be split anywhere.
 *
 *     llm_route.h     provider, API and model of a request's path
 *     llm_request.h   facts of a request body (model, limits, estimate)
 *     llm_reply.h     usage in a reply, as it passes
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


/*
 * Who is behind the gateway, and under which names "cycles_provider" and
 * $cycles_provider know it.
 */

typedef enum {
    LLM_OPENAI = 0,
    LLM_OPENAI_RESPONSES,
    LLM_OPENAI_IMAGES,
    LLM_OPENAI_AUDIO,
    LLM_OPENAI_REALTIME,
    LLM_AZURE,
    LLM_ANTHROPIC,
    LLM_ANTHROPIC_BATCH,
    LLM_GEMINI,
    LLM_GEMINI_OPENAI,
    LLM_GEMINI_INTERACTIONS,
    LLM_VERTEX,                           /* Gemini, and what speaks OpenAI */
    LLM_VERTEX_PREDICT,
    LLM_VERTEX_ANTHROPIC,
    LLM_BEDROCK,                          /* what speaks OpenAI there */
    LLM_BEDROCK_CONVERSE,
    LLM_BEDROCK_INVOKE,
    LLM_MISTRAL,
    LLM_COHERE,
    LLM_GROQ,
    LLM_DEEPSEEK,
    LLM_XAI,
    LLM_TOGETHER,
    LLM_FIREWORKS,
    LLM_OPENROUTER,
    LLM_PERPLEXITY,
    LLM_CEREBRAS,
    LLM_VLLM,
    LLM_LLAMACPP,
    LLM_OLLAMA,
    LLM_OLLAMA_V1,
    LLM_OTHER,                            /* not known: guarded all the same */
    LLM_PROVIDERS
} llm_provider_t;


/* how a request and its reply are read; several providers share an API */

typedef enum {
    LLM_API_OTHER = 0,                    /* not known */
    LLM_API_CHAT,                         /* OpenAI's, and its dialects */
    LLM_API_COMPLETIONS,
    LLM_API_RESPONSES,
    LLM_API_EMBEDDINGS,
    LLM_API_IMAGES,
    LLM_API_TRANSCRIPTIONS,
    LLM_API_SPEECH,
    LLM_API_REALTIME,                     /* its events, one a line */
    LLM_API_MESSAGES,                     /* Anthropic's, whoever hosts it */
    LLM_API_BATCH_RESULTS,                /* Anthropic's */
    LLM_API_GENERATE,                     /* Gemini's generateContent */
    LLM_API_GEMINI_EMBED,
    LLM_API_INTERACTIONS,
    LLM_API_PREDICT,                      /* Vertex */
    LLM_API_CONVERSE,                     /* Bedrock */
    LLM_API_INVOKE,                       /* Bedrock: each model its own */
    LLM_API_COHERE_CHAT,
    LLM_API_COHERE_EMBED,                 /* and rerank */
    LLM_API_OLLAMA,                       /* /api/chat, generate, embed */
    LLM_API_LLAMACPP,                     /* /completion */
    LLM_APIS
} llm_api_t;


/* the price column that a request is billed by */

typedef enum {
    LLM_TIER_DEFAULT = 0,
    LLM_TIER_FLEX,
    LLM_TIER_PRIORITY,                    /* "fast" of OpenAI as well */
    LLM_TIER_ULTRAFAST,
    LLM_TIER_BATCH
} llm_tier_t;


/* where a model ran, if that has a price of its own */

typedef enum {
    LLM_GEO_DEFAULT = 0,
    LLM_GEO_US,
    LLM_GEO_EU,
    LLM_GEO_REGION                        /* any one of Vertex */
} llm_geo_t;


/* how much a web search may bring into the context */

typedef enum {
    LLM_SEARCH_MEDIUM = 0,                /* or not told */
    LLM_SEARCH_LOW,
    LLM_SEARCH_HIGH
} llm_search_t;


/*
 * What one reply has used; -1 is "not reported".  Whatever the provider's
 * own convention: input includes cached and cache-write tokens, output
 * includes reasoning, and each "part of" is inside what it is a part of.
 */

typedef struct {

    /* tokens */

    int64_t          input;
    int64_t          output;
    int64_t          cached_input;        /* part of input */
    int64_t          cache_write;         /* part of input, of any lifetime */
    int64_t          cache_write_1h;      /* part of cache_write */
    int64_t          reasoning;           /* part of output */
    int64_t          input_audio;         /* part of input */
    int64_t          input_image;         /* part of input */
    int64_t          input_video;         /* part of input */
    int64_t          cached_audio;        /* part of both of these */
    int64_t          output_audio;        /* part of output */
    int64_t          output_image;        /* part of output */
    int64_t          citations;           /* beside input */

    /* what is not billed by tokens */

    int64_t          web_searches;        /* calls of a tool */
    int64_t          file_searches;
    int64_t          code_sessions;
    int64_t          images;              /* that were made */
    int64_t          pixels;              /* of these */
    int64_t          characters;          /* of the input */
    int64_t          audio_ms;            /* of the input, milliseconds */
    int64_t          queries;             /* of search and rerank */

    /* what the provider itself says that it costs, pico-USD */

    int64_t          cost;

    /* which price it is; the reply's word if it has one */

    llm_tier_t       tier;
    llm_geo_t        geo;
    llm_search_t     search;
    unsigned         fast;                /* Anthropic's "speed" */
    unsigned         tier_known;          /* the reply has named it */
} llm_usage_t;


/* nothing is reported */

void llm_usage_init(llm_usage_t *usage);


/*
 * The name of a provider as in "openai:gpt-4o", and the reverse; the latter
 * returns -1 for a name that is not known.
 */

const char *llm_provider_name(llm_provider_t provider);
int llm_provider_find(const unsigned char *name, size_t len);


#endif /* _LLM_H_INCLUDED_ */
