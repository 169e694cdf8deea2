
/*
 * Copyright (C) nginx-cycles authors
 */


#include <stdlib.h>

#include "llm/llm_estimate.h"
#include "tap.h"


#define LONGEST  400
#define RANDOM   4000


/* what a byte is by itself; lead bytes are what they weigh */

enum {
    NOTHING = 0,
    LOWER = 1000,
    UPPER,
    DIGIT,
    SPACE,
    NEWLINE,
    MARK
};


static uint64_t sum(const char *text);
static int any_pieces(const char *text);
static void test_random(const char *name, const char **words, size_t n);
static void test_cuts(const char *name, const char **words, size_t n);
static size_t random_text(unsigned char *text, const char **words, size_t n);
static uint64_t reference(const unsigned char *p, const unsigned char *last);
static int kind(unsigned ch);
static unsigned weight(int previous, int class);
static unsigned random_below(unsigned n);


/* what texts are made of; a NULL is any byte */

static const char  *prose[] = {
    "a", "the", "word", "Word", "WORD", "camelCase", " ", " ", " ", " ", "  ",
    ", ", ".", "...", "(", "7", "1789", "3.14", "-", "~", "@", "[", "`", "{",
    "/", ":", "z", "Z"
};

static const char  *escapes[] = {
    "a", "word", "W", " ", "7", ".", "\\n", "\\n", "\\r", "\\t", "\\t",
    "\\\"", "\\\"", "\\\\", "\\\\", "\\/", "\\b", "\\f", "n", "t", "r"
};

static const char  *codes[] = {
    "a", " ", "\\u0041", "\\u00e9", "\\u03b1", "\\u0416", "\\u05d0",
    "\\u0915", "\\u10D0", "\\u2026", "\\u4e2d", "\\uAC00", "\\ud83d\\ude00",
    "\\n", "word word word word word word word word word word word"
};

static const char  *utf8[] = {
    "a", "word", " ", ".", "7", "\\n", "\xc3\xa9", "\xce\xb1", "\xd0\xb1",
    "\xd0\xb1\xd1\x80", "\xd7\x90", "\xe0\xa4\x95", "\xe1\x83\x90",
    "\xe2\x80\xa6", "\xef\xbc\x81", "\xe4\xb8\xad", "\xea\xb0\x80",
    "\xf0\x9f\x98\x80"
};

static const char  *bytes[] = { NULL };

static const char  *mixed[] = {
    NULL, "\\", "\\\\", "\\n", "\n", "\t", "\r", "word", " ", "\xc3\xa9",
    "n", "t", "r"
};


#define words_of(words)  words, sizeof(words) / sizeof(words[0])


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

    srandom(7);

    test_random("prose", words_of(prose));
    test_random("escapes", words_of(escapes));
    test_random("codes", words_of(codes));
    test_random("UTF-8", words_of(utf8));
    test_random("any bytes", words_of(bytes));
    test_random("a mixture", words_of(mixed));

    test_cuts("prose", words_of(prose));
    test_cuts("escapes", words_of(escapes));
    test_cuts("codes", words_of(codes));
    test_cuts("UTF-8", words_of(utf8));
    test_cuts("a mixture", words_of(mixed));

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


/* many bytes are read at once, as if one had been read after the other */

static void
test_random(const char *name, const char **words, size_t n)
{
    size_t         i, len, pos, piece;
    unsigned char  text[LONGEST];

    llm_estimate_t  whole, pieces;

    for (i = 0; i < RANDOM; i++) {

        len = random_text(text, words, n);

        llm_estimate_init(&whole);
        llm_estimate_feed(&whole, text, len);

        llm_estimate_init(&pieces);

        for (pos = 0; pos < len; pos += piece) {
            piece = 1 + random_below((unsigned) (len - pos));
            llm_estimate_feed(&pieces, text + pos, piece);
        }

        if (whole.sum != reference(text, text + len)
            || pieces.sum != whole.sum)
        {
            break;
        }
    }

    ok(i == RANDOM, "%s", name);
}


