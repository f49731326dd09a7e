package web

// A middleware: what a handler's panic becomes.

import (
	"fmt"
	"runtime/debug"
)

// Recover is the middleware that makes a panic an error, with the stack of the place where it
// happened. Without it net/http would close the connection without an answer, and net/http/fcgi,
// which does not recover, would take the whole process down.
func Recover(next Handler) Handler {
	return func(c *Context) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
			}
		}()
		return next(c)
	}
}
