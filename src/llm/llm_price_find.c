
/*
 * Copyright (C) nginx-cycles authors
 *
 * Which row of the table is the price of a model.  A name is looked up whole,
 * or with what only tells versions apart cut off; never by its beginning:
 * "gpt-4" begins "gpt-4o-mini", at 200 times its price.
 */


#include <string.h>
#include <strings.h>

#include "llm_price_row.h"


/* forms of one name, and of what may stand in front of it */

#define LLM_FIND_NAMES     24
#define LLM_FIND_PREFIXES  3


/* how a provider's models are called in the table */

typedef struct {
    uint32_t             families;        /* whose rows may be its price */
    const char          *prefixes[LLM_FIND_PREFIXES];
    const char          *later;           /* a prefix, behind the bare name */
    unsigned             any:1;           /* a row whose key says whose */
    unsigned             path:1;          /* "models/" in front of names */
    unsigned             cloud:1;         /* ids of Amazon */
} llm_rule_t;


typedef struct {
    const char          *text;
    size_t               len;
} llm_name_t;


typedef struct {
    const llm_prices_t  *prices;
    const llm_rule_t    *rule;
    unsigned             measures;        /* one of them is needed */
    int                  cases;           /* 1: letters as they are */
    const char          *region;
    size_t               region_len;
    llm_name_t           names[LLM_FIND_NAMES];
    unsigned             nnames;
} llm_find_t;


static llm_price_answer_t *llm_find_answer(const llm_prices_t *prices,
    const llm_price_query_t *query);
static int llm_find_is(const llm_price_answer_t *answer,
    const llm_price_query_t *query);
static const llm_price_t *llm_find_price(const llm_prices_t *prices,
    const llm_price_query_t *query, const char **key);
static const llm_price_t *llm_find_alias(const llm_prices_t *prices,
    const char *name, size_t len);
static const llm_price_t *llm_find_run(llm_find_t *f, const char **key);
static const llm_price_t *llm_find_name(llm_find_t *f,
    const llm_prices_t *prices, const llm_name_t *name, int any_case);
static const llm_price_t *llm_find_prefixed(llm_find_t *f,
    const llm_prices_t *prices, const char *prefix, int regional,
    const llm_name_t *name, int any_case);
static const llm_price_t *llm_find_key(llm_find_t *f,
    const llm_prices_t *prices, const char *key, size_t len, int any_case);
static const llm_price_t *llm_find_target(llm_find_t *f,
    const llm_price_t *row);
static int llm_find_fits(const llm_find_t *f, const llm_price_t *row);
static void llm_find_names(llm_find_t *f, const char *text, size_t len);
static void llm_find_arn(llm_find_t *f, const char **text, size_t *len);
static void llm_find_versions(llm_find_t *f, const char *text, size_t len);
static size_t llm_find_strip(const llm_find_t *f, const char *name,
    size_t len);
static size_t llm_find_geography(const char *name, size_t len);
static int llm_find_shape(const char *text, const char *shape);
static unsigned llm_find_measures(llm_api_t api);
static int64_t llm_find_base(const llm_price_t *row, unsigned field);


