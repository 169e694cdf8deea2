
/*
 * Copyright (C) nginx-cycles authors
 *
 * Has several processes operate on one ledger at random, for test_model.py to
 * compare what they were told with its model:
 *
 *     model_ops DIRECTORY BUDGETS PROCESSES OPERATIONS SEED TIME
 *
 * The ledger is made in the directory, with the budgets of the file; each
 * process writes one line for each operation to DIRECTORY/ops-N:
 *
 *     NAME TIME BEFORE AFTER CODE RECORD ARGUMENTS ... : ANSWER ...
 *
 * BEFORE and AFTER are the last record of the log before and after the
 * operation.  The balances of the end, and those after a start from the log
 * and after one from the tables, are written to DIRECTORY/balances-N.
 */


#include <pthread.h>

#include "ledger.h"
#include "ledger/cycles_ledger_admin.h"


#define KEPT  64


/* what the processes share: the time, and reservations to settle */

typedef struct {
    pthread_mutex_t  mutex;
    int64_t          now;
    char             ids[KEPT][40];
    unsigned         nids;
} shared_t;


static const char *const  subjects[] = {
    "a", "a//b", "a//b//x", "A//B//X", "a/w/b", "a//b//y",
    "r", "r///w", "c", "c////z", "s", "s//p", "e", "e//q", "nobody",
    "a//new1", "a//new2", "e//new3"
};

/* of the budgets; the last ones are made on the way */

static const char *const  scopes[] = {
    "tenant:a", "tenant:a/app:b", "tenant:a/app:b/agent:x",
    "tenant:a/workspace:w", "tenant:r", "tenant:r/workflow:w", "tenant:c",
    "tenant:c/agent:z", "tenant:s", "tenant:s/app:p", "tenant:e",
    "tenant:e/app:q", "tenant:none",
    "tenant:a/app:new1", "tenant:a/app:new2", "tenant:e/app:new3"
};

#define COUNT(list)  (sizeof(list) / sizeof(list[0]))


static shared_t  *shared;
static FILE      *out;
static unsigned   process;
static unsigned   jumps;               /* one of so many */


static cycles_str_t
scope_of(unsigned i)
{
    return str(scopes[i]);
}


/* each operation has a time of its own; hours pass now and then */

static int64_t
later(void)
{
    int64_t  step;

    step = 1 + (int64_t) rnd(rnd(10) ? 4 : 200);

    if (rnd(jumps) == 0) {
        step = 3600 * 1000 + (int64_t) rnd(1000);
    }

    return __atomic_add_fetch(&shared->now, step, __ATOMIC_SEQ_CST);
}


static void
keep_id(const char *id)
{
    pthread_mutex_lock(&shared->mutex);
    strcpy(shared->ids[shared->nids++ % KEPT], id);
    pthread_mutex_unlock(&shared->mutex);
}


static int
any_id(char *id)
{
    unsigned  n;

    pthread_mutex_lock(&shared->mutex);
    n = shared->nids < KEPT ? shared->nids : KEPT;

    if (n) {
        strcpy(id, shared->ids[rnd(n)]);
    }

    pthread_mutex_unlock(&shared->mutex);

    return n ? 0 : -1;
}


/* some amounts are such as no double can hold */

static int64_t
any_amount(void)
{
    switch (rnd(4)) {

    case 0:
        return rnd(1000);

    case 1:
        return ((int64_t) 1 << 53) + rnd(1 << 20);

    case 2:
        return rnd((uint64_t) 1 << 57);

    default:
        return rnd((uint64_t) 1 << 55);
    }
}


static void
any_key(char *key, size_t size, const char *kind, unsigned of)
{
    snprintf(key, size, "%s%u", kind, (unsigned) rnd(of));
}


static cycles_policy_t
any_policy(void)
{
    return rnd(CYCLES_POLICIES);
}


static void
begin(const char *name, int64_t now, uint64_t before, cycles_ledger_t *l,
    cycles_code_t code, uint64_t record)
{
    fprintf(out, "%s %" PRId64 " %" PRIu64 " %" PRIu64 " %s %" PRIu64, name,
            now, before, cycles_ledger_written(l),
            code == CYCLES_OK ? "OK" : cycles_code_name(code), record);
}


static void
put(const char *text)
{
    fprintf(out, " %s", text[0] ? text : "-");
}


static void
num(int64_t n)
{
    fprintf(out, " %" PRId64, n);
}


/* what is said of a budget when it was not denied means nothing */

static void
denied(int is, const cycles_denial_t *d)
{
    if (!is || d->scope_len == 0) {
        fprintf(out, " - 0 0\n");
        return;
    }

    fprintf(out, " %.*s", (int) d->scope_len, d->scope);
    num(d->remaining);
    num(d->held);
    fprintf(out, "\n");
}


