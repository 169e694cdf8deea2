
/*
 * Copyright (C) nginx-cycles authors
 *
 * The log of the ledger: what comes back after a restart, what is cut, and
 * what is refused.
 */


#include "ledger.h"


static void
fill(cycles_ledger_t *l)
{
    unsigned          i;
    char              key[32], id[40];

    led_budgets(l, "{\"tenants\":[{\"tenant_id\":\"a\",\"name\":\"Aa\","
                "\"max_reservation_extensions\":9}],"
                "\"admin_key_sha256\":\"00112233445566778899aabbccddeeff"
                "00112233445566778899aabbccddeeff\","
                "\"api_keys\":[{\"tenant_id\":\"a\",\"name\":\"dev\","
                "\"secret_sha256\":\"10112233445566778899aabbccddeeff"
                "00112233445566778899aabbccddeeff\"}],"
                "\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":100000},"
                "\"caps\":{\"max_tokens\":512,\"above_percent\":50}},"
                "{\"scope\":\"tenant:a/app:b\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":90000},"
                "\"overdraft_limit\":{\"unit\":\"TOKENS\",\"amount\":50},"
                "\"commit_overage_policy\":\"REJECT\"}]}");

    for (i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve_as(l, "a//b", key, 100 + i, i % 3, T0 + i);
        strcpy(id, led_rs.id);

        switch (i % 6) {
        case 0: led_commit(l, id, "c", 50 + i, T0 + i); break;
        case 1: led_commit(l, id, "c", 200 + i, T0 + i); break;
        case 2: led_release(l, id, "r", T0 + i); break;
        case 3: led_extend(l, id, "x", 5000, T0 + i);
                led_extend(l, id, "y", 5000, T0 + i); break;
        case 4: led_event(l, "a//b", key, 10, i % 3, T0 + i); break;
        }
    }

    led_reserve(l, "a", "short", 1, T0 - 100000);
    cycles_ledger_expire(l, T0, 100, &(int64_t) { 0 });
}


static int
copy(const char *from, const char *to, off_t max)
{
    int      in, out;
    char     buf[65536];
    ssize_t  n;

    in = open(from, O_RDONLY);
    out = open(to, O_WRONLY|O_CREAT|O_TRUNC, 0600);

    while (max > 0
           && (n = read(in, buf, max < (off_t) sizeof(buf)
                                 ? max : (off_t) sizeof(buf))) > 0)
    {
        if (write(out, buf, n) != n) {
            break;
        }

        max -= n;
    }

    close(in);
    close(out);

    return 0;
}


static void
poke(const char *path, off_t offset, const void *data, size_t len)
{
    int  fd;

    fd = open(path, O_WRONLY);

    if (pwrite(fd, data, len, offset) != (ssize_t) len) {
        printf("# poke failed\n");
    }

    close(fd);
}


static void
test_reopen(void)
{
    char             *before, *after;
    unsigned          i;
    uint8_t           sha[32];
    cycles_ledger_t  *l;

    l = led_fresh(NULL);
    fill(l);

    for (i = 0; i < 3; i++) {
        before = led_dump(l);
        cycles_ledger_close(l);
        l = led_open();
        after = led_dump(l);

        is_str(after, before, "the state after restart %u", i);
        is_str(led_said, "", "nothing to say about it");
        free(before);
        free(after);

        led_commit(l, led_rs.id, "more", 1, T0);
    }

    ok(l->shm->admin_key[1] == 0x11, "the admin key");
    memcpy(sha, l->shm->admin_key, 32);
    sha[0] = 0x10;
    ok(cycles_api_key_find(l, sha) != NULL, "the api key");
    ok(cycles_tenant_find(l, (unsigned char *) "a", 1)->max_extensions == 9,
       "the tenant");

    is_int(led_reserve_as(l, "a//b", "k3", 103, 0, T0 + 3), CYCLES_OK,
           "a reserve is replayed from before the restart");
    is_int(led_extend(l, led_rs.id, "x", 5000, T0 + 3), CYCLES_OK,
           "so is an extension");
    is_int(led_st.expires_at_ms, T0 + 15003, "with its own expiry");
    is_int(led_event(l, "a//b", "k4", 10, 4 % 3, T0 + 4), CYCLES_OK,
           "and an event");
    is_int(led_reserve_as(l, "a//b", "k0", 100, 0, T0), CYCLES_OK,
           "and a committed one");
    is_int(led_commit(l, led_rs.id, "c", 50, T0), CYCLES_OK,
           "and its commit");
    is_int(led_st.charged, 50, "with its charge");

    cycles_ledger_close(l);
}


