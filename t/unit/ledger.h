
/*
 * Copyright (C) nginx-cycles authors
 *
 * What the tests of the ledger share: a directory of their own, requests by
 * short names, and a text of the whole state to compare.
 */


#ifndef _TEST_LEDGER_H_INCLUDED_
#define _TEST_LEDGER_H_INCLUDED_


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "ledger/cycles_ledger_core.h"


#define T0  1700000000000LL


static char      led_dir[256];
static char      led_err[CYCLES_LEDGER_ERROR_LEN];
static char      led_said[4096];        /* what the ledger logged */
static uint64_t  led_seed = 88172645463325252ULL;


static inline cycles_str_t
str(const char *text)
{
    cycles_str_t  s;

    s.len = strlen(text);
    s.data = (unsigned char *) text;

    return s;
}


static inline uint64_t
rnd(uint64_t n)
{
    led_seed ^= led_seed << 13;
    led_seed ^= led_seed >> 7;
    led_seed ^= led_seed << 17;

    return led_seed % n;
}


static inline void
led_log(void *data, cycles_ledger_level_t level, const char *text)
{
    size_t  len;

    (void) data;

    len = strlen(led_said);
    snprintf(led_said + len, sizeof(led_said) - len, "[%d] %s\n", level,
             text);
}


static inline void
led_clean(void)
{
    DIR            *dir;
    char            path[600];
    struct dirent  *de;

    dir = opendir(led_dir);

    if (dir == NULL) {
        return;
    }

    while ((de = readdir(dir)) != NULL) {
        if (de->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", led_dir, de->d_name);
            unlink(path);
        }
    }

    closedir(dir);
}


static inline void
led_remove(void)
{
    led_clean();
    rmdir(led_dir);
}


/* the directory is removed when the process that made it exits */

static pid_t  led_owner;


static inline void
led_exit(void)
{
    if (getpid() == led_owner) {
        led_remove();
    }
}


static inline void
led_start(void)
{
    const char  *tmp;

    tmp = getenv("TMPDIR");

    snprintf(led_dir, sizeof(led_dir), "%s/cycles-ledger-XXXXXX",
             tmp ? tmp : "/tmp");

    if (mkdtemp(led_dir) == NULL) {
        perror("mkdtemp");
        exit(2);
    }

    led_owner = getpid();
    atexit(led_exit);
}


static inline cycles_ledger_t *
led_open_size(size_t zone, size_t segment)
{
    cycles_ledger_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    conf.path = led_dir;
    conf.zone_size = zone;
    conf.segment_size = segment;
    conf.log = led_log;

    led_err[0] = '\0';
    led_said[0] = '\0';

    return cycles_ledger_open(&conf, led_err, sizeof(led_err));
}


static inline cycles_ledger_t *
led_open(void)
{
    cycles_ledger_t  *ledger;

    ledger = led_open_size(4 * 1024 * 1024, 0);

    if (ledger == NULL) {
        printf("# open failed: %s\n", led_err);
        exit(2);
    }

    return ledger;
}


/* a new ledger with the budgets of a file */

static inline void
led_budgets(cycles_ledger_t *ledger, const char *json)
{
    cycles_budgets_t  *budgets;

    budgets = cycles_budgets_parse(json, strlen(json), led_err,
                                   sizeof(led_err));

    if (budgets == NULL
        || cycles_ledger_apply(ledger, budgets, T0, led_err, sizeof(led_err))
           != 0)
    {
        printf("# budgets failed: %s\n", led_err);
        exit(2);
    }

    cycles_budgets_free(budgets);
}


/* "tenant:a 1000 0, tenant:a/app:b 500 100": scope, allocated, overdraft */

static inline void
led_define(cycles_ledger_t *ledger, const char *list)
{
    int          n, used;
    char         json[16384], scope[CYCLES_MAX_SCOPE];
    long long    allocated, limit;
    const char  *p;

    n = snprintf(json, sizeof(json), "{\"budgets\":[");

    for (p = list;
         sscanf(p, "%800s %lld %lld%n", scope, &allocated, &limit, &used)
         == 3;
         /* void */ )
    {
        n += snprintf(json + n, sizeof(json) - n,
                      "%s{\"scope\":\"%s\",\"unit\":\"TOKENS\","
                      "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":%lld},"
                      "\"overdraft_limit\":{\"unit\":\"TOKENS\","
                      "\"amount\":%lld}}",
                      p == list ? "" : ",", scope, allocated, limit);
        p += used;

        if (*p != ',') {
            break;
        }

        p++;
    }

    snprintf(json + n, sizeof(json) - n, "]}");
    led_budgets(ledger, json);
}


