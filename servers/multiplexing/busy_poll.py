"""Nonblocking sockets polled in a loop that deliberately never sleeps: model M2.

Every call returns at once, usually with EAGAIN. Latency is minimal, but a whole core is used even
when idle, and each round costs one failed call per connection. The first phase of a read does not
block the process; it burns CPU.
"""

import time
from typing import Final

from servers.common.connection import Connection
from servers.common.event_server import EventServer
from servers.common.session import READ, WAIT
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="busy-poll",
    title="nonblocking sockets polled in a loop",
    family="multiplexing",
    processes="one",
    threads="one",
    mode="busy polling",
    model=(
        "Sockets are nonblocking: recv returns immediately, with data or EAGAIN.",
        "The process polls all of them in a loop and never sleeps.",
        "It burns a full core, deliberately, to show why waiting calls exist.",
    ),
    sleeps=(
        "nowhere: it retries while recv returns EAGAIN",
        "nowhere: recv copies immediately",
    ),
    good="demonstrating model M2; microsecond latency where a core can be spared",
    bad="everything else",
    neighbours=("iterative", "select"),
    source="servers/multiplexing/busy_poll.py",
    limits=(
        "always uses a full core",
        "a CPU-bound handler stalls every connection",
    ),
    claims=("M2", "K4"),
    target="servers.multiplexing.busy_poll:BusyPoll",
)


class BusyPoll(EventServer):
    """The server."""

    def _open(self) -> None:
        self._waiting: set[Connection] = set()  # the application waits: nothing to poll

    def _listen(self, *, wanted: bool) -> None:
        """Do nothing: each round polls the listener while it is wanted."""

    def _watch(self, connection: Connection, need: int) -> None:
        (self._waiting.add if need == WAIT else self._waiting.discard)(connection)

    def _forget(self, connection: Connection) -> None:
        self._waiting.discard(connection)

    def _round(self, timeout: float) -> float:
        """Poll every connection once; ignore `timeout` and never sleep."""
        del timeout
        now = time.monotonic()
        if self._listening:
            self._accept(now)
        for connection in list(self._connections.values()):
            if connection in self._waiting:
                continue
            if connection.session.need == READ:
                connection.read(now)
                if connection.session.need == READ:
                    continue  # EAGAIN, or not all of a request yet
            self._settle(connection, now)
        return now
