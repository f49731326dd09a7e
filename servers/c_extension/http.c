/* The head of a request, parsed line by line as lines arrive; see http.h for the contract.
 *
 * Each line is checked when its end has arrived, so that a peer that speaks another protocol (TLS,
 * HTTP/0.9, garbage) gets an answer at once and not after a timeout. What depends on all lines (the
 * host, the framing) is recorded on the way and decided at the empty line. Field lines are not
 * stored: http_next_field parses the block again on demand, which most requests never need.
 */

#include "http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TLS_HANDSHAKE = 0x16 };

#define V HTTP_VALUE
#define VT (HTTP_VALUE | HTTP_TOKEN)
#define VH (HTTP_VALUE | HTTP_HOST)
#define VTH (HTTP_VALUE | HTTP_TOKEN | HTTP_HOST)

/* RFC 9110 sections 5.5 and 5.6.2, RFC 3986 section 3.2.2 (reg-name, with % but unchecked). */
const unsigned char http_classes[256] = {
    ['\t'] = V,        [' '] = V,           ['!'] = VTH,        ['"'] = V,
    ['#'] = VT,        ['$' ... '\''] = VTH, ['(' ... ')'] = VH, ['*' ... '+'] = VTH,
    [','] = V,         ['-' ... '.'] = VTH, ['/'] = V,          ['0' ... '9'] = VTH,
    [':'] = V,         [';'] = VH,          ['<'] = V,          ['='] = VH,
    ['>' ... '@'] = V, ['A' ... 'Z'] = VTH, ['[' ... ']'] = V,  ['^'] = VT,
    ['_'] = VTH,       ['`'] = VT,          ['a' ... 'z'] = VTH, ['{'] = V,
    ['|'] = VT,        ['}'] = V,           ['~'] = VTH,        [0x80 ... 0xff] = V,
};

/* Refusals */

enum http_progress http_refuse(struct http_refusal *refusal, int status, const char *why)
{
    refusal->status = status;
    snprintf(refusal->why, sizeof refusal->why, "%s", why);
    return HTTP_REFUSED;
}

enum http_progress http_refuse_content(struct http_refusal *refusal, int64_t most)
{
    refusal->status = 413;
    snprintf(refusal->why, sizeof refusal->why, "the content is too large: send at most %lld bytes",
             (long long)most);
    return HTTP_REFUSED;
}

/* Lines and texts */

static const char *name_stray(char byte)
{
    switch (byte) {
    case '\r': return "a bare CR";
    case '\n': return "a bare LF";
    case '\0': return "a NUL";
    default: return "a control character";
    }
}

enum http_progress http_find_line_end(const char *data, size_t length, size_t *at,
                                      struct http_refusal *refusal)
{
    const char *end = data + length;
    const char *stop = http_skip(data + *at, end, HTTP_VALUE);
    *at = (size_t)(stop - data);
    if (stop == end || (*stop == '\r' && stop + 1 == end))
        return HTTP_MORE;
    if (*stop == '\r' && stop[1] == '\n')
        return HTTP_WHOLE;
    return http_refuse(refusal, 400, name_stray(*stop));
}

bool http_equals(struct http_text text, const char *lower_case)
{
    return text.length == strlen(lower_case) && !strncasecmp(text.at, lower_case, text.length);
}

static struct http_text trim(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct http_text){at, (size_t)(end - at)};
}

/* Take the next item off a comma-separated list; false after the last one. */
static bool next_item(struct http_text *list, struct http_text *item)
{
    if (!list->at)
        return false;
    const char *end = list->at + list->length;
    const char *comma = memchr(list->at, ',', list->length);
    *item = trim(list->at, comma ? comma : end);
    if (comma)
        *list = (struct http_text){comma + 1, (size_t)(end - comma - 1)};
    else
        list->at = NULL;
    return true;
}

