"""flup's prefork FastCGI server: N children share a listener, one connection each (S5, S6).

Each child sleeps in select on the listener, accepts, and stays with that connection until the web
server closes it: even an idle keep-alive connection pins its child. The children, their accept loop
and the protocol are flup's. The master's loop is ours: flup's cannot be stopped on Python 3 (its
select is restarted after the signal, PEP 475), and its pool grows and shrinks where the lab wants
exactly N. Our children also exit whenever the master does.
"""

import logging
import socket
from functools import partial
from typing import Final

from servers.common.packages import without_package
from servers.common.spec import Options, Spec
from servers.common.stopping import Waker

SPEC: Final = Spec(
    name="flup-fork",
    title="flup, prefork",
    family="third-party",
    protocol="fastcgi",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    model=(
        "A FastCGI responder in Python. A master keeps N children; each accepts one",
        "connection and serves its requests, blocking, until the web server closes it.",
    ),
    sleeps=("in select(2), then recv(2)", "in recv(2)"),
    good="WSGI behind a web server that closes each connection",
    bad="keep-alive connections: each pins a child, even when idle",
    neighbours=("flup-thread", "prefork", "uwsgi", "libfcgi"),
    source="servers/third_party/flup_fork.py",
    limits=(
        "a keep-alive connection pins a child, even when idle",
        "one request at a time per connection",
    ),
    claims=("S5", "S6"),
    target="servers.third_party.flup_fork:FlupFork",
    probe=partial(without_package, "flup", "pip install 'flup>=1.0.3'"),
)


log = logging.getLogger("servers.flup")

_PAUSE: Final = 0.05  # seconds before a dead child is replaced


class FlupFork:
    """`flup.server.fcgi_fork` with N children."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._workers = options.workers
        self._waker = Waker()

    def run(self) -> None:
        """Keep N children until stopped."""
        if self._listener.family != socket.AF_UNIX:
            # flup sends each record in three pieces; accepted sockets inherit this.
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waker.wake_on_signals()
        from servers.third_party.flup_master import Master

        Master(self._listener, self._workers, self._waker).serve()

    def stop(self) -> None:
        """Wake the master; the children finish what they run, for GRACE seconds at most."""
        self._waker.wake()

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
        self._waker.close()
