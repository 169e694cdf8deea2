
/*
 * Copyright (C) nginx-cycles authors
 *
 * What records do to budgets.  Many records change the same few, or a few
 * each of very many: what is added is gathered for a batch.  And a row has
 * the sums of CYCLES_SUMS_BLOCK budgets, as a JSON array for each of them:
 * with many budgets it is the rows that are written, and not what is in them,
 * that takes time.
 */


#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "cycles_ledger_db.h"


/* that are gathered before they are written */

#define CYCLES_SUMS          16384
#define CYCLES_SUMS_BLOCKS   4096
#define CYCLES_SUMS_SLOTS    (2 * CYCLES_SUMS_BLOCKS)

/* an array of numbers of 20 digits */
#define CYCLES_SUMS_TEXT     (CYCLES_SUMS_BLOCK * 21 + 2)


/* the columns, in the order of the statements */

enum {
    CYCLES_SUMS_RESERVED = 0,
    CYCLES_SUMS_SPENT,
    CYCLES_SUMS_DEBT,
    CYCLES_SUMS_OVER_LIMIT,
    CYCLES_SUMS_COLUMNS
};


typedef struct {
    cycles_effect_t       effect;         /* over_limit as of the last one */
    unsigned              defined;        /* it need not be there */
} cycles_sum_t;


typedef struct {
    uint32_t              number;
    uint16_t              sums[CYCLES_SUMS_BLOCK];   /* 0: unchanged */
} cycles_sums_block_t;


struct cycles_sums_s {
    unsigned              n;
    unsigned              nblocks;
    uint16_t              slots[CYCLES_SUMS_SLOTS];  /* 0: free */
    cycles_sums_block_t   blocks[CYCLES_SUMS_BLOCKS + 1];
    cycles_sum_t          sums[CYCLES_SUMS + 1];
    unsigned char         texts[CYCLES_SUMS_COLUMNS][2 * CYCLES_SUMS_TEXT];
};


static cycles_sum_t *cycles_sums_of(cycles_sums_t *sums, uint32_t budget);
static int cycles_sums_write_block(cycles_folder_t *f,
    const cycles_sums_block_t *block);
static int cycles_sums_array(cycles_sums_t *sums,
    const cycles_sums_block_t *block, unsigned column, cycles_str_t old,
    size_t *len);
static int64_t cycles_sums_column(const cycles_sum_t *sum, unsigned column);
static const unsigned char *cycles_sums_skip(const unsigned char *p,
    const unsigned char *end, unsigned n);
static const unsigned char *cycles_sums_value(const unsigned char *p,
    const unsigned char *end, unsigned *known, int64_t *value);


/* of a block whose budgets are not yet there */

#define CYCLES_SUMS_NULLS  "null,null,null,null,null,null,null,null"

static const char  cycles_sums_none[] =
    "[" CYCLES_SUMS_NULLS "," CYCLES_SUMS_NULLS "," CYCLES_SUMS_NULLS ","
    CYCLES_SUMS_NULLS "," CYCLES_SUMS_NULLS "," CYCLES_SUMS_NULLS ","
    CYCLES_SUMS_NULLS "," CYCLES_SUMS_NULLS "]";


int
cycles_sums_add(cycles_folder_t *f, const cycles_record_t *rec)
{
    unsigned                i;
    cycles_sum_t           *sum;
    cycles_sums_t          *sums;
    const cycles_effect_t  *effect;

    if (rec->neffects == 0) {
        return 0;
    }

    if (f->sums == NULL) {
        f->sums = calloc(1, sizeof(cycles_sums_t));

        if (f->sums == NULL) {
            return -1;
        }
    }

    sums = f->sums;

    if ((sums->n + rec->neffects > CYCLES_SUMS
         || sums->nblocks + rec->neffects > CYCLES_SUMS_BLOCKS)
        && cycles_sums_write(f) != 0)
    {
        return -1;
    }

    for (i = 0; i < rec->neffects; i++) {
        effect = &rec->effects[i];
        sum = cycles_sums_of(sums, effect->budget);

        sum->defined |= (rec->type == CYCLES_RECORD_BUDGET);
        sum->effect.over_limit = effect->over_limit;

        if (__builtin_add_overflow(sum->effect.reserved, effect->reserved,
                                   &sum->effect.reserved)
            || __builtin_add_overflow(sum->effect.spent, effect->spent,
                                      &sum->effect.spent)
            || __builtin_add_overflow(sum->effect.debt, effect->debt,
                                      &sum->effect.debt))
        {
            return -1;
        }
    }

    return 0;
}


