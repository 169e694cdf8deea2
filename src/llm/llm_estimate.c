
/*
 * Copyright (C) nginx-cycles authors
 *
 * Tokenizers cut a text into words, runs of digits and runs of punctuation
 * first, and the pieces of a word are longer in scripts that they know well.
 * So the weight of a byte depends on its class and on the class before it,
 * and a UTF-8 sequence weighs what its lead byte does.
 */


#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "llm_estimate.h"


typedef enum {
    LLM_LOWER = 0,
    LLM_UPPER,
    LLM_DIGIT,
    LLM_SPACE,
    LLM_NEWLINE,
    LLM_MARK,                             /* punctuation */
    LLM_TAIL,                             /* of a UTF-8 sequence */
    LLM_LEAD,                             /* and these ten begin one */
    LLM_CLASSES = LLM_LEAD + 10
} llm_class_t;


/*
 * The weights of a lead byte whatever comes before it: Latin with marks,
 * Greek, Cyrillic, Hebrew and Arabic, Indic and Thai, Georgian and Khmer,
 * symbols, Han and kana, Hangul, emoji.
 */

#define LLM_LEADS  245, 105, 85, 110, 113, 158, 1, 226, 196, 486

/* bytes that are read at once, and how many there must be */

#define LLM_WIDE       64
#define LLM_WIDE_HALF  32


static const unsigned char *llm_estimate_text(llm_estimate_t *e,
    const unsigned char *begin, const unsigned char *p,
    const unsigned char *last);
static void llm_estimate_escape(llm_estimate_t *e, unsigned ch);
static void llm_estimate_byte(llm_estimate_t *e, unsigned ch);
static unsigned llm_estimate_digit(unsigned ch);
static unsigned llm_estimate_lead(unsigned code);


/* what a byte is, and the row of what comes before the next byte */

#define LLM_ROW(class)  ((class) * LLM_CLASSES)

#define A  { LLM_LOWER, LLM_ROW(LLM_LOWER) }
#define U  { LLM_UPPER, LLM_ROW(LLM_UPPER) }
#define D  { LLM_DIGIT, LLM_ROW(LLM_DIGIT) }
#define S  { LLM_SPACE, LLM_ROW(LLM_SPACE) }
#define N  { LLM_NEWLINE, LLM_ROW(LLM_NEWLINE) }
#define P  { LLM_MARK, LLM_ROW(LLM_MARK) }
#define T  { LLM_TAIL, LLM_ROW(LLM_TAIL) }
#define L(lead)  { LLM_LEAD + lead, LLM_ROW(LLM_TAIL) }

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


/* the weights of the other classes, behind another class and behind some */

#define LLM_LOWER_FIRST     235
#define LLM_LOWER_LETTER    24            /* behind either case */
#define LLM_UPPER_FIRST     171
#define LLM_UPPER_LOWER     177
#define LLM_UPPER_UPPER     140
#define LLM_DIGIT_FIRST     394
#define LLM_DIGIT_DIGIT     8
#define LLM_SPACE_FIRST     1
#define LLM_SPACE_SPACE     12            /* behind a newline, too */
#define LLM_NEWLINE_FIRST   257
#define LLM_NEWLINE_NEWLINE 1
#define LLM_MARK_FIRST      144
#define LLM_MARK_MARK       4


/* a row for each class that comes before; all from the tail on are alike */

#define LLM_WEIGHTS(lower, upper, digit, space, newline, mark)                \
    LLM_LOWER_##lower, LLM_UPPER_##upper, LLM_DIGIT_##digit,                  \
    LLM_SPACE_##space, LLM_NEWLINE_##newline, LLM_MARK_##mark, 0, LLM_LEADS

