
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reservations of a batch that were made and committed by nginx itself: at a
 * high rate there are many of them, and each tells little that is its own.
 * Up to CYCLES_BUNDLE_ROWS are one row of reservation_bundles, which costs a
 * fraction of as many rows of reservation_rows; the view "reservations" shows
 * both.
 */


#include <string.h>

#include "../cycles_json.h"
#include "../cycles_scan.h"
#include "cycles_ledger_db.h"


/* of what a client may have made up, that goes into a bundle */
#define CYCLES_BUNDLE_STR     256

/* amounts and times whose differences are numbers, too */
#define CYCLES_BUNDLE_AMOUNT  ((int64_t) 1 << 62)
#define CYCLES_BUNDLE_TIME    ((int64_t) 1 << 53)

/* what a request, and an action, take in a bundle at most */
#define CYCLES_BUNDLE_ROOM    (2 * CYCLES_BUNDLE_SHAPE)

/* bits of a tenant in the filter of tenants */
#define CYCLES_BUNDLE_PROBES  4


/* a row that is written; nulls are, once something follows them */

typedef struct {
    unsigned char        *p;
    unsigned              nulls;
} cycles_bundle_out_t;


static int cycles_bundle_plain(cycles_str_t s);
static int cycles_bundle_amount_ok(int64_t amount);
static int cycles_bundle_time_ok(int64_t ms);
static int cycles_bundle_next_key(const cycles_bundle_row_t *row,
    const cycles_record_t *commit);
static int cycles_bundle_same_trace(const cycles_bundle_row_t *row,
    const cycles_record_t *commit);
static void cycles_bundle_text(cycles_bundle_row_t *row,
    cycles_bundle_value_t text, cycles_str_t s);
static int cycles_bundle_own(const cycles_bundle_row_t *row,
    cycles_bundle_value_t text);
static unsigned cycles_bundle_action(cycles_bundle_t *bundle,
    const cycles_bundle_shape_t *shape, const cycles_record_t *reserve,
    cycles_str_t model);
static int cycles_bundle_owns(cycles_str_t owner, cycles_str_t tenant);
static void cycles_bundle_integer(cycles_json_t *js, int64_t n);
static void cycles_bundle_string(cycles_json_t *js, cycles_str_t s);
static void cycles_bundle_name(cycles_json_t *js, const char *name);
static void cycles_bundle_opt(cycles_json_t *js, cycles_str_t s);
static void cycles_bundle_bounds(cycles_bundle_t *bundle);
static size_t cycles_bundle_rows(cycles_bundle_t *bundle);
static unsigned char *cycles_bundle_row(const cycles_bundle_t *bundle,
    const cycles_bundle_row_t *row, int64_t base, unsigned char *p);
static void cycles_bundle_number(cycles_bundle_out_t *out, int64_t n);
static void cycles_bundle_opt_number(cycles_bundle_out_t *out, int64_t n,
    int64_t none);
static void cycles_bundle_out_text(cycles_bundle_out_t *out,
    const cycles_bundle_row_t *row, cycles_bundle_value_t text);
static void cycles_bundle_nulls(cycles_bundle_out_t *out);
static size_t cycles_bundle_filter(const cycles_bundle_t *bundle,
    unsigned char *filter);
static unsigned cycles_bundle_bit(uint64_t owner, unsigned probe,
    size_t size);


/* what has texts of its own is in no bundle, nor what is as it never is */

int
cycles_bundle_takes_reserve(const cycles_record_t *reserve)
{
    return reserve->fresh_key
           && reserve->caps_from == 0
           && reserve->metadata.len == 0
           && reserve->key.len
           && cycles_bundle_time_ok(reserve->time)
           && cycles_bundle_time_ok(reserve->ttl_ms)
           && reserve->expires_at_ms == reserve->time + reserve->ttl_ms
           && cycles_bundle_amount_ok(reserve->remaining);
}


