
/*
 * Copyright (C) nginx-cycles authors
 */


#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_tree.h"


/* no container is open */

#define CYCLES_TREE_NONE  UINT32_MAX

/* the longest number that is copied without an allocation */

#define CYCLES_TREE_REAL_LEN  64


typedef struct {
    cycles_tree_t        *tree;
    const unsigned char  *p;
    const unsigned char  *last;
    size_t                len;            /* of all of it */
    uint32_t              open;           /* the innermost container */
    uint32_t              depth;
} cycles_tree_reader_t;


static int cycles_tree_read(cycles_tree_reader_t *rd);
static int cycles_tree_value(cycles_tree_reader_t *rd, cycles_node_t *node);
static int cycles_tree_between(cycles_tree_reader_t *rd);
static void cycles_tree_begin(cycles_tree_reader_t *rd, cycles_node_t *node,
    cycles_tree_type_t type);
static void cycles_tree_end(cycles_tree_reader_t *rd);
static cycles_node_t *cycles_tree_node(cycles_tree_reader_t *rd);
static int cycles_tree_name(cycles_tree_reader_t *rd, cycles_str_t *name);
static int cycles_tree_twice(cycles_tree_reader_t *rd,
    const cycles_str_t *name);
static int cycles_tree_string(cycles_tree_reader_t *rd, cycles_str_t *text);
static int cycles_tree_escaped(cycles_tree_reader_t *rd,
    const unsigned char *begin, cycles_str_t *text);
static unsigned char *cycles_tree_escape(cycles_tree_reader_t *rd,
    unsigned char *to);
static unsigned char *cycles_tree_unicode(cycles_tree_reader_t *rd,
    unsigned char *to);
static int cycles_tree_hex(cycles_tree_reader_t *rd, uint32_t *code);
static int cycles_tree_number(cycles_tree_reader_t *rd, cycles_node_t *node);
static int cycles_tree_digits(cycles_tree_reader_t *rd);
static int cycles_tree_real(const unsigned char *text, size_t len,
    double *value);
static int cycles_tree_literal(cycles_tree_reader_t *rd, const char *word,
    size_t len);
static unsigned cycles_tree_peek(cycles_tree_reader_t *rd);


int
cycles_tree_parse(cycles_tree_t *tree, const unsigned char *text, size_t len)
{
    cycles_tree_reader_t  rd;

    tree->nodes = tree->few;
    tree->n = 0;
    tree->size = CYCLES_TREE_NODES;
    tree->text = NULL;
    tree->used = 0;

    rd.tree = tree;
    rd.p = text;
    rd.last = text + len;
    rd.len = len;
    rd.open = CYCLES_TREE_NONE;
    rd.depth = 0;

    return cycles_tree_read(&rd);
}


void
cycles_tree_free(cycles_tree_t *tree)
{
    if (tree->nodes != tree->few) {
        free(tree->nodes);
    }

    free(tree->text);
}


const cycles_node_t *
cycles_tree_member(const cycles_node_t *object, const char *name)
{
    size_t                len;
    uint32_t              i;
    const cycles_node_t  *node;

    if (object == NULL || object->type != CYCLES_TREE_OBJECT) {
        return NULL;
    }

    len = strlen(name);
    node = object + 1;

    for (i = 0; i < object->count; i++) {

        if (node->name.len == len && memcmp(node->name.data, name, len) == 0) {
            return node;
        }

        node = cycles_tree_next(node);
    }

    return NULL;
}


static int
cycles_tree_read(cycles_tree_reader_t *rd)
{
    cycles_str_t    name;
    cycles_node_t  *node;

    do {
        name.len = 0;
        name.data = NULL;

        if (rd->open != CYCLES_TREE_NONE
            && rd->tree->nodes[rd->open].type == CYCLES_TREE_OBJECT
            && cycles_tree_name(rd, &name) != 0)
        {
            return -1;
        }

        node = cycles_tree_node(rd);

        if (node == NULL) {
            return -1;
        }

        node->name = name;

        if (cycles_tree_value(rd, node) != 0
            || cycles_tree_between(rd) != 0)
        {
            return -1;
        }

    } while (rd->open != CYCLES_TREE_NONE);

    (void) cycles_tree_peek(rd);

    return rd->p == rd->last ? 0 : -1;
}