static const uint16_t  llm_weight[] = {
    LLM_WEIGHTS(LETTER, LOWER, FIRST, FIRST, FIRST, FIRST),
    LLM_WEIGHTS(LETTER, UPPER, FIRST, FIRST, FIRST, FIRST),
    LLM_WEIGHTS(FIRST, FIRST, DIGIT, FIRST, FIRST, FIRST),
    LLM_WEIGHTS(FIRST, FIRST, FIRST, SPACE, FIRST, FIRST),
    LLM_WEIGHTS(FIRST, FIRST, FIRST, SPACE, NEWLINE, FIRST),
    LLM_WEIGHTS(FIRST, FIRST, FIRST, FIRST, FIRST, MARK),
    LLM_WEIGHTS(FIRST, FIRST, FIRST, FIRST, FIRST, FIRST)
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
    e->previous = LLM_ROW(LLM_NEWLINE);
    e->code_point = 0;
    e->escape = 0;
    e->digits = 0;
}


void
llm_estimate_feed(llm_estimate_t *e, const unsigned char *p, size_t n)
{
    const unsigned char  *begin, *last;

    begin = p;
    last = p + n;

    while (p < last) {

        if (e->escape) {
            llm_estimate_escape(e, *p++);
            continue;
        }

        if (*p != '\\') {
            p = llm_estimate_text(e, begin, p, last);
            continue;
        }

        if (last - p < 6 || p[1] != 'u') {
            e->escape = 1;
            p++;
            continue;
        }

        llm_estimate_byte(e, llm_estimate_lead(llm_estimate_digit(p[2]) << 12
                                               | llm_estimate_digit(p[3]) << 8
                                               | llm_estimate_digit(p[4]) << 4
                                               | llm_estimate_digit(p[5])));
        p += 6;
    }
}


