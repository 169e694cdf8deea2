
/*
 * Copyright (C) nginx-cycles authors
 *
 * A usage as a JSON object whose members are those of llm_usage_t, and a price
 * table from its file.
 */


#ifndef _USAGE_JSON_H_INCLUDED_
#define _USAGE_JSON_H_INCLUDED_


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "llm/llm_price.h"


#define usage_count(name)  { #name, offsetof(llm_usage_t, name) }

static const struct {
    const char  *name;
    size_t       offset;
} usage_counts[] = {
    usage_count(input), usage_count(output), usage_count(cached_input),
    usage_count(cache_write), usage_count(cache_write_1h),
    usage_count(reasoning), usage_count(input_audio),
    usage_count(input_image), usage_count(input_video),
    usage_count(cached_audio), usage_count(output_audio),
    usage_count(output_image), usage_count(citations),
    usage_count(web_searches), usage_count(file_searches),
    usage_count(code_sessions), usage_count(images), usage_count(pixels),
    usage_count(characters), usage_count(audio_ms), usage_count(queries)
};


static inline int
usage_word(const char *name, const char *word, llm_usage_t *usage)
{
    size_t  i;

    static const char  *tiers[] = { "default", "flex", "priority",
                                    "ultrafast", "batch" };
    static const char  *geos[] = { "default", "us", "eu", "region" };
    static const char  *searches[] = { "medium", "low", "high" };

    for (i = 0; i < 5; i++) {

        if (strcmp(name, "tier") == 0 && strcmp(word, tiers[i]) == 0) {
            usage->tier = (llm_tier_t) i;
            return 1;
        }

        if (i < 4 && strcmp(name, "geo") == 0 && strcmp(word, geos[i]) == 0) {
            usage->geo = (llm_geo_t) i;
            return 1;
        }

        if (i < 3 && strcmp(name, "search") == 0
            && strcmp(word, searches[i]) == 0)
        {
            usage->search = (llm_search_t) i;
            return 1;
        }
    }

    return 0;
}


static inline int
usage_read(json_t *members, llm_usage_t *usage)
{
    size_t       i;
    json_t      *value;
    const char  *name;

    llm_usage_init(usage);

    json_object_foreach(members, name, value) {

        if (json_is_string(value)) {

            if (!usage_word(name, json_string_value(value), usage)) {
                return 0;
            }

            continue;
        }

        if (strcmp(name, "fast") == 0) {
            usage->fast = 1;
            continue;
        }

        for (i = 0; i < sizeof(usage_counts) / sizeof(usage_counts[0]); i++) {
            if (strcmp(name, usage_counts[i].name) == 0) {
                break;
            }
        }

        if (i == sizeof(usage_counts) / sizeof(usage_counts[0])) {
            return 0;
        }

        *(int64_t *) ((char *) usage + usage_counts[i].offset) =
                                                    json_integer_value(value);
    }

    return 1;
}


/* NULL: it can't be read, standard error tells why */

static inline llm_prices_t *
price_table_load(const char *path, llm_price_warn_pt warn)
{
    FILE          *file;
    char          *json, error[256];
    long           size;
    size_t         n;
    llm_prices_t  *prices;

    file = fopen(path, "rb");

    if (file == NULL) {
        perror(path);
        return NULL;
    }

    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);

    json = malloc((size_t) size + 1);
    prices = llm_prices_create(NULL);

    if (json == NULL || prices == NULL) {
        exit(2);
    }

    n = fread(json, 1, (size_t) size, file);
    fclose(file);

    if (llm_prices_load(prices, json, n, warn, NULL, error, sizeof(error))
        != LLM_OK)
    {
        fprintf(stderr, "%s: %s\n", path, error);
        llm_prices_destroy(prices);
        prices = NULL;
    }

    free(json);

    return prices;
}


#endif /* _USAGE_JSON_H_INCLUDED_ */
