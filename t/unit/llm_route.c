
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "llm/llm_route.h"
#include "tap.h"


#define AUTO  LLM_PROVIDER_AUTO

#define FREE    1
#define STREAM  2
#define KNOWN   4


static void test_paths(void);
static void test_free(void);
static void test_models(void);
static void test_regions(void);
static void route(llm_route_t *rt, unsigned provider, const char *method,
    const char *host, const char *path);


int
main(void)
{
    test_paths();
    test_free();
    test_models();

    test_regions();

    return done_testing();
}


static struct {
    unsigned         configured;
    const char      *host;
    const char      *path;
    const char      *provider;
    llm_api_t        api;
    unsigned         flags;
    const char      *model;
} paths[] = {

    { AUTO, "gw", "/v1/chat/completions", "openai", LLM_API_CHAT, KNOWN, "" },
    { AUTO, "", "/a/b/v1/chat/completions/?x=/v1/messages", "openai",
      LLM_API_CHAT, KNOWN, "" },
    { AUTO, "gw", "/v1/completions", "openai", LLM_API_COMPLETIONS, KNOWN,
      "" },
    { AUTO, "gw", "/v1/responses", "openai-responses", LLM_API_RESPONSES,
      KNOWN, "" },
    { AUTO, "gw", "/v1/responses/compact", "openai-responses",
      LLM_API_RESPONSES, KNOWN, "" },
    { AUTO, "gw", "/v1/responses/input_tokens", "openai-responses",
      LLM_API_RESPONSES, KNOWN|FREE, "" },
    { AUTO, "gw", "/v1/responses/resp_1/cancel", "openai-responses",
      LLM_API_RESPONSES, KNOWN|FREE, "" },
    { AUTO, "gw", "/v1/embeddings", "openai", LLM_API_EMBEDDINGS, KNOWN, "" },
    { AUTO, "gw", "/v1/images/generations", "openai-images", LLM_API_IMAGES,
      KNOWN, "" },
    { AUTO, "gw", "/v1/images/edits", "openai-images", LLM_API_IMAGES, KNOWN,
      "" },
    { AUTO, "gw", "/v1/audio/transcriptions", "openai-audio",
      LLM_API_TRANSCRIPTIONS, KNOWN, "" },
    { AUTO, "gw", "/v1/audio/speech", "openai-audio", LLM_API_SPEECH, KNOWN,
      "" },
    { AUTO, "api.openai.com", "/v1/moderations", "openai",
      LLM_API_EMBEDDINGS, KNOWN|FREE, "" },
    { AUTO, "gw", "/v1/moderations", "other", LLM_API_OTHER, 0, "" },
    { LLM_OPENAI, "gw", "/v1/moderations", "openai", LLM_API_EMBEDDINGS,
      KNOWN|FREE, "" },
    { LLM_MISTRAL, "gw", "/v1/moderations", "mistral", LLM_API_EMBEDDINGS,
      KNOWN, "" },
    { AUTO, "gw", "/v1/files", "openai", LLM_API_OTHER, KNOWN|FREE, "" },
    { AUTO, "gw", "/v1/realtime", "openai-realtime", LLM_API_REALTIME, KNOWN,
      "" },
    { AUTO, "gw", "/v1/realtime/client_secrets", "openai-realtime",
      LLM_API_REALTIME, KNOWN, "" },
    { AUTO, "gw", "/v1/threads/thread_1/messages", "other", LLM_API_OTHER, 0,
      "" },
    { AUTO, "api.openai.com", "/v1/threads/thread_1/runs", "openai",
      LLM_API_OTHER, 0, "" },
    { AUTO, "gw", "/", "other", LLM_API_OTHER, 0, "" },
    { AUTO, "gw", "", "other", LLM_API_OTHER, 0, "" },
    { AUTO, "gw", "/v1/xchat/completions", "openai", LLM_API_COMPLETIONS,
      KNOWN, "" },
    { AUTO, "gw", "/v1/xcompletions", "other", LLM_API_OTHER, 0, "" },

    { AUTO, "gw",
      "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
      "azure", LLM_API_CHAT, KNOWN, "my gpt" },
    { AUTO, "r.openai.azure.com", "/openai/v1/chat/completions", "azure",
      LLM_API_CHAT, KNOWN, "" },
    { LLM_AZURE, "gw", "/openai/responses?api-version=preview", "azure",
      LLM_API_RESPONSES, KNOWN, "" },
    { LLM_AZURE, "gw", "/anthropic/v1/messages", "azure", LLM_API_MESSAGES,
      KNOWN, "" },

    { AUTO, "gw", "/v1/messages", "anthropic", LLM_API_MESSAGES, KNOWN, "" },
    { AUTO, "gw", "/v1/messages?beta=true", "anthropic", LLM_API_MESSAGES,
      KNOWN, "" },
    { AUTO, "gw", "/v1/messages/count_tokens", "anthropic", LLM_API_MESSAGES,
      KNOWN|FREE, "" },
    { AUTO, "gw", "/v1/messages/batches", "anthropic", LLM_API_OTHER, KNOWN,
      "" },
    { AUTO, "api.anthropic.com", "/v1/chat/completions", "anthropic",
      LLM_API_CHAT, KNOWN, "" },

    { AUTO, "gw", "/v1beta/models/gemini-2.5-flash:generateContent",
      "gemini", LLM_API_GENERATE, KNOWN, "gemini-2.5-flash" },
    { AUTO, "gw", "/v1beta/models/g:streamGenerateContent?alt=sse", "gemini",
      LLM_API_GENERATE, KNOWN|STREAM, "g" },
    { AUTO, "gw", "/v1beta/models/gemini-2.5-pro%3AgenerateContent",
      "gemini", LLM_API_GENERATE, KNOWN, "gemini-2.5-pro" },
    { AUTO, "gw", "/v1beta/tunedModels/t-1:generateContent", "gemini",
      LLM_API_GENERATE, KNOWN, "t-1" },
    { AUTO, "gw", "/v1beta/models/g:countTokens", "gemini",
      LLM_API_GENERATE, KNOWN|FREE, "g" },
    { AUTO, "gw", "/v1beta/models/g:embedContent", "gemini",
      LLM_API_GEMINI_EMBED, KNOWN, "g" },
    { AUTO, "gw", "/v1beta/models/g:somethingNew", "other", LLM_API_OTHER, 0,
      "" },
    { AUTO, "gw", "/v1beta/openai/chat/completions", "gemini-openai",
      LLM_API_CHAT, KNOWN, "" },
    { LLM_GEMINI, "gw", "/v1beta/interactions", "gemini-interactions",
      LLM_API_INTERACTIONS, KNOWN, "" },

    { AUTO, "gw", "/v1/projects/p/locations/us/publishers/google/models/"
      "gemini-2.5-pro:streamGenerateContent", "vertex", LLM_API_GENERATE,
      KNOWN|STREAM, "gemini-2.5-pro" },
    { AUTO, "us-central1-aiplatform.googleapis.com", "/v1/projects/p/"
      "locations/us/publishers/google/models/text-embedding-005:predict",
      "vertex-predict", LLM_API_PREDICT, KNOWN, "text-embedding-005" },
    { AUTO, "gw", "/v1/projects/p/locations/us/publishers/anthropic/models/"
      "claude-sonnet-4-5@20250929:streamRawPredict", "vertex-anthropic",
      LLM_API_MESSAGES, KNOWN, "claude-sonnet-4-5@20250929" },
    { AUTO, "gw", "/v1/projects/p/locations/us/publishers/anthropic/models/"
      "count-tokens:rawPredict", "vertex-anthropic", LLM_API_MESSAGES,
      KNOWN|FREE, "count-tokens" },
    { AUTO, "gw", "/v1/projects/p/locations/us/publishers/mistralai/models/"
      "mistral-large:rawPredict", "vertex", LLM_API_CHAT, KNOWN,
      "mistral-large" },
    { AUTO, "gw", "/v1/projects/p/locations/us/endpoints/openapi/chat/"
      "completions", "vertex", LLM_API_CHAT, KNOWN, "" },

    { AUTO, "gw", "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/"
      "converse", "bedrock-converse", LLM_API_CONVERSE, KNOWN,
      "us.anthropic.claude-sonnet-4-5-20250929-v1:0" },
    { AUTO, "gw", "/model/amazon.nova-pro-v1:0/converse-stream",
      "bedrock-converse", LLM_API_CONVERSE, KNOWN|STREAM,
      "amazon.nova-pro-v1:0" },
    { AUTO, "gw", "/bedrock/model/m/invoke", "bedrock-invoke",
      LLM_API_INVOKE, KNOWN, "m" },
    { LLM_BEDROCK_CONVERSE, "gw", "/model/m/invoke-with-response-stream",
      "bedrock-invoke", LLM_API_INVOKE, KNOWN|STREAM, "m" },
    { AUTO, "gw", "/model/m/count-tokens", "bedrock-converse",
      LLM_API_CONVERSE, KNOWN|FREE, "m" },
    { AUTO, "bedrock-runtime.us-east-1.amazonaws.com",
      "/openai/v1/chat/completions", "bedrock", LLM_API_CHAT, KNOWN, "" },

    { AUTO, "api.groq.com:443", "/openai/v1/chat/completions", "groq",
      LLM_API_CHAT, KNOWN, "" },
    { AUTO, "API.DeepSeek.com", "/chat/completions", "deepseek",
      LLM_API_CHAT, KNOWN, "" },
    { AUTO, "notapi.deepseek.com", "/chat/completions", "openai",
      LLM_API_CHAT, KNOWN, "" },
    { AUTO, "gw", "/v2/chat", "cohere", LLM_API_COHERE_CHAT, KNOWN, "" },
    { AUTO, "gw", "/v1/chat", "other", LLM_API_OTHER, 0, "" },
    { LLM_COHERE, "gw", "/v1/chat", "cohere", LLM_API_COHERE_CHAT, KNOWN,
      "" },
    { LLM_COHERE, "gw", "/v1/rerank", "cohere", LLM_API_COHERE_EMBED, KNOWN,
      "" },
    { LLM_MISTRAL, "gw", "/v1/conversations/c1", "mistral",
      LLM_API_RESPONSES, KNOWN, "" },
    { LLM_OPENAI, "gw", "/v1/conversations", "openai-responses",
      LLM_API_RESPONSES, KNOWN|FREE, "" },
    { AUTO, "gw", "/api/v1/chat/completions", "openrouter", LLM_API_CHAT,
      KNOWN, "" },
    { AUTO, "gw", "/inference/v1/chat/completions", "fireworks",
      LLM_API_CHAT, KNOWN, "" },
    { LLM_XAI, "gw", "/v1/responses", "xai", LLM_API_RESPONSES, KNOWN, "" },
    { AUTO, "gw", "/api/chat", "ollama", LLM_API_OLLAMA, KNOWN, "" },
    { AUTO, "gw", "/api/embeddings", "ollama", LLM_API_OLLAMA, KNOWN, "" },
    { LLM_OLLAMA, "gw", "/v1/chat/completions", "ollama-v1", LLM_API_CHAT,
      KNOWN, "" },
    { LLM_OLLAMA_V1, "gw", "/api/generate", "ollama", LLM_API_OLLAMA, KNOWN,
      "" },
    { LLM_LLAMACPP, "gw", "/completion", "llamacpp", LLM_API_LLAMACPP, KNOWN,
      "" },
    { LLM_VLLM, "gw", "/tokenize", "vllm", LLM_API_OTHER, KNOWN|FREE, "" },

    /* a path that says nothing */

    { LLM_OPENAI, "gw", "/llm", "openai", LLM_API_CHAT, 0, "" },
    { LLM_OPENAI_RESPONSES, "gw", "/llm", "openai-responses",
      LLM_API_RESPONSES, 0, "" },
    { LLM_OPENAI_IMAGES, "gw", "/llm", "openai-images", LLM_API_IMAGES, 0,
      "" },
    { LLM_OPENAI_AUDIO, "gw", "/llm", "openai-audio", LLM_API_TRANSCRIPTIONS,
      0, "" },
    { LLM_AZURE, "gw", "/llm", "azure", LLM_API_CHAT, 0, "" },
    { LLM_ANTHROPIC, "gw", "/llm", "anthropic", LLM_API_MESSAGES, 0, "" },
    { LLM_GEMINI, "gw", "/llm", "gemini", LLM_API_GENERATE, 0, "" },
    { LLM_GEMINI_OPENAI, "gw", "/llm", "gemini-openai", LLM_API_CHAT, 0,
      "" },
    { LLM_GEMINI_INTERACTIONS, "gw", "/llm", "gemini-interactions",
      LLM_API_INTERACTIONS, 0, "" },
    { LLM_VERTEX_PREDICT, "gw", "/llm", "vertex-predict", LLM_API_PREDICT, 0,
      "" },
    { LLM_VERTEX_ANTHROPIC, "gw", "/llm", "vertex-anthropic",
      LLM_API_MESSAGES, 0, "" },
    { LLM_BEDROCK_CONVERSE, "gw", "/llm", "bedrock-converse",
      LLM_API_CONVERSE, 0, "" },
    { LLM_BEDROCK_INVOKE, "gw", "/llm", "bedrock-invoke", LLM_API_INVOKE, 0,
      "" },
    { LLM_COHERE, "gw", "/llm", "cohere", LLM_API_COHERE_CHAT, 0, "" },
    { LLM_PERPLEXITY, "gw", "/llm", "perplexity", LLM_API_CHAT, 0, "" },
    { LLM_OLLAMA, "gw", "/llm", "ollama", LLM_API_OLLAMA, 0, "" },
    { LLM_OLLAMA_V1, "gw", "/llm", "ollama-v1", LLM_API_CHAT, 0, "" },
    { LLM_LLAMACPP, "gw", "/llm", "llamacpp", LLM_API_CHAT, 0, "" },
    { LLM_OTHER, "gw", "/llm", "other", LLM_API_OTHER, 0, "" }
};


