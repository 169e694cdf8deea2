
/*
 * Copyright (C) nginx-cycles authors
 *
 * The body of a request: its facts, and the few bytes of it that change.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


#define NGX_HTTP_CYCLES_READ_BUFFER  65536


/* bytes [start, end) of the body give way to text */

typedef struct {
    off_t                     start;
    off_t                     end;
    ngx_str_t                 text;
} ngx_http_cycles_splice_t;


static ngx_int_t ngx_http_cycles_guess(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, llm_request_t *rq);
static ngx_int_t ngx_http_cycles_read_body(ngx_http_request_t *r,
    llm_request_t *rq, llm_api_t api);
static ngx_int_t ngx_http_cycles_read_all(ngx_http_request_t *r,
    llm_request_t *rq);
static ngx_int_t ngx_http_cycles_feed_body(ngx_http_request_t *r,
    llm_request_t *rq);
static ngx_int_t ngx_http_cycles_feed_file(ngx_http_request_t *r,
    ngx_buf_t *b, llm_request_t *rq);
static ssize_t ngx_http_cycles_read_piece(ngx_http_request_t *r, ngx_buf_t *b,
    u_char *buf, off_t pos);
static ngx_int_t ngx_http_cycles_ask_identity(ngx_http_request_t *r);
static void ngx_http_cycles_ask_usage(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_splice_t *splice);
static ngx_int_t ngx_http_cycles_splice(ngx_http_request_t *r,
    ngx_http_cycles_splice_t *splices, ngx_uint_t n);
static ngx_chain_t **ngx_http_cycles_copy_range(ngx_http_request_t *r,
    ngx_chain_t **ll, off_t start, off_t end);
static ngx_int_t ngx_http_cycles_write_body(ngx_http_request_t *r,
    ngx_chain_t *in, ngx_buf_t *out);
static ngx_int_t ngx_http_cycles_write_buf(ngx_http_request_t *r,
    ngx_file_t *file, ngx_buf_t *b, u_char *buf);
static ngx_int_t ngx_http_cycles_set_length(ngx_http_request_t *r, off_t len);


/* a body is read in one go, by one at a time */

static llm_request_t  ngx_http_cycles_reader;


ngx_int_t
ngx_http_cycles_read_facts(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    u_char         *p;
    ngx_int_t       rc;
    llm_facts_t    *facts;
    llm_request_t  *rq;

    rq = &ngx_http_cycles_reader;

    rc = ngx_http_cycles_guess(r, ctx, rq);

    if (rc == NGX_DECLINED) {
        rc = ngx_http_cycles_read_body(r, rq, ctx->route.api);
    }

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_DECLINED) {
        error->data = (u_char *) llm_request_error(rq);
        error->len = ngx_strlen(error->data);
        return NGX_HTTP_BAD_REQUEST;
    }

    facts = &ctx->facts_read;
    *facts = rq->facts;

    if (ctx->route.model.len) {

        /* where it is in the path, it is not in the body, or does not count */

        facts->model = ctx->route.model.data;
        facts->model_len = ctx->route.model.len;

    } else if (facts->model_len) {
        p = ngx_http_cycles_keep(ctx, facts->model_len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(p, facts->model, facts->model_len);
        facts->model = p;
    }

    if (ctx->route.stream) {
        facts->stream = 1;
    }

    if (facts->max_tokens < 0) {
        facts->max_tokens = llm_default_limit(ctx->route.provider,
                                              ctx->route.api);
    }

    ctx->facts = facts;
    ctx->input_estimate = facts->input_tokens;

    return NGX_OK;
}


/*
 * Where host and path say nothing, a body with messages does.  NGX_DECLINED:
 * there is nothing to guess, or this is none.
 */

static ngx_int_t
ngx_http_cycles_guess(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    llm_request_t *rq)
{
    ngx_int_t                rc;
    ngx_http_cycles_route_t  route;

    if (ctx->conf->provider != LLM_PROVIDER_AUTO
        || ctx->route.known || ctx->route.provider != LLM_OTHER)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_cycles_guess_route(r, &route) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_cycles_read_body(r, rq, route.api);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!rq->facts.messages) {
        return NGX_DECLINED;
    }

    ctx->route = route;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_read_body(ngx_http_request_t *r, llm_request_t *rq,
    llm_api_t api)
{
    llm_request_init(rq, api);

    return ngx_http_cycles_read_all(r, rq);
}


