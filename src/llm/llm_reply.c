
/*
 * Copyright (C) nginx-cycles authors
 *
 * Nothing of a reply is kept: the lines of a stream are cut where they stand,
 * and the JSON of an event is read while it passes.
 */


#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "llm_reply_value.h"
#include "llm_price.h"


/* a line of a stream; llm_reply_t.line */

typedef enum {
    sw_field = 0,
    sw_space,                             /* that may follow the colon */
    sw_done,                              /* perhaps "[DONE]" */
    sw_data,
    sw_event,
    sw_skip
} llm_reply_line_t;


/* of an event that is kept, and what precedes it, some 220 bytes and 122 */

#define LLM_REPLY_PREFETCH  384


static void llm_reply_sse(llm_reply_t *rp, const unsigned char *p, size_t n);
static const unsigned char *llm_reply_held(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last);
static const unsigned char *llm_reply_event_end(const unsigned char *p,
    const unsigned char *last);
static inline const unsigned char *llm_reply_repeated(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last, int *more);
static inline const unsigned char *llm_reply_blank_line(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last, int *more);
static void llm_reply_whole_line(llm_reply_t *rp, const unsigned char *event,
    const unsigned char *p, const unsigned char *last);
static uint64_t llm_reply_digest(llm_reply_t *rp);
static uint64_t llm_reply_state(const llm_reply_t *rp);
static uint64_t *llm_reply_counts(uint64_t *w, const llm_counts_t *counts);
static void llm_reply_line(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last);
static const unsigned char *llm_reply_field(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last);
static unsigned char llm_reply_meaning(llm_reply_t *rp);
static void llm_reply_data(llm_reply_t *rp);
static const unsigned char *llm_reply_done(llm_reply_t *rp,
    const unsigned char *p, const unsigned char *last);
static void llm_reply_match(llm_reply_t *rp, unsigned ch);
static void llm_reply_line_end(llm_reply_t *rp);
static void llm_reply_dispatch(llm_reply_t *rp);
static void llm_reply_event(llm_reply_t *rp);
static void llm_reply_lines(llm_reply_t *rp, const unsigned char *p,
    size_t n);
static void llm_reply_frames(llm_reply_t *rp, const unsigned char *p,
    size_t n);
static void llm_reply_frame_header(llm_reply_t *rp);
static void llm_reply_frame_end(llm_reply_t *rp);
static int llm_reply_whole(const llm_json_t *js);
static void llm_reply_payload(llm_reply_t *rp, const unsigned char *p,
    size_t n);
static void llm_reply_base64(llm_reply_t *rp, const unsigned char *p,
    size_t n);
static unsigned llm_reply_base64_value(unsigned ch);


static const char  llm_done[] = "[DONE]";
static const char  llm_error[] = "error";


size_t
llm_reply_size(llm_reply_format_t format)
{
    switch (format) {

    case LLM_REPLY_SSE:
        return offsetof(llm_reply_t, u) + sizeof(llm_repeat_t);

    case LLM_REPLY_EVENTSTREAM:
        return sizeof(llm_reply_t);

    default:
        return offsetof(llm_reply_t, u);
    }
}


void
llm_reply_init(llm_reply_t *rp, llm_api_t api, llm_reply_format_t format)
{
    memset(rp, 0, offsetof(llm_reply_t, fresh));

    rp->api = api;
    rp->format = format;
    rp->rules = llm_dialect(api)->rules;
    rp->cost = -1;
    rp->upstream_cost = -1;

    if (format == LLM_REPLY_JSON && (rp->rules & LLM_RULE_LINES)) {
        rp->format = LLM_REPLY_LINES;
    }

    rp->walking = 1;
    llm_walk_init(&rp->walk, llm_dialect(api)->reply, 0);

    if (format == LLM_REPLY_SSE) {
        llm_repeat_init(&rp->u.repeat);
    }

    if (format == LLM_REPLY_EVENTSTREAM) {
        llm_eventstream_init(&rp->u.es.frames);
        llm_walk_init(&rp->u.es.chunk, &llm_invoke_chunk, 0);
    }

    llm_counts_init(&rp->fresh);
    llm_counts_init(&rp->counts);

    llm_usage_init(&rp->usage);
    llm_estimate_init(&rp->estimate);
    memset(rp->previous, (int) rp->estimate.previous, LLM_REPLY_CHOICES);

    llm_reply_event(rp);
}


