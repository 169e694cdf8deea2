
/*
 * Copyright (C) nginx-cycles authors
 *
 * Who owns the ledger: opening, the lock over its memory, what happens when a
 * process dies with that lock, syncing, and numbers about it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "cycles_ledger_core.h"


#define CYCLES_MEMORY_MAGIC    0x5245474445c79c1eULL
#define CYCLES_MEMORY_VERSION  6

/* "boot ", a UUID, and the end of the line */
#define CYCLES_BOOT_LINE       64

/* cycles_ref_t can't reach farther */
#define CYCLES_MAX_ZONE        ((uint64_t) UINT32_MAX * CYCLES_GRANULE)

/* a stopped or killed nginx needs a moment until it is gone */
#define CYCLES_LOCK_TRIES      50
#define CYCLES_LOCK_PAUSE_MS   20

#define CYCLES_LOCK_SPINS      100

#define CYCLES_RANDOM_SIZE     16384

/* bytes of an id before the number of its record */
#define CYCLES_ID_RANDOM       10

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK        18
#endif


/* who has the memory of the ledger open, and as which descriptor */

typedef struct {
    long                 pid;
    int                  fd;
} cycles_holder_t;


#define CYCLES_MAX_HOLDERS     64


static cycles_ledger_t *cycles_ledger_new(const cycles_ledger_conf_t *conf,
    char *err, size_t errlen);
static void cycles_ledger_free(cycles_ledger_t *ledger);
static int cycles_ledger_acquire(cycles_ledger_t *ledger,
    const cycles_ledger_conf_t *conf, char *err, size_t errlen);
static int cycles_ledger_create(cycles_ledger_t *ledger,
    const cycles_ledger_conf_t *conf, char *err, size_t errlen);
static int cycles_ledger_attach(cycles_ledger_t *ledger, char *err,
    size_t errlen);
static int cycles_ledger_attach_to(cycles_ledger_t *ledger,
    const cycles_holder_t *holder, char *err, size_t errlen);
static int cycles_ledger_map(cycles_ledger_t *ledger, char *err,
    size_t errlen);
static int cycles_mutex_init(pthread_mutex_t *mutex);
static int cycles_ledger_recover(cycles_ledger_t *ledger);
static int cycles_ledger_sync_once(cycles_ledger_t *ledger);
static void cycles_boot_read(cycles_ledger_t *ledger, char *line);
static void cycles_boot_write(cycles_ledger_t *ledger, const char *line);
static unsigned cycles_holders_read(cycles_ledger_t *ledger,
    cycles_holder_t *holders);
static uint64_t cycles_high48(uint64_t n);
static void cycles_id_mask(cycles_ledger_t *ledger, const uint8_t *id,
    cycles_digest_t *mask);
static void cycles_pause(void);
static void cycles_relax(void);


cycles_ledger_t *
cycles_ledger_open(const cycles_ledger_conf_t *conf, char *err, size_t errlen)
{
    int               rc;
    cycles_ledger_t  *ledger;

    if (conf->zone_size < CYCLES_LEDGER_MIN_ZONE
        || conf->zone_size > CYCLES_MAX_ZONE)
    {
        snprintf(err, errlen, "a ledger's zone must have from %d bytes to "
                 "64 gigabytes", CYCLES_LEDGER_MIN_ZONE);
        return NULL;
    }

    ledger = cycles_ledger_new(conf, err, errlen);

    if (ledger == NULL) {
        return NULL;
    }

    rc = cycles_ledger_acquire(ledger, conf, err, errlen);

    (void) cycles_lock_byte(ledger->lock_fd, CYCLES_LOCK_OPENING, F_UNLCK);

    if (rc != 0) {
        cycles_ledger_free(ledger);
        return NULL;
    }

    return ledger;
}


