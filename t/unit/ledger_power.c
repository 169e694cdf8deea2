
/*
 * Copyright (C) nginx-cycles authors
 *
 * Power failures.  Of what was not synced, any sector may have reached the
 * disk, and any may not, as may new names and removed ones: whatever comes
 * back begins with all that was synced, and ends at some record.  What was
 * synced and is damaged is refused.
 */


#include "ledger.h"


#define ROUNDS    80
#define DAMAGES   150
#define SECTOR    512
#define SEGMENT   8192
#define ZONE      (4 * 1024 * 1024)
#define RECORDS   2000
#define FILES     200
#define NEXT      "log-next.bin"


/* what is on the disk for sure, and what only the system knows */

typedef struct {
    char            name[64];
    unsigned char  *data;
    size_t          len;
} image_t;

typedef struct {
    image_t         files[FILES];
    unsigned        n;
} disk_t;


static disk_t    synced;
static uint64_t  synced_to;
static char     *states[RECORDS];
static char      live[40];              /* a reservation */
static unsigned  serial;


static void
disk_clear(disk_t *disk)
{
    while (disk->n) {
        free(disk->files[--disk->n].data);
    }
}


static image_t *
disk_find(disk_t *disk, const char *name)
{
    unsigned  i;

    for (i = 0; i < disk->n; i++) {
        if (strcmp(disk->files[i].name, name) == 0) {
            return &disk->files[i];
        }
    }

    return NULL;
}


static void
disk_read(disk_t *disk, const char *prefix)
{
    int             fd;
    DIR            *dir;
    char            path[600];
    image_t        *file;
    struct stat     st;
    struct dirent  *de;

    disk_clear(disk);

    dir = opendir(led_dir);

    while ((de = readdir(dir)) != NULL) {

        if (strncmp(de->d_name, prefix, strlen(prefix)) != 0) {
            continue;
        }

        file = &disk->files[disk->n++];
        snprintf(file->name, sizeof(file->name), "%.60s", de->d_name);
        snprintf(path, sizeof(path), "%s/%s", led_dir, de->d_name);

        fd = open(path, O_RDONLY);
        fstat(fd, &st);
        file->len = st.st_size;
        file->data = malloc(file->len + 1);

        if (read(fd, file->data, file->len) != (ssize_t) file->len) {
            printf("# read failed\n");
        }

        close(fd);
    }

    closedir(dir);
}


static void
disk_write(const char *name, const unsigned char *data, size_t len)
{
    int   fd;
    char  path[600];

    snprintf(path, sizeof(path), "%s/%s", led_dir, name);
    fd = open(path, O_WRONLY|O_CREAT|O_TRUNC, 0600);

    if (write(fd, data, len) != (ssize_t) len) {
        printf("# write failed\n");
    }

    close(fd);
}


/* sectors of one or of the other, zeroes where neither has one */

static void
disk_mix(const char *name, const image_t *old, const image_t *new,
    unsigned percent)
{
    size_t                len, n, i;
    unsigned char        *data;
    const image_t        *from;
    static const image_t  nothing;

    old = old ? old : &nothing;
    new = new ? new : &nothing;

    len = (rnd(100) < percent) ? new->len : old->len;

    if (old->len == 0 && len == 0) {
        len = rnd(2) ? new->len : rnd(new->len + 1);
    }

    data = calloc(1, len + 1);

    for (i = 0; i < len; i += SECTOR) {
        from = (rnd(100) < percent) ? new : old;
        n = (len - i < SECTOR) ? len - i : SECTOR;

        if (from->len > i) {
            memcpy(data + i, from->data + i,
                   from->len - i < n ? from->len - i : n);
        }
    }

    disk_write(name, data, len);
    free(data);
}


/* the machine is on again, with this in the directory */

static void
power_failure(void)
{
    disk_t           tables;
    unsigned         i, percent;
    image_t         *old;
    static disk_t    last;
    static unsigned  percents[] = { 0, 20, 50, 80, 95, 100 };

    memset(&tables, 0, sizeof(tables));

    disk_read(&last, "log-");
    disk_read(&tables, "ledger.db");
    led_clean();

    live[0] = '\0';
    percent = percents[rnd(6)];

    for (i = 0; i < last.n; i++) {
        old = disk_find(&synced, last.files[i].name);

        if (old == NULL && rnd(100) >= percent) {
            continue;
        }

        disk_mix(last.files[i].name, old, &last.files[i], percent);
    }

    for (i = 0; i < synced.n; i++) {

        /* names that were removed */

        if (disk_find(&last, synced.files[i].name) == NULL
            && rnd(100) >= percent)
        {
            disk_write(synced.files[i].name, synced.files[i].data,
                       synced.files[i].len);
        }
    }

    for (i = 0; i < tables.n; i++) {
        if (strcmp(tables.files[i].name, "ledger.db-shm") != 0) {
            disk_write(tables.files[i].name, tables.files[i].data,
                       tables.files[i].len);
        }
    }

    disk_clear(&tables);
}


