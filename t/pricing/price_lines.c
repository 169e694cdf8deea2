
/*
 * Copyright (C) nginx-cycles authors
 *
 * What usages cost, for tests that compare: price_lines TABLE tells the number
 * of models, and what has been left out on standard error.  Then for each line
 * of JSON a line comes back: for {"key", "usage"} micro-cents, or "null" if
 * the key has no price, and for {"decimal"} its pico-units.
 */


#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "usage_json.h"


static void warn(void *data, const char *text);


int
main(int argc, char **argv)
{
    char               *line;
    size_t              size;
    json_t             *c;
    unsigned            unpriced;
    const char         *key, *text;
    llm_usage_t         usage;
    llm_prices_t       *prices;
    const llm_price_t  *price;

    if (argc != 2) {
        return 2;
    }

    prices = price_table_load(argv[1], warn);

    if (prices == NULL) {
        return 1;
    }

    printf("%zu\n", llm_prices_count(prices));

    line = NULL;
    size = 0;

    while (getline(&line, &size, stdin) > 0) {

        c = json_loads(line, 0, NULL);
        key = json_string_value(json_object_get(c, "key"));
        text = json_string_value(json_object_get(c, "decimal"));

        price = key ? llm_prices_find_named(prices,
                                            (const unsigned char *) key,
                                            strlen(key), NULL)
                    : NULL;

        if (text) {
            printf("%lld\n", (long long) llm_decimal(text, strlen(text), 12));

        } else if (price == NULL
                   || !usage_read(json_object_get(c, "usage"), &usage))
        {
            printf("null\n");

        } else {
            printf("%lld", (long long) llm_price_cost(price, &usage,
                                                      &unpriced));
            printf("%s\n", unpriced ? " unpriced" : "");
        }

        json_decref(c);
    }

    free(line);
    llm_prices_destroy(prices);

    return 0;
}


static void
warn(void *data, const char *text)
{
    fprintf(stderr, "%s\n", text);
}