int
cycles_bundle_takes_commit(const cycles_record_t *commit)
{
    static const cycles_digest_t  no_digest;

    return !commit->texts_omitted
           && memcmp(&commit->digest, &no_digest, sizeof(cycles_digest_t))
              == 0
           && commit->metadata.len == 0
           && commit->metrics.custom.len == 0
           && commit->key.len
           && cycles_bundle_time_ok(commit->time)
           && cycles_bundle_amount_ok(commit->remaining)
           && cycles_bundle_plain(commit->metrics.model_version);
}


/* SQLite reads back from JSON exactly what it was, in each of its versions */

static int
cycles_bundle_plain(cycles_str_t s)
{
    return s.len <= CYCLES_BUNDLE_STR
           && cycles_scan(s.data, s.data, s.data + s.len, CYCLES_SCAN_ASCII)
              == s.data + s.len;
}


static int
cycles_bundle_amount_ok(int64_t amount)
{
    return amount > -CYCLES_BUNDLE_AMOUNT && amount < CYCLES_BUNDLE_AMOUNT;
}


static int
cycles_bundle_time_ok(int64_t ms)
{
    return ms >= 0 && ms < CYCLES_BUNDLE_TIME;
}


/*
 * All that tells one request from another one, but for its names, times and
 * amounts.  What follows the action first, then whose request it is.
 */

size_t
cycles_bundle_shape(const cycles_record_t *reserve, unsigned char *key,
    size_t *action)
{
    unsigned              i;
    size_t                n;
    unsigned char        *p;
    const unsigned char  *request;

    if (reserve->owner.len + reserve->request.len > CYCLES_BUNDLE_SHAPE / 2
        || reserve->neffects > CYCLES_LEVELS)
    {
        return 0;
    }

    p = key;

    *p++ = (unsigned char) reserve->unit;
    *p++ = (unsigned char) reserve->policy;
    *p++ = (unsigned char) reserve->decision;
    cycles_put64(p, reserve->ttl_ms);
    p += 8;
    cycles_put64(p, reserve->grace_ms);
    p += 8;

    request = reserve->request.data;
    n = reserve->request_action;

    memcpy(p, request + n, reserve->request.len - n);
    p += reserve->request.len - n;
    *action = (size_t) (p - key);

    memcpy(p, request, n);
    p += n;

    for (i = 0; i < reserve->neffects; i++) {
        cycles_put32(p, reserve->effects[i].budget);
        p += 4;
    }

    *p++ = (unsigned char) reserve->neffects;

    memcpy(p, reserve->owner.data, reserve->owner.len);
    p += reserve->owner.len;

    return (size_t) (p - key);
}


/* whether bundles have requests of this shape, whose action they may know */

int
cycles_bundle_shape_ok(const cycles_record_t *reserve, unsigned action_ok)
{
    unsigned                 i;
    const cycles_action_t   *action;
    const cycles_subject_t  *subject;

    action = reserve->action;
    subject = reserve->subject;

    if (!cycles_subject_ok(subject) || !cycles_bundle_plain(reserve->owner)) {
        return 0;
    }

    for (i = 0; i < subject->ndimensions; i++) {
        if (!cycles_bundle_plain(subject->dimensions[i].key)
            || !cycles_bundle_plain(subject->dimensions[i].value))
        {
            return 0;
        }
    }

    if (action_ok) {
        return 1;
    }

    if (!cycles_bundle_plain(action->kind)
        || !cycles_bundle_plain(action->name))
    {
        return 0;
    }

    for (i = 0; i < action->ntags; i++) {
        if (!cycles_bundle_plain(action->tags[i])) {
            return 0;
        }
    }

    return 1;
}


/* 0: there is something in it that no bundle has */

