
/*
 * Copyright (C) nginx-cycles authors
 *
 * An API that is not known.  What most of them share is read; whatever the
 * body is, it is no error, and all of it counts as input.
 */


#include "llm_dialect.h"


static const llm_member_t  llm_other_request_members[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_leaf("stream", LLM_STREAM, 0),
    llm_leaf("max_tokens", LLM_LIMIT, 0),
    llm_leaf("max_completion_tokens", LLM_LIMIT, 0),
    llm_leaf("max_output_tokens", LLM_LIMIT, 0),
    llm_leaf("n", LLM_CHOICES, 0),
    llm_members_end
};


static const llm_member_t  llm_other_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_other_request_members);


/* cached tokens beside the input are the dearer reading of these names */

static const llm_member_t  llm_other_usage[] = {
    llm_leaf("prompt_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("completion_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("total_tokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_node("prompt_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_input_details),
    llm_node("completion_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_output_details),
    llm_leaf("cache_read_input_tokens", LLM_COUNT, LLM_COUNT_CACHED_APART),
    llm_leaf("cache_creation_input_tokens", LLM_COUNT,
             LLM_COUNT_WRITE_APART),
    llm_members_end
};


static const llm_member_t  llm_other_told[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_other_usage),
    llm_members_end
};


static const llm_member_t  llm_other_reply_members[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("choices", LLM_CHOICE, LLM_WALK_ARRAY, llm_openai_choice),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_other_usage),
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_other_told),
    llm_node("response", LLM_PLAIN, LLM_WALK_OBJECT, llm_other_told),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_other_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT, llm_other_reply_members);


const llm_dialect_t  llm_other = {
    &llm_other_request,
    &llm_other_reply,
    LLM_RULE_LENIENT
};
