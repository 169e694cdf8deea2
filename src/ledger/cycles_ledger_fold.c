
/*
 * Copyright (C) nginx-cycles authors
 *
 * Folding the log into ledger.db: records go into the tables in batches, each
 * in one transaction that also says how far the tables have come.  So whoever
 * folds goes on behind the last transaction, whatever has become of the one
 * who made it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cycles_ledger_db.h"


/* of one call */
#define CYCLES_FOLD_TIME_MS  100

/* records that are read, or rows that are written, in a tenth of a ms */
#define CYCLES_FOLD_TURN     128

/* records of a call after which memory is given back */
#define CYCLES_FOLD_FEW      4096

/* records behind the log with which there is no more time to give away */
#define CYCLES_FOLD_LATE     (4 * CYCLES_FOLD_BATCH)


static cycles_folder_t *cycles_folder_new(cycles_ledger_t *ledger, char *err,
    size_t errlen);
static void cycles_folder_close_db(cycles_folder_t *f);
static int cycles_fold_locked(cycles_folder_t *f, int64_t now,
    int64_t retention_ms, cycles_fold_t *fold, char *err, size_t errlen);
static int cycles_folder_open_db(cycles_folder_t *f, char *err,
    size_t errlen);
static int cycles_folder_may_create(cycles_folder_t *f, char *err,
    size_t errlen);
static int cycles_fold_batch(cycles_folder_t *f, uint64_t target, int64_t now,
    char *err, size_t errlen);
static int cycles_fold_failed(const cycles_folder_t *f);
static int cycles_fold_records(cycles_folder_t *f, uint64_t target, char *err,
    size_t errlen);
static int cycles_fold_segment(cycles_folder_t *f, cycles_reader_t *reader,
    char *err, size_t errlen);
static int cycles_fold_next(cycles_folder_t *f, cycles_reader_t *reader,
    const unsigned char *buf, size_t len, char *err, size_t errlen);
static int cycles_fold_meta(cycles_folder_t *f, int64_t now);
static int cycles_fold_step(cycles_folder_t *f,
    cycles_fold_statement_t statement);
static int cycles_fold_trim(cycles_folder_t *f, char *err, size_t errlen);
static int cycles_fold_remove(cycles_folder_t *f, uint64_t segment, char *err,
    size_t errlen);


int
cycles_ledger_fold(cycles_ledger_t *ledger, int64_t now, int64_t retention_ms,
    cycles_fold_t *fold, char *err, size_t errlen)
{
    int               rc;
    uint64_t          before;
    cycles_folder_t  *f;

    memset(fold, 0, sizeof(cycles_fold_t));
    fold->folded = cycles_ledger_folded(ledger);

    if (pthread_mutex_trylock(&ledger->folding) != 0) {
        fold->busy = 1;
        return 0;
    }

    f = cycles_folder_new(ledger, err, errlen);

    if (f == NULL) {
        rc = -1;

    } else if (cycles_lock_byte(f->lock_fd, CYCLES_LOCK_FOLDING, F_WRLCK)
               == -1)
    {
        fold->busy = 1;
        rc = 0;

    } else {
        cycles_log_prewrite(ledger);

        before = fold->folded;
        rc = cycles_fold_locked(f, now, retention_ms, fold, err, errlen);

        if (rc != 0) {
            cycles_folder_close_db(f);

        } else if (!fold->more && fold->folded - before < CYCLES_FOLD_FEW) {

            /* there is a lot of it, and little use for it */

            (void) sqlite3_db_release_memory(f->db);
            cycles_held_rest(f);
        }

        (void) cycles_lock_byte(f->lock_fd, CYCLES_LOCK_FOLDING, F_UNLCK);
    }

    pthread_mutex_unlock(&ledger->folding);

    return rc;
}


uint64_t
cycles_ledger_folded(const cycles_ledger_t *ledger)
{
    return __atomic_load_n(&ledger->shm->folded, __ATOMIC_ACQUIRE);
}


int64_t
cycles_ledger_fold_age(const cycles_ledger_t *ledger, unsigned *mine)
{
    const cycles_shm_t  *shm;

    shm = ledger->shm;

    *mine = (__atomic_load_n(&shm->fold_pid, __ATOMIC_RELAXED) == getpid());

    return cycles_fold_clock()
           - __atomic_load_n(&shm->fold_time, __ATOMIC_RELAXED);
}


void
cycles_ledger_want_folded(cycles_ledger_t *ledger, uint64_t record)
{
    uint64_t  wanted;

    wanted = __atomic_load_n(&ledger->shm->fold_wanted, __ATOMIC_RELAXED);

    while (wanted < record
           && !__atomic_compare_exchange_n(&ledger->shm->fold_wanted, &wanted,
                                           record, 0, __ATOMIC_RELEASE,
                                           __ATOMIC_RELAXED))
    {
        /* void */
    }
}


