
/*
 * Copyright (C) nginx-cycles authors
 *
 * Price tables and the operator's own prices: their directives, and how they
 * are inherited.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <openssl/evp.h>

#include "ngx_http_cycles_module.h"


/* rows that are named when they are left out */

#define NGX_HTTP_CYCLES_PRICE_WARNINGS  20


typedef struct {
    ngx_conf_t                      *cf;
    ngx_uint_t                       rows;
} ngx_http_cycles_skipped_t;


static llm_prices_t *ngx_http_cycles_load_table(ngx_conf_t *cf,
    ngx_str_t *path);
static ngx_int_t ngx_http_cycles_identify_table(
    ngx_http_cycles_price_table_t *table, ngx_str_t *text);
static llm_prices_t *ngx_http_cycles_find_table(
    ngx_http_cycles_main_conf_t *cmcf, ngx_str_t *path);
static void ngx_http_cycles_compare_table(ngx_conf_t *cf,
    ngx_http_cycles_price_table_t *table);
static void ngx_http_cycles_price_warn(void *data, const char *text);
static void ngx_http_cycles_prices_cleanup(void *data);


char *
ngx_http_cycles_price_table(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t  *value;

    if (clcf->price_table.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    clcf->price_table = value[1];

    if (ngx_conf_full_name(cf->cycle, &clcf->price_table, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    /* loaded here so that the error names this line */

    if (ngx_http_cycles_load_table(cf, &clcf->price_table) == NULL) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_cycles_price(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    u_char                   *p;
    char                      err[NGX_MAX_CONF_ERRSTR];
    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_keyval_t             *kv;
    llm_prices_t             *probe;
    ngx_http_cycles_price_t  *price;

    value = cf->args->elts;

    if (clcf->prices_set == NGX_CONF_UNSET_PTR) {
        clcf->prices_set = ngx_array_create(cf->pool, 4,
                                            sizeof(ngx_http_cycles_price_t));
        if (clcf->prices_set == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    price = ngx_array_push(clcf->prices_set);
    if (price == NULL) {
        return NGX_CONF_ERROR;
    }

    price->model = value[1];

    if (ngx_array_init(&price->fields, cf->pool, cf->args->nelts - 2,
                       sizeof(ngx_keyval_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* checked against an empty set here so that the error names this line */

    probe = llm_prices_create(NULL);
    if (probe == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        p = (u_char *) ngx_strchr(value[i].data, '=');

        if (p == NULL) {
            llm_prices_destroy(probe);
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\" in \"cycles_price\": "
                               "write FIELD=USD per unit, as in "
                               "\"input_cost_per_token=1.5e-07\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        kv = ngx_array_push(&price->fields);
        if (kv == NULL) {
            llm_prices_destroy(probe);
            return NGX_CONF_ERROR;
        }

        kv->key.data = value[i].data;
        kv->key.len = p - value[i].data;
        kv->value.data = p + 1;
        kv->value.len = value[i].data + value[i].len - p - 1;

        if (llm_prices_set(probe, (char *) value[1].data, value[1].len,
                           (char *) kv->key.data, kv->key.len,
                           (char *) kv->value.data, kv->value.len, err,
                           sizeof(err))
            != LLM_OK)
        {
            llm_prices_destroy(probe);
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"cycles_price\": %s, write FIELD=USD "
                               "per unit, as in "
                               "\"input_cost_per_token=1.5e-07\"", err);
            return NGX_CONF_ERROR;
        }
    }

    llm_prices_destroy(probe);

    return NGX_CONF_OK;
}


char *
ngx_http_cycles_model_alias(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_str_t     *value;
    ngx_uint_t     i;
    ngx_keyval_t  *kv;

    value = cf->args->elts;

    if (value[1].len && value[1].len == value[2].len
        && ngx_strncmp(value[1].data, value[2].data, value[1].len) == 0)
    {
        return "makes a model an alias of itself: name another model, one "
               "that has a price";
    }

    if (value[1].len == 0 || value[2].len == 0) {
        return "has an empty parameter: give the name that clients use, and "
               "the model whose price is taken";
    }

    if (clcf->aliases == NGX_CONF_UNSET_PTR) {
        clcf->aliases = ngx_array_create(cf->pool, 4, sizeof(ngx_keyval_t));
        if (clcf->aliases == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    kv = clcf->aliases->elts;

    for (i = 0; i < clcf->aliases->nelts; i++) {
        if (kv[i].key.len == value[1].len
            && ngx_strncmp(kv[i].key.data, value[1].data, value[1].len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate name \"%V\" in "
                               "\"cycles_model_alias\": give it once",
                               &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    kv = ngx_array_push(clcf->aliases);
    if (kv == NULL) {
        return NGX_CONF_ERROR;
    }

    kv->key = value[1];
    kv->value = value[2];

    return NGX_CONF_OK;
}


static llm_prices_t *
ngx_http_cycles_load_table(ngx_conf_t *cf, ngx_str_t *path)
{
    char                            err[NGX_MAX_CONF_ERRSTR];
    ngx_str_t                       text;
    llm_prices_t                   *prices;
    ngx_pool_cleanup_t             *cln;
    ngx_http_cycles_skipped_t       skipped;
    ngx_http_cycles_main_conf_t    *cmcf;
    ngx_http_cycles_price_table_t  *table;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cycles_module);

    prices = ngx_http_cycles_find_table(cmcf, path);

    if (prices) {
        return prices;
    }

    if (ngx_http_cycles_read_file(cf, path, &text) != NGX_OK) {
        return NULL;
    }

    table = ngx_array_push(&cmcf->price_tables);
    if (table == NULL) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    table->path = *path;
    table->prices = llm_prices_create(NULL);

    if (table->prices == NULL
        || ngx_http_cycles_identify_table(table, &text) != NGX_OK)
    {
        return NULL;
    }

    cln->handler = ngx_http_cycles_prices_cleanup;
    cln->data = table->prices;

    skipped.cf = cf;
    skipped.rows = 0;

    if (llm_prices_load(table->prices, (char *) text.data, text.len,
                        ngx_http_cycles_price_warn, &skipped, err,
                        sizeof(err))
        != LLM_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "file \"%V\" of \"cycles_price_table\": %s", path,
                           err);
        return NULL;
    }

    if (skipped.rows > NGX_HTTP_CYCLES_PRICE_WARNINGS) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "price table: %ui rows of \"%V\" are left out, the "
                           "first %d are named above", skipped.rows, path,
                           NGX_HTTP_CYCLES_PRICE_WARNINGS);
    }

    ngx_http_cycles_compare_table(cf, table);

    return table->prices;
}


/* which one it is, for those who look at what runs */

static ngx_int_t
ngx_http_cycles_identify_table(ngx_http_cycles_price_table_t *table,
    ngx_str_t *text)
{
    u_char           digest[EVP_MAX_MD_SIZE];
    ngx_file_info_t  fi;

    if (EVP_Digest(text->data, text->len, digest, NULL, EVP_sha256(), NULL)
        != 1)
    {
        return NGX_ERROR;
    }

    ngx_hex_dump(table->sha256, digest, sizeof(table->sha256) / 2);

    table->modified = (ngx_file_info(table->path.data, &fi) == NGX_FILE_ERROR)
                      ? 0 : ngx_file_mtime(&fi);

    return NGX_OK;
}


static llm_prices_t *
ngx_http_cycles_find_table(ngx_http_cycles_main_conf_t *cmcf, ngx_str_t *path)
{
    ngx_uint_t                      i;
    ngx_http_cycles_price_table_t  *table;

    table = cmcf->price_tables.elts;

    for (i = 0; i < cmcf->price_tables.nelts; i++) {
        if (table[i].path.len == path->len
            && ngx_strncmp(table[i].path.data, path->data, path->len) == 0)
        {
            return table[i].prices;
        }
    }

    return NULL;
}


static void
ngx_http_cycles_price_warn(void *data, const char *text)
{
    ngx_http_cycles_skipped_t *skipped = data;

    if (skipped->rows++ < NGX_HTTP_CYCLES_PRICE_WARNINGS) {
        ngx_conf_log_error(NGX_LOG_WARN, skipped->cf, 0, "%s", text);
    }
}


/*
 * On a reload, with what the running configuration has read from the same
 * file: half of a table is more likely a download that went wrong.
 */

static void
ngx_http_cycles_compare_table(ngx_conf_t *cf,
    ngx_http_cycles_price_table_t *table)
{
    size_t                        before;
    ngx_uint_t                    i;
    ngx_cycle_t                  *old;
    llm_prices_t                 *prices;
    llm_price_changes_t           changes;
    ngx_http_cycles_main_conf_t  *cmcf;

    old = cf->cycle->old_cycle;

    if (old == NULL || ngx_is_init_cycle(old) || old->modules == NULL) {
        return;
    }

    /* a module that has been replaced meanwhile has its own configuration */

    for (i = 0; old->modules[i]; i++) {
        if (old->modules[i] == &ngx_http_cycles_module) {
            break;
        }
    }

    if (old->modules[i] == NULL) {
        return;
    }

    cmcf = ngx_http_cycle_get_module_main_conf(old, ngx_http_cycles_module);

    prices = cmcf ? ngx_http_cycles_find_table(cmcf, &table->path) : NULL;

    if (prices == NULL) {
        return;
    }

    before = llm_prices_count(prices);

    llm_prices_compare(prices, table->prices, &changes);

    if (changes.models < before / 2) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "price table \"%V\" has %uz models, and had %uz "
                           "before this reload: requests for the others have "
                           "no price any more; if that is not meant, put the "
                           "whole table back and reload", &table->path,
                           changes.models, before);
    }

    if (changes.added || changes.removed || changes.changed) {
        ngx_log_error(NGX_LOG_NOTICE, cf->log, 0,
                      "price table \"%V\": %uz models, %uz new, %uz gone, %uz "
                      "with another price", &table->path, changes.models,
                      changes.added, changes.removed, changes.changed);
    }
}


static void
ngx_http_cycles_prices_cleanup(void *data)
{
    llm_prices_destroy(data);
}


char *
ngx_http_cycles_merge_prices(ngx_conf_t *cf, ngx_http_cycles_loc_conf_t *prev,
    ngx_http_cycles_loc_conf_t *conf)
{
    char                      err[NGX_MAX_CONF_ERRSTR];
    ngx_uint_t                i, j;
    ngx_keyval_t             *kv;
    llm_prices_t             *table;
    ngx_pool_cleanup_t       *cln;
    ngx_http_cycles_price_t  *price;

    if (conf->price_table.data == NULL
        && conf->prices_set == NGX_CONF_UNSET_PTR
        && conf->aliases == NGX_CONF_UNSET_PTR
        && prev->prices)
    {
        conf->price_table = prev->price_table;
        conf->prices_set = prev->prices_set;
        conf->aliases = prev->aliases;
        conf->prices = prev->prices;
        return NGX_CONF_OK;
    }

    ngx_conf_merge_str_value(conf->price_table, prev->price_table, "");
    ngx_conf_merge_ptr_value(conf->prices_set, prev->prices_set, NULL);
    ngx_conf_merge_ptr_value(conf->aliases, prev->aliases, NULL);

    if (conf->price_table.len == 0 && conf->prices_set == NULL
        && conf->aliases == NULL)
    {
        return NGX_CONF_OK;
    }

    table = NULL;

    if (conf->price_table.len) {
        table = ngx_http_cycles_load_table(cf, &conf->price_table);
        if (table == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->prices = llm_prices_create(table);
    if (conf->prices == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_http_cycles_prices_cleanup;
    cln->data = conf->prices;

    if (conf->prices_set) {
        price = conf->prices_set->elts;

        for (i = 0; i < conf->prices_set->nelts; i++) {
            kv = price[i].fields.elts;

            for (j = 0; j < price[i].fields.nelts; j++) {
                if (llm_prices_set(conf->prices, (char *) price[i].model.data,
                                   price[i].model.len, (char *) kv[j].key.data,
                                   kv[j].key.len, (char *) kv[j].value.data,
                                   kv[j].value.len, err, sizeof(err))
                    != LLM_OK)
                {
                    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                                  "invalid \"cycles_price\": %s", err);
                    return NGX_CONF_ERROR;
                }
            }
        }
    }

    if (conf->aliases) {
        kv = conf->aliases->elts;

        for (i = 0; i < conf->aliases->nelts; i++) {
            if (llm_prices_alias(conf->prices, (char *) kv[i].key.data,
                                 kv[i].key.len, (char *) kv[i].value.data,
                                 kv[i].value.len)
                != LLM_OK)
            {
                return NGX_CONF_ERROR;
            }
        }
    }

    return NGX_CONF_OK;
}
