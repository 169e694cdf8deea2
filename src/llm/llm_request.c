
/*
 * Copyright (C) nginx-cycles authors
 *
 * A body that two readers may understand differently is refused: what was
 * reserved must be what the provider does.  So the text is read strictly, and
 * a member that matters may be there only once.
 */


#include <string.h>
#include <strings.h>

#include "llm_request.h"
#include "llm_dialect.h"


/*
 * Tokens of what is not text.  A message is framed by four, the reply is
 * primed by three, and tools come with nine (the chat template).  The rest is
 * judgement: the dearest usual image; speech at 64 kbit/s and 10 tokens for a
 * second; a page of a PDF with 20 KB and 1,250 tokens.
 */

#define LLM_MESSAGE_TOKENS     4
#define LLM_REPLY_TOKENS       3
#define LLM_TOOLS_TOKENS       9
#define LLM_IMAGE_TOKENS       1500
#define LLM_VIDEO_TOKENS       8000
#define LLM_AUDIO_TOKENS       100
#define LLM_AUDIO_TOKEN_BYTES  1024
#define LLM_FILE_TOKENS        1500
#define LLM_FILE_TOKEN_BYTES   16

#define LLM_CHOICES_MAX        128


static int llm_request_event(llm_request_t *rq, int event);
static int llm_request_once(llm_request_t *rq, const llm_member_t *m,
    int event);
static int llm_request_wrong(llm_request_t *rq, const llm_member_t *m);
static int llm_request_key(llm_request_t *rq);
static int llm_request_model(llm_request_t *rq, int event);
static int llm_request_stream(llm_request_t *rq, int event);
static int llm_request_stream_options(llm_request_t *rq, int event);
static int llm_request_max_tokens(llm_request_t *rq, int event);
static int llm_request_choices(llm_request_t *rq, int event);
static int llm_request_messages(llm_request_t *rq, int event);
static int llm_request_schema(llm_request_t *rq, int event);
static void llm_request_text(llm_request_t *rq, int event);
static void llm_request_media(llm_request_t *rq, int event);
static uint64_t llm_request_constant(unsigned kind);


void
llm_request_init(llm_request_t *rq, llm_api_t api)
{
    memset(&rq->facts, 0, sizeof(llm_facts_t));

    rq->facts.max_tokens = -1;
    rq->facts.choices = 1;
    rq->facts.images = -1;
    rq->facts.characters = -1;
    rq->facts.tool_uses = -1;

    rq->api = api;
    rq->seen = 0;
    rq->audio = 0;
    rq->files = 0;
    rq->completion = 0;
    rq->has_tools = 0;
    rq->tools = NULL;
    rq->room = 0;
    rq->error = NULL;

    llm_walk_init(&rq->walk, llm_dialect(api)->request, 1);
    llm_estimate_init(&rq->estimate);
}


void
llm_request_tools(llm_request_t *rq, llm_tool_t *tools, unsigned n)
{
    rq->tools = tools;
    rq->room = n;
}


const char *
llm_limit_name(llm_provider_t provider, llm_api_t api, const char **object)
{
    *object = NULL;

    return "max_completion_tokens";
}


int
llm_request_feed(llm_request_t *rq, const unsigned char *p, size_t n)
{
    int                   event;
    const unsigned char  *last;

    if (rq->error) {
        return LLM_ERROR;
    }

    if (n && rq->walk.json.offset == 0 && *p == 0xef) {
        rq->error = "the body begins with a byte order mark";
        return LLM_ERROR;
    }

    last = p + n;

    for ( ;; ) {

        event = llm_walk_next(&rq->walk, &p, last);

        if (event == LLM_JSON_AGAIN) {
            return LLM_OK;
        }

        if (event == LLM_JSON_ERROR) {
            rq->error = rq->walk.json.error;
            return LLM_ERROR;
        }

        if (llm_request_event(rq, event) != LLM_OK) {
            return LLM_ERROR;
        }
    }
}


