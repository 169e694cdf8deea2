
/*
 * Copyright (C) nginx-cycles authors
 *
 * The words of the Cycles protocol v0.1.25 as plain C types.  No nginx header
 * is included here: the embedded ledger and the readers in src/llm are built
 * and tested on their own.
 */


#ifndef _CYCLES_H_INCLUDED_
#define _CYCLES_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* the same members as ngx_str_t; never zero-terminated */

typedef struct {
    size_t           len;
    unsigned char   *data;
} cycles_str_t;


/*
 * Limits of the protocol.  Lengths are in characters, as a JSON schema counts
 * them: in UTF-8 one takes up to four bytes.
 */

#define CYCLES_UTF8(n)               ((n) * 4)

#define CYCLES_MAX_SUBJECT_VALUE     128
#define CYCLES_MAX_DIMENSIONS        16
#define CYCLES_MAX_DIMENSION_NAME    256    /* bytes: ours */
#define CYCLES_MAX_DIMENSION_VALUE   256
#define CYCLES_MAX_ACTION_KIND       64
#define CYCLES_MAX_ACTION_NAME       256
#define CYCLES_MAX_ACTION_TAGS       10
#define CYCLES_MAX_ACTION_TAG        64
#define CYCLES_MAX_IDEMPOTENCY_KEY   256
#define CYCLES_MAX_RESERVATION_ID    128
#define CYCLES_MAX_REASON            256
#define CYCLES_MAX_MODEL_VERSION     128

#define CYCLES_MIN_TTL_MS            1000
#define CYCLES_MAX_TTL_MS            86400000
#define CYCLES_DEFAULT_TTL_MS        60000
#define CYCLES_MAX_GRACE_MS          60000
#define CYCLES_DEFAULT_GRACE_MS      5000


/* an amount, or a time, that an answer does not say */

#define CYCLES_NOT_KNOWN             INT64_MIN


/* subject levels in canonical order: the order of a scope path */

typedef enum {
    CYCLES_TENANT = 0,
    CYCLES_WORKSPACE,
    CYCLES_APP,
    CYCLES_WORKFLOW,
    CYCLES_AGENT,
    CYCLES_TOOLSET,
    CYCLES_LEVELS
} cycles_level_t;


/* 1 USD = 10^8 micro-cents */

typedef enum {
    CYCLES_USD_MICROCENTS = 0,
    CYCLES_TOKENS,
    CYCLES_CREDITS,
    CYCLES_RISK_POINTS,
    CYCLES_UNITS
} cycles_unit_t;


typedef enum {
    CYCLES_ALLOW_IF_AVAILABLE = 0,
    CYCLES_REJECT,
    CYCLES_ALLOW_WITH_OVERDRAFT,
    CYCLES_POLICIES
} cycles_policy_t;


typedef enum {
    CYCLES_DENY = 0,
    CYCLES_ALLOW,
    CYCLES_ALLOW_WITH_CAPS
} cycles_decision_t;


/*
 * ErrorCode of the protocol, and of the governance specification, which adds
 * the ones from TENANT_NOT_FOUND on; CYCLES_OK is our word for success.
 */

typedef enum {
    CYCLES_OK = 0,
    CYCLES_INVALID_REQUEST,
    CYCLES_UNAUTHORIZED,
    CYCLES_FORBIDDEN,
    CYCLES_NOT_FOUND,
    CYCLES_BUDGET_EXCEEDED,
    CYCLES_BUDGET_FROZEN,
    CYCLES_BUDGET_CLOSED,
    CYCLES_RESERVATION_EXPIRED,
    CYCLES_RESERVATION_FINALIZED,
    CYCLES_IDEMPOTENCY_MISMATCH,
    CYCLES_UNIT_MISMATCH,
    CYCLES_OVERDRAFT_LIMIT_EXCEEDED,
    CYCLES_DEBT_OUTSTANDING,
    CYCLES_MAX_EXTENSIONS_EXCEEDED,
    CYCLES_LIMIT_EXCEEDED,
    CYCLES_TENANT_CLOSED,
    CYCLES_INTERNAL_ERROR,
    CYCLES_TENANT_NOT_FOUND,
    CYCLES_TENANT_SUSPENDED,
    CYCLES_BUDGET_NOT_FOUND,
    CYCLES_INSUFFICIENT_PERMISSIONS,
    CYCLES_KEY_REVOKED,
    CYCLES_KEY_EXPIRED,
    CYCLES_DUPLICATE_RESOURCE,
    CYCLES_CODES,

    /* never an answer: see cycles_ledger_look_up() */

    CYCLES_LOOK_UP
} cycles_code_t;


