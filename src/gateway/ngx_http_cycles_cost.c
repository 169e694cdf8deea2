
/*
 * Copyright (C) nginx-cycles authors
 *
 * From prices and tokens to amounts: what a request may cost, and what it did.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


/* that one reply can have */

#define NGX_HTTP_CYCLES_MOST_IMAGES  1000000

/* of an image whose size was not asked for, in pixels */

#define NGX_HTTP_CYCLES_SIDE         ((int64_t) 1024)


static void ngx_http_cycles_image_price(ngx_http_cycles_ctx_t *ctx,
    llm_price_query_t *query, const char **key);
static void ngx_http_cycles_price_query(ngx_http_cycles_ctx_t *ctx,
    llm_price_query_t *query);
static void ngx_http_cycles_reply_price(ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_learn_turn(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage);
static void ngx_http_cycles_learn_factor(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage);
static void ngx_http_cycles_learn_output(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage);
static void ngx_http_cycles_complete_usage(ngx_http_cycles_ctx_t *ctx,
    llm_usage_t *usage);
static llm_geo_t ngx_http_cycles_geo(ngx_http_cycles_ctx_t *ctx);


/*
 * The row lives as long as the configuration that this request belongs to: a
 * reload does not change what a running request costs.
 */

ngx_int_t
ngx_http_cycles_set_price(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    const char                  *key;
    llm_price_query_t            query;
    ngx_http_cycles_loc_conf_t  *conf;

    conf = ctx->conf;

    if (conf->prices == NULL || ctx->facts == NULL) {
        return NGX_OK;
    }

    ngx_http_cycles_price_query(ctx, &query);

    query.model = ctx->facts->model;
    query.model_len = ctx->facts->model_len;

    ctx->price = llm_prices_find(conf->prices, &query, &key);

    if (ctx->route.api == LLM_API_IMAGES
        && (ctx->price == NULL || !llm_price_has_tokens(ctx->price)))
    {
        ngx_http_cycles_image_price(ctx, &query, &key);
    }

    if (ctx->price == NULL
        && conf->unknown_price == NGX_HTTP_CYCLES_PRICE_MODEL)
    {
        ctx->price = llm_prices_find_named(conf->prices,
                                           conf->unknown_price_model.data,
                                           conf->unknown_price_model.len,
                                           &key);
        ctx->price_assumed = 1;
    }

    if (ctx->price) {
        ctx->price_key.data = (u_char *) key;
        ctx->price_key.len = ngx_strlen(key);
        return NGX_OK;
    }

    if (conf->unit != CYCLES_USD_MICROCENTS
        || (conf->estimate && conf->actual != NGX_HTTP_CYCLES_ACTUAL_AUTO))
    {
        return NGX_OK;
    }

    if (conf->unknown_price == NGX_HTTP_CYCLES_PRICE_DENY) {
        return NGX_ABORT;
    }

    ngx_str_set(&ctx->reason, "UNKNOWN_PRICE");
    ctx->unpriced = 1;

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "cycles: model \"%*s\" has no price, it passes at no cost",
                  query.model_len, query.model);

    return NGX_OK;
}


/*
 * A price of an image may be that of its size and quality: the table has rows
 * as "hd/1024-x-1792/dall-e-3" and "1024-x-1024/dall-e-2".
 */

static void
ngx_http_cycles_image_price(ngx_http_cycles_ctx_t *ctx,
    llm_price_query_t *query, const char **key)
{
    u_char              *p, *last, name[LLM_MODEL_MAX];
    ngx_str_t            quality;
    ngx_uint_t           i;
    llm_facts_t         *facts;
    const char          *found;
    llm_price_query_t    sized;
    const llm_price_t   *price;

    facts = ctx->facts;
    last = name + sizeof(name);

    quality.data = facts->quality;
    quality.len = facts->quality_len;

    if (quality.len == 0) {
        ngx_str_set(&quality, "standard");
    }

    sized = *query;

    for (i = 0; i < 2; i++) {

        p = (i == 0) ? ngx_slprintf(name, last, "%V/", &quality) : name;
        p = ngx_slprintf(p, last, "%L-x-%L/%*s",
                         facts->width ? facts->width : NGX_HTTP_CYCLES_SIDE,
                         facts->width ? facts->height : NGX_HTTP_CYCLES_SIDE,
                         facts->model_len, facts->model);

        sized.model = name;
        sized.model_len = p - name;

        price = llm_prices_find(ctx->conf->prices, &sized, &found);

        if (price) {
            ctx->price = price;
            ctx->image_price = 1;
            *key = found;
            return;
        }
    }
}


