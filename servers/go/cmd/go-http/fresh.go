package main

// Stopping without waiting for clients that have not asked for anything.

import (
	"net"
	"net/http"
	"sync"
)

// fresh knows the connections on which no request has come yet. http.Server.Shutdown would wait
// five seconds for each of them before it takes it for idle.
type fresh struct {
	mutex sync.Mutex
	conns map[net.Conn]struct{}
}

// note follows a connection's state.
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

// close closes them all.
func (f *fresh) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for conn := range f.conns {
		conn.Close()
	}
}
