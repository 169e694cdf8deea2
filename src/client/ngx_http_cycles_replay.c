
/*
 * Copyright (C) nginx-cycles authors
 *
 * Settles what the journal holds of workers that are gone, and of others who
 * write to it: one try for each record and search, since there will be another
 * search.
 */


#include "ngx_http_cycles_settlement.h"


/* a power of two */
#define NGX_HTTP_CYCLES_REPLAY_KEYS  512


typedef struct {
    ngx_http_cycles_settlement_t   settlement;
    ngx_http_cycles_call_conf_t    conf;
} ngx_http_cycles_replay_t;


/* allocated at once: a server's tenant and the key it was last used with */

typedef struct {
    ngx_http_cycles_server_t      *server;
    ngx_str_t                      tenant;
    ngx_str_t                      api_key;
} ngx_http_cycles_replay_key_t;


static ngx_http_cycles_server_t *ngx_http_cycles_replay_server(
    cycles_str_t *base_url);
static ngx_http_cycles_replay_key_t **ngx_http_cycles_replay_slot(
    ngx_http_cycles_server_t *server, ngx_str_t *tenant);
static ngx_uint_t ngx_http_cycles_replay_same(
    ngx_http_cycles_replay_key_t *key, ngx_http_cycles_server_t *server,
    ngx_str_t *tenant);
static void ngx_http_cycles_replayed(ngx_http_cycles_settlement_t *st);


static ngx_http_cycles_replay_key_t
    *ngx_http_cycles_replay_keys[NGX_HTTP_CYCLES_REPLAY_KEYS];


ngx_int_t
ngx_http_cycles_replay(ngx_http_cycles_journal_entry_t *entry,
    cycles_journal_found_t *found)
{
    ngx_str_t                       tenant, key;
    ngx_pool_t                     *pool;
    ngx_http_core_loc_conf_t       *clcf;
    ngx_http_cycles_replay_t       *replay;
    ngx_http_cycles_server_t       *server;
    ngx_http_cycles_settlement_t   *st;
    ngx_http_cycles_replay_key_t  **slot;

    server = ngx_http_cycles_replay_server(&found->record.base_url);

    if (server == NULL) {
        return NGX_DECLINED;
    }

    tenant.len = found->terms.tenant.len;
    tenant.data = found->terms.tenant.data;

    key = server->api_key;

    if (server->dynamic_key) {
        slot = ngx_http_cycles_replay_slot(server, &tenant);

        if (!ngx_http_cycles_replay_same(*slot, server, &tenant)) {

            /* a request of this tenant will bring it */

            return NGX_DECLINED;
        }

        key = (*slot)->api_key;
    }

    pool = ngx_create_pool(2048, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_DECLINED;
    }

    replay = ngx_pcalloc(pool, sizeof(ngx_http_cycles_replay_t));
    if (replay == NULL) {
        ngx_destroy_pool(pool);
        return NGX_DECLINED;
    }

    replay->conf = server->call;
    replay->conf.retry_attempts = 0;

    st = &replay->settlement;

    clcf = server->conf_ctx->loc_conf[ngx_http_core_module.ctx_index];

    st->pool = pool;
    st->log = clcf->error_log;
    st->handler = ngx_http_cycles_replayed;
    st->server = server;
    st->conf = &replay->conf;

    st->op = (found->record.mode == CYCLES_JOURNAL_EVENT) ? CYCLES_OP_EVENT
                                                          : CYCLES_OP_COMMIT;

    st->id.len = found->record.reservation_id.len;
    st->id.data = found->record.reservation_id.data;
    st->key.len = found->terms.key.len;
    st->key.data = found->terms.key.data;
    st->body.len = found->record.commit_body.len;
    st->body.data = found->record.commit_body.data;
    st->event_body.len = found->record.event_body.len;
    st->event_body.data = found->record.event_body.data;

    st->api_key.len = key.len;
    st->api_key.data = ngx_pstrdup(pool, &key);
    if (st->api_key.data == NULL) {
        ngx_destroy_pool(pool);
        return NGX_DECLINED;
    }

    st->unit = found->terms.unit;
    st->amount = found->terms.amount;
    st->recorded_at_ms = found->record.recorded_at_ms;
    st->entry = entry;

    /* who has written it may have sent it as well */

    st->ambiguous = 1;

    ngx_log_error(NGX_LOG_NOTICE, st->log, 0,
                  "cycles: replaying the %s of reservation \"%V\" from the "
                  "journal", cycles_op_name(st->op), &st->id);

    ngx_http_cycles_settlement_start(st);

    return NGX_OK;
}


