
/*
 * Copyright (C) nginx-cycles authors
 *
 * Several processes on one ledger, and processes that are killed in the
 * middle of what they do.
 *
 *     ledger_crash [ROUNDS [SEED]]
 */


#include "ledger.h"


#define PROCS    4
#define ACKS     40000
#define BUDGETS  5
#define LEFT     5                       /* that are settled together */


/* what children have been told, kept where the parent can see it */

typedef struct {
    char                id[40];
    int64_t             actual;
    volatile unsigned   done;            /* 1: reserved, 2: committed */
} ack_t;

typedef struct {
    volatile unsigned   nacks;
    volatile unsigned   ops;
    volatile unsigned   errors;
    ack_t               acks[ACKS];
} child_t;

typedef struct {
    child_t             child[PROCS];
    volatile unsigned   go;
    volatile unsigned   admitted;
    volatile unsigned   rebuilt;
    volatile unsigned   followed;
    char                said[8192];
} shared_t;


static shared_t    *g;
static unsigned     key_base;

static const char  *subjects[] = { "a", "a//b", "a//c", "a//b//x", "a/w" };
static const char  *budget_list =
    "tenant:a 900000000 0,tenant:a/app:b 500000 1000,"
    "tenant:a/app:c 700000 0,tenant:a/app:b/agent:x 300000 500,"
    "tenant:a/workspace:w 900000000 0";


static void
shared_log(void *data, cycles_ledger_level_t level, const char *text)
{
    (void) data;
    (void) level;

    if (strstr(text, "reading the log again")) {
        __atomic_add_fetch(&g->rebuilt, 1, __ATOMIC_SEQ_CST);

    } else if (strstr(text, "following the log")) {
        __atomic_add_fetch(&g->followed, 1, __ATOMIC_SEQ_CST);

    } else if (strstr(text, "torn") == NULL
               && strstr(text, "has no header yet") == NULL)
    {
        snprintf(g->said, sizeof(g->said), "%s", text);
    }
}


static cycles_ledger_t *
open_shared(void)
{
    cycles_ledger_t       *l;
    cycles_ledger_conf_t   conf;

    memset(&conf, 0, sizeof(conf));
    conf.path = led_dir;
    conf.zone_size = 64 * 1024 * 1024;
    conf.segment_size = 256 * 1024;
    conf.log = shared_log;

    l = cycles_ledger_open(&conf, led_err, sizeof(led_err));

    if (l == NULL) {
        printf("# open: %s\n", led_err);
        exit(2);
    }

    return l;
}


/* sums of what lives and of what was charged must be those of the budgets */

static unsigned
audit(cycles_ledger_t *l, const char *when)
{
    int64_t          *held, *spent;
    uint64_t          slot;
    unsigned          i, wrong, n;
    cycles_ref_t      ref;
    cycles_cell_t    *cell;
    cycles_budget_t  *b;

    wrong = 0;
    cycles_ledger_lock(l);

    n = l->shm->budgets.n;
    held = calloc(n + 1, sizeof(int64_t));
    spent = calloc(n + 1, sizeof(int64_t));

    for (slot = 0; slot <= l->shm->ids.mask; slot++) {
        ref = *cycles_memory_bucket(l, &l->shm->ids, slot);

        for ( /* void */ ; ref; ref = cell->next_id) {
            cell = cycles_memory_at(l, ref);

            for (i = 0; i < cell->nbudgets; i++) {
                b = cycles_memory_at(l, cell->budgets[i]);

                if (cell->status == CYCLES_ACTIVE) {
                    held[b->id] += cell->estimate;

                } else if (cell->status == CYCLES_COMMITTED) {
                    spent[b->id] += cell->charged;
                }
            }
        }
    }

    for (i = 1; i <= n; i++) {
        b = cycles_budget_by_id(l, i);

        if (b->reserved != held[i]
            || b->spent + b->debt != spent[i]
            || b->debt > b->overdraft_limit)
        {
            printf("# %s: %.*s holds %lld, should be %lld; spent %lld + "
                   "debt %lld, should be %lld\n", when, b->scope_len,
                   b->scope, (long long) b->reserved, (long long) held[i],
                   (long long) b->spent, (long long) b->debt,
                   (long long) spent[i]);
            wrong++;
        }
    }

    cycles_ledger_unlock(l);

    free(held);
    free(spent);

    return wrong;
}


