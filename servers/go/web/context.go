package web

// The argument of a handler: one parsed request. answer.go has the answers.

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Context is one request and its answer. A handler answers once, with Text, JSON, Blob, File, Stream
// or Empty, after setting fields in Header. None of them sends content for HEAD.
//
// Strings hold bytes: input is never assumed to be UTF-8.
type Context struct {
	Request *http.Request
	Number  int64 // the number of this request in its engine, from 1

	writer http.ResponseWriter // the server's own: a wrapper would hide its sendfile
	params []param
	begun  bool
}

// Param returns what the pattern's :NAME or *NAME matched.
func (c *Context) Param(name string) string {
	for _, param := range c.params {
		if param.name == name {
			return param.value
		}
	}
	return ""
}

// Query returns the values of a parameter of the query, in order, percent-decoded.
func (c *Context) Query(name string) []string {
	var values []string
	for _, field := range strings.Split(c.Request.URL.RawQuery, "&") {
		key, value, _ := strings.Cut(field, "=")
		if unescape(key) == name {
			values = append(values, unescape(value))
		}
	}
	return values
}

// unescape leaves invalid encodings as they are: no parameter name or number contains a "%".
func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return text
	}
	return plain
}

// Field returns a header field, with repeated ones joined, and whether it is present.
func (c *Context) Field(name string) (string, bool) {
	values := c.Request.Header.Values(name)
	return strings.Join(values, ", "), len(values) > 0
}

// Fields returns all header fields by lower-case name, with repeated ones joined, including Host and
// Transfer-Encoding, which net/http keeps elsewhere.
func (c *Context) Fields() map[string]string {
	r := c.Request
	fields := make(map[string]string, len(r.Header)+2)
	for name, values := range r.Header {
		fields[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if r.Host != "" {
		fields["host"] = r.Host
	}
	if len(r.TransferEncoding) > 0 {
		fields["transfer-encoding"] = strings.Join(r.TransferEncoding, ", ")
	}
	return fields
}

// Client returns the peer's IP address; "unix:" for a unix socket.
func (c *Context) Client() string {
	local, _ := c.Request.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local != nil && local.Network() == "unix" {
		return "unix:"
	}
	host, _, err := net.SplitHostPort(c.Request.RemoteAddr)
	if err != nil {
		return c.Request.RemoteAddr
	}
	return host
}
