
/*
 * Copyright (C) nginx-cycles authors
 *
 * The journal in nginx.  All that blocks is done in threads, at most one for
 * each of two steps: files are written, removed and looked for in the order in
 * which it was asked for; what is written is then synced, together with what
 * was written while the disk was busy with others.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <ngx_md5.h>

#include "ngx_http_cycles_journal.h"
#include "../status/ngx_http_cycles_counters.h"


/* records of others that are under way at once */
#define NGX_HTTP_CYCLES_JOURNAL_FOUND   16

/* how soon somebody else looks for records when the one who did has gone */
#define NGX_HTTP_CYCLES_JOURNAL_LEAD    1000

#define NGX_HTTP_CYCLES_JOURNAL_HOLD    60000

/* a record may be in the hands of who leads, who will let it go */
#define NGX_HTTP_CYCLES_JOURNAL_LOOKS   3

/* a power of two */
#define NGX_HTTP_CYCLES_JOURNAL_CACHE   4096


/*
 * All of one record in this process.  It is made of malloc()ed memory, since
 * it is in a thread's hands when the reservation it came from is long gone.
 */

struct ngx_http_cycles_journal_entry_s {
    ngx_str_node_t                      node;       /* the reservation's id */
    ngx_http_cycles_journal_t          *journal;
    cycles_journal_job_t                job;
    ngx_http_cycles_journal_pt          handler;
    void                               *data;
    u_char                             *text;
    size_t                              size;
    u_char                              whom[16];   /* it is of */
    cycles_journal_found_t             *found;      /* of a replay */
    unsigned                            ended:1;
    unsigned                            foreign:1;  /* another process has it */
};


typedef struct {
    u_char                              whom[16];
    char                                identity[CYCLES_JOURNAL_IDENTITY + 1];
} ngx_http_cycles_journal_identity_t;


/* jobs that wait for a thread, and those that it has */

typedef struct {
    cycles_journal_job_t               *jobs;
    cycles_journal_job_t              **last;
    cycles_journal_job_t               *running;
    ngx_msec_t                          time;       /* they were given to it */

    ngx_event_t                         done;       /* without a thread */
#if (NGX_THREADS)
    ngx_thread_task_t                  *task;
#endif

    unsigned                            busy:1;
} ngx_http_cycles_journal_step_t;


/* of a worker */

struct ngx_http_cycles_journal_s {
    ngx_http_cycles_journal_conf_t     *conf;
    cycles_journal_t                   *core;
    ngx_log_t                          *log;

    ngx_rbtree_t                        entries;
    ngx_rbtree_node_t                   sentinel;

    ngx_http_cycles_journal_step_t      write;
    ngx_http_cycles_journal_step_t      sync;

    ngx_http_cycles_journal_replay_pt   replay;
    const cycles_str_t                 *base_urls;
    ngx_uint_t                          nbase_urls;

    ngx_event_t                         timer;      /* of the next search */
    cycles_journal_scan_t               scan;
    ngx_uint_t                          found;      /* and not ended yet */
    ngx_msec_t                          looked;     /* without leading */
    ngx_uint_t                          eager;      /* so often still */
    ngx_uint_t                          looks;      /* now */
    uint64_t                            pending;    /* in this walk so far */
    time_t                              complained;

    unsigned                            search:1;   /* is wanted */
    unsigned                            searching:1;
    unsigned                            leads:1;

    ngx_http_cycles_journal_identity_t  identities[
                                              NGX_HTTP_CYCLES_JOURNAL_CACHE];
};


typedef void (*ngx_http_cycles_journal_thread_pt)(void *data, ngx_log_t *log);


static void ngx_http_cycles_journal_whom(
    ngx_http_cycles_journal_entry_t *entry);
static ngx_http_cycles_journal_identity_t *ngx_http_cycles_journal_identity(
    ngx_http_cycles_journal_entry_t *entry);
static void ngx_http_cycles_journal_recall(
    ngx_http_cycles_journal_entry_t *entry);
static void ngx_http_cycles_journal_push(
    ngx_http_cycles_journal_entry_t *entry, cycles_journal_op_t op);