void
llm_estimate_plain(llm_estimate_t *e, const unsigned char *p, size_t n)
{
    unsigned              row;
    uint64_t              sum;
    const unsigned char  *last;

    if (n >= LLM_WIDE_HALF) {
        llm_estimate_feed(e, p, n);
        return;
    }

    sum = 0;
    row = e->previous;

    for (last = p + n; p < last; p++) {
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


#if defined(__x86_64__)

/*
 * Where in 64 bytes a class is, a bit for a byte and the first one lowest: the
 * words that begin there are counted without a look at any of the bytes.
 */

typedef struct {
    uint64_t              lower;
    uint64_t              upper;
    uint64_t              digit;
    uint64_t              space;
    uint64_t              newline;
    uint64_t              mark;
    uint64_t              high;           /* not ASCII */
    uint64_t              stop;           /* backslash or control */
} llm_bits_t;


/* fewer bytes than 64 are two halves that overlap, or end a longer text */

typedef struct {
    __m256i               first;
    __m256i               second;
    unsigned              left;           /* where the second one begins */
    unsigned              right;          /* bits of what is done already */
} llm_view_t;


#define llm_wide         __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define llm_wide_inline  llm_wide __attribute__((always_inline)) static inline

#define llm_bytes(ch)    _mm256_set1_epi8((char) (ch))
#define llm_count(bits)  ((uint64_t) __builtin_popcountll(bits))


llm_wide_inline __m256i
llm_wide_load(const unsigned char *p)
{
    return _mm256_loadu_si256((const __m256i *) p);
}


llm_wide_inline uint64_t
llm_wide_mask(__m256i bytes)
{
    return (uint32_t) _mm256_movemask_epi8(bytes);
}


llm_wide_inline uint64_t
llm_wide_join(const llm_view_t *v, __m256i first, __m256i second)
{
    return (llm_wide_mask(first) | llm_wide_mask(second) << v->left)
           >> v->right;
}


llm_wide_inline uint64_t
llm_wide_equal(const llm_view_t *v, int ch)
{
    return llm_wide_join(v, _mm256_cmpeq_epi8(v->first, llm_bytes(ch)),
                         _mm256_cmpeq_epi8(v->second, llm_bytes(ch)));
}


/* n characters from ch on; the comparison is one of signed bytes */

llm_wide_inline __m256i
llm_wide_range(__m256i bytes, int ch, int n)
{
    bytes = _mm256_add_epi8(bytes, llm_bytes(0x80 - ch));

    return _mm256_cmpgt_epi8(llm_bytes(n - 0x80), bytes);
}


llm_wide_inline __m256i
llm_wide_letters(__m256i bytes)
{
    return llm_wide_range(_mm256_or_si256(bytes, llm_bytes(0x20)), 'a', 26);
}


llm_wide_inline uint64_t
llm_wide_total(__m256i sums)
{
    __m128i  half;

    half = _mm_add_epi64(_mm256_castsi256_si128(sums),
                         _mm256_extracti128_si256(sums, 1));

    return (uint64_t) _mm_cvtsi128_si64(half)
           + (uint64_t) _mm_extract_epi64(half, 1);
}


/* what is not ASCII is negative, and so it is among them */

llm_wide_inline __m256i
llm_wide_stops(__m256i bytes)
{
    return _mm256_or_si256(_mm256_cmpgt_epi8(llm_bytes(' '), bytes),
                           _mm256_cmpeq_epi8(bytes, llm_bytes('\\')));
}


llm_wide_inline void
llm_wide_view(llm_view_t *v, const unsigned char *begin,
    const unsigned char *p, const unsigned char *last)
{
    size_t  n;

    n = (size_t) (last - p);

    v->left = LLM_WIDE_HALF;
    v->right = 0;

    if (n < LLM_WIDE && last - begin >= LLM_WIDE) {
        v->right = (unsigned) (LLM_WIDE - n);
        p = last - LLM_WIDE;

    } else if (n < LLM_WIDE) {
        v->left = (unsigned) (n - LLM_WIDE_HALF);
    }

    v->first = llm_wide_load(p);
    v->second = llm_wide_load(p + v->left);
}


llm_wide_inline void
llm_wide_classes(llm_bits_t *bits, const llm_view_t *v)
{
    uint64_t  letter, lower;

    letter = llm_wide_join(v, llm_wide_letters(v->first),
                           llm_wide_letters(v->second));

    /* a mask is made of the highest bits: the one that matters goes there */

    lower = llm_wide_join(v, _mm256_slli_epi16(v->first, 2),
                          _mm256_slli_epi16(v->second, 2));

    bits->lower = letter & lower;
    bits->upper = letter & ~lower;
    bits->digit = llm_wide_join(v, llm_wide_range(v->first, '0', 10),
                                llm_wide_range(v->second, '0', 10));
    bits->space = llm_wide_equal(v, ' ');
    bits->newline = 0;
    bits->high = llm_wide_join(v, v->first, v->second);
    bits->stop = llm_wide_join(v, llm_wide_stops(v->first),
                               llm_wide_stops(v->second)) & ~bits->high;
}


#define llm_weigh(previous, class)                                            \
    ((uint64_t) llm_weight[LLM_ROW(previous) + (class)])


/*
 * A backslash and what follows it are two of what they stand for, of which the
 * second one does not count: its weight is returned.  Where they stand for
 * something else, the backslash is a stop.
 */

llm_wide_inline uint64_t
llm_wide_escapes(llm_bits_t *bits, const llm_view_t *v, uint64_t valid)
{
    uint64_t  slash, odd, series, escaped, newline, space, mark;

    slash = llm_wide_equal(v, '\\');
    bits->stop &= ~slash;

    /* every second one of a series is escaped: a carry runs through them */

    odd = 0xaaaaaaaaaaaaaaaa;
    series = (((slash << 1) | odd) - slash) ^ odd;

    escaped = (series ^ slash) & valid;

    newline = escaped & (llm_wide_equal(v, 'n') | llm_wide_equal(v, 'r'));
    space = escaped & llm_wide_equal(v, 't');
    mark = escaped & ~(bits->lower | bits->upper | bits->digit | bits->space
                       | bits->high | bits->stop);

    bits->stop |= slash & series & ~((newline | space | mark) >> 1);
    valid &= ~bits->stop & (bits->stop - 1);

    bits->lower &= ~escaped;
    bits->newline = newline | newline >> 1;
    bits->space |= space | space >> 1;

    return llm_count(newline & valid) * llm_weigh(LLM_NEWLINE, LLM_NEWLINE)
           + llm_count(space & valid) * llm_weigh(LLM_SPACE, LLM_SPACE)
           + llm_count(mark & valid) * llm_weigh(LLM_MARK, LLM_MARK);
}


/* what a class weighs on its own, and how much more behind another one */

#define llm_alone(class)  llm_weigh(LLM_TAIL, class)

#define llm_behind(previous, class)                                           \
    (llm_weigh(previous, class) - llm_alone(class))


/* bits of what is behind a class; before: its bits of the 64 bytes before */

#define llm_after(class, before)  ((class) << 1 | (before) >> 63)


llm_wide_inline uint64_t
llm_wide_sum(const llm_bits_t *bits, const llm_bits_t *before)
{
    uint64_t  sum, upper, after_letter, after_newline, after_space;

    after_letter = llm_after(bits->lower | bits->upper,
                             before->lower | before->upper);
    after_newline = llm_after(bits->newline, before->newline);
    after_space = llm_after(bits->space, before->space) | after_newline;

    sum = llm_count(bits->lower) * llm_alone(LLM_LOWER)
          + llm_count(bits->lower & after_letter)
            * llm_behind(LLM_LOWER, LLM_LOWER)
          + llm_count(bits->space) * llm_alone(LLM_SPACE)
          + llm_count(bits->space & after_space)
            * llm_behind(LLM_SPACE, LLM_SPACE)
          + llm_count(bits->mark) * llm_alone(LLM_MARK)
          + llm_count(bits->mark & llm_after(bits->mark, before->mark))
            * llm_behind(LLM_MARK, LLM_MARK);

    /* most text has none of these */

    if (bits->upper) {
        upper = bits->upper & llm_after(bits->upper, before->upper);

        sum += llm_count(bits->upper) * llm_alone(LLM_UPPER)
               + llm_count(upper) * llm_behind(LLM_UPPER, LLM_UPPER)
               + llm_count(bits->upper & after_letter & ~upper)
                 * llm_behind(LLM_LOWER, LLM_UPPER);
    }

    if (bits->digit) {
        sum += llm_count(bits->digit) * llm_alone(LLM_DIGIT)
               + llm_count(bits->digit
                           & llm_after(bits->digit, before->digit))
                 * llm_behind(LLM_DIGIT, LLM_DIGIT);
    }

    if (bits->newline) {
        sum += llm_count(bits->newline) * llm_alone(LLM_NEWLINE)
               + llm_count(bits->newline & after_newline)
                 * llm_behind(LLM_NEWLINE, LLM_NEWLINE);
    }

    return sum;
}


/* the row of the byte before, as bits */

llm_wide_inline void
llm_wide_before(llm_bits_t *before, unsigned row)
{
    before->lower = (uint64_t) (row == LLM_ROW(LLM_LOWER)) << 63;
    before->upper = (uint64_t) (row == LLM_ROW(LLM_UPPER)) << 63;
    before->digit = (uint64_t) (row == LLM_ROW(LLM_DIGIT)) << 63;
    before->space = (uint64_t) (row == LLM_ROW(LLM_SPACE)) << 63;
    before->newline = (uint64_t) (row == LLM_ROW(LLM_NEWLINE)) << 63;
    before->mark = (uint64_t) (row == LLM_ROW(LLM_MARK)) << 63;
}


/* what is left of the bits, and is of no other class, is a mark */

llm_wide_inline void
llm_wide_valid(llm_bits_t *bits, uint64_t valid)
{
    bits->lower &= valid;
    bits->upper &= valid;
    bits->digit &= valid;
    bits->space &= valid;
    bits->newline &= valid;
    bits->mark = valid & ~(bits->lower | bits->upper | bits->digit
                           | bits->space | bits->newline | bits->high);
}


/*
 * Nearly all text is ASCII without escapes, and of that each byte gets its
 * weight by itself, in three steps of 16 possibilities: its class, whether that
 * goes with the one before, and the weight.
 */

typedef enum {
    LLM_PLAIN_LOWER = 0,
    LLM_PLAIN_UPPER,
    LLM_PLAIN_SPACE,                      /* in front of a byte newlines, too */
    LLM_PLAIN_MARK,
    LLM_PLAIN_DIGIT,                      /* it has a bit of its own */
    LLM_PLAIN_TAIL                        /* only in front of a byte */
} llm_plain_class_t;


/*
 * Classes differ in 0 if they are the same, in 1 if they are letters, or two
 * others that are nothing to each other, and else in more.
 */

#define LLM_PLAIN_SAME   0
#define LLM_PLAIN_CASE   5
#define LLM_PLAIN_FIRST  10


/* the weight of a digit is no byte without that */

#define LLM_PLAIN_DIGIT_MORE  256


/* what is the same for all bytes, and would be made anew for each 64 */

typedef struct {
    __m256i               control;
    __m256i               slash;
    __m256i               nibble;
} llm_plain_t;

#define llm_plain_keep(bytes)  __asm__ ("" : "+x" (bytes))


llm_wide_inline void
llm_plain_init(llm_plain_t *k)
{
    k->control = llm_bytes(0x1f);
    k->slash = llm_bytes('\\');
    k->nibble = llm_bytes(0x0f);

    llm_plain_keep(k->control);
    llm_plain_keep(k->slash);
    llm_plain_keep(k->nibble);
}


/* the same 16 bytes in both halves: a table for each of them */

llm_wide_inline __m256i
llm_plain_table(const unsigned char *table)
{
    return _mm256_broadcastsi128_si256(
               _mm_loadu_si128((const __m128i *) table));
}


/* no backslash, and not below a blank, as is what is not ASCII */

llm_wide_inline __m256i
llm_plain_bytes(const llm_plain_t *k, __m256i bytes)
{
    return _mm256_andnot_si256(_mm256_cmpeq_epi8(bytes, k->slash),
                               _mm256_cmpgt_epi8(bytes, k->control));
}


llm_wide_inline unsigned
llm_plain_text(__m256i bytes)
{
    return (unsigned) _mm256_movemask_epi8(bytes);
}


/* a table has the sets that four bits of a byte allow, a bit for a set */

llm_wide_inline __m256i
llm_plain_classes(const llm_plain_t *k, __m256i bytes)
{
    __m256i  high, sets;

    static const unsigned char  low_bits[16] = {
        0x2e, 0x37, 0x37, 0x37, 0x37, 0x37, 0x37, 0x37,
        0x37, 0x37, 0x33, 0x11, 0x11, 0x11, 0x11, 0x11
    };

    static const unsigned char  high_bits[16] = {
        [0x2] = 0x08,                     /* a blank */
        [0x3] = 0x04,                     /* 0 to 9 */
        [0x4] = 0x10,                     /* A to O */
        [0x5] = 0x20,                     /* P to Z */
        [0x6] = 0x01,                     /* a to o */
        [0x7] = 0x02                      /* p to z */
    };

    static const unsigned char  classes[16] = {
        [0x00] = LLM_PLAIN_MARK,
        [0x01] = LLM_PLAIN_LOWER,
        [0x02] = LLM_PLAIN_LOWER,
        [0x04] = LLM_PLAIN_DIGIT,
        [0x08] = LLM_PLAIN_SPACE,
        [0x0f] = LLM_PLAIN_UPPER          /* 0x10 and 0x20 */
    };

    high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), k->nibble);

    sets = _mm256_and_si256(
               _mm256_shuffle_epi8(llm_plain_table(low_bits), bytes),
               _mm256_shuffle_epi8(llm_plain_table(high_bits), high));

    return _mm256_shuffle_epi8(llm_plain_table(classes),
                               _mm256_min_epu8(sets, k->nibble));
}


