
/*
 * Copyright (C) nginx-cycles authors
 *
 * Most reservations are settled soon.  Their records are held until the end
 * of the batch, so that such a one is one row that is written once, and not
 * one that is made, found again and changed; and those that are alike are a
 * bundle.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cycles_ledger_core.h"
#include "cycles_ledger_db.h"


/* of a batch that has more, the rest is written at once */

#define CYCLES_HELD_RECORDS  16384
#define CYCLES_HELD_SLOTS    (2 * CYCLES_HELD_RECORDS)
#define CYCLES_HELD_BYTES    (8 * 1024 * 1024)

/* fewer of a kind are rows */
#define CYCLES_HELD_BUNDLE   4

/* that go into a bundle, in a tenth of a ms */
#define CYCLES_HELD_TURN     64


/* where its records are in the bytes; a length of 0: there is none */

typedef struct {
    uint8_t             id[16];
    uint32_t            reserve;
    uint32_t            reserve_len;
    uint32_t            commit;
    uint32_t            commit_len;
    unsigned            may_bundle;
    cycles_digest_t     digest;           /* see cycles_bundle_digest() */
    uint32_t            model;
    uint32_t            model_len;
    uint16_t            kind;             /* its number, 0: none */
    uint16_t            next;             /* of its kind, 0: the last one */
} cycles_held_record_t;


/* reservations that may be in one bundle, by the numbers of their records */

typedef struct {
    unsigned            n;
    uint16_t            first;
    uint16_t            last;
} cycles_held_kind_t;


struct cycles_held_s {
    unsigned               n;
    unsigned               nkinds;
    size_t                 used;
    uint16_t               slots[CYCLES_HELD_SLOTS];    /* 0: free */
    uint16_t               kind_slots[CYCLES_HELD_SLOTS];
    cycles_held_record_t   records[CYCLES_HELD_RECORDS];
    cycles_held_kind_t     kinds[CYCLES_HELD_RECORDS + 1];
    cycles_held_row_t      rows[CYCLES_HELD_ROWS + 1];
    cycles_bundle_t        bundle;
    unsigned char          bytes[CYCLES_HELD_BYTES];
};


static uint16_t *cycles_held_slot(cycles_held_t *held, const uint8_t *id);
static void cycles_held_sort(cycles_held_t *held);
static uint16_t *cycles_held_kind_slot(cycles_held_t *held,
    const cycles_held_record_t *record);
static int cycles_held_write_kind(cycles_folder_t *f,
    const cycles_held_kind_t *kind);
static int cycles_held_write_one(cycles_folder_t *f,
    cycles_held_record_t *record);
static int cycles_held_write_row(cycles_folder_t *f,
    const cycles_held_record_t *record, const cycles_held_row_t *row);
static int cycles_held_read(cycles_held_t *held,
    const cycles_held_record_t *record, cycles_held_row_t *row);


/* 1: it is held, 0: it is to be written */

int
cycles_held_reserve(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    uint16_t              *slot;
    cycles_held_t         *held;
    cycles_held_record_t  *record;

    if (f->held == NULL) {
        f->held = calloc(1, sizeof(cycles_held_t));
    }

    held = f->held;

    if (held == NULL || held->n == CYCLES_HELD_RECORDS
        || len > CYCLES_HELD_BYTES - held->used)
    {
        return 0;
    }

    slot = cycles_held_slot(held, rec->id);

    if (*slot) {
        return 0;
    }

    record = &held->records[held->n++];
    *slot = (uint16_t) held->n;

    memcpy(record->id, rec->id, 16);
    memcpy(held->bytes + held->used, buf, len);

    record->reserve = (uint32_t) held->used;
    record->reserve_len = (uint32_t) len;
    record->commit_len = 0;
    record->may_bundle = cycles_bundle_takes_reserve(rec);

    if (record->may_bundle) {
        cycles_bundle_digest(f, rec, &record->digest);
    }

    held->used += len;

    return 1;
}


/* 1: it is held with its reservation; 0: the row is there, or -1: an error */

