
/*
 * Copyright (C) nginx-cycles authors
 *
 * Folding the log into ledger.db: what is in the tables afterwards.
 */


#include "ledger_db.h"


/* sums in the tables are those of memory */

typedef struct {
    cycles_ledger_t  *ledger;
    unsigned          wrong;
} compare_t;


static int
compare_walk(void *data, const cycles_balance_t *b)
{
    compare_t   *c = data;
    char         sql[CYCLES_MAX_SCOPE + 256], want[256];
    const char  *got;

    snprintf(sql, sizeof(sql), "SELECT allocated, remaining, reserved, spent,"
             " debt, overdraft_limit, is_over_limit FROM balances WHERE scope"
             " = '%.*s' AND unit = '%s'", (int) b->scope_path.len,
             b->scope_path.data, cycles_unit_name(b->unit));
    snprintf(want, sizeof(want), "%lld|%lld|%lld|%lld|%lld|%lld|%d",
             (long long) b->allocated, (long long) b->remaining,
             (long long) b->reserved, (long long) b->spent,
             (long long) b->debt, (long long) b->overdraft_limit,
             b->is_over_limit);

    got = query(c->ledger, sql);

    if (strcmp(got, want) != 0) {
        printf("# %.*s: got %s, want %s\n", (int) b->scope_path.len,
               b->scope_path.data, got, want);
        c->wrong++;
    }

    return 0;
}


static unsigned
compare(cycles_ledger_t *l)
{
    uint64_t   cursor;
    compare_t  c;

    c.ledger = l;
    c.wrong = 0;
    cursor = 0;

    do {
        cycles_ledger_balances(l, &cursor, 7, led_now, compare_walk, &c);
    } while (cursor);

    return c.wrong;
}


/* what has become of reservations until they are folded is in their rows */

static void
test_soon(void)
{
    char              id[9][40];
    unsigned          i;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 1000 0");

    for (i = 0; i < 9; i++) {
        led_reserve(l, "a", &"123456789"[i], 10, T0 + i);
        strcpy(id[i], led_rs.id);
    }

    led_commit(l, id[0], "c1", 7, T0 + 10);
    led_commit(l, id[2], "c3", 11, T0 + 11);
    led_release_why(l, id[3], "r4", "because", T0 + 12);
    led_extend(l, id[4], "x5", 5000, T0 + 13);
    led_extend(l, id[5], "x6", 5000, T0 + 14);
    led_commit(l, id[5], "c6", 3, T0 + 15);

    is_int(fold(l), 0, "fold");
    is_int(compare(l), 0, "sums");

    led_commit(l, id[6], "c7", 5, T0 + 16);
    led_release_why(l, id[7], "r8", "late", T0 + 17);
    cycles_ledger_expire(l, T0 + 20000, 10, &(int64_t) { 0 });

    is_int(fold(l), 0, "fold of what follows");
    is_int(compare(l), 0, "and its sums");

    is_str(query(l, "SELECT group_concat(status || ' ' || extensions || ' '"
                 " || ifnull(charged, '-') || ' ' || ifnull(settle_key, '-')"
                 " || ' ' || ifnull(finalized_at_ms - 1700000000000, '-')"
                 " || ' ' || ifnull(settle_by_operator, '-'), ', ')"
                 " FROM (SELECT * FROM reservations ORDER BY seq)"),
           "COMMITTED 0 7 c1 10 0, EXPIRED 0 - - 20000 -,"
           " COMMITTED 0 11 c3 11 0, RELEASED 0 - r4 12 0,"
           " EXPIRED 1 - - 20000 -, COMMITTED 1 3 c6 15 0,"
           " COMMITTED 0 5 c7 16 0, RELEASED 0 - r8 17 0,"
           " EXPIRED 0 - - 20000 -", "rows of a batch and of two");
    is_str(query(l, "SELECT group_concat(reservation = (SELECT seq FROM"
                 " reservations WHERE idempotency_key = '56789')) FROM"
                 " (SELECT * FROM extensions ORDER BY seq)"),
           "1,0", "an extension has its reservation");

    cycles_ledger_close(l);
}


