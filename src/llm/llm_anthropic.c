
/*
 * Copyright (C) nginx-cycles authors
 *
 * Anthropic's messages, on whatever host.
 */


#include "llm_dialect.h"


static const llm_member_t  llm_messages_cache[] = {
    llm_leaf("ttl", LLM_CACHE_TTL, 0),
    llm_members_end
};


static const llm_member_t  llm_messages_source[] = {
    llm_leaf("media_type", LLM_MIME, 0),
    llm_leaf("data", LLM_INLINE_DATA, 0),
    llm_members_end
};


/* what a tool has answered */

static const llm_member_t  llm_messages_result[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("source", LLM_INLINE, LLM_WALK_OBJECT, llm_messages_source),
    llm_node("cache_control", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_messages_cache),
    llm_members_end
};


static const llm_member_t  llm_messages_block[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("thinking", LLM_TEXT, 0),
    llm_leaf("title", LLM_TEXT, 0),
    llm_leaf("context", LLM_TEXT, 0),
    llm_node("source", LLM_INLINE, LLM_WALK_OBJECT, llm_messages_source),
    llm_leaf("name", LLM_TEXT, 0),
    llm_node("input", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("content", LLM_TEXT, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_messages_result),
    llm_node("cache_control", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_messages_cache),
    llm_members_end
};


static const llm_member_t  llm_messages_message[] = {
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_messages_block),
    llm_members_end
};


static const llm_member_t  llm_messages_thinking[] = {
    llm_fact("budget_tokens", LLM_THINKING_BUDGET, 9, 0, NULL,
             "a whole number"),
    llm_members_end
};


static const llm_member_t  llm_messages_choice[] = {
    llm_leaf("name", LLM_TOOL_CHOICE, 0),
    llm_members_end
};


/* on Bedrock and Vertex "model" is in the path */

static const llm_member_t  llm_messages_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("messages", LLM_MESSAGES, 2, LLM_WALK_ARRAY,
             llm_messages_message, "an array"),
    llm_node("system", LLM_TEXT, LLM_WALK_ARRAY, llm_messages_block),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_limit("max_tokens", LLM_LIMIT, 4),
    llm_fact("tools", LLM_TOOLS, 5, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("tool_choice", LLM_TOOL_CHOICE, 6, LLM_WALK_OBJECT,
             llm_messages_choice, "an object"),
    llm_fact("service_tier", LLM_TIER, 7, 0, NULL, "a string"),
    llm_fact("thinking", LLM_THINKING, 8, LLM_WALK_OBJECT,
             llm_messages_thinking, "an object"),
    llm_node("cache_control", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_messages_cache),
    llm_leaf("thread", LLM_STATE, 0),
    llm_leaf("inference_geo", LLM_GEO, 0),
    llm_leaf("speed", LLM_SPEED, 0),
    llm_members_end
};


static const llm_member_t  llm_messages_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_request_members);


const llm_member_t  llm_messages_creation[] = {
    llm_leaf("ephemeral_1h_input_tokens", LLM_COUNT, LLM_COUNT_WRITE_1H),
    llm_members_end
};


const llm_member_t  llm_messages_details[] = {
    llm_leaf("thinking_tokens", LLM_COUNT, LLM_COUNT_REASONING),
    llm_members_end
};


static const llm_member_t  llm_messages_server_tools[] = {
    llm_leaf("web_search_requests", LLM_COUNT, LLM_COUNT_SEARCHES),
    llm_members_end
};


/* a model that is asked as an advisor may have another price, see the docs */

static const llm_member_t  llm_messages_more_creation[] = {
    llm_leaf("ephemeral_1h_input_tokens", LLM_ITERATION_COUNT,
             LLM_MORE_WRITE_1H),
    llm_members_end
};


