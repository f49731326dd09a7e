"""What is compared: routes and the answers they must give, presets, and how long it may take."""

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
"""What is tried in turn where nobody says how many, and the time does not suffice for all; for a
quick look with few workers, for each of the many that are started is a process."""
MOST_USERS: Final = 64
"""Of one locust process; the more there are, the more they wait for each other."""
WORKERS: Final = 64
"""At most; below it there is one for each connection, for all that have a number of workers."""


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked, and the only right answer."""

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
    """A question of the notes, ready made."""

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
    """A comparison, decided."""

    routes: dict[str, Route]
    connections: tuple[int, ...]
    rounds: int
    duration: float
    """Seconds of a turn."""
    expected: float
    """Seconds that all of it takes."""
    allowed: float = FULL
    """Seconds after which what is left out is wrk, system calls and idle memory, not rounds."""
    mode: Mode = "closed"
    rates: tuple[float, ...] = ()
    """Of the open loop, the same for all; none: shares of each one's own peak, and one for all."""
    seed: int = 0
    command: str = ""
    deep: bool = True
    """Whether system calls and idle connections are measured too, and wrk and locust are asked."""

    @property
    def finds_peaks(self) -> bool:
        """Whether the loads of the open loop follow from what the closed one gets."""
        return self.mode == "open" and not self.rates

    @property
    def for_wrk(self) -> bool:
        """Whether wrk drives, too, where openloop is at its end."""
        return self.mode == "closed" and self.deep

    @property
    def for_locust(self) -> int | None:
        """At how many connections locust drives, too: the most that one process of it serves."""
        return _for_locust(self.connections, self.mode, deep=self.deep)

    @property
    def levels(self) -> list[Level]:
        """The loads that are known beforehand; where peaks decide, what finds them."""
        return [Level(rate=rate) for rate in self.rates] or [CLOSED]

    @property
    def loads(self) -> int:
        """How many loads each is put under."""
        return count_loads(self.mode, self.rates)


def _for_locust(connections: tuple[int, ...], mode: Mode, *, deep: bool) -> int | None:
    if mode == "open" or not deep:
        return None
    return max((each for each in connections if each <= MOST_USERS), default=None)


def count_loads(mode: str, rates: tuple[float, ...]) -> int:
    """Return how many loads each is put under: with the peaks, and with the equal rate."""
    return len(rates) or (1 if mode == "closed" else 1 + len(SHARES) + 1)


def decide(
    contestants: int,
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
    """Return connections, rounds, seconds of a turn, and seconds of all, that fit into the time."""
    allowed = QUICK if quick else FULL
    rounds = rounds or ROUNDS
    fewer = _QUICKLY if quick else _FEWER
    choices = (connections,) if connections else fewer
    for chosen in choices:
        budget = Budget(
            contestants,
            len(routes),
            chosen,
            rounds,
            deep=not quick,
            loads=count_loads(mode, rates),
            locust=_for_locust(chosen, mode, deep=not quick) is not None,
            start=start,
        )
        if budget.fits(allowed):
            break
    seconds = duration or (budget.duration(allowed) if budget.fits(allowed) else SHORTEST)
    return chosen, rounds, seconds, budget.seconds(seconds)


def find_routes(names: str) -> tuple[str, ...]:
    """Return the routes of a list with commas; LabError with those there are."""
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in ROUTES:
            raise LabError(f"no route {name!r}; choose from: {', '.join(ROUTES)}")
    return tuple(dict.fromkeys(chosen))


def find_connections(text: str) -> tuple[int, ...]:
    """Return the numbers of a list with commas; LabError when one is none."""
    try:
        found = tuple(sorted({int(number) for number in text.split(",")}))
    except ValueError:
        raise LabError(f"--connections: {text!r} is no list of numbers; write 1,8,64") from None
    if found[0] < 1 or found[-1] > 20_000:
        raise LabError(f"--connections: {text!r}: give numbers from 1 to 20000")
    return found


def find_rates(text: str) -> tuple[float, ...]:
    """Return the rates of a list with commas; LabError when one is none."""
    try:
        found = tuple(sorted({float(number) for number in text.split(",")}))
    except ValueError:
        raise LabError(f"--rate: {text!r} is no list of numbers; write 500,2000") from None
    if not all(0 < rate <= 1e6 for rate in found):
        raise LabError(f"--rate: {text!r}: give requests per second, above 0 and up to 1000000")
    return found
