
/*
 * Copyright (C) nginx-cycles authors
 *
 * Operations that are done together: one write, in their order, and all of
 * them or none.
 */


#include <sys/resource.h>

#include "ledger.h"


#define SEVERAL  3
#define MANY     100


static const char  *subjects[SEVERAL] = { "a", "b", "c" };
static const char  *list = "tenant:a 100000 0,tenant:b 100000 0,"
                           "tenant:c 100000 0";


/* a reservation of each tenant */

static void
reserve_all(cycles_ledger_t *l, char (*ids)[40])
{
    char         key[32];
    unsigned     i;

    static unsigned  serial;

    for (i = 0; i < SEVERAL; i++) {
        snprintf(key, sizeof(key), "k%u", serial++);

        if (led_reserve(l, subjects[i], key, 10, T0) != CYCLES_OK) {
            printf("# reserve failed: %s\n", cycles_ledger_trouble(l));
            exit(2);
        }

        strcpy(ids[i], led_rs.id);
    }
}


/* a commit, a release and an event; returns how many were answered well */

static unsigned
settle_all(cycles_ledger_t *l, char (*ids)[40], uint64_t *records)
{
    unsigned  n;

    n = led_commit(l, ids[0], "c", 7, T0) == CYCLES_OK;
    records[0] = led_st.record;

    n += led_release(l, ids[1], "r", T0) == CYCLES_OK;
    records[1] = led_st.record;

    n += led_event(l, "c", ids[2], 3, 0, T0) == CYCLES_OK;
    records[2] = led_st.record;

    return n;
}


/* the types of the records of the log behind one, as a text of letters */

static const char *
types_behind(cycles_ledger_t *l, uint64_t seq)
{
    char                  err[CYCLES_LEDGER_ERROR_LEN];
    size_t                len, n;
    const char           *damage;
    cycles_record_t      *rec;
    cycles_reader_t       reader;
    const unsigned char  *p;

    static char  types[64];

    rec = calloc(1, sizeof(cycles_record_t));
    n = 0;

    if (cycles_reader_open(l, &reader, l->shm->segment, CYCLES_SEGMENT_HEAD,
                           err, sizeof(err))
        == 0)
    {
        while (n < sizeof(types) - 1
               && (p = cycles_reader_record(&reader, &len, &damage)) != NULL
               && cycles_record_read(rec, p, len) == 0)
        {
            if (rec->seq > seq) {
                types[n++] = (rec->type == CYCLES_RECORD_COMMIT) ? 'C'
                             : (rec->type == CYCLES_RECORD_RELEASE) ? 'R'
                             : (rec->type == CYCLES_RECORD_EVENT) ? 'E' : '?';
            }

            cycles_reader_next(&reader, len);
        }

        cycles_reader_close(&reader);
    }

    types[n] = '\0';
    free(rec);

    return types;
}


static void
test_together(void)
{
    char              ids[SEVERAL][40];
    off_t             size;
    uint64_t          from, written, records[SEVERAL];
    cycles_ledger_t  *l;

    l = led_fresh(list);
    reserve_all(l, ids);

    from = cycles_ledger_written(l);
    size = led_size(led_segment(l));

    is_int(cycles_ledger_together(l), 0, "several settlements begin");
    is_int(settle_all(l, ids, records), SEVERAL, "they are answered");
    is_int(records[0], from + 1, "the first record");
    is_int(records[2], from + 3, "the last one");
    is_int(led_size(led_segment(l)), size, "nothing is written yet");
    is_int(cycles_ledger_written(l), from, "and nobody is told so");
    is_int(l->shm->changing, 1, "who dies now leaves the log to the next one");

    is_int(cycles_ledger_apart(l, &written), 0, "they are written");
    is_int(written, from + 3, "all of them");
    is_int(cycles_ledger_written(l), written, "which everybody knows");
    is_int(l->shm->changing, 0, "memory is that of the log");
    is_str(types_behind(l, from), "CRE", "in their order");

    is_str(led_balance(l, "tenant:a"), "r99993 h0 s7 d0", "the commit");
    is_str(led_balance(l, "tenant:b"), "r100000 h0 s0 d0", "the release");
    is_str(led_balance(l, "tenant:c"), "r99987 h10 s3 d0", "the event");

    is_int(cycles_ledger_together(l), 0, "none");
    is_int(cycles_ledger_apart(l, &written), 0, "are done at once");
    is_int(l->shm->changing, 0, "and change nothing");

    is_int(cycles_ledger_together(l), 0, "the same again");
    is_int(settle_all(l, ids, records), SEVERAL, "is answered");
    is_int(records[0], from + 1, "as it was");
    is_int(led_commit(l, ids[0], "other", 7, T0),
           CYCLES_RESERVATION_FINALIZED, "another commit is refused");
    is_int(cycles_ledger_apart(l, &written), 0, "it is no failure");
    is_int(written, from + 3, "and nothing was written");

    l = led_reopen(l);
    is_str(led_said, "", "and the log is whole");
    cycles_ledger_close(l);
}


