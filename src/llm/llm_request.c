
/*
 * Copyright (C) nginx-cycles authors
 *
 * A body that two readers may understand differently is refused: what was
 * reserved must be what the provider does.  So the text is read strictly, and
 * a member that matters may be there only once.
 */


#include <string.h>
#include <strings.h>

#include "llm_request_value.h"
#include "llm_walk_step.h"


/* a message is framed by four tokens, the reply is primed by three */

#define LLM_MESSAGE_TOKENS     4
#define LLM_REPLY_TOKENS       3

#define LLM_AUDIO_TOKEN_BYTES  768
#define LLM_FILE_TOKEN_BYTES   16

/* what the completions of OpenAI make without a limit */

#define LLM_COMPLETION_TOKENS  16


static int llm_request_event(llm_request_t *rq, int event);
static void llm_request_close(llm_request_t *rq);
static int llm_request_once(llm_request_t *rq, const llm_member_t *m,
    int event);
static int llm_request_key(llm_request_t *rq);
static int llm_request_root(llm_request_t *rq, int event);
static int llm_request_model(llm_request_t *rq, int event);
static int llm_request_flag(llm_request_t *rq, int event);
static int llm_request_stream_options(llm_request_t *rq, int event);
static int llm_request_config(llm_request_t *rq, int event);
static int llm_request_limit(llm_request_t *rq, int event);
static int llm_request_number(llm_request_t *rq, int event);
static int llm_request_prompt(llm_request_t *rq, int event);
static int llm_request_messages(llm_request_t *rq, int event);
static int llm_request_choice(llm_request_t *rq, int event);
static int llm_request_thinking(llm_request_t *rq, int event);
static int llm_request_word(llm_request_t *rq, int event);
static int llm_request_is(const llm_request_t *rq, const char *word);
static void llm_request_state(llm_request_t *rq, int event);
static void llm_request_spoken(llm_request_t *rq, int event);


void
llm_request_init(llm_request_t *rq, llm_api_t api)
{
    memset(rq, 0, offsetof(llm_request_t, walk));
    memset(&rq->form_part, 0, sizeof(llm_request_t)
                              - offsetof(llm_request_t, form_part));

    rq->api = api;
    rq->rules = llm_dialect(api)->rules;
    rq->best_of = 1;

    rq->facts.model = rq->model;
    rq->facts.max_tokens = -1;
    rq->facts.choices = 1;
    rq->facts.images = -1;
    rq->facts.characters = -1;
    rq->facts.tool_uses = -1;
    rq->edits.thinking.value = -1;

    llm_walk_init(&rq->walk, llm_dialect(api)->request,
                  !(rq->rules & LLM_RULE_LENIENT));
    llm_walk_places(&rq->walk, rq->begin);
    llm_estimate_init(&rq->estimate);
}


void
llm_request_type(llm_request_t *rq, const unsigned char *type, size_t len)
{
    switch (rq->api) {

    case LLM_API_TRANSCRIPTIONS:
    case LLM_API_IMAGES:
        rq->is_form = (llm_form_init(&rq->form, type, len) == LLM_OK);
        break;

    default:
        break;
    }
}


void
llm_request_tools(llm_request_t *rq, llm_tool_t *tools, unsigned n)
{
    rq->tools = tools;
    rq->room = n;
}


int
llm_request_feed(llm_request_t *rq, const unsigned char *p, size_t n)
{
    int                   event;
    const unsigned char  *last, *guard;

    if (rq->error) {
        return LLM_ERROR;
    }

    if (rq->rules & LLM_RULE_LENIENT) {
        llm_estimate_feed(&rq->estimate, p, n);
    }

    if (rq->is_form) {
        return llm_request_form(rq, p, n);
    }

    if (n && rq->walk.json.offset == 0 && *p == 0xef && !rq->broken) {
        return llm_request_fail(rq, "the body begins with a byte order mark");
    }

    last = p + n;
    guard = llm_walk_guard(p, last);

    llm_json_begin(&rq->walk.json, p);

    while (!rq->broken) {

        event = llm_walk_event(&rq->walk, &p, guard, last);
        rq->walk.json.offset = llm_json_position(&rq->walk.json, p);

        if (event == LLM_JSON_AGAIN) {
            break;
        }

        if (event == LLM_JSON_ERROR) {
            return llm_request_fail(rq, rq->walk.json.error);
        }

        if (llm_request_event(rq, event) != LLM_OK) {
            return LLM_ERROR;
        }
    }

    return LLM_OK;
}