static ngx_int_t ngx_http_cycles_journal_step_init(ngx_cycle_t *cycle,
    ngx_http_cycles_journal_t *journal, ngx_http_cycles_journal_step_t *step,
    ngx_http_cycles_journal_thread_pt thread, ngx_event_handler_pt done);
static ngx_http_cycles_journal_entry_t *ngx_http_cycles_journal_entry(
    cycles_journal_job_t *job);
static void ngx_http_cycles_journal_append(
    ngx_http_cycles_journal_step_t *step, cycles_journal_job_t *job);
static void ngx_http_cycles_journal_begin(ngx_http_cycles_journal_t *journal);
static void ngx_http_cycles_journal_post(ngx_http_cycles_journal_t *journal,
    ngx_http_cycles_journal_step_t *step,
    ngx_http_cycles_journal_thread_pt thread);
static void ngx_http_cycles_journal_write_thread(void *data, ngx_log_t *log);
static void ngx_http_cycles_journal_sync_thread(void *data, ngx_log_t *log);
static void ngx_http_cycles_journal_trouble(void *data, int error,
    const char *text);
static ngx_int_t ngx_http_cycles_journal_ended(ngx_event_t *ev);
static void ngx_http_cycles_journal_written(ngx_event_t *ev);
static void ngx_http_cycles_journal_pass(ngx_http_cycles_journal_t *journal,
    cycles_journal_job_t *job);
static void ngx_http_cycles_journal_synced(ngx_event_t *ev);
static void ngx_http_cycles_journal_job_done(cycles_journal_job_t *job);
static void ngx_http_cycles_journal_complain(
    ngx_http_cycles_journal_t *journal, ngx_err_t error,
    ngx_http_cycles_journal_entry_t *entry);
static void ngx_http_cycles_journal_forget(
    ngx_http_cycles_journal_entry_t *entry);

static void ngx_http_cycles_journal_timer(ngx_event_t *ev);
static void ngx_http_cycles_journal_may_look(
    ngx_http_cycles_journal_t *journal);
static void ngx_http_cycles_journal_found(ngx_http_cycles_journal_t *journal);
static void ngx_http_cycles_journal_tell(ngx_http_cycles_journal_t *journal);
static void ngx_http_cycles_journal_offer(ngx_http_cycles_journal_t *journal,
    cycles_journal_found_t *found);
static void ngx_http_cycles_journal_again(ngx_http_cycles_journal_t *journal);


static ngx_http_cycles_journal_t  *ngx_http_cycles_the_journal;


ngx_http_cycles_journal_t *
ngx_http_cycles_journal(void)
{
    return ngx_http_cycles_the_journal;
}


ngx_msec_t
ngx_http_cycles_journal_flush_timeout(void)
{
    ngx_http_cycles_journal_t  *journal;

    journal = ngx_http_cycles_the_journal;

    return journal ? journal->conf->flush_timeout : 0;
}


void
ngx_http_cycles_journal_look(void)
{
    if (ngx_http_cycles_the_journal) {
        ngx_http_cycles_the_journal->eager = NGX_HTTP_CYCLES_JOURNAL_LOOKS;
    }
}


