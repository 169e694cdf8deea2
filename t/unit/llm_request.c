
/*
 * Copyright (C) nginx-cycles authors
 */


#include <jansson.h>
#include <stdlib.h>

#include "llm/llm_request.h"
#include "llm/llm_route.h"
#include "tap.h"


static void test_facts(void);
static void test_errors(void);
static void test_duplicates(void);
static void test_model(void);
static void test_spans(void);
static void test_splices(void);
static void test_estimate(void);
static void test_media(void);
static void test_bounds(void);
static void test_sample(void);
static int run(llm_request_t *rq, const char *text, size_t n, size_t step);
static int run_api(llm_request_t *rq, llm_api_t api, const char *text,
    size_t n, size_t step);
static int64_t tokens(const char *body);
static uint64_t text_sum(const char *text);
static char *splice(const char *body, const llm_facts_t *f);


#define M  "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"


int
main(void)
{
    test_facts();
    test_errors();
    test_duplicates();
    test_model();
    test_spans();
    test_splices();
    test_estimate();
    test_media();
    test_bounds();
    test_sample();

    return done_testing();
}


static struct {
    const char  *body;
    const char  *model;
    int64_t      max_tokens;
    int64_t      choices;
    int          stream;
    int          include_usage;
} facts_cases[] = {

    { "{}", "", -1, 1, 0, 0 },
    { " \n\t{\"model\":\"gpt-4o\"," M "}\r\n", "gpt-4o", -1, 1, 0, 0 },
    { "{\"model\":\"a\",\"stream\":true}", "a", -1, 1, 1, 0 },
    { "{\"stream\":false}", "", -1, 1, 0, 0 },
    { "{\"stream\":null,\"n\":null,\"max_tokens\":null,"
      "\"max_completion_tokens\":null,\"stream_options\":null}",
      "", -1, 1, 0, 0 },
    { "{\"n\":128}", "", -1, 128, 0, 0 },
    { "{\"n\":2.0}", "", -1, 2, 0, 0 },
    { "{\"max_tokens\":100}", "", 100, 1, 0, 0 },
    { "{\"max_tokens\":1e3}", "", 1000, 1, 0, 0 },
    { "{\"max_tokens\":9007199254740992}", "", 9007199254740992, 1, 0, 0 },
    { "{\"max_completion_tokens\":7}", "", 7, 1, 0, 0 },
    { "{\"max_completion_tokens\":7,\"max_tokens\":9}", "", 7, 1, 0, 0 },
    { "{\"max_tokens\":9,\"max_completion_tokens\":7}", "", 7, 1, 0, 0 },
    { "{\"max_tokens\":9,\"max_completion_tokens\":null}", "", 9, 1, 0, 0 },
    { "{\"max_completion_tokens\":null,\"max_tokens\":9}", "", 9, 1, 0, 0 },
    { "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
      "", -1, 1, 1, 1 },
    { "{\"stream\":true,\"stream_options\":{\"include_usage\":false}}",
      "", -1, 1, 1, 1 },
    { "{\"stream_options\":{\"include_usage\":null}}", "", -1, 1, 0, 1 },
    { "{\"stream_options\":{\"x\":{\"include_usage\":true}}}",
      "", -1, 1, 0, 0 },
    { "{\"include_usage\":true,\"x\":{\"stream\":true,\"n\":7}}",
      "", -1, 1, 0, 0 },
    { "{\"messages\":[{\"model\":\"no\",\"stream\":true,\"n\":5,"
      "\"max_tokens\":1,\"content\":\"{\\\"model\\\":\\\"no\\\"}\"}],"
      "\"model\":\"yes\"}", "yes", -1, 1, 0, 0 },
    { "{\"metadata\":{\"model\":\"no\",\"model\":\"no\"},\"tools\":[{"
      "\"model\":1,\"n\":{}}],\"\\u006d\\u006Fdel\":\"yes\"}",
      "yes", -1, 1, 0, 0 },
    { "{\"model\":\"gpt\\u002d4o\\/x\"}", "gpt-4o/x", -1, 1, 0, 0 },
    { "{\"model\":\"\"}", "", -1, 1, 0, 0 },
    { "{\"x\":1,\"x\":2,\"user\":\"u\"}", "", -1, 1, 0, 0 },
    { "{\"nn\":0,\"models\":1,\"mode\":2,\"max_token\":[]}",
      "", -1, 1, 0, 0 },

    /* each byte of a name counts */

    { "{\"max_tokenz\":1,\"mbx_tokens\":1,\"max-tokens\":1}",
      "", -1, 1, 0, 0 },
    { "{\"modem\":\"a\",\"mydel\":\"b\",\"strean\":true,"
      "\"sxream\":true,\"m\":1}", "", -1, 1, 0, 0 },
    { "{\"max_completion_tokenz\":1,\"max_complexion_tokens\":2}",
      "", -1, 1, 0, 0 }
};


