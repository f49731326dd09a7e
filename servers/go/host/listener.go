package host

// One goroutine per connection needs a limit: it is here, before accept, so that further clients
// wait in the kernel's backlog at no cost.

import (
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"syscall"
	"time"
)

const maxConnections = 4096

// Listener accepts connections while a slot is free.
type Listener struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Bound returns a listener with at most `limit` connections open at a time.
func Bound(listener net.Listener, limit int) *Listener {
	slots := make(chan struct{}, limit)
	return &Listener{Listener: listener, slots: slots, closed: make(chan struct{})}
}

// Accept waits for a slot, then for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &Conn{Conn: conn, release: func() { <-l.slots }}, nil
}

// accept retries if descriptors or memory run out, which may be temporary; net/http/fcgi would give
// up.
func (l *Listener) accept() (net.Conn, error) {
	for told := false; ; told = true {
		conn, err := l.Listener.Accept()
		if !isLack(err) {
			return conn, err
		}
		if !told {
			log.Printf("no connection can be taken for the moment: %v", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

func isLack(err error) bool {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// Close stops accepting; a waiting Accept returns net.ErrClosed.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// Conn is a connection that releases its slot when closed. It keeps the methods that net/http looks
// for: ReadFrom, which uses sendfile on TCP, and CloseWrite.
type Conn struct {
	net.Conn
	release func()
	once    sync.Once
}

// Close closes the connection; further calls do nothing.
func (c *Conn) Close() error {
	defer c.once.Do(c.release)
	return c.Conn.Close()
}

// ReadFrom sends the data of a reader, inside the kernel if possible.
func (c *Conn) ReadFrom(source io.Reader) (int64, error) {
	return io.Copy(c.Conn, source)
}

// CloseWrite shuts down the sending direction.
func (c *Conn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}
