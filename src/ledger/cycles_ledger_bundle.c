
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reservations of a batch that are alike: at a high rate most of them differ
 * in their amounts, times and names only.  Up to CYCLES_BUNDLE_ROWS of those
 * are one row of reservation_bundles, which costs a fraction of as many rows
 * of reservation_rows; the view "reservations" shows both.
 */


#include <string.h>

#include "../cycles_json.h"
#include "../cycles_scan.h"
#include "cycles_ledger_db.h"


/* of what a client may have made up, that goes into a bundle */
#define CYCLES_BUNDLE_STR   256

/* what one takes at most: 13 numbers, an id, two keys and two traces */
#define CYCLES_BUNDLE_ROOM  (13 * 24 + 5 * (CYCLES_BUNDLE_STR + 8))


static int cycles_bundle_plain(cycles_str_t s);
static void cycles_bundle_row(cycles_json_t *js, const cycles_record_t *reserve,
    const cycles_record_t *commit);
static void cycles_bundle_int(cycles_json_t *js, int64_t n);
static void cycles_bundle_opt_int(cycles_json_t *js, int64_t n, int64_t none);
static void cycles_bundle_str(cycles_json_t *js, cycles_str_t s);


/* what has texts of its own is in no bundle */

int
cycles_bundle_takes_reserve(const cycles_record_t *reserve)
{
    return reserve->fresh_key
           && reserve->caps_from == 0
           && reserve->metadata.len == 0
           && reserve->key.len
           && cycles_bundle_plain(reserve->key)
           && cycles_bundle_plain(reserve->trace_id);
}


int
cycles_bundle_takes_commit(const cycles_record_t *commit)
{
    return !commit->texts_omitted
           && commit->metadata.len == 0
           && commit->metrics.custom.len == 0
           && commit->key.len
           && cycles_bundle_plain(commit->key)
           && cycles_bundle_plain(commit->trace_id);
}


/* SQLite reads back from JSON exactly what it was, in each of its versions */

static int
cycles_bundle_plain(cycles_str_t s)
{
    return s.len <= CYCLES_BUNDLE_STR
           && cycles_scan(s.data, s.data, s.data + s.len, CYCLES_SCAN_ASCII)
              == s.data + s.len;
}


/* all that a bundle has once, but for the model, which a commit tells */

void
cycles_bundle_digest(cycles_folder_t *f, const cycles_record_t *reserve,
    cycles_digest_t *digest)
{
    unsigned          i;
    cycles_siphash_t  h;

    cycles_digest_begin(f->ledger, &h, "bundle");
    cycles_digest_str(&h, reserve->owner);
    cycles_digest_str(&h, reserve->request);
    cycles_digest_int(&h, reserve->unit);
    cycles_digest_int(&h, reserve->policy);
    cycles_digest_int(&h, reserve->decision);
    cycles_digest_int(&h, reserve->ttl_ms);
    cycles_digest_int(&h, reserve->grace_ms);

    for (i = 0; i < reserve->neffects; i++) {
        cycles_digest_int(&h, reserve->effects[i].budget);
    }

    cycles_siphash_final(&h, digest);
}


int
cycles_bundle_add(cycles_folder_t *f, cycles_bundle_t *bundle,
    const cycles_record_t *reserve, const cycles_record_t *commit)
{
    if (bundle->n == 0) {
        cycles_json_init(&bundle->rows, bundle->text, CYCLES_BUNDLE_TEXT);
        cycles_json_raw(&bundle->rows, "[", 1);

        bundle->first_seq = reserve->seq;
        bundle->created_from_ms = reserve->time;
        bundle->created_to_ms = reserve->time;
        bundle->finalized_to_ms = commit->time;
    }

    bundle->last_seq = reserve->seq;

    if (reserve->time < bundle->created_from_ms) {
        bundle->created_from_ms = reserve->time;
    }

    if (reserve->time > bundle->created_to_ms) {
        bundle->created_to_ms = reserve->time;
    }

    if (commit->time > bundle->finalized_to_ms) {
        bundle->finalized_to_ms = commit->time;
    }

    memcpy(bundle->digests[bundle->n].bytes, commit->digest.bytes, 16);
    bundle->n++;

    cycles_bundle_row(&bundle->rows, reserve, commit);

    if (bundle->n < CYCLES_BUNDLE_ROWS
        && bundle->rows.len + CYCLES_BUNDLE_ROOM < CYCLES_BUNDLE_TEXT)
    {
        return 0;
    }

    return cycles_bundle_write(f, bundle, reserve, commit);
}


