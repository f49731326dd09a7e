/* The event loop of stage S11: HTTP and epoll in C, the handlers in Python.
 *
 * Each turn sleeps until something happens, runs each connection with an event, then those whose
 * timers have fired. Events come before timers, so that a loop delayed by a CPU-bound handler does
 * not mistake its own delay for a slow client.
 *
 * The listener is level-triggered; connections are accepted in small batches. It is removed from
 * epoll at the limit of connections, and for a tenth of a second without descriptors: otherwise it
 * would be reported over and over, and the loop would spin without being able to accept.
 *
 * A batch of events never contains a connection that was freed in the same batch: each connection
 * is reported at most once per batch, and is closed only by its own event or, after the batch, by
 * its timer.
 */

#define _GNU_SOURCE /* accept4, pipe2 */

#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"

enum { EVENTS = 128, ACCEPTS = 64 };

#define MICROSECOND INT64_C(1000)
#define MILLISECOND INT64_C(1000000)
#define RETRY_TIME (100 * MILLISECOND)

void loop_read_clock(struct loop *loop)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    loop->now = time.tv_sec * (1000 * MILLISECOND) + time.tv_nsec;
}

/* Input buffers: one returned buffer is kept for the next request. A request that arrives in one
 * piece returns its buffer before the next connection needs one. */

char *loop_take_input(struct loop *loop)
{
    char *data = loop->spare;
    loop->spare = NULL;
    return data ? data : malloc(INPUT_SIZE);
}

void loop_give_input(struct loop *loop, char *data)
{
    if (loop->spare)
        free(data);
    else
        loop->spare = data;
}

/* Accepting */

/* False: epoll_ctl is out of memory; retried later, like a failed accept. */
static bool listen_again(struct loop *loop)
{
    struct epoll_event event = {EPOLLIN, {.ptr = &loop->listener}};
    loop->paused = epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->listener, &event);
    if (loop->paused)
        timer_set(&loop->timers, &loop->retry, loop->now + RETRY_TIME);
    else
        timer_drop(&loop->timers, &loop->retry);
    return !loop->paused;
}

static void pause_listener(struct loop *loop)
{
    if (!loop->paused)
        epoll_ctl(loop->epoll, EPOLL_CTL_DEL, loop->listener, NULL);
    loop->paused = true;
}

void loop_forget(struct loop *loop)
{
    loop->count--;
    if (loop->paused && !loop->stopping)
        listen_again(loop);
}

static void fail_to_accept(struct loop *loop)
{
    if (!loop->told)
        app_log_errno(loop->app, "cannot accept");
    loop->told = true;
    pause_listener(loop);
    timer_set(&loop->timers, &loop->retry, loop->now + RETRY_TIME);
}

static void accept_some(struct loop *loop)
{
    for (int i = 0; i < ACCEPTS; i++) {
        if (loop->count == loop->settings.connections) {
            pause_listener(loop);
            return;
        }
        union peer peer;
        socklen_t size = sizeof peer;
        int fd = accept4(loop->listener, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 || !conn_open(loop, fd, &peer)) {
            if (fd >= 0)
                close(fd);
            fail_to_accept(loop);
            return;
        }
        loop->told = false;
    }
}

/* Stopping */

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stop_asked, true);
    /* A full pipe wakes the loop too, so a failed write does not matter. */
    while (write(loop->wake_writer, "!", 1) < 0 && errno == EINTR)
        ;
}

static void empty_pipe(struct loop *loop)
{
    char bytes[256];
    while (read(loop->wake_reader, bytes, sizeof bytes) > 0)
        ;
}

static bool is_idle(const struct conn *conn)
{
    return conn->state == CONN_IDLE && !conn->readable && !conn->input;
}

static void begin_to_stop(struct loop *loop)
{
    loop->stopping = true;
    pause_listener(loop);
    timer_drop(&loop->timers, &loop->retry);
    for (struct conn *conn = loop->connections, *after; conn; conn = after) {
        after = conn->after;
        if (is_idle(conn))
            conn_close(conn);
    }
}

/* The loop */

static int milliseconds_to(struct loop *loop, int64_t time)
{
    if (time == TIMERS_NEVER)
        return -1;
    int64_t left = time - loop->now;
    if (left < MICROSECOND) /* a yielded connection continues at once */
        return 0;
    left = (left + MILLISECOND - 1) / MILLISECOND; /* round up: never wake too early */
    return left < INT_MAX ? (int)left : INT_MAX;
}

/* Wait for events without the GIL. Releasing and retaking it costs no measurable time if no other
 * thread wants it, so this is done even if events are already pending. */
static int sleep_for_events(struct loop *loop, struct epoll_event *events, int64_t until)
{
    int timeout = milliseconds_to(loop, until);
    app_unlock(loop->app);
    int count = epoll_wait(loop->epoll, events, EVENTS, timeout);
    app_lock(loop->app);
    loop_read_clock(loop);
    return count < 0 && errno == EINTR ? 0 : count;
}

static void handle_event(struct loop *loop, const struct epoll_event *event)
{
    if (event->data.ptr == &loop->listener)
        accept_some(loop);
    else if (event->data.ptr == &loop->wake_reader)
        empty_pipe(loop);
    else
        conn_event(event->data.ptr, event->events);
}

static void fire_timers(struct loop *loop)
{
    struct timer *timer;
    int64_t now = loop->now; /* fixed: loop->now advances, and this round must end */
    while ((timer = timers_take_due(&loop->timers, now))) {
        if (timer == &loop->retry)
            listen_again(loop);
        else
            conn_expired(conn_of_timer(timer));
    }
}

static bool turn(struct loop *loop, int64_t until)
{
    struct epoll_event events[EVENTS];
    int64_t next = timers_next(&loop->timers);
    int count = sleep_for_events(loop, events, next < until ? next : until);
    for (int i = 0; i < count; i++)
        handle_event(loop, &events[i]);
    fire_timers(loop);
    return count >= 0 && app_goes_on(loop->app);
}

bool loop_run(struct loop *loop, int listener, int64_t grace)
{
    struct epoll_event wake = {EPOLLIN, {.ptr = &loop->wake_reader}};
    int64_t end = TIMERS_NEVER;
    int on = 1;
    loop->listener = listener;
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted ones inherit it */
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake_reader, &wake) || !listen_again(loop))
        return false;
    loop_read_clock(loop);
    while (!loop->stopping || (loop->count && loop->now < end)) {
        if (!turn(loop, end))
            return false;
        if (!loop->stopping && atomic_load(&loop->stop_asked)) {
            begin_to_stop(loop);
            end = loop->now + grace;
        }
    }
    return true;
}

bool loop_init(struct loop *loop, struct app *app, const struct settings *settings)
{
    int wake[2];
    *loop = (struct loop){.app = app, .settings = *settings, .epoll = -1, .listener = -1};
    loop->wake_reader = loop->wake_writer = -1;
    if (pipe2(wake, O_NONBLOCK | O_CLOEXEC))
        return false;
    loop->wake_reader = wake[0];
    loop->wake_writer = wake[1];
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    /* One more for the retry timer. */
    return loop->epoll >= 0 && timers_init(&loop->timers, settings->connections + 1);
}

void loop_free(struct loop *loop)
{
    loop->stopping = true; /* closing connections must not make room for new ones */
    while (loop->connections)
        conn_close(loop->connections);
    timers_free(&loop->timers);
    free(loop->spare);
    for (size_t i = 0; i < 3; i++) {
        int *fd = (int *[]){&loop->epoll, &loop->wake_reader, &loop->wake_writer}[i];
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
    loop->spare = NULL;
}