/* a later one sees what an earlier one has left of the budget */

static void
test_in_order(void)
{
    char              ids[2][40];
    uint64_t          written;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 100 0");
    led_reserve(l, "a", "1", 50, T0);
    strcpy(ids[0], led_rs.id);
    led_reserve(l, "a", "2", 50, T0);
    strcpy(ids[1], led_rs.id);

    cycles_ledger_together(l);
    is_int(led_commit(l, ids[0], "c", 20, T0), CYCLES_OK, "one leaves 30");
    is_int(led_commit(l, ids[1], "c", 99, T0), CYCLES_OK, "one takes 99");
    is_int(led_st.charged, 80, "and is charged what there is");
    is_int(cycles_ledger_apart(l, &written), 0, "together");
    is_str(led_balance(l, "tenant:a"), "r0 h0 s100 d0 over", "all is spent");
    cycles_ledger_close(l);
}


/* what is reserved is there for those behind it, and goes with them */

static void
test_reserves(void)
{
    char              id[40], *before, *after;
    uint64_t          from, written;
    struct rlimit     rl, old;
    cycles_ledger_t  *l;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);

    l = led_fresh("tenant:a 100 0");
    before = led_dump(l);
    from = cycles_ledger_written(l);

    cycles_ledger_together(l);
    is_int(led_reserve(l, "a", "1", 60, T0), CYCLES_OK, "60 of 100");
    is_int(led_reserve(l, "a", "2", 60, T0), CYCLES_BUDGET_EXCEEDED,
           "no more than that");

    rl = old;
    rl.rlim_cur = l->shm->log_end + 10;
    setrlimit(RLIMIT_FSIZE, &rl);
    is_int(cycles_ledger_apart(l, &written), -1, "it is not written");
    setrlimit(RLIMIT_FSIZE, &old);

    is_int(written, from, "so it was not reserved");
    after = led_dump(l);
    is_str(after, before, "at all");

    is_int(led_reserve(l, "a", "2", 60, T0), CYCLES_OK,
           "the other one, now that there is money");

    cycles_ledger_together(l);
    is_int(led_reserve(l, "a", "3", 40, T0), CYCLES_OK, "the rest");
    is_int(led_rs.record, from + 2, "has its record");
    strcpy(id, led_rs.id);
    is_int(led_reserve(l, "a", "3", 40, T0), CYCLES_OK, "again");
    is_str(led_rs.id, id, "is the same");
    is_int(led_commit(l, id, "c", 30, T0), CYCLES_OK, "which is settled");
    is_int(cycles_ledger_apart(l, &written), 0, "all of it is written");
    is_int(written, from + 3, "once");
    is_str(led_balance(l, "tenant:a"), "r10 h60 s30 d0", "and is so");

    cycles_ledger_close(led_reopen(l));

    free(before);
    free(after);
    signal(SIGXFSZ, SIG_DFL);
}


/* whatever part of them the disk takes */

