
/*
 * Copyright (C) nginx-cycles authors
 *
 * The ledger's checksums against published values, in one piece and in parts.
 */


#include "ledger.h"


static void
siphash(const char *want, size_t len, size_t step)
{
    char              text[40];
    size_t            i, n;
    uint8_t           key[16], data[64];
    cycles_digest_t   digest;
    cycles_siphash_t  h;

    for (i = 0; i < 16; i++) {
        key[i] = i;
    }

    for (i = 0; i < 64; i++) {
        data[i] = i;
    }

    cycles_siphash_init(&h, key);

    for (i = 0; i < len; i += n) {
        n = len - i < step ? len - i : step;
        cycles_siphash_update(&h, data + i, n);
    }

    cycles_siphash_final(&h, &digest);

    for (i = 0; i < 16; i++) {
        sprintf(text + i * 2, "%02x", digest.bytes[i]);
    }

    is_str(text, want, "siphash of %zu bytes in steps of %zu", len, step);
}


int
main(void)
{
    size_t       i;
    const char  *text = "123456789";

    /* "check" of CRC-32C in the catalogue of CRCs, and RFC 3720 B.4 */

    is_int(cycles_crc32c(0, text, 9), 0xe3069283, "crc of 123456789");

    for (i = 0; i <= 9; i++) {
        is_int(cycles_crc32c(cycles_crc32c(0, text, i), text + i, 9 - i),
               0xe3069283, "crc in parts of %zu", i);
    }

    {
    unsigned char  zero[32], ones[32], up[32];

    memset(zero, 0, 32);
    memset(ones, 0xff, 32);

    for (i = 0; i < 32; i++) {
        up[i] = i;
    }

    is_int(cycles_crc32c(0, zero, 32), 0x8a9136aa, "crc of zeroes");
    is_int(cycles_crc32c(0, ones, 32), 0x62a8ab43, "crc of ones");
    is_int(cycles_crc32c(0, up, 32), 0x46dd794e, "crc of 0 to 31");
    is_int(cycles_crc32c_by_table(0, up, 32), 0x46dd794e, "by table");
    is_int(cycles_crc32c_by_table(0, text, 9), 0xe3069283, "of odd length");
    }

    /* in parts side by side, and in one go */

    {
    size_t                wrong;
    uint32_t              crc;
    static unsigned char  random[7000];

    crc = 1;

    for (i = 0; i < sizeof(random); i++) {
        crc = crc * 1103515245 + 12345;
        random[i] = crc >> 16;
    }

    for (wrong = 0, i = 0; i < 6900; i++) {
        crc = cycles_crc32c_by_table(crc, random + i % 17, i);
        wrong += (cycles_crc32c(~crc, random + i % 13, i)
                  != cycles_crc32c_by_table(~crc, random + i % 13, i));
    }

    is_int(wrong, 0, "crc of any length");
    }

    /* vectors_sip128 of the reference implementation of SipHash */

    for (i = 1; i < 10; i++) {
        siphash("a3817f04ba25a8e66df67214c7550293", 0, i);
        siphash("da87c1d86b99af44347659119b22fc45", 1, i);
        siphash("5150d1772f50834a503e069a973fbd7c", 63, i);
    }

    return done_testing();
}
