
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the files of the ledger's core share; private to them and their tests.
 *
 * An operation takes the lock, decides, writes a record of its effects to the
 * log, then applies the record to memory.  A start reads the same records and
 * applies them in the same way, so the log decides what the state is.
 */


#ifndef _CYCLES_LEDGER_CORE_H_INCLUDED_
#define _CYCLES_LEDGER_CORE_H_INCLUDED_


#include <pthread.h>
#include <sys/types.h>

#include "cycles_ledger.h"
#include "cycles_ledger_admin.h"
#include "cycles_budgets.h"


#define CYCLES_SEGMENT_SIZE   (64 * 1024 * 1024)
#define CYCLES_SEGMENT_HEAD   64
#define CYCLES_SEGMENT_NAME   sizeof("log-18446744073709551615.bin")
#define CYCLES_NEXT_NAME      "log-next.bin"
#define CYCLES_LOG_MAGIC      "CYCLELOG"
#define CYCLES_LOG_VERSION    3

/* preallocated at once, when the disk has it */
#define CYCLES_LOG_CHUNK      (1024 * 1024)

#define CYCLES_RECORD_HEAD    32
#define CYCLES_RECORD_MAX     65536

/* so many bytes of records that wait for each other are written at once */
#define CYCLES_TOGETHER_MAX   65536

/*
 * What one live reservation keeps free in the log: the longest settlement
 * without the texts that are left out when there is no room for them, and
 * before it the end of a period.
 */
#define CYCLES_SETTLE_ROOM    (CYCLES_SETTLE_MAX + CYCLES_PERIOD_MAX)
#define CYCLES_SETTLE_MAX     1536
#define CYCLES_PERIOD_MAX     576

/*
 * What a record may carry besides, so that it fits CYCLES_RECORD_MAX; the
 * first is for metadata and custom metrics together.
 */
#define CYCLES_MAX_METADATA   32768
#define CYCLES_MAX_TRACE_ID   32

/* holds that one record returns at most */
#define CYCLES_EXPIRE_BATCH   64

#define CYCLES_MAX_EFFECTS    (CYCLES_EXPIRE_BATCH * CYCLES_LEVELS)

/* budgets that one record closes at most */
#define CYCLES_STATUS_BATCH   256

/* keys of extensions that one reservation remembers */
#define CYCLES_MAX_EXTENSIONS  40
#define CYCLES_CELL_EXTENSIONS 5

#define CYCLES_PENDING_SEGMENTS  8

/* connections to ledger.db that a process keeps open for reading */
#define CYCLES_KEPT_DATABASES    4

/* bytes of DIR/lock */
#define CYCLES_LOCK_OPENING      0
#define CYCLES_LOCK_PRESENCE     1
#define CYCLES_LOCK_FOLDING      2

/* finished reservations stay at least so long, unless memory is short */
#define CYCLES_DONE_TIME      600000


/* instead of a number of reservations: the room for it was kept free */
#define CYCLES_LOG_OWED       -1


/* a place in the shared memory in units of 16 bytes, 0: none */

typedef uint32_t  cycles_ref_t;

#define CYCLES_GRANULE        16

#define CYCLES_LINE           64

/* definitions up to this many granules are used again */
#define CYCLES_DEFS_SIZES     264

/* FNV-1a */
#define CYCLES_HASH_INIT      2166136261u


typedef enum {
    CYCLES_RECORD_TENANT = 1,
    CYCLES_RECORD_BUDGET = 2,
    CYCLES_RECORD_API_KEY = 3,
    CYCLES_RECORD_ADMIN_KEY = 4,
    CYCLES_RECORD_FUNDING = 5,
    CYCLES_RECORD_PERIOD = 6,
    CYCLES_RECORD_STATUS = 8,

    CYCLES_RECORD_RESERVE = 16,
    CYCLES_RECORD_COMMIT = 17,
    CYCLES_RECORD_RELEASE = 18,
    CYCLES_RECORD_EXTEND = 19,
    CYCLES_RECORD_EXPIRE = 20,
    CYCLES_RECORD_EVENT = 21,
    CYCLES_RECORD_DECISION = 22,
    CYCLES_RECORD_CLOSE = 23
} cycles_record_type_t;


typedef struct cycles_budget_s  cycles_budget_t;
typedef struct cycles_tenant_s  cycles_tenant_t;


/*
 * What an operation does to one budget; over_limit is the state after it.  at:
 * where the budget is, if it is known: not in a record that has been read.
 */

