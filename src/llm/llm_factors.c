
/*
 * Copyright (C) nginx-cycles authors
 *
 * A model has one of a few slots that its key leads to; where all of them are
 * taken, it does not learn.  A factor is the average of the first sixteen
 * observations, before which it does not count, and then one in which the
 * latest weighs a sixteenth.
 */


#include <string.h>

#include "llm_factors.h"
#include "llm_text.h"


#define LLM_FACTOR_PROBES  8
#define LLM_FACTOR_SEEN    16
#define LLM_FACTOR_ODD     4


/* a factor in a slot is in 10^-6 */

#define LLM_FACTOR_UNIT    1000


static llm_factor_slot_t *llm_factor_slot(llm_factors_t *factors,
    uint64_t key, int take);


uint64_t
llm_factor_key(const char *provider, const unsigned char *model, size_t len)
{
    uint64_t  hash;

    hash = llm_hash(LLM_HASH, (const unsigned char *) provider,
                    strlen(provider));

    return llm_hash(hash, model, len);
}


uint64_t
llm_factor_output_key(uint64_t key)
{
    return ~key ? ~key : 1;
}


int64_t
llm_factor_get(const llm_factors_t *factors, uint64_t key, int64_t first)
{
    uint64_t            value;
    llm_factor_slot_t  *slot;

    if (factors == NULL) {
        return first;
    }

    slot = llm_factor_slot((llm_factors_t *) factors, key, 0);

    value = slot ? __atomic_load_n(&slot->value, __ATOMIC_RELAXED) : 0;

    if ((value & 0xffffffff) < LLM_FACTOR_SEEN) {
        return first;
    }

    return (int64_t) ((value >> 32) + LLM_FACTOR_UNIT / 2) / LLM_FACTOR_UNIT;
}


void
llm_factor_learn(llm_factors_t *factors, uint64_t key, int64_t estimated,
    int64_t actual)
{
    int64_t             factor, seen, ratio;
    uint64_t            value, next;
    llm_factor_slot_t  *slot;

    /* no tokenizer makes so little of a text: it was not this text */

    if (factors == NULL
        || estimated < LLM_FACTOR_TOKENS
        || actual < estimated / LLM_FACTOR_ODD)
    {
        return;
    }

    slot = llm_factor_slot(factors, key, 1);

    if (slot == NULL) {
        return;
    }

    /* both counts are below 2^60 */

    if (actual / LLM_FACTOR_MOST >= estimated / 1000 + 1) {
        ratio = LLM_FACTOR_MOST * LLM_FACTOR_UNIT;

    } else {
        ratio = (int64_t) ((unsigned __int128) actual * 1000 * LLM_FACTOR_UNIT
                           / (uint64_t) estimated);
    }

    if (ratio > LLM_FACTOR_MOST * LLM_FACTOR_UNIT) {
        ratio = LLM_FACTOR_MOST * LLM_FACTOR_UNIT;
    }

    if (ratio < LLM_FACTOR_LEAST * LLM_FACTOR_UNIT) {
        ratio = LLM_FACTOR_LEAST * LLM_FACTOR_UNIT;
    }

    value = __atomic_load_n(&slot->value, __ATOMIC_RELAXED);

    factor = (int64_t) (value >> 32);
    seen = (int64_t) (value & 0xffffffff);

    seen += (seen < LLM_FACTOR_SEEN);
    factor += (ratio - factor) / seen;

    next = (uint64_t) factor << 32 | (uint64_t) seen;

    (void) __atomic_compare_exchange_n(&slot->value, &value, next, 0,
                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}


/* NULL: it has none, and gets none */

static llm_factor_slot_t *
llm_factor_slot(llm_factors_t *factors, uint64_t key, int take)
{
    unsigned            i;
    uint64_t            found;
    llm_factor_slot_t  *slot;

    for (i = 0; i < LLM_FACTOR_PROBES; i++) {

        slot = &factors->slots[(key + i) % LLM_FACTORS];
        found = __atomic_load_n(&slot->key, __ATOMIC_RELAXED);

        if (found == 0 && take
            && __atomic_compare_exchange_n(&slot->key, &found, key, 0,
                                           __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED))
        {
            return slot;
        }

        /* another may have taken it meanwhile */

        if (found == key) {
            return slot;
        }

        if (found == 0) {
            return NULL;
        }
    }

    return NULL;
}
