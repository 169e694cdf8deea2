
/*
 * Copyright (C) nginx-cycles authors
 *
 * The budgets file.  It decides about money, so it is read strictly: what is
 * not understood is an error, and each error names the place in the file.
 */


#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "../cycles_time.h"
#include "cycles_budgets.h"


#define CYCLES_TEXT_CHUNK  65536


typedef struct cycles_text_s  cycles_text_t;

struct cycles_text_s {
    cycles_text_t      *next;
    size_t              used;
    size_t              size;
    unsigned char       data[];
};


typedef struct {
    cycles_budgets_t   *budgets;
    char                path[128];       /* of the value that is looked at */
    cycles_str_t       *zones;           /* that are known to be there */
    size_t              nzones;
    char               *err;
    size_t              errlen;
} cycles_parser_t;


static int cycles_parse_root(cycles_parser_t *parser, json_t *root);
static int cycles_parse_list(cycles_parser_t *parser, json_t *root,
    const char *name, void **list, size_t *n, size_t size,
    int (*parse)(cycles_parser_t *parser, json_t *value, void *item));
static int cycles_parse_tenant(cycles_parser_t *parser, json_t *value,
    void *item);
static int cycles_parse_budget(cycles_parser_t *parser, json_t *value,
    void *item);
static int cycles_parse_api_key(cycles_parser_t *parser, json_t *value,
    void *item);
static int cycles_parse_permissions(cycles_parser_t *parser, json_t *value,
    uint32_t *permissions);
static int cycles_parse_filter(cycles_parser_t *parser, json_t *value,
    cycles_str_t *filter);
static int cycles_parse_caps(cycles_parser_t *parser, json_t *value,
    cycles_budget_def_t *def);
static int cycles_parse_tools(cycles_parser_t *parser, json_t *caps,
    const char *name, cycles_str_t *text);
static int cycles_parse_period(cycles_parser_t *parser, json_t *value,
    cycles_period_t *period);
static int cycles_parse_calendar(cycles_parser_t *parser, json_t *value,
    cycles_period_t *period);
static int cycles_check_zone(cycles_parser_t *parser, cycles_str_t *name);
static int cycles_check_duplicates(cycles_parser_t *parser);
static int cycles_budget_cmp(const void *a, const void *b);
static int cycles_tenant_cmp(const void *a, const void *b);
static int cycles_key_cmp(const void *a, const void *b);
static int cycles_bytes_cmp(cycles_str_t a, cycles_str_t b);

static int cycles_members(cycles_parser_t *parser, json_t *value,
    const char *const *names);
static int cycles_get_string(cycles_parser_t *parser, json_t *object,
    const char *name, int required, size_t max, cycles_str_t *str);
static int cycles_get_int(cycles_parser_t *parser, json_t *object,
    const char *name, int64_t min, int64_t max, int64_t *n);
static int cycles_get_amount(cycles_parser_t *parser, json_t *object,
    const char *name, int required, cycles_unit_t unit, int64_t *amount);
static int cycles_get_policy(cycles_parser_t *parser, json_t *object,
    const char *name, unsigned *policy);
static int cycles_get_sha256(cycles_parser_t *parser, json_t *object,
    const char *name, uint8_t *sha256);
static int cycles_text_copy(cycles_parser_t *parser, const char *data,
    size_t len, cycles_str_t *str);
