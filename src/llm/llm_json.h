
/*
 * Copyright (C) nginx-cycles authors
 *
 * An incremental JSON reader (RFC 8259).  It is asked for one event after the
 * other, never allocates, and gives the same events for any split of the
 * bytes but for the pieces of a string.
 */


#ifndef _LLM_JSON_H_INCLUDED_
#define _LLM_JSON_H_INCLUDED_


#include "llm.h"
#include "llm_text.h"


/* nesting that is followed; deeper than this is an error */

#define LLM_JSON_DEPTH  128


/* every whole number up to here has a double of its own */

#define LLM_JSON_WHOLE_MAX  ((int64_t) 1 << 53)


/* the longest key and the longest number that are delivered */

#define LLM_JSON_TEXT   256


typedef enum {
    LLM_JSON_ERROR = -1,                  /* js->error says why */
    LLM_JSON_AGAIN = 0,                   /* all bytes are read */
    LLM_JSON_OBJECT,
    LLM_JSON_OBJECT_END,
    LLM_JSON_ARRAY,
    LLM_JSON_ARRAY_END,
    LLM_JSON_KEY,                         /* text: escapes resolved */
    LLM_JSON_STRING,                      /* text: a piece, as it was sent */
    LLM_JSON_NUMBER,                      /* text: as it was sent */
    LLM_JSON_TRUE,
    LLM_JSON_FALSE,
    LLM_JSON_NULL
} llm_json_event_t;


typedef struct {
    uint64_t              offset;         /* of the next byte to read */
    uint64_t              start;          /* of the token, or of the error */

    /*
     * Of a key, a number or a piece of a string, until the next call.  A
     * key or number over LLM_JSON_TEXT bytes has text NULL and its length.
     */

    const unsigned char  *text;
    size_t                len;
    unsigned char         first;          /* piece */
    unsigned char         last;           /* piece */

    unsigned char         empty;          /* what has just ended is */

    uint64_t              comma;          /* the last one between values */
    unsigned              depth;          /* containers that are open */
    const char           *error;          /* a sentence, static storage */

    /* the reader's own state */

    const unsigned char  *begin;
    uint64_t              origin;
    llm_text_t            token;
    const char           *literal;
    size_t                raw;
    unsigned              skip;
    unsigned char         state;
    unsigned char         strict;
    unsigned char         array;          /* the innermost container is one */
    unsigned char         key;
    unsigned char         started;
    unsigned char         escaped;
    unsigned char         digits;
    signed char           event;          /* of what was read slowly */
    llm_utf8_t            utf8;
    uint64_t              stack;
    uint64_t              deep;           /* what has no room in it */
    unsigned char         buffer[LLM_JSON_TEXT];
} llm_json_t;


/*
 * Ready for the first byte of a text.  strict: control characters and bytes
 * that are not UTF-8 in a string are errors; otherwise they pass.
 */

void llm_json_init(llm_json_t *js, int strict);


/*
 * The next event of the bytes from *pos; *pos moves behind what was read.
 * After LLM_JSON_ERROR every further call gives it again.
 */

int llm_json_next(llm_json_t *js, const unsigned char **pos,
    const unsigned char *last);


/*
 * After LLM_JSON_KEY: the member's value gives no events.  After
 * LLM_JSON_OBJECT or LLM_JSON_ARRAY: neither does the rest of it, its end
 * included.  It is read and checked all the same.
 */

void llm_json_skip(llm_json_t *js);


/* whether one whole value has been read, and nothing of it is missing */

int llm_json_complete(const llm_json_t *js);


/* whether only white space has been read */

int llm_json_blank(const llm_json_t *js);


/* whether the innermost open container is an array */

int llm_json_in_array(const llm_json_t *js);


/*
 * The closing quote of a string that begins at p, behind its opening one;
 * last: it is not there yet.  NULL: something precedes it that wants a closer
 * look.  *escaped is set if there is a backslash.  The bytes from begin on can
 * be read.
 */

const unsigned char *llm_json_string_end(const unsigned char *begin,
    const unsigned char *p, const unsigned char *last, int *escaped);


/*
 * The value of a number's text when it is whole, as in 100, 1e2 and 100.0,
 * and at most 2^53.  -1: negative, a fraction, too large, or text is NULL.
 */

int64_t llm_json_whole(const unsigned char *text, size_t len);


#endif /* _LLM_JSON_H_INCLUDED_ */
