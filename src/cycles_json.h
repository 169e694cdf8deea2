
/*
 * Copyright (C) nginx-cycles authors
 *
 * A JSON writer for texts that must come out the same each time, byte for
 * byte.  It writes into the caller's buffer and counts what does not fit, so
 * that a first pass without a buffer tells the size.
 */


#ifndef _CYCLES_JSON_H_INCLUDED_
#define _CYCLES_JSON_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include "cycles.h"


typedef struct {
    unsigned char   *buf;
    size_t           size;
    size_t           len;         /* of the whole text, also past the size */
    unsigned char    last;
} cycles_json_t;


/* buf may be NULL when size is 0 */

void cycles_json_init(cycles_json_t *js, unsigned char *buf, size_t size);


/* text that is JSON already */

void cycles_json_raw(cycles_json_t *js, const void *text, size_t len);

void cycles_json_begin(cycles_json_t *js);
void cycles_json_end(cycles_json_t *js);


/* a comma, unless an object or an array has just begun */

void cycles_json_next(cycles_json_t *js);


/* the name of a member, with the comma before it when there is need of one */

void cycles_json_key(cycles_json_t *js, const void *name, size_t len);


/* a string of arbitrary bytes, see cycles_json_escape() */

void cycles_json_string(cycles_json_t *js, cycles_str_t s);

void cycles_json_integer(cycles_json_t *js, int64_t value);


/* of a number at most; it is written to where there is room for it */

#define CYCLES_JSON_INTEGER  20

unsigned char *cycles_json_digits_write(unsigned char *buf, int64_t value);


/* members, the name zero-terminated and nothing that needs escapes */

void cycles_json_member_string(cycles_json_t *js, const char *name,
    cycles_str_t value);
void cycles_json_member_name(cycles_json_t *js, const char *name,
    const char *value);
void cycles_json_member_integer(cycles_json_t *js, const char *name,
    int64_t value);


#endif /* _CYCLES_JSON_H_INCLUDED_ */
