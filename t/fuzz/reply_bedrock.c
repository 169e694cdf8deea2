
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies of Bedrock's APIs, most of which come in frames with checksums.
 */


#include "reply.h"


static const llm_api_t  apis[] = {
    LLM_API_CONVERSE,
    LLM_API_INVOKE
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_reply(data, size, apis, sizeof(apis) / sizeof(apis[0]));
}