int
cycles_held_commit(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    uint16_t               slot;
    cycles_str_t           model;
    cycles_held_t         *held;
    cycles_held_record_t  *record;

    held = f->held;

    if (held == NULL) {
        return 0;
    }

    slot = *cycles_held_slot(held, rec->id);

    if (slot == 0) {
        return 0;
    }

    record = &held->records[slot - 1];

    if (record->reserve_len == 0 || record->commit_len
        || len > CYCLES_HELD_BYTES - held->used)
    {
        return cycles_held_write_one(f, record);
    }

    memcpy(held->bytes + held->used, buf, len);

    record->commit = (uint32_t) held->used;
    record->commit_len = (uint32_t) len;

    held->used += len;

    if (!cycles_bundle_takes_commit(rec)) {
        record->may_bundle = 0;
    }

    if (record->may_bundle) {
        model = rec->metrics.model_version;
        record->model = record->commit + (uint32_t) (model.data - buf);
        record->model_len = (uint32_t) model.len;
    }

    return 1;
}


/* something else is done to it, for which its row has to be there */

int
cycles_held_write(cycles_folder_t *f, const uint8_t *id)
{
    uint16_t  slot;

    slot = f->held ? *cycles_held_slot(f->held, id) : 0;

    return slot ? cycles_held_write_one(f, &f->held->records[slot - 1]) : 0;
}


/*
 * In the order in which they were made: tables like to grow at their end.  A
 * statement has a price of its own, so one writes several rows.
 */

int
cycles_held_write_all(cycles_folder_t *f)
{
    unsigned             i, k, n;
    cycles_held_t       *held;
    cycles_held_row_t   *row;
    cycles_held_kind_t  *kind;

    held = f->held;

    if (held == NULL) {
        return 0;
    }

    cycles_held_sort(held);

    for (n = 0, i = 0; i < held->n; i++) {

        if (held->records[i].reserve_len == 0) {
            continue;
        }

        kind = &held->kinds[held->records[i].kind];

        if (held->records[i].kind && kind->n >= CYCLES_HELD_BUNDLE) {

            if (kind->first == i + 1
                && cycles_held_write_kind(f, kind) != 0)
            {
                return -1;
            }

            continue;
        }

        row = &held->rows[n];

        if (cycles_held_read(held, &held->records[i], row) != 0) {
            return -1;
        }

        if (held->records[i].commit_len == 0 || row->reserve.caps_from) {

            if (cycles_held_write_row(f, &held->records[i], row) != 0) {
                return -1;
            }

            continue;
        }

        if (++n == CYCLES_HELD_ROWS) {

            if (cycles_fold_committed_rows(f, held->rows) != 0) {
                return -1;
            }

            n = 0;
            cycles_fold_give_way(f);
        }
    }

    for (k = 0; k < n; k++) {
        row = &held->rows[k];

        if (cycles_fold_reservation(f, &row->reserve, &row->commit) != 0) {
            return -1;
        }
    }

    cycles_held_forget(f);

    return 0;
}


/* what is alike becomes a list, in the order of the records */

static void
cycles_held_sort(cycles_held_t *held)
{
    uint16_t              *slot;
    unsigned               i;
    cycles_held_kind_t    *kind;
    cycles_held_record_t  *record;

    held->nkinds = 0;
    memset(held->kind_slots, 0, sizeof(held->kind_slots));

    for (i = 0; i < held->n; i++) {
        record = &held->records[i];
        record->kind = 0;
        record->next = 0;

        if (!record->may_bundle || record->reserve_len == 0
            || record->commit_len == 0)
        {
            continue;
        }

        slot = cycles_held_kind_slot(held, record);

        if (*slot == 0) {
            *slot = (uint16_t) ++held->nkinds;

            kind = &held->kinds[*slot];
            kind->n = 0;
            kind->first = (uint16_t) (i + 1);

        } else {
            kind = &held->kinds[*slot];
            held->records[kind->last - 1].next = (uint16_t) (i + 1);
        }

        record->kind = *slot;
        kind->last = (uint16_t) (i + 1);
        kind->n++;
    }
}


