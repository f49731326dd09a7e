/* The only interface between the sockets and Python.
 *
 * conn.c and loop.c use Python only through these functions, which answer.c and module.c implement.
 * They in turn use only those fields of a connection that hold its request and its response. All
 * are called with the GIL held, except app_lock.
 */

#ifndef CHAINLAB_APP_H
#define CHAINLAB_APP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct _object PyObject; /* as Python.h has it */

struct app;
struct conn;

/* The Python objects of a response in progress; all NULL if there is none. */
struct answer {
    PyObject *steps;    /* the generator of a waiting handler */
    PyObject *response; /* what the handler returned */
    PyObject *body;     /* the response's body, if it comes in pieces */
    PyObject *piece;    /* the object that output.piece points into */
    bool bare;          /* answer to HEAD: no content */
    enum { FRAMED_BY_LENGTH, FRAMED_BY_CHUNKS, FRAMED_BY_CLOSE } framing;
    int64_t left; /* bytes that Content-Length still promises */
};

/* What to do once the connection's output has been sent. */
enum app_next {
    APP_MORE,  /* call app_go_on */
    APP_PAUSE, /* call app_go_on after conn.pause nanoseconds */
    APP_END,   /* the response is complete */
    APP_FAIL,  /* the response failed before any of it was sent */
    APP_CUT,   /* the response failed in the middle */
};

/* Pass the request of a connection to the application; puts the response into its output. */
enum app_next app_begin(struct app *app, struct conn *conn);

/* Fetch the next piece, or the next step of a waiting handler. */
enum app_next app_go_on(struct app *app, struct conn *conn);

/* Release request and response in any state; closes a generator that is still running. */
void app_release(struct app *app, struct conn *conn);

/* Release the GIL while the loop sleeps, and take it back. */
void app_unlock(struct app *app);
void app_lock(struct app *app);

/* Run Python's signal handlers; false: an exception is set, which must end the loop. */
bool app_goes_on(struct app *app);

/* Log the failure of a system call, from errno. */
void app_log_errno(struct app *app, const char *what);

#endif
