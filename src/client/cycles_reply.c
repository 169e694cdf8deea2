
/*
 * Copyright (C) nginx-cycles authors
 *
 * What a reply of a Cycles server means.  Strict on what the protocol
 * requires, since money depends on it; tolerant of members that it does not
 * know, and null is absent.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stddef.h>
#include <string.h>
#include <jansson.h>

#include "../cycles_json.h"
#include "../cycles_tree.h"
#include "cycles_protocol.h"


/* a member that a reply may have, beside the ones that it must */

#define CYCLES_OPTIONAL  0
#define CYCLES_REQUIRED  1


static const cycles_node_t *cycles_load(cycles_tree_t *tree,
    const unsigned char *body, size_t len, cycles_reply_t *reply);
static int cycles_bad(cycles_reply_t *reply, const char *problem);
static int cycles_read_reserved(const cycles_node_t *root,
    const cycles_reserve_t *rq, cycles_reserved_t *rs, cycles_reply_t *reply);
static int cycles_read_granted(const cycles_node_t *root,
    const cycles_reserve_t *rq, cycles_reserved_t *rs, cycles_reply_t *reply);
static int cycles_read_caps(const cycles_node_t *root, cycles_reserved_t *rs,
    cycles_reply_t *reply);
static int cycles_read_tools(const cycles_node_t *caps, const char *name,
    cycles_reserved_t *rs, size_t *used, cycles_str_t *text);
static int cycles_read_settled(cycles_op_t op, const cycles_node_t *root,
    cycles_unit_t unit, int64_t amount, cycles_settled_t *rs,
    cycles_reply_t *reply);
static int cycles_read_remaining(const cycles_node_t *root,
    cycles_unit_t unit, int64_t *remaining);
static int cycles_all_strings(const cycles_node_t *list);
static int cycles_read_scopes(const cycles_node_t *root);
static int cycles_read_integer(const cycles_node_t *object, const char *name,
    int required, int64_t *value);
static int cycles_read_amount(const cycles_node_t *object, const char *name,
    int required, cycles_unit_t unit, int64_t *value);
static int cycles_is(const cycles_node_t *object, const char *name,
    const char *value);
static const cycles_str_t *cycles_text(const cycles_node_t *value);
static cycles_verdict_t cycles_read_error(unsigned status,
    const cycles_node_t *root, cycles_denial_t *denial,
    cycles_reply_t *reply);
static cycles_code_t cycles_status_code(unsigned status);
static void cycles_read_details(const cycles_node_t *root,
    cycles_denial_t *denial, cycles_reply_t *reply);
static int cycles_read_detail(const cycles_node_t *details, const char *name,
    int64_t *value);
static size_t cycles_copy(const cycles_node_t *value, char *text, size_t size);


/* null is absent */

static inline const cycles_node_t *
cycles_member(const cycles_node_t *object, const char *name)
{
    const cycles_node_t  *value;

    value = cycles_tree_member(object, name);

    return value && value->type == CYCLES_TREE_NULL ? NULL : value;
}


/* but for two texts that have lengths, and are most of it */

void
cycles_reserved_clear(cycles_reserved_t *rs)
{
    memset(rs, 0, offsetof(cycles_reserved_t, scope_path));

    rs->scope_path[0] = '\0';
    rs->scope_path_len = 0;

    memset(&rs->caps, 0, sizeof(cycles_caps_t));
    memset(&rs->denial, 0, sizeof(cycles_denial_t));

    rs->record = 0;
}


