
/*
 * Copyright (C) nginx-cycles authors
 *
 * The load of the benchmark: clients of a gateway, and behind it the provider,
 * in one process and one thread, so that both need little more CPU than the
 * kernel takes for them.
 *
 *     load key=value ...
 *
 *     port=N        of the gateway; 0: only the provider, until SIGTERM
 *     stub=N        the port of the provider; 0: there is none
 *     connections=N seconds=S rate=R (requests/s; 0: as many as there can be)
 *     request=FILE  the head and body as they are sent; each "%TENANT%" in it
 *                   is replaced by eight digits that count from 0 to tenants
 *     tenants=N     status=N that is expected
 *     commit=FILE   each reply to a request has a reservation_id, which takes
 *                   the place of LOAD_ID in this request that follows it; in
 *                   both, LOAD_KEY becomes another number each time
 *     reply=FILE    what the provider answers, head and body
 *     pause=MS      between the events of a reply; 0: all of it at once
 *     spin=1        never sleeps: else a gateway that is slower would also have
 *                   to wake this process up more often than a fast one
 *     hold=1        replies stop in the middle until "seconds" are over
 *
 * Calls to a Cycles server and to "/auth" are answered by the provider, too.
 * Prints one line of JSON.
 */


#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define LOAD_BUFFER   (256 * 1024)
#define LOAD_HEAD     4096
#define LOAD_SAMPLES  (8 * 1024 * 1024)
#define LOAD_MARK     "%TENANT%"
#define LOAD_KEY      "%IDEMPOTENCYKEY%"
#define LOAD_ID       "%===========RESERVATION_ID=========%"


typedef enum {
    LOAD_LISTENER = 0,
    LOAD_PROVIDER,
    LOAD_CLIENT
} load_kind_t;


typedef enum {
    sw_head = 0,
    sw_length,                            /* left bytes of a body */
    sw_chunk_size,
    sw_chunk,
    sw_chunk_end,
    sw_trailer
} load_state_t;


typedef struct load_conn_s  load_conn_t;

struct load_conn_s {
    int             fd;
    load_kind_t     kind;
    load_state_t    state;
    uint64_t        left;
    unsigned        digits;               /* of a chunk's size, or its end */
    size_t          head_len;
    int             status;

    const char     *out;                  /* what is being sent */
    size_t          out_len;
    size_t          out_pos;
    int             writing;              /* waits to be writable */
    int             closing;              /* once all is sent */
    uint64_t        due;                  /* of the next event */
    load_conn_t    *next;                 /* in the queue of pauses */

    int             busy;                 /* a request is under way */
    uint64_t        begun;
    uint64_t        first;

    char           *request;              /* its own copies */
    char           *commit;
    int             reserved;             /* commit is what comes next */
    char            head[LOAD_HEAD];
};


static struct {
    int             port;
    int             stub;
    unsigned        connections;
    double          seconds;
    double          rate;
    unsigned        tenants;
    int             status;
    unsigned        pause;
    int             hold;
    int             spin;
} load = { 0, 0, 1, 1, 0, 0, 200, 0, 0, 0 };

static int           load_epoll;
static char         *load_request, *load_commit, *load_reply, *load_events;
static size_t        load_request_len, load_commit_len, load_reply_len;
static uint64_t      load_key;
static uint64_t      load_begin, load_end;
static uint64_t      load_sent, load_done, load_bad, load_broken;
static uint64_t      load_answered, load_bytes, load_turns, load_blank;
static unsigned      load_tenant, load_open;
static load_conn_t **load_idle;
static unsigned      load_nidle;
static load_conn_t  *load_first, *load_last;
static uint32_t     *load_latency, *load_ttfb;
static char          load_buffer[LOAD_BUFFER];
static volatile sig_atomic_t  load_stop;

static const char  load_ok[] = "HTTP/1.1 204 No Content\r\n\r\n";
static char        load_reserved[512], load_committed[512], load_extended[512];


static void load_client_begin(load_conn_t *c, uint64_t now);


static uint64_t
load_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}


static void
load_fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}


