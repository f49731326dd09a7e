package main

// A time limit that net/http has no setting for: a peer that stalls in the middle of its content.
// Server.ReadTimeout limits the whole request, which would cut off a large upload; here the limit
// applies to each piece. (conn.go does the same for answers.)
//
// Read deadlines are set where content is read, not in the connection's Read: while a handler runs,
// net/http reads in the background to detect a client that leaves, and interrupts this read with
// its own deadline, which ours would overwrite.

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"chainlab/host"
	"chainlab/web"
)

const (
	linger      = time.Second // to keep reading after an answer that was sent before the end of the content
	lingerBytes = 128 << 20
)

type connKey struct{}

// keepConn stores the connection in the context, for handlers; http.Server calls it.
func keepConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// patient serves requests whose content may pause for `patience`; after that it answers 408.
func patient(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		conn := r.Context().Value(connKey{}).(net.Conn)
		content := &content{ReadCloser: r.Body, conn: conn, patience: patience}
		content.await(patience) // net/http also reads: what a handler leaves unread, before it answers
		request := r.WithContext(r.Context())
		request.Body = content // in a copy: net/http depends on the type of its own Body
		next.ServeHTTP(w, request)
		if !content.ended {
			content.readOn(w)
		}
	})
}

type content struct {
	io.ReadCloser
	conn     net.Conn
	patience time.Duration
	ended    bool // from here on net/http reads in the background and sets the deadlines
}

func (c *content) await(pause time.Duration) {
	c.conn.SetReadDeadline(time.Now().Add(pause))
}

// Read reports a lost or stalled peer with the errors of package web.
func (c *content) Read(data []byte) (int, error) {
	if !c.ended {
		c.await(c.patience)
	}
	count, err := c.ReadCloser.Read(data)
	c.ended = c.ended || err != nil
	var network *net.OpError
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = host.TooSlow()
	} else if errors.As(err, &network) {
		err = web.ErrGone
	}
	return count, err
}

// readOn reads what the client still sends after it got its answer. Closing a connection with unread
// bytes resets it, which may destroy the answer before the client reads it (RFC 9112 section 9.6).
func (c *content) readOn(w http.ResponseWriter) {
	c.await(linger)
	w.(http.Flusher).Flush()
	io.CopyN(io.Discard, c.ReadCloser, lingerBytes)
}
