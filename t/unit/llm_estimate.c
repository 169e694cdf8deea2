
/*
 * Copyright (C) nginx-cycles authors
 */


#include "llm/llm_estimate.h"
#include "tap.h"


static uint64_t sum(const char *text);
static int any_pieces(const char *text);


/* sums in 1/256 token, counted by hand from the weights */

static struct {
    const char  *text;
    uint64_t     sum;
} cases[] = {
    { "", 0 },
    { "a", 235 },
    { "abc", 235 + 24 + 24 },
    { "Abc", 171 + 24 + 24 },
    { "ABC", 171 + 140 + 140 },
    { "aB", 235 + 177 },
    { "a b", 235 + 1 + 235 },
    { "a  b", 235 + 1 + 12 + 235 },
    { "1234", 394 + 8 * 3 },
    { "a1", 235 + 394 },
    { "a\\nb", 235 + 257 + 235 },
    { "a\\n\\r\\nb", 235 + 257 + 1 + 1 + 235 },
    { "a\\tb", 235 + 1 + 235 },
    { "...", 144 + 4 + 4 },
    { "\\\"\\\\\\/", 144 + 4 + 4 },
    { "\\b\\f", 144 + 4 },
    { "a.b", 235 + 144 + 235 },
    { "\xc3\xa9", 245 },
    { "\xce\xb1\xce\xb2", 105 * 2 },
    { "\xd0\xb1", 85 },
    { "\xd7\x90", 110 },
    { "\xe0\xa4\x95", 113 },
    { "\xe1\x83\x90", 158 },
    { "\xe2\x80\xa6", 1 },
    { "\xef\xbc\x81", 1 },
    { "\xe4\xb8\xad", 226 },
    { "\xea\xb0\x80", 196 },
    { "\xed\x95\x9c", 196 },
    { "\xf0\x9f\x98\x80", 486 },
    { "\xc3\xa9" "a", 245 + 235 },
    { "\\u0061b", 235 + 24 },
    { "\\u00e9\\u03b1\\u0431\\u05d0", 245 + 105 + 85 + 110 },
    { "\\u0915\\u10d0\\u2026\\u4E2D\\uac00", 113 + 158 + 1 + 226 + 196 },
    { "\\ud83d\\ude00", 486 }
};


int
main(void)
{
    size_t          i;
    uint64_t        escaped, plain;
    llm_estimate_t  e;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int((long long) sum(cases[i].text), (long long) cases[i].sum,
               "sum: %s", cases[i].text);
        ok(any_pieces(cases[i].text), "pieces: %s", cases[i].text);
    }

    /* what json.dumps() makes of a text costs what the text does */

    escaped = sum("\\u041f\\u0440\\u0438\\u0432\\u0435\\u0442 \\u4e16\\u754c");
    plain = sum("\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 "
                "\xe4\xb8\x96\xe7\x95\x8c");

    ok(escaped == plain && plain > 0, "escapes cost what they stand for");

    llm_estimate_init(&e);
    is_int(llm_estimate_tokens(&e), 0, "no tokens of nothing");

    llm_estimate_feed(&e, (const unsigned char *) "ab", 2);
    is_int(llm_estimate_tokens(&e), 2, "tokens are rounded up");

    llm_estimate_add(&e, 3);
    is_int(llm_estimate_tokens(&e), 5, "tokens are added");

    llm_estimate_init(&e);
    llm_estimate_feed(&e, (const unsigned char *) "word", 4);
    llm_estimate_feed(&e, (const unsigned char *) "word", 4);
    ok(e.sum == 235 + 24 * 7, "a word goes on in the next portion");

    llm_estimate_init(&e);
    llm_estimate_feed(&e, (const unsigned char *) "word", 4);
    llm_estimate_string(&e);
    llm_estimate_feed(&e, (const unsigned char *) "word", 4);
    ok(e.sum == 2 * (235 + 24 * 3), "but not in the next string");

    return done_testing();
}


static uint64_t
sum(const char *text)
{
    llm_estimate_t  e;

    llm_estimate_init(&e);
    llm_estimate_feed(&e, (const unsigned char *) text, strlen(text));

    return e.sum;
}


static int
any_pieces(const char *text)
{
    size_t          cut;
    llm_estimate_t  e;

    for (cut = 0; cut <= strlen(text); cut++) {

        llm_estimate_init(&e);
        llm_estimate_feed(&e, (const unsigned char *) text, cut);
        llm_estimate_feed(&e, (const unsigned char *) text + cut,
                          strlen(text) - cut);

        if (e.sum != sum(text)) {
            return 0;
        }
    }

    return 1;
}
