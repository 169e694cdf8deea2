
/*
 * Copyright (C) nginx-cycles authors
 *
 * The date-time of the APIs: RFC 3339 text, and milliseconds since 1970.
 */


#ifndef _CYCLES_TIME_H_INCLUDED_
#define _CYCLES_TIME_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


#define CYCLES_TIME_LEN  (sizeof("9999-12-31T23:59:59.999Z") - 1)

/* 9999-12-31T23:59:59.999Z, the last one that can be written */

#define CYCLES_MAX_TIME  253402300799999LL


/*
 * "2026-06-15T12:00:00Z", with a fraction of a second and with an offset from
 * UTC if there is one.  What is less than a millisecond goes to the next one
 * if up is set, or is cut.  "+" in a query is a space, and is taken for what
 * it was meant to be.  0, or -1: it is no date-time.
 */

int cycles_time_parse(const unsigned char *text, size_t len, unsigned up,
    int64_t *ms);

/*
 * In UTC, with milliseconds, CYCLES_TIME_LEN bytes and not zero-terminated;
 * ms is from 0 to CYCLES_MAX_TIME.
 */

void cycles_time_print(int64_t ms, unsigned char *p);


#endif /* _CYCLES_TIME_H_INCLUDED_ */
