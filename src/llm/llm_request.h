
/*
 * Copyright (C) nginx-cycles authors
 *
 * Facts of a request body, read from its top-level members only.
 */


#ifndef _LLM_REQUEST_H_INCLUDED_
#define _LLM_REQUEST_H_INCLUDED_


#include "llm.h"
#include "llm_walk.h"
#include "llm_estimate.h"
#include "llm_form.h"


/* a half-open range of bytes of the body; end == 0: not there */

typedef struct {
    uint64_t         start;
    uint64_t         end;
} llm_span_t;


/* a limit of generated tokens as the client wrote it */

typedef struct {
    const char      *name;                /* of its member, static storage */
    int64_t          value;               /* -1: null */
    llm_span_t       span;                /* of its value */
} llm_limit_t;


/*
 * A member that may have to go.  before: the comma in front of it, 0 if it is
 * the first of its object; next: the comma behind it, 0 if it is the last.
 */

typedef struct {
    llm_span_t           span;            /* key and value; end 0: no member */
    uint64_t             before;
    uint64_t             next;
    unsigned             root;            /* it is of the body's object */
    const llm_member_t  *member;          /* private */
} llm_place_t;


typedef enum {
    LLM_PLACE_TOOLS = 0,                  /* Converse: "toolConfig" */
    LLM_PLACE_TOOL_CHOICE,
    LLM_PLACE_FUNCTIONS,                  /* of old clients */
    LLM_PLACE_FUNCTION_CALL,
    LLM_PLACE_THINKING,
    LLM_PLACES
} llm_place_name_t;


#define LLM_LIMITS     4
#define LLM_QUALITY    16
#define LLM_TOOL_NAME  128


/*
 * A tool that the model may call.  One that has no name of its own has that
 * of its type, as "web_search".
 */

typedef struct {
    llm_span_t       span;                /* the element of its array */
    llm_span_t       array;
    size_t           name_len;            /* 0: none, or it is too long */
    unsigned char    name[LLM_TOOL_NAME];
} llm_tool_t;


typedef struct {
    unsigned char   *model;               /* in llm_request_t */
    size_t           model_len;           /* 0: no model in the body */

    int64_t          max_tokens;          /* the one that counts; -1: none */
    int64_t          choices;             /* replies that one input gets */
    int64_t          input_tokens;        /* estimate without any margin */

    /* what of it is not text; a judgement, by the kind and the bytes */

    int64_t          image_tokens;
    int64_t          audio_tokens;
    int64_t          video_tokens;
    int64_t          file_tokens;

    /* where "stream_options" of a streaming request can be spliced */

    uint64_t         object_start;        /* just behind the first "{" */
    llm_span_t       stream_options;      /* its value */
    uint64_t         stream_options_start;/* just behind its "{"; 0: null */

    unsigned         ntools;              /* those found, whatever the room */

    /* what else a reservation has to think of */

    llm_tier_t       tier;                /* asked for, as the next three */
    llm_geo_t        geo;
    llm_search_t     search;
    unsigned         fast;

    /* what is held upstream: 0 if it has no name, or several */

    uint64_t         state;               /* llm_hash() of its name */
    unsigned         states;
    unsigned         state_cached;        /* it is cached content */
    int64_t          images;              /* to make; -1: none asked for */
    int64_t          width;               /* of each, in pixels; 0: not said */
    int64_t          height;
    size_t           quality_len;
    unsigned char    quality[LLM_QUALITY];
    int64_t          characters;          /* to speak; -1: none */
    int64_t          media_bytes;         /* of what is to be transcribed */
    int64_t          tool_uses;           /* bound of a search; -1: none */

    unsigned         empty:1;             /* "{}" */
    unsigned         stream:1;
    unsigned         stream_options_empty:1;      /* "{}" */
    unsigned         include_usage:1;     /* the client said true or false */
    unsigned         messages:1;          /* an array of them is there */
    unsigned         stateful:1;          /* more input is held upstream */
    unsigned         background:1;
    unsigned         cache_write:1;       /* the input is to be cached */
    unsigned         cache_write_1h:1;
    unsigned         web_search:1;
    unsigned         file_search:1;
    unsigned         code_session:1;
} llm_facts_t;


