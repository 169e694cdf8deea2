
/*
 * Copyright (C) nginx-cycles authors
 *
 * A row of a price table in memory.  Private to llm_price_*.c.
 */


#ifndef _LLM_PRICE_ROW_H_INCLUDED_
#define _LLM_PRICE_ROW_H_INCLUDED_


#include "llm_price.h"


/* pico-USD in a micro-cent */

#define LLM_PRICE_MICROCENT  10000

/* 1 as a factor */

#define LLM_PRICE_ONE        1000000

/* fields and columns of one row */

#define LLM_PRICE_RATES      160


/*
 * What a row can say.  The name in the table is beside it, but for the
 * suffixes of columns, which llm_price_field.c reads off.
 */

typedef enum {

    /* pico-USD per token */

    LLM_FIELD_INPUT = 0,                  /* input_cost_per_token */
    LLM_FIELD_OUTPUT,                     /* output_cost_per_token */
    LLM_FIELD_REASONING,                  /* output_cost_per_reasoning_token */
    LLM_FIELD_CACHE_READ,                 /* cache_read_input_token_cost */
    LLM_FIELD_CACHE_WRITE,                /* cache_creation_input_token_cost */
    LLM_FIELD_CACHE_WRITE_1H,             /* ... _above_1hr */
    LLM_FIELD_CACHE_WRITE_12H,            /* ... _above_12hr */
    LLM_FIELD_INPUT_AUDIO,                /* input_cost_per_audio_token */
    LLM_FIELD_CACHE_READ_AUDIO,      /* cache_read_input_audio_token_cost */
    LLM_FIELD_OUTPUT_AUDIO,               /* output_cost_per_audio_token */
    LLM_FIELD_INPUT_IMAGE,                /* input_cost_per_image_token */
    LLM_FIELD_OUTPUT_IMAGE,               /* output_cost_per_image_token */
    LLM_FIELD_INPUT_VIDEO,                /* input_cost_per_video_token */
    LLM_FIELD_CITATION,                   /* citation_cost_per_token */

    /* pico-USD per something else */

    LLM_FIELD_INPUT_SECOND,               /* input_cost_per_second */
    LLM_FIELD_AUDIO_SECOND,               /* input_cost_per_audio_per_second */
    LLM_FIELD_OUTPUT_SECOND,              /* output_cost_per_second */
    LLM_FIELD_CHARACTER,                  /* input_cost_per_character */
    LLM_FIELD_PICTURE_IN,                 /* input_cost_per_image */
    LLM_FIELD_PICTURE_OUT,                /* output_cost_per_image */
    LLM_FIELD_PIXEL_IN,                   /* input_cost_per_pixel */
    LLM_FIELD_PIXEL_OUT,                  /* output_cost_per_pixel */
    LLM_FIELD_QUERY,                      /* input_cost_per_query */
    LLM_FIELD_REQUEST,                    /* input_cost_per_request */
    LLM_FIELD_SEARCH_LOW,                 /* search_context_cost_per_query */
    LLM_FIELD_SEARCH_MEDIUM,
    LLM_FIELD_SEARCH_HIGH,
    LLM_FIELD_FILE_SEARCH,                /* file_search_cost_per_1k_calls */
    LLM_FIELD_CODE_SESSION,      /* code_interpreter_cost_per_session */

    /* factors, LLM_PRICE_ONE is 1 */

    LLM_FIELD_FACTOR_US,
    LLM_FIELD_FACTOR_EU,
    LLM_FIELD_FACTOR_REGION,    /* regional_endpoint_uplift_multiplier */
    LLM_FIELD_FACTOR_FAST,

    LLM_FIELDS_PRICED,

    /* tokens */

    LLM_FIELD_MAX_INPUT = LLM_FIELDS_PRICED,
    LLM_FIELD_MAX_OUTPUT,

    LLM_FIELDS
} llm_field_t;


/* a field in one column */

typedef struct {
    int64_t              value;
    uint32_t             above;           /* tokens; 0: any input */
    uint8_t              field;           /* llm_field_t */
    uint8_t              tier;            /* llm_tier_t */
    uint8_t              set;             /* by the operator */
    uint8_t              old;             /* its field has a newer name */
} llm_rate_t;


/* whose row it is, as litellm_provider says */

