
/*
 * Copyright (C) nginx-cycles authors
 *
 * Whatever a path is, it has a provider and an API, and what it says of the
 * model is text.  The first byte is the provider, the second the method and
 * the host; a line end ends the host.
 */


#define _GNU_SOURCE

#include <stdlib.h>
#include <string.h>

#include "llm/llm_route.h"
#include "llm/llm_text.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t         len;
    uint8_t       *copy, *end, *path;
    unsigned       provider;
    const char    *method;
    llm_route_t    a, b;

    static const char  *methods[] = { "POST", "GET", "PUT", "" };

    if (size < 3) {
        return 0;
    }

    provider = data[0] % (LLM_PROVIDERS + 1);
    method = methods[data[1] % 4];
    size -= 2;

    copy = malloc(size);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data + 2, size);

    end = memchr(copy, '\n', size);
    len = end ? (size_t) (end - copy) : 0;
    path = end ? end + 1 : copy;
    size -= (size_t) (path - copy);

    llm_route(&a, provider, (const unsigned char *) method, strlen(method),
              copy, len, path, size);
    llm_route(&b, provider, (const unsigned char *) method, strlen(method),
              copy, len, path, size);

    if (memcmp(&a, &b, sizeof(llm_route_t)) != 0) {
        abort();
    }

    if (a.provider >= LLM_PROVIDERS || a.api >= LLM_APIS
        || a.model_len > LLM_MODEL_MAX
        || !llm_text_printable(a.model, a.model_len))
    {
        abort();
    }

    /* what is free is known to be, or reads */

    if (a.free && !a.known && strcmp(method, "GET") != 0) {
        abort();
    }

    /* a step in a path is never free */

    end = memchr(path, '?', size);
    size = end ? (size_t) (end - path) : size;

    if (a.free && strcmp(method, "GET") != 0
        && (memmem(path, size, "/..", 3) || memmem(path, size, "%2e", 3)))
    {
        abort();
    }

    free(copy);

    return 0;
}
