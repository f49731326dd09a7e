// Command go-http serves the application with net/http: a goroutine for each connection, all of
// them waiting in one epoll inside the runtime, and as many threads running as there are cores.
//
//	CHAINLAB_PUBLIC=../app/public go-http -fd 3 3<LISTENER
//
// The handlers are straight code that blocks (S10): the runtime takes a goroutine that would block
// off its thread and puts it back when its descriptor is ready or its time has come. So it is the
// coroutine model, without a yield to write; the price is a stack for each connection, 8 KiB with
// its buffers and up, and what the garbage collector does about them.
//
// SIGTERM, SIGQUIT and SIGINT stop it: no more connections, those that lie idle are closed, running
// requests may finish.
package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"

	"chainlab/host"
)

// idle is how long a kept connection may lie idle, as in servers/common/session.py.
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

// newServer returns the server; a head, and each piece of content, must come within `patience`.
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