static void
test_tables(void)
{
    char              id[40];
    cycles_str_t      tags[2];
    cycles_pair_t     team;
    cycles_event_t    event;
    cycles_commit_t   commit;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh(NULL);
    led_budgets(l, "{\"tenants\":[{\"tenant_id\":\"acme\",\"name\":\"Acme\"}],"
                "\"budgets\":[{\"scope\":\"tenant:acme\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":1000},"
                "\"caps\":{\"above_percent\":5,\"max_tokens\":7,"
                "\"tool_denylist\":[\"x\"]}},"
                "{\"scope\":\"tenant:acme/app:b\",\"unit\":\"TOKENS\","
                "\"allocated\":{\"unit\":\"TOKENS\",\"amount\":900}}]}");

    rq = led_reserve_rq("Acme//B", "first", 100);
    rq.metadata = str("{\"a\":1}");
    rq.subject.ndimensions = 1;
    rq.subject.dimensions = &team;
    team.key = str("team");
    team.value = str("\"red\"");
    rq.action.ntags = 2;
    rq.action.tags = tags;
    tags[0] = str("one");
    tags[1] = str("two");
    rq.trace_id = str("0123456789abcdef0123456789abcdef");
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0), CYCLES_OK, "reserve");
    strcpy(id, led_rs.id);

    is_int(fold(l), 0, "fold");
    is_int(cycles_ledger_folded(l), cycles_ledger_written(l), "all of it");
    is_int(folded.folded, cycles_ledger_written(l), "says so");
    is_int(compare(l), 0, "sums");

    is_str(query(l, "SELECT tenant_id, name, status FROM tenants"),
           "acme|Acme|ACTIVE", "tenants");
    is_str(query(l, "SELECT scope, caps_above_percent, caps_max_tokens,"
                 " caps_tool_denylist, caps_cooldown_ms, status FROM budgets"
                 " WHERE id = 1"),
           "tenant:acme|5|7|[\"x\"]|-|ACTIVE", "budgets");
    is_str(query(l, "SELECT reservation_id, status, tenant_id,"
                 " idempotency_key, scope_path, subject_tenant,"
                 " subject_workspace, subject_app, subject_dimensions,"
                 " action_kind, action_name, action_tags, unit,"
                 " overage_policy, decision, estimate, created_at_ms,"
                 " expires_at_ms, ttl_ms, grace_period_ms, extensions,"
                 " budgets, trace_id, metadata, finalized_at_ms"
                 " FROM reservations") + 36,
           "|ACTIVE|acme|first|tenant:acme/app:b|Acme|-|B|"
           "{\"team\":\"\\\"red\\\"\"}|llm.completion|openai:gpt-4o-mini|"
           "[\"one\",\"two\"]|TOKENS|ALLOW_IF_AVAILABLE|ALLOW|100|"
           "1700000000000|1700000010000|10000|2000|0|[1,2]|"
           "0123456789abcdef0123456789abcdef|{\"a\":1}|-", "reservations");
    is_str(query(l, "SELECT reservation_id FROM reservations"), id, "its id");

    led_extend(l, id, "x1", 5000, T0 + 1);
    commit = led_commit_rq("done", 60);
    commit.metadata = str("{\"b\":2}");
    commit.metrics.tokens_input = 3;
    commit.metrics.model_version = str("m");
    is_int(cycles_ledger_commit(l, str(id), &commit, &led_st, T0 + 2),
           CYCLES_OK, "commit");
    is_int(led_reserve(l, "acme", "second", 100, T0 + 3), CYCLES_OK,
           "with caps");
    is_int(led_rs.decision, CYCLES_ALLOW_WITH_CAPS, "they apply");
    led_release_why(l, led_rs.id, "r", "because", T0 + 4);
    led_reserve(l, "acme", "third", 100, T0 + 5);
    cycles_ledger_expire(l, T0 + 20000, 10, &(int64_t) { 0 });

    memset(&event, 0, sizeof(event));
    event.idempotency_key = str("e");
    event.subject = led_subject("acme");
    event.action = rq.action;
    event.unit = CYCLES_TOKENS;
    event.actual = 7;
    event.policy = CYCLES_POLICIES;
    event.metrics.tokens_input = -1;
    event.metrics.tokens_output = 9;
    event.metrics.latency_ms = -1;
    event.client_time_ms = 5;
    is_int(cycles_ledger_event(l, &event, &led_st, T0 + 6), CYCLES_OK,
           "event");

    rq = led_reserve_rq("acme", "asked", 100000);
    rq.decide = 1;
    is_int(cycles_ledger_reserve(l, &rq, &led_rs, T0 + 7), CYCLES_OK,
           "decision");

    is_int(fold(l), 0, "fold");
    is_int(compare(l), 0, "sums");
    is_str(query(l, "SELECT status, finalized_at_ms, actual, charged,"
                 " settle_key, committed_metadata, tokens_input,"
                 " tokens_output, model_version, texts_omitted, extensions,"
                 " expires_at_ms, granted_until_ms FROM reservations WHERE"
                 " idempotency_key = 'first'"),
           "COMMITTED|1700000000002|60|60|done|{\"b\":2}|3|-|m|0|1|"
           "1700000015000|1700000010000", "committed");
    is_str(query(l, "SELECT idempotency_key, extend_by_ms, e.expires_at_ms"
                 " FROM extensions e WHERE reservation = (SELECT seq FROM"
                 " reservations WHERE idempotency_key = 'first')"),
           "x1|5000|1700000015000", "extensions");
    is_str(query(l, "SELECT status, release_reason, charged, caps_max_tokens,"
                 " caps_tool_denylist FROM reservations WHERE"
                 " idempotency_key = 'second'"),
           "RELEASED|because|-|7|[\"x\"]", "released");
    is_str(query(l, "SELECT status, finalized_at_ms FROM reservations WHERE"
                 " idempotency_key = 'third'"),
           "EXPIRED|1700000020000", "expired");
    is_str(query(l, "SELECT tenant_id, idempotency_key, actual, charged,"
                 " tokens_input, tokens_output, client_time_ms,"
                 " overage_policy, action_tags FROM events"),
           "acme|e|7|7|-|9|5|ALLOW_IF_AVAILABLE|[\"one\",\"two\"]",
           "events");
    is_str(query(l, "SELECT dry_run, decision, reason_code, estimate,"
                 " remaining FROM decisions"),
           "0|DENY|BUDGET_EXCEEDED|100000|-", "decisions");
    is_str(query(l, "SELECT folded, expired, segment FROM meta"), "12|1|1",
           "meta");

    is_int(fold(l), 0, "nothing is left");
    cycles_ledger_close(l);

    l = led_open();
    is_int(fold(l), 0, "after a start");
    is_int(compare(l), 0, "the same sums");
    cycles_ledger_close(l);
}


