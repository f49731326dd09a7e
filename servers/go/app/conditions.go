package app

// Conditional requests for a file: preconditions in the order of RFC 9110 section 13.2.2, ranges,
// and If-Range. If-Match and If-Unmodified-Since protect changes; they are ignored, because files
// are only read.

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"chainlab/web"
)

var (
	rangeForm = regexp.MustCompile(`^(?i:bytes)=[ \t]*([0-9]*)-([0-9]*)[ \t]*$`)
	tagForm   = regexp.MustCompile(`(?:W/)?("[^"]*")`)
)

// stamp identifies a state of a file: modification time in seconds since 1970, and size in bytes.
type stamp struct {
	modified, size int64
}

// tag is nginx's ETag: strong unless a file changes twice within a second and keeps its size.
func (s stamp) tag() string {
	return fmt.Sprintf(`"%x-%x"`, s.modified, s.size)
}

func (s stamp) announce(header http.Header) {
	header.Set("Last-Modified", time.Unix(s.modified, 0).UTC().Format(http.TimeFormat))
	header.Set("ETag", s.tag())
}

// isFresh reports whether the client's copy is current, by If-None-Match or else If-Modified-Since.
func (s stamp) isFresh(c *web.Context) bool {
	if wanted, given := c.Field("If-None-Match"); given {
		return strings.TrimSpace(wanted) == "*" || names(wanted, s.tag())
	}
	since, _ := c.Field("If-Modified-Since")
	moment, ok := parseDate(since)
	return ok && s.modified <= moment
}

// names reports whether a list of tags contains this one, weak or strong.
func names(list, tag string) bool {
	for _, match := range tagForm.FindAllStringSubmatch(list, -1) {
		if match[1] == tag {
			return true
		}
	}
	return false
}

// rangeAsked returns the span to send and whether it is a part: the whole file without a valid
// range; a part of length 0 if the range starts beyond the file.
func (s stamp) rangeAsked(c *web.Context) (begin, length int64, partial bool) {
	asked, given := c.Field("Range")
	if !given || c.Request.Method != http.MethodGet || !s.isStill(c) {
		return 0, s.size, false
	}
	match := rangeForm.FindStringSubmatch(asked)
	if match == nil || match[1] == "" && match[2] == "" {
		return 0, s.size, false // another unit, several ranges, or invalid: send the whole file
	}
	if match[1] == "" {
		length = least(number(match[2]), s.size)
		return s.size - length, length, true
	}
	begin, end := number(match[1]), int64(math.MaxInt64)
	if match[2] != "" {
		end = number(match[2])
	}
	if end < begin {
		return 0, s.size, false
	}
	if begin >= s.size {
		return 0, 0, true
	}
	return begin, least(end, s.size-1) - begin + 1, true
}

// isStill reports whether If-Range, if present, matches this state.
func (s stamp) isStill(c *web.Context) bool {
	condition, given := c.Field("If-Range")
	if !given || condition == s.tag() {
		return true
	}
	moment, ok := parseDate(condition)
	return ok && moment == s.modified
}

// number parses digits; a value beyond int64 is beyond every file, too.
func number(digits string) int64 {
	value, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return value
}

func least(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