typedef struct {
    uint32_t              budget;
    uint32_t              over_limit;
    int64_t               reserved;
    int64_t               spent;
    int64_t               debt;
    cycles_budget_t      *at;
} cycles_effect_t;


/* a period that is closed, the sums then, and the next one */

typedef struct {
    int64_t               start_ms;
    int64_t               end_ms;
    int64_t               next_start_ms;
    int64_t               next_end_ms;
    int64_t               allocated;
    int64_t               reserved;
    int64_t               debt;
} cycles_turn_t;


/* a record of any type in memory: the members that its type does not use
   are not looked at */

typedef struct {
    uint64_t              seq;
    uint64_t              unsynced;       /* records before it */
    int64_t               time;
    uint16_t              type;

    uint8_t               id[16];         /* reservation or event */
    cycles_digest_t       digest;         /* of the payload */
    cycles_str_t          owner;          /* the tenant whose key it is */
    cycles_str_t          key;
    cycles_str_t          trace_id;
    cycles_str_t          metadata;
    unsigned              texts_omitted;

    /* of a reserve, what is known but for records that have been read */

    cycles_tenant_t      *owner_at;
    const uint32_t       *segments;       /* of the subject, as in a cell */

    const cycles_subject_t  *subject;
    const cycles_action_t   *action;
    cycles_str_t          request;        /* both of them, as they are read */
    size_t                request_action; /* where the second one begins */
    cycles_unit_t         unit;
    cycles_policy_t       policy;
    int64_t               amount;         /* estimate or actual */
    int64_t               charged;
    int64_t               remaining;

    unsigned              fresh_key;      /* is not looked for again */
    cycles_decision_t     decision;
    cycles_code_t         denied;         /* why a decision is DENY */
    unsigned              decide;         /* not a dry run of a reserve */
    uint32_t              caps_from;      /* id of a budget, 0: no caps */
    int64_t               ttl_ms;
    int64_t               grace_ms;
    int64_t               expires_at_ms;
    int64_t               extend_by_ms;

    cycles_str_t          reason;
    cycles_metrics_t      metrics;
    int64_t               client_time_ms;

    unsigned              nids;           /* of an expire, or a close */
    uint8_t               ids[CYCLES_EXPIRE_BATCH][16];

    unsigned              neffects;
    cycles_effect_t       effects[CYCLES_MAX_EFFECTS];

    uint32_t              def_id;
    cycles_tenant_def_t   tenant;
    cycles_budget_def_t   budget;
    cycles_key_def_t      api_key;
    uint8_t               sha256[32];     /* of the admin key */

    unsigned              admin;          /* the operator's act, not a key's */
    cycles_funding_op_t   funding;
    int64_t               given_spent;    /* -1: not given */
    int64_t               allocated;      /* before and after a funding */
    int64_t               new_allocated;
    int64_t               spent;          /* the rest before it */
    int64_t               reserved;
    int64_t               debt;

    unsigned              status;         /* cycles_budget_status_t */
    unsigned              nbudgets;
    uint32_t              budgets[CYCLES_STATUS_BATCH];

    cycles_turn_t         turns[CYCLES_LEVELS];   /* as many as effects */

    /* what strings, subject and action point to after a record has been read */

    unsigned              key_is_uuid;
    unsigned              trace_is_hex;
    uint8_t               key_uuid[16];
    uint8_t               trace[16];
    char                  key_read[CYCLES_UUID_LEN];
    char                  trace_read[CYCLES_MAX_TRACE_ID];
    cycles_subject_t      subject_read;
    cycles_action_t       action_read;
    cycles_pair_t         dimensions_read[CYCLES_MAX_DIMENSIONS];
    cycles_str_t          tags_read[CYCLES_MAX_ACTION_TAGS];
} cycles_record_t;


/* caps are never changed: budgets and reservations count their uses */

typedef struct {
    uint32_t              uses;
    uint16_t              allow_len;
    uint16_t              deny_len;
    int64_t               max_tokens;
    int64_t               max_steps_remaining;
    int64_t               cooldown_ms;
    unsigned char         text[];
} cycles_shm_caps_t;


/* a text that is replaced when it changes */

typedef struct {
    cycles_ref_t          ref;
    uint16_t              len;
    uint16_t              reserve;
} cycles_text_t;


/*
 * What each reservation needs is in one cache line, from "next" on, and the
 * text by which the budget is found is behind it: see cycles_line_alloc().
 */

