
/*
 * Copyright (C) nginx-cycles authors
 *
 * Any bytes as the body of each operation of the HTTP API: refused with a
 * sentence, or within the limits that the ledger wants; and the canonical
 * text of what was read is read as itself again.  And as a date-time.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cycles_api.h"
#include "cycles_time.h"
#include "ledger/cycles_ledger_core.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const cycles_api_request_t *rq, cycles_api_operation_t op);
static void check_canonical(cycles_str_t text);
static void check_time(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                     rc;
    char                    err[CYCLES_API_MESSAGE];
    cycles_api_request_t    rq;
    cycles_api_operation_t  op;

    if (size == 0) {
        return 0;
    }

    if (data[0] % 7 == 6) {
        check_time(data + 1, size - 1);
        return 0;
    }

    op = 1u << data[0] % 7;
    err[0] = '\0';

    rc = cycles_api_read(&rq, op, data + 1, size - 1, err, sizeof(err));

    if (rc != 0) {

        if (err[0] == '\0') {
            abort();
        }

        return 0;
    }

    check(&rq, op);
    cycles_api_free(&rq);

    return 0;
}


static void
check(const cycles_api_request_t *rq, cycles_api_operation_t op)
{
    if (!cycles_key_ok(rq->idempotency_key)
        || rq->reason.len > CYCLES_UTF8(CYCLES_MAX_REASON)
        || rq->metadata.len + rq->metrics.custom.len > CYCLES_MAX_METADATA
        || rq->metrics.model_version.len
           > CYCLES_UTF8(CYCLES_MAX_MODEL_VERSION)
        || rq->amount < 0)
    {
        abort();
    }

    if ((op & (CYCLES_API_RESERVE|CYCLES_API_DECIDE|CYCLES_API_EVENT))
        && (!cycles_subject_ok(&rq->subject)
            || !cycles_action_ok(&rq->action)))
    {
        abort();
    }

    check_canonical(rq->metadata);
    check_canonical(rq->metrics.custom);
}


static void
check_canonical(cycles_str_t text)
{
    int                    n;
    char                  *body, err[CYCLES_API_MESSAGE];
    cycles_api_request_t   rq;

    if (text.len == 0) {
        return;
    }

    body = malloc(text.len + 128);

    n = sprintf(body, "{\"idempotency_key\":\"k\",\"extend_by_ms\":1,"
                "\"metadata\":");
    memcpy(body + n, text.data, text.len);
    n += text.len;
    body[n++] = '}';

    if (cycles_api_read(&rq, CYCLES_API_EXTEND, (unsigned char *) body, n,
                        err, sizeof(err))
        != 0
        || rq.metadata.len != text.len
        || memcmp(rq.metadata.data, text.data, text.len) != 0)
    {
        abort();
    }

    cycles_api_free(&rq);
    free(body);
}


static void
check_time(const uint8_t *data, size_t size)
{
    int64_t  down, up;

    if (cycles_time_parse(data, size, 0, &down) == 0
        && (cycles_time_parse(data, size, 1, &up) != 0
            || up < down || up > down + 1
            || down < -62167219200000 - 86400000
            || down > 253402300800999 + 86400000))
    {
        abort();
    }
}