/*
 * A child that has inherited a folder has no use for it: neither a database
 * nor a lock may be shared, and to close them would harm the parent.
 */

static cycles_folder_t *
cycles_folder_new(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    char              path[64];
    cycles_folder_t  *f;

    if (ledger->folder && ledger->folder->pid == getpid()) {
        return ledger->folder;
    }

    f = calloc(1, sizeof(cycles_folder_t));

    if (f == NULL) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }

    /* an open file of its own: the lock of the inherited one is for all */

    snprintf(path, sizeof(path), "/proc/self/fd/%d", ledger->lock_fd);

    f->ledger = ledger;
    f->pid = getpid();
    f->lock_fd = open(path, O_RDWR|O_CLOEXEC);

    if (f->lock_fd == -1) {
        snprintf(err, errlen, "can't open \"%s\": %s", path, strerror(errno));
        free(f);
        return NULL;
    }

    ledger->folder = f;

    return f;
}


void
cycles_folder_free(cycles_ledger_t *ledger)
{
    cycles_folder_t  *f;

    f = ledger->folder;
    ledger->folder = NULL;

    if (f == NULL || f->pid != getpid()) {
        return;
    }

    cycles_folder_close_db(f);
    close(f->lock_fd);
    free(f->held);
    free(f->sums);
    free(f->text);
    free(f);
}


static void
cycles_folder_close_db(cycles_folder_t *f)
{
    unsigned  i;

    for (i = 0; i < CYCLES_FOLD_STATEMENTS; i++) {
        sqlite3_finalize(f->statements[i]);
        f->statements[i] = NULL;
    }

    sqlite3_close(f->db);
    f->db = NULL;
}


static int
cycles_fold_locked(cycles_folder_t *f, int64_t now, int64_t retention_ms,
    cycles_fold_t *fold, char *err, size_t errlen)
{
    int               rc;
    int64_t           end;
    uint64_t          target;
    unsigned          more;
    cycles_ledger_t  *ledger;

    ledger = f->ledger;

    if (cycles_folder_open_db(f, err, errlen) != 0) {
        return -1;
    }

    if (__atomic_load_n(&ledger->shm->fold_wanted, __ATOMIC_ACQUIRE)
        > cycles_ledger_synced(ledger))
    {
        rc = cycles_ledger_sync(ledger);

        if (rc != 0) {
            snprintf(err, errlen, "can't sync the log in \"%s\": %s",
                     ledger->path, strerror(rc));
            return -1;
        }
    }

    /* what a power failure may take from the log must not be in the tables */

    target = cycles_ledger_synced(ledger);
    end = cycles_fold_clock() + CYCLES_FOLD_TIME_MS;

    while (f->meta.folded < target) {

        if (cycles_fold_clock() >= end) {
            fold->more = 1;
            break;
        }

        if (cycles_fold_batch(f, target, now, err, errlen) != 0) {
            return -1;
        }

        __atomic_store_n(&ledger->shm->folded, f->meta.folded,
                         __ATOMIC_RELEASE);
    }

    fold->folded = f->meta.folded;

    __atomic_store_n(&ledger->shm->fold_pid, f->pid, __ATOMIC_RELAXED);
    __atomic_store_n(&ledger->shm->fold_time, cycles_fold_clock(),
                     __ATOMIC_RELAXED);

    if (cycles_fold_trim(f, err, errlen) != 0) {
        return -1;
    }

    if (fold->more) {
        return 0;
    }

    more = 0;

    if (cycles_filter_step(f, now, &more) != 0
        || cycles_fold_prune(f, now, retention_ms, &more) != 0)
    {
        cycles_db_error(ledger, f->db, err, errlen);
        return -1;
    }

    fold->more = more;

    return 0;
}


/* another process may have folded since, or an operator replaced the file */

static int
cycles_folder_open_db(cycles_folder_t *f, char *err, size_t errlen)
{
    cycles_ledger_t  *ledger;

    ledger = f->ledger;

    if (f->db && cycles_db_moved(f->db)) {
        cycles_folder_close_db(f);
    }

    if (f->db == NULL && cycles_folder_may_create(f, err, errlen)) {
        f->db = cycles_db_open(ledger, 1, err, errlen);
    }

    if (f->db == NULL
        || cycles_db_meta(ledger, f->db, &f->meta, err, errlen) != 0)
    {
        return -1;
    }

    if (memcmp(f->meta.uuid, ledger->shm->uuid, 16) != 0) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" belongs to another "
                 "ledger: restore the one of this ledger from a backup",
                 ledger->path);
        return -1;
    }

    if (f->meta.folded > cycles_ledger_written(ledger)) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" has record %" PRIu64
                 ", the log ends with %" PRIu64 ": restore the log from a "
                 "backup", ledger->path, f->meta.folded,
                 cycles_ledger_written(ledger));
        return -1;
    }

    __atomic_store_n(&ledger->shm->folded, f->meta.folded, __ATOMIC_RELEASE);

    return 0;
}


