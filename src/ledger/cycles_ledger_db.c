
/*
 * Copyright (C) nginx-cycles authors
 *
 * ledger.db: its tables, and connections to it.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cycles_ledger_db.h"


/* how long another program may be in the way */
#define CYCLES_DB_TIMEOUT_MS  1000


static sqlite3 *cycles_db_connect(cycles_ledger_t *ledger, char *err,
    size_t errlen);
static int cycles_db_file(cycles_ledger_t *ledger, char *err, size_t errlen);
static int cycles_db_prepare(cycles_ledger_t *ledger, sqlite3 *db, int create,
    char *err, size_t errlen);
static int cycles_db_empty(sqlite3 *db);
static int cycles_db_create(cycles_ledger_t *ledger, sqlite3 *db);
static int cycles_db_pragma(sqlite3 *db, const char *name, int64_t *value);


/* what the subject and the action of a request become */

#define CYCLES_DB_SUBJECT                                                     \
    "  scope_path TEXT NOT NULL,"                                             \
    "  subject_tenant TEXT,"                                                  \
    "  subject_workspace TEXT,"                                               \
    "  subject_app TEXT,"                                                     \
    "  subject_workflow TEXT,"                                                \
    "  subject_agent TEXT,"                                                   \
    "  subject_toolset TEXT,"                                                 \
    "  subject_dimensions TEXT,"                                              \
    "  action_kind TEXT NOT NULL,"                                            \
    "  action_name TEXT NOT NULL,"                                            \
    "  action_tags TEXT,"                                                     \
    "  unit TEXT NOT NULL,"

#define CYCLES_DB_REQUEST                                                     \
    "  tenant_id TEXT NOT NULL,"                                              \
    "  idempotency_key TEXT NOT NULL,"                                        \
    CYCLES_DB_SUBJECT

#define CYCLES_DB_METRICS                                                     \
    "  tokens_input INTEGER,"                                                 \
    "  tokens_output INTEGER,"                                                \
    "  latency_ms INTEGER,"                                                   \
    "  model_version TEXT,"                                                   \
    "  custom_metrics TEXT,"                                                  \
    "  texts_omitted INTEGER NOT NULL DEFAULT 0,"

#define CYCLES_DB_CAPS                                                        \
    "  caps_max_tokens INTEGER,"                                              \
    "  caps_max_steps_remaining INTEGER,"                                     \
    "  caps_cooldown_ms INTEGER,"                                             \
    "  caps_tool_allowlist TEXT,"                                             \
    "  caps_tool_denylist TEXT"