static uint16_t *
cycles_held_kind_slot(cycles_held_t *held, const cycles_held_record_t *record)
{
    size_t                       i;
    uint64_t                     hash;
    const cycles_held_record_t  *first;

    memcpy(&hash, record->digest.bytes, sizeof(hash));

    for (i = hash % CYCLES_HELD_SLOTS; held->kind_slots[i];
         i = (i + 1) % CYCLES_HELD_SLOTS)
    {
        first = &held->records[held->kinds[held->kind_slots[i]].first - 1];

        if (memcmp(&first->digest, &record->digest, sizeof(cycles_digest_t))
            == 0
            && first->model_len == record->model_len
            && memcmp(held->bytes + first->model,
                      held->bytes + record->model, record->model_len) == 0)
        {
            break;
        }
    }

    return &held->kind_slots[i];
}


static int
cycles_held_write_kind(cycles_folder_t *f, const cycles_held_kind_t *kind)
{
    unsigned               n;
    cycles_held_t         *held;
    cycles_held_row_t     *row;
    cycles_held_record_t  *record;

    held = f->held;
    row = &held->rows[CYCLES_HELD_ROWS];
    held->bundle.n = 0;

    for (n = kind->first; n; n = record->next) {
        record = &held->records[n - 1];

        if (cycles_held_read(held, record, row) != 0
            || cycles_bundle_add(f, &held->bundle, &row->reserve,
                                 &row->commit)
               != 0)
        {
            return -1;
        }

        if (held->bundle.n % CYCLES_HELD_TURN == 0) {
            cycles_fold_give_way(f);
        }
    }

    if (held->bundle.n) {
        return cycles_bundle_write(f, &held->bundle, &row->reserve,
                                   &row->commit);
    }

    return 0;
}


void
cycles_held_forget(cycles_folder_t *f)
{
    if (f->held && f->held->n) {
        f->held->n = 0;
        f->held->used = 0;
        memset(f->held->slots, 0, sizeof(f->held->slots));
    }
}


/* gives back the memory that records have taken, and not its addresses */

void
cycles_held_rest(cycles_folder_t *f)
{
    uintptr_t  first, last, bundle;

    if (f->held == NULL) {
        return;
    }

    bundle = (uintptr_t) sysconf(_SC_PAGESIZE);
    first = ((uintptr_t) f->held->bytes + bundle - 1) & ~(bundle - 1);
    last = ((uintptr_t) f->held->bytes + CYCLES_HELD_BYTES) & ~(bundle - 1);

    (void) madvise((void *) first, last - first, MADV_DONTNEED);
}


/* the last bytes of an id are random in each */

static uint16_t *
cycles_held_slot(cycles_held_t *held, const uint8_t *id)
{
    size_t   i;
    uint64_t hash;

    memcpy(&hash, id + 8, sizeof(hash));

    i = (size_t) (hash >> 8) % CYCLES_HELD_SLOTS;

    while (held->slots[i]
           && memcmp(held->records[held->slots[i] - 1].id, id, 16) != 0)
    {
        i = (i + 1) % CYCLES_HELD_SLOTS;
    }

    return &held->slots[i];
}


static int
cycles_held_write_one(cycles_folder_t *f, cycles_held_record_t *record)
{
    cycles_held_row_t  *row;

    if (record->reserve_len == 0) {
        return 0;
    }

    row = &f->held->rows[0];

    if (cycles_held_read(f->held, record, row) != 0
        || cycles_held_write_row(f, record, row) != 0)
    {
        return -1;
    }

    record->reserve_len = 0;

    return 0;
}


static int
cycles_held_write_row(cycles_folder_t *f, const cycles_held_record_t *record,
    const cycles_held_row_t *row)
{
    return cycles_fold_reservation(f, &row->reserve,
                                   record->commit_len ? &row->commit : NULL);
}


static int
cycles_held_read(cycles_held_t *held, const cycles_held_record_t *record,
    cycles_held_row_t *row)
{
    if (cycles_record_read(&row->reserve, held->bytes + record->reserve,
                           record->reserve_len)
        != 0)
    {
        return -1;
    }

    if (record->commit_len == 0) {
        return 0;
    }

    return cycles_record_read(&row->commit, held->bytes + record->commit,
                              record->commit_len);
}
