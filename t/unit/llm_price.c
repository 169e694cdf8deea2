
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "llm/llm_price.h"
#include "tap.h"


static void test_decimal(void);
static void test_table(void);
static void test_bad_tables(void);
static void test_bad_rows(void);
static void test_lookup(void);
static void test_set(void);
static void test_base(void);
static void test_alias(void);
static void test_many(void);
static void test_cost(void);
static void test_providers(void);
static const llm_price_t *find(const llm_prices_t *prices, const char *model,
    const char **key);
static int set(llm_prices_t *prices, const char *model, const char *field,
    const char *value);
static int alias(llm_prices_t *prices, const char *name, const char *model);
static llm_prices_t *load(const char *json);
static llm_prices_t *table(void);
static void warn(void *data, const char *text);


static char    error[512];
static char    warnings[4096];
static size_t  warned;


int
main(void)
{
    test_decimal();
    test_table();
    test_bad_tables();
    test_bad_rows();
    test_lookup();
    test_set();
    test_base();
    test_alias();
    test_many();
    test_cost();
    test_providers();

    return done_testing();
}


static void
test_decimal(void)
{
    size_t  i;

    static struct {
        const char  *text;
        int          scale;
        int64_t      value;
    } cases[] = {
        { "1.5e-07", 12, 150000 }, { "3e-06", 12, 3000000 },
        { "0.000003", 12, 3000000 }, { "9.9e-9", 12, 9900 },
        { "5.46875e-07", 12, 546875 },
        { "1.5000099999999998e-07", 12, 150001 }, { "0.0", 12, 0 },
        { "0", 12, 0 }, { "1E-6", 12, 1000000 },
        { "2", 12, 2000000000000 }, { "0.035", 12, 35000000000 },
        { "1.3e-10", 12, 130 }, { "4e-13", 12, 0 }, { "5e-13", 12, 1 },
        { "1e-13", 12, 0 }, { "12.5e-7", 12, 1250000 },
        { "0.0000000000015", 12, 2 }, { "7.5e-08", 12, 75000 },

        { "1.25", 3, 1250 }, { "1.2345", 3, 1235 }, { "1.2344", 3, 1234 },
        { "1.23449999999999999999999999999999999999999999", 3, 1234 },
        { "1.23450000000000000000000000000000000000000000", 3, 1235 },
        { "0.5", 0, 1 }, { "0.4999999999999999999999", 0, 0 },
        { "0.05", 0, 0 }, { "15", -1, 2 }, { "14", -1, 1 },
        { "1e+2", 0, 100 }, { "1e0002", 0, 100 }, { "100e-2", 0, 1 },
        { "007", 0, 7 }, { "0e999999999999", 12, 0 },
        { "1e-999999999999999999999", 12, 0 },
        { "9223372036854775807", 0, INT64_MAX },
        { "9223372036854775806.5", 0, INT64_MAX },
        { "9223372036854775807.4", 0, INT64_MAX },
        { "9.223372036854775807e18", 0, INT64_MAX },
        { "9223372036854775807.5", 0, -2 },
        { "9223372036854775808", 0, -2 },
        { "1e19", 0, -2 }, { "1e999999999999999999999", 0, -2 },
        { "1", 19, -2 }, { "1234567890123456789", 0, 1234567890123456789 },
        { "100000000000000000000000000000000000000000e-40", 0, 10 },
        { "99999999999999999999999999999999999999999999", 0, -2 },

        { "", 12, -1 }, { "-1", 12, -1 }, { "-0", 12, -1 }, { "+1", 12, -1 },
        { ".5", 12, -1 }, { "5.", 12, -1 }, { "5.e1", 12, -1 },
        { "1e", 12, -1 }, { "1e+", 12, -1 }, { "1e1.5", 12, -1 },
        { "1.2.3", 12, -1 }, { "0x10", 12, -1 }, { "NaN", 12, -1 },
        { "Infinity", 12, -1 }, { " 1", 12, -1 }, { "1 ", 12, -1 },
        { "1,5", 12, -1 }, { "free", 12, -1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(llm_decimal(cases[i].text, strlen(cases[i].text),
                           cases[i].scale),
               cases[i].value, "decimal: \"%s\" scale %d", cases[i].text,
               cases[i].scale);
    }

    is_int(llm_decimal("1.5e-07", 3, 12), 1500000000000,
           "decimal: no more than len bytes");
}


static void
test_table(void)
{
    const char         *key;
    llm_prices_t       *prices;
    const llm_price_t  *p;

    prices = table();

    if (!ok(prices != NULL, "t/prices.json is read")) {
        return;
    }

    p = find(prices, "gpt-5.6", &key);

    if (ok(p != NULL, "a row with every price")) {
        is_str(key, "gpt-5.6", "its key");
        is_int(p->input, 5000000, "its input price");
        is_int(p->output, 30000000, "its output price");
        is_int(p->cache_read, 500000, "its cached price");
        is_int(p->cache_write, 6250000, "its cache-write price");
        is_int(p->max_output_tokens, 128000, "its output limit");
    }

    p = find(prices, "deepseek/deepseek-coder", NULL);

    if (ok(p != NULL, "a row with older names")) {
        is_int(p->cache_read, 14000, "the price of a cache hit");
        is_int(p->max_output_tokens, 4096, "max_tokens, a float");
        is_int(p->cache_write, -1, "no price is not a price of 0");
    }

    p = find(prices, "omni-moderation-latest", NULL);

    if (ok(p != NULL, "a row that costs nothing")) {
        is_int(p->input, 0, "0 is a price");
        is_int(p->cache_read, -1, "but absent is none");
        is_int(p->max_output_tokens, -1, "and no limit is none");
    }

    p = find(prices, "example/price-as-text", NULL);

    if (ok(p != NULL, "a row with strings")) {
        is_int(p->input, 300000, "its input price");
        is_int(p->output, 1200000, "its output price");
    }

    ok(find(prices, "dashscope/qwen3-max", NULL) == NULL,
       "a row without an input price");
    ok(find(prices, "whisper-1", NULL) == NULL, "a row by the second");
    ok(find(prices, "sample_spec", NULL) == NULL, "the row of the fields");
    ok(find(prices, "wandb/deepseek-ai/DeepSeek-R1-0528", NULL) == NULL,
       "a row over the cap");
    ok(find(prices, "example/negative", NULL) == NULL, "a negative price");
    ok(find(prices, "example/no-number", NULL) == NULL, "no number");
    ok(find(prices, "example/no-object", NULL) == NULL, "no row");

    is_int((long long) warned, 4, "four rows were warned about");
    is_str(warnings,
           "price table: the row \"wandb/deepseek-ai/DeepSeek-R1-0528\" is"
           " left out, input_cost_per_token \"0.135\" is over 0.001 USD per"
           " token, which no model costs\n"
           "price table: the row \"example/negative\" is left out,"
           " input_cost_per_token \"-1\" is not a price in USD per token\n"
           "price table: the row \"example/no-number\" is left out,"
           " input_cost_per_token \"dynamic\" is not a price in USD per"
           " token\n"
           "price table: the row \"example/no-object\" is left out, is not"
           " an object\n", "what they are warned of");

    llm_prices_destroy(prices);
}


static void
test_bad_tables(void)
{
    size_t         i;
    llm_prices_t  *prices;

    static struct {
        const char  *json;
        const char  *error;
    } cases[] = {
        { "", "the price table is not JSON at its byte 1, get the file"
          " again" },
        { "{\"a\":{\"input_cost_per_token\":1e-6}", "the price table is not"
          " JSON at its byte 35, get the file again" },
        { "{\"a\":{\"input_cost_per_token\":1e-6}}}", "the price table is"
          " not JSON at its byte 36, get the file again" },
        { "{\"a\":{\"input_cost_per_token\":.5}}", "the price table is not"
          " JSON at its byte 30, get the file again" },
        { "{\"a\":{\"input_cost_per_token\":nil}}", "the price table is not"
          " JSON at its byte 31, get the file again" },
        { "[]", "the price table must be a JSON object" },
        { "5", "the price table must be a JSON object" },
        { "null", "the price table must be a JSON object" },
        { "{}", "the price table has no model with a usable"
          " input_cost_per_token, it must have LiteLLM's shape" },
        { "{\"a\":{\"output_cost_per_token\":1e-6}}", "the price table has"
          " no model with a usable input_cost_per_token, it must have"
          " LiteLLM's shape" },
        { "{\"a\":{\"input_cost_per_token\":1}}", "the price table has no"
          " model with a usable input_cost_per_token, it must have LiteLLM's"
          " shape" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        error[0] = '\0';
        prices = load(cases[i].json);
        ok(prices == NULL, "refused: %s", cases[i].json);
        is_str(error, cases[i].error, "the sentence");
    }
}


static void
test_bad_rows(void)
{
    char           json[1024], name[400];
    size_t         i;
    llm_prices_t  *prices;

    static const char  *rows[] = {
        "5", "null", "[]", "[{\"input_cost_per_token\":1e-6}]", "\"x\"",
        "{\"input_cost_per_token\":true}",
        "{\"input_cost_per_token\":{}}",
        "{\"input_cost_per_token\":[1e-6]}",
        "{\"input_cost_per_token\":\"\"}",
        "{\"input_cost_per_token\":\"1e-6 \"}",
        "{\"input_cost_per_token\":0.0010000001}",
        "{\"input_cost_per_token\":1e300}",
        "{\"input_cost_per_token\":1e-6,\"output_cost_per_token\":-1}",
        "{\"output_cost_per_token\":0.5,\"input_cost_per_token\":1e-6}",
        "{\"input_cost_per_token\":1e-6,\"cache_read_input_token_cost\":2}",
        "{\"input_cost_per_token\":1e-6,"
        "\"input_cost_per_token_cache_hit\":2}",
        "{\"input_cost_per_token\":1e-6,"
        "\"cache_creation_input_token_cost\":2}"
    };

    static const char  *good[] = {
        "{\"input_cost_per_token\":0.001},\"last_updated\":\"2026-07-24\"",
        "{\"input_cost_per_token\":0.001}",
        "{\"input_cost_per_token\":1e-6,\"output_cost_per_token\":null}",
        "{\"input_cost_per_token\":1e-6,\"max_output_tokens\":\"many\"}",
        "{\"input_cost_per_token\":1e-6,\"max_output_tokens\":-1.5}",
        "{\"input_cost_per_token\":1e-6,\"input_cost_per_image\":500}",
        "{\"x\":{\"input_cost_per_token\":7},\"input_cost_per_token\":1e-6}"
    };

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {

        snprintf(json, sizeof(json), "{\"good\":{\"input_cost_per_token\":"
                 "1e-6},\"bad\":%s,\"after\":{\"input_cost_per_token\":"
                 "1e-6}}", rows[i]);

        prices = load(json);

        ok(prices && find(prices, "good", NULL) && find(prices, "after", NULL)
           && find(prices, "bad", NULL) == NULL && warned == 1,
           "only this row is left out: %s", rows[i]);

        llm_prices_destroy(prices);
    }

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {

        snprintf(json, sizeof(json), "{\"good\":%s}", good[i]);

        prices = load(json);

        ok(prices && find(prices, "good", NULL) && warned == 0,
           "a good row: %s", good[i]);

        llm_prices_destroy(prices);
    }

    prices = load("{\"a\":{\"input_cost_per_token\":0}}");
    ok(prices != NULL, "a table of free models");
    llm_prices_destroy(prices);

    memset(name, 'n', sizeof(name));
    name[300] = '\0';

    snprintf(json, sizeof(json), "{\"%s\":{\"input_cost_per_token\":1e-6},"
             "\"after\":{\"input_cost_per_token\":1e-6}}", name);

    prices = load(json);
    ok(prices && find(prices, "after", NULL) && warned == 1,
       "a name of 300 bytes is left out");
    llm_prices_destroy(prices);

    prices = load("{\"m\\u006f\\/del\":{\"input_cost\\u005fper_token\":2e-6},"
                  "\"twice\":{\"input_cost_per_token\":1e-6},"
                  "\"twice\":{\"input_cost_per_token\":3e-6}}");

    ok(prices && find(prices, "mo/del", NULL)
       && find(prices, "mo/del", NULL)->input == 2000000,
       "names with escapes");
    ok(prices && find(prices, "twice", NULL)->input == 3000000,
       "the last of two rows of one name");
    llm_prices_destroy(prices);
}


static void
test_lookup(void)
{
    size_t         i;
    const char    *key;
    llm_prices_t  *prices;

    static const char  json[] =
        "{\"openai/gpt-a\":{\"input_cost_per_token\":1e-6},"
        "\"gpt-a\":{\"input_cost_per_token\":2e-6},"
        "\"gpt-a-2024-05-13\":{\"input_cost_per_token\":3e-6},"
        "\"gpt-b\":{\"input_cost_per_token\":4e-6},"
        "\"openai/gpt-c\":{\"output_cost_per_token\":4e-6},"
        "\"gpt-c\":{\"input_cost_per_token\":4e-6},"
        "\"ft:gpt-b\":{\"input_cost_per_token\":5e-6},"
        "\"ft:gpt-d-2024-07-18\":{\"input_cost_per_token\":5e-6},"
        "\"Mixed-Zone\":{\"input_cost_per_token\":1e-6},"
        "\"lower-case\":{\"input_cost_per_token\":1e-6},"
        "\"Pair\":{\"input_cost_per_token\":1e-6,"
        "\"output_cost_per_token\":9e-6},"
        "\"pair\":{\"input_cost_per_token\":2e-6},"
        "\"PAIR\":{\"input_cost_per_token\":1e-6}}";

    static struct {
        const char  *model;
        const char  *key;
    } cases[] = {
        { "gpt-a", "openai/gpt-a" },
        { "openai/gpt-a", "openai/gpt-a" },
        { "gpt-a-2024-05-13", "gpt-a-2024-05-13" },
        { "gpt-a-2024-05-14", "openai/gpt-a" },
        { "gpt-b", "gpt-b" },
        { "gpt-b-2025-01-31", "gpt-b" },
        { "gpt-b-20250131", "gpt-b" },
        { "gpt-b-001", "gpt-b" },
        { "gpt-b@20250131", "gpt-b" },
        { "gpt-b-2025-01-31@default", "gpt-b" },
        { "gpt-c", "gpt-c" },
        { "ft:gpt-b:org:name:id", "ft:gpt-b" },
        { "ft:gpt-b-2024-07-18:org::id", "ft:gpt-b" },
        { "ft:gpt-d-2024-07-18:org::id", "ft:gpt-d-2024-07-18" },
        { "mixed-zone", "Mixed-Zone" },
        { "LOWER-CASE-2024-01-01", "lower-case" },
        { "paiR", "pair" },
        { "Pair", "Pair" },
        { "GPT-A", "openai/gpt-a" },
        { "gpt-b-405", NULL },
        { "gpt-b-0125", NULL },
        { "gpt-b-mini", NULL },
        { "gpt", NULL },
        { "gpt-b-2025-1-31", NULL },
        { "-2025-01-31", NULL },
        { "@x", NULL },
        { "", NULL },
        { "ft:", NULL }
    };

    prices = load(json);

    if (!ok(prices != NULL, "a table for look-ups")) {
        return;
    }

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        key = NULL;
        (void) find(prices, cases[i].model, &key);
        is_str(key, cases[i].key, "key of \"%s\"", cases[i].model);
    }

    llm_prices_destroy(prices);
}


static void
test_set(void)
{
    size_t         i;
    char           buffer[32];
    llm_prices_t  *prices;

    static const char  later[] = "{\"m\":{\"input_cost_per_token\":2e-6,"
                                 "\"output_cost_per_token\":3e-6}}";

    static struct {
        const char  *field;
        const char  *value;
        const char  *error;
    } cases[] = {
        { "input_price", "1", "\"input_price\" is not a field of a price,"
          " use for instance input_cost_per_token or output_cost_per_token" },
        { "", "1", "\"\" is not a field of a price, use for instance"
          " input_cost_per_token or output_cost_per_token" },
        { "input_cost_per_token", "cheap", "input_cost_per_token \"cheap\""
          " is not a price in USD per token" },
        { "input_cost_per_token", "-1e-6", "input_cost_per_token \"-1e-6\""
          " is not a price in USD per token" },
        { "input_cost_per_token", "", "input_cost_per_token \"\" is not a"
          " price in USD per token" },
        { "output_cost_per_token", "0.15", "output_cost_per_token \"0.15\""
          " is over 0.001 USD per token, which no model costs" },
        { "max_output_tokens", "1.5", "max_output_tokens \"1.5\" is not a"
          " whole number of at least 1" },
        { "max_tokens", "many", "max_tokens \"many\" is not a whole number"
          " of at least 1" },
        { "max_tokens", "0", "max_tokens \"0\" is not a whole number of at"
          " least 1" }
    };

    prices = table();

    if (!ok(prices != NULL, "a table to set prices in")) {
        return;
    }

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(set(prices, "gpt-4o", cases[i].field, cases[i].value),
               LLM_ERROR, "refused: %s=%s", cases[i].field, cases[i].value);
        is_str(error, cases[i].error, "the sentence");
    }

    is_int(set(prices, "gpt-4o", "input_cost_per_token", "1e-6"), LLM_OK,
           "one field is set");
    is_int(find(prices, "gpt-4o", NULL)->input, 1000000, "which counts");
    is_int(find(prices, "gpt-4o", NULL)->output, 10000000,
           "the others stay");

    is_int(set(prices, "gpt-4o", "input_cost_per_token_cache_hit", "0"),
           LLM_OK, "an older name");
    is_int(find(prices, "gpt-4o", NULL)->cache_read, 0,
           "is over the table's newer one");
    is_int(set(prices, "gpt-4o", "max_tokens", "5e2"), LLM_OK, "a limit");
    is_int(find(prices, "gpt-4o", NULL)->max_output_tokens, 500,
           "is over the table's newer one");

    is_int(set(prices, "own", "output_cost_per_token", "0.001"), LLM_OK,
           "a model that no table has");
    ok(find(prices, "own", NULL) == NULL, "needs an input price");
    is_int(set(prices, "own", "input_cost_per_token", "0"), LLM_OK,
           "of 0 or more");
    ok(find(prices, "own", NULL) && find(prices, "own", NULL)->input == 0
       && find(prices, "own", NULL)->output == 1000000000
       && find(prices, "own", NULL)->cache_read == -1, "to be known");

    llm_prices_destroy(prices);

    prices = llm_prices_create(NULL);
    (void) set(prices, "m", "input_cost_per_token", "1e-6");
    is_int(llm_prices_load(prices, later, sizeof(later) - 1, NULL, NULL,
                           buffer, sizeof(buffer)),
           LLM_OK, "a table loaded later");
    is_int(find(prices, "m", NULL)->input, 1000000, "is under what was set");
    is_int(find(prices, "m", NULL)->output, 3000000, "and fills the rest");

    is_int(llm_prices_set(prices, "m", 1, "output_cost_per_token", 21,
                          "not a price at all", 18, buffer, sizeof(buffer)),
           LLM_ERROR, "a short buffer for the sentence");
    is_int((long long) strlen(buffer), sizeof(buffer) - 1, "is not overrun");

    llm_prices_destroy(prices);
}


