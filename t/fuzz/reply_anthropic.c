
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies of Anthropic's messages and batches.
 */


#include "reply.h"


static const llm_api_t  apis[] = {
    LLM_API_MESSAGES,
    LLM_API_BATCH_RESULTS
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_reply(data, size, apis, sizeof(apis) / sizeof(apis[0]));
}
