
/*
 * Copyright (C) nginx-cycles authors
 *
 * Prices in the shape of LiteLLM's table (USD per one unit), held as int64
 * pico-USD.  10^4 pico-USD are one micro-cent.  A cost is rounded once,
 * upward.
 *
 *     llm_price_field.c  names of fields, and what a value may be
 *     llm_price_table.c  a table's text
 *     llm_price_row.c    rows in memory, and what an operator sets in them
 *     llm_price_find.c   which row is the price of a model
 *     llm_price_cost.c   what a usage costs
 *     llm_decimal.c      decimal text
 */


#ifndef _LLM_PRICE_H_INCLUDED_
#define _LLM_PRICE_H_INCLUDED_


#include "llm.h"


/* dearer than this is no price but a mistake; in pico-USD */

#define LLM_PRICE_MAX       1000000000             /* 0.001 USD per token */
#define LLM_PRICE_UNIT_MAX  100000000000000        /* 100 USD per any other */


typedef struct llm_price_s   llm_price_t;
typedef struct llm_prices_s  llm_prices_t;

typedef void (*llm_price_warn_pt)(void *data, const char *text);


/*
 * What is to be priced; region may be empty.  exact: by its very name, and no
 * form of it.
 */

typedef struct {
    llm_provider_t        provider;
    llm_api_t             api;
    const unsigned char  *model;
    size_t                model_len;
    const unsigned char  *region;
    size_t                region_len;
    unsigned              exact:1;
} llm_price_query_t;


/* how one table differs from another, in rows */

typedef struct {
    size_t                models;
    size_t                added;
    size_t                removed;
    size_t                changed;
} llm_price_changes_t;


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
 * is the table's own name, with a dot before a member of an object as in
 * "search_context_cost_per_query.low"; value its text as in JSON.  The other
 * fields stay those of the row of this very key, in these prices or in their
 * base as it is now.  LLM_ERROR for an unknown field, a value that is no
 * price, or one over the sanity cap.
 */

int llm_prices_set(llm_prices_t *prices, const char *model, size_t model_len,
    const char *field, size_t field_len, const char *value, size_t value_len,
    char *err, size_t errlen);


/*
 * "name" is priced as "model", which is looked up like any other but for
 * aliases, and whoever its provider is.  LLM_ERROR: no memory, an empty name,
 * or an alias of itself.
 */

int llm_prices_alias(llm_prices_t *prices, const char *name, size_t name_len,
    const char *model, size_t model_len);


/* rows with a price, those of a base not counted */

size_t llm_prices_count(const llm_prices_t *prices);

void llm_prices_compare(const llm_prices_t *old, const llm_prices_t *prices,
    llm_price_changes_t *changes);


/*
 * The price of a model: alias, "provider/region/model", "provider/model",
 * "model", then the same with the date or version stripped, then whatever the
 * case of the letters (the dearest, if there are several).  The row's
 * provider must be the query's, if both are known.  NULL: unknown, or without
 * a price that a reply of this API can be charged by.  key, if not NULL, gets
 * the key that was found; both live as long as the prices.
 */

const llm_price_t *llm_prices_find(const llm_prices_t *prices,
    const llm_price_query_t *query, const char **key);


/* the same for a model that an operator has named: of any provider */

const llm_price_t *llm_prices_find_named(const llm_prices_t *prices,
    const unsigned char *model, size_t len, const char **key);


/* whether there is an alias of that name */

int llm_prices_is_alias(const llm_prices_t *prices,
    const unsigned char *name, size_t len);


/* whether tokens have a price, and not only what is made of them */

int llm_price_has_tokens(const llm_price_t *price);


/* whether the operator has set any field of it */

int llm_price_is_set(const llm_price_t *price);


/* limits of the model in tokens; -1: the table does not say */

int64_t llm_price_max_input(const llm_price_t *price);
int64_t llm_price_max_output(const llm_price_t *price);


/*
 * Micro-cents of a usage, saturated at INT64_MAX; counts of -1 are zero.
 *
 * The column is that of usage->tier, and of the context that the input fills:
 * the highest threshold that it passes counts for the whole request.  What
 * has no price of its own costs what it is a part of; cached and cache-write
 * tokens and output without a price cost as input does.
 *
 * *unpriced, if not NULL: something was used that the row has no price for,
 * and is not in the result.  usage->cost is not looked at.
 */

int64_t llm_price_cost(const llm_price_t *price, const llm_usage_t *usage,
    unsigned *unpriced);


/* whether what a request brings may be written into a cache */

#define LLM_WRITES_UNASKED  0             /* where that is done unasked */
#define LLM_WRITES          1
#define LLM_WRITES_LONG     2             /* for an hour, or for longer */


/*
 * The same of a usage that is still to come, in the column of usage->tier:
 * its text at the dearest price that it may have in the input, and its output
 * at the dearest that there is.
 */

int64_t llm_price_most(const llm_price_t *price, const llm_usage_t *usage,
    unsigned writes);


/* micro-cents of pico-USD, rounded up */

int64_t llm_microcents(int64_t pico);


/*
 * Decimal text to units of 10^-scale, rounded half up, or up: scale 12 for
 * USD to pico-USD.  -1: not a number or negative; -2: out of range.
 */

int64_t llm_decimal(const char *text, size_t len, int scale);
int64_t llm_decimal_up(const char *text, size_t len, int scale);


#endif /* _LLM_PRICE_H_INCLUDED_ */
