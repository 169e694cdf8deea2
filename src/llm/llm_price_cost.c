
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a usage costs.  Each part of it is priced exactly, the sum is
 * multiplied by what a place or a speed cost more, and divided once.
 */


#include <string.h>

#include "llm_price_row.h"


/*
 * The sum is in 1/2000 pico-USD: milliseconds of a price per second, and
 * halves of any price, are whole numbers of it.
 */

#define LLM_COST_UNIT      2000

/* fees of tools that the table does not have, in pico-USD */

#define LLM_COST_FILE_SEARCH   2500000000
#define LLM_COST_CODE_SESSION  30000000000
#define LLM_COST_SEARCH        10000000000
#define LLM_COST_SEARCH_XAI    25000000000
#define LLM_COST_SEARCH_GEMINI 35000000000

#define LLM_COST_MOST      (~(unsigned __int128) 0)

#define LLM_COST_GOOGLE    (LLM_FAMILY_GEMINI|LLM_FAMILY_VERTEX)

/* who writes a cache only if a request asks for it */

#define LLM_COST_ASKED     (LLM_FAMILY_ANTHROPIC|LLM_FAMILY_BEDROCK           \
                            |LLM_FAMILY_VERTEX|LLM_FAMILY_GEMINI)


/* the prices that count for one request */

typedef struct {
    int64_t              value[LLM_FIELDS_PRICED];    /* -1: none */
    uint64_t             rank[LLM_FIELDS_PRICED];     /* of the column */
    unsigned char        tier[LLM_FIELDS_PRICED];
    unsigned char        half[LLM_FIELDS_PRICED];
} llm_column_t;


typedef struct {
    const llm_price_t   *price;
    const llm_usage_t   *usage;
    const llm_column_t  *column;
    unsigned __int128    sum;
    unsigned __int128    unit;            /* of the sum, in 1 pico-USD */
    unsigned             used:1;
    unsigned             priced:1;        /* at least in part */
} llm_cost_t;


static int64_t llm_cost(const llm_price_t *price, const llm_usage_t *usage,
    const llm_column_t *column, unsigned *unpriced);
static void llm_cost_column(llm_column_t *column, const llm_price_t *price,
    int64_t input, llm_tier_t tier);
static void llm_cost_batch(llm_column_t *column, const llm_price_t *price);
static void llm_cost_input(llm_cost_t *c);
static void llm_cost_written(llm_cost_t *c, int64_t written);
static void llm_cost_output(llm_cost_t *c);
static void llm_cost_pieces(llm_cost_t *c, int tokens);
static void llm_cost_factors(llm_cost_t *c);
static void llm_cost_tools(llm_cost_t *c);
static int64_t llm_cost_search(const llm_cost_t *c);
static int64_t llm_cost_session(const llm_cost_t *c);
static unsigned llm_cost_of(const llm_cost_t *c, unsigned field,
    unsigned other);
static inline void llm_cost_part(llm_cost_t *c, int64_t units,
    unsigned field, unsigned other);
static inline void llm_cost_add(llm_cost_t *c, int64_t units, unsigned field);
static inline void llm_cost_sum(llm_cost_t *c, int64_t units, int64_t price,
    unsigned part);
static void llm_cost_product(llm_cost_t *c, int64_t units, int64_t price,
    unsigned part);
static int64_t llm_cost_least(int64_t a, int64_t b);


int64_t
llm_price_cost(const llm_price_t *price, const llm_usage_t *usage,
    unsigned *unpriced)
{
    llm_column_t  column;

    llm_cost_column(&column, price, usage->input, usage->tier);

    return llm_cost(price, usage, &column, unpriced);
}


static int64_t
llm_cost(const llm_price_t *price, const llm_usage_t *usage,
    const llm_column_t *column, unsigned *unpriced)
{
    int                tokens;
    llm_cost_t         c;
    unsigned __int128  cost;

    c.price = price;
    c.usage = usage;
    c.column = column;
    c.sum = 0;
    c.unit = LLM_COST_UNIT;
    c.used = (usage->input > 0 || usage->output > 0);
    c.priced = 0;

    tokens = (c.used && (price->measures & LLM_MEASURE_TOKENS));

    if (c.used) {
        llm_cost_input(&c);
        llm_cost_output(&c);
    }

    llm_cost_add(&c, usage->citations, LLM_FIELD_CITATION);

    llm_cost_factors(&c);
    llm_cost_pieces(&c, tokens);

    if (unpriced) {
        *unpriced = (c.used && !c.priced);
    }

    llm_cost_tools(&c);

    c.unit *= LLM_PRICE_MICROCENT;

    cost = c.sum / c.unit;
    cost += (cost * c.unit != c.sum);

    return (cost > INT64_MAX) ? INT64_MAX : (int64_t) cost;
}


