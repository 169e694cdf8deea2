
/*
 * Copyright (C) nginx-cycles authors
 *
 * Periods of budgets: what a boundary does to the sums, and who closes it.
 * The clock is what the operations are given.
 */


#include "ledger_db.h"


#define HOUR  3600000LL
#define DAY   (24 * HOUR)

#define CALENDAR(every, zone)                                                 \
    "{\"type\":\"calendar\",\"every\":\"" every "\",\"timezone\":\"" zone     \
    "\"}"

#define ROLLING(seconds)                                                      \
    "{\"type\":\"rolling\",\"seconds\":" seconds "}"


/* "2024-02-29 23:00:00" in UTC, in milliseconds */

static int64_t
utc(const char *text)
{
    struct tm  tm;

    memset(&tm, 0, sizeof(tm));

    if (sscanf(text, "%d-%d-%d %d:%d:%d", &tm.tm_year, &tm.tm_mon,
               &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec)
        != 6)
    {
        printf("# not a time: %s\n", text);
        exit(2);
    }

    tm.tm_year -= 1900;
    tm.tm_mon -= 1;

    return (int64_t) timegm(&tm) * 1000;
}


static void
apply(cycles_ledger_t *l, const char *json, int64_t now)
{
    cycles_budgets_t  *budgets;

    budgets = cycles_budgets_parse(json, strlen(json), led_err,
                                   sizeof(led_err));

    if (budgets == NULL
        || cycles_ledger_apply(l, budgets, now, led_err, sizeof(led_err))
           != 0)
    {
        printf("# budgets failed: %s\n", led_err);
        exit(2);
    }

    cycles_budgets_free(budgets);
}


/* tenant:a with 1000, and an overdraft limit; period: "" or an object */

static void
define(cycles_ledger_t *l, const char *period, int64_t allocated,
    int64_t limit, int64_t now)
{
    char  json[1024];

    snprintf(json, sizeof(json), "{\"budgets\":[{\"scope\":\"tenant:a\","
             "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":\"TOKENS\","
             "\"amount\":%lld},\"overdraft_limit\":{\"unit\":\"TOKENS\","
             "\"amount\":%lld}%s%s}]}", (long long) allocated,
             (long long) limit, *period ? ",\"period\":" : "", period);

    apply(l, json, now);
}


static cycles_ledger_t *
fresh(const char *period, int64_t now)
{
    cycles_ledger_t  *l;

    l = led_fresh(NULL);
    define(l, period, 1000, 0, now);

    return l;
}


static const char *
balance(cycles_ledger_t *l, int64_t now)
{
    const char  *text;

    led_now = now;
    text = led_balance(l, "tenant:a");
    led_now = T0;

    return text;
}


static cycles_period_t
period(cycles_ledger_t *l)
{
    cycles_period_t  p;

    cycles_period_fill(l, cycles_budget_by_id(l, 1), &p);

    return p;
}


static int64_t
start(cycles_ledger_t *l)
{
    return period(l).start_ms;
}


static int64_t
end(cycles_ledger_t *l)
{
    return period(l).end_ms;
}


/* how many periods of the budget have been closed, and the last one */

static int
closed(cycles_ledger_t *l)
{
    fold(l);

    return atoi(query(l, "SELECT count(*) FROM periods WHERE budget = 1"));
}


static const char *
last_closed(cycles_ledger_t *l)
{
    fold(l);

    return query(l, "SELECT 'a' || allocated || ' s' || spent || ' h' ||"
                 " reserved || ' d' || debt FROM periods WHERE budget = 1"
                 " ORDER BY seq DESC LIMIT 1");
}


static void
forget_tables(void)
{
    char              path[600];
    unsigned          i;
    static const char  *const names[] = {
        "ledger.db", "ledger.db-wal", "ledger.db-shm"
    };

    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", led_dir, names[i]);
        unlink(path);
    }
}


static void
spend(cycles_ledger_t *l, int64_t amount, int64_t now)
{
    char         key[32];
    static int   n;

    snprintf(key, sizeof(key), "spend-%d", n++);

    if (led_event(l, "a", key, amount, CYCLES_ALLOW_WITH_OVERDRAFT, now)
        != CYCLES_OK)
    {
        printf("# %s: %lld could not be spent\n", key, (long long) amount);
        exit(2);
    }
}


/*
 * Days of 23, 24.5 and 25 hours, and with 29 in February: a reservation lives
 * over the boundary and is charged in the new period.
 */