static cycles_ledger_t *
cycles_ledger_new(const cycles_ledger_conf_t *conf, char *err, size_t errlen)
{
    cycles_ledger_t  *ledger;

    ledger = calloc(1, sizeof(cycles_ledger_t));

    if (ledger == NULL) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }

    ledger->dir_fd = -1;
    ledger->lock_fd = -1;
    ledger->memory_fd = -1;
    ledger->log_fd = -1;
    ledger->sync_fd = -1;

    pthread_mutex_init(&ledger->syncing, NULL);
    pthread_mutex_init(&ledger->folding, NULL);
    pthread_mutex_init(&ledger->databases_mutex, NULL);

    ledger->log = conf->log;
    ledger->log_data = conf->log_data;
    ledger->size = conf->zone_size & ~(size_t) 4095;
    ledger->path = strdup(conf->path);
    ledger->utc = cycles_zone_utc();
    ledger->buffer = malloc(CYCLES_TOGETHER_MAX + CYCLES_RECORD_MAX);

    ledger->random = mmap(NULL, CYCLES_RANDOM_SIZE, PROT_READ|PROT_WRITE,
                          MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);

    if (ledger->path == NULL || ledger->buffer == NULL || ledger->utc == NULL
        || ledger->random == MAP_FAILED)
    {
        snprintf(err, errlen, "out of memory");
        cycles_ledger_free(ledger);
        return NULL;
    }

    ledger->random_kept = madvise(ledger->random, CYCLES_RANDOM_SIZE,
                                  MADV_WIPEONFORK)
                          == 0;

    ledger->dir_fd = open(conf->path, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (ledger->dir_fd == -1) {
        snprintf(err, errlen, "can't open the ledger's directory \"%s\": %s",
                 conf->path, strerror(errno));
        cycles_ledger_free(ledger);
        return NULL;
    }

    ledger->lock_fd = openat(ledger->dir_fd, "lock",
                             O_RDWR|O_CREAT|O_CLOEXEC, 0600);

    if (ledger->lock_fd == -1
        || cycles_ledger_owner(ledger, ledger->lock_fd) == -1)
    {
        snprintf(err, errlen, "can't open \"%s/lock\": %s", conf->path,
                 strerror(errno));
        cycles_ledger_free(ledger);
        return NULL;
    }

    return ledger;
}


static void
cycles_ledger_free(cycles_ledger_t *ledger)
{
    int  i, fds[5];

    cycles_zones_free(ledger);
    cycles_databases_free(ledger);
    cycles_folder_free(ledger);

    pthread_mutex_destroy(&ledger->databases_mutex);
    pthread_mutex_destroy(&ledger->folding);
    pthread_mutex_destroy(&ledger->syncing);

    fds[0] = ledger->sync_fd;
    fds[1] = ledger->log_fd;
    fds[2] = ledger->memory_fd;
    fds[3] = ledger->dir_fd;
    fds[4] = ledger->lock_fd;

    if (ledger->base) {
        munmap(ledger->base, ledger->size);
    }

    if (ledger->random && ledger->random != MAP_FAILED) {
        munmap(ledger->random, CYCLES_RANDOM_SIZE);
    }

    /* the lock goes last: then the next owner finds nobody else */

    for (i = 0; i < 5; i++) {
        if (fds[i] != -1) {
            close(fds[i]);
        }
    }

    free(ledger->buffer);
    free(ledger->path);
    free(ledger);
}


void
cycles_ledger_close(cycles_ledger_t *ledger)
{
    cycles_ledger_free(ledger);
}


