
/*
 * Copyright (C) nginx-cycles authors
 */


#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cycles_scan.h"
#include "cycles_tree.h"


/* no container is open */

#define CYCLES_TREE_NONE      UINT32_MAX

/* so many digits are never too large */

#define CYCLES_TREE_DIGITS    18

/* the longest number that is copied without an allocation */

#define CYCLES_TREE_REAL_LEN  64


typedef struct {
    cycles_tree_t        *tree;
    const unsigned char  *text;
    const unsigned char  *last;
    size_t                len;            /* of all of it */
} cycles_tree_reader_t;


/* what reads something returns where it ends; NULL: it is not JSON */

static const unsigned char *cycles_tree_read(cycles_tree_reader_t *rd,
    const unsigned char *p);
static int cycles_tree_grow(cycles_tree_t *tree);
static int cycles_tree_named(const cycles_node_t *open,
    const cycles_str_t *name);
static const unsigned char *cycles_tree_string(cycles_tree_reader_t *rd,
    const unsigned char *p, cycles_str_t *text);
static const unsigned char *cycles_tree_escaped(cycles_tree_reader_t *rd,
    const unsigned char *begin, const unsigned char *p, cycles_str_t *text);
static const unsigned char *cycles_tree_escape(cycles_tree_reader_t *rd,
    const unsigned char *p, unsigned char **to);
static const unsigned char *cycles_tree_unicode(cycles_tree_reader_t *rd,
    const unsigned char *p, unsigned char **to);
static const unsigned char *cycles_tree_hex(cycles_tree_reader_t *rd,
    const unsigned char *p, uint32_t *code);
static const unsigned char *cycles_tree_number(cycles_tree_reader_t *rd,
    const unsigned char *p, cycles_node_t *node);
static int cycles_tree_large(const unsigned char *p,
    const unsigned char *last, uint64_t limit);
static const unsigned char *cycles_tree_fraction(cycles_tree_reader_t *rd,
    const unsigned char *begin, const unsigned char *p, double *value);
static const unsigned char *cycles_tree_digits(cycles_tree_reader_t *rd,
    const unsigned char *p);
static int cycles_tree_real(const unsigned char *text, size_t len,
    double *value);
static const unsigned char *cycles_tree_literal(cycles_tree_reader_t *rd,
    const unsigned char *p, const char *word, size_t len);


