
/*
 * Copyright (C) nginx-cycles authors
 *
 * Prices are read from their text, never through a double.  A set of prices
 * is a hash of rows by the key in lower case, and one of aliases by name.  A
 * row is made whole: when one of its fields is set, a new one takes its
 * place.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm_price_row.h"


#define LLM_PRICE_BUCKETS    64


static void llm_draft_measure(llm_price_t *row);
static void llm_draft_session(llm_prices_t *prices, const llm_price_t *row);
static void llm_draft_sort(llm_rate_t *rates, unsigned n);
static llm_price_t **llm_hash_place(llm_price_hash_t *hash, const char *key,
    size_t len, uint32_t value);
static int llm_hash_grow(llm_price_hash_t *hash);
static void llm_hash_destroy(llm_price_hash_t *hash);


llm_prices_t *
llm_prices_create(const llm_prices_t *base)
{
    llm_prices_t  *prices;

    prices = calloc(1, sizeof(llm_prices_t));

    if (prices) {
        prices->base = base;
        prices->changes = 1;
    }

    return prices;
}


void
llm_prices_destroy(llm_prices_t *prices)
{
    if (prices) {
        llm_hash_destroy(&prices->rows);
        llm_hash_destroy(&prices->aliases);
        free(prices);
    }
}


int
llm_prices_set(llm_prices_t *prices, const char *model, size_t model_len,
    const char *field, size_t field_len, const char *value, size_t value_len,
    char *err, size_t errlen)
{
    const char          *wrong;
    llm_rate_t           rate;
    llm_draft_t          draft;
    llm_field_name_t     name;
    const llm_price_t   *row;
    const llm_prices_t  *p;

    if (llm_field_find(field, field_len, &name) != LLM_OK) {
        snprintf(err, errlen, "\"%.*s\" is not a field of a price, use for"
                 " instance input_cost_per_token or output_cost_per_token",
                 (int) field_len, field);
        return LLM_ERROR;
    }

    memset(&rate, 0, sizeof(llm_rate_t));

    wrong = llm_field_value(name.field, value, value_len, &rate.value);

    if (wrong) {
        snprintf(err, errlen, "%.*s \"%.*s\" %s", (int) field_len, field,
                 (int) value_len, value, wrong);
        return LLM_ERROR;
    }

    if (model_len == 0 || model_len > LLM_MODEL_MAX) {
        snprintf(err, errlen, "the model must have from 1 to %d bytes",
                 LLM_MODEL_MAX);
        return LLM_ERROR;
    }

    memset(&draft, 0, sizeof(llm_draft_t));

    for (p = prices; p; p = p->base) {

        row = llm_price_row(&p->rows, model, model_len);

        if (row) {
            llm_draft_copy(&draft, row, 1);
            break;
        }
    }

    rate.above = name.above;
    rate.tier = (uint8_t) name.tier;
    rate.set = 1;

    for ( /* void */ ; name.field <= name.last; name.field++) {

        rate.field = (uint8_t) name.field;

        if (llm_draft_add(&draft, &rate) != LLM_OK) {
            snprintf(err, errlen, "the model has too many prices");
            return LLM_ERROR;
        }
    }

    if (llm_draft_put(prices, &prices->rows, &draft, model, model_len, NULL,
                      0)
        != LLM_OK)
    {
        snprintf(err, errlen, "there is no memory for a price");
        return LLM_ERROR;
    }

    return LLM_OK;
}


int
llm_prices_alias(llm_prices_t *prices, const char *name, size_t name_len,
    const char *model, size_t model_len)
{
    llm_draft_t  draft;

    if (name_len == 0
        || name_len > UINT16_MAX
        || model_len == 0
        || model_len > UINT16_MAX
        || (name_len == model_len && memcmp(name, model, name_len) == 0))
    {
        return LLM_ERROR;
    }

    memset(&draft, 0, sizeof(llm_draft_t));

    return llm_draft_put(prices, &prices->aliases, &draft, name, name_len,
                         model, model_len);
}


size_t
llm_prices_count(const llm_prices_t *prices)
{
    size_t        i, n;
    llm_price_t  *row;

    n = 0;

    for (i = 0; i < prices->rows.size; i++) {
        for (row = prices->rows.buckets[i]; row; row = row->next) {
            n += (row->measures != 0);
        }
    }

    return n;
}


