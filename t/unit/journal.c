
/*
 * Copyright (C) nginx-cycles authors
 *
 * The journal's files, as the SDKs of the protocol know them: where they are,
 * what is in them, and to which of several processes they belong.
 */


#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cycles_journal.h"
#include "tap.h"


#define URL     "http://localhost:7878"
#define TENANT  "acme-corp"

#define NOW     1790000000000


static char         base[256];
static const char  *dir;                  /* of URL and TENANT */
static uint64_t     uptime;


static cycles_str_t
str(const char *text)
{
    cycles_str_t  s;

    s.data = (unsigned char *) text;
    s.len = strlen(text);

    return s;
}


static int
equal(cycles_str_t s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}


static const char *
path(const char *fmt, const char *name)
{
    static char  text[8][600];
    static int   n;

    n = (n + 1) % 8;
    snprintf(text[n], sizeof(text[n]), fmt, base, dir, name);

    return text[n];
}

#define at(name)  path("%s/%s/%s", name)


static void
put(const char *name, const char *text)
{
    FILE  *file;

    file = fopen(name, "w");

    if (file == NULL) {
        printf("Bail out! %s: %s\n", name, strerror(errno));
        exit(1);
    }

    fputs(text, file);
    fclose(file);
}


static int
mode_of(const char *name)
{
    struct stat  st;

    return stat(name, &st) == -1 ? -1 : (int) (st.st_mode & 07777);
}


