
/*
 * Copyright (C) nginx-cycles authors
 *
 * Memory that a worker uses again.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_cycles_pieces.h"


#if defined(__GLIBC__)
#include <malloc.h>
#endif


#define NGX_HTTP_CYCLES_MMAP  (4 * 1024 * 1024)
#define NGX_HTTP_CYCLES_TRIM  (8 * 1024 * 1024)


void *
ngx_http_cycles_piece(ngx_http_cycles_pieces_t *pieces, size_t size)
{
    void  *p;

    p = pieces->free;

    if (p == NULL) {
        return ngx_alloc(size, ngx_cycle->log);
    }

    pieces->free = *(void **) p;
    pieces->n--;

    return p;
}


void
ngx_http_cycles_free_piece(ngx_http_cycles_pieces_t *pieces, void *p)
{
    if (pieces->n == NGX_HTTP_CYCLES_PIECES) {
        ngx_free(p);
        return;
    }

    *(void **) p = pieces->free;
    pieces->free = p;
    pieces->n++;
}


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