struct cycles_budget_s {
    cycles_text_t         metadata;
    cycles_text_t         timezone;
    int64_t               period_ms;      /* of a rolling one */
    int64_t               period_start_ms;
    int64_t               overdraft_limit;
    int64_t               declared_allocated;
    int64_t               declared_overdraft;
    int64_t               created_ms;
    int64_t               updated_ms;
    uint8_t               declared;       /* the budgets file has named it */
    uint8_t               declared_policy;
    uint8_t               every;

    cycles_ref_t          next __attribute__((aligned(8)));  /* in its bucket */
    uint32_t              hash;
    uint32_t              id;
    cycles_ref_t          caps;
    uint16_t              scope_len;
    uint8_t               unit;
    uint8_t               status;
    uint8_t               policy;
    uint8_t               above_percent;
    uint8_t               over_limit;
    uint8_t               period;
    int64_t               period_end_ms;
    int64_t               allocated;
    int64_t               reserved;
    int64_t               spent;
    int64_t               debt;
    unsigned char         scope[];
};


struct cycles_tenant_s {
    cycles_ref_t          next;
    uint32_t              id;
    uint8_t               status;
    uint8_t               policy;
    uint8_t               id_len;
    int64_t               default_ttl_ms;
    int64_t               max_ttl_ms;
    unsigned char         tenant_id[CYCLES_MAX_TENANT_ID];
    cycles_text_t         name;
    cycles_text_t         parent;
    cycles_text_t         metadata;
    int64_t               max_extensions;
    int64_t               created_ms;
    int64_t               updated_ms;
    int64_t               suspended_ms;
    int64_t               closed_ms;
    cycles_digest_t       declared;
};


typedef struct {
    cycles_ref_t          next;
    cycles_ref_t          tenant;
    uint32_t              id;
    uint32_t              permissions;
    cycles_text_t         name;
    cycles_text_t         description;
    cycles_text_t         scope_filter;
    cycles_text_t         revoked_reason;
    cycles_text_t         metadata;
    uint8_t               status;
    uint8_t               prefix_len;
    unsigned char         prefix[CYCLES_MAX_KEY_PREFIX];
    uint8_t               sha256[32];
    int64_t               created_ms;
    int64_t               expires_ms;
    int64_t               revoked_ms;
    cycles_digest_t       declared;
} cycles_api_key_t;


typedef struct {
    cycles_digest_t       key;
    cycles_digest_t       digest;
    int64_t               expires_at_ms;
    uint64_t              record;
} cycles_extension_t;


typedef enum {
    CYCLES_CELL_FREE = 0,
    CYCLES_CELL_RESERVATION,
    CYCLES_CELL_EVENT,
    CYCLES_CELL_DECISION,
    CYCLES_CELL_FUNDING,
    CYCLES_CELL_EXTENSION
} cycles_cell_kind_t;


/*
 * All that comes and goes is made of cells of one size, so that memory can't
 * be fragmented: whatever is given back serves whatever is needed next.  A
 * cell is four cache lines.
 */

typedef struct {
    uint8_t               kind;
    uint8_t               status;
    uint8_t               unit;
    uint8_t               policy;
    uint8_t               decision;
    uint8_t               denied;         /* a cycles_code_t, of a decision */
    uint8_t               nbudgets;
    uint8_t               fresh;          /* nobody looks for its key */

    cycles_ref_t          next_id;
    cycles_ref_t          next_key;
    cycles_ref_t          next_done;      /* of the finished or free ones */
    cycles_ref_t          extensions;
    cycles_ref_t          tenant;
    cycles_ref_t          caps;
    uint32_t              heap;           /* its place in the heap */
    uint32_t              grace_ms;

    uint8_t               id[16];
    uint64_t              record;

    int64_t               estimate;
    int64_t               granted_ms;     /* expires_at_ms at first */
    int64_t               expires_at_ms;
    int64_t               remaining;
    int64_t               charged;
    int64_t               settle_remaining;
    uint64_t              settle_record;
    int64_t               done_ms;

    cycles_ref_t          budgets[CYCLES_LEVELS];
    uint32_t              extended;       /* how often */
    uint32_t              segments[CYCLES_LEVELS];   /* of the subject, as
                                                        hashes */
    uint32_t              reserve[3];

    /* keys that are never repeated leave these alone */

    cycles_digest_t       key;
    cycles_digest_t       digest;
    cycles_digest_t       settle_key;
    cycles_digest_t       settle_digest;
} cycles_cell_t;


typedef struct {
    uint8_t               kind;
    uint8_t               n;
    cycles_ref_t          next;           /* older extensions */
    cycles_extension_t    items[CYCLES_CELL_EXTENSIONS];
} cycles_extensions_t;