static void
load_signal(int number)
{
    load_stop = 1;
}


static char *
load_file(const char *name, size_t *len)
{
    long   n;
    char  *text;
    FILE  *file;

    file = fopen(name, "r");

    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        load_fail(name);
    }

    n = ftell(file);

    if (n < 0) {
        load_fail(name);
    }

    rewind(file);

    text = malloc((size_t) n + 1);

    if (text == NULL || fread(text, 1, (size_t) n, file) != (size_t) n) {
        load_fail(name);
    }

    fclose(file);

    text[n] = '\0';
    *len = (size_t) n;

    return text;
}


static void
load_json(char *reply, size_t size, const char *body)
{
    snprintf(reply, size, "HTTP/1.1 200 OK\r\nContent-Type: application/json"
             "\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
}


static void
load_watch(load_conn_t *c, int op, unsigned events)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.ptr = c;

    if (epoll_ctl(load_epoll, op, c->fd, &ev) != 0) {
        load_fail("epoll_ctl");
    }
}


static load_conn_t *
load_conn(int fd, load_kind_t kind)
{
    int           on;
    load_conn_t  *c;

    c = calloc(1, sizeof(load_conn_t));

    if (c == NULL) {
        load_fail("calloc");
    }

    on = 1;
    c->fd = fd;
    c->kind = kind;

    if (kind != LOAD_LISTENER) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }

    load_watch(c, EPOLL_CTL_ADD, EPOLLIN);

    return c;
}


static void
load_address(struct sockaddr_in *sin, int port)
{
    memset(sin, 0, sizeof(*sin));
    sin->sin_family = AF_INET;
    sin->sin_port = htons((uint16_t) port);
    sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}


static void
load_listen(void)
{
    int                 fd, on;
    struct sockaddr_in  sin;

    fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK, 0);
    on = 1;
    load_address(&sin, load.stub);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0
        || bind(fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || listen(fd, 16384) != 0)
    {
        load_fail("listen");
    }

    (void) load_conn(fd, LOAD_LISTENER);
}


