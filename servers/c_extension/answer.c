/* Calls the application for a request and turns its answer into output, step by step and piece by
 * piece, never more than one piece ahead of the client.
 *
 *     handle(request)   -> Response, or a generator of steps
 *     advance(steps)    -> Wait, or finally the Response
 *     next(body)        -> bytes, or Wait
 *
 * Nothing here blocks: a Wait becomes APP_PAUSE, and the loop later calls app_go_on.
 */

#include "python.h"

#include "loop.h"

/* Pieces up to this size are copied behind the head: cheaper than a gathering write. */
enum { COPIED = 4096 };

#define LONGEST_PAUSE 1e9 /* seconds */

/* Errors */

PyObject *app_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (value && trace)
        PyException_SetTraceback(value, trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return value;
#endif
}

void app_raise(PyObject *error)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(error);
#else
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
#endif
}

void app_report(struct app *app, const char *what)
{
    PyObject *error = app_take_exception();
    if (!PyErr_GivenExceptionMatches(error, PyExc_Exception)) {
        Py_XSETREF(app->interrupt, error); /* KeyboardInterrupt, SystemExit */
        return;
    }
    PyObject *method = PyObject_GetAttrString(app->log, "error");
    PyObject *arguments = Py_BuildValue("(s)", what);
    PyObject *options = Py_BuildValue("{s:O}", "exc_info", error);
    PyObject *done = method && arguments && options
                         ? PyObject_Call(method, arguments, options) : NULL;
    if (!done)
        PyErr_WriteUnraisable(app->log);
    Py_XDECREF(done);
    Py_XDECREF(options);
    Py_XDECREF(arguments);
    Py_XDECREF(method);
    Py_DECREF(error);
}

void app_log_errno(struct app *app, const char *what)
{
    PyErr_SetFromErrno(PyExc_OSError);
    app_report(app, what);
}

/* `begun`: part of the response may have been sent. */
static enum app_next fail(struct app *app, bool begun)
{
    app_report(app, begun ? "a response was cut off" : "a response could not be made");
    return begun ? APP_CUT : APP_FAIL;
}

static enum app_next fail_memory(struct app *app, bool begun)
{
    PyErr_NoMemory();
    return fail(app, begun);
}

/* Waiting */

static enum app_next rest(struct app *app, struct conn *conn, PyObject *wait, bool begun)
{
    PyObject *value = PyObject_GetAttrString(wait, "seconds");
    double seconds = value ? PyFloat_AsDouble(value) : -1.0;
    Py_XDECREF(value);
    if (seconds == -1.0 && PyErr_Occurred())
        return fail(app, begun);
    if (!(seconds > 0.0)) /* NaN too */
        seconds = 0.0;
    /* At least a nanosecond, so that a zero wait runs after all timers that are already due and
     * cannot starve them. */
    conn->pause = 1 + (int64_t)((seconds < LONGEST_PAUSE ? seconds : LONGEST_PAUSE) * 1e9);
    return APP_PAUSE;
}

/* The response's head */

static bool append_connection(struct conn *conn, struct buffer *text)
{
    if (!conn->keep)
        return buffer_append_literal(text, "Connection: close\r\n\r\n");
    if (!conn->head.minor)
        return buffer_append_literal(text, "Connection: keep-alive\r\n\r\n");
    return buffer_append_literal(text, "\r\n");
}

/* Choose the framing of content of `size` bytes (-1: unknown); `declared` is its Content-Length. */
static bool frame(struct conn *conn, struct buffer *text, int64_t size, int64_t declared)
{
    char line[48];
    conn->answer.framing = FRAMED_BY_LENGTH;
    conn->answer.left = size < 0 ? declared : size;
    if (size >= 0 && declared >= 0 && size != declared) {
        PyErr_Format(PyExc_ValueError, "content of %lld bytes, Content-Length %lld",
                     (long long)size, (long long)declared);
        return false;
    }
    if (declared >= 0)
        return true;
    if (size >= 0) {
        int length = snprintf(line, sizeof line, "Content-Length: %lld\r\n", (long long)size);
        return buffer_append(text, line, (size_t)length);
    }
    if (conn->head.minor) {
        conn->answer.framing = FRAMED_BY_CHUNKS;
        return buffer_append_literal(text, "Transfer-Encoding: chunked\r\n");
    }
    conn->answer.framing = FRAMED_BY_CLOSE;
    conn->keep = false;
    return true;
}

