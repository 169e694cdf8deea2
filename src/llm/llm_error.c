
/*
 * Copyright (C) nginx-cycles authors
 *
 * Errors as each provider words them.
 */


#include <string.h>

#include "llm_error.h"


typedef void (*llm_error_write_pt)(cycles_json_t *js,
    const llm_error_t *error);


static void llm_error_openai(cycles_json_t *js, const llm_error_t *error);
static void llm_error_anthropic(cycles_json_t *js, const llm_error_t *error);
static const char *llm_error_anthropic_type(const llm_error_t *error);
static void llm_error_google(cycles_json_t *js, const llm_error_t *error);
static const char *llm_error_google_status(unsigned status);
static void llm_error_flat(cycles_json_t *js, const llm_error_t *error);
static void llm_error_mistral(cycles_json_t *js, const llm_error_t *error);
static void llm_error_ollama(cycles_json_t *js, const llm_error_t *error);
static void llm_error_openrouter(cycles_json_t *js, const llm_error_t *error);
static void llm_error_llamacpp(cycles_json_t *js, const llm_error_t *error);
static void llm_error_vllm(cycles_json_t *js, const llm_error_t *error);
static void llm_error_responses(cycles_json_t *js, const llm_error_t *error,
    int64_t events);
static void llm_error_interactions(cycles_json_t *js,
    const llm_error_t *error);
static void llm_error_cohere_end(cycles_json_t *js, const llm_error_t *error);
static void llm_error_chunk(cycles_json_t *js, const llm_error_t *error);
static void llm_error_names(cycles_json_t *js, const llm_error_t *error);
static void llm_error_null(cycles_json_t *js, const char *name);
static void llm_error_details(cycles_json_t *js, const llm_error_t *error);


/* what OpenAI calls them, and those who have no names of their own */

static const char *const  llm_error_types[LLM_ERROR_KINDS] = {
    "insufficient_quota", "rate_limit_exceeded", "server_error",
    "invalid_request_error"
};

static const char *const  llm_error_codes[LLM_ERROR_KINDS] = {
    "insufficient_quota", "budget_reserved", "budget_unavailable",
    "invalid_request"
};


static const char *const  llm_error_amzn_types[LLM_ERROR_KINDS] = {
    "ServiceQuotaExceededException", "ThrottlingException",
    "ServiceUnavailableException", "ValidationException"
};


/*
 * 402 is retried by no SDK; Google's API does not have it, and AWS's SDKs
 * take a 400 with the name of the error.
 */

static const struct {
    llm_error_write_pt   write;
    unsigned             quota;
} llm_errors[LLM_ERRORS] = {
    { llm_error_openai, 402 },
    { llm_error_anthropic, 402 },
    { llm_error_google, 403 },
    { llm_error_flat, 400 },              /* Bedrock */
    { llm_error_mistral, 402 },
    { llm_error_flat, 402 },              /* Cohere */
    { llm_error_ollama, 402 },
    { llm_error_openrouter, 402 },
    { llm_error_llamacpp, 402 },
    { llm_error_vllm, 402 }
};