static const char  cycles_db_schema[] =

    "CREATE TABLE meta ("
    "  uuid BLOB NOT NULL,"
    "  folded INTEGER NOT NULL,"
    "  folded_at_ms INTEGER NOT NULL,"
    "  segment INTEGER NOT NULL,"
    "  segment_offset INTEGER NOT NULL,"
    "  expired INTEGER NOT NULL,"
    "  admin_key_sha256 BLOB,"
    "  log TEXT);"

    "CREATE TABLE tenants ("
    "  id INTEGER PRIMARY KEY,"
    "  tenant_id TEXT NOT NULL UNIQUE,"
    "  name TEXT NOT NULL,"
    "  status TEXT NOT NULL,"
    "  parent_tenant_id TEXT,"
    "  default_commit_overage_policy TEXT,"
    "  default_reservation_ttl_ms INTEGER,"
    "  max_reservation_ttl_ms INTEGER,"
    "  max_reservation_extensions INTEGER,"
    "  created_at_ms INTEGER,"
    "  updated_at_ms INTEGER,"
    "  suspended_at_ms INTEGER,"
    "  closed_at_ms INTEGER,"
    "  metadata TEXT,"
    "  definition BLOB NOT NULL);"

    /* what changes all the time is in few rows, see cycles_ledger_sums.c */

    "CREATE TABLE budget_sums ("
    "  block INTEGER PRIMARY KEY,"
    "  reserved TEXT NOT NULL,"
    "  spent TEXT NOT NULL,"
    "  debt TEXT NOT NULL,"
    "  is_over_limit TEXT NOT NULL);"

    "CREATE TABLE budget_rows ("
    "  id INTEGER PRIMARY KEY,"
    "  scope TEXT NOT NULL,"
    "  unit TEXT NOT NULL,"
    "  status TEXT NOT NULL,"
    "  commit_overage_policy TEXT,"
    "  allocated INTEGER NOT NULL,"
    "  overdraft_limit INTEGER NOT NULL,"
    "  created_at_ms INTEGER,"
    "  updated_at_ms INTEGER,"
    "  metadata TEXT,"
    "  definition BLOB NOT NULL,"
    "  caps_above_percent INTEGER,"
    CYCLES_DB_CAPS ","
    "  period TEXT,"
    "  period_every TEXT,"
    "  period_timezone TEXT,"
    "  period_length_ms INTEGER,"
    "  period_start_ms INTEGER,"
    "  period_end_ms INTEGER,"
    "  UNIQUE (scope, unit));"

    "CREATE VIEW budgets AS SELECT b.*,"
    "  s.reserved ->> (b.id % 64) AS reserved,"
    "  s.spent ->> (b.id % 64) AS spent,"
    "  s.debt ->> (b.id % 64) AS debt,"
    "  s.is_over_limit ->> (b.id % 64) AS is_over_limit"
    "  FROM budget_rows AS b JOIN budget_sums AS s ON s.block = b.id / 64;"

    "CREATE VIEW balances AS SELECT scope, unit, allocated,"
    "  allocated - spent - reserved - debt AS remaining, reserved, spent,"
    "  debt, overdraft_limit, is_over_limit, status, period_start_ms,"
    "  period_end_ms FROM budgets;"

    "CREATE TABLE periods ("
    "  budget INTEGER NOT NULL,"
    "  seq INTEGER NOT NULL,"
    "  start_ms INTEGER NOT NULL,"
    "  end_ms INTEGER NOT NULL,"
    "  allocated INTEGER NOT NULL,"
    "  spent INTEGER NOT NULL,"
    "  reserved INTEGER NOT NULL,"
    "  debt INTEGER NOT NULL,"
    "  closed_at_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (budget, seq)) WITHOUT ROWID;"

    "CREATE TABLE status_changes ("
    "  budget INTEGER NOT NULL,"
    "  seq INTEGER NOT NULL,"
    "  status TEXT NOT NULL,"
    "  reason TEXT,"
    "  metadata TEXT,"
    "  changed_at_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (budget, seq)) WITHOUT ROWID;"

    "CREATE TABLE api_keys ("
    "  id INTEGER PRIMARY KEY,"
    "  tenant_id TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  status TEXT NOT NULL,"
    "  key_prefix TEXT,"
    "  secret_sha256 BLOB NOT NULL UNIQUE,"
    "  permissions TEXT NOT NULL,"
    "  scope_filter TEXT,"
    "  description TEXT,"
    "  created_at_ms INTEGER,"
    "  expires_at_ms INTEGER,"
    "  revoked_at_ms INTEGER,"
    "  revoked_reason TEXT,"
    "  metadata TEXT,"
    "  definition BLOB NOT NULL);"

    /* in the order of CYCLES_INSERT_COMMITTED */

    "CREATE TABLE reservation_rows ("
    "  seq INTEGER PRIMARY KEY,"
    "  reservation_id TEXT NOT NULL,"
    "  tenant_id TEXT NOT NULL,"
    "  idempotency_key TEXT NOT NULL,"
    "  key_hash INTEGER NOT NULL,"
    "  digest BLOB NOT NULL,"
    CYCLES_DB_SUBJECT
    "  trace_id TEXT,"
    "  created_at_ms INTEGER NOT NULL,"
    "  overage_policy TEXT NOT NULL,"
    "  decision TEXT NOT NULL,"
    "  estimate INTEGER NOT NULL,"
    "  remaining INTEGER,"
    "  expires_at_ms INTEGER NOT NULL,"
    "  granted_until_ms INTEGER NOT NULL,"
    "  ttl_ms INTEGER NOT NULL,"
    "  grace_period_ms INTEGER NOT NULL,"
    "  key_is_fresh INTEGER NOT NULL,"
    "  metadata TEXT,"
    "  budgets TEXT NOT NULL,"
    "  finalized_at_ms INTEGER,"
    "  settle_seq INTEGER,"
    "  settle_key TEXT,"
    "  settle_digest BLOB,"
    "  settle_trace_id TEXT,"
    "  settle_remaining INTEGER,"
    "  actual INTEGER,"
    "  charged INTEGER,"
    "  committed_metadata TEXT,"
    CYCLES_DB_METRICS
    "  settle_by_operator INTEGER,"
    "  status TEXT NOT NULL,"
    "  extensions INTEGER NOT NULL DEFAULT 0,"
    "  release_reason TEXT,"
    CYCLES_DB_CAPS ");"

    "CREATE INDEX reservation_rows_key ON reservation_rows (key_hash)"
    "  WHERE key_is_fresh = 0;"
    "CREATE INDEX reservation_rows_filter ON reservation_rows"
    "  (created_at_ms, key_hash) WHERE key_is_fresh = 0;"
    "CREATE INDEX reservation_rows_tenant ON reservation_rows"
    "  (tenant_id, created_at_ms);"
    "CREATE INDEX reservation_rows_active ON reservation_rows (seq)"
    "  WHERE status = 'ACTIVE';"

    /* in the order of CYCLES_FOLD_BUNDLE */

    "CREATE TABLE reservation_bundles ("
    "  first_seq INTEGER PRIMARY KEY,"
    "  last_seq INTEGER NOT NULL,"
    "  created_from_ms INTEGER NOT NULL,"
    "  created_to_ms INTEGER NOT NULL,"
    "  finalized_to_ms INTEGER NOT NULL,"
    "  tenants BLOB NOT NULL,"
    "  actions TEXT NOT NULL,"
    "  requests TEXT NOT NULL,"
    "  rows TEXT NOT NULL,"
    "  names BLOB NOT NULL);"

    /* all that a list has to know to find its bundles */

    "CREATE INDEX reservation_bundles_list ON reservation_bundles"
    "  (created_to_ms, created_from_ms, tenants);"

    "CREATE VIEW reservations AS SELECT * FROM reservation_rows UNION ALL "
    CYCLES_BUNDLE_VIEW ";"

    "CREATE TABLE extensions ("
    "  seq INTEGER PRIMARY KEY,"
    "  reservation INTEGER NOT NULL,"
    "  idempotency_key TEXT NOT NULL,"
    "  extend_by_ms INTEGER NOT NULL,"
    "  expires_at_ms INTEGER NOT NULL,"
    "  created_at_ms INTEGER NOT NULL,"
    "  trace_id TEXT,"
    "  metadata TEXT,"
    "  digest BLOB NOT NULL);"

    "CREATE INDEX extensions_reservation ON extensions (reservation);"

    "CREATE TABLE events ("
    "  seq INTEGER PRIMARY KEY,"
    "  event_id TEXT NOT NULL UNIQUE,"
    CYCLES_DB_REQUEST
    "  overage_policy TEXT NOT NULL,"
    "  actual INTEGER NOT NULL,"
    "  charged INTEGER NOT NULL,"
    "  created_at_ms INTEGER NOT NULL,"
    "  client_time_ms INTEGER,"
    "  trace_id TEXT,"
    "  metadata TEXT,"
    CYCLES_DB_METRICS
    "  remaining INTEGER,"
    "  digest BLOB NOT NULL,"
    "  key_hash INTEGER NOT NULL,"
    "  key_is_fresh INTEGER NOT NULL);"

    "CREATE INDEX events_key ON events (key_hash);"
    "CREATE INDEX events_filter ON events (created_at_ms, key_hash)"
    "  WHERE key_is_fresh = 0;"
    "CREATE INDEX events_tenant ON events (tenant_id, seq);"

    "CREATE TABLE decisions ("
    "  seq INTEGER PRIMARY KEY,"
    "  decision_id TEXT NOT NULL,"
    "  dry_run INTEGER NOT NULL,"
    CYCLES_DB_REQUEST
    "  decision TEXT NOT NULL,"
    "  reason_code TEXT,"
    "  estimate INTEGER NOT NULL,"
    "  created_at_ms INTEGER NOT NULL,"
    "  trace_id TEXT,"
    "  remaining INTEGER,"
    "  digest BLOB NOT NULL,"
    "  key_hash INTEGER NOT NULL,"
    CYCLES_DB_CAPS ");"

    "CREATE INDEX decisions_key ON decisions (key_hash);"
    "CREATE INDEX decisions_filter ON decisions (created_at_ms, key_hash);"

    "CREATE TABLE fundings ("
    "  seq INTEGER PRIMARY KEY,"
    "  funding_id TEXT NOT NULL,"
    "  budget INTEGER NOT NULL,"
    "  tenant_id TEXT NOT NULL,"
    "  idempotency_key TEXT,"
    "  operation TEXT NOT NULL,"
    "  unit TEXT NOT NULL,"
    "  amount INTEGER NOT NULL,"
    "  by_operator INTEGER NOT NULL,"
    "  given_spent INTEGER,"
    "  previous_allocated INTEGER NOT NULL,"
    "  new_allocated INTEGER NOT NULL,"
    "  previous_spent INTEGER NOT NULL,"
    "  new_spent INTEGER NOT NULL,"
    "  previous_debt INTEGER NOT NULL,"
    "  new_debt INTEGER NOT NULL,"
    "  previous_remaining INTEGER NOT NULL,"
    "  new_remaining INTEGER NOT NULL,"
    "  reason TEXT,"
    "  metadata TEXT,"
    "  trace_id TEXT,"
    "  created_at_ms INTEGER NOT NULL,"
    "  digest BLOB NOT NULL,"
    "  key_hash INTEGER);"

    "CREATE INDEX fundings_key ON fundings (key_hash)"
    "  WHERE key_hash IS NOT NULL;"
    "CREATE INDEX fundings_filter ON fundings (created_at_ms, key_hash)"
    "  WHERE key_hash IS NOT NULL;"
    "CREATE INDEX fundings_budget ON fundings (budget, seq);";