cycles_verdict_t
cycles_parse_reserve(unsigned status, const unsigned char *body, size_t len,
    const cycles_reserve_t *rq, cycles_reserved_t *rs, cycles_reply_t *reply)
{
    int                   rc;
    cycles_tree_t         tree;
    cycles_verdict_t      verdict;
    const cycles_node_t  *root;

    cycles_reserved_clear(rs);
    memset(reply, 0, sizeof(cycles_reply_t));

    root = cycles_load(&tree, body, len, reply);

    if (status == 200) {
        rc = cycles_read_reserved(root, rq, rs, reply);
        cycles_tree_free(&tree);

        if (rc != 0) {
            cycles_reserved_clear(rs);
            reply->id[0] = '\0';
            return CYCLES_REPLY_RETRY;
        }

        return rs->code == CYCLES_OK ? CYCLES_REPLY_DONE
                                     : CYCLES_REPLY_REJECTED;
    }

    verdict = cycles_read_error(status, root, &rs->denial, reply);
    cycles_tree_free(&tree);

    /*
     * Whatever a server below 500 says, it did not give us the money.  Being
     * throttled is an answer as well: to wait would hold up the client.
     */

    if (verdict == CYCLES_REPLY_RETRY && status != 429) {
        cycles_reserved_clear(rs);
        return CYCLES_REPLY_RETRY;
    }

    rs->code = reply->code;
    rs->decision = CYCLES_DENY;
    rs->expires_at_ms = -1;
    rs->remaining_ttl_ms = -1;
    rs->remaining = reply->detailed ? rs->denial.remaining
                                    : CYCLES_NOT_KNOWN;
    memcpy(rs->reason, reply->reason, sizeof(rs->reason));

    return CYCLES_REPLY_REJECTED;
}


cycles_verdict_t
cycles_parse_settled(cycles_op_t op, unsigned status,
    const unsigned char *body, size_t len, cycles_unit_t unit, int64_t amount,
    cycles_settled_t *rs, cycles_reply_t *reply)
{
    int                   rc;
    cycles_tree_t         tree;
    cycles_verdict_t      verdict;
    const cycles_node_t  *root;

    memset(rs, 0, sizeof(cycles_settled_t));
    memset(reply, 0, sizeof(cycles_reply_t));

    root = cycles_load(&tree, body, len, reply);

    if (status == (op == CYCLES_OP_EVENT ? 201 : 200)) {
        rc = cycles_read_settled(op, root, unit, amount, rs, reply);
        cycles_tree_free(&tree);

        if (rc != 0) {
            memset(rs, 0, sizeof(cycles_settled_t));
            return CYCLES_REPLY_RETRY;
        }

        return CYCLES_REPLY_DONE;
    }

    verdict = cycles_read_error(status, root, &rs->denial, reply);
    cycles_tree_free(&tree);

    rs->code = reply->code;
    rs->expires_at_ms = -1;
    rs->remaining_ttl_ms = -1;
    rs->remaining = CYCLES_NOT_KNOWN;

    return verdict;
}


cycles_verdict_t
cycles_parse_found(unsigned status, const unsigned char *body, size_t len,
    cycles_unit_t unit, int64_t amount, int64_t *rest, cycles_reply_t *reply)
{
    int64_t               committed;
    cycles_tree_t         tree;
    cycles_denial_t       denial;
    cycles_verdict_t      verdict;
    const cycles_node_t  *root;

    memset(reply, 0, sizeof(cycles_reply_t));

    root = cycles_load(&tree, body, len, reply);
    *rest = amount;

    if (status != 200) {
        verdict = cycles_read_error(status, root, &denial, reply);

    } else if (cycles_is(root, "status", "COMMITTED")) {
        reply->code = CYCLES_RESERVATION_FINALIZED;
        verdict = CYCLES_REPLY_DONE;

        /* who commits less than it has cost does not get the rest for free */

        if (cycles_read_amount(root, "committed", CYCLES_REQUIRED, unit,
                               &committed)
            == 0
            && committed < amount)
        {
            *rest = amount - committed;
            verdict = CYCLES_REPLY_EXPIRED;
        }

    } else if (cycles_is(root, "status", "RELEASED")
               || cycles_is(root, "status", "EXPIRED"))
    {
        verdict = CYCLES_REPLY_EXPIRED;

    } else {

        /* one that is not finalized contradicts what we were told */

        (void) cycles_bad(reply, "no valid \"status\"");
        verdict = CYCLES_REPLY_RETRY;
    }

    cycles_tree_free(&tree);

    return verdict;
}


size_t
cycles_event_rest(unsigned char *buf, size_t size, cycles_str_t body,
    int64_t amount)
{
    size_t   len;
    json_t  *root;

    root = json_loadb((const char *) body.data, body.len, 0, NULL);
    len = 0;

    if (json_object_set_new(json_object_get(root, "actual"), "amount",
                            json_integer(amount))
        == 0)
    {
        len = json_dumpb(root, (char *) buf, size, JSON_COMPACT);
    }

    json_decref(root);

    return len;
}


