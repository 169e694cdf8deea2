
/*
 * Copyright (C) nginx-cycles authors
 *
 * A price table in the shape of LiteLLM's: what of its text are prices.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm_price_row.h"
#include "llm_json.h"


/* of a warning */

#define LLM_PRICE_SENTENCE   1024

/* of a name that has a dot in it, and of a word */

#define LLM_TABLE_NAME       96
#define LLM_TABLE_WORD       64

/* fields in one band of tiered_pricing */

#define LLM_TABLE_BAND       16


/* members of a row that are no prices, or have them inside */

typedef enum {
    LLM_TABLE_PRICE = 0,
    LLM_TABLE_PROVIDER,                   /* litellm_provider */
    LLM_TABLE_MODE,
    LLM_TABLE_BILLING,                    /* web_search_billing_unit */
    LLM_TABLE_ALIAS,                      /* alias_of */
    LLM_TABLE_OBJECT,                     /* of prices */
    LLM_TABLE_BANDS,                      /* tiered_pricing */
    LLM_TABLE_RANGE                       /* of a band */
} llm_table_member_t;


/* where the reading of a table stands */

typedef struct {
    llm_prices_t        *prices;
    llm_price_warn_pt    warn;
    void                *data;
    const char          *failure;

    char                 key[LLM_JSON_TEXT];
    size_t               key_len;
    char                 provider[LLM_TABLE_WORD];
    size_t               provider_len;
    char                 alias[LLM_JSON_TEXT];
    size_t               alias_len;
    llm_draft_t          draft;

    llm_table_member_t   member;          /* whose value comes */
    llm_field_name_t     name;            /* of LLM_TABLE_PRICE */
    const char          *object;          /* it is a member of that */

    llm_rate_t           band[LLM_TABLE_BAND];
    unsigned             nband;
    int64_t              range;           /* its low end; -1: not there */
    unsigned             nrange;          /* numbers of it */

    unsigned             table:1;         /* is an object */
    unsigned             in_band:1;
    unsigned             bad:1;           /* this row */
} llm_table_t;


static void llm_table_event(llm_table_t *t, llm_json_t *js, int event);
static void llm_table_begin(llm_table_t *t, llm_json_t *js, int event);
static void llm_table_end(llm_table_t *t, llm_json_t *js);
static void llm_table_key(llm_table_t *t, llm_json_t *js);
static void llm_table_field(llm_table_t *t, llm_json_t *js);
static void llm_table_value(llm_table_t *t, llm_json_t *js, int event);
static void llm_table_price(llm_table_t *t, const char *text, size_t len);
static void llm_table_word(llm_table_t *t, const char *text, size_t len);
static void llm_table_range(llm_table_t *t, llm_json_t *js, int event);
static void llm_table_band(llm_table_t *t);
static void llm_table_add(llm_table_t *t);
static int llm_table_begins(const llm_table_t *t, const char *text);
static void llm_table_bad(llm_table_t *t, const char *what);

static const struct {
    const char          *name;
    llm_table_member_t   member;
} llm_table_members[] = {
    { "litellm_provider", LLM_TABLE_PROVIDER },
    { "mode", LLM_TABLE_MODE },
    { "web_search_billing_unit", LLM_TABLE_BILLING },
    { "alias_of", LLM_TABLE_ALIAS },
    { "search_context_cost_per_query", LLM_TABLE_OBJECT },
    { "provider_specific_entry", LLM_TABLE_OBJECT },
    { "tiered_pricing", LLM_TABLE_BANDS }
};


/* what the table says about itself and not about a model */

static const char  *llm_table_reserved[] = {
    "sample_spec",
    "fallback_generalizations",
    "last_updated",
    NULL
};


static const char  llm_no_object[] = "the price table must be a JSON object";
static const char  llm_no_memory[] = "there is no memory for the price table";


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

        if (!t.table) {
            t.failure = llm_no_object;

        } else if (llm_prices_count(prices) == 0) {
            t.failure = "the price table has no model with a usable price"
                        " such as input_cost_per_token, it must have"
                        " LiteLLM's shape";

        } else {
            return LLM_OK;
        }
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