typedef enum {
    CYCLES_ACTIVE = 0,
    CYCLES_COMMITTED,
    CYCLES_RELEASED,
    CYCLES_EXPIRED
} cycles_status_t;


typedef struct {
    cycles_str_t     key;
    cycles_str_t     value;
} cycles_pair_t;


typedef struct {
    cycles_str_t     levels[CYCLES_LEVELS];         /* len 0: not sent */
    cycles_pair_t   *dimensions;
    unsigned         ndimensions;
} cycles_subject_t;


typedef struct {
    cycles_str_t     kind;
    cycles_str_t     name;
    cycles_str_t    *tags;
    unsigned         ntags;
} cycles_action_t;


/* -1: not limited */

typedef struct {
    int64_t          max_tokens;
    int64_t          max_steps_remaining;
    int64_t          cooldown_ms;
    cycles_str_t     tool_allowlist;         /* JSON array text, or empty */
    cycles_str_t     tool_denylist;          /* JSON array text, or empty */
} cycles_caps_t;


/* StandardMetrics; -1: not reported */

typedef struct {
    int64_t          tokens_input;
    int64_t          tokens_output;
    int64_t          latency_ms;
    cycles_str_t     model_version;
    cycles_str_t     custom;                 /* JSON object text, or empty */
} cycles_metrics_t;


/*
 * The wire spellings.  The functions that return a string never fail for a
 * value of their enum; the ones that look a string up return -1 when it is
 * not one of the protocol's.
 */

const char *cycles_level_name(cycles_level_t level);
const char *cycles_unit_name(cycles_unit_t unit);
const char *cycles_policy_name(cycles_policy_t policy);
const char *cycles_decision_name(cycles_decision_t decision);
const char *cycles_code_name(cycles_code_t code);

int cycles_level_find(const unsigned char *name, size_t len);
int cycles_unit_find(const unsigned char *name, size_t len);
int cycles_policy_find(const unsigned char *name, size_t len);
int cycles_code_find(const unsigned char *name, size_t len);


/*
 * Whether a subject value may be sent: ^[A-Za-z0-9_.-]+$, 1 to 128 bytes
 * (the charset that the reference server enforces).  Returns 1 or 0.
 */

int cycles_subject_value_ok(const unsigned char *value, size_t len);


/* the number of characters in a text that is UTF-8 */

size_t cycles_utf8_length(const unsigned char *s, size_t n);

/* of the character that n > 0 bytes begin with; 0: they are not UTF-8 */

size_t cycles_utf8_char(const unsigned char *s, size_t n);


#define CYCLES_TRACEPARENT_LEN  55
#define CYCLES_UUID_LEN  36

/* 2n digits, not zero-terminated; returns where they end */

char *cycles_hex_write(const unsigned char *bytes, size_t n, char *text);

/* 16 bytes as CYCLES_UUID_LEN characters, not zero-terminated */

void cycles_uuid_write(const unsigned char *bytes, char *text);

/*
 * A random UUIDv4 (RFC 9562) of 36 characters, not zero-terminated.  Random
 * bytes are taken from the kernel in batches that a fork does not share.
 * Returns 0, or -1 when the kernel gives none.
 */

int cycles_uuid(unsigned char *p);

/*
 * A new traceparent (W3C Trace Context, version 00, sampled), likewise:
 * CYCLES_TRACEPARENT_LEN characters.
 */

int cycles_traceparent(unsigned char *p);


/*
 * The contents of a JSON string (RFC 8259) for n arbitrary bytes: controls,
 * quotes and backslashes escaped, bytes that are not UTF-8 replaced by
 * U+FFFD.  cycles_json_escaped() returns how many bytes that takes,
 * cycles_json_escape() writes them and returns the end.
 */

size_t cycles_json_escaped(const unsigned char *s, size_t n);
unsigned char *cycles_json_escape(unsigned char *p, const unsigned char *s,
    size_t n);


/*
 * The first byte of what may be a JSON string's contents that is not there as
 * it is, or not ASCII: a control, a quote, a backslash, or one above 0x7f.
 */

const unsigned char *cycles_json_plain(const unsigned char *p,
    const unsigned char *last);


#endif /* _CYCLES_H_INCLUDED_ */