static void
do_reserve(cycles_ledger_t *l)
{
    char               key[32];
    int64_t            now;
    uint64_t           before;
    const char        *subject, *name;
    cycles_code_t      code;
    cycles_reserve_t   rq;

    subject = subjects[rnd(COUNT(subjects))];
    any_key(key, sizeof(key), "k", rnd(3) ? 1000000 : 300);

    rq = led_reserve_rq(subject, key, any_amount());
    rq.ttl_ms = 1000 * (1 + rnd(10));
    rq.grace_ms = 1000 * rnd(3);
    rq.policy = any_policy();

    if (rnd(20) == 0) {
        rq.unit = CYCLES_CREDITS;
    }

    switch (rnd(10)) {

    case 0:
        rq.decide = 1;
        name = "decide";
        break;

    case 1:
        rq.dry_run = 1;
        name = "dry_run";
        break;

    default:
        name = "reserve";
    }

    before = cycles_ledger_written(l);
    now = later();
    code = led_do_reserve(l, &rq, now);

    begin(name, now, before, l, code, led_rs.record);
    put(subject);
    put(key);
    put(cycles_unit_name(rq.unit));
    num(rq.estimate);
    num(rq.ttl_ms);
    num(rq.grace_ms);
    put(cycles_policy_name(rq.policy));
    put(":");
    put(led_rs.id);
    num(led_rs.decision);
    put(led_rs.reason);
    num(led_rs.reserved);
    num(led_rs.expires_at_ms);
    num(led_rs.remaining_ttl_ms);
    num(led_rs.remaining);
    denied(led_rs.decision == CYCLES_DENY, &led_rs.denial);

    if (code == CYCLES_OK && led_rs.id[0]) {
        keep_id(led_rs.id);
    }
}


static void
do_event(cycles_ledger_t *l)
{
    char             key[32];
    int64_t          now, actual;
    uint64_t         before;
    const char      *subject;
    cycles_code_t    code;
    cycles_policy_t  policy;

    subject = subjects[rnd(COUNT(subjects))];
    any_key(key, sizeof(key), "k", rnd(3) ? 1000000 : 100);
    actual = any_amount() / 16;
    policy = any_policy();

    before = cycles_ledger_written(l);
    now = later();
    code = led_event(l, subject, key, actual, policy, now);

    begin("event", now, before, l, code, led_st.record);
    put(subject);
    put(key);
    num(actual);
    put(cycles_policy_name(policy));
    put(":");
    put(led_st.event_id);
    num(led_st.charged);
    num(led_st.remaining);
    denied(code != CYCLES_OK, &led_st.denial);
}


static void
do_settle(cycles_ledger_t *l)
{
    char           id[40], key[32];
    int64_t        now, n;
    uint64_t       before;
    const char    *name;
    cycles_code_t  code;

    if (any_id(id) != 0) {
        return;
    }

    any_key(key, sizeof(key), "s", 3);
    before = cycles_ledger_written(l);
    n = 0;

    switch (rnd(6)) {

    case 0:
        name = "release";
        now = later();
        code = led_release(l, id, key, now);
        break;

    case 1:
    case 2:
        name = "extend";
        n = 1 + rnd(rnd(2) ? 3 : 4000);
        now = later();
        code = led_extend(l, id, key, n, now);
        break;

    default:
        name = "commit";
        n = rnd(8) ? any_amount() / (rnd(4) ? 8 : 1) : 7;
        now = later();
        code = led_commit(l, id, key, n, now);
    }

    begin(name, now, before, l, code, led_st.record);
    put(id);
    put(key);
    num(n);
    put(":");
    num(led_st.charged);
    num(led_st.released);
    num(led_st.expires_at_ms);
    num(led_st.remaining_ttl_ms);
    num(led_st.remaining);
    denied(code != CYCLES_OK, &led_st.denial);
}


