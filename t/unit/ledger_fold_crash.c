
/*
 * Copyright (C) nginx-cycles authors
 *
 * A process that works on a ledger and folds its log dies before each of the
 * calls that change a file, or in the middle of it; and the power fails at
 * that moment, which takes all that was not synced.  After a start all that
 * was acknowledged is there, exactly once.
 *
 *     ledger_fold_crash [ROUNDS [SEED]]
 */


#include <sqlite3.h>
#include <sys/syscall.h>

#include "ledger.h"
#include "ledger/cycles_ledger_admin.h"


#define ACKS      4000
#define SEGMENT   16384
#define ZONE      (4 * 1024 * 1024)


/* what the process that died was told; written: synced, too, up to here */

typedef enum {
    RESERVED = 0,
    COMMITTED,
    HAPPENED,
    FUNDED,
    FROZEN
} told_t;

typedef struct {
    char                id[40];
    told_t              told;
    int64_t             amount;
} ack_t;

typedef struct {
    volatile unsigned   nacks;
    volatile unsigned   nsynced;
    volatile unsigned   calls;           /* that change files */
    volatile unsigned   folds;
    volatile unsigned   open;            /* the ledger was */
    ack_t               acks[ACKS];
} shared_t;


static shared_t  *g;
static char       base_dir[300], work_dir[300], disk_dir[300];
static unsigned   dies_at;               /* 0: never */
static unsigned   torn;
static unsigned   watching;


/* the file of a descriptor, if it is in the directory of the ledger */

static const char *
watched(int fd)
{
    char         link[64];
    ssize_t      n;
    const char  *name;
    static char  path[600];

    if (!watching) {
        return NULL;
    }

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);

    if (n <= 0) {
        return NULL;
    }

    path[n] = '\0';
    name = strrchr(path, '/') + 1;

    if (strncmp(path, work_dir, strlen(work_dir)) != 0
        || strcmp(name, "lock") == 0 || strstr(name, "-shm"))
    {
        return NULL;
    }

    return name;
}


/* whether this is the end */

static int
step(void)
{
    g->calls++;

    return dies_at && g->calls == dies_at;
}


/* what a failure of power leaves: files as of their last sync */

static void
reach_disk(const char *name)
{
    int      in, out;
    char     buf[65536], path[600];
    ssize_t  n;

    snprintf(path, sizeof(path), "%s/%s", work_dir, name);
    in = open(path, O_RDONLY);
    snprintf(path, sizeof(path), "%s/%s", disk_dir, name);
    out = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0600);

    while ((n = read(in, buf, sizeof(buf))) > 0) {
        if (syscall(SYS_write, out, buf, n) != n) {
            _exit(3);
        }
    }

    close(in);
    close(out);
}


ssize_t
pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    if (watched(fd) && step()) {

        if (torn) {
            syscall(SYS_pwrite64, fd, buf, n / 2, offset);
        }

        _exit(77);
    }

    return syscall(SYS_pwrite64, fd, buf, n, offset);
}


ssize_t
pwrite64(int fd, const void *buf, size_t n, off_t offset)
{
    return pwrite(fd, buf, n, offset);
}


ssize_t
write(int fd, const void *buf, size_t n)
{
    if (watched(fd) && step()) {
        _exit(77);
    }

    return syscall(SYS_write, fd, buf, n);
}


int
fdatasync(int fd)
{
    int          rc;
    const char  *name;

    name = watched(fd);

    if (name && step()) {
        _exit(77);
    }

    rc = syscall(SYS_fdatasync, fd);

    if (name) {
        reach_disk(name);
    }

    return rc;
}


int
ftruncate(int fd, off_t size)
{
    if (watched(fd) && step()) {
        _exit(77);
    }

    return syscall(SYS_ftruncate, fd, size);
}


int
ftruncate64(int fd, off_t size)
{
    return ftruncate(fd, size);
}


/* what is removed is removed on the disk at once: that is the worst case */

static void
removed(const char *path)
{
    char         gone[600];
    const char  *name;

    name = strrchr(path, '/');
    name = name ? name + 1 : path;

    if (step()) {
        _exit(77);
    }

    snprintf(gone, sizeof(gone), "%s/%s", disk_dir, name);
    syscall(SYS_unlink, gone);
}


int
unlinkat(int fd, const char *name, int flags)
{
    if (watching) {
        removed(name);
    }

    return syscall(SYS_unlinkat, fd, name, flags);
}


