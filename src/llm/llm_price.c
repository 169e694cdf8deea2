
/*
 * Copyright (C) nginx-cycles authors
 *
 * Prices are read from their text, never through a double.  A set of prices
 * is a hash of rows by the key in lower case, and one of aliases by name.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "llm_price.h"
#include "llm_dialect.h"


/* pico-USD in a micro-cent */

#define LLM_PRICE_MICROCENT  10000

#define LLM_PRICE_BUCKETS    64

/* of a warning */

#define LLM_PRICE_SENTENCE   1024


typedef enum {
    LLM_FIELD_INPUT = 0,
    LLM_FIELD_OUTPUT,
    LLM_FIELD_CACHE_READ,
    LLM_FIELD_CACHE_HIT,
    LLM_FIELD_CACHE_WRITE,
    LLM_FIELD_MAX_OUTPUT,
    LLM_FIELD_MAX,
    LLM_FIELDS
} llm_field_t;


typedef struct llm_row_s  llm_row_t;

struct llm_row_s {
    llm_row_t           *next;
    uint32_t             hash;
    int64_t              fields[LLM_FIELDS];
    unsigned             set;             /* bit mask of operator's fields */
    llm_price_t          price;
    char                *model;           /* of an alias */
    size_t               model_len;
    size_t               len;
    char                 key[];
};


typedef struct {
    llm_row_t          **buckets;
    size_t               size;
    size_t               count;
} llm_hash_t;


struct llm_prices_s {
    const llm_prices_t  *base;
    llm_hash_t           rows;
    llm_hash_t           aliases;
};


/* where the reading of a table stands */

typedef struct {
    llm_prices_t        *prices;
    llm_price_warn_pt    warn;
    void                *data;
    const char          *failure;
    char                 key[LLM_JSON_TEXT];
    size_t               key_len;
    int                  field;           /* of the value that comes */
    int64_t              fields[LLM_FIELDS];
    unsigned             object:1;        /* the table is one */
    unsigned             bad:1;           /* this row */
    size_t               usable;
} llm_table_t;


static void llm_table_event(llm_table_t *t, llm_json_t *js, int event);
static void llm_table_key(llm_table_t *t, llm_json_t *js);
static void llm_table_value(llm_table_t *t, llm_json_t *js, int event);
static void llm_table_add(llm_table_t *t);
static void llm_table_bad(llm_table_t *t, const char *what);
static int llm_field_find(const char *name, size_t len);
static const char *llm_field_value(int field, const char *text, size_t len,
    int64_t *value);
static void llm_row_price(llm_row_t *row);
static llm_row_t *llm_hash_add(llm_hash_t *hash, const char *key, size_t len);
static int llm_hash_grow(llm_hash_t *hash);
static void llm_hash_destroy(llm_hash_t *hash);
static uint32_t llm_hash_key(const char *key, size_t len);
static llm_row_t *llm_hash_find(const llm_hash_t *hash, const char *key,
    size_t len);
static llm_row_t *llm_hash_dearest(const llm_hash_t *hash, const char *key,
    size_t len);
static const llm_row_t *llm_prices_row(const llm_prices_t *prices,
    const char *key, size_t len, int any_case);
static const llm_row_t *llm_prices_lookup(const llm_prices_t *prices,
    const char *provider, const char *model, size_t len, int any_case);
static size_t llm_prices_strip(const char *model, size_t len);
static int llm_prices_shape(const char *text, const char *shape);


static const char  *llm_fields[LLM_FIELDS] = {
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "input_cost_per_token_cache_hit",
    "cache_creation_input_token_cost",
    "max_output_tokens",
    "max_tokens"
};


/* what the table says about itself and not about a model */

static const char  *llm_reserved[] = {
    "sample_spec",
    "fallback_generalizations",
    "last_updated",
    NULL
};


static const char  llm_no_object[] = "the price table must be a JSON object";


llm_prices_t *
llm_prices_create(const llm_prices_t *base)
{
    llm_prices_t  *prices;

    prices = calloc(1, sizeof(llm_prices_t));

    if (prices) {
        prices->base = base;
    }

    return prices;
}


void
llm_prices_destroy(llm_prices_t *prices)
{
    if (prices) {
        llm_hash_destroy(&prices->rows);
        llm_hash_destroy(&prices->aliases);
        free(prices);
    }
}


