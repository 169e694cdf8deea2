
/*
 * Copyright (C) nginx-cycles authors
 *
 * The embedded ledger by itself, in process: how many pairs of reserve and
 * commit a second, what a pair costs, and what that becomes as budgets and
 * live reservations get more.
 *
 *     ledger [-b BUDGETS] [-l LIVE] [-s SECONDS] [-p PROCESSES] [-d DIR]
 *            [-S SCOPES] [-k] [-y]
 *
 *     -b N   so many budgets, besides the tenant's (by default 1)
 *     -l N   so many live reservations meanwhile (0)
 *     -s N   measures for so long (2)
 *     -p N   so many processes at once (1)
 *     -d D   a directory on the disk that is to be measured (/tmp)
 *     -S N   budgets that a pair is charged to, 1 to 3 (2)
 *     -k     keys of idempotency that clients have given, as the HTTP API has
 *            them, instead of new ones of its own, as the gateway has them
 *     -y     sync=always: each operation waits until it is on the disk
 *
 * The log is synced and folded into ledger.db by a process of its own
 * meanwhile, as nginx does it in a thread.  One line of JSON comes out:
 *
 *     pairs_per_s, pairs_per_core_s (of a second of CPU), cpu_us (of a pair,
 *     in the process that does it), p50_us, p99_us and max_us (of a pair),
 *     zone_bytes (that are in use), rss_bytes,
 *     define_s, start_ms (of the next start, with everything in ledger.db),
 *     and start_log_ms (of a start from the log alone, not with -b over 10000)
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ledger/cycles_ledger_core.h"
#include "ledger/cycles_ledger_admin.h"


#define SAMPLES     (1 << 20)
#define PROCESSES   64

/* of a time that is far from any expiry */
#define LIVE_MS     86400000


typedef struct {
    volatile int  stop;
    struct {
        uint64_t  pairs;
        double    cpu_us;
        double    seconds;
        uint32_t  samples[SAMPLES / PROCESSES];   /* in nanoseconds */
        unsigned  nsamples;
        char      pad[64];
    } of[PROCESSES];
} shared_t;


static unsigned  budgets = 1;
static unsigned  live;
static unsigned  processes = 1;
static unsigned  scopes = 2;
static int       seconds = 2;
static int       client_keys;
static int       always;

static char      dir[256];
static shared_t  *shared;
static uint64_t  seed = 88172645463325252ULL;


static void
fail(const char *what, const char *err)
{
    fprintf(stderr, "%s: %s\n", what, err);
    exit(2);
}


static uint64_t
rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return seed % n;
}


static double
clock_of(clockid_t id)
{
    struct timespec  ts;

    clock_gettime(id, &ts);

    return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}


static int64_t
now_ms(void)
{
    return (int64_t) (clock_of(CLOCK_REALTIME) / 1e3);
}


static void
say(void *data, cycles_ledger_level_t level, const char *text)
{
    if (level >= CYCLES_LEDGER_WARN) {
        fprintf(stderr, "%s\n", text);
    }
}


static cycles_ledger_t *
open_ledger(void)
{
    char                   err[CYCLES_LEDGER_ERROR_LEN];
    cycles_ledger_t       *l;
    cycles_ledger_conf_t   conf;

    memset(&conf, 0, sizeof(conf));
    conf.path = dir;
    conf.log = say;

    /* generous, so that nothing gives way */

    conf.zone_size = (size_t) 64 * 1024 * 1024
                     + (size_t) budgets * 512 + (size_t) live * 1024;
    conf.zone_size &= ~(size_t) 4095;

    l = cycles_ledger_open(&conf, err, sizeof(err));

    if (l == NULL) {
        fail("open", err);
    }

    return l;
}


static cycles_str_t
text(const char *s)
{
    cycles_str_t  str;

    str.len = strlen(s);
    str.data = (unsigned char *) s;

    return str;
}


static void
no_tenant(void *data, const cycles_tenant_def_t *t)
{
}


static void
no_budget(void *data, const cycles_budget_view_t *b)
{
}


/* "tenant:acme", and so many apps below it, some of them with an agent */

