
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the model reads of a request, and the places of members that a cap may
 * drop.
 */


#include <string.h>

#include "llm_request_value.h"


/*
 * Tokens of what is not text.  Tools come with nine (the chat template), and
 * with a prompt of their own on Claude.  The rest is judgement: the dearest
 * usual image; speech at 64 kbit/s and 10 tokens for a second; a page of a PDF
 * with 20 KB and 1,250 tokens.
 */

#define LLM_TOOLS_TOKENS  9
#define LLM_TOOLS_CLAUDE  350
#define LLM_IMAGE_TOKENS  1500
#define LLM_VIDEO_TOKENS  8000
#define LLM_AUDIO_TOKENS  100
#define LLM_FILE_TOKENS   1500


static void llm_request_count(llm_request_t *rq, unsigned kind);


void
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


/* names, strings and numbers: they all end up in the prompt */

void
llm_request_all(llm_request_t *rq, int event)
{
    llm_json_t  *js;

    js = &rq->walk.json;

    switch (event) {

    case LLM_JSON_KEY:
    case LLM_JSON_NUMBER:
        if (js->text == NULL) {
            llm_estimate_add(&rq->estimate, js->len / 4 + 1);
            return;
        }

        llm_estimate_string(&rq->estimate);
        llm_estimate_feed(&rq->estimate, js->text, js->len);
        return;

    default:
        llm_request_text(rq, event);
    }
}


int
llm_request_schema(llm_request_t *rq, int event)
{
    int                  tools;
    llm_walk_t          *w;
    llm_json_t          *js;
    const llm_member_t  *m;

    w = &rq->walk;
    js = &w->json;
    m = w->member;
    tools = (m->kind == LLM_TOOLS);

    if (w->all == 0) {

        if (event != LLM_JSON_NULL
            && event != LLM_JSON_OBJECT_END
            && event != LLM_JSON_ARRAY_END)
        {
            return llm_request_wrong(rq);
        }

    } else if (js->depth == w->all
               && (event == LLM_JSON_OBJECT || event == LLM_JSON_ARRAY))
    {
        if ((event == LLM_JSON_ARRAY) != tools) {
            return llm_request_wrong(rq);
        }

        if (tools && !rq->has_tools) {
            llm_estimate_add(&rq->estimate,
                             (rq->api == LLM_API_MESSAGES
                              || rq->api == LLM_API_CONVERSE)
                             ? LLM_TOOLS_CLAUDE : LLM_TOOLS_TOKENS);
            rq->has_tools = 1;
        }
    }

    llm_request_all(rq, event);

    if (tools) {

        if (w->all == 0
            || (js->depth == w->all && event == LLM_JSON_ARRAY))
        {
            llm_request_place(rq, (m->name[0] == 'f') ? LLM_PLACE_FUNCTIONS
                                                      : LLM_PLACE_TOOLS,
                              event);
        }

        llm_request_tool(rq, event);
    }

    return LLM_OK;
}


/*
 * A member's value begins, or ends.  An object of tools that has a member of
 * its own for these is dropped as a whole: the first place is the one.
 */

void
llm_request_place(llm_request_t *rq, llm_place_name_t name, int event)
{
    unsigned      depth;
    llm_walk_t   *w;
    llm_json_t   *js;
    llm_place_t  *place;

    w = &rq->walk;
    js = &w->json;
    place = &rq->edits.places[name];

    if (w->element
        || (place->member && place->member != w->member))
    {
        return;
    }

    if (place->member == NULL) {
        place->member = w->member;
        place->span.start = w->key;

        depth = w->depth;

        if (depth && w->at[depth] == w->member
            && (event == LLM_JSON_OBJECT || event == LLM_JSON_ARRAY))
        {
            depth--;
        }

        place->root = (depth == 1);
        place->before = (js->comma > w->begin[depth] && js->comma < w->key)
                        ? js->comma : 0;
    }

    if (event == LLM_JSON_OBJECT || event == LLM_JSON_ARRAY
        || (event == LLM_JSON_STRING && !js->last))
    {
        return;
    }

    place->span.end = js->offset;
    rq->open = place;
    rq->open_depth = js->depth;
}


void
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

    case LLM_INLINE_DATA:
        rq->data += (event == LLM_JSON_STRING) ? js->len : 0;
        return;

    case LLM_INLINE:
        if (event == LLM_JSON_OBJECT) {
            rq->media = LLM_FILE;
            rq->data = 0;
            return;
        }

        if (event != LLM_JSON_OBJECT_END) {
            return;
        }

        /* its type may have come behind its data */

        llm_request_count(rq, rq->media);

        if (rq->media == LLM_AUDIO) {
            rq->audio += rq->data;

        } else if (rq->media == LLM_FILE) {
            rq->files += rq->data;
        }

        return;

    default:
        if (event == LLM_JSON_OBJECT
            || (event == LLM_JSON_STRING && js->first))
        {
            llm_request_count(rq, rq->walk.member->kind);
        }
    }
}


void
llm_request_file(llm_request_t *rq)
{
    llm_request_count(rq, rq->media);
}


static void
llm_request_count(llm_request_t *rq, unsigned kind)
{
    llm_facts_t  *facts;

    facts = &rq->facts;

    switch (kind) {

    case LLM_IMAGE:
        facts->image_tokens += LLM_IMAGE_TOKENS;
        return;

    case LLM_VIDEO:
        facts->video_tokens += LLM_VIDEO_TOKENS;
        return;

    case LLM_AUDIO:
        facts->audio_tokens += LLM_AUDIO_TOKENS;
        return;

    case LLM_FILE:
        facts->file_tokens += LLM_FILE_TOKENS;
        return;

    default:
        return;
    }
}
