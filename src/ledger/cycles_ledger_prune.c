
/*
 * Copyright (C) nginx-cycles authors
 *
 * Rows of ledger.db that nobody asks for any more are removed, the oldest
 * first, a few at a time.
 */


#include "cycles_ledger_db.h"


/* rows of each table, in one call */
#define CYCLES_PRUNE_ROWS    500

/* decisions are there for their keys only */
#define CYCLES_PRUNE_KEYS_MS 86400000LL


typedef struct {
    const char  *sql;
    int          keys;
} cycles_prune_t;


/*
 * The number of a row follows the time when it was made: the first ones are
 * the oldest.  A reservation that lives stays, and what ended long ago behind
 * so many that live stays with them.
 */

#define CYCLES_PRUNE_ENDED                                                    \
    "(SELECT seq FROM (SELECT seq, finalized_at_ms FROM reservation_rows"     \
    " ORDER BY seq LIMIT ?2) WHERE finalized_at_ms < ?1)"

static const cycles_prune_t  cycles_prunes[] = {

    { "DELETE FROM extensions WHERE reservation IN " CYCLES_PRUNE_ENDED, 0 },

    { "DELETE FROM reservation_rows WHERE seq IN " CYCLES_PRUNE_ENDED, 0 },

    { "DELETE FROM reservation_bundles WHERE finalized_to_ms < ?1 AND first_seq"
      " IN (SELECT first_seq FROM reservation_bundles ORDER BY first_seq"
      " LIMIT (?2 + 99) / 100)", 0 },

    { "DELETE FROM events WHERE created_at_ms < ?1 AND seq IN"
      " (SELECT seq FROM events ORDER BY seq LIMIT ?2)", 0 },

    { "DELETE FROM decisions WHERE created_at_ms < ?1 AND seq IN"
      " (SELECT seq FROM decisions ORDER BY seq LIMIT ?2)", 1 }
};

#define CYCLES_PRUNES  (sizeof(cycles_prunes) / sizeof(cycles_prunes[0]))


static int cycles_prune_run(sqlite3 *db, const cycles_prune_t *prune,
    int64_t before);


int
cycles_fold_prune(cycles_folder_t *f, int64_t now, int64_t retention_ms,
    unsigned *more)
{
    int       rc;
    int64_t   keep;
    unsigned  i;

    if (retention_ms == 0) {
        return 0;
    }

    if (sqlite3_exec(f->db, "BEGIN IMMEDIATE", NULL, NULL, NULL)
        != SQLITE_OK)
    {
        return -1;
    }

    for (rc = 0, i = 0; rc == 0 && i < CYCLES_PRUNES; i++) {
        keep = retention_ms;

        if (cycles_prunes[i].keys && keep > CYCLES_PRUNE_KEYS_MS) {
            keep = CYCLES_PRUNE_KEYS_MS;
        }

        rc = cycles_prune_run(f->db, &cycles_prunes[i], now - keep);

        /* not all of those that were looked at: some live */

        if (rc == 0 && sqlite3_changes(f->db) > 0) {
            *more = 1;
        }
    }

    if (rc == 0
        && sqlite3_exec(f->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
    {
        return 0;
    }

    return -1;
}


static int
cycles_prune_run(sqlite3 *db, const cycles_prune_t *prune, int64_t before)
{
    sqlite3_stmt  *st;

    if (sqlite3_prepare_v2(db, prune->sql, -1, &st, NULL) != SQLITE_OK) {
        return -1;
    }

    (void) sqlite3_bind_int64(st, 1, before);
    (void) sqlite3_bind_int(st, 2, CYCLES_PRUNE_ROWS);
    (void) sqlite3_step(st);

    return sqlite3_finalize(st) == SQLITE_OK ? 0 : -1;
}