const char *const  cycles_reservation_statuses[] = {
    "ACTIVE", "COMMITTED", "RELEASED", "EXPIRED"
};

const char *const  cycles_budget_statuses[] = {
    "ACTIVE", "FROZEN", "CLOSED"
};

const char *const  cycles_decisions[] = {
    "DENY", "ALLOW", "ALLOW_WITH_CAPS"
};


sqlite3 *
cycles_db_open(cycles_ledger_t *ledger, int create, char *err, size_t errlen)
{
    sqlite3  *db;

    if (create && cycles_db_file(ledger, err, errlen) != 0) {
        return NULL;
    }

    db = cycles_db_connect(ledger, err, errlen);

    if (db && cycles_db_prepare(ledger, db, create, err, errlen) != 0) {
        sqlite3_close(db);
        return NULL;
    }

    return db;
}


static sqlite3 *
cycles_db_connect(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    char     *path;
    sqlite3  *db;

    path = sqlite3_mprintf("%s/" CYCLES_DB_NAME, ledger->path);

    if (path == NULL) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }

    db = NULL;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE|SQLITE_OPEN_NOMUTEX,
                        NULL)
        != SQLITE_OK
        || cycles_bundle_module(db) != SQLITE_OK)
    {
        cycles_db_error(ledger, db, err, errlen);
        sqlite3_close(db);
        db = NULL;
    }

    sqlite3_free(path);

    if (db) {
        (void) sqlite3_extended_result_codes(db, 1);
        (void) sqlite3_busy_timeout(db, CYCLES_DB_TIMEOUT_MS);
    }

    return db;
}


