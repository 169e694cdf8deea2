
/*
 * Copyright (C) nginx-cycles authors
 *
 * One text for each JSON value, after RFC 8785: members in the order of their
 * names, no white space, numbers in their shortest form.  Unlike there, an
 * integer keeps all of its 64 bits.
 */


#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_api_reader.h"


typedef struct {
    const char  *name;
    size_t       len;
    json_t      *value;
} cycles_api_pair_t;


static int cycles_api_write_value(cycles_json_t *js, json_t *value);
static int cycles_api_write_object(cycles_json_t *js, json_t *value);
static int cycles_api_pair_cmp(const void *a, const void *b);
static int cycles_api_write_array(cycles_json_t *js, json_t *value);
static void cycles_api_write_text(cycles_json_t *js, const char *text,
    size_t len);
static void cycles_api_write_real(cycles_json_t *js, double n);


int
cycles_api_canonical(cycles_api_reader_t *rd, json_t *value,
    const char *path, size_t max, char **owner, cycles_str_t *str)
{
    cycles_json_t   js;
    unsigned char  *buf, *p;

    buf = malloc(max);

    if (buf == NULL) {
        return cycles_api_fail(rd, "\"%s\" does not fit into memory", path);
    }

    *owner = (char *) buf;

    cycles_json_init(&js, buf, max);

    if (cycles_api_write_value(&js, value) != 0) {
        return cycles_api_fail(rd, "\"%s\" does not fit into memory", path);
    }

    if (js.len > max) {
        return cycles_api_fail(rd, "\"%s\" must have at most %zu bytes", path,
                               max);
    }

    p = realloc(buf, js.len);

    if (p) {
        *owner = (char *) p;
    }

    str->len = js.len;
    str->data = (unsigned char *) *owner;

    return 0;
}


static int
cycles_api_write_value(cycles_json_t *js, json_t *value)
{
    switch (json_typeof(value)) {

    case JSON_OBJECT:
        return cycles_api_write_object(js, value);

    case JSON_ARRAY:
        return cycles_api_write_array(js, value);

    case JSON_STRING:
        cycles_api_write_text(js, json_string_value(value),
                              json_string_length(value));
        break;

    case JSON_INTEGER:
        cycles_json_integer(js, json_integer_value(value));
        break;

    case JSON_REAL:
        cycles_api_write_real(js, json_real_value(value));
        break;

    case JSON_TRUE:
        cycles_json_raw(js, "true", 4);
        break;

    case JSON_FALSE:
        cycles_json_raw(js, "false", 5);
        break;

    default: /* JSON_NULL */
        cycles_json_raw(js, "null", 4);
    }

    return 0;
}


static int
cycles_api_write_object(cycles_json_t *js, json_t *value)
{
    int                 rc;
    void               *iter;
    size_t              i, n;
    cycles_api_pair_t  *pairs;

    n = json_object_size(value);
    pairs = malloc((n + 1) * sizeof(cycles_api_pair_t));

    if (pairs == NULL) {
        return -1;
    }

    for (i = 0, iter = json_object_iter(value);
         iter;
         i++, iter = json_object_iter_next(value, iter))
    {
        pairs[i].name = json_object_iter_key(iter);
        pairs[i].len = json_object_iter_key_len(iter);
        pairs[i].value = json_object_iter_value(iter);
    }

    qsort(pairs, n, sizeof(cycles_api_pair_t), cycles_api_pair_cmp);

    cycles_json_begin(js);

    for (rc = 0, i = 0; i < n && rc == 0; i++) {
        cycles_json_key(js, pairs[i].name, pairs[i].len);
        rc = cycles_api_write_value(js, pairs[i].value);
    }

    cycles_json_end(js);

    free(pairs);

    return rc;
}


static int
cycles_api_pair_cmp(const void *a, const void *b)
{
    int                       rc;
    size_t                    len;
    const cycles_api_pair_t  *one, *two;

    one = a;
    two = b;
    len = one->len < two->len ? one->len : two->len;

    rc = memcmp(one->name, two->name, len);

    return rc ? rc : (one->len > two->len) - (one->len < two->len);
}


static int
cycles_api_write_array(cycles_json_t *js, json_t *value)
{
    int     rc;
    size_t  i;

    cycles_json_raw(js, "[", 1);

    for (rc = 0, i = 0; i < json_array_size(value) && rc == 0; i++) {
        cycles_json_next(js);
        rc = cycles_api_write_value(js, json_array_get(value, i));
    }

    cycles_json_raw(js, "]", 1);

    return rc;
}


static void
cycles_api_write_text(cycles_json_t *js, const char *text, size_t len)
{
    cycles_str_t  s;

    s.len = len;
    s.data = (unsigned char *) text;

    cycles_json_string(js, s);
}


/* as few digits as name the same double again; 1.0 and 1e0 are 1 */

static void
cycles_api_write_real(cycles_json_t *js, double n)
{
    int   len, digits;
    char  text[32];

    if (n == floor(n) && fabs(n) < CYCLES_API_MAX_EXACT) {
        cycles_json_integer(js, (int64_t) n);
        return;
    }

    for (digits = 15; /* void */ ; digits++) {
        len = snprintf(text, sizeof(text), "%.*g", digits, n);

        if (digits == 17 || strtod(text, NULL) == n) {
            break;
        }
    }

    cycles_json_raw(js, text, len);
}