/* how many of the bytes from an offset on are zero, at most max */

static off_t
zeroes(const char *name, off_t offset, off_t max)
{
    int            fd;
    off_t          n;
    unsigned char  ch;

    fd = open(name, O_RDONLY);

    for (n = 0; n < max; n++) {
        if (pread(fd, &ch, 1, offset + n) != 1 || ch != 0) {
            break;
        }
    }

    close(fd);

    return n;
}


/*
 * The last record cut at each of its bytes.  One in 256 begins with a zero,
 * and looks like a file that is longer than what was written if it is cut
 * behind that: the second time, it is such a one.
 */

static void
test_torn(off_t first)
{
    char              saved[300], key[16], *whole, *before, *after;
    off_t             start, end, cut, blank;
    unsigned          n, wrong, quiet;
    cycles_ledger_t  *l;
    char              segment[600];

    l = led_fresh(NULL);
    fill(l);
    before = NULL;
    strcpy(segment, led_segment(l));

    n = 0;

    do {
        free(before);
        before = led_dump(l);
        start = led_size(segment);

        snprintf(key, sizeof(key), "last-%u", n++);
        led_reserve(l, "a//b", key, 7, T0 + 100);

        blank = zeroes(segment, start, 4);

    } while (blank != first && n < 20000);

    is_int(blank, first, "zeroes at the beginning of the last record");

    whole = led_dump(l);
    end = led_size(segment);
    cycles_ledger_close(l);

    snprintf(saved, sizeof(saved), "%s/saved", led_dir);
    copy(segment, saved, end);

    for (wrong = quiet = 0, cut = start; cut <= end; cut++) {
        copy(saved, segment, cut);

        l = led_open_size(4 * 1024 * 1024, 0);

        if (l == NULL) {
            printf("# cut at %ld: %s\n", (long) cut, led_err);
            wrong++;
            continue;
        }

        after = led_dump(l);
        wrong += strcmp(after, cut == end ? whole : before) != 0;
        quiet += (strstr(led_said, "torn") == NULL)
                 != (cut <= start + blank || cut == end);
        free(after);

        wrong += led_size(segment) != (cut == end ? end
                                       : cut <= start + blank ? cut : start);
        wrong += led_reserve(l, "a//b", "next", 7, T0 + 100) != CYCLES_OK;

        cycles_ledger_close(l);
    }

    is_int(wrong, 0, "cut at each of %ld bytes", (long) (end - start));
    is_int(quiet, 0, "a warning each time");

    /* damaged in place, at each byte; then garbage and zeroes behind it */

    for (wrong = 0, cut = start; cut < end; cut++) {
        copy(saved, segment, end);
        poke(segment, cut, "\xa5\x5a", 2);

        (void) !truncate(segment, end);

        l = led_open_size(4 * 1024 * 1024, 0);

        if (l == NULL) {
            wrong++;
            continue;
        }

        after = led_dump(l);
        wrong += strcmp(after, before) != 0;
        free(after);
        cycles_ledger_close(l);
    }

    is_int(wrong, 0, "damaged at each byte");

    for (wrong = 0, cut = 1; cut < 5000; cut = cut * 3 + 1) {
        copy(saved, segment, end);
        (void) !truncate(segment, end + cut);

        l = led_open_size(4 * 1024 * 1024, 0);
        wrong += (l == NULL);

        if (l) {
            after = led_dump(l);
            wrong += strcmp(after, whole) != 0;
            free(after);
            cycles_ledger_close(l);
        }
    }

    is_int(wrong, 0, "zeroes behind the last record");

    free(before);
    free(whole);
}


static void
refused(const char *name, const char *want)
{
    cycles_ledger_t  *l;

    l = led_open_size(4 * 1024 * 1024, 0);

    ok(l == NULL, "%s: refused", name);

    if (l) {
        cycles_ledger_close(l);
        return;
    }

    ok(strstr(led_err, want) != NULL, "it says \"%s\"", want);

    if (strstr(led_err, want) == NULL) {
        printf("# %s\n", led_err);
    }

    printf("# %s\n", led_err);
}


