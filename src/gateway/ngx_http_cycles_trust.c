
/*
 * Copyright (C) nginx-cycles authors
 *
 * A request that an earlier hop has reserved for already, and says so: it is
 * not charged twice.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


static ngx_uint_t ngx_http_cycles_trusted_hop(ngx_http_request_t *r,
    ngx_http_cycles_trust_t *trust);
static ngx_table_elt_t *ngx_http_cycles_find_header(ngx_http_request_t *r,
    ngx_str_t *name);
static char *ngx_http_cycles_trust_secret(ngx_conf_t *cf,
    ngx_http_cycles_trust_t *trust, ngx_str_t *value);
static char *ngx_http_cycles_trust_address(ngx_conf_t *cf,
    ngx_http_cycles_trust_t *trust, ngx_str_t *value);


static ngx_str_t  ngx_http_cycles_id_header =
    ngx_string("X-Cycles-Reservation-Id");
static ngx_str_t  ngx_http_cycles_secret_header =
    ngx_string("X-Cycles-Reservation-Secret");


ngx_uint_t
ngx_http_cycles_trusts(ngx_http_request_t *r, ngx_http_cycles_ctx_t *ctx)
{
    ngx_table_elt_t          *h;
    ngx_http_cycles_trust_t  *trust;

    trust = ctx->conf->trust;

    if (trust == NULL || !ngx_http_cycles_trusted_hop(r, trust)) {
        return 0;
    }

    h = ngx_http_cycles_find_header(r, &ngx_http_cycles_id_header);

    if (h == NULL || h->value.len == 0) {
        return 0;
    }

    ctx->reservation_id = h->value;

    return 1;
}


static ngx_uint_t
ngx_http_cycles_trusted_hop(ngx_http_request_t *r,
    ngx_http_cycles_trust_t *trust)
{
    u_char            diff;
    size_t            i;
    ngx_table_elt_t  *h;

    if (trust->secret.len) {

        h = ngx_http_cycles_find_header(r, &ngx_http_cycles_secret_header);

        if (h) {
            diff = (h->value.len != trust->secret.len);

            /* in the same time for each value of the right length */

            for (i = 0; i < h->value.len && i < trust->secret.len; i++) {
                diff |= h->value.data[i] ^ trust->secret.data[i];
            }

            /* the provider is not told */

            ngx_str_set(&h->value, "");

            if (diff == 0) {
                return 1;
            }
        }
    }

    return trust->addresses
           && ngx_cidr_match(r->connection->sockaddr, trust->addresses)
              == NGX_OK;
}


static ngx_table_elt_t *
ngx_http_cycles_find_header(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].key.len == name->len
                && ngx_strncasecmp(h[i].key.data, name->data, name->len) == 0)
            {
                return &h[i];
            }
        }
    }

    return NULL;
}


char *
ngx_http_cycles_trust_reservation(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    char                     *rv;
    ngx_str_t                *value;
    ngx_uint_t                i;
    ngx_http_cycles_trust_t  *trust;

    if (clcf->trust != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        clcf->trust = NULL;
        return NGX_CONF_OK;
    }

    trust = ngx_pcalloc(cf->pool, sizeof(ngx_http_cycles_trust_t));
    if (trust == NULL) {
        return NGX_CONF_ERROR;
    }

    clcf->trust = trust;

    for (i = 1; i < cf->args->nelts; i++) {

        rv = (ngx_strncmp(value[i].data, "secret=", 7) == 0)
             ? ngx_http_cycles_trust_secret(cf, trust, &value[i])
             : ngx_http_cycles_trust_address(cf, trust, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_trust_secret(ngx_conf_t *cf, ngx_http_cycles_trust_t *trust,
    ngx_str_t *value)
{
    ngx_str_t  name, text;

    text.data = value->data + 7;
    text.len = value->len - 7;

    if (text.len > 5 && ngx_strncmp(text.data, "file:", 5) == 0) {
        name.data = text.data + 5;
        name.len = text.len - 5;

        if (ngx_http_cycles_read_file(cf, &name, &text) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        while (text.len && text.data[text.len - 1] <= ' ') {
            text.len--;
        }

        /* what was read dies with the reading of the configuration */

        text.data = ngx_pstrdup(cf->pool, &text);
        if (text.data == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (text.len < 16) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the secret of \"cycles_trust_reservation\" is too "
                           "short: give 16 characters or more, as in "
                           "\"secret=file:PATH\"");
        return NGX_CONF_ERROR;
    }

    trust->secret = text;

    return NGX_CONF_OK;
}


static char *
ngx_http_cycles_trust_address(ngx_conf_t *cf, ngx_http_cycles_trust_t *trust,
    ngx_str_t *value)
{
    ngx_int_t    rc;
    ngx_cidr_t  *cidr;

    if (trust->addresses == NULL) {
        trust->addresses = ngx_array_create(cf->pool, 2, sizeof(ngx_cidr_t));
        if (trust->addresses == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    cidr = ngx_array_push(trust->addresses);
    if (cidr == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(cidr, sizeof(ngx_cidr_t));

#if (NGX_HAVE_UNIX_DOMAIN)

    if (ngx_strcmp(value->data, "unix:") == 0) {
        cidr->family = AF_UNIX;
        return NGX_CONF_OK;
    }

#endif

    rc = ngx_ptocidr(value, cidr);

    if (rc == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in "
                           "\"cycles_trust_reservation\": write addresses of "
                           "hops as in \"192.0.2.1\", \"10.0.0.0/8\" or "
                           "\"unix:\", \"secret=file:PATH\", or \"off\" alone",
                           value);
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_DONE) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "low address bits of %V are meaningless", value);
    }

    return NGX_CONF_OK;
}
