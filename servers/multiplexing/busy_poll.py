"""Nonblocking sockets asked in a loop, on purpose without any waiting: the model M2.

Every call returns at once, and mostly it returns EAGAIN: the answer comes the moment the data is
there, at the price of a whole core, busy or idle, and of one failed call per connection and round.
The first phase of a read does not block the process; it burns it.
"""

import time
from typing import Final

from servers.common.connection import Connection
from servers.common.event_server import EventServer
from servers.common.session import READ, WAIT
from servers.common.spec import Spec

SPEC: Final = Spec(
    name="busy-poll",
    title="nonblocking sockets asked in a loop",
    family="multiplexing",
    processes="one",
    threads="one",
    multiplexer="none",
    mode="asking",
    model=(
        "Sockets do not block: recv returns at once, with bytes or with EAGAIN.",
        "The process asks all of them, again and again, without ever sleeping.",
        "It burns a core, busy or idle: on purpose, to show what waiting is for.",
    ),
    sleeps=("nowhere: it asks until the answer is not EAGAIN", "nowhere: recv copies at once"),
    good="showing model M2; microseconds of latency where a core is free to burn",
    bad="everything else",
    neighbours=("iterative", "select"),
    source="servers/multiplexing/busy_poll.py",
    limits=("a core is always used up", "a handler that computes holds up everybody"),
    claims=("M2", "K4"),
    target="servers.multiplexing.busy_poll:BusyPoll",
)


class BusyPoll(EventServer):
    """The server."""

    def _open(self) -> None:
        self._waiting: set[Connection] = set()  # their application waits: nothing to ask

    def _listen(self, *, wanted: bool) -> None:
        """Need nothing: the listener is asked in each round, while it is wanted."""

    def _watch(self, connection: Connection, need: int) -> None:
        (self._waiting.add if need == WAIT else self._waiting.discard)(connection)

    def _forget(self, connection: Connection) -> None:
        self._waiting.discard(connection)

    def _round(self, timeout: float) -> float:
        """Ask everybody once; never sleep, whatever `timeout` would allow."""
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