static int
cycles_ledger_acquire(cycles_ledger_t *ledger,
    const cycles_ledger_conf_t *conf, char *err, size_t errlen)
{
    int              tries;
    unsigned         i, n;
    cycles_holder_t  holders[CYCLES_MAX_HOLDERS];

    n = 0;

    for (tries = 0; tries < CYCLES_LOCK_TRIES; tries++) {

        if (cycles_lock_byte(ledger->lock_fd, CYCLES_LOCK_OPENING, F_WRLCK)
            == -1)
        {
            cycles_pause();
            continue;
        }

        if (cycles_lock_byte(ledger->lock_fd, CYCLES_LOCK_PRESENCE, F_WRLCK)
            == 0)
        {
            return cycles_ledger_create(ledger, conf, err, errlen);
        }

        if (conf->upgrade) {
            return cycles_ledger_attach(ledger, err, errlen);
        }

        n = cycles_holders_read(ledger, holders);

        (void) cycles_lock_byte(ledger->lock_fd, CYCLES_LOCK_OPENING,
                                F_UNLCK);
        cycles_pause();
    }

    for (i = 0; i < n; i++) {
        if (kill(holders[i].pid, 0) == 0 || errno == EPERM) {
            snprintf(err, errlen,
                     "ledger \"%s\" is in use by the nginx with pid %ld",
                     ledger->path, holders[i].pid);
            return -1;
        }
    }

    if (n) {
        snprintf(err, errlen, "ledger \"%s\" is in use by workers that the "
                 "nginx with pid %ld has left behind", ledger->path,
                 holders[n - 1].pid);

    } else {
        snprintf(err, errlen, "ledger \"%s\" is being opened by another "
                 "process", ledger->path);
    }

    return -1;
}


/* we are the only one: the state comes from the log */

static int
cycles_ledger_create(cycles_ledger_t *ledger,
    const cycles_ledger_conf_t *conf, char *err, size_t errlen)
{
    char           boot[CYCLES_BOOT_LINE];
    cycles_shm_t  *shm;

    ledger->memory_fd = memfd_create("cycles_ledger", MFD_CLOEXEC);

    if (ledger->memory_fd == -1
        || ftruncate(ledger->memory_fd, ledger->size) == -1)
    {
        snprintf(err, errlen, "can't create shared memory of %zu bytes: %s",
                 ledger->size, strerror(errno));
        return -1;
    }

    if (cycles_ledger_map(ledger, err, errlen) != 0) {
        return -1;
    }

    shm = ledger->shm;

    shm->magic = CYCLES_MEMORY_MAGIC;
    shm->version = CYCLES_MEMORY_VERSION;
    shm->head_size = sizeof(cycles_shm_t);
    shm->size = ledger->size;
    shm->segment_size = conf->segment_size ? conf->segment_size
                                           : CYCLES_SEGMENT_SIZE;

    if (cycles_mutex_init(&shm->mutex) != 0) {
        snprintf(err, errlen, "can't create a shared mutex: %s",
                 strerror(errno));
        return -1;
    }

    cycles_boot_read(ledger, boot);

    if (cycles_log_rebuild(ledger, err, errlen) != 0) {
        return -1;
    }

    /* nobody knows how far it was written */

    (void) unlinkat(ledger->dir_fd, CYCLES_NEXT_NAME, 0);

    shm->folded = shm->loaded;

    /* a start has synced what it has read */

    shm->synced = (ledger->sync_failed || fsync(ledger->dir_fd) == -1)
                  ? shm->loaded : shm->written;

    if (ftruncate(ledger->lock_fd, 0) == -1
        || cycles_lock_byte(ledger->lock_fd, CYCLES_LOCK_PRESENCE, F_RDLCK)
           == -1)
    {
        snprintf(err, errlen, "can't write \"%s/lock\": %s", ledger->path,
                 strerror(errno));
        return -1;
    }

    cycles_boot_write(ledger, boot);
    cycles_ledger_announce(ledger, getpid());

    return 0;
}


/* the memory is there already, in a process that runs the old binary */

