
/*
 * Copyright (C) nginx-cycles authors
 *
 * Providers report usage once, or as running totals: the last value of each
 * count that is not null is the one.  Nothing is added up, but for the few
 * replies that are a list of usages.
 */


#include <string.h>
#include <strings.h>

#include "llm_reply_value.h"
#include "llm_walk_step.h"
#include "llm_price.h"


/* no sum of counts comes near an overflow */

#define LLM_REPLY_MOST  ((int64_t) 1 << 60)

/* ten thousand millionth parts of a USD, in pico-USD */

#define LLM_TICK        100


/* llm_reply_t.calls */

typedef enum {
    LLM_CALL_WEB = 0,
    LLM_CALL_FILES,
    LLM_CALL_CODE
} llm_call_t;


/* the header has its own name for the number of counts */

typedef char  llm_reply_counts_t[(LLM_COUNTS == LLM_REPLY_COUNTS) ? 1 : -1];


static void llm_reply_value(llm_reply_t *rp, int event);
static void llm_reply_string(llm_reply_t *rp, const llm_member_t *m);
static void llm_reply_figure(llm_reply_t *rp, const llm_member_t *m);
static void llm_reply_flag(llm_reply_t *rp, const llm_member_t *m,
    unsigned flag);
static void llm_reply_container(llm_reply_t *rp, const llm_member_t *m,
    int event);
static void llm_reply_count(llm_reply_t *rp, const llm_member_t *m);
static void llm_reply_details(llm_reply_t *rp, const llm_member_t *m,
    int event);
static void llm_reply_iteration(llm_reply_t *rp, int event);
static void llm_reply_cost(llm_reply_t *rp, const llm_member_t *m);
static void llm_reply_milliseconds(llm_reply_t *rp, const llm_member_t *m);
static void llm_reply_items(llm_reply_t *rp, const llm_member_t *m,
    int event);
static void llm_reply_elements(llm_reply_t *rp, const llm_member_t *m,
    int event);
static void llm_reply_model(llm_reply_t *rp);
static void llm_reply_text(llm_reply_t *rp, int event);
static void llm_reply_choice(llm_reply_t *rp, int64_t index);
static void llm_reply_word(llm_reply_t *rp, const llm_member_t *m);
static void llm_reply_type(llm_reply_t *rp);
static void llm_reply_item(llm_reply_t *rp);
static void llm_reply_detail(llm_reply_t *rp);
static int llm_reply_is(const llm_reply_t *rp, const char *word);
static int64_t llm_reply_number(const llm_reply_t *rp);
static int64_t llm_reply_add(int64_t sum, int64_t count);


void
llm_reply_json(llm_reply_t *rp, const unsigned char *p, size_t n)
{
    int                   event, seen;
    llm_walk_t           *w;
    const unsigned char  *last, *guard;

    w = &rp->walk;
    last = p + n;
    guard = llm_walk_guard(p, last);

    if (rp->broken) {
        return;
    }

    seen = 0;

    llm_json_begin(&w->json, p);

    for ( ;; ) {

        event = llm_walk_event(w, &p, guard, last);

        if (event <= LLM_JSON_AGAIN) {
            break;
        }

        if (w->depth == 0
            && event != LLM_JSON_OBJECT_END && event != LLM_JSON_ARRAY_END)
        {
            event = LLM_JSON_ERROR;
            break;
        }

        seen = 1;

        if (w->member) {
            llm_reply_value(rp, event);

        } else if (rp->format == LLM_REPLY_SSE) {
            llm_repeat_ignored(&rp->u.repeat, p);
        }
    }

    w->json.offset = llm_json_position(&w->json, p);

    if (seen) {
        rp->object = 1;
    }

    if (event == LLM_JSON_ERROR) {
        rp->unreadable = 1;
        rp->broken = 1;
    }
}


static void
llm_reply_value(llm_reply_t *rp, int event)
{
    const llm_member_t  *m;

    m = rp->walk.member;

    if (m->kind == LLM_TEXT || m->kind == LLM_VALUE) {
        llm_reply_text(rp, event);
        return;
    }

    switch (event) {

    case LLM_JSON_STRING:
        llm_reply_string(rp, m);
        break;

    case LLM_JSON_NUMBER:
        llm_reply_figure(rp, m);
        break;

    case LLM_JSON_TRUE:
    case LLM_JSON_FALSE:
        llm_reply_flag(rp, m, event == LLM_JSON_TRUE);
        break;

    default:
        llm_reply_container(rp, m, event);
    }
}


