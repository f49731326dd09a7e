"""`python -m lab.trace.agents.client HOST PORT TARGET COUNT reuse|close`: asks, when told to.

A blocking client with the fewest system calls: socket, connect, send, receive, close. It is ready,
then waits for a line, so that strace can take hold of it before it does anything; what it says
afterwards has its own clock's time of each step, in nanoseconds since the epoch.
"""

import os
import socket
import sys
import time
from typing import Any

from chainlab.wire.http1 import (
    CLOSED,
    NEED_DATA,
    ClientConnection,
    Data,
    EndOfMessage,
    RemoteProtocolError,
    ResponseHead,
)
from lab.trace.agents import fail, say


class Exchange:
    """One connection and what is asked over it."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._times = {"start": time.time_ns()}
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.connect((host, port))
        self._times["connected"] = time.time_ns()
        self._http = ClientConnection()
        bracketed = f"[{host}]" if ":" in host else host
        self._host = f"{bracketed}:{port}".encode()

    def ask(self, target: str) -> dict[str, Any]:
        """Send one request; return the answer's status and fields, and when each step was."""
        times = self._times or {"start": time.time_ns()}
        self._times = {}
        fields = [(b"Host", self._host), (b"User-Agent", b"chainlab-trace")]
        request = self._http.send_request(b"GET", target.encode(), fields)
        times["sending"] = time.time_ns()
        self._socket.sendall(request)
        times["sent"] = time.time_ns()
        head, size = self._receive(times)
        times["done"] = time.time_ns()
        return {
            "status": head.status,
            "bytes": size,
            "fields": [[part.decode("latin-1") for part in field] for field in head.fields],
            "times": times,
            "port": self._socket.getsockname()[1],
        }

    def _receive(self, times: dict[str, int]) -> tuple[ResponseHead, int]:
        head, size = None, 0
        while True:
            event = self._http.next_event()
            if event is NEED_DATA:
                data = self._socket.recv(65536)
                times.setdefault("first_byte", time.time_ns())
                if data:
                    self._http.receive_data(data)
                else:
                    self._http.receive_eof()
            elif isinstance(event, ResponseHead):
                head = event
            elif isinstance(event, Data):
                size += len(event.data)
            elif isinstance(event, EndOfMessage) and head is not None and head.status >= 200:
                return head, size
            elif event is CLOSED:
                raise RemoteProtocolError(502, "closed before an answer")

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self._http.reusable

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def ask_all(host: str, port: int, target: str, count: int, *, reuse: bool) -> list[dict[str, Any]]:
    """Ask `count` times, one after the other, on one connection as long as it is kept, or each."""
    answers = []
    exchange: Exchange | None = None
    for _ in range(count):
        exchange = exchange or Exchange(host, port)
        answers.append(exchange.ask(target))
        if not (reuse and exchange.reusable):
            exchange.close()
            exchange = None
    if exchange:
        exchange.close()
    return answers


def main(arguments: list[str]) -> int:
    """Wait for a line, then ask."""
    host, port, target, count, mode = arguments
    say(ready=True, pid=os.getpid())
    sys.stdin.readline()
    try:
        answers = ask_all(host, int(port), target, int(count), reuse=mode == "reuse")
    except (OSError, RemoteProtocolError) as error:
        return fail(f"{host}:{port} did not answer {target}: {error}", "lab status; lab verify")
    say(answers=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
