/* The request as the application sees it (servers.app.messages.Request), converted on demand.
 *
 * It keeps a copy of the head, because it may outlive the connection's buffer (a generator may hold
 * it for a minute), and creates a str or dict from it when an attribute is read. /hello reads only
 * path and method; the fields become Python objects only if a handler reads them.
 */

#include "python.h"

#include <arpa/inet.h>
#include <structmember.h>

/* Content, as a read-once binary file */

typedef struct {
    PyObject_HEAD
    struct buffer bytes;
    size_t at;
} Content;

static PyObject *content_read(Content *self, PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t size = -1;
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "read takes a size, or nothing");
        return NULL;
    }
    if (count && (size = PyNumber_AsSsize_t(arguments[0], NULL)) == -1 && PyErr_Occurred())
        return NULL;
    size_t left = self->bytes.length - self->at;
    size_t taken = size < 0 || (size_t)size > left ? left : (size_t)size;
    PyObject *piece = PyBytes_FromStringAndSize(left ? self->bytes.data + self->at : "",
                                                (Py_ssize_t)taken);
    if (piece)
        self->at += taken;
    return piece;
}

static void content_dealloc(Content *self)
{
    buffer_free(&self->bytes);
    PyObject_Free(self);
}

static PyMethodDef content_methods[] = {
    {"read", (PyCFunction)(void (*)(void))content_read, METH_FASTCALL,
     "read(size=-1, /)\n--\n\nReturn up to `size` bytes; b\"\" at the end."},
    {0},
};

PyTypeObject ContentType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "servers.c_extension._server.Content",
    .tp_doc = "A request's content, received whole.",
    .tp_basicsize = sizeof(Content),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)content_dealloc,
    .tp_methods = content_methods,
};

/* The request */

typedef struct {
    PyObject_VAR_HEAD
    PyObject *method, *path, *query, *headers, *body; /* NULL: not read yet */
    PyObject *number;
    union peer peer;
    struct http_head head;
    struct buffer content; /* until `body` takes it over */
    char raw[];            /* the head as received */
} Request;

PyObject *request_new(struct conn *conn)
{
    Py_ssize_t length = (Py_ssize_t)conn->head.length;
    Request *self = PyObject_NewVar(Request, &RequestType, length);
    if (!self)
        return NULL;
    self->method = self->path = self->query = self->headers = self->body = self->number = NULL;
    self->peer = conn->peer;
    self->head = conn->head;
    self->content = conn->content;
    conn->content = (struct buffer){0};
    memcpy(self->raw, conn->input + conn->begin, (size_t)length);
    return (PyObject *)self;
}

static void request_dealloc(Request *self)
{
    Py_XDECREF(self->method);
    Py_XDECREF(self->path);
    Py_XDECREF(self->query);
    Py_XDECREF(self->headers);
    Py_XDECREF(self->body);
    Py_XDECREF(self->number);
    buffer_free(&self->content);
    PyObject_Free(self);
}

static PyObject *latin(const char *data, size_t length)
{
    return PyUnicode_DecodeLatin1(data, (Py_ssize_t)length, NULL);
}

static PyObject *make_method(Request *self)
{
    return latin(self->raw + self->head.method.at, self->head.method.length);
}

static PyObject *make_query(Request *self)
{
    return latin(self->raw + self->head.query.at, self->head.query.length);
}