static void
test_base(void)
{
    const char    *key;
    llm_prices_t  *base, *prices;

    base = table();
    prices = llm_prices_create(base);

    if (!ok(base && prices, "prices over a base")) {
        return;
    }

    is_int(find(prices, "gpt-4o-mini", NULL)->input, 150000,
           "a row of the base");

    is_int(set(prices, "gpt-4o-mini", "output_cost_per_token", "1e-6"),
           LLM_OK, "a price over the base");
    is_int(find(prices, "gpt-4o-mini", NULL)->output, 1000000, "counts");
    is_int(find(prices, "gpt-4o-mini", NULL)->input, 150000,
           "with the base's other fields");
    is_int(find(base, "gpt-4o-mini", NULL)->output, 600000,
           "and the base is what it was");

    (void) alias(base, "ours", "gpt-4o");
    (void) find(prices, "ours", &key);
    is_str(key, "gpt-4o", "an alias of the base");

    (void) alias(prices, "ours", "gpt-4o-mini");
    (void) find(prices, "ours", &key);
    is_str(key, "gpt-4o-mini", "one over it");
    (void) find(base, "ours", &key);
    is_str(key, "gpt-4o", "but not in it");

    llm_prices_destroy(prices);
    llm_prices_destroy(base);
    llm_prices_destroy(NULL);
}


