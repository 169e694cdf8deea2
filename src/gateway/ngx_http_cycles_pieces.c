
/*
 * Copyright (C) nginx-cycles authors
 *
 * Memory that a worker uses again.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <sys/mman.h>

#include "ngx_http_cycles_pieces.h"


#if defined(__GLIBC__)
#include <malloc.h>
#endif


#define NGX_HTTP_CYCLES_MMAP  (4 * 1024 * 1024)
#define NGX_HTTP_CYCLES_TRIM  (8 * 1024 * 1024)


/*
 * Pieces are cut from blocks of the size and the place of a huge page: a
 * stream that has an event now and then finds nothing of its own in a cache,
 * and waits longer for the addresses to be translated, of a page for each
 * piece, than for what is in them.
 */

#define NGX_HTTP_CYCLES_BLOCK  (2 * 1024 * 1024)

#define NGX_HTTP_CYCLES_BLOCK_START                                          \
    ngx_align(sizeof(ngx_http_cycles_block_t), 16)


typedef struct ngx_http_cycles_block_s  ngx_http_cycles_block_t;

struct ngx_http_cycles_block_s {
    ngx_http_cycles_block_t        *next;
    u_char                         *last;
};


#if (NGX_HTTP_CYCLES_PIECES)

static void *ngx_http_cycles_cut_piece(size_t size);
static ngx_http_cycles_block_t *ngx_http_cycles_new_block(void);
static void ngx_http_cycles_free_blocks(void);


/* the first one is cut; pieces in use; what has another epoch is gone */

static ngx_http_cycles_block_t  *ngx_http_cycles_blocks;
static ngx_uint_t                ngx_http_cycles_pieces_used;
static ngx_uint_t                ngx_http_cycles_pieces_epoch;


void *
ngx_http_cycles_piece(ngx_http_cycles_pieces_t *pieces, size_t size)
{
    void  *p;

    if (pieces->epoch != ngx_http_cycles_pieces_epoch) {
        pieces->epoch = ngx_http_cycles_pieces_epoch;
        pieces->free = NULL;
    }

    p = pieces->free;

    if (p) {
        pieces->free = *(void **) p;

    } else {
        p = ngx_http_cycles_cut_piece(size);
        if (p == NULL) {
            return NULL;
        }
    }

    ngx_http_cycles_pieces_used++;

    return p;
}


void
ngx_http_cycles_free_piece(ngx_http_cycles_pieces_t *pieces, void *p)
{
    *(void **) p = pieces->free;
    pieces->free = p;

    if (--ngx_http_cycles_pieces_used == 0 && ngx_http_cycles_blocks->next) {
        ngx_http_cycles_free_blocks();
    }
}


static void *
ngx_http_cycles_cut_piece(size_t size)
{
    u_char                   *p;
    ngx_http_cycles_block_t  *block;

    size = ngx_align(size, 16);
    block = ngx_http_cycles_blocks;

    if (block == NULL
        || (size_t) ((u_char *) block + NGX_HTTP_CYCLES_BLOCK - block->last)
           < size)
    {
        block = ngx_http_cycles_new_block();
        if (block == NULL) {
            return NULL;
        }

        block->next = ngx_http_cycles_blocks;
        ngx_http_cycles_blocks = block;
    }

    p = block->last;
    block->last += size;

    return p;
}


static ngx_http_cycles_block_t *
ngx_http_cycles_new_block(void)
{
    u_char                   *p, *aligned;
    size_t                    before;
    ngx_http_cycles_block_t  *block;

    p = mmap(NULL, 2 * NGX_HTTP_CYCLES_BLOCK, PROT_READ|PROT_WRITE,
             MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, ngx_errno,
                      "mmap(%d) failed", 2 * NGX_HTTP_CYCLES_BLOCK);
        return NULL;
    }

    aligned = ngx_align_ptr(p, NGX_HTTP_CYCLES_BLOCK);
    before = aligned - p;

    if (before) {
        (void) munmap(p, before);
    }

    (void) munmap(aligned + NGX_HTTP_CYCLES_BLOCK,
                  NGX_HTTP_CYCLES_BLOCK - before);

#ifdef MADV_HUGEPAGE

    /* a kernel that has none gives pages of 4 KB, which do as well */

    (void) madvise(aligned, NGX_HTTP_CYCLES_BLOCK, MADV_HUGEPAGE);

#endif

    block = (ngx_http_cycles_block_t *) aligned;
    block->last = aligned + NGX_HTTP_CYCLES_BLOCK_START;

    return block;
}


static void
ngx_http_cycles_free_blocks(void)
{
    ngx_http_cycles_block_t  *block, *next;

    for (block = ngx_http_cycles_blocks->next; block; block = next) {
        next = block->next;
        (void) munmap(block, NGX_HTTP_CYCLES_BLOCK);
    }

    block = ngx_http_cycles_blocks;
    block->next = NULL;
    block->last = (u_char *) block + NGX_HTTP_CYCLES_BLOCK_START;

    ngx_http_cycles_pieces_epoch++;
}

#else

void *
ngx_http_cycles_piece(ngx_http_cycles_pieces_t *pieces, size_t size)
{
    return ngx_alloc(size, ngx_cycle->log);
}


void
ngx_http_cycles_free_piece(ngx_http_cycles_pieces_t *pieces, void *p)
{
    ngx_free(p);
}

#endif


/*
 * Requests that wait for the same sync, or whose calls end in the same turn of
 * the event loop, free what they have taken at the same time; glibc gives that
 * to the kernel, and the next ones take it back, a page fault for each page.
 */

void
ngx_http_cycles_keep_memory(void)
{
#ifdef M_TRIM_THRESHOLD

    /* with one of both given, glibc no longer adjusts the other one either */

    (void) mallopt(M_MMAP_THRESHOLD, NGX_HTTP_CYCLES_MMAP);
    (void) mallopt(M_TRIM_THRESHOLD, NGX_HTTP_CYCLES_TRIM);

#endif
}