static void
test_facts(void)
{
    size_t         i, n, step, wrong;
    const char    *body;
    llm_facts_t   *f;
    llm_request_t  rq;

    f = &rq.facts;

    for (i = 0; i < sizeof(facts_cases) / sizeof(facts_cases[0]); i++) {

        body = facts_cases[i].body;
        n = strlen(body);
        wrong = 0;

        for (step = 1; step <= n; step++) {

            if (run(&rq, body, n, step) != LLM_OK
                || f->model_len != strlen(facts_cases[i].model)
                || memcmp(f->model, facts_cases[i].model, f->model_len) != 0
                || f->max_tokens != facts_cases[i].max_tokens
                || f->choices != facts_cases[i].choices
                || f->stream != (unsigned) facts_cases[i].stream
                || f->include_usage
                   != (unsigned) facts_cases[i].include_usage)
            {
                wrong++;
            }
        }

        is_int((long long) wrong, 0, "facts: %s", body);
    }
}


static struct {
    const char  *body;
    const char  *error;
} error_cases[] = {

    { "", "the body is empty" },
    { " \r\n\t", "the body is empty" },
    { "\xef\xbb\xbf{}", "the body begins with a byte order mark" },
    { "[]", "the body must be a JSON object" },
    { "12", "the body must be a JSON object" },
    { "\"text\"", "the body must be a JSON object" },
    { "\"text", "the body must be a JSON object" },
    { "null", "the body must be a JSON object" },
    { "{", "the body ends before its JSON does" },
    { "{\"model\":\"gpt-4o", "the body ends before its JSON does" },
    { "{\"n\":1", "the body ends before its JSON does" },
    { "model=gpt-4o", "the body is not JSON" },
    { "{\"x\":01}", "the body is not JSON" },
    { "{\"x\":[1,2}", "the body is not JSON" },
    { "{'model':1}", "the body is not JSON" },
    { "{} {}", "there is text behind the JSON" },
    { "{}garbage", "there is text behind the JSON" },
    { "{\"x\":\"a\nb\"}", "a string in the body contains"
      " a control character" },
    { "{\"x\":\"a\xff\"}", "a string in the body is not UTF-8" },

    { "{\"model\":1}", "member \"model\" must be a string" },
    { "{\"model\":null}", "member \"model\" must be a string" },
    { "{\"model\":[\"a\"]}", "member \"model\" must be a string" },
    { "{\"model\":{}}", "member \"model\" must be a string" },
    { "{\"model\":\"a\\u0000\"}", "member \"model\" must be printable text" },
    { "{\"model\":\"a\\nb\"}", "member \"model\" must be printable text" },
    { "{\"model\":\"\\ud800\"}", "member \"model\" must be printable text" },

    { "{\"stream\":1}", "member \"stream\" must be true or false" },
    { "{\"stream\":\"true\"}", "member \"stream\" must be true or false" },
    { "{\"stream\":{}}", "member \"stream\" must be true or false" },
    { "{\"stream_options\":true}",
      "member \"stream_options\" must be an object" },
    { "{\"stream_options\":[]}",
      "member \"stream_options\" must be an object" },
    { "{\"stream_options\":{\"include_usage\":1}}",
      "member \"include_usage\" must be true or false" },
    { "{\"stream_options\":{\"include_usage\":{}}}",
      "member \"include_usage\" must be true or false" },

    { "{\"max_tokens\":\"5\"}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { "{\"max_tokens\":0}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { "{\"max_tokens\":-1}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { "{\"max_tokens\":1.5}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { "{\"max_tokens\":9007199254740993}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { "{\"max_tokens\":[1]}",
      "member \"max_tokens\" must be a whole number of at least 1" },
    { "{\"max_completion_tokens\":1e-1}", "member \"max_completion_tokens\""
      " must be a whole number of at least 1" },
    { "{\"max_completion_tokens\":3,\"max_tokens\":\"x\"}",
      "member \"max_tokens\" must be a whole number of at least 1" },

    { "{\"n\":0}", "member \"n\" must be a whole number from 1 to 128" },
    { "{\"n\":129}", "member \"n\" must be a whole number from 1 to 128" },
    { "{\"n\":1.5}", "member \"n\" must be a whole number from 1 to 128" },
    { "{\"n\":true}", "member \"n\" must be a whole number from 1 to 128" },

    { "{\"messages\":null}", "member \"messages\" must be an array" },
    { "{\"messages\":\"hi\"}", "member \"messages\" must be an array" },
    { "{\"messages\":{}}", "member \"messages\" must be an array" },
    { "{\"tools\":{}}", "member \"tools\" must be an array" },
    { "{\"tools\":\"x\"}", "member \"tools\" must be an array" },
    { "{\"tools\":1}", "member \"tools\" must be an array" },
    { "{\"functions\":true}", "member \"functions\" must be an array" },
    { "{\"response_format\":[]}",
      "member \"response_format\" must be an object" },

    { "{\"Model\":\"a\"}",
      "a member that matters is written with other capital letters" },
    { "{\"MAX_TOKENS\":1}",
      "a member that matters is written with other capital letters" },
    { "{\"\\u004e\":1}",
      "a member that matters is written with other capital letters" }
};


static void
test_errors(void)
{
    size_t         i, n, step, wrong;
    const char    *body, *error;
    llm_request_t  rq;

    for (i = 0; i < sizeof(error_cases) / sizeof(error_cases[0]); i++) {

        body = error_cases[i].body;
        n = strlen(body);
        wrong = 0;

        for (step = 1; step <= n + 1; step++) {

            if (run(&rq, body, n, step) != LLM_ERROR) {
                wrong++;
            }
        }

        is_int((long long) wrong, 0, "refused: %s", body);

        error = llm_request_error(&rq);
        is_str(error, error_cases[i].error, "sentence: %s", body);
    }

    (void) run(&rq, "{} x", 4, 4);
    is_int(llm_request_feed(&rq, (const unsigned char *) "{}", 2), LLM_ERROR,
           "an error stays");
    is_int(llm_request_finish(&rq), LLM_ERROR, "until the end");

    is_int(run(&rq, "{\"Model\":1,\"\":2}", 16, 16), LLM_ERROR, "case");
    is_int(run(&rq, "{\"m\\u00f6del\":1,\"\":2}", 21, 21), LLM_OK,
           "other names are no matter");
}


static void
test_duplicates(void)
{
    char           body[256], want[128];
    size_t         i;
    llm_request_t  rq;

    static struct {
        const char  *name;
        const char  *first;
        const char  *second;
    } cases[] = {
        { "model", "\"a\"", "\"a\"" },
        { "model", "\"\"", "null" },
        { "stream", "true", "false" },
        { "stream", "null", "true" },
        { "stream_options", "{\"x\":1}", "null" },
        { "stream_options", "null", "{}" },
        { "max_tokens", "1", "1" },
        { "max_tokens", "null", "5" },
        { "max_completion_tokens", "1", "100000" },
        { "n", "1", "2" },
        { "messages", "[{\"content\":\"a\"},{\"content\":[{}]}]", "[]" },
        { "tools", "[{\"a\":[{}]},[1,[2]]]", "[]" },
        { "tools", "null", "[]" },
        { "functions", "[]", "[]" },
        { "response_format", "{\"a\":{\"b\":{}}}", "{}" },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        snprintf(body, sizeof(body), "{\"%s\":%s}", cases[i].name,
                 cases[i].first);
        is_int(run(&rq, body, strlen(body), 3), LLM_OK, "once: %s", body);

        snprintf(body, sizeof(body), "{\"%s\":%s,\"x\":1,\"\\u%04x%s\":%s}",
                 cases[i].name, cases[i].first,
                 (unsigned) cases[i].name[0], cases[i].name + 1,
                 cases[i].second);
        snprintf(want, sizeof(want), "member \"%s\" is there twice",
                 cases[i].name);

        is_int(run(&rq, body, strlen(body), 3), LLM_ERROR, "twice: %s",
               body);
        is_str(llm_request_error(&rq), want, "which is said");
    }

    snprintf(body, sizeof(body), "%s", "{\"stream_options\":{"
             "\"include_usage\":true,\"include_usage\":false}}");
    is_int(run(&rq, body, strlen(body), 9), LLM_ERROR, "twice inside");
    is_str(llm_request_error(&rq), "member \"include_usage\" is there twice",
           "which is said");
}


static void
test_model(void)
{
    char           body[400];
    llm_request_t  rq;

    memset(body, 'm', sizeof(body));
    memcpy(body, "{\"model\":\"", 10);
    memcpy(body + 10 + LLM_MODEL_MAX, "\"}", 2);

    is_int(run(&rq, body, LLM_MODEL_MAX + 12, 100), LLM_OK,
           "the longest model");
    is_int((long long) rq.facts.model_len, LLM_MODEL_MAX, "is whole");

    body[10 + LLM_MODEL_MAX] = 'm';
    memcpy(body + 11 + LLM_MODEL_MAX, "\"}", 2);

    is_int(run(&rq, body, LLM_MODEL_MAX + 13, 100), LLM_ERROR,
           "a longer one");
    is_str(llm_request_error(&rq), "member \"model\" is longer than 256"
           " bytes", "which is said");
}


static void
test_spans(void)
{
    size_t         i, n, step, wrong;
    llm_span_t    *span;
    llm_facts_t   *f;
    llm_request_t  rq;

    static struct {
        const char  *body;
        const char  *number;
    } cases[] = {
        { "{\"max_tokens\" : 100 }", "100" },
        { "{\"max_tokens\":1e3}", "1e3" },
        { "{\"max_tokens\":5\n,\"max_completion_tokens\":64,\"x\":64}",
          "64," },
        { "{\"max_completion_tokens\":64,\"max_tokens\":5}", "64," },
        { "{\"x\":7,\"max_completion_tokens\":null,\"max_tokens\":5}", "5}" }
    };

    f = &rq.facts;
    span = &rq.edits.max_tokens_value;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        n = strlen(cases[i].body);
        wrong = 0;

        for (step = 1; step <= n; step++) {

            (void) run(&rq, cases[i].body, n, step);

            wrong += strstr(cases[i].body, cases[i].number)
                     != cases[i].body + span->start;
            wrong += span->end - span->start
                     != strspn(cases[i].number, "0123456789e");
        }

        is_int((long long) wrong, 0, "span: %s", cases[i].body);
    }

    (void) run(&rq, "{\"max_tokens\":null}", 19, 4);
    is_int((long long) f->max_tokens, -1, "null is no limit");
    is_int((long long) span->start, 14, "but has a span");
    is_int((long long) span->end, 18, "to its end");
    is_int((long long) f->stream_options.end, 0, "what is absent has none");

    (void) run(&rq, "{\"max_completion_tokens\":null,\"max_tokens\":null}",
               47, 4);
    is_int((long long) span->start, 25, "null of the newer one");
    is_int((long long) span->end, 29, "to its end");
}


static void
test_splices(void)
{
    char          *out;
    size_t         i, n, step, wrong;
    json_t        *before, *after, *options;
    llm_request_t  rq;

    static const char  *bodies[] = {
        "{}",
        "  { }  ",
        "{\"stream\":true}",
        "\n{\n\"model\":\"a\", \"stream\": true, " M " }\n",
        "{\"stream_options\":null,\"stream\":true}",
        "{\"stream\":true,\"stream_options\" : null }",
        "{\"stream\":true,\"stream_options\":{}}",
        "{\"stream\":true,\"stream_options\": { } , \"n\":1}",
        "{\"stream\":true,\"stream_options\":{\"include_obfuscation\":false}"
        "}",
        "{\"stream\":true,\"stream_options\": { \"x\":{\"y\":[{}]} } }",
        "{\"tools\":[{\"stream_options\":{}}],\"stream\":true,"
        "\"\\u0073tream_options\":{\"a\":\"}\"}}"
    };

    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {

        n = strlen(bodies[i]);
        wrong = 0;

        for (step = 1; step <= n; step++) {

            if (run(&rq, bodies[i], n, step) != LLM_OK) {
                wrong++;
                continue;
            }

            out = splice(bodies[i], &rq.facts);

            before = json_loads(bodies[i], JSON_REJECT_DUPLICATES, NULL);
            after = json_loads(out, JSON_REJECT_DUPLICATES, NULL);

            options = json_object_get(before, "stream_options");

            if (!json_is_object(options)) {
                options = json_object();
                json_object_set_new(before, "stream_options", options);
            }

            json_object_set_new(options, "include_usage", json_true());

            wrong += !json_equal(before, after);

            json_decref(before);
            json_decref(after);
            free(out);
        }

        is_int((long long) wrong, 0, "spliced: %s", bodies[i]);
    }

    (void) run(&rq, "{}", 2, 1);
    ok(rq.facts.empty && rq.facts.object_start == 1, "an empty body");

    (void) run(&rq, "{\"x\":{}}", 8, 1);
    ok(!rq.facts.empty, "a body that is not");

    (void) run(&rq, "{\"stream_options\":{ }}", 22, 1);
    ok(rq.facts.stream_options_empty, "empty options");

    (void) run(&rq, "{\"stream_options\":{\"a\":{}}}", 27, 1);
    ok(!rq.facts.stream_options_empty, "options that are not");
}


/* as the gateway does it: one insertion, or one replacement */

static char *
splice(const char *body, const llm_facts_t *f)
{
    char        *out;
    size_t       n, at, skip;
    const char  *text;

    if (f->stream_options.end == 0) {
        at = (size_t) f->object_start;
        skip = 0;
        text = f->empty ? "\"stream_options\":{\"include_usage\":true}"
                        : "\"stream_options\":{\"include_usage\":true},";

    } else if (f->stream_options_start == 0) {
        at = (size_t) f->stream_options.start;
        skip = (size_t) (f->stream_options.end - f->stream_options.start);
        text = "{\"include_usage\":true}";

    } else {
        at = (size_t) f->stream_options_start;
        skip = 0;
        text = f->stream_options_empty ? "\"include_usage\":true"
                                       : "\"include_usage\":true,";
    }

    n = strlen(text);
    out = malloc(strlen(body) + n + 1);

    if (out == NULL) {
        exit(2);
    }

    memcpy(out, body, at);
    memcpy(out + at, text, n);
    strcpy(out + at + n, body + at + skip);

    return out;
}


static void
test_estimate(void)
{
    uint64_t  a;

    a = text_sum("a");

    is_int(tokens("{}"), 0, "nothing is estimated as nothing");
    is_int(tokens("{\"messages\":[]}"), 3, "the reply's priming");
    is_int(tokens("{\"messages\":[{},{},{}]}"), 3 + 3 * 4, "messages");
    is_int(tokens("{\"model\":\"aaa\",\"user\":\"bbb\",\"metadata\":{\"x\":"
                  "\"ccc\"},\"stop\":[\"x\"]}"), 0, "what is no prompt");

    is_int(tokens("{\"messages\":[{\"role\":\"a\",\"content\":\"a\"},"
                  "{\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                  "{\"type\":\"refusal\",\"refusal\":\"a\"}]},"
                  "{\"name\":\"a\",\"refusal\":\"a\",\"tool_call_id\":\"x\","
                  "\"reasoning_content\":\"a\",\"reasoning\":\"a\"},"
                  "{\"tool_calls\":[{\"id\":\"x\",\"type\":\"function\","
                  "\"function\":{\"name\":\"a\",\"arguments\":\"a\"}},"
                  "{\"custom\":{\"name\":\"a\",\"input\":\"a\"}}],"
                  "\"function_call\":{\"name\":\"a\",\"arguments\":\"a\"}}"
                  "]}"),
           (int64_t) (3 + 4 * 4 + (13 * a + 255) / 256),
           "all texts of messages");

    is_int(tokens("{\"messages\":[{\"content\":\"\\u00e9\\n\\\"\"}]}"),
           (int64_t) (3 + 4 + (text_sum("\xc3\xa9\n\"") + 255) / 256),
           "escapes are resolved");

    is_int(tokens("{\"tools\":[{\"a\":\"a\",\"b\":{\"a\":[\"a\",\"a\",null,"
                  "true]}}]}"), (int64_t) (9 + (6 * a + 255) / 256),
           "tools with their names");
    is_int(tokens("{\"tools\":[],\"functions\":[]}"), 9,
           "tools count their constant once");
    is_int(tokens("{\"tools\":null,\"functions\":null,"
                  "\"response_format\":null}"), 0, "null is nothing");
    is_int(tokens("{\"response_format\":{\"a\":{\"a\":123}}}"),
           (int64_t) ((2 * a + text_sum("123") + 255) / 256),
           "a schema with its numbers");
    is_int(tokens("{\"tools\":[{\"content\":\"a\",\"messages\":[{\"text\":"
                  "\"a\"}]}]}"),
           (int64_t) (9 + (2 * a + text_sum("content")
                           + text_sum("messages") + text_sum("text") + 255)
                          / 256),
           "members in a schema are only text");
}


static void
test_media(void)
{
    char     body[40000], data[32769];
    int64_t  plain;

    memset(data, 'A', sizeof(data));
    data[sizeof(data) - 1] = '\0';

    is_int(tokens("{\"messages\":[{\"content\":[{\"type\":\"image_url\","
                  "\"image_url\":{\"url\":\"https://a/b.png\",\"detail\":"
                  "\"high\"}}]}]}"), 3 + 4 + 1500, "an image by its URL");

    snprintf(body, sizeof(body), "{\"messages\":[{\"content\":[{\"image_url\""
             ":{\"url\":\"data:image/png;base64,%s\"}}]}]}", data);
    is_int(tokens(body), 3 + 4 + 1500, "an image in the body");

    snprintf(body, sizeof(body), "{\"messages\":[{\"content\":[{\"image_url\""
             ":\"data:image/png;base64,%s\"}]}]}", data);
    is_int(tokens(body), 3 + 4 + 1500, "an image as a string");

    snprintf(body, sizeof(body), "{\"messages\":[{\"content\":[{"
             "\"input_audio\":{\"format\":\"mp3\",\"data\":\"%s\"}}]}]}",
             data);
    is_int(tokens(body), 3 + 4 + 100 + 32, "audio by its length");

    snprintf(body, sizeof(body), "{\"messages\":[{\"content\":[{\"file\":{"
             "\"filename\":\"x.pdf\",\"file_data\":\"%s\"}}]}]}", data);
    is_int(tokens(body), 3 + 4 + 1500 + 2048, "a file by its length");

    is_int(tokens("{\"messages\":[{\"content\":[{\"file\":{\"file_id\":"
                  "\"file-1\"}}]}]}"), 3 + 4 + 1500, "a file elsewhere");
    is_int(tokens("{\"messages\":[{\"content\":[{\"video_url\":{\"url\":"
                  "\"x\"}}]}]}"), 3 + 4 + 8000, "a video");
    is_int(tokens("{\"messages\":[{\"audio\":{\"id\":\"audio_1\"}}]}"),
           3 + 4 + 100, "audio of an earlier turn");
    is_int(tokens("{\"messages\":[{\"audio\":null,\"content\":null}]}"),
           3 + 4, "no audio");

    snprintf(body, sizeof(body), "{\"messages\":[{\"content\":\"data:image/"
             "png;base64,%s\"}]}", data);
    plain = tokens(body);
    ok(plain > 5000, "but in a text it is a text (%d tokens)", (int) plain);
}


static void
test_bounds(void)
{
    size_t         i;
    llm_request_t  rq;
    unsigned char  text[1024];

    llm_request_init(&rq, LLM_API_CHAT);
    (void) llm_request_feed(&rq, (const unsigned char *) "{\"a\":", 5);

    memset(text, '[', sizeof(text));

    is_int(llm_request_feed(&rq, text, sizeof(text)), LLM_ERROR,
           "deep nesting is refused");
    is_str(llm_request_error(&rq), "the body is nested too deeply",
           "which is said");

    llm_request_init(&rq, LLM_API_CHAT);
    (void) llm_request_feed(&rq, (const unsigned char *) "{\"tools\":[{\"", 12);

    memset(text, 'k', sizeof(text));

    for (i = 0; i < 1024; i++) {
        (void) llm_request_feed(&rq, text, sizeof(text));
    }

    (void) llm_request_feed(&rq, (const unsigned char *) "\":1}]}", 6);
    is_int(llm_request_finish(&rq), LLM_OK, "a name of a megabyte");
    ok(rq.facts.input_tokens > 200000, "is counted");

    llm_request_init(&rq, LLM_API_CHAT);
    (void) llm_request_feed(&rq, (const unsigned char *) "{\"n\":", 5);

    memset(text, '1', sizeof(text));

    (void) llm_request_feed(&rq, text, sizeof(text));
    is_int(llm_request_feed(&rq, (const unsigned char *) "}", 1), LLM_ERROR,
           "a number of a kilobyte");
}


/* what is expected is of the body and the path together */

static void
test_sample(void)
{
    FILE          *file;
    size_t         i, n;
    int64_t        most;
    json_t        *manifest, *sample;
    const char    *name, *uri;
    llm_facts_t   *f;
    llm_route_t    rt;
    llm_request_t  rq;
    char           path[256], body[4096];

    f = &rq.facts;
    manifest = json_load_file("t/samples/MANIFEST.json", 0, NULL);

    if (!ok(manifest != NULL, "the manifest of the samples is read")) {
        return;
    }

    json_array_foreach(json_object_get(manifest, "requests"), i, sample) {

        name = json_string_value(json_object_get(sample, "file"));
        uri = json_string_value(json_object_get(sample, "path"));
        snprintf(path, sizeof(path), "t/samples/%s", name);

        file = fopen(path, "rb");

        if (!ok(file != NULL, "%s: opened", name)) {
            continue;
        }

        n = fread(body, 1, sizeof(body), file);
        fclose(file);

        llm_route(&rt, LLM_PROVIDER_AUTO, (const unsigned char *) "POST", 4,
                  NULL, 0, (const unsigned char *) uri, strlen(uri));

        is_int(run_api(&rq, rt.api, body, n, 5), LLM_OK, "%s: read", name);

        f->model[f->model_len] = '\0';
        rt.model[rt.model_len] = '\0';

        is_str(rt.model_len ? (char *) rt.model : (char *) f->model,
               json_string_value(json_object_get(sample, "model")),
               "%s: model", name);
        is_int(f->stream || rt.stream,
               json_is_true(json_object_get(sample, "stream")),
               "%s: stream", name);

        most = (f->max_tokens < 0) ? llm_default_limit(rt.provider, rt.api)
                                   : f->max_tokens;

        is_int(most, json_integer_value(
                                    json_object_get(sample, "max_tokens")),
               "%s: max_tokens", name);
        is_int(f->choices, json_integer_value(
                                    json_object_get(sample, "choices")),
               "%s: choices", name);
        is_int(f->include_usage || !rt.stream_usage,
               json_is_true(json_object_get(sample, "asks_usage")),
               "%s: usage comes unasked", name);
    }

    json_decref(manifest);
}


static int
run(llm_request_t *rq, const char *text, size_t n, size_t step)
{
    return run_api(rq, LLM_API_CHAT, text, n, step);
}


static int
run_api(llm_request_t *rq, llm_api_t api, const char *text, size_t n,
    size_t step)
{
    int             rc;
    size_t          i, size;
    unsigned char  *copy;

    llm_request_init(rq, api);

    for (i = 0; i < n; i += size) {

        size = (step < n - i) ? step : n - i;
        copy = malloc(size);

        if (copy == NULL) {
            exit(2);
        }

        memcpy(copy, text + i, size);
        rc = llm_request_feed(rq, copy, size);
        free(copy);

        if (rc != LLM_OK) {
            return rc;
        }
    }

    return llm_request_finish(rq);
}


/* the same in one piece as in many, or -1 */

static int64_t
tokens(const char *body)
{
    llm_request_t  rq, bytes;

    if (run(&rq, body, strlen(body), strlen(body)) != LLM_OK
        || run(&bytes, body, strlen(body), 1) != LLM_OK
        || rq.facts.input_tokens != bytes.facts.input_tokens)
    {
        return -1;
    }

    return rq.facts.input_tokens;
}


static uint64_t
text_sum(const char *text)
{
    llm_estimate_t  e;

    llm_estimate_init(&e);
    llm_estimate_feed(&e, (const unsigned char *) text, strlen(text));

    return e.sum;
}
