
/*
 * Copyright (C) nginx-cycles authors
 *
 * Settlements that a Cycles server has not confirmed yet, one small file for
 * each, in the layout that the protocol's SDKs share, so that each of them
 * can replay what another one has left:
 *
 *     <base>/<identity>/v2-<sha256 of the reservation's id>.json
 *
 * Plain C.  All functions but cycles_journal_text() and the ones that only
 * compute block on the disk: they are for threads.  Several processes may use
 * one directory at once; a record belongs to who has claimed it, until the
 * claim is dropped or its process has died.
 */


#ifndef _CYCLES_JOURNAL_H_INCLUDED_
#define _CYCLES_JOURNAL_H_INCLUDED_


#include "../cycles.h"


#define CYCLES_JOURNAL_VERSION    1

/* hexadecimal digits, without a zero */
#define CYCLES_JOURNAL_IDENTITY   16

/* with its zero */
#define CYCLES_JOURNAL_NAME       sizeof("v2-.json") + 64

/* no identity is computed sooner than that after another one, milliseconds */
#define CYCLES_JOURNAL_LEARN_TIME  100

/* a larger file is no record */
#define CYCLES_JOURNAL_MAX        (1024 * 1024)

#define CYCLES_JOURNAL_ERROR_LEN  512

/* files that a dying process has left half written are removed after that */
#define CYCLES_JOURNAL_STALE      3600

/* nobody is told to wait for longer, in milliseconds */
#define CYCLES_JOURNAL_MAX_WAIT   3600000


typedef enum {
    CYCLES_JOURNAL_COMMIT = 0,
    CYCLES_JOURNAL_EVENT
} cycles_journal_mode_t;


/* times in milliseconds since the epoch */

typedef struct {
    cycles_str_t            reservation_id;
    cycles_str_t            base_url;      /* empty: the file does not say */
    cycles_journal_mode_t   mode;
    cycles_str_t            commit_body;   /* JSON object text, or empty */
    cycles_str_t            event_body;    /* JSON object text, or empty */
    int64_t                 recorded_at_ms;
    int64_t                 not_before_ms; /* 0: none */
} cycles_journal_record_t;


/* what the body that is to be sent says, beside its bytes */

typedef struct {
    cycles_str_t            key;           /* idempotency_key */
    cycles_str_t            tenant;        /* of the event's subject */
    cycles_unit_t           unit;
    int64_t                 amount;
} cycles_journal_terms_t;


typedef struct cycles_journal_s  cycles_journal_t;


/*
 * The directory below base for what is owed to one server by one principal:
 * of its tenant, unless that is empty or blank, else of its API key.  Slow on
 * purpose (30,000 rounds of PBKDF2): remember it.  Writes
 * CYCLES_JOURNAL_IDENTITY characters; -1: no memory.
 */

int cycles_journal_identity(char *identity, cycles_str_t base_url,
    cycles_str_t tenant, cycles_str_t api_key);

/* "v2-<sha256>.json", zero-terminated */

void cycles_journal_name(char *name, cycles_str_t reservation_id);

/*
 * The text of a record; returns its length and writes at most size bytes, as
 * cycles_commit_body() does.
 */

size_t cycles_journal_text(unsigned char *buf, size_t size,
    const cycles_journal_record_t *rec);

/*
 * Reads the text of a record.  *memory owns what rec and terms point to; to
 * be given to free().  -1: it is not a record of this version, or nothing
 * that can be sent, err says why.
 */

int cycles_journal_parse(const unsigned char *text, size_t len,
    cycles_journal_record_t *rec, cycles_journal_terms_t *terms,
    void **memory, char *err, size_t errlen);


/*
 * Opens a base directory, which is made with all above it if it is not there.
 * NULL: err says why in one sentence.  Not to be shared by processes: each
 * opens its own.
 */

cycles_journal_t *cycles_journal_open(const char *base, char *err,
    size_t errlen);
void cycles_journal_close(cycles_journal_t *journal);


/* one thing to do */

