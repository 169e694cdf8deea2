
/*
 * Copyright (C) nginx-cycles authors
 *
 * A path is known by its end, so that a gateway may put what it likes in
 * front.  What costs nothing must be beyond doubt: a path that a server may
 * read differently is never free.
 */


#include <string.h>
#include <strings.h>

#include "llm_route.h"
#include "llm_text.h"


/* no provider of its own: that of the configuration, or of the host */

#define LLM_ANY  LLM_PROVIDERS


/* llm_path_t.flags */

#define LLM_PATH_FREE    0x01
#define LLM_PATH_ONLY    0x02             /* of that provider alone */
#define LLM_PATH_STREAM  0x04


/* the last segments of a path; a "*" is any one of them */

typedef struct {
    const char           *end;
    llm_api_t             api;
    unsigned              provider;
    unsigned              flags;
} llm_path_t;


typedef struct {
    const unsigned char  *data;
    size_t                len;
} llm_part_t;


static const llm_path_t *llm_route_path(llm_route_t *route,
    const llm_part_t *path, unsigned provider);
static const llm_path_t *llm_route_bedrock(llm_route_t *route,
    const llm_part_t *path);
static const llm_path_t *llm_route_google(llm_route_t *route,
    const llm_part_t *path);
static const llm_path_t *llm_route_publisher(const llm_part_t *path);
static void llm_route_azure(llm_route_t *route, const llm_part_t *path);
static void llm_route_model(llm_route_t *route, const unsigned char *p,
    size_t len);
static void llm_route_arn(llm_route_t *route);
static unsigned llm_route_guess(const llm_part_t *path,
    const llm_path_t *known);
static unsigned llm_route_stream_usage(const llm_route_t *route,
    const unsigned char *path, size_t len);
static unsigned llm_route_family(unsigned provider);
static llm_provider_t llm_route_member(unsigned family, llm_api_t api);
static llm_api_t llm_route_default(unsigned provider);
static int llm_route_reads(const unsigned char *method, size_t len);
static int llm_route_plain(const llm_part_t *path);
static int llm_route_bad_escape(const unsigned char *p);
static int llm_part_ends(const llm_part_t *path, const char *end);
static const unsigned char *llm_part_find(const llm_part_t *path,
    const char *text);
static int llm_part_is(const llm_part_t *part, const char *text);


/* the first that fits is the one */