static const llm_rule_t  llm_rules[LLM_PROVIDERS] = {
    [LLM_OPENAI] = { LLM_FAMILY_OPENAI, { "openai" }, NULL, 1, 0, 0 },
    [LLM_OPENAI_RESPONSES] = { LLM_FAMILY_OPENAI, { "openai" }, NULL, 1, 0, 0 },
    [LLM_OPENAI_IMAGES] = { LLM_FAMILY_OPENAI, { "openai" }, NULL, 1, 0, 0 },
    [LLM_OPENAI_AUDIO] = { LLM_FAMILY_OPENAI, { "openai" }, NULL, 1, 0, 0 },
    [LLM_OPENAI_REALTIME] = { LLM_FAMILY_OPENAI, { "openai" }, NULL, 1, 0, 0 },
    [LLM_AZURE] = {
        LLM_FAMILY_AZURE|LLM_FAMILY_AZURE_AI|LLM_FAMILY_OPENAI,
        { "azure", "azure_ai" }, NULL, 0, 0, 0 },
    [LLM_ANTHROPIC] = { LLM_FAMILY_ANTHROPIC, { "anthropic" }, NULL, 1, 0, 0 },
    [LLM_ANTHROPIC_BATCH] = {
        LLM_FAMILY_ANTHROPIC, { "anthropic" }, NULL, 1, 0, 0 },
    [LLM_GEMINI] = {
        LLM_FAMILY_GEMINI|LLM_FAMILY_VERTEX, { "gemini" }, NULL, 0, 1, 0 },
    [LLM_GEMINI_OPENAI] = {
        LLM_FAMILY_GEMINI|LLM_FAMILY_VERTEX, { "gemini" }, NULL, 0, 1, 0 },
    [LLM_GEMINI_INTERACTIONS] = {
        LLM_FAMILY_GEMINI|LLM_FAMILY_VERTEX, { "gemini" }, NULL, 0, 1, 0 },
    [LLM_VERTEX] = {
        LLM_FAMILY_VERTEX|LLM_FAMILY_GEMINI,
        { "vertex_ai" }, "gemini", 0, 1, 0 },
    [LLM_VERTEX_PREDICT] = {
        LLM_FAMILY_VERTEX|LLM_FAMILY_GEMINI,
        { "vertex_ai" }, "gemini", 0, 1, 0 },
    [LLM_VERTEX_ANTHROPIC] = {
        LLM_FAMILY_VERTEX|LLM_FAMILY_ANTHROPIC,
        { "vertex_ai" }, NULL, 0, 1, 0 },
    [LLM_BEDROCK] = {
        LLM_FAMILY_BEDROCK, { "bedrock", "bedrock_mantle" }, NULL, 0, 0, 1 },
    [LLM_BEDROCK_CONVERSE] = {
        LLM_FAMILY_BEDROCK, { "bedrock", "bedrock_mantle" }, NULL, 0, 0, 1 },
    [LLM_BEDROCK_INVOKE] = {
        LLM_FAMILY_BEDROCK, { "bedrock", "bedrock_mantle" }, NULL, 0, 0, 1 },
    [LLM_MISTRAL] = {
        LLM_FAMILY_MISTRAL, { "mistral", "codestral" }, NULL, 0, 0, 0 },
    [LLM_COHERE] = { LLM_FAMILY_COHERE, { "cohere" }, NULL, 0, 0, 0 },
    [LLM_GROQ] = { LLM_FAMILY_GROQ, { "groq" }, NULL, 0, 0, 0 },
    [LLM_DEEPSEEK] = { LLM_FAMILY_DEEPSEEK, { "deepseek" }, NULL, 0, 0, 0 },
    [LLM_XAI] = { LLM_FAMILY_XAI, { "xai" }, NULL, 0, 0, 0 },
    [LLM_TOGETHER] = { LLM_FAMILY_TOGETHER, { "together_ai" }, NULL, 0, 0, 0 },
    [LLM_FIREWORKS] = {
        LLM_FAMILY_FIREWORKS, { "fireworks_ai" }, NULL, 0, 0, 0 },
    [LLM_OPENROUTER] = {
        LLM_FAMILY_OPENROUTER, { "openrouter" }, NULL, 0, 0, 0 },
    [LLM_PERPLEXITY] = {
        LLM_FAMILY_PERPLEXITY, { "perplexity" }, NULL, 0, 0, 0 },
    [LLM_CEREBRAS] = { LLM_FAMILY_CEREBRAS, { "cerebras" }, NULL, 0, 0, 0 },
    [LLM_VLLM] = { LLM_FAMILY_VLLM, { "hosted_vllm" }, NULL, 0, 0, 0 },
    [LLM_LLAMACPP] = { 0, { NULL }, NULL, 0, 0, 0 },
    [LLM_OLLAMA] = { LLM_FAMILY_OLLAMA, { "ollama" }, NULL, 0, 0, 0 },
    [LLM_OLLAMA_V1] = { LLM_FAMILY_OLLAMA, { "ollama" }, NULL, 0, 0, 0 },
    [LLM_OTHER] = { LLM_FAMILY_ANY, { NULL }, NULL, 1, 0, 0 }
};


/* whatever the operator names is meant */

static const llm_rule_t  llm_rule_named = {
    LLM_FAMILY_ANY, { NULL }, NULL, 1, 0, 0
};


/* prices may change until a server runs, and so may those they are over */

const llm_price_t *
llm_prices_find(const llm_prices_t *prices, const llm_price_query_t *query,
    const char **key)
{
    uint64_t             changes;
    const char          *found;
    const llm_price_t   *price;
    const llm_prices_t  *p;
    llm_price_answer_t  *answer;

    if (query->model_len == 0
        || query->model_len + query->region_len > LLM_PRICE_QUERY)
    {
        return llm_find_price(prices, query, key);
    }

    changes = 0;

    for (p = prices; p; p = p->base) {
        changes += p->changes;
    }

    answer = llm_find_answer(prices, query);

    if (answer->changes != changes || !llm_find_is(answer, query)) {

        found = NULL;
        price = llm_find_price(prices, query, &found);

        answer->changes = changes;
        answer->price = price;
        answer->key = found;
        answer->provider = (unsigned char) query->provider;
        answer->api = (unsigned char) query->api;
        answer->exact = (unsigned char) query->exact;
        answer->model_len = (unsigned char) query->model_len;
        answer->region_len = (unsigned char) query->region_len;

        memcpy(answer->text, query->model, query->model_len);

        if (query->region_len) {
            memcpy(answer->text + query->model_len, query->region,
                   query->region_len);
        }
    }

    if (key && answer->price) {
        *key = answer->key;
    }

    return answer->price;
}


