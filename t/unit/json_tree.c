
/*
 * Copyright (C) nginx-cycles authors
 *
 * JSON as a tree; t/fuzz/cycles_tree.c compares it with jansson.
 */


#include <stdlib.h>

#include "cycles_tree.h"
#include "tap.h"


static void test_values(void);
static void test_strings(void);
static void test_numbers(void);
static void test_refused(void);
static void test_every_prefix(void);
static void test_names(void);
static void test_large(void);
static void test_depth(void);
static void test_plain(void);
static int parse(const char *text);
static int parse_copy(const char *text, size_t len);
static const char *string(const char *text);
static char *members(unsigned n, const char *more);


static cycles_tree_t  tree;


int
main(void)
{
    test_values();
    test_strings();
    test_numbers();
    test_refused();
    test_every_prefix();
    test_names();
    test_large();
    test_depth();
    test_plain();

    return done_testing();
}


static void
test_values(void)
{
    const cycles_node_t  *node;

    is_int(parse(" {\"a\" : [ 1 , {\"b\":-2} , [ ] ] ,\"c\":{ },\r\n\t"
                 "\"d\":null,\"e\":true,\"f\":false,\"g\":0.5} "), 0,
           "every kind of value");

    is_int(tree.nodes->type, CYCLES_TREE_OBJECT, "an object");
    is_int(tree.nodes->count, 6, "its members");
    is_int(tree.nodes->span, 11, "its nodes");

    node = cycles_tree_member(tree.nodes, "a");
    is_int(node->type, CYCLES_TREE_ARRAY, "an array");
    is_int(node->count, 3, "its elements");
    is_int(node[1].u.integer, 1, "the first one");
    is_int(cycles_tree_member(node + 2, "b")->u.integer, -2, "the next one");
    is_int(node[4].type, CYCLES_TREE_ARRAY, "the last one");
    is_int(node[4].count, 0, "is empty");

    is_int(cycles_tree_member(tree.nodes, "c")->count, 0, "an empty object");
    is_int(cycles_tree_member(tree.nodes, "d")->type, CYCLES_TREE_NULL,
           "null");
    is_int(cycles_tree_member(tree.nodes, "e")->type, CYCLES_TREE_TRUE,
           "true");
    is_int(cycles_tree_member(tree.nodes, "f")->type, CYCLES_TREE_FALSE,
           "false");

    node = cycles_tree_member(tree.nodes, "g");
    is_int(node->type, CYCLES_TREE_REAL, "a fraction");
    ok(node->u.real == 0.5, "its value");

    ok(cycles_tree_member(tree.nodes, "b") == NULL, "no member of a member");
    ok(cycles_tree_member(node, "a") == NULL, "a number has no members");
    ok(cycles_tree_member(NULL, "a") == NULL, "nothing has none");

    cycles_tree_free(&tree);

    is_int(parse("17"), 0, "a value alone");
    is_int(tree.nodes->u.integer, 17, "is the root");
    cycles_tree_free(&tree);
}


static void
test_strings(void)
{
    is_str(string("\"\""), "", "an empty string");
    is_str(string("\"plain, and long enough for several steps\""),
           "plain, and long enough for several steps", "a plain string");
    is_str(string("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\""),
           "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f", "UTF-8");
    is_str(string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), "\"\\/\b\f\n\r\t",
           "short escapes");
    is_str(string("\"a\\u0041\\u00e9\\u20AC\\ud83d\\uDE00z\xc3\xa9\""),
           "aA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z\xc3\xa9",
           "escapes of code points");

    is_int(parse("[\"\\n\",\"b\",\"\\t\\u0061\",{\"\\u0063\":\"\\r\"}]"), 0,
           "several escapes in a text");
    ok(tree.nodes[1].u.text.len == 1 && tree.nodes[1].u.text.data[0] == '\n'
       && tree.nodes[2].u.text.data[0] == 'b'
       && tree.nodes[3].u.text.len == 2
       && memcmp(tree.nodes[3].u.text.data, "\ta", 2) == 0
       && cycles_tree_member(tree.nodes + 4, "c")->u.text.data[0] == '\r',
       "each has its own");
    cycles_tree_free(&tree);
}


