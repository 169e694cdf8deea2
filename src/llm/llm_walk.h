
/*
 * Copyright (C) nginx-cycles authors
 *
 * The members of a JSON text that matter, as a tree of tables, and a reader
 * that stops at these only.  A dialect is such a tree.
 */


#ifndef _LLM_WALK_H_INCLUDED_
#define _LLM_WALK_H_INCLUDED_


#include "llm_json.h"


/* containers that one path through a tree may enter */

#define LLM_WALK_DEPTH      12


/* llm_member_t.flags: where the reader looks into a value */

#define LLM_WALK_OBJECT     0x01          /* into an object */
#define LLM_WALK_ARRAY      0x02          /* into each object of an array */
#define LLM_WALK_ALL        0x04          /* into everything, at any depth */

/* nearly all texts have it, and nobody asks for it: as one that is not there */

#define LLM_WALK_IGNORED    0x08


typedef struct llm_member_s  llm_member_t;

struct llm_member_s {
    const char           *name;
    uint64_t              word;           /* its first eight bytes */
    unsigned char         len;
    unsigned char         kind;           /* what its value means */
    unsigned char         flags;
    unsigned char         slot;           /* which one of its kind */
    const llm_member_t   *members;        /* ended by an empty name */
    const char           *twice;          /* sentence for a duplicate */
    const char           *wrong;          /* sentence for a wrong type */
};

#define llm_members_end  { NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL }

/* the word and the length of a name; what it is too short for is zero */

#if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#define LLM_WALK_SHIFT(i)  (8 * (i))
#else
#define LLM_WALK_SHIFT(i)  (56 - 8 * (i))
#endif

#define llm_member_byte(name, i)                                              \
    ((uint64_t) (sizeof(name) > (i) + 1                                       \
                 ? (unsigned char) (name)[sizeof(name) > (i) ? (i) : 0] : 0)  \
     << LLM_WALK_SHIFT(i))

#define llm_member_word(name)                                                 \
    llm_member_byte(name, 0) | llm_member_byte(name, 1)                       \
    | llm_member_byte(name, 2) | llm_member_byte(name, 3)                     \
    | llm_member_byte(name, 4) | llm_member_byte(name, 5)                     \
    | llm_member_byte(name, 6) | llm_member_byte(name, 7)

#define llm_member_name(name)  name, llm_member_word(name), sizeof(name) - 1


typedef struct {
    llm_json_t            json;

    /* of the event that was returned */

    const llm_member_t   *member;
    unsigned              element;        /* of the member's array */
    uint64_t              key;            /* where its key begins */

    /* the reader's own state */

    unsigned              depth;
    unsigned              all;
    uint64_t              hashes;         /* of the names below the root */
    const llm_member_t   *root;
    const llm_member_t   *at[LLM_WALK_DEPTH];
    uint64_t             *begin;          /* of each; NULL: not wanted */
    unsigned char         array[LLM_WALK_DEPTH];
    unsigned char         strict;
} llm_walk_t;


/* ready for the first byte of a text whose members are those of root */

void llm_walk_init(llm_walk_t *w, const llm_member_t *root, int strict);


/*
 * From here on begin, which is the caller's and of LLM_WALK_DEPTH, has where
 * the containers begin that are open.
 */

void llm_walk_places(llm_walk_t *w, uint64_t *begin);


/* ready for another text of that kind */

void llm_walk_again(llm_walk_t *w);


/*
 * As llm_json_next(), but only of values of members in the tree, w->member
 * being the one, and no objects and arrays of kind 0 below the root.  An
 * object or array that is not looked into gives only its begin.  LLM_JSON_KEY
 * comes below LLM_WALK_ALL, and with w->member NULL for a member of the root
 * that the tree does not have.
 */

int llm_walk_next(llm_walk_t *w, const unsigned char **pos,
    const unsigned char *last);


#endif /* _LLM_WALK_H_INCLUDED_ */
