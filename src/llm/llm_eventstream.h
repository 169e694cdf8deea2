
/*
 * Copyright (C) nginx-cycles authors
 *
 * Messages of application/vnd.amazon.eventstream: big-endian lengths, headers
 * and a payload between two checksums (CRC-32 of zlib).
 */


#ifndef _LLM_EVENTSTREAM_H_INCLUDED_
#define _LLM_EVENTSTREAM_H_INCLUDED_


#include "llm.h"


/* a longer message is an error, as it is to AWS's own SDKs */

#define LLM_EVENTSTREAM_MAX    (24 * 1024 * 1024)

#define LLM_EVENTSTREAM_TEXT   48


typedef enum {
    LLM_EVENTSTREAM_ERROR = -1,           /* nothing more can be read */
    LLM_EVENTSTREAM_AGAIN = 0,            /* all bytes are read */
    LLM_EVENTSTREAM_HEADER,               /* name and value */
    LLM_EVENTSTREAM_PAYLOAD,              /* text: a piece */
    LLM_EVENTSTREAM_END                   /* both checksums are right */
} llm_eventstream_event_t;


typedef struct {

    /*
     * Of a header that has a string, until the next call; what has no room
     * is cut off.
     */

    size_t                name_len;
    size_t                value_len;
    unsigned char         name[LLM_EVENTSTREAM_TEXT];
    unsigned char         value[LLM_EVENTSTREAM_TEXT];

    /* of a piece of the payload, until the next call */

    const unsigned char  *text;
    size_t                len;

    /* the reader's own state */

    unsigned              state;
    uint32_t              crc;
    uint32_t              headers;        /* bytes left */
    uint32_t              payload;        /* bytes left */
    uint32_t              left;           /* of what is being read */
    unsigned              type;
    unsigned              got;
    unsigned char         number[12];
} llm_eventstream_t;


/* ready for the first byte of a message */

void llm_eventstream_init(llm_eventstream_t *es);


/*
 * The next event of the bytes from *pos; *pos moves behind what was read.
 * After LLM_EVENTSTREAM_ERROR every further call gives it again.
 */

int llm_eventstream_next(llm_eventstream_t *es, const unsigned char **pos,
    const unsigned char *last);


/* whether the bytes have ended between two messages */

int llm_eventstream_complete(const llm_eventstream_t *es);


#endif /* _LLM_EVENTSTREAM_H_INCLUDED_ */