static void
test_failed_write(void)
{
    char              ids[SEVERAL][40], *before, *after;
    off_t             size, limit;
    uint64_t          from, written, records[SEVERAL];
    unsigned          wrong;
    struct rlimit     rl, old;
    cycles_ledger_t  *l;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);

    l = led_fresh(list);
    reserve_all(l, ids);

    before = led_dump(l);
    size = led_size(led_segment(l));
    from = cycles_ledger_written(l);
    wrong = 0;

    for (limit = size + 1; limit < size + 300; limit += 13) {
        wrong += cycles_ledger_together(l) != 0;
        wrong += settle_all(l, ids, records) != SEVERAL;

        rl = old;
        rl.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &rl);

        wrong += cycles_ledger_apart(l, &written) != -1;

        setrlimit(RLIMIT_FSIZE, &old);

        wrong += written != from;
        wrong += cycles_ledger_written(l) != from;
        wrong += l->shm->changing != 0;
        wrong += led_size(led_segment(l)) != size;

        after = led_dump(l);
        wrong += strcmp(after, before) != 0;
        free(after);

        /* memory is not read again for each of them */

        wrong += cycles_ledger_together(l) != -1;
        l->write_failed = 0;
    }

    is_int(wrong, 0, "writes that stop anywhere: none has happened");
    ok(strstr(led_said, "reading the log of ledger") != NULL,
       "memory is read again, which is said");

    l->write_failed = 1;
    is_int(cycles_ledger_together(l), -1, "none together after a failure");
    is_int(led_event(l, "a", "alone", 1, 0, T0), CYCLES_OK, "one is written");
    is_int(cycles_ledger_together(l), 0, "then they are together again");
    is_int(settle_all(l, ids, records), SEVERAL, "and answered");
    is_int(cycles_ledger_apart(l, &written), 0, "and written");
    is_str(types_behind(l, from), "ECRE", "once");

    free(before);
    cycles_ledger_close(l);
    signal(SIGXFSZ, SIG_DFL);
}


/* a segment ends between them and the ones before, never among them */

static void
test_rotation(void)
{
    char              ids[SEVERAL][40], key[32];
    unsigned          n;
    uint64_t          segment, written, records[SEVERAL];
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(4 * 1024 * 1024, 4096);
    led_define(l, list);
    reserve_all(l, ids);

    segment = l->shm->segment;

    for (n = 0; l->shm->log_end < 4096; n++) {
        snprintf(key, sizeof(key), "x%u", n);
        led_extend(l, ids[0], key, 1, T0);
    }

    is_int(l->shm->segment, segment, "a segment is full");

    /* a commit has its room, an event makes some, with a new segment */

    cycles_ledger_together(l);
    is_int(settle_all(l, ids, records), SEVERAL, "several go on");
    is_int(l->shm->segment, segment, "in the same one");
    is_int(l->shm->changing, 1, "and are known to be under way");
    is_int(cycles_ledger_apart(l, &written), 0, "they are written");

    is_int(led_event(l, "a", "next", 1, 0, T0), CYCLES_OK, "the next one");
    is_int(l->shm->segment, written + 1, "begins a segment");
    cycles_ledger_close(l);

    l = led_open_size(4 * 1024 * 1024, 4096);
    ok(l != NULL, "all of it can be read: %s", led_err);
    is_str(led_said, "", "and is whole");
    cycles_ledger_close(l);
}


/* more than are written at once: the first ones are, the others are not */

static unsigned
commit_many(cycles_ledger_t *l, char (*ids)[40], uint64_t *records,
    uint64_t behind)
{
    unsigned          i, done;
    cycles_commit_t   rq;

    static unsigned char  text[4000];

    memset(text, 'm', sizeof(text));
    rq = led_commit_rq("c", 1);
    rq.metadata.data = text;
    rq.metadata.len = sizeof(text);

    for (done = 0, i = 0; i < MANY; i++) {
        if (records[i] && records[i] <= behind) {
            continue;
        }

        records[i] = (cycles_ledger_commit(l, str(ids[i]), &rq, &led_st, T0)
                      == CYCLES_OK) ? led_st.record : 0;
        done += records[i] != 0;
    }

    return done;
}


