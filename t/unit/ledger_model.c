
/*
 * Copyright (C) nginx-cycles authors
 *
 * Random operations on the ledger and on a model of it that knows nothing but
 * the formulas of the protocol: each answer and each balance must be equal,
 * also after restarts.
 *
 *     ledger_model [OPERATIONS [SEED]]
 */


#include "ledger.h"


#define SCOPES  7
#define KEYS    400


typedef struct {
    const char   *path;
    int64_t       allocated, limit, spent, reserved, debt;
    int           over;
} scope_t;

typedef struct {
    int           used;
    unsigned      generation;            /* of the key */
    char          id[40];
    unsigned      subject;
    int64_t       estimate, ttl, grace, expires, granted, remaining;
    unsigned      policy;
    int           state;                 /* cycles_status_t */
    int           settle_key;
    int64_t       actual, charged, settle_remaining;
    int64_t       extend_by, extended_to;
    int           extend_key;
} held_t;

typedef struct {
    int           used;
    unsigned      generation;
    char          id[40];
    unsigned      subject, policy;
    int64_t       actual, charged, remaining;
} happened_t;

typedef struct {
    int            used;
    unsigned       generation, subject;
    int64_t        estimate, remaining;
    cycles_code_t  denied;
} decided_t;


/* subject -> the scopes that it has here */

static const struct {
    const char   *levels;
    int           scopes[4];
} subjects[] = {
    { "a", { 0, -1 } },
    { "a//b", { 0, 1, -1 } },
    { "a//b//x", { 0, 1, 2, -1 } },
    { "a//b//y", { 0, 1, -1 } },
    { "a/w/b", { 0, 3, -1 } },
    { "A//B//X", { 0, 1, 2, -1 } },
    { "c", { 4, -1 } },
    { "c////z", { 4, 5, -1 } },
    { "////z", { 6, -1 } },
    { "nobody", { -1 } }
};

#define SUBJECTS  (sizeof(subjects) / sizeof(subjects[0]))


static scope_t     m[SCOPES];
static held_t      held[KEYS];
static happened_t  happened[KEYS];
static decided_t   decided[2][KEYS];     /* dry runs, decisions */
static int64_t     now;
static unsigned    failed;


static int64_t
left(const scope_t *s)
{
    return s->allocated - s->spent - s->reserved - s->debt;
}


static int64_t
least(unsigned subject)
{
    int64_t     n;
    const int  *i;

    for (n = INT64_MAX, i = subjects[subject].scopes; *i >= 0; i++) {
        n = left(&m[*i]) < n ? left(&m[*i]) : n;
    }

    return n;
}


static void
differ(const char *what, const char *operation, unsigned key, int64_t got,
    int64_t want)
{
    if (got != want && failed++ < 20) {
        printf("# %s of key %u: %s is %lld, the model says %lld\n",
               operation, key, what, (long long) got, (long long) want);
    }
}


static void
expire_all(void)
{
    unsigned    k;
    const int  *i;

    for (k = 0; k < KEYS; k++) {
        if (held[k].used && held[k].state == CYCLES_ACTIVE
            && now > held[k].expires + held[k].grace)
        {
            held[k].state = CYCLES_EXPIRED;

            for (i = subjects[held[k].subject].scopes; *i >= 0; i++) {
                m[*i].reserved -= held[k].estimate;
            }
        }
    }
}


/* charges actual where held was reserved; -1: the charge is refused */

