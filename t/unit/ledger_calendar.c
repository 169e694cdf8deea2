
/*
 * Copyright (C) nginx-cycles authors
 *
 * Periods in local time: days that clocks skip or show twice, as they were in
 * the past; and the reader of time zone files, with files that are made here.
 *
 * With the name of a zone it is a filter for t/ledger/test_calendar.py: lines
 * "EVERY NOW" in, "START END" out, in milliseconds.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdlib.h>
#include <time.h>

#include "ledger/cycles_calendar.h"
#include "tap.h"


#define HOUR  3600


/* a file of one block, with the rule of its footer */

typedef struct {
    const char     *footer;
    unsigned        ntypes;
    int32_t         types[4];
    unsigned        nshifts;
    int64_t         at[4];
    unsigned char   index[4];
    char            version;
    uint32_t        leaps;
} file_t;


static int filter(const char *name);
static cycles_zone_t *load(const char *name, char *err, size_t errlen);
static int64_t utc(const char *text);
static void periods(void);
static void names(void);
static void files(void);
static void rules(void);
static void damage(void);
static size_t build(const file_t *file, unsigned char *out);
static void put(unsigned char **p, uint64_t n, unsigned bytes);


int
main(int argc, char **argv)
{
    if (argc == 2) {
        return filter(argv[1]);
    }

    periods();
    names();
    files();
    rules();
    damage();

    return done_testing();
}


static int
filter(const char *name)
{
    char            err[256];
    int64_t         start, end;
    unsigned        every;
    long long       now;
    cycles_zone_t  *zone;

    zone = load(name, err, sizeof(err));

    if (zone == NULL) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }

    while (scanf("%u %lld", &every, &now) == 2) {
        if (cycles_calendar_bounds(zone, every, now, &start, &end) != 0) {
            printf("none\n");

        } else {
            printf("%lld %lld\n", (long long) start, (long long) end);
        }
    }

    cycles_zone_free(zone);

    return 0;
}


static cycles_zone_t *
load(const char *name, char *err, size_t errlen)
{
    cycles_str_t  str;

    str.len = strlen(name);
    str.data = (unsigned char *) name;

    return cycles_zone_load(str, err, errlen);
}


static int64_t
utc(const char *text)
{
    struct tm  tm;

    memset(&tm, 0, sizeof(tm));

    if (strptime(text, "%Y-%m-%d %H:%M:%S", &tm) == NULL) {
        abort();
    }

    return (int64_t) timegm(&tm) * 1000;
}


/* the past, which no later release of the database changes; all in UTC */