/* the weights of 32 bytes; the last one of before is in front of them */

llm_wide_inline __m256i
llm_plain_weights(__m256i classes, __m256i before)
{
    __m256i  differ;

    static const unsigned char  base[16] = {
        LLM_PLAIN_SAME, LLM_PLAIN_CASE, LLM_PLAIN_FIRST, LLM_PLAIN_FIRST,
        LLM_PLAIN_FIRST, LLM_PLAIN_FIRST, LLM_PLAIN_FIRST, LLM_PLAIN_FIRST
    };

    static const unsigned char  weights[16] = {
        LLM_LOWER_LETTER, LLM_UPPER_UPPER, LLM_SPACE_SPACE, LLM_MARK_MARK,
        LLM_DIGIT_DIGIT,

        LLM_LOWER_LETTER, LLM_UPPER_LOWER, LLM_SPACE_FIRST, LLM_MARK_FIRST,
        LLM_DIGIT_FIRST - LLM_PLAIN_DIGIT_MORE,

        LLM_LOWER_FIRST, LLM_UPPER_FIRST, LLM_SPACE_FIRST, LLM_MARK_FIRST,
        LLM_DIGIT_FIRST - LLM_PLAIN_DIGIT_MORE
    };

    before = _mm256_permute2x128_si256(before, classes, 0x21);
    differ = _mm256_xor_si256(_mm256_alignr_epi8(classes, before, 15),
                              classes);

    return _mm256_shuffle_epi8(
               llm_plain_table(weights),
               _mm256_add_epi8(
                   _mm256_shuffle_epi8(llm_plain_table(base), differ),
                   classes));
}