enum http_progress http_split_field(struct http_text line, struct http_text *name,
                                    struct http_text *value, struct http_refusal *refusal)
{
    const char *end = line.at + line.length;
    const char *stop = http_skip(line.at, end, HTTP_TOKEN);
    if (stop == end)
        return http_refuse(refusal, 400, "a header line without a colon");
    if (stop == line.at && (*stop == ' ' || *stop == '\t'))
        return http_refuse(refusal, 400, "a folded header line");
    if (*stop == ' ' || *stop == '\t')
        return http_refuse(refusal, 400, "a space in a header name or before its colon");
    if (stop == line.at || *stop != ':')
        return http_refuse(refusal, 400, "a header name that is not a token");
    *name = (struct http_text){line.at, (size_t)(stop - line.at)};
    *value = trim(stop + 1, end);
    return HTTP_WHOLE;
}

bool http_next_field(struct http_text *block, struct http_text *name, struct http_text *value)
{
    if (!block->length)
        return false;
    const char *end = block->at + block->length;
    const char *line_end = memchr(block->at, '\r', block->length);
    const char *colon = memchr(block->at, ':', block->length);
    *name = (struct http_text){block->at, (size_t)(colon - block->at)};
    *value = trim(colon + 1, line_end);
    *block = (struct http_text){line_end + 2, (size_t)(end - line_end - 2)};
    return true;
}

/* The request line */

static enum http_progress read_request_line(struct http_head *head, const char *data,
                                            struct http_text line, struct http_refusal *refusal)
{
    if (!line.length && !head->forgiven) { /* RFC 9112 section 2.2 */
        head->forgiven = true;
        return HTTP_WHOLE;
    }
    if (line.length > HTTP_REQUEST_LINE)
        return http_refuse(refusal, 414, "a request line longer than 8192 bytes");
    const char *end = line.at + line.length;
    const char *method_end = http_skip(line.at, end, HTTP_TOKEN);
    if (method_end == line.at || method_end == end || *method_end != ' ')
        return http_refuse(refusal, 400, "a malformed request line");
    const char *target = method_end + 1;
    const char *target_end = target;
    while (target_end < end && *target_end > ' ' && *target_end <= '~')
        target_end++;
    if (target_end == end && target_end > target)
        return http_refuse(refusal, 400, "a request line without a version (HTTP/0.9)");
    const char *version = target_end;
    if (target_end == target || end - version != 9 || memcmp(version, " HTTP/", 6) ||
        version[6] < '0' || version[6] > '9' || version[7] != '.' || version[8] < '0' ||
        version[8] > '9')
        return http_refuse(refusal, 400, "a malformed request line");
    if (version[6] != '1')
        return http_refuse(refusal, 505, "a version other than HTTP/1.0 and HTTP/1.1");
    head->minor = version[8] != '0';
    head->method.at = (uint32_t)(line.at - data);
    head->method.length = (uint32_t)(method_end - line.at);
    head->target.at = (uint32_t)(target - data);
    head->target.length = (uint32_t)(target_end - target);
    head->fields.at = (uint32_t)(end + 2 - data);
    return HTTP_WHOLE;
}

/* Field lines: records host, framing and connection, decides nothing yet. */

static void note_length(struct http_head *head, struct http_text value)
{
    head->length_count++;
    int64_t length = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            head->length_bad = true;
        else if (i < 18)
            length = length * 10 + (value.at[i] - '0');
    }
    head->length_bad |= !value.length;
    head->length_vast = value.length > 18;
    head->content_length = length;
}

static void note_codings(struct http_head *head, struct http_text list)
{
    struct http_text coding;
    while (next_item(&list, &coding)) {
        head->coding_after_chunked |= head->coding_is_chunked;
        head->coding_is_chunked = http_equals(coding, "chunked");
        const char *end = coding.at + coding.length;
        const char *stop = http_skip(coding.at, end, HTTP_TOKEN);
        while (stop > coding.at && stop < end && (*stop == ' ' || *stop == '\t'))
            stop++;
        head->coding_bad |= stop == coding.at || (stop < end && *stop != ';');
        if (head->coding_count < 2) /* only none, one or several matters */
            head->coding_count++;
    }
}

static void note_connection(struct http_head *head, struct http_text list)
{
    struct http_text option;
    while (next_item(&list, &option)) {
        head->close |= http_equals(option, "close");
        head->stay |= http_equals(option, "keep-alive");
    }
}

