
/*
 * Copyright (C) nginx-cycles authors
 *
 * Records of the log as bytes.  docs/ledger-format.md describes the format;
 * a change to it needs a new version of the record type that changes.
 */


#include <string.h>

#include "cycles_ledger_core.h"


#define CYCLES_RECORD_VERSION    1

/* flags */
#define CYCLES_EFFECT_OVER_LIMIT  1
#define CYCLES_TEXTS_OMITTED      1
#define CYCLES_BY_OPERATOR        2
#define CYCLES_FRESH_KEY          4
#define CYCLES_OWNER_IS_TENANT    8

/* what a head has, and how */
#define CYCLES_HEAD_DIGEST        1
#define CYCLES_HEAD_KEY           2
#define CYCLES_HEAD_TRACE         4
#define CYCLES_HEAD_FORMS         8

/* less is a byte by itself; more: so many bytes follow */
#define CYCLES_NUMBER_BYTE        248
#define CYCLES_NUMBER_MAX         9

#define CYCLES_EFFECT_MAX         (1 + 4 * CYCLES_NUMBER_MAX)

/* a length of a string that is in four bytes behind it */
#define CYCLES_STR_LONG           255


typedef struct {
    unsigned char         *p;
    unsigned char         *end;
    unsigned               failed;
} cycles_out_t;


typedef struct {
    const unsigned char   *p;
    const unsigned char   *end;
    unsigned               failed;
} cycles_in_t;