static int
load_connect(void)
{
    int                 fd;
    struct sockaddr_in  sin;

    fd = socket(AF_INET, SOCK_STREAM, 0);
    load_address(&sin, load.port);

    if (fd == -1 || connect(fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
    {
        load_fail("connect");
    }

    return fd;
}


static void
load_write(load_conn_t *c)
{
    ssize_t  n;

    while (c->out_pos < c->out_len) {

        n = write(c->fd, c->out + c->out_pos, c->out_len - c->out_pos);

        if (n == -1 && errno == EAGAIN) {
            if (!c->writing) {
                c->writing = 1;
                load_watch(c, EPOLL_CTL_MOD, EPOLLIN|EPOLLOUT);
            }

            return;
        }

        if (n == -1) {
            return;                       /* the reading end will see it */
        }

        c->out_pos += (size_t) n;
    }

    if (c->writing) {
        c->writing = 0;
        load_watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }

    if (c->closing) {
        (void) shutdown(c->fd, SHUT_WR);
    }
}


static void
load_send(load_conn_t *c, const char *text, size_t len)
{
    c->out = text;
    c->out_len = len;
    c->out_pos = 0;
    load_write(c);
}


/* the head of a message is whole: how long is its body? */

static void
load_head(load_conn_t *c)
{
    const char  *p;

    c->head[c->head_len] = '\0';

    if (c->kind == LOAD_CLIENT) {
        c->status = atoi(c->head + sizeof("HTTP/1.1 ") - 1);
    }

    c->state = sw_length;
    c->left = 0;

    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
        c->state = sw_chunk_size;
        c->digits = 0;
        return;
    }

    p = strcasestr(c->head, "\r\ncontent-length:");

    if (p) {
        c->left = strtoull(p + sizeof("\r\ncontent-length:") - 1, NULL, 10);
    }
}


static void
load_answer(load_conn_t *c)
{
    const char  *end, *path;

    load_answered++;

    path = strchr(c->head, ' ');
    end = path ? strchr(path + 1, ' ') : NULL;

    c->closing = (strcasestr(c->head, "\r\nconnection: close") != NULL);

    if (end && strncmp(path, " /v1/reservations ", 18) == 0) {
        load_send(c, load_reserved, strlen(load_reserved));

    } else if (end && end - path > 7 && memcmp(end - 7, "/commit", 7) == 0) {
        load_send(c, load_committed, strlen(load_committed));

    } else if (end && end - path > 7 && memcmp(end - 7, "/extend", 7) == 0) {
        load_send(c, load_extended, strlen(load_extended));

    } else if (end && strncmp(path, " /auth ", 7) == 0) {
        load_send(c, load_ok, sizeof(load_ok) - 1);

    } else if (load_events == NULL) {
        load_send(c, load_reply, load_reply_len);

    } else {
        load_send(c, load_reply, (size_t) (load_events - load_reply));
        c->due = load_now() + load.pause * 1000000u;
        c->next = NULL;

        if (load_last) {
            load_last->next = c;

        } else {
            load_first = c;
        }

        load_last = c;
    }
}


/* behind the chunk of the event at p, and behind the last chunk of all */

static const char *
load_event_end(const char *p)
{
    const char  *end;

    static const char  mark[] = "\n\n\r\n", last[] = "0\r\n\r\n";

    end = strstr(p, mark);

    if (end == NULL) {
        return load_reply + load_reply_len;
    }

    end += sizeof(mark) - 1;

    return (strcmp(end, last) == 0) ? end + sizeof(last) - 1 : end;
}


/* the next event of each reply whose pause is over */

static void
load_pauses(uint64_t now)
{
    const char   *begin, *end;
    load_conn_t  *c;

    if (load.hold && now < load_end) {
        return;
    }

    while (load_first && load_first->due <= now) {

        c = load_first;
        load_first = c->next;

        if (load_first == NULL) {
            load_last = NULL;
        }

        if (c->fd == -1) {
            free(c);
            continue;
        }

        begin = c->out + c->out_len;
        end = load.hold ? load_reply + load_reply_len : load_event_end(begin);

        load_send(c, begin, (size_t) (end - begin));

        if (end < load_reply + load_reply_len) {
            c->due += load.pause * 1000000u;
            c->next = NULL;

            if (load_last) {
                load_last->next = c;

            } else {
                load_first = c;
            }

            load_last = c;
        }
    }
}


static void
load_client_end(load_conn_t *c, uint64_t now)
{
    c->busy = 0;

    if (c->status != load.status) {
        load_bad++;
    }

    if (load_done < LOAD_SAMPLES) {
        load_latency[load_done] = (uint32_t) ((now - c->begun) / 1000);
        load_ttfb[load_done] = (uint32_t) ((c->first - c->begun) / 1000);
    }

    load_done++;

    if (now >= load_end) {
        return;
    }

    if (load.rate > 0) {
        load_idle[load_nidle++] = c;
        return;
    }

    load_client_begin(c, now);
}


static void
load_set_key(char *request, const char *from)
{
    char         key[20];
    const char  *mark;

    mark = strstr(from, LOAD_KEY);

    if (mark) {
        snprintf(key, sizeof(key), "%016llx", (unsigned long long) ++load_key);
        memcpy(request + (mark - from), key, 16);
    }
}


static void
load_client_begin(load_conn_t *c, uint64_t now)
{
    char  *mark, digits[16];

    if (c->reserved) {
        load_set_key(c->commit, load_commit);

    } else {
        load_set_key(c->request, load_request);
    }

    if (load.tenants && !c->reserved) {
        mark = c->request;
        snprintf(digits, sizeof(digits), "%08u", load_tenant);
        load_tenant = (load_tenant + 1) % load.tenants;

        mark += (ssize_t) (strstr(load_request, LOAD_MARK) - load_request);
        memcpy(mark, digits, 8);
    }

    c->state = sw_head;
    c->head_len = 0;
    c->busy = 1;
    c->begun = now;
    c->first = 0;

    load_sent++;

    if (c->reserved) {
        load_send(c, c->commit, load_commit_len);

    } else {
        load_send(c, c->request, load_request_len);
    }
}


/* the id of what was reserved: these replies are small and come at once */

static void
load_take_id(load_conn_t *c, const char *p, const char *last)
{
    const char  *id, *mark;

    static const char  name[] = "\"reservation_id\":\"";

    if (c->reserved) {
        c->reserved = 0;
        return;
    }

    id = memmem(p, (size_t) (last - p), name, sizeof(name) - 1);
    mark = strstr(load_commit, LOAD_ID);

    if (id == NULL || mark == NULL || last - id < 64) {
        load_bad++;
        return;
    }

    memcpy(c->commit + (mark - load_commit), id + sizeof(name) - 1, 36);
    c->reserved = 1;
}


static void
load_message_end(load_conn_t *c, uint64_t now)
{
    c->state = sw_head;
    c->head_len = 0;

    if (c->kind == LOAD_CLIENT) {
        load_client_end(c, now);

    } else {
        load_answer(c);
    }
}


/* reads on in n bytes of a message; returns what is behind its end */

static const char *
load_parse(load_conn_t *c, const char *p, const char *last, uint64_t now)
{
    char      ch;
    uint64_t  n;

    while (p < last) {

        switch (c->state) {

        case sw_head:
            if (c->head_len == LOAD_HEAD - 1) {
                load_broken++;
                return last;
            }

            c->head[c->head_len++] = ch = *p++;

            if (ch != '\n' || c->head_len < 4
                || memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) != 0)
            {
                break;
            }

            load_head(c);

            if (c->state == sw_length && c->left == 0) {
                load_message_end(c, now);
                return p;
            }

            break;

        case sw_length:
        case sw_chunk:
            n = (uint64_t) (last - p);
            n = (n < c->left) ? n : c->left;
            p += n;
            c->left -= n;

            if (c->left) {
                break;
            }

            if (c->state == sw_length) {
                load_message_end(c, now);
                return p;
            }

            c->state = sw_chunk_end;
            c->digits = 0;
            break;

        case sw_chunk_end:
            if (*p++ == '\n') {
                c->state = sw_chunk_size;
                c->left = 0;
                c->digits = 0;
            }

            break;

        case sw_chunk_size:
            ch = *p++;

            if (ch == '\n') {
                c->state = c->left ? sw_chunk : sw_trailer;
                c->digits = 0;

            } else if (ch != '\r') {
                ch |= 0x20;
                c->left = c->left * 16
                          + (uint64_t) (ch >= 'a' ? ch - 'a' + 10
                                                  : (ch & 0x0f));
            }

            break;

        default: /* sw_trailer, which is empty */
            if (*p++ == '\n') {
                load_message_end(c, now);
                return p;
            }
        }
    }

    return p;
}


