
/*
 * Copyright (C) nginx-cycles authors
 *
 * What is taken for a head is one for a reader that looks at it line by line,
 * and says the same.
 */


#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/cycles_head.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const cycles_head_t *head, const char *text);
static size_t line(const char *text);
static int is(const char *text, size_t len, const char *name);
static void value_is(const char *text, size_t len, cycles_str_t value);
static void same(int cond);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char           *text;
    cycles_head_t   head;

    /* of its exact size; with a zero there is no head to compare */

    text = malloc(size ? size : 1);

    if (text == NULL) {
        abort();
    }

    memcpy(text, data, size);

    if (cycles_head_read(&head, (unsigned char *) text, size) == 0) {
        same(head.size <= size);
        compare(&head, text);
    }

    free(text);

    return 0;
}


static void
compare(const cycles_head_t *head, const char *text)
{
    int         lengths, close;
    size_t      len, name;
    const char  *p, *end;

    lengths = 0;
    close = 0;

    p = text;
    end = text + head->size;

    len = line(p);

    same(strncmp(p, "HTTP/1.1 ", 9) == 0 && len >= 12);
    same((unsigned) strtol(p + 9, NULL, 10) == head->status);
    same(p[12] == ' ' || p[12] == '\r');

    for (p += len + 2; p < end - 2; p += len + 2) {
        len = line(p);
        name = strcspn(p, ":");

        same(name > 0 && name < len);
        same(strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789-") == name);

        same(!is(p, name, "transfer-encoding"));
        same(!is(p, name, "content-encoding"));
        same(!is(p, name, "upgrade"));
        same(strncasecmp(p, "x-accel-", 8) != 0);

        if (is(p, name, "content-length")) {
            lengths++;
            same((size_t) strtol(p + name + 1, NULL, 10)
                 == head->content_length);
        }

        if (is(p, name, "connection")) {
            close |= strncasecmp(p + name + 1 + strspn(p + name + 1, " "),
                                 "close", 5)
                     == 0;
        }
    }

    same(p == end - 2 && p[0] == '\r' && p[1] == '\n');
    same(lengths == 1 && close == (int) head->close);

    value_is(text, head->size, head->request_id);
    value_is(text, head->size, head->trace_id);
    value_is(text, head->size, head->retry_after);
}


/* up to its end, without other controls */

static size_t
line(const char *text)
{
    size_t  i;

    for (i = 0; (unsigned char) text[i] >= ' ' || text[i] == '\t'; i++) {
        /* void */
    }

    same(text[i] == '\r' && text[i + 1] == '\n');

    return i;
}


static int
is(const char *text, size_t len, const char *name)
{
    return strlen(name) == len && strncasecmp(text, name, len) == 0;
}


static void
value_is(const char *text, size_t len, cycles_str_t value)
{
    const char  *p;

    if (value.len == 0) {
        return;
    }

    p = (const char *) value.data;

    same(p > text && p + value.len < text + len);
    same(p[0] != ' ' && p[value.len - 1] != ' ');
    same(memchr(p, '\r', value.len) == NULL);
}


static void
same(int cond)
{
    if (!cond) {
        abort();
    }
}