static int
cycles_ledger_attach(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int              rc;
    unsigned         i, n;
    cycles_holder_t  holders[CYCLES_MAX_HOLDERS], parent;

    n = cycles_holders_read(ledger, holders);

    snprintf(err, errlen, "ledger \"%s\" is in use, and no process that has "
             "it could be found", ledger->path);

    for (rc = -1, i = n; i > 0 && rc == -1; i--) {
        rc = cycles_ledger_attach_to(ledger, &holders[i - 1], err, errlen);

        if (rc == -1) {

            /* a daemon has another pid than the process that it was */

            parent.pid = getppid();
            parent.fd = holders[i - 1].fd;
            rc = cycles_ledger_attach_to(ledger, &parent, err, errlen);
        }
    }

    if (rc != 0) {
        return -1;
    }

    if (cycles_lock_byte(ledger->lock_fd, CYCLES_LOCK_PRESENCE, F_RDLCK)
        == -1)
    {
        snprintf(err, errlen, "can't lock \"%s/lock\": %s", ledger->path,
                 strerror(errno));
        return -1;
    }

    cycles_ledger_announce(ledger, getpid());

    return 0;
}


/* -1: not this one; -2: this one, but it can't be used */

static int
cycles_ledger_attach_to(cycles_ledger_t *ledger,
    const cycles_holder_t *holder, char *err, size_t errlen)
{
    int           fd;
    char          path[64];
    ssize_t       n;
    struct stat   st;
    cycles_shm_t  head;

    snprintf(path, sizeof(path), "/proc/%ld/fd/%d", holder->pid, holder->fd);

    fd = open(path, O_RDWR|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    n = pread(fd, &head, sizeof(cycles_shm_t), 0);

    if (fstat(fd, &st) == -1 || n != (ssize_t) sizeof(cycles_shm_t)
        || head.magic != CYCLES_MEMORY_MAGIC)
    {
        close(fd);
        return -1;
    }

    if (head.version != CYCLES_MEMORY_VERSION
        || head.head_size != sizeof(cycles_shm_t))
    {
        snprintf(err, errlen, "the running nginx has ledger \"%s\" in "
                 "another memory layout: stop it and start the new one",
                 ledger->path);
        close(fd);
        return -2;
    }

    if (head.size != ledger->size || (uint64_t) st.st_size != head.size) {
        snprintf(err, errlen, "the zone of ledger \"%s\" has %zu bytes in "
                 "the running nginx, and can't be changed by a binary "
                 "upgrade", ledger->path, (size_t) head.size);
        close(fd);
        return -2;
    }

    ledger->memory_fd = fd;

    return cycles_ledger_map(ledger, err, errlen) == 0 ? 0 : -2;
}


static int
cycles_ledger_map(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    void  *p;

    p = mmap(NULL, ledger->size, PROT_READ|PROT_WRITE, MAP_SHARED,
             ledger->memory_fd, 0);

    if (p == MAP_FAILED) {
        snprintf(err, errlen, "can't map shared memory of %zu bytes: %s",
                 ledger->size, strerror(errno));
        return -1;
    }

    ledger->base = p;
    ledger->shm = p;

    return 0;
}


static int
cycles_mutex_init(pthread_mutex_t *mutex)
{
    int                  rc;
    pthread_mutexattr_t  attr;

    rc = pthread_mutexattr_init(&attr);

    if (rc == 0) {
        rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    }

    if (rc == 0) {
        rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    }

    if (rc == 0) {
        rc = pthread_mutex_init(mutex, &attr);
    }

    pthread_mutexattr_destroy(&attr);

    errno = rc;

    return rc;
}


/* -1: nothing can be done with the ledger any more */

int
cycles_ledger_lock(cycles_ledger_t *ledger)
{
    int       rc;
    unsigned  i;

    /* the lock is held for a microsecond or two: shorter than going to sleep */

    rc = pthread_mutex_trylock(&ledger->shm->mutex);

    for (i = 0; rc == EBUSY && i < CYCLES_LOCK_SPINS; i++) {
        cycles_relax();
        rc = pthread_mutex_trylock(&ledger->shm->mutex);
    }

    if (rc == EBUSY) {
        rc = pthread_mutex_lock(&ledger->shm->mutex);
    }

    if (rc == EOWNERDEAD) {
        rc = cycles_ledger_recover(ledger);
    }

    if (rc != 0) {
        cycles_ledger_trouble_set(ledger, "can't lock the ledger: %s",
                                  strerror(rc));
        return -1;
    }

    if (ledger->shm->broken) {

        if (ledger->trouble[0] == '\0') {
            cycles_ledger_trouble_set(ledger, "the ledger has stopped, see "
                                      "the error log");
        }

        pthread_mutex_unlock(&ledger->shm->mutex);
        return -1;
    }

    return 0;
}


void
cycles_ledger_unlock(cycles_ledger_t *ledger)
{
    pthread_mutex_unlock(&ledger->shm->mutex);
}


/*
 * A process has died with the lock.  While it decided or wrote, memory is
 * whole, and at most its last record is missing there; in the middle of a
 * change, all of it is read from the log again.
 */

static int
cycles_ledger_recover(cycles_ledger_t *ledger)
{
    cycles_shm_t  *shm;

    shm = ledger->shm;

    cycles_ledger_say(ledger, CYCLES_LEDGER_WARN, "a process died while it "
                      "used ledger \"%s\", %s", ledger->path,
                      shm->changing ? "reading the log again"
                                    : "following the log");

    (void) cycles_ledger_restore(ledger);

    return pthread_mutex_consistent(&shm->mutex);
}


/* makes memory whole from what is on the disk; -1: nothing can be done */

int
cycles_ledger_restore(cycles_ledger_t *ledger)
{
    int   rc;
    char  err[CYCLES_LEDGER_ERROR_LEN];

    rc = ledger->shm->changing ? cycles_log_rebuild(ledger, err, sizeof(err))
                               : cycles_log_follow(ledger, err, sizeof(err));

    if (rc != 0) {
        ledger->shm->broken = 1;
        cycles_ledger_trouble_set(ledger, "%s", err);
        cycles_ledger_say(ledger, CYCLES_LEDGER_ALERT,
                          "%s: the ledger stops until nginx is restarted",
                          err);
    }

    return rc;
}


/* one line for each holder: "pid fd" */

/*
 * The first line of the file that is locked says in which boot of the system
 * the ledger was open last.  If that is this one, what was written since is
 * there, in the page cache if not on the disk.
 */

static void
cycles_boot_read(cycles_ledger_t *ledger, char *line)
{
    int      fd;
    char     id[37], last[CYCLES_BOOT_LINE];
    ssize_t  n;

    line[0] = '\0';
    ledger->same_boot = 0;

    fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return;
    }

    n = read(fd, id, sizeof(id) - 1);

    close(fd);

    if (n != sizeof(id) - 1) {
        return;
    }

    id[n] = '\0';

    n = snprintf(line, CYCLES_BOOT_LINE, "boot %s\n", id);

    ledger->same_boot = (pread(ledger->lock_fd, last, n, 0) == n
                         && memcmp(last, line, n) == 0);
}


