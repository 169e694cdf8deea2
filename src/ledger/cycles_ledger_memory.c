
/*
 * Copyright (C) nginx-cycles authors
 *
 * The shared memory of the ledger: definitions from the bottom, cells from
 * the top, tables of a fixed size in front.  Links are offsets, for another
 * process may see the memory at another address.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cycles_ledger_core.h"


/* the head has the first page to itself */
#define CYCLES_MEMORY_HEAD      4096

/* definitions of the smallest kind, to size their directories */
#define CYCLES_MIN_BUDGET       sizeof(cycles_budget_t)
#define CYCLES_MIN_TENANT       sizeof(cycles_tenant_t)
#define CYCLES_MIN_API_KEY      sizeof(cycles_api_key_t)

#define CYCLES_HEAP_WAYS        4

/* of the memory, for each of the two filters of keys */
#define CYCLES_FILTER_SHARE     64
#define CYCLES_FILTER_ALIGN     4096


typedef char  cycles_cell_fits[
    (sizeof(cycles_cell_t) <= CYCLES_CELL_SIZE) ? 1 : -1];
typedef char  cycles_cell_lines[
    (offsetof(cycles_cell_t, estimate) == CYCLES_LINE
     && offsetof(cycles_cell_t, budgets) == 2 * CYCLES_LINE
     && offsetof(cycles_cell_t, key) == 3 * CYCLES_LINE) ? 1 : -1];
typedef char  cycles_budget_lines[
    (offsetof(cycles_budget_t, next) % CYCLES_GRANULE == 0
     && offsetof(cycles_budget_t, scope)
        == offsetof(cycles_budget_t, next) + CYCLES_LINE) ? 1 : -1];
typedef char  cycles_extensions_fit[
    (sizeof(cycles_extensions_t) <= CYCLES_CELL_SIZE) ? 1 : -1];
typedef char  cycles_head_fits[
    (sizeof(cycles_shm_t) <= CYCLES_MEMORY_HEAD) ? 1 : -1];


static void cycles_table_init(cycles_table_t *table, uint64_t *offset,
    uint64_t want);
static void cycles_directory_init(cycles_ledger_t *ledger,
    cycles_directory_t *directory, uint64_t *offset, size_t min);
static uint64_t cycles_cells_bottom(cycles_ledger_t *ledger);
static void cycles_cell_free(cycles_ledger_t *ledger, cycles_ref_t ref);
static void cycles_done_evict(cycles_ledger_t *ledger);
static void cycles_cell_unlink(cycles_ledger_t *ledger, cycles_cell_t *cell);
static uint64_t cycles_hash_id(const uint8_t *id);
static uint64_t cycles_hash64(const void *p);
static cycles_heap_item_t *cycles_heap(cycles_ledger_t *ledger);
static void cycles_heap_put(cycles_ledger_t *ledger, uint32_t i,
    cycles_heap_item_t item);
static void cycles_heap_up(cycles_ledger_t *ledger, uint32_t i);
static void cycles_heap_down(cycles_ledger_t *ledger, uint32_t i);


/*
 * Empties the state, but for the filters.  Pages are given back rather than
 * written with zeroes, so that a large zone costs nothing before it is used.
 */

void
cycles_memory_init(cycles_ledger_t *ledger)
{
    uint64_t       offset, rest;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    memset((unsigned char *) shm + offsetof(cycles_shm_t, written), 0,
           sizeof(cycles_shm_t) - offsetof(cycles_shm_t, written));

    shm->filters = CYCLES_MEMORY_HEAD;
    shm->filter_size = ledger->size / CYCLES_FILTER_SHARE
                       & ~(uint64_t) (CYCLES_FILTER_ALIGN - 1);

    offset = shm->filters + 2 * shm->filter_size;

    if (fallocate(ledger->memory_fd,
                  FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE,
                  offset, ledger->size - offset)
        == -1)
    {
        memset(ledger->base + offset, 0, ledger->size - offset);
    }

    /* the oldest are last in their buckets: who takes them out passes others */

    cycles_table_init(&shm->ids, &offset, ledger->size / 128);
    cycles_table_init(&shm->keys, &offset, ledger->size / 512);
    cycles_table_init(&shm->scopes, &offset, ledger->size / 256);
    cycles_table_init(&shm->tenants, &offset, ledger->size / 1024);
    cycles_table_init(&shm->api_keys, &offset, ledger->size / 8192);

    cycles_directory_init(ledger, &shm->budgets, &offset,
                          CYCLES_MIN_BUDGET);
    cycles_directory_init(ledger, &shm->tenants_by_id, &offset,
                          CYCLES_MIN_TENANT);
    cycles_directory_init(ledger, &shm->api_keys_by_id, &offset,
                          CYCLES_MIN_API_KEY);

    offset = (offset + 63) & ~(uint64_t) 63;

    rest = (ledger->size - offset) & ~(uint64_t) (CYCLES_CELL_SIZE - 1);

    shm->heap = offset;
    shm->max_cells = rest / (CYCLES_CELL_SIZE + sizeof(cycles_heap_item_t));
    offset += shm->max_cells * sizeof(cycles_heap_item_t);

    shm->defs_end = (offset + 63) & ~(uint64_t) 63;
    shm->cells_floor = shm->defs_end + ledger->size / 8;
    shm->cells_low = ledger->size & ~(uint64_t) (CYCLES_CELL_SIZE - 1);
}


