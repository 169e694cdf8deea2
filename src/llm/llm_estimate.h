
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tokens of a text without a tokenizer: a weight for each pair of byte
 * classes, in 1/256 token, fitted to the o200k_base vocabulary.  On English
 * it errs upward by a fifth, on other languages and code by less.
 */


#ifndef _LLM_ESTIMATE_H_INCLUDED_
#define _LLM_ESTIMATE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* the state between two portions of one string */

typedef struct {
    uint64_t         sum;                 /* 1/256 token */
    unsigned         previous;            /* row of the byte before */
    unsigned         code_point;
    unsigned char    escape;
    unsigned char    digits;
} llm_estimate_t;


/* starts from nothing */

void llm_estimate_init(llm_estimate_t *e);


/* a new string begins: its first word is a word of its own */

void llm_estimate_string(llm_estimate_t *e);


/*
 * Adds n bytes of the contents of a JSON string, escapes still in place; the
 * portions may end inside an escape or a UTF-8 sequence.
 */

void llm_estimate_feed(llm_estimate_t *e, const unsigned char *p, size_t n);


/* the same, of bytes that have no escape and do not end one */

void llm_estimate_plain(llm_estimate_t *e, const unsigned char *p, size_t n);


/* adds whole tokens, for what is not text */

void llm_estimate_add(llm_estimate_t *e, uint64_t tokens);


/* tokens so far, rounded up */

int64_t llm_estimate_tokens(const llm_estimate_t *e);


#endif /* _LLM_ESTIMATE_H_INCLUDED_ */