/* how many files the log has */

static unsigned
segments(void)
{
    DIR            *dir;
    unsigned        n;
    struct dirent  *de;

    dir = opendir(led_dir);

    for (n = 0; (de = readdir(dir)) != NULL; ) {
        n += strncmp(de->d_name, "log-", 4) == 0;
    }

    closedir(dir);

    return n;
}


static uint64_t
log_bytes(void)
{
    DIR            *dir;
    char            path[600];
    uint64_t        n;
    struct dirent  *de;

    dir = opendir(led_dir);

    for (n = 0; (de = readdir(dir)) != NULL; ) {
        if (strncmp(de->d_name, "log-", 4) == 0) {
            snprintf(path, sizeof(path), "%s/%s", led_dir, de->d_name);
            n += led_size(path);
        }
    }

    closedir(dir);

    return n;
}


/* all kinds of operations, some of them on what earlier ones have left */

static void
churn(cycles_ledger_t *l, unsigned n, int64_t *now)
{
    char              key[64];
    unsigned          i, k;
    cycles_reserve_t  rq;
    static char       ids[32][40];
    static unsigned   serial;

    static const char  *subjects[] = { "a", "a//b", "A//c", "a/w/b", "x" };

    for (i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "k%u", serial++);
        k = rnd(32);
        *now += rnd(30);

        switch (rnd(12)) {

        case 0:
            led_event(l, subjects[rnd(5)], key, rnd(50), rnd(3), *now);
            break;

        case 1:
            led_release_why(l, ids[k], key, rnd(2) ? "why" : "", *now);
            break;

        case 2:
        case 3:
            led_extend(l, ids[k], key, 1000 + rnd(9000), *now);
            break;

        case 4:
        case 5:
        case 6:
            led_commit(l, ids[k], key, rnd(120), *now);
            break;

        case 7:
            rq = led_reserve_rq(subjects[rnd(5)], key, rnd(100));
            rq.dry_run = rnd(2);
            rq.decide = !rq.dry_run;
            led_do_reserve(l, &rq, *now);
            break;

        default:
            if (led_reserve_as(l, subjects[rnd(5)], key, rnd(100), rnd(3),
                               *now)
                == CYCLES_OK)
            {
                strcpy(ids[k], led_rs.id);
            }
        }
    }
}


static const char  *definitions =
    "{\"tenants\":[{\"tenant_id\":\"a\",\"name\":\"A\"},"
    "{\"tenant_id\":\"x\",\"max_reservation_extensions\":3}],"
    "\"budgets\":[{\"scope\":\"tenant:a\",\"unit\":\"TOKENS\",\"allocated\":"
    "{\"unit\":\"TOKENS\",\"amount\":9000000},\"caps\":{\"above_percent\":1,"
    "\"max_tokens\":7,\"tool_allowlist\":[\"y\",\"z\"]}},"
    "{\"scope\":\"tenant:a/app:b\",\"unit\":\"TOKENS\",\"allocated\":"
    "{\"unit\":\"TOKENS\",\"amount\":70000},\"overdraft_limit\":"
    "{\"unit\":\"TOKENS\",\"amount\":500}},"
    "{\"scope\":\"tenant:x\",\"unit\":\"TOKENS\",\"allocated\":"
    "{\"unit\":\"TOKENS\",\"amount\":50000}},"
    "{\"scope\":\"tenant:a/workspace:w\",\"unit\":\"TOKENS\",\"allocated\":"
    "{\"unit\":\"TOKENS\",\"amount\":5000}}],"
    "\"api_keys\":[{\"tenant_id\":\"a\",\"name\":\"k\",\"secret_sha256\":"
    "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}],"
    "\"admin_key_sha256\":"
    "\"ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100\"}";


/* a dump without what a start leaves in the tables */

static char *
dump(cycles_ledger_t *l)
{
    char  *text, *line, *next, *out, *p;

    text = led_dump(l);
    out = malloc(strlen(text) + 1);
    p = out;

    for (line = text; *line; line = next) {
        next = strchr(line, '\n') + 1;

        /* "status 0" of a reservation: it lives; the head counts them */

        if (strncmp(line, "budget ", 7) == 0
            || strstr(line, " kind 1 status 0 ") == line + 36)
        {
            memcpy(p, line, next - line);
            p += next - line;
        }
    }

    *p = '\0';
    free(text);

    return out;
}


