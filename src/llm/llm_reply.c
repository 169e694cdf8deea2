
/*
 * Copyright (C) nginx-cycles authors
 *
 * Nothing of a reply is kept: the lines of a stream are cut where they stand,
 * and the JSON of an event is read while it passes.
 */


#include <stddef.h>
#include <string.h>

#include "llm_reply.h"
#include "llm_dialect.h"


/* a line of a stream; llm_reply_t.line */

typedef enum {
    sw_field = 0,
    sw_space,                             /* that may follow the colon */
    sw_done,                              /* perhaps "[DONE]" */
    sw_data,
    sw_event,
    sw_skip
} llm_reply_line_t;


static void llm_reply_sse(llm_reply_t *rp, const unsigned char *p, size_t n);
static void llm_reply_line(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last);
static const unsigned char *llm_reply_field(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last);
static unsigned llm_reply_meaning(llm_reply_t *rp);
static void llm_reply_data(llm_reply_t *rp);
static const unsigned char *llm_reply_done(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last);
static void llm_reply_match(llm_reply_t *rp, unsigned ch);
static void llm_reply_line_end(llm_reply_t *rp);
static void llm_reply_dispatch(llm_reply_t *rp);
static void llm_reply_event(llm_reply_t *rp);
static void llm_reply_json(llm_reply_t *rp, const unsigned char *p, size_t n);
static void llm_reply_value(llm_reply_t *rp, int event);
static void llm_reply_model(llm_reply_t *rp);
static void llm_reply_text(llm_reply_t *rp);
static void llm_reply_choice(llm_reply_t *rp, int64_t index);
static void llm_reply_usage(llm_reply_t *rp);
static void llm_reply_keep(int64_t *kept, int64_t count, int64_t absent);


static const char  llm_done[] = "[DONE]";
static const char  llm_error[] = "error";


void
llm_reply_init(llm_reply_t *rp, llm_api_t api, llm_reply_format_t format)
{
    memset(rp, 0, offsetof(llm_reply_t, walk));

    rp->api = api;
    rp->format = format;

    llm_usage_init(&rp->usage);
    llm_estimate_init(&rp->estimate);
    memset(rp->previous, (int) rp->estimate.previous, LLM_REPLY_CHOICES);

    llm_reply_event(rp);
}


void
llm_reply_feed(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    if (rp->format == LLM_REPLY_SSE) {
        llm_reply_sse(rp, p, n);

    } else {

        /* the bytes of a byte order mark begin no JSON */

        while (n && rp->walk.json.offset == 0
               && (*p == 0xef || *p == 0xbb || *p == 0xbf))
        {
            p++;
            n--;
        }

        llm_reply_json(rp, p, n);
        rp->done = rp->object && llm_json_complete(&rp->walk.json);
    }

    rp->output_tokens = llm_estimate_tokens(&rp->estimate);
}


void
llm_reply_finish(llm_reply_t *rp)
{
    if (rp->format == LLM_REPLY_JSON) {

        if (!rp->object && !llm_json_blank(&rp->walk.json)) {
            rp->unreadable = 1;
        }

        return;
    }

    if (rp->line == sw_field && rp->field_len) {
        (void) llm_reply_meaning(rp);
    }

    if (rp->started && rp->named_error) {
        rp->error = 1;
    }

    if (rp->other && !rp->data) {
        rp->unreadable = 1;
    }
}


static void
llm_reply_sse(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    const unsigned char  *last, *end;

    last = p + n;

    while (p < last) {

        if (rp->cr) {
            rp->cr = 0;

            if (*p == '\n') {
                p++;
                continue;
            }
        }

        end = llm_sse_line_end(p, last);

        if (end == NULL) {
            llm_reply_line(rp, p, last);
            return;
        }

        llm_reply_line(rp, p, end);
        llm_reply_line_end(rp);

        rp->cr = (*end == '\r');
        p = end + 1;
    }
}


/* a piece of a line, without its end */

static void
llm_reply_line(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last)
{
    while (p < last) {

        switch (rp->line) {

        case sw_field:
            p = llm_reply_field(rp, p, last);
            break;

        case sw_space:
            p += (*p == ' ');
            rp->line = rp->value;
            break;

        case sw_done:
            p = llm_reply_done(rp, p, last);
            break;

        case sw_data:
            llm_reply_json(rp, p, (size_t) (last - p));
            return;

        case sw_event:
            llm_reply_match(rp, *p++);
            break;

        default: /* sw_skip */
            return;
        }
    }
}