static int
cycles_tree_value(cycles_tree_reader_t *rd, cycles_node_t *node)
{
    if (rd->depth == CYCLES_TREE_DEPTH) {
        return -1;
    }

    node->span = 1;
    node->count = 0;

    switch (cycles_tree_peek(rd)) {

    case '"':
        node->type = CYCLES_TREE_STRING;
        return cycles_tree_string(rd, &node->u.text);

    case '{':
        cycles_tree_begin(rd, node, CYCLES_TREE_OBJECT);
        return 0;

    case '[':
        cycles_tree_begin(rd, node, CYCLES_TREE_ARRAY);
        return 0;

    case 't':
        node->type = CYCLES_TREE_TRUE;
        return cycles_tree_literal(rd, "true", 4);

    case 'f':
        node->type = CYCLES_TREE_FALSE;
        return cycles_tree_literal(rd, "false", 5);

    case 'n':
        node->type = CYCLES_TREE_NULL;
        return cycles_tree_literal(rd, "null", 4);

    default:
        return cycles_tree_number(rd, node);
    }
}


/* closes what ends behind a value, up to where the next one is due */

static int
cycles_tree_between(cycles_tree_reader_t *rd)
{
    unsigned        ch;
    cycles_node_t  *open;

    while (rd->open != CYCLES_TREE_NONE) {

        open = &rd->tree->nodes[rd->open];
        ch = cycles_tree_peek(rd);

        if (ch == (open->type == CYCLES_TREE_OBJECT ? '}' : ']')) {
            rd->p++;
            cycles_tree_end(rd);
            continue;
        }

        if (rd->open == rd->tree->n - 1) {

            /* it has just begun */

            return 0;
        }

        if (ch != ',') {
            return -1;
        }

        rd->p++;

        return 0;
    }

    return 0;
}


/* while it is open, span is the container around it */

static void
cycles_tree_begin(cycles_tree_reader_t *rd, cycles_node_t *node,
    cycles_tree_type_t type)
{
    rd->p++;
    rd->depth++;

    node->type = type;
    node->u.names = 0;
    node->span = rd->open;

    rd->open = (uint32_t) (node - rd->tree->nodes);
}


static void
cycles_tree_end(cycles_tree_reader_t *rd)
{
    uint32_t        around;
    cycles_node_t  *node;

    node = &rd->tree->nodes[rd->open];

    around = node->span;
    node->span = (uint32_t) (rd->tree->n - rd->open);

    rd->open = around;
    rd->depth--;
}


static cycles_node_t *
cycles_tree_node(cycles_tree_reader_t *rd)
{
    size_t          size;
    cycles_node_t  *nodes;
    cycles_tree_t  *tree;

    tree = rd->tree;

    if (tree->n == tree->size) {
        size = tree->size * 4;

        if (size > CYCLES_TREE_NONE) {
            return NULL;
        }

        nodes = realloc(tree->nodes == tree->few ? NULL : tree->nodes,
                        size * sizeof(cycles_node_t));

        if (nodes == NULL) {
            return NULL;
        }

        if (tree->nodes == tree->few) {
            memcpy(nodes, tree->few, sizeof(tree->few));
        }

        tree->nodes = nodes;
        tree->size = size;
    }

    if (rd->open != CYCLES_TREE_NONE) {
        tree->nodes[rd->open].count++;
    }

    return &tree->nodes[tree->n++];
}


static int
cycles_tree_name(cycles_tree_reader_t *rd, cycles_str_t *name)
{
    if (cycles_tree_peek(rd) != '"' || cycles_tree_string(rd, name) != 0
        || cycles_tree_twice(rd, name) || cycles_tree_peek(rd) != ':')
    {
        return -1;
    }

    rd->p++;

    return 0;
}


/* only of names with the same length and ends there may be two */

static int
cycles_tree_twice(cycles_tree_reader_t *rd, const cycles_str_t *name)
{
    unsigned        i, first, last;
    uint64_t        bit;
    cycles_node_t  *node, *open;

    open = &rd->tree->nodes[rd->open];

    if (open->count == CYCLES_TREE_MEMBERS) {
        return 1;
    }

    first = name->len ? name->data[0] : 0;
    last = name->len ? name->data[name->len - 1] : 0;
    bit = (uint64_t) 1 << ((first * 7 + last * 3 + name->len) & 63);

    if ((open->u.names & bit) == 0) {
        open->u.names |= bit;
        return 0;
    }

    node = open + 1;

    for (i = 0; i < open->count; i++) {

        if (node->name.len == name->len
            && memcmp(node->name.data, name->data, name->len) == 0)
        {
            return 1;
        }

        node += node->span;
    }

    return 0;
}


