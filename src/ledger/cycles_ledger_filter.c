
/*
 * Copyright (C) nginx-cycles authors
 *
 * Most keys are new, and few of those that memory does not have are in the
 * tables.  A Bloom filter in the shared memory says of nearly all the others
 * that they are not, so that nobody has to look them up.
 *
 * There are two of them: when one is full, the other one is filled from the
 * tables in the background, with the keys that are still of interest.  Only
 * who folds writes to them, before the rows are committed.
 */


#include <string.h>

#include "cycles_ledger_db.h"


/*
 * A split block Bloom filter: the bits of a key are in one block of 32 bytes,
 * one in each of its eight words, which an odd number for each word chooses.
 */

#define CYCLES_FILTER_WORDS    8
#define CYCLES_FILTER_BLOCK    (CYCLES_FILTER_WORDS * sizeof(uint32_t))

/* one in a hundred keys that are not in it looks as if it was */
#define CYCLES_FILTER_BITS     10

/* read from the tables at once, and in one call */
#define CYCLES_FILTER_SLICE_MS 600000
#define CYCLES_FILTER_SLICES   200

#define CYCLES_DAY_MS          86400000LL


/* the keys of a table are of interest for so long */

static const struct {
    const char  *sql;
    int64_t      time_ms;
} cycles_filter_tables[] = {

    { "SELECT key_hash FROM reservation_rows WHERE key_is_fresh = 0"
      " AND created_at_ms >= ?1 AND created_at_ms < ?2", CYCLES_DAY_MS },

    { "SELECT key_hash FROM decisions"
      " WHERE created_at_ms >= ?1 AND created_at_ms < ?2", CYCLES_DAY_MS },

    { "SELECT key_hash FROM events WHERE key_is_fresh = 0"
      " AND created_at_ms >= ?1 AND created_at_ms < ?2", 7 * CYCLES_DAY_MS },

    { "SELECT key_hash FROM fundings WHERE key_hash IS NOT NULL"
      " AND created_at_ms >= ?1 AND created_at_ms < ?2", CYCLES_DAY_MS }
};

#define CYCLES_FILTER_TABLES                                                  \
    (sizeof(cycles_filter_tables) / sizeof(cycles_filter_tables[0]))


static uint32_t *cycles_filter_block(cycles_ledger_t *ledger, unsigned filter,
    uint64_t hash);
static void cycles_filter_set(cycles_ledger_t *ledger, unsigned filter,
    uint64_t hash);
static uint32_t cycles_filter_bit(uint64_t hash, unsigned word);
static int cycles_filter_begin(cycles_shm_t *shm, int64_t now);
static int cycles_filter_slice(cycles_folder_t *f, int64_t now);


/* 0: nobody has used this key, as far as the tables go */

int
cycles_filter_has(cycles_ledger_t *ledger, int64_t key)
{
    unsigned   i, filter;
    uint32_t  *block, word;

    filter = __atomic_load_n(&ledger->shm->filter, __ATOMIC_ACQUIRE);

    if (filter == 0) {
        return 1;
    }

    block = cycles_filter_block(ledger, filter, key);

    for (i = 0; i < CYCLES_FILTER_WORDS; i++) {
        word = __atomic_load_n(&block[i], __ATOMIC_RELAXED);

        if ((word & cycles_filter_bit(key, i)) == 0) {
            return 0;
        }
    }

    return 1;
}


void
cycles_filter_add(cycles_ledger_t *ledger, int64_t key)
{
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (shm->filter) {
        cycles_filter_set(ledger, shm->filter, key);
        shm->filter_keys++;
    }

    if (shm->filter_building) {
        cycles_filter_set(ledger, shm->filter_building, key);
        shm->filter_building_keys++;
    }
}


static void
cycles_filter_set(cycles_ledger_t *ledger, unsigned filter, uint64_t hash)
{
    unsigned   i;
    uint32_t  *block;

    block = cycles_filter_block(ledger, filter, hash);

    for (i = 0; i < CYCLES_FILTER_WORDS; i++) {
        (void) __atomic_fetch_or(&block[i], cycles_filter_bit(hash, i),
                                 __ATOMIC_RELAXED);
    }
}


