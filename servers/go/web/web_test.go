package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func missing(*Context) error {
	return Refuse(404, "nothing here")
}

// ask returns the answer of an engine to one request.
func ask(engine *Engine, method, target string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	engine.ServeHTTP(recorder, httptest.NewRequest(method, target, nil))
	return recorder
}

// logged returns what was logged in the meantime.
func logged(run func()) string {
	var text bytes.Buffer
	log.SetOutput(&text)
	defer log.SetOutput(os.Stderr)
	run()
	return text.String()
}

func expect(t *testing.T, answer *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if answer.Code != status || answer.Body.String() != body {
		t.Errorf("%d %q, expected %d %q", answer.Code, answer.Body, status, body)
	}
}

func TestMethods(t *testing.T) {
	engine := New(missing)
	text := func(line string) Handler {
		return func(c *Context) error { return c.Text(200, line) }
	}
	engine.Handle("/a", text("read"), "GET", "HEAD")
	engine.Handle("/a", text("written"), "PUT")
	expect(t, ask(engine, "GET", "/a"), 200, "read\n")
	expect(t, ask(engine, "PUT", "/a"), 200, "written\n")
	expect(t, ask(engine, "POST", "/b"), 404, "nothing here\n")
	answer := ask(engine, "POST", "/a")
	expect(t, answer, 405, "this path takes GET, HEAD, PUT only\n")
	if allow := answer.Header().Get("Allow"); allow != "GET, HEAD, PUT" {
		t.Errorf("Allow: %s", allow)
	}
	answer = ask(engine, "HEAD", "/a")
	expect(t, answer, 200, "")
	if length := answer.Header().Get("Content-Length"); length != "5" {
		t.Errorf("HEAD has Content-Length %q, expected 5", length)
	}
}

func TestMiddlewareWrapsInOrderAndSeesErrors(t *testing.T) {
	var order []string
	note := func(name string) Middleware {
		return func(next Handler) Handler {
			return func(c *Context) error {
				order = append(order, name)
				err := next(c)
				order = append(order, fmt.Sprintf("%s: %v", name, err))
				return err
			}
		}
	}
	expect(t, ask(New(missing, note("outer"), note("inner")), "GET", "/"), 404, "nothing here\n")
	got := strings.Join(order, ", ")
	if got != "outer, inner, inner: nothing here, outer: nothing here" {
		t.Error(got)
	}
}

func TestFailuresAreToldToTheLogAlone(t *testing.T) {
	engine := New(missing, Recover)
	engine.Handle("/error", func(c *Context) error {
		c.Header().Set("ETag", "of the answer that did not come")
		return errors.New("a secret")
	}, "GET")
	engine.Handle("/panic", func(c *Context) error { panic("a secret") }, "GET")
	for target, wanted := range map[string]string{"/error": "a secret", "/panic": "web_test.go"} {
		said := logged(func() {
			answer := ask(engine, "GET", target)
			expect(t, answer, 500, failed+"\n")
			if answer.Header().Get("ETag") != "" {
				t.Error("fields of another answer were sent")
			}
		})
		if !strings.Contains(said, `failed on GET "`+target+`": `) || !strings.Contains(said, wanted) {
			t.Errorf("%s was logged as %s", target, said)
		}
	}
}

func TestAnAnswerThatCannotBeFinishedIsCutOff(t *testing.T) {
	engine := New(missing, Recover)
	engine.Handle("/fails", func(c *Context) error {
		return c.Stream(200, "text/plain", func(send func([]byte) error) error {
			send([]byte("half"))
			return errors.New("no more")
		})
	}, "GET")
	engine.Handle("/gone", func(c *Context) error { return ErrGone }, "GET")
	for target, wanted := range map[string]string{"/fails": "no more", "/gone": ""} {
		said := logged(func() {
			defer func() {
				if cause := recover(); cause != http.ErrAbortHandler {
					t.Errorf("%s: %v, expected http.ErrAbortHandler", target, cause)
				}
			}()
			ask(engine, "GET", target)
		})
		if !strings.Contains(said, wanted) || (wanted == "") != (said == "") {
			t.Errorf("%s was logged as %q", target, said)
		}
	}
}

func TestStreamHasNoLengthEvenWhenEmpty(t *testing.T) {
	engine := New(missing)
	engine.Handle("/", func(c *Context) error {
		return c.Stream(200, "text/plain", func(func([]byte) error) error { return nil })
	}, "GET")
	server := httptest.NewServer(engine)
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.ContentLength != -1 {
		t.Errorf("Content-Length is %d, expected none", answer.ContentLength)
	}
}

func TestFile(t *testing.T) {
	content := strings.Repeat("0123456789", piece/4)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	engine := New(missing)
	engine.Handle("/:promised", func(c *Context) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		var promised int64
		fmt.Sscan(c.Param("promised"), &promised)
		file.Seek(5, io.SeekStart)
		return c.File(200, "text/plain", file, promised)
	}, "GET")
	expect(t, ask(engine, "GET", "/10"), 200, "5678901234")
	expect(t, ask(engine, "GET", fmt.Sprintf("/%d", len(content)-5)), 200, content[5:])
	said := logged(func() {
		defer func() { recover() }()
		ask(engine, "GET", fmt.Sprintf("/%d", len(content)))
	})
	if !strings.Contains(said, "EOF") {
		t.Errorf("a file that shrank was logged as %q", said)
	}
}

func TestQuery(t *testing.T) {
	request := httptest.NewRequest("GET", "/?a=1&%61=+2&A=3&a&b=%zz&c=%3D%26&a;=4", nil)
	c := &Context{Request: request}
	for name, wanted := range map[string]string{
		"a": `["1" " 2" ""]`, "A": `["3"]`, "b": `["%zz"]`, "c": `["=&"]`, "d": "[]",
	} {
		if got := fmt.Sprintf("%q", c.Query(name)); got != wanted {
			t.Errorf("%s: %s, expected %s", name, got, wanted)
		}
	}
}

func TestFieldsAsTheyReachedTheServer(t *testing.T) {
	engine := New(missing)
	engine.Handle("/", func(c *Context) error { return c.JSON(200, c.Fields()) }, "POST")
	server := httptest.NewServer(engine)
	defer server.Close()
	request, _ := http.NewRequest("POST", server.URL, io.MultiReader(strings.NewReader("x")))
	request.Host = "example"
	request.Header = http.Header{"X-A": {"1", "2"}, "User-Agent": {""}, "Accept-Encoding": {"none"}}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, _ := io.ReadAll(answer.Body)
	wanted := `{"accept-encoding":"none","host":"example","transfer-encoding":"chunked","x-a":"1, 2"}`
	if string(got) != wanted {
		t.Errorf("%s, expected %s", got, wanted)
	}
}

func TestEncodeJSON(t *testing.T) {
	for value, wanted := range map[string]string{
		"a/b <&>": `"a/b <&>"`, `"\` + "\n\t": `"\"\\\n\t"`, "é\x7f": "\"\\u00e9\x7f\"",
		"😀": `"\ud83d\ude00"`, "": `""`,
	} {
		got, err := encodeJSON(value)
		if err != nil || string(got) != wanted {
			t.Errorf("%q: %s (%v), expected %s", value, got, err, wanted)
		}
	}
}
