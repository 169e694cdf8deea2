
/*
 * Copyright (C) nginx-cycles authors
 *
 * The parts of a multipart/form-data body (RFC 7578), in any portions.
 */


#ifndef _LLM_FORM_H_INCLUDED_
#define _LLM_FORM_H_INCLUDED_


#include "llm.h"


/* RFC 2046 has boundaries of up to 70 characters */

#define LLM_FORM_BOUNDARY  70

/* what is kept of a line of a header */

#define LLM_FORM_LINE      256


typedef enum {
    LLM_FORM_ERROR = -1,                  /* it is no form */
    LLM_FORM_AGAIN = 0,                   /* all bytes are read */
    LLM_FORM_PART,                        /* one begins: name, file */
    LLM_FORM_DATA,                        /* text: a piece of it */
    LLM_FORM_PART_END,
    LLM_FORM_END                          /* the last part has ended */
} llm_form_event_t;


typedef struct {

    /* of a part */

    const unsigned char  *name;
    size_t                name_len;
    unsigned              file:1;         /* it has a file name */

    /* of a piece, until the next call */

    const unsigned char  *text;
    size_t                len;

    /* the reader's own state */

    unsigned              in_part:1;
    unsigned              state;
    unsigned              matched;        /* bytes of the delimiter */
    unsigned              dashes;
    size_t                line_len;
    size_t                delimiter_len;
    unsigned char         delimiter[4 + LLM_FORM_BOUNDARY];
    unsigned char         line[LLM_FORM_LINE];
    unsigned char         part[LLM_FORM_LINE];
} llm_form_t;


/*
 * Ready for the first byte of a body of that Content-Type.  LLM_ERROR: this
 * is not multipart/form-data, or it has no boundary that can be one.
 */

int llm_form_init(llm_form_t *form, const unsigned char *type, size_t len);


/* the next event of the bytes from *pos, which moves behind what was read */

int llm_form_next(llm_form_t *form, const unsigned char **pos,
    const unsigned char *last);


#endif /* _LLM_FORM_H_INCLUDED_ */