/* what was reserved and left, together; returns how many could not be done */

static unsigned
settle_left(cycles_ledger_t *l, ack_t **left, unsigned n, int64_t now)
{
    unsigned       i, errors;
    uint64_t       written;
    cycles_code_t  codes[LEFT];

    if (cycles_ledger_together(l) != 0) {
        return n;
    }

    for (i = 0; i < n; i++) {
        codes[i] = led_commit(l, left[i]->id, "c", left[i]->actual, now);

        if (codes[i] == CYCLES_OK) {
            left[i]->actual = led_st.charged;
        }
    }

    if (cycles_ledger_apart(l, &written) != 0) {
        return n;
    }

    for (errors = 0, i = 0; i < n; i++) {
        if (codes[i] == CYCLES_OK) {
            left[i]->done = 2;
        }

        errors += (codes[i] == CYCLES_INTERNAL_ERROR);
    }

    return errors;
}


/* reserves, then whatever comes to its mind; never returns */

static void
worker(cycles_ledger_t *l, unsigned number)
{
    char            key[64];
    ack_t          *ack, *left[LEFT];
    int64_t         now;
    child_t        *me;
    unsigned        i, nleft;
    cycles_code_t   code;

    nleft = 0;
    me = &g->child[number];
    led_seed ^= ((uint64_t) getpid() << 20) + key_base;

    while (g->go == 0) { /* void */ }

    for (i = 0; ; i++) {
        snprintf(key, sizeof(key), "%u-%d-%u", key_base, (int) getpid(), i);
        now = T0 + key_base * 1000 + i / 100;

        code = led_reserve_as(l, subjects[rnd(BUDGETS)], key, rnd(500),
                              rnd(CYCLES_POLICIES), now);
        me->ops++;

        if (code != CYCLES_OK) {
            me->errors += (code == CYCLES_INTERNAL_ERROR);
            continue;
        }

        if (me->nacks == ACKS) {
            _exit(0);
        }

        ack = &me->acks[me->nacks];
        strcpy(ack->id, led_rs.id);
        ack->actual = rnd(600);
        ack->done = 1;
        me->nacks++;

        switch (rnd(8)) {
        case 0:
            code = led_release(l, ack->id, "r", now);
            ack->done = 0;
            break;

        case 1:
            code = led_extend(l, ack->id, "x", 5000, now);
            break;

        case 2:
        case 3:
        case 4:
            code = CYCLES_OK;
            left[nleft++] = ack;

            if (nleft == LEFT) {
                me->errors += settle_left(l, left, nleft, now);
                nleft = 0;
            }

            break;

        default:
            code = led_commit(l, ack->id, "c", ack->actual, now);

            if (code == CYCLES_OK) {
                ack->actual = led_st.charged;
                ack->done = 2;
            }
        }

        me->errors += (code == CYCLES_INTERNAL_ERROR);
    }
}


static pid_t
start(cycles_ledger_t *l, unsigned number)
{
    pid_t  pid;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        worker(l, number);
    }

    return pid;
}


static void
wait_ops(unsigned number, unsigned more)
{
    unsigned  from;
    double    end;

    from = g->child[number].ops;
    end = led_clock() + 30;

    while (g->child[number].ops - from < more && led_clock() < end) {
        /* void */
    }
}


/* what was acknowledged is there, with the amounts that were told */

static unsigned
check_acks(cycles_ledger_t *l)
{
    ack_t          *ack;
    unsigned        i, k, wrong;
    uint8_t         id[16];
    cycles_cell_t  *cell;

    for (wrong = 0, i = 0; i < PROCS; i++) {
        for (k = 0; k < g->child[i].nacks; k++) {
            ack = &g->child[i].acks[k];

            cycles_id_parse(str(ack->id), id);
            cell = cycles_cell_by_id(l, id, CYCLES_CELL_RESERVATION);

            if (cell == NULL
                || (ack->done == 2
                    && (cell->status != CYCLES_COMMITTED
                        || cell->charged != ack->actual)))
            {
                wrong++;
            }
        }
    }

    return wrong;
}


