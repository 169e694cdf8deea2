
/*
 * Copyright (C) nginx-cycles authors
 *
 * "cycles_stream_cutoff": a stream ends where its running cost would pass what
 * is reserved for it.  The tap decides that, event by event, and ends the
 * upstream; the body filter, which the client's speed holds back, sends what
 * is in front of that place, and the provider's own kind of error behind it.
 * So an event is not sent before all of it has come.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"
#include "../llm/llm_cut.h"


/* an event that is larger is sent in parts, and can only be broken off */

#define NGX_HTTP_CYCLES_EVENT      8192
#define NGX_HTTP_CYCLES_MAX_EVENT  65536


struct ngx_http_cycles_cutoff_s {

    /* what the limit is that of */

    int64_t                   reserved;
    int64_t                   factor;     /* of text, in 1/1000 */
    int64_t                   limit;      /* of output tokens */
    llm_usage_t               usage;
    size_t                    model_len;

    /* the event that is being read, and what is in front of it */

    llm_events_t              events;
    int64_t                   number;
    int64_t                   tokens;     /* of output */
    int64_t                   text;       /* estimate of what has passed */
    off_t                     begin;

    /* places in the reply */

    off_t                     read;       /* by the tap */
    off_t                     seen;       /* by the body filter */
    off_t                     ready;      /* may be sent up to there */
    off_t                     held_at;

    ngx_chain_t              *held;
    ngx_chain_t              *free;
    ngx_chain_t              *busy;

    unsigned                  limited:1;  /* limit is set */
    unsigned                  cut:1;
    unsigned                  broken:1;   /* there is no place for an event */
    unsigned                  ended:1;    /* which the client was told */
};


