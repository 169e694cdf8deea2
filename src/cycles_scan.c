
/*
 * Copyright (C) nginx-cycles authors
 *
 * The ends of long strings, 128 bytes at a time where there is AVX2, and those
 * of all strings where there is no SSE2.
 */


#include "cycles_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif


cycles_scan_inline const unsigned char *cycles_scan_bytes(
    const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, cycles_scan_t what);


#if defined(__x86_64__)

#define CYCLES_SCAN_WIDE  32

#define cycles_scan_avx2       __attribute__((target("avx2")))
#define cycles_scan_avx2_inline                                               \
    cycles_scan_avx2 __attribute__((always_inline)) static inline

#define cycles_scan_32(ch)  _mm256_set1_epi8((char) (ch))


/* those of 32 bytes at which a scan does not end */

cycles_scan_avx2_inline __m256i
cycles_scan_pass_32(const unsigned char *p, cycles_scan_t what)
{
    __m256i  bytes, found, least;

    bytes = _mm256_loadu_si256((const __m256i *) p);
    found = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, cycles_scan_32('"')),
                            _mm256_cmpeq_epi8(bytes, cycles_scan_32('\\')));

    switch (what) {

    case CYCLES_SCAN_ANY:
        least = cycles_scan_32(0xff);
        break;

    case CYCLES_SCAN_UTF8:
        least = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, cycles_scan_32(' ')),
                                  bytes);
        break;

    default: /* CYCLES_SCAN_ASCII: what is above 0x7f is negative */
        least = _mm256_cmpgt_epi8(bytes, cycles_scan_32(' ' - 1));
    }

    return _mm256_andnot_si256(found, least);
}


/* a bit for each at which it does */

cycles_scan_avx2_inline unsigned
cycles_scan_ends_32(const unsigned char *p, cycles_scan_t what)
{
    return ~(unsigned) _mm256_movemask_epi8(cycles_scan_pass_32(p, what));
}


cycles_scan_avx2_inline __m256i
cycles_scan_pass_64(const unsigned char *p, cycles_scan_t what)
{
    return _mm256_and_si256(cycles_scan_pass_32(p, what),
                            cycles_scan_pass_32(p + CYCLES_SCAN_WIDE, what));
}


/* as cycles_scan(); at least 32 bytes can be read in front of last */

cycles_scan_avx2_inline const unsigned char *
cycles_scan_far(const unsigned char *p, const unsigned char *last,
    cycles_scan_t what)
{
    size_t    n;
    unsigned  ends;

    for ( /* void */ ; last - p >= 4 * CYCLES_SCAN_WIDE;
         p += 4 * CYCLES_SCAN_WIDE)
    {
        if (~(unsigned) _mm256_movemask_epi8(_mm256_and_si256(
                cycles_scan_pass_64(p, what),
                cycles_scan_pass_64(p + 2 * CYCLES_SCAN_WIDE, what))))
        {
            break;
        }
    }

    for ( /* void */ ; last - p >= CYCLES_SCAN_WIDE; p += CYCLES_SCAN_WIDE) {

        ends = cycles_scan_ends_32(p, what);

        if (ends) {
            return p + (unsigned) __builtin_ctz(ends);
        }
    }

    n = (size_t) (last - p);

    if (n == 0) {
        return last;
    }

    /* together with what precedes them */

    ends = cycles_scan_ends_32(last - CYCLES_SCAN_WIDE, what)
           >> (CYCLES_SCAN_WIDE - n);

    return ends ? p + (unsigned) __builtin_ctz(ends) : last;
}


cycles_scan_avx2 static const unsigned char *
cycles_scan_wide(const unsigned char *p, const unsigned char *last,
    cycles_scan_t what)
{
    switch (what) {

    case CYCLES_SCAN_ANY:
        return cycles_scan_far(p, last, CYCLES_SCAN_ANY);

    case CYCLES_SCAN_UTF8:
        return cycles_scan_far(p, last, CYCLES_SCAN_UTF8);

    default: /* CYCLES_SCAN_ASCII */
        return cycles_scan_far(p, last, CYCLES_SCAN_ASCII);
    }
}

#endif


const unsigned char *
cycles_scan_long(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, cycles_scan_t what)
{
#if defined(__x86_64__)

    if (last - begin >= CYCLES_SCAN_WIDE && __builtin_cpu_supports("avx2")) {
        return cycles_scan_wide(p, last, what);
    }

#endif

    switch (what) {

    case CYCLES_SCAN_ANY:
        return cycles_scan_bytes(begin, p, last, CYCLES_SCAN_ANY);

    case CYCLES_SCAN_UTF8:
        return cycles_scan_bytes(begin, p, last, CYCLES_SCAN_UTF8);

    default: /* CYCLES_SCAN_ASCII */
        return cycles_scan_bytes(begin, p, last, CYCLES_SCAN_ASCII);
    }
}


#if !defined(__SSE2__)

#define CYCLES_SCAN_ONES   0x0101010101010101ull
#define CYCLES_SCAN_HIGHS  0x8080808080808080ull


/* not 0: a scan ends in these 8 bytes */

cycles_scan_inline uint64_t
cycles_scan_ends(const unsigned char *p, cycles_scan_t what)
{
    uint64_t  word, quote, slash, found;

    memcpy(&word, p, 8);

    quote = word ^ (CYCLES_SCAN_ONES * '"');
    slash = word ^ (CYCLES_SCAN_ONES * '\\');

    found = ((quote - CYCLES_SCAN_ONES) & ~quote)
            | ((slash - CYCLES_SCAN_ONES) & ~slash);

    if (what != CYCLES_SCAN_ANY) {
        found |= (word - CYCLES_SCAN_ONES * 0x20) & ~word;
    }

    if (what == CYCLES_SCAN_ASCII) {
        found |= word;
    }

    return found & CYCLES_SCAN_HIGHS;
}

#endif


cycles_scan_inline const unsigned char *
cycles_scan_bytes(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, cycles_scan_t what)
{
#if defined(__SSE2__)

    unsigned  ends;

    for ( /* void */ ; last - p >= 16; p += 16) {
        ends = cycles_scan_ends(p, what);

        if (ends) {
            return p + (unsigned) __builtin_ctz(ends);
        }
    }

    if (p < last && last - begin >= 16) {
        return cycles_scan_rest(p, last, what);
    }

#else

    (void) begin;

    while (last - p >= 8 && !cycles_scan_ends(p, what)) {
        p += 8;
    }

#endif

    while (p < last && *p != '"' && *p != '\\'
           && (what == CYCLES_SCAN_ANY
               || (*p >= ' ' && (what == CYCLES_SCAN_UTF8 || *p < 0x80))))
    {
        p++;
    }

    return p;
}
