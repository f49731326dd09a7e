// Package host is shared by the two commands: the command line, the inherited listener, signals, the
// limit on connections.
//
// The parent process binds the listener and passes it as descriptor 3, as in systemd's socket
// activation: the parent reports a busy address, and a restart loses no connection. The program
// prints nothing about listening, because the parent does.
package host

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"chainlab/app"
	"chainlab/web"
)

const (
	// Grace is the time that running requests have to finish after a stop signal.
	Grace = 10 * time.Second
	// Patience is the time limit for a peer that stops sending or reading in the middle of a request.
	Patience = 10 * time.Second
)

// Serve serves on a listener until `stop` is done, then for at most Grace.
type Serve func(stop context.Context, listener net.Listener, handler http.Handler) error

// Main runs a command and returns its exit code: 2 for wrong arguments or environment, 1 if it
// could not serve.
func Main(serve Serve) int {
	fd := flag.Int("fd", 3, "the descriptor of the listening socket")
	flag.Parse() // reports a wrong flag and exits with 2
	if flag.NArg() > 0 {
		return complain(2, fmt.Errorf("%q: there are flags only, try -h", flag.Arg(0)))
	}
	settings, err := app.FromEnvironment()
	if err != nil {
		return complain(2, err)
	}
	listener, err := inherit(*fd)
	if err != nil {
		return complain(2, err)
	}
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT}
	stop, cancel := signal.NotifyContext(context.Background(), signals...)
	defer cancel()
	if err := serve(stop, Bound(listener, maxConnections), app.New(settings)); err != nil {
		return complain(1, err)
	}
	return 0
}

func complain(code int, err error) int {
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
	return code
}

// inherit takes over a listening socket.
func inherit(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "listener")
	if file == nil {
		return nil, fmt.Errorf("-fd %d: no descriptor has this number", fd)
	}
	defer file.Close() // the listener has its own descriptor
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("-fd %d: not a listening socket: %w", fd, err)
	}
	return listener, nil
}

// TooSlow is the error for content that stopped arriving.
func TooSlow() error {
	line := "the rest of the request did not come in time"
	return web.Refuse(http.StatusRequestTimeout, line)
}
