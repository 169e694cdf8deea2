
/*
 * Copyright (C) nginx-cycles authors
 *
 * What is reserved must cover what a provider may bill.  A limit that the
 * client gives is taken as it is; where there is none, it is the most that the
 * table knows of, or a constant that is named here.
 */


#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "llm_bound.h"


#define LLM_BOUND_MOST        ((int64_t) 1 << 60)

/* a context of a model whose table has none */

#define LLM_BOUND_CONTEXT     128000

/* searches of a request that does not bound them */

#define LLM_BOUND_SEARCHES    5

/* tokens and pixels of the dearest image that is usual */

#define LLM_BOUND_IMAGE       6240
#define LLM_BOUND_PIXELS      (1792 * 1024)

/*
 * Speech has no less than 8 kbit/s, which is a byte for each millisecond, and
 * 10 tokens for a second; a character that is spoken is less than 2 tokens.
 */

#define LLM_BOUND_MS_TOKEN    100
#define LLM_BOUND_SPOKEN      2

/* Claude's newer vocabulary came with 4.7 */

#define LLM_BOUND_CLAUDE      1200
#define LLM_BOUND_CLAUDE_NEW  1500


static int64_t llm_bound_input(const llm_bound_t *bound,
    const llm_facts_t *facts, const llm_price_t *price);
static int64_t llm_bound_output(const llm_bound_t *bound,
    const llm_facts_t *facts, const llm_price_t *price);
static void llm_bound_pieces(const llm_bound_t *bound,
    const llm_facts_t *facts, llm_usage_t *usage);
static void llm_bound_tools(const llm_bound_t *bound,
    const llm_facts_t *facts, llm_usage_t *usage);
static int64_t llm_bound_with(int64_t count, int64_t factor, int64_t margin);
static int64_t llm_bound_times(int64_t a, int64_t b);


void
llm_bound(const llm_bound_t *bound, const llm_facts_t *facts,
    const llm_price_t *price, llm_usage_t *usage)
{
    llm_usage_init(usage);

    usage->tier = facts->tier;
    usage->tier_known = 1;
    usage->geo = facts->geo;
    usage->fast = facts->fast;
    usage->search = facts->search;

    usage->input_audio = llm_bound_with(facts->audio_tokens, 1000,
                                        bound->margin);
    usage->input_image = llm_bound_with(facts->image_tokens, 1000,
                                        bound->margin);
    usage->input_video = llm_bound_with(facts->video_tokens, 1000,
                                        bound->margin);

    usage->input = llm_bound_input(bound, facts, price);
    usage->output = llm_bound_output(bound, facts, price);

    llm_bound_pieces(bound, facts, usage);
    llm_bound_tools(bound, facts, usage);
}


static int64_t
llm_bound_input(const llm_bound_t *bound, const llm_facts_t *facts,
    const llm_price_t *price)
{
    int64_t  media, text, input, context;

    media = facts->audio_tokens + facts->image_tokens + facts->video_tokens;
    text = facts->input_tokens - media;

    /* margins of the kinds are rounded on their own */

    input = llm_bound_with(text, bound->factor, bound->margin)
            + llm_bound_with(facts->audio_tokens, 1000, bound->margin)
            + llm_bound_with(facts->image_tokens, 1000, bound->margin)
            + llm_bound_with(facts->video_tokens, 1000, bound->margin);

    if (!facts->stateful) {
        return input;
    }

    if (bound->held >= 0) {
        return input + bound->held;
    }

    context = price ? llm_price_max_input(price) : -1;

    if (context < 0) {
        context = LLM_BOUND_CONTEXT;
    }

    return (input > context) ? input : context;
}


static int64_t
llm_bound_output(const llm_bound_t *bound, const llm_facts_t *facts,
    const llm_price_t *price)
{
    int64_t  output;

    switch (bound->api) {

    case LLM_API_EMBEDDINGS:
    case LLM_API_GEMINI_EMBED:
    case LLM_API_COHERE_EMBED:
    case LLM_API_SPEECH:
    case LLM_API_IMAGES:
        return 0;

    default:
        break;
    }

    output = facts->max_tokens;

    if (output < 0 && price) {
        output = llm_price_max_output(price);
    }

    if (output < 0) {
        output = bound->max_output;
    }

    return llm_bound_times(output, facts->choices);
}


/* what is made or heard, by the piece and by tokens: the price decides */

