
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cycles_hash.h"


#define CYCLES_CRC32C_POLY   0x82f63b78

/* what is shorter is summed in one go; words of a part of what is longer */
#define CYCLES_CRC32C_PARTS  96
#define CYCLES_CRC32C_WORDS  128


static void cycles_crc32c_init(void);
static inline uint64_t cycles_load64(const unsigned char *p);
static inline void cycles_store64(uint8_t *p, uint64_t n);
static inline uint64_t cycles_rotate(uint64_t n, unsigned bits);
static inline void cycles_siphash_begin(uint64_t *v, const uint8_t *key);
static inline void cycles_siphash_last(uint64_t *state,
    const unsigned char *p, size_t n, uint64_t all, cycles_digest_t *digest);
static inline void cycles_siphash_round(uint64_t *v);
static inline void cycles_siphash_word(uint64_t *v, uint64_t word);
static void cycles_siphash_words(cycles_siphash_t *h, const unsigned char *p,
    size_t n);


/* eight tables: eight bytes for each step */

static uint32_t      cycles_crc32c_table[8][256];

/* x^(64 n - 33) by n */

static uint32_t      cycles_crc32c_powers[2 * CYCLES_CRC32C_WORDS + 1];

static volatile int  cycles_crc32c_ready;


#if defined(__x86_64__)

/*
 * Processors since 2008 have an instruction for it, and since 2010 one that
 * multiplies such sums.  One of them waits for the one before it, so three
 * parts of a record are summed side by side.  To go on behind n words, a sum
 * is multiplied by x^(64 n): of that, x^33 is in how both instructions do it.
 */

__attribute__((target("sse4.2,pclmul")))
static uint32_t
cycles_crc32c_by_instruction(uint32_t crc, const unsigned char *p, size_t len)
{
    size_t                i, n;
    __m128i               product;
    uint64_t              sum, second, third;
    const unsigned char  *q, *r;

    sum = (uint32_t) ~crc;

    while (len >= CYCLES_CRC32C_PARTS) {
        n = len / 24;

        if (n > CYCLES_CRC32C_WORDS) {
            n = CYCLES_CRC32C_WORDS;
        }

        second = 0;
        third = 0;

        q = p + 8 * n;
        r = q + 8 * n;

        for (i = 0; i < n; i++) {
            sum = _mm_crc32_u64(sum, cycles_load64(p + 8 * i));
            second = _mm_crc32_u64(second, cycles_load64(q + 8 * i));
            third = _mm_crc32_u64(third, cycles_load64(r + 8 * i));
        }

        product = _mm_xor_si128(
                      _mm_clmulepi64_si128(
                          _mm_cvtsi64_si128(sum),
                          _mm_cvtsi64_si128(cycles_crc32c_powers[2 * n]), 0),
                      _mm_clmulepi64_si128(
                          _mm_cvtsi64_si128(second),
                          _mm_cvtsi64_si128(cycles_crc32c_powers[n]), 0));

        sum = third ^ _mm_crc32_u64(0, _mm_cvtsi128_si64(product));

        p += 24 * n;
        len -= 24 * n;
    }

    while (len >= 8) {
        sum = __builtin_ia32_crc32di(sum, cycles_load64(p));
        p += 8;
        len -= 8;
    }

    crc = (uint32_t) sum;

    while (len--) {
        crc = __builtin_ia32_crc32qi(crc, *p++);
    }

    return ~crc;
}

#endif


uint32_t
cycles_crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)

    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
    {

        if (!cycles_crc32c_ready) {
            cycles_crc32c_init();
        }

        return cycles_crc32c_by_instruction(crc, data, len);
    }

#endif

    return cycles_crc32c_by_table(crc, data, len);
}


uint32_t
cycles_crc32c_by_table(uint32_t crc, const void *data, size_t len)
{
    uint64_t              word;
    const unsigned char  *p;

    if (!cycles_crc32c_ready) {
        cycles_crc32c_init();
    }

    p = data;
    crc = ~crc;

    while (len >= 8) {
        word = cycles_load64(p) ^ crc;

        crc = cycles_crc32c_table[7][word & 0xff]
              ^ cycles_crc32c_table[6][(word >> 8) & 0xff]
              ^ cycles_crc32c_table[5][(word >> 16) & 0xff]
              ^ cycles_crc32c_table[4][(word >> 24) & 0xff]
              ^ cycles_crc32c_table[3][(word >> 32) & 0xff]
              ^ cycles_crc32c_table[2][(word >> 40) & 0xff]
              ^ cycles_crc32c_table[1][(word >> 48) & 0xff]
              ^ cycles_crc32c_table[0][word >> 56];

        p += 8;
        len -= 8;
    }

    while (len--) {
        crc = (crc >> 8) ^ cycles_crc32c_table[0][(crc ^ *p++) & 0xff];
    }

    return ~crc;
}


/* two threads that come here at once write the same values */