static void
periods(void)
{
    static const struct {
        const char      *zone;
        cycles_every_t   every;
        const char      *now;
        const char      *start;
        const char      *end;
    } cases[] = {

        { "UTC", CYCLES_EVERY_DAY, "1970-01-01 00:00:00",
          "1970-01-01 00:00:00", "1970-01-02 00:00:00" },
        { "UTC", CYCLES_EVERY_WEEK, "1970-01-01 00:00:00",
          "1969-12-29 00:00:00", "1970-01-05 00:00:00" },
        { "UTC", CYCLES_EVERY_WEEK, "2024-03-03 23:59:59",
          "2024-02-26 00:00:00", "2024-03-04 00:00:00" },
        { "UTC", CYCLES_EVERY_MONTH, "2024-02-29 12:00:00",
          "2024-02-01 00:00:00", "2024-03-01 00:00:00" },
        { "UTC", CYCLES_EVERY_MONTH, "2100-02-28 12:00:00",
          "2100-02-01 00:00:00", "2100-03-01 00:00:00" },
        { "UTC", CYCLES_EVERY_QUARTER, "2023-12-31 23:59:59",
          "2023-10-01 00:00:00", "2024-01-01 00:00:00" },
        { "UTC", CYCLES_EVERY_YEAR, "2024-12-31 23:59:59",
          "2024-01-01 00:00:00", "2025-01-01 00:00:00" },
        { "UTC", CYCLES_EVERY_YEAR, "9998-12-31 23:59:59",
          "9998-01-01 00:00:00", "9999-01-01 00:00:00" },

        /* a day of 23 hours, one of 25, a month with one of them */

        { "Europe/Berlin", CYCLES_EVERY_DAY, "2024-03-31 12:00:00",
          "2024-03-30 23:00:00", "2024-03-31 22:00:00" },
        { "Europe/Berlin", CYCLES_EVERY_DAY, "2024-10-27 12:00:00",
          "2024-10-26 22:00:00", "2024-10-27 23:00:00" },
        { "Europe/Berlin", CYCLES_EVERY_MONTH, "2024-03-31 21:59:59",
          "2024-02-29 23:00:00", "2024-03-31 22:00:00" },
        { "Europe/Berlin", CYCLES_EVERY_MONTH, "2024-03-31 22:00:00",
          "2024-03-31 22:00:00", "2024-04-30 22:00:00" },
        { "America/New_York", CYCLES_EVERY_WEEK, "2023-11-05 20:00:00",
          "2023-10-30 04:00:00", "2023-11-06 05:00:00" },
        { "Australia/Lord_Howe", CYCLES_EVERY_DAY, "2023-04-01 20:00:00",
          "2023-04-01 13:00:00", "2023-04-02 13:30:00" },
        { "Asia/Kathmandu", CYCLES_EVERY_DAY, "1985-12-31 18:29:59",
          "1985-12-30 18:30:00", "1985-12-31 18:30:00" },

        /* 00:15 is what comes after 23:59:59 */

        { "Asia/Kathmandu", CYCLES_EVERY_YEAR, "1986-06-01 00:00:00",
          "1985-12-31 18:30:00", "1986-12-31 18:15:00" },

        /* midnight is skipped; it comes an hour after 23:59:59; the day has
           begun for a minute, then it is the day before once more */

        { "America/Sao_Paulo", CYCLES_EVERY_DAY, "2018-11-04 12:00:00",
          "2018-11-04 03:00:00", "2018-11-05 02:00:00" },
        { "America/Sao_Paulo", CYCLES_EVERY_DAY, "2018-02-18 02:30:00",
          "2018-02-17 02:00:00", "2018-02-18 03:00:00" },
        { "America/St_Johns", CYCLES_EVERY_DAY, "2006-10-29 02:30:00",
          "2006-10-29 02:30:00", "2006-10-30 03:30:00" },
        { "America/St_Johns", CYCLES_EVERY_DAY, "2006-10-29 02:31:00",
          "2006-10-29 02:30:00", "2006-10-30 03:30:00" },
        { "America/St_Johns", CYCLES_EVERY_DAY, "2006-10-29 02:29:59",
          "2006-10-28 02:30:00", "2006-10-29 02:30:00" },

        /* 2011-12-30 was left out */

        { "Pacific/Apia", CYCLES_EVERY_DAY, "2011-12-30 09:59:59",
          "2011-12-29 10:00:00", "2011-12-30 10:00:00" },
        { "Pacific/Apia", CYCLES_EVERY_DAY, "2011-12-30 10:00:00",
          "2011-12-30 10:00:00", "2011-12-31 10:00:00" },
        { "Pacific/Apia", CYCLES_EVERY_MONTH, "2011-12-30 10:00:00",
          "2011-12-01 10:00:00", "2011-12-31 10:00:00" },

        /* DST that stops for the month of Ramadan */

        { "Africa/Casablanca", CYCLES_EVERY_MONTH, "2017-05-31 12:00:00",
          "2017-04-30 23:00:00", "2017-06-01 00:00:00" },
    };

    char            err[256];
    size_t          i;
    int64_t         start, end;
    cycles_zone_t  *zone;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        zone = load(cases[i].zone, err, sizeof(err));

        if (!ok(zone != NULL, "%s is read", cases[i].zone)) {
            printf("# %s\n", err);
            continue;
        }

        start = end = -1;
        is_int(cycles_calendar_bounds(zone, cases[i].every,
                                      utc(cases[i].now) + 999, &start, &end),
               0, "there is a period");

        is_int(start, utc(cases[i].start), "%s %s of %s starts",
               cases[i].zone, cycles_every_name(cases[i].every),
               cases[i].now);
        is_int(end, utc(cases[i].end), "%s %s of %s ends", cases[i].zone,
               cycles_every_name(cases[i].every), cases[i].now);

        is_int(cycles_calendar_bounds(zone, cases[i].every, -1, &start, &end),
               -1, "nothing is before 1970");
        is_int(cycles_calendar_bounds(zone, cases[i].every,
                                      utc("9999-12-31 23:59:59") + 1000,
                                      &start, &end),
               -1, "nothing is after 9999");

        cycles_zone_free(zone);
    }

    is_int(cycles_every_find((unsigned char *) "quarter", 7),
           CYCLES_EVERY_QUARTER, "a quarter");
    is_int(cycles_every_find((unsigned char *) "days", 4), -1, "no days");
}


