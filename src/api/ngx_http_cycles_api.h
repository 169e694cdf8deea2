
/*
 * Copyright (C) nginx-cycles authors
 *
 * The HTTP API of the Cycles protocol on an embedded ledger.
 *
 *     ngx_http_cycles_api_module.c      the directive, what comes in
 *     ngx_http_cycles_api_routes.c      paths and methods
 *     ngx_http_cycles_api_auth.c        whose key it is, and what it may do
 *     ngx_http_cycles_api_operations.c  what each route does with the ledger
 *     ngx_http_cycles_api_balances.c    the list of balances
 *     ngx_http_cycles_api_reservations.c  reservations, one and the list
 *     ngx_http_cycles_api_args.c        query parameters
 *     ngx_http_cycles_api_answer.c      ids, headers, what goes out
 *     ngx_http_cycles_api_thread.c      what would block the event loop
 *     cycles_api_read.c, _write.c       the JSON, without nginx
 */


#ifndef _NGX_HTTP_CYCLES_API_H_INCLUDED_
#define _NGX_HTTP_CYCLES_API_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "cycles_api.h"
#include "../ledger/ngx_http_cycles_ledger.h"


typedef struct ngx_http_cycles_api_ctx_s  ngx_http_cycles_api_ctx_t;
typedef struct ngx_http_cycles_api_query_s  ngx_http_cycles_api_query_t;
typedef struct ngx_http_cycles_api_admin_s  ngx_http_cycles_api_admin_t;

/* the return value is for ngx_http_finalize_request() */

typedef ngx_int_t (*ngx_http_cycles_api_run_pt)(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

/* in a thread, if there are any: it may block, and leaves the request alone */

typedef void (*ngx_http_cycles_api_work_pt)(ngx_http_cycles_api_ctx_t *ctx);

/* writes the body of the answer; called twice, with the same result */

typedef void (*ngx_http_cycles_api_write_pt)(cycles_json_t *js,
    ngx_http_cycles_api_ctx_t *ctx);


/* whose key a route wants */

#define NGX_HTTP_CYCLES_API_TENANT   0x01
#define NGX_HTTP_CYCLES_API_ADMIN    0x02
#define NGX_HTTP_CYCLES_API_BOTH     (NGX_HTTP_CYCLES_API_TENANT              \
                                      |NGX_HTTP_CYCLES_API_ADMIN)

/* items of a page, if the request does not say */

#define NGX_HTTP_CYCLES_API_PAGE     50

/* it changes something, so a closed tenant learns why it can't */

#define NGX_HTTP_CYCLES_API_CHANGES  0x04


typedef struct {
    ngx_str_t                        path;        /* behind "/v1" */
    ngx_str_t                        action;      /* behind the id */
    ngx_uint_t                       has_id;
    ngx_uint_t                       methods;
    ngx_uint_t                       keys;
    cycles_permission_t              permission;  /* of a tenant's key;
                                                     CYCLES_PERMISSIONS: none
                                                     is needed */
    ngx_uint_t                       operation;   /* 0: has no body */
    ngx_http_cycles_api_run_pt       run;
} ngx_http_cycles_api_route_t;


typedef struct {
    ngx_str_t                        name;        /* of the ledger */
    void                            *ledger;
    ngx_str_t                        base;        /* what is before "/v1" */
    ngx_http_complex_value_t        *admin_key;
} ngx_http_cycles_api_conf_t;


/* a page of balances */

typedef struct {
    ngx_pool_t                      *pool;
    cycles_credential_t             *credential;
    ngx_str_t                        filters[CYCLES_LEVELS];
    ngx_array_t                      items;       /* cycles_balance_t */
    unsigned                         limit;
    uint64_t                         position;    /* budgets looked at */
    unsigned                         more:1;
    unsigned                         failed:1;
} ngx_http_cycles_api_page_t;


struct ngx_http_cycles_api_ctx_s {
    void                            *ledger;
    cycles_ledger_t                 *core;
    const ngx_http_cycles_api_route_t  *route;

    ngx_str_t                        id;          /* of the reservation */
    u_char                           request_id[CYCLES_UUID_LEN];
    u_char                           trace_id[CYCLES_API_TRACE_LEN];
    cycles_principal_t               who;         /* of nobody when it is
                                                     the operator */
    cycles_credential_t              credential;
    char                            *allow;       /* of a 405 */
    unsigned                         admin:1;
    unsigned                         admin_plane:1;

