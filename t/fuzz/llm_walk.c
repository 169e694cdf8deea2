
/*
 * Copyright (C) nginx-cycles authors
 *
 * What is read in one go must be read as what is looked at token by token, in
 * whichever pieces it comes.  The first byte is the API, and whether it is a
 * request; the second one says how long the pieces are.
 */


#include <stdlib.h>
#include <string.h>

#include "llm/llm_dialect.h"
#include "llm/llm_walk_step.h"


/* a digest of all events */

typedef struct {
    llm_walk_t           w;
    uint64_t             begin[LLM_WALK_DEPTH];
    uint64_t             sum;
    int                  last;
} reader_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void begin(reader_t *r, const llm_member_t *root, int strict);
static void feed(reader_t *r, const uint8_t *data, size_t size, int quick);
static void pieces(reader_t *r, const uint8_t *data, size_t size, size_t n);
static void record(reader_t *r, int event);
static void add(reader_t *r, uint64_t word);
static void check(const reader_t *a, const reader_t *b);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                   strict;
    size_t                step, cut;
    reader_t              slow, quick, cuts;
    const llm_member_t   *root;
    const llm_dialect_t  *dialect;

    if (size < 2) {
        return 0;
    }

    dialect = llm_dialect((llm_api_t) (data[0] % LLM_APIS));
    strict = (data[0] & 0x80) != 0;
    root = strict ? dialect->request : dialect->reply;
    step = 1 + data[1];

    data += 2;
    size -= 2;
    cut = size * step / 256;

    begin(&slow, root, strict);
    feed(&slow, data, size, 0);

    begin(&quick, root, strict);
    pieces(&quick, data, size, size + 1);
    check(&slow, &quick);

    begin(&cuts, root, strict);
    pieces(&cuts, data, cut, cut + 1);
    pieces(&cuts, data + cut, size - cut, size + 1);
    check(&slow, &cuts);

    begin(&cuts, root, strict);
    pieces(&cuts, data, size, step);
    check(&slow, &cuts);

    return 0;
}


static void
begin(reader_t *r, const llm_member_t *root, int strict)
{
    memset(r, 0xaa, sizeof(reader_t));

    llm_walk_init(&r->w, root, strict);
    llm_walk_places(&r->w, r->begin);

    r->sum = 0;
    r->last = LLM_JSON_AGAIN;
}


static void
pieces(reader_t *r, const uint8_t *data, size_t size, size_t n)
{
    uint8_t  *copy;

    for ( /* void */ ; size; size -= n, data += n) {

        n = (n < size) ? n : size;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, data, n);
        feed(r, copy, n, 1);
        free(copy);
    }
}


static void
feed(reader_t *r, const uint8_t *data, size_t size, int quick)
{
    int             event;
    const uint8_t  *last, *guard;

    last = data + size;
    guard = quick ? llm_walk_guard(data, last) : data;

    llm_json_begin(&r->w.json, data);

    do {
        event = llm_walk_event(&r->w, &data, guard, last);
        r->w.json.offset = llm_json_position(&r->w.json, data);

        record(r, event);

    } while (event > LLM_JSON_AGAIN);
}


static void
record(reader_t *r, int event)
{
    size_t       i;
    llm_json_t  *js;

    js = &r->w.json;

    if (event == LLM_JSON_AGAIN || r->last == LLM_JSON_ERROR) {
        return;
    }

    if (event == LLM_JSON_STRING && !js->first) {
        goto text;
    }

    r->last = event;

    add(r, (uint64_t) event);

    if (event == LLM_JSON_ERROR) {
        add(r, js->start);
        return;
    }

    add(r, (uintptr_t) r->w.member);
    add(r, r->w.element);
    add(r, r->w.all);
    add(r, r->w.depth);
    add(r, r->w.key);
    add(r, js->comma);
    add(r, js->depth);

    if (js->depth) {
        add(r, (uint64_t) llm_json_in_array(js));
    }

    for (i = 1; i <= r->w.depth; i++) {
        add(r, r->begin[i]);
    }

    /* a string may begin with a piece that ends at an error */

    if (event != LLM_JSON_STRING) {
        add(r, js->start);
    }

    switch (event) {

    case LLM_JSON_OBJECT_END:
    case LLM_JSON_ARRAY_END:
        add(r, js->empty);
        break;

    case LLM_JSON_KEY:
    case LLM_JSON_NUMBER:
        add(r, js->len);
        break;

    default:
        break;
    }

text:

    switch (event) {

    case LLM_JSON_KEY:
    case LLM_JSON_NUMBER:
    case LLM_JSON_STRING:
        for (i = 0; js->text && i < js->len; i++) {
            add(r, js->text[i]);
        }

        if (event == LLM_JSON_STRING && js->last) {
            add(r, js->offset);
        }

        break;

    default:
        add(r, js->offset);
    }
}


static void
add(reader_t *r, uint64_t word)
{
    r->sum = (r->sum ^ word) * 0x9e3779b97f4a7c15;
    r->sum ^= r->sum >> 29;
}


static void
check(const reader_t *a, const reader_t *b)
{
    const llm_json_t  *x, *y;

    x = &a->w.json;
    y = &b->w.json;

    if (a->sum != b->sum
        || a->last != b->last
        || x->offset != y->offset
        || x->depth != y->depth
        || llm_json_complete(x) != llm_json_complete(y)
        || (a->last == LLM_JSON_ERROR && strcmp(x->error, y->error) != 0))
    {
        abort();
    }
}
