/* The module servers.c_extension._server with the type Loop, the extension's interface to Python.
 *
 *     loop = Loop(servers.app.routes, logger, connections=4096, patience=10.0, idle=75.0)
 *     loop.run(listener.fileno(), grace=10.0)
 *
 * The application is any object with `handle`, `advance`, `Response`, `Wait`, `File` and `BODY_LIMIT`;
 * these are looked up once, here, and not for each request.
 */

#include "python.h"

#include "loop.h"

typedef struct {
    PyObject_HEAD
    struct loop loop;
    struct app app;
    bool running, has_run;
} Loop;

/* The application */

static bool fetch_type(PyObject *application, const char *name, PyTypeObject **type)
{
    PyObject *found = PyObject_GetAttrString(application, name);
    if (found && !PyType_Check(found)) {
        PyErr_Format(PyExc_TypeError, "%s is no type", name);
        Py_CLEAR(found);
    }
    *type = (PyTypeObject *)found;
    return found;
}

static bool fetch_application(struct app *app, PyObject *application, PyObject *log)
{
    app->log = Py_NewRef(log);
    return (app->handle = PyObject_GetAttrString(application, "handle")) &&
           (app->advance = PyObject_GetAttrString(application, "advance")) &&
           fetch_type(application, "Response", &app->response) &&
           fetch_type(application, "Wait", &app->wait) &&
           fetch_type(application, "File", &app->file);
}

static void free_application(struct app *app)
{
    Py_CLEAR(app->handle);
    Py_CLEAR(app->advance);
    Py_CLEAR(app->response);
    Py_CLEAR(app->wait);
    Py_CLEAR(app->file);
    Py_CLEAR(app->log);
    Py_CLEAR(app->interrupt);
    heads_free(&app->heads);
}

bool app_goes_on(struct app *app)
{
    if (app->interrupt) {
        app_raise(app->interrupt);
        app->interrupt = NULL;
        return false;
    }
    return !PyErr_CheckSignals();
}

/* The type */

static bool read_limit(PyObject *application, int64_t *limit)
{
    PyObject *value = PyObject_GetAttrString(application, "BODY_LIMIT");
    *limit = value ? PyLong_AsLongLong(value) : -1;
    Py_XDECREF(value);
    if (*limit < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "BODY_LIMIT is negative");
    return *limit >= 0;
}

static bool read_seconds(double seconds, int64_t *nanoseconds)
{
    bool good = seconds >= 0.0 && seconds <= 1e9;
    if (good)
        *nanoseconds = (int64_t)(seconds * 1e9);
    else
        PyErr_SetString(PyExc_ValueError, "a time is from 0 to 1000000000 seconds");
    return good;
}

static bool read_settings(PyObject *arguments, PyObject *keywords, PyObject **application,
                          PyObject **log, struct settings *settings)
{
    static char *names[] = {"application", "log", "connections", "patience", "idle", NULL};
    Py_ssize_t connections;
    double patience, idle;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO$ndd:Loop", names, application, log,
                                     &connections, &patience, &idle))
        return false;
    if (connections < 1 || connections > 1 << 24) {
        PyErr_Format(PyExc_ValueError, "%zd connections: from 1 to 16777216", connections);
        return false;
    }
    settings->connections = (size_t)connections;
    return read_seconds(patience, &settings->patience) && read_seconds(idle, &settings->idle) &&
           read_limit(*application, &settings->content);
}

static PyObject *loop_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *application, *log;
    struct settings settings;
    if (!read_settings(arguments, keywords, &application, &log, &settings))
        return NULL;
    Loop *self = (Loop *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    if (!loop_init(&self->loop, &self->app, &settings))
        PyErr_SetFromErrno(PyExc_OSError);
    else if (fetch_application(&self->app, application, log))
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static PyObject *loop_run_method(Loop *self, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"listener", "grace", NULL};
    int listener;
    double seconds;
    int64_t grace;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "i$d:run", names, &listener, &seconds) ||
        !read_seconds(seconds, &grace))
        return NULL;
    if (self->has_run) {
        PyErr_SetString(PyExc_RuntimeError, "a loop runs once; make another one");
        return NULL;
    }
    self->running = self->has_run = true;
    bool good = loop_run(&self->loop, listener, grace);
    self->running = false;
    if (good)
        Py_RETURN_NONE;
    return PyErr_Occurred() ? NULL : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *loop_stop_method(Loop *self, PyObject *Py_UNUSED(unused))
{
    loop_stop(&self->loop);
    Py_RETURN_NONE;
}

static PyObject *loop_close_method(Loop *self, PyObject *Py_UNUSED(unused))
{
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "the loop runs; stop it first");
        return NULL;
    }
    self->has_run = true;
    loop_free(&self->loop);
    Py_RETURN_NONE;
}

static PyObject *loop_fileno(Loop *self, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(self->loop.wake_writer);
}

static PyObject *loop_connections(Loop *self, void *Py_UNUSED(unused))
{
    return PyLong_FromSize_t(self->loop.count);
}

static void loop_dealloc(Loop *self)
{
    PyObject *raised = app_take_exception(); /* closing generators must not change it */
    loop_free(&self->loop);
    free_application(&self->app);
    if (raised)
        app_raise(raised);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef loop_methods[] = {
    {"run", (PyCFunction)(void (*)(void))loop_run_method, METH_VARARGS | METH_KEYWORDS,
     "run(listener, *, grace)\n--\n\nServe a listening descriptor until stopped; what runs "
     "then may go on for `grace` seconds."},
    {"stop", (PyCFunction)loop_stop_method, METH_NOARGS,
     "stop()\n--\n\nAsk run to return: from a signal handler or a thread, repeatedly."},
    {"close", (PyCFunction)loop_close_method, METH_NOARGS,
     "close()\n--\n\nClose all connections and what else is open."},
    {"fileno", (PyCFunction)loop_fileno, METH_NOARGS,
     "fileno()\n--\n\nReturn what wakes the loop when written to; for signal.set_wakeup_fd."},
    {0},
};

static PyGetSetDef loop_attributes[] = {
    {"connections", (getter)loop_connections, NULL, "How many are open.", NULL},
    {0},
};

static PyTypeObject LoopType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "servers.c_extension._server.Loop",
    .tp_doc = "Loop(application, log, *, connections, patience, idle)\n--\n\nAn HTTP server.",
    .tp_basicsize = sizeof(Loop),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = loop_new,
    .tp_dealloc = (destructor)loop_dealloc,
    .tp_methods = loop_methods,
    .tp_getset = loop_attributes,
};

static struct PyModuleDef server_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "servers.c_extension._server",
    .m_doc = "An HTTP/1.1 server's event loop.",
    .m_size = -1, /* one per process, as its types are */
};

PyMODINIT_FUNC PyInit__server(void)
{
    PyObject *module = PyModule_Create(&server_module);
    if (!module)
        return NULL;
    if (!PyType_Ready(&ContentType) && !PyModule_AddType(module, &RequestType) &&
        !PyModule_AddType(module, &LoopType))
        return module;
    Py_DECREF(module);
    return NULL;
}
