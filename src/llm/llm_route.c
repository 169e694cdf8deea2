
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_route.h"


void
llm_route(llm_route_t *route, unsigned provider,
    const unsigned char *method, size_t method_len,
    const unsigned char *host, size_t host_len,
    const unsigned char *path, size_t path_len)
{
    memset(route, 0, offsetof(llm_route_t, model));

    route->provider = (provider == LLM_PROVIDER_AUTO)
                      ? LLM_OPENAI : (llm_provider_t) provider;
    route->api = LLM_API_CHAT;
    route->known = 1;
    route->free = 0;
    route->stream = 0;
}
