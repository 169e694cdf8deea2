
/*
 * Copyright (C) nginx-cycles authors
 *
 * The way back from the disk to the state: the tables of ledger.db, and then
 * what the log has behind them.
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

#include "cycles_ledger_db.h"


/* ledger.db is read again when it has more than it had */
#define CYCLES_REBUILD_TRIES  5


static int cycles_log_load(cycles_ledger_t *ledger,
    const cycles_db_meta_t *meta, char *err, size_t errlen);
static int cycles_log_begin(cycles_ledger_t *ledger, char *err,
    size_t errlen);
static int cycles_log_replay(cycles_ledger_t *ledger, const uint64_t *list,
    size_t n, const cycles_db_meta_t *meta, char *err, size_t errlen);
static int cycles_log_joins(cycles_ledger_t *ledger, uint64_t segment,
    const cycles_db_meta_t *meta, char *err, size_t errlen);
static unsigned cycles_segment_reaches(cycles_ledger_t *ledger,
    uint64_t segment, uint64_t offset);
static int cycles_segment_size(cycles_ledger_t *ledger, uint64_t segment,
    uint64_t *size);
static int cycles_segment_replay(cycles_ledger_t *ledger,
    const uint64_t *list, size_t n, uint64_t offset, char *err,
    size_t errlen);
static unsigned cycles_segment_ends(const cycles_ledger_t *ledger,
    const uint64_t *list, size_t n);
static int cycles_reader_apply(cycles_ledger_t *ledger,
    cycles_reader_t *reader, const unsigned char *buf, size_t len,
    char *err, size_t errlen);


/*
 * Makes the state anew, under the lock.  Once there was a state, a log that
 * knows less is not believed.  Segments may go while they are looked for:
 * then ledger.db has what was in them.
 */

int
cycles_log_rebuild(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int               rc;
    unsigned          tries;
    uint64_t          folded;
    cycles_shm_t     *shm;
    cycles_db_meta_t  meta;

    shm = ledger->shm;
    shm->changing = 1;

    if (shm->known < shm->written) {
        shm->known = shm->written;
    }

    folded = 0;
    rc = -1;

    for (tries = 0; tries < CYCLES_REBUILD_TRIES; tries++) {
        cycles_memory_init(ledger);

        rc = cycles_tables_load(ledger, &meta, err, errlen);

        if (rc == 0) {
            rc = cycles_log_load(ledger, &meta, err, errlen);
        }

        if (rc == 0 || meta.folded == folded) {
            break;
        }

        folded = meta.folded;
    }

    if (rc == 0 && shm->written < shm->known) {
        snprintf(err, errlen, "the log in \"%s\" ends with record %" PRIu64
                 ", %" PRIu64 " had been written: restore it from a backup",
                 ledger->path, shm->written, shm->known);
        rc = -1;
    }

    if (rc == 0 && meta.log_lost) {
        rc = cycles_db_found(ledger, err, errlen);
    }

    if (rc == 0) {
        (void) cycles_log_room(ledger, 0, shm->nlive);
        shm->changing = 0;
    }

    return rc;
}


static int
cycles_log_load(cycles_ledger_t *ledger, const cycles_db_meta_t *meta,
    char *err, size_t errlen)
{
    int        rc;
    size_t     n;
    uint64_t  *list;

    if (cycles_segments_list(ledger, &list, &n, err, errlen) != 0) {
        return -1;
    }

    n = cycles_segments_begun(ledger, list, n);

    rc = 0;

    if (n) {
        rc = cycles_log_replay(ledger, list, n, meta, err, errlen);

    } else if (ledger->shm->known) {

        /* nobody could have taken it but an operator */

    } else if (meta->exists && !meta->log_lost) {
        snprintf(err, errlen, "the log in \"%s\" is missing, which has what "
                 "came after record %" PRIu64 " of \"" CYCLES_DB_NAME "\": "
                 "restore it from a backup, or give that up with sqlite3 "
                 "%s/" CYCLES_DB_NAME " \"UPDATE meta SET log = 'lost'\"",
                 ledger->path, meta->folded, ledger->path);
        rc = -1;

    } else {
        rc = cycles_log_begin(ledger, err, errlen);
    }

    free(list);

    return rc;
}