static void
test_alias(void)
{
    const char    *key;
    llm_prices_t  *prices;

    prices = table();

    if (!ok(prices != NULL, "a table for aliases")) {
        return;
    }

    is_int(alias(prices, "a", "a"), LLM_ERROR, "an alias of itself");
    is_int(alias(prices, "", "a"), LLM_ERROR, "an alias without a name");
    is_int(alias(prices, "a", ""), LLM_ERROR, "an alias of nothing");

    is_int(alias(prices, "gpt-4o", "gpt-4o-mini"), LLM_OK, "an alias");
    (void) find(prices, "gpt-4o", &key);
    is_str(key, "gpt-4o-mini", "is over a row of its name");

    (void) alias(prices, "x", "gpt-4o-2024-11-20");
    (void) find(prices, "x", &key);
    is_str(key, "gpt-4o", "its model is looked up, without aliases");

    (void) alias(prices, "x", "gpt-4.1");
    (void) find(prices, "x", &key);
    is_str(key, "gpt-4.1", "the last one of a name counts");

    (void) alias(prices, "gpt-4.1-nano", "nothing-known");
    ok(find(prices, "gpt-4.1-nano", NULL) == NULL,
       "an alias of an unknown model is unknown");

    llm_prices_destroy(prices);
}


static void
test_many(void)
{
    int            i, wrong;
    char           model[32], value[32];
    llm_prices_t  *prices;

    prices = llm_prices_create(NULL);
    wrong = 0;

    for (i = 0; i < 3000; i++) {
        snprintf(model, sizeof(model), "model-%d", i);
        snprintf(value, sizeof(value), "%de-9", i);
        wrong += set(prices, model, "input_cost_per_token", value) != LLM_OK;
    }

    for (i = 0; i < 3000; i++) {
        snprintf(model, sizeof(model), "model-%d", i);
        wrong += find(prices, model, NULL)->input != i * 1000;
    }

    is_int(wrong, 0, "three thousand models");

    llm_prices_destroy(prices);
}


