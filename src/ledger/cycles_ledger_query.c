
/*
 * Copyright (C) nginx-cycles authors
 *
 * Questions that change nothing.
 */


#include <string.h>

#include "cycles_ledger_core.h"


static cycles_code_t cycles_credential_fill(cycles_ledger_t *ledger,
    const cycles_api_key_t *key, cycles_credential_t *credential,
    int64_t now);
static const cycles_api_key_t *cycles_key_match(cycles_ledger_t *ledger,
    const uint8_t *sha256);
static void cycles_principal_fill(cycles_principal_t *who,
    const cycles_tenant_t *tenant);


cycles_code_t
cycles_ledger_authenticate(cycles_ledger_t *ledger, const uint8_t *sha256,
    cycles_credential_t *credential, int64_t now)
{
    cycles_code_t            code;
    const cycles_api_key_t  *key;

    memset(credential, 0, offsetof(cycles_credential_t, scope_filter));

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    key = cycles_key_match(ledger, sha256);

    code = key ? cycles_credential_fill(ledger, key, credential, now)
               : CYCLES_UNAUTHORIZED;

    cycles_ledger_unlock(ledger);

    return code;
}


/* a key that ended with its tenant can still say that this is so */

static cycles_code_t
cycles_credential_fill(cycles_ledger_t *ledger, const cycles_api_key_t *key,
    cycles_credential_t *credential, int64_t now)
{
    const cycles_tenant_t  *tenant;

    tenant = cycles_memory_at(ledger, key->tenant);

    cycles_principal_fill(&credential->who, tenant);

    credential->permissions = key->permissions;
    credential->suspended = (tenant->status == CYCLES_TENANT_IS_SUSPENDED);
    credential->closed = (tenant->status == CYCLES_TENANT_IS_CLOSED);

    credential->scope_filter_len = key->scope_filter.len;

    if (key->scope_filter.len) {
        memcpy(credential->scope_filter,
               cycles_memory_at(ledger, key->scope_filter.ref),
               key->scope_filter.len);
    }

    if (key->status == CYCLES_KEY_IS_REVOKED) {
        return CYCLES_KEY_REVOKED;
    }

    return (key->expires_ms && now >= key->expires_ms) ? CYCLES_KEY_EXPIRED
                                                       : CYCLES_OK;
}


int
cycles_ledger_is_admin_key(cycles_ledger_t *ledger, const uint8_t *sha256,
    unsigned *known)
{
    unsigned  i, differs;

    if (cycles_ledger_lock(ledger) != 0) {
        *known = 0;
        return 0;
    }

    *known = ledger->shm->has_admin_key;

    for (differs = !*known, i = 0; i < 32; i++) {
        differs |= ledger->shm->admin_key[i] ^ sha256[i];
    }

    cycles_ledger_unlock(ledger);

    return !differs;
}


/* the walk takes as long for a digest that begins well as for any other */

static const cycles_api_key_t *
cycles_key_match(cycles_ledger_t *ledger, const uint8_t *sha256)
{
    uint64_t           hash;
    unsigned           i, differs;
    cycles_ref_t       ref;
    cycles_api_key_t  *key, *found;

    memcpy(&hash, sha256, sizeof(hash));
    found = NULL;

    for (ref = *cycles_memory_bucket(ledger, &ledger->shm->api_keys, hash);
         ref;
         ref = key->next)
    {
        key = cycles_memory_at(ledger, ref);

        for (differs = 0, i = 0; i < 32; i++) {
            differs |= key->sha256[i] ^ sha256[i];
        }

        if (!differs) {
            found = key;
        }
    }

    return found;
}


static void
cycles_principal_fill(cycles_principal_t *who, const cycles_tenant_t *tenant)
{
    who->tenant_len = tenant->id_len;
    memcpy(who->tenant, tenant->tenant_id, tenant->id_len);
}


unsigned
cycles_ledger_units(cycles_ledger_t *ledger, const char *scope, size_t len)
{
    int           unit;
    unsigned      units;
    uint32_t      hash;
    cycles_str_t  text;

    text.len = len;
    text.data = (unsigned char *) scope;

    hash = cycles_scope_hash_str(text);
    units = 0;

    if (cycles_ledger_lock(ledger) != 0) {
        return 0;
    }

    for (unit = 0; unit < CYCLES_UNITS; unit++) {
        if (cycles_budget_find(ledger, scope, len, hash, unit)) {
            units |= 1u << unit;
        }
    }

    cycles_ledger_unlock(ledger);

    return units;
}


cycles_code_t
cycles_ledger_view(cycles_ledger_t *ledger, cycles_str_t id,
    cycles_view_t *view, int64_t now)
{
    uint8_t                 bin[16];
    cycles_code_t           code;
    const cycles_cell_t    *cell;
    const cycles_tenant_t  *tenant;

    memset(view, 0, sizeof(cycles_view_t));

    if (cycles_id_parse(id, bin) != 0) {
        return CYCLES_NOT_FOUND;
    }

    if (cycles_ledger_lock(ledger) != 0) {
        return CYCLES_INTERNAL_ERROR;
    }

    cell = cycles_cell_by_id(ledger, bin, CYCLES_CELL_RESERVATION);
    code = CYCLES_OK;

    if (cell) {
        view->status = cell->status;
        view->unit = cell->unit;
        view->reserved = cell->estimate;
        view->charged = cell->charged;
        view->expires_at_ms = cell->expires_at_ms;
        view->done_ms = cell->done_ms;
        view->record = cell->record;
        view->settle_record = cell->settle_record;

        if (cell->status == CYCLES_ACTIVE) {
            view->done_ms = 0;

            if (now > cell->expires_at_ms + cell->grace_ms) {
                view->status = CYCLES_EXPIRED;
            }
        }

        memcpy(view->segments, cell->segments, sizeof(view->segments));

        tenant = cycles_cell_tenant(ledger, cell);

        if (tenant) {
            cycles_principal_fill(&view->owner, tenant);
        }

    } else {
        code = cycles_id_missed(ledger, bin) ? CYCLES_LOOK_UP
                                             : CYCLES_NOT_FOUND;
    }

    cycles_ledger_unlock(ledger);

    return code;
}