ngx_int_t
ngx_http_cycles_journal_start(ngx_cycle_t *cycle,
    ngx_http_cycles_journal_conf_t *conf, const cycles_str_t *base_urls,
    ngx_uint_t n, ngx_http_cycles_journal_replay_pt replay)
{
    char                        err[CYCLES_JOURNAL_ERROR_LEN];
    cycles_journal_t           *core;
    ngx_http_cycles_journal_t  *journal;

    core = cycles_journal_open((char *) conf->path->name.data, err,
                               sizeof(err));

    if (core == NULL) {

        /* to settle without a journal is better than not to settle */

        ngx_log_error(NGX_LOG_CRIT, cycle->log, 0,
                      "cycles: %s; settlements go on without it", err);
        return NGX_OK;
    }

    journal = ngx_pcalloc(cycle->pool, sizeof(ngx_http_cycles_journal_t));
    if (journal == NULL) {
        cycles_journal_close(core);
        return NGX_ERROR;
    }

    journal->conf = conf;
    journal->core = core;
    journal->log = cycle->log;
    journal->base_urls = base_urls;
    journal->nbase_urls = n;
    journal->replay = replay;

    ngx_rbtree_init(&journal->entries, &journal->sentinel,
                    ngx_str_rbtree_insert_value);

    if (ngx_http_cycles_journal_step_init(cycle, journal, &journal->write,
                                          ngx_http_cycles_journal_write_thread,
                                          ngx_http_cycles_journal_written)
        != NGX_OK
        || ngx_http_cycles_journal_step_init(cycle, journal, &journal->sync,
                                          ngx_http_cycles_journal_sync_thread,
                                          ngx_http_cycles_journal_synced)
           != NGX_OK)
    {
        cycles_journal_close(core);
        return NGX_ERROR;
    }

    journal->timer.handler = ngx_http_cycles_journal_timer;
    journal->timer.data = journal;
    journal->timer.log = cycle->log;
    journal->timer.cancelable = 1;

    ngx_add_timer(&journal->timer, 1);

    ngx_http_cycles_the_journal = journal;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_journal_step_init(ngx_cycle_t *cycle,
    ngx_http_cycles_journal_t *journal, ngx_http_cycles_journal_step_t *step,
    ngx_http_cycles_journal_thread_pt thread, ngx_event_handler_pt done)
{
    step->last = &step->jobs;

    step->done.handler = done;
    step->done.data = journal;
    step->done.log = cycle->log;

#if (NGX_THREADS)

    step->task = ngx_thread_task_alloc(cycle->pool,
                                       sizeof(ngx_http_cycles_journal_t *));
    if (step->task == NULL) {
        return NGX_ERROR;
    }

    *(ngx_http_cycles_journal_t **) step->task->ctx = journal;

    step->task->handler = thread;
    step->task->event.handler = done;
    step->task->event.data = journal;
    step->task->event.log = cycle->log;

#endif

    return NGX_OK;
}


void
ngx_http_cycles_journal_stop(void)
{
    ngx_http_cycles_journal_t  *journal;

    journal = ngx_http_cycles_the_journal;

    if (journal) {

        /* the threads have ended; nobody has told them of these yet */

        cycles_journal_run(journal->core, journal->write.jobs,
                           ngx_current_msec);

        ngx_http_cycles_journal_pass(journal, journal->write.running);
        ngx_http_cycles_journal_pass(journal, journal->write.jobs);

        cycles_journal_sync(journal->core, journal->sync.jobs,
                            ngx_current_msec);
        cycles_journal_close(journal->core);
    }

    ngx_http_cycles_the_journal = NULL;
}


ngx_http_cycles_journal_entry_t *
ngx_http_cycles_journal_add(ngx_http_cycles_journal_t *journal,
    ngx_str_t *reservation_id, ngx_str_t *base_url, ngx_str_t *tenant,
    ngx_str_t *api_key)
{
    u_char                           *p;
    uint32_t                          hash;
    ngx_http_cycles_journal_entry_t  *entry;

    hash = ngx_crc32_long(reservation_id->data, reservation_id->len);

    if (ngx_str_rbtree_lookup(&journal->entries, reservation_id, hash)) {
        return NULL;
    }

    entry = ngx_calloc(sizeof(ngx_http_cycles_journal_entry_t)
                       + reservation_id->len + base_url->len + tenant->len
                       + api_key->len, journal->log);
    if (entry == NULL) {
        return NULL;
    }

    p = (u_char *) &entry[1];

    entry->journal = journal;

    entry->node.str.data = p;
    entry->node.str.len = reservation_id->len;
    p = ngx_cpymem(p, reservation_id->data, reservation_id->len);

    entry->job.reservation_id.data = entry->node.str.data;
    entry->job.reservation_id.len = reservation_id->len;

    entry->job.base_url.data = p;
    entry->job.base_url.len = base_url->len;
    p = ngx_cpymem(p, base_url->data, base_url->len);

    entry->job.tenant.data = p;
    entry->job.tenant.len = tenant->len;
    p = ngx_cpymem(p, tenant->data, tenant->len);

    entry->job.api_key.data = p;
    entry->job.api_key.len = tenant->len ? 0 : api_key->len;
    ngx_memcpy(p, api_key->data, entry->job.api_key.len);

    ngx_http_cycles_journal_whom(entry);
    ngx_http_cycles_journal_recall(entry);

    entry->node.node.key = hash;
    ngx_rbtree_insert(&journal->entries, &entry->node.node);

    return entry;
}


static void
ngx_http_cycles_journal_whom(ngx_http_cycles_journal_entry_t *entry)
{
    ngx_md5_t              md5;
    cycles_journal_job_t  *job;

    job = &entry->job;

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, job->base_url.data, job->base_url.len);
    ngx_md5_update(&md5, job->tenant.len ? "\n" : "\r", 1);
    ngx_md5_update(&md5, job->tenant.data, job->tenant.len);
    ngx_md5_update(&md5, job->api_key.data, job->api_key.len);
    ngx_md5_final(entry->whom, &md5);
}