static void
names(void)
{
    static const struct {
        const char  *name;
        const char  *err;          /* NULL: there is such a zone */
    } cases[] = {
        { "", NULL },
        { "UTC", NULL },
        { "Etc/UTC", NULL },
        { "Etc/GMT+5", NULL },
        { "America/Argentina/Buenos_Aires", NULL },
        { "../zoneinfo/Europe/Berlin", "is a name of the IANA database" },
        { "Europe/../Europe/Berlin", "is a name of the IANA database" },
        { "/usr/share/zoneinfo/Europe/Berlin", "is a name of the IANA" },
        { "Europe//Berlin", "is a name of the IANA database" },
        { "Europe/", "is a name of the IANA database" },
        { "Europe Berlin", "is a name of the IANA database" },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          "is a name of the IANA database" },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          "there is no such file in " CYCLES_ZONE_DIR },
        { "Europe/Atlantis", "\"Europe/Atlantis\": there is no such file" },
        { "Europe/Berlin/Mitte", "there is no such file" },
        { "Europe", "it is no file" },
        { "tzdata", "" },
    };

    char            err[256];
    size_t          i;
    cycles_zone_t  *zone;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        err[0] = '\0';
        zone = load(cases[i].name, err, sizeof(err));

        if (cases[i].err == NULL) {
            ok(zone != NULL, "\"%s\" is a zone", cases[i].name);

        } else {
            ok(zone == NULL && strstr(err, cases[i].err) != NULL,
               "\"%s\" is none: %s", cases[i].name, err);
        }

        cycles_zone_free(zone);
    }
}


/* what the files say about one day */

static void
files(void)
{
    static const struct {
        file_t       file;
        const char  *now;
        const char  *start;
        const char  *end;
    } cases[] = {

        /* no rule: the last shift holds for ever */

        { { "", 2, { 0, HOUR }, 1, { 0 }, { 1 }, '2', 0 },
          "2100-06-01 12:00:00",
          "2100-05-31 23:00:00", "2100-06-01 23:00:00" },

        /* the first type is what was before the first shift */

        { { "", 2, { -HOUR, HOUR }, 1, { 4102444800 }, { 1 }, '2', 0 },
          "2020-06-01 12:00:00",
          "2020-06-01 01:00:00", "2020-06-02 01:00:00" },

        /* a rule without DST, and version 3 */

        { { "<+03>-3", 1, { 0 }, 0, { 0 }, { 0 }, '3', 0 },
          "2020-06-01 12:00:00",
          "2020-05-31 21:00:00", "2020-06-01 21:00:00" },

        /* 24 hours are skipped, then they come twice */

        { { "", 2, { -12 * HOUR, 12 * HOUR }, 1, { 1590969600 }, { 1 }, '2',
            0 },
          "2020-05-31 23:59:59",
          "2020-05-31 12:00:00", "2020-06-01 00:00:00" },
        { { "", 2, { 12 * HOUR, -12 * HOUR }, 1, { 1590969600 }, { 1 }, '2',
            0 },
          "2020-06-01 11:00:00",
          "2020-05-31 12:00:00", "2020-06-02 12:00:00" },
    };

    char            err[256];
    size_t          i, len;
    int64_t         start, end;
    unsigned char   data[1024];
    cycles_zone_t  *zone;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        len = build(&cases[i].file, data);
        zone = cycles_zone_parse(data, len, err, sizeof(err));

        if (!ok(zone != NULL, "file %zu is read", i)) {
            printf("# %s\n", err);
            continue;
        }

        start = end = -1;
        (void) cycles_calendar_bounds(zone, CYCLES_EVERY_DAY,
                                      utc(cases[i].now), &start, &end);

        is_int(start, utc(cases[i].start), "file %zu: start", i);
        is_int(end, utc(cases[i].end), "file %zu: end", i);

        cycles_zone_free(zone);
    }
}