static int cycles_fail(cycles_parser_t *parser, const char *name,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int cycles_fail_unknown(cycles_parser_t *parser, const char *name,
    const char *const *names);


static const char *const  cycles_root_members[] = {
    "tenants", "budgets", "api_keys", "admin_key_sha256", NULL
};


static const char *const  cycles_tenant_members[] = {
    "tenant_id", "name", "default_commit_overage_policy",
    "default_reservation_ttl_ms", "max_reservation_ttl_ms",
    "max_reservation_extensions", NULL
};


static const char *const  cycles_budget_members[] = {
    "scope", "unit", "allocated", "overdraft_limit",
    "commit_overage_policy", "period", "caps", NULL
};


static const char *const  cycles_caps_members[] = {
    "above_percent", "max_tokens", "max_steps_remaining", "cooldown_ms",
    "tool_allowlist", "tool_denylist", NULL
};


static const char *const  cycles_calendar_members[] = {
    "type", "every", "timezone", NULL
};


static const char *const  cycles_rolling_members[] = {
    "type", "seconds", NULL
};


static const char *const  cycles_api_key_members[] = {
    "tenant_id", "name", "secret_sha256", "permissions", "scope_filter",
    "expires_at", NULL
};


static const char *const  cycles_amount_members[] = {
    "unit", "amount", NULL
};


cycles_budgets_t *
cycles_budgets_parse(const char *json, size_t len, char *err, size_t errlen)
{
    int                rc;
    json_t            *root;
    json_error_t       error;
    cycles_parser_t    parser;

    root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error);

    if (root == NULL) {
        snprintf(err, errlen, "line %d, column %d: %s, correct the JSON there",
                 error.line, error.column, error.text);
        return NULL;
    }

    parser.err = err;
    parser.errlen = errlen;
    parser.path[0] = '\0';
    parser.zones = NULL;
    parser.nzones = 0;
    parser.budgets = calloc(1, sizeof(cycles_budgets_t));

    if (parser.budgets == NULL) {
        snprintf(err, errlen, "out of memory");
        json_decref(root);
        return NULL;
    }

    rc = cycles_parse_root(&parser, root);

    json_decref(root);
    free(parser.zones);

    if (rc != 0) {
        cycles_budgets_free(parser.budgets);
        return NULL;
    }

    return parser.budgets;
}


void
cycles_budgets_free(cycles_budgets_t *budgets)
{
    cycles_text_t  *text, *next;

    for (text = budgets->texts; text; text = next) {
        next = text->next;
        free(text);
    }

    free(budgets->tenants);
    free(budgets->budgets);
    free(budgets->api_keys);
    free(budgets);
}


static int
cycles_parse_root(cycles_parser_t *parser, json_t *root)
{
    cycles_budgets_t  *budgets;

    budgets = parser->budgets;

    if (cycles_members(parser, root, cycles_root_members) != 0
        || cycles_parse_list(parser, root, "tenants",
                             (void **) &budgets->tenants, &budgets->ntenants,
                             sizeof(cycles_tenant_def_t),
                             cycles_parse_tenant)
           != 0
        || cycles_parse_list(parser, root, "budgets",
                             (void **) &budgets->budgets, &budgets->nbudgets,
                             sizeof(cycles_budget_def_t),
                             cycles_parse_budget)
           != 0
        || cycles_parse_list(parser, root, "api_keys",
                             (void **) &budgets->api_keys,
                             &budgets->napi_keys, sizeof(cycles_key_def_t),
                             cycles_parse_api_key)
           != 0)
    {
        return -1;
    }

    if (json_object_get(root, "admin_key_sha256")) {
        budgets->has_admin_key = 1;

        if (cycles_get_sha256(parser, root, "admin_key_sha256",
                              budgets->admin_key)
            != 0)
        {
            return -1;
        }
    }

    return cycles_check_duplicates(parser);
}


static int
cycles_parse_list(cycles_parser_t *parser, json_t *root, const char *name,
    void **list, size_t *n, size_t size,
    int (*parse)(cycles_parser_t *parser, json_t *value, void *item))
{
    size_t   i;
    json_t  *array;

    array = json_object_get(root, name);

    if (array == NULL) {
        return 0;
    }

    if (!json_is_array(array)) {
        return cycles_fail(parser, name, "must be an array");
    }

    *list = calloc(json_array_size(array) + 1, size);

    if (*list == NULL) {
        return cycles_fail(parser, name, "needs too much memory");
    }

    *n = json_array_size(array);

    for (i = 0; i < *n; i++) {
        snprintf(parser->path, sizeof(parser->path), "%s[%zu]", name, i);

        if (parse(parser, json_array_get(array, i),
                  (unsigned char *) *list + i * size)
            != 0)
        {
            return -1;
        }
    }

    parser->path[0] = '\0';

    return 0;
}