/* a string, or a piece of it */

static void
llm_reply_string(llm_reply_t *rp, const llm_member_t *m)
{
    llm_json_t  *js;

    js = &rp->walk.json;

    switch (m->kind) {

    case LLM_MODEL:
        llm_reply_model(rp);
        break;

    case LLM_TURN:
        rp->turns[m->slot] = llm_hash(js->first ? LLM_HASH
                                                : rp->turns[m->slot],
                                      js->text, js->len);
        break;

    case LLM_WORD:
        llm_reply_word(rp, m);
        break;

    case LLM_ELEMENTS:
        rp->elements += js->first;
        break;

    case LLM_PICTURE:
        if (js->first) {
            rp->pictures++;
            rp->changed = 1;
        }

        break;

    case LLM_FAILURE:
        if (js->len) {
            rp->error = 1;
        }

        break;

    case LLM_FAILURE_TEXT:
        rp->error = 1;
        break;

    default:
        break;
    }
}


static void
llm_reply_figure(llm_reply_t *rp, const llm_member_t *m)
{
    switch (m->kind) {

    case LLM_CHOICE_INDEX:
        llm_reply_choice(rp, llm_reply_number(rp));
        break;

    case LLM_COUNT:
    case LLM_COUNT_ADDED:
    case LLM_COUNTED:
        llm_reply_count(rp, m);
        break;

    case LLM_DETAIL_COUNT:
        rp->detail_count = llm_reply_number(rp);
        break;

    case LLM_ITERATION_COUNT:
        rp->iteration[m->slot] = llm_reply_number(rp);
        break;

    case LLM_COST:
        llm_reply_cost(rp, m);
        break;

    case LLM_MILLISECONDS:
        llm_reply_milliseconds(rp, m);
        break;

    default:
        break;
    }
}


static void
llm_reply_flag(llm_reply_t *rp, const llm_member_t *m, unsigned flag)
{
    if (m->kind == LLM_BYOK) {
        rp->byok = flag;

    } else if (m->kind == LLM_DONE) {
        rp->done |= flag;
    }
}


/* the begin or the end of an object or an array, or null */

static void
llm_reply_container(llm_reply_t *rp, const llm_member_t *m, int event)
{
    switch (m->kind) {

    case LLM_CHOICE:
        if (event == LLM_JSON_OBJECT) {
            llm_reply_choice(rp, ++rp->position);
        }

        break;

    case LLM_USAGE:
        if (event == LLM_JSON_OBJECT) {
            rp->inside = 1;

        } else if (event == LLM_JSON_OBJECT_END) {
            rp->inside = 0;
            rp->early_usage |= (m->slot == LLM_USAGE_EARLY);
            rp->done |= (m->slot == LLM_USAGE_LAST);

            if (rp->format != LLM_REPLY_EVENTSTREAM) {
                llm_reply_usage(rp);
            }
        }

        break;

    case LLM_DETAILS:
        llm_reply_details(rp, m, event);
        break;

    case LLM_ITERATIONS:
        llm_reply_iteration(rp, event);
        break;

    case LLM_ITEMS:
        llm_reply_items(rp, m, event);
        break;

    case LLM_ELEMENTS:
        llm_reply_elements(rp, m, event);
        break;

    case LLM_FAILURE:
        if (event == LLM_JSON_OBJECT) {
            rp->error = 1;
        }

        break;

    default:
        break;
    }
}


static void
llm_reply_count(llm_reply_t *rp, const llm_member_t *m)
{
    int64_t  count;

    count = llm_reply_number(rp);

    if (count < 0) {
        return;
    }

    switch (m->kind) {

    case LLM_COUNT_ADDED:
        llm_counts_set(&rp->fresh, m->slot,
                       llm_reply_add(rp->fresh.count[m->slot], count));
        break;

    case LLM_COUNTED:
        llm_counts_set(&rp->fresh, LLM_COUNT_INPUT, count);
        llm_counts_set(&rp->fresh, LLM_COUNT_OUTPUT, 0);
        llm_reply_usage(rp);
        break;

    default: /* LLM_COUNT */
        llm_counts_set(&rp->fresh, m->slot, count);
    }
}


/* the count may come in front of the word */

static void
llm_reply_details(llm_reply_t *rp, const llm_member_t *m, int event)
{
    if (event == LLM_JSON_OBJECT) {
        rp->detail = LLM_COUNTS;
        rp->detail_count = -1;
        return;
    }

    if (event == LLM_JSON_OBJECT_END
        && rp->detail < LLM_COUNTS && rp->detail_count >= 0)
    {
        llm_counts_set(&rp->fresh, rp->detail,
                       llm_reply_add(rp->fresh.count[rp->detail],
                                     rp->detail_count));
    }
}


