
/*
 * Copyright (C) nginx-cycles authors
 *
 * A full disk and a full zone: new reservations are denied, what is held gets
 * settled, nothing that lives is forgotten.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "ledger.h"


#define MAX  20000


static char      ids[MAX][40];
static unsigned  nids;
static unsigned  serial;


static cycles_code_t
reserve(cycles_ledger_t *l, size_t metadata)
{
    char               key[32], *text;
    cycles_code_t      code;
    cycles_reserve_t   rq;

    snprintf(key, sizeof(key), "k%u", serial++);
    rq = led_reserve_rq("a//b/w", key, 10);

    text = calloc(1, metadata + 1);
    rq.metadata.len = metadata;
    rq.metadata.data = (unsigned char *) text;

    code = cycles_ledger_reserve(l, &rq, &led_rs, T0);

    if (code == CYCLES_OK && nids < MAX) {
        strcpy(ids[nids++], led_rs.id);
    }

    free(text);

    return code;
}


static cycles_code_t
commit(cycles_ledger_t *l, const char *id, size_t metadata, int64_t now)
{
    char             *text, model[200];
    cycles_code_t     code;
    cycles_commit_t   rq;

    memset(model, 'm', sizeof(model));
    rq = led_commit_rq("a key of a common length, like a UUID", 7);
    rq.metrics.model_version.data = (unsigned char *) model;
    rq.metrics.model_version.len = sizeof(model);

    text = calloc(1, metadata + 1);
    rq.metadata.len = metadata;
    rq.metadata.data = (unsigned char *) text;

    code = cycles_ledger_commit(l, str(id), &rq, &led_st, now);

    free(text);

    return code;
}


/* fills what is left of the disk; returns the name of the file */

static const char *
ballast(void)
{
    int          fd;
    char         buf[4096];
    static char  path[300];

    snprintf(path, sizeof(path), "%s/ballast", led_dir);
    memset(buf, 'x', sizeof(buf));

    fd = open(path, O_WRONLY|O_CREAT|O_APPEND, 0600);

    while (write(fd, buf, sizeof(buf)) > 0) { /* void */ }

    close(fd);

    return path;
}


/* in a mount namespace of this process: it goes when the process goes */

static int
small_disk(void)
{
    static int  unshared;

    if (!unshared && unshare(CLONE_NEWNS) == 0
        && mount("none", "/", NULL, MS_REC|MS_PRIVATE, NULL) == 0)
    {
        unshared = 1;
    }

    if (!unshared
        || mount("tmpfs", led_dir, "tmpfs", 0, "size=3m") == -1)
    {
        ok(1, "SKIP a small disk needs root: %s", strerror(errno));
        return -1;
    }

    return 0;
}


/* the size of segments decides whether the log must be rotated meanwhile */

