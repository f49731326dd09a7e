"""Coroutine servers: straight code that gives way where it would block."""

import importlib.util
from typing import Final

from servers.catalogue.go_programs import unbuilt
from servers.catalogue.multiplexing import without_php
from servers.spec import Spec

_COMPUTES: Final = "a handler that computes holds up everybody"
_COPY: Final = "nowhere: recv copies at once"


def _without(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed: run pip install {package}"
    return None


def _without_uvloop() -> str | None:
    return _without("uvloop")


def _without_gevent() -> str | None:
    return _without("gevent")


def _without_go() -> str | None:
    return unbuilt("go-http")


SPECS: Final = (
    Spec(
        name="coroutine",
        title="generators: yield a wait",
        family="coroutine",
        processes="one",
        threads="one",
        multiplexer="epoll",
        mode="level",
        model=(
            "Each connection is a generator, written like the blocking server;",
            "before each call that could block it yields what it waits for.",
            "A hand-written scheduler over epoll resumes it when the call will not block.",
        ),
        sleeps=("the process in epoll_wait(2); the coroutine in its yield", _COPY),
        good="straight code for many connections; seeing what async/await is made of",
        bad="computing; calling a library that blocks",
        neighbours=("epoll-lt", "thread", "asyncio", "php-coroutine"),
        source="servers/coroutine/generators.py",
        limits=(_COMPUTES,),
        claims=("S8", "S9", "K3"),
        target="servers.coroutine.generators:Generators",
    ),
    Spec(
        name="asyncio",
        title="asyncio, the standard library's loop",
        family="coroutine",
        processes="one",
        threads="one",
        multiplexer="epoll",
        mode="level",
        model=(
            "asyncio's selector loop calls a protocol object when bytes have come;",
            "a transport buffers what is to be sent and says when that is too much.",
            "Pauses are the loop's timers.",
        ),
        sleeps=("in epoll_wait(2), for all connections at once", _COPY),
        good="the libraries of its world",
        bad="a small request: transport, protocol and callbacks cost more than the work",
        neighbours=("uvloop", "coroutine", "epoll-lt"),
        source="servers/coroutine/asyncio_server.py",
        limits=(_COMPUTES,),
        claims=("S8",),
        target="servers.coroutine.asyncio_server:AsyncioServer",
    ),
    Spec(
        name="uvloop",
        title="asyncio's interface on libuv",
        family="coroutine",
        processes="one",
        threads="one",
        multiplexer="epoll",
        mode="level",
        model=(
            "The same protocol class as asyncio's, on libuv:",
            "loop, transports and buffers are in C, the protocol is still Python.",
        ),
        sleeps=("in epoll_wait(2), for all connections at once", _COPY),
        good="asyncio programs that spend their time in the loop",
        bad="looking inside",
        neighbours=("asyncio", "c-extension"),
        source="servers/coroutine/asyncio_server.py",
        limits=(_COMPUTES,),
        claims=("S8",),
        target="servers.coroutine.asyncio_server:UvloopServer",
        probe=_without_uvloop,
    ),
    Spec(
        name="gevent",
        title="greenlets: coroutines with a stack",
        family="coroutine",
        processes="one",
        threads="one, with a greenlet for each connection",
        multiplexer="epoll",
        mode="level",
        model=(
            "Code of the blocking server, without a yield in it: the socket's methods",
            "switch to another greenlet where the kernel's would block,",
            "from however deep in the calls.",
        ),
        sleeps=("the process in epoll_wait(2), by libev; the greenlet in recv", _COPY),
        good="code that was written to block, and libraries that do",
        bad="seeing where a switch may come",
        neighbours=("coroutine", "thread", "go"),
        source="servers/coroutine/gevent_server.py",
        limits=(_COMPUTES,),
        claims=("S8",),
        target="servers.coroutine.gevent_server:Gevent",
        probe=_without_gevent,
    ),
    Spec(
        name="php-coroutine",
        title="PHP: generators that yield a wait",
        family="coroutine",
        processes="one, and one in Python that started it and waits",
        threads="one",
        multiplexer="select",
        mode="level",
        model=(
            "The same loop over stream_select as php-select's, but a connection is a generator:",
            "one function from accept to close, which yields what it waits for",
            "and is resumed when that has come, or when it is too late.",
        ),
        sleeps=("the process in select(2); the coroutine in its yield", _COPY),
        good="straight code for many connections, in PHP",
        bad="a small request: a generator for each function that may wait",
        neighbours=("php-select", "coroutine"),
        source="servers/php/coroutine.php",
        limits=(
            "descriptors below 1,024: who gets another is answered 503",
            "one process",
            _COMPUTES,
        ),
        claims=("S2", "S8", "S9"),
        target="servers.outside.php_cli:PhpCoroutine",
        probe=without_php,
    ),
    Spec(
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
        sleeps=("a thread in epoll_wait(2), for all; the goroutine in its Read", _COPY),
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
        target="servers.outside.go:GoHttp",
        probe=_without_go,
    ),
)