int
cycles_bundle_reserve(cycles_bundle_row_t *row, const cycles_record_t *reserve)
{
    cycles_bundle_names_t  *names;

    names = &row->names;
    memset(row->lens, 0, sizeof(row->lens));

    memcpy(names->id, reserve->id, 16);

    if (reserve->key_is_uuid) {
        memcpy(names->key, reserve->key_uuid, 16);

    } else {

        if (!cycles_bundle_plain(reserve->key)) {
            return 0;
        }

        memset(names->key, 0, 16);
        cycles_bundle_text(row, CYCLES_BUNDLE_KEY, reserve->key);
    }

    if (reserve->trace_is_hex) {
        memcpy(names->trace, reserve->trace, 16);

    } else {

        if (!cycles_bundle_plain(reserve->trace_id)) {
            return 0;
        }

        /* zeroes are for none */

        memset(names->trace, 0, 16);
        cycles_bundle_text(row, CYCLES_BUNDLE_TRACE, reserve->trace_id);
    }

    row->seq = reserve->seq;
    row->created_at_ms = reserve->time;
    row->estimate = reserve->amount;
    row->remaining = reserve->remaining;

    return 1;
}


/*
 * Of the reserve that was read last; 0: as above.  Texts are where the record
 * is, which has none of a UUID, so one that can't be told from the reserve is
 * in no bundle.
 */

int
cycles_bundle_commit(cycles_bundle_row_t *row, const cycles_record_t *commit)
{
    if (!cycles_bundle_next_key(row, commit)) {

        if (commit->key_is_uuid || !cycles_bundle_plain(commit->key)) {
            return 0;
        }

        cycles_bundle_text(row, CYCLES_BUNDLE_SETTLE_KEY, commit->key);
    }

    row->settle_untraced = 0;

    if (!cycles_bundle_same_trace(row, commit)) {

        if (commit->trace_is_hex || !cycles_bundle_plain(commit->trace_id)) {
            return 0;
        }

        cycles_bundle_text(row, CYCLES_BUNDLE_SETTLE_TRACE, commit->trace_id);

        row->settle_untraced = (commit->trace_id.len == 0);
    }

    row->settle_seq = commit->seq;
    row->finalized_at_ms = commit->time;
    row->settle_remaining = commit->remaining;
    row->actual = commit->amount;
    row->charged = commit->charged;
    row->tokens_input = commit->metrics.tokens_input;
    row->tokens_output = commit->metrics.tokens_output;
    row->latency_ms = commit->metrics.latency_ms;

    return 1;
}


static int
cycles_bundle_next_key(const cycles_bundle_row_t *row,
    const cycles_record_t *commit)
{
    uint8_t  key[16];

    if (!commit->key_is_uuid || cycles_bundle_own(row, CYCLES_BUNDLE_KEY)) {
        return 0;
    }

    cycles_bundle_settle_key(row->names.key, key);

    return memcmp(commit->key_uuid, key, 16) == 0;
}


/* nginx makes it from the reserve's: the last digit is the one behind it */

void
cycles_bundle_settle_key(const uint8_t *reserve, uint8_t *key)
{
    memcpy(key, reserve, 16);
    key[15] = (uint8_t) ((key[15] & 0xf0) | ((key[15] + 1) & 0x0f));
}


static int
cycles_bundle_same_trace(const cycles_bundle_row_t *row,
    const cycles_record_t *commit)
{
    cycles_str_t          trace;
    static const uint8_t  none[16];

    trace = commit->trace_id;

    if (cycles_bundle_own(row, CYCLES_BUNDLE_TRACE)) {
        return row->lens[CYCLES_BUNDLE_TRACE - CYCLES_BUNDLE_KEY] == trace.len
               && memcmp(row->texts[CYCLES_BUNDLE_TRACE - CYCLES_BUNDLE_KEY],
                         trace.data, trace.len)
                  == 0;
    }

    return commit->trace_is_hex
           ? memcmp(row->names.trace, commit->trace, 16) == 0
           : (trace.len == 0 && memcmp(row->names.trace, none, 16) == 0);
}