static int64_t
charge(unsigned subject, int64_t hold, int64_t actual, unsigned policy,
    cycles_code_t *code)
{
    int64_t     d, c, funded;
    scope_t    *s;
    const int  *i, *all;

    all = subjects[subject].scopes;
    d = actual - hold;
    *code = CYCLES_OK;

    if (d <= 0) {
        for (i = all; *i >= 0; i++) {
            m[*i].reserved -= hold;
            m[*i].spent += actual;
        }

        return actual;
    }

    c = d;

    for (i = all; *i >= 0; i++) {
        s = &m[*i];
        funded = left(s) > 0 ? left(s) : 0;

        if ((policy == CYCLES_ALLOW_IF_AVAILABLE || s->limit == 0)
            && funded < c)
        {
            c = funded;
        }
    }

    if (policy == CYCLES_ALLOW_WITH_OVERDRAFT) {
        for (i = all; *i >= 0; i++) {
            s = &m[*i];
            funded = left(s) > 0 ? left(s) : 0;

            if (s->limit > 0 && c > funded
                && s->debt + (c - funded) > s->limit)
            {
                *code = CYCLES_OVERDRAFT_LIMIT_EXCEEDED;
                return -1;
            }
        }
    }

    for (i = all; *i >= 0; i++) {
        s = &m[*i];
        funded = left(s) > 0 ? left(s) : 0;

        s->over |= (policy == CYCLES_ALLOW_IF_AVAILABLE || s->limit == 0)
                   && funded < d;
        s->reserved -= hold;

        if (policy == CYCLES_ALLOW_WITH_OVERDRAFT && s->limit > 0
            && c > funded)
        {
            s->spent += hold + funded;
            s->debt += c - funded;

        } else {
            s->spent += hold + c;
        }
    }

    return hold + c;
}


static cycles_code_t
may_reserve(unsigned subject, int64_t estimate)
{
    const int  *i;

    if (subjects[subject].scopes[0] < 0) {
        return CYCLES_NOT_FOUND;
    }

    for (i = subjects[subject].scopes; *i >= 0; i++) {
        if (m[*i].over) {
            return CYCLES_OVERDRAFT_LIMIT_EXCEEDED;
        }

        if (m[*i].debt > 0 && m[*i].limit == 0) {
            return CYCLES_DEBT_OUTSTANDING;
        }

        if (left(&m[*i]) < estimate) {
            return CYCLES_BUDGET_EXCEEDED;
        }
    }

    return CYCLES_OK;
}


static void
do_reserve(cycles_ledger_t *l, unsigned k)
{
    char               key[32];
    held_t            *h;
    unsigned           subject, policy;
    int64_t            estimate, ttl, grace, want;
    const int         *i;
    cycles_code_t      code;
    cycles_reserve_t   rq;

    h = &held[k];

    if (h->used && rnd(3)) {
        subject = h->subject;
        estimate = h->estimate;
        policy = h->policy;
        ttl = h->ttl;
        grace = h->grace;

    } else {
        subject = rnd(SUBJECTS);
        estimate = rnd(10) ? rnd(100) : rnd(5000);
        policy = rnd(CYCLES_POLICIES);
        ttl = 1000 + rnd(20000);
        grace = rnd(3) * 1000;
    }

    snprintf(key, sizeof(key), "r%u-%u", k, h->generation);
    rq = led_reserve_rq(subjects[subject].levels, key, estimate);
    rq.ttl_ms = ttl;
    rq.grace_ms = grace;
    rq.policy = policy;

    /* a key belongs to its tenant */

    if (h->used
        && strcasecmp(subjects[subject].levels, "a") != 0
        && (subjects[h->subject].levels[0] | 0x20)
           != (subjects[subject].levels[0] | 0x20))
    {
        return;
    }

    code = cycles_ledger_reserve(l, &rq, &led_rs, now);

    if (h->used && (subjects[h->subject].levels[0] | 0x20)
                   == (subjects[subject].levels[0] | 0x20))
    {
        if (subject != h->subject || estimate != h->estimate
            || policy != h->policy || ttl != h->ttl || grace != h->grace)
        {
            differ("the code", "a changed reserve", k, code,
                   CYCLES_IDEMPOTENCY_MISMATCH);
            return;
        }

        differ("the code", "a replayed reserve", k, code, CYCLES_OK);
        differ("the id", "a replayed reserve", k,
               strcmp(led_rs.id, h->id) == 0, 1);
        want = h->state == CYCLES_ACTIVE && h->granted > now
               ? h->granted - now : 0;
        differ("remaining_ttl_ms", "a replayed reserve", k,
               led_rs.remaining_ttl_ms, want);
        differ("remaining", "a replayed reserve", k, led_rs.remaining,
               h->remaining);
        return;
    }

    if (h->used) {

        /* the same key of another tenant: a reservation of its own */

        if (code == CYCLES_OK) {
            led_release(l, led_rs.id, "r", now);
        }

        return;
    }

    want = may_reserve(subject, estimate);

    differ("the code", "a reserve", k, code, want);

    if (code != CYCLES_OK || want != CYCLES_OK) {
        return;
    }

    h->used = 1;
    strcpy(h->id, led_rs.id);
    h->subject = subject;
    h->estimate = estimate;
    h->policy = policy;
    h->ttl = ttl;
    h->grace = grace;
    h->expires = h->granted = now + ttl;
    h->state = CYCLES_ACTIVE;
    h->settle_key = -1;
    h->extend_key = -1;

    for (i = subjects[subject].scopes; *i >= 0; i++) {
        m[*i].reserved += estimate;
    }

    h->remaining = least(subject);
    differ("remaining", "a reserve", k, led_rs.remaining, h->remaining);
    differ("the expiry", "a reserve", k, led_rs.expires_at_ms, h->expires);
}


