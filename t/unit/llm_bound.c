
/*
 * Copyright (C) nginx-cycles authors
 *
 * What requests may use and cost at most, and what is learned of models.
 */


#include <stdlib.h>

#include "llm/llm_bound.h"
#include "llm/llm_factors.h"
#include "llm/llm_request.h"
#include "usage_json.h"
#include "tap.h"


static void test_output(void);
static void test_input(void);
static void test_tools(void);
static void test_pieces(void);
static void test_held(void);
static void test_cost(void);
static void test_first_factor(void);
static void test_factors(void);
static void test_full(void);
static void begin(llm_api_t api, const char *key);
static int read_facts(const char *body);
static void bound_of(const char *body);
static int64_t cost_of(const char *body);


static llm_prices_t       *prices;
static const llm_price_t  *price;
static llm_request_t       request;
static llm_bound_t         bound;
static llm_usage_t         usage;


int
main(void)
{
    prices = price_table_load("t/pricing/table.json", NULL);

    if (ok(prices != NULL, "the table is read")) {
        test_output();
        test_input();
        test_tools();
        test_pieces();
        test_held();
        test_cost();
    }

    test_first_factor();
    test_factors();
    test_full();

    llm_prices_destroy(prices);

    return done_testing();
}


#define SAY  "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"


static void
test_output(void)
{
    begin(LLM_API_CHAT, "gpt-4o");

    bound_of("{\"model\":\"m\"," SAY "}");
    is_int(usage.output, 16384, "without a limit, that of the table");

    bound_of("{\"model\":\"m\",\"max_tokens\":7," SAY "}");
    is_int(usage.output, 7, "the request's limit");

    bound_of("{\"model\":\"m\",\"max_tokens\":7,\"n\":3," SAY "}");
    is_int(usage.output, 21, "for each choice");

    bound_of("{\"model\":\"m\",\"max_tokens\":9007199254740992,\"n\":128," SAY
             "}");
    is_int(usage.output, (long long) 1 << 60, "no more than 2^60");

    price = NULL;
    bound_of("{\"model\":\"m\"," SAY "}");
    is_int(usage.output, 4096, "without a price, what is configured");

    begin(LLM_API_COMPLETIONS, "gpt-4o");
    bound_of("{\"model\":\"m\",\"max_tokens\":7,\"prompt\":[\"a\",\"b\"],"
             "\"n\":2,\"best_of\":5}");
    is_int(usage.output, 2 * 5 * 7, "of each prompt the best of five");

    begin(LLM_API_GENERATE, "gemini/gemini-2.5-pro");
    bound_of("{\"contents\":[{\"parts\":[{\"text\":\"Hi\"}]}],"
             "\"generationConfig\":{\"maxOutputTokens\":50,"
             "\"candidateCount\":4}}");
    is_int(usage.output, 200, "for each candidate");

    begin(LLM_API_EMBEDDINGS, "text-embedding-3-small");
    bound_of("{\"model\":\"m\",\"input\":\"Hi\"}");
    is_int(usage.output, 0, "embeddings have no output");
}


static void
test_input(void)
{
    int64_t  text;

    begin(LLM_API_CHAT, "gpt-4o");

    bound.margin = 1000;
    bound_of("{\"model\":\"m\"," SAY "}");
    text = usage.input;
    is_int(text, request.facts.input_tokens, "text, at no margin");

    bound.margin = 1250;
    bound_of("{\"model\":\"m\"," SAY "}");
    is_int(usage.input, (text * 1250 + 999) / 1000, "with a margin");

    bound.factor = 1500;
    bound_of("{\"model\":\"m\"," SAY "}");
    is_int(usage.input, (text * 1250 * 1500 + 999999) / 1000000,
           "and a factor, rounded once");

    bound_of("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":"
             "[{\"type\":\"image_url\",\"image_url\":{\"url\":"
             "\"data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}"
             "]}]}");
    is_int(usage.input_image, 1875, "an image, by its kind");
    is_int(usage.input - usage.input_image,
           (7 * 1250 * 1500 + 999999) / 1000000,
           "whose bytes are no text, and which the factor is not for");

    is_int(request.facts.image_tokens, 1500, "it is told apart");
}