/* where caps change a body: see llm_caps.h */

typedef struct {

    /* the number of facts.max_tokens, or null if there is only that */

    llm_span_t       max_tokens_value;

    /* every limit there is, in the order of the body */

    llm_limit_t      limits[LLM_LIMITS];
    unsigned         nlimits;
    unsigned         more_limits;         /* there was no room for all */
    llm_limit_t      thinking;            /* its budget; name NULL: none */

    /* the object that a limit belongs into, as "generationConfig" */

    llm_span_t       config;              /* its value */
    uint64_t         config_start;        /* just behind its "{" */
    unsigned         config_empty;

    llm_place_t      places[LLM_PLACES];
    size_t           tool_choice_len;     /* 0: it names none */
    unsigned char    tool_choice[LLM_TOOL_NAME];
} llm_edits_t;


/* allocated by the caller; its members belong to llm_request.c */

typedef struct {
    llm_api_t        api;
    llm_facts_t      facts;
    llm_edits_t      edits;
    llm_walk_t       walk;
    uint64_t         begin[LLM_WALK_DEPTH];
    unsigned char    model[LLM_MODEL_MAX];
    llm_text_t       text;
    llm_estimate_t   estimate;
    llm_form_t       form;

    unsigned         form_part;           /* what a part of it means */

    llm_tool_t      *tools;               /* the caller's */
    unsigned         room;                /* for so many */
    llm_tool_t       tool;                /* the one that is read */
    unsigned         tool_name;           /* how good its name is */
    unsigned         tool_key;            /* what its member means */
    unsigned         tool_inner;          /* and that one's member */
    uint64_t         declarations;        /* where an inner array begins */

    uint64_t         seen;                /* bit mask of members met */
    uint64_t         audio;               /* bytes of base64 */
    uint64_t         files;               /* bytes of base64 */
    uint64_t         data;                /* bytes of one file */
    uint64_t         prompts;
    int64_t          best_of;
    unsigned         media;               /* what that is: llm_kind_t */
    unsigned         rules;
    unsigned         characters;          /* state of their count */
    unsigned         is_form:1;
    unsigned         form_end:1;
    unsigned         first:1;             /* the limit is the first choice */
    unsigned         has_tools:1;         /* their constant is counted */
    unsigned         stream_said:1;
    unsigned         broken:1;            /* nothing more can be read */
    llm_place_t     *open;                /* its "next" is not known */
    unsigned         open_depth;
    unsigned char    word[16];
    const char      *error;
} llm_request_t;


/* ready for the first byte of a body */

void llm_request_init(llm_request_t *rq, llm_api_t api);


/*
 * Before the first byte: the body is of that Content-Type.  A form is read as
 * such, by the APIs that take one; whatever else it is, it is taken for JSON.
 */

void llm_request_type(llm_request_t *rq, const unsigned char *type,
    size_t len);


/*
 * Before the first byte: the first n tools of the body are to be kept in
 * tools, which is the caller's.  facts.ntools tells how many there are.
 */

void llm_request_tools(llm_request_t *rq, llm_tool_t *tools, unsigned n);


/*
 * Reads the next n bytes of the body, in any portions.  LLM_ERROR: the body
 * can't be understood, llm_request_error() says why; further bytes are not
 * read.
 */

int llm_request_feed(llm_request_t *rq, const unsigned char *p, size_t n);


/*
 * The body is complete.  LLM_OK: rq->facts are final.  LLM_ERROR: it ended
 * too early, or it is not a request of this dialect.
 */

int llm_request_finish(llm_request_t *rq);


/*
 * A sentence without a full stop, of static storage, for the client's 400:
 * for instance 'member "model" is there twice'.
 */

const char *llm_request_error(const llm_request_t *rq);


/*
 * The name of the member that limits generated tokens where a client gave no
 * limit; *object gets the name of the object it belongs into, or NULL.
 * NULL: there is no such limit, or it depends on the model.
 */

const char *llm_limit_name(llm_provider_t provider, llm_api_t api,
    const char **object);


/* tokens that are made when a request has no limit, -1: up to the model */

int64_t llm_default_limit(llm_provider_t provider, llm_api_t api);


#endif /* _LLM_REQUEST_H_INCLUDED_ */