static const cycles_node_t *
cycles_load(cycles_tree_t *tree, const unsigned char *body, size_t len,
    cycles_reply_t *reply)
{
    int  rc;

    /* also of nothing, for cycles_tree_free() */

    rc = cycles_tree_parse(tree, body, len);

    if (len == 0) {
        reply->problem = "an empty body";
        return NULL;
    }

    if (rc != 0) {
        reply->problem = "a body that is not JSON";
        return NULL;
    }

    if (tree->nodes->type != CYCLES_TREE_OBJECT) {
        reply->problem = "a body that is not a JSON object";
        return NULL;
    }

    return tree->nodes;
}


static int
cycles_bad(cycles_reply_t *reply, const char *problem)
{
    reply->problem = problem;

    return -1;
}


static int
cycles_read_reserved(const cycles_node_t *root, const cycles_reserve_t *rq,
    cycles_reserved_t *rs, cycles_reply_t *reply)
{
    int                   code;
    const cycles_node_t  *value;

    if (root == NULL) {
        return -1;
    }

    if (cycles_is(root, "decision", "ALLOW")) {
        rs->decision = CYCLES_ALLOW;

    } else if (cycles_is(root, "decision", "ALLOW_WITH_CAPS")) {
        rs->decision = CYCLES_ALLOW_WITH_CAPS;

    } else if (cycles_is(root, "decision", "DENY")) {
        rs->decision = CYCLES_DENY;

    } else {
        return cycles_bad(reply, "no valid \"decision\"");
    }

    if (cycles_read_scopes(root) != 0) {
        return cycles_bad(reply, "no valid \"affected_scopes\"");
    }

    if (cycles_read_remaining(root, rq->unit, &rs->remaining) != 0) {
        return cycles_bad(reply, "invalid \"balances\"");
    }

    rs->scope_path_len = cycles_copy(cycles_member(root, "scope_path"),
                                     rs->scope_path, sizeof(rs->scope_path));

    value = cycles_member(root, "reason_code");
    cycles_copy(value, rs->reason, sizeof(rs->reason));
    memcpy(reply->reason, rs->reason, sizeof(reply->reason));

    rs->expires_at_ms = -1;
    rs->remaining_ttl_ms = -1;
    rs->caps.max_tokens = -1;
    rs->caps.max_steps_remaining = -1;
    rs->caps.cooldown_ms = -1;

    if (rs->decision == CYCLES_DENY) {

        if (!rq->dry_run) {
            code = cycles_code_find((unsigned char *) rs->reason,
                                    strlen(rs->reason));

            rs->code = code > CYCLES_OK ? (cycles_code_t) code
                                        : CYCLES_BUDGET_EXCEEDED;
            reply->code = rs->code;
        }

        return 0;
    }

    if (rs->decision == CYCLES_ALLOW_WITH_CAPS
        && cycles_read_caps(root, rs, reply) != 0)
    {
        return -1;
    }

    if (rq->dry_run) {
        return 0;
    }

    return cycles_read_granted(root, rq, rs, reply);
}


static int
cycles_read_granted(const cycles_node_t *root, const cycles_reserve_t *rq,
    cycles_reserved_t *rs, cycles_reply_t *reply)
{
    size_t               i;
    const cycles_str_t  *id;

    id = cycles_text(cycles_member(root, "reservation_id"));

    if (id == NULL || id->len == 0 || id->len >= CYCLES_ID_SIZE) {
        return cycles_bad(reply, "no valid \"reservation_id\"");
    }

    /* it goes into headers and logs */

    for (i = 0; i < id->len; i++) {
        if (id->data[i] < 0x20 || id->data[i] == 0x7f) {
            return cycles_bad(reply, "no valid \"reservation_id\"");
        }
    }

    memcpy(reply->id, id->data, id->len);

    if (id->len < sizeof(rs->id)) {
        memcpy(rs->id, id->data, id->len);
    }

    rs->reserved = rq->estimate;

    if (cycles_read_amount(root, "reserved", CYCLES_OPTIONAL, rq->unit,
                           &rs->reserved)
        != 0)
    {
        return cycles_bad(reply, "invalid \"reserved\"");
    }

    if (cycles_read_integer(root, "expires_at_ms", CYCLES_OPTIONAL,
                            &rs->expires_at_ms)
        != 0)
    {
        return cycles_bad(reply, "invalid \"expires_at_ms\"");
    }

    if (cycles_read_integer(root, "remaining_ttl_ms", CYCLES_OPTIONAL,
                            &rs->remaining_ttl_ms)
        != 0)
    {
        return cycles_bad(reply, "invalid \"remaining_ttl_ms\"");
    }

    return 0;
}


