
/*
 * Copyright (C) nginx-cycles authors
 *
 * Prices in the shape of LiteLLM's table (USD per one unit), held as int64
 * pico-USD.  10^4 pico-USD are one micro-cent.  A cost is rounded once,
 * upward.
 */


#ifndef _LLM_PRICE_H_INCLUDED_
#define _LLM_PRICE_H_INCLUDED_


#include "llm.h"


/* dearer than this is no price but a mistake: 0.001 USD, in pico-USD */

#define LLM_PRICE_MAX  1000000000


/*
 * pico-USD per token, 0 to LLM_PRICE_MAX; -1: the table does not say.  The
 * field of the table is named beside it; input_cost_per_token_cache_hit is an
 * older name of cache_read_input_token_cost, and max_tokens of
 * max_output_tokens.
 */

typedef struct {
    int64_t          input;               /* input_cost_per_token */
    int64_t          output;              /* output_cost_per_token */
    int64_t          cache_read;          /* cache_read_input_token_cost */
    int64_t          cache_write;         /* cache_creation_input_token_cost */
    int64_t          max_output_tokens;   /* -1: not known */
} llm_price_t;


typedef struct llm_prices_s  llm_prices_t;

typedef void (*llm_price_warn_pt)(void *data, const char *text);


/*
 * An empty set of prices over a base that is consulted for models and
 * aliases not set here; base may be NULL and must live as long.  Allocated
 * with malloc(); NULL: no memory.
 */

llm_prices_t *llm_prices_create(const llm_prices_t *base);
void llm_prices_destroy(llm_prices_t *prices);


/*
 * Reads a price table, over what is loaded, under what llm_prices_set() said
 * and will say.  A bad row is skipped and told to warn(); LLM_ERROR
 * (text in err, a sentence that says what to do) when the whole is not a
 * price table.
 */

int llm_prices_load(llm_prices_t *prices, const char *json, size_t len,
    llm_price_warn_pt warn, void *data, char *err, size_t errlen);


/*
 * The operator's own price of one field of a model, over the table's: field
 * is the table's own name, value its text as in JSON.  The other fields stay
 * those of the row of this very key, in these prices or in their base as it
 * is now.  LLM_ERROR for an unknown field, a value that is no price, or one
 * over the sanity cap.
 */

int llm_prices_set(llm_prices_t *prices, const char *model, size_t model_len,
    const char *field, size_t field_len, const char *value, size_t value_len,
    char *err, size_t errlen);


/*
 * "name" is priced as "model", which is looked up like any other but for
 * aliases.  LLM_ERROR: no memory, an empty name, or an alias of itself.
 */

int llm_prices_alias(llm_prices_t *prices, const char *name, size_t name_len,
    const char *model, size_t model_len);


/*
 * The price of a model: alias, "provider/model", "model", then the same with
 * the date or version stripped, then whatever the case of the letters (the
 * dearest, if there are several).  NULL: unknown, or known without an input
 * price.  key, if not NULL, gets the key that was found; both live as long as
 * the prices.
 */

const llm_price_t *llm_prices_find(const llm_prices_t *prices,
    llm_provider_t provider, const unsigned char *model, size_t len,
    const char **key);


/*
 * Micro-cents of a usage; counts of -1 are zero.  What has no price of its
 * own, be it cached, cache-write or output, costs the input price.  Saturates
 * at INT64_MAX.
 */

int64_t llm_price_cost(const llm_price_t *price, const llm_usage_t *usage);


/*
 * Decimal text to units of 10^-scale, rounded half up: scale 12 for USD to
 * pico-USD.  -1: not a number or negative; -2: out of range.
 */

int64_t llm_decimal(const char *text, size_t len, int scale);


#endif /* _LLM_PRICE_H_INCLUDED_ */
