/* A connection as a state machine. Each step does one bounded thing (one recv, one send, one piece
 * of a response) and returns whether to continue. `drive` takes steps until none is possible, or
 * until the connection's turn is over, and is the only place that closes.
 *
 *     IDLE, HEAD   the head is complete         -> CONTENT, or SENDING without content
 *     CONTENT      the content is complete      -> SENDING
 *     SENDING      the application waits        -> WAITING -> SENDING
 *     SENDING      everything is sent           -> IDLE, or LINGERING, or closed
 *     any          the peer breaks the rules    -> SENDING (the refusal) -> LINGERING
 *
 * Epoll is edge-triggered: a connection is registered once, and a kept one needs no more epoll_ctl.
 * The price is to remember readiness: `readable` stays set until a short recv. EPOLLOUT is requested
 * only after a send would have blocked, because a unix socket reports it after every answer.
 *
 * The response starts only after the whole request has arrived, and the next request is read only
 * after the response has been sent: this bounds memory and keeps pipelined answers in order.
 */

#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "loop.h"

#define LINGER_TIME INT64_C(1000000000) /* nanoseconds to keep reading after an early answer */

enum { STEPS_OF_A_TURN = 32 };

enum verdict { ON, WAIT, OVER };

static void set_timer(struct conn *conn, int64_t delay)
{
    timer_set(&conn->loop->timers, &conn->timer, conn->loop->now + delay);
}

/* Restart the time limit for the client to send more of its request or read more of the response. */
static void be_patient(struct conn *conn)
{
    set_timer(conn, conn->loop->settings.patience);
}

/* Receiving */

static void drop_input(struct conn *conn)
{
    if (conn->input)
        loop_give_input(conn->loop, conn->input);
    conn->input = NULL;
    conn->begin = conn->end = 0;
}

static bool make_room(struct conn *conn)
{
    if (!conn->input)
        conn->input = loop_take_input(conn->loop);
    if (conn->end == INPUT_SIZE) {
        conn->end -= conn->begin;
        memmove(conn->input, conn->input + conn->begin, conn->end);
        conn->begin = 0;
    }
    return conn->input && conn->end < INPUT_SIZE;
}

/* Receive what the kernel has. A short read means that nothing is left except the peer's FIN. */
static enum verdict receive(struct conn *conn)
{
    if (!conn->readable)
        return WAIT;
    if (!make_room(conn))
        return OVER;
    size_t room = INPUT_SIZE - conn->end;
    ssize_t got = recv(conn->fd, conn->input + conn->end, room, 0);
    if (got < 0) {
        conn->readable = errno == EINTR;
        return errno == EAGAIN ? WAIT : errno == EINTR ? ON : OVER;
    }
    conn->ended = got == 0;
    conn->readable = !conn->ended && ((size_t)got == room || conn->leaving);
    conn->end += (size_t)got;
    return ON;
}

/* Drop processed bytes, which start `skip` bytes after the start of the request. */
static void consume(struct conn *conn, size_t skip, size_t length)
{
    char *at = conn->input + conn->begin + skip;
    size_t rest = conn->end - conn->begin - skip - length;
    if (skip) {
        memmove(at, at + length, rest); /* the head before it is still needed */
        conn->end -= length;
    } else if (rest) {
        conn->begin += length;
    } else {
        drop_input(conn);
    }
}

/* Refusing requests */

static enum verdict refuse(struct conn *conn, int status, const char *why)
{
    char fields[128];
    int length = snprintf(fields, sizeof fields,
                          "Content-Type: text/plain\r\nContent-Length: %zu\r\n"
                          "Connection: close\r\n\r\n",
                          strlen(why) + 1);
    struct buffer *text = &conn->output.text;
    bool bare = conn->answer.bare;
    app_release(conn->loop->app, conn);
    output_free(&conn->output);
    buffer_free(&conn->content);
    drop_input(conn);
    conn->keep = false;
    conn->refused = true;
    conn->state = CONN_SENDING;
    conn->next = APP_END;
    be_patient(conn);
    return output_begin_head(text, status) && output_add_date(text) &&
                   buffer_append(text, fields, (size_t)length) &&
                   (bare || (buffer_append(text, why, strlen(why)) &&
                             buffer_append_literal(text, "\n")))
               ? ON
               : OVER;
}

/* The application */

static enum verdict follow(struct conn *conn, enum app_next next)
{
    conn->next = next;
    loop_read_clock(conn->loop); /* the application may have taken long */
    be_patient(conn);
    return next == APP_FAIL ? refuse(conn, 500, "the application failed: its log says why") : ON;
}

