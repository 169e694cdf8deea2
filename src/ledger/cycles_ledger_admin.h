
/*
 * Copyright (C) nginx-cycles authors
 *
 * The admin plane of the embedded ledger: tenants, budgets and API keys while
 * it runs, as the governance specification wants them.
 *
 * Every function may be called from any process; each takes one short
 * critical section, but for the ones that say otherwise.  What was changed is
 * written to the log: "record" is its place there.
 */


#ifndef _CYCLES_LEDGER_ADMIN_H_INCLUDED_
#define _CYCLES_LEDGER_ADMIN_H_INCLUDED_


#include "cycles_ledger.h"
#include "cycles_definitions.h"


#define CYCLES_LEDGER_ID_LEN  36
#define CYCLES_KEY_ID_LEN     (sizeof("key_") - 1 + 16)


/* a budget with its sums */

typedef struct {
    cycles_budget_def_t    def;
    unsigned char          ledger_id[CYCLES_LEDGER_ID_LEN];
    cycles_str_t           tenant_id;     /* of its scope, or empty */
    int64_t                remaining;
    int64_t                reserved;
    int64_t                spent;
    int64_t                debt;
    unsigned               over_limit;
} cycles_budget_view_t;


typedef struct {
    cycles_key_def_t       def;
    unsigned char          key_id[CYCLES_KEY_ID_LEN];
} cycles_key_view_t;


/*
 * An object as it is now, or has become by the operation.  Called in the
 * critical section: it copies what it needs, and does not call the ledger.
 */

typedef struct {
    void                 (*tenant)(void *data, const cycles_tenant_def_t *t);
    void                 (*budget)(void *data, const cycles_budget_view_t *b);
    void                 (*key)(void *data, const cycles_key_view_t *k);
    void                  *data;
    uint64_t               record;        /* set by the operation, 0: none */
} cycles_show_t;


/*
 * Tenants.
 */

/*
 * CYCLES_OK: *created says whether it is new; one that exists is shown as it
 * is.  Of the definition, members from tenant_id to max_extensions are used;
 * the status must be ACTIVE.
 */

cycles_code_t cycles_ledger_tenant_create(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned *created, cycles_show_t *show,
    int64_t now);

/* members of a definition, bits */

#define CYCLES_SET_NAME            0x0001
#define CYCLES_SET_METADATA        0x0002
#define CYCLES_SET_STATUS          0x0004
#define CYCLES_SET_POLICY          0x0008
#define CYCLES_SET_DEFAULT_TTL     0x0010
#define CYCLES_SET_MAX_TTL         0x0020
#define CYCLES_SET_MAX_EXTENSIONS  0x0040
#define CYCLES_SET_OVERDRAFT       0x0080
#define CYCLES_SET_DESCRIPTION     0x0100
#define CYCLES_SET_PERMISSIONS     0x0200
#define CYCLES_SET_SCOPE_FILTER    0x0400

/*
 * Changes the members that "set" names.  A closed tenant stays closed:
 * CYCLES_TENANT_CLOSED, unless it is to be closed and nothing else.  Whoever
 * has closed one must call cycles_ledger_close_tenants() afterwards.
 */

cycles_code_t cycles_ledger_tenant_update(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now);

cycles_code_t cycles_ledger_tenant(cycles_ledger_t *ledger,
    cycles_str_t tenant_id, cycles_show_t *show);

/*
 * Finishes what the close of a tenant begins: returns its live reservations,
 * closes its budgets, revokes its keys.  For all closed tenants at once, in
 * many critical sections; blocks for as long as it takes to look at all of
 * the ledger, so it belongs into a thread.  What is done already is left
 * alone.  0, or -1: see cycles_ledger_trouble().
 */

int cycles_ledger_close_tenants(cycles_ledger_t *ledger, int64_t now,
    uint64_t *record);


/*
 * Budgets.  Scopes are in lower case and checked by cycles_scope_check().
 * CYCLES_BUDGET_NOT_FOUND: there is none of this scope and unit.
 */

/*
 * The tenant of the scope must be known (CYCLES_TENANT_NOT_FOUND) and active.
 * CYCLES_DUPLICATE_RESOURCE: there is one already.  Of the definition, caps,
 * the bounds of its period and what the file declares are not used.
 */

cycles_code_t cycles_ledger_budget_create(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, cycles_show_t *show, int64_t now);

cycles_code_t cycles_ledger_budget_update(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now);

/*
 * Freezes an active budget, makes a frozen one active, closes either.  Any
 * other change is refused: CYCLES_BUDGET_CLOSED, CYCLES_BUDGET_FROZEN, or
 * CYCLES_INVALID_REQUEST for an active one.
 */