int
unlink(const char *path)
{
    if (watching) {
        removed(path);
    }

    return syscall(SYS_unlink, path);
}


static void
copy_dir(const char *from, const char *to)
{
    char  command[1200];

    snprintf(command, sizeof(command), "rm -rf %s && cp -r %s %s", to, from,
             to);

    if (system(command) != 0) {
        printf("# failed: %s\n", command);
        exit(2);
    }
}


static cycles_ledger_t *
open_in(const char *dir)
{
    char              saved[sizeof(led_dir)];
    cycles_ledger_t  *l;

    strcpy(saved, led_dir);
    snprintf(led_dir, sizeof(led_dir), "%s", dir);
    l = led_open_size(ZONE, SEGMENT);
    strcpy(led_dir, saved);

    if (l == NULL) {
        printf("# open: %s\n", led_err);
    }

    return l;
}


static void
acknowledge(const char *id, told_t told, int64_t amount)
{
    ack_t  *ack;

    ack = &g->acks[g->nacks];
    strcpy(ack->id, id);
    ack->told = told;
    ack->amount = amount;
    g->nacks++;
}


static void
no_budget(void *data, const cycles_budget_view_t *b)
{
}


/* what an operator does: funds one budget, freezes another one, or not */

static void
operate(cycles_ledger_t *l, const char *key, int64_t now)
{
    cycles_show_t        show;
    cycles_funded_t      rs;
    cycles_funding_t     rq;
    cycles_transition_t  to;

    memset(&rq, 0, sizeof(rq));
    rq.scope = str("tenant:a");
    rq.unit = CYCLES_TOKENS;
    rq.operation = CYCLES_CREDIT;
    rq.amount = 1 + rnd(9);
    rq.spent = -1;
    rq.idempotency_key = str(key);

    if (cycles_ledger_fund(l, &rq, &rs, now) == CYCLES_OK) {
        acknowledge(key, FUNDED, rq.amount);
    }

    memset(&show, 0, sizeof(show));
    show.budget = no_budget;

    memset(&to, 0, sizeof(to));
    to.scope = str("tenant:a/app:frozen");
    to.unit = CYCLES_TOKENS;
    to.status = CYCLES_BUDGET_IS_FROZEN;
    to.reason = str(key);

    if (cycles_ledger_budget_status(l, &to, &show, now) == CYCLES_OK) {
        acknowledge(key, FROZEN, 0);
    }

    to.status = CYCLES_BUDGET_ACTIVE;
    (void) cycles_ledger_budget_status(l, &to, &show, now);
}


/* reserves, commits, releases, extends, records events, funds, freezes */

static void
work(cycles_ledger_t *l, unsigned n)
{
    char               key[40], id[40];
    ack_t             *ack;
    unsigned           i;
    cycles_commit_t    commit;
    cycles_reserve_t   rq;
    static unsigned    serial;
    static int64_t     now = T0;

    static const char  *subjects[] = { "a", "a//b", "a//c" };

    for (i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "w%d-%u", (int) getpid(), serial++);
        now += rnd(20);

        if (rnd(20) == 0) {
            operate(l, key, now);
            continue;
        }

        if (rnd(5) == 0) {
            if (led_event(l, subjects[rnd(3)], key, rnd(50), 0, now)
                == CYCLES_OK)
            {
                acknowledge(led_st.event_id, HAPPENED, led_st.charged);
            }

            continue;
        }

        rq = led_reserve_rq(subjects[rnd(3)], key, rnd(100));
        rq.fresh_key = (rnd(4) != 0);

        if (led_do_reserve(l, &rq, now) != CYCLES_OK) {
            continue;
        }

        strcpy(id, led_rs.id);
        acknowledge(id, RESERVED, 0);
        ack = &g->acks[g->nacks - 1];

        switch (rnd(4)) {

        case 0:
            break;

        case 1:
            led_extend(l, id, key, 1000, now);
            break;

        default:
            commit = led_commit_rq(key, rnd(120));
            commit.fresh_key = rq.fresh_key;

            if (cycles_ledger_commit(l, str(id), &commit, &led_st, now)
                == CYCLES_OK)
            {
                ack->amount = led_st.charged;
                ack->told = COMMITTED;
            }
        }
    }
}


/* the process that dies */