static enum verdict begin_answer(struct conn *conn)
{
    conn->state = CONN_SENDING;
    conn->keep = conn->head.keep_alive && !conn->loop->stopping;
    enum app_next next = app_begin(conn->loop->app, conn);
    consume(conn, 0, conn->head.length);
    return follow(conn, next);
}

/* Reading a request */

static enum verdict begin_content(struct conn *conn)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!conn->head.chunked && !conn->head.content_length)
        return begin_answer(conn);
    conn->state = CONN_CONTENT;
    conn->chunks = (struct http_chunks){.most = (uint64_t)conn->loop->settings.content};
    be_patient(conn);
    if (!conn->head.expect_continue || conn->end - conn->begin > conn->head.length)
        return ON;
    ssize_t sent = send(conn->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL);
    /* If the socket is full, skip it: clients only wait for a while. A partial send is an error. */
    return sent == (ssize_t)sizeof go_on - 1 || (sent < 0 && errno == EAGAIN) ? ON : OVER;
}

static enum verdict read_head(struct conn *conn)
{
    size_t here = conn->end - conn->begin;
    struct http_refusal refusal;
    if (here) {
        switch (http_read_head(&conn->head, conn->input + conn->begin, here, &refusal)) {
        case HTTP_WHOLE: return begin_content(conn);
        case HTTP_REFUSED: return refuse(conn, refusal.status, refusal.why);
        case HTTP_MORE: break;
        }
        if (conn->state == CONN_IDLE) {
            conn->state = CONN_HEAD;
            be_patient(conn);
        }
    }
    if (conn->ended)
        return here ? refuse(conn, 400, "closed in the middle of a request head") : OVER;
    enum verdict verdict = receive(conn);
    return verdict == WAIT && conn->loop->stopping && !here ? OVER : verdict;
}

static enum http_progress take_content(struct conn *conn, struct http_refusal *refusal)
{
    size_t skip = conn->head.length;
    size_t here = conn->end - conn->begin - skip;
    const char *data = conn->input + conn->begin + skip;
    enum http_progress progress = HTTP_MORE;
    if (conn->head.chunked) {
        progress = http_take_chunks(&conn->chunks, data, here, &here, &conn->content, refusal);
    } else {
        size_t left = (size_t)conn->head.content_length - conn->content.length;
        here = here < left ? here : left;
        if (!buffer_append(&conn->content, data, here))
            return http_refuse(refusal, 503, "no memory for the content");
        progress = here == left ? HTTP_WHOLE : HTTP_MORE;
    }
    consume(conn, skip, here);
    return progress;
}

static enum verdict read_content(struct conn *conn)
{
    struct http_refusal refusal;
    switch (take_content(conn, &refusal)) {
    case HTTP_WHOLE: return begin_answer(conn);
    case HTTP_REFUSED: return refuse(conn, refusal.status, refusal.why);
    case HTTP_MORE: break;
    }
    if (conn->ended)
        return refuse(conn, 400, "closed before the end of the content");
    enum verdict verdict = receive(conn);
    if (verdict == ON)
        be_patient(conn);
    return verdict;
}

/* Sending the response */

