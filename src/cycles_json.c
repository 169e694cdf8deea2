
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "cycles_json.h"


/* no byte of a string takes more when it is escaped */

#define CYCLES_JSON_ESCAPED  6


static void cycles_json_char(cycles_json_t *js, unsigned char ch);
static void cycles_json_name(cycles_json_t *js, const char *name);


/* two of them for each number below 100 */

static const char  cycles_json_digits[] =
    "00010203040506070809101112131415161718192021222324"
    "25262728293031323334353637383940414243444546474849"
    "50515253545556575859606162636465666768697071727374"
    "75767778798081828384858687888990919293949596979899";


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


static void
cycles_json_char(cycles_json_t *js, unsigned char ch)
{
    if (js->len < js->size) {
        js->buf[js->len] = ch;
    }

    js->len++;
    js->last = ch;
}


void
cycles_json_begin(cycles_json_t *js)
{
    cycles_json_char(js, '{');
}


void
cycles_json_end(cycles_json_t *js)
{
    cycles_json_char(js, '}');
}


void
cycles_json_next(cycles_json_t *js)
{
    if (js->last != '{' && js->last != '[') {
        cycles_json_char(js, ',');
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
    cycles_json_char(js, ':');
}


/* one of those that we give, which need no escapes */

static void
cycles_json_name(cycles_json_t *js, const char *name)
{
    size_t          len;
    unsigned char  *p;

    len = strlen(name);

    if (js->len > js->size || js->size - js->len < len + 4) {
        cycles_json_next(js);
        cycles_json_char(js, '"');
        cycles_json_raw(js, name, len);
        cycles_json_raw(js, "\":", 2);
        return;
    }

    /* it fits, with a comma */

    p = js->buf + js->len;

    if (js->last != '{' && js->last != '[') {
        *p++ = ',';
    }

    *p++ = '"';
    memcpy(p, name, len);
    p += len;
    *p++ = '"';
    *p++ = ':';

    js->len = (size_t) (p - js->buf);
    js->last = ':';
}


void
cycles_json_string(cycles_json_t *js, cycles_str_t s)
{
    size_t          n;
    unsigned char  *p;

    cycles_json_char(js, '"');

    if (js->len < js->size
        && s.len < (js->size - js->len) / CYCLES_JSON_ESCAPED)
    {
        /* it fits whatever is in it */

        p = js->buf + js->len;
        js->len += (size_t) (cycles_json_escape(p, s.data, s.len) - p);

    } else {
        n = cycles_json_escaped(s.data, s.len);

        if (js->len + n <= js->size) {
            (void) cycles_json_escape(js->buf + js->len, s.data, s.len);
        }

        js->len += n;
    }

    cycles_json_char(js, '"');
}


void
cycles_json_integer(cycles_json_t *js, int64_t value)
{
    unsigned char  text[CYCLES_JSON_INTEGER];

    cycles_json_raw(js, text,
                    (size_t) (cycles_json_digits_write(text, value) - text));
}


unsigned char *
cycles_json_digits_write(unsigned char *buf, int64_t value)
{
    size_t          len;
    uint64_t        n;
    unsigned char   text[CYCLES_JSON_INTEGER], *p;

    p = text + sizeof(text);
    n = value < 0 ? 0 - (uint64_t) value : (uint64_t) value;

    while (n >= 100) {
        p -= 2;
        memcpy(p, cycles_json_digits + 2 * (n % 100), 2);
        n /= 100;
    }

    if (n >= 10) {
        p -= 2;
        memcpy(p, cycles_json_digits + 2 * n, 2);

    } else {
        *--p = (unsigned char) ('0' + n);
    }

    if (value < 0) {
        *--p = '-';
    }

    len = (size_t) (text + sizeof(text) - p);
    memcpy(buf, p, len);

    return buf + len;
}


void
cycles_json_member_string(cycles_json_t *js, const char *name,
    cycles_str_t value)
{
    cycles_json_name(js, name);
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
    cycles_json_name(js, name);
    cycles_json_integer(js, value);
}
