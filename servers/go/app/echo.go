package app

// POST /echo returns the content. It reads all of it before it answers; otherwise both sides could
// block in write. The content is kept in pieces: a growing buffer would copy it several times.

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

// readContent returns the content, framed by length or by chunks, or by its end if no length is
// declared (FastCGI).
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
			size = least(size, declared-total+1) // one more than is left, to see the end too
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

// readPiece returns `size` bytes, or fewer and the error that stopped it.
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

// broken keeps the server's own errors about missing content; all others are unnamed errors of the
// chunk reader.
func broken(err error) error {
	var refusal *web.Refusal
	if errors.As(err, &refusal) || errors.Is(err, web.ErrGone) {
		return err
	}
	return web.Refuse(http.StatusBadRequest, "the content's chunks are broken: "+err.Error())
}

// tooLarge closes the connection; to keep it, net/http would read up to 256 KiB more.
func (s Settings) tooLarge() error {
	line := fmt.Sprintf("the content is too large: send at most %d bytes", s.BodyLimit)
	return web.Refuse(http.StatusRequestEntityTooLarge, line).With("Connection", "close")
}