static void
cycles_bundle_text(cycles_bundle_row_t *row, cycles_bundle_value_t text,
    cycles_str_t s)
{
    row->texts[text - CYCLES_BUNDLE_KEY] = s.data;
    row->lens[text - CYCLES_BUNDLE_KEY] = (uint16_t) s.len;
}


static int
cycles_bundle_own(const cycles_bundle_row_t *row, cycles_bundle_value_t text)
{
    return row->lens[text - CYCLES_BUNDLE_KEY] != 0;
}


void
cycles_bundle_move(cycles_bundle_row_t *row, const unsigned char *buf,
    size_t len, const unsigned char *copy)
{
    unsigned   i;
    uintptr_t  at;

    for (i = 0; i < CYCLES_BUNDLE_TEXTS; i++) {

        if (row->lens[i] == 0) {
            continue;
        }

        at = (uintptr_t) row->texts[i] - (uintptr_t) buf;

        if (at < len) {
            row->texts[i] = copy + at;
        }
    }
}


/* rows of another request follow; there is room for it */

void
cycles_bundle_request(cycles_bundle_t *bundle,
    const cycles_bundle_shape_t *shape, const cycles_record_t *reserve,
    cycles_str_t model, const cycles_bundle_row_t *row)
{
    unsigned             i, n, action;
    cycles_json_t       *js;
    const cycles_str_t  *levels;

    if (bundle->n == 0) {
        bundle->nrequests = 0;
        bundle->nactions = 0;

        cycles_json_init(&bundle->requests, bundle->requests_text,
                         CYCLES_BUNDLE_TEXT);
        cycles_json_raw(&bundle->requests, "[", 1);

        cycles_json_init(&bundle->actions, bundle->actions_text,
                         CYCLES_BUNDLE_TEXT);
        cycles_json_raw(&bundle->actions, "[", 1);
    }

    action = cycles_bundle_action(bundle, shape, reserve, model);

    i = bundle->nrequests++;

    bundle->starts[i] = bundle->n;
    bundle->bases[i] = row->remaining;
    bundle->owners[i] = cycles_bundle_hash(reserve->owner.data,
                                           reserve->owner.len);

    js = &bundle->requests;

    cycles_json_next(js);
    cycles_json_raw(js, "[", 1);
    cycles_bundle_integer(js, bundle->n);
    cycles_bundle_integer(js, action);
    cycles_bundle_integer(js, bundle->bases[i]);
    cycles_json_raw(js, ",[", 2);

    for (i = 0; i < reserve->neffects; i++) {
        cycles_bundle_integer(js, reserve->effects[i].budget);
    }

    cycles_json_raw(js, "]", 1);

    levels = reserve->subject->levels;

    if (cycles_bundle_owns(reserve->owner, levels[CYCLES_TENANT])) {
        cycles_json_raw(js, ",null", 5);

    } else {
        cycles_bundle_string(js, reserve->owner);
    }

    if (reserve->subject->ndimensions) {
        cycles_json_raw(js, ",", 1);
        cycles_write_dimensions(js, reserve->subject);

    } else {
        cycles_json_raw(js, ",null", 5);
    }

    /* levels behind the last one are not there */

    for (n = CYCLES_LEVELS; levels[n - 1].len == 0; n--) { /* void */ }

    for (i = 0; i < n; i++) {
        cycles_bundle_opt(js, levels[i]);
    }

    cycles_json_raw(js, "]", 1);
}


/* its number; most bundles have one or two of them */