/* the answer of a key stays as it was, whatever becomes of the budgets */

static void
do_decide(cycles_ledger_t *l, unsigned k)
{
    char               key[32];
    unsigned           decide, changed;
    uint64_t           written;
    decided_t         *d;
    cycles_reserve_t   rq;

    decide = rnd(2);
    d = &decided[decide][k];
    changed = 0;
    written = cycles_ledger_written(l);

    if (!d->used) {
        d->subject = rnd(SUBJECTS);
        d->estimate = rnd(10) ? rnd(100) : rnd(5000);
        d->denied = may_reserve(d->subject, d->estimate);
        d->remaining = (d->denied == CYCLES_OK)
                       ? least(d->subject) - d->estimate : CYCLES_NOT_KNOWN;
        written++;

    } else {
        changed = rnd(4) == 0;
    }

    /* decisions have the keys of reserves, and yet they are others */

    snprintf(key, sizeof(key), "%s%u-%u", decide ? "r" : "d", k,
             d->generation);

    rq = led_reserve_rq(subjects[d->subject].levels, key, d->estimate);
    rq.estimate += changed;
    rq.dry_run = !decide;
    rq.decide = decide;

    cycles_ledger_reserve(l, &rq, &led_rs, now);

    differ("the code", "a decision", k, led_rs.code,
           changed ? CYCLES_IDEMPOTENCY_MISMATCH : CYCLES_OK);
    differ("the record", "a decision", k, cycles_ledger_written(l), written);

    d->used = 1;

    if (changed) {
        return;
    }

    differ("the decision", "a decision", k, led_rs.decision,
           d->denied ? CYCLES_DENY : CYCLES_ALLOW);
    differ("remaining", "a decision", k, led_rs.remaining, d->remaining);

    if (d->denied && strcmp(led_rs.reason, cycles_denial_name(d->denied))) {
        differ("the reason", "a decision", k, 0, d->denied);
    }
}


static cycles_code_t
state_of(const held_t *h)
{
    return h->state == CYCLES_ACTIVE ? CYCLES_OK
           : h->state == CYCLES_EXPIRED ? CYCLES_RESERVATION_EXPIRED
           : CYCLES_RESERVATION_FINALIZED;
}


