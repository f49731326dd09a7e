"""`python -m lab.trace.agents.client HOST PORT TARGET COUNT reuse|close`: the requesting client.

A blocking client with as few system calls as possible: socket, connect, send, receive, close. Once
ready, it waits for a line on standard input, so that strace can attach first. Then it sends the
requests and reports the time of each step by its own clock, in nanoseconds since the epoch.
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
    """One connection and its requests."""

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
        """Send one request; return the response's status and fields, and the time of each step."""
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
                raise RemoteProtocolError(502, "connection closed before the response was complete")

    @property
    def reusable(self) -> bool:
        """Whether the connection can take another request."""
        return self._http.reusable

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def ask_all(host: str, port: int, target: str, count: int, *, reuse: bool) -> list[dict[str, Any]]:
    """Send `count` requests in sequence; with `reuse`, on one connection while it is kept open."""
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
    """Wait for a line, then send the requests."""
    host, port, target, count, mode = arguments
    say(ready=True, pid=os.getpid())
    sys.stdin.readline()
    try:
        answers = ask_all(host, int(port), target, int(count), reuse=mode == "reuse")
    except (OSError, RemoteProtocolError) as error:
        return fail(
            f"{host}:{port} did not answer {target}: {error}", "run lab status or lab verify"
        )
    say(answers=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
