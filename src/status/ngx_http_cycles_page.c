
/*
 * Copyright (C) nginx-cycles authors
 *
 * The page of "cycles_status": status.html as it is.  Its policy lets it run
 * its own script and style, known by their digests, and ask nobody but the
 * location that it came from.
 */


#include <openssl/evp.h>

#include "ngx_http_cycles_page.h"


#define NGX_HTTP_CYCLES_DIGEST  (sizeof("'sha256-'") - 1 + 44)


/* the file is a part of this object, and the path to it is from "config" */

__asm__ (
    ".pushsection .rodata\n"
    ".balign 16\n"
    "ngx_http_cycles_page_begin:\n"
    ".incbin \"" NGX_HTTP_CYCLES_PAGE "\"\n"
    "ngx_http_cycles_page_end:\n"
    ".popsection\n"
);

extern const u_char  ngx_http_cycles_page_begin[]
    __attribute__((visibility("hidden")));
extern const u_char  ngx_http_cycles_page_end[]
    __attribute__((visibility("hidden")));


static u_char *ngx_http_cycles_page_digest(u_char *p, const char *element);


void
ngx_http_cycles_page(ngx_str_t *page)
{
    page->data = (u_char *) ngx_http_cycles_page_begin;
    page->len = ngx_http_cycles_page_end - ngx_http_cycles_page_begin;
}


ngx_int_t
ngx_http_cycles_page_policy(ngx_pool_t *pool, ngx_str_t *policy)
{
    u_char  *p;

    policy->data = ngx_pnalloc(pool, 256 + 2 * NGX_HTTP_CYCLES_DIGEST);
    if (policy->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(policy->data, "default-src 'none'; script-src ");
    p = ngx_http_cycles_page_digest(p, "script");

    if (p) {
        p = ngx_sprintf(p, "; style-src ");
        p = ngx_http_cycles_page_digest(p, "style");
    }

    if (p == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(p, "; connect-src 'self'; img-src data:; base-uri 'none'; "
                    "form-action 'none'; frame-ancestors 'none'");

    policy->len = p - policy->data;

    return NGX_OK;
}


/* of what is between the tags of the only such element */

static u_char *
ngx_http_cycles_page_digest(u_char *p, const char *element)
{
    u_char     tag[16], digest[EVP_MAX_MD_SIZE], *begin, *end;
    ngx_str_t  page, from, to;

    ngx_http_cycles_page(&page);

    ngx_sprintf(tag, "<%s>%Z", element);
    begin = ngx_strlcasestrn(page.data, page.data + page.len, tag,
                             ngx_strlen(tag) - 1);

    ngx_sprintf(tag, "</%s>%Z", element);
    end = begin ? ngx_strlcasestrn(begin, page.data + page.len, tag,
                                   ngx_strlen(tag) - 1)
                : NULL;

    if (end == NULL) {
        return NULL;
    }

    begin += ngx_strlen(tag) - 1;

    if (EVP_Digest(begin, end - begin, digest, NULL, EVP_sha256(), NULL) != 1)
    {
        return NULL;
    }

    from.data = digest;
    from.len = 32;

    p = ngx_cpymem(p, "'sha256-", sizeof("'sha256-") - 1);

    to.data = p;
    ngx_encode_base64(&to, &from);

    p += to.len;
    *p++ = '\'';

    return p;
}
