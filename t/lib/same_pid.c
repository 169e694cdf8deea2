
/*
 * Copyright (C) nginx-cycles authors
 *
 * LD_PRELOAD: all workers of an nginx believe that their pid is SAME_PID, as
 * one that has died and one that comes after it may in a small pid namespace.
 */


#define _GNU_SOURCE

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>


static pid_t  same_pid_master;
static pid_t  same_pid;


/* at the start: nginx gives its processes an environment of its own */

__attribute__((constructor))
static void
same_pid_init(void)
{
    char  *number;

    number = getenv("SAME_PID");

    same_pid_master = syscall(SYS_getpid);
    same_pid = number ? atoi(number) : 0;
}


pid_t
getpid(void)
{
    pid_t  pid;

    pid = syscall(SYS_getpid);

    return (same_pid == 0 || pid == same_pid_master) ? pid : same_pid;
}
