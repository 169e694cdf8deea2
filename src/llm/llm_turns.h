
/*
 * Copyright (C) nginx-cycles authors
 *
 * How many tokens are held upstream under a name: what a conversation has had
 * with its last turn, or what is in a cached content.  In memory that
 * processes share, for as many names as there is room, the latest ones.
 */


#ifndef _LLM_TURNS_H_INCLUDED_
#define _LLM_TURNS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define LLM_TURNS_SLOTS  2048


typedef struct {
    uint64_t         key;                 /* llm_hash() of a name; 0: empty */
    uint64_t         value;               /* tokens, and when it was */
} llm_turn_slot_t;


/* zeroed memory is an empty table */

typedef struct {
    llm_turn_slot_t  slots[LLM_TURNS_SLOTS];
} llm_turns_t;


/* now is in seconds, of any clock; of a key 0 nothing is remembered */

void llm_turns_put(llm_turns_t *turns, uint64_t key, int64_t tokens,
    uint32_t now);


/* -1: it is not known; turns may be NULL */

int64_t llm_turns_get(const llm_turns_t *turns, uint64_t key);


#endif /* _LLM_TURNS_H_INCLUDED_ */
