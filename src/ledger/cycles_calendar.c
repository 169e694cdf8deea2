
/*
 * Copyright (C) nginx-cycles authors
 */


#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cycles_calendar.h"


#define CYCLES_ZONE_NAME       64
#define CYCLES_ZONE_FILE       65536

#define CYCLES_ZONE_HEAD       44
#define CYCLES_ZONE_TYPE       6

/* how far a local time may be from UTC: RFC 8536 has less on both sides */
#define CYCLES_ZONE_OFFSET     (26 * 3600)

#define CYCLES_DAY             86400

/* the last millisecond of the year 9999 */
#define CYCLES_CALENDAR_LAST   INT64_C(253402300799999)


/* the day of a rule: "Mm.w.d", "Jn" or "n" of a POSIX TZ string */

typedef enum {
    CYCLES_RULE_WEEKDAY = 0,
    CYCLES_RULE_NO_LEAP_DAY,
    CYCLES_RULE_DAY
} cycles_rule_kind_t;

typedef struct {
    cycles_rule_kind_t    kind;
    int                   month;
    int                   week;
    int                   day;
    int                   time;          /* seconds of local time */
} cycles_rule_t;


typedef struct {
    int64_t               at;            /* seconds since the epoch */
    int64_t               offset;        /* from then on, east of UTC */
} cycles_shift_t;


struct cycles_zone_s {
    int64_t               first;         /* the offset before all shifts */

    /* what comes after the last shift, if there is a rule */

    unsigned              has_rule:1;
    unsigned              has_dst:1;
    int                   standard;
    int                   dst;
    cycles_rule_t         rules[2];      /* where DST starts, and ends */

    size_t                nshifts;
    cycles_shift_t        shifts[];
};


/* the counts in the head of a block */

typedef struct {
    size_t                isut;
    size_t                isstd;
    size_t                leaps;
    size_t                times;
    size_t                types;
    size_t                chars;
} cycles_zone_head_t;


static const char *cycles_zone_read(const char *path, unsigned char *data,
    size_t *len);
static int cycles_zone_head(cycles_zone_head_t *head,
    const unsigned char *data, size_t len);
static size_t cycles_zone_block(const cycles_zone_head_t *head, size_t time);
static cycles_zone_t *cycles_zone_shifts(const cycles_zone_head_t *head,
    const unsigned char *p, char *err, size_t errlen);
static int cycles_zone_footer(cycles_zone_t *zone, const char *p);
static const char *cycles_zone_skip_name(const char *p);
static const char *cycles_zone_offset_parse(const char *p, int hours,
    int *seconds);
static const char *cycles_zone_rule_parse(const char *p, cycles_rule_t *rule);
static const char *cycles_zone_number(const char *p, int min, int max,
    int *n);
static uint32_t cycles_zone_get32(const unsigned char *p);
static int64_t cycles_zone_get64(const unsigned char *p);
static int64_t cycles_zone_offset(const cycles_zone_t *zone, int64_t t,
    int64_t *until);
static int64_t cycles_zone_rule_offset(const cycles_zone_t *zone, int64_t t,
    int64_t *until);
static int64_t cycles_zone_rule_day(const cycles_rule_t *rule, int64_t year);
static int64_t cycles_zone_date_begins(const cycles_zone_t *zone,
    int64_t day);
static int64_t cycles_calendar_begin(cycles_every_t every, int64_t day);
static int64_t cycles_calendar_next(cycles_every_t every, int64_t day);
static int64_t cycles_calendar_div(int64_t n, int64_t by);
static int64_t cycles_calendar_day(int64_t year, int month, int mday);
static void cycles_calendar_date(int64_t day, int64_t *year, int *month);


static const char *const  cycles_everies[] = {
    "day",
    "week",
    "month",
    "quarter",
    "year"
};


const char *
cycles_every_name(cycles_every_t every)
{
    return cycles_everies[every];
}


