
/*
 * Copyright (C) nginx-cycles authors
 *
 * The shared memory of "cycles_zone": areas of fixed size that others ask for
 * when the configuration is read, and find again after a reload.
 */


#ifndef _NGX_HTTP_CYCLES_ZONE_H_INCLUDED_
#define _NGX_HTTP_CYCLES_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct {
    ngx_str_t       name;
    size_t          size;
    void           *data;     /* once the zone is there; NULL before that and
                                 under "nginx -t" */
} ngx_http_cycles_area_t;


/*
 * Asks for an area, zeroed when it is new.  One that was there under the same
 * name and with the same size before a reload keeps its contents, unless the
 * size of the zone has changed.  Asking twice for one name gives the same
 * area.  To be called when the directives of the http block have been read:
 * while configurations are merged, or after.  NULL: no memory, or two sizes
 * for one name.
 */

ngx_http_cycles_area_t *ngx_http_cycles_zone_area(ngx_conf_t *cf,
    ngx_str_t *name, size_t size);


/* has workers count; to be called as ngx_http_cycles_zone_area() */

ngx_int_t ngx_http_cycles_zone_count(ngx_conf_t *cf);


extern ngx_module_t  ngx_http_cycles_zone_module;


#endif /* _NGX_HTTP_CYCLES_ZONE_H_INCLUDED_ */
