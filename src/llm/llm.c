
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>
#include <strings.h>

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


/* in the order of llm_api_t */

static const llm_dialect_t  *llm_dialects[LLM_APIS] = {
    &llm_other,
    &llm_chat,
    &llm_completions,
    &llm_responses,
    &llm_embeddings,
    &llm_images,
    &llm_transcriptions,
    &llm_speech,
    &llm_realtime,
    &llm_messages,
    &llm_batch_results,
    &llm_generate,
    &llm_gemini_embed,
    &llm_interactions,
    &llm_predict,
    &llm_converse,
    &llm_invoke,
    &llm_cohere_chat,
    &llm_cohere_embed,
    &llm_ollama,
    &llm_llamacpp
};


const llm_member_t  llm_no_members[] = {
    llm_members_end
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


llm_tier_t
llm_tier_find(const unsigned char *name, size_t len)
{
    size_t  i;

    static const struct {
        const char  *name;
        llm_tier_t   tier;
    } tiers[] = {
        { "flex", LLM_TIER_FLEX },
        { "priority", LLM_TIER_PRIORITY },
        { "fast", LLM_TIER_PRIORITY },
        { "ultrafast", LLM_TIER_ULTRAFAST },
        { "batch", LLM_TIER_BATCH },
        { "on_demand_flex", LLM_TIER_FLEX },
        { "on_demand_priority", LLM_TIER_PRIORITY }
    };

    for (i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++) {

        if (strlen(tiers[i].name) == len
            && strncasecmp(tiers[i].name, (const char *) name, len) == 0)
        {
            return tiers[i].tier;
        }
    }

    return LLM_TIER_DEFAULT;
}


llm_search_t
llm_search_size(const unsigned char *name, size_t len)
{
    return (len == 3 && memcmp(name, "low", 3) == 0) ? LLM_SEARCH_LOW
           : (len == 4 && memcmp(name, "high", 4) == 0) ? LLM_SEARCH_HIGH
           : LLM_SEARCH_MEDIUM;
}


const llm_dialect_t *
llm_dialect(llm_api_t api)
{
    return llm_dialects[api];
}
