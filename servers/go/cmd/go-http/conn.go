package main

// What net/http has no setting for, on the connection itself.
//
// A peer that does not take its answer: Server.WriteTimeout bounds the whole of it, which would end
// a long /stream; here the clock starts anew with each piece.
//
// A peer that stops in the middle of a head: net/http closes without a word, or says 400 when it
// stopped in the middle of a line, for half a line has no colon. It is 408, wherever it stopped.

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"chainlab/host"
)

// patientListener accepts connections of this kind.
type patientListener struct {
	net.Listener
}

func (l patientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &patientConn{Conn: conn.(*host.Conn)}, nil
}

type patientConn struct {
	*host.Conn
	head  bool // it is a head's turn; else Read may be called in the background
	begun bool // some of the head has come
	late  bool // and the rest has not
}

// note follows the connection's state, when nobody reads.
func (c *patientConn) note(state http.ConnState) {
	switch state {
	case http.StateNew, http.StateIdle:
		c.head, c.begun = true, false
	case http.StateActive:
		c.head = false
	}
}

func (c *patientConn) Read(data []byte) (int, error) {
	count, err := c.Conn.Read(data)
	if c.head {
		c.begun = c.begun || count > 0
		if c.begun && errors.Is(err, os.ErrDeadlineExceeded) {
			c.refuse()
		}
	}
	return count, err
}

func (c *patientConn) refuse() {
	status, line := http.StatusRequestTimeout, host.TooSlow().Error()
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s\n", status, http.StatusText(status), len(line)+1, line)
	c.late = true
}

// Write is given content in the pieces of package app, 64 KiB at most.
func (c *patientConn) Write(data []byte) (int, error) {
	if c.late {
		return 0, os.ErrDeadlineExceeded // net/http's own opinion of half a head
	}
	c.SetWriteDeadline(time.Now().Add(host.Patience))
	return c.Conn.Write(data)
}

// ReadFrom is given a file in the pieces of web.Context.File.
func (c *patientConn) ReadFrom(source io.Reader) (int64, error) {
	c.SetWriteDeadline(time.Now().Add(host.Patience))
	return c.Conn.ReadFrom(source)
}
