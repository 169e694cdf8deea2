
/*
 * Copyright (C) nginx-cycles authors
 *
 * Bodies of answers.  Members that say nothing are left out: some SDKs take a
 * null for a damaged answer.
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cycles_api.h"


static void cycles_api_write_caps(cycles_json_t *js,
    const cycles_caps_t *caps);
static void cycles_api_write_details(cycles_json_t *js,
    const cycles_api_error_t *error);


/* by cycles_code_t */

static const unsigned short  cycles_api_statuses[CYCLES_CODES] = {
    200,                                  /* OK */
    400,                                  /* INVALID_REQUEST */
    401,                                  /* UNAUTHORIZED */
    403,                                  /* FORBIDDEN */
    404,                                  /* NOT_FOUND */
    409,                                  /* BUDGET_EXCEEDED */
    409,                                  /* BUDGET_FROZEN */
    409,                                  /* BUDGET_CLOSED */
    410,                                  /* RESERVATION_EXPIRED */
    409,                                  /* RESERVATION_FINALIZED */
    409,                                  /* IDEMPOTENCY_MISMATCH */
    400,                                  /* UNIT_MISMATCH */
    409,                                  /* OVERDRAFT_LIMIT_EXCEEDED */
    409,                                  /* DEBT_OUTSTANDING */
    409,                                  /* MAX_EXTENSIONS_EXCEEDED */
    429,                                  /* LIMIT_EXCEEDED */
    409,                                  /* TENANT_CLOSED */
    500,                                  /* INTERNAL_ERROR */
    404,                                  /* TENANT_NOT_FOUND */
    403,                                  /* TENANT_SUSPENDED */
    404,                                  /* BUDGET_NOT_FOUND */
    403,                                  /* INSUFFICIENT_PERMISSIONS */
    401,                                  /* KEY_REVOKED */
    401,                                  /* KEY_EXPIRED */
    409                                   /* DUPLICATE_RESOURCE */
};


/*
 * What a dashboard may show or offer: AuthIntrospectResponse.capabilities of
 * the governance specification.  True for the operator, and for a tenant's
 * key that has one of the permissions.
 */

#define CYCLES_API_SETTLES                                                    \
    (CYCLES_PERMIT(CYCLES_MAY_RESERVE) | CYCLES_PERMIT(CYCLES_MAY_COMMIT)     \
     | CYCLES_PERMIT(CYCLES_MAY_RELEASE) | CYCLES_PERMIT(CYCLES_MAY_EXTEND))

