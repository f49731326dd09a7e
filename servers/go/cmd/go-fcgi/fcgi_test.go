package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"strings"
	"testing"
	"time"

	"chainlab/host"
	"chainlab/web"
)

func record(kind byte, content string) string {
	size := len(content)
	return string([]byte{1, kind, 0, 1, byte(size >> 8), byte(size), 3, 0}) + content + "pad"
}

func TestRecordsAreFoundHoweverTheyAreCut(t *testing.T) {
	begin := record(beginRequest, "\x00\x01\x01\x00\x00\x00\x00\x00")
	stream := begin + record(5, strings.Repeat("\x01", 300)) + record(5, "") + begin
	for step := 1; step <= len(stream); step++ {
		var found int
		var records records
		for left := stream; left != ""; {
			size := step
			if size > len(left) {
				size = len(left)
			}
			found += records.count([]byte(left[:size]), beginRequest)
			left = left[size:]
		}
		if found != 2 {
			t.Fatalf("%d records found in pieces of %d bytes, expected 2", found, step)
		}
	}
}

// request returns the records of a request on a kept connection.
func request(path string) string {
	params := ""
	for name, value := range map[string]string{
		"REQUEST_METHOD": "GET", "REQUEST_URI": path, "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "x",
	} {
		params += string([]byte{byte(len(name)), byte(len(value))}) + name + value
	}
	begin := record(beginRequest, "\x00\x01\x01\x00\x00\x00\x00\x00")
	return begin + record(4, params) + record(4, "") + record(5, "")
}

func TestStopLosesNoAnswer(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan bool)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running <- true
		<-running
		io.WriteString(w, "done")
	})
	stop, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(stop, inner, handler) }()
	var conns [2]net.Conn
	for i := range conns {
		if conns[i], err = net.Dial("tcp", inner.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		conns[i].SetDeadline(time.Now().Add(20 * time.Second))
	}
	idle, busy := conns[0], conns[1]
	fmt.Fprint(busy, request("/"))
	<-running
	cancel()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the idle connection: %v, expected its end", err)
	}
	running <- true
	answer, err := io.ReadAll(busy)
	end := string([]byte{1, endRequest, 0, 1, 0, 8, 0, 0}) + strings.Repeat("\x00", 8)
	if err != nil || !strings.Contains(string(answer), "done") || !strings.HasSuffix(string(answer), end) {
		t.Errorf("the answer is %q (%v)", answer, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRestore(t *testing.T) {
	for _, c := range []struct {
		params map[string]string
		wanted string
	}{
		{map[string]string{"REQUEST_URI": "/%68ello?a=%41", "HTTP_HOST": "x"}, "/hello a=%41 map[]"},
		{map[string]string{"REQUEST_URI": "//a/b", "HTTP_HOST": "x"}, "//a/b  map[]"},
		{map[string]string{"REQUEST_URI": "//a/b"}, "//a/b  map[]"},
		{
			map[string]string{
				"REQUEST_URI": "/", "HTTP_HOST": "x", "CONTENT_LENGTH": "5", "HTTP_CONTENT_LENGTH": "5",
				"CONTENT_TYPE": "a/b", "HTTP_CONTENT_TYPE": "a/b",
			},
			"/  map[Content-Length:[5] Content-Type:[a/b]]",
		},
	} {
		c.params["REQUEST_METHOD"], c.params["SERVER_PROTOCOL"] = "GET", "HTTP/1.1"
		r, err := cgi.RequestFromMap(c.params)
		if err != nil {
			t.Fatal(err)
		}
		restorePath(r)
		restoreFields(r.Header, r.ContentLength)
		got := fmt.Sprint(r.URL.Path, " ", r.URL.RawQuery, " ", r.Header)
		if got != c.wanted {
			t.Errorf("%v: %s, expected %s", c.params, got, c.wanted)
		}
	}
}

func TestContentThatStalls(t *testing.T) {
	reader, writer := io.Pipe()
	defer writer.Close()
	_, err := content{reader, 10 * time.Millisecond}.Read(make([]byte, 1))
	if err == nil || err.Error() != host.TooSlow().Error() {
		t.Error(err)
	}
	reader, writer = io.Pipe()
	writer.CloseWithError(io.ErrNoProgress)
	if _, err := (content{reader, time.Minute}).Read(make([]byte, 1)); err != web.ErrGone {
		t.Errorf("%v, expected that the gateway has gone", err)
	}
}
