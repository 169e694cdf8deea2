
/*
 * Copyright (C) nginx-cycles authors
 *
 * The price table, names of its fields, and each decimal beside long double
 * arithmetic.  The first byte chooses which of them.
 */


#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llm/llm_price_row.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_table(const uint8_t *data, size_t size);
static void check_field(const uint8_t *data, size_t size);
static void check_row(const llm_price_t *price, const uint8_t *data);
static void check_decimal(const uint8_t *data, size_t size, int scale);
static void warn(void *data, const char *text);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t  *copy;

    if (size == 0) {
        return 0;
    }

    copy = malloc(size - 1);

    if (copy == NULL && size > 1) {
        abort();
    }

    if (size > 1) {
        memcpy(copy, data + 1, size - 1);
    }

    if (data[0] & 1) {
        check_decimal(copy, size - 1, (data[0] >> 1) % 20 - 4);

    } else if (data[0] & 2) {
        check_field(copy, size - 1);

    } else {
        check_table(copy, size - 1);
    }

    free(copy);

    return 0;
}


static void
check_table(const uint8_t *data, size_t size)
{
    int                   rc;
    char                  err[64];
    size_t                n;
    const char           *key;
    llm_prices_t         *base, *prices;
    llm_price_query_t     query;
    const llm_price_t    *price;
    llm_price_changes_t   changes;

    base = llm_prices_create(NULL);
    prices = llm_prices_create(base);

    if (base == NULL || prices == NULL) {
        abort();
    }

    n = 0;
    err[0] = '\0';

    rc = llm_prices_load(base, (const char *) data, size, warn, &n, err,
                         sizeof(err));

    if ((rc == LLM_OK) != (err[0] == '\0')) {
        abort();
    }

    /* some of the names in the text are those of rows */

    for (n = 0; n + 64 < size; n += 1 + n / 8) {

        (void) llm_prices_alias(prices, (const char *) data + n, 4,
                                (const char *) data + n + 2, 6);

        query.provider = (llm_provider_t) (data[n] % LLM_PROVIDERS);
        query.api = (llm_api_t) (data[n + 1] % LLM_APIS);
        query.model = data + n;
        query.model_len = 1 + n % 64;
        query.region = data + n + 3;
        query.region_len = data[n + 2] % 8;

        price = llm_prices_find(prices, &query, &key);

        if (price) {
            check_row(price, data + n);
        }

        price = llm_prices_find_named(prices, data + n, 1 + n % 32, &key);

        if (price) {
            check_row(price, data + n);
        }

        (void) llm_prices_set(prices, (const char *) data + n, 3,
                              "input_cost_per_token", 20,
                              (const char *) data + n + 3, 5, err,
                              sizeof(err));
        (void) llm_prices_set(prices, (const char *) data + n, 3,
                              (const char *) data + n, 1 + n % 64, "1e-6", 4,
                              err, sizeof(err));
    }

    llm_prices_compare(base, prices, &changes);

    if (changes.models != llm_prices_count(prices)
        || changes.added + changes.changed > changes.models)
    {
        abort();
    }

    llm_prices_destroy(prices);
    llm_prices_destroy(base);
}


/* more of anything never costs less, and no sum runs over */

static void
check_row(const llm_price_t *price, const uint8_t *data)
{
    int64_t      cost, more;
    unsigned     i, unpriced;
    llm_usage_t  usage;

    for (i = 0; i < price->nrates; i++) {

        if (price->rates[i].value < 0
            || (price->rates[i].field < LLM_FIELDS_PRICED
                && price->rates[i].value > LLM_PRICE_UNIT_MAX))
        {
            abort();
        }
    }

    llm_usage_init(&usage);

    usage.input = (int64_t) data[0] << (data[1] % 56);
    usage.output = (int64_t) data[1] << (data[0] % 56);
    usage.cached_input = (data[2] & 1) ? usage.input >> (data[2] & 7) : -1;
    usage.cache_write = (data[3] & 1) ? data[3] : -1;
    usage.cache_write_1h = (data[3] & 2) ? data[4] : -1;
    usage.reasoning = (data[4] & 1) ? usage.output >> (data[4] & 7) : -1;
    usage.input_audio = (data[5] & 1) ? data[6] : -1;
    usage.cached_audio = (data[5] & 2) ? data[6] >> 2 : -1;
    usage.output_image = (data[6] & 1) ? data[7] : -1;
    usage.web_searches = data[7];
    usage.audio_ms = (data[7] & 1) ? data[6] : -1;
    usage.images = (data[7] & 2) ? data[5] : -1;
    usage.code_sessions = data[5] & 3;
    usage.tier = (llm_tier_t) (data[2] % (LLM_TIER_BATCH + 1));
    usage.geo = (llm_geo_t) (data[3] % (LLM_GEO_REGION + 1));
    usage.search = (llm_search_t) (data[4] % (LLM_SEARCH_HIGH + 1));
    usage.fast = data[5] & 1;

    cost = llm_price_cost(price, &usage, &unpriced);

    usage.output = (usage.output > 0) ? INT64_MAX : 1;
    usage.web_searches++;

    more = llm_price_cost(price, &usage, NULL);

    if (cost < 0 || more < cost || unpriced > 1) {
        abort();
    }
}


static void
check_field(const uint8_t *data, size_t size)
{
    int64_t           value;
    llm_field_name_t  name;

    (void) llm_family_find((const char *) data, size);

    if (llm_field_find((const char *) data, size, &name) != LLM_OK) {
        return;
    }

    if (name.field > name.last || name.last >= LLM_FIELDS
        || name.tier > LLM_TIER_BATCH)
    {
        abort();
    }

    if (llm_field_value(name.field, (const char *) data, size, &value)
        == NULL)
    {
        abort();
    }
}


static void
check_decimal(const uint8_t *data, size_t size, int scale)
{
    char        *end, text[64];
    int64_t      value, up;
    long double  number;

    value = llm_decimal((const char *) data, size, scale);
    up = llm_decimal_up((const char *) data, size, scale);

    if ((up == -1) != (value == -1)
        || (up >= 0 && value >= 0 && (up < value || up - value > 1)))
    {
        abort();
    }

    if (value == -1 || size >= sizeof(text)) {
        return;
    }

    memcpy(text, data, size);
    text[size] = '\0';

    number = strtold(text, &end) * powl(10, scale);

    if (end != text + size) {
        abort();
    }

    if (value == -2) {

        if (number < 9.2233720368547e18L) {
            abort();
        }

        return;
    }

    if (fabsl(number - (long double) value) > 0.5L + number * 1e-15L + 1e-9L)
    {
        abort();
    }
}


static void
warn(void *data, const char *text)
{
    *(size_t *) data += strlen(text);
}
