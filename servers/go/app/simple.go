package app

// The simple routes, each with one kind of load: nothing, serialising, waiting, computing, copying,
// sending in small pieces.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"chainlab/web"
)

const piece = 64 << 10 // bytes per piece of a long body

// pattern is one piece of 00 01 ... FF 00 01 ...
var pattern = func() []byte {
	made := make([]byte, piece)
	for i := range made {
		made[i] = byte(i)
	}
	return made
}()

func hello(c *web.Context) error {
	return c.Text(http.StatusOK, "Hello, world!")
}

func greetJSON(c *web.Context) error {
	greeting := struct {
		Message string `json:"message"`
	}{"Hello, world!"}
	return c.JSON(http.StatusOK, greeting)
}

// wait sleeps even if the client leaves: net/http cannot tell a client that has disconnected from
// one that has only shut down its sending direction and still wants the answer.
func wait(c *web.Context) error {
	milliseconds, err := wholeNumber(c, "ms", 0, 60000)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	return c.Text(http.StatusOK, fmt.Sprintf("waited %d ms", milliseconds))
}

// burnCPU keeps one thread busy; the runtime preempts it, so other requests are still served.
func burnCPU(c *web.Context) error {
	rounds, err := wholeNumber(c, "n", 1, 1_000_000)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(nil)
	for round := 1; round < rounds; round++ {
		digest = sha256.Sum256(digest[:])
	}
	return c.Text(http.StatusOK, hex.EncodeToString(digest[:]))
}

// sendBytes sends the same pattern repeatedly, so memory use does not depend on the length.
func sendBytes(c *web.Context) error {
	count, err := wholeNumber(c, "n", 0, 64*mib)
	if err != nil {
		return err
	}
	pieces := make([][]byte, 0, count/piece+1)
	for ; count > piece; count -= piece {
		pieces = append(pieces, pattern)
	}
	pieces = append(pieces, pattern[:count])
	return c.Blob(http.StatusOK, "application/octet-stream", pieces...)
}

func stream(c *web.Context) error {
	count, err := wholeNumber(c, "n", 0, 100_000)
	if err != nil {
		return err
	}
	milliseconds, err := wholeNumber(c, "ms", 0, 60000)
	if err != nil {
		return err
	}
	pause := time.Duration(milliseconds) * time.Millisecond
	c.Header().Set("X-Accel-Buffering", "no") // nginx would buffer the lines otherwise
	return c.Stream(http.StatusOK, "text/plain", func(send func([]byte) error) error {
		for number := 1; number <= count; number++ {
			if number > 1 {
				time.Sleep(pause)
			}
			line := append(strconv.AppendInt([]byte("line "), int64(number), 10), '\n')
			if err := send(line); err != nil {
				return err
			}
		}
		return nil
	})
}