static void
llm_bound_pieces(const llm_bound_t *bound, const llm_facts_t *facts,
    llm_usage_t *usage)
{
    switch (bound->api) {

    case LLM_API_IMAGES:
        usage->images = (facts->images > 0) ? facts->images : 1;
        usage->pixels = llm_bound_times(usage->images,
                                        facts->width
                                        ? facts->width * facts->height
                                        : LLM_BOUND_PIXELS);
        usage->output = llm_bound_times(usage->images, LLM_BOUND_IMAGE);
        usage->output_image = usage->output;
        return;

    case LLM_API_TRANSCRIPTIONS:
        usage->audio_ms = facts->media_bytes;
        usage->input -= usage->input_audio;
        usage->input_audio = facts->media_bytes / LLM_BOUND_MS_TOKEN + 1;
        usage->input += usage->input_audio;
        return;

    case LLM_API_SPEECH:
        usage->characters = facts->characters;
        usage->output = llm_bound_times(facts->characters, LLM_BOUND_SPOKEN);
        usage->output_audio = usage->output;
        return;

    case LLM_API_COHERE_EMBED:
        usage->queries = 1;
        return;

    default:
        return;
    }
}


static void
llm_bound_tools(const llm_bound_t *bound, const llm_facts_t *facts,
    llm_usage_t *usage)
{
    int64_t  uses;

    uses = (facts->tool_uses >= 0) ? facts->tool_uses : LLM_BOUND_SEARCHES;

    if (facts->web_search) {

        /* an option of chat completions is one search */

        usage->web_searches = (bound->api == LLM_API_CHAT
                               && facts->ntools == 0) ? 1 : uses;

    } else if (bound->provider == LLM_PERPLEXITY) {
        usage->web_searches = 1;
    }

    if (facts->file_search) {
        usage->file_searches = uses;
    }

    if (facts->code_session) {
        usage->code_sessions = 1;
    }
}


int64_t
llm_bound_cost(const llm_facts_t *facts, const llm_price_t *price,
    const llm_usage_t *usage)
{
    int64_t      most, asked;
    unsigned     writes;
    llm_usage_t  standard;

    writes = facts->cache_write_1h ? LLM_WRITES_LONG
             : facts->cache_write ? LLM_WRITES : LLM_WRITES_UNASKED;

    standard = *usage;
    standard.tier = LLM_TIER_DEFAULT;

    most = llm_price_most(price, &standard, writes);

    if (usage->tier == LLM_TIER_PRIORITY || usage->tier == LLM_TIER_ULTRAFAST)
    {
        asked = llm_price_most(price, usage, writes);
        most = (asked > most) ? asked : most;
    }

    return most;
}


/* "claude-opus-4-7", "anthropic.claude-3-5-sonnet-20241022-v2:0" */

int64_t
llm_bound_factor(const unsigned char *model, size_t len)
{
    size_t   i, n;
    int64_t  numbers[2], number;

    static const char  claude[] = "claude";

    n = sizeof(claude) - 1;

    for (i = 0; i + n <= len; i++) {
        if ((model[i] | 0x20) == claude[0]
            && strncasecmp((const char *) model + i, claude, n) == 0)
        {
            break;
        }
    }

    if (i + n > len) {
        return 1000;
    }

    numbers[0] = 0;
    numbers[1] = 0;
    n = 0;

    while (i < len && n < 2) {

        if (!isdigit(model[i])) {
            i++;
            continue;
        }

        for (number = 0; i < len && isdigit(model[i]); i++) {
            number = (number < 100) ? number * 10 + (model[i] - '0') : number;
        }

        /* a date is none */

        if (number >= 100) {
            break;
        }

        numbers[n++] = number;
    }

    return (numbers[0] > 4 || (numbers[0] == 4 && numbers[1] >= 7))
           ? LLM_BOUND_CLAUDE_NEW : LLM_BOUND_CLAUDE;
}


/* factor and margin in 1/1000, rounded up once */

static int64_t
llm_bound_with(int64_t count, int64_t factor, int64_t margin)
{
    unsigned __int128  product;

    if (count <= 0) {
        return 0;
    }

    product = (unsigned __int128) count * (uint64_t) factor
              * (uint64_t) margin;
    product = (product + 999999) / 1000000;

    return (product > (unsigned __int128) LLM_BOUND_MOST) ? LLM_BOUND_MOST
                                                          : (int64_t) product;
}


static int64_t
llm_bound_times(int64_t a, int64_t b)
{
    int64_t  product;

    if (a <= 0 || b <= 0) {
        return 0;
    }

    if (__builtin_mul_overflow(a, b, &product) || product > LLM_BOUND_MOST) {
        return LLM_BOUND_MOST;
    }

    return product;
}