llm_wide_inline uint64_t
llm_plain_digits(__m256i classes)
{
    return llm_wide_mask(_mm256_slli_epi16(classes, 5));
}


/* of digits, those that are behind none weigh more than a byte has */

llm_wide_inline uint64_t
llm_plain_more(uint64_t digits, uint64_t before)
{
    return llm_count(digits & ~(digits << 1 | before)) * LLM_PLAIN_DIGIT_MORE;
}


/* what is in front of the first byte, in all 32 */

llm_wide_inline __m256i
llm_plain_row(unsigned row)
{
    switch (row) {

    case LLM_ROW(LLM_LOWER):
        return llm_bytes(LLM_PLAIN_LOWER);

    case LLM_ROW(LLM_UPPER):
        return llm_bytes(LLM_PLAIN_UPPER);

    case LLM_ROW(LLM_DIGIT):
        return llm_bytes(LLM_PLAIN_DIGIT);

    case LLM_ROW(LLM_SPACE):
    case LLM_ROW(LLM_NEWLINE):
        return llm_bytes(LLM_PLAIN_SPACE);

    case LLM_ROW(LLM_MARK):
        return llm_bytes(LLM_PLAIN_MARK);

    default:
        return llm_bytes(LLM_PLAIN_TAIL);
    }
}


