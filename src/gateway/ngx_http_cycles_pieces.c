
/*
 * Copyright (C) nginx-cycles authors
 *
 * Memory of one size, which a worker uses again.
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_http_cycles_pieces.h"


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