int
llm_request_finish(llm_request_t *rq)
{
    llm_json_t   *js;
    llm_facts_t  *facts;

    if (rq->error) {
        return LLM_ERROR;
    }

    js = &rq->walk.json;
    facts = &rq->facts;

    if (facts->object_start == 0) {
        rq->error = llm_json_blank(js) ? "the body is empty"
                                       : "the body must be a JSON object";
        return LLM_ERROR;
    }

    if (!llm_json_complete(js)) {
        rq->error = "the body ends before its JSON does";
        return LLM_ERROR;
    }

    llm_estimate_add(&rq->estimate, rq->audio / LLM_AUDIO_TOKEN_BYTES);
    llm_estimate_add(&rq->estimate, rq->files / LLM_FILE_TOKEN_BYTES);

    facts->input_tokens = llm_estimate_tokens(&rq->estimate);

    return LLM_OK;
}


const char *
llm_request_error(const llm_request_t *rq)
{
    return rq->error;
}


static int
llm_request_event(llm_request_t *rq, int event)
{
    const llm_member_t  *m;

    m = rq->walk.member;

    if (event == LLM_JSON_KEY && !rq->walk.all) {
        return llm_request_key(rq);
    }

    if (m->twice && llm_request_once(rq, m, event) != LLM_OK) {
        return LLM_ERROR;
    }

    switch (m->kind) {

    case LLM_MODEL:
        return llm_request_model(rq, event);

    case LLM_STREAM:
    case LLM_INCLUDE_USAGE:
        return llm_request_stream(rq, event);

    case LLM_STREAM_OPTIONS:
        return llm_request_stream_options(rq, event);

    case LLM_MAX_TOKENS:
    case LLM_MAX_COMPLETION_TOKENS:
        return llm_request_max_tokens(rq, event);

    case LLM_CHOICES:
        return llm_request_choices(rq, event);

    case LLM_MESSAGES:
        return llm_request_messages(rq, event);

    case LLM_TOOLS:
    case LLM_SCHEMA:
        return llm_request_schema(rq, event);

    case LLM_TEXT:
        llm_request_text(rq, event);
        break;

    case LLM_PLAIN:
        if (m == rq->walk.root) {

            if (event == LLM_JSON_OBJECT) {
                rq->facts.object_start = rq->walk.json.offset;

            } else if (event == LLM_JSON_OBJECT_END) {
                rq->facts.empty = rq->walk.json.empty;

            } else {
                rq->error = "the body must be a JSON object";
                return LLM_ERROR;
            }
        }

        break;

    default:
        llm_request_media(rq, event);
    }

    return LLM_OK;
}


/* a value begins: has the member been there before? */

static int
llm_request_once(llm_request_t *rq, const llm_member_t *m, int event)
{
    int          container;
    uint64_t     bit;
    llm_walk_t  *w;

    w = &rq->walk;
    container = (event == LLM_JSON_OBJECT || event == LLM_JSON_ARRAY);

    if (w->element
        || event == LLM_JSON_OBJECT_END
        || event == LLM_JSON_ARRAY_END
        || (event == LLM_JSON_STRING && !w->json.first)
        || (w->all && !(container && w->json.depth == w->all)))
    {
        return LLM_OK;
    }

    bit = (uint64_t) 1 << m->slot;

    if (rq->seen & bit) {
        rq->error = m->twice;
        return LLM_ERROR;
    }

    rq->seen |= bit;

    return LLM_OK;
}


static int
llm_request_wrong(llm_request_t *rq, const llm_member_t *m)
{
    rq->error = m->wrong;

    return LLM_ERROR;
}


/*
 * Some servers find their members whatever the case of the letters: to these
 * "Max_Tokens" is a limit that was not reserved.
 */