static const llm_path_t  llm_paths[] = {

    { "endpoints/openapi/chat/completions", LLM_API_CHAT, LLM_VERTEX, 0 },
    { "v1beta/openai/chat/completions", LLM_API_CHAT, LLM_GEMINI, 0 },
    { "v1beta/openai/embeddings", LLM_API_EMBEDDINGS, LLM_GEMINI, 0 },
    { "api/v1/chat/completions", LLM_API_CHAT, LLM_OPENROUTER, 0 },
    { "api/v1/completions", LLM_API_COMPLETIONS, LLM_OPENROUTER, 0 },
    { "api/v1/responses", LLM_API_RESPONSES, LLM_OPENROUTER, 0 },
    { "api/v1/messages", LLM_API_MESSAGES, LLM_OPENROUTER, 0 },
    { "inference/v1/chat/completions", LLM_API_CHAT, LLM_FIREWORKS, 0 },
    { "inference/v1/completions", LLM_API_COMPLETIONS, LLM_FIREWORKS, 0 },
    { "inference/v1/embeddings", LLM_API_EMBEDDINGS, LLM_FIREWORKS, 0 },

    { "chat/completions", LLM_API_CHAT, LLM_ANY, 0 },
    { "agents/completions", LLM_API_CHAT, LLM_MISTRAL, 0 },
    { "fim/completions", LLM_API_COMPLETIONS, LLM_MISTRAL, 0 },
    { "completions", LLM_API_COMPLETIONS, LLM_ANY, 0 },

    { "responses/input_tokens", LLM_API_RESPONSES, LLM_ANY, LLM_PATH_FREE },
    { "responses/*/cancel", LLM_API_RESPONSES, LLM_ANY, LLM_PATH_FREE },
    { "responses/compact", LLM_API_RESPONSES, LLM_ANY, 0 },
    { "responses", LLM_API_RESPONSES, LLM_ANY, 0 },

    { "v1/messages/count_tokens", LLM_API_MESSAGES, LLM_ANTHROPIC,
      LLM_PATH_FREE },
    { "messages/batches/*/cancel", LLM_API_MESSAGES, LLM_ANTHROPIC,
      LLM_PATH_FREE },
    { "messages/batches/*/results", LLM_API_BATCH_RESULTS, LLM_ANTHROPIC, 0 },
    { "messages/batches", LLM_API_OTHER, LLM_ANTHROPIC, 0 },
    { "v1/messages", LLM_API_MESSAGES, LLM_ANTHROPIC, 0 },
    { "anthropic/messages", LLM_API_MESSAGES, LLM_ANTHROPIC, 0 },

    { "interactions/*/cancel", LLM_API_INTERACTIONS, LLM_GEMINI,
      LLM_PATH_FREE },
    { "interactions", LLM_API_INTERACTIONS, LLM_GEMINI, 0 },

    { "images/generations", LLM_API_IMAGES, LLM_ANY, 0 },
    { "images/edits", LLM_API_IMAGES, LLM_ANY, 0 },
    { "images/variations", LLM_API_IMAGES, LLM_ANY, 0 },
    { "audio/transcriptions", LLM_API_TRANSCRIPTIONS, LLM_ANY, 0 },
    { "audio/translations", LLM_API_TRANSCRIPTIONS, LLM_ANY, 0 },
    { "audio/speech", LLM_API_SPEECH, LLM_ANY, 0 },

    { "realtime", LLM_API_REALTIME, LLM_ANY, 0 },
    { "realtime/*", LLM_API_REALTIME, LLM_ANY, 0 },
    { "realtime/*/*", LLM_API_REALTIME, LLM_ANY, 0 },

    /* Mistral has models for these; elsewhere they are free, or unknown */

    { "moderations", LLM_API_EMBEDDINGS, LLM_MISTRAL, LLM_PATH_ONLY },
    { "classifications", LLM_API_EMBEDDINGS, LLM_MISTRAL, LLM_PATH_ONLY },
    { "v1/moderations", LLM_API_EMBEDDINGS, LLM_OPENAI,
      LLM_PATH_ONLY|LLM_PATH_FREE },
    { "v1/moderations", LLM_API_EMBEDDINGS, LLM_AZURE,
      LLM_PATH_ONLY|LLM_PATH_FREE },
    { "conversations", LLM_API_RESPONSES, LLM_MISTRAL, LLM_PATH_ONLY },
    { "conversations/*", LLM_API_RESPONSES, LLM_MISTRAL, LLM_PATH_ONLY },
    { "v1/conversations", LLM_API_RESPONSES, LLM_OPENAI,
      LLM_PATH_ONLY|LLM_PATH_FREE },

    { "v1/files", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "openai/files", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "v1/uploads", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "v1/uploads/*/parts", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "v1/uploads/*/complete", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "v1/uploads/*/cancel", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "v1/batches/*/cancel", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },

    { "v2/chat", LLM_API_COHERE_CHAT, LLM_COHERE, 0 },
    { "v2/embed", LLM_API_COHERE_EMBED, LLM_COHERE, 0 },
    { "v2/rerank", LLM_API_COHERE_EMBED, LLM_COHERE, 0 },
    { "v1/chat", LLM_API_COHERE_CHAT, LLM_COHERE, LLM_PATH_ONLY },
    { "v1/embed", LLM_API_COHERE_EMBED, LLM_COHERE, LLM_PATH_ONLY },
    { "v1/rerank", LLM_API_COHERE_EMBED, LLM_COHERE, LLM_PATH_ONLY },
    { "rerank", LLM_API_EMBEDDINGS, LLM_ANY, 0 },

    { "api/chat", LLM_API_OLLAMA, LLM_OLLAMA, 0 },
    { "api/generate", LLM_API_OLLAMA, LLM_OLLAMA, 0 },
    { "api/embed", LLM_API_OLLAMA, LLM_OLLAMA, 0 },
    { "api/embeddings", LLM_API_OLLAMA, LLM_OLLAMA, 0 },
    { "api/show", LLM_API_OLLAMA, LLM_OLLAMA, LLM_PATH_FREE },
    { "api/pull", LLM_API_OLLAMA, LLM_OLLAMA, LLM_PATH_FREE },
    { "api/copy", LLM_API_OLLAMA, LLM_OLLAMA, LLM_PATH_FREE },

    { "embeddings", LLM_API_EMBEDDINGS, LLM_ANY, 0 },

    { "completion", LLM_API_LLAMACPP, LLM_LLAMACPP, 0 },
    { "infill", LLM_API_LLAMACPP, LLM_LLAMACPP, 0 },
    { "apply-template", LLM_API_LLAMACPP, LLM_ANY, LLM_PATH_FREE },
    { "tokenize", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },
    { "detokenize", LLM_API_OTHER, LLM_ANY, LLM_PATH_FREE },

    { NULL, LLM_API_OTHER, LLM_ANY, 0 }
};