static void
identities(void)
{
    unsigned    i;
    char        identity[CYCLES_JOURNAL_IDENTITY + 1];

    static const struct {
        const char  *url;
        const char  *tenant;
        const char  *key;
        const char  *want;
    } cases[] = {
        { "http://localhost", "", "test-key", "68c905017df7dbfc" },
        { "http://localhost", " \t", "test-key", "68c905017df7dbfc" },
        { "http://localhost", "acme", "any", "8baba538fb970da4" },
        { "http://localhost", "acme", "other", "8baba538fb970da4" },
        { URL, TENANT, "any", "43fe9948c3c64529" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        identity[CYCLES_JOURNAL_IDENTITY] = '\0';

        is_int(cycles_journal_identity(identity, str(cases[i].url),
                                       str(cases[i].tenant),
                                       str(cases[i].key)),
               0, "identity %u", i);
        is_str(identity, cases[i].want, "identity %u is the SDKs'", i);
    }
}


static void
names(void)
{
    char  name[CYCLES_JOURNAL_NAME];

    cycles_journal_name(name, str("rsv/a"));
    is_str(name, "v2-e3edb9ca022de3c9c90c5667d47fa66448cee1f254e488a761313faee"
           "34141d7.json", "name of an id with a slash");

    cycles_journal_name(name, str("res_123"));
    is_str(name, "v2-6b052f42ef1eef55a932a510c24936aff86bd657cd9de9513b114db7a"
           "537066e.json", "name of a plain id");
}


static size_t
text_of(char *buf, size_t size, const char *id, cycles_journal_mode_t mode,
    int64_t not_before)
{
    size_t                   len;
    cycles_journal_record_t  rec;

    memset(&rec, 0, sizeof(rec));

    rec.reservation_id = str(id);
    rec.base_url = str(URL);
    rec.mode = mode;
    rec.commit_body = str("{\"idempotency_key\":\"k\\u000a\",\"actual\":"
                          "{\"unit\":\"USD_MICROCENTS\","
                          "\"amount\":9007199254740993}}");
    rec.event_body = str("{\"idempotency_key\":\"k\\u000a\",\"subject\":"
                         "{\"tenant\":\"acme-corp\"},\"action\":{\"kind\":"
                         "\"a}\",\"name\":\"\\\"b\"},\"actual\":{\"unit\":"
                         "\"USD_MICROCENTS\",\"amount\":9007199254740993}}");
    rec.recorded_at_ms = NOW;
    rec.not_before_ms = not_before;

    len = cycles_journal_text((unsigned char *) buf, size - 1, &rec);
    buf[len] = '\0';

    return len;
}


static void
texts(void)
{
    size_t                   len;
    unsigned                 i;
    void                    *memory;
    cycles_journal_terms_t   terms;
    cycles_journal_record_t  rec;
    char                     text[4096], err[CYCLES_JOURNAL_ERROR_LEN];

#define BODY  "{\"idempotency_key\":\"k\",\"actual\":{\"unit\":\"TOKENS\","   \
              "\"amount\":1}}"
#define HEAD  "{\"version\":1,\"reservation_id\":\"r\","

    static const struct {
        const char  *text;
        const char  *err;                 /* NULL: it is a record */
    } cases[] = {
        { HEAD "\"commit_body\":" BODY "}", NULL },
        { HEAD "\"mode\":\"event\",\"event_fallback_body\":" BODY "}", NULL },
        { HEAD "\"commit_body\":" BODY ",\"not_before_ms\":9007199254740991}",
          NULL },
        { HEAD " \"commit_body\" :\n" BODY ",\"else\":{\"commit_body\":{}}}",
          NULL },
        { "", "it is not JSON" },
        { "[]", "it is not an object" },
        { "{}", "it is of another version" },
        { "{\"version\":2,\"reservation_id\":\"r\",\"commit_body\":" BODY "}",
          "it is of another version" },
        { "{\"version\":1.0,\"reservation_id\":\"r\",\"commit_body\":" BODY
          "}", "it is of another version" },
        { "{\"version\":1,\"reservation_id\":\"\",\"commit_body\":" BODY "}",
          "it has no \"reservation_id\"" },
        { HEAD "\"mode\":null,\"commit_body\":" BODY "}", "its \"mode\"" },
        { HEAD "\"mode\":\"event\",\"commit_body\":" BODY "}",
          "what is to be sent has no \"idempotency_key\"" },
        { HEAD "\"commit_body\":\"x\"}", "one of its bodies" },
        { HEAD "\"commit_body\":" BODY ",\"event_fallback_body\":[]}",
          "one of its bodies" },
        { HEAD "\"base_url\":1,\"commit_body\":" BODY "}",
          "its \"base_url\"" },
        { HEAD "\"commit_body\":" BODY ",\"recorded_at_ms\":-1}",
          "one of its times" },
        { HEAD "\"commit_body\":" BODY ",\"not_before_ms\":9007199254740992}",
          "one of its times" },
        { HEAD "\"commit_body\":{\"idempotency_key\":\"k\",\"actual\":"
          "{\"unit\":\"EUR\",\"amount\":1}}}", "what is to be sent has no "
          "\"actual\"" },
        { HEAD "\"commit_body\":{\"idempotency_key\":\"k\",\"actual\":"
          "{\"unit\":\"TOKENS\",\"amount\":1.5}}}", "what is to be sent has "
          "no \"actual\"" },
        { HEAD "\"commit_body\":" BODY ",\"commit_body\":" BODY "}",
          "it is not JSON" },
        { HEAD "\"commit\\u005fbody\":" BODY "}", "the names of its members" }
    };

    len = text_of(text, sizeof(text), "a\"b", CYCLES_JOURNAL_COMMIT, 0);

    is_str(text, "{\"version\":1,\"reservation_id\":\"a\\\"b\","
           "\"base_url\":\"" URL "\",\"mode\":\"commit\",\"commit_body\":"
           "{\"idempotency_key\":\"k\\u000a\",\"actual\":{\"unit\":"
           "\"USD_MICROCENTS\",\"amount\":9007199254740993}},"
           "\"event_fallback_body\":{\"idempotency_key\":\"k\\u000a\","
           "\"subject\":{\"tenant\":\"acme-corp\"},\"action\":{\"kind\":"
           "\"a}\",\"name\":\"\\\"b\"},\"actual\":{\"unit\":"
           "\"USD_MICROCENTS\",\"amount\":9007199254740993}},"
           "\"recorded_at_ms\":1790000000000,\"not_before_ms\":null}",
           "the text of a record");

    is_int(cycles_journal_parse((unsigned char *) text, len, &rec, &terms,
                                &memory, err, sizeof(err)),
           0, "it is read again");

    ok(equal(rec.reservation_id, "a\"b") && equal(rec.base_url, URL)
       && rec.mode == CYCLES_JOURNAL_COMMIT && rec.recorded_at_ms == NOW
       && rec.not_before_ms == 0, "and says the same");
    ok(equal(rec.commit_body, "{\"idempotency_key\":\"k\\u000a\",\"actual\":"
             "{\"unit\":\"USD_MICROCENTS\",\"amount\":9007199254740993}}"),
       "the body of the commit is the same to the byte");
    ok(rec.event_body.len > 0 && rec.event_body.data[0] == '{'
       && rec.event_body.data[rec.event_body.len - 1] == '}'
       && rec.event_body.len
          == strlen("{\"idempotency_key\":\"k\\u000a\",\"subject\":"
                    "{\"tenant\":\"acme-corp\"},\"action\":{\"kind\":\"a}\","
                    "\"name\":\"\\\"b\"},\"actual\":{\"unit\":"
                    "\"USD_MICROCENTS\",\"amount\":9007199254740993}}"),
       "the body of the event is whole, braces in strings or not");
    ok(equal(terms.key, "k\n") && equal(terms.tenant, "acme-corp")
       && terms.unit == CYCLES_USD_MICROCENTS
       && terms.amount == 9007199254740993, "and so are its terms");

    free(memory);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memory = NULL;
        err[0] = '\0';

        is_int(cycles_journal_parse((const unsigned char *) cases[i].text,
                                    strlen(cases[i].text), &rec, &terms,
                                    &memory, err, sizeof(err)),
               cases[i].err ? -1 : 0, "text %u", i);

        if (cases[i].err) {
            ok(strncmp(err, cases[i].err, strlen(cases[i].err)) == 0,
               "text %u: %s", i, err);
        }

        free(memory);
    }
}