static bool watch(struct conn *conn, uint32_t more)
{
    struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET | more, {.ptr = conn}};
    conn->watches_output = more;
    return !epoll_ctl(conn->loop->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static enum verdict send_some(struct conn *conn)
{
    enum sent sent = output_send(&conn->output, conn->fd);
    be_patient(conn);
    if (sent == SENT_SOME)
        return ON;
    if (sent == SENT_FAILED) {
        if (errno == ENODATA)
            app_log_errno(conn->loop->app, "a file shrank while it was sent");
        return OVER;
    }
    conn->blocked = true;
    /* EPOLL_CTL_MOD reports readiness that already holds, so no event is missed in between. */
    return conn->watches_output || watch(conn, EPOLLOUT) ? WAIT : OVER;
}

/* Close so that the client gets everything sent: if its bytes arrive at a closed socket, or are
 * unread, the close resets the connection and destroys the response (RFC 9112 section 9.6). */
static enum verdict hang_up(struct conn *conn)
{
    bool expected = !conn->refused && !conn->head.keep_alive; /* it will send no more */
    if (conn->ended || (expected && !conn->input && !conn->readable))
        return OVER;
    drop_input(conn);
    conn->state = CONN_LINGERING;
    set_timer(conn, LINGER_TIME);
    return shutdown(conn->fd, SHUT_WR) ? OVER : ON;
}

static enum verdict end_answer(struct conn *conn)
{
    app_release(conn->loop->app, conn);
    output_free(&conn->output);
    if (conn->watches_output && !watch(conn, 0))
        return OVER;
    if (!conn->keep || conn->loop->stopping)
        return hang_up(conn);
    conn->head = (struct http_head){.most = conn->loop->settings.content};
    conn->state = CONN_IDLE;
    set_timer(conn, conn->loop->settings.idle);
    return ON;
}

static enum verdict send_response(struct conn *conn)
{
    if (conn->blocked)
        return WAIT;
    if (output_pending(&conn->output))
        return send_some(conn);
    switch (conn->next) {
    case APP_MORE: return follow(conn, app_go_on(conn->loop->app, conn));
    case APP_PAUSE:
        conn->state = CONN_WAITING;
        set_timer(conn, conn->pause);
        return WAIT;
    case APP_END: return end_answer(conn);
    case APP_FAIL: /* already refused */
    case APP_CUT: break;
    }
    return OVER;
}

static enum verdict linger(struct conn *conn)
{
    enum verdict verdict = conn->ended ? OVER : receive(conn);
    conn->begin = conn->end = 0;
    return verdict;
}

/* Driving */

static enum verdict step(struct conn *conn)
{
    switch (conn->state) {
    case CONN_IDLE:
    case CONN_HEAD: return read_head(conn);
    case CONN_CONTENT: return read_content(conn);
    case CONN_SENDING: return send_response(conn);
    case CONN_WAITING: return WAIT;
    case CONN_LINGERING: break;
    }
    return linger(conn);
}

static void drive(struct conn *conn)
{
    if (conn->yielded) {
        conn->yielded = false;
        timer_set(&conn->loop->timers, &conn->timer, conn->set_aside);
    }
    for (int steps = 0; steps < STEPS_OF_A_TURN; steps++) {
        enum verdict verdict = step(conn);
        if (verdict == OVER)
            conn_close(conn);
        if (verdict != ON)
            return;
    }
    conn->yielded = true;
    conn->set_aside = conn->timer.due;
    set_timer(conn, 1);
}

void conn_event(struct conn *conn, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) { /* reset, or closed in both directions */
        conn_close(conn);
        return;
    }
    if (events & EPOLLRDHUP)
        conn->leaving = true;
    if (events & (EPOLLIN | EPOLLRDHUP))
        conn->readable = !conn->ended;
    if (events & EPOLLOUT)
        conn->blocked = false;
    drive(conn);
}

static enum verdict take_timeout(struct conn *conn)
{
    switch (conn->state) {
    case CONN_IDLE:
    case CONN_SENDING:
    case CONN_LINGERING: break;
    case CONN_HEAD:
    case CONN_CONTENT: return refuse(conn, 408, "the request did not come in time");
    case CONN_WAITING:
        conn->state = CONN_SENDING;
        conn->next = APP_MORE;
        return ON;
    }
    return OVER;
}

void conn_expired(struct conn *conn)
{
    if (conn->yielded || take_timeout(conn) == ON)
        drive(conn);
    else
        conn_close(conn);
}

/* Opening and closing */

bool conn_open(struct loop *loop, int fd, const union peer *peer)
{
    struct conn *conn = calloc(1, sizeof *conn);
    struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.ptr = conn}};
    if (!conn || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event)) {
        free(conn);
        return false;
    }
    conn->loop = loop;
    conn->fd = fd;
    conn->peer = *peer;
    conn->head.most = loop->settings.content;
    conn->after = loop->connections;
    if (conn->after)
        conn->after->before = conn;
    loop->connections = conn;
    loop->count++;
    be_patient(conn); /* a new connection is expected to send a request */
    return true;
}

void conn_close(struct conn *conn)
{
    struct loop *loop = conn->loop;
    struct linger none = {.l_onoff = 1};
    /* A response without its rest is cut off by a reset: content that lasts until the close would
     * seem complete, and the kernel need not keep what the client does not take. */
    if (conn->answer.response)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    app_release(loop->app, conn);
    output_free(&conn->output);
    buffer_free(&conn->content);
    drop_input(conn);
    timer_drop(&loop->timers, &conn->timer);
    if (conn->after)
        conn->after->before = conn->before;
    if (conn->before)
        conn->before->after = conn->after;
    else
        loop->connections = conn->after;
    /* close() is not enough if a forked child has a copy: epoll would still report it. */
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
    close(conn->fd);
    free(conn);
    loop_forget(loop);
}