static const unsigned char *
llm_reply_field(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last)
{
    for ( /* void */ ; p < last; p++) {

        if (*p == ':') {
            rp->value = llm_reply_meaning(rp);
            rp->line = sw_space;

            return p + 1;
        }

        if (rp->field_len < sizeof(rp->field)) {
            rp->field[rp->field_len] = *p;
        }

        /* a name that is too long only has to stay so */

        if (rp->field_len <= sizeof(rp->field)) {
            rp->field_len++;
        }
    }

    return p;
}


static unsigned
llm_reply_meaning(llm_reply_t *rp)
{
    size_t                len;
    const unsigned char  *name;

    name = rp->field;
    len = rp->field_len;

    if (len >= 3 && memcmp(name, "\xef\xbb\xbf", 3) == 0) {
        name += 3;
        len -= 3;
    }

    if (len == 4 && memcmp(name, "data", 4) == 0) {
        llm_reply_data(rp);
        return rp->line;
    }

    rp->matched = 0;

    if (len == 5 && memcmp(name, "event", 5) == 0) {
        rp->named_error = 0;
        return sw_event;
    }

    if (len != 0
        && (len != 2 || memcmp(name, "id", 2) != 0)
        && (len != 5 || memcmp(name, "retry", 5) != 0))
    {
        rp->other = 1;
    }

    return sw_skip;
}


/* the lines of an event's data are joined by LF */

static void
llm_reply_data(llm_reply_t *rp)
{
    rp->data = 1;

    if (rp->started) {
        llm_reply_json(rp, (const unsigned char *) "\n", 1);
        rp->line = sw_data;
        return;
    }

    rp->started = 1;
    rp->matched = 0;
    rp->line = sw_done;
}


static const unsigned char *
llm_reply_done(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last)
{
    while (p < last && *p == (unsigned char) llm_done[rp->matched]) {

        p++;

        if (++rp->matched == sizeof(llm_done) - 1) {
            rp->done = 1;
            rp->broken = 1;
            rp->line = sw_skip;
            return p;
        }
    }

    if (p < last) {
        rp->line = sw_data;
        llm_reply_json(rp, (const unsigned char *) llm_done, rp->matched);
    }

    return p;
}


static void
llm_reply_match(llm_reply_t *rp, unsigned ch)
{
    if (rp->matched < sizeof(llm_error) - 1
        && ch == (unsigned char) llm_error[rp->matched])
    {
        rp->matched++;

    } else {
        rp->line = sw_skip;
    }
}


static void
llm_reply_line_end(llm_reply_t *rp)
{
    switch (rp->line) {

    case sw_field:
        if (rp->field_len == 0) {
            llm_reply_dispatch(rp);
            break;
        }

        /* a name alone has an empty value */

        (void) llm_reply_meaning(rp);
        break;

    case sw_done:
        llm_reply_json(rp, (const unsigned char *) llm_done, rp->matched);
        break;

    case sw_event:
        rp->named_error = (rp->matched == sizeof(llm_error) - 1);
        break;

    default:
        break;
    }

    rp->line = sw_field;
    rp->field_len = 0;
}


static void
llm_reply_dispatch(llm_reply_t *rp)
{
    llm_json_t  *js;

    if (!rp->started) {
        rp->named_error = 0;
        return;
    }

    js = &rp->walk.json;

    if (!rp->broken
        && !llm_json_blank(js)
        && !(rp->object && llm_json_complete(js)))
    {
        rp->unreadable = 1;
    }

    if (rp->named_error) {
        rp->error = 1;
    }

    llm_reply_event(rp);
}


static void
llm_reply_event(llm_reply_t *rp)
{
    rp->started = 0;
    rp->object = 0;
    rp->broken = 0;
    rp->named_error = 0;
    rp->choice = 0;
    rp->position = -1;

    llm_walk_init(&rp->walk, llm_dialect(rp->api)->reply, 0);
}


static void
llm_reply_json(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    int                   event;
    const unsigned char  *last;

    last = p + n;

    while (!rp->broken) {

        event = llm_walk_next(&rp->walk, &p, last);

        if (event == LLM_JSON_AGAIN) {
            return;
        }

        if (event == LLM_JSON_ERROR
            || (rp->walk.depth == 0 && event != LLM_JSON_OBJECT_END))
        {
            rp->unreadable = 1;
            rp->broken = 1;
            return;
        }

        rp->object = 1;
        llm_reply_value(rp, event);
    }
}