static void
load_closed(load_conn_t *c)
{
    close(c->fd);

    if (c->kind == LOAD_PROVIDER) {
        c->fd = -1;

        if (c->next == NULL && load_last != c) {
            free(c);
        }

        return;
    }

    if (c->busy && load_now() < load_end) {
        load_broken++;
    }

    c->writing = 0;
    c->fd = load_connect();
    load_watch(c, EPOLL_CTL_ADD, EPOLLIN);

    if (c->busy) {
        c->busy = 0;
        load_client_begin(c, load_now());
    }
}


static void
load_read(load_conn_t *c)
{
    ssize_t      n;
    uint64_t     now;
    const char  *p, *last;

    n = read(c->fd, load_buffer, sizeof(load_buffer));

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        load_closed(c);
        return;
    }

    now = load_now();

    if (c->kind == LOAD_CLIENT) {
        load_bytes += (uint64_t) n;

        if (c->first == 0) {
            c->first = now;
        }
    }

    p = load_buffer;
    last = p + n;

    if (load_commit && c->kind == LOAD_CLIENT) {
        load_take_id(c, p, last);
    }

    while (p < last) {
        p = load_parse(c, p, last, now);
    }
}


static void
load_accept(load_conn_t *listener)
{
    int  fd;

    for ( ;; ) {
        fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);

        if (fd == -1) {
            return;
        }

        (void) load_conn(fd, LOAD_PROVIDER);
        load_open++;
    }
}


