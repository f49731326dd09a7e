package web

// The answers of a Context: the head is sent with the first byte of content, and includes the length
// if it is known.

import (
	"io"
	"net/http"
	"os"
	"strconv"
)

// piece is how much of a file is passed to the server at a time, so that a time limit per write
// applies to a piece and not to the whole file.
const piece = 64 << 10

// Header returns the fields of the answer.
func (c *Context) Header() http.Header {
	return c.writer.Header()
}

// begin sends the head and reports whether content follows. A negative length means unknown.
func (c *Context) begin(status int, kind string, length int64) bool {
	header := c.writer.Header()
	header.Set("Content-Type", kind)
	if length >= 0 {
		header.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	c.begun = true
	c.writer.WriteHeader(status)
	return c.Request.Method != http.MethodHead
}

// write sends a piece of content. It fails only if the peer has disconnected.
func (c *Context) write(data []byte) error {
	if _, err := c.writer.Write(data); err != nil {
		return ErrGone
	}
	return nil
}

// Empty answers without content: a 304.
func (c *Context) Empty(status int) error {
	c.begun = true
	c.writer.WriteHeader(status)
	return nil
}

// Text answers with one line of text and adds the newline.
func (c *Context) Text(status int, line string) error {
	return c.Blob(status, "text/plain", []byte(line+"\n"))
}

// JSON answers with a value in ASCII JSON without white space.
func (c *Context) JSON(status int, value any) error {
	data, err := encodeJSON(value)
	if err != nil {
		return err
	}
	return c.Blob(status, "application/json", data)
}

// Blob answers with bytes in memory, in one piece or several.
func (c *Context) Blob(status int, kind string, pieces ...[]byte) error {
	length := 0
	for _, data := range pieces {
		length += len(data)
	}
	if !c.begin(status, kind, int64(length)) {
		return nil
	}
	for _, data := range pieces {
		if err := c.write(data); err != nil {
			return err
		}
	}
	return nil
}

// File answers with `length` bytes of a file from its current position. On TCP they never enter the
// process: io.CopyN makes the server's writer read from the file, which uses sendfile(2).
func (c *Context) File(status int, kind string, file *os.File, length int64) error {
	if !c.begin(status, kind, length) {
		return nil
	}
	for left := length; left > 0; {
		size := left
		if size > piece {
			size = piece
		}
		sent, err := io.CopyN(c.writer, file, size)
		if err == io.EOF {
			return err // the file shrank: the promised bytes do not exist
		}
		if err != nil {
			return ErrGone
		}
		left -= sent
	}
	return nil
}

// Stream answers with content that is produced while it is sent: `produce` gets a function that
// sends a piece at once.
func (c *Context) Stream(status int, kind string, produce func(send func([]byte) error) error) error {
	if !c.begin(status, kind, -1) {
		return nil
	}
	flusher := c.writer.(http.Flusher)
	err := produce(func(data []byte) error {
		err := c.write(data)
		flusher.Flush()
		return err
	})
	flusher.Flush() // otherwise net/http, with nothing sent, would declare a length of 0
	return err
}
