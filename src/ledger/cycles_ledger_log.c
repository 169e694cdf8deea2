
/*
 * Copyright (C) nginx-cycles authors
 *
 * The append-only log: segments, room for settlements, and the way from the
 * log back to the state.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cycles_ledger_core.h"


static int cycles_segment_create(cycles_ledger_t *ledger, uint64_t segment);
static int cycles_segment_torn(cycles_ledger_t *ledger, uint64_t segment);
static int cycles_log_first(cycles_ledger_t *ledger, char *err,
    size_t errlen);
static int cycles_log_replay(cycles_ledger_t *ledger, uint64_t *list,
    size_t n, char *err, size_t errlen);
static int cycles_segment_replay(cycles_ledger_t *ledger, uint64_t segment,
    uint64_t offset, int last, char *err, size_t errlen);
static int cycles_reader_apply(cycles_ledger_t *ledger,
    cycles_reader_t *reader, const unsigned char *buf, size_t len,
    char *err, size_t errlen);
static int cycles_segment_cut(cycles_ledger_t *ledger,
    cycles_reader_t *reader, const char *damage, char *err, size_t errlen);
static int cycles_valid_behind(cycles_ledger_t *ledger, int fd,
    uint64_t offset, uint64_t size, uint64_t *at);
static int cycles_log_current(cycles_ledger_t *ledger);
static int cycles_log_preallocate(cycles_ledger_t *ledger, int fd,
    uint64_t from, uint64_t to);
static void cycles_log_rotate(cycles_ledger_t *ledger);
static void cycles_log_pending(cycles_ledger_t *ledger);
static int cycles_log_append(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now, int live);


/*
 * Makes the state anew from all of the log, under the lock.  Once there was a
 * state, a log that knows less is not believed.
 */

int
cycles_log_rebuild(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int        rc;
    size_t     n;
    uint64_t  *list;

    ledger->shm->changing = 1;

    if (ledger->shm->known < ledger->shm->written) {
        ledger->shm->known = ledger->shm->written;
    }

    cycles_memory_init(ledger);

    if (cycles_segments_list(ledger, &list, &n, err, errlen) != 0) {
        return -1;
    }

    /* the last file may be no more than the beginning of a header */

    if (n && cycles_segment_torn(ledger, list[n - 1])) {
        n--;
    }

    if (n) {
        rc = cycles_log_replay(ledger, list, n, err, errlen);

    } else if (ledger->shm->known) {
        rc = 0;

    } else {
        rc = cycles_log_first(ledger, err, errlen);
    }

    free(list);

    if (rc == 0 && ledger->shm->written < ledger->shm->known) {
        snprintf(err, errlen, "the log in \"%s\" ends with record %" PRIu64
                 ", %" PRIu64 " had been written: restore it from a backup",
                 ledger->path, ledger->shm->written, ledger->shm->known);
        rc = -1;
    }

    if (rc == 0) {
        (void) cycles_log_room(ledger, 0, ledger->shm->nlive);
        ledger->shm->changing = 0;
    }

    return rc;
}


/* applies what a process wrote, but did not live to apply */

int
cycles_log_follow(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int            rc;
    cycles_shm_t  *shm;

    shm = ledger->shm;
    shm->changing = 1;

    rc = cycles_segment_replay(ledger, shm->segment, shm->log_end, 1, err,
                               errlen);
    if (rc == 0) {
        (void) cycles_log_room(ledger, 0, shm->nlive);
        shm->changing = 0;
    }

    return rc;
}


/* returns a descriptor of the new file, -1 with errno */