/* the counts may come in front of what they are of */

static void
llm_reply_iteration(llm_reply_t *rp, int event)
{
    unsigned  i, slot;

    if (event == LLM_JSON_OBJECT) {
        memset(rp->iteration, 0xff, sizeof(rp->iteration));
        rp->beside = 0;
        return;
    }

    if (event != LLM_JSON_OBJECT_END || !rp->beside) {
        return;
    }

    for (i = 0; i < LLM_REPLY_MORE; i++) {
        if (rp->iteration[i] >= 0) {
            slot = LLM_COUNT_MORE + i;
            llm_counts_set(&rp->fresh, slot,
                           llm_reply_add(rp->fresh.count[slot],
                                         rp->iteration[i]));
        }
    }
}


static void
llm_reply_cost(llm_reply_t *rp, const llm_member_t *m)
{
    int64_t      cost;
    llm_json_t  *js;

    js = &rp->walk.json;

    if (js->text == NULL) {
        return;
    }

    cost = (m->slot == LLM_COST_TICKS)
           ? llm_decimal_up((const char *) js->text, js->len, 2)
           : llm_decimal_up((const char *) js->text, js->len, 12);

    if (cost < 0) {
        return;
    }

    if (m->slot == LLM_COST_UPSTREAM) {
        rp->upstream_cost = cost;

    } else {
        rp->cost = cost;
    }

    rp->changed = 1;
}


/* the seconds of a usage are those that are billed */

static void
llm_reply_milliseconds(llm_reply_t *rp, const llm_member_t *m)
{
    int64_t      ms;
    llm_json_t  *js;

    js = &rp->walk.json;

    if (js->text == NULL) {
        return;
    }

    ms = llm_decimal((const char *) js->text, js->len, 3);

    if (ms < 0 || ms > LLM_JSON_WHOLE_MAX) {
        return;
    }

    if (rp->inside) {
        llm_counts_set(&rp->fresh, m->slot, ms);

    } else if (rp->counts.count[m->slot] < 0) {
        llm_counts_set(&rp->counts, m->slot, ms);
        rp->changed = 1;
    }
}


/* a whole list of calls takes the place of those told one by one */

static void
llm_reply_items(llm_reply_t *rp, const llm_member_t *m, int event)
{
    if (event == LLM_JSON_ARRAY && !rp->walk.element) {
        memset(rp->listed, 0, sizeof(rp->listed));
        rp->changed = 1;
    }
}


