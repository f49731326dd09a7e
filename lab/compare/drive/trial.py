"""One trial: load on a running instance, and its cost in each part.

A trial begins when the server has accepted its clients (resource_usage.settle), whatever its
architecture. openloop has connected its clients by then. The clients of wrk and locust connect with
their first request, so their figures, which do not count for the ranking, include the server's
start-up.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from lab.compare.drive import drivers
from lab.compare.drive.drivers import Trial
from lab.compare.drive.locust_driver import drive_locust
from lab.compare.drive.targets import Instance
from lab.compare.measure import resource_usage
from lab.compare.result import Round
from lab.compare.settings import Route
from loadtest import manifest

APART: Final = 4
"""With at least so many cores, the generator has its own: one in four."""

Drive = Callable[[Trial, drivers.Mark], tuple[Round, str]]


def by_openloop(trial: Trial, mark: drivers.Mark) -> tuple[Round, str]:
    """Run a trial by openloop."""
    return drivers.drive(trial, mark)


def by_wrk(trial: Trial, mark: drivers.Mark) -> tuple[Round, str]:
    """Run a trial by wrk, which returns no histogram."""
    return drivers.drive_wrk(trial, mark), ""


def by_locust(trial: Trial, mark: drivers.Mark) -> tuple[Round, str]:
    """Run a trial by locust; its latencies are in the round, not in a histogram."""
    return drive_locust(trial, mark), ""


class Cores:
    """Which cores the generator and the servers run on."""

    def __init__(self, cores: list[int]) -> None:
        count = len(cores) // APART
        self.generator = cores[-count:] if count else cores
        self.servers = cores[:-count] if count else cores

    @classmethod
    def here(cls) -> "Cores":
        """Divide the cores that this process may use."""
        return cls(manifest.cores())

    @property
    def processes(self) -> int:
        """The number of generator processes: one, or one per core of its own."""
        return 1 if self.generator == self.servers else len(self.generator)

    def __str__(self) -> str:
        if self.generator == self.servers:
            return f"{len(self.servers)} cores: generator and servers share them"
        return f"generator on cores {_joined(self.generator)}, servers on {_joined(self.servers)}"


def _joined(cores: list[int]) -> str:
    return ", ".join(map(str, cores))


@contextmanager
def on(cores: list[int]) -> Iterator[None]:
    """Run processes started in this block on `cores`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def take(
    instance: Instance,
    route: Route,
    connections: int,
    rate: float | None,
    seconds: float,
    cores: Cores,
    drive: Drive,
) -> tuple[Round, str]:
    """Put load on an instance; return the round with its cost, and its histogram."""
    marks: list[dict[str, resource_usage.Used | None]] = []
    settled = True

    def mark() -> None:
        nonlocal settled
        if not marks:
            settled = wait_until_settled(instance)
        marks.append({name: resource_usage.used(part) for name, part in instance.parts.items()})

    trial = Trial(
        url=instance.url + route.path,
        body=route.body,
        connections=connections,
        seconds=seconds,
        rate=rate,
        processes=cores.processes,
    )
    with on(cores.generator):
        found, histogram = drive(trial, mark)
    costs = {}
    for name in instance.parts:
        spent = resource_usage.cost(marks[0][name], marks[-1][name], found.answered)
        if spent is not None:
            costs[name] = spent
    if len(costs) < len(instance.parts):
        costs = {}  # a part is gone: the rest must not pass for the whole cost
    return replace(found, cost={**costs, **found.cost}, settled=settled), histogram


def wait_until_settled(instance: Instance) -> bool:
    """Wait until an instance has accepted the connected clients; False if it has not in time."""
    return resource_usage.settle(instance.parts.values(), urlsplit(instance.url).port or 0)
