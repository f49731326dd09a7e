package web

// A middleware that handles panics.

import (
	"fmt"
	"runtime/debug"
)

// Recover is middleware that turns a panic into an error with the stack where it happened. Without
// it, net/http would close the connection without an answer, and net/http/fcgi, which does not
// recover, would crash the process.
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
