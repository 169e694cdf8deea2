
/*
 * Copyright (C) nginx-cycles authors
 *
 * The events of a stream as a filter needs them: where each one ends, and
 * which one a client did not ask for.
 */


#include <string.h>

#include "llm_reply.h"
#include "llm_dialect.h"


/*
 * A line is looked for in windows, so that a stream that uses only CR can't
 * make every search for LF run to the end of the buffer.
 */

#define LLM_SSE_WINDOW  512


typedef enum {
    sw_start = 0,                         /* of a line */
    sw_line,
    sw_cr                                 /* an LF belongs to its line */
} llm_sse_state_t;


typedef struct {
    llm_walk_t           walk;
    unsigned             data:1;
    unsigned             choices:1;       /* there, and empty */
    unsigned             usage:1;         /* there, and an object */
    unsigned             other:1;         /* of some other kind */
} llm_sse_chunk_t;


static int llm_sse_has_choice(const unsigned char *p,
    const unsigned char *last);
static void llm_sse_line(llm_sse_chunk_t *chunk, const unsigned char *p,
    const unsigned char *last);
static void llm_sse_json(llm_sse_chunk_t *chunk, const unsigned char *p,
    const unsigned char *last);
static void llm_sse_value(llm_sse_chunk_t *chunk, int event);


static const llm_member_t  llm_sse_choice[] = {
    llm_members_end
};


static const llm_member_t  llm_sse_members[] = {
    { llm_member_name("choices"), LLM_CHOICE, LLM_WALK_ARRAY, 0,
      llm_sse_choice, NULL, NULL },
    { llm_member_name("usage"), LLM_USAGE, 0, 0, NULL, NULL, NULL },
    { llm_member_name("error"), LLM_FAILURE, 0, 0, NULL, NULL, NULL },
    llm_members_end
};


static const llm_member_t  llm_sse_root =
    { llm_member_name("event"), LLM_PLAIN, LLM_WALK_OBJECT, 0,
      llm_sse_members, NULL, NULL };


static const unsigned char  llm_sse_joint[] = { '\n' };


void
llm_sse_init(llm_sse_t *sse)
{
    sse->state = sw_start;
}


const unsigned char *
llm_sse_event_end(llm_sse_t *sse, const unsigned char *p,
    const unsigned char *last)
{
    const unsigned char  *end;

    while (p < last) {

        if (sse->state == sw_cr) {
            sse->state = sw_start;

            if (*p == '\n') {
                p++;
                continue;
            }
        }

        end = llm_sse_line_end(p, last);

        if (end == NULL) {
            sse->state = sw_line;
            return NULL;
        }

        if (end > p || sse->state == sw_line) {
            sse->state = (*end == '\r') ? sw_cr : sw_start;
            p = end + 1;
            continue;
        }

        /* a blank line */

        p = end + 1;

        if (*end == '\r') {

            if (p == last) {
                sse->state = sw_cr;
                return p;
            }

            p += (*p == '\n');
        }

        sse->state = sw_start;

        return p;
    }

    return NULL;
}


const unsigned char *
llm_sse_line_end(const unsigned char *p, const unsigned char *last)
{
    size_t                n;
    const unsigned char  *lf, *cr;

    while (p < last) {

        n = (size_t) (last - p);
        n = (n < LLM_SSE_WINDOW) ? n : LLM_SSE_WINDOW;

        lf = memchr(p, '\n', n);
        cr = memchr(p, '\r', lf ? (size_t) (lf - p) : n);

        if (cr || lf) {
            return cr ? cr : lf;
        }

        p += n;
    }

    return NULL;
}


int
llm_sse_usage_only(const unsigned char *p, size_t n)
{
    llm_sse_chunk_t       chunk;
    const unsigned char  *end, *last;

    last = p + n;

    if (llm_sse_has_choice(p, last)) {
        return 0;
    }

    llm_walk_init(&chunk.walk, &llm_sse_root, 0);

    chunk.data = 0;
    chunk.choices = 0;
    chunk.usage = 0;
    chunk.other = 0;

    while (p < last && !chunk.other) {

        end = llm_sse_line_end(p, last);

        llm_sse_line(&chunk, p, end ? end : last);

        p = end ? end + 1 : last;
    }

    return !chunk.other && chunk.choices && chunk.usage
           && llm_json_complete(&chunk.walk.json);
}


/*
 * The cheap look that nearly every event ends with: its first "[" opens the
 * choices, and one follows.  No string can hold these bytes, as its quotes
 * would be escaped.
 */

static int
llm_sse_has_choice(const unsigned char *p, const unsigned char *last)
{
    size_t                n;
    const unsigned char  *open;

    static const char     before[] = "\"choices\":";

    n = sizeof(before) - 1;
    open = memchr(p, '[', (size_t) (last - p));

    return open
           && (size_t) (open - p) >= n
           && last - open > 1
           && open[1] == '{'
           && memcmp(open - n, before, n) == 0;
}


static void
llm_sse_line(llm_sse_chunk_t *chunk, const unsigned char *p,
    const unsigned char *last)
{
    if (last - p < 5 || memcmp(p, "data:", 5) != 0) {
        return;
    }

    p += 5;
    p += (p < last && *p == ' ');

    if (chunk->data) {
        llm_sse_json(chunk, llm_sse_joint, llm_sse_joint + 1);
    }

    chunk->data = 1;
    llm_sse_json(chunk, p, last);
}


static void
llm_sse_json(llm_sse_chunk_t *chunk, const unsigned char *p,
    const unsigned char *last)
{
    int  event;

    while (!chunk->other) {

        event = llm_walk_next(&chunk->walk, &p, last);

        if (event == LLM_JSON_AGAIN) {
            return;
        }

        if (event == LLM_JSON_ERROR
            || (chunk->walk.depth == 0 && event != LLM_JSON_OBJECT_END))
        {
            chunk->other = 1;
            return;
        }

        if (chunk->walk.member) {
            llm_sse_value(chunk, event);
        }
    }
}


static void
llm_sse_value(llm_sse_chunk_t *chunk, int event)
{
    switch (chunk->walk.member->kind) {

    case LLM_CHOICE:
        if (event == LLM_JSON_ARRAY && !chunk->walk.element) {
            chunk->choices = 1;

        } else if (event != LLM_JSON_ARRAY_END) {
            chunk->other = 1;
        }

        break;

    case LLM_USAGE:
        chunk->usage = (event == LLM_JSON_OBJECT);
        break;

    case LLM_FAILURE:
        if (event != LLM_JSON_NULL) {
            chunk->other = 1;
        }

        break;

    default:
        break;
    }
}
