package app

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// servers/app/contract.py checks the answers from outside; these tests cover what it does not.

const modified = 784111777 // Sun, 06 Nov 1994 08:49:37 GMT

// ask returns the answer of an application whose public folder has file.txt and some non-files.
func ask(t *testing.T, method, target, body string, fields ...string) *httptest.ResponseRecorder {
	t.Helper()
	public := t.TempDir()
	path := filepath.Join(public, "file.txt")
	moment := time.Unix(modified, 0)
	for _, err := range []error{
		os.WriteFile(path, []byte("0123456789"), 0o600),
		os.Chtimes(path, moment, moment),
		os.WriteFile(filepath.Join(public, "SVG"), nil, 0o600),
		os.Symlink("file.txt", filepath.Join(public, "link")),
		os.Mkdir(filepath.Join(public, "folder"), 0o700),
		syscall.Mkfifo(filepath.Join(public, "fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(fields); i += 2 {
		request.Header.Add(fields[i], fields[i+1])
	}
	recorder := httptest.NewRecorder()
	New(Settings{"test", public, 10}).ServeHTTP(recorder, request)
	return recorder
}

func TestWholeNumber(t *testing.T) {
	for query, wanted := range map[string]string{
		"ms=1":                     "waited 1 ms",
		"ms=000000000000000000002": "waited 2 ms",
		"ms=60001":                 "ms is out of range: give a whole number from 0 to 60000",
		"ms=9999999999999999999":   "ms is out of range: give a whole number from 0 to 60000",
		"ms=-1":                    "ms is not a number: give a whole number from 0 to 60000",
		"ms=1_0":                   "ms is not a number: give a whole number from 0 to 60000",
		"ms=1&ms=x":                "ms is given more than once: give a whole number from 0 to 60000, once",
		"":                         "ms is missing: give a whole number from 0 to 60000",
	} {
		if got := ask(t, "GET", "/wait?"+query, "").Body.String(); got != wanted+"\n" {
			t.Errorf("%s: %s", query, got)
		}
	}
}

type pieces []string

// Read gives one piece at a time; io.ErrUnexpectedEOF when they end with "".
func (p *pieces) Read(data []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	next := (*p)[0]
	*p = (*p)[1:]
	if next == "" {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(data, next), nil
}

func TestReadContent(t *testing.T) {
	early := "the content ended early: send all 5 bytes of it"
	large := "the content is too large: send at most 10 bytes"
	for _, c := range []struct {
		declared int64
		content  pieces
		wanted   string
	}{
		{5, pieces{"ab", "cde"}, "abcde"},
		{5, pieces{"abc", "defg"}, "abcde"}, // FastCGI: ignore bytes beyond the length
		{5, pieces{"abc"}, early},
		{5, pieces{"abc", ""}, early},
		{11, pieces{"never read"}, large},
		{-1, pieces{"abcde", "fghij"}, "abcdefghij"},
		{-1, pieces{"abcde", "fghijk"}, large},
		{-1, pieces{"abc", ""}, "the content's chunks are broken: unexpected EOF"},
		{0, pieces{"abc"}, "abc"}, // FastCGI: the length is optional
		{0, nil, ""},
	} {
		request := &http.Request{ContentLength: c.declared, Body: io.NopCloser(&c.content)}
		got, err := Settings{BodyLimit: 10}.readContent(request)
		text := ""
		for _, data := range got {
			text += string(data)
		}
		if err != nil {
			text = err.Error()
		}
		if text != c.wanted {
			t.Errorf("%d bytes declared: %q, expected %q", c.declared, text, c.wanted)
		}
	}
}

func TestHeaders(t *testing.T) {
	got := headers(map[string]string{"x-a": "caf\xe9", "x_a": "1", "proxy": "2", "proxy-x": "3"})
	if fmt.Sprint(got) != "map[proxy-x:3 x-a:café]" {
		t.Error(got)
	}
}

func TestFromEnvironment(t *testing.T) {
	for _, c := range [][3]string{
		{"", "", "CHAINLAB_PUBLIC is not set: give the folder that /file serves"},
		{"/p", "1e3", `CHAINLAB_BODY_LIMIT is "1e3": give a number of bytes`},
		{"/p", "-1", `CHAINLAB_BODY_LIMIT is "-1": give a number of bytes`},
		{"/p", "", "{id /p 67108864}"},
		{"/p", "5", "{id /p 5}"},
	} {
		t.Setenv("CHAINLAB_ARCHITECTURE", "id")
		t.Setenv("CHAINLAB_PUBLIC", c[0])
		t.Setenv("CHAINLAB_BODY_LIMIT", c[1])
		settings, err := FromEnvironment()
		got := fmt.Sprint(settings)
		if err != nil {
			got = err.Error()
		}
		if got != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}
