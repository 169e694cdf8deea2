
/*
 * Copyright (C) nginx-cycles authors
 *
 * The files of the journal: who writes which, and how they get to the disk.
 *
 * A record whose directory is not known yet, or not there, is in "new" until
 * somebody has found out.
 *
 * A claim is a lock on one byte of the file "lock", at an offset that is made
 * of the reservation's id.  It is of an open file, so it ends with its
 * process, whatever happened to it, and is good between the workers of one
 * nginx as between two of them.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "cycles_journal.h"


/* more writes than that are synced with all of their file system */
#define CYCLES_JOURNAL_SINGLY     4

#define CYCLES_JOURNAL_LEADER     0

#define CYCLES_JOURNAL_NEW        "new"


/* no descriptor is kept for longer than a list: the disk may take its time */

typedef struct {
    int                    fd;
    char                   name[CYCLES_JOURNAL_IDENTITY + 1];
} cycles_journal_dir_t;


/* of the two that may be called at once */

typedef struct {
    uint64_t               uptime;
    cycles_journal_dir_t   dir;          /* the last one */
    cycles_journal_dir_t   fresh;        /* "new" */

    /* whose directory was computed: when, and for a job of the list at hand */

    uint64_t               learned;
    cycles_journal_job_t  *job;
    unsigned               any:1;
} cycles_journal_step_t;


struct cycles_journal_s {
    int                    base;
    int                    lock;

    cycles_journal_step_t  run;
    cycles_journal_step_t  sync;

    /* records that are to wait for too long: since when, and in this walk */

    uint64_t               far_since;
    unsigned               far:1;
    unsigned               far_met:1;
};


static int cycles_journal_mkdirs(const char *path);
static off_t cycles_journal_place(cycles_str_t reservation_id);
static int cycles_journal_lock(cycles_journal_t *journal, off_t place,
    int type);

static void cycles_journal_begin(cycles_journal_step_t *step, uint64_t uptime);
static void cycles_journal_end(cycles_journal_step_t *step);
static int cycles_journal_dir(cycles_journal_t *journal,
    cycles_journal_step_t *step, const char *name);
static int cycles_journal_dir_of(cycles_journal_t *journal,
    cycles_journal_step_t *step, cycles_journal_job_t *job);

static void cycles_journal_write(cycles_journal_t *journal,
    cycles_journal_job_t *job);
static int cycles_journal_put(cycles_journal_job_t *job, int dir);
static int cycles_journal_publish(cycles_journal_job_t *job, int dir);
static int cycles_journal_sync_data(cycles_journal_t *journal,
    cycles_journal_job_t *job);
static void cycles_journal_sync_names(cycles_journal_t *journal,
    cycles_journal_job_t *writes);
static void cycles_journal_move(cycles_journal_t *journal,
    cycles_journal_step_t *step, cycles_journal_job_t *job);
static int cycles_journal_learn(cycles_journal_step_t *step,
    cycles_journal_job_t *job);
static int cycles_journal_same(cycles_str_t a, cycles_str_t b);
static void cycles_journal_remove(cycles_journal_t *journal,
    cycles_journal_job_t *job);
static void cycles_journal_leave(cycles_journal_t *journal,
    cycles_journal_job_t *job);
static void cycles_journal_unlock(cycles_journal_t *journal,
    cycles_journal_job_t *job);
static void cycles_journal_legacy(char *name, size_t size,
    cycles_str_t reservation_id);
static int cycles_journal_is(int dir, const char *name,
    cycles_str_t reservation_id);

static int cycles_journal_walk(cycles_journal_t *journal,
    cycles_journal_scan_t *scan, const char *identity, const char *from,
    unsigned *found);
static int cycles_journal_look(cycles_journal_t *journal,
    cycles_journal_scan_t *scan, int dir, const char *identity,
    const char *name);
static int cycles_journal_due(cycles_journal_t *journal,
    cycles_journal_scan_t *scan, const cycles_journal_record_t *rec);