/* a new one has to begin where the log begins */

static int
cycles_folder_may_create(cycles_folder_t *f, char *err, size_t errlen)
{
    char         name[CYCLES_SEGMENT_NAME];
    struct stat  st;

    cycles_segment_name(name, 1);

    if (cycles_ledger_folded(f->ledger) == 0 || cycles_db_exists(f->ledger)
        || fstatat(f->ledger->dir_fd, name, &st, 0) == 0)
    {
        return 1;
    }

    snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" has been removed: stop "
             "nginx and restore it from a backup", f->ledger->path);

    return 0;
}


/* all of it, or nothing */

static int
cycles_fold_batch(cycles_folder_t *f, uint64_t target, int64_t now, char *err,
    size_t errlen)
{
    cycles_db_meta_t  before;

    before = f->meta;
    err[0] = '\0';

    f->late = (target - f->meta.folded > CYCLES_FOLD_LATE);

    if (cycles_fold_step(f, CYCLES_FOLD_BEGIN) == 0
        && cycles_fold_records(f, target, err, errlen) == 0
        && cycles_held_write_all(f) == 0
        && cycles_sums_write(f) == 0
        && cycles_fold_meta(f, now) == 0
        && cycles_fold_step(f, CYCLES_FOLD_COMMIT) == 0)
    {
        return 0;
    }

    if (err[0] == '\0' && cycles_fold_failed(f)) {
        cycles_db_error(f->ledger, f->db, err, errlen);

    } else if (err[0] == '\0') {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" does not fit the log:"
                 " restore it from a backup", f->ledger->path);
    }

    (void) sqlite3_exec(f->db, "ROLLBACK", NULL, NULL, NULL);

    cycles_held_forget(f);
    cycles_sums_forget(f);
    f->meta = before;

    return -1;
}


/* whether it was the database that could not do it */

static int
cycles_fold_failed(const cycles_folder_t *f)
{
    int  code;

    code = sqlite3_errcode(f->db);

    return code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE;
}


/*
 * The thread may share its core with an event loop, which would have to wait
 * until its slice of the time is over: it offers the core to others, unless
 * somebody waits for the tables.
 */

void
cycles_fold_give_way(const cycles_folder_t *f)
{
    uint64_t  wanted;

    wanted = __atomic_load_n(&f->ledger->shm->fold_wanted, __ATOMIC_RELAXED);

    if (!f->late && wanted <= cycles_ledger_folded(f->ledger)) {
        (void) sched_yield();
    }
}


static int
cycles_fold_records(cycles_folder_t *f, uint64_t target, char *err,
    size_t errlen)
{
    int                   rc;
    size_t                len;
    unsigned              n;
    const char           *damage;
    cycles_reader_t       reader;
    const unsigned char  *buf;

    rc = cycles_fold_segment(f, &reader, err, errlen);

    for (n = 0; rc == 0 && n < CYCLES_FOLD_BATCH; n++) {

        if (f->meta.folded == target) {
            break;
        }

        damage = NULL;
        buf = cycles_reader_record(&reader, &len, &damage);

        if (buf == NULL && damage == NULL && reader.error == 0
            && reader.segment != f->meta.folded + 1)
        {
            cycles_reader_close(&reader);
            rc = cycles_fold_segment(f, &reader, err, errlen);
            continue;
        }

        if (buf == NULL) {
            snprintf(err, errlen, "can't read record %" PRIu64 " at offset %"
                     PRIu64 " of \"%s/%s\": %s", f->meta.folded + 1,
                     reader.offset, f->ledger->path, reader.name,
                     reader.error ? strerror(reader.error)
                                  : damage ? damage : "the file ends");
            rc = -1;
            break;
        }

        rc = cycles_fold_next(f, &reader, buf, len, err, errlen);

        if (n % CYCLES_FOLD_TURN == CYCLES_FOLD_TURN - 1) {
            cycles_fold_give_way(f);
        }
    }

    cycles_reader_close(&reader);

    return rc;
}


/* a segment that begins with the next record, else the one that was read */

