
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "cycles_time.h"


#define CYCLES_DAY_MS  86400000


static int cycles_time_digits(const unsigned char **p,
    const unsigned char *end, unsigned n, unsigned max, int64_t *value);
static int cycles_time_char(const unsigned char **p,
    const unsigned char *end, const char *any);
static int cycles_time_fraction(const unsigned char **p,
    const unsigned char *end, int64_t *ms, unsigned *rest);
static int cycles_time_offset(const unsigned char **p,
    const unsigned char *end, int64_t *minutes);
static int64_t cycles_time_days(int64_t year, int64_t month, int64_t day);
static unsigned char *cycles_time_number(unsigned char *p, unsigned n,
    unsigned width);


int
cycles_time_parse(const unsigned char *text, size_t len, unsigned up,
    int64_t *ms)
{
    int64_t               year, month, day, hour, minute, second, fraction;
    int64_t               offset;
    unsigned              rest;
    const unsigned char  *p, *end;

    static const unsigned char  days[] = {
        31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    p = text;
    end = text + len;

    if (cycles_time_digits(&p, end, 4, 9999, &year) != 0
        || cycles_time_char(&p, end, "-") == 0
        || cycles_time_digits(&p, end, 2, 12, &month) != 0
        || cycles_time_char(&p, end, "-") == 0
        || cycles_time_digits(&p, end, 2, 31, &day) != 0
        || cycles_time_char(&p, end, "Tt ") == 0
        || cycles_time_digits(&p, end, 2, 23, &hour) != 0
        || cycles_time_char(&p, end, ":") == 0
        || cycles_time_digits(&p, end, 2, 59, &minute) != 0
        || cycles_time_char(&p, end, ":") == 0
        || cycles_time_digits(&p, end, 2, 60, &second) != 0
        || cycles_time_fraction(&p, end, &fraction, &rest) != 0
        || cycles_time_offset(&p, end, &offset) != 0
        || p != end
        || month == 0 || day == 0 || day > days[month - 1]
        || (month == 2 && day == 29
            && (year % 4 || (year % 100 == 0 && year % 400))))
    {
        return -1;
    }

    *ms = cycles_time_days(year, month, day) * CYCLES_DAY_MS
          + ((hour * 60 + minute - offset) * 60 + second) * 1000
          + fraction + (up && rest);

    return 0;
}


static int
cycles_time_digits(const unsigned char **p, const unsigned char *end,
    unsigned n, unsigned max, int64_t *value)
{
    for (*value = 0; n; n--, (*p)++) {

        if (*p == end || **p < '0' || **p > '9') {
            return -1;
        }

        *value = *value * 10 + (**p - '0');
    }

    return (*value <= max) ? 0 : -1;
}


/* the character, 0: it is none of them */

static int
cycles_time_char(const unsigned char **p, const unsigned char *end,
    const char *any)
{
    if (*p == end || **p == '\0' || strchr(any, **p) == NULL) {
        return 0;
    }

    return *(*p)++;
}


static int
cycles_time_fraction(const unsigned char **p, const unsigned char *end,
    int64_t *ms, unsigned *rest)
{
    int64_t               unit;
    const unsigned char  *start;

    *ms = 0;
    *rest = 0;

    if (cycles_time_char(p, end, ".") == 0) {
        return 0;
    }

    start = *p;

    for (unit = 100; *p < end && **p >= '0' && **p <= '9'; unit /= 10) {
        *ms += (**p - '0') * unit;
        *rest |= (unit == 0 && **p != '0');
        (*p)++;
    }

    return (*p > start) ? 0 : -1;
}


static int
cycles_time_offset(const unsigned char **p, const unsigned char *end,
    int64_t *minutes)
{
    int      sign;
    int64_t  hour, minute;

    *minutes = 0;

    sign = cycles_time_char(p, end, "Zz+ -");

    if (sign == 'Z' || sign == 'z') {
        return 0;
    }

    if (sign == 0
        || cycles_time_digits(p, end, 2, 23, &hour) != 0
        || cycles_time_char(p, end, ":") == 0
        || cycles_time_digits(p, end, 2, 59, &minute) != 0)
    {
        return -1;
    }

    *minutes = (hour * 60 + minute) * (sign == '-' ? -1 : 1);

    return 0;
}


/* since 1970; years begin in March, so that leap days come last */

static int64_t
cycles_time_days(int64_t year, int64_t month, int64_t day)
{
    if (month < 3) {
        year--;
        month += 12;
    }

    /* 400 years are added, so that the year 0 is none below zero */

    year += 400;

    return year * 365 + year / 4 - year / 100 + year / 400
           + (153 * (month - 3) + 2) / 5 + day - 1
           - (719468 + 146097);
}


void
cycles_time_print(int64_t ms, unsigned char *p)
{
    int       year, month, day;
    unsigned  rest;
    int64_t   days, left;

    days = ms / CYCLES_DAY_MS;
    rest = ms % CYCLES_DAY_MS;

    year = 1970 + days / 366;

    while (cycles_time_days(year + 1, 1, 1) <= days) {
        year++;
    }

    month = 1;

    while (month < 12 && cycles_time_days(year, month + 1, 1) <= days) {
        month++;
    }

    left = days - cycles_time_days(year, month, 1);
    day = left + 1;

    p = cycles_time_number(p, year, 4);
    *p++ = '-';
    p = cycles_time_number(p, month, 2);
    *p++ = '-';
    p = cycles_time_number(p, day, 2);
    *p++ = 'T';
    p = cycles_time_number(p, rest / 3600000, 2);
    *p++ = ':';
    p = cycles_time_number(p, rest / 60000 % 60, 2);
    *p++ = ':';
    p = cycles_time_number(p, rest / 1000 % 60, 2);
    *p++ = '.';
    p = cycles_time_number(p, rest % 1000, 3);
    *p = 'Z';
}


static unsigned char *
cycles_time_number(unsigned char *p, unsigned n, unsigned width)
{
    unsigned  i;

    for (i = width; i > 0; i--) {
        p[i - 1] = '0' + n % 10;
        n /= 10;
    }

    return p + width;
}
