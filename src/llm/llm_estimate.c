
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tokenizers cut a text into words, runs of digits and runs of punctuation
 * first, and the pieces of a word are longer in scripts that they know well.
 * So the weight of a byte depends on its class and on the class before it,
 * and a UTF-8 sequence weighs what its lead byte does.
 */


#include "llm_estimate.h"


#define LLM_CLASS_NEWLINE  4
#define LLM_CLASS_TAIL     6
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
 * 0 lower case, 1 upper case, 2 digit, 3 space, 4 newline, 5 punctuation,
 * 6 tail of a UTF-8 sequence, 7 and above: lead bytes as in LLM_LEADS.
 */

static const unsigned char  llm_class[256] = {
     5,  5,  5,  5,  5,  5,  5,  5,  5,  3,  4,  5,  5,  4,  5,  5,
     5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,
     3,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,  5,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  5,  5,  5,  5,  5,  5,
     5,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
     1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  5,  5,  5,  5,  5,
     5,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  5,  5,  5,  5,  5,
     6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,
     6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,
     6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,
     6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,
     7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  8,  8,  8,
     9,  9,  9,  9,  9,  9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
    11, 12, 13, 14, 14, 14, 14, 14, 14, 14, 15, 15, 15, 15, 13, 13,
    16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16
};


/* a row for each class that comes before; all from the tail on are alike */

static const uint16_t  llm_weight[LLM_CLASS_TAIL + 1][LLM_CLASSES] = {
    {  24, 177, 394,  1, 257, 144, 0, LLM_LEADS },
    {  24, 140, 394,  1, 257, 144, 0, LLM_LEADS },
    { 235, 171,   8,  1, 257, 144, 0, LLM_LEADS },
    { 235, 171, 394, 12, 257, 144, 0, LLM_LEADS },
    { 235, 171, 394, 12,   1, 144, 0, LLM_LEADS },
    { 235, 171, 394,  1, 257,   4, 0, LLM_LEADS },
    { 235, 171, 394,  1, 257, 144, 0, LLM_LEADS }
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
    e->previous = LLM_CLASS_NEWLINE;
    e->code_point = 0;
    e->escape = 0;
    e->digits = 0;
}


void
llm_estimate_feed(llm_estimate_t *e, const unsigned char *p, size_t n)
{
    unsigned              class, previous;
    uint64_t              sum;
    const unsigned char  *last;

    last = p + n;

    while (p < last) {

        if (e->escape) {
            llm_estimate_escape(e, *p++);
            continue;
        }

        sum = 0;
        previous = e->previous;

        for ( /* void */ ; p < last && *p != '\\'; p++) {
            class = llm_class[*p];
            sum += llm_weight[previous][class];
            previous = (class < LLM_CLASS_TAIL) ? class : LLM_CLASS_TAIL;
        }

        e->sum += sum;
        e->previous = previous;

        if (p < last) {
            e->escape = 1;
            p++;
        }
    }
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
    unsigned  class;

    class = llm_class[ch & 0xff];
    e->sum += llm_weight[e->previous][class];
    e->previous = (class < LLM_CLASS_TAIL) ? class : LLM_CLASS_TAIL;
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
