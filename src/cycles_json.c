
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "cycles_json.h"


void
cycles_json_init(cycles_json_t *js, unsigned char *buf, size_t size)
{
    js->buf = buf;
    js->size = size;
    js->len = 0;
    js->last = 0;
}


void
cycles_json_raw(cycles_json_t *js, const void *text, size_t len)
{
    size_t  n;

    if (len == 0) {
        return;
    }

    if (js->len < js->size) {
        n = js->size - js->len;
        memcpy(js->buf + js->len, text, n < len ? n : len);
    }

    js->len += len;
    js->last = ((const unsigned char *) text)[len - 1];
}


void
cycles_json_begin(cycles_json_t *js)
{
    cycles_json_raw(js, "{", 1);
}


void
cycles_json_end(cycles_json_t *js)
{
    cycles_json_raw(js, "}", 1);
}


void
cycles_json_next(cycles_json_t *js)
{
    if (js->last != '{' && js->last != '[') {
        cycles_json_raw(js, ",", 1);
    }
}


void
cycles_json_key(cycles_json_t *js, const void *name, size_t len)
{
    cycles_str_t  s;

    cycles_json_next(js);

    s.len = len;
    s.data = (unsigned char *) name;

    cycles_json_string(js, s);
    cycles_json_raw(js, ":", 1);
}


void
cycles_json_string(cycles_json_t *js, cycles_str_t s)
{
    size_t  n;

    cycles_json_raw(js, "\"", 1);

    n = cycles_json_escaped(s.data, s.len);

    if (js->len + n <= js->size) {
        (void) cycles_json_escape(js->buf + js->len, s.data, s.len);
    }

    js->len += n;

    cycles_json_raw(js, "\"", 1);
}


void
cycles_json_integer(cycles_json_t *js, int64_t value)
{
    char      text[20], *p;
    uint64_t  n;

    p = text + sizeof(text);
    n = value < 0 ? 0 - (uint64_t) value : (uint64_t) value;

    do {
        *--p = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    if (value < 0) {
        *--p = '-';
    }

    cycles_json_raw(js, p, text + sizeof(text) - p);
}


void
cycles_json_member_string(cycles_json_t *js, const char *name,
    cycles_str_t value)
{
    cycles_json_key(js, name, strlen(name));
    cycles_json_string(js, value);
}


void
cycles_json_member_name(cycles_json_t *js, const char *name,
    const char *value)
{
    cycles_str_t  s;

    s.len = strlen(value);
    s.data = (unsigned char *) value;

    cycles_json_member_string(js, name, s);
}


void
cycles_json_member_integer(cycles_json_t *js, const char *name, int64_t value)
{
    cycles_json_key(js, name, strlen(name));
    cycles_json_integer(js, value);
}
