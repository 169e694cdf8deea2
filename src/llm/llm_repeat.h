
/*
 * Copyright (C) nginx-cycles authors
 *
 * Nearly all events of a stream say the same thing with another text.  A
 * line that did nothing but add its text is kept, and lines that differ from
 * it only there, or in values that nobody looks at, are not parsed again.
 */


#ifndef _LLM_REPEAT_H_INCLUDED_
#define _LLM_REPEAT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* the longest line that is kept */

#define LLM_REPEAT_LINE    512

/* values in it that may differ */

#define LLM_REPEAT_VALUES  8


typedef enum {
    LLM_REPEAT_TEXT = 0,                  /* the text that is estimated */
    LLM_REPEAT_STRING,                    /* any other that is not looked at */
    LLM_REPEAT_NUMBER
} llm_repeat_kind_t;


typedef struct {
    unsigned short         begin;         /* in the line, without quotes */
    unsigned short         end;
    unsigned char          kind;
    unsigned char          varies;        /* it has been another before */
} llm_repeat_value_t;


typedef struct {
    const unsigned char   *begin;         /* of the line that is read now */
    const unsigned char   *last;
    unsigned               learning:1;
    unsigned               ready:1;
    unsigned               changed:1;     /* the state is to be compared */
    unsigned               texts;
    unsigned               choice;        /* that the text belongs to */
    unsigned               nfresh;
    llm_repeat_value_t     fresh[LLM_REPEAT_VALUES];

    /* the line that is kept, and a digest of the state that it kept */

    uint64_t               state;
    unsigned               n;
    unsigned               len;
    llm_repeat_value_t     values[LLM_REPEAT_VALUES];
    unsigned char          line[LLM_REPEAT_LINE];
} llm_repeat_t;


void llm_repeat_init(llm_repeat_t *rt);


/* a whole line is about to be parsed */

void llm_repeat_begin(llm_repeat_t *rt, const unsigned char *p,
    const unsigned char *last);


/* while it is: its text, if this is whole, or something else that counts */

void llm_repeat_text(llm_repeat_t *rt, const unsigned char *p, size_t n,
    unsigned choice);
void llm_repeat_spoil(llm_repeat_t *rt);


/* what is at p, behind a key, is not looked at */

void llm_repeat_ignored(llm_repeat_t *rt, const unsigned char *p);


/* it is parsed.  same: it has changed nothing but for its text */

void llm_repeat_end(llm_repeat_t *rt, uint64_t state, int same);

uint64_t llm_repeat_digest(const uint64_t *words, size_t n);


/*
 * Whether what is at p begins with a line that need not be parsed; returns its
 * end, or NULL.  *text: its text, or NULL when these lines have none.
 */

const unsigned char *llm_repeat_match(const llm_repeat_t *rt,
    const unsigned char *p, const unsigned char *last,
    const unsigned char **text, size_t *len);


#endif /* _LLM_REPEAT_H_INCLUDED_ */
