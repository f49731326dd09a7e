package main

// What net/http/fcgi makes of a request, turned back into what the client sent.

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"chainlab/host"
	"chainlab/web"
)

// restore serves requests as net/http itself would have handed them over.
func restore(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		restorePath(r)
		restoreFields(r.Header, r.ContentLength)
		r.Body = content{r.Body, patience}
		defer func() {
			// An answer can't be cut off in FastCGI; one that has not begun would become a 200.
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

// restorePath: without a Host the package takes a path of //a/b for a host and a path.
func restorePath(r *http.Request) {
	if r.Host == "" && r.URL.Host != "" {
		r.URL.Path = "//" + r.URL.Host + r.URL.Path
	}
}

// restoreFields: the package leaves CONTENT_LENGTH out of the fields, and a gateway that sends
// HTTP_CONTENT_TYPE beside CONTENT_TYPE, as nginx does, gets it in twice.
func restoreFields(header http.Header, length int64) {
	if length > 0 {
		header.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	if kind := header["Content-Type"]; len(kind) > 1 {
		header["Content-Type"] = kind[:1]
	}
}

// content is what comes in STDIN records. It has no deadline, but closing it ends a Read, and what
// the gateway sends afterwards is dropped.
type content struct {
	io.ReadCloser
	patience time.Duration
}

// Read says with web's errors what became of the gateway.
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