/* the table is at depth 1, a row 2, an object or list of a row 3, a band 4 */

static void
llm_table_event(llm_table_t *t, llm_json_t *js, int event)
{
    switch (event) {

    case LLM_JSON_KEY:
        if (js->depth == 1) {
            llm_table_key(t, js);

        } else {
            llm_table_field(t, js);
        }

        return;

    case LLM_JSON_OBJECT:
    case LLM_JSON_ARRAY:
        llm_table_begin(t, js, event);
        return;

    case LLM_JSON_OBJECT_END:
    case LLM_JSON_ARRAY_END:
        llm_table_end(t, js);
        return;
    }

    switch (js->depth) {

    case 0:
        t->failure = llm_no_object;
        return;

    case 1:
        llm_table_bad(t, "is not an object");
        return;

    case 5:
        llm_table_range(t, js, event);
        return;

    default:
        llm_table_value(t, js, event);
    }
}


static void
llm_table_begin(llm_table_t *t, llm_json_t *js, int event)
{
    switch (js->depth) {

    case 1:
        if (event == LLM_JSON_ARRAY) {
            t->failure = llm_no_object;
        }

        t->table = 1;
        return;

    case 2:
        if (event == LLM_JSON_ARRAY) {
            llm_table_bad(t, "is not an object");
            llm_json_skip(js);
        }

        return;

    case 3:
        if ((t->member == LLM_TABLE_OBJECT && event == LLM_JSON_OBJECT)
            || (t->member == LLM_TABLE_BANDS && event == LLM_JSON_ARRAY))
        {
            return;
        }

        break;

    case 4:
        if (t->member == LLM_TABLE_BANDS && event == LLM_JSON_OBJECT) {
            t->in_band = 1;
            t->nband = 0;
            t->nrange = 0;
            t->range = -1;
            return;
        }

        break;

    case 5:
        if (t->member == LLM_TABLE_RANGE && event == LLM_JSON_ARRAY) {
            return;
        }

        break;
    }

    llm_json_skip(js);

    if (t->member == LLM_TABLE_PRICE) {
        llm_table_price(t, NULL, 0);
    }
}


static void
llm_table_end(llm_table_t *t, llm_json_t *js)
{
    switch (js->depth) {

    case 1:
        if (!t->bad) {
            llm_table_add(t);
        }

        return;

    case 2:
        t->object = NULL;
        return;

    case 3:
        llm_table_band(t);
        t->member = LLM_TABLE_BANDS;
        t->in_band = 0;
        return;
    }
}


/* a row begins */

static void
llm_table_key(llm_table_t *t, llm_json_t *js)
{
    const char  **name;

    /* the rest of the row may use the reader's buffer */

    t->key_len = (js->text && js->len <= sizeof(t->key)) ? js->len : 0;
    memcpy(t->key, js->text ? js->text : js->buffer, t->key_len);

    t->provider_len = 0;
    t->alias_len = 0;
    t->object = NULL;
    t->in_band = 0;
    t->bad = 0;

    memset(&t->draft, 0, sizeof(llm_draft_t));

    for (name = llm_table_reserved; *name; name++) {

        if (strlen(*name) == t->key_len
            && memcmp(*name, t->key, t->key_len) == 0)
        {
            llm_json_skip(js);
            t->bad = 1;
            return;
        }
    }

    if (t->key_len == 0) {
        llm_table_bad(t, "has a name that is too long or empty");
        llm_json_skip(js);
    }
}