static void
test_cuts(const char *name, const char **words, size_t n)
{
    size_t          i, len, cut;
    uint64_t        expected;
    unsigned char   text[LONGEST];
    llm_estimate_t  e;

    for (i = 0; i < RANDOM / 40; i++) {

        len = random_text(text, words, n);
        expected = reference(text, text + len);

        for (cut = 0; cut <= len; cut++) {

            llm_estimate_init(&e);
            llm_estimate_feed(&e, text, cut);
            llm_estimate_feed(&e, text + cut, len - cut);

            if (e.sum != expected) {
                ok(0, "%s, cut at %zu", name, cut);
                return;
            }
        }
    }

    ok(1, "%s, cut at every place", name);
}


static size_t
random_text(unsigned char *text, const char **words, size_t n)
{
    size_t       len, most;
    const char  *word;

    most = random_below(4) ? random_below(130) : random_below(LONGEST + 1);
    len = 0;

    while (len < most) {

        word = words[random_below((unsigned) n)];

        if (word == NULL) {
            text[len++] = (unsigned char) random_below(256);
            continue;
        }

        for ( /* void */ ; *word && len < most; word++) {
            text[len++] = (unsigned char) *word;
        }
    }

    return len;
}


/* as it is described, a byte after the other */

static uint64_t
reference(const unsigned char *p, const unsigned char *last)
{
    int        i, class, previous;
    uint64_t   total;
    unsigned   ch, code;

    total = 0;
    previous = NEWLINE;

    while (p < last) {

        ch = *p++;

        if (ch == '\\') {

            if (p == last) {
                break;
            }

            ch = *p++;

            switch (ch) {

            case 'n':
            case 'r':
                ch = '\n';
                break;

            case 't':
                ch = '\t';
                break;

            case 'b':
            case 'f':
                ch = '\f';
                break;

            case 'u':
                code = 0;

                for (i = 0; i < 4 && p < last; i++, p++) {
                    code = code << 4
                           | (((*p <= '9') ? *p - '0'
                                           : (*p | 0x20) - 'a' + 10) & 0xf);
                }

                if (i < 4) {
                    return total;
                }

                ch = (code < 0x80) ? code
                     : (code < 0x800) ? 0xc0 | code >> 6
                     : (code >= 0xd800 && code <= 0xdbff) ? 0xf0
                     : (code >= 0xdc00 && code <= 0xdfff) ? 0x80
                     : 0xe0 | code >> 12;
                break;

            default:
                break;
            }
        }

        class = kind(ch & 0xff);
        total += weight(previous, class);
        previous = class;
    }

    return total;
}


static int
kind(unsigned ch)
{
    return (ch >= 'a' && ch <= 'z') ? LOWER
           : (ch >= 'A' && ch <= 'Z') ? UPPER
           : (ch >= '0' && ch <= '9') ? DIGIT
           : (ch == ' ' || ch == '\t') ? SPACE
           : (ch == '\n' || ch == '\r') ? NEWLINE
           : (ch < 0x80) ? MARK
           : (ch < 0xc0) ? NOTHING
           : (ch < 0xcc) ? 245
           : (ch < 0xd0) ? 105
           : (ch < 0xd6) ? 85
           : (ch < 0xe0) ? 110
           : (ch == 0xe0) ? 113
           : (ch == 0xe1) ? 158
           : (ch == 0xe2) ? 1
           : (ch < 0xea) ? 226
           : (ch < 0xee) ? 196
           : (ch < 0xf0) ? 1 : 486;
}


static unsigned
weight(int previous, int class)
{
    switch (class) {

    case LOWER:
        return (previous == LOWER || previous == UPPER) ? 24 : 235;

    case UPPER:
        return (previous == LOWER) ? 177 : (previous == UPPER) ? 140 : 171;

    case DIGIT:
        return (previous == DIGIT) ? 8 : 394;

    case SPACE:
        return (previous == SPACE || previous == NEWLINE) ? 12 : 1;

    case NEWLINE:
        return (previous == NEWLINE) ? 1 : 257;

    case MARK:
        return (previous == MARK) ? 4 : 144;

    default:
        return (unsigned) class;
    }
}


static unsigned
random_below(unsigned n)
{
    return (unsigned) random() % n;
}