static int
cycles_tree_string(cycles_tree_reader_t *rd, cycles_str_t *text)
{
    size_t                n;
    const unsigned char  *p, *begin;

    begin = rd->p + 1;

    for (p = begin; /* void */ ; p += n) {

        p = cycles_json_plain(p, rd->last);

        if (p == rd->last || *p < 0x20) {
            return -1;
        }

        if (*p == '"') {
            text->data = (unsigned char *) begin;
            text->len = (size_t) (p - begin);
            rd->p = p + 1;
            return 0;
        }

        if (*p == '\\') {
            rd->p = p;
            return cycles_tree_escaped(rd, begin, text);
        }

        n = cycles_utf8_char(p, (size_t) (rd->last - p));

        if (n == 0) {
            return -1;
        }
    }
}


/* from the first backslash on; no string is longer than its escapes */

static int
cycles_tree_escaped(cycles_tree_reader_t *rd, const unsigned char *begin,
    cycles_str_t *text)
{
    size_t          n;
    cycles_tree_t  *tree;
    unsigned char  *to;

    tree = rd->tree;

    if (tree->text == NULL) {
        tree->text = malloc(rd->len);

        if (tree->text == NULL) {
            return -1;
        }
    }

    text->data = tree->text + tree->used;

    n = (size_t) (rd->p - begin);
    memcpy(text->data, begin, n);
    to = text->data + n;

    for ( ;; ) {

        begin = rd->p;
        rd->p = cycles_json_plain(begin, rd->last);

        n = (size_t) (rd->p - begin);
        memcpy(to, begin, n);
        to += n;

        if (rd->p == rd->last || *rd->p < 0x20) {
            return -1;
        }

        if (*rd->p == '"') {
            rd->p++;
            break;
        }

        if (*rd->p == '\\') {
            rd->p++;
            to = cycles_tree_escape(rd, to);

            if (to == NULL) {
                return -1;
            }

            continue;
        }

        n = cycles_utf8_char(rd->p, (size_t) (rd->last - rd->p));

        if (n == 0) {
            return -1;
        }

        memcpy(to, rd->p, n);
        to += n;
        rd->p += n;
    }

    text->len = (size_t) (to - text->data);
    tree->used += text->len;

    return 0;
}


static unsigned char *
cycles_tree_escape(cycles_tree_reader_t *rd, unsigned char *to)
{
    if (rd->p == rd->last) {
        return NULL;
    }

    switch (*rd->p++) {

    case '"':
        *to = '"';
        break;

    case '\\':
        *to = '\\';
        break;

    case '/':
        *to = '/';
        break;

    case 'b':
        *to = '\b';
        break;

    case 'f':
        *to = '\f';
        break;

    case 'n':
        *to = '\n';
        break;

    case 'r':
        *to = '\r';
        break;

    case 't':
        *to = '\t';
        break;

    case 'u':
        return cycles_tree_unicode(rd, to);

    default:
        return NULL;
    }

    return to + 1;
}


static unsigned char *
cycles_tree_unicode(cycles_tree_reader_t *rd, unsigned char *to)
{
    uint32_t  code, low;

    if (cycles_tree_hex(rd, &code) != 0 || code == 0
        || (code >= 0xdc00 && code < 0xe000))
    {
        return NULL;
    }

    if (code >= 0xd800 && code < 0xdc00) {

        if (rd->last - rd->p < 2 || rd->p[0] != '\\' || rd->p[1] != 'u') {
            return NULL;
        }

        rd->p += 2;

        if (cycles_tree_hex(rd, &low) != 0 || low < 0xdc00 || low >= 0xe000) {
            return NULL;
        }

        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }

    if (code < 0x80) {
        *to++ = (unsigned char) code;

    } else if (code < 0x800) {
        *to++ = (unsigned char) (0xc0 | code >> 6);
        *to++ = (unsigned char) (0x80 | (code & 0x3f));

    } else if (code < 0x10000) {
        *to++ = (unsigned char) (0xe0 | code >> 12);
        *to++ = (unsigned char) (0x80 | (code >> 6 & 0x3f));
        *to++ = (unsigned char) (0x80 | (code & 0x3f));

    } else {
        *to++ = (unsigned char) (0xf0 | code >> 18);
        *to++ = (unsigned char) (0x80 | (code >> 12 & 0x3f));
        *to++ = (unsigned char) (0x80 | (code >> 6 & 0x3f));
        *to++ = (unsigned char) (0x80 | (code & 0x3f));
    }

    return to;
}


