
/*
 * Copyright (C) nginx-cycles authors
 *
 * Bodies of answers of the admin plane.
 */


#include <stdio.h>
#include <string.h>

#include "../cycles_time.h"
#include "cycles_api_admin.h"


/* of a secret that only its owner has: what it is known by */
#define CYCLES_ADMIN_DIGITS  8


static void cycles_admin_write_key_members(cycles_json_t *js,
    const cycles_key_view_t *key);
static void cycles_admin_write_prefix(cycles_json_t *js,
    const cycles_key_def_t *key);
static void cycles_admin_write_text(cycles_json_t *js, const char *name,
    cycles_str_t text);
static void cycles_admin_write_time(cycles_json_t *js, const char *name,
    int64_t ms);
static void cycles_admin_write_object(cycles_json_t *js, const char *name,
    cycles_str_t text);
static void cycles_admin_write_policy(cycles_json_t *js, const char *name,
    unsigned policy);
static int cycles_admin_find(const char *const *names, cycles_str_t name);


static const char *const  cycles_admin_tenant_statuses[] = {
    "ACTIVE", "SUSPENDED", "CLOSED", NULL
};


static const char *const  cycles_admin_budget_statuses[] = {
    "ACTIVE", "FROZEN", "CLOSED", NULL
};


static const char *const  cycles_admin_key_statuses[] = {
    "ACTIVE", "REVOKED", "EXPIRED", NULL
};


static const char *const  cycles_admin_operations[] = {
    "CREDIT", "DEBIT", "RESET", "REPAY_DEBT", "RESET_SPENT"
};


void
cycles_admin_write_tenant(cycles_json_t *js, const cycles_tenant_def_t *t)
{
    cycles_json_begin(js);
    cycles_json_member_string(js, "tenant_id", t->tenant_id);
    cycles_json_member_string(js, "name", t->name.len ? t->name
                                                      : t->tenant_id);
    cycles_json_member_name(js, "status",
                            cycles_admin_tenant_statuses[t->status]);
    cycles_admin_write_text(js, "parent_tenant_id", t->parent_id);
    cycles_admin_write_policy(js, "default_commit_overage_policy", t->policy);

    if (t->default_ttl_ms >= 0) {
        cycles_json_member_integer(js, "default_reservation_ttl_ms",
                                   t->default_ttl_ms);
    }

    if (t->max_ttl_ms >= 0) {
        cycles_json_member_integer(js, "max_reservation_ttl_ms",
                                   t->max_ttl_ms);
    }

    if (t->max_extensions >= 0) {
        cycles_json_member_integer(js, "max_reservation_extensions",
                                   t->max_extensions);
    }

    cycles_json_member_name(js, "reservation_expiry_policy", "AUTO_RELEASE");
    cycles_admin_write_object(js, "metadata", t->metadata);
    cycles_admin_write_time(js, "created_at", t->created_ms);

    if (t->updated_ms) {
        cycles_admin_write_time(js, "updated_at", t->updated_ms);
    }

    if (t->suspended_ms) {
        cycles_admin_write_time(js, "suspended_at", t->suspended_ms);
    }

    if (t->closed_ms) {
        cycles_admin_write_time(js, "closed_at", t->closed_ms);
    }

    cycles_json_end(js);
}


/* the specification has no place for metadata here */

void
cycles_admin_write_budget(cycles_json_t *js, const cycles_budget_view_t *b)
{
    cycles_str_t   id;
    cycles_unit_t  unit;

    unit = b->def.unit;

    id.len = CYCLES_LEDGER_ID_LEN;
    id.data = (unsigned char *) b->ledger_id;

    cycles_json_begin(js);
    cycles_json_member_string(js, "ledger_id", id);
    cycles_admin_write_text(js, "tenant_id", b->tenant_id);
    cycles_json_member_string(js, "scope", b->def.scope);
    cycles_json_member_string(js, "scope_path", b->def.scope);
    cycles_json_member_name(js, "unit", cycles_unit_name(unit));
    cycles_api_write_amount(js, "allocated", unit, b->def.allocated);
    cycles_api_write_amount(js, "remaining", unit, b->remaining);
    cycles_api_write_amount(js, "reserved", unit, b->reserved);
    cycles_api_write_amount(js, "spent", unit, b->spent);
    cycles_api_write_amount(js, "debt", unit, b->debt);
    cycles_api_write_amount(js, "overdraft_limit", unit,
                            b->def.overdraft_limit);
    cycles_api_write_flag(js, "is_over_limit", b->over_limit);
    cycles_admin_write_policy(js, "commit_overage_policy", b->def.policy);
    cycles_json_member_name(js, "status",
                            cycles_admin_budget_statuses[b->def.status]);

    if (b->def.period.type != CYCLES_PERIOD_NONE) {
        cycles_admin_write_time(js, "period_start", b->def.period.start_ms);
        cycles_admin_write_time(js, "period_end", b->def.period.end_ms);
    }

    cycles_admin_write_time(js, "created_at", b->def.created_ms);

    if (b->def.updated_ms) {
        cycles_admin_write_time(js, "updated_at", b->def.updated_ms);
    }

    cycles_json_end(js);
}


