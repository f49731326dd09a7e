package main

// What net/http has no setting for: a peer that stalls in the middle of a request's content.
// Server.ReadTimeout bounds the whole of it, which would end a large upload; here the clock starts
// anew with each piece. (conn.go does the same for answers.)
//
// Deadlines for reading are set where content is read, not in the connection's Read: net/http reads
// ahead in the background while a handler runs, to learn of a client that leaves, and interrupts
// that with a deadline of its own. Ours would come in between.

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
	linger      = time.Second // to read on after an answer that came before the content's end
	lingerBytes = 128 << 20
)

type connKey struct{}

// keepConn lets a handler find its connection; http.Server calls it.
func keepConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// patient serves requests whose content may pause for `patience`, and answers 408 after that.
func patient(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		conn := r.Context().Value(connKey{}).(net.Conn)
		content := &content{ReadCloser: r.Body, conn: conn, patience: patience}
		content.await(patience) // net/http reads too: what a handler leaves, before it answers
		request := r.WithContext(r.Context())
		request.Body = content // in a copy: net/http goes by the type of its own
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
	ended    bool // from here on net/http reads in the background, and deadlines are its own
}

func (c *content) await(pause time.Duration) {
	c.conn.SetReadDeadline(time.Now().Add(pause))
}

// Read says with web's errors what became of the peer.
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

// readOn takes what the client still sends although it has its answer. A connection closed on
// unread bytes is reset, and that may destroy the answer before the client reads it (RFC 9112
// section 9.6).
func (c *content) readOn(w http.ResponseWriter) {
	c.await(linger)
	w.(http.Flusher).Flush()
	io.CopyN(io.Discard, c.ReadCloser, lingerBytes)
}