static void
test_disk(size_t segment)
{
    char             *before, *after;
    unsigned          i, n, wrong;
    cycles_ledger_t  *l;

    if (small_disk() != 0) {
        return;
    }

    nids = 0;
    l = led_open_size(16 * 1024 * 1024, segment);
    led_define(l, "tenant:a 100000000 0,tenant:a/app:b 100000000 0");

    for (i = 0; i < 100; i++) {
        reserve(l, 100);
    }

    ballast();

    while (reserve(l, 100) == CYCLES_OK) { /* void */ }

    n = nids;
    ok(n > 400, "%u reservations until the disk is full, segments of %zu", n,
       segment);
    is_int(led_rs.code, CYCLES_INTERNAL_ERROR, "then an internal error");
    ok(strstr(cycles_ledger_trouble(l), "No space left") != NULL,
       "that is explained: %s", cycles_ledger_trouble(l));

    is_int(reserve(l, 100), CYCLES_INTERNAL_ERROR, "again");
    ballast();

    for (wrong = 0, i = 0; i < n / 2; i++) {
        wrong += commit(l, ids[i], i % 3 * 900, T0) != CYCLES_OK;
    }

    is_int(wrong, 0, "half of them committed, with metadata or without");

    for (wrong = 0; i < n * 3 / 4; i++) {
        wrong += led_release(l, ids[i], "r", T0) != CYCLES_OK;
        ballast();
    }

    is_int(wrong, 0, "a quarter released");
    is_int(cycles_ledger_expire(l, T0 + 12001, MAX, &(int64_t) { 0 }), n - i,
           "the rest expired");
    is_int(l->shm->nlive, 0, "nothing lives any more");
    is_int(led_look(l, "tenant:a").balance.spent, n / 2 * 7, "all is spent");
    is_int(led_look(l, "tenant:a").balance.reserved, 0, "nothing is held");

    before = led_dump(l);
    cycles_ledger_close(l);
    l = led_open_size(16 * 1024 * 1024, segment);
    ok(l != NULL, "a start on a full disk");
    after = led_dump(l);
    is_str(after, before, "finds all of it");
    free(before);
    free(after);

    while (reserve(l, 30000) == CYCLES_OK) { /* void */ }

    is_int(led_rs.code, CYCLES_INTERNAL_ERROR, "full again, a little later");
    unlink(ballast());
    is_int(reserve(l, 30000), CYCLES_OK, "space is back");
    is_int(commit(l, led_rs.id, 30000, T0), CYCLES_OK, "and used");

    cycles_ledger_close(l);
    umount(led_dir);
}


/* a filesystem that can't preallocate: settlements wait for space */

/* what is kept free for it is enough for any settlement without its texts */

static void
test_longest_settlement(void)
{
    unsigned          i;
    unsigned char     key[CYCLES_UTF8(CYCLES_MAX_IDEMPOTENCY_KEY)];
    unsigned char     buf[CYCLES_RECORD_MAX];
    cycles_record_t  *rec;

    static const cycles_record_type_t  types[] = {
        CYCLES_RECORD_COMMIT, CYCLES_RECORD_RELEASE
    };

    memset(key, 'k', sizeof(key));

    rec = calloc(1, sizeof(cycles_record_t));

    rec->key.data = key;
    rec->key.len = sizeof(key);
    rec->trace_id.data = key;
    rec->trace_id.len = CYCLES_MAX_TRACE_ID;
    rec->neffects = CYCLES_LEVELS;
    memset(&rec->digest, 0xff, sizeof(cycles_digest_t));
    rec->amount = INT64_MIN;
    rec->charged = INT64_MIN;
    rec->remaining = INT64_MIN;
    rec->metrics.tokens_input = INT64_MIN;
    rec->metrics.tokens_output = INT64_MIN;
    rec->metrics.latency_ms = INT64_MIN;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        rec->effects[i].budget = UINT32_MAX;
        rec->effects[i].reserved = INT64_MIN;
        rec->effects[i].spent = INT64_MIN;
        rec->effects[i].debt = INT64_MIN;
    }

    for (i = 0; i < 2; i++) {
        rec->type = types[i];
        ok(cycles_record_write(rec, buf, sizeof(buf)) <= CYCLES_SETTLE_MAX,
           "the longest settlement of type %u fits", types[i]);
    }

    rec->type = CYCLES_RECORD_PERIOD;
    ok(cycles_record_write(rec, buf, sizeof(buf)) <= CYCLES_PERIOD_MAX,
       "and the longest end of a period before it");

    free(rec);
}


/* long texts give way on a full disk, and the amount is kept */