static int
cycles_read_caps(const cycles_node_t *root, cycles_reserved_t *rs,
    cycles_reply_t *reply)
{
    size_t                used;
    cycles_caps_t        *caps;
    const cycles_node_t  *value;

    caps = &rs->caps;
    value = cycles_member(root, "caps");
    used = 0;

    /* caps that we can't read can't be obeyed, and must not be ignored */

    if (value == NULL || value->type != CYCLES_TREE_OBJECT
        || cycles_read_integer(value, "max_tokens", CYCLES_OPTIONAL,
                               &caps->max_tokens)
           != 0
        || cycles_read_integer(value, "max_steps_remaining", CYCLES_OPTIONAL,
                               &caps->max_steps_remaining)
           != 0
        || cycles_read_integer(value, "cooldown_ms", CYCLES_OPTIONAL,
                               &caps->cooldown_ms)
           != 0
        || cycles_read_tools(value, "tool_allowlist", rs, &used,
                             &caps->tool_allowlist)
           != 0
        || cycles_read_tools(value, "tool_denylist", rs, &used,
                             &caps->tool_denylist)
           != 0)
    {
        return cycles_bad(reply, "no valid \"caps\"");
    }

    return 0;
}


static int
cycles_read_tools(const cycles_node_t *caps, const char *name,
    cycles_reserved_t *rs, size_t *used, cycles_str_t *text)
{
    size_t                size;
    uint32_t              i;
    cycles_json_t         js;
    const cycles_node_t  *list, *tool;

    list = cycles_member(caps, name);

    if (list == NULL) {
        return 0;
    }

    if (!cycles_all_strings(list)) {
        return -1;
    }

    size = sizeof(rs->caps_text) - *used;

    cycles_json_init(&js, rs->caps_text + *used, size);
    cycles_json_raw(&js, "[", 1);

    for (i = 0, tool = list + 1; i < list->count; i++, tool++) {
        cycles_json_next(&js);
        cycles_json_string(&js, tool->u.text);
    }

    cycles_json_raw(&js, "]", 1);

    if (js.len > size) {
        return -1;
    }

    text->len = js.len;
    text->data = rs->caps_text + *used;

    *used += js.len;

    return 0;
}


static int
cycles_read_settled(cycles_op_t op, const cycles_node_t *root,
    cycles_unit_t unit, int64_t amount, cycles_settled_t *rs,
    cycles_reply_t *reply)
{
    int                  rc;
    const char          *status;
    const cycles_str_t  *id;

    static const char *const  statuses[] = {
        "", "COMMITTED", "RELEASED", "ACTIVE", "APPLIED"
    };

    if (root == NULL) {
        return -1;
    }

    status = statuses[op];
    rs->expires_at_ms = -1;
    rs->remaining_ttl_ms = -1;

    if (!cycles_is(root, "status", status)) {
        return cycles_bad(reply, "no valid \"status\"");
    }

    if (cycles_read_remaining(root, unit, &rs->remaining) != 0) {
        return cycles_bad(reply, "invalid \"balances\"");
    }

    switch (op) {

    case CYCLES_OP_COMMIT:

        rc = cycles_read_amount(root, "charged", CYCLES_REQUIRED, unit,
                                &rs->charged);
        if (rc == 0) {
            rc = cycles_read_amount(root, "released", CYCLES_OPTIONAL, unit,
                                    &rs->released);
        }

        return rc ? cycles_bad(reply, "no valid \"charged\"") : 0;

    case CYCLES_OP_RELEASE:

        rc = cycles_read_amount(root, "released", CYCLES_REQUIRED, unit,
                                &rs->released);

        return rc ? cycles_bad(reply, "no valid \"released\"") : 0;

    case CYCLES_OP_EXTEND:

        rc = cycles_read_integer(root, "expires_at_ms", CYCLES_REQUIRED,
                                 &rs->expires_at_ms);
        if (rc == 0) {
            rc = cycles_read_integer(root, "remaining_ttl_ms",
                                     CYCLES_OPTIONAL, &rs->remaining_ttl_ms);
        }

        return rc ? cycles_bad(reply, "no valid \"expires_at_ms\"") : 0;

    default: /* CYCLES_OP_EVENT */

        id = cycles_text(cycles_member(root, "event_id"));

        if (id == NULL || id->len == 0) {
            return cycles_bad(reply, "no valid \"event_id\"");
        }

        if (id->len < sizeof(rs->event_id)) {
            memcpy(rs->event_id, id->data, id->len);
        }

        rs->charged = amount;

        rc = cycles_read_amount(root, "charged", CYCLES_OPTIONAL, unit,
                                &rs->charged);

        return rc ? cycles_bad(reply, "invalid \"charged\"") : 0;
    }
}