/* connections of the parent are of no use to a child */

struct sqlite3 *
cycles_ledger_database(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    sqlite3  *db;

    db = NULL;

    pthread_mutex_lock(&ledger->databases_mutex);

    if (ledger->databases_pid != getpid()) {
        ledger->databases_pid = getpid();
        ledger->ndatabases = 0;
    }

    if (ledger->ndatabases) {
        db = ledger->databases[--ledger->ndatabases];
    }

    pthread_mutex_unlock(&ledger->databases_mutex);

    if (db && cycles_db_moved(db)) {
        sqlite3_close(db);
        db = NULL;
    }

    if (db == NULL) {
        db = cycles_db_open(ledger, 0, err, errlen);

        if (db == NULL && err[0] == '\0') {
            snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" has no tables "
                     "yet", ledger->path);
        }
    }

    return db;
}


void
cycles_ledger_database_return(cycles_ledger_t *ledger, struct sqlite3 *db)
{
    pthread_mutex_lock(&ledger->databases_mutex);

    if (ledger->ndatabases < CYCLES_KEPT_DATABASES) {
        ledger->databases[ledger->ndatabases++] = db;
        db = NULL;
    }

    pthread_mutex_unlock(&ledger->databases_mutex);

    sqlite3_close(db);
}


void
cycles_databases_free(cycles_ledger_t *ledger)
{
    if (ledger->databases_pid == getpid()) {
        while (ledger->ndatabases) {
            sqlite3_close(ledger->databases[--ledger->ndatabases]);
        }
    }
}


