"""One thread per connection (M1, K3): cheaper to start than a process, with shared memory.

Each thread sleeps in its own recv; the kernel schedules threads just like processes. CPython's GIL
lets only one thread run Python code at a time, so threads overlap their waits but not their
computation. A thousand connections need a thousand stacks.
"""

import socket
import threading
from typing import Final

from servers.blocking.serve import accept, make_blocking, serve
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE, Running

SPEC: Final = Spec(
    name="thread",
    title="one thread per connection",
    family="blocking",
    processes="one",
    threads="one per connection, plus one that accepts",
    model=(
        "The main thread sleeps in accept and starts a thread for each connection.",
        "The thread serves that client with blocking calls, then exits.",
        "The kernel schedules threads like processes, but in CPython",
        "only one of them runs Python code at a time (the GIL).",
    ),
    sleeps=(
        "in recv(2)",
        "in recv(2), while the kernel copies the data",
    ),
    good="a few hundred connections that mostly wait; shared state",
    bad="CPU-bound Python; thousands of connections",
    neighbours=("fork", "thread-pool", "coroutine"),
    source="servers/blocking/thread.py",
    limits=(
        "at most 512 threads",
        "only one thread runs Python code at a time (GIL)",
    ),
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
                continue  # at the limit: further clients wait in the backlog
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