void
llm_reply_header(llm_reply_t *rp, const unsigned char *name, size_t name_len,
    const unsigned char *value, size_t len)
{
    int64_t      count;
    llm_count_t  slot;

    static const char  input[] = "x-amzn-bedrock-input-token-count";
    static const char  output[] = "x-amzn-bedrock-output-token-count";

    if (name_len == sizeof(input) - 1
        && strncasecmp((const char *) name, input, name_len) == 0)
    {
        slot = LLM_COUNT_INPUT;

    } else if (name_len == sizeof(output) - 1
               && strncasecmp((const char *) name, output, name_len) == 0)
    {
        slot = LLM_COUNT_OUTPUT;

    } else {
        return;
    }

    count = llm_decimal((const char *) value, len, 0);

    if (count >= 0 && count <= LLM_JSON_WHOLE_MAX) {
        llm_counts_set(&rp->counts, slot, count);
        llm_reply_results(rp);
    }
}


llm_reply_format_t
llm_reply_format(const unsigned char *type, size_t len)
{
    size_t  i, n;

    static const struct {
        const char          *type;
        llm_reply_format_t   format;
    } types[] = {
        { "text/event-stream", LLM_REPLY_SSE },
        { "application/x-ndjson", LLM_REPLY_LINES },
        { "application/ndjson", LLM_REPLY_LINES },
        { "application/jsonl", LLM_REPLY_LINES },
        { "application/x-jsonl", LLM_REPLY_LINES },
        { "application/jsonlines", LLM_REPLY_LINES },
        { "application/stream+json", LLM_REPLY_LINES },
        { "application/vnd.amazon.eventstream", LLM_REPLY_EVENTSTREAM }
    };

    static const char  json[] = "application/json";

    /* what most replies are is none of them */

    n = sizeof(json) - 1;

    if (len >= n && memcmp(type, json, n) == 0
        && (len == n || type[n] == ';'))
    {
        return LLM_REPLY_JSON;
    }

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

        n = strlen(types[i].type);

        if (len >= n
            && strncasecmp((const char *) type, types[i].type, n) == 0
            && (len == n || type[n] == ';' || type[n] == ' '))
        {
            return types[i].format;
        }
    }

    return LLM_REPLY_JSON;
}


void
llm_reply_prefetch(const llm_reply_t *rp)
{
    size_t                n;
    const unsigned char  *repeat;

    if (rp->format != LLM_REPLY_SSE) {
        return;
    }

    __builtin_prefetch(&rp->line);
    __builtin_prefetch(&rp->digest);
    __builtin_prefetch(&rp->estimate);
    __builtin_prefetch(&rp->previous);

    repeat = (const unsigned char *) &rp->u.repeat;

    for (n = 0; n < LLM_REPLY_PREFETCH; n += 64) {
        __builtin_prefetch(repeat + n);
    }
}


