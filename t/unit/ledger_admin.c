
/*
 * Copyright (C) nginx-cycles authors
 *
 * The admin plane's part of the ledger, where its HTTP API does not come:
 * secrets that are there already, sums at the end of 64 bits, what is closed.
 */


#include "ledger.h"
#include "ledger/cycles_ledger_admin.h"


static cycles_show_t  show;
static cycles_str_t   tenant_id;


static void
see_tenant(void *data, const cycles_tenant_def_t *t)
{
}


static void
see_budget(void *data, const cycles_budget_view_t *b)
{
}


static void
see_key(void *data, const cycles_key_view_t *k)
{
}


static cycles_code_t
key_create(cycles_ledger_t *l, const char *tenant, uint8_t secret)
{
    cycles_key_def_t  def;

    memset(&def, 0, sizeof(def));
    def.tenant_id = str(tenant);
    def.name = str("a name");
    def.sha256[31] = secret;

    return cycles_ledger_key_create(l, &def, &show, T0);
}


static cycles_code_t
tenant_status(cycles_ledger_t *l, cycles_tenant_status_t status)
{
    cycles_tenant_def_t  def;

    memset(&def, 0, sizeof(def));
    def.tenant_id = tenant_id;
    def.status = status;

    return cycles_ledger_tenant_update(l, &def, CYCLES_SET_STATUS, &show, T0);
}


static cycles_code_t
fund(cycles_ledger_t *l, cycles_funding_op_t operation, int64_t amount,
    int64_t spent)
{
    cycles_code_t     code;
    cycles_funded_t   rs;
    cycles_funding_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.scope = str("tenant:acme");
    rq.unit = CYCLES_TOKENS;
    rq.operation = operation;
    rq.amount = amount;
    rq.spent = spent;

    code = cycles_ledger_fund(l, &rq, &rs, T0);

    return code;
}


static cycles_code_t
budget_status(cycles_ledger_t *l, cycles_budget_status_t status)
{
    cycles_transition_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.scope = str("tenant:acme");
    rq.unit = CYCLES_TOKENS;
    rq.status = status;

    return cycles_ledger_budget_status(l, &rq, &show, T0);
}


static void
test_keys(cycles_ledger_t *l)
{
    uint64_t             written;
    uint8_t              sha256[32];
    cycles_credential_t  who;

    is_int(key_create(l, "acme", 1), CYCLES_OK, "a key");
    is_int(key_create(l, "other", 2), CYCLES_OK, "one that makes its tenant");

    written = cycles_ledger_written(l);
    is_int(key_create(l, "acme", 1), CYCLES_DUPLICATE_RESOURCE,
           "the same secret");
    is_int(key_create(l, "other", 1), CYCLES_DUPLICATE_RESOURCE,
           "that of another tenant");
    is_int(cycles_ledger_written(l), written, "nothing was written");

    memset(sha256, 0, sizeof(sha256));
    sha256[31] = 1;
    is_int(cycles_ledger_authenticate(l, sha256, &who, T0), CYCLES_OK,
           "it is known");
    ok(who.who.tenant_len == 4 && memcmp(who.who.tenant, "acme", 4) == 0,
       "as its first tenant's");

    is_int(tenant_status(l, CYCLES_TENANT_IS_SUSPENDED), CYCLES_OK,
           "suspended");
    is_int(key_create(l, "acme", 3), CYCLES_TENANT_SUSPENDED, "no new key");
    is_int(tenant_status(l, CYCLES_TENANT_ACTIVE), CYCLES_OK, "active again");
}


/* all of a funding fits, or nothing is done */

