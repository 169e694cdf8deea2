
/*
 * Copyright (C) nginx-cycles authors
 *
 * Usage read out of a reply as it passes, and the one event of a stream that
 * a client did not ask for.
 */


#ifndef _LLM_REPLY_H_INCLUDED_
#define _LLM_REPLY_H_INCLUDED_


#include "llm.h"
#include "llm_walk.h"
#include "llm_eventstream.h"
#include "llm_estimate.h"
#include "llm_repeat.h"


/*
 * Of the name of a model; as much as a commit may tell (metrics.model_version
 * of the protocol), and more than is in any table of prices
 */

#define LLM_REPLY_MODEL_MAX  128

/* choices of which each has its own words; further ones share the last */

#define LLM_REPLY_CHOICES  128

/* counts that may be reported; their order is that of llm_count_t */

#define LLM_REPLY_COUNTS   29

/* those of them that one iteration of several has */

#define LLM_REPLY_MORE     5

/* calls of tools that are told one by one; see llm_reply_value.c */

#define LLM_REPLY_CALLS    3

/* names by which a reply may be continued */

#define LLM_REPLY_TURNS    2

/*
 * Bytes of an event that are kept until the rest of it comes; at least those
 * of one that llm_repeat.h knows, with a longer text
 */

#define LLM_REPLY_HELD     576

/* the longest word that means something, and one more */

#define LLM_REPLY_WORD     40


typedef enum {
    LLM_REPLY_JSON = 0,
    LLM_REPLY_SSE,
    LLM_REPLY_LINES,                      /* one JSON text a line */
    LLM_REPLY_EVENTSTREAM                 /* vnd.amazon.eventstream */
} llm_reply_format_t;


/* what a reply has counted, -1 where it has not */

typedef struct {
    uint32_t             set;             /* a bit for each that it has */
    int64_t              count[LLM_REPLY_COUNTS];
} llm_counts_t;


/* allocated by the caller; llm_reply.c may add members of its own */

typedef struct {
    llm_api_t            api;
    llm_reply_format_t   format;

    /*
     * Results, valid between two calls: what was seen so far.  An event of a
     * stream whose end has not come may be missing; see llm_reply_flush().
     */

    /*
     * The last usage reported, count by count.  Once there is one, a cached,
     * cache-write or reasoning count that it leaves out is 0; but reasoning
     * is -1 when the total shows that there was some.
     */

    llm_usage_t          usage;
    unsigned char        model[LLM_REPLY_MODEL_MAX];
    size_t               model_len;       /* 0: the reply names none */

    /*
     * Estimate of the text that passed: contents, refusals, reasoning that
     * is shown, names and arguments of calls.  At least 1 for any text.
     */

    int64_t              output_tokens;

    /* llm_hash() of the names by which it may be continued; 0: it has none */

    uint64_t             turns[LLM_REPLY_TURNS];

    unsigned             usage_seen:1;    /* all that is billed is known */
    unsigned             early:1;         /* but the output will be more */
    unsigned             later:1;         /* text came behind the usage */
    unsigned             done:1;          /* the terminator has passed */
    unsigned             error:1;         /* the provider reported an error */
    unsigned             pending:1;       /* it is worked on in background */
    unsigned             unreadable:1;    /* not of the format, or damaged */

    /* the reader's own state */

    unsigned             inside_event:1;  /* some of its lines were read */
    unsigned             started:1;       /* data in this event */
    unsigned             object:1;        /* has begun in this event */
    unsigned             broken:1;        /* its JSON can't be read */
    unsigned             data:1;          /* data in any event */
    unsigned             other:1;         /* a field that SSE lacks */
    unsigned             named_error:1;   /* "event: error" */
    unsigned             cr:1;
    unsigned             model_open:1;
    unsigned             reported:1;      /* a usage, in this event */
    unsigned             inside:1;        /* of a usage */
    unsigned             early_usage:1;
    unsigned             changed:1;       /* results are to be made anew */
    unsigned             item_done:1;     /* the event is about one */
    unsigned             byok:1;
    unsigned             frame_done:1;    /* the last of a stream */
    unsigned             base64:1;        /* JSON in Base64 in JSON */
    unsigned             beside:1;        /* the iteration is */
    unsigned             walking:1;       /* walk, not held, has a value */
    unsigned             known:1;         /* so is the digest of the state */
    unsigned char        line;
    unsigned char        value;           /* what is behind the colon */
    unsigned char        matched;         /* bytes of "[DONE]" or "error" */
    unsigned char        field_len;
    unsigned             nheld;
    unsigned             choice;
    unsigned             detail;          /* llm_count_t of its word */
    unsigned             rules;
    unsigned             bits;            /* of Base64, and how many */
    unsigned             nbits;
    int64_t              position;        /* of the choice in this event */
    int64_t              detail_count;
    int64_t              iteration[LLM_REPLY_MORE];
    int64_t              elements;
    int64_t              cost;            /* pico-USD, -1: not told */
    int64_t              upstream_cost;
    int64_t              pictures;
    int64_t              calls[LLM_REPLY_CALLS];
    int64_t              listed[LLM_REPLY_CALLS];
    llm_counts_t         fresh;           /* of a usage that is open */
    llm_counts_t         counts;
    uint64_t             digest;
    llm_text_t           text;
    llm_estimate_t       estimate;

    /* of an event, nothing is read while its beginning is held */

    union {
        llm_walk_t           walk;
        unsigned char        held[LLM_REPLY_HELD];
    };

    unsigned char        field[8];
    unsigned char        word[LLM_REPLY_WORD];
    unsigned char        previous[LLM_REPLY_CHOICES];

    /* of one format each */

    union {
        llm_repeat_t             repeat;

        struct {
            llm_walk_t           chunk;   /* around rp->walk, on Bedrock */
            llm_eventstream_t    frames;
        } es;
    } u;
} llm_reply_t;


