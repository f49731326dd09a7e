"""One process per connection (S6): the classic UNIX server.

The parent sleeps in accept and forks; the child serves one client and exits. A crash or a leak in
a child affects only its own client. A fork costs a few hundred microseconds of page-table work, so
this pays off only for long-lived connections. The parent reaps children in a loop on SIGCHLD,
because pending signals of the same number are not queued.
"""

import errno
import logging
import signal
import socket
import time
from typing import Final

from servers.blocking.children import Children
from servers.blocking.serve import accept, make_blocking, serve
from servers.common.spec import Options, Spec

SPEC: Final = Spec(
    name="fork",
    title="one process per connection",
    family="blocking",
    processes="a parent, and one child per connection",
    threads="one",
    model=(
        "The parent sleeps in accept and forks a child for each connection.",
        "The child serves that client with blocking calls, then exits.",
        "On SIGCHLD the parent reaps children in a loop: pending signals of one",
        "number are not queued.",
    ),
    sleeps=(
        "in recv(2)",
        "in recv(2), while the kernel copies the data",
    ),
    good="few, long-lived connections; handlers that need isolation from each other",
    bad="many short connections: each costs a fork and an exit",
    neighbours=("iterative", "prefork", "thread"),
    source="servers/blocking/fork.py",
    limits=("at most 512 children at a time",),
    claims=("S6", "M1", "K3"),
    target="servers.blocking.fork:Fork",
)


log = logging.getLogger("servers")

_MOST = 512  # processes, where the option allows more


class Fork:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._most = min(options.connections, _MOST)
        self._children = Children()
        self._stopping = False

    def run(self) -> None:
        """Fork for each client until stopped."""
        make_blocking(self._listener)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: self._children.reap())
        while not self._stopping:
            if len(self._children) >= self._most:
                time.sleep(0.01)  # SIGCHLD cuts it short; the others wait in the backlog
            elif (sock := accept(self._listener)) is not None:
                self._hand_over(sock)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._children.stop(time.sleep)

    def _hand_over(self, sock: socket.socket) -> None:
        def work() -> None:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._listener.close()
            serve(sock, lambda: self._stopping)

        with sock:  # the parent's copy; the connection ends when the child closes its own
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # until it is counted
            try:
                self._children.start(work)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOMEM):
                    raise
                log.warning("cannot fork, a client is turned away: %s", error.strerror)
                time.sleep(0.1)
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def stop(self) -> None:
        """Take no more clients; those being served get their answers."""
        self._stopping = True

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