static void
test_numbers(void)
{
    is_int(parse("[9223372036854775807,-9223372036854775808,-0,1e2,1.0]"), 0,
           "numbers");
    is_int(tree.nodes[1].u.integer, INT64_MAX, "the largest");
    is_int(tree.nodes[2].u.integer, INT64_MIN, "the least");
    is_int(tree.nodes[3].u.integer, 0, "minus nothing");
    is_int(tree.nodes[4].type, CYCLES_TREE_REAL, "an exponent is no integer");
    is_int(tree.nodes[5].type, CYCLES_TREE_REAL, "nor is a fraction of 0");
    cycles_tree_free(&tree);

    is_int(parse("0.1000000000000000000000000000000000000000000000000000000"
                 "000000000000000000000000000000000000000000000000000001E-1"),
           0, "a long one");
    ok(tree.nodes->u.real == 0.01, "its value");
    cycles_tree_free(&tree);
}


static void
test_refused(void)
{
    unsigned  i;

    static const char *const  texts[] = {
        "", " ", "{", "[", "}", "]", ",", ":", "\"", "{]", "[}", "nul", "True",
        "nulls", "{}{}", "[] x", "[1 2]", "[1,]", "[,1]", "[,]", "{,}",
        "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{1:1}",
        "{\"a\":1 \"b\":2}", "{\"a\":1,,\"b\":2}", "{\"a\"::1}", "'a'",
        "[1]]", "[\"a]", "\"a\nb\"", "\"\x1f\"", "\"\x80\"", "\"\xc0\xaf\"",
        "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"",
        "\"\\x\"", "\"\\", "\"\\u\"", "\"\\u12g4\"", "\"\\u0000\"",
        "\"\\ud800\"", "\"\\ud800x\"", "\"\\ud800\\u0041\"", "\"\\udc00\"",
        "\"a\\n\nb\"", "\"a\\n\x80\"", "\"a\\n", "01", "-", "-a", "+1", ".5",
        "1.", "1.e1", "1e", "1e+", "0x1", "1a", "--1", "00", "-01", "1e999",
        "-1e999", "9223372036854775808", "-9223372036854775809",
        "92233720368547758070", "123456789012345678901234567890", "NaN",
        "Infinity", "\xef\xbb\xbf{}", "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"b\":2,\"\\u0061\":2}", "{\"\":1,\"\":2}",
        "[{\"x\":{\"a\":[],\"c\":[0],\"a\":{}}}]", "{\"\\u0000\":1}",
        "{\"\x80\":1}", "[/**/1]"
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        is_int(parse(texts[i]), -1, "not JSON: %s", texts[i]);
        cycles_tree_free(&tree);
    }

    is_int(parse_copy("{}\0", 3), -1, "a zero behind it");
    cycles_tree_free(&tree);

    is_int(parse_copy("\"a\0b\"", 5), -1, "a zero in a string");
    cycles_tree_free(&tree);
}


static void
test_every_prefix(void)
{
    size_t  i, taken;

    static const char  text[] =
        "{\"a\":[1,-2.5e3,true,false,null,\"x\\\"\\ud83d\\ude00\xc3\xa9\"],"
        "\"b\":{\"c\":{},\"d\":[[]]}}";

    taken = 0;

    for (i = 0; i < sizeof(text) - 1; i++) {
        taken += (parse_copy(text, i) == 0);
        cycles_tree_free(&tree);
    }

    is_int(taken, 0, "no prefix of a text is one");
    is_int(parse(text), 0, "the whole is");
    cycles_tree_free(&tree);
}


