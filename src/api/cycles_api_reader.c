
/*
 * Copyright (C) nginx-cycles authors
 */


#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cycles_api_reader.h"


/* how much of a client's name is repeated in a sentence */
#define CYCLES_API_MAX_QUOTE  64


static int cycles_api_depth_ok(const unsigned char *text, size_t len);


static const char *const  cycles_api_amount_members[] = {
    "unit", "amount", NULL
};


json_t *
cycles_api_parse(cycles_api_reader_t *rd, const unsigned char *text,
    size_t len)
{
    json_t        *root;
    json_error_t   error;

    if (!cycles_api_depth_ok(text, len)) {
        cycles_api_fail(rd, "The body has more than %d levels of objects and "
                        "arrays", CYCLES_API_MAX_DEPTH);
        return NULL;
    }

    root = json_loadb((const char *) text, len,
                      JSON_REJECT_DUPLICATES|JSON_ALLOW_NUL, &error);

    if (root == NULL) {
        cycles_api_fail(rd, "The body is not the JSON that is expected: %s "
                        "(line %d, column %d)", error.text, error.line,
                        error.column);
        return NULL;
    }

    if (!json_is_object(root)) {
        cycles_api_fail(rd, "The body must be a JSON object");
        json_decref(root);
        return NULL;
    }

    return root;
}


/* before it is parsed: the parser would recurse as deep as the client likes */

static int
cycles_api_depth_ok(const unsigned char *text, size_t len)
{
    size_t    i;
    unsigned  depth, quoted;

    depth = 0;
    quoted = 0;

    for (i = 0; i < len; i++) {

        if (quoted) {

            if (text[i] == '\\') {
                i++;

            } else if (text[i] == '"') {
                quoted = 0;
            }

            continue;
        }

        switch (text[i]) {

        case '"':
            quoted = 1;
            break;

        case '{':
        case '[':
            if (++depth > CYCLES_API_MAX_DEPTH) {
                return 0;
            }

            break;

        case '}':
        case ']':
            if (depth) {
                depth--;
            }
        }
    }

    return 1;
}


int
cycles_api_fail(cycles_api_reader_t *rd, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(rd->err, rd->errlen, fmt, args);
    va_end(args);

    return -1;
}


int
cycles_api_unknown(cycles_api_reader_t *rd, const char *path,
    const char *name, size_t len)
{
    int  n;

    n = (len > CYCLES_API_MAX_QUOTE) ? CYCLES_API_MAX_QUOTE : (int) len;

    if (path == NULL) {
        return cycles_api_fail(rd, "\"%.*s\" is not a member of this request",
                               n, name);
    }

    return cycles_api_fail(rd, "\"%.*s\" is not a member of \"%s\"", n, name,
                           path);
}


/* a closed object */

int
cycles_api_only(cycles_api_reader_t *rd, json_t *value, const char *path,
    const char *const *names)
{
    void        *iter;
    size_t       len;
    unsigned     i;
    const char  *name;

    if (!json_is_object(value)) {
        return cycles_api_fail(rd, "\"%s\" must be an object", path);
    }

    for (iter = json_object_iter(value);
         iter;
         iter = json_object_iter_next(value, iter))
    {
        name = json_object_iter_key(iter);
        len = json_object_iter_key_len(iter);

        for (i = 0; names[i]; i++) {
            if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
                break;
            }
        }

        if (names[i] == NULL) {
            return cycles_api_unknown(rd, path, name, len);
        }
    }

    return 0;
}


int
cycles_api_string(cycles_api_reader_t *rd, json_t *value, const char *path,
    size_t min, size_t max, cycles_str_t *str)
{
    size_t  len;

    if (!json_is_string(value)) {
        return cycles_api_fail(rd, "\"%s\" must be a string", path);
    }

    str->len = json_string_length(value);
    str->data = (unsigned char *) json_string_value(value);

    len = cycles_utf8_length(str->data, str->len);

    if (len < min) {
        return cycles_api_fail(rd, "\"%s\" must not be empty", path);
    }

    if (len > max) {
        return cycles_api_fail(rd, "\"%s\" must have at most %zu characters",
                               path, max);
    }

    return 0;
}


int
cycles_api_integer(cycles_api_reader_t *rd, json_t *value, const char *path,
    int64_t min, int64_t max, int64_t *n)
{
    double  real;

    if (json_is_integer(value)) {
        *n = json_integer_value(value);

    } else {
        real = json_is_real(value) ? json_real_value(value) : 0.5;

        if (real != floor(real) || fabs(real) >= CYCLES_API_MAX_EXACT) {
            return cycles_api_fail(rd, "\"%s\" must be an integer", path);
        }

        *n = (int64_t) real;
    }

    if (*n < min) {
        return cycles_api_fail(rd, "\"%s\" must be at least %lld", path,
                               (long long) min);
    }

    if (*n > max) {
        return cycles_api_fail(rd, "\"%s\" must be at most %lld", path,
                               (long long) max);
    }

    return 0;
}


int
cycles_api_amount(cycles_api_reader_t *rd, json_t *value, const char *path,
    cycles_unit_t *unit, int64_t *n)
{
    char     name[CYCLES_API_MAX_PATH];
    json_t  *text, *amount;

    if (cycles_api_only(rd, value, path, cycles_api_amount_members) != 0) {
        return -1;
    }

    text = json_object_get(value, "unit");
    amount = json_object_get(value, "amount");

    if (text == NULL || amount == NULL) {
        return cycles_api_fail(rd, "\"%s.%s\" is missing", path,
                               text ? "amount" : "unit");
    }

    snprintf(name, sizeof(name), "%s.unit", path);

    if (cycles_api_unit(rd, text, name, unit) != 0) {
        return -1;
    }

    snprintf(name, sizeof(name), "%s.amount", path);

    return cycles_api_integer(rd, amount, name, 0, INT64_MAX, n);
}


int
cycles_api_unit(cycles_api_reader_t *rd, json_t *value, const char *path,
    cycles_unit_t *unit)
{
    int  found;

    found = -1;

    if (json_is_string(value)) {
        found = cycles_unit_find(
                              (const unsigned char *) json_string_value(value),
                              json_string_length(value));
    }

    if (found == -1) {
        return cycles_api_fail(rd, "\"%s\" must be USD_MICROCENTS, TOKENS, "
                               "CREDITS or RISK_POINTS", path);
    }

    *unit = found;

    return 0;
}


int
cycles_api_policy(cycles_api_reader_t *rd, json_t *value, const char *path,
    cycles_policy_t *policy)
{
    int  found;

    found = -1;

    if (json_is_string(value)) {
        found = cycles_policy_find(
                              (const unsigned char *) json_string_value(value),
                              json_string_length(value));
    }

    if (found == -1) {
        return cycles_api_fail(rd, "\"%s\" must be REJECT, "
                               "ALLOW_IF_AVAILABLE or ALLOW_WITH_OVERDRAFT",
                               path);
    }

    *policy = found;

    return 0;
}