int64_t
llm_price_most(const llm_price_t *price, const llm_usage_t *usage,
    unsigned writes)
{
    int64_t         text;
    unsigned        dearest;
    llm_usage_t     u;
    llm_column_t    column;
    const int64_t  *value;

    u = *usage;
    value = column.value;

    llm_cost_column(&column, price, u.input, u.tier);

    text = u.input - (u.input_audio > 0 ? u.input_audio : 0)
           - (u.input_image > 0 ? u.input_image : 0)
           - (u.input_video > 0 ? u.input_video : 0);

    if (writes == LLM_WRITES_UNASKED
        && !(price->family & LLM_COST_ASKED)
        && value[LLM_FIELD_CACHE_WRITE] > value[LLM_FIELD_INPUT])
    {
        writes = LLM_WRITES;
    }

    if (writes != LLM_WRITES_UNASKED) {
        u.cache_write = text;
        u.cache_write_1h = (writes == LLM_WRITES_LONG) ? text : -1;
    }

    dearest = LLM_FIELD_OUTPUT;

    if (value[LLM_FIELD_REASONING] > value[dearest]) {
        dearest = LLM_FIELD_REASONING;
    }

    if (value[LLM_FIELD_OUTPUT_AUDIO] > value[dearest]) {
        dearest = LLM_FIELD_OUTPUT_AUDIO;
    }

    if (value[LLM_FIELD_OUTPUT_IMAGE] > value[dearest]) {
        dearest = LLM_FIELD_OUTPUT_IMAGE;
    }

    u.reasoning = (dearest == LLM_FIELD_REASONING) ? u.output : -1;
    u.output_audio = (dearest == LLM_FIELD_OUTPUT_AUDIO) ? u.output : -1;
    u.output_image = (dearest == LLM_FIELD_OUTPUT_IMAGE) ? u.output : -1;

    return llm_cost(price, &u, &column, NULL);
}


int64_t
llm_microcents(int64_t pico)
{
    return pico / LLM_PRICE_MICROCENT + (pico % LLM_PRICE_MICROCENT > 0);
}


/*
 * Of the columns of a field that this request falls into, the highest context
 * counts before the tier does.
 */

static void
llm_cost_column(llm_column_t *column, const llm_price_t *price, int64_t input,
    llm_tier_t tier)
{
    int                inclusive;
    uint64_t           rank;
    unsigned           i;
    const llm_rate_t  *r, *last;

    for (i = 0; i < LLM_FIELDS_PRICED; i++) {
        column->value[i] = -1;
        column->rank[i] = 0;
        column->tier[i] = LLM_TIER_DEFAULT;
        column->half[i] = 0;
    }

    inclusive = (price->family == LLM_FAMILY_XAI);

    for (r = price->rates, last = r + price->nrates; r < last; r++) {

        if (r->field >= LLM_FIELDS_PRICED
            || (r->above && input + inclusive <= r->above))
        {
            continue;
        }

        rank = (uint64_t) r->above * 4 + 1;

        if (r->tier == tier) {
            rank += 2;

        } else if (r->tier == LLM_TIER_PRIORITY
                   && tier == LLM_TIER_ULTRAFAST)
        {
            rank += 1;

        } else if (r->tier != LLM_TIER_DEFAULT) {
            continue;
        }

        if (rank < column->rank[r->field]) {
            continue;
        }

        column->rank[r->field] = rank;
        column->value[r->field] = r->value;
        column->tier[r->field] = r->tier;
    }

    if (tier == LLM_TIER_BATCH) {
        llm_cost_batch(column, price);
    }
}


/*
 * All providers have batches at half price.  So it is for what has no price of
 * batches in this context, but not for less than the other tokens cost; and
 * caching, where a row has such prices and none for it, is not cheaper.
 */

