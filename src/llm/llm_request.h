
/*
 * Copyright (C) nginx-cycles authors
 *
 * Facts of a request body, read from its top-level members only.
 */


#ifndef _LLM_REQUEST_H_INCLUDED_
#define _LLM_REQUEST_H_INCLUDED_


#include "llm.h"
#include "llm_walk.h"
#include "llm_estimate.h"


/* a half-open range of bytes of the body; end == 0: not there */

typedef struct {
    uint64_t         start;
    uint64_t         end;
} llm_span_t;


typedef struct {
    unsigned char    model[LLM_MODEL_MAX];
    size_t           model_len;           /* 0: no model in the body */

    int64_t          max_tokens;          /* the one that counts; -1: none */
    llm_span_t       max_tokens_value;    /* its number, or null if there is
                                             only that, for a clamp */

    int64_t          choices;             /* "n", 1 when absent */
    int64_t          input_tokens;        /* estimate without any margin */

    /* where "stream_options" of a streaming request can be spliced */

    uint64_t         object_start;        /* just behind the first "{" */
    llm_span_t       stream_options;      /* its value */
    uint64_t         stream_options_start;/* just behind its "{"; 0: null */

    unsigned         empty:1;             /* "{}" */
    unsigned         stream:1;
    unsigned         stream_options_empty:1;      /* "{}" */
    unsigned         include_usage:1;     /* the client said true or false */
} llm_facts_t;


/* allocated by the caller; its members belong to llm_request.c */

typedef struct {
    llm_provider_t   provider;
    llm_facts_t      facts;
    llm_walk_t       walk;
    llm_text_t       text;
    llm_estimate_t   estimate;

    uint64_t         seen;                /* bit mask of members met */
    uint64_t         audio;               /* bytes of base64 */
    uint64_t         files;               /* bytes of base64 */
    unsigned         completion:1;        /* max_completion_tokens counts */
    unsigned         tools:1;             /* their constant is counted */
    const char      *error;
} llm_request_t;


/* ready for the first byte of a body */

void llm_request_init(llm_request_t *rq, llm_provider_t provider);


/*
 * Reads the next n bytes of the body, in any portions.  LLM_ERROR: the body
 * can't be understood, llm_request_error() says why; further bytes are not
 * read.
 */

int llm_request_feed(llm_request_t *rq, const unsigned char *p, size_t n);


/*
 * The body is complete.  LLM_OK: rq->facts are final.  LLM_ERROR: it ended
 * too early, or it is not a request of this dialect.
 */

int llm_request_finish(llm_request_t *rq);


/*
 * A sentence without a full stop, of static storage, for the client's 400:
 * for instance 'member "model" is there twice'.
 */

const char *llm_request_error(const llm_request_t *rq);


#endif /* _LLM_REQUEST_H_INCLUDED_ */
