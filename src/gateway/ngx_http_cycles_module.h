
/*
 * Copyright (C) nginx-cycles authors
 *
 * The gateway: from a client's request to a settled reservation.
 *
 *     ngx_http_cycles_module.c         directives
 *     ngx_http_cycles_prices.c         those of prices
 *     ngx_http_cycles_handler.c        the life of one request
 *     ngx_http_cycles_reservation.c    where a reservation is kept
 *     ngx_http_cycles_pieces.c         memory that is used again
 *     ngx_http_cycles_trust.c          an earlier hop has reserved for it
 *     ngx_http_cycles_route.c          its provider, and what is free
 *     ngx_http_cycles_request.c        its body: facts, estimate, rewriting
 *     ngx_http_cycles_caps.c           what caps change in it
 *     ngx_http_cycles_terms.c          what is asked of the authority
 *     ngx_http_cycles_cost.c           price, estimate, and what it did cost
 *     ngx_http_cycles_filter_module.c  the reply: headers, tap, hidden chunk
 *     ngx_http_cycles_inflate.c        replies that are compressed
 *     ngx_http_cycles_cutoff.c         streams that end with what is reserved
 *     ngx_http_cycles_abort.c          the client leaves during its reply
 *     ngx_http_cycles_breaker_conf.c   when to stop asking an authority
 *     ngx_http_cycles_settle.c         the one place that settles
 *     ngx_http_cycles_heartbeat.c      keeps a reservation alive
 *     ngx_http_cycles_deny.c           denials in the client's dialect
 *     ngx_http_cycles_meter.c          what is counted of it
 *     ngx_http_cycles_log.c            its ids in the error log
 *     ngx_http_cycles_variables.c      $cycles_*
 */


#ifndef _NGX_HTTP_CYCLES_MODULE_H_INCLUDED_
#define _NGX_HTTP_CYCLES_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_authority.h"
#include "ngx_http_cycles_pieces.h"
#include "../status/ngx_http_cycles_zone.h"
#include "../client/ngx_http_cycles_breaker.h"
#include "../ngx_http_cycles_conf.h"
#include "../llm/llm.h"
#include "../llm/llm_bound.h"
#include "../llm/llm_factors.h"
#include "../llm/llm_error.h"
#include "../llm/llm_price.h"
#include "../llm/llm_reply.h"
#include "../llm/llm_request.h"
#include "../llm/llm_caps.h"
#include "../llm/llm_route.h"
#include "../llm/llm_turns.h"


#define NGX_HTTP_CYCLES_OFF               0
#define NGX_HTTP_CYCLES_ON                1
#define NGX_HTTP_CYCLES_DRY_RUN           2

#define NGX_HTTP_CYCLES_ACTUAL_AUTO       0
#define NGX_HTTP_CYCLES_ACTUAL_ESTIMATE   1
#define NGX_HTTP_CYCLES_ACTUAL_VALUE      2

#define NGX_HTTP_CYCLES_CONNECT_TIMEOUT   2000

#define NGX_HTTP_CYCLES_SIGNED_DENY       0
#define NGX_HTTP_CYCLES_SIGNED_PASS       1

#define NGX_HTTP_CYCLES_ABORT_DRAIN       0
#define NGX_HTTP_CYCLES_ABORT_ESTIMATE    1
#define NGX_HTTP_CYCLES_ABORT_INPUT       2
#define NGX_HTTP_CYCLES_ABORT_HOLD        3

#define NGX_HTTP_CYCLES_MISSING_ESTIMATE  0
#define NGX_HTTP_CYCLES_MISSING_RELEASE   1
#define NGX_HTTP_CYCLES_MISSING_HOLD      2

#define NGX_HTTP_CYCLES_OUTAGE_DENY       0
#define NGX_HTTP_CYCLES_OUTAGE_ALLOW      1

#define NGX_HTTP_CYCLES_PRICE_DENY        0
#define NGX_HTTP_CYCLES_PRICE_ALLOW       1
#define NGX_HTTP_CYCLES_PRICE_MODEL       2