static int
llm_request_key(llm_request_t *rq)
{
    llm_json_t          *js;
    const llm_member_t  *m;

    js = &rq->walk.json;

    if (js->text == NULL) {
        return LLM_OK;
    }

    for (m = rq->walk.root->members; m->len; m++) {

        if (m->len == js->len
            && strncasecmp(m->name, (const char *) js->text, m->len) == 0)
        {
            rq->error = "a member that matters is not in lower case";
            return LLM_ERROR;
        }
    }

    return LLM_OK;
}


static int
llm_request_model(llm_request_t *rq, int event)
{
    llm_json_t   *js;
    llm_facts_t  *facts;

    js = &rq->walk.json;
    facts = &rq->facts;

    if (event != LLM_JSON_STRING) {
        return llm_request_wrong(rq, rq->walk.member);
    }

    if (js->first) {
        llm_text_init(&rq->text, facts->model, LLM_MODEL_MAX);
    }

    llm_text_add(&rq->text, js->text, js->len);

    if (!js->last) {
        return LLM_OK;
    }

    if (rq->text.len > LLM_MODEL_MAX) {
        rq->error = "member \"model\" is longer than 256 bytes";
        return LLM_ERROR;
    }

    if (!llm_text_printable(facts->model, rq->text.len)) {
        rq->error = "member \"model\" must be printable text";
        return LLM_ERROR;
    }

    facts->model_len = rq->text.len;

    return LLM_OK;
}


/*
 * A null "include_usage" is a choice of the client as well: a second member
 * of that name in front of it would not count.
 */

static int
llm_request_stream(llm_request_t *rq, int event)
{
    if (event != LLM_JSON_TRUE
        && event != LLM_JSON_FALSE
        && event != LLM_JSON_NULL)
    {
        return llm_request_wrong(rq, rq->walk.member);
    }

    if (rq->walk.member->kind == LLM_INCLUDE_USAGE) {
        rq->facts.include_usage = 1;

    } else {
        rq->facts.stream = (event == LLM_JSON_TRUE);
    }

    return LLM_OK;
}


static int
llm_request_stream_options(llm_request_t *rq, int event)
{
    llm_json_t   *js;
    llm_facts_t  *facts;

    js = &rq->walk.json;
    facts = &rq->facts;

    switch (event) {

    case LLM_JSON_OBJECT:
        facts->stream_options.start = js->start;
        facts->stream_options_start = js->offset;
        return LLM_OK;

    case LLM_JSON_OBJECT_END:
        facts->stream_options_empty = js->empty;
        break;

    case LLM_JSON_NULL:
        facts->stream_options.start = js->start;
        break;

    default:
        return llm_request_wrong(rq, rq->walk.member);
    }

    facts->stream_options.end = js->offset;

    return LLM_OK;
}


static int
llm_request_max_tokens(llm_request_t *rq, int event)
{
    int64_t              value;
    llm_json_t          *js;
    llm_facts_t         *facts;
    const llm_member_t  *m;

    m = rq->walk.member;
    js = &rq->walk.json;
    facts = &rq->facts;

    if (event == LLM_JSON_NULL) {

        /* a limit goes there: another member of that name would not count */

        if (facts->max_tokens < 0
            && (m->kind == LLM_MAX_COMPLETION_TOKENS
                || facts->max_tokens_value.end == 0))
        {
            facts->max_tokens_value.start = js->start;
            facts->max_tokens_value.end = js->offset;
        }

        return LLM_OK;
    }

    if (event != LLM_JSON_NUMBER) {
        return llm_request_wrong(rq, m);
    }

    value = llm_json_whole(js->text, js->len);

    if (value < 1) {
        return llm_request_wrong(rq, m);
    }

    if (m->kind == LLM_MAX_COMPLETION_TOKENS) {
        rq->completion = 1;

    } else if (rq->completion) {
        return LLM_OK;
    }

    facts->max_tokens = value;
    facts->max_tokens_value.start = js->start;
    facts->max_tokens_value.end = js->offset;

    return LLM_OK;
}