static int
cycles_segment_create(cycles_ledger_t *ledger, uint64_t segment)
{
    int              fd, saved;
    char             name[CYCLES_SEGMENT_NAME];
    struct timespec  now;
    unsigned char    head[CYCLES_SEGMENT_HEAD];

    cycles_segment_name(name, segment);
    clock_gettime(CLOCK_REALTIME, &now);

    memset(head, 0, sizeof(head));
    memcpy(head, CYCLES_LOG_MAGIC, 8);
    cycles_put32(head + 8, CYCLES_LOG_VERSION);
    cycles_put32(head + 12, CYCLES_SEGMENT_HEAD);
    memcpy(head + 16, ledger->shm->uuid, 16);
    cycles_put64(head + 32, segment);
    cycles_put64(head + 40, (uint64_t) now.tv_sec * 1000);
    cycles_put32(head + 60, cycles_crc32c(0, head, 60));

    fd = openat(ledger->dir_fd, name, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    if (fd == -1) {
        return -1;
    }

    errno = ENOSPC;

    if (pwrite(fd, head, sizeof(head), 0) != (ssize_t) sizeof(head)
        || cycles_ledger_owner(ledger, fd) == -1)
    {
        saved = errno;
        unlinkat(ledger->dir_fd, name, 0);
        close(fd);
        errno = saved;
        return -1;
    }

    return fd;
}


/* a crash came between the creation of a file and its header */

static int
cycles_segment_torn(cycles_ledger_t *ledger, uint64_t segment)
{
    char         name[CYCLES_SEGMENT_NAME];
    struct stat  st;

    cycles_segment_name(name, segment);

    if (fstatat(ledger->dir_fd, name, &st, 0) == -1
        || st.st_size >= CYCLES_SEGMENT_HEAD
        || unlinkat(ledger->dir_fd, name, 0) == -1)
    {
        return 0;
    }

    cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                      "\"%s/%s\" of %lld bytes has no header yet, removed",
                      ledger->path, name, (long long) st.st_size);
    return 1;
}


static int
cycles_log_first(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int            fd;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (cycles_ledger_uuid(ledger, shm->uuid) != 0) {
        snprintf(err, errlen, "no random numbers: %s", strerror(errno));
        return -1;
    }

    fd = cycles_segment_create(ledger, 1);

    if (fd == -1) {
        snprintf(err, errlen, "can't create the log in \"%s\": %s",
                 ledger->path, strerror(errno));
        return -1;
    }

    if (ledger->log_fd != -1) {
        close(ledger->log_fd);
    }

    ledger->log_fd = fd;
    ledger->log_segment = 1;

    shm->segment = 1;
    shm->log_end = CYCLES_SEGMENT_HEAD;
    shm->log_room = shm->log_end;

    return 0;
}