static void
ngx_http_cycles_replayed(ngx_http_cycles_settlement_t *st)
{
    if (st->outcome == NGX_HTTP_CYCLES_ANSWERED
        && st->settled.code == CYCLES_OK)
    {
        ngx_http_cycles_count(REPLAY_SETTLED);

    } else {
        ngx_http_cycles_count(REPLAY_FAILED);
    }

    ngx_destroy_pool(st->pool);
}


/* a record that names no server is of the first one */

static ngx_http_cycles_server_t *
ngx_http_cycles_replay_server(cycles_str_t *base_url)
{
    ngx_uint_t                  i;
    ngx_array_t                *servers;
    ngx_http_cycles_server_t  **server;

    servers = ngx_http_cycles_client_servers();
    server = servers->elts;

    for (i = 0; i < servers->nelts; i++) {

        if (base_url->len == 0
            || (base_url->len == server[i]->base_url.len
                && ngx_memcmp(base_url->data, server[i]->base_url.data,
                              base_url->len)
                   == 0))
        {
            return server[i];
        }
    }

    return NULL;
}


void
ngx_http_cycles_replay_remember(ngx_http_cycles_server_t *server,
    ngx_str_t *tenant, ngx_str_t *api_key)
{
    u_char                         *p;
    ngx_http_cycles_replay_key_t   *key, **slot;

    if (!server->dynamic_key) {
        return;
    }

    slot = ngx_http_cycles_replay_slot(server, tenant);
    key = *slot;

    if (key && ngx_http_cycles_replay_same(key, server, tenant)
        && key->api_key.len == api_key->len
        && ngx_memcmp(key->api_key.data, api_key->data, api_key->len) == 0)
    {
        return;
    }

    if (key) {
        ngx_explicit_memzero(key->api_key.data, key->api_key.len);
        ngx_free(key);
        *slot = NULL;
    }

    key = ngx_alloc(sizeof(ngx_http_cycles_replay_key_t) + tenant->len
                    + api_key->len, ngx_cycle->log);
    if (key == NULL) {
        return;
    }

    p = (u_char *) &key[1];

    key->server = server;
    key->tenant.data = p;
    key->tenant.len = tenant->len;

    p = ngx_cpymem(p, tenant->data, tenant->len);

    key->api_key.data = p;
    key->api_key.len = api_key->len;

    ngx_memcpy(p, api_key->data, api_key->len);

    *slot = key;

    ngx_http_cycles_journal_look();
}


void
ngx_http_cycles_replay_forget(void)
{
    ngx_uint_t                     i;
    ngx_http_cycles_replay_key_t  *key;

    for (i = 0; i < NGX_HTTP_CYCLES_REPLAY_KEYS; i++) {
        key = ngx_http_cycles_replay_keys[i];

        if (key) {
            ngx_explicit_memzero(key->api_key.data, key->api_key.len);
            ngx_free(key);

            ngx_http_cycles_replay_keys[i] = NULL;
        }
    }
}


static ngx_http_cycles_replay_key_t **
ngx_http_cycles_replay_slot(ngx_http_cycles_server_t *server,
    ngx_str_t *tenant)
{
    uint32_t  hash;

    ngx_crc32_init(hash);
    ngx_crc32_update(&hash, server->base_url.data, server->base_url.len);
    ngx_crc32_update(&hash, tenant->data, tenant->len);
    ngx_crc32_final(hash);

    return &ngx_http_cycles_replay_keys[hash & (NGX_HTTP_CYCLES_REPLAY_KEYS
                                                - 1)];
}


static ngx_uint_t
ngx_http_cycles_replay_same(ngx_http_cycles_replay_key_t *key,
    ngx_http_cycles_server_t *server, ngx_str_t *tenant)
{
    return key && key->server == server && key->tenant.len == tenant->len
           && ngx_memcmp(key->tenant.data, tenant->data, tenant->len) == 0;
}