/* without the lock, which is held while several records wait */

static const char *
state(cycles_ledger_t *l)
{
    unsigned          i, n;
    cycles_budget_t  *b;
    static char       text[400];

    n = snprintf(text, sizeof(text), "%u live", l->shm->nlive);

    for (i = 1; i <= l->shm->budgets.n; i++) {
        b = cycles_budget_by_id(l, i);
        n += snprintf(text + n, sizeof(text) - n, ", r%lld s%lld d%lld",
                      (long long) b->reserved, (long long) b->spent,
                      (long long) b->debt);
    }

    return text;
}


/* memory is ahead of the log while several records wait for each other */

static void
keep(cycles_ledger_t *l)
{
    uint64_t  seq;

    seq = cycles_ledger_written(l) + l->nunwritten;

    if (seq < RECORDS) {
        free(states[seq]);
        states[seq] = strdup(state(l));
    }
}


/* nothing has to be looked up in the tables for it */

static void
reserve(cycles_ledger_t *l)
{
    char              key[32];
    cycles_reserve_t  rq;

    snprintf(key, sizeof(key), "k%u", serial++);

    rq = led_reserve_rq(rnd(2) ? "a" : "b", key, 1 + rnd(9));
    rq.fresh_key = 1;

    if (cycles_ledger_reserve(l, &rq, &led_rs, T0) == CYCLES_OK) {
        strcpy(live, led_rs.id);
    }

    keep(l);
}


static void
one(cycles_ledger_t *l)
{
    char  key[32];

    if (live[0] == '\0' || rnd(2)) {
        reserve(l);
        return;
    }

    snprintf(key, sizeof(key), "k%u", serial++);

    (void) led_commit(l, live, key, 1 + rnd(20), T0);
    live[0] = '\0';

    keep(l);
}


static void
work(cycles_ledger_t *l, unsigned prewrite)
{
    unsigned       i, n, together;
    uint64_t       written;
    cycles_fold_t  fold;

    cycles_ledger_prewrite(l, prewrite);
    l->prewrite_after = 0;

    for (i = 5 + rnd(25); i; i--) {
        together = rnd(2) && cycles_ledger_together(l) == 0;

        for (n = together ? 1 + rnd(12) : 1; n; n--) {
            one(l);
        }

        if (together) {
            (void) cycles_ledger_apart(l, &written);
        }

        if (rnd(6) == 0) {
            (void) cycles_ledger_sync(l);
            synced_to = cycles_ledger_synced(l);
            disk_read(&synced, "log-");
        }

        if (rnd(12) == 0) {
            if (cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err))
                != 0)
            {
                printf("# fold failed: %s\n", led_err);
            }
        }
    }
}


static cycles_ledger_t *
begin(void)
{
    cycles_ledger_t  *l;

    led_clean();
    live[0] = '\0';
    l = led_open_size(ZONE, SEGMENT);
    led_define(l, "tenant:a 100000 0,tenant:b 100000 0");
    keep(l);

    (void) cycles_ledger_sync(l);
    synced_to = cycles_ledger_synced(l);
    disk_read(&synced, "log-");

    return l;
}