static void
cycles_boot_write(cycles_ledger_t *ledger, const char *line)
{
    size_t  len;

    len = strlen(line);

    if (pwrite(ledger->lock_fd, line, len, 0) != (ssize_t) len) {
        cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                          "can't write \"%s/lock\": %s", ledger->path,
                          strerror(errno));
    }
}


static unsigned
cycles_holders_read(cycles_ledger_t *ledger, cycles_holder_t *holders)
{
    char      buf[4096], *p, *end;
    ssize_t   n;
    unsigned  i;

    n = pread(ledger->lock_fd, buf, sizeof(buf) - 1, 0);

    if (n <= 0) {
        return 0;
    }

    buf[n] = '\0';

    p = buf;

    if (strncmp(p, "boot ", 5) == 0) {
        p += strcspn(p, "\n");
        p += (*p == '\n');
    }

    for (i = 0; *p && i < CYCLES_MAX_HOLDERS; p = end) {
        holders[i].pid = strtol(p, &end, 10);

        if (end == p || *end != ' ') {
            break;
        }

        p = end;
        holders[i].fd = strtol(p, &end, 10);

        if (end == p || *end != '\n' || holders[i].pid <= 0) {
            break;
        }

        end++;
        i++;
    }

    return i;
}


void
cycles_ledger_announce(cycles_ledger_t *ledger, long pid)
{
    int              n;
    char             line[64];
    off_t            end;
    unsigned         i, nholders;
    cycles_holder_t  holders[CYCLES_MAX_HOLDERS];

    nholders = cycles_holders_read(ledger, holders);

    for (i = 0; i < nholders; i++) {
        if (holders[i].pid == pid && holders[i].fd == ledger->memory_fd) {
            return;
        }
    }

    if (nholders == CYCLES_MAX_HOLDERS) {
        (void) !ftruncate(ledger->lock_fd, 0);
        cycles_boot_read(ledger, line);
        cycles_boot_write(ledger, line);
    }

    n = snprintf(line, sizeof(line), "%ld %d\n", pid, ledger->memory_fd);
    end = lseek(ledger->lock_fd, 0, SEEK_END);

    if (end == -1 || pwrite(ledger->lock_fd, line, n, end) != n) {
        cycles_ledger_say(ledger, CYCLES_LEDGER_WARN,
                          "can't write \"%s/lock\": %s", ledger->path,
                          strerror(errno));
    }
}