static void
ngx_http_cycles_price_query(ngx_http_cycles_ctx_t *ctx,
    llm_price_query_t *query)
{
    ngx_memzero(query, sizeof(llm_price_query_t));

    query->provider = ctx->route.provider;
    query->api = ctx->route.api;
    query->region = ctx->region.data;
    query->region_len = ctx->region.len;
}


char *
ngx_http_cycles_merge_learning(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *conf)
{
    static ngx_str_t  factors = ngx_string("factors");
    static ngx_str_t  turns = ngx_string("turns");

    if (conf->estimate && conf->actual != NGX_HTTP_CYCLES_ACTUAL_AUTO) {
        return NGX_CONF_OK;
    }

    conf->factors = ngx_http_cycles_zone_area(cf, &factors,
                                              sizeof(llm_factors_t));
    conf->turns = ngx_http_cycles_zone_area(cf, &turns, sizeof(llm_turns_t));

    return (conf->factors && conf->turns) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


void
ngx_http_cycles_set_factor(ngx_http_cycles_ctx_t *ctx)
{
    int64_t       media;
    const char   *provider;
    llm_facts_t  *facts;

    facts = ctx->facts;

    if (facts == NULL) {
        return;
    }

    provider = llm_provider_name(ctx->route.provider);

    ctx->factor_key = llm_factor_key(provider, facts->model,
                                     facts->model_len);
    ctx->factor = llm_bound_factor(facts->model, facts->model_len);

    if (ctx->conf->factors) {
        ctx->factor = llm_factor_get(ctx->conf->factors->data,
                                     ctx->factor_key, ctx->factor);
    }

    media = facts->audio_tokens + facts->image_tokens + facts->video_tokens;

    ctx->input_estimate = media + (facts->input_tokens - media)
                                  * ctx->factor / 1000;

    ctx->held_tokens = -1;

    if (facts->stateful && ctx->conf->turns) {
        ctx->held_tokens = llm_turns_get(ctx->conf->turns->data, facts->state);
        ctx->input_estimate += ngx_max(ctx->held_tokens, 0);
    }
}


int64_t
ngx_http_cycles_auto_estimate(ngx_http_cycles_ctx_t *ctx)
{
    llm_bound_t  bound;
    llm_usage_t  usage;

    bound.provider = ctx->route.provider;
    bound.api = ctx->route.api;
    bound.factor = ctx->factor;
    bound.margin = ctx->conf->estimate_margin;
    bound.max_output = ctx->conf->max_output_tokens;
    bound.held = ctx->held_tokens;

    llm_bound(&bound, ctx->facts, ctx->price, &usage);

    if (ctx->conf->unit != CYCLES_USD_MICROCENTS) {
        return ngx_http_cycles_cost(ctx, &usage);
    }

    if (ctx->price == NULL) {
        return 0;
    }

    ngx_http_cycles_complete_usage(ctx, &usage);

    return llm_bound_cost(ctx->facts, ctx->price, &usage);
}


int64_t
ngx_http_cycles_cost(ngx_http_cycles_ctx_t *ctx, const llm_usage_t *usage)
{
    int64_t      input, output, total;
    llm_usage_t  complete;

    if (ctx->conf->unit == CYCLES_USD_MICROCENTS) {

        if (ctx->price == NULL) {
            return 0;
        }

        complete = *usage;
        ngx_http_cycles_complete_usage(ctx, &complete);

        return llm_price_cost(ctx->price, &complete, NULL);
    }

    input = ngx_max(usage->input, 0);
    output = ngx_max(usage->output, 0);

    if (__builtin_add_overflow(input, output, &total)) {
        return INT64_MAX;
    }

    return total;
}


int64_t
ngx_http_cycles_reply_cost(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage)
{
    if (ctx->conf->unit == CYCLES_USD_MICROCENTS) {
        ngx_http_cycles_reply_price(ctx);
    }

    return ngx_http_cycles_cost(ctx, usage);
}


/*
 * The provider's own word on the cost is over the table's, but not over a
 * price that the operator has set; which one that is only assumed is not.
 */

void
ngx_http_cycles_set_actual(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage)
{
    unsigned     unpriced;
    llm_usage_t  complete;

    if (ctx->conf->unit != CYCLES_USD_MICROCENTS) {
        ctx->actual = ngx_http_cycles_cost(ctx, usage);
        return;
    }

    ngx_http_cycles_reply_price(ctx);

    if (usage->cost >= 0
        && ctx->usage_source == NGX_HTTP_CYCLES_USAGE_REPORTED
        && (ctx->price == NULL || ctx->price_assumed
            || !llm_price_is_set(ctx->price)))
    {
        ctx->actual = llm_microcents(usage->cost);
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_PROVIDER_COST;
        return;
    }

    if (ctx->price == NULL) {
        ctx->actual = 0;
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_NONE;
        return;
    }

    complete = *usage;
    ngx_http_cycles_complete_usage(ctx, &complete);

    ctx->actual = llm_price_cost(ctx->price, &complete, &unpriced);

    if (unpriced) {

        /* seconds, images or whatever else: charged for nothing they'd be */

        ctx->actual = ctx->estimate;
        ctx->usage_source = NGX_HTTP_CYCLES_USAGE_ESTIMATED;

        ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                      "cycles: price \"%V\" has none for what the reply has "
                      "used, the estimate %L is taken: add it with "
                      "\"cycles_price\"", &ctx->price_key, ctx->actual);
    }
}


