
/*
 * Copyright (C) nginx-cycles authors
 *
 * Errors as each provider words them, so that its SDKs raise their own.
 */


#ifndef _LLM_ERROR_H_INCLUDED_
#define _LLM_ERROR_H_INCLUDED_


#include "../cycles_json.h"
#include "llm.h"


typedef enum {
    LLM_ERRORS_OPENAI = 0,
    LLM_ERRORS_ANTHROPIC,
    LLM_ERRORS_GOOGLE,
    LLM_ERRORS_BEDROCK,
    LLM_ERRORS_MISTRAL,
    LLM_ERRORS_COHERE,
    LLM_ERRORS_OLLAMA,
    LLM_ERRORS_OPENROUTER,
    LLM_ERRORS_LLAMACPP,
    LLM_ERRORS_VLLM,
    LLM_ERRORS
} llm_errors_t;


typedef enum {
    LLM_QUOTA = 0,                        /* to try again is of no use */
    LLM_BUSY,                             /* it may be of use in a moment */
    LLM_UNAVAILABLE,
    LLM_INVALID,
    LLM_ERROR_KINDS
} llm_error_kind_t;


typedef struct {
    llm_error_kind_t   kind;
    unsigned           status;            /* of HTTP */
    cycles_str_t       message;
    cycles_str_t       request_id;        /* for whom the body has one */
    cycles_str_t       details;           /* JSON object text, or empty */
} llm_error_t;


/* the wording that the clients of an API expect */

llm_errors_t llm_errors_of(llm_provider_t provider, llm_api_t api);

/*
 * The status that the SDKs of this wording never retry, for LLM_QUOTA, or
 * that they do; measured with their defaults.
 */

unsigned llm_error_status(llm_errors_t errors, llm_error_kind_t kind);

/* the value of x-amzn-errortype, by which AWS's SDKs decide; NULL: none */

const char *llm_error_amzn_type(llm_errors_t errors, llm_api_t api,
    llm_error_kind_t kind, unsigned status);

/* the JSON of an error, of a whole reply */

void llm_error_body(cycles_json_t *js, llm_errors_t errors,
    const llm_error_t *error);

/*
 * Of a stream that has begun: the name of the event, or NULL, and its data,
 * which so many events precede; or a line of its own.
 */

const char *llm_error_event(llm_errors_t errors, llm_api_t api);
void llm_error_data(cycles_json_t *js, llm_errors_t errors, llm_api_t api,
    const llm_error_t *error, int64_t events);
void llm_error_line(cycles_json_t *js, llm_errors_t errors,
    const llm_error_t *error);


#endif /* _LLM_ERROR_H_INCLUDED_ */