static ngx_uint_t ngx_http_cycles_cutoff_streams(ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_cutoff_here(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_uint_t ngx_http_cycles_cutoff_passed(ngx_http_cycles_ctx_t *ctx,
    int64_t *tokens);
static void ngx_http_cycles_cutoff_limit(ngx_http_cycles_ctx_t *ctx);
static int64_t ngx_http_cycles_cutoff_cost(ngx_http_cycles_ctx_t *ctx,
    int64_t tokens);
static ngx_chain_t **ngx_http_cycles_cutoff_buf(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_buf_t *b, ngx_chain_t **ll);
static ngx_int_t ngx_http_cycles_cutoff_hold(ngx_http_request_t *r,
    ngx_http_cycles_cutoff_t *co, u_char *p, size_t n);
static ngx_chain_t **ngx_http_cycles_cutoff_send(
    ngx_http_cycles_cutoff_t *co, ngx_chain_t **ll);
static ngx_chain_t **ngx_http_cycles_cutoff_end(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t **ll);
static ngx_chain_t *ngx_http_cycles_cutoff_room(ngx_http_request_t *r,
    ngx_http_cycles_cutoff_t *co, size_t size);


static ngx_str_t  ngx_http_cycles_cutoff_message =
    ngx_string("This reply has used up what was reserved of the budget for "
               "it, and ends here.");


ngx_int_t
ngx_http_cycles_cutoff_init(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_cutoff_t  *co;

    ctx->cutoff = NULL;

    if (!ctx->conf->stream_cutoff || !ctx->tapped
        || ctx->reservation == NULL || ctx->unreserved || ctx->facts == NULL
        || ctx->conf->actual != NGX_HTTP_CYCLES_ACTUAL_AUTO
        || (ctx->conf->unit == CYCLES_USD_MICROCENTS && ctx->price == NULL)
        || r->headers_out.status < NGX_HTTP_OK
        || r->headers_out.status >= NGX_HTTP_SPECIAL_RESPONSE
        || !ngx_http_cycles_cutoff_streams(ctx))
    {
        return NGX_OK;
    }

    co = ngx_pcalloc(r->pool, sizeof(ngx_http_cycles_cutoff_t));
    if (co == NULL) {
        return NGX_ERROR;
    }

    co->reserved = ctx->reserved;
    co->factor = 1000;

    if (ctx->conf->factors) {
        co->factor = llm_factor_get(ctx->conf->factors->data,
                                    llm_factor_output_key(ctx->factor_key),
                                    co->factor);
    }

    llm_events_init(&co->events, ctx->reply->format);

    ctx->cutoff = co;

    r->filter_need_in_memory = 1;

    if (ctx->inflate) {

        /* the client gets it as it comes, as long as it does */

        return NGX_OK;
    }

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);
    ngx_http_weak_etag(r);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_cycles_cutoff_streams(ngx_http_cycles_ctx_t *ctx)
{
    switch (ctx->reply->format) {

    case LLM_REPLY_SSE:
    case LLM_REPLY_EVENTSTREAM:
        return 1;

    default:
        return ctx->route.stream || ctx->facts->stream;
    }
}


ngx_int_t
ngx_http_cycles_cutoff_feed(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    u_char *p, size_t n)
{
    u_char                    *last, *end, *piece;
    int64_t                    tokens;
    ngx_uint_t                 passed;
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;
    last = p + n;

    while (p < last) {

        end = ctx->inflate ? last
                           : (u_char *) llm_events_end(&co->events, p, last);
        piece = end ? end : last;

        if (ctx->inflate) {
            ngx_http_cycles_inflate(ctx, p, piece - p);
            llm_reply_flush(ctx->reply);

        } else {
            llm_reply_feed(ctx->reply, p, piece - p);
        }

        co->read += piece - p;
        p = piece;

        if (end == NULL) {

            if (co->read - co->begin <= NGX_HTTP_CYCLES_MAX_EVENT) {
                break;
            }

            co->ready = co->read;
        }

        passed = ngx_http_cycles_cutoff_passed(ctx, &tokens);

        /*
         * There is something to save as long as the model writes: not when
         * the usage comes behind its last word.
         */

        if (passed && !ctx->reply->done && ctx->reply->output_tokens > co->text)
        {
            return ngx_http_cycles_cutoff_here(r, ctx);
        }

        if (end) {
            co->number += (co->read - co->begin > 1);
            co->begin = co->read;
            co->ready = co->read;
            co->tokens = tokens;
            co->text = ctx->reply->output_tokens;
        }
    }

    return NGX_OK;
}


/* NGX_DONE, or NGX_ABORT where no event can be put */

static ngx_int_t
ngx_http_cycles_cutoff_here(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;
    co->cut = 1;

    if (ctx->inflate || co->ready > co->begin) {
        co->broken = 1;
        co->ended = 1;
    }

    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "cycles: stream is %s, its cost would pass the %L of "
                  "reservation \"%V\"",
                  co->broken ? "broken off" : "cut off", co->reserved,
                  &ctx->reservation_id);

    return co->broken ? NGX_ABORT : NGX_DONE;
}


/*
 * A running total of the provider's own is exact; else the text that has
 * passed counts by what was learned of the model.
 */

static ngx_uint_t
ngx_http_cycles_cutoff_passed(ngx_http_cycles_ctx_t *ctx, int64_t *tokens)
{
    llm_reply_t               *reply;
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;
    reply = ctx->reply;

    ngx_http_cycles_cutoff_limit(ctx);

    *tokens = reply->usage.output;

    if (*tokens < 0 || reply->early || reply->later) {
        *tokens = ngx_max(*tokens,
                          (reply->output_tokens * co->factor + 999) / 1000);
    }

    return *tokens > co->limit;
}


/* anew when something else is known of what it depends on */

static void
ngx_http_cycles_cutoff_limit(ngx_http_cycles_ctx_t *ctx)
{
    int64_t                    least, most, middle;
    llm_usage_t               *usage, *known;
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;
    usage = &ctx->reply->usage;
    known = &co->usage;

    if (co->limited
        && co->model_len == ctx->reply->model_len
        && known->input == usage->input
        && known->cached_input == usage->cached_input
        && known->cache_write == usage->cache_write
        && known->web_searches == usage->web_searches
        && known->file_searches == usage->file_searches
        && known->code_sessions == usage->code_sessions
        && known->tier == usage->tier)
    {
        return;
    }

    co->limited = 1;
    co->model_len = ctx->reply->model_len;
    *known = *usage;

    if (ngx_http_cycles_cutoff_cost(ctx, 0) > co->reserved) {
        co->limit = -1;
        return;
    }

    least = 0;
    most = 1;

    while (ngx_http_cycles_cutoff_cost(ctx, most) <= co->reserved) {

        least = most;
        most *= 2;

        if (most > LLM_JSON_WHOLE_MAX) {
            co->limit = INT64_MAX;
            return;
        }
    }

    while (most - least > 1) {
        middle = least + (most - least) / 2;

        if (ngx_http_cycles_cutoff_cost(ctx, middle) <= co->reserved) {
            least = middle;

        } else {
            most = middle;
        }
    }

    co->limit = least;
}


static int64_t
ngx_http_cycles_cutoff_cost(ngx_http_cycles_ctx_t *ctx, int64_t tokens)
{
    llm_usage_t  usage;

    usage = ctx->cutoff->usage;

    if (usage.input < 0) {
        usage.input = ctx->input_estimate;
    }

    usage.output = tokens;

    /* which of them these are is not known yet */

    usage.reasoning = -1;
    usage.output_audio = -1;
    usage.output_image = -1;

    return ngx_http_cycles_reply_cost(ctx, &usage);
}


ngx_int_t
ngx_http_cycles_cutoff_usage(ngx_http_cycles_ctx_t *ctx, llm_usage_t *usage)
{
    llm_reply_t  *reply;

    if (!ngx_http_cycles_is_cut(ctx)) {
        return NGX_DECLINED;
    }

    reply = ctx->reply;

    *usage = reply->usage;

    if (usage->input < 0) {
        usage->input = ctx->input_estimate;
    }

    /* the event that was too much has been made, but it has not been sent */

    if (usage->output < 0 || reply->early || reply->later) {
        usage->output = ngx_max(usage->output, ctx->cutoff->tokens);
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_cycles_is_cut(ngx_http_cycles_ctx_t *ctx)
{
    return ctx->cutoff && ctx->cutoff->cut;
}


ngx_int_t
ngx_http_cycles_cutoff_filter(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t *in, ngx_chain_t **out)
{
    ngx_buf_t                 *b;
    ngx_uint_t                 last;
    ngx_chain_t               *cl, **ll;
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;

    *out = NULL;
    ll = out;
    last = 0;

    for (cl = in; cl; cl = cl->next) {
        b = cl->buf;

        if (b->last_buf) {
            b->last_buf = 0;
            last = 1;
        }

        if (ngx_buf_in_memory(b)) {
            ll = ngx_http_cycles_cutoff_buf(r, ctx, b, ll);

            if (ll == NULL) {
                return NGX_ERROR;
            }

            if (b->pos == b->last) {
                continue;
            }
        }

        if (ngx_buf_size(b) == 0 && !b->flush && !b->sync) {
            continue;
        }

        ll = ngx_http_cycles_link(r, b, ll);
        if (ll == NULL) {
            return NGX_ERROR;
        }

        if (co->cut && co->seen > co->begin && !co->ended) {
            ll = ngx_http_cycles_cutoff_end(r, ctx, ll);
            if (ll == NULL) {
                return NGX_ERROR;
            }
        }
    }

    if (co->cut && !co->ended && (last || co->seen > co->begin)) {
        ll = ngx_http_cycles_cutoff_end(r, ctx, ll);
        if (ll == NULL) {
            return NGX_ERROR;
        }
    }

    if (!last) {
        return NGX_OK;
    }

    if (co->held) {
        ll = ngx_http_cycles_cutoff_send(co, ll);
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last_buf = 1;
    b->last_in_chain = 1;

    return ngx_http_cycles_link(r, b, ll) ? NGX_OK : NGX_ERROR;
}


/* leaves in b what may be sent, behind what is held of earlier ones */

static ngx_chain_t **
ngx_http_cycles_cutoff_buf(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_buf_t *b, ngx_chain_t **ll)
{
    off_t                      begin, ready;
    size_t                     n;
    u_char                    *end;
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;

    n = b->last - b->pos;
    begin = co->seen;
    co->seen += n;

    ready = co->cut ? co->begin : ctx->complete ? co->read : co->ready;

    if (co->held && ready > co->held_at) {

        /* what follows it is in b: it was the last of all there was */

        ll = ngx_http_cycles_cutoff_send(co, ll);
    }

    if (ready >= co->seen) {
        return ll;
    }

    end = (ready > begin) ? b->pos + (ready - begin) : b->pos;

    if (!co->cut) {

        if (co->held == NULL) {
            co->held_at = begin + (end - b->pos);
        }

        if (ngx_http_cycles_cutoff_hold(r, co, end, b->last - end) != NGX_OK) {
            return NULL;
        }
    }

    if (end == b->pos) {
        b->pos = b->last;

    } else {
        b->last = end;
    }

    return ll;
}


static ngx_int_t
ngx_http_cycles_cutoff_hold(ngx_http_request_t *r,
    ngx_http_cycles_cutoff_t *co, u_char *p, size_t n)
{
    size_t        size;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    size = co->held ? co->held->buf->last - co->held->buf->pos : 0;

    if (co->held == NULL
        || (size_t) (co->held->buf->end - co->held->buf->last) < n)
    {
        cl = ngx_http_cycles_cutoff_room(r, co, size + n);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        if (co->held) {
            b = co->held->buf;
            cl->buf->last = ngx_cpymem(cl->buf->last, b->pos, size);

            co->held->next = co->free;
            co->free = co->held;
        }

        co->held = cl;
    }

    b = co->held->buf;
    b->last = ngx_cpymem(b->last, p, n);

    return NGX_OK;
}


static ngx_chain_t **
ngx_http_cycles_cutoff_send(ngx_http_cycles_cutoff_t *co, ngx_chain_t **ll)
{
    /* its rest came with a buffer that nginx would have sent at once */

    co->held->buf->flush = 1;

    *ll = co->held;
    ll = &co->held->next;

    co->held = NULL;

    return ll;
}


/* the last that the client gets */

static ngx_chain_t **
ngx_http_cycles_cutoff_end(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t **ll)
{
    size_t                     size;
    llm_error_t                error;
    ngx_chain_t               *cl;
    llm_errors_t               errors;
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;
    co->ended = 1;
    co->held = NULL;

    ngx_memzero(&error, sizeof(llm_error_t));

    errors = ngx_http_cycles_deny_format(ctx);

    error.kind = LLM_QUOTA;
    error.status = (ctx->conf->deny_status == NGX_HTTP_CYCLES_DENY_STATUS_AUTO)
                   ? llm_error_status(errors, LLM_QUOTA)
                   : ctx->conf->deny_status;
    error.message.data = ngx_http_cycles_cutoff_message.data;
    error.message.len = ngx_http_cycles_cutoff_message.len;

    size = llm_cut(NULL, 0, ctx->route.api, ctx->reply->format, errors, &error,
                   co->number);

    cl = ngx_http_cycles_cutoff_room(r, co, size);
    if (cl == NULL) {
        return NULL;
    }

    (void) llm_cut(cl->buf->last, size, ctx->route.api, ctx->reply->format,
                   errors, &error, co->number);

    cl->buf->last += size;
    cl->buf->flush = 1;

    *ll = cl;

    return &cl->next;
}


static ngx_chain_t *
ngx_http_cycles_cutoff_room(ngx_http_request_t *r,
    ngx_http_cycles_cutoff_t *co, size_t size)
{
    ngx_chain_t  *cl, **ll;

    for (ll = &co->free; *ll; ll = &(*ll)->next) {

        cl = *ll;

        if ((size_t) (cl->buf->end - cl->buf->start) >= size) {
            *ll = cl->next;

            cl->next = NULL;
            cl->buf->pos = cl->buf->start;
            cl->buf->last = cl->buf->start;

            return cl;
        }
    }

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NULL;
    }

    size = (size > NGX_HTTP_CYCLES_EVENT)
           ? ngx_max(size, NGX_HTTP_CYCLES_MAX_EVENT) : NGX_HTTP_CYCLES_EVENT;

    cl->buf = ngx_create_temp_buf(r->pool, size);
    if (cl->buf == NULL) {
        return NULL;
    }

    cl->buf->tag = (ngx_buf_tag_t) &ngx_http_cycles_cutoff_message;
    cl->next = NULL;

    return cl;
}


void
ngx_http_cycles_cutoff_sent(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_chain_t **out)
{
    ngx_http_cycles_cutoff_t  *co;

    co = ctx->cutoff;

    ngx_chain_update_chains(r->pool, &co->free, &co->busy, out,
                            (ngx_buf_tag_t) &ngx_http_cycles_cutoff_message);
}
