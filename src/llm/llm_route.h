
/*
 * Copyright (C) nginx-cycles authors
 *
 * Which provider and which of its APIs a request is for, and what its path
 * says of the model.
 */


#ifndef _LLM_ROUTE_H_INCLUDED_
#define _LLM_ROUTE_H_INCLUDED_


#include "llm.h"


/* LLM_PROVIDERS as the configured provider: to be told by host and path */

#define LLM_PROVIDER_AUTO  LLM_PROVIDERS


typedef struct {
    llm_provider_t       provider;
    llm_api_t            api;

    size_t               model_len;       /* 0: it is not in the path */
    unsigned char        model[LLM_MODEL_MAX];

    unsigned             known:1;         /* the path is one of an API */
    unsigned             free:1;          /* it costs nothing */
    unsigned             stream:1;        /* the path asks for a stream */
    unsigned             stream_usage:1;  /* "stream_options" may be added */
} llm_route_t;


/*
 * method as in the request; host, which may be empty, is the name that the
 * request is sent to; path is as the client sent it, escapes in place, with
 * or without a query.  Any prefix in front of an API's own path is skipped.
 */

void llm_route(llm_route_t *route, unsigned provider,
    const unsigned char *method, size_t method_len,
    const unsigned char *host, size_t host_len,
    const unsigned char *path, size_t path_len);


/*
 * Where the request will be served, if host and path say so: "eu" of OpenAI,
 * "us-east-1" of Bedrock, "us-east5" or "global" of Vertex.  *region is inside
 * of host or path.  LLM_NOT_FOUND: they don't.
 */

int llm_region(llm_provider_t provider, const unsigned char *host,
    size_t host_len, const unsigned char *path, size_t path_len,
    const unsigned char **region, size_t *region_len);


/* the provider whose host that is; LLM_PROVIDERS: it is not known */

unsigned llm_host_provider(const unsigned char *host, size_t len);


#endif /* _LLM_ROUTE_H_INCLUDED_ */