static void
test_power_failures(unsigned rounds)
{
    unsigned          i, again, refused, lost, wrong, whole, cuts, removals;
    unsigned          continued;
    uint64_t          seq;
    cycles_ledger_t  *l;

    refused = lost = wrong = whole = cuts = removals = continued = 0;

    for (i = 0; i < rounds && refused < 5 && wrong < 5; i++) {
        l = begin();

        /* again, so that what is left of the one is no harm in the next */

        for (again = 0; again < 3; again++) {
            work(l, i % 4 != 0);
            seq = cycles_ledger_written(l);

            /* a clean end of the process changes nothing in the files */

            power_failure();
            cycles_ledger_close(l);

            l = led_open_size(ZONE, SEGMENT);

            if (l == NULL) {
                printf("# round %u.%u: %s\n", i, again, led_err);
                refused++;
                break;
            }

            cuts += (strstr(led_said, "not been synced") != NULL);
            removals += (strstr(led_said, "no header yet") != NULL);
            continued += (l->shm->log_zeroes != 0);
            whole += (cycles_ledger_written(l) == seq);

            seq = cycles_ledger_written(l);
            lost += (seq < synced_to);

            if (seq >= RECORDS || states[seq] == NULL
                || strcmp(states[seq], state(l)) != 0)
            {
                printf("# round %u.%u, record %u: %s, not %s\n", i, again,
                       (unsigned) seq, state(l),
                       seq < RECORDS ? states[seq] : "?");
                wrong++;
                break;
            }

            /* what a start has read is synced by it */

            disk_read(&synced, "log-");
            synced_to = seq;
        }

        if (l) {
            cycles_ledger_close(l);
        }
    }

    is_int(refused, 0, "%u times three power failures: it starts", i);
    is_int(lost, 0, "with all that was synced");
    is_int(wrong, 0, "and with the state of some record");
    ok(cuts > 20, "%u times records behind a hole were given up", cuts);
    ok(removals > 0, "%u times a file without a header", removals);
    ok(continued > 20, "%u times it goes on over zeroes", continued);
    ok(whole > 20, "%u times nothing was lost", whole);
}


/* the files with one sector of zeroes, or of anything else */

static const char *
damage(disk_t *disk)
{
    size_t          at, i;
    image_t        *file, *old;
    unsigned        zeroes;
    static char     what[100];
    unsigned char  *data;

    old = &synced.files[rnd(synced.n)];
    at = rnd((old->len + SECTOR - 1) / SECTOR) * SECTOR;
    zeroes = rnd(2);

    file = disk_find(disk, old->name);
    data = malloc(file->len);
    memcpy(data, file->data, file->len);

    for (i = at; i < old->len && i < at + SECTOR; i++) {
        data[i] = zeroes ? 0 : data[i] ^ (1 + rnd(255));
    }

    led_clean();

    for (i = 0; i < disk->n; i++) {
        disk_write(disk->files[i].name, disk->files[i].data,
                   disk->files[i].len);
    }

    disk_write(file->name, data, file->len);
    free(data);

    snprintf(what, sizeof(what), "%s at %zu: %s", file->name, at,
             zeroes ? "zeroes" : "anything");

    return what;
}


/* of what was synced, by a start or later, with records that say so */

static void
test_damage(unsigned started)
{
    disk_t            last;
    unsigned          i, accepted;
    const char       *what;
    cycles_ledger_t  *l;

    l = begin();

    for (i = 0; i < 100; i++) {
        one(l);
    }

    if (started) {
        cycles_ledger_close(l);
        l = led_open_size(ZONE, SEGMENT);
        live[0] = '\0';

    } else {
        (void) cycles_ledger_sync(l);
    }

    disk_read(&synced, "log-");

    for (i = 0; i < 3; i++) {
        one(l);
    }

    memset(&last, 0, sizeof(disk_t));
    disk_read(&last, "log-");
    cycles_ledger_close(l);

    accepted = 0;

    for (i = 0; i < DAMAGES; i++) {
        what = damage(&last);
        l = led_open_size(ZONE, SEGMENT);

        if (l) {
            printf("# %s: %s\n", what, led_said);
            accepted++;
            cycles_ledger_close(l);
        }
    }

    is_int(accepted, 0, "%u sectors of %u files of what was synced: refused",
           i, synced.n);

    disk_clear(&last);
}


/* a file with nothing but a header says so, too */

static void
test_header(void)
{
    char              first[600], second[600], zeroes[SECTOR];
    off_t             end;
    cycles_ledger_t  *l;

    memset(zeroes, 0, sizeof(zeroes));

    end = 0;
    l = begin();
    strcpy(first, led_segment(l));

    while (strcmp(first, led_segment(l)) == 0) {
        end = led_size(first);
        (void) cycles_ledger_sync(l);
        reserve(l);
    }

    strcpy(second, led_segment(l));
    cycles_ledger_close(l);

    ok(truncate(first, end - 10) == 0
       && truncate(second, CYCLES_SEGMENT_HEAD) == 0,
       "a synced record is torn, and the next file is empty");

    l = led_open_size(ZONE, SEGMENT);
    ok(l == NULL, "refused");
    ok(strstr(led_err, "later files follow") != NULL, "%s", led_err);
}


/* a record that was given up would fit behind one that is as long */