static void
test_boundaries(void)
{
    char               id[40], json[512];
    unsigned           i;
    cycles_reserve_t   rq;
    cycles_ledger_t   *l;

    static const struct {
        const char  *every, *zone, *now, *start, *end, *next;
    } cases[] = {

        /* clocks go forward in the night to March 31, and back in October */

        { "day", "Europe/Berlin", "2024-03-30 12:00:00",
          "2024-03-29 23:00:00", "2024-03-30 23:00:00",
          "2024-03-31 22:00:00" },
        { "day", "Europe/Berlin", "2024-03-31 12:00:00",
          "2024-03-30 23:00:00", "2024-03-31 22:00:00",
          "2024-04-01 22:00:00" },
        { "day", "Europe/Berlin", "2024-10-27 00:30:00",
          "2024-10-26 22:00:00", "2024-10-27 23:00:00",
          "2024-10-28 23:00:00" },
        { "week", "Europe/Berlin", "2024-03-31 21:59:59",
          "2024-03-24 23:00:00", "2024-03-31 22:00:00",
          "2024-04-07 22:00:00" },
        { "month", "Europe/Berlin", "2024-03-15 00:00:00",
          "2024-02-29 23:00:00", "2024-03-31 22:00:00",
          "2024-04-30 22:00:00" },
        { "month", "Europe/Berlin", "2024-10-31 22:59:59",
          "2024-09-30 22:00:00", "2024-10-31 23:00:00",
          "2024-11-30 23:00:00" },
        { "quarter", "Europe/Berlin", "2024-01-01 00:00:00",
          "2023-12-31 23:00:00", "2024-03-31 22:00:00",
          "2024-06-30 22:00:00" },
        { "year", "Europe/Berlin", "2024-06-01 00:00:00",
          "2023-12-31 23:00:00", "2024-12-31 23:00:00",
          "2025-12-31 23:00:00" },

        { "day", "America/New_York", "2024-03-10 06:59:59",
          "2024-03-10 05:00:00", "2024-03-11 04:00:00",
          "2024-03-12 04:00:00" },
        { "day", "America/New_York", "2024-11-03 05:30:00",
          "2024-11-03 04:00:00", "2024-11-04 05:00:00",
          "2024-11-05 05:00:00" },
        { "month", "America/New_York", "2024-11-02 00:00:00",
          "2024-11-01 04:00:00", "2024-12-01 05:00:00",
          "2025-01-01 05:00:00" },

        /* half an hour of DST */

        { "day", "Australia/Lord_Howe", "2024-04-06 16:00:00",
          "2024-04-06 13:00:00", "2024-04-07 13:30:00",
          "2024-04-08 13:30:00" },
        { "day", "Australia/Lord_Howe", "2024-10-05 16:00:00",
          "2024-10-05 13:30:00", "2024-10-06 13:00:00",
          "2024-10-07 13:00:00" },

        /* midnight is skipped, and shown twice */

        { "day", "America/Sao_Paulo", "2018-11-03 12:00:00",
          "2018-11-03 03:00:00", "2018-11-04 03:00:00",
          "2018-11-05 02:00:00" },
        { "day", "America/Sao_Paulo", "2018-02-17 12:00:00",
          "2018-02-17 02:00:00", "2018-02-18 03:00:00",
          "2018-02-19 03:00:00" },

        /* leap days */

        { "day", "Europe/Berlin", "2024-02-28 12:00:00",
          "2024-02-27 23:00:00", "2024-02-28 23:00:00",
          "2024-02-29 23:00:00" },
        { "day", "America/New_York", "2024-02-29 12:00:00",
          "2024-02-29 05:00:00", "2024-03-01 05:00:00",
          "2024-03-02 05:00:00" },
        { "month", "Australia/Lord_Howe", "2024-02-10 00:00:00",
          "2024-01-31 13:00:00", "2024-02-29 13:00:00",
          "2024-03-31 13:00:00" },
        { "month", "UTC", "2023-02-28 23:59:59", "2023-02-01 00:00:00",
          "2023-03-01 00:00:00", "2023-04-01 00:00:00" },
        { "month", "UTC", "2100-02-28 00:00:00", "2100-02-01 00:00:00",
          "2100-03-01 00:00:00", "2100-04-01 00:00:00" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(json, sizeof(json), "{\"type\":\"calendar\",\"every\":"
                 "\"%s\",\"timezone\":\"%s\"}", cases[i].every,
                 cases[i].zone);

        l = fresh(json, utc(cases[i].now));

        is_int(start(l), utc(cases[i].start), "%s in %s of %s begins",
               cases[i].every, cases[i].zone, cases[i].now);
        is_int(end(l), utc(cases[i].end), "and ends");

        spend(l, 100, utc(cases[i].now));

        rq = led_reserve_rq("a", "over the boundary", 300);
        rq.ttl_ms = 60000;
        is_int(cycles_ledger_reserve(l, &rq, &led_rs, utc(cases[i].end) - 1),
               CYCLES_OK, "reserved in its last millisecond");
        strcpy(id, led_rs.id);

        is_str(balance(l, utc(cases[i].end) - 1), "r600 h300 s100 d0",
               "which belongs to it");
        is_str(balance(l, utc(cases[i].end)), "r700 h300 s0 d0",
               "the next one does not");
        is_int(end(l), utc(cases[i].next), "and ends");
        is_int(start(l), utc(cases[i].end), "it begins where that has ended");

        is_int(led_commit(l, id, "c", 250, utc(cases[i].end) + 1), CYCLES_OK,
               "committed");
        is_str(balance(l, utc(cases[i].next) - 1), "r750 h0 s250 d0",
               "charged where it was settled");
        is_str(last_closed(l), "a1000 s100 h300 d0", "the history");
        is_int(closed(l), 1, "of one period");

        cycles_ledger_close(l);
    }
}


/* whoever comes first closes the period, and finds the new one */

typedef cycles_code_t (*touch_pt)(cycles_ledger_t *l, const char *id,
    int64_t now);


static cycles_code_t
touch_reserve(cycles_ledger_t *l, const char *id, int64_t now)
{
    (void) id;

    return led_reserve(l, "a", "t", 950, now);
}


static cycles_code_t
touch_denied(cycles_ledger_t *l, const char *id, int64_t now)
{
    (void) id;

    return led_reserve(l, "a", "t", 951, now) == CYCLES_BUDGET_EXCEEDED
           && led_rs.denial.remaining == 950
           ? CYCLES_OK : led_rs.code;
}


static cycles_code_t
touch_dry_run(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_reserve_t  rq;

    (void) id;

    rq = led_reserve_rq("a", "", 950);
    rq.dry_run = 1;
    cycles_ledger_reserve(l, &rq, &led_rs, now);

    return led_rs.decision == CYCLES_ALLOW ? CYCLES_OK : CYCLES_CODES;
}


static cycles_code_t
touch_decide(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_reserve_t  rq;

    (void) id;

    rq = led_reserve_rq("a", "t", 950);
    rq.decide = 1;
    cycles_ledger_reserve(l, &rq, &led_rs, now);

    return led_rs.decision == CYCLES_ALLOW ? CYCLES_OK : CYCLES_CODES;
}


static cycles_code_t
touch_commit(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_code_t  code;

    code = led_commit(l, id, "t", 20, now);

    return led_st.remaining == 980 ? code : CYCLES_CODES;
}


static cycles_code_t
touch_excess(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_code_t  code;

    code = led_commit(l, id, "t", 1000, now);

    return led_st.charged == 1000 && led_st.remaining == 0 ? code
                                                           : CYCLES_CODES;
}


static cycles_code_t
touch_release(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_code_t  code;

    code = led_release(l, id, "t", now);

    return led_st.remaining == 1000 ? code : CYCLES_CODES;
}


static cycles_code_t
touch_event(cycles_ledger_t *l, const char *id, int64_t now)
{
    (void) id;

    return led_event(l, "a", "t", 950, CYCLES_REJECT, now);
}


static cycles_code_t
touch_fund(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_code_t     code;
    cycles_funded_t   funded;
    cycles_funding_t  rq;

    (void) id;

    memset(&rq, 0, sizeof(rq));
    rq.scope = str("tenant:a");
    rq.unit = CYCLES_TOKENS;
    rq.operation = CYCLES_DEBIT;
    rq.amount = 950;
    rq.spent = -1;

    code = cycles_ledger_fund(l, &rq, &funded, now);

    return funded.sums.previous_spent == 0 ? code : CYCLES_CODES;
}


static int64_t  shown;


static void
show_budget(void *data, const cycles_budget_view_t *b)
{
    (void) data;

    shown = b->spent;
}


static cycles_code_t
touch_show(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_show_t  show;

    (void) id;

    memset(&show, 0, sizeof(show));
    show.budget = show_budget;
    shown = -1;

    cycles_ledger_budget(l, str("tenant:a"), CYCLES_TOKENS, &show, now);

    return shown == 0 ? CYCLES_OK : CYCLES_CODES;
}


static cycles_code_t
touch_list(cycles_ledger_t *l, const char *id, int64_t now)
{
    uint32_t       n;
    cycles_show_t  show;

    (void) id;

    memset(&show, 0, sizeof(show));
    show.budget = show_budget;
    shown = -1;
    n = 0;

    cycles_ledger_definitions(l, CYCLES_DEFINED_BUDGETS, &n, 10, &show, now);

    return shown == 0 ? CYCLES_OK : CYCLES_CODES;
}


static cycles_code_t
become(cycles_ledger_t *l, cycles_budget_status_t status, int64_t now)
{
    cycles_show_t        show;
    cycles_transition_t  rq;

    memset(&show, 0, sizeof(show));
    show.budget = show_budget;

    memset(&rq, 0, sizeof(rq));
    rq.scope = str("tenant:a");
    rq.unit = CYCLES_TOKENS;
    rq.status = status;

    return cycles_ledger_budget_status(l, &rq, &show, now);
}


static cycles_code_t
touch_freeze(cycles_ledger_t *l, const char *id, int64_t now)
{
    cycles_code_t  code;

    (void) id;

    code = become(l, CYCLES_BUDGET_IS_FROZEN, now);

    return shown == 0 ? code : CYCLES_CODES;
}


static cycles_code_t
touch_balances(cycles_ledger_t *l, const char *id, int64_t now)
{
    (void) id;

    return strcmp(balance(l, now), "r950 h50 s0 d0") == 0 ? CYCLES_OK
                                                          : CYCLES_CODES;
}


static cycles_code_t
touch_define(cycles_ledger_t *l, const char *id, int64_t now)
{
    (void) id;

    define(l, CALENDAR("month", "Europe/Berlin"), 2000, 0, now);

    return CYCLES_OK;
}


static const struct {
    const char  *name;
    touch_pt     touch;
    const char  *after;
} touches[] = {
    { "a reserve", touch_reserve, "r0 h1000 s0 d0" },
    { "a denied reserve", touch_denied, "r950 h50 s0 d0" },
    { "a dry run", touch_dry_run, "r950 h50 s0 d0" },
    { "a decision", touch_decide, "r950 h50 s0 d0" },
    { "a commit", touch_commit, "r980 h0 s20 d0" },
    { "a commit of more", touch_excess, "r0 h0 s1000 d0" },
    { "a release", touch_release, "r1000 h0 s0 d0" },
    { "an event", touch_event, "r0 h50 s950 d0" },
    { "a funding", touch_fund, "r0 h50 s0 d0" },
    { "a look at it", touch_show, "r950 h50 s0 d0" },
    { "a list", touch_list, "r950 h50 s0 d0" },
    { "a freeze", touch_freeze, "r950 h50 s0 d0" },
    { "the balances", touch_balances, "r950 h50 s0 d0" },
    { "another limit", touch_define, "r1950 h50 s0 d0" }
};

#define TOUCHES  (sizeof(touches) / sizeof(touches[0]))


static void
test_touches(void)
{
    char              id[40], *before, *after;
    int64_t           e;
    unsigned          i;
    uint64_t          written;
    cycles_ledger_t  *l;

    for (i = 0; i < TOUCHES; i++) {
        l = fresh(CALENDAR("month", "Europe/Berlin"), T0);
        e = end(l);

        spend(l, 900, T0);
        led_reserve(l, "a", "r", 50, e - 1000);
        strcpy(id, led_rs.id);

        written = cycles_ledger_written(l);

        is_int(touches[i].touch(l, id, e + 1), CYCLES_OK, "%s over the "
               "boundary", touches[i].name);
        ok(cycles_ledger_written(l) > written, "a record of it");
        is_str(balance(l, e + 2), touches[i].after, "what is left");
        is_str(last_closed(l), "a1000 s900 h50 d0", "what is history");
        is_int(closed(l), 1, "once");
        is_int(start(l), e, "the new period");

        /* the log, and then the tables, have all of it */

        before = led_dump(l);
        cycles_ledger_close(l);
        forget_tables();

        l = led_open();
        after = led_dump(l);
        is_str(after, before, "the same from the log");
        free(after);

        fold(l);
        cycles_ledger_close(l);

        l = led_open();
        is_str(balance(l, e + 3), touches[i].after, "and from the tables");
        is_int(start(l), e, "with its bounds");
        is_int(closed(l), 1, "and its history");
        free(before);

        cycles_ledger_close(l);
    }
}


/* a clock that is set back finds the new period, and does not end it twice */

static void
test_clock_back(void)
{
    int64_t           e, next;
    uint64_t          written;
    cycles_ledger_t  *l;

    l = fresh(CALENDAR("day", "Europe/Berlin"), T0);
    e = end(l);

    spend(l, 400, T0);
    spend(l, 300, e);
    next = end(l);

    written = cycles_ledger_written(l);
    is_str(balance(l, e - 10), "r700 h0 s300 d0", "ten milliseconds before");
    is_str(balance(l, e - 3 * DAY), "r700 h0 s300 d0", "three days before");
    is_int(led_reserve(l, "a", "r", 700, e - DAY), CYCLES_OK, "a reserve "
           "then is one of the new period");
    is_int(led_release(l, led_rs.id, "x", e - DAY), CYCLES_OK, "so is its "
           "release");
    spend(l, 100, e - DAY);
    is_int(cycles_ledger_written(l), written + 3, "nothing else is written");

    is_str(balance(l, e), "r600 h0 s400 d0", "the boundary comes again");
    is_str(balance(l, next - 1), "r600 h0 s400 d0", "nothing happens");
    is_int(closed(l), 1, "one was closed");
    is_str(balance(l, next), "r1000 h0 s0 d0", "the next boundary");
    is_int(closed(l), 2, "two were");
    is_str(last_closed(l), "a1000 s400 h0 d0", "with all that was spent");

    cycles_ledger_close(l);
}


static void
test_skipped(void)
{
    cycles_ledger_t  *l;

    l = fresh(CALENDAR("month", "America/New_York"),
              utc("2024-01-31 23:00:00"));
    spend(l, 400, utc("2024-01-31 23:00:00"));

    is_str(balance(l, utc("2024-06-01 03:59:59")), "r1000 h0 s0 d0",
           "nobody came for months");
    is_int(start(l), utc("2024-05-01 04:00:00"), "the month that it is");
    is_int(end(l), utc("2024-06-01 04:00:00"), "ends");
    is_int(closed(l), 1, "the others had nothing");

    cycles_ledger_close(l);
}


static void
test_rolling(void)
{
    cycles_ledger_t  *l;

    l = fresh(ROLLING("90"), T0 + 7);

    is_int(start(l), T0 + 7, "a window begins with the budget");
    is_int(end(l), T0 + 90007, "and ends");

    spend(l, 400, T0 + 90006);
    is_str(balance(l, T0 + 90006), "r600 h0 s400 d0", "its end");
    spend(l, 100, T0 + 90007);
    is_str(balance(l, T0 + 90008), "r900 h0 s100 d0", "the next one");
    is_int(end(l), T0 + 180007, "has the same length");

    spend(l, 1, T0 + 5 * 90000 + 6);
    is_int(start(l), T0 + 4 * 90000 + 7, "windows that nobody used");
    is_int(end(l), T0 + 5 * 90000 + 7, "keep their beat");
    spend(l, 2, T0 + 5 * 90000 + 7);
    is_int(start(l), T0 + 5 * 90000 + 7, "to the millisecond");
    is_int(closed(l), 3, "closed");

    cycles_ledger_close(l);

    l = fresh(ROLLING("315360000"), T0);
    is_int(end(l), T0 + CYCLES_MAX_PERIOD_MS, "ten years");
    is_str(balance(l, CYCLES_NOT_KNOWN), "r1000 h0 s0 d0", "no time at all");
    is_str(balance(l, INT64_MAX), "r1000 h0 s0 d0", "the end of time");
    is_int(end(l), T0 + CYCLES_MAX_PERIOD_MS, "nothing happens then");
    cycles_ledger_close(l);
}


/* debt stays to be paid; what is over its limit by debt alone stays so */

static void
test_debt(void)
{
    char              id[40];
    int64_t           e;
    cycles_ledger_t  *l;

    l = fresh(CALENDAR("month", "UTC"), T0);
    define(l, CALENDAR("month", "UTC"), 1000, 300, T0);
    e = end(l);

    spend(l, 1200, T0);
    is_str(balance(l, T0), "r-200 h0 s1000 d200", "in debt");
    is_str(balance(l, e), "r800 h0 s0 d200", "and still");
    is_str(last_closed(l), "a1000 s1000 h0 d200", "as it was");
    is_int(led_reserve(l, "a", "r", 800, e), CYCLES_OK, "what it leaves");

    define(l, CALENDAR("month", "UTC"), 1000, 100, e);
    is_str(balance(l, e), "r0 h800 s0 d200 over", "the limit is lowered");
    e = end(l);
    is_str(balance(l, e), "r0 h800 s0 d200 over", "a boundary is no help");
    is_int(led_reserve(l, "a", "r2", 1, e), CYCLES_OVERDRAFT_LIMIT_EXCEEDED,
           "denied");
    is_int(led_rs.denial.reset_at_ms, 0, "and no reset would help");
    cycles_ledger_close(l);

    l = fresh(CALENDAR("month", "UTC"), T0);
    e = end(l);
    led_reserve(l, "a", "r", 1000, T0);
    strcpy(id, led_rs.id);
    is_int(led_commit(l, id, "c", 1001, T0), CYCLES_OK, "more than there is");
    is_str(balance(l, T0), "r0 h0 s1000 d0 over", "marks the budget");
    is_int(led_reserve(l, "a", "r2", 1, T0),
           CYCLES_OVERDRAFT_LIMIT_EXCEEDED, "denied");
    is_int(led_rs.denial.reset_at_ms, e, "until the boundary");
    is_str(balance(l, e), "r1000 h0 s0 d0", "which settles it");
    is_int(led_reserve(l, "a", "r2", 1, e), CYCLES_OK, "granted");
    cycles_ledger_close(l);
}


/* when a denial says how long it will last */

static void
test_reset_at(void)
{
    int64_t           e;
    cycles_ledger_t  *l;

    l = fresh(CALENDAR("month", "Europe/Berlin"), T0);
    e = end(l);
    spend(l, 900, T0);

    is_int(led_reserve(l, "a", "r1", 101, T0), CYCLES_BUDGET_EXCEEDED,
           "spent");
    is_int(led_rs.denial.reset_at_ms, e, "until the end of the period");
    is_int(led_reserve(l, "a", "r2", 1000, T0), CYCLES_BUDGET_EXCEEDED,
           "all of a budget");
    is_int(led_rs.denial.reset_at_ms, e, "may be had then");
    is_int(led_reserve(l, "a", "r3", 1001, T0), CYCLES_BUDGET_EXCEEDED,
           "more than all");
    is_int(led_rs.denial.reset_at_ms, 0, "never");

    is_int(led_event(l, "a", "e", 500, CYCLES_REJECT, T0),
           CYCLES_BUDGET_EXCEEDED, "an event");
    is_int(led_st.denial.reset_at_ms, e, "can come later");

    led_reserve_as(l, "a", "r4", 10, CYCLES_REJECT, T0);
    is_int(led_commit(l, led_rs.id, "c", 11, T0), CYCLES_BUDGET_EXCEEDED,
           "a commit of more than was reserved");
    is_int(led_st.denial.reset_at_ms, 0, "is refused in every period");

    become(l, CYCLES_BUDGET_IS_FROZEN, T0);
    is_int(led_reserve(l, "a", "r5", 1, T0), CYCLES_BUDGET_FROZEN, "frozen");
    is_int(led_rs.denial.reset_at_ms, 0, "until somebody changes it");
    cycles_ledger_close(l);

    l = led_fresh("tenant:a 10 0");
    is_int(led_reserve(l, "a", "r1", 11, T0), CYCLES_BUDGET_EXCEEDED,
           "no period");
    is_int(led_rs.denial.reset_at_ms, 0, "no time");
    cycles_ledger_close(l);
}


/* the first scope that is short says when; a child may have another period */

static void
test_scopes(void)
{
    int64_t           e;
    cycles_ledger_t  *l;

    l = led_fresh(NULL);
    apply(l, "{\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1000},\"period\":"
          CALENDAR("month", "UTC") "},{\"scope\":\"tenant:a/app:b\","
          "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":\"TOKENS\","
          "\"amount\":100},\"period\":" CALENDAR("day", "UTC") "},"
          "{\"scope\":\"tenant:a/app:b/agent:c\",\"unit\":\"TOKENS\","
          "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":500}}]}",
          utc("2024-04-29 12:00:00"));

    e = utc("2024-04-30 00:00:00");

    led_event(l, "a//b//c", "e1", 90, CYCLES_REJECT, e - 1);
    is_int(led_reserve(l, "a//b//c", "r1", 20, e - 1),
           CYCLES_BUDGET_EXCEEDED, "the child's day is spent");
    is_int(led_rs.denial.reset_at_ms, e, "until midnight");
    is_int(led_reserve(l, "a//b//c", "r1", 20, e), CYCLES_OK, "a new day");
    is_str(led_balance(l, "tenant:a"), "r890 h20 s90 d0", "the month");

    e = utc("2024-05-01 00:00:00");
    is_int(led_commit(l, led_rs.id, "c1", 20, e), CYCLES_RESERVATION_EXPIRED,
           "late");
    is_int(led_event(l, "a//b//c", "e2", 10, CYCLES_REJECT, e), CYCLES_OK,
           "a new month is a new day");
    led_now = e;
    is_str(led_balance(l, "tenant:a"), "r970 h20 s10 d0", "the month");
    is_str(led_balance(l, "tenant:a/app:b"), "r70 h20 s10 d0", "the day");
    is_str(led_balance(l, "tenant:a/app:b/agent:c"), "r380 h20 s100 d0",
           "and what has no period");
    led_now = T0;

    fold(l);
    is_str(query(l, "SELECT count(*), count(DISTINCT seq), sum(spent) FROM"
                 " periods"), "3|2|180",
           "one record for all that end together");

    cycles_ledger_close(l);
}


