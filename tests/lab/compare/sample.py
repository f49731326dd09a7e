"""`python -m tests.lab.compare.sample`: writes sample.json. Every figure is made up.

A model of a server in a few numbers draws rounds that look real: throughput that rises with the
connections and saturates, a tail, noise, and one cell for each verdict. Reports are tried on it.
"""

import random
from pathlib import Path
from typing import Any, Final

from lab.compare.judge.ranking import crossings, standings
from lab.compare.judge.summary import Taken, make_cell
from lab.compare.result import (
    Architecture,
    Ceiling,
    Cost,
    Interval,
    Latency,
    Manifest,
    Result,
    Round,
    from_json,
    to_json,
)
from loadtest.openloop.record import Times

SAMPLE: Final = Path(__file__).with_name("sample.json")
CONNECTIONS: Final = (1, 8, 64, 512)
ROUNDS: Final = 5
CEILING: Final = 41_000.0
DRAW: Final = random.Random(7)

# name, title, family, protocol, keep, note, µs user, µs kernel, growth with connections, waits
MODELS: Final[list[tuple[str, str, str, str, bool, str, float, float, float, int]]] = [
    ("iterative", "one connection after the other", "blocking", "http", True,
     "one connection at a time", 30, 22, 0.0, 1),
    ("thread", "a thread for each connection", "blocking", "http", True, "", 28, 24, 0.10, 512),
    ("prefork", "children that accept", "blocking", "http", True,
     "a kept connection pins a worker", 30, 24, 0.03, 64),
    ("epoll-lt", "level-triggered epoll", "multiplexing", "http", True, "", 34, 26, 0.01, 4096),
    ("io-uring", "io_uring, multishot", "asynchronous", "http", True, "", 44, 20, 0.01, 4096),
    ("asyncio", "asyncio streams", "coroutine", "http", True, "", 62, 28, 0.02, 4096),
    ("c-extension", "epoll in C", "multiplexing", "http", True, "", 3, 7, 0.0, 4096),
    ("fcgi-worker", "our worker", "multiplexing", "fastcgi", True,
     "FastCGI: behind the gateway", 11, 10, 0.01, 4096),
    ("wsgiref", "the standard library's", "third-party", "http", False,
     "closes each connection: a handshake for each request", 240, 110, 0.03, 4096),
]  # fmt: skip

CALLS: Final = {
    "blocking": {"recvfrom": 1.0, "sendto": 1.0},
    "multiplexing": {"epoll_wait": 0.8, "recvfrom": 1.0, "sendto": 1.0},
    "asynchronous": {"io_uring_enter": 1.1},
    "coroutine": {"epoll_wait": 1.0, "recvfrom": 1.0, "sendto": 1.0},
    "third-party": {"accept4": 1.0, "recvfrom": 1.0, "sendto": 2.0, "shutdown": 1.0, "close": 1.0},
}


def make_round(model: Any, route: str, connections: int, noise: float) -> tuple[Round, Times]:
    """One trial of a server that takes so many µs, with so many requests at a time."""
    user, kernel, growth, most = model[6:]
    factor = DRAW.gauss(1, noise) * (1 + growth * connections**0.5 / 3)
    front = {"front": Cost(14 * factor, 11 * factor, 0.9, 31_000_000, 2, 40 + connections)}
    parts = front if model[3] == "fastcgi" else {}
    service = (user + kernel) * factor + (25 if parts else 0)
    own = service / 1e6 + (0.005 if route == "wait" else 0.00003)  # seconds, one at a time
    rate = min(1e6 / service * 0.98, min(connections, most) / own)
    mean_ms = min(connections, most) / rate * 1000
    times = Times()
    count = round(rate)
    for _ in range(400):
        times.add(mean_ms / 1000 * (0.7 + 0.3 * DRAW.expovariate(1)))
    spread = [mean_ms * each for each in (0.9, 1.3, 2.1, 3.6, 6.0 + DRAW.random() * 3)]
    starved = connections > most
    wrong = model[0] == "asyncio" and connections == 512
    cost = {
        **parts,
        "back": Cost(user * factor, kernel * factor, 1.1 if connections < 8 else 0.2,
                     24_000_000 + 9_000 * connections, min(connections, most) + 1,
                     8 + connections),
        "generator": Cost(6.5, 12.5, 0.7, 28_000_000, 1, 12 + connections),
    }  # fmt: skip
    found = Round(
        driver="openloop", seconds=1.0, answered=count, rate=float(count),
        latency=Latency(*spread), asked=connections, established=connections,
        least=0 if starved else round(count / connections * 0.93), mean=count / connections,
        errors={"timeout": connections - most} if starved else {},
        wrong={"body": 16} if wrong else {},
        evidence=["body: 14 bytes: b'Hellu, world!\\n'"] if wrong else [],
        generator_busy=min(0.97, count * 19e-6), cost=cost,
    )  # fmt: skip
    return found, times