void
cycles_admin_write_key(cycles_json_t *js, const cycles_key_view_t *key,
    int64_t now)
{
    const char              *status;
    const cycles_key_def_t  *def;

    def = &key->def;

    status = cycles_admin_key_statuses[def->status != CYCLES_KEY_ACTIVE];

    if (def->status == CYCLES_KEY_ACTIVE && def->expires_ms
        && now >= def->expires_ms)
    {
        status = cycles_admin_key_statuses[2];
    }

    cycles_json_begin(js);
    cycles_admin_write_key_members(js, key);
    cycles_admin_write_text(js, "name", def->name);
    cycles_admin_write_text(js, "description", def->description);

    if (def->scope_filter.len) {
        cycles_json_key(js, "scope_filter", 12);
        cycles_api_write_filter(js, def->scope_filter);
    }

    cycles_json_member_name(js, "status", status);

    if (def->revoked_ms) {
        cycles_admin_write_time(js, "revoked_at", def->revoked_ms);
    }

    cycles_admin_write_text(js, "revoked_reason", def->revoked_reason);
    cycles_admin_write_object(js, "metadata", def->metadata);
    cycles_json_end(js);
}


void
cycles_admin_write_new_key(cycles_json_t *js, const cycles_key_view_t *key,
    cycles_str_t secret)
{
    cycles_json_begin(js);
    cycles_json_member_string(js, "key_secret", secret);
    cycles_admin_write_key_members(js, key);
    cycles_json_end(js);
}


static void
cycles_admin_write_key_members(cycles_json_t *js,
    const cycles_key_view_t *key)
{
    cycles_str_t             id;
    const cycles_key_def_t  *def;

    def = &key->def;

    id.len = CYCLES_KEY_ID_LEN;
    id.data = (unsigned char *) key->key_id;

    cycles_json_member_string(js, "key_id", id);
    cycles_json_member_string(js, "tenant_id", def->tenant_id);
    cycles_admin_write_prefix(js, def);

    /* the others would not be valid here: introspection tells them */

    cycles_json_key(js, "permissions", 11);
    cycles_api_write_permissions(js,
                             def->permissions & CYCLES_NAMED_PERMISSIONS);

    cycles_admin_write_time(js, "created_at", def->created_ms);

    /* the specification wants a time where there is none */

    cycles_admin_write_time(js, "expires_at",
                            def->expires_ms ? def->expires_ms
                                            : CYCLES_MAX_TIME);
}


/* the ledger has never seen the secret of a key of the budgets file */

static void
cycles_admin_write_prefix(cycles_json_t *js, const cycles_key_def_t *key)
{
    char          text[sizeof("sha256:") + CYCLES_ADMIN_DIGITS];
    size_t        i, n;
    cycles_str_t  prefix;

    prefix = key->prefix;

    if (prefix.len == 0) {
        n = snprintf(text, sizeof(text), "sha256:");

        for (i = 0; i < CYCLES_ADMIN_DIGITS / 2; i++) {
            n += snprintf(text + n, sizeof(text) - n, "%02x",
                          key->sha256[i]);
        }

        prefix.len = n;
        prefix.data = (unsigned char *) text;
    }

    cycles_json_member_string(js, "key_prefix", prefix);
}


void
cycles_admin_write_funded(cycles_json_t *js, cycles_funding_op_t op,
    cycles_unit_t unit, const cycles_funded_t *funded)
{
    const cycles_funding_sums_t  *sums;

    sums = &funded->sums;

    cycles_json_begin(js);
    cycles_json_member_name(js, "operation", cycles_admin_operations[op]);
    cycles_api_write_amount(js, "previous_allocated", unit,
                            sums->previous_allocated);
    cycles_api_write_amount(js, "new_allocated", unit, sums->new_allocated);
    cycles_api_write_amount(js, "previous_remaining", unit,
                            sums->previous_remaining);
    cycles_api_write_amount(js, "new_remaining", unit, sums->new_remaining);
    cycles_api_write_amount(js, "previous_debt", unit, sums->previous_debt);
    cycles_api_write_amount(js, "new_debt", unit, sums->new_debt);
    cycles_api_write_amount(js, "previous_spent", unit,
                            sums->previous_spent);
    cycles_api_write_amount(js, "new_spent", unit, sums->new_spent);
    cycles_admin_write_time(js, "timestamp", funded->when_ms);
    cycles_json_end(js);
}


/* a member that is left out when it is empty */

static void
cycles_admin_write_text(cycles_json_t *js, const char *name,
    cycles_str_t text)
{
    if (text.len) {
        cycles_json_member_string(js, name, text);
    }
}


static void
cycles_admin_write_time(cycles_json_t *js, const char *name, int64_t ms)
{
    cycles_str_t   s;
    unsigned char  text[CYCLES_TIME_LEN];

    cycles_time_print(ms, text);

    s.len = CYCLES_TIME_LEN;
    s.data = text;

    cycles_json_member_string(js, name, s);
}


static void
cycles_admin_write_object(cycles_json_t *js, const char *name,
    cycles_str_t text)
{
    if (text.len) {
        cycles_json_key(js, name, strlen(name));
        cycles_json_raw(js, text.data, text.len);
    }
}


static void
cycles_admin_write_policy(cycles_json_t *js, const char *name,
    unsigned policy)
{
    if (policy != CYCLES_POLICY_NONE) {
        cycles_json_member_name(js, name, cycles_policy_name(policy));
    }
}


int
cycles_admin_tenant_status_find(cycles_str_t name)
{
    return cycles_admin_find(cycles_admin_tenant_statuses, name);
}


int
cycles_admin_budget_status_find(cycles_str_t name)
{
    return cycles_admin_find(cycles_admin_budget_statuses, name);
}


int
cycles_admin_key_status_find(cycles_str_t name)
{
    return cycles_admin_find(cycles_admin_key_statuses, name);
}


static int
cycles_admin_find(const char *const *names, cycles_str_t name)
{
    int  i;

    for (i = 0; names[i]; i++) {

        if (strlen(names[i]) == name.len
            && memcmp(names[i], name.data, name.len) == 0)
        {
            return i;
        }
    }

    return -1;
}