/* applies what a process wrote, but did not live to apply */

int
cycles_log_follow(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int            rc;
    uint64_t       segment;
    cycles_shm_t  *shm;

    shm = ledger->shm;
    shm->changing = 1;

    segment = shm->segment;

    rc = cycles_segment_replay(ledger, &segment, 1, shm->log_end, err,
                               errlen);
    if (rc < 0) {
        return -1;
    }

    (void) cycles_log_room(ledger, 0, shm->nlive);
    shm->changing = 0;

    return 0;
}


static int
cycles_log_begin(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int                   fd;
    cycles_shm_t         *shm;
    static const uint8_t  unknown[16];

    shm = ledger->shm;

    if (memcmp(shm->uuid, unknown, 16) == 0
        && cycles_ledger_uuid(ledger, shm->uuid) != 0)
    {
        snprintf(err, errlen, "no random numbers: %s", strerror(errno));
        return -1;
    }

    fd = cycles_segment_create(ledger, shm->written + 1);

    if (fd == -1) {
        snprintf(err, errlen, "can't create the log in \"%s\": %s",
                 ledger->path, strerror(errno));
        return -1;
    }

    if (ledger->log_fd != -1) {
        close(ledger->log_fd);
    }

    ledger->log_fd = fd;
    ledger->log_segment = shm->written + 1;

    shm->segment = ledger->log_segment;
    shm->log_end = CYCLES_SEGMENT_HEAD;
    shm->log_room = shm->log_end;

    return 0;
}


/* the records that ledger.db does not have: from one of its segments on */

static int
cycles_log_replay(cycles_ledger_t *ledger, const uint64_t *list, size_t n,
    const cycles_db_meta_t *meta, char *err, size_t errlen)
{
    int            rc;
    size_t         i;
    uint64_t       offset, size;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    for (i = 0; i + 1 < n && list[i + 1] <= shm->written + 1; i++) {

        if (cycles_segment_size(ledger, list[i], &size) == 0) {
            shm->log_before += size;
        }
    }

    offset = CYCLES_SEGMENT_HEAD;

    if (list[i] != shm->written + 1) {
        offset = meta->offset;

        if (cycles_log_joins(ledger, list[i], meta, err, errlen) != 0) {
            return -1;
        }
    }

    for ( ;; ) {

        rc = cycles_segment_replay(ledger, list + i, n - i, offset, err,
                                   errlen);
        if (rc < 0) {
            return -1;
        }

        if (rc == CYCLES_LOG_ENDS || ++i == n) {
            return 0;
        }

        if (list[i] != shm->written + 1) {
            snprintf(err, errlen, "the log in \"%s\" has a gap: the file "
                     "with the records from %" PRIu64 " on is missing, the "
                     "next one begins with %" PRIu64 ": restore it from a "
                     "backup", ledger->path, shm->written + 1, list[i]);
            return -1;
        }

        shm->log_before += shm->log_end;
        offset = CYCLES_SEGMENT_HEAD;
    }
}


/* whether the next record has its place in this segment */

