
/*
 * Copyright (C) nginx-cycles authors
 *
 * OpenAI Chat Completions, and what servers that speak it add to it.
 */


#include "llm_dialect.h"


/* a member that is no more than a value, or only leads to other members */

#define llm_leaf(name, kind, slot)                                            \
    { name, sizeof(name) - 1, kind, 0, slot, NULL, NULL, NULL }

#define llm_node(name, kind, flags, members)                                  \
    { name, sizeof(name) - 1, kind, flags, 0, members, NULL, NULL }

/* a member that may be there only once, and what its value must be */

#define llm_fact(name, kind, slot, flags, members, must)                      \
    { name, sizeof(name) - 1, kind, flags, slot, members,                     \
      "member \"" name "\" is there twice",                                   \
      "member \"" name "\" must be " must }


static const llm_member_t  llm_openai_function[] = {
    llm_leaf("name", LLM_TEXT, 0),
    llm_leaf("arguments", LLM_TEXT, 0),
    llm_leaf("input", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_tool_call[] = {
    llm_node("function", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_function),
    llm_node("custom", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_function),
    llm_members_end
};


static const llm_member_t  llm_openai_audio[] = {
    llm_leaf("data", LLM_AUDIO_DATA, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_file[] = {
    llm_leaf("file_data", LLM_FILE_DATA, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("refusal", LLM_TEXT, 0),
    llm_leaf("image_url", LLM_IMAGE, 0),
    llm_leaf("video_url", LLM_VIDEO, 0),
    llm_node("input_audio", LLM_AUDIO, LLM_WALK_OBJECT, llm_openai_audio),
    llm_node("file", LLM_FILE, LLM_WALK_OBJECT, llm_openai_file),
    llm_members_end
};


static const llm_member_t  llm_openai_message[] = {
    llm_node("content", LLM_TEXT, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_openai_part),
    llm_leaf("name", LLM_TEXT, 0),
    llm_leaf("refusal", LLM_TEXT, 0),
    llm_leaf("reasoning", LLM_TEXT, 0),
    llm_leaf("reasoning_content", LLM_TEXT, 0),
    llm_node("tool_calls", LLM_PLAIN, LLM_WALK_ARRAY, llm_openai_tool_call),
    llm_node("function_call", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_function),
    llm_leaf("audio", LLM_AUDIO, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_stream_options[] = {
    llm_fact("include_usage", LLM_INCLUDE_USAGE, 0, 0, NULL,
             "true or false"),
    llm_members_end
};


static const llm_member_t  llm_openai_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("messages", LLM_MESSAGES, 2, LLM_WALK_ARRAY, llm_openai_message,
             "an array"),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_fact("stream_options", LLM_STREAM_OPTIONS, 4, LLM_WALK_OBJECT,
             llm_openai_stream_options, "an object"),
    llm_fact("max_tokens", LLM_MAX_TOKENS, 5, 0, NULL,
             "a whole number of at least 1"),
    llm_fact("max_completion_tokens", LLM_MAX_COMPLETION_TOKENS, 6, 0, NULL,
             "a whole number of at least 1"),
    llm_fact("n", LLM_CHOICES, 7, 0, NULL, "a whole number from 1 to 128"),
    llm_fact("tools", LLM_TOOLS, 8, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("functions", LLM_TOOLS, 9, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("response_format", LLM_SCHEMA, 10, LLM_WALK_ALL, NULL,
             "an object"),
    llm_members_end
};


static const llm_member_t  llm_openai_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_request_members);


/* Mistral sends its reasoning as a list of texts inside a part */

static const llm_member_t  llm_openai_reply_text[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_reply_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("refusal", LLM_TEXT, 0),
    llm_node("thinking", LLM_TEXT, LLM_WALK_ARRAY, llm_openai_reply_text),
    llm_members_end
};


static const llm_member_t  llm_openai_reply_audio[] = {
    llm_leaf("transcript", LLM_TEXT, 0),
    llm_members_end
};


/* of a stream's "delta" as of a whole "message" */

static const llm_member_t  llm_openai_delta[] = {
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_openai_reply_part),
    llm_leaf("refusal", LLM_TEXT, 0),
    llm_leaf("reasoning", LLM_TEXT, 0),
    llm_leaf("reasoning_content", LLM_TEXT, 0),
    llm_node("tool_calls", LLM_PLAIN, LLM_WALK_ARRAY, llm_openai_tool_call),
    llm_node("function_call", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_function),
    llm_node("audio", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_reply_audio),
    llm_members_end
};


static const llm_member_t  llm_openai_choice[] = {
    llm_leaf("index", LLM_CHOICE_INDEX, 0),
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_delta),
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_delta),
    llm_leaf("text", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_input_details[] = {
    llm_leaf("cached_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_leaf("cache_write_tokens", LLM_COUNT, LLM_COUNT_CACHE_WRITE),
    llm_members_end
};


static const llm_member_t  llm_openai_output_details[] = {
    llm_leaf("reasoning_tokens", LLM_COUNT, LLM_COUNT_REASONING),
    llm_members_end
};


static const llm_member_t  llm_openai_usage[] = {
    llm_leaf("prompt_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("completion_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("total_tokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_node("prompt_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_input_details),
    llm_node("completion_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_output_details),
    llm_members_end
};


static const llm_member_t  llm_openai_reply_members[] = {
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("choices", LLM_CHOICE, LLM_WALK_ARRAY, llm_openai_choice),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_openai_usage),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_reply_members);


const llm_dialect_t  llm_openai = {
    &llm_openai_request,
    &llm_openai_reply
};
