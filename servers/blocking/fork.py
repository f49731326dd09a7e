"""A process for each connection (S6): the server of UNIX's first decades.

The parent sleeps in accept and forks; the child serves its one client and ends, and has the
machine's protection around it: what it breaks, it alone breaks. A fork costs a few hundred
microseconds of page tables, so it pays only where connections live long. The parent reaps its
dead on SIGCHLD, in a loop, because signals of a kind are not queued.
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
    title="a process for each connection",
    family="blocking",
    processes="a parent, and a child for each connection",
    threads="one",
    model=(
        "The parent sleeps in accept and forks for each connection.",
        "The child serves that one client, blocking, and ends.",
        "The kernel sends SIGCHLD; the parent reaps in a loop, because",
        "signals of one kind are not queued.",
    ),
    sleeps=("in recv(2)", "in recv(2): the kernel copies while it sleeps"),
    good="few, long connections; handlers that must not harm each other",
    bad="many short connections: each pays for a fork and an exit",
    neighbours=("iterative", "prefork", "thread"),
    source="servers/blocking/fork.py",
    limits=("at most 512 children at one time",),
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

        with sock:  # the parent's copy: the connection ends when the child's is closed too
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