#define NONE  -1

#define COUNTS(in, out, cached, written, thought)                             \
    { .input = in, .output = out, .cached_input = cached,                     \
      .cache_write = written, .reasoning = thought }


static struct {
    const char   *name;
    llm_price_t   price;
    llm_usage_t   usage;
    int64_t       cost;
} cost_cases[] = {

    { "plain small", { 150000, 600000, 75000, NONE, NONE },
      COUNTS(25, 7, NONE, NONE, NONE), 795 },
    { "two micro-cents exactly", { 20000, 0, NONE, NONE, NONE },
      COUNTS(1, 0, NONE, NONE, NONE), 2 },
    { "a fraction rounds up", { 150000, 600000, 75000, NONE, NONE },
      COUNTS(1, 0, 1, NONE, NONE), 8 },
    { "two fractions are added first", { 150000, 600000, 75000, NONE, NONE },
      COUNTS(2, 0, 2, NONE, NONE), 15 },
    { "cached inside input", { 2500000, 10000000, 1250000, NONE, NONE },
      COUNTS(2006, 300, 1920, 0, 0), 561500 },
    { "reasoning inside output", { 1250000, 10000000, 125000, NONE, NONE },
      COUNTS(1000, 500, 0, 0, 320), 625000 },
    { "a long input", { 1250000, 10000000, 125000, NONE, NONE },
      COUNTS(200000, 10, NONE, NONE, NONE), 25010000 },
    { "cache writes", { 3000000, 15000000, 300000, 3750000, NONE },
      COUNTS(4000, 350, 2000, 1000, 0), 1260000 },
    { "a large one", { 2500000, 10000000, 1250000, NONE, NONE },
      COUNTS(1000000000, 1000000000, 0, 0, 0), 1250000000000 },
    { "nothing reported", { 2500000, 10000000, 1250000, NONE, NONE },
      COUNTS(NONE, NONE, NONE, NONE, NONE), 0 },
    { "no cached price", { 1000000, 2000000, NONE, NONE, NONE },
      COUNTS(100, 0, 50, 20, 0), 10000 },
    { "a cached price of 0", { 1000000, 2000000, 0, 0, NONE },
      COUNTS(100, 0, 50, 20, 0), 3000 },
    { "no output price", { 1000000, NONE, NONE, NONE, NONE },
      COUNTS(0, 100, 0, 0, 0), 10000 },
    { "more cached than input", { 1000000, 2000000, 500000, 3000000, NONE },
      COUNTS(10, 0, 50, 20, 0), 2500 + 6000 },
    { "all for nothing", { 0, 0, 0, 0, NONE }, COUNTS(5, 5, 5, 5, 5), 0 },
    { "the smallest cost", { 1, 1, 1, 1, NONE }, COUNTS(1, 0, 0, 0, 0), 1 },
    { "ten thousand of them", { 1, 1, 1, 1, NONE }, COUNTS(10000, 0, 0, 0, 0),
      1 },
    { "one more", { 1, 1, 1, 1, NONE }, COUNTS(10000, 1, 0, 0, 0), 2 },
    { "the largest usage", { 1000000000, 1000000000, 1000000000, 1000000000,
      NONE }, COUNTS(INT64_MAX, INT64_MAX, 0, 0, 0), INT64_MAX },
    { "the largest of all", { INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
      NONE }, COUNTS(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX),
      INT64_MAX }
};


