
/*
 * Copyright (C) nginx-cycles authors
 *
 * Any sequence of records with right checksums: each is refused, or does what
 * can be read back, and memory stays in one piece.  A record is a type, two
 * bytes of length, and a payload.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/cycles_ledger_core.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static cycles_ledger_t *open_ledger(void);
static void clean_up(void);
static void check(cycles_ledger_t *ledger, const cycles_record_t *rec);


static cycles_ledger_t  *opened;
static char              directory[64];


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char              err[256];
    size_t            len;
    uint64_t          seq;
    unsigned char     buf[CYCLES_RECORD_MAX];
    cycles_ledger_t  *l;

    l = opened ? opened : open_ledger();

    cycles_memory_init(l);

    for (seq = 1; size >= 3; seq++) {
        len = data[1] | data[2] << 8;

        if (len > size - 3) {
            len = size - 3;
        }

        if (len > CYCLES_RECORD_MAX - CYCLES_RECORD_HEAD) {
            len = CYCLES_RECORD_MAX - CYCLES_RECORD_HEAD;
        }

        memset(buf, 0, CYCLES_RECORD_HEAD);
        cycles_put32(buf + 4, CYCLES_RECORD_HEAD + len);
        cycles_put64(buf + 8, seq);
        buf[24] = data[0];
        buf[26] = 1;
        memcpy(buf + CYCLES_RECORD_HEAD, data + 3, len);

        data += 3 + len;
        size -= 3 + len;

        if (cycles_record_frame(buf, seq) != NULL
            || cycles_record_read(&l->record, buf, CYCLES_RECORD_HEAD + len)
               != 0)
        {
            return 0;
        }

        check(l, &l->record);

        if (cycles_record_apply(l, &l->record, err, sizeof(err)) != 0) {
            return 0;
        }
    }

    (void) cycles_expire_due(l, INT64_MAX);

    return 0;
}


/* what was read is written, and read again, as it was */

static void
check(cycles_ledger_t *ledger, const cycles_record_t *rec)
{
    size_t                  len, again;
    unsigned char           one[CYCLES_RECORD_MAX], two[CYCLES_RECORD_MAX];
    static cycles_record_t  copy;

    (void) ledger;

    len = cycles_record_write(rec, one, sizeof(one));

    if (len == 0) {
        return;
    }

    if (cycles_record_read(&copy, one, len) != 0) {
        abort();
    }

    again = cycles_record_write(&copy, two, sizeof(two));

    if (again != len || memcmp(one, two, len) != 0) {
        abort();
    }
}


static cycles_ledger_t *
open_ledger(void)
{
    char                  err[CYCLES_LEDGER_ERROR_LEN];
    cycles_ledger_conf_t  conf;

    strcpy(directory, "/tmp/cycles-fuzz-XXXXXX");

    if (mkdtemp(directory) == NULL) {
        perror("mkdtemp");
        exit(2);
    }

    atexit(clean_up);

    memset(&conf, 0, sizeof(conf));
    conf.path = directory;
    conf.zone_size = CYCLES_LEDGER_MIN_ZONE;

    opened = cycles_ledger_open(&conf, err, sizeof(err));

    if (opened == NULL) {
        fprintf(stderr, "%s\n", err);
        exit(2);
    }

    return opened;
}


static void
clean_up(void)
{
    char  path[128];

    cycles_ledger_close(opened);

    snprintf(path, sizeof(path), "%s/lock", directory);
    unlink(path);
    snprintf(path, sizeof(path), "%s/log-%020d.bin", directory, 1);
    unlink(path);
    rmdir(directory);
}
