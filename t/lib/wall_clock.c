
/*
 * Copyright (C) nginx-cycles authors
 *
 * LD_PRELOAD: a clock that jumps.  The file WALL_CLOCK has a number of
 * seconds, 64 bits, which the time of day is ahead.  Clocks that only go
 * forward are left alone, as a jump leaves them.
 */


#define _GNU_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>


static int64_t                   wall_clock_none;
static volatile const int64_t   *wall_clock = &wall_clock_none;


/* at the start: nginx gives its processes an environment of its own */

__attribute__((constructor))
static void
wall_clock_init(void)
{
    int    fd;
    char  *name;
    void  *p;

    name = getenv("WALL_CLOCK");
    fd = name ? open(name, O_RDONLY) : -1;

    if (fd == -1) {
        return;
    }

    p = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);

    if (p != MAP_FAILED) {
        wall_clock = p;
    }

    close(fd);
}


int
gettimeofday(struct timeval *tv, void *tz)
{
    int  rc, (*real)(struct timeval *, void *);

    *(void **) &real = dlsym(RTLD_NEXT, "gettimeofday");

    rc = real(tv, tz);
    tv->tv_sec += *wall_clock;

    return rc;
}


int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int  rc, (*real)(clockid_t, struct timespec *);

    *(void **) &real = dlsym(RTLD_NEXT, "clock_gettime");

    rc = real(id, ts);

    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
        ts->tv_sec += *wall_clock;
    }

    return rc;
}


time_t
time(time_t *t)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    if (t) {
        *t = ts.tv_sec;
    }

    return ts.tv_sec;
}