/* behind /model/ID on Bedrock */

static const llm_path_t  llm_bedrock_paths[] = {
    { "converse", LLM_API_CONVERSE, LLM_BEDROCK, 0 },
    { "converse-stream", LLM_API_CONVERSE, LLM_BEDROCK, LLM_PATH_STREAM },
    { "invoke", LLM_API_INVOKE, LLM_BEDROCK, 0 },
    { "invoke-with-response-stream", LLM_API_INVOKE, LLM_BEDROCK,
      LLM_PATH_STREAM },
    { "count-tokens", LLM_API_CONVERSE, LLM_BEDROCK, LLM_PATH_FREE },
    { NULL, LLM_API_OTHER, LLM_ANY, 0 }
};


/* behind the colon of Google's paths */

static const llm_path_t  llm_google_paths[] = {
    { "generateContent", LLM_API_GENERATE, LLM_GEMINI, 0 },
    { "streamGenerateContent", LLM_API_GENERATE, LLM_GEMINI,
      LLM_PATH_STREAM },
    { "countTokens", LLM_API_GENERATE, LLM_GEMINI, LLM_PATH_FREE },
    { "embedContent", LLM_API_GEMINI_EMBED, LLM_GEMINI, 0 },
    { "batchEmbedContents", LLM_API_GEMINI_EMBED, LLM_GEMINI, 0 },
    { "predict", LLM_API_PREDICT, LLM_VERTEX, 0 },
    { "rawPredict", LLM_API_OTHER, LLM_VERTEX, 0 },
    { "streamRawPredict", LLM_API_OTHER, LLM_VERTEX, LLM_PATH_STREAM },
    { NULL, LLM_API_OTHER, LLM_ANY, 0 }
};


/* whose models Vertex serves as they are elsewhere */

static const llm_path_t  llm_vertex_messages =
    { NULL, LLM_API_MESSAGES, LLM_VERTEX, 0 };
static const llm_path_t  llm_vertex_messages_count =
    { NULL, LLM_API_MESSAGES, LLM_VERTEX, LLM_PATH_FREE };
static const llm_path_t  llm_vertex_chat =
    { NULL, LLM_API_CHAT, LLM_VERTEX, 0 };


/* a name, and with a dot or a dash in front the end of one */

#define llm_host(name, provider)  { name, sizeof(name) - 1, provider }

static const struct {
    const char      *host;
    size_t           len;
    llm_provider_t   provider;
} llm_hosts[] = {
    llm_host("api.openai.com", LLM_OPENAI),
    llm_host(".api.openai.com", LLM_OPENAI),
    llm_host(".openai.azure.com", LLM_AZURE),
    llm_host(".cognitiveservices.azure.com", LLM_AZURE),
    llm_host(".services.ai.azure.com", LLM_AZURE),
    llm_host(".azure-api.net", LLM_AZURE),
    llm_host("api.anthropic.com", LLM_ANTHROPIC),
    llm_host("generativelanguage.googleapis.com", LLM_GEMINI),
    llm_host("aiplatform.googleapis.com", LLM_VERTEX),
    llm_host("-aiplatform.googleapis.com", LLM_VERTEX),
    llm_host(".aiplatform.googleapis.com", LLM_VERTEX),
    llm_host(".amazonaws.com", LLM_BEDROCK),
    llm_host(".amazonaws.com.cn", LLM_BEDROCK),
    llm_host(".api.aws", LLM_BEDROCK),
    llm_host("api.mistral.ai", LLM_MISTRAL),
    llm_host("codestral.mistral.ai", LLM_MISTRAL),
    llm_host("api.cohere.com", LLM_COHERE),
    llm_host("api.cohere.ai", LLM_COHERE),
    llm_host("api.groq.com", LLM_GROQ),
    llm_host("api.deepseek.com", LLM_DEEPSEEK),
    llm_host("api.x.ai", LLM_XAI),
    llm_host(".api.x.ai", LLM_XAI),
    llm_host("api.together.xyz", LLM_TOGETHER),
    llm_host("api.together.ai", LLM_TOGETHER),
    llm_host("api.fireworks.ai", LLM_FIREWORKS),
    llm_host("openrouter.ai", LLM_OPENROUTER),
    llm_host("api.perplexity.ai", LLM_PERPLEXITY),
    llm_host("api.cerebras.ai", LLM_CEREBRAS),
    llm_host("ollama.com", LLM_OLLAMA)
};


