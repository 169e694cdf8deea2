
/*
 * Copyright (C) nginx-cycles authors
 */


#include <sys/wait.h>
#include <unistd.h>

#include "cycles.h"
#include "tap.h"


#define N  200


/* all bytes, in texts of all lengths */

static void
test_hex(void)
{
    char           text[128], want[128];
    size_t         n, k;
    unsigned       i, wrong;
    unsigned char  bytes[48];

    for (wrong = 0, i = 0; i < 256; i++) {
        for (n = 0; n <= sizeof(bytes); n++) {

            for (k = 0; k < n; k++) {
                bytes[k] = (unsigned char) (i + 37 * k);
                snprintf(want + 2 * k, 3, "%02x", bytes[k]);
            }

            memset(text, '#', sizeof(text));
            wrong += cycles_hex_write(bytes, n, text) != text + 2 * n;
            wrong += memcmp(text, want, 2 * n) != 0 || text[2 * n] != '#';
        }
    }

    is_int(wrong, 0, "hexadecimal digits of all bytes, and no more of them");

    for (k = 0; k < 16; k++) {
        bytes[k] = (unsigned char) (k * 17);
    }

    memset(text, '#', sizeof(text));
    cycles_uuid_write(bytes, text);
    ok(memcmp(text, "00112233-4455-6677-8899-aabbccddeeff#", 37) == 0,
       "a UUID: %.36s", text);
}


int
main(void)
{
    int            pipes[2], i, k, good, same;
    unsigned char  id[N][CYCLES_UUID_LEN], other[N][CYCLES_UUID_LEN];

    /* so that parent and child have the same to give away */

    (void) cycles_uuid(id[0]);

    if (pipe(pipes) != 0) {
        return 1;
    }

    if (fork() == 0) {

        for (i = 0; i < N; i++) {
            if (cycles_uuid(id[i]) != 0) {
                _exit(1);
            }
        }

        _exit(write(pipes[1], id, sizeof(id)) != sizeof(id));
    }

    good = 1;

    for (i = 0; i < N; i++) {
        good = good && cycles_uuid(id[i]) == 0
               && id[i][8] == '-' && id[i][13] == '-' && id[i][14] == '4'
               && id[i][18] == '-' && strchr("89ab", id[i][19])
               && id[i][23] == '-';
    }

    ok(good, "%d UUIDs of version 4", N);

    is_int(read(pipes[0], other, sizeof(other)), sizeof(other),
           "a child has made as many");
    (void) wait(NULL);

    same = 0;

    for (i = 0; i < N; i++) {
        for (k = 0; k < N; k++) {
            same += (memcmp(id[i], other[k], CYCLES_UUID_LEN) == 0);
            same += (k < i && memcmp(id[i], id[k], CYCLES_UUID_LEN) == 0);
        }
    }

    is_int(same, 0, "none of them twice");

    {
    unsigned char  parent[N][CYCLES_TRACEPARENT_LEN];

    good = 1;
    same = 0;

    for (i = 0; i < N; i++) {
        good = good && cycles_traceparent(parent[i]) == 0
               && memcmp(parent[i], "00-", 3) == 0
               && strspn((char *) parent[i] + 3, "0123456789abcdef") == 32
               && parent[i][35] == '-'
               && strspn((char *) parent[i] + 36, "0123456789abcdef") == 16
               && memcmp(parent[i] + 52, "-01", 3) == 0
               && strchr("13579bdf", parent[i][34])
               && strchr("13579bdf", parent[i][51]);

        for (k = 0; k < i; k++) {
            same += (memcmp(parent[i] + 3, parent[k] + 3, 32) == 0);
            same += (memcmp(parent[i] + 36, parent[k] + 36, 16) == 0);
        }
    }

    ok(good, "%d trace parents, of which no id is zero", N);
    is_int(same, 0, "none of them twice");
    }

    test_hex();

    return done_testing();
}