/* gives a record of the file another member and a right checksum */

static void
forge(const char *path, off_t offset, off_t member, uint8_t value)
{
    int            fd;
    size_t         len;
    unsigned char  buf[CYCLES_RECORD_MAX];

    fd = open(path, O_RDWR);

    if (pread(fd, buf, CYCLES_RECORD_HEAD, offset) == CYCLES_RECORD_HEAD) {
        len = cycles_get32(buf + 4);

        if (pread(fd, buf, len, offset) == (ssize_t) len) {
            buf[member] = value;
            cycles_put32(buf, cycles_crc32c(0, buf + 4, len - 4));

            if (pwrite(fd, buf, len, offset) != (ssize_t) len) {
                printf("# forge failed\n");
            }
        }
    }

    close(fd);
}


static void
test_refused(void)
{
    char              saved[300], segment[600], name[700];
    off_t             start, end;
    unsigned char     head[CYCLES_SEGMENT_HEAD];
    int               fd;
    cycles_ledger_t  *l;

    l = led_fresh(NULL);
    fill(l);
    strcpy(segment, led_segment(l));
    start = led_size(segment);
    led_reserve(l, "a", "one", 7, T0 + 100);
    led_reserve(l, "a", "two", 7, T0 + 100);
    end = led_size(segment);
    cycles_ledger_close(l);

    snprintf(saved, sizeof(saved), "%s/saved", led_dir);
    copy(segment, saved, end);

    poke(segment, start + 50, "\xff\xff\xff", 3);
    refused("damage before a valid record", "valid records follow");
    snprintf(name, sizeof(name), "offset %ld", (long) start);
    refused("its offset", name);
    snprintf(name, sizeof(name), "truncate -s %ld", (long) start);
    refused("what to do", name);
    is_int(led_size(segment), end, "the file is left alone");

    (void) !truncate(segment, start);
    l = led_open_size(4 * 1024 * 1024, 0);
    ok(l != NULL, "doing it helps");
    cycles_ledger_close(l);

    copy(saved, segment, end);
    poke(segment, start + 4, "\xff\xff\xff\xff", 4);
    refused("a damaged length", "bad length");

    copy(saved, segment, end);
    forge(segment, start, 24, 77);
    refused("an unknown type", "newer version");

    copy(saved, segment, end);
    forge(segment, start, 26, 2);
    refused("an unknown version of a type", "newer version");

    copy(saved, segment, end);
    forge(segment, start, 8, 3);
    refused("another sequence number", "out of sequence");

    copy(saved, segment, end);
    forge(segment, start, CYCLES_RECORD_HEAD + 16, 255);
    refused("a malformed record", "malformed");

    copy(saved, segment, end);
    poke(segment, 3, "x", 1);
    refused("a damaged header", "header");

    copy(saved, segment, end);
    fd = open(segment, O_RDWR);
    ok(pread(fd, head, sizeof(head), 0) == sizeof(head), "header");
    head[8] = CYCLES_LOG_VERSION + 1;
    cycles_put32(head + 60, cycles_crc32c(0, head, 60));
    ok(pwrite(fd, head, sizeof(head), 0) == sizeof(head), "header");
    close(fd);
    refused("another version of the format", "format version 4");

    copy(saved, segment, end);
    snprintf(name, sizeof(name), "%s/log-%020d.bin", led_dir, 5);
    rename(segment, name);
    refused("the first file is missing", "\"ledger.db\" is missing");

    unlink(name);
    l = led_open_size(4 * 1024 * 1024, 0);
    ok(l != NULL, "an empty directory is a new ledger");
    cycles_ledger_close(l);
}