#define LLM_FAMILY_OPENAI      0x00001
#define LLM_FAMILY_AZURE       0x00002
#define LLM_FAMILY_AZURE_AI    0x00004
#define LLM_FAMILY_ANTHROPIC   0x00008
#define LLM_FAMILY_GEMINI      0x00010
#define LLM_FAMILY_VERTEX      0x00020
#define LLM_FAMILY_BEDROCK     0x00040
#define LLM_FAMILY_MISTRAL     0x00080
#define LLM_FAMILY_COHERE      0x00100
#define LLM_FAMILY_GROQ        0x00200
#define LLM_FAMILY_DEEPSEEK    0x00400
#define LLM_FAMILY_XAI         0x00800
#define LLM_FAMILY_TOGETHER    0x01000
#define LLM_FAMILY_FIREWORKS   0x02000
#define LLM_FAMILY_OPENROUTER  0x04000
#define LLM_FAMILY_PERPLEXITY  0x08000
#define LLM_FAMILY_CEREBRAS    0x10000
#define LLM_FAMILY_OLLAMA      0x20000
#define LLM_FAMILY_VLLM        0x40000
#define LLM_FAMILY_OTHER       0x80000

#define LLM_FAMILY_ANY         0xfffff


/* what a row has prices for */

#define LLM_MEASURE_TOKENS     0x01
#define LLM_MEASURE_SECONDS    0x02
#define LLM_MEASURE_LETTERS    0x04
#define LLM_MEASURE_PICTURES   0x08
#define LLM_MEASURE_QUERIES    0x10
#define LLM_MEASURE_REQUESTS   0x20

#define LLM_MEASURE_ANY        0x3f


struct llm_price_s {
    llm_price_t         *next;            /* in its bucket */
    const llm_prices_t  *prices;          /* it is of these */
    uint32_t             hash;            /* of the key in lower case */
    uint32_t             family;          /* 0: not known */
    uint16_t             len;             /* of the key */
    uint16_t             target_len;      /* it is another name of that key */
    uint8_t              nrates;
    uint8_t              measures;
    uint8_t              prefixed;        /* its key begins with its provider */
    uint8_t              pictures;        /* it makes images */
    uint8_t              per_prompt;      /* searches for one are billed once */
    uint8_t              set;             /* by the operator, at least one */
    const char          *key;             /* behind the rates */
    const char          *target;          /* behind the key */
    llm_rate_t           rates[];         /* each field and column once */
};


typedef struct {
    llm_price_t        **buckets;
    size_t               size;
    size_t               count;
} llm_price_hash_t;


/* what was asked for, and found; the same models are asked for again */

#define LLM_PRICE_ANSWERS  64
#define LLM_PRICE_QUERY    80             /* a longer one is not kept */

typedef struct {
    uint64_t             changes;         /* of the prices, then; 0: nothing */
    const llm_price_t   *price;
    const char          *key;
    unsigned char        provider;
    unsigned char        api;
    unsigned char        exact;
    unsigned char        model_len;
    unsigned char        region_len;
    char                 text[LLM_PRICE_QUERY];       /* model, region */
} llm_price_answer_t;


struct llm_prices_s {
    const llm_prices_t  *base;
    uint64_t             changes;
    int64_t              session[2];      /* of OpenAI and Azure; 0: none */
    llm_price_hash_t     rows;
    llm_price_hash_t     aliases;
    llm_price_answer_t   answers[LLM_PRICE_ANSWERS];
};


/* a row that is being made */

typedef struct {
    llm_rate_t           rates[LLM_PRICE_RATES];
    unsigned             nrates;
    uint32_t             family;
    unsigned             prefixed:1;
    unsigned             pictures:1;
    unsigned             per_query:1;
    unsigned             per_prompt:1;
} llm_draft_t;


/* a field and a column by the table's name for both */

typedef struct {
    const char          *name;            /* of the field, static */
    unsigned             field;
    unsigned             last;            /* and all up to this one */
    unsigned             tier;
    uint32_t             above;
    unsigned             old;
} llm_field_name_t;


/* llm_price_field.c */

/* LLM_NOT_FOUND: no field that counts here has such a name */

int llm_field_find(const char *text, size_t len, llm_field_name_t *name);

/* what is wrong with the value, or NULL */

const char *llm_field_value(unsigned field, const char *text, size_t len,
    int64_t *value);

uint32_t llm_family_find(const char *text, size_t len);


/* llm_price_row.c */

/* LLM_ERROR: there is no room for it */

int llm_draft_add(llm_draft_t *draft, const llm_rate_t *rate);

/* what another row says, all of it or only what the operator has set there */

void llm_draft_copy(llm_draft_t *draft, const llm_price_t *row, int all);

/* the row takes the place of the one of its key; LLM_ERROR: no memory */

int llm_draft_put(llm_prices_t *prices, llm_price_hash_t *hash,
    const llm_draft_t *draft, const char *key, size_t len,
    const char *target, size_t target_len);

uint32_t llm_price_key_hash(const char *key, size_t len);

/* NULL: there is none of that key */

const llm_price_t *llm_price_row(const llm_price_hash_t *hash,
    const char *key, size_t len);


#endif /* _LLM_PRICE_ROW_H_INCLUDED_ */
