
/*
 * Copyright (C) nginx-cycles authors
 *
 * What an API key may do: the permissions of the governance specification,
 * and the two that the quick start of the protocol gives besides, "decide"
 * and "events:create".
 */


#ifndef _CYCLES_PERMISSIONS_H_INCLUDED_
#define _CYCLES_PERMISSIONS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "../cycles.h"


typedef enum {
    CYCLES_MAY_RESERVE = 0,
    CYCLES_MAY_COMMIT,
    CYCLES_MAY_RELEASE,
    CYCLES_MAY_EXTEND,
    CYCLES_MAY_LIST,
    CYCLES_MAY_READ_BALANCES,
    CYCLES_MAY_READ_BUDGETS,
    CYCLES_MAY_WRITE_BUDGETS,
    CYCLES_MAY_READ_POLICIES,
    CYCLES_MAY_WRITE_POLICIES,
    CYCLES_MAY_READ_WEBHOOKS,
    CYCLES_MAY_WRITE_WEBHOOKS,
    CYCLES_MAY_READ_EVENTS,
    CYCLES_MAY_READ,
    CYCLES_MAY_WRITE,
    CYCLES_ADMIN_READS_TENANTS,
    CYCLES_ADMIN_WRITES_TENANTS,
    CYCLES_ADMIN_READS_BUDGETS,
    CYCLES_ADMIN_WRITES_BUDGETS,
    CYCLES_ADMIN_READS_POLICIES,
    CYCLES_ADMIN_WRITES_POLICIES,
    CYCLES_ADMIN_READS_API_KEYS,
    CYCLES_ADMIN_WRITES_API_KEYS,
    CYCLES_ADMIN_READS_WEBHOOKS,
    CYCLES_ADMIN_WRITES_WEBHOOKS,
    CYCLES_ADMIN_READS_EVENTS,
    CYCLES_ADMIN_READS_AUDIT,
    CYCLES_MAY_DECIDE,
    CYCLES_MAY_CREATE_EVENTS,
    CYCLES_PERMISSIONS
} cycles_permission_t;


#define CYCLES_PERMIT(permission)  (1u << (permission))

#define CYCLES_ALL_PERMISSIONS     (CYCLES_PERMIT(CYCLES_PERMISSIONS) - 1)

/* the ones that the specification knows */

#define CYCLES_NAMED_PERMISSIONS   (CYCLES_PERMIT(CYCLES_MAY_DECIDE) - 1)

/* of a key in the budgets file: all that the runtime API can do */

#define CYCLES_FILE_PERMISSIONS                                               \
    (CYCLES_PERMIT(CYCLES_MAY_RESERVE)                                        \
     | CYCLES_PERMIT(CYCLES_MAY_COMMIT)                                       \
     | CYCLES_PERMIT(CYCLES_MAY_RELEASE)                                      \
     | CYCLES_PERMIT(CYCLES_MAY_EXTEND)                                       \
     | CYCLES_PERMIT(CYCLES_MAY_LIST)                                         \
     | CYCLES_PERMIT(CYCLES_MAY_READ_BALANCES))

/* of a key that is created without any: the default of the specification */

#define CYCLES_DEFAULT_PERMISSIONS                                            \
    (CYCLES_FILE_PERMISSIONS                                                  \
     | CYCLES_PERMIT(CYCLES_MAY_READ_BUDGETS)                                 \
     | CYCLES_PERMIT(CYCLES_MAY_WRITE_BUDGETS)                                \
     | CYCLES_PERMIT(CYCLES_MAY_READ_POLICIES)                                \
     | CYCLES_PERMIT(CYCLES_MAY_WRITE_POLICIES))


const char *cycles_permission_name(cycles_permission_t permission);

/* -1: there is no such permission */

int cycles_permission_find(const unsigned char *name, size_t len);

/*
 * Whether a key with these permissions, bits by cycles_permission_t, may do
 * it: directly, or by one that includes it.  "admin:read" includes all that
 * end with ":read", "admin:write" all that end with ":write", and
 * "admin:budgets:read" is as good as "budgets:read".  Who may reserve may
 * decide, and who may commit may create events.
 */

int cycles_permitted(uint32_t permissions, cycles_permission_t permission);

/* without "decide" and "events:create" where another one includes them */

uint32_t cycles_permissions_reduce(uint32_t permissions);


/*
 * A scope filter limits a key to some scopes.  It is a list of patterns with
 * "," between them, in lower case; empty: all scopes.  A pattern is a segment
 * of a scope, such as "workspace:eng" or "agent:*", or several of them with
 * "/" between.  It lets pass the scopes that have all of its segments, and a
 * filter the scopes that one of its patterns lets pass.
 */

/*
 * Reads a filter from a JSON array of patterns in any case, into a buffer of
 * CYCLES_MAX_SCOPE_FILTER bytes.  NULL, or what is wrong with it.
 */

#define CYCLES_MAX_SCOPE_FILTER  1024

const char *cycles_filter_read(json_t *array, char *filter, size_t *len);

/* whether the filter lets pass a scope path in lower case */

int cycles_filter_path(const unsigned char *filter, size_t filter_len,
    const unsigned char *path, size_t len);

/* the same for a subject, in any case */

int cycles_filter_subject(const unsigned char *filter, size_t filter_len,
    const cycles_subject_t *subject);

/*
 * The same for a subject of which only the hashes of its segments are known:
 * levels has cycles_segment_hash() by cycles_level_t, 0 where there is none.
 */

int cycles_filter_hashes(const unsigned char *filter, size_t filter_len,
    const uint32_t *levels);

/* of the value of a level, in any case; never 0 */

uint32_t cycles_segment_hash(const unsigned char *value, size_t len);


#endif /* _CYCLES_PERMISSIONS_H_INCLUDED_ */
