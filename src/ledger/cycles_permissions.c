
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "cycles_permissions.h"


#define CYCLES_READS   CYCLES_PERMIT(CYCLES_MAY_READ)
#define CYCLES_WRITES  CYCLES_PERMIT(CYCLES_MAY_WRITE)


/* one "level:value" of a path or of a pattern */

typedef struct {
    int                    level;         /* -1: not one */
    const unsigned char   *value;
    size_t                 len;
    const unsigned char   *end;
} cycles_segment_t;


typedef struct {
    const char            *name;
    uint32_t               included_in;
} cycles_permission_def_t;


/* what a pattern is compared with: values, or hashes of them */

typedef struct {
    cycles_str_t           values[CYCLES_LEVELS];
    const uint32_t        *hashes;        /* NULL: there are values */
} cycles_filtered_t;


static const char *cycles_pattern_check(const unsigned char *pattern,
    size_t len);
static cycles_segment_t cycles_segment(const unsigned char *p,
    const unsigned char *end);
static int cycles_filter_match(const unsigned char *filter, size_t len,
    const cycles_filtered_t *what);
static int cycles_pattern_match(const unsigned char *p,
    const unsigned char *end, const cycles_filtered_t *what);
static int cycles_value_is(cycles_str_t value, const cycles_segment_t *s);
static unsigned char cycles_filter_lower(unsigned char ch);


static const cycles_permission_def_t  cycles_permissions[] = {
    { "reservations:create", 0 },
    { "reservations:commit", 0 },
    { "reservations:release", 0 },
    { "reservations:extend", 0 },
    { "reservations:list", 0 },
    { "balances:read", CYCLES_READS },
    { "budgets:read",
      CYCLES_READS | CYCLES_PERMIT(CYCLES_ADMIN_READS_BUDGETS) },
    { "budgets:write",
      CYCLES_WRITES | CYCLES_PERMIT(CYCLES_ADMIN_WRITES_BUDGETS) },
    { "policies:read",
      CYCLES_READS | CYCLES_PERMIT(CYCLES_ADMIN_READS_POLICIES) },
    { "policies:write",
      CYCLES_WRITES | CYCLES_PERMIT(CYCLES_ADMIN_WRITES_POLICIES) },
    { "webhooks:read",
      CYCLES_READS | CYCLES_PERMIT(CYCLES_ADMIN_READS_WEBHOOKS) },
    { "webhooks:write",
      CYCLES_WRITES | CYCLES_PERMIT(CYCLES_ADMIN_WRITES_WEBHOOKS) },
    { "events:read",
      CYCLES_READS | CYCLES_PERMIT(CYCLES_ADMIN_READS_EVENTS) },
    { "admin:read", 0 },
    { "admin:write", 0 },
    { "admin:tenants:read", CYCLES_READS },
    { "admin:tenants:write", CYCLES_WRITES },
    { "admin:budgets:read", CYCLES_READS },
    { "admin:budgets:write", CYCLES_WRITES },
    { "admin:policies:read", CYCLES_READS },
    { "admin:policies:write", CYCLES_WRITES },
    { "admin:apikeys:read", CYCLES_READS },
    { "admin:apikeys:write", CYCLES_WRITES },
    { "admin:webhooks:read", CYCLES_READS },
    { "admin:webhooks:write", CYCLES_WRITES },
    { "admin:events:read", CYCLES_READS },
    { "admin:audit:read", CYCLES_READS },
    { "decide", CYCLES_PERMIT(CYCLES_MAY_RESERVE) },
    { "events:create", CYCLES_PERMIT(CYCLES_MAY_COMMIT) }
};


const char *
cycles_permission_name(cycles_permission_t permission)
{
    return cycles_permissions[permission].name;
}


int
cycles_permission_find(const unsigned char *name, size_t len)
{
    int  i;

    for (i = 0; i < CYCLES_PERMISSIONS; i++) {

        if (strlen(cycles_permissions[i].name) == len
            && memcmp(cycles_permissions[i].name, name, len) == 0)
        {
            return i;
        }
    }

    return -1;
}


int
cycles_permitted(uint32_t permissions, cycles_permission_t permission)
{
    return (permissions & (CYCLES_PERMIT(permission)
                           | cycles_permissions[permission].included_in))
           != 0;
}


uint32_t
cycles_permissions_reduce(uint32_t permissions)
{
    int  i;

    for (i = CYCLES_MAY_DECIDE; i < CYCLES_PERMISSIONS; i++) {
        if (permissions & cycles_permissions[i].included_in) {
            permissions &= ~CYCLES_PERMIT(i);
        }
    }

    return permissions;
}


const char *
cycles_filter_read(json_t *array, char *filter, size_t *len)
{
    size_t       i, k, n;
    json_t      *item;
    char        *lower;
    const char  *wrong, *pattern;

    if (!json_is_array(array)) {
        return "must be an array of strings";
    }

    *len = 0;

    json_array_foreach(array, i, item) {
        pattern = json_string_value(item);
        n = json_string_length(item);

        if (pattern == NULL) {
            return "must be an array of strings";
        }

        if (n + 1 > CYCLES_MAX_SCOPE_FILTER - *len) {
            return "is too long";
        }

        if (i) {
            filter[(*len)++] = ',';
        }

        lower = filter + *len;

        for (k = 0; k < n; k++) {
            filter[(*len)++] = cycles_filter_lower(pattern[k]);
        }

        wrong = cycles_pattern_check((const unsigned char *) lower, n);

        if (wrong) {
            return wrong;
        }
    }

    return NULL;
}