static int
cycles_read_remaining(const cycles_node_t *root, cycles_unit_t unit,
    int64_t *remaining)
{
    int                   found;
    uint32_t              i;
    const cycles_node_t  *balances, *balance, *value, *number;

    found = 0;
    *remaining = CYCLES_NOT_KNOWN;

    balances = cycles_member(root, "balances");

    if (balances == NULL) {
        return 0;
    }

    if (balances->type != CYCLES_TREE_ARRAY) {
        return -1;
    }

    balance = balances + 1;

    for (i = 0; i < balances->count; i++) {

        value = cycles_member(balance, "remaining");
        number = cycles_member(value, "amount");

        balance = cycles_tree_next(balance);

        if (number == NULL || number->type != CYCLES_TREE_INTEGER) {
            return -1;
        }

        if (!cycles_is(value, "unit", cycles_unit_name(unit))) {
            continue;
        }

        if (!found || number->u.integer < *remaining) {
            *remaining = number->u.integer;
        }

        found = 1;
    }

    return 0;
}


static int
cycles_read_scopes(const cycles_node_t *root)
{
    const cycles_node_t  *scopes;

    scopes = cycles_member(root, "affected_scopes");

    return scopes && cycles_all_strings(scopes) ? 0 : -1;
}


static int
cycles_all_strings(const cycles_node_t *list)
{
    uint32_t  i;

    if (list->type != CYCLES_TREE_ARRAY) {
        return 0;
    }

    /* a string is one node, and whatever precedes the first other one is */

    for (i = 0; i < list->count; i++) {
        if (list[1 + i].type != CYCLES_TREE_STRING) {
            return 0;
        }
    }

    return 1;
}


static int
cycles_read_integer(const cycles_node_t *object, const char *name,
    int required, int64_t *value)
{
    const cycles_node_t  *number;

    number = cycles_member(object, name);

    if (number == NULL) {
        return required ? -1 : 0;
    }

    if (number->type != CYCLES_TREE_INTEGER || number->u.integer < 0) {
        return -1;
    }

    *value = number->u.integer;

    return 0;
}


static int
cycles_read_amount(const cycles_node_t *object, const char *name,
    int required, cycles_unit_t unit, int64_t *value)
{
    const cycles_node_t  *amount;

    amount = cycles_member(object, name);

    if (amount == NULL) {
        return required ? -1 : 0;
    }

    if (!cycles_is(amount, "unit", cycles_unit_name(unit))) {
        return -1;
    }

    return cycles_read_integer(amount, "amount", CYCLES_REQUIRED, value);
}


static int
cycles_is(const cycles_node_t *object, const char *name, const char *value)
{
    const cycles_str_t  *text;

    text = cycles_text(cycles_member(object, name));

    return text && text->len == strlen(value)
           && memcmp(text->data, value, text->len) == 0;
}


/* NULL: it is no string */

static const cycles_str_t *
cycles_text(const cycles_node_t *value)
{
    return value && value->type == CYCLES_TREE_STRING ? &value->u.text : NULL;
}