/* filters are 1 and 2 */

static uint32_t *
cycles_filter_block(cycles_ledger_t *ledger, unsigned filter, uint64_t hash)
{
    uint64_t       n;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    n = shm->filter_size / CYCLES_FILTER_BLOCK;
    n = ((hash >> 32) * n) >> 32;

    return (uint32_t *) (void *)
               (ledger->base + shm->filters + (filter - 1) * shm->filter_size
                + n * CYCLES_FILTER_BLOCK);
}


static uint32_t
cycles_filter_bit(uint64_t hash, unsigned word)
{
    static const uint32_t  salt[CYCLES_FILTER_WORDS] = {
        0x9e3779b1, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f,
        0x165667b1, 0xd3a2646d, 0xfd7046c5, 0xb55a4f09
    };

    return (uint32_t) 1 << (((uint32_t) hash * salt[word]) >> 27);
}


/*
 * Makes a filter, if there is none or it is full, a part of it at a time;
 * *more: there is more to do.  -1: the database has failed.
 */

int
cycles_filter_step(cycles_folder_t *f, int64_t now, unsigned *more)
{
    unsigned       n;
    cycles_shm_t  *shm;

    shm = f->ledger->shm;

    if (!shm->filter_building && cycles_filter_begin(shm, now) != 0) {
        return 0;
    }

    for (n = 0; n < CYCLES_FILTER_SLICES; n++) {

        if (shm->filter_table == CYCLES_FILTER_TABLES) {
            shm->filter_keys = shm->filter_building_keys;
            shm->filter_kept = shm->filter_building_keys;

            __atomic_store_n(&shm->filter, shm->filter_building,
                             __ATOMIC_RELEASE);
            shm->filter_building = 0;

            return 0;
        }

        if (cycles_filter_slice(f, now) != 0) {
            return -1;
        }
    }

    *more = 1;

    return 0;
}


/* one that is full of what is still of interest is as good as it gets */

static int
cycles_filter_begin(cycles_shm_t *shm, int64_t now)
{
    unsigned  filter;

    if (shm->filter
        && (shm->filter_keys < shm->filter_size * 8 / CYCLES_FILTER_BITS
            || shm->filter_keys < shm->filter_kept * 2))
    {
        return -1;
    }

    filter = (shm->filter == 1) ? 2 : 1;

    memset((unsigned char *) shm + shm->filters
           + (filter - 1) * shm->filter_size, 0, shm->filter_size);

    shm->filter_building_keys = 0;
    shm->filter_table = 0;
    shm->filter_from = now - cycles_filter_tables[0].time_ms;
    shm->filter_building = filter;

    return 0;
}


/* what is added from now on is added as it is folded, but clocks go wrong */

static int
cycles_filter_slice(cycles_folder_t *f, int64_t now)
{
    int            rc;
    int64_t        end;
    cycles_shm_t  *shm;
    sqlite3_stmt  *st;

    shm = f->ledger->shm;

    end = (shm->filter_from > now) ? INT64_MAX
                                   : shm->filter_from
                                     + CYCLES_FILTER_SLICE_MS;

    if (sqlite3_prepare_v2(f->db, cycles_filter_tables[shm->filter_table].sql,
                           -1, &st, NULL)
        != SQLITE_OK)
    {
        return -1;
    }

    (void) sqlite3_bind_int64(st, 1, shm->filter_from);
    (void) sqlite3_bind_int64(st, 2, end);

    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        cycles_filter_set(f->ledger, shm->filter_building,
                          sqlite3_column_int64(st, 0));
        shm->filter_building_keys++;
    }

    sqlite3_finalize(st);

    if (rc != SQLITE_DONE) {
        return -1;
    }

    shm->filter_from = end;

    if (end == INT64_MAX && ++shm->filter_table < CYCLES_FILTER_TABLES) {
        shm->filter_from = now
                           - cycles_filter_tables[shm->filter_table].time_ms;
    }

    return 0;
}