int
llm_prices_load(llm_prices_t *prices, const char *json, size_t len,
    llm_price_warn_pt warn, void *data, char *err, size_t errlen)
{
    int                   event;
    uint64_t              at;
    llm_json_t            js;
    llm_table_t           t;
    const unsigned char  *p, *last;

    memset(&t, 0, sizeof(llm_table_t));

    t.prices = prices;
    t.warn = warn;
    t.data = data;

    llm_json_init(&js, 1);

    p = (const unsigned char *) json;
    last = p + len;

    do {
        event = llm_json_next(&js, &p, last);

        if (event > LLM_JSON_AGAIN) {
            llm_table_event(&t, &js, event);
        }

    } while (event > LLM_JSON_AGAIN && t.failure == NULL);

    if (t.failure == NULL && llm_json_complete(&js)) {

        if (t.usable) {
            return LLM_OK;
        }

        t.failure = t.object ? "the price table has no model with a usable"
                               " input_cost_per_token, it must have"
                               " LiteLLM's shape"
                             : llm_no_object;
    }

    if (t.failure) {
        snprintf(err, errlen, "%s", t.failure);

    } else {
        at = (event == LLM_JSON_ERROR) ? js.start : js.offset;
        snprintf(err, errlen, "the price table is not JSON at its byte %llu,"
                 " get the file again", (unsigned long long) at + 1);
    }

    return LLM_ERROR;
}


int
llm_prices_set(llm_prices_t *prices, const char *model, size_t model_len,
    const char *field, size_t field_len, const char *value, size_t value_len,
    char *err, size_t errlen)
{
    int               n;
    int64_t           number;
    llm_row_t        *row;
    const char       *wrong;
    const llm_row_t  *base;

    n = llm_field_find(field, field_len);

    if (n < 0) {
        snprintf(err, errlen, "\"%.*s\" is not a field of a price, use for"
                 " instance %s or %s", (int) field_len, field,
                 llm_fields[LLM_FIELD_INPUT], llm_fields[LLM_FIELD_OUTPUT]);
        return LLM_ERROR;
    }

    wrong = llm_field_value(n, value, value_len, &number);

    if (wrong) {
        snprintf(err, errlen, "%s \"%.*s\" %s", llm_fields[n],
                 (int) value_len, value, wrong);
        return LLM_ERROR;
    }

    row = llm_hash_find(&prices->rows, model, model_len);

    if (row == NULL) {

        row = llm_hash_add(&prices->rows, model, model_len);

        if (row == NULL) {
            snprintf(err, errlen, "there is no memory for a price");
            return LLM_ERROR;
        }

        base = llm_prices_row(prices->base, model, model_len, 0);

        if (base) {
            memcpy(row->fields, base->fields, sizeof(row->fields));
        }
    }

    /* the newer of two names is the one that counts */

    n = (n == LLM_FIELD_CACHE_HIT) ? LLM_FIELD_CACHE_READ
        : (n == LLM_FIELD_MAX) ? LLM_FIELD_MAX_OUTPUT : n;

    row->fields[n] = number;
    row->set |= 1u << n;

    llm_row_price(row);

    return LLM_OK;
}


int
llm_prices_alias(llm_prices_t *prices, const char *name, size_t name_len,
    const char *model, size_t model_len)
{
    char       *copy;
    llm_row_t  *row;

    if (name_len == 0
        || model_len == 0
        || (name_len == model_len && memcmp(name, model, name_len) == 0))
    {
        return LLM_ERROR;
    }

    copy = malloc(model_len);

    if (copy == NULL) {
        return LLM_ERROR;
    }

    row = llm_hash_find(&prices->aliases, name, name_len);

    if (row == NULL) {
        row = llm_hash_add(&prices->aliases, name, name_len);
    }

    if (row == NULL) {
        free(copy);
        return LLM_ERROR;
    }

    memcpy(copy, model, model_len);
    free(row->model);

    row->model = copy;
    row->model_len = model_len;

    return LLM_OK;
}


const llm_price_t *
llm_prices_find(const llm_prices_t *prices, llm_provider_t provider,
    const unsigned char *model, size_t len, const char **key)
{
    int                  any_case;
    size_t               n;
    const char          *name, *prefix;
    const llm_row_t     *row;
    const llm_prices_t  *p;

    name = (const char *) model;

    for (p = prices; p; p = p->base) {

        row = llm_hash_find(&p->aliases, name, len);

        if (row) {
            name = row->model;
            len = row->model_len;
            break;
        }
    }

    prefix = llm_provider_name(provider);

    for (any_case = 0; any_case < 2; any_case++) {

        for (n = len; n; n = llm_prices_strip(name, n)) {

            row = llm_prices_lookup(prices, prefix, name, n, any_case);

            if (row) {

                if (key) {
                    *key = row->key;
                }

                return &row->price;
            }
        }
    }

    return NULL;
}


