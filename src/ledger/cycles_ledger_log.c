
/*
 * Copyright (C) nginx-cycles authors
 *
 * The append-only log: segments, room for settlements, and what is written.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cycles_ledger_core.h"


static int cycles_segment_take(cycles_ledger_t *ledger, uint64_t segment);
static int cycles_segment_begin(cycles_ledger_t *ledger, int fd,
    uint64_t segment);
static unsigned cycles_log_full(const cycles_ledger_t *ledger);
static int cycles_log_current(cycles_ledger_t *ledger);
static int cycles_log_preallocate(cycles_ledger_t *ledger, int fd,
    uint64_t from, uint64_t to);
static void cycles_log_rotate(cycles_ledger_t *ledger);
static void cycles_log_pending(cycles_ledger_t *ledger);
static int cycles_log_append(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now, int live);
static int cycles_log_write(cycles_ledger_t *ledger, size_t len);
static int cycles_log_flush(cycles_ledger_t *ledger);


/* returns a descriptor of the new file, -1 with errno */

int
cycles_segment_create(cycles_ledger_t *ledger, uint64_t segment)
{
    int   fd, saved;
    char  name[CYCLES_SEGMENT_NAME];

    cycles_segment_name(name, segment);

    fd = openat(ledger->dir_fd, name, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    if (fd == -1) {
        return -1;
    }

    if (cycles_segment_begin(ledger, fd, segment) == -1
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


/* the file that is ready for it, under its name; -1: there is none */

static int
cycles_segment_take(cycles_ledger_t *ledger, uint64_t segment)
{
    int   fd;
    char  name[CYCLES_SEGMENT_NAME];

    cycles_segment_name(name, segment);

    fd = openat(ledger->dir_fd, CYCLES_NEXT_NAME, O_RDWR|O_CLOEXEC);

    if (fd != -1
        && cycles_segment_begin(ledger, fd, segment) == 0
        && renameat(ledger->dir_fd, CYCLES_NEXT_NAME, ledger->dir_fd, name)
           == 0)
    {
        return fd;
    }

    if (fd != -1) {
        close(fd);
    }

    return -1;
}


static int
cycles_segment_begin(cycles_ledger_t *ledger, int fd, uint64_t segment)
{
    struct timespec  now;
    unsigned char    head[CYCLES_SEGMENT_HEAD];

    clock_gettime(CLOCK_REALTIME, &now);

    memset(head, 0, sizeof(head));
    memcpy(head, CYCLES_LOG_MAGIC, 8);
    cycles_put32(head + 8, CYCLES_LOG_VERSION);
    cycles_put32(head + 12, CYCLES_SEGMENT_HEAD);
    memcpy(head + 16, ledger->shm->uuid, 16);
    cycles_put64(head + 32, segment);
    cycles_put64(head + 40, (uint64_t) now.tv_sec * 1000);
    cycles_put64(head + 48, cycles_ledger_synced(ledger));
    cycles_put32(head + 60, cycles_crc32c(0, head, 60));

    errno = ENOSPC;

    return (pwrite(fd, head, sizeof(head), 0) == (ssize_t) sizeof(head))
           ? 0 : -1;
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

    if (cycles_log_full(ledger)) {
        cycles_log_rotate(ledger);
    }

    need = shm->log_end + ledger->unwritten + size
           + (uint64_t) live * CYCLES_SETTLE_ROOM;

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


/*
 * Records that are written together are in one segment.  One whose blocks
 * have been written before is better than one whose have not.
 */

static unsigned
cycles_log_full(const cycles_ledger_t *ledger)
{
    const cycles_shm_t  *shm;

    shm = ledger->shm;

    if (ledger->unwritten || shm->log_end < shm->rotate_at) {
        return 0;
    }

    return shm->log_end >= shm->segment_size
           || (shm->next_size && shm->log_end >= shm->log_zeroes
               && shm->segment <= shm->written);
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
    uint64_t       room, segment, zeroes;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    segment = shm->written + 1;
    room = CYCLES_SEGMENT_HEAD + CYCLES_LOG_CHUNK
           + (uint64_t) shm->nlive * CYCLES_SETTLE_ROOM;

    shm->changing = 1;

    zeroes = shm->next_size;
    shm->next_size = 0;

    fd = zeroes ? cycles_segment_take(ledger, segment) : -1;

    if (fd == -1) {
        zeroes = 0;
        fd = cycles_segment_create(ledger, segment);
    }

    if (fd != -1 && zeroes < room
        && cycles_log_preallocate(ledger, fd, zeroes, room) == -1)
    {
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

        /* gives back what is left of it, where this is possible */

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
    shm->log_room = (zeroes > room) ? zeroes : room;
    shm->log_zeroes = zeroes;
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
 * Gives a record the next sequence number, and writes it, or leaves it in the
 * buffer if it is one of several; memory is not changed.  live: how many
 * reservations must still find room for their settlement.
 */

static int
cycles_log_append(cycles_ledger_t *ledger, cycles_record_t *rec, int64_t now,
    int live)
{
    size_t         len;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (ledger->together && ledger->write_failed) {
        return -1;
    }

    rec->seq = shm->written + ledger->nunwritten + 1;
    rec->unsynced = rec->seq - 1 - cycles_ledger_synced(ledger);
    rec->time = now;

    if (rec->type == CYCLES_RECORD_RESERVE) {
        cycles_ledger_id_number(ledger, rec->id, rec->seq);
    }

    len = cycles_record_write(rec, ledger->buffer + ledger->unwritten,
                              CYCLES_RECORD_MAX);

    if (len == 0) {
        cycles_ledger_trouble_set(ledger, "a record is too long");
        return -1;
    }

    if (live == CYCLES_LOG_OWED && len > CYCLES_SETTLE_MAX
        && rec->type != CYCLES_RECORD_EXPIRE
        && rec->type != CYCLES_RECORD_CLOSE)
    {
        live = shm->nlive;
    }

    if ((live != CYCLES_LOG_OWED && cycles_log_room(ledger, len, live) != 0)
        || cycles_log_current(ledger) != 0
        || (!ledger->together && cycles_log_write(ledger, len) != 0))
    {
        return -1;
    }

    return len;
}


/* what the buffer begins with */

static int
cycles_log_write(cycles_ledger_t *ledger, size_t len)
{
    ssize_t  n;

    do {
        n = pwrite(ledger->log_fd, ledger->buffer, len, ledger->shm->log_end);
    } while (n == -1 && errno == EINTR);

    ledger->write_failed = (n != (ssize_t) len);

    if (!ledger->write_failed) {
        return 0;
    }

    cycles_ledger_trouble_set(ledger, "can't write the log: %s",
                              strerror(n == -1 ? errno : ENOSPC));

    /* what was written of it, and all that is preallocated behind it */

    if (ftruncate(ledger->log_fd, ledger->shm->log_end) == 0) {
        ledger->shm->log_room = ledger->shm->log_end;
        ledger->shm->log_zeroes = 0;
    }

    return -1;
}


/*
 * Writes a record, then does what it says; or the other way round, if it is
 * one of several.
 */

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

    if (ledger->together) {
        ledger->unwritten += len;
        ledger->nunwritten++;

    } else {
        shm->log_end += len;
    }

    if (cycles_record_apply(ledger, rec, err, sizeof(err)) != 0) {
        shm->broken = 1;
        cycles_ledger_trouble_set(ledger, "record %" PRIu64 " %s", rec->seq,
                                  err);
        cycles_ledger_say(ledger, CYCLES_LEDGER_ALERT, "%s: the ledger "
                          "stops until nginx is restarted",
                          ledger->trouble);
        return -1;
    }

    if (ledger->together) {
        return (ledger->unwritten < CYCLES_TOGETHER_MAX)
               ? 0 : cycles_log_flush(ledger);
    }

    __atomic_store_n(&shm->written, rec->seq, __ATOMIC_RELEASE);

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    shm->changing = 0;

    return 0;
}


/* -1: memory is ahead of the log, and stays marked as changing */

static int
cycles_log_flush(cycles_ledger_t *ledger)
{
    size_t         len;
    uint64_t       seq;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    len = ledger->unwritten;
    seq = shm->written + ledger->nunwritten;

    if (len == 0) {
        return 0;
    }

    if (cycles_log_write(ledger, len) != 0) {
        return -1;
    }

    ledger->unwritten = 0;
    ledger->nunwritten = 0;

    shm->log_end += len;
    __atomic_store_n(&shm->written, seq, __ATOMIC_RELEASE);

    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    shm->changing = 0;

    return 0;
}


/*
 * A record that could not be written alone has changed nothing; several have
 * changed memory already, which is then read again.  That takes long, so it
 * is not tried again before one of them could be written.
 */

int
cycles_ledger_together(cycles_ledger_t *ledger)
{
    if (ledger->write_failed || cycles_ledger_lock(ledger) != 0) {
        return -1;
    }

    ledger->together = 1;

    return 0;
}


int
cycles_ledger_apart(cycles_ledger_t *ledger, uint64_t *written)
{
    int            rc;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    rc = (shm->broken || ledger->write_failed) ? -1
                                               : cycles_log_flush(ledger);
    ledger->together = 0;
    ledger->unwritten = 0;
    ledger->nunwritten = 0;

    if (rc != 0 && !shm->broken) {
        cycles_ledger_say(ledger, CYCLES_LEDGER_WARN, "%s, reading the log of "
                          "ledger \"%s\" again", ledger->trouble,
                          ledger->path);

        (void) cycles_ledger_restore(ledger);
    }

    *written = shm->written;

    cycles_ledger_unlock(ledger);

    return rc;
}


/* the lock for one operation, unless it is one of several */

int
cycles_ledger_enter(cycles_ledger_t *ledger)
{
    if (!ledger->together) {
        return cycles_ledger_lock(ledger);
    }

    return (ledger->shm->broken || ledger->write_failed) ? -1 : 0;
}


void
cycles_ledger_leave(cycles_ledger_t *ledger)
{
    if (!ledger->together) {
        cycles_ledger_unlock(ledger);
    }
}
