"""go-fcgi: net/http/fcgi, a FastCGI responder in Go's standard library (S10, S5).

The program is cmd/go-fcgi; this file describes it and starts it.
"""

from functools import partial
from typing import Final

from servers.common.spec import Spec
from servers.go.built import unbuilt
from servers.go.program import GoProgram

SPEC: Final = Spec(
    name="go-fcgi",
    title="Go as a FastCGI responder",
    family="third-party",
    protocol="fastcgi",
    processes="one",
    threads="one for each core, and more that sleep in system calls",
    multiplexer="epoll",
    mode="edge",
    model=(
        "net/http/fcgi of Go's standard library: a goroutine for each connection reads",
        "records, and one for each request answers, several at a time on a connection.",
        "An idle connection holds a parked goroutine, and no process or thread.",
    ),
    sleeps=(
        "a thread in epoll_wait(2), for all; the goroutine in its Read",
        "nowhere: read copies at once",
    ),
    good="kept connections: as many as the web server likes",
    bad="a small request: three goroutines and a pipe take part in it",
    neighbours=("go", "libfcgi", "uwsgi"),
    source="servers/go/cmd/go-fcgi/main.go",
    limits=(
        "--workers changes nothing: the runtime takes a thread for each core",
        "content that its handler does not read holds up the others on its connection",
    ),
    claims=("S10", "S5"),
    target="servers.go.go_fcgi:GoFcgi",
    probe=partial(unbuilt, "go-fcgi"),
)


class GoFcgi(GoProgram):
    """FastCGI."""

    name = "go-fcgi"