#define NGX_HTTP_CYCLES_WEBSOCKET_DENY    0
#define NGX_HTTP_CYCLES_WEBSOCKET_PASS    1

#define NGX_HTTP_CYCLES_HEADERS_OFF       0
#define NGX_HTTP_CYCLES_HEADERS_ON        1
#define NGX_HTTP_CYCLES_HEADERS_AMOUNTS   2

#define NGX_HTTP_CYCLES_DENY_STATUS_AUTO  0
#define NGX_HTTP_CYCLES_DENY_FORMAT_AUTO  LLM_ERRORS


/* for what is kept of a request: five strings, three of them of a known size */

#define NGX_HTTP_CYCLES_TEXT              128

/* nginx takes more than these for a request with a body */

#define NGX_HTTP_CYCLES_LINKS             6


/* $cycles_decision */

typedef enum {
    NGX_HTTP_CYCLES_NONE = 0,
    NGX_HTTP_CYCLES_ALLOW,
    NGX_HTTP_CYCLES_ALLOW_WITH_CAPS,
    NGX_HTTP_CYCLES_DENY,
    NGX_HTTP_CYCLES_DRY_RUN_ALLOW,
    NGX_HTTP_CYCLES_DRY_RUN_DENY,
    NGX_HTTP_CYCLES_OUTAGE_ALLOWED,
    NGX_HTTP_CYCLES_OUTAGE_DENIED,
    NGX_HTTP_CYCLES_BYPASS
} ngx_http_cycles_verdict_t;


/* $cycles_usage_source */

typedef enum {
    NGX_HTTP_CYCLES_USAGE_NONE = 0,
    NGX_HTTP_CYCLES_USAGE_REPORTED,
    NGX_HTTP_CYCLES_USAGE_PROVIDER_COST,
    NGX_HTTP_CYCLES_USAGE_ESTIMATED,
    NGX_HTTP_CYCLES_USAGE_INPUT_ONLY
} ngx_http_cycles_usage_source_t;


/* $cycles_settlement */

typedef enum {
    NGX_HTTP_CYCLES_UNSETTLED = 0,
    NGX_HTTP_CYCLES_PENDING,
    NGX_HTTP_CYCLES_SETTLED_COMMIT,
    NGX_HTTP_CYCLES_SETTLED_RELEASE,
    NGX_HTTP_CYCLES_SETTLED_EVENT,
    NGX_HTTP_CYCLES_SETTLED_NOT           /* refused for good, given up, or
                                             left to its expiry */
} ngx_http_cycles_settlement_t;


/* where the request is; one way, but for a location tried anew */

typedef enum {
    NGX_HTTP_CYCLES_START = 0,
    NGX_HTTP_CYCLES_READING,              /* the client's body */
    NGX_HTTP_CYCLES_READ,
    NGX_HTTP_CYCLES_RESERVING,            /* the authority was asked */
    NGX_HTTP_CYCLES_RESERVED,             /* it has answered */
    NGX_HTTP_CYCLES_PASSED,               /* on its way to the provider */
    NGX_HTTP_CYCLES_REFUSED               /* we have answered the client */
} ngx_http_cycles_state_t;


typedef struct {
    ngx_str_t                        key;
    ngx_http_complex_value_t         value;
} ngx_http_cycles_value_t;


/*
 * Of a subject, which is a header of the request more often than not: its name
 * as in "$http_NAME", if it is nothing else, and that variable.
 */

typedef struct {
    ngx_http_complex_value_t         value;
    ngx_str_t                        header;
    ngx_uint_t                       index;
    ngx_http_get_variable_pt         handler;
} ngx_http_cycles_level_t;


typedef struct {
    ngx_str_t                        model;
    ngx_array_t                      fields;      /* of ngx_keyval_t */
} ngx_http_cycles_price_t;


/* hops whose word is taken for a reservation */

typedef struct {
    ngx_array_t                     *addresses;   /* of ngx_cidr_t */
    ngx_str_t                        secret;
} ngx_http_cycles_trust_t;