llm_errors_t
llm_errors_of(llm_provider_t provider, llm_api_t api)
{
    switch (api) {

    case LLM_API_MESSAGES:
    case LLM_API_BATCH_RESULTS:
        return LLM_ERRORS_ANTHROPIC;

    case LLM_API_GENERATE:
    case LLM_API_GEMINI_EMBED:
    case LLM_API_INTERACTIONS:
    case LLM_API_PREDICT:
        return LLM_ERRORS_GOOGLE;

    case LLM_API_CONVERSE:
    case LLM_API_INVOKE:
        return LLM_ERRORS_BEDROCK;

    case LLM_API_COHERE_CHAT:
    case LLM_API_COHERE_EMBED:
        return LLM_ERRORS_COHERE;

    case LLM_API_OLLAMA:
        return LLM_ERRORS_OLLAMA;

    case LLM_API_LLAMACPP:
        return LLM_ERRORS_LLAMACPP;

    default:
        break;
    }

    switch (provider) {

    case LLM_ANTHROPIC:
    case LLM_ANTHROPIC_BATCH:
    case LLM_VERTEX_ANTHROPIC:
        return LLM_ERRORS_ANTHROPIC;

    case LLM_GEMINI:
    case LLM_GEMINI_INTERACTIONS:
    case LLM_VERTEX_PREDICT:
        return LLM_ERRORS_GOOGLE;

    case LLM_BEDROCK_CONVERSE:
    case LLM_BEDROCK_INVOKE:
        return LLM_ERRORS_BEDROCK;

    case LLM_MISTRAL:
        return LLM_ERRORS_MISTRAL;

    case LLM_COHERE:
        return LLM_ERRORS_COHERE;

    case LLM_OLLAMA:
        return LLM_ERRORS_OLLAMA;

    case LLM_OPENROUTER:
        return LLM_ERRORS_OPENROUTER;

    case LLM_LLAMACPP:
        return LLM_ERRORS_LLAMACPP;

    case LLM_VLLM:
        return LLM_ERRORS_VLLM;

    default:
        return LLM_ERRORS_OPENAI;
    }
}


unsigned
llm_error_status(llm_errors_t errors, llm_error_kind_t kind)
{
    switch (kind) {

    case LLM_QUOTA:
        return llm_errors[errors].quota;

    case LLM_BUSY:
        return 429;

    case LLM_UNAVAILABLE:
        return 503;

    default: /* LLM_INVALID */
        return 400;
    }
}


const char *
llm_error_amzn_type(llm_errors_t errors, llm_api_t api, llm_error_kind_t kind,
    unsigned status)
{
    if (errors != LLM_ERRORS_BEDROCK) {
        return NULL;
    }

    /*
     * After a 429 the SDK for Python stops if the name of the error is one
     * of the operation's, and Converse has none of a quota.
     */

    if (kind == LLM_QUOTA && api == LLM_API_CONVERSE && status == 429) {
        return "AccessDeniedException";
    }

    return llm_error_amzn_types[kind];
}


void
llm_error_body(cycles_json_t *js, llm_errors_t errors,
    const llm_error_t *error)
{
    cycles_json_begin(js);
    llm_errors[errors].write(js, error);
    cycles_json_end(js);
}


const char *
llm_error_event(llm_errors_t errors, llm_api_t api)
{
    switch (errors) {

    case LLM_ERRORS_ANTHROPIC:
        return "error";

    case LLM_ERRORS_COHERE:
        return "message-end";

    case LLM_ERRORS_GOOGLE:
        return (api == LLM_API_INTERACTIONS) ? "error" : NULL;

    default:
        return (api == LLM_API_RESPONSES) ? "error" : NULL;
    }
}


void
llm_error_data(cycles_json_t *js, llm_errors_t errors, llm_api_t api,
    const llm_error_t *error, int64_t events)
{
    cycles_json_begin(js);

    if (errors == LLM_ERRORS_COHERE) {
        llm_error_cohere_end(js, error);

    } else if (errors == LLM_ERRORS_OPENROUTER && api == LLM_API_CHAT) {
        llm_error_chunk(js, error);

    } else if (errors == LLM_ERRORS_GOOGLE && api == LLM_API_INTERACTIONS) {
        llm_error_interactions(js, error);

    } else if (errors != LLM_ERRORS_ANTHROPIC && api == LLM_API_RESPONSES) {
        llm_error_responses(js, error, events);

    } else if (errors == LLM_ERRORS_MISTRAL) {

        /* whoever reads a stream knows it by the member "error" */

        llm_error_openai(js, error);

    } else {
        llm_errors[errors].write(js, error);
    }

    cycles_json_end(js);
}


/* Cohere's first version ends its lines with one of their own */