int64_t
llm_price_cost(const llm_price_t *price, const llm_usage_t *usage)
{
    int64_t            plain, cached, written, output, each[4];
    unsigned __int128  cost;

    cached = (usage->cached_input > 0) ? usage->cached_input : 0;
    written = (usage->cache_write > 0) ? usage->cache_write : 0;
    output = (usage->output > 0) ? usage->output : 0;

    /* no more may be taken away than there is */

    plain = (usage->input > cached) ? usage->input - cached : 0;
    plain = (plain > written) ? plain - written : 0;

    each[0] = (price->input > 0) ? price->input : 0;
    each[1] = (price->cache_read >= 0) ? price->cache_read : each[0];
    each[2] = (price->cache_write >= 0) ? price->cache_write : each[0];
    each[3] = (price->output >= 0) ? price->output : each[0];

    cost = (unsigned __int128) plain * (uint64_t) each[0]
           + (unsigned __int128) cached * (uint64_t) each[1]
           + (unsigned __int128) written * (uint64_t) each[2]
           + (unsigned __int128) output * (uint64_t) each[3];

    cost = (cost + LLM_PRICE_MICROCENT - 1) / LLM_PRICE_MICROCENT;

    return (cost > INT64_MAX) ? INT64_MAX : (int64_t) cost;
}


/* depth 1 is the table, 2 a row, 3 and more are inside of a field */

static void
llm_table_event(llm_table_t *t, llm_json_t *js, int event)
{
    if (event == LLM_JSON_KEY) {
        llm_table_key(t, js);
        return;
    }

    if (event == LLM_JSON_OBJECT_END || event == LLM_JSON_ARRAY_END) {

        if (js->depth == 1 && !t->bad) {
            llm_table_add(t);
        }

        return;
    }

    if (event != LLM_JSON_OBJECT && event != LLM_JSON_ARRAY) {

        if (js->depth == 2) {
            llm_table_value(t, js, event);

        } else if (js->depth == 1) {
            llm_table_bad(t, "is not an object");

        } else {
            t->failure = llm_no_object;
        }

        return;
    }

    if (js->depth == 1) {

        if (event == LLM_JSON_ARRAY) {
            t->failure = llm_no_object;
        }

        t->object = 1;

    } else if (js->depth == 2 && event == LLM_JSON_ARRAY) {
        llm_table_bad(t, "is not an object");
        llm_json_skip(js);

    } else if (js->depth == 3) {
        llm_table_value(t, js, event);
        llm_json_skip(js);
    }
}


static void
llm_table_key(llm_table_t *t, llm_json_t *js)
{
    int           i;
    const char  **name;

    if (js->depth == 2) {

        t->field = js->text ? llm_field_find((const char *) js->text, js->len)
                            : -1;

        if (t->field < 0) {
            llm_json_skip(js);
        }

        return;
    }

    /* the rest of the row may use the reader's buffer */

    t->key_len = (js->text && js->len <= sizeof(t->key)) ? js->len : 0;
    memcpy(t->key, js->text ? js->text : js->buffer, t->key_len);

    t->bad = 0;

    for (i = 0; i < LLM_FIELDS; i++) {
        t->fields[i] = -1;
    }

    for (name = llm_reserved; *name; name++) {

        if (strlen(*name) == t->key_len
            && memcmp(*name, t->key, t->key_len) == 0)
        {
            llm_json_skip(js);
            return;
        }
    }

    if (t->key_len == 0) {
        llm_table_bad(t, "has a name that is too long or empty");
        llm_json_skip(js);
    }
}


static void
llm_table_value(llm_table_t *t, llm_json_t *js, int event)
{
    char         what[LLM_PRICE_SENTENCE / 2];
    int64_t      value;
    const char  *wrong;

    if (t->bad || event == LLM_JSON_NULL) {
        return;
    }

    if (event == LLM_JSON_NUMBER || event == LLM_JSON_STRING) {
        wrong = llm_field_value(t->field, (const char *) js->text,
                                js->text ? js->len : 0, &value);

    } else {
        wrong = "is not a number";
        value = -1;
        js->text = NULL;
    }

    if (wrong == NULL) {
        t->fields[t->field] = value;
        return;
    }

    /* a limit of no use is as good as none */

    if (t->field == LLM_FIELD_MAX_OUTPUT || t->field == LLM_FIELD_MAX) {
        return;
    }

    snprintf(what, sizeof(what), "%s \"%.*s\" %s", llm_fields[t->field],
             js->text ? (int) (js->len < 64 ? js->len : 64) : 0,
             js->text ? (const char *) js->text : "", wrong);

    llm_table_bad(t, what);
}