/* the only place of that query */

static llm_price_answer_t *
llm_find_answer(const llm_prices_t *prices, const llm_price_query_t *query)
{
    size_t                n;
    unsigned              hash;
    const unsigned char  *model;

    n = query->model_len;
    model = query->model;

    hash = (unsigned) n + model[0] + 3 * model[n / 2] + 5 * model[n - 1]
           + 7 * model[n - n / 4 - 1] + 11 * (unsigned) query->provider
           + 13 * (unsigned) query->api + 17 * (unsigned) query->exact;

    return (llm_price_answer_t *) &prices->answers[hash % LLM_PRICE_ANSWERS];
}


static int
llm_find_is(const llm_price_answer_t *answer, const llm_price_query_t *query)
{
    return answer->provider == query->provider
           && answer->api == query->api
           && answer->exact == query->exact
           && answer->model_len == query->model_len
           && answer->region_len == query->region_len
           && memcmp(answer->text, query->model, query->model_len) == 0
           && (query->region_len == 0
               || memcmp(answer->text + query->model_len, query->region,
                         query->region_len) == 0);
}


static const llm_price_t *
llm_find_price(const llm_prices_t *prices, const llm_price_query_t *query,
    const char **key)
{
    llm_find_t          f;
    const char         *model;
    const llm_price_t  *alias;

    f.prices = prices;
    f.measures = llm_find_measures(query->api);
    f.cases = query->exact ? 1 : 2;
    f.region = (const char *) query->region;
    f.region_len = query->region_len;
    f.nnames = 0;

    model = (const char *) query->model;

    alias = llm_find_alias(prices, model, query->model_len);

    if (alias) {
        f.rule = &llm_rule_named;
        llm_find_names(&f, alias->target, alias->target_len);

    } else {
        f.rule = &llm_rules[query->provider];
        llm_find_names(&f, model, query->model_len);
    }

    if (query->exact && f.nnames > 1) {
        f.nnames = 1;
    }

    return llm_find_run(&f, key);
}


const llm_price_t *
llm_prices_find_named(const llm_prices_t *prices, const unsigned char *model,
    size_t len, const char **key)
{
    llm_find_t  f;

    f.prices = prices;
    f.rule = &llm_rule_named;
    f.measures = LLM_MEASURE_ANY;
    f.cases = 2;
    f.region_len = 0;
    f.nnames = 0;

    llm_find_names(&f, (const char *) model, len);

    return llm_find_run(&f, key);
}


int
llm_prices_is_alias(const llm_prices_t *prices, const unsigned char *name,
    size_t len)
{
    return llm_find_alias(prices, (const char *) name, len) != NULL;
}


static const llm_price_t *
llm_find_alias(const llm_prices_t *prices, const char *name, size_t len)
{
    const llm_price_t  *alias;

    for ( /* void */ ; prices; prices = prices->base) {

        alias = llm_price_row(&prices->aliases, name, len);

        if (alias) {
            return alias;
        }
    }

    return NULL;
}


static const llm_price_t *
llm_find_run(llm_find_t *f, const char **key)
{
    int                  any_case;
    unsigned             i;
    const llm_price_t   *row;
    const llm_prices_t  *p;

    for (any_case = 0; any_case < f->cases; any_case++) {

        for (i = 0; i < f->nnames; i++) {

            /* what the operator has set is over the table, in any form */

            for (p = f->prices; p; p = p->base) {

                row = llm_find_name(f, p, &f->names[i], any_case);

                if (row) {

                    if (key) {
                        *key = row->key;
                    }

                    return row;
                }
            }
        }
    }

    return NULL;
}


/* "provider/region/name", "provider/name", "name" */