static int
cycles_parse_tenant(cycles_parser_t *parser, json_t *value, void *item)
{
    size_t                i;
    unsigned char         ch;
    cycles_tenant_def_t  *def;

    def = item;

    def->status = CYCLES_TENANT_ACTIVE;
    def->policy = CYCLES_POLICY_NONE;
    def->default_ttl_ms = -1;
    def->max_ttl_ms = -1;
    def->max_extensions = -1;

    if (cycles_members(parser, value, cycles_tenant_members) != 0
        || cycles_get_string(parser, value, "tenant_id", 1,
                             CYCLES_MAX_TENANT_ID, &def->tenant_id)
           != 0
        || cycles_get_string(parser, value, "name", 0, CYCLES_MAX_NAME,
                             &def->name)
           != 0
        || cycles_get_policy(parser, value, "default_commit_overage_policy",
                             &def->policy)
           != 0
        || cycles_get_int(parser, value, "default_reservation_ttl_ms",
                          CYCLES_MIN_TTL_MS, CYCLES_MAX_TTL_MS,
                          &def->default_ttl_ms)
           != 0
        || cycles_get_int(parser, value, "max_reservation_ttl_ms",
                          CYCLES_MIN_TTL_MS, CYCLES_MAX_TTL_MS,
                          &def->max_ttl_ms)
           != 0
        || cycles_get_int(parser, value, "max_reservation_extensions", 0,
                          UINT32_MAX, &def->max_extensions)
           != 0)
    {
        return -1;
    }

    for (i = 0; i < def->tenant_id.len; i++) {
        ch = def->tenant_id.data[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
              || ch == '-' || ch == '_' || ch == '.'))
        {
            return cycles_fail(parser, "tenant_id", "must have lower-case "
                               "letters, digits, \"-\", \"_\" and \".\" "
                               "only");
        }
    }

    return 0;
}


static int
cycles_parse_budget(cycles_parser_t *parser, json_t *value, void *item)
{
    int                   n;
    const char           *wrong;
    cycles_str_t          unit;
    cycles_budget_def_t  *def;

    def = item;

    def->status = CYCLES_BUDGET_ACTIVE;
    def->policy = CYCLES_POLICY_NONE;

    if (cycles_members(parser, value, cycles_budget_members) != 0
        || cycles_get_string(parser, value, "scope", 1, CYCLES_MAX_SCOPE,
                             &def->scope)
           != 0
        || cycles_get_string(parser, value, "unit", 1, CYCLES_MAX_NAME,
                             &unit)
           != 0)
    {
        return -1;
    }

    wrong = cycles_scope_check(def->scope.data, def->scope.len);

    if (wrong) {
        return cycles_fail(parser, "scope", "\"%.*s\" %s",
                           (int) def->scope.len, (char *) def->scope.data,
                           wrong);
    }

    n = cycles_unit_find(unit.data, unit.len);

    if (n == -1) {
        return cycles_fail(parser, "unit", "must be \"USD_MICROCENTS\", "
                           "\"TOKENS\", \"CREDITS\" or \"RISK_POINTS\"");
    }

    def->unit = n;

    if (cycles_get_amount(parser, value, "allocated", 1, def->unit,
                          &def->allocated)
        != 0
        || cycles_get_amount(parser, value, "overdraft_limit", 0, def->unit,
                             &def->overdraft_limit)
           != 0
        || cycles_get_policy(parser, value, "commit_overage_policy",
                             &def->policy)
           != 0)
    {
        return -1;
    }

    if (json_object_get(value, "period")
        && cycles_parse_period(parser, json_object_get(value, "period"),
                               &def->period)
           != 0)
    {
        return -1;
    }

    if (json_object_get(value, "caps")) {
        return cycles_parse_caps(parser, json_object_get(value, "caps"),
                                 def);
    }

    return 0;
}