static cycles_sum_t *
cycles_sums_of(cycles_sums_t *sums, uint32_t budget)
{
    unsigned              i;
    uint32_t              number;
    uint16_t             *at;
    cycles_sum_t         *sum;
    cycles_sums_block_t  *block;

    number = budget / CYCLES_SUMS_BLOCK;
    i = number % CYCLES_SUMS_SLOTS;

    while (sums->slots[i] && sums->blocks[sums->slots[i]].number != number) {
        i = (i + 1) % CYCLES_SUMS_SLOTS;
    }

    block = &sums->blocks[sums->slots[i]];

    if (sums->slots[i] == 0) {
        sums->slots[i] = (uint16_t) ++sums->nblocks;

        block = &sums->blocks[sums->nblocks];
        memset(block, 0, sizeof(cycles_sums_block_t));
        block->number = number;
    }

    at = &block->sums[budget % CYCLES_SUMS_BLOCK];

    if (*at) {
        return &sums->sums[*at];
    }

    *at = (uint16_t) ++sums->n;

    sum = &sums->sums[sums->n];
    memset(sum, 0, sizeof(cycles_sum_t));
    sum->effect.budget = budget;

    return sum;
}


int
cycles_sums_write(cycles_folder_t *f)
{
    unsigned  i;

    if (f->sums == NULL) {
        return 0;
    }

    for (i = 1; i <= f->sums->nblocks; i++) {

        if (cycles_sums_write_block(f, &f->sums->blocks[i]) != 0) {
            return -1;
        }

        if (i % 64 == 0) {
            cycles_fold_give_way(f);
        }
    }

    cycles_sums_forget(f);

    return 0;
}


void
cycles_sums_forget(cycles_folder_t *f)
{
    if (f->sums && f->sums->n) {
        f->sums->n = 0;
        f->sums->nblocks = 0;
        memset(f->sums->slots, 0, sizeof(f->sums->slots));
    }
}


static int
cycles_sums_write_block(cycles_folder_t *f, const cycles_sums_block_t *block)
{
    int             rc;
    size_t          len[CYCLES_SUMS_COLUMNS];
    unsigned        i, known;
    cycles_str_t    old;
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, CYCLES_FOLD_SUMS_OF);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, block->number);

    known = (sqlite3_step(st) == SQLITE_ROW);

    for (rc = 0, i = 0; i < CYCLES_SUMS_COLUMNS; i++) {

        if (known) {
            old = cycles_column_str(st, (int) i);

        } else {
            old.data = (unsigned char *) cycles_sums_none;
            old.len = sizeof(cycles_sums_none) - 1;
        }

        rc |= cycles_sums_array(f->sums, block, i, old, &len[i]);
    }

    if (sqlite3_reset(st) != SQLITE_OK || rc != 0) {
        return -1;
    }

    st = cycles_fold_statement(f, known ? CYCLES_FOLD_SUMS
                                        : CYCLES_FOLD_NEW_SUMS);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);

    for (i = 0; i < CYCLES_SUMS_COLUMNS; i++) {
        cycles_bind_text(&b, f->sums->texts[i], len[i]);
    }

    cycles_bind_int(&b, block->number);

    return cycles_fold_run(f, st, 1);
}


/* the array as it was, but for the numbers that have changed */

