package host

import (
	"errors"
	"io"
	"log"
	"net"
	"syscall"
	"testing"
	"time"
)

// poor is a listener that is out of descriptors for a while.
type poor struct {
	net.Listener
	lack int
}

func (p *poor) Accept() (net.Conn, error) {
	if p.lack > 0 {
		p.lack--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return p.Listener.Accept()
}

// listen returns a bounded listener, its connections, and its final error.
func listen(t *testing.T, limit, lack int) (*Listener, chan net.Conn, chan error) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := Bound(&poor{inner, lack}, limit)
	t.Cleanup(func() { listener.Close() })
	accepted, ended := make(chan net.Conn, 10), make(chan error, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	return listener, accepted, ended
}

func connect(t *testing.T, listener net.Listener) {
	t.Helper()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

func TestConnectionsBeyondTheLimitWait(t *testing.T) {
	listener, accepted, _ := listen(t, 2, 0)
	for i := 0; i < 3; i++ {
		connect(t, listener)
	}
	first := <-accepted
	<-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // releases only one slot
	<-accepted
	if len(listener.slots) != 2 {
		t.Errorf("%d slots are taken, expected 2", len(listener.slots))
	}
}

func TestCloseEndsAnAcceptThatWaitsForASlot(t *testing.T) {
	listener, accepted, ended := listen(t, 1, 0)
	connect(t, listener)
	<-accepted
	listener.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestALackOfDescriptorsIsOutlasted(t *testing.T) {
	log.SetOutput(io.Discard)
	listener, accepted, _ := listen(t, 1, 2)
	connect(t, listener)
	<-accepted
}

func TestInheritTellsWhatItWasGiven(t *testing.T) {
	if _, err := inherit(-1); err == nil || err.Error() != "-fd -1: no descriptor has this number" {
		t.Error(err)
	}
}
