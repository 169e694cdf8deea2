
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the readers of bodies share.  Each function returns 0, or -1 with a
 * sentence in rd->err that names the member by its path.
 */


#ifndef _CYCLES_API_READER_H_INCLUDED_
#define _CYCLES_API_READER_H_INCLUDED_


#include <jansson.h>

#include "cycles_api.h"


#define CYCLES_API_MAX_PATH   64

/* integers up to here are the same number in a double */
#define CYCLES_API_MAX_EXACT  9007199254740992.0


typedef struct {
    cycles_api_request_t  *rq;
    char                  *err;
    size_t                 errlen;
} cycles_api_reader_t;


/* a whole body, which must be an object; NULL: it is none */

json_t *cycles_api_parse(cycles_api_reader_t *rd, const unsigned char *text,
    size_t len);

int cycles_api_fail(cycles_api_reader_t *rd, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* a member that is not one of "path"; NULL: of the body itself */

int cycles_api_unknown(cycles_api_reader_t *rd, const char *path,
    const char *name, size_t len);

/* a closed object: names ends with NULL */

int cycles_api_only(cycles_api_reader_t *rd, json_t *value, const char *path,
    const char *const *names);

/* lengths are in characters; the string is the value's */

int cycles_api_string(cycles_api_reader_t *rd, json_t *value,
    const char *path, size_t min, size_t max, cycles_str_t *str);

/* to a schema, 1.0 and 1e0 are integers */

int cycles_api_integer(cycles_api_reader_t *rd, json_t *value,
    const char *path, int64_t min, int64_t max, int64_t *n);

int cycles_api_unit(cycles_api_reader_t *rd, json_t *value, const char *path,
    cycles_unit_t *unit);

/* {"unit", "amount"} */

int cycles_api_amount(cycles_api_reader_t *rd, json_t *value,
    const char *path, cycles_unit_t *unit, int64_t *n);

/*
 * The one text of at most max bytes that all equal values have.  *owner is to
 * be freed by the caller, also when this fails.
 */

int cycles_api_canonical(cycles_api_reader_t *rd, json_t *value,
    const char *path, size_t max, char **owner, cycles_str_t *str);

int cycles_api_policy(cycles_api_reader_t *rd, json_t *value,
    const char *path, cycles_policy_t *policy);


#endif /* _CYCLES_API_READER_H_INCLUDED_ */
