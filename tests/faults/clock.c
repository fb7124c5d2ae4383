/* A clock that jumps: loaded before the C library, it adds GLASSBOX_JUMP seconds to the time of day once that many
   reads of it have been made. Monotonic clocks go on as they are, as on a machine whose clock is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long reads;

static long jump(void) {
    const char *seconds = getenv("GLASSBOX_JUMP"), *after = getenv("GLASSBOX_JUMP_AFTER");
    return seconds && after && ++reads > atol(after) ? atol(seconds) : 0;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, now);
    if (which == CLOCK_REALTIME) now->tv_sec += jump();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(now, zone);
    now->tv_sec += jump();
    return result;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