static void
test_tools(void)
{
    begin(LLM_API_CHAT, "gpt-4o");
    bound_of("{\"model\":\"m\"," SAY ",\"web_search_options\":"
             "{\"search_context_size\":\"high\"}}");
    is_int(usage.web_searches, 1, "an option is one search");
    is_int(usage.search, LLM_SEARCH_HIGH, "of its size");

    begin(LLM_API_MESSAGES, "claude-opus-4-8");
    bound_of("{\"model\":\"m\",\"max_tokens\":1," SAY ",\"tools\":[{\"type\":"
             "\"web_search_20250305\",\"name\":\"web_search\","
             "\"max_uses\":3}]}");
    is_int(usage.web_searches, 3, "as many as may be used");

    bound_of("{\"model\":\"m\",\"max_tokens\":1," SAY ",\"tools\":[{\"type\":"
             "\"web_search_20250305\",\"name\":\"web_search\"}],"
             "\"inference_geo\":\"us\",\"speed\":\"fast\"}");
    is_int(usage.web_searches, 5, "five, if that is not said");
    is_int(usage.geo, LLM_GEO_US, "the geography that is asked for");
    is_int(usage.fast, 1, "and the speed");

    begin(LLM_API_RESPONSES, "gpt-5");
    bound_of("{\"model\":\"m\",\"input\":\"Hi\",\"max_tool_calls\":2,"
             "\"tools\":[{\"type\":\"code_interpreter\",\"container\":"
             "{\"type\":\"auto\"}},{\"type\":\"file_search\","
             "\"vector_store_ids\":[\"x\"]},{\"type\":\"web_search\","
             "\"search_context_size\":\"low\"}]}");
    is_int(usage.code_sessions, 1, "a session of code");
    is_int(usage.file_searches, 2, "searches of files");
    is_int(usage.web_searches, 2, "and of the web");
    is_int(usage.search, LLM_SEARCH_LOW, "of the size of the tool");

    begin(LLM_API_CHAT, "perplexity/sonar");
    bound.provider = LLM_PERPLEXITY;
    bound_of("{\"model\":\"m\"," SAY "}");
    is_int(usage.web_searches, 1, "a request of Perplexity is a search");
}