/* what is in memory, by its keys */

typedef struct {
    cycles_digest_t  key;
    char            *line;
} cell_line_t;


static unsigned
cell_lines(cycles_ledger_t *l, cell_line_t *lines, unsigned max)
{
    unsigned        n;
    uint64_t        slot;
    cycles_ref_t    ref;
    cycles_cell_t  *cell;

    for (n = 0, slot = 0; slot <= l->shm->ids.mask; slot++) {
        ref = *cycles_memory_bucket(l, &l->shm->ids, slot);

        for ( /* void */ ; ref && n < max; ref = cell->next_id) {
            cell = cycles_memory_at(l, ref);
            lines[n].key = cell->key;
            lines[n++].line = led_dump_cell(l, cell);
        }
    }

    return n;
}


static cycles_cell_t *
recall_key(cycles_ledger_t *l, const cycles_digest_t *key)
{
    cycles_look_up_t  look_up;

    memset(&look_up, 0, sizeof(look_up));
    look_up.by_key = 1;
    look_up.key = *key;

    if (cycles_ledger_look_up(l, &look_up, led_err, sizeof(led_err)) != 0) {
        printf("# look-up: %s\n", led_err);
    }

    return cycles_cell_by_key(l, key);
}


static unsigned  recalled;


/* all of it is as it was, when it is asked for */

static unsigned
compare_cells(cycles_ledger_t *l, cell_line_t *lines, unsigned n)
{
    char           *line;
    unsigned        i, wrong;
    cycles_cell_t  *cell;

    for (wrong = 0, i = 0; i < n; i++) {
        cell = cycles_cell_by_key(l, &lines[i].key);

        if (cell == NULL) {
            cell = recall_key(l, &lines[i].key);
            recalled += cell != NULL;
        }

        line = cell ? led_dump_cell(l, cell) : strdup("nothing");

        if (strcmp(line, lines[i].line) != 0) {
            printf("# got  %s\n# want %s\n", line, lines[i].line);
            wrong++;
        }

        free(line);
        free(lines[i].line);
    }

    return wrong;
}


/* a start from the tables and the rest of the log has the same state */

static void
test_start(void)
{
    char             *before, *after;
    int64_t           now;
    unsigned          round, wrong, most, least, n, cells;
    uint64_t          written, expired;
    cycles_ledger_t  *l;

    static cell_line_t  lines[5000];

    led_clean();
    l = led_open_size(4 * 1024 * 1024, 8192);
    led_budgets(l, definitions);

    now = T0;
    wrong = 0;
    most = 0;
    least = 1000;

    for (round = 0; round < 20; round++) {
        churn(l, 1 + rnd(300), &now);

        if (round % 3) {
            wrong += fold(l) != 0;
            wrong += compare(l);
        }

        if (round % 2) {
            churn(l, rnd(100), &now);
        }

        n = segments();
        most = n > most ? n : most;
        least = n < least ? n : least;

        before = dump(l);
        written = cycles_ledger_written(l);
        expired = l->shm->nexpired;
        cells = cell_lines(l, lines, 5000);
        cycles_ledger_close(l);

        l = led_open_size(4 * 1024 * 1024, 8192);

        if (l == NULL) {
            printf("# %s\n", led_err);
            exit(2);
        }

        after = dump(l);

        if (strcmp(before, after) != 0) {
            printf("# round %u: before:\n# %s\n# after:\n# %s\n", round,
                   before, after);
            wrong++;
        }

        wrong += written != cycles_ledger_written(l);
        wrong += expired != l->shm->nexpired;
        wrong += compare_cells(l, lines, cells);
        wrong += expired != l->shm->nexpired;
        wrong += led_said[0] != '\0';

        free(after);
        after = dump(l);
        wrong += strcmp(before, after) != 0;

        free(before);
        free(after);
    }

    is_int(wrong, 0, "20 starts");
    ok(recalled > 500, "%u times something was recalled", recalled);
    is_int(least, 1, "the log is cut");
    ok(most > 3 && most < 40, "it had up to %u files", most);
    ok(l->shm->nlive > 10, "%u live reservations", l->shm->nlive);
    ok(l->shm->nexpired > 10, "%u expired", (unsigned) l->shm->nexpired);
    is_int(l->shm->log_before + l->shm->log_end, log_bytes(),
           "the size of the log");

    cycles_ledger_close(l);
}


static void
refused(const char *name, const char *want)
{
    cycles_ledger_t  *l;

    l = led_open_size(4 * 1024 * 1024, 16384);
    ok(l == NULL && strstr(led_err, want) != NULL, "%s: \"%s\"", name, want);
    printf("# %s\n", led_err);

    if (l) {
        cycles_ledger_close(l);
    }
}


static void
shell(const char *fmt, ...)
{
    char     command[2000], path[700];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);

    snprintf(path, sizeof(path), "cd %s && ", led_dir);
    memmove(command + strlen(path), command, strlen(command) + 1);
    memcpy(command, path, strlen(path));

    if (system(command) != 0) {
        printf("# failed: %s\n", command);
    }
}


/* files that are missing, of another time, or not what they say */

