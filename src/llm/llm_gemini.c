
/*
 * Copyright (C) nginx-cycles authors
 *
 * Google's own APIs: generateContent of Gemini and Vertex, embeddings,
 * interactions, predict.  Requests may spell a member of two words in either
 * way, which is one member.
 */


#include "llm_dialect.h"


/* a part of a content, whichever way it is spelled */

static const llm_member_t  llm_generate_blob[] = {
    llm_leaf("mimeType", LLM_MIME, 0),
    llm_leaf("mime_type", LLM_MIME, 0),
    llm_leaf("data", LLM_INLINE_DATA, 0),
    llm_members_end
};


static const llm_member_t  llm_generate_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("inlineData", LLM_INLINE, LLM_WALK_OBJECT, llm_generate_blob),
    llm_node("inline_data", LLM_INLINE, LLM_WALK_OBJECT, llm_generate_blob),
    llm_node("fileData", LLM_INLINE, LLM_WALK_OBJECT, llm_generate_blob),
    llm_node("file_data", LLM_INLINE, LLM_WALK_OBJECT, llm_generate_blob),
    llm_node("functionCall", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("function_call", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("functionResponse", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("function_response", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_generate_content[] = {
    llm_node("parts", LLM_PLAIN, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_generate_part),
    llm_members_end
};


static const llm_member_t  llm_generate_thinking[] = {
    llm_fact("thinkingBudget", LLM_THINKING_BUDGET, 20, 0, NULL,
             "a whole number"),
    llm_fact("thinking_budget", LLM_THINKING_BUDGET, 20, 0, NULL,
             "a whole number"),
    llm_members_end
};


static const llm_member_t  llm_generate_config[] = {
    llm_limit("maxOutputTokens", LLM_LIMIT, 21),
    llm_limit("max_output_tokens", LLM_LIMIT, 21),
    llm_fact("candidateCount", LLM_CHOICES, 22, 0, NULL,
             "a whole number from 1 to 128"),
    llm_fact("candidate_count", LLM_CHOICES, 22, 0, NULL,
             "a whole number from 1 to 128"),
    llm_fact("thinkingConfig", LLM_THINKING, 23, LLM_WALK_OBJECT,
             llm_generate_thinking, "an object"),
    llm_fact("thinking_config", LLM_THINKING, 23, LLM_WALK_OBJECT,
             llm_generate_thinking, "an object"),
    llm_node("responseSchema", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("response_schema", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("responseJsonSchema", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_generate_request_members[] = {
    llm_fact("contents", LLM_MESSAGES, 1, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_generate_content, "an array"),
    llm_node("systemInstruction", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_content),
    llm_node("system_instruction", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_content),
    llm_fact("generationConfig", LLM_CONFIG, 2, LLM_WALK_OBJECT,
             llm_generate_config, "an object"),
    llm_fact("generation_config", LLM_CONFIG, 2, LLM_WALK_OBJECT,
             llm_generate_config, "an object"),
    llm_fact("tools", LLM_TOOLS, 3, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("toolConfig", LLM_TOOL_CHOICE, 4, LLM_WALK_OBJECT,
             llm_no_members, "an object"),
    llm_fact("tool_config", LLM_TOOL_CHOICE, 4, LLM_WALK_OBJECT,
             llm_no_members, "an object"),
    llm_fact("serviceTier", LLM_TIER, 5, 0, NULL, "a string"),
    llm_fact("service_tier", LLM_TIER, 5, 0, NULL, "a string"),
    llm_leaf("cachedContent", LLM_STATE, LLM_STATE_CACHED),
    llm_leaf("cached_content", LLM_STATE, LLM_STATE_CACHED),
    llm_members_end
};


static const llm_member_t  llm_generate_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_request_members);


static const llm_member_t  llm_generate_details[] = {
    llm_leaf("modality", LLM_WORD, LLM_WORD_DETAIL),
    llm_leaf("tokenCount", LLM_DETAIL_COUNT, 0),
    llm_leaf("tokens", LLM_DETAIL_COUNT, 0),
    llm_members_end
};


static const llm_member_t  llm_generate_usage[] = {
    llm_leaf("promptTokenCount", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("toolUsePromptTokenCount", LLM_COUNT, LLM_COUNT_INPUT_TOOLS),
    llm_leaf("cachedContentTokenCount", LLM_COUNT, LLM_COUNT_CACHED),
    llm_leaf("candidatesTokenCount", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("responseTokenCount", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("thoughtsTokenCount", LLM_COUNT, LLM_COUNT_REASONING_APART),
    llm_leaf("totalTokenCount", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_list("promptTokensDetails", LLM_DETAILS, LLM_DETAILS_INPUT,
             llm_generate_details),
    llm_list("toolUsePromptTokensDetails", LLM_DETAILS, LLM_DETAILS_INPUT,
             llm_generate_details),
    llm_list("cacheTokensDetails", LLM_DETAILS, LLM_DETAILS_CACHED,
             llm_generate_details),
    llm_list("candidatesTokensDetails", LLM_DETAILS, LLM_DETAILS_OUTPUT,
             llm_generate_details),
    llm_leaf("serviceTier", LLM_WORD, LLM_WORD_TIER),
    llm_leaf("trafficType", LLM_WORD, LLM_WORD_TIER),
    llm_members_end
};


static const llm_member_t  llm_generate_code[] = {
    llm_leaf("code", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_generate_reply_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("functionCall", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("executableCode", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_code),
    llm_members_end
};


static const llm_member_t  llm_generate_reply_content[] = {
    llm_list("parts", LLM_PLAIN, 0, llm_generate_reply_part),
    llm_members_end
};


static const llm_member_t  llm_generate_grounding[] = {
    llm_list("webSearchQueries", LLM_ELEMENTS, LLM_COUNT_SEARCHES,
             llm_no_members),
    llm_members_end
};


static const llm_member_t  llm_generate_candidate[] = {
    llm_node("content", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_reply_content),
    llm_leaf("finishReason", LLM_WORD, LLM_WORD_FINISH),
    llm_leaf("index", LLM_CHOICE_INDEX, 0),
    llm_node("groundingMetadata", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_grounding),
    llm_members_end
};


static const llm_member_t  llm_generate_feedback[] = {
    llm_leaf("blockReason", LLM_WORD, LLM_WORD_FINISH),
    llm_members_end
};


static const llm_member_t  llm_generate_reply_members[] = {
    llm_node("candidates", LLM_CHOICE, LLM_WALK_ARRAY,
             llm_generate_candidate),
    llm_node("usageMetadata", LLM_USAGE, LLM_WALK_OBJECT,
             llm_generate_usage),
    llm_leaf("modelVersion", LLM_MODEL, 0),
    llm_node("promptFeedback", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_generate_feedback),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


/* a stream without "alt=sse" is one array */

static const llm_member_t  llm_generate_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_generate_reply_members);


static const llm_member_t  llm_embed_requests[] = {
    llm_node("content", LLM_PLAIN, LLM_WALK_OBJECT, llm_generate_content),
    llm_members_end
};


static const llm_member_t  llm_embed_request_members[] = {
    llm_node("content", LLM_PLAIN, LLM_WALK_OBJECT, llm_generate_content),
    llm_list("requests", LLM_PLAIN, 0, llm_embed_requests),
    llm_members_end
};


static const llm_member_t  llm_embed_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_embed_request_members);


/* interactions */

static const llm_member_t  llm_interactions_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("mime_type", LLM_MIME, 0),
    llm_leaf("data", LLM_FILE_DATA, 0),
    llm_leaf("uri", LLM_FILE, 0),
    llm_node("arguments", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_node("result", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_interactions_turn[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("data", LLM_FILE_DATA, 0),
    llm_leaf("uri", LLM_FILE, 0),
    llm_node("content", LLM_TEXT, LLM_WALK_OBJECT|LLM_WALK_ARRAY,
             llm_interactions_part),
    llm_node("result", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_interactions_config[] = {
    llm_limit("max_output_tokens", LLM_LIMIT, 21),
    llm_members_end
};


static const llm_member_t  llm_interactions_request_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("input", LLM_MESSAGES_OR_TEXT, 2,
             LLM_WALK_OBJECT|LLM_WALK_ARRAY, llm_interactions_turn,
             "a string, an object or an array"),
    llm_leaf("system_instruction", LLM_TEXT, 0),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_fact("generation_config", LLM_CONFIG, 4, LLM_WALK_OBJECT,
             llm_interactions_config, "an object"),
    llm_fact("tools", LLM_TOOLS, 5, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("background", LLM_BACKGROUND, 6, 0, NULL, "true or false"),
    llm_fact("service_tier", LLM_TIER, 7, 0, NULL, "a string"),
    llm_node("response_format", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_leaf("previous_interaction_id", LLM_STATE, LLM_STATE_TURN),
    llm_leaf("agent", LLM_STATE, 0),
    llm_members_end
};


static const llm_member_t  llm_interactions_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_interactions_request_members);


static const llm_member_t  llm_interactions_tools[] = {
    llm_leaf("type", LLM_WORD, LLM_WORD_DETAIL),
    llm_leaf("count", LLM_DETAIL_COUNT, 0),
    llm_members_end
};


static const llm_member_t  llm_interactions_usage[] = {
    llm_leaf("total_input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("total_tool_use_tokens", LLM_COUNT, LLM_COUNT_INPUT_TOOLS),
    llm_leaf("total_cached_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_leaf("total_output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("total_thought_tokens", LLM_COUNT, LLM_COUNT_REASONING_APART),
    llm_leaf("total_reasoning_tokens", LLM_COUNT, LLM_COUNT_REASONING_APART),
    llm_leaf("total_tokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_list("input_tokens_by_modality", LLM_DETAILS, LLM_DETAILS_INPUT,
             llm_generate_details),
    llm_list("cached_tokens_by_modality", LLM_DETAILS, LLM_DETAILS_CACHED,
             llm_generate_details),
    llm_list("output_tokens_by_modality", LLM_DETAILS, LLM_DETAILS_OUTPUT,
             llm_generate_details),
    llm_list("grounding_tool_count", LLM_DETAILS, LLM_DETAILS_TOOLS,
             llm_interactions_tools),
    llm_members_end
};


static const llm_member_t  llm_interactions_text[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("arguments", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_interactions_step[] = {
    llm_list("content", LLM_PLAIN, 0, llm_interactions_text),
    llm_leaf("text", LLM_TEXT, 0),
    llm_node("arguments", LLM_VALUE, LLM_WALK_ALL, NULL),
    llm_members_end
};


static const llm_member_t  llm_interactions_told[] = {
    llm_leaf("id", LLM_TURN, LLM_TURN_REPLY),
    llm_leaf("model", LLM_MODEL, 0),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_interactions_usage),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_interactions_reply_members[] = {
    llm_leaf("id", LLM_TURN, LLM_TURN_REPLY),
    llm_leaf("event_type", LLM_WORD, LLM_WORD_TYPE),
    llm_node("delta", LLM_PLAIN, LLM_WALK_OBJECT, llm_interactions_text),
    llm_node("interaction", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_interactions_told),
    llm_leaf("model", LLM_MODEL, 0),
    llm_leaf("status", LLM_WORD, LLM_WORD_STATUS),
    llm_list("steps", LLM_PLAIN, 0, llm_interactions_step),
    llm_list("outputs", LLM_PLAIN, 0, llm_interactions_text),
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_interactions_usage),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_interactions_reply =
    llm_node("reply", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_interactions_reply_members);


/* predict: embeddings and images of Vertex */

static const llm_member_t  llm_predict_instance[] = {
    llm_leaf("content", LLM_TEXT, 0),
    llm_leaf("prompt", LLM_TEXT, 0),
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("title", LLM_TEXT, 0),
    llm_leaf("image", LLM_IMAGE, 0),
    llm_leaf("video", LLM_VIDEO, 0),
    llm_members_end
};


static const llm_member_t  llm_predict_parameters[] = {
    llm_fact("sampleCount", LLM_MADE, 2, 0, NULL,
             "a whole number from 1 to 128"),
    llm_members_end
};


static const llm_member_t  llm_predict_request_members[] = {
    llm_list("instances", LLM_PLAIN, 0, llm_predict_instance),
    llm_node("parameters", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_predict_parameters),
    llm_members_end
};


static const llm_member_t  llm_predict_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_predict_request_members);


static const llm_member_t  llm_predict_statistics[] = {
    llm_leaf("token_count", LLM_COUNT_ADDED, LLM_COUNT_INPUT),
    llm_members_end
};


static const llm_member_t  llm_predict_embeddings[] = {
    llm_node("statistics", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_predict_statistics),
    llm_members_end
};


static const llm_member_t  llm_predict_prediction[] = {
    llm_node("embeddings", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_predict_embeddings),
    llm_leaf("bytesBase64Encoded", LLM_PICTURE, 0),
    llm_leaf("gcsUri", LLM_PICTURE, 0),
    llm_members_end
};


static const llm_member_t  llm_predict_metadata[] = {
    llm_leaf("billableCharacterCount", LLM_COUNT, LLM_COUNT_CHARACTERS),
    llm_members_end
};


/* the whole is its usage */

static const llm_member_t  llm_predict_reply_members[] = {
    llm_list("predictions", LLM_PLAIN, 0, llm_predict_prediction),
    llm_node("metadata", LLM_PLAIN, LLM_WALK_OBJECT, llm_predict_metadata),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_predict_reply =
    llm_node("reply", LLM_USAGE, LLM_WALK_OBJECT, llm_predict_reply_members);


const llm_dialect_t  llm_generate = {
    &llm_generate_request,
    &llm_generate_reply,
    0
};


const llm_dialect_t  llm_gemini_embed = {
    &llm_embed_request,
    &llm_generate_reply,
    LLM_RULE_NO_OUTPUT
};


const llm_dialect_t  llm_interactions = {
    &llm_interactions_request,
    &llm_interactions_reply,
    0
};


const llm_dialect_t  llm_predict = {
    &llm_predict_request,
    &llm_predict_reply,
    LLM_RULE_NO_OUTPUT
};
