
/*
 * Copyright (C) nginx-cycles authors
 *
 * Amazon Bedrock: Converse, which is one API for all models, and InvokeModel,
 * whose bodies are those of the model's maker.
 */


#include "llm_dialect.h"


static const llm_member_t  llm_converse_bytes[] = {
    llm_leaf("bytes", LLM_FILE_DATA, 0),
    llm_leaf("text", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_converse_document[] = {
    llm_node("source", LLM_FILE, LLM_WALK_OBJECT, llm_converse_bytes),
    llm_members_end
};


static const llm_member_t  llm_converse_cache[] = {
    llm_leaf("ttl", LLM_CACHE_TTL, 0),
    llm_members_end
};


static const llm_member_t  llm_converse_call[] = {
    llm_leaf("name", LLM_TEXT, 0),
    llm_node("input", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_converse_answer[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("json", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_leaf("image", LLM_IMAGE, 0),
    llm_leaf("video", LLM_VIDEO, 0),
    llm_node("document", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_document),
    llm_members_end
};


static const llm_member_t  llm_converse_result[] = {
    llm_list("content", LLM_PLAIN, 0, llm_converse_answer),
    llm_members_end
};


static const llm_member_t  llm_converse_block[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("image", LLM_IMAGE, 0),
    llm_leaf("video", LLM_VIDEO, 0),
    llm_leaf("audio", LLM_AUDIO, 0),
    llm_node("document", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_document),
    llm_node("toolUse", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_call),
    llm_node("toolResult", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_result),
    llm_node("cachePoint", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_converse_cache),
    llm_members_end
};


static const llm_member_t  llm_converse_message[] = {
    llm_list("content", LLM_PLAIN, 0, llm_converse_block),
    llm_members_end
};


static const llm_member_t  llm_converse_config[] = {
    llm_limit("maxTokens", LLM_LIMIT, 21),
    llm_members_end
};


static const llm_member_t  llm_converse_chosen[] = {
    llm_leaf("name", LLM_TOOL_CHOICE, 0),
    llm_members_end
};


static const llm_member_t  llm_converse_choice[] = {
    llm_node("tool", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_chosen),
    llm_members_end
};


static const llm_member_t  llm_converse_tools[] = {
    llm_fact("tools", LLM_TOOLS, 22, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("toolChoice", LLM_TOOL_CHOICE, 23, LLM_WALK_OBJECT,
             llm_converse_choice, "an object"),
    llm_members_end
};


static const llm_member_t  llm_converse_tier[] = {
    llm_fact("type", LLM_TIER, 24, 0, NULL, "a string"),
    llm_members_end
};


static const llm_member_t  llm_converse_thinking[] = {
    llm_fact("budget_tokens", LLM_THINKING_BUDGET, 25, 0, NULL,
             "a whole number"),
    llm_members_end
};


static const llm_member_t  llm_converse_fields[] = {
    llm_fact("thinking", LLM_THINKING, 26, LLM_WALK_OBJECT,
             llm_converse_thinking, "an object"),
    llm_fact("reasoning_config", LLM_THINKING, 26, LLM_WALK_OBJECT,
             llm_converse_thinking, "an object"),
    llm_members_end
};


static const llm_member_t  llm_converse_request_members[] = {
    llm_fact("messages", LLM_MESSAGES, 1, LLM_WALK_ARRAY,
             llm_converse_message, "an array"),
    llm_list("system", LLM_PLAIN, 0, llm_converse_block),
    llm_fact("inferenceConfig", LLM_CONFIG, 2, LLM_WALK_OBJECT,
             llm_converse_config, "an object"),
    llm_fact("toolConfig", LLM_TOOLS_CONFIG, 3, LLM_WALK_OBJECT,
             llm_converse_tools, "an object"),
    llm_fact("serviceTier", LLM_PLAIN, 4, LLM_WALK_OBJECT,
             llm_converse_tier, "an object"),
    llm_fact("additionalModelRequestFields", LLM_PLAIN, 5, LLM_WALK_OBJECT,
             llm_converse_fields, "an object"),
    llm_members_end
};


static const llm_member_t  llm_converse_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_converse_request_members);


static const llm_member_t  llm_converse_details[] = {
    llm_leaf("ttl", LLM_WORD, LLM_WORD_DETAIL),
    llm_leaf("inputTokens", LLM_DETAIL_COUNT, 0),
    llm_members_end
};


/* Nova's own stream says "TokenCount" */

static const llm_member_t  llm_converse_usage[] = {
    llm_leaf("inputTokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("outputTokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("totalTokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_leaf("cacheReadInputTokens", LLM_COUNT, LLM_COUNT_CACHED_APART),
    llm_leaf("cacheWriteInputTokens", LLM_COUNT, LLM_COUNT_WRITE_APART),
    llm_leaf("cacheReadInputTokenCount", LLM_COUNT, LLM_COUNT_CACHED_APART),
    llm_leaf("cacheWriteInputTokenCount", LLM_COUNT, LLM_COUNT_WRITE_APART),
    llm_list("cacheDetails", LLM_DETAILS, LLM_DETAILS_WRITE,
             llm_converse_details),

    /* what other makers report by InvokeModel */

    llm_leaf("input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("cache_read_input_tokens", LLM_COUNT, LLM_COUNT_CACHED_APART),
    llm_leaf("cache_creation_input_tokens", LLM_COUNT,
             LLM_COUNT_WRITE_APART),
    llm_node("cache_creation", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_creation),
    llm_node("output_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_details),
    llm_leaf("prompt_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("completion_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("total_tokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_members_end
};


static const llm_member_t  llm_converse_thought[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_converse_reasoning[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("reasoningText", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_converse_thought),
    llm_members_end
};


/* of a whole message, and of a stream's "start" and "delta" */

static const llm_member_t  llm_converse_tool_use[] = {
    llm_leaf("name", LLM_TEXT, 0),
    llm_node("input", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_converse_made[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("reasoningContent", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_converse_reasoning),
    llm_node("toolUse", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_tool_use),
    llm_members_end
};


static const llm_member_t  llm_converse_reply_message[] = {
    llm_list("content", LLM_PLAIN, 0, llm_converse_made),
    llm_members_end
};


static const llm_member_t  llm_converse_output[] = {
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_converse_reply_message),
    llm_members_end
};


static const llm_member_t  llm_converse_reply_tier[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_TIER),
    llm_members_end
};


/* an error is a text "message", and its name is in a header */

static const llm_member_t  llm_converse_reply_members[] = {
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_made),
    llm_node("start", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_made),
    llm_node("output", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_output),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_converse_usage),
    llm_node("serviceTier", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_converse_reply_tier),
    llm_leaf("message", LLM_FAILURE_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_converse_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_reply_members);


/* InvokeModel: Anthropic, Nova, Llama, Mistral, Titan, Cohere, OpenAI */

static const llm_member_t  llm_invoke_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("source", LLM_IMAGE, 0),
    llm_leaf("image", LLM_IMAGE, 0),
    llm_leaf("image_url", LLM_IMAGE, 0),
    llm_leaf("video", LLM_VIDEO, 0),
    llm_leaf("document", LLM_FILE, 0),
    llm_leaf("name", LLM_TEXT, 0),
    llm_node("input", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("toolUse", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("toolResult", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_converse_answer),
    llm_node("cache_control", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_converse_cache),
    llm_node("cachePoint", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_converse_cache),
    llm_members_end
};


static const llm_member_t  llm_invoke_message[] = {
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_invoke_part),
    llm_members_end
};


static const llm_member_t  llm_invoke_config[] = {
    llm_limit("max_new_tokens", LLM_LIMIT, 21),
    llm_limit("maxTokens", LLM_LIMIT, 21),
    llm_limit("maxTokenCount", LLM_LIMIT, 21),
    llm_members_end
};


static const llm_member_t  llm_invoke_request_members[] = {
    llm_fact("messages", LLM_MESSAGES, 1, LLM_WALK_ARRAY, llm_invoke_message,
             "an array"),
    llm_node("system", LLM_TEXT, LLM_WALK_ARRAY, llm_invoke_part),
    llm_leaf("prompt", LLM_TEXT, 0),
    llm_leaf("inputText", LLM_TEXT, 0),
    llm_leaf("message", LLM_TEXT, 0),
    llm_node("texts", LLM_TEXT, LLM_WALK_ARRAY, llm_no_members),
    llm_limit("max_tokens", LLM_LIMIT, 2),
    llm_limit("max_completion_tokens", LLM_LIMIT_FIRST, 3),
    llm_limit("max_tokens_to_sample", LLM_LIMIT, 4),
    llm_limit("max_gen_len", LLM_LIMIT, 5),
    llm_fact("inferenceConfig", LLM_CONFIG, 6, LLM_WALK_OBJECT,
             llm_invoke_config, "an object"),
    llm_fact("textGenerationConfig", LLM_CONFIG, 7, LLM_WALK_OBJECT,
             llm_invoke_config, "an object"),
    llm_fact("n", LLM_CHOICES, 8, 0, NULL, "a whole number from 1 to 128"),
    llm_fact("num_generations", LLM_CHOICES, 9, 0, NULL,
             "a whole number from 1 to 128"),
    llm_fact("tools", LLM_TOOLS, 10, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("tool_choice", LLM_TOOL_CHOICE, 11, LLM_WALK_OBJECT,
             llm_converse_chosen, "an object"),
    llm_fact("thinking", LLM_THINKING, 12, LLM_WALK_OBJECT,
             llm_converse_thinking, "an object"),
    llm_fact("toolConfig", LLM_TOOLS_CONFIG, 13, LLM_WALK_OBJECT,
             llm_converse_tools, "an object"),
    llm_members_end
};


static const llm_member_t  llm_invoke_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_invoke_request_members);


static const llm_member_t  llm_invoke_delta_block[] = {
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_made),
    llm_members_end
};


static const llm_member_t  llm_invoke_metadata[] = {
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_converse_usage),
    llm_members_end
};


static const llm_member_t  llm_invoke_text[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("outputText", LLM_TEXT, 0),
    llm_leaf("tokenCount", LLM_COUNT_ADDED, LLM_COUNT_OUTPUT),
    llm_members_end
};


/*
 * The whole is a usage of the few makers that count at its top level; of
 * Anthropic's an event has one of its own inside, which is read first.
 */

static const llm_member_t  llm_invoke_reply_members[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_TYPE),
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_messages_delta),
    llm_leaf("model", LLM_MODEL, 0),
    llm_list("content", LLM_PLAIN, 0, llm_messages_reply_block),
    llm_node("content_block", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_reply_block),
    llm_node("message", LLM_FAILURE_TEXT, LLM_WALK_OBJECT,
             llm_messages_start),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_converse_usage),
    { llm_member_name("amazon-bedrock-invocationMetrics"), LLM_USAGE,
      LLM_WALK_OBJECT, LLM_USAGE_LAST, llm_messages_metrics, NULL, NULL },
    llm_leaf("error", LLM_FAILURE, 0),

    llm_node("contentBlockDelta", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_invoke_delta_block),
    llm_node("metadata", LLM_PLAIN, LLM_WALK_OBJECT, llm_invoke_metadata),
    llm_node("output", LLM_PLAIN, LLM_WALK_OBJECT, llm_converse_output),

    llm_leaf("generation", LLM_TEXT, 0),
    llm_leaf("prompt_token_count", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("generation_token_count", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("outputText", LLM_TEXT, 0),
    llm_leaf("inputTextTokenCount", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("totalOutputTextTokenCount", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_list("results", LLM_PLAIN, 0, llm_invoke_text),
    llm_list("outputs", LLM_PLAIN, 0, llm_invoke_text),
    llm_list("generations", LLM_PLAIN, 0, llm_invoke_text),
    llm_leaf("completion", LLM_TEXT, 0),
    llm_node("choices", LLM_CHOICE, LLM_WALK_ARRAY, llm_openai_choice),
    llm_members_end
};


static const llm_member_t  llm_invoke_reply =
    llm_node("reply", LLM_USAGE, LLM_WALK_OBJECT, llm_invoke_reply_members);


static const llm_member_t  llm_invoke_chunk_members[] = {
    llm_leaf("bytes", LLM_BASE64, 0),
    llm_leaf("message", LLM_FAILURE_TEXT, 0),
    llm_members_end
};


const llm_member_t  llm_invoke_chunk =
    llm_node("chunk", LLM_PLAIN, LLM_WALK_OBJECT, llm_invoke_chunk_members);


const llm_dialect_t  llm_converse = {
    &llm_converse_request,
    &llm_converse_reply,
    0
};


const llm_dialect_t  llm_invoke = {
    &llm_invoke_request,
    &llm_invoke_reply,
    0
};