static void
define(cycles_ledger_t *l)
{
    char                 scope[128];
    unsigned             i, created;
    cycles_show_t        show;
    cycles_budget_def_t  def;
    cycles_tenant_def_t  tenant;

    memset(&show, 0, sizeof(show));
    show.tenant = no_tenant;
    show.budget = no_budget;

    memset(&tenant, 0, sizeof(tenant));
    tenant.tenant_id = text("acme");
    tenant.name = text("acme");
    tenant.policy = CYCLES_POLICY_NONE;
    tenant.default_ttl_ms = -1;
    tenant.max_ttl_ms = -1;
    tenant.max_extensions = -1;

    if (cycles_ledger_tenant_create(l, &tenant, &created, &show, now_ms())
        != CYCLES_OK)
    {
        fail("tenant", cycles_ledger_trouble(l));
    }

    memset(&def, 0, sizeof(def));
    def.unit = CYCLES_USD_MICROCENTS;
    def.policy = CYCLES_POLICY_NONE;
    def.allocated = INT64_MAX / 4;

    for (i = 0; i <= budgets + 1; i++) {

        if (i == 0) {
            snprintf(scope, sizeof(scope), "tenant:acme");

        } else if (i <= budgets) {
            snprintf(scope, sizeof(scope), "tenant:acme/app:a%u", i - 1);

        } else {
            snprintf(scope, sizeof(scope), "tenant:acme/app:a0/agent:x");
        }

        def.scope = text(scope);

        if (cycles_ledger_budget_create(l, &def, &show, now_ms())
            != CYCLES_OK)
        {
            fail("budget", cycles_ledger_trouble(l));
        }
    }
}


static void
wait_synced(cycles_ledger_t *l, uint64_t record)
{
    while (cycles_ledger_synced(l) < record) {
        if (cycles_ledger_sync(l) != 0) {
            fail("sync", cycles_ledger_trouble(l));
        }
    }
}


/* as nginx does it: the filters of old keys can be wrong about a new one */

static int
look_up(cycles_ledger_t *l, cycles_code_t code)
{
    char              err[CYCLES_LEDGER_ERROR_LEN];
    cycles_look_up_t  wanted;

    if (code != CYCLES_LOOK_UP) {
        return 0;
    }

    cycles_ledger_missed(l, &wanted);
    cycles_ledger_want_folded(l, wanted.record);

    while (cycles_ledger_folded(l) < wanted.record) {
        usleep(1000);
    }

    if (cycles_ledger_look_up(l, &wanted, err, sizeof(err)) != 0) {
        fail("look-up", err);
    }

    cycles_ledger_looked_up(l, &wanted);

    return 1;
}


static void
reserve(cycles_ledger_t *l, uint64_t n, int64_t ttl, cycles_reserved_t *rs)
{
    char              key[64], app[32];
    cycles_code_t     code;
    cycles_reserve_t  rq;

    snprintf(key, sizeof(key), "%08x-%d-%016" PRIx64, (unsigned) rnd(1u << 31),
             (int) getpid(), n);

    memset(&rq, 0, offsetof(cycles_reserve_t, subject));
    memset(&rq.subject.levels, 0, sizeof(rq.subject.levels));
    rq.subject.ndimensions = 0;
    rq.action.ntags = 0;
    rq.idempotency_key = text(key);
    rq.subject.levels[0] = text("acme");

    if (scopes > 1) {
        snprintf(app, sizeof(app), "a%u", scopes > 2 ? 0
                                          : (unsigned) rnd(budgets));
        rq.subject.levels[2] = text(app);
    }

    if (scopes > 2) {
        rq.subject.levels[4] = text("x");
    }

    rq.action.kind = text("llm.completion");
    rq.action.name = text("openai:gpt-4o-mini");
    rq.unit = CYCLES_USD_MICROCENTS;
    rq.estimate = 1200;
    rq.ttl_ms = ttl;
    rq.grace_ms = 5000;
    rq.policy = CYCLES_ALLOW_IF_AVAILABLE;
    rq.metadata = text("");
    rq.trace_id = text("");
    rq.dry_run = 0;
    rq.decide = 0;
    rq.fresh_key = !client_keys;

    do {
        code = cycles_ledger_reserve(l, &rq, rs, now_ms());
    } while (look_up(l, code));

    if (code != CYCLES_OK) {
        fail("reserve", code == CYCLES_INTERNAL_ERROR
                        ? cycles_ledger_trouble(l) : rs->reason);
    }
}