static int
cycles_log_replay(cycles_ledger_t *ledger, uint64_t *list, size_t n,
    char *err, size_t errlen)
{
    size_t         i;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    for (i = 0; i < n; i++) {

        if (list[i] != shm->written + 1) {
            snprintf(err, errlen, "the log in \"%s\" has a gap: the file "
                     "with the records from %" PRIu64 " on is missing, the "
                     "next one begins with %" PRIu64 ": restore it from a "
                     "backup", ledger->path, shm->written + 1, list[i]);
            return -1;
        }

        shm->log_before += shm->log_end;

        if (cycles_segment_replay(ledger, list[i], CYCLES_SEGMENT_HEAD,
                                  i == n - 1, err, errlen)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


/*
 * Reads records from offset on and applies them; leaves the end of the log in
 * shared memory.  Only the last segment may end with a torn record.
 */

static int
cycles_segment_replay(cycles_ledger_t *ledger, uint64_t segment,
    uint64_t offset, int last, char *err, size_t errlen)
{
    int                   rc;
    size_t                len;
    const char           *damage;
    cycles_shm_t         *shm;
    cycles_reader_t       reader;
    const unsigned char  *buf;

    shm = ledger->shm;

    rc = cycles_reader_open(ledger, &reader, segment, offset, err, errlen);
    damage = NULL;

    while (rc == 0) {
        buf = cycles_reader_record(&reader, &len, &damage);

        if (buf == NULL) {
            break;
        }

        rc = cycles_reader_apply(ledger, &reader, buf, len, err, errlen);
    }

    if (rc == 0 && reader.error) {
        snprintf(err, errlen, "can't read \"%s/%s\" at offset %" PRIu64
                 ": %s", ledger->path, reader.name, reader.offset,
                 strerror(reader.error));
        rc = -1;
    }

    if (rc == 0 && damage) {

        if (last) {
            rc = cycles_segment_cut(ledger, &reader, damage, err, errlen);

        } else {
            snprintf(err, errlen, "\"%s/%s\" is damaged at offset %" PRIu64
                     " (%s) and later files follow: restore the file from "
                     "a backup", ledger->path, reader.name, reader.offset,
                     damage);
            rc = -1;
        }
    }

    if (rc == 0) {
        shm->segment = segment;
        shm->log_end = reader.offset;
        shm->log_room = reader.offset;

        /* what a crash has left in the page cache only */

        (void) fdatasync(reader.fd);
        (void) cycles_ledger_owner(ledger, reader.fd);
    }

    cycles_reader_close(&reader);

    return rc;
}


static int
cycles_reader_apply(cycles_ledger_t *ledger, cycles_reader_t *reader,
    const unsigned char *buf, size_t len, char *err, size_t errlen)
{
    char         why[128];
    uint64_t     seq;
    const char  *reason;

    seq = ledger->shm->written + 1;
    reason = cycles_record_frame(buf, seq);

    if (reason == NULL
        && cycles_record_read(&ledger->record, buf, len) != 0)
    {
        reason = "is malformed";
    }

    if (reason == NULL
        && cycles_record_apply(ledger, &ledger->record, why, sizeof(why))
           != 0)
    {
        reason = why;
    }

    if (reason) {
        snprintf(err, errlen, "record %" PRIu64 " at offset %" PRIu64
                 " of \"%s/%s\" %s: use the version of the module and the "
                 "zone that wrote it, or restore the file from a backup",
                 seq, reader->offset, ledger->path, reader->name, reason);
        return -1;
    }

    ledger->shm->written = seq;
    cycles_reader_next(reader, len);

    return 0;
}


static int
cycles_segment_cut(cycles_ledger_t *ledger, cycles_reader_t *reader,
    const char *damage, char *err, size_t errlen)
{
    uint64_t     at;
    struct stat  st;

    if (fstat(reader->fd, &st) == -1) {
        snprintf(err, errlen, "can't stat \"%s/%s\": %s", ledger->path,
                 reader->name, strerror(errno));
        return -1;
    }

    if (cycles_valid_behind(ledger, reader->fd, reader->offset, st.st_size,
                            &at))
    {
        snprintf(err, errlen, "\"%s/%s\" is damaged at offset %" PRIu64
                 " (%s) and valid records follow at offset %" PRIu64
                 ": restore the file from a backup, or give up all records "
                 "from there on with \"truncate -s %" PRIu64 "\"",
                 ledger->path, reader->name, reader->offset, damage, at,
                 reader->offset);
        return -1;
    }

    cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                      "the last %" PRIu64 " bytes of \"%s/%s\" are a torn "
                      "record (%s), cut at offset %" PRIu64,
                      (uint64_t) st.st_size - reader->offset, ledger->path,
                      reader->name, damage, reader->offset);

    if (ftruncate(reader->fd, reader->offset) == -1) {
        snprintf(err, errlen, "can't cut \"%s/%s\": %s", ledger->path,
                 reader->name, strerror(errno));
        return -1;
    }

    return 0;
}


/* a record is looked for at every byte: nothing tells where one begins */

static int
cycles_valid_behind(cycles_ledger_t *ledger, int fd, uint64_t offset,
    uint64_t size, uint64_t *at)
{
    int             found;
    size_t          i, n, len;
    ssize_t         got;
    uint64_t        seq;
    unsigned char  *buf, *p;

    n = size - offset;
    buf = malloc(n);

    if (buf == NULL) {
        *at = offset;
        return 1;
    }

    for (i = 0; i < n; i += got) {
        got = pread(fd, buf + i, n - i, offset + i);

        if (got <= 0) {
            break;
        }
    }

    n = i;
    found = 0;

    for (i = 1; i + CYCLES_RECORD_HEAD <= n; i++) {
        p = buf + i;
        len = cycles_get32(p + 4);

        if (len < CYCLES_RECORD_HEAD || len > n - i
            || len > CYCLES_RECORD_MAX)
        {
            continue;
        }

        seq = cycles_get64(p + 8);

        if (seq > ledger->shm->written
            && seq - ledger->shm->written <= n / CYCLES_RECORD_HEAD + 1
            && cycles_crc32c(0, p + 4, len - 4) == cycles_get32(p))
        {
            *at = offset + i;
            found = 1;
            break;
        }
    }

    free(buf);

    return found;
}


/*
 * Makes sure that the disk has room for size bytes and for the settlement of
 * all live reservations after them.  -1: it does not.
 */

int
cycles_log_room(cycles_ledger_t *ledger, uint64_t size, unsigned live)
{
    uint64_t       need;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (shm->log_end >= shm->rotate_at && shm->log_end >= shm->segment_size) {
        cycles_log_rotate(ledger);
    }

    need = shm->log_end + size + (uint64_t) live * CYCLES_SETTLE_ROOM;

    if (need <= shm->log_room || shm->no_fallocate) {
        return 0;
    }

    if (cycles_log_current(ledger) != 0) {
        return -1;
    }

    if (cycles_log_preallocate(ledger, ledger->log_fd, shm->log_room,
                               need + CYCLES_LOG_CHUNK)
        == 0)
    {
        shm->log_room = need + CYCLES_LOG_CHUNK;
        return 0;
    }

    if (cycles_log_preallocate(ledger, ledger->log_fd, shm->log_room, need)
        == 0)
    {
        shm->log_room = need;
        return 0;
    }

    cycles_ledger_trouble_set(ledger, "no room for the log: %s",
                              strerror(errno));
    return -1;
}


/* another process may have gone on to the next segment */

static int
cycles_log_current(cycles_ledger_t *ledger)
{
    int  fd;

    if (ledger->log_segment == ledger->shm->segment) {
        return 0;
    }

    fd = cycles_log_open_segment(ledger, ledger->shm->segment);

    if (fd == -1) {
        cycles_ledger_trouble_set(ledger, "can't open the log: %s",
                                  strerror(errno));
        return -1;
    }

    if (ledger->log_fd != -1) {
        close(ledger->log_fd);
    }

    ledger->log_fd = fd;
    ledger->log_segment = ledger->shm->segment;

    return 0;
}


static int
cycles_log_preallocate(cycles_ledger_t *ledger, int fd, uint64_t from,
    uint64_t to)
{
    int  rc;

    if (ledger->shm->no_fallocate) {
        return 0;
    }

    do {
        rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, from, to - from);
    } while (rc == -1 && errno == EINTR);

    if (rc == -1 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        ledger->shm->no_fallocate = 1;
        cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                          "the filesystem of \"%s\" can't preallocate: on a "
                          "full disk settlements have to wait until there "
                          "is space again", ledger->path);
        return 0;
    }

    return rc;
}


