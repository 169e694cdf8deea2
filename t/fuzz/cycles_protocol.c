
/*
 * Copyright (C) nginx-cycles authors
 *
 * Whatever a server says: what comes out of it must be consistent, since
 * money follows from it.  And whatever a client is given to say: the size of
 * a body is known before it is written.  The first byte chooses the status,
 * the second one the request.
 */


#include <stdlib.h>
#include <string.h>

#include "client/cycles_protocol.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_reserve(unsigned status, const uint8_t *data, size_t size,
    unsigned dry_run, cycles_unit_t unit);
static void read_settled(cycles_op_t op, unsigned status, const uint8_t *data,
    size_t size, cycles_unit_t unit);
static void read_found(unsigned status, const uint8_t *data, size_t size);
static void write_bodies(const uint8_t *data, size_t size);


static const unsigned  statuses[] = {
    0, 200, 201, 302, 400, 401, 403, 404, 408, 409, 410, 429, 500
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned       status;
    cycles_op_t    op;
    cycles_unit_t  unit;

    if (size < 2) {
        return 0;
    }

    status = statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))];
    unit = (data[1] >> 1) % CYCLES_UNITS;

    read_reserve(status, data + 2, size - 2, data[1] & 1, unit);

    for (op = CYCLES_OP_COMMIT; op <= CYCLES_OP_EVENT; op++) {
        read_settled(op, status, data + 2, size - 2, unit);
    }

    read_found(status, data + 2, size - 2);
    write_bodies(data + 2, size - 2);

    return 0;
}


static void
read_reserve(unsigned status, const uint8_t *data, size_t size,
    unsigned dry_run, cycles_unit_t unit)
{
    cycles_reply_t     reply;
    cycles_verdict_t   verdict;
    cycles_reserve_t   rq;
    cycles_reserved_t  rs;

    memset(&rq, 0, sizeof(rq));
    rq.unit = unit;
    rq.dry_run = dry_run;

    verdict = cycles_parse_reserve(status, data, size, &rq, &rs, &reply);

    switch (verdict) {

    case CYCLES_REPLY_DONE:
        if (status != 200 || rs.code != CYCLES_OK || rs.reserved < 0
            || (reply.id[0] == '\0') != dry_run
            || (rs.decision == CYCLES_DENY && !dry_run))
        {
            abort();
        }

        break;

    case CYCLES_REPLY_REJECTED:
        if (rs.code == CYCLES_OK || rs.decision != CYCLES_DENY
            || reply.id[0] != '\0')
        {
            abort();
        }

        break;

    case CYCLES_REPLY_RETRY:
        if (rs.code != CYCLES_OK || rs.decision != CYCLES_DENY
            || rs.id[0] != '\0' || reply.id[0] != '\0')
        {
            abort();
        }

        break;

    default:
        abort();
    }

    if (memchr(rs.reason, '\0', sizeof(rs.reason)) == NULL
        || rs.scope_path_len >= sizeof(rs.scope_path)
        || rs.denial.scope_len >= sizeof(rs.denial.scope))
    {
        abort();
    }
}


static void
read_settled(cycles_op_t op, unsigned status, const uint8_t *data,
    size_t size, cycles_unit_t unit)
{
    cycles_reply_t    reply;
    cycles_verdict_t  verdict;
    cycles_settled_t  rs;

    verdict = cycles_parse_settled(op, status, data, size, unit, 5, &rs,
                                   &reply);

    if (rs.charged < 0 || rs.released < 0
        || (verdict == CYCLES_REPLY_DONE && rs.code != CYCLES_OK)
        || (verdict == CYCLES_REPLY_DONE
            && status != (op == CYCLES_OP_EVENT ? 201 : 200))
        || (verdict != CYCLES_REPLY_DONE && verdict != CYCLES_REPLY_RETRY
            && rs.code == CYCLES_OK))
    {
        abort();
    }
}


static void
read_found(unsigned status, const uint8_t *data, size_t size)
{
    int64_t           rest;
    cycles_reply_t    reply;
    cycles_verdict_t  verdict;

    verdict = cycles_parse_found(status, data, size, CYCLES_TOKENS, 5, &rest,
                                 &reply);

    if (rest <= 0 || rest > 5
        || (verdict == CYCLES_REPLY_DONE
            && (status != 200 || reply.code != CYCLES_RESERVATION_FINALIZED)))
    {
        abort();
    }
}


static void
write_bodies(const uint8_t *data, size_t size)
{
    size_t           len;
    cycles_str_t     text;
    cycles_event_t   rq;
    unsigned char   *p;

    text.len = size;
    text.data = (unsigned char *) data;

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = text;
    rq.subject.levels[CYCLES_TENANT] = text;
    rq.action.kind = text;
    rq.action.name = text;
    rq.metrics.model_version = text;
    rq.metadata = text;

    len = cycles_event_body(NULL, 0, &rq, text);
    p = malloc(len);

    if (p == NULL || cycles_event_body(p, len, &rq, text) != len) {
        abort();
    }

    free(p);

    len = cycles_path(NULL, 0, CYCLES_OP_COMMIT, text, 1);
    p = malloc(len);

    if (p == NULL || cycles_path(p, len, CYCLES_OP_COMMIT, text, 1) != len) {
        abort();
    }

    free(p);
}