void
llm_route(llm_route_t *route, unsigned provider,
    const unsigned char *method, size_t method_len,
    const unsigned char *host, size_t host_len,
    const unsigned char *path, size_t path_len)
{
    unsigned           family;
    llm_api_t          api;
    llm_part_t         part;
    const llm_path_t  *known;

    memset(route, 0, sizeof(llm_route_t));

    api = llm_route_default(provider);

    part.data = path;

    for (part.len = 0; part.len < path_len; part.len++) {
        if (path[part.len] == '?' || path[part.len] == '#') {
            break;
        }
    }

    while (part.len && path[part.len - 1] == '/') {
        part.len--;
    }

    if (provider == LLM_PROVIDER_AUTO) {
        provider = llm_host_provider(host, host_len);
    }

    family = llm_route_family(provider);
    known = llm_route_path(route, &part, family);

    if (family == LLM_ANY) {
        family = llm_route_guess(&part, known);
    }

    route->known = (known != NULL);
    route->api = known ? known->api : api;
    route->stream = known && (known->flags & LLM_PATH_STREAM);
    route->provider = llm_route_member(family, route->api);

    route->stream_usage = llm_route_stream_usage(route, path, path_len);

    route->free = llm_route_reads(method, method_len)
                  || (known && (known->flags & LLM_PATH_FREE)
                      && llm_route_plain(&part)
                      && memchr(path, '#', path_len) == NULL);
}


static const llm_path_t *
llm_route_path(llm_route_t *route, const llm_part_t *path, unsigned provider)
{
    const llm_path_t  *known;

    known = llm_route_bedrock(route, path);

    if (known) {
        return known;
    }

    known = llm_route_google(route, path);

    if (known) {
        return known;
    }

    llm_route_azure(route, path);

    for (known = llm_paths; known->end; known++) {

        if (((known->flags & LLM_PATH_ONLY) && known->provider != provider)
            || !llm_part_ends(path, known->end))
        {
            continue;
        }

        return known;
    }

    return NULL;
}


/*
 * /model/ID/OPERATION: the slashes in the ID of an ARN are escaped, but not
 * when a path was normalized on its way.
 */

static const llm_path_t *
llm_route_bedrock(llm_route_t *route, const llm_part_t *path)
{
    llm_part_t            id;
    const llm_path_t     *known;
    const unsigned char  *model, *last;

    model = llm_part_find(path, "/model/");

    if (model == NULL) {
        return NULL;
    }

    last = path->data + path->len;

    for (known = llm_bedrock_paths; known->end; known++) {

        if (!llm_part_ends(path, known->end)) {
            continue;
        }

        id.data = model + sizeof("/model/") - 1;
        last -= strlen(known->end) + 1;

        if (id.data >= last) {
            return NULL;
        }

        llm_route_model(route, id.data, (size_t) (last - id.data));
        llm_route_arn(route);

        return known;
    }

    return NULL;
}


/* .../models/MODEL:METHOD, where MODEL may also be that of a tuned one */