static inline cycles_ledger_t *
led_fresh(const char *list)
{
    cycles_ledger_t  *ledger;

    led_clean();
    ledger = led_open();

    if (list) {
        led_define(ledger, list);
    }

    return ledger;
}


/* subject from "tenant/workspace/app/workflow/agent/toolset", gaps empty */

static inline cycles_subject_t
led_subject(const char *levels)
{
    unsigned          i;
    const char       *p, *end;
    cycles_subject_t  s;

    memset(&s, 0, sizeof(s));

    for (p = levels, i = 0; i < CYCLES_LEVELS; i++) {
        end = strchr(p, '/');

        if (end == NULL) {
            end = p + strlen(p);
        }

        s.levels[i].data = (unsigned char *) p;
        s.levels[i].len = end - p;

        if (*end == '\0') {
            break;
        }

        p = end + 1;
    }

    return s;
}


static inline cycles_reserve_t
led_reserve_rq(const char *subject, const char *key, int64_t estimate)
{
    cycles_reserve_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = str(key);
    rq.subject = led_subject(subject);
    rq.action.kind = str("llm.completion");
    rq.action.name = str("openai:gpt-4o-mini");
    rq.unit = CYCLES_TOKENS;
    rq.estimate = estimate;
    rq.ttl_ms = 10000;
    rq.grace_ms = 2000;
    rq.policy = CYCLES_ALLOW_IF_AVAILABLE;

    return rq;
}


static cycles_reserved_t  led_rs;        /* the last answers */
static cycles_settled_t   led_st;

static unsigned           led_look_ups;


/* as nginx does it; 0: the operation has to be called again */

static inline int
led_look_up(cycles_ledger_t *ledger, cycles_code_t code)
{
    cycles_fold_t     fold;
    cycles_look_up_t  look_up;

    if (code != CYCLES_LOOK_UP) {
        return -1;
    }

    led_look_ups++;
    cycles_ledger_missed(ledger, &look_up);
    cycles_ledger_want_folded(ledger, look_up.record);

    while (cycles_ledger_folded(ledger) < look_up.record) {
        if (cycles_ledger_fold(ledger, T0, 0, &fold, led_err,
                               sizeof(led_err))
            != 0)
        {
            printf("# fold failed: %s\n", led_err);
            exit(2);
        }
    }

    if (cycles_ledger_look_up(ledger, &look_up, led_err, sizeof(led_err))
        != 0)
    {
        printf("# look-up failed: %s\n", led_err);
        exit(2);
    }

    cycles_ledger_looked_up(ledger, &look_up);

    return 0;
}


static inline cycles_code_t
led_do_reserve(cycles_ledger_t *ledger, const cycles_reserve_t *rq,
    int64_t now)
{
    cycles_code_t  code;

    do {
        code = cycles_ledger_reserve(ledger, rq, &led_rs, now);
    } while (led_look_up(ledger, code) == 0);

    return code;
}


static inline cycles_code_t
led_reserve_as(cycles_ledger_t *ledger, const char *subject, const char *key,
    int64_t estimate, cycles_policy_t policy, int64_t now)
{
    cycles_reserve_t  rq;

    rq = led_reserve_rq(subject, key, estimate);
    rq.policy = policy;

    return led_do_reserve(ledger, &rq, now);
}


static inline cycles_code_t
led_reserve(cycles_ledger_t *ledger, const char *subject, const char *key,
    int64_t estimate, int64_t now)
{
    return led_reserve_as(ledger, subject, key, estimate,
                          CYCLES_ALLOW_IF_AVAILABLE, now);
}


static inline cycles_commit_t
led_commit_rq(const char *key, int64_t actual)
{
    cycles_commit_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = str(key);
    rq.unit = CYCLES_TOKENS;
    rq.actual = actual;
    rq.metrics.tokens_input = -1;
    rq.metrics.tokens_output = -1;
    rq.metrics.latency_ms = -1;

    return rq;
}