static void
test_given_up(void)
{
    int               fd;
    char              path[600];
    off_t             start;
    cycles_ledger_t  *l;

    l = begin();
    strcpy(path, led_segment(l));
    start = led_size(path);
    led_reserve(l, "a", "k1", 1, T0);
    led_reserve(l, "a", "k2", 10, T0);
    cycles_ledger_close(l);

    fd = open(path, O_WRONLY);
    ok(pwrite(fd, "?", 1, start) == 1, "the first of two was not written");
    close(fd);

    l = led_open_size(ZONE, SEGMENT);
    ok(l == NULL, "refused, as no power has failed");
    ok(strstr(led_err, "valid records follow") != NULL, "%s", led_err);

    /* the file that says so is not synced, and may be anything */

    disk_write("lock", (unsigned char *) "boot 00000000\n9 9\n", 18);

    l = led_open_size(ZONE, SEGMENT);
    ok(strstr(led_said, "1 records and 0 files") != NULL, "%s", led_said);
    led_reserve(l, "a", "k3", 100, T0);
    is_str(led_balance(l, "tenant:a"), "r99900 h100 s0 d0", "another one");
    cycles_ledger_close(l);

    l = led_open_size(ZONE, SEGMENT);
    is_str(led_balance(l, "tenant:a"), "r99900 h100 s0 d0",
           "the second does not come back behind it");
    cycles_ledger_close(l);
}


/* a file is written before it is used */

static void
test_prewritten(void)
{
    char              next[600], first[600], second[600];
    off_t             size;
    uint64_t          seq;
    cycles_fold_t     fold;
    cycles_ledger_t  *l;

    snprintf(next, sizeof(next), "%s/" NEXT, led_dir);

    l = begin();
    reserve(l);
    cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err));
    is_int(led_size(next), -1, "nobody has asked for a file of zeroes");

    cycles_ledger_prewrite(l, 1);
    cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err));
    size = led_size(next);
    ok(size >= SEGMENT, "the next segment has %ld bytes", (long) size);

    strcpy(first, led_segment(l));
    seq = cycles_ledger_written(l);
    reserve(l);
    strcpy(second, led_segment(l));
    ok(strcmp(first, second) != 0, "it is used at once");
    is_int(l->shm->segment, seq + 1, "its name says its first record");
    is_int(led_size(second), size, "it keeps its size");
    is_int(led_size(next), -1, "it has another name now");

    reserve(l);
    is_str(led_segment(l), second, "the next record is in it, too");
    is_int(led_size(second), size, "and changes no size");

    (void) cycles_ledger_sync(l);
    cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err));
    is_int(led_size(next), size, "the one after it is ready");
    reserve(l);
    is_str(led_segment(l), second, "and waits until this one is full");
    (void) cycles_ledger_sync(l);
    cycles_ledger_close(l);

    l = led_open_size(ZONE, SEGMENT);
    is_str(led_said, "", "a start has nothing to say");
    is_int(led_size(next), -1, "and removes what nobody knows of");
    is_int(l->shm->log_zeroes, size, "it knows of the zeroes");
    reserve(l);
    is_str(led_segment(l), second, "and goes on there");

    while (strcmp(second, led_segment(l)) == 0) {
        reserve(l);
    }

    ok(led_size(second) < size, "what is left of them is given back");

    /* a directory without its last records, which the tables have */

    (void) cycles_ledger_sync(l);
    cycles_ledger_prewrite(l, 1);
    l->prewrite_after = 0;
    cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err));
    reserve(l);
    reserve(l);
    (void) cycles_ledger_sync(l);
    cycles_ledger_fold(l, T0, 0, &fold, led_err, sizeof(led_err));
    strcpy(second, led_segment(l));
    size = l->shm->log_end;
    cycles_ledger_close(l);

    disk_read(&synced, strrchr(second, '/') + 1);
    memset(synced.files[0].data + size - 40, 0, 40);
    disk_write(synced.files[0].name, synced.files[0].data,
               synced.files[0].len);

    l = led_open_size(ZONE, SEGMENT);
    ok(l == NULL, "zeroes where the tables have a record: refused");
    ok(strstr(led_err, "no longer has") != NULL, "%s", led_err);
}


int
main(int argc, char **argv)
{
    unsigned  i;

    if (argc > 2) {
        led_seed = strtoull(argv[2], NULL, 10) | 1;
    }

    led_start();

    test_prewritten();
    test_header();
    test_given_up();
    test_power_failures(argc > 1 ? (unsigned) atoi(argv[1]) : ROUNDS);
    test_damage(0);
    test_damage(1);

    disk_clear(&synced);

    for (i = 0; i < RECORDS; i++) {
        free(states[i]);
    }

    return done_testing();
}
