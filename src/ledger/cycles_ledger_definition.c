
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the budgets file and the admin plane share: definitions out of the
 * memory, and back into it by way of the log.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_ledger_core.h"


static cycles_str_t cycles_text_str(cycles_ledger_t *ledger,
    const cycles_text_t *text);
static void cycles_number_digest(cycles_ledger_t *ledger, const char *what,
    uint32_t id, cycles_digest_t *digest);
static size_t cycles_text_memory(size_t len);


/* strings point into the memory: they are good as long as the lock is held */

void
cycles_tenant_fill(cycles_ledger_t *ledger, cycles_tenant_t *tenant,
    cycles_tenant_def_t *def)
{
    def->tenant_id.len = tenant->id_len;
    def->tenant_id.data = tenant->tenant_id;
    def->name = cycles_text_str(ledger, &tenant->name);
    def->parent_id = cycles_text_str(ledger, &tenant->parent);
    def->metadata = cycles_text_str(ledger, &tenant->metadata);
    def->status = tenant->status;
    def->policy = tenant->policy;
    def->default_ttl_ms = tenant->default_ttl_ms;
    def->max_ttl_ms = tenant->max_ttl_ms;
    def->max_extensions = tenant->max_extensions;
    def->created_ms = tenant->created_ms;
    def->updated_ms = tenant->updated_ms;
    def->suspended_ms = tenant->suspended_ms;
    def->closed_ms = tenant->closed_ms;
    def->declared = tenant->declared;
}


void
cycles_budget_fill(cycles_ledger_t *ledger, cycles_budget_t *budget,
    cycles_budget_def_t *def)
{
    cycles_shm_caps_t  *caps;

    memset(def, 0, sizeof(cycles_budget_def_t));

    def->scope.len = budget->scope_len;
    def->scope.data = budget->scope;
    def->metadata = cycles_text_str(ledger, &budget->metadata);
    def->unit = budget->unit;
    def->status = budget->status;
    def->policy = budget->policy;
    def->allocated = budget->allocated;
    def->overdraft_limit = budget->overdraft_limit;
    def->created_ms = budget->created_ms;
    def->updated_ms = budget->updated_ms;

    cycles_period_fill(ledger, budget, &def->period);

    def->declared.known = budget->declared;
    def->declared.policy = budget->declared_policy;
    def->declared.allocated = budget->declared_allocated;
    def->declared.overdraft_limit = budget->declared_overdraft;

    if (budget->caps == 0) {
        return;
    }

    caps = cycles_memory_at(ledger, budget->caps);

    def->has_caps = 1;
    def->above_percent = budget->above_percent;
    def->caps.max_tokens = caps->max_tokens;
    def->caps.max_steps_remaining = caps->max_steps_remaining;
    def->caps.cooldown_ms = caps->cooldown_ms;
    def->caps.tool_allowlist.len = caps->allow_len;
    def->caps.tool_allowlist.data = caps->text;
    def->caps.tool_denylist.len = caps->deny_len;
    def->caps.tool_denylist.data = caps->text + caps->allow_len;
}


void
cycles_period_fill(cycles_ledger_t *ledger, cycles_budget_t *budget,
    cycles_period_t *period)
{
    period->type = budget->period;
    period->every = budget->every;
    period->timezone = cycles_text_str(ledger, &budget->timezone);
    period->length_ms = budget->period_ms;
    period->start_ms = budget->period_start_ms;
    period->end_ms = budget->period_end_ms;
}


void
cycles_key_fill(cycles_ledger_t *ledger, cycles_api_key_t *key,
    cycles_key_def_t *def)
{
    cycles_tenant_t  *tenant;

    tenant = cycles_memory_at(ledger, key->tenant);

    def->tenant_id.len = tenant->id_len;
    def->tenant_id.data = tenant->tenant_id;
    def->name = cycles_text_str(ledger, &key->name);
    def->description = cycles_text_str(ledger, &key->description);
    def->prefix.len = key->prefix_len;
    def->prefix.data = key->prefix;
    def->scope_filter = cycles_text_str(ledger, &key->scope_filter);
    def->revoked_reason = cycles_text_str(ledger, &key->revoked_reason);
    def->metadata = cycles_text_str(ledger, &key->metadata);
    def->status = key->status;
    def->permissions = key->permissions;
    def->created_ms = key->created_ms;
    def->expires_ms = key->expires_ms;
    def->revoked_ms = key->revoked_ms;
    def->declared = key->declared;
    memcpy(def->sha256, key->sha256, 32);
}


/* the record that ends a key */

void
cycles_key_end(cycles_ledger_t *ledger, cycles_api_key_t *key,
    cycles_key_status_t status, cycles_str_t reason, cycles_record_t *rec,
    int64_t now)
{
    rec->type = CYCLES_RECORD_API_KEY;
    rec->def_id = key->id;

    cycles_key_fill(ledger, key, &rec->api_key);

    rec->api_key.status = status;
    rec->api_key.revoked_ms = now;
    rec->api_key.revoked_reason = reason;
}


static cycles_str_t
cycles_text_str(cycles_ledger_t *ledger, const cycles_text_t *text)
{
    cycles_str_t  str;

    str.len = text->len;
    str.data = text->ref ? cycles_memory_at(ledger, text->ref) : NULL;

    return str;
}