void
llm_reply_feed(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    switch (rp->format) {

    case LLM_REPLY_SSE:
        llm_reply_sse(rp, p, n);
        break;

    case LLM_REPLY_LINES:
        llm_reply_lines(rp, p, n);
        break;

    case LLM_REPLY_EVENTSTREAM:
        llm_reply_frames(rp, p, n);
        break;

    default: /* LLM_REPLY_JSON */

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

    if (rp->changed) {
        llm_reply_results(rp);
    }

    rp->output_tokens = llm_estimate_tokens(&rp->estimate);
}


void
llm_reply_finish(llm_reply_t *rp)
{
    switch (rp->format) {

    case LLM_REPLY_SSE:
        break;

    case LLM_REPLY_EVENTSTREAM:
        return;

    default:
        if (!rp->object && !rp->data && !llm_json_blank(&rp->walk.json)) {
            rp->unreadable = 1;
        }

        return;
    }

    llm_reply_flush(rp);

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
    int                   more;
    const unsigned char  *last, *event, *end, *next;

    last = p + n;
    event = NULL;

    if (rp->nheld) {
        p = llm_reply_held(rp, p, last);
    }

    while (p < last) {

        if (rp->cr) {
            rp->cr = 0;

            if (*p == '\n') {
                p++;
                continue;
            }
        }

        if (!rp->inside_event) {
            event = p;
            next = llm_reply_repeated(rp, p, last, &more);

            if (next) {
                p = next;
                continue;
            }

            /* an event is looked at when all of it has come */

            if (last - p <= LLM_REPLY_HELD
                && (more || llm_reply_event_end(p, last) == NULL))
            {
                rp->walking = 0;
                rp->nheld = (unsigned) (last - p);
                memcpy(rp->held, p, rp->nheld);
                return;
            }
        }

        end = llm_sse_line_end(p, last);

        if (end == NULL) {
            rp->inside_event = 1;
            llm_reply_line(rp, p, last);
            return;
        }

        llm_reply_whole_line(rp, event, p, end);

        rp->cr = (*end == '\r');
        p = end + 1;
    }
}


/* more of an event that is held has come: returns what is behind it */

static const unsigned char *
llm_reply_held(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last)
{
    int                   more;
    size_t                n;
    const unsigned char  *held, *end;

    n = LLM_REPLY_HELD - rp->nheld;
    n = ((size_t) (last - p) < n) ? (size_t) (last - p) : n;

    memcpy(rp->held + rp->nheld, p, n);

    held = rp->held + rp->nheld;

    end = llm_reply_repeated(rp, rp->held, held + n, &more);

    if (end) {
        rp->nheld = 0;
        return p + (end - held);
    }

    end = more ? NULL : llm_reply_event_end(rp->held, held + n);

    if (end == NULL && n == (size_t) (last - p)) {
        rp->nheld += (unsigned) n;
        return last;
    }

    n = end ? (size_t) (end - held) : 0;
    rp->nheld += (unsigned) n;

    llm_reply_flush(rp);

    return p + n;
}


static const unsigned char *
llm_reply_event_end(const unsigned char *p, const unsigned char *last)
{
    llm_sse_t  sse;

    llm_sse_init(&sse);

    return llm_sse_event_end(&sse, p, last);
}


void
llm_reply_flush(llm_reply_t *rp)
{
    size_t                n;
    unsigned char         held[LLM_REPLY_HELD];
    const unsigned char  *p, *last, *end;

    if (rp->nheld == 0) {
        return;
    }

    /* it is in the place of what reads it */

    n = rp->nheld;
    rp->nheld = 0;

    memcpy(held, rp->held, n);

    last = held + n;

    for (p = held; p < last; p = end + 1) {

        rp->cr = 0;
        end = llm_sse_line_end(p, last);

        if (end == NULL) {
            rp->inside_event = 1;
            llm_reply_line(rp, p, last);
            break;
        }

        llm_reply_whole_line(rp, held, p, end);

        if (*end == '\r' && end + 1 < last && end[1] == '\n') {
            end++;
        }

        rp->cr = (*end == '\r');
    }

    if (rp->changed) {
        llm_reply_results(rp);
    }

    rp->output_tokens = llm_estimate_tokens(&rp->estimate);
}


/*
 * An event that need not be parsed: returns its end, blank line included.
 * *more: it may be one, when the rest of it has come.
 */

static inline const unsigned char *
llm_reply_repeated(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last, int *more)
{
    llm_repeat_t         *rt;
    llm_repeat_found_t    found;
    const unsigned char  *end;

    rt = &rp->u.repeat;

    *more = 0;

    /* others may have changed something since */

    if (!rt->ready || rt->state != llm_reply_digest(rp)) {
        return NULL;
    }

    end = llm_repeat_match(rt, p, last, &found);

    if (end == NULL) {
        *more = found.more;
        return NULL;
    }

    end = llm_reply_blank_line(rp, end, last, more);

    if (end && found.text) {
        llm_reply_add_text(rp, rt->choice, found.text, found.len,
                           found.escaped);
    }

    return end;
}


/* the end of a line, and of one without anything in it */

static inline const unsigned char *
llm_reply_blank_line(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last, int *more)
{
    size_t  n;

    static const char  crs[] = "\r\n\r";

    if (last - p >= 2 && p[0] == '\n' && p[1] == '\n') {
        return p + 2;
    }

    n = (size_t) (last - p);
    n = (n < sizeof(crs) - 1) ? n : sizeof(crs) - 1;

    if (memcmp(p, crs, n) == 0) {

        if (n == sizeof(crs) - 1) {
            rp->cr = 1;
            return p + n;
        }

        *more = 1;

    } else if (n == 1 && *p == '\n') {
        *more = 1;
    }

    return NULL;
}


/*
 * What the last line of an event does depends only on its bytes and on what is
 * known before: if that is the same behind it, then another event with these
 * bytes does nothing, too.  Nothing else is in the lines in front of it, as
 * long as they are no data.  event: where it begins; NULL: elsewhere.
 */

static void
llm_reply_whole_line(llm_reply_t *rp, const unsigned char *event,
    const unsigned char *p, const unsigned char *last)
{
    uint64_t            before, after;
    llm_repeat_draft_t  draft;

    if (event == NULL || rp->started || rp->line != sw_field
        || rp->field_len || rp->named_error
        || last - p < 6 || memcmp(p, "data:", 5) != 0)
    {
        llm_reply_line(rp, p, last);
        llm_reply_line_end(rp);
        return;
    }

    before = llm_reply_digest(rp);
    llm_repeat_begin(&rp->u.repeat, &draft, event, last);

    llm_reply_line(rp, p, last);
    llm_reply_line_end(rp);

    after = llm_reply_digest(rp);

    llm_repeat_end(&rp->u.repeat, after,
                   before == after && rp->object && !rp->broken
                   && llm_json_complete(&rp->walk.json));
}


static uint64_t
llm_reply_digest(llm_reply_t *rp)
{
    if (!rp->known) {
        rp->digest = llm_reply_state(rp);
        rp->known = 1;
    }

    return rp->digest;
}


/* a digest of all that an event may change, but for the text that passed */

static uint64_t
llm_reply_state(const llm_reply_t *rp)
{
    uint64_t  *w, words[5 + LLM_REPLY_TURNS + 2 * LLM_REPLY_CALLS
                        + 2 * LLM_REPLY_COUNTS];

    w = words;

    *w++ = rp->early | rp->later << 1 | rp->done << 2 | rp->error << 3
           | rp->pending << 4 | rp->unreadable << 5 | rp->byok << 6
           | rp->usage.fast << 7 | rp->usage.tier_known << 8
           | (uint64_t) rp->usage.tier << 16 | (uint64_t) rp->usage.geo << 24
           | (uint64_t) rp->model_len << 32;
    *w++ = (uint64_t) rp->cost;
    *w++ = (uint64_t) rp->upstream_cost;
    *w++ = (uint64_t) rp->pictures;

    memcpy(w, rp->turns, sizeof(rp->turns));
    w += LLM_REPLY_TURNS;

    memcpy(w, rp->calls, sizeof(rp->calls));
    w += LLM_REPLY_CALLS;

    memcpy(w, rp->listed, sizeof(rp->listed));
    w += LLM_REPLY_CALLS;

    /* most events come before there is any */

    *w++ = rp->fresh.set | (uint64_t) rp->counts.set << 32;

    w = llm_reply_counts(w, &rp->fresh);
    w = llm_reply_counts(w, &rp->counts);

    return llm_repeat_digest(words, (size_t) (w - words));
}


static uint64_t *
llm_reply_counts(uint64_t *w, const llm_counts_t *counts)
{
    uint32_t  set;

    for (set = counts->set; set; set &= set - 1) {
        *w++ = (uint64_t) counts->count[__builtin_ctz(set)];
    }

    return w;
}


/* a piece of a line, without its end */

static void
llm_reply_line(llm_reply_t *rp, const unsigned char *p,
    const unsigned char *last)
{
    if (!rp->walking) {
        rp->walking = 1;
        llm_walk_init(&rp->walk, llm_dialect(rp->api)->reply, 0);
    }

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
            rp->known = 0;
            p = llm_reply_done(rp, p, last);
            break;

        case sw_data:
            rp->known = 0;
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


static unsigned char
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
    rp->known = 0;

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
            rp->inside_event = 0;
            llm_reply_dispatch(rp);
            return;
        }

        /* a name alone has an empty value */

        (void) llm_reply_meaning(rp);
        break;

    case sw_done:
        rp->known = 0;
        llm_reply_json(rp, (const unsigned char *) llm_done, rp->matched);
        break;

    case sw_event:
        rp->named_error = (rp->matched == sizeof(llm_error) - 1);
        break;

    default:
        break;
    }

    rp->inside_event = 1;
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
        rp->known = 0;
    }

    if (rp->named_error) {
        rp->error = 1;
        rp->known = 0;
    }

    llm_reply_event(rp);
}


