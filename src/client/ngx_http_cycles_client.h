
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


/*
 * authority->data is the name of the named location (ngx_str_t *), with its
 * "@"; authority->conf_ctx is the context of the server that has it.
 *
 * reserve(): a 4xx is an answer.  A lost, late, 5xx or invalid reply is
 * followed at once by one more try with the same key and bytes, then it is
 * an outage.  What the reply leaves out: reserved.reserved is the estimate;
 * reserved.expires_at_ms and remaining_ttl_ms are -1.  rsv->id is the id,
 * which need not fit reserved.id.  When the server asks to wait,
 * reserved.denial.reset_at_ms says until when.
 *
 * extend(): one try.  extended.expires_at_ms and remaining_ttl_ms are -1 when
 * the reply has none.
 *
 * settle(): a commit that comes too late becomes an event with the same key:
 * rsv->kind then is NGX_HTTP_CYCLES_EVENT.  settle_outcome is OUTAGE when all
 * tries were used up; ANSWERED with settled.code CYCLES_OK when it is done,
 * or with the code that refused it for good.
 *
 * The timers of retries keep a worker that is to quit alive: until there is
 * a journal nobody else knows what is to be settled.  Neither "quit" nor
 * "worker_shutdown_timeout" ends a call, since it has no socket of its own;
 * the number of tries bounds the wait.  "terminate" loses what is under way.
 */

extern const ngx_http_cycles_authority_ops_t  ngx_http_cycles_client_ops;


#endif /* _NGX_HTTP_CYCLES_CLIENT_H_INCLUDED_ */