static void
test_funding(cycles_ledger_t *l)
{
    unsigned     i;
    char         before[256];

    static const struct {
        cycles_funding_op_t  operation;
        int64_t              amount, spent;
    } t[] = {
        { CYCLES_CREDIT, INT64_MAX - 999, -1 },
        { CYCLES_CREDIT, INT64_MAX, -1 },
        { CYCLES_REPAY_DEBT, INT64_MAX - 999, -1 },
        { CYCLES_RESET_SPENT, 5, INT64_MAX - 9 },
        { CYCLES_RESET_SPENT, INT64_MAX, INT64_MAX }
    };

    led_reserve(l, "acme", "held", 10, T0);
    snprintf(before, sizeof(before), "%s", led_balance(l, "tenant:acme"));

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        is_int(fund(l, t[i].operation, t[i].amount, t[i].spent),
               CYCLES_INVALID_REQUEST, "funding %u does not fit", i);
        is_str(led_balance(l, "tenant:acme"), before, "and does nothing");
    }

    is_int(fund(l, CYCLES_CREDIT, INT64_MAX - 1000, -1), CYCLES_OK,
           "to the end of 64 bits");
    is_int(led_look(l, "tenant:acme").balance.allocated, INT64_MAX,
           "allocated");
    is_int(fund(l, CYCLES_RESET_SPENT, 1000, INT64_MAX - 10), CYCLES_OK,
           "spent to the end of 64 bits");
    is_int(fund(l, CYCLES_RESET_SPENT, 1000, -1), CYCLES_OK, "and back");
}


static void
test_closed(cycles_ledger_t *l)
{
    uint64_t             record, written;
    cycles_tenant_def_t  def;
    cycles_budget_def_t  budget;

    is_int(budget_status(l, CYCLES_BUDGET_IS_CLOSED), CYCLES_OK, "closed");
    is_int(budget_status(l, CYCLES_BUDGET_ACTIVE), CYCLES_BUDGET_CLOSED,
           "for ever");
    is_int(fund(l, CYCLES_CREDIT, 1, -1), CYCLES_BUDGET_CLOSED,
           "it gets no money");

    memset(&budget, 0, sizeof(budget));
    budget.scope = str("tenant:acme");
    budget.unit = CYCLES_TOKENS;
    budget.overdraft_limit = 77;

    is_int(cycles_ledger_budget_update(l, &budget, CYCLES_SET_OVERDRAFT,
                                       &show, T0),
           CYCLES_BUDGET_CLOSED, "and no limit");
    is_int(led_look(l, "tenant:acme").balance.overdraft_limit, 0,
           "it has none");

    is_int(tenant_status(l, CYCLES_TENANT_IS_CLOSED), CYCLES_OK,
           "the tenant is closed");
    is_int(cycles_ledger_close_tenants(l, T0, &record), 0, "with all it has");
    ok(record > 0 && led_look(l, "tenant:acme").balance.reserved == 0,
       "what it held is returned");

    written = cycles_ledger_written(l);

    memset(&def, 0, sizeof(def));
    def.tenant_id = tenant_id;
    def.name = str("another name");

    is_int(cycles_ledger_tenant_update(l, &def, CYCLES_SET_NAME, &show, T0),
           CYCLES_TENANT_CLOSED, "it keeps its name");
    is_int(tenant_status(l, CYCLES_TENANT_ACTIVE), CYCLES_TENANT_CLOSED,
           "and is not opened");
    is_int(key_create(l, "acme", 9), CYCLES_TENANT_CLOSED, "no key");
    is_int(fund(l, CYCLES_CREDIT, 1, -1), CYCLES_TENANT_CLOSED, "no money");
    is_int(tenant_status(l, CYCLES_TENANT_IS_CLOSED), CYCLES_OK,
           "closing again is nothing");
    is_int(cycles_ledger_close_tenants(l, T0, &record), 0, "nothing is left");
    is_int(cycles_ledger_written(l), written, "nothing was written");
}


int
main(void)
{
    cycles_ledger_t  *l;

    show.tenant = see_tenant;
    show.budget = see_budget;
    show.key = see_key;
    tenant_id = str("acme");

    led_start();
    l = led_open();
    led_budgets(l, "{\"tenants\":[{\"tenant_id\":\"acme\"}],"
                "\"budgets\":[{\"scope\":\"tenant:acme\","
                "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":\"TOKENS\","
                "\"amount\":1000}}]}");

    test_keys(l);
    test_funding(l);
    test_closed(l);

    cycles_ledger_close(l);

    return done_testing();
}