int
cycles_db_exists(cycles_ledger_t *ledger)
{
    struct stat  st;

    if (fstatat(ledger->dir_fd, CYCLES_DB_NAME, &st, 0) == 0) {
        return 1;
    }

    return (errno == ENOENT) ? 0 : -1;
}


/* with what is not yet in its place */

uint64_t
cycles_db_size(cycles_ledger_t *ledger)
{
    int                       i;
    uint64_t                  size;
    struct stat               st;
    static const char *const  names[] = {
        CYCLES_DB_NAME, CYCLES_DB_NAME "-wal"
    };

    for (size = 0, i = 0; i < 2; i++) {
        if (fstatat(ledger->dir_fd, names[i], &st, 0) == 0) {
            size += st.st_size;
        }
    }

    return size;
}


/*
 * SQLite would create it for others to read.  A file that is there is left
 * alone: to close it would give up the locks of this process on it.
 */

static int
cycles_db_file(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int  fd, rc;

    if (cycles_db_exists(ledger) == 1) {
        return 0;
    }

    fd = openat(ledger->dir_fd, CYCLES_DB_NAME,
                O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600);

    if (fd == -1 && errno == EEXIST) {
        return 0;
    }

    rc = (fd == -1) ? -1 : cycles_ledger_owner(ledger, fd);

    if (rc == -1) {
        snprintf(err, errlen, "can't create \"%s/" CYCLES_DB_NAME "\": %s",
                 ledger->path, strerror(errno));
    }

    if (fd != -1) {
        close(fd);
    }

    return rc;
}


/* a commit is on the disk when it returns: the log may be cut then */

static int
cycles_db_prepare(cycles_ledger_t *ledger, sqlite3 *db, int create, char *err,
    size_t errlen)
{
    int64_t  id, version;

    if (cycles_db_pragma(db, "application_id", &id) != SQLITE_OK
        || cycles_db_pragma(db, "user_version", &version) != SQLITE_OK)
    {
        cycles_db_error(ledger, db, err, errlen);
        return -1;
    }

    if (id == 0 && version == 0 && cycles_db_empty(db)) {

        if (!create) {
            err[0] = '\0';
            return -1;
        }

        if (cycles_db_create(ledger, db) != SQLITE_OK) {
            cycles_db_error(ledger, db, err, errlen);
            return -1;
        }

        id = CYCLES_DB_ID;
        version = CYCLES_DB_VERSION;
    }

    if (id != CYCLES_DB_ID) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" is not the database "
                 "of a ledger: restore it from a backup", ledger->path);
        return -1;
    }

    if (version != CYCLES_DB_VERSION) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" has version %" PRId64
                 " of the tables, this module knows version %d only: use the "
                 "version of the module that wrote it", ledger->path, version,
                 CYCLES_DB_VERSION);
        return -1;
    }

    if (sqlite3_exec(db, create ? "PRAGMA journal_mode=WAL;"
                                  "PRAGMA synchronous=FULL;"
                                  "PRAGMA wal_autocheckpoint=4000;"
                                  "PRAGMA journal_size_limit=67108864;"
                                  "PRAGMA cache_size=-16384"
                                : "PRAGMA query_only=ON;",
                     NULL, NULL, NULL)
        != SQLITE_OK)
    {
        cycles_db_error(ledger, db, err, errlen);
        return -1;
    }

    return 0;
}


/* who was to create the tables has died over it */

static int
cycles_db_empty(sqlite3 *db)
{
    int            empty;
    sqlite3_stmt  *st;

    if (sqlite3_prepare_v2(db, "SELECT name FROM sqlite_master LIMIT 1", -1,
                           &st, NULL)
        != SQLITE_OK)
    {
        return 0;
    }

    empty = (sqlite3_step(st) == SQLITE_DONE);

    sqlite3_finalize(st);

    return empty;
}


