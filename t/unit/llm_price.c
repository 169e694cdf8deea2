
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "llm/llm_price_row.h"
#include "tap.h"


static void test_decimal(void);
static void test_table(void);
static void test_bad_tables(void);
static void test_bad_rows(void);
static void test_lookup(void);
static void test_set(void);
static void test_base(void);
static void test_answers(void);
static void test_alias(void);
static void test_many(void);
static void test_names(void);
static void test_inside(void);
static void test_named(void);
static void test_families(void);
static void test_measures(void);
static void test_compare(void);
static void test_providers(void);
static const llm_price_t *find(const llm_prices_t *prices, const char *model,
    const char **key);
static int64_t rate(const llm_price_t *price, unsigned field);
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
    test_answers();
    test_alias();
    test_many();
    test_names();
    test_inside();
    test_named();
    test_families();
    test_measures();
    test_compare();
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
        is_int(rate(p, LLM_FIELD_INPUT), 5000000, "its input price");
        is_int(rate(p, LLM_FIELD_OUTPUT), 30000000, "its output price");
        is_int(rate(p, LLM_FIELD_CACHE_READ), 500000, "its cached price");
        is_int(rate(p, LLM_FIELD_CACHE_WRITE), 6250000,
               "its cache-write price");
        is_int(rate(p, LLM_FIELD_MAX_OUTPUT), 128000, "its output limit");
    }

    p = find(prices, "deepseek/deepseek-coder", NULL);

    if (ok(p != NULL, "a row with older names")) {
        is_int(rate(p, LLM_FIELD_CACHE_READ), 14000,
               "the price of a cache hit");
        is_int(rate(p, LLM_FIELD_MAX_OUTPUT), 4096, "max_tokens, a float");
        is_int(rate(p, LLM_FIELD_CACHE_WRITE), -1,
               "no price is not a price of 0");
    }

    p = find(prices, "omni-moderation-latest", NULL);

    if (ok(p != NULL, "a row that costs nothing")) {
        is_int(rate(p, LLM_FIELD_INPUT), 0, "0 is a price");
        is_int(rate(p, LLM_FIELD_CACHE_READ), -1, "but absent is none");
        is_int(rate(p, LLM_FIELD_MAX_OUTPUT), -1, "and no limit is none");
    }

    p = find(prices, "example/price-as-text", NULL);

    if (ok(p != NULL, "a row with strings")) {
        is_int(rate(p, LLM_FIELD_INPUT), 300000, "its input price");
        is_int(rate(p, LLM_FIELD_OUTPUT), 1200000, "its output price");
    }

    ok(find(prices, "dashscope/qwen3-max", NULL) != NULL,
       "a row with nothing but bands");
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
        { "{}", "the price table has no model with a usable price such as"
          " input_cost_per_token, it must have LiteLLM's shape" },
        { "{\"a\":{\"output_cost_per_token\":1e-6}}", "the price table has"
          " no model with a usable price such as input_cost_per_token, it"
          " must have LiteLLM's shape" },
        { "{\"a\":{\"input_cost_per_token\":1}}", "the price table has no"
          " model with a usable price such as input_cost_per_token, it must"
          " have LiteLLM's shape" }
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
        "{\"input_cost_per_token\":1e-6,\"input_cost_per_page\":500}",
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
       && rate(find(prices, "mo/del", NULL), LLM_FIELD_INPUT) == 2000000,
       "names with escapes");
    ok(prices && rate(find(prices, "twice", NULL), LLM_FIELD_INPUT) == 3000000,
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
    size_t              i;
    char                buffer[32];
    llm_prices_t       *prices;
    const llm_price_t  *own;

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
    is_int(rate(find(prices, "gpt-4o", NULL), LLM_FIELD_INPUT), 1000000,
           "which counts");
    is_int(rate(find(prices, "gpt-4o", NULL), LLM_FIELD_OUTPUT), 10000000,
           "the others stay");

    is_int(set(prices, "gpt-4o", "input_cost_per_token_cache_hit", "0"),
           LLM_OK, "an older name");
    is_int(rate(find(prices, "gpt-4o", NULL), LLM_FIELD_CACHE_READ), 0,
           "is over the table's newer one");
    is_int(set(prices, "gpt-4o", "max_tokens", "5e2"), LLM_OK, "a limit");
    is_int(rate(find(prices, "gpt-4o", NULL), LLM_FIELD_MAX_OUTPUT), 500,
           "is over the table's newer one");

    is_int(set(prices, "own", "output_cost_per_token", "0.001"), LLM_OK,
           "a model that no table has");
    ok(find(prices, "own", NULL) == NULL, "needs an input price");
    is_int(set(prices, "own", "input_cost_per_token", "0"), LLM_OK,
           "of 0 or more");

    own = find(prices, "own", NULL);

    ok(own && rate(own, LLM_FIELD_INPUT) == 0
       && rate(own, LLM_FIELD_OUTPUT) == 1000000000
       && rate(own, LLM_FIELD_CACHE_READ) == -1, "to be known");

    llm_prices_destroy(prices);

    prices = llm_prices_create(NULL);
    (void) set(prices, "m", "input_cost_per_token", "1e-6");
    is_int(llm_prices_load(prices, later, sizeof(later) - 1, NULL, NULL,
                           buffer, sizeof(buffer)),
           LLM_OK, "a table loaded later");
    is_int(rate(find(prices, "m", NULL), LLM_FIELD_INPUT), 1000000,
           "is under what was set");
    is_int(rate(find(prices, "m", NULL), LLM_FIELD_OUTPUT), 3000000,
           "and fills the rest");

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

    is_int(rate(find(prices, "gpt-4o-mini", NULL), LLM_FIELD_INPUT), 150000,
           "a row of the base");

    is_int(set(prices, "gpt-4o-mini", "output_cost_per_token", "1e-6"),
           LLM_OK, "a price over the base");
    is_int(rate(find(prices, "gpt-4o-mini", NULL), LLM_FIELD_OUTPUT), 1000000,
           "counts");
    is_int(rate(find(prices, "gpt-4o-mini", NULL), LLM_FIELD_INPUT), 150000,
           "with the base's other fields");
    is_int(rate(find(base, "gpt-4o-mini", NULL), LLM_FIELD_OUTPUT), 600000,
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


/* what was found is kept, but not for another question, nor for long */

static void
test_answers(void)
{
    unsigned            i, wrong, found;
    const char         *key, *expected;
    llm_prices_t       *base, *prices, *again;
    llm_price_query_t   query;

    static const llm_provider_t  providers[] = {
        LLM_OPENAI, LLM_AZURE, LLM_GROQ, LLM_XAI
    };

    static const llm_api_t  apis[] = {
        LLM_API_CHAT, LLM_API_SPEECH, LLM_API_EMBEDDINGS
    };

    static const char  *models[] = { "aaaa", "aaba", "AAAA", "cccc" };
    static const char  *regions[] = { "", "eu", "us" };

    static const char  *rows[] = {
        "aaaa", "groq/aaaa", "azure/aaaa", "azure/eu/aaaa", "azure/us/aaaa",
        "xai/aaaa"
    };

    base = llm_prices_create(NULL);
    prices = llm_prices_create(base);

    (void) set(base, "aaba", "input_cost_per_token", "1e-6");
    (void) set(prices, "cccc", "input_cost_per_character", "1e-6");

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void) set(prices, rows[i], "input_cost_per_token", "1e-6");
    }

    again = llm_prices_create(prices);

    wrong = 0;
    found = 0;

    for (i = 0; i < 20000; i++) {

        memset(&query, 0, sizeof(llm_price_query_t));

        query.provider = providers[random() % 4];
        query.api = apis[random() % 3];
        query.exact = random() & 1;
        query.model = (const unsigned char *) models[random() % 4];
        query.model_len = 4;
        query.region = (const unsigned char *) regions[random() % 3];
        query.region_len = strlen((const char *) query.region);

        key = "none";
        (void) llm_prices_find(prices, &query, &key);

        /* the same without an answer that was kept */

        memset(again->answers, 0, sizeof(again->answers));

        expected = "none";
        (void) llm_prices_find(again, &query, &expected);

        wrong += (strcmp(key, expected) != 0);
        found += (strcmp(key, "none") != 0);
    }

    is_int(wrong, 0, "no answer to another question");
    ok(found > 1000 && found < 19000, "%u questions have one", found);

    /* a row of the base gives way to another one */

    is_int(rate(find(again, "aaba", NULL), LLM_FIELD_INPUT), 1000000,
           "a price of the base");

    (void) set(base, "openai/aaba", "input_cost_per_token", "2e-6");
    (void) set(base, "aaba", "input_cost_per_token", "2e-6");

    is_int(rate(find(again, "aaba", NULL), LLM_FIELD_INPUT), 2000000,
           "and another one");

    llm_prices_destroy(again);
    llm_prices_destroy(prices);
    llm_prices_destroy(base);
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
        wrong += rate(find(prices, model, NULL), LLM_FIELD_INPUT) != i * 1000;
    }

    is_int(wrong, 0, "three thousand models");

    llm_prices_destroy(prices);
}