/* the locks belong to the open file: children share them, others don't */

int
cycles_lock_byte(int fd, int byte, int type)
{
    struct flock  fl;

    memset(&fl, 0, sizeof(fl));
    fl.l_type = type;
    fl.l_whence = SEEK_SET;
    fl.l_start = byte;
    fl.l_len = 1;

    return fcntl(fd, F_OFD_SETLK, &fl);
}


static void
cycles_pause(void)
{
    struct timespec  ts;

    ts.tv_sec = 0;
    ts.tv_nsec = CYCLES_LOCK_PAUSE_MS * 1000000;

    nanosleep(&ts, NULL);
}


static void
cycles_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}


/* who owns the directory may use the files that root creates there */

int
cycles_ledger_owner(cycles_ledger_t *ledger, int fd)
{
    struct stat  st;

    if (geteuid() != 0) {
        return 0;
    }

    if (fstat(ledger->dir_fd, &st) == -1) {
        return -1;
    }

    return fchown(fd, st.st_uid, st.st_gid);
}


/*
 * A random UUID of version 4.  Random bytes are bought in bulk where the
 * kernel guarantees that a child does not inherit them: the page reads as
 * zeroes there, as if nothing was left.
 */

int
cycles_ledger_uuid(cycles_ledger_t *ledger, uint8_t *id)
{
    uint32_t        left;
    unsigned char  *page;

    page = ledger->random;
    memcpy(&left, page, sizeof(left));

    if (left < 16) {
        left = ledger->random_kept ? CYCLES_RANDOM_SIZE - 16 : 16;

        if (RAND_bytes(page + 16, (int) left) != 1) {
            return -1;
        }
    }

    memcpy(id, page + left, 16);
    memset(page + left, 0, 16);

    left -= 16;
    memcpy(page, &left, sizeof(left));

    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;

    return 0;
}


/* of version 7, whose order is that of time */

int
cycles_ledger_id(cycles_ledger_t *ledger, uint8_t *id, int64_t now)
{
    uint64_t  time;

    if (cycles_ledger_uuid(ledger, id) != 0) {
        return -1;
    }

    time = cycles_high48((uint64_t) now);
    memcpy(id, &time, 6);

    id[6] = (id[6] & 0x0f) | 0x70;

    return 0;
}


