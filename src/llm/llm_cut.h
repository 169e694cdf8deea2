
/*
 * Copyright (C) nginx-cycles authors
 *
 * A stream that is to end before its own end: where its events end, so that
 * none is sent in part, and the event that tells the client why nothing more
 * follows.
 */


#ifndef _LLM_CUT_H_INCLUDED_
#define _LLM_CUT_H_INCLUDED_


#include "llm_error.h"
#include "llm_reply.h"


/* the bytes may come in any portions */

typedef struct {
    llm_reply_format_t   format;
    llm_sse_t            sse;
    unsigned             late:1;          /* an LF may belong to its end */
    unsigned             state;
    unsigned             got;             /* of a message's length */
    uint32_t             left;            /* of a message */
    int64_t              depth;           /* in a JSON array */
} llm_events_t;


void llm_events_init(llm_events_t *ev, llm_reply_format_t format);


/*
 * The first byte behind the event that p is in: behind its blank line in SSE
 * (an LF may be the end of it once more, if it comes later than its CR),
 * behind its LF among lines, behind an element of a JSON array, which has the
 * comma in front of it; of a JSON text that is no array, none ends.  NULL: it
 * goes on behind last.
 */

const unsigned char *llm_events_end(llm_events_t *ev, const unsigned char *p,
    const unsigned char *last);


/*
 * Writes the event that ends a stream of this API and format behind so many
 * events, in these words; JSON arrays are closed.  Returns its size, also if
 * that is more than size; buf may be NULL when size is 0.
 */

size_t llm_cut(unsigned char *buf, size_t size, llm_api_t api,
    llm_reply_format_t format, llm_errors_t errors, const llm_error_t *error,
    int64_t events);


#endif /* _LLM_CUT_H_INCLUDED_ */
