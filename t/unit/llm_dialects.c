
/*
 * Copyright (C) nginx-cycles authors
 *
 * Requests of every API: what is found in them, and where.
 */


#include <stdarg.h>
#include <stdlib.h>

#include "llm/llm_caps.h"
#include "llm/llm_request.h"
#include "tap.h"


#define TOOLS  8


typedef struct {
    llm_request_t   rq;
    llm_tool_t      tools[TOOLS];
} request_t;


static void test_facts(void);
static void test_errors(void);
static void test_other(void);
static void test_tokens(void);
static void test_forms(void);
static void test_limits(void);
static void test_clamp(void);
static void test_many_tools(void);
static int run(request_t *r, llm_api_t api, const char *type,
    const char *body, size_t n, size_t step);
static int64_t tokens(llm_api_t api, const char *body);
static const char *describe(request_t *r, const char *body);
static void say(char *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));


int
main(void)
{
    test_facts();
    test_errors();
    test_other();
    test_tokens();
    test_forms();
    test_limits();
    test_clamp();
    test_many_tools();

    return done_testing();
}


/*
 * In what is found: name=text of a value; name<before text after> of a member,
 * where before and after are the commas around it; tool NAME=text.
 */

static struct {
    llm_api_t    api;
    const char  *body;
    const char  *found;
} facts[] = {

    { LLM_API_CHAT,
      "{\"model\":\"m\",\"max_tokens\":5,\"max_completion_tokens\":7,"
      "\"n\":2,\"stream\":true,\"service_tier\":\"priority\"}",
      "model=m max=7 choices=2 stream limit max_tokens=5"
      " limit max_completion_tokens=7 at=7 tier=2" },

    { LLM_API_CHAT, "{\"max_completion_tokens\":null,\"max_tokens\":9}",
      "max=9 limit max_completion_tokens=null limit max_tokens=9 at=9" },

    { LLM_API_CHAT, "{\"max_tokens\":null}",
      "limit max_tokens=null at=null" },

    { LLM_API_CHAT,
      "{\"tools\":[{\"type\":\"function\",\"function\":{\"parameters\":"
      "{\"name\":\"x\"},\"name\":\"get\\u0041\"}},{\"type\":\"custom\","
      "\"custom\":{\"name\":\"b\"}}] , \"tool_choice\":{\"type\":"
      "\"function\",\"function\":{\"name\":\"b\"}}}",
      "tools<0 \"tools\":[{\"type\":\"function\",\"function\":{"
      "\"parameters\":{\"name\":\"x\"},\"name\":\"get\\u0041\"}},{\"type\":"
      "\"custom\",\"custom\":{\"name\":\"b\"}}] ,> tool_choice<, "
      "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"b\"}}"
      " 0> choice=b tool getA={\"type\":\"function\",\"function\":{"
      "\"parameters\":{\"name\":\"x\"},\"name\":\"get\\u0041\"}} tool b={"
      "\"type\":\"custom\",\"custom\":{\"name\":\"b\"}}" },

    { LLM_API_CHAT,
      "{\"a\":[1,2],\"tool_choice\":\"auto\",\"functions\":[{\"name\":\"f\"}]"
      ",\"function_call\":\"none\"}",
      "tool_choice<, \"tool_choice\":\"auto\" ,> functions<, \"functions\":[{"
      "\"name\":\"f\"}] ,> function_call<, \"function_call\":\"none\" 0>"
      " tool f={\"name\":\"f\"}" },

    { LLM_API_CHAT, "{\"tools\":null,\"x\":{\"y\":1,\"z\":2}}",
      "tools<0 \"tools\":null ,>" },

    { LLM_API_CHAT, "{\"x\":{\"y\":1,\"z\":2}, \"tools\":[]}",
      "tools<, \"tools\":[] 0>" },

    { LLM_API_CHAT,
      "{\"web_search_options\":{},\"messages\":[{\"role\":\"user\","
      "\"content\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{"
      "\"type\":\"ephemeral\",\"ttl\":\"1h\"}}]}]}",
      "messages cache cache_1h search" },

    { LLM_API_COMPLETIONS, "{\"prompt\":\"a\",\"n\":2,\"best_of\":3}",
      "choices=3" },
    { LLM_API_COMPLETIONS, "{\"prompt\":[\"a\",\"b\"],\"n\":2}",
      "choices=4" },
    { LLM_API_COMPLETIONS, "{\"prompt\":[1,2,3],\"n\":2}", "choices=2" },
    { LLM_API_COMPLETIONS, "{\"prompt\":[[1,2],[3]],\"best_of\":2}",
      "choices=4" },

    { LLM_API_RESPONSES,
      "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"a\"}],"
      "\"max_output_tokens\":800,\"previous_response_id\":\"r\","
      "\"background\":true,\"tools\":[{\"type\":\"web_search\"},{\"type\":"
      "\"function\",\"name\":\"f\"},{\"name\":\"g\",\"type\":\"function\"},"
      "{\"type\":\"mcp\",\"server_label\":\"s\"}],\"max_tool_calls\":3,"
      "\"service_tier\":\"flex\",\"tool_choice\":{\"type\":\"function\","
      "\"name\":\"f\"}}",
      "model=m max=800 limit max_output_tokens=800 at=800 tools<, \"tools\":["
      "{\"type\":\"web_search\"},{\"type\":\"function\",\"name\":\"f\"},{"
      "\"name\":\"g\",\"type\":\"function\"},{\"type\":\"mcp\","
      "\"server_label\":\"s\"}] ,> tool_choice<, \"tool_choice\":{\"type\":"
      "\"function\",\"name\":\"f\"} 0> choice=f tool web_search={\"type\":"
      "\"web_search\"} tool f={\"type\":\"function\",\"name\":\"f\"} tool g={"
      "\"name\":\"g\",\"type\":\"function\"} tool mcp={\"type\":\"mcp\","
      "\"server_label\":\"s\"} messages tier=1 uses=3 state background"
      " search" },

    { LLM_API_RESPONSES, "{\"input\":\"a\",\"conversation\":{\"id\":\"c\"}}",
      "state" },
    { LLM_API_RESPONSES, "{\"input\":\"a\",\"conversation\":null,"
      "\"previous_response_id\":\"\"}", "" },
    { LLM_API_RESPONSES, "{\"prompt\":{\"id\":\"p\"},\"inputs\":\"a\"}",
      "state" },

    { LLM_API_IMAGES, "{\"model\":\"m\",\"prompt\":\"a\",\"n\":4}",
      "model=m images=4" },

    { LLM_API_SPEECH, "{\"model\":\"m\",\"input\":\"Gr\\u00fc\xc3\x9f"
      "e \\ud83d\\udc4b\xf0\x9f\x91\x8b\\n\\u0041\\uD800\"}",
      "model=m characters=11" },

    { LLM_API_MESSAGES,
      "{\"model\":\"m\",\"max_tokens\":1024,\"thinking\":{\"type\":"
      "\"enabled\",\"budget_tokens\":1000},\"system\":[{\"text\":\"s\","
      "\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":[],"
      "\"stream\":true,\"tools\":[{\"name\":\"a\",\"input_schema\":{}},{"
      "\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"max_uses\":"
      "5}],\"tool_choice\":{\"type\":\"tool\",\"name\":\"a\"}}",
      "model=m max=1024 stream limit max_tokens=1024 at=1024 thinking"
      " budget_tokens=1000 (1000) tools<, \"tools\":[{\"name\":\"a\","
      "\"input_schema\":{}},{\"type\":\"web_search_20250305\",\"name\":"
      "\"web_search\",\"max_uses\":5}] ,> tool_choice<, \"tool_choice\":{"
      "\"type\":\"tool\",\"name\":\"a\"} 0> thinking<, \"thinking\":{\"type\":"
      "\"enabled\",\"budget_tokens\":1000} ,> choice=a tool a={\"name\":\"a\","
      "\"input_schema\":{}} tool web_search={\"type\":\"web_search_20250305\""
      ",\"name\":\"web_search\",\"max_uses\":5} messages uses=5 cache"
      " search" },

    { LLM_API_MESSAGES,
      "{\"tools\":[{\"name\":\"a\",\"cache_control\":{\"ttl\":\"1h\"}}]}",
      "tools<0 \"tools\":[{\"name\":\"a\",\"cache_control\":{\"ttl\":\"1h\"}}"
      "] 0> tool a={\"name\":\"a\",\"cache_control\":{\"ttl\":\"1h\"}} cache"
      " cache_1h" },

    { LLM_API_GENERATE,
      "{\"contents\":[{\"parts\":[{\"text\":\"a\"}]}],\"generationConfig\":{"
      "\"maxOutputTokens\":50,\"candidateCount\":2,\"thinkingConfig\":{"
      "\"thinkingBudget\":-1}},\"cachedContent\":\"c\"}",
      "max=50 choices=2 limit maxOutputTokens=50 at=50 config={"
      "\"maxOutputTokens\":50,\"candidateCount\":2,\"thinkingConfig\":{"
      "\"thinkingBudget\":-1}} thinking thinkingBudget=-1 (-1) thinking<, "
      "\"thinkingConfig\":{\"thinkingBudget\":-1} 0> messages state" },

    { LLM_API_GENERATE,
      "{\"a\":1,\"generation_config\":{\"thinking_config\":{"
      "\"thinking_budget\":0},\"max_output_tokens\":5}}",
      "max=5 limit max_output_tokens=5 at=5 config={\"thinking_config\":{"
      "\"thinking_budget\":0},\"max_output_tokens\":5} thinking"
      " thinking_budget=0 (0) thinking<0 \"thinking_config\":{"
      "\"thinking_budget\":0} ,>" },

    { LLM_API_GENERATE, "{\"generationConfig\":{}}",
      "config={} config_empty" },
    { LLM_API_GENERATE, "{\"generationConfig\":null}", "config=null" },

    { LLM_API_GENERATE,
      "{\"contents\":{\"parts\":{\"text\":\"a\"}},\"tools\":[{"
      "\"functionDeclarations\":[{\"name\":\"a\",\"parameters\":{"
      "\"properties\":{\"name\":{\"type\":\"x\"}}}},{\"name\":\"b\"}]},{"
      "\"googleSearch\":{}}],\"toolConfig\":{\"functionCallingConfig\":{"
      "\"mode\":\"ANY\"}}}",
      "tools<, \"tools\":[{\"functionDeclarations\":[{\"name\":\"a\","
      "\"parameters\":{\"properties\":{\"name\":{\"type\":\"x\"}}}},{"
      "\"name\":\"b\"}]},{\"googleSearch\":{}}] ,> tool_choice<, "
      "\"toolConfig\":{\"functionCallingConfig\":{\"mode\":\"ANY\"}} 0> tool"
      " a={\"name\":\"a\",\"parameters\":{\"properties\":{\"name\":{\"type\":"
      "\"x\"}}}} in 2 tool b={\"name\":\"b\"} in 2 tool googleSearch={"
      "\"googleSearch\":{}} messages search" },

    { LLM_API_INTERACTIONS,
      "{\"model\":\"m\",\"input\":\"a\",\"generation_config\":{"
      "\"max_output_tokens\":9},\"background\":false,\"stream\":true,"
      "\"previous_interaction_id\":\"i\"}",
      "model=m max=9 stream limit max_output_tokens=9 at=9 config={"
      "\"max_output_tokens\":9} state" },
    { LLM_API_INTERACTIONS, "{\"agent\":\"a\",\"input\":{\"text\":\"a\"}}",
      "messages state" },

    { LLM_API_PREDICT,
      "{\"instances\":[{\"prompt\":\"a\"}],\"parameters\":{\"sampleCount\":"
      "2}}", "images=2" },

    { LLM_API_CONVERSE,
      "{\"messages\":[{\"content\":[{\"text\":\"a\"},{\"cachePoint\":{"
      "\"type\":\"default\",\"ttl\":\"1h\"}}]}],\"inferenceConfig\":{"
      "\"temperature\":0,\"maxTokens\":512},\"toolConfig\":{\"tools\":[{"
      "\"toolSpec\":{\"name\":\"a\",\"inputSchema\":{\"json\":{\"name\":"
      "\"x\"}}}},{\"cachePoint\":{\"type\":\"default\"}}],\"toolChoice\":{"
      "\"tool\":{\"name\":\"a\"}}},\"serviceTier\":{\"type\":\"flex\"},"
      "\"additionalModelRequestFields\":{\"thinking\":{\"budget_tokens\":"
      "1024}}}",
      "max=512 limit maxTokens=512 at=512 config={\"temperature\":0,"
      "\"maxTokens\":512} thinking budget_tokens=1024 (1024) tools<, "
      "\"toolConfig\":{\"tools\":[{\"toolSpec\":{\"name\":\"a\","
      "\"inputSchema\":{\"json\":{\"name\":\"x\"}}}},{\"cachePoint\":{"
      "\"type\":\"default\"}}],\"toolChoice\":{\"tool\":{\"name\":\"a\"}}} ,>"
      " tool_choice<, \"toolChoice\":{\"tool\":{\"name\":\"a\"}} 0>"
      " thinking<0 \"thinking\":{\"budget_tokens\":1024} 0> choice=a tool a={"
      "\"toolSpec\":{\"name\":\"a\",\"inputSchema\":{\"json\":{\"name\":"
      "\"x\"}}}} tool cachePoint={\"cachePoint\":{\"type\":\"default\"}}"
      " messages tier=1 cache cache_1h" },

    { LLM_API_INVOKE, "{\"prompt\":\"a\",\"max_gen_len\":64}",
      "max=64 limit max_gen_len=64 at=64" },
    { LLM_API_INVOKE,
      "{\"inputText\":\"a\",\"textGenerationConfig\":{\"maxTokenCount\":64}}",
      "max=64 limit maxTokenCount=64 at=64 config={\"maxTokenCount\":64}" },
    { LLM_API_INVOKE,
      "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":64,"
      "\"messages\":[]}",
      "max=64 limit max_tokens=64 at=64 messages" },
    { LLM_API_INVOKE,
      "{\"messages\":[],\"inferenceConfig\":{\"max_new_tokens\":5}}",
      "max=5 limit max_new_tokens=5 at=5 config={\"max_new_tokens\":5}"
      " messages" },

    { LLM_API_COHERE_CHAT,
      "{\"model\":\"m\",\"messages\":[{\"content\":\"a\"}],\"max_tokens\":5,"
      "\"stream\":true,\"tools\":[{\"type\":\"function\",\"function\":{"
      "\"name\":\"f\"}}]}",
      "model=m max=5 stream limit max_tokens=5 at=5 tools<, \"tools\":[{"
      "\"type\":\"function\",\"function\":{\"name\":\"f\"}}] 0> tool f={"
      "\"type\":\"function\",\"function\":{\"name\":\"f\"}} messages" },

    { LLM_API_COHERE_EMBED,
      "{\"model\":\"m\",\"texts\":[\"a\"],\"images\":[\"data:x\"]}",
      "model=m" },

    { LLM_API_OLLAMA, "{\"model\":\"m\",\"prompt\":\"a\"}",
      "model=m stream" },
    { LLM_API_OLLAMA, "{\"model\":\"m\",\"stream\":null}", "model=m stream" },
    { LLM_API_OLLAMA,
      "{\"model\":\"m\",\"stream\":false,\"options\":{\"num_predict\":128}}",
      "model=m max=128 limit num_predict=128 at=128 config={"
      "\"num_predict\":128}" },
    { LLM_API_OLLAMA, "{\"options\":{\"num_predict\":-1},\"stream\":false}",
      "limit num_predict=-1 at=-1 config={\"num_predict\":-1}" },

    { LLM_API_LLAMACPP, "{\"prompt\":\"a\",\"n_predict\":64}",
      "max=64 limit n_predict=64 at=64" },
    { LLM_API_LLAMACPP, "{\"prompt\":[12,\"a\",\"b\"],\"n_predict\":-1}",
      "choices=2 limit n_predict=-1 at=-1" }
};


