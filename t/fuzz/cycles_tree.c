
/*
 * Copyright (C) nginx-cycles authors
 *
 * What jansson takes for JSON, the tree does, and reads the same from it.  It
 * is stricter in two points: how many members an object may have, and a zero
 * behind a number, which jansson loses.
 */


#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "cycles_tree.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const cycles_node_t *node, json_t *value);
static void compare_array(const cycles_node_t *node, json_t *value);
static void compare_object(const cycles_node_t *node, json_t *value);
static void same(int cond);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t         *root;
    json_error_t    error;
    unsigned char  *copy;
    cycles_tree_t  *tree;

    /* of its exact size, and a tree that is not on the fuzzer's stack */

    copy = malloc(size ? size : 1);
    tree = malloc(sizeof(cycles_tree_t));

    if (copy == NULL || tree == NULL) {
        abort();
    }

    memcpy(copy, data, size);
    memset(tree, 0xa5, sizeof(cycles_tree_t));

    root = json_loadb((const char *) data, size,
                      JSON_REJECT_DUPLICATES|JSON_DECODE_ANY, &error);

    if (cycles_tree_parse(tree, copy, size) == 0) {
        same(root != NULL && tree->nodes->span == tree->n);
        compare(tree->nodes, root);

    } else {
        same(root == NULL || size > CYCLES_TREE_MEMBERS
             || memchr(data, '\0', size));
    }

    cycles_tree_free(tree);
    json_decref(root);
    free(tree);
    free(copy);

    return 0;
}


static void
compare(const cycles_node_t *node, json_t *value)
{
    switch (node->type) {

    case CYCLES_TREE_NULL:
        same(json_is_null(value));
        break;

    case CYCLES_TREE_FALSE:
        same(json_is_false(value));
        break;

    case CYCLES_TREE_TRUE:
        same(json_is_true(value));
        break;

    case CYCLES_TREE_INTEGER:
        same(json_is_integer(value)
             && json_integer_value(value) == node->u.integer);
        break;

    case CYCLES_TREE_REAL:
        same(json_is_real(value) && json_real_value(value) == node->u.real);
        break;

    case CYCLES_TREE_STRING:
        same(json_is_string(value)
             && json_string_length(value) == node->u.text.len
             && memcmp(json_string_value(value), node->u.text.data,
                       node->u.text.len)
                == 0);
        break;

    case CYCLES_TREE_ARRAY:
        compare_array(node, value);
        break;

    default: /* CYCLES_TREE_OBJECT */
        compare_object(node, value);
    }
}


static void
compare_array(const cycles_node_t *node, json_t *value)
{
    uint32_t              i;
    const cycles_node_t  *element;

    same(json_is_array(value) && json_array_size(value) == node->count);

    element = node + 1;

    for (i = 0; i < node->count; i++) {
        compare(element, json_array_get(value, i));
        element = cycles_tree_next(element);
    }

    same(element == cycles_tree_next(node));
}


static void
compare_object(const cycles_node_t *node, json_t *value)
{
    char                 *name;
    uint32_t              i;
    const cycles_node_t  *member;

    same(json_is_object(value) && json_object_size(value) == node->count);

    member = node + 1;

    for (i = 0; i < node->count; i++) {
        name = strndup((char *) member->name.data, member->name.len);

        same(name != NULL && cycles_tree_member(node, name) == member);

        compare(member, json_object_get(value, name));
        member = cycles_tree_next(member);

        free(name);
    }

    same(member == cycles_tree_next(node));
}


static void
same(int cond)
{
    if (!cond) {
        abort();
    }
}
