package app

// POST /echo: the content back. All of it is read before the answer begins, lest both sides only
// write and neither reads. It is kept in pieces: a buffer that grows would copy it several times.

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"chainlab/web"
)

func (s Settings) echo(c *web.Context) error {
	pieces, err := s.readContent(c.Request)
	if err != nil {
		return err
	}
	kind, _ := c.Field("Content-Type")
	if kind == "" {
		kind = "application/octet-stream"
	}
	return c.Blob(http.StatusOK, kind, pieces...)
}

// readContent returns the content, framed by length or by chunks, or by its end alone where a
// length is not declared (FastCGI).
func (s Settings) readContent(r *http.Request) ([][]byte, error) {
	declared := r.ContentLength
	if declared > s.BodyLimit {
		return nil, s.tooLarge()
	}
	content := io.Reader(r.Body)
	if declared > 0 {
		content = io.LimitReader(content, declared)
	}
	var pieces [][]byte
	var total int64
	for {
		size := int64(piece)
		if declared > 0 {
			size = least(size, declared-total+1) // one more than is left, to see the end with it
		}
		data, err := readPiece(content, size)
		pieces = append(pieces, data)
		total += int64(len(data))
		switch {
		case total > s.BodyLimit:
			return nil, s.tooLarge()
		case err == io.EOF && total < declared, err == io.ErrUnexpectedEOF && declared > 0:
			line := fmt.Sprintf("the content ended early: send all %d bytes of it", declared)
			return nil, web.Refuse(http.StatusBadRequest, line)
		case err == io.EOF:
			return pieces, nil
		case err != nil:
			return nil, broken(err)
		}
	}
}

// readPiece returns `size` bytes, or fewer and the error that ended them.
func readPiece(content io.Reader, size int64) ([]byte, error) {
	data := make([]byte, size)
	for filled := 0; ; {
		count, err := content.Read(data[filled:])
		filled += count
		if err != nil || filled == len(data) {
			return data[:filled], err
		}
	}
}

// broken keeps what the server knows about content that did not come; what is left is the reader
// of chunks complaining, in errors that have no names.
func broken(err error) error {
	var refusal *web.Refusal
	if errors.As(err, &refusal) || errors.Is(err, web.ErrGone) {
		return err
	}
	return web.Refuse(http.StatusBadRequest, "the content's chunks are broken: "+err.Error())
}

// tooLarge closes the connection: net/http would first read on, for up to 256 KiB, to keep it.
func (s Settings) tooLarge() error {
	line := fmt.Sprintf("the content is too large: send at most %d bytes", s.BodyLimit)
	return web.Refuse(http.StatusRequestEntityTooLarge, line).With("Connection", "close")
}