static void
cycles_table_init(cycles_table_t *table, uint64_t *offset, uint64_t want)
{
    uint64_t  n;

    for (n = 64; n < want; n *= 2) { /* void */ }

    table->offset = *offset;
    table->mask = n - 1;

    *offset += n * sizeof(cycles_ref_t);
}


static void
cycles_directory_init(cycles_ledger_t *ledger, cycles_directory_t *directory,
    uint64_t *offset, size_t min)
{
    directory->offset = *offset;
    directory->max_chunks = ledger->size / (min * CYCLES_DIRECTORY_CHUNK) + 1;

    *offset += directory->max_chunks * sizeof(cycles_ref_t);
}


/* definitions are given back rarely, when they are changed */

cycles_ref_t
cycles_defs_alloc(cycles_ledger_t *ledger, size_t size)
{
    size_t         n;
    cycles_ref_t   ref, *free;
    cycles_shm_t  *shm;

    shm = ledger->shm;
    n = (size + CYCLES_GRANULE - 1) / CYCLES_GRANULE;

    if (n < CYCLES_DEFS_SIZES && shm->defs_free[n]) {
        ref = shm->defs_free[n];
        free = cycles_memory_at(ledger, ref);
        shm->defs_free[n] = *free;
        return ref;
    }

    if (n * CYCLES_GRANULE > cycles_defs_room(ledger)) {
        return 0;
    }

    ref = shm->defs_end / CYCLES_GRANULE;
    shm->defs_end += n * CYCLES_GRANULE;

    return ref;
}


/*
 * So that a line of the processor's cache begins at an offset of it.  What is
 * left out before it serves texts.
 */

cycles_ref_t
cycles_line_alloc(cycles_ledger_t *ledger, size_t size, size_t offset)
{
    size_t         pad, n;
    cycles_ref_t   ref;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    pad = -(shm->defs_end + offset) & (CYCLES_LINE - 1);
    n = (size + CYCLES_GRANULE - 1) / CYCLES_GRANULE * CYCLES_GRANULE;

    if (pad + n > cycles_defs_room(ledger)) {
        return 0;
    }

    ref = shm->defs_end / CYCLES_GRANULE;
    shm->defs_end += pad + n;

    if (pad) {
        cycles_defs_release(ledger, ref, pad);
        ref += pad / CYCLES_GRANULE;
    }

    return ref;
}


void
cycles_defs_release(cycles_ledger_t *ledger, cycles_ref_t ref, size_t size)
{
    size_t         n;
    cycles_ref_t  *free;

    n = (size + CYCLES_GRANULE - 1) / CYCLES_GRANULE;

    if (n >= CYCLES_DEFS_SIZES) {
        return;
    }

    free = cycles_memory_at(ledger, ref);
    *free = ledger->shm->defs_free[n];
    ledger->shm->defs_free[n] = ref;
}


uint64_t
cycles_defs_room(cycles_ledger_t *ledger)
{
    return ledger->shm->cells_low - ledger->shm->defs_end;
}


static uint64_t
cycles_cells_bottom(cycles_ledger_t *ledger)
{
    cycles_shm_t  *shm;

    shm = ledger->shm;

    return shm->cells_floor > shm->defs_end ? shm->cells_floor
                                            : shm->defs_end;
}


/*
 * Whether a cell can be had.  What lives until it is settled leaves a few
 * cells to the events, which record money that has been spent already and
 * make room for one another.
 */