typedef struct {
    cycles_str_t           scope;
    cycles_unit_t          unit;
    cycles_budget_status_t status;
    cycles_str_t           reason;
    cycles_str_t           metadata;
} cycles_transition_t;


cycles_code_t cycles_ledger_budget_status(cycles_ledger_t *ledger,
    const cycles_transition_t *rq, cycles_show_t *show, int64_t now);

cycles_code_t cycles_ledger_budget(cycles_ledger_t *ledger,
    cycles_str_t scope, cycles_unit_t unit, cycles_show_t *show,
    int64_t now);


typedef enum {
    CYCLES_CREDIT = 0,
    CYCLES_DEBIT,
    CYCLES_RESET,
    CYCLES_REPAY_DEBT,
    CYCLES_RESET_SPENT,
    CYCLES_FUNDINGS
} cycles_funding_op_t;


typedef struct {
    cycles_str_t           scope;
    cycles_unit_t          unit;
    cycles_funding_op_t    operation;
    int64_t                amount;
    int64_t                spent;         /* of RESET_SPENT; -1: not given */
    cycles_str_t           idempotency_key;    /* empty: it is not repeated */
    cycles_str_t           reason;
    cycles_str_t           metadata;
    cycles_str_t           trace_id;
    unsigned               admin;         /* the operator's act, not a key's */
} cycles_funding_t;


typedef struct {
    int64_t                previous_allocated;
    int64_t                new_allocated;
    int64_t                previous_remaining;
    int64_t                new_remaining;
    int64_t                previous_debt;
    int64_t                new_debt;
    int64_t                previous_spent;
    int64_t                new_spent;
} cycles_funding_sums_t;


typedef struct {
    cycles_funding_sums_t  sums;
    int64_t                when_ms;
    uint64_t               record;
} cycles_funded_t;


/*
 * Adds to a budget, takes from it, or sets it:
 *
 *   CREDIT       allocated += amount; debt is paid first, which makes it spent
 *   DEBIT        allocated -= amount; CYCLES_BUDGET_EXCEEDED when less remains
 *   RESET        allocated = amount
 *   RESET_SPENT  allocated = amount, spent = spent or 0
 *   REPAY_DEBT   debt -= amount; what is more than the debt is a CREDIT
 *
 * (FUNDING of the governance specification, with the debt semantics of the
 * protocol).  Each of them settles whether the budget is over its limit.
 * CYCLES_INVALID_REQUEST: a sum would not fit into 64 bits.
 *
 * The keys are by tenant.  A repeated call gets the first answer.
 */

cycles_code_t cycles_ledger_fund(cycles_ledger_t *ledger,
    const cycles_funding_t *rq, cycles_funded_t *rs, int64_t now);


/*
 * API keys.  Only the SHA-256 of a secret ever comes here.
 */

/*
 * A tenant that is not known is created, with its id as its name.
 * CYCLES_TENANT_CLOSED, CYCLES_TENANT_SUSPENDED: it can't get a key.
 * CYCLES_DUPLICATE_RESOURCE: there is such a secret.
 */

cycles_code_t cycles_ledger_key_create(cycles_ledger_t *ledger,
    const cycles_key_def_t *def, cycles_show_t *show, int64_t now);

/* CYCLES_KEY_REVOKED, CYCLES_KEY_EXPIRED: it can't be changed any more */

cycles_code_t cycles_ledger_key_update(cycles_ledger_t *ledger,
    cycles_str_t key_id, const cycles_key_def_t *def, unsigned set,
    cycles_show_t *show, int64_t now);

/* CYCLES_KEY_REVOKED: it is already */

cycles_code_t cycles_ledger_key_revoke(cycles_ledger_t *ledger,
    cycles_str_t key_id, cycles_str_t reason, cycles_show_t *show,
    int64_t now);


typedef enum {
    CYCLES_DEFINED_TENANTS = 0,
    CYCLES_DEFINED_BUDGETS,
    CYCLES_DEFINED_KEYS
} cycles_definitions_t;


/*
 * Walks over the definitions of a kind from number *n (0 at first) for at
 * most max of them in one critical section, in the order in which they were
 * made; *n becomes 0 at the end.
 */

void cycles_ledger_definitions(cycles_ledger_t *ledger,
    cycles_definitions_t kind, uint32_t *n, unsigned max,
    const cycles_show_t *show, int64_t now);


/*
 * Whether it is the SHA-256 of the admin key that the budgets file has given;
 * constant-time.  *known: there is one.
 */

int cycles_ledger_is_admin_key(cycles_ledger_t *ledger,
    const uint8_t *sha256, unsigned *known);


#endif /* _CYCLES_LEDGER_ADMIN_H_INCLUDED_ */
