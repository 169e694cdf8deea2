
/*
 * Copyright (C) nginx-cycles authors
 *
 * cycles_bundle(rows): the rows of a bundle, see cycles_ledger_bundle.c, as a
 * table with a column for each value.  json_each() and "->>" tell the same,
 * but parse the text of a row for each of its values.
 */


#include <stdlib.h>
#include <string.h>

#include "cycles_ledger_db.h"


/* columns behind the values: the number of the row, and the argument */
#define CYCLES_BUNDLE_KEY   CYCLES_BUNDLE_VALUES
#define CYCLES_BUNDLE_ROWS_ARGUMENT  (CYCLES_BUNDLE_VALUES + 1)


typedef struct {
    sqlite3_vtab_cursor   base;
    sqlite3_value        *rows;
    const char           *p;              /* what follows the row */
    const char           *end;
    int64_t               key;
    unsigned              eof;
    cycles_str_t          values[CYCLES_BUNDLE_VALUES];
} cycles_bundle_cursor_t;


static int cycles_bundle_connect(sqlite3 *db, void *data, int argc,
    const char *const *argv, sqlite3_vtab **vtab, char **err);
static int cycles_bundle_best_index(sqlite3_vtab *vtab,
    sqlite3_index_info *info);
static int cycles_bundle_disconnect(sqlite3_vtab *vtab);
static int cycles_bundle_open(sqlite3_vtab *vtab,
    sqlite3_vtab_cursor **cursor);
static int cycles_bundle_close(sqlite3_vtab_cursor *cursor);
static int cycles_bundle_filter(sqlite3_vtab_cursor *cursor, int number,
    const char *name, int argc, sqlite3_value **argv);
static int cycles_bundle_next(sqlite3_vtab_cursor *cursor);
static int cycles_bundle_eof(sqlite3_vtab_cursor *cursor);
static int cycles_bundle_column(sqlite3_vtab_cursor *cursor,
    sqlite3_context *context, int n);
static int cycles_bundle_rowid(sqlite3_vtab_cursor *cursor,
    sqlite3_int64 *rowid);
static int cycles_bundle_read(cycles_bundle_cursor_t *c);
static int cycles_bundle_value(cycles_bundle_cursor_t *c,
    cycles_str_t *value);


static const sqlite3_module  cycles_bundle_functions = {
    .xConnect = cycles_bundle_connect,
    .xBestIndex = cycles_bundle_best_index,
    .xDisconnect = cycles_bundle_disconnect,
    .xOpen = cycles_bundle_open,
    .xClose = cycles_bundle_close,
    .xFilter = cycles_bundle_filter,
    .xNext = cycles_bundle_next,
    .xEof = cycles_bundle_eof,
    .xColumn = cycles_bundle_column,
    .xRowid = cycles_bundle_rowid
};


int
cycles_bundle_module(sqlite3 *db)
{
    return sqlite3_create_module_v2(db, "cycles_bundle",
                                    &cycles_bundle_functions, NULL, NULL);
}


static int
cycles_bundle_connect(sqlite3 *db, void *data, int argc,
    const char *const *argv, sqlite3_vtab **vtab, char **err)
{
    int  rc;

    rc = sqlite3_declare_vtab(db, "CREATE TABLE bundle (c0, c1, c2, c3, c4,"
                              " c5, c6, c7, c8, c9, c10, c11, c12, c13, c14,"
                              " c15, c16, c17, key, rows HIDDEN)");

    if (rc != SQLITE_OK) {
        return rc;
    }

    *vtab = sqlite3_malloc(sizeof(sqlite3_vtab));

    if (*vtab == NULL) {
        return SQLITE_NOMEM;
    }

    memset(*vtab, 0, sizeof(sqlite3_vtab));

    return SQLITE_OK;
}


static int
cycles_bundle_disconnect(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);

    return SQLITE_OK;
}


/* there is nothing to be read without the argument */

static int
cycles_bundle_best_index(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    int  i;

    for (i = 0; i < info->nConstraint; i++) {

        if (info->aConstraint[i].iColumn == CYCLES_BUNDLE_ROWS_ARGUMENT
            && info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_EQ
            && info->aConstraint[i].usable)
        {
            info->aConstraintUsage[i].argvIndex = 1;
            info->aConstraintUsage[i].omit = 1;
            info->estimatedCost = CYCLES_BUNDLE_ROWS;
            info->estimatedRows = CYCLES_BUNDLE_ROWS;

            return SQLITE_OK;
        }
    }

    return SQLITE_CONSTRAINT;
}