/* how long to wait, in milliseconds, and what is to be begun */

static int
load_schedule(uint64_t now)
{
    double    due;
    uint64_t  wait, until;

    until = load_end;

    while (load.rate > 0 && load_nidle && now < load_end) {

        due = (double) load_begin + (double) load_sent * 1e9 / load.rate;

        if (due > (double) now) {
            until = (uint64_t) due;
            break;
        }

        load_client_begin(load_idle[--load_nidle], (uint64_t) due);
    }

    if (load_first && !load.hold && load_first->due < until) {
        until = load_first->due;
    }

    if (load.port == 0) {
        return 1000;
    }

    wait = (until > now) ? until - now : 0;

    return ((load.rate > 0 && wait < 1000000) || load.spin)
           ? 0 : (int) (wait / 1000000);
}


static void
load_run(void)
{
    int                  i, n, ms;
    uint64_t             now;
    load_conn_t         *c;
    struct epoll_event   events[512];

    for ( ;; ) {

        now = load_now();
        load_pauses(now);

        if (load_stop || (load.port && now >= load_end
                          && (load_done >= load_sent
                              || now > load_end + 20000000000u)))
        {
            return;
        }

        ms = load_schedule(now);

        if (now >= load_end && load.port) {
            ms = load_first ? 1 : 100;
        }

        n = epoll_wait(load_epoll, events, 512, ms);

        load_turns++;
        load_blank += (n == 0);

        for (i = 0; i < n; i++) {
            c = events[i].data.ptr;

            if (c->kind == LOAD_LISTENER) {
                load_accept(c);
                continue;
            }

            if (events[i].events & EPOLLOUT) {
                load_write(c);
            }

            if (events[i].events & ~(unsigned) EPOLLOUT) {
                load_read(c);
            }
        }
    }
}


static int
load_compare(const void *a, const void *b)
{
    uint32_t  x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return (x > y) - (x < y);
}


