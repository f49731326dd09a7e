package app

// GET /whoami: the process and thread that answer, and the request as received.

import (
	"net/http"
	"os"
	"strings"
	"syscall"

	"chainlab/web"
)

type identity struct {
	Architecture string            `json:"architecture"`
	PID          int               `json:"pid"`
	Thread       int               `json:"thread"`
	Requests     int64             `json:"requests"`
	HTTPVersion  string            `json:"http_version"`
	Client       string            `json:"client"`
	Headers      map[string]string `json:"headers"` // encoding/json sorts the names
}

func (s Settings) whoami(c *web.Context) error {
	return c.JSON(http.StatusOK, identity{
		Architecture: s.Architecture,
		PID:          os.Getpid(),
		Thread:       syscall.Gettid(), // the current one: the runtime moves goroutines between threads
		Requests:     c.Number,
		HTTPVersion:  version(c.Request),
		Client:       c.Client(),
		Headers:      headers(c.Fields()),
	})
}

func version(r *http.Request) string {
	if r.ProtoAtLeast(1, 1) {
		return "HTTP/1.1"
	}
	return "HTTP/1.0"
}

// headers omits what CGI cannot express: names with an underscore, which collide with those with a
// hyphen, and Proxy, which becomes HTTP_PROXY (httpoxy).
func headers(fields map[string]string) map[string]string {
	shown := make(map[string]string, len(fields))
	for name, value := range fields {
		if name != "proxy" && !strings.Contains(name, "_") {
			shown[name] = latin1(value)
		}
	}
	return shown
}

// latin1 turns each byte into a character.
func latin1(value string) string {
	characters := make([]rune, len(value))
	for i := range characters {
		characters[i] = rune(value[i])
	}
	return string(characters)
}
