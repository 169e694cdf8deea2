
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a request says: whether it may be said, which scopes its subject has,
 * and a digest of it, by which a replay is told from another request.
 */


#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "cycles_ledger_core.h"


/* what a level's value has before it in a path */

typedef struct {
    unsigned char         len;
    unsigned char         text[15];
} cycles_label_t;


static const cycles_label_t  cycles_labels[CYCLES_LEVELS] = {
    { 7, "tenant:" },
    { 10, "workspace:" },
    { 4, "app:" },
    { 9, "workflow:" },
    { 6, "agent:" },
    { 8, "toolset:" }
};


static inline unsigned char cycles_lower(unsigned char ch);
static inline int cycles_id_read(cycles_str_t text, uint8_t *id,
    unsigned lower);
static inline int cycles_hex_bytes(const unsigned char *text, size_t n,
    uint8_t *bytes, unsigned lower);
#if defined(__SSE2__)
static inline int cycles_hex_bytes_8(const unsigned char *text,
    uint8_t *bytes, unsigned lower);
#endif
static inline int cycles_hex(unsigned char ch, unsigned lower);
static int cycles_str_cmp(cycles_str_t a, cycles_str_t b);


int
cycles_subject_ok(const cycles_subject_t *subject)
{
    unsigned  i, n;

    for (n = 0, i = 0; i < CYCLES_LEVELS; i++) {

        if (subject->levels[i].len == 0) {
            continue;
        }

        if (!cycles_subject_value_ok(subject->levels[i].data,
                                     subject->levels[i].len))
        {
            return 0;
        }

        n++;
    }

    if (n == 0 || subject->ndimensions > CYCLES_MAX_DIMENSIONS) {
        return 0;
    }

    for (i = 0; i < subject->ndimensions; i++) {
        if (subject->dimensions[i].key.len == 0
            || subject->dimensions[i].key.len > CYCLES_MAX_DIMENSION_NAME
            || subject->dimensions[i].value.len
               > CYCLES_UTF8(CYCLES_MAX_DIMENSION_VALUE))
        {
            return 0;
        }
    }

    return 1;
}


int
cycles_action_ok(const cycles_action_t *action)
{
    unsigned  i;

    if (action->kind.len == 0
        || action->kind.len > CYCLES_UTF8(CYCLES_MAX_ACTION_KIND)
        || action->name.len == 0
        || action->name.len > CYCLES_UTF8(CYCLES_MAX_ACTION_NAME)
        || action->ntags > CYCLES_MAX_ACTION_TAGS)
    {
        return 0;
    }

    for (i = 0; i < action->ntags; i++) {
        if (action->tags[i].len > CYCLES_UTF8(CYCLES_MAX_ACTION_TAG)) {
            return 0;
        }
    }

    return 1;
}


int
cycles_key_ok(cycles_str_t key)
{
    return key.len > 0 && key.len <= CYCLES_UTF8(CYCLES_MAX_IDEMPOTENCY_KEY);
}


int
cycles_trace_ok(cycles_str_t trace_id)
{
    return trace_id.len <= CYCLES_MAX_TRACE_ID;
}


/* DecisionReasonCode: the name of the code, but for one of them */

const char *
cycles_denial_name(cycles_code_t code)
{
    return (code == CYCLES_NOT_FOUND) ? "BUDGET_NOT_FOUND"
                                      : cycles_code_name(code);
}


int
cycles_denial_find(cycles_str_t name)
{
    int  code;

    for (code = CYCLES_OK + 1; code < CYCLES_CODES; code++) {
        if (strlen(cycles_denial_name(code)) == name.len
            && memcmp(cycles_denial_name(code), name.data, name.len) == 0)
        {
            return code;
        }
    }

    return -1;
}


/* -1: not a UUID, so nothing has it */

int
cycles_id_parse(cycles_str_t text, uint8_t *id)
{
    return cycles_id_read(text, id, 0);
}