static void
test_pieces(void)
{
    begin(LLM_API_IMAGES, "gpt-image-1");
    bound_of("{\"model\":\"m\",\"prompt\":\"A cat\",\"n\":3}");
    is_int(usage.images, 3, "images");
    is_int(usage.output_image, 3 * 6240, "and their tokens");
    is_int(cost_of("{\"model\":\"m\",\"prompt\":\"A cat\",\"n\":3}"),
           usage.input * 500 + 3 * 6240 * 4000,
           "which are what they cost");

    begin(LLM_API_IMAGES, "azure/standard/1024-x-1024/dall-e-3");
    is_int(cost_of("{\"prompt\":\"A cat\"}"), 7700061,
           "an image by its pixels");

    bound_of("{\"prompt\":\"A cat\",\"size\":\"1024x512\",\"n\":2}");
    is_int(usage.pixels, 2 * 1024 * 512, "of the size that is asked for");
    bound_of("{\"prompt\":\"A cat\",\"size\":\"auto\"}");
    is_int(usage.pixels, 1792 * 1024, "or the largest that is usual");
    bound_of("{\"prompt\":\"A cat\",\"size\":\"9999999x99999999\"}");
    is_int(usage.pixels, 1792 * 1024, "and not of one that is none");

    begin(LLM_API_SPEECH, "tts-1");
    is_int(cost_of("{\"model\":\"m\",\"input\":\"Hello.\",\"voice\":\"a\"}"),
           6 * 1500, "speech by its characters");

    begin(LLM_API_TRANSCRIPTIONS, "whisper-1");
    is_int(cost_of("{\"model\":\"m\",\"file\":\"" "AAAAAAAAAAAAAAAA"
                   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"),
           480, "48 bytes of audio are up to 48 milliseconds");

    begin(LLM_API_COHERE_EMBED, "rerank-v3.5");
    is_int(cost_of("{\"model\":\"m\",\"query\":\"a\",\"documents\":[\"b\"]}"),
           200000, "a query");
}


/* more input than the request brings */

static void
test_held(void)
{
    int64_t  own;

    begin(LLM_API_RESPONSES, "gpt-5.4");
    bound_of("{\"model\":\"m\",\"input\":\"Hi\"}");
    own = usage.input;

    bound_of("{\"model\":\"m\",\"input\":\"Hi\","
             "\"previous_response_id\":\"resp_1\"}");
    is_int(usage.input, 1050000, "a whole context of the model");

    bound.held = 5000;
    bound_of("{\"model\":\"m\",\"input\":\"Hi\","
             "\"previous_response_id\":\"resp_1\"}");
    is_int(usage.input, own + 5000, "or what is known to be held");

    bound_of("{\"model\":\"m\",\"input\":\"Hi\"}");
    is_int(usage.input, own, "but only where it is asked for");

    price = NULL;
    bound.held = -1;
    bound_of("{\"model\":\"m\",\"input\":\"Hi\",\"conversation\":\"c\"}");
    is_int(usage.input, 128000, "a context that nobody knows");
}


#define HELD                                                                  \
    "{\"model\":\"m\",\"input\":\"Hi\",\"max_output_tokens\":1000,"           \
    "\"previous_response_id\":\"r\"}"


static void
test_cost(void)
{
    int64_t  input;

    /* the context by the estimate with its margin */

    begin(LLM_API_RESPONSES, "gpt-5.4");
    bound.held = 0;
    (void) cost_of(HELD);
    bound.held = 272000 - usage.input;

    is_int(cost_of(HELD), 272000LL * 250 + 1000 * 1500, "at a threshold");
    bound.held++;
    is_int(cost_of(HELD), 272001LL * 500 + 1000 * 2250, "above it");

    /* the dearest tier that it may be */

    begin(LLM_API_CHAT, "gpt-4o");
    (void) cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}");
    input = usage.input;
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}"),
           input * 250 + 100 * 1000, "standard");
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":100,"
                   "\"service_tier\":\"priority\"," SAY "}"),
           input * 425 + 100 * 1700, "priority");

    begin(LLM_API_CHAT, "gpt-5");
    (void) cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}");
    input = usage.input;
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":100,"
                   "\"service_tier\":\"flex\"," SAY "}"),
           input * 125 + 100 * 1000, "flex may be upgraded");

    /* output of the dearest kind */

    begin(LLM_API_CHAT, "example/reasoning");
    (void) cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}");
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}"),
           usage.input * 100 + 100 * 500, "all of it is reasoning");

    begin(LLM_API_CHAT, "gpt-realtime");
    (void) cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}");
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":100," SAY "}"),
           usage.input * 400 + 100 * 6400, "all of it is audio");

    /* writes into the cache */

    begin(LLM_API_MESSAGES, "claude-opus-4-8");
    (void) cost_of("{\"model\":\"m\",\"max_tokens\":10," SAY "}");
    input = usage.input;
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":10," SAY "}"),
           input * 500 + 10 * 2500, "no cache is asked for");
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":10,"
                   "\"cache_control\":{\"type\":\"ephemeral\"}," SAY "}"),
           input * 625 + 10 * 2500, "for five minutes");
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":10,\"cache_control\":"
                   "{\"type\":\"ephemeral\",\"ttl\":\"1h\"}," SAY "}"),
           input * 1000 + 10 * 2500, "for an hour");

    begin(LLM_API_CHAT, "gpt-6-astra");
    (void) cost_of("{\"model\":\"m\",\"max_tokens\":10," SAY "}");
    is_int(cost_of("{\"model\":\"m\",\"max_tokens\":10," SAY "}"),
           usage.input * 1250 + 10 * 5000, "unasked");
}


