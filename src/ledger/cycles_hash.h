
/*
 * Copyright (C) nginx-cycles authors
 *
 * The two checksums of the embedded ledger: CRC32C guards the records of the
 * log against damage; SipHash-2-4 with 128 bits of output, keyed with the
 * ledger's uuid, stands for idempotency keys and payloads, so that a client
 * can't choose values that collide.
 */


#ifndef _CYCLES_HASH_H_INCLUDED_
#define _CYCLES_HASH_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef struct {
    uint8_t   bytes[16];
} cycles_digest_t;


/* most of what is hashed is short, and comes in many pieces */
#define CYCLES_SIPHASH_BYTES  256

typedef struct {
    uint64_t       v[4];
    uint64_t       total;
    size_t         n;                     /* of them that wait */
    unsigned char  bytes[CYCLES_SIPHASH_BYTES];
} cycles_siphash_t;


/* crc is 0 at first, then what the previous call returned */

uint32_t cycles_crc32c(uint32_t crc, const void *data, size_t len);

/* the same on a processor that has no instruction for it */

uint32_t cycles_crc32c_by_table(uint32_t crc, const void *data, size_t len);

/* key has 16 bytes */

void cycles_siphash_init(cycles_siphash_t *h, const uint8_t *key);
void cycles_siphash_update(cycles_siphash_t *h, const void *data, size_t len);

/* eight bytes, the lowest first */

void cycles_siphash_int(cycles_siphash_t *h, uint64_t n);

void cycles_siphash_final(cycles_siphash_t *h, cycles_digest_t *digest);

/* the same of what is in one piece */

void cycles_siphash(const uint8_t *key, const void *data, size_t len,
    cycles_digest_t *digest);


#endif /* _CYCLES_HASH_H_INCLUDED_ */
