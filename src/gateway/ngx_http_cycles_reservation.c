
/*
 * Copyright (C) nginx-cycles authors
 *
 * Where a reservation is kept: in a pool of its own, for it outlives the
 * request of its client, and later ones use it again.  The answer to its
 * reserve, which is large and soon of no more use, is beside it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_authority.h"
#include "ngx_http_cycles_pieces.h"


/*
 * The size of a block of a request's pool, which it is nearly: what many that
 * came at once give back serves these.
 */

#define NGX_HTTP_CYCLES_ANSWER                                                \
    ngx_max(sizeof(cycles_reserved_t), 4096)

#define NGX_HTTP_CYCLES_GROW      128
#define NGX_HTTP_CYCLES_GROW_MAX  2048


static ngx_http_cycles_reservation_t *ngx_http_cycles_new_reservation(
    ngx_http_cycles_authority_t *authority);
static void ngx_http_cycles_grown(ngx_http_cycles_authority_t *authority,
    ngx_pool_t *pool);


static ngx_http_cycles_pieces_t  ngx_http_cycles_answers;


ngx_http_cycles_reservation_t *
ngx_http_cycles_create_reservation(ngx_http_cycles_authority_t *authority)
{
    ngx_http_cycles_reservation_t  *rsv;

    rsv = ngx_http_cycles_new_reservation(authority);
    if (rsv == NULL) {
        return NULL;
    }

    rsv->reserved = ngx_http_cycles_piece(&ngx_http_cycles_answers,
                                          NGX_HTTP_CYCLES_ANSWER);
    if (rsv->reserved == NULL) {
        ngx_http_cycles_destroy_reservation(rsv);
        return NULL;
    }

    /* an authority fills in the rest, unless it can't be asked */

    rsv->reserved->code = CYCLES_OK;
    rsv->reserved->remaining = CYCLES_NOT_KNOWN;

    return rsv;
}


static ngx_http_cycles_reservation_t *
ngx_http_cycles_new_reservation(ngx_http_cycles_authority_t *authority)
{
    ngx_pool_t                     *pool;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = authority->idle;

    if (rsv) {
        authority->idle = rsv->data;
        authority->nidle--;

        pool = rsv->pool;
        pool->log = ngx_cycle->log;
        ngx_reset_pool(pool);

    } else {
        pool = ngx_create_pool(authority->ops->pool_size + authority->grown,
                               ngx_cycle->log);
        if (pool == NULL) {
            return NULL;
        }
    }

    rsv = ngx_pcalloc(pool, authority->remote
                            ? sizeof(ngx_http_cycles_reservation_t)
                            : offsetof(ngx_http_cycles_reservation_t, call));
    if (rsv == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    rsv->pool = pool;
    rsv->authority = authority;

    return rsv;
}


void
ngx_http_cycles_forget_answer(ngx_http_cycles_reservation_t *rsv)
{
    if (rsv->reserved) {
        ngx_http_cycles_free_piece(&ngx_http_cycles_answers, rsv->reserved);
        rsv->reserved = NULL;
    }
}


void
ngx_http_cycles_destroy_reservation(ngx_http_cycles_reservation_t *rsv)
{
    ngx_pool_t                   *pool;
    ngx_http_cycles_authority_t  *authority;

    ngx_http_cycles_forget_answer(rsv);

    pool = rsv->pool;
    authority = rsv->authority;

    if (pool->d.next) {
        ngx_http_cycles_grown(authority, pool);
    }

    if (authority->nidle == NGX_HTTP_CYCLES_PIECES
        || pool->d.next || pool->large || pool->cleanup)
    {
        ngx_destroy_pool(pool);
        return;
    }

    rsv->data = authority->idle;
    authority->idle = rsv;
    authority->nidle++;
}


/* the next ones have room in one piece for what this one has had in two */

static void
ngx_http_cycles_grown(ngx_http_cycles_authority_t *authority, ngx_pool_t *pool)
{
    size_t  size;

    size = pool->d.end - (u_char *) pool;

    if (size == authority->ops->pool_size + authority->grown
        && authority->grown < NGX_HTTP_CYCLES_GROW_MAX)
    {
        authority->grown += NGX_HTTP_CYCLES_GROW;
    }
}