static void
test_first_factor(void)
{
    size_t  i;

    static const struct {
        const char  *model;
        int64_t      factor;
    } cases[] = {
        { "gpt-4o", 1000 }, { "gemini-2.5-pro", 1000 }, { "", 1000 },
        { "claud", 1000 }, { "claude", 1200 },
        { "claude-3-5-sonnet-20241022", 1200 },
        { "claude-sonnet-4-5", 1200 }, { "claude-opus-4-6", 1200 },
        { "claude-opus-4-7", 1500 }, { "claude-opus-4-8-20260401", 1500 },
        { "claude-opus-5", 1500 }, { "Claude-Fable-5-1", 1500 },
        { "claude-opus-4-20250514", 1200 },
        { "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 1200 },
        { "anthropic/claude-haiku-5.5", 1500 },
        { "claude-9999999999999999999999", 1200 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(llm_bound_factor((const unsigned char *) cases[i].model,
                                strlen(cases[i].model)),
               cases[i].factor, "factor of \"%s\"", cases[i].model);
    }
}


static void
test_factors(void)
{
    int             i;
    uint64_t        key, other;
    llm_factors_t  *f;

    f = calloc(1, sizeof(llm_factors_t));
    key = llm_factor_key("openai", (const unsigned char *) "gpt-4o", 6);
    other = llm_factor_key("azure", (const unsigned char *) "gpt-4o", 6);

    ok(key != other, "a model of another provider is another one");
    is_int(llm_factor_get(NULL, key, 1200), 1200, "without memory");
    llm_factor_learn(NULL, key, 1000, 1000);

    for (i = 0; i < 100; i++) {
        llm_factor_learn(f, key, 127, 254);
        llm_factor_learn(f, key, 1000, 0);
        llm_factor_learn(f, key, 1000, -1);
        llm_factor_learn(f, key, 1000, 249);
    }

    is_int(llm_factor_get(f, key, 1000), 1000, "what does not count");

    for (i = 0; i < 15; i++) {
        llm_factor_learn(f, key, 1000, 1400);
    }

    is_int(llm_factor_get(f, key, 1200), 1200, "fifteen are not enough");

    llm_factor_learn(f, key, 1000, 1400);
    is_int(llm_factor_get(f, key, 1200), 1400, "sixteen are");

    llm_factor_learn(f, key, 1000, 3000);
    is_int(llm_factor_get(f, key, 1200), 1500, "the next weighs a sixteenth");
    is_int(llm_factor_get(f, other, 1100), 1100, "of this model alone");

    for (i = 0; i < 500; i++) {
        llm_factor_learn(f, key, 1000, INT64_MAX);
    }

    is_int(llm_factor_get(f, key, 1200), LLM_FACTOR_MOST, "the most");

    for (i = 0; i < 500; i++) {
        llm_factor_learn(f, key, (int64_t) 1 << 60, (int64_t) 1 << 58);
    }

    is_int(llm_factor_get(f, key, 1200), LLM_FACTOR_LEAST, "the least");

    free(f);
}


static void
test_full(void)
{
    int             i, known;
    char            model[16];
    uint64_t        key;
    llm_factors_t  *f;

    f = calloc(1, sizeof(llm_factors_t));

    for (i = 0; i < 16 * 2 * LLM_FACTORS; i++) {
        snprintf(model, sizeof(model), "m%d", i % (2 * LLM_FACTORS));
        key = llm_factor_key("openai", (const unsigned char *) model,
                             strlen(model));
        llm_factor_learn(f, key, 1000, 2000);
    }

    known = 0;

    for (i = 0; i < 2 * LLM_FACTORS; i++) {
        snprintf(model, sizeof(model), "m%d", i);
        key = llm_factor_key("openai", (const unsigned char *) model,
                             strlen(model));

        switch (llm_factor_get(f, key, 1000)) {
        case 2000:
            known++;
            break;
        case 1000:
            break;
        default:
            known = -10000;
        }
    }

    ok(known > LLM_FACTORS / 2 && known <= LLM_FACTORS,
       "as many models as there is room for");

    free(f);
}


static void
begin(llm_api_t api, const char *key)
{
    memset(&bound, 0, sizeof(llm_bound_t));

    bound.provider = LLM_OPENAI;
    bound.api = api;
    bound.factor = 1000;
    bound.margin = 1250;
    bound.max_output = 4096;
    bound.held = -1;

    price = llm_prices_find_named(prices, (const unsigned char *) key,
                                  strlen(key), NULL);

    ok(price != NULL, "%s has a price", key);
}


static int
read_facts(const char *body)
{
    llm_request_init(&request, bound.api);

    return llm_request_feed(&request, (const unsigned char *) body,
                            strlen(body)) == LLM_OK
           && llm_request_finish(&request) == LLM_OK;
}


static void
bound_of(const char *body)
{
    if (!read_facts(body)) {
        ok(0, "%s: %s", body, llm_request_error(&request));
    }

    llm_bound(&bound, &request.facts, price, &usage);
}


static int64_t
cost_of(const char *body)
{
    bound_of(body);

    return llm_bound_cost(&request.facts, price, &usage);
}
