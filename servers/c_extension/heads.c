/* The heads of responses. An application sends the same few heads over and over; /hello even sends
 * the same object. So a head that something else also references is encoded once and cached by the
 * identity of its tuple of fields, which is immutable (a tuple of tuples of str). A head made for a
 * single response is encoded each time and not cached: it would only evict the others.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "heads.h"

#include "http.h"
#include "output.h"

/* Return the bytes of a latin-1 str (PEP 3333), without a copy. */
static bool read_latin(PyObject *string, struct http_text *text)
{
    if (!PyUnicode_Check(string) || PyUnicode_KIND(string) != PyUnicode_1BYTE_KIND) {
        PyErr_SetString(PyExc_TypeError, "a header is no pair of latin-1 strings");
        return false;
    }
    text->at = (const char *)PyUnicode_1BYTE_DATA(string);
    text->length = (size_t)PyUnicode_GET_LENGTH(string);
    return true;
}

static bool read_length(struct http_text value, int64_t *length)
{
    bool good = *length < 0 && value.length > 0 && value.length <= 18;
    *length = 0;
    for (size_t i = 0; good && i < value.length; i++) {
        good = value.at[i] >= '0' && value.at[i] <= '9';
        *length = *length * 10 + (value.at[i] - '0');
    }
    if (!good)
        PyErr_SetString(PyExc_ValueError, "Content-Length is no one number");
    return good;
}

/* A line break in a field would split the head; the server itself writes framing and Connection. */
static bool check_field(struct http_text name, struct http_text value)
{
    const char *end = name.at + name.length;
    if (!name.length || http_skip(name.at, end, HTTP_TOKEN) != end) {
        PyErr_SetString(PyExc_ValueError, "a header name that is not a token");
        return false;
    }
    end = value.at + value.length;
    if (http_skip(value.at, end, HTTP_VALUE) != end) {
        PyErr_Format(PyExc_ValueError, "a control character in the header %.*s",
                     (int)(name.length < 40 ? name.length : 40), name.at);
        return false;
    }
    if (http_equals(name, "connection") || http_equals(name, "transfer-encoding")) {
        PyErr_SetString(PyExc_ValueError, "the connection's own headers are the server's to write");
        return false;
    }
    return true;
}

static bool append_field(struct buffer *text, PyObject *field, int64_t *length)
{
    struct http_text name, value;
    if (!PyTuple_CheckExact(field) || PyTuple_GET_SIZE(field) != 2) {
        PyErr_SetString(PyExc_TypeError, "a header is no pair of latin-1 strings");
        return false;
    }
    if (!read_latin(PyTuple_GET_ITEM(field, 0), &name) ||
        !read_latin(PyTuple_GET_ITEM(field, 1), &value) || !check_field(name, value))
        return false;
    if (http_equals(name, "content-length") && !read_length(value, length))
        return false;
    if (buffer_append(text, name.at, name.length) && buffer_append_literal(text, ": ") &&
        buffer_append(text, value.at, value.length) && buffer_append_literal(text, "\r\n"))
        return true;
    PyErr_NoMemory();
    return false;
}

static bool append_head(struct buffer *text, int status, PyObject *headers, int64_t *length)
{
    *length = -1;
    if (!output_begin_head(text, status)) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(headers); i++)
        if (!append_field(text, PyTuple_GET_ITEM(headers, i), length))
            return false;
    return true;
}

static void forget(struct remembered_head *head)
{
    Py_CLEAR(head->headers);
    buffer_free(&head->text);
}

static struct remembered_head *find_slot(struct heads *heads, PyObject *headers)
{
    /* The low bits of addresses hardly differ: objects are spaced apart. */
    return &heads->slots[((uintptr_t)headers >> 5) % HEADS_REMEMBERED];
}

bool heads_append(struct heads *heads, struct buffer *text, int status, PyObject *headers,
                  bool lasting, int64_t *length)
{
    if (!PyTuple_CheckExact(headers)) {
        PyErr_SetString(PyExc_TypeError, "the headers are no tuple");
        return false;
    }
    if (!lasting)
        return append_head(text, status, headers, length);
    struct remembered_head *head = find_slot(heads, headers);
    if (head->headers != headers || head->status != status) {
        forget(head);
        if (!append_head(&head->text, status, headers, &head->length)) {
            forget(head);
            return false;
        }
        head->headers = Py_NewRef(headers);
        head->status = status;
    }
    *length = head->length;
    if (buffer_append(text, head->text.data, head->text.length))
        return true;
    PyErr_NoMemory();
    return false;
}

void heads_free(struct heads *heads)
{
    for (int i = 0; i < HEADS_REMEMBERED; i++)
        forget(&heads->slots[i]);
}