void
llm_prices_compare(const llm_prices_t *old, const llm_prices_t *prices,
    llm_price_changes_t *changes)
{
    size_t              i, kept;
    llm_price_t        *row;
    const llm_price_t  *before;

    memset(changes, 0, sizeof(llm_price_changes_t));

    kept = 0;

    for (i = 0; i < prices->rows.size; i++) {

        for (row = prices->rows.buckets[i]; row; row = row->next) {

            if (row->measures == 0) {
                continue;
            }

            changes->models++;

            before = llm_price_row(&old->rows, row->key, row->len);

            if (before == NULL || before->measures == 0) {
                changes->added++;
                continue;
            }

            kept++;

            if (before->nrates != row->nrates
                || memcmp(before->rates, row->rates,
                          row->nrates * sizeof(llm_rate_t))
                   != 0)
            {
                changes->changed++;
            }
        }
    }

    changes->removed = llm_prices_count(old) - kept;
}


int
llm_draft_add(llm_draft_t *draft, const llm_rate_t *rate)
{
    unsigned     i;
    llm_rate_t  *r;

    for (i = 0; i < draft->nrates; i++) {

        r = &draft->rates[i];

        if (r->field != rate->field
            || r->tier != rate->tier
            || r->above != rate->above)
        {
            continue;
        }

        /* the operator's stays, and else the newer of two names counts */

        if ((rate->set || !r->set) && (rate->set || !rate->old || r->old)) {
            *r = *rate;
        }

        return LLM_OK;
    }

    if (draft->nrates == LLM_PRICE_RATES) {
        return LLM_ERROR;
    }

    draft->rates[draft->nrates++] = *rate;

    return LLM_OK;
}


void
llm_draft_copy(llm_draft_t *draft, const llm_price_t *row, int all)
{
    unsigned  i;

    for (i = 0; i < row->nrates; i++) {
        if (all || row->rates[i].set) {
            (void) llm_draft_add(draft, &row->rates[i]);
        }
    }

    if (all) {
        draft->family = row->family;
        draft->prefixed = row->prefixed;
        draft->pictures = row->pictures;
        draft->per_prompt = row->per_prompt;
    }
}


int
llm_draft_put(llm_prices_t *prices, llm_price_hash_t *hash,
    const llm_draft_t *draft, const char *key, size_t len,
    const char *target, size_t target_len)
{
    char         *p;
    size_t        size;
    llm_price_t  *row, *old, **place;

    if (hash->count == hash->size && llm_hash_grow(hash) != LLM_OK) {
        return LLM_ERROR;
    }

    size = draft->nrates * sizeof(llm_rate_t);

    row = calloc(1, sizeof(llm_price_t) + size + len + 1 + target_len + 1);

    if (row == NULL) {
        return LLM_ERROR;
    }

    memcpy(row->rates, draft->rates, size);
    llm_draft_sort(row->rates, draft->nrates);

    p = (char *) row->rates + size;

    memcpy(p, key, len);
    row->key = p;

    if (target_len) {
        memcpy(p + len + 1, target, target_len);
        row->target = p + len + 1;
    }

    row->prices = prices;
    row->hash = llm_price_key_hash(key, len);
    row->family = draft->family;
    row->len = (uint16_t) len;
    row->target_len = (uint16_t) target_len;
    row->nrates = (uint8_t) draft->nrates;
    row->prefixed = draft->prefixed;
    row->pictures = draft->pictures;
    row->per_prompt = draft->per_prompt;

    llm_draft_measure(row);
    llm_draft_session(prices, row);

    place = llm_hash_place(hash, key, len, row->hash);
    old = *place;

    row->next = old ? old->next : NULL;
    *place = row;
    prices->changes++;

    hash->count += (old == NULL);
    free(old);

    return LLM_OK;
}


static void
llm_draft_measure(llm_price_t *row)
{
    unsigned     i;
    llm_rate_t  *r;

    for (i = 0; i < row->nrates; i++) {

        r = &row->rates[i];
        row->set |= r->set;

        switch (r->field) {

        case LLM_FIELD_INPUT:
            row->measures |= LLM_MEASURE_TOKENS;
            break;

        case LLM_FIELD_INPUT_SECOND:
        case LLM_FIELD_AUDIO_SECOND:
        case LLM_FIELD_OUTPUT_SECOND:
            row->measures |= LLM_MEASURE_SECONDS;
            break;

        case LLM_FIELD_CHARACTER:
            row->measures |= LLM_MEASURE_LETTERS;
            break;

        case LLM_FIELD_OUTPUT_IMAGE:
        case LLM_FIELD_PICTURE_IN:
        case LLM_FIELD_PICTURE_OUT:
        case LLM_FIELD_PIXEL_IN:
        case LLM_FIELD_PIXEL_OUT:
            row->measures |= LLM_MEASURE_PICTURES;
            break;

        case LLM_FIELD_QUERY:
            row->measures |= LLM_MEASURE_QUERIES;
            break;

        case LLM_FIELD_REQUEST:
            row->measures |= LLM_MEASURE_REQUESTS;
            break;

        default:
            break;
        }
    }
}


