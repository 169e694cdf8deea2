
/*
 * Copyright (C) nginx-cycles authors
 *
 * The end of the log after a power failure.  What had not been synced may
 * have reached the disk in parts, and in any order: a record may be there,
 * and those before it not.  Each record says how many before it were not
 * known to be synced when it was written.  If none behind the damage says
 * that what is missing had been synced, it never was: nothing was promised of
 * it, and the log ends there.  Otherwise something was lost that must not be,
 * as it was if the system has not been started anew since.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cycles_ledger_core.h"


/* what is behind the end */

typedef struct {
    uint64_t  after;        /* a number that all of its records are above */
    uint64_t  synced;       /* the last record that was, as it says */
    uint64_t  records;
    uint64_t  offset;       /* of the first record, or the one that says so */
    uint64_t  end;          /* of all that is no zero */
} cycles_behind_t;


static unsigned cycles_segment_headless(cycles_ledger_t *ledger,
    uint64_t segment, uint64_t *size);
static int cycles_segments_remove(cycles_ledger_t *ledger,
    const uint64_t *list, size_t n);
static int cycles_behind_scan(cycles_behind_t *behind, int fd,
    uint64_t offset);
static void cycles_behind_record(cycles_behind_t *behind,
    const unsigned char *p, uint64_t offset);
static int cycles_behind_segment(cycles_ledger_t *ledger,
    cycles_behind_t *behind, uint64_t segment);
static void cycles_cut_refused(cycles_ledger_t *ledger,
    const cycles_reader_t *reader, const char *damage, uint64_t next,
    const cycles_behind_t *behind, char *err, size_t errlen);


/*
 * The last file may be no more than the beginning of a header, or one whose
 * header was not synced.  Returns how many segments are left.
 */

size_t
cycles_segments_begun(cycles_ledger_t *ledger, const uint64_t *list, size_t n)
{
    size_t           i, k;
    char             name[CYCLES_SEGMENT_NAME];
    uint64_t         size;
    cycles_behind_t  behind;

    size = 0;

    for (i = 0; i < n; i++) {
        if (list[i] > ledger->shm->written
            && cycles_segment_headless(ledger, list[i], &size))
        {
            break;
        }
    }

    if (i == n || ledger->shm->known >= list[i]) {
        return n;
    }

    memset(&behind, 0, sizeof(cycles_behind_t));
    behind.after = list[i] - 1;

    for (k = i; k < n; k++) {
        if (cycles_behind_segment(ledger, &behind, list[k]) != 0
            || behind.synced >= list[i])
        {
            return n;
        }
    }

    if ((ledger->same_boot && (behind.records || i + 1 < n))
        || cycles_segments_remove(ledger, list + i, n - i) != 0)
    {
        return n;
    }

    cycles_segment_name(name, list[i]);

    cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                      "\"%s/%s\" of %" PRIu64 " bytes has no header yet, "
                      "removed, and %zu files behind it", ledger->path, name,
                      size, n - i - 1);
    return i;
}


static unsigned
cycles_segment_headless(cycles_ledger_t *ledger, uint64_t segment,
    uint64_t *size)
{
    int                         fd;
    ssize_t                     n;
    struct stat                 st;
    unsigned char               head[CYCLES_SEGMENT_HEAD];
    static const unsigned char  zeroes[CYCLES_SEGMENT_HEAD];

    fd = cycles_log_open_segment(ledger, segment);

    if (fd == -1) {
        return 0;
    }

    n = (fstat(fd, &st) == 0) ? pread(fd, head, sizeof(head), 0) : -1;

    close(fd);

    *size = st.st_size;

    return n != -1 && (n < CYCLES_SEGMENT_HEAD
                       || memcmp(head, zeroes, CYCLES_SEGMENT_HEAD) == 0);
}


/*
 * Ends the log where a reader has found no record; later: the segments behind
 * this one.  damage: what it found, NULL: nothing, and the next segment begins
 * with a later record.  CYCLES_LOG_ENDS, or -1: err says what is missing.
 */

int
cycles_log_cut(cycles_ledger_t *ledger, const uint64_t *later, size_t nlater,
    cycles_reader_t *reader, const char *damage, char *err, size_t errlen)
{
    int              rc;
    size_t           i;
    uint64_t         next;
    cycles_behind_t  behind;

    next = ledger->shm->written + 1;

    memset(&behind, 0, sizeof(cycles_behind_t));
    behind.after = next - 1;

    rc = damage ? cycles_behind_scan(&behind, reader->fd, reader->offset) : 0;

    for (i = 0; rc == 0 && behind.synced < next && i < nlater; i++) {
        rc = cycles_behind_segment(ledger, &behind, later[i]);
    }

    if (rc != 0) {
        snprintf(err, errlen, "can't read the log in \"%s\" behind offset %"
                 PRIu64 " of \"%s\" (%s): %s", ledger->path, reader->offset,
                 reader->name, damage ? damage : "the file ends",
                 strerror(errno));
        return -1;
    }

    if (behind.synced >= next
        || ledger->shm->known >= next
        || (ledger->same_boot && (behind.records || nlater)))
    {
        cycles_cut_refused(ledger, reader, damage, nlater ? later[0] : 0,
                           &behind, err, errlen);
        return -1;
    }

    if (behind.records || nlater) {
        cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                          "the log in \"%s\" ends at offset %" PRIu64
                          " of \"%s\" (%s): %" PRIu64 " records and %zu files "
                          "behind it had not been synced, removed",
                          ledger->path, reader->offset, reader->name,
                          damage ? damage : "the file ends", behind.records,
                          nlater);
    } else {
        cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                          "the last %" PRIu64 " bytes of \"%s/%s\" are a torn "
                          "record (%s), cut at offset %" PRIu64,
                          behind.end - reader->offset, ledger->path,
                          reader->name, damage, reader->offset);
    }

    if (cycles_segments_remove(ledger, later, nlater) != 0
        || (damage && ftruncate(reader->fd, reader->offset) == -1))
    {
        snprintf(err, errlen, "can't cut \"%s/%s\": %s", ledger->path,
                 reader->name, strerror(errno));
        return -1;
    }

    return CYCLES_LOG_ENDS;
}


