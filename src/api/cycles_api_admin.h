
/*
 * Copyright (C) nginx-cycles authors
 *
 * The JSON of the admin plane: bodies of requests become the ledger's, what
 * it tells becomes bodies.  Names and limits are those of the governance
 * specification.
 *
 * Plain C, no nginx header.
 */


#ifndef _CYCLES_API_ADMIN_H_INCLUDED_
#define _CYCLES_API_ADMIN_H_INCLUDED_


#include "cycles_api.h"
#include "../ledger/cycles_ledger_admin.h"


/* bits, as cycles_api_operation_t, and none of those */

typedef enum {
    CYCLES_ADMIN_CREATE_TENANT = 0x0100,
    CYCLES_ADMIN_UPDATE_TENANT = 0x0200,
    CYCLES_ADMIN_CREATE_BUDGET = 0x0400,
    CYCLES_ADMIN_UPDATE_BUDGET = 0x0800,
    CYCLES_ADMIN_FUND_BUDGET = 0x1000,
    CYCLES_ADMIN_CHANGE_STATUS = 0x2000,
    CYCLES_ADMIN_CREATE_KEY = 0x4000,
    CYCLES_ADMIN_UPDATE_KEY = 0x8000
} cycles_admin_operation_t;


/* characters of a query parameter or a body */
#define CYCLES_ADMIN_MAX_REASON   512

/* a tenant's key without one gets an expiry of 90 days */
#define CYCLES_ADMIN_KEY_LIFE_MS  (90LL * 86400000)


/*
 * The body of any operation.  Strings are owned by document, or are in here:
 * it must not be copied.
 */

typedef struct {
    cycles_code_t          code;          /* why it could not be read */
    unsigned               set;           /* members, CYCLES_SET_… */
    cycles_str_t           tenant_id;
    cycles_tenant_def_t    tenant;
    cycles_budget_def_t    budget;        /* scope in lower case */
    cycles_key_def_t       key;
    cycles_funding_t       funding;
    cycles_unit_t          amount_unit;   /* of what is funded, or a limit */
    cycles_str_t           reason;
    cycles_str_t           metadata;

    char                   scope[CYCLES_MAX_SCOPE];
    char                   filter[CYCLES_MAX_SCOPE_FILTER];
    void                  *document;
} cycles_admin_request_t;


/*
 * 0: rq is filled in and must be freed.  -1: err is a sentence that names the
 * member, rq->code is INVALID_REQUEST or UNIT_MISMATCH; rq needs no free.
 */

int cycles_admin_read(cycles_admin_request_t *rq,
    cycles_admin_operation_t op, const unsigned char *text, size_t len,
    char *err, size_t errlen);

void cycles_admin_free(cycles_admin_request_t *rq);

/* ^[a-z0-9-]{3,64}$, what a new tenant must be called */

int cycles_admin_tenant_id_ok(cycles_str_t id);


/* each is one whole JSON object */

void cycles_admin_write_tenant(cycles_json_t *js,
    const cycles_tenant_def_t *tenant);
void cycles_admin_write_budget(cycles_json_t *js,
    const cycles_budget_view_t *budget);
void cycles_admin_write_key(cycles_json_t *js, const cycles_key_view_t *key,
    int64_t now);

/* the one time that the secret is told */

void cycles_admin_write_new_key(cycles_json_t *js,
    const cycles_key_view_t *key, cycles_str_t secret);

void cycles_admin_write_funded(cycles_json_t *js, cycles_funding_op_t op,
    cycles_unit_t unit, const cycles_funded_t *funded);


/* words of query parameters; -1: there is no such one */

int cycles_admin_tenant_status_find(cycles_str_t name);
int cycles_admin_budget_status_find(cycles_str_t name);
int cycles_admin_key_status_find(cycles_str_t name);


#endif /* _CYCLES_API_ADMIN_H_INCLUDED_ */