static void
child(void)
{
    int               rc;
    unsigned          i, acked;
    cycles_fold_t     fold;
    cycles_ledger_t  *l;

    watching = 1;
    l = open_in(work_dir);

    if (l == NULL) {
        _exit(4);
    }

    g->open = 1;

    for (i = 0; i < 3; i++) {
        work(l, 1 + rnd(120));
        acked = g->nacks;

        if (cycles_ledger_sync(l) != 0) {
            _exit(5);
        }

        /* as "sync=always": this is when they are told */

        g->nsynced = acked;

        if (i == 1) {
            work(l, rnd(30));
        }

        do {
            rc = cycles_ledger_fold(l, T0, 0, &fold, led_err,
                                    sizeof(led_err));
        } while (rc == 0 && fold.more);

        if (rc != 0) {
            printf("# fold: %s\n", led_err);
            _exit(6);
        }

        g->folds++;
    }

    _exit(0);
}


/* the number that a query gives */

static int64_t
number(cycles_ledger_t *l, const char *fmt, ...)
{
    char           sql[1000];
    int64_t        n;
    va_list        args;
    sqlite3       *db;
    sqlite3_stmt  *st;

    va_start(args, fmt);
    vsnprintf(sql, sizeof(sql), fmt, args);
    va_end(args);

    n = -1;
    db = cycles_ledger_database(l, led_err, sizeof(led_err));

    if (db && sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW) {
            n = sqlite3_column_int64(st, 0);
        }

        sqlite3_finalize(st);
        cycles_ledger_database_return(l, db);

    } else {
        printf("# %s: %s\n", sql, db ? sqlite3_errmsg(db) : led_err);
    }

    return n;
}


static int64_t  bundles;


/* the rows explain the sums, and the tables have what memory has */

static unsigned
audit(cycles_ledger_t *l)
{
    unsigned    id, wrong;
    led_look_t  look;

    static const char  *scopes[] = {
        "tenant:a", "tenant:a/app:b", "tenant:a/app:c"
    };

    for (wrong = 0, id = 1; id <= 3; id++) {
        look = led_look(l, scopes[id - 1]);

        wrong += look.broken;
        wrong += number(l, "SELECT reserved FROM budgets WHERE id = %u", id)
                 != look.balance.reserved;
        wrong += number(l, "SELECT spent FROM budgets WHERE id = %u", id)
                 != look.balance.spent;

        wrong += number(l, "SELECT ifnull(sum(estimate), 0) FROM"
                        " reservations, json_each(budgets) WHERE value = %u"
                        " AND status = 'ACTIVE'", id)
                 != look.balance.reserved;

        wrong += number(l, "SELECT (SELECT ifnull(sum(charged), 0) FROM"
                        " reservations, json_each(budgets) WHERE value = %u)"
                        " + (SELECT ifnull(sum(charged), 0) FROM events WHERE"
                        " scope_path || '/' LIKE '%s/%%')"
                        " - (SELECT ifnull(sum(spent), 0) FROM periods WHERE"
                        " budget = %u)", id, scopes[id - 1], id)
                 != look.balance.spent;

        wrong += number(l, "SELECT allocated - ifnull((SELECT sum(amount)"
                        " FROM fundings WHERE budget = budgets.id), 0) FROM"
                        " budgets WHERE id = %u", id)
                 != 900000000;

        wrong += number(l, "SELECT count(*) > 0 FROM periods") != 1;
    }

    bundles += number(l, "SELECT count(*) FROM reservation_bundles");

    return wrong;
}


static unsigned
check_acks(cycles_ledger_t *l, unsigned n)
{
    ack_t     *ack;
    unsigned   i, wrong;

    static const char  *queries[] = {
        "SELECT count(*) FROM reservations WHERE reservation_id = '%s'",
        "SELECT count(*) FROM reservations WHERE reservation_id = '%s' AND"
        " status = 'COMMITTED' AND charged = %lld",
        "SELECT count(*) FROM events WHERE event_id = '%s' AND charged ="
        " %lld",
        "SELECT count(*) FROM fundings WHERE idempotency_key = '%s' AND"
        " amount = %lld",
        "SELECT count(*) FROM status_changes WHERE reason = '%s' AND status ="
        " 'FROZEN'"
    };

    for (wrong = 0, i = 0; i < n; i++) {
        ack = &g->acks[i];

        wrong += number(l, queries[ack->told], ack->id,
                        (long long) ack->amount)
                 != 1;
    }

    return wrong;
}