void
llm_error_line(cycles_json_t *js, llm_errors_t errors,
    const llm_error_t *error)
{
    if (errors != LLM_ERRORS_COHERE) {
        llm_error_body(js, errors, error);
        return;
    }

    cycles_json_begin(js);
    cycles_json_key(js, "is_finished", sizeof("is_finished") - 1);
    cycles_json_raw(js, "true", sizeof("true") - 1);
    cycles_json_member_name(js, "event_type", "stream-end");
    cycles_json_member_name(js, "finish_reason", "ERROR");
    cycles_json_member_string(js, "error", error->message);
    cycles_json_end(js);
}


/* {"error":{"message":…,"type":…,"param":null,"code":…}} */

static void
llm_error_openai(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    llm_error_names(js, error);
    llm_error_details(js, error);
    cycles_json_end(js);
}


/* {"type":"error","error":{"type":…,"message":…},"request_id":…} */

static void
llm_error_anthropic(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_name(js, "type", "error");
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    cycles_json_member_name(js, "type", llm_error_anthropic_type(error));
    cycles_json_member_string(js, "message", error->message);

    if (error->kind == LLM_QUOTA) {
        cycles_json_key(js, "details", sizeof("details") - 1);
        cycles_json_begin(js);
        cycles_json_member_name(js, "error_code",
                                "enforced_spend_limit_reached");
        cycles_json_end(js);
    }

    llm_error_details(js, error);
    cycles_json_end(js);

    if (error->request_id.len) {
        cycles_json_member_string(js, "request_id", error->request_id);
    }
}


static const char *
llm_error_anthropic_type(const llm_error_t *error)
{
    switch (error->status) {

    case 402:
        return "billing_error";

    case 403:
        return "permission_error";

    case 429:
        return "rate_limit_error";

    default:
        return (error->status >= 500) ? "api_error" : "invalid_request_error";
    }
}


/* {"error":{"code":429,"message":…,"status":"RESOURCE_EXHAUSTED",…}} */

static void
llm_error_google(cycles_json_t *js, const llm_error_t *error)
{
    static const char  info[] = "type.googleapis.com/google.rpc.ErrorInfo";

    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    cycles_json_member_integer(js, "code", error->status);
    cycles_json_member_string(js, "message", error->message);
    cycles_json_member_name(js, "status",
                            llm_error_google_status(error->status));

    cycles_json_key(js, "details", sizeof("details") - 1);
    cycles_json_raw(js, "[", 1);
    cycles_json_begin(js);
    cycles_json_member_name(js, "@type", info);
    cycles_json_member_name(js, "reason", llm_error_codes[error->kind]);
    cycles_json_member_name(js, "domain", "cycles");
    cycles_json_end(js);
    cycles_json_raw(js, "]", 1);

    llm_error_details(js, error);
    cycles_json_end(js);
}


static const char *
llm_error_google_status(unsigned status)
{
    switch (status) {

    case 400:
        return "INVALID_ARGUMENT";

    case 429:
        return "RESOURCE_EXHAUSTED";

    default:
        return (status >= 500) ? "UNAVAILABLE" : "PERMISSION_DENIED";
    }
}


/* {"message":…} of Bedrock, which has the rest in a header, and of Cohere */

static void
llm_error_flat(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_string(js, "message", error->message);
    llm_error_details(js, error);
}


/* {"object":"error","message":…,"type":…,"param":null,"code":…} */

static void
llm_error_mistral(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_name(js, "object", "error");
    llm_error_names(js, error);
    llm_error_details(js, error);
}


/* {"error":"text"} */

static void
llm_error_ollama(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_string(js, "error", error->message);
    llm_error_details(js, error);
}


/* {"error":{"code":402,"message":…,"metadata":{…}}} */

