"""flup's threaded FastCGI server: one process, N threads, one connection each (S5).

As in flup-fork, a keep-alive connection pins its thread. The threads share one interpreter and take
turns at the GIL; on CPU-bound work, N threads are slower than one. The pool, its threads and the
protocol are flup's. The accept loop is ours: flup's closes a connection when no thread is free,
which looks like an error to a web server; ours leaves it in the backlog until a thread is free.
"""

import logging
import socket
from functools import partial
from typing import Final

from servers.common.packages import without_package
from servers.common.spec import Options, Spec
from servers.common.stopping import Waker

SPEC: Final = Spec(
    name="flup-thread",
    title="flup, threads",
    family="third-party",
    protocol="fastcgi",
    processes="one",
    threads="N, plus one that accepts",
    concurrency="workers",
    model=(
        "A FastCGI responder in Python. Each thread of a pool takes one connection",
        "and serves its requests, blocking, until the web server closes it.",
    ),
    sleeps=("in select(2), then recv(2)", "in recv(2)"),
    good="WSGI behind a web server, with requests that mostly wait",
    bad="keep-alive connections; CPU-bound Python",
    neighbours=("flup-fork", "thread-pool"),
    source="servers/third_party/flup_thread.py",
    limits=(
        "a keep-alive connection pins a thread, even when idle",
        "one request at a time per connection",
        "only one thread runs Python code at a time (GIL)",
    ),
    claims=("S5",),
    target="servers.third_party.flup_thread:FlupThread",
    probe=partial(without_package, "flup", "pip install 'flup>=1.0.3'"),
)


log = logging.getLogger("servers.flup")


class FlupThread:
    """`flup.server.fcgi` with N threads."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._workers = options.workers
        self._waker = Waker()

    def run(self) -> None:
        """Accept whenever a thread is free, until stopped."""
        if self._listener.family != socket.AF_UNIX:
            # flup sends each record in three pieces; accepted sockets inherit this.
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waker.wake_on_signals()
        from servers.third_party.flup_threads import ThreadedServer

        ThreadedServer(self._listener, self._workers, self._waker).serve()

    def stop(self) -> None:
        """Wake the accept loop; running requests may finish, for GRACE seconds at most."""
        self._waker.wake()

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
        self._waker.close()