static const llm_path_t *
llm_route_google(llm_route_t *route, const llm_part_t *path)
{
    llm_part_t            method;
    const llm_path_t     *known;
    const unsigned char  *p, *colon, *model, *last;

    colon = NULL;
    last = path->data + path->len;

    for (p = last; p > path->data && p[-1] != '/'; p--) {

        if (colon == NULL && p[-1] == ':') {
            colon = p - 1;
            method.data = p;
            method.len = (size_t) (last - p);
        }

        if (colon == NULL && last - p >= 3
            && strncasecmp((const char *) p, "%3a", 3) == 0)
        {
            colon = p;
            method.data = p + 3;
            method.len = (size_t) (last - method.data);
        }
    }

    if (colon == NULL) {
        return NULL;
    }

    model = p;

    for (known = llm_google_paths; known->end; known++) {

        if (!llm_part_is(&method, known->end)) {
            continue;
        }

        llm_route_model(route, model, (size_t) (colon - model));

        if (known->api == LLM_API_OTHER) {
            known = llm_route_publisher(path);

            if (known && route->model_len == sizeof("count-tokens") - 1
                && memcmp(route->model, "count-tokens", route->model_len) == 0)
            {
                known = &llm_vertex_messages_count;
            }
        }

        return known;
    }

    return NULL;
}


static const llm_path_t *
llm_route_publisher(const llm_part_t *path)
{
    if (llm_part_find(path, "/publishers/anthropic/")) {
        return &llm_vertex_messages;
    }

    if (llm_part_find(path, "/publishers/google/")) {
        return NULL;
    }

    return &llm_vertex_chat;
}


/* /openai/deployments/NAME/... */

static void
llm_route_azure(llm_route_t *route, const llm_part_t *path)
{
    const unsigned char  *p, *end, *last;

    p = llm_part_find(path, "/deployments/");

    if (p == NULL) {
        return;
    }

    p += sizeof("/deployments/") - 1;
    last = path->data + path->len;
    end = memchr(p, '/', (size_t) (last - p));

    if (end) {
        llm_route_model(route, p, (size_t) (end - p));
    }
}


/* escapes are resolved; a name that is too long, or no text, is none */

static void
llm_route_model(llm_route_t *route, const unsigned char *p, size_t len)
{
    size_t    i;
    unsigned  ch;

    route->model_len = 0;

    for (i = 0; i < len && route->model_len < LLM_MODEL_MAX; i++) {

        ch = p[i];

        if (ch == '%' && len - i > 2
            && llm_hex(p[i + 1]) < 16 && llm_hex(p[i + 2]) < 16)
        {
            ch = llm_hex(p[i + 1]) << 4 | llm_hex(p[i + 2]);
            i += 2;
        }

        route->model[route->model_len++] = (unsigned char) ch;
    }

    if (i < len || !llm_text_printable(route->model, route->model_len)) {
        route->model_len = 0;
    }
}


/*
 * An ARN tells the model where it ends in its name; that of an application
 * profile, a provisioned, custom or imported model does not, and stays whole
 * for "cycles_model_alias".
 */

static void
llm_route_arn(llm_route_t *route)
{
    size_t                n;
    llm_part_t            arn;
    const unsigned char  *p;

    arn.data = route->model;
    arn.len = route->model_len;

    if (arn.len < 4 || memcmp(arn.data, "arn:", 4) != 0) {
        return;
    }

    p = llm_part_find(&arn, ":inference-profile/");

    if (p == NULL) {
        p = llm_part_find(&arn, ":foundation-model/");
    }

    if (p == NULL) {
        return;
    }

    p = memchr(p, '/', (size_t) (arn.data + arn.len - p));
    p++;
    n = (size_t) (arn.data + arn.len - p);

    if (n) {
        memmove(route->model, p, n);
        route->model_len = n;
    }
}


/* by the path alone */

static unsigned
llm_route_guess(const llm_part_t *path, const llm_path_t *known)
{
    if (known == NULL) {
        return LLM_OTHER;
    }

    if (known->provider == LLM_GEMINI
        && llm_part_find(path, "/publishers/google/"))
    {
        return LLM_VERTEX;
    }

    if (known->provider != LLM_ANY) {
        return known->provider;
    }

    return llm_part_find(path, "/openai/deployments/") ? LLM_AZURE
                                                       : LLM_OPENAI;
}


unsigned
llm_host_provider(const unsigned char *host, size_t len)
{
    size_t                i, n;
    unsigned              suffix, last;
    const unsigned char  *colon;

    colon = len ? memchr(host, ':', len) : NULL;

    if (colon) {
        len = (size_t) (colon - host);
    }

    last = len ? host[len - 1] | 0x20 : 0;

    for (i = 0; i < sizeof(llm_hosts) / sizeof(llm_hosts[0]); i++) {

        n = llm_hosts[i].len;

        /* names end with a letter: most are told apart by that */

        if ((unsigned char) llm_hosts[i].host[n - 1] != last) {
            continue;
        }

        suffix = (llm_hosts[i].host[0] == '.' || llm_hosts[i].host[0] == '-');

        if (len < n || (len > n && !suffix)
            || strncasecmp((const char *) host + len - n, llm_hosts[i].host,
                           n) != 0)
        {
            continue;
        }

        return llm_hosts[i].provider;
    }

    return LLM_ANY;
}