static cycles_journal_t *
journal_open(void)
{
    char               err[CYCLES_JOURNAL_ERROR_LEN];
    cycles_journal_t  *journal;

    journal = cycles_journal_open(base, err, sizeof(err));

    if (journal == NULL) {
        printf("Bail out! %s\n", err);
        exit(1);
    }

    return journal;
}


static int
run(cycles_journal_t *journal, cycles_journal_op_t op, const char *id)
{
    char                  text[4096];
    cycles_journal_job_t  job;

    memset(&job, 0, sizeof(job));

    job.op = op;
    job.reservation_id = str(id);
    job.base_url = str(URL);
    job.tenant = str(TENANT);
    job.text.data = (unsigned char *) text;
    job.text.len = text_of(text, sizeof(text), id, CYCLES_JOURNAL_COMMIT, 0);

    if (op == CYCLES_JOURNAL_REMOVE) {
        strcpy(job.identity, dir);
    }

    uptime += CYCLES_JOURNAL_LEARN_TIME;
    cycles_journal_run(journal, &job, uptime);

    if (op == CYCLES_JOURNAL_WRITE) {
        cycles_journal_sync(journal, &job, uptime);
    }

    return job.error;
}


static char  trouble_text[CYCLES_JOURNAL_ERROR_LEN];
static int   found_new;


static void
trouble(void *data, int error, const char *text)
{
    snprintf(trouble_text, sizeof(trouble_text), "%s", text);
}


/* how many are found; the claims stay unless they are left at once */

static int
scan(cycles_journal_t *journal, cycles_journal_scan_t *sc, unsigned max,
    int keep)
{
    int                      n;
    cycles_journal_job_t     job;
    cycles_journal_found_t  *found;

    static cycles_str_t  url;

    url = str(URL);

    sc->max = max;
    sc->now = NOW;
    sc->base_urls = &url;
    sc->nbase_urls = 1;
    sc->trouble = trouble;
    trouble_text[0] = '\0';
    found_new = 0;

    cycles_journal_scan(journal, sc);

    for (n = 0; sc->found; n++) {
        found = sc->found;
        sc->found = found->next;
        found_new += (found->identity[0] == '\0');

        if (!keep) {
            memset(&job, 0, sizeof(job));

            job.op = CYCLES_JOURNAL_LEAVE;
            job.reservation_id = found->record.reservation_id;
            cycles_journal_run(journal, &job, uptime);
        }

        cycles_journal_found_free(found);
    }

    return n;
}


