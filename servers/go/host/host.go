// Package host is what the two commands share: the command line, the inherited listener, signals,
// the bound on connections.
//
// The listener is bound by whoever starts us and comes as descriptor 3, as systemd's socket
// activation does it: a busy address is reported there, and a restart loses no connection. Nothing
// is said about listening either; the parent knows.
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
	// Grace is what running requests get when we are told to stop.
	Grace = 10 * time.Second
	// Patience is for a peer that neither sends nor takes anything in the middle of a request.
	Patience = 10 * time.Second
)

// Serve serves on a listener until `stop` is done, and then for Grace at most.
type Serve func(stop context.Context, listener net.Listener, handler http.Handler) error

// Main runs a command; it returns the exit code: 2 when what it was given is wrong, 1 when it
// could not serve.
func Main(serve Serve) int {
	fd := flag.Int("fd", 3, "the descriptor of the listening socket")
	flag.Parse() // says what is wrong with a flag, and exits with 2
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
	defer file.Close() // the listener has its own
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("-fd %d: not a listening socket: %w", fd, err)
	}
	return listener, nil
}

// TooSlow is the error of content that stopped coming.
func TooSlow() error {
	line := "the rest of the request did not come in time"
	return web.Refuse(http.StatusRequestTimeout, line)
}