static ngx_int_t
ngx_http_cycles_read_all(ngx_http_request_t *r, llm_request_t *rq)
{
    ngx_int_t  rc;

    if (r->headers_in.content_type) {
        llm_request_type(rq, r->headers_in.content_type->value.data,
                         r->headers_in.content_type->value.len);
    }

    rc = ngx_http_cycles_feed_body(r, rq);

    if (rc != NGX_OK) {
        return rc;
    }

    return (llm_request_finish(rq) == LLM_OK) ? NGX_OK : NGX_DECLINED;
}


/* NGX_DECLINED: it can't be understood */

static ngx_int_t
ngx_http_cycles_feed_body(ngx_http_request_t *r, llm_request_t *rq)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        b = cl->buf;

        if (b->in_file) {
            rc = ngx_http_cycles_feed_file(r, b, rq);

            if (rc != NGX_OK) {
                return rc;
            }

            continue;
        }

        if (llm_request_feed(rq, b->pos, b->last - b->pos) != LLM_OK) {
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


/*
 * nginx has just written this file, so it is read from the page cache;
 * "client_body_buffer_size" decides whether there is a file at all.
 */

static ngx_int_t
ngx_http_cycles_feed_file(ngx_http_request_t *r, ngx_buf_t *b,
    llm_request_t *rq)
{
    off_t     pos;
    u_char   *buf;
    ssize_t   n;

    buf = ngx_palloc(r->pool, NGX_HTTP_CYCLES_READ_BUFFER);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    for (pos = b->file_pos; pos < b->file_last; pos += n) {

        n = ngx_http_cycles_read_piece(r, b, buf, pos);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (llm_request_feed(rq, buf, n) != LLM_OK) {
            ngx_pfree(r->pool, buf);
            return NGX_DECLINED;
        }
    }

    ngx_pfree(r->pool, buf);

    return NGX_OK;
}


/* a piece of the file at pos into NGX_HTTP_CYCLES_READ_BUFFER bytes of buf */

static ssize_t
ngx_http_cycles_read_piece(ngx_http_request_t *r, ngx_buf_t *b, u_char *buf,
    off_t pos)
{
    size_t   size;
    ssize_t  n;

    size = (size_t) ngx_min(b->file_last - pos, NGX_HTTP_CYCLES_READ_BUFFER);

    n = ngx_read_file(b->file, buf, size, pos);

    if (n == 0) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "request body file \"%V\" was truncated",
                      &b->file->name);
        return NGX_ERROR;
    }

    return n;
}


/* what is seldom needed is not kept for each request */

const llm_edits_t *
ngx_http_cycles_read_edits(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    llm_tool_t *tools, ngx_uint_t n)
{
    llm_request_t  *rq;

    rq = &ngx_http_cycles_reader;

    llm_request_init(rq, ctx->route.api);
    llm_request_tools(rq, tools, n);

    if (ngx_http_cycles_read_all(r, rq) != NGX_OK
        || rq->facts.ntools != ctx->facts->ntools)
    {
        return NULL;
    }

    return &rq->edits;
}


ngx_int_t
ngx_http_cycles_rewrite(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_uint_t                 i, k, n, usage;
    llm_facts_t               *facts;
    llm_splice_t              *caps;
    ngx_http_cycles_splice_t   splice, *splices;

    if (ngx_http_cycles_ask_identity(r) != NGX_OK) {
        return NGX_ERROR;
    }

    facts = ctx->facts;

    usage = ctx->conf->stream_usage && ctx->route.stream_usage
            && facts->stream && !facts->include_usage;

    if (ctx->nsplices + usage == 0) {
        return NGX_OK;
    }

    splices = ngx_palloc(r->pool, (ctx->nsplices + usage)
                                  * sizeof(ngx_http_cycles_splice_t));
    if (splices == NULL) {
        return NGX_ERROR;
    }

    n = 0;

    if (usage) {
        ngx_http_cycles_ask_usage(ctx, &splices[n++]);
    }

    for (i = 0; i < ctx->nsplices; i++) {
        caps = &ctx->splices[i];

        splice.start = caps->start;
        splice.end = caps->end;
        splice.text.len = caps->len;
        splice.text.data = caps->text;

        /* by their places, and those of one place as they came */

        for (k = n++; k && splices[k - 1].start > splice.start; k--) {
            splices[k] = splices[k - 1];
        }

        splices[k] = splice;
    }

    return ngx_http_cycles_splice(r, splices, n);
}