static void
test_many(void)
{
    char              ids[MANY][40], key[32];
    unsigned          i, n, done;
    uint64_t          from, written, records[MANY];
    struct rlimit     rl, old;
    cycles_ledger_t  *l;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);

    l = led_fresh(list);

    for (n = 0; n < 2; n++) {
        memset(records, 0, sizeof(records));

        for (i = 0; i < MANY; i++) {
            snprintf(key, sizeof(key), "k%u-%u", n, i);
            led_reserve(l, "a", key, 1, T0);
            strcpy(ids[i], led_rs.id);
        }

        from = cycles_ledger_written(l);
        is_int(cycles_ledger_together(l), 0, "many long commits");

        if (n == 0) {
            is_int(commit_many(l, ids, records, 0), MANY, "are answered");
            is_int(cycles_ledger_apart(l, &written), 0, "and written");
            is_int(written, from + MANY, "to the last one");
            continue;
        }

        rl = old;
        rl.rlim_cur = l->shm->log_end + 100 * 1000;
        setrlimit(RLIMIT_FSIZE, &rl);

        done = commit_many(l, ids, records, 0);
        is_int(cycles_ledger_apart(l, &written), -1,
               "the second write fails");
        setrlimit(RLIMIT_FSIZE, &old);

        is_int(l->shm->broken, 0, "which is no damage");
        ok(written > from && written < from + done,
           "%u of %u were written before", (unsigned) (written - from), done);
        is_int(led_look(l, "tenant:a").balance.spent,
               MANY + (int64_t) (written - from), "those have happened");

        is_int(commit_many(l, ids, records, written),
               MANY - (int64_t) (written - from), "the others happen now");
        is_int(led_look(l, "tenant:a").balance.spent, 2 * MANY,
               "all have once");
    }

    cycles_ledger_close(l);
    signal(SIGXFSZ, SIG_DFL);
}


/* a process dies in the middle of them, or right after they were written */

static void
test_deaths(void)
{
    char              ids[SEVERAL][40], *before, *after;
    unsigned          i;
    uint64_t          written, records[SEVERAL];
    cycles_ledger_t  *l;

    for (i = 0; i <= SEVERAL + 1; i++) {
        l = led_fresh(list);
        reserve_all(l, ids);
        before = led_dump(l);
        fflush(stdout);

        if (fork() == 0) {
            cycles_ledger_together(l);

            switch (i) {

            case 0:
                break;

            case 1:
                led_commit(l, ids[0], "c", 7, T0);
                break;

            case SEVERAL + 1:
                settle_all(l, ids, records);

                /* as the write, and no more than that */

                (void) !pwrite(l->log_fd, l->buffer, l->unwritten,
                               l->shm->log_end);
                break;

            default:
                settle_all(l, ids, records);
            }

            _exit(0);
        }

        wait(NULL);

        is_int(cycles_ledger_lock(l), 0, "one has died, %u were done", i);
        cycles_ledger_unlock(l);

        after = led_dump(l);

        if (i <= SEVERAL) {
            is_str(after, before, "none has happened");

        } else {
            is_str(led_balance(l, "tenant:a"), "r99993 h0 s7 d0",
                   "the first has happened");
            is_str(led_balance(l, "tenant:c"), "r99987 h10 s3 d0",
                   "the last one, too");
        }

        ok(strstr(led_said, i ? "reading the log again"
                              : "following the log") != NULL,
           "it was found out: %s", led_said);

        is_int(cycles_ledger_together(l), 0, "another goes on");
        is_int(settle_all(l, ids, records), SEVERAL, "with the same ones");
        is_int(cycles_ledger_apart(l, &written), 0, "which are written");
        is_str(led_balance(l, "tenant:a"), "r99993 h0 s7 d0", "once");

        cycles_ledger_close(led_reopen(l));

        free(after);
        free(before);
    }
}


int
main(void)
{
    led_start();

    test_together();
    test_in_order();
    test_reserves();
    test_failed_write();
    test_rotation();
    test_many();
    test_deaths();

    return done_testing();
}