static void
pair(cycles_ledger_t *l, uint64_t n)
{
    cycles_commit_t           rq;
    cycles_settled_t          st;
    static cycles_reserved_t  rs;

    reserve(l, n, 60000, &rs);

    if (always) {
        wait_synced(l, rs.record);
    }

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = text(rs.id);
    rq.unit = CYCLES_USD_MICROCENTS;
    rq.actual = 900;
    rq.metrics.tokens_input = 230;
    rq.metrics.tokens_output = 161;
    rq.metrics.latency_ms = 800;
    rq.metrics.model_version = text("gpt-4o-mini");
    rq.fresh_key = !client_keys;

    if (cycles_ledger_commit(l, text(rs.id), &rq, &st, now_ms())
        != CYCLES_OK)
    {
        fail("commit", cycles_ledger_trouble(l));
    }

    if (always) {
        wait_synced(l, st.record);
    }
}


static void
measure(cycles_ledger_t *l, unsigned me)
{
    double    begin, cpu, before, after;
    uint64_t  n;
    unsigned  i;

    seed += (me + 1) * 7919;

    begin = clock_of(CLOCK_MONOTONIC);
    cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);

    for (n = 0; !shared->stop; n++) {

        if (n % 16) {
            pair(l, n);
            continue;
        }

        /* some are timed */

        before = clock_of(CLOCK_MONOTONIC);
        pair(l, n);
        after = clock_of(CLOCK_MONOTONIC);

        i = shared->of[me].nsamples;

        if (i < SAMPLES / PROCESSES) {
            shared->of[me].nsamples++;

        } else {
            i = rnd(SAMPLES / PROCESSES);
        }

        shared->of[me].samples[i] = (after - before) * 1e3;
    }

    shared->of[me].pairs = n;
    shared->of[me].cpu_us = clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    shared->of[me].seconds = (clock_of(CLOCK_MONOTONIC) - begin) / 1e6;
}


/* what nginx has a thread for */

static void
background(cycles_ledger_t *l)
{
    char           err[CYCLES_LEDGER_ERROR_LEN];
    cycles_fold_t  fold;

    for (fold.more = 0; !shared->stop; ) {

        if (!fold.more) {
            usleep(50000);
        }

        if (cycles_ledger_sync(l) != 0
            || cycles_ledger_fold(l, now_ms(), 0, &fold, err, sizeof(err))
               != 0)
        {
            fail("fold", err);
        }
    }
}


static void
fold_all(cycles_ledger_t *l)
{
    char           err[CYCLES_LEDGER_ERROR_LEN];
    cycles_fold_t  fold;

    cycles_ledger_want_folded(l, cycles_ledger_written(l));

    do {
        if (cycles_ledger_fold(l, now_ms(), 0, &fold, err, sizeof(err)) != 0)
        {
            fail("fold", err);
        }
    } while (fold.more);
}


static double
start_ms(void)
{
    double            begin, end;
    cycles_ledger_t  *l;

    begin = clock_of(CLOCK_MONOTONIC);
    l = open_ledger();
    end = clock_of(CLOCK_MONOTONIC);
    cycles_ledger_close(l);

    return (end - begin) / 1e3;
}


static long
resident(cycles_ledger_t *l)
{
    size_t          i, n;
    unsigned char  *vec;
    long            pages;

    n = l->size / 4096;
    vec = malloc(n);

    if (vec == NULL || mincore(l->base, n * 4096, vec) != 0) {
        return -1;
    }

    for (pages = 0, i = 0; i < n; i++) {
        pages += vec[i] & 1;
    }

    free(vec);

    return pages * 4096;
}


static int
less(const void *a, const void *b)
{
    const uint32_t  *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}


