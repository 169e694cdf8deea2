
/*
 * Copyright (C) nginx-cycles authors
 *
 * From the counts that a provider reports, whatever is inside of what with
 * it, to those of llm_usage_t.
 *
 *     cached input    inside input: OpenAI, Azure, Gemini, DeepSeek, Groq,
 *                     Mistral, xAI, OpenRouter, Fireworks, vLLM
 *                     beside it: Anthropic on any host, Bedrock Converse
 *     reasoning       inside output: OpenAI, Azure, Anthropic, DeepSeek, Groq
 *                     beside it: Gemini, Interactions, xAI chat, Perplexity
 *
 * Where reasoning is beside the output and not told, the total shows it.
 */


#include <string.h>

#include "llm_dialect.h"


static int64_t llm_usage_sum(int64_t base, int64_t more);
static int64_t llm_usage_part(int64_t inside, int64_t apart);


void
llm_usage_derive(llm_usage_t *usage, const int64_t *counts, unsigned early)
{
    int64_t         input, output, total, apart, absent, hidden;
    const int64_t  *more;

    apart = counts[LLM_COUNT_REASONING_APART];

    if (counts[LLM_COUNT_REASONING_SOMEWHERE] >= 0
        && (counts[LLM_COUNT_CITATIONS] >= 0
            || counts[LLM_COUNT_SEARCHES] >= 0))
    {
        /* Perplexity: it is in the total neither */

        apart = counts[LLM_COUNT_REASONING_SOMEWHERE];
    }

    input = counts[LLM_COUNT_INPUT];
    output = counts[LLM_COUNT_OUTPUT];
    total = counts[LLM_COUNT_TOTAL];

    if (input >= 0) {
        input = llm_usage_sum(input, counts[LLM_COUNT_INPUT_TOOLS]);
        input = llm_usage_sum(input, counts[LLM_COUNT_CACHED_APART]);
        input = llm_usage_sum(input, counts[LLM_COUNT_WRITE_APART]);
    }

    if (output >= 0 || apart >= 0) {
        output = llm_usage_sum(output < 0 ? 0 : output, apart);
    }

    if (output < 0 && input >= 0 && total >= input) {
        output = total - input;
    }

    if (input < 0 && output >= 0 && total >= output) {
        input = total - output;
    }

    hidden = (input >= 0 && output >= 0) ? total - input - output : 0;

    if (hidden > 0) {
        output += hidden;
    }

    more = counts + LLM_COUNT_MORE;

    if (input >= 0) {
        input = llm_usage_sum(input, more[LLM_MORE_INPUT]);
        input = llm_usage_sum(input, more[LLM_MORE_CACHED]);
        input = llm_usage_sum(input, more[LLM_MORE_WRITE]);
    }

    if (output >= 0) {
        output = llm_usage_sum(output, more[LLM_MORE_OUTPUT]);
    }

    usage->input = input;
    usage->output = output;

    /* a count that was left out of a usage is zero */

    absent = (input >= 0 || output >= 0) ? 0 : -1;

    usage->cached_input = llm_usage_part(counts[LLM_COUNT_CACHED],
                                         counts[LLM_COUNT_CACHED_APART]);
    if (usage->cached_input < 0) {
        usage->cached_input = absent;
    }

    usage->cached_input = llm_usage_sum(usage->cached_input,
                                        more[LLM_MORE_CACHED]);

    usage->cache_write = llm_usage_part(counts[LLM_COUNT_WRITE],
                                        counts[LLM_COUNT_WRITE_APART]);
    if (usage->cache_write < 0) {
        usage->cache_write = absent;
    }

    usage->cache_write = llm_usage_sum(usage->cache_write,
                                       more[LLM_MORE_WRITE]);

    usage->reasoning = llm_usage_part(counts[LLM_COUNT_REASONING], apart);

    if (usage->reasoning < 0) {
        usage->reasoning = counts[LLM_COUNT_REASONING_SOMEWHERE];
    }

    if (usage->reasoning < 0 && hidden <= 0 && !early) {
        usage->reasoning = absent;
    }

    usage->cache_write_1h = counts[LLM_COUNT_WRITE_1H];

    if (more[LLM_MORE_WRITE_1H] > 0) {
        usage->cache_write_1h = llm_usage_sum(
                                   usage->cache_write_1h < 0
                                   ? 0 : usage->cache_write_1h,
                                   more[LLM_MORE_WRITE_1H]);
    }

    usage->input_audio = counts[LLM_COUNT_INPUT_AUDIO];
    usage->input_image = counts[LLM_COUNT_INPUT_IMAGE];
    usage->input_video = counts[LLM_COUNT_INPUT_VIDEO];
    usage->cached_audio = counts[LLM_COUNT_CACHED_AUDIO];
    usage->output_audio = counts[LLM_COUNT_OUTPUT_AUDIO];
    usage->output_image = counts[LLM_COUNT_OUTPUT_IMAGE];
    usage->citations = counts[LLM_COUNT_CITATIONS];

    usage->web_searches = counts[LLM_COUNT_SEARCHES];
    usage->queries = counts[LLM_COUNT_QUERIES];
    usage->images = counts[LLM_COUNT_IMAGES];
    usage->characters = counts[LLM_COUNT_CHARACTERS];
    usage->audio_ms = counts[LLM_COUNT_MS];
}


/* no count is over 2^53, and few are added */

static int64_t
llm_usage_sum(int64_t base, int64_t more)
{
    return base + (more < 0 ? 0 : more);
}


static int64_t
llm_usage_part(int64_t inside, int64_t apart)
{
    return (inside < 0) ? apart : inside;
}