int
llm_request_finish(llm_request_t *rq)
{
    int64_t       each;
    llm_json_t   *js;
    llm_facts_t  *facts;

    if (rq->error) {
        return LLM_ERROR;
    }

    js = &rq->walk.json;
    facts = &rq->facts;

    if (rq->is_form) {

        if (!rq->form_end) {
            rq->error = "the form in the body ends before its last part";
            return LLM_ERROR;
        }

    } else if (!(rq->rules & LLM_RULE_LENIENT)) {

        if (facts->object_start == 0) {
            rq->error = llm_json_blank(js) ? "the body is empty"
                                           : "the body must be a JSON object";
            return LLM_ERROR;
        }

        if (!llm_json_complete(js)) {
            rq->error = "the body ends before its JSON does";
            return LLM_ERROR;
        }
    }

    /* Base64 but in a form */

    facts->media_bytes = (int64_t) (rq->is_form ? rq->audio
                                                : rq->audio / 4 * 3);

    if (rq->api == LLM_API_IMAGES) {
        facts->media_bytes = 0;
    }

    facts->audio_tokens += facts->media_bytes / LLM_AUDIO_TOKEN_BYTES;
    facts->file_tokens += (int64_t) (rq->files / LLM_FILE_TOKEN_BYTES);

    facts->input_tokens = llm_estimate_tokens(&rq->estimate)
                          + facts->image_tokens + facts->audio_tokens
                          + facts->video_tokens + facts->file_tokens;

    if (!rq->stream_said && (rq->rules & LLM_RULE_STREAMS)) {
        facts->stream = 1;
    }

    if (rq->api == LLM_API_COMPLETIONS || rq->api == LLM_API_LLAMACPP) {

        /* each prompt of a list has its own replies */

        each = (rq->best_of > facts->choices) ? rq->best_of : facts->choices;

        facts->choices = (rq->prompts > 1) ? each * (int64_t) rq->prompts
                                           : each;
    }

    return LLM_OK;
}


const char *
llm_request_error(const llm_request_t *rq)
{
    return rq->error;
}


int
llm_request_fail(llm_request_t *rq, const char *error)
{
    if (rq->rules & LLM_RULE_LENIENT) {
        rq->broken = 1;
        return LLM_OK;
    }

    rq->error = error;

    return LLM_ERROR;
}


const char *
llm_limit_name(llm_provider_t provider, llm_api_t api, const char **object)
{
    *object = NULL;

    switch (api) {

    case LLM_API_CHAT:
        return (provider == LLM_OPENAI || provider == LLM_AZURE
                || provider == LLM_GROQ || provider == LLM_CEREBRAS)
               ? "max_completion_tokens" : "max_tokens";

    case LLM_API_COMPLETIONS:
    case LLM_API_MESSAGES:
    case LLM_API_COHERE_CHAT:
        return "max_tokens";

    case LLM_API_RESPONSES:
        return "max_output_tokens";

    case LLM_API_GENERATE:
        *object = "generationConfig";
        return "maxOutputTokens";

    case LLM_API_INTERACTIONS:
        *object = "generation_config";
        return "max_output_tokens";

    case LLM_API_CONVERSE:
        *object = "inferenceConfig";
        return "maxTokens";

    case LLM_API_OLLAMA:
        *object = "options";
        return "num_predict";

    case LLM_API_LLAMACPP:
        return "n_predict";

    default:
        return NULL;
    }
}


int64_t
llm_default_limit(llm_provider_t provider, llm_api_t api)
{
    if (api == LLM_API_COMPLETIONS
        && (provider == LLM_OPENAI || provider == LLM_AZURE
            || provider == LLM_VLLM))
    {
        return LLM_COMPLETION_TOKENS;
    }

    return -1;
}