static void
do_fund(cycles_ledger_t *l)
{
    char              key[32];
    int64_t           now;
    uint64_t          before;
    unsigned          i;
    cycles_code_t     code;
    cycles_funded_t   rs;
    cycles_funding_t  rq;

    static const char *const  names[] = {
        "CREDIT", "DEBIT", "RESET", "REPAY_DEBT", "RESET_SPENT"
    };

    i = rnd(COUNT(scopes));

    memset(&rq, 0, sizeof(rq));
    rq.scope = scope_of(i);
    rq.unit = CYCLES_TOKENS;
    rq.operation = rnd(CYCLES_FUNDINGS);
    rq.amount = any_amount();

    /* enough that most of what follows is not refused */

    if (rq.operation == CYCLES_RESET || rq.operation == CYCLES_RESET_SPENT) {
        rq.amount = ((int64_t) 1 << 59) + rnd(1 << 20);
    }

    rq.spent = (rq.operation == CYCLES_RESET_SPENT && rnd(2))
               ? (int64_t) rnd(1 << 30) : -1;

    key[0] = '\0';

    if (rnd(3)) {
        any_key(key, sizeof(key), "f", rnd(3) ? 1000000 : 50);
        rq.idempotency_key = str(key);
    }

    before = cycles_ledger_written(l);
    now = later();

    do {
        code = cycles_ledger_fund(l, &rq, &rs, now);
    } while (led_look_up(l, code) == 0);

    begin("fund", now, before, l, code, rs.record);
    put(scopes[i]);
    put(key);
    put(names[rq.operation]);
    num(rq.amount);
    num(rq.spent);
    put(":");
    num(rs.sums.previous_allocated);
    num(rs.sums.new_allocated);
    num(rs.sums.previous_spent);
    num(rs.sums.new_spent);
    num(rs.sums.previous_debt);
    num(rs.sums.new_debt);
    num(rs.sums.previous_remaining);
    num(rs.sums.new_remaining);
    num(rs.when_ms);
    fprintf(out, "\n");
}


/* the budget as it has become */

static cycles_budget_view_t  seen;


static void
see_budget(void *data, const cycles_budget_view_t *b)
{
    seen = *b;
}


static void
see_tenant(void *data, const cycles_tenant_def_t *t)
{
}


static void
do_define(cycles_ledger_t *l)
{
    int64_t              now;
    uint64_t             before;
    unsigned             i, what;
    const char          *name;
    cycles_show_t        show;
    cycles_code_t        code;
    cycles_budget_def_t  def;
    cycles_transition_t  rq;

    memset(&show, 0, sizeof(show));
    show.budget = see_budget;
    show.tenant = see_tenant;
    memset(&seen, 0, sizeof(seen));

    i = rnd(COUNT(scopes));

    memset(&def, 0, sizeof(def));
    def.scope = scope_of(i);
    def.unit = CYCLES_TOKENS;
    def.policy = CYCLES_POLICY_NONE;
    def.allocated = any_amount();
    def.overdraft_limit = rnd(2) ? any_amount() / 8 : 0;

    memset(&rq, 0, sizeof(rq));
    rq.scope = def.scope;
    rq.unit = CYCLES_TOKENS;
    rq.reason = str("why");

    before = cycles_ledger_written(l);
    now = later();
    what = rnd(10);

    if (what < 2) {
        name = "create";
        code = cycles_ledger_budget_create(l, &def, &show, now);

    } else if (what < 5) {
        name = "limit";
        code = cycles_ledger_budget_update(l, &def, CYCLES_SET_OVERDRAFT,
                                           &show, now);

    } else {
        rq.status = (what < 6) ? CYCLES_BUDGET_IS_FROZEN
                               : CYCLES_BUDGET_ACTIVE;
        name = (what < 6) ? "freeze" : "unfreeze";

        if (rnd(jumps / 4 + 1) == 0) {
            rq.status = CYCLES_BUDGET_IS_CLOSED;
            name = "close";
        }

        code = cycles_ledger_budget_status(l, &rq, &show, now);
    }

    begin(name, now, before, l, code, show.record);
    put(scopes[i]);
    num(def.allocated);
    num(def.overdraft_limit);
    put(":");
    num(seen.def.allocated);
    num(seen.reserved);
    num(seen.spent);
    num(seen.debt);
    num(seen.remaining);
    num(seen.over_limit);
    num(seen.def.status);
    fprintf(out, "\n");
}


static void
do_tenant(cycles_ledger_t *l, const char *tenant,
    cycles_tenant_status_t status)
{
    int64_t              now;
    uint64_t             before, last;
    cycles_show_t        show;
    cycles_code_t        code;
    cycles_tenant_def_t  def;

    memset(&show, 0, sizeof(show));
    show.tenant = see_tenant;

    memset(&def, 0, sizeof(def));
    def.tenant_id = str(tenant);
    def.status = status;

    before = cycles_ledger_written(l);
    now = later();
    code = cycles_ledger_tenant_update(l, &def, CYCLES_SET_STATUS, &show,
                                       now);

    begin("tenant", now, before, l, code, show.record);
    put(tenant);
    num(status);
    put(":");
    fprintf(out, "\n");

    if (code == CYCLES_OK && status == CYCLES_TENANT_IS_CLOSED
        && cycles_ledger_close_tenants(l, now, &last) != 0)
    {
        fprintf(out, "trouble\n");
    }
}


