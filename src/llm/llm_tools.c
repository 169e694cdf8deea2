
/*
 * Copyright (C) nginx-cycles authors
 *
 * The tools of a request, each with its name and its place.  They are told
 * apart by their shape, so that one reader does for all dialects:
 *
 *     { "name": N }                                  Anthropic, Responses
 *     { "function" | "custom": { "name": N } }       Chat, Cohere, Ollama
 *     { "toolSpec": { "name": N } }                  Converse
 *     { "functionDeclarations": [ { "name": N } ] }  Gemini
 *     { "type": N }, { N: { } }                      what a provider has
 */


#include <string.h>
#include <strings.h>

#include "llm_request_value.h"


/* how good a name is; llm_request_t.tool_name */

typedef enum {
    LLM_NAME_NONE = 0,
    LLM_NAME_KEY,
    LLM_NAME_TYPE,
    LLM_NAME_OWN,
    LLM_NAME_INNER                        /* a list has those that count */
} llm_tool_name_t;


/* llm_request_t.tool_key, .tool_inner */

typedef enum {
    LLM_KEY_OTHER = 0,
    LLM_KEY_NAME,
    LLM_KEY_TYPE,
    LLM_KEY_FUNCTION,
    LLM_KEY_DECLARATIONS,
    LLM_KEY_USES,
    LLM_KEY_SIZE,                         /* of a search */
    LLM_KEY_CACHE,
    LLM_KEY_TTL
} llm_tool_key_t;


static void llm_tool_begin(llm_request_t *rq, uint64_t array);
static void llm_tool_end(llm_request_t *rq);
static void llm_tool_array_end(llm_request_t *rq, uint64_t start);
static void llm_tool_member(llm_request_t *rq, unsigned depth);
static void llm_tool_string(llm_request_t *rq, unsigned depth);
static void llm_tool_take(llm_request_t *rq, llm_tool_name_t rank);
static llm_tool_key_t llm_tool_key(const llm_json_t *js);
static int llm_tool_searches(const llm_tool_t *tool);
static int llm_tool_begins(const llm_tool_t *tool, const char *text);


void
llm_request_tool(llm_request_t *rq, int event)
{
    int64_t      uses;
    unsigned     depth;
    llm_walk_t  *w;
    llm_json_t  *js;

    w = &rq->walk;
    js = &w->json;

    if (w->all == 0) {

        if (event == LLM_JSON_ARRAY_END) {
            llm_tool_array_end(rq, w->begin[w->depth + 1]);
        }

        return;
    }

    /* 1 inside of the list, 2 inside of an element */

    depth = js->depth - w->all + 1;

    switch (event) {

    case LLM_JSON_OBJECT:
        if (depth == 2) {
            llm_tool_begin(rq, w->begin[w->depth]);

        } else if (depth == 4 && rq->declarations) {
            llm_tool_begin(rq, rq->declarations);
        }

        break;

    case LLM_JSON_ARRAY:
        if (depth == 3 && rq->tool_key == LLM_KEY_DECLARATIONS) {
            rq->declarations = js->start;
        }

        break;

    case LLM_JSON_OBJECT_END:
        if (depth == 1 || (depth == 3 && rq->declarations)) {
            llm_tool_end(rq);
        }

        break;

    case LLM_JSON_ARRAY_END:
        if (depth == 2 && rq->declarations) {
            llm_tool_array_end(rq, rq->declarations);
            rq->tool_name = LLM_NAME_INNER;
            rq->declarations = 0;
        }

        break;

    case LLM_JSON_KEY:
        llm_tool_member(rq, depth);
        break;

    case LLM_JSON_STRING:
        llm_tool_string(rq, depth);
        break;

    case LLM_JSON_NUMBER:
        if (depth == 2 && rq->tool_key == LLM_KEY_USES) {
            uses = llm_json_whole(js->text, js->len);

            if (uses > rq->facts.tool_uses) {
                rq->facts.tool_uses = uses;
            }
        }

        break;

    default:
        break;
    }
}


static void
llm_tool_begin(llm_request_t *rq, uint64_t array)
{
    rq->tool.span.start = rq->walk.json.start;
    rq->tool.array.start = array;
    rq->tool.array.end = 0;
    rq->tool.name_len = 0;

    rq->tool_name = LLM_NAME_NONE;
    rq->tool_key = LLM_KEY_OTHER;
    rq->tool_inner = LLM_KEY_OTHER;
}


static void
llm_tool_end(llm_request_t *rq)
{
    llm_facts_t  *facts;

    facts = &rq->facts;

    if (rq->tool_name == LLM_NAME_INNER) {
        rq->tool_name = LLM_NAME_NONE;
        return;
    }

    rq->tool.span.end = rq->walk.json.offset;

    if (llm_tool_searches(&rq->tool)) {
        facts->web_search = 1;

    } else if (llm_tool_begins(&rq->tool, "file_search")) {
        facts->file_search = 1;

    } else if (llm_tool_begins(&rq->tool, "code_interpreter")) {
        facts->code_session = 1;
    }

    if (facts->ntools < rq->room) {
        rq->tools[facts->ntools] = rq->tool;
    }

    facts->ntools++;
}