typedef struct {
    ngx_uint_t                       mode;

    ngx_str_t                        authority_name;
    ngx_str_t                        base_url;
    ngx_http_cycles_authority_t     *authority;
    ngx_http_complex_value_t        *api_key;

    ngx_http_cycles_level_t        **levels;      /* [CYCLES_LEVELS] */
    ngx_array_t                     *dimensions;  /* ngx_http_cycles_value_t */
    ngx_array_t                     *action;      /* ngx_http_complex_value_t */
    ngx_array_t                     *metadata;    /* ngx_http_cycles_value_t */
    ngx_http_complex_value_t        *idempotency_key;

    ngx_uint_t                       unit;
    ngx_http_complex_value_t        *estimate;    /* NULL: auto */
    ngx_http_complex_value_t        *max_estimate;    /* NULL: none */
    ngx_uint_t                       actual;
    ngx_http_complex_value_t        *actual_value;

    ngx_msec_t                       ttl;
    ngx_msec_t                       grace_period;
    ngx_uint_t                       overage_policy;

    ngx_msec_t                       timeout;
    ngx_msec_t                       connect_timeout;
    ngx_uint_t                       retry_attempts;
    ngx_msec_t                       retry_initial;
    ngx_uint_t                       retry_multiplier;    /* in 1/1000 */
    ngx_msec_t                       retry_max;
    ngx_flag_t                       apply_caps;
    ngx_uint_t                       signed_requests;
    ngx_http_cycles_trust_t         *trust;
    ngx_http_cycles_breaker_conf_t   breaker;
    ngx_uint_t                       on_outage;
    ngx_uint_t                       on_abort;
    ngx_uint_t                       on_missing_usage;
    ngx_msec_t                       drain_timeout;
    size_t                           drain_size;
    ngx_uint_t                       drain_number;

    ngx_uint_t                       provider;
    ngx_uint_t                       websocket;
    ngx_str_t                        price_table;
    ngx_array_t                     *prices_set;  /* ngx_http_cycles_price_t */
    ngx_array_t                     *aliases;     /* ngx_keyval_t */
    llm_prices_t                    *prices;
    ngx_str_t                        price_region;
    ngx_uint_t                       unknown_price;
    ngx_str_t                        unknown_price_model;
    ngx_int_t                        max_output_tokens;
    ngx_uint_t                       estimate_margin;     /* in 1/1000 */
    ngx_http_cycles_area_t          *factors;     /* llm_factors_t */
    ngx_http_cycles_area_t          *turns;       /* llm_turns_t */
    ngx_flag_t                       stream_usage;
    ngx_flag_t                       stream_cutoff;

    ngx_uint_t                       deny_status;
    ngx_http_complex_value_t        *deny_message;
    ngx_uint_t                       deny_format;
    ngx_uint_t                       response_headers;
} ngx_http_cycles_loc_conf_t;


/* one loaded price table, shared by all locations that name the file */

typedef struct {
    ngx_str_t                        path;
    llm_prices_t                    *prices;
    u_char                           sha256[64];  /* in hex */
    time_t                           modified;
} ngx_http_cycles_price_table_t;


typedef struct {
    ngx_array_t                      price_tables;
    ngx_uint_t                       counts;      /* there is a use for it */
    ngx_str_t                        page_policy;
    ngx_array_t                      authorities; /* to be checked at the end:
                                              ngx_http_cycles_authority_use_t */
} ngx_http_cycles_main_conf_t;


typedef struct {
    ngx_http_cycles_authority_t     *authority;
    ngx_http_core_srv_conf_t        *server;
} ngx_http_cycles_authority_use_t;


/* the schedule of heartbeats, see ngx_http_cycles_heartbeat.c; times in ms */

typedef struct {
    ngx_event_t                      event;
    int64_t                          lead;        /* at the time "since" */
    ngx_msec_t                       since;
    int64_t                          max_rtt;
    int64_t                          grant;       /* of an old server */
    int64_t                          expires_at_ms;
    ngx_msec_t                       granted;     /* when */
    int64_t                          window;      /* at the last failure */
    unsigned                         zero:1;      /* beat at zero delay once */
    unsigned                         failed:1;
    unsigned                         legacy:1;    /* no remaining_ttl_ms */
    unsigned                         begun:1;
    unsigned                         beginning:1;
    unsigned                         stopped:1;
} ngx_http_cycles_heartbeat_t;


