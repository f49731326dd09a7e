package app

// Answers of /file that servers/app/contract.py does not check.

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatIsNoFile(t *testing.T) {
	for _, name := range []string{
		"none", "link", "folder", "fifo", ".", "..", "a/b", "/etc/passwd", "file.txt/", "file.txt%00",
		strings.Repeat("a", 300),
	} {
		if answer := ask(t, "GET", "/file/"+name, ""); answer.Code != 404 {
			t.Errorf("%s: %d %q, expected 404", name, answer.Code, answer.Body)
		}
	}
}

func TestTypeOf(t *testing.T) {
	for name, wanted := range map[string]string{
		"a.txt": "text/plain", "a.b.JSON": "application/json", "svg": "image/svg+xml",
		"a.": "application/octet-stream", "txt.a": "application/octet-stream",
	} {
		if got := typeOf(name); got != wanted {
			t.Errorf("%s: %s, expected %s", name, got, wanted)
		}
	}
}

func TestRanges(t *testing.T) {
	const tag, date = `"2ebc98a1-a"`, "Sun, 06 Nov 1994 08:49:37 GMT"
	for asked, wanted := range map[string]string{
		"bytes=2-4":                      "206 bytes 2-4/10 234",
		"bytes=8-99":                     "206 bytes 8-9/10 89",
		"bytes=8-":                       "206 bytes 8-9/10 89",
		"bytes=-3":                       "206 bytes 7-9/10 789",
		"bytes=-99999999999999999999":    "206 bytes 0-9/10 0123456789",
		"Bytes= 009-009 ":                "206 bytes 9-9/10 9",
		"bytes=-0":                       "416 bytes */10 the range begins beyond the file: it has 10 bytes\n",
		"bytes=99999999999999999999-":    "416 bytes */10 the range begins beyond the file: it has 10 bytes\n",
		"bytes=4-2":                      "200  0123456789",
		"bytes=0-1,3-4":                  "200  0123456789",
		"":                               "200  0123456789",
		"bytes=2-4|" + tag:               "206 bytes 2-4/10 234",
		"bytes=2-4|" + date:              "206 bytes 2-4/10 234",
		"bytes=2-4|W/" + tag:             "200  0123456789",
		"bytes=2-4|yesterday":            "200  0123456789",
		"bytes=2-4|" + date + "|ignored": "200  0123456789", // a repeated field is not a date
	} {
		parts := strings.Split(asked, "|")
		fields := []string{"Range", parts[0]}
		for _, condition := range parts[1:] {
			fields = append(fields, "If-Range", condition)
		}
		answer := ask(t, "GET", "/file/file.txt", "", fields...)
		got := fmt.Sprint(answer.Code, " ", answer.Header().Get("Content-Range"), " ", answer.Body)
		if got != wanted {
			t.Errorf("%s: %q, expected %q", asked, got, wanted)
		}
	}
}

func TestNotModified(t *testing.T) {
	for condition, wanted := range map[string]int{
		`If-None-Match: "2ebc98a1-a"`:                      304,
		`If-None-Match: "x", W/"2ebc98a1-a"`:               304,
		`If-None-Match: *`:                                 304,
		`If-None-Match: "x"`:                               200,
		"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT": 304,
		"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT": 200,
		"If-Modified-Since: tomorrow":                      200,
	} {
		name, value, _ := strings.Cut(condition, ": ")
		answer := ask(t, "GET", "/file/file.txt", "", name, value)
		if answer.Code != wanted {
			t.Errorf("%s: %d, expected %d", condition, answer.Code, wanted)
		}
		if answer.Header().Get("ETag") != `"2ebc98a1-a"` {
			t.Errorf("%s: ETag is %s", condition, answer.Header().Get("ETag"))
		}
	}
}

func TestParseDate(t *testing.T) {
	for text, wanted := range map[string]int64{
		"Sun, 06 Nov 1994 08:49:37 GMT":   modified,
		"Sunday, 06-Nov-94 08:49:37 GMT":  modified,
		"Sun Nov  6 08:49:37 1994":        modified,
		"Thu, 29 Feb 2024 23:59:60 GMT":   1709251200,
		"Friday, 01-Jan-69 00:00:00 GMT":  3124224000,
		"Thu, 01 Jan 1970 00:00:00 GMT":   0,
		"Sun, 06 Nov 0094 08:49:37 GMT":   -1,
		"Wed, 31 Dec 1969 23:59:59 GMT":   -1,
		"Thu, 30 Feb 2024 00:00:00 GMT":   -1,
		"Thu, 00 Mar 2024 00:00:00 GMT":   -1,
		"Thu, 01 anF 2024 00:00:00 GMT":   -1,
		"Thu, 01 Foo 2024 00:00:00 GMT":   -1,
		"Thu, 01 Jan 2024 24:00:00 GMT":   -1,
		"Thu, 01 Jan 2024 00:00:00 CET":   -1,
		"Thu, 01 Jan 2024 00:00:00.5 GMT": -1,
		" Thu, 01 Jan 2024 00:00:00 GMT":  -1,
		"Thu, 01 Jan 2024 00:00:00 GMT\n": -1,
		"":                                -1,
	} {
		got, ok := parseDate(text)
		if !ok {
			got = -1
		}
		if got != wanted {
			t.Errorf("%q: %d, expected %d", text, got, wanted)
		}
	}
}