int
cycles_cells_ensure(cycles_ledger_t *ledger, int live)
{
    uint64_t       n, bottom;
    cycles_shm_t  *shm;

    shm = ledger->shm;
    bottom = cycles_cells_bottom(ledger);

    n = shm->ncells_free + shm->ndone;

    if (shm->cells_low > bottom) {
        n += (shm->cells_low - bottom) / CYCLES_CELL_SIZE;
    }

    if (live && shm->nlive >= shm->max_cells) {
        return -1;
    }

    return n > (live ? 16 + shm->max_cells / 64 : 0) ? 0 : -1;
}


cycles_ref_t
cycles_cell_alloc(cycles_ledger_t *ledger)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;
    cycles_shm_t   *shm;

    shm = ledger->shm;

    if (shm->cells_free == 0
        && shm->cells_low >= cycles_cells_bottom(ledger) + CYCLES_CELL_SIZE)
    {
        shm->cells_low -= CYCLES_CELL_SIZE;
        return shm->cells_low / CYCLES_GRANULE;
    }

    if (shm->cells_free == 0 && shm->ndone) {
        cycles_done_evict(ledger);
    }

    ref = shm->cells_free;

    if (ref == 0) {
        return 0;
    }

    cell = cycles_memory_at(ledger, ref);
    shm->cells_free = cell->next_done;
    shm->ncells_free--;

    memset(cell, 0, CYCLES_CELL_SIZE);

    return ref;
}


/* extensions go with their reservation */

void
cycles_cell_release(cycles_ledger_t *ledger, cycles_ref_t ref)
{
    cycles_ref_t          next, extension;
    cycles_cell_t        *cell;
    cycles_extensions_t  *ext;

    cell = cycles_memory_at(ledger, ref);

    if (cell->kind == CYCLES_CELL_RESERVATION) {

        for (extension = cell->extensions; extension; extension = next) {
            ext = cycles_memory_at(ledger, extension);
            next = ext->next;

            cycles_cell_free(ledger, extension);
        }
    }

    cycles_caps_release(ledger, cell->caps);
    cycles_cell_free(ledger, ref);
}


static void
cycles_cell_free(cycles_ledger_t *ledger, cycles_ref_t ref)
{
    cycles_cell_t  *cell;

    cell = cycles_memory_at(ledger, ref);

    cell->kind = CYCLES_CELL_FREE;
    cell->next_done = ledger->shm->cells_free;

    ledger->shm->cells_free = ref;
    ledger->shm->ncells_free++;
}


void
cycles_cell_index(cycles_ledger_t *ledger, cycles_cell_t *cell)
{
    cycles_ref_t   ref, *bucket;
    cycles_shm_t  *shm;

    shm = ledger->shm;
    ref = cycles_memory_ref(ledger, cell);

    bucket = cycles_memory_bucket(ledger, &shm->ids, cycles_hash_id(cell->id));
    cell->next_id = *bucket;
    *bucket = ref;

    if (cell->fresh) {
        return;
    }

    bucket = cycles_memory_bucket(ledger, &shm->keys,
                                  cycles_hash64(cell->key.bytes));
    cell->next_key = *bucket;
    *bucket = ref;
}


static void
cycles_cell_unlink(cycles_ledger_t *ledger, cycles_cell_t *cell)
{
    cycles_ref_t    ref, *link;
    cycles_cell_t  *c;
    cycles_shm_t   *shm;

    shm = ledger->shm;
    ref = cycles_memory_ref(ledger, cell);

    link = cycles_memory_bucket(ledger, &shm->ids, cycles_hash_id(cell->id));

    while (*link && *link != ref) {
        c = cycles_memory_at(ledger, *link);
        link = &c->next_id;
    }

    *link = cell->next_id;

    if (cell->fresh) {
        return;
    }

    link = cycles_memory_bucket(ledger, &shm->keys,
                                cycles_hash64(cell->key.bytes));

    while (*link && *link != ref) {
        c = cycles_memory_at(ledger, *link);
        link = &c->next_key;
    }

    *link = cell->next_key;
}


/*
 * What is finished is remembered for replays, up to half of the memory, and
 * longer than that only for as long as a client may still ask again.
 */

void
cycles_cell_done(cycles_ledger_t *ledger, cycles_cell_t *cell, int64_t now)
{
    unsigned        n;
    cycles_ref_t    ref;
    cycles_cell_t  *c;
    cycles_shm_t   *shm;

    shm = ledger->shm;
    ref = cycles_memory_ref(ledger, cell);

    cell->done_ms = now;
    cell->next_done = 0;

    if (shm->done_last) {
        c = cycles_memory_at(ledger, shm->done_last);
        c->next_done = ref;

    } else {
        shm->done_first = ref;
    }

    shm->done_last = ref;
    shm->ndone++;

    for (n = 0; n < 2 && shm->ndone > shm->max_cells / 2; n++) {
        c = cycles_memory_at(ledger, shm->done_first);

        if (now - c->done_ms < CYCLES_DONE_TIME) {
            break;
        }

        cycles_done_evict(ledger);
    }
}


