
/*
 * Copyright (C) nginx-cycles authors
 *
 * The ends of long strings, 64 bytes at a time where there is AVX2, and those
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

#define CYCLES_SCAN_WIDE  64

#define cycles_scan_wide  __attribute__((target("avx2")))

#define cycles_scan_32(ch)  _mm256_set1_epi8((char) (ch))


/*
 * What is above 0x7f is below a blank as a signed number; with the highest bit
 * of all bytes turned around, control characters are the least of them.
 */

cycles_scan_wide static inline __m256i
cycles_scan_found_32(const unsigned char *p, __m256i turn, __m256i least)
{
    __m256i  bytes, found;

    bytes = _mm256_loadu_si256((const __m256i *) p);
    found = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, cycles_scan_32('"')),
                            _mm256_cmpeq_epi8(bytes, cycles_scan_32('\\')));

    return _mm256_or_si256(found,
                           _mm256_cmpgt_epi8(least,
                                             _mm256_xor_si256(bytes, turn)));
}


/* as many times 64 bytes as there is nothing in at which a scan ends */

cycles_scan_wide static const unsigned char *
cycles_scan_pass(const unsigned char *p, const unsigned char *last,
    cycles_scan_t what)
{
    __m256i  found, turn, least;

    turn = cycles_scan_32(what == CYCLES_SCAN_UTF8 ? 0x80 : 0);
    least = cycles_scan_32(what == CYCLES_SCAN_ANY ? 0x80
                           : what == CYCLES_SCAN_UTF8 ? 0xa0 : ' ');

    while (last - p >= CYCLES_SCAN_WIDE) {

        found = _mm256_or_si256(cycles_scan_found_32(p, turn, least),
                                cycles_scan_found_32(p + 32, turn, least));

        if (_mm256_movemask_epi8(found)) {
            break;
        }

        p += CYCLES_SCAN_WIDE;
    }

    return p;
}

#endif


const unsigned char *
cycles_scan_long(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, cycles_scan_t what)
{
#if defined(__x86_64__)

    if (last - p >= CYCLES_SCAN_WIDE && __builtin_cpu_supports("avx2")) {
        p = cycles_scan_pass(p, last, what);
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
            return p + __builtin_ctz(ends);
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
