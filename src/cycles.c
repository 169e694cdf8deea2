
/*
 * Copyright (C) nginx-cycles authors
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>
#include <sys/mman.h>

#include <openssl/rand.h>

#include "cycles.h"
#include "cycles_scan.h"


#define CYCLES_RANDOM_BATCH  16368


/* random bytes that nobody has had */

typedef struct {
    size_t               left;
    unsigned char        bytes[CYCLES_RANDOM_BATCH];
} cycles_random_t;


/* which bytes the value of a subject may have */

static const unsigned char  cycles_subject_bytes[256] = {
    ['-'] = 1, ['.'] = 1, ['_'] = 1,
    ['0'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['A'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['N'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['a'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['n'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
};


static int cycles_name_find(const char *const *names, int n,
    const unsigned char *name, size_t len);
static unsigned char *cycles_random(size_t n);
static cycles_random_t *cycles_random_page(void);


static const char *const  cycles_levels[] = {
    "tenant", "workspace", "app", "workflow", "agent", "toolset"
};


static const char *const  cycles_units[] = {
    "USD_MICROCENTS", "TOKENS", "CREDITS", "RISK_POINTS"
};


static const char *const  cycles_policies[] = {
    "ALLOW_IF_AVAILABLE", "REJECT", "ALLOW_WITH_OVERDRAFT"
};


static const char *const  cycles_decisions[] = {
    "DENY", "ALLOW", "ALLOW_WITH_CAPS"
};


static const char *const  cycles_codes[] = {
    "OK",
    "INVALID_REQUEST",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "BUDGET_EXCEEDED",
    "BUDGET_FROZEN",
    "BUDGET_CLOSED",
    "RESERVATION_EXPIRED",
    "RESERVATION_FINALIZED",
    "IDEMPOTENCY_MISMATCH",
    "UNIT_MISMATCH",
    "OVERDRAFT_LIMIT_EXCEEDED",
    "DEBT_OUTSTANDING",
    "MAX_EXTENSIONS_EXCEEDED",
    "LIMIT_EXCEEDED",
    "TENANT_CLOSED",
    "INTERNAL_ERROR",
    "TENANT_NOT_FOUND",
    "TENANT_SUSPENDED",
    "BUDGET_NOT_FOUND",
    "INSUFFICIENT_PERMISSIONS",
    "KEY_REVOKED",
    "KEY_EXPIRED",
    "DUPLICATE_RESOURCE"
};


const char *
cycles_level_name(cycles_level_t level)
{
    return cycles_levels[level];
}


const char *
cycles_unit_name(cycles_unit_t unit)
{
    return cycles_units[unit];
}


const char *
cycles_policy_name(cycles_policy_t policy)
{
    return cycles_policies[policy];
}


const char *
cycles_decision_name(cycles_decision_t decision)
{
    return cycles_decisions[decision];
}


const char *
cycles_code_name(cycles_code_t code)
{
    return cycles_codes[code];
}


int
cycles_level_find(const unsigned char *name, size_t len)
{
    return cycles_name_find(cycles_levels, CYCLES_LEVELS, name, len);
}


int
cycles_unit_find(const unsigned char *name, size_t len)
{
    return cycles_name_find(cycles_units, CYCLES_UNITS, name, len);
}


int
cycles_policy_find(const unsigned char *name, size_t len)
{
    return cycles_name_find(cycles_policies, CYCLES_POLICIES, name, len);
}


int
cycles_code_find(const unsigned char *name, size_t len)
{
    return cycles_name_find(cycles_codes, CYCLES_CODES, name, len);
}


int
cycles_subject_value_ok(const unsigned char *value, size_t len)
{
    size_t    i;
    unsigned  ok;

    if (len == 0 || len > CYCLES_MAX_SUBJECT_VALUE) {
        return 0;
    }

    for (ok = 1, i = 0; i < len; i++) {
        ok &= cycles_subject_bytes[value[i]];
    }

    return ok;
}


size_t
cycles_utf8_length(const unsigned char *s, size_t n)
{
    size_t  i, len;

    for (len = 0, i = 0; i < n; i++) {
        len += ((s[i] & 0xc0) != 0x80);
    }

    return len;
}


int
cycles_uuid(unsigned char *p)
{
    unsigned char  *r;

    r = cycles_random(16);

    if (r == NULL) {
        return -1;
    }

    r[6] = (r[6] & 0x0f) | 0x40;
    r[8] = (r[8] & 0x3f) | 0x80;

    cycles_uuid_write(r, (char *) p);

    return 0;
}


void
cycles_uuid_write(const unsigned char *bytes, char *text)
{
    char  hex[32];

    (void) cycles_hex_write(bytes, 16, hex);

    memcpy(text, hex, 8);
    memcpy(text + 9, hex + 8, 4);
    memcpy(text + 14, hex + 12, 4);
    memcpy(text + 19, hex + 16, 4);
    memcpy(text + 24, hex + 20, 12);

    text[8] = text[13] = text[18] = text[23] = '-';
}


int
cycles_traceparent(unsigned char *p)
{
    char           *text;
    unsigned char  *r;

    r = cycles_random(24);

    if (r == NULL) {
        return -1;
    }

    /* neither of the two may be zero */

    r[15] |= 1;
    r[23] |= 1;

    memcpy(p, "00-", 3);
    text = cycles_hex_write(r, 16, (char *) p + 3);
    *text++ = '-';
    text = cycles_hex_write(r + 16, 8, text);
    memcpy(text, "-01", 3);

    return 0;
}


#if defined(__SSE2__)

static inline void
cycles_hex_write_8(const unsigned char *bytes, char *text)
{
    __m128i  b, digits, letters;

    b = _mm_loadl_epi64((const __m128i *) bytes);
    b = _mm_unpacklo_epi8(_mm_srli_epi16(b, 4), b);
    b = _mm_and_si128(b, _mm_set1_epi8(0x0f));

    digits = _mm_add_epi8(b, _mm_set1_epi8('0'));
    letters = _mm_and_si128(_mm_cmpgt_epi8(b, _mm_set1_epi8(9)),
                            _mm_set1_epi8('a' - '9' - 1));

    _mm_storeu_si128((__m128i *) text, _mm_add_epi8(digits, letters));
}

#endif


char *
cycles_hex_write(const unsigned char *bytes, size_t n, char *text)
{
    static const char  hex[] = "0123456789abcdef";

#if defined(__SSE2__)

    for (/* void */ ; n >= 8; n -= 8) {
        cycles_hex_write_8(bytes, text);
        bytes += 8;
        text += 16;
    }

#endif

    while (n--) {
        *text++ = hex[*bytes >> 4];
        *text++ = hex[*bytes++ & 0x0f];
    }

    return text;
}


/*
 * OpenSSL makes many of them at once for a seventh of what the kernel takes.
 * A child must not hand out what its parent does: it finds a page of zeroes,
 * as if nothing was left.  Where the kernel can't do that, nothing is kept.
 */

static unsigned char *
cycles_random(size_t n)
{
    size_t                   want;
    static cycles_random_t  *kept, single;

    if (kept == NULL) {
        kept = cycles_random_page();

        if (kept == NULL) {
            kept = &single;
        }
    }

    if (kept->left < n) {
        want = (kept == &single) ? n : sizeof(kept->bytes);

        if (RAND_bytes(kept->bytes, (int) want) != 1) {
            return NULL;
        }

        kept->left = want;
    }

    kept->left -= n;

    return kept->bytes + kept->left;
}


static cycles_random_t *
cycles_random_page(void)
{
#ifdef MADV_WIPEONFORK

    void  *page;

    page = mmap(NULL, sizeof(cycles_random_t), PROT_READ|PROT_WRITE,
                MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return NULL;
    }

    if (madvise(page, sizeof(cycles_random_t), MADV_WIPEONFORK) == 0) {
        return page;
    }

    (void) munmap(page, sizeof(cycles_random_t));

#endif

    return NULL;
}


size_t
cycles_json_escaped(const unsigned char *s, size_t n)
{
    size_t                k, len;
    const unsigned char  *p, *last, *plain;

    p = s;
    last = s + n;
    len = 0;

    for ( ;; ) {

        plain = cycles_json_plain(p, last);
        len += (size_t) (plain - p);
        p = plain;

        if (p == last) {
            return len;
        }

        if (*p >= 0x80) {
            k = cycles_utf8_char(p, (size_t) (last - p));
            len += k ? k : 3;
            p += k ? k : 1;
            continue;
        }

        len += (*p < 0x20) ? 6 : 2;
        p++;
    }
}


unsigned char *
cycles_json_escape(unsigned char *to, const unsigned char *s, size_t n)
{
    size_t                k;
    const unsigned char  *p, *last, *plain;

    static const char  hex[] = "0123456789abcdef";

    p = s;
    last = s + n;

    for ( ;; ) {

        plain = cycles_json_plain(p, last);
        k = (size_t) (plain - p);

        if (k) {
            memcpy(to, p, k);
            to += k;
            p = plain;
        }

        if (p == last) {
            return to;
        }

        if (*p >= 0x80) {
            k = cycles_utf8_char(p, (size_t) (last - p));

            if (k) {
                memcpy(to, p, k);
                to += k;
                p += k;

            } else {
                memcpy(to, "\xef\xbf\xbd", 3);
                to += 3;
                p++;
            }

        } else if (*p < 0x20) {
            memcpy(to, "\\u00", 4);
            to[4] = hex[*p >> 4];
            to[5] = hex[*p & 0x0f];
            to += 6;
            p++;

        } else {
            *to++ = '\\';
            *to++ = *p++;
        }
    }
}


const unsigned char *
cycles_json_plain(const unsigned char *p, const unsigned char *last)
{
    return cycles_scan(p, p, last, CYCLES_SCAN_ASCII);
}


/* the length of the sequence that s starts with; 0: it is not UTF-8 */

size_t
cycles_utf8_char(const unsigned char *s, size_t n)
{
    size_t    i, len;
    uint32_t  u;

    if (s[0] < 0xc2 || s[0] > 0xf4) {
        return 0;
    }

    len = (s[0] < 0xe0) ? 2 : (s[0] < 0xf0) ? 3 : 4;

    if (n < len) {
        return 0;
    }

    u = s[0] & (0x7f >> len);

    for (i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }

        u = u << 6 | (s[i] & 0x3f);
    }

    /* neither overlong, nor a surrogate, nor beyond Unicode */

    if ((len == 3 && (u < 0x800 || (u >= 0xd800 && u < 0xe000)))
        || (len == 4 && (u < 0x10000 || u > 0x10ffff)))
    {
        return 0;
    }

    return len;
}


static int
cycles_name_find(const char *const *names, int n, const unsigned char *name,
    size_t len)
{
    int  i;

    for (i = 0; i < n; i++) {
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
            return i;
        }
    }

    return -1;
}
