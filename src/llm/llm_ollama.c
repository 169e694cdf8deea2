
/*
 * Copyright (C) nginx-cycles authors
 *
 * Local servers' own APIs: Ollama, llama.cpp.
 */


#include "llm_dialect.h"


static const llm_member_t  llm_ollama_function[] = {
    llm_leaf("name", LLM_TEXT, 0),
    llm_node("arguments", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_ollama_call[] = {
    llm_node("function", LLM_PLAIN, LLM_WALK_OBJECT, llm_ollama_function),
    llm_members_end
};


/* of a request as of a reply; the images are Base64 */

static const llm_member_t  llm_ollama_message[] = {
    llm_leaf("content", LLM_TEXT, 0),
    llm_leaf("thinking", LLM_TEXT, 0),
    llm_node("images", LLM_IMAGE, LLM_WALK_ARRAY, llm_no_members),
    llm_list("tool_calls", LLM_PLAIN, 0, llm_ollama_call),
    llm_members_end
};


static const llm_member_t  llm_ollama_options[] = {
    llm_fact("num_predict", LLM_LIMIT_OPEN, 21, 0, NULL, "a whole number"),
    llm_members_end
};


/* "input" is that of embed */

static const llm_member_t  llm_ollama_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("messages", LLM_MESSAGES, 2, LLM_WALK_ARRAY, llm_ollama_message,
             "an array"),
    llm_leaf("prompt", LLM_TEXT, 0),
    llm_leaf("suffix", LLM_TEXT, 0),
    llm_leaf("system", LLM_TEXT, 0),
    llm_leaf("template", LLM_TEXT, 0),
    llm_node("input", LLM_TEXT, LLM_WALK_ARRAY, llm_no_members),
    llm_node("images", LLM_IMAGE, LLM_WALK_ARRAY, llm_no_members),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_fact("options", LLM_CONFIG, 4, LLM_WALK_OBJECT, llm_ollama_options,
             "an object"),
    llm_fact("tools", LLM_TOOLS, 5, LLM_WALK_ALL, NULL, "an array"),
    llm_node("format", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("context", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_ollama_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_ollama_request_members);


/* the counts are left out when they are 0, and until it is done */

static const llm_member_t  llm_ollama_reply_members[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_ollama_message),
    llm_leaf("response", LLM_TEXT, 0),
    llm_leaf("thinking", LLM_TEXT, 0),
    llm_leaf("prompt_eval_count", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("eval_count", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("done", LLM_DONE, 0),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_ollama_reply =
    llm_node("reply", LLM_USAGE, LLM_WALK_OBJECT, llm_ollama_reply_members);


static const llm_member_t  llm_llamacpp_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("prompt", LLM_PROMPT, 2, LLM_WALK_ALL, NULL,
             "a string or an array"),
    llm_leaf("input_prefix", LLM_TEXT, 0),
    llm_leaf("input_suffix", LLM_TEXT, 0),
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_no_members),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_fact("n_predict", LLM_LIMIT_OPEN, 4, 0, NULL, "a whole number"),
    llm_fact("max_tokens", LLM_LIMIT_OPEN, 5, 0, NULL, "a whole number"),
    llm_fact("n", LLM_CHOICES, 6, 0, NULL, "a whole number from 1 to 128"),
    llm_members_end
};


static const llm_member_t  llm_llamacpp_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_llamacpp_request_members);


static const llm_member_t  llm_llamacpp_reply_members[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_leaf("content", LLM_TEXT, 0),
    llm_leaf("tokens_evaluated", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("tokens_predicted", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("stop", LLM_DONE, 0),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_llamacpp_reply =
    llm_node("reply", LLM_USAGE, LLM_WALK_OBJECT, llm_llamacpp_reply_members);


const llm_dialect_t  llm_ollama = {
    &llm_ollama_request,
    &llm_ollama_reply,
    LLM_RULE_LINES|LLM_RULE_STREAMS
};


const llm_dialect_t  llm_llamacpp = {
    &llm_llamacpp_request,
    &llm_llamacpp_reply,
    0
};
