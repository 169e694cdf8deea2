
/*
 * Copyright (C) nginx-cycles authors
 *
 * OpenAI's chat completions, completions and embeddings, and what servers
 * that speak them add to them.
 */


#include "llm_dialect.h"


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


static const llm_member_t  llm_openai_cache[] = {
    llm_leaf("ttl", LLM_CACHE_TTL, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("refusal", LLM_TEXT, 0),
    llm_leaf("image_url", LLM_IMAGE, 0),
    llm_leaf("video_url", LLM_VIDEO, 0),
    llm_node("input_audio", LLM_AUDIO, LLM_WALK_OBJECT, llm_openai_audio),
    llm_node("file", LLM_FILE, LLM_WALK_OBJECT, llm_openai_file),
    llm_node("cache_control", LLM_CACHE_CONTROL, LLM_WALK_OBJECT,
             llm_openai_cache),
    llm_members_end
};


static const llm_member_t  llm_openai_message[] = {
    llm_ignored("role"),
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


static const llm_member_t  llm_openai_tool_name[] = {
    llm_leaf("name", LLM_TOOL_CHOICE, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_tool_choice[] = {
    llm_leaf("name", LLM_TOOL_CHOICE, 0),
    llm_node("function", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_tool_name),
    llm_node("custom", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_tool_name),
    llm_members_end
};


static const llm_member_t  llm_openai_search[] = {
    llm_leaf("search_context_size", LLM_SEARCH_SIZE, 0),
    llm_members_end
};


static const llm_member_t  llm_chat_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("messages", LLM_MESSAGES, 2, LLM_WALK_ARRAY, llm_openai_message,
             "an array"),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_fact("stream_options", LLM_STREAM_OPTIONS, 4, LLM_WALK_OBJECT,
             llm_openai_stream_options, "an object"),
    llm_limit("max_tokens", LLM_LIMIT, 5),
    llm_limit("max_completion_tokens", LLM_LIMIT_FIRST, 6),
    llm_fact("n", LLM_CHOICES, 7, 0, NULL, "a whole number from 1 to 128"),
    llm_fact("tools", LLM_TOOLS, 8, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("functions", LLM_TOOLS, 9, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("response_format", LLM_SCHEMA, 10, LLM_WALK_ALL, NULL,
             "an object"),
    llm_fact("tool_choice", LLM_TOOL_CHOICE, 11, LLM_WALK_OBJECT,
             llm_openai_tool_choice, "a string or an object"),
    llm_fact("function_call", LLM_TOOL_CHOICE, 12, LLM_WALK_OBJECT,
             llm_openai_tool_choice, "a string or an object"),
    llm_fact("service_tier", LLM_TIER, 13, 0, NULL, "a string"),
    llm_node("web_search_options", LLM_SEARCH, LLM_WALK_OBJECT,
             llm_openai_search),
    llm_members_end
};


static const llm_member_t  llm_chat_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_chat_request_members);


static const llm_member_t  llm_completions_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("prompt", LLM_PROMPT, 2, LLM_WALK_ALL, NULL,
             "a string or an array"),
    llm_leaf("suffix", LLM_TEXT, 0),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_fact("stream_options", LLM_STREAM_OPTIONS, 4, LLM_WALK_OBJECT,
             llm_openai_stream_options, "an object"),
    llm_limit("max_tokens", LLM_LIMIT, 5),
    llm_fact("n", LLM_CHOICES, 7, 0, NULL, "a whole number from 1 to 128"),
    llm_fact("best_of", LLM_BEST_OF, 8, 0, NULL,
             "a whole number from 1 to 128"),
    llm_fact("service_tier", LLM_TIER, 13, 0, NULL, "a string"),
    llm_members_end
};


static const llm_member_t  llm_completions_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_completions_request_members);


static const llm_member_t  llm_embeddings_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("input", LLM_PROMPT, 2, LLM_WALK_ALL, NULL,
             "a string or an array"),
    llm_node("messages", LLM_PLAIN, LLM_WALK_ARRAY, llm_openai_message),
    llm_members_end
};


static const llm_member_t  llm_embeddings_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_embeddings_request_members);


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
    llm_ignored("role"),
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


