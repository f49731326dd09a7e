/* HTTP/1.1 request parser: bytes in, a parsed head or a refusal out. No Python, no sockets, no heap.
 *
 * The rules and statuses are those of chainlab/wire/http1 (request.py, fields.py, framing.py), whose
 * test cases this parser passes too. It is strict: it refuses errors that RFC 9112 lets a server
 * repair, because another server might repair them differently.
 */

#ifndef CHAINLAB_HTTP_H
#define CHAINLAB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits per request; in brackets, the status when exceeded. */
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
    char why[72]; /* one line, without the newline */
};

struct http_text {
    const char *at;
    size_t length;
};

/* A part of the head, as an offset from its first byte, because the buffer may move. */
struct http_span {
    uint32_t at, length;
};

struct http_head {
    int64_t most; /* maximum bytes of content; set by the caller */

    /* Valid once the head is complete. */
    struct http_span method, path, query, fields; /* a path without bytes: `*`, the server itself */
    uint32_t length;                              /* including the empty line */
    bool minor, keep_alive, chunked, expect_continue;
    int64_t content_length; /* bytes; 0 also without Content-Length */

    /* The state of the parser. */
    uint32_t line, seen; /* start of the current line; bytes already checked */
    struct http_span target, host;
    uint8_t field_count, host_count, length_count, coding_count;
    bool forgiven; /* an empty line before the request line was skipped */
    bool close, stay;
    bool length_bad, length_vast;
    bool coding_is_chunked, coding_after_chunked, coding_bad;
    bool expects, expects_other;
};

/* Parse the head at `data`, of which `length` bytes have arrived. A new head is all zeros except
 * `most`; after HTTP_MORE call again with the same bytes followed by more. Each byte is checked
 * once, so a head that arrives byte by byte costs no more than one that arrives in one piece.
 */
enum http_progress http_read_head(struct http_head *head, const char *data, size_t length,
                                  struct http_refusal *refusal);

/* Take the next field off the front of a block of checked field lines; false at its end. */
bool http_next_field(struct http_text *block, struct http_text *name, struct http_text *value);

/* Decoder for chunked content (RFC 9112 section 7.1). A new one is all zeros except `most`. */
struct buffer;

struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILERS } state;
    uint64_t most; /* maximum bytes of content; set by the caller */
    uint64_t left; /* of the current chunk */
    uint32_t trailer_bytes;
    uint8_t trailers;
};

/* Append the content in `data` to `content`; sets `used` to the processed bytes of `data`. */
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

/* Return the first position from `at` on whose byte is not in the class. */
static inline const char *http_skip(const char *at, const char *end, enum http_class class)
{
    while (at < end && http_is(*at, class))
        at++;
    return at;
}

enum http_progress http_refuse(struct http_refusal *refusal, int status, const char *why);

/* Refuse content of more than `most` bytes (413), with the message of servers/app/CONTRACT.md. */
enum http_progress http_refuse_content(struct http_refusal *refusal, int64_t most);

/* Move `at` to the CR that ends the line; HTTP_MORE: to where to continue with more bytes. */
enum http_progress http_find_line_end(const char *data, size_t length, size_t *at,
                                      struct http_refusal *refusal);

/* Split a field line (without its line end) into name and value, without outer whitespace. */
enum http_progress http_split_field(struct http_text line, struct http_text *name,
                                    struct http_text *value, struct http_refusal *refusal);

bool http_equals(struct http_text text, const char *lower_case);

#endif
