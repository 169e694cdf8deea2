
/*
 * Copyright (C) nginx-cycles authors
 */


#include <string.h>

#include "../cycles_json.h"
#include "cycles_protocol.h"


static size_t cycles_path_plain(const unsigned char *p, size_t n);
static void cycles_write_subject(cycles_json_t *js,
    const cycles_subject_t *subject);
static void cycles_write_action(cycles_json_t *js,
    const cycles_action_t *action);
static void cycles_write_amount(cycles_json_t *js, const char *name,
    cycles_unit_t unit, int64_t amount);
static void cycles_write_metrics(cycles_json_t *js,
    const cycles_metrics_t *metrics);
static void cycles_write_metric(cycles_json_t *js, const char *name,
    int64_t value);
static void cycles_write_metadata(cycles_json_t *js, cycles_str_t metadata);
static void cycles_write_recovery(cycles_json_t *js, cycles_str_t metadata,
    cycles_str_t recovered);
static cycles_str_t cycles_cut(cycles_str_t s, size_t max);


static const char *const  cycles_ops[] = {
    "reserve", "commit", "release", "extend", "event", "lookup", "decide"
};


const char *
cycles_op_name(cycles_op_t op)
{
    return cycles_ops[op];
}


size_t
cycles_reserve_body(unsigned char *buf, size_t size,
    const cycles_reserve_t *rq)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    cycles_json_begin(&js);
    cycles_json_member_string(&js, "idempotency_key", rq->idempotency_key);
    cycles_write_subject(&js, &rq->subject);
    cycles_write_action(&js, &rq->action);
    cycles_write_amount(&js, "estimate", rq->unit, rq->estimate);
    cycles_json_member_integer(&js, "ttl_ms", rq->ttl_ms);
    cycles_json_member_integer(&js, "grace_period_ms", rq->grace_ms);

    /* always sent: its default has changed once and may be the tenant's own */

    cycles_json_member_name(&js, "overage_policy",
                            cycles_policy_name(rq->policy));

    if (rq->dry_run) {
        cycles_json_key(&js, "dry_run", 7);
        cycles_json_raw(&js, "true", 4);
    }

    cycles_write_metadata(&js, rq->metadata);
    cycles_json_end(&js);

    return js.len;
}


size_t
cycles_decide_body(unsigned char *buf, size_t size, const cycles_reserve_t *rq)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    cycles_json_begin(&js);
    cycles_json_member_string(&js, "idempotency_key", rq->idempotency_key);
    cycles_write_subject(&js, &rq->subject);
    cycles_write_action(&js, &rq->action);
    cycles_write_amount(&js, "estimate", rq->unit, rq->estimate);
    cycles_json_end(&js);

    return js.len;
}


size_t
cycles_commit_body(unsigned char *buf, size_t size, const cycles_commit_t *rq)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    cycles_json_begin(&js);
    cycles_json_member_string(&js, "idempotency_key", rq->idempotency_key);
    cycles_write_amount(&js, "actual", rq->unit, rq->actual);
    cycles_write_metrics(&js, &rq->metrics);
    cycles_write_metadata(&js, rq->metadata);
    cycles_json_end(&js);

    return js.len;
}


size_t
cycles_release_body(unsigned char *buf, size_t size, cycles_str_t key,
    cycles_str_t reason)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    cycles_json_begin(&js);
    cycles_json_member_string(&js, "idempotency_key", key);

    if (reason.len) {
        cycles_json_member_string(&js, "reason",
                                  cycles_cut(reason, CYCLES_MAX_REASON));
    }

    cycles_json_end(&js);

    return js.len;
}


size_t
cycles_extend_body(unsigned char *buf, size_t size, cycles_str_t key,
    int64_t extend_by_ms)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    cycles_json_begin(&js);
    cycles_json_member_string(&js, "idempotency_key", key);
    cycles_json_member_integer(&js, "extend_by_ms", extend_by_ms);
    cycles_json_end(&js);

    return js.len;
}


size_t
cycles_event_body(unsigned char *buf, size_t size, const cycles_event_t *rq,
    cycles_str_t recovered)
{
    cycles_json_t  js;

    cycles_json_init(&js, buf, size);

    cycles_json_begin(&js);
    cycles_json_member_string(&js, "idempotency_key", rq->idempotency_key);
    cycles_write_subject(&js, &rq->subject);
    cycles_write_action(&js, &rq->action);
    cycles_write_amount(&js, "actual", rq->unit, rq->actual);
    cycles_json_member_name(&js, "overage_policy",
                            cycles_policy_name(rq->policy));
    cycles_write_metrics(&js, &rq->metrics);

    if (recovered.len) {
        cycles_write_recovery(&js, rq->metadata, recovered);

    } else {
        cycles_write_metadata(&js, rq->metadata);
    }

    cycles_json_end(&js);

    return js.len;
}


size_t
cycles_path(unsigned char *buf, size_t size, cycles_op_t op, cycles_str_t id,
    int escape)
{
    size_t         i, n;
    unsigned char  text[3];
    cycles_json_t  js;

    static const char  hex[] = "0123456789ABCDEF";

    cycles_json_init(&js, buf, size);

    if (op == CYCLES_OP_EVENT) {
        cycles_json_raw(&js, "/v1/events", 10);
        return js.len;
    }

    if (op == CYCLES_OP_DECIDE) {
        cycles_json_raw(&js, "/v1/decide", 10);
        return js.len;
    }

    cycles_json_raw(&js, "/v1/reservations", 16);

    if (op == CYCLES_OP_RESERVE) {
        return js.len;
    }

    cycles_json_raw(&js, "/", 1);

    for (i = 0; i < id.len; i += n) {
        n = escape ? cycles_path_plain(id.data + i, id.len - i) : id.len;

        cycles_json_raw(&js, id.data + i, n);

        if (i + n == id.len) {
            break;
        }

        text[0] = '%';
        text[1] = hex[id.data[i + n] >> 4];
        text[2] = hex[id.data[i + n] & 0xf];

        cycles_json_raw(&js, text, 3);
        n++;
    }

    if (op == CYCLES_OP_LOOKUP) {
        return js.len;
    }

    cycles_json_raw(&js, "/", 1);
    cycles_json_raw(&js, cycles_ops[op], strlen(cycles_ops[op]));

    return js.len;
}