static int
llm_request_choices(llm_request_t *rq, int event)
{
    int64_t      value;
    llm_json_t  *js;

    if (event == LLM_JSON_NULL) {
        return LLM_OK;
    }

    js = &rq->walk.json;
    value = (event == LLM_JSON_NUMBER) ? llm_json_whole(js->text, js->len)
                                       : -1;

    if (value < 1 || value > LLM_CHOICES_MAX) {
        return llm_request_wrong(rq, rq->walk.member);
    }

    rq->facts.choices = value;

    return LLM_OK;
}


static int
llm_request_messages(llm_request_t *rq, int event)
{
    if (rq->walk.element) {

        if (event == LLM_JSON_OBJECT) {
            llm_estimate_add(&rq->estimate, LLM_MESSAGE_TOKENS);
        }

        return LLM_OK;
    }

    if (event == LLM_JSON_ARRAY) {
        llm_estimate_add(&rq->estimate, LLM_REPLY_TOKENS);
        return LLM_OK;
    }

    return (event == LLM_JSON_ARRAY_END)
           ? LLM_OK : llm_request_wrong(rq, rq->walk.member);
}


/* names, strings and numbers of a schema all end up in the prompt */

static int
llm_request_schema(llm_request_t *rq, int event)
{
    llm_walk_t  *w;
    llm_json_t  *js;

    w = &rq->walk;
    js = &w->json;

    switch (event) {

    case LLM_JSON_KEY:
    case LLM_JSON_NUMBER:
        if (w->all == 0) {
            return llm_request_wrong(rq, w->member);
        }

        if (js->text == NULL) {
            llm_estimate_add(&rq->estimate, js->len / 4 + 1);
            return LLM_OK;
        }

        llm_estimate_string(&rq->estimate);
        llm_estimate_feed(&rq->estimate, js->text, js->len);
        return LLM_OK;

    case LLM_JSON_STRING:
        if (w->all == 0) {
            return llm_request_wrong(rq, w->member);
        }

        llm_request_text(rq, event);
        return LLM_OK;

    case LLM_JSON_OBJECT:
    case LLM_JSON_ARRAY:
        if (js->depth != w->all) {
            return LLM_OK;
        }

        if ((event == LLM_JSON_ARRAY) != (w->member->kind == LLM_TOOLS)) {
            return llm_request_wrong(rq, w->member);
        }

        if (event == LLM_JSON_ARRAY && !rq->has_tools) {
            llm_estimate_add(&rq->estimate, LLM_TOOLS_TOKENS);
            rq->has_tools = 1;
        }

        return LLM_OK;

    case LLM_JSON_TRUE:
    case LLM_JSON_FALSE:
        return w->all ? LLM_OK : llm_request_wrong(rq, w->member);

    default: /* the ends, and null */
        return LLM_OK;
    }
}


static void
llm_request_text(llm_request_t *rq, int event)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    if (event != LLM_JSON_STRING) {
        return;
    }

    if (js->first) {
        llm_estimate_string(&rq->estimate);
    }

    llm_estimate_feed(&rq->estimate, js->text, js->len);
}


static void
llm_request_media(llm_request_t *rq, int event)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    switch (rq->walk.member->kind) {

    case LLM_AUDIO_DATA:
        rq->audio += (event == LLM_JSON_STRING) ? js->len : 0;
        return;

    case LLM_FILE_DATA:
        rq->files += (event == LLM_JSON_STRING) ? js->len : 0;
        return;

    default:
        if (event == LLM_JSON_OBJECT
            || (event == LLM_JSON_STRING && js->first))
        {
            llm_estimate_add(&rq->estimate,
                             llm_request_constant(rq->walk.member->kind));
        }
    }
}


static uint64_t
llm_request_constant(unsigned kind)
{
    switch (kind) {

    case LLM_IMAGE:
        return LLM_IMAGE_TOKENS;

    case LLM_VIDEO:
        return LLM_VIDEO_TOKENS;

    case LLM_AUDIO:
        return LLM_AUDIO_TOKENS;

    case LLM_FILE:
        return LLM_FILE_TOKENS;

    default:
        return 0;
    }
}
