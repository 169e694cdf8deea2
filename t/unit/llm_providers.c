
/*
 * Copyright (C) nginx-cycles authors
 *
 * Replies of every API: what of them counts, beside what the samples show,
 * and Bedrock's frames with whatever is wrong with them.
 */


#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>

#include "reply.h"
#include "tap.h"


static void test_replies(void);
static void test_headers(void);
static void test_formats(void);
static void test_frames(void);
static void test_bad_frames(void);
static void test_base64(void);
static void test_hostile(void);
static void test_depth(void);
static const char *describe(const llm_reply_t *rp);
static void say(char *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static size_t frame(unsigned char *p, const char *type, const char *event,
    const char *payload);
static size_t headers(unsigned char *p, const char *name, const char *value);
static unsigned char *number(unsigned char *p, size_t value);


int
main(void)
{
    test_replies();
    test_headers();
    test_formats();
    test_frames();
    test_bad_frames();
    test_base64();
    test_hostile();
    test_depth();

    return done_testing();
}


#define JSON   LLM_REPLY_JSON
#define SSE    LLM_REPLY_SSE
#define LINES  LLM_REPLY_LINES

#define DATA(text)  "data: " text "\n\n"

static struct {
    llm_api_t            api;
    llm_reply_format_t   format;
    const char          *body;
    const char          *found;
} replies[] = {

    /* OpenAI, and what speaks its dialects */

    { LLM_API_CHAT, JSON,
      "{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,"
      "\"total_tokens\":40,\"completion_tokens_details\":{"
      "\"reasoning_tokens\":25},\"cost_in_usd_ticks\":158500}}",
      "in=10 out=30 cached=0 written=0 thought=25 cost=15850000 seen done" },

    { LLM_API_CHAT, JSON,
      "{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"cost\":"
      "1.5e-05,\"is_byok\":true,\"cost_details\":{"
      "\"upstream_inference_cost\":0.001}}}",
      "in=1 out=1 cached=0 written=0 thought=0 cost=1015000000 seen done" },

    { LLM_API_CHAT, JSON,
      "{\"usage\":{\"cost\":0,\"is_byok\":false,\"cost_details\":{"
      "\"upstream_inference_cost\":0.001}}}", "cost=0 seen done" },

    { LLM_API_CHAT, JSON, "{\"usage\":{\"cost\":-1,\"prompt_tokens\":3,"
      "\"completion_tokens\":1}}",
      "in=3 out=1 cached=0 written=0 thought=0 seen done" },

    /* reasoning_tokens beside the others means what its company says */

    { LLM_API_CHAT, JSON,
      "{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,"
      "\"total_tokens\":15,\"reasoning_tokens\":3}}",
      "in=10 out=5 cached=0 written=0 thought=3 seen done" },
    { LLM_API_CHAT, JSON,
      "{\"usage\":{\"reasoning_tokens\":3,\"num_search_queries\":2,"
      "\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}",
      "in=10 out=8 cached=0 written=0 thought=3 searches=2 seen done" },

    { LLM_API_CHAT, JSON,
      "{\"x_groq\":{\"usage\":{\"dram_cached_tokens\":5}},\"usage\":{"
      "\"prompt_tokens\":3,\"completion_tokens\":1}}",
      "in=3 out=1 cached=0 written=0 thought=0 seen done" },
    { LLM_API_CHAT, SSE, DATA("{\"x_groq\":{\"error\":\"over_capacity\"}}"),
      "error" },
    { LLM_API_CHAT, SSE, DATA("{\"x_groq\":{\"error\":\"\"}}"), "" },

    { LLM_API_CHAT, JSON,
      "{\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":4,"
      "\"prompt_audio_seconds\":7,\"num_cached_tokens\":16}}",
      "in=20 out=4 cached=16 written=0 thought=0 ms=7000 seen done" },

    { LLM_API_CHAT, SSE,
      DATA("{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,"
           "\"prompt_tokens_details\":{\"cached_tokens\":8}}}")
      DATA("{\"usage\":null}")
      DATA("{\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,"
           "\"total_tokens\":0}}")
      DATA("{\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":6,"
           "\"prompt_tokens_details\":null}}"),
      "in=9 out=6 cached=8 written=0 thought=0 seen" },

    { LLM_API_CHAT, JSON, "{\"service_tier\":\"flex\",\"usage\":{"
      "\"prompt_tokens\":1,\"completion_tokens\":1}}",
      "in=1 out=1 cached=0 written=0 thought=0 tier=1 seen done" },
    { LLM_API_CHAT, JSON, "{\"service_tier\":\"f\\u0061st\"}",
      "tier=2 done" },
    { LLM_API_CHAT, JSON, "{\"service_tier\":\"default\"}", "tier=0 done" },

    { LLM_API_EMBEDDINGS, JSON, "{\"data\":[{\"embedding\":[0.1,2e-3]}],"
      "\"usage\":{\"prompt_tokens\":8}}",
      "in=8 out=0 cached=0 written=0 thought=0 seen done" },

    /* responses */

    { LLM_API_RESPONSES, JSON,
      "{\"status\":\"completed\",\"output\":[{\"type\":\"web_search_call\"}],"
      "\"output\":[]}", "done" },
    { LLM_API_RESPONSES, SSE,
      DATA("{\"type\":\"response.output_item.added\",\"item\":{\"type\":"
           "\"web_search_call\"}}")
      DATA("{\"type\":\"response.output_item.done\",\"item\":{\"type\":"
           "\"web_search_call\"}}")
      DATA("{\"type\":\"response.output_item.done\",\"item\":{\"type\":"
           "\"file_search_call\"}}")
      DATA("{\"type\":\"response.incomplete\",\"response\":{\"output\":[{"
           "\"type\":\"web_search_call\"},{\"type\":\"file_search_call\"},{"
           "\"type\":\"code_interpreter_call\"}],\"usage\":{\"input_tokens\":"
           "5,\"output_tokens\":2,\"total_tokens\":7,"
           "\"input_tokens_details\":{\"cache_write_tokens\":3,"
           "\"cache_write_tokens_details\":{\"ttl_12h_tokens\":2}}}}}"),
      "in=5 out=2 cached=0 written=3 1h=2 thought=0 searches=1 files=1 code=1"
      " seen done" },

    { LLM_API_RESPONSES, SSE,
      DATA("{\"type\":\"response.output_item.done\",\"item\":{\"type\":"
           "\"web_search_call\"}}")
      DATA("{\"type\":\"response.completed\",\"response\":{\"output\":[],"
           "\"service_tier\":\"priority\",\"usage\":{\"input_tokens\":5,"
           "\"output_tokens\":2}}}"),
      "in=5 out=2 cached=0 written=0 thought=0 searches=1 tier=2 seen done" },

    { LLM_API_RESPONSES, JSON, "{\"status\":\"in_progress\",\"usage\":null}",
      "pending done" },
    { LLM_API_RESPONSES, JSON, "{\"status\":\"failed\",\"error\":{"
      "\"code\":\"x\"},\"usage\":null}", "error done" },
    { LLM_API_RESPONSES, SSE, DATA("{\"type\":\"response.output_text.delta\","
      "\"delta\":\"Hello\",\"obfuscation\":\"xxxxxxxxxxxx\"}"),
      "text=2 later" },

    /* images and audio */

    { LLM_API_IMAGES, JSON, "{\"data\":[{\"url\":\"a\"},{\"b64_json\":\"b\"}"
      "]}", "images=2 seen done" },
    { LLM_API_IMAGES, SSE,
      DATA("{\"type\":\"image_generation.partial_image\",\"b64_json\":\"x\"}")
      DATA("{\"type\":\"image_generation.completed\",\"b64_json\":\"x\","
           "\"usage\":{\"input_tokens\":5,\"output_tokens\":7,"
           "\"total_tokens\":12,\"output_tokens_details\":{\"image_tokens\":"
           "6}}}"),
      "in=5 out=7 cached=0 written=0 thought=0 oi=6 images=1 seen done" },
    { LLM_API_TRANSCRIPTIONS, JSON, "{\"duration\":8.4705,\"text\":\"a\"}",
      "text=1 ms=8471 seen later done" },
    { LLM_API_TRANSCRIPTIONS, JSON, "{\"usage\":{\"type\":\"duration\","
      "\"seconds\":9},\"duration\":8.5}", "ms=9000 seen done" },
    { LLM_API_TRANSCRIPTIONS, JSON, "{\"duration\":-1}", "done" },

    /* Anthropic */

    { LLM_API_MESSAGES, SSE,
      DATA("{\"type\":\"message_start\",\"message\":{\"model\":\"m\","
           "\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":9,"
           "\"cache_creation\":{\"ephemeral_1h_input_tokens\":4},"
           "\"output_tokens\":1,\"service_tier\":\"priority\"}}}"),
      "in=12 out=1 cached=0 written=9 1h=4 tier=2 model=m seen early" },
    { LLM_API_MESSAGES, SSE,
      DATA("{\"type\":\"message_start\",\"message\":{\"usage\":{"
           "\"input_tokens\":3,\"cache_creation_input_tokens\":9,"
           "\"cache_creation\":{\"ephemeral_1h_input_tokens\":4},"
           "\"output_tokens\":1}}}")
      DATA("{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":20,"
           "\"input_tokens\":null,\"cache_read_input_tokens\":null}}")
      DATA("{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":35,"
           "\"server_tool_use\":{\"web_search_requests\":2}}}")
      DATA("{\"type\":\"message_stop\"}"),
      "in=12 out=35 cached=0 written=9 1h=4 thought=0 searches=2 seen done" },
    { LLM_API_MESSAGES, SSE,
      DATA("{\"type\":\"content_block_delta\",\"delta\":{\"type\":"
           "\"input_json_delta\",\"partial_json\":\"{\\\"usage\\\":{"
           "\\\"output_tokens\\\":9}}\"}}"),
      "text=9 later" },
    { LLM_API_MESSAGES, SSE,
      DATA("{\"type\":\"content_block_delta\",\"delta\":{\"type\":"
           "\"signature_delta\",\"signature\":\"EoEoEoEoEoEo\"}}"),
      "" },
    { LLM_API_MESSAGES, JSON,
      "{\"content\":[{\"type\":\"tool_use\",\"name\":\"a\",\"input\":{"
      "\"usage\":{\"input_tokens\":9}}}],\"usage\":{\"input_tokens\":1,"
      "\"output_tokens\":2,\"inference_geo\":\"US\",\"speed\":\"fast\"}}",
      "text=7 in=1 out=2 cached=0 written=0 thought=0 geo=1 fast seen done" },

    /* what is summed up in the usage already, and what is beside it */

    { LLM_API_MESSAGES, JSON,
      "{\"usage\":{\"iterations\":[{\"input_tokens\":100,"
      "\"output_tokens\":50,\"cache_read_input_tokens\":30,"
      "\"cache_creation_input_tokens\":20,\"cache_creation\":{"
      "\"ephemeral_1h_input_tokens\":5},\"type\":\"compaction\"},{\"type\":"
      "\"message\",\"input_tokens\":9,\"output_tokens\":9},{\"type\":"
      "\"advisor_message\",\"model\":\"x\",\"input_tokens\":7,"
      "\"output_tokens\":3,\"cache_creation\":null},{\"type\":"
      "\"fallback_message\",\"input_tokens\":9,\"output_tokens\":9}],"
      "\"input_tokens\":1,\"cache_read_input_tokens\":4,"
      "\"output_tokens\":2}}",
      "in=162 out=55 cached=34 written=20 1h=5 thought=0 seen done" },
    { LLM_API_MESSAGES, SSE,
      DATA("{\"type\":\"message_start\",\"message\":{\"usage\":{"
           "\"input_tokens\":3,\"output_tokens\":1,\"iterations\":null}}}")
      DATA("{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":20,"
           "\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":50,"
           "\"output_tokens\":9}]}}")
      DATA("{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":30,"
           "\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":50,"
           "\"output_tokens\":10},{\"type\":\"compaction\","
           "\"input_tokens\":5,\"output_tokens\":1}]}}")
      DATA("{\"type\":\"message_stop\"}"),
      "in=58 out=41 cached=0 written=0 thought=0 seen done" },

    /* Gemini */

    { LLM_API_GENERATE, JSON,
      "{\"usageMetadata\":{\"promptTokenCount\":7,\"totalTokenCount\":7},"
      "\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}",
      "in=7 out=0 cached=0 written=0 thought=0 seen done" },
    { LLM_API_GENERATE, SSE,
      DATA("{\"usageMetadata\":{\"promptTokenCount\":7,\"totalTokenCount\":"
           "27,\"thoughtsTokenCount\":20}}"),
      "in=7 out=20 cached=0 written=0 thought=20 seen" },
    { LLM_API_GENERATE, JSON,
      "[{\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":"
      "2}}\n,\r\n{\"candidates\":[{\"groundingMetadata\":{"
      "\"webSearchQueries\":[\"a\",\"b\"]},\"finishReason\":\"STOP\"}],"
      "\"usageMetadata\":{\"candidatesTokenCount\":4,\"promptTokenCount\":7,"
      "\"trafficType\":\"ON_DEMAND_FLEX\",\"candidatesTokensDetails\":[{"
      "\"tokenCount\":3,\"modality\":\"IMAGE\"},{\"modality\":\"AUDIO\","
      "\"tokenCount\":1}],\"promptTokensDetails\":[{\"modality\":\"VIDEO\","
      "\"tokenCount\":2},{\"modality\":\"VIDEO\",\"tokenCount\":3}],"
      "\"cacheTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":1}]}}]",
      "in=7 out=4 cached=0 written=0 thought=0 iv=5 ca=1 oa=1 oi=3"
      " searches=2 tier=1 seen done" },
    { LLM_API_GENERATE, JSON, "[]", "done" },
    { LLM_API_GENERATE, JSON, "[{\"error\":{\"code\":429}}]", "error done" },
    { LLM_API_GENERATE, JSON, "[{},[{\"usageMetadata\":{\"promptTokenCount\""
      ":9,\"totalTokenCount\":9}}]]", "done" },
    { LLM_API_INTERACTIONS, SSE,
      DATA("{\"event_type\":\"interaction.created\",\"interaction\":{"
           "\"model\":\"g\",\"status\":\"in_progress\"}}")
      DATA("{\"event_type\":\"step.delta\",\"delta\":{\"type\":\"text\","
           "\"text\":\"Hello\"}}")
      DATA("{\"event_type\":\"interaction.completed\",\"interaction\":{"
           "\"usage\":{\"total_input_tokens\":5,\"total_output_tokens\":3,"
           "\"total_thought_tokens\":2,\"total_tokens\":10,"
           "\"grounding_tool_count\":[{\"type\":\"google_search\",\"count\":"
           "4}]}}}"),
      "text=2 in=5 out=5 cached=0 written=0 thought=2 searches=4 model=g seen"
      " done" },
    { LLM_API_INTERACTIONS, JSON, "{\"status\":\"in_progress\"}",
      "pending done" },
    { LLM_API_PREDICT, JSON, "{\"predictions\":[{\"bytesBase64Encoded\":"
      "\"x\"},{\"bytesBase64Encoded\":\"y\"}]}", "images=2 seen done" },

    /* Bedrock */

    { LLM_API_CONVERSE, JSON,
      "{\"usage\":{\"inputTokens\":1,\"outputTokens\":2,\"totalTokens\":3},"
      "\"serviceTier\":{\"type\":\"priority\"}}",
      "in=1 out=2 cached=0 written=0 thought=0 tier=2 seen done" },
    { LLM_API_CONVERSE, JSON, "{\"output\":{\"message\":{\"content\":[{"
      "\"text\":\"Hello\"},{\"reasoningContent\":{\"reasoningText\":{"
      "\"text\":\"Hello\"}}}]}}}", "text=3 later done" },
    { LLM_API_CONVERSE, JSON, "{\"message\":\"Slow down.\"}", "error done" },
    { LLM_API_INVOKE, JSON, "{\"inputTextTokenCount\":5,\"results\":[{"
      "\"tokenCount\":7,\"outputText\":\"Hello\"}]}",
      "text=2 in=5 out=7 cached=0 written=0 thought=0 seen done" },
    { LLM_API_INVOKE, JSON, "{\"generation\":\"Hello\",\"prompt_token_count\""
      ":5,\"generation_token_count\":7}",
      "text=2 in=5 out=7 cached=0 written=0 thought=0 seen done" },
    { LLM_API_INVOKE, JSON, "{\"outputs\":[{\"text\":\"Hello\"}]}",
      "text=2 later done" },
    { LLM_API_INVOKE, JSON, "{\"model\":\"m\",\"usage\":{\"input_tokens\":1,"
      "\"cache_read_input_tokens\":4,\"output_tokens\":2}}",
      "in=5 out=2 cached=4 written=0 thought=0 model=m seen done" },
    { LLM_API_INVOKE, JSON, "{\"output\":{\"message\":{\"content\":[{"
      "\"text\":\"Hello\"}]}},\"usage\":{\"inputTokens\":1,\"outputTokens\":"
      "2,\"cacheReadInputTokenCount\":3}}",
      "text=2 in=4 out=2 cached=3 written=0 thought=0 seen done" },
    { LLM_API_INVOKE, JSON, "{\"choices\":[{\"message\":{\"content\":"
      "\"Hello\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
      "\"total_tokens\":3}}",
      "text=2 in=1 out=2 cached=0 written=0 thought=0 seen done" },

    /* Cohere */

    { LLM_API_COHERE_EMBED, JSON, "{\"meta\":{\"billed_units\":{"
      "\"input_tokens\":5}}}",
      "in=5 out=0 cached=0 written=0 thought=0 seen done" },
    { LLM_API_COHERE_EMBED, JSON, "{\"results\":[],\"meta\":{"
      "\"billed_units\":{\"search_units\":1}}}", "queries=1 seen done" },
    { LLM_API_COHERE_CHAT, LINES,
      "{\"event_type\":\"text-generation\",\"text\":\"Hello\"}\n"
      "{\"event_type\":\"stream-end\",\"response\":{\"text\":\"Hello\","
      "\"meta\":{\"billed_units\":{\"input_tokens\":5,\"output_tokens\":2},"
      "\"tokens\":{\"input_tokens\":70,\"output_tokens\":3}}}}\n",
      "text=2 in=5 out=2 cached=0 written=0 thought=0 seen done" },
    { LLM_API_COHERE_CHAT, JSON, "{\"message\":\"no\"}", "error done" },
    { LLM_API_COHERE_CHAT, SSE, DATA("{\"type\":\"message-end\",\"delta\":{"
      "\"error\":\"broken\"}}"), "error done" },

    /* Ollama */

    { LLM_API_OLLAMA, JSON, "{\"model\":\"m\",\"response\":\"Hello\","
      "\"done\":false}\n{\"model\":\"m\",\"done\":true,\"eval_count\":2,"
      "\"prompt_eval_count\":4}",
      "text=2 in=4 out=2 cached=0 written=0 thought=0 model=m seen done" },
    { LLM_API_OLLAMA, JSON, "{\n \"model\": \"m\",\n \"done\": true\n}\n",
      "model=m done" },
    { LLM_API_OLLAMA, JSON, "{\"done\":false}{\"done\":true}\n",
      "unreadable" },
    { LLM_API_OLLAMA, JSON, "oops\n{\"done\":true,\"eval_count\":2,"
      "\"prompt_eval_count\":4}\n",
      "in=4 out=2 cached=0 written=0 thought=0 seen done unreadable" },
    { LLM_API_OLLAMA, JSON, "{\"message\":{\"tool_calls\":[{\"function\":{"
      "\"name\":\"a\",\"arguments\":{\"b\":1,\"eval_count\":9}}}]}}",
      "text=8 later" },

    /* whatever it is */

    { LLM_API_OTHER, JSON, "{\"usage\":{\"input_tokens\":1,"
      "\"cache_read_input_tokens\":9,\"output_tokens\":2}}",
      "in=10 out=2 cached=9 written=0 thought=0 seen done" },
    { LLM_API_OTHER, JSON, "plain text", "unreadable" },
    { LLM_API_OTHER, SSE, DATA("[DONE]"), "done" },

    /* only what is at its place counts */

    { LLM_API_CHAT, JSON, "{\"a\":{\"usage\":{\"prompt_tokens\":1,"
      "\"completion_tokens\":1}},\"choices\":[{\"usage\":{\"prompt_tokens\":"
      "1,\"completion_tokens\":1}}]}", "done" },
    { LLM_API_GENERATE, JSON, "{\"usage\":{\"promptTokenCount\":1,"
      "\"totalTokenCount\":1}}", "done" },
    { LLM_API_CONVERSE, JSON, "{\"output\":{\"usage\":{\"inputTokens\":1,"
      "\"outputTokens\":1}}}", "done" },
    { LLM_API_CHAT, JSON, "{\"us\\u0061ge\":{\"prompt\\u005ftokens\":3,"
      "\"completion_tokens\":1}}",
      "in=3 out=1 cached=0 written=0 thought=0 seen done" },
    { LLM_API_CHAT, JSON, "{\"usage\":{\"prompt_tokens\":1,"
      "\"completion_tokens\":1},\"usage\":{\"prompt_tokens\":3,"
      "\"prompt_tokens\":4,\"completion_tokens\":2}}",
      "in=4 out=2 cached=0 written=0 thought=0 seen done" },
    { LLM_API_CHAT, JSON, "{\"x\":\"\xff\xfe\",\"usage\":{\"prompt_tokens\":"
      "3,\"completion_tokens\":1}}",
      "in=3 out=1 cached=0 written=0 thought=0 seen done" },
    { LLM_API_CHAT, JSON, "{\"usage\":{\"prompt_tokens\":9007199254740993,"
      "\"completion_tokens\":-1}}", "done" }
};


