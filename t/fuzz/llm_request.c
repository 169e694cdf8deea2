
/*
 * Copyright (C) nginx-cycles authors
 *
 * Facts must not depend on the pieces, the spans must lie where they say, and
 * what is read as a request must be JSON to jansson as well.  The first byte
 * is the API, the second says how long the pieces are and if it is a form.
 */


#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "llm/llm_request.h"


#define TOOLS  16


typedef struct {
    llm_request_t   rq;
    llm_tool_t      tools[TOOLS];
} request_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_body(request_t *r, llm_api_t api, int form,
    const uint8_t *data, size_t size, size_t step);
static int same(const request_t *a, const request_t *b);
static void check(const request_t *r, const uint8_t *data, size_t size);
static void check_span(const llm_span_t *span, const uint8_t *data,
    size_t size, const char *first, const char *last);
static int comparable(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int         rc, form;
    json_t     *json;
    size_t      step;
    llm_api_t   api;
    request_t   whole, pieces;

    if (size < 2) {
        return 0;
    }

    api = (llm_api_t) (data[0] % LLM_APIS);
    step = 1 + data[1] % 16;
    form = (data[1] & 0x80) && (api == LLM_API_TRANSCRIPTIONS
                                || api == LLM_API_IMAGES);

    data += 2;
    size -= 2;

    rc = read_body(&whole, api, form, data, size, size + 1);

    if (rc != read_body(&pieces, api, form, data, size, step)) {
        abort();
    }

    if (rc != LLM_OK) {

        if (api == LLM_API_OTHER
            || llm_request_error(&whole.rq) == NULL
            || strcmp(llm_request_error(&whole.rq),
                      llm_request_error(&pieces.rq))
               != 0)
        {
            abort();
        }

        return 0;
    }

    if (!same(&whole, &pieces)) {
        abort();
    }

    check(&whole, data, size);

    if (!form && api != LLM_API_OTHER && comparable(data, size)) {

        json = json_loadb((const char *) data, size, JSON_ALLOW_NUL, NULL);

        if (!json_is_object(json)) {
            abort();
        }

        json_decref(json);
    }

    return 0;
}


static int
read_body(request_t *r, llm_api_t api, int form, const uint8_t *data,
    size_t size, size_t step)
{
    size_t    i, n;
    uint8_t  *copy;

    static const char  type[] = "multipart/form-data; boundary=b";

    memset(r, 0xaa, sizeof(request_t));

    llm_request_init(&r->rq, api);
    llm_request_tools(&r->rq, r->tools, TOOLS);

    if (form) {
        llm_request_type(&r->rq, (const unsigned char *) type,
                         sizeof(type) - 1);
    }

    for (i = 0; i < size; i += n) {

        n = (step < size - i) ? step : size - i;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data + i, n);
        (void) llm_request_feed(&r->rq, copy, n);
        free(copy);
    }

    return llm_request_finish(&r->rq);
}


static int
same(const request_t *a, const request_t *b)
{
    unsigned     i;
    llm_facts_t  facts;

    facts = b->rq.facts;
    facts.model = a->rq.facts.model;

    if (memcmp(&a->rq.facts, &facts, sizeof(llm_facts_t)) != 0
        || memcmp(a->rq.model, b->rq.model, facts.model_len) != 0
        || memcmp(&a->rq.edits, &b->rq.edits, sizeof(llm_edits_t)) != 0)
    {
        return 0;
    }

    for (i = 0; i < a->rq.facts.ntools && i < TOOLS; i++) {

        if (memcmp(&a->tools[i].span, &b->tools[i].span,
                   sizeof(llm_span_t)) != 0
            || memcmp(&a->tools[i].array, &b->tools[i].array,
                      sizeof(llm_span_t)) != 0
            || a->tools[i].name_len != b->tools[i].name_len
            || memcmp(a->tools[i].name, b->tools[i].name,
                      a->tools[i].name_len) != 0)
        {
            return 0;
        }
    }

    return 1;
}


static void
check(const request_t *r, const uint8_t *data, size_t size)
{
    unsigned            i;
    const llm_edits_t  *e;
    const llm_facts_t  *f;
    const llm_place_t  *place;

    e = &r->rq.edits;
    f = &r->rq.facts;

    if (f->choices < 1 || f->input_tokens < 0 || f->max_tokens < -1
        || f->max_tokens == 0 || f->model_len > LLM_MODEL_MAX
        || e->nlimits > LLM_LIMITS)
    {
        abort();
    }

    if (f->object_start && data[f->object_start - 1] != '{') {
        abort();
    }

    check_span(&e->max_tokens_value, data, size, "-0123456789n", NULL);
    check_span(&f->stream_options, data, size, "{n", "}l");
    check_span(&e->config, data, size, "{n", "}l");
    check_span(&e->thinking.span, data, size, "-0123456789", NULL);

    for (i = 0; i < e->nlimits; i++) {
        check_span(&e->limits[i].span, data, size, "-0123456789n", NULL);
    }

    for (i = 0; i < LLM_PLACES; i++) {

        place = &e->places[i];

        if (place->span.end == 0) {
            continue;
        }

        check_span(&place->span, data, size, "\"", NULL);

        if ((place->before && (place->before >= place->span.start
                               || data[place->before] != ','))
            || (place->next && (place->next < place->span.end
                                || place->next >= size
                                || data[place->next] != ',')))
        {
            abort();
        }
    }

    for (i = 0; i < f->ntools && i < TOOLS; i++) {

        check_span(&r->tools[i].span, data, size, "{", "}");
        check_span(&r->tools[i].array, data, size, "[", "]");

        if (r->tools[i].span.start <= r->tools[i].array.start
            || r->tools[i].span.end >= r->tools[i].array.end)
        {
            abort();
        }
    }
}


/* a span that is there begins and ends with one of these */

static void
check_span(const llm_span_t *span, const uint8_t *data, size_t size,
    const char *first, const char *last)
{
    if (span->end == 0) {
        return;
    }

    if (span->start >= span->end || span->end > size
        || strchr(first, data[span->start]) == NULL
        || (last && strchr(last, data[span->end - 1]) == NULL))
    {
        abort();
    }
}


/* jansson refuses half surrogates and numbers that no double can hold */

static int
comparable(const uint8_t *data, size_t size)
{
    size_t  i, digits;

    digits = 0;

    for (i = 0; i < size; i++) {

        digits = (data[i] >= '0' && data[i] <= '9') ? digits + 1 : 0;

        if (digits > 15 || (data[i] == '\\' && i + 1 < size
                            && data[i + 1] == 'u'))
        {
            return 0;
        }

        if ((data[i] | 0x20) == 'e' && i
            && data[i - 1] >= '0' && data[i - 1] <= '9')
        {
            return 0;
        }
    }

    return 1;
}