/*
 * Failing is no failure: the old segment can be written to until the disk has
 * room for the new one and all that it owes.
 */

static void
cycles_log_rotate(cycles_ledger_t *ledger)
{
    int            fd;
    char           name[CYCLES_SEGMENT_NAME];
    uint64_t       room, segment;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    segment = shm->written + 1;
    room = CYCLES_SEGMENT_HEAD + CYCLES_LOG_CHUNK
           + (uint64_t) shm->nlive * CYCLES_SETTLE_ROOM;

    shm->changing = 1;

    fd = cycles_segment_create(ledger, segment);

    if (fd != -1 && cycles_log_preallocate(ledger, fd, 0, room) == -1) {
        cycles_segment_name(name, segment);
        unlinkat(ledger->dir_fd, name, 0);
        close(fd);
        fd = -1;
    }

    if (fd == -1) {
        shm->rotate_at = shm->log_end + CYCLES_LOG_CHUNK;
        shm->changing = 0;
        return;
    }

    cycles_log_pending(ledger);

    if (ledger->log_segment == shm->segment && ledger->log_fd != -1) {

        /* gives back what was preallocated, where this is possible */

        (void) !ftruncate(ledger->log_fd, shm->log_end);
    }

    if (ledger->log_fd != -1) {
        close(ledger->log_fd);
    }

    ledger->log_fd = fd;
    ledger->log_segment = segment;

    shm->segment = segment;
    shm->log_before += shm->log_end;
    shm->log_end = CYCLES_SEGMENT_HEAD;
    shm->log_room = room;
    shm->rotate_at = 0;
    shm->changing = 0;
}