static int hex(char digit)
{
    return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

/* Percent-decode once; invalid %XX stays as it is. */
static PyObject *make_path(Request *self)
{
    const char *at = self->raw + self->head.path.at;
    size_t length = self->head.path.length;
    const char *end = at + length;
    if (!length)
        return latin("*", 1);
    if (!memchr(at, '%', length))
        return latin(at, length);
    char *plain = PyMem_Malloc(length), *to = plain;
    if (!plain)
        return PyErr_NoMemory();
    for (; at < end; at++) {
        bool coded = *at == '%' && end - at > 2 && isxdigit((unsigned char)at[1]) &&
                     isxdigit((unsigned char)at[2]);
        *to++ = coded ? (char)(hex(at[1]) << 4 | hex(at[2])) : *at;
        at += coded ? 2 : 0;
    }
    PyObject *path = latin(plain, (size_t)(to - plain));
    PyMem_Free(plain);
    return path;
}

static PyObject *make_body(Request *self)
{
    Content *body = PyObject_New(Content, &ContentType);
    if (!body)
        return NULL;
    body->bytes = self->content;
    body->at = 0;
    self->content = (struct buffer){0};
    return (PyObject *)body;
}

/* The fields */

static PyObject *lower_name(struct http_text name)
{
    PyObject *lower = PyUnicode_New((Py_ssize_t)name.length, 127); /* a token is ASCII */
    if (lower)
        for (size_t i = 0; i < name.length; i++)
            PyUnicode_1BYTE_DATA(lower)[i] = (Py_UCS1)Py_TOLOWER(name.at[i]);
    return lower;
}

/* Append a field to the value that the dict has under its name. */
static bool add_field(PyObject *headers, PyObject *name, PyObject *value)
{
    PyObject *first = PyDict_GetItemWithError(headers, name); /* borrowed */
    if (!first)
        return !PyErr_Occurred() && !PyDict_SetItem(headers, name, value);
    PyObject *both = PyUnicode_FromFormat("%U, %U", first, value);
    bool good = both && !PyDict_SetItem(headers, name, both);
    Py_XDECREF(both);
    return good;
}

/* In CGI, X_Y would collide with X-Y, and Proxy would become HTTP_PROXY (httpoxy): all architectures
 * omit both. */
static bool is_shown(struct http_text name)
{
    return !memchr(name.at, '_', name.length) && !http_equals(name, "proxy");
}

static PyObject *make_headers(Request *self)
{
    struct http_text block = {self->raw + self->head.fields.at, self->head.fields.length};
    struct http_text name, value;
    PyObject *headers = PyDict_New();
    while (headers && http_next_field(&block, &name, &value)) {
        if (!is_shown(name))
            continue;
        PyObject *key = lower_name(name);
        PyObject *text = key ? latin(value.at, value.length) : NULL;
        if (!text || !add_field(headers, key, text))
            Py_CLEAR(headers);
        Py_XDECREF(key);
        Py_XDECREF(text);
    }
    return headers;
}

/* Attributes */

#define GET_ONCE(name)                                                                            \
    static PyObject *get_##name(Request *self, void *Py_UNUSED(unused))                           \
    {                                                                                             \
        if (!self->name)                                                                          \
            self->name = make_##name(self);                                                       \
        return Py_XNewRef(self->name);                                                            \
    }

GET_ONCE(method)
GET_ONCE(path)
GET_ONCE(query)
GET_ONCE(headers)
GET_ONCE(body)

static PyObject *get_content_length(Request *self, void *Py_UNUSED(unused))
{
    if (self->head.chunked)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(self->head.content_length);
}

static PyObject *get_http_version(Request *self, void *Py_UNUSED(unused))
{
    return PyUnicode_FromString(self->head.minor ? "HTTP/1.1" : "HTTP/1.0");
}

static PyObject *get_client(Request *self, void *Py_UNUSED(unused))
{
    char text[INET6_ADDRSTRLEN] = "unix:";
    if (self->peer.any.sa_family == AF_INET)
        inet_ntop(AF_INET, &self->peer.ipv4.sin_addr, text, sizeof text);
    else if (self->peer.any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &self->peer.ipv6.sin6_addr, text, sizeof text);
    return PyUnicode_FromString(text);
}

static PyObject *get_architecture(Request *Py_UNUSED(self), void *Py_UNUSED(unused))
{
    return PyUnicode_FromString("c-extension");
}

static PyGetSetDef request_attributes[] = {
    {"method", (getter)get_method, NULL, "As sent.", NULL},
    {"path", (getter)get_path, NULL, "Percent-decoded, without the query.", NULL},
    {"query", (getter)get_query, NULL, "What follows the question mark.", NULL},
    {"headers", (getter)get_headers, NULL, "A dict by lower-case name.", NULL},
    {"body", (getter)get_body, NULL, "The content, to be read.", NULL},
    {"content_length", (getter)get_content_length, NULL, "Bytes; None: it came in chunks.", NULL},
    {"http_version", (getter)get_http_version, NULL, "HTTP/1.0 or HTTP/1.1.", NULL},
    {"client", (getter)get_client, NULL, "The peer's IP address, or unix:.", NULL},
    {"architecture", (getter)get_architecture, NULL, "c-extension", NULL},
    {0},
};

static PyMemberDef request_members[] = {
    {"number", T_OBJECT_EX, offsetof(Request, number), 0, "Set by servers.app.routes.handle."},
    {0},
};

PyTypeObject RequestType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "servers.c_extension._server.Request",
    .tp_doc = "A request whose attributes are made when they are looked at.",
    .tp_basicsize = sizeof(Request),
    .tp_itemsize = 1,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)request_dealloc,
    .tp_getset = request_attributes,
    .tp_members = request_members,
};
