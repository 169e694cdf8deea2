
/*
 * Copyright (C) nginx-cycles authors
 *
 * Any budgets file: either it is refused with a sentence, or all that it
 * declares is within its bounds.
 */


#include <stdlib.h>
#include <string.h>

#include "ledger/cycles_budgets.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                  err[CYCLES_LEDGER_ERROR_LEN];
    size_t                i;
    cycles_budgets_t     *b;
    cycles_budget_def_t  *def;

    err[0] = '\0';
    b = cycles_budgets_parse((const char *) data, size, err, sizeof(err));

    if (b == NULL) {

        if (err[0] == '\0') {
            abort();
        }

        return 0;
    }

    for (i = 0; i < b->nbudgets; i++) {
        def = &b->budgets[i];

        if (def->allocated < 0 || def->overdraft_limit < 0
            || (unsigned) def->unit >= CYCLES_UNITS
            || def->above_percent > 100
            || cycles_scope_check(def->scope.data, def->scope.len) != NULL
            || def->caps.tool_allowlist.len + def->caps.tool_denylist.len
               > CYCLES_MAX_CAPS_TEXT)
        {
            abort();
        }
    }

    cycles_budgets_free(b);

    return 0;
}