/* one day around a rule's shift: how many hours has it? */

static void
rules(void)
{
    static const struct {
        const char  *rule;
        const char  *now;
        int          minutes;      /* -1: this is no rule */
    } cases[] = {
        { "CET-1CEST,M3.5.0,M10.5.0/3", "2050-03-27 12:00:00", 23 * 60 },
        { "CET-1CEST,M3.5.0,M10.5.0/3", "2050-10-30 12:00:00", 25 * 60 },
        { "CET-1CEST,M3.5.0,M10.5.0/3", "2050-10-29 12:00:00", 24 * 60 },
        { "EST5EDT,M3.2.0,M11.1.0", "2050-03-13 12:00:00", 23 * 60 },
        { "EST5EDT,M3.2.0,M11.1.0", "2050-11-06 12:00:00", 25 * 60 },
        { "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2050-04-03 01:00:00",
          24 * 60 + 30 },
        { "AAA-1BBB,J60,J300", "2048-03-01 12:00:00", 23 * 60 },
        { "AAA-1BBB,J60,J300", "2050-03-01 12:00:00", 23 * 60 },
        { "AAA-1BBB,59,299", "2048-02-29 12:00:00", 23 * 60 },
        { "AAA-1BBB,59,299", "2050-03-01 12:00:00", 23 * 60 },
        { "AAA-1BBB-3,J60,J300", "2050-03-01 12:00:00", 22 * 60 },
        { "IST-1GMT0,M10.5.0,M3.5.0/1", "2050-03-27 12:00:00", 23 * 60 },
        { "AAA3BBB,M3.5.0/-2,M10.5.0/-1", "2050-03-26 12:00:00", 23 * 60 },
        { "AAA3BBB,M3.5.0/26,M10.5.0", "2050-03-28 12:00:00", 23 * 60 },

        /* DST of all year */

        { "EST5EDT,0/0,J365/25", "2050-12-31 12:00:00", 24 * 60 },
        { "EST5EDT,0/0,J365/25", "2051-01-01 12:00:00", 24 * 60 },

        { "-1", "2050-01-01 00:00:00", -1 },
        { "CET", "2050-01-01 00:00:00", -1 },
        { "<CET-1", "2050-01-01 00:00:00", -1 },
        { "CET-25", "2050-01-01 00:00:00", -1 },
        { "CET-1:60", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.0", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M13.5.0,M10.5.0", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.6.0,M10.5.0", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.7,M10.5.0", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.0,J0", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.0,366", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.0/168,300", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.0,M10.5.0/3x", "2050-01-01 00:00:00", -1 },
        { "CET-1CEST,M3.5.0,M10.5.0/3\n", "2050-10-30 12:00:00", 25 * 60 },
    };

    char            err[256];
    size_t          i, len;
    file_t          file;
    int64_t         start, end;
    unsigned char   data[1024];
    cycles_zone_t  *zone;

    memset(&file, 0, sizeof(file));
    file.ntypes = 1;
    file.version = '2';

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file.footer = cases[i].rule;
        len = build(&file, data);
        zone = cycles_zone_parse(data, len, err, sizeof(err));

        if (zone == NULL) {
            is_int(-1, cases[i].minutes, "\"%s\": %s", cases[i].rule, err);
            continue;
        }

        start = end = 0;
        (void) cycles_calendar_bounds(zone, CYCLES_EVERY_DAY,
                                      utc(cases[i].now), &start, &end);

        is_int((end - start) / 60000, cases[i].minutes, "\"%s\" on %s",
               cases[i].rule, cases[i].now);

        cycles_zone_free(zone);
    }
}


/* a file that is cut anywhere is none; with any byte changed, no crash */

