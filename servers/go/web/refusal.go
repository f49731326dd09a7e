package web

// The answers that say no: an error on its way up, a response at its end.

// Refusal is the error of a handler that knows why the request can't be served: a status, and one
// line that says what is wrong and what would help. It is the only error that a client gets to read.
type Refusal struct {
	Status int
	Line   string
	fields [][2]string
}

// Refuse returns a refusal; the line comes without its newline.
func Refuse(status int, line string) *Refusal {
	return &Refusal{Status: status, Line: line}
}

// With adds a header field and returns the refusal itself.
func (r *Refusal) With(name, value string) *Refusal {
	r.fields = append(r.fields, [2]string{name, value})
	return r
}

// Error returns the line.
func (r *Refusal) Error() string {
	return r.Line
}

func (r *Refusal) answer(c *Context) error {
	for name := range c.Header() {
		c.Header().Del(name) // what the handler meant to say with another answer
	}
	for _, field := range r.fields {
		c.Header().Set(field[0], field[1])
	}
	return c.Text(r.Status, r.Line)
}