static inline cycles_code_t
led_commit(cycles_ledger_t *ledger, const char *id, const char *key,
    int64_t actual, int64_t now)
{
    cycles_code_t    code;
    cycles_commit_t  rq;

    rq = led_commit_rq(key, actual);

    do {
        code = cycles_ledger_commit(ledger, str(id), &rq, &led_st, now);
    } while (led_look_up(ledger, code) == 0);

    return code;
}


static inline cycles_code_t
led_release_why(cycles_ledger_t *ledger, const char *id, const char *key,
    const char *reason, int64_t now)
{
    cycles_code_t     code;
    cycles_release_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = str(key);
    rq.reason = str(reason);

    do {
        code = cycles_ledger_release(ledger, str(id), &rq, &led_st, now);
    } while (led_look_up(ledger, code) == 0);

    return code;
}


static inline cycles_code_t
led_release(cycles_ledger_t *ledger, const char *id, const char *key,
    int64_t now)
{
    return led_release_why(ledger, id, key, "", now);
}


static inline cycles_code_t
led_extend(cycles_ledger_t *ledger, const char *id, const char *key,
    int64_t by, int64_t now)
{
    cycles_code_t    code;
    cycles_extend_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = str(key);
    rq.extend_by_ms = by;

    do {
        code = cycles_ledger_extend(ledger, str(id), &rq, &led_st, now);
    } while (led_look_up(ledger, code) == 0);

    return code;
}


static inline cycles_code_t
led_event(cycles_ledger_t *ledger, const char *subject, const char *key,
    int64_t actual, cycles_policy_t policy, int64_t now)
{
    cycles_code_t   code;
    cycles_event_t  rq;

    memset(&rq, 0, sizeof(rq));
    rq.idempotency_key = str(key);
    rq.subject = led_subject(subject);
    rq.action.kind = str("llm.completion");
    rq.action.name = str("openai:gpt-4o-mini");
    rq.unit = CYCLES_TOKENS;
    rq.actual = actual;
    rq.policy = policy;
    rq.client_time_ms = -1;

    do {
        code = cycles_ledger_event(ledger, &rq, &led_st, now);
    } while (led_look_up(ledger, code) == 0);

    return code;
}


/* the balance of a scope in TOKENS as one line; "" if there is none */

typedef struct {
    const char        *scope;
    cycles_balance_t   balance;
    unsigned           found;
    unsigned           broken;           /* budgets with a wrong sum */
} led_look_t;


static inline int
led_look_walk(void *data, const cycles_balance_t *b)
{
    led_look_t  *look = data;

    if (b->remaining != b->allocated - b->reserved - b->spent - b->debt) {
        look->broken++;
    }

    if (look->scope && b->unit == CYCLES_TOKENS
        && b->scope_path.len == strlen(look->scope)
        && memcmp(b->scope_path.data, look->scope, b->scope_path.len) == 0)
    {
        look->balance = *b;
        look->found = 1;
    }

    return 0;
}


static int64_t  led_now = T0;            /* when balances are looked at */


static inline led_look_t
led_look(cycles_ledger_t *ledger, const char *scope)
{
    uint64_t    cursor;
    led_look_t  look;

    memset(&look, 0, sizeof(look));
    look.scope = scope;
    cursor = 0;

    do {
        cycles_ledger_balances(ledger, &cursor, 7, led_now, led_look_walk,
                               &look);
    } while (cursor);

    return look;
}


static inline const char *
led_balance(cycles_ledger_t *ledger, const char *scope)
{
    led_look_t   look;
    static char  text[8][256];
    static int   i;

    i = (i + 1) % 8;
    look = led_look(ledger, scope);

    if (!look.found) {
        return "";
    }

    snprintf(text[i], sizeof(text[i]), "r%lld h%lld s%lld d%lld%s",
             (long long) look.balance.remaining,
             (long long) look.balance.reserved,
             (long long) look.balance.spent, (long long) look.balance.debt,
             look.balance.is_over_limit ? " over" : "");

    return text[i];
}


/* all that must survive: budgets, live and finished reservations, keys */

static inline int
led_line_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}