static void
test_cost(void)
{
    size_t  i;

    for (i = 0; i < sizeof(cost_cases) / sizeof(cost_cases[0]); i++) {
        is_int(llm_price_cost(&cost_cases[i].price, &cost_cases[i].usage),
               cost_cases[i].cost, "cost: %s", cost_cases[i].name);
    }
}


static void
test_providers(void)
{
    is_str(llm_provider_name(LLM_OPENAI), "openai", "a provider's name");
    is_int(llm_provider_find((const unsigned char *) "openai", 6),
           LLM_OPENAI, "is found");
    is_int(llm_provider_find((const unsigned char *) "openai", 5), -1,
           "a part of it is not");
    is_int(llm_provider_find((const unsigned char *) "", 0), -1,
           "nor is nothing");
}


static const llm_price_t *
find(const llm_prices_t *prices, const char *model, const char **key)
{
    return llm_prices_find(prices, LLM_OPENAI, (const unsigned char *) model,
                           strlen(model), key);
}


static int
set(llm_prices_t *prices, const char *model, const char *field,
    const char *value)
{
    return llm_prices_set(prices, model, strlen(model), field, strlen(field),
                          value, strlen(value), error, sizeof(error));
}


static int
alias(llm_prices_t *prices, const char *name, const char *model)
{
    return llm_prices_alias(prices, name, strlen(name), model,
                            strlen(model));
}