int
cycles_every_find(const unsigned char *name, size_t len)
{
    int  i;

    for (i = 0; i < CYCLES_EVERIES; i++) {
        if (strlen(cycles_everies[i]) == len
            && memcmp(cycles_everies[i], name, len) == 0)
        {
            return i;
        }
    }

    return -1;
}


cycles_zone_t *
cycles_zone_load(cycles_str_t name, char *err, size_t errlen)
{
    char            path[sizeof(CYCLES_ZONE_DIR) + 1 + CYCLES_ZONE_NAME];
    char            why[128];
    size_t          i, len;
    const char     *text, *reason;
    cycles_zone_t  *zone;
    unsigned char  *data;

    text = (const char *) name.data;

    if (name.len == 0
        || (name.len == 3 && memcmp(text, "UTC", 3) == 0)
        || (name.len == 7 && memcmp(text, "Etc/UTC", 7) == 0))
    {
        zone = cycles_zone_utc();

        if (zone == NULL) {
            snprintf(err, errlen, "out of memory");
        }

        return zone;
    }

    /* without a dot there is no way out of the directory */

    for (i = 0; i < name.len; i++) {
        if (!((text[i] >= 'a' && text[i] <= 'z')
              || (text[i] >= 'A' && text[i] <= 'Z')
              || (text[i] >= '0' && text[i] <= '9')
              || text[i] == '_' || text[i] == '+' || text[i] == '-'
              || (text[i] == '/' && i && text[i - 1] != '/')))
        {
            break;
        }
    }

    if (i != name.len || i > CYCLES_ZONE_NAME || text[i - 1] == '/') {
        snprintf(err, errlen, "a time zone is a name of the IANA database, "
                 "for example \"Europe/Berlin\"");
        return NULL;
    }

    snprintf(path, sizeof(path), "%s/%.*s", CYCLES_ZONE_DIR, (int) name.len,
             text);

    data = malloc(CYCLES_ZONE_FILE);

    if (data == NULL) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }

    zone = NULL;
    reason = cycles_zone_read(path, data, &len);

    if (reason == NULL) {
        zone = cycles_zone_parse(data, len, why, sizeof(why));
        reason = why;
    }

    free(data);

    if (zone == NULL) {
        snprintf(err, errlen, "time zone \"%.*s\": %s", (int) name.len, text,
                 reason);
    }

    return zone;
}


cycles_zone_t *
cycles_zone_utc(void)
{
    return calloc(1, sizeof(cycles_zone_t));
}


/* NULL, or what is wrong with the file */

static const char *
cycles_zone_read(const char *path, unsigned char *data, size_t *len)
{
    int          fd;
    ssize_t      n;
    const char  *why;
    struct stat  st;

    fd = open(path, O_RDONLY|O_CLOEXEC|O_NONBLOCK);

    if (fd == -1) {
        if (errno != ENOENT && errno != ENOTDIR) {
            return "its file in " CYCLES_ZONE_DIR " cannot be read";
        }

        return access(CYCLES_ZONE_DIR, F_OK) == 0
               ? "there is no such file in " CYCLES_ZONE_DIR
               : "there is no " CYCLES_ZONE_DIR ", install the package tzdata";
    }

    why = NULL;
    *len = 0;

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        why = "it is no file in " CYCLES_ZONE_DIR;

    } else if (st.st_size > CYCLES_ZONE_FILE) {
        why = "its file in " CYCLES_ZONE_DIR " is too large";
    }

    while (why == NULL && *len < CYCLES_ZONE_FILE) {
        n = read(fd, data + *len, CYCLES_ZONE_FILE - *len);

        if (n == 0) {
            break;
        }

        if (n > 0) {
            *len += n;

        } else if (errno != EINTR) {
            why = "its file in " CYCLES_ZONE_DIR " cannot be read";
        }
    }

    close(fd);

    return why;
}


