
/*
 * Copyright (C) nginx-cycles authors
 *
 * LD_PRELOAD: a disk that takes its time.  While the file SLOW_SYNC exists,
 * fdatasync() does not return; while SLOW_SYNC.fail exists, it fails.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


/* taken at the start: nginx gives its processes an environment of its own */

static char  slow_sync[4096];
static char  slow_sync_fail[4096 + 8];


__attribute__((constructor))
static void
slow_sync_init(void)
{
    char  *name;

    name = getenv("SLOW_SYNC");

    if (name) {
        snprintf(slow_sync, sizeof(slow_sync), "%s", name);
        snprintf(slow_sync_fail, sizeof(slow_sync_fail), "%s.fail", name);
    }
}


int
fdatasync(int fd)
{
    int  (*real)(int);

    while (slow_sync[0] && access(slow_sync, F_OK) == 0) {
        usleep(1000);
    }

    if (slow_sync_fail[0] && access(slow_sync_fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }

    *(void **) &real = dlsym(RTLD_NEXT, "fdatasync");

    return real(fd);
}