static int
cycles_log_joins(cycles_ledger_t *ledger, uint64_t segment,
    const cycles_db_meta_t *meta, char *err, size_t errlen)
{
    uint64_t  size;

    if (segment > meta->folded + 1 && !meta->exists) {
        snprintf(err, errlen, "the log in \"%s\" begins with record %" PRIu64
                 ", and \"" CYCLES_DB_NAME "\" is missing, which has those "
                 "before it: restore it from a backup", ledger->path,
                 segment);
        return -1;
    }

    if (segment > meta->folded + 1) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" ends with record %"
                 PRIu64 ", and the log has a gap: it begins with %" PRIu64
                 ": restore the files of the log in between, or a later "
                 "\"" CYCLES_DB_NAME "\"", ledger->path, meta->folded,
                 segment);
        return -1;
    }

    if (segment != meta->segment
        || cycles_segment_size(ledger, segment, &size) != 0
        || size < meta->offset
        || !cycles_segment_reaches(ledger, segment, meta->offset))
    {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" has record %" PRIu64
                 ", which the log no longer has: restore the log from a "
                 "backup, or, to give up what came later, remove its files "
                 "and tell so with sqlite3 %s/" CYCLES_DB_NAME " \"UPDATE "
                 "meta SET log = 'lost'\"", ledger->path, meta->folded,
                 ledger->path);
        return -1;
    }

    return 0;
}


/* where no record follows, the zeroes may begin earlier */

static unsigned
cycles_segment_reaches(cycles_ledger_t *ledger, uint64_t segment,
    uint64_t offset)
{
    size_t           len;
    char             err[CYCLES_LEDGER_ERROR_LEN];
    unsigned         reaches;
    const char      *damage;
    cycles_reader_t  reader;

    damage = NULL;

    reaches = (cycles_reader_open(ledger, &reader, segment, offset, err,
                                  sizeof(err))
               != 0
               || cycles_reader_record(&reader, &len, &damage)
               || reader.zeroes == 0);

    cycles_reader_close(&reader);

    if (reaches) {

        /* or it has no zeroes, and what it has instead is told later */

        return 1;
    }

    if (cycles_reader_open(ledger, &reader, segment, CYCLES_SEGMENT_HEAD, err,
                           sizeof(err))
        == 0)
    {
        while (reader.offset < offset
               && cycles_reader_record(&reader, &len, &damage))
        {
            cycles_reader_next(&reader, len);
        }
    }

    reaches = (reader.offset == offset);

    cycles_reader_close(&reader);

    return reaches;
}


static int
cycles_segment_size(cycles_ledger_t *ledger, uint64_t segment,
    uint64_t *size)
{
    char         name[CYCLES_SEGMENT_NAME];
    struct stat  st;

    cycles_segment_name(name, segment);

    if (fstatat(ledger->dir_fd, name, &st, 0) == -1) {
        return -1;
    }

    *size = st.st_size;

    return 0;
}


/*
 * Reads the records of the first segment of a list from offset on and applies
 * them; leaves the end of the log in shared memory.  CYCLES_LOG_ENDS: those
 * that followed had nothing that counts, and are gone.
 */

static int
cycles_segment_replay(cycles_ledger_t *ledger, const uint64_t *list, size_t n,
    uint64_t offset, char *err, size_t errlen)
{
    int                   rc;
    size_t                len;
    const char           *damage;
    cycles_shm_t         *shm;
    cycles_reader_t       reader;
    const unsigned char  *buf;

    shm = ledger->shm;

    rc = cycles_reader_open(ledger, &reader, list[0], offset, err, errlen);
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

    if (rc == 0 && (damage || !cycles_segment_ends(ledger, list, n))) {
        rc = cycles_log_cut(ledger, list + 1, n - 1, &reader, damage, err,
                            errlen);
    }

    if (rc >= 0) {
        shm->segment = list[0];
        shm->log_end = reader.offset;
        shm->log_room = reader.offset;
        shm->log_zeroes = reader.zeroes;

        /* what a crash has left in the page cache only */

        if (fdatasync(reader.fd) == -1) {
            ledger->sync_failed = 1;
        }

        (void) cycles_ledger_owner(ledger, reader.fd);
    }

    cycles_reader_close(&reader);

    return rc;
}


/* where the next one begins, or it is the last one */

static unsigned
cycles_segment_ends(const cycles_ledger_t *ledger, const uint64_t *list,
    size_t n)
{
    return n == 1 || list[1] <= ledger->shm->written + 1;
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
