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

/* What the server is told; servers/common/session.py says why its numbers are what they are. */
struct settings {
    size_t connections; /* open at one time */
    int64_t content;    /* bytes of a request's content */
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

    struct conn *connections; /* the first of a list of all */
    size_t count;
    struct timers timers;
    int64_t now;        /* as of the last sleep, or of the last call of the application */
    char *spare;        /* an input buffer that nobody uses */
    bool paused;        /* nothing is accepted ... */
    bool told;          /* ... because that failed, which has been said */
    struct timer retry; /* ... until this fires, or a connection has closed */
};

/* Prepare; false: errno. The pipe is there afterwards, so the loop can be stopped before it runs. */
bool loop_init(struct loop *loop, struct app *app, const struct settings *settings);

/* Serve a listener until stopped; false: errno, or a Python exception that app_goes_on saw. */
bool loop_run(struct loop *loop, int listener, int64_t grace);

/* From any thread, as often as you like. */
void loop_stop(struct loop *loop);

/* Close what is open; the listener is the caller's. */
void loop_free(struct loop *loop);

/* For connections. */

/* A place for received bytes, of INPUT_SIZE; NULL: there is no memory. */
char *loop_take_input(struct loop *loop);
void loop_give_input(struct loop *loop, char *data);

/* A connection has closed. */
void loop_forget(struct loop *loop);

void loop_read_clock(struct loop *loop);

#endif
