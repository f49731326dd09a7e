"""Asks a FastCGI responder how many connections it accepts (FCGI_GET_VALUES, section 4.1)."""

from collections.abc import Callable
from typing import Final

from chainlab.wire.fastcgi import (
    MAX_CONNS,
    MAX_REQS,
    NEED_DATA,
    ClientConnection,
    ProtocolError,
    Values,
)
from gateway.backend import Backend
from gateway.loop import READ, WRITE, Loop
from gateway.upstream_connection import open_connection

_ASK: Final = 1.0  # timeout of the query, in seconds
_ASK_AGAIN: Final = 5.0  # seconds between two queries to a backend that answers
_ASK_MUTE: Final = 60.0  # the same for one that does not: each query occupies one of its workers


class Question:
    """Asks a backend for its limits, with FCGI_GET_VALUES on a separate connection."""

    def __init__(
        self, loop: Loop, backend: Backend, answer: Callable[[Backend, int | None], None]
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._backend = backend
        self._protocol = ClientConnection()
        self._asked = False
        self.deadline = loop.now + _ASK
        try:
            self._sock, _ = open_connection(backend)
        except OSError:
            answer(backend, None)
            return
        backend.ask_after = loop.now + _ASK_AGAIN
        loop.register(self._sock, WRITE, self.on_event)
        loop.watch(self)

    def on_event(self, _mask: int) -> None:
        """Send the query once connected, then read the answer."""
        try:
            if not self._asked:
                self._asked = True
                self._sock.send(self._protocol.get_values())
                self._loop.modify(self._sock, READ)
                return
            data = self._sock.recv(4096)
            self._protocol.receive_data(data)
            event = self._protocol.next_event() if data else None
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            event = None
        if event is NEED_DATA:
            return
        if event is None:
            self._backend.ask_after = self._loop.now + _ASK_MUTE
        values = event.values if isinstance(event, Values) else {}
        limits = [values[name] for name in (MAX_CONNS, MAX_REQS) if name in values]
        self._end(min((int(v) for v in limits if v.isdigit() and int(v) > 0), default=None))

    def on_deadline(self) -> None:
        """Give up: a backend that stays silent does not support FCGI_GET_VALUES."""
        self._backend.ask_after = self._loop.now + _ASK_MUTE
        self._end(None)

    def _end(self, limit: int | None) -> None:
        self._loop.close(self._sock)
        self._loop.forget(self)
        self._answer(self._backend, limit)
