
/*
 * Copyright (C) nginx-cycles authors
 *
 * What usages cost: t/pricing/cases.json has exact results, computed with
 * rational numbers from the prices in t/pricing/table.json.
 */


#include <stdlib.h>

#include <jansson.h>

#include "usage_json.h"
#include "tap.h"


static void test_parse(json_t *cases);
static void test_cases(const llm_prices_t *prices, json_t *cases);
static void test_unpriced(const llm_prices_t *prices);
static void test_session(const llm_prices_t *prices);
static void test_up(void);
static const llm_price_t *find(const llm_prices_t *prices, const char *key);


int
main(void)
{
    json_t        *root;
    json_error_t   error;
    llm_prices_t  *prices;

    root = json_load_file("t/pricing/cases.json", 0, &error);
    prices = price_table_load("t/pricing/table.json", NULL);

    if (ok(root && prices, "the cases and their table are read")) {
        test_parse(json_object_get(root, "parse"));
        test_cases(prices, json_object_get(root, "cases"));
        test_unpriced(prices);
        test_session(prices);
    }

    test_up();

    json_decref(root);
    llm_prices_destroy(prices);

    return done_testing();
}


static void
test_parse(json_t *cases)
{
    size_t       i;
    json_t      *c;
    const char  *text;

    json_array_foreach(cases, i, c) {

        text = json_string_value(json_array_get(c, 0));

        is_int(llm_decimal(text, strlen(text), 12),
               json_integer_value(json_array_get(c, 1)), "price %s", text);
    }

    ok(i > 10, "there are prices to read");
}


static void
test_cases(const llm_prices_t *prices, json_t *cases)
{
    size_t              i;
    json_t             *c;
    unsigned            unpriced;
    const char         *name;
    llm_usage_t         usage;
    const llm_price_t  *price;

    json_array_foreach(cases, i, c) {

        name = json_string_value(json_object_get(c, "name"));
        price = find(prices, json_string_value(json_object_get(c, "key")));

        if (!ok(price && usage_read(json_object_get(c, "usage"), &usage),
                "%s: its row and its usage", name))
        {
            continue;
        }

        is_int(llm_price_cost(price, &usage, &unpriced),
               json_integer_value(json_object_get(c, "expect")), "%s", name);
        ok(!unpriced, "%s: has a price", name);
    }

    ok(i > 50, "there are cases");
}


static void
test_unpriced(const llm_prices_t *prices)
{
    size_t       i;
    unsigned     unpriced;
    llm_usage_t  usage;

    static const struct {
        const char  *key;
        size_t       count;
        unsigned     unpriced;
    } cases[] = {
        { "gpt-4o", offsetof(llm_usage_t, input), 0 },
        { "gpt-4o", offsetof(llm_usage_t, output), 0 },
        { "gpt-4o", offsetof(llm_usage_t, audio_ms), 1 },
        { "gpt-4o", offsetof(llm_usage_t, characters), 1 },
        { "gpt-4o", offsetof(llm_usage_t, images), 1 },
        { "gpt-4o", offsetof(llm_usage_t, queries), 1 },
        { "gpt-4o", offsetof(llm_usage_t, web_searches), 0 },
        { "whisper-1", offsetof(llm_usage_t, audio_ms), 0 },
        { "whisper-1", offsetof(llm_usage_t, input), 1 },
        { "tts-1", offsetof(llm_usage_t, output), 1 },
        { "deepseek/deepseek-chat", offsetof(llm_usage_t, cache_write), 0 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        llm_usage_init(&usage);
        *(int64_t *) ((char *) &usage + cases[i].count) = 7;

        (void) llm_price_cost(find(prices, cases[i].key), &usage, &unpriced);

        is_int(unpriced, cases[i].unpriced, "%s: what is used has a price, %d",
               cases[i].key, (int) i);
    }

    llm_usage_init(&usage);
    usage.input = 7;
    usage.web_searches = 1;

    is_int(llm_price_cost(find(prices, "whisper-1"), &usage, &unpriced),
           1000000, "a search has a fee");
    ok(unpriced, "that does not stand for tokens without a price");
}


/* the fee of a session of code is in a row of the container's own */

static void
test_session(const llm_prices_t *prices)
{
    char           error[256];
    llm_usage_t    usage;
    llm_prices_t  *own;

    own = llm_prices_create(prices);

    llm_usage_init(&usage);
    usage.code_sessions = 2;

    is_int(llm_price_cost(find(own, "gpt-5"), &usage, NULL), 6000000,
           "two sessions of code");
    is_int(llm_prices_set(own, "openai/container", 16,
                          "code_interpreter_cost_per_session", 33, "0.05", 4,
                          error, sizeof(error)),
           LLM_OK, "another price of a container");
    is_int(llm_prices_set(own, "gpt-5", 5, "max_tokens", 10, "5", 1, error,
                          sizeof(error)),
           LLM_OK, "a model in the same place");
    is_int(llm_price_cost(find(own, "gpt-5"), &usage, NULL), 10000000,
           "has it");
    is_int(llm_price_cost(find(prices, "gpt-5"), &usage, NULL), 6000000,
           "and no other");
    is_int(llm_prices_set(own, "gpt-5", 5,
                          "code_interpreter_cost_per_session", 33, "0.01", 4,
                          error, sizeof(error)),
           LLM_OK, "a price of the model's own");
    is_int(llm_price_cost(find(own, "gpt-5"), &usage, NULL), 2000000,
           "is over that");

    llm_prices_destroy(own);
}


static void
test_up(void)
{
    size_t  i;

    static const struct {
        const char  *text;
        int          scale;
        int64_t      value;
    } cases[] = {
        { "0", 8, 0 }, { "0.00000001", 8, 1 }, { "0.000000011", 8, 2 },
        { "0.0000000000000000001", 8, 1 }, { "1e-300", 8, 1 },
        { "0e-300", 8, 0 }, { "0.00014025", 8, 14025 },
        { "9.5e-06", 8, 950 }, { "9.5e-09", 8, 1 }, { "0.1", 8, 10000000 },
        { "1.00000000000000000000000000000000000000000000001", 8, 100000001 },
        { "1.00000000000000000000000000000000000000000000000", 8, 100000000 },
        { "-1", 8, -1 }, { "x", 8, -1 }, { "1e30", 8, -2 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(llm_decimal_up(cases[i].text, strlen(cases[i].text),
                              cases[i].scale),
               cases[i].value, "up: \"%s\"", cases[i].text);
    }

    is_int(llm_microcents(0), 0, "0 pico-USD");
    is_int(llm_microcents(1), 1, "1 pico-USD is a micro-cent");
    is_int(llm_microcents(10000), 1, "so are 10,000");
    is_int(llm_microcents(10001), 2, "one more is another");
    is_int(llm_microcents(INT64_MAX), 922337203685478, "the most there is");
}


static const llm_price_t *
find(const llm_prices_t *prices, const char *key)
{
    return llm_prices_find_named(prices, (const unsigned char *) key,
                                 strlen(key), NULL);
}
