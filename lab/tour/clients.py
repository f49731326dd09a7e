"""Clients of the tour: raw sockets without an HTTP library, so that nothing is hidden."""

import selectors
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from chainlab.transport import parse_address
from lab.chain.processes import cpu_seconds
from lab.chain.rundir import LabError, Part
from lab.tour.sandbox import threads

TIMEOUT: Final = 30.0
"""Seconds to wait for an answer."""

MANY: Final = 100
"""Number of simultaneous clients where a step needs many."""

CUT: Final = 0
"""Status of a missing answer: the connection ended before it came."""


def connect(part: Part) -> socket.socket:
    """Connect to a part."""
    address = parse_address(part.address)
    sock = socket.socket(address.family)
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(address.sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def request(path: str, *, method: str = "GET", keep: bool = False) -> bytes:
    """Return a request without content."""
    kept = "" if keep else "Connection: close\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: tour\r\n{kept}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, or what came of it."""

    status: int
    """Status of the response; CUT if none came."""
    head: str
    body: bytes
    seconds: float = 0.0
    """Seconds since the request was sent."""


def read_answer(sock: socket.socket, rest: bytes = b"") -> Answer:
    """Send the `rest` of a request; read until the server closes or resets the connection."""
    begin, received = time.monotonic(), bytearray()
    if rest:  # after shutdown(SHUT_WR) even an empty send fails
        sock.sendall(rest)
    try:
        while piece := sock.recv(65536):
            received += piece
    except TimeoutError:
        raise LabError(f"no answer within {TIMEOUT:g} s") from None
    except ConnectionError:
        pass
    return parse(bytes(received), time.monotonic() - begin)


def parse(received: bytes, seconds: float = 0.0) -> Answer:
    """Parse a response."""
    head, _, body = received.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else CUT
    return Answer(status, head.decode("latin-1"), body, seconds)


def ask(part: Part, path: str, *, method: str = "GET") -> Answer:
    """Send one request on a new connection."""
    with connect(part) as sock:
        return read_answer(sock, request(path, method=method))


def together(part: Part, count: int, path: str) -> "Crowd":
    """Send the same request on `count` new connections at once."""
    return Crowd(part, count, request(path))


class Crowd:
    """Requests in progress, each on its own connection."""

    def __init__(self, part: Part, count: int, whole: bytes) -> None:
        self.answers: list[Answer] = []
        self._stack = ExitStack()
        self._waiting = selectors.DefaultSelector()
        self._received: dict[socket.socket, bytearray] = {}
        for _ in range(count):
            sock = self._stack.enter_context(connect(part))
            self._received[sock] = bytearray()
            self._waiting.register(sock, selectors.EVENT_READ)
        self._begin = time.monotonic()
        for sock in self._received:
            sock.sendall(whole)

    @property
    def seconds(self) -> float:
        """Seconds from sending until the last answer."""
        return max(answer.seconds for answer in self.answers)

    def finished(self, within: float = 0.0) -> bool:
        """Wait up to `within` seconds for data and read it; return True if all are answered."""
        for key, _ in self._waiting.select(within):
            assert isinstance(key.fileobj, socket.socket)
            self._read(key.fileobj)
        return not self._received

    def _read(self, sock: socket.socket) -> None:
        try:
            piece = sock.recv(65536)
        except ConnectionError:
            piece = b""
        self._received[sock] += piece
        if not piece:
            self._waiting.unregister(sock)
            whole = bytes(self._received.pop(sock))
            self.answers.append(parse(whole, time.monotonic() - self._begin))

    def wait(self) -> "Crowd":
        """Wait until all are answered."""
        deadline = time.monotonic() + TIMEOUT
        while not self.finished(within=1.0):
            if time.monotonic() > deadline:
                raise LabError(f"{len(self._received)} clients got no answer within {TIMEOUT:g} s")
        return self

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.close()
        self._stack.close()


def most_threads(part: Part, path: str) -> int:
    """Return the most threads a part had while MANY clients waited; LabError if one got no 200."""
    most = 0
    with together(part, MANY, path) as crowd:
        while not crowd.finished(within=0.02):
            most = max(most, threads(part))
        if any(answer.status != 200 for answer in crowd.answers):
            raise LabError(f"{part.name} did not answer all {MANY} clients with 200")
    return most


def cpu_per_request(part: Part, count: int) -> float:
    """Send `count` requests on one connection; return the server's CPU µs per request."""
    whole = request("/hello", keep=True)
    with connect(part) as sock:
        before = cpu_seconds(part)
        for _ in range(count):
            sock.sendall(whole)
            received = b""
            while not received.endswith(b"Hello, world!\n"):
                piece = sock.recv(65536)
                if not piece:
                    raise LabError(f"{part.name} closed a keep-alive connection")
                received += piece
        return (cpu_seconds(part) - before) / count * 1e6
