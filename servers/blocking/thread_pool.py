"""A bounded pool of threads and a bounded queue of connections before it (M1).

No thread is started on a client's account, and load beyond the pool queues where it can be seen
and bounded, instead of growing threads until memory ends. A thread is held as long as its
connection lives: N idle ones hold the pool, as N children are held in prefork.
"""

import queue
import socket
import threading
from typing import Final

from servers.blocking.serve import accept, make_blocking, serve
from servers.common.spec import Options, Spec
from servers.common.stopping import GRACE

SPEC: Final = Spec(
    name="thread-pool",
    title="a bounded pool of threads and a bounded queue",
    family="blocking",
    processes="one",
    threads="N, and one that accepts",
    concurrency="workers",
    model=(
        "The main thread accepts and queues connections; N threads take them from",
        "the queue and serve them, blocking, until they end.",
        "Pool and queue are bounded: load beyond them stays in the backlog.",
    ),
    sleeps=("in recv(2)", "in recv(2): the kernel copies while it sleeps"),
    good="bounding what a burst may cost",
    bad="many clients that keep their connections: N idle ones stop the service",
    neighbours=("thread", "prefork"),
    source="servers/blocking/thread_pool.py",
    limits=(
        "N connections at one time",
        "an idle kept connection holds its thread for five seconds at most",
        "Python code runs in one thread at a time (GIL)",
    ),
    claims=("M1",),
    target="servers.blocking.thread_pool:ThreadPool",
)


_QUEUED = 64  # connections for each thread that may wait in the queue; more stay in the backlog


class ThreadPool:
    """The server."""

    def __init__(self, listener: socket.socket, options: Options) -> None:
        self._listener = listener
        self._queue: queue.Queue[socket.socket | None] = queue.Queue(options.workers * _QUEUED)
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(options.workers)
        ]
        self._stopping = False

    def run(self) -> None:
        """Queue each client until stopped."""
        make_blocking(self._listener)
        for thread in self._threads:
            thread.start()
        while not self._stopping:
            sock = accept(self._listener)
            if sock is not None:
                self._enqueue(sock)
        for _ in self._threads:
            self._enqueue(None)
        for thread in self._threads:
            thread.join(GRACE)

    def _enqueue(self, item: socket.socket | None) -> None:
        """Wait for room; once stopping, everything that moves makes some."""
        while True:
            try:
                self._queue.put(item, timeout=0.5)
                return
            except queue.Full:
                if self._stopping and item is not None:
                    item.close()
                    return

    def _work(self) -> None:
        while (sock := self._queue.get()) is not None:
            serve(sock, lambda: self._stopping)

    def stop(self) -> None:
        """Take no more clients; those being served, or queued, get their answers."""
        self._stopping = True

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