static int
cycles_parse_caps(cycles_parser_t *parser, json_t *value,
    cycles_budget_def_t *def)
{
    size_t          len;
    int64_t         percent;
    cycles_caps_t  *caps;

    len = strlen(parser->path);
    snprintf(parser->path + len, sizeof(parser->path) - len, ".caps");

    caps = &def->caps;

    percent = CYCLES_DEFAULT_ABOVE_PERCENT;
    caps->max_tokens = -1;
    caps->max_steps_remaining = -1;
    caps->cooldown_ms = -1;

    if (cycles_members(parser, value, cycles_caps_members) != 0
        || cycles_get_int(parser, value, "above_percent", 0, 100, &percent)
           != 0
        || cycles_get_int(parser, value, "max_tokens", 0, INT64_MAX,
                          &caps->max_tokens)
           != 0
        || cycles_get_int(parser, value, "max_steps_remaining", 0, INT64_MAX,
                          &caps->max_steps_remaining)
           != 0
        || cycles_get_int(parser, value, "cooldown_ms", 0, INT64_MAX,
                          &caps->cooldown_ms)
           != 0
        || cycles_parse_tools(parser, value, "tool_allowlist",
                              &caps->tool_allowlist)
           != 0
        || cycles_parse_tools(parser, value, "tool_denylist",
                              &caps->tool_denylist)
           != 0)
    {
        return -1;
    }

    if (caps->tool_allowlist.len + caps->tool_denylist.len
        > CYCLES_MAX_CAPS_TEXT)
    {
        return cycles_fail(parser, NULL, "has tool lists of more than %d "
                           "bytes of JSON", CYCLES_MAX_CAPS_TEXT);
    }

    if (json_object_size(value)
        == (json_object_get(value, "above_percent") ? 1u : 0u))
    {
        return cycles_fail(parser, NULL, "limits nothing, add \"max_tokens\" "
                           "or another limit");
    }

    def->has_caps = 1;
    def->above_percent = percent;

    return 0;
}


/* kept as the JSON text that goes into an answer */

static int
cycles_parse_tools(cycles_parser_t *parser, json_t *caps, const char *name,
    cycles_str_t *text)
{
    int      rc;
    char    *dump;
    size_t   i;
    json_t  *array, *value;

    array = json_object_get(caps, name);

    if (array == NULL) {
        return 0;
    }

    if (!json_is_array(array)) {
        return cycles_fail(parser, name, "must be an array of strings");
    }

    json_array_foreach(array, i, value) {
        if (!json_is_string(value)) {
            return cycles_fail(parser, name, "must be an array of strings");
        }

        if (json_string_length(value) == 0
            || json_string_length(value) > CYCLES_MAX_TOOL_NAME)
        {
            return cycles_fail(parser, name, "must have names of 1 to %d "
                               "bytes", CYCLES_MAX_TOOL_NAME);
        }
    }

    dump = json_dumps(array, JSON_COMPACT);

    if (dump == NULL) {
        return cycles_fail(parser, name, "needs too much memory");
    }

    rc = cycles_text_copy(parser, dump, strlen(dump), text);

    free(dump);

    return rc;
}


static int
cycles_parse_period(cycles_parser_t *parser, json_t *value,
    cycles_period_t *period)
{
    int          rc;
    size_t       len;
    int64_t      seconds;
    const char  *type;

    len = strlen(parser->path);
    snprintf(parser->path + len, sizeof(parser->path) - len, ".period");

    type = json_string_value(json_object_get(value, "type"));

    if (!json_is_object(value)) {
        rc = cycles_fail(parser, NULL, "must be an object");

    } else if (type && strcmp(type, "calendar") == 0) {
        period->type = CYCLES_PERIOD_CALENDAR;
        rc = cycles_parse_calendar(parser, value, period);

    } else if (type && strcmp(type, "rolling") == 0) {
        period->type = CYCLES_PERIOD_ROLLING;
        seconds = 0;

        rc = cycles_members(parser, value, cycles_rolling_members);

        if (rc == 0) {
            rc = cycles_get_int(parser, value, "seconds",
                                CYCLES_MIN_PERIOD_MS / 1000,
                                CYCLES_MAX_PERIOD_MS / 1000, &seconds);
        }

        if (rc == 0 && seconds == 0) {
            rc = cycles_fail(parser, "seconds", "is missing, add it");
        }

        period->length_ms = seconds * 1000;

    } else {
        rc = cycles_fail(parser, "type", "must be \"calendar\" or "
                         "\"rolling\"");
    }

    parser->path[len] = '\0';

    return rc;
}


