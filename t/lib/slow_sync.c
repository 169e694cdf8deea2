
/*
 * Copyright (C) nginx-cycles authors
 *
 * LD_PRELOAD: a disk that takes its time.  While the file SLOW_SYNC exists,
 * fdatasync() does not return; while SLOW_SYNC.fail exists, it fails; while
 * SLOW_SYNC.read exists, pread() does not return.  Who waits makes a file of
 * the same name with ".here" behind it.  If SLOW_SYNC.log exists, it gets a
 * line "NAME SIZE" for each file that has been synced.
 *
 * Writes to a file "log-...": while SLOW_SYNC.full exists, there is no space;
 * while SLOW_SYNC.kill exists, the process is killed instead; while
 * SLOW_SYNC.write exists, they do not return, as above; if
 * SLOW_SYNC.writes exists, it gets a line "NAME SIZE" for each of them.
 */


#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


/* taken at the start: nginx gives its processes an environment of its own */

static char  slow_sync[4096];
static char  slow_sync_fail[4096 + 8];
static char  slow_sync_log[4096 + 8];
static char  slow_sync_read[4096 + 8];
static char  slow_sync_full[4096 + 8];
static char  slow_sync_kill[4096 + 8];
static char  slow_sync_held[4096 + 8];
static char  slow_sync_writes[4096 + 8];


__attribute__((constructor))
static void
slow_sync_init(void)
{
    char  *name;

    name = getenv("SLOW_SYNC");

    if (name) {
        snprintf(slow_sync, sizeof(slow_sync), "%s", name);
        snprintf(slow_sync_fail, sizeof(slow_sync_fail), "%s.fail", name);
        snprintf(slow_sync_log, sizeof(slow_sync_log), "%s.log", name);
        snprintf(slow_sync_read, sizeof(slow_sync_read), "%s.read", name);
        snprintf(slow_sync_full, sizeof(slow_sync_full), "%s.full", name);
        snprintf(slow_sync_kill, sizeof(slow_sync_kill), "%s.kill", name);
        snprintf(slow_sync_held, sizeof(slow_sync_held), "%s.write", name);
        snprintf(slow_sync_writes, sizeof(slow_sync_writes), "%s.writes",
                 name);
    }
}


static void
slow_sync_wait(const char *name)
{
    int   fd;
    char  here[4096 + 16];

    if (name[0] == '\0' || access(name, F_OK) != 0) {
        return;
    }

    snprintf(here, sizeof(here), "%s.here", name);

    fd = open(here, O_CREAT|O_WRONLY, 0644);

    if (fd != -1) {
        close(fd);
    }

    while (access(name, F_OK) == 0) {
        usleep(1000);
    }
}


static int
slow_sync_path(int fd, char *path, size_t size)
{
    char     link[64];
    ssize_t  len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, size - 1);

    if (len <= 0) {
        return 0;
    }

    path[len] = '\0';

    return 1;
}


/* what is behind the size by now may have been synced, or not */

static void
slow_sync_note(const char *name, int fd, off_t size)
{
    int   log, n;
    char  path[4096], line[4200];

    log = name[0] ? open(name, O_WRONLY|O_APPEND) : -1;

    if (log == -1) {
        return;
    }

    if (slow_sync_path(fd, path, sizeof(path))) {
        n = snprintf(line, sizeof(line), "%s %lld\n", path,
                     (long long) size);

        if (write(log, line, n) != n) {
            abort();
        }
    }

    close(log);
}


int
fdatasync(int fd)
{
    int          rc, (*real)(int);
    struct stat  st;

    slow_sync_wait(slow_sync);

    if (slow_sync_fail[0] && access(slow_sync_fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }

    *(void **) &real = dlsym(RTLD_NEXT, "fdatasync");

    st.st_size = 0;
    (void) fstat(fd, &st);

    rc = real(fd);

    if (rc == 0) {
        slow_sync_note(slow_sync_log, fd, st.st_size);
    }

    return rc;
}


ssize_t
pread(int fd, void *buf, size_t size, off_t offset)
{
    ssize_t  (*real)(int, void *, size_t, off_t);

    slow_sync_wait(slow_sync_read);

    *(void **) &real = dlsym(RTLD_NEXT, "pread");

    return real(fd, buf, size, offset);
}


ssize_t
pread64(int fd, void *buf, size_t size, off64_t offset)
{
    ssize_t  (*real)(int, void *, size_t, off64_t);

    slow_sync_wait(slow_sync_read);

    *(void **) &real = dlsym(RTLD_NEXT, "pread64");

    return real(fd, buf, size, offset);
}


/* -1: there is no space */

static int
slow_sync_write(int fd, size_t size)
{
    char  path[4096];

    if (slow_sync[0] == '\0' || !slow_sync_path(fd, path, sizeof(path))
        || strstr(path, "/log-") == NULL)
    {
        return 0;
    }

    slow_sync_wait(slow_sync_held);

    if (access(slow_sync_kill, F_OK) == 0) {
        raise(SIGKILL);
    }

    if (access(slow_sync_full, F_OK) == 0) {
        errno = ENOSPC;
        return -1;
    }

    slow_sync_note(slow_sync_writes, fd, size);

    return 0;
}


ssize_t
pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    ssize_t  (*real)(int, const void *, size_t, off_t);

    if (slow_sync_write(fd, size) == -1) {
        return -1;
    }

    *(void **) &real = dlsym(RTLD_NEXT, "pwrite");

    return real(fd, buf, size, offset);
}


ssize_t
pwrite64(int fd, const void *buf, size_t size, off64_t offset)
{
    ssize_t  (*real)(int, const void *, size_t, off64_t);

    if (slow_sync_write(fd, size) == -1) {
        return -1;
    }

    *(void **) &real = dlsym(RTLD_NEXT, "pwrite64");

    return real(fd, buf, size, offset);
}