static void
load_report(void)
{
    double         wall, cpu;
    uint64_t       n;
    struct rusage  usage;

    wall = (double) (load_now() - load_begin) / 1e9;

    getrusage(RUSAGE_SELF, &usage);

    cpu = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
          + (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;

    n = (load_done < LOAD_SAMPLES) ? load_done : LOAD_SAMPLES;

    qsort(load_latency, n, sizeof(uint32_t), load_compare);
    qsort(load_ttfb, n, sizeof(uint32_t), load_compare);

    printf("{\"requests\": %llu, \"seconds\": %.6f, \"bad\": %llu, \"broken\":"
           " %llu, \"unfinished\": %llu, \"bytes\": %llu, \"answered\": %llu,"
           " \"upstream_connections\": %u, \"busy\": %.4f, \"turns\": %llu,"
           " \"blank_turns\": %llu",
           (unsigned long long) load_done, wall,
           (unsigned long long) load_bad, (unsigned long long) load_broken,
           (unsigned long long) (load_sent - load_done),
           (unsigned long long) load_bytes,
           (unsigned long long) load_answered, load_open, cpu / wall,
           (unsigned long long) load_turns, (unsigned long long) load_blank);

    if (n) {
        printf(", \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u,"
               " \"ttfb_p50_us\": %u, \"ttfb_p99_us\": %u",
               load_latency[n / 2], load_latency[n * 99 / 100],
               load_latency[n - 1], load_ttfb[n / 2],
               load_ttfb[n * 99 / 100]);
    }

    printf("}\n");
}


static void
load_option(char *arg)
{
    char  *value;

    value = strchr(arg, '=');

    if (value == NULL) {
        errno = EINVAL;
        load_fail(arg);
    }

    *value++ = '\0';

    if (strcmp(arg, "port") == 0) {
        load.port = atoi(value);

    } else if (strcmp(arg, "stub") == 0) {
        load.stub = atoi(value);

    } else if (strcmp(arg, "connections") == 0) {
        load.connections = (unsigned) atoi(value);

    } else if (strcmp(arg, "seconds") == 0) {
        load.seconds = atof(value);

    } else if (strcmp(arg, "rate") == 0) {
        load.rate = atof(value);

    } else if (strcmp(arg, "tenants") == 0) {
        load.tenants = (unsigned) atoi(value);

    } else if (strcmp(arg, "status") == 0) {
        load.status = atoi(value);

    } else if (strcmp(arg, "pause") == 0) {
        load.pause = (unsigned) atoi(value);

    } else if (strcmp(arg, "hold") == 0) {
        load.hold = atoi(value);

    } else if (strcmp(arg, "spin") == 0) {
        load.spin = atoi(value);

    } else if (strcmp(arg, "request") == 0) {
        load_request = load_file(value, &load_request_len);

    } else if (strcmp(arg, "commit") == 0) {
        load_commit = load_file(value, &load_commit_len);

    } else if (strcmp(arg, "reply") == 0) {
        load_reply = load_file(value, &load_reply_len);

    } else {
        errno = EINVAL;
        load_fail(arg);
    }
}


static void
load_clients(void)
{
    unsigned      i;
    load_conn_t  *c;

    load_idle = calloc(load.connections, sizeof(load_conn_t *));
    load_latency = malloc(LOAD_SAMPLES * sizeof(uint32_t));
    load_ttfb = malloc(LOAD_SAMPLES * sizeof(uint32_t));

    if (load_idle == NULL || load_latency == NULL || load_ttfb == NULL) {
        load_fail("malloc");
    }

    for (i = 0; i < load.connections; i++) {
        c = load_conn(load_connect(), LOAD_CLIENT);
        c->request = malloc(load_request_len);

        if (c->request == NULL) {
            load_fail("malloc");
        }

        memcpy(c->request, load_request, load_request_len);

        if (load_commit) {
            c->commit = malloc(load_commit_len);

            if (c->commit == NULL) {
                load_fail("malloc");
            }

            memcpy(c->commit, load_commit, load_commit_len);
        }

        load_idle[load_nidle++] = c;
    }

    load_begin = load_now();
    load_end = load_begin + (uint64_t) (load.seconds * 1e9);

    while (load.rate <= 0 && load_nidle) {
        load_client_begin(load_idle[--load_nidle], load_now());
    }
}


int
main(int argc, char **argv)
{
    int            i;
    struct rlimit  limit;

    for (i = 1; i < argc; i++) {
        load_option(argv[i]);
    }

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, load_signal);

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }

    load_json(load_reserved, sizeof(load_reserved),
              "{\"decision\":\"ALLOW\",\"reservation_id\":\"rsv-bench\","
              "\"affected_scopes\":[\"tenant:acme\"],\"expires_at_ms\":"
              "4102444800000,\"remaining_ttl_ms\":60000,\"scope_path\":"
              "\"tenant:acme\",\"reserved\":{\"unit\":\"USD_MICROCENTS\","
              "\"amount\":10000}}");
    load_json(load_committed, sizeof(load_committed),
              "{\"status\":\"COMMITTED\",\"charged\":{\"unit\":"
              "\"USD_MICROCENTS\",\"amount\":10000},\"released\":{\"unit\":"
              "\"USD_MICROCENTS\",\"amount\":0}}");
    load_json(load_extended, sizeof(load_extended),
              "{\"status\":\"ACTIVE\",\"expires_at_ms\":4102444800000,"
              "\"remaining_ttl_ms\":60000}");

    /* no two runs have the same keys */

    load_key = (uint64_t) time(NULL) << 32;

    load_epoll = epoll_create1(0);

    if (load_epoll == -1) {
        load_fail("epoll_create1");
    }

    if (load.stub) {

        if (load_reply == NULL) {
            errno = EINVAL;
            load_fail("reply");
        }

        if (load.pause || load.hold) {
            load_events = strstr(load_reply, "\r\n\r\n") + 4;
        }

        load_listen();
    }

    if (load.port) {
        load_clients();
    }

    load_run();

    if (load.port) {
        load_report();
    }

    return 0;
}
