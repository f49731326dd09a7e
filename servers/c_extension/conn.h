/* One client's connection: received bytes, output, state. See conn.c. */

#ifndef CHAINLAB_CONN_H
#define CHAINLAB_CONN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "app.h"
#include "buffer.h"
#include "http.h"
#include "output.h"
#include "timers.h"

/* Fits the longest head followed by the longest chunk line or the longest trailers, so an input
 * buffer never grows. */
enum { INPUT_SIZE = 64 << 10 };

struct loop;

enum conn_state {
    CONN_IDLE,      /* no byte of a request has arrived */
    CONN_HEAD,      /* part of a head has arrived */
    CONN_CONTENT,   /* the head and part of the content have arrived */
    CONN_SENDING,   /* the response is being produced and sent */
    CONN_WAITING,   /* the application waits */
    CONN_LINGERING, /* everything is sent; further input is discarded */
};

union peer {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

struct conn {
    struct loop *loop;
    struct conn *before, *after; /* in the loop's list */
    struct timer timer;          /* its meaning depends on the state, unless `yielded` */
    int64_t set_aside;           /* if `yielded`: the timer's former time */
    int fd;
    enum conn_state state;
    bool readable; /* the kernel may have bytes for us */
    bool leaving;  /* the peer has sent FIN */
    bool ended;    /* ... and we have received everything before it */
    bool blocked;  /* the socket is full; epoll reports when it is not */
    bool watches_output; /* ... because EPOLLOUT is requested */
    bool yielded;  /* its turn is over; the timer resumes it */
    bool keep;     /* another request may follow */
    bool refused;  /* ignore what the peer still sends */
    union peer peer;

    char *input; /* INPUT_SIZE bytes, or NULL; the request's head stays at `begin` */
    size_t begin, end;
    struct http_head head;
    struct http_chunks chunks;
    struct buffer content;

    struct output output;
    struct answer answer;
    enum app_next next;
    int64_t pause; /* nanoseconds, for APP_PAUSE */
};

/* Take over an accepted socket; false: out of memory, or epoll_ctl failed. */
bool conn_open(struct loop *loop, int fd, const union peer *peer);

/* The two entry points: an epoll event, or the connection's timer has fired. */
void conn_event(struct conn *conn, uint32_t events);
void conn_expired(struct conn *conn);

/* Close at once, in any state. */
void conn_close(struct conn *conn);

static inline struct conn *conn_of_timer(struct timer *timer)
{
    return (struct conn *)((char *)timer - offsetof(struct conn, timer));
}

#endif