static int
cycles_db_create(cycles_ledger_t *ledger, sqlite3 *db)
{
    int   rc;
    char  text[512], uuid[2 * 16 + 1];
    int   i;

    for (i = 0; i < 16; i++) {
        snprintf(uuid + 2 * i, 3, "%02x", ledger->shm->uuid[i]);
    }

    snprintf(text, sizeof(text),
             "INSERT INTO meta VALUES (x'%s', 0, 0, 1, %d, 0, NULL, NULL);"
             "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
             uuid, CYCLES_SEGMENT_HEAD, CYCLES_DB_ID, CYCLES_DB_VERSION);

    rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, cycles_db_schema, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    }

    return rc;
}


static int
cycles_db_pragma(sqlite3 *db, const char *name, int64_t *value)
{
    int            rc;
    char           text[64];
    sqlite3_stmt  *st;

    snprintf(text, sizeof(text), "PRAGMA %s", name);

    rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);

    if (rc != SQLITE_OK) {
        return rc;
    }

    if (sqlite3_step(st) == SQLITE_ROW) {
        *value = sqlite3_column_int64(st, 0);
    }

    return sqlite3_finalize(st);
}


int
cycles_db_found(cycles_ledger_t *ledger, char *err, size_t errlen)
{
    int       rc;
    sqlite3  *db;

    db = cycles_db_open(ledger, 1, err, errlen);

    if (db == NULL) {
        return -1;
    }

    rc = sqlite3_exec(db, "UPDATE meta SET log = NULL", NULL, NULL, NULL);

    if (rc != SQLITE_OK) {
        cycles_db_error(ledger, db, err, errlen);
    }

    sqlite3_close(db);

    return rc == SQLITE_OK ? 0 : -1;
}


int
cycles_db_moved(sqlite3 *db)
{
    int  moved;

    moved = 0;

    (void) sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);

    return moved;
}


int
cycles_db_meta(cycles_ledger_t *ledger, sqlite3 *db, cycles_db_meta_t *meta,
    char *err, size_t errlen)
{
    sqlite3_stmt  *st;

    memset(meta, 0, sizeof(cycles_db_meta_t));

    if (sqlite3_prepare_v2(db, "SELECT uuid, folded, segment, segment_offset,"
                           " expired, admin_key_sha256, log = 'lost' FROM"
                           " meta", -1, &st, NULL)
        != SQLITE_OK)
    {
        cycles_db_error(ledger, db, err, errlen);
        return -1;
    }

    if (sqlite3_step(st) == SQLITE_ROW
        && sqlite3_column_bytes(st, 0) == 16)
    {
        memcpy(meta->uuid, sqlite3_column_blob(st, 0), 16);
        meta->folded = sqlite3_column_int64(st, 1);
        meta->segment = sqlite3_column_int64(st, 2);
        meta->offset = sqlite3_column_int64(st, 3);
        meta->expired = sqlite3_column_int64(st, 4);

        if (sqlite3_column_bytes(st, 5) == 32) {
            meta->has_admin_key = 1;
            memcpy(meta->admin_key, sqlite3_column_blob(st, 5), 32);
        }

        meta->log_lost = sqlite3_column_int(st, 6);
        meta->exists = 1;
    }

    if (sqlite3_finalize(st) != SQLITE_OK) {
        cycles_db_error(ledger, db, err, errlen);
        return -1;
    }

    if (!meta->exists || meta->segment == 0) {
        snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\" is damaged: it does "
                 "not say how much of the log it has, restore it from a "
                 "backup", ledger->path);
        return -1;
    }

    return 0;
}


int64_t
cycles_db_key_hash(const cycles_digest_t *key)
{
    return (int64_t) cycles_get64(key->bytes);
}


void
cycles_db_error(cycles_ledger_t *ledger, sqlite3 *db, char *err,
    size_t errlen)
{
    int          code, saved;
    const char  *more;

    code = db ? sqlite3_errcode(db) & 0xff : SQLITE_NOMEM;
    saved = db ? sqlite3_system_errno(db) : 0;
    more = "";

    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        more = ", restore it from a backup";

    } else if (saved && (code == SQLITE_CANTOPEN || code == SQLITE_IOERR)) {
        more = strerror(saved);
    }

    snprintf(err, errlen, "\"%s/" CYCLES_DB_NAME "\": %s%s%s", ledger->path,
             db ? sqlite3_errmsg(db) : "out of memory",
             (*more && *more != ',') ? ": " : "", more);
}