static void cycles_write_reserve(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_settlement(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_extend(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_expire(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_decision(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_budget(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_tenant(cycles_out_t *out,
    const cycles_tenant_def_t *def, uint32_t id);
static void cycles_write_api_key(cycles_out_t *out,
    const cycles_key_def_t *def, uint32_t id);
static void cycles_write_funding(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_period(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_period_def(cycles_out_t *out,
    const cycles_period_t *period);
static void cycles_write_status(cycles_out_t *out,
    const cycles_record_t *rec);
static void cycles_write_head(cycles_out_t *out, const cycles_record_t *rec);
static void cycles_write_owner(cycles_out_t *out, const cycles_record_t *rec,
    unsigned flags);
static unsigned cycles_write_owned(const cycles_record_t *rec);
static void cycles_write_subject(cycles_out_t *out,
    const cycles_subject_t *subject);
static void cycles_write_action(cycles_out_t *out,
    const cycles_action_t *action);
static void cycles_write_effects(cycles_out_t *out,
    const cycles_record_t *rec);

static inline unsigned char *cycles_out_room(cycles_out_t *out, size_t len);
static inline unsigned char *cycles_put_number(unsigned char *p, uint64_t n);
static inline unsigned char *cycles_put_amount(unsigned char *p, int64_t n);
static inline void cycles_out_bytes(cycles_out_t *out, const void *bytes,
    size_t len);
static inline void cycles_out_int(cycles_out_t *out, uint64_t n, unsigned size);
static void cycles_out_str(cycles_out_t *out, cycles_str_t str);

static void cycles_read_reserve(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_settlement(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_extend(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_expire(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_decision(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_budget(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_tenant(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_api_key(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_funding(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_period(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_period_def(cycles_in_t *in, cycles_period_t *period);
static void cycles_read_status(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_head(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_owner(cycles_in_t *in, cycles_record_t *rec,
    unsigned flags);
static void cycles_read_subject(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_action(cycles_in_t *in, cycles_record_t *rec);
static void cycles_read_effects(cycles_in_t *in, cycles_record_t *rec,
    unsigned max);

static inline void cycles_in_bytes(cycles_in_t *in, void *p, size_t len);
static inline uint64_t cycles_in_int(cycles_in_t *in, unsigned size);
static inline uint64_t cycles_in_number(cycles_in_t *in);
static inline uint32_t cycles_in_u32(cycles_in_t *in);
static inline int64_t cycles_in_amount(cycles_in_t *in);
static unsigned cycles_in_enum(cycles_in_t *in, unsigned n);
static unsigned cycles_in_policy(cycles_in_t *in);
static cycles_str_t cycles_in_str(cycles_in_t *in);


/* returns the length, 0 if the buffer is too small for it */

size_t
cycles_record_write(const cycles_record_t *rec, unsigned char *buf,
    size_t size)
{
    size_t        len;
    cycles_out_t  out;

    out.p = buf + CYCLES_RECORD_HEAD;
    out.end = buf + size;
    out.failed = 0;

    switch (rec->type) {

    case CYCLES_RECORD_TENANT:
        cycles_write_tenant(&out, &rec->tenant, rec->def_id);
        break;

    case CYCLES_RECORD_BUDGET:
        cycles_write_budget(&out, rec);
        break;

    case CYCLES_RECORD_API_KEY:
        cycles_write_api_key(&out, &rec->api_key, rec->def_id);
        break;

    case CYCLES_RECORD_ADMIN_KEY:
        cycles_out_bytes(&out, rec->sha256, 32);
        break;

    case CYCLES_RECORD_FUNDING:
        cycles_write_funding(&out, rec);
        break;

    case CYCLES_RECORD_PERIOD:
        cycles_write_period(&out, rec);
        break;

    case CYCLES_RECORD_STATUS:
        cycles_write_status(&out, rec);
        break;

    case CYCLES_RECORD_RESERVE:
        cycles_write_reserve(&out, rec);
        break;

    case CYCLES_RECORD_EXTEND:
        cycles_write_extend(&out, rec);
        break;

    case CYCLES_RECORD_EXPIRE:
    case CYCLES_RECORD_CLOSE:
        cycles_write_expire(&out, rec);
        break;

    case CYCLES_RECORD_DECISION:
        cycles_write_decision(&out, rec);
        break;

    default: /* COMMIT, RELEASE, EVENT */
        cycles_write_settlement(&out, rec);
    }

    if (out.failed) {
        return 0;
    }

    len = out.p - buf;

    cycles_put32(buf + 4, len);
    cycles_put64(buf + 8, rec->seq);
    cycles_put64(buf + 16, rec->time);

    buf[24] = rec->type & 0xff;
    buf[25] = rec->type >> 8;
    buf[26] = CYCLES_RECORD_VERSION;
    buf[27] = 0;
    cycles_put32(buf + 28, rec->unsynced < UINT32_MAX ? rec->unsynced
                                                      : UINT32_MAX);

    cycles_put32(buf, cycles_crc32c(0, buf + 4, len - 4));

    return len;
}


static void
cycles_write_reserve(cycles_out_t *out, const cycles_record_t *rec)
{
    unsigned        flags;
    unsigned char  *p;

    flags = cycles_write_owned(rec) | (rec->fresh_key ? CYCLES_FRESH_KEY : 0);

    cycles_write_head(out, rec);

    p = cycles_out_room(out, 4 + 6 * CYCLES_NUMBER_MAX);

    if (p == NULL) {
        return;
    }

    p[0] = rec->unit;
    p[1] = rec->policy;
    p[2] = rec->decision;
    p[3] = flags;
    p = cycles_put_number(p + 4, rec->caps_from);
    p = cycles_put_amount(p, rec->amount);
    p = cycles_put_amount(p, rec->remaining);
    p = cycles_put_amount(p, rec->ttl_ms);
    p = cycles_put_amount(p, rec->grace_ms);
    out->p = cycles_put_amount(p, (uint64_t) rec->expires_at_ms
                                  - (uint64_t) rec->time);

    cycles_write_owner(out, rec, flags);
    cycles_write_subject(out, rec->subject);
    cycles_write_action(out, rec->action);
    cycles_write_effects(out, rec);
    cycles_out_str(out, rec->metadata);
}


/* commit, release and event differ in a few members only */

static void
cycles_write_settlement(cycles_out_t *out, const cycles_record_t *rec)
{
    unsigned        flags;
    unsigned char  *p;

    flags = rec->texts_omitted ? CYCLES_TEXTS_OMITTED : 0;

    if (rec->type == CYCLES_RECORD_RELEASE && rec->admin) {
        flags |= CYCLES_BY_OPERATOR;
    }

    if (rec->type == CYCLES_RECORD_EVENT) {
        flags |= cycles_write_owned(rec);
        flags |= rec->fresh_key ? CYCLES_FRESH_KEY : 0;
    }

    cycles_write_head(out, rec);

    p = cycles_out_room(out, 3 + 3 * CYCLES_NUMBER_MAX);

    if (p == NULL) {
        return;
    }

    p[0] = rec->unit;
    p[1] = rec->policy;
    p[2] = flags;
    p = cycles_put_amount(p + 3, rec->amount);
    p = cycles_put_amount(p, rec->charged);
    out->p = cycles_put_amount(p, rec->remaining);

    if (rec->type == CYCLES_RECORD_EVENT) {
        cycles_write_owner(out, rec, flags);
        cycles_write_subject(out, rec->subject);
        cycles_write_action(out, rec->action);
    }

    cycles_write_effects(out, rec);

    if (rec->type == CYCLES_RECORD_RELEASE) {
        cycles_out_str(out, rec->reason);
        return;
    }

    p = cycles_out_room(out, 3 * CYCLES_NUMBER_MAX);

    if (p == NULL) {
        return;
    }

    p = cycles_put_amount(p, rec->metrics.tokens_input);
    p = cycles_put_amount(p, rec->metrics.tokens_output);
    out->p = cycles_put_amount(p, rec->metrics.latency_ms);

    cycles_out_str(out, rec->metrics.model_version);
    cycles_out_str(out, rec->metrics.custom);

    if (rec->type == CYCLES_RECORD_EVENT) {
        cycles_out_int(out, rec->client_time_ms, 8);
    }

    cycles_out_str(out, rec->metadata);
}


static void
cycles_write_extend(cycles_out_t *out, const cycles_record_t *rec)
{
    cycles_write_head(out, rec);
    cycles_out_int(out, rec->extend_by_ms, 8);
    cycles_out_int(out, rec->expires_at_ms, 8);
    cycles_out_str(out, rec->metadata);
}


static void
cycles_write_expire(cycles_out_t *out, const cycles_record_t *rec)
{
    cycles_out_int(out, rec->nids, 2);
    cycles_out_bytes(out, rec->ids, (size_t) rec->nids * 16);
    cycles_write_effects(out, rec);
}


static void
cycles_write_decision(cycles_out_t *out, const cycles_record_t *rec)
{
    const char    *name;
    cycles_str_t   reason;

    name = (rec->denied == CYCLES_OK) ? "" : cycles_denial_name(rec->denied);

    reason.len = strlen(name);
    reason.data = (unsigned char *) name;

    cycles_write_head(out, rec);
    cycles_out_str(out, rec->owner);
    cycles_out_int(out, rec->unit, 1);
    cycles_out_int(out, rec->decide, 1);
    cycles_out_int(out, rec->decision, 1);
    cycles_out_int(out, 0, 1);
    cycles_out_int(out, rec->caps_from, 4);
    cycles_out_int(out, rec->amount, 8);
    cycles_out_int(out, rec->remaining, 8);
    cycles_out_str(out, reason);
    cycles_write_subject(out, rec->subject);
    cycles_write_action(out, rec->action);
}


static void
cycles_write_tenant(cycles_out_t *out, const cycles_tenant_def_t *def,
    uint32_t id)
{
    cycles_out_int(out, id, 4);
    cycles_out_str(out, def->tenant_id);
    cycles_out_str(out, def->name);
    cycles_out_int(out, def->status, 1);
    cycles_out_int(out, def->policy, 1);
    cycles_out_int(out, 0, 2);
    cycles_out_int(out, def->default_ttl_ms, 8);
    cycles_out_int(out, def->max_ttl_ms, 8);
    cycles_out_int(out, def->max_extensions, 8);
    cycles_out_int(out, def->created_ms, 8);
    cycles_out_int(out, def->updated_ms, 8);
    cycles_out_int(out, def->suspended_ms, 8);
    cycles_out_int(out, def->closed_ms, 8);
    cycles_out_bytes(out, def->declared.bytes, 16);
    cycles_out_str(out, def->parent_id);
    cycles_out_str(out, def->metadata);
}


static void
cycles_write_budget(cycles_out_t *out, const cycles_record_t *rec)
{
    const cycles_budget_def_t  *def;

    def = &rec->budget;

    cycles_out_int(out, rec->def_id, 4);
    cycles_out_str(out, def->scope);
    cycles_out_int(out, def->unit, 1);
    cycles_out_int(out, def->status, 1);
    cycles_out_int(out, def->policy, 1);
    cycles_out_int(out, def->has_caps, 1);
    cycles_out_int(out, def->allocated, 8);
    cycles_out_int(out, def->overdraft_limit, 8);

    if (def->has_caps) {
        cycles_out_int(out, def->above_percent, 1);
        cycles_out_int(out, def->caps.max_tokens, 8);
        cycles_out_int(out, def->caps.max_steps_remaining, 8);
        cycles_out_int(out, def->caps.cooldown_ms, 8);
        cycles_out_str(out, def->caps.tool_allowlist);
        cycles_out_str(out, def->caps.tool_denylist);
    }

    cycles_write_period_def(out, &def->period);

    cycles_out_int(out, def->declared.known, 1);

    if (def->declared.known) {
        cycles_out_int(out, def->declared.policy, 1);
        cycles_out_int(out, def->declared.allocated, 8);
        cycles_out_int(out, def->declared.overdraft_limit, 8);
    }

    cycles_out_int(out, def->created_ms, 8);
    cycles_out_int(out, def->updated_ms, 8);
    cycles_write_effects(out, rec);
    cycles_out_str(out, def->metadata);
}


static void
cycles_write_api_key(cycles_out_t *out, const cycles_key_def_t *def,
    uint32_t id)
{
    cycles_out_int(out, id, 4);
    cycles_out_bytes(out, def->sha256, 32);
    cycles_out_str(out, def->tenant_id);
    cycles_out_str(out, def->name);
    cycles_out_int(out, def->status, 1);
    cycles_out_int(out, 0, 3);
    cycles_out_int(out, def->permissions, 4);
    cycles_out_int(out, def->created_ms, 8);
    cycles_out_int(out, def->expires_ms, 8);
    cycles_out_int(out, def->revoked_ms, 8);
    cycles_out_bytes(out, def->declared.bytes, 16);
    cycles_out_str(out, def->prefix);
    cycles_out_str(out, def->description);
    cycles_out_str(out, def->scope_filter);
    cycles_out_str(out, def->revoked_reason);
    cycles_out_str(out, def->metadata);
}


/* sums are told as they were, so that nobody has to follow them for that */

static void
cycles_write_funding(cycles_out_t *out, const cycles_record_t *rec)
{
    cycles_write_head(out, rec);
    cycles_out_str(out, rec->owner);
    cycles_out_int(out, rec->unit, 1);
    cycles_out_int(out, rec->funding, 1);
    cycles_out_int(out, rec->admin, 1);
    cycles_out_int(out, 0, 1);
    cycles_out_int(out, rec->amount, 8);
    cycles_out_int(out, rec->given_spent, 8);
    cycles_out_int(out, rec->allocated, 8);
    cycles_out_int(out, rec->new_allocated, 8);
    cycles_out_int(out, rec->spent, 8);
    cycles_out_int(out, rec->reserved, 8);
    cycles_out_int(out, rec->debt, 8);
    cycles_write_effects(out, rec);
    cycles_out_str(out, rec->reason);
    cycles_out_str(out, rec->metadata);
}


static void
cycles_write_period(cycles_out_t *out, const cycles_record_t *rec)
{
    unsigned              i;
    const cycles_turn_t  *turn;

    cycles_out_int(out, rec->neffects, 2);

    for (i = 0; i < rec->neffects; i++) {
        turn = &rec->turns[i];

        cycles_out_int(out, turn->start_ms, 8);
        cycles_out_int(out, turn->end_ms, 8);
        cycles_out_int(out, turn->next_start_ms, 8);
        cycles_out_int(out, turn->next_end_ms, 8);
        cycles_out_int(out, turn->allocated, 8);
        cycles_out_int(out, turn->reserved, 8);
        cycles_out_int(out, turn->debt, 8);
    }

    cycles_write_effects(out, rec);
}


static void
cycles_write_period_def(cycles_out_t *out, const cycles_period_t *period)
{
    cycles_out_int(out, period->type, 1);

    switch (period->type) {

    case CYCLES_PERIOD_CALENDAR:
        cycles_out_int(out, period->every, 1);
        cycles_out_str(out, period->timezone);
        break;

    case CYCLES_PERIOD_ROLLING:
        cycles_out_int(out, period->length_ms, 8);
        break;

    default: /* CYCLES_PERIOD_NONE */
        return;
    }

    cycles_out_int(out, period->start_ms, 8);
    cycles_out_int(out, period->end_ms, 8);
}


static void
cycles_write_status(cycles_out_t *out, const cycles_record_t *rec)
{
    unsigned  i;

    cycles_out_int(out, rec->status, 1);
    cycles_out_int(out, 0, 1);
    cycles_out_int(out, rec->nbudgets, 2);

    for (i = 0; i < rec->nbudgets; i++) {
        cycles_out_int(out, rec->budgets[i], 4);
    }

    cycles_out_str(out, rec->reason);
    cycles_out_str(out, rec->metadata);
}


/* a digest of zeroes is none; nginx's own keys and traces are half as long */

static void
cycles_write_head(cycles_out_t *out, const cycles_record_t *rec)
{
    unsigned                      forms;
    unsigned char                *p;
    static const cycles_digest_t  none;

    p = cycles_out_room(out, 17 + 3 * 16);

    if (p == NULL) {
        return;
    }

    out->p = p + 17;
    forms = 0;

    memcpy(p, rec->id, 16);

    if (memcmp(&rec->digest, &none, sizeof(cycles_digest_t)) != 0) {
        forms |= CYCLES_HEAD_DIGEST;
        memcpy(out->p, rec->digest.bytes, 16);
        out->p += 16;
    }

    if (cycles_id_exact(rec->key, out->p) == 0) {
        forms |= CYCLES_HEAD_KEY;
        out->p += 16;
    }

    if (cycles_trace_exact(rec->trace_id, out->p) == 0) {
        forms |= CYCLES_HEAD_TRACE;
        out->p += 16;
    }

    p[16] = forms;

    if (!(forms & CYCLES_HEAD_KEY)) {
        cycles_out_str(out, rec->key);
    }

    if (!(forms & CYCLES_HEAD_TRACE)) {
        cycles_out_str(out, rec->trace_id);
    }
}


static unsigned
cycles_write_owned(const cycles_record_t *rec)
{
    cycles_str_t  tenant;

    tenant = rec->subject->levels[CYCLES_TENANT];

    return (tenant.len && tenant.len == rec->owner.len
            && memcmp(tenant.data, rec->owner.data, tenant.len) == 0)
           ? CYCLES_OWNER_IS_TENANT : 0;
}


static void
cycles_write_owner(cycles_out_t *out, const cycles_record_t *rec,
    unsigned flags)
{
    if (!(flags & CYCLES_OWNER_IS_TENANT)) {
        cycles_out_str(out, rec->owner);
    }
}


static void
cycles_write_subject(cycles_out_t *out, const cycles_subject_t *subject)
{
    unsigned        i, bits;
    unsigned char  *mask;

    mask = cycles_out_room(out, 1);

    if (mask == NULL) {
        return;
    }

    out->p++;

    for (bits = 0, i = 0; i < CYCLES_LEVELS; i++) {
        if (subject->levels[i].len) {
            bits |= 1u << i;
            cycles_out_str(out, subject->levels[i]);
        }
    }

    *mask = bits;

    cycles_out_int(out, subject->ndimensions, 1);

    for (i = 0; i < subject->ndimensions; i++) {
        cycles_out_str(out, subject->dimensions[i].key);
        cycles_out_str(out, subject->dimensions[i].value);
    }
}


static void
cycles_write_action(cycles_out_t *out, const cycles_action_t *action)
{
    unsigned  i;

    cycles_out_str(out, action->kind);
    cycles_out_str(out, action->name);
    cycles_out_int(out, action->ntags, 1);

    for (i = 0; i < action->ntags; i++) {
        cycles_out_str(out, action->tags[i]);
    }
}


static void
cycles_write_effects(cycles_out_t *out, const cycles_record_t *rec)
{
    unsigned                i;
    unsigned char          *p;
    const cycles_effect_t  *effect;

    p = cycles_out_room(out, CYCLES_NUMBER_MAX
                             + rec->neffects * CYCLES_EFFECT_MAX);

    if (p == NULL) {
        return;
    }

    p = cycles_put_number(p, rec->neffects);

    for (i = 0; i < rec->neffects; i++) {
        effect = &rec->effects[i];

        p = cycles_put_number(p, effect->budget);
        *p++ = effect->over_limit ? CYCLES_EFFECT_OVER_LIMIT : 0;
        p = cycles_put_amount(p, effect->reserved);
        p = cycles_put_amount(p, effect->spent);
        p = cycles_put_amount(p, effect->debt);
    }

    out->p = p;
}


/* where up to so many bytes are to be written, NULL: there is no room */

static inline unsigned char *
cycles_out_room(cycles_out_t *out, size_t len)
{
    if (len > (size_t) (out->end - out->p)) {
        out->failed = 1;
        return NULL;
    }

    return out->p;
}


/* the bytes behind it, up to CYCLES_NUMBER_MAX, are written to as well */

static inline unsigned char *
cycles_put_number(unsigned char *p, uint64_t n)
{
    unsigned  size;

    if (n < CYCLES_NUMBER_BYTE) {
        *p = (unsigned char) n;
        return p + 1;
    }

    size = (71 - __builtin_clzll(n)) / 8;

    *p = (unsigned char) (CYCLES_NUMBER_BYTE - 1 + size);
    cycles_put64(p + 1, n);

    return p + 1 + size;
}


/* 0, -1, 1, -2, 2, ... are 0, 1, 2, 3, 4, ... */

static inline unsigned char *
cycles_put_amount(unsigned char *p, int64_t n)
{
    return cycles_put_number(p, ((uint64_t) n << 1) ^ (uint64_t) (n >> 63));
}


static inline void
cycles_out_bytes(cycles_out_t *out, const void *bytes, size_t len)
{
    if (len > (size_t) (out->end - out->p)) {
        out->failed = 1;
        return;
    }

    if (len) {
        memcpy(out->p, bytes, len);
        out->p += len;
    }
}


static inline void
cycles_out_int(cycles_out_t *out, uint64_t n, unsigned size)
{
    unsigned char  bytes[8];

    cycles_put64(bytes, n);
    cycles_out_bytes(out, bytes, size);
}


static void
cycles_out_str(cycles_out_t *out, cycles_str_t str)
{
    unsigned char  *p;

    if (str.len >= CYCLES_STR_LONG) {
        cycles_out_int(out, CYCLES_STR_LONG, 1);
        cycles_out_int(out, str.len, 4);
        cycles_out_bytes(out, str.data, str.len);
        return;
    }

    p = cycles_out_room(out, 1 + str.len);

    if (p == NULL) {
        return;
    }

    *p++ = (unsigned char) str.len;

    if (str.len) {
        memcpy(p, str.data, str.len);
    }

    out->p = p + str.len;
}


/*
 * Whether a record can be read by this version: NULL, or what is wrong with
 * it.  buf holds a record whose checksum is right.
 */

const char *
cycles_record_frame(const unsigned char *buf, uint64_t seq)
{
    unsigned  type;

    if (cycles_get64(buf + 8) != seq) {
        return "is out of sequence";
    }

    type = buf[24] | buf[25] << 8;

    if (!((type >= CYCLES_RECORD_TENANT && type <= CYCLES_RECORD_PERIOD)
          || type == CYCLES_RECORD_STATUS
          || (type >= CYCLES_RECORD_RESERVE && type <= CYCLES_RECORD_CLOSE)))
    {
        return "is of a type that only a newer version of the module knows";
    }

    if ((buf[26] | buf[27] << 8) != CYCLES_RECORD_VERSION) {
        return "was written by a newer version of the module";
    }

    return NULL;
}


/* strings point into buf */

int
cycles_record_read(cycles_record_t *rec, const unsigned char *buf, size_t len)
{
    cycles_in_t  in;

    rec->seq = cycles_get64(buf + 8);
    rec->time = cycles_get64(buf + 16);
    rec->type = buf[24] | buf[25] << 8;
    rec->neffects = 0;
    rec->texts_omitted = 0;

    in.p = buf + CYCLES_RECORD_HEAD;
    in.end = buf + len;
    in.failed = 0;

    switch (rec->type) {

    case CYCLES_RECORD_TENANT:
        cycles_read_tenant(&in, rec);
        break;

    case CYCLES_RECORD_BUDGET:
        cycles_read_budget(&in, rec);
        break;

    case CYCLES_RECORD_API_KEY:
        cycles_read_api_key(&in, rec);
        break;

    case CYCLES_RECORD_ADMIN_KEY:
        cycles_in_bytes(&in, rec->sha256, 32);
        break;

    case CYCLES_RECORD_FUNDING:
        cycles_read_funding(&in, rec);
        break;

    case CYCLES_RECORD_PERIOD:
        cycles_read_period(&in, rec);
        break;

    case CYCLES_RECORD_STATUS:
        cycles_read_status(&in, rec);
        break;

    case CYCLES_RECORD_RESERVE:
        cycles_read_reserve(&in, rec);
        break;

    case CYCLES_RECORD_EXTEND:
        cycles_read_extend(&in, rec);
        break;

    case CYCLES_RECORD_EXPIRE:
    case CYCLES_RECORD_CLOSE:
        cycles_read_expire(&in, rec);
        break;

    case CYCLES_RECORD_DECISION:
        cycles_read_decision(&in, rec);
        break;

    default: /* COMMIT, RELEASE, EVENT */
        cycles_read_settlement(&in, rec);
    }

    return (in.failed || in.p != in.end) ? -1 : 0;
}


static void
cycles_read_reserve(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned  flags;

    cycles_read_head(in, rec);
    rec->owner_at = NULL;
    rec->segments = NULL;
    rec->unit = cycles_in_enum(in, CYCLES_UNITS);
    rec->policy = cycles_in_enum(in, CYCLES_POLICIES);
    rec->decision = cycles_in_enum(in, CYCLES_ALLOW_WITH_CAPS + 1);
    flags = cycles_in_int(in, 1);
    rec->fresh_key = (flags & CYCLES_FRESH_KEY) != 0;
    rec->caps_from = cycles_in_u32(in);
    rec->amount = cycles_in_amount(in);
    rec->remaining = cycles_in_amount(in);
    rec->ttl_ms = cycles_in_amount(in);
    rec->grace_ms = cycles_in_amount(in);
    rec->expires_at_ms = (uint64_t) rec->time
                         + (uint64_t) cycles_in_amount(in);

    cycles_read_owner(in, rec, flags);
    cycles_read_effects(in, rec, CYCLES_LEVELS);
    rec->metadata = cycles_in_str(in);
}


static void
cycles_read_settlement(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned  flags;

    cycles_read_head(in, rec);

    rec->unit = cycles_in_enum(in, CYCLES_UNITS);
    rec->policy = cycles_in_enum(in, CYCLES_POLICIES);
    flags = cycles_in_int(in, 1);
    rec->texts_omitted = flags & CYCLES_TEXTS_OMITTED;
    rec->admin = (flags & CYCLES_BY_OPERATOR) != 0;
    rec->fresh_key = (flags & CYCLES_FRESH_KEY) != 0;
    rec->amount = cycles_in_amount(in);
    rec->charged = cycles_in_amount(in);
    rec->remaining = cycles_in_amount(in);

    if (rec->type == CYCLES_RECORD_EVENT) {
        cycles_read_owner(in, rec, flags);
    }

    cycles_read_effects(in, rec, CYCLES_LEVELS);

    if (rec->type == CYCLES_RECORD_RELEASE) {
        rec->reason = cycles_in_str(in);
        return;
    }

    rec->metrics.tokens_input = cycles_in_amount(in);
    rec->metrics.tokens_output = cycles_in_amount(in);
    rec->metrics.latency_ms = cycles_in_amount(in);
    rec->metrics.model_version = cycles_in_str(in);
    rec->metrics.custom = cycles_in_str(in);

    if (rec->type == CYCLES_RECORD_EVENT) {
        rec->client_time_ms = cycles_in_int(in, 8);
    }

    rec->metadata = cycles_in_str(in);
}


static void
cycles_read_extend(cycles_in_t *in, cycles_record_t *rec)
{
    cycles_read_head(in, rec);
    rec->extend_by_ms = cycles_in_int(in, 8);
    rec->expires_at_ms = cycles_in_int(in, 8);
    rec->metadata = cycles_in_str(in);
}


static void
cycles_read_expire(cycles_in_t *in, cycles_record_t *rec)
{
    rec->nids = cycles_in_int(in, 2);

    if (rec->nids > CYCLES_EXPIRE_BATCH) {
        in->failed = 1;
        return;
    }

    cycles_in_bytes(in, rec->ids, (size_t) rec->nids * 16);
    cycles_read_effects(in, rec, CYCLES_MAX_EFFECTS);
}


static void
cycles_read_decision(cycles_in_t *in, cycles_record_t *rec)
{
    int           code;
    cycles_str_t  reason;

    cycles_read_head(in, rec);
    rec->owner = cycles_in_str(in);
    rec->unit = cycles_in_enum(in, CYCLES_UNITS);
    rec->decide = cycles_in_enum(in, 2);
    rec->decision = cycles_in_enum(in, CYCLES_ALLOW_WITH_CAPS + 1);
    (void) cycles_in_int(in, 1);
    rec->caps_from = cycles_in_int(in, 4);
    rec->amount = cycles_in_int(in, 8);
    rec->remaining = cycles_in_int(in, 8);
    reason = cycles_in_str(in);
    cycles_read_subject(in, rec);
    cycles_read_action(in, rec);

    code = reason.len ? cycles_denial_find(reason) : CYCLES_OK;

    if (code == -1
        || (code == CYCLES_OK) != (rec->decision != CYCLES_DENY))
    {
        in->failed = 1;
        code = CYCLES_OK;
    }

    rec->denied = code;
}


static void
cycles_read_tenant(cycles_in_t *in, cycles_record_t *rec)
{
    cycles_tenant_def_t  *def;

    def = &rec->tenant;

    rec->def_id = cycles_in_int(in, 4);
    def->tenant_id = cycles_in_str(in);
    def->name = cycles_in_str(in);
    def->status = cycles_in_enum(in, CYCLES_TENANT_STATUSES);
    def->policy = cycles_in_policy(in);
    (void) cycles_in_int(in, 2);
    def->default_ttl_ms = cycles_in_int(in, 8);
    def->max_ttl_ms = cycles_in_int(in, 8);
    def->max_extensions = cycles_in_int(in, 8);
    def->created_ms = cycles_in_int(in, 8);
    def->updated_ms = cycles_in_int(in, 8);
    def->suspended_ms = cycles_in_int(in, 8);
    def->closed_ms = cycles_in_int(in, 8);
    cycles_in_bytes(in, def->declared.bytes, 16);
    def->parent_id = cycles_in_str(in);
    def->metadata = cycles_in_str(in);

    if (def->tenant_id.len > CYCLES_MAX_TENANT_ID
        || def->name.len > CYCLES_MAX_NAME
        || def->parent_id.len > CYCLES_MAX_TENANT_ID
        || def->metadata.len > CYCLES_MAX_DEFINED_METADATA)
    {
        in->failed = 1;
    }
}


static void
cycles_read_budget(cycles_in_t *in, cycles_record_t *rec)
{
    cycles_budget_def_t  *def;

    def = &rec->budget;
    memset(&def->caps, 0, sizeof(cycles_caps_t));
    memset(&def->declared, 0, sizeof(cycles_declared_t));

    rec->def_id = cycles_in_int(in, 4);
    def->scope = cycles_in_str(in);
    def->unit = cycles_in_enum(in, CYCLES_UNITS);
    def->status = cycles_in_enum(in, CYCLES_BUDGET_STATUSES);
    def->policy = cycles_in_policy(in);
    def->has_caps = cycles_in_enum(in, 2);
    def->allocated = cycles_in_int(in, 8);
    def->overdraft_limit = cycles_in_int(in, 8);
    def->above_percent = 0;

    if (def->has_caps) {
        def->above_percent = cycles_in_int(in, 1);
        def->caps.max_tokens = cycles_in_int(in, 8);
        def->caps.max_steps_remaining = cycles_in_int(in, 8);
        def->caps.cooldown_ms = cycles_in_int(in, 8);
        def->caps.tool_allowlist = cycles_in_str(in);
        def->caps.tool_denylist = cycles_in_str(in);
    }

    cycles_read_period_def(in, &def->period);

    def->declared.known = cycles_in_enum(in, 2);

    if (def->declared.known) {
        def->declared.policy = cycles_in_policy(in);
        def->declared.allocated = cycles_in_int(in, 8);
        def->declared.overdraft_limit = cycles_in_int(in, 8);
    }

    def->created_ms = cycles_in_int(in, 8);
    def->updated_ms = cycles_in_int(in, 8);
    cycles_read_effects(in, rec, 1);
    def->metadata = cycles_in_str(in);

    if (def->scope.len > CYCLES_MAX_SCOPE
        || def->caps.tool_allowlist.len + def->caps.tool_denylist.len
           > CYCLES_MAX_CAPS_TEXT
        || def->metadata.len > CYCLES_MAX_DEFINED_METADATA
        || !cycles_period_ok(&def->period)
        || rec->neffects != 1)
    {
        in->failed = 1;
    }
}


static void
cycles_read_period_def(cycles_in_t *in, cycles_period_t *period)
{
    memset(period, 0, sizeof(cycles_period_t));

    /* one that is not known here would never end */

    period->type = cycles_in_enum(in, CYCLES_PERIODS);

    switch (period->type) {

    case CYCLES_PERIOD_CALENDAR:
        period->every = cycles_in_enum(in, CYCLES_EVERIES);
        period->timezone = cycles_in_str(in);
        break;

    case CYCLES_PERIOD_ROLLING:
        period->length_ms = cycles_in_int(in, 8);
        break;

    default: /* CYCLES_PERIOD_NONE */
        period->end_ms = CYCLES_NO_BOUNDARY;
        return;
    }

    period->start_ms = cycles_in_int(in, 8);
    period->end_ms = cycles_in_int(in, 8);
}


static void
cycles_read_api_key(cycles_in_t *in, cycles_record_t *rec)
{
    cycles_key_def_t  *def;

    def = &rec->api_key;

    rec->def_id = cycles_in_int(in, 4);
    cycles_in_bytes(in, def->sha256, 32);
    def->tenant_id = cycles_in_str(in);
    def->name = cycles_in_str(in);
    def->status = cycles_in_enum(in, CYCLES_KEY_STATUSES);
    (void) cycles_in_int(in, 3);
    def->permissions = cycles_in_int(in, 4);
    def->created_ms = cycles_in_int(in, 8);
    def->expires_ms = cycles_in_int(in, 8);
    def->revoked_ms = cycles_in_int(in, 8);
    cycles_in_bytes(in, def->declared.bytes, 16);
    def->prefix = cycles_in_str(in);
    def->description = cycles_in_str(in);
    def->scope_filter = cycles_in_str(in);
    def->revoked_reason = cycles_in_str(in);
    def->metadata = cycles_in_str(in);

    if ((def->permissions & ~CYCLES_ALL_PERMISSIONS)
        || def->name.len > CYCLES_MAX_NAME
        || def->prefix.len > CYCLES_MAX_KEY_PREFIX
        || def->description.len > CYCLES_MAX_DESCRIPTION
        || def->scope_filter.len > CYCLES_MAX_SCOPE_FILTER
        || def->revoked_reason.len > CYCLES_MAX_OPERATOR_REASON
        || def->metadata.len > CYCLES_MAX_DEFINED_METADATA)
    {
        in->failed = 1;
    }
}


static void
cycles_read_funding(cycles_in_t *in, cycles_record_t *rec)
{
    cycles_read_head(in, rec);
    rec->owner = cycles_in_str(in);
    rec->unit = cycles_in_enum(in, CYCLES_UNITS);
    rec->funding = cycles_in_enum(in, CYCLES_FUNDINGS);
    rec->admin = cycles_in_enum(in, 2);
    (void) cycles_in_int(in, 1);
    rec->amount = cycles_in_int(in, 8);
    rec->given_spent = cycles_in_int(in, 8);
    rec->allocated = cycles_in_int(in, 8);
    rec->new_allocated = cycles_in_int(in, 8);
    rec->spent = cycles_in_int(in, 8);
    rec->reserved = cycles_in_int(in, 8);
    rec->debt = cycles_in_int(in, 8);
    cycles_read_effects(in, rec, 1);
    rec->reason = cycles_in_str(in);
    rec->metadata = cycles_in_str(in);

    if (rec->neffects != 1) {
        in->failed = 1;
    }
}


static void
cycles_read_period(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned        i, n;
    cycles_turn_t  *turn;

    n = cycles_in_int(in, 2);

    if (n > CYCLES_LEVELS) {
        in->failed = 1;
        return;
    }

    for (i = 0; i < n; i++) {
        turn = &rec->turns[i];

        turn->start_ms = cycles_in_int(in, 8);
        turn->end_ms = cycles_in_int(in, 8);
        turn->next_start_ms = cycles_in_int(in, 8);
        turn->next_end_ms = cycles_in_int(in, 8);
        turn->allocated = cycles_in_int(in, 8);
        turn->reserved = cycles_in_int(in, 8);
        turn->debt = cycles_in_int(in, 8);
    }

    cycles_read_effects(in, rec, CYCLES_LEVELS);

    if (rec->neffects != n) {
        in->failed = 1;
    }
}


static void
cycles_read_status(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned  i;

    rec->status = cycles_in_enum(in, CYCLES_BUDGET_STATUSES);
    (void) cycles_in_int(in, 1);
    rec->nbudgets = cycles_in_int(in, 2);

    if (rec->nbudgets > CYCLES_STATUS_BATCH) {
        in->failed = 1;
        rec->nbudgets = 0;
        return;
    }

    for (i = 0; i < rec->nbudgets; i++) {
        rec->budgets[i] = cycles_in_int(in, 4);
    }

    rec->reason = cycles_in_str(in);
    rec->metadata = cycles_in_str(in);
}


static void
cycles_read_head(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned  forms;

    cycles_in_bytes(in, rec->id, 16);
    forms = cycles_in_enum(in, CYCLES_HEAD_FORMS);

    if (forms & CYCLES_HEAD_DIGEST) {
        cycles_in_bytes(in, rec->digest.bytes, 16);

    } else {
        memset(&rec->digest, 0, sizeof(cycles_digest_t));
    }

    rec->key_is_uuid = (forms & CYCLES_HEAD_KEY) != 0;
    rec->trace_is_hex = (forms & CYCLES_HEAD_TRACE) != 0;

    if (rec->key_is_uuid) {
        cycles_in_bytes(in, rec->key_uuid, 16);
        cycles_uuid_write(rec->key_uuid, rec->key_read);
        rec->key.data = (unsigned char *) rec->key_read;
        rec->key.len = CYCLES_UUID_LEN;
    }

    if (rec->trace_is_hex) {
        cycles_in_bytes(in, rec->trace, 16);
        (void) cycles_hex_write(rec->trace, 16, rec->trace_read);
        rec->trace_id.data = (unsigned char *) rec->trace_read;
        rec->trace_id.len = CYCLES_MAX_TRACE_ID;
    }

    if (!rec->key_is_uuid) {
        rec->key = cycles_in_str(in);
    }

    if (!rec->trace_is_hex) {
        rec->trace_id = cycles_in_str(in);
    }
}


/* and whose request it was, and what for */

static void
cycles_read_owner(cycles_in_t *in, cycles_record_t *rec, unsigned flags)
{
    if (!(flags & CYCLES_OWNER_IS_TENANT)) {
        rec->owner = cycles_in_str(in);
    }

    rec->request.data = (unsigned char *) in->p;
    cycles_read_subject(in, rec);
    rec->request_action = in->p - rec->request.data;
    cycles_read_action(in, rec);
    rec->request.len = in->p - rec->request.data;

    if (flags & CYCLES_OWNER_IS_TENANT) {
        rec->owner = rec->subject->levels[CYCLES_TENANT];

        if (rec->owner.len == 0) {
            in->failed = 1;
        }
    }
}


static void
cycles_read_subject(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned           i, mask;
    cycles_subject_t  *subject;

    subject = &rec->subject_read;
    rec->subject = subject;
    memset(subject->levels, 0, sizeof(subject->levels));

    mask = cycles_in_enum(in, 1 << CYCLES_LEVELS);

    for (i = 0; i < CYCLES_LEVELS; i++) {
        if (mask & (1 << i)) {
            subject->levels[i] = cycles_in_str(in);
        }
    }

    subject->dimensions = rec->dimensions_read;
    subject->ndimensions = cycles_in_enum(in, CYCLES_MAX_DIMENSIONS + 1);

    for (i = 0; i < subject->ndimensions; i++) {
        subject->dimensions[i].key = cycles_in_str(in);
        subject->dimensions[i].value = cycles_in_str(in);
    }
}


static void
cycles_read_action(cycles_in_t *in, cycles_record_t *rec)
{
    unsigned          i;
    cycles_action_t  *action;

    action = &rec->action_read;
    rec->action = action;

    action->kind = cycles_in_str(in);
    action->name = cycles_in_str(in);
    action->tags = rec->tags_read;
    action->ntags = cycles_in_enum(in, CYCLES_MAX_ACTION_TAGS + 1);

    for (i = 0; i < action->ntags; i++) {
        action->tags[i] = cycles_in_str(in);
    }
}


static void
cycles_read_effects(cycles_in_t *in, cycles_record_t *rec, unsigned max)
{
    unsigned          i, n;
    cycles_effect_t  *effect;

    n = cycles_in_u32(in);

    if (n > max) {
        in->failed = 1;
        return;
    }

    rec->neffects = n;

    for (i = 0; i < n; i++) {
        effect = &rec->effects[i];

        effect->budget = cycles_in_u32(in);
        effect->over_limit = cycles_in_int(in, 1) & CYCLES_EFFECT_OVER_LIMIT;
        effect->reserved = cycles_in_amount(in);
        effect->spent = cycles_in_amount(in);
        effect->debt = cycles_in_amount(in);
        effect->at = NULL;
    }
}


static inline void
cycles_in_bytes(cycles_in_t *in, void *p, size_t len)
{
    if (len > (size_t) (in->end - in->p)) {
        in->failed = 1;
        memset(p, 0, len);
        return;
    }

    memcpy(p, in->p, len);
    in->p += len;
}


static inline uint64_t
cycles_in_int(cycles_in_t *in, unsigned size)
{
    unsigned char  bytes[8];

    memset(bytes, 0, sizeof(bytes));
    cycles_in_bytes(in, bytes, size);

    return cycles_get64(bytes);
}


static inline uint64_t
cycles_in_number(cycles_in_t *in)
{
    unsigned  byte, size;

    if (in->p == in->end) {
        in->failed = 1;
        return 0;
    }

    byte = *in->p++;

    if (byte < CYCLES_NUMBER_BYTE) {
        return byte;
    }

    size = byte - CYCLES_NUMBER_BYTE + 1;

    if (in->end - in->p < 8) {
        return cycles_in_int(in, size);
    }

    in->p += size;

    return cycles_get64(in->p - size) & (UINT64_MAX >> (64 - 8 * size));
}


static inline uint32_t
cycles_in_u32(cycles_in_t *in)
{
    uint64_t  n;

    n = cycles_in_number(in);

    if (n > UINT32_MAX) {
        in->failed = 1;
        return 0;
    }

    return (uint32_t) n;
}


static inline int64_t
cycles_in_amount(cycles_in_t *in)
{
    uint64_t  n;

    n = cycles_in_number(in);

    return (int64_t) ((n >> 1) ^ -(n & 1));
}


/* one byte that must be less than n */

static unsigned
cycles_in_enum(cycles_in_t *in, unsigned n)
{
    unsigned  value;

    value = cycles_in_int(in, 1);

    if (value >= n) {
        in->failed = 1;
        return 0;
    }

    return value;
}


static unsigned
cycles_in_policy(cycles_in_t *in)
{
    unsigned  policy;

    policy = cycles_in_int(in, 1);

    if (policy >= CYCLES_POLICIES && policy != CYCLES_POLICY_NONE) {
        in->failed = 1;
        return CYCLES_POLICY_NONE;
    }

    return policy;
}


static cycles_str_t
cycles_in_str(cycles_in_t *in)
{
    size_t        len;
    cycles_str_t  str;

    len = cycles_in_int(in, 1);

    if (len == CYCLES_STR_LONG) {
        len = cycles_in_int(in, 4);
    }

    if (len > (size_t) (in->end - in->p)) {
        in->failed = 1;
        len = 0;
    }

    str.len = len;
    str.data = (unsigned char *) in->p;
    in->p += len;

    return str;
}
