
/*
 * Copyright (C) nginx-cycles authors
 *
 * Nearly all events of a stream say the same thing with another text.  One
 * that did nothing but add its text is kept, and events that differ from it
 * only there, or in values that nobody looks at, are not parsed again.
 */


#ifndef _LLM_REPEAT_H_INCLUDED_
#define _LLM_REPEAT_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* the longest event that is kept, without the ends of its last lines */

#define LLM_REPEAT_EVENT   448

/* values in it that may differ */

#define LLM_REPEAT_VALUES  8


typedef enum {
    LLM_REPEAT_TEXT = 0,                  /* the text that is estimated */
    LLM_REPEAT_STRING,                    /* any other that is not looked at */
    LLM_REPEAT_NUMBER,
    LLM_REPEAT_END
} llm_repeat_kind_t;


typedef struct {
    unsigned short         begin;         /* in the event, without quotes */
    unsigned short         end;
    unsigned char          kind;
    unsigned char          varies;        /* it has been another before */
} llm_repeat_value_t;


/* bytes of it that stay the same, and what is behind them */

typedef struct {
    unsigned short         begin;
    unsigned short         len;
    unsigned short         kind;
} llm_repeat_piece_t;


/* an event while it is parsed; it lasts no longer than a call */

typedef struct {
    const unsigned char   *begin;
    const unsigned char   *last;
    unsigned               texts;
    unsigned               choice;        /* that the text belongs to */
    unsigned               n;
    llm_repeat_value_t     values[LLM_REPEAT_VALUES];
} llm_repeat_draft_t;


/* the event that is kept, and a digest of the state that it kept */

typedef struct {
    llm_repeat_draft_t    *draft;         /* NULL: none is to be kept */
    uint64_t               state;
    unsigned char          ready;
    unsigned char          choice;
    unsigned char          n;
    llm_repeat_value_t     values[LLM_REPEAT_VALUES];
    llm_repeat_piece_t     pieces[LLM_REPEAT_VALUES + 1];
    unsigned char          event[LLM_REPEAT_EVENT];
} llm_repeat_t;


/* what was found of an event */

typedef struct {
    const unsigned char   *text;          /* NULL: these events have none */
    size_t                 len;
    int                    escaped;       /* there is a backslash in a value */
    int                    more;          /* all of it that is there fits */
} llm_repeat_found_t;


void llm_repeat_init(llm_repeat_t *rt);


/* the last line of an event is about to be parsed */

void llm_repeat_begin(llm_repeat_t *rt, llm_repeat_draft_t *draft,
    const unsigned char *begin, const unsigned char *last);


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
 * Whether what is at p begins with an event that need not be parsed; returns
 * the end of its last line, or NULL.
 */

const unsigned char *llm_repeat_match(const llm_repeat_t *rt,
    const unsigned char *p, const unsigned char *last,
    llm_repeat_found_t *found);


#endif /* _LLM_REPEAT_H_INCLUDED_ */