#define CYCLES_CELL_SIZE      256

typedef struct {
    int64_t               when;
    cycles_ref_t          cell;
    uint32_t              reserve;
} cycles_heap_item_t;


typedef struct {
    uint64_t              offset;         /* of an array of cycles_ref_t */
    uint64_t              mask;
} cycles_table_t;


#define CYCLES_DIRECTORY_CHUNK  1024

/* definitions by id: an array of chunks of references */

typedef struct {
    uint64_t              offset;
    uint32_t              max_chunks;
    uint32_t              n;
} cycles_directory_t;


/* the head of the shared memory; everything from "written" on is made anew
   when the state is read from the log */

typedef struct {
    uint64_t              magic;
    uint32_t              version;
    uint32_t              head_size;
    uint64_t              size;
    uint8_t               uuid[16];
    uint64_t              segment_size;

    pthread_mutex_t       mutex;
    uint32_t              changing;       /* memory is between two states */
    uint32_t              broken;         /* nothing can be done any more */
    uint32_t              no_fallocate;

    uint64_t              folded;         /* the last record in ledger.db */
    uint64_t              fold_wanted;    /* somebody waits for it */
    int64_t               fold_pid;       /* who has folded last, and when, */
    int64_t               fold_time;      /* by the clock since boot */

    /* of who folds: see cycles_ledger_filter.c */

    uint64_t              filters;        /* where they are */
    uint64_t              filter_size;    /* of each */
    uint32_t              filter;         /* in use: 1 or 2, 0: none */
    uint32_t              filter_building;
    uint32_t              filter_table;   /* that it is made from now */
    int64_t               filter_from;    /* since when */
    uint64_t              filter_keys;
    uint64_t              filter_kept;    /* of them at first */
    uint64_t              filter_building_keys;

    uint64_t              next_size;      /* of the file for the next segment,
                                             0: there is none */

    uint64_t              known;          /* the log must not end before */
    uint64_t              synced;
    uint64_t              dir_synced;     /* newest segment whose directory
                                             entry is on disk */

    /* what each operation changes: two cache lines, */

    uint64_t              written         /* the last sequence number */
                          __attribute__((aligned(64)));
    uint64_t              segment;        /* that is written to: its name */
    uint64_t              log_end;
    uint64_t              log_room;       /* end of what is preallocated */
    uint64_t              log_zeroes;     /* end of the zeroes behind it */
    uint64_t              rotate_at;
    uint64_t              cells_low;      /* cells grow downwards */
    cycles_ref_t          cells_free;
    uint32_t              ncells_free;
    uint32_t              nlive;
    uint32_t              ndone;

    cycles_ref_t          done_first;
    cycles_ref_t          done_last;
    uint64_t              evicted;        /* the last record of what memory
                                             has forgotten */
    uint64_t              loaded;         /* the last record that came from
                                             ledger.db */
    uint64_t              nexpired;

    /* and what it only looks at */

    cycles_table_t        ids __attribute__((aligned(64)));
    cycles_table_t        keys;
    cycles_table_t        scopes;
    cycles_table_t        tenants;
    cycles_directory_t    budgets;
    cycles_directory_t    tenants_by_id;
    uint64_t              heap;
    uint64_t              max_cells;
    uint64_t              defs_end;       /* definitions grow upwards */
    uint64_t              cells_floor;    /* where cells leave them room */

    cycles_table_t        api_keys;
    cycles_directory_t    api_keys_by_id;
    cycles_ref_t          defs_free[CYCLES_DEFS_SIZES];

    uint64_t              log_before;     /* bytes in earlier segments */
    uint64_t              pending[CYCLES_PENDING_SEGMENTS];
    uint32_t              npending;       /* left, but not yet synced */

    uint32_t              has_admin_key;
    uint8_t               admin_key[32];
} cycles_shm_t;


/* of the database of the system */

typedef struct {
    cycles_str_t          name;
    cycles_zone_t        *zone;           /* NULL: it can't be had */
} cycles_known_zone_t;


struct cycles_ledger_s {
    cycles_shm_t         *shm;
    unsigned char        *base;
    size_t                size;
    char                 *path;

    int                   dir_fd;
    int                   lock_fd;
    int                   memory_fd;
    int                   log_fd;
    uint64_t              log_segment;    /* that log_fd is open on */
    unsigned              same_boot;      /* as when it was open last */
    unsigned              sync_failed;    /* of what a start has read */
    unsigned              prewrite;       /* segments, before they are used */
    int64_t               prewrite_after; /* by the clock since boot */
    pthread_mutex_t       syncing;
    int                   sync_fd;
    uint64_t              sync_segment;