static const llm_member_t  llm_messages_iteration[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_ITERATION),
    llm_leaf("input_tokens", LLM_ITERATION_COUNT, LLM_MORE_INPUT),
    llm_leaf("cache_read_input_tokens", LLM_ITERATION_COUNT,
             LLM_MORE_CACHED),
    llm_leaf("cache_creation_input_tokens", LLM_ITERATION_COUNT,
             LLM_MORE_WRITE),
    llm_node("cache_creation", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_more_creation),
    llm_leaf("output_tokens", LLM_ITERATION_COUNT, LLM_MORE_OUTPUT),
    llm_members_end
};


static const llm_member_t  llm_messages_usage[] = {
    llm_leaf("input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("cache_read_input_tokens", LLM_COUNT, LLM_COUNT_CACHED_APART),
    llm_leaf("cache_creation_input_tokens", LLM_COUNT,
             LLM_COUNT_WRITE_APART),
    llm_node("cache_creation", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_creation),
    llm_leaf("output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_node("output_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_details),
    llm_node("server_tool_use", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_server_tools),
    llm_list("iterations", LLM_ITERATIONS, 0, llm_messages_iteration),
    llm_leaf("service_tier", LLM_WORD, LLM_WORD_TIER),
    llm_leaf("inference_geo", LLM_WORD, LLM_WORD_GEO),
    llm_leaf("speed", LLM_WORD, LLM_WORD_SPEED),
    llm_members_end
};


const llm_member_t  llm_messages_reply_block[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("thinking", LLM_TEXT, 0),
    llm_leaf("name", LLM_TEXT, 0),
    llm_node("input", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


const llm_member_t  llm_messages_delta[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("thinking", LLM_TEXT, 0),
    llm_leaf("partial_json", LLM_TEXT, 0),
    llm_members_end
};


const llm_member_t  llm_messages_start[] = {
    llm_leaf("model", LLM_MODEL, 0),
    { llm_member_name("usage"), LLM_USAGE, LLM_WALK_OBJECT, LLM_USAGE_EARLY,
      llm_messages_usage, NULL, NULL },
    llm_members_end
};


/* Bedrock's, in the last event of a stream */

const llm_member_t  llm_messages_metrics[] = {
    llm_leaf("inputTokenCount", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("outputTokenCount", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("cacheReadInputTokenCount", LLM_COUNT, LLM_COUNT_CACHED_APART),
    llm_leaf("cacheWriteInputTokenCount", LLM_COUNT, LLM_COUNT_WRITE_APART),
    llm_members_end
};


/* "input_tokens" alone is the reply of count_tokens */

static const llm_member_t  llm_messages_reply_members[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_TYPE),
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_messages_delta),
    llm_leaf("model", LLM_MODEL, 0),
    llm_list("content", LLM_PLAIN, 0, llm_messages_reply_block),
    llm_node("content_block", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_messages_reply_block),
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_messages_start),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_messages_usage),
    { llm_member_name("amazon-bedrock-invocationMetrics"), LLM_USAGE,
      LLM_WALK_OBJECT, LLM_USAGE_LAST, llm_messages_metrics, NULL, NULL },
    llm_leaf("input_tokens", LLM_COUNTED, 0),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_messages_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT, llm_messages_reply_members);


/* a line of the results of a batch */

static const llm_member_t  llm_batch_message[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_messages_usage),
    llm_members_end
};


static const llm_member_t  llm_batch_result[] = {
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_batch_message),
    llm_members_end
};


static const llm_member_t  llm_batch_members[] = {
    llm_node("result", LLM_PLAIN, LLM_WALK_OBJECT, llm_batch_result),
    llm_members_end
};


static const llm_member_t  llm_batch_line =
    llm_node("line", LLM_PLAIN, LLM_WALK_OBJECT, llm_batch_members);


const llm_dialect_t  llm_messages = {
    &llm_messages_request,
    &llm_messages_reply,
    0
};


const llm_dialect_t  llm_batch_results = {
    &llm_messages_request,
    &llm_batch_line,
    LLM_RULE_SUM|LLM_RULE_LINES
};
