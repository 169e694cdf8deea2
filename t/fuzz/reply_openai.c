
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies of OpenAI's APIs, and those of servers that speak them.
 */


#include "reply.h"


static const llm_api_t  apis[] = {
    LLM_API_CHAT,
    LLM_API_COMPLETIONS,
    LLM_API_RESPONSES,
    LLM_API_EMBEDDINGS,
    LLM_API_IMAGES,
    LLM_API_TRANSCRIPTIONS,
    LLM_API_SPEECH,
    LLM_API_REALTIME
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_reply(data, size, apis, sizeof(apis) / sizeof(apis[0]));
}
