
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tenants, budgets and API keys while the ledger runs.
 */


#include <string.h>

#include "cycles_ledger_core.h"


static void cycles_show_tenant(cycles_ledger_t *ledger,
    cycles_tenant_t *tenant, const cycles_show_t *show);
static void cycles_show_budget(cycles_ledger_t *ledger,
    cycles_budget_t *budget, const cycles_show_t *show);
static void cycles_show_key(cycles_ledger_t *ledger, cycles_api_key_t *key,
    const cycles_show_t *show);

static cycles_code_t cycles_tenant_create_locked(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned *created, cycles_show_t *show,
    int64_t now);
static cycles_code_t cycles_tenant_update_locked(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now);
static void cycles_tenant_change(cycles_tenant_def_t *to,
    const cycles_tenant_def_t *def, unsigned set, int64_t now);
static cycles_budget_t *cycles_budget_of(cycles_ledger_t *ledger,
    cycles_str_t scope, cycles_unit_t unit);
static cycles_code_t cycles_budget_create_locked(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, cycles_show_t *show, int64_t now);
static cycles_code_t cycles_budget_update_locked(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now);
static cycles_code_t cycles_budget_open(cycles_ledger_t *ledger,
    cycles_str_t scope, cycles_unit_t unit, cycles_budget_t **budget,
    int64_t now);
static cycles_code_t cycles_budget_status_locked(cycles_ledger_t *ledger,
    const cycles_transition_t *rq, cycles_show_t *show, int64_t now);
static cycles_code_t cycles_key_create_locked(cycles_ledger_t *ledger,
    const cycles_key_def_t *def, cycles_show_t *show, int64_t now);
static cycles_code_t cycles_key_open(cycles_ledger_t *ledger,
    cycles_str_t key_id, cycles_api_key_t **key);
static cycles_code_t cycles_key_update_locked(cycles_ledger_t *ledger,
    cycles_str_t key_id, const cycles_key_def_t *def, unsigned set,
    cycles_show_t *show, int64_t now);
static cycles_code_t cycles_key_revoke_locked(cycles_ledger_t *ledger,
    cycles_str_t key_id, cycles_str_t reason, cycles_show_t *show,
    int64_t now);
static cycles_code_t cycles_admin_done(int rc, cycles_show_t *show,
    const cycles_record_t *rec);


static void
cycles_show_tenant(cycles_ledger_t *ledger, cycles_tenant_t *tenant,
    const cycles_show_t *show)
{
    cycles_tenant_def_t  def;

    cycles_tenant_fill(ledger, tenant, &def);
    show->tenant(show->data, &def);
}


static void
cycles_show_budget(cycles_ledger_t *ledger, cycles_budget_t *budget,
    const cycles_show_t *show)
{
    cycles_budget_view_t  view;

    cycles_budget_fill(ledger, budget, &view.def);
    cycles_ledger_id_print(ledger, budget->id, view.ledger_id);

    view.tenant_id = cycles_scope_tenant_id(view.def.scope);
    view.remaining = cycles_budget_remaining(budget);
    view.reserved = budget->reserved;
    view.spent = budget->spent;
    view.debt = budget->debt;
    view.over_limit = budget->over_limit;

    show->budget(show->data, &view);
}


static void
cycles_show_key(cycles_ledger_t *ledger, cycles_api_key_t *key,
    const cycles_show_t *show)
{
    cycles_key_view_t  view;

    cycles_key_fill(ledger, key, &view.def);
    cycles_key_id_print(ledger, key->id, view.key_id);

    show->key(show->data, &view);
}


cycles_code_t
cycles_ledger_tenant(cycles_ledger_t *ledger, cycles_str_t tenant_id,
    cycles_show_t *show)
{
    cycles_tenant_t  *tenant;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    tenant = cycles_tenant_find(ledger, tenant_id.data, tenant_id.len);

    if (tenant) {
        cycles_show_tenant(ledger, tenant, show);
    }

    cycles_ledger_unlock(ledger);

    return tenant ? CYCLES_OK : CYCLES_TENANT_NOT_FOUND;
}


