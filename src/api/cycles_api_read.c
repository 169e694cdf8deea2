
/*
 * Copyright (C) nginx-cycles authors
 *
 * Bodies of requests.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_api_reader.h"


typedef int (*cycles_api_read_pt)(cycles_api_reader_t *rd, json_t *value,
    const char *path);

typedef struct {
    const char            *name;
    unsigned               allowed;       /* operations */
    unsigned               required;
    cycles_api_read_pt     read;
} cycles_api_member_t;


/* what "document" points to: values own the strings of the request */

typedef struct {
    json_t                *root;
    char                  *metadata;
    char                  *custom;
} cycles_api_document_t;


static int cycles_api_read_root(cycles_api_reader_t *rd,
    cycles_api_operation_t op, json_t *root);
static const cycles_api_member_t *cycles_api_member_find(const char *name,
    size_t len, cycles_api_operation_t op);
static int cycles_api_read_key(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_subject(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_dimensions(cycles_api_reader_t *rd,
    json_t *value);
static int cycles_api_read_action(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_tags(cycles_api_reader_t *rd, json_t *value);
static int cycles_api_read_amount(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_ttl(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_grace(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_policy(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_dry_run(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_extend_by(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_reason(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_metrics(cycles_api_reader_t *rd, json_t *value,
    const char *path);
static int cycles_api_read_client_time(cycles_api_reader_t *rd,
    json_t *value, const char *path);
static int cycles_api_read_metadata(cycles_api_reader_t *rd, json_t *value,
    const char *path);


#define CYCLES_API_ANY      0x3f
#define CYCLES_API_SUBJECT  (CYCLES_API_RESERVE|CYCLES_API_DECIDE             \
                             |CYCLES_API_EVENT)
#define CYCLES_API_ESTIMATE (CYCLES_API_RESERVE|CYCLES_API_DECIDE)
#define CYCLES_API_ACTUAL   (CYCLES_API_COMMIT|CYCLES_API_EVENT)


static const cycles_api_member_t  cycles_api_members[] = {
    { "idempotency_key", CYCLES_API_ANY, CYCLES_API_ANY,
      cycles_api_read_key },
    { "subject", CYCLES_API_SUBJECT, CYCLES_API_SUBJECT,
      cycles_api_read_subject },
    { "action", CYCLES_API_SUBJECT, CYCLES_API_SUBJECT,
      cycles_api_read_action },
    { "estimate", CYCLES_API_ESTIMATE, CYCLES_API_ESTIMATE,
      cycles_api_read_amount },
    { "actual", CYCLES_API_ACTUAL, CYCLES_API_ACTUAL,
      cycles_api_read_amount },
    { "extend_by_ms", CYCLES_API_EXTEND, CYCLES_API_EXTEND,
      cycles_api_read_extend_by },
    { "ttl_ms", CYCLES_API_RESERVE, 0, cycles_api_read_ttl },
    { "grace_period_ms", CYCLES_API_RESERVE, 0, cycles_api_read_grace },
    { "overage_policy", CYCLES_API_RESERVE|CYCLES_API_EVENT, 0,
      cycles_api_read_policy },
    { "dry_run", CYCLES_API_RESERVE, 0, cycles_api_read_dry_run },
    { "metrics", CYCLES_API_ACTUAL, 0, cycles_api_read_metrics },
    { "client_time_ms", CYCLES_API_EVENT, 0, cycles_api_read_client_time },
    { "reason", CYCLES_API_RELEASE, 0, cycles_api_read_reason },
    { "metadata", CYCLES_API_ANY & ~CYCLES_API_RELEASE, 0,
      cycles_api_read_metadata },
    { NULL, 0, 0, NULL }
};


static const char *const  cycles_api_subject_members[] = {
    "tenant", "workspace", "app", "workflow", "agent", "toolset",
    "dimensions", NULL
};


static const char *const  cycles_api_action_members[] = {
    "kind", "name", "tags", NULL
};


static const char *const  cycles_api_metrics_members[] = {
    "tokens_input", "tokens_output", "latency_ms", "model_version", "custom",
    NULL
};


int
cycles_api_read(cycles_api_request_t *rq, cycles_api_operation_t op,
    const unsigned char *text, size_t len, char *err, size_t errlen)
{
    int                     rc;
    cycles_api_reader_t     rd;
    cycles_api_document_t  *doc;

    memset(rq, 0, sizeof(cycles_api_request_t));
    rq->subject.dimensions = rq->dimensions;
    rq->action.tags = rq->tags;

    rq->ttl_ms = -1;
    rq->grace_ms = CYCLES_DEFAULT_GRACE_MS;
    rq->client_time_ms = -1;
    rq->policy = CYCLES_POLICIES;
    rq->metrics.tokens_input = -1;
    rq->metrics.tokens_output = -1;
    rq->metrics.latency_ms = -1;

    rd.rq = rq;
    rd.err = err;
    rd.errlen = errlen;

    doc = calloc(1, sizeof(cycles_api_document_t));

    if (doc == NULL) {
        return cycles_api_fail(&rd, "The body does not fit into memory");
    }

    rq->document = doc;
    doc->root = cycles_api_parse(&rd, text, len);

    rc = doc->root ? cycles_api_read_root(&rd, op, doc->root) : -1;

    if (rc != 0) {
        cycles_api_free(rq);
    }

    return rc;
}


void
cycles_api_free(cycles_api_request_t *rq)
{
    cycles_api_document_t  *doc;

    doc = rq->document;

    if (doc) {
        json_decref(doc->root);
        free(doc->metadata);
        free(doc->custom);
        free(doc);
        rq->document = NULL;
    }
}


static int
cycles_api_read_root(cycles_api_reader_t *rd, cycles_api_operation_t op,
    json_t *root)
{
    void                       *iter;
    size_t                      len;
    const char                 *name;
    const cycles_api_member_t  *member;

    for (member = cycles_api_members; member->name; member++) {

        if ((member->required & op)
            && json_object_get(root, member->name) == NULL)
        {
            return cycles_api_fail(rd, "\"%s\" is missing", member->name);
        }
    }

    for (iter = json_object_iter(root);
         iter;
         iter = json_object_iter_next(root, iter))
    {
        name = json_object_iter_key(iter);
        len = json_object_iter_key_len(iter);
        member = cycles_api_member_find(name, len, op);

        if (member == NULL) {
            return cycles_api_unknown(rd, NULL, name, len);
        }

        if (member->read(rd, json_object_iter_value(iter), member->name)
            != 0)
        {
            return -1;
        }
    }

    if (rd->rq->metadata.len + rd->rq->metrics.custom.len
        > CYCLES_API_MAX_METADATA)
    {
        return cycles_api_fail(rd, "\"metadata\" and \"metrics.custom\" must "
                               "have at most %d bytes together",
                               CYCLES_API_MAX_METADATA);
    }

    return 0;
}


static const cycles_api_member_t *
cycles_api_member_find(const char *name, size_t len,
    cycles_api_operation_t op)
{
    const cycles_api_member_t  *member;

    for (member = cycles_api_members; member->name; member++) {

        if ((member->allowed & op) && strlen(member->name) == len
            && memcmp(member->name, name, len) == 0)
        {
            return member;
        }
    }

    return NULL;
}


static int
cycles_api_read_key(cycles_api_reader_t *rd, json_t *value, const char *path)
{
    return cycles_api_string(rd, value, path, 1, CYCLES_MAX_IDEMPOTENCY_KEY,
                             &rd->rq->idempotency_key);
}


static int
cycles_api_read_subject(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    char           name[CYCLES_API_MAX_PATH];
    json_t        *item;
    unsigned       i, n;
    cycles_str_t  *level;

    if (cycles_api_only(rd, value, path, cycles_api_subject_members) != 0) {
        return -1;
    }

    for (n = 0, i = 0; i < CYCLES_LEVELS; i++) {
        item = json_object_get(value, cycles_level_name(i));

        if (item == NULL) {
            continue;
        }

        snprintf(name, sizeof(name), "subject.%s", cycles_level_name(i));
        level = &rd->rq->subject.levels[i];

        if (cycles_api_string(rd, item, name, 1, CYCLES_MAX_SUBJECT_VALUE,
                              level)
            != 0)
        {
            return -1;
        }

        if (!cycles_subject_value_ok(level->data, level->len)) {
            return cycles_api_fail(rd, "\"%s\" must have only letters, "
                                   "digits, \".\", \"_\" and \"-\"", name);
        }

        n++;
    }

    if (n == 0) {
        return cycles_api_fail(rd, "\"subject\" must have at least one of "
                               "tenant, workspace, app, workflow, agent and "
                               "toolset");
    }

    item = json_object_get(value, "dimensions");

    return item ? cycles_api_read_dimensions(rd, item) : 0;
}


static int
cycles_api_read_dimensions(cycles_api_reader_t *rd, json_t *value)
{
    void           *iter;
    cycles_pair_t  *pair;

    if (!json_is_object(value)) {
        return cycles_api_fail(rd, "\"subject.dimensions\" must be an "
                               "object");
    }

    if (json_object_size(value) > CYCLES_MAX_DIMENSIONS) {
        return cycles_api_fail(rd, "\"subject.dimensions\" must have at most "
                               "%d members", CYCLES_MAX_DIMENSIONS);
    }

    for (iter = json_object_iter(value);
         iter;
         iter = json_object_iter_next(value, iter))
    {
        pair = &rd->rq->subject.dimensions[rd->rq->subject.ndimensions++];

        pair->key.len = json_object_iter_key_len(iter);
        pair->key.data = (unsigned char *) json_object_iter_key(iter);

        if (pair->key.len == 0 || pair->key.len > CYCLES_MAX_DIMENSION_NAME) {
            return cycles_api_fail(rd, "Names in \"subject.dimensions\" must "
                                   "have from 1 to %d bytes",
                                   CYCLES_MAX_DIMENSION_NAME);
        }

        if (cycles_api_string(rd, json_object_iter_value(iter),
                              "subject.dimensions.*", 0,
                              CYCLES_MAX_DIMENSION_VALUE, &pair->value)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
cycles_api_read_action(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    json_t           *kind, *name, *tags;
    cycles_action_t  *action;

    if (cycles_api_only(rd, value, path, cycles_api_action_members) != 0) {
        return -1;
    }

    action = &rd->rq->action;
    kind = json_object_get(value, "kind");
    name = json_object_get(value, "name");
    tags = json_object_get(value, "tags");

    if (kind == NULL || name == NULL) {
        return cycles_api_fail(rd, "\"action.%s\" is missing",
                               kind ? "name" : "kind");
    }

    if (cycles_api_string(rd, kind, "action.kind", 1, CYCLES_MAX_ACTION_KIND,
                          &action->kind)
        != 0
        || cycles_api_string(rd, name, "action.name", 1,
                             CYCLES_MAX_ACTION_NAME, &action->name)
           != 0)
    {
        return -1;
    }

    return tags ? cycles_api_read_tags(rd, tags) : 0;
}


static int
cycles_api_read_tags(cycles_api_reader_t *rd, json_t *value)
{
    size_t            i;
    cycles_action_t  *action;

    if (!json_is_array(value)) {
        return cycles_api_fail(rd, "\"action.tags\" must be an array");
    }

    if (json_array_size(value) > CYCLES_MAX_ACTION_TAGS) {
        return cycles_api_fail(rd, "\"action.tags\" must have at most %d "
                               "items", CYCLES_MAX_ACTION_TAGS);
    }

    action = &rd->rq->action;

    for (i = 0; i < json_array_size(value); i++) {

        if (cycles_api_string(rd, json_array_get(value, i), "action.tags[]",
                              0, CYCLES_MAX_ACTION_TAG, &action->tags[i])
            != 0)
        {
            return -1;
        }

        action->ntags++;
    }

    return 0;
}


static int
cycles_api_read_amount(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    return cycles_api_amount(rd, value, path, &rd->rq->unit,
                             &rd->rq->amount);
}


static int
cycles_api_read_ttl(cycles_api_reader_t *rd, json_t *value, const char *path)
{
    return cycles_api_integer(rd, value, path, CYCLES_MIN_TTL_MS,
                              CYCLES_MAX_TTL_MS, &rd->rq->ttl_ms);
}


static int
cycles_api_read_grace(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    return cycles_api_integer(rd, value, path, 0, CYCLES_MAX_GRACE_MS,
                              &rd->rq->grace_ms);
}


static int
cycles_api_read_policy(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    return cycles_api_policy(rd, value, path, &rd->rq->policy);
}


static int
cycles_api_read_dry_run(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    if (!json_is_boolean(value)) {
        return cycles_api_fail(rd, "\"%s\" must be true or false", path);
    }

    rd->rq->dry_run = json_is_true(value) ? 1 : 0;

    return 0;
}


static int
cycles_api_read_extend_by(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    return cycles_api_integer(rd, value, path, 1, CYCLES_MAX_TTL_MS,
                              &rd->rq->extend_by_ms);
}


static int
cycles_api_read_reason(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    return cycles_api_string(rd, value, path, 0, CYCLES_MAX_REASON,
                             &rd->rq->reason);
}


static int
cycles_api_read_metrics(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    char                    name[CYCLES_API_MAX_PATH];
    json_t                 *item;
    int64_t                *numbers[3];
    unsigned                i;
    cycles_metrics_t       *metrics;
    cycles_api_document_t  *doc;

    if (cycles_api_only(rd, value, path, cycles_api_metrics_members) != 0) {
        return -1;
    }

    metrics = &rd->rq->metrics;
    numbers[0] = &metrics->tokens_input;
    numbers[1] = &metrics->tokens_output;
    numbers[2] = &metrics->latency_ms;

    for (i = 0; i < 3; i++) {
        item = json_object_get(value, cycles_api_metrics_members[i]);

        snprintf(name, sizeof(name), "metrics.%s",
                 cycles_api_metrics_members[i]);

        if (item && cycles_api_integer(rd, item, name, 0, INT64_MAX,
                                       numbers[i])
                    != 0)
        {
            return -1;
        }
    }

    item = json_object_get(value, "model_version");

    if (item && cycles_api_string(rd, item, "metrics.model_version", 0,
                                  CYCLES_MAX_MODEL_VERSION,
                                  &metrics->model_version)
                != 0)
    {
        return -1;
    }

    item = json_object_get(value, "custom");

    if (item == NULL) {
        return 0;
    }

    if (!json_is_object(item)) {
        return cycles_api_fail(rd, "\"metrics.custom\" must be an object");
    }

    doc = rd->rq->document;

    return cycles_api_canonical(rd, item, "metrics.custom",
                                CYCLES_API_MAX_METADATA, &doc->custom,
                                &metrics->custom);
}


/* advisory: the ledger's clock counts */

static int
cycles_api_read_client_time(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    return cycles_api_integer(rd, value, path, 0, INT64_MAX,
                              &rd->rq->client_time_ms);
}


static int
cycles_api_read_metadata(cycles_api_reader_t *rd, json_t *value,
    const char *path)
{
    cycles_api_document_t  *doc;

    if (!json_is_object(value)) {
        return cycles_api_fail(rd, "\"%s\" must be an object", path);
    }

    doc = rd->rq->document;

    return cycles_api_canonical(rd, value, path, CYCLES_API_MAX_METADATA,
                                &doc->metadata, &rd->rq->metadata);
}