static void
test_paths(void)
{
    size_t       i;
    llm_route_t  rt;

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {

        route(&rt, paths[i].configured, "POST", paths[i].host,
              paths[i].path);

        is_str(llm_provider_name(rt.provider), paths[i].provider,
               "%s %s: provider", paths[i].host, paths[i].path);
        is_int(rt.api, paths[i].api, "%s: API", paths[i].path);
        is_int(rt.free * FREE + rt.stream * STREAM + rt.known * KNOWN,
               paths[i].flags, "%s: free, a stream, known", paths[i].path);
        ok(rt.model_len == strlen(paths[i].model)
           && memcmp(rt.model, paths[i].model, rt.model_len) == 0,
           "%s: model \"%.*s\"", paths[i].path, (int) rt.model_len,
           rt.model);
    }
}


/* what another server may read differently costs something */

static struct {
    const char  *method;
    const char  *path;
    unsigned     free;
} free_cases[] = {
    { "GET", "/v1/chat/completions", 1 },
    { "HEAD", "/v1/models", 1 },
    { "OPTIONS", "/v1/chat/completions", 1 },
    { "DELETE", "/v1/files/file_1", 1 },
    { "POST", "/v1/files", 1 },
    { "PUT", "/v1/files", 1 },
    { "PUT", "/v1/chat/completions", 0 },
    { "get", "/v1/chat/completions", 0 },
    { "POST", "/v1/chat/completions#/v1/files", 0 },
    { "POST", "/v1/files#", 0 },
    { "POST", "/v1/chat/completions?/v1/files", 0 },
    { "POST", "/v1/chat/completions%3f/v1/files", 0 },
    { "POST", "/v1/chat/completions%23/v1/files", 0 },
    { "POST", "/v1/chat/completions/../v1/files", 0 },
    { "POST", "/v1/x/./v1/files", 0 },
    { "POST", "/v1/.../v1/files", 0 },
    { "POST", "/v1/x/%2e%2E/v1/files", 0 },
    { "POST", "/v1/x/.%2e/v1/files", 0 },
    { "POST", "/v1/x\\..\\/v1/files", 0 },
    { "POST", "/v1/x%5c/v1/files", 0 },
    { "POST", "/v1/x;/v1/files", 0 },
    { "POST", "/v1/x%3B/v1/files", 0 },
    { "POST", "/v1/x%00/v1/files", 0 },
    { "POST", "/v1/x%0a/v1/files", 0 },
    { "POST", "/v1/x\x7f/v1/files", 0 },
    { "POST", "/v1/x\xc3\xa9/v1/files", 0 },
    { "POST", "/v1/x%/v1/files", 0 },
    { "POST", "/model/a%3A0/count-tokens", 1 },
    { "POST", "/model/a.b-v1%2Fc/count-tokens", 1 },
    { "POST", "/model/../count-tokens", 0 }
};