static int
llm_request_event(llm_request_t *rq, int event)
{
    const llm_member_t  *m;

    m = rq->walk.member;

    if (rq->open) {
        llm_request_close(rq);
    }

    if (event == LLM_JSON_KEY && !rq->walk.all) {
        return llm_request_key(rq);
    }

    if (m->twice && llm_request_once(rq, m, event) != LLM_OK) {
        return LLM_ERROR;
    }

    switch (m->kind) {

    case LLM_PLAIN:
        return (m == rq->walk.root) ? llm_request_root(rq, event) : LLM_OK;

    case LLM_MODEL:
        return llm_request_model(rq, event);

    case LLM_STREAM:
    case LLM_INCLUDE_USAGE:
    case LLM_BACKGROUND:
        return llm_request_flag(rq, event);

    case LLM_STREAM_OPTIONS:
        return llm_request_stream_options(rq, event);

    case LLM_CONFIG:
        return llm_request_config(rq, event);

    case LLM_LIMIT:
    case LLM_LIMIT_FIRST:
    case LLM_LIMIT_OPEN:
        return llm_request_limit(rq, event);

    case LLM_CHOICES:
    case LLM_BEST_OF:
    case LLM_MADE:
    case LLM_TOOL_USES:
        return llm_request_number(rq, event);

    case LLM_PROMPT:
        return llm_request_prompt(rq, event);

    case LLM_MESSAGES:
    case LLM_MESSAGES_OR_TEXT:
        return llm_request_messages(rq, event);

    case LLM_TOOLS:
    case LLM_SCHEMA:
        return llm_request_schema(rq, event);

    case LLM_TOOLS_CONFIG:
        llm_request_place(rq, LLM_PLACE_TOOLS, event);
        return LLM_OK;

    case LLM_TOOL_CHOICE:
        return llm_request_choice(rq, event);

    case LLM_THINKING:
    case LLM_THINKING_BUDGET:
        return llm_request_thinking(rq, event);

    case LLM_TIER:
    case LLM_GEO:
    case LLM_SPEED:
    case LLM_SEARCH_SIZE:
    case LLM_MADE_SIZE:
    case LLM_MADE_QUALITY:
    case LLM_CACHE_TTL:
    case LLM_MIME:
        return llm_request_word(rq, event);

    case LLM_STATE:
    case LLM_STATE_ID:
        llm_request_state(rq, event);
        return LLM_OK;

    case LLM_CACHE_CONTROL:
        if (event == LLM_JSON_OBJECT) {
            rq->facts.cache_write = 1;
        }

        return LLM_OK;

    case LLM_SEARCH:
        if (event == LLM_JSON_OBJECT || event == LLM_JSON_TRUE) {
            rq->facts.web_search = 1;
        }

        return LLM_OK;

    case LLM_SPOKEN:
        llm_request_spoken(rq, event);
        return LLM_OK;

    case LLM_TEXT:
        llm_request_text(rq, event);
        return LLM_OK;

    case LLM_VALUE:
        llm_request_all(rq, event);
        return LLM_OK;

    default:
        llm_request_media(rq, event);
        return LLM_OK;
    }
}


/* the comma behind a place is known as soon as anything follows it */

static void
llm_request_close(llm_request_t *rq)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    if (js->depth < rq->open_depth) {
        rq->open = NULL;

    } else if (js->comma >= rq->open->span.end) {
        rq->open->next = js->comma;
        rq->open = NULL;
    }
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
        return llm_request_fail(rq, m->twice);
    }

    rq->seen |= bit;

    return LLM_OK;
}


int
llm_request_wrong(llm_request_t *rq)
{
    if (rq->rules & LLM_RULE_LENIENT) {
        return LLM_OK;
    }

    return llm_request_fail(rq, rq->walk.member->wrong);
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

    if (js->text == NULL || (rq->rules & LLM_RULE_LENIENT)) {
        return LLM_OK;
    }

    for (m = rq->walk.root->members; m->len; m++) {

        if (m->len == js->len
            && strncasecmp(m->name, (const char *) js->text, m->len) == 0)
        {
            return llm_request_fail(rq,
                                    "a member that matters is written with "
                                    "other capital letters");
        }
    }

    return LLM_OK;
}


static int
llm_request_root(llm_request_t *rq, int event)
{
    switch (event) {

    case LLM_JSON_OBJECT:
        rq->facts.object_start = rq->walk.json.offset;
        return LLM_OK;

    case LLM_JSON_OBJECT_END:
        rq->facts.empty = rq->walk.json.empty;
        return LLM_OK;

    default:
        return llm_request_fail(rq, "the body must be a JSON object");
    }
}


