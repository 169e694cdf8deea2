
/*
 * Copyright (C) nginx-cycles authors
 *
 * The price table, and each decimal beside long double arithmetic.  The first
 * byte chooses which of them.
 */


#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llm/llm_price.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_table(const uint8_t *data, size_t size);
static void check_decimal(const uint8_t *data, size_t size, int scale);
static void check_price(int64_t price);
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

    } else {
        check_table(copy, size - 1);
    }

    free(copy);

    return 0;
}


static void
check_table(const uint8_t *data, size_t size)
{
    int                 rc;
    char                err[64];
    size_t              n;
    const char         *key;
    llm_usage_t         usage;
    llm_prices_t       *base, *prices;
    const llm_price_t  *price;

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

    for (n = 0; n + 8 < size; n += 1 + n / 8) {

        (void) llm_prices_alias(prices, (const char *) data + n, 4,
                                (const char *) data + n + 2, 6);

        price = llm_prices_find(prices, LLM_OPENAI, data + n, 1 + n % 8,
                                &key);

        if (price) {

            check_price(price->input);
            check_price(price->output);
            check_price(price->cache_read);
            check_price(price->cache_write);

            llm_usage_init(&usage);

            usage.input = (int64_t) data[n] << 40;
            usage.output = (int64_t) data[n + 1] << 40;
            usage.cached_input = data[n + 2];
            usage.cache_write = data[n + 3];

            if (price->input < 0 || llm_price_cost(price, &usage) < 0) {
                abort();
            }
        }

        (void) llm_prices_set(prices, (const char *) data + n, 3,
                              "input_cost_per_token", 20,
                              (const char *) data + n + 3, 5, err,
                              sizeof(err));
    }

    llm_prices_destroy(prices);
    llm_prices_destroy(base);
}


static void
check_decimal(const uint8_t *data, size_t size, int scale)
{
    char        *end, text[64];
    int64_t      value;
    long double  number;

    value = llm_decimal((const char *) data, size, scale);

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
check_price(int64_t price)
{
    if (price < -1 || price > LLM_PRICE_MAX) {
        abort();
    }
}


static void
warn(void *data, const char *text)
{
    *(size_t *) data += strlen(text);
}
