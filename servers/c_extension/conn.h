/* One client's connection: what was received, what is to be sent, and where it stands. See conn.c.
 */

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

/* The longest head, and behind it the longest line of a chunk or the longest trailers, always fit;
 * so an input buffer never grows. */
enum { INPUT_SIZE = 64 << 10 };

struct loop;

enum conn_state {
    CONN_IDLE,      /* no byte of a request is here */
    CONN_HEAD,      /* some of a head */
    CONN_CONTENT,   /* the head, and some of the content */
    CONN_SENDING,   /* the response is being made and sent */
    CONN_WAITING,   /* the application waits */
    CONN_LINGERING, /* all is sent; what still comes is thrown away */
};

union peer {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

struct conn {
    struct loop *loop;
    struct conn *before, *after; /* in the loop's list */
    struct timer timer;          /* what it means depends on the state */
    int64_t set_aside;           /* ... unless the turn was used up: what it stood at before */
    int fd;
    enum conn_state state;
    bool readable; /* the kernel may have bytes for us */
    bool leaving;  /* the peer has said that it will send no more */
    bool ended;    /* ... and all it sent is here */
    bool blocked;  /* the kernel takes no more bytes; it will say when it does */
    bool watches_output; /* ... because epoll was asked to */
    bool yielded;  /* the turn was used up */
    bool keep;     /* another request may follow */
    bool refused;  /* what the peer still sends is not to be read */
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

/* Take over an accepted socket; false: there was no memory, or epoll refused. */
bool conn_open(struct loop *loop, int fd, const union peer *peer);

/* The two ways in: epoll says something, or the connection's timer has fired. */
void conn_event(struct conn *conn, uint32_t events);
void conn_expired(struct conn *conn);

/* Close at once, whatever it is doing. */
void conn_close(struct conn *conn);

static inline struct conn *conn_of_timer(struct timer *timer)
{
    return (struct conn *)((char *)timer - offsetof(struct conn, timer));
}

#endif