/* the bytes of 32 from first on, and before last */

llm_wide_inline __m256i
llm_plain_valid(unsigned first, unsigned last)
{
    __m256i  n;

    static const unsigned char  number[32] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
        20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    };

    n = llm_wide_load(number);

    return _mm256_andnot_si256(_mm256_cmpgt_epi8(llm_bytes(first), n),
                               _mm256_cmpgt_epi8(llm_bytes(last), n));
}


/*
 * Text up to what is not ASCII or begins an escape, which may be its first
 * byte; of what precedes it so much can be read that there are 32 bytes.
 */

llm_wide __attribute__((noinline)) static const unsigned char *
llm_estimate_ascii(llm_estimate_t *e, const unsigned char *begin,
    const unsigned char *p, const unsigned char *last)
{
    size_t                n;
    uint64_t              digits, more, was;
    unsigned              first, end, stops;
    __m256i               a, b, sum, before;
    llm_plain_t           k;
    const unsigned char  *text;

    llm_plain_init(&k);

    text = p;
    more = 0;
    was = (e->previous == LLM_ROW(LLM_DIGIT));
    sum = _mm256_setzero_si256();
    before = llm_plain_row(e->previous);

    for ( /* void */ ; last - p >= LLM_WIDE; p += LLM_WIDE) {

        a = llm_wide_load(p);
        b = llm_wide_load(p + LLM_WIDE_HALF);

        if (~llm_plain_text(_mm256_and_si256(llm_plain_bytes(&k, a),
                                             llm_plain_bytes(&k, b))))
        {
            break;
        }

        a = llm_plain_classes(&k, a);
        b = llm_plain_classes(&k, b);

        sum = _mm256_add_epi64(
                  sum, _mm256_sad_epu8(llm_plain_weights(a, before),
                                       _mm256_setzero_si256()));
        sum = _mm256_add_epi64(
                  sum, _mm256_sad_epu8(llm_plain_weights(b, a),
                                       _mm256_setzero_si256()));
        before = b;

        if (was | llm_plain_digits(_mm256_or_si256(a, b))) {
            digits = llm_plain_digits(a)
                     | llm_plain_digits(b) << LLM_WIDE_HALF;

            more += llm_plain_more(digits, was);
            was = digits >> 63;
        }
    }

    while (p < last) {

        n = (size_t) (last - p);
        first = (n < LLM_WIDE_HALF) ? (unsigned) (LLM_WIDE_HALF - n) : 0;

        a = llm_wide_load(p - first);
        stops = ~llm_plain_text(llm_plain_bytes(&k, a)) >> first << first;
        end = stops ? (unsigned) __builtin_ctz(stops) : LLM_WIDE_HALF;

        if (end == first) {
            break;
        }

        b = llm_plain_valid(first, end);
        a = llm_plain_classes(&k, a);

        if (p == text && first) {

            /* what is there may be something else */

            a = _mm256_blendv_epi8(before, a, b);
        }

        sum = _mm256_add_epi64(
                  sum,
                  _mm256_sad_epu8(
                      _mm256_and_si256(llm_plain_weights(a, before), b),
                      _mm256_setzero_si256()));
        before = a;

        digits = llm_plain_digits(a) & llm_wide_mask(b);

        if (digits | was) {
            more += llm_plain_more(digits, was << first);
            was = digits >> 31;
        }

        p += end - first;

        if (stops) {
            break;
        }
    }

    if (p != text) {
        e->sum += llm_wide_total(sum) + more;
        e->previous = llm_class[p[-1]].row;
    }

    return p;
}


