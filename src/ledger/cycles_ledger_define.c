
/*
 * Copyright (C) nginx-cycles authors
 *
 * Budgets, tenants and keys as the budgets file declares them: what differs
 * from the state becomes a record.
 */


#include <stdio.h>
#include <string.h>

#include "cycles_ledger_core.h"


/* fixed members of the longest definition, in a record */
#define CYCLES_DEFINITION_SIZE  256


static int cycles_define_room(cycles_ledger_t *ledger,
    const cycles_budgets_t *budgets, char *err, size_t errlen);
static cycles_record_t *cycles_define_tenant(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def);
static cycles_record_t *cycles_define_budget(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def);
static cycles_record_t *cycles_define_api_key(cycles_ledger_t *ledger,
    const cycles_key_def_t *def);
static cycles_record_t *cycles_define_admin_key(cycles_ledger_t *ledger,
    const uint8_t *sha256);
static int cycles_define_write(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now);
static cycles_budget_t *cycles_defined(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def);
static int cycles_caps_same(cycles_ledger_t *ledger,
    const cycles_budget_t *budget, const cycles_budget_def_t *def);
static int cycles_name_same(cycles_ledger_t *ledger, cycles_ref_t ref,
    size_t len, cycles_str_t name);
static size_t cycles_define_size(size_t fixed, size_t len);


/*
 * Each definition has the lock for itself, so that a large file does not stop
 * the workers; whether all of them fit is asked first.
 */

int
cycles_ledger_apply(cycles_ledger_t *ledger, const cycles_budgets_t *budgets,
    int64_t now, char *err, size_t errlen)
{
    int               rc;
    size_t            i, n;
    cycles_record_t  *rec;

    rc = cycles_define_room(ledger, budgets, err, errlen);

    if (rc != 0) {
        return rc;
    }

    n = budgets->ntenants + budgets->nbudgets + budgets->napi_keys
        + budgets->has_admin_key;

    for (i = 0; rc == 0 && i < n; i++) {

        if (cycles_ledger_lock(ledger) != 0) {
            snprintf(err, errlen, "%s", ledger->trouble);
            return -1;
        }

        if (i < budgets->ntenants) {
            rec = cycles_define_tenant(ledger, &budgets->tenants[i]);

        } else if (i < budgets->ntenants + budgets->nbudgets) {
            rec = cycles_define_budget(ledger,
                                  &budgets->budgets[i - budgets->ntenants]);

        } else if (i < n - budgets->has_admin_key) {
            rec = cycles_define_api_key(ledger,
                                  &budgets->api_keys[i - budgets->ntenants
                                                     - budgets->nbudgets]);

        } else {
            rec = cycles_define_admin_key(ledger, budgets->admin_key);
        }

        rc = rec ? cycles_define_write(ledger, rec, now) : 0;

        if (rc != 0) {
            snprintf(err, errlen, "%s", ledger->trouble);
        }

        cycles_ledger_unlock(ledger);
    }

    return rc;
}


static int
cycles_define_room(cycles_ledger_t *ledger, const cycles_budgets_t *budgets,
    char *err, size_t errlen)
{
    int                         rc;
    size_t                      i, new;
    uint64_t                    memory, log;
    const cycles_key_def_t     *key;
    const cycles_budget_def_t  *def;
    const cycles_tenant_def_t  *tenant;

    if (cycles_ledger_lock(ledger) != 0) {
        snprintf(err, errlen, "%s", ledger->trouble);
        return -1;
    }

    memory = 0;
    log = 0;
    new = 0;

    for (i = 0; i < budgets->ntenants; i++) {
        tenant = &budgets->tenants[i];

        if (cycles_define_tenant(ledger, tenant)) {
            memory += cycles_define_size(sizeof(cycles_tenant_t), 0)
                      + cycles_define_size(0, tenant->name.len);
            log += CYCLES_DEFINITION_SIZE + tenant->name.len;
        }
    }

    for (i = 0; i < budgets->nbudgets; i++) {
        def = &budgets->budgets[i];

        if (cycles_define_budget(ledger, def)) {

            if (cycles_defined(ledger, def) == NULL) {
                new++;
                memory += cycles_define_size(sizeof(cycles_budget_t),
                                             def->scope.len);
            }

            memory += cycles_define_size(sizeof(cycles_shm_caps_t),
                                         def->caps.tool_allowlist.len
                                         + def->caps.tool_denylist.len);
            log += CYCLES_DEFINITION_SIZE + def->scope.len
                   + def->caps.tool_allowlist.len
                   + def->caps.tool_denylist.len;
        }
    }

    for (i = 0; i < budgets->napi_keys; i++) {
        key = &budgets->api_keys[i];

        memory += cycles_define_size(sizeof(cycles_api_key_t), 0)
                  + cycles_define_size(0, key->name.len);
        log += CYCLES_DEFINITION_SIZE + key->name.len;
    }

    /* the directory of budgets grows by chunks of 1024 */

    memory += (new / 1024 + 2) * 4096;
    rc = 0;

    if (memory > cycles_defs_room(ledger)) {
        snprintf(err, errlen, "the budgets need a larger zone than %zu bytes",
                 ledger->size);
        rc = -1;

    } else if (log && cycles_log_room(ledger, log, ledger->shm->nlive) != 0) {
        snprintf(err, errlen, "%s", ledger->trouble);
        rc = -1;
    }

    cycles_ledger_unlock(ledger);

    return rc;
}


/* NULL: nothing has changed */