static void
cycles_crc32c_init(void)
{
    uint32_t  crc;
    unsigned  i, k;

    for (i = 0; i < 256; i++) {
        crc = i;

        for (k = 0; k < 8; k++) {
            crc = (crc >> 1) ^ ((crc & 1) ? CYCLES_CRC32C_POLY : 0);
        }

        cycles_crc32c_table[0][i] = crc;
    }

    /* x^31, of which the lowest bit is the highest power, and x^64 more */

    crc = 1;

    for (i = 1; i <= 2 * CYCLES_CRC32C_WORDS; i++) {
        cycles_crc32c_powers[i] = crc;

        for (k = 0; k < 64; k++) {
            crc = (crc >> 1) ^ ((crc & 1) ? CYCLES_CRC32C_POLY : 0);
        }
    }

    for (i = 0; i < 256; i++) {
        crc = cycles_crc32c_table[0][i];

        for (k = 1; k < 8; k++) {
            crc = (crc >> 8) ^ cycles_crc32c_table[0][crc & 0xff];
            cycles_crc32c_table[k][i] = crc;
        }
    }

    __atomic_store_n(&cycles_crc32c_ready, 1, __ATOMIC_RELEASE);
}


void
cycles_siphash_init(cycles_siphash_t *h, const uint8_t *key)
{
    cycles_siphash_begin(h->v, key);

    h->total = 0;
    h->n = 0;
}


void
cycles_siphash_update(cycles_siphash_t *h, const void *data, size_t len)
{
    size_t                n;
    const unsigned char  *p;

    p = data;
    n = CYCLES_SIPHASH_BYTES - h->n;
    h->total += len;

    if (len >= n) {
        memcpy(h->bytes + h->n, p, n);
        cycles_siphash_words(h, h->bytes, CYCLES_SIPHASH_BYTES / 8);

        p += n;
        len -= n;

        cycles_siphash_words(h, p, len / 8);

        p += len & ~(size_t) 7;
        len &= 7;
        h->n = 0;
    }

    if (len) {
        memcpy(h->bytes + h->n, p, len);
        h->n += len;
    }
}


void
cycles_siphash_int(cycles_siphash_t *h, uint64_t n)
{
    unsigned char  bytes[8];

    if (CYCLES_SIPHASH_BYTES - h->n > 8) {
        cycles_store64(h->bytes + h->n, n);
        h->n += 8;
        h->total += 8;
        return;
    }

    cycles_store64(bytes, n);
    cycles_siphash_update(h, bytes, 8);
}


void
cycles_siphash_final(cycles_siphash_t *h, cycles_digest_t *digest)
{
    cycles_siphash_last(h->v, h->bytes, h->n, h->total, digest);
}


void
cycles_siphash(const uint8_t *key, const void *data, size_t len,
    cycles_digest_t *digest)
{
    uint64_t  v[4];

    cycles_siphash_begin(v, key);
    cycles_siphash_last(v, data, len, len, digest);
}


static inline void
cycles_siphash_begin(uint64_t *v, const uint8_t *key)
{
    uint64_t  k0, k1;

    k0 = cycles_load64(key);
    k1 = cycles_load64(key + 8);

    v[0] = k0 ^ 0x736f6d6570736575ULL;
    v[1] = k1 ^ 0x646f72616e646f6dULL ^ 0xee;
    v[2] = k0 ^ 0x6c7967656e657261ULL;
    v[3] = k1 ^ 0x7465646279746573ULL;
}


/* the last n bytes of all */

static inline void
cycles_siphash_last(uint64_t *state, const unsigned char *p, size_t n,
    uint64_t all, cycles_digest_t *digest)
{
    uint64_t       v[4];
    unsigned       i;
    unsigned char  tail[8];

    memcpy(v, state, sizeof(v));

    for ( /* void */ ; n >= 8; n -= 8, p += 8) {
        cycles_siphash_word(v, cycles_load64(p));
    }

    memset(tail, 0, sizeof(tail));

    for (i = 0; i < n; i++) {
        tail[i] = p[i];
    }

    cycles_siphash_word(v, cycles_load64(tail) | all << 56);

    v[2] ^= 0xee;
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    cycles_store64(digest->bytes, v[0] ^ v[1] ^ v[2] ^ v[3]);

    v[1] ^= 0xdd;
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    cycles_store64(digest->bytes + 8, v[0] ^ v[1] ^ v[2] ^ v[3]);
}


static void
cycles_siphash_words(cycles_siphash_t *h, const unsigned char *p, size_t n)
{
    uint64_t  v[4];

    memcpy(v, h->v, sizeof(v));

    for ( /* void */ ; n; n--, p += 8) {
        cycles_siphash_word(v, cycles_load64(p));
    }

    memcpy(h->v, v, sizeof(v));
}


static inline void
cycles_siphash_word(uint64_t *v, uint64_t word)
{
    v[3] ^= word;
    cycles_siphash_round(v);
    cycles_siphash_round(v);
    v[0] ^= word;
}


static inline void
cycles_siphash_round(uint64_t *v)
{
    v[0] += v[1];
    v[1] = cycles_rotate(v[1], 13) ^ v[0];
    v[0] = cycles_rotate(v[0], 32);

    v[2] += v[3];
    v[3] = cycles_rotate(v[3], 16) ^ v[2];

    v[0] += v[3];
    v[3] = cycles_rotate(v[3], 21) ^ v[0];

    v[2] += v[1];
    v[1] = cycles_rotate(v[1], 17) ^ v[2];
    v[2] = cycles_rotate(v[2], 32);
}


static inline uint64_t
cycles_rotate(uint64_t n, unsigned bits)
{
    return (n << bits) | (n >> (64 - bits));
}


static inline uint64_t
cycles_load64(const unsigned char *p)
{
    uint64_t  n;

    memcpy(&n, p, 8);

#if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    n = __builtin_bswap64(n);
#endif

    return n;
}


static inline void
cycles_store64(uint8_t *p, uint64_t n)
{
#if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    n = __builtin_bswap64(n);
#endif

    memcpy(p, &n, 8);
}