/* the lead bytes among 32: a table for each value of their first four bits */

llm_wide_inline uint64_t
llm_wide_leads(__m256i bytes)
{
    unsigned  i;
    __m256i   high, low, weights, row;

    static const unsigned char  lead[3][16] = {
        { 245, 245, 245, 245, 245, 245, 245, 245,
          245, 245, 245, 245, 105, 105, 105, 105 },
        { 85, 85, 85, 85, 85, 85, 110, 110,
          110, 110, 110, 110, 110, 110, 110, 110 },
        { 113, 158, 1, 226, 226, 226, 226, 226,
          226, 226, 196, 196, 196, 196, 1, 1 }
    };

    high = _mm256_and_si256(bytes, llm_bytes(0xf0));
    low = _mm256_and_si256(bytes, llm_bytes(0x0f));
    weights = _mm256_setzero_si256();

    for (i = 0; i < 3; i++) {
        row = _mm256_broadcastsi128_si256(
                  _mm_loadu_si128((const __m128i *) lead[i]));
        weights = _mm256_or_si256(weights, _mm256_and_si256(
                      _mm256_cmpeq_epi8(high, llm_bytes(0xc0 + (i << 4))),
                      _mm256_shuffle_epi8(row, low)));
    }

    /* the weight of these is no byte */

    high = _mm256_cmpeq_epi8(high, llm_bytes(0xf0));

    return llm_wide_total(_mm256_sad_epu8(weights, _mm256_setzero_si256()))
           + llm_count(llm_wide_mask(high)) * llm_weight[LLM_LEAD + 9];
}