cycles_zone_t *
cycles_zone_parse(const unsigned char *data, size_t len, char *err,
    size_t errlen)
{
    char                  footer[128];
    size_t                block, n;
    cycles_zone_t        *zone;
    cycles_zone_head_t    head;
    const unsigned char  *p, *end;

    p = data;
    end = data + len;

    /* the first block has 32-bit times, of which nothing is needed */

    if (cycles_zone_head(&head, p, len) != 0) {
        snprintf(err, errlen, "this is no time zone file of version 2");
        return NULL;
    }

    block = cycles_zone_block(&head, 4);

    if (block > (size_t) (end - p)
        || cycles_zone_head(&head, p + block, end - p - block) != 0)
    {
        snprintf(err, errlen, "the file is damaged");
        return NULL;
    }

    p += block;
    block = cycles_zone_block(&head, 8);

    if (block > (size_t) (end - p) || head.types == 0) {
        snprintf(err, errlen, "the file is damaged");
        return NULL;
    }

    if (head.leaps) {
        snprintf(err, errlen, "zones that count leap seconds have no use "
                 "here");
        return NULL;
    }

    zone = cycles_zone_shifts(&head, p + CYCLES_ZONE_HEAD, err, errlen);

    if (zone == NULL) {
        return NULL;
    }

    /* a line feed, the TZ string, and another line feed */

    p += block;
    n = end - p;

    if (n < 2 || p[0] != '\n' || memchr(p + 1, '\n', n - 1) == NULL) {
        goto damaged;
    }

    p++;
    n = (const unsigned char *) memchr(p, '\n', end - p) - p;

    if (n >= sizeof(footer)) {
        goto damaged;
    }

    memcpy(footer, p, n);
    footer[n] = '\0';

    if (cycles_zone_footer(zone, footer) == 0) {
        return zone;
    }

damaged:

    snprintf(err, errlen, "the end of the file is damaged");
    cycles_zone_free(zone);

    return NULL;
}


void
cycles_zone_free(cycles_zone_t *zone)
{
    free(zone);
}


static int
cycles_zone_head(cycles_zone_head_t *head, const unsigned char *data,
    size_t len)
{
    if (len < CYCLES_ZONE_HEAD || len > CYCLES_ZONE_FILE
        || memcmp(data, "TZif", 4) != 0 || data[4] < '2')
    {
        return -1;
    }

    head->isut = cycles_zone_get32(data + 20);
    head->isstd = cycles_zone_get32(data + 24);
    head->leaps = cycles_zone_get32(data + 28);
    head->times = cycles_zone_get32(data + 32);
    head->types = cycles_zone_get32(data + 36);
    head->chars = cycles_zone_get32(data + 40);

    /* then no sum or product can overflow */

    return head->isut > len || head->isstd > len || head->leaps > len
           || head->times > len || head->types > len || head->chars > len
           ? -1 : 0;
}


/* how long a block is, with its head, if a time takes so many bytes */

static size_t
cycles_zone_block(const cycles_zone_head_t *head, size_t time)
{
    return CYCLES_ZONE_HEAD + head->times * (time + 1)
           + head->types * CYCLES_ZONE_TYPE + head->chars
           + head->leaps * (time + 4) + head->isstd + head->isut;
}


/* p is behind the head of the block, which has the length that it should */

