
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies of Google's APIs.
 */


#include "reply.h"


static const llm_api_t  apis[] = {
    LLM_API_GENERATE,
    LLM_API_GEMINI_EMBED,
    LLM_API_INTERACTIONS,
    LLM_API_PREDICT
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_reply(data, size, apis, sizeof(apis) / sizeof(apis[0]));
}
