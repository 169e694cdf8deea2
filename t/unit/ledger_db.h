
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the tests of ledger.db share: folding, and looking into its tables.
 */


#ifndef _TEST_LEDGER_DB_H_INCLUDED_
#define _TEST_LEDGER_DB_H_INCLUDED_


#include <sqlite3.h>

#include "ledger.h"


/* the first row of a query as "a|b|c", NULL as "-" */

static inline const char *
query(cycles_ledger_t *l, const char *sql)
{
    int            i, n;
    sqlite3       *db;
    const char    *text;
    sqlite3_stmt  *st;
    static char    row[8][1024];
    static int     slot;

    slot = (slot + 1) % 8;
    row[slot][0] = '\0';
    db = cycles_ledger_database(l, led_err, sizeof(led_err));

    if (db == NULL) {
        return led_err;
    }

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) {
        snprintf(row[slot], sizeof(row[slot]), "%s", sqlite3_errmsg(db));
        cycles_ledger_database_return(l, db);
        return row[slot];
    }

    if (sqlite3_step(st) == SQLITE_ROW) {
        for (n = 0, i = 0; i < sqlite3_column_count(st); i++) {
            text = (const char *) sqlite3_column_text(st, i);
            n += snprintf(row[slot] + n, sizeof(row[slot]) - n, "%s%s",
                          i ? "|" : "", text ? text : "-");
        }
    }

    sqlite3_finalize(st);
    cycles_ledger_database_return(l, db);

    return row[slot];
}


static cycles_fold_t  folded;


static inline int
fold_at(cycles_ledger_t *l, int64_t now, int64_t retention)
{
    int  rc;

    cycles_ledger_want_folded(l, cycles_ledger_written(l));

    do {
        rc = cycles_ledger_fold(l, now, retention, &folded, led_err,
                                sizeof(led_err));
    } while (rc == 0 && folded.more);

    if (rc != 0) {
        printf("# fold: %s\n", led_err);
    }

    return rc;
}


static inline int
fold(cycles_ledger_t *l)
{
    return fold_at(l, T0 + 5000, 0);
}


#endif /* _TEST_LEDGER_DB_H_INCLUDED_ */
