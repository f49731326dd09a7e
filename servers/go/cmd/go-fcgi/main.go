// Command go-fcgi serves the application as a FastCGI responder with net/http/fcgi (S5), behind a
// gateway: one goroutine per connection reads records, and one per request answers.
//
//	CHAINLAB_PUBLIC=../app/public go-fcgi -fd 3 3<LISTENER
//
// Answers have no deadline here, because the gateway limits slow clients, and it may delay reading
// on purpose. SIGTERM, SIGQUIT and SIGINT stop the program: it accepts no more connections, closes
// those without a request, and closes the others when their requests have ended.
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