/* what a changed definition keeps */

static void
test_redefine(void)
{
    int64_t           now, created;
    uint64_t          written;
    cycles_ledger_t  *l;

    created = utc("2024-01-10 00:00:00");
    now = utc("2024-05-15 12:00:00");

    l = fresh("", created);
    spend(l, 100, created);

    define(l, CALENDAR("month", "UTC"), 1000, 0, now);
    is_int(start(l), created, "a period is added: what was spent counts");
    is_int(end(l), utc("2024-06-01 00:00:00"), "until its end");
    is_str(balance(l, now), "r900 h0 s100 d0", "and stays");

    written = cycles_ledger_written(l);
    define(l, CALENDAR("month", "UTC"), 1000, 0, now);
    is_int(cycles_ledger_written(l), written, "the same again is nothing");

    define(l, CALENDAR("month", "UTC"), 500, 0, now);
    is_int(end(l), utc("2024-06-01 00:00:00"), "another limit");
    is_str(balance(l, now), "r400 h0 s100 d0", "keeps what was spent");

    define(l, CALENDAR("month", "Europe/Berlin"), 500, 0, now);
    is_int(end(l), utc("2024-05-31 22:00:00"), "another zone");
    define(l, CALENDAR("day", "Europe/Berlin"), 500, 0, now);
    is_int(end(l), utc("2024-05-15 22:00:00"), "a shorter period");
    is_str(balance(l, now), "r400 h0 s100 d0", "keeps it, too");
    is_str(balance(l, end(l)), "r500 h0 s0 d0", "and ends");
    is_int(atoll(query(l, "SELECT max(start_ms) FROM periods")), 0,
           "not folded yet");
    fold(l);
    is_int(atoll(query(l, "SELECT start_ms FROM periods")), created,
           "it was counted since then");

    now = utc("2024-05-16 12:00:00");
    spend(l, 30, now);
    define(l, ROLLING("3600"), 500, 0, now);
    is_int(end(l), now + HOUR, "a window of an hour");
    is_int(start(l), utc("2024-05-15 22:00:00"), "what was spent counts");

    define(l, ROLLING("7200"), 500, 0, now + HOUR);
    is_int(start(l), now + HOUR, "what ends now is closed as it was");
    is_int(end(l), now + 3 * HOUR, "before it is changed");
    is_str(last_closed(l), "a500 s30 h0 d0", "with its sums");

    spend(l, 40, now + HOUR);
    define(l, "", 500, 0, now + 2 * HOUR);
    is_int(end(l), CYCLES_NO_BOUNDARY, "no period");
    is_str(balance(l, now + 9000 * DAY), "r460 h0 s40 d0", "never ends");

    /* after a clock that was years ahead, this is the way back */

    define(l, CALENDAR("month", "UTC"), 500, 0, now);
    is_str(balance(l, utc("2099-06-10 00:00:00")), "r500 h0 s0 d0",
           "the clock is wrong");
    spend(l, 50, now);
    is_int(end(l), utc("2099-07-01 00:00:00"), "so is the period");
    define(l, "", 500, 0, now);
    define(l, CALENDAR("month", "UTC"), 500, 0, now);
    is_int(end(l), utc("2024-06-01 00:00:00"), "removed and added again");
    is_str(balance(l, now), "r450 h0 s50 d0", "nothing is given twice");

    cycles_ledger_close(l);
}