static void note_field(struct http_head *head, const char *data, struct http_text name,
                       struct http_text value)
{
    if (http_equals(name, "host")) {
        head->host_count++;
        head->host.at = (uint32_t)(value.at - data);
        head->host.length = (uint32_t)value.length;
    } else if (http_equals(name, "content-length")) {
        note_length(head, value);
    } else if (http_equals(name, "transfer-encoding")) {
        note_codings(head, value);
    } else if (http_equals(name, "connection")) {
        note_connection(head, value);
    } else if (http_equals(name, "expect") && !head->expects) {
        head->expects = true;
        head->expects_other = !http_equals(value, "100-continue");
    }
}

static enum http_progress read_field_line(struct http_head *head, const char *data,
                                          struct http_text line, struct http_refusal *refusal)
{
    struct http_text name, value;
    if (head->field_count == HTTP_FIELDS)
        return http_refuse(refusal, 431, "more than 100 header fields");
    head->field_count++;
    if (head->line - head->fields.at > HTTP_HEADER_BLOCK)
        return http_refuse(refusal, 431, "a header block longer than 32768 bytes");
    enum http_progress progress = http_split_field(line, &name, &value, refusal);
    if (progress == HTTP_WHOLE)
        note_field(head, data, name, value);
    return progress;
}

/* Decisions that need all lines */

static bool is_host(struct http_text host)
{
    const char *end = host.at + host.length;
    const char *stop;
    if (host.length && *host.at == '[') {
        for (stop = host.at + 1; stop < end && strchr("0123456789abcdefABCDEF:.", *stop); stop++)
            ;
        if (stop == host.at + 1 || stop == end || *stop++ != ']')
            return false;
    } else {
        stop = http_skip(host.at, end, HTTP_HOST);
        if (stop == host.at)
            return false;
    }
    if (stop == end)
        return true;
    int port = 0;
    const char *digit = stop + 1;
    for (; digit < end && *digit >= '0' && *digit <= '9' && digit - stop <= 5; digit++)
        port = port * 10 + (*digit - '0');
    return *stop == ':' && digit == end && port <= 65535;
}

static void split_query(struct http_head *head, struct http_span target, const char *data)
{
    const char *begin = data + target.at;
    const char *question = memchr(begin, '?', target.length);
    head->path = target;
    if (!question)
        return;
    head->path.length = (uint32_t)(question - begin);
    head->query.at = (uint32_t)(question + 1 - data);
    head->query.length = target.length - head->path.length - 1;
}

/* http://AUTHORITY[/PATH][?QUERY] (RFC 9112 section 3.2.2) */
static enum http_progress read_absolute(struct http_head *head, const char *data, bool options,
                                        struct http_refusal *refusal)
{
    struct http_text target = {data + head->target.at, head->target.length};
    const char *end = target.at + target.length;
    const char *host = memchr(target.at, ':', target.length);
    if (!host || end - host < 3 || memcmp(host, "://", 3) ||
        !(http_equals((struct http_text){target.at, (size_t)(host - target.at)}, "http") ||
          http_equals((struct http_text){target.at, (size_t)(host - target.at)}, "https")))
        return http_refuse(refusal, 400, "a malformed request target");
    host += 3;
    const char *stop = host;
    while (stop < end && *stop != '/' && *stop != '?')
        stop++;
    if (!is_host((struct http_text){host, (size_t)(stop - host)}))
        return http_refuse(refusal, 400, "an invalid Host");
    struct http_span rest = {(uint32_t)(stop - data), (uint32_t)(end - stop)};
    split_query(head, rest, data);
    if (!head->path.length && !(options && stop == end))
        head->path = (struct http_span){(uint32_t)(host - 1 - data), 1}; /* the slash before it */
    return HTTP_WHOLE;
}

static enum http_progress resolve_target(struct http_head *head, const char *data,
                                         struct http_refusal *refusal)
{
    struct http_text method = {data + head->method.at, head->method.length};
    struct http_text target = {data + head->target.at, head->target.length};
    bool options = method.length == 7 && !memcmp(method.at, "OPTIONS", 7);
    if (method.length == 7 && !memcmp(method.at, "CONNECT", 7))
        return http_refuse(refusal, 501, "CONNECT: this server makes no tunnels");
    if (memchr(target.at, '#', target.length))
        return http_refuse(refusal, 400, "a fragment in the request target");
    if (*target.at == '/')
        split_query(head, head->target, data);
    else if (!(options && target.length == 1 && *target.at == '*'))
        return read_absolute(head, data, options, refusal);
    return HTTP_WHOLE;
}

