/* A growing byte buffer: a request's content, a response's text. Reusable after it is freed. */

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

/* Make room for `more` bytes at the end; false: out of memory. */
static inline bool buffer_reserve(struct buffer *buffer, size_t more)
{
    size_t wanted = buffer->length + more;
    if (wanted <= buffer->capacity)
        return true;
    /* The minimum fits a usual head and is cheap for malloc. */
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
    if (!length) /* memcpy must not get NULL, even with length 0 */
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
