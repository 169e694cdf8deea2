
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the budgets file declares, read and checked; private to the ledger.
 */


#ifndef _CYCLES_BUDGETS_H_INCLUDED_
#define _CYCLES_BUDGETS_H_INCLUDED_


#include "cycles_ledger.h"


#define CYCLES_MAX_TENANT_ID   64
#define CYCLES_MAX_NAME        256

/* what cycles_reserved_t.caps_text can hold */
#define CYCLES_MAX_CAPS_TEXT   2048

#define CYCLES_MAX_TOOL_NAME   256

/* instead of a cycles_policy_t */
#define CYCLES_POLICY_NONE     255


typedef enum {
    CYCLES_BUDGET_ACTIVE = 0,
    CYCLES_BUDGET_IS_FROZEN,
    CYCLES_BUDGET_IS_CLOSED
} cycles_budget_status_t;


typedef enum {
    CYCLES_TENANT_ACTIVE = 0,
    CYCLES_TENANT_SUSPENDED,
    CYCLES_TENANT_IS_CLOSED
} cycles_tenant_status_t;


/* -1: not set, for times and counts */

typedef struct {
    cycles_str_t          tenant_id;
    cycles_str_t          name;
    unsigned              status;         /* cycles_tenant_status_t */
    unsigned              policy;
    int64_t               default_ttl_ms;
    int64_t               max_ttl_ms;
    int64_t               max_extensions;
} cycles_tenant_def_t;


typedef struct {
    cycles_str_t          scope;
    cycles_unit_t         unit;
    unsigned              status;         /* cycles_budget_status_t */
    unsigned              policy;
    int64_t               allocated;
    int64_t               overdraft_limit;
    unsigned              has_caps;
    unsigned              above_percent;
    cycles_caps_t         caps;
} cycles_budget_def_t;


typedef struct {
    cycles_str_t          tenant_id;
    cycles_str_t          name;
    unsigned              status;
    uint8_t               sha256[32];
} cycles_key_def_t;


struct cycles_budgets_s {
    cycles_tenant_def_t  *tenants;
    size_t                ntenants;
    cycles_budget_def_t  *budgets;
    size_t                nbudgets;
    cycles_key_def_t     *api_keys;
    size_t                napi_keys;
    unsigned              has_admin_key;
    uint8_t               admin_key[32];
    void                 *texts;          /* all strings above */
};


/*
 * Whether scope is "level:value/…" in canonical order and lower case, as the
 * scopes of a subject are derived.  Returns NULL, or what is wrong with it.
 */

const char *cycles_scope_check(const unsigned char *scope, size_t len);


#endif /* _CYCLES_BUDGETS_H_INCLUDED_ */
