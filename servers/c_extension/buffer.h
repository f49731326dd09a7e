/* A growing run of bytes: a request's content, a response's text. Freed, it may be used again. */

#ifndef CHAINLAB_BUFFER_H
#define CHAINLAB_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    char *data;
    size_t length, capacity;
};

/* Make room for `more` bytes behind the last; false: there is no memory. */
static inline bool buffer_reserve(struct buffer *buffer, size_t more)
{
    size_t wanted = buffer->length + more;
    if (wanted <= buffer->capacity)
        return true;
    /* The least is what a usual head needs, and a size that malloc has at hand. */
    size_t capacity = buffer->capacity ? buffer->capacity : 512;
    while (capacity < wanted)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

static inline bool buffer_append(struct buffer *buffer, const char *data, size_t length)
{
    if (!length) /* nor may memcpy be told of a buffer that is not there */
        return true;
    if (!buffer_reserve(buffer, length))
        return false;
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    return true;
}

#define buffer_append_literal(buffer, text) buffer_append(buffer, text, sizeof(text) - 1)

static inline void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

#endif
