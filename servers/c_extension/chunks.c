/* Content that comes in chunks (RFC 9112 section 7.1): size line, data, CRLF; a zero size, trailers,
 * an empty line.
 *
 * A line is read once it is complete, data as it arrives. Extensions and trailers are checked and
 * dropped: no handler uses them, but two parsers that disagree on them allow request smuggling.
 */

#include "buffer.h"
#include "http.h"

/* Grammar of a size line: size *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Return the position after a quoted string that starts at `at`; NULL if it does not end. */
static const char *skip_quoted(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if (*at == '\\' && ++at == end)
            break;
    }
    return NULL;
}

static bool are_extensions(const char *at, const char *end)
{
    while (at < end) {
        at = skip_blanks(at, end);
        if (at == end || *at != ';')
            return false;
        const char *name = skip_blanks(at + 1, end);
        at = http_skip(name, end, HTTP_TOKEN);
        if (at == name)
            return false;
        const char *equals = skip_blanks(at, end);
        if (equals == end || *equals != '=')
            continue;
        const char *value = skip_blanks(equals + 1, end);
        at = value < end && *value == '"' ? skip_quoted(value, end)
                                          : http_skip(value, end, HTTP_TOKEN);
        if (!at || at == value)
            return false;
    }
    return true;
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static enum http_progress read_size(struct http_chunks *chunks, struct http_text line,
                                    size_t received, struct http_refusal *refusal)
{
    uint64_t size = 0;
    size_t digits = 0;
    for (; digits < line.length && digits <= 16 && hex_digit(line.at[digits]) >= 0; digits++)
        size = size << 4 | (uint64_t)hex_digit(line.at[digits]);
    if (!digits || digits > 16 || !are_extensions(line.at + digits, line.at + line.length))
        return http_refuse(refusal, 400, "a bad chunk size");
    if (size > chunks->most - received)
        return http_refuse_content(refusal, (int64_t)chunks->most);
    chunks->left = size;
    chunks->state = size ? CHUNK_DATA : CHUNK_TRAILERS;
    return HTTP_MORE;
}

static enum http_progress read_trailer(struct http_chunks *chunks, struct http_text line,
                                       struct http_refusal *refusal)
{
    struct http_text name, value;
    if (!line.length)
        return HTTP_WHOLE;
    if (chunks->trailers == HTTP_FIELDS)
        return http_refuse(refusal, 431, "more than 100 trailers");
    chunks->trailers++;
    chunks->trailer_bytes += (uint32_t)line.length + 2;
    if (chunks->trailer_bytes > HTTP_TRAILER_BLOCK)
        return http_refuse(refusal, 431, "trailers longer than 8192 bytes");
    if (http_split_field(line, &name, &value, refusal) == HTTP_REFUSED)
        return HTTP_REFUSED;
    if (http_equals(name, "content-length") || http_equals(name, "transfer-encoding") ||
        http_equals(name, "host"))
        return http_refuse(refusal, 400, "a field in the trailers that must be in the head");
    return HTTP_MORE;
}

/* Read the size line or the trailer at `at`; HTTP_MORE with `at` unmoved if it is incomplete. */
static enum http_progress read_line(struct http_chunks *chunks, const char *data, size_t length,
                                    size_t *at, size_t received, struct http_refusal *refusal)
{
    size_t end = *at;
    bool in_trailers = chunks->state == CHUNK_TRAILERS;
    enum http_progress progress = http_find_line_end(data, length, &end, refusal);
    if (progress == HTTP_REFUSED)
        return progress;
    struct http_text line = {data + *at, end - *at};
    if (!in_trailers && line.length > HTTP_CHUNK_LINE)
        return http_refuse(refusal, 400, "a chunk line longer than 4096 bytes");
    if (in_trailers && chunks->trailer_bytes + line.length > HTTP_TRAILER_BLOCK)
        return http_refuse(refusal, 431, "trailers longer than 8192 bytes");
    if (progress == HTTP_MORE)
        return HTTP_MORE;
    *at = end + 2;
    return in_trailers ? read_trailer(chunks, line, refusal)
                       : read_size(chunks, line, received, refusal);
}

static enum http_progress take_data(struct http_chunks *chunks, const char *data, size_t length,
                                    size_t *at, struct buffer *content,
                                    struct http_refusal *refusal)
{
    size_t here = length - *at;
    size_t piece = here < chunks->left ? here : chunks->left;
    if (!buffer_append(content, data + *at, piece))
        return http_refuse(refusal, 503, "no memory for the content");
    *at += piece;
    chunks->left -= piece;
    if (!chunks->left)
        chunks->state = CHUNK_DATA_END;
    return HTTP_MORE;
}

static enum http_progress take_data_end(struct http_chunks *chunks, const char *data, size_t length,
                                        size_t *at, struct http_refusal *refusal)
{
    size_t here = length - *at;
    if (data[*at] != '\r' || (here > 1 && data[*at + 1] != '\n'))
        return http_refuse(refusal, 400, "chunk data longer than its size");
    if (here > 1) {
        *at += 2;
        chunks->state = CHUNK_SIZE;
    }
    return HTTP_MORE;
}

enum http_progress http_take_chunks(struct http_chunks *chunks, const char *data, size_t length,
                                    size_t *used, struct buffer *content,
                                    struct http_refusal *refusal)
{
    size_t at = 0, before;
    enum http_progress progress = HTTP_MORE;
    do {
        before = at;
        if (at == length)
            break;
        if (chunks->state == CHUNK_DATA)
            progress = take_data(chunks, data, length, &at, content, refusal);
        else if (chunks->state == CHUNK_DATA_END)
            progress = take_data_end(chunks, data, length, &at, refusal);
        else
            progress = read_line(chunks, data, length, &at, content->length, refusal);
    } while (progress == HTTP_MORE && at > before);
    *used = at;
    return progress;
}