/* text up to what wants a closer look, which may be its first byte */

llm_wide static const unsigned char *
llm_estimate_wide(llm_estimate_t *e, const unsigned char *begin,
    const unsigned char *p, const unsigned char *last)
{
    size_t      n;
    unsigned    row;
    uint64_t    valid, stops, high, top;
    llm_bits_t  bits, before;
    llm_view_t  v;

    high = 0;
    stops = 0;

    do {

        /* what has an escape, or is not ASCII, is rarely alone */

        if ((stops | high) == 0) {
            p = llm_estimate_ascii(e, begin, p, last);

            if (p == last
                || (last - begin < LLM_WIDE && last - p < LLM_WIDE_HALF))
            {
                break;
            }
        }

        n = (size_t) (last - p);
        valid = (n < LLM_WIDE) ? ((uint64_t) 1 << n) - 1 : ~(uint64_t) 0;

        llm_wide_view(&v, begin, p, last);
        llm_wide_classes(&bits, &v);

        stops = bits.stop;

        if (stops) {
            e->sum -= llm_wide_escapes(&bits, &v, valid);
            valid &= ~bits.stop & (bits.stop - 1);
        }

        n = llm_count(valid);

        if (n == 0) {
            break;
        }

        llm_wide_valid(&bits, valid);
        llm_wide_before(&before, e->previous);

        e->sum += llm_wide_sum(&bits, &before);

        high = bits.high & valid;

        if (high && n == LLM_WIDE) {
            e->sum += llm_wide_leads(v.first) + llm_wide_leads(v.second);

        } else {
            for (top = high; top; top &= top - 1) {
                e->sum += llm_weight[llm_class[p[_tzcnt_u64(top)]].class];
            }
        }

        p += n;
        row = llm_class[p[-1]].row;

        if (stops) {

            /* it may have been escaped */

            top = (uint64_t) 1 << (n - 1);

            row = (bits.newline & top) ? LLM_ROW(LLM_NEWLINE)
                  : (bits.space & top) ? LLM_ROW(LLM_SPACE) : row;
        }

        e->previous = row;

    } while (n == LLM_WIDE && p < last);

    return p;
}

#endif


/* adds up to a backslash, or some of it; what is behind begin can be read */

static const unsigned char *
llm_estimate_text(llm_estimate_t *e, const unsigned char *begin,
    const unsigned char *p, const unsigned char *last)
{
    unsigned              row;
    uint64_t              sum;
    const unsigned char  *text;

#if defined(__x86_64__)

    if ((last - begin >= LLM_WIDE || last - p >= LLM_WIDE_HALF)
        && __builtin_cpu_supports("avx2")
        && __builtin_cpu_supports("bmi")
        && __builtin_cpu_supports("bmi2")
        && __builtin_cpu_supports("popcnt"))
    {
        text = p;
        p = llm_estimate_wide(e, begin, p, last);

        if (p == text && *p != '\\') {
            llm_estimate_byte(e, *p++);
        }

        return p;
    }

#endif

    sum = 0;
    row = e->previous;

    for (text = p; text < last && *text != '\\'; text++) {
        sum += llm_weight[row + llm_class[*text].class];
        row = llm_class[*text].row;
    }

    e->sum += sum;
    e->previous = row;

    return text;
}


/* a byte behind a backslash */

static void
llm_estimate_escape(llm_estimate_t *e, unsigned ch)
{
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

    e->code_point = e->code_point << 4 | llm_estimate_digit(ch);

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


/* of what is none, some bits: it is refused elsewhere */

static unsigned
llm_estimate_digit(unsigned ch)
{
    return ((ch <= '9') ? ch - '0' : (ch | 0x20) - 'a' + 10) & 0xf;
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
