"""A bounded pool of threads and a bounded queue of connections before it (M1).

No thread is started on a client's account, and load beyond the pool queues where it can be seen
and bounded, instead of growing threads until memory ends. A thread is held as long as its
connection lives: N idle ones hold the pool, as N children are held in prefork.
"""

import queue
import socket
import threading

from servers.blocking.serve import accept, make_blocking, serve
from servers.spec import Options
from servers.stopping import GRACE

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
