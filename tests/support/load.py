"""A small closed-loop load for tests: clients that keep their connection and verify answers.

Threads record failures and never raise. A client that loses its connection opens a new one, as a
browser would, but the request that was lost counts as failed.
"""

import http.client
import threading
from typing import Self

from tests.support.processes import wait_until


class Load:
    """`clients` threads that send GET `path` to `address` (HOST:PORT) until the block ends.

    `reopening`: if the server closes a kept connection before it answers, the client retries once
    on a new one, and this is not a failure (RFC 9110 section 9.2.2): browsers do it, and nginx
    relies on it.
    """

    def __init__(
        self, address: str, path: str, wanted: bytes, clients: int, *, reopening: bool = False
    ) -> None:
        self._address = address
        self._path = path
        self._wanted = wanted
        self._reopening = reopening
        self._stop = threading.Event()
        self.counts = [0] * clients
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(clients)
        ]

    @property
    def done(self) -> int:
        """Requests answered so far."""
        return sum(self.counts)

    def wait_for_more(self, count: int) -> None:
        """Return when `count` more requests have been answered."""
        goal = self.done + count
        wait_until(lambda: self.done >= goal, f"{count} more requests are answered")

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=20)
        may_reopen = False  # the connection has answered before
        while not self._stop.is_set():
            try:
                connection.request("GET", self._path)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                if not (may_reopen and isinstance(error, ConnectionError)):
                    self.failures.append(repr(error))
                may_reopen = False
                connection.close()
                continue
            may_reopen = self._reopening
            if response.status != 200 or body != self._wanted:
                self.failures.append(f"{response.status}: {body[:60]!r}")
            self.counts[number] += 1
        connection.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