static int cycles_journal_claim(cycles_journal_t *journal, int dir,
    const cycles_journal_record_t *rec, const unsigned char *text, size_t len);
static int cycles_journal_wanted(cycles_journal_scan_t *scan,
    cycles_str_t base_url);
static int cycles_journal_rename(int dir, const char *name,
    cycles_str_t reservation_id);
static void cycles_journal_quarantine(cycles_journal_scan_t *scan, int dir,
    const char *identity, const char *name, const char *why);
static void cycles_journal_stale(int dir, const char *name, int64_t now);
static unsigned char *cycles_journal_load(int dir, const char *name,
    size_t *len, int *error);
static int cycles_journal_names(int dir, int (*filter)(const struct dirent *),
    struct dirent ***names);
static int cycles_journal_is_identity(const struct dirent *entry);
static int cycles_journal_is_file(const struct dirent *entry);
static int cycles_journal_ends(const char *name, const char *end);
static void cycles_journal_trouble(cycles_journal_scan_t *scan, int error,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));


cycles_journal_t *
cycles_journal_open(const char *base, char *err, size_t errlen)
{
    cycles_journal_t  *journal;

    journal = calloc(1, sizeof(cycles_journal_t));

    if (journal == NULL) {
        snprintf(err, errlen, "no memory");
        return NULL;
    }

    journal->lock = -1;
    journal->base = -1;
    journal->run.dir.fd = -1;
    journal->run.fresh.fd = -1;
    journal->sync.dir.fd = -1;
    journal->sync.fresh.fd = -1;

    if (cycles_journal_mkdirs(base) == 0) {
        journal->base = open(base, O_RDONLY|O_DIRECTORY|O_CLOEXEC);
    }

    if (journal->base != -1) {
        (void) mkdirat(journal->base, CYCLES_JOURNAL_NEW, 0700);

        journal->lock = openat(journal->base, "lock",
                               O_RDWR|O_CREAT|O_CLOEXEC, 0600);
    }

    if (journal->lock == -1) {
        snprintf(err, errlen, "the journal in \"%s\" cannot be used: %s",
                 base, strerror(errno));
        cycles_journal_close(journal);
        return NULL;
    }

    return journal;
}


void
cycles_journal_close(cycles_journal_t *journal)
{
    if (journal->lock != -1) {
        (void) close(journal->lock);
    }

    if (journal->base != -1) {
        (void) close(journal->base);
    }

    free(journal);
}


static int
cycles_journal_mkdirs(const char *path)
{
    char  *copy, *p;

    copy = strdup(path);

    if (copy == NULL) {
        return -1;
    }

    for (p = copy + 1; *p; p++) {
        if (*p == '/') {
            *p = '\0';
            (void) mkdir(copy, 0700);
            *p = '/';
        }
    }

    (void) mkdir(copy, 0700);

    free(copy);

    /* what is not ours to change may be right all the same */

    (void) chmod(path, 0700);

    return 0;
}


int
cycles_journal_lead(cycles_journal_t *journal)
{
    return cycles_journal_lock(journal, CYCLES_JOURNAL_LEADER, F_WRLCK) == 0;
}


void
cycles_journal_follow(cycles_journal_t *journal)
{
    (void) cycles_journal_lock(journal, CYCLES_JOURNAL_LEADER, F_UNLCK);
}


static off_t
cycles_journal_place(cycles_str_t reservation_id)
{
    unsigned       i;
    uint64_t       n;
    unsigned char  digest[SHA256_DIGEST_LENGTH];

    SHA256(reservation_id.data, reservation_id.len, digest);

    n = 0;

    for (i = 0; i < 8; i++) {
        n = n << 8 | digest[i];
    }

    /* a positive offset, and not the leader's */

    return (off_t) ((n >> 2) + 1);
}


static int
cycles_journal_lock(cycles_journal_t *journal, off_t place, int type)
{
    struct flock  fl;

    memset(&fl, 0, sizeof(fl));

    fl.l_type = type;
    fl.l_whence = SEEK_SET;
    fl.l_start = place;
    fl.l_len = 1;

    return fcntl(journal->lock, F_OFD_SETLK, &fl);
}


