package web

import (
	"fmt"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	patterns := []string{
		"/", "/hello", "/hello/", "/users/:id", "/users/me", "/users/:id/posts",
		"/file/*name", "/a/:x/c", "/:y/b/d",
	}
	var root node
	for _, pattern := range patterns {
		root.add(pattern).add(pattern, "GET", func(*Context) error { return nil })
	}
	cases := map[string]string{ // path: the pattern that matches it and the parameters
		"/":               "/",
		"/hello":          "/hello",
		"/hello/":         "/hello/",
		"/Hello":          "",
		"/hello/x":        "",
		"//hello":         "",
		"hello":           "",
		"":                "",
		"*":               "",
		"/users/7":        "/users/:id id=7",
		"/users/me":       "/users/me",
		"/users/me/posts": "/users/:id/posts id=me",
		"/users/":         "",
		"/users":          "",
		"/file":           "",
		"/file/":          "",
		"/file/x":         "/file/*name name=x",
		"/file/x/y/":      "/file/*name name=x/y/",
		"/file//x":        "/file/*name name=/x",
		"/a/b/c":          "/a/:x/c x=b",
		"/a/b/d":          "/:y/b/d y=a",
		"/a/b/e":          "",
	}
	for path, wanted := range cases {
		route, params := root.find(path)
		got := ""
		for _, pattern := range patterns {
			if route != nil && route == root.add(pattern) {
				got = pattern
			}
		}
		for _, param := range params {
			got += " " + param.name + "=" + param.value
		}
		if got != wanted {
			t.Errorf("%q matches %q, expected %q", path, got, wanted)
		}
	}
}

func TestRoutesThatCannotBeToldApart(t *testing.T) {
	cases := [][2]string{
		{"/a", "GET has a handler already"},
		{"/:x", `its parameter "x" is called "name" already`},
		{"a", "a pattern begins with a slash"},
		{"/*all/b", "*all takes all that is left, so it comes last"},
	}
	for _, c := range cases {
		engine := New(nil)
		engine.Handle("/a", nothing, "GET")
		engine.Handle("/:name", nothing, "GET")
		said := func() (said string) {
			defer func() { said = fmt.Sprint(recover()) }()
			engine.Handle(c[0], nothing, "GET")
			return ""
		}()
		if !strings.HasSuffix(said, c[1]) {
			t.Errorf("%s: %s, expected %s", c[0], said, c[1])
		}
	}
}

func nothing(*Context) error {
	return nil
}
