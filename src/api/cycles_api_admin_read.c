
/*
 * Copyright (C) nginx-cycles authors
 *
 * Bodies of requests to the admin plane.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cycles_time.h"
#include "cycles_api_reader.h"
#include "cycles_api_admin.h"


/* of the specification, in characters */
#define CYCLES_ADMIN_MAX_NAME         256
#define CYCLES_ADMIN_MAX_DESCRIPTION  1024
#define CYCLES_ADMIN_MAX_PROPERTIES   32


typedef struct {
    cycles_api_reader_t       rd;
    cycles_admin_operation_t  op;
    cycles_admin_request_t   *rq;
} cycles_admin_reader_t;


typedef int (*cycles_admin_read_pt)(cycles_admin_reader_t *r, json_t *value,
    const char *path);

typedef struct {
    const char               *name;
    unsigned                  allowed;    /* operations */
    unsigned                  required;
    cycles_admin_read_pt      read;
} cycles_admin_member_t;


/* what "document" points to: values own the strings of the request */

typedef struct {
    json_t                   *root;
    char                     *metadata;
} cycles_admin_document_t;


static int cycles_admin_read_root(cycles_admin_reader_t *r, json_t *root);
static const cycles_admin_member_t *cycles_admin_member_find(const char *name,
    size_t len, cycles_admin_operation_t op);