void
cycles_journal_run(cycles_journal_t *journal, cycles_journal_job_t *jobs,
    uint64_t uptime)
{
    cycles_journal_job_t  *job;

    cycles_journal_begin(&journal->run, uptime);

    for (job = jobs; job; job = job->next) {

        switch (job->op) {

        case CYCLES_JOURNAL_WRITE:
            cycles_journal_write(journal, job);
            break;

        case CYCLES_JOURNAL_REMOVE:
            cycles_journal_remove(journal, job);
            cycles_journal_unlock(journal, job);
            break;

        default: /* CYCLES_JOURNAL_LEAVE */
            cycles_journal_leave(journal, job);
            cycles_journal_unlock(journal, job);
        }
    }

    cycles_journal_end(&journal->run);
}


static void
cycles_journal_begin(cycles_journal_step_t *step, uint64_t uptime)
{
    step->uptime = uptime;
    step->job = NULL;
}


static void
cycles_journal_end(cycles_journal_step_t *step)
{
    if (step->dir.fd != -1) {
        (void) close(step->dir.fd);
        step->dir.fd = -1;
    }

    if (step->fresh.fd != -1) {
        (void) close(step->fresh.fd);
        step->fresh.fd = -1;
    }
}


/* -1: errno says why */

static int
cycles_journal_dir(cycles_journal_t *journal, cycles_journal_step_t *step,
    const char *name)
{
    cycles_journal_dir_t  *dir;

    dir = (strcmp(name, CYCLES_JOURNAL_NEW) == 0) ? &step->fresh : &step->dir;

    if (dir->fd != -1) {

        if (strcmp(dir->name, name) == 0) {
            return dir->fd;
        }

        (void) close(dir->fd);
    }

    strcpy(dir->name, name);

    dir->fd = openat(journal->base, name, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    return dir->fd;
}


static int
cycles_journal_dir_of(cycles_journal_t *journal, cycles_journal_step_t *step,
    cycles_journal_job_t *job)
{
    return cycles_journal_dir(journal, step, job->fresh ? CYCLES_JOURNAL_NEW
                                                        : job->identity);
}


static void
cycles_journal_write(cycles_journal_t *journal, cycles_journal_job_t *job)
{
    int   dir;
    char  name[CYCLES_JOURNAL_NAME];

    static unsigned  number;

    job->error = 0;
    job->renamed = 0;
    job->temporary[0] = '\0';

    if (cycles_journal_lock(journal,
                            cycles_journal_place(job->reservation_id), F_WRLCK)
        == -1)
    {
        job->error = (errno == EAGAIN || errno == EACCES) ? EBUSY : errno;
        return;
    }

    dir = job->identity[0] ? cycles_journal_dir_of(journal, &journal->run, job)
                           : -1;

    if (dir == -1) {
        job->fresh = 1;
        dir = cycles_journal_dir_of(journal, &journal->run, job);
    }

    if (dir == -1) {
        job->error = errno;
        return;
    }

    cycles_journal_name(name, job->reservation_id);

    snprintf(job->temporary, sizeof(job->temporary), "%s.%ld.%08x.tmp", name,
             (long) getpid(), __sync_fetch_and_add(&number, 1));

    job->error = cycles_journal_put(job, dir);

    /*
     * What is new has its name at once, so that it is found if this process
     * ends now; what it replaces has to be kept until the new one is on the
     * disk.
     */

    if (job->error == 0 && faccessat(dir, name, F_OK, 0) == -1
        && errno == ENOENT)
    {
        job->error = cycles_journal_publish(job, dir);
    }
}


/* 0, or an errno */

static int
cycles_journal_put(cycles_journal_job_t *job, int dir)
{
    int      fd, error;
    size_t   done;
    ssize_t  n;

    (void) unlinkat(dir, job->temporary, 0);

    fd = openat(dir, job->temporary, O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    if (fd == -1) {
        return errno;
    }

    error = 0;

    for (done = 0; done < job->text.len; done += n) {
        n = write(fd, job->text.data + done, job->text.len - done);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n <= 0) {
            error = n ? errno : ENOSPC;
            break;
        }
    }

    if (close(fd) == -1 && error == 0) {
        error = errno;
    }

    return error;
}


/* 0, or an errno */

static int
cycles_journal_publish(cycles_journal_job_t *job, int dir)
{
    char  name[CYCLES_JOURNAL_NAME];

    cycles_journal_name(name, job->reservation_id);

    if (renameat(dir, job->temporary, dir, name) == -1) {
        return errno;
    }

    job->renamed = 1;

    return 0;
}


void
cycles_journal_sync(cycles_journal_t *journal, cycles_journal_job_t *writes,
    uint64_t uptime)
{
    int                     dir, error;
    unsigned                n;
    cycles_journal_job_t   *job;
    cycles_journal_step_t  *step;

    step = &journal->sync;

    cycles_journal_begin(step, uptime);

    n = 0;

    for (job = writes; job; job = job->next) {
        n += (job->error == 0);
    }

    /* few are synced one by one, many at once with whatever else is there */

    error = (n > CYCLES_JOURNAL_SINGLY && syncfs(journal->base) == -1) ? errno
                                                                       : 0;

    for (job = writes; job; job = job->next) {

        if (job->error == 0) {
            job->error = (n > CYCLES_JOURNAL_SINGLY)
                         ? error : cycles_journal_sync_data(journal, job);
        }

        if (!job->renamed && job->temporary[0]) {
            dir = cycles_journal_dir_of(journal, step, job);

            if (dir == -1 && job->error == 0) {
                job->error = errno;
            }

            if (job->error == 0) {
                job->error = cycles_journal_publish(job, dir);
            }

            if (job->error && dir != -1) {
                (void) unlinkat(dir, job->temporary, 0);
            }
        }

        if (job->error == 0 && job->fresh) {
            cycles_journal_move(journal, step, job);
        }
    }

    cycles_journal_sync_names(journal, writes);

    cycles_journal_end(step);
}


/* 0, or an errno */

static int
cycles_journal_sync_data(cycles_journal_t *journal, cycles_journal_job_t *job)
{
    int   fd, dir, error;
    char  name[CYCLES_JOURNAL_NAME];

    dir = cycles_journal_dir_of(journal, &journal->sync, job);

    if (dir == -1) {
        return errno;
    }

    cycles_journal_name(name, job->reservation_id);

    fd = openat(dir, job->renamed ? name : job->temporary,
                O_RDONLY|O_CLOEXEC|O_NOFOLLOW);

    if (fd == -1) {

        /* an SDK that knows no claims may have settled it by now */

        return (job->renamed && errno == ENOENT) ? 0 : errno;
    }

    error = (fdatasync(fd) == -1) ? errno : 0;

    (void) close(fd);

    return error;
}


/* a name is on the disk when its directory is; one sync is for all of it */

static void
cycles_journal_sync_names(cycles_journal_t *journal,
    cycles_journal_job_t *writes)
{
    int                    dir, error;
    cycles_journal_job_t  *job, *other;

    for (job = writes; job; job = job->next) {
        job->named = (job->temporary[0] == '\0');
    }

    for (job = writes; job; job = job->next) {

        if (job->named) {
            continue;
        }

        dir = cycles_journal_dir_of(journal, &journal->sync, job);

        error = (dir == -1 || fsync(dir) == -1) ? errno : 0;

        for (other = job; other; other = other->next) {

            if (!other->named && other->fresh == job->fresh
                && (job->fresh
                    || strcmp(other->identity, job->identity) == 0))
            {
                other->named = 1;

                if (other->error == 0) {
                    other->error = error;
                }
            }
        }
    }
}


/* from "new" to where the SDKs look for it; if that fails, it stays there */

static void
cycles_journal_move(cycles_journal_t *journal, cycles_journal_step_t *step,
    cycles_journal_job_t *job)
{
    int   from, dir;
    char  name[CYCLES_JOURNAL_NAME];

    if (job->identity[0] == '\0' && cycles_journal_learn(step, job) == -1) {
        return;
    }

    from = cycles_journal_dir(journal, step, CYCLES_JOURNAL_NEW);
    dir = cycles_journal_dir(journal, step, job->identity);

    if (dir == -1 && errno == ENOENT
        && mkdirat(journal->base, job->identity, 0700) == 0)
    {
        (void) fsync(journal->base);

        dir = cycles_journal_dir(journal, step, job->identity);
    }

    cycles_journal_name(name, job->reservation_id);

    if (from != -1 && dir != -1 && renameat(from, name, dir, name) == 0) {
        job->fresh = 0;
    }
}


/*
 * The identity of a job.  -1: not now.  Commits wait behind this, and many
 * principals who are all new would have a core busy with it.
 */

static int
cycles_journal_learn(cycles_journal_step_t *step, cycles_journal_job_t *job)
{
    cycles_journal_job_t  *other;

    other = step->job;

    if (other && cycles_journal_same(job->base_url, other->base_url)
        && cycles_journal_same(job->tenant, other->tenant)
        && cycles_journal_same(job->api_key, other->api_key))
    {
        memcpy(job->identity, other->identity, sizeof(job->identity));
        return 0;
    }

    if (step->any && step->uptime - step->learned < CYCLES_JOURNAL_LEARN_TIME)
    {
        return -1;
    }

    /* a record that was found tells no key */

    if (job->tenant.len == 0 && job->api_key.len == 0) {
        return -1;
    }

    step->any = 1;
    step->learned = step->uptime;

    if (cycles_journal_identity(job->identity, job->base_url, job->tenant,
                                job->api_key)
        == -1)
    {
        return -1;
    }

    job->identity[CYCLES_JOURNAL_IDENTITY] = '\0';
    step->job = job;

    return 0;
}


static int
cycles_journal_same(cycles_str_t a, cycles_str_t b)
{
    return a.len == b.len
           && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}


static void
cycles_journal_remove(cycles_journal_t *journal, cycles_journal_job_t *job)
{
    int   dir;
    char  name[CYCLES_JOURNAL_NAME], legacy[256];

    job->error = 0;

    if (job->identity[0] == '\0' && !job->fresh) {
        return;
    }

    dir = cycles_journal_dir_of(journal, &journal->run, job);

    if (dir == -1) {
        job->error = (errno == ENOENT) ? 0 : errno;
        return;
    }

    cycles_journal_name(name, job->reservation_id);

    if (unlinkat(dir, name, 0) == -1 && errno != ENOENT) {
        job->error = errno;
    }

    /* an older SDK may have written it, under a name for several */

    cycles_journal_legacy(legacy, sizeof(legacy), job->reservation_id);

    if (legacy[0] && cycles_journal_is(dir, legacy, job->reservation_id)) {
        (void) unlinkat(dir, legacy, 0);
    }
}


/* whoever looks for it next may be an SDK */

static void
cycles_journal_leave(cycles_journal_t *journal, cycles_journal_job_t *job)
{
    int  dir;

    job->error = 0;

    if (!job->fresh) {
        return;
    }

    cycles_journal_move(journal, &journal->run, job);

    if (!job->fresh) {
        dir = cycles_journal_dir_of(journal, &journal->run, job);

        if (dir != -1) {
            (void) fsync(dir);
        }
    }
}


static void
cycles_journal_unlock(cycles_journal_t *journal, cycles_journal_job_t *job)
{
    (void) cycles_journal_lock(journal,
                               cycles_journal_place(job->reservation_id),
                               F_UNLCK);
}


/* the name that SDKs gave a record before there were digests; "": too long */

static void
cycles_journal_legacy(char *name, size_t size, cycles_str_t reservation_id)
{
    size_t         i;
    unsigned char  ch;

    name[0] = '\0';

    if (reservation_id.len + sizeof(".json") > size) {
        return;
    }

    for (i = 0; i < reservation_id.len; i++) {
        ch = reservation_id.data[i];

        name[i] = ((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z')
                   || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-')
                  ? (char) ch : '_';
    }

    memcpy(name + i, ".json", sizeof(".json"));
}


/* whether a file is the record of this very reservation */

static int
cycles_journal_is(int dir, const char *name, cycles_str_t reservation_id)
{
    int                       rc, error;
    void                     *memory;
    size_t                    len;
    unsigned char            *text;
    char                      err[CYCLES_JOURNAL_ERROR_LEN];
    cycles_journal_terms_t    terms;
    cycles_journal_record_t   rec;

    text = cycles_journal_load(dir, name, &len, &error);

    if (text == NULL) {
        return 0;
    }

    rc = 0;
    memory = NULL;

    if (cycles_journal_parse(text, len, &rec, &terms, &memory, err,
                             sizeof(err))
        == 0)
    {
        rc = rec.reservation_id.len == reservation_id.len
             && memcmp(rec.reservation_id.data, reservation_id.data,
                       reservation_id.len)
                == 0;
    }

    free(memory);
    free(text);

    return rc;
}


void
cycles_journal_found_free(cycles_journal_found_t *found)
{
    free(found->memory);
    free(found);
}


void
cycles_journal_scan(cycles_journal_t *journal, cycles_journal_scan_t *scan)
{
    int              i, n, rc;
    char            *slash, from[sizeof(scan->from)];
    unsigned         found;
    struct dirent  **names;

    scan->found = NULL;
    scan->next_ms = 0;
    scan->pending = 0;
    scan->quarantined = 0;

    memcpy(from, scan->from, sizeof(from));
    scan->from[0] = '\0';

    if (from[0] == '\0') {
        journal->far_met = 0;
    }

    slash = strchr(from, '/');

    if (slash) {
        *slash++ = '\0';
    }

    n = cycles_journal_names(journal->base, cycles_journal_is_identity,
                             &names);

    if (n == -1) {
        cycles_journal_trouble(scan, errno, "the journal cannot be read");
        return;
    }

    found = 0;
    rc = 0;

    for (i = 0; i < n; i++) {

        if (rc == 0 && strcmp(names[i]->d_name, from) >= 0) {
            rc = cycles_journal_walk(journal, scan, names[i]->d_name,
                                     (slash && strcmp(names[i]->d_name, from)
                                               == 0)
                                     ? slash : "", &found);
        }

        free(names[i]);
    }

    free(names);

    if (scan->from[0] == '\0') {
        journal->far = journal->far_met;
    }
}


/* 1: there are enough, scan->from is where to go on */

static int
cycles_journal_walk(cycles_journal_t *journal, cycles_journal_scan_t *scan,
    const char *identity, const char *from, unsigned *found)
{
    int              i, n, rc, dir;
    struct dirent  **names;

    dir = openat(journal->base, identity, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (dir == -1) {
        if (errno != ENOENT) {
            cycles_journal_trouble(scan, errno,
                                   "\"%s\" in the journal cannot be read",
                                   identity);
        }

        return 0;
    }

    n = cycles_journal_names(dir, cycles_journal_is_file, &names);

    if (n == -1) {
        cycles_journal_trouble(scan, errno,
                               "\"%s\" in the journal cannot be read",
                               identity);
        (void) close(dir);
        return 0;
    }

    rc = 0;

    for (i = 0; i < n; i++) {

        if (rc == 0 && cycles_journal_ends(names[i]->d_name, ".tmp")) {
            cycles_journal_stale(dir, names[i]->d_name, scan->now);

        } else if (rc == 0 && strcmp(names[i]->d_name, from) >= 0) {

            if (*found == scan->max) {
                snprintf(scan->from, sizeof(scan->from), "%s/%s", identity,
                         names[i]->d_name);
                rc = 1;

            } else {
                *found += cycles_journal_look(journal, scan, dir, identity,
                                              names[i]->d_name);
            }
        }

        free(names[i]);
    }

    free(names);
    (void) close(dir);

    return rc;
}


/* 1: it is claimed, and the first of scan->found */

static int
cycles_journal_look(cycles_journal_t *journal, cycles_journal_scan_t *scan,
    int dir, const char *identity, const char *name)
{
    int                      error;
    size_t                   len;
    unsigned char           *text;
    char                     err[CYCLES_JOURNAL_ERROR_LEN];
    cycles_journal_found_t  *found;

    text = cycles_journal_load(dir, name, &len, &error);

    if (text == NULL) {

        if (error == EFBIG) {
            cycles_journal_quarantine(scan, dir, identity, name,
                                      "it is too long");

        } else if (error != ENOENT) {
            cycles_journal_trouble(scan, error,
                                   "\"%s/%s\" in the journal cannot be read",
                                   identity, name);
        }

        return 0;
    }

    found = calloc(1, sizeof(cycles_journal_found_t));

    if (found == NULL) {
        free(text);
        cycles_journal_trouble(scan, ENOMEM, "no memory for a record");
        return 0;
    }

    if (cycles_journal_parse(text, len, &found->record, &found->terms,
                             &found->memory, err, sizeof(err))
        != 0)
    {
        cycles_journal_quarantine(scan, dir, identity, name, err);
        goto failed;
    }

    scan->pending++;

    if (cycles_journal_rename(dir, name, found->record.reservation_id) != 0
        || !cycles_journal_wanted(scan, found->record.base_url))
    {
        goto failed;
    }

    if (!cycles_journal_due(journal, scan, &found->record)) {
        goto failed;
    }

    if (!cycles_journal_claim(journal, dir, &found->record, text, len)) {
        goto failed;
    }

    if (strcmp(identity, CYCLES_JOURNAL_NEW) != 0) {
        strcpy(found->identity, identity);
    }

    found->next = scan->found;
    scan->found = found;

    free(text);

    return 1;

failed:

    cycles_journal_found_free(found);
    free(text);

    return 0;
}


/*
 * A floor that is farther away than any that was ever asked for comes from a
 * clock that was ahead: it counts from when it was met.
 */

static int
cycles_journal_due(cycles_journal_t *journal, cycles_journal_scan_t *scan,
    const cycles_journal_record_t *rec)
{
    int64_t  wait;

    wait = rec->not_before_ms - scan->now;

    if (wait <= 0) {
        return 1;
    }

    if (wait > CYCLES_JOURNAL_MAX_WAIT) {
        journal->far_met = 1;

        if (!journal->far) {
            journal->far = 1;
            journal->far_since = scan->uptime;
        }

        return scan->uptime - journal->far_since >= CYCLES_JOURNAL_MAX_WAIT;
    }

    if (scan->next_ms == 0 || rec->not_before_ms < scan->next_ms) {
        scan->next_ms = rec->not_before_ms;
    }

    return 0;
}


/* 0: a process that lives has it, or has settled or changed it meanwhile */

static int
cycles_journal_claim(cycles_journal_t *journal, int dir,
    const cycles_journal_record_t *rec, const unsigned char *text, size_t len)
{
    int             same, error;
    off_t           place;
    char            name[CYCLES_JOURNAL_NAME];
    size_t          n;
    unsigned char  *again;

    place = cycles_journal_place(rec->reservation_id);

    if (cycles_journal_lock(journal, place, F_WRLCK) == -1) {
        return 0;
    }

    cycles_journal_name(name, rec->reservation_id);

    again = cycles_journal_load(dir, name, &n, &error);

    same = again && n == len && memcmp(again, text, len) == 0;

    free(again);

    if (!same) {
        (void) cycles_journal_lock(journal, place, F_UNLCK);
    }

    return same;
}


static int
cycles_journal_wanted(cycles_journal_scan_t *scan, cycles_str_t base_url)
{
    unsigned             i;
    const cycles_str_t  *url;

    if (base_url.len == 0) {
        return 1;
    }

    for (i = 0; i < scan->nbase_urls; i++) {
        url = &scan->base_urls[i];

        if (url->len == base_url.len
            && memcmp(url->data, base_url.data, url->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/*
 * A record of an older SDK gets the name that is its own.  -1: it is there
 * already, under that name or with other contents.
 */

static int
cycles_journal_rename(int dir, const char *name, cycles_str_t reservation_id)
{
    char  own[CYCLES_JOURNAL_NAME];

    cycles_journal_name(own, reservation_id);

    if (strcmp(name, own) == 0) {
        return 0;
    }

    if (linkat(dir, name, dir, own, 0) == 0) {
        (void) unlinkat(dir, name, 0);
        (void) fsync(dir);
        return 0;
    }

    if (errno == EEXIST && cycles_journal_is(dir, own, reservation_id)) {
        (void) unlinkat(dir, name, 0);
    }

    return -1;
}


static void
cycles_journal_quarantine(cycles_journal_scan_t *scan, int dir,
    const char *identity, const char *name, const char *why)
{
    char  to[300];

    snprintf(to, sizeof(to), "%.*s.corrupt",
             (int) (strlen(name) - (sizeof(".json") - 1)), name);

    if (renameat(dir, name, dir, to) == -1) {
        cycles_journal_trouble(scan, errno,
                               "\"%s/%s\" in the journal is no record, %s, "
                               "and cannot be set aside", identity, name, why);
        return;
    }

    scan->quarantined++;

    cycles_journal_trouble(scan, 0, "\"%s/%s\" in the journal is no record "
                           "that can be settled, %s; it is now \"%s\"",
                           identity, name, why, to);
}


static void
cycles_journal_stale(int dir, const char *name, int64_t now)
{
    struct stat  st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0
        && st.st_mtime + CYCLES_JOURNAL_STALE < now / 1000)
    {
        (void) unlinkat(dir, name, 0);
    }
}


/* a whole file, to be freed; NULL: *error says why */

static unsigned char *
cycles_journal_load(int dir, const char *name, size_t *len, int *error)
{
    int             fd;
    size_t          size;
    ssize_t         n;
    struct stat     st;
    unsigned char  *text;

    fd = openat(dir, name, O_RDONLY|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (fd == -1) {
        *error = errno;
        return NULL;
    }

    text = NULL;
    size = 0;
    *error = 0;

    if (fstat(fd, &st) == -1) {
        *error = errno;

    } else if (!S_ISREG(st.st_mode) || st.st_size > CYCLES_JOURNAL_MAX) {
        *error = EFBIG;

    } else {
        size = (size_t) st.st_size;
        text = malloc(size + 1);

        if (text == NULL) {
            *error = ENOMEM;
        }
    }

    for (*len = 0; text && *len < size; *len += n) {
        n = read(fd, text + *len, size - *len);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            *error = errno;
            free(text);
            text = NULL;
            break;
        }

        if (n == 0) {
            break;
        }
    }

    (void) close(fd);

    return text;
}


/* as scandir(), of an open directory */

static int
cycles_journal_names(int dir, int (*filter)(const struct dirent *),
    struct dirent ***names)
{
    return scandirat(dir, ".", names, filter, alphasort);
}


static int
cycles_journal_is_identity(const struct dirent *entry)
{
    return (strlen(entry->d_name) == CYCLES_JOURNAL_IDENTITY
            && strspn(entry->d_name, "0123456789abcdef")
               == CYCLES_JOURNAL_IDENTITY)
           || strcmp(entry->d_name, CYCLES_JOURNAL_NEW) == 0;
}


static int
cycles_journal_is_file(const struct dirent *entry)
{
    return cycles_journal_ends(entry->d_name, ".json")
           || cycles_journal_ends(entry->d_name, ".tmp");
}


static int
cycles_journal_ends(const char *name, const char *end)
{
    size_t  len, n;

    len = strlen(name);
    n = strlen(end);

    return len > n && strcmp(name + len - n, end) == 0;
}


static void
cycles_journal_trouble(cycles_journal_scan_t *scan, int error,
    const char *fmt, ...)
{
    va_list  args;
    char     text[CYCLES_JOURNAL_ERROR_LEN];

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    scan->trouble(scan->data, error, text);
}