const llm_member_t  llm_openai_choice[] = {
    llm_leaf("index", LLM_CHOICE_INDEX, 0),
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_delta),
    llm_node("message", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_delta),
    llm_ignored("finish_reason"),
    llm_ignored("logprobs"),
    llm_leaf("text", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_write_details[] = {
    llm_leaf("ttl_12h_tokens", LLM_COUNT, LLM_COUNT_WRITE_1H),
    llm_members_end
};


const llm_member_t  llm_openai_input_details[] = {
    llm_leaf("cached_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_leaf("cache_write_tokens", LLM_COUNT, LLM_COUNT_WRITE),
    llm_node("cache_write_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_write_details),
    llm_leaf("audio_tokens", LLM_COUNT, LLM_COUNT_INPUT_AUDIO),
    llm_leaf("image_tokens", LLM_COUNT, LLM_COUNT_INPUT_IMAGE),
    llm_leaf("video_tokens", LLM_COUNT, LLM_COUNT_INPUT_VIDEO),
    llm_members_end
};


const llm_member_t  llm_openai_output_details[] = {
    llm_leaf("reasoning_tokens", LLM_COUNT, LLM_COUNT_REASONING),
    llm_leaf("audio_tokens", LLM_COUNT, LLM_COUNT_OUTPUT_AUDIO),
    llm_leaf("image_tokens", LLM_COUNT, LLM_COUNT_OUTPUT_IMAGE),
    llm_members_end
};


static const llm_member_t  llm_openai_cost[] = {
    llm_leaf("total_cost", LLM_COST, LLM_COST_USD),
    llm_members_end
};


static const llm_member_t  llm_openai_cost_details[] = {
    llm_leaf("upstream_inference_cost", LLM_COST, LLM_COST_UPSTREAM),
    llm_members_end
};


/*
 * Chat completions count "prompt" and "completion", the newer APIs "input"
 * and "output", and transcriptions write "token_details".  Behind these is
 * what one provider alone reports.
 */

static const llm_member_t  llm_openai_usage[] = {
    llm_leaf("prompt_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("completion_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("total_tokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_node("prompt_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_input_details),
    llm_node("completion_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_output_details),

    llm_leaf("input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_node("input_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_input_details),
    llm_node("output_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_output_details),
    llm_node("input_token_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_input_details),
    llm_node("output_token_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_output_details),
    llm_leaf("seconds", LLM_MILLISECONDS, LLM_COUNT_MS),

    /* DeepSeek, Mistral */

    llm_leaf("prompt_cache_hit_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_leaf("num_cached_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_leaf("prompt_audio_seconds", LLM_MILLISECONDS, LLM_COUNT_MS),

    /* OpenRouter, xAI, Perplexity */

    llm_node("cost", LLM_COST, LLM_WALK_OBJECT, llm_openai_cost),
    llm_node("cost_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_cost_details),
    llm_leaf("is_byok", LLM_BYOK, 0),
    llm_leaf("cost_in_usd_ticks", LLM_COST, LLM_COST_TICKS),
    llm_leaf("num_sources_used", LLM_COUNT, LLM_COUNT_SEARCHES),
    llm_leaf("num_search_queries", LLM_COUNT, LLM_COUNT_SEARCHES),
    llm_leaf("citation_tokens", LLM_COUNT, LLM_COUNT_CITATIONS),
    llm_leaf("reasoning_tokens", LLM_COUNT, LLM_COUNT_REASONING_SOMEWHERE),
    llm_members_end
};


/* Groq's own member; its "error" is a text */

static const llm_member_t  llm_openai_x_groq[] = {
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_openai_usage),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


/* an element of the "output" of a response, which may call a tool */

static const llm_member_t  llm_openai_item[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_ITEM),
    llm_list("content", LLM_PLAIN, 0, llm_openai_reply_part),
    llm_list("summary", LLM_PLAIN, 0, llm_openai_reply_part),
    llm_leaf("name", LLM_TEXT, 0),
    llm_leaf("arguments", LLM_TEXT, 0),
    llm_leaf("input", LLM_TEXT, 0),
    llm_leaf("code", LLM_TEXT, 0),
    llm_members_end
};


/* what an event tells of it again; its texts were in events of their own */

static const llm_member_t  llm_openai_item_type[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_ITEM),
    llm_members_end
};


static const llm_member_t  llm_openai_conversation[] = {
    llm_leaf("id", LLM_TURN, LLM_TURN_CONVERSATION),
    llm_members_end
};


static const llm_member_t  llm_openai_response[] = {
    llm_leaf("id", LLM_TURN, LLM_TURN_REPLY),
    llm_node("conversation", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_conversation),
    llm_leaf("model", LLM_MODEL, 0),
    llm_leaf("service_tier", LLM_WORD, LLM_WORD_TIER),
    llm_list("output", LLM_ITEMS, 0, llm_openai_item_type),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_openai_usage),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_openai_image[] = {
    llm_leaf("b64_json", LLM_PICTURE, 0),
    llm_leaf("url", LLM_PICTURE, 0),
    llm_members_end
};


/*
 * All APIs of OpenAI have one reply: their members do not collide, and so
 * a request that came by an unusual path is still billed as it should be.
 */

static const llm_member_t  llm_openai_reply_members[] = {
    llm_leaf("id", LLM_TURN, LLM_TURN_REPLY),
    llm_ignored("object"),
    llm_ignored("created"),
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("choices", LLM_CHOICE, LLM_WALK_ARRAY, llm_openai_choice),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_openai_usage),
    llm_leaf("service_tier", LLM_WORD, LLM_WORD_TIER),
    llm_ignored("system_fingerprint"),
    llm_ignored("obfuscation"),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_node("x_groq", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_x_groq),
    llm_node("conversation", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_openai_conversation),

    llm_leaf("type", LLM_WORD, LLM_WORD_TYPE),
    llm_leaf("delta", LLM_TEXT, 0),
    llm_node("response", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_response),
    llm_node("item", LLM_ITEMS, LLM_WALK_OBJECT, llm_openai_item_type),
    llm_list("output", LLM_ITEMS, 0, llm_openai_item),
    llm_leaf("status", LLM_WORD, LLM_WORD_STATUS),

    llm_list("data", LLM_PLAIN, 0, llm_openai_image),
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("duration", LLM_MILLISECONDS, LLM_COUNT_MS),
    llm_members_end
};


const llm_member_t  llm_openai_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT, llm_openai_reply_members);


const llm_dialect_t  llm_chat = {
    &llm_chat_request,
    &llm_openai_reply,
    0
};


const llm_dialect_t  llm_completions = {
    &llm_completions_request,
    &llm_openai_reply,
    0
};


const llm_dialect_t  llm_embeddings = {
    &llm_embeddings_request,
    &llm_openai_reply,
    LLM_RULE_NO_OUTPUT
};