static void
test_free(void)
{
    size_t       i;
    llm_route_t  rt;

    for (i = 0; i < sizeof(free_cases) / sizeof(free_cases[0]); i++) {

        route(&rt, AUTO, free_cases[i].method, "gw", free_cases[i].path);

        is_int(rt.free, free_cases[i].free, "%s %s: free",
               free_cases[i].method, free_cases[i].path);
    }
}


static struct {
    const char  *id;
    const char  *model;
} ids[] = {
    { "a", "a" },
    { "a%3a0", "a:0" },
    { "a%2Fb", "a/b" },
    { "a/b", "a/b" },
    { "a%", "a%" },
    { "a%4", "a%4" },
    { "a%zz", "a%zz" },
    { "%25", "%" },
    { "a%00b", "" },
    { "a%0Ab", "" },
    { "%ff", "" },
    { "%C3%A9", "\xc3\xa9" },
    { "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile"
      "%2Fus.anthropic.claude-3-5-haiku-20241022-v1%3A0",
      "us.anthropic.claude-3-5-haiku-20241022-v1:0" },
    { "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
      "eu.amazon.nova-lite-v1:0", "eu.amazon.nova-lite-v1:0" },
    { "arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-8b",
      "meta.llama3-8b" },
    { "arn:aws-us-gov:bedrock:x:1:provisioned-model/abc",
      "arn:aws-us-gov:bedrock:x:1:provisioned-model/abc" },
    { "arn:aws:bedrock:x:1:application-inference-profile/abc",
      "arn:aws:bedrock:x:1:application-inference-profile/abc" },
    { "arn:aws:bedrock:x:1:inference-profile/",
      "arn:aws:bedrock:x:1:inference-profile/" }
};