static inline char *
led_dump_cell(cycles_ledger_t *ledger, const cycles_cell_t *c)
{
    char                       *line, id[40];
    int                         n;
    unsigned                    i;
    cycles_ref_t                ref;
    const cycles_extensions_t  *ext;

    line = malloc(4096);
    cycles_id_print(c->id, id);

    n = sprintf(line, "%s kind %u status %u unit %u policy %u dec %u why %u "
                "est %lld exp %lld was %lld grace %u rem %lld ch %lld "
                "srem %lld done %lld rec %llu %llu ext %u key %llx %llx %llx "
                "%llx on",
                id, c->kind, c->status, c->unit, c->policy, c->decision,
                c->denied, (long long) c->estimate,
                (long long) c->expires_at_ms, (long long) c->granted_ms,
                c->grace_ms, (long long) c->remaining, (long long) c->charged,
                (long long) c->settle_remaining, (long long) c->done_ms,
                (unsigned long long) c->record,
                (unsigned long long) c->settle_record, c->extended,
                (unsigned long long) cycles_get64(c->key.bytes),
                (unsigned long long) cycles_get64(c->digest.bytes),
                (unsigned long long) cycles_get64(c->settle_key.bytes),
                (unsigned long long) cycles_get64(c->settle_digest.bytes));

    for (i = 0; i < c->nbudgets; i++) {
        n += sprintf(line + n, " %u", c->budgets[i]);
    }

    for (i = 0; i < CYCLES_LEVELS; i++) {
        n += sprintf(line + n, " @%x", c->segments[i]);
    }

    for (ref = c->extensions; ref; ref = ext->next) {
        ext = cycles_memory_at(ledger, ref);

        for (i = 0; i < ext->n; i++) {
            n += sprintf(line + n, " +%llx=%lld",
                         (unsigned long long)
                         cycles_get64(ext->items[i].digest.bytes),
                         (long long) ext->items[i].expires_at_ms);
        }
    }

    return line;
}


static inline char *
led_dump_text(cycles_ledger_t *ledger, char *p, const cycles_text_t *text)
{
    return p + sprintf(p, " \"%.*s\"", text->len,
                       text->ref ? (char *) cycles_memory_at(ledger,
                                                             text->ref)
                                 : "");
}


static inline char *
led_dump_tenant(cycles_ledger_t *ledger, uint32_t id)
{
    char             *line, *p;
    cycles_tenant_t  *t;

    line = malloc(8192);
    t = cycles_directory_at(ledger, &ledger->shm->tenants_by_id, id);

    p = line + sprintf(line, "tenant %u %.*s status %u policy %u %lld %lld "
                       "%lld times %lld %lld %lld %lld file %llx", t->id,
                       t->id_len, t->tenant_id, t->status, t->policy,
                       (long long) t->default_ttl_ms,
                       (long long) t->max_ttl_ms,
                       (long long) t->max_extensions,
                       (long long) t->created_ms, (long long) t->updated_ms,
                       (long long) t->suspended_ms,
                       (long long) t->closed_ms,
                       (unsigned long long) cycles_get64(t->declared.bytes));

    p = led_dump_text(ledger, p, &t->name);
    p = led_dump_text(ledger, p, &t->parent);
    (void) led_dump_text(ledger, p, &t->metadata);

    return line;
}


static inline char *
led_dump_key(cycles_ledger_t *ledger, uint32_t id)
{
    char              *line, *p;
    cycles_tenant_t   *t;
    cycles_api_key_t  *k;

    line = malloc(16384);
    k = cycles_directory_at(ledger, &ledger->shm->api_keys_by_id, id);
    t = cycles_memory_at(ledger, k->tenant);

    p = line + sprintf(line, "key %u of %u %llx status %u may %x times %lld "
                       "%lld %lld file %llx \"%.*s\"", k->id, t->id,
                       (unsigned long long) cycles_get64(k->sha256),
                       k->status, k->permissions, (long long) k->created_ms,
                       (long long) k->expires_ms, (long long) k->revoked_ms,
                       (unsigned long long) cycles_get64(k->declared.bytes),
                       k->prefix_len, k->prefix);

    p = led_dump_text(ledger, p, &k->name);
    p = led_dump_text(ledger, p, &k->description);
    p = led_dump_text(ledger, p, &k->scope_filter);
    p = led_dump_text(ledger, p, &k->revoked_reason);
    (void) led_dump_text(ledger, p, &k->metadata);

    return line;
}