static int
llm_request_model(llm_request_t *rq, int event)
{
    llm_json_t   *js;
    llm_facts_t  *facts;

    js = &rq->walk.json;
    facts = &rq->facts;

    if (event != LLM_JSON_STRING) {
        return llm_request_wrong(rq);
    }

    if (js->first) {
        llm_text_init(&rq->text, rq->model, LLM_MODEL_MAX);
    }

    llm_text_add(&rq->text, js->text, js->len);

    if (!js->last) {
        return LLM_OK;
    }

    if (rq->text.len > LLM_MODEL_MAX) {
        return llm_request_fail(rq, "member \"model\" is longer than 256 "
                                    "bytes");
    }

    if (!llm_text_printable(rq->model, rq->text.len)) {
        return llm_request_fail(rq, "member \"model\" must be printable "
                                    "text");
    }

    facts->model_len = rq->text.len;

    return LLM_OK;
}


/*
 * A null "include_usage" is a choice of the client as well: a second member
 * of that name in front of it would not count.
 */

static int
llm_request_flag(llm_request_t *rq, int event)
{
    if (event != LLM_JSON_TRUE
        && event != LLM_JSON_FALSE
        && event != LLM_JSON_NULL)
    {
        return llm_request_wrong(rq);
    }

    switch (rq->walk.member->kind) {

    case LLM_INCLUDE_USAGE:
        rq->facts.include_usage = 1;
        break;

    case LLM_BACKGROUND:
        rq->facts.background = (event == LLM_JSON_TRUE);
        break;

    default: /* LLM_STREAM */
        rq->facts.stream = (event == LLM_JSON_TRUE);
        rq->stream_said = (event != LLM_JSON_NULL);
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
        return llm_request_wrong(rq);
    }

    facts->stream_options.end = js->offset;

    return LLM_OK;
}


static int
llm_request_config(llm_request_t *rq, int event)
{
    llm_json_t   *js;
    llm_edits_t  *edits;

    js = &rq->walk.json;
    edits = &rq->edits;

    switch (event) {

    case LLM_JSON_OBJECT:
        edits->config.start = js->start;
        edits->config_start = js->offset;
        return LLM_OK;

    case LLM_JSON_OBJECT_END:
        edits->config_empty = js->empty;
        break;

    case LLM_JSON_NULL:
        edits->config.start = js->start;
        edits->config_start = 0;
        break;

    default:
        return llm_request_wrong(rq);
    }

    edits->config.end = js->offset;

    return LLM_OK;
}


/* of several limits of one rank the largest counts */

static int
llm_request_limit(llm_request_t *rq, int event)
{
    int64_t              value;
    unsigned             first;
    llm_json_t          *js;
    llm_edits_t         *edits;
    llm_facts_t         *facts;
    llm_limit_t         *limit;
    const llm_member_t  *m;

    m = rq->walk.member;
    js = &rq->walk.json;
    edits = &rq->edits;
    facts = &rq->facts;
    first = (m->kind == LLM_LIMIT_FIRST);

    switch (event) {

    case LLM_JSON_NULL:
        value = -1;
        break;

    case LLM_JSON_NUMBER:
        value = llm_json_whole(js->text, js->len);

        if (value < 1) {

            if (m->kind != LLM_LIMIT_OPEN) {
                return llm_request_wrong(rq);
            }

            value = -1;
        }

        break;

    default:
        return llm_request_wrong(rq);
    }

    if (edits->nlimits < LLM_LIMITS) {
        limit = &edits->limits[edits->nlimits++];
        limit->name = m->name;
        limit->value = value;
        limit->span.start = js->start;
        limit->span.end = js->offset;

    } else {
        edits->more_limits = 1;
    }

    if (value < 0) {

        /* a limit goes there: another member of that name would not count */

        if (facts->max_tokens >= 0
            || (!first && edits->max_tokens_value.end))
        {
            return LLM_OK;
        }

    } else {

        if ((rq->first && !first)
            || (rq->first == first && value < facts->max_tokens))
        {
            return LLM_OK;
        }

        rq->first = first;
        facts->max_tokens = value;
    }

    edits->max_tokens_value.start = js->start;
    edits->max_tokens_value.end = js->offset;

    return LLM_OK;
}


static int
llm_request_number(llm_request_t *rq, int event)
{
    int64_t      value, most;
    llm_json_t  *js;

    if (event == LLM_JSON_NULL) {
        return LLM_OK;
    }

    js = &rq->walk.json;
    value = (event == LLM_JSON_NUMBER) ? llm_json_whole(js->text, js->len)
                                       : -1;

    most = (rq->walk.member->kind == LLM_TOOL_USES) ? LLM_JSON_WHOLE_MAX
                                                    : LLM_CHOICES_MAX;

    if (value < (most == LLM_CHOICES_MAX) || value > most) {
        return llm_request_wrong(rq);
    }

    switch (rq->walk.member->kind) {

    case LLM_BEST_OF:
        rq->best_of = value;
        break;

    case LLM_MADE:
        rq->facts.images = value;
        break;

    case LLM_TOOL_USES:
        rq->facts.tool_uses = value;
        break;

    default: /* LLM_CHOICES */
        if (value > rq->facts.choices) {
            rq->facts.choices = value;
        }
    }

    return LLM_OK;
}


