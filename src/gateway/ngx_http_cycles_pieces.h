
/*
 * Copyright (C) nginx-cycles authors
 *
 * Memory that a worker uses again.  Most is of one size: a piece is as large
 * as what is in it, and not a part of a pool: those of requests grow by 4 KB,
 * and malloc() takes longer for pieces of many sizes than for nginx's own.
 */


#ifndef _NGX_HTTP_CYCLES_PIECES_H_INCLUDED_
#define _NGX_HTTP_CYCLES_PIECES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* that wait for their next use; a sanitizer is to see what is used too late */

#if defined(__SANITIZE_ADDRESS__)
#define NGX_HTTP_CYCLES_PIECES  0
#else
#define NGX_HTTP_CYCLES_PIECES  256
#endif


typedef struct {
    ngx_uint_t                      epoch;
    void                           *free;    /* each begins with the next */
} ngx_http_cycles_pieces_t;


/*
 * Pieces are all of that size, which is at least that of a pointer; or NULL.
 * What they take is the kernel's again once no piece of any size is in use,
 * but for 2 MB.
 */

void *ngx_http_cycles_piece(ngx_http_cycles_pieces_t *pieces, size_t size);
void ngx_http_cycles_free_piece(ngx_http_cycles_pieces_t *pieces, void *p);

/* the heap of this worker keeps some megabytes that are free */

void ngx_http_cycles_keep_memory(void);


#endif /* _NGX_HTTP_CYCLES_PIECES_H_INCLUDED_ */