cycles_code_t
cycles_ledger_tenant_create(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned *created, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_tenant_create_locked(ledger, def, created, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static cycles_code_t
cycles_tenant_create_locked(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned *created, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t     code;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);
    *created = (tenant == NULL);

    if (tenant) {
        cycles_show_tenant(ledger, tenant, show);
        return CYCLES_OK;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_TENANT;
    rec->def_id = ledger->shm->tenants_by_id.n + 1;
    rec->tenant = *def;
    rec->tenant.created_ms = now;

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                    def->tenant_id.len);
        cycles_show_tenant(ledger, tenant, show);
    }

    return code;
}


cycles_code_t
cycles_ledger_tenant_update(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_tenant_update_locked(ledger, def, set, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


/* closing twice is not an error: it finishes what may have been left over */

static cycles_code_t
cycles_tenant_update_locked(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t     code;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);

    if (tenant == NULL) {
        return CYCLES_TENANT_NOT_FOUND;
    }

    if (tenant->status == CYCLES_TENANT_IS_CLOSED && set
        && !(set == CYCLES_SET_STATUS
             && def->status == CYCLES_TENANT_IS_CLOSED))
    {
        return CYCLES_TENANT_CLOSED;
    }

    if (tenant->status == CYCLES_TENANT_IS_CLOSED
        || set == 0
        || (set == CYCLES_SET_STATUS && def->status == tenant->status))
    {
        cycles_show_tenant(ledger, tenant, show);
        return CYCLES_OK;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_TENANT;
    rec->def_id = tenant->id;
    cycles_tenant_fill(ledger, tenant, &rec->tenant);
    cycles_tenant_change(&rec->tenant, def, set, now);

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        cycles_show_tenant(ledger, tenant, show);
    }

    return code;
}


static void
cycles_tenant_change(cycles_tenant_def_t *to, const cycles_tenant_def_t *def,
    unsigned set, int64_t now)
{
    to->updated_ms = now;

    if (set & CYCLES_SET_NAME) {
        to->name = def->name;
    }

    if (set & CYCLES_SET_METADATA) {
        to->metadata = def->metadata;
    }

    if (set & CYCLES_SET_POLICY) {
        to->policy = def->policy;
    }

    if (set & CYCLES_SET_DEFAULT_TTL) {
        to->default_ttl_ms = def->default_ttl_ms;
    }

    if (set & CYCLES_SET_MAX_TTL) {
        to->max_ttl_ms = def->max_ttl_ms;
    }

    if (set & CYCLES_SET_MAX_EXTENSIONS) {
        to->max_extensions = def->max_extensions;
    }

    if (!(set & CYCLES_SET_STATUS) || to->status == def->status) {
        return;
    }

    to->status = def->status;

    if (def->status == CYCLES_TENANT_IS_SUSPENDED) {
        to->suspended_ms = now;
    }

    if (def->status == CYCLES_TENANT_IS_CLOSED) {
        to->closed_ms = now;
    }
}


cycles_code_t
cycles_ledger_budget(cycles_ledger_t *ledger, cycles_str_t scope,
    cycles_unit_t unit, cycles_show_t *show, int64_t now)
{
    cycles_budget_t  *budget;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    budget = cycles_budget_of(ledger, scope, unit);

    if (budget) {
        (void) cycles_periods_turn(ledger, &budget, 1, now,
                                   ledger->shm->nlive);
        cycles_show_budget(ledger, budget, show);
    }

    cycles_ledger_unlock(ledger);

    return budget ? CYCLES_OK : CYCLES_BUDGET_NOT_FOUND;
}


static cycles_budget_t *
cycles_budget_of(cycles_ledger_t *ledger, cycles_str_t scope,
    cycles_unit_t unit)
{
    return cycles_budget_find(ledger, (const char *) scope.data, scope.len,
                              cycles_scope_hash_str(scope), unit);
}


cycles_code_t
cycles_ledger_budget_create(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, cycles_show_t *show, int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_budget_create_locked(ledger, def, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static cycles_code_t
cycles_budget_create_locked(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, cycles_show_t *show, int64_t now)
{
    cycles_code_t     code;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    tenant = cycles_scope_tenant(ledger, def->scope);

    if (tenant == NULL) {
        return CYCLES_TENANT_NOT_FOUND;
    }

    if (tenant->status != CYCLES_TENANT_ACTIVE) {
        return (tenant->status == CYCLES_TENANT_IS_CLOSED)
               ? CYCLES_TENANT_CLOSED : CYCLES_TENANT_SUSPENDED;
    }

    if (cycles_budget_of(ledger, def->scope, def->unit)) {
        return CYCLES_DUPLICATE_RESOURCE;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_BUDGET;
    rec->def_id = ledger->shm->budgets.n + 1;
    rec->budget = *def;
    rec->budget.created_ms = now;
    cycles_period_begin(ledger, &rec->budget.period, NULL, now);

    rec->neffects = 0;
    cycles_effect_new(rec, rec->def_id);

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        cycles_show_budget(ledger, cycles_budget_by_id(ledger, rec->def_id),
                           show);
    }

    return code;
}


cycles_code_t
cycles_ledger_budget_update(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_budget_update_locked(ledger, def, set, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


/* a new limit settles whether the budget is over it */

static cycles_code_t
cycles_budget_update_locked(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t         code;
    cycles_budget_t      *budget;
    cycles_record_t      *rec;
    cycles_budget_def_t  *to;

    code = cycles_budget_open(ledger, def->scope, def->unit, &budget, now);

    if (code != CYCLES_OK) {
        return code;
    }

    if (set == 0) {
        cycles_show_budget(ledger, budget, show);
        return CYCLES_OK;
    }

    rec = &ledger->record;
    to = &rec->budget;

    rec->type = CYCLES_RECORD_BUDGET;
    rec->def_id = budget->id;
    rec->neffects = 0;
    cycles_effect_add(rec, budget, 0, 0, 0);

    cycles_budget_fill(ledger, budget, to);
    to->updated_ms = now;

    if (set & CYCLES_SET_OVERDRAFT) {
        to->overdraft_limit = def->overdraft_limit;
        rec->effects[0].over_limit = (budget->debt > def->overdraft_limit);
    }

    if (set & CYCLES_SET_POLICY) {
        to->policy = def->policy;
    }

    if (set & CYCLES_SET_METADATA) {
        to->metadata = def->metadata;
    }

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        cycles_show_budget(ledger, budget, show);
    }

    return code;
}


/* a budget that can be changed, frozen or not */

static cycles_code_t
cycles_budget_open(cycles_ledger_t *ledger, cycles_str_t scope,
    cycles_unit_t unit, cycles_budget_t **budget, int64_t now)
{
    const cycles_tenant_t  *tenant;

    *budget = cycles_budget_of(ledger, scope, unit);

    if (*budget == NULL) {
        return CYCLES_BUDGET_NOT_FOUND;
    }

    tenant = cycles_scope_tenant(ledger, scope);

    if (tenant && tenant->status == CYCLES_TENANT_IS_CLOSED) {
        return CYCLES_TENANT_CLOSED;
    }

    if ((*budget)->status == CYCLES_BUDGET_IS_CLOSED) {
        return CYCLES_BUDGET_CLOSED;
    }

    return cycles_periods_turn(ledger, budget, 1, now, ledger->shm->nlive)
           == 0 ? CYCLES_OK : CYCLES_INTERNAL_ERROR;
}


cycles_code_t
cycles_ledger_budget_status(cycles_ledger_t *ledger,
    const cycles_transition_t *rq, cycles_show_t *show, int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (rq->reason.len > CYCLES_MAX_OPERATOR_REASON
        || rq->metadata.len > CYCLES_MAX_DEFINED_METADATA)
    {
        return CYCLES_INVALID_REQUEST;
    }

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_budget_status_locked(ledger, rq, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static cycles_code_t
cycles_budget_status_locked(cycles_ledger_t *ledger,
    const cycles_transition_t *rq, cycles_show_t *show, int64_t now)
{
    cycles_code_t     code;
    cycles_budget_t  *budget;
    cycles_record_t  *rec;

    code = cycles_budget_open(ledger, rq->scope, rq->unit, &budget, now);

    if (code != CYCLES_OK) {
        return code;
    }

    if (budget->status == rq->status) {
        return (rq->status == CYCLES_BUDGET_IS_FROZEN) ? CYCLES_BUDGET_FROZEN
                                                   : CYCLES_INVALID_REQUEST;
    }

    rec = &ledger->record;

    rec->type = CYCLES_RECORD_STATUS;
    rec->status = rq->status;
    rec->reason = rq->reason;
    rec->metadata = rq->metadata;
    rec->nbudgets = 1;
    rec->budgets[0] = budget->id;
    rec->neffects = 0;

    code = cycles_admin_done(cycles_log_commit(ledger, rec, now,
                                               ledger->shm->nlive),
                             show, rec);

    if (code == CYCLES_OK) {
        cycles_show_budget(ledger, budget, show);
    }

    return code;
}


cycles_code_t
cycles_ledger_key_create(cycles_ledger_t *ledger, const cycles_key_def_t *def,
    cycles_show_t *show, int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_key_create_locked(ledger, def, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static cycles_code_t
cycles_key_create_locked(cycles_ledger_t *ledger, const cycles_key_def_t *def,
    cycles_show_t *show, int64_t now)
{
    cycles_code_t     code;
    cycles_record_t  *rec;
    cycles_tenant_t  *tenant;

    if (cycles_api_key_find(ledger, def->sha256)) {
        return CYCLES_DUPLICATE_RESOURCE;
    }

    rec = &ledger->record;

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);

    if (tenant && tenant->status != CYCLES_TENANT_ACTIVE) {
        return (tenant->status == CYCLES_TENANT_IS_CLOSED)
               ? CYCLES_TENANT_CLOSED : CYCLES_TENANT_SUSPENDED;
    }

    if (tenant == NULL) {
        memset(&rec->tenant, 0, sizeof(cycles_tenant_def_t));

        rec->type = CYCLES_RECORD_TENANT;
        rec->def_id = ledger->shm->tenants_by_id.n + 1;
        rec->tenant.tenant_id = def->tenant_id;
        rec->tenant.name = def->tenant_id;
        rec->tenant.policy = CYCLES_POLICY_NONE;
        rec->tenant.default_ttl_ms = -1;
        rec->tenant.max_ttl_ms = -1;
        rec->tenant.max_extensions = -1;
        rec->tenant.created_ms = now;

        if (cycles_definition_commit(ledger, rec, now) != 0) {
            return CYCLES_INTERNAL_ERROR;
        }
    }

    rec->type = CYCLES_RECORD_API_KEY;
    rec->def_id = ledger->shm->api_keys_by_id.n + 1;
    rec->api_key = *def;
    rec->api_key.created_ms = now;

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        cycles_show_key(ledger, cycles_api_key_find(ledger, def->sha256),
                        show);
    }

    return code;
}


/* a key that can be changed or revoked */

static cycles_code_t
cycles_key_open(cycles_ledger_t *ledger, cycles_str_t key_id,
    cycles_api_key_t **key)
{
    const cycles_tenant_t  *tenant;

    *key = cycles_key_by_id(ledger, key_id);

    if (*key == NULL) {
        return CYCLES_NOT_FOUND;
    }

    tenant = cycles_memory_at(ledger, (*key)->tenant);

    if (tenant->status == CYCLES_TENANT_IS_CLOSED) {
        return CYCLES_TENANT_CLOSED;
    }

    return ((*key)->status == CYCLES_KEY_ACTIVE) ? CYCLES_OK
                                                 : CYCLES_KEY_REVOKED;
}


cycles_code_t
cycles_ledger_key_update(cycles_ledger_t *ledger, cycles_str_t key_id,
    const cycles_key_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_key_update_locked(ledger, key_id, def, set, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static cycles_code_t
cycles_key_update_locked(cycles_ledger_t *ledger, cycles_str_t key_id,
    const cycles_key_def_t *def, unsigned set, cycles_show_t *show,
    int64_t now)
{
    cycles_code_t      code;
    cycles_record_t   *rec;
    cycles_api_key_t  *key;
    cycles_key_def_t  *to;

    code = cycles_key_open(ledger, key_id, &key);

    if (code != CYCLES_OK) {
        return code;
    }

    if (key->expires_ms && now >= key->expires_ms) {
        return CYCLES_KEY_EXPIRED;
    }

    if (set == 0) {
        cycles_show_key(ledger, key, show);
        return CYCLES_OK;
    }

    rec = &ledger->record;
    to = &rec->api_key;

    rec->type = CYCLES_RECORD_API_KEY;
    rec->def_id = key->id;
    cycles_key_fill(ledger, key, to);

    if (set & CYCLES_SET_NAME) {
        to->name = def->name;
    }

    if (set & CYCLES_SET_DESCRIPTION) {
        to->description = def->description;
    }

    if (set & CYCLES_SET_PERMISSIONS) {
        to->permissions = def->permissions;
    }

    if (set & CYCLES_SET_SCOPE_FILTER) {
        to->scope_filter = def->scope_filter;
    }

    if (set & CYCLES_SET_METADATA) {
        to->metadata = def->metadata;
    }

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        cycles_show_key(ledger, key, show);
    }

    return code;
}


cycles_code_t
cycles_ledger_key_revoke(cycles_ledger_t *ledger, cycles_str_t key_id,
    cycles_str_t reason, cycles_show_t *show, int64_t now)
{
    cycles_code_t  code;

    show->record = 0;

    if (reason.len > CYCLES_MAX_OPERATOR_REASON) {
        return CYCLES_INVALID_REQUEST;
    }

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    code = cycles_key_revoke_locked(ledger, key_id, reason, show, now);

    cycles_ledger_unlock(ledger);

    return code;
}


static cycles_code_t
cycles_key_revoke_locked(cycles_ledger_t *ledger, cycles_str_t key_id,
    cycles_str_t reason, cycles_show_t *show, int64_t now)
{
    cycles_code_t      code;
    cycles_record_t   *rec;
    cycles_api_key_t  *key;

    code = cycles_key_open(ledger, key_id, &key);

    if (code != CYCLES_OK) {
        return code;
    }

    rec = &ledger->record;

    cycles_key_end(ledger, key, CYCLES_KEY_IS_REVOKED, reason, rec, now);

    code = cycles_admin_done(cycles_definition_commit(ledger, rec, now), show,
                             rec);

    if (code == CYCLES_OK) {
        cycles_show_key(ledger, key, show);
    }

    return code;
}


static cycles_code_t
cycles_admin_done(int rc, cycles_show_t *show, const cycles_record_t *rec)
{
    if (rc != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    show->record = rec->seq;

    return CYCLES_OK;
}


void
cycles_ledger_definitions(cycles_ledger_t *ledger, cycles_definitions_t kind,
    uint32_t *n, unsigned max, const cycles_show_t *show, int64_t now)
{
    void                *p;
    uint32_t             i;
    cycles_shm_t        *shm;
    cycles_budget_t     *budget;
    cycles_directory_t  *all;

    if (cycles_ledger_lock(ledger) != 0) {
        *n = 0;
        return;
    }

    shm = ledger->shm;

    all = (kind == CYCLES_DEFINED_TENANTS) ? &shm->tenants_by_id
          : (kind == CYCLES_DEFINED_BUDGETS) ? &shm->budgets
          : &shm->api_keys_by_id;

    for (i = *n; max && i < all->n; max--) {
        p = cycles_directory_at(ledger, all, ++i);

        switch (kind) {

        case CYCLES_DEFINED_TENANTS:
            cycles_show_tenant(ledger, p, show);
            break;

        case CYCLES_DEFINED_BUDGETS:
            budget = p;
            (void) cycles_periods_turn(ledger, &budget, 1, now, shm->nlive);
            cycles_show_budget(ledger, budget, show);
            break;

        default: /* CYCLES_DEFINED_KEYS */
            cycles_show_key(ledger, p, show);
        }
    }

    *n = (i < all->n) ? i : 0;

    cycles_ledger_unlock(ledger);
}
