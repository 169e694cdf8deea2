
/*
 * Copyright (C) nginx-cycles authors
 *
 * What is asked of the authority for one request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static ngx_int_t ngx_http_cycles_subject(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);
static ngx_int_t ngx_http_cycles_level(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_uint_t level, cycles_str_t *value);
static ngx_int_t ngx_http_cycles_header(ngx_http_request_t *r,
    ngx_http_cycles_level_t *level, ngx_str_t *value);
static ngx_uint_t ngx_http_cycles_header_is(ngx_table_elt_t *h, u_char *name);
static ngx_int_t ngx_http_cycles_keep_tenant(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_action(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);
static ngx_int_t ngx_http_cycles_default_action(ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_set_estimate(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);
static ngx_int_t ngx_http_cycles_check_estimate(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);
static ngx_int_t ngx_http_cycles_set_metadata(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_int_t ngx_http_cycles_set_keys(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error);
static ngx_int_t ngx_http_cycles_set_trace(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx);
static ngx_str_t *ngx_http_cycles_traceparent(ngx_http_request_t *r);
static ngx_int_t ngx_http_cycles_evaluate(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, ngx_pool_t *pool, cycles_str_t *value);
static ngx_int_t ngx_http_cycles_copy(ngx_http_request_t *r, ngx_str_t *s,
    ngx_pool_t *pool, cycles_str_t *value);
static ngx_int_t ngx_http_cycles_error(ngx_http_request_t *r,
    ngx_str_t *error, const char *text, const char *what);


void
ngx_http_cycles_call_conf(ngx_http_cycles_loc_conf_t *conf,
    ngx_http_cycles_call_conf_t *call)
{
    call->timeout = conf->timeout;
    call->connect_timeout =
                            (conf->connect_timeout == NGX_CONF_UNSET_MSEC)
                            ? ngx_min(conf->timeout,
                                      NGX_HTTP_CYCLES_CONNECT_TIMEOUT)
                            : conf->connect_timeout;
    call->retry_attempts = conf->retry_attempts;
    call->retry_initial = conf->retry_initial;
    call->retry_multiplier = conf->retry_multiplier;
    call->retry_max = conf->retry_max;
}


ngx_int_t
ngx_http_cycles_terms(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    ngx_int_t                       rc;
    cycles_reserve_t               *terms;
    ngx_http_cycles_loc_conf_t     *conf;
    ngx_http_cycles_reservation_t  *rsv;

    conf = ctx->conf;
    rsv = ctx->reservation;
    terms = &rsv->terms;

    rc = ngx_http_cycles_subject(r, ctx, error);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cycles_action(r, ctx, error);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cycles_set_price(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_cycles_set_factor(ctx);

    rc = ngx_http_cycles_set_estimate(r, ctx, error);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cycles_check_estimate(r, ctx, error);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cycles_set_keys(r, ctx, error);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_cycles_set_metadata(r, ctx) != NGX_OK
        || ngx_http_cycles_set_trace(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    terms->unit = (cycles_unit_t) conf->unit;
    terms->estimate = ctx->estimate;
    terms->ttl_ms = conf->ttl;
    terms->grace_ms = conf->grace_period;
    terms->policy = (cycles_policy_t) conf->overage_policy;
    terms->dry_run = (conf->mode == NGX_HTTP_CYCLES_DRY_RUN);

    if (rsv->authority->remote) {
        ngx_http_cycles_call_conf(conf, &rsv->call);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_subject(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    ngx_uint_t                i, n;
    cycles_pair_t            *pair;
    cycles_subject_t         *subject;
    ngx_http_cycles_value_t  *v;

    subject = &ctx->reservation->terms.subject;
    n = 0;

    for (i = 0; i < CYCLES_LEVELS; i++) {

        if (ctx->conf->levels[i] == NULL) {
            continue;
        }

        if (ngx_http_cycles_level(r, ctx, i, &subject->levels[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        if (subject->levels[i].len == 0) {
            continue;
        }

        if (!cycles_subject_value_ok(subject->levels[i].data,
                                     subject->levels[i].len))
        {
            return ngx_http_cycles_error(r, error,
                            "subject \"%s\" must be 1 to 128 characters of "
                            "A-Z, a-z, 0-9, \"_\", \".\", \"-\"",
                            cycles_level_name((cycles_level_t) i));
        }

        n++;
    }

    if (ngx_http_cycles_keep_tenant(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (n == 0) {
        return ngx_http_cycles_error(r, error,
                            "the request names no %s", "subject");
    }

    if (ctx->conf->dimensions == NULL) {
        return NGX_OK;
    }

    v = ctx->conf->dimensions->elts;

    subject->dimensions = ngx_palloc(ctx->reservation->pool,
                                     ctx->conf->dimensions->nelts
                                     * sizeof(cycles_pair_t));
    if (subject->dimensions == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ctx->conf->dimensions->nelts; i++) {
        pair = &subject->dimensions[subject->ndimensions];

        if (ngx_http_cycles_evaluate(r, &v[i].value, ctx->reservation->pool,
                                     &pair->value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (pair->value.len == 0) {
            continue;
        }

        if (pair->value.len > CYCLES_MAX_DIMENSION_VALUE) {
            return ngx_http_cycles_error(r, error,
                            "dimension \"%s\" is longer than 256 characters",
                            (char *) v[i].key.data);
        }

        pair->key.data = v[i].key.data;
        pair->key.len = v[i].key.len;

        subject->ndimensions++;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_level(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_uint_t level, cycles_str_t *value)
{
    ngx_str_t                s;
    ngx_pool_t              *pool;
    ngx_http_cycles_level_t  *l;

    l = ctx->conf->levels[level];
    pool = ctx->reservation->pool;

    if (l->header.len == 0 || ngx_http_cycles_header(r, l, &s) != NGX_OK) {
        return ngx_http_cycles_evaluate(r, &l->value, pool, value);
    }

    return ngx_http_cycles_copy(r, &s, pool, value);
}


/*
 * What "$http_NAME" is, without going through nginx's scripts and each letter
 * of each header.  NGX_DECLINED: the variable is asked, for it has its value
 * already, or is another one, or there are two such headers, or a header that
 * another module has made.
 */

