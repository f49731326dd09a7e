/* Shared by the files that use Python: the application's objects, the three types. */

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
    PyObject *interrupt;   /* an exception that must end the loop; usually NULL */
    PyThreadState *thread; /* the loop's, while it sleeps without the GIL */
    struct heads heads;
};

extern PyTypeObject RequestType, ContentType;

/* Return a new Request from the connection; takes over its content buffer. */
PyObject *request_new(struct conn *conn);

/* Take the current exception (NULL: none); and set it again, which consumes the reference. */
PyObject *app_take_exception(void);
void app_raise(PyObject *error);

/* Take the current exception and log it; KeyboardInterrupt and SystemExit end the loop. */
void app_report(struct app *app, const char *what);

#endif