static int cycles_admin_read_units(cycles_admin_reader_t *r, json_t *root);
static int cycles_admin_read_tenant_id(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_parent_id(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_id(cycles_admin_reader_t *r, json_t *value,
    const char *path, cycles_str_t *id);
static int cycles_admin_read_name(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_description(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_status(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_tenant_policy(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_default_ttl(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_max_ttl(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_extensions(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_expiry_policy(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_scope(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_unit(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_allocated(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_overdraft(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_budget_policy(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_rollover(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_period(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_operation(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_amount(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_spent(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_reason(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_idempotency(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_permissions(cycles_admin_reader_t *r,
    json_t *value, const char *path);
static int cycles_admin_read_filter(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_expires(cycles_admin_reader_t *r, json_t *value,
    const char *path);
static int cycles_admin_read_metadata(cycles_admin_reader_t *r,
    json_t *value, const char *path);


#define CYCLES_ADMIN_TENANT                                                   \
    (CYCLES_ADMIN_CREATE_TENANT|CYCLES_ADMIN_UPDATE_TENANT)
#define CYCLES_ADMIN_BUDGET                                                   \
    (CYCLES_ADMIN_CREATE_BUDGET|CYCLES_ADMIN_UPDATE_BUDGET)
#define CYCLES_ADMIN_KEY                                                      \
    (CYCLES_ADMIN_CREATE_KEY|CYCLES_ADMIN_UPDATE_KEY)


static const cycles_admin_member_t  cycles_admin_members[] = {
    { "tenant_id", CYCLES_ADMIN_CREATE_TENANT|CYCLES_ADMIN_CREATE_KEY
                   |CYCLES_ADMIN_CREATE_BUDGET,
      CYCLES_ADMIN_CREATE_TENANT|CYCLES_ADMIN_CREATE_KEY,
      cycles_admin_read_tenant_id },
    { "name", CYCLES_ADMIN_TENANT|CYCLES_ADMIN_KEY,
      CYCLES_ADMIN_CREATE_TENANT|CYCLES_ADMIN_CREATE_KEY,
      cycles_admin_read_name },

    { "parent_tenant_id", CYCLES_ADMIN_CREATE_TENANT, 0,
      cycles_admin_read_parent_id },
    { "status", CYCLES_ADMIN_UPDATE_TENANT, 0, cycles_admin_read_status },
    { "default_commit_overage_policy", CYCLES_ADMIN_TENANT, 0,
      cycles_admin_read_tenant_policy },
    { "default_reservation_ttl_ms", CYCLES_ADMIN_TENANT, 0,
      cycles_admin_read_default_ttl },
    { "max_reservation_ttl_ms", CYCLES_ADMIN_TENANT, 0,
      cycles_admin_read_max_ttl },
    { "max_reservation_extensions", CYCLES_ADMIN_TENANT, 0,
      cycles_admin_read_extensions },
    { "reservation_expiry_policy", CYCLES_ADMIN_CREATE_TENANT, 0,
      cycles_admin_read_expiry_policy },

    { "scope", CYCLES_ADMIN_CREATE_BUDGET, CYCLES_ADMIN_CREATE_BUDGET,
      cycles_admin_read_scope },
    { "unit", CYCLES_ADMIN_CREATE_BUDGET, CYCLES_ADMIN_CREATE_BUDGET,
      cycles_admin_read_unit },
    { "allocated", CYCLES_ADMIN_CREATE_BUDGET, CYCLES_ADMIN_CREATE_BUDGET,
      cycles_admin_read_allocated },
    { "overdraft_limit", CYCLES_ADMIN_BUDGET, 0,
      cycles_admin_read_overdraft },
    { "commit_overage_policy", CYCLES_ADMIN_BUDGET, 0,
      cycles_admin_read_budget_policy },
    { "rollover_policy", CYCLES_ADMIN_CREATE_BUDGET, 0,
      cycles_admin_read_rollover },
    { "period_start", CYCLES_ADMIN_CREATE_BUDGET, 0,
      cycles_admin_read_period },
    { "period_end", CYCLES_ADMIN_CREATE_BUDGET, 0, cycles_admin_read_period },

    { "operation", CYCLES_ADMIN_FUND_BUDGET, CYCLES_ADMIN_FUND_BUDGET,
      cycles_admin_read_operation },
    { "amount", CYCLES_ADMIN_FUND_BUDGET, CYCLES_ADMIN_FUND_BUDGET,
      cycles_admin_read_amount },
    { "spent", CYCLES_ADMIN_FUND_BUDGET, 0, cycles_admin_read_spent },
    { "reason", CYCLES_ADMIN_FUND_BUDGET|CYCLES_ADMIN_CHANGE_STATUS, 0,
      cycles_admin_read_reason },
    { "idempotency_key", CYCLES_ADMIN_FUND_BUDGET, 0,
      cycles_admin_read_idempotency },

    { "description", CYCLES_ADMIN_KEY, 0, cycles_admin_read_description },
    { "permissions", CYCLES_ADMIN_KEY, 0, cycles_admin_read_permissions },
    { "scope_filter", CYCLES_ADMIN_KEY, 0, cycles_admin_read_filter },
    { "expires_at", CYCLES_ADMIN_CREATE_KEY, 0, cycles_admin_read_expires },

    { "metadata", CYCLES_ADMIN_TENANT|CYCLES_ADMIN_BUDGET|CYCLES_ADMIN_KEY
                  |CYCLES_ADMIN_FUND_BUDGET|CYCLES_ADMIN_CHANGE_STATUS, 0,
      cycles_admin_read_metadata },
    { NULL, 0, 0, NULL }
};


static const char *const  cycles_admin_fundings[] = {
    "CREDIT", "DEBIT", "RESET", "REPAY_DEBT", "RESET_SPENT"
};


int
cycles_admin_read(cycles_admin_request_t *rq, cycles_admin_operation_t op,
    const unsigned char *text, size_t len, char *err, size_t errlen)
{
    int                       rc;
    cycles_admin_reader_t     r;
    cycles_admin_document_t  *doc;

    memset(rq, 0, sizeof(cycles_admin_request_t));

    rq->code = CYCLES_INVALID_REQUEST;
    rq->tenant.policy = CYCLES_POLICY_NONE;
    rq->tenant.default_ttl_ms = -1;
    rq->tenant.max_ttl_ms = -1;
    rq->tenant.max_extensions = -1;
    rq->budget.policy = CYCLES_POLICY_NONE;
    rq->key.permissions = CYCLES_DEFAULT_PERMISSIONS;
    rq->funding.spent = -1;

    r.rd.rq = NULL;
    r.rd.err = err;
    r.rd.errlen = errlen;
    r.op = op;
    r.rq = rq;

    doc = calloc(1, sizeof(cycles_admin_document_t));

    if (doc == NULL) {
        rq->code = CYCLES_INTERNAL_ERROR;
        return cycles_api_fail(&r.rd, "The body does not fit into memory");
    }

    rq->document = doc;

    /* a reason for freezing may be given, and so may a body */

    doc->root = (len == 0 && op == CYCLES_ADMIN_CHANGE_STATUS)
                ? json_object() : cycles_api_parse(&r.rd, text, len);

    rc = doc->root ? cycles_admin_read_root(&r, doc->root) : -1;

    if (rc != 0) {
        cycles_admin_free(rq);
    }

    return rc;
}


void
cycles_admin_free(cycles_admin_request_t *rq)
{
    cycles_admin_document_t  *doc;

    doc = rq->document;

    if (doc) {
        json_decref(doc->root);
        free(doc->metadata);
        free(doc);
        rq->document = NULL;
    }
}


static int
cycles_admin_read_root(cycles_admin_reader_t *r, json_t *root)
{
    void                         *iter;
    size_t                        len;
    const char                   *name;
    const cycles_admin_member_t  *member;

    for (member = cycles_admin_members; member->name; member++) {

        if ((member->required & r->op)
            && json_object_get(root, member->name) == NULL)
        {
            return cycles_api_fail(&r->rd, "\"%s\" is missing", member->name);
        }
    }

    for (iter = json_object_iter(root);
         iter;
         iter = json_object_iter_next(root, iter))
    {
        name = json_object_iter_key(iter);
        len = json_object_iter_key_len(iter);
        member = cycles_admin_member_find(name, len, r->op);

        if (member == NULL) {
            return cycles_api_unknown(&r->rd, NULL, name, len);
        }

        if (member->read(r, json_object_iter_value(iter), member->name) != 0)
        {
            return -1;
        }
    }

    return cycles_admin_read_units(r, root);
}


static const cycles_admin_member_t *
cycles_admin_member_find(const char *name, size_t len,
    cycles_admin_operation_t op)
{
    const cycles_admin_member_t  *member;

    for (member = cycles_admin_members; member->name; member++) {

        if ((member->allowed & op) && strlen(member->name) == len
            && memcmp(member->name, name, len) == 0)
        {
            return member;
        }
    }

    return NULL;
}


/* members come in any order, so their units are compared at the end */

static int
cycles_admin_read_units(cycles_admin_reader_t *r, json_t *root)
{
    unsigned     i;
    json_t      *amount;
    const char  *unit, *other;

    static const char *const  amounts[] = {
        "allocated", "overdraft_limit", "amount", "spent", NULL
    };

    unit = json_string_value(json_object_get(root, "unit"));

    for (i = 0; amounts[i]; i++) {
        amount = json_object_get(root, amounts[i]);

        if (amount == NULL) {
            continue;
        }

        other = json_string_value(json_object_get(amount, "unit"));

        if (unit && strcmp(unit, other) != 0) {
            r->rq->code = CYCLES_UNIT_MISMATCH;
            return cycles_api_fail(&r->rd, "\"%s.unit\" must be %s, the unit "
                                   "of the budget", amounts[i], unit);
        }

        unit = other;
    }

    return 0;
}


int
cycles_admin_tenant_id_ok(cycles_str_t id)
{
    size_t         i;
    unsigned char  ch;

    for (i = 0; i < id.len; i++) {
        ch = id.data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '-'))
        {
            return 0;
        }
    }

    return id.len >= 3 && id.len <= CYCLES_MAX_TENANT_ID;
}


static int
cycles_admin_read_tenant_id(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    cycles_str_t  *id;

    id = &r->rq->tenant_id;

    if (cycles_admin_read_id(r, value, path, id) != 0) {
        return -1;
    }

    if (r->op == CYCLES_ADMIN_CREATE_TENANT
        && !cycles_admin_tenant_id_ok(*id))
    {
        return cycles_api_fail(&r->rd, "\"%s\" must have 3 to 64 lower-case "
                               "letters, digits and \"-\"", path);
    }

    r->rq->tenant.tenant_id = *id;
    r->rq->key.tenant_id = *id;

    return 0;
}


static int
cycles_admin_read_parent_id(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    return cycles_admin_read_id(r, value, path, &r->rq->tenant.parent_id);
}


/* what the budgets file takes is more than what may be created here */

static int
cycles_admin_read_id(cycles_admin_reader_t *r, json_t *value,
    const char *path, cycles_str_t *id)
{
    size_t  i;

    if (cycles_api_string(&r->rd, value, path, 1, CYCLES_MAX_TENANT_ID, id)
        != 0)
    {
        return -1;
    }

    for (i = 0; i < id->len; i++) {
        if (id->data[i] >= 'A' && id->data[i] <= 'Z') {
            break;
        }
    }

    if (i < id->len || !cycles_subject_value_ok(id->data, id->len)) {
        return cycles_api_fail(&r->rd, "\"%s\" must have only lower-case "
                               "letters, digits, \".\", \"_\" and \"-\"",
                               path);
    }

    return 0;
}


static int
cycles_admin_read_name(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    r->rq->set |= CYCLES_SET_NAME;

    if (cycles_api_string(&r->rd, value, path, 1, CYCLES_ADMIN_MAX_NAME,
                          &r->rq->tenant.name)
        != 0)
    {
        return -1;
    }

    r->rq->key.name = r->rq->tenant.name;

    return 0;
}


static int
cycles_admin_read_description(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    r->rq->set |= CYCLES_SET_DESCRIPTION;

    return cycles_api_string(&r->rd, value, path, 0,
                             CYCLES_ADMIN_MAX_DESCRIPTION,
                             &r->rq->key.description);
}


static int
cycles_admin_read_status(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    int           status;
    cycles_str_t  name;

    name.len = json_string_length(value);
    name.data = (unsigned char *) json_string_value(value);

    status = name.data ? cycles_admin_tenant_status_find(name) : -1;

    if (status == -1) {
        return cycles_api_fail(&r->rd, "\"%s\" must be ACTIVE, SUSPENDED or "
                               "CLOSED", path);
    }

    r->rq->set |= CYCLES_SET_STATUS;
    r->rq->tenant.status = status;

    return 0;
}


static int
cycles_admin_read_tenant_policy(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    cycles_policy_t  policy;

    if (cycles_api_policy(&r->rd, value, path, &policy) != 0) {
        return -1;
    }

    r->rq->set |= CYCLES_SET_POLICY;
    r->rq->tenant.policy = policy;

    return 0;
}


static int
cycles_admin_read_default_ttl(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    r->rq->set |= CYCLES_SET_DEFAULT_TTL;

    return cycles_api_integer(&r->rd, value, path, CYCLES_MIN_TTL_MS,
                              CYCLES_MAX_TTL_MS,
                              &r->rq->tenant.default_ttl_ms);
}


static int
cycles_admin_read_max_ttl(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    r->rq->set |= CYCLES_SET_MAX_TTL;

    return cycles_api_integer(&r->rd, value, path, CYCLES_MIN_TTL_MS,
                              CYCLES_MAX_TTL_MS, &r->rq->tenant.max_ttl_ms);
}


static int
cycles_admin_read_extensions(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    r->rq->set |= CYCLES_SET_MAX_EXTENSIONS;

    return cycles_api_integer(&r->rd, value, path, 0, INT64_MAX,
                              &r->rq->tenant.max_extensions);
}


/* the ledger does nothing else with what has expired */

static int
cycles_admin_read_expiry_policy(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    const char  *name;

    name = json_string_value(value);

    if (name == NULL || strcmp(name, "AUTO_RELEASE") != 0) {
        return cycles_api_fail(&r->rd, "\"%s\" must be AUTO_RELEASE, the one "
                               "that this server has", path);
    }

    return 0;
}


/* upper and lower case are the same in scopes */

static int
cycles_admin_read_scope(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    size_t         i;
    const char    *wrong;
    cycles_str_t   text, *scope;

    if (cycles_api_string(&r->rd, value, path, 1, CYCLES_MAX_SCOPE, &text)
        != 0)
    {
        return -1;
    }

    if (text.len > CYCLES_MAX_SCOPE) {
        return cycles_api_fail(&r->rd, "\"%s\" is too long", path);
    }

    scope = &r->rq->budget.scope;
    scope->data = (unsigned char *) r->rq->scope;
    scope->len = text.len;

    for (i = 0; i < text.len; i++) {
        scope->data[i] = (text.data[i] >= 'A' && text.data[i] <= 'Z')
                         ? (text.data[i] | 0x20) : text.data[i];
    }

    wrong = cycles_scope_check(scope->data, scope->len);

    if (wrong) {
        return cycles_api_fail(&r->rd, "\"%s\" %s", path, wrong);
    }

    if (scope->len < 8 || memcmp(scope->data, "tenant:", 7) != 0) {
        return cycles_api_fail(&r->rd, "\"%s\" must begin with \"tenant:\"",
                               path);
    }

    return 0;
}


static int
cycles_admin_read_unit(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    return cycles_api_unit(&r->rd, value, path, &r->rq->budget.unit);
}


static int
cycles_admin_read_allocated(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    cycles_unit_t  unit;

    return cycles_api_amount(&r->rd, value, path, &unit,
                             &r->rq->budget.allocated);
}


static int
cycles_admin_read_overdraft(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    r->rq->set |= CYCLES_SET_OVERDRAFT;

    return cycles_api_amount(&r->rd, value, path, &r->rq->amount_unit,
                             &r->rq->budget.overdraft_limit);
}


static int
cycles_admin_read_budget_policy(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    cycles_policy_t  policy;

    if (cycles_api_policy(&r->rd, value, path, &policy) != 0) {
        return -1;
    }

    r->rq->set |= CYCLES_SET_POLICY;
    r->rq->budget.policy = policy;

    return 0;
}


static int
cycles_admin_read_rollover(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    const char  *name;

    name = json_string_value(value);

    if (name == NULL || strcmp(name, "NONE") != 0) {
        return cycles_api_fail(&r->rd, "\"%s\" must be NONE, the one that "
                               "this server has", path);
    }

    return 0;
}


static int
cycles_admin_read_period(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    return cycles_api_fail(&r->rd, "\"%s\" can't be given here: the budgets "
                           "file of the server declares periods", path);
}


static int
cycles_admin_read_operation(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    unsigned     i;
    const char  *name;

    name = json_string_value(value);

    for (i = 0; name && i < CYCLES_FUNDINGS; i++) {
        if (strcmp(cycles_admin_fundings[i], name) == 0) {
            r->rq->funding.operation = i;
            return 0;
        }
    }

    return cycles_api_fail(&r->rd, "\"%s\" must be CREDIT, DEBIT, RESET, "
                           "REPAY_DEBT or RESET_SPENT", path);
}


static int
cycles_admin_read_amount(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    return cycles_api_amount(&r->rd, value, path, &r->rq->amount_unit,
                             &r->rq->funding.amount);
}


static int
cycles_admin_read_spent(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    cycles_unit_t  unit;

    return cycles_api_amount(&r->rd, value, path, &unit,
                             &r->rq->funding.spent);
}


static int
cycles_admin_read_reason(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    return cycles_api_string(&r->rd, value, path, 0, CYCLES_ADMIN_MAX_REASON,
                             &r->rq->reason);
}


static int
cycles_admin_read_idempotency(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    return cycles_api_string(&r->rd, value, path, 1,
                             CYCLES_MAX_IDEMPOTENCY_KEY,
                             &r->rq->funding.idempotency_key);
}


static int
cycles_admin_read_permissions(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    int            n;
    size_t         i;
    json_t        *item;
    uint32_t       permissions;
    cycles_str_t   name;

    if (!json_is_array(value)) {
        return cycles_api_fail(&r->rd, "\"%s\" must be an array", path);
    }

    permissions = 0;

    json_array_foreach(value, i, item) {
        name.len = json_string_length(item);
        name.data = (unsigned char *) json_string_value(item);

        n = name.data ? cycles_permission_find(name.data, name.len) : -1;

        if (n == -1) {
            return cycles_api_fail(&r->rd, "\"%s\" has an item that is not a "
                                   "permission: %.*s", path,
                                   name.len > 64 ? 64 : (int) name.len,
                                   name.data ? (char *) name.data : "");
        }

        permissions |= CYCLES_PERMIT(n);
    }

    r->rq->set |= CYCLES_SET_PERMISSIONS;
    r->rq->key.permissions = cycles_permissions_reduce(permissions);

    return 0;
}


static int
cycles_admin_read_filter(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    const char    *wrong;
    cycles_str_t  *filter;

    filter = &r->rq->key.scope_filter;
    filter->data = (unsigned char *) r->rq->filter;

    wrong = cycles_filter_read(value, r->rq->filter, &filter->len);

    if (wrong) {
        return cycles_api_fail(&r->rd, "\"%s\" %s", path, wrong);
    }

    r->rq->set |= CYCLES_SET_SCOPE_FILTER;

    return 0;
}


static int
cycles_admin_read_expires(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    const char  *text;

    text = json_string_value(value);

    if (text == NULL
        || cycles_time_parse((const unsigned char *) text,
                             json_string_length(value), 0,
                             &r->rq->key.expires_ms)
           != 0
        || r->rq->key.expires_ms <= 0
        || r->rq->key.expires_ms > CYCLES_MAX_TIME)
    {
        return cycles_api_fail(&r->rd, "\"%s\" must be a date-time such as "
                               "2030-12-31T23:59:59Z", path);
    }

    return 0;
}


static int
cycles_admin_read_metadata(cycles_admin_reader_t *r, json_t *value,
    const char *path)
{
    void                     *iter;
    cycles_str_t             *metadata;
    cycles_admin_document_t  *doc;

    if (!json_is_object(value)) {
        return cycles_api_fail(&r->rd, "\"%s\" must be an object", path);
    }

    if (r->op & CYCLES_ADMIN_TENANT) {

        if (json_object_size(value) > CYCLES_ADMIN_MAX_PROPERTIES) {
            return cycles_api_fail(&r->rd, "\"%s\" must have at most %d "
                                   "members", path,
                                   CYCLES_ADMIN_MAX_PROPERTIES);
        }

        for (iter = json_object_iter(value);
             iter;
             iter = json_object_iter_next(value, iter))
        {
            if (!json_is_string(json_object_iter_value(iter))) {
                return cycles_api_fail(&r->rd, "\"%s\" must have only "
                                       "strings", path);
            }
        }
    }

    doc = r->rq->document;
    metadata = &r->rq->metadata;

    if (cycles_api_canonical(&r->rd, value, path,
                             CYCLES_MAX_DEFINED_METADATA, &doc->metadata,
                             metadata)
        != 0)
    {
        return -1;
    }

    r->rq->set |= CYCLES_SET_METADATA;
    r->rq->tenant.metadata = *metadata;
    r->rq->budget.metadata = *metadata;
    r->rq->key.metadata = *metadata;

    return 0;
}