static bool append_head(struct app *app, struct conn *conn, int status, bool bare, int64_t size)
{
    struct buffer *text = &conn->output.text;
    PyObject *response = conn->answer.response;
    PyObject *headers = PyObject_GetAttrString(response, "headers");
    /* If only we hold the tuple, it will not be used again. */
    bool lasting = Py_REFCNT(response) > 1;
    int64_t declared;
    bool good = headers && heads_append(&app->heads, text, status, headers, lasting, &declared) &&
                (bare || frame(conn, text, size, declared)) && output_add_date(text) &&
                append_connection(conn, text);
    if (!good && !PyErr_Occurred())
        PyErr_NoMemory();
    Py_XDECREF(headers);
    return good;
}

/* The response's content, in its three kinds */

static enum app_next send_whole(struct app *app, struct conn *conn, int status)
{
    PyObject *body = conn->answer.body;
    size_t size = (size_t)PyBytes_GET_SIZE(body);
    if (!append_head(app, conn, status, false, (int64_t)size))
        return fail(app, false);
    if (size > COPIED) {
        conn->output.piece = PyBytes_AS_STRING(body);
        conn->output.piece_left = size;
    } else if (!buffer_append(&conn->output.text, PyBytes_AS_STRING(body), size)) {
        return fail_memory(app, false);
    }
    return APP_END;
}

static bool get_number(PyObject *object, const char *name, long long *number)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    *number = value ? PyLong_AsLongLong(value) : -1;
    Py_XDECREF(value);
    return *number != -1 || !PyErr_Occurred();
}

static enum app_next send_file(struct app *app, struct conn *conn, int status)
{
    PyObject *body = conn->answer.body;
    long long file, offset, length;
    if (!get_number(body, "descriptor", &file) || !get_number(body, "offset", &offset) ||
        !get_number(body, "length", &length) || !append_head(app, conn, status, false, length))
        return fail(app, false);
    conn->output.file = (int)file;
    conn->output.file_at = (off_t)offset;
    conn->output.file_left = (size_t)length;
    return APP_END;
}

static bool add_piece(struct conn *conn, PyObject *piece)
{
    struct output *output = &conn->output;
    size_t size = (size_t)PyBytes_GET_SIZE(piece);
    bool chunked = conn->answer.framing == FRAMED_BY_CHUNKS;
    char line[24];
    int length = snprintf(line, sizeof line, "%zx\r\n", size);
    if (chunked && !buffer_append(&output->text, line, (size_t)length))
        return false;
    if (size <= COPIED)
        return buffer_append(&output->text, PyBytes_AS_STRING(piece), size) &&
               (!chunked || buffer_append_literal(&output->text, "\r\n"));
    conn->answer.piece = Py_NewRef(piece);
    output->piece = PyBytes_AS_STRING(piece);
    output->piece_left = size;
    output->tail = "\r\n";
    output->tail_left = chunked ? 2 : 0;
    return true;
}

static enum app_next take_piece(struct app *app, struct conn *conn, PyObject *piece, bool begun)
{
    struct answer *answer = &conn->answer;
    Py_ssize_t size = PyBytes_GET_SIZE(piece);
    if (!size) /* an empty chunk would end the content */
        return APP_MORE;
    if (answer->framing == FRAMED_BY_LENGTH) {
        if (size > answer->left) {
            PyErr_SetString(PyExc_ValueError, "the content is longer than Content-Length says");
            return fail(app, begun);
        }
        answer->left -= size;
    }
    return add_piece(conn, piece) ? APP_MORE : fail_memory(app, begun);
}

static enum app_next end_pieces(struct app *app, struct conn *conn, bool begun)
{
    struct answer *answer = &conn->answer;
    if (PyErr_Occurred())
        return fail(app, begun);
    if (answer->framing == FRAMED_BY_LENGTH && answer->left) {
        PyErr_SetString(PyExc_ValueError, "the content is shorter than Content-Length says");
        return fail(app, begun);
    }
    if (answer->framing == FRAMED_BY_CHUNKS &&
        !buffer_append_literal(&conn->output.text, "0\r\n\r\n"))
        return fail_memory(app, begun);
    return APP_END;
}