static void
test_status(void)
{
    int64_t           e;
    uint64_t          written;
    cycles_ledger_t  *l;

    l = fresh(CALENDAR("day", "UTC"), T0);
    e = end(l);
    spend(l, 100, T0);

    become(l, CYCLES_BUDGET_IS_FROZEN, T0);
    is_str(balance(l, e), "r1000 h0 s0 d0", "time goes on for what is frozen");

    become(l, CYCLES_BUDGET_ACTIVE, e);
    spend(l, 30, e);
    become(l, CYCLES_BUDGET_IS_CLOSED, e);

    written = cycles_ledger_written(l);
    is_str(balance(l, e + 5 * DAY), "r970 h0 s30 d0", "but not for what is "
           "closed");
    is_int(led_reserve(l, "a", "r", 1, e + 5 * DAY), CYCLES_BUDGET_CLOSED,
           "whoever asks");
    is_int(cycles_ledger_written(l), written, "nothing is written");

    cycles_ledger_close(l);
}


/*
 * A zone that can't be had, and one whose rules have changed since the
 * boundary was set, by an hour or by three, either way.
 */

static void
test_zones(void)
{
    int64_t           e, shift;
    unsigned          i;
    cycles_budget_t  *b;
    cycles_ledger_t  *l;

    static const struct {
        const char  *every, *zone;
    } cases[] = {
        { "day", "Europe/Berlin" },
        { "day", "America/New_York" },
        { "week", "Pacific/Auckland" },
        { "month", "Europe/Berlin" },
        { "year", "America/Los_Angeles" }
    };

    static const int64_t  shifts[] = { 1, -1, 3, -3 };

    for (i = 0; i < 4 * sizeof(cases) / sizeof(cases[0]); i++) {
        char  json[256];

        shift = shifts[i % 4] * HOUR;

        snprintf(json, sizeof(json), "{\"type\":\"calendar\",\"every\":"
                 "\"%s\",\"timezone\":\"%s\"}", cases[i / 4].every,
                 cases[i / 4].zone);
        l = fresh(json, T0);
        e = end(l);

        b = cycles_budget_by_id(l, 1);
        b->period_end_ms = e + shift;

        spend(l, 5, e + shift);
        is_int(start(l), e + shift, "%s in %s: the boundary that was set, "
               "off by %d hours", cases[i / 4].every, cases[i / 4].zone,
               (int) (shift / HOUR));
        ok(end(l) - e > (e - T0) / 2 && end(l) - e > 12 * HOUR,
           "and then a period, not a rest of some hours");

        cycles_ledger_close(l);
    }

    l = fresh(CALENDAR("month", "Europe/Berlin"), utc("2024-10-10 00:00:00"));
    cycles_ledger_zones(l);
    b = cycles_budget_by_id(l, 1);
    memcpy(cycles_memory_at(l, b->timezone.ref), "Europe/Nowher", 13);

    spend(l, 5, utc("2024-10-31 22:59:59"));
    is_int(end(l), utc("2024-10-31 23:00:00"), "the stored boundary needs no "
           "zone");
    led_said[0] = '\0';
    spend(l, 6, utc("2024-10-31 23:00:00"));
    is_int(end(l), utc("2024-12-01 00:00:00"), "the next one is in UTC");
    is_str(balance(l, utc("2024-11-01 00:00:00")), "r994 h0 s6 d0",
           "and not ended twice");
    ok(strstr(led_said, "[2] time zone \"Europe/Nowher\": there is no such "
              "file") != NULL
       && strstr(led_said, "have their periods in UTC") != NULL,
       "said: %s", led_said);
    led_said[0] = '\0';
    spend(l, 7, utc("2024-12-01 00:00:00"));
    is_str(led_said, "", "once");

    cycles_ledger_zones(l);
    ok(strstr(led_said, "in UTC") != NULL, "and again at a reload");

    cycles_ledger_close(l);
}