static void
files(void)
{
    unsigned                i;
    char                    name[CYCLES_JOURNAL_NAME], texts_of[9][1024];
    char                    ids[10][16];
    cycles_journal_t       *journal;
    cycles_journal_job_t    jobs[10];
    cycles_journal_scan_t   sc;

    journal = journal_open();

    is_int(mode_of(base), 0700, "the base is for its owner only");

    cycles_journal_close(journal);
    (void) chmod(base, 0755);
    journal = journal_open();

    is_int(mode_of(base), 0700, "also when it was for others");

    is_int(run(journal, CYCLES_JOURNAL_WRITE, "rsv/a"), 0, "one is written");

    cycles_journal_name(name, str("rsv/a"));
    is_int(mode_of(at(name)), 0600, "it is there under its name, mode 0600");
    is_int(mode_of(path("%s/%s", "")), 0700, "below a directory of 0700");

    is_int(run(journal, CYCLES_JOURNAL_REMOVE, "rsv/a"), 0, "it is removed");
    is_int(mode_of(at(name)), -1, "it is gone");
    is_int(run(journal, CYCLES_JOURNAL_REMOVE, "rsv/a"), 0, "once more");

    /* more than are synced one by one */

    memset(jobs, 0, sizeof(jobs));

    for (i = 0; i < 10; i++) {
        snprintf(ids[i], sizeof(ids[i]), "id-%u", i);

        jobs[i].op = CYCLES_JOURNAL_WRITE;
        jobs[i].reservation_id = str(ids[i]);
        jobs[i].base_url = str(URL);
        jobs[i].tenant = str(TENANT);
        jobs[i].next = (i < 8) ? &jobs[i + 1] : NULL;

        if (i < 9) {
            jobs[i].text.data = (unsigned char *) texts_of[i];
            jobs[i].text.len = text_of(texts_of[i], sizeof(texts_of[i]),
                                       ids[i], CYCLES_JOURNAL_COMMIT, 0);
        }
    }

    /* the last one takes the first one away */

    jobs[9].op = CYCLES_JOURNAL_REMOVE;
    jobs[9].reservation_id = str(ids[0]);

    cycles_journal_run(journal, jobs, uptime);

    cycles_journal_name(name, str(ids[8]));
    ok(mode_of(at(name)) == -1, "its directory is not known yet");

    memset(&sc, 0, sizeof(sc));
    (void) scan(journal, &sc, 20, 1);
    is_int(sc.pending, 9, "but all can be found before they are synced");

    uptime += CYCLES_JOURNAL_LEARN_TIME;
    cycles_journal_sync(journal, jobs, uptime);
    memcpy(jobs[9].identity, jobs[0].identity, sizeof(jobs[9].identity));
    cycles_journal_run(journal, &jobs[9], uptime);

    for (i = 0; i < 10; i++) {
        is_int(jobs[i].error, 0, "job %u of a batch", i);

        cycles_journal_name(name, str(ids[i]));
        is_int(mode_of(at(name)) != -1, i > 0 && i < 9,
               "file %u of the batch", i);
    }

    for (i = 1; i < 9; i++) {
        (void) run(journal, CYCLES_JOURNAL_REMOVE, ids[i]);
    }

    memset(&sc, 0, sizeof(sc));
    is_int(scan(journal, &sc, 10, 0), 0, "nothing is left to be found");
    is_int(sc.pending, 0, "and nothing is pending");

    cycles_journal_close(journal);
}


/* a job to write a record of a tenant, or of a key if the tenant is empty */

static void
owed(cycles_journal_job_t *job, const char *id, const char *tenant,
    const char *key)
{
    static char      texts_of[8][1024];
    static unsigned  number;

    char  *text;

    text = texts_of[number++ % 8];

    memset(job, 0, sizeof(*job));

    job->op = CYCLES_JOURNAL_WRITE;
    job->reservation_id = str(id);
    job->base_url = str(URL);
    job->tenant = str(tenant);
    job->api_key = str(key);
    job->text.data = (unsigned char *) text;
    job->text.len = text_of(text, sizeof(texts_of[0]), id,
                            CYCLES_JOURNAL_COMMIT, 0);
}


static void
written(cycles_journal_t *journal, cycles_journal_job_t *jobs, unsigned n)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        jobs[i].next = (i + 1 < n) ? &jobs[i + 1] : NULL;
    }

    cycles_journal_run(journal, jobs, uptime);
    cycles_journal_sync(journal, jobs, uptime);

    for (i = 0; i < n; i++) {
        is_int(jobs[i].error, 0, "%.*s is written",
               (int) jobs[i].reservation_id.len, jobs[i].reservation_id.data);
    }
}


/* whether the file of a job is where it says, and nowhere else */

static int
is_at(cycles_journal_job_t *job, const char *identity)
{
    char         name[CYCLES_JOURNAL_NAME], file[600];
    unsigned     in_new;
    struct stat  st;

    cycles_journal_name(name, job->reservation_id);

    snprintf(file, sizeof(file), "%s/new/%s", base, name);
    in_new = stat(file, &st) == 0;

    if (identity == NULL) {
        return in_new && job->fresh;
    }

    snprintf(file, sizeof(file), "%s/%s/%s", base, identity, name);

    return !in_new && !job->fresh && stat(file, &st) == 0
           && strcmp(job->identity, identity) == 0;
}


