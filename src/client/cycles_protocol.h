
/*
 * Copyright (C) nginx-cycles authors
 *
 * The JSON of the Cycles protocol v0.1.25 as a client speaks it: bodies of
 * requests, and what a reply means.  Plain C.
 */


#ifndef _CYCLES_PROTOCOL_H_INCLUDED_
#define _CYCLES_PROTOCOL_H_INCLUDED_


#include "../cycles.h"
#include "../ledger/cycles_ledger.h"


/* 128 characters of at most four bytes, and the zero */

#define CYCLES_ID_SIZE  (CYCLES_MAX_RESERVATION_ID * 4 + 1)


typedef enum {
    CYCLES_OP_RESERVE = 0,
    CYCLES_OP_COMMIT,
    CYCLES_OP_RELEASE,
    CYCLES_OP_EXTEND,
    CYCLES_OP_EVENT,
    CYCLES_OP_LOOKUP,             /* a GET, of one reservation */
    CYCLES_OP_DECIDE
} cycles_op_t;


/* the wire's word for an operation, for logs and paths */

const char *cycles_op_name(cycles_op_t op);


/*
 * Bodies of requests.  The same arguments give the same bytes.  Each function
 * returns the length of the whole text and writes at most size bytes of it:
 * call it with size 0 to learn the length.  Metadata is copied as it is; it
 * must be the text of a JSON object, or empty.  Texts that the protocol
 * limits (model_version, reason) are cut at a character; metrics are clamped
 * to the 32 bits that the reference server keeps.
 */

size_t cycles_reserve_body(unsigned char *buf, size_t size,
    const cycles_reserve_t *rq);

/* of the terms of a reservation: it holds nothing */

size_t cycles_decide_body(unsigned char *buf, size_t size,
    const cycles_reserve_t *rq);

size_t cycles_commit_body(unsigned char *buf, size_t size,
    const cycles_commit_t *rq);

size_t cycles_release_body(unsigned char *buf, size_t size, cycles_str_t key,
    cycles_str_t reason);

size_t cycles_extend_body(unsigned char *buf, size_t size, cycles_str_t key,
    int64_t extend_by_ms);


/*
 * recovered: the id of the reservation that had expired when its commit
 * arrived, which the metadata then says; len 0 for an event of its own.
 */

size_t cycles_event_body(unsigned char *buf, size_t size,
    const cycles_event_t *rq, cycles_str_t recovered);


/*
 * The path of an operation.  CYCLES_OP_RESERVE, CYCLES_OP_EVENT and
 * CYCLES_OP_DECIDE need no id.  With escape, bytes of the id that a path can't
 * hold are percent-encoded.
 */

size_t cycles_path(unsigned char *buf, size_t size, cycles_op_t op,
    cycles_str_t id, int escape);


/* what a reply asks the client to do */

typedef enum {
    CYCLES_REPLY_DONE = 0,    /* exactly the success that was asked for */
    CYCLES_REPLY_REJECTED,    /* an answer of the protocol, and final */
    CYCLES_REPLY_UNKNOWN,     /* a 401, 403, or a 4xx that says nothing we
                                 know: of no use to repeat it now */
    CYCLES_REPLY_EXPIRED,     /* the reservation is gone */
    CYCLES_REPLY_RETRY        /* ambiguous, or the server's trouble: the same
                                 bytes may be sent again */
} cycles_verdict_t;


/*
 * What a reply says beside the answer.  Texts are zero-terminated, printable
 * ASCII but for the id, and empty when the reply has none.
 */

typedef struct {
    cycles_code_t    code;               /* CYCLES_OK unless it is an error;
                                            from the status when it names
                                            none that is known */
    unsigned         named:1;            /* the error names a known code */
    unsigned         detailed:1;         /* and says what remains */
    char             reason[64];         /* the error as it is named */
    char             request_id[80];
    char             trace_id[40];
    char             id[CYCLES_ID_SIZE]; /* of the reservation */
    const char      *problem;            /* why a 2xx is not valid, or NULL */
} cycles_reply_t;


/*
 * The reply to a reserve.
 *
 * CYCLES_REPLY_DONE: rs is the decision.  The id of a live reservation is in
 * reply->id, also in rs->id when it fits there.
 * CYCLES_REPLY_REJECTED: a denial, with its code, reason and details in rs.
 * So is any 4xx, and a live 200 with the decision DENY.
 * CYCLES_REPLY_RETRY: an outage; rs is cleared.
 * The other verdicts are not used.
 *
 * Absent from the reply: reserved is the estimate; expires_at_ms and
 * remaining_ttl_ms are -1; remaining is CYCLES_NOT_KNOWN.  The texts of
 * rs->caps point into rs->caps_text: rs must not be copied.
 */

void cycles_reserved_clear(cycles_reserved_t *rs);
cycles_verdict_t cycles_parse_reserve(unsigned status,
    const unsigned char *body, size_t len, const cycles_reserve_t *rq,
    cycles_reserved_t *rs, cycles_reply_t *reply);


/*
 * The reply to any of the other operations.  unit and amount are those that
 * were sent: an answer in another unit is not valid, and an event that says
 * nothing of what it charged has charged the amount.  Absent from the reply:
 * released is 0; expires_at_ms and remaining_ttl_ms are -1; remaining is
 * CYCLES_NOT_KNOWN.
 */

cycles_verdict_t cycles_parse_settled(cycles_op_t op, unsigned status,
    const unsigned char *body, size_t len, cycles_unit_t unit, int64_t amount,
    cycles_settled_t *rs, cycles_reply_t *reply);


/*
 * The reply to a look at a reservation whose commit of this amount was told
 * that it has been finalized.  CYCLES_REPLY_DONE: somebody has committed as
 * much, or nobody says how much; the code is CYCLES_RESERVATION_FINALIZED.
 * CYCLES_REPLY_EXPIRED: *rest is to be an event, all of it if the reservation
 * was released or has expired.  The others are as above.
 */

cycles_verdict_t cycles_parse_found(unsigned status,
    const unsigned char *body, size_t len, cycles_unit_t unit, int64_t amount,
    int64_t *rest, cycles_reply_t *reply);


/*
 * The body of an event with another amount; returns its length as the others
 * do, 0: no memory, or it is not the body of an event.
 */

size_t cycles_event_rest(unsigned char *buf, size_t size, cycles_str_t body,
    int64_t amount);


#endif /* _CYCLES_PROTOCOL_H_INCLUDED_ */
