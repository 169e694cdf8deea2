
/*
 * Copyright (C) nginx-cycles authors
 *
 * Reservations as the API tells them, one or a page.  They come from a thread
 * that reads the database row by row, so their text grows as they come.
 */


#include <stdlib.h>
#include <string.h>

#include "cycles_api.h"


#define CYCLES_API_ROWS_MIN  4096


static void cycles_api_write_reservation(cycles_json_t *js,
    const cycles_reservation_t *row, unsigned include);
static void cycles_api_write_subject(cycles_json_t *js,
    const cycles_reservation_t *row);
static void cycles_api_write_action(cycles_json_t *js,
    const cycles_reservation_t *row);
static void cycles_api_write_raw(cycles_json_t *js, const char *name,
    cycles_str_t json);


/* by cycles_status_t */

static const char *const  cycles_api_reservation_statuses[] = {
    "ACTIVE", "COMMITTED", "RELEASED", "EXPIRED"
};


int
cycles_api_rows_add(void *data, const cycles_reservation_t *row)
{
    cycles_api_rows_t *rows = data;

    size_t          size;
    cycles_json_t   js;
    unsigned char  *p;

    cycles_json_init(&js, NULL, 0);
    cycles_api_write_reservation(&js, row, rows->include);

    if (rows->size - rows->len < js.len + 1) {
        size = 2 * rows->size + js.len + CYCLES_API_ROWS_MIN;
        p = realloc(rows->text, size);

        if (p == NULL) {
            return -1;
        }

        rows->text = p;
        rows->size = size;
    }

    if (rows->len) {
        rows->text[rows->len++] = ',';
    }

    cycles_json_init(&js, rows->text + rows->len, rows->size - rows->len);
    cycles_api_write_reservation(&js, row, rows->include);

    rows->len += js.len;

    return 0;
}


void
cycles_api_rows_free(cycles_api_rows_t *rows)
{
    free(rows->text);
    rows->text = NULL;
}


void
cycles_api_write_list(cycles_json_t *js, const cycles_api_rows_t *rows,
    const cycles_cursor_t *next)
{
    cycles_str_t  cursor;

    cycles_json_begin(js);
    cycles_json_key(js, "reservations", 12);
    cycles_json_raw(js, "[", 1);
    cycles_json_raw(js, rows->text, rows->len);
    cycles_json_raw(js, "]", 1);
    cycles_api_write_flag(js, "has_more", next->len != 0);

    if (next->len) {
        cursor.len = next->len;
        cursor.data = (unsigned char *) next->text;

        cycles_json_member_string(js, "next_cursor", cursor);
    }

    cycles_json_end(js);
}


static void
cycles_api_write_reservation(cycles_json_t *js,
    const cycles_reservation_t *row, unsigned include)
{
    cycles_json_begin(js);
    cycles_json_member_string(js, "reservation_id", row->id);
    cycles_json_member_name(js, "status",
                            cycles_api_reservation_statuses[row->status]);
    cycles_json_member_string(js, "idempotency_key", row->idempotency_key);
    cycles_api_write_subject(js, row);
    cycles_api_write_action(js, row);
    cycles_api_write_amount(js, "reserved", row->unit, row->reserved);

    if (row->status == CYCLES_COMMITTED) {
        cycles_api_write_amount(js, "committed", row->unit, row->committed);
    }

    cycles_json_member_integer(js, "created_at_ms", row->created_at_ms);
    cycles_json_member_integer(js, "expires_at_ms", row->expires_at_ms);

    if (row->status == CYCLES_COMMITTED || row->status == CYCLES_RELEASED) {
        cycles_json_member_integer(js, "finalized_at_ms",
                                   row->finalized_at_ms);
    }

    cycles_json_member_string(js, "scope_path", row->scope_path);
    cycles_json_key(js, "affected_scopes", 15);
    cycles_api_write_scopes(js, row->scope_path);

    if (include & CYCLES_API_METADATA) {
        cycles_api_write_raw(js, "metadata", row->metadata);
    }

    if (include & CYCLES_API_COMMITTED_METADATA) {
        cycles_api_write_raw(js, "committed_metadata",
                             row->committed_metadata);
    }

    cycles_json_end(js);
}


static void
cycles_api_write_subject(cycles_json_t *js, const cycles_reservation_t *row)
{
    unsigned  i;

    cycles_json_key(js, "subject", 7);
    cycles_json_begin(js);

    for (i = 0; i < CYCLES_LEVELS; i++) {
        if (row->levels[i].len) {
            cycles_json_member_string(js, cycles_level_name(i),
                                      row->levels[i]);
        }
    }

    cycles_api_write_raw(js, "dimensions", row->dimensions);
    cycles_json_end(js);
}


static void
cycles_api_write_action(cycles_json_t *js, const cycles_reservation_t *row)
{
    cycles_json_key(js, "action", 6);
    cycles_json_begin(js);
    cycles_json_member_string(js, "kind", row->action_kind);
    cycles_json_member_string(js, "name", row->action_name);
    cycles_api_write_raw(js, "tags", row->action_tags);
    cycles_json_end(js);
}


static void
cycles_api_write_raw(cycles_json_t *js, const char *name, cycles_str_t json)
{
    if (json.len) {
        cycles_json_key(js, name, strlen(name));
        cycles_json_raw(js, json.data, json.len);
    }
}
