"""When to send: seconds from the start, in order, for one driver process.

Constant: request k of all is sent at k / rate; process p sends every k with k mod processes = p.
Poisson: arrivals of many independent clients. Each process draws its own, because the sum of
independent Poisson processes is a Poisson process. The same seed gives the same times.
Closed: always due; a connection sends again as soon as it is answered.
"""

import math
import random
from collections.abc import Iterator
from itertools import islice, repeat

from loadtest.openloop.plan import Plan


def times(plan: Plan, worker_id: int) -> Iterator[float]:
    """Yield the intended times of process `worker_id`."""
    return islice(_unlimited(plan, worker_id), plan.share(plan.limit, worker_id))


def _unlimited(plan: Plan, worker_id: int) -> Iterator[float]:
    if plan.rate is None:
        return repeat(0.0)
    if plan.arrivals == "poisson":
        seed = f"{plan.seed} {worker_id} of {plan.processes}"
        return poisson(plan.rate / plan.processes, plan.duration, seed)
    return constant(plan.rate, plan.duration, worker_id, plan.processes)


def constant(rate: float, duration: float, worker_id: int, workers: int) -> Iterator[float]:
    """Yield every `workers`-th time of a constant rate; computed without accumulating, no drift."""
    for number in range(worker_id, math.ceil(rate * duration - 1e-6), workers):
        yield number / rate


def poisson(rate: float, duration: float, seed: str) -> Iterator[float]:
    """Yield times whose gaps are exponentially distributed."""
    draw = random.Random(seed).expovariate
    at = draw(rate)
    while at < duration:
        yield at
        at += draw(rate)
