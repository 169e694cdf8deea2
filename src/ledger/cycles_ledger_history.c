
/*
 * Copyright (C) nginx-cycles authors
 *
 * What memory does not keep of a reservation, read from the log.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cycles_ledger_core.h"


/* holds the longest record */
#define CYCLES_HISTORY_BUFFER  (4 * CYCLES_RECORD_MAX)


/* what "memory" of a cycles_history_t points to */

typedef struct {
    cycles_record_t  reserve;
    cycles_record_t  settlement;
    cycles_scopes_t  scopes;
    unsigned char   *reserve_text;
    unsigned char   *settlement_text;
} cycles_history_memory_t;


static int cycles_history_read(cycles_ledger_t *ledger, uint64_t seq,
    cycles_record_t *rec, unsigned char **text);
static uint64_t cycles_history_segment(cycles_ledger_t *ledger,
    uint64_t seq);
static int cycles_history_scan(int fd, uint64_t seq, unsigned char *buf,
    unsigned char **text, size_t *len);


int
cycles_ledger_history(cycles_ledger_t *ledger, const cycles_view_t *view,
    cycles_history_t *history)
{
    int                       rc;
    cycles_history_memory_t  *m;

    memset(history, 0, sizeof(cycles_history_t));

    m = calloc(1, sizeof(cycles_history_memory_t));

    if (m == NULL) {
        return ENOMEM;
    }

    history->memory = m;

    rc = cycles_history_read(ledger, view->record, &m->reserve,
                             &m->reserve_text);

    if (rc == 0 && (m->reserve.type != CYCLES_RECORD_RESERVE
                    || !cycles_subject_ok(m->reserve.subject)))
    {
        rc = EIO;
    }

    if (rc == 0 && view->status == CYCLES_COMMITTED) {
        rc = cycles_history_read(ledger, view->settle_record, &m->settlement,
                                 &m->settlement_text);
    }

    if (rc != 0) {
        cycles_ledger_history_free(history);
        return rc;
    }

    history->created_at_ms = m->reserve.time;
    history->idempotency_key = m->reserve.key;
    history->subject = m->reserve.subject;
    history->action = m->reserve.action;
    history->metadata = m->reserve.metadata;

    cycles_scopes_derive(m->reserve.subject, &m->scopes);

    history->scope_path.len = m->scopes.prefix[m->scopes.n - 1].len;
    history->scope_path.data = (unsigned char *) m->scopes.path;

    if (m->settlement.type == CYCLES_RECORD_COMMIT) {
        history->committed_metadata = m->settlement.metadata;
    }

    return 0;
}


void
cycles_ledger_history_free(cycles_history_t *history)
{
    cycles_history_memory_t  *m;

    m = history->memory;

    if (m) {
        free(m->reserve_text);
        free(m->settlement_text);
        free(m);
        history->memory = NULL;
    }
}


/* records are complete on the file before anyone is told their number */

static int
cycles_history_read(cycles_ledger_t *ledger, uint64_t seq,
    cycles_record_t *rec, unsigned char **text)
{
    int             fd, rc;
    size_t          len;
    uint64_t        segment;
    unsigned char  *buf;

    segment = cycles_history_segment(ledger, seq);

    if (segment == 0) {
        return ENOENT;
    }

    fd = cycles_log_open_segment(ledger, segment);

    if (fd == -1) {
        return errno;
    }

    buf = malloc(CYCLES_HISTORY_BUFFER);
    len = 0;

    rc = buf ? cycles_history_scan(fd, seq, buf, text, &len) : ENOMEM;

    free(buf);
    close(fd);

    if (rc == 0
        && (cycles_crc32c(0, *text + 4, len - 4) != cycles_get32(*text)
            || cycles_record_frame(*text, seq) != NULL
            || cycles_record_read(rec, *text, len) != 0))
    {
        rc = EIO;
    }

    return rc;
}


/* the last one that begins with this record or an earlier one; 0: none */

static uint64_t
cycles_history_segment(cycles_ledger_t *ledger, uint64_t seq)
{
    DIR            *dir;
    char           *end;
    uint64_t        segment, found;
    struct dirent  *de;

    dir = opendir(ledger->path);

    if (dir == NULL) {
        return 0;
    }

    for (found = 0; (de = readdir(dir)) != NULL; /* void */ ) {

        if (strncmp(de->d_name, "log-", 4) != 0) {
            continue;
        }

        segment = strtoull(de->d_name + 4, &end, 10);

        if (strcmp(end, ".bin") == 0 && segment <= seq && segment > found) {
            found = segment;
        }
    }

    closedir(dir);

    return found;
}


/* *text becomes a copy of the record */

static int
cycles_history_scan(int fd, uint64_t seq, unsigned char *buf,
    unsigned char **text, size_t *len)
{
    size_t    pos, end;
    ssize_t   n;
    uint64_t  offset, number;

    offset = CYCLES_SEGMENT_HEAD;

    for ( ;; ) {
        n = pread(fd, buf, CYCLES_HISTORY_BUFFER, offset);

        if (n < CYCLES_RECORD_HEAD) {
            return (n == -1) ? errno : ENOENT;
        }

        end = n;

        for (pos = 0; pos + CYCLES_RECORD_HEAD <= end; pos += *len) {
            *len = cycles_get32(buf + pos + 4);
            number = cycles_get64(buf + pos + 8);

            if (*len < CYCLES_RECORD_HEAD || *len > CYCLES_RECORD_MAX
                || number > seq)
            {
                return ENOENT;
            }

            if (pos + *len > end) {
                break;
            }

            if (number == seq) {
                *text = malloc(*len);

                if (*text == NULL) {
                    return ENOMEM;
                }

                memcpy(*text, buf + pos, *len);

                return 0;
            }
        }

        if (pos == 0) {
            return ENOENT;
        }

        offset += pos;
    }
}
