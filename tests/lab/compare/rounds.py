"""Rounds for the tests of rules: all is well in them, but what a test changes."""

from dataclasses import replace
from typing import Any, Final

from lab.compare.result import Cost, Latency, Round

GOOD: Final = Round(
    driver="openloop", seconds=1.0, answered=1000, rate=1000.0,
    latency=Latency(1.0, 2.0, 3.0, 4.0, 5.0), asked=8, established=8, least=110, mean=125.0,
    errors={}, wrong={}, evidence=[], generator_busy=0.3,
    cost={"back": Cost(30.0, 20.0), "generator": Cost(10.0, 10.0)},
)  # fmt: skip


def rounds(*rates: float, **changed: Any) -> list[Round]:
    """Return a round for each rate, five of 1000/s when none is given."""
    given = rates or (1000.0,) * 5
    return [replace(GOOD, **{"rate": float(rate), **changed}) for rate in given]
