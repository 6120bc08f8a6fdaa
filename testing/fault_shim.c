/* Faults at the n-th thing that a process does to one file: LD_PRELOAD it, then call fault_arm.

   It stands before write, fsync, truncate, unlink and rename for every file whose path holds a given word, so SQLite's own files
   beside a database are meant too. FAULT_KILL kills the process, a write half done; FAULT_FULL: the disk is full from then on;
   FAULT_IO: one error, and all is well again. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { FAULT_NONE, FAULT_KILL, FAULT_FULL, FAULT_IO };

static char word[256];
static int mode = FAULT_NONE, at = 0, count = 0;

void fault_arm(const char *part, int new_mode, int number) {
    strncpy(word, part, sizeof word - 1);
    mode = new_mode;
    at = number;
    count = 0;
}

int fault_count(void) { return count; }

static int ours_by_name(const char *path) { return word[0] && path && strstr(path, word); }

static int ours(int file) {
    char link[64], path[4096];
    if (!word[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return ours_by_name(path);
}

/* 0: go on. 1: die. -1: fail, errno is set. */
static int fault(void) {
    count++;
    if (mode == FAULT_FULL && at && count >= at) { errno = ENOSPC; return -1; }
    if (count != at) return 0;
    if (mode == FAULT_IO) { errno = EIO; return -1; }
    return mode == FAULT_KILL;
}

static void die(void) { kill(getpid(), SIGKILL); pause(); }

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

#define WRITES(name, offset_type)                                                        \
    ssize_t name(int file, const void *data, size_t size, offset_type place) {           \
        if (ours(file)) switch (fault()) {                                               \
            case 1: REAL(name)(file, data, size / 2, place); die();                      \
            case -1: return -1;                                                          \
        }                                                                                \
        return REAL(name)(file, data, size, place);                                      \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

ssize_t write(int file, const void *data, size_t size) {
    if (ours(file)) switch (fault()) {
        case 1: REAL(write)(file, data, size / 2); die();
        case -1: return -1;
    }
    return REAL(write)(file, data, size);
}

#define FILES(name, arguments, given)                                                    \
    int name arguments {                                                                 \
        if (ours(file)) switch (fault()) {                                               \
            case 1: die();                                                               \
            case -1: return -1;                                                          \
        }                                                                                \
        return REAL(name) given;                                                         \
    }
FILES(fsync, (int file), (file))
FILES(fdatasync, (int file), (file))
FILES(ftruncate, (int file, off_t size), (file, size))
FILES(ftruncate64, (int file, off64_t size), (file, size))

int unlink(const char *path) {
    if (ours_by_name(path)) switch (fault()) {
        case 1: die();
        case -1: return -1;
    }
    return REAL(unlink)(path);
}

int rename(const char *from, const char *to) {
    if (ours_by_name(from)) switch (fault()) {
        case 1: die();
        case -1: return -1;
    }
    return REAL(rename)(from, to);
}