static void
llm_table_field(llm_table_t *t, llm_json_t *js)
{
    char         text[LLM_TABLE_NAME];
    int          n;
    size_t       i, len;
    const char  *name;

    name = (const char *) js->text;
    len = js->text ? js->len : 0;

    if (js->depth == 2) {

        for (i = 0; i < sizeof(llm_table_members)
                        / sizeof(llm_table_members[0]); i++)
        {
            if (strlen(llm_table_members[i].name) == len
                && memcmp(llm_table_members[i].name, name, len) == 0)
            {
                t->member = llm_table_members[i].member;

                t->object = (t->member == LLM_TABLE_OBJECT)
                            ? llm_table_members[i].name : NULL;

                if (t->member != LLM_TABLE_OBJECT) {
                    return;
                }

                /* one number may stand for the whole of it */

                if (llm_field_find(name, len, &t->name) != LLM_OK) {
                    t->name.name = NULL;
                }

                return;
            }
        }

    } else if (t->object) {
        n = snprintf(text, sizeof(text), "%s.%.*s", t->object, (int) len,
                     len ? name : "");

        name = text;
        len = (n < (int) sizeof(text)) ? (size_t) n : 0;

    } else if (len == sizeof("range") - 1
               && memcmp(name, "range", sizeof("range") - 1) == 0)
    {
        t->member = LLM_TABLE_RANGE;
        return;
    }

    t->member = LLM_TABLE_PRICE;

    if (llm_field_find(name, len, &t->name) != LLM_OK) {
        llm_json_skip(js);
    }
}


static void
llm_table_value(llm_table_t *t, llm_json_t *js, int event)
{
    size_t       len;
    const char  *text;

    if (t->bad || event == LLM_JSON_NULL) {
        return;
    }

    text = NULL;
    len = 0;

    if (event == LLM_JSON_NUMBER || (event == LLM_JSON_STRING && js->first)) {
        text = (const char *) js->text;
        len = text ? js->len : 0;
    }

    switch (t->member) {

    case LLM_TABLE_PRICE:
        llm_table_price(t, text, len);
        return;

    case LLM_TABLE_OBJECT:
        if (t->name.name && event == LLM_JSON_NUMBER) {
            llm_table_price(t, text, len);
        }

        return;

    default:
        if (event == LLM_JSON_STRING && js->first && js->last) {
            llm_table_word(t, text, len);
        }
    }
}


/* text NULL: it is neither a number nor a string */

static void
llm_table_price(llm_table_t *t, const char *text, size_t len)
{
    char         what[LLM_PRICE_SENTENCE / 2];
    unsigned     field;
    llm_rate_t   rate;
    const char  *wrong;

    memset(&rate, 0, sizeof(llm_rate_t));

    wrong = text ? llm_field_value(t->name.field, text, len, &rate.value)
                 : "is not a number";

    if (wrong) {

        /* a limit of no use is as good as none */

        if (t->name.field >= LLM_FIELDS_PRICED) {
            return;
        }

        snprintf(what, sizeof(what), "%s \"%.*s\" %s", t->name.name,
                 (int) (len < 64 ? len : 64), text ? text : "", wrong);

        llm_table_bad(t, what);
        return;
    }

    rate.above = t->name.above;
    rate.tier = (uint8_t) t->name.tier;
    rate.old = (t->name.old != 0);

    for (field = t->name.field; field <= t->name.last; field++) {

        rate.field = (uint8_t) field;

        if (t->in_band) {

            if (field >= LLM_FIELD_FACTOR_US) {
                return;
            }

            if (t->nband == LLM_TABLE_BAND) {
                llm_table_bad(t, "has too many prices");
                return;
            }

            t->band[t->nband++] = rate;

        } else if (llm_draft_add(&t->draft, &rate) != LLM_OK) {
            llm_table_bad(t, "has too many prices");
            return;
        }
    }
}


static void
llm_table_word(llm_table_t *t, const char *text, size_t len)
{
    switch (t->member) {

    case LLM_TABLE_PROVIDER:
        t->draft.family = llm_family_find(text, len);
        t->provider_len = (len <= sizeof(t->provider)) ? len : 0;
        memcpy(t->provider, text, t->provider_len);
        return;

    case LLM_TABLE_MODE:
        t->draft.pictures = ((len == 16
                              && memcmp(text, "image_generation", 16) == 0)
                             || (len == 10
                                 && memcmp(text, "image_edit", 10) == 0));
        return;

    case LLM_TABLE_BILLING:
        t->draft.per_query = (len == 9 && memcmp(text, "per_query", 9) == 0);
        return;

    case LLM_TABLE_ALIAS:
        t->alias_len = (len <= sizeof(t->alias)) ? len : 0;
        memcpy(t->alias, text, t->alias_len);
        return;

    default:
        return;
    }
}


