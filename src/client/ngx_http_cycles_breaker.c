
/*
 * Copyright (C) nginx-cycles authors
 *
 * A circuit breaker for each Cycles server, in memory that the workers share:
 * closed, or open with a probe now and then.  What is lost in a race is a
 * count of one, so there is no lock.
 */


#include "ngx_http_cycles_breaker.h"
#include "../status/ngx_http_cycles_counters.h"


static void ngx_http_cycles_breaker_close(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_call_t *call, ngx_log_t *log);


ngx_http_cycles_breaker_state_t
ngx_http_cycles_breaker_ask(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_breaker_conf_t *conf)
{
    ngx_atomic_uint_t  until;

    if (!ngx_http_cycles_breaker_opened(breaker, conf)) {
        return NGX_HTTP_CYCLES_BREAKER_CLOSED;
    }

    until = breaker->until;

    if ((ngx_msec_int_t) (until - ngx_current_msec) > 0) {
        return NGX_HTTP_CYCLES_BREAKER_OPEN;
    }

    if (!ngx_atomic_cmp_set(&breaker->until, until,
                            ngx_current_msec + conf->open))
    {
        return NGX_HTTP_CYCLES_BREAKER_OPEN;
    }

    return NGX_HTTP_CYCLES_BREAKER_PROBE;
}


ngx_uint_t
ngx_http_cycles_breaker_opened(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_breaker_conf_t *conf)
{
    return breaker && conf->failures && breaker->opened;
}


void
ngx_http_cycles_breaker_result(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_breaker_conf_t *conf, ngx_http_cycles_call_t *call,
    ngx_log_t *log)
{
    ngx_uint_t  slow;

    /* what has died in our own queue says nothing of the server */

    if (breaker == NULL || conf->failures == 0 || !call->sent) {
        return;
    }

    slow = 0;

    if (call->status && call->status < NGX_HTTP_INTERNAL_SERVER_ERROR) {

        slow = (call->rtt >= conf->slow);

        if (!slow) {
            ngx_http_cycles_breaker_close(breaker, call, log);
            return;
        }
    }

    /* what no client waits for, which is urgent, is not that pressing */

    if (ngx_atomic_fetch_add(&breaker->failures, 1) + 1 < conf->failures
        && (call->urgent || !call->timedout))
    {
        return;
    }

    breaker->until = ngx_current_msec + conf->open;

    if (ngx_atomic_fetch_add(&breaker->opened, 1) == 0) {
        ngx_http_cycles_count(BREAKER_OPENED);

        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "cycles: server of location \"%V\" %s, it is not asked "
                      "for %M ms", &call->location,
                      call->timedout ? "does not answer in time"
                      : slow ? "is slow" : "fails", conf->open);
    }
}


static void
ngx_http_cycles_breaker_close(ngx_http_cycles_breaker_t *breaker,
    ngx_http_cycles_call_t *call, ngx_log_t *log)
{
    ngx_atomic_uint_t  opened;

    if (breaker->failures) {
        breaker->failures = 0;
    }

    opened = breaker->opened;

    if (opened && ngx_atomic_cmp_set(&breaker->opened, opened, 0)) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "cycles: server of location \"%V\" answers again",
                      &call->location);
    }
}
