package main

// Stopping without losing an answer. net/http/fcgi has no Shutdown, and when a handler returns, the
// package still has to send the rest of its answer and END_REQUEST. So requests are counted where
// they definitely start and end, in the records on the connection.

import (
	"net"
	"sync"
)

// Record types, FastCGI 1.0 section 8.
const (
	beginRequest = 1
	endRequest   = 3
)

// watch is a listener that tracks which of its connections have requests.
type watch struct {
	net.Listener
	finished chan struct{} // closed when no connection is left after stop

	mutex    sync.Mutex
	open     map[*conn]int // requests started and not ended
	stopping bool
}

func newWatch(listener net.Listener) *watch {
	return &watch{Listener: listener, finished: make(chan struct{}), open: map[*conn]int{}}
}

// Accept returns the next connection, watched.
func (w *watch) Accept() (net.Conn, error) {
	accepted, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.stopping {
		accepted.Close()
		return nil, net.ErrClosed
	}
	c := &conn{Conn: accepted, watch: w}
	w.open[c] = 0
	return c, nil
}

// stop accepts no more, and closes idle connections now and the others when their requests end.
func (w *watch) stop() {
	w.Listener.Close()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.stopping = true
	for c, requests := range w.open {
		if requests == 0 {
			c.Conn.Close()
			delete(w.open, c)
		}
	}
	w.finish()
}

// count records that requests started on a connection, or (if negative) ended.
func (w *watch) count(c *conn, requests int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if _, known := w.open[c]; !known || requests == 0 {
		return
	}
	// An aborted request ends twice: when it is aborted, and when its handler returns.
	if w.open[c] += requests; w.open[c] < 0 {
		w.open[c] = 0
	}
	if w.stopping && w.open[c] == 0 {
		c.Conn.Close()
		delete(w.open, c)
		w.finish()
	}
}

func (w *watch) forget(c *conn) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if _, known := w.open[c]; known {
		delete(w.open, c)
		w.finish()
	}
}

func (w *watch) finish() {
	if w.stopping && len(w.open) == 0 {
		close(w.finished)
	}
}

// conn is a connection that inspects the records passing through it.
type conn struct {
	net.Conn
	watch   *watch
	in, out records
}

func (c *conn) Read(data []byte) (int, error) {
	size, err := c.Conn.Read(data)
	c.watch.count(c, c.in.count(data[:size], beginRequest))
	return size, err
}

func (c *conn) Write(data []byte) (int, error) {
	size, err := c.Conn.Write(data)
	c.watch.count(c, -c.out.count(data[:size], endRequest))
	return size, err
}

func (c *conn) Close() error {
	c.watch.forget(c)
	return c.Conn.Close()
}

// records finds the records in a stream that arrives in pieces.
type records struct {
	header [8]byte
	have   int // bytes of the header received
	skip   int // bytes of content and padding still to come
}

// count returns how many records of a type start in a piece.
func (r *records) count(data []byte, kind byte) int {
	found := 0
	for len(data) > 0 {
		if r.skip >= len(data) {
			r.skip -= len(data)
			break
		}
		data = data[r.skip:]
		r.skip = 0
		size := copy(r.header[r.have:], data)
		data = data[size:]
		if r.have += size; r.have < len(r.header) {
			break
		}
		r.have = 0
		r.skip = int(r.header[4])<<8 + int(r.header[5]) + int(r.header[6])
		if r.header[1] == kind {
			found++
		}
	}
	return found
}
