
/*
 * Copyright (C) nginx-cycles authors
 *
 * The reply.  Usage is read by a tap on the upstream's input filter, which
 * sees every byte once, however slowly the client reads; the body filter is
 * the fallback for content that comes another way, and hides the one chunk
 * of a stream that the client did not ask for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "ngx_http_cycles_module.h"


/*
 * The chunk with the usage is shorter; a longer event is passed at once.  Most
 * events are much shorter.
 */

#define NGX_HTTP_CYCLES_HELD      1024
#define NGX_HTTP_CYCLES_MAX_HELD  8192

#define ngx_http_cycles_get_tap(rp)                                          \
    ((ngx_http_cycles_tap_t *) ((u_char *) (rp)                              \
                                - offsetof(ngx_http_cycles_tap_t, reply)))


/*
 * What the upstream's input filter is given, with all that a piece of a reply
 * needs behind it: nothing has to be found first.
 */

typedef struct {
    ngx_http_request_t             *request;
    ngx_http_upstream_t            *upstream;   /* NULL: it has not got it */
    ngx_http_cycles_ctx_t          *ctx;
    ngx_int_t                     (*filter)(void *data, ssize_t bytes);
    llm_reply_t                     reply;      /* as large as needed */
} ngx_http_cycles_tap_t;


static ngx_int_t ngx_http_cycles_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);

