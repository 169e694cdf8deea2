
/*
 * Copyright (C) nginx-cycles authors
 *
 * The head of a reply of a Cycles server, where it says nothing but what most
 * do.  Whatever else there may be in one is for nginx to read.
 */


#ifndef _CYCLES_HEAD_H_INCLUDED_
#define _CYCLES_HEAD_H_INCLUDED_


#include "../cycles.h"


typedef struct {
    unsigned      status;
    size_t        size;               /* of the head: the body follows it */
    size_t        content_length;
    cycles_str_t  request_id;         /* empty: there is none */
    cycles_str_t  trace_id;
    cycles_str_t  retry_after;
    unsigned      close:1;            /* the connection ends with it */
} cycles_head_t;


/*
 * Returns 0, or -1: it is not whole, not valid, not HTTP/1.1, has no length of
 * the body, or has a field that says more of the body or of what nginx has to
 * do.  The texts are in what was read.
 */

int cycles_head_read(cycles_head_t *head, const unsigned char *text,
    size_t len);


#endif /* _CYCLES_HEAD_H_INCLUDED_ */