static void
llm_table_add(llm_table_t *t)
{
    int         i, known;
    llm_row_t  *row;

    known = 0;

    for (i = 0; i <= LLM_FIELD_CACHE_WRITE; i++) {
        known |= (t->fields[i] >= 0);
    }

    /* priced by the second, the page or not at all */

    if (!known) {
        return;
    }

    row = llm_hash_find(&t->prices->rows, t->key, t->key_len);

    if (row == NULL) {
        row = llm_hash_add(&t->prices->rows, t->key, t->key_len);
    }

    if (row == NULL) {
        t->failure = "there is no memory for the price table";
        return;
    }

    for (i = 0; i < LLM_FIELDS; i++) {
        if (!(row->set & (1u << i))) {
            row->fields[i] = t->fields[i];
        }
    }

    llm_row_price(row);

    t->usable += (row->price.input >= 0);
}


static void
llm_table_bad(llm_table_t *t, const char *what)
{
    char  text[LLM_PRICE_SENTENCE];

    t->bad = 1;

    if (t->warn) {
        snprintf(text, sizeof(text), "price table: the row \"%.*s\" is left"
                 " out, %s", (int) t->key_len, t->key, what);
        t->warn(t->data, text);
    }
}


static int
llm_field_find(const char *name, size_t len)
{
    int  i;

    for (i = 0; i < LLM_FIELDS; i++) {

        if (strlen(llm_fields[i]) == len
            && memcmp(llm_fields[i], name, len) == 0)
        {
            return i;
        }
    }

    return -1;
}


/* returns what is wrong with the value, or NULL */

static const char *
llm_field_value(int field, const char *text, size_t len, int64_t *value)
{
    if (field == LLM_FIELD_MAX_OUTPUT || field == LLM_FIELD_MAX) {

        /* what is not the text of a number is none of a decimal either */

        *value = (llm_decimal(text, len, 0) >= 0)
                 ? llm_json_whole((const unsigned char *) text, len) : -1;

        return (*value >= 1) ? NULL : "is not a whole number of at least 1";
    }

    *value = llm_decimal(text, len, 12);

    if (*value == -1) {
        return "is not a price in USD per token";
    }

    if (*value == -2 || *value > LLM_PRICE_MAX) {
        return "is over 0.001 USD per token, which no model costs";
    }

    return NULL;
}


static void
llm_row_price(llm_row_t *row)
{
    int64_t      *f;
    llm_price_t  *price;

    f = row->fields;
    price = &row->price;

    price->input = f[LLM_FIELD_INPUT];
    price->output = f[LLM_FIELD_OUTPUT];
    price->cache_read = (f[LLM_FIELD_CACHE_READ] >= 0)
                        ? f[LLM_FIELD_CACHE_READ] : f[LLM_FIELD_CACHE_HIT];
    price->cache_write = f[LLM_FIELD_CACHE_WRITE];
    price->max_output_tokens = (f[LLM_FIELD_MAX_OUTPUT] >= 0)
                               ? f[LLM_FIELD_MAX_OUTPUT] : f[LLM_FIELD_MAX];
}


/* a key that is not there yet */

static llm_row_t *
llm_hash_add(llm_hash_t *hash, const char *key, size_t len)
{
    int         i;
    llm_row_t  *row, **bucket;

    if (hash->count == hash->size && llm_hash_grow(hash) != LLM_OK) {
        return NULL;
    }

    row = calloc(1, sizeof(llm_row_t) + len + 1);

    if (row == NULL) {
        return NULL;
    }

    memcpy(row->key, key, len);

    row->len = len;
    row->hash = llm_hash_key(key, len);

    for (i = 0; i < LLM_FIELDS; i++) {
        row->fields[i] = -1;
    }

    llm_row_price(row);

    bucket = &hash->buckets[row->hash % hash->size];
    row->next = *bucket;
    *bucket = row;
    hash->count++;

    return row;
}


static int
llm_hash_grow(llm_hash_t *hash)
{
    size_t      i, size;
    llm_row_t  *row, *next, **buckets, **bucket;

    size = hash->size ? hash->size * 2 : LLM_PRICE_BUCKETS;

    buckets = calloc(size, sizeof(llm_row_t *));

    if (buckets == NULL) {
        return LLM_ERROR;
    }

    for (i = 0; i < hash->size; i++) {

        for (row = hash->buckets[i]; row; row = next) {
            next = row->next;
            bucket = &buckets[row->hash % size];
            row->next = *bucket;
            *bucket = row;
        }
    }

    free(hash->buckets);

    hash->buckets = buckets;
    hash->size = size;

    return LLM_OK;
}


