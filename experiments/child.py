"""Run one experiment in this process, within its limits. Do nothing else in the process afterwards.

The kernel limits descriptors, memory and CPU time (setrlimit) of this process and its children.
The parent limits wall time: see running.py.
"""

import resource
import time
import traceback
from contextlib import suppress
from dataclasses import replace

from experiments.frame import Experiment, Limits, NotHere
from experiments.outcome import Outcome, failure, not_here


def run(experiment: Experiment) -> Outcome:
    """Measure and judge."""
    begin = time.monotonic()
    try:
        numbers = experiment.measure(bind(experiment.limits))
        findings = experiment.judge(numbers)
    except NotHere as lack:
        return not_here(experiment, time.monotonic() - begin, lack)
    except Exception as error:  # noqa: BLE001 - any error becomes a finding
        traceback.print_exc()
        at = traceback.extract_tb(error.__traceback__)[-1]
        why = (
            f"the experiment crashed: {type(error).__name__}: {error} (line {at.lineno}, {at.name})"
        )
        return failure(experiment, time.monotonic() - begin, why)
    return Outcome(experiment.key, round(time.monotonic() - begin, 3), findings, numbers)


def bind(limits: Limits) -> Limits:
    """Limit this process; return the limits it actually got."""
    descriptors = _set(resource.RLIMIT_NOFILE, limits.descriptors)
    memory = _set(resource.RLIMIT_AS, limits.memory)
    cpu_seconds = _set(resource.RLIMIT_CPU, limits.cpu_seconds)
    _set(resource.RLIMIT_CORE, 0)  # some experiments crash a child on purpose
    return replace(limits, descriptors=descriptors, memory=memory, cpu_seconds=cpu_seconds)


def _set(which: int, wanted: int) -> int:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        with suppress(ValueError, OSError):  # root may raise the hard limit
            resource.setrlimit(which, (wanted, wanted))
            return wanted
        wanted = hard
    resource.setrlimit(which, (wanted, hard))
    return wanted
