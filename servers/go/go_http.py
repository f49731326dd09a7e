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
    threads="one for each core, and more that sleep in system calls",
    multiplexer="epoll",
    mode="edge",
    model=(
        "Each connection is a goroutine, written as if it blocked: a coroutine with a stack.",
        "Where a call would block, the runtime parks it and runs another on that thread;",
        "one epoll in the runtime says who can go on, on whichever core is free.",
        "Above net/http: router with parameters, middleware, context, errors as answers.",
    ),
    sleeps=(
        "a thread in epoll_wait(2), for all; the goroutine in its Read",
        "nowhere: recv copies at once",
    ),
    good="straight code for many connections, on all cores at once",
    bad="memory: a stack and buffers for each connection, and a garbage collector",
    neighbours=("gevent", "coroutine", "thread", "go-fcgi"),
    source="servers/go/cmd/go-http/main.go",
    limits=(
        "--workers changes nothing: the runtime takes a thread for each core",
        "a client must take 64 KiB of an answer in ten seconds",
        "net/http takes what our parser refuses: LF line ends, folded fields, both framings",
        "net/http answers OPTIONS * itself, with 200",
    ),
    claims=("S10", "S8"),
    target="servers.go.go_http:GoHttp",
    probe=partial(unbuilt, "go-http"),
)


class GoHttp(GoProgram):
    """HTTP."""

    name = "go-http"