static void
llm_reply_elements(llm_reply_t *rp, const llm_member_t *m, int event)
{
    if (event == LLM_JSON_ARRAY) {
        rp->elements = 0;
        return;
    }

    if (event == LLM_JSON_ARRAY_END
        && rp->elements > rp->counts.count[m->slot])
    {
        llm_counts_set(&rp->counts, m->slot, rp->elements);
        rp->changed = 1;
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
        llm_text_init(&rp->text, rp->model, LLM_REPLY_MODEL_MAX);
    }

    if (!rp->model_open) {
        return;
    }

    llm_text_add(&rp->text, js->text, js->len);

    if (!js->last) {
        return;
    }

    len = rp->text.len;

    if (len > LLM_REPLY_MODEL_MAX) {

        /* not in the middle of a UTF-8 sequence */

        for (len = LLM_REPLY_MODEL_MAX;
             len && rp->model[len - 1] >= 0x80;
             len--)
        {
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
llm_reply_text(llm_reply_t *rp, int event)
{
    llm_json_t  *js;

    js = &rp->walk.json;

    switch (event) {

    case LLM_JSON_STRING:
        break;

    case LLM_JSON_KEY:
    case LLM_JSON_NUMBER:
        if (rp->format == LLM_REPLY_SSE) {
            llm_repeat_spoil(&rp->u.repeat);
        }

        if (rp->walk.all && js->text) {
            llm_estimate_string(&rp->estimate);
            llm_estimate_feed(&rp->estimate, js->text, js->len);
        }

        return;

    default:
        return;
    }

    if (rp->format == LLM_REPLY_SSE) {

        if (js->first && js->last) {
            llm_repeat_text(&rp->u.repeat, js->text, js->len, rp->choice);

        } else {
            llm_repeat_spoil(&rp->u.repeat);
        }
    }

    if (js->first) {
        llm_estimate_string(&rp->estimate);

        if (rp->format != LLM_REPLY_JSON) {
            rp->estimate.previous = rp->previous[rp->choice];
        }
    }

    llm_estimate_feed(&rp->estimate, js->text, js->len);

    if (!rp->reported) {
        rp->later = 1;
    }

    if (js->last) {
        rp->previous[rp->choice] = (unsigned char) rp->estimate.previous;
    }
}


void
llm_reply_add_text(llm_reply_t *rp, unsigned choice, const unsigned char *p,
    size_t n, int escaped)
{
    if (escaped) {
        llm_estimate_string(&rp->estimate);
        rp->estimate.previous = rp->previous[choice];
        llm_estimate_feed(&rp->estimate, p, n);

    } else {
        rp->estimate.previous = rp->previous[choice];
        llm_estimate_plain(&rp->estimate, p, n);
    }

    rp->previous[choice] = (unsigned char) rp->estimate.previous;
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


/* words come in pieces as any string, and may be escaped */

static void
llm_reply_word(llm_reply_t *rp, const llm_member_t *m)
{
    llm_json_t  *js;

    js = &rp->walk.json;

    if (js->first) {
        llm_text_init(&rp->text, rp->word, LLM_REPLY_WORD);
    }

    llm_text_add(&rp->text, js->text, js->len);

    if (!js->last || rp->text.len > LLM_REPLY_WORD) {
        return;
    }

    switch (m->slot) {

    case LLM_WORD_TYPE:
        llm_reply_type(rp);
        return;

    case LLM_WORD_STATUS:
        rp->pending = llm_reply_is(rp, "queued")
                      || llm_reply_is(rp, "in_progress");
        return;

    case LLM_WORD_FINISH:
        if (rp->text.len) {
            rp->done = 1;
        }

        return;

    case LLM_WORD_ITEM:
        llm_reply_item(rp);
        return;

    case LLM_WORD_DETAIL:
        llm_reply_detail(rp);
        return;

    case LLM_WORD_ITERATION:

        /* the others are those that the usage itself is the sum of */

        rp->beside = (llm_reply_is(rp, "compaction")
                      || llm_reply_is(rp, "advisor_message"));
        return;

    case LLM_WORD_TIER:
        rp->usage.tier = llm_tier_find(rp->word, rp->text.len);
        rp->usage.tier_known = 1;
        return;

    case LLM_WORD_GEO:
        rp->usage.geo = llm_reply_is(rp, "us") ? LLM_GEO_US
                        : llm_reply_is(rp, "eu") ? LLM_GEO_EU
                        : LLM_GEO_DEFAULT;
        return;

    default: /* LLM_WORD_SPEED */
        rp->usage.fast = (unsigned) llm_reply_is(rp, "fast");
    }
}


static void
llm_reply_type(llm_reply_t *rp)
{
    size_t  i;

    static const char  *ends[] = {
        "message_stop",
        "message-end",
        "stream-end",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "interaction.completed",
        "interaction.complete",
        "transcript.text.done",
        "speech.audio.done"
    };

    rp->item_done = (unsigned) llm_reply_is(rp, "response.output_item.done");

    if (llm_reply_is(rp, "error")) {
        rp->error = 1;
        return;
    }

    if (llm_reply_is(rp, "image_generation.completed")
        || llm_reply_is(rp, "image_edit.completed"))
    {
        rp->pictures++;
        rp->changed = 1;
        rp->done = 1;
        return;
    }

    for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {

        if (llm_reply_is(rp, ends[i])) {
            rp->done = 1;
            return;
        }
    }
}


static void
llm_reply_item(llm_reply_t *rp)
{
    int64_t             *calls;
    unsigned             call;
    const llm_member_t  *list;

    list = rp->walk.at[rp->walk.depth];

    if (list->flags & LLM_WALK_ARRAY) {
        calls = rp->listed;

    } else if (rp->item_done) {
        calls = rp->calls;

    } else {
        return;
    }

    if (llm_reply_is(rp, "web_search_call")) {
        call = LLM_CALL_WEB;

    } else if (llm_reply_is(rp, "file_search_call")) {
        call = LLM_CALL_FILES;

    } else if (llm_reply_is(rp, "code_interpreter_call")) {
        call = LLM_CALL_CODE;

    } else {
        return;
    }

    calls[call]++;
    rp->changed = 1;
}


static void
llm_reply_detail(llm_reply_t *rp)
{
    unsigned  slot, audio;

    slot = rp->walk.at[rp->walk.depth]->slot;
    audio = (unsigned) llm_reply_is(rp, "audio");

    switch (slot) {

    case LLM_DETAILS_INPUT:
        rp->detail = audio ? LLM_COUNT_INPUT_AUDIO
                     : llm_reply_is(rp, "image") ? LLM_COUNT_INPUT_IMAGE
                     : llm_reply_is(rp, "video") ? LLM_COUNT_INPUT_VIDEO
                     : LLM_COUNTS;
        break;

    case LLM_DETAILS_CACHED:
        rp->detail = audio ? LLM_COUNT_CACHED_AUDIO : LLM_COUNTS;
        break;

    case LLM_DETAILS_OUTPUT:
        rp->detail = audio ? LLM_COUNT_OUTPUT_AUDIO
                     : llm_reply_is(rp, "image") ? LLM_COUNT_OUTPUT_IMAGE
                     : LLM_COUNTS;
        break;

    case LLM_DETAILS_WRITE:
        rp->detail = llm_reply_is(rp, "1h") ? LLM_COUNT_WRITE_1H : LLM_COUNTS;
        break;

    default: /* LLM_DETAILS_TOOLS */
        rp->detail = llm_reply_is(rp, "google_search") ? LLM_COUNT_SEARCHES
                                                       : LLM_COUNTS;
    }
}


static int
llm_reply_is(const llm_reply_t *rp, const char *word)
{
    return rp->text.len == strlen(word)
           && strncasecmp((const char *) rp->word, word, rp->text.len) == 0;
}


static int64_t
llm_reply_number(const llm_reply_t *rp)
{
    return llm_json_whole(rp->walk.json.text, rp->walk.json.len);
}


static int64_t
llm_reply_add(int64_t sum, int64_t count)
{
    sum = (sum < 0) ? count : sum + count;

    return (sum < LLM_REPLY_MOST) ? sum : LLM_REPLY_MOST;
}


/* some servers send a usage of zeros until they know better */

void
llm_reply_usage(llm_reply_t *rp)
{
    int64_t   count;
    uint32_t  set;
    unsigned  slot, zeros;

    zeros = 1;

    for (set = rp->fresh.set; set; set &= set - 1) {
        if (rp->fresh.count[__builtin_ctz(set)] > 0) {
            zeros = 0;
        }
    }

    for (set = rp->fresh.set; set; set &= set - 1) {

        slot = (unsigned) __builtin_ctz(set);
        count = rp->fresh.count[slot];
        rp->fresh.count[slot] = -1;

        if (zeros) {
            continue;
        }

        llm_counts_set(&rp->counts, slot,
                       (rp->rules & LLM_RULE_SUM)
                       ? llm_reply_add(rp->counts.count[slot], count)
                       : count);
    }

    rp->fresh.set = 0;

    if (zeros) {
        return;
    }

    rp->early = rp->early_usage;
    rp->reported = 1;
    rp->later = 0;
    rp->changed = 1;
}


void
llm_reply_results(llm_reply_t *rp)
{
    int64_t       calls[LLM_REPLY_CALLS];
    unsigned      i;
    llm_usage_t  *usage;

    usage = &rp->usage;

    llm_usage_derive(usage, rp->counts.count, rp->early);

    if ((rp->rules & LLM_RULE_NO_OUTPUT)
        && usage->input >= 0 && usage->output < 0)
    {
        usage->output = 0;
    }

    for (i = 0; i < LLM_REPLY_CALLS; i++) {
        calls[i] = (rp->calls[i] > rp->listed[i]) ? rp->calls[i]
                                                  : rp->listed[i];
    }

    if (calls[LLM_CALL_WEB] > usage->web_searches && calls[LLM_CALL_WEB]) {
        usage->web_searches = calls[LLM_CALL_WEB];
    }

    usage->file_searches = calls[LLM_CALL_FILES] ? calls[LLM_CALL_FILES] : -1;
    usage->code_sessions = calls[LLM_CALL_CODE] ? calls[LLM_CALL_CODE] : -1;

    if (rp->pictures) {
        usage->images = rp->pictures;
    }

    usage->cost = rp->cost;

    if (rp->byok && rp->cost >= 0 && rp->upstream_cost > 0
        && __builtin_add_overflow(rp->cost, rp->upstream_cost, &usage->cost))
    {
        usage->cost = INT64_MAX;
    }

    rp->usage_seen = (usage->input >= 0 && usage->output >= 0)
                     || usage->audio_ms >= 0
                     || usage->images > 0
                     || usage->queries >= 0
                     || usage->cost >= 0;
    rp->changed = 0;
}