static unsigned
cycles_bundle_action(cycles_bundle_t *bundle,
    const cycles_bundle_shape_t *shape, const cycles_record_t *reserve,
    cycles_str_t model)
{
    unsigned                       i;
    cycles_json_t                 *js;
    const cycles_bundle_action_t  *known;

    for (i = 0; i < bundle->nactions && i < CYCLES_BUNDLE_ACTIONS; i++) {
        known = &bundle->known[i];

        if (known->shape->action_len == shape->action_len
            && memcmp(known->shape->key, shape->key, shape->action_len) == 0
            && known->model.len == model.len
            && memcmp(known->model.data, model.data, model.len) == 0)
        {
            return i;
        }
    }

    if (i < CYCLES_BUNDLE_ACTIONS) {
        bundle->known[i].shape = shape;
        bundle->known[i].model = model;
    }

    js = &bundle->actions;

    cycles_json_next(js);
    cycles_json_raw(js, "[", 1);
    cycles_bundle_string(js, reserve->action->kind);
    cycles_bundle_string(js, reserve->action->name);

    if (reserve->action->ntags) {
        cycles_json_raw(js, ",", 1);
        cycles_write_tags(js, reserve->action);

    } else {
        cycles_json_raw(js, ",null", 5);
    }

    cycles_bundle_name(js, cycles_unit_name(reserve->unit));
    cycles_bundle_name(js, cycles_policy_name(reserve->policy));
    cycles_bundle_name(js, cycles_decisions[reserve->decision]);
    cycles_bundle_integer(js, reserve->ttl_ms);
    cycles_bundle_integer(js, reserve->grace_ms);
    cycles_bundle_opt(js, model);
    cycles_json_raw(js, "]", 1);

    return bundle->nactions++;
}


/* the tenant is in lower case, as everywhere */

static int
cycles_bundle_owns(cycles_str_t owner, cycles_str_t tenant)
{
    size_t         i;
    unsigned char  ch;

    if (owner.len != tenant.len || owner.len == 0) {
        return 0;
    }

    for (i = 0; i < owner.len; i++) {
        ch = tenant.data[i];

        if (owner.data[i] != ((ch >= 'A' && ch <= 'Z') ? (ch | 0x20) : ch)) {
            return 0;
        }
    }

    return 1;
}


static void
cycles_bundle_integer(cycles_json_t *js, int64_t n)
{
    cycles_json_next(js);
    cycles_json_integer(js, n);
}


/* has been looked at: nothing in it has to be escaped */

static void
cycles_bundle_string(cycles_json_t *js, cycles_str_t s)
{
    cycles_json_next(js);
    cycles_json_raw(js, "\"", 1);
    cycles_json_raw(js, s.data, s.len);
    cycles_json_raw(js, "\"", 1);
}


static void
cycles_bundle_name(cycles_json_t *js, const char *name)
{
    cycles_str_t  s;

    s.data = (unsigned char *) name;
    s.len = strlen(name);

    cycles_bundle_string(js, s);
}


static void
cycles_bundle_opt(cycles_json_t *js, cycles_str_t s)
{
    if (s.len == 0) {
        cycles_json_next(js);
        cycles_json_raw(js, "null", 4);

    } else {
        cycles_bundle_string(js, s);
    }
}


/* whether there is no room for one more, of another request if it is so */

int
cycles_bundle_full(const cycles_bundle_t *bundle)
{
    return bundle->n == CYCLES_BUNDLE_ROWS
           || (bundle->n
               && (bundle->requests.len + CYCLES_BUNDLE_ROOM
                   > CYCLES_BUNDLE_TEXT
                   || bundle->actions.len + CYCLES_BUNDLE_ROOM
                      > CYCLES_BUNDLE_TEXT));
}


/* of the request that was added last */

void
cycles_bundle_add(cycles_bundle_t *bundle, const cycles_bundle_row_t *row)
{
    memcpy(&bundle->names[bundle->n], &row->names,
           sizeof(cycles_bundle_names_t));

    bundle->rows[bundle->n++] = row;
}