/* how many of n bytes a path can have as they are, up to the first other */

static size_t
cycles_path_plain(const unsigned char *p, size_t n)
{
    size_t         i;
    unsigned char  ch;

    for (i = 0; i < n; i++) {
        ch = p[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9')
              || ch == '-' || ch == '.' || ch == '_' || ch == '~'))
        {
            break;
        }
    }

    return i;
}


static void
cycles_write_subject(cycles_json_t *js, const cycles_subject_t *subject)
{
    unsigned              i;
    const cycles_pair_t  *pair;

    cycles_json_key(js, "subject", 7);
    cycles_json_begin(js);

    for (i = 0; i < CYCLES_LEVELS; i++) {
        if (subject->levels[i].len) {
            cycles_json_member_string(js, cycles_level_name(i),
                                      subject->levels[i]);
        }
    }

    if (subject->ndimensions) {
        cycles_json_key(js, "dimensions", 10);
        cycles_json_begin(js);

        for (i = 0; i < subject->ndimensions; i++) {
            pair = &subject->dimensions[i];

            cycles_json_key(js, pair->key.data, pair->key.len);
            cycles_json_string(js, pair->value);
        }

        cycles_json_end(js);
    }

    cycles_json_end(js);
}


static void
cycles_write_action(cycles_json_t *js, const cycles_action_t *action)
{
    unsigned  i;

    cycles_json_key(js, "action", 6);
    cycles_json_begin(js);
    cycles_json_member_string(js, "kind", action->kind);
    cycles_json_member_string(js, "name", action->name);

    if (action->ntags) {
        cycles_json_key(js, "tags", 4);
        cycles_json_raw(js, "[", 1);

        for (i = 0; i < action->ntags; i++) {
            cycles_json_next(js);
            cycles_json_string(js, action->tags[i]);
        }

        cycles_json_raw(js, "]", 1);
    }

    cycles_json_end(js);
}


static void
cycles_write_amount(cycles_json_t *js, const char *name, cycles_unit_t unit,
    int64_t amount)
{
    cycles_json_key(js, name, strlen(name));
    cycles_json_begin(js);
    cycles_json_member_name(js, "unit", cycles_unit_name(unit));
    cycles_json_member_integer(js, "amount", amount);
    cycles_json_end(js);
}


static void
cycles_write_metrics(cycles_json_t *js, const cycles_metrics_t *metrics)
{
    if (metrics->tokens_input < 0 && metrics->tokens_output < 0
        && metrics->latency_ms < 0 && metrics->model_version.len == 0)
    {
        return;
    }

    cycles_json_key(js, "metrics", 7);
    cycles_json_begin(js);
    cycles_write_metric(js, "tokens_input", metrics->tokens_input);
    cycles_write_metric(js, "tokens_output", metrics->tokens_output);
    cycles_write_metric(js, "latency_ms", metrics->latency_ms);

    if (metrics->model_version.len) {
        cycles_json_member_string(js, "model_version",
                                  cycles_cut(metrics->model_version,
                                             CYCLES_MAX_MODEL_VERSION));
    }

    cycles_json_end(js);
}


static void
cycles_write_metric(cycles_json_t *js, const char *name, int64_t value)
{
    if (value < 0) {
        return;
    }

    if (value > INT32_MAX) {
        value = INT32_MAX;
    }

    cycles_json_member_integer(js, name, value);
}


static void
cycles_write_metadata(cycles_json_t *js, cycles_str_t metadata)
{
    if (metadata.len == 0) {
        return;
    }

    cycles_json_key(js, "metadata", 8);
    cycles_json_raw(js, metadata.data, metadata.len);
}


static void
cycles_write_recovery(cycles_json_t *js, cycles_str_t metadata,
    cycles_str_t recovered)
{
    size_t  i, end;

    cycles_json_key(js, "metadata", 8);

    /* the members join those of the object that the caller has written */

    for (end = metadata.len; end > 0; end--) {
        if (metadata.data[end - 1] == '}') {
            break;
        }
    }

    if (end == 0) {
        cycles_json_begin(js);

    } else {
        end--;

        while (end > 0 && strchr(" \t\r\n", metadata.data[end - 1])) {
            end--;
        }

        for (i = 0; i < end && metadata.data[i] != '{'; i++) { /* void */ }

        cycles_json_raw(js, metadata.data + i, end - i);
    }

    cycles_json_member_string(js, "recovered_reservation_id", recovered);
    cycles_json_member_name(js, "recovery_reason",
                            "commit_after_reservation_expired");
    cycles_json_end(js);
}


static cycles_str_t
cycles_cut(cycles_str_t s, size_t max)
{
    size_t  len;

    if (s.len <= max) {
        return s;
    }

    len = max;

    /* not within a character, which has at most three bytes to follow */

    while (len > max - 3 && (s.data[len] & 0xc0) == 0x80) {
        len--;
    }

    s.len = len;

    return s;
}
