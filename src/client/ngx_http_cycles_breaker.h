
/*
 * Copyright (C) nginx-cycles authors
 *
 * Whether it makes sense to ask a Cycles server: a client should not have to
 * wait for one of which others know already that it doesn't answer.
 */


#ifndef _NGX_HTTP_CYCLES_BREAKER_H_INCLUDED_
#define _NGX_HTTP_CYCLES_BREAKER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_call.h"


/* "cycles_breaker" */

typedef struct {
    ngx_uint_t          failures;     /* in a row, to open; 0: it is off */
    ngx_msec_t          slow;         /* an answer that takes so long is one */
    ngx_msec_t          open;         /* before it is tried again */
} ngx_http_cycles_breaker_conf_t;


/* of all workers; times are ngx_current_msec, the same clock for all */

typedef struct {
    ngx_atomic_t        failures;     /* in a row */
    ngx_atomic_t        opened;       /* 0: closed, else how often */
    ngx_atomic_t        until;        /* no probe before */
} ngx_http_cycles_breaker_t;


typedef enum {
    NGX_HTTP_CYCLES_BREAKER_CLOSED = 0,
    NGX_HTTP_CYCLES_BREAKER_OPEN,
    NGX_HTTP_CYCLES_BREAKER_PROBE     /* open, and the caller is to probe */
} ngx_http_cycles_breaker_state_t;


/*
 * What a call that would start now is to do.  Of all the processes that ask,
 * one is told to probe in each interval.
 */

ngx_http_cycles_breaker_state_t ngx_http_cycles_breaker_ask(
    ngx_http_cycles_breaker_t *breaker, ngx_http_cycles_breaker_conf_t *conf);

/* whether it is open, without being the one that probes */

ngx_uint_t ngx_http_cycles_breaker_opened(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_breaker_conf_t *conf);

/*
 * How a call ended: an answer of any kind closes the breaker, or, if it was
 * slow, counts against it; none, or a 5xx, does, and a timeout that a client
 * has waited for opens it at once.
 */

void ngx_http_cycles_breaker_result(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_breaker_conf_t *conf, ngx_http_cycles_call_t *call,
    ngx_log_t *log);


#endif /* _NGX_HTTP_CYCLES_BREAKER_H_INCLUDED_ */
