
/*
 * Copyright (C) nginx-cycles authors
 *
 * Heads of replies; t/fuzz/cycles_head.c compares them with a reader of lines.
 */


#include <stdlib.h>

#include "client/cycles_head.h"
#include "tap.h"


#define HTTP    "HTTP/1.1 200 OK\r\n"
#define LENGTH  "Content-Length: 12\r\n"
#define END     "\r\n"


static void test_plain(void);
static void test_fields(void);
static void test_connection(void);
static void test_refused(void);
static void test_every_prefix(void);
static int read_head(const char *text);
static const char *text_of(cycles_str_t text);


static cycles_head_t  head;


int
main(void)
{
    test_plain();
    test_fields();
    test_connection();
    test_refused();
    test_every_prefix();

    return done_testing();
}


static void
test_plain(void)
{
    is_int(read_head(HTTP LENGTH END), 0, "the least");
    is_int(head.status, 200, "its status");
    is_int(head.content_length, 12, "its length");
    is_int(head.size, strlen(HTTP LENGTH END), "its size");
    is_int(head.request_id.len + head.trace_id.len + head.retry_after.len, 0,
           "and nothing else");

    is_int(read_head(HTTP LENGTH END "{\"a\":\"\r\n\"}\n"), 0, "with a body");
    is_int(head.size, strlen(HTTP LENGTH END), "where that begins");

    is_int(read_head("HTTP/1.1 201 \r\n" LENGTH END), 0, "no reason");
    is_int(head.status, 201, "its status");

    is_int(read_head("HTTP/1.1 200\r\n" LENGTH END), 0, "not even a blank");

    is_int(read_head(HTTP "content-length:0\r\n" END), 0, "no blank");
    is_int(head.content_length, 0, "an empty body");
}


static void
test_fields(void)
{
    is_int(read_head(HTTP
                     "Vary: Origin\r\n"
                     "X-Request-Id: 7d1f\r\n"
                     "x-cycles-trace-id:  4bf9  \r\n"
                     "RETRY-AFTER: 3\r\n"
                     "Expires: 0\r\n"
                     "ETag: \"a\\b\"\r\n"
                     "Empty:\r\n"
                     "X-Frame-Options: DENY\tALL\r\n"
                     "Strict-Transport-Security: max-age=31536000\r\n"
                     LENGTH
                     "Keep-Alive: timeout=60\r\n" END), 0,
           "fields that a server has");

    is_str(text_of(head.request_id), "7d1f", "of the request");
    is_str(text_of(head.trace_id), "4bf9", "of its trace");
    is_str(text_of(head.retry_after), "3", "and the time to wait");
    is_int(head.content_length, 12, "and the length");

    is_int(read_head(HTTP LENGTH "X-Request-Id: a\r\nX-Request-Id: b\r\n"
                     END), 0, "one of two");
    is_str(text_of(head.request_id), "b", "which is the last one");
}


static void
test_connection(void)
{
    is_int(read_head(HTTP LENGTH END), 0, "nothing about the connection");
    is_int(head.close, 0, "it stays");

    is_int(read_head(HTTP LENGTH "Connection: Keep-Alive\r\n" END), 0,
           "it is kept");
    is_int(head.close, 0, "it stays");

    is_int(read_head(HTTP LENGTH "connection: Close\r\n" END), 0,
           "it is closed");
    is_int(head.close, 1, "it does not stay");

    is_int(read_head(HTTP LENGTH "Connection: close, te\r\n" END), -1,
           "something else as well");
}


static void
test_refused(void)
{
    size_t  i;

    static const char *const  heads[] = {
        "",
        "HTTP/1.1",
        "HTTP/1.0 200 OK\r\n" LENGTH END,
        "HTTP/1.1 20 OK\r\n" LENGTH END,
        "HTTP/1.1 2000 OK\r\n" LENGTH END,
        "HTTP/1.1  200 OK\r\n" LENGTH END,
        "HTTP/1.1 -20 OK\r\n" LENGTH END,
        "http/1.1 200 OK\r\n" LENGTH END,
        "HTTP/1.1 200 O\1K\r\n" LENGTH END,
        HTTP END,
        HTTP LENGTH LENGTH END,
        HTTP "Content-Length:\r\n" END,
        HTTP "Content-Length: -1\r\n" END,
        HTTP "Content-Length: 1 2\r\n" END,
        HTTP "Content-Length: 12a\r\n" END,
        HTTP "Content-Length: 1234567890\r\n" END,
        HTTP LENGTH "Transfer-Encoding: chunked\r\n" END,
        HTTP LENGTH "transfer-encoding: identity\r\n" END,
        HTTP LENGTH "Content-Encoding: gzip\r\n" END,
        HTTP LENGTH "Upgrade: h2c\r\n" END,
        HTTP LENGTH "X-Accel-Redirect: /a\r\n" END,
        HTTP LENGTH "x-accel-limit-rate: 1\r\n" END,
        HTTP LENGTH "X-Accel-Expires: 17\r\n" END,
        HTTP LENGTH "X-Accel-AB: 1\r\n" END,
        HTTP LENGTH "X-Accel-ABCDEF: 1\r\n" END,
        HTTP LENGTH "X-Accel-ABCDEFGH: 1\r\n" END,
        HTTP LENGTH "A: b\r\n folded: c\r\n" END,
        HTTP LENGTH "A : b\r\n" END,
        HTTP LENGTH ": b\r\n" END,
        HTTP LENGTH "A_b: c\r\n" END,
        HTTP LENGTH "A[: c\r\n" END,
        HTTP LENGTH "A\r\n" END,
        HTTP LENGTH "A: b\n" END,
        HTTP LENGTH "A: b\rc\r\n" END,
        HTTP LENGTH "A: b\1c\r\n" END,
        HTTP LENGTH "\r\r",
        HTTP LENGTH "\n",
    };

    for (i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        is_int(read_head(heads[i]), -1, "refused: %s", heads[i]);
    }
}


static void
test_every_prefix(void)
{
    size_t  i, len;
    char    text[128];

    static const char  whole[] = HTTP LENGTH "Server: a \"server\"\r\n" END;

    len = sizeof(whole) - 1;

    for (i = 0; i < len; i++) {
        memcpy(text, whole, i);
        text[i] = '\0';

        if (read_head(text) == 0) {
            break;
        }
    }

    is_int(i, len, "no part of a head is one");
}


/* of its exact size, for the sanitizer */

static int
read_head(const char *text)
{
    size_t       len;
    static char  *copy;

    len = strlen(text);

    free(copy);
    copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, text, len);

    return cycles_head_read(&head, (unsigned char *) copy, len);
}


static const char *
text_of(cycles_str_t text)
{
    static char  value[64];

    memcpy(value, text.data, text.len);
    value[text.len] = '\0';

    return value;
}
