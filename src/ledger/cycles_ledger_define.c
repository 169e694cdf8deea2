
/*
 * Copyright (C) nginx-cycles authors
 *
 * Budgets, tenants and keys as the budgets file declares them.  What the file
 * says anew becomes a record; what it says as before is left to the admin
 * plane.
 */


#include <stdio.h>
#include <string.h>

#include "cycles_ledger_core.h"


static int cycles_define_room(cycles_ledger_t *ledger,
    const cycles_budgets_t *budgets, char *err, size_t errlen);
static cycles_record_t *cycles_define_tenant(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, int64_t now);
static void cycles_declared_tenant(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, cycles_digest_t *digest);
static cycles_record_t *cycles_define_budget(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, int64_t now);
static int cycles_define_boundary(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, int64_t now);
static void cycles_define_limits(cycles_record_t *rec,
    cycles_budget_t *budget);
static cycles_record_t *cycles_define_api_key(cycles_ledger_t *ledger,
    const cycles_key_def_t *def, int64_t now);
static void cycles_declared_api_key(cycles_ledger_t *ledger,
    const cycles_key_def_t *def, cycles_digest_t *digest);
static cycles_record_t *cycles_define_admin_key(cycles_ledger_t *ledger,
    const uint8_t *sha256);
static cycles_budget_t *cycles_defined(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def);
static int cycles_caps_same(cycles_ledger_t *ledger,
    const cycles_budget_t *budget, const cycles_budget_def_t *def);


/*
 * Each definition has the lock for itself, so that a large file does not stop
 * the workers; whether all of them fit is asked first.
 */

int
cycles_ledger_apply(cycles_ledger_t *ledger, const cycles_budgets_t *budgets,
    int64_t now, char *err, size_t errlen)
{
    int                         rc;
    size_t                      i, n;
    cycles_record_t            *rec;
    const cycles_budget_def_t  *def;

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
            rec = cycles_define_tenant(ledger, &budgets->tenants[i], now);

        } else if (i < budgets->ntenants + budgets->nbudgets) {
            def = &budgets->budgets[i - budgets->ntenants];
            rec = cycles_define_budget(ledger, def, now);

            if (rec) {
                rc = cycles_define_boundary(ledger, def, now);
                rec = rc ? NULL : cycles_define_budget(ledger, def, now);
            }

        } else if (i < n - budgets->has_admin_key) {
            rec = cycles_define_api_key(ledger,
                                  &budgets->api_keys[i - budgets->ntenants
                                                     - budgets->nbudgets],
                                  now);

        } else {
            rec = cycles_define_admin_key(ledger, budgets->admin_key);
        }

        if (rec) {
            rc = cycles_definition_commit(ledger, rec, now);
        }

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
    cycles_record_t            *rec;
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

        if (cycles_define_tenant(ledger, tenant, 0)) {
            rec = &ledger->record;
            memory += cycles_definition_memory(rec);
            log += cycles_record_write(rec, ledger->buffer,
                                       CYCLES_RECORD_MAX);
        }
    }

    for (i = 0; i < budgets->nbudgets; i++) {
        def = &budgets->budgets[i];

        if (cycles_define_budget(ledger, def, 0)) {
            rec = &ledger->record;
            new += (cycles_defined(ledger, def) == NULL);
            memory += cycles_definition_memory(rec);
            log += cycles_record_write(rec, ledger->buffer,
                                       CYCLES_RECORD_MAX);
        }
    }

    for (i = 0; i < budgets->napi_keys; i++) {
        key = &budgets->api_keys[i];

        if (cycles_define_api_key(ledger, key, 0)) {
            rec = &ledger->record;
            memory += cycles_definition_memory(rec);
            log += cycles_record_write(rec, ledger->buffer,
                                       CYCLES_RECORD_MAX);
        }
    }

    /* directories grow by chunks */

    memory += (new / CYCLES_DIRECTORY_CHUNK + 4)
              * CYCLES_DIRECTORY_CHUNK * sizeof(cycles_ref_t);
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


/* NULL: the file says what it has said before */

static cycles_record_t *
cycles_define_tenant(cycles_ledger_t *ledger, const cycles_tenant_def_t *def,
    int64_t now)
{
    cycles_digest_t       declared;
    cycles_record_t      *rec;
    cycles_tenant_t      *tenant;
    cycles_tenant_def_t  *to;

    cycles_declared_tenant(ledger, def, &declared);

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);

    if (tenant
        && (tenant->status == CYCLES_TENANT_IS_CLOSED
            || memcmp(&tenant->declared, &declared, sizeof(declared)) == 0))
    {
        return NULL;
    }

    rec = &ledger->record;
    to = &rec->tenant;

    rec->type = CYCLES_RECORD_TENANT;

    if (tenant == NULL) {
        rec->def_id = ledger->shm->tenants_by_id.n + 1;
        *to = *def;
        to->created_ms = now;

    } else {
        rec->def_id = tenant->id;
        cycles_tenant_fill(ledger, tenant, to);

        to->policy = def->policy;
        to->default_ttl_ms = def->default_ttl_ms;
        to->max_ttl_ms = def->max_ttl_ms;
        to->max_extensions = def->max_extensions;
        to->updated_ms = now;

        if (def->name.len) {
            to->name = def->name;
        }
    }

    to->declared = declared;

    return rec;
}


static void
cycles_declared_tenant(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    cycles_digest_begin(ledger, &h, "tenant");
    cycles_digest_str(&h, def->name);
    cycles_digest_int(&h, def->policy);
    cycles_digest_int(&h, def->default_ttl_ms);
    cycles_digest_int(&h, def->max_ttl_ms);
    cycles_digest_int(&h, def->max_extensions);
    cycles_siphash_final(&h, digest);
}