static void
test_names(void)
{
    size_t            i;
    llm_field_name_t  name;

    static const struct {
        const char  *text;
        int          field;               /* -1: there is none */
        unsigned     above;
        unsigned     tier;
    } cases[] = {
        { "input_cost_per_token", LLM_FIELD_INPUT, 0, 0 },
        { "input_cost_per_token_above_128k_tokens", LLM_FIELD_INPUT, 128000,
          0 },
        { "input_cost_per_token_above_1500_tokens", LLM_FIELD_INPUT, 1500,
          0 },
        { "output_cost_per_token_flex", LLM_FIELD_OUTPUT, 0, LLM_TIER_FLEX },
        { "cache_read_input_token_cost_above_272k_tokens_priority",
          LLM_FIELD_CACHE_READ, 272000, LLM_TIER_PRIORITY },
        { "cache_read_input_token_cost_priority_above_272k_tokens",
          LLM_FIELD_CACHE_READ, 272000, LLM_TIER_PRIORITY },
        { "cache_creation_input_token_cost_above_1hr",
          LLM_FIELD_CACHE_WRITE_1H, 0, 0 },
        { "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
          LLM_FIELD_CACHE_WRITE_1H, 200000, 0 },
        { "cache_creation_input_token_cost_above_12hr_above_272k_tokens"
          "_ultrafast", LLM_FIELD_CACHE_WRITE_12H, 272000,
          LLM_TIER_ULTRAFAST },
        { "output_cost_per_token_batches", LLM_FIELD_OUTPUT, 0,
          LLM_TIER_BATCH },
        { "input_cost_per_image_above_128k_tokens", LLM_FIELD_PICTURE_IN,
          128000, 0 },
        { "search_context_cost_per_query.low", LLM_FIELD_SEARCH_LOW, 0, 0 },
        { "provider_specific_entry.fast", LLM_FIELD_FACTOR_FAST, 0, 0 },

        { "input_cost_per_token_decisions", -1, 0, 0 },
        { "input_cost_per_token_above_tokens", -1, 0, 0 },
        { "input_cost_per_token_above_k_tokens", -1, 0, 0 },
        { "input_cost_per_token_above_0k_tokens", -1, 0, 0 },
        { "input_cost_per_token_above_1x_tokens", -1, 0, 0 },
        { "input_cost_per_token_above_9999999k_tokens", -1, 0, 0 },
        { "input_cost_per_token_above_200k_tokens_above_300k_tokens", -1, 0,
          0 },
        { "input_cost_per_token_flex_flex", -1, 0, 0 },
        { "_above_200k_tokens", -1, 0, 0 },
        { "_tokens", -1, 0, 0 },
        { "_flex", -1, 0, 0 },
        { "max_tokens_flex", -1, 0, 0 },
        { "regional_endpoint_uplift_multiplier_batches", -1, 0, 0 },
        { "supports_vision", -1, 0, 0 },
        { "input_dbu_cost_per_token", -1, 0, 0 },
        { "", -1, 0, 0 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        if (llm_field_find(cases[i].text, strlen(cases[i].text), &name)
            != LLM_OK)
        {
            is_int(-1, cases[i].field, "no field: \"%s\"", cases[i].text);
            continue;
        }

        ok((int) name.field == cases[i].field
           && name.above == cases[i].above && name.tier == cases[i].tier,
           "a field: \"%s\"", cases[i].text);
    }
}


/* what is an object or a list in a row */

static void
test_inside(void)
{
    size_t              i;
    const char         *key;
    llm_prices_t       *prices;
    const llm_price_t  *p;

    static const char  json[] =
        "{\"a\":{\"litellm_provider\":\"openai\",\"input_cost_per_token\":1e-6,"
        "\"search_context_cost_per_query\":{\"search_context_size_low\":0.01,"
        "\"other\":[1,{\"search_context_size_low\":9}],"
        "\"search_context_size_high\":0.03},"
        "\"provider_specific_entry\":{\"us\":1.1,\"fast\":6,\"x\":{}},"
        "\"metadata\":{\"input_cost_per_token\":7,\"a\":[[]]},"
        "\"supported\":[\"x\",{\"max_tokens\":1}],\"max_tokens\":9},"
        "\"b\":{\"search_context_cost_per_query\":0.02,"
        "\"tiered_pricing\":[{\"output_cost_per_token\":2e-6,"
        "\"range\":[0,1e3],\"input_cost_per_token\":1e-6},"
        "{\"range\":[1000.0,2e3],\"input_cost_per_token\":\"3e-6\","
        "\"note\":{\"range\":[5,6]}}],"
        "\"output_cost_per_token\":9e-6},"
        "\"c\":{\"alias_of\":\"a\",\"mode\":\"chat\"},"
        "\"d\":{\"alias_of\":\"a\",\"input_cost_per_token\":5e-6},"
        "\"e\":{\"alias_of\":\"nothing\"},"
        "\"f\":{\"tiered_pricing\":[{\"max_results_range\":[0,25],"
        "\"input_cost_per_token\":5e-6}]}}";

    static const char  *bad[] = {
        "{\"tiered_pricing\":[{\"range\":[0],\"input_cost_per_token\":1e-6}]}",
        "{\"tiered_pricing\":[{\"range\":[0,1,2]}]}",
        "{\"tiered_pricing\":[{\"range\":[-1,2]}]}",
        "{\"tiered_pricing\":[{\"range\":[0,2],\"input_cost_per_token\":1}]}",
        "{\"tiered_pricing\":[{\"range\":[0,2],\"input_cost_per_token\":[]}]}",
        ("{\"search_context_cost_per_query\":"
         "{\"search_context_size_low\":101}}"),
        "{\"provider_specific_entry\":{\"fast\":0}}",
        "{\"regional_processing_uplift_multiplier_eu\":101}",
        "{\"input_cost_per_second\":-1}",
        "{\"output_cost_per_image\":100.5}"
    };

    prices = load(json);

    if (!ok(prices && warned == 0, "rows with objects and lists")) {
        return;
    }

    p = find(prices, "a", NULL);

    is_int(rate(p, LLM_FIELD_SEARCH_LOW), 10000000000, "a small search");
    is_int(rate(p, LLM_FIELD_SEARCH_MEDIUM), -1, "no medium one");
    is_int(rate(p, LLM_FIELD_SEARCH_HIGH), 30000000000, "a large one");
    is_int(rate(p, LLM_FIELD_FACTOR_US), 1100000, "a geography");
    is_int(rate(p, LLM_FIELD_FACTOR_FAST), 6000000, "a speed");
    is_int(rate(p, LLM_FIELD_INPUT), 1000000, "the price is the row's own");
    is_int(rate(p, LLM_FIELD_MAX_OUTPUT), 9, "and so is the limit");

    p = find(prices, "b", NULL);

    if (ok(p != NULL, "a row of bands")) {
        is_int(rate(p, LLM_FIELD_INPUT), 1000000, "the first band");
        is_int(rate(p, LLM_FIELD_OUTPUT), 9000000, "the row itself is later");
        is_int(rate(p, LLM_FIELD_SEARCH_MEDIUM), 20000000000,
               "one number for all searches");

        for (i = 0; i < p->nrates; i++) {
            if (p->rates[i].above) {
                break;
            }
        }

        ok(i < p->nrates && p->rates[i].above == 1000
           && p->rates[i].field == LLM_FIELD_INPUT
           && p->rates[i].value == 3000000, "the second band");
    }

    ok(find(prices, "c", &key) == find(prices, "a", NULL),
       "a row that is another name");
    is_str(key, "a", "has that key");
    is_int(rate(find(prices, "d", NULL), LLM_FIELD_INPUT), 5000000,
           "but its own price comes first");
    ok(find(prices, "e", NULL) == NULL, "another name of nothing");
    ok(find(prices, "f", NULL) == NULL, "bands of something else");

    llm_prices_destroy(prices);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {

        char  text[512];

        snprintf(text, sizeof(text), "{\"good\":{\"input_cost_per_token\":"
                 "1e-6},\"bad\":%s}", bad[i]);

        prices = load(text);

        ok(prices && warned == 1 && llm_prices_count(prices) == 1,
           "left out: %s", bad[i]);

        llm_prices_destroy(prices);
    }
}


static void
test_named(void)
{
    const char    *key;
    llm_prices_t  *prices, *own;

    prices = load("{\"groq/m\":{\"litellm_provider\":\"groq\","
                  "\"input_cost_per_token\":1e-6},"
                  "\"m\":{\"litellm_provider\":\"xai\","
                  "\"input_cost_per_token\":2e-6}}");
    own = llm_prices_create(prices);

    if (!ok(prices && own, "models of two providers")) {
        return;
    }

    ok(find(own, "m", NULL) == NULL, "another provider's model has no price");

    (void) llm_prices_find_named(own, (const unsigned char *) "m", 1, &key);
    is_str(key, "m", "unless an operator names it");

    (void) alias(own, "ours", "m");
    (void) find(own, "ours", &key);
    is_str(key, "m", "in an alias, too");

    (void) set(own, "m", "output_cost_per_token", "3e-6");
    ok(find(own, "m", NULL) != NULL, "or sets a price of it");
    ok(llm_price_is_set(find(own, "m", NULL)), "which is told");

    llm_prices_destroy(own);
    llm_prices_destroy(prices);
}


static void
test_families(void)
{
    size_t              i;
    const char         *key;
    llm_prices_t       *prices, *own;
    llm_price_query_t   query;

#define ROW(key, provider)                                                    \
    "\"" key "\":{\"litellm_provider\":\"" provider "\","                     \
    "\"input_cost_per_token\":1e-6},"

    static const char  json[] = "{"
        ROW("gpt-4o", "openai")
        ROW("azure/gpt-4o", "azure")
        ROW("azure/eu/gpt-4o", "azure")
        ROW("azure_ai/grok-3", "azure_ai")
        ROW("gpt-new", "openai")
        ROW("claude-sonnet-4-5", "anthropic")
        ROW("vertex_ai/claude-sonnet-4-5", "vertex_ai-anthropic_models")
        ROW("vertex_ai/claude-sonnet-4-5@20250929",
            "vertex_ai-anthropic_models")
        ROW("gemini/gemini-2.5-pro", "gemini")
        ROW("gemini/gemini-9", "gemini")
        ROW("gemini-2.5-pro", "vertex_ai-language-models")
        ROW("vertex_ai/meta/llama-4", "vertex_ai-llama_models")
        ROW("anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock_converse")
        ROW("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock")
        ROW("bedrock/us-gov-west-1/anthropic.claude-x-v1:0", "bedrock")
        ROW("anthropic.claude-x-v1:0", "bedrock")
        ROW("mistral/mistral-large", "mistral")
        ROW("command-r", "cohere_chat")
        ROW("groq/llama-3.3-70b", "groq")
        ROW("deepseek/deepseek-chat", "deepseek")
        ROW("xai/grok-4", "xai")
        ROW("together_ai/Qwen/Qwen3", "together_ai")
        ROW("fireworks_ai/accounts/fireworks/models/llama", "fireworks_ai")
        ROW("openrouter/openai/gpt-4o", "openrouter")
        ROW("perplexity/sonar", "perplexity")
        ROW("cerebras/llama-3.3", "cerebras")
        ROW("ollama/llama3", "ollama")
        ROW("dashscope/qwen-max", "dashscope")
        "\"own-model\":{\"input_cost_per_token\":1e-6}}";

    static const struct {
        llm_provider_t  provider;
        const char     *model;
        const char     *key;
        const char     *region;
    } cases[] = {
        { LLM_OPENAI, "gpt-4o", "gpt-4o", NULL },
        { LLM_OPENAI_RESPONSES, "gpt-4o-2024-08-06", "gpt-4o", NULL },
        { LLM_OPENAI, "claude-sonnet-4-5", NULL, NULL },
        { LLM_OPENAI, "groq/llama-3.3-70b", "groq/llama-3.3-70b", NULL },
        { LLM_OPENAI, "dashscope/qwen-max", "dashscope/qwen-max", NULL },
        { LLM_OPENAI, "qwen-max", NULL, NULL },
        { LLM_OPENAI, "own-model", "own-model", NULL },
        { LLM_AZURE, "gpt-4o", "azure/gpt-4o", NULL },
        { LLM_AZURE, "gpt-4o", "azure/eu/gpt-4o", "eu" },
        { LLM_AZURE, "gpt-4o", "azure/gpt-4o", "mars" },
        { LLM_AZURE, "grok-3", "azure_ai/grok-3", NULL },
        { LLM_AZURE, "gpt-new", "gpt-new", NULL },
        { LLM_AZURE, "claude-sonnet-4-5", NULL, NULL },
        { LLM_ANTHROPIC, "claude-sonnet-4-5-20250929", "claude-sonnet-4-5",
          NULL },
        { LLM_ANTHROPIC, "gpt-4o", NULL, NULL },
        { LLM_GEMINI, "gemini-2.5-pro", "gemini/gemini-2.5-pro", NULL },
        { LLM_GEMINI_OPENAI, "models/gemini-2.5-pro",
          "gemini/gemini-2.5-pro", NULL },
        { LLM_VERTEX, "gemini-2.5-pro", "gemini-2.5-pro", NULL },
        { LLM_VERTEX, "google/gemini-2.5-pro-001", "gemini-2.5-pro", NULL },
        { LLM_VERTEX, "publishers/google/models/gemini-2.5-pro",
          "gemini-2.5-pro", NULL },
        { LLM_VERTEX, "gemini-9", "gemini/gemini-9", NULL },
        { LLM_VERTEX, "meta/llama-4", "vertex_ai/meta/llama-4", NULL },
        { LLM_VERTEX_ANTHROPIC, "claude-sonnet-4-5@20250929",
          "vertex_ai/claude-sonnet-4-5@20250929", NULL },
        { LLM_VERTEX_ANTHROPIC, "claude-sonnet-4-5@20260101",
          "vertex_ai/claude-sonnet-4-5", NULL },
        { LLM_BEDROCK_CONVERSE,
          "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
          "us.anthropic.claude-sonnet-4-5-20250929-v1:0", NULL },
        { LLM_BEDROCK_INVOKE,
          "jp.anthropic.claude-sonnet-4-5-20250929-v1:0",
          "anthropic.claude-sonnet-4-5-20250929-v1:0", NULL },
        { LLM_BEDROCK_INVOKE,
          "anthropic.claude-sonnet-4-5-20250929-v1:0:200k",
          "anthropic.claude-sonnet-4-5-20250929-v1:0", NULL },
        { LLM_BEDROCK_CONVERSE, "anthropic.claude-x-v1:0",
          "anthropic.claude-x-v1:0", NULL },
        { LLM_BEDROCK_CONVERSE, "anthropic.claude-x-v1:0",
          "bedrock/us-gov-west-1/anthropic.claude-x-v1:0", "us-gov-west-1" },
        { LLM_BEDROCK_CONVERSE,
          "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/"
          "anthropic.claude-x-v1:0",
          "bedrock/us-gov-west-1/anthropic.claude-x-v1:0", NULL },
        { LLM_BEDROCK_CONVERSE,
          "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
          "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
          "us.anthropic.claude-sonnet-4-5-20250929-v1:0", NULL },
        { LLM_BEDROCK_CONVERSE, "arn:aws", NULL, NULL },
        { LLM_BEDROCK_CONVERSE, "claude-sonnet-4-5", NULL, NULL },
        { LLM_MISTRAL, "mistral-large-latest", "mistral/mistral-large",
          NULL },
        { LLM_COHERE, "command-r", "command-r", NULL },
        { LLM_GROQ, "llama-3.3-70b", "groq/llama-3.3-70b", NULL },
        { LLM_DEEPSEEK, "deepseek-chat", "deepseek/deepseek-chat", NULL },
        { LLM_XAI, "grok-4", "xai/grok-4", NULL },
        { LLM_TOGETHER, "qwen/qwen3", "together_ai/Qwen/Qwen3", NULL },
        { LLM_FIREWORKS, "accounts/fireworks/models/llama",
          "fireworks_ai/accounts/fireworks/models/llama", NULL },
        { LLM_OPENROUTER, "openai/gpt-4o", "openrouter/openai/gpt-4o",
          NULL },
        { LLM_OPENROUTER, "gpt-4o", NULL, NULL },
        { LLM_PERPLEXITY, "sonar", "perplexity/sonar", NULL },
        { LLM_CEREBRAS, "llama-3.3", "cerebras/llama-3.3", NULL },
        { LLM_OLLAMA, "llama3", "ollama/llama3", NULL },
        { LLM_OLLAMA_V1, "llama3", "ollama/llama3", NULL },
        { LLM_VLLM, "gpt-4o", NULL, NULL },
        { LLM_LLAMACPP, "own-model", "own-model", NULL },
        { LLM_OTHER, "gpt-4o", "gpt-4o", NULL },
        { LLM_OTHER, "command-r", "command-r", NULL }
    };

    prices = load(json);
    own = llm_prices_create(prices);

    if (!ok(prices && own, "models of many providers")) {
        return;
    }

    memset(&query, 0, sizeof(llm_price_query_t));
    query.api = LLM_API_CHAT;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        query.provider = cases[i].provider;
        query.model = (const unsigned char *) cases[i].model;
        query.model_len = strlen(cases[i].model);
        query.region = (const unsigned char *) cases[i].region;
        query.region_len = cases[i].region ? strlen(cases[i].region) : 0;

        key = NULL;
        (void) llm_prices_find(own, &query, &key);

        is_str(key, cases[i].key, "%s: \"%s\" in \"%s\"",
               llm_provider_name(cases[i].provider), cases[i].model,
               cases[i].region ? cases[i].region : "");
    }

    /* what is set is over the table, with or without a prefix */

    (void) set(own, "gpt-4o", "input_cost_per_token", "9e-6");

    query.provider = LLM_AZURE;
    query.model = (const unsigned char *) "gpt-4o";
    query.model_len = 6;
    query.region_len = 0;

    (void) llm_prices_find(own, &query, &key);
    is_str(key, "gpt-4o", "what is set is over a row of the provider");

    llm_prices_destroy(own);
    llm_prices_destroy(prices);
}