static void
llm_cost_batch(llm_column_t *column, const llm_price_t *price)
{
    uint64_t           known;
    unsigned           i, of;
    const llm_rate_t  *r, *last;

    known = 0;

    for (r = price->rates, last = r + price->nrates; r < last; r++) {

        if (r->tier == LLM_TIER_BATCH) {
            known |= (uint64_t) 1 << r->field;
        }
    }

    for (i = 0; i < LLM_FIELD_INPUT_SECOND; i++) {

        if (column->tier[i] == LLM_TIER_BATCH || column->value[i] < 0) {
            continue;
        }

        if (i >= LLM_FIELD_CACHE_READ && i <= LLM_FIELD_CACHE_READ_AUDIO
            && i != LLM_FIELD_INPUT_AUDIO)
        {
            of = (i == LLM_FIELD_CACHE_WRITE_1H
                  || i == LLM_FIELD_CACHE_WRITE_12H)
                 ? LLM_FIELD_CACHE_WRITE : i;

            column->half[i] = (known == 0 || (known >> i & 1)
                               || (known >> of & 1));
            continue;
        }

        of = (i == LLM_FIELD_INPUT || i == LLM_FIELD_INPUT_AUDIO
              || i == LLM_FIELD_INPUT_IMAGE || i == LLM_FIELD_INPUT_VIDEO)
             ? LLM_FIELD_INPUT : LLM_FIELD_OUTPUT;

        if (column->tier[of] == LLM_TIER_BATCH
            && column->value[of] > column->value[i] / 2)
        {
            column->value[i] = column->value[of];

        } else {
            column->half[i] = 1;
        }
    }
}


/*
 * Cached and written tokens are taken out first: of audio, images and video
 * no more is left to bill than the cache has not served.
 */

static void
llm_cost_input(llm_cost_t *c)
{
    int64_t             left, cached, written, audio, part;
    unsigned            of;
    const llm_usage_t  *u;

    u = c->usage;

    cached = (u->cached_input > 0) ? u->cached_input : 0;
    written = (u->cache_write > 0) ? u->cache_write : 0;

    left = (u->input > cached) ? u->input - cached : 0;
    left = (left > written) ? left - written : 0;

    audio = llm_cost_least(u->cached_audio, cached);

    of = llm_cost_of(c, LLM_FIELD_CACHE_READ, LLM_FIELD_INPUT);

    llm_cost_add(c, cached - audio, of);
    llm_cost_part(c, audio, LLM_FIELD_CACHE_READ_AUDIO, of);

    llm_cost_written(c, written);

    part = (u->input_audio > audio) ? u->input_audio - audio : 0;
    part = llm_cost_least(part, left);
    left -= part;

    if (u->audio_ms <= 0 || c->column->value[LLM_FIELD_AUDIO_SECOND] < 0) {
        llm_cost_part(c, part, LLM_FIELD_INPUT_AUDIO, LLM_FIELD_INPUT);
    }

    part = llm_cost_least(u->input_image, left);
    left -= part;

    llm_cost_part(c, part, LLM_FIELD_INPUT_IMAGE, LLM_FIELD_INPUT);

    part = llm_cost_least(u->input_video, left);
    left -= part;

    llm_cost_part(c, part, LLM_FIELD_INPUT_VIDEO, LLM_FIELD_INPUT);

    /* a text that is billed by its length is not billed by its tokens */

    if (u->characters <= 0 || c->column->value[LLM_FIELD_CHARACTER] < 0) {
        llm_cost_add(c, left, LLM_FIELD_INPUT);
    }
}


/* a price of 0 says that writing costs no more than the input does */

static void
llm_cost_written(llm_cost_t *c, int64_t written)
{
    int64_t   longer;
    unsigned  of, of_longer;

    if (written == 0) {
        return;
    }

    of = llm_cost_of(c, LLM_FIELD_CACHE_WRITE, LLM_FIELD_INPUT);

    if (c->column->value[of] == 0) {
        of = LLM_FIELD_INPUT;
    }

    of_longer = llm_cost_of(c, LLM_FIELD_CACHE_WRITE_12H,
                            llm_cost_of(c, LLM_FIELD_CACHE_WRITE_1H, of));

    longer = llm_cost_least(c->usage->cache_write_1h, written);

    llm_cost_add(c, written - longer, of);
    llm_cost_add(c, longer, of_longer);
}