/* where the directory of the entry's principal is remembered */

static ngx_http_cycles_journal_identity_t *
ngx_http_cycles_journal_identity(ngx_http_cycles_journal_entry_t *entry)
{
    uint32_t  n;

    ngx_memcpy(&n, entry->whom, sizeof(uint32_t));

    return &entry->journal->identities[n & (NGX_HTTP_CYCLES_JOURNAL_CACHE
                                            - 1)];
}


/* what takes a thread milliseconds is looked up when it is known */

static void
ngx_http_cycles_journal_recall(ngx_http_cycles_journal_entry_t *entry)
{
    ngx_http_cycles_journal_identity_t  *identity;

    identity = ngx_http_cycles_journal_identity(entry);

    if (entry->job.identity[0] == '\0'
        && ngx_memcmp(identity->whom, entry->whom, 16) == 0)
    {
        ngx_memcpy(entry->job.identity, identity->identity,
                   sizeof(identity->identity));
    }
}


ngx_int_t
ngx_http_cycles_journal_put(ngx_http_cycles_journal_entry_t *entry,
    const cycles_journal_record_t *record, ngx_http_cycles_journal_pt handler,
    void *data)
{
    size_t  len;

    len = cycles_journal_text(NULL, 0, record);

    if (len > entry->size) {

        if (entry->text) {
            ngx_free(entry->text);
        }

        entry->size = 0;
        entry->text = ngx_alloc(len, entry->journal->log);

        if (entry->text == NULL) {
            return NGX_ERROR;
        }

        entry->size = len;
    }

    entry->job.text.data = entry->text;
    entry->job.text.len = cycles_journal_text(entry->text, len, record);

    entry->handler = handler;
    entry->data = data;

    ngx_http_cycles_journal_push(entry, CYCLES_JOURNAL_WRITE);

    return NGX_OK;
}


void
ngx_http_cycles_journal_end(ngx_http_cycles_journal_entry_t *entry,
    ngx_uint_t keep)
{
    entry->ended = 1;
    entry->handler = NULL;

    ngx_http_cycles_journal_push(entry, (keep || entry->foreign)
                                        ? CYCLES_JOURNAL_LEAVE
                                        : CYCLES_JOURNAL_REMOVE);
}


static void
ngx_http_cycles_journal_push(ngx_http_cycles_journal_entry_t *entry,
    cycles_journal_op_t op)
{
    ngx_http_cycles_journal_t  *journal;

    journal = entry->journal;

    entry->job.op = op;

    ngx_http_cycles_journal_recall(entry);

    ngx_http_cycles_journal_append(&journal->write, &entry->job);
    ngx_http_cycles_journal_begin(journal);
}


static ngx_http_cycles_journal_entry_t *
ngx_http_cycles_journal_entry(cycles_journal_job_t *job)
{
    return (ngx_http_cycles_journal_entry_t *)
               ((u_char *) job
                - offsetof(ngx_http_cycles_journal_entry_t, job));
}


