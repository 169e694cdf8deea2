
/*
 * Copyright (C) nginx-cycles authors
 */


#include <jansson.h>

#include "llm/llm_dialect.h"
#include "llm/llm_route.h"
#include "reply.h"
#include "tap.h"


static void test_samples(void);
static void test_sample(json_t *sample);
static void test_extra(const char *name, const llm_reply_t *rp,
    json_t *extra);
static void test_usage(void);
static void test_streams(void);
static void test_errors(void);
static void test_models(void);
static void test_text(void);
static void test_bounds(void);
static void test_later(void);
static void test_memory(void);
static void begin(llm_reply_t *rp, json_t *sample);
static void read_text(llm_reply_t *rp, llm_reply_format_t format,
    const char *text, size_t n, size_t step);
static char *read_file(const char *name, size_t *len);
static int64_t expected(json_t *sample, const char *name);


int
main(void)
{
    test_samples();
    test_usage();
    test_streams();
    test_errors();
    test_models();
    test_text();
    test_bounds();
    test_later();
    test_memory();

    return done_testing();
}


static void
test_samples(void)
{
    size_t         i;
    json_t        *manifest, *sample;
    json_error_t   error;

    manifest = json_load_file("t/samples/MANIFEST.json", 0, &error);

    if (!ok(manifest != NULL, "the manifest of the samples is read")) {
        return;
    }

    json_array_foreach(json_object_get(manifest, "replies"), i, sample) {
        if (!json_is_true(json_object_get(sample, "gzip"))) {
            test_sample(sample);
        }
    }

    json_decref(manifest);
}


static void
test_sample(json_t *sample)
{
    char         *body;
    size_t        len, cut, different, i;
    json_t       *at;
    const char   *name, *model;
    llm_reply_t   whole, bytes, two;

    name = json_string_value(json_object_get(sample, "file"));

    len = 0;
    body = read_file(name, &len);

    if (!ok(body != NULL, "%s: read", name)) {
        return;
    }

    begin(&whole, sample);
    reply_feed(&whole, body, len, len);

    is_int(whole.usage.input, expected(sample, "input"), "%s: input", name);
    is_int(whole.usage.output, expected(sample, "output"), "%s: output",
           name);
    is_int(whole.usage.cached_input, expected(sample, "cached_input"),
           "%s: cached input", name);
    is_int(whole.usage.cache_write, expected(sample, "cache_write"),
           "%s: cache write", name);
    is_int(whole.usage.reasoning, expected(sample, "reasoning"),
           "%s: reasoning", name);
    is_int(whole.error, json_is_true(json_object_get(sample, "error")),
           "%s: error", name);
    is_int(whole.done, json_is_true(json_object_get(sample, "done")),
           "%s: done", name);
    is_int(whole.pending, json_is_true(json_object_get(sample, "pending")),
           "%s: pending", name);
    is_int(whole.unreadable, 0, "%s: readable", name);

    test_extra(name, &whole, json_object_get(sample, "extra"));

    if (json_is_true(json_object_get(sample, "text"))) {
        ok(whole.output_tokens > 0, "%s: text was seen", name);
    }

    model = json_string_value(json_object_get(sample, "model"));
    model = model ? model : "";

    ok(whole.model_len == strlen(model)
       && memcmp(whole.model, model, whole.model_len) == 0,
       "%s: model \"%s\"", name, model);

    begin(&bytes, sample);
    reply_feed(&bytes, body, len, 1);
    ok(reply_same(&whole, &bytes), "%s: the same byte by byte", name);

    different = 0;

    for (cut = 0; cut <= len; cut++) {
        begin(&two, sample);
        llm_reply_feed(&two, (unsigned char *) body, cut);
        llm_reply_feed(&two, (unsigned char *) body + cut, len - cut);
        llm_reply_finish(&two);
        different += !reply_same(&whole, &two);
    }

    is_int((long long) different, 0, "%s: the same in any two pieces", name);

    begin(&two, sample);
    cut = 0;

    json_array_foreach(json_object_get(sample, "split_at"), i, at) {
        llm_reply_feed(&two, (unsigned char *) body + cut,
                       (size_t) json_integer_value(at) - cut);
        cut = (size_t) json_integer_value(at);
    }

    llm_reply_feed(&two, (unsigned char *) body + cut, len - cut);
    llm_reply_finish(&two);

    ok(reply_same(&whole, &two), "%s: the same cut at its marks", name);

    free(body);
}