static void
test_refused(void)
{
    char             *before, *after;
    int64_t           now;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(4 * 1024 * 1024, 16384);
    led_budgets(l, definitions);
    now = T0;
    churn(l, 300, &now);
    fold(l);
    shell("mkdir old all && cp log-* ledger.db* old");
    churn(l, 500, &now);
    fold(l);
    churn(l, 100, &now);
    before = dump(l);
    cycles_ledger_close(l);
    shell("cp log-* ledger.db* all");

    ok(access("/dev/null", F_OK) == 0 && segments() < 5, "the log was cut");

    shell("rm ledger.db*");
    refused("no tables", "\"ledger.db\" is missing");

    shell("cp old/ledger.db* .");
    refused("older tables", "the log has a gap");

    shell("rm -f log-* ledger.db* && cp all/ledger.db* old/log-* .");
    refused("an older log", "which the log no longer has");

    shell("rm log-*");
    refused("no log", "the log in ");
    refused("what to do", "SET log = 'lost'");

    shell("cp all/log-* . && rm ledger.db* && echo rubbish > ledger.db");
    refused("not a database", "not a database, restore it from a backup");

    shell("rm ledger.db* && sqlite3 ledger.db 'CREATE TABLE t (i)'");
    refused("another database", "is not the database of a ledger");

    shell("rm ledger.db* && cp all/ledger.db* . && sqlite3 ledger.db 'PRAGMA"
          " user_version = 9'");
    refused("newer tables", "version 9 of the tables");

    shell("rm ledger.db* && cp all/ledger.db* . && sqlite3 ledger.db 'UPDATE"
          " meta SET uuid = randomblob(16)'");
    refused("tables of another ledger", "belongs to another ledger");

    shell("rm ledger.db* && cp all/ledger.db* . && sqlite3 ledger.db 'UPDATE"
          " budget_rows SET definition = zeroblob(9) WHERE id = 2'");
    refused("damaged tables", "is damaged");

    shell("rm ledger.db* && cp all/ledger.db* .");
    l = led_open_size(4 * 1024 * 1024, 16384);
    ok(l != NULL, "put right");
    after = dump(l);
    is_str(after, before, "the same state");
    cycles_ledger_close(l);
    free(after);
    free(before);

    /* what an operator gives up */

    l = led_open_size(4 * 1024 * 1024, 16384);
    fold(l);
    before = dump(l);
    churn(l, 50, &now);
    cycles_ledger_close(l);
    shell("rm log-* && sqlite3 ledger.db \"UPDATE meta SET log = 'lost'\"");

    l = led_open_size(4 * 1024 * 1024, 16384);
    ok(l != NULL, "the log is given up");
    after = dump(l);
    is_str(after, before, "the state of the tables");
    is_int(led_reserve(l, "a", "later", 1, now), CYCLES_OK, "it goes on");
    cycles_ledger_close(l);

    l = led_open_size(4 * 1024 * 1024, 16384);
    is_int(led_reserve(l, "a", "later", 1, now), CYCLES_OK, "and keeps it");
    is_int(fold(l), 0, "fold");
    is_int(compare(l), 0, "sums");
    cycles_ledger_close(l);

    shell("rm log-*");
    refused("lost once more", "SET log = 'lost'");

    shell("rm -r old all ledger.db*");
    free(before);
    free(after);
}


#define DAY  86400000LL


/* what has ended long ago goes, what lives stays */

static void
test_retention(void)
{
    char              key[32], live[40], old[40], recent[40];
    int64_t           now;
    unsigned          i;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh("tenant:a 100000000 0");
    rq = led_reserve_rq("a", "live", 5);
    rq.ttl_ms = DAY;
    led_do_reserve(l, &rq, T0);
    strcpy(live, led_rs.id);

    for (i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "x%u", i);
        led_extend(l, live, key, DAY, T0);
    }

    for (i = 0; i < 1200; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve(l, "a", key, 10, T0);
        led_extend(l, led_rs.id, "x", 1000, T0);
        led_commit(l, led_rs.id, "c", 10, T0);
        snprintf(key, sizeof(key), "e%u", i);
        led_event(l, "a", key, 1, 0, T0);
        rq = led_reserve_rq("a", key, 5);
        rq.decide = 1;
        led_do_reserve(l, &rq, T0);
    }

    strcpy(old, led_rs.id);
    led_reserve(l, "a", "old", 10, T0);
    strcpy(old, led_rs.id);
    led_release(l, old, "r", T0);

    now = T0 + 29 * DAY;
    led_reserve(l, "a", "recent", 10, now);
    strcpy(recent, led_rs.id);
    led_commit(l, recent, "c", 10, now);
    led_event(l, "a", "recent", 1, 0, now);

    is_int(fold_at(l, now, 30 * DAY), 0, "after 29 days");
    is_str(query(l, "SELECT (SELECT count(*) FROM reservations), (SELECT"
                 " count(*) FROM extensions), (SELECT count(*) FROM events),"
                 " (SELECT count(*) FROM decisions)"),
           "1203|1240|1201|0", "only decisions are forgotten");

    now = T0 + 31 * DAY;
    is_int(fold_at(l, now, 0), 0, "after 31 days, kept for ever");
    is_str(query(l, "SELECT count(*) FROM reservations"), "1203", "all");

    is_int(fold_at(l, now, 30 * DAY), 0, "kept for 30 days");
    is_str(query(l, "SELECT (SELECT count(*) FROM reservations), (SELECT"
                 " count(*) FROM extensions), (SELECT count(*) FROM events)"),
           "2|40|1", "what is recent, or lives");
    is_int(compare(l), 0, "sums");

    cycles_ledger_close(l);
    l = led_open();

    is_int(led_commit(l, old, "c", 1, now), CYCLES_NOT_FOUND, "an old one");
    is_int(led_commit(l, recent, "c", 10, now), CYCLES_OK, "a recent one");
    is_int(led_commit(l, live, "c", 5, now), CYCLES_OK, "the live one");
    is_int(led_reserve(l, "a", "k5", 10, now), CYCLES_OK, "an old key");
    is_int(led_rs.remaining_ttl_ms, 10000, "is new");
    cycles_ledger_close(l);
}


