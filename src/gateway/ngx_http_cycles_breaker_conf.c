
/*
 * Copyright (C) nginx-cycles authors
 *
 * When to stop asking an authority that does not answer.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_module.h"


char *
ngx_http_cycles_breaker(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cycles_loc_conf_t *clcf = conf;

    ngx_int_t                        n;
    ngx_str_t                       *value, s;
    ngx_uint_t                       i;
    ngx_http_cycles_breaker_conf_t  *breaker;

    breaker = &clcf->breaker;

    if (breaker->failures != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    ngx_http_cycles_breaker_default(breaker);

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        breaker->failures = 0;
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        s.data = (u_char *) ngx_strchr(value[i].data, '=');

        if (s.data == NULL) {
            goto invalid;
        }

        s.data++;
        s.len = value[i].data + value[i].len - s.data;

        if (ngx_strncmp(value[i].data, "failures=", 9) == 0) {
            n = ngx_atoi(s.data, s.len);

            if (n < 1 || n > 1000) {
                goto invalid;
            }

            breaker->failures = n;
            continue;
        }

        n = ngx_parse_time(&s, 0);

        if (n < 1 || n > 600000) {
            goto invalid;
        }

        if (ngx_strncmp(value[i].data, "slow=", 5) == 0) {
            breaker->slow = n;
            continue;
        }

        if (ngx_strncmp(value[i].data, "open=", 5) == 0) {
            breaker->open = n;
            continue;
        }

        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"cycles_breaker\": there "
                       "are failures=NUMBER from 1 to 1000, slow=TIME and "
                       "open=TIME from 1ms to 10m, or \"off\" alone",
                       &value[i]);
    return NGX_CONF_ERROR;
}


void
ngx_http_cycles_breaker_default(ngx_http_cycles_breaker_conf_t *breaker)
{
    breaker->failures = 5;
    breaker->slow = 2000;
    breaker->open = 5000;
}
