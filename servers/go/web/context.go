package web

// What a handler is given: one request, taken apart. answer.go has the other half.

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Context is one request and the answer to it. An answer is given once, by Text, JSON, Blob, File,
// Stream or Empty; what a handler sets in Header before that goes with it. None of them sends
// content to HEAD.
//
// Strings hold bytes: nothing is taken for UTF-8 that came from outside.
type Context struct {
	Request *http.Request
	Number  int64 // which request of this engine it is, from 1

	writer http.ResponseWriter // as the server gave it: a wrapper would hide its sendfile
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

// unescape leaves what is not well encoded as it is: no name and no number of ours has a "%".
func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return text
	}
	return plain
}

// Field returns a header field, repeated ones joined, and whether there is one.
func (c *Context) Field(name string) (string, bool) {
	values := c.Request.Header.Values(name)
	return strings.Join(values, ", "), len(values) > 0
}

// Fields returns all header fields by lower-case name, repeated ones joined. Host and
// Transfer-Encoding, which net/http keeps elsewhere, are among them.
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