static void
llm_tool_array_end(llm_request_t *rq, uint64_t start)
{
    unsigned  i, n;

    n = (rq->facts.ntools < rq->room) ? rq->facts.ntools : rq->room;

    for (i = 0; i < n; i++) {

        if (rq->tools[i].array.start == start) {
            rq->tools[i].array.end = rq->walk.json.offset;
        }
    }
}


static void
llm_tool_member(llm_request_t *rq, unsigned depth)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    switch (depth) {

    case 2:
        rq->tool_key = llm_tool_key(js);

        if (rq->tool_key == LLM_KEY_CACHE) {
            rq->facts.cache_write = 1;
        }

        if (rq->tool_name == LLM_NAME_NONE && js->text
            && js->len <= LLM_TOOL_NAME)
        {
            memcpy(rq->tool.name, js->text, js->len);
            rq->tool.name_len = js->len;
            rq->tool_name = LLM_NAME_KEY;
        }

        break;

    case 3:
        rq->tool_inner = llm_tool_key(js);
        break;

    case 4:
        if (rq->declarations) {
            rq->tool_inner = llm_tool_key(js);
        }

        break;

    default:
        break;
    }
}


static void
llm_tool_string(llm_request_t *rq, unsigned depth)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    if (depth == 2 && rq->tool_key == LLM_KEY_NAME) {
        llm_tool_take(rq, LLM_NAME_OWN);

    } else if (depth == 2 && rq->tool_key == LLM_KEY_TYPE) {
        llm_tool_take(rq, LLM_NAME_TYPE);

    } else if (depth == 3 && rq->tool_key == LLM_KEY_FUNCTION
               && rq->tool_inner == LLM_KEY_NAME)
    {
        llm_tool_take(rq, LLM_NAME_OWN);

    } else if (depth == 4 && rq->declarations
               && rq->tool_inner == LLM_KEY_NAME)
    {
        llm_tool_take(rq, LLM_NAME_OWN);

    } else if (depth == 2 && rq->tool_key == LLM_KEY_SIZE
               && js->first && js->last)
    {
        rq->facts.search = llm_search_size(js->text, js->len);

    } else if (depth == 3 && rq->tool_key == LLM_KEY_CACHE
               && rq->tool_inner == LLM_KEY_TTL
               && js->first && js->len && js->text[0] == '1')
    {
        rq->facts.cache_write_1h = 1;
    }
}


/* a piece of a name, unless there is a better one */

static void
llm_tool_take(llm_request_t *rq, llm_tool_name_t rank)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    if (rq->tool_name > rank) {
        return;
    }

    if (js->first) {
        llm_text_init(&rq->text, rq->tool.name, LLM_TOOL_NAME);
    }

    llm_text_add(&rq->text, js->text, js->len);

    if (js->last) {
        rq->tool.name_len = (rq->text.len <= LLM_TOOL_NAME) ? rq->text.len
                                                            : 0;
        rq->tool_name = rank;
    }
}


static llm_tool_key_t
llm_tool_key(const llm_json_t *js)
{
    size_t  i;

    static const struct {
        const char      *name;
        llm_tool_key_t   key;
    } keys[] = {
        { "name", LLM_KEY_NAME },
        { "type", LLM_KEY_TYPE },
        { "function", LLM_KEY_FUNCTION },
        { "custom", LLM_KEY_FUNCTION },
        { "toolSpec", LLM_KEY_FUNCTION },
        { "functionDeclarations", LLM_KEY_DECLARATIONS },
        { "function_declarations", LLM_KEY_DECLARATIONS },
        { "max_uses", LLM_KEY_USES },
        { "search_context_size", LLM_KEY_SIZE },
        { "cache_control", LLM_KEY_CACHE },
        { "cachePoint", LLM_KEY_CACHE },
        { "ttl", LLM_KEY_TTL }
    };

    if (js->text == NULL) {
        return LLM_KEY_OTHER;
    }

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {

        if (strlen(keys[i].name) == js->len
            && memcmp(keys[i].name, js->text, js->len) == 0)
        {
            return keys[i].key;
        }
    }

    return LLM_KEY_OTHER;
}


/* "web_search", "web_search_20250305", "googleSearch", "google_search" */

static int
llm_tool_searches(const llm_tool_t *tool)
{
    return llm_tool_begins(tool, "web_search")
           || llm_tool_begins(tool, "googleSearch")
           || llm_tool_begins(tool, "google_search");
}


static int
llm_tool_begins(const llm_tool_t *tool, const char *text)
{
    size_t  n;

    n = strlen(text);

    return tool->name_len >= n
           && strncasecmp((const char *) tool->name, text, n) == 0;
}
