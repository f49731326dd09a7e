// Package web is a small framework on net/http: the core of gin or echo, and nothing else.
//
//	engine := web.New(missing, web.Recover)
//	engine.Handle("/file/*name", file, "GET", "HEAD")
//	http.Serve(listener, engine)
//
// A Handler answers through its Context, or returns an error. Errors become responses in one place
// (Engine.explain), so a handler is straight-line code with early returns, and no answer is written
// twice. Middleware is a function from Handler to Handler: it runs code before and after the handler,
// sees its error, and is composed once, when the engine is created.
//
// Unlike http.ServeMux, it does not clean or redirect paths: it compares the decoded path as it is.
// The cost on top of a plain http.Handler: one Context per request, and the route look-up.
package web

import (
	"errors"
	"log"
	"net/http"
	"sync/atomic"
)

// Handler answers one request, or returns why it could not.
type Handler func(c *Context) error

// Middleware wraps a handler in another handler.
type Middleware func(next Handler) Handler

// ErrGone means that the peer has disconnected: no answer can reach it, and nothing is logged.
var ErrGone = errors.New("the peer has gone")

const failed = "the application failed: its log says why"

// Engine is an http.Handler made of routes and middleware. Add all routes before it serves.
type Engine struct {
	routes  node
	missing Handler
	answer  Handler // dispatch, wrapped in the middleware
	served  atomic.Int64
}

// New returns an engine without routes. `missing` answers requests that no route matches; the first
// middleware is the outermost.
func New(missing Handler, middleware ...Middleware) *Engine {
	engine := &Engine{missing: missing}
	engine.answer = engine.dispatch
	for i := len(middleware) - 1; i >= 0; i-- {
		engine.answer = middleware[i](engine.answer)
	}
	return engine
}

// Handle adds a route. In the pattern, :NAME matches one segment and a final *NAME the whole rest;
// neither matches an empty string. Handle panics if the route conflicts with an earlier one.
func (e *Engine) Handle(pattern string, handler Handler, methods ...string) {
	route := e.routes.add(pattern)
	for _, method := range methods {
		route.add(pattern, method, handler)
	}
}

// ServeHTTP answers one request.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Context{Request: r, Number: e.served.Add(1), writer: w}
	if err := e.answer(c); err != nil && e.explain(c, err) != nil {
		// A partial answer must not look complete; this panic makes net/http truncate it.
		panic(http.ErrAbortHandler)
	}
}

func (e *Engine) dispatch(c *Context) error {
	route, params := e.routes.find(c.Request.URL.Path)
	if route == nil {
		return e.missing(c)
	}
	handler := route.handlers[c.Request.Method]
	if handler == nil {
		line := "this path takes " + route.allow + " only"
		return Refuse(http.StatusMethodNotAllowed, line).With("Allow", route.allow)
	}
	c.params = params
	return handler(c)
}

// explain turns an error into an answer, and returns it if that is no longer possible.
func (e *Engine) explain(c *Context, err error) error {
	if errors.Is(err, ErrGone) {
		return err
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || c.begun {
		log.Printf("the application failed on %s %q: %v", c.Request.Method, c.Request.URL.Path, err)
		refusal = Refuse(http.StatusInternalServerError, failed)
	}
	if c.begun {
		return err
	}
	return refusal.answer(c)
}