static void
run(cycles_ledger_t *l, unsigned operations, uint64_t seed)
{
    char      path[600];
    unsigned  i, what;

    led_seed = (seed * 16 + process) * 2654435761u + 88172645463325252ULL;
    snprintf(path, sizeof(path), "%s/../ops-%u", led_dir, process);
    out = fopen(path, "w");

    if (out == NULL) {
        exit(2);
    }

    for (i = 0; i < operations; i++) {
        what = rnd(100);

        if (process == 1 && i == operations * 3 / 4) {
            do_tenant(l, "e", CYCLES_TENANT_IS_CLOSED);

        } else if (what < 42) {
            do_reserve(l);

        } else if (what < 80) {
            do_settle(l);

        } else if (what < 88) {
            do_event(l);

        } else if (what < 94) {
            do_fund(l);

        } else if (what < 99) {
            do_define(l);

        } else {
            do_tenant(l, "s", rnd(3) ? CYCLES_TENANT_ACTIVE
                                     : CYCLES_TENANT_IS_SUSPENDED);
        }
    }

    if (fclose(out) != 0) {
        exit(2);
    }
}


static int
print_balance(void *data, const cycles_balance_t *b)
{
    fprintf(out, "%.*s %s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
            " %" PRId64 " %u\n", (int) b->scope_path.len, b->scope_path.data,
            cycles_unit_name(b->unit), b->allocated, b->remaining,
            b->reserved, b->spent, b->debt, b->is_over_limit);

    return 0;
}


static void
balances(cycles_ledger_t *l, unsigned n)
{
    char      path[600];
    uint64_t  cursor;

    snprintf(path, sizeof(path), "%s/../balances-%u", led_dir, n);
    out = fopen(path, "w");

    if (out == NULL) {
        exit(2);
    }

    cursor = 0;

    /* long ago: nothing is due then */

    do {
        cycles_ledger_balances(l, &cursor, 3, T0, print_balance, NULL);
    } while (cursor);

    fclose(out);
}


/* one file of the log, of which nothing is removed: it is read in the end */

static cycles_ledger_t *
open_ledger(void)
{
    cycles_ledger_t  *l;

    l = led_open_size(96 * 1024 * 1024, 1024 * 1024 * 1024);

    if (l == NULL) {
        fprintf(stderr, "%s\n", led_err);
        exit(2);
    }

    return l;
}


static void
define(cycles_ledger_t *l, const char *path, int64_t now)
{
    char              *text;
    FILE              *file;
    size_t             len;
    cycles_budgets_t  *budgets;

    text = malloc(65536);
    file = fopen(path, "r");

    if (text == NULL || file == NULL) {
        exit(2);
    }

    len = fread(text, 1, 65536, file);
    fclose(file);

    budgets = cycles_budgets_parse(text, len, led_err, sizeof(led_err));

    if (budgets == NULL
        || cycles_ledger_apply(l, budgets, now, led_err, sizeof(led_err)) != 0)
    {
        fprintf(stderr, "%s\n", led_err);
        exit(2);
    }

    cycles_ledger_zones(l);
    cycles_budgets_free(budgets);
    free(text);
}


int
main(int argc, char **argv)
{
    int                  status, failed;
    pid_t                pid;
    unsigned             i, processes, operations;
    cycles_fold_t        fold;
    cycles_ledger_t     *l;
    pthread_mutexattr_t  attr;

    if (argc != 7) {
        return 2;
    }

    snprintf(led_dir, sizeof(led_dir), "%s", argv[1]);
    processes = atoi(argv[3]);
    operations = atoi(argv[4]);
    jumps = operations / 10 + 1;

    shared = mmap(NULL, sizeof(shared_t), PROT_READ|PROT_WRITE,
                  MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return 2;
    }

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->mutex, &attr);
    shared->now = strtoll(argv[6], NULL, 10);

    l = open_ledger();
    define(l, argv[2], shared->now);

    for (i = 0; i < processes; i++) {
        pid = fork();

        if (pid == 0) {
            process = i;
            run(l, operations / processes, strtoull(argv[5], NULL, 10));
            _exit(0);
        }

        if (pid == -1) {
            return 2;
        }
    }

    for (failed = 0, i = 0; i < processes; i++) {
        failed |= (wait(&status) == -1 || status != 0);
    }

    balances(l, 0);
    cycles_ledger_close(l);

    l = open_ledger();
    balances(l, 1);

    cycles_ledger_want_folded(l, cycles_ledger_written(l));

    do {
        if (cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err))
            != 0)
        {
            fprintf(stderr, "%s\n", led_err);
            return 2;
        }
    } while (fold.more);

    cycles_ledger_close(l);

    l = open_ledger();
    balances(l, 2);
    cycles_ledger_close(l);

    return failed;
}