static void
ngx_http_cycles_journal_append(ngx_http_cycles_journal_step_t *step,
    cycles_journal_job_t *job)
{
    job->next = NULL;

    *step->last = job;
    step->last = &job->next;
}


static void
ngx_http_cycles_journal_begin(ngx_http_cycles_journal_t *journal)
{
    ngx_http_cycles_journal_step_t  *step;

    step = &journal->write;

    if (!step->busy && (step->jobs || journal->search)) {
        journal->searching = journal->search;
        journal->search = 0;

        ngx_http_cycles_journal_post(journal, step,
                                     ngx_http_cycles_journal_write_thread);
    }

    step = &journal->sync;

    if (!step->busy && step->jobs) {
        ngx_http_cycles_journal_post(journal, step,
                                     ngx_http_cycles_journal_sync_thread);
    }
}


static void
ngx_http_cycles_journal_post(ngx_http_cycles_journal_t *journal,
    ngx_http_cycles_journal_step_t *step,
    ngx_http_cycles_journal_thread_pt thread)
{
    step->busy = 1;
    step->time = ngx_current_msec;

    step->running = step->jobs;
    step->jobs = NULL;
    step->last = &step->jobs;

#if (NGX_THREADS)

    if (ngx_thread_task_post(journal->conf->threads, step->task) == NGX_OK) {

        /* or else a worker that is to exit would not wait for the thread */

        ngx_add_timer(&step->task->event, NGX_HTTP_CYCLES_JOURNAL_HOLD);
        return;
    }

#endif

    /* its handlers must not be called from here */

    thread(&journal, journal->log);
    ngx_post_event(&step->done, &ngx_posted_events);
}


static void
ngx_http_cycles_journal_write_thread(void *data, ngx_log_t *log)
{
    ngx_http_cycles_journal_t **jp = data;

    ngx_http_cycles_journal_t  *journal;

    journal = *jp;

    cycles_journal_run(journal->core, journal->write.running,
                       journal->write.time);

    if (!journal->searching) {
        return;
    }

    if (!journal->leads) {
        journal->leads = (cycles_journal_lead(journal->core) == 1);
    }

    if (journal->leads || journal->looks) {
        cycles_journal_scan(journal->core, &journal->scan);
    }
}


static void
ngx_http_cycles_journal_sync_thread(void *data, ngx_log_t *log)
{
    ngx_http_cycles_journal_t **jp = data;

    ngx_http_cycles_journal_t  *journal;

    journal = *jp;

    cycles_journal_sync(journal->core, journal->sync.running,
                        journal->sync.time);
}


/* of the thread: a log is written as a whole, from wherever */

static void
ngx_http_cycles_journal_trouble(void *data, int error, const char *text)
{
    ngx_http_cycles_journal_t *journal = data;

    ngx_log_error(NGX_LOG_ERR, journal->log, error, "cycles: %s", text);
}


/* NGX_AGAIN: it was only the timer that holds the worker */

static ngx_int_t
ngx_http_cycles_journal_ended(ngx_event_t *ev)
{
    if (ev->timedout) {
        ev->timedout = 0;
        ngx_add_timer(ev, NGX_HTTP_CYCLES_JOURNAL_HOLD);
        return NGX_AGAIN;
    }

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    return NGX_OK;
}


static void
ngx_http_cycles_journal_written(ngx_event_t *ev)
{
    cycles_journal_job_t       *job;
    ngx_http_cycles_journal_t  *journal;

    if (ngx_http_cycles_journal_ended(ev) != NGX_OK) {
        return;
    }

    journal = ev->data;

    job = journal->write.running;

    journal->write.running = NULL;
    journal->write.busy = 0;

    /* what was found is compared with what this process has under way */

    if (journal->searching) {
        journal->searching = 0;
        ngx_http_cycles_journal_found(journal);
    }

    ngx_http_cycles_journal_pass(journal, job);
    ngx_http_cycles_journal_begin(journal);
}


/* what was written has to be synced, the rest is done */

