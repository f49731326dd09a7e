package web

// Refusals: returned as errors, sent as responses.

// Refusal is the error of a handler that cannot serve a request: a status, and one line that says
// what is wrong and what to do. It is the only error that is shown to the client.
type Refusal struct {
	Status int
	Line   string
	fields [][2]string
}

// Refuse returns a refusal; the line has no newline.
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
		c.Header().Del(name) // set by the handler for another answer
	}
	for _, field := range r.fields {
		c.Header().Set(field[0], field[1])
	}
	return c.Text(r.Status, r.Line)
}
