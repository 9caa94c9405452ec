/* Makes one file operation below a folder fail, or the process die there, counting operations as they come; or
 * asks before each what is to happen, so that one execution serves the faults of all its operations.
 *
 * Preloaded into the process under test (LD_PRELOAD); armed from Python through ctypes. Everything that goes
 * through the C library is seen: Python, Arrow, torch, SQLite, Rust libraries. Memory maps are not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 4096

static char root[PATH_MAX];
static atomic_long count, at;
static int number, sticky, die;
static atomic_char tracked[FILES];

void fault_arm(const char *folder, long where, int error, int stays, int dies) {
    strncpy(root, folder, sizeof root - 1);
    atomic_store(&count, 0);
    at = where; number = error; sticky = stays; die = dies;
}

static int tell = -1, answer = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* From now on every operation asks what to do (`ask`), through two pipes. */
void fault_walk(int to, int from) { tell = to; answer = from; }

static int noting = -1;

/* From now on every operation is noted in a file: which, and on what. */
void fault_note(int fd) { noting = fd; }

static void say(int what, int value) {
    int words[2] = {what, value};
    if (syscall(SYS_write, tell, words, sizeof words) != sizeof words) _exit(78);
}

/* Says {0, whether this is the main thread}, and is told {0}: go on, or {1, errno, stays}: a copy of the process,
 * forked here, meets that error now. Of the copy it says {1, its number}, and when it has ended {2, its status}.
 * What a copy shares with this process are the positions in open files; they are put back. Files are put back
 * by whoever listens. */
static void ask(void) {
    static off64_t positions[FILES];
    int order[3], status = 0, before = errno;
    pthread_mutex_lock(&turn);
    say(0, syscall(SYS_gettid) == getpid());
    while (syscall(SYS_read, answer, order, sizeof order) == sizeof order && order[0]) {
        for (int fd = 0; fd < FILES; fd++) positions[fd] = tracked[fd] ? lseek64(fd, 0, SEEK_CUR) : -1;
        pid_t copy = fork();
        if (!copy) {
            tell = noting = -1;
            at = atomic_load(&count); number = order[1]; sticky = order[2]; die = 0;
            break;
        }
        say(1, copy);
        waitpid(copy, &status, 0);
        for (int fd = 0; fd < FILES; fd++) if (positions[fd] >= 0) lseek64(fd, positions[fd], SEEK_SET);
        say(2, status);
    }
    pthread_mutex_unlock(&turn);
    errno = before;
}

static void note(const char *what, int fd, const char *path) {
    char link[64], file[PATH_MAX] = "", line[PATH_MAX + 64];
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (syscall(SYS_readlink, link, file, sizeof file - 1) < 0) file[0] = 0;
        path = file;
    }
    int size = snprintf(line, sizeof line, "%s %s\n", what, path);
    if (syscall(SYS_write, noting, line, size) != size) _exit(78);
}

/* 1 when this operation must fail; errno is set. */
static int hit(const char *what, int fd, const char *path) {
    if (!root[0]) return 0;
    if (noting >= 0) note(what, fd, path);
    if (tell >= 0) ask();
    long here = atomic_fetch_add(&count, 1);
    if (at < 0 || here < at || (here > at && !sticky)) return 0;
    if (die) _exit(77);
    errno = number;
    return 1;
}

static int below(const char *path) {
    size_t length = strlen(root);
    return root[0] && path && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int below_at(int folder, const char *path) {
    if (path && path[0] == '/') return below(path);
    return folder >= 0 && folder < FILES && tracked[folder];
}

static int known(int fd) { return fd >= 0 && fd < FILES && tracked[fd]; }

static int track(int fd, int is) {
    if (fd >= 0 && fd < FILES) tracked[fd] = (char)is;
    return fd;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); } \
        int is = below(path); \
        if (is && hit(#name, -1, path)) return -1; \
        return track(real(path, flags, mode), is); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); } \
        int is = below_at(folder, path); \
        if (is && hit(#name, folder, path)) return -1; \
        return track(real(folder, path, flags, mode), is); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    REAL(int, close, int);
    track(fd, 0);
    return real(fd);
}

#define ON_FILE(result, name, list, call) \
    result name list { REAL(result, name, TYPES); if (known(fd) && hit(#name, fd, NULL)) return -1; return real call; }

#define TYPES int, const void *, size_t
ON_FILE(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
#undef TYPES
#define TYPES int, void *, size_t
ON_FILE(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
#undef TYPES
#define TYPES int, const void *, size_t, off64_t
ON_FILE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t offset), (fd, data, size, offset))
#undef TYPES
#define TYPES int, void *, size_t, off64_t
ON_FILE(ssize_t, pread64, (int fd, void *data, size_t size, off64_t offset), (fd, data, size, offset))
#undef TYPES
#define TYPES int, const struct iovec *, int
ON_FILE(ssize_t, writev, (int fd, const struct iovec *parts, int size), (fd, parts, size))
#undef TYPES
#define TYPES int
ON_FILE(int, fsync, (int fd), (fd))
ON_FILE(int, fdatasync, (int fd), (fd))
#undef TYPES
#define TYPES int, off64_t
ON_FILE(int, ftruncate64, (int fd, off64_t size), (fd, size))
#undef TYPES

#define ON_PATH(name, list, types, path, call) \
    int name list { REAL(int, name, types); if (below(path) && hit(#name, -1, path)) return -1; return real call; }
#define COMMA ,
ON_PATH(rename, (const char *from, const char *to), const char * COMMA const char *, to, (from, to))
ON_PATH(link, (const char *from, const char *to), const char * COMMA const char *, to, (from, to))
ON_PATH(mkdir, (const char *path, mode_t mode), const char * COMMA mode_t, path, (path, mode))
ON_PATH(unlink, (const char *path), const char *, path, (path))
ON_PATH(rmdir, (const char *path), const char *, path, (path))

#define ON_FOLDER(name, list, types, call) \
    int name list { REAL(int, name, types); if (below_at(folder, path) && hit(#name, folder, path)) return -1; return real call; }
ON_FOLDER(mkdirat, (int folder, const char *path, mode_t mode), int COMMA const char * COMMA mode_t, (folder, path, mode))
ON_FOLDER(unlinkat, (int folder, const char *path, int flags), int COMMA const char * COMMA int, (folder, path, flags))

int renameat(int a, const char *from, int folder, const char *path) {
    REAL(int, renameat, int, const char *, int, const char *);
    if (below_at(folder, path) && hit("renameat", folder, path)) return -1;
    return real(a, from, folder, path);
}

int linkat(int a, const char *from, int folder, const char *path, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    if (below_at(folder, path) && hit("linkat", folder, path)) return -1;
    return real(a, from, folder, path, flags);
}