static void
cycles_cut_refused(cycles_ledger_t *ledger, const cycles_reader_t *reader,
    const char *damage, uint64_t next, const cycles_behind_t *behind,
    char *err, size_t errlen)
{
    if (damage == NULL) {
        snprintf(err, errlen, "the log in \"%s\" has a gap: the file "
                 "with the records from %" PRIu64 " on is missing, the "
                 "next one begins with %" PRIu64 ": restore it from a "
                 "backup", ledger->path, behind->after + 1, next);
        return;
    }

    if (next) {
        snprintf(err, errlen, "\"%s/%s\" is damaged at offset %" PRIu64
                 " (%s) and later files follow: restore the file from "
                 "a backup", ledger->path, reader->name, reader->offset,
                 damage);
        return;
    }

    if (behind->records == 0) {
        snprintf(err, errlen, "\"%s/%s\" is damaged at offset %" PRIu64
                 " (%s), and record %" PRIu64 " had been written: restore "
                 "the file from a backup", ledger->path, reader->name,
                 reader->offset, damage, ledger->shm->known);
        return;
    }

    snprintf(err, errlen, "\"%s/%s\" is damaged at offset %" PRIu64
             " (%s) and valid records follow at offset %" PRIu64
             ": restore the file from a backup, or give up all records "
             "from there on with \"truncate -s %" PRIu64 "\"",
             ledger->path, reader->name, reader->offset, damage,
             behind->offset, reader->offset);
}


/* what is left after a crash is the beginning of the list */

static int
cycles_segments_remove(cycles_ledger_t *ledger, const uint64_t *list,
    size_t n)
{
    char  name[CYCLES_SEGMENT_NAME];

    while (n) {
        cycles_segment_name(name, list[--n]);

        if (unlinkat(ledger->dir_fd, name, 0) == -1) {
            return -1;
        }
    }

    return 0;
}


static int
cycles_behind_segment(cycles_ledger_t *ledger, cycles_behind_t *behind,
    uint64_t segment)
{
    int            fd, rc;
    ssize_t        n;
    uint64_t       synced;
    unsigned char  head[CYCLES_SEGMENT_HEAD];

    fd = cycles_log_open_segment(ledger, segment);

    if (fd == -1) {
        return -1;
    }

    n = pread(fd, head, sizeof(head), 0);

    if (n == (ssize_t) sizeof(head)
        && cycles_get32(head + 60) == cycles_crc32c(0, head, 60))
    {
        synced = cycles_get64(head + 48);

        if (synced > behind->synced) {
            behind->synced = synced;
        }
    }

    rc = (n == -1) ? -1 : cycles_behind_scan(behind, fd, CYCLES_SEGMENT_HEAD);

    close(fd);

    return rc;
}


/* a record is looked for at every byte: nothing tells where one begins */

static int
cycles_behind_scan(cycles_behind_t *behind, int fd, uint64_t offset)
{
    size_t          i, n, len;
    ssize_t         got;
    struct stat     st;
    unsigned char  *buf, *p;

    if (fstat(fd, &st) == -1) {
        return -1;
    }

    n = ((uint64_t) st.st_size > offset) ? st.st_size - offset : 0;
    buf = malloc(n + 1);

    if (buf == NULL) {
        return -1;
    }

    for (i = 0; i < n; i += got) {
        got = pread(fd, buf + i, n - i, offset + i);

        if (got <= 0) {
            free(buf);
            return -1;
        }
    }

    while (n && buf[n - 1] == 0) {
        n--;
    }

    behind->end = offset + n;

    /* a record may end with zeroes */

    for (i = 0; i < n; i++) {
        p = buf + i;

        if (i + CYCLES_RECORD_HEAD > (uint64_t) st.st_size - offset) {
            break;
        }

        len = cycles_get32(p + 4);

        if (len >= CYCLES_RECORD_HEAD && len <= CYCLES_RECORD_MAX
            && len <= (uint64_t) st.st_size - offset - i
            && cycles_get64(p + 8) > behind->after
            && cycles_crc32c(0, p + 4, len - 4) == cycles_get32(p))
        {
            cycles_behind_record(behind, p, offset + i);
            i += len - 1;
        }
    }

    free(buf);

    return 0;
}


static void
cycles_behind_record(cycles_behind_t *behind, const unsigned char *p,
    uint64_t offset)
{
    uint64_t  seq, unsynced, synced;

    seq = cycles_get64(p + 8);
    unsynced = cycles_get32(p + 28);
    synced = (seq > unsynced) ? seq - 1 - unsynced : 0;

    if (behind->records++ == 0
        || (synced > behind->synced && behind->synced <= behind->after))
    {
        behind->offset = offset;
    }

    if (synced > behind->synced) {
        behind->synced = synced;
    }
}