/*
 * Some answer 400 or 422 to "stream_options", as Azure did before its version
 * of September 2024; others report their usage unasked.
 */

static unsigned
llm_route_stream_usage(const llm_route_t *route, const unsigned char *path,
    size_t len)
{
    llm_part_t            whole;
    const unsigned char  *version;

    static const char  name[] = "api-version=";
    static const char  since[] = "2024-09";

    if (route->api != LLM_API_CHAT && route->api != LLM_API_COMPLETIONS) {
        return 0;
    }

    switch (route->provider) {

    case LLM_MISTRAL:
    case LLM_COHERE:
    case LLM_GEMINI_OPENAI:
    case LLM_GROQ:
    case LLM_OPENROUTER:
    case LLM_PERPLEXITY:
    case LLM_OTHER:
        return 0;

    case LLM_AZURE:
        whole.data = path;
        whole.len = len;

        version = llm_part_find(&whole, name);

        if (version == NULL) {
            return 1;
        }

        version += sizeof(name) - 1;
        len -= (size_t) (version - path);

        return len < sizeof(since) - 1 || *version != '2'
               || memcmp(version, since, sizeof(since) - 1) >= 0;

    default:
        return 1;
    }
}


/* the one of a family's names that stands for all */

static unsigned
llm_route_family(unsigned provider)
{
    switch (provider) {

    case LLM_OPENAI_RESPONSES:
    case LLM_OPENAI_IMAGES:
    case LLM_OPENAI_AUDIO:
    case LLM_OPENAI_REALTIME:
        return LLM_OPENAI;

    case LLM_ANTHROPIC_BATCH:
        return LLM_ANTHROPIC;

    case LLM_GEMINI_OPENAI:
    case LLM_GEMINI_INTERACTIONS:
        return LLM_GEMINI;

    case LLM_VERTEX_PREDICT:
    case LLM_VERTEX_ANTHROPIC:
        return LLM_VERTEX;

    case LLM_BEDROCK_CONVERSE:
    case LLM_BEDROCK_INVOKE:
        return LLM_BEDROCK;

    case LLM_OLLAMA_V1:
        return LLM_OLLAMA;

    default:
        return provider;
    }
}


/* the name of the family's API */

static llm_provider_t
llm_route_member(unsigned family, llm_api_t api)
{
    switch (family) {

    case LLM_OPENAI:
        switch (api) {

        case LLM_API_RESPONSES:
            return LLM_OPENAI_RESPONSES;

        case LLM_API_IMAGES:
            return LLM_OPENAI_IMAGES;

        case LLM_API_TRANSCRIPTIONS:
        case LLM_API_SPEECH:
            return LLM_OPENAI_AUDIO;

        case LLM_API_REALTIME:
            return LLM_OPENAI_REALTIME;

        default:
            return LLM_OPENAI;
        }

    case LLM_ANTHROPIC:
        return (api == LLM_API_BATCH_RESULTS) ? LLM_ANTHROPIC_BATCH
                                              : LLM_ANTHROPIC;

    case LLM_GEMINI:
        return (api == LLM_API_INTERACTIONS) ? LLM_GEMINI_INTERACTIONS
               : (api == LLM_API_CHAT || api == LLM_API_EMBEDDINGS)
                 ? LLM_GEMINI_OPENAI : LLM_GEMINI;

    case LLM_VERTEX:
        return (api == LLM_API_PREDICT) ? LLM_VERTEX_PREDICT
               : (api == LLM_API_MESSAGES) ? LLM_VERTEX_ANTHROPIC
               : LLM_VERTEX;

    case LLM_BEDROCK:
        return (api == LLM_API_CONVERSE) ? LLM_BEDROCK_CONVERSE
               : (api == LLM_API_INVOKE) ? LLM_BEDROCK_INVOKE
               : LLM_BEDROCK;

    case LLM_OLLAMA:
        return (api == LLM_API_OLLAMA) ? LLM_OLLAMA : LLM_OLLAMA_V1;

    default:
        return (llm_provider_t) family;
    }
}