static int
cycles_bundle_open(sqlite3_vtab *vtab, sqlite3_vtab_cursor **cursor)
{
    cycles_bundle_cursor_t  *c;

    c = sqlite3_malloc(sizeof(cycles_bundle_cursor_t));

    if (c == NULL) {
        return SQLITE_NOMEM;
    }

    memset(c, 0, sizeof(cycles_bundle_cursor_t));
    *cursor = &c->base;

    return SQLITE_OK;
}


static int
cycles_bundle_close(sqlite3_vtab_cursor *cursor)
{
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    sqlite3_value_free(c->rows);
    sqlite3_free(c);

    return SQLITE_OK;
}


static int
cycles_bundle_filter(sqlite3_vtab_cursor *cursor, int number,
    const char *name, int argc, sqlite3_value **argv)
{
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    sqlite3_value_free(c->rows);
    c->rows = sqlite3_value_dup(argv[0]);

    if (c->rows == NULL) {
        return SQLITE_NOMEM;
    }

    c->p = (const char *) sqlite3_value_text(c->rows);

    if (c->p == NULL) {
        return SQLITE_NOMEM;
    }

    c->end = c->p + sqlite3_value_bytes(c->rows);
    c->key = -1;
    c->eof = 0;

    if (c->p == c->end || *c->p++ != '[') {
        return SQLITE_CORRUPT_VTAB;
    }

    return cycles_bundle_next(cursor);
}


static int
cycles_bundle_next(sqlite3_vtab_cursor *cursor)
{
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    c->key++;

    if (c->p < c->end && *c->p == ']') {
        c->eof = 1;
        return SQLITE_OK;
    }

    if (c->key > 0 && (c->p == c->end || *c->p++ != ',')) {
        return SQLITE_CORRUPT_VTAB;
    }

    return cycles_bundle_read(c) == 0 ? SQLITE_OK : SQLITE_CORRUPT_VTAB;
}


static int
cycles_bundle_read(cycles_bundle_cursor_t *c)
{
    unsigned  i;

    for (i = 0; i < CYCLES_BUNDLE_VALUES; i++) {

        if (c->p == c->end || *c->p++ != (i ? ',' : '[')
            || cycles_bundle_value(c, &c->values[i]) != 0)
        {
            return -1;
        }
    }

    return (c->p < c->end && *c->p++ == ']') ? 0 : -1;
}


/* a number, a null, or a string that has no escapes, with its quotes */

static int
cycles_bundle_value(cycles_bundle_cursor_t *c, cycles_str_t *value)
{
    const char  *p;

    value->data = (unsigned char *) c->p;

    if (c->p < c->end && *c->p == '"') {
        p = memchr(c->p + 1, '"', c->end - c->p - 1);

        if (p == NULL) {
            return -1;
        }

        c->p = p + 1;

    } else {
        while (c->p < c->end && *c->p != ',' && *c->p != ']') {
            c->p++;
        }
    }

    value->len = (unsigned char *) c->p - value->data;

    return 0;
}


static int
cycles_bundle_eof(sqlite3_vtab_cursor *cursor)
{
    return ((cycles_bundle_cursor_t *) cursor)->eof;
}


static int
cycles_bundle_column(sqlite3_vtab_cursor *cursor, sqlite3_context *context,
    int n)
{
    cycles_str_t            *value;
    cycles_bundle_cursor_t  *c = (cycles_bundle_cursor_t *) cursor;

    if (n == CYCLES_BUNDLE_KEY) {
        sqlite3_result_int64(context, c->key);
        return SQLITE_OK;
    }

    if (n >= CYCLES_BUNDLE_VALUES) {
        return SQLITE_OK;
    }

    value = &c->values[n];

    if (value->len && value->data[0] == '"') {
        sqlite3_result_text(context, (char *) value->data + 1,
                            (int) value->len - 2, SQLITE_TRANSIENT);

    } else if (value->len && value->data[0] != 'n') {
        sqlite3_result_int64(context, strtoll((char *) value->data, NULL, 10));
    }

    return SQLITE_OK;
}


static int
cycles_bundle_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid)
{
    *rowid = ((cycles_bundle_cursor_t *) cursor)->key;

    return SQLITE_OK;
}
