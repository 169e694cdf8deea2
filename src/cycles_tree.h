
/*
 * Copyright (C) nginx-cycles authors
 *
 * A small JSON text (RFC 8259) as a tree that is one array, in the order of
 * the text, so that reading it takes no allocation unless it is large.  Not
 * JSON are, as with jansson, two members of one name, U+0000, a whole number
 * that takes more than 64 bits, and one that no double is near to.
 */


#ifndef _CYCLES_TREE_H_INCLUDED_
#define _CYCLES_TREE_H_INCLUDED_


#include <string.h>

#include "cycles.h"


/* nodes that need no memory: a reply with the balances of seven scopes */

#define CYCLES_TREE_NODES    256

/* containers that are open, and members of one object; more is an error */

#define CYCLES_TREE_DEPTH    2048
#define CYCLES_TREE_MEMBERS  1024


typedef enum {
    CYCLES_TREE_NULL = 0,
    CYCLES_TREE_FALSE,
    CYCLES_TREE_TRUE,
    CYCLES_TREE_INTEGER,
    CYCLES_TREE_REAL,
    CYCLES_TREE_STRING,
    CYCLES_TREE_ARRAY,
    CYCLES_TREE_OBJECT
} cycles_tree_type_t;


/* what a container has follows it; cycles_tree_next() steps over it */

typedef struct {
    cycles_str_t         name;            /* of a member */

    union {
        cycles_str_t     text;            /* of a string */
        int64_t          integer;
        double           real;
        uint64_t         names;           /* while an object is open */
    } u;

    cycles_tree_type_t   type;
    uint32_t             count;           /* members or elements */
    uint32_t             span;            /* nodes, this one included */
} cycles_node_t;


typedef struct {
    cycles_node_t       *nodes;           /* the first one is the root */
    size_t               n;

    /* the reader's own state */

    size_t               size;
    unsigned char       *text;            /* of strings with escapes */
    size_t               used;
    cycles_node_t        few[CYCLES_TREE_NODES];
} cycles_tree_t;


/*
 * Reads the whole text, which the tree points into.  Returns 0, or -1: it is
 * not JSON, or there is no memory.  In both cases the tree is to be freed.
 */

int cycles_tree_parse(cycles_tree_t *tree, const unsigned char *text,
    size_t len);
void cycles_tree_free(cycles_tree_t *tree);


/* the value of a member; NULL: there is none, or it is not an object */

const cycles_node_t *cycles_tree_find(const cycles_node_t *object,
    const char *name, size_t len);


/* names are mostly known where this is compiled, and so are their lengths */

static inline const cycles_node_t *
cycles_tree_member(const cycles_node_t *object, const char *name)
{
    return cycles_tree_find(object, name, strlen(name));
}


/* the first of what a container has is the node behind it */

static inline const cycles_node_t *
cycles_tree_next(const cycles_node_t *node)
{
    return node + node->span;
}


#endif /* _CYCLES_TREE_H_INCLUDED_ */