/*
 * A name that only stands for a model, as "gpt-4o" or a deployment of Azure,
 * is told by the reply.  Not so where the path names what is billed, a profile
 * of a region for instance; and what the operator says of a name stays.
 */

static void
ngx_http_cycles_reply_price(ngx_http_cycles_ctx_t *ctx)
{
    const char         *key;
    const llm_price_t  *price;
    llm_price_query_t   query;

    if (ctx->reply->model_len == 0
        || ctx->conf->prices == NULL
        || ctx->image_price
        || ctx->route.model.len)
    {
        return;
    }

    if (ctx->price && !ctx->price_assumed
        && (llm_price_is_set(ctx->price)
            || llm_prices_is_alias(ctx->conf->prices, ctx->facts->model,
                                   ctx->facts->model_len)))
    {
        return;
    }

    ngx_http_cycles_price_query(ctx, &query);

    query.model = ctx->reply->model;
    query.model_len = ctx->reply->model_len;
    query.exact = (ctx->price && !ctx->price_assumed);

    price = llm_prices_find(ctx->conf->prices, &query, &key);

    if (price) {
        ctx->price = price;
        ctx->price_assumed = 0;
        ctx->price_key.data = (u_char *) key;
        ctx->price_key.len = ngx_strlen(key);
    }
}


void
ngx_http_cycles_learn(ngx_http_cycles_ctx_t *ctx, const llm_usage_t *usage)
{
    if (!ctx->reply->usage_seen || ctx->conf->factors == NULL) {
        return;
    }

    ngx_http_cycles_learn_turn(ctx, usage);
    ngx_http_cycles_learn_factor(ctx, usage);
    ngx_http_cycles_learn_output(ctx, usage);
}


/* what a next turn of this one would bring along */

