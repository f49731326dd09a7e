package web

// The kinds of answer that a Context gives: the head is sent with the first byte of content, and
// the length with it wherever it is known.

import (
	"io"
	"net/http"
	"os"
	"strconv"
)

// piece is how much of a file is given to the server at a time. A server that bounds the time of
// one write thereby bounds the time of a piece, not of the whole file.
const piece = 64 << 10

// Header returns the fields that go with the answer.
func (c *Context) Header() http.Header {
	return c.writer.Header()
}

// begin sends the head and says whether content follows. A negative length is not known beforehand.
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

// write sends a piece of content. That can only fail because the peer has gone.
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

// Text answers with one line of text, to which it adds the newline.
func (c *Context) Text(status int, line string) error {
	return c.Blob(status, "text/plain", []byte(line+"\n"))
}

// JSON answers with a value, serialised without white space and in ASCII.
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

// File answers with `length` bytes of a file from where it stands. On TCP they never enter the
// process: io.CopyN asks the server's writer to read from the file, and that ends in sendfile(2).
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
			return err // the file shrank: what was promised can't be kept
		}
		if err != nil {
			return ErrGone
		}
		left -= sent
	}
	return nil
}

// Stream answers with content that is made as it is sent: `produce` is given the function that
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
	flusher.Flush() // lest net/http, finding nothing sent, counts the content as 0 bytes long
	return err
}
