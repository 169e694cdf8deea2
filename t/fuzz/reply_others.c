
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies of the APIs of one provider each, and those that are not known.
 */


#include "reply.h"


static const llm_api_t  apis[] = {
    LLM_API_COHERE_CHAT,
    LLM_API_COHERE_EMBED,
    LLM_API_OLLAMA,
    LLM_API_LLAMACPP,
    LLM_API_OTHER
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_reply(data, size, apis, sizeof(apis) / sizeof(apis[0]));
}