/* counts beside those that every sample has, and those that it must not */

static void
test_extra(const char *name, const llm_reply_t *rp, json_t *extra)
{
    size_t              i;
    const char         *tier, *geo;
    const llm_usage_t  *u;

    u = &rp->usage;

    const struct {
        const char  *name;
        int64_t      value;
    } counts[] = {
        { "cache_write_1h", u->cache_write_1h > 0 ? u->cache_write_1h : -1 },
        { "input_audio", u->input_audio > 0 ? u->input_audio : -1 },
        { "input_image", u->input_image > 0 ? u->input_image : -1 },
        { "cached_audio", u->cached_audio > 0 ? u->cached_audio : -1 },
        { "output_audio", u->output_audio > 0 ? u->output_audio : -1 },
        { "output_image", u->output_image > 0 ? u->output_image : -1 },
        { "citations", u->citations },
        { "web_searches", u->web_searches },
        { "file_searches", u->file_searches },
        { "code_sessions", u->code_sessions },
        { "characters", u->characters },
        { "audio_ms", u->audio_ms },
        { "queries", u->queries },
        { "cost", u->cost }
    };

    for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        is_int(counts[i].value, expected(extra, counts[i].name), "%s: %s",
               name, counts[i].name);
    }

    tier = json_string_value(json_object_get(extra, "tier"));
    geo = json_string_value(json_object_get(extra, "geo"));

    is_int(u->tier, tier ? llm_tier_find((const unsigned char *) tier,
                                         strlen(tier))
                         : (strstr(name, "batch") ? LLM_TIER_BATCH
                                                  : LLM_TIER_DEFAULT),
           "%s: tier", name);
    is_int(u->geo, geo ? LLM_GEO_US : LLM_GEO_DEFAULT, "%s: geo", name);
}


typedef struct {
    const char          *name;
    llm_reply_format_t   format;
    const char          *text;
    int64_t              input;
    int64_t              output;
    int64_t              cached;
    int64_t              written;
    int64_t              reasoning;
} usage_case_t;


static usage_case_t  usage_cases[] = {

    { "no usage", LLM_REPLY_JSON, "{\"choices\":[]}", -1, -1, -1, -1, -1 },

    { "null usage", LLM_REPLY_JSON, "{\"usage\":null}", -1, -1, -1, -1, -1 },

    { "usage of zeros", LLM_REPLY_JSON, "{\"usage\":{\"prompt_tokens\":0,"
      "\"completion_tokens\":0,\"total_tokens\":0}}", -1, -1, -1, -1, -1 },

    { "an empty usage", LLM_REPLY_JSON, "{\"usage\":{}}",
      -1, -1, -1, -1, -1 },

    { "usage in a list", LLM_REPLY_JSON, "{\"usage\":[{\"prompt_tokens\":1,"
      "\"completion_tokens\":2}]}", -1, -1, -1, -1, -1 },

    { "hidden tokens", LLM_REPLY_JSON, "{\"usage\":{\"prompt_tokens\":10,"
      "\"completion_tokens\":5,\"total_tokens\":40}}", 10, 30, 0, 0, -1 },

    { "hidden tokens that are told", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":40,"
      "\"completion_tokens_details\":{\"reasoning_tokens\":25}}}",
      10, 30, 0, 0, 25 },

    { "a total that is too small", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":1}}",
      10, 5, 0, 0, 0 },

    { "output only from the total", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":8,\"total_tokens\":8}}", 8, 0, 0, 0, 0 },

    { "input only from the total", LLM_REPLY_JSON, "{\"usage\":{"
      "\"completion_tokens\":8,\"total_tokens\":11}}", 3, 8, 0, 0, 0 },

    { "input alone", LLM_REPLY_JSON, "{\"usage\":{\"prompt_tokens\":8}}",
      8, -1, 0, 0, 0 },

    { "no input", LLM_REPLY_JSON, "{\"usage\":{\"prompt_tokens\":0,"
      "\"completion_tokens\":5,\"total_tokens\":5}}", 0, 5, 0, 0, 0 },

    { "counts as floats", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":1e2,\"completion_tokens\":7.0}}", 100, 7, 0, 0, 0 },

    { "counts that are none", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":-5,\"completion_tokens\":1.5,"
      "\"total_tokens\":1e300}}", -1, -1, -1, -1, -1 },

    { "counts in strings", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":\"5\",\"completion_tokens\":3}}", -1, 3, 0, 0, 0 },

    { "details that are null", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":5,\"completion_tokens\":3,"
      "\"prompt_tokens_details\":null,\"completion_tokens_details\":null}}",
      5, 3, 0, 0, 0 },

    { "input and output in two events", LLM_REPLY_SSE,
      "data: {\"usage\":{\"prompt_tokens\":5}}\n\n"
      "data: {\"usage\":{\"completion_tokens\":9}}\n\n", 5, 9, 0, 0, 0 },

    { "the last of two", LLM_REPLY_SSE,
      "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n"
      "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":9}}\n\n",
      5, 9, 0, 0, 0 },

    { "a later one that says less", LLM_REPLY_SSE,
      "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,"
      "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n"
      "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
      5, 2, 4, 0, 0 },

    { "zeros and null behind real ones", LLM_REPLY_SSE,
      "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n"
      "data: {\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\n"
      "data: {\"usage\":null}\n\n", 5, 1, 0, 0, 0 },

    { "a key with an escape", LLM_REPLY_JSON, "{\"\\u0075s\\u0061ge\":{"
      "\"prompt\\u005ftokens\":5,\"completion_tokens\":3}}", 5, 3, 0, 0, 0 },

    { "usage in a choice", LLM_REPLY_JSON, "{\"choices\":[{\"usage\":{"
      "\"prompt_tokens\":5,\"completion_tokens\":3}}]}",
      -1, -1, -1, -1, -1 },

    { "an object that is cut off", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":5,\"completion_tokens\":3", -1, -1, -1, -1, -1 },

    { "a reply that is cut off behind usage", LLM_REPLY_JSON, "{\"usage\":{"
      "\"prompt_tokens\":5,\"completion_tokens\":3},\"cho", 5, 3, 0, 0, 0 }
};


