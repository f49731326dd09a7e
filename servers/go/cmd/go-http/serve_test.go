package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"chainlab/host"
	"chainlab/web"
)

// start serves an engine whose /echo reads its content and whose /wait waits; it returns the
// address, a function that stops it, and a channel with its result.
func start(t *testing.T) (string, context.CancelFunc, chan error) {
	t.Helper()
	engine := web.New(func(*web.Context) error { return web.Refuse(404, "nothing") }, web.Recover)
	engine.Handle("/echo", func(c *web.Context) error {
		content, err := io.ReadAll(c.Request.Body)
		if err != nil {
			return err
		}
		return c.Blob(200, "text/plain", content)
	}, "POST")
	engine.Handle("/wait", func(c *web.Context) error {
		time.Sleep(200 * time.Millisecond)
		return c.Text(200, "waited")
	}, "GET")
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- serve(stop, host.Bound(inner, 10), engine) }()
	return inner.Addr().String(), cancel, ended
}

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func answer(t *testing.T, conn net.Conn) string {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(body))
}

func TestStopEndsIdleConnectionsAndFinishesRequests(t *testing.T) {
	address, stop, ended := start(t)
	untouched := connect(t, address)
	busy := connect(t, address)
	fmt.Fprint(busy, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	time.Sleep(100 * time.Millisecond) // half of the wait
	begin := time.Now()
	stop()
	if _, err := untouched.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection without a request: %v, expected its end", err)
	}
	if got := answer(t, busy); got != "200 waited\n" {
		t.Error(got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if taken := time.Since(begin); taken > 3*time.Second {
		t.Errorf("it stopped after %v", taken)
	}
}

// hurried serves with short time limits; it returns the address.
func hurried(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(handler, 50*time.Millisecond)
	t.Cleanup(func() { server.Close() })
	go server.Serve(patientListener{host.Bound(inner, 10)})
	return inner.Addr().String()
}

func TestContentThatStalls(t *testing.T) {
	for _, request := range []string{
		"Content-Length: 5\r\n\r\nab",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		conn := connect(t, hurried(t, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			io.WriteString(w, err.Error())
		}))
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+request)
		if got := answer(t, conn); got != "200 "+host.TooSlow().Error() {
			t.Error(got)
		}
	}
}

func TestAHeadThatStalls(t *testing.T) {
	address := hurried(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "read") })
	for _, head := range []string{
		"G", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: x\r\n",
	} {
		conn := connect(t, address)
		fmt.Fprint(conn, head)
		if got := answer(t, conn); got != "408 "+host.TooSlow().Error()+"\n" {
			t.Errorf("%q: %s", head, got)
		}
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("%q: %q (%v) after the answer", head, rest, err)
		}
	}
	conn := connect(t, address)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := answer(t, conn); got != "200 read" {
		t.Error(got)
	}
}

func TestNothingIsSaidToWhoSaysNothing(t *testing.T) {
	conn := connect(t, hurried(t, http.NotFound))
	if said, err := io.ReadAll(conn); len(said) > 0 || err != nil {
		t.Errorf("%q (%v), expected the end", said, err)
	}
}

func TestAnAnswerDoesNotWaitForContentThatNobodyReads(t *testing.T) {
	address, _, _ := start(t)
	conn := connect(t, address)
	fmt.Fprint(conn, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
	if got := answer(t, conn); got != "404 nothing\n" {
		t.Error(got)
	}
}

func TestARequestAfterUnreadContent(t *testing.T) {
	address, _, _ := start(t)
	conn := connect(t, address)
	for i := 0; i < 2; i++ {
		fmt.Fprint(conn, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")
		if got := answer(t, conn); got != "404 nothing\n" {
			t.Error(got)
		}
		fmt.Fprint(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")
		if got := answer(t, conn); got != "200 abcde" {
			t.Error(got)
		}
	}
}