static void
test_texts_give_way(void)
{
    char              id[2][40], *reason;
    cycles_ledger_t  *l;
    cycles_commit_t   rq;

    if (small_disk() != 0) {
        return;
    }

    nids = 0;
    l = led_open_size(4 * 1024 * 1024, 0);
    led_define(l, "tenant:a 100000000 0");

    reserve(l, 0);
    strcpy(id[0], led_rs.id);
    reserve(l, 0);
    strcpy(id[1], led_rs.id);

    ballast();

    while (reserve(l, 100) == CYCLES_OK) { /* void */ }

    rq = led_commit_rq("c", 7);
    rq.metrics.custom.data = calloc(1, 30000);
    rq.metrics.custom.len = 30000;

    is_int(cycles_ledger_commit(l, str(id[0]), &rq, &led_st, T0), CYCLES_OK,
           "a commit with long metrics on a full disk");
    is_int(l->record.texts_omitted, 1, "which are left out");
    is_int(cycles_ledger_commit(l, str(id[0]), &rq, &led_st, T0), CYCLES_OK,
           "again, with the metrics");
    rq.metrics.custom.len--;
    is_int(cycles_ledger_commit(l, str(id[0]), &rq, &led_st, T0),
           CYCLES_IDEMPOTENCY_MISMATCH, "other metrics are still others");
    free(rq.metrics.custom.data);

    reason = calloc(1, 1025);
    memset(reason, 'r', 1024);
    is_int(led_release_why(l, id[1], "r", reason, T0), CYCLES_OK,
           "a release with a long reason");
    free(reason);

    cycles_ledger_close(l);
    l = led_open_size(4 * 1024 * 1024, 0);
    ok(l != NULL, "all of it can be read: %s", led_err);
    is_int(led_commit(l, id[0], "x", 7, T0), CYCLES_RESERVATION_FINALIZED,
           "and is settled");
    cycles_ledger_close(l);
    umount(led_dir);
}


static void
test_no_fallocate(void)
{
    char              id[40], key[32];
    unsigned          i;
    cycles_ledger_t  *l;

    if (small_disk() != 0) {
        return;
    }

    nids = 0;
    l = led_open_size(4 * 1024 * 1024, 0);
    l->shm->no_fallocate = 1;
    led_define(l, "tenant:a 100000000 0");

    reserve(l, 0);
    strcpy(id, led_rs.id);
    ballast();

    while (reserve(l, 100) == CYCLES_OK) { /* void */ }

    is_int(led_rs.code, CYCLES_INTERNAL_ERROR, "no fallocate: full");

    while (commit(l, ids[nids - 1], 0, T0) == CYCLES_OK) {
        nids--;
    }

    is_int(led_st.code, CYCLES_INTERNAL_ERROR, "a commit can't be written");
    is_int(l->shm->nlive, nids, "the reservations are still there");

    /* the last page of the file may still have room for something short */

    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "e%u", i);

        if (led_event(l, "a", key, 1, 0, T0) != CYCLES_OK) {
            break;
        }
    }

    is_int(led_st.code, CYCLES_INTERNAL_ERROR, "nor can events");

    unlink(ballast());

    is_int(commit(l, ids[nids - 1], 0, T0), CYCLES_OK,
           "the same commit when there is space");
    is_int(led_extend(l, id, "x", 1000, T0), CYCLES_OK, "the extension");
    is_int(led_event(l, "a", "e", 1, 0, T0), CYCLES_OK, "the event");

    cycles_ledger_close(l);
    l = led_open_size(4 * 1024 * 1024, 0);
    ok(l != NULL, "and all of it can be read: %s", led_err);
    is_str(led_said, "", "no torn record");
    cycles_ledger_close(l);
    umount(led_dir);
}


/* a write that stops in the middle of a record leaves nothing behind */

static void
test_short_write(void)
{
    char              *before, *after;
    off_t              size, limit;
    unsigned           wrong;
    struct rlimit      rl, old;
    cycles_ledger_t   *l;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);

    l = led_fresh("tenant:a 100000000 0");
    nids = 0;
    reserve(l, 0);
    before = led_dump(l);
    size = led_size(led_segment(l));
    wrong = 0;

    for (limit = size + 1; limit < size + 100; limit += 3) {
        rl = old;
        rl.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &rl);

        wrong += reserve(l, 0) != CYCLES_INTERNAL_ERROR;
        wrong += commit(l, ids[0], 0, T0) != CYCLES_INTERNAL_ERROR;

        setrlimit(RLIMIT_FSIZE, &old);

        wrong += led_size(led_segment(l)) != size;
        after = led_dump(l);
        wrong += strcmp(after, before) != 0;
        free(after);
    }

    is_int(wrong, 0, "short writes of all lengths");
    is_int(reserve(l, 0), CYCLES_OK, "then a whole one");
    free(before);

    l = led_reopen(l);
    is_str(led_said, "", "no torn record");
    cycles_ledger_close(l);
    signal(SIGXFSZ, SIG_DFL);
}


