
/*
 * Copyright (C) nginx-cycles authors
 *
 * What is held upstream: names in requests and replies, and what is known.
 */


#include <stdlib.h>

#include "llm/llm_reply.h"
#include "llm/llm_request.h"
#include "llm/llm_text.h"
#include "llm/llm_turns.h"
#include "tap.h"


static void test_states(void);
static void test_turns(void);
static void test_memory(void);
static void test_oldest(void);
static uint64_t name(const char *text);
static void read_request(llm_api_t api, const char *body, size_t piece);
static void read_reply(llm_api_t api, const char *body, size_t piece);


static llm_request_t  request;
static llm_reply_t    reply;


int
main(void)
{
    test_states();
    test_turns();
    test_memory();
    test_oldest();

    return done_testing();
}


static void
test_states(void)
{
    size_t  i, piece;

    static const struct {
        llm_api_t    api;
        const char  *body;
        const char  *state;               /* NULL: there is none, or no name */
        unsigned     stateful;
    } cases[] = {
        { LLM_API_RESPONSES, "{\"input\":\"Hi\"}", NULL, 0 },
        { LLM_API_RESPONSES, "{\"previous_response_id\":\"resp_1\"}",
          "resp_1", 1 },
        { LLM_API_RESPONSES, "{\"previous_response_id\":null}", NULL, 0 },
        { LLM_API_RESPONSES, "{\"previous_response_id\":\"\"}", NULL, 0 },
        { LLM_API_RESPONSES, "{\"conversation\":\"conv_1\"}", "conv_1", 1 },
        { LLM_API_RESPONSES, "{\"conversation\":{\"id\":\"conv_1\","
          "\"x\":{\"id\":\"y\"}}}", "conv_1", 1 },
        { LLM_API_RESPONSES, "{\"prompt\":{\"id\":\"pmpt_1\"}}", NULL, 1 },
        { LLM_API_RESPONSES, "{\"previous_response_id\":\"resp_1\","
          "\"prompt\":{\"id\":\"pmpt_1\"}}", NULL, 1 },
        { LLM_API_RESPONSES, "{\"prompt\":{\"id\":\"pmpt_1\"},"
          "\"previous_response_id\":\"resp_1\"}", NULL, 1 },
        { LLM_API_RESPONSES, "{\"previous_response_id\":\"resp_1\","
          "\"previous_response_id\":\"resp_2\"}", NULL, 1 },
        { LLM_API_INTERACTIONS, "{\"previous_interaction_id\":\"i_1\"}",
          "i_1", 1 },
        { LLM_API_INTERACTIONS, "{\"agent\":\"a\"}", NULL, 1 },
        { LLM_API_GENERATE, "{\"cachedContent\":\"cachedContents/x\"}",
          "cachedContents/x", 1 },
        { LLM_API_MESSAGES, "{\"thread\":{\"type\":\"continue\"}}", NULL, 1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        for (piece = 1; piece < 200; piece += 199 - 1) {

            read_request(cases[i].api, cases[i].body, piece);

            ok(request.facts.stateful == cases[i].stateful
               && request.facts.state == name(cases[i].state),
               "%s in pieces of %d", cases[i].body, (int) piece);
        }
    }

    read_request(LLM_API_GENERATE, "{\"cachedContent\":\"x\"}", 200);
    ok(request.facts.state_cached, "cached content is told apart");
}


static void
test_turns(void)
{
    size_t  piece;

    for (piece = 1; piece < 200; piece += 199 - 1) {

        read_reply(LLM_API_RESPONSES, "{\"id\":\"resp_1\",\"object\":"
                   "\"response\",\"conversation\":{\"id\":\"conv_1\"},"
                   "\"output\":[{\"id\":\"msg_1\"}],\"usage\":{"
                   "\"input_tokens\":1,\"output_tokens\":2}}", piece);
        ok(reply.turns[0] == name("resp_1")
           && reply.turns[1] == name("conv_1"), "of a reply");

        read_reply(LLM_API_RESPONSES, "data: {\"type\":\"response.created\","
                   "\"response\":{\"id\":\"resp_2\"}}\n\n"
                   "data: {\"type\":\"response.output_item.added\","
                   "\"item\":{\"id\":\"msg_1\"}}\n\n", piece);
        ok(reply.turns[0] == name("resp_2") && reply.turns[1] == 0,
           "of a stream");

        read_reply(LLM_API_INTERACTIONS, "{\"id\":\"i_1\"}", piece);
        ok(reply.turns[0] == name("i_1"), "of an interaction");
    }
}


static void
test_memory(void)
{
    llm_turns_t  *t;

    t = calloc(1, sizeof(llm_turns_t));

    is_int(llm_turns_get(t, name("a")), -1, "what was never there");
    is_int(llm_turns_get(NULL, name("a")), -1, "without memory");
    llm_turns_put(NULL, name("a"), 5, 1);

    llm_turns_put(t, name("a"), 5, 1);
    llm_turns_put(t, name("b"), 0, 1);
    llm_turns_put(t, 0, 7, 1);
    llm_turns_put(t, name("c"), -1, 1);
    llm_turns_put(t, name("d"), INT64_MAX, 1);

    is_int(llm_turns_get(t, name("a")), 5, "what was");
    is_int(llm_turns_get(t, name("b")), 0, "nothing at all");
    is_int(llm_turns_get(t, 0), -1, "no name");
    is_int(llm_turns_get(t, name("c")), -1, "no number");
    is_int(llm_turns_get(t, name("d")), UINT32_MAX, "the most");

    llm_turns_put(t, name("a"), 6, 2);
    is_int(llm_turns_get(t, name("a")), 6, "the latest");

    free(t);
}


/* a name that came later stays, whatever comes of others */

static void
test_oldest(void)
{
    int           i, known, wrong;
    char          text[16];
    llm_turns_t  *t;

    t = calloc(1, sizeof(llm_turns_t));
    wrong = 0;

    for (i = 0; i < 20 * LLM_TURNS_SLOTS; i++) {
        snprintf(text, sizeof(text), "r%d", i);

        /* the clock may run over */

        llm_turns_put(t, name(text), i, (uint32_t) i - 5000);
        wrong += (llm_turns_get(t, name(text)) != i);
    }

    is_int(wrong, 0, "what has just come is known");

    known = 0;

    for (i = 0; i < LLM_TURNS_SLOTS / 4; i++) {
        snprintf(text, sizeof(text), "r%d", 20 * LLM_TURNS_SLOTS - 1 - i);
        known += (llm_turns_get(t, name(text)) >= 0);
    }

    ok(known > LLM_TURNS_SLOTS / 4 * 9 / 10, "the latest are known");

    free(t);
}


static uint64_t
name(const char *text)
{
    return text ? llm_hash(LLM_HASH, (const unsigned char *) text,
                           strlen(text))
                : 0;
}


static void
read_request(llm_api_t api, const char *body, size_t piece)
{
    size_t  n;

    llm_request_init(&request, api);

    for ( /* void */ ; *body; body += n) {
        n = strlen(body) < piece ? strlen(body) : piece;

        if (llm_request_feed(&request, (const unsigned char *) body, n)
            != LLM_OK)
        {
            ok(0, "%s", llm_request_error(&request));
            return;
        }
    }
}


static void
read_reply(llm_api_t api, const char *body, size_t piece)
{
    size_t  n;

    llm_reply_init(&reply, api, (*body == '{') ? LLM_REPLY_JSON
                                               : LLM_REPLY_SSE);

    for ( /* void */ ; *body; body += n) {
        n = strlen(body) < piece ? strlen(body) : piece;
        llm_reply_feed(&reply, (const unsigned char *) body, n);
    }

    llm_reply_finish(&reply);
}
