
/*
 * Copyright (C) nginx-cycles authors
 *
 * Any request made to keep within caps: if it was JSON before, it is JSON
 * afterwards, within the limit, without the tools, and once more is nothing
 * left to be done.  The first byte chooses the API, the second one the caps.
 */


#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "llm/llm_caps.h"


#define MAX_TOOLS  64


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* those whose names begin with a letter up to "m" */

static int
allowed(void *data, const unsigned char *name, size_t len)
{
    return len == 0 || name[0] > 'm';
}


static int
facts_of(llm_api_t api, const uint8_t *text, size_t len, llm_request_t *rq,
    llm_tool_t *tools)
{
    llm_request_init(rq, api);
    llm_request_tools(rq, tools, MAX_TOOLS);

    return llm_request_feed(rq, text, len) == LLM_OK
           && llm_request_finish(rq) == LLM_OK
           && rq->facts.ntools <= MAX_TOOLS;
}


static size_t
edit(const uint8_t *text, size_t len, llm_splice_t *splices, unsigned n,
    uint8_t *out)
{
    size_t    total;
    unsigned  i;
    uint64_t  pos;

    total = 0;
    pos = 0;

    llm_sort_splices(splices, n);

    for (i = 0; i < n; i++) {

        if (splices[i].start < pos || splices[i].end < splices[i].start
            || splices[i].end > len)
        {
            abort();
        }

        memcpy(out + total, text + pos, splices[i].start - pos);
        total += splices[i].start - pos;

        memcpy(out + total, splices[i].text, splices[i].len);
        total += splices[i].len;

        pos = splices[i].end;
    }

    memcpy(out + total, text + pos, len - pos);

    return total + len - pos;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned        n, again;
    json_t         *json;
    int64_t         max;
    uint8_t        *out;
    size_t          len;
    llm_api_t       api;
    llm_request_t   rq;
    llm_splice_t    splices[llm_splices(MAX_TOOLS)];

    static llm_tool_t  tools[MAX_TOOLS];

    if (size < 3) {
        return 0;
    }

    api = data[0] % LLM_APIS;
    max = 1 + data[1] * 16;

    data += 2;
    size -= 2;

    if (!facts_of(api, data, size, &rq, tools) || rq.is_form) {
        return 0;
    }

    json = json_loadb((const char *) data, size, 0, NULL);

    if (json == NULL) {
        return 0;                         /* numbers beyond what it takes */
    }

    json_decref(json);

    n = 0;

    if (llm_clamp(&rq.facts, &rq.edits, LLM_OPENAI, api, max, splices, &n)
        != NULL)
    {
        return 0;
    }

    llm_drop_tools(&rq.facts, &rq.edits, tools, allowed, NULL, splices, &n);

    if (n > llm_splices(rq.facts.ntools)) {
        abort();
    }

    out = malloc(size + n * LLM_SPLICE_TEXT + 1);
    len = edit(data, size, splices, n, out);

    json = json_loadb((const char *) out, len, 0, NULL);

    if (json == NULL) {
        abort();
    }

    json_decref(json);

    if (n) {
        again = 0;

        if (!facts_of(api, out, len, &rq, tools)
            || llm_clamp(&rq.facts, &rq.edits, LLM_OPENAI, api, max, splices,
                         &again)
               != NULL)
        {
            abort();
        }

        llm_drop_tools(&rq.facts, &rq.edits, tools, allowed, NULL, splices,
                       &again);

        if (again) {
            abort();
        }
    }

    free(out);

    return 0;
}