static inline char *
led_dump(cycles_ledger_t *ledger)
{
    char             **lines, *text, *p;
    size_t             n, size, i;
    uint64_t           slot;
    cycles_ref_t       ref;
    cycles_shm_t      *shm;
    cycles_cell_t     *cell;
    cycles_budget_t   *b;

    shm = ledger->shm;
    n = 0;
    lines = malloc((shm->budgets.n + shm->tenants_by_id.n
                    + shm->api_keys_by_id.n + shm->nlive + shm->ndone + 16)
                   * sizeof(char *));

    for (i = 1; i <= shm->tenants_by_id.n; i++) {
        lines[n++] = led_dump_tenant(ledger, i);
    }

    for (i = 1; i <= shm->api_keys_by_id.n; i++) {
        lines[n++] = led_dump_key(ledger, i);
    }

    for (i = 1; i <= shm->budgets.n; i++) {
        b = cycles_budget_by_id(ledger, i);
        lines[n] = malloc(CYCLES_MAX_SCOPE + 8192);
        p = lines[n];
        p += sprintf(p, "budget %u %.*s unit %u status %u policy %u caps "
                "%d at %u over %u a%lld r%lld s%lld d%lld l%lld file %u %u "
                "a%lld l%lld times %lld %lld", b->id,
                b->scope_len, b->scope, b->unit, b->status, b->policy,
                b->caps != 0, b->above_percent, b->over_limit,
                (long long) b->allocated, (long long) b->reserved,
                (long long) b->spent, (long long) b->debt,
                (long long) b->overdraft_limit, b->declared,
                b->declared_policy, (long long) b->declared_allocated,
                (long long) b->declared_overdraft,
                (long long) b->created_ms, (long long) b->updated_ms);
        p = led_dump_text(ledger, p, &b->metadata);
        p += sprintf(p, " period %u %u %lld from %lld to %lld", b->period,
                     b->every, (long long) b->period_ms,
                     (long long) b->period_start_ms,
                     (long long) b->period_end_ms);
        (void) led_dump_text(ledger, p, &b->timezone);
        n++;
    }

    for (slot = 0; slot <= shm->ids.mask; slot++) {
        ref = *cycles_memory_bucket(ledger, &shm->ids, slot);

        while (ref) {
            cell = cycles_memory_at(ledger, ref);
            lines[n++] = led_dump_cell(ledger, cell);
            ref = cell->next_id;
        }
    }

    qsort(lines, n, sizeof(char *), led_line_cmp);

    for (size = 256, i = 0; i < n; i++) {
        size += strlen(lines[i]) + 1;
    }

    text = malloc(size);
    p = text + sprintf(text, "live %u done %u expired %llu written %llu "
                       "tenants %u admin %u\n", shm->nlive, shm->ndone,
                       (unsigned long long) shm->nexpired,
                       (unsigned long long) shm->written, shm->tenants_by_id.n,
                       shm->has_admin_key);

    for (i = 0; i < n; i++) {
        p += sprintf(p, "%s\n", lines[i]);
        free(lines[i]);
    }

    free(lines);

    return text;
}


/* closes a ledger and opens it again, which changes nothing; the new one */

static inline cycles_ledger_t *
led_reopen(cycles_ledger_t *ledger)
{
    char  *before, *after;

    before = led_dump(ledger);
    cycles_ledger_close(ledger);

    ledger = led_open();
    after = led_dump(ledger);
    is_str(after, before, "read again, it is the same");

    free(before);
    free(after);

    return ledger;
}


/* the log file that is written to */

static inline const char *
led_segment(cycles_ledger_t *ledger)
{
    static char  path[600];

    snprintf(path, sizeof(path), "%s/log-%020" PRIu64 ".bin", led_dir,
             ledger->shm->segment);

    return path;
}


static inline off_t
led_size(const char *path)
{
    struct stat  st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}


static inline double
led_clock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec + ts.tv_nsec / 1e9;
}


#endif /* _TEST_LEDGER_H_INCLUDED_ */