static void
do_commit(cycles_ledger_t *l, unsigned k)
{
    int              n;
    char             key[32];
    held_t          *h;
    int64_t          actual, charged;
    cycles_code_t    code, want;

    h = &held[k];
    n = rnd(2);
    actual = h->state == CYCLES_COMMITTED && rnd(2) ? h->actual
             : rnd(3) ? (int64_t) rnd(h->estimate + 1)
             : h->estimate + (int64_t) rnd(rnd(4) ? 50 : 3000);

    snprintf(key, sizeof(key), "c%d", n);
    code = led_commit(l, h->id, key, actual, now);

    if (h->state == CYCLES_COMMITTED && h->settle_key == n) {

        if (actual != h->actual) {
            differ("the code", "a changed commit", k, code,
                   CYCLES_IDEMPOTENCY_MISMATCH);
            return;
        }

        differ("the code", "a replayed commit", k, code, CYCLES_OK);
        differ("charged", "a replayed commit", k, led_st.charged,
               h->charged);
        differ("remaining", "a replayed commit", k, led_st.remaining,
               h->settle_remaining);
        return;
    }

    want = state_of(h);

    if (want == CYCLES_OK && h->policy == CYCLES_REJECT
        && actual > h->estimate)
    {
        want = CYCLES_BUDGET_EXCEEDED;
    }

    charged = 0;

    if (want == CYCLES_OK) {
        charged = charge(h->subject, h->estimate, actual, h->policy, &want);
    }

    differ("the code", "a commit", k, code, want);

    if (want != CYCLES_OK) {
        return;
    }

    h->state = CYCLES_COMMITTED;
    h->settle_key = n;
    h->actual = actual;
    h->charged = charged;
    h->settle_remaining = least(h->subject);

    differ("charged", "a commit", k, led_st.charged, charged);
    differ("released", "a commit", k, led_st.released,
           charged < h->estimate ? h->estimate - charged : 0);
    differ("remaining", "a commit", k, led_st.remaining,
           h->settle_remaining);
}


static void
do_release(cycles_ledger_t *l, unsigned k)
{
    int             n;
    char            key[32];
    held_t         *h;
    const int      *i;
    cycles_code_t   code, want;

    h = &held[k];
    n = 2 + rnd(2);
    snprintf(key, sizeof(key), "c%d", n);
    code = led_release(l, h->id, key, now);

    if (h->state == CYCLES_RELEASED && h->settle_key == n) {
        differ("the code", "a replayed release", k, code, CYCLES_OK);
        differ("released", "a replayed release", k, led_st.released,
               h->estimate);
        return;
    }

    want = state_of(h);
    differ("the code", "a release", k, code, want);

    if (want != CYCLES_OK) {
        return;
    }

    h->state = CYCLES_RELEASED;
    h->settle_key = n;

    for (i = subjects[h->subject].scopes; *i >= 0; i++) {
        m[*i].reserved -= h->estimate;
    }

    differ("released", "a release", k, led_st.released, h->estimate);
    differ("remaining", "a release", k, led_st.remaining,
           least(h->subject));
}


static void
do_extend(cycles_ledger_t *l, unsigned k)
{
    int             n;
    char            key[32];
    held_t         *h;
    int64_t         by, want;
    cycles_code_t   code;

    h = &held[k];
    n = rnd(3) ? (int) rnd(1000000) : h->extend_key;

    if (n == -1) {
        return;
    }

    by = n == h->extend_key && rnd(2) ? h->extend_by
                                      : 1 + (int64_t) rnd(5000);
    snprintf(key, sizeof(key), "x%d", n);
    code = led_extend(l, h->id, key, by, now);

    if (n == h->extend_key) {

        if (by != h->extend_by) {
            differ("the code", "a changed extend", k, code,
                   CYCLES_IDEMPOTENCY_MISMATCH);
            return;
        }

        want = h->state == CYCLES_ACTIVE && h->extended_to > now
               ? h->extended_to - now : 0;
        differ("the code", "a replayed extend", k, code, CYCLES_OK);
        differ("remaining_ttl_ms", "a replayed extend", k,
               led_st.remaining_ttl_ms, want);
        return;
    }

    want = state_of(h);

    if (want == CYCLES_OK && now > h->expires) {
        want = CYCLES_RESERVATION_EXPIRED;
    }

    differ("the code", "an extend", k, code, want);

    if (want != CYCLES_OK) {
        return;
    }

    h->expires += by;
    h->extend_by = by;
    h->extended_to = h->expires;
    h->extend_key = n;

    differ("the expiry", "an extend", k, led_st.expires_at_ms, h->expires);
}