int
cycles_bundle_write(cycles_folder_t *f, cycles_bundle_t *bundle)
{
    size_t          len, filter_len;
    unsigned        n;
    cycles_bind_t   b;
    sqlite3_stmt   *st;
    unsigned char   filter[CYCLES_BUNDLE_FILTER];

    if (bundle->n == 0) {
        return 0;
    }

    st = cycles_fold_statement(f, CYCLES_FOLD_BUNDLE);

    if (st == NULL) {
        return -1;
    }

    cycles_bundle_bounds(bundle);

    len = cycles_bundle_rows(bundle);
    filter_len = cycles_bundle_filter(bundle, filter);

    cycles_json_raw(&bundle->requests, "]", 1);
    cycles_json_raw(&bundle->actions, "]", 1);

    n = bundle->n;
    bundle->n = 0;

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, bundle->first_seq);
    cycles_bind_int(&b, bundle->last_seq);
    cycles_bind_int(&b, bundle->created_from_ms);
    cycles_bind_int(&b, bundle->created_to_ms);
    cycles_bind_int(&b, bundle->finalized_to_ms);
    cycles_bind_blob(&b, filter, filter_len);
    cycles_bind_text(&b, bundle->actions_text, bundle->actions.len);
    cycles_bind_text(&b, bundle->requests_text, bundle->requests.len);
    cycles_bind_text(&b, bundle->text, len);
    cycles_bind_blob(&b, bundle->names, n * sizeof(cycles_bundle_names_t));

    return cycles_fold_run(f, st, 1);
}


static void
cycles_bundle_bounds(cycles_bundle_t *bundle)
{
    unsigned                    i;
    const cycles_bundle_row_t  *row;

    row = bundle->rows[0];

    bundle->first_seq = row->seq;
    bundle->last_seq = row->seq;
    bundle->created_from_ms = row->created_at_ms;
    bundle->created_to_ms = row->created_at_ms;
    bundle->finalized_to_ms = row->finalized_at_ms;

    for (i = 1; i < bundle->n; i++) {
        row = bundle->rows[i];

        if (row->seq < bundle->first_seq) {
            bundle->first_seq = row->seq;
        }

        if (row->seq > bundle->last_seq) {
            bundle->last_seq = row->seq;
        }

        if (row->created_at_ms < bundle->created_from_ms) {
            bundle->created_from_ms = row->created_at_ms;
        }

        if (row->created_at_ms > bundle->created_to_ms) {
            bundle->created_to_ms = row->created_at_ms;
        }

        if (row->finalized_at_ms > bundle->finalized_to_ms) {
            bundle->finalized_to_ms = row->finalized_at_ms;
        }
    }
}


/* an array for each request */

static size_t
cycles_bundle_rows(cycles_bundle_t *bundle)
{
    unsigned        i, k;
    unsigned char  *p;

    p = bundle->text;
    *p++ = '[';

    for (k = 0, i = 0; i < bundle->n; i++) {

        if (k < bundle->nrequests && bundle->starts[k] == i) {

            if (k++) {
                *p++ = ']';
                *p++ = ',';
            }

            *p++ = '[';

        } else {
            *p++ = ',';
        }

        p = cycles_bundle_row(bundle, bundle->rows[i], bundle->bases[k - 1],
                              p);
    }

    *p++ = ']';
    *p++ = ']';

    return (size_t) (p - bundle->text);
}


/* in the order of cycles_bundle_value_t, without the nulls at its end */

static unsigned char *
cycles_bundle_row(const cycles_bundle_t *bundle,
    const cycles_bundle_row_t *row, int64_t base, unsigned char *p)
{
    cycles_bundle_out_t  out;

    *p++ = '[';

    out.p = p;
    out.nulls = 0;

    cycles_bundle_number(&out, row->seq - bundle->first_seq);
    cycles_bundle_number(&out, row->created_at_ms - bundle->created_from_ms);
    cycles_bundle_number(&out, row->estimate);
    cycles_bundle_number(&out, row->remaining - base);
    cycles_bundle_number(&out, row->finalized_at_ms - row->created_at_ms);
    cycles_bundle_number(&out, row->settle_seq - row->seq);
    cycles_bundle_number(&out, row->settle_remaining - row->remaining);
    cycles_bundle_number(&out, row->actual);
    cycles_bundle_opt_number(&out, row->tokens_input, -1);
    cycles_bundle_opt_number(&out, row->tokens_output, -1);
    cycles_bundle_opt_number(&out, row->latency_ms, -1);
    cycles_bundle_opt_number(&out, row->charged, row->actual);

    cycles_bundle_out_text(&out, row, CYCLES_BUNDLE_KEY);
    cycles_bundle_out_text(&out, row, CYCLES_BUNDLE_TRACE);
    cycles_bundle_out_text(&out, row, CYCLES_BUNDLE_SETTLE_KEY);

    if (row->settle_untraced) {
        cycles_bundle_number(&out, 0);

    } else {
        cycles_bundle_out_text(&out, row, CYCLES_BUNDLE_SETTLE_TRACE);
    }

    out.p[-1] = ']';

    return out.p;
}