/* one of them at a time, while the others go on */

static unsigned
test_kill_one(unsigned rounds)
{
    pid_t             pid[PROCS];
    char             *before, *after;
    unsigned          i, n, wrong, lost;
    cycles_ledger_t  *l;

    led_clean();
    memset(g, 0, sizeof(*g));
    l = open_shared();
    led_define(l, budget_list);
    g->go = 1;

    for (i = 0; i < PROCS; i++) {
        pid[i] = start(l, i);
    }

    for (wrong = 0, n = 0; n < rounds; n++) {
        i = rnd(PROCS);
        wait_ops(i, 1 + rnd(100));
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);

        wrong += audit(l, "after a kill");
        key_base++;

        if (g->child[i].nacks > ACKS / 2) {
            break;
        }

        pid[i] = start(l, i);
    }

    for (i = 0; i < PROCS; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
    }

    wrong += audit(l, "at the end");
    lost = check_acks(l);
    before = led_dump(l);
    cycles_ledger_close(l);

    l = open_shared();
    after = led_dump(l);

    is_int(wrong, 0, "%u times one of %u was killed: the sums are right", n,
           PROCS);
    rounds = n;
    is_int(lost, 0, "nothing that was acknowledged is lost");
    ok(strcmp(before, after) == 0, "the log says the same");
    is_str(g->said, "", "nothing else was logged");
    printf("# %u times read again, %u times followed\n", g->rebuilt,
           g->followed);

    for (n = 0, i = 0; i < PROCS; i++) {
        n += g->child[i].errors;
    }

    is_int(n, 0, "no operation of a living process failed");

    free(before);
    free(after);
    cycles_ledger_close(l);

    return rounds + 1;
}


/* all of them at once, with the process that opened the ledger */

static unsigned
test_kill_all(unsigned rounds)
{
    pid_t             group, pid;
    unsigned          i, n, wrong, lost;
    cycles_ledger_t  *l;

    led_clean();
    memset(g, 0, sizeof(*g));
    l = open_shared();
    led_define(l, budget_list);
    cycles_ledger_close(l);

    for (wrong = 0, lost = 0, n = 0; n < rounds; n++) {
        g->go = 0;
        key_base++;
        fflush(stdout);
        group = fork();

        if (group == 0) {
            setpgid(0, 0);
            l = open_shared();

            for (i = 1; i < PROCS; i++) {
                if (fork() == 0) {
                    worker(l, i);
                }
            }

            g->go = 1;
            worker(l, 0);
        }

        setpgid(group, group);

        while (g->go == 0) { /* void */ }

        wait_ops(rnd(PROCS), 1 + rnd(300));
        kill(-group, SIGKILL);

        do {
            pid = waitpid(group, NULL, 0);
        } while (pid == -1 && errno == EINTR);

        l = open_shared();
        wrong += audit(l, "after a start");
        lost += check_acks(l);
        cycles_ledger_close(l);

        if (g->child[0].nacks > ACKS / 2) {
            break;
        }
    }

    is_int(wrong, 0, "%u times all were killed: the sums are right", n);
    is_int(lost, 0, "nothing that was acknowledged is lost");
    is_str(g->said, "", "nothing else was logged");

    return n + 1;
}


/* exactly as many as there is money for, from the first use on */

