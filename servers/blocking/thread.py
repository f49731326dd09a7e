"""A thread for each connection: cheaper to start than a process, and they share all memory.

Each thread sleeps in its own recv; the kernel switches between them as between processes (M1, K3).
In CPython one thread at a time runs Python code (the GIL), so threads overlap their waits, not
their work. A thousand connections are a thousand stacks.
"""

import socket
import threading
from typing import Final

from servers.blocking.serve import accept, make_blocking, serve
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE, Running

SPEC: Final = Spec(
    name="thread",
    title="a thread for each connection",
    family="blocking",
    processes="one",
    threads="one for each connection, and one that accepts",
    model=(
        "The main thread sleeps in accept and starts a thread for each connection.",
        "The thread serves that client, blocking, and ends.",
        "The kernel switches between threads as between processes; in CPython",
        "one of them at a time runs Python code (the GIL).",
    ),
    sleeps=("in recv(2)", "in recv(2): the kernel copies while it sleeps"),
    good="some hundred connections that mostly wait; shared state",
    bad="computing in Python; thousands of connections",
    neighbours=("fork", "thread-pool", "coroutine"),
    source="servers/blocking/thread.py",
    limits=("at most 512 threads", "Python code runs in one thread at a time (GIL)"),
    claims=("M1", "K3"),
    target="servers.blocking.thread:Thread",
)


_MOST = 512  # threads, where the option allows more


class Thread:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._slots = threading.Semaphore(min(options.connections, _MOST))
        self._running = Running()
        self._stopping = False

    def run(self) -> None:
        """Start a thread for each client until stopped."""
        make_blocking(self._listener)
        while not self._stopping:
            if not self._slots.acquire(timeout=0.5):
                continue  # as many as we may have: the others wait in the backlog
            sock = accept(self._listener)
            if sock is None:
                self._slots.release()
            else:
                threading.Thread(target=self._work, args=(sock,), daemon=True).start()
        self._running.wait_until_none(GRACE)

    def _work(self, sock: socket.socket) -> None:
        with self._running:
            try:
                serve(sock, lambda: self._stopping)
            finally:
                self._slots.release()

    def stop(self) -> None:
        """Take no more clients; those being served get their answers."""
        self._stopping = True

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