static void
test_replies(void)
{
    char         *found;
    size_t        i, n, step, different;
    llm_reply_t   rp;

    for (i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {

        n = strlen(replies[i].body);
        reply_read(&rp, replies[i].api, replies[i].format, replies[i].body, n,
                   n);

        found = strdup(describe(&rp));
        is_str(found, replies[i].found, "%d %s", replies[i].api,
               replies[i].body);

        different = 0;

        for (step = 1; step < 12; step++) {
            reply_read(&rp, replies[i].api, replies[i].format,
                       replies[i].body, n, step);
            different += (strcmp(found, describe(&rp)) != 0);
        }

        is_int((long long) different, 0, "the same in pieces");

        free(found);
    }
}


static void
test_headers(void)
{
    size_t       i;
    llm_reply_t  rp;

    static struct {
        const char  *name;
        const char  *value;
        const char  *found;
    } cases[] = {
        { "x-amzn-bedrock-input-token-count", "8",
          "in=8 cached=0 written=0 thought=0" },
        { "X-Amzn-Bedrock-Output-Token-Count", "0",
          "out=0 cached=0 written=0 thought=0" },
        { "x-amzn-bedrock-input-token-count", "", "" },
        { "x-amzn-bedrock-input-token-count", "-1", "" },
        { "x-amzn-bedrock-input-token-count", "8x", "" },
        { "x-amzn-bedrock-input-token-count", "99999999999999999", "" },
        { "x-amzn-bedrock-input-token-counts", "8", "" },
        { "x-request-id", "8", "" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        llm_reply_init(&rp, LLM_API_INVOKE, LLM_REPLY_JSON);
        llm_reply_header(&rp, (const unsigned char *) cases[i].name,
                         strlen(cases[i].name),
                         (const unsigned char *) cases[i].value,
                         strlen(cases[i].value));

        is_str(describe(&rp), cases[i].found, "%s: %s", cases[i].name,
               cases[i].value);
    }
}


static void
test_formats(void)
{
    size_t  i;

    static struct {
        const char          *type;
        llm_reply_format_t   format;
    } cases[] = {
        { "text/event-stream", SSE },
        { "Text/Event-Stream;charset=utf-8", SSE },
        { "text/event-stream ; charset=utf-8", SSE },
        { "text/event-streams", JSON },
        { "application/json", JSON },
        { "application/x-ndjson", LINES },
        { "application/jsonl; charset=utf-8", LINES },
        { "application/stream+json", LINES },
        { "application/vnd.amazon.eventstream", LLM_REPLY_EVENTSTREAM },
        { "audio/mpeg", JSON },
        { "", JSON }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(llm_reply_format((const unsigned char *) cases[i].type,
                                strlen(cases[i].type)),
               cases[i].format, "the format of \"%s\"", cases[i].type);
    }
}


#define USAGE  "{\"usage\":{\"inputTokens\":5,\"outputTokens\":2}}"
#define FOUND  "in=5 out=2 cached=0 written=0 thought=0 seen"


static void
test_frames(void)
{
    char           body[4096];
    size_t         n;
    llm_reply_t    rp;
    unsigned char  *p;

    p = (unsigned char *) body;

    n = frame(p, "event", "metadata", USAGE);

    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n, n);
    is_str(describe(&rp), FOUND " done", "a frame with a usage");

    /* it counts when its checksum is there, not before */

    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n - 1, n);
    is_str(describe(&rp), "", "without its last byte");

    n = frame(p, "exception", "metadata", "{\"message\":\"no\"}");
    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n, 3);
    is_str(describe(&rp), "error", "an exception");

    n = frame(p, "error", "x", "");
    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n, 3);
    is_str(describe(&rp), "error", "an error without a payload");

    n = frame(p, "event", "contentBlockDelta",
              "{\"delta\":{\"text\":\"Hel\"}}");
    n += frame(p + n, "event", "contentBlockDelta",
               "{\"delta\":{\"text\":\"lo\"}}");
    n += frame(p + n, "event", "metadata", USAGE);
    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n, 1);
    is_str(describe(&rp), "text=2 " FOUND " done", "a word in two frames");

    n = frame(p, "event", "metadata", "{\"usage\":");
    n += frame(p + n, "event", "metadata", USAGE);
    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n, n);
    is_str(describe(&rp), FOUND " done unreadable",
           "the frame behind one that can't be read");

    n = frame(p, NULL, NULL, USAGE);
    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, body, n, n);
    is_str(describe(&rp), FOUND, "a frame without headers");

    reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, "", 0, 1);
    is_str(describe(&rp), "", "nothing");
}