static void
llm_cost_output(llm_cost_t *c)
{
    int64_t             left, part;
    unsigned            of, of_part;
    const llm_usage_t  *u;

    u = c->usage;

    of = LLM_FIELD_OUTPUT;

    if (c->column->value[of] <= 0) {

        /* of what makes images, the table may price these alone */

        of = llm_cost_of(c, LLM_FIELD_OUTPUT_IMAGE,
                         llm_cost_of(c, of, LLM_FIELD_INPUT));
    }

    left = (u->output > 0) ? u->output : 0;

    /* a price of the column that reasoning has none in is that of all output */

    of_part = llm_cost_of(c, LLM_FIELD_REASONING, of);

    if (c->column->rank[of] > c->column->rank[of_part]) {
        of_part = of;
    }

    part = llm_cost_least(u->reasoning, left);
    left -= part;

    llm_cost_add(c, part, of_part);

    part = llm_cost_least(u->output_audio, left);
    left -= part;

    llm_cost_part(c, part, LLM_FIELD_OUTPUT_AUDIO, of);

    of_part = llm_cost_of(c, LLM_FIELD_OUTPUT_IMAGE, of);

    part = llm_cost_least(u->output_image, left);
    left -= part;

    llm_cost_add(c, part, of_part);

    /* what makes images and does not tell how many tokens they are */

    if (u->output_image < 0 && c->price->pictures) {
        of = of_part;
    }

    llm_cost_add(c, left, of);
}


/* what the place and the speed cost more, of all that is billed by tokens */

static void
llm_cost_factors(llm_cost_t *c)
{
    int64_t   factor;
    unsigned  i, fields[2];

    fields[0] = (c->usage->geo == LLM_GEO_US) ? LLM_FIELD_FACTOR_US
                : (c->usage->geo == LLM_GEO_EU) ? LLM_FIELD_FACTOR_EU
                : (c->usage->geo == LLM_GEO_REGION) ? LLM_FIELD_FACTOR_REGION
                : LLM_FIELDS_PRICED;
    fields[1] = c->usage->fast ? LLM_FIELD_FACTOR_FAST : LLM_FIELDS_PRICED;

    for (i = 0; i < 2; i++) {

        if (fields[i] == LLM_FIELDS_PRICED) {
            continue;
        }

        factor = c->column->value[fields[i]];

        if (factor < 0 || factor == LLM_PRICE_ONE) {
            continue;
        }

        if (__builtin_mul_overflow(c->sum, (unsigned __int128) factor,
                                   &c->sum))
        {
            c->sum = LLM_COST_MOST;
        }

        c->unit *= LLM_PRICE_ONE;
    }
}


/* what is not billed by tokens; tokens: there are some, and a price for them */

static void
llm_cost_pieces(llm_cost_t *c, int tokens)
{
    int64_t             second, picture;
    const int64_t      *value;
    const llm_usage_t  *u;

    u = c->usage;
    value = c->column->value;

    c->used |= (u->audio_ms > 0 || u->characters > 0 || u->images > 0
                || u->queries > 0);

    if (u->audio_ms > 0) {
        second = (value[LLM_FIELD_OUTPUT_SECOND]
                  > value[LLM_FIELD_INPUT_SECOND])
                 ? value[LLM_FIELD_OUTPUT_SECOND]
                 : value[LLM_FIELD_INPUT_SECOND];

        if (tokens || second < 0) {
            second = value[LLM_FIELD_AUDIO_SECOND];
        }

        llm_cost_sum(c, u->audio_ms, second, 1000);
    }

    llm_cost_add(c, u->characters, LLM_FIELD_CHARACTER);
    llm_cost_add(c, u->queries, LLM_FIELD_QUERY);

    if (c->used) {
        llm_cost_add(c, 1, LLM_FIELD_REQUEST);
    }

    if (tokens && u->output > 0) {
        return;
    }

    /* vendors call one and the same price by either name */

    picture = value[LLM_FIELD_PICTURE_OUT];

    if (picture <= 0) {
        picture = value[LLM_FIELD_PICTURE_IN];
    }

    if (picture >= 0) {
        llm_cost_sum(c, u->images, picture, 1);
        return;
    }

    llm_cost_part(c, u->pixels, LLM_FIELD_PIXEL_IN, LLM_FIELD_PIXEL_OUT);
}