/* in the order of CYCLES_BUNDLE_SELECT */

static void
cycles_bundle_row(cycles_json_t *js, const cycles_record_t *reserve,
    const cycles_record_t *commit)
{
    char          id[CYCLES_UUID_LEN + 1];
    cycles_str_t  text;

    cycles_id_print(reserve->id, id);
    text.data = (unsigned char *) id;
    text.len = CYCLES_UUID_LEN;

    cycles_json_next(js);
    cycles_json_raw(js, "[", 1);

    cycles_bundle_int(js, reserve->seq);
    cycles_bundle_str(js, text);
    cycles_bundle_str(js, reserve->key);
    cycles_bundle_str(js, reserve->trace_id);
    cycles_bundle_int(js, reserve->time);
    cycles_bundle_int(js, reserve->amount);
    cycles_bundle_opt_int(js, reserve->remaining, CYCLES_NOT_KNOWN);
    cycles_bundle_int(js, reserve->expires_at_ms);
    cycles_bundle_int(js, commit->time);
    cycles_bundle_int(js, commit->seq);
    cycles_bundle_str(js, commit->key);
    cycles_bundle_str(js, commit->trace_id);
    cycles_bundle_opt_int(js, commit->remaining, CYCLES_NOT_KNOWN);
    cycles_bundle_int(js, commit->amount);
    cycles_bundle_int(js, commit->charged);
    cycles_bundle_opt_int(js, commit->metrics.tokens_input, -1);
    cycles_bundle_opt_int(js, commit->metrics.tokens_output, -1);
    cycles_bundle_opt_int(js, commit->metrics.latency_ms, -1);

    cycles_json_raw(js, "]", 1);
}


static void
cycles_bundle_int(cycles_json_t *js, int64_t n)
{
    cycles_json_next(js);
    cycles_json_integer(js, n);
}


static void
cycles_bundle_opt_int(cycles_json_t *js, int64_t n, int64_t none)
{
    if (n == none) {
        cycles_json_raw(js, ",null", 5);

    } else {
        cycles_bundle_int(js, n);
    }
}


/* has been looked at: nothing in it has to be escaped */

static void
cycles_bundle_str(cycles_json_t *js, cycles_str_t s)
{
    if (s.len == 0) {
        cycles_json_raw(js, ",null", 5);
        return;
    }

    cycles_json_raw(js, ",\"", 2);
    cycles_json_raw(js, s.data, s.len);
    cycles_json_raw(js, "\"", 1);
}


int
cycles_bundle_write(cycles_folder_t *f, cycles_bundle_t *bundle,
    const cycles_record_t *reserve, const cycles_record_t *commit)
{
    unsigned        n;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    n = bundle->n;
    bundle->n = 0;

    st = cycles_fold_statement(f, CYCLES_FOLD_BUNDLE);

    if (st == NULL) {
        return -1;
    }

    cycles_json_raw(&bundle->rows, "]", 1);

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, bundle->first_seq);
    cycles_bind_int(&b, bundle->last_seq);
    cycles_bind_int(&b, bundle->created_from_ms);
    cycles_bind_int(&b, bundle->created_to_ms);
    cycles_bind_int(&b, bundle->finalized_to_ms);
    cycles_bind_str(&b, reserve->owner);

    if (cycles_fold_subject(f, &b, reserve) != 0) {
        return -1;
    }

    cycles_bind_name(&b, cycles_policy_name(reserve->policy));
    cycles_bind_name(&b, cycles_decisions[reserve->decision]);
    cycles_bind_int(&b, reserve->ttl_ms);
    cycles_bind_int(&b, reserve->grace_ms);

    if (cycles_fold_budgets(f, &b, reserve) != 0) {
        return -1;
    }

    cycles_bind_opt_str(&b, commit->metrics.model_version);
    cycles_bind_blob(&b, bundle->digests, n * sizeof(cycles_digest_t));
    cycles_bind_text(&b, bundle->text, bundle->rows.len);

    return cycles_fold_run(f, st, 1);
}