/* a reservation that lives is in the way of nobody */

static void
test_retention_behind(void)
{
    char              key[32];
    unsigned          i;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 100000000 0");

    for (i = 0; i < 1300; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve(l, "a", key, 10, T0);

        if (i != 3 && i != 1290) {
            led_commit(l, led_rs.id, "c", 10, T0);
        }
    }

    is_int(fold(l), 0, "at once");
    is_int(fold_at(l, T0 + 31 * DAY, 30 * DAY), 0, "after 31 days");
    is_str(query(l, "SELECT group_concat(idempotency_key) FROM reservations"),
           "k3,k1290", "what lives has stayed");
    cycles_ledger_close(l);
}


static int
took(void *data, const cycles_reservation_t *row)
{
    *(int64_t *) data = row->reserved;
    return 0;
}


/* an id has the number of its row, and names that row only if it is its own */

static void
test_ids(void)
{
    char              err[256], text[CYCLES_UUID_LEN + 1];
    uint8_t           id[16], other[16];
    int64_t           reserved;
    unsigned          i;
    cycles_ledger_t  *l;

    l = led_fresh("tenant:a 1000 0");

    for (i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "k%u", i);
        is_int(led_reserve(l, "a", text, 10 + i, T0), CYCLES_OK, "reserve");
        is_int(cycles_id_parse(str(led_rs.id), id), 0, "its id");
        is_int(cycles_ledger_id_seq(l, id), led_rs.record, "has its number");
    }

    is_int(fold(l), 0, "into the tables");

    reserved = 0;
    is_int(cycles_ledger_reservation(l, str(led_rs.id), took, &reserved, T0,
                                     err, sizeof(err)), CYCLES_OK, "found");
    is_int(reserved, 12, "it is the one");

    memcpy(other, id, 16);
    other[7] ^= 1;
    ok(cycles_ledger_id_seq(l, other) != led_rs.record,
       "another id has another number");

    cycles_ledger_id_number(l, other, led_rs.record);
    ok(memcmp(other + 10, id + 10, 6) != 0, "numbers do not show");
    cycles_id_print(other, text);
    is_int(cycles_ledger_reservation(l, str(text), took, &reserved, T0, err,
                                     sizeof(err)),
           CYCLES_NOT_FOUND, "one of the same number is not found");
    is_int(cycles_ledger_reservation(l, str("k2"), took, &reserved, T0, err,
                                     sizeof(err)),
           CYCLES_NOT_FOUND, "what is no id is not found");

    cycles_ledger_close(l);
}


/* rows that are written together are not mixed up */

static void
test_rows(void)
{
    char              key[32], id[40];
    int64_t           i;
    cycles_ledger_t  *l;
    cycles_commit_t   rq;
    cycles_reserve_t  rs;

    l = led_fresh("tenant:a 100000000 0");

    for (i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "k%d", (int) i);
        rs = led_reserve_rq("a", key, 100 + i);

        if (i == 11) {
            rs.metadata = str("{\"eleven\":true}");
        }

        led_do_reserve(l, &rs, T0);
        strcpy(id, led_rs.id);

        if (i % 7 == 5) {
            continue;
        }

        rq = led_commit_rq(key, 200 + i);
        rq.metrics.tokens_input = (i % 3) ? i : -1;
        cycles_ledger_commit(l, str(id), &rq, &led_st, T0 + i);
    }

    is_int(fold(l), 0, "30 of them, four still live");

    is_str(query(l, "SELECT count(*) FROM reservations WHERE status ="
                 " 'COMMITTED' AND 'k' || (estimate - 100) = idempotency_key"
                 " AND actual = estimate + 100 AND settle_key ="
                 " idempotency_key AND finalized_at_ms = created_at_ms"
                 " + estimate - 100 AND (metadata IS NULL) ="
                 " (estimate != 111) AND tokens_input IS"
                 " iif((estimate - 100) % 3, estimate - 100, NULL)"
                 " AND seq < settle_seq"),
           "26", "each row has what is its own");
    is_str(query(l, "SELECT group_concat(idempotency_key) FROM (SELECT *"
                 " FROM reservations WHERE actual IS NULL ORDER BY seq)"),
           "k5,k12,k19,k26", "and nobody else's");
    is_int(compare(l), 0, "sums");
    cycles_ledger_close(l);
}


