
/*
 * Copyright (C) nginx-cycles authors
 *
 * One record of the journal as a text, and under which names it is found.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "../cycles_json.h"
#include "cycles_journal.h"


#define CYCLES_JOURNAL_ROUNDS  30000

/* what a JavaScript number can hold exactly */
#define CYCLES_JOURNAL_TIME    9007199254740991


static int cycles_journal_blank(cycles_str_t s);
static void cycles_journal_hex(char *to, const unsigned char *from, size_t n);
static void cycles_journal_body(cycles_json_t *js, const char *name,
    cycles_str_t body);
static const char *cycles_journal_check(json_t *root,
    cycles_journal_record_t *rec, cycles_journal_terms_t *terms);
static const char *cycles_journal_terms(json_t *body,
    cycles_journal_terms_t *terms);
static int cycles_journal_time(json_t *value, int64_t *ms);
static void cycles_journal_string(json_t *value, cycles_str_t *s);
static int cycles_journal_member(const unsigned char *text, size_t len,
    const char *name, cycles_str_t *value);
static const unsigned char *cycles_journal_object(const unsigned char *p,
    const unsigned char *last);
static const unsigned char *cycles_journal_space(const unsigned char *p,
    const unsigned char *last);
static const unsigned char *cycles_journal_skip(const unsigned char *p,
    const unsigned char *last);
static unsigned char *cycles_journal_keep(unsigned char *p, cycles_str_t *s);


int
cycles_journal_identity(char *identity, cycles_str_t base_url,
    cycles_str_t tenant, cycles_str_t api_key)
{
    int             rc;
    size_t          plen, slen;
    unsigned char   out[32], *password, *salt;
    cycles_str_t    who;
    const char     *kind;

    static const char  label[] = "runcycles-commit-journal\n";

    if (cycles_journal_blank(tenant)) {
        kind = "key\n";
        who = api_key;

    } else {
        kind = "tenant\n";
        who = tenant;
    }

    plen = strlen(kind) + who.len;
    slen = sizeof(label) - 1 + base_url.len;

    password = malloc(plen + slen);

    if (password == NULL) {
        return -1;
    }

    salt = password + plen;

    memcpy(password, kind, strlen(kind));
    memcpy(salt, label, sizeof(label) - 1);

    if (who.len) {
        memcpy(password + strlen(kind), who.data, who.len);
    }

    if (base_url.len) {
        memcpy(salt + sizeof(label) - 1, base_url.data, base_url.len);
    }

    rc = PKCS5_PBKDF2_HMAC((char *) password, (int) plen, salt, (int) slen,
                           CYCLES_JOURNAL_ROUNDS, EVP_sha256(), sizeof(out),
                           out);

    OPENSSL_cleanse(password, plen);
    free(password);

    if (rc != 1) {
        return -1;
    }

    cycles_journal_hex(identity, out, CYCLES_JOURNAL_IDENTITY / 2);

    return 0;
}


/* the SDKs look at the trimmed tenant, and then take the one as it is */

static int
cycles_journal_blank(cycles_str_t s)
{
    size_t  i;

    for (i = 0; i < s.len; i++) {
        if (s.data[i] != ' ' && (s.data[i] < '\t' || s.data[i] > '\r')) {
            return 0;
        }
    }

    return 1;
}


void
cycles_journal_name(char *name, cycles_str_t reservation_id)
{
    unsigned char  digest[SHA256_DIGEST_LENGTH];

    SHA256(reservation_id.data, reservation_id.len, digest);

    memcpy(name, "v2-", 3);
    cycles_journal_hex(name + 3, digest, sizeof(digest));
    memcpy(name + 3 + 2 * sizeof(digest), ".json", sizeof(".json"));
}


static void
cycles_journal_hex(char *to, const unsigned char *from, size_t n)
{
    size_t  i;

    static const char  hex[] = "0123456789abcdef";

    for (i = 0; i < n; i++) {
        *to++ = hex[from[i] >> 4];
        *to++ = hex[from[i] & 0x0f];
    }
}