static enum app_next next_piece(struct app *app, struct conn *conn, bool begun)
{
    enum app_next next;
    Py_CLEAR(conn->answer.piece);
    PyObject *item = PyIter_Next(conn->answer.body);
    if (!item)
        return end_pieces(app, conn, begun);
    if (PyBytes_Check(item)) {
        next = take_piece(app, conn, item, begun);
    } else if (PyObject_TypeCheck(item, app->wait)) {
        next = rest(app, conn, item, begun);
    } else {
        PyErr_Format(PyExc_TypeError, "a body gave neither bytes nor Wait: %R", item);
        next = fail(app, begun);
    }
    Py_DECREF(item);
    return next;
}

/* From the application's answer to output */

static bool is_head(const struct conn *conn)
{
    const char *method = conn->input + conn->begin + conn->head.method.at;
    return conn->head.method.length == 4 && !memcmp(method, "HEAD", 4);
}

static enum app_next begin_response(struct app *app, struct conn *conn)
{
    struct answer *answer = &conn->answer;
    long long status;
    if (!get_number(answer->response, "status", &status) ||
        !(answer->body = PyObject_GetAttrString(answer->response, "body")))
        return fail(app, false);
    if (status < 200 || status > 999) {
        PyErr_Format(PyExc_ValueError, "%lld is no status of a response", status);
        return fail(app, false);
    }
    if (answer->bare || status == 204 || status == 304)
        return append_head(app, conn, (int)status, true, 0) ? APP_END : fail(app, false);
    if (PyBytes_Check(answer->body))
        return send_whole(app, conn, (int)status);
    if (PyObject_TypeCheck(answer->body, app->file))
        return send_file(app, conn, (int)status);
    if (!PyIter_Check(answer->body)) {
        PyErr_Format(PyExc_TypeError, "no body of a response: %R", answer->body);
        return fail(app, false);
    }
    return append_head(app, conn, (int)status, false, -1) ? next_piece(app, conn, false)
                                                          : fail(app, false);
}

/* Run a waiting handler to its next step. */
static enum app_next advance(struct app *app, struct conn *conn)
{
    PyObject *step = PyObject_CallOneArg(app->advance, conn->answer.steps);
    enum app_next next;
    if (!step)
        return fail(app, false);
    if (PyObject_TypeCheck(step, app->response)) {
        Py_CLEAR(conn->answer.steps);
        conn->answer.response = step;
        return begin_response(app, conn);
    }
    if (PyObject_TypeCheck(step, app->wait)) {
        next = rest(app, conn, step, false);
    } else {
        PyErr_Format(PyExc_TypeError, "a handler gave neither Wait nor Response: %R", step);
        next = fail(app, false);
    }
    Py_DECREF(step);
    return next;
}

enum app_next app_begin(struct app *app, struct conn *conn)
{
    conn->answer.bare = is_head(conn);
    PyObject *request = request_new(conn);
    PyObject *answer = request ? PyObject_CallOneArg(app->handle, request) : NULL;
    Py_XDECREF(request);
    if (!answer)
        return fail(app, false);
    if (PyObject_TypeCheck(answer, app->response)) {
        conn->answer.response = answer;
        return begin_response(app, conn);
    }
    conn->answer.steps = answer;
    return advance(app, conn);
}

enum app_next app_go_on(struct app *app, struct conn *conn)
{
    return conn->answer.steps ? advance(app, conn) : next_piece(app, conn, true);
}

static void close_object(struct app *app, PyObject *object)
{
    PyObject *done = PyObject_CallMethod(object, "close", NULL);
    if (!done)
        app_report(app, "what was left of a response could not be closed");
    Py_XDECREF(done);
}

void app_release(struct app *app, struct conn *conn)
{
    struct answer *answer = &conn->answer;
    if (answer->steps)
        close_object(app, answer->steps);
    /* Bytes need no closing; Response.close handles everything else. */
    if (answer->body && !PyBytes_Check(answer->body))
        close_object(app, answer->response);
    Py_XDECREF(answer->steps);
    Py_XDECREF(answer->response);
    Py_XDECREF(answer->body);
    Py_XDECREF(answer->piece);
    *answer = (struct answer){0};
}

void app_unlock(struct app *app)
{
    app->thread = PyEval_SaveThread();
}

void app_lock(struct app *app)
{
    PyEval_RestoreThread(app->thread);
}