static void
ngx_http_cycles_journal_pass(ngx_http_cycles_journal_t *journal,
    cycles_journal_job_t *job)
{
    cycles_journal_job_t  *next;

    for ( /* void */ ; job; job = next) {
        next = job->next;

        if (job->op == CYCLES_JOURNAL_WRITE) {

            /* another one may have told by now where it belongs */

            ngx_http_cycles_journal_recall(ngx_http_cycles_journal_entry(job));
            ngx_http_cycles_journal_append(&journal->sync, job);

        } else {
            ngx_http_cycles_journal_job_done(job);
        }
    }
}


static void
ngx_http_cycles_journal_synced(ngx_event_t *ev)
{
    cycles_journal_job_t       *job, *next;
    ngx_http_cycles_journal_t  *journal;

    if (ngx_http_cycles_journal_ended(ev) != NGX_OK) {
        return;
    }

    journal = ev->data;

    job = journal->sync.running;

    journal->sync.running = NULL;
    journal->sync.busy = 0;

    for ( /* void */ ; job; job = next) {
        next = job->next;

        ngx_http_cycles_journal_job_done(job);
    }

    ngx_http_cycles_journal_begin(journal);
}


static void
ngx_http_cycles_journal_job_done(cycles_journal_job_t *job)
{
    ngx_http_cycles_journal_t           *journal;
    ngx_http_cycles_journal_pt           handler;
    ngx_http_cycles_journal_entry_t     *entry;
    ngx_http_cycles_journal_identity_t  *identity;

    entry = ngx_http_cycles_journal_entry(job);
    journal = entry->journal;

    if (entry->job.error) {
        entry->foreign |= (entry->job.error == EBUSY);
        ngx_http_cycles_journal_complain(journal, entry->job.error, entry);
    }

    if (entry->job.identity[0] && !entry->found) {
        identity = ngx_http_cycles_journal_identity(entry);

        ngx_memcpy(identity->whom, entry->whom, 16);
        ngx_memcpy(identity->identity, entry->job.identity,
                   sizeof(identity->identity));
    }

    if (entry->ended) {
        ngx_http_cycles_journal_forget(entry);
        return;
    }

    handler = entry->handler;
    entry->handler = NULL;

    handler(entry->data, entry->job.error);
}


/* an entry for each request is too much to say each time */

static void
ngx_http_cycles_journal_complain(ngx_http_cycles_journal_t *journal,
    ngx_err_t error, ngx_http_cycles_journal_entry_t *entry)
{
    ngx_http_cycles_count(JOURNAL_ERROR);

    if (journal->complained == ngx_time()) {
        return;
    }

    journal->complained = ngx_time();

    ngx_log_error(NGX_LOG_CRIT, journal->log, error,
                  "cycles: the journal in \"%V\" could not %s the record of "
                  "reservation \"%V\"", &journal->conf->path->name,
                  entry->ended ? "remove" : "write", &entry->node.str);
}


static void
ngx_http_cycles_journal_forget(ngx_http_cycles_journal_entry_t *entry)
{
    ngx_http_cycles_journal_t  *journal;

    journal = entry->journal;

    ngx_rbtree_delete(&journal->entries, &entry->node.node);

    if (entry->found) {
        cycles_journal_found_free(entry->found);

        if (--journal->found == 0) {
            ngx_http_cycles_journal_again(journal);
        }
    }

    if (entry->text) {
        ngx_free(entry->text);
    }

    ngx_free(entry);
}


static void
ngx_http_cycles_journal_timer(ngx_event_t *ev)
{
    struct timeval              tv;
    ngx_http_cycles_journal_t  *journal;

    journal = ev->data;

    if (ngx_exiting) {

        /* a worker that stays for a long reply must not stand in the way */

        if (journal->leads && !journal->write.busy) {
            cycles_journal_follow(journal->core);
            journal->leads = 0;
        }

        return;
    }

    if (journal->scan.from[0] == '\0') {
        ngx_http_cycles_journal_may_look(journal);
    }

    ngx_gettimeofday(&tv);

    journal->scan.max = NGX_HTTP_CYCLES_JOURNAL_FOUND;
    journal->scan.now = (int64_t) tv.tv_sec * 1000 + tv.tv_usec / 1000;
    journal->scan.uptime = ngx_current_msec;
    journal->scan.base_urls = journal->base_urls;
    journal->scan.nbase_urls = journal->nbase_urls;
    journal->scan.trouble = ngx_http_cycles_journal_trouble;
    journal->scan.data = journal;

    journal->search = 1;

    ngx_http_cycles_journal_begin(journal);
}