static cycles_verdict_t
cycles_read_error(unsigned status, const cycles_node_t *root,
    cycles_denial_t *denial, cycles_reply_t *reply)
{
    int                  code;
    const cycles_str_t  *message;

    cycles_copy(cycles_member(root, "error"), reply->reason,
                sizeof(reply->reason));
    cycles_copy(cycles_member(root, "request_id"), reply->request_id,
                sizeof(reply->request_id));
    cycles_copy(cycles_member(root, "trace_id"), reply->trace_id,
                sizeof(reply->trace_id));

    cycles_read_details(root, denial, reply);

    code = cycles_code_find((unsigned char *) reply->reason,
                            strlen(reply->reason));

    reply->named = code > CYCLES_OK;
    reply->code = reply->named ? (cycles_code_t) code
                               : cycles_status_code(status);

    reply->problem = NULL;

    if (status < 400 || status >= 500) {

        if (status >= 200 && status < 300) {
            reply->problem = "another success than the one asked for";
        }

        return CYCLES_REPLY_RETRY;
    }

    if (status == 408 || status == 429
        || reply->code == CYCLES_INTERNAL_ERROR
        || reply->code == CYCLES_LIMIT_EXCEEDED)
    {
        return CYCLES_REPLY_RETRY;
    }

    /*
     * The reference server has no other word for its own store being away:
     * it fails to look the key up.
     */

    message = cycles_text(cycles_member(root, "message"));

    if (status == 401 && message
        && memmem(message->data, message->len, "INTERNAL_ERROR", 14))
    {
        reply->code = CYCLES_INTERNAL_ERROR;
        return CYCLES_REPLY_RETRY;
    }

    if (status == 401 || status == 403) {
        return CYCLES_REPLY_UNKNOWN;
    }

    if (status == 410 || reply->code == CYCLES_RESERVATION_EXPIRED) {
        reply->code = CYCLES_RESERVATION_EXPIRED;
        return CYCLES_REPLY_EXPIRED;
    }

    return reply->named ? CYCLES_REPLY_REJECTED : CYCLES_REPLY_UNKNOWN;
}


static cycles_code_t
cycles_status_code(unsigned status)
{
    switch (status) {

    case 401:
        return CYCLES_UNAUTHORIZED;

    case 403:
        return CYCLES_FORBIDDEN;

    case 404:
        return CYCLES_NOT_FOUND;

    case 402:
    case 409:
        return CYCLES_BUDGET_EXCEEDED;

    case 410:
        return CYCLES_RESERVATION_EXPIRED;

    case 429:
        return CYCLES_LIMIT_EXCEEDED;

    default:
        return status >= 400 && status < 500 ? CYCLES_INVALID_REQUEST
                                             : CYCLES_INTERNAL_ERROR;
    }
}


/*
 * Details are an open object: what is of another type than expected there is
 * not an error but somebody else's member.
 */

static void
cycles_read_details(const cycles_node_t *root, cycles_denial_t *denial,
    cycles_reply_t *reply)
{
    const cycles_node_t  *details, *scope;

    details = cycles_member(root, "details");

    scope = cycles_member(details, "scope_path");

    if (scope == NULL) {
        scope = cycles_member(details, "scope");
    }

    denial->scope_len = cycles_copy(scope, denial->scope,
                                    sizeof(denial->scope));

    reply->detailed = cycles_read_detail(details, "remaining",
                                         &denial->remaining);

    cycles_read_detail(details, "requested", &denial->requested);
    cycles_read_detail(details, "reserved", &denial->held);
    cycles_read_detail(details, "held", &denial->held);
    cycles_read_detail(details, "allocated", &denial->allocated);
    cycles_read_detail(details, "reset_at_ms", &denial->reset_at_ms);
}


static int
cycles_read_detail(const cycles_node_t *details, const char *name,
    int64_t *value)
{
    const cycles_node_t  *number;

    number = cycles_member(details, name);

    if (number && number->type == CYCLES_TREE_OBJECT) {
        number = cycles_member(number, "amount");
    }

    if (number == NULL || number->type != CYCLES_TREE_INTEGER) {
        return 0;
    }

    *value = number->u.integer;

    return 1;
}


/*
 * These texts end up in logs and response headers: nothing but printable
 * ASCII gets there.  Cut to the size; returns the length.
 */

static size_t
cycles_copy(const cycles_node_t *value, char *text, size_t size)
{
    size_t               i, len;
    unsigned char        ch;
    const cycles_str_t  *from;

    from = cycles_text(value);
    len = from ? from->len : 0;

    if (len >= size) {
        len = size - 1;
    }

    for (i = 0; i < len; i++) {
        ch = from->data[i];
        text[i] = ch > 0x20 && ch < 0x7f ? (char) ch : '_';
    }

    text[len] = '\0';

    return len;
}