static void
llm_cost_tools(llm_cost_t *c)
{
    int64_t  n, fee;

    n = c->usage->web_searches;

    /* the prompt is billed, however often it was searched for */

    n = c->price->per_prompt ? llm_cost_least(n, 1) : n;

    if (n > 0) {
        llm_cost_sum(c, n, llm_cost_search(c), 1);
    }

    fee = c->column->value[LLM_FIELD_FILE_SEARCH];

    llm_cost_sum(c, c->usage->file_searches,
                 (fee >= 0) ? fee : LLM_COST_FILE_SEARCH, 1);

    if (c->usage->code_sessions > 0) {
        llm_cost_sum(c, c->usage->code_sessions, llm_cost_session(c), 1);
    }
}


/* of the size that was asked for; medium, unless that is told */

static int64_t
llm_cost_search(const llm_cost_t *c)
{
    int64_t   fee;
    unsigned  field;

    field = (c->usage->search == LLM_SEARCH_LOW) ? LLM_FIELD_SEARCH_LOW
            : (c->usage->search == LLM_SEARCH_HIGH) ? LLM_FIELD_SEARCH_HIGH
            : LLM_FIELD_SEARCH_MEDIUM;

    fee = c->column->value[field];

    if (fee < 0) {
        fee = c->column->value[LLM_FIELD_SEARCH_MEDIUM];
    }

    if (fee >= 0) {
        return fee;
    }

    return (c->price->family & LLM_COST_GOOGLE) ? LLM_COST_SEARCH_GEMINI
           : (c->price->family == LLM_FAMILY_XAI) ? LLM_COST_SEARCH_XAI
           : LLM_COST_SEARCH;
}


/* the table has it in a row of the container that runs the code */

static int64_t
llm_cost_session(const llm_cost_t *c)
{
    int                  azure;
    int64_t              fee;
    const llm_prices_t  *p;

    fee = c->column->value[LLM_FIELD_CODE_SESSION];

    if (fee >= 0) {
        return fee;
    }

    azure = (c->price->family == LLM_FAMILY_AZURE);

    for (p = c->price->prices; p; p = p->base) {
        if (p->session[azure] > 0) {
            return p->session[azure];
        }
    }

    return LLM_COST_CODE_SESSION;
}


/* the field that has a price */

static unsigned
llm_cost_of(const llm_cost_t *c, unsigned field, unsigned other)
{
    return (c->column->value[field] >= 0) ? field : other;
}


/* units at the price of a field, or where it has none at that of another */

static inline void
llm_cost_part(llm_cost_t *c, int64_t units, unsigned field, unsigned other)
{
    if (units > 0) {
        llm_cost_add(c, units, llm_cost_of(c, field, other));
    }
}


static inline void
llm_cost_add(llm_cost_t *c, int64_t units, unsigned field)
{
    if (units > 0) {
        llm_cost_sum(c, units, c->column->value[field],
                     c->column->half[field] ? 2 : 1);
    }
}


/* units, each at a part of the price; of most kinds there are none */

static inline void
llm_cost_sum(llm_cost_t *c, int64_t units, int64_t price, unsigned part)
{
    if (units > 0) {
        llm_cost_product(c, units, price, part);
    }
}


/* not in the place of all its calls, which would be looked at in vain */

static __attribute__((noinline)) void
llm_cost_product(llm_cost_t *c, int64_t units, int64_t price, unsigned part)
{
    unsigned __int128  amount;

    if (price < 0) {
        return;
    }

    c->priced = 1;

    amount = (unsigned __int128) units * (uint64_t) price;

    /* nearly all are whole: it is a call that divides so many bits */

    if (__builtin_mul_overflow(amount, (part == 1) ? c->unit : c->unit / part,
                               &amount)
        || __builtin_add_overflow(c->sum, amount, &c->sum))
    {
        c->sum = LLM_COST_MOST;
    }
}


/* -1, which is not reported, is none */

static int64_t
llm_cost_least(int64_t a, int64_t b)
{
    return (a < 0) ? 0 : (a < b) ? a : b;
}