static void
test_usage(void)
{
    size_t         i;
    llm_reply_t    rp, bytes;
    usage_case_t  *c;

    for (i = 0; i < sizeof(usage_cases) / sizeof(usage_cases[0]); i++) {

        c = &usage_cases[i];

        read_text(&rp, c->format, c->text, strlen(c->text), (size_t) -1);
        read_text(&bytes, c->format, c->text, strlen(c->text), 1);

        is_int(rp.usage.input, c->input, "%s: input", c->name);
        is_int(rp.usage.output, c->output, "%s: output", c->name);
        is_int(rp.usage.cached_input, c->cached, "%s: cached", c->name);
        is_int(rp.usage.cache_write, c->written, "%s: written", c->name);
        is_int(rp.usage.reasoning, c->reasoning, "%s: reasoning", c->name);
        is_int(rp.usage_seen, c->input >= 0 && c->output >= 0,
               "%s: seen", c->name);
        is_int(rp.unreadable, 0, "%s: readable", c->name);
        ok(reply_same(&rp, &bytes), "%s: byte by byte", c->name);
    }
}


#define USAGE  "{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}"


typedef struct {
    const char          *name;
    const char          *text;
    int                  seen;
    int                  done;
    int                  error;
    int                  unreadable;
} stream_case_t;