/* lower: no letters but those in lower case */

static inline int
cycles_id_read(cycles_str_t text, uint8_t *id, unsigned lower)
{
    unsigned char         digits[32];
    const unsigned char  *p;

    p = text.data;

    if (text.len != CYCLES_UUID_LEN
        || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
    {
        return -1;
    }

    memcpy(digits, p, 8);
    memcpy(digits + 8, p + 9, 4);
    memcpy(digits + 12, p + 14, 4);
    memcpy(digits + 16, p + 19, 4);
    memcpy(digits + 20, p + 24, 12);

    return cycles_hex_bytes(digits, 16, id, lower);
}


/* -1: printing the id would not give back this text */

int
cycles_id_exact(cycles_str_t text, uint8_t *id)
{
    return cycles_id_read(text, id, 1);
}


/* the same for 32 digits, but for zeroes, which are no trace */

int
cycles_trace_exact(cycles_str_t text, uint8_t *trace)
{
    static const uint8_t  none[16];

    return (text.len == CYCLES_MAX_TRACE_ID
            && cycles_hex_bytes(text.data, 16, trace, 1) == 0
            && memcmp(trace, none, 16) != 0) ? 0 : -1;
}


void
cycles_id_print(const uint8_t *id, char *text)
{
    cycles_uuid_write(id, text);
    text[CYCLES_UUID_LEN] = '\0';
}


/* n bytes, which have 2n digits */

int
cycles_hex_read(const unsigned char *text, size_t n, uint8_t *bytes)
{
    return cycles_hex_bytes(text, n, bytes, 0);
}


static inline int
cycles_hex_bytes(const unsigned char *text, size_t n, uint8_t *bytes,
    unsigned lower)
{
    int     high, low;
    size_t  i;

    i = 0;

#if defined(__SSE2__)

    for ( /* void */ ; i + 8 <= n; i += 8) {
        if (cycles_hex_bytes_8(text + 2 * i, bytes + i, lower) != 0) {
            return -1;
        }
    }

#endif

    for ( /* void */ ; i < n; i++) {
        high = cycles_hex(text[2 * i], lower);
        low = cycles_hex(text[2 * i + 1], lower);

        if (high == -1 || low == -1) {
            return -1;
        }

        bytes[i] = high << 4 | low;
    }

    return 0;
}


#if defined(__SSE2__)

static inline int
cycles_hex_bytes_8(const unsigned char *text, uint8_t *bytes, unsigned lower)
{
    __m128i  t, digits, letters, is_digit, is_letter, n;

    t = _mm_loadu_si128((const __m128i *) text);

    /* as unsigned: what is below wraps, and is too large as well */

    digits = _mm_sub_epi8(t, _mm_set1_epi8('0'));
    is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);

    letters = lower ? t : _mm_or_si128(t, _mm_set1_epi8(0x20));
    letters = _mm_sub_epi8(letters, _mm_set1_epi8('a'));
    is_letter = _mm_cmpeq_epi8(_mm_min_epu8(letters, _mm_set1_epi8(5)),
                               letters);

    if (_mm_movemask_epi8(_mm_or_si128(is_digit, is_letter)) != 0xffff) {
        return -1;
    }

    /* the low half of "0" is 0, that of "A" and "a" is 1 */

    n = _mm_add_epi8(_mm_and_si128(t, _mm_set1_epi8(0x0f)),
                     _mm_and_si128(is_letter, _mm_set1_epi8(9)));

    /* the first digit of two is the low byte of 16 bits, and the high half */

    n = _mm_or_si128(_mm_slli_epi16(n, 4), _mm_srli_epi16(n, 8));
    n = _mm_and_si128(n, _mm_set1_epi16(0xff));

    _mm_storel_epi64((__m128i *) bytes, _mm_packus_epi16(n, n));

    return 0;
}

#endif


/* -1: it is no digit */

