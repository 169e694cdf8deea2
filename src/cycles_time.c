
/*
 * Copyright (C) nginx-cycles authors
 */


#include "cycles_time.h"


#define CYCLES_DAY_MS  86400000


static int cycles_time_digits(const unsigned char *p, unsigned n);
static int cycles_time_offset(const unsigned char *p, size_t len, int *min);
static int64_t cycles_time_days(int year, int month, int day);
static unsigned char *cycles_time_number(unsigned char *p, unsigned n,
    unsigned width);


int
cycles_time_parse(const unsigned char *p, size_t len, int64_t *ms)
{
    int       year, month, day, hour, min, sec, offset, fraction;
    size_t    i;
    unsigned  unit;

    static const int  days[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    if (len < sizeof("2026-06-15T12:00:00Z") - 1
        || p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != 't')
        || p[13] != ':' || p[16] != ':')
    {
        return -1;
    }

    year = cycles_time_digits(p, 4);
    month = cycles_time_digits(p + 5, 2);
    day = cycles_time_digits(p + 8, 2);
    hour = cycles_time_digits(p + 11, 2);
    min = cycles_time_digits(p + 14, 2);
    sec = cycles_time_digits(p + 17, 2);

    if (year < 0 || month < 1 || month > 12 || day < 1 || hour < 0
        || hour > 23 || min < 0 || min > 59 || sec < 0 || sec > 60)
    {
        return -1;
    }

    if (day > days[month - 1]
        && !(month == 2 && day == 29 && year % 4 == 0
             && (year % 100 != 0 || year % 400 == 0)))
    {
        return -1;
    }

    i = 19;
    fraction = 0;

    if (p[i] == '.') {

        for (unit = 100, i++; i < len && p[i] >= '0' && p[i] <= '9'; i++) {
            fraction += (p[i] - '0') * unit;
            unit /= 10;
        }

        if (i == 20) {
            return -1;
        }
    }

    if (cycles_time_offset(p + i, len - i, &offset) != 0) {
        return -1;
    }

    *ms = cycles_time_days(year, month, day) * CYCLES_DAY_MS
          + (((int64_t) hour * 60 + min - offset) * 60 + sec) * 1000
          + fraction;

    return (*ms >= 0 && *ms <= CYCLES_MAX_TIME) ? 0 : -1;
}


/* -1: they are not all digits */

static int
cycles_time_digits(const unsigned char *p, unsigned n)
{
    int  value;

    for (value = 0; n; n--, p++) {

        if (*p < '0' || *p > '9') {
            return -1;
        }

        value = value * 10 + *p - '0';
    }

    return value;
}


static int
cycles_time_offset(const unsigned char *p, size_t len, int *min)
{
    int  hours, minutes;

    if (len == 1 && (*p == 'Z' || *p == 'z')) {
        *min = 0;
        return 0;
    }

    if (len != sizeof("+02:00") - 1 || (*p != '+' && *p != '-')
        || p[3] != ':')
    {
        return -1;
    }

    hours = cycles_time_digits(p + 1, 2);
    minutes = cycles_time_digits(p + 4, 2);

    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        return -1;
    }

    *min = hours * 60 + minutes;

    if (*p == '-') {
        *min = -*min;
    }

    return 0;
}


/* since 1970 in the Gregorian calendar; a year that begins with March ends
   with its leap day */

static int64_t
cycles_time_days(int year, int month, int day)
{
    if (month <= 2) {
        year--;
        month += 12;
    }

    return 365 * (int64_t) year + year / 4 - year / 100 + year / 400
           + (153 * (month - 3) + 2) / 5 + day - 1 - 719468;
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