/* what is kept of llm_route_t */

typedef struct {
    llm_provider_t                   provider;
    llm_api_t                        api;
    ngx_str_t                        model;       /* empty: not in the path */
    unsigned                         known:1;
    unsigned                         free:1;
    unsigned                         stream:1;
    unsigned                         stream_usage:1;
} ngx_http_cycles_route_t;


typedef struct ngx_http_cycles_inflate_s  ngx_http_cycles_inflate_t;
typedef struct ngx_http_cycles_cutoff_s   ngx_http_cycles_cutoff_t;


typedef struct {
    ngx_http_request_t              *request;
    ngx_http_cycles_loc_conf_t      *conf;        /* that decided */
    ngx_http_cycles_reservation_t   *reservation;
    ngx_http_cycles_state_t          state;
    ngx_http_cycles_usage_source_t   usage_source;
    ngx_http_cleanup_t               cleanup;

    /* the request */

    ngx_http_cycles_route_t          route;
    llm_facts_t                     *facts;       /* NULL: body not read */
    const llm_price_t               *price;       /* NULL: it has none */
    ngx_str_t                        price_key;
    ngx_str_t                        region;      /* empty: not known */
    int64_t                          input_estimate;  /* tokens, no margin */
    uint64_t                         factor_key;  /* of the model */
    int64_t                          factor;      /* in 1/1000 */
    int64_t                          held_tokens; /* -1: not known */
    int64_t                          estimate;
    ngx_str_t                        use;         /* of the client's key */
    ngx_str_t                        tenant;

    /* the decision; strings of the request's pool: they outlive reservation */

    ngx_http_cycles_verdict_t        verdict;
    cycles_code_t                    code;
    ngx_str_t                        reason;
    ngx_str_t                        reservation_id;
    ngx_str_t                        scope;
    ngx_str_t                        trace_id;
    ngx_str_t                        request_id;
    ngx_str_t                        dry_run;     /* decision it would be */
    int64_t                          reserved;
    int64_t                          remaining;   /* or CYCLES_NOT_KNOWN */
    ngx_msec_t                       reserve_time;
    ngx_msec_t                       started;
    cycles_denial_t                 *denial;
    ngx_http_log_handler_pt          log_handler; /* the one before ours */

    ngx_http_cycles_heartbeat_t      heartbeat;

    /* what caps change in the body */

    llm_splice_t                    *splices;
    unsigned                         nsplices;

    llm_sse_t                        events;      /* hiding of a chunk */

    llm_facts_t                      facts_read;

    /* the reply */

    llm_reply_t                     *reply;       /* never NULL */
    ngx_http_cycles_inflate_t       *inflate;     /* NULL: nothing to */
    ngx_http_cycles_cutoff_t        *cutoff;      /* NULL: it runs on */
    ngx_buf_t                       *held;        /* an incomplete event */
    ngx_chain_t                     *free;
    ngx_chain_t                     *busy;

    ngx_int_t                      (*original_init)(void *data);
    ngx_event_pipe_input_filter_pt   original_pipe_filter;

    /* a client that has left */

    ngx_event_t                      watch;       /* posted: it is to be;
                                              timer: bound of its drain */
    off_t                            drained;
    ngx_int_t                      (*original_create)(ngx_http_request_t *r);

    /* what is counted and shown */

    ngx_http_cycles_labels_t         labels;
    ngx_http_cycles_stream_t        *stream;      /* NULL: it is not shown */
    uint64_t                         clock;       /* of the reserve */

    /* the settlement */

    int64_t                          actual;
    int64_t                          charged;     /* -1: not known yet */
    ngx_http_cycles_settlement_t     settlement;

    unsigned                         unreserved:1;  /* in an outage */
    unsigned                         price_assumed:1;  /* another model's */
    unsigned                         unpriced:1;  /* passes at no cost */
    unsigned                         live:1;      /* it is counted as such */
    unsigned                         image_price:1;    /* of a size */
    unsigned                         stable_key:1;  /* the client's */
    unsigned                         reused_key:1;  /* it is taken */
    unsigned                         hide_usage:1;/* we asked, not the client */
    unsigned                         passing:1;   /* held one was too long */
    unsigned                         hidden:1;    /* the last event was */
    unsigned                         lf:1;        /* one may belong to it */
    unsigned                         left:1;      /* it may read on */
    unsigned                         gone:1;      /* it can't be written to */
    unsigned                         tapped:1;
    unsigned                         readable:1;
    unsigned                         complete:1;
    unsigned                         held_back:1; /* the reply's end is */
    unsigned                         settling:1;  /* settle() was called */
    unsigned                         settled:1;   /* and is final */

    /*
     * A request's pool grows by 4 KB: not for strings, which are not zeroed;
     * and it gets links for nginx, for what it has to have because of us.
     */

    ngx_chain_t                      links[NGX_HTTP_CYCLES_LINKS];
    unsigned                         ntext:8;     /* bytes in use */
    u_char                           text[NGX_HTTP_CYCLES_TEXT];
} ngx_http_cycles_ctx_t;


