
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tokenizers cut a text into words, runs of digits and runs of punctuation
 * first, and the pieces of a word are longer in scripts that they know well.
 * So the weight of a byte depends on its class and on the class before it,
 * and a UTF-8 sequence weighs what its lead byte does.
 */


#include <string.h>

#include "llm_estimate.h"


#define LLM_CLASS_NEWLINE  4
#define LLM_CLASSES        17

/*
 * The weights of a lead byte whatever comes before it: Latin with marks,
 * Greek, Cyrillic, Hebrew and Arabic, Indic and Thai, Georgian and Khmer,
 * symbols, Han and kana, Hangul, emoji.
 */

#define LLM_LEADS  245, 105, 85, 110, 113, 158, 1, 226, 196, 486


static void llm_estimate_escape(llm_estimate_t *e, unsigned ch);
static void llm_estimate_byte(llm_estimate_t *e, unsigned ch);
static unsigned llm_estimate_lead(unsigned code);


/*
 * What a byte is, 0 lower case, 1 upper case, 2 digit, 3 space, 4 newline,
 * 5 punctuation, 6 tail of a UTF-8 sequence, 7 and above lead bytes as in
 * LLM_LEADS, and the row of what comes before the next byte.
 */

#define LLM_ROW(n)      ((n) * LLM_CLASSES)

#define A  { 0, LLM_ROW(0) }
#define U  { 1, LLM_ROW(1) }
#define D  { 2, LLM_ROW(2) }
#define S  { 3, LLM_ROW(3) }
#define N  { 4, LLM_ROW(4) }
#define P  { 5, LLM_ROW(5) }
#define T  { 6, LLM_ROW(6) }
#define L(lead)  { 7 + lead, LLM_ROW(6) }

static const struct {
    unsigned char        class;
    unsigned char        row;
} llm_class[256] = {
    P, P, P, P, P, P, P, P, P, S, N, P, P, N, P, P,
    P, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P,
    S, P, P, P, P, P, P, P, P, P, P, P, P, P, P, P,
    D, D, D, D, D, D, D, D, D, D, P, P, P, P, P, P,
    P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U,
    U, U, U, U, U, U, U, U, U, U, U, P, P, P, P, P,
    P, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
    A, A, A, A, A, A, A, A, A, A, A, P, P, P, P, P,
    T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T,
    T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T,
    T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T,
    T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T,
    L(0), L(0), L(0), L(0), L(0), L(0), L(0), L(0),
    L(0), L(0), L(0), L(0), L(1), L(1), L(1), L(1),
    L(2), L(2), L(2), L(2), L(2), L(2), L(3), L(3),
    L(3), L(3), L(3), L(3), L(3), L(3), L(3), L(3),
    L(4), L(5), L(6), L(7), L(7), L(7), L(7), L(7),
    L(7), L(7), L(8), L(8), L(8), L(8), L(6), L(6),
    L(9), L(9), L(9), L(9), L(9), L(9), L(9), L(9),
    L(9), L(9), L(9), L(9), L(9), L(9), L(9), L(9)
};

#undef A
#undef U
#undef D
#undef S
#undef N
#undef P
#undef T
#undef L


/* a row for each class that comes before; all from the tail on are alike */

static const uint16_t  llm_weight[] = {
    24, 177, 394,  1, 257, 144, 0, LLM_LEADS,
    24, 140, 394,  1, 257, 144, 0, LLM_LEADS,
    235, 171,   8,  1, 257, 144, 0, LLM_LEADS,
    235, 171, 394, 12, 257, 144, 0, LLM_LEADS,
    235, 171, 394, 12,   1, 144, 0, LLM_LEADS,
    235, 171, 394,  1, 257,   4, 0, LLM_LEADS,
    235, 171, 394,  1, 257, 144, 0, LLM_LEADS
};


void
llm_estimate_init(llm_estimate_t *e)
{
    e->sum = 0;
    llm_estimate_string(e);
}


void
llm_estimate_string(llm_estimate_t *e)
{
    e->previous = LLM_ROW(LLM_CLASS_NEWLINE);
    e->code_point = 0;
    e->escape = 0;
    e->digits = 0;
}


void
llm_estimate_feed(llm_estimate_t *e, const unsigned char *p, size_t n)
{
    const unsigned char  *last, *slash;

    last = p + n;

    while (p < last) {

        if (e->escape) {
            llm_estimate_escape(e, *p++);
            continue;
        }

        slash = memchr(p, '\\', (size_t) (last - p));

        if (slash == NULL) {
            slash = last;
        }

        llm_estimate_plain(e, p, (size_t) (slash - p));
        p = slash;

        if (p < last) {
            e->escape = 1;
            p++;
        }
    }
}


void
llm_estimate_plain(llm_estimate_t *e, const unsigned char *p, size_t n)
{
    unsigned              row;
    uint64_t              sum;
    const unsigned char  *last;

    last = p + n;
    sum = 0;
    row = e->previous;

    for ( /* void */ ; last - p >= 4; p += 4) {
        sum += llm_weight[row + llm_class[p[0]].class]
               + llm_weight[llm_class[p[0]].row + llm_class[p[1]].class]
               + llm_weight[llm_class[p[1]].row + llm_class[p[2]].class]
               + llm_weight[llm_class[p[2]].row + llm_class[p[3]].class];
        row = llm_class[p[3]].row;
    }

    for ( /* void */ ; p < last; p++) {
        sum += llm_weight[row + llm_class[*p].class];
        row = llm_class[*p].row;
    }

    e->sum += sum;
    e->previous = row;
}


void
llm_estimate_add(llm_estimate_t *e, uint64_t tokens)
{
    e->sum += tokens << 8;
}


int64_t
llm_estimate_tokens(const llm_estimate_t *e)
{
    return (int64_t) ((e->sum + 255) >> 8);
}


/* a byte behind a backslash */

static void
llm_estimate_escape(llm_estimate_t *e, unsigned ch)
{
    unsigned  digit;

    if (e->digits == 0) {

        if (ch == 'u') {
            e->digits = 4;
            e->code_point = 0;
            return;
        }

        e->escape = 0;

        switch (ch) {

        case 'n':
        case 'r':
            llm_estimate_byte(e, '\n');
            break;

        case 't':
            llm_estimate_byte(e, '\t');
            break;

        case 'b':
        case 'f':
            llm_estimate_byte(e, '\f');
            break;

        default:
            llm_estimate_byte(e, ch);
        }

        return;
    }

    digit = (ch <= '9') ? ch - '0' : (ch | 0x20) - 'a' + 10;
    e->code_point = (e->code_point << 4) | (digit & 0xf);

    if (--e->digits == 0) {
        e->escape = 0;
        llm_estimate_byte(e, llm_estimate_lead(e->code_point));
    }
}


static void
llm_estimate_byte(llm_estimate_t *e, unsigned ch)
{
    ch &= 0xff;
    e->sum += llm_weight[e->previous + llm_class[ch].class];
    e->previous = llm_class[ch].row;
}


/* the first byte that the code point has in UTF-8 */

static unsigned
llm_estimate_lead(unsigned code)
{
    if (code < 0x80) {
        return code;
    }

    if (code < 0x800) {
        return 0xc0 | code >> 6;
    }

    /* a surrogate pair is one sequence: its second half is a tail */

    if (code >= 0xd800 && code <= 0xdfff) {
        return (code < 0xdc00) ? 0xf0 : 0x80;
    }

    return 0xe0 | code >> 12;
}