/* of its memory, what one of that format needs */

size_t llm_reply_size(llm_reply_format_t format);

void llm_reply_init(llm_reply_t *rp, llm_api_t api,
    llm_reply_format_t format);


/*
 * A header of the reply, before its body: on Bedrock two of them have the
 * counts that a body may lack.
 */

void llm_reply_header(llm_reply_t *rp, const unsigned char *name,
    size_t name_len, const unsigned char *value, size_t len);


/*
 * The format of a reply whose Content-Type is type, which may have
 * parameters or be empty.
 */

llm_reply_format_t llm_reply_format(const unsigned char *type, size_t len);


/*
 * Reads the next n bytes of the body.  Never fails: what can't be read only
 * leaves the results as they are and sets rp->unreadable.
 */

void llm_reply_feed(llm_reply_t *rp, const unsigned char *p, size_t n);


/*
 * Has the processor load what the next event of a stream will need of *rp if
 * it is like the one before.  Of many streams that have one now and then,
 * nothing is in a cache, and what is found one by one is waited for one by
 * one.
 */

void llm_reply_prefetch(const llm_reply_t *rp);


/* results are those of all bytes that have come; more of them may follow */

void llm_reply_flush(llm_reply_t *rp);


/*
 * No more bytes will come: an event without its blank line still counts.  A
 * body that ends too early is not unreadable, but it is not done either.
 */

void llm_reply_finish(llm_reply_t *rp);


/*
 * Finds the end of an SSE event in any portions: returns the first byte
 * behind its blank line (LF, CRLF or CR line ends), or NULL when the event
 * goes on behind last.  When a blank line's CR is the last byte there is, the
 * event ends there, and an LF that follows belongs to the next one.
 */

typedef struct {
    unsigned             state;
} llm_sse_t;

void llm_sse_init(llm_sse_t *sse);
const unsigned char *llm_sse_event_end(llm_sse_t *sse,
    const unsigned char *p, const unsigned char *last);


/* the first LF or CR, or NULL */

const unsigned char *llm_sse_line_end(const unsigned char *p,
    const unsigned char *last);


/*
 * Whether a whole SSE event, blank line included, is the extra chunk that
 * "include_usage" brings: an empty array "choices" and an object "usage" at
 * the top level.  Returns 1 or 0.
 */

int llm_sse_usage_only(const unsigned char *p, size_t n);


#endif /* _LLM_REPLY_H_INCLUDED_ */