static void
test_names(void)
{
    char  *text;

    /* the same length and ends, and other ones */

    is_int(parse("{\"abc\":1,\"adc\":2,\"ab\":3,\"\":4,\"abcd\":{\"abc\":5,"
                 "\"abcd\":6},\"bc\":7}"), 0, "names that differ");
    is_int(cycles_tree_member(tree.nodes, "adc")->u.integer, 2, "one of them");
    is_int(cycles_tree_member(tree.nodes, "")->u.integer, 4, "the empty one");
    is_int(cycles_tree_member(tree.nodes, "bc")->u.integer, 7, "the last one");
    cycles_tree_free(&tree);

    text = members(CYCLES_TREE_MEMBERS, "");
    is_int(parse(text), 0, "as many members as there may be");
    is_int(tree.nodes->count, CYCLES_TREE_MEMBERS, "all of them");
    cycles_tree_free(&tree);
    free(text);

    text = members(CYCLES_TREE_MEMBERS, ",\"x\":1");
    is_int(parse(text), -1, "one more");
    cycles_tree_free(&tree);
    free(text);

    text = members(500, ",\"n123\":1");
    is_int(parse(text), -1, "twice the same of many");
    cycles_tree_free(&tree);
    free(text);
}


static void
test_large(void)
{
    char                 *text;
    const cycles_node_t  *node;

    /* more nodes than need no memory */

    text = members(CYCLES_TREE_NODES * 3, ",\"last\":[\"\\u0061\"]");
    is_int(parse(text), 0, "a large text");

    node = cycles_tree_member(tree.nodes, "last");
    ok(node && node->count == 1 && node[1].u.text.data[0] == 'a',
       "its last member");

    node = cycles_tree_member(tree.nodes, "n300");
    ok(node && node[0].u.integer == 300, "one in the middle");

    cycles_tree_free(&tree);
    free(text);
}


static void
test_depth(void)
{
    static char  text[CYCLES_TREE_DEPTH * 2 + 2];

    memset(text, '[', CYCLES_TREE_DEPTH);
    memset(text + CYCLES_TREE_DEPTH, ']', CYCLES_TREE_DEPTH);

    is_int(parse(text), 0, "as deep as it may be");
    cycles_tree_free(&tree);

    text[CYCLES_TREE_DEPTH] = '1';
    memset(text + CYCLES_TREE_DEPTH + 1, ']', CYCLES_TREE_DEPTH);

    is_int(parse(text), -1, "something in it is too deep");
    cycles_tree_free(&tree);
}


static void
test_plain(void)
{
    unsigned              ch, i, wrong;
    unsigned char         text[40];
    const unsigned char  *p;

    /* each byte at each place, with ones behind it that may confuse */

    wrong = 0;

    for (ch = 0; ch < 256; ch++) {
        for (i = 0; i < sizeof(text); i++) {
            memset(text, 'a', i);
            memset(text + i, '!', sizeof(text) - i);
            text[i] = (unsigned char) ch;

            p = cycles_json_plain(text, text + sizeof(text));

            wrong += (p != ((ch < 0x20 || ch == '"' || ch == '\\'
                             || ch >= 0x80) ? text + i
                                            : text + sizeof(text)));
        }
    }

    is_int(wrong, 0, "where a string is not plain");

    p = text;
    ok(cycles_json_plain(p, p) == p, "nothing is plain");
}


static int
parse(const char *text)
{
    return parse_copy(text, strlen(text));
}


/* of its exact size; the tree points into it until the next one */

static int
parse_copy(const char *text, size_t len)
{
    static unsigned char  *copy;

    free(copy);
    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len);
    memset(&tree, 0xa5, sizeof(tree));

    return cycles_tree_parse(&tree, copy, len);
}


static const char *
string(const char *text)
{
    size_t       len;
    static char  value[256];

    if (parse(text) != 0 || tree.nodes->type != CYCLES_TREE_STRING) {
        cycles_tree_free(&tree);
        return NULL;
    }

    len = tree.nodes->u.text.len;
    memcpy(value, tree.nodes->u.text.data, len);
    value[len] = '\0';

    cycles_tree_free(&tree);

    return value;
}


/* an object whose member "n17" is 17 */

static char *
members(unsigned n, const char *more)
{
    char      *text, *p;
    unsigned   i;

    text = malloc(n * 16 + strlen(more) + 3);

    if (text == NULL) {
        abort();
    }

    p = text;
    *p++ = '{';

    for (i = 0; i < n; i++) {
        p += sprintf(p, "%s\"n%u\":%u", i ? "," : "", i, i);
    }

    sprintf(p, "%s}", more);

    return text;
}
