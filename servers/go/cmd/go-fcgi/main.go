// Command go-fcgi serves the application as a FastCGI responder with net/http/fcgi (S5), behind a
// gateway: a goroutine for each connection that reads records, and one for each request.
//
//	CHAINLAB_PUBLIC=../app/public go-fcgi -fd 3 3<LISTENER
//
// How long a slow client may take is the gateway's business, so answers have no deadline here: a
// gateway that holds back does so on purpose. SIGTERM, SIGQUIT and SIGINT stop it: no more
// connections, those without a request are closed, the others once their request has ended.
package main

import (
	"context"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"time"

	"chainlab/host"
)

func main() {
	os.Exit(host.Main(serve))
}

func serve(stop context.Context, listener net.Listener, handler http.Handler) error {
	watch := newWatch(listener)
	failed := make(chan error, 1)
	go func() { failed <- fcgi.Serve(watch, restore(handler, host.Patience)) }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
	}
	watch.stop()
	select {
	case <-watch.finished:
	case <-time.After(host.Grace):
	}
	return nil
}