/*
 * To tell where a record belongs takes milliseconds: it is done for one
 * principal at a time, and not all the time.
 */

static void
principals(void)
{
    char                   one[CYCLES_JOURNAL_IDENTITY + 1];
    char                   other[CYCLES_JOURNAL_IDENTITY + 1];
    unsigned               i;
    cycles_journal_t      *journal;
    cycles_journal_job_t   jobs[8];
    cycles_journal_scan_t  sc;

    memset(one, 0, sizeof(one));
    memset(other, 0, sizeof(other));

    (void) cycles_journal_identity(one, str(URL), str("one"), str(""));
    (void) cycles_journal_identity(other, str(URL), str(""), str("one"));

    journal = journal_open();

    owed(&jobs[0], "p-0", "one", "");
    owed(&jobs[1], "p-1", "", "one");
    owed(&jobs[2], "p-2", "one", "");
    written(journal, jobs, 3);

    ok(is_at(&jobs[0], one), "the first of all is known at once");
    ok(is_at(&jobs[1], NULL), "another one is not, it is in \"new\"");
    ok(is_at(&jobs[2], one), "the same once more is");

    /* the other one again, a little later, and as soon as it may be */

    uptime += CYCLES_JOURNAL_LEARN_TIME - 1;
    owed(&jobs[3], "p-3", "", "one");
    written(journal, &jobs[3], 1);
    ok(is_at(&jobs[3], NULL), "too early for another one");

    uptime++;
    owed(&jobs[4], "p-4", "", "one");
    written(journal, &jobs[4], 1);
    ok(is_at(&jobs[4], other), "as soon as it may be");

    /* what is written again is where it was, until it is known */

    jobs[3].next = NULL;
    written(journal, &jobs[3], 1);
    ok(is_at(&jobs[3], NULL), "once more, and not known yet");

    strcpy(jobs[3].identity, other);
    written(journal, &jobs[3], 1);
    ok(is_at(&jobs[3], other), "it moves as soon as it is known");

    memset(&sc, 0, sizeof(sc));
    (void) scan(journal, &sc, 10, 0);
    is_int(sc.pending, 5, "all five are there, each once");
    is_int(found_new, 1, "and one is found where it is");

    /* what is left goes where others look for it */

    jobs[1].op = CYCLES_JOURNAL_LEAVE;
    jobs[1].next = NULL;
    cycles_journal_run(journal, &jobs[1], uptime);
    ok(is_at(&jobs[1], other), "what is left is where the SDKs look");

    owed(&jobs[5], "p-5", "two", "");
    owed(&jobs[6], "p-6", "", "");
    owed(&jobs[7], "p-7", "three", "");
    written(journal, &jobs[5], 3);
    ok(is_at(&jobs[5], NULL), "still unknown");

    jobs[5].op = CYCLES_JOURNAL_LEAVE;
    jobs[5].next = NULL;
    cycles_journal_run(journal, &jobs[5], uptime);
    ok(is_at(&jobs[5], NULL), "another one is not told that soon");

    /* a key that nobody knows has no identity */

    uptime += CYCLES_JOURNAL_LEARN_TIME;
    jobs[6].op = CYCLES_JOURNAL_LEAVE;
    jobs[6].next = &jobs[7];
    jobs[7].op = CYCLES_JOURNAL_LEAVE;
    cycles_journal_run(journal, &jobs[6], uptime);
    ok(is_at(&jobs[6], NULL), "without a tenant or a key it stays");
    ok(!is_at(&jobs[7], NULL), "and does not keep the next one");

    for (i = 0; i < 8; i++) {
        jobs[i].op = CYCLES_JOURNAL_REMOVE;
        jobs[i].next = (i < 7) ? &jobs[i + 1] : NULL;
    }

    cycles_journal_run(journal, jobs, uptime);

    /* what makes one another principal */

    for (i = 0; i < 3; i++) {
        uptime += CYCLES_JOURNAL_LEARN_TIME;

        owed(&jobs[0], "q-0", i == 1 ? "" : "q", i == 1 ? "q" : "");
        owed(&jobs[1], "q-1", i == 0 ? "r" : i == 1 ? "" : "q",
             i == 1 ? "r" : "");

        if (i == 2) {
            jobs[1].base_url = str("http://other");
        }

        written(journal, jobs, 2);
        ok(!is_at(&jobs[0], NULL) && is_at(&jobs[1], NULL),
           "another %s is another principal",
           i == 0 ? "tenant" : i == 1 ? "key" : "server");

        jobs[0].op = jobs[1].op = CYCLES_JOURNAL_REMOVE;
        cycles_journal_run(journal, jobs, uptime);
    }

    memset(&sc, 0, sizeof(sc));
    is_int(scan(journal, &sc, 10, 0), 0, "each is removed where it is");
    is_int(sc.pending, 0, "and nothing is pending");

    cycles_journal_close(journal);
}


