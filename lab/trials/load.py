"""Ordinary requests at an even pace, each with its outcome: what a trial measures against.

Each client is a thread with a kept connection, which sends a request when it is due, whatever
happened to the one before: the time of a late request counts from when it was due, so a server that
stands still is not measured once but as often as it was asked. A kept connection that the server
closed while it was idle is opened anew, as every HTTP client does (RFC 9112 section 9.3.1).
"""

import contextlib
import http.client
import itertools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from chainlab.transport import Address
from lab.trials.trial import Verdict

TIMEOUT: Final = 30.0
"""Seconds after which a client gives an answer up: a hanging request."""


@dataclass(frozen=True)
class Ask:
    """A kind of request, and the answer that is right; `answer` None: any content."""

    name: str
    method: str
    path: str
    body: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)
    chunks: int = 0  # send the body in so many chunks rather than with a Content-Length
    status: int = 200
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of a request: status 0 means no complete answer, `trouble` says why."""

    name: str
    begun: float  # seconds, time.monotonic()
    seconds: float
    status: int
    trouble: str = ""

    @property
    def right(self) -> bool:
        """Whether the answer was complete and the expected one."""
        return not self.trouble


HELLO: Final = Ask("hello", "GET", "/hello", answer=b"Hello, world!\n")
ECHO: Final = Ask("echo", "POST", "/echo", body=b"e" * 1000, answer=b"e" * 1000)
BYTES: Final = Ask("bytes", "GET", "/bytes?n=65536", answer=bytes(range(256)) * 256)
ORDINARY: Final = (HELLO, ECHO, HELLO, BYTES)


class Client:
    """One client; `kept` says whether it keeps its connection."""

    def __init__(self, address: Address, kept: bool = True, timeout: float = TIMEOUT) -> None:
        self._address = address
        self._kept = kept
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, wanted: Ask, due: float | None = None) -> Sample:
        """Send a request, read the answer, check it; never raises."""
        begun = time.monotonic() if due is None else due
        status, trouble = 0, ""
        try:
            status, trouble = self._exchange(wanted)
        except (OSError, http.client.HTTPException) as error:
            trouble = f"{type(error).__name__}: {error}"
            self.close()
        if not self._kept:
            self.close()
        return Sample(wanted.name, begun, time.monotonic() - begun, status, trouble)

    def _exchange(self, wanted: Ask) -> tuple[int, str]:
        idle = self._connection is not None
        try:
            response = self._send(wanted)
        except (http.client.RemoteDisconnected, ConnectionError):
            if not idle:
                raise
            self.close()
            response = self._send(wanted)
        content = response.read()
        if response.will_close:
            self.close()
        if response.status != wanted.status:
            return response.status, f"status {response.status}"
        if wanted.answer is not None and content != wanted.answer:
            return response.status, f"another answer: {content[:80]!r}"
        return response.status, ""

    def _send(self, wanted: Ask) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._address.host, self._address.port, timeout=self._timeout
            )
        if wanted.chunks:
            size = len(wanted.body) // wanted.chunks
            pieces = (wanted.body[at : at + size] for at in range(0, len(wanted.body), size))
            # An answer that comes before the end of the body (507) closes the connection.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request(
                    wanted.method, wanted.path, pieces, wanted.fields, encode_chunked=True
                )
        else:
            self._connection.request(wanted.method, wanted.path, wanted.body or None, wanted.fields)
        return self._connection.getresponse()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Load:
    """Clients that send `asks` in turn until the block ends, together `rate` requests a second."""

    def __init__(
        self,
        address: Address,
        asks: Sequence[Ask] = ORDINARY,
        *,
        clients: int = 4,
        rate: float = 80.0,
        kept: bool = True,
        timeout: float = TIMEOUT,
    ) -> None:
        self.samples: list[Sample] = []
        self._asks = asks
        self._period = clients / rate
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Client(address, kept, timeout), at))
            for at in range(clients)
        ]

    def _run(self, client: Client, at: int) -> None:
        asks = itertools.islice(itertools.cycle(self._asks), at, None)
        due = time.monotonic() + self._period * at / len(self._threads)
        overrun = False
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            self.samples.append(client.ask(next(asks), due if overrun else None))
            due += self._period
            overrun = time.monotonic() > due
        client.close()

    def between(self, begin: float, end: float = math.inf) -> list[Sample]:
        """Return the samples of requests that begun in that time."""
        return [sample for sample in self.samples if begin <= sample.begun < end]

    def stop(self) -> None:
        """Let the running requests finish and end the clients."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def status(address: Address) -> dict[str, Any]:
    """Return what a gateway reports about its processes; OSError or an HTTPException."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/-/status")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found


def generation(address: Address) -> int:
    """Return the number of the configuration that every process of a gateway has reached."""
    return int(status(address)["generation"])


def rest(seconds: float) -> float:
    """Let the load run for some seconds; return the time.monotonic() at which that was over."""
    time.sleep(seconds)
    return time.monotonic()


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not below `share` of all; 0 without any."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def ms(seconds: float) -> str:
    """Return seconds as milliseconds, for people."""
    return f"{seconds * 1000:.1f} ms"


def spread(samples: Sequence[Sample]) -> str:
    """Return median, 99th percentile and maximum."""
    times = [sample.seconds for sample in samples]
    return " / ".join(ms(quantile(times, share)) for share in (0.5, 0.99, 1.0))


def troubles(samples: Sequence[Sample], most: int = 4) -> str:
    """Return what went wrong, most frequent first: `12 × status 502`."""
    counted = Counter(sample.trouble for sample in samples if not sample.right)
    return ", ".join(f"{count} × {trouble}" for trouble, count in counted.most_common(most))


def require_right(verdict: Verdict, samples: Sequence[Sample], what: str) -> None:
    """Require that there were requests and that all of them got the right answer."""
    wrong = [sample for sample in samples if not sample.right]
    text = f"{len(samples)} {what}, {len(wrong)} failed"
    verdict.require(bool(samples) and not wrong, f"{text}: {troubles(wrong)}" if wrong else text)