static void
cycles_done_evict(cycles_ledger_t *ledger)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;
    cycles_shm_t   *shm;

    shm = ledger->shm;

    ref = shm->done_first;
    cell = cycles_memory_at(ledger, ref);

    shm->done_first = cell->next_done;

    if (shm->done_first == 0) {
        shm->done_last = 0;
    }

    shm->ndone--;

    if (shm->evicted < cell->record) {
        shm->evicted = cell->record;
    }

    if (shm->evicted < cell->settle_record) {
        shm->evicted = cell->settle_record;
    }

    cycles_cell_unlink(ledger, cell);
    cycles_cell_release(ledger, ref);
}


cycles_cell_t *
cycles_cell_by_id(cycles_ledger_t *ledger, const uint8_t *id,
    cycles_cell_kind_t kind)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;

    ref = *cycles_memory_bucket(ledger, &ledger->shm->ids,
                                cycles_hash_id(id));

    while (ref) {
        cell = cycles_memory_at(ledger, ref);

        if (cell->kind == kind && memcmp(cell->id, id, 16) == 0) {
            return cell;
        }

        ref = cell->next_id;
    }

    return NULL;
}


cycles_cell_t *
cycles_cell_by_key(cycles_ledger_t *ledger, const cycles_digest_t *key)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;

    ref = *cycles_memory_bucket(ledger, &ledger->shm->keys,
                                cycles_hash64(key->bytes));

    while (ref) {
        cell = cycles_memory_at(ledger, ref);

        if (memcmp(&cell->key, key, sizeof(cycles_digest_t)) == 0) {
            return cell;
        }

        ref = cell->next_key;
    }

    return NULL;
}


/*
 * An id begins with a time in milliseconds, in 48 bits.  Ids of a time are
 * near each other in the table, so that its part in use is in the cache of
 * the processor; those of a millisecond are told apart by random bits, which
 * are enough for all that can be reserved in it.
 */

static uint64_t
cycles_hash_id(const uint8_t *id)
{
    return (uint32_t) id[3] << 24 | id[4] << 16 | id[5] << 8 | id[9];
}


/* digests are random already */

static uint64_t
cycles_hash64(const void *p)
{
    uint64_t  n;

    memcpy(&n, p, sizeof(n));

    return n;
}


/* four children for each node: a level of the heap is one cache line */

int
cycles_heap_insert(cycles_ledger_t *ledger, cycles_cell_t *cell)
{
    uint32_t             i;
    cycles_heap_item_t   item;

    if (ledger->shm->nlive >= ledger->shm->max_cells) {
        return -1;
    }

    i = ledger->shm->nlive++;

    item.when = cell->expires_at_ms + cell->grace_ms;
    item.cell = cycles_memory_ref(ledger, cell);
    item.reserve = 0;

    cycles_heap_put(ledger, i, item);
    cycles_heap_up(ledger, i);

    return 0;
}


void
cycles_heap_update(cycles_ledger_t *ledger, cycles_cell_t *cell)
{
    uint32_t  i;

    i = cell->heap;
    cycles_heap(ledger)[i].when = cell->expires_at_ms + cell->grace_ms;

    cycles_heap_up(ledger, i);
    cycles_heap_down(ledger, cell->heap);
}


void
cycles_heap_remove(cycles_ledger_t *ledger, cycles_cell_t *cell)
{
    uint32_t             i, last;
    cycles_cell_t       *moved;
    cycles_heap_item_t  *heap;

    heap = cycles_heap(ledger);
    i = cell->heap;
    last = --ledger->shm->nlive;

    if (i == last) {
        return;
    }

    moved = cycles_memory_at(ledger, heap[last].cell);

    cycles_heap_put(ledger, i, heap[last]);
    cycles_heap_up(ledger, i);
    cycles_heap_down(ledger, moved->heap);
}


/* the live reservations in no order; NULL: there are not so many */

cycles_cell_t *
cycles_heap_cell(cycles_ledger_t *ledger, uint32_t i)
{
    if (i >= ledger->shm->nlive) {
        return NULL;
    }

    return cycles_memory_at(ledger, cycles_heap(ledger)[i].cell);
}


