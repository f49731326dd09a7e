/* HTTP/1.1 requests: bytes in, facts or a refusal out. No Python, no sockets, no memory of its own.
 *
 * The rules and the statuses are those of chainlab/wire/http1 (request.py, fields.py, framing.py), whose
 * test cases this parser passes too. It is strict: what RFC 9112 lets a server repair, and another
 * server might repair differently, is refused.
 */

#ifndef CHAINLAB_HTTP_H
#define CHAINLAB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one peer may make us keep; beyond it the status in brackets. */
enum {
    HTTP_REQUEST_LINE = 8 << 10,  /* bytes of method, target and version (414) */
    HTTP_HEADER_BLOCK = 32 << 10, /* bytes of all field lines (431) */
    HTTP_FIELDS = 100,            /* field lines, or trailers (431) */
    HTTP_CHUNK_LINE = 4 << 10,    /* bytes of a chunk's size and extensions (400) */
    HTTP_TRAILER_BLOCK = 8 << 10, /* bytes of all trailers (431) */
};

enum http_progress { HTTP_MORE, HTTP_WHOLE, HTTP_REFUSED };

struct http_refusal {
    int status;
    char why[72]; /* one line, without its end */
};

struct http_text {
    const char *at;
    size_t length;
};

/* A part of the head, counted from the head's first byte: the buffer below may move. */
struct http_span {
    uint32_t at, length;
};

struct http_head {
    int64_t most; /* bytes of content that are taken; set by the caller */

    /* Of use once the head is whole. */
    struct http_span method, path, query, fields; /* a path without bytes: `*`, the server itself */
    uint32_t length;                              /* the empty line included */
    bool minor, keep_alive, chunked, expect_continue;
    int64_t content_length; /* bytes; 0 also when no length was given */

    /* What the lines said so far. */
    uint32_t line, seen; /* where the line at hand begins; what has been looked at */
    struct http_span target, host;
    uint8_t field_count, host_count, length_count, coding_count;
    bool forgiven; /* an empty line before the request line */
    bool close, stay;
    bool length_bad, length_vast;
    bool coding_is_chunked, coding_after_chunked, coding_bad;
    bool expects, expects_other;
};

/* Go on with a head that begins at `data`, `length` bytes of which are here. A new head is all
 * zeros but for `most`; after HTTP_MORE call again with the same bytes and more behind them. Each byte is looked
 * at once, so a head that comes byte by byte costs no more than one that comes whole.
 */
enum http_progress http_read_head(struct http_head *head, const char *data, size_t length,
                                  struct http_refusal *refusal);

/* Take the next field off the front of a block of checked field lines; false at its end. */
bool http_next_field(struct http_text *block, struct http_text *name, struct http_text *value);

/* The decoder of chunked content (RFC 9112 section 7.1). A new one is all zeros but for `most`. */
struct buffer;

struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILERS } state;
    uint64_t most; /* bytes of content that are taken; set by the caller */
    uint64_t left; /* of the chunk at hand */
    uint32_t trailer_bytes;
    uint8_t trailers;
};

/* Append to `content` what `data` has of it; `used` says how much of `data` is done with. */
enum http_progress http_take_chunks(struct http_chunks *chunks, const char *data, size_t length,
                                    size_t *used, struct buffer *content,
                                    struct http_refusal *refusal);

/* For both readers: lines and fields. */

enum http_class { HTTP_VALUE = 1, HTTP_TOKEN = 2, HTTP_HOST = 4 };

extern const unsigned char http_classes[256];

static inline bool http_is(char byte, enum http_class class)
{
    return http_classes[(unsigned char)byte] & class;
}

/* Return the first place from `at` on whose byte is not of the class. */
static inline const char *http_skip(const char *at, const char *end, enum http_class class)
{
    while (at < end && http_is(*at, class))
        at++;
    return at;
}

enum http_progress http_refuse(struct http_refusal *refusal, int status, const char *why);

/* Refuse content of more than `most` bytes (413), in the words of servers/app/CONTRACT.md. */
enum http_progress http_refuse_content(struct http_refusal *refusal, int64_t most);

/* Move `at` to the CR of the line's end; HTTP_MORE: to where looking goes on with more bytes. */
enum http_progress http_find_line_end(const char *data, size_t length, size_t *at,
                                      struct http_refusal *refusal);

/* Split a field line, its end cut off, into name and value without outer whitespace. */
enum http_progress http_split_field(struct http_text line, struct http_text *name,
                                    struct http_text *value, struct http_refusal *refusal);

bool http_equals(struct http_text text, const char *lower_case);

#endif