typedef enum {
    CYCLES_JOURNAL_WRITE = 0,   /* claims the record and puts it on the disk;
                                   EBUSY: another process has claimed it */
    CYCLES_JOURNAL_REMOVE,      /* it is settled: drops the claim as well */
    CYCLES_JOURNAL_LEAVE        /* drops the claim, the file stays */
} cycles_journal_op_t;


typedef struct cycles_journal_job_s  cycles_journal_job_t;

struct cycles_journal_job_s {
    cycles_journal_op_t     op;
    cycles_str_t            reservation_id;
    cycles_str_t            text;          /* of a write */

    /*
     * Of whom it is.  identity is the directory's name; if it is empty, it is
     * filled in when it has been computed.
     */

    cycles_str_t            base_url;
    cycles_str_t            tenant;
    cycles_str_t            api_key;
    char                    identity[CYCLES_JOURNAL_IDENTITY + 1];
    unsigned                fresh:1;       /* it is in "new" */

    int                     error;         /* errno, 0: done */
    cycles_journal_job_t   *next;

    /* between the two steps */

    unsigned                renamed:1;
    unsigned                named:1;       /* its name is on the disk */
    char                    temporary[160];
};

/*
 * Does a list of jobs in order.  A new record is safe from the end of this
 * process when it returns; it is on the disk when cycles_journal_sync() has
 * been called for all writes of the list, also those that failed, which syncs
 * together what can be.
 *
 * A record of which the directory is not known is in "new", where it is found
 * as well, until it is settled.  To tell where it belongs takes far longer
 * than to write it: each of the two does so for one principal at a time, and
 * not before CYCLES_JOURNAL_LEARN_TIME is over; the sync for what it syncs,
 * the other one for what stays.  uptime is in milliseconds, of a clock that
 * only goes forward.  The two may be called at once, but neither twice.
 */

void cycles_journal_run(cycles_journal_t *journal, cycles_journal_job_t *jobs,
    uint64_t uptime);
void cycles_journal_sync(cycles_journal_t *journal,
    cycles_journal_job_t *writes, uint64_t uptime);


/* a record that was found and claimed; its strings are its own */

typedef struct cycles_journal_found_s  cycles_journal_found_t;

struct cycles_journal_found_s {
    cycles_journal_record_t   record;
    cycles_journal_terms_t    terms;
    char                      identity[CYCLES_JOURNAL_IDENTITY + 1];
                                           /* empty: it is in "new" */
    void                     *memory;
    cycles_journal_found_t   *next;
};

void cycles_journal_found_free(cycles_journal_found_t *found);


typedef struct {
    unsigned                  max;         /* records to find */
    int64_t                   now;

    /* milliseconds of a clock that only goes forward */
    uint64_t                  uptime;

    /*
     * Where the walk begins and, after it, where the next one is to begin;
     * empty: at the beginning, and after the end.
     */

    char                      from[512];

    /* servers whose records are wanted; a record that names none is of any */

    const cycles_str_t       *base_urls;
    unsigned                  nbase_urls;

    /* is told of each trouble, from within the walk; error may be 0 */

    void                    (*trouble)(void *data, int error,
                                       const char *text);
    void                     *data;

    /* results */

    cycles_journal_found_t   *found;
    int64_t                   next_ms;     /* least not_before, 0: none */
    uint64_t                  pending;     /* records met */
    uint64_t                  quarantined; /* and renamed, in this walk */
} cycles_journal_scan_t;

/*
 * Looks for records that nobody has claimed, and claims them.  What is not a
 * record becomes *.corrupt, what has an older name gets its own, files that
 * were never finished are removed when they are old.
 */

void cycles_journal_scan(cycles_journal_t *journal,
    cycles_journal_scan_t *scan);


/*
 * One process of all that use the directory looks for records.  1: it is this
 * one, until it closes the journal; 0: another one does.
 */

int cycles_journal_lead(cycles_journal_t *journal);

/* lets another one do it */

void cycles_journal_follow(cycles_journal_t *journal);


#endif /* _CYCLES_JOURNAL_H_INCLUDED_ */
