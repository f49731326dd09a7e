package main

// Restores what the client sent from what net/http/fcgi makes of it.

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"chainlab/host"
	"chainlab/web"
)

// restore passes on requests in the form that net/http itself would produce.
func restore(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		restorePath(r)
		restoreFields(r.Header, r.ContentLength)
		r.Body = content{r.Body, patience}
		defer func() {
			// FastCGI cannot truncate an answer; one that has not started would become a 200.
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				w.WriteHeader(http.StatusInternalServerError)
			default:
				panic(cause)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// restorePath: without a Host, the package parses the path //a/b as a host and a path.
func restorePath(r *http.Request) {
	if r.Host == "" && r.URL.Host != "" {
		r.URL.Path = "//" + r.URL.Host + r.URL.Path
	}
}

// restoreFields: the package omits CONTENT_LENGTH from the fields, and duplicates the content type
// if the gateway sends both HTTP_CONTENT_TYPE and CONTENT_TYPE, as nginx does.
func restoreFields(header http.Header, length int64) {
	if length > 0 {
		header.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	if kind := header["Content-Type"]; len(kind) > 1 {
		header["Content-Type"] = kind[:1]
	}
}

// content reads STDIN records. It has no deadline, but closing it ends a Read, and what the gateway
// sends afterwards is dropped.
type content struct {
	io.ReadCloser
	patience time.Duration
}

// Read reports a lost gateway with the errors of package web.
func (c content) Read(data []byte) (int, error) {
	slow := time.AfterFunc(c.patience, func() { c.Close() })
	count, err := c.ReadCloser.Read(data)
	inTime := slow.Stop()
	if err == nil || err == io.EOF {
		return count, err
	}
	if !inTime {
		return count, host.TooSlow()
	}
	return count, web.ErrGone
}