def make_taken(model: Any, route: str, connections: int) -> Taken:
    noise = 0.15 if (model[0], connections) == ("io-uring", 512) else 0.02
    pairs = [make_round(model, route, connections, noise) for _ in range(ROUNDS)]
    front = "gateway" if model[3] == "fastcgi" else "none"
    taken = Taken(model[0], front, route, connections, min(connections, 64))
    taken.rounds, taken.histograms = [pair[0] for pair in pairs], [pairs[-1][1].encode()]
    taken.calls_missing = "" if connections == 1 else "no time was left"
    if connections == 1:
        taken.system_calls = {"back": CALLS[model[2]]}
        if model[3] == "fastcgi":
            taken.system_calls["front"] = {"epoll_wait": 0.9, "recvfrom": 2.0, "sendto": 2.0}
    return taken


def make_manifest() -> Manifest:
    return Manifest(
        started="2026-01-01T12:00:00+00:00", seconds=412.0, complete=True,
        command="lab compare --route hello,wait (figures made up, for tests of the report)",
        commit="0000000+", seed=1, rounds=ROUNDS, duration=1.0,
        paths={"hello": "/hello", "wait": "/wait?ms=5"},
        kernel="6.18.0", cpu_model="Made-up CPU @ 2.50GHz", cores=2,
        cpus="2 cores: generator and servers share them", governor="unknown", congestion="bbr",
        limits={"descriptors": "20000", "somaxconn": "4096", "ports": "32768-60999"},
        versions={"python": "3.11.2", "wrk": "4.1.0", "chainlab": "0.1.0"},
    )  # fmt: skip


def make() -> Result:
    taken = [
        make_taken(model, route, connections)
        for route in ("hello", "wait")
        for model in MODELS
        for connections in CONNECTIONS
    ]
    idle = {"back": 9_000.0, "kernel": 9_700.0}
    architectures = [
        Architecture(model[0], model[1], model[2], model[3],
                     "gateway" if model[3] == "fastcgi" else "none", model[4], model[5], "",
                     {**idle, "front": 4_000.0} if model[3] == "fastcgi" else idle)
        for model in MODELS
    ]  # fmt: skip
    lacking = "this kernel has no SIGIO: made up"
    architectures.append(
        Architecture(
            "sigio",
            "signal-driven I/O",
            "signal-driven",
            "http",
            "none",
            True,
            "",
            lacking,
            {},
            lacking,
        )
    )
    taken += [
        Taken(
            "sigio",
            "none",
            route,
            connections,
            min(connections, 64),
            failure=lacking,
            calls_missing=lacking,
        )
        for route in ("hello", "wait")
        for connections in CONNECTIONS
    ]
    cells = [make_cell(each, {"openloop": CEILING}) for each in taken]
    ceiling = Interval(CEILING, 40_100, 42_300)
    return Result(
        manifest=make_manifest(),
        architectures=architectures,
        ceilings=[Ceiling("openloop", number, ceiling) for number in CONNECTIONS],
        cells=cells,
        standings=standings(cells),
        crossings=crossings(cells),
    )


if __name__ == "__main__":
    SAMPLE.write_text(to_json(from_json(to_json(make()))))  # whole numbers become floats