static const char *
cycles_pattern_check(const unsigned char *pattern, size_t len)
{
    int                   last;
    cycles_segment_t      s;
    const unsigned char  *p, *end;

    p = pattern;
    end = pattern + len;

    for (last = -1; /* void */ ; last = s.level) {
        s = cycles_segment(p, end);

        if (s.level == -1) {
            return "must have patterns such as \"workspace:eng\" or "
                   "\"agent:*\"";
        }

        if (s.level <= last) {
            return "must have levels in the order tenant, workspace, app, "
                   "workflow, agent, toolset";
        }

        if (!(s.len == 1 && *s.value == '*')
            && !cycles_subject_value_ok(s.value, s.len))
        {
            return "must have values of 1 to 128 letters, digits, \"_\", "
                   "\".\" and \"-\", or \"*\"";
        }

        if (s.end == end) {
            return NULL;
        }

        p = s.end + 1;
    }
}


static cycles_segment_t
cycles_segment(const unsigned char *p, const unsigned char *end)
{
    cycles_segment_t      s;
    const unsigned char  *colon;

    s.end = memchr(p, '/', end - p);

    if (s.end == NULL) {
        s.end = end;
    }

    colon = memchr(p, ':', s.end - p);

    s.level = -1;
    s.value = NULL;
    s.len = 0;

    if (colon) {
        s.level = cycles_level_find(p, colon - p);
        s.value = colon + 1;
        s.len = s.end - s.value;
    }

    return s;
}


int
cycles_filter_path(const unsigned char *filter, size_t filter_len,
    const unsigned char *path, size_t len)
{
    cycles_segment_t      s;
    cycles_filtered_t     what;
    const unsigned char  *p, *end;

    if (filter_len == 0) {
        return 1;
    }

    memset(&what, 0, sizeof(what));

    p = path;
    end = path + len;

    do {
        s = cycles_segment(p, end);

        if (s.level == -1) {
            return 0;
        }

        what.values[s.level].len = s.len;
        what.values[s.level].data = (unsigned char *) s.value;

        p = s.end + 1;

    } while (s.end < end);

    return cycles_filter_match(filter, filter_len, &what);
}


int
cycles_filter_subject(const unsigned char *filter, size_t filter_len,
    const cycles_subject_t *subject)
{
    cycles_filtered_t  what;

    memcpy(what.values, subject->levels, sizeof(what.values));
    what.hashes = NULL;

    return filter_len == 0 || cycles_filter_match(filter, filter_len, &what);
}


int
cycles_filter_hashes(const unsigned char *filter, size_t filter_len,
    const uint32_t *levels)
{
    cycles_filtered_t  what;

    what.hashes = levels;

    return filter_len == 0 || cycles_filter_match(filter, filter_len, &what);
}


static int
cycles_filter_match(const unsigned char *filter, size_t len,
    const cycles_filtered_t *what)
{
    const unsigned char  *p, *end, *comma;

    end = filter + len;

    for (p = filter; p < end; p = comma + 1) {
        comma = memchr(p, ',', end - p);

        if (comma == NULL) {
            comma = end;
        }

        if (cycles_pattern_match(p, comma, what)) {
            return 1;
        }
    }

    return 0;
}


static int
cycles_pattern_match(const unsigned char *p, const unsigned char *end,
    const cycles_filtered_t *what)
{
    int                  any;
    cycles_str_t         value;
    cycles_segment_t     s;

    do {
        s = cycles_segment(p, end);

        if (s.level == -1) {
            return 0;
        }

        any = (s.len == 1 && *s.value == '*');

        if (what->hashes) {

            if (what->hashes[s.level] == 0
                || (!any && what->hashes[s.level]
                            != cycles_segment_hash(s.value, s.len)))
            {
                return 0;
            }

        } else {
            value = what->values[s.level];

            if (value.len == 0 || (!any && !cycles_value_is(value, &s))) {
                return 0;
            }
        }

        p = s.end + 1;

    } while (s.end < end);

    return 1;
}


static int
cycles_value_is(cycles_str_t value, const cycles_segment_t *s)
{
    size_t  i;

    if (value.len != s->len) {
        return 0;
    }

    for (i = 0; i < s->len; i++) {
        if (cycles_filter_lower(value.data[i]) != s->value[i]) {
            return 0;
        }
    }

    return 1;
}


/* FNV-1a */

uint32_t
cycles_segment_hash(const unsigned char *value, size_t len)
{
    size_t    i;
    uint32_t  hash;

    hash = 2166136261u;

    for (i = 0; i < len; i++) {
        hash = (hash ^ cycles_filter_lower(value[i])) * 16777619;
    }

    return hash ? hash : 1;
}


static unsigned char
cycles_filter_lower(unsigned char ch)
{
    return (ch >= 'A' && ch <= 'Z') ? (ch | 0x20) : ch;
}