int
cycles_tree_parse(cycles_tree_t *tree, const unsigned char *text, size_t len)
{
    const unsigned char   *end;
    cycles_tree_reader_t   rd;

    tree->nodes = tree->few;
    tree->n = 0;
    tree->size = CYCLES_TREE_NODES;
    tree->text = NULL;
    tree->used = 0;

    rd.tree = tree;
    rd.text = text;
    rd.last = text + len;
    rd.len = len;

    end = cycles_tree_read(&rd, text);

    return end && end == rd.last ? 0 : -1;
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
cycles_tree_find(const cycles_node_t *object, const char *name, size_t len)
{
    uint32_t              i;
    const cycles_node_t  *node;

    if (object == NULL || object->type != CYCLES_TREE_OBJECT) {
        return NULL;
    }

    node = object + 1;

    for (i = 0; i < object->count; i++) {

        if (node->name.len == len && memcmp(node->name.data, name, len) == 0) {
            return node;
        }

        node = cycles_tree_next(node);
    }

    return NULL;
}


/* to what is no white space, or the end */

static inline const unsigned char *
cycles_tree_skip(const unsigned char *p, const unsigned char *last)
{
    for ( /* void */ ; p < last && *p <= ' '; p++) {

        if (*p != ' ' && *p != '\n' && *p != '\r' && *p != '\t') {
            break;
        }
    }

    return p;
}


/* behind its first quote; nearly none has anything to look at */

cycles_scan_inline const unsigned char *
cycles_tree_quoted(cycles_tree_reader_t *rd, const unsigned char *p,
    cycles_str_t *text)
{
    const unsigned char  *end;

    end = cycles_scan(rd->text, p, rd->last, CYCLES_SCAN_ASCII);

    if (end == rd->last || *end != '"') {
        return cycles_tree_string(rd, p, text);
    }

    text->data = (unsigned char *) p;
    text->len = (size_t) (end - p);

    return end + 1;
}


/* only of names with the same length and ends there may be two */

static inline int
cycles_tree_twice(cycles_node_t *open, const cycles_str_t *name)
{
    unsigned  first, last;
    uint64_t  bit;

    if (open->count == CYCLES_TREE_MEMBERS) {
        return 1;
    }

    /* of an empty one they are its quotes */

    first = name->data[0];
    last = name->data[(ptrdiff_t) name->len - 1];
    bit = (uint64_t) 1 << ((first * 7 + last * 3 + name->len) & 63);

    if (open->u.names & bit) {
        return cycles_tree_named(open, name);
    }

    open->u.names |= bit;

    return 0;
}


#if defined(__SSE2__)

/* where the end of a text is far enough not to be looked at in a short name */

#define CYCLES_TREE_FAR  24


/* as cycles_tree_name(); at its quote: it wants a closer look */

static inline const unsigned char *
cycles_tree_short(cycles_tree_reader_t *rd, const unsigned char *p,
    cycles_node_t *open, cycles_str_t *name)
{
    unsigned              ends;
    const unsigned char  *end;

    ends = cycles_scan_ends(p + 1, CYCLES_SCAN_ASCII);

    if (ends == 0) {
        return p;
    }

    end = p + 1 + (unsigned) __builtin_ctz(ends);

    if (end[0] != '"' || end[1] != ':') {
        return p;
    }

    name->data = (unsigned char *) p + 1;
    name->len = (size_t) (end - p - 1);

    if (cycles_tree_twice(open, name)) {
        return NULL;
    }

    end += 2;
    end += (*end == ' ');

    return (*end > ' ') ? end : cycles_tree_skip(end, rd->last);
}

#endif


/* of a member, up to its value */

static inline const unsigned char *
cycles_tree_name(cycles_tree_reader_t *rd, const unsigned char *p,
    cycles_node_t *open, cycles_str_t *name)
{
    const unsigned char  *begin;

    if (p == rd->last || *p != '"') {
        return NULL;
    }

    begin = p;

#if defined(__SSE2__)

    if (rd->last - p > CYCLES_TREE_FAR) {
        p = cycles_tree_short(rd, p, open, name);

        if (p != begin) {
            return p;
        }
    }

#endif

    p = cycles_tree_quoted(rd, begin + 1, name);

    if (p == NULL || cycles_tree_twice(open, name)) {
        return NULL;
    }

    p = cycles_tree_skip(p, rd->last);

    if (p == rd->last || *p != ':') {
        return NULL;
    }

    return cycles_tree_skip(p + 1, rd->last);
}


/* one that is no container */

static inline const unsigned char *
cycles_tree_value(cycles_tree_reader_t *rd, const unsigned char *p,
    cycles_node_t *node)
{
    switch (*p) {

    case '"':
        node->type = CYCLES_TREE_STRING;
        return cycles_tree_quoted(rd, p + 1, &node->u.text);

    case 't':
        node->type = CYCLES_TREE_TRUE;
        return cycles_tree_literal(rd, p, "true", 4);

    case 'f':
        node->type = CYCLES_TREE_FALSE;
        return cycles_tree_literal(rd, p, "false", 5);

    case 'n':
        node->type = CYCLES_TREE_NULL;
        return cycles_tree_literal(rd, p, "null", 4);

    default:
        return cycles_tree_number(rd, p, node);
    }
}


/* while a container is open, its span is the one around it */

static const unsigned char *
cycles_tree_read(cycles_tree_reader_t *rd, const unsigned char *p)
{
    size_t                n;
    uint32_t              open, depth;
    cycles_node_t        *nodes, *node, *in;
    cycles_tree_t        *tree;
    const unsigned char  *last;

    tree = rd->tree;
    nodes = tree->nodes;
    last = rd->last;

    n = 0;
    open = CYCLES_TREE_NONE;
    depth = 0;
    in = NULL;

    for ( ;; ) {

        if (n == tree->size) {

            if (cycles_tree_grow(tree) != 0) {
                return NULL;
            }

            nodes = tree->nodes;
            in = open == CYCLES_TREE_NONE ? NULL : &nodes[open];
        }

        node = &nodes[n];
        p = cycles_tree_skip(p, last);

        if (in && in->type == CYCLES_TREE_OBJECT) {
            p = cycles_tree_name(rd, p, in, &node->name);

            if (p == NULL) {
                return NULL;
            }

        } else {
            node->name.len = 0;
            node->name.data = NULL;
        }

        if (p == last || depth == CYCLES_TREE_DEPTH) {
            return NULL;
        }

        if (in) {
            in->count++;
        }

        node->count = 0;

        if (*p == '{' || *p == '[') {
            node->type = *p == '{' ? CYCLES_TREE_OBJECT : CYCLES_TREE_ARRAY;
            node->u.names = 0;
            node->span = open;

            open = (uint32_t) n++;
            in = node;
            depth++;

            p = cycles_tree_skip(p + 1, last);

            if (p == last) {
                return NULL;
            }

            if (*p != '}' && *p != ']') {
                continue;
            }

        } else {
            node->span = 1;
            n++;

            p = cycles_tree_value(rd, p, node);

            if (p == NULL) {
                return NULL;
            }
        }

        /* closes what ends here, up to where the next value is due */

        while (in) {

            p = cycles_tree_skip(p, last);

            if (p == last) {
                return NULL;
            }

            if (*p == ',') {
                p++;
                break;
            }

            if (*p != (in->type == CYCLES_TREE_OBJECT ? '}' : ']')) {
                return NULL;
            }

            p++;
            depth--;

            open = in->span;
            in->span = (uint32_t) (node + 1 - in);
            in = open == CYCLES_TREE_NONE ? NULL : &nodes[open];
        }

        if (in == NULL) {
            break;
        }
    }

    tree->n = n;

    return cycles_tree_skip(p, last);
}


static int
cycles_tree_grow(cycles_tree_t *tree)
{
    size_t          size;
    cycles_node_t  *nodes;

    size = tree->size * 4;

    if (size > CYCLES_TREE_NONE) {
        return -1;
    }

    nodes = realloc(tree->nodes == tree->few ? NULL : tree->nodes,
                    size * sizeof(cycles_node_t));

    if (nodes == NULL) {
        return -1;
    }

    if (tree->nodes == tree->few) {
        memcpy(nodes, tree->few, sizeof(tree->few));
    }

    tree->nodes = nodes;
    tree->size = size;

    return 0;
}


static int
cycles_tree_named(const cycles_node_t *open, const cycles_str_t *name)
{
    unsigned              i;
    const cycles_node_t  *node;

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


static const unsigned char *
cycles_tree_string(cycles_tree_reader_t *rd, const unsigned char *p,
    cycles_str_t *text)
{
    size_t                n;
    const unsigned char  *begin;

    begin = p;

    for ( ;; ) {

        p = cycles_json_plain(p, rd->last);

        if (p == rd->last || *p < 0x20) {
            return NULL;
        }

        if (*p == '"') {
            text->data = (unsigned char *) begin;
            text->len = (size_t) (p - begin);
            return p + 1;
        }

        if (*p == '\\') {
            return cycles_tree_escaped(rd, begin, p, text);
        }

        n = cycles_utf8_char(p, (size_t) (rd->last - p));

        if (n == 0) {
            return NULL;
        }

        p += n;
    }
}


/* from the first backslash on; no string is longer than its escapes */

static const unsigned char *
cycles_tree_escaped(cycles_tree_reader_t *rd, const unsigned char *begin,
    const unsigned char *p, cycles_str_t *text)
{
    size_t          n;
    cycles_tree_t  *tree;
    unsigned char  *to;

    tree = rd->tree;

    if (tree->text == NULL) {
        tree->text = malloc(rd->len);

        if (tree->text == NULL) {
            return NULL;
        }
    }

    text->data = tree->text + tree->used;
    to = text->data;

    for ( ;; ) {

        n = (size_t) (p - begin);
        memcpy(to, begin, n);
        to += n;

        if (p == rd->last || *p < 0x20) {
            return NULL;
        }

        if (*p == '"') {
            break;
        }

        if (*p == '\\') {
            begin = cycles_tree_escape(rd, p + 1, &to);

            if (begin == NULL) {
                return NULL;
            }

            p = cycles_json_plain(begin, rd->last);
            continue;
        }

        n = cycles_utf8_char(p, (size_t) (rd->last - p));

        if (n == 0) {
            return NULL;
        }

        begin = p;
        p = cycles_json_plain(p + n, rd->last);
    }

    text->len = (size_t) (to - text->data);
    tree->used += text->len;

    return p + 1;
}


static const unsigned char *
cycles_tree_escape(cycles_tree_reader_t *rd, const unsigned char *p,
    unsigned char **to)
{
    unsigned char  ch;

    if (p == rd->last) {
        return NULL;
    }

    switch (*p) {

    case '"':
    case '\\':
    case '/':
        ch = *p;
        break;

    case 'b':
        ch = '\b';
        break;

    case 'f':
        ch = '\f';
        break;

    case 'n':
        ch = '\n';
        break;

    case 'r':
        ch = '\r';
        break;

    case 't':
        ch = '\t';
        break;

    case 'u':
        return cycles_tree_unicode(rd, p + 1, to);

    default:
        return NULL;
    }

    *(*to)++ = ch;

    return p + 1;
}


static const unsigned char *
cycles_tree_unicode(cycles_tree_reader_t *rd, const unsigned char *p,
    unsigned char **to)
{
    uint32_t        code, low;
    unsigned char  *q;

    p = cycles_tree_hex(rd, p, &code);

    if (p == NULL || code == 0 || (code >= 0xdc00 && code < 0xe000)) {
        return NULL;
    }

    if (code >= 0xd800 && code < 0xdc00) {

        if (rd->last - p < 2 || p[0] != '\\' || p[1] != 'u') {
            return NULL;
        }

        p = cycles_tree_hex(rd, p + 2, &low);

        if (p == NULL || low < 0xdc00 || low >= 0xe000) {
            return NULL;
        }

        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }

    q = *to;

    if (code < 0x80) {
        *q++ = (unsigned char) code;

    } else if (code < 0x800) {
        *q++ = (unsigned char) (0xc0 | code >> 6);
        *q++ = (unsigned char) (0x80 | (code & 0x3f));

    } else if (code < 0x10000) {
        *q++ = (unsigned char) (0xe0 | code >> 12);
        *q++ = (unsigned char) (0x80 | (code >> 6 & 0x3f));
        *q++ = (unsigned char) (0x80 | (code & 0x3f));

    } else {
        *q++ = (unsigned char) (0xf0 | code >> 18);
        *q++ = (unsigned char) (0x80 | (code >> 12 & 0x3f));
        *q++ = (unsigned char) (0x80 | (code >> 6 & 0x3f));
        *q++ = (unsigned char) (0x80 | (code & 0x3f));
    }

    *to = q;

    return p;
}


static const unsigned char *
cycles_tree_hex(cycles_tree_reader_t *rd, const unsigned char *p,
    uint32_t *code)
{
    int       i;
    unsigned  ch, digit;

    if (rd->last - p < 4) {
        return NULL;
    }

    *code = 0;

    for (i = 0; i < 4; i++) {
        ch = *p++;

        if (ch >= '0' && ch <= '9') {
            digit = ch - '0';

        } else {
            ch |= 0x20;

            if (ch < 'a' || ch > 'f') {
                return NULL;
            }

            digit = ch - 'a' + 10;
        }

        *code = *code << 4 | digit;
    }

    return p;
}


static const unsigned char *
cycles_tree_number(cycles_tree_reader_t *rd, const unsigned char *p,
    cycles_node_t *node)
{
    int                   minus;
    uint64_t              value;
    unsigned              digit;
    const unsigned char  *begin, *first;

    begin = p;
    minus = (*p == '-');
    first = p + minus;
    value = 0;

    for (p = first; p < rd->last; p++) {

        digit = (unsigned) *p - '0';

        if (digit > 9) {
            break;
        }

        value = value * 10 + digit;
    }

    if (p == first || (*first == '0' && p - first > 1)) {
        return NULL;
    }

    if (p < rd->last && (*p == '.' || *p == 'e' || *p == 'E')) {
        node->type = CYCLES_TREE_REAL;
        return cycles_tree_fraction(rd, begin, p, &node->u.real);
    }

    node->type = CYCLES_TREE_INTEGER;
    node->u.integer = (int64_t) (minus ? 0 - value : value);

    if (p - first > CYCLES_TREE_DIGITS
        && cycles_tree_large(first, p, (uint64_t) INT64_MAX + minus))
    {
        return NULL;
    }

    return p;
}


static int
cycles_tree_large(const unsigned char *p, const unsigned char *last,
    uint64_t limit)
{
    uint64_t  value;
    unsigned  digit;

    for (value = 0; p < last; p++) {
        digit = (unsigned) *p - '0';

        if (value > (limit - digit) / 10) {
            return 1;
        }

        value = value * 10 + digit;
    }

    return 0;
}


static const unsigned char *
cycles_tree_fraction(cycles_tree_reader_t *rd, const unsigned char *begin,
    const unsigned char *p, double *value)
{
    if (*p == '.') {
        p = cycles_tree_digits(rd, p + 1);

        if (p == NULL) {
            return NULL;
        }
    }

    if (p < rd->last && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < rd->last && (*p == '+' || *p == '-')) {
            p++;
        }

        p = cycles_tree_digits(rd, p);

        if (p == NULL) {
            return NULL;
        }
    }

    return cycles_tree_real(begin, (size_t) (p - begin), value) == 0 ? p
                                                                     : NULL;
}


/* at least one */

static const unsigned char *
cycles_tree_digits(cycles_tree_reader_t *rd, const unsigned char *p)
{
    const unsigned char  *begin;

    begin = p;

    while (p < rd->last && *p >= '0' && *p <= '9') {
        p++;
    }

    return p > begin ? p : NULL;
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


static const unsigned char *
cycles_tree_literal(cycles_tree_reader_t *rd, const unsigned char *p,
    const char *word, size_t len)
{
    if ((size_t) (rd->last - p) < len || memcmp(p, word, len) != 0) {
        return NULL;
    }

    return p + len;
}