static void
ngx_http_cycles_learn_turn(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage)
{
    ngx_uint_t    i;
    llm_facts_t  *facts;
    llm_turns_t  *turns;

    facts = ctx->facts;
    turns = ctx->conf->turns->data;

    switch (ctx->route.api) {

    case LLM_API_RESPONSES:
    case LLM_API_INTERACTIONS:
        if (usage->input < 0 || usage->output < 0) {
            return;
        }

        for (i = 0; i < LLM_REPLY_TURNS; i++) {
            llm_turns_put(turns, ctx->reply->turns[i],
                          usage->input + usage->output,
                          (uint32_t) ngx_time());
        }

        return;

    default:
        if (facts->state_cached) {
            llm_turns_put(turns, facts->state, usage->cached_input,
                          (uint32_t) ngx_time());
        }
    }
}


/*
 * Of a request whose input was all text that we have seen: neither images nor
 * what tools and earlier turns bring to it are in the estimate.
 */

static void
ngx_http_cycles_learn_factor(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage)
{
    llm_facts_t  *facts;

    facts = ctx->facts;

    if (facts->stateful
        || facts->web_search || facts->file_search || facts->code_session
        || facts->image_tokens || facts->audio_tokens || facts->video_tokens
        || facts->file_tokens)
    {
        return;
    }

    llm_factor_learn(ctx->conf->factors->data, ctx->factor_key,
                     facts->input_tokens, usage->input);
}


/* of a reply that was all text, and all of it was seen */

static void
ngx_http_cycles_learn_output(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage)
{
    if (!ctx->complete || usage->reasoning != 0
        || usage->output_audio > 0 || usage->output_image > 0)
    {
        return;
    }

    llm_factor_learn(ctx->conf->factors->data,
                     llm_factor_output_key(ctx->factor_key),
                     ctx->reply->output_tokens, usage->output);
}


/* what chooses a price: the reply's word if it has one, else the request's */

static void
ngx_http_cycles_complete_usage(ngx_http_cycles_ctx_t *ctx, llm_usage_t *usage)
{
    llm_facts_t  *facts;

    facts = ctx->facts;

    if (usage->geo == LLM_GEO_DEFAULT) {
        usage->geo = ngx_http_cycles_geo(ctx);
    }

    if (facts == NULL) {
        return;
    }

    if (!usage->tier_known) {
        usage->tier = facts->tier;
    }

    if (usage->images > 0 && usage->pixels < 0) {
        usage->pixels = ngx_min(usage->images, NGX_HTTP_CYCLES_MOST_IMAGES)
                        * (facts->width ? facts->width * facts->height
                                        : NGX_HTTP_CYCLES_SIDE
                                          * NGX_HTTP_CYCLES_SIDE);
    }

    if (usage->search == LLM_SEARCH_MEDIUM) {
        usage->search = facts->search;
    }
}


static llm_geo_t
ngx_http_cycles_geo(ngx_http_cycles_ctx_t *ctx)
{
    switch (ctx->route.provider) {

    case LLM_OPENAI:
    case LLM_OPENAI_RESPONSES:
    case LLM_OPENAI_IMAGES:
    case LLM_OPENAI_AUDIO:
    case LLM_OPENAI_REALTIME:
        if (ctx->region.len != 2) {
            return LLM_GEO_DEFAULT;
        }

        return ngx_strncasecmp(ctx->region.data, (u_char *) "us", 2) == 0
               ? LLM_GEO_US
               : ngx_strncasecmp(ctx->region.data, (u_char *) "eu", 2) == 0
                 ? LLM_GEO_EU : LLM_GEO_DEFAULT;

    case LLM_VERTEX:
    case LLM_VERTEX_PREDICT:
    case LLM_VERTEX_ANTHROPIC:
        return (ctx->region.len == 0
                || (ctx->region.len == sizeof("global") - 1
                    && ngx_strncasecmp(ctx->region.data, (u_char *) "global",
                                       ctx->region.len) == 0))
               ? LLM_GEO_DEFAULT : LLM_GEO_REGION;

    default:
        return LLM_GEO_DEFAULT;
    }
}