/* where the path says nothing, as behind a rewrite */

static llm_api_t
llm_route_default(unsigned provider)
{
    switch (provider) {

    case LLM_OPENAI_RESPONSES:
        return LLM_API_RESPONSES;

    case LLM_OPENAI_IMAGES:
        return LLM_API_IMAGES;

    case LLM_OPENAI_AUDIO:
        return LLM_API_TRANSCRIPTIONS;

    case LLM_OPENAI_REALTIME:
        return LLM_API_REALTIME;

    case LLM_ANTHROPIC:
    case LLM_VERTEX_ANTHROPIC:
        return LLM_API_MESSAGES;

    case LLM_ANTHROPIC_BATCH:
        return LLM_API_BATCH_RESULTS;

    case LLM_GEMINI:
    case LLM_VERTEX:
        return LLM_API_GENERATE;

    case LLM_GEMINI_INTERACTIONS:
        return LLM_API_INTERACTIONS;

    case LLM_VERTEX_PREDICT:
        return LLM_API_PREDICT;

    case LLM_BEDROCK_CONVERSE:
        return LLM_API_CONVERSE;

    case LLM_BEDROCK_INVOKE:
        return LLM_API_INVOKE;

    case LLM_COHERE:
        return LLM_API_COHERE_CHAT;

    case LLM_OLLAMA:
        return LLM_API_OLLAMA;

    case LLM_OTHER:
    case LLM_ANY:
        return LLM_API_OTHER;

    default:
        return LLM_API_CHAT;
    }
}


/* reading a list of models or a stored reply costs nothing */

static int
llm_route_reads(const unsigned char *method, size_t len)
{
    return (len == 3 && memcmp(method, "GET", 3) == 0)
           || (len == 4 && memcmp(method, "HEAD", 4) == 0)
           || (len == 6 && memcmp(method, "DELETE", 6) == 0)
           || (len == 7 && memcmp(method, "OPTIONS", 7) == 0);
}


/* every server finds the same segments in it */

static int
llm_route_plain(const llm_part_t *path)
{
    size_t                i;
    const unsigned char  *p;

    p = path->data;

    for (i = 0; i < path->len; i++) {

        if (p[i] == '\\' || p[i] == ';' || p[i] <= 0x20 || p[i] >= 0x7f) {
            return 0;
        }

        if (p[i] == '.' && i && p[i - 1] == '/'
            && (i + 1 == path->len || p[i + 1] == '.' || p[i + 1] == '/'
                || p[i + 1] == '%'))
        {
            return 0;
        }

        if (p[i] == '%'
            && (path->len - i < 3
                || strchr("2357", p[i + 1]) == NULL
                || llm_route_bad_escape(p + i)))
        {
            return 0;
        }
    }

    return 1;
}


/* of what ends a segment or a path, or is a step in it */

static int
llm_route_bad_escape(const unsigned char *p)
{
    size_t  i;

    static const char  *escapes[] = {
        "%23", "%2e", "%3b", "%3f", "%5c", "%7f"
    };

    for (i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
        if (strncasecmp((const char *) p, escapes[i], 3) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
llm_part_ends(const llm_part_t *path, const char *end)
{
    size_t                n;
    const char           *e;
    const unsigned char  *p;

    p = path->data + path->len;
    e = end + strlen(end);

    while (e > end) {

        if (*--e == '*') {

            for (n = 0; p > path->data && p[-1] != '/'; p--) {
                n++;
            }

            if (n == 0) {
                return 0;
            }

            continue;
        }

        if (p == path->data || *--p != (unsigned char) *e) {
            return 0;
        }
    }

    return p == path->data || p[-1] == '/';
}


static const unsigned char *
llm_part_find(const llm_part_t *path, const char *text)
{
    size_t  i, n;

    n = strlen(text);

    for (i = 0; i + n <= path->len; i++) {
        if (memcmp(path->data + i, text, n) == 0) {
            return path->data + i;
        }
    }

    return NULL;
}


static int
llm_part_is(const llm_part_t *part, const char *text)
{
    return part->len == strlen(text)
           && memcmp(part->data, text, part->len) == 0;
}
