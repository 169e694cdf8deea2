
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the reader of requests is made of.  Private to src/llm.
 */


#ifndef _LLM_REQUEST_VALUE_H_INCLUDED_
#define _LLM_REQUEST_VALUE_H_INCLUDED_


#include "llm_request.h"
#include "llm_dialect.h"


#define LLM_CHOICES_MAX  128


/* llm_request.c */

/* LLM_ERROR, or LLM_OK where nothing is an error */

int llm_request_fail(llm_request_t *rq, const char *error);

/* the value of rq->walk.member is not what it must be */

int llm_request_wrong(llm_request_t *rq);


/* what rq->text has collected into rq->word is said of images to be made */

void llm_request_size(llm_request_t *rq);
void llm_request_quality(llm_request_t *rq);


/* llm_request_value.c: each takes an event of a member of its kind */

void llm_request_text(llm_request_t *rq, int event);
void llm_request_all(llm_request_t *rq, int event);
void llm_request_media(llm_request_t *rq, int event);
int llm_request_schema(llm_request_t *rq, int event);
void llm_request_place(llm_request_t *rq, llm_place_name_t name, int event);


/* a file of the kind that rq->media is: its constant */

void llm_request_file(llm_request_t *rq);


/* llm_request_form.c: the next bytes of a form */

int llm_request_form(llm_request_t *rq, const unsigned char *p, size_t n);


/* llm_tools.c: an event inside of a member of tools */

void llm_request_tool(llm_request_t *rq, int event);


#endif /* _LLM_REQUEST_VALUE_H_INCLUDED_ */
