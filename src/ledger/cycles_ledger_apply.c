
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a record does to memory.  Operations and the start of the ledger both
 * come through here; nothing else changes the state.
 */


#include <stdio.h>
#include <string.h>

#include "cycles_ledger_core.h"


/* of a payload whose key is never repeated */

static const cycles_digest_t  cycles_no_digest;


static int cycles_apply_effects(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_apply_reserve(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static void cycles_cell_segments(cycles_cell_t *cell,
    const cycles_subject_t *subject);
static int cycles_apply_settle(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_apply_extend(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static cycles_extensions_t *cycles_extensions_next(cycles_ledger_t *ledger,
    cycles_cell_t *cell);
static int cycles_apply_expire(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_apply_event(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_apply_decision(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_cell_caps(cycles_ledger_t *ledger, cycles_cell_t *cell,
    uint32_t caps_from);
static int cycles_apply_budget(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static cycles_budget_t *cycles_budget_create(cycles_ledger_t *ledger,
    const cycles_budget_def_t *def);
static int cycles_budget_caps(cycles_ledger_t *ledger,
    cycles_budget_t *budget, const cycles_budget_def_t *def);
static int cycles_apply_tenant(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static cycles_tenant_t *cycles_tenant_create(cycles_ledger_t *ledger,
    const cycles_tenant_def_t *def);
static int cycles_apply_api_key(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static cycles_api_key_t *cycles_api_key_add(cycles_ledger_t *ledger,
    const cycles_key_def_t *def);
static int cycles_apply_funding(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_apply_period(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_apply_status(cycles_ledger_t *ledger,
    const cycles_record_t *rec);
static int cycles_text_keep(cycles_ledger_t *ledger, cycles_text_t *text,
    cycles_str_t str);


/*
 * -1: the record does not fit the state, or there is no memory for it; an
 * operation makes sure of both before it writes the record.
 */

int
cycles_record_apply(cycles_ledger_t *ledger, const cycles_record_t *rec,
    char *err, size_t errlen)
{
    int  rc;

    switch (rec->type) {

    case CYCLES_RECORD_TENANT:
        rc = cycles_apply_tenant(ledger, rec);
        break;

    case CYCLES_RECORD_BUDGET:
        rc = cycles_apply_budget(ledger, rec);
        break;

    case CYCLES_RECORD_API_KEY:
        rc = cycles_apply_api_key(ledger, rec);
        break;

    case CYCLES_RECORD_ADMIN_KEY:
        ledger->shm->has_admin_key = 1;
        memcpy(ledger->shm->admin_key, rec->sha256, 32);
        rc = 0;
        break;

    case CYCLES_RECORD_FUNDING:
        rc = cycles_apply_funding(ledger, rec);
        break;

    case CYCLES_RECORD_PERIOD:
        rc = cycles_apply_period(ledger, rec);
        break;

    case CYCLES_RECORD_STATUS:
        rc = cycles_apply_status(ledger, rec);
        break;

    case CYCLES_RECORD_RESERVE:
        rc = cycles_apply_reserve(ledger, rec);
        break;

    case CYCLES_RECORD_EXTEND:
        rc = cycles_apply_extend(ledger, rec);
        break;

    case CYCLES_RECORD_EXPIRE:
    case CYCLES_RECORD_CLOSE:
        rc = cycles_apply_expire(ledger, rec);
        break;

    case CYCLES_RECORD_EVENT:
        rc = cycles_apply_event(ledger, rec);
        break;

    case CYCLES_RECORD_DECISION:
        rc = cycles_apply_decision(ledger, rec);
        break;

    default: /* COMMIT, RELEASE */
        rc = cycles_apply_settle(ledger, rec);
    }

    if (rc == 0) {
        return 0;
    }

    if (cycles_cells_ensure(ledger, 1) == -1
        || cycles_defs_room(ledger) < CYCLES_CELL_SIZE)
    {
        snprintf(err, errlen, "needs a larger zone than %zu bytes",
                 ledger->size);

    } else {
        snprintf(err, errlen, "does not fit the records before it");
    }

    return -1;
}


static inline cycles_budget_t *
cycles_effect_budget(cycles_ledger_t *ledger, const cycles_effect_t *effect)
{
    return effect->at ? effect->at
                      : cycles_budget_by_id(ledger, effect->budget);
}


static int
cycles_apply_effects(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    unsigned                i;
    cycles_budget_t        *budget;
    const cycles_effect_t  *effect;

    for (i = 0; i < rec->neffects; i++) {
        if (cycles_effect_budget(ledger, &rec->effects[i]) == NULL) {
            return -1;
        }
    }

    for (i = 0; i < rec->neffects; i++) {
        effect = &rec->effects[i];
        budget = cycles_effect_budget(ledger, effect);

        if (__builtin_add_overflow(budget->reserved, effect->reserved,
                                   &budget->reserved)
            || __builtin_add_overflow(budget->spent, effect->spent,
                                      &budget->spent)
            || __builtin_add_overflow(budget->debt, effect->debt,
                                      &budget->debt)
            || budget->reserved < 0 || budget->spent < 0
            || budget->debt < 0)
        {
            return -1;
        }

        budget->over_limit = effect->over_limit;
    }

    return 0;
}


static int
cycles_apply_reserve(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    unsigned          i;
    cycles_ref_t      ref;
    cycles_cell_t    *cell;
    cycles_budget_t  *budget;
    cycles_tenant_t  *tenant;

    if (rec->amount < 0
        || rec->grace_ms < 0 || rec->grace_ms > CYCLES_MAX_GRACE_MS
        || rec->expires_at_ms < 0
        || rec->expires_at_ms > INT64_MAX - CYCLES_MAX_GRACE_MS
        || ledger->shm->nlive >= ledger->shm->max_cells)
    {
        return -1;
    }

    ref = cycles_cell_alloc(ledger);

    if (ref == 0) {
        return -1;
    }

    cell = cycles_memory_at(ledger, ref);

    cell->kind = CYCLES_CELL_RESERVATION;
    cell->status = CYCLES_ACTIVE;
    cell->unit = rec->unit;
    cell->policy = rec->policy;
    cell->decision = rec->decision;
    cell->grace_ms = rec->grace_ms;
    cell->estimate = rec->amount;
    cell->granted_ms = rec->expires_at_ms;
    cell->expires_at_ms = rec->expires_at_ms;
    cell->remaining = rec->remaining;
    cell->record = rec->seq;
    memcpy(cell->id, rec->id, 16);

    if (rec->segments) {
        memcpy(cell->segments, rec->segments, sizeof(cell->segments));

    } else {
        cycles_cell_segments(cell, rec->subject);
    }

    cell->fresh = rec->fresh_key;

    if (!cell->fresh) {
        cell->digest = rec->digest;
        cycles_key_digest(ledger, "reserve", rec->owner.data, rec->owner.len,
                          rec->key, &cell->key);
    }

    tenant = rec->owner_at ? rec->owner_at
                           : cycles_tenant_find(ledger, rec->owner.data,
                                                rec->owner.len);

    if (tenant) {
        cell->tenant = cycles_memory_ref(ledger, tenant);
    }

    if (cycles_cell_caps(ledger, cell, rec->caps_from) != 0) {
        return -1;
    }

    cell->nbudgets = rec->neffects;

    for (i = 0; i < rec->neffects; i++) {
        budget = cycles_effect_budget(ledger, &rec->effects[i]);

        if (budget == NULL) {
            return -1;
        }

        cell->budgets[i] = cycles_memory_ref(ledger, budget);
    }

    cycles_cell_index(ledger, cell);

    if (cycles_heap_insert(ledger, cell) != 0) {
        return -1;
    }

    return cycles_apply_effects(ledger, rec);
}


static void
cycles_cell_segments(cycles_cell_t *cell, const cycles_subject_t *subject)
{
    unsigned  i;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        if (subject->levels[i].len) {
            cell->segments[i] = cycles_segment_hash(subject->levels[i].data,
                                                    subject->levels[i].len);
        }
    }
}


static int
cycles_apply_settle(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_cell_t  *cell;

    cell = cycles_cell_by_id(ledger, rec->id, CYCLES_CELL_RESERVATION);

    if (cell == NULL || cell->status != CYCLES_ACTIVE || rec->charged < 0) {
        return -1;
    }

    cell->settle_remaining = rec->remaining;
    cell->settle_record = rec->seq;
    cell->charged = rec->charged;

    cell->status = (rec->type == CYCLES_RECORD_COMMIT) ? CYCLES_COMMITTED
                                                       : CYCLES_RELEASED;

    /* nobody asks again with a key that is never repeated: zeros are no key */

    if (memcmp(&rec->digest, &cycles_no_digest, sizeof(cycles_digest_t))
        != 0)
    {
        cell->settle_digest = rec->digest;
        cycles_key_digest(ledger, (rec->type == CYCLES_RECORD_COMMIT)
                                  ? "commit" : "release",
                          rec->id, 16, rec->key, &cell->settle_key);
    }

    cycles_heap_remove(ledger, cell);
    cycles_cell_done(ledger, cell, rec->time);

    return cycles_apply_effects(ledger, rec);
}


static int
cycles_apply_extend(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_cell_t       *cell;
    cycles_extension_t   extension;

    cell = cycles_cell_by_id(ledger, rec->id, CYCLES_CELL_RESERVATION);

    if (cell == NULL || cell->status != CYCLES_ACTIVE
        || rec->expires_at_ms < 0
        || rec->expires_at_ms > INT64_MAX - CYCLES_MAX_GRACE_MS)
    {
        return -1;
    }

    cell->expires_at_ms = rec->expires_at_ms;
    cell->extended++;

    cycles_heap_update(ledger, cell);

    cycles_key_digest(ledger, "extend", rec->id, 16, rec->key, &extension.key);
    extension.digest = rec->digest;
    extension.expires_at_ms = rec->expires_at_ms;
    extension.record = rec->seq;

    cycles_extension_keep(ledger, cell, &extension);

    return 0;
}


void
cycles_extension_keep(cycles_ledger_t *ledger, cycles_cell_t *cell,
    const cycles_extension_t *extension)
{
    cycles_extensions_t  *ext;

    ext = cycles_extensions_next(ledger, cell);

    if (ext) {
        ext->items[ext->n++] = *extension;
    }
}


/*
 * A lease that is extended for hours remembers the latest extensions only;
 * when memory is short the oldest of them make room.  The newest are in the
 * first cell.
 */

static cycles_extensions_t *
cycles_extensions_next(cycles_ledger_t *ledger, cycles_cell_t *cell)
{
    unsigned              n;
    cycles_ref_t          ref, *link;
    cycles_extensions_t  *ext;

    if (cell->extensions) {
        ext = cycles_memory_at(ledger, cell->extensions);

        if (ext->n < CYCLES_CELL_EXTENSIONS) {
            return ext;
        }
    }

    link = &cell->extensions;

    for (n = 1; *link; n++) {
        ext = cycles_memory_at(ledger, *link);

        if (ext->next == 0) {
            break;
        }

        link = &ext->next;
    }

    ref = 0;

    if (n < CYCLES_MAX_EXTENSIONS / CYCLES_CELL_EXTENSIONS
        && cycles_cells_ensure(ledger, 1) == 0)
    {
        ref = cycles_cell_alloc(ledger);
    }

    if (ref == 0) {
        ref = *link;
        *link = 0;
    }

    if (ref == 0) {
        return NULL;
    }

    ext = cycles_memory_at(ledger, ref);
    memset(ext, 0, CYCLES_CELL_SIZE);

    ext->kind = CYCLES_CELL_EXTENSION;
    ext->next = cell->extensions;
    cell->extensions = ref;

    return ext;
}


/* holds go back to their budgets: in time, or with the end of their tenant */

static int
cycles_apply_expire(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    unsigned        i;
    cycles_cell_t  *cell;

    for (i = 0; i < rec->nids; i++) {
        cell = cycles_cell_by_id(ledger, rec->ids[i],
                                 CYCLES_CELL_RESERVATION);

        if (cell == NULL || cell->status != CYCLES_ACTIVE) {
            return -1;
        }

        cell->status = (rec->type == CYCLES_RECORD_EXPIRE) ? CYCLES_EXPIRED
                                                           : CYCLES_RELEASED;
        cell->settle_record = rec->seq;

        cycles_heap_remove(ledger, cell);
        cycles_cell_done(ledger, cell, rec->time);

        ledger->shm->nexpired += (rec->type == CYCLES_RECORD_EXPIRE);
    }

    return cycles_apply_effects(ledger, rec);
}


static int
cycles_apply_event(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;

    ref = cycles_cell_alloc(ledger);

    if (ref == 0) {
        return -1;
    }

    cell = cycles_memory_at(ledger, ref);

    cell->kind = CYCLES_CELL_EVENT;
    cell->status = CYCLES_COMMITTED;
    cell->unit = rec->unit;
    cell->policy = rec->policy;
    cell->digest = rec->digest;
    cell->charged = rec->charged;
    cell->settle_remaining = rec->remaining;
    cell->record = rec->seq;
    memcpy(cell->id, rec->id, 16);

    cycles_key_digest(ledger, "event", rec->owner.data, rec->owner.len,
                      rec->key, &cell->key);

    cycles_cell_index(ledger, cell);
    cycles_cell_done(ledger, cell, rec->time);

    return cycles_apply_effects(ledger, rec);
}


static int
cycles_apply_decision(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;

    ref = cycles_cell_alloc(ledger);

    if (ref == 0) {
        return -1;
    }

    cell = cycles_memory_at(ledger, ref);

    cell->kind = CYCLES_CELL_DECISION;
    cell->unit = rec->unit;
    cell->digest = rec->digest;
    cell->decision = rec->decision;
    cell->denied = rec->denied;
    cell->remaining = rec->remaining;
    cell->record = rec->seq;
    memcpy(cell->id, rec->id, 16);

    cycles_key_digest(ledger, cycles_reserve_namespace(rec->decide),
                      rec->owner.data, rec->owner.len, rec->key, &cell->key);

    if (cycles_cell_caps(ledger, cell, rec->caps_from) != 0) {
        return -1;
    }

    cycles_cell_index(ledger, cell);
    cycles_cell_done(ledger, cell, rec->time);

    return 0;
}


/* the ones that the budget has at this point of the log */

static int
cycles_cell_caps(cycles_ledger_t *ledger, cycles_cell_t *cell,
    uint32_t caps_from)
{
    cycles_budget_t  *budget;

    if (caps_from == 0) {
        return 0;
    }

    budget = cycles_budget_by_id(ledger, caps_from);

    if (budget == NULL || budget->caps == 0) {
        return -1;
    }

    cell->caps = cycles_caps_use(ledger, budget->caps);

    return 0;
}


static int
cycles_apply_budget(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_budget_t            *budget;
    const cycles_budget_def_t  *def;

    def = &rec->budget;

    if (def->allocated < 0 || def->overdraft_limit < 0) {
        return -1;
    }

    budget = cycles_budget_by_id(ledger, rec->def_id);

    if (budget == NULL) {

        if (rec->def_id != ledger->shm->budgets.n + 1) {
            return -1;
        }

        budget = cycles_budget_create(ledger, def);

        if (budget == NULL) {
            return -1;
        }
    }

    if (cycles_budget_caps(ledger, budget, def) != 0
        || cycles_text_keep(ledger, &budget->metadata, def->metadata) != 0
        || cycles_text_keep(ledger, &budget->timezone, def->period.timezone)
           != 0)
    {
        return -1;
    }

    budget->period = def->period.type;
    budget->every = def->period.every;
    budget->period_ms = def->period.length_ms;
    budget->period_start_ms = def->period.start_ms;
    budget->period_end_ms = (def->period.type == CYCLES_PERIOD_NONE)
                            ? CYCLES_NO_BOUNDARY : def->period.end_ms;

    budget->status = def->status;
    budget->policy = def->policy;
    budget->allocated = def->allocated;
    budget->overdraft_limit = def->overdraft_limit;
    budget->created_ms = def->created_ms;
    budget->updated_ms = def->updated_ms;
    budget->declared = def->declared.known;
    budget->declared_policy = def->declared.policy;
    budget->declared_allocated = def->declared.allocated;
    budget->declared_overdraft = def->declared.overdraft_limit;

    return (rec->effects[0].budget == rec->def_id)
           ? cycles_apply_effects(ledger, rec) : -1;
}


static cycles_budget_t *
cycles_budget_create(cycles_ledger_t *ledger, const cycles_budget_def_t *def)
{
    cycles_ref_t      ref;
    cycles_budget_t  *budget;

    ref = cycles_line_alloc(ledger, sizeof(cycles_budget_t) + def->scope.len,
                            offsetof(cycles_budget_t, next));
    if (ref == 0) {
        return NULL;
    }

    budget = cycles_memory_at(ledger, ref);
    memset(budget, 0, sizeof(cycles_budget_t));

    budget->unit = def->unit;
    budget->scope_len = def->scope.len;
    memcpy(budget->scope, def->scope.data, def->scope.len);

    budget->hash = cycles_scope_hash_str(def->scope);

    if (cycles_budget_register(ledger, budget) != 0) {
        return NULL;
    }

    return budget;
}


static int
cycles_budget_caps(cycles_ledger_t *ledger, cycles_budget_t *budget,
    const cycles_budget_def_t *def)
{
    cycles_ref_t  ref;

    budget->above_percent = def->above_percent;

    ref = 0;

    if (def->has_caps) {
        ref = cycles_caps_alloc(ledger, &def->caps);

        if (ref == 0) {
            return -1;
        }
    }

    cycles_caps_release(ledger, budget->caps);
    budget->caps = ref;

    return 0;
}


static int
cycles_apply_tenant(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_tenant_t            *tenant;
    const cycles_tenant_def_t  *def;

    def = &rec->tenant;

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);
    if (tenant == NULL) {
        tenant = cycles_tenant_create(ledger, def);

        if (tenant == NULL) {
            return -1;
        }
    }

    if (tenant->id != rec->def_id) {
        return -1;
    }

    tenant->status = def->status;
    tenant->policy = def->policy;
    tenant->default_ttl_ms = def->default_ttl_ms;
    tenant->max_ttl_ms = def->max_ttl_ms;
    tenant->max_extensions = def->max_extensions;
    tenant->created_ms = def->created_ms;
    tenant->updated_ms = def->updated_ms;
    tenant->suspended_ms = def->suspended_ms;
    tenant->closed_ms = def->closed_ms;
    tenant->declared = def->declared;

    return (cycles_text_keep(ledger, &tenant->name, def->name) == 0
            && cycles_text_keep(ledger, &tenant->parent, def->parent_id) == 0
            && cycles_text_keep(ledger, &tenant->metadata, def->metadata)
               == 0)
           ? 0 : -1;
}


static cycles_tenant_t *
cycles_tenant_create(cycles_ledger_t *ledger, const cycles_tenant_def_t *def)
{
    cycles_ref_t      ref, *bucket;
    cycles_tenant_t  *tenant;

    ref = cycles_line_alloc(ledger, sizeof(cycles_tenant_t), 0);

    if (ref == 0) {
        return NULL;
    }

    tenant = cycles_memory_at(ledger, ref);
    memset(tenant, 0, sizeof(cycles_tenant_t));

    tenant->id_len = def->tenant_id.len;
    memcpy(tenant->tenant_id, def->tenant_id.data, def->tenant_id.len);

    tenant->id = cycles_directory_add(ledger, &ledger->shm->tenants_by_id,
                                      tenant);
    if (tenant->id == 0) {
        return NULL;
    }

    bucket = cycles_memory_bucket(ledger, &ledger->shm->tenants,
                                  cycles_segment_hash(def->tenant_id.data,
                                                      def->tenant_id.len));
    tenant->next = *bucket;
    *bucket = ref;

    return tenant;
}


static int
cycles_apply_api_key(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_tenant_t         *tenant;
    cycles_api_key_t        *key;
    const cycles_key_def_t  *def;

    def = &rec->api_key;

    tenant = cycles_tenant_find(ledger, def->tenant_id.data,
                                def->tenant_id.len);
    if (tenant == NULL) {
        return -1;
    }

    key = cycles_api_key_find(ledger, def->sha256);

    if (key == NULL) {
        key = cycles_api_key_add(ledger, def);

        if (key == NULL) {
            return -1;
        }
    }

    if (key->id != rec->def_id) {
        return -1;
    }

    key->tenant = cycles_memory_ref(ledger, tenant);
    key->status = def->status;
    key->permissions = def->permissions;
    key->created_ms = def->created_ms;
    key->expires_ms = def->expires_ms;
    key->revoked_ms = def->revoked_ms;
    key->declared = def->declared;

    key->prefix_len = def->prefix.len;

    if (def->prefix.len) {
        memmove(key->prefix, def->prefix.data, def->prefix.len);
    }

    return (cycles_text_keep(ledger, &key->name, def->name) == 0
            && cycles_text_keep(ledger, &key->description, def->description)
               == 0
            && cycles_text_keep(ledger, &key->scope_filter,
                                def->scope_filter)
               == 0
            && cycles_text_keep(ledger, &key->revoked_reason,
                                def->revoked_reason)
               == 0
            && cycles_text_keep(ledger, &key->metadata, def->metadata) == 0)
           ? 0 : -1;
}


static cycles_api_key_t *
cycles_api_key_add(cycles_ledger_t *ledger, const cycles_key_def_t *def)
{
    uint64_t           hash;
    cycles_ref_t       ref, *bucket;
    cycles_api_key_t  *key;

    ref = cycles_defs_alloc(ledger, sizeof(cycles_api_key_t));

    if (ref == 0) {
        return NULL;
    }

    key = cycles_memory_at(ledger, ref);
    memset(key, 0, sizeof(cycles_api_key_t));
    memcpy(key->sha256, def->sha256, 32);

    key->id = cycles_directory_add(ledger, &ledger->shm->api_keys_by_id,
                                   key);
    if (key->id == 0) {
        return NULL;
    }

    memcpy(&hash, def->sha256, sizeof(hash));
    bucket = cycles_memory_bucket(ledger, &ledger->shm->api_keys, hash);
    key->next = *bucket;
    *bucket = ref;

    return key;
}


static int
cycles_apply_funding(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    cycles_budget_t        *budget;
    cycles_funding_sums_t   sums;

    budget = cycles_budget_by_id(ledger, rec->effects[0].budget);

    if (budget == NULL || rec->new_allocated < 0
        || budget->allocated != rec->allocated
        || budget->spent != rec->spent || budget->debt != rec->debt
        || budget->reserved != rec->reserved
        || rec->effects[0].reserved != 0
        || cycles_apply_effects(ledger, rec) != 0)
    {
        return -1;
    }

    budget->allocated = rec->new_allocated;
    budget->updated_ms = rec->time;

    if (rec->key.len == 0) {
        return 0;
    }

    cycles_funding_sums(rec, &sums);

    return cycles_funding_keep(ledger, rec, &sums);
}


int
cycles_funding_keep(cycles_ledger_t *ledger, const cycles_record_t *rec,
    const cycles_funding_sums_t *sums)
{
    cycles_ref_t    ref;
    cycles_cell_t  *cell;

    ref = cycles_cell_alloc(ledger);

    if (ref == 0) {
        return -1;
    }

    cell = cycles_memory_at(ledger, ref);

    cell->kind = CYCLES_CELL_FUNDING;
    cell->status = CYCLES_COMMITTED;
    cell->unit = rec->unit;
    cell->digest = rec->digest;
    cell->record = rec->seq;
    memcpy(cell->id, rec->id, 16);

    cycles_key_digest(ledger, "fund", rec->owner.data, rec->owner.len,
                      rec->key, &cell->key);
    *cycles_cell_funding(cell) = *sums;

    cycles_cell_index(ledger, cell);
    cycles_cell_done(ledger, cell, rec->time);

    return 0;
}


static int
cycles_apply_period(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    unsigned                i;
    cycles_budget_t        *budget;
    const cycles_turn_t    *turn;
    const cycles_effect_t  *effect;

    for (i = 0; i < rec->neffects; i++) {
        turn = &rec->turns[i];
        effect = &rec->effects[i];

        budget = cycles_budget_by_id(ledger, effect->budget);

        if (budget == NULL || budget->period == CYCLES_PERIOD_NONE
            || turn->start_ms != budget->period_start_ms
            || turn->end_ms != budget->period_end_ms
            || turn->next_start_ms < turn->end_ms
            || !cycles_bounds_ok(turn->next_start_ms, turn->next_end_ms)
            || effect->spent != -budget->spent
            || effect->reserved != 0 || effect->debt != 0)
        {
            return -1;
        }

        budget->period_start_ms = turn->next_start_ms;
        budget->period_end_ms = turn->next_end_ms;
    }

    return cycles_apply_effects(ledger, rec);
}


static int
cycles_apply_status(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    unsigned          i;
    cycles_budget_t  *budget;

    for (i = 0; i < rec->nbudgets; i++) {
        budget = cycles_budget_by_id(ledger, rec->budgets[i]);

        if (budget == NULL) {
            return -1;
        }

        budget->status = rec->status;
        budget->updated_ms = rec->time;
    }

    return 0;
}


/* str may be what text has now, so that is given back last */

static int
cycles_text_keep(cycles_ledger_t *ledger, cycles_text_t *text,
    cycles_str_t str)
{
    cycles_text_t  old;

    old = *text;

    text->ref = 0;
    text->len = str.len;

    if (str.len) {
        text->ref = cycles_defs_alloc(ledger, str.len);

        if (text->ref == 0) {
            return -1;
        }

        memcpy(cycles_memory_at(ledger, text->ref), str.data, str.len);
    }

    if (old.ref) {
        cycles_defs_release(ledger, old.ref, old.len);
    }

    return 0;
}


/*
 * Keys are kept as digests: of fixed length, and bound to the operation and
 * to its owner, which is a tenant or a reservation.
 */

void
cycles_key_digest(cycles_ledger_t *ledger, const char *operation,
    const void *owner, size_t owner_len, cycles_str_t key,
    cycles_digest_t *digest)
{
    uint8_t           len;
    cycles_siphash_t  h;

    len = owner_len;

    cycles_siphash_init(&h, ledger->shm->uuid);
    cycles_siphash_update(&h, operation, strlen(operation) + 1);
    cycles_siphash_update(&h, &len, 1);
    cycles_siphash_update(&h, owner, owner_len);
    cycles_siphash_update(&h, key.data, key.len);
    cycles_siphash_final(&h, digest);
}