static void
test_admission(void)
{
    char              key[64], want[64];
    unsigned          round, i, k, wrong;
    cycles_ledger_t  *l;

    for (wrong = 0, round = 0; round < 20; round++) {
        led_clean();
        memset(g, 0, sizeof(*g));
        l = open_shared();
        led_define(l, "tenant:a 1000 0,tenant:a/app:b 2000 0");
        fflush(stdout);

        for (i = 0; i < PROCS; i++) {
            if (fork() == 0) {
                while (g->go == 0) { /* void */ }

                for (k = 0; k < 250; k++) {
                    snprintf(key, sizeof(key), "%u-%u", i, k);

                    if (led_reserve(l, "a//b", key, 10, T0) == CYCLES_OK) {
                        __atomic_add_fetch(&g->admitted, 1,
                                           __ATOMIC_SEQ_CST);

                    } else if (led_rs.code != CYCLES_BUDGET_EXCEEDED) {
                        g->child[i].errors++;
                    }
                }

                _exit(0);
            }
        }

        g->go = 1;

        while (wait(NULL) > 0) { /* void */ }

        snprintf(want, sizeof(want), "r0 h1000 s0 d0");
        wrong += g->admitted != 100;
        wrong += strcmp(led_balance(l, "tenant:a"), want) != 0;

        for (i = 0; i < PROCS; i++) {
            wrong += g->child[i].errors;
        }

        cycles_ledger_close(l);
    }

    is_int(wrong, 0, "of 1000 requests for a budget for 100, 100 are "
           "admitted, 20 times");
}


/* a process dies with the lock at each step of an operation */

typedef enum {
    DIES_DECIDING = 0,
    DIES_WITH_A_RECORD,
    DIES_WITH_A_TORN_RECORD,
    DIES_CHANGING,
    DIES_ROTATING,
    DIES_REBUILDING,
    DEATHS
} death_t;


static const char  *deaths[] = {
    "deciding", "after its record was written", "in the middle of a record",
    "in the middle of a change", "creating a segment", "reading the log"
};


static void
die(cycles_ledger_t *l, death_t death)
{
    int               len, fd;
    char              name[600];
    cycles_record_t  *rec;
    cycles_subject_t  subject;
    cycles_action_t   action;

    cycles_ledger_lock(l);

    rec = &l->record;
    memset(rec, 0, sizeof(*rec));
    memset(&action, 0, sizeof(action));
    subject = led_subject("a//b");

    rec->type = CYCLES_RECORD_RESERVE;
    memcpy(rec->id, "\x01\x02\x03\x04\x05\x06\x47\x08\x89", 9);
    rec->owner = str("a");
    rec->key = str("of the dead");
    rec->subject = &subject;
    rec->action = &action;
    rec->unit = CYCLES_TOKENS;
    rec->decision = CYCLES_ALLOW;
    rec->amount = 5;
    rec->expires_at_ms = T0 + 10000;
    cycles_effect_add(rec, cycles_budget_by_id(l, 1), 5, 0, 0);
    rec->seq = l->shm->written + 1;
    rec->time = T0;

    len = cycles_record_write(rec, l->buffer, CYCLES_RECORD_MAX);

    switch (death) {

    case DIES_WITH_A_RECORD:
        (void) !pwrite(l->log_fd, l->buffer, len, l->shm->log_end);
        break;

    case DIES_WITH_A_TORN_RECORD:
        (void) !pwrite(l->log_fd, l->buffer, len - 1, l->shm->log_end);
        break;

    case DIES_REBUILDING:
    case DIES_CHANGING:
        l->shm->changing = 1;
        memset(l->base + l->shm->heap, 0xff, 4096);
        memset(l->base + l->shm->cells_low, 0x55,
               l->size - l->shm->cells_low);
        cycles_budget_by_id(l, 1)->spent = 12345;
        l->shm->log_end += 7;
        l->shm->segment += 3;
        l->shm->nlive = 77;
        break;

    case DIES_ROTATING:
        l->shm->changing = 1;
        snprintf(name, sizeof(name), "%s/log-%020" PRIu64 ".bin", led_dir,
                 l->shm->written + 1);
        fd = open(name, O_WRONLY|O_CREAT, 0600);
        (void) !write(fd, "CYCLELOG", 8);
        break;

    default:
        break;
    }

    _exit(0);
}