static void
test_models(void)
{
    char         path[1024];
    size_t       i;
    llm_route_t  rt;

    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {

        snprintf(path, sizeof(path), "/model/%s/converse", ids[i].id);
        route(&rt, AUTO, "POST", "gw", path);

        ok(rt.model_len == strlen(ids[i].model)
           && memcmp(rt.model, ids[i].model, rt.model_len) == 0,
           "id \"%s\": model \"%.*s\"", ids[i].id, (int) rt.model_len,
           rt.model);
    }

    for (i = LLM_MODEL_MAX - 1; i <= LLM_MODEL_MAX + 1; i++) {

        snprintf(path, sizeof(path), "/v1beta/models/%0*d:generateContent",
                 (int) i, 0);
        route(&rt, AUTO, "POST", "gw", path);

        is_int((long long) rt.model_len,
               (i <= LLM_MODEL_MAX) ? (long long) i : 0,
               "a model of %zu bytes", i);
    }
}


/* the path in memory of its own, for the sanitizer */

static void
route(llm_route_t *rt, unsigned provider, const char *method,
    const char *host, const char *path)
{
    size_t          len;
    unsigned char  *copy;

    len = strlen(path);
    copy = malloc(len + 1);

    if (copy == NULL) {
        exit(2);
    }

    copy = memcpy(copy, path, len);

    llm_route(rt, provider, (const unsigned char *) method, strlen(method),
              (const unsigned char *) host, strlen(host), copy, len);

    free(copy);
}