    cycles_ledger_log_pt  log;
    void                 *log_data;

    /* used under the lock only */

    unsigned char        *buffer;
    cycles_record_t       record;
    unsigned              together;       /* see cycles_ledger_together() */
    unsigned              nunwritten;     /* records in the buffer, */
    size_t                unwritten;      /* and their bytes */
    unsigned              write_failed;   /* the last one did */
    char                  trouble[256];
    cycles_look_up_t      missed;
    cycles_look_up_t      looked_up;

    cycles_known_zone_t  *zones;
    unsigned              nzones;
    cycles_zone_t        *utc;

    unsigned char        *random;         /* a page, wiped in a child */
    unsigned              random_kept;

    /* ledger.db, of one process and not of its children */

    pthread_mutex_t       folding;
    struct cycles_folder_s  *folder;

    pthread_mutex_t       databases_mutex;
    struct sqlite3       *databases[CYCLES_KEPT_DATABASES];
    unsigned              ndatabases;
    pid_t                 databases_pid;
};


/* of the records of one segment */

typedef struct {
    int                   fd;
    uint64_t              segment;
    char                  name[CYCLES_SEGMENT_NAME];
    uint64_t              offset;         /* of the next record in the file */
    unsigned char        *buf;
    size_t                pos;
    size_t                end;
    uint64_t              zeroes;         /* end of those behind the records,
                                             0: there are none */
    int                   error;          /* errno of a read */
} cycles_reader_t;


/* the scopes of a subject, tenant first: prefixes of one path */

typedef struct {
    char                  path[CYCLES_MAX_SCOPE];
    unsigned              n;
    struct {
        size_t            len;
        uint32_t          hash;
    } prefix[CYCLES_LEVELS];
    cycles_str_t          tenant;         /* in path, lower case */
    uint32_t              segments[CYCLES_LEVELS];   /* as
                                                        cycles_segment_hash()
                                                        has them, 0: none */
} cycles_scopes_t;


/* cycles_ledger.c */

