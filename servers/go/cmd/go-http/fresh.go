package main

// Stopping without waiting for clients that have sent no request.

import (
	"net"
	"net/http"
	"sync"
)

// fresh tracks the connections on which no request has arrived yet. http.Server.Shutdown would wait
// five seconds before it treats them as idle.
type fresh struct {
	mutex sync.Mutex
	conns map[net.Conn]struct{}
}

// note tracks a connection's state.
func (f *fresh) note(conn net.Conn, state http.ConnState) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if state != http.StateNew {
		delete(f.conns, conn)
		return
	}
	if f.conns == nil {
		f.conns = map[net.Conn]struct{}{}
	}
	f.conns[conn] = struct{}{}
}

// close closes all of them.
func (f *fresh) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for conn := range f.conns {
		conn.Close()
	}
}