static const llm_price_t *
llm_find_name(llm_find_t *f, const llm_prices_t *prices,
    const llm_name_t *name, int any_case)
{
    int                 regional;
    unsigned            i;
    const llm_price_t  *row;

    for (regional = (f->region_len != 0); regional >= 0; regional--) {

        for (i = 0; i < LLM_FIND_PREFIXES && f->rule->prefixes[i]; i++) {

            row = llm_find_prefixed(f, prices, f->rule->prefixes[i], regional,
                                    name, any_case);
            if (row) {
                return row;
            }
        }
    }

    row = llm_find_key(f, prices, name->text, name->len, any_case);

    if (row || f->rule->later == NULL) {
        return row;
    }

    return llm_find_prefixed(f, prices, f->rule->later, 0, name, any_case);
}


static const llm_price_t *
llm_find_prefixed(llm_find_t *f, const llm_prices_t *prices,
    const char *prefix, int regional, const llm_name_t *name, int any_case)
{
    char    key[2 * LLM_MODEL_MAX];
    size_t  n;

    n = strlen(prefix);

    if (n + f->region_len + name->len + 2 > sizeof(key)) {
        return NULL;
    }

    memcpy(key, prefix, n);
    key[n++] = '/';

    if (regional) {
        memcpy(key + n, f->region, f->region_len);
        n += f->region_len;
        key[n++] = '/';
    }

    memcpy(key + n, name->text, name->len);

    return llm_find_key(f, prices, key, n + name->len, any_case);
}


/*
 * The table has keys that differ in nothing but the case of their letters:
 * the dearest of them is taken.
 */

static const llm_price_t *
llm_find_key(llm_find_t *f, const llm_prices_t *prices, const char *key,
    size_t len, int any_case)
{
    int64_t             more;
    uint32_t            value;
    const llm_price_t  *row, *found, *dearest;

    if (prices->rows.size == 0) {
        return NULL;
    }

    if (!any_case) {
        row = llm_price_row(&prices->rows, key, len);
        return row ? llm_find_target(f, row) : NULL;
    }

    value = llm_price_key_hash(key, len);
    dearest = NULL;

    for (row = prices->rows.buckets[value % prices->rows.size]; row;
         row = row->next)
    {
        if (row->hash != value
            || row->len != len
            || strncasecmp(row->key, key, len) != 0)
        {
            continue;
        }

        found = llm_find_target(f, row);

        if (found == NULL) {
            continue;
        }

        more = dearest ? llm_find_base(found, LLM_FIELD_INPUT)
                         - llm_find_base(dearest, LLM_FIELD_INPUT)
                       : 1;

        if (more == 0) {
            more = llm_find_base(found, LLM_FIELD_OUTPUT)
                   - llm_find_base(dearest, LLM_FIELD_OUTPUT);
        }

        if (more > 0) {
            dearest = found;
        }
    }

    return dearest;
}


/* a row may be no more than another name of a key; NULL: it does not fit */

static const llm_price_t *
llm_find_target(llm_find_t *f, const llm_price_t *row)
{
    const llm_price_t   *target;
    const llm_prices_t  *p;

    if (row->target_len == 0) {
        return llm_find_fits(f, row) ? row : NULL;
    }

    for (p = f->prices; p; p = p->base) {

        target = llm_price_row(&p->rows, row->target, row->target_len);

        if (target) {
            return (target->measures & f->measures) ? target : NULL;
        }
    }

    return NULL;
}


static int
llm_find_fits(const llm_find_t *f, const llm_price_t *row)
{
    if (!(row->measures & f->measures)) {
        return 0;
    }

    return row->family == 0
           || row->set
           || (row->family & f->rule->families)
           || (row->prefixed && f->rule->any);
}


/* the forms of a name, the whole one first */

static void
llm_find_names(llm_find_t *f, const char *text, size_t len)
{
    size_t  i;

    if (f->rule->path) {

        /* "publishers/google/models/", and "google/" of OpenAI's API */

        for (i = len; i; i--) {
            if (i >= 7 && memcmp(text + i - 7, "models/", 7) == 0
                && (i == 7 || text[i - 8] == '/'))
            {
                text += i;
                len -= i;
                break;
            }
        }

        if (len > 7 && memcmp(text, "google/", 7) == 0) {
            text += 7;
            len -= 7;
        }
    }

    if (f->rule->cloud) {
        llm_find_arn(f, &text, &len);
    }

    llm_find_versions(f, text, len);

    if (f->rule->cloud) {

        /* a profile of several regions without a price of its own */

        i = llm_find_geography(text, len);

        if (i) {
            llm_find_versions(f, text + i, len - i);
        }
    }
}


/* "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.x" */

