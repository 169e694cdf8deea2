
/*
 * Copyright (C) nginx-cycles authors
 *
 * Requests made to keep within caps.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llm_caps.h"


static int llm_makes_tokens(llm_api_t api);
static const char *llm_clamp_thinking(const llm_edits_t *edits, int64_t max,
    llm_splice_t *splices, unsigned *n);
static void llm_clamp_limits(const llm_edits_t *edits, llm_api_t api,
    int64_t max, llm_splice_t *splices, unsigned *n);
static const char *llm_add_limit(const llm_facts_t *facts,
    const llm_edits_t *edits, llm_provider_t provider, llm_api_t api,
    int64_t max, llm_splice_t *splice);
static unsigned llm_array_end(const llm_tool_t *tools, unsigned n,
    unsigned i);
static void llm_drop_some(const llm_tool_t *tools, unsigned n,
    llm_allowed_pt allowed, void *data, llm_splice_t *splices,
    unsigned *nsplices);
static void llm_drop_members(const llm_facts_t *facts,
    const llm_edits_t *edits, unsigned mask, llm_splice_t *splices,
    unsigned *n);
static void llm_alone(const llm_facts_t *facts, llm_splice_t *splices,
    unsigned n);
static int llm_place_cmp(const void *a, const void *b);
static int llm_splice_cmp(const void *a, const void *b);
static void llm_cut(llm_splice_t *splices, unsigned *n, uint64_t start,
    uint64_t end);


const char *
llm_clamp(const llm_facts_t *facts, const llm_edits_t *edits,
    llm_provider_t provider, llm_api_t api, int64_t max_tokens,
    llm_splice_t *splices, unsigned *n)
{
    int64_t      max;
    const char  *why;

    if (!llm_makes_tokens(api)) {
        return NULL;
    }

    /* the cap is on what is generated in all, a limit is per choice */

    max = max_tokens / facts->choices;

    if (max < 1) {
        max = 1;
    }

    if (facts->max_tokens >= 0 && facts->max_tokens <= max) {
        return NULL;
    }

    if (edits->more_limits) {
        return "it has too many limits";
    }

    if (api == LLM_API_RESPONSES && max < LLM_LEAST_OUTPUT) {
        return "the cap is below the least limit that its API takes";
    }

    if (api == LLM_API_MESSAGES) {
        why = llm_clamp_thinking(edits, max, splices, n);

        if (why) {
            return why;
        }
    }

    if (edits->max_tokens_value.end) {
        llm_clamp_limits(edits, api, max, splices, n);
        return NULL;
    }

    why = llm_add_limit(facts, edits, provider, api, max, &splices[*n]);

    if (why == NULL) {
        (*n)++;
    }

    return why;
}


/* the one that counts; of an API that is not known any of them may */

static void
llm_clamp_limits(const llm_edits_t *edits, llm_api_t api, int64_t max,
    llm_splice_t *splices, unsigned *n)
{
    unsigned            i;
    llm_splice_t       *splice;
    const llm_limit_t  *limit;

    for (i = 0; i < edits->nlimits; i++) {

        limit = &edits->limits[i];

        if (limit->span.start != edits->max_tokens_value.start
            && (api != LLM_API_OTHER || limit->value <= max))
        {
            continue;
        }

        splice = &splices[(*n)++];

        splice->start = limit->span.start;
        splice->end = limit->span.end;
        splice->len = snprintf((char *) splice->text, LLM_SPLICE_TEXT, "%lld",
                               (long long) max);
    }
}


static int
llm_makes_tokens(llm_api_t api)
{
    switch (api) {

    case LLM_API_EMBEDDINGS:
    case LLM_API_IMAGES:
    case LLM_API_TRANSCRIPTIONS:
    case LLM_API_SPEECH:
    case LLM_API_GEMINI_EMBED:
    case LLM_API_PREDICT:
    case LLM_API_COHERE_EMBED:
        return 0;

    default:
        return 1;
    }
}


/* it has to be below the limit, and leaves something to say */

static const char *
llm_clamp_thinking(const llm_edits_t *edits, int64_t max,
    llm_splice_t *splices, unsigned *n)
{
    int64_t        budget;
    llm_splice_t  *splice;

    if (edits->thinking.name == NULL || edits->thinking.value < max) {
        return NULL;
    }

    budget = max - max / 4;

    if (budget < LLM_LEAST_THINKING) {
        budget = LLM_LEAST_THINKING;
    }

    if (budget >= max) {
        return "the cap leaves no room for its thinking";
    }

    splice = &splices[(*n)++];

    splice->start = edits->thinking.span.start;
    splice->end = edits->thinking.span.end;
    splice->len = snprintf((char *) splice->text, LLM_SPLICE_TEXT, "%lld",
                           (long long) budget);

    return NULL;
}


static const char *
llm_add_limit(const llm_facts_t *facts, const llm_edits_t *edits,
    llm_provider_t provider, llm_api_t api, int64_t max, llm_splice_t *splice)
{
    int          len;
    char        *text;
    const char  *name, *object;

    name = llm_limit_name(provider, api, &object);

    if (name == NULL) {
        return "there is no limit of tokens that its API would take";
    }

    text = (char *) splice->text;

    if (object == NULL || edits->config.end == 0) {
        splice->start = facts->object_start;
        splice->end = facts->object_start;

        len = object ? snprintf(text, LLM_SPLICE_TEXT, "\"%s\":{\"%s\":%lld}%s",
                                object, name, (long long) max,
                                facts->empty ? "" : ",")
                     : snprintf(text, LLM_SPLICE_TEXT, "\"%s\":%lld%s", name,
                                (long long) max, facts->empty ? "" : ",");

    } else if (edits->config_start == 0) {

        /* null instead of the object */

        splice->start = edits->config.start;
        splice->end = edits->config.end;

        len = snprintf(text, LLM_SPLICE_TEXT, "{\"%s\":%lld}", name,
                       (long long) max);

    } else {
        splice->start = edits->config_start;
        splice->end = edits->config_start;

        len = snprintf(text, LLM_SPLICE_TEXT, "\"%s\":%lld%s", name,
                       (long long) max, edits->config_empty ? "" : ",");
    }

    splice->len = len;

    return NULL;
}