size_t
cycles_journal_text(unsigned char *buf, size_t size,
    const cycles_journal_record_t *rec)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    /* the order is the one that the SDKs write */

    cycles_json_begin(&js);
    cycles_json_member_integer(&js, "version", CYCLES_JOURNAL_VERSION);
    cycles_json_member_string(&js, "reservation_id", rec->reservation_id);
    cycles_json_member_string(&js, "base_url", rec->base_url);
    cycles_json_member_name(&js, "mode", rec->mode == CYCLES_JOURNAL_EVENT
                                         ? "event" : "commit");
    cycles_journal_body(&js, "commit_body", rec->commit_body);
    cycles_journal_body(&js, "event_fallback_body", rec->event_body);
    cycles_json_member_integer(&js, "recorded_at_ms", rec->recorded_at_ms);

    if (rec->not_before_ms) {
        cycles_json_member_integer(&js, "not_before_ms", rec->not_before_ms);

    } else {
        cycles_json_key(&js, "not_before_ms", 13);
        cycles_json_raw(&js, "null", 4);
    }

    cycles_json_end(&js);

    return js.len;
}


static void
cycles_journal_body(cycles_json_t *js, const char *name, cycles_str_t body)
{
    cycles_json_key(js, name, strlen(name));

    if (body.len) {
        cycles_json_raw(js, body.data, body.len);

    } else {
        cycles_json_raw(js, "null", 4);
    }
}


int
cycles_journal_parse(const unsigned char *text, size_t len,
    cycles_journal_record_t *rec, cycles_journal_terms_t *terms,
    void **memory, char *err, size_t errlen)
{
    json_t         *root;
    const char     *problem;
    json_error_t    error;
    unsigned char  *p;

    memset(rec, 0, sizeof(cycles_journal_record_t));
    memset(terms, 0, sizeof(cycles_journal_terms_t));

    root = json_loadb((const char *) text, len, JSON_REJECT_DUPLICATES,
                      &error);

    if (root == NULL) {
        snprintf(err, errlen, "it is not JSON: %s", error.text);
        return -1;
    }

    problem = cycles_journal_check(root, rec, terms);

    /* bodies are sent as they are, byte for byte */

    if (problem == NULL
        && (cycles_journal_member(text, len, "commit_body", &rec->commit_body)
            != 0
            || cycles_journal_member(text, len, "event_fallback_body",
                                     &rec->event_body)
               != 0))
    {
        problem = "the names of its members are escaped";
    }

    if (problem == NULL) {
        p = malloc(rec->reservation_id.len + rec->base_url.len
                   + rec->commit_body.len + rec->event_body.len
                   + terms->key.len + terms->tenant.len + 1);

        *memory = p;

        if (p) {
            p = cycles_journal_keep(p, &rec->reservation_id);
            p = cycles_journal_keep(p, &rec->base_url);
            p = cycles_journal_keep(p, &rec->commit_body);
            p = cycles_journal_keep(p, &rec->event_body);
            p = cycles_journal_keep(p, &terms->key);
            (void) cycles_journal_keep(p, &terms->tenant);

        } else {
            problem = "there is no memory for it";
        }
    }

    json_decref(root);

    if (problem) {
        snprintf(err, errlen, "%s", problem);
        return -1;
    }

    return 0;
}


static unsigned char *
cycles_journal_keep(unsigned char *p, cycles_str_t *s)
{
    if (s->len) {
        memcpy(p, s->data, s->len);
    }

    s->data = p;

    return p + s->len;
}


/* NULL, or what is wrong with it */

static const char *
cycles_journal_check(json_t *root, cycles_journal_record_t *rec,
    cycles_journal_terms_t *terms)
{
    json_t      *value, *commit, *event;
    const char  *problem;

    if (!json_is_object(root)) {
        return "it is not an object";
    }

    value = json_object_get(root, "version");

    if (!json_is_integer(value)
        || json_integer_value(value) != CYCLES_JOURNAL_VERSION)
    {
        return "it is of another version";
    }

    cycles_journal_string(json_object_get(root, "reservation_id"),
                          &rec->reservation_id);

    if (rec->reservation_id.len == 0) {
        return "it has no \"reservation_id\"";
    }

    value = json_object_get(root, "base_url");

    if (value && !json_is_string(value)) {
        return "its \"base_url\" is no string";
    }

    cycles_journal_string(value, &rec->base_url);

    value = json_object_get(root, "mode");

    if (value == NULL
        || (json_is_string(value)
            && strcmp(json_string_value(value), "commit") == 0))
    {
        rec->mode = CYCLES_JOURNAL_COMMIT;

    } else if (json_is_string(value)
               && strcmp(json_string_value(value), "event") == 0)
    {
        rec->mode = CYCLES_JOURNAL_EVENT;

    } else {
        return "its \"mode\" is neither \"commit\" nor \"event\"";
    }

    if (cycles_journal_time(json_object_get(root, "recorded_at_ms"),
                            &rec->recorded_at_ms)
        != 0
        || cycles_journal_time(json_object_get(root, "not_before_ms"),
                               &rec->not_before_ms)
           != 0)
    {
        return "one of its times is none";
    }

    commit = json_object_get(root, "commit_body");
    event = json_object_get(root, "event_fallback_body");

    if ((commit && !json_is_object(commit) && !json_is_null(commit))
        || (event && !json_is_object(event) && !json_is_null(event)))
    {
        return "one of its bodies is no object";
    }

    /* a tenant is known from an event only */

    problem = cycles_journal_terms(event, terms);

    if (rec->mode == CYCLES_JOURNAL_COMMIT) {
        problem = cycles_journal_terms(commit, terms);
    }

    return problem;
}


