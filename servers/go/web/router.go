package web

// The routes are a tree whose edges are path segments. Each node tries the literal segment first,
// then :NAME, then *NAME, and backtracks from a branch without a match, so that the route /a/:x/c
// does not hide /:y/b/d for the path /a/b/d. A look-up costs one map access per segment, regardless
// of the number of routes, and allocates only for parameters.

import (
	"fmt"
	"strings"
)

type node struct {
	fixed map[string]*node // by segment
	one   *node            // :NAME
	rest  *node            // *NAME
	name  string           // the NAME of a :NAME or *NAME that leads here
	route *route
}

type route struct {
	handlers map[string]Handler // by method
	allow    string             // the methods for the Allow field, in order of addition
}

type param struct {
	name, value string
}

// add returns the route of a pattern, and creates it if necessary.
func (n *node) add(pattern string) *route {
	path := strings.TrimPrefix(pattern, "/")
	if path == pattern {
		panic(fmt.Sprintf("route %q: a pattern begins with a slash", pattern))
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if strings.HasPrefix(segment, "*") && i < len(segments)-1 {
			panic(fmt.Sprintf("route %q: %s takes all that is left, so it comes last", pattern, segment))
		}
		n = n.child(pattern, segment)
	}
	if n.route == nil {
		n.route = &route{handlers: map[string]Handler{}}
	}
	return n.route
}

func (n *node) child(pattern, segment string) *node {
	switch {
	case strings.HasPrefix(segment, ":"):
		n.one = n.one.named(pattern, segment[1:])
		return n.one
	case strings.HasPrefix(segment, "*"):
		n.rest = n.rest.named(pattern, segment[1:])
		return n.rest
	}
	if n.fixed[segment] == nil {
		if n.fixed == nil {
			n.fixed = map[string]*node{}
		}
		n.fixed[segment] = &node{}
	}
	return n.fixed[segment]
}

// named returns n, or a new node with that name if n is nil.
func (n *node) named(pattern, name string) *node {
	if n == nil {
		return &node{name: name}
	}
	if n.name != name {
		panic(fmt.Sprintf("route %q: its parameter %q is called %q already", pattern, name, n.name))
	}
	return n
}

func (r *route) add(pattern, method string, handler Handler) {
	if r.handlers[method] != nil {
		panic(fmt.Sprintf("route %q: %s has a handler already", pattern, method))
	}
	r.handlers[method] = handler
	if r.allow != "" {
		r.allow += ", "
	}
	r.allow += method
}

// find returns the route that matches a path and the values of its parameters, or nil.
func (n *node) find(path string) (*route, []param) {
	if !strings.HasPrefix(path, "/") {
		return nil, nil
	}
	return n.match(path[1:], nil)
}

func (n *node) match(path string, params []param) (*route, []param) {
	segment, left, more := strings.Cut(path, "/")
	if child := n.fixed[segment]; child != nil {
		if found, values := child.follow(left, more, params); found != nil {
			return found, values
		}
	}
	if n.one != nil && segment != "" {
		values := append(params, param{n.one.name, segment})
		if found, values := n.one.follow(left, more, values); found != nil {
			return found, values
		}
	}
	if n.rest != nil && path != "" {
		return n.rest.route, append(params, param{n.rest.name, path})
	}
	return nil, nil
}

func (n *node) follow(left string, more bool, params []param) (*route, []param) {
	if more {
		return n.match(left, params)
	}
	return n.route, params
}