static cycles_zone_t *
cycles_zone_shifts(const cycles_zone_head_t *head, const unsigned char *p,
    char *err, size_t errlen)
{
    size_t                i;
    cycles_zone_t        *zone;
    cycles_shift_t       *shift;
    const unsigned char  *indexes, *types;

    zone = calloc(1, sizeof(cycles_zone_t)
                     + head->times * sizeof(cycles_shift_t));

    if (zone == NULL) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }

    indexes = p + head->times * 8;
    types = indexes + head->times;

    for (i = 0; i < head->types; i++) {
        if (llabs((int32_t) cycles_zone_get32(types + i * CYCLES_ZONE_TYPE))
            >= CYCLES_ZONE_OFFSET)
        {
            goto damaged;
        }
    }

    zone->first = (int32_t) cycles_zone_get32(types);
    zone->nshifts = head->times;

    for (i = 0; i < head->times; i++) {
        shift = &zone->shifts[i];

        if (indexes[i] >= head->types) {
            goto damaged;
        }

        shift->at = cycles_zone_get64(p + i * 8);
        shift->offset = (int32_t) cycles_zone_get32(types + indexes[i]
                                                            * CYCLES_ZONE_TYPE);

        if (i && shift->at <= shift[-1].at) {
            goto damaged;
        }
    }

    return zone;

damaged:

    snprintf(err, errlen, "the file is damaged");
    cycles_zone_free(zone);

    return NULL;
}


/* for example "CET-1CEST,M3.5.0,M10.5.0/3", or empty */

static int
cycles_zone_footer(cycles_zone_t *zone, const char *p)
{
    int  i, west;

    if (*p == '\0') {
        return 0;
    }

    west = 0;
    p = cycles_zone_skip_name(p);

    if (p != NULL) {
        p = cycles_zone_offset_parse(p, 24, &west);
    }

    if (p == NULL) {
        return -1;
    }

    zone->has_rule = 1;
    zone->standard = -west;

    if (*p == '\0') {
        return 0;
    }

    zone->has_dst = 1;
    zone->dst = zone->standard + 3600;

    p = cycles_zone_skip_name(p);

    if (p != NULL && *p != ',') {
        p = cycles_zone_offset_parse(p, 24, &west);
        zone->dst = -west;
    }

    for (i = 0; i < 2; i++) {
        if (p == NULL || *p != ',') {
            return -1;
        }

        p = cycles_zone_rule_parse(p + 1, &zone->rules[i]);
    }

    return p == NULL || *p != '\0' ? -1 : 0;
}


/* letters, or anything in angle brackets; NULL: it is neither */

static const char *
cycles_zone_skip_name(const char *p)
{
    const char  *start;

    if (*p == '<') {
        p = strchr(p, '>');
        return p == NULL ? NULL : p + 1;
    }

    start = p;

    while ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')) {
        p++;
    }

    return p == start ? NULL : p;
}


/* [+|-]hh[:mm[:ss]] */

static const char *
cycles_zone_offset_parse(const char *p, int hours, int *seconds)
{
    int  n, sign, unit;

    sign = *p == '-' ? -1 : 1;

    if (*p == '-' || *p == '+') {
        p++;
    }

    p = cycles_zone_number(p, 0, hours, &n);
    *seconds = n * 3600;

    for (unit = 60; p != NULL && *p == ':' && unit; unit /= 60) {
        p = cycles_zone_number(p + 1, 0, 59, &n);
        *seconds += n * unit;
    }

    *seconds *= sign;

    return p;
}


static const char *
cycles_zone_rule_parse(const char *p, cycles_rule_t *rule)
{
    if (*p == 'M') {
        rule->kind = CYCLES_RULE_WEEKDAY;
        p = cycles_zone_number(p + 1, 1, 12, &rule->month);

        if (p == NULL || *p != '.') {
            return NULL;
        }

        p = cycles_zone_number(p + 1, 1, 5, &rule->week);

        if (p == NULL || *p != '.') {
            return NULL;
        }

        p = cycles_zone_number(p + 1, 0, 6, &rule->day);

    } else if (*p == 'J') {
        rule->kind = CYCLES_RULE_NO_LEAP_DAY;
        p = cycles_zone_number(p + 1, 1, 365, &rule->day);

    } else {
        rule->kind = CYCLES_RULE_DAY;
        p = cycles_zone_number(p, 0, 365, &rule->day);
    }

    rule->time = 2 * 3600;

    if (p != NULL && *p == '/') {
        p = cycles_zone_offset_parse(p + 1, 167, &rule->time);
    }

    return p;
}