static void
test_segments(void)
{
    char              key[32], *before, *after, first[600], name[600];
    char              want[100];
    unsigned          i, n;
    uint64_t          list[1000], current;
    DIR              *dir;
    cycles_ledger_t  *l;
    struct dirent    *de;

    led_clean();
    l = led_open_size(4 * 1024 * 1024, 4096);
    led_define(l, "tenant:a 100000000 0");
    strcpy(first, led_segment(l));

    for (i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve(l, "a", key, 10, T0 + i);

        if (i % 2) {
            led_commit(l, led_rs.id, "c", 9, T0 + i);
        }
    }

    ok(strcmp(first, led_segment(l)) != 0, "the log was rotated");
    ok(led_size(first) < 8192, "at the size that was asked for");
    before = led_dump(l);
    cycles_ledger_close(l);

    l = led_open_size(4 * 1024 * 1024, 4096);
    after = led_dump(l);
    is_str(after, before, "all files are read");

    is_int(cycles_ledger_sync(l), 0, "sync");

    /* syncs of several files at once */

    for (i = 300; i < 600; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve(l, "a", key, 10, T0 + i);

        if (i % 100 == 50) {
            ok(cycles_ledger_synced(l) < cycles_ledger_written(l),
               "not yet synced");
            ok(l->shm->npending > 0, "files are left to be synced");
            is_int(cycles_ledger_sync(l), 0, "sync");
            is_int(l->shm->npending, 0, "no file is left");
            is_int(cycles_ledger_synced(l), cycles_ledger_written(l),
                   "synced");
        }
    }

    free(after);
    after = led_dump(l);
    current = l->shm->segment;
    cycles_ledger_close(l);

    dir = opendir(led_dir);

    for (n = 0; (de = readdir(dir)) != NULL; ) {
        if (strncmp(de->d_name, "log-", 4) == 0) {
            list[n++] = strtoull(de->d_name + 4, NULL, 10);
        }
    }

    closedir(dir);
    ok(n > 10, "%u files", n);

    /* one in the middle is missing, is torn, is of another ledger */

    for (i = 0; list[i] == 1 || list[i] == current; i++) {
        /* void */
    }

    snprintf(name, sizeof(name), "%s/log-%020" PRIu64 ".bin", led_dir,
             list[i]);
    snprintf(want, sizeof(want), "records from %" PRIu64 " on is missing",
             list[i]);
    snprintf(first, sizeof(first), "%s/saved", led_dir);

    rename(name, first);
    refused("a file is missing", want);
    copy(first, name, led_size(first) - 3);
    refused("a file in the middle is torn", "later files follow");
    copy(first, name, led_size(first));
    poke(name, 16, "otheruuid", 9);
    refused("another header", "header");

    rename(first, name);
    l = led_open_size(4 * 1024 * 1024, 4096);
    free(before);
    before = led_dump(l);
    is_str(before, after, "put right, all is read");

    /* a crash while the next file was created */

    snprintf(name, sizeof(name), "%s/log-%020" PRIu64 ".bin", led_dir,
             cycles_ledger_written(l) + 1);
    strcpy(first, led_segment(l));
    cycles_ledger_close(l);

    for (i = 0; i < CYCLES_SEGMENT_HEAD; i += 21) {
        copy(first, name, i);
        l = led_open_size(4 * 1024 * 1024, 4096);
        ok(l != NULL, "a last file of %u bytes", i);
        ok(strstr(led_said, "no header yet") != NULL, "it is reported");
        ok(led_size(name) == -1, "and removed");
        cycles_ledger_close(l);
    }

    l = led_open_size(4 * 1024 * 1024, 4096);
    is_int(led_reserve(l, "a", "again", 10, T0), CYCLES_OK, "it goes on");
    cycles_ledger_close(l);

    free(before);
    free(after);
}


/* another process goes on to the next file */

static void
test_follow_segments(void)
{
    char              key[32], *before, *after;
    unsigned          i;
    cycles_ledger_t  *l, *other;

    led_clean();
    l = led_open_size(4 * 1024 * 1024, 4096);
    led_define(l, "tenant:a 100000000 0");
    fflush(stdout);

    if (fork() == 0) {
        for (i = 0; i < 100; i++) {
            snprintf(key, sizeof(key), "c%u", i);
            led_reserve(l, "a", key, 1, T0);
        }

        _exit(0);
    }

    wait(NULL);
    is_int(led_reserve(l, "a", "parent", 1, T0), CYCLES_OK,
           "the parent follows");
    is_str(led_balance(l, "tenant:a"), "r99999899 h101 s0 d0", "the sum");
    before = led_dump(l);
    cycles_ledger_close(l);
    other = led_open_size(4 * 1024 * 1024, 4096);
    after = led_dump(other);
    is_str(after, before, "and so does the next start");
    cycles_ledger_close(other);

    free(before);
    free(after);
}


/* who has it, who may not, and who takes it over */