/*
 * Ids that need no place of their own: they follow from the number of the
 * definition and the uuid of the ledger.
 */

void
cycles_ledger_id_print(cycles_ledger_t *ledger, uint32_t id,
    unsigned char *text)
{
    char             buf[CYCLES_LEDGER_ID_LEN + 1];
    cycles_digest_t  digest;

    cycles_number_digest(ledger, "ledger_id", id, &digest);

    digest.bytes[6] = (digest.bytes[6] & 0x0f) | 0x40;
    digest.bytes[8] = (digest.bytes[8] & 0x3f) | 0x80;

    cycles_id_print(digest.bytes, buf);
    memcpy(text, buf, CYCLES_LEDGER_ID_LEN);
}


void
cycles_key_id_print(cycles_ledger_t *ledger, uint32_t id,
    unsigned char *text)
{
    char             buf[CYCLES_KEY_ID_LEN + 1];
    cycles_digest_t  digest;

    cycles_number_digest(ledger, "key_id", id, &digest);

    snprintf(buf, sizeof(buf), "key_%08x%08x", id,
             cycles_get32(digest.bytes));
    memcpy(text, buf, CYCLES_KEY_ID_LEN);
}


cycles_api_key_t *
cycles_key_by_id(cycles_ledger_t *ledger, cycles_str_t key_id)
{
    char           number[9];
    uint32_t       id;
    unsigned char  want[CYCLES_KEY_ID_LEN];

    if (key_id.len != CYCLES_KEY_ID_LEN) {
        return NULL;
    }

    memcpy(number, key_id.data + 4, 8);
    number[8] = '\0';

    id = strtoul(number, NULL, 16);
    cycles_key_id_print(ledger, id, want);

    if (memcmp(key_id.data, want, CYCLES_KEY_ID_LEN) != 0) {
        return NULL;
    }

    return cycles_directory_at(ledger, &ledger->shm->api_keys_by_id, id);
}


static void
cycles_number_digest(cycles_ledger_t *ledger, const char *what, uint32_t id,
    cycles_digest_t *digest)
{
    cycles_siphash_t  h;

    cycles_digest_begin(ledger, &h, what);
    cycles_digest_int(&h, id);
    cycles_siphash_final(&h, digest);
}


/* the tenant that a scope belongs to; NULL: none, or none that is known */

cycles_tenant_t *
cycles_scope_tenant(cycles_ledger_t *ledger, cycles_str_t scope)
{
    cycles_str_t  id;

    id = cycles_scope_tenant_id(scope);

    return id.len ? cycles_tenant_find(ledger, id.data, id.len) : NULL;
}


cycles_str_t
cycles_scope_tenant_id(cycles_str_t scope)
{
    cycles_str_t    id;
    unsigned char  *slash;

    id.len = 0;
    id.data = NULL;

    if (scope.len > 7 && memcmp(scope.data, "tenant:", 7) == 0) {
        slash = memchr(scope.data, '/', scope.len);

        id.data = scope.data + 7;
        id.len = (slash ? slash : scope.data + scope.len) - id.data;
    }

    return id;
}


/* what the record of a definition takes of the memory, at most */

size_t
cycles_definition_memory(const cycles_record_t *rec)
{
    const cycles_key_def_t     *key;
    const cycles_budget_def_t  *budget;

    switch (rec->type) {

    case CYCLES_RECORD_TENANT:
        return CYCLES_LINE + cycles_text_memory(sizeof(cycles_tenant_t))
               + cycles_text_memory(rec->tenant.name.len)
               + cycles_text_memory(rec->tenant.parent_id.len)
               + cycles_text_memory(rec->tenant.metadata.len);

    case CYCLES_RECORD_BUDGET:
        budget = &rec->budget;

        return CYCLES_LINE
               + cycles_text_memory(sizeof(cycles_budget_t)
                                    + budget->scope.len)
               + cycles_text_memory(budget->metadata.len)
               + cycles_text_memory(budget->period.timezone.len)
               + cycles_text_memory(sizeof(cycles_shm_caps_t)
                                    + budget->caps.tool_allowlist.len
                                    + budget->caps.tool_denylist.len);

    case CYCLES_RECORD_API_KEY:
        key = &rec->api_key;

        return cycles_text_memory(sizeof(cycles_api_key_t))
               + cycles_text_memory(key->name.len)
               + cycles_text_memory(key->description.len)
               + cycles_text_memory(key->scope_filter.len)
               + cycles_text_memory(key->revoked_reason.len)
               + cycles_text_memory(key->metadata.len);

    default:
        return 0;
    }
}


static size_t
cycles_text_memory(size_t len)
{
    return (len + CYCLES_GRANULE - 1) & ~(size_t) (CYCLES_GRANULE - 1);
}


/*
 * Writes the record of a definition and applies it.  A new one may be the
 * first of a chunk of its directory.
 */

int
cycles_definition_commit(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now)
{
    size_t  size;

    size = cycles_definition_memory(rec)
           + CYCLES_DIRECTORY_CHUNK * sizeof(cycles_ref_t);

    if (cycles_defs_room(ledger) < size) {
        cycles_ledger_trouble_set(ledger, "the definitions need a larger "
                                  "zone than %zu bytes", ledger->size);
        return -1;
    }

    return cycles_log_commit(ledger, rec, now, ledger->shm->nlive);
}
