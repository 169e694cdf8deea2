
/*
 * Copyright (C) nginx-cycles authors
 *
 * A reply that is compressed although "identity" was asked for.  The client
 * gets it as it is; only the reader of usage needs the text.  What is kept of
 * it is zlib's state, 40K, and one buffer.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <zlib.h>

#include "ngx_http_cycles_module.h"


/* of a gzip or a zlib stream, whichever it is, with the largest window */

#define NGX_HTTP_CYCLES_WBITS     (MAX_WBITS + 32)

#define NGX_HTTP_CYCLES_INFLATED  16384


struct ngx_http_cycles_inflate_s {
    z_stream                  zstream;
    unsigned                  raw:1;      /* perhaps without a zlib header */
    unsigned                  started:1;
    unsigned                  whole:1;    /* a member of it has ended */
    unsigned                  done:1;
    u_char                    text[NGX_HTTP_CYCLES_INFLATED];
};


static void *ngx_http_cycles_inflate_alloc(void *opaque, u_int items,
    u_int size);
static void ngx_http_cycles_inflate_free(void *opaque, void *address);
static int ngx_http_cycles_inflate_begin(ngx_http_cycles_inflate_t *in,
    u_char *p, size_t n);


ngx_int_t
ngx_http_cycles_inflate_init(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *encoding)
{
    ngx_uint_t                  deflate;
    ngx_http_cycles_inflate_t  *in;

    deflate = (encoding->len == sizeof("deflate") - 1
               && ngx_strncasecmp(encoding->data, (u_char *) "deflate",
                                  encoding->len)
                  == 0);

    if (!deflate
        && (encoding->len != sizeof("gzip") - 1
            || ngx_strncasecmp(encoding->data, (u_char *) "gzip",
                               encoding->len)
               != 0)
        && (encoding->len != sizeof("x-gzip") - 1
            || ngx_strncasecmp(encoding->data, (u_char *) "x-gzip",
                               encoding->len)
               != 0))
    {
        return NGX_DECLINED;
    }

    in = ngx_palloc(r->pool, sizeof(ngx_http_cycles_inflate_t));
    if (in == NULL) {
        return NGX_DECLINED;
    }

    ngx_memzero(&in->zstream, sizeof(z_stream));

    in->zstream.zalloc = ngx_http_cycles_inflate_alloc;
    in->zstream.zfree = ngx_http_cycles_inflate_free;
    in->zstream.opaque = r->pool;

    in->raw = deflate;
    in->started = 0;
    in->whole = 0;
    in->done = 0;

    ctx->inflate = in;

    return NGX_OK;
}


void
ngx_http_cycles_inflate(ngx_http_cycles_ctx_t *ctx, u_char *p, size_t n)
{
    int                         rc;
    ngx_http_cycles_inflate_t  *in;

    in = ctx->inflate;

    if (in->done || n == 0) {
        return;
    }

    rc = in->started ? Z_OK : ngx_http_cycles_inflate_begin(in, p, n);

    in->zstream.next_in = p;
    in->zstream.avail_in = (uInt) n;

    while (rc == Z_OK) {

        in->zstream.next_out = in->text;
        in->zstream.avail_out = NGX_HTTP_CYCLES_INFLATED;

        rc = inflate(&in->zstream, Z_SYNC_FLUSH);

        llm_reply_feed(ctx->reply, in->text,
                       NGX_HTTP_CYCLES_INFLATED - in->zstream.avail_out);

        if (rc == Z_STREAM_END && in->zstream.avail_in) {

            /* gzip allows for members behind one another, and for padding */

            in->whole = 1;
            rc = inflateReset(&in->zstream);
        }
    }

    if (rc == Z_BUF_ERROR) {

        /* all bytes are read */

        return;
    }

    in->done = 1;

    if (rc != Z_STREAM_END && !in->whole) {
        ngx_log_error(NGX_LOG_WARN, ctx->request->connection->log, 0,
                      "cycles: compressed reply can't be inflated, its usage "
                      "can't be read, reservation \"%V\"",
                      &ctx->reservation_id);

        ctx->reply->unreadable = 1;
    }

    (void) inflateEnd(&in->zstream);
}


/* some servers send "deflate" without the header that zlib gives it */

static int
ngx_http_cycles_inflate_begin(ngx_http_cycles_inflate_t *in, u_char *p,
    size_t n)
{
    int  wbits;

    in->started = 1;

    wbits = (in->raw && (p[0] & 0x0f) != Z_DEFLATED) ? -MAX_WBITS
                                                     : NGX_HTTP_CYCLES_WBITS;

    return inflateInit2(&in->zstream, wbits);
}


static void *
ngx_http_cycles_inflate_alloc(void *opaque, u_int items, u_int size)
{
    return ngx_palloc(opaque, (size_t) items * size);
}


static void
ngx_http_cycles_inflate_free(void *opaque, void *address)
{
    (void) ngx_pfree(opaque, address);
}
