
/*
 * Copyright (C) nginx-cycles authors
 *
 * The JSON of the Cycles HTTP API, as a server reads and writes it: bodies of
 * requests become the ledger's requests, its answers become bodies.
 *
 * Plain C, no nginx header.
 */


#ifndef _CYCLES_API_H_INCLUDED_
#define _CYCLES_API_H_INCLUDED_


#include "../cycles.h"
#include "../cycles_json.h"
#include "../ledger/cycles_ledger.h"


/* of a body; nginx's client_max_body_size may say less */
#define CYCLES_API_MAX_BODY     (1024 * 1024)

#define CYCLES_API_MAX_DEPTH    32

/* of the canonical texts of one request; what the ledger can keep */
#define CYCLES_API_MAX_METADATA 32768

#define CYCLES_API_MESSAGE      512

#define CYCLES_API_TRACE_LEN    32


/* bits, so that a member can belong to several */

typedef enum {
    CYCLES_API_RESERVE = 0x01,
    CYCLES_API_COMMIT = 0x02,
    CYCLES_API_RELEASE = 0x04,
    CYCLES_API_EXTEND = 0x08,
    CYCLES_API_DECIDE = 0x10,
    CYCLES_API_EVENT = 0x20
} cycles_api_operation_t;


/* the body of any operation; members that it does not have are zero */

typedef struct {
    cycles_str_t       idempotency_key;
    cycles_subject_t   subject;
    cycles_action_t    action;
    cycles_unit_t      unit;
    int64_t            amount;            /* estimate or actual */
    int64_t            ttl_ms;            /* -1: not given */
    int64_t            grace_ms;
    int64_t            extend_by_ms;
    cycles_policy_t    policy;            /* CYCLES_POLICIES: not given */
    cycles_metrics_t   metrics;
    int64_t            client_time_ms;    /* -1: not given */
    cycles_str_t       metadata;          /* canonical JSON, or empty */
    cycles_str_t       reason;
    unsigned           dry_run:1;

    /* of subject and action */

    cycles_pair_t      dimensions[CYCLES_MAX_DIMENSIONS];
    cycles_str_t       tags[CYCLES_MAX_ACTION_TAGS];

    void              *document;          /* owns the strings above */
} cycles_api_request_t;


/*
 * Reads a body as the schema of the operation wants it: closed objects, exact
 * integers, nothing twice, no null, lengths in characters.  Metadata and
 * custom metrics become canonical, so that the same object is the same text.
 *
 * 0: rq is filled in and must be freed.  -1: err is a sentence that names the
 * member, rq needs no free.
 */

int cycles_api_read(cycles_api_request_t *rq, cycles_api_operation_t op,
    const unsigned char *text, size_t len, char *err, size_t errlen);

void cycles_api_free(cycles_api_request_t *rq);


/* everything that an ErrorResponse says; also for errors of no operation */

typedef struct {
    cycles_code_t      code;
    char               message[CYCLES_API_MESSAGE];
    cycles_str_t       request_id;
    cycles_str_t       trace_id;

    /* "details", each left out when it is not known */

    cycles_str_t       scope;
    int                unit;              /* -1: none */
    unsigned           expected_units;    /* bits by cycles_unit_t */
    unsigned           amounts:1;
    int64_t            requested;
    int64_t            remaining;
    int64_t            held;
    int64_t            reset_at_ms;       /* 0: not known */
} cycles_api_error_t;


void cycles_api_error_init(cycles_api_error_t *error, cycles_code_t code,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * The message and the details for what the ledger has refused; denial may be
 * NULL.  The error's strings point into denial.
 */

void cycles_api_refused(cycles_api_error_t *error, cycles_code_t code,
    cycles_unit_t unit, const cycles_denial_t *denial);

/* what the protocol has instead of a code of the governance specification */

cycles_code_t cycles_api_runtime_code(cycles_code_t code);

/* the HTTP status that goes with a code */

unsigned cycles_api_status(cycles_code_t code);


/* bodies of answers; each is one whole JSON object */

void cycles_api_write_error(cycles_json_t *js,
    const cycles_api_error_t *error);

/* create (live or dry run) and decide */

void cycles_api_write_reserved(cycles_json_t *js,
    cycles_api_operation_t op, const cycles_api_request_t *rq,
    const cycles_reserved_t *rs);

/* commit, release, extend and event */

void cycles_api_write_settled(cycles_json_t *js,
    cycles_api_operation_t op, const cycles_api_request_t *rq,
    const cycles_settled_t *rs, cycles_unit_t unit);

void cycles_api_write_balance(cycles_json_t *js,
    const cycles_balance_t *balance);

/*
 * ReservationDetail and ReservationSummary: the second has no metadata unless
 * it is asked for.  The text of all rows, with "," between them.
 */

#define CYCLES_API_METADATA            0x01
#define CYCLES_API_COMMITTED_METADATA  0x02

typedef struct {
    unsigned char     *text;
    size_t             len;
    size_t             size;
    unsigned           include;
} cycles_api_rows_t;

/* a cycles_reservation_pt, whose data are the rows */

int cycles_api_rows_add(void *data, const cycles_reservation_t *row);
void cycles_api_rows_free(cycles_api_rows_t *rows);

void cycles_api_write_list(cycles_json_t *js, const cycles_api_rows_t *rows,
    const cycles_cursor_t *next);

/* AuthIntrospectResponse; NULL: for the operator's key */

void cycles_api_write_introspection(cycles_json_t *js,
    const cycles_credential_t *credential);

/* arrays of strings; the scopes are the prefixes of a path */

void cycles_api_write_scopes(cycles_json_t *js, cycles_str_t path);

void cycles_api_write_permissions(cycles_json_t *js, uint32_t permissions);
void cycles_api_write_filter(cycles_json_t *js, cycles_str_t filter);

/* members */

void cycles_api_write_amount(cycles_json_t *js, const char *name,
    cycles_unit_t unit, int64_t amount);
void cycles_api_write_flag(cycles_json_t *js, const char *name, int value);


#endif /* _CYCLES_API_H_INCLUDED_ */