static void
do_event(cycles_ledger_t *l, unsigned k)
{
    char            key[32];
    int64_t         charged, actual;
    unsigned        subject, policy;
    const int      *i;
    happened_t     *e;
    cycles_code_t   code, want;

    e = &happened[k];

    if (e->used) {
        subject = e->subject;
        policy = e->policy;
        actual = rnd(3) ? e->actual : e->actual + 1;

    } else {
        subject = rnd(SUBJECTS);
        policy = rnd(CYCLES_POLICIES);
        actual = rnd(10) ? rnd(20) : rnd(3000);
    }

    snprintf(key, sizeof(key), "e%u-%u", k, e->generation);
    code = led_event(l, subjects[subject].levels, key, actual, policy, now);

    if (e->used) {

        if (actual != e->actual) {
            differ("the code", "a changed event", k, code,
                   CYCLES_IDEMPOTENCY_MISMATCH);
            return;
        }

        differ("the code", "a replayed event", k, code, CYCLES_OK);
        differ("the id", "a replayed event", k,
               strcmp(led_st.event_id, e->id) == 0, 1);
        differ("charged", "a replayed event", k, led_st.charged,
               e->charged);
        return;
    }

    want = subjects[subject].scopes[0] < 0 ? CYCLES_NOT_FOUND : CYCLES_OK;

    for (i = subjects[subject].scopes; *i >= 0; i++) {
        if (policy == CYCLES_REJECT && left(&m[*i]) < actual) {
            want = CYCLES_BUDGET_EXCEEDED;
        }
    }

    charged = 0;

    if (want == CYCLES_OK) {
        charged = charge(subject, 0, actual, policy, &want);
    }

    differ("the code", "an event", k, code, want);

    if (want != CYCLES_OK) {
        return;
    }

    e->used = 1;
    strcpy(e->id, led_st.event_id);
    e->subject = subject;
    e->policy = policy;
    e->actual = actual;
    e->charged = charged;
    e->remaining = least(subject);

    differ("charged", "an event", k, led_st.charged, charged);
    differ("remaining", "an event", k, led_st.remaining, e->remaining);
}


/* an operator moves the limits of a scope */

static void
do_define(cycles_ledger_t *l)
{
    char       list[256];
    int64_t    allocated, limit, paid;
    scope_t   *s;

    s = &m[rnd(SCOPES)];
    allocated = rnd(10) ? s->spent + (int64_t) rnd(20000)
                        : (int64_t) rnd(20000);
    limit = rnd(2) ? (int64_t) rnd(1000) : s->limit;

    snprintf(list, sizeof(list), "%s %lld %lld", s->path,
             (long long) allocated, (long long) limit);
    led_define(l, list);

    if (allocated == s->allocated && limit == s->limit) {
        return;
    }

    paid = allocated - s->allocated;
    paid = paid < 0 ? 0 : paid > s->debt ? s->debt : paid;

    s->debt -= paid;
    s->spent += paid;
    s->allocated = allocated;
    s->limit = limit;
    s->over = s->debt > limit;
}


static void
compare(cycles_ledger_t *l, unsigned operation)
{
    unsigned     i;
    led_look_t   look;

    for (i = 0; i < SCOPES; i++) {
        look = led_look(l, m[i].path);

        if (look.broken || look.balance.allocated != m[i].allocated
            || look.balance.reserved != m[i].reserved
            || look.balance.spent != m[i].spent
            || look.balance.debt != m[i].debt
            || (int) look.balance.is_over_limit != m[i].over)
        {
            if (failed++ < 20) {
                printf("# after operation %u %s is %s, the model says "
                       "r%lld h%lld s%lld d%lld%s\n", operation, m[i].path,
                       led_balance(l, m[i].path), (long long) left(&m[i]),
                       (long long) m[i].reserved, (long long) m[i].spent,
                       (long long) m[i].debt, m[i].over ? " over" : "");
            }
        }
    }
}