/* what is replaced is whole until the other one is */

static void
replaced(void)
{
    char                   name[CYCLES_JOURNAL_NAME], text[4096], now[4096];
    FILE                  *file;
    cycles_journal_t      *journal;
    cycles_journal_job_t   job;

    journal = journal_open();
    cycles_journal_name(name, str("again"));

    (void) run(journal, CYCLES_JOURNAL_WRITE, "again");

    memset(&job, 0, sizeof(job));

    job.op = CYCLES_JOURNAL_WRITE;
    job.reservation_id = str("again");
    job.base_url = str(URL);
    job.tenant = str(TENANT);
    job.text.data = (unsigned char *) text;
    job.text.len = text_of(text, sizeof(text), "again", CYCLES_JOURNAL_EVENT,
                           0);
    strcpy(job.identity, dir);

    cycles_journal_run(journal, &job, uptime);

    file = fopen(at(name), "r");
    memset(now, 0, sizeof(now));
    ok(file && fread(now, 1, sizeof(now) - 1, file) > 0
       && strstr(now, "\"mode\":\"commit\""), "the old one before the sync");
    fclose(file);

    cycles_journal_sync(journal, &job, uptime);
    is_int(job.error, 0, "no error");

    file = fopen(at(name), "r");
    memset(now, 0, sizeof(now));
    ok(file && fread(now, 1, sizeof(now) - 1, file) > 0
       && strcmp(now, text) == 0, "the new one after it");
    fclose(file);

    (void) run(journal, CYCLES_JOURNAL_REMOVE, "again");

    /* who settles it before it is synced removes it */

    cycles_journal_run(journal, &job, uptime);
    is_int(unlink(at(name)), 0, "a new one is taken away by somebody");
    cycles_journal_sync(journal, &job, uptime);
    is_int(job.error, 0, "which is no error");

    cycles_journal_run(journal, &job, uptime);
    cycles_journal_sync(journal, &job, uptime);
    cycles_journal_run(journal, &job, uptime);
    (void) unlink(at(job.temporary));
    cycles_journal_sync(journal, &job, uptime);
    is_int(job.error, ENOENT, "but what is to replace it has to be there");

    (void) run(journal, CYCLES_JOURNAL_REMOVE, "again");
    cycles_journal_close(journal);
}


static void
claims(void)
{
    int                     status, pipes[2];
    char                    ch;
    pid_t                   pid;
    cycles_journal_t       *journal;
    cycles_journal_scan_t   sc;

    if (pipe(pipes) == -1) {
        printf("Bail out! pipe\n");
        exit(1);
    }

    pid = fork();

    if (pid == 0) {
        journal = journal_open();
        ch = run(journal, CYCLES_JOURNAL_WRITE, "claimed") == 0
             && cycles_journal_lead(journal);

        if (write(pipes[1], &ch, 1) == 1) {
            pause();
        }

        _exit(0);
    }

    ok(read(pipes[0], &ch, 1) == 1 && ch, "another process has a record");

    journal = journal_open();
    memset(&sc, 0, sizeof(sc));

    is_int(scan(journal, &sc, 10, 0), 0, "which is left alone");
    is_int(sc.pending, 1, "and counted");
    is_int(cycles_journal_lead(journal), 0, "the other one leads");

    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);

    is_int(cycles_journal_lead(journal), 1, "until it is killed");
    is_int(scan(journal, &sc, 10, 1), 1, "then its record is found");

    pid = fork();

    if (pid == 0) {
        cycles_journal_close(journal);
        journal = journal_open();
        memset(&sc, 0, sizeof(sc));
        _exit(scan(journal, &sc, 10, 0));
    }

    waitpid(pid, &status, 0);
    is_int(WEXITSTATUS(status), 0, "by one process only");

    is_int(run(journal, CYCLES_JOURNAL_LEAVE, "claimed"), 0, "given up");

    pid = fork();

    if (pid == 0) {
        journal = journal_open();
        memset(&sc, 0, sizeof(sc));
        _exit(scan(journal, &sc, 10, 0));
    }

    waitpid(pid, &status, 0);
    is_int(WEXITSTATUS(status), 1, "it can be found by another");

    (void) run(journal, CYCLES_JOURNAL_REMOVE, "claimed");
    cycles_journal_close(journal);

    close(pipes[0]);
    close(pipes[1]);
}