static inline int
cycles_hex(unsigned char ch, unsigned lower)
{
    static const unsigned char  digits[256] = {
        ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6,
        ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12,
        ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11,
        ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16
    };

    return (lower && ch < 'a' && ch > '9') ? -1 : digits[ch] - 1;
}


static inline unsigned char
cycles_lower(unsigned char ch)
{
    return (ch >= 'A' && ch <= 'Z') ? (ch | 0x20) : ch;
}


void
cycles_scopes_derive(const cycles_subject_t *subject,
    cycles_scopes_t *scopes)
{
    char                  *p;
    size_t                 i;
    unsigned               level;
    uint32_t               hash, own;
    cycles_str_t           value;
    unsigned char          ch;
    const cycles_label_t  *label;

    p = scopes->path;
    hash = CYCLES_HASH_INIT;

    scopes->n = 0;
    scopes->tenant.len = 0;
    scopes->tenant.data = NULL;
    memset(scopes->segments, 0, sizeof(scopes->segments));

    for (level = 0; level < CYCLES_LEVELS; level++) {
        value = subject->levels[level];

        if (value.len == 0) {
            continue;
        }

        if (scopes->n) {
            *p++ = '/';
            hash = cycles_scope_hash(hash, '/');
        }

        label = &cycles_labels[level];

        memcpy(p, label->text, sizeof(label->text));
        p += label->len;

        for (i = 0; i < label->len; i++) {
            hash = cycles_scope_hash(hash, label->text[i]);
        }

        if (level == CYCLES_TENANT) {
            scopes->tenant.len = value.len;
            scopes->tenant.data = (unsigned char *) p;
        }

        own = CYCLES_HASH_INIT;

        for (i = 0; i < value.len; i++) {
            ch = cycles_lower(value.data[i]);
            hash = cycles_scope_hash(hash, ch);
            own = cycles_scope_hash(own, ch);
            *p++ = ch;
        }

        scopes->segments[level] = own ? own : 1;

        scopes->prefix[scopes->n].len = p - scopes->path;
        scopes->prefix[scopes->n].hash = hash;
        scopes->n++;
    }
}


/* scopes without a budget in this unit are skipped */

unsigned
cycles_scopes_find(cycles_ledger_t *ledger, const cycles_scopes_t *scopes,
    cycles_unit_t unit, cycles_budget_t **budgets)
{
    unsigned          i, n;
    cycles_budget_t  *budget;

    for (n = 0, i = 0; i < scopes->n; i++) {
        budget = cycles_budget_find(ledger, scopes->path,
                                    scopes->prefix[i].len,
                                    scopes->prefix[i].hash, unit);
        if (budget) {
            budgets[n++] = budget;
        }
    }

    return n;
}


/* there is no budget in the unit that was asked for: is there another one? */

cycles_code_t
cycles_scopes_missing(cycles_ledger_t *ledger, const cycles_scopes_t *scopes,
    int64_t requested, cycles_denial_t *denial)
{
    unsigned       i;
    cycles_code_t  code;

    code = CYCLES_NOT_FOUND;

    for (i = 0; i < scopes->n; i++) {
        if (cycles_budget_find(ledger, scopes->path, scopes->prefix[i].len,
                               scopes->prefix[i].hash, -1))
        {
            code = CYCLES_UNIT_MISMATCH;
            break;
        }
    }

    if (i == scopes->n) {
        i = scopes->n - 1;
    }

    memset(denial, 0, sizeof(cycles_denial_t));
    denial->scope_len = scopes->prefix[i].len;
    memcpy(denial->scope, scopes->path, denial->scope_len);
    denial->requested = requested;

    return code;
}


/* budgets from the tenant down, as cycles_scopes_find() has found them */

