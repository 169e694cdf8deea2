
/*
 * Copyright (C) nginx-cycles authors
 *
 * The journal in nginx: the disk in a thread, and the search for records that
 * nobody settles any more.
 */


#ifndef _NGX_HTTP_CYCLES_JOURNAL_H_INCLUDED_
#define _NGX_HTTP_CYCLES_JOURNAL_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "cycles_journal.h"


typedef struct ngx_http_cycles_journal_s        ngx_http_cycles_journal_t;
typedef struct ngx_http_cycles_journal_entry_s  ngx_http_cycles_journal_entry_t;

/* "cycles_journal" */

typedef struct {
    ngx_path_t                      *path;
    ngx_msec_t                       flush_timeout;
    ngx_msec_t                       replay_time;
#if (NGX_THREADS)
    ngx_thread_pool_t               *threads;
#endif
} ngx_http_cycles_journal_conf_t;


/* error: 0, or an errno */

typedef void (*ngx_http_cycles_journal_pt)(void *data, ngx_err_t error);

/*
 * Is given a record to settle.  NGX_OK: it will end the entry.  NGX_DECLINED:
 * it can't, for now.  The record's strings live until the entry has ended.
 */

typedef ngx_int_t (*ngx_http_cycles_journal_replay_pt)(
    ngx_http_cycles_journal_entry_t *entry, cycles_journal_found_t *found);


/* the journal of this worker; NULL: there is none, or it can't be used */

ngx_http_cycles_journal_t *ngx_http_cycles_journal(void);


/*
 * Opens the journal in a worker, and looks for records of these servers from
 * now on, which replay() is given.  A journal that can't be opened is told in
 * the log, and then there is none.  NGX_ERROR: no memory.
 */

ngx_int_t ngx_http_cycles_journal_start(ngx_cycle_t *cycle,
    ngx_http_cycles_journal_conf_t *conf, const cycles_str_t *base_urls,
    ngx_uint_t n, ngx_http_cycles_journal_replay_pt replay);

void ngx_http_cycles_journal_stop(void);

/*
 * This worker may be able to settle what another one that looks for records
 * can't: it looks for itself as well, soon, a few times.
 */

void ngx_http_cycles_journal_look(void);

/* how long a worker that quits goes on settling; 0: there is no journal */

ngx_msec_t ngx_http_cycles_journal_flush_timeout(void);


/*
 * A record that this worker is going to write: of which reservation, at which
 * server, of which tenant (or, if that is empty, of which key).  The strings
 * are copied.  NULL: no memory, or this worker has a record of this name
 * already, which is so when several requests share a reservation.
 */

ngx_http_cycles_journal_entry_t *ngx_http_cycles_journal_add(
    ngx_http_cycles_journal_t *journal, ngx_str_t *reservation_id,
    ngx_str_t *base_url, ngx_str_t *tenant, ngx_str_t *api_key);

/*
 * Puts a record on the disk, over what the entry had there before.  The
 * handler is called once, from the event loop, not before this returns; at
 * most one of them is under way for an entry.  NGX_ERROR: no memory, the
 * handler is not called.
 */

ngx_int_t ngx_http_cycles_journal_put(ngx_http_cycles_journal_entry_t *entry,
    const cycles_journal_record_t *record, ngx_http_cycles_journal_pt handler,
    void *data);

/*
 * The last one of an entry, which must not be used any more: its file is
 * removed, or, with keep, stays for the next one who looks for it.
 */

void ngx_http_cycles_journal_end(ngx_http_cycles_journal_entry_t *entry,
    ngx_uint_t keep);


#endif /* _NGX_HTTP_CYCLES_JOURNAL_H_INCLUDED_ */