/* each is followed by a comma */

static void
cycles_bundle_number(cycles_bundle_out_t *out, int64_t n)
{
    cycles_bundle_nulls(out);

    out->p = cycles_json_digits_write(out->p, n);
    *out->p++ = ',';
}


static void
cycles_bundle_opt_number(cycles_bundle_out_t *out, int64_t n, int64_t none)
{
    if (n == none) {
        out->nulls++;

    } else {
        cycles_bundle_number(out, n);
    }
}


/* a text that is not told otherwise */

static void
cycles_bundle_out_text(cycles_bundle_out_t *out,
    const cycles_bundle_row_t *row, cycles_bundle_value_t text)
{
    size_t  len;

    len = row->lens[text - CYCLES_BUNDLE_KEY];

    if (len == 0) {
        out->nulls++;
        return;
    }

    cycles_bundle_nulls(out);

    *out->p++ = '"';
    memcpy(out->p, row->texts[text - CYCLES_BUNDLE_KEY], len);
    out->p += len;
    *out->p++ = '"';
    *out->p++ = ',';
}


static void
cycles_bundle_nulls(cycles_bundle_out_t *out)
{
    for (/* void */ ; out->nulls; out->nulls--) {
        memcpy(out->p, "null,", 5);
        out->p += 5;
    }
}


/*
 * A Bloom filter of the tenants, see cycles_bundle_has(): 16 bits for each of
 * them, of which four are set.
 */

static size_t
cycles_bundle_filter(const cycles_bundle_t *bundle, unsigned char *filter)
{
    size_t    size;
    unsigned  i, k, bit, n;

    for (n = 1, i = 1; i < bundle->nrequests; i++) {
        n += (bundle->owners[i] != bundle->owners[i - 1]);
    }

    for (size = 2; size < 2 * (size_t) n; size *= 2) { /* void */ }

    memset(filter, 0, size);

    for (i = 0; i < bundle->nrequests; i++) {
        for (k = 0; k < CYCLES_BUNDLE_PROBES; k++) {
            bit = cycles_bundle_bit(bundle->owners[i], k, size);
            filter[bit / 8] |= (unsigned char) (1 << bit % 8);
        }
    }

    return size;
}


int
cycles_bundle_has(const unsigned char *filter, size_t size, uint64_t owner)
{
    unsigned  k, bit;

    for (k = 0; k < CYCLES_BUNDLE_PROBES; k++) {
        bit = cycles_bundle_bit(owner, k, size);

        if (!(filter[bit / 8] & 1 << bit % 8)) {
            return 0;
        }
    }

    return 1;
}


static unsigned
cycles_bundle_bit(uint64_t owner, unsigned probe, size_t size)
{
    return (unsigned) ((owner >> (16 * probe)) & (8 * size - 1));
}


/* FNV-1a, and its bits mixed: the filters are in the files */

uint64_t
cycles_bundle_hash(const unsigned char *p, size_t len)
{
    size_t    i;
    uint64_t  h;

    h = 0xcbf29ce484222325ULL;

    for (i = 0; i < len; i++) {
        h = (h ^ p[i]) * 0x100000001b3ULL;
    }

    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;

    return h ^ (h >> 33);
}
