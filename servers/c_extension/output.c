/* Nonblocking sending, and the lines that start every response. */

#define _GNU_SOURCE /* CLOCK_REALTIME_COARSE */

#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>

/* A file is sent in spans of this many bytes, so that one fast client cannot occupy the loop. */
enum { FILE_SPAN = 1 << 20 };

static void advance(struct output *output, size_t sent)
{
    size_t text = output->text.length - output->text_sent;
    size_t step = sent < text ? sent : text;
    output->text_sent += step;
    sent -= step;
    step = sent < output->piece_left ? sent : output->piece_left;
    output->piece += step;
    output->piece_left -= step;
    sent -= step;
    output->tail += sent;
    output->tail_left -= sent;
    if (output->text_sent == output->text.length)
        output->text.length = output->text_sent = 0;
}

/* If a file follows, MSG_MORE puts its first bytes into the packet of the head. */
static ssize_t send_bytes(struct output *output, int socket)
{
    struct iovec parts[3] = {
        {output->text.data + output->text_sent, output->text.length - output->text_sent},
        {(void *)output->piece, output->piece_left},
        {(void *)output->tail, output->tail_left},
    };
    int flags = MSG_NOSIGNAL | (output->file_left ? MSG_MORE : 0);
    if (!output->piece_left && !output->tail_left)
        return send(socket, parts[0].iov_base, parts[0].iov_len, flags);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    return sendmsg(socket, &message, flags);
}

/* sendfile has no flag against SIGPIPE, but Python ignores that signal. */
static enum sent send_file(struct output *output, int socket)
{
    size_t span = output->file_left < FILE_SPAN ? output->file_left : FILE_SPAN;
    ssize_t sent = sendfile(socket, output->file, &output->file_at, span);
    if (sent > 0) {
        output->file_left -= (size_t)sent;
        return SENT_SOME;
    }
    if (sent == 0)
        errno = ENODATA; /* the file shrank: the promised bytes do not exist */
    return sent < 0 && (errno == EAGAIN || errno == EINTR) ? SENT_NOTHING : SENT_FAILED;
}

enum sent output_send(struct output *output, int socket)
{
    if (output->text_sent == output->text.length && !output->piece_left && !output->tail_left)
        return send_file(output, socket);
    ssize_t sent = send_bytes(output, socket);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? SENT_NOTHING : SENT_FAILED;
    advance(output, (size_t)sent);
    return SENT_SOME;
}

void output_free(struct output *output)
{
    buffer_free(&output->text);
    *output = (struct output){0};
}

/* Reason phrases (RFC 9110 section 15) of the statuses that the lab uses. */
static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "";
    }
}

bool output_begin_head(struct buffer *text, int status)
{
    char line[64];
    int length = snprintf(line, sizeof line, "HTTP/1.1 %03d %s\r\n", status, reason(status));
    return buffer_append(text, line, (size_t)length) &&
           buffer_append_literal(text, "Server: chainlab/c-extension\r\n");
}

/* strftime depends on the locale. */
static const char DAYS[] = "SunMonTueWedThuFriSat";
static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

bool output_add_date(struct buffer *text)
{
    static char line[64];
    static int length;
    static time_t made;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* 5 ns, and exact enough for seconds */
    if (now.tv_sec != made) {
        struct tm day;
        gmtime_r(&now.tv_sec, &day);
        length = snprintf(line, sizeof line, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
                          DAYS + 3 * day.tm_wday, day.tm_mday, MONTHS + 3 * day.tm_mon,
                          day.tm_year + 1900, day.tm_hour, day.tm_min, day.tm_sec);
        made = now.tv_sec;
    }
    return buffer_append(text, line, (size_t)length);
}