/* a start on what is left, in a directory */

static unsigned
check(const char *dir, unsigned nacks, const char *what)
{
    int               rc;
    unsigned          wrong;
    cycles_fold_t     fold;
    cycles_ledger_t  *l;

    l = open_in(dir);

    if (l == NULL) {
        printf("# %s, call %u: no start\n", what, dies_at);
        return 1;
    }

    wrong = led_reserve(l, "a//b", "afterwards", 1, T0) != CYCLES_OK;

    cycles_ledger_want_folded(l, cycles_ledger_written(l));

    do {
        rc = cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err));
    } while (rc == 0 && fold.more);

    if (rc != 0) {
        printf("# fold: %s\n", led_err);
    }

    wrong += rc != 0;
    wrong += fold.folded != cycles_ledger_written(l);
    wrong += audit(l);
    wrong += check_acks(l, nacks);

    if (wrong) {
        printf("# %s, call %u%s: %u wrong\n", what, dies_at,
               torn ? ", torn" : "", wrong);
    }

    cycles_ledger_close(l);

    return wrong;
}


/* returns how many calls it has made, if it lived; otherwise 0 */

static unsigned
run(unsigned at, uint64_t seed, unsigned *wrong)
{
    int       status;
    pid_t     pid;
    unsigned  calls;

    memset(g, 0, offsetof(shared_t, acks));
    copy_dir(base_dir, work_dir);
    copy_dir(base_dir, disk_dir);

    dies_at = at;
    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        led_seed = seed | 1;
        child();
    }

    waitpid(pid, &status, 0);
    calls = g->calls;

    if (!WIFEXITED(status)
        || (WEXITSTATUS(status) != 77 && WEXITSTATUS(status) != 0))
    {
        printf("# ended with %x\n", status);
        (*wrong)++;
    }

    *wrong += check(disk_dir, g->nsynced, "without power");
    *wrong += check(work_dir, g->nacks, "killed");

    return WEXITSTATUS(status) == 0 ? calls : 0;
}


/* a ledger that has been used for some time */

static void
make_base(void)
{
    cycles_ledger_t  *l;

    copy_dir("/dev/null", base_dir);
    (void) !unlink(base_dir);
    mkdir(base_dir, 0700);

    l = open_in(base_dir);
    led_define(l, "tenant:a 900000000 0,tenant:a/app:b 900000000 0");
    led_budgets(l, "{\"budgets\":[{\"scope\":\"tenant:a/app:c\","
                "\"unit\":\"TOKENS\",\"allocated\":{\"unit\":\"TOKENS\","
                "\"amount\":900000000},\"period\":{\"type\":\"rolling\","
                "\"seconds\":1}}]}");
    led_define(l, "tenant:a/app:frozen 5 0");
    work(l, 400);
    cycles_ledger_sync(l);
    cycles_ledger_close(l);
}


int
main(int argc, char **argv)
{
    char      command[300];
    uint64_t  seed;
    unsigned  rounds, calls, at, wrong, died, i;

    rounds = argc > 1 ? atoi(argv[1]) : 60;
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 20251125;

    g = mmap(NULL, sizeof(shared_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    /* what reaches the disk is made up: no need to wait for a real one */

    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 0);
    }

    led_start();
    snprintf(base_dir, sizeof(base_dir), "%s/base", led_dir);
    snprintf(work_dir, sizeof(work_dir), "%s/work", led_dir);
    snprintf(disk_dir, sizeof(disk_dir), "%s/disk", led_dir);

    make_base();

    wrong = 0;
    calls = run(0, seed, &wrong);
    ok(calls > 100 && wrong == 0, "it makes %u calls when it is left alone",
       calls);

    for (wrong = 0, died = 0, i = 0; i < rounds; i++) {
        led_seed = seed + i * 7919 + 1;
        torn = rnd(2);
        at = 1 + rnd(calls);
        died += run(at, rounds > 500 ? seed + i : seed, &wrong) == 0;
    }

    is_int(wrong, 0, "it died %u times at any of them: all that was told is "
           "there, once", died);
    ok(died > rounds / 2, "it died more often than not");
    ok(bundles > rounds, "there were bundles");

    snprintf(command, sizeof(command), "rm -rf %s/*", led_dir);
    (void) !system(command);

    return done_testing();
}
