
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tenants, budgets and API keys, as the budgets file and the admin plane
 * define them, and as the ledger tells them.
 *
 * Names are those of the governance specification.  Times are milliseconds
 * since the epoch, 0: it has not happened.  Metadata is the text of a JSON
 * object, or empty.
 */


#ifndef _CYCLES_DEFINITIONS_H_INCLUDED_
#define _CYCLES_DEFINITIONS_H_INCLUDED_


#include "../cycles.h"
#include "cycles_hash.h"
#include "cycles_period.h"
#include "cycles_permissions.h"


/* limits in bytes */

#define CYCLES_MAX_TENANT_ID         64
#define CYCLES_MAX_NAME              1024
#define CYCLES_MAX_DESCRIPTION       4096
#define CYCLES_MAX_OPERATOR_REASON   2048
#define CYCLES_MAX_KEY_PREFIX        16
#define CYCLES_MAX_DEFINED_METADATA  4096

/* what cycles_reserved_t.caps_text can hold */
#define CYCLES_MAX_CAPS_TEXT         2048

#define CYCLES_MAX_TOOL_NAME         256

/* of what is used, when caps do not say from where on they are in force */
#define CYCLES_DEFAULT_ABOVE_PERCENT 80

/* instead of a cycles_policy_t */
#define CYCLES_POLICY_NONE           255


typedef enum {
    CYCLES_BUDGET_ACTIVE = 0,
    CYCLES_BUDGET_IS_FROZEN,
    CYCLES_BUDGET_IS_CLOSED,
    CYCLES_BUDGET_STATUSES
} cycles_budget_status_t;


typedef enum {
    CYCLES_TENANT_ACTIVE = 0,
    CYCLES_TENANT_IS_SUSPENDED,
    CYCLES_TENANT_IS_CLOSED,
    CYCLES_TENANT_STATUSES
} cycles_tenant_status_t;


/* the last one: with its tenant, not by itself */

typedef enum {
    CYCLES_KEY_ACTIVE = 0,
    CYCLES_KEY_IS_REVOKED,
    CYCLES_KEY_IS_CLOSED,
    CYCLES_KEY_STATUSES
} cycles_key_status_t;


/*
 * -1: not set, for durations and counts.  declared stands for what the
 * budgets file has said of it; all zero: nothing.
 */

typedef struct {
    cycles_str_t          tenant_id;
    cycles_str_t          name;
    cycles_str_t          parent_id;
    cycles_str_t          metadata;
    unsigned              status;         /* cycles_tenant_status_t */
    unsigned              policy;
    int64_t               default_ttl_ms;
    int64_t               max_ttl_ms;
    int64_t               max_extensions;
    int64_t               created_ms;
    int64_t               updated_ms;
    int64_t               suspended_ms;
    int64_t               closed_ms;
    cycles_digest_t       declared;
} cycles_tenant_def_t;


/* what the budgets file has said of a budget */

typedef struct {
    unsigned              known;
    unsigned              policy;
    int64_t               allocated;
    int64_t               overdraft_limit;
} cycles_declared_t;


typedef struct {
    cycles_str_t          scope;
    cycles_str_t          metadata;
    cycles_unit_t         unit;
    unsigned              status;         /* cycles_budget_status_t */
    unsigned              policy;
    int64_t               allocated;
    int64_t               overdraft_limit;
    unsigned              has_caps;
    unsigned              above_percent;
    cycles_caps_t         caps;
    cycles_period_t       period;
    int64_t               created_ms;
    int64_t               updated_ms;
    cycles_declared_t     declared;
} cycles_budget_def_t;


typedef struct {
    cycles_str_t          tenant_id;
    cycles_str_t          name;
    cycles_str_t          description;
    cycles_str_t          prefix;         /* of the secret, or empty */
    cycles_str_t          scope_filter;
    cycles_str_t          revoked_reason;
    cycles_str_t          metadata;
    unsigned              status;         /* cycles_key_status_t */
    uint32_t              permissions;
    int64_t               created_ms;
    int64_t               expires_ms;     /* 0: never */
    int64_t               revoked_ms;
    uint8_t               sha256[32];
    cycles_digest_t       declared;
} cycles_key_def_t;


/*
 * Whether scope is "level:value/…" in canonical order and lower case, as the
 * scopes of a subject are derived.  Returns NULL, or what is wrong with it.
 */

const char *cycles_scope_check(const unsigned char *scope, size_t len);

/* the tenant of a scope, or empty: it points into scope */

cycles_str_t cycles_scope_tenant_id(cycles_str_t scope);


#endif /* _CYCLES_DEFINITIONS_H_INCLUDED_ */