static void
llm_error_openrouter(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    cycles_json_member_integer(js, "code", error->status);
    cycles_json_member_string(js, "message", error->message);
    cycles_json_key(js, "metadata", sizeof("metadata") - 1);
    cycles_json_begin(js);
    cycles_json_member_name(js, "error_type", llm_error_codes[error->kind]);
    llm_error_details(js, error);
    cycles_json_end(js);
    cycles_json_end(js);
}


/* {"error":{"code":429,"message":…,"type":…}} */

static void
llm_error_llamacpp(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    cycles_json_member_integer(js, "code", error->status);
    cycles_json_member_string(js, "message", error->message);
    cycles_json_member_name(js, "type", llm_error_types[error->kind]);
    llm_error_details(js, error);
    cycles_json_end(js);
}


/* as OpenAI's, but the code is a number */

static void
llm_error_vllm(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    cycles_json_member_string(js, "message", error->message);
    cycles_json_member_name(js, "type", llm_error_types[error->kind]);
    llm_error_null(js, "param");
    cycles_json_member_integer(js, "code", error->status);
    llm_error_details(js, error);
    cycles_json_end(js);
}


/* {"type":"error","code":…,"message":…,"param":null,"sequence_number":…} */

static void
llm_error_responses(cycles_json_t *js, const llm_error_t *error,
    int64_t events)
{
    cycles_json_member_name(js, "type", "error");
    cycles_json_member_name(js, "code", llm_error_codes[error->kind]);
    cycles_json_member_string(js, "message", error->message);
    llm_error_null(js, "param");
    cycles_json_member_integer(js, "sequence_number", events);
}


/* {"event_type":"error","error":{"code":…,"message":…}} */

static void
llm_error_interactions(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_name(js, "event_type", "error");
    cycles_json_key(js, "error", sizeof("error") - 1);
    cycles_json_begin(js);
    cycles_json_member_name(js, "code", llm_error_codes[error->kind]);
    cycles_json_member_string(js, "message", error->message);
    cycles_json_end(js);
}


/* {"type":"message-end","delta":{"error":…,"finish_reason":"ERROR"}} */

static void
llm_error_cohere_end(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_name(js, "type", "message-end");
    cycles_json_key(js, "delta", sizeof("delta") - 1);
    cycles_json_begin(js);
    cycles_json_member_string(js, "error", error->message);
    cycles_json_member_name(js, "finish_reason", "ERROR");
    cycles_json_end(js);
}


/* OpenRouter's own SDK reads an error only in a chunk that has all members */

static void
llm_error_chunk(cycles_json_t *js, const llm_error_t *error)
{
    static const char  choices[] = "[{\"index\":0,\"delta\":{\"content\":\"\"},"
                                   "\"finish_reason\":\"error\"}]";

    cycles_json_member_name(js, "id", "cycles");
    cycles_json_member_name(js, "object", "chat.completion.chunk");
    cycles_json_member_integer(js, "created", 0);
    cycles_json_member_name(js, "model", "");
    llm_error_openrouter(js, error);
    cycles_json_key(js, "choices", sizeof("choices") - 1);
    cycles_json_raw(js, choices, sizeof(choices) - 1);
}


static void
llm_error_names(cycles_json_t *js, const llm_error_t *error)
{
    cycles_json_member_string(js, "message", error->message);
    cycles_json_member_name(js, "type", llm_error_types[error->kind]);
    llm_error_null(js, "param");
    cycles_json_member_name(js, "code", llm_error_codes[error->kind]);
}


static void
llm_error_null(cycles_json_t *js, const char *name)
{
    cycles_json_key(js, name, strlen(name));
    cycles_json_raw(js, "null", sizeof("null") - 1);
}


/* of the budget, which no provider has a place for */

static void
llm_error_details(cycles_json_t *js, const llm_error_t *error)
{
    if (error->details.len) {
        cycles_json_key(js, "cycles", sizeof("cycles") - 1);
        cycles_json_raw(js, error->details.data, error->details.len);
    }
}