static stream_case_t  stream_cases[] = {

    { "LF", "data: " USAGE "\n\ndata: [DONE]\n\n", 1, 1, 0, 0 },
    { "CRLF", "data: " USAGE "\r\n\r\ndata: [DONE]\r\n\r\n", 1, 1, 0, 0 },
    { "CR", "data: " USAGE "\r\rdata: [DONE]\r\r", 1, 1, 0, 0 },
    { "CR and LF", ":\rdata: {}\n\ndata: " USAGE "\n\n", 1, 0, 0, 0 },
    { "no space", "data:" USAGE "\n\ndata:[DONE]\n\n", 1, 1, 0, 0 },
    { "two spaces", "data:  " USAGE "\n\n", 1, 0, 0, 0 },
    { "a byte order mark", "\xef\xbb\xbf" "data: " USAGE "\n\n", 1, 0, 0, 0 },
    { "comments", ": a\n\n:\n:data: x\ndata: " USAGE "\n:\n\n", 1, 0, 0, 0 },
    { "other fields", "id: 1\nevent: message\nretry: 5\ndata: " USAGE "\n\n",
      1, 0, 0, 0 },
    { "two lines", "data: {\"usage\":{\"prompt_tokens\":5,\n"
      "data: \"completion_tokens\":3}}\n\n", 1, 0, 0, 0 },
    { "two lines cut in a number", "data: {\"usage\":{\"prompt_tokens\":5\n"
      "data: 7}}\n\n", 0, 0, 0, 1 },
    { "a comment between two lines", "data: {\"usage\":{\"prompt_tokens\":5,"
      "\n: x\ndata:\"completion_tokens\":3}}\n\n", 1, 0, 0, 0 },
    { "no blank line", "data: " USAGE "\n", 1, 0, 0, 0 },
    { "no end of line", "data: " USAGE, 1, 0, 0, 0 },
    { "done without an end of line", "data: [DONE]", 0, 1, 0, 0 },
    { "part of done", "data: [DON\n\n", 0, 0, 0, 1 },
    { "a list that is not done", "data: [1]\n\n", 0, 0, 0, 1 },
    { "done in two lines", "data: [DO\ndata: NE]\n\n", 0, 0, 0, 1 },
    { "done with more behind it", "data: [DONE] \n\ndata: " USAGE "\n\n",
      1, 1, 0, 0 },
    { "a number", "data: 12\n\n", 0, 0, 0, 1 },
    { "done in quotes", "data: \"[DONE]\"\n\n", 0, 0, 0, 1 },
    { "done with a line behind it", "data: [DONE]\ndata: x\n\n",
      0, 1, 0, 0 },
    { "done as a field", "[DONE]\n\n", 0, 0, 0, 1 },
    { "empty data", "data:\n\ndata\n\ndata: \n\n", 0, 0, 0, 0 },
    { "nothing", "", 0, 0, 0, 0 },
    { "only blank lines", "\n\n\r\n\r", 0, 0, 0, 0 },
    { "JSON as a stream", USAGE, 0, 0, 0, 1 },
    { "HTML as a stream", "<html>\n<body>\n</body>\n", 0, 0, 0, 1 },
    { "a broken event between others", "data: {\"x\n\ndata: " USAGE "\n\n",
      1, 0, 0, 1 },
    { "two values in an event", "data: " USAGE USAGE "\n\n", 1, 0, 0, 1 },
    { "a name of nine bytes", "datadatad: x\ndata: " USAGE "\n\n",
      1, 0, 0, 0 },
    { "an event that is an error", "event: error\ndata: {\"message\":1}\n\n",
      0, 0, 1, 0 },
    { "an event that is none", "event: errors\ndata: {\"message\":1}\n\n",
      0, 0, 0, 0 },
    { "an event of five letters", "event: other\ndata: {}\n\n",
      0, 0, 0, 0 },
    { "an error in another field", "retry: error\ndata: {}\n\n",
      0, 0, 0, 0 },
    { "an error at the end", "event: error\ndata: {}", 0, 0, 1, 0 },
    { "fields alone", "id: 1\nretry: 5\nevent: x\n\n", 0, 0, 0, 0 },
    { "cut in an event", "data: {\"x\":\"y", 0, 0, 0, 0 },
    { "cut behind a line", "data: {\"x\":\n", 0, 0, 0, 0 },
    { "cut in done", "data: {}\n\ndata: [DO", 0, 0, 0, 0 },
    { "cut in a field", "data: {}\n\ndat", 0, 0, 0, 0 },
    { "text without an end", "upstream connect error", 0, 0, 0, 1 },
    { "an error without data", "event: error\n\ndata: " USAGE "\n\n",
      1, 0, 0, 0 },
    { "an error whose event follows", "event: error\nevent: x\ndata: {}\n\n",
      0, 0, 0, 0 },
    { "an error object", "data: {\"error\":{\"message\":\"x\"}}\n\n",
      0, 0, 1, 0 },
    { "an error text", "data: {\"error\":\"overloaded\"}\n\n", 0, 0, 1, 0 },
    { "no error", "data: {\"error\":null}\n\ndata: {\"error\":\"\"}\n\n"
      "data: {\"x\":{\"error\":\"y\"}}\n\n", 0, 0, 0, 0 }
};


