/* What the loop asks of the application: the only door between the sockets and Python.
 *
 * conn.c and loop.c know nothing of Python but these functions, which answer.c and module.c
 * provide; and the application knows nothing of sockets but the fields of a connection that hold
 * its request and take its response. All are called with the GIL held, but for app_lock.
 */

#ifndef CHAINLAB_APP_H
#define CHAINLAB_APP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct _object PyObject; /* as Python.h has it */

struct app;
struct conn;

/* A response on its way, as far as it is Python's: all NULL when there is none. */
struct answer {
    PyObject *steps;    /* a handler that waits: the generator */
    PyObject *response; /* what it returned */
    PyObject *body;     /* the response's, when it comes in pieces */
    PyObject *piece;    /* what output.piece points into */
    bool bare;          /* to HEAD: no content */
    enum { FRAMED_BY_LENGTH, FRAMED_BY_CHUNKS, FRAMED_BY_CLOSE } framing;
    int64_t left; /* bytes that Content-Length still promises */
};

/* What is to be done once the connection's output has been sent. */
enum app_next {
    APP_MORE,  /* ask app_go_on for what comes next */
    APP_PAUSE, /* do so after conn.pause nanoseconds */
    APP_END,   /* the response is complete */
    APP_FAIL,  /* there is no response, and nothing of one was sent */
    APP_CUT,   /* there is no rest of the response */
};

/* Hand the request of a connection to the application; puts what is to be sent into its output. */
enum app_next app_begin(struct app *app, struct conn *conn);

/* Fetch the next piece, or the next step of a handler that waits. */
enum app_next app_go_on(struct app *app, struct conn *conn);

/* Let go of request and response, wherever they stand: a generator that still runs is closed. */
void app_release(struct app *app, struct conn *conn);

/* Give the GIL away while the loop sleeps, and take it back. */
void app_unlock(struct app *app);
void app_lock(struct app *app);

/* Run Python's signal handlers; false: an exception is set that is to end the loop. */
bool app_goes_on(struct app *app);

/* Say what went wrong in a system call, by errno. */
void app_log_errno(struct app *app, const char *what);

#endif
