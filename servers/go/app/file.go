package app

// GET /file/NAME: a file of the public folder, with validators and ranges (RFC 9110), as in
// servers/app/files.py. http.ServeContent is not used, because it differs: several ranges, sniffed
// types, and no ETag of its own.
//
// A request cannot escape the public folder: a name is one path segment and is opened with
// O_NOFOLLOW, and the metadata comes from fstat on the open file. O_NONBLOCK keeps the open of a
// FIFO from blocking.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"

	"chainlab/web"
)

var types = map[string]string{
	"css":  "text/css",
	"html": "text/html",
	"js":   "text/javascript",
	"json": "application/json",
	"png":  "image/png",
	"svg":  "image/svg+xml",
	"txt":  "text/plain",
}

// notThere lists the errors of open that mean 404.
var notThere = []error{
	syscall.ENOENT,
	syscall.EACCES,
	syscall.ELOOP, // a symbolic link
	syscall.ENAMETOOLONG,
	syscall.ENXIO, // a unix socket
}

func (s Settings) serveFile(c *web.Context) error {
	name := c.Param("name")
	file, err := s.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	details, err := file.Stat()
	if err != nil {
		return err
	}
	if !details.Mode().IsRegular() {
		return noSuchFile()
	}
	return choose(c, name, file, details)
}

func noSuchFile() error {
	line := "no such file: /file/ has hello.txt, index.html, pattern.bin, pixel.svg"
	return web.Refuse(http.StatusNotFound, line)
}

func (s Settings) open(name string) (*os.File, error) {
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return nil, noSuchFile()
	}
	flags := os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	file, err := os.OpenFile(s.Public+"/"+name, flags, 0)
	for _, reason := range notThere {
		if errors.Is(err, reason) {
			return nil, noSuchFile()
		}
	}
	return file, err
}

// choose answers 304, 416, 206 or 200.
func choose(c *web.Context, name string, file *os.File, details fs.FileInfo) error {
	version := stamp{details.ModTime().Unix(), details.Size()}
	if version.isFresh(c) {
		version.announce(c.Header())
		return c.Empty(http.StatusNotModified)
	}
	begin, length, partial := version.rangeAsked(c)
	if partial && length == 0 {
		line := fmt.Sprintf("the range begins beyond the file: it has %d bytes", version.size)
		span := fmt.Sprintf("bytes */%d", version.size)
		return web.Refuse(http.StatusRequestedRangeNotSatisfiable, line).With("Content-Range", span)
	}
	if _, err := file.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	version.announce(c.Header())
	c.Header().Set("Accept-Ranges", "bytes")
	status := http.StatusOK
	if partial {
		status = http.StatusPartialContent
		span := fmt.Sprintf("bytes %d-%d/%d", begin, begin+length-1, version.size)
		c.Header().Set("Content-Range", span)
	}
	return c.File(status, typeOf(name), file, length)
}

func typeOf(name string) string {
	ending := name[strings.LastIndexByte(name, '.')+1:]
	if kind, known := types[strings.ToLower(ending)]; known {
		return kind
	}
	return "application/octet-stream"
}
