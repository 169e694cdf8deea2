
/*
 * Copyright (C) nginx-cycles authors
 *
 * The names in a row of the table.  A name is that of a field and, behind it
 * and in any order, those of a column: "_above_{N}k_tokens" of context, and a
 * service tier.  What is not known is no error, the table grows every month.
 */


#include <string.h>

#include "llm_price_row.h"
#include "llm_json.h"


typedef struct {
    const char          *name;
    unsigned             field;
    unsigned             last;            /* one value for several fields */
    unsigned             old;
} llm_field_text_t;


typedef struct {
    const char          *name;
    uint32_t             family;
    unsigned             start;           /* the name only begins so */
} llm_family_text_t;


static int llm_field_tier(const char *text, size_t *len, unsigned *tier);
static int llm_field_above(const char *text, size_t *len, uint32_t *above);
static const char *llm_field_factor(const char *text, size_t len,
    int64_t *value);


static const llm_field_text_t  llm_field_texts[] = {

    { "input_cost_per_token", LLM_FIELD_INPUT, LLM_FIELD_INPUT, 0 },
    { "output_cost_per_token", LLM_FIELD_OUTPUT, LLM_FIELD_OUTPUT, 0 },
    { "output_cost_per_reasoning_token",
      LLM_FIELD_REASONING, LLM_FIELD_REASONING, 0 },
    { "cache_read_input_token_cost",
      LLM_FIELD_CACHE_READ, LLM_FIELD_CACHE_READ, 0 },
    { "input_cost_per_token_cache_hit",
      LLM_FIELD_CACHE_READ, LLM_FIELD_CACHE_READ, 1 },
    { "cache_creation_input_token_cost",
      LLM_FIELD_CACHE_WRITE, LLM_FIELD_CACHE_WRITE, 0 },
    { "cache_creation_input_token_cost_above_1hr",
      LLM_FIELD_CACHE_WRITE_1H, LLM_FIELD_CACHE_WRITE_1H, 0 },
    { "cache_creation_input_token_cost_above_12hr",
      LLM_FIELD_CACHE_WRITE_12H, LLM_FIELD_CACHE_WRITE_12H, 0 },
    { "input_cost_per_audio_token",
      LLM_FIELD_INPUT_AUDIO, LLM_FIELD_INPUT_AUDIO, 0 },
    { "cache_read_input_audio_token_cost",
      LLM_FIELD_CACHE_READ_AUDIO, LLM_FIELD_CACHE_READ_AUDIO, 0 },
    { "output_cost_per_audio_token",
      LLM_FIELD_OUTPUT_AUDIO, LLM_FIELD_OUTPUT_AUDIO, 0 },
    { "input_cost_per_image_token",
      LLM_FIELD_INPUT_IMAGE, LLM_FIELD_INPUT_IMAGE, 0 },
    { "output_cost_per_image_token",
      LLM_FIELD_OUTPUT_IMAGE, LLM_FIELD_OUTPUT_IMAGE, 0 },
    { "input_cost_per_video_token",
      LLM_FIELD_INPUT_VIDEO, LLM_FIELD_INPUT_VIDEO, 0 },
    { "citation_cost_per_token",
      LLM_FIELD_CITATION, LLM_FIELD_CITATION, 0 },

    { "input_cost_per_second",
      LLM_FIELD_INPUT_SECOND, LLM_FIELD_INPUT_SECOND, 0 },
    { "input_cost_per_audio_per_second",
      LLM_FIELD_AUDIO_SECOND, LLM_FIELD_AUDIO_SECOND, 0 },
    { "output_cost_per_second",
      LLM_FIELD_OUTPUT_SECOND, LLM_FIELD_OUTPUT_SECOND, 0 },
    { "input_cost_per_character",
      LLM_FIELD_CHARACTER, LLM_FIELD_CHARACTER, 0 },
    { "input_cost_per_image",
      LLM_FIELD_PICTURE_IN, LLM_FIELD_PICTURE_IN, 0 },
    { "output_cost_per_image",
      LLM_FIELD_PICTURE_OUT, LLM_FIELD_PICTURE_OUT, 0 },
    { "input_cost_per_pixel",
      LLM_FIELD_PIXEL_IN, LLM_FIELD_PIXEL_IN, 0 },
    { "output_cost_per_pixel",
      LLM_FIELD_PIXEL_OUT, LLM_FIELD_PIXEL_OUT, 0 },
    { "input_cost_per_query", LLM_FIELD_QUERY, LLM_FIELD_QUERY, 0 },
    { "input_cost_per_request", LLM_FIELD_REQUEST, LLM_FIELD_REQUEST, 0 },

    { "search_context_cost_per_query",
      LLM_FIELD_SEARCH_LOW, LLM_FIELD_SEARCH_HIGH, 0 },
    { "search_context_cost_per_query.low",
      LLM_FIELD_SEARCH_LOW, LLM_FIELD_SEARCH_LOW, 0 },
    { "search_context_cost_per_query.medium",
      LLM_FIELD_SEARCH_MEDIUM, LLM_FIELD_SEARCH_MEDIUM, 0 },
    { "search_context_cost_per_query.high",
      LLM_FIELD_SEARCH_HIGH, LLM_FIELD_SEARCH_HIGH, 0 },
    { "search_context_cost_per_query.search_context_size_low",
      LLM_FIELD_SEARCH_LOW, LLM_FIELD_SEARCH_LOW, 0 },
    { "search_context_cost_per_query.search_context_size_medium",
      LLM_FIELD_SEARCH_MEDIUM, LLM_FIELD_SEARCH_MEDIUM, 0 },
    { "search_context_cost_per_query.search_context_size_high",
      LLM_FIELD_SEARCH_HIGH, LLM_FIELD_SEARCH_HIGH, 0 },
    { "file_search_cost_per_1k_calls",
      LLM_FIELD_FILE_SEARCH, LLM_FIELD_FILE_SEARCH, 0 },
    { "code_interpreter_cost_per_session",
      LLM_FIELD_CODE_SESSION, LLM_FIELD_CODE_SESSION, 0 },

    { "provider_specific_entry.us",
      LLM_FIELD_FACTOR_US, LLM_FIELD_FACTOR_US, 0 },
    { "provider_specific_entry.eu",
      LLM_FIELD_FACTOR_EU, LLM_FIELD_FACTOR_EU, 0 },
    { "provider_specific_entry.fast",
      LLM_FIELD_FACTOR_FAST, LLM_FIELD_FACTOR_FAST, 0 },
    { "regional_processing_uplift_multiplier_us",
      LLM_FIELD_FACTOR_US, LLM_FIELD_FACTOR_US, 0 },
    { "regional_processing_uplift_multiplier_eu",
      LLM_FIELD_FACTOR_EU, LLM_FIELD_FACTOR_EU, 0 },
    { "regional_endpoint_uplift_multiplier",
      LLM_FIELD_FACTOR_REGION, LLM_FIELD_FACTOR_REGION, 0 },

    { "max_input_tokens", LLM_FIELD_MAX_INPUT, LLM_FIELD_MAX_INPUT, 0 },
    { "max_output_tokens", LLM_FIELD_MAX_OUTPUT, LLM_FIELD_MAX_OUTPUT, 0 },
    { "max_tokens", LLM_FIELD_MAX_OUTPUT, LLM_FIELD_MAX_OUTPUT, 1 },

    { NULL, 0, 0, 0 }
};