static int
cycles_fold_segment(cycles_folder_t *f, cycles_reader_t *reader, char *err,
    size_t errlen)
{
    char         name[CYCLES_SEGMENT_NAME];
    struct stat  st;

    cycles_segment_name(name, f->meta.folded + 1);

    if (fstatat(f->ledger->dir_fd, name, &st, 0) == 0) {
        f->meta.segment = f->meta.folded + 1;
        f->meta.offset = CYCLES_SEGMENT_HEAD;
    }

    cycles_segment_name(name, f->meta.segment);

    if (fstatat(f->ledger->dir_fd, name, &st, 0) == -1 && errno == ENOENT) {
        memset(reader, 0, sizeof(cycles_reader_t));
        reader->fd = -1;

        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" ends with record %"
                 PRIu64 ", and the log no longer has the next one: stop nginx "
                 "and restore what is missing from a backup",
                 f->ledger->path, f->meta.folded);
        return -1;
    }

    return cycles_reader_open(f->ledger, reader, f->meta.segment,
                              f->meta.offset, err, errlen);
}


static int
cycles_fold_next(cycles_folder_t *f, cycles_reader_t *reader,
    const unsigned char *buf, size_t len, char *err, size_t errlen)
{
    uint64_t     seq;
    const char  *reason;

    seq = f->meta.folded + 1;
    reason = cycles_record_frame(buf, seq);

    if (reason == NULL && cycles_record_read(&f->record, buf, len) != 0) {
        reason = "is malformed";
    }

    if (reason == NULL && cycles_fold_record(f, &f->record, buf, len) != 0) {
        if (cycles_fold_failed(f)) {
            return -1;
        }

        reason = "does not fit the tables";
    }

    if (reason) {
        snprintf(err, errlen, "record %" PRIu64 " at offset %" PRIu64
                 " of \"%s/%s\" %s: restore \"" CYCLES_DB_NAME "\" from a "
                 "backup", seq, reader->offset, f->ledger->path, reader->name,
                 reason);
        return -1;
    }

    cycles_reader_next(reader, len);

    f->meta.folded = seq;
    f->meta.segment = reader->segment;
    f->meta.offset = reader->offset;

    return 0;
}


static int
cycles_fold_meta(cycles_folder_t *f, int64_t now)
{
    cycles_bind_t   b;
    sqlite3_stmt   *st;

    st = cycles_fold_statement(f, CYCLES_FOLD_META);

    if (st == NULL) {
        return -1;
    }

    cycles_bind_init(&b, st);
    cycles_bind_int(&b, f->meta.folded);
    cycles_bind_int(&b, now);
    cycles_bind_int(&b, f->meta.segment);
    cycles_bind_int(&b, f->meta.offset);
    cycles_bind_int(&b, f->meta.expired);

    return cycles_fold_run(f, st, 1);
}


static int
cycles_fold_step(cycles_folder_t *f, cycles_fold_statement_t statement)
{
    sqlite3_stmt  *st;

    st = cycles_fold_statement(f, statement);

    return st ? cycles_fold_run(f, st, -1) : -1;
}


/* removes the segments before the one that is read: the tables have them */

static int
cycles_fold_trim(cycles_folder_t *f, char *err, size_t errlen)
{
    int        rc;
    size_t     i, n;
    uint64_t  *list;

    if (f->trimmed == f->meta.segment) {
        return 0;
    }

    if (cycles_segments_list(f->ledger, &list, &n, err, errlen) != 0) {
        return -1;
    }

    rc = 0;

    for (i = 0; rc == 0 && i + 1 < n; i++) {

        if (list[i] >= f->meta.segment) {
            break;
        }

        rc = cycles_fold_remove(f, list[i], err, errlen);
    }

    if (rc == 0) {
        f->trimmed = f->meta.segment;
    }

    free(list);

    return rc;
}


static int
cycles_fold_remove(cycles_folder_t *f, uint64_t segment, char *err,
    size_t errlen)
{
    char              name[CYCLES_SEGMENT_NAME];
    struct stat       st;
    cycles_ledger_t  *ledger;

    ledger = f->ledger;
    cycles_segment_name(name, segment);

    if (fstatat(ledger->dir_fd, name, &st, 0) == -1
        || unlinkat(ledger->dir_fd, name, 0) == -1)
    {
        snprintf(err, errlen, "can't remove \"%s/%s\": %s", ledger->path,
                 name, strerror(errno));
        return -1;
    }

    if (cycles_ledger_lock(ledger) == 0) {

        if (ledger->shm->log_before >= (uint64_t) st.st_size) {
            ledger->shm->log_before -= st.st_size;
        }

        cycles_ledger_unlock(ledger);
    }

    return 0;
}


/* in milliseconds since boot */

int64_t
cycles_fold_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
