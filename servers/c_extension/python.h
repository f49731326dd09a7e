/* What the Python side shares among its files: the application's objects, the three types. */

#ifndef CHAINLAB_PYTHON_H
#define CHAINLAB_PYTHON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "app.h"
#include "conn.h"
#include "heads.h"

struct app {
    PyObject *handle, *advance; /* of servers.app.routes */
    PyTypeObject *response, *wait, *file;
    PyObject *log;         /* a logging.Logger */
    PyObject *interrupt;   /* an exception that is to end the loop; usually NULL */
    PyThreadState *thread; /* the loop's, while it sleeps without the GIL */
    struct heads heads;
};

extern PyTypeObject RequestType, ContentType;

/* Return a new Request with what the connection received; its content moves over. */
PyObject *request_new(struct conn *conn);

/* Take the exception that is set, NULL when none is; and set it again, which takes the reference. */
PyObject *app_take_exception(void);
void app_raise(PyObject *error);

/* Take the exception that is set, and log it; what asks Python itself to end, ends the loop. */
void app_report(struct app *app, const char *what);

#endif