/* as an operator might, and should not */

static void
change(const char *sql)
{
    char      path[300], *err;
    sqlite3  *db;

    snprintf(path, sizeof(path), "%s/ledger.db", led_dir);
    err = NULL;

    ok(sqlite3_open(path, &db) == SQLITE_OK
       && sqlite3_exec(db, sql, NULL, NULL, &err) == SQLITE_OK,
       "%.40s: %s", sql, err ? err : "done");

    sqlite3_free(err);
    sqlite3_close(db);
}


/* what somebody else does to the tables while they are written to */

static void
test_disturbed(void)
{
    unsigned          i;
    cycles_ledger_t  *l;

    static const struct {
        const char  *change, *back, *says;
    } t[] = {
        { "UPDATE meta SET uuid = zeroblob(16)",
          "UPDATE meta SET uuid = (SELECT uuid FROM kept)",
          "belongs to another ledger" },
        { "UPDATE meta SET folded = folded + 100",
          "UPDATE meta SET folded = folded - 100", "restore the log from" },
        { "CREATE TRIGGER no BEFORE UPDATE OF spent ON budget_sums"
          " BEGIN SELECT RAISE(ABORT, 'not that'); END", "DROP TRIGGER no",
          "not that" },
        { "CREATE TRIGGER no BEFORE UPDATE OF folded ON meta"
          " BEGIN SELECT RAISE(ABORT, 'nor that'); END", "DROP TRIGGER no",
          "nor that" }
    };

    l = led_fresh("tenant:a 1000 0");
    led_event(l, "a", "e", 1, 0, T0);
    is_int(fold(l), 0, "fold");
    change("CREATE TABLE kept AS SELECT uuid FROM meta");

    for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        change(t[i].change);
        led_event(l, "a", t[i].says, 2, 0, T0);

        is_int(fold(l), -1, "%s", t[i].says);
        ok(strstr(led_err, t[i].says) != NULL, "it says so: %s", led_err);

        change(t[i].back);
        is_int(fold(l), 0, "as it was: fold");
        is_int(compare(l), 0, "the sums count once");
        is_int(atoi(query(l, "SELECT count(*) FROM events")), 2 + i,
               "and so do the events");
    }

    cycles_ledger_close(l);
}


/* a fold that goes on for long stops on the way; what it has not read stays */

static void
test_part(void)
{
    char              key[32];
    unsigned          i, parts;
    cycles_ledger_t  *l;

    led_clean();
    l = led_open_size(16 * 1024 * 1024, 128 * 1024);
    led_define(l, "tenant:a 100000000 0");

    for (i = 0; i < 40000; i++) {
        snprintf(key, sizeof(key), "e%u", i);
        led_event(l, "a", key, 1, 0, T0);
    }

    cycles_ledger_want_folded(l, cycles_ledger_written(l));
    parts = 0;

    do {
        parts++;

        if (cycles_ledger_fold(l, T0, 0, &folded, led_err, sizeof(led_err))
            != 0)
        {
            break;
        }

    } while (folded.more);

    is_int(cycles_ledger_folded(l), cycles_ledger_written(l),
           "folded in %u parts: %s", parts, led_err);
    is_int(compare(l), 0, "sums");
    is_int(atoi(query(l, "SELECT count(*) FROM events")), 40000, "events");

    cycles_ledger_close(l);
}


/* keys that are new are known to be new, without a look */

static void
test_filter(void)
{
    char              key[32];
    unsigned          i, had;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh("tenant:a 100000000 0");

    for (i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 1);
        rq.fresh_key = i % 2;
        led_do_reserve(l, &rq, T0);
        led_release(l, led_rs.id, "r", T0);
    }

    is_int(fold_at(l, T0, 0), 0, "fold");
    cycles_ledger_close(l);
    l = led_open();
    led_look_ups = 0;

    led_reserve(l, "a", "new", 1, T0);
    is_int(led_look_ups, 1, "without a filter all is looked up");
    led_reserve(l, "a", "new", 1, T0);
    is_int(led_look_ups, 1, "once");

    is_int(fold_at(l, T0, 0), 0, "a fold makes it");
    ok(l->shm->filter != 0 && !l->shm->filter_building, "it is in use");
    is_int(l->shm->filter_keys, 1501, "with all keys that may come again");

    for (i = 0; i < 1500; i++) {
        snprintf(key, sizeof(key), "m%u", i);
        led_reserve(l, "a", key, 1, T0);
    }

    ok(led_look_ups < 20, "%u of 1500 new keys were looked up",
       led_look_ups - 1);

    led_look_ups = 0;
    had = cycles_ledger_written(l);

    for (i = 0; i < 3000; i += 2) {
        snprintf(key, sizeof(key), "k%u", i);
        led_reserve(l, "a", key, 1, T0);
    }

    is_int(led_look_ups, 1500, "and all old ones");
    is_int(cycles_ledger_written(l), had, "which were found");

    led_look_ups = 0;
    rq = led_reserve_rq("a", "k0", 1);
    rq.fresh_key = 1;

    for (i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "f%u", i);
        rq.idempotency_key = str(key);
        led_do_reserve(l, &rq, T0);
    }

    is_int(led_look_ups, 0, "what is new by itself is not");

    /* a full one is made anew, of what is recent */

    l->shm->filter_keys = l->shm->filter_size * 8;
    had = l->shm->filter;
    is_int(fold_at(l, T0 + DAY + 60000, 0), 0, "fold");
    ok(l->shm->filter != had, "the other one is in use");
    is_int(l->shm->filter_keys, 0, "it has what is of interest");
    is_int(led_reserve(l, "a", "k2000", 1, T0 + DAY + 60000), CYCLES_OK,
           "in memory it is still known");
    is_int(led_rs.remaining_ttl_ms, 0, "as what it was");
    cycles_ledger_close(l);
}


