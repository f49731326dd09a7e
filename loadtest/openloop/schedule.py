"""When to send: seconds from the start, in order, for one of the driver's processes.

Constant: request k of all leaves at k / rate, and process p has every k with k mod processes = p.
Poisson: arrivals of many clients that do not know each other; each process draws its own, for the
sum of independent Poisson processes is one. The same seed gives the same times.
Closed: always due; whoever is answered sends again.
"""

import math
import random
from collections.abc import Iterator
from itertools import islice, repeat

from loadtest.openloop.plan import Plan


def times(plan: Plan, part: int) -> Iterator[float]:
    """Yield the intended times of process `part`."""
    return islice(_unlimited(plan, part), plan.share(plan.limit, part))


def _unlimited(plan: Plan, part: int) -> Iterator[float]:
    if plan.rate is None:
        return repeat(0.0)
    if plan.arrivals == "poisson":
        seed = f"{plan.seed} {part} of {plan.processes}"
        return poisson(plan.rate / plan.processes, plan.duration, seed)
    return constant(plan.rate, plan.duration, part, plan.processes)


def constant(rate: float, duration: float, part: int, parts: int) -> Iterator[float]:
    """Yield every `parts`-th time of a constant rate. Multiplied, not added up: no drift."""
    for number in range(part, math.ceil(rate * duration - 1e-6), parts):
        yield number / rate


def poisson(rate: float, duration: float, seed: str) -> Iterator[float]:
    """Yield times whose gaps are exponentially distributed."""
    draw = random.Random(seed).expovariate
    at = draw(rate)
    while at < duration:
        yield at
        at += draw(rate)