static ngx_int_t ngx_http_cycles_add_headers(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_add_amount(ngx_http_request_t *r,
    char *name, int64_t amount);
static ngx_uint_t ngx_http_cycles_has_control(u_char *p, size_t len);
static ngx_int_t ngx_http_cycles_read_reply(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static void ngx_http_cycles_read_headers(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_read_encoding(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_feed(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t *cl);
static void ngx_http_cycles_finish(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);

static ngx_int_t ngx_http_cycles_tap_init(void *data);
static ngx_int_t ngx_http_cycles_tap_filter(void *data, ssize_t bytes);
static ngx_int_t ngx_http_cycles_tap_pipe_filter(ngx_event_pipe_t *p,
    ngx_buf_t *buf);
static void ngx_http_cycles_prefetch(ngx_http_cycles_ctx_t *ctx);

static void ngx_http_cycles_end_upstream(ngx_http_upstream_t *u, off_t left);

static ngx_int_t ngx_http_cycles_send(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t *in);
static ngx_int_t ngx_http_cycles_hide(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t *in);
static ngx_chain_t **ngx_http_cycles_hide_buf(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_buf_t *b, ngx_chain_t **ll);
static u_char *ngx_http_cycles_hide_lf(ngx_http_cycles_ctx_t *ctx,
    ngx_buf_t *b);
static ngx_chain_t **ngx_http_cycles_hold(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_buf_t *b, u_char *event,
    ngx_chain_t **ll);
static ngx_int_t ngx_http_cycles_add_held(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, u_char *p, size_t n);
static ngx_buf_t *ngx_http_cycles_held_buf(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, size_t size);
static ngx_int_t ngx_http_cycles_free_held(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_chain_t **ngx_http_cycles_end_held(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t **ll);
static ngx_chain_t **ngx_http_cycles_pass_held(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t **ll);
static ngx_chain_t **ngx_http_cycles_pass_copy(ngx_http_request_t *r,
    u_char *p, u_char *last, ngx_chain_t **ll);
static ngx_chain_t **ngx_http_cycles_pass_last(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_buf_t *from, ngx_chain_t **ll);

static ngx_int_t ngx_http_cycles_filter_init(ngx_conf_t *cf);


static ngx_http_module_t  ngx_http_cycles_filter_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_cycles_filter_init,           /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_cycles_filter_module = {
    NGX_MODULE_V1,
    &ngx_http_cycles_filter_module_ctx,    /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;

/* by format */

static ngx_http_cycles_pieces_t
    ngx_http_cycles_taps[LLM_REPLY_EVENTSTREAM + 1];


static ngx_int_t
ngx_http_cycles_header_filter(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    ngx_http_cycles_ctx_t  *ctx;

    ctx = ngx_http_cycles_get_ctx(r);

    if (ctx == NULL || r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    if (ngx_http_cycles_add_headers(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->state == NGX_HTTP_CYCLES_PASSED && !ctx->settling
        && ctx->verdict != NGX_HTTP_CYCLES_BYPASS
        && ngx_http_cycles_read_reply(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_next_header_filter(r);

    return (rc == NGX_ERROR) ? ngx_http_cycles_lost(r, ctx, NULL) : rc;
}


static ngx_int_t
ngx_http_cycles_add_headers(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->conf->response_headers == NGX_HTTP_CYCLES_HEADERS_OFF
        || ctx->verdict == NGX_HTTP_CYCLES_NONE)
    {
        return NGX_OK;
    }

    rc = ngx_http_cycles_add_header(r, "X-Cycles-Decision",
                                 ngx_http_cycles_verdict_name(ctx->verdict));

    if (rc == NGX_OK && ctx->reservation_id.len) {
        rc = ngx_http_cycles_add_header(r, "X-Cycles-Reservation-Id",
                                        &ctx->reservation_id);
    }

    if (rc == NGX_OK && ctx->reason.len) {
        rc = ngx_http_cycles_add_header(r, "X-Cycles-Reason", &ctx->reason);
    }

    if (rc == NGX_OK && ctx->trace_id.len) {
        rc = ngx_http_cycles_add_header(r, "X-Cycles-Trace-Id",
                                        &ctx->trace_id);
    }

    if (rc == NGX_OK && ctx->dry_run.len) {
        rc = ngx_http_cycles_add_header(r, "X-Cycles-Dry-Run", &ctx->dry_run);
    }

    if (rc != NGX_OK
        || ctx->conf->response_headers != NGX_HTTP_CYCLES_HEADERS_AMOUNTS)
    {
        return rc;
    }

    if (ctx->estimate >= 0) {
        rc = ngx_http_cycles_add_amount(r, "X-Cycles-Estimate",
                                        ctx->estimate);
    }

    if (rc == NGX_OK && ctx->remaining != CYCLES_NOT_KNOWN) {
        rc = ngx_http_cycles_add_amount(r, "X-Cycles-Remaining",
                                        ctx->remaining);
    }

    return rc;
}


static ngx_int_t
ngx_http_cycles_add_amount(ngx_http_request_t *r, char *name, int64_t amount)
{
    ngx_str_t  value;

    value.data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%L", amount) - value.data;

    return ngx_http_cycles_add_named(r, name, ngx_strlen(name), &value);
}


ngx_int_t
ngx_http_cycles_add_named(ngx_http_request_t *r, char *name, size_t len,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    /* what an authority calls its things must not end the line */

    if (ngx_http_cycles_has_control(value->data, value->len)) {
        return NGX_OK;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /* newer versions of nginx have more members */

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = len;
    h->value = *value;

    return NGX_OK;
}


static ngx_uint_t
ngx_http_cycles_has_control(u_char *p, size_t len)
{
#if defined(__SSE2__)

    __m128i        v, found;
    const __m128i  last = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f);

    for ( /* void */ ; len >= 16; p += 16, len -= 16) {
        v = _mm_loadu_si128((const __m128i *) p);
        found = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, last), v),
                             _mm_cmpeq_epi8(v, del));

        if (_mm_movemask_epi8(found)) {
            return 1;
        }
    }

#endif

    for ( /* void */ ; len; p++, len--) {
        if (*p < 0x20 || *p == 0x7f) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_cycles_read_reply(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t              *type;
    llm_reply_format_t      format;
    ngx_http_upstream_t    *u;
    ngx_http_cycles_tap_t  *tap;

    ctx->tapped = 0;
    ctx->readable = 0;
    ctx->cutoff = NULL;

    u = r->upstream;

    if (r->cached || (u && u->peer.connection == NULL)) {

        /*
         * The provider was not asked; or its turn is over and this is a page
         * of an error or of X-Accel-Redirect.
         */

        ctx->hide_usage = 0;
        return NGX_OK;
    }

    type = &r->headers_out.content_type;
    format = llm_reply_format(type->data, type->len);

    /* for as long as a stream is open, and it needs no more than this */

    tap = ngx_http_cycles_piece(&ngx_http_cycles_taps[format],
                                offsetof(ngx_http_cycles_tap_t, reply)
                                + llm_reply_size(format));
    if (tap == NULL) {
        return NGX_ERROR;
    }

    tap->upstream = NULL;
    llm_reply_init(&tap->reply, ctx->route.api, format);

    ngx_http_cycles_free_reply(ctx);
    ctx->reply = &tap->reply;

    ngx_http_cycles_read_headers(r, ctx);

    if (ngx_http_cycles_read_encoding(r, ctx) != NGX_OK) {
        ctx->hide_usage = 0;
        return NGX_OK;
    }

    ctx->readable = 1;

    if (u && u->input_filter_init && u->input_filter_ctx == r) {
        ctx->tapped = 1;

        /* not a second time, for a page of an error */

        if (u->input_filter_init != ngx_http_cycles_tap_init) {
            ctx->original_init = u->input_filter_init;
            u->input_filter_init = ngx_http_cycles_tap_init;
        }

    } else {
        r->filter_need_in_memory = 1;
    }

    if (format != LLM_REPLY_SSE || ctx->inflate) {
        ctx->hide_usage = 0;
    }

    if (ctx->hide_usage) {
        r->filter_need_in_memory = 1;

        llm_sse_init(&ctx->events);

        ngx_http_clear_content_length(r);
        ngx_http_clear_accept_ranges(r);
        ngx_http_weak_etag(r);
    }

    return ngx_http_cycles_cutoff_init(r, ctx);
}


void
ngx_http_cycles_free_reply(ngx_http_cycles_ctx_t *ctx)
{
    llm_reply_t            *reply;
    ngx_http_upstream_t    *u;
    ngx_http_cycles_tap_t  *tap;

    static llm_reply_t  none;

    reply = ctx->reply;
    ctx->reply = &none;

    if (reply == NULL || reply == &none) {
        return;
    }

    tap = ngx_http_cycles_get_tap(reply);
    u = tap->upstream;

    if (u) {

        /* one whose reply was given up for a page of an error may go on */

        u->input_filter = tap->filter;
        u->input_filter_ctx = tap->request;
    }

    ngx_http_cycles_free_piece(&ngx_http_cycles_taps[reply->format], tap);
}


/* those of Bedrock have counts; another's would only be names like these */

static void
ngx_http_cycles_read_headers(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (ctx->route.api != LLM_API_INVOKE) {
        return;
    }

    part = r->upstream ? &r->upstream->headers_in.headers.part
                       : &r->headers_out.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        llm_reply_header(ctx->reply, h[i].key.data, h[i].key.len,
                         h[i].value.data, h[i].value.len);
    }
}


/* "identity" was asked for; NGX_DECLINED: it came in a way we can't read */

static ngx_int_t
ngx_http_cycles_read_encoding(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t        *encoding;
    ngx_table_elt_t  *h;

    ctx->inflate = NULL;

    h = r->headers_out.content_encoding;

    if (h == NULL || h->value.len == 0) {
        return NGX_OK;
    }

    encoding = &h->value;

    if (encoding->len == sizeof("identity") - 1
        && ngx_strncasecmp(encoding->data, (u_char *) "identity",
                           encoding->len)
           == 0)
    {
        return NGX_OK;
    }

    if (ngx_http_cycles_inflate_init(r, ctx, encoding) == NGX_OK) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "cycles: reply is encoded as \"%V\", its usage can't be "
                  "read, reservation \"%V\" is settled by estimate: do not "
                  "set \"Accept-Encoding\" by \"proxy_set_header\"",
                  encoding, &ctx->reservation_id);

    return NGX_DECLINED;
}


/* only an upstream whose filters have this request as their data is tapped */

static ngx_int_t
ngx_http_cycles_tap_init(void *data)
{
    ngx_http_request_t  *r = data;

    ngx_int_t               rc;
    ngx_http_upstream_t    *u;
    ngx_http_cycles_tap_t  *tap;
    ngx_http_cycles_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_cycles_module);
    u = r->upstream;

    rc = ctx->original_init(data);

    if (u->buffering) {
        ctx->original_pipe_filter = u->pipe->input_filter;
        u->pipe->input_filter = ngx_http_cycles_tap_pipe_filter;

    } else {
        tap = ngx_http_cycles_get_tap(ctx->reply);
        tap->request = r;
        tap->upstream = u;
        tap->ctx = ctx;
        tap->filter = u->input_filter;

        u->input_filter = ngx_http_cycles_tap_filter;
        u->input_filter_ctx = tap;
    }

    return rc;
}


static ngx_int_t
ngx_http_cycles_tap_pipe_filter(ngx_event_pipe_t *p, ngx_buf_t *buf)
{
    ngx_int_t                rc;
    ngx_chain_t            **ll;
    ngx_http_request_t      *r;
    ngx_http_cycles_ctx_t   *ctx;

    r = p->input_ctx;
    ctx = ngx_http_get_module_ctx(r, ngx_http_cycles_module);

    ngx_http_cycles_prefetch(ctx);
    llm_reply_prefetch(ctx->reply);

    if (ngx_http_cycles_is_cut(ctx)) {
        return NGX_OK;
    }

    /* the original filter appends what it has decoded */

    ll = p->in ? p->last_in : &p->in;

    rc = ctx->original_pipe_filter(p, buf);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cycles_feed(r, ctx, *ll);

    if (p->length == 0 || rc != NGX_OK) {
        ngx_http_cycles_finish(r, ctx);
    }

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    ngx_http_cycles_end_upstream(r->upstream, p->length);

    if (rc == NGX_DONE) {
        p->upstream_done = 1;

    } else {
        p->upstream_error = 1;
        p->length = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_tap_filter(void *data, ssize_t bytes)
{
    ngx_http_cycles_tap_t  *tap = data;

    ngx_int_t                rc;
    ngx_chain_t            **ll;
    ngx_http_request_t      *r;
    ngx_http_upstream_t     *u;
    ngx_http_cycles_ctx_t   *ctx;

    llm_reply_prefetch(&tap->reply);

    ctx = tap->ctx;
    ngx_http_cycles_prefetch(ctx);

    r = tap->request;
    u = r->upstream;

    if (ngx_http_cycles_is_cut(ctx)) {
        return NGX_OK;
    }

    for (ll = &u->out_bufs; *ll; ll = &(*ll)->next) { /* void */ }

    rc = tap->filter(r, bytes);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cycles_feed(r, ctx, *ll);

    if (u->length == 0 || rc != NGX_OK) {
        ngx_http_cycles_finish(r, ctx);
    }

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    ngx_http_cycles_end_upstream(u, u->length);

    if (rc == NGX_DONE) {
        u->length = 0;

    } else {
        u->peer.connection->read->error = 1;
        u->length = 1;
    }

    return NGX_OK;
}


/* as llm_reply_prefetch(), of what is asked of the context */

static void
ngx_http_cycles_prefetch(ngx_http_cycles_ctx_t *ctx)
{
    __builtin_prefetch(&ctx->state);
    __builtin_prefetch(&ctx->verdict);
    __builtin_prefetch(&ctx->cutoff);
    __builtin_prefetch(&ctx->settlement);
}


/*
 * It is over, be it with an end or as if it had failed with a byte to come.
 * What has come of its reply is nothing for a cache, and more may follow.
 */

static void
ngx_http_cycles_end_upstream(ngx_http_upstream_t *u, off_t left)
{
    u->cacheable = 0;
    u->store = 0;

    if (left != 0) {
        u->keepalive = 0;
    }
}


/* NGX_DONE, NGX_ABORT: as ngx_http_cycles_cutoff_feed() */

static ngx_int_t
ngx_http_cycles_feed(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t *cl)
{
    size_t     n;
    ngx_int_t  rc;

    for ( /* void */ ; cl; cl = cl->next) {
        if (ngx_buf_in_memory(cl->buf)) {
            n = cl->buf->last - cl->buf->pos;

            if (ctx->cutoff) {
                rc = ngx_http_cycles_cutoff_feed(r, ctx, cl->buf->pos, n);

                if (rc != NGX_OK) {
                    return rc;
                }

            } else if (ctx->inflate) {
                ngx_http_cycles_inflate(ctx, cl->buf->pos, n);

            } else {
                llm_reply_feed(ctx->reply, cl->buf->pos, n);
            }

            ngx_http_cycles_drained(r, ctx, n);
        }
    }

    return NGX_OK;
}


/* the reply is complete: its cost does not wait for the client to read it */

static void
ngx_http_cycles_finish(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    if (ctx->complete) {
        return;
    }

    ctx->complete = 1;

    ngx_http_cycles_unguard(ctx);

    if (ctx->readable) {
        llm_reply_finish(ctx->reply);
    }

    ngx_http_cycles_settle(r, ctx);
}


static ngx_int_t
ngx_http_cycles_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_int_t               rc;
    ngx_uint_t              last;
    ngx_chain_t            *cl;
    ngx_http_cycles_ctx_t  *ctx;

    ctx = (r == r->main) ? ngx_http_get_module_ctx(r, ngx_http_cycles_module)
                         : NULL;

    if (ctx == NULL || ctx->state != NGX_HTTP_CYCLES_PASSED) {
        return ngx_http_next_body_filter(r, in);
    }

    last = 0;

    for (cl = in; cl; cl = cl->next) {
        if (cl->buf->last_buf) {
            last = 1;
        }
    }

    if (ctx->readable && !ctx->tapped) {
        (void) ngx_http_cycles_feed(r, ctx, in);
    }

    if (last && ctx->verdict != NGX_HTTP_CYCLES_BYPASS) {
        ngx_http_cycles_finish(r, ctx);
    }

    if (ctx->gone) {
        return ngx_http_cycles_lost(r, ctx, in);
    }

    rc = ngx_http_cycles_send(r, ctx, in);

    return (rc == NGX_ERROR) ? ngx_http_cycles_lost(r, ctx, in) : rc;
}


/* less what is not for the client, and with what only we have to say */

static ngx_int_t
ngx_http_cycles_send(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_int_t     rc;
    ngx_uint_t    cutoff;
    ngx_chain_t  *out;

    out = in;
    cutoff = (ctx->cutoff != NULL);

    if (cutoff) {

        if (ngx_http_cycles_cutoff_filter(r, ctx, in, &out) != NGX_OK) {
            return NGX_ERROR;
        }

        if (out == NULL && in) {
            return NGX_OK;
        }
    }

    rc = ctx->hide_usage ? ngx_http_cycles_hide(r, ctx, out)
                         : ngx_http_next_body_filter(r, out);

    if (cutoff) {
        ngx_http_cycles_cutoff_sent(r, ctx, &out);
    }

    return rc;
}


/*
 * Passes whole events on and drops the one that we asked for.  A buffer goes
 * on as it is, only shortened; the part of an event at its end is held back
 * until the event is whole.
 */

static ngx_int_t
ngx_http_cycles_hide(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t *in)
{
    ngx_int_t      rc;
    ngx_chain_t   *cl, *next, *out, **ll;

    out = NULL;
    ll = &out;

    for (cl = in; cl; cl = cl->next) {

        if (ngx_buf_in_memory(cl->buf)) {
            ll = ngx_http_cycles_hide_buf(r, ctx, cl->buf, ll);

            if (ll == NULL) {
                return NGX_ERROR;
            }

            if (ngx_buf_size(cl->buf) == 0) {

                /* an empty one may only say that it is the last */

                if (!cl->buf->last_buf) {
                    continue;
                }
            }
        }

        if (cl->buf->last_buf) {
            ll = ngx_http_cycles_pass_last(r, ctx, cl->buf, ll);

        } else {
            ll = ngx_http_cycles_link(r, cl->buf, ll);
        }

        if (ll == NULL) {
            return NGX_ERROR;
        }
    }

    if (out == NULL && in) {
        return NGX_OK;
    }

    rc = ngx_http_next_body_filter(r, out);

    for (cl = out; cl; cl = next) {
        next = cl->next;

        if (cl->buf->tag != (ngx_buf_tag_t) &ngx_http_cycles_filter_module) {
            ngx_free_chain(r->pool, cl);
            continue;
        }

        cl->next = ctx->busy;
        ctx->busy = cl;
    }

    for (ll = &ctx->busy; *ll; /* void */ ) {
        cl = *ll;

        if (ngx_buf_size(cl->buf) != 0) {
            ll = &cl->next;
            continue;
        }

        *ll = cl->next;

        cl->next = ctx->free;
        ctx->free = cl;
    }

    return rc;
}


/* passes what precedes b's own bytes, and leaves in b what may go on */

static ngx_chain_t **
ngx_http_cycles_hide_buf(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_buf_t *b, ngx_chain_t **ll)
{
    u_char     *event, *end, *last;
    ngx_int_t   rc;

    event = ngx_http_cycles_hide_lf(ctx, b);
    last = b->last;

    while (event < last) {

        end = (u_char *) llm_sse_event_end(&ctx->events, event, last);

        if (end == NULL) {
            break;
        }

        ctx->hidden = 0;

        if (ctx->held) {

            /* the event began in an earlier buffer: b->pos == event */

            rc = ngx_http_cycles_add_held(r, ctx, event, end - event);

            if (rc == NGX_ERROR) {
                return NULL;
            }

            if (rc == NGX_DECLINED) {
                ll = ngx_http_cycles_pass_held(r, ctx, ll);

            } else {
                b->pos = end;
                ll = ngx_http_cycles_end_held(r, ctx, ll);
            }

            if (ll == NULL) {
                return NULL;
            }

        } else if (!ctx->passing && llm_sse_usage_only(event, end - event)) {

            if (b->pos != event) {
                ll = ngx_http_cycles_pass_copy(r, b->pos, event, ll);
                if (ll == NULL) {
                    return NULL;
                }
            }

            b->pos = end;
            ctx->hidden = 1;
        }

        ctx->passing = 0;
        ctx->lf = (end == last && end[-1] == '\r');
        event = end;
    }

    if (event == last || ctx->passing) {
        return ll;
    }

    return ngx_http_cycles_hold(r, ctx, b, event, ll);
}


/*
 * When a buffer ends between the CR and the LF of an event's last line, the
 * LF shares the fate of its event.  Returns where the next event begins.
 */

static u_char *
ngx_http_cycles_hide_lf(ngx_http_cycles_ctx_t *ctx, ngx_buf_t *b)
{
    u_char  *event;

    event = b->pos;

    if (!ctx->lf || event == b->last) {
        return event;
    }

    ctx->lf = 0;

    if (*event != '\n') {
        return event;
    }

    (void) llm_sse_event_end(&ctx->events, event, event + 1);

    event++;

    if (ctx->hidden) {
        b->pos = event;
    }

    return event;
}


/* holds [event, b->last) back, unless it can't be the event that we hide */

static ngx_chain_t **
ngx_http_cycles_hold(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_buf_t *b, u_char *event, ngx_chain_t **ll)
{
    ngx_int_t  rc;

    rc = ngx_http_cycles_add_held(r, ctx, event, b->last - event);

    if (rc == NGX_ERROR) {
        return NULL;
    }

    if (rc == NGX_DECLINED) {
        ctx->passing = 1;
        return ctx->held ? ngx_http_cycles_pass_held(r, ctx, ll) : ll;
    }

    b->last = event;

    return ll;
}


/* NGX_DECLINED: what is held would be too long */

static ngx_int_t
ngx_http_cycles_add_held(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    u_char *p, size_t n)
{
    size_t      size;
    ngx_buf_t  *b, *held;

    held = ctx->held;
    size = held ? held->last - held->pos : 0;

    if (size + n > NGX_HTTP_CYCLES_MAX_HELD) {
        return NGX_DECLINED;
    }

    if (held == NULL || (size_t) (held->end - held->last) < n) {

        b = ngx_http_cycles_held_buf(r, ctx, size + n);
        if (b == NULL) {
            return NGX_ERROR;
        }

        if (held) {
            b->last = ngx_cpymem(b->last, held->pos, size);

            if (ngx_http_cycles_free_held(r, ctx) != NGX_OK) {
                return NGX_ERROR;
            }
        }

        ctx->held = b;
    }

    ctx->held->last = ngx_cpymem(ctx->held->last, p, n);

    return NGX_OK;
}


static ngx_buf_t *
ngx_http_cycles_held_buf(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    size_t size)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl, **ll;

    for (ll = &ctx->free; *ll; ll = &cl->next) {

        cl = *ll;
        b = cl->buf;

        if ((size_t) (b->end - b->start) >= size) {
            *ll = cl->next;
            ngx_free_chain(r->pool, cl);

            b->pos = b->start;
            b->last = b->start;

            return b;
        }
    }

    b = ngx_create_temp_buf(r->pool, (size > NGX_HTTP_CYCLES_HELD)
                                     ? NGX_HTTP_CYCLES_MAX_HELD
                                     : NGX_HTTP_CYCLES_HELD);
    if (b == NULL) {
        return NULL;
    }

    b->tag = (ngx_buf_tag_t) &ngx_http_cycles_filter_module;

    return b;
}


/* what is held is not for the client, or is held elsewhere */

static ngx_int_t
ngx_http_cycles_free_held(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = ctx->held;
    cl->next = ctx->free;
    ctx->free = cl;

    ctx->held = NULL;

    return NGX_OK;
}


/* a held event is whole, or the stream has ended */

static ngx_chain_t **
ngx_http_cycles_end_held(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t **ll)
{
    ngx_buf_t  *b;

    b = ctx->held;

    if (!llm_sse_usage_only(b->pos, b->last - b->pos)) {
        return ngx_http_cycles_pass_held(r, ctx, ll);
    }

    if (ngx_http_cycles_free_held(r, ctx) != NGX_OK) {
        return NULL;
    }

    ctx->hidden = 1;

    return ll;
}


static ngx_chain_t **
ngx_http_cycles_pass_held(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t **ll)
{
    /* its rest came with a buffer that nginx would have sent at once */

    ctx->held->flush = 1;

    ll = ngx_http_cycles_link(r, ctx->held, ll);

    ctx->held = NULL;

    return ll;
}


/* the bytes before the hidden event, once in a stream */

static ngx_chain_t **
ngx_http_cycles_pass_copy(ngx_http_request_t *r, u_char *p, u_char *last,
    ngx_chain_t **ll)
{
    ngx_buf_t  *b;

    b = ngx_create_temp_buf(r->pool, last - p);
    if (b == NULL) {
        return NULL;
    }

    b->last = ngx_cpymem(b->last, p, last - p);
    b->flush = 1;

    return ngx_http_cycles_link(r, b, ll);
}


/* the end of the stream; what is still held is an event without its end */

static ngx_chain_t **
ngx_http_cycles_pass_last(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_buf_t *from, ngx_chain_t **ll)
{
    ngx_buf_t  *b;

    if (ngx_buf_size(from) != 0) {
        ll = ngx_http_cycles_link(r, from, ll);
        if (ll == NULL) {
            return NULL;
        }
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NULL;
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    from->last_buf = 0;

    if (ctx->held) {
        ll = ngx_http_cycles_end_held(r, ctx, ll);
        if (ll == NULL) {
            return NULL;
        }
    }

    return ngx_http_cycles_link(r, b, ll);
}


ngx_chain_t **
ngx_http_cycles_link(ngx_http_request_t *r, ngx_buf_t *b, ngx_chain_t **ll)
{
    ngx_chain_t  *cl;

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NULL;
    }

    cl->buf = b;
    cl->next = NULL;
    *ll = cl;

    return &cl->next;
}


static ngx_int_t
ngx_http_cycles_filter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_cycles_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_cycles_body_filter;

    return NGX_OK;
}