/* texts, or lists of tokens; numbers of the outer list are one prompt */

static int
llm_request_prompt(llm_request_t *rq, int event)
{
    unsigned     depth;
    llm_json_t  *js;

    js = &rq->walk.json;
    depth = rq->walk.all ? js->depth - rq->walk.all + 1 : 0;

    switch (event) {

    case LLM_JSON_STRING:
        llm_request_text(rq, event);

        if (js->first && depth == 1) {
            rq->prompts++;
        }

        break;

    case LLM_JSON_NUMBER:
        llm_estimate_add(&rq->estimate, 1);
        break;

    case LLM_JSON_ARRAY:
        if (depth == 2) {
            rq->prompts++;
        }

        break;

    default:
        break;
    }

    return LLM_OK;
}


static int
llm_request_messages(llm_request_t *rq, int event)
{
    const llm_member_t  *m;

    m = rq->walk.member;

    if (event == LLM_JSON_STRING
        && (rq->walk.element || m->kind == LLM_MESSAGES_OR_TEXT))
    {
        llm_request_text(rq, event);
        return LLM_OK;
    }

    if (rq->walk.element) {

        if (event == LLM_JSON_OBJECT) {
            llm_estimate_add(&rq->estimate, LLM_MESSAGE_TOKENS);
        }

        return LLM_OK;
    }

    switch (event) {

    case LLM_JSON_OBJECT:
        if (!(m->flags & LLM_WALK_OBJECT)) {
            return llm_request_wrong(rq);
        }

        /* fall through */

    case LLM_JSON_ARRAY:
        rq->facts.messages = 1;
        llm_estimate_add(&rq->estimate, LLM_REPLY_TOKENS);

        /* fall through */

    case LLM_JSON_ARRAY_END:
    case LLM_JSON_OBJECT_END:
        return LLM_OK;

    default:
        return llm_request_wrong(rq);
    }
}


/* the member itself, or the name in it */

static int
llm_request_choice(llm_request_t *rq, int event)
{
    llm_json_t          *js;
    const llm_member_t  *m;

    m = rq->walk.member;
    js = &rq->walk.json;

    if (m->twice) {
        llm_request_place(rq, (m->name[0] == 'f') ? LLM_PLACE_FUNCTION_CALL
                                                  : LLM_PLACE_TOOL_CHOICE,
                          event);
        return LLM_OK;
    }

    if (event != LLM_JSON_STRING) {
        return LLM_OK;
    }

    if (js->first) {
        llm_text_init(&rq->text, rq->edits.tool_choice, LLM_TOOL_NAME);
    }

    llm_text_add(&rq->text, js->text, js->len);

    if (js->last) {
        rq->edits.tool_choice_len = (rq->text.len <= LLM_TOOL_NAME)
                                    ? rq->text.len : 0;
    }

    return LLM_OK;
}


/* a budget of -1 or 0 is left to the model, or none */

static int
llm_request_thinking(llm_request_t *rq, int event)
{
    llm_json_t          *js;
    llm_limit_t         *thinking;
    const llm_member_t  *m;

    m = rq->walk.member;
    js = &rq->walk.json;

    if (m->kind == LLM_THINKING) {
        llm_request_place(rq, LLM_PLACE_THINKING, event);
        return LLM_OK;
    }

    if (event == LLM_JSON_NULL) {
        return LLM_OK;
    }

    if (event != LLM_JSON_NUMBER) {
        return llm_request_wrong(rq);
    }

    thinking = &rq->edits.thinking;

    thinking->name = m->name;
    thinking->value = llm_json_whole(js->text, js->len);
    thinking->span.start = js->start;
    thinking->span.end = js->offset;

    return LLM_OK;
}


