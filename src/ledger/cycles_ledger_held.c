
/*
 * Copyright (C) nginx-cycles authors
 *
 * Most reservations are settled soon.  Their records are held until the end
 * of the batch, so that such a one is one row that is written once, and not
 * one that is made, found again and changed; and most of those are a part of
 * a bundle, those of the same request behind one another.
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

/* fewer are rows */
#define CYCLES_HELD_BUNDLE   4

/*
 * Slots that are looked at for a shape or a kind: those who choose what is in
 * a request must not make this slow.  One that is not found is a new one.
 */
#define CYCLES_HELD_PROBES   16


/* where its records are in the bytes; a length of 0: there is none */

typedef struct {
    uint8_t             id[16];
    uint32_t            reserve;
    uint32_t            reserve_len;
    uint32_t            commit;
    uint32_t            commit_len;
    uint32_t            model;
    uint16_t            model_len;
    uint16_t            shape;            /* its number, 0: in no bundle */
    uint16_t            kind;             /* its number, 0: none */
    uint16_t            next;             /* of its kind, 0: the last one */
    cycles_bundle_row_t row;              /* if it has a shape */
} cycles_held_record_t;


typedef struct {
    uint32_t               hash;
    unsigned               ok;            /* bundles have it */
    cycles_bundle_shape_t  key;
} cycles_held_shape_t;


/* what has the same shape and model, by the numbers of the records */

typedef struct {
    uint16_t            first;
    uint16_t            last;
} cycles_held_kind_t;


struct cycles_held_s {
    unsigned               n;
    unsigned               nshapes;
    unsigned               nkinds;
    size_t                 used;
    uint16_t               slots[CYCLES_HELD_SLOTS];    /* 0: free */
    uint16_t               shape_slots[CYCLES_HELD_SLOTS];
    uint16_t               kind_slots[CYCLES_HELD_SLOTS];
    cycles_held_shape_t    shapes[CYCLES_HELD_RECORDS + 1];
    cycles_held_kind_t     kinds[CYCLES_HELD_RECORDS + 1];
    cycles_held_row_t      rows[CYCLES_HELD_ROWS + 1];
    cycles_bundle_t        bundle;
    cycles_held_record_t   records[CYCLES_HELD_RECORDS];
    unsigned char          bytes[CYCLES_HELD_BYTES];
};


static uint16_t *cycles_held_slot(cycles_held_t *held, const uint8_t *id);
static unsigned cycles_held_shape(cycles_held_t *held,
    const cycles_record_t *rec);
static unsigned cycles_held_sort(cycles_held_t *held);
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
    unsigned char         *copy;
    cycles_held_t         *held;
    cycles_held_record_t  *record;

    if (f->held == NULL) {
        f->held = calloc(1, sizeof(cycles_held_t));
    }

    held = f->held;

    if (held == NULL || held->n == CYCLES_HELD_RECORDS
        || len + CYCLES_BUNDLE_SHAPE > CYCLES_HELD_BYTES - held->used)
    {
        return 0;
    }

    slot = cycles_held_slot(held, rec->id);

    if (*slot) {
        return 0;
    }

    record = &held->records[held->n++];
    *slot = (uint16_t) held->n;

    copy = held->bytes + held->used;

    memcpy(record->id, rec->id, 16);
    memcpy(copy, buf, len);

    record->reserve = (uint32_t) held->used;
    record->reserve_len = (uint32_t) len;
    record->commit_len = 0;
    record->shape = 0;

    held->used += len;

    if (cycles_bundle_takes_reserve(rec)
        && cycles_bundle_reserve(&record->row, rec))
    {
        cycles_bundle_move(&record->row, buf, len, copy);
        record->shape = (uint16_t) cycles_held_shape(held, rec);
    }

    return 1;
}


/* 0: it has none that bundles have */

static unsigned
cycles_held_shape(cycles_held_t *held, const cycles_record_t *rec)
{
    size_t                len, action_len;
    uint32_t              hash;
    unsigned              i, n;
    uint16_t             *slot;
    unsigned char        *key;
    cycles_held_shape_t  *shape, *last;

    key = held->bytes + held->used;
    len = cycles_bundle_shape(rec, key, &action_len);

    if (len == 0) {
        return 0;
    }

    hash = cycles_crc32c(0, key, len);
    slot = NULL;

    for (i = 0; i < CYCLES_HELD_PROBES; i++) {
        slot = &held->shape_slots[(hash + i) % CYCLES_HELD_SLOTS];

        if (*slot == 0) {
            break;
        }

        shape = &held->shapes[*slot];

        if (shape->hash == hash && shape->key.len == len
            && memcmp(shape->key.key, key, len) == 0)
        {
            return shape->ok ? *slot : 0;
        }
    }

    n = ++held->nshapes;

    if (i < CYCLES_HELD_PROBES) {
        *slot = (uint16_t) n;
    }

    shape = &held->shapes[n];

    shape->hash = hash;
    shape->key.key = key;
    shape->key.len = (uint16_t) len;
    shape->key.action_len = (uint16_t) action_len;

    /* with many tenants, most differ in them only */

    last = &held->shapes[n - 1];

    shape->ok = cycles_bundle_shape_ok(rec, n > 1 && last->ok
                                            && last->key.action_len
                                               == action_len
                                            && memcmp(last->key.key, key,
                                                      action_len)
                                               == 0);

    held->used += len;

    return shape->ok ? n : 0;
}


/* 1: it is held with its reservation; 0: the row is there, or -1: an error */