/* NULL: refused */

static llm_prices_t *
load(const char *json)
{
    char          *copy;
    size_t         n;
    llm_prices_t  *prices;

    warned = 0;
    warnings[0] = '\0';

    n = strlen(json);
    copy = malloc(n + 1);
    prices = llm_prices_create(NULL);

    if (copy == NULL || prices == NULL) {
        exit(2);
    }

    /* no zero byte behind it, for the sanitizer */

    memcpy(copy + 1, json, n);

    if (llm_prices_load(prices, copy + 1, n, warn, warnings, error,
                        sizeof(error))
        != LLM_OK)
    {
        llm_prices_destroy(prices);
        prices = NULL;
    }

    free(copy);

    return prices;
}


static llm_prices_t *
table(void)
{
    FILE         *file;
    size_t        n;
    static char   json[65536];

    file = fopen("t/prices.json", "rb");

    if (file == NULL) {
        return NULL;
    }

    n = fread(json, 1, sizeof(json) - 1, file);
    fclose(file);

    json[n] = '\0';

    return load(json);
}


static void
warn(void *data, const char *text)
{
    char  *all;

    all = data;
    warned++;

    if (strlen(all) + strlen(text) + 2 < sizeof(warnings)) {
        strcat(all, text);
        strcat(all, "\n");
    }
}
