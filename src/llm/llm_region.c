
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>
#include <strings.h>

#include "llm_route.h"


static int llm_region_label(const unsigned char *host, size_t len,
    const char *before, const char *behind, const unsigned char **region,
    size_t *region_len);
static int llm_region_location(const unsigned char *path, size_t len,
    const unsigned char **region, size_t *region_len);


int
llm_region(llm_provider_t provider, const unsigned char *host,
    size_t host_len, const unsigned char *path, size_t path_len,
    const unsigned char **region, size_t *region_len)
{
    switch (provider) {

    case LLM_OPENAI:
    case LLM_OPENAI_RESPONSES:
    case LLM_OPENAI_IMAGES:
    case LLM_OPENAI_AUDIO:
    case LLM_OPENAI_REALTIME:
        return llm_region_label(host, host_len, "", ".api.openai.com",
                                region, region_len);

    case LLM_BEDROCK:
    case LLM_BEDROCK_CONVERSE:
    case LLM_BEDROCK_INVOKE:
        if (llm_region_label(host, host_len, "bedrock-runtime.",
                             ".amazonaws.com", region, region_len)
            == LLM_OK)
        {
            return LLM_OK;
        }

        return llm_region_label(host, host_len, "bedrock-mantle.",
                                ".api.aws", region, region_len);

    case LLM_VERTEX:
    case LLM_VERTEX_PREDICT:
    case LLM_VERTEX_ANTHROPIC:
        return llm_region_location(path, path_len, region, region_len);

    default:
        return LLM_NOT_FOUND;
    }
}


/* one label between two texts; a port may follow */

static int
llm_region_label(const unsigned char *host, size_t len, const char *before,
    const char *behind, const unsigned char **region, size_t *region_len)
{
    size_t                b, e;
    const unsigned char  *port;

    port = len ? memchr(host, ':', len) : NULL;

    if (port) {
        len = (size_t) (port - host);
    }

    b = strlen(before);
    e = strlen(behind);

    if (len <= b + e
        || strncasecmp((const char *) host, before, b) != 0
        || strncasecmp((const char *) host + len - e, behind, e) != 0
        || memchr(host + b, '.', len - b - e))
    {
        return LLM_NOT_FOUND;
    }

    *region = host + b;
    *region_len = len - b - e;

    return LLM_OK;
}


/* "/v1/projects/P/locations/us-east5/publishers/..." */

static int
llm_region_location(const unsigned char *path, size_t len,
    const unsigned char **region, size_t *region_len)
{
    size_t                n;
    const unsigned char  *p, *last;

    static const char  text[] = "/locations/";

    n = sizeof(text) - 1;
    last = path + len;

    for (p = path; (size_t) (last - p) > n; p++) {

        if (memcmp(p, text, n) == 0) {

            p += n;

            *region = p;

            while (p < last && *p != '/' && *p != '?') {
                p++;
            }

            *region_len = (size_t) (p - *region);

            return *region_len ? LLM_OK : LLM_NOT_FOUND;
        }
    }

    return LLM_NOT_FOUND;
}