static int
cycles_parse_calendar(cycles_parser_t *parser, json_t *value,
    cycles_period_t *period)
{
    int           every;
    json_t       *name;
    cycles_str_t  zone;

    if (cycles_members(parser, value, cycles_calendar_members) != 0) {
        return -1;
    }

    name = json_object_get(value, "every");
    every = json_is_string(name)
            ? cycles_every_find((unsigned char *) json_string_value(name),
                                json_string_length(name))
            : -1;

    if (every == -1) {
        return cycles_fail(parser, "every", "must be \"day\", \"week\", "
                           "\"month\", \"quarter\" or \"year\"");
    }

    period->every = every;
    zone.len = 0;

    if (cycles_get_string(parser, value, "timezone", 0, CYCLES_MAX_TIMEZONE,
                          &zone)
        != 0
        || cycles_check_zone(parser, &zone) != 0)
    {
        return -1;
    }

    period->timezone = zone;

    return 0;
}


/* many budgets have the same few zones, and each of them is a file */

static int
cycles_check_zone(cycles_parser_t *parser, cycles_str_t *name)
{
    char            err[256];
    size_t          i;
    cycles_str_t   *zones;
    cycles_zone_t  *zone;

    for (i = 0; i < parser->nzones; i++) {
        if (parser->zones[i].len == name->len
            && memcmp(parser->zones[i].data, name->data, name->len) == 0)
        {
            return 0;
        }
    }

    zone = cycles_zone_load(*name, err, sizeof(err));

    if (zone == NULL) {
        return cycles_fail(parser, "timezone", "can't be used: %s", err);
    }

    cycles_zone_free(zone);

    zones = realloc(parser->zones,
                    (parser->nzones + 1) * sizeof(cycles_str_t));

    if (zones == NULL) {
        return cycles_fail(parser, "timezone", "needs too much memory");
    }

    parser->zones = zones;
    zones[parser->nzones++] = *name;

    return 0;
}


static int
cycles_parse_api_key(cycles_parser_t *parser, json_t *value, void *item)
{
    cycles_str_t       expires;
    cycles_key_def_t  *def;

    def = item;

    def->permissions = CYCLES_FILE_PERMISSIONS;
    expires.len = 0;

    if (cycles_members(parser, value, cycles_api_key_members) != 0
        || cycles_get_string(parser, value, "tenant_id", 1,
                             CYCLES_MAX_TENANT_ID, &def->tenant_id)
           != 0
        || cycles_get_string(parser, value, "name", 0, CYCLES_MAX_NAME,
                             &def->name)
           != 0)
    {
        return -1;
    }

    if (json_object_get(value, "secret_sha256") == NULL) {
        return cycles_fail(parser, "secret_sha256", "is missing, add it");
    }

    if (cycles_get_sha256(parser, value, "secret_sha256", def->sha256) != 0
        || cycles_parse_permissions(parser,
                                    json_object_get(value, "permissions"),
                                    &def->permissions)
           != 0
        || cycles_parse_filter(parser, json_object_get(value, "scope_filter"),
                               &def->scope_filter)
           != 0
        || cycles_get_string(parser, value, "expires_at", 0, CYCLES_MAX_NAME,
                             &expires)
           != 0)
    {
        return -1;
    }

    if (expires.len
        && (cycles_time_parse(expires.data, expires.len, 0,
                              &def->expires_ms)
            != 0
            || def->expires_ms <= 0 || def->expires_ms > CYCLES_MAX_TIME))
    {
        return cycles_fail(parser, "expires_at", "must be a time such as "
                           "\"2030-12-31T23:59:59Z\"");
    }

    return 0;
}


static int
cycles_parse_permissions(cycles_parser_t *parser, json_t *value,
    uint32_t *permissions)
{
    int          n;
    size_t       i;
    json_t      *item;
    const char  *name;

    if (value == NULL) {
        return 0;
    }

    if (!json_is_array(value)) {
        return cycles_fail(parser, "permissions", "must be an array of "
                           "strings");
    }

    *permissions = 0;

    json_array_foreach(value, i, item) {
        name = json_string_value(item);
        n = name ? cycles_permission_find((const unsigned char *) name,
                                          json_string_length(item))
                 : -1;

        if (n == -1) {
            return cycles_fail(parser, "permissions", "has \"%.64s\", which "
                               "is not a permission", name ? name : "");
        }

        *permissions |= CYCLES_PERMIT(n);
    }

    *permissions = cycles_permissions_reduce(*permissions);

    return 0;
}


