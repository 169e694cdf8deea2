
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the budgets file declares, read and checked; private to the ledger.
 */


#ifndef _CYCLES_BUDGETS_H_INCLUDED_
#define _CYCLES_BUDGETS_H_INCLUDED_


#include "cycles_ledger.h"
#include "cycles_definitions.h"


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


#endif /* _CYCLES_BUDGETS_H_INCLUDED_ */