int
main(int argc, char **argv)
{
    unsigned          i, k, n, done[7];
    int64_t           next;
    cycles_ledger_t  *l;

    static const scope_t  start[SCOPES] = {
        { "tenant:a", 20000, 0, 0, 0, 0, 0 },
        { "tenant:a/app:b", 9000, 500, 0, 0, 0, 0 },
        { "tenant:a/app:b/agent:x", 5000, 300, 0, 0, 0, 0 },
        { "tenant:a/workspace:w", 7000, 0, 0, 0, 0, 0 },
        { "tenant:c", 8000, 900, 0, 0, 0, 0 },
        { "tenant:c/agent:z", 3000, 0, 0, 0, 0, 0 },
        { "agent:z", 3000, 100, 0, 0, 0, 0 }
    };

    n = argc > 1 ? atoi(argv[1]) : 100000;

    if (argc > 2) {
        led_seed = strtoull(argv[2], NULL, 10) * 2 + 1;
    }

    led_start();
    memcpy(m, start, sizeof(m));
    memset(done, 0, sizeof(done));
    now = T0;

    l = led_open_size(64 * 1024 * 1024, 1024 * 1024);
    led_define(l, "tenant:a 20000 0,tenant:a/app:b 9000 500,"
               "tenant:a/app:b/agent:x 5000 300,"
               "tenant:a/workspace:w 7000 0,tenant:c 8000 900,"
               "tenant:c/agent:z 3000 0,agent:z 3000 100");

    for (i = 0; i < n && failed == 0; i++) {
        k = rnd(KEYS);
        now += rnd(3) ? 0 : rnd(100);

        /* what is due is due in both, whichever operation comes */

        cycles_ledger_expire(l, now, KEYS, &next);
        expire_all();

        /* a key that is used up makes room for the next one */

        if (held[k].used && held[k].state != CYCLES_ACTIVE && rnd(4) == 0) {
            held[k].used = 0;
            held[k].generation++;
        }

        if (happened[k].used && rnd(4) == 0) {
            happened[k].used = 0;
            happened[k].generation++;
        }

        if (decided[i % 2][k].used && rnd(8) == 0) {
            decided[i % 2][k].used = 0;
            decided[i % 2][k].generation++;
        }

        switch (rnd(18)) {
        case 0: case 1: case 2: case 3: case 4: case 5:
            do_reserve(l, k);
            done[0]++;
            break;

        case 6: case 7: case 8: case 9:
            if (held[k].used) {
                do_commit(l, k);
                done[1]++;
            }
            break;

        case 10:
            if (held[k].used) {
                do_release(l, k);
                done[2]++;
            }
            break;

        case 11: case 12:
            if (held[k].used) {
                do_extend(l, k);
                done[3]++;
            }
            break;

        case 13: case 14:
            do_event(l, k);
            done[4]++;
            break;

        case 15: case 16:
            do_decide(l, k);
            done[5]++;
            break;

        default:
            if (rnd(2) == 0) {
                do_define(l);
                done[6]++;
            }
        }

        compare(l, i);

        if (rnd(n / 20) == 0) {
            cycles_ledger_close(l);
            l = led_open_size(64 * 1024 * 1024, 1024 * 1024);
            compare(l, i);
        }
    }

    is_int(failed, 0, "%u operations like the model: %u reserves, %u commits, "
           "%u releases, %u extends, %u events, %u decisions, "
           "%u definitions", i, done[0], done[1], done[2], done[3], done[4],
           done[5], done[6]);

    cycles_ledger_close(l);

    return done_testing();
}