static int
cycles_sums_array(cycles_sums_t *sums, const cycles_sums_block_t *block,
    unsigned column, cycles_str_t old, size_t *len)
{
    int64_t               value, change;
    unsigned              i, k, known;
    const cycles_sum_t   *sum;
    unsigned char        *out;
    const unsigned char  *p, *from, *end;

    if (old.len < 2 || old.len > CYCLES_SUMS_TEXT || old.data[0] != '['
        || old.data[old.len - 1] != ']')
    {
        return -1;
    }

    out = sums->texts[column];
    from = old.data;
    end = old.data + old.len;
    p = from + 1;
    k = 0;

    for (i = 0; i < CYCLES_SUMS_BLOCK; i++) {

        if (block->sums[i] == 0) {
            continue;
        }

        sum = &sums->sums[block->sums[i]];
        change = cycles_sums_column(sum, column);

        if (change == 0 && column != CYCLES_SUMS_OVER_LIMIT && !sum->defined) {
            continue;
        }

        p = cycles_sums_skip(p, end, i - k);
        k = i;

        memcpy(out, from, (size_t) (p - from));
        out += p - from;
        from = cycles_sums_value(p, end, &known, &value);

        if (from == NULL || !(known || sum->defined)) {
            return -1;
        }

        if (column == CYCLES_SUMS_OVER_LIMIT) {
            value = change;

        } else if (__builtin_add_overflow(value, change, &value)) {
            return -1;
        }

        out = cycles_json_digits_write(out, value);
        p = from;
    }

    memcpy(out, from, (size_t) (end - from));
    out += end - from;

    *len = (size_t) (out - sums->texts[column]);

    return 0;
}


static int64_t
cycles_sums_column(const cycles_sum_t *sum, unsigned column)
{
    const int64_t  columns[] = {
        sum->effect.reserved, sum->effect.spent, sum->effect.debt,
        (int64_t) sum->effect.over_limit
    };

    return columns[column];
}


int
cycles_sums_at(cycles_str_t array, unsigned n, int64_t *sum)
{
    unsigned              known;
    const unsigned char  *p, *end;

    if (array.len == 0) {
        return -1;
    }

    end = array.data + array.len;
    p = cycles_sums_skip(array.data + 1, end, n);
    p = cycles_sums_value(p, end, &known, sum);

    return (p && known) ? 0 : -1;
}


/* behind so many commas; or the end, if there are fewer */

static const unsigned char *
cycles_sums_skip(const unsigned char *p, const unsigned char *end, unsigned n)
{
#if defined(__SSE2__)

    unsigned  commas;
    __m128i   bytes;

    while (end - p >= 16) {
        bytes = _mm_loadu_si128((const __m128i *) p);
        bytes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(','));
        commas = (unsigned) __builtin_popcount(
                                (unsigned) _mm_movemask_epi8(bytes));

        if (commas >= n) {
            break;
        }

        n -= commas;
        p += 16;
    }

#endif

    for (/* void */ ; n && p < end; p++) {
        n -= (*p == ',');
    }

    return p;
}


/* a number, or a null, which counts as 0; what follows it, NULL: nothing */

static const unsigned char *
cycles_sums_value(const unsigned char *p, const unsigned char *end,
    unsigned *known, int64_t *value)
{
    int64_t   n;
    unsigned  minus;

    *known = 0;
    *value = 0;

    if (end - p > 4 && memcmp(p, "null", 4) == 0) {
        p += 4;
        return (*p == ',' || *p == ']') ? p : NULL;
    }

    minus = (p < end && *p == '-');
    p += minus;

    for (n = 0; p < end && *p >= '0' && *p <= '9'; p++) {
        *known = 1;

        /* below zero there is one more */

        if (__builtin_mul_overflow(n, 10, &n)
            || __builtin_sub_overflow(n, *p - '0', &n))
        {
            return NULL;
        }
    }

    if (!*known || (!minus && n == INT64_MIN)
        || p == end || (*p != ',' && *p != ']'))
    {
        return NULL;
    }

    *value = minus ? n : -n;

    return p;
}
