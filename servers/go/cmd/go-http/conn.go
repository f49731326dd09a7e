package main

// Time limits that net/http has no setting for, enforced on the connection.
//
// A peer that does not read its answer: Server.WriteTimeout limits the whole answer, which would cut
// off a long /stream; here the limit applies to each piece.
//
// A peer that stops in the middle of a head: net/http closes silently, or answers 400 if the last
// line is incomplete and so has no colon. Here it always gets 408.

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

// patientListener accepts connections with these limits.
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
	head  bool // a head is expected; else Read may be called in the background
	begun bool // part of the head has arrived
	late  bool // and the rest has not arrived in time
}

// note tracks the connection's state; net/http calls it while no Read is in progress.
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

// Write gets content in the pieces of package app, at most 64 KiB.
func (c *patientConn) Write(data []byte) (int, error) {
	if c.late {
		return 0, os.ErrDeadlineExceeded // net/http's own answer to an incomplete head
	}
	c.SetWriteDeadline(time.Now().Add(host.Patience))
	return c.Conn.Write(data)
}

// ReadFrom gets a file in the pieces of web.Context.File.
func (c *patientConn) ReadFrom(source io.Reader) (int64, error) {
	c.SetWriteDeadline(time.Now().Add(host.Patience))
	return c.Conn.ReadFrom(source)
}