static int
cycles_parse_filter(cycles_parser_t *parser, json_t *value,
    cycles_str_t *filter)
{
    int         rc;
    char       *text;
    const char *wrong;

    if (value == NULL) {
        return 0;
    }

    text = malloc(CYCLES_MAX_SCOPE_FILTER);

    if (text == NULL) {
        return cycles_fail(parser, "scope_filter", "needs too much memory");
    }

    filter->len = 0;
    wrong = cycles_filter_read(value, text, &filter->len);

    rc = wrong ? cycles_fail(parser, "scope_filter", "%s", wrong)
               : cycles_text_copy(parser, text, filter->len, filter);

    free(text);

    return rc;
}


/* sorted copies find what is there twice, also in a file of a million */

static int
cycles_check_duplicates(cycles_parser_t *parser)
{
    int                         rc;
    size_t                      i, n;
    cycles_budgets_t           *b;
    cycles_tenant_def_t         wanted;
    const cycles_key_def_t    **keys;
    const cycles_tenant_def_t **tenants, *tenant;
    const cycles_budget_def_t **budgets;

    b = parser->budgets;
    n = b->ntenants + b->nbudgets + b->napi_keys;

    tenants = calloc(n + 1, sizeof(void *));

    if (tenants == NULL) {
        return cycles_fail(parser, "budgets", "needs too much memory");
    }

    budgets = (const cycles_budget_def_t **) (tenants + b->ntenants);
    keys = (const cycles_key_def_t **) (budgets + b->nbudgets);
    rc = 0;

    for (i = 0; i < b->ntenants; i++) {
        tenants[i] = &b->tenants[i];
    }

    for (i = 0; i < b->nbudgets; i++) {
        budgets[i] = &b->budgets[i];
    }

    for (i = 0; i < b->napi_keys; i++) {
        keys[i] = &b->api_keys[i];
    }

    qsort(tenants, b->ntenants, sizeof(void *), cycles_tenant_cmp);
    qsort(budgets, b->nbudgets, sizeof(void *), cycles_budget_cmp);
    qsort(keys, b->napi_keys, sizeof(void *), cycles_key_cmp);

    for (i = 1; rc == 0 && i < b->ntenants; i++) {
        if (cycles_tenant_cmp(&tenants[i - 1], &tenants[i]) == 0) {
            rc = cycles_fail(parser, "tenants", "has \"%.*s\" twice, remove "
                             "one",
                             (int) tenants[i]->tenant_id.len,
                             (char *) tenants[i]->tenant_id.data);
        }
    }

    for (i = 1; rc == 0 && i < b->nbudgets; i++) {
        if (cycles_budget_cmp(&budgets[i - 1], &budgets[i]) == 0) {
            rc = cycles_fail(parser, "budgets", "has scope \"%.*s\" with "
                             "unit \"%s\" twice, remove one",
                             (int) budgets[i]->scope.len,
                             (char *) budgets[i]->scope.data,
                             cycles_unit_name(budgets[i]->unit));
        }
    }

    for (i = 1; rc == 0 && i < b->napi_keys; i++) {
        if (cycles_key_cmp(&keys[i - 1], &keys[i]) == 0) {
            rc = cycles_fail(parser, "api_keys", "has the same "
                             "secret_sha256 twice, remove one");
        }
    }

    tenant = &wanted;

    for (i = 0; rc == 0 && i < b->napi_keys; i++) {
        wanted.tenant_id = b->api_keys[i].tenant_id;

        if (bsearch(&tenant, tenants, b->ntenants, sizeof(void *),
                    cycles_tenant_cmp)
            == NULL)
        {
            snprintf(parser->path, sizeof(parser->path), "api_keys[%zu]", i);
            rc = cycles_fail(parser, "tenant_id", "\"%.*s\" is not one of "
                             "the tenants", (int) wanted.tenant_id.len,
                             (char *) wanted.tenant_id.data);
        }
    }

    free(tenants);

    return rc;
}


static int
cycles_tenant_cmp(const void *a, const void *b)
{
    const cycles_tenant_def_t *const  *one = a;
    const cycles_tenant_def_t *const  *two = b;

    return cycles_bytes_cmp((*one)->tenant_id, (*two)->tenant_id);
}