    ngx_http_cycles_api_admin_t     *adm;         /* of the admin plane */
    cycles_api_request_t             rq;
    cycles_unit_t                    unit;        /* of what was settled */
    cycles_reserved_t                reserved;
    cycles_settled_t                 settled;
    cycles_api_error_t               error;
    ngx_http_cycles_api_page_t       page;
    cycles_view_t                    view;
    ngx_http_cycles_api_query_t     *query;       /* of the database */

    ngx_http_request_t              *request;
    ngx_http_cycles_ledger_wait_t    wait;
    ngx_http_cycles_ledger_look_up_t  *look_up;
    ngx_uint_t                       status;      /* of the answer */
    ngx_http_cycles_api_write_pt     write;
    ngx_http_cycles_api_work_pt      work;
    ngx_http_cycles_api_run_pt       then;
};


/* operations */

ngx_int_t ngx_http_cycles_api_reserve(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_event(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_commit(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_release(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_extend(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_introspect(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_balances(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_detail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_list(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

/* answers once the record is as durable as the ledger promises */

ngx_int_t ngx_http_cycles_api_durable(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, uint64_t record, ngx_uint_t status,
    ngx_http_cycles_api_write_pt write);

/*
 * Answers with what the ledger has refused; denial may be NULL.  What it has
 * to look up first is looked up, and the route run again.
 */

ngx_int_t ngx_http_cycles_api_refuse(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code,
    cycles_denial_t *denial);

/* does some work in a thread, then goes on in the event loop */

ngx_int_t ngx_http_cycles_api_thread(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_http_cycles_api_work_pt work,
    ngx_http_cycles_api_run_pt then);

/*
 * Looks ctx->id up, into ctx->view.  NGX_DECLINED: the reservation is of the
 * key's tenant, otherwise it is answered.
 */

ngx_int_t ngx_http_cycles_api_own(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);


/*
 * The route of the request, in ctx->route.  NGX_DECLINED: there is one,
 * otherwise it is answered.
 */

ngx_int_t ngx_http_cycles_api_find_route(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_str_t *base);

/*
 * Whether the key of the request may do what the route does.  NGX_DECLINED:
 * it may, otherwise it is answered.
 */

ngx_int_t ngx_http_cycles_api_authenticate(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

/* the same for the tenant and the scopes of a subject, and of a view */

ngx_int_t ngx_http_cycles_api_subject(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);
ngx_int_t ngx_http_cycles_api_owned(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, const cycles_view_t *view);


/* gives the request its ids, from its own headers where it has them */

ngx_int_t ngx_http_cycles_api_identify(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx);

cycles_str_t ngx_http_cycles_api_str(u_char *data, size_t len);

/* a decoded copy of a query parameter; empty is as good as absent */

ngx_int_t ngx_http_cycles_api_arg(ngx_http_request_t *r, char *name,
    ngx_str_t *value);
ngx_int_t ngx_http_cycles_api_str_arg(ngx_http_request_t *r, char *name,
    cycles_str_t *value);

/*
 * Parameters of lists: "limit", by default NGX_HTTP_CYCLES_API_PAGE; one that
 * is true or false, which leaves the flag alone if it is absent; "sort_dir".
 * NGX_DECLINED: it is right, otherwise it is answered.
 */

ngx_int_t ngx_http_cycles_api_limit_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t max, unsigned *limit);
ngx_int_t ngx_http_cycles_api_flag_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, int *flag);
ngx_int_t ngx_http_cycles_api_ascending_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, unsigned *ascending);

/* answers that the parameter must be something else */

ngx_int_t ngx_http_cycles_api_bad_arg(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, char *name, char *what);

/* the first header of this name, NULL if there is none */

ngx_str_t *ngx_http_cycles_api_header(ngx_http_request_t *r, char *name);

ngx_int_t ngx_http_cycles_api_send(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t status,
    ngx_http_cycles_api_write_pt write);

/* ctx->error with the status of its code, or another one */

ngx_int_t ngx_http_cycles_api_send_error(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, ngx_uint_t status);

/* an error that needs no more than a sentence */

ngx_int_t ngx_http_cycles_api_fail(ngx_http_request_t *r,
    ngx_http_cycles_api_ctx_t *ctx, cycles_code_t code, char *text);


extern ngx_module_t  ngx_http_cycles_api_module;


#endif /* _NGX_HTTP_CYCLES_API_H_INCLUDED_ */
