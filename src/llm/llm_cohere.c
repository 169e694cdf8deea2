
/*
 * Copyright (C) nginx-cycles authors
 *
 * Cohere: chat of both versions, embed, rerank.  What is billed is
 * "billed_units"; "tokens" are more, they include Cohere's own template.
 */


#include "llm_dialect.h"


static const llm_member_t  llm_cohere_function[] = {
    llm_leaf("name", LLM_TEXT, 0),
    llm_leaf("arguments", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_cohere_call[] = {
    llm_node("function", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_function),
    llm_members_end
};


static const llm_member_t  llm_cohere_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("thinking", LLM_TEXT, 0),
    llm_leaf("image_url", LLM_IMAGE, 0),
    llm_node("document", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_cohere_message[] = {
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_cohere_part),
    llm_leaf("message", LLM_TEXT, 0),
    llm_leaf("tool_plan", LLM_TEXT, 0),
    llm_list("tool_calls", LLM_PLAIN, 0, llm_cohere_call),
    llm_members_end
};


/* "message", "chat_history" and "preamble" are those of version 1 */

static const llm_member_t  llm_cohere_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("messages", LLM_MESSAGES, 2, LLM_WALK_ARRAY, llm_cohere_message,
             "an array"),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_limit("max_tokens", LLM_LIMIT, 4),
    llm_fact("tools", LLM_TOOLS, 5, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("tool_choice", LLM_TOOL_CHOICE, 6, 0, NULL, "a string"),
    llm_node("documents", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("response_format", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_leaf("message", LLM_TEXT, 0),
    llm_leaf("preamble", LLM_TEXT, 0),
    llm_list("chat_history", LLM_PLAIN, 0, llm_cohere_message),
    llm_leaf("conversation_id", LLM_STATE, 0),
    llm_members_end
};


static const llm_member_t  llm_cohere_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_request_members);


static const llm_member_t  llm_cohere_embed_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_node("texts", LLM_TEXT, LLM_WALK_ARRAY, llm_no_members),
    llm_node("images", LLM_IMAGE, LLM_WALK_ARRAY, llm_no_members),
    llm_list("inputs", LLM_PLAIN, 0, llm_cohere_message),
    llm_leaf("query", LLM_TEXT, 0),
    llm_node("documents", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_cohere_embed_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_embed_members);


static const llm_member_t  llm_cohere_units[] = {
    llm_leaf("input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("search_units", LLM_COUNT, LLM_COUNT_QUERIES),
    llm_members_end
};


static const llm_member_t  llm_cohere_usage[] = {
    llm_node("billed_units", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_units),
    llm_leaf("cached_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_members_end
};


/* an element of a stream is an object, that of a whole reply in a list */

static const llm_member_t  llm_cohere_made[] = {
    llm_node("content", LLM_PLAIN, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_cohere_part),
    llm_leaf("tool_plan", LLM_TEXT, 0),
    llm_node("tool_calls", LLM_PLAIN, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_cohere_call),
    llm_members_end
};


static const llm_member_t  llm_cohere_delta[] = {
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_made),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_cohere_usage),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_cohere_end[] = {
    llm_node("meta", LLM_USAGE, LLM_WALK_OBJECT, llm_cohere_usage),
    llm_members_end
};


/* an error is a text "message" */

static const llm_member_t  llm_cohere_reply_members[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_TYPE),
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_delta),
    llm_node("message", LLM_FAILURE_TEXT, LLM_WALK_OBJECT, llm_cohere_made),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_cohere_usage),
    llm_node("meta", LLM_USAGE, LLM_WALK_OBJECT, llm_cohere_usage),
    llm_leaf("event_type", LLM_WORD, LLM_WORD_TYPE),
    llm_node("response", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_end),
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_cohere_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT, llm_cohere_reply_members);


const llm_dialect_t  llm_cohere_chat = {
    &llm_cohere_request,
    &llm_cohere_reply,
    0
};


const llm_dialect_t  llm_cohere_embed = {
    &llm_cohere_embed_request,
    &llm_cohere_reply,
    LLM_RULE_NO_OUTPUT
};