static int
cycles_budget_cmp(const void *a, const void *b)
{
    int                                rc;
    const cycles_budget_def_t *const  *one = a;
    const cycles_budget_def_t *const  *two = b;

    rc = cycles_bytes_cmp((*one)->scope, (*two)->scope);

    return rc ? rc : (int) (*one)->unit - (int) (*two)->unit;
}


static int
cycles_key_cmp(const void *a, const void *b)
{
    const cycles_key_def_t *const  *one = a;
    const cycles_key_def_t *const  *two = b;

    return memcmp((*one)->sha256, (*two)->sha256, 32);
}


static int
cycles_bytes_cmp(cycles_str_t a, cycles_str_t b)
{
    int  rc;

    rc = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

    return rc ? rc : (a.len > b.len) - (a.len < b.len);
}


const char *
cycles_scope_check(const unsigned char *scope, size_t len)
{
    int                   level, last;
    const unsigned char  *p, *end, *colon, *slash;

    p = scope;
    end = scope + len;
    last = -1;

    for (p = scope; p < end; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            return "must be in lower case";
        }
    }

    for (p = scope; /* void */ ; p = slash + 1) {
        slash = memchr(p, '/', end - p);

        if (slash == NULL) {
            slash = end;
        }

        colon = memchr(p, ':', slash - p);

        if (colon == NULL) {
            return "must be \"level:value\", with \"/\" between several";
        }

        level = cycles_level_find(p, colon - p);

        if (level == -1) {
            return "has a level that is not tenant, workspace, app, "
                   "workflow, agent or toolset";
        }

        if (level <= last) {
            return "must have its levels in the order tenant, workspace, "
                   "app, workflow, agent, toolset";
        }

        if (!cycles_subject_value_ok(colon + 1, slash - colon - 1)) {
            return "must have values of 1 to 128 letters, digits, \"_\", "
                   "\".\" and \"-\"";
        }

        if (slash == end) {
            return NULL;
        }

        last = level;
    }
}


static int
cycles_members(cycles_parser_t *parser, json_t *value,
    const char *const *names)
{
    void        *iter;
    unsigned     i;
    const char  *key;

    if (!json_is_object(value)) {
        return cycles_fail(parser, NULL, "must be an object");
    }

    for (iter = json_object_iter(value);
         iter;
         iter = json_object_iter_next(value, iter))
    {
        key = json_object_iter_key(iter);

        for (i = 0; names[i]; i++) {
            if (strcmp(key, names[i]) == 0) {
                break;
            }
        }

        if (names[i] == NULL) {
            return cycles_fail_unknown(parser, key, names);
        }
    }

    return 0;
}


static int
cycles_get_string(cycles_parser_t *parser, json_t *object, const char *name,
    int required, size_t max, cycles_str_t *str)
{
    json_t  *value;

    value = json_object_get(object, name);

    if (value == NULL && !required) {
        return 0;
    }

    if (value == NULL) {
        return cycles_fail(parser, name, "is missing, add it");
    }

    if (!json_is_string(value)) {
        return cycles_fail(parser, name, "must be a string");
    }

    if (json_string_length(value) == 0 || json_string_length(value) > max) {
        return cycles_fail(parser, name, "must have 1 to %zu bytes", max);
    }

    return cycles_text_copy(parser, json_string_value(value),
                            json_string_length(value), str);
}


static int
cycles_get_int(cycles_parser_t *parser, json_t *object, const char *name,
    int64_t min, int64_t max, int64_t *n)
{
    json_t  *value;

    value = json_object_get(object, name);

    if (value == NULL) {
        return 0;
    }

    if (!json_is_integer(value) || json_integer_value(value) < min
        || json_integer_value(value) > max)
    {
        return cycles_fail(parser, name, "must be an integer from %" PRId64
                           " to %" PRId64, min, max);
    }

    *n = json_integer_value(value);

    return 0;
}


