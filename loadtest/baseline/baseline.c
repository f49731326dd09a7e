/* A minimal server: one process, epoll, a fixed answer.
 *
 *     baseline FD        FD: an inherited listening socket
 *
 * It reads, counts the empty lines that end a request's head (CR LF CR LF), and sends as many copies
 * of one answer: no parsing, no request body, no timers, no limits, no log. What remains is mostly
 * the kernel's cost of a request, which no server can avoid; other servers' costs are given as
 * multiples of it.
 *
 * Level-triggered: a connection is registered once, for reading. If a client does not read its
 * answers, the connection is closed, because there is no buffer for them. SIGTERM ends the server.
 */

#define _GNU_SOURCE /* accept4 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 128, RECEIVED = 16384, AT_ONCE = 64 };

static const char ANSWER[] = "HTTP/1.1 200 OK\r\n"
                             "Content-Type: text/plain\r\n"
                             "Content-Length: 14\r\n"
                             "\r\n"
                             "Hello, world!\n";
enum { LENGTH = sizeof ANSWER - 1 };

static char answers[AT_ONCE * LENGTH];

struct client {
    int fd;
    int matched; /* how many bytes of CR LF CR LF the input ends with */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Return how many heads end in `data`; the first may have begun in earlier data. */
static int count_ends(struct client *client, const char *data, size_t length)
{
    static const char end[] = "\r\n\r\n";
    int count = 0;
    size_t at = 0;
    while (at < length) {
        if (!client->matched) { /* the usual case: skip to the next CR */
            const char *next = memchr(data + at, '\r', length - at);
            if (!next)
                break;
            at = (size_t)(next - data);
        }
        if (data[at] == end[client->matched])
            client->matched++;
        else
            client->matched = data[at] == '\r';
        if (client->matched == 4) {
            client->matched = 0;
            count++;
        }
        at++;
    }
    return count;
}

static int answer(const struct client *client, int count)
{
    while (count > 0) {
        int some = count < AT_ONCE ? count : AT_ONCE;
        ssize_t length = (ssize_t)some * LENGTH;
        if (send(client->fd, answers, (size_t)length, MSG_NOSIGNAL) != length)
            return -1;
        count -= some;
    }
    return 0;
}

static void serve(struct client *client)
{
    char data[RECEIVED];
    ssize_t length = recv(client->fd, data, sizeof data, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0 || answer(client, count_ends(client, data, (size_t)length))) {
        close(client->fd);
        free(client);
    }
}

static void accept_one(int epoll, int listener)
{
    int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return; /* client gone; or out of descriptors: then it spins, which shows in its CPU time */
    struct client *client = calloc(1, sizeof *client);
    struct epoll_event event = {EPOLLIN, {.ptr = client}};
    if (!client || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("a new client");
    client->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int main(int count, char **arguments)
{
    struct epoll_event events[EVENTS], event = {EPOLLIN, {.ptr = NULL}};
    int listener = count == 2 ? atoi(arguments[1]) : -1;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("usage: baseline FD, a listening socket");
    for (int i = 0; i < AT_ONCE; i++)
        memcpy(answers + i * LENGTH, ANSWER, LENGTH);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                accept_one(epoll, listener);
        }
    }
}
