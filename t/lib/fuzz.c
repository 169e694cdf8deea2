
/*
 * Copyright (C) nginx-cycles authors
 *
 * A fuzzer of t/fuzz without libFuzzer, for the suite: its corpus as it is,
 * then changed at random, for FUZZ_SECONDS (2) of CPU; FUZZ_SEED (1) repeats
 * a run.  What ends it is left in build/fuzz.
 */


#include <dirent.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>


#define MAX_FILES  256
#define MAX_SIZE   65536


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_corpus(const char *name);
static void try_one(size_t size);
static size_t change(size_t size);
static uint32_t pick(uint32_t n);
static void found(void);
static void aborted(int signo);


static struct {
    uint8_t  *data;
    size_t    size;
} files[MAX_FILES];

static unsigned   nfiles;
static uint64_t   state = 1;
static uint8_t    input[MAX_SIZE];
static size_t     input_size;
static char       crash[512];


int
main(int argc, char **argv)
{
    char           *base, *text;
    size_t          i, runs;
    clock_t         end;
    const char     *build;

    base = strrchr(argv[0], '/');
    base = base ? base + 1 : argv[0];
    build = getenv("BUILD");

    snprintf(crash, sizeof(crash), "%s/fuzz/crash-%s",
             build ? build : "build", base);

    text = getenv("FUZZ_SEED");
    state += text ? strtoull(text, NULL, 10) : 1;

    text = getenv("FUZZ_SECONDS");
    end = (clock_t) (text ? atoi(text) : 2) * CLOCKS_PER_SEC;

    read_corpus(base);

    __asan_set_death_callback(found);
    signal(SIGABRT, aborted);

    for (i = 0; i < nfiles; i++) {
        memcpy(input, files[i].data, files[i].size);
        try_one(files[i].size);
    }

    printf("%s 1 - %s: %u files of the corpus\n", nfiles ? "ok" : "not ok",
           base, nfiles);

    for (runs = 0; nfiles && clock() < end; runs++) {
        i = pick(nfiles);
        memcpy(input, files[i].data, files[i].size);
        try_one(change(files[i].size));
    }

    printf("ok 2 - %zu changed ones, seed %s\n1..2\n", runs,
           getenv("FUZZ_SEED") ? getenv("FUZZ_SEED") : "1");

    for (i = 0; i < nfiles; i++) {
        free(files[i].data);
    }

    return 0;
}


static void
read_corpus(const char *name)
{
    DIR            *dir;
    char            path[1024];
    FILE           *file;
    struct dirent  *entry;

    snprintf(path, sizeof(path), "t/fuzz/corpus/%s", name);

    dir = opendir(path);

    if (dir == NULL) {
        return;
    }

    while ((entry = readdir(dir)) && nfiles < MAX_FILES) {

        if (entry->d_name[0] == '.') {
            continue;
        }

        snprintf(path, sizeof(path), "t/fuzz/corpus/%s/%s", name,
                 entry->d_name);

        file = fopen(path, "rb");

        if (file == NULL) {
            continue;
        }

        files[nfiles].size = fread(input, 1, MAX_SIZE, file);
        files[nfiles].data = malloc(files[nfiles].size + 1);

        if (files[nfiles].data == NULL) {
            exit(2);
        }

        memcpy(files[nfiles].data, input, files[nfiles].size);
        nfiles++;

        fclose(file);
    }

    closedir(dir);
}


static void
try_one(size_t size)
{
    uint8_t  *copy;

    input_size = size;

    /* of its own size, for the sanitizer */

    copy = malloc(size ? size : 1);

    if (copy == NULL) {
        exit(2);
    }

    memcpy(copy, input, size);
    (void) LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}


/* a few changes: bits, bytes, pieces that are dropped, doubled or taken over */

static size_t
change(size_t size)
{
    size_t    from, to, n;
    uint32_t  i, times, other;

    static const char  special[] = "{}[]\",:\\0\n\r-e.% ";

    times = 1 + pick(4);

    for (i = 0; i < times; i++) {

        if (size == 0) {
            input[size++] = (uint8_t) pick(256);
            continue;
        }

        from = pick((uint32_t) size);
        n = 1 + pick((size - from < 64) ? (uint32_t) (size - from) : 64);

        switch (pick(7)) {

        case 0:
            input[from] ^= (uint8_t) (1 << pick(8));
            break;

        case 1:
            input[from] = (uint8_t) pick(256);
            break;

        case 2:
            input[from] = (uint8_t) special[pick(sizeof(special) - 1)];
            break;

        case 3:
            memmove(input + from, input + from + n, size - from - n);
            size -= n;
            break;

        case 4:
            if (size + n > MAX_SIZE) {
                break;
            }

            memmove(input + from + n, input + from, size - from);
            size += n;
            break;

        case 5:
            size = from;
            break;

        default:
            other = pick(nfiles);

            if (files[other].size == 0) {
                break;
            }

            to = pick((uint32_t) files[other].size);
            n = (n < files[other].size - to) ? n : files[other].size - to;
            memcpy(input + from, files[other].data + to, n);
        }
    }

    return size;
}


/* xorshift64* */

static uint32_t
pick(uint32_t n)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;

    return (uint32_t) ((state * 2685821657736338717ull) >> 32) % n;
}


/* what was read when it ended */

static void
found(void)
{
    int  fd;

    fd = open(crash, O_WRONLY|O_CREAT|O_TRUNC, 0644);

    if (fd != -1) {
        (void) !write(fd, input, input_size);
        close(fd);
    }

    printf("# ended by the input in %s\n", crash);
    fflush(stdout);
}


static void
aborted(int signo)
{
    found();
    signal(SIGABRT, SIG_DFL);
    abort();
}