static cycles_record_t *
cycles_define_tenant(cycles_ledger_t *ledger, const cycles_tenant_def_t *def)
{
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);

    if (tenant
        && tenant->policy == def->policy
        && tenant->default_ttl_ms == def->default_ttl_ms
        && tenant->max_ttl_ms == def->max_ttl_ms
        && tenant->max_extensions == def->max_extensions
        && cycles_name_same(ledger, tenant->name, tenant->name_len,
                            def->name))
    {
        return NULL;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_TENANT;
    rec->tenant = *def;
    rec->def_id = tenant ? tenant->id : ledger->shm->ntenants + 1;

    if (tenant) {
        rec->tenant.status = tenant->status;
    }

    return rec;
}


/*
 * A changed limit is an operator's act: it settles whether the budget is over
 * its limit, and money that is added pays for debt first.
 */

static cycles_record_t *
cycles_define_budget(cycles_ledger_t *ledger, const cycles_budget_def_t *def)
{
    int64_t           repaid;
    cycles_record_t  *rec;
    cycles_effect_t  *effect;
    cycles_budget_t  *budget, none;

    budget = cycles_defined(ledger, def);
    rec = &ledger->record;

    rec->type = CYCLES_RECORD_BUDGET;
    rec->budget = *def;
    rec->neffects = 0;

    if (budget == NULL) {
        memset(&none, 0, sizeof(cycles_budget_t));
        none.id = ledger->shm->nbudgets + 1;

        rec->def_id = none.id;
        cycles_effect_add(rec, &none, 0, 0, 0);

        return rec;
    }

    if (budget->allocated == def->allocated
        && budget->overdraft_limit == def->overdraft_limit
        && budget->policy == def->policy
        && cycles_caps_same(ledger, budget, def))
    {
        return NULL;
    }

    rec->def_id = budget->id;
    rec->budget.status = budget->status;

    if (budget->allocated == def->allocated
        && budget->overdraft_limit == def->overdraft_limit)
    {
        cycles_effect_add(rec, budget, 0, 0, 0);
        return rec;
    }

    repaid = def->allocated - budget->allocated;

    if (repaid < 0) {
        repaid = 0;
    }

    if (repaid > budget->debt) {
        repaid = budget->debt;
    }

    cycles_effect_add(rec, budget, 0, repaid, -repaid);

    effect = &rec->effects[0];
    effect->over_limit = (budget->debt - repaid > def->overdraft_limit);

    return rec;
}


static cycles_record_t *
cycles_define_api_key(cycles_ledger_t *ledger, const cycles_key_def_t *def)
{
    cycles_record_t   *rec;
    cycles_tenant_t   *tenant;
    cycles_api_key_t  *key;

    key = cycles_api_key_find(ledger, def->sha256);
    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);

    if (key && tenant && key->tenant == cycles_memory_ref(ledger, tenant)
        && cycles_name_same(ledger, key->name, key->name_len, def->name))
    {
        return NULL;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_API_KEY;
    rec->api_key = *def;

    return rec;
}


static cycles_record_t *
cycles_define_admin_key(cycles_ledger_t *ledger, const uint8_t *sha256)
{
    cycles_record_t  *rec;

    if (ledger->shm->has_admin_key
        && memcmp(ledger->shm->admin_key, sha256, 32) == 0)
    {
        return NULL;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_ADMIN_KEY;
    memcpy(rec->sha256, sha256, 32);

    return rec;
}


static int
cycles_define_write(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now)
{
    if (cycles_defs_room(ledger) < CYCLES_DEFINITION_SIZE) {
        cycles_ledger_trouble_set(ledger, "the budgets need a larger zone "
                                  "than %zu bytes", ledger->size);
        return -1;
    }

    return cycles_log_commit(ledger, rec, now, ledger->shm->nlive);
}


static cycles_budget_t *
cycles_defined(cycles_ledger_t *ledger, const cycles_budget_def_t *def)
{
    return cycles_budget_find(ledger, (const char *) def->scope.data,
                              def->scope.len,
                              cycles_scope_hash_str(def->scope), def->unit);
}


static int
cycles_caps_same(cycles_ledger_t *ledger, const cycles_budget_t *budget,
    const cycles_budget_def_t *def)
{
    const cycles_str_t       *allow, *deny;
    const cycles_shm_caps_t  *caps;

    if (budget->caps == 0 || !def->has_caps) {
        return budget->caps == 0 && !def->has_caps;
    }

    caps = cycles_memory_at(ledger, budget->caps);
    allow = &def->caps.tool_allowlist;
    deny = &def->caps.tool_denylist;

    return budget->above_percent == def->above_percent
           && caps->max_tokens == def->caps.max_tokens
           && caps->max_steps_remaining == def->caps.max_steps_remaining
           && caps->cooldown_ms == def->caps.cooldown_ms
           && caps->allow_len == allow->len
           && caps->deny_len == deny->len
           && (allow->len == 0
               || memcmp(caps->text, allow->data, allow->len) == 0)
           && (deny->len == 0
               || memcmp(caps->text + allow->len, deny->data, deny->len)
                  == 0);
}


static int
cycles_name_same(cycles_ledger_t *ledger, cycles_ref_t ref, size_t len,
    cycles_str_t name)
{
    return len == name.len
           && (len == 0
               || memcmp(cycles_memory_at(ledger, ref), name.data, len) == 0);
}


/* how much of the memory a definition takes */

static size_t
cycles_define_size(size_t fixed, size_t len)
{
    return (fixed + len + CYCLES_GRANULE - 1)
           & ~(size_t) (CYCLES_GRANULE - 1);
}