static const char *
cycles_journal_terms(json_t *body, cycles_journal_terms_t *terms)
{
    int          unit;
    json_t      *actual, *amount;
    const char  *name;

    cycles_journal_string(json_object_get(body, "idempotency_key"),
                          &terms->key);

    if (terms->key.len == 0) {
        return "what is to be sent has no \"idempotency_key\"";
    }

    actual = json_object_get(body, "actual");
    amount = json_object_get(actual, "amount");
    name = json_string_value(json_object_get(actual, "unit"));

    unit = name ? cycles_unit_find((const unsigned char *) name, strlen(name))
                : -1;

    if (unit < 0 || !json_is_integer(amount)
        || json_integer_value(amount) < 0)
    {
        return "what is to be sent has no \"actual\"";
    }

    terms->unit = unit;
    terms->amount = json_integer_value(amount);

    if (json_object_get(body, "subject")) {
        cycles_journal_string(json_object_get(json_object_get(body, "subject"),
                                              "tenant"),
                              &terms->tenant);
    }

    return NULL;
}


static int
cycles_journal_time(json_t *value, int64_t *ms)
{
    if (value == NULL || json_is_null(value)) {
        *ms = 0;
        return 0;
    }

    if (!json_is_integer(value) || json_integer_value(value) < 0
        || json_integer_value(value) > CYCLES_JOURNAL_TIME)
    {
        return -1;
    }

    *ms = json_integer_value(value);

    return 0;
}


static void
cycles_journal_string(json_t *value, cycles_str_t *s)
{
    s->len = json_string_length(value);
    s->data = (unsigned char *) json_string_value(value);
}


/*
 * The object that a member of the top level is, in a text that is known to be
 * valid; left alone if it is null or not there.  -1: it can't be found under
 * the plain spelling of its name.
 */

static int
cycles_journal_member(const unsigned char *text, size_t len, const char *name,
    cycles_str_t *value)
{
    size_t                n;
    unsigned              depth;
    const unsigned char  *p, *last, *end, *colon;

    n = strlen(name);
    last = text + len;
    depth = 0;

    for (p = text; p < last; p = end) {
        end = cycles_journal_skip(p, last);

        if (*p == '{' || *p == '[') {
            depth++;
            continue;
        }

        if (*p == '}' || *p == ']') {
            depth--;
            continue;
        }

        if (*p != '"' || depth != 1) {
            continue;
        }

        colon = cycles_journal_space(end, last);

        if (colon == last || *colon != ':') {
            continue;
        }

        if (memchr(p, '\\', end - p)) {
            return -1;
        }

        if ((size_t) (end - p) != n + 2 || memcmp(p + 1, name, n) != 0) {
            continue;
        }

        p = cycles_journal_space(colon + 1, last);

        if (p < last && *p == '{') {
            value->data = (unsigned char *) p;
            value->len = cycles_journal_object(p, last) - p;
        }

        return 0;
    }

    return 0;
}


/* behind the end of an object */

static const unsigned char *
cycles_journal_object(const unsigned char *p, const unsigned char *last)
{
    unsigned  depth;

    for (depth = 0; p < last; p = cycles_journal_skip(p, last)) {

        if (*p == '{' || *p == '[') {
            depth++;

        } else if ((*p == '}' || *p == ']') && --depth == 0) {
            return p + 1;
        }
    }

    return last;
}


static const unsigned char *
cycles_journal_space(const unsigned char *p, const unsigned char *last)
{
    while (p < last
           && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
    {
        p++;
    }

    return p;
}


/* behind a whole string, or the next byte */

static const unsigned char *
cycles_journal_skip(const unsigned char *p, const unsigned char *last)
{
    if (*p++ != '"') {
        return p;
    }

    while (p < last) {

        if (*p == '\\') {
            p += 2;
            continue;
        }

        if (*p++ == '"') {
            break;
        }
    }

    return (p < last) ? p : last;
}