cycles_policy_t
cycles_policy_of(cycles_policy_t policy, const cycles_tenant_t *tenant,
    cycles_budget_t *const *budgets, unsigned n)
{
    if (policy != CYCLES_POLICIES) {
        return policy;
    }

    while (n--) {
        if (budgets[n]->policy != CYCLES_POLICY_NONE) {
            return budgets[n]->policy;
        }
    }

    if (tenant && tenant->policy != CYCLES_POLICY_NONE) {
        return tenant->policy;
    }

    return CYCLES_ALLOW_IF_AVAILABLE;
}


int64_t
cycles_ttl_of(int64_t ttl_ms, const cycles_tenant_t *tenant)
{
    if (ttl_ms == -1) {
        ttl_ms = (tenant && tenant->default_ttl_ms > 0)
                 ? tenant->default_ttl_ms : CYCLES_DEFAULT_TTL_MS;
    }

    if (tenant && tenant->max_ttl_ms > 0 && ttl_ms > tenant->max_ttl_ms) {
        ttl_ms = tenant->max_ttl_ms;
    }

    return ttl_ms;
}


void
cycles_digest_begin(cycles_ledger_t *ledger, cycles_siphash_t *h,
    const char *operation)
{
    cycles_siphash_init(h, ledger->shm->uuid);
    cycles_siphash_update(h, operation, strlen(operation) + 1);
}


/* lengths keep "ab" + "c" apart from "a" + "bc" */

void
cycles_digest_str(cycles_siphash_t *h, cycles_str_t str)
{
    cycles_digest_int(h, str.len);
    cycles_siphash_update(h, str.data, str.len);
}


void
cycles_digest_int(cycles_siphash_t *h, int64_t n)
{
    cycles_siphash_int(h, n);
}


void
cycles_digest_policy(cycles_siphash_t *h, cycles_policy_t policy)
{
    cycles_digest_int(h, policy == CYCLES_POLICIES
                         ? CYCLES_ALLOW_IF_AVAILABLE : policy);
}


/* the order of dimensions means nothing */

void
cycles_digest_subject(cycles_siphash_t *h, const cycles_subject_t *subject)
{
    unsigned              i, k, order[CYCLES_MAX_DIMENSIONS];
    const cycles_pair_t  *dim;

    for (i = 0; i < CYCLES_LEVELS; i++) {
        cycles_digest_str(h, subject->levels[i]);
    }

    dim = subject->dimensions;

    for (i = 0; i < subject->ndimensions; i++) {

        for (k = i;
             k > 0 && cycles_str_cmp(dim[order[k - 1]].key, dim[i].key) > 0;
             k--)
        {
            order[k] = order[k - 1];
        }

        order[k] = i;
    }

    for (i = 0; i < subject->ndimensions; i++) {
        cycles_digest_str(h, dim[order[i]].key);
        cycles_digest_str(h, dim[order[i]].value);
    }

    cycles_digest_int(h, subject->ndimensions);
}


static int
cycles_str_cmp(cycles_str_t a, cycles_str_t b)
{
    int     rc;
    size_t  len;

    len = a.len < b.len ? a.len : b.len;
    rc = len ? memcmp(a.data, b.data, len) : 0;

    if (rc) {
        return rc;
    }

    return (a.len > b.len) - (a.len < b.len);
}


void
cycles_digest_action(cycles_siphash_t *h, const cycles_action_t *action)
{
    unsigned  i;

    cycles_digest_str(h, action->kind);
    cycles_digest_str(h, action->name);

    for (i = 0; i < action->ntags; i++) {
        cycles_digest_str(h, action->tags[i]);
    }

    cycles_digest_int(h, action->ntags);
}


void
cycles_digest_metrics(cycles_siphash_t *h, const cycles_metrics_t *metrics)
{
    cycles_digest_int(h, metrics->tokens_input);
    cycles_digest_int(h, metrics->tokens_output);
    cycles_digest_int(h, metrics->latency_ms);
    cycles_digest_str(h, metrics->model_version);
    cycles_digest_str(h, metrics->custom);
}