static void
report(double define_s, long zone, double start, double start_log)
{
    double           pairs, cpu, rate;
    unsigned         i, n;
    static uint32_t  all[SAMPLES];
    struct rusage    ru;

    pairs = 0;
    cpu = 0;
    rate = 0;
    n = 0;

    for (i = 0; i < processes; i++) {
        pairs += shared->of[i].pairs;
        cpu += shared->of[i].cpu_us;
        rate += shared->of[i].pairs / shared->of[i].seconds;
        memcpy(all + n, shared->of[i].samples,
               shared->of[i].nsamples * sizeof(uint32_t));
        n += shared->of[i].nsamples;
    }

    qsort(all, n, sizeof(uint32_t), less);
    getrusage(RUSAGE_CHILDREN, &ru);

    printf("{\"budgets\":%u,\"live\":%u,\"processes\":%u,\"scopes\":%u,"
           "\"sync\":\"%s\",\"keys\":\"%s\",\"pairs\":%.0f,"
           "\"pairs_per_s\":%.0f,\"pairs_per_core_s\":%.0f,"
           "\"cpu_us\":%.3f,\"p50_us\":%.2f,"
           "\"p99_us\":%.2f,\"max_us\":%.1f,\"zone_bytes\":%ld,"
           "\"rss_bytes\":%ld,\"define_s\":%.2f,\"start_ms\":%.1f",
           budgets, live, processes, scopes, always ? "always" : "interval",
           client_keys ? "client" : "own", pairs, rate, pairs * 1e6 / cpu,
           cpu / pairs, all[n / 2] / 1e3, all[n * 99 / 100] / 1e3,
           all[n - 1] / 1e3, zone, ru.ru_maxrss * 1024L, define_s, start);

    if (start_log >= 0) {
        printf(",\"start_log_ms\":%.1f", start_log);
    }

    printf("}\n");
}


static void
clean(void)
{
    DIR            *d;
    char            path[600];
    struct dirent  *de;

    d = opendir(dir);

    while (d && (de = readdir(d)) != NULL) {
        if (de->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
            unlink(path);
        }
    }

    if (d) {
        closedir(d);
    }

    rmdir(dir);
}


int
main(int argc, char **argv)
{
    int                       c, status;
    long                      zone;
    pid_t                     folder, pids[PROCESSES];
    double                    begin, define_s, start, start_log;
    unsigned                  i;
    const char               *where;
    cycles_ledger_t          *l;
    static cycles_reserved_t  rs;

    where = "/tmp";

    while ((c = getopt(argc, argv, "b:l:s:p:d:S:ky")) != -1) {

        switch (c) {

        case 'b': budgets = atoi(optarg); break;
        case 'l': live = atoi(optarg); break;
        case 's': seconds = atoi(optarg); break;
        case 'p': processes = atoi(optarg); break;
        case 'd': where = optarg; break;
        case 'S': scopes = atoi(optarg); break;
        case 'k': client_keys = 1; break;
        case 'y': always = 1; break;

        default:
            return 2;
        }
    }

    if (budgets < 1 || processes < 1 || processes > PROCESSES || seconds < 1
        || scopes < 1 || scopes > 3)
    {
        fprintf(stderr, "see the head of bench/ledger.c\n");
        return 2;
    }

    snprintf(dir, sizeof(dir), "%s/cycles-bench-XXXXXX", where);

    if (mkdtemp(dir) == NULL) {
        fail(dir, "can't be made");
    }

    shared = mmap(NULL, sizeof(shared_t), PROT_READ|PROT_WRITE,
                  MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED) {
        fail("mmap", "no memory");
    }

    l = open_ledger();

    begin = clock_of(CLOCK_MONOTONIC);
    define(l);
    define_s = (clock_of(CLOCK_MONOTONIC) - begin) / 1e6;

    for (i = 0; i < live; i++) {
        reserve(l, i, LIVE_MS, &rs);
    }

    wait_synced(l, cycles_ledger_written(l));

    start_log = -1;

    if (budgets <= 10000) {
        cycles_ledger_close(l);
        start_log = start_ms();
        l = open_ledger();
    }

    fold_all(l);
    cycles_ledger_close(l);

    start = start_ms();

    l = open_ledger();

    folder = fork();

    if (folder == 0) {
        background(l);
        _exit(0);
    }

    for (i = 0; i < processes; i++) {
        pids[i] = fork();

        if (pids[i] == 0) {
            measure(l, i);
            _exit(0);
        }
    }

    sleep(seconds);
    shared->stop = 1;

    for (i = 0; i < processes; i++) {
        if (waitpid(pids[i], &status, 0) == -1 || status != 0) {
            return 2;
        }
    }

    if (waitpid(folder, &status, 0) == -1 || status != 0) {
        return 2;
    }

    zone = resident(l);
    cycles_ledger_close(l);
    clean();

    report(define_s, zone, start, start_log);

    return 0;
}