int
cycles_held_commit(cycles_folder_t *f, const cycles_record_t *rec,
    const unsigned char *buf, size_t len)
{
    uint16_t               slot;
    cycles_str_t           model;
    unsigned char         *copy;
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

    copy = held->bytes + held->used;
    memcpy(copy, buf, len);

    record->commit = (uint32_t) held->used;
    record->commit_len = (uint32_t) len;

    held->used += len;

    if (record->shape == 0) {
        return 1;
    }

    if (!cycles_bundle_takes_commit(rec)
        || !cycles_bundle_commit(&record->row, rec))
    {
        record->shape = 0;
        return 1;
    }

    cycles_bundle_move(&record->row, buf, len, copy);

    model = rec->metrics.model_version;
    record->model = record->commit + (uint32_t) (model.data - buf);
    record->model_len = (uint16_t) model.len;

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
    unsigned             i, k, n, bundled;
    cycles_held_t       *held;
    cycles_held_row_t   *row;
    cycles_held_kind_t  *kind;

    held = f->held;

    if (held == NULL) {
        return 0;
    }

    held->bundle.n = 0;
    bundled = (cycles_held_sort(held) >= CYCLES_HELD_BUNDLE);

    for (n = 0, i = 0; i < held->n; i++) {

        if (held->records[i].reserve_len == 0) {
            continue;
        }

        if (held->records[i].kind && bundled) {
            kind = &held->kinds[held->records[i].kind];

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

    if (cycles_bundle_write(f, &held->bundle) != 0) {
        return -1;
    }

    cycles_held_forget(f);

    return 0;
}


/*
 * What may be in bundles, which is counted, becomes a list for each kind, in
 * the order of the records.
 */

static unsigned
cycles_held_sort(cycles_held_t *held)
{
    uint16_t              *slot;
    unsigned               i, n;
    cycles_held_kind_t    *kind;
    cycles_held_record_t  *record;

    held->nkinds = 0;
    memset(held->kind_slots, 0, sizeof(held->kind_slots));

    for (n = 0, i = 0; i < held->n; i++) {
        record = &held->records[i];
        record->kind = 0;
        record->next = 0;

        if (record->shape == 0 || record->reserve_len == 0
            || record->commit_len == 0)
        {
            continue;
        }

        slot = cycles_held_kind_slot(held, record);

        if (slot && *slot) {
            record->kind = *slot;
            kind = &held->kinds[record->kind];
            held->records[kind->last - 1].next = (uint16_t) (i + 1);

        } else {
            record->kind = (uint16_t) ++held->nkinds;
            kind = &held->kinds[record->kind];
            kind->first = (uint16_t) (i + 1);
        }

        if (slot) {
            *slot = record->kind;
        }

        kind->last = (uint16_t) (i + 1);
        n++;
    }

    return n;
}


/* of its kind, or a free one, or NULL */


static uint16_t *
cycles_held_kind_slot(cycles_held_t *held, const cycles_held_record_t *record)
{
    size_t                       i;
    uint16_t                    *slot;
    uint32_t                     hash;
    const cycles_held_record_t  *first;

    hash = cycles_crc32c(record->shape, held->bytes + record->model,
                         record->model_len);

    for (i = 0; i < CYCLES_HELD_PROBES; i++) {
        slot = &held->kind_slots[(hash + i) % CYCLES_HELD_SLOTS];

        if (*slot == 0) {
            return slot;
        }

        first = &held->records[held->kinds[*slot].first - 1];

        if (first->shape == record->shape
            && first->model_len == record->model_len
            && memcmp(held->bytes + first->model,
                      held->bytes + record->model, record->model_len) == 0)
        {
            return slot;
        }
    }

    return NULL;
}


static int
cycles_held_write_kind(cycles_folder_t *f, const cycles_held_kind_t *kind)
{
    unsigned               n, begun;
    cycles_str_t           model;
    cycles_held_t         *held;
    cycles_bundle_t       *bundle;
    cycles_record_t       *reserve;
    cycles_held_record_t  *record;

    held = f->held;
    bundle = &held->bundle;
    reserve = &held->rows[CYCLES_HELD_ROWS].reserve;
    begun = 0;

    for (n = kind->first; n; n = record->next) {
        record = &held->records[n - 1];

        if (cycles_bundle_full(bundle)) {

            if (cycles_bundle_write(f, bundle) != 0) {
                return -1;
            }

            cycles_fold_give_way(f);
            begun = 0;
        }

        if (!begun) {

            if (cycles_record_read(reserve, held->bytes + record->reserve,
                                   record->reserve_len)
                != 0)
            {
                return -1;
            }

            model.data = held->bytes + record->model;
            model.len = record->model_len;

            cycles_bundle_request(bundle, &held->shapes[record->shape].key,
                                  reserve, model, &record->row);
            begun = 1;
        }

        cycles_bundle_add(bundle, &record->row);
    }

    return 0;
}


void
cycles_held_forget(cycles_folder_t *f)
{
    if (f->held && f->held->n) {
        f->held->n = 0;
        f->held->used = 0;
        f->held->nshapes = 0;
        memset(f->held->slots, 0, sizeof(f->held->slots));
        memset(f->held->shape_slots, 0, sizeof(f->held->shape_slots));
    }
}


/* gives back the memory that records have taken, and not its addresses */

void
cycles_held_rest(cycles_folder_t *f)
{
    uintptr_t  first, last, page;

    if (f->held == NULL) {
        return;
    }

    page = (uintptr_t) sysconf(_SC_PAGESIZE);
    first = ((uintptr_t) f->held->records + page - 1) & ~(page - 1);
    last = ((uintptr_t) f->held->bytes + CYCLES_HELD_BYTES) & ~(page - 1);

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