int cycles_ledger_lock(cycles_ledger_t *ledger);
void cycles_ledger_unlock(cycles_ledger_t *ledger);
void cycles_ledger_say(cycles_ledger_t *ledger, cycles_ledger_level_t level,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cycles_ledger_trouble_set(cycles_ledger_t *ledger, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int cycles_ledger_restore(cycles_ledger_t *ledger);
int cycles_ledger_owner(cycles_ledger_t *ledger, int fd);
int cycles_lock_byte(int fd, int byte, int type);
int cycles_ledger_uuid(cycles_ledger_t *ledger, uint8_t *id);
int cycles_ledger_id(cycles_ledger_t *ledger, uint8_t *id, int64_t now);
void cycles_ledger_id_number(cycles_ledger_t *ledger, uint8_t *id,
    uint64_t seq);
uint64_t cycles_ledger_id_seq(cycles_ledger_t *ledger, const uint8_t *id);


/* cycles_ledger_memory.c */

static inline void *
cycles_memory_at(cycles_ledger_t *ledger, cycles_ref_t ref)
{
    return ledger->base + (uint64_t) ref * CYCLES_GRANULE;
}


static inline cycles_ref_t
cycles_memory_ref(cycles_ledger_t *ledger, const void *p)
{
    return (cycles_ref_t) (((const unsigned char *) p - ledger->base)
                           / CYCLES_GRANULE);
}


static inline cycles_ref_t *
cycles_memory_bucket(cycles_ledger_t *ledger, const cycles_table_t *table,
    uint64_t hash)
{
    return (cycles_ref_t *) (void *) (ledger->base + table->offset)
           + (hash & table->mask);
}


/* never wraps, whatever the operator did to the limits */

static inline int64_t
cycles_remaining(int64_t allocated, int64_t reserved, int64_t spent,
    int64_t debt)
{
    int64_t  n;

    n = allocated - spent;

    if (__builtin_sub_overflow(n, reserved, &n)
        || __builtin_sub_overflow(n, debt, &n))
    {
        return INT64_MIN;
    }

    return n;
}


static inline int64_t
cycles_budget_remaining(const cycles_budget_t *budget)
{
    return cycles_remaining(budget->allocated, budget->reserved,
                            budget->spent, budget->debt);
}


/*
 * FNV-1a: byte by byte, so that one pass over a path gives the hashes of all
 * its prefixes.  Scopes are declared by the operator: nobody else can choose
 * what is in the table.
 */

static inline uint32_t
cycles_scope_hash(uint32_t hash, unsigned char ch)
{
    return (hash ^ ch) * 16777619;
}


void cycles_memory_init(cycles_ledger_t *ledger);
cycles_ref_t cycles_defs_alloc(cycles_ledger_t *ledger, size_t size);
cycles_ref_t cycles_line_alloc(cycles_ledger_t *ledger, size_t size,
    size_t offset);
void cycles_defs_release(cycles_ledger_t *ledger, cycles_ref_t ref,
    size_t size);
uint64_t cycles_defs_room(cycles_ledger_t *ledger);

int cycles_cells_ensure(cycles_ledger_t *ledger, int live);
cycles_ref_t cycles_cell_alloc(cycles_ledger_t *ledger);
void cycles_cell_release(cycles_ledger_t *ledger, cycles_ref_t ref);
void cycles_cell_index(cycles_ledger_t *ledger, cycles_cell_t *cell);
void cycles_cell_done(cycles_ledger_t *ledger, cycles_cell_t *cell,
    int64_t now);
cycles_cell_t *cycles_cell_by_id(cycles_ledger_t *ledger, const uint8_t *id,
    cycles_cell_kind_t kind);
cycles_cell_t *cycles_cell_by_key(cycles_ledger_t *ledger,
    const cycles_digest_t *key);

int cycles_heap_insert(cycles_ledger_t *ledger, cycles_cell_t *cell);
void cycles_heap_update(cycles_ledger_t *ledger, cycles_cell_t *cell);
void cycles_heap_remove(cycles_ledger_t *ledger, cycles_cell_t *cell);
cycles_cell_t *cycles_heap_cell(cycles_ledger_t *ledger, uint32_t i);
cycles_cell_t *cycles_heap_min(cycles_ledger_t *ledger, int64_t *when);
unsigned cycles_heap_due(cycles_ledger_t *ledger, int64_t now,
    cycles_cell_t **cells, unsigned max);

uint32_t cycles_scope_hash_str(cycles_str_t str);
cycles_budget_t *cycles_budget_find(cycles_ledger_t *ledger,
    const char *scope, size_t len, uint32_t hash, int unit);
cycles_budget_t *cycles_budget_by_id(cycles_ledger_t *ledger, uint32_t id);
int cycles_budget_register(cycles_ledger_t *ledger, cycles_budget_t *budget);
void *cycles_directory_at(cycles_ledger_t *ledger,
    const cycles_directory_t *directory, uint32_t id);
uint32_t cycles_directory_add(cycles_ledger_t *ledger,
    cycles_directory_t *directory, const void *p);
cycles_tenant_t *cycles_tenant_find(cycles_ledger_t *ledger,
    const unsigned char *id, size_t len);
cycles_tenant_t *cycles_tenant_hashed(cycles_ledger_t *ledger,
    cycles_str_t id, uint32_t hash);
cycles_tenant_t *cycles_cell_tenant(cycles_ledger_t *ledger,
    const cycles_cell_t *cell);
cycles_api_key_t *cycles_api_key_find(cycles_ledger_t *ledger,
    const uint8_t *sha256);


/* cycles_ledger_caps.c */

cycles_ref_t cycles_caps_alloc(cycles_ledger_t *ledger,
    const cycles_caps_t *caps);
cycles_ref_t cycles_caps_use(cycles_ledger_t *ledger, cycles_ref_t ref);
void cycles_caps_release(cycles_ledger_t *ledger, cycles_ref_t ref);
int cycles_caps_equal(cycles_ledger_t *ledger, cycles_ref_t ref,
    const cycles_caps_t *caps);


/* cycles_ledger_record.c */

size_t cycles_record_write(const cycles_record_t *rec, unsigned char *buf,
    size_t size);
int cycles_record_read(cycles_record_t *rec, const unsigned char *buf,
    size_t len);
const char *cycles_record_frame(const unsigned char *buf, uint64_t seq);

/* numbers in the log have their lowest byte first */

static inline uint32_t
cycles_get32(const unsigned char *p)
{
    return p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16
           | (uint32_t) p[3] << 24;
}


static inline uint64_t
cycles_get64(const unsigned char *p)
{
    return cycles_get32(p) | (uint64_t) cycles_get32(p + 4) << 32;
}


static inline void
cycles_put32(unsigned char *p, uint32_t n)
{
    p[0] = (unsigned char) n;
    p[1] = (unsigned char) (n >> 8);
    p[2] = (unsigned char) (n >> 16);
    p[3] = (unsigned char) (n >> 24);
}


static inline void
cycles_put64(unsigned char *p, uint64_t n)
{
    cycles_put32(p, (uint32_t) n);
    cycles_put32(p + 4, (uint32_t) (n >> 32));
}



/* cycles_ledger_fold.c */

void cycles_folder_free(cycles_ledger_t *ledger);


/* cycles_ledger_db.c */

void cycles_databases_free(cycles_ledger_t *ledger);
uint64_t cycles_db_size(cycles_ledger_t *ledger);


/* cycles_ledger_filter.c */

int cycles_filter_has(cycles_ledger_t *ledger, int64_t key);
void cycles_filter_add(cycles_ledger_t *ledger, int64_t key);


/* cycles_ledger_recall.c */

int cycles_key_missed(cycles_ledger_t *ledger, const cycles_digest_t *key);
int cycles_id_missed(cycles_ledger_t *ledger, const uint8_t *id);


/* cycles_ledger_apply.c */

int cycles_record_apply(cycles_ledger_t *ledger, const cycles_record_t *rec,
    char *err, size_t errlen);
void cycles_extension_keep(cycles_ledger_t *ledger, cycles_cell_t *cell,
    const cycles_extension_t *extension);
int cycles_funding_keep(cycles_ledger_t *ledger, const cycles_record_t *rec,
    const cycles_funding_sums_t *sums);
void cycles_key_digest(cycles_ledger_t *ledger, const char *operation,
    const void *owner, size_t owner_len, cycles_str_t key,
    cycles_digest_t *digest);


/* cycles_ledger_definition.c */

void cycles_tenant_fill(cycles_ledger_t *ledger, cycles_tenant_t *tenant,
    cycles_tenant_def_t *def);
void cycles_budget_fill(cycles_ledger_t *ledger, cycles_budget_t *budget,
    cycles_budget_def_t *def);
void cycles_period_fill(cycles_ledger_t *ledger, cycles_budget_t *budget,
    cycles_period_t *period);
void cycles_key_fill(cycles_ledger_t *ledger, cycles_api_key_t *key,
    cycles_key_def_t *def);
void cycles_key_end(cycles_ledger_t *ledger, cycles_api_key_t *key,
    cycles_key_status_t status, cycles_str_t reason, cycles_record_t *rec,
    int64_t now);
void cycles_ledger_id_print(cycles_ledger_t *ledger, uint32_t id,
    unsigned char *text);
void cycles_key_id_print(cycles_ledger_t *ledger, uint32_t id,
    unsigned char *text);
cycles_api_key_t *cycles_key_by_id(cycles_ledger_t *ledger,
    cycles_str_t key_id);
cycles_tenant_t *cycles_scope_tenant(cycles_ledger_t *ledger,
    cycles_str_t scope);
size_t cycles_definition_memory(const cycles_record_t *rec);
int cycles_definition_commit(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now);


/* cycles_ledger_fund.c */

void cycles_funding_sums(const cycles_record_t *rec,
    cycles_funding_sums_t *sums);
cycles_funding_sums_t *cycles_cell_funding(cycles_cell_t *cell);


/* cycles_ledger_period.c */

int cycles_periods_turn(cycles_ledger_t *ledger,
    cycles_budget_t *const *budgets, unsigned n, int64_t now, int live);
void cycles_period_begin(cycles_ledger_t *ledger, cycles_period_t *period,
    const cycles_budget_t *budget, int64_t now);
int cycles_period_same(const cycles_period_t *a, const cycles_period_t *b);
int cycles_period_ok(const cycles_period_t *period);
int cycles_bounds_ok(int64_t start, int64_t end);
void cycles_zones_free(cycles_ledger_t *ledger);


/* cycles_ledger_log.c */

int cycles_segment_create(cycles_ledger_t *ledger, uint64_t segment);
int cycles_log_room(cycles_ledger_t *ledger, uint64_t size, unsigned live);
int cycles_log_commit(cycles_ledger_t *ledger, cycles_record_t *rec,
    int64_t now, int live);
int cycles_ledger_enter(cycles_ledger_t *ledger);
void cycles_ledger_leave(cycles_ledger_t *ledger);


/* cycles_ledger_fold.c */

int64_t cycles_fold_clock(void);


/* cycles_ledger_prewrite.c */

void cycles_log_prewrite(cycles_ledger_t *ledger);


/* cycles_ledger_cut.c */

/* what followed has been removed */
#define CYCLES_LOG_ENDS  1

size_t cycles_segments_begun(cycles_ledger_t *ledger, const uint64_t *list,
    size_t n);
int cycles_log_cut(cycles_ledger_t *ledger, const uint64_t *later,
    size_t nlater, cycles_reader_t *reader, const char *damage, char *err,
    size_t errlen);


/* cycles_ledger_start.c */

int cycles_log_rebuild(cycles_ledger_t *ledger, char *err, size_t errlen);
int cycles_log_follow(cycles_ledger_t *ledger, char *err, size_t errlen);


/* cycles_ledger_reader.c */

int cycles_segments_list(cycles_ledger_t *ledger, uint64_t **list, size_t *n,
    char *err, size_t errlen);
void cycles_segment_name(char *name, uint64_t segment);
int cycles_log_open_segment(cycles_ledger_t *ledger, uint64_t segment);
int cycles_reader_open(cycles_ledger_t *ledger, cycles_reader_t *reader,
    uint64_t segment, uint64_t offset, char *err, size_t errlen);
void cycles_reader_close(cycles_reader_t *reader);
const unsigned char *cycles_reader_record(cycles_reader_t *reader,
    size_t *len, const char **damage);
void cycles_reader_next(cycles_reader_t *reader, size_t len);


/* cycles_ledger_reserve.c */

const char *cycles_reserve_namespace(unsigned decide);
int cycles_expire_due(cycles_ledger_t *ledger, int64_t now);
void cycles_holds_add(cycles_ledger_t *ledger, cycles_record_t *rec,
    const cycles_cell_t *cell);
void cycles_denial_init(cycles_denial_t *denial);
void cycles_denial_fill(cycles_denial_t *denial,
    const cycles_budget_t *budget, int64_t requested);
int64_t cycles_least_remaining(cycles_budget_t *const *budgets, unsigned n);
void cycles_effect_add(cycles_record_t *rec, cycles_budget_t *budget,
    int64_t reserved, int64_t spent, int64_t debt);
void cycles_effect_new(cycles_record_t *rec, uint32_t budget);
cycles_code_t cycles_ledger_no_space(cycles_ledger_t *ledger);


/* cycles_ledger_terms.c */

int cycles_subject_ok(const cycles_subject_t *subject);
int cycles_action_ok(const cycles_action_t *action);
int cycles_key_ok(cycles_str_t key);
int cycles_trace_ok(cycles_str_t trace_id);
const char *cycles_denial_name(cycles_code_t code);
int cycles_denial_find(cycles_str_t name);
int cycles_hex_read(const unsigned char *text, size_t n, uint8_t *bytes);
int cycles_id_parse(cycles_str_t text, uint8_t *id);
int cycles_id_exact(cycles_str_t text, uint8_t *id);
int cycles_trace_exact(cycles_str_t text, uint8_t *trace);
void cycles_id_print(const uint8_t *id, char *text);

void cycles_scopes_derive(const cycles_subject_t *subject,
    cycles_scopes_t *scopes);
unsigned cycles_scopes_find(cycles_ledger_t *ledger,
    const cycles_scopes_t *scopes, cycles_unit_t unit,
    cycles_budget_t **budgets);
cycles_code_t cycles_scopes_missing(cycles_ledger_t *ledger,
    const cycles_scopes_t *scopes, int64_t requested,
    cycles_denial_t *denial);

cycles_policy_t cycles_policy_of(cycles_policy_t policy,
    const cycles_tenant_t *tenant, cycles_budget_t *const *budgets,
    unsigned n);
int64_t cycles_ttl_of(int64_t ttl_ms, const cycles_tenant_t *tenant);

void cycles_digest_begin(cycles_ledger_t *ledger, cycles_siphash_t *h,
    const char *operation);
void cycles_digest_str(cycles_siphash_t *h, cycles_str_t str);
void cycles_digest_int(cycles_siphash_t *h, int64_t n);
void cycles_digest_policy(cycles_siphash_t *h, cycles_policy_t policy);
void cycles_digest_subject(cycles_siphash_t *h,
    const cycles_subject_t *subject);
void cycles_digest_action(cycles_siphash_t *h, const cycles_action_t *action);
void cycles_digest_metrics(cycles_siphash_t *h,
    const cycles_metrics_t *metrics);


#endif /* _CYCLES_LEDGER_CORE_H_INCLUDED_ */
