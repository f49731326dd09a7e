package web

// JSON with the same bytes as Python's json.dumps.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// encodeJSON returns a value as JSON without white space. Non-ASCII characters become \uXXXX, and <,
// > and & stay as they are; encoding/json does the opposite in both cases.
func encodeJSON(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	line := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	plain := make([]byte, 0, len(line))
	for len(line) > 0 {
		char, size := utf8.DecodeRune(line)
		if char < utf8.RuneSelf {
			plain = append(plain, line[0])
		} else {
			plain = appendEscaped(plain, char)
		}
		line = line[size:]
	}
	return plain, nil
}

func appendEscaped(plain []byte, char rune) []byte {
	for _, unit := range utf16.Encode([]rune{char}) {
		plain = append(plain, fmt.Sprintf(`\u%04x`, unit)...)
	}
	return plain
}
