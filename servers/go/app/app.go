// Package app is the application of servers/app/CONTRACT.md on the framework of package web, with
// the same answers as servers/app/routes.py, byte for byte.
//
// It does not depend on the protocol, HTTP or FastCGI. A wait is time.Sleep: it suspends the
// goroutine, and the runtime runs others on its thread, so code in blocking style serves as many
// connections as an event loop. That is Go's I/O model; its price is a stack of some KiB for each
// waiting request.
package app

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"chainlab/web"
)

const mib = 1 << 20

// Settings are set by the environment.
type Settings struct {
	Architecture string // the server's id, for /whoami
	Public       string // the folder that /file serves
	BodyLimit    int64  // maximum bytes of content for /echo
}

// FromEnvironment returns the settings of CHAINLAB_ARCHITECTURE, CHAINLAB_PUBLIC and
// CHAINLAB_BODY_LIMIT; the error names the variable and the problem.
func FromEnvironment() (Settings, error) {
	settings := Settings{
		Architecture: os.Getenv("CHAINLAB_ARCHITECTURE"),
		Public:       os.Getenv("CHAINLAB_PUBLIC"),
		BodyLimit:    64 * mib,
	}
	if settings.Architecture == "" {
		settings.Architecture = "go"
	}
	if settings.Public == "" {
		return settings, errors.New("CHAINLAB_PUBLIC is not set: give the folder that /file serves")
	}
	if given := os.Getenv("CHAINLAB_BODY_LIMIT"); given != "" {
		limit, err := strconv.ParseInt(given, 10, 64)
		if err != nil || limit < 0 {
			return settings, fmt.Errorf("CHAINLAB_BODY_LIMIT is %q: give a number of bytes", given)
		}
		settings.BodyLimit = limit
	}
	return settings, nil
}

// New returns the application.
func New(settings Settings) *web.Engine {
	engine := web.New(missing, web.Recover)
	engine.Handle("/hello", hello, "GET", "HEAD")
	engine.Handle("/json", greetJSON, "GET", "HEAD")
	engine.Handle("/wait", wait, "GET", "HEAD")
	engine.Handle("/cpu", burnCPU, "GET", "HEAD")
	engine.Handle("/bytes", sendBytes, "GET", "HEAD")
	engine.Handle("/stream", stream, "GET", "HEAD")
	engine.Handle("/echo", settings.echo, "POST")
	engine.Handle("/whoami", settings.whoami, "GET", "HEAD")
	// Matches the whole rest, not one segment: a name with a slash is not a file, but is this route.
	engine.Handle("/file/*name", settings.serveFile, "GET", "HEAD")
	return engine
}

func missing(*web.Context) error {
	line := "no such path: the routes are in servers/app/CONTRACT.md"
	return web.Refuse(http.StatusNotFound, line)
}

// wholeNumber returns a query parameter; the refusal says what is wrong and what is allowed.
func wholeNumber(c *web.Context, name string, least, most int) (int, error) {
	remedy := fmt.Sprintf("give a whole number from %d to %d", least, most)
	refuse := func(why, more string) (int, error) {
		return 0, web.Refuse(http.StatusBadRequest, name+" is "+why+": "+remedy+more)
	}
	values := c.Query(name)
	if len(values) == 0 {
		return refuse("missing", "")
	}
	if len(values) > 1 {
		return refuse("given more than once", ", once")
	}
	if !isNumber(values[0]) {
		return refuse("not a number", "")
	}
	number, err := strconv.Atoi(values[0])
	if err != nil || number < least || number > most {
		return refuse("out of range", "")
	}
	return number, nil
}

// isNumber reports whether a text consists of ASCII digits only, without a sign.
func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