static void
test_bad_frames(void)
{
    char           body[4096], bad[4096];
    size_t         n, i, wrong;
    llm_reply_t    rp;
    unsigned char  *p;

    p = (unsigned char *) body;

    n = frame(p, "event", "metadata", USAGE);

    /* whichever byte is flipped, the usage is not believed */

    for (i = 0, wrong = 0; i < n; i++) {

        memcpy(bad, body, n);
        bad[i] ^= 0x10;

        reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, bad, n, 7);

        if (rp.usage.input != -1 || rp.usage.output != -1 || rp.done
            || !rp.unreadable)
        {
            wrong++;
        }
    }

    is_int((long long) wrong, 0, "no usage of a frame with a flipped bit");

    /* lengths that can't be, with checksums that are right */

    static const struct {
        uint32_t     total;
        uint32_t     headers;
        const char  *what;
    } lengths[] = {
        { 0, 0, "a frame of no bytes" },
        { 15, 0, "one shorter than a frame can be" },
        { 16, 1, "more headers than bytes" },
        { 0xffffffff, 0, "one of 4 GB" },
        { LLM_EVENTSTREAM_MAX + 1, 0, "one that is too long" },
        { 100, 0xffffffff, "headers of 4 GB" }
    };

    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {

        memset(bad, 0, sizeof(bad));
        p = number((unsigned char *) bad, lengths[i].total);
        p = number(p, lengths[i].headers);
        number(p, crc32(0, (unsigned char *) bad, 8));

        reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, bad, 200, 5);
        is_str(describe(&rp), "unreadable", "%s", lengths[i].what);
    }

    /* headers that can't be: they end inside, or have no type or name */

    static const struct {
        const char  *headers;
        size_t       len;
        const char  *found;
        const char  *what;
    } headers[] = {
        { "\1a\0", 3, FOUND, "true" },
        { "\1a\1", 3, FOUND, "false" },
        { "\1a\2x", 4, FOUND, "a byte" },
        { "\1a\3xx", 5, FOUND, "a short" },
        { "\1a\4xxxx", 7, FOUND, "an integer" },
        { "\1a\5xxxxxxxx", 11, FOUND, "a long" },
        { "\1a\6\0\2xx", 7, FOUND, "bytes" },
        { "\1a\7\0\0", 5, FOUND, "an empty string" },
        { "\1a\10xxxxxxxx", 11, FOUND, "a time" },
        { "\1a\11xxxxxxxxxxxxxxxx", 19, FOUND, "a UUID" },
        { "\1a\12", 3, "unreadable", "a type that there is not" },
        { "\0\0", 2, "unreadable", "no name" },
        { "\3a", 2, "unreadable", "a name that goes on" },
        { "\1a", 2, "unreadable", "no type" },
        { "\1a\7\0", 4, "unreadable", "half a length" },
        { "\1a\7\0\3xx", 7, "unreadable", "a value that goes on" }
    };

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {

        n = 12 + headers[i].len + strlen(USAGE) + 4;
        p = number((unsigned char *) bad, n);
        p = number(p, headers[i].len);
        p = number(p, crc32(0, (unsigned char *) bad, 8));
        memcpy(p, headers[i].headers, headers[i].len);
        p += headers[i].len;
        memcpy(p, USAGE, strlen(USAGE));
        p += strlen(USAGE);
        number(p, crc32(0, (unsigned char *) bad, (uInt) (n - 4)));

        reply_read(&rp, LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, bad, n, 1);
        is_str(describe(&rp), headers[i].found, "header: %s",
               headers[i].what);
    }
}


