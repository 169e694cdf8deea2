
/*
 * Copyright (C) nginx-cycles authors
 *
 * A name has one of a few slots that its key leads to, and takes the one that
 * has not been written for the longest time.  No lock: in a race one of two
 * names is forgotten.
 */


#include "llm_turns.h"


#define LLM_TURNS_PROBES  8


void
llm_turns_put(llm_turns_t *turns, uint64_t key, int64_t tokens, uint32_t now)
{
    unsigned          i;
    uint64_t          found, value;
    llm_turn_slot_t  *slot, *oldest;

    if (turns == NULL || key == 0 || tokens < 0) {
        return;
    }

    if (tokens > UINT32_MAX) {
        tokens = UINT32_MAX;
    }

    oldest = NULL;

    for (i = 0; i < LLM_TURNS_PROBES; i++) {

        slot = &turns->slots[(key + i) % LLM_TURNS_SLOTS];
        found = __atomic_load_n(&slot->key, __ATOMIC_RELAXED);

        if (found == key || found == 0) {
            oldest = slot;
            break;
        }

        value = __atomic_load_n(&slot->value, __ATOMIC_RELAXED);

        if (oldest == NULL
            || (int32_t) ((uint32_t) value - (uint32_t) oldest->value) < 0)
        {
            oldest = slot;
        }
    }

    /* nobody finds the slot while it is neither this nor that */

    __atomic_store_n(&oldest->key, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&oldest->value, (uint64_t) tokens << 32 | now,
                     __ATOMIC_RELEASE);
    __atomic_store_n(&oldest->key, key, __ATOMIC_RELEASE);
}


int64_t
llm_turns_get(const llm_turns_t *turns, uint64_t key)
{
    unsigned                i;
    uint64_t                value;
    const llm_turn_slot_t  *slot;

    if (turns == NULL || key == 0) {
        return -1;
    }

    for (i = 0; i < LLM_TURNS_PROBES; i++) {

        slot = &turns->slots[(key + i) % LLM_TURNS_SLOTS];

        if (__atomic_load_n(&slot->key, __ATOMIC_ACQUIRE) != key) {
            continue;
        }

        value = __atomic_load_n(&slot->value, __ATOMIC_ACQUIRE);

        if (__atomic_load_n(&slot->key, __ATOMIC_ACQUIRE) == key) {
            return (int64_t) (value >> 32);
        }
    }

    return -1;
}
