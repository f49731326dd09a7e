"""Servers that others wrote, behind the same interface, with the same application."""

import importlib.util
from typing import Final

from servers.catalogue.go_programs import unbuilt
from servers.spec import Spec


def _without(package: str, requirement: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed: run pip install '{requirement}'"
    return None


def _without_flup() -> str | None:
    return _without("flup", "flup>=1.0.3")


def _without_go() -> str | None:
    return unbuilt("go-fcgi")


SPECS: Final = (
    Spec(
        name="flup-fork",
        title="flup, prefork",
        family="outside",
        protocol="fastcgi",
        processes="a master and N children",
        threads="one",
        concurrency="workers",
        model=(
            "A FastCGI responder in Python: a master keeps children, each takes one",
            "connection and serves its requests, blocking, until the web server closes it.",
        ),
        sleeps=("in select(2), then recv(2)", "in recv(2)"),
        good="WSGI behind a web server that closes each connection",
        bad="kept connections: each pins a child, idle or not",
        neighbours=("flup-thread", "prefork", "uwsgi", "libfcgi"),
        source="servers/outside/flup_fork.py",
        limits=(
            "a kept connection pins a child, idle or not",
            "one request at a time on a connection",
        ),
        claims=("S5", "S6"),
        target="servers.outside.flup_fork:FlupFork",
        probe=_without_flup,
    ),
    Spec(
        name="flup-thread",
        title="flup, threads",
        family="outside",
        protocol="fastcgi",
        processes="one",
        threads="N, and one that accepts",
        concurrency="workers",
        model=(
            "A FastCGI responder in Python: a pool of threads, each takes one connection",
            "and serves its requests, blocking, until the web server closes it.",
        ),
        sleeps=("in select(2), then recv(2)", "in recv(2)"),
        good="WSGI behind a web server, requests that mostly wait",
        bad="kept connections, and computing in Python",
        neighbours=("flup-fork", "thread-pool"),
        source="servers/outside/flup_thread.py",
        limits=(
            "a kept connection pins a thread, idle or not",
            "one request at a time on a connection",
            "Python code runs in one thread at a time (GIL)",
        ),
        claims=("S5",),
        target="servers.outside.flup_thread:FlupThread",
        probe=_without_flup,
    ),
    Spec(
        name="wsgiref",
        title="wsgiref, a thread for each connection",
        family="outside",
        processes="one",
        threads="one for each connection",
        keep_alive=False,
        model=(
            "The standard library's reference server: a thread for each connection,",
            "one request in it, and the connection is closed (HTTP/1.0).",
        ),
        sleeps=("in recv(2)", "in recv(2)"),
        good="trying an application at one's desk",
        bad="load: each request pays for a handshake and a thread",
        neighbours=("thread", "gunicorn"),
        source="servers/outside/wsgiref_http.py",
        limits=(
            "HTTP/1.0: each response ends its connection",
            "threads without bound",
            "Python code runs in one thread at a time (GIL)",
        ),
        claims=("S5",),
        target="servers.outside.wsgiref_http:WsgirefHttp",
    ),
    Spec(
        name="go-fcgi",
        title="Go as a FastCGI responder",
        family="outside",
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
        target="servers.outside.go:GoFcgi",
        probe=_without_go,
    ),
)