/* at a walk's beginning, and for each worker as often as for who leads */

static void
ngx_http_cycles_journal_may_look(ngx_http_cycles_journal_t *journal)
{
    journal->looks = 0;

    if (journal->eager
        && (journal->looked == 0
            || ngx_current_msec - journal->looked
               >= journal->conf->replay_time))
    {
        journal->looked = ngx_current_msec;
        journal->eager--;
        journal->looks = 1;
    }
}


static void
ngx_http_cycles_journal_found(ngx_http_cycles_journal_t *journal)
{
    cycles_journal_found_t  *found;

    ngx_http_cycles_journal_tell(journal);

    journal->found = 1;                /* until all of them were offered */

    while (journal->scan.found) {
        found = journal->scan.found;
        journal->scan.found = found->next;

        ngx_http_cycles_journal_offer(journal, found);
    }

    if (--journal->found == 0) {
        ngx_http_cycles_journal_again(journal);
    }
}


/* what a walk has met is told when it is over */

static void
ngx_http_cycles_journal_tell(ngx_http_cycles_journal_t *journal)
{
    if (!journal->leads && !journal->looks) {
        journal->pending = 0;
        return;
    }

    ngx_http_cycles_slice->counters[NGX_HTTP_CYCLES_N_QUARANTINED] +=
                                                   journal->scan.quarantined;

    if (!journal->leads) {
        return;
    }

    journal->pending += journal->scan.pending;

    if (journal->scan.from[0] == '\0') {

        if (ngx_http_cycles_counters) {
            ngx_http_cycles_counters->journal_pending = journal->pending;
            ngx_http_cycles_counters->journal_looked = journal->scan.now;
        }

        journal->pending = 0;
    }
}


static void
ngx_http_cycles_journal_offer(ngx_http_cycles_journal_t *journal,
    cycles_journal_found_t *found)
{
    ngx_str_t                         id, none;
    ngx_http_cycles_journal_entry_t  *entry;

    id.len = found->record.reservation_id.len;
    id.data = found->record.reservation_id.data;

    ngx_str_null(&none);

    entry = ngx_http_cycles_journal_add(journal, &id, &none, &none, &none);

    if (entry == NULL) {

        /* claims are of the process: this one has it under way itself */

        cycles_journal_found_free(found);
        return;
    }

    entry->found = found;
    journal->found++;

    if (found->identity[0]) {
        ngx_memcpy(entry->job.identity, found->identity,
                   sizeof(found->identity));

    } else {
        entry->job.fresh = 1;
        entry->job.base_url = found->record.base_url;
        entry->job.tenant = found->terms.tenant;

        ngx_http_cycles_journal_whom(entry);
    }

    if (journal->replay(entry, found) != NGX_OK) {
        ngx_http_cycles_journal_end(entry, 1);
    }
}


/* goes on with the walk, or waits for the next one */

static void
ngx_http_cycles_journal_again(ngx_http_cycles_journal_t *journal)
{
    int64_t     wait;
    ngx_msec_t  delay;

    if (journal->timer.timer_set) {
        return;
    }

    if (!journal->leads) {
        delay = ngx_min(NGX_HTTP_CYCLES_JOURNAL_LEAD,
                        journal->conf->replay_time);

    } else if (journal->scan.from[0]) {
        delay = 1;

    } else {
        delay = journal->conf->replay_time;

        if (journal->scan.next_ms) {
            wait = journal->scan.next_ms - journal->scan.now + 1;
            delay = (wait < (int64_t) delay) ? (ngx_msec_t) wait : delay;
        }
    }

    ngx_add_timer(&journal->timer, delay);
}