static int
llm_request_word(llm_request_t *rq, int event)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    if (event != LLM_JSON_STRING) {
        return (event == LLM_JSON_NULL || rq->walk.member->wrong == NULL)
               ? LLM_OK : llm_request_wrong(rq);
    }

    if (js->first) {
        llm_text_init(&rq->text, rq->word, sizeof(rq->word));
    }

    llm_text_add(&rq->text, js->text, js->len);

    if (!js->last) {
        return LLM_OK;
    }

    switch (rq->walk.member->kind) {

    case LLM_TIER:
        if (rq->text.len <= sizeof(rq->word)) {
            rq->facts.tier = llm_tier_find(rq->word, rq->text.len);
        }

        break;

    case LLM_GEO:
        rq->facts.geo = llm_request_is(rq, "us") ? LLM_GEO_US
                        : llm_request_is(rq, "eu") ? LLM_GEO_EU
                        : LLM_GEO_DEFAULT;
        break;

    case LLM_SPEED:
        rq->facts.fast = llm_request_is(rq, "fast");
        break;

    case LLM_MADE_SIZE:
        llm_request_size(rq);
        break;

    case LLM_MADE_QUALITY:
        llm_request_quality(rq);
        break;

    case LLM_SEARCH_SIZE:
        rq->facts.search = llm_search_size(rq->word, rq->text.len);
        break;

    case LLM_CACHE_TTL:
        if (rq->text.len == 2 && memcmp(rq->word, "1h", 2) == 0) {
            rq->facts.cache_write_1h = 1;
        }

        break;

    default: /* LLM_MIME */
        rq->media = (rq->text.len < 6) ? LLM_FILE
                    : strncasecmp((char *) rq->word, "image/", 6) == 0
                      ? LLM_IMAGE
                    : strncasecmp((char *) rq->word, "audio/", 6) == 0
                      ? LLM_AUDIO
                    : strncasecmp((char *) rq->word, "video/", 6) == 0
                      ? LLM_VIDEO : LLM_FILE;
    }

    return LLM_OK;
}


/* "1024x1792"; "auto" and whatever else is not said */

void
llm_request_size(llm_request_t *rq)
{
    size_t   i;
    int64_t  each[2], *n;

    each[0] = 0;
    each[1] = 0;
    n = each;

    for (i = 0; i < rq->text.len && i < sizeof(rq->word); i++) {

        if (rq->word[i] == 'x' && n == each) {
            n++;

        } else if (rq->word[i] >= '0' && rq->word[i] <= '9' && *n < 100000) {
            *n = *n * 10 + (rq->word[i] - '0');

        } else {
            return;
        }
    }

    if (each[0] && each[1] && rq->text.len <= sizeof(rq->word)) {
        rq->facts.width = each[0];
        rq->facts.height = each[1];
    }
}


void
llm_request_quality(llm_request_t *rq)
{
    if (rq->text.len <= LLM_QUALITY) {
        memcpy(rq->facts.quality, rq->word, rq->text.len);
        rq->facts.quality_len = rq->text.len;
    }
}


static int
llm_request_is(const llm_request_t *rq, const char *word)
{
    return rq->text.len == strlen(word)
           && memcmp(rq->word, word, rq->text.len) == 0;
}


/* by a name as "resp_123", or by an object that has one */

static void
llm_request_state(llm_request_t *rq, int event)
{
    llm_json_t          *js;
    llm_facts_t         *facts;
    const llm_member_t  *m;

    m = rq->walk.member;
    js = &rq->walk.json;
    facts = &rq->facts;

    if (event != LLM_JSON_OBJECT && event != LLM_JSON_STRING) {
        return;
    }

    if (event == LLM_JSON_STRING && js->first && js->last && js->len == 0) {
        return;
    }

    if (m->kind == LLM_STATE && (event == LLM_JSON_OBJECT || js->first)) {
        facts->stateful = 1;
        facts->states++;
        facts->state = 0;
        facts->state_cached = (m->slot == LLM_STATE_CACHED);
    }

    if (event == LLM_JSON_OBJECT
        || facts->states != 1
        || (m->kind == LLM_STATE && m->slot == LLM_STATE_OTHER))
    {
        return;
    }

    facts->state = llm_hash(js->first ? LLM_HASH : facts->state, js->text,
                            js->len);
}


/* speech is billed by the characters, or by the tokens, of its text */

static void
llm_request_spoken(llm_request_t *rq, int event)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    if (event != LLM_JSON_STRING) {
        return;
    }

    if (js->first) {
        rq->facts.characters = 0;
        rq->characters = 0;
    }

    rq->facts.characters += (int64_t) llm_text_characters(&rq->characters,
                                                          js->text, js->len);
    llm_request_text(rq, event);
}