/* the segment that is left has records that are not on the disk yet */

static void
cycles_log_pending(cycles_ledger_t *ledger)
{
    int            fd;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (shm->npending == CYCLES_PENDING_SEGMENTS) {

        /* nobody has synced for long: this is the only blocking way left */

        fd = cycles_log_open_segment(ledger, shm->pending[0]);

        if (fd != -1) {
            (void) fdatasync(fd);
            close(fd);
        }

        memmove(shm->pending, shm->pending + 1,
                (CYCLES_PENDING_SEGMENTS - 1) * sizeof(uint64_t));
        shm->npending--;
    }

    shm->pending[shm->npending++] = shm->segment;
}


/*
 * Writes a record with the next sequence number; memory is not changed.
 * live: how many reservations must still find room for their settlement.
 */

static int
cycles_log_append(cycles_ledger_t *ledger, cycles_record_t *rec, int64_t now,
    int live)
{
    size_t         len;
    ssize_t        n;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    rec->seq = shm->written + 1;
    rec->time = now;

    len = cycles_record_write(rec, ledger->buffer, CYCLES_RECORD_MAX);

    if (len == 0) {
        cycles_ledger_trouble_set(ledger, "a record is too long");
        return -1;
    }

    if (live == CYCLES_LOG_OWED && len > CYCLES_SETTLE_ROOM
        && rec->type != CYCLES_RECORD_EXPIRE
        && rec->type != CYCLES_RECORD_CLOSE)
    {
        live = shm->nlive;
    }

    if ((live != CYCLES_LOG_OWED && cycles_log_room(ledger, len, live) != 0)
        || cycles_log_current(ledger) != 0)
    {
        return -1;
    }

    do {
        n = pwrite(ledger->log_fd, ledger->buffer, len, shm->log_end);
    } while (n == -1 && errno == EINTR);

    if (n == (ssize_t) len) {
        return len;
    }

    cycles_ledger_trouble_set(ledger, "can't write the log: %s",
                              strerror(n == -1 ? errno : ENOSPC));

    /* what is left there is overwritten by the next record */

    (void) !ftruncate(ledger->log_fd, shm->log_end);

    return -1;
}


/* writes a record, then does what it says */

int
cycles_log_commit(cycles_ledger_t *ledger, cycles_record_t *rec, int64_t now,
    int live)
{
    int            len;
    char           err[128];
    cycles_shm_t  *shm;

    shm = ledger->shm;

    len = cycles_log_append(ledger, rec, now, live);

    if (len == -1) {
        return -1;
    }

    shm->changing = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);

    shm->log_end += len;

    if (cycles_record_apply(ledger, rec, err, sizeof(err)) != 0) {
        shm->broken = 1;
        cycles_ledger_trouble_set(ledger, "record %" PRIu64 " %s", rec->seq,
                                  err);
        cycles_ledger_say(ledger, CYCLES_LEDGER_ALERT, "%s: the ledger "
                          "stops until nginx is restarted",
                          ledger->trouble);
        return -1;
    }

    __atomic_store_n(&shm->written, rec->seq, __ATOMIC_RELEASE);

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    shm->changing = 0;

    return 0;
}