static int
cycles_get_amount(cycles_parser_t *parser, json_t *object, const char *name,
    int required, cycles_unit_t unit, int64_t *amount)
{
    int      rc;
    size_t   len;
    json_t  *value, *text;

    value = json_object_get(object, name);

    if (value == NULL && !required) {
        return 0;
    }

    if (value == NULL) {
        return cycles_fail(parser, name, "is missing, add it");
    }

    len = strlen(parser->path);
    snprintf(parser->path + len, sizeof(parser->path) - len, ".%s", name);

    rc = cycles_members(parser, value, cycles_amount_members);
    text = json_object_get(value, "unit");

    if (rc == 0
        && (!json_is_string(text)
            || strcmp(json_string_value(text), cycles_unit_name(unit)) != 0))
    {
        rc = cycles_fail(parser, "unit", "must be \"%s\", the unit of the "
                         "budget", cycles_unit_name(unit));
    }

    if (rc == 0 && json_object_get(value, "amount") == NULL) {
        rc = cycles_fail(parser, "amount", "is missing, add it");
    }

    if (rc == 0) {
        rc = cycles_get_int(parser, value, "amount", 0, INT64_MAX, amount);
    }

    parser->path[len] = '\0';

    return rc;
}


static int
cycles_get_policy(cycles_parser_t *parser, json_t *object, const char *name,
    unsigned *policy)
{
    int      n;
    json_t  *value;

    value = json_object_get(object, name);

    if (value == NULL) {
        return 0;
    }

    n = -1;

    if (json_is_string(value)) {
        n = cycles_policy_find((unsigned char *) json_string_value(value),
                               json_string_length(value));
    }

    if (n == -1) {
        return cycles_fail(parser, name, "must be \"REJECT\", "
                           "\"ALLOW_IF_AVAILABLE\" or "
                           "\"ALLOW_WITH_OVERDRAFT\"");
    }

    *policy = n;

    return 0;
}


static int
cycles_get_sha256(cycles_parser_t *parser, json_t *object, const char *name,
    uint8_t *sha256)
{
    char         pair[3];
    size_t       i;
    json_t      *value;
    const char  *text;

    value = json_object_get(object, name);
    text = json_string_value(value);

    if (text == NULL || json_string_length(value) != 64
        || strspn(text, "0123456789abcdefABCDEF") != 64)
    {
        return cycles_fail(parser, name, "must be a SHA-256 in 64 "
                           "hexadecimal digits");
    }

    pair[2] = '\0';

    for (i = 0; i < 32; i++) {
        memcpy(pair, text + i * 2, 2);
        sha256[i] = strtoul(pair, NULL, 16);
    }

    return 0;
}


static int
cycles_text_copy(cycles_parser_t *parser, const char *data, size_t len,
    cycles_str_t *str)
{
    size_t          size;
    cycles_text_t  *text;

    text = parser->budgets->texts;

    if (text == NULL || text->size - text->used < len) {
        size = len > CYCLES_TEXT_CHUNK ? len : CYCLES_TEXT_CHUNK;
        text = malloc(sizeof(cycles_text_t) + size);

        if (text == NULL) {
            return cycles_fail(parser, NULL, "needs too much memory");
        }

        text->next = parser->budgets->texts;
        text->used = 0;
        text->size = size;
        parser->budgets->texts = text;
    }

    str->len = len;
    str->data = text->data + text->used;
    memcpy(str->data, data, len);
    text->used += len;

    return 0;
}


/* the sentence begins with the path of the value: budgets[2].unit must … */

static int
cycles_fail_unknown(cycles_parser_t *parser, const char *name,
    const char *const *names)
{
    size_t  i, n;
    char    known[512];

    n = 0;
    known[0] = '\0';

    for (i = 0; names[i] && n < sizeof(known); i++) {
        n += snprintf(known + n, sizeof(known) - n, "%s\"%s\"",
                      i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
    }

    return cycles_fail(parser, name, "is not known, use %s", known);
}


static int
cycles_fail(cycles_parser_t *parser, const char *name, const char *fmt, ...)
{
    int          n;
    va_list      args;
    const char  *dot;

    dot = (name && parser->path[0]) ? "." : "";

    if (name == NULL && parser->path[0] == '\0') {
        name = "the document";
    }

    /* a member name comes from the file and may be of any length */

    n = snprintf(parser->err, parser->errlen, "%s%s%.80s ", parser->path,
                 dot, name ? name : "");

    if (n < 0 || (size_t) n >= parser->errlen) {
        return -1;
    }

    va_start(args, fmt);
    vsnprintf(parser->err + n, parser->errlen - n, fmt, args);
    va_end(args);

    return -1;
}
