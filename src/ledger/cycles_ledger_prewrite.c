
/*
 * Copyright (C) nginx-cycles authors
 *
 * A file of zeroes that will be the next segment of the log.  To sync what is
 * written over blocks that have been written before changes nothing but these
 * blocks; to sync what makes a file grow, or fills blocks that were only
 * preallocated, is a transaction of the filesystem besides.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cycles_ledger_core.h"


/* at once, and between two syncs: others want to write, too */
#define CYCLES_PREWRITE_PIECE  (256 * 1024)
#define CYCLES_PREWRITE_SYNC   (4 * 1024 * 1024)

/* so many times the file must be free on the disk */
#define CYCLES_PREWRITE_FREE   8

/* after a failure, in milliseconds */
#define CYCLES_PREWRITE_RETRY  60000


static int cycles_prewrite_file(cycles_ledger_t *ledger, uint64_t size);
static int cycles_prewrite_zeroes(int fd, uint64_t size);
static unsigned cycles_prewrite_fits(cycles_ledger_t *ledger, uint64_t size);


void
cycles_ledger_prewrite(cycles_ledger_t *ledger, unsigned on)
{
    ledger->prewrite = on;
}


/*
 * To be called by whoever folds: nobody else writes to the file.  It is worth
 * no message if it can't be had: the log does without.
 */

void
cycles_log_prewrite(cycles_ledger_t *ledger)
{
    int            rc;
    uint64_t       size;
    cycles_shm_t  *shm;

    shm = ledger->shm;

    if (!ledger->prewrite
        || __atomic_load_n(&shm->next_size, __ATOMIC_RELAXED)
        || cycles_fold_clock() < ledger->prewrite_after)
    {
        return;
    }

    /* what is written together may go beyond the size of a segment */

    size = shm->segment_size + CYCLES_TOGETHER_MAX + CYCLES_RECORD_MAX;

    rc = cycles_prewrite_file(ledger, size);

    if (rc == 0 && cycles_ledger_lock(ledger) == 0) {
        shm->next_size = size;
        cycles_ledger_unlock(ledger);
        return;
    }

    (void) unlinkat(ledger->dir_fd, CYCLES_NEXT_NAME, 0);

    ledger->prewrite_after = cycles_fold_clock() + CYCLES_PREWRITE_RETRY;
}


static int
cycles_prewrite_file(cycles_ledger_t *ledger, uint64_t size)
{
    int  fd, rc;

    if (!cycles_prewrite_fits(ledger, size)) {
        return -1;
    }

    fd = openat(ledger->dir_fd, CYCLES_NEXT_NAME,
                O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0600);

    if (fd == -1) {
        return -1;
    }

    rc = cycles_ledger_owner(ledger, fd);

    if (rc == 0) {
        rc = cycles_prewrite_zeroes(fd, size);
    }

    close(fd);

    return rc;
}


/* the thread may share its core with an event loop */

static int
cycles_prewrite_zeroes(int fd, uint64_t size)
{
    int             rc;
    size_t          len;
    ssize_t         n;
    uint64_t        offset;
    unsigned char  *zeroes;

    zeroes = calloc(1, CYCLES_PREWRITE_PIECE);

    if (zeroes == NULL) {
        return -1;
    }

    rc = 0;

    for (offset = 0; rc == 0 && offset < size; /* void */ ) {

        len = CYCLES_PREWRITE_PIECE;

        if (len > size - offset) {
            len = size - offset;
        }

        n = pwrite(fd, zeroes, len, offset);

        if (n <= 0) {
            rc = (n == -1 && errno == EINTR) ? 0 : -1;
            continue;
        }

        offset += n;

        if (offset % CYCLES_PREWRITE_SYNC == 0) {
            rc = fdatasync(fd);
        }

        (void) sched_yield();
    }

    free(zeroes);

    return (rc == 0) ? fdatasync(fd) : -1;
}


/* a disk that gets full has better use for its space */

static unsigned
cycles_prewrite_fits(cycles_ledger_t *ledger, uint64_t size)
{
    struct statvfs  fs;

    return fstatvfs(ledger->dir_fd, &fs) == 0
           && (uint64_t) fs.f_bavail * fs.f_frsize
              >= size * CYCLES_PREWRITE_FREE;
}