static void
llm_table_range(llm_table_t *t, llm_json_t *js, int event)
{
    int64_t  value;

    if (t->member != LLM_TABLE_RANGE || event != LLM_JSON_NUMBER) {
        return;
    }

    value = llm_json_whole(js->text, js->len);

    if (t->nrange++ == 0 && value <= UINT32_MAX) {
        t->range = value;
    }
}


/*
 * A band is a column of context: it counts above its low end.  Cached input
 * that it does not tell of costs as its input does, and not as in the band
 * below.
 */

static void
llm_table_band(llm_table_t *t)
{
    uint64_t    have;
    unsigned    i, n;
    llm_rate_t  rate;

    /* bands of something else than tokens have no range */

    if (t->bad || t->nrange == 0) {
        return;
    }

    if (t->nrange != 2 || t->range < 0) {
        llm_table_bad(t, "has a band of tiered_pricing without a range of two"
                      " numbers");
        return;
    }

    have = 0;
    n = t->nband;

    for (i = 0; i < n; i++) {
        have |= (uint64_t) 1 << t->band[i].field;
    }

    for (i = 0; i < n; i++) {

        rate = t->band[i];
        rate.above = (uint32_t) t->range;

        if (llm_draft_add(&t->draft, &rate) != LLM_OK) {
            llm_table_bad(t, "has too many prices");
            return;
        }

        if (rate.field != LLM_FIELD_INPUT || rate.tier != LLM_TIER_DEFAULT) {
            continue;
        }

        rate.field = LLM_FIELD_CACHE_READ;

        if (!(have >> LLM_FIELD_CACHE_READ & 1)) {
            (void) llm_draft_add(&t->draft, &rate);
        }

        rate.field = LLM_FIELD_CACHE_WRITE;

        if (!(have >> LLM_FIELD_CACHE_WRITE & 1)) {
            (void) llm_draft_add(&t->draft, &rate);
        }
    }
}


static void
llm_table_add(llm_table_t *t)
{
    unsigned            i;
    llm_draft_t        *draft;
    const llm_price_t  *row;

    draft = &t->draft;

    for (i = 0; i < draft->nrates; i++) {
        if (draft->rates[i].field < LLM_FIELD_FACTOR_US) {
            break;
        }
    }

    /* priced by the page or not at all */

    if (i == draft->nrates && t->alias_len == 0) {
        return;
    }

    if (i < draft->nrates) {
        t->alias_len = 0;
    }

    draft->prefixed = (t->provider_len && t->key_len > t->provider_len
                       && t->key[t->provider_len] == '/'
                       && memcmp(t->key, t->provider, t->provider_len) == 0);

    /* Google bills its own models' searches so, unless the row says else */

    draft->per_prompt = (!draft->per_query
                         && (draft->family == LLM_FAMILY_GEMINI
                             || (draft->family == LLM_FAMILY_VERTEX
                                 && llm_table_begins(t, "gemini"))));

    row = llm_price_row(&t->prices->rows, t->key, t->key_len);

    if (row) {
        llm_draft_copy(draft, row, 0);
    }

    if (llm_draft_put(t->prices, &t->prices->rows, draft, t->key, t->key_len,
                      t->alias, t->alias_len)
        != LLM_OK)
    {
        t->failure = llm_no_memory;
    }
}


/* the key, with its provider in front or not */

static int
llm_table_begins(const llm_table_t *t, const char *text)
{
    size_t  at, len;

    len = strlen(text);
    at = t->draft.prefixed ? t->provider_len + 1 : 0;

    return t->key_len >= at + len && memcmp(t->key + at, text, len) == 0;
}


static void
llm_table_bad(llm_table_t *t, const char *what)
{
    char  text[LLM_PRICE_SENTENCE];

    if (t->bad) {
        return;
    }

    t->bad = 1;

    if (t->warn) {
        snprintf(text, sizeof(text), "price table: the row \"%.*s\" is left"
                 " out, %s", (int) t->key_len, t->key, what);
        t->warn(t->data, text);
    }
}
