
/*
 * Copyright (C) nginx-cycles authors
 *
 * Just enough TAP for the unit tests: the plan comes at the end.
 */


#ifndef _TAP_H_INCLUDED_
#define _TAP_H_INCLUDED_


#include <stdarg.h>
#include <stdio.h>
#include <string.h>


static int  tap_count;
static int  tap_failed;


static inline int
tap_result(int passed, const char *fmt, va_list args)
{
    char  *p, text[512];

    tap_count++;
    tap_failed += !passed;

    vsnprintf(text, sizeof(text), fmt, args);

    /* a line end or a "#" would mean something to the reader of TAP */

    for (p = text; *p; p++) {
        if ((unsigned char) *p < ' ' || *p == '#') {
            *p = ' ';
        }
    }

    printf("%sok %d - %s\n", passed ? "" : "not ", tap_count, text);
    fflush(stdout);

    return passed;
}


__attribute__((format(printf, 2, 3)))
static inline int
ok(int cond, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    cond = tap_result(cond != 0, fmt, args);
    va_end(args);

    return cond;
}


__attribute__((format(printf, 3, 4)))
static inline int
is_int(long long got, long long want, const char *fmt, ...)
{
    int      passed;
    va_list  args;

    va_start(args, fmt);
    passed = tap_result(got == want, fmt, args);
    va_end(args);

    if (!passed) {
        printf("# got %lld, want %lld\n", got, want);
    }

    return passed;
}


__attribute__((format(printf, 3, 4)))
static inline int
is_str(const char *got, const char *want, const char *fmt, ...)
{
    int      passed;
    va_list  args;

    passed = (got == NULL || want == NULL) ? got == want
                                           : strcmp(got, want) == 0;

    va_start(args, fmt);
    passed = tap_result(passed, fmt, args);
    va_end(args);

    if (!passed) {
        printf("# got \"%s\", want \"%s\"\n", got ? got : "(null)",
               want ? want : "(null)");
    }

    return passed;
}


/* the plan; what main() returns */

static inline int
done_testing(void)
{
    printf("1..%d\n", tap_count);

    return tap_failed ? 1 : 0;
}


#endif /* _TAP_H_INCLUDED_ */