static void
test_deaths(void)
{
    char             *before, *after, key[32];
    death_t           death;
    unsigned          i;
    cycles_ledger_t  *l;

    for (death = 0; death < DEATHS; death++) {
        led_clean();
        memset(g, 0, sizeof(*g));
        l = open_shared();
        led_define(l, "tenant:a 1000 0");

        for (i = 0; i < 10; i++) {
            snprintf(key, sizeof(key), "k%u", i);
            led_reserve(l, "a//b", key, 10, T0);

            if (i % 2) {
                led_commit(l, led_rs.id, "c", 9, T0);
            }
        }

        before = led_dump(l);
        fflush(stdout);

        if (fork() == 0) {
            die(l, death);
        }

        wait(NULL);

        if (death == DIES_REBUILDING) {

            /* the one who finds it dies over it, too */

            if (fork() == 0) {
                pthread_mutex_lock(&l->shm->mutex);
                _exit(0);
            }

            wait(NULL);
        }

        is_int(cycles_ledger_lock(l), 0, "it died %s: the lock",
               deaths[death]);
        cycles_ledger_unlock(l);
        after = led_dump(l);

        if (death == DIES_WITH_A_RECORD) {
            ok(strcmp(before, after) != 0, "its record counts");
            is_str(led_balance(l, "tenant:a"), "r900 h55 s45 d0",
                   "once");

        } else {
            is_str(after, before, "the state is what it was");
        }

        is_int(g->rebuilt + g->followed, 1, "it was recovered once");
        is_int(g->rebuilt, death >= DIES_CHANGING, "in the right way");
        is_str(g->said, "", "nothing else was logged");

        is_int(led_reserve(l, "a//b", "after", 1, T0), CYCLES_OK,
               "and it goes on");
        free(before);
        before = led_dump(l);
        cycles_ledger_close(l);

        l = open_shared();
        free(after);
        after = led_dump(l);
        is_str(after, before, "the log says the same");
        is_str(g->said, "", "and is whole");
        cycles_ledger_close(l);

        free(before);
        free(after);
    }
}


/* the log is gone when it is needed: nothing is answered any more */

static void
test_broken(void)
{
    char              moved[600], first[600];
    cycles_ledger_t  *l;

    led_clean();
    memset(g, 0, sizeof(*g));
    l = open_shared();
    led_define(l, "tenant:a 1000 0");
    led_reserve(l, "a", "k", 1, T0);
    snprintf(moved, sizeof(moved), "%s/moved", led_dir);
    strcpy(first, led_segment(l));
    rename(first, moved);
    fflush(stdout);

    if (fork() == 0) {
        cycles_ledger_lock(l);
        l->shm->changing = 1;
        _exit(0);
    }

    wait(NULL);

    /* an empty directory would be a new ledger, but not in mid-flight */

    is_int(led_reserve(l, "a", "k2", 1, T0), CYCLES_INTERNAL_ERROR,
           "no log: nothing is reserved");
    is_int(led_event(l, "a", "e", 1, 0, T0), CYCLES_INTERNAL_ERROR,
           "nor recorded");
    ok(strstr(g->said, "stops until nginx is restarted") != NULL,
       "it is reported: %s", g->said);
    cycles_ledger_close(l);

    rename(moved, first);
    l = open_shared();
    is_str(led_balance(l, "tenant:a"), "r999 h1 s0 d0",
           "the log is back: a start finds all of it");
    cycles_ledger_close(l);
}


int
main(int argc, char **argv)
{
    unsigned  rounds, n;

    rounds = argc > 1 ? atoi(argv[1]) : 60;

    if (argc > 2) {
        led_seed = strtoull(argv[2], NULL, 10) | 1;
    }

    g = mmap(NULL, sizeof(shared_t), PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS, -1, 0);

    led_start();

    test_deaths();
    test_broken();
    test_admission();

    /* each goes on until it has enough to remember */

    for (n = 0; n < rounds; n += test_kill_one(rounds - n)) { /* void */ }

    for (n = 0; n < rounds / 2; n += test_kill_all(rounds / 2 - n)) {
        /* void */
    }

    return done_testing();
}