static void
test_owner(void)
{
    int                    fd[2], back[2], status;
    char                   want[200], c;
    pid_t                  pid;
    uint64_t               written;
    cycles_ledger_t       *l, *second;
    cycles_ledger_conf_t   conf;

    l = led_fresh("tenant:a 1000 0");
    led_reserve(l, "a", "k", 10, T0);

    second = led_open_size(4 * 1024 * 1024, 0);
    ok(second == NULL, "a second one can't open it");
    snprintf(want, sizeof(want), "is in use by the nginx with pid %d",
             (int) getpid());
    ok(strstr(led_err, want) != NULL, "it says by whom");

    memset(&conf, 0, sizeof(conf));
    conf.path = led_dir;
    conf.zone_size = 8 * 1024 * 1024;
    conf.upgrade = 1;
    conf.log = led_log;
    ok(cycles_ledger_open(&conf, led_err, sizeof(led_err)) == NULL,
       "an upgrade with another zone");
    ok(strstr(led_err, "4194304") != NULL, "it says the size");

    conf.zone_size = 4 * 1024 * 1024;
    second = cycles_ledger_open(&conf, led_err, sizeof(led_err));
    ok(second != NULL, "an upgrade");

    is_int(led_reserve(second, "a", "k2", 20, T0), CYCLES_OK, "uses it");
    is_str(led_balance(l, "tenant:a"), "r970 h30 s0 d0", "the same memory");
    is_int(led_reserve(l, "a", "k3", 30, T0), CYCLES_OK, "both do");
    written = cycles_ledger_written(second);

    cycles_ledger_close(l);
    is_int(led_reserve(second, "a", "k4", 40, T0), CYCLES_OK,
           "the new one goes on");
    ok(led_open_size(4 * 1024 * 1024, 0) == NULL, "and keeps it");
    cycles_ledger_close(second);

    l = led_open();
    is_int(cycles_ledger_written(l), written + 1, "all is in the log");
    is_str(led_balance(l, "tenant:a"), "r900 h100 s0 d0", "the state");

    /* workers that outlive their master keep it */

    cycles_ledger_close(l);
    ok(pipe(fd) == 0 && pipe(back) == 0, "pipes");
    fflush(stdout);

    pid = fork();

    if (pid == 0) {
        l = led_open();

        if (fork() == 0) {
            close(back[1]);
            (void) !write(fd[1], "x", 1);
            (void) !read(back[0], &c, 1);
            _exit(0);
        }

        _exit(0);
    }

    (void) !read(fd[0], &c, 1);
    waitpid(pid, &status, 0);

    second = led_open_size(4 * 1024 * 1024, 0);
    ok(second == NULL, "a worker is left");
    ok(strstr(led_err, "left behind") != NULL, "it says so");
    close(back[1]);

    /* open() waits for the dying */

    l = led_open();
    is_str(led_balance(l, "tenant:a"), "r900 h100 s0 d0",
           "it is free when the worker has gone");
    cycles_ledger_close(l);

    conf.path = "/nonexistent/ledger";
    conf.upgrade = 0;
    ok(cycles_ledger_open(&conf, led_err, sizeof(led_err)) == NULL,
       "no directory");
    ok(strstr(led_err, "No such file") != NULL, "it says why");

    conf.path = led_dir;
    conf.zone_size = CYCLES_LEDGER_MIN_ZONE - 1;
    ok(cycles_ledger_open(&conf, led_err, sizeof(led_err)) == NULL,
       "too small a zone");
}


/* a state that needs more memory than the zone has now */

static void
test_smaller_zone(void)
{
    char              key[32];
    unsigned          i;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(16 * 1024 * 1024, 0);
    led_define(l, "tenant:a 100000000 0");

    for (i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve(l, "a", key, 1, T0);
    }

    cycles_ledger_close(l);

    l = led_open_size(CYCLES_LEDGER_MIN_ZONE, 0);
    ok(l == NULL, "20000 live reservations don't fit into 1 MB");
    ok(strstr(led_err, "larger zone") != NULL, "it says so");

    l = led_open_size(16 * 1024 * 1024, 0);
    is_str(led_balance(l, "tenant:a"), "r99980000 h20000 s0 d0",
           "and nothing is lost");
    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_reopen();
    test_torn(0);
    test_torn(1);
    test_refused();
    test_segments();
    test_follow_segments();
    test_owner();
    test_smaller_zone();

    return done_testing();
}