/* ngx_http_cycles_prices.c */

char *ngx_http_cycles_price_table(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_cycles_price(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_cycles_model_alias(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* conf->prices: the table and, over it, what the operator has set */

char *ngx_http_cycles_merge_prices(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *prev, ngx_http_cycles_loc_conf_t *conf);


/* ngx_http_cycles_handler.c */

ngx_int_t ngx_http_cycles_handler(ngx_http_request_t *r);

/*
 * The context of a main request, also after an internal redirect has cleared
 * the request's own pointer to it.  NULL: there is none.
 */

ngx_http_cycles_ctx_t *ngx_http_cycles_get_ctx(ngx_http_request_t *r);

/* room for a string that lasts as long as the context; or NULL */

u_char *ngx_http_cycles_keep(ngx_http_cycles_ctx_t *ctx, size_t len);
u_char *ngx_http_cycles_keep_str(ngx_http_cycles_ctx_t *ctx, ngx_str_t *s);

/* the same, wherever the request is, without setting that pointer */

ngx_http_cycles_ctx_t *ngx_http_cycles_find_ctx(ngx_http_request_t *r);


/* ngx_http_cycles_trust.c */

/*
 * Whether a hop that is trusted has sent the request with a reservation of its
 * own, which ctx->reservation_id then names.
 */

ngx_uint_t ngx_http_cycles_trusts(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);

char *ngx_http_cycles_trust_reservation(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_cycles_route.c */

/* at the end of the configuration */

void ngx_http_cycles_find_proxy(ngx_conf_t *cf);

/* ctx->route, by ctx->conf and what the client has sent */

ngx_int_t ngx_http_cycles_find_route(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);

/* what a request is likely to be that has messages and an unknown path */

ngx_int_t ngx_http_cycles_guess_route(ngx_http_request_t *r,
    ngx_http_cycles_route_t *guessed);

/* whether what follows would be out of sight */

ngx_uint_t ngx_http_cycles_is_websocket(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);


/* ngx_http_cycles_inflate.c */

/*
 * Ready for a reply of that Content-Encoding.  NGX_DECLINED: it can't be
 * inflated here.
 */

ngx_int_t ngx_http_cycles_inflate_init(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *encoding);

/* feeds ctx->reply with what the next n bytes of the body stand for */

void ngx_http_cycles_inflate(ngx_http_cycles_ctx_t *ctx, u_char *p, size_t n);


/* ngx_http_cycles_cutoff.c */

/* ctx->cutoff, for a reply that is a stream and whose cost can be told */

ngx_int_t ngx_http_cycles_cutoff_init(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);

/*
 * Feeds ctx->reply with the next n bytes of the body.  NGX_DONE: the upstream
 * is to end; NGX_ABORT: and the client's connection as well.
 */

ngx_int_t ngx_http_cycles_cutoff_feed(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, u_char *p, size_t n);

/* what may be sent of the buffers in; what was sent of it can be used again */

ngx_int_t ngx_http_cycles_cutoff_filter(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t *in, ngx_chain_t **out);
void ngx_http_cycles_cutoff_sent(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t **out);

ngx_uint_t ngx_http_cycles_is_cut(ngx_http_cycles_ctx_t *ctx);

/* what a stream has used that was cut off; NGX_DECLINED: it was not */

ngx_int_t ngx_http_cycles_cutoff_usage(ngx_http_cycles_ctx_t *ctx,
    llm_usage_t *usage);


/* ngx_http_cycles_request.c */

/*
 * Reads the facts of the request's body.  NGX_OK, NGX_ERROR, or
 * NGX_HTTP_BAD_REQUEST with a sentence in *error.
 */

ngx_int_t ngx_http_cycles_read_facts(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);

/*
 * Changes what the provider gets: identity encoding, usage in a stream, a
 * clamped limit of tokens.  Only the touched members of the body change.
 */

ngx_int_t ngx_http_cycles_rewrite(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);


/*
 * Where caps change the body, until another one is read; and its first n
 * tools.  NULL: it can't be read again.
 */

const llm_edits_t *ngx_http_cycles_read_edits(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, llm_tool_t *tools, ngx_uint_t n);


/* ngx_http_cycles_caps.c */

/*
 * What the caps of the reservation mean for the request: NGX_OK, with
 * ctx->splices to be made; NGX_DECLINED: it is to be denied, ctx->reason says
 * why; NGX_ERROR.
 */

ngx_int_t ngx_http_cycles_apply_caps(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);


/* ngx_http_cycles_terms.c */

/*
 * Fills in the price, the estimate and the terms of ctx->reservation.  NGX_OK,
 * NGX_ERROR, NGX_HTTP_BAD_REQUEST with a sentence in *error, NGX_ABORT: a
 * model without a price is to be denied, or NGX_DECLINED: so is a request
 * that may cost more than "cycles_max_estimate" lets it.
 */

ngx_int_t ngx_http_cycles_terms(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);

/* what the location says of calls to a Cycles server */

void ngx_http_cycles_call_conf(ngx_http_cycles_loc_conf_t *conf,
    ngx_http_cycles_call_conf_t *call);


/* ngx_http_cycles_cost.c */

/*
 * The price of the request's model.  NGX_ABORT: it has none, and is to be
 * denied.
 */

ngx_int_t ngx_http_cycles_set_price(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);

/* the shared memory for what is learned of models and conversations */

char *ngx_http_cycles_merge_learning(ngx_conf_t *cf,
    ngx_http_cycles_loc_conf_t *conf);

/* how the model's tokenizer compares with our estimate, and what it is then */

void ngx_http_cycles_set_factor(ngx_http_cycles_ctx_t *ctx);

/* the most that the request may cost, in the location's unit */

int64_t ngx_http_cycles_auto_estimate(ngx_http_cycles_ctx_t *ctx);

/* cost of a usage in the location's unit */

int64_t ngx_http_cycles_cost(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage);

/*
 * Sets ctx->actual to what the reply's usage costs, by the provider's own word
 * or by the price of the model that the reply names; and ctx->usage_source,
 * which tells how the usage is known, where that is not how the cost is.
 */

void ngx_http_cycles_set_actual(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, const llm_usage_t *usage);

/* cost of a usage by the price of the model that the reply names */

int64_t ngx_http_cycles_reply_cost(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage);

/* for later requests, from what the provider has counted */

void ngx_http_cycles_learn(ngx_http_cycles_ctx_t *ctx,
    const llm_usage_t *usage);


/* ngx_http_cycles_abort.c */

/* watches the client once the request is the upstream module's; and no more */

void ngx_http_cycles_guard(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx);
void ngx_http_cycles_unguard(ngx_http_cycles_ctx_t *ctx);

/* so much of a reply has come from the provider */

void ngx_http_cycles_drained(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, size_t n);

/*
 * A filter below could not write.  NGX_OK: "in" was consumed, the reply is
 * read on without a client; NGX_ERROR: it ends.
 */

ngx_int_t ngx_http_cycles_lost(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_chain_t *in);

/* "cycles_drain" */

char *ngx_http_cycles_drain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


/* ngx_http_cycles_breaker_conf.c */

char *ngx_http_cycles_breaker(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
void ngx_http_cycles_breaker_default(ngx_http_cycles_breaker_conf_t *breaker);


/* ngx_http_cycles_settle.c */

/* how far the reply is known; called at its end, and when the request dies */

void ngx_http_cycles_settle(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx);

void ngx_http_cycles_settle_done(ngx_http_cycles_reservation_t *rsv);
void ngx_http_cycles_let_go(ngx_http_cycles_ctx_t *ctx);


/* ngx_http_cycles_heartbeat.c */

void ngx_http_cycles_heartbeat_start(ngx_http_cycles_ctx_t *ctx);
void ngx_http_cycles_heartbeat_stop(ngx_http_cycles_ctx_t *ctx);


/* ngx_http_cycles_deny.c */

/* each sends a reply, finalizes the request and returns NGX_DONE */

ngx_int_t ngx_http_cycles_send_denial(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
ngx_int_t ngx_http_cycles_send_outage(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
ngx_int_t ngx_http_cycles_send_bad_request(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);

/* the words that the client expects */

llm_errors_t ngx_http_cycles_deny_format(ngx_http_cycles_ctx_t *ctx);

/* whether waiting a little can help: enough is there, but held */

ngx_uint_t ngx_http_cycles_transient(ngx_http_cycles_ctx_t *ctx);


/* ngx_http_cycles_meter.c */

/* sets the verdict, and counts it; ctx->reason is known */

void ngx_http_cycles_decided(ngx_http_cycles_ctx_t *ctx,
    ngx_http_cycles_verdict_t verdict);

/* the answer to a reserve that was sent at the time ctx->clock */

void ngx_http_cycles_meter_reserved(ngx_http_cycles_ctx_t *ctx);

/* a request with a reservation: shown from here to there */

void ngx_http_cycles_meter_begin(ngx_http_cycles_ctx_t *ctx);
void ngx_http_cycles_meter_extended(ngx_http_cycles_ctx_t *ctx);
void ngx_http_cycles_meter_end(ngx_http_cycles_ctx_t *ctx);

void ngx_http_cycles_meter_actual(ngx_http_cycles_ctx_t *ctx);
void ngx_http_cycles_meter_settled(ngx_http_cycles_reservation_t *rsv);


/* ngx_http_cycles_log.c */

void ngx_http_cycles_log_ids(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);


/* ngx_http_cycles_variables.c */

ngx_int_t ngx_http_cycles_add_variables(ngx_conf_t *cf);
ngx_str_t *ngx_http_cycles_verdict_name(ngx_http_cycles_verdict_t verdict);


/* ngx_http_cycles_filter_module.c */

/* what has been read of a reply, if anything has */

void ngx_http_cycles_free_reply(ngx_http_cycles_ctx_t *ctx);

/*
 * name must be static; value is not copied, and left out when it has control
 * characters
 */

#define ngx_http_cycles_add_header(r, name, value)                            \
    ngx_http_cycles_add_named(r, "" name, sizeof(name) - 1, value)

ngx_int_t ngx_http_cycles_add_named(ngx_http_request_t *r, char *name,
    size_t len, ngx_str_t *value);

/* a new link with b; NULL: no memory, else where the next one goes */

ngx_chain_t **ngx_http_cycles_link(ngx_http_request_t *r, ngx_buf_t *b,
    ngx_chain_t **ll);


/* src/status/ngx_http_cycles_status.c */

char *ngx_http_cycles_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


extern ngx_module_t  ngx_http_cycles_module;


#endif /* _NGX_HTTP_CYCLES_MODULE_H_INCLUDED_ */
