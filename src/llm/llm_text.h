
/*
 * Copyright (C) nginx-cycles authors
 *
 * The contents of JSON strings: escapes and UTF-8.
 */


#ifndef _LLM_TEXT_H_INCLUDED_
#define _LLM_TEXT_H_INCLUDED_


#include "llm.h"


/*
 * Collects the contents of a string that come in pieces, and resolves the
 * escapes.  len counts also what has no room behind size.
 */

typedef struct {
    unsigned char   *data;
    size_t           size;
    size_t           len;
    unsigned         code;
    unsigned         high;                /* surrogate that waits for a low */
    unsigned char    escape;
    unsigned char    digits;
} llm_text_t;


/* where a UTF-8 sequence stands: what the next byte must be */

typedef struct {
    unsigned char    left;                /* bytes that must follow */
    unsigned char    low;
    unsigned char    high;
} llm_utf8_t;


/* collects into size bytes of data */

void llm_text_init(llm_text_t *t, unsigned char *data, size_t size);


/*
 * Adds n bytes as they are in JSON; they may end inside an escape.  Half a
 * surrogate pair becomes three bytes that are not UTF-8.
 */

void llm_text_add(llm_text_t *t, const unsigned char *p, size_t n);


/*
 * The characters in n bytes of a JSON string, escapes in place.  The state is
 * 0 in front of the first piece; a pair of surrogates is one character.
 */

size_t llm_text_characters(unsigned *state, const unsigned char *p, size_t n);


/* whether n bytes are UTF-8 without control characters */

int llm_text_printable(const unsigned char *p, size_t n);


/*
 * One byte of a sequence of two to four (RFC 3629, section 4); u->left is 0
 * where a sequence may begin.  LLM_ERROR: it can't stand here.
 */

int llm_utf8_next(llm_utf8_t *u, unsigned ch);


/* FNV-1a of what may come in pieces, from LLM_HASH on; never 0 at its end */

#define LLM_HASH  14695981039346656037u

uint64_t llm_hash(uint64_t hash, const unsigned char *p, size_t n);


/* the value of a hexadecimal digit; 16: it is none */

unsigned llm_hex(unsigned ch);


#endif /* _LLM_TEXT_H_INCLUDED_ */