/*
 * An encoded reply would hide its usage from us.  nginx's own gzip filter
 * still goes by what the client accepts.
 */

static ngx_int_t
ngx_http_cycles_ask_identity(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *copy;

#if (NGX_HTTP_GZIP)
    if (r->headers_in.accept_encoding == NULL) {
        return NGX_OK;
    }
#endif

    part = &r->headers_in.headers.part;
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

        if (h[i].key.len != sizeof("Accept-Encoding") - 1
            || ngx_strncmp(h[i].lowcase_key, "accept-encoding",
                           sizeof("Accept-Encoding") - 1)
               != 0)
        {
            continue;
        }

#if (NGX_HTTP_GZIP)
        if (r->headers_in.accept_encoding == &h[i]) {
            copy = ngx_palloc(r->pool, sizeof(ngx_table_elt_t));
            if (copy == NULL) {
                return NGX_ERROR;
            }

            *copy = h[i];

            r->headers_in.accept_encoding = copy;
        }
#endif

        ngx_str_set(&h[i].value, "identity");
    }

    return NGX_OK;
}


static void
ngx_http_cycles_ask_usage(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_splice_t *splice)
{
    llm_facts_t  *facts;

    facts = ctx->facts;

    ctx->hide_usage = 1;

    if (facts->stream_options.end == 0) {
        splice->start = facts->object_start;
        splice->end = facts->object_start;
        ngx_str_set(&splice->text,
                    "\"stream_options\":{\"include_usage\":true},");
        return;
    }

    if (facts->stream_options_start == 0) {
        splice->start = facts->stream_options.start;
        splice->end = facts->stream_options.end;
        ngx_str_set(&splice->text, "{\"include_usage\":true}");
        return;
    }

    splice->start = facts->stream_options_start;
    splice->end = facts->stream_options_start;

    if (facts->stream_options_empty) {
        ngx_str_set(&splice->text, "\"include_usage\":true");
        return;
    }

    ngx_str_set(&splice->text, "\"include_usage\":true,");
}


/*
 * In memory the untouched bytes stay where they are.  A body in a file gets
 * a file of its own: to send it again nginx starts at the beginning of it.
 */

static ngx_int_t
ngx_http_cycles_splice(ngx_http_request_t *r,
    ngx_http_cycles_splice_t *splices, ngx_uint_t n)
{
    off_t          len, pos;
    ngx_buf_t     *b;
    ngx_uint_t     i, last, in_file;
    ngx_chain_t   *cl, *out, **ll;

    len = 0;
    last = 0;
    in_file = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
        last = cl->buf->last_buf;
        in_file |= cl->buf->in_file;
    }

    ll = &out;
    pos = 0;

    for (i = 0; i < n; i++) {
        ll = ngx_http_cycles_copy_range(r, ll, pos, splices[i].start);
        if (ll == NULL) {
            return NGX_ERROR;
        }

        pos = splices[i].end;

        if (splices[i].text.len == 0) {
            continue;
        }

        b = ngx_calloc_buf(r->pool);
        cl = ngx_alloc_chain_link(r->pool);

        if (b == NULL || cl == NULL) {
            return NGX_ERROR;
        }

        b->memory = 1;
        b->start = splices[i].text.data;
        b->pos = b->start;
        b->last = b->start + splices[i].text.len;
        b->end = b->last;

        cl->buf = b;
        *ll = cl;
        ll = &cl->next;
    }

    ll = ngx_http_cycles_copy_range(r, ll, pos, len);
    if (ll == NULL) {
        return NGX_ERROR;
    }

    *ll = NULL;

    for (i = 0; i < n; i++) {
        len += (off_t) splices[i].text.len
               - (splices[i].end - splices[i].start);
    }

    if (in_file) {
        b = ngx_calloc_buf(r->pool);

        if (b == NULL || ngx_http_cycles_write_body(r, out, b) != NGX_OK) {
            return NGX_ERROR;
        }

        out->buf = b;
        out->next = NULL;
    }

    /* each part of what was the last buffer is a copy of it */

    for (cl = out; cl; cl = cl->next) {
        cl->buf->last_buf = (last && cl->next == NULL);
    }

    r->request_body->bufs = out;
    r->request_body->buf = NULL;

    return ngx_http_cycles_set_length(r, len);
}