/* JSON texts, each behind the last; usually on a line of its own */

static void
llm_reply_lines(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    const unsigned char  *last, *end;

    last = p + n;

    while (p < last) {

        end = memchr(p, '\n', (size_t) (last - p));
        end = end ? end + 1 : last;

        llm_reply_json(rp, p, (size_t) (end - p));

        if (end[-1] == '\n'
            && (rp->broken || llm_json_complete(&rp->walk.json)))
        {
            rp->data = 1;
            llm_reply_event(rp);
        }

        p = end;
    }
}


static void
llm_reply_frames(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    const unsigned char  *last;

    last = p + n;

    for ( ;; ) {

        switch (llm_eventstream_next(&rp->u.es.frames, &p, last)) {

        case LLM_EVENTSTREAM_AGAIN:
            return;

        case LLM_EVENTSTREAM_ERROR:
            rp->unreadable = 1;
            return;

        case LLM_EVENTSTREAM_HEADER:
            llm_reply_frame_header(rp);
            break;

        case LLM_EVENTSTREAM_PAYLOAD:
            llm_reply_payload(rp, rp->u.es.frames.text, rp->u.es.frames.len);
            break;

        default: /* LLM_EVENTSTREAM_END */
            llm_reply_frame_end(rp);
        }
    }
}