/*
 * A reservation's id has the number of its record in its last six bytes, so
 * that the tables find its row without an index of ids.  They are hidden by
 * what nobody knows who has no ledger: a number would tell tenants how much
 * the others do.
 */

void
cycles_ledger_id_number(cycles_ledger_t *ledger, uint8_t *id, uint64_t seq)
{
    uint64_t         bits;
    cycles_digest_t  mask;

    cycles_id_mask(ledger, id, &mask);

    bits = 0;
    memcpy(&bits, mask.bytes + CYCLES_ID_RANDOM, 6);

    bits ^= cycles_high48(seq);
    memcpy(id + CYCLES_ID_RANDOM, &bits, 6);
}


/* as its first six bytes in memory are: those of n, the highest one first */

static uint64_t
cycles_high48(uint64_t n)
{
    n <<= 16;

#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
    n = __builtin_bswap64(n);
#endif

    return n;
}


uint64_t
cycles_ledger_id_seq(cycles_ledger_t *ledger, const uint8_t *id)
{
    int              i;
    uint64_t         seq;
    cycles_digest_t  mask;

    cycles_id_mask(ledger, id, &mask);

    seq = 0;

    for (i = CYCLES_ID_RANDOM; i < 16; i++) {
        seq = seq << 8 | (uint8_t) (id[i] ^ mask.bytes[i]);
    }

    return seq;
}


static void
cycles_id_mask(cycles_ledger_t *ledger, const uint8_t *id,
    cycles_digest_t *mask)
{
    cycles_siphash(ledger->shm->uuid, id, CYCLES_ID_RANDOM, mask);
}


uint64_t
cycles_ledger_written(const cycles_ledger_t *ledger)
{
    return __atomic_load_n(&ledger->shm->written, __ATOMIC_ACQUIRE);
}


uint64_t
cycles_ledger_synced(const cycles_ledger_t *ledger)
{
    return __atomic_load_n(&ledger->shm->synced, __ATOMIC_ACQUIRE);
}


/* the descriptor that is synced is one for all threads */

int
cycles_ledger_sync(cycles_ledger_t *ledger)
{
    int  rc;

    pthread_mutex_lock(&ledger->syncing);

    rc = cycles_ledger_sync_once(ledger);

    pthread_mutex_unlock(&ledger->syncing);

    return rc;
}


static int
cycles_ledger_sync_once(cycles_ledger_t *ledger)
{
    int            fd, rc;
    uint64_t       target, segment, next, dir_synced;
    uint64_t       pending[CYCLES_PENDING_SEGMENTS];
    unsigned       i, npending;
    cycles_shm_t  *shm;

    if (cycles_ledger_lock(ledger) != 0) {
        return EIO;
    }

    shm = ledger->shm;

    target = shm->written;
    segment = shm->segment;
    dir_synced = shm->dir_synced;
    npending = shm->npending;
    memcpy(pending, shm->pending, sizeof(pending));

    cycles_ledger_unlock(ledger);

    if (target <= cycles_ledger_synced(ledger)) {
        return 0;
    }

    for (i = 0; i < npending; i++) {
        fd = cycles_log_open_segment(ledger, pending[i]);

        if (fd == -1) {

            /* another process has synced it, and a third has folded it */

            next = (i + 1 < npending) ? pending[i + 1] : segment;

            if (errno == ENOENT && next <= cycles_ledger_folded(ledger) + 1) {
                continue;
            }

            return errno;
        }

        rc = (fdatasync(fd) == -1) ? errno : 0;
        close(fd);

        if (rc) {
            return rc;
        }
    }

    if (ledger->sync_segment != segment) {
        fd = cycles_log_open_segment(ledger, segment);

        if (fd == -1) {
            return (errno == ENOENT && target <= cycles_ledger_folded(ledger))
                   ? 0 : errno;
        }

        if (ledger->sync_fd != -1) {
            close(ledger->sync_fd);
        }

        ledger->sync_fd = fd;
        ledger->sync_segment = segment;
    }

    if (fdatasync(ledger->sync_fd) == -1
        || (dir_synced != segment && fsync(ledger->dir_fd) == -1))
    {
        return errno;
    }

    if (cycles_ledger_lock(ledger) != 0) {
        return EIO;
    }

    if (shm->synced < target) {
        __atomic_store_n(&shm->synced, target, __ATOMIC_RELEASE);
    }

    if (shm->dir_synced < segment) {
        shm->dir_synced = segment;
    }

    for (i = 0; i < shm->npending && shm->pending[i] < segment; i++) {
        /* void */
    }

    shm->npending -= i;
    memmove(shm->pending, shm->pending + i,
            shm->npending * sizeof(uint64_t));

    cycles_ledger_unlock(ledger);

    return 0;
}