/* appends bytes [start, end) of the body; returns the new end of the chain */

static ngx_chain_t **
ngx_http_cycles_copy_range(ngx_http_request_t *r, ngx_chain_t **ll,
    off_t start, off_t end)
{
    off_t         size, pos, from, to;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *ln;

    pos = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        size = ngx_buf_size(cl->buf);

        from = ngx_max(start - pos, 0);
        to = ngx_min(end - pos, size);

        pos += size;

        if (from >= to) {
            continue;
        }

        b = ngx_alloc_buf(r->pool);
        ln = ngx_alloc_chain_link(r->pool);

        if (b == NULL || ln == NULL) {
            return NULL;
        }

        ngx_memcpy(b, cl->buf, sizeof(ngx_buf_t));

        if (b->in_file) {
            b->file_last = b->file_pos + to;
            b->file_pos += from;
        }

        if (ngx_buf_in_memory(b)) {
            b->last = b->pos + to;
            b->pos += from;
            b->start = b->pos;
        }

        ln->buf = b;
        *ll = ln;
        ll = &ln->next;
    }

    return ll;
}


/* writes the chain to a new temporary file, which out becomes */

static ngx_int_t
ngx_http_cycles_write_body(ngx_http_request_t *r, ngx_chain_t *in,
    ngx_buf_t *out)
{
    u_char                    *buf;
    ngx_chain_t               *cl;
    ngx_temp_file_t           *tf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    tf = ngx_pcalloc(r->pool, sizeof(ngx_temp_file_t));
    buf = ngx_palloc(r->pool, NGX_HTTP_CYCLES_READ_BUFFER);

    if (tf == NULL || buf == NULL) {
        return NGX_ERROR;
    }

    tf->file.fd = NGX_INVALID_FILE;
    tf->file.log = r->connection->log;
    tf->path = clcf->client_body_temp_path;
    tf->pool = r->pool;

    /* with a name if nginx has given one to its own file */

    tf->persistent = r->request_body_in_persistent_file;
    tf->clean = tf->persistent;

    if (r->request_body_file_group_access) {
        tf->access = 0660;
    }

    if (ngx_create_temp_file(&tf->file, tf->path, tf->pool, tf->persistent,
                             tf->clean, tf->access)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (cl = in; cl; cl = cl->next) {
        if (ngx_http_cycles_write_buf(r, &tf->file, cl->buf, buf) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ngx_pfree(r->pool, buf);

    out->in_file = 1;
    out->file = &tf->file;
    out->file_last = tf->file.offset;

    r->request_body->temp_file = tf;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_write_buf(ngx_http_request_t *r, ngx_file_t *file,
    ngx_buf_t *b, u_char *buf)
{
    off_t    pos;
    ssize_t  n;

    if (ngx_buf_in_memory(b)) {
        n = ngx_write_file(file, b->pos, b->last - b->pos, file->offset);

        return (n == NGX_ERROR) ? NGX_ERROR : NGX_OK;
    }

    for (pos = b->file_pos; pos < b->file_last; pos += n) {

        n = ngx_http_cycles_read_piece(r, b, buf, pos);

        if (n == NGX_ERROR
            || ngx_write_file(file, buf, n, file->offset) == NGX_ERROR)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_set_length(ngx_http_request_t *r, off_t len)
{
    u_char           *p;
    ngx_table_elt_t  *h;

    r->headers_in.content_length_n = len;
    r->headers_in.chunked = 0;

    h = r->headers_in.content_length;

    if (h == NULL) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    h->value.data = p;
    h->value.len = ngx_sprintf(p, "%O", len) - p;

    return NGX_OK;
}