/* Refuses every form of request smuggling (RFC 9112 section 6.3). */
static enum http_progress decide_framing(struct http_head *head, struct http_refusal *refusal)
{
    if (head->coding_count) {
        if (head->length_count)
            return http_refuse(refusal, 400, "both Content-Length and Transfer-Encoding");
        if (!head->minor)
            return http_refuse(refusal, 400, "Transfer-Encoding in HTTP/1.0");
        head->chunked = head->coding_count == 1 && head->coding_is_chunked;
        if (head->coding_after_chunked)
            return http_refuse(refusal, 400,
                               "chunked is not the last transfer coding, or is repeated");
        if (head->coding_bad)
            return http_refuse(refusal, 400, "a malformed Transfer-Encoding");
        if (!head->chunked)
            return http_refuse(refusal, 501, "an unknown transfer coding");
    }
    if (head->length_count > 1)
        return http_refuse(refusal, 400, "more than one Content-Length");
    if (head->length_bad)
        return http_refuse(refusal, 400, "a malformed Content-Length");
    if (head->length_vast || head->content_length > head->most)
        return http_refuse_content(refusal, head->most);
    return HTTP_WHOLE;
}

static enum http_progress finish(struct http_head *head, const char *data,
                                 struct http_refusal *refusal)
{
    head->length = head->line;
    head->fields.length = head->length - 2 - head->fields.at;
    if (head->host_count > 1)
        return http_refuse(refusal, 400, "more than one Host");
    if (!head->host_count && head->minor)
        return http_refuse(refusal, 400, "no Host");
    struct http_text host = {data + head->host.at, head->host.length};
    if (head->host_count && !is_host(host))
        return http_refuse(refusal, 400, "an invalid Host");
    enum http_progress progress = resolve_target(head, data, refusal);
    if (progress == HTTP_WHOLE)
        progress = decide_framing(head, refusal);
    if (progress != HTTP_WHOLE)
        return progress;
    if (head->minor && head->expects_other)
        return http_refuse(refusal, 417, "an expectation other than 100-continue");
    head->expect_continue = head->minor && head->expects && (head->chunked || head->content_length);
    head->keep_alive = !head->close && (head->minor || head->stay);
    return HTTP_WHOLE;
}

/* Refuse an incomplete line that is already too long. */
static enum http_progress check_limits(const struct http_head *head, struct http_refusal *refusal)
{
    /* `seen` is at the CR, if the line so far ends with one. */
    if (!head->method.length) {
        if (head->seen - head->line > HTTP_REQUEST_LINE)
            return http_refuse(refusal, 414, "a request line longer than 8192 bytes");
    } else if (head->seen - head->fields.at > HTTP_HEADER_BLOCK) {
        return http_refuse(refusal, 431, "a header block longer than 32768 bytes");
    }
    return HTTP_MORE;
}

enum http_progress http_read_head(struct http_head *head, const char *data, size_t length,
                                  struct http_refusal *refusal)
{
    if (!head->seen && length && data[0] == TLS_HANDSHAKE)
        return http_refuse(refusal, 400, "a TLS handshake on a plain HTTP port");
    for (;;) {
        size_t at = head->seen;
        enum http_progress progress = http_find_line_end(data, length, &at, refusal);
        head->seen = (uint32_t)at;
        if (progress != HTTP_WHOLE)
            return progress == HTTP_MORE ? check_limits(head, refusal) : progress;
        struct http_text line = {data + head->line, at - head->line};
        head->line = head->seen = (uint32_t)at + 2;
        if (!head->method.length)
            progress = read_request_line(head, data, line, refusal);
        else if (line.length)
            progress = read_field_line(head, data, line, refusal);
        else
            return finish(head, data, refusal);
        if (progress == HTTP_REFUSED)
            return progress;
    }
}