static void
scans(void)
{
    int                     n, total;
    char                    name[CYCLES_JOURNAL_NAME], text[4096], id[16];
    cycles_journal_t       *journal;
    cycles_journal_scan_t   sc;

    journal = journal_open();
    memset(&sc, 0, sizeof(sc));

    /* in portions */

    for (n = 0; n < 7; n++) {
        snprintf(id, sizeof(id), "n-%d", n);
        (void) run(journal, CYCLES_JOURNAL_WRITE, id);
        (void) run(journal, CYCLES_JOURNAL_LEAVE, id);
    }

    total = 0;
    n = 0;

    do {
        total += scan(journal, &sc, 3, 0);
        n++;
    } while (sc.from[0] && n < 10);

    is_int(total, 7, "a walk in portions finds each of them");
    is_int(n, 3, "in as many portions as needed");

    for (n = 0; n < 7; n++) {
        snprintf(id, sizeof(id), "n-%d", n);
        (void) run(journal, CYCLES_JOURNAL_REMOVE, id);
    }

    /* not yet */

    cycles_journal_name(name, str("later"));
    (void) text_of(text, sizeof(text), "later", CYCLES_JOURNAL_COMMIT,
                   NOW + 5000);
    put(at(name), text);

    is_int(scan(journal, &sc, 10, 0), 0, "one that has to wait is left");
    is_int(sc.next_ms, NOW + 5000, "and it is said until when");

    unlink(at(name));

    /* a clock that was ahead of the time has written it */

    (void) text_of(text, sizeof(text), "later", CYCLES_JOURNAL_COMMIT,
                   NOW + CYCLES_JOURNAL_MAX_WAIT + 1);
    put(at(name), text);

    sc.uptime = 7000;
    is_int(scan(journal, &sc, 10, 0), 0, "a floor beyond any has to wait");
    is_int(sc.next_ms, 0, "and there is no time to come back for it");

    sc.uptime += CYCLES_JOURNAL_MAX_WAIT - 1;
    is_int(scan(journal, &sc, 10, 0), 0, "for an hour");
    sc.uptime++;
    is_int(scan(journal, &sc, 10, 0), 1, "and no longer");
    is_int(scan(journal, &sc, 10, 0), 1, "it is as good as any other then");

    unlink(at(name));

    is_int(scan(journal, &sc, 10, 0), 0, "once there are no such records");

    put(at(name), text);

    is_int(scan(journal, &sc, 10, 0), 0, "the next one has its own hour");
    sc.uptime += CYCLES_JOURNAL_MAX_WAIT;
    is_int(scan(journal, &sc, 10, 0), 1, "and is found after it");

    unlink(at(name));
    (void) text_of(text, sizeof(text), "later", CYCLES_JOURNAL_COMMIT,
                   NOW + CYCLES_JOURNAL_MAX_WAIT);
    put(at(name), text);
    sc.uptime += 2 * CYCLES_JOURNAL_MAX_WAIT;

    is_int(scan(journal, &sc, 10, 0), 0, "one within the hour waits for it");
    is_int(sc.next_ms, NOW + CYCLES_JOURNAL_MAX_WAIT, "as it says");

    unlink(at(name));

    /* of another server */

    put(at(name), "{\"version\":1,\"reservation_id\":\"later\",\"base_url\":"
        "\"http://other\",\"commit_body\":" BODY "}");

    is_int(scan(journal, &sc, 10, 0), 0, "one of another server is left");
    unlink(at(name));

    /* what is no record */

    put(at("garbage.json"), "{\"version\":1,");
    put(at("new.json"), "{\"version\":99,\"reservation_id\":\"r\"}");
    put(at("notes.txt"), "not ours");
    put(at("x.json.1.00000000.tmp"), "half");

    cycles_journal_name(name, str("good"));
    (void) text_of(text, sizeof(text), "good", CYCLES_JOURNAL_EVENT, 0);
    put(at(name), text);

    is_int(scan(journal, &sc, 10, 0), 1, "the valid one is found");
    is_int(sc.quarantined, 2, "two others are set aside");
    ok(strstr(trouble_text, "it is now \"new.corrupt\"") != NULL,
       "which is said: %s", trouble_text);
    ok(mode_of(at("garbage.corrupt")) != -1 && mode_of(at("new.corrupt")) != -1
       && mode_of(at("garbage.json")) == -1, "as *.corrupt");
    ok(mode_of(at("notes.txt")) != -1
       && mode_of(at("x.json.1.00000000.tmp")) != -1, "and nothing else is");

    is_int(scan(journal, &sc, 10, 0), 1, "once more");
    is_int(sc.quarantined, 0, "nothing new");

    sc.now = NOW;
    unlink(at(name));
    unlink(at("garbage.corrupt"));
    unlink(at("new.corrupt"));
    unlink(at("notes.txt"));

    cycles_journal_close(journal);
}