/* a container that runs a model's code has a row of its own */

static void
llm_draft_session(llm_prices_t *prices, const llm_price_t *row)
{
    unsigned  i, azure;

    static const char  *containers[] = { "openai/container",
                                         "azure/container" };

    for (i = 0; i < row->nrates; i++) {

        if (row->rates[i].field != LLM_FIELD_CODE_SESSION) {
            continue;
        }

        for (azure = 0; azure < 2; azure++) {
            if (strcmp(row->key, containers[azure]) == 0) {
                prices->session[azure] = row->rates[i].value;
            }
        }
    }
}


/* by field, so that each has its columns side by side; few are out of order */

static void
llm_draft_sort(llm_rate_t *rates, unsigned n)
{
    unsigned    i, k;
    llm_rate_t  rate;

    for (i = 1; i < n; i++) {

        rate = rates[i];

        for (k = i; k && (rates[k - 1].field > rate.field
                          || (rates[k - 1].field == rate.field
                              && (rates[k - 1].above > rate.above
                                  || (rates[k - 1].above == rate.above
                                      && rates[k - 1].tier > rate.tier))));
             k--)
        {
            rates[k] = rates[k - 1];
        }

        rates[k] = rate;
    }
}


/* FNV-1a, of the key in lower case */

uint32_t
llm_price_key_hash(const char *key, size_t len)
{
    size_t    i;
    uint32_t  ch, hash;

    hash = 2166136261u;

    for (i = 0; i < len; i++) {
        ch = (unsigned char) key[i];
        ch |= (ch >= 'A' && ch <= 'Z') ? 0x20 : 0;
        hash = (hash ^ ch) * 16777619u;
    }

    return hash;
}


const llm_price_t *
llm_price_row(const llm_price_hash_t *hash, const char *key, size_t len)
{
    uint32_t      value;
    llm_price_t  *row;

    if (hash->size == 0) {
        return NULL;
    }

    value = llm_price_key_hash(key, len);

    for (row = hash->buckets[value % hash->size]; row; row = row->next) {

        if (row->hash == value
            && row->len == len
            && memcmp(row->key, key, len) == 0)
        {
            return row;
        }
    }

    return NULL;
}


/* where the pointer to the row of that key is, or has to be */

static llm_price_t **
llm_hash_place(llm_price_hash_t *hash, const char *key, size_t len,
    uint32_t value)
{
    llm_price_t  **place;

    for (place = &hash->buckets[value % hash->size]; *place;
         place = &(*place)->next)
    {
        if ((*place)->hash == value
            && (*place)->len == len
            && memcmp((*place)->key, key, len) == 0)
        {
            break;
        }
    }

    return place;
}


static int
llm_hash_grow(llm_price_hash_t *hash)
{
    size_t         i, size;
    llm_price_t   *row, *next, **buckets, **bucket;

    size = hash->size ? hash->size * 2 : LLM_PRICE_BUCKETS;

    buckets = calloc(size, sizeof(llm_price_t *));

    if (buckets == NULL) {
        return LLM_ERROR;
    }

    for (i = 0; i < hash->size; i++) {

        for (row = hash->buckets[i]; row; row = next) {
            next = row->next;
            bucket = &buckets[row->hash % size];
            row->next = *bucket;
            *bucket = row;
        }
    }

    free(hash->buckets);

    hash->buckets = buckets;
    hash->size = size;

    return LLM_OK;
}


static void
llm_hash_destroy(llm_price_hash_t *hash)
{
    size_t        i;
    llm_price_t  *row, *next;

    for (i = 0; i < hash->size; i++) {

        for (row = hash->buckets[i]; row; row = next) {
            next = row->next;
            free(row);
        }
    }

    free(hash->buckets);
}