void
cycles_ledger_balances(cycles_ledger_t *ledger, uint64_t *cursor,
    unsigned max, int64_t now, cycles_ledger_walk_pt walk, void *data)
{
    uint64_t           id;
    cycles_budget_t   *budget;
    cycles_balance_t   balance;

    if (cycles_ledger_lock(ledger) != 0) {
        *cursor = 0;
        return;
    }

    for (id = *cursor + 1; max && id <= ledger->shm->budgets.n; id++, max--) {
        budget = cycles_budget_by_id(ledger, id);

        (void) cycles_periods_turn(ledger, &budget, 1, now,
                                   ledger->shm->nlive);

        balance.scope_path.len = budget->scope_len;
        balance.scope_path.data = budget->scope;
        balance.unit = budget->unit;
        balance.allocated = budget->allocated;
        balance.remaining = cycles_budget_remaining(budget);
        balance.reserved = budget->reserved;
        balance.spent = budget->spent;
        balance.debt = budget->debt;
        balance.overdraft_limit = budget->overdraft_limit;
        balance.is_over_limit = budget->over_limit;
        cycles_period_fill(ledger, budget, &balance.period);

        if (walk(data, &balance) != 0) {
            id = ledger->shm->budgets.n + 1;
            break;
        }
    }

    *cursor = (id > ledger->shm->budgets.n) ? 0 : id - 1;

    cycles_ledger_unlock(ledger);
}


void
cycles_ledger_stat(cycles_ledger_t *ledger, cycles_ledger_stat_t *stat)
{
    cycles_shm_t  *shm;

    memset(stat, 0, sizeof(cycles_ledger_stat_t));

    if (cycles_ledger_lock(ledger) != 0) {
        return;
    }

    shm = ledger->shm;

    stat->live_reservations = shm->nlive;
    stat->budgets = shm->budgets.n;
    stat->zone_size = ledger->size;
    stat->zone_used = ledger->size - (shm->cells_low - shm->defs_end)
                      - (uint64_t) (shm->ncells_free + shm->ndone)
                        * CYCLES_CELL_SIZE;
    stat->records = shm->written;
    stat->folded = cycles_ledger_folded(ledger);
    stat->log_size = shm->log_before + shm->log_end;
    stat->expired = shm->nexpired;

    cycles_ledger_unlock(ledger);

    stat->database_size = cycles_db_size(ledger);
}


const char *
cycles_ledger_trouble(const cycles_ledger_t *ledger)
{
    return ledger->trouble;
}


void
cycles_ledger_say(cycles_ledger_t *ledger, cycles_ledger_level_t level,
    const char *fmt, ...)
{
    char     text[CYCLES_LEDGER_ERROR_LEN];
    va_list  args;

    if (ledger->log == NULL) {
        return;
    }

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    ledger->log(ledger->log_data, level, text);
}


void
cycles_ledger_trouble_set(cycles_ledger_t *ledger, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(ledger->trouble, sizeof(ledger->trouble), fmt, args);
    va_end(args);
}
