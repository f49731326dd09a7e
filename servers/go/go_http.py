"""go: net/http on goroutines, with a small framework above it (S10, S8).

The program is cmd/go-http; this file describes it and starts it.
"""

from functools import partial
from typing import Final

from servers.common.spec import Spec
from servers.go.built import unbuilt
from servers.go.program import GoProgram

SPEC: Final = Spec(
    name="go",
    title="Go: goroutines on threads, and a small framework",
    family="coroutine",
    processes="one",
    threads="one per core, plus those sleeping in system calls",
    multiplexer="epoll",
    mode="edge",
    model=(
        "Each connection is a goroutine, a coroutine with a stack, in blocking style.",
        "When a call would block, the runtime suspends the goroutine and runs another",
        "on that thread; one epoll in the runtime finds the goroutines to resume, on",
        "any free core. On top of net/http: a router with parameters, middleware,",
        "context, errors turned into answers.",
    ),
    sleeps=(
        "one thread in epoll_wait(2), for all; the goroutine in Read",
        "nowhere: recv copies immediately",
    ),
    good="straight-line code for many connections, on all cores at once",
    bad="memory: a stack and buffers per connection, and a garbage collector",
    neighbours=("gevent", "coroutine", "thread", "go-fcgi"),
    source="servers/go/cmd/go-http/main.go",
    limits=(
        "--workers has no effect: the runtime uses one thread per core",
        "a client must read 64 KiB of an answer in ten seconds",
        "net/http accepts what our parser refuses: LF line ends, folded fields, two framings",
        "net/http itself answers OPTIONS * with 200",
    ),
    claims=("S10", "S8"),
    target="servers.go.go_http:GoHttp",
    probe=partial(unbuilt, "go-http"),
)


class GoHttp(GoProgram):
    """HTTP."""

    name = "go-http"