/* a boundary is closed by one of many processes */

static void
test_processes(void)
{
    int               i, n, fds[2];
    char              key[32], byte;
    pid_t             pids[4];
    int64_t           e;
    cycles_ledger_t  *l;

    l = fresh(ROLLING("1"), T0);
    define(l, ROLLING("1"), 1000000, 0, T0);

    if (pipe(fds) == -1) {
        perror("pipe");
        exit(2);
    }

    for (n = 0; n < 4; n++) {
        pids[n] = fork();

        if (pids[n] == 0) {
            close(fds[1]);
            (void) !read(fds[0], &byte, 1);

            for (i = 0; i < 500; i++) {
                snprintf(key, sizeof(key), "%d-%d", n, i);
                led_event(l, "a", key, 1, CYCLES_REJECT, T0 + i * 100);
            }

            _exit(0);
        }
    }

    close(fds[0]);
    close(fds[1]);

    for (n = 0; n < 4; n++) {
        waitpid(pids[n], NULL, 0);
    }

    e = T0 + 499 * 100;
    fold(l);

    is_int(atoll(query(l, "SELECT count(*) FROM events")), 2000,
           "what four processes have spent");
    is_int(atoll(query(l, "SELECT sum(spent) FROM (SELECT spent FROM periods"
                       " UNION ALL SELECT spent FROM budgets)")), 2000,
           "is in one period or another");
    is_int(atoll(query(l, "SELECT count(*) FROM periods")), 49,
           "each was closed once");
    is_int(atoll(query(l, "SELECT count(*) FROM periods a JOIN periods b ON"
                       " a.end_ms = b.start_ms")), 48,
           "where one ends the next one begins");
    is_int(end(l), e - 900 + 1000, "this one goes on");

    cycles_ledger_close(l);
}


/* what the log has of a boundary */

static void
test_log(void)
{
    int64_t            e;
    cycles_ledger_t   *l;
    cycles_record_t   *rec;

    l = fresh(CALENDAR("week", "Europe/Berlin"), T0);
    e = end(l);
    spend(l, 70, T0);
    (void) balance(l, e);

    rec = &l->record;
    is_int(rec->type, CYCLES_RECORD_PERIOD, "the last record");
    is_int(rec->neffects, 1, "of one budget");
    is_int(rec->effects[0].spent, -70, "takes back what was spent");
    is_int(rec->turns[0].end_ms, e, "at the boundary");
    is_int(rec->turns[0].next_start_ms, e, "where the next one begins");
    is_int(rec->turns[0].next_end_ms, e + 7 * DAY, "and until when");

    cycles_ledger_close(led_reopen(l));
}


int
main(void)
{
    led_start();

    test_boundaries();
    test_touches();
    test_clock_back();
    test_skipped();
    test_rolling();
    test_debt();
    test_reset_at();
    test_scopes();
    test_redefine();
    test_status();
    test_zones();
    test_processes();
    test_log();

    return done_testing();
}
