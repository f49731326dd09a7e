/* Heads of responses, from Python's strings to bytes. See heads.c. */

#ifndef CHAINLAB_HEADS_H
#define CHAINLAB_HEADS_H

#include <stdbool.h>
#include <stdint.h>

#include "app.h"
#include "buffer.h"

enum { HEADS_REMEMBERED = 64 };

struct remembered_head {
    PyObject *headers; /* the tuple, kept alive: so no other can have its address */
    int status;
    int64_t length;
    struct buffer text;
};

struct heads {
    struct remembered_head slots[HEADS_REMEMBERED];
};

/* Append status line, Server and `headers`, a tuple of pairs of str; `length` becomes what
 * Content-Length says, or -1. `lasting`: it is worth remembering. False: a Python exception.
 */
bool heads_append(struct heads *heads, struct buffer *text, int status, PyObject *headers,
                  bool lasting, int64_t *length);

void heads_free(struct heads *heads);

#endif