void
llm_drop_tools(const llm_facts_t *facts, const llm_edits_t *edits,
    const llm_tool_t *tools, llm_allowed_pt allowed, void *data,
    llm_splice_t *splices, unsigned *n)
{
    unsigned  i, end, kept, dropped, mask;

    kept = 0;
    dropped = 0;

    for (i = 0; i < facts->ntools; i++) {

        if (allowed(data, tools[i].name, tools[i].name_len)) {
            kept++;

        } else {
            dropped++;
        }
    }

    mask = 0;

    if (dropped && kept == 0) {

        /* a choice among no tools is an error to all */

        mask = 1u << LLM_PLACE_TOOLS | 1u << LLM_PLACE_FUNCTIONS
               | 1u << LLM_PLACE_TOOL_CHOICE | 1u << LLM_PLACE_FUNCTION_CALL;

    } else {

        if (edits->tool_choice_len
            && !allowed(data, edits->tool_choice, edits->tool_choice_len))
        {
            mask = 1u << LLM_PLACE_TOOL_CHOICE
                   | 1u << LLM_PLACE_FUNCTION_CALL;
        }

        for (i = 0; dropped && i < facts->ntools; i = end) {
            end = llm_array_end(tools, facts->ntools, i);

            llm_drop_some(tools + i, end - i, allowed, data, splices, n);
        }
    }

    llm_drop_members(facts, edits, mask, splices, n);
}


/* the first one that is of another array */

static unsigned
llm_array_end(const llm_tool_t *tools, unsigned n, unsigned i)
{
    unsigned  end;

    for (end = i + 1; end < n; end++) {

        if (tools[end].array.start != tools[i].array.start) {
            break;
        }
    }

    return end;
}


/* of one array: with the comma in front, or, if all before it go, behind it */

static void
llm_drop_some(const llm_tool_t *tools, unsigned n, llm_allowed_pt allowed,
    void *data, llm_splice_t *splices, unsigned *nsplices)
{
    unsigned  i, kept;

    kept = 0;

    for (i = 0; i < n; i++) {

        if (allowed(data, tools[i].name, tools[i].name_len)) {
            kept = 1;

        } else if (kept) {
            llm_cut(splices, nsplices, tools[i - 1].span.end,
                    tools[i].span.end);

        } else if (i + 1 < n) {
            llm_cut(splices, nsplices, tools[i].span.start,
                    tools[i + 1].span.start);

        } else {
            llm_cut(splices, nsplices, tools[i].span.start,
                    tools[i].span.end);
        }
    }
}


static void
llm_drop_members(const llm_facts_t *facts, const llm_edits_t *edits,
    unsigned mask, llm_splice_t *splices, unsigned *n)
{
    unsigned             i, count, leading;
    uint64_t             end;
    const llm_place_t   *place;
    const llm_place_t   *places[LLM_PLACES];

    count = 0;

    for (i = 0; i < LLM_PLACES; i++) {

        if ((mask & 1u << i) && edits->places[i].span.end) {
            places[count++] = &edits->places[i];
        }
    }

    qsort(places, count, sizeof(places[0]), llm_place_cmp);

    leading = 0;
    end = 0;

    for (i = 0; i < count; i++) {
        place = places[i];

        if (place->span.end <= end) {

            /* Converse has the choice inside of what has gone */

            continue;
        }

        /* the first of its object, also if what was before it has gone */

        leading = (place->before == 0 || (leading && place->before < end));

        if (!leading) {
            llm_cut(splices, n, place->before, place->span.end);
            end = place->span.end;

        } else if (place->next) {
            llm_cut(splices, n, place->span.start, place->next + 1);
            end = place->next + 1;

        } else {
            llm_cut(splices, n, place->span.start, place->span.end);
            end = place->span.end;

            if (place->root) {
                llm_alone(facts, splices, *n);
            }
        }
    }
}


/* nothing is left behind a limit that was put in front of all */

static void
llm_alone(const llm_facts_t *facts, llm_splice_t *splices, unsigned n)
{
    unsigned       i;
    llm_splice_t  *splice;

    for (i = 0; i < n; i++) {

        splice = &splices[i];

        if (splice->start == facts->object_start
            && splice->end == facts->object_start
            && splice->len && splice->text[splice->len - 1] == ',')
        {
            splice->len--;
        }
    }
}


static int
llm_place_cmp(const void *a, const void *b)
{
    const llm_place_t *const *x = a, *const *y = b;

    return ((*x)->span.start > (*y)->span.start)
           - ((*x)->span.start < (*y)->span.start);
}


static void
llm_cut(llm_splice_t *splices, unsigned *n, uint64_t start, uint64_t end)
{
    llm_splice_t  *splice;

    splice = &splices[(*n)++];

    splice->start = start;
    splice->end = end;
    splice->len = 0;
}


void
llm_sort_splices(llm_splice_t *splices, unsigned n)
{
    qsort(splices, n, sizeof(llm_splice_t), llm_splice_cmp);
}


static int
llm_splice_cmp(const void *a, const void *b)
{
    const llm_splice_t *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}