cycles_cell_t *
cycles_heap_min(cycles_ledger_t *ledger, int64_t *when)
{
    cycles_heap_item_t  *heap;

    if (ledger->shm->nlive == 0) {
        return NULL;
    }

    heap = cycles_heap(ledger);
    *when = heap[0].when;

    return cycles_memory_at(ledger, heap[0].cell);
}


/*
 * Finds up to max reservations whose time is before now, without taking them
 * out: the ones that are due are at the top of the heap.
 */

unsigned
cycles_heap_due(cycles_ledger_t *ledger, int64_t now, cycles_cell_t **cells,
    unsigned max)
{
    unsigned             i, n;
    uint32_t             k, child, at[CYCLES_EXPIRE_BATCH];
    cycles_heap_item_t  *heap;

    heap = cycles_heap(ledger);

    if (ledger->shm->nlive == 0 || heap[0].when >= now) {
        return 0;
    }

    if (max > CYCLES_EXPIRE_BATCH) {
        max = CYCLES_EXPIRE_BATCH;
    }

    at[0] = 0;

    for (n = 1, i = 0; i < n; i++) {
        cells[i] = cycles_memory_at(ledger, heap[at[i]].cell);

        for (k = 1; k <= CYCLES_HEAP_WAYS && n < max; k++) {
            child = at[i] * CYCLES_HEAP_WAYS + k;

            if (child < ledger->shm->nlive && heap[child].when < now) {
                at[n++] = child;
            }
        }
    }

    return n;
}


static cycles_heap_item_t *
cycles_heap(cycles_ledger_t *ledger)
{
    return (cycles_heap_item_t *) (void *) (ledger->base + ledger->shm->heap);
}


static void
cycles_heap_put(cycles_ledger_t *ledger, uint32_t i, cycles_heap_item_t item)
{
    cycles_cell_t  *cell;

    cycles_heap(ledger)[i] = item;

    cell = cycles_memory_at(ledger, item.cell);
    cell->heap = i;
}


static void
cycles_heap_up(cycles_ledger_t *ledger, uint32_t i)
{
    uint32_t             parent;
    cycles_heap_item_t  *heap, item;

    heap = cycles_heap(ledger);
    item = heap[i];

    while (i) {
        parent = (i - 1) / CYCLES_HEAP_WAYS;

        if (heap[parent].when <= item.when) {
            break;
        }

        cycles_heap_put(ledger, i, heap[parent]);
        i = parent;
    }

    cycles_heap_put(ledger, i, item);
}


static void
cycles_heap_down(cycles_ledger_t *ledger, uint32_t i)
{
    uint32_t             n, child, least, end;
    cycles_heap_item_t  *heap, item;

    heap = cycles_heap(ledger);
    n = ledger->shm->nlive;
    item = heap[i];

    for ( ;; ) {
        least = i * CYCLES_HEAP_WAYS + 1;

        if (least >= n) {
            break;
        }

        end = least + CYCLES_HEAP_WAYS;

        if (end > n) {
            end = n;
        }

        for (child = least + 1; child < end; child++) {
            if (heap[child].when < heap[least].when) {
                least = child;
            }
        }

        if (heap[least].when >= item.when) {
            break;
        }

        cycles_heap_put(ledger, i, heap[least]);
        i = least;
    }

    cycles_heap_put(ledger, i, item);
}


uint32_t
cycles_scope_hash_str(cycles_str_t str)
{
    size_t    i;
    uint32_t  hash;

    for (hash = CYCLES_HASH_INIT, i = 0; i < str.len; i++) {
        hash = cycles_scope_hash(hash, str.data[i]);
    }

    return hash;
}


/* unit: -1 finds the budget of the scope in any unit */

cycles_budget_t *
cycles_budget_find(cycles_ledger_t *ledger, const char *scope, size_t len,
    uint32_t hash, int unit)
{
    cycles_ref_t      ref;
    cycles_budget_t  *budget;

    ref = *cycles_memory_bucket(ledger, &ledger->shm->scopes, hash);

    while (ref) {
        budget = cycles_memory_at(ledger, ref);

        if (budget->hash == hash
            && (unit == -1 || budget->unit == unit)
            && budget->scope_len == len
            && memcmp(budget->scope, scope, len) == 0)
        {
            return budget;
        }

        ref = budget->next;
    }

    return NULL;
}