static void
test_zone(void)
{
    char              key[32], live[40];
    int64_t           now;
    unsigned          i, n, wrong;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(CYCLES_LEDGER_MIN_ZONE, 0);
    led_define(l, "tenant:a 100000000 0,tenant:a/app:b 100000000 0");
    nids = 0;

    while (reserve(l, 0) == CYCLES_OK) { /* void */ }

    n = nids;
    ok(n > 2500, "%u reservations in a zone of 1 MB", n);
    is_int(led_rs.code, CYCLES_INTERNAL_ERROR, "then an internal error");
    ok(strstr(cycles_ledger_trouble(l), "full of live") != NULL,
       "that is explained: %s", cycles_ledger_trouble(l));

    for (wrong = 0, i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "e%u", i);
        wrong += led_event(l, "a", key, 1, 0, T0) != CYCLES_OK;
    }

    is_int(wrong, 0, "1000 events make room for one another");
    is_int(led_event(l, "a", key, 1, 0, T0), CYCLES_OK, "the last one again");
    is_int(led_look(l, "tenant:a").balance.spent, 1000, "is known");

    for (wrong = 0, i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "x%u", i);
        wrong += led_extend(l, ids[i], key, 1000, T0) != CYCLES_OK;
    }

    is_int(wrong, 0, "all can be extended");
    is_int(l->shm->nlive, n, "nothing that lives was evicted");

    for (wrong = 0, i = 0; i < n; i++) {
        wrong += commit(l, ids[i], 0, T0) != CYCLES_OK;
    }

    is_int(wrong, 0, "all can be committed");
    is_int(led_look(l, "tenant:a/app:b").balance.spent, n * 7, "all spent");

    /* what is finished makes room, the oldest first */

    is_int(reserve(l, 0), CYCLES_OK, "then there is room");
    strcpy(live, led_rs.id);
    is_int(commit(l, ids[n - 1], 0, T0), CYCLES_OK, "the newest is known");

    now = T0;

    for (wrong = 0, i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "n%u", i);
        wrong += led_reserve(l, "a", key, 1, now) != CYCLES_OK;
        wrong += led_commit(l, led_rs.id, "c", 1, now) != CYCLES_OK;
    }

    is_int(wrong, 0, "20000 more came and went");
    led_look_ups = 0;
    is_int(led_commit(l, ids[n - 1], "c", 7, now),
           CYCLES_RESERVATION_FINALIZED, "the old ones are still found");
    is_int(led_look_ups, 1, "in the tables");
    is_int(led_reserve(l, "a", "n19000", 1, now), CYCLES_OK,
           "the new ones are known");
    is_int(led_rs.remaining_ttl_ms, 0, "as what they are");
    is_int(commit(l, live, 0, now), CYCLES_OK, "the live one has lived");

    /* half of the memory is enough for what was finished long ago */

    ok(l->shm->ndone > l->shm->max_cells / 2, "%u finished are kept, for ten "
       "minutes", l->shm->ndone);

    now += CYCLES_DONE_TIME;

    for (i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "o%u", i);
        led_reserve(l, "a", key, 1, now);
        led_commit(l, led_rs.id, "c", 1, now);
        now += 1000;
    }

    ok(l->shm->ndone <= l->shm->max_cells / 2, "%u of %u after that",
       l->shm->ndone, (unsigned) l->shm->max_cells);

    is_int(led_look(l, NULL).broken, 0, "all sums are right");
    cycles_ledger_close(l);

    l = led_open_size(CYCLES_LEDGER_MIN_ZONE, 0);
    ok(l != NULL, "a start finds room for all of it, too");
    is_int(led_look(l, NULL).broken, 0, "all sums are right");
    cycles_ledger_close(l);
}