/*
 * Of a budget each member counts by itself: to change its caps does not take
 * back what was added to it.
 */

static cycles_record_t *
cycles_define_budget(cycles_ledger_t *ledger, const cycles_budget_def_t *def,
    int64_t now)
{
    cycles_record_t      *rec;
    cycles_budget_t      *budget;
    cycles_tenant_t      *tenant;
    cycles_declared_t     before;
    cycles_budget_def_t  *to;

    budget = cycles_defined(ledger, def);
    tenant = cycles_scope_tenant(ledger, def->scope);

    if ((budget && budget->status == CYCLES_BUDGET_IS_CLOSED)
        || (tenant && tenant->status == CYCLES_TENANT_IS_CLOSED))
    {
        return NULL;
    }

    rec = &ledger->record;
    to = &rec->budget;

    rec->type = CYCLES_RECORD_BUDGET;
    rec->neffects = 0;

    if (budget == NULL) {
        rec->def_id = ledger->shm->budgets.n + 1;
        cycles_effect_new(rec, rec->def_id);

        *to = *def;
        to->created_ms = now;

        cycles_period_begin(ledger, &to->period, NULL, now);

    } else {
        rec->def_id = budget->id;
        cycles_effect_add(rec, budget, 0, 0, 0);

        cycles_budget_fill(ledger, budget, to);
        before = to->declared;

        if (before.known
            && before.allocated == def->allocated
            && before.overdraft_limit == def->overdraft_limit
            && before.policy == def->policy
            && cycles_period_same(&to->period, &def->period)
            && cycles_caps_same(ledger, budget, def))
        {
            return NULL;
        }

        if (!before.known || before.allocated != def->allocated) {
            to->allocated = def->allocated;
        }

        if (!before.known || before.overdraft_limit != def->overdraft_limit)
        {
            to->overdraft_limit = def->overdraft_limit;
        }

        if (!before.known || before.policy != def->policy) {
            to->policy = def->policy;
        }

        if (!cycles_period_same(&to->period, &def->period)) {
            to->period = def->period;
            cycles_period_begin(ledger, &to->period, budget, now);
        }

        to->has_caps = def->has_caps;
        to->above_percent = def->above_percent;
        to->caps = def->caps;
        to->updated_ms = now;

        cycles_define_limits(rec, budget);
    }

    to->declared.known = 1;
    to->declared.allocated = def->allocated;
    to->declared.overdraft_limit = def->overdraft_limit;
    to->declared.policy = def->policy;

    return rec;
}


/* what a period that has ended closes with is not what is defined now */

static int
cycles_define_boundary(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, int64_t now)
{
    cycles_budget_t  *budget;

    budget = cycles_defined(ledger, def);

    return budget ? cycles_periods_turn(ledger, &budget, 1, now,
                                        ledger->shm->nlive)
                  : 0;
}


/*
 * A changed limit is an operator's act: it settles whether the budget is over
 * its limit, and money that is added pays for debt first.
 */

static void
cycles_define_limits(cycles_record_t *rec, cycles_budget_t *budget)
{
    int64_t               repaid;
    cycles_effect_t      *effect;
    cycles_budget_def_t  *to;

    to = &rec->budget;
    effect = &rec->effects[0];

    if (budget->allocated == to->allocated
        && budget->overdraft_limit == to->overdraft_limit)
    {
        return;
    }

    repaid = to->allocated - budget->allocated;

    if (repaid < 0) {
        repaid = 0;
    }

    if (repaid > budget->debt) {
        repaid = budget->debt;
    }

    rec->neffects = 0;
    cycles_effect_add(rec, budget, 0, repaid, -repaid);

    effect->over_limit = (budget->debt - repaid > to->overdraft_limit);
}


static cycles_record_t *
cycles_define_api_key(cycles_ledger_t *ledger, const cycles_key_def_t *def,
    int64_t now)
{
    cycles_digest_t    declared;
    cycles_record_t   *rec;
    cycles_tenant_t   *tenant;
    cycles_key_def_t  *to;
    cycles_api_key_t  *key;

    cycles_declared_api_key(ledger, def, &declared);

    key = cycles_api_key_find(ledger, def->sha256);
    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);

    if ((tenant && tenant->status == CYCLES_TENANT_IS_CLOSED)
        || (key && key->status != CYCLES_KEY_ACTIVE)
        || (key && memcmp(&key->declared, &declared, sizeof(declared)) == 0))
    {
        return NULL;
    }

    rec = &ledger->record;
    to = &rec->api_key;

    rec->type = CYCLES_RECORD_API_KEY;

    if (key == NULL) {
        rec->def_id = ledger->shm->api_keys_by_id.n + 1;
        *to = *def;
        to->created_ms = now;

    } else {
        rec->def_id = key->id;
        cycles_key_fill(ledger, key, to);

        to->tenant_id = def->tenant_id;
        to->name = def->name;
        to->permissions = def->permissions;
        to->scope_filter = def->scope_filter;
        to->expires_ms = def->expires_ms;
    }

    to->declared = declared;

    return rec;
}


static void
cycles_declared_api_key(cycles_ledger_t *ledger, const cycles_key_def_t *def,
    cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    cycles_digest_begin(ledger, &h, "api_key");
    cycles_digest_str(&h, def->tenant_id);
    cycles_digest_str(&h, def->name);
    cycles_digest_int(&h, def->permissions);
    cycles_digest_str(&h, def->scope_filter);
    cycles_digest_int(&h, def->expires_ms);
    cycles_siphash_final(&h, digest);
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
    if (budget->caps == 0 || !def->has_caps) {
        return budget->caps == 0 && !def->has_caps;
    }

    return budget->above_percent == def->above_percent
           && cycles_caps_equal(ledger, budget->caps, &def->caps);
}
