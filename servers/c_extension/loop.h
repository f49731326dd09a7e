/* The event loop: one epoll instance, its connections, their timers. See loop.c. */

#ifndef CHAINLAB_LOOP_H
#define CHAINLAB_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "timers.h"

struct app;
struct conn;

/* The settings of the server; servers/common/session.py explains their values. */
struct settings {
    size_t connections; /* maximum open at a time */
    int64_t content;    /* maximum bytes of a request's content */
    int64_t patience;   /* nanoseconds for a head, between two pieces of content, and to send one */
    int64_t idle;       /* nanoseconds between two requests */
};

struct loop {
    struct app *app;
    struct settings settings;
    int epoll, listener;
    int wake_reader, wake_writer; /* a pipe that ends the sleep */
    atomic_bool stop_asked;
    bool stopping;

    struct conn *connections; /* head of the list of all */
    size_t count;
    struct timers timers;
    int64_t now;        /* as of the last sleep, or of the last call of the application */
    char *spare;        /* an unused input buffer, or NULL */
    bool paused;        /* not accepting ... */
    bool told;          /* ... because accept failed, which has been logged */
    struct timer retry; /* ... until this fires or a connection closes */
};

/* Initialise; false: see errno. Creates the pipe, so the loop can be stopped before it runs. */
bool loop_init(struct loop *loop, struct app *app, const struct settings *settings);

/* Serve a listener until stopped; false: see errno, or a Python exception is set. */
bool loop_run(struct loop *loop, int listener, int64_t grace);

/* May be called from any thread, any number of times. */
void loop_stop(struct loop *loop);

/* Close everything except the listener, which belongs to the caller. */
void loop_free(struct loop *loop);

/* For connections. */

/* Return a buffer of INPUT_SIZE bytes for input; NULL: out of memory. */
char *loop_take_input(struct loop *loop);
void loop_give_input(struct loop *loop, char *data);

/* A connection has closed. */
void loop_forget(struct loop *loop);

void loop_read_clock(struct loop *loop);

#endif