static void
test_regions(void)
{
    int                   rc;
    size_t                i, len;
    const unsigned char  *region;

    static const struct {
        llm_provider_t  provider;
        const char     *host;
        const char     *path;
        const char     *region;           /* NULL: it is not told */
    } cases[] = {
        { LLM_OPENAI, "eu.api.openai.com", "/v1/chat/completions", "eu" },
        { LLM_OPENAI_RESPONSES, "US.API.OpenAI.com:443", "/", "US" },
        { LLM_OPENAI, "api.openai.com", "/", NULL },
        { LLM_OPENAI, ".api.openai.com", "/", NULL },
        { LLM_OPENAI, "a.eu.api.openai.com", "/", NULL },
        { LLM_OPENAI, "", "", NULL },
        { LLM_OPENAI, ":", "", NULL },
        { LLM_ANTHROPIC, "eu.api.openai.com", "/", NULL },
        { LLM_BEDROCK_CONVERSE, "bedrock-runtime.us-east-1.amazonaws.com",
          "/", "us-east-1" },
        { LLM_BEDROCK_INVOKE, "bedrock-runtime.amazonaws.com", "/", NULL },
        { LLM_BEDROCK, "bedrock-mantle.eu-west-1.api.aws", "/",
          "eu-west-1" },
        { LLM_VERTEX, "x", "/v1/projects/p/locations/us-east5/publishers/x",
          "us-east5" },
        { LLM_VERTEX, "x", "/v1/projects/p/locations/global?x", "global" },
        { LLM_VERTEX, "x", "/v1/projects/p/locations/", NULL },
        { LLM_VERTEX, "x", "/v1/projects/p/locations//x", NULL },
        { LLM_VERTEX_ANTHROPIC, "x", "/locations/eu", "eu" },
        { LLM_VERTEX, "x", "", NULL }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        rc = llm_region(cases[i].provider,
                        (const unsigned char *) cases[i].host,
                        strlen(cases[i].host),
                        (const unsigned char *) cases[i].path,
                        strlen(cases[i].path), &region, &len);

        ok(cases[i].region ? rc == LLM_OK && len == strlen(cases[i].region)
                             && memcmp(region, cases[i].region, len) == 0
                           : rc == LLM_NOT_FOUND,
           "region of \"%s%s\"", cases[i].host, cases[i].path);
    }
}
