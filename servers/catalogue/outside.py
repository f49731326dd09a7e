"""Servers that others wrote, behind the same interface, with the same application."""

import ctypes.util
from functools import partial
from typing import Final

from servers.catalogue.go_programs import unbuilt
from servers.catalogue.packages import without_package
from servers.spec import Spec

_without_flup = partial(without_package, "flup", "pip install 'flup>=1.0.3'")


def _without_libfcgi() -> str | None:
    if ctypes.util.find_library("fcgi") is None:
        return "libfcgi is not installed: run sudo apt install libfcgi0ldbl"
    return None


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
        name="gunicorn",
        title="gunicorn, sync workers",
        family="outside",
        processes="a master and N workers",
        threads="one",
        concurrency="workers",
        keep_alive=False,
        model=(
            "A master keeps N processes asleep in select on one listener; each takes a",
            "client, reads one request, calls the application, answers, and closes.",
            "Parser and loop are Python.",
        ),
        sleeps=("in select(2), then recv(2)", "in recv(2)"),
        good="WSGI behind a web server that takes the slow clients",
        bad="clients without one before it: a handshake each, and a slow one holds a worker",
        neighbours=("prefork", "wsgiref", "uwsgi", "bjoern"),
        source="servers/outside/gunicorn_http.py",
        limits=(
            "N requests at one time",
            "each response ends its connection",
            "a client that sends nothing holds a worker for 90 seconds, and a stop for ten",
        ),
        lacks=("timeouts",),
        claims=("S5", "S6"),
        target="servers.outside.gunicorn_http:GunicornHttp",
        probe=partial(without_package, "gunicorn", "pip install 'gunicorn>=23'"),
    ),
    Spec(
        name="bjoern",
        title="bjoern, an epoll loop in C around a blocking application",
        family="outside",
        processes="a master and N children",
        threads="one",
        concurrency="workers",
        multiplexer="epoll",
        mode="level",
        model=(
            "Loop (libev), parser and answers are C; a request is received whole, then the",
            "application is called. Idle connections cost nothing,",
            "but the loop stands still while the application runs or waits.",
        ),
        sleeps=("in epoll_wait(2), for all connections at once", "nowhere: read copies at once"),
        good="many connections and a quick handler: the cheapest request WSGI can have",
        bad="a handler that waits: every connection of its process waits with it",
        neighbours=("epoll-lt", "c-extension", "gunicorn"),
        source="servers/outside/bjoern_http.py",
        limits=(
            "a handler that waits or computes holds up the connections of its process",
            "no timeouts: a slow client keeps its connection",
            "a request that comes in two pieces, the first up to its path's end, is refused: 400",
            "of pipelined requests that come together only the last one is answered",
            "HEAD of /stream gets an empty chunk, repeated fields are joined by nothing",
            "when no descriptor is left it spins until one is",
        ),
        lacks=("timeouts", "pipelining", "fragments", "descriptors"),
        claims=("M4", "S5"),
        target="servers.outside.bjoern_http:BjoernHttp",
        probe=partial(
            without_package, "bjoern", "sudo apt install gcc libev-dev, then pip install bjoern"
        ),
    ),
    Spec(
        name="uwsgi",
        title="uWSGI as a FastCGI responder",
        family="outside",
        protocol="fastcgi",
        processes="a master and N workers",
        threads="one",
        concurrency="workers",
        keep_alive=False,
        model=(
            "A master in C keeps N processes with a Python inside; each takes a connection,",
            "reads the records in C, calls the application, answers, and closes.",
        ),
        sleeps=("in epoll_wait(2), then recv(2)", "in recv(2)"),
        good="WSGI behind a web server, with most of the work in C",
        bad="keeping connections: it closes them though it was asked not to",
        neighbours=("flup-fork", "libfcgi", "gunicorn"),
        source="servers/outside/uwsgi_fcgi.py",
        limits=(
            "N requests at one time",
            "each response ends its connection",
            "told to stop while it starts, it forgets it, and is killed after ten seconds",
        ),
        claims=("S5", "S6"),
        target="servers.outside.uwsgi_fcgi:UwsgiFcgi",
        probe=partial(without_package, "pyuwsgi", "pip install 'pyuwsgi>=2.0.28'"),
    ),
    Spec(
        name="libfcgi",
        title="libfcgi, prefork",
        family="outside",
        protocol="fastcgi",
        processes="a master and N children",
        threads="one",
        concurrency="workers",
        model=(
            "The reference implementation of FastCGI: FCGX_Accept_r takes a connection and",
            "reads a request from it, the application answers, FCGX_Finish_r ends the answer,",
            "and the next request is read from the same connection, if it is kept.",
        ),
        sleeps=("in select(2), then read(2)", "in read(2)"),
        good="a program in C that answers one request after the other",
        bad="kept connections: each pins a child, idle or not",
        neighbours=("flup-fork", "uwsgi", "prefork"),
        source="servers/outside/libfcgi_prefork.py",
        limits=(
            "a kept connection pins a child, idle or not",
            "one request at a time on a connection",
        ),
        exceptions=(
            ("file-confined", "parameters are strings of C: a path with a NUL ends before it"),
        ),
        claims=("S5", "S6"),
        target="servers.outside.libfcgi_prefork:LibfcgiPrefork",
        probe=_without_libfcgi,
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
        probe=partial(unbuilt, "go-fcgi"),
    ),
)