/* rsv/a and rsv_a had one name once */

static void
legacy(void)
{
    char                    slash[CYCLES_JOURNAL_NAME];
    char                    under[CYCLES_JOURNAL_NAME], text[4096];
    cycles_journal_t       *journal;
    cycles_journal_scan_t   sc;

    journal = journal_open();
    memset(&sc, 0, sizeof(sc));

    cycles_journal_name(slash, str("rsv/a"));
    cycles_journal_name(under, str("rsv_a"));

    (void) text_of(text, sizeof(text), "rsv/a", CYCLES_JOURNAL_COMMIT, 0);
    put(at("rsv_a.json"), text);
    (void) text_of(text, sizeof(text), "rsv_a", CYCLES_JOURNAL_COMMIT, 0);
    put(at(under), text);

    is_int(scan(journal, &sc, 10, 0), 2, "both are found");
    ok(mode_of(at(slash)) != -1 && mode_of(at("rsv_a.json")) == -1,
       "the older one has its own name now");
    ok(mode_of(at(under)) != -1, "the other one is still there");

    /* settled by us, and written again by an older SDK */

    put(at("rsv_a.json"), text);
    is_int(run(journal, CYCLES_JOURNAL_REMOVE, "rsv/a"), 0,
           "the one is removed");
    ok(mode_of(at("rsv_a.json")) != -1, "not the file of the other");
    is_int(run(journal, CYCLES_JOURNAL_REMOVE, "rsv_a"), 0,
           "the other is removed");
    ok(mode_of(at("rsv_a.json")) == -1 && mode_of(at(under)) == -1,
       "under both of its names");

    /* the same one twice */

    put(at("rsv_a.json"), text);
    put(at(under), text);
    is_int(scan(journal, &sc, 10, 0), 1, "one record in two files is one");
    ok(mode_of(at("rsv_a.json")) == -1, "and the older file goes");

    (void) run(journal, CYCLES_JOURNAL_REMOVE, "rsv_a");
    cycles_journal_close(journal);
}


static void
troubles(void)
{
    char               name[CYCLES_JOURNAL_NAME];
    cycles_journal_t  *journal;
    struct rlimit      limit, old;

    journal = journal_open();

    cycles_journal_name(name, str("full"));

    signal(SIGXFSZ, SIG_IGN);

    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 16;
    setrlimit(RLIMIT_FSIZE, &limit);

    is_int(run(journal, CYCLES_JOURNAL_WRITE, "full"), EFBIG,
           "a disk without room is said");

    setrlimit(RLIMIT_FSIZE, &old);

    ok(mode_of(at(name)) == -1, "no half record is left");
    is_int(run(journal, CYCLES_JOURNAL_WRITE, "full"), 0,
           "with room it works");
    is_int(run(journal, CYCLES_JOURNAL_REMOVE, "full"), 0, "and is removed");

    cycles_journal_close(journal);
}


int
main(void)
{
    char  command[300];

    static char  identity[CYCLES_JOURNAL_IDENTITY + 1];

    snprintf(base, sizeof(base), "/tmp/cycles-journal-XXXXXX");

    if (mkdtemp(base) == NULL) {
        printf("Bail out! mkdtemp\n");
        return 1;
    }

    snprintf(command, sizeof(command), "rm -rf %s", base);

    strcat(base, "/a/b");

    (void) cycles_journal_identity(identity, str(URL), str(TENANT), str(""));
    dir = identity;

    identities();
    names();
    texts();
    files();
    principals();
    replaced();
    claims();
    scans();
    legacy();
    troubles();

    ok(system(command) == 0, "cleaned up");

    return done_testing();
}