cycles_budget_t *
cycles_budget_by_id(cycles_ledger_t *ledger, uint32_t id)
{
    return cycles_directory_at(ledger, &ledger->shm->budgets, id);
}


int
cycles_budget_register(cycles_ledger_t *ledger, cycles_budget_t *budget)
{
    cycles_ref_t  *bucket;

    budget->id = cycles_directory_add(ledger, &ledger->shm->budgets, budget);

    if (budget->id == 0) {
        return -1;
    }

    bucket = cycles_memory_bucket(ledger, &ledger->shm->scopes, budget->hash);
    budget->next = *bucket;
    *bucket = cycles_memory_ref(ledger, budget);

    return 0;
}


/* NULL: there is none of this id */

void *
cycles_directory_at(cycles_ledger_t *ledger,
    const cycles_directory_t *directory, uint32_t id)
{
    cycles_ref_t  *chunks, *chunk;

    id--;

    if (id >= directory->n) {
        return NULL;
    }

    chunks = (cycles_ref_t *) (void *) (ledger->base + directory->offset);
    chunk = cycles_memory_at(ledger, chunks[id / CYCLES_DIRECTORY_CHUNK]);

    return cycles_memory_at(ledger, chunk[id % CYCLES_DIRECTORY_CHUNK]);
}


/* ids are 1, 2, 3, ... in the order of the log; 0: there is no room */

uint32_t
cycles_directory_add(cycles_ledger_t *ledger, cycles_directory_t *directory,
    const void *p)
{
    uint32_t       n;
    cycles_ref_t  *chunks, *chunk;

    n = directory->n;

    if (n / CYCLES_DIRECTORY_CHUNK >= directory->max_chunks) {
        return 0;
    }

    chunks = (cycles_ref_t *) (void *) (ledger->base + directory->offset)
             + n / CYCLES_DIRECTORY_CHUNK;

    if (*chunks == 0) {
        *chunks = cycles_defs_alloc(ledger, CYCLES_DIRECTORY_CHUNK
                                            * sizeof(cycles_ref_t));
        if (*chunks == 0) {
            return 0;
        }
    }

    chunk = cycles_memory_at(ledger, *chunks);
    chunk[n % CYCLES_DIRECTORY_CHUNK] = cycles_memory_ref(ledger, p);

    directory->n = n + 1;

    return n + 1;
}


cycles_tenant_t *
cycles_tenant_find(cycles_ledger_t *ledger, const unsigned char *id,
    size_t len)
{
    cycles_str_t  str;

    if (ledger->shm->tenants_by_id.n == 0) {
        return NULL;
    }

    str.len = len;
    str.data = (unsigned char *) id;

    return cycles_tenant_hashed(ledger, str, cycles_segment_hash(id, len));
}


cycles_tenant_t *
cycles_tenant_hashed(cycles_ledger_t *ledger, cycles_str_t id, uint32_t hash)
{
    cycles_ref_t      ref;
    cycles_tenant_t  *tenant;

    ref = *cycles_memory_bucket(ledger, &ledger->shm->tenants, hash);

    while (ref) {
        tenant = cycles_memory_at(ledger, ref);

        if (tenant->id_len == id.len
            && memcmp(tenant->tenant_id, id.data, id.len) == 0)
        {
            return tenant;
        }

        ref = tenant->next;
    }

    return NULL;
}


/*
 * Whose a reservation is; NULL: of no tenant that is known.  One that was made
 * before its tenant became known is its tenant's by the scopes that it holds.
 */

cycles_tenant_t *
cycles_cell_tenant(cycles_ledger_t *ledger, const cycles_cell_t *cell)
{
    cycles_str_t      scope;
    cycles_budget_t  *budget;

    if (cell->tenant) {
        return cycles_memory_at(ledger, cell->tenant);
    }

    if (cell->nbudgets == 0) {
        return NULL;
    }

    budget = cycles_memory_at(ledger, cell->budgets[0]);

    scope.len = budget->scope_len;
    scope.data = budget->scope;

    return cycles_scope_tenant(ledger, scope);
}


cycles_api_key_t *
cycles_api_key_find(cycles_ledger_t *ledger, const uint8_t *sha256)
{
    cycles_ref_t       ref;
    cycles_api_key_t  *key;

    ref = *cycles_memory_bucket(ledger, &ledger->shm->api_keys,
                                cycles_hash64(sha256));

    while (ref) {
        key = cycles_memory_at(ledger, ref);

        if (memcmp(key->sha256, sha256, 32) == 0) {
            return key;
        }

        ref = key->next;
    }

    return NULL;
}
