
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reading the log: which segments there are, and the records of each.
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
#include <unistd.h>

#include "cycles_ledger_core.h"


#define CYCLES_READ_BUFFER   (256 * 1024)


static int cycles_segment_cmp(const void *a, const void *b);
static int cycles_segment_head(cycles_ledger_t *ledger,
    const cycles_reader_t *reader, char *err, size_t errlen);
static unsigned cycles_reader_zeroes(cycles_reader_t *reader);
static unsigned cycles_all_zeroes(const unsigned char *p, size_t len);
static size_t cycles_reader_fill(cycles_reader_t *reader, size_t want);


int
cycles_segments_list(cycles_ledger_t *ledger, uint64_t **list, size_t *n,
    char *err, size_t errlen)
{
    DIR            *dir;
    int             fd;
    char           *end;
    size_t          max;
    uint64_t       *p, segment;
    struct dirent  *de;

    *list = NULL;
    *n = 0;
    max = 0;

    fd = openat(ledger->dir_fd, ".", O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    dir = (fd == -1) ? NULL : fdopendir(fd);

    if (dir == NULL) {
        snprintf(err, errlen, "can't read the ledger's directory \"%s\": %s",
                 ledger->path, strerror(errno));
        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    while ((de = readdir(dir)) != NULL) {

        if (strlen(de->d_name) != sizeof("log-.bin") - 1 + 20
            || strncmp(de->d_name, "log-", 4) != 0)
        {
            continue;
        }

        segment = strtoull(de->d_name + 4, &end, 10);

        if (strcmp(end, ".bin") != 0) {
            continue;
        }

        if (*n == max) {
            max = max * 2 + 16;
            p = realloc(*list, max * sizeof(uint64_t));

            if (p == NULL) {
                snprintf(err, errlen, "out of memory");
                free(*list);
                *list = NULL;
                closedir(dir);
                return -1;
            }

            *list = p;
        }

        (*list)[(*n)++] = segment;
    }

    closedir(dir);

    if (*n) {
        qsort(*list, *n, sizeof(uint64_t), cycles_segment_cmp);
    }

    return 0;
}


static int
cycles_segment_cmp(const void *a, const void *b)
{
    uint64_t  one, two;

    one = *(const uint64_t *) a;
    two = *(const uint64_t *) b;

    return (one > two) - (one < two);
}


void
cycles_segment_name(char *name, uint64_t segment)
{
    snprintf(name, CYCLES_SEGMENT_NAME, "log-%020" PRIu64 ".bin", segment);
}


int
cycles_log_open_segment(cycles_ledger_t *ledger, uint64_t segment)
{
    char  name[CYCLES_SEGMENT_NAME];

    cycles_segment_name(name, segment);

    return openat(ledger->dir_fd, name, O_RDWR|O_CLOEXEC);
}


/*
 * Opens a segment for reading its records from an offset on.  -1: there is no
 * such segment, or it is not of this ledger; to be closed in any case.
 */

int
cycles_reader_open(cycles_ledger_t *ledger, cycles_reader_t *reader,
    uint64_t segment, uint64_t offset, char *err, size_t errlen)
{
    memset(reader, 0, sizeof(cycles_reader_t));

    cycles_segment_name(reader->name, segment);

    reader->segment = segment;
    reader->offset = offset;
    reader->fd = cycles_log_open_segment(ledger, segment);
    reader->buf = malloc(CYCLES_READ_BUFFER);

    if (reader->fd == -1 || reader->buf == NULL) {
        snprintf(err, errlen, "can't open \"%s/%s\": %s", ledger->path,
                 reader->name, strerror(errno));
        return -1;
    }

    return cycles_segment_head(ledger, reader, err, errlen);
}


void
cycles_reader_close(cycles_reader_t *reader)
{
    free(reader->buf);

    if (reader->fd != -1) {
        close(reader->fd);
    }

    reader->buf = NULL;
    reader->fd = -1;
}


/* the ledger has no uuid before its first segment has been read */

static int
cycles_segment_head(cycles_ledger_t *ledger, const cycles_reader_t *reader,
    char *err, size_t errlen)
{
    unsigned char         head[CYCLES_SEGMENT_HEAD];
    static const uint8_t  unknown[16];

    if (pread(reader->fd, head, sizeof(head), 0) != (ssize_t) sizeof(head)
        || memcmp(head, CYCLES_LOG_MAGIC, 8) != 0
        || cycles_get32(head + 60) != cycles_crc32c(0, head, 60))
    {
        snprintf(err, errlen, "\"%s/%s\" has a damaged header at offset 0: "
                 "restore the file from a backup", ledger->path,
                 reader->name);
        return -1;
    }

    if (cycles_get32(head + 8) != CYCLES_LOG_VERSION) {
        snprintf(err, errlen, "\"%s/%s\" has format version %u, this module "
                 "knows version %u only: use the version of the module that "
                 "wrote it", ledger->path, reader->name,
                 cycles_get32(head + 8), CYCLES_LOG_VERSION);
        return -1;
    }

    if (cycles_get64(head + 32) != reader->segment) {
        snprintf(err, errlen, "\"%s/%s\" begins with record %" PRIu64
                 ", its name says otherwise: give the file its name back",
                 ledger->path, reader->name, cycles_get64(head + 32));
        return -1;
    }

    if (memcmp(ledger->shm->uuid, unknown, 16) == 0) {
        memcpy(ledger->shm->uuid, head + 16, 16);

    } else if (memcmp(ledger->shm->uuid, head + 16, 16) != 0) {
        snprintf(err, errlen, "\"%s/%s\" belongs to another ledger: remove "
                 "it from the directory", ledger->path, reader->name);
        return -1;
    }

    return 0;
}


/*
 * NULL with damage: there is something, but no record; without: the end, with
 * zeroes up to reader->zeroes if the segment was written before it was used.
 */

const unsigned char *
cycles_reader_record(cycles_reader_t *reader, size_t *len,
    const char **damage)
{
    size_t                n;
    const unsigned char  *p;

    n = cycles_reader_fill(reader, CYCLES_RECORD_HEAD);

    if (n == 0) {
        return NULL;
    }

    if (cycles_reader_zeroes(reader) || reader->error) {
        return NULL;
    }

    n = cycles_reader_fill(reader, CYCLES_RECORD_HEAD);

    if (n < CYCLES_RECORD_HEAD) {
        *damage = "short record";
        return NULL;
    }

    *len = cycles_get32(reader->buf + reader->pos + 4);

    if (*len < CYCLES_RECORD_HEAD || *len > CYCLES_RECORD_MAX) {
        *damage = "bad length";
        return NULL;
    }

    if (cycles_reader_fill(reader, *len) < *len) {
        *damage = "short record";
        return NULL;
    }

    p = reader->buf + reader->pos;

    if (cycles_crc32c(0, p + 4, *len - 4) != cycles_get32(p)) {
        *damage = "bad checksum";
        return NULL;
    }

    return p;
}


/* whether there is nothing else up to the end of the file */

static unsigned
cycles_reader_zeroes(cycles_reader_t *reader)
{
    ssize_t         n;
    uint64_t        offset;
    unsigned char  *p;

    if (!cycles_all_zeroes(reader->buf + reader->pos,
                           reader->end - reader->pos))
    {
        return 0;
    }

    /* the buffer has no more than these */

    p = reader->buf;
    offset = reader->offset + reader->end - reader->pos;

    for ( ;; ) {
        n = pread(reader->fd, p, CYCLES_READ_BUFFER, offset);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0 || !cycles_all_zeroes(p, n)) {
            break;
        }

        offset += n;
    }

    reader->pos = 0;
    reader->end = 0;

    if (n == -1) {
        reader->error = errno;
        return 0;
    }

    if (n == 0) {
        reader->zeroes = offset;
    }

    return n == 0;
}


static unsigned
cycles_all_zeroes(const unsigned char *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}


/* goes on behind the record that was read last */

void
cycles_reader_next(cycles_reader_t *reader, size_t len)
{
    reader->offset += len;
    reader->pos += len;
}


/* returns how many bytes are there, at most a little more than wanted */

static size_t
cycles_reader_fill(cycles_reader_t *reader, size_t want)
{
    ssize_t  n;

    if (reader->end - reader->pos >= want) {
        return reader->end - reader->pos;
    }

    memmove(reader->buf, reader->buf + reader->pos,
            reader->end - reader->pos);
    reader->end -= reader->pos;
    reader->pos = 0;

    while (reader->end < want) {
        n = pread(reader->fd, reader->buf + reader->end,
                  CYCLES_READ_BUFFER - reader->end,
                  reader->offset + reader->end);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            reader->error = errno;
            return 0;
        }

        if (n == 0) {
            break;
        }

        reader->end += n;
    }

    return reader->end;
}