/* a price that a reply of the API is not charged by is none */

static void
test_measures(void)
{
    size_t              i;
    const char         *key;
    llm_prices_t       *prices;
    llm_price_query_t   query;

    static const char  json[] =
        "{\"second\":{\"input_cost_per_second\":1e-3},"
        "\"letter\":{\"input_cost_per_character\":1e-5},"
        "\"picture\":{\"output_cost_per_image\":0.04},"
        "\"query\":{\"input_cost_per_query\":0.002},"
        "\"output\":{\"output_cost_per_token\":1e-6},"
        "\"token\":{\"input_cost_per_token\":0}}";

    static const struct {
        llm_api_t    api;
        const char  *models;
    } cases[] = {
        { LLM_API_CHAT, "token" },
        { LLM_API_MESSAGES, "token" },
        { LLM_API_EMBEDDINGS, "token" },
        { LLM_API_IMAGES, "picture token" },
        { LLM_API_TRANSCRIPTIONS, "second token" },
        { LLM_API_SPEECH, "letter token" },
        { LLM_API_COHERE_EMBED, "query token" },
        { LLM_API_OTHER, "second letter picture query token" }
    };

    static const char  *models[] = { "second", "letter", "picture", "query",
                                     "output", "token" };

    prices = load(json);

    if (!ok(prices != NULL, "prices of many kinds")) {
        return;
    }

    is_int((long long) llm_prices_count(prices), 5, "five of them count");

    memset(&query, 0, sizeof(llm_price_query_t));

    for (i = 0; i < 6 * sizeof(cases) / sizeof(cases[0]); i++) {

        query.api = cases[i / 6].api;
        query.model = (const unsigned char *) models[i % 6];
        query.model_len = strlen(models[i % 6]);

        key = NULL;
        (void) llm_prices_find(prices, &query, &key);

        is_int(key != NULL, strstr(cases[i / 6].models, models[i % 6]) != NULL,
               "a %s for API %d", models[i % 6], (int) query.api);
    }

    llm_prices_destroy(prices);
}