/* a key that nobody looks for is known as such from then on */

static void
test_fresh(void)
{
    char              key[32], id[6][40];
    unsigned          i, round;
    cycles_ledger_t  *l;
    cycles_reserve_t  rq;

    l = led_fresh("tenant:a 1000 0");

    for (i = 0; i < 6; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        rq = led_reserve_rq("a", key, 10);
        rq.fresh_key = i % 2;
        led_do_reserve(l, &rq, T0);
        strcpy(id[i], led_rs.id);
    }

    for (round = 0; round < 3; round++) {

        for (i = 0; i < 6; i += 2) {
            snprintf(key, sizeof(key), "k%u", i);
            led_reserve(l, "a", key, 10, T0);
            is_str(led_rs.id, id[i], "round %u, key %s", round, key);
        }

        if (round == 0) {
            is_int(fold(l), 0, "into the tables");
        }

        cycles_ledger_close(l);
        l = led_open();
    }

    for (i = 0; i < 6; i++) {
        is_int(led_commit(l, id[i], "c", 4 + i, T0), CYCLES_OK, "commit %u",
               i);
        is_int(led_commit(l, id[i], "c", 4 + i, T0), CYCLES_OK, "again");
        is_int(led_commit(l, id[i], "c", 5 + i, T0),
               CYCLES_IDEMPOTENCY_MISMATCH, "with another amount");
    }

    led_reserve(l, "a", "k0", 11, T0);
    is_int(led_rs.code, CYCLES_IDEMPOTENCY_MISMATCH, "another request");
    is_int(fold(l), 0, "into the tables");
    is_int(compare(l), 0, "sums");
    cycles_ledger_close(l);
}


/* a settlement with such a key is no answer to anybody who has it */

static void
test_fresh_settlement(void)
{
    char              id[3][40];
    unsigned          i, round;
    cycles_code_t     code;
    cycles_ledger_t  *l;
    cycles_commit_t   commit;
    cycles_release_t  release;

    l = led_fresh("tenant:a 1000 0");

    for (i = 0; i < 3; i++) {
        led_reserve(l, "a", i ? (i == 1 ? "k1" : "k2") : "k0", 10, T0);
        strcpy(id[i], led_rs.id);
    }

    commit = led_commit_rq("c", 4);
    commit.fresh_key = 1;
    is_int(cycles_ledger_commit(l, str(id[0]), &commit, &led_st, T0),
           CYCLES_OK, "commit");

    memset(&release, 0, sizeof(release));
    release.idempotency_key = str("c");
    release.fresh_key = 1;
    is_int(cycles_ledger_release(l, str(id[1]), &release, &led_st, T0),
           CYCLES_OK, "release");

    is_int(led_commit(l, id[2], "c", 4, T0), CYCLES_OK, "another's commit");

    for (round = 0; round < 4; round++) {
        is_int(led_commit(l, id[0], "c", 4, T0), CYCLES_RESERVATION_FINALIZED,
               "round %u, the commit", round);

        do {
            code = cycles_ledger_commit(l, str(id[0]), &commit, &led_st, T0);
        } while (led_look_up(l, code) == 0);

        is_int(code, CYCLES_RESERVATION_FINALIZED, "by whomever");
        is_int(led_release(l, id[1], "c", T0), CYCLES_RESERVATION_FINALIZED,
               "the release");
        is_int(led_commit(l, id[2], "c", 4, T0), CYCLES_OK, "the other one");

        if (round == 1) {
            is_int(fold(l), 0, "into the tables");
        }

        cycles_ledger_close(l);
        l = led_open();
    }

    is_int(fold(l), 0, "into the tables");
    is_int(compare(l), 0, "sums");
    cycles_ledger_close(l);
}


int
main(void)
{
    led_start();

    test_tables();
    test_soon();
    test_retention();
    test_retention_behind();
    test_ids();
    test_rows();
    test_disturbed();
    test_part();
    test_filter();
    test_fresh();
    test_fresh_settlement();
    test_start();
    test_refused();

    return done_testing();
}