static void
llm_reply_frame_header(llm_reply_t *rp)
{
    size_t               len;
    llm_eventstream_t   *es;
    const unsigned char *value;

    es = &rp->u.es.frames;
    value = es->value;
    len = es->value_len;

    if (es->name_len == 13 && memcmp(es->name, ":message-type", 13) == 0) {
        rp->named_error = (len != 5 || memcmp(value, "event", 5) != 0);

    } else if (es->name_len == 11 && memcmp(es->name, ":event-type", 11) == 0) {
        rp->frame_done = (len == 8 && memcmp(value, "metadata", 8) == 0);
        rp->base64 = (len == 5 && memcmp(value, "chunk", 5) == 0);
    }
}


/* only now its checksum is known to be right */

static void
llm_reply_frame_end(llm_reply_t *rp)
{
    if (!rp->broken
        && (!llm_reply_whole(&rp->walk.json)
            || (rp->base64 && !llm_reply_whole(&rp->u.es.chunk.json))))
    {
        rp->unreadable = 1;
    }

    if (rp->named_error) {
        rp->error = 1;

    } else if (rp->frame_done) {
        rp->done = 1;
    }

    llm_reply_usage(rp);
    llm_reply_event(rp);
}


static int
llm_reply_whole(const llm_json_t *js)
{
    return llm_json_blank(js) || llm_json_complete(js);
}


/* an event of InvokeModelWithResponseStream has its JSON in a JSON */

static void
llm_reply_payload(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    int                   event;
    const unsigned char  *last;

    if (!rp->base64) {
        llm_reply_json(rp, p, n);
        return;
    }

    last = p + n;

    while (!rp->broken) {

        event = llm_walk_next(&rp->u.es.chunk, &p, last);

        if (event == LLM_JSON_AGAIN) {
            return;
        }

        if (event == LLM_JSON_ERROR) {
            rp->unreadable = 1;
            rp->broken = 1;
            return;
        }

        if (event == LLM_JSON_STRING && rp->u.es.chunk.member
            && rp->u.es.chunk.member->kind == LLM_BASE64)
        {
            llm_reply_base64(rp, rp->u.es.chunk.json.text,
                             rp->u.es.chunk.json.len);
        }
    }
}


/* JSON may write "\/", other escapes are no Base64 */

static void
llm_reply_base64(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    unsigned              value;
    size_t                len;
    unsigned char         out[256];
    const unsigned char  *last;

    len = 0;

    for (last = p + n; p < last; p++) {

        if (*p == '=' || *p == '\\') {
            continue;
        }

        value = llm_reply_base64_value(*p);

        if (value > 63) {
            llm_reply_json(rp, out, len);
            rp->unreadable = 1;
            rp->broken = 1;
            return;
        }

        rp->bits = (rp->bits << 6 | value) & 0xfff;
        rp->nbits += 6;

        if (rp->nbits < 8) {
            continue;
        }

        rp->nbits -= 8;
        out[len++] = (unsigned char) (rp->bits >> rp->nbits);

        if (len == sizeof(out)) {
            llm_reply_json(rp, out, len);
            len = 0;
        }
    }

    llm_reply_json(rp, out, len);
}


static unsigned
llm_reply_base64_value(unsigned ch)
{
    if (ch >= 'A' && ch <= 'Z') {
        return ch - 'A';
    }

    if (ch >= 'a' && ch <= 'z') {
        return ch - 'a' + 26;
    }

    if (ch >= '0' && ch <= '9') {
        return ch - '0' + 52;
    }

    return (ch == '+') ? 62 : (ch == '/') ? 63 : 64;
}


static void
llm_reply_event(llm_reply_t *rp)
{
    rp->started = 0;
    rp->object = 0;
    rp->broken = 0;
    rp->named_error = 0;
    rp->reported = 0;
    rp->inside = 0;
    rp->early_usage = 0;
    rp->base64 = 0;
    rp->item_done = 0;
    rp->frame_done = 0;
    rp->choice = 0;
    rp->position = -1;

    llm_walk_again(&rp->walk);

    if (rp->format == LLM_REPLY_EVENTSTREAM) {
        rp->nbits = 0;
        llm_walk_again(&rp->u.es.chunk);
    }
}