#define CYCLES_API_READS(permission)                                          \
    (CYCLES_PERMIT(CYCLES_MAY_READ_ ## permission)                            \
     | CYCLES_PERMIT(CYCLES_MAY_READ)                                         \
     | CYCLES_PERMIT(CYCLES_ADMIN_READS_ ## permission))

#define CYCLES_API_WRITES(permission)                                         \
    (CYCLES_PERMIT(CYCLES_MAY_WRITE_ ## permission)                           \
     | CYCLES_PERMIT(CYCLES_MAY_WRITE)                                        \
     | CYCLES_PERMIT(CYCLES_ADMIN_WRITES_ ## permission))


typedef struct {
    const char  *name;
    uint32_t     permissions;
} cycles_api_capability_t;


static const cycles_api_capability_t  cycles_api_capabilities[] = {
    { "view_overview", 0 },
    { "view_budgets", CYCLES_API_READS(BUDGETS) },
    { "view_events", CYCLES_API_READS(EVENTS) },
    { "view_webhooks", CYCLES_API_READS(WEBHOOKS) },
    { "view_audit", 0 },
    { "view_tenants", 0 },
    { "view_api_keys", 0 },
    { "view_policies", CYCLES_API_READS(POLICIES) },
    { "view_reservations", CYCLES_API_SETTLES
                           | CYCLES_PERMIT(CYCLES_MAY_LIST)
                           | CYCLES_PERMIT(CYCLES_MAY_READ) },
    { "manage_budgets", CYCLES_API_WRITES(BUDGETS) },
    { "manage_policies", CYCLES_API_WRITES(POLICIES) },
    { "manage_webhooks", CYCLES_API_WRITES(WEBHOOKS) },
    { "manage_tenants", 0 },
    { "manage_api_keys", 0 },
    { "manage_reservations", CYCLES_API_SETTLES
                             | CYCLES_PERMIT(CYCLES_MAY_WRITE) },
    { NULL, 0 }
};


cycles_code_t
cycles_api_runtime_code(cycles_code_t code)
{
    switch (code) {

    case CYCLES_TENANT_NOT_FOUND:
    case CYCLES_BUDGET_NOT_FOUND:
        return CYCLES_NOT_FOUND;

    case CYCLES_TENANT_SUSPENDED:
    case CYCLES_INSUFFICIENT_PERMISSIONS:
        return CYCLES_FORBIDDEN;

    case CYCLES_KEY_REVOKED:
    case CYCLES_KEY_EXPIRED:
        return CYCLES_UNAUTHORIZED;

    default:
        return code;
    }
}


unsigned
cycles_api_status(cycles_code_t code)
{
    return cycles_api_statuses[code];
}


void
cycles_api_error_init(cycles_api_error_t *error, cycles_code_t code,
    const char *fmt, ...)
{
    va_list  args;

    memset(error, 0, sizeof(cycles_api_error_t));

    error->code = code;
    error->unit = -1;

    va_start(args, fmt);
    vsnprintf(error->message, sizeof(error->message), fmt, args);
    va_end(args);
}


void
cycles_api_refused(cycles_api_error_t *error, cycles_code_t code,
    cycles_unit_t unit, const cycles_denial_t *denial)
{
    const char          *text;
    static const char   *texts[CYCLES_CODES] = {
        [CYCLES_INVALID_REQUEST] = "The request is not one of the protocol",
        [CYCLES_NOT_FOUND] = "Budget not found for provided scope",
        [CYCLES_BUDGET_EXCEEDED] = "Budget exceeded for scope",
        [CYCLES_BUDGET_FROZEN] = "Budget is frozen for scope",
        [CYCLES_BUDGET_CLOSED] = "Budget is closed for scope",
        [CYCLES_RESERVATION_EXPIRED] = "The reservation has expired",
        [CYCLES_RESERVATION_FINALIZED] = "The reservation has been committed "
                                         "or released already",
        [CYCLES_IDEMPOTENCY_MISMATCH] = "The idempotency key was used for "
                                        "another request",
        [CYCLES_UNIT_MISMATCH] = "There is a budget, but in another unit, "
                                 "for scope",
        [CYCLES_OVERDRAFT_LIMIT_EXCEEDED] = "Overdraft limit exceeded for "
                                            "scope",
        [CYCLES_DEBT_OUTSTANDING] = "Outstanding debt blocks reservations "
                                    "for scope",
        [CYCLES_MAX_EXTENSIONS_EXCEEDED] = "The reservation was extended as "
                                           "often as its tenant may",
        [CYCLES_TENANT_CLOSED] = "The tenant is closed, what it owns can "
                                 "only be read",
        [CYCLES_TENANT_SUSPENDED] = "The tenant is suspended",
        [CYCLES_INTERNAL_ERROR] = "The ledger can't do this now, try again "
                                  "with the same idempotency key"
    };

    text = texts[code] ? texts[code] : cycles_code_name(code);

    if (denial == NULL || denial->scope_len == 0) {
        cycles_api_error_init(error, code, "%s", text);
        return;
    }

    if (denial->scope_len > CYCLES_API_MESSAGE / 2) {
        cycles_api_error_init(error, code, "%s", text);

    } else {
        cycles_api_error_init(error, code, "%s: %.*s", text,
                              (int) denial->scope_len, denial->scope);
    }

    error->scope.len = denial->scope_len;
    error->scope.data = (unsigned char *) denial->scope;

    if (code == CYCLES_NOT_FOUND) {
        return;
    }

    error->unit = unit;

    if (code != CYCLES_UNIT_MISMATCH) {
        error->amounts = 1;
        error->requested = denial->requested;
        error->remaining = denial->remaining;
        error->held = denial->held;
        error->reset_at_ms = denial->reset_at_ms;
    }
}


void
cycles_api_write_error(cycles_json_t *js, const cycles_api_error_t *error)
{
    cycles_str_t  message;

    message.len = strlen(error->message);
    message.data = (unsigned char *) error->message;

    cycles_json_begin(js);
    cycles_json_member_name(js, "error", cycles_code_name(error->code));
    cycles_json_member_string(js, "message", message);
    cycles_json_member_string(js, "request_id", error->request_id);
    cycles_json_member_string(js, "trace_id", error->trace_id);

    if (error->scope.len || error->unit != -1) {
        cycles_json_key(js, "details", 7);
        cycles_api_write_details(js, error);
    }

    cycles_json_end(js);
}


static void
cycles_api_write_details(cycles_json_t *js, const cycles_api_error_t *error)
{
    int       i;
    unsigned  mismatch;

    mismatch = (error->code == CYCLES_UNIT_MISMATCH);

    cycles_json_begin(js);

    if (error->scope.len) {
        cycles_json_member_string(js, "scope", error->scope);
    }

    if (error->amounts) {
        cycles_json_member_integer(js, "requested", error->requested);
        cycles_json_member_integer(js, "remaining", error->remaining);
        cycles_json_member_integer(js, "held", error->held);
    }

    if (error->reset_at_ms) {
        cycles_json_member_integer(js, "reset_at_ms", error->reset_at_ms);
    }

    if (error->unit != -1) {
        cycles_json_member_name(js, mismatch ? "requested_unit" : "unit",
                                cycles_unit_name(error->unit));
    }

    if (mismatch) {
        cycles_json_key(js, "expected_units", 14);
        cycles_json_raw(js, "[", 1);

        for (i = 0; i < CYCLES_UNITS; i++) {
            if (error->expected_units & (1u << i)) {
                cycles_json_next(js);
                cycles_json_raw(js, "\"", 1);
                cycles_json_raw(js, cycles_unit_name(i),
                                strlen(cycles_unit_name(i)));
                cycles_json_raw(js, "\"", 1);
            }
        }

        cycles_json_raw(js, "]", 1);
    }

    cycles_json_end(js);
}


void
cycles_api_write_reserved(cycles_json_t *js, cycles_api_operation_t op,
    const cycles_api_request_t *rq, const cycles_reserved_t *rs)
{
    cycles_str_t  path;

    path.len = rs->scope_path_len;
    path.data = (unsigned char *) rs->scope_path;

    cycles_json_begin(js);
    cycles_json_member_name(js, "decision",
                            cycles_decision_name(rs->decision));

    cycles_json_key(js, "affected_scopes", 15);
    cycles_api_write_scopes(js, path);

    if (op == CYCLES_API_RESERVE) {
        cycles_json_member_string(js, "scope_path", path);

        if (!rq->dry_run) {
            cycles_json_member_name(js, "reservation_id", rs->id);
            cycles_api_write_amount(js, "reserved", rq->unit, rs->reserved);
            cycles_json_member_integer(js, "expires_at_ms",
                                       rs->expires_at_ms);
            cycles_json_member_integer(js, "remaining_ttl_ms",
                                       rs->remaining_ttl_ms > 0
                                       ? rs->remaining_ttl_ms : 0);
        }
    }

    if (rs->decision == CYCLES_ALLOW_WITH_CAPS) {
        cycles_json_key(js, "caps", 4);
        cycles_api_write_caps(js, &rs->caps);
    }

    if (rs->decision == CYCLES_DENY) {
        cycles_json_member_name(js, "reason_code", rs->reason);
    }

    cycles_json_end(js);
}


void
cycles_api_write_settled(cycles_json_t *js, cycles_api_operation_t op,
    const cycles_api_request_t *rq, const cycles_settled_t *rs,
    cycles_unit_t unit)
{
    cycles_json_begin(js);

    switch (op) {

    case CYCLES_API_COMMIT:
        cycles_json_member_name(js, "status", "COMMITTED");
        cycles_api_write_amount(js, "charged", unit, rs->charged);

        if (rs->released > 0) {
            cycles_api_write_amount(js, "released", unit, rs->released);
        }

        break;

    case CYCLES_API_RELEASE:
        cycles_json_member_name(js, "status", "RELEASED");
        cycles_api_write_amount(js, "released", unit, rs->released);
        break;

    case CYCLES_API_EXTEND:
        cycles_json_member_name(js, "status", "ACTIVE");
        cycles_json_member_integer(js, "expires_at_ms", rs->expires_at_ms);
        cycles_json_member_integer(js, "remaining_ttl_ms",
                                   rs->remaining_ttl_ms > 0
                                   ? rs->remaining_ttl_ms : 0);
        break;

    default: /* CYCLES_API_EVENT */
        cycles_json_member_name(js, "status", "APPLIED");
        cycles_json_member_name(js, "event_id", rs->event_id);

        if (rs->charged < rq->amount) {
            cycles_api_write_amount(js, "charged", unit, rs->charged);
        }
    }

    cycles_json_end(js);
}


void
cycles_api_write_amount(cycles_json_t *js, const char *name,
    cycles_unit_t unit, int64_t amount)
{
    cycles_json_key(js, name, strlen(name));
    cycles_json_begin(js);
    cycles_json_member_name(js, "unit", cycles_unit_name(unit));
    cycles_json_member_integer(js, "amount", amount);
    cycles_json_end(js);
}


/* the prefixes of a path, the shortest first */

void
cycles_api_write_scopes(cycles_json_t *js, cycles_str_t path)
{
    size_t        i;
    cycles_str_t  scope;

    cycles_json_raw(js, "[", 1);

    for (i = 0; i <= path.len && path.len; i++) {

        if (i == path.len || path.data[i] == '/') {
            scope.len = i;
            scope.data = path.data;

            cycles_json_next(js);
            cycles_json_string(js, scope);
        }
    }

    cycles_json_raw(js, "]", 1);
}


static void
cycles_api_write_caps(cycles_json_t *js, const cycles_caps_t *caps)
{
    cycles_json_begin(js);

    if (caps->max_tokens >= 0) {
        cycles_json_member_integer(js, "max_tokens", caps->max_tokens);
    }

    if (caps->max_steps_remaining >= 0) {
        cycles_json_member_integer(js, "max_steps_remaining",
                                   caps->max_steps_remaining);
    }

    if (caps->tool_allowlist.len) {
        cycles_json_key(js, "tool_allowlist", 14);
        cycles_json_raw(js, caps->tool_allowlist.data,
                        caps->tool_allowlist.len);
    }

    if (caps->tool_denylist.len) {
        cycles_json_key(js, "tool_denylist", 13);
        cycles_json_raw(js, caps->tool_denylist.data,
                        caps->tool_denylist.len);
    }

    if (caps->cooldown_ms >= 0) {
        cycles_json_member_integer(js, "cooldown_ms", caps->cooldown_ms);
    }

    cycles_json_end(js);
}


/* "scope" is the last level of the path, as the reference server has it */

void
cycles_api_write_balance(cycles_json_t *js, const cycles_balance_t *balance)
{
    size_t         i;
    cycles_str_t   leaf;
    cycles_unit_t  unit;

    leaf = balance->scope_path;
    unit = balance->unit;

    for (i = leaf.len; i > 0; i--) {
        if (leaf.data[i - 1] == '/') {
            leaf.data += i;
            leaf.len -= i;
            break;
        }
    }

    cycles_json_begin(js);
    cycles_json_member_string(js, "scope", leaf);
    cycles_json_member_string(js, "scope_path", balance->scope_path);
    cycles_api_write_amount(js, "remaining", unit, balance->remaining);
    cycles_api_write_amount(js, "reserved", unit, balance->reserved);
    cycles_api_write_amount(js, "spent", unit, balance->spent);
    cycles_api_write_amount(js, "debt", unit, balance->debt);
    cycles_api_write_amount(js, "allocated", unit, balance->allocated);
    cycles_api_write_amount(js, "overdraft_limit", unit,
                            balance->overdraft_limit);
    cycles_api_write_flag(js, "is_over_limit", balance->is_over_limit);
    cycles_json_end(js);
}


void
cycles_api_write_flag(cycles_json_t *js, const char *name, int value)
{
    cycles_json_key(js, name, strlen(name));
    cycles_json_raw(js, value ? "true" : "false", value ? 4 : 5);
}


void
cycles_api_write_introspection(cycles_json_t *js,
    const cycles_credential_t *credential)
{
    cycles_str_t                    s;
    const cycles_api_capability_t  *c;

    cycles_json_begin(js);
    cycles_api_write_flag(js, "authenticated", 1);
    cycles_json_member_name(js, "auth_type", credential ? "tenant" : "admin");

    if (credential) {
        s.len = credential->who.tenant_len;
        s.data = (unsigned char *) credential->who.tenant;
        cycles_json_member_string(js, "tenant_id", s);

        cycles_json_key(js, "permissions", 11);
        cycles_api_write_permissions(js, credential->permissions);

    } else {
        cycles_json_key(js, "permissions", 11);
        cycles_json_raw(js, "[\"*\"]", 5);
    }

    if (credential && credential->scope_filter_len) {
        s.len = credential->scope_filter_len;
        s.data = (unsigned char *) credential->scope_filter;

        cycles_json_key(js, "scope_filter", 12);
        cycles_api_write_filter(js, s);
    }

    cycles_json_key(js, "capabilities", 12);
    cycles_json_begin(js);

    for (c = cycles_api_capabilities; c->name; c++) {
        cycles_api_write_flag(js, c->name,
                              credential == NULL
                              || (credential->permissions & c->permissions));
    }

    cycles_json_end(js);
    cycles_json_end(js);
}


void
cycles_api_write_permissions(cycles_json_t *js, uint32_t permissions)
{
    int           i;
    cycles_str_t  s;
    const char   *name;

    cycles_json_raw(js, "[", 1);

    for (i = 0; i < CYCLES_PERMISSIONS; i++) {

        if (permissions & CYCLES_PERMIT(i)) {
            name = cycles_permission_name(i);

            s.len = strlen(name);
            s.data = (unsigned char *) name;

            cycles_json_next(js);
            cycles_json_string(js, s);
        }
    }

    cycles_json_raw(js, "]", 1);
}


void
cycles_api_write_filter(cycles_json_t *js, cycles_str_t filter)
{
    size_t        i, from;
    cycles_str_t  s;

    cycles_json_raw(js, "[", 1);

    for (from = 0, i = 0; i <= filter.len && filter.len; i++) {

        if (i == filter.len || filter.data[i] == ',') {
            s.len = i - from;
            s.data = filter.data + from;
            from = i + 1;

            cycles_json_next(js);
            cycles_json_string(js, s);
        }
    }

    cycles_json_raw(js, "]", 1);
}