static int
cycles_tree_hex(cycles_tree_reader_t *rd, uint32_t *code)
{
    int       i;
    unsigned  ch, digit;

    if (rd->last - rd->p < 4) {
        return -1;
    }

    *code = 0;

    for (i = 0; i < 4; i++) {
        ch = *rd->p++;

        if (ch >= '0' && ch <= '9') {
            digit = ch - '0';

        } else {
            ch |= 0x20;

            if (ch < 'a' || ch > 'f') {
                return -1;
            }

            digit = ch - 'a' + 10;
        }

        *code = *code << 4 | digit;
    }

    return 0;
}


static int
cycles_tree_number(cycles_tree_reader_t *rd, cycles_node_t *node)
{
    int                   minus, large;
    uint64_t              value, limit, digit;
    const unsigned char  *p, *begin;

    begin = rd->p;

    minus = (rd->p < rd->last && *rd->p == '-');
    rd->p += minus;

    p = rd->p;

    if (cycles_tree_digits(rd) != 0 || (*p == '0' && rd->p - p > 1)) {
        return -1;
    }

    node->type = CYCLES_TREE_INTEGER;
    limit = (uint64_t) INT64_MAX + (uint64_t) minus;
    large = 0;
    value = 0;

    for ( /* void */ ; p < rd->p; p++) {
        digit = *p - '0';
        large |= (value >= limit / 10 && value > (limit - digit) / 10);
        value = value * 10 + digit;
    }

    if (rd->p < rd->last && *rd->p == '.') {
        node->type = CYCLES_TREE_REAL;
        rd->p++;

        if (cycles_tree_digits(rd) != 0) {
            return -1;
        }
    }

    if (rd->p < rd->last && (*rd->p == 'e' || *rd->p == 'E')) {
        node->type = CYCLES_TREE_REAL;
        rd->p++;

        if (rd->p < rd->last && (*rd->p == '+' || *rd->p == '-')) {
            rd->p++;
        }

        if (cycles_tree_digits(rd) != 0) {
            return -1;
        }
    }

    if (node->type == CYCLES_TREE_REAL) {
        return cycles_tree_real(begin, (size_t) (rd->p - begin),
                                &node->u.real);
    }

    node->u.integer = (int64_t) (minus ? 0 - value : value);

    return large ? -1 : 0;
}


/* at least one */

static int
cycles_tree_digits(cycles_tree_reader_t *rd)
{
    const unsigned char  *p, *begin;

    begin = rd->p;

    for (p = begin; p < rd->last && *p >= '0' && *p <= '9'; p++) { /* void */ }

    rd->p = p;

    return p > begin ? 0 : -1;
}


static int
cycles_tree_real(const unsigned char *text, size_t len, double *value)
{
    char  *copy, few[CYCLES_TREE_REAL_LEN];

    copy = len < sizeof(few) ? few : malloc(len + 1);

    if (copy == NULL) {
        return -1;
    }

    memcpy(copy, text, len);
    copy[len] = '\0';

    *value = strtod(copy, NULL);

    if (copy != few) {
        free(copy);
    }

    return isfinite(*value) ? 0 : -1;
}


static int
cycles_tree_literal(cycles_tree_reader_t *rd, const char *word, size_t len)
{
    if ((size_t) (rd->last - rd->p) < len || memcmp(rd->p, word, len) != 0) {
        return -1;
    }

    rd->p += len;

    return 0;
}


/* the next byte that is no white space; 0: there is none */

static unsigned
cycles_tree_peek(cycles_tree_reader_t *rd)
{
    unsigned              ch;
    const unsigned char  *p;

    for (p = rd->p; p < rd->last; p++) {
        ch = *p;

        if (ch > ' ' || (ch != ' ' && ch != '\n' && ch != '\r' && ch != '\t'))
        {
            rd->p = p;
            return ch;
        }
    }

    rd->p = p;

    return 0;
}
