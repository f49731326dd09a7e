"""Trial: slow uploads, downloads that nobody reads, slow-loris clients, and ordinary requests.

Each ordinary request is compared with the quiet time of its kind: the slowest one of two quiet
phases of the same run, before and after the crowd, which together last as long as the crowd stays.
"""

import random
import selectors
import socket
import threading
from typing import Final, Self

from chainlab.transport import Address
from lab.trials.load import ORDINARY, Load, Sample, ms, require_right, rest, spread
from lab.trials.programs import configuration, gateway, worker
from lab.trials.trial import Settings, Trial, Verdict

_UPLOADS: Final = 40
_DOWNLOADS: Final = 40
_LORISES: Final = 200
_WORKERS: Final = 4
_BOUND: Final = 0.050  # seconds over the quiet time
_SIZE: Final = 8_000_000  # of a download: more than the sockets hold

_UPLOAD: Final = b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n"
_DOWNLOAD: Final = b"GET /bytes?n=%d HTTP/1.1\r\nHost: t\r\n\r\n" % _SIZE
_LORIS: Final = b"GET / HTTP/1.1\r\nHost: t\r\nX-Slow: "


class Crowd:
    """Slow clients in one thread: each second, a byte from each that sends; nobody reads.

    A client that the gateway closes (a slow-loris head gets 408 after the header timeout) comes
    back, as an attacker would.
    """

    def __init__(self, address: Address, arrival: float, seed: int) -> None:
        self._address = address
        self._members: dict[socket.socket, bytes] = {}
        kinds = [_UPLOAD] * _UPLOADS + [_DOWNLOAD] * _DOWNLOADS + [_LORIS] * _LORISES
        random.Random(seed).shuffle(kinds)
        self._pause = arrival / len(kinds)
        self._coming = kinds
        self.returned = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __len__(self) -> int:
        return len(self._members)

    def _come(self, kind: bytes) -> None:
        member = socket.socket()
        member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        member.connect(self._address.sockaddr)
        member.sendall(kind)
        member.setblocking(False)
        self._members[member] = kind

    def _run(self) -> None:
        for kind in self._coming:
            if self._ending.wait(self._pause):
                return
            self._come(kind)
        while not self._ending.wait(1.0):
            for member, kind in list(self._members.items()):
                if kind is not _DOWNLOAD and not self._drip(member):
                    member.close()
                    del self._members[member]
                    self._come(kind)
                    self.returned += 1

    def _drip(self, member: socket.socket) -> bool:
        """Send one byte; return False if the gateway has closed the connection."""
        try:
            member.send(b"x")
            with selectors.SelectSelector() as waiting:
                waiting.register(member, selectors.EVENT_READ)
                return not waiting.select(0)
        except OSError:
            return False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for member in self._members:
            member.close()


def run(settings: Settings, verdict: Verdict) -> None:
    """Measure the quiet time, let the crowd come and leave, measure the quiet time again."""
    stay = settings.seconds / 2
    with (
        worker(settings.folder, "--workers", str(_WORKERS)) as back,
        gateway(settings.folder, configuration(back.address)) as front,
        Load(front.address) as load,
    ):
        quiet_from = rest(min(1.0, stay))
        crowd_from = rest(stay / 2)
        with Crowd(front.address, stay / 3, settings.seed) as crowd:
            crowd_to = rest(stay)
            there = len(crowd)
        quiet_again = rest(min(1.0, stay))
        rest(stay / 2)
        load.stop()
    quiet = load.between(quiet_from, crowd_from) + load.between(quiet_again)
    crowded = load.between(crowd_from, crowd_to)
    verdict.note(
        f"{there} slow clients at the end; {crowd.returned} came back after the gateway closed them"
    )
    require_right(verdict, crowded, "ordinary requests")
    verdict.note(f"quiet: {spread(quiet)}; crowded: {spread(crowded)} (median / p99 / max)")
    _compare(settings, verdict, quiet, crowded)


def _compare(
    settings: Settings, verdict: Verdict, quiet: list[Sample], crowded: list[Sample]
) -> None:
    worst = 0.0
    for name in {ask.name for ask in ORDINARY}:
        slowest = max((s.seconds for s in quiet if s.name == name), default=0.0)
        worst = max(worst, *(s.seconds - slowest for s in crowded if s.name == name), 0.0)
    verdict.require(
        worst <= _BOUND * settings.slack,
        f"largest excess over the quiet time of its kind: {ms(worst)}",
    )


TRIAL: Final = Trial(
    "slow-peers",
    f"{_UPLOADS} uploads of a byte a second, {_DOWNLOADS} downloads that do not read, {_LORISES}"
    f" slow-loris clients; {_WORKERS} workers; ordinary requests meanwhile",
    "every ordinary request answered, within 50 ms of its quiet time",
    run,
)
