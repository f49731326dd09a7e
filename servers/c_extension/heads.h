/* Heads of responses, from Python's strings to bytes. See heads.c. */

#ifndef CHAINLAB_HEADS_H
#define CHAINLAB_HEADS_H

#include <stdbool.h>
#include <stdint.h>

#include "app.h"
#include "buffer.h"

enum { HEADS_REMEMBERED = 64 };

struct remembered_head {
    PyObject *headers; /* the tuple, kept alive so that its address is not reused */
    int status;
    int64_t length;
    struct buffer text;
};

struct heads {
    struct remembered_head slots[HEADS_REMEMBERED];
};

/* Append status line, Server and `headers`, a tuple of pairs of str; sets `length` to the value of
 * Content-Length, or -1. `lasting`: worth caching. False: a Python exception is set.
 */
bool heads_append(struct heads *heads, struct buffer *text, int status, PyObject *headers,
                  bool lasting, int64_t *length);

void heads_free(struct heads *heads);

#endif