static const struct {
    const char          *suffix;
    llm_tier_t           tier;
} llm_field_tiers[] = {
    { "_flex", LLM_TIER_FLEX },
    { "_priority", LLM_TIER_PRIORITY },
    { "_ultrafast", LLM_TIER_ULTRAFAST },
    { "_batches", LLM_TIER_BATCH }
};


static const llm_family_text_t  llm_families[] = {
    { "openai", LLM_FAMILY_OPENAI, 0 },
    { "text-completion-openai", LLM_FAMILY_OPENAI, 0 },
    { "azure", LLM_FAMILY_AZURE, 0 },
    { "azure_text", LLM_FAMILY_AZURE, 0 },
    { "azure_ai", LLM_FAMILY_AZURE_AI, 0 },
    { "anthropic", LLM_FAMILY_ANTHROPIC, 0 },
    { "gemini", LLM_FAMILY_GEMINI, 0 },
    { "vertex_ai", LLM_FAMILY_VERTEX, 1 },
    { "bedrock", LLM_FAMILY_BEDROCK, 1 },
    { "mistral", LLM_FAMILY_MISTRAL, 0 },
    { "codestral", LLM_FAMILY_MISTRAL, 0 },
    { "text-completion-codestral", LLM_FAMILY_MISTRAL, 0 },
    { "cohere", LLM_FAMILY_COHERE, 0 },
    { "cohere_chat", LLM_FAMILY_COHERE, 0 },
    { "groq", LLM_FAMILY_GROQ, 0 },
    { "deepseek", LLM_FAMILY_DEEPSEEK, 0 },
    { "xai", LLM_FAMILY_XAI, 0 },
    { "together_ai", LLM_FAMILY_TOGETHER, 0 },
    { "fireworks_ai", LLM_FAMILY_FIREWORKS, 1 },
    { "openrouter", LLM_FAMILY_OPENROUTER, 0 },
    { "perplexity", LLM_FAMILY_PERPLEXITY, 0 },
    { "cerebras", LLM_FAMILY_CEREBRAS, 0 },
    { "ollama", LLM_FAMILY_OLLAMA, 1 },
    { "hosted_vllm", LLM_FAMILY_VLLM, 0 },
    { NULL, 0, 0 }
};