static void
test_facts(void)
{
    char       *found;
    size_t      i, step, n;
    request_t   r, other;

    for (i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {

        n = strlen(facts[i].body);

        is_int(run(&r, facts[i].api, NULL, facts[i].body, n, n), LLM_OK,
               "%d %s: read", facts[i].api, facts[i].body);
        found = strdup(describe(&r, facts[i].body));
        is_str(found, facts[i].found, "what is found in it");

        for (step = 1; step < 8; step++) {

            (void) run(&other, facts[i].api, NULL, facts[i].body, n, step);

            if (r.rq.facts.input_tokens != other.rq.facts.input_tokens
                || strcmp(found, describe(&other, facts[i].body)) != 0)
            {
                break;
            }
        }

        is_int((long long) step, 8, "the same in pieces");

        free(found);
    }
}


static struct {
    llm_api_t    api;
    const char  *body;
    const char  *error;
} errors[] = {

    { LLM_API_CHAT, "{\"tools\":{}}", "member \"tools\" must be an array" },
    { LLM_API_CHAT, "{\"service_tier\":1}",
      "member \"service_tier\" must be a string" },
    { LLM_API_CHAT, "{\"tool_choice\":\"a\",\"tool_choice\":\"b\"}",
      "member \"tool_choice\" is there twice" },
    { LLM_API_COMPLETIONS, "{\"best_of\":0}",
      "member \"best_of\" must be a whole number from 1 to 128" },
    { LLM_API_RESPONSES, "{\"max_output_tokens\":5,\"max_output_tokens\":6}",
      "member \"max_output_tokens\" is there twice" },
    { LLM_API_RESPONSES, "{\"background\":1}",
      "member \"background\" must be true or false" },
    { LLM_API_RESPONSES, "{\"input\":5}",
      "member \"input\" must be a string or an array" },
    { LLM_API_MESSAGES, "{\"max_tokens\":0}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { LLM_API_MESSAGES, "{\"thinking\":{\"budget_tokens\":\"x\"}}",
      "member \"budget_tokens\" must be a whole number" },
    { LLM_API_MESSAGES, "{\"thinking\":{\"budget_tokens\":1,"
      "\"budget_tokens\":2}}",
      "member \"budget_tokens\" is there twice" },
    { LLM_API_GENERATE, "{\"generationConfig\":{},\"generation_config\":{}}",
      "member \"generation_config\" is there twice" },
    { LLM_API_GENERATE, "{\"generationConfig\":{\"maxOutputTokens\":1,"
      "\"max_output_tokens\":9}}",
      "member \"max_output_tokens\" is there twice" },
    { LLM_API_GENERATE, "{\"generationConfig\":[]}",
      "member \"generationConfig\" must be an object" },
    { LLM_API_GENERATE, "{\"GenerationConfig\":{}}",
      "a member that matters is written with other capital letters" },
    { LLM_API_GENERATE, "{\"contents\":\"a\"}",
      "member \"contents\" must be an array" },
    { LLM_API_CONVERSE, "{\"inferenceConfig\":{\"maxTokens\":1,"
      "\"maxTokens\":2}}", "member \"maxTokens\" is there twice" },
    { LLM_API_CONVERSE, "{\"toolConfig\":{\"tools\":[],\"tools\":[]}}",
      "member \"tools\" is there twice" },
    { LLM_API_CONVERSE, "{\"serviceTier\":{},\"serviceTier\":{}}",
      "member \"serviceTier\" is there twice" },
    { LLM_API_INVOKE, "{\"max_tokens\":1,\"max_tokens\":2}",
      "member \"max_tokens\" is there twice" },
    { LLM_API_OLLAMA, "{\"options\":{\"num_predict\":1},\"options\":{}}",
      "member \"options\" is there twice" },
    { LLM_API_OLLAMA, "{\"options\":{\"num_predict\":\"1\"}}",
      "member \"num_predict\" must be a whole number" },
    { LLM_API_OLLAMA, "{\"Options\":{}}",
      "a member that matters is written with other capital letters" },
    { LLM_API_IMAGES, "{\"n\":1.5}",
      "member \"n\" must be a whole number from 1 to 128" },
    { LLM_API_EMBEDDINGS, "[]", "the body must be a JSON object" },
    { LLM_API_EMBEDDINGS, "", "the body is empty" },
    { LLM_API_EMBEDDINGS, "{", "the body ends before its JSON does" }
};


static void
test_errors(void)
{
    size_t     i, n;
    request_t  r;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {

        n = strlen(errors[i].body);

        is_int(run(&r, errors[i].api, NULL, errors[i].body, n, n + 1),
               LLM_ERROR, "%d %s: refused", errors[i].api, errors[i].body);
        is_str(llm_request_error(&r.rq), errors[i].error, "which is said");

        is_int(run(&r, errors[i].api, NULL, errors[i].body, n, 1), LLM_ERROR,
               "refused in pieces");
        is_str(llm_request_error(&r.rq), errors[i].error, "which is said");
    }
}


/* nothing is an error of what is not known, and all of it counts */

static struct {
    const char  *body;
    const char  *found;
} others[] = {
    { "", "" },
    { "plain text", "" },
    { "[1,2]", "" },
    { "\xef\xbb\xbf{\"model\":\"m\"}", "" },
    { "{\"model\":\"m\",\"max_tokens\":9,\"max_output_tokens\":5,\"n\":2,"
      "\"stream\":true}",
      "model=m max=9 choices=2 stream limit max_tokens=9"
      " limit max_output_tokens=5 at=9" },
    { "{\"n\":\"x\",\"max_tokens\":-1,\"Model\":\"x\",\"model\":\"m\"}",
      "model=m" },
    { "{\"model\":\"m\",\"x\":\"\xff\",\"max_tokens\":5}",
      "model=m max=5 limit max_tokens=5 at=5" },
    { "{\"model\":\"m\"", "model=m" },
    { "{\"model\":\"m\",,\"max_tokens\":5}", "model=m" }
};


static void
test_other(void)
{
    size_t     i, n;
    request_t  r;

    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {

        n = strlen(others[i].body);

        is_int(run(&r, LLM_API_OTHER, NULL, others[i].body, n, n + 1),
               LLM_OK, "other %s: read", others[i].body);
        is_str(describe(&r, others[i].body), others[i].found,
               "what is found in it");
        ok((r.rq.facts.input_tokens > 0) == (n > 0), "it has tokens");
    }
}


/* what a model reads counts, and what it does not read does not */

static struct {
    llm_api_t    api;
    const char  *body;             /* %s is the text, or one of its size */
    unsigned     counts;
} texts[] = {
    { LLM_API_COMPLETIONS, "{\"prompt\":\"%s\"}", 1 },
    { LLM_API_COMPLETIONS, "{\"prompt\":[\"%s\"]}", 1 },
    { LLM_API_COMPLETIONS, "{\"suffix\":\"%s\"}", 1 },
    { LLM_API_COMPLETIONS, "{\"user\":\"%s\"}", 0 },
    { LLM_API_EMBEDDINGS, "{\"input\":[\"%s\"]}", 1 },
    { LLM_API_RESPONSES, "{\"input\":\"%s\"}", 1 },
    { LLM_API_RESPONSES, "{\"instructions\":\"%s\"}", 1 },
    { LLM_API_RESPONSES, "{\"input\":[{\"content\":[{\"text\":\"%s\"}]}]}",
      1 },
    { LLM_API_RESPONSES, "{\"input\":[{\"type\":\"function_call_output\","
      "\"output\":\"%s\"}]}", 1 },
    { LLM_API_RESPONSES, "{\"input\":[{\"type\":\"reasoning\","
      "\"encrypted_content\":\"%s\"}]}", 0 },
    { LLM_API_RESPONSES, "{\"input\":[{\"content\":[{\"image_url\":\"%s\"}]"
      "}]}", 0 },
    { LLM_API_RESPONSES, "{\"metadata\":{\"a\":\"%s\"}}", 0 },
    { LLM_API_RESPONSES, "{\"tools\":[{\"description\":\"%s\"}]}", 1 },
    { LLM_API_MESSAGES, "{\"system\":\"%s\"}", 1 },
    { LLM_API_MESSAGES, "{\"system\":[{\"text\":\"%s\"}]}", 1 },
    { LLM_API_MESSAGES, "{\"messages\":[{\"content\":\"%s\"}]}", 1 },
    { LLM_API_MESSAGES, "{\"messages\":[{\"content\":[{\"type\":"
      "\"tool_result\",\"content\":[{\"text\":\"%s\"}]}]}]}", 1 },
    { LLM_API_MESSAGES, "{\"messages\":[{\"content\":[{\"type\":"
      "\"tool_use\",\"input\":{\"a\":[\"%s\"]}}]}]}", 1 },
    { LLM_API_MESSAGES, "{\"messages\":[{\"content\":[{\"type\":\"thinking\""
      ",\"signature\":\"%s\"}]}]}", 0 },
    { LLM_API_MESSAGES, "{\"messages\":[{\"content\":[{\"source\":{"
      "\"media_type\":\"image/png\",\"data\":\"%s\"}}]}]}", 0 },
    { LLM_API_GENERATE, "{\"contents\":[{\"parts\":[{\"text\":\"%s\"}]}]}",
      1 },
    { LLM_API_GENERATE, "{\"system_instruction\":{\"parts\":{\"text\":"
      "\"%s\"}}}", 1 },
    { LLM_API_GENERATE, "{\"contents\":[{\"parts\":[{\"inlineData\":{"
      "\"data\":\"%s\",\"mimeType\":\"image/png\"}}]}]}", 0 },
    { LLM_API_GENERATE, "{\"contents\":[{\"parts\":[{\"functionResponse\":{"
      "\"response\":{\"a\":\"%s\"}}}]}]}", 1 },
    { LLM_API_GENERATE, "{\"generationConfig\":{\"responseSchema\":{"
      "\"description\":\"%s\"}}}", 1 },
    { LLM_API_GEMINI_EMBED, "{\"content\":{\"parts\":[{\"text\":\"%s\"}]}}",
      1 },
    { LLM_API_GEMINI_EMBED, "{\"requests\":[{\"content\":{\"parts\":[{"
      "\"text\":\"%s\"}]}}]}", 1 },
    { LLM_API_INTERACTIONS, "{\"input\":[{\"content\":[{\"text\":\"%s\"}]}]}",
      1 },
    { LLM_API_INTERACTIONS, "{\"system_instruction\":\"%s\"}", 1 },
    { LLM_API_PREDICT, "{\"instances\":[{\"content\":\"%s\"}]}", 1 },
    { LLM_API_CONVERSE, "{\"system\":[{\"text\":\"%s\"}]}", 1 },
    { LLM_API_CONVERSE, "{\"messages\":[{\"content\":[{\"toolResult\":{"
      "\"content\":[{\"json\":{\"a\":\"%s\"}}]}}]}]}", 1 },
    { LLM_API_CONVERSE, "{\"messages\":[{\"content\":[{\"image\":{"
      "\"source\":{\"bytes\":\"%s\"}}}]}]}", 0 },
    { LLM_API_CONVERSE, "{\"toolConfig\":{\"tools\":[{\"toolSpec\":{"
      "\"description\":\"%s\"}}]}}", 1 },
    { LLM_API_INVOKE, "{\"prompt\":\"%s\"}", 1 },
    { LLM_API_INVOKE, "{\"inputText\":\"%s\"}", 1 },
    { LLM_API_INVOKE, "{\"messages\":[{\"content\":[{\"text\":\"%s\"}]}]}",
      1 },
    { LLM_API_INVOKE, "{\"texts\":[\"%s\"]}", 1 },
    { LLM_API_COHERE_CHAT, "{\"message\":\"%s\"}", 1 },
    { LLM_API_COHERE_CHAT, "{\"documents\":[{\"data\":{\"a\":\"%s\"}}]}", 1 },
    { LLM_API_COHERE_EMBED, "{\"texts\":[\"%s\"]}", 1 },
    { LLM_API_COHERE_EMBED, "{\"query\":\"%s\"}", 1 },
    { LLM_API_COHERE_EMBED, "{\"documents\":[\"%s\"]}", 1 },
    { LLM_API_OLLAMA, "{\"messages\":[{\"content\":\"%s\"}]}", 1 },
    { LLM_API_OLLAMA, "{\"messages\":[{\"images\":[\"%s\"]}]}", 0 },
    { LLM_API_OLLAMA, "{\"prompt\":\"%s\"}", 1 },
    { LLM_API_OLLAMA, "{\"input\":[\"%s\"]}", 1 },
    { LLM_API_LLAMACPP, "{\"prompt\":\"%s\"}", 1 },
    { LLM_API_LLAMACPP, "{\"input_prefix\":\"%s\"}", 1 },
    { LLM_API_SPEECH, "{\"input\":\"%s\"}", 1 },
    { LLM_API_IMAGES, "{\"prompt\":\"%s\"}", 1 }
};


static void
test_tokens(void)
{
    char     body[65536], text[16385];
    size_t   i;
    int64_t  more;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {

        memset(text, 'A', sizeof(text));
        text[4] = '\0';
        snprintf(body, sizeof(body), texts[i].body, text);
        more = tokens(texts[i].api, body);

        text[4] = 'A';
        text[sizeof(text) - 1] = '\0';
        snprintf(body, sizeof(body), texts[i].body, text);
        more = tokens(texts[i].api, body) - more;

        text[4] = '\0';
        snprintf(body, sizeof(body), texts[i].body, text);

        /* 16 K capital letters are 9 K tokens as a text */

        ok(texts[i].counts ? (more > 8000 && more < 10000) : (more < 1100),
           "%d %s: a text counts %u, %d tokens", texts[i].api, body,
           texts[i].counts, (int) more);
    }

    ok(tokens(LLM_API_MESSAGES, "{\"messages\":[{\"content\":[{\"source\":{"
              "\"type\":\"url\",\"url\":\"https://x\"}}]}]}") > 1000,
       "an image that is not in the body");
    ok(tokens(LLM_API_GENERATE, "{\"contents\":[{\"parts\":[{\"fileData\":{"
              "\"mimeType\":\"video/mp4\",\"fileUri\":\"x\"}}]}]}") > 5000,
       "a video");
    is_int(tokens(LLM_API_EMBEDDINGS, "{\"input\":[1,2,3,4]}"), 4,
           "ids of tokens");
    is_int(tokens(LLM_API_COMPLETIONS, "{\"prompt\":[[1,2],[3]]}"), 3,
           "lists of them");
}


#define PART(head, data)                                                      \
    "--b\r\nContent-Disposition: form-data; " head "\r\n\r\n" data "\r\n"

#define END  "--b--\r\n"

static struct {
    const char  *type;
    const char  *body;
    const char  *found;
} forms[] = {
    { "b", PART("name=\"model\"", "whisper-1") END, "model=whisper-1" },
    { "\"b\"; charset=x", PART("name=model", "m") END, "model=m" },
    { "b", PART("name=\"file\"; filename=\"a;b.mp3\"", "0123456789")
      PART("name=\"model\"", "m") PART("name=\"stream\"", "true") END,
      "model=m stream media=10" },
    { "b", PART("name=\"file\"; filename*=UTF-8''x", "\r\n--\r\r\n--a")
      PART("name=\"model\"", "m") END, "model=m media=10" },
    { "b", "preamble\r\n" PART("name=\"model\"", "m") END "epilogue",
      "model=m" },
    { "b", "--b  \r\ncontent-disposition: form-data; name=\"model\"\r\n"
      "X: y\r\n\r\nm\r\n--b--", "model=m" },
    { "b", PART("name=\"models\"", "m") END, "" },
    { "b", PART("filename=\"model\"", "m") END, "media=1" },
    { "b", "--b--", "" },

    { "b", "", "the form in the body ends before its last part" },
    { "b", PART("name=\"model\"", "m"),
      "the form in the body ends before its last part" },
    { "b", "--b--x", "" },
    { "b", "--bx\r\n", "the form in the body can't be read" },
    { "b", "--b-x\r\n", "the form in the body can't be read" },
    { "b", PART("name=\"model\"", "m") PART("name=\"model\"", "n") END,
      "a part of the form is there twice" },
    { "b", PART("name=\"model\"", "m\1") END,
      "part \"model\" of the form must be up to 256 bytes of printable text"
    },
    { "b", PART("name=\"n\"", "0") END,
      "part \"n\" of the form must be a whole number from 1 to 128" },
    { "b", PART("name=\"n\"", "1x") END,
      "part \"n\" of the form must be a whole number from 1 to 128" },
    { "b", PART("name=\"n\"", "") END,
      "part \"n\" of the form must be a whole number from 1 to 128" }
};


static void
test_forms(void)
{
    int         rc;
    char        type[256];
    size_t      i, n, step, different;
    request_t   r;
    llm_form_t  form;
    const char *found;

    static const char  *bad[] = {
        "application/json", "multipart/mixed; boundary=b",
        "multipart/form-data", "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"b", "multipart/form-data;xboundary=b",
        ("multipart/form-data; boundary=0123456789012345678901234567890123456"
         "7890123456789012345678901234567890")
    };

    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {

        snprintf(type, sizeof(type), "multipart/form-data; boundary=%s",
                 forms[i].type);
        n = strlen(forms[i].body);
        different = 0;

        for (step = 1; step <= n + 1; step++) {

            rc = run(&r, LLM_API_TRANSCRIPTIONS, type, forms[i].body, n,
                     step);
            found = (rc == LLM_OK) ? describe(&r, forms[i].body)
                                   : llm_request_error(&r.rq);
            different += (strcmp(found, forms[i].found) != 0);
        }

        is_int((long long) different, 0, "form %d", (int) i);

        if (different) {
            printf("# got \"%s\", want \"%s\"\n", found, forms[i].found);
        }
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(llm_form_init(&form, (const unsigned char *) bad[i],
                             strlen(bad[i])),
               LLM_ERROR, "no form: %s", bad[i]);
    }

    n = strlen(forms[0].body);

    is_int(run(&r, LLM_API_CHAT, "multipart/form-data; boundary=b",
               forms[0].body, n, n),
           LLM_ERROR, "a form is no chat");

    snprintf(type, sizeof(type), "multipart/form-data; boundary=b");
    found = PART("name=\"image[]\"; filename=\"a.png\"", "x")
            PART("name=\"image[]\"; filename=\"b.png\"", "y")
            PART("name=\"n\"", "3") PART("name=\"prompt\"", "A cat.") END;

    is_int(run(&r, LLM_API_IMAGES, type, found, strlen(found), 5), LLM_OK,
           "a form with images");
    is_int(r.rq.facts.images, 3, "how many to make");
    ok(r.rq.facts.input_tokens > 3000 && r.rq.facts.input_tokens < 3100,
       "tokens of two images and a text");
}


static struct {
    llm_provider_t   provider;
    llm_api_t        api;
    const char      *object;
    const char      *name;
} limits[] = {
    { LLM_OPENAI, LLM_API_CHAT, NULL, "max_completion_tokens" },
    { LLM_AZURE, LLM_API_CHAT, NULL, "max_completion_tokens" },
    { LLM_MISTRAL, LLM_API_CHAT, NULL, "max_tokens" },
    { LLM_XAI, LLM_API_RESPONSES, NULL, "max_output_tokens" },
    { LLM_OPENAI, LLM_API_COMPLETIONS, NULL, "max_tokens" },
    { LLM_ANTHROPIC, LLM_API_MESSAGES, NULL, "max_tokens" },
    { LLM_GEMINI, LLM_API_GENERATE, "generationConfig", "maxOutputTokens" },
    { LLM_GEMINI_INTERACTIONS, LLM_API_INTERACTIONS, "generation_config",
      "max_output_tokens" },
    { LLM_BEDROCK_CONVERSE, LLM_API_CONVERSE, "inferenceConfig",
      "maxTokens" },
    { LLM_BEDROCK_INVOKE, LLM_API_INVOKE, NULL, NULL },
    { LLM_COHERE, LLM_API_COHERE_CHAT, NULL, "max_tokens" },
    { LLM_OLLAMA, LLM_API_OLLAMA, "options", "num_predict" },
    { LLM_LLAMACPP, LLM_API_LLAMACPP, NULL, "n_predict" },
    { LLM_OPENAI, LLM_API_EMBEDDINGS, NULL, NULL },
    { LLM_OTHER, LLM_API_OTHER, NULL, NULL }
};


static void
test_limits(void)
{
    size_t       i;
    const char  *name, *object;

    for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {

        name = llm_limit_name(limits[i].provider, limits[i].api, &object);

        is_str(name ? name : "", limits[i].name ? limits[i].name : "",
               "the limit of %s", llm_provider_name(limits[i].provider));
        is_str(object ? object : "", limits[i].object ? limits[i].object : "",
               "and its object");
    }

    is_int(llm_default_limit(LLM_OPENAI, LLM_API_COMPLETIONS), 16,
           "completions of OpenAI");
    is_int(llm_default_limit(LLM_OLLAMA_V1, LLM_API_COMPLETIONS), -1,
           "those of Ollama");
    is_int(llm_default_limit(LLM_OPENAI, LLM_API_CHAT), -1, "chat");
}


/* the limit that counts; of what is not known, each that is too high */

static struct {
    llm_api_t    api;
    const char  *body;
    const char  *clamped;
} clamps[] = {
    { LLM_API_CHAT, "{\"max_tokens\":900,\"max_completion_tokens\":800}",
      "{\"max_tokens\":900,\"max_completion_tokens\":100}" },
    { LLM_API_CHAT, "{\"max_tokens\":90,\"max_completion_tokens\":800}",
      "{\"max_tokens\":90,\"max_completion_tokens\":100}" },
    { LLM_API_CHAT, "{\"max_tokens\":900,\"max_completion_tokens\":80}",
      "{\"max_tokens\":900,\"max_completion_tokens\":80}" },
    { LLM_API_CHAT, "{\"max_tokens\":null}", "{\"max_tokens\":100}" },
    { LLM_API_OTHER, "{\"max_tokens\":901,\"max_output_tokens\":900,"
      "\"max_tokens\":7,\"max_tokens\":101}",
      "{\"max_tokens\":100,\"max_output_tokens\":100,\"max_tokens\":7,"
      "\"max_tokens\":100}" },
    { LLM_API_OTHER, "{\"max_tokens\":1,\"max_tokens\":2,\"max_tokens\":3,"
      "\"max_tokens\":4,\"max_tokens\":900}", NULL },
    { LLM_API_OTHER, "{\"max_tokens\":1,\"max_tokens\":2,\"max_tokens\":3,"
      "\"max_tokens\":4,\"max_tokens\":5}",
      "{\"max_tokens\":1,\"max_tokens\":2,\"max_tokens\":3,\"max_tokens\":4,"
      "\"max_tokens\":5}" }
};


static void
test_clamp(void)
{
    char          text[256];
    size_t        i, n, len, at;
    unsigned      k, count;
    request_t     r;
    const char   *why, *body;
    llm_splice_t  splices[llm_splices(TOOLS)];

    for (i = 0; i < sizeof(clamps) / sizeof(clamps[0]); i++) {

        body = clamps[i].body;
        n = strlen(body);

        is_int(run(&r, clamps[i].api, NULL, body, n, n), LLM_OK, "%s", body);

        count = 0;
        why = llm_clamp(&r.rq.facts, &r.rq.edits, LLM_OPENAI, clamps[i].api,
                        100, splices, &count);

        if (clamps[i].clamped == NULL) {
            is_str(why ? why : "", "it has too many limits", "is refused");
            continue;
        }

        len = 0;
        at = 0;

        for (k = 0; k < count; k++) {
            memcpy(text + len, body + at, splices[k].start - at);
            len += splices[k].start - at;
            memcpy(text + len, splices[k].text, splices[k].len);
            len += splices[k].len;
            at = splices[k].end;
        }

        strcpy(text + len, body + at);

        is_str(why ? why : text, clamps[i].clamped, "is clamped");
    }
}


/* more than there is room for, and a name that is too long */

static void
test_many_tools(void)
{
    int        i;
    char       body[8192], name[200];
    size_t     n;
    request_t  r;

    n = (size_t) snprintf(body, sizeof(body), "{\"tools\":[");

    for (i = 0; i < 40; i++) {
        n += (size_t) snprintf(body + n, sizeof(body) - n,
                               "%s{\"name\":\"t%d\"}", i ? "," : "", i);
    }

    n += (size_t) snprintf(body + n, sizeof(body) - n, "]}");

    is_int(run(&r, LLM_API_MESSAGES, NULL, body, n, n), LLM_OK, "40 tools");
    is_int(r.rq.facts.ntools, 40, "are counted");
    ok(memcmp(r.tools[TOOLS - 1].name, "t7", 2) == 0, "8 of them are kept");

    memset(name, 'n', sizeof(name));
    name[LLM_TOOL_NAME] = '\0';
    n = (size_t) snprintf(body, sizeof(body), "{\"tools\":[{\"name\":\"%s\"}"
                          ",{\"name\":\"%sn\"},{\"type\":1}]}", name, name);

    is_int(run(&r, LLM_API_MESSAGES, NULL, body, n, 3), LLM_OK,
           "tools with long names");
    is_int((long long) r.tools[0].name_len, LLM_TOOL_NAME, "128 bytes");
    is_int((long long) r.tools[1].name_len, 0, "129 bytes are no name");
    is_int((long long) r.tools[2].name_len, 4, "the name of a member");
}


static int
run(request_t *r, llm_api_t api, const char *type, const char *body,
    size_t n, size_t step)
{
    int             rc;
    size_t          i, size;
    unsigned char  *copy;

    memset(r, 0xaa, sizeof(request_t));

    llm_request_init(&r->rq, api);
    llm_request_tools(&r->rq, r->tools, TOOLS);

    if (type) {
        llm_request_type(&r->rq, (const unsigned char *) type, strlen(type));
    }

    for (i = 0; i < n; i += size) {

        size = (step < n - i) ? step : n - i;
        copy = malloc(size);

        if (copy == NULL) {
            exit(2);
        }

        memcpy(copy, body + i, size);
        rc = llm_request_feed(&r->rq, copy, size);
        free(copy);

        if (rc != LLM_OK) {
            return rc;
        }
    }

    return llm_request_finish(&r->rq);
}


static int64_t
tokens(llm_api_t api, const char *body)
{
    request_t  r, bytes;

    if (run(&r, api, NULL, body, strlen(body), strlen(body)) != LLM_OK
        || run(&bytes, api, NULL, body, strlen(body), 1) != LLM_OK
        || r.rq.facts.input_tokens != bytes.rq.facts.input_tokens)
    {
        return -1000000;
    }

    return r.rq.facts.input_tokens;
}


#define text(span)                                                            \
    (int) ((span).end - (span).start), body + (span).start


static const char *
describe(request_t *r, const char *body)
{
    unsigned      i;
    llm_edits_t  *e;
    llm_facts_t  *f;
    llm_tool_t   *tool;
    llm_place_t  *place;
    static char   out[8192];

    static const char  *places[] = {
        "tools", "tool_choice", "functions", "function_call", "thinking"
    };

    out[0] = '\0';
    e = &r->rq.edits;
    f = &r->rq.facts;

    if (f->model_len) {
        say(out, "model=%.*s", (int) f->model_len, f->model);
    }

    if (f->max_tokens >= 0) {
        say(out, "max=%d", (int) f->max_tokens);
    }

    if (f->choices != 1) {
        say(out, "choices=%d", (int) f->choices);
    }

    if (f->stream) {
        say(out, "stream");
    }

    for (i = 0; i < e->nlimits; i++) {
        say(out, "limit %s=%.*s", e->limits[i].name, text(e->limits[i].span));
    }

    if (e->max_tokens_value.end) {
        say(out, "at=%.*s", text(e->max_tokens_value));
    }

    if (e->config.end) {
        say(out, "config=%.*s", text(e->config));

        if (e->config_start && e->config_start != e->config.start + 1) {
            say(out, "wrong");
        }
    }

    if (e->config_empty) {
        say(out, "config_empty");
    }

    if (e->thinking.name) {
        say(out, "thinking %s=%.*s (%d)", e->thinking.name,
            text(e->thinking.span),
            (int) (e->thinking.value < 0 ? -1 : e->thinking.value));
    }

    for (i = 0; i < LLM_PLACES; i++) {

        place = &e->places[i];

        if (place->span.end) {
            say(out, "%s<%c %.*s %c>", places[i],
                place->before ? body[place->before] : '0',
                text(place->span), place->next ? body[place->next] : '0');
        }
    }

    if (e->tool_choice_len) {
        say(out, "choice=%.*s", (int) e->tool_choice_len, e->tool_choice);
    }

    for (i = 0; i < f->ntools && i < TOOLS; i++) {

        tool = &r->tools[i];

        say(out, "tool %.*s=%.*s", (int) tool->name_len, tool->name,
            text(tool->span));

        if (body[tool->array.start] != '['
            || body[tool->array.end - 1] != ']')
        {
            say(out, "wrong");
        }

        if (tool->array.start != r->tools[f->ntools - 1].array.start) {
            say(out, "in 2");
        }
    }

    if (f->messages) {
        say(out, "messages");
    }

    if (f->tier) {
        say(out, "tier=%d", (int) f->tier);
    }

    if (f->images >= 0) {
        say(out, "images=%d", (int) f->images);
    }

    if (f->characters >= 0) {
        say(out, "characters=%d", (int) f->characters);
    }

    if (f->media_bytes) {
        say(out, "media=%d", (int) f->media_bytes);
    }

    if (f->tool_uses >= 0) {
        say(out, "uses=%d", (int) f->tool_uses);
    }

    say(out, "%s%s%s%s%s", f->stateful ? " state" : "",
        f->background ? " background" : "", f->cache_write ? " cache" : "",
        f->cache_write_1h ? " cache_1h" : "",
        f->web_search ? " search" : "");

    return out;
}


static void
say(char *out, const char *format, ...)
{
    char     word[4096];
    size_t   n;
    va_list  args;

    va_start(args, format);
    vsnprintf(word, sizeof(word), format, args);
    va_end(args);

    n = strlen(out);

    snprintf(out + n, 8192 - n, "%s%s", (n && word[0] && word[0] != ' ')
                                        ? " " : "",
             (n == 0 && word[0] == ' ') ? word + 1 : word);
}