static ngx_int_t
ngx_http_cycles_header(ngx_http_request_t *r, ngx_http_cycles_level_t *level,
    ngx_str_t *value)
{
    ngx_uint_t                  i, found;
    ngx_list_part_t            *part;
    ngx_table_elt_t            *h;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    v = cmcf->variables.elts;

    if (v[level->index].get_handler != level->handler
        || r->variables[level->index].valid
        || r->variables[level->index].not_found)
    {
        return NGX_DECLINED;
    }

    ngx_str_null(value);

    found = 0;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len != level->header.len || h[i].hash == 0) {
            continue;
        }

        if (h[i].lowcase_key == NULL) {
            return NGX_DECLINED;
        }

        if (ngx_http_cycles_header_is(&h[i], level->header.data)) {

            if (found) {
                return NGX_DECLINED;
            }

            found = 1;
            *value = h[i].value;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_cycles_header_is(ngx_table_elt_t *h, u_char *name)
{
    u_char      ch;
    ngx_uint_t  i;

    for (i = 0; i < h->key.len; i++) {
        ch = h->lowcase_key[i];

        if ((ch == '-' ? '_' : ch) != name[i]) {
            return 0;
        }
    }

    return 1;
}


/* what is counted by it may outlive the reservation */

static ngx_int_t
ngx_http_cycles_keep_tenant(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t      s;
    cycles_str_t  *tenant;

    tenant = &ctx->reservation->terms.subject.levels[CYCLES_TENANT];

    if (tenant->len == 0) {
        ngx_str_null(&ctx->tenant);
        return NGX_OK;
    }

    s.len = tenant->len;
    s.data = tenant->data;

    ctx->tenant.len = s.len;
    ctx->tenant.data = ngx_http_cycles_keep_str(ctx, &s);

    return ctx->tenant.data ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_cycles_action(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    ngx_uint_t                 i;
    cycles_str_t               value;
    cycles_action_t           *action;
    ngx_http_complex_value_t  *cv;

    if (ctx->conf->action == NULL) {
        return ngx_http_cycles_default_action(ctx);
    }

    action = &ctx->reservation->terms.action;
    cv = ctx->conf->action->elts;

    /* kind and name come first */

    action->tags = ngx_palloc(ctx->reservation->pool,
                              ctx->conf->action->nelts
                              * sizeof(cycles_str_t));
    if (action->tags == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < ctx->conf->action->nelts; i++) {

        if (ngx_http_cycles_evaluate(r, &cv[i], ctx->reservation->pool,
                                     &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        switch (i) {

        case 0:
            if (value.len == 0 || value.len > CYCLES_MAX_ACTION_KIND) {
                return ngx_http_cycles_error(r, error,
                            "action %s must be 1 to 64 characters", "kind");
            }

            action->kind = value;
            break;

        case 1:
            if (value.len == 0 || value.len > CYCLES_MAX_ACTION_NAME) {
                return ngx_http_cycles_error(r, error,
                            "action %s must be 1 to 256 characters", "name");
            }

            action->name = value;
            break;

        default:
            if (value.len > CYCLES_MAX_ACTION_TAG) {
                return ngx_http_cycles_error(r, error,
                            "action %s is longer than 64 characters", "tag");
            }

            if (value.len) {
                action->tags[action->ntags++] = value;
            }
        }
    }

    return NGX_OK;
}


/* llm.completion $cycles_provider:$cycles_model */

static ngx_int_t
ngx_http_cycles_default_action(ngx_http_cycles_ctx_t *ctx)
{
    size_t            len;
    u_char           *p;
    const char       *provider;
    llm_facts_t      *facts;
    cycles_action_t  *action;

    static u_char  kind[] = "llm.completion";

    action = &ctx->reservation->terms.action;
    provider = llm_provider_name(ctx->route.provider);
    facts = ctx->facts;

    action->kind.data = kind;
    action->kind.len = sizeof(kind) - 1;

    len = ngx_strlen(provider) + 1 + facts->model_len;

    p = ngx_pnalloc(ctx->reservation->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    action->name.data = p;
    action->name.len = ngx_min(len, CYCLES_MAX_ACTION_NAME);

    p = ngx_cpymem(p, provider, ngx_strlen(provider));
    *p++ = ':';
    ngx_memcpy(p, facts->model, facts->model_len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_set_estimate(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    off_t                        n;
    cycles_str_t                 value;
    ngx_http_cycles_loc_conf_t  *conf;

    conf = ctx->conf;

    if (conf->estimate) {
        if (ngx_http_cycles_evaluate(r, conf->estimate, r->pool, &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        n = ngx_atoof(value.data, value.len);

        if (n == NGX_ERROR) {
            return ngx_http_cycles_error(r, error,
                            "the %s of this request is not a whole number",
                            "estimate");
        }

        ctx->estimate = n;

        return NGX_OK;
    }

    ctx->estimate = ngx_http_cycles_auto_estimate(ctx);

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_check_estimate(ngx_http_request_t *r,
    ngx_http_cycles_ctx_t *ctx, ngx_str_t *error)
{
    off_t         n;
    cycles_str_t  value;

    if (ctx->conf->max_estimate == NULL) {
        return NGX_OK;
    }

    if (ngx_http_cycles_evaluate(r, ctx->conf->max_estimate, r->pool, &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    n = ngx_atoof(value.data, value.len);

    if (n == NGX_ERROR) {
        return ngx_http_cycles_error(r, error,
                            "the %s of this request is not a whole number",
                            "largest estimate");
    }

    return (ctx->estimate > n) ? NGX_DECLINED : NGX_OK;
}


static ngx_int_t
ngx_http_cycles_set_keys(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx,
    ngx_str_t *error)
{
    u_char                         *p;
    cycles_str_t                    value;
    ngx_http_cycles_loc_conf_t     *conf;
    ngx_http_cycles_reservation_t  *rsv;

    conf = ctx->conf;
    rsv = ctx->reservation;

    if (conf->api_key) {
        if (ngx_http_cycles_evaluate(r, conf->api_key, rsv->pool, &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        rsv->api_key.data = value.data;
        rsv->api_key.len = value.len;
    }

    p = ngx_pnalloc(rsv->pool, 2 * CYCLES_UUID_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (cycles_uuid(p) != 0) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "RAND_bytes() failed");
        return NGX_ERROR;
    }

    rsv->terms.idempotency_key.data = p;
    rsv->terms.idempotency_key.len = CYCLES_UUID_LEN;

    /* written for each beat, and for the settlement, from the one before it */

    rsv->settle_key.data = p + CYCLES_UUID_LEN;
    rsv->settle_key.len = CYCLES_UUID_LEN;

    rsv->terms.fresh_key = 1;

    if (conf->idempotency_key == NULL || ctx->reused_key) {
        return NGX_OK;
    }

    if (ngx_http_cycles_evaluate(r, conf->idempotency_key, rsv->pool, &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (value.len == 0) {
        return NGX_OK;
    }

    if (value.len > CYCLES_MAX_IDEMPOTENCY_KEY) {
        return ngx_http_cycles_error(r, error,
                            "the %s is longer than 256 characters",
                            "idempotency key");
    }

    rsv->terms.idempotency_key = value;
    rsv->terms.fresh_key = 0;

    /*
     * Other requests may have the key as well, even at the same time: a value
     * of our own has the authority tell them from our own retry, for a hold
     * must never pay for two of them: that which would have been the key.
     */

    ctx->stable_key = 1;
    ctx->use.data = p;
    ctx->use.len = CYCLES_UUID_LEN;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_set_metadata(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    size_t                    len;
    u_char                   *p;
    ngx_uint_t                i, n;
    cycles_str_t             *values;
    ngx_array_t              *metadata;
    ngx_http_cycles_value_t  *v;

    static ngx_str_t  use = ngx_string("\"key_use\":\"");

    metadata = ctx->conf->metadata;
    n = metadata ? metadata->nelts : 0;

    if (n == 0 && !ctx->stable_key) {
        return NGX_OK;
    }

    values = ngx_palloc(r->pool, n * sizeof(cycles_str_t));
    if (values == NULL) {
        return NGX_ERROR;
    }

    v = metadata ? metadata->elts : NULL;
    len = sizeof("{}") - 1;

    if (ctx->stable_key) {
        len += use.len + ctx->use.len + sizeof("\",") - 1;
    }

    for (i = 0; i < n; i++) {
        if (ngx_http_cycles_evaluate(r, &v[i].value, r->pool, &values[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        len += sizeof("\"\":\"\",") - 1
               + cycles_json_escaped(v[i].key.data, v[i].key.len)
               + cycles_json_escaped(values[i].data, values[i].len);
    }

    p = ngx_pnalloc(ctx->reservation->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ctx->reservation->terms.metadata.data = p;

    *p++ = '{';

    if (ctx->stable_key) {
        p = ngx_cpymem(p, use.data, use.len);
        p = ngx_cpymem(p, ctx->use.data, ctx->use.len);
        *p++ = '"';
    }

    for (i = 0; i < n; i++) {

        if (values[i].len == 0) {
            continue;
        }

        if (p[-1] != '{') {
            *p++ = ',';
        }

        *p++ = '"';
        p = cycles_json_escape(p, v[i].key.data, v[i].key.len);
        *p++ = '"';
        *p++ = ':';
        *p++ = '"';
        p = cycles_json_escape(p, values[i].data, values[i].len);
        *p++ = '"';
    }

    *p++ = '}';

    ctx->reservation->terms.metadata.len =
                                  p - ctx->reservation->terms.metadata.data;

    return NGX_OK;
}


/* W3C trace context: the client's if it is valid, else a new one */

static ngx_int_t
ngx_http_cycles_set_trace(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_str_t                      *client;
    ngx_http_cycles_reservation_t  *rsv;

    rsv = ctx->reservation;

    client = ngx_http_cycles_traceparent(r);

    if (client) {
        rsv->traceparent.len = client->len;
        rsv->traceparent.data = ngx_pstrdup(rsv->pool, client);
        if (rsv->traceparent.data == NULL) {
            return NGX_ERROR;
        }

    } else {
        rsv->traceparent.len = CYCLES_TRACEPARENT_LEN;
        rsv->traceparent.data = ngx_pnalloc(rsv->pool,
                                            CYCLES_TRACEPARENT_LEN);
        if (rsv->traceparent.data == NULL) {
            return NGX_ERROR;
        }

        if (cycles_traceparent(rsv->traceparent.data) != 0) {
            ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                          "RAND_bytes() failed");
            return NGX_ERROR;
        }
    }

    /* the authority may answer with another */

    ctx->trace_id.len = 32;
    ctx->trace_id.data = ngx_http_cycles_keep(ctx, 32);
    if (ctx->trace_id.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(ctx->trace_id.data, rsv->traceparent.data + 3, 32);

    return NGX_OK;
}


/* NULL: there is none, or it is not valid, which counts as absent */

static ngx_str_t *
ngx_http_cycles_traceparent(ngx_http_request_t *r)
{
    u_char            ch;
    ngx_str_t        *value;
    ngx_uint_t        i, n, zero;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    value = NULL;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("traceparent") - 1
            && ngx_strncmp(h[i].lowcase_key, "traceparent",
                           sizeof("traceparent") - 1)
               == 0)
        {
            if (value) {
                return NULL;
            }

            value = &h[i].value;
        }
    }

    if (value == NULL || value->len != 55) {
        return NULL;
    }

    zero = 1;

    for (n = 0; n < 55; n++) {
        ch = value->data[n];

        if (n == 2 || n == 35 || n == 52) {
            if (ch != '-' || (n > 2 && zero)) {
                return NULL;
            }

            zero = 1;
            continue;
        }

        if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f'))
            || (n < 2 && ch != '0'))
        {
            return NULL;
        }

        if (ch != '0') {
            zero = 0;
        }
    }

    return value;
}


static ngx_int_t
ngx_http_cycles_evaluate(ngx_http_request_t *r, ngx_http_complex_value_t *cv,
    ngx_pool_t *pool, cycles_str_t *value)
{
    ngx_str_t  s;

    if (ngx_http_complex_value(r, cv, &s) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_cycles_copy(r, &s, pool, value);
}


/* headers and variables die with the request */

static ngx_int_t
ngx_http_cycles_copy(ngx_http_request_t *r, ngx_str_t *s, ngx_pool_t *pool,
    cycles_str_t *value)
{
    value->len = s->len;
    value->data = s->data;

    if (s->len && pool != r->pool) {
        value->data = ngx_pstrdup(pool, s);
        if (value->data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cycles_error(ngx_http_request_t *r, ngx_str_t *error,
    const char *text, const char *what)
{
    size_t  len;

    len = ngx_strlen(text) + ngx_strlen(what);

    error->data = ngx_pnalloc(r->pool, len);
    if (error->data == NULL) {
        return NGX_ERROR;
    }

    error->len = ngx_snprintf(error->data, len, text, what) - error->data;

    return NGX_HTTP_BAD_REQUEST;
}
