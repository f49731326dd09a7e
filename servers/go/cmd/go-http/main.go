// Command go-http serves the application with net/http: one goroutine per connection, all waiting
// in one epoll inside the runtime, and one running thread per core.
//
//	CHAINLAB_PUBLIC=../app/public go-http -fd 3 3<LISTENER
//
// The handlers are straight-line blocking code (S10): the runtime suspends a goroutine that would
// block and resumes it when its descriptor is ready or its time has passed. This is the coroutine
// model without an explicit yield; the price is a stack per connection, 8 KiB and more with its
// buffers, and garbage collection.
//
// SIGTERM, SIGQUIT and SIGINT stop the program: it accepts no more connections, closes idle ones, and
// lets running requests finish.
package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"chainlab/host"
)

// idle is how long a kept connection may be idle, as in servers/common/session.py.
const idle = 75 * time.Second

func main() {
	os.Exit(host.Main(serve))
}

func serve(stop context.Context, listener net.Listener, handler http.Handler) error {
	server := newServer(handler, host.Patience)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		<-stop.Done()
		grace, cancel := context.WithTimeout(context.Background(), host.Grace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	if err := server.Serve(patientListener{listener}); err != http.ErrServerClosed {
		return err
	}
	<-finished
	return nil
}

// newServer returns the server; a head, and each piece of content, must arrive within `patience`.
func newServer(handler http.Handler, patience time.Duration) *http.Server {
	var fresh fresh
	server := &http.Server{
		Handler:           patient(handler, patience),
		ReadHeaderTimeout: patience,
		IdleTimeout:       idle,
		MaxHeaderBytes:    32 << 10, // net/http adds 4 KiB; beyond that it answers 431
		ConnContext:       keepConn,
		ConnState: func(conn net.Conn, state http.ConnState) {
			conn.(*patientConn).note(state)
			fresh.note(conn, state)
		},
	}
	server.RegisterOnShutdown(fresh.close)
	return server
}
