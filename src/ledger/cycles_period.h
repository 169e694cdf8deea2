
/*
 * Copyright (C) nginx-cycles authors
 *
 * Periods of budgets: what was spent begins anew with each.
 */


#ifndef _CYCLES_PERIOD_H_INCLUDED_
#define _CYCLES_PERIOD_H_INCLUDED_


#include "cycles_calendar.h"


/* a second to ten years */

#define CYCLES_MIN_PERIOD_MS    1000
#define CYCLES_MAX_PERIOD_MS    INT64_C(315360000000)

/* bytes of the name of a time zone */

#define CYCLES_MAX_TIMEZONE     64

/* of a budget that has no period */

#define CYCLES_NO_BOUNDARY      INT64_MAX


typedef enum {
    CYCLES_PERIOD_NONE = 0,
    CYCLES_PERIOD_CALENDAR,
    CYCLES_PERIOD_ROLLING,
    CYCLES_PERIODS
} cycles_period_type_t;


/*
 * The definition of a period, and the one that is current: what is spent in
 * it has been counted since start_ms, and at end_ms the next one begins.
 */

typedef struct {
    cycles_period_type_t  type;
    cycles_every_t        every;          /* of a calendar */
    cycles_str_t          timezone;       /* of a calendar, empty: UTC */
    int64_t               length_ms;      /* of a rolling one */
    int64_t               start_ms;
    int64_t               end_ms;
} cycles_period_t;


#endif /* _CYCLES_PERIOD_H_INCLUDED_ */