static void
llm_find_arn(llm_find_t *f, const char **text, size_t *len)
{
    size_t       i, start;
    unsigned     colons;
    const char  *arn;

    arn = *text;

    if (*len < 4 || memcmp(arn, "arn:", 4) != 0) {
        return;
    }

    colons = 0;
    start = 0;

    for (i = 0; i < *len && arn[i] != '/'; i++) {

        if (arn[i] != ':') {
            continue;
        }

        colons++;

        if (colons == 4 && f->region_len == 0) {
            f->region = arn + start;
            f->region_len = i - start;
        }

        start = i + 1;
    }

    for (i = *len; i && arn[i - 1] != '/'; i--) { /* void */ }

    *text += i;
    *len -= i;
}


static void
llm_find_versions(llm_find_t *f, const char *text, size_t len)
{
    while (len && f->nnames < LLM_FIND_NAMES) {

        f->names[f->nnames].text = text;
        f->names[f->nnames].len = len;
        f->nnames++;

        len = llm_find_strip(f, text, len);
    }
}


/*
 * The length of the name without the last thing that only tells one version
 * of it from others: "ft:base:org:name:id" is "ft:base", and "@version",
 * "-YYYY-MM-DD", "-YYYYMMDD", "-0NN", "-latest" at the end go; of Amazon's
 * also ":NNk" of context, ":N" and "-vN".  0: there is nothing to strip.
 */

static size_t
llm_find_strip(const llm_find_t *f, const char *name, size_t len)
{
    int           tuned;
    size_t        i;
    const char  **shape;

    static const char  *shapes[] = {
        "-dddd-dd-dd", "-dddddddd", "-0dd", "-latest", NULL
    };

    static const char  *cloud[] = {
        ":dk", ":ddk", ":dddk", ":d", "-vd", "-dddddddd", NULL
    };

    tuned = (len > 3 && memcmp(name, "ft:", 3) == 0);

    for (i = tuned ? 3 : 0; i < len; i++) {

        if (name[i] == (tuned ? ':' : '@')) {
            return i;
        }
    }

    for (shape = f->rule->cloud ? cloud : shapes; *shape; shape++) {

        i = strlen(*shape);

        if (i < len && llm_find_shape(name + len - i, *shape)) {
            return len - i;
        }
    }

    return 0;
}


/* the length of what names a geography in front of an id */

static size_t
llm_find_geography(const char *name, size_t len)
{
    size_t        n;
    const char  **g;

    static const char  *geographies[] = {
        "us.", "eu.", "apac.", "jp.", "au.", "ca.", "global.", "us-gov.",
        NULL
    };

    for (g = geographies; *g; g++) {

        n = strlen(*g);

        if (len > n && memcmp(name, *g, n) == 0) {
            return n;
        }
    }

    return 0;
}


static int
llm_find_shape(const char *text, const char *shape)
{
    for ( /* void */ ; *shape; shape++, text++) {

        if (*shape == 'd' ? (*text < '0' || *text > '9') : *text != *shape) {
            return 0;
        }
    }

    return 1;
}


/* what a reply of the API can be charged by */

static unsigned
llm_find_measures(llm_api_t api)
{
    switch (api) {

    case LLM_API_IMAGES:
        return LLM_MEASURE_TOKENS|LLM_MEASURE_PICTURES;

    case LLM_API_TRANSCRIPTIONS:
        return LLM_MEASURE_TOKENS|LLM_MEASURE_SECONDS;

    case LLM_API_SPEECH:
        return LLM_MEASURE_TOKENS|LLM_MEASURE_LETTERS;

    case LLM_API_COHERE_EMBED:
        return LLM_MEASURE_TOKENS|LLM_MEASURE_QUERIES;

    case LLM_API_PREDICT:
    case LLM_API_INVOKE:
    case LLM_API_OTHER:
        return LLM_MEASURE_ANY;

    default:
        return LLM_MEASURE_TOKENS;
    }
}


/* -1: the table does not say */

static int64_t
llm_find_base(const llm_price_t *row, unsigned field)
{
    unsigned  i;

    for (i = 0; i < row->nrates; i++) {

        if (row->rates[i].field == field
            && row->rates[i].above == 0
            && row->rates[i].tier == LLM_TIER_DEFAULT)
        {
            return row->rates[i].value;
        }
    }

    return -1;
}


int
llm_price_has_tokens(const llm_price_t *price)
{
    return (price->measures & LLM_MEASURE_TOKENS) != 0;
}


int
llm_price_is_set(const llm_price_t *price)
{
    return price->set;
}


int64_t
llm_price_max_input(const llm_price_t *price)
{
    return llm_find_base(price, LLM_FIELD_MAX_INPUT);
}


int64_t
llm_price_max_output(const llm_price_t *price)
{
    return llm_find_base(price, LLM_FIELD_MAX_OUTPUT);
}