static void
test_streams(void)
{
    size_t          i, n, cut, different;
    llm_reply_t     rp, bytes;
    stream_case_t  *c;

    for (i = 0; i < sizeof(stream_cases) / sizeof(stream_cases[0]); i++) {

        c = &stream_cases[i];
        n = strlen(c->text);

        read_text(&rp, LLM_REPLY_SSE, c->text, n, (size_t) -1);

        is_int(rp.usage_seen, c->seen, "%s: usage seen", c->name);
        is_int(rp.done, c->done, "%s: done", c->name);
        is_int(rp.error, c->error, "%s: error", c->name);
        is_int(rp.unreadable, c->unreadable, "%s: unreadable", c->name);

        different = 0;

        for (cut = 1; cut <= n; cut++) {
            read_text(&bytes, LLM_REPLY_SSE, c->text, n, cut);
            different += !reply_same(&rp, &bytes);
        }

        is_int((long long) different, 0, "%s: any pieces", c->name);
    }
}


static void
test_errors(void)
{
    size_t              i;
    llm_reply_t         rp;

    static const char  *garbage[] = {
        "<html>bad gateway</html>", "upstream connect error", "[]", "12",
        "\"text\"", "{\"a\":1}{", "{'a':1}", "{\"a\":01}", "{,}", "null"
    };

    for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        read_text(&rp, LLM_REPLY_JSON, garbage[i], strlen(garbage[i]), 3);
        is_int(rp.unreadable, 1, "unreadable: %s", garbage[i]);
        is_int(rp.usage_seen, 0, "no usage: %s", garbage[i]);
    }

    read_text(&rp, LLM_REPLY_JSON, "\xef\xbb\xbf {} \n", 8, 1);
    ok(rp.done && !rp.unreadable, "a byte order mark before JSON passes");

    read_text(&rp, LLM_REPLY_JSON, "{\"a\":\"\x01\xff\"}", 10, 1);
    ok(rp.done && !rp.unreadable, "bytes that JSON forbids pass in strings");

    read_text(&rp, LLM_REPLY_JSON, "{\"a\":", 5, 1);
    ok(!rp.done && !rp.unreadable, "JSON that ends too early is not done");

    read_text(&rp, LLM_REPLY_JSON, "", 0, 1);
    ok(!rp.done && !rp.unreadable, "nothing is not done");

    read_text(&rp, LLM_REPLY_JSON, "{\"error\":{\"code\":1}}", 20, 7);
    ok(rp.done && rp.error, "a JSON error");
}


static void
test_models(void)
{
    char                text[600];
    llm_reply_t         rp;

    static const char   escaped[] = "{\"m\\u006fdel\":\"gpt\\u002d4\\/x\"}";
    static const char   control[] = "{\"model\":\"a\\nb\"}";
    static const char   broken[] = "{\"model\":\"a\xff\"}";
    static const char   empty[] = "data: {\"model\":\"\"}\n\n"
                                  "data: {\"model\":\"first\"}\n\n"
                                  "data: {\"model\":\"second\"}\n\n";

    read_text(&rp, LLM_REPLY_JSON, escaped, sizeof(escaped) - 1, 1);
    ok(rp.model_len == 7 && memcmp(rp.model, "gpt-4/x", 7) == 0,
       "a model's escapes are resolved");

    read_text(&rp, LLM_REPLY_JSON, control, sizeof(control) - 1, 99);
    is_int((long long) rp.model_len, 0, "a model with a control character");

    read_text(&rp, LLM_REPLY_JSON, broken, sizeof(broken) - 1, 99);
    is_int((long long) rp.model_len, 0, "a model that is not UTF-8");

    read_text(&rp, LLM_REPLY_SSE, empty, sizeof(empty) - 1, 5);
    ok(rp.model_len == 5 && memcmp(rp.model, "first", 5) == 0,
       "the first model that is not empty");

    memset(text, 'm', sizeof(text));
    memcpy(text, "{\"model\":\"", 10);
    memcpy(text + 598, "\"}", 2);

    read_text(&rp, LLM_REPLY_JSON, text, 600, 100);
    is_int((long long) rp.model_len, LLM_REPLY_MODEL_MAX,
           "a long model is cut");

    /* bytes 127 and 128 of the name are one character */

    memcpy(text + 10 + 127, "\xc3\xa4", 2);

    read_text(&rp, LLM_REPLY_JSON, text, 600, 100);
    is_int((long long) rp.model_len, 127, "a long model is cut at a"
           " character");
}


