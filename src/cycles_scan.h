
/*
 * Copyright (C) nginx-cycles authors
 *
 * The contents of JSON strings, 16 bytes at a time.  In a header, because a
 * call costs more than most strings are long.
 */


#ifndef _CYCLES_SCAN_H_INCLUDED_
#define _CYCLES_SCAN_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif


#define cycles_scan_inline  static inline __attribute__((always_inline))


/* what a string is passed over, but for quotes and backslashes */

typedef enum {
    CYCLES_SCAN_ANY = 0,
    CYCLES_SCAN_UTF8,                        /* no control characters */
    CYCLES_SCAN_ASCII                        /* nor anything above 0x7f */
} cycles_scan_t;


#if defined(__SSE2__)

/* the highest bits of 16 bytes: it is set in those at which a scan ends */

cycles_scan_inline __m128i
cycles_scan_found(const unsigned char *p, cycles_scan_t what)
{
    __m128i  bytes, found;

    bytes = _mm_loadu_si128((const __m128i *) p);
    found = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                         _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));

    if (what == CYCLES_SCAN_ASCII) {

        /* signed and saturated, what is above 0x7f stays below 0, too */

        found = _mm_or_si128(found,
                             _mm_subs_epi8(bytes, _mm_set1_epi8(' ')));

    } else if (what == CYCLES_SCAN_UTF8) {
        found = _mm_or_si128(found,
                             _mm_cmpeq_epi8(
                                 _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)),
                                 bytes));
    }

    return found;
}


/* a bit for each of them */

cycles_scan_inline unsigned
cycles_scan_ends(const unsigned char *p, cycles_scan_t what)
{
    return (unsigned) _mm_movemask_epi8(cycles_scan_found(p, what));
}


/* fewer than 16 bytes, together with what precedes them */

cycles_scan_inline const unsigned char *
cycles_scan_rest(const unsigned char *p, const unsigned char *last,
    cycles_scan_t what)
{
    unsigned  ends;

    ends = cycles_scan_ends(last - 16, what) >> (16 - (last - p));

    return ends ? p + (unsigned) __builtin_ctz(ends) : last;
}

#endif


/* cycles_scan.c: of a string that may be a long one */

const unsigned char *cycles_scan_long(const unsigned char *begin,
    const unsigned char *p, const unsigned char *last, cycles_scan_t what);


/*
 * The first byte from p on at which a scan ends, or last.  What precedes p
 * can be read from begin on.  Most strings are short.
 */

cycles_scan_inline const unsigned char *
cycles_scan(const unsigned char *begin, const unsigned char *p,
    const unsigned char *last, cycles_scan_t what)
{
#if defined(__SSE2__)

    unsigned  ends;

    if (last - p >= 16) {
        ends = cycles_scan_ends(p, what);

        if (ends) {
            return p + (unsigned) __builtin_ctz(ends);
        }

        p += 16;

    } else if (p < last && last - begin >= 16) {
        return cycles_scan_rest(p, last, what);
    }

#endif

    return cycles_scan_long(begin, p, last, what);
}


#endif /* _CYCLES_SCAN_H_INCLUDED_ */