static const char *
cycles_zone_number(const char *p, int min, int max, int *n)
{
    *n = 0;

    if (*p < '0' || *p > '9') {
        return NULL;
    }

    while (*p >= '0' && *p <= '9') {
        *n = *n * 10 + (*p++ - '0');

        if (*n > max) {
            return NULL;
        }
    }

    return *n < min ? NULL : p;
}


static uint32_t
cycles_zone_get32(const unsigned char *p)
{
    return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
           | (uint32_t) p[2] << 8 | p[3];
}


static int64_t
cycles_zone_get64(const unsigned char *p)
{
    return (int64_t) ((uint64_t) cycles_zone_get32(p) << 32
                      | cycles_zone_get32(p + 4));
}


/* the offset at t, which holds until *until: not included */

static int64_t
cycles_zone_offset(const cycles_zone_t *zone, int64_t t, int64_t *until)
{
    size_t  low, high, middle;

    /* low becomes the number of shifts up to t */

    low = 0;
    high = zone->nshifts;

    while (low < high) {
        middle = low + (high - low) / 2;

        if (zone->shifts[middle].at <= t) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    if (low == zone->nshifts && zone->has_rule) {
        return cycles_zone_rule_offset(zone, t, until);
    }

    *until = low == zone->nshifts ? INT64_MAX : zone->shifts[low].at;

    return low == 0 ? zone->first : zone->shifts[low - 1].offset;
}


static int64_t
cycles_zone_rule_offset(const cycles_zone_t *zone, int64_t t, int64_t *until)
{
    int             i, k, month;
    int64_t         year, offset;
    cycles_shift_t  shifts[6], swap, *pair;

    *until = INT64_MAX;

    if (!zone->has_dst) {
        return zone->standard;
    }

    /* a rule may point some days out of its year */

    cycles_calendar_date(cycles_calendar_div(t, CYCLES_DAY), &year, &month);

    for (i = 0; i < 3; i++) {
        pair = &shifts[i * 2];

        for (k = 0; k < 2; k++) {
            pair[k].at = cycles_zone_rule_day(&zone->rules[k], year + i - 1)
                         * CYCLES_DAY
                         + zone->rules[k].time
                         - (k ? zone->dst : zone->standard);
            pair[k].offset = k ? zone->standard : zone->dst;
        }

        if (pair[0].at > pair[1].at) {
            swap = pair[0];
            pair[0] = pair[1];
            pair[1] = swap;
        }
    }

    /*
     * DST all year is written so that it ends when that of the next year
     * starts: the later one of the two counts.
     */

    offset = zone->standard;

    for (i = 0; i < 6; i++) {
        if (shifts[i].at <= t) {
            offset = shifts[i].offset;

        } else if (shifts[i].at < *until) {
            *until = shifts[i].at;
        }
    }

    return offset;
}


static int64_t
cycles_zone_rule_day(const cycles_rule_t *rule, int64_t year)
{
    int      leap;
    int64_t  first, last, day;

    first = cycles_calendar_day(year, 1, 1);

    switch (rule->kind) {

    case CYCLES_RULE_DAY:
        return first + rule->day;

    case CYCLES_RULE_NO_LEAP_DAY:
        leap = cycles_calendar_day(year, 3, 1) - first == 60;
        return first + rule->day - 1 + (leap && rule->day >= 60);

    default: /* CYCLES_RULE_WEEKDAY */
        break;
    }

    /* 1970-01-01 was a Thursday, which is day 4 */

    first = cycles_calendar_day(year, rule->month, 1);
    last = cycles_calendar_day(year, rule->month + 1, 1) - 1;

    day = first + (rule->day - (first + 4) % 7 + 7) % 7
          + (rule->week - 1) * 7;

    return day > last ? day - 7 : day;
}


/*
 * The first second whose local date is this day, or a later one if the zone
 * leaves out the day.
 */

static int64_t
cycles_zone_date_begins(const cycles_zone_t *zone, int64_t day)
{
    int64_t  midnight, t, until, offset;

    midnight = day * CYCLES_DAY;

    /* no offset makes this later than midnight */

    for (t = midnight - CYCLES_ZONE_OFFSET; /* void */ ; t = until) {
        offset = cycles_zone_offset(zone, t, &until);

        if (t < midnight - offset) {
            t = midnight - offset;
        }

        if (t < until) {
            return t;
        }
    }
}


int
cycles_calendar_bounds(const cycles_zone_t *zone, cycles_every_t every,
    int64_t now_ms, int64_t *start_ms, int64_t *end_ms)
{
    int64_t  now, day, until, start, end;

    if (now_ms < 0 || now_ms > CYCLES_CALENDAR_LAST) {
        return -1;
    }

    now = now_ms / 1000;

    day = cycles_calendar_div(now + cycles_zone_offset(zone, now, &until),
                              CYCLES_DAY);

    day = cycles_calendar_begin(every, day);
    end = cycles_zone_date_begins(zone, day);

    /*
     * Once only, unless the clock has been set back over midnight: then a
     * date has begun already, but now it is the day before once again.
     */

    do {
        start = end;
        day = cycles_calendar_next(every, day);
        end = cycles_zone_date_begins(zone, day);
    } while (end <= now);

    *start_ms = start * 1000;
    *end_ms = end * 1000;

    return 0;
}


/* the first day of the period that this day is in */

static int64_t
cycles_calendar_begin(cycles_every_t every, int64_t day)
{
    int      month;
    int64_t  year;

    cycles_calendar_date(day, &year, &month);

    switch (every) {

    case CYCLES_EVERY_WEEK:

        /* the epoch is three days after a Monday */

        return cycles_calendar_div(day + 3, 7) * 7 - 3;

    case CYCLES_EVERY_MONTH:
        return cycles_calendar_day(year, month, 1);

    case CYCLES_EVERY_QUARTER:
        return cycles_calendar_day(year, month - (month - 1) % 3, 1);

    case CYCLES_EVERY_YEAR:
        return cycles_calendar_day(year, 1, 1);

    default: /* CYCLES_EVERY_DAY */
        return day;
    }
}


/* the first day of the next period, from that of this one */

static int64_t
cycles_calendar_next(cycles_every_t every, int64_t day)
{
    static const int  longest[] = { 1, 7, 31, 92, 366 };

    return cycles_calendar_begin(every, day + longest[every]);
}


/* rounds down */

static int64_t
cycles_calendar_div(int64_t n, int64_t by)
{
    return n / by - (n % by < 0);
}


/*
 * Days since the epoch of a date in the Gregorian calendar; month 13 is the
 * January of the next year.  A year that begins in March has its leap day at
 * the end; 400 of them are 146097 days.
 */

static int64_t
cycles_calendar_day(int64_t year, int month, int mday)
{
    if (month > 2) {
        month -= 3;

    } else {
        month += 9;
        year--;
    }

    return year * 365 + cycles_calendar_div(year, 4)
           - cycles_calendar_div(year, 100) + cycles_calendar_div(year, 400)
           + (month * 153 + 2) / 5 + mday - 1
           - 719468;
}


static void
cycles_calendar_date(int64_t day, int64_t *year, int *month)
{
    /* by the average length of years, which is next to right */

    *year = 1970 + cycles_calendar_div(day * 400, 146097);

    while (cycles_calendar_day(*year + 1, 1, 1) <= day) {
        (*year)++;
    }

    while (cycles_calendar_day(*year, 1, 1) > day) {
        (*year)--;
    }

    *month = 1 + (day - cycles_calendar_day(*year, 1, 1)) / 32;

    if (cycles_calendar_day(*year, *month + 1, 1) <= day) {
        (*month)++;
    }
}