int
llm_field_find(const char *text, size_t len, llm_field_name_t *name)
{
    int                      i;
    const llm_field_text_t  *t;

    name->tier = LLM_TIER_DEFAULT;
    name->above = 0;

    for (i = 0; i < 2; i++) {
        if (llm_field_tier(text, &len, &name->tier) == LLM_NOT_FOUND
            && llm_field_above(text, &len, &name->above) == LLM_NOT_FOUND)
        {
            break;
        }
    }

    for (t = llm_field_texts; t->name; t++) {

        if (strlen(t->name) == len && memcmp(t->name, text, len) == 0) {

            /* factors and limits have one column */

            if (t->field >= LLM_FIELD_FACTOR_US && i) {
                return LLM_NOT_FOUND;
            }

            name->name = t->name;
            name->field = t->field;
            name->last = t->last;
            name->old = t->old;

            return LLM_OK;
        }
    }

    return LLM_NOT_FOUND;
}


/* a suffix that was read is no longer part of the name */

static int
llm_field_tier(const char *text, size_t *len, unsigned *tier)
{
    size_t    n;
    unsigned  i;

    if (*tier != LLM_TIER_DEFAULT) {
        return LLM_NOT_FOUND;
    }

    for (i = 0; i < sizeof(llm_field_tiers) / sizeof(llm_field_tiers[0]);
         i++)
    {
        n = strlen(llm_field_tiers[i].suffix);

        if (*len > n
            && memcmp(text + *len - n, llm_field_tiers[i].suffix, n) == 0)
        {
            *tier = llm_field_tiers[i].tier;
            *len -= n;
            return LLM_OK;
        }
    }

    return LLM_NOT_FOUND;
}


static int
llm_field_above(const char *text, size_t *len, uint32_t *above)
{
    size_t    i;
    uint64_t  n, power;

    static const char  before[] = "_above_";
    static const char  behind[] = "_tokens";

    i = *len;

    if (*above
        || i < sizeof(behind)
        || memcmp(text + i - (sizeof(behind) - 1), behind, sizeof(behind) - 1)
           != 0)
    {
        return LLM_NOT_FOUND;
    }

    i -= sizeof(behind) - 1;
    power = 1;

    if (text[i - 1] == 'k') {
        power = 1000;
        i--;
    }

    n = 0;

    while (i && text[i - 1] >= '0' && text[i - 1] <= '9') {

        n += power * (uint64_t) (text[--i] - '0');
        power *= 10;

        if (n > UINT32_MAX || power > (uint64_t) UINT32_MAX * 10) {
            return LLM_NOT_FOUND;
        }
    }

    if (n == 0
        || i < sizeof(before)
        || memcmp(text + i - (sizeof(before) - 1), before, sizeof(before) - 1)
           != 0)
    {
        return LLM_NOT_FOUND;
    }

    *above = (uint32_t) n;
    *len = i - (sizeof(before) - 1);

    return LLM_OK;
}


const char *
llm_field_value(unsigned field, const char *text, size_t len, int64_t *value)
{
    if (field >= LLM_FIELDS_PRICED) {

        /* what is not the text of a number is none of a decimal either */

        *value = (llm_decimal(text, len, 0) >= 0)
                 ? llm_json_whole((const unsigned char *) text, len) : -1;

        return (*value >= 1) ? NULL : "is not a whole number of at least 1";
    }

    if (field >= LLM_FIELD_FACTOR_US) {
        return llm_field_factor(text, len, value);
    }

    if (field < LLM_FIELD_INPUT_SECOND) {
        *value = llm_decimal(text, len, 12);

        if (*value == -1) {
            return "is not a price in USD per token";
        }

        if (*value == -2 || *value > LLM_PRICE_MAX) {
            return "is over 0.001 USD per token, which no model costs";
        }

        return NULL;
    }

    *value = llm_decimal(text, len, (field == LLM_FIELD_FILE_SEARCH) ? 9 : 12);

    if (*value == -1) {
        return "is not a price in USD";
    }

    if (*value == -2 || *value > LLM_PRICE_UNIT_MAX) {
        return "is over 100 USD, which nothing of the kind costs";
    }

    return NULL;
}


static const char *
llm_field_factor(const char *text, size_t len, int64_t *value)
{
    *value = llm_decimal(text, len, 6);

    if (*value < 1 || *value > 100 * LLM_PRICE_ONE) {
        return "is not a factor from 0.000001 to 100";
    }

    return NULL;
}


uint32_t
llm_family_find(const char *text, size_t len)
{
    size_t                    n;
    const llm_family_text_t  *f;

    if (len == 0) {
        return 0;
    }

    for (f = llm_families; f->name; f++) {

        n = strlen(f->name);

        if ((len == n || (f->start && len > n))
            && memcmp(f->name, text, n) == 0)
        {
            return f->family;
        }
    }

    return LLM_FAMILY_OTHER;
}
