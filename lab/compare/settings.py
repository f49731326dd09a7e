"""What to compare: routes with their expected answers, presets, and how long it may take."""

import hashlib
from dataclasses import dataclass
from typing import Final

from lab.chain.rundir import LabError
from lab.compare.drive.budget import FULL, QUICK, SHORTEST, START, Budget
from lab.compare.drive.levels import CLOSED, SHARES, Level
from lab.compare.judge.rules import ROUNDS
from lab.compare.result import Mode

CONNECTIONS: Final = (1, 8, 64, 512)
_FEWER: Final = (CONNECTIONS, (1, 64), (64,))
_QUICKLY: Final = (CONNECTIONS, (8, 64), (8,))
"""Defaults, tried in order until one fits the time. --quick soon takes few connections, because
each may need a worker process."""
MOST_USERS: Final = 64
"""Per locust process: more users wait for each other."""
WORKERS: Final = 64
"""At most. With fewer connections, an architecture with workers gets one per connection."""


@dataclass(frozen=True, slots=True)
class Route:
    """What to request, and the only correct answer."""

    path: str
    body: bytes


def _digest(rounds: int) -> bytes:
    digest = b""
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex().encode() + b"\n"


ROUTES: Final[dict[str, Route]] = {
    "hello": Route("/hello", b"Hello, world!\n"),
    "json": Route("/json", b'{"message":"Hello, world!"}'),
    "wait": Route("/wait?ms=10", b"waited 10 ms\n"),
    "cpu": Route("/cpu?n=1000", _digest(1000)),
    "bytes": Route("/bytes?n=65536", bytes(range(256)) * 256),
    "file": Route("/file/pattern.bin", bytes(range(256)) * 400),
}


@dataclass(frozen=True, slots=True)
class Preset:
    """A ready-made comparison for a question of the notes."""

    names: tuple[str, ...]
    routes: tuple[str, ...]
    connections: tuple[int, ...]


PRESETS: Final[dict[str, Preset]] = {
    "s9": Preset(
        ("select", "poll", "epoll-lt", "epoll-et", "coroutine", "asyncio", "gevent"),
        ("hello", "wait"),
        CONNECTIONS,
    ),
    "m4": Preset(("thread", "fork", "select", "poll", "epoll-lt"), ("hello",), CONNECTIONS),
    "c10k": Preset(
        ("epoll-lt", "epoll-et", "asyncio", "uvloop", "go", "c-extension"),
        ("hello",),
        (64, 1000, 4000),
    ),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one comparison."""

    routes: dict[str, Route]
    connections: tuple[int, ...]
    rounds: int
    duration: float
    """Seconds per trial."""
    expected: float
    """Seconds that the whole comparison should take."""
    allowed: float = FULL
    """Seconds after which wrk, locust, system calls and idle memory are skipped; rounds never."""
    mode: Mode = "closed"
    rates: tuple[float, ...] = ()
    """Open loop: equal rates for all. Empty: shares of each target's peak, and one equal rate."""
    seed: int = 0
    command: str = ""
    quick: bool = False
    """Whether to skip system calls and idle connections, wrk and locust."""

    @property
    def finds_peaks(self) -> bool:
        """Whether the open loop's rates follow from the closed loop's peaks."""
        return self.mode == "open" and not self.rates

    @property
    def for_wrk(self) -> bool:
        """Whether wrk also drives the cells where openloop is the bottleneck."""
        return self.mode == "closed" and not self.quick

    @property
    def for_locust(self) -> int | None:
        """The connections at which locust drives too: the most that one locust process handles."""
        return _for_locust(self.connections, self.mode, quick=self.quick)

    @property
    def levels(self) -> list[Level]:
        """The loads known beforehand; if peaks decide, the closed loop that finds them."""
        return [Level(rate=rate) for rate in self.rates] or [CLOSED]

    @property
    def loads(self) -> int:
        """The number of loads per target."""
        return count_loads(self.mode, self.rates)


def _for_locust(connections: tuple[int, ...], mode: Mode, *, quick: bool) -> int | None:
    if mode == "open" or quick:
        return None
    return max((each for each in connections if each <= MOST_USERS), default=None)


def count_loads(mode: str, rates: tuple[float, ...]) -> int:
    """Return the number of loads per target, including the closed loop and the equal rate."""
    return len(rates) or (1 if mode == "closed" else 1 + len(SHARES) + 1)


def decide(
    targets: int,
    routes: tuple[str, ...],
    connections: tuple[int, ...] | None,
    rounds: int | None,
    duration: float | None,
    *,
    quick: bool,
    mode: Mode = "closed",
    rates: tuple[float, ...] = (),
    start: float = START,
) -> tuple[tuple[int, ...], int, float, float]:
    """Return connections, rounds, seconds per trial, and total seconds, to fit the time allowed.

    `targets` includes the baseline. What the caller gives is kept, even if it does not fit.
    """
    allowed = QUICK if quick else FULL
    rounds = rounds or ROUNDS
    fewer = _QUICKLY if quick else _FEWER
    choices = (connections,) if connections else fewer
    for chosen in choices:
        budget = Budget(
            targets,
            len(routes),
            chosen,
            rounds,
            syscalls_and_memory=not quick,
            loads=count_loads(mode, rates),
            locust=_for_locust(chosen, mode, quick=quick) is not None,
            start=start,
        )
        if budget.fits(allowed):
            break
    seconds = duration or (budget.duration(allowed) if budget.fits(allowed) else SHORTEST)
    return chosen, rounds, seconds, budget.seconds(seconds)


def find_routes(names: str) -> tuple[str, ...]:
    """Parse a comma-separated list of routes; LabError lists the known ones."""
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in ROUTES:
            raise LabError(f"--route: {name!r} is unknown; choose from: {', '.join(ROUTES)}")
    return tuple(dict.fromkeys(chosen))


def find_connections(text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of connection counts; LabError if it is not one."""
    try:
        found = tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        raise LabError(f"--connections: {text!r} is not a list of numbers; write 1,8,64") from None
    if found[0] < 1 or found[-1] > 20_000:
        raise LabError(f"--connections: {text!r}: give numbers from 1 to 20000")
    return found


def find_rates(text: str) -> tuple[float, ...]:
    """Parse a comma-separated list of rates; LabError if it is not one."""
    try:
        found = tuple(sorted({float(number) for number in text.split(",")}))
    except ValueError:
        raise LabError(f"--rate: {text!r} is not a list of numbers; write 500,2000") from None
    if not all(0 < rate <= 1e6 for rate in found):
        raise LabError(f"--rate: {text!r}: give requests per second, above 0 and up to 1000000")
    return found