static void
damage(void)
{
    static const file_t  good = {
        "CET-1CEST,M3.5.0,M10.5.0/3", 2, { 0, HOUR }, 2, { 0, 86400 },
        { 1, 0 }, '2', 0
    };

    char            err[256];
    file_t          file;
    size_t          i, len, read;
    int64_t         start, end;
    unsigned        value;
    unsigned char   data[1024], *copy;
    cycles_zone_t  *zone;

    len = build(&good, data);
    zone = cycles_zone_parse(data, len, err, sizeof(err));
    ok(zone != NULL, "the whole file is read");
    cycles_zone_free(zone);

    for (i = 0, read = 0; i < len; i++) {

        /* in memory of its own, for the sanitizer */

        copy = malloc(i ? i : 1);
        memcpy(copy, data, i);
        zone = cycles_zone_parse(copy, i, err, sizeof(err));
        read += zone != NULL;
        cycles_zone_free(zone);
        free(copy);
    }

    is_int(read, 0, "no part of a file is read");

    for (i = 0, read = 0; i < len; i++) {
        for (value = 0; value < 256; value += 15) {
            build(&good, data);
            data[i] = value;
            zone = cycles_zone_parse(data, len, err, sizeof(err));

            if (zone == NULL) {
                continue;
            }

            if (cycles_calendar_bounds(zone, CYCLES_EVERY_DAY, 100000000,
                                       &start, &end) != 0
                || start > 100000000 || end <= 100000000)
            {
                read++;
            }

            cycles_zone_free(zone);
        }
    }

    is_int(read, 0, "a changed file is refused, or a zone");

    file = good;
    file.version = 0;
    len = build(&file, data);
    ok(cycles_zone_parse(data, len, err, sizeof(err)) == NULL
       && strstr(err, "version 2"), "version 1: %s", err);

    file = good;
    file.leaps = 1;
    len = build(&file, data);
    ok(cycles_zone_parse(data, len, err, sizeof(err)) == NULL
       && strstr(err, "leap seconds"), "leap seconds: %s", err);

    file = good;
    file.at[1] = 0;
    len = build(&file, data);
    ok(cycles_zone_parse(data, len, err, sizeof(err)) == NULL,
       "shifts in no order: %s", err);

    file = good;
    file.index[1] = 2;
    len = build(&file, data);
    ok(cycles_zone_parse(data, len, err, sizeof(err)) == NULL,
       "a type that is not there: %s", err);

    file = good;
    file.types[1] = 26 * HOUR;
    len = build(&file, data);
    ok(cycles_zone_parse(data, len, err, sizeof(err)) == NULL,
       "26 hours from UTC: %s", err);

    file = good;
    file.ntypes = 0;
    len = build(&file, data);
    ok(cycles_zone_parse(data, len, err, sizeof(err)) == NULL,
       "no types: %s", err);
}


/* a first block with nothing in it, and the second one */

static size_t
build(const file_t *file, unsigned char *out)
{
    unsigned        i, block;
    unsigned char  *p;

    p = out;

    for (block = 0; block < 2; block++) {
        memcpy(p, "TZif", 4);
        p[4] = file->version;
        memset(p + 5, 0, 15);
        p += 20;

        put(&p, 0, 4);
        put(&p, 0, 4);
        put(&p, block ? file->leaps : 0, 4);
        put(&p, block ? file->nshifts : 0, 4);
        put(&p, block ? file->ntypes : 1, 4);
        put(&p, 4, 4);

        for (i = 0; block && i < file->nshifts; i++) {
            put(&p, file->at[i], 8);
        }

        for (i = 0; block && i < file->nshifts; i++) {
            put(&p, file->index[i], 1);
        }

        for (i = 0; i < (block ? file->ntypes : 1); i++) {
            put(&p, (uint32_t) file->types[i], 4);
            put(&p, 0, 2);
        }

        memcpy(p, "LMT", 4);
        p += 4;

        memset(p, 0, 12);
        p += block ? file->leaps * 12 : 0;
    }

    return p - out + sprintf((char *) p, "\n%s\n", file->footer);
}


static void
put(unsigned char **p, uint64_t n, unsigned bytes)
{
    while (bytes--) {
        *(*p)++ = n >> bytes * 8;
    }
}
