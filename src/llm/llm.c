
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "llm_dialect.h"


/* in the order of llm_provider_t */

static const char  *llm_names[LLM_PROVIDERS] = {
    "openai",
    "openai-responses",
    "openai-images",
    "openai-audio",
    "openai-realtime",
    "azure",
    "anthropic",
    "anthropic-batch",
    "gemini",
    "gemini-openai",
    "gemini-interactions",
    "vertex",
    "vertex-predict",
    "vertex-anthropic",
    "bedrock",
    "bedrock-converse",
    "bedrock-invoke",
    "mistral",
    "cohere",
    "groq",
    "deepseek",
    "xai",
    "together",
    "fireworks",
    "openrouter",
    "perplexity",
    "cerebras",
    "vllm",
    "llamacpp",
    "ollama",
    "ollama-v1",
    "other"
};


void
llm_usage_init(llm_usage_t *usage)
{
    memset(usage, 0, sizeof(llm_usage_t));

    usage->input = -1;
    usage->output = -1;
    usage->cached_input = -1;
    usage->cache_write = -1;
    usage->cache_write_1h = -1;
    usage->reasoning = -1;
    usage->input_audio = -1;
    usage->input_image = -1;
    usage->input_video = -1;
    usage->cached_audio = -1;
    usage->output_audio = -1;
    usage->output_image = -1;
    usage->citations = -1;

    usage->web_searches = -1;
    usage->file_searches = -1;
    usage->code_sessions = -1;
    usage->images = -1;
    usage->pixels = -1;
    usage->characters = -1;
    usage->audio_ms = -1;
    usage->queries = -1;

    usage->cost = -1;
}


const char *
llm_provider_name(llm_provider_t provider)
{
    return llm_names[provider];
}


int
llm_provider_find(const unsigned char *name, size_t len)
{
    int  i;

    for (i = 0; i < LLM_PROVIDERS; i++) {

        if (strlen(llm_names[i]) == len
            && memcmp(llm_names[i], name, len) == 0)
        {
            return i;
        }
    }

    return -1;
}


const llm_dialect_t *
llm_dialect(llm_api_t api)
{
    return &llm_openai;
}