static void
test_base64(void)
{
    char         body[4096];
    size_t       i, n, step;
    llm_reply_t  rp;

    /* {"usage":{"input_tokens":5,"output_tokens":2}} in some spellings */

    static struct {
        const char  *payload;
        const char  *found;
    } cases[] = {
        { "{\"p\":\"ab\",\"bytes\":\"eyJ1c2FnZSI6eyJpbnB1dF90b2tlbnMiOjUsIm91"
          "dHB1dF90b2tlbnMiOjJ9fQ==\"}", FOUND },
        { "{\"bytes\":\"eyJ1c2FnZSI6eyJpbnB1dF90b2tlbnMiOjUsIm91dHB1dF90b2tl"
          "bnMiOjJ9fQ\"}", FOUND },
        { "{\"bytes\":\"eyJ0IjoiPz8\\/Iiwg\",\"x\":1}", "unreadable" },
        { "{\"bytes\":\"eyJ0IjoiPz8\\/In0=\"}", "" },
        { "{\"bytes\":\"e+-_\"}", "unreadable" },
        { "{\"bytes\":\"\"}", "" },
        { "{\"bytes\":5}", "" },
        { "{\"bytes\":[\"eyJ9\"]}", "" },
        { "{\"message\":\"no\"}", "" },
        { "{\"bytes\":\"e30=\"", "unreadable" },
        { "", "" },
        { "oops", "unreadable" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        n = frame((unsigned char *) body, "event", "chunk",
                  cases[i].payload);

        for (step = 1; step < 9; step++) {
            reply_read(&rp, LLM_API_INVOKE, LLM_REPLY_EVENTSTREAM, body, n,
                       step);

            if (strcmp(describe(&rp), cases[i].found) != 0) {
                break;
            }
        }

        is_int((long long) step, 9, "chunk %s", cases[i].payload);

        if (step < 9) {
            printf("# got \"%s\", want \"%s\"\n", describe(&rp),
                   cases[i].found);
        }
    }
}


/* sizes that a reader might multiply: none of them is kept */

static void
test_hostile(void)
{
    size_t         i;
    llm_reply_t    rp;
    unsigned char  text[65536];

    static const struct {
        llm_api_t            api;
        llm_reply_format_t   format;
        const char          *begin;
        int                  fill;
        const char          *end;
        const char          *found;
        const char          *what;
    } cases[] = {
        { LLM_API_CHAT, JSON, "{\"x\":\"", 'x', "\",\"usage\":{"
          "\"prompt_tokens\":5,\"completion_tokens\":2}}", FOUND " done",
          "a string" },
        { LLM_API_CHAT, JSON, "{\"", 'x', "\":1,\"usage\":{"
          "\"prompt_tokens\":5,\"completion_tokens\":2}}", FOUND " done",
          "a key" },
        { LLM_API_CHAT, JSON, "{\"x\":1", '1', ",\"usage\":{"
          "\"prompt_tokens\":5,\"completion_tokens\":2}}", FOUND " done",
          "a number" },
        { LLM_API_CHAT, JSON, "{\"usage\":{\"prompt_tokens\":1", '1',
          ",\"completion_tokens\":2}}",
          "out=2 cached=0 written=0 thought=0 done", "a count" },
        { LLM_API_CHAT, JSON, "{\"model\":\"", 'm', "\"}", "model=m... done",
          "a model" },
        { LLM_API_CHAT, JSON, "{\"service_tier\":\"", 'm', "\"}", "done",
          "a tier" },
        { LLM_API_CHAT, JSON, "", ' ', "{\"usage\":{\"prompt_tokens\":5,"
          "\"completion_tokens\":2}}", FOUND " done", "white space" },
        { LLM_API_CHAT, SSE, ": ", 'x', "\ndata: {\"usage\":{"
          "\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n", FOUND,
          "a comment" },
        { LLM_API_CHAT, SSE, "data: {\"x\":\"", 'x', "\",\"usage\":{"
          "\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n", FOUND,
          "a line" },
        { LLM_API_CHAT, SSE, "", 'x', "", "unreadable", "no line end" },
        { LLM_API_CHAT, SSE, "", '\n', "data: {\"usage\":{"
          "\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n", FOUND,
          "empty lines" },
        { LLM_API_OLLAMA, LINES, "", '\n', "{\"eval_count\":2,"
          "\"prompt_eval_count\":5}", FOUND, "empty lines of JSON" },
        { LLM_API_CONVERSE, LLM_REPLY_EVENTSTREAM, "", 0, "", "unreadable",
          "zeros" },
        { LLM_API_GENERATE, JSON, "[{},", ' ', "{\"usageMetadata\":{"
          "\"promptTokenCount\":5,\"candidatesTokenCount\":2}}]",
          FOUND " done", "white space in an array" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        size_t  part;

        memset(text, cases[i].fill, sizeof(text));

        llm_reply_init(&rp, cases[i].api, cases[i].format);
        llm_reply_feed(&rp, (const unsigned char *) cases[i].begin,
                       strlen(cases[i].begin));

        /* 64 MB */

        for (part = 0; part < 1024; part++) {
            llm_reply_feed(&rp, text, sizeof(text));
        }

        llm_reply_feed(&rp, (const unsigned char *) cases[i].end,
                       strlen(cases[i].end));
        llm_reply_finish(&rp);

        is_str(describe(&rp), cases[i].found, "64 MB: %s", cases[i].what);
    }

    ok(sizeof(llm_reply_t) <= 3072, "a reader of replies has %d bytes",
       (int) sizeof(llm_reply_t));
}


static void
test_depth(void)
{
    size_t         i;
    llm_reply_t    rp;
    unsigned char  text[10000];

    static const char  begin[] = "{\"usage\":{\"prompt_tokens\":5,"
                                 "\"completion_tokens\":2},\"x\":";

    for (i = 0; i < 2; i++) {

        memset(text, i ? '{' : '[', sizeof(text));

        llm_reply_init(&rp, LLM_API_CHAT, LLM_REPLY_JSON);
        llm_reply_feed(&rp, (const unsigned char *) begin,
                       sizeof(begin) - 1);
        llm_reply_feed(&rp, text, sizeof(text));
        llm_reply_finish(&rp);

        is_str(describe(&rp), FOUND " unreadable",
               "10,000 levels of \"%c\" end the reading", text[0]);
    }
}


static const char *
describe(const llm_reply_t *rp)
{
    size_t              i;
    const llm_usage_t  *u;
    static char         out[1024];

    u = &rp->usage;

    const struct {
        const char  *name;
        int64_t      value;
    } counts[] = {
        { "text", rp->output_tokens ? rp->output_tokens : -1 },
        { "in", u->input },
        { "out", u->output },
        { "cached", u->cached_input },
        { "written", u->cache_write },
        { "1h", u->cache_write_1h },
        { "thought", u->reasoning },
        { "ia", u->input_audio },
        { "ii", u->input_image },
        { "iv", u->input_video },
        { "ca", u->cached_audio },
        { "oa", u->output_audio },
        { "oi", u->output_image },
        { "citations", u->citations },
        { "searches", u->web_searches },
        { "files", u->file_searches },
        { "code", u->code_sessions },
        { "images", u->images },
        { "characters", u->characters },
        { "ms", u->audio_ms },
        { "queries", u->queries },
        { "cost", u->cost },
        { "tier", u->tier_known ? (int) u->tier : -1 },
        { "geo", u->geo ? (int) u->geo : -1 }
    };

    out[0] = '\0';

    for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i].value >= 0) {
            say(out, "%s=%lld", counts[i].name, (long long) counts[i].value);
        }
    }

    if (u->fast) {
        say(out, "fast");
    }

    if (rp->model_len > 100) {
        say(out, "model=%c...", rp->model[0]);

    } else if (rp->model_len) {
        say(out, "model=%.*s", (int) rp->model_len, rp->model);
    }

    const struct {
        const char  *name;
        unsigned     value;
    } flags[] = {
        { "seen", rp->usage_seen },
        { "early", rp->early },
        { "later", rp->later },
        { "error", rp->error },
        { "pending", rp->pending },
        { "done", rp->done },
        { "unreadable", rp->unreadable }
    };

    for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].value) {
            say(out, "%s", flags[i].name);
        }
    }

    return out;
}