static void
test_compare(void)
{
    llm_prices_t         *old, *new;
    llm_price_changes_t   changes;

    old = load("{\"same\":{\"input_cost_per_token\":1e-6},"
               "\"gone\":{\"input_cost_per_token\":1e-6},"
               "\"dearer\":{\"input_cost_per_token\":1e-6},"
               "\"more\":{\"input_cost_per_token\":1e-6}}");
    new = load("{\"more\":{\"output_cost_per_token\":1e-6,"
               "\"input_cost_per_token\":0.000001},"
               "\"dearer\":{\"input_cost_per_token\":1.1e-6},"
               "\"same\":{\"input_cost_per_token\":\"1e-6\"},"
               "\"new\":{\"input_cost_per_token\":1e-6},"
               "\"newer\":{\"input_cost_per_token\":1e-6}}");

    if (!ok(old && new, "two tables")) {
        return;
    }

    llm_prices_compare(old, new, &changes);

    is_int((long long) changes.models, 5, "models of the new one");
    is_int((long long) changes.added, 2, "that the old one lacks");
    is_int((long long) changes.removed, 1, "that the new one lacks");
    is_int((long long) changes.changed, 2, "that have another price");

    llm_prices_destroy(old);
    llm_prices_destroy(new);
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
    llm_price_query_t  query;

    memset(&query, 0, sizeof(llm_price_query_t));

    query.provider = LLM_OPENAI;
    query.api = LLM_API_CHAT;
    query.model = (const unsigned char *) model;
    query.model_len = strlen(model);

    return llm_prices_find(prices, &query, key);
}


/* of the column that counts for most requests; -1: there is none */

static int64_t
rate(const llm_price_t *price, unsigned field)
{
    unsigned  i;

    for (i = 0; i < price->nrates; i++) {

        if (price->rates[i].field == field
            && price->rates[i].above == 0
            && price->rates[i].tier == LLM_TIER_DEFAULT)
        {
            return price->rates[i].value;
        }
    }

    return -1;
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