/* the estimate of a stream is that of its text, whatever the pieces */

static void
test_text(void)
{
    llm_reply_t     rp;
    llm_estimate_t  e;

    static const char  text[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}"
        "\n\n"
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"Wor\"}},"
        "{\"index\":0,\"delta\":{\"content\":\"lo 12\"}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"34\"}},"
        "{\"index\":1,\"delta\":{\"content\":\"ld\"}}]}\n\n";

    static const char  unnumbered[] =
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}},"
        "{\"delta\":{\"content\":\"Wor\"}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"content\":\" 1234\"}},"
        "{\"delta\":{\"content\":\"ld\"}}]}\n\n";

    static const char  all[] =
        "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"a\""
        ",\"refusal\":\"b\",\"reasoning\":\"c\",\"reasoning_content\":\"d\","
        "\"tool_calls\":[{\"id\":\"xxxxxx\",\"type\":\"function\",\"function"
        "\":{\"name\":\"e\",\"arguments\":\"f\"}},{\"custom\":{\"name\":\"g"
        "\",\"input\":\"h\"}}],\"function_call\":{\"name\":\"i\",\"arguments"
        "\":\"j\"},\"audio\":{\"data\":\"AAAAAAAA\",\"transcript\":\"k\"}}},"
        "{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"l\"},"
        "{\"thinking\":[{\"text\":\"m\"}]}]}},{\"text\":\"n\"}]}";

    static const char  symbol[] =
        "data: {\"choices\":[{\"index\":128,\"delta\":{\"content\":\""
        "\xe2\x80\xa6\"}},{\"index\":-1,\"delta\":{\"content\":\"\"}}]}"
        "\n\n";

    static const char  none[] =
        "data: {\"choices\":[{\"delta\":{\"content\":null}}]}\n\n";

    llm_estimate_init(&e);
    llm_estimate_feed(&e, (unsigned char *) "Hello 1234", 10);
    llm_estimate_string(&e);
    llm_estimate_feed(&e, (unsigned char *) "World", 5);

    read_text(&rp, LLM_REPLY_SSE, text, sizeof(text) - 1, 1);
    ok(rp.estimate.sum == e.sum, "words go on in their own choice");
    is_int(rp.output_tokens, llm_estimate_tokens(&e), "and are counted");

    read_text(&rp, LLM_REPLY_SSE, unnumbered, sizeof(unnumbered) - 1, 1);
    ok(rp.estimate.sum == e.sum, "without numbers, by their places");

    llm_estimate_init(&e);
    llm_estimate_feed(&e, (unsigned char *) "a", 1);

    read_text(&rp, LLM_REPLY_JSON, all, sizeof(all) - 1, 1);
    ok(rp.estimate.sum == 14 * e.sum, "each text of a message is counted");

    read_text(&rp, LLM_REPLY_SSE, symbol, sizeof(symbol) - 1, 9);
    is_int(rp.output_tokens, 1, "any text is at least one token");

    read_text(&rp, LLM_REPLY_SSE, none, sizeof(none) - 1, 9);
    is_int(rp.output_tokens, 0, "no text is none");
}


/* lines, events, strings, numbers and depth without an end */

static void
test_bounds(void)
{
    size_t         i;
    llm_reply_t    rp;
    unsigned char  text[1024];

    llm_reply_init(&rp, LLM_API_CHAT, LLM_REPLY_SSE);
    memset(text, 'x', sizeof(text));

    llm_reply_feed(&rp, (unsigned char *) "data: {\"x\":\"", 12);

    for (i = 0; i < 4096; i++) {
        llm_reply_feed(&rp, text, sizeof(text));
    }

    llm_reply_feed(&rp, (unsigned char *) "\",\"", 3);

    for (i = 0; i < 64; i++) {
        llm_reply_feed(&rp, text, sizeof(text));
    }

    llm_reply_feed(&rp, (unsigned char *) "\":", 2);
    memset(text, '7', sizeof(text));

    for (i = 0; i < 64; i++) {
        llm_reply_feed(&rp, text, sizeof(text));
    }

    llm_reply_feed(&rp, (unsigned char *) ",\"usage\":{\"prompt_tokens\":4}}",
                   29);
    llm_reply_finish(&rp);

    is_int(rp.usage.input, 4, "usage behind an endless line");
    is_int(rp.unreadable, 0, "which is readable");

    llm_reply_init(&rp, LLM_API_CHAT, LLM_REPLY_JSON);
    llm_reply_feed(&rp, (unsigned char *) "{\"a\":", 5);
    memset(text, '[', sizeof(text));

    for (i = 0; i < 100; i++) {
        llm_reply_feed(&rp, text, sizeof(text));
    }

    is_int(rp.unreadable, 1, "nesting without an end is unreadable");
}


