
/*
 * Copyright (C) nginx-cycles authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_cycles_conf.h"


ngx_int_t
ngx_http_cycles_complex_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *cv)
{
    ngx_http_compile_complex_value_t  ccv;

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = value;
    ccv.complex_value = cv;

    return ngx_http_compile_complex_value(&ccv);
}


ngx_int_t
ngx_http_cycles_secret_value(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_complex_value_t *cv)
{
    ngx_str_t  *directive, name, text;

    if (value->len < 6 || ngx_strncmp(value->data, "file:", 5) != 0) {
        return ngx_http_cycles_complex_value(cf, value, cv);
    }

    name.data = value->data + 5;
    name.len = value->len - 5;

    if (ngx_http_cycles_read_file(cf, &name, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    while (text.len && text.data[text.len - 1] <= ' ') {
        text.len--;
    }

    if (text.len == 0) {
        directive = cf->args->elts;

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "file \"%V\" of \"%V\" is empty: put the API key "
                           "into it", &name, directive);
        return NGX_ERROR;
    }

    /* what was read dies with the reading of the configuration */

    cv->value.len = text.len;
    cv->value.data = ngx_pstrdup(cf->pool, &text);

    return cv->value.data ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_cycles_read_file(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    size_t           size;
    ssize_t          n;
    ngx_str_t       *directive;
    ngx_file_t       file;
    ngx_file_info_t  fi;

    directive = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *name;
    file.log = cf->log;

    file.fd = ngx_open_file(name->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" of \"%V\" failed, give a "
                           "file that nginx can read", name, directive);
        return NGX_ERROR;
    }

    if (ngx_fd_info(file.fd, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" of \"%V\" failed", name,
                           directive);
        goto failed;
    }

    if (ngx_file_size(&fi) > 256 * 1024 * 1024) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "file \"%V\" of \"%V\" is too large: 256 MB at "
                           "most", name, directive);
        goto failed;
    }

    size = (size_t) ngx_file_size(&fi);

    text->data = ngx_pnalloc(cf->temp_pool, size + 1);
    if (text->data == NULL) {
        goto failed;
    }

    n = ngx_read_file(&file, text->data, size, 0);

    if (n == NGX_ERROR || (size_t) n != size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "can't read file \"%V\" of \"%V\" as a whole, give "
                           "a regular file", name, directive);
        goto failed;
    }

    text->len = size;

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    return NGX_OK;

failed:

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    return NGX_ERROR;
}