static void
say(char *out, const char *format, ...)
{
    size_t   n;
    va_list  args;

    n = strlen(out);

    if (n) {
        out[n++] = ' ';
    }

    va_start(args, format);
    vsnprintf(out + n, 1024 - n, format, args);
    va_end(args);
}


/* a message of vnd.amazon.eventstream; returns its length */

static size_t
frame(unsigned char *p, const char *type, const char *event,
    const char *payload)
{
    size_t  n, len;

    n = 12;

    if (type) {
        n += headers(p + n, ":message-type", type);
        n += headers(p + n, ":event-type", event);
        n += headers(p + n, ":content-type", "application/json");
    }

    number(p + 4, n - 12);

    len = strlen(payload);
    memcpy(p + n, payload, len);
    n += len + 4;

    number(p, n);
    number(p + 8, crc32(0, p, 8));
    number(p + n - 4, crc32(0, p, (uInt) (n - 4)));

    return n;
}


static size_t
headers(unsigned char *p, const char *name, const char *value)
{
    size_t  n, len;

    n = strlen(name);
    len = strlen(value);

    *p++ = (unsigned char) n;
    memcpy(p, name, n);
    p += n;
    *p++ = 7;
    *p++ = (unsigned char) (len >> 8);
    *p++ = (unsigned char) len;
    memcpy(p, value, len);

    return 1 + n + 3 + len;
}


static unsigned char *
number(unsigned char *p, size_t value)
{
    p[0] = (unsigned char) (value >> 24);
    p[1] = (unsigned char) (value >> 16);
    p[2] = (unsigned char) (value >> 8);
    p[3] = (unsigned char) value;

    return p + 4;
}