/* a total that is reported as it runs ends where the text goes on */

static void
test_later(void)
{
    llm_reply_t  rp;

    static const char  text[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}],"
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n";
    static const char  more[] =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" two\"";

    llm_reply_init(&rp, LLM_API_CHAT, LLM_REPLY_SSE);

    llm_reply_feed(&rp, (unsigned char *) text, sizeof(text) - 1);
    is_int(rp.usage_seen, 1, "a running total is seen");
    is_int(rp.later, 0, "no text behind it");

    llm_reply_feed(&rp, (unsigned char *) more, sizeof(more) - 1);
    llm_reply_flush(&rp);
    is_int(rp.later, 1, "text behind the running total");
}


/* thousands of streams are open at the same time; a sanitizer sees the ends */

static void
test_memory(void)
{
    size_t        i, n;
    llm_reply_t  *rp;

    static const struct {
        llm_reply_format_t   format;
        const char          *text;
        size_t               most;
    } cases[] = {
        { LLM_REPLY_JSON, "{\"usage\":{\"prompt_tokens\":1,"
                          "\"completion_tokens\":2}}", 2048 },
        { LLM_REPLY_LINES, "{\"usage\":{\"prompt_tokens\":1,"
                           "\"completion_tokens\":2}}\n", 2048 },
        { LLM_REPLY_SSE, "data: {\"text\":\"a\"}\n\ndata: {\"text\":\"b\"}"
                         "\n\ndata: {\"text\":\"c\"}\n\ndata: {\"usage\":{"
                         "\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
          2560 },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        n = llm_reply_size(cases[i].format);
        rp = malloc(n);

        ok(n <= cases[i].most, "%zu bytes for one of format %zu", n, i);

        llm_reply_init(rp, LLM_API_CHAT, cases[i].format);
        llm_reply_feed(rp, (const unsigned char *) cases[i].text,
                       strlen(cases[i].text));
        llm_reply_finish(rp);

        is_int(rp->usage.output, 2, "and they are enough for it");

        free(rp);
    }
}


/* as the gateway does it, from the path and the Content-Type */

static void
begin(llm_reply_t *rp, json_t *sample)
{
    json_t       *value;
    const char   *path, *type, *key;
    llm_route_t   route;

    path = json_string_value(json_object_get(sample, "path"));
    type = json_string_value(json_object_get(sample, "content_type"));
    value = json_object_get(sample, "provider");

    llm_route(&route,
              (unsigned) llm_provider_find(
                             (const unsigned char *) json_string_value(value),
                             json_string_length(value)),
              (const unsigned char *) "POST", 4, NULL, 0,
              (const unsigned char *) path, strlen(path));

    llm_reply_init(rp, route.api,
                   llm_reply_format((const unsigned char *) type,
                                    strlen(type)));

    json_object_foreach(json_object_get(sample, "headers"), key, value) {
        llm_reply_header(rp, (const unsigned char *) key, strlen(key),
                         (const unsigned char *) json_string_value(value),
                         json_string_length(value));
    }
}


static void
read_text(llm_reply_t *rp, llm_reply_format_t format, const char *text,
    size_t n, size_t step)
{
    reply_read(rp, LLM_API_CHAT, format, text, n, step);
}


static char *
read_file(const char *name, size_t *len)
{
    FILE         *file;
    char          path[256];
    static char   buffer[65536];

    snprintf(path, sizeof(path), "t/samples/%s", name);

    file = fopen(path, "rb");

    if (file == NULL) {
        return NULL;
    }

    *len = fread(buffer, 1, sizeof(buffer), file);
    fclose(file);

    return memcpy(malloc(*len), buffer, *len);
}


static int64_t
expected(json_t *sample, const char *name)
{
    json_t  *value;

    value = json_object_get(sample, name);

    return json_is_integer(value) ? json_integer_value(value) : -1;
}
