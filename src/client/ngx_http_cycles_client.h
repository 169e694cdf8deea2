
/*
 * Copyright (C) nginx-cycles authors
 *
 * A Cycles server as the authority.
 */


#ifndef _NGX_HTTP_CYCLES_CLIENT_H_INCLUDED_
#define _NGX_HTTP_CYCLES_CLIENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "../gateway/ngx_http_cycles_authority.h"
#include "../status/ngx_http_cycles_zone.h"
#include "ngx_http_cycles_breaker.h"


/* one that locations have as their authority: authority->data */

typedef struct {
    ngx_str_t                       location;     /* with its "@" */
    ngx_str_t                       base_url;     /* its name in the journal */
    ngx_http_conf_ctx_t            *conf_ctx;     /* of the location's server */
    ngx_http_conf_ctx_t            *call_ctx;     /* the same, for calls */
    ngx_http_cycles_area_t         *breaker;

    /* for what the journal holds: as the first such location has them */

    ngx_http_cycles_call_conf_t     call;
    ngx_http_cycles_breaker_conf_t  breaker_conf;
    ngx_str_t                       api_key;
    unsigned                        dynamic_key:1;    /* a request knows it */
    unsigned                        used:1;
} ngx_http_cycles_server_t;


/*
 * The server that a named location leads to; with an empty base_url it is
 * "http://" and the name of the location.  NULL: no memory.
 */

ngx_http_cycles_server_t *ngx_http_cycles_client_server(ngx_conf_t *cf,
    ngx_str_t *location, ngx_http_conf_ctx_t *conf_ctx, ngx_str_t *base_url);

/* those of the running configuration: ngx_http_cycles_server_t * */

ngx_array_t *ngx_http_cycles_client_servers(void);


/*
 * reserve(): while the server's breaker is open it is an outage at once; one
 * such request in a while is shown to the server, as a "decide" that nobody
 * waits for, to learn if it answers again.  A 4xx is an answer.  A lost, late,
 * 5xx or invalid reply is followed at once by one more try with the same key
 * and bytes, unless it has opened the breaker; then it is an outage.  What the
 * reply leaves out: reserved.reserved is the estimate; reserved.expires_at_ms
 * and remaining_ttl_ms are -1.  rsv->id is the id, which need not fit
 * reserved.id.  When the server asks to wait, reserved.denial.reset_at_ms says
 * until when.
 *
 * extend(): one try.  extended.expires_at_ms and remaining_ttl_ms are -1 when
 * the reply has none.
 *
 * settle(): a commit that comes too late becomes an event with the same key:
 * rsv->kind then is NGX_HTTP_CYCLES_EVENT.  settle_outcome is OUTAGE when all
 * tries were used up; ANSWERED with settled.code CYCLES_OK when it is done,
 * or with the code that refused it for good.
 *
 * With "cycles_journal" a commit or an event is on the disk before it is sent,
 * and stays there unless it is done or refused for good; a worker that is to
 * quit goes on for "flush_timeout".  Without a journal nobody else knows what
 * is to be settled: the timers of retries keep a worker that is to quit alive,
 * and the number of tries bounds the wait.  Neither "quit" nor
 * "worker_shutdown_timeout" ends a call, since it has no socket of its own.
 */

extern const ngx_http_cycles_authority_ops_t  ngx_http_cycles_client_ops;

extern ngx_module_t  ngx_http_cycles_client_module;


#endif /* _NGX_HTTP_CYCLES_CLIENT_H_INCLUDED_ */