static void
llm_hash_destroy(llm_hash_t *hash)
{
    size_t      i;
    llm_row_t  *row, *next;

    for (i = 0; i < hash->size; i++) {

        for (row = hash->buckets[i]; row; row = next) {
            next = row->next;
            free(row->model);
            free(row);
        }
    }

    free(hash->buckets);
}


/* FNV-1a, of the key in lower case */

static uint32_t
llm_hash_key(const char *key, size_t len)
{
    size_t    i;
    uint32_t  ch, hash;

    hash = 2166136261u;

    for (i = 0; i < len; i++) {
        ch = (unsigned char) key[i];
        ch |= (ch >= 'A' && ch <= 'Z') ? 0x20 : 0;
        hash = (hash ^ ch) * 16777619u;
    }

    return hash;
}


static llm_row_t *
llm_hash_find(const llm_hash_t *hash, const char *key, size_t len)
{
    uint32_t    value;
    llm_row_t  *row;

    if (hash->size == 0) {
        return NULL;
    }

    value = llm_hash_key(key, len);

    for (row = hash->buckets[value % hash->size]; row; row = row->next) {

        if (row->hash == value
            && row->len == len
            && memcmp(row->key, key, len) == 0)
        {
            return row;
        }
    }

    return NULL;
}


/* the table has keys that differ in nothing but the case of their letters */

static llm_row_t *
llm_hash_dearest(const llm_hash_t *hash, const char *key, size_t len)
{
    uint32_t    value;
    llm_row_t  *row, *dearest;

    if (hash->size == 0) {
        return NULL;
    }

    value = llm_hash_key(key, len);
    dearest = NULL;

    for (row = hash->buckets[value % hash->size]; row; row = row->next) {

        if (row->hash != value
            || row->len != len
            || strncasecmp(row->key, key, len) != 0)
        {
            continue;
        }

        if (dearest == NULL
            || row->price.input > dearest->price.input
            || (row->price.input == dearest->price.input
                && row->price.output > dearest->price.output))
        {
            dearest = row;
        }
    }

    return dearest;
}


static const llm_row_t *
llm_prices_row(const llm_prices_t *prices, const char *key, size_t len,
    int any_case)
{
    llm_row_t  *row;

    for ( /* void */ ; prices; prices = prices->base) {

        row = any_case ? llm_hash_dearest(&prices->rows, key, len)
                       : llm_hash_find(&prices->rows, key, len);

        if (row) {
            return row;
        }
    }

    return NULL;
}


static const llm_row_t *
llm_prices_lookup(const llm_prices_t *prices, const char *provider,
    const char *model, size_t len, int any_case)
{
    char              key[LLM_MODEL_MAX + 32];
    size_t            n;
    const llm_row_t  *row;

    n = strlen(provider);

    if (n + 1 + len <= sizeof(key)) {

        memcpy(key, provider, n);
        key[n] = '/';
        memcpy(key + n + 1, model, len);

        row = llm_prices_row(prices, key, n + 1 + len, any_case);

        if (row && row->price.input >= 0) {
            return row;
        }
    }

    row = llm_prices_row(prices, model, len, any_case);

    if (row && row->price.input >= 0) {
        return row;
    }

    return NULL;
}


/*
 * The length of the name without the last thing that only tells one version
 * of it from others: "ft:base:org:name:id" is "ft:base", and "@version",
 * "-YYYY-MM-DD", "-YYYYMMDD" and "-0NN" at the end go.  0: there is nothing
 * to strip.
 */

static size_t
llm_prices_strip(const char *model, size_t len)
{
    int           tuned;
    size_t        i;
    const char  **shape;

    static const char  *shapes[] = {
        "-dddd-dd-dd", "-dddddddd", "-0dd", NULL
    };

    tuned = (len > 3 && memcmp(model, "ft:", 3) == 0);

    for (i = tuned ? 3 : 0; i < len; i++) {

        if (model[i] == (tuned ? ':' : '@')) {
            return i;
        }
    }

    for (shape = shapes; *shape; shape++) {

        i = strlen(*shape);

        if (i < len && llm_prices_shape(model + len - i, *shape)) {
            return len - i;
        }
    }

    return 0;
}


static int
llm_prices_shape(const char *text, const char *shape)
{
    for ( /* void */ ; *shape; shape++, text++) {

        if (*shape == 'd' ? (*text < '0' || *text > '9') : *text != *shape) {
            return 0;
        }
    }

    return 1;
}
