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
    threads="one per core, plus those sleeping in system calls",
    multiplexer="epoll",
    mode="edge",
    model=(
        "net/http/fcgi of Go's standard library: one goroutine per connection reads",
        "records, one per request answers; a connection carries several at a time.",
        "An idle connection holds a sleeping goroutine, but no process or thread.",
    ),
    sleeps=(
        "one thread in epoll_wait(2), for all; the goroutine in Read",
        "nowhere: read copies immediately",
    ),
    good="any number of kept connections",
    bad="small requests: each involves three goroutines and a pipe",
    neighbours=("go", "libfcgi", "uwsgi"),
    source="servers/go/cmd/go-fcgi/main.go",
    limits=(
        "--workers has no effect: the runtime uses one thread per core",
        "content that a handler does not read blocks other requests on its connection",
    ),
    claims=("S10", "S5"),
    target="servers.go.go_fcgi:GoFcgi",
    probe=partial(unbuilt, "go-fcgi"),
)


class GoFcgi(GoProgram):
    """FastCGI."""

    name = "go-fcgi"
