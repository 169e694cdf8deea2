
/*
 * Copyright (C) nginx-cycles authors
 *
 * OpenAI's newer APIs: responses, images, audio, realtime.  Their replies are
 * those of llm_openai.c.
 */


#include "llm_dialect.h"


static const llm_member_t  llm_responses_part[] = {
    llm_leaf("text", LLM_TEXT, 0),
    llm_leaf("refusal", LLM_TEXT, 0),
    llm_leaf("image_url", LLM_IMAGE, 0),
    llm_leaf("file_id", LLM_FILE, 0),
    llm_leaf("file_url", LLM_FILE, 0),
    llm_leaf("file_data", LLM_FILE_DATA, 0),
    llm_members_end
};


/* an item is a message, a call of a tool, or what came of one */

static const llm_member_t  llm_responses_item[] = {
    llm_node("content", LLM_TEXT, LLM_WALK_ARRAY, llm_responses_part),
    llm_leaf("name", LLM_TEXT, 0),
    llm_leaf("arguments", LLM_TEXT, 0),
    llm_leaf("input", LLM_TEXT, 0),
    llm_leaf("code", LLM_TEXT, 0),
    llm_node("output", LLM_TEXT, LLM_WALK_ARRAY, llm_responses_part),
    llm_members_end
};


static const llm_member_t  llm_responses_choice[] = {
    llm_leaf("name", LLM_TOOL_CHOICE, 0),
    llm_members_end
};


static const llm_member_t  llm_responses_conversation[] = {
    llm_leaf("id", LLM_STATE_ID, 0),
    llm_members_end
};


/* "inputs" and "agent_id" are those of Mistral's conversations */

static const llm_member_t  llm_responses_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("input", LLM_MESSAGES_OR_TEXT, 2, LLM_WALK_ARRAY,
             llm_responses_item, "a string or an array"),
    llm_fact("inputs", LLM_MESSAGES_OR_TEXT, 3, LLM_WALK_ARRAY,
             llm_responses_item, "a string or an array"),
    llm_leaf("instructions", LLM_TEXT, 0),
    llm_fact("stream", LLM_STREAM, 4, 0, NULL, "true or false"),
    llm_limit("max_output_tokens", LLM_LIMIT, 5),
    llm_fact("max_tool_calls", LLM_TOOL_USES, 6, 0, NULL,
             "a whole number"),
    llm_fact("tools", LLM_TOOLS, 7, LLM_WALK_ALL, NULL, "an array"),
    llm_fact("tool_choice", LLM_TOOL_CHOICE, 8, LLM_WALK_OBJECT,
             llm_responses_choice, "a string or an object"),
    llm_fact("text", LLM_SCHEMA, 9, LLM_WALK_ALL, NULL, "an object"),
    llm_fact("service_tier", LLM_TIER, 10, 0, NULL, "a string"),
    llm_fact("background", LLM_BACKGROUND, 11, 0, NULL, "true or false"),
    llm_leaf("previous_response_id", LLM_STATE, LLM_STATE_TURN),
    { llm_member_name("conversation"), LLM_STATE, LLM_WALK_OBJECT,
      LLM_STATE_TURN, llm_responses_conversation, NULL, NULL },
    llm_leaf("prompt", LLM_STATE, 0),
    llm_leaf("agent_id", LLM_STATE, 0),
    llm_members_end
};


static const llm_member_t  llm_responses_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_responses_members);


static const llm_member_t  llm_images_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_leaf("prompt", LLM_TEXT, 0),
    llm_fact("n", LLM_MADE, 2, 0, NULL, "a whole number from 1 to 128"),
    llm_fact("size", LLM_MADE_SIZE, 4, 0, NULL, "a string"),
    llm_fact("quality", LLM_MADE_QUALITY, 5, 0, NULL, "a string"),
    llm_fact("stream", LLM_STREAM, 3, 0, NULL, "true or false"),
    llm_members_end
};


static const llm_member_t  llm_images_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_images_members);


static const llm_member_t  llm_speech_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_fact("input", LLM_SPOKEN, 2, 0, NULL, "a string"),
    llm_leaf("instructions", LLM_TEXT, 0),
    llm_members_end
};


static const llm_member_t  llm_speech_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_speech_members);


/* usually a form */

static const llm_member_t  llm_transcriptions_members[] = {
    llm_fact("model", LLM_MODEL, 1, 0, NULL, "a string"),
    llm_leaf("prompt", LLM_TEXT, 0),
    llm_fact("stream", LLM_STREAM, 2, 0, NULL, "true or false"),
    llm_leaf("file", LLM_AUDIO_DATA, 0),
    llm_leaf("url", LLM_AUDIO, 0),
    llm_members_end
};


static const llm_member_t  llm_transcriptions_request =
    llm_node("body", LLM_PLAIN, LLM_WALK_OBJECT, llm_transcriptions_members);


static const llm_member_t  llm_realtime_cached[] = {
    llm_leaf("audio_tokens", LLM_COUNT, LLM_COUNT_CACHED_AUDIO),
    llm_members_end
};


static const llm_member_t  llm_realtime_input[] = {
    llm_leaf("audio_tokens", LLM_COUNT, LLM_COUNT_INPUT_AUDIO),
    llm_leaf("image_tokens", LLM_COUNT, LLM_COUNT_INPUT_IMAGE),
    llm_leaf("cached_tokens", LLM_COUNT, LLM_COUNT_CACHED),
    llm_node("cached_tokens_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_realtime_cached),
    llm_members_end
};


static const llm_member_t  llm_realtime_output[] = {
    llm_leaf("audio_tokens", LLM_COUNT, LLM_COUNT_OUTPUT_AUDIO),
    llm_members_end
};


static const llm_member_t  llm_realtime_usage[] = {
    llm_leaf("input_tokens", LLM_COUNT, LLM_COUNT_INPUT),
    llm_leaf("output_tokens", LLM_COUNT, LLM_COUNT_OUTPUT),
    llm_leaf("total_tokens", LLM_COUNT, LLM_COUNT_TOTAL),
    llm_node("input_token_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_realtime_input),
    llm_node("output_token_details", LLM_PLAIN, LLM_WALK_OBJECT,
             llm_realtime_output),
    llm_members_end
};


static const llm_member_t  llm_realtime_response[] = {
    llm_node("usage", LLM_USAGE, LLM_WALK_OBJECT, llm_realtime_usage),
    llm_members_end
};


/*
 * The transcription of what a user said has a usage of its own, at the price
 * of another model: it is not a part of the session's.
 */

static const llm_member_t  llm_realtime_members[] = {
    llm_node("response", LLM_PLAIN, LLM_WALK_OBJECT, llm_realtime_response),
    llm_leaf("error", LLM_FAILURE, 0),
    llm_members_end
};


static const llm_member_t  llm_realtime_event =
    llm_node("event", LLM_PLAIN, LLM_WALK_OBJECT, llm_realtime_members);


const llm_dialect_t  llm_responses = {
    &llm_responses_request,
    &llm_openai_reply,
    0
};


const llm_dialect_t  llm_images = {
    &llm_images_request,
    &llm_openai_reply,
    0
};


const llm_dialect_t  llm_speech = {
    &llm_speech_request,
    &llm_openai_reply,
    0
};


const llm_dialect_t  llm_transcriptions = {
    &llm_transcriptions_request,
    &llm_openai_reply,
    0
};


const llm_dialect_t  llm_realtime = {
    &llm_responses_request,
    &llm_realtime_event,
    LLM_RULE_SUM|LLM_RULE_LINES
};
