
/*
 * Copyright (C) nginx-cycles authors
 *
 * Days, weeks, months, quarters and years in the local time of an IANA zone.
 *
 * The system's time zone database is read here, since the C library knows one
 * zone for the whole process only.  A zone never changes once it is loaded,
 * so that any number of threads may use it.  Plain C.
 */


#ifndef _CYCLES_CALENDAR_H_INCLUDED_
#define _CYCLES_CALENDAR_H_INCLUDED_


#include "../cycles.h"


#define CYCLES_ZONE_DIR  "/usr/share/zoneinfo"


typedef struct cycles_zone_s  cycles_zone_t;


typedef enum {
    CYCLES_EVERY_DAY = 0,
    CYCLES_EVERY_WEEK,            /* from Monday */
    CYCLES_EVERY_MONTH,
    CYCLES_EVERY_QUARTER,
    CYCLES_EVERY_YEAR,
    CYCLES_EVERIES
} cycles_every_t;


/* "day", "week", …; cycles_every_find() is -1 for what is none of them */

const char *cycles_every_name(cycles_every_t every);
int cycles_every_find(const unsigned char *name, size_t len);


/*
 * The zone of a name like "Europe/Berlin"; to be freed by
 * cycles_zone_free().  UTC, also "Etc/UTC" and an empty name, needs no
 * database.  NULL: err is a sentence.  Reads a file, so not in an event loop.
 */

cycles_zone_t *cycles_zone_load(cycles_str_t name, char *err, size_t errlen);

cycles_zone_t *cycles_zone_utc(void);

/*
 * The same from the contents of a file in the TZif format (RFC 8536), version
 * 2 or later.
 */

cycles_zone_t *cycles_zone_parse(const unsigned char *data, size_t len,
    char *err, size_t errlen);

void cycles_zone_free(cycles_zone_t *zone);


/*
 * The period that contains now_ms: *start_ms <= now_ms < *end_ms.  It begins
 * with the first instant of a local date: that is midnight, or whatever
 * follows if the clock skips midnight; if the clock shows it twice, the first
 * one.  Where one period ends the next one begins.
 *
 * 0, or -1 when now_ms is before 1970 or after 9999.
 */

int cycles_calendar_bounds(const cycles_zone_t *zone, cycles_every_t every,
    int64_t now_ms, int64_t *start_ms, int64_t *end_ms);


#endif /* _CYCLES_CALENDAR_H_INCLUDED_ */
