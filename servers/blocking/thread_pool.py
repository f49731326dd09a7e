"""A bounded thread pool fed by a bounded queue of connections (M1).

No thread is started per client. Load beyond the pool waits in a visible, bounded queue instead of
creating threads until memory runs out. A connection holds its thread until it closes: N idle
connections exhaust the pool, just as they exhaust prefork's children.
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
    title="a bounded thread pool and a bounded queue",
    family="blocking",
    processes="one",
    threads="N, plus one that accepts",
    concurrency="workers",
    model=(
        "The main thread accepts and queues connections. N threads dequeue them",
        "and serve each with blocking calls until it closes.",
        "Both pool and queue are bounded: excess load stays in the backlog.",
    ),
    sleeps=(
        "in recv(2)",
        "in recv(2), while the kernel copies the data",
    ),
    good="bounding the cost of a burst",
    bad="many keep-alive clients: N idle connections block the service",
    neighbours=("thread", "prefork"),
    source="servers/blocking/thread_pool.py",
    limits=(
        "at most N concurrent connections",
        "an idle keep-alive connection holds its thread for up to five seconds",
        "only one thread runs Python code at a time (GIL)",
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