static void
llm_reply_value(llm_reply_t *rp, int event)
{
    const llm_member_t  *m;

    m = rp->walk.member;

    if (m == NULL) {
        return;
    }

    switch (m->kind) {

    case LLM_MODEL:
        if (event == LLM_JSON_STRING) {
            llm_reply_model(rp);
        }

        break;

    case LLM_TEXT:
        if (event == LLM_JSON_STRING) {
            llm_reply_text(rp);
        }

        break;

    case LLM_CHOICE:
        if (event == LLM_JSON_OBJECT) {
            llm_reply_choice(rp, ++rp->position);
        }

        break;

    case LLM_CHOICE_INDEX:
        if (event == LLM_JSON_NUMBER) {
            llm_reply_choice(rp, llm_json_whole(rp->walk.json.text,
                                                rp->walk.json.len));
        }

        break;

    case LLM_USAGE:
        if (event == LLM_JSON_OBJECT) {
            memset(rp->counts, 0xff, sizeof(rp->counts));

        } else if (event == LLM_JSON_OBJECT_END) {
            llm_reply_usage(rp);
        }

        break;

    case LLM_COUNT:
        if (event == LLM_JSON_NUMBER) {
            rp->counts[m->slot] = llm_json_whole(rp->walk.json.text,
                                                 rp->walk.json.len);
        }

        break;

    case LLM_FAILURE:
        if (event == LLM_JSON_OBJECT
            || (event == LLM_JSON_STRING && rp->walk.json.len))
        {
            rp->error = 1;
        }

        break;

    default:
        break;
    }
}


/* the first event that names the model is enough */

static void
llm_reply_model(llm_reply_t *rp)
{
    size_t       len;
    llm_json_t  *js;

    js = &rp->walk.json;

    if (js->first) {
        rp->model_open = (rp->model_len == 0);
        llm_text_init(&rp->text, rp->model, LLM_MODEL_MAX);
    }

    if (!rp->model_open) {
        return;
    }

    llm_text_add(&rp->text, js->text, js->len);

    if (!js->last) {
        return;
    }

    len = rp->text.len;

    if (len > LLM_MODEL_MAX) {

        /* not in the middle of a UTF-8 sequence */

        for (len = LLM_MODEL_MAX; len && rp->model[len - 1] >= 0x80; len--) {
            if (rp->model[len - 1] >= 0xc0) {
                len--;
                break;
            }
        }
    }

    rp->model_len = llm_text_printable(rp->model, len) ? len : 0;
}


/* a word of a stream goes on from one event to the next */

static void
llm_reply_text(llm_reply_t *rp)
{
    llm_json_t  *js;

    js = &rp->walk.json;

    if (js->first) {
        llm_estimate_string(&rp->estimate);

        if (rp->format == LLM_REPLY_SSE) {
            rp->estimate.previous = rp->previous[rp->choice];
        }
    }

    llm_estimate_feed(&rp->estimate, js->text, js->len);
    rp->later = 1;

    if (js->last) {
        rp->previous[rp->choice] = (unsigned char) rp->estimate.previous;
    }
}


static void
llm_reply_choice(llm_reply_t *rp, int64_t index)
{
    if (index < 0) {
        return;
    }

    rp->choice = (index < LLM_REPLY_CHOICES) ? (unsigned) index
                                             : LLM_REPLY_CHOICES - 1;
}


/*
 * A usage object has ended.  Some servers send one of zeros until they know
 * better.  Some leave reasoning out of the output, where only the total shows
 * it.
 */

static void
llm_reply_usage(llm_reply_t *rp)
{
    int64_t  input, output, total, hidden;

    input = rp->counts[LLM_COUNT_INPUT];
    output = rp->counts[LLM_COUNT_OUTPUT];
    total = rp->counts[LLM_COUNT_TOTAL];

    if (input <= 0 && output <= 0 && total <= 0) {
        return;
    }

    if (output < 0 && input >= 0 && total >= input) {
        output = total - input;
    }

    if (input < 0 && output >= 0 && total >= output) {
        input = total - output;
    }

    hidden = (input >= 0 && output >= 0) ? total - input - output : 0;

    if (hidden > 0) {
        output += hidden;
    }

    llm_reply_keep(&rp->usage.input, input, -1);
    llm_reply_keep(&rp->usage.output, output, -1);
    llm_reply_keep(&rp->usage.cached_input, rp->counts[LLM_COUNT_CACHED], 0);
    llm_reply_keep(&rp->usage.cache_write,
                   rp->counts[LLM_COUNT_CACHE_WRITE], 0);
    llm_reply_keep(&rp->usage.reasoning, rp->counts[LLM_COUNT_REASONING],
                   hidden > 0 ? -1 : 0);

    rp->usage_seen = (rp->usage.input >= 0 && rp->usage.output >= 0);
    rp->later = 0;
}


static void
llm_reply_keep(int64_t *kept, int64_t count, int64_t absent)
{
    if (count >= 0) {
        *kept = count;

    } else if (*kept < 0) {
        *kept = absent;
    }
}