void
cycles_bind_init(cycles_bind_t *b, sqlite3_stmt *st)
{
    b->st = st;
    b->n = 0;
}


void
cycles_bind_int(cycles_bind_t *b, int64_t n)
{
    (void) sqlite3_bind_int64(b->st, ++b->n, n);
}


void
cycles_bind_opt_int(cycles_bind_t *b, int64_t n)
{
    if (n == -1) {
        cycles_bind_null(b);

    } else {
        cycles_bind_int(b, n);
    }
}


void
cycles_bind_time(cycles_bind_t *b, int64_t ms)
{
    if (ms == 0) {
        cycles_bind_null(b);

    } else {
        cycles_bind_int(b, ms);
    }
}


void
cycles_bind_amount(cycles_bind_t *b, int64_t amount)
{
    if (amount == CYCLES_NOT_KNOWN) {
        cycles_bind_null(b);

    } else {
        cycles_bind_int(b, amount);
    }
}


void
cycles_bind_str(cycles_bind_t *b, cycles_str_t s)
{
    (void) sqlite3_bind_text(b->st, ++b->n,
                             s.len ? (const char *) s.data : "", s.len,
                             SQLITE_STATIC);
}


void
cycles_bind_opt_str(cycles_bind_t *b, cycles_str_t s)
{
    if (s.len == 0) {
        cycles_bind_null(b);

    } else {
        cycles_bind_str(b, s);
    }
}


void
cycles_bind_name(cycles_bind_t *b, const char *name)
{
    (void) sqlite3_bind_text(b->st, ++b->n, name, -1, SQLITE_STATIC);
}


void
cycles_bind_text(cycles_bind_t *b, const void *p, size_t len)
{
    (void) sqlite3_bind_text(b->st, ++b->n, p, (int) len, SQLITE_STATIC);
}


void
cycles_bind_blob(cycles_bind_t *b, const void *p, size_t len)
{
    (void) sqlite3_bind_blob(b->st, ++b->n, p, len, SQLITE_STATIC);
}


void
cycles_bind_id(cycles_bind_t *b, const uint8_t *id)
{
    char  text[CYCLES_UUID_LEN + 1];

    cycles_id_print(id, text);

    (void) sqlite3_bind_text(b->st, ++b->n, text, CYCLES_UUID_LEN,
                             SQLITE_TRANSIENT);
}


void
cycles_bind_null(cycles_bind_t *b)
{
    /* as cycles_fold_run() has left it, or sqlite3_prepare() */

    b->n++;
}


cycles_str_t
cycles_column_str(sqlite3_stmt *st, int n)
{
    cycles_str_t  s;

    s.data = (unsigned char *) sqlite3_column_text(st, n);
    s.len = sqlite3_column_bytes(st, n);

    return s;
}


int64_t
cycles_column_opt_int(sqlite3_stmt *st, int n)
{
    return sqlite3_column_type(st, n) == SQLITE_NULL
           ? -1 : sqlite3_column_int64(st, n);
}


int64_t
cycles_column_amount(sqlite3_stmt *st, int n)
{
    return sqlite3_column_type(st, n) == SQLITE_NULL
           ? CYCLES_NOT_KNOWN : sqlite3_column_int64(st, n);
}


int
cycles_column_digest(sqlite3_stmt *st, int n, cycles_digest_t *digest)
{
    const void  *p;

    p = sqlite3_column_blob(st, n);

    if (sqlite3_column_bytes(st, n) != sizeof(cycles_digest_t)) {
        return -1;
    }

    memcpy(digest, p, sizeof(cycles_digest_t));

    return 0;
}


int
cycles_column_unit(sqlite3_stmt *st, int n)
{
    cycles_str_t  s;

    s = cycles_column_str(st, n);

    return cycles_unit_find(s.data, s.len);
}


int
cycles_column_policy(sqlite3_stmt *st, int n)
{
    cycles_str_t  s;

    s = cycles_column_str(st, n);

    return cycles_policy_find(s.data, s.len);
}


int
cycles_column_name(sqlite3_stmt *st, int n, const char *const *names,
    int nnames)
{
    int           i;
    cycles_str_t  s;

    s = cycles_column_str(st, n);

    for (i = 0; i < nnames; i++) {
        if (strlen(names[i]) == s.len
            && memcmp(names[i], s.data, s.len) == 0)
        {
            return i;
        }
    }

    return -1;
}