/* each cell is live, finished, an extension of one of these, or free */

static unsigned
lost_cells(cycles_ledger_t *l)
{
    uint64_t              slot;
    unsigned              n;
    cycles_ref_t          ref, e;
    cycles_shm_t         *shm;
    cycles_cell_t        *cell;

    shm = l->shm;
    n = (l->size - shm->cells_low) / CYCLES_CELL_SIZE;

    for (slot = 0; slot <= shm->ids.mask; slot++) {
        ref = *cycles_memory_bucket(l, &shm->ids, slot);

        for ( /* void */ ; ref; ref = cell->next_id) {
            cell = cycles_memory_at(l, ref);
            n--;

            for (e = cell->extensions; e;
                 e = ((cycles_extensions_t *) cycles_memory_at(l, e))->next)
            {
                n--;
            }
        }
    }

    for (ref = shm->cells_free; ref; ref = cell->next_done) {
        cell = cycles_memory_at(l, ref);
        n--;

        if (cell->kind != CYCLES_CELL_FREE) {
            return -1;
        }
    }

    return n;
}


/* of the buckets of the ids: an id has bits that are the same in each */

static unsigned
spread(cycles_ledger_t *l)
{
    uint64_t  slot;
    unsigned  n;

    n = 0;

    for (slot = 0; slot <= l->shm->ids.mask; slot++) {
        n += *cycles_memory_bucket(l, &l->shm->ids, slot) != 0;
    }

    return n;
}


static void
test_spread(void)
{
    char              key[32];
    uint64_t          i, slots;
    unsigned          wrong;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(CYCLES_LEDGER_MIN_ZONE, 0);
    led_define(l, "tenant:a 100000000 0");

    slots = l->shm->ids.mask + 1;

    /* as fast as a few workers are */

    for (wrong = 0, i = 0; i < slots / 3; i++) {
        snprintf(key, sizeof(key), "r%u", (unsigned) i);
        wrong += led_reserve(l, "a", key, 1, T0 + (int64_t) i / 64)
                 != CYCLES_OK;
    }

    is_int(wrong, 0, "reservations for each third bucket");

    /* 28 in 100 of them, were each at random */

    ok(spread(l) > slots / 4, "%u of %u buckets have ids", spread(l),
       (unsigned) slots);

    cycles_ledger_close(l);
}


/* reservations with extensions come and go: their cells come back */

static void
test_extended(void)
{
    char              key[32], id[40];
    unsigned          i, k, n, wrong;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(CYCLES_LEDGER_MIN_ZONE, 0);
    led_define(l, "tenant:a 100000000 0");

    for (wrong = 0, i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "r%u", i);
        wrong += led_reserve(l, "a", key, 1, T0) != CYCLES_OK;
        strcpy(id, led_rs.id);

        for (n = rnd(50), k = 0; k < n; k++) {
            snprintf(key, sizeof(key), "x%u", k);
            wrong += led_extend(l, id, key, 1000, T0) != CYCLES_OK;
        }

        if (rnd(100)) {
            wrong += led_commit(l, id, "c", 1, T0) != CYCLES_OK;
        }
    }

    is_int(wrong, 0, "20000 extended reservations in 1 MB");
    is_int(lost_cells(l), 0, "no cell is lost");
    cycles_ledger_expire(l, T0 + 999999999, 100000, &(int64_t) { 0 });
    is_int(l->shm->nlive, 0, "none lives any more");
    is_int(lost_cells(l), 0, "no cell is lost");
    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_disk(0);
    test_disk(65536);
    test_longest_settlement();
    test_texts_give_way();
    test_no_fallocate();
    test_short_write();
    test_zone();
    test_spread();
    test_extended();

    return done_testing();
}
