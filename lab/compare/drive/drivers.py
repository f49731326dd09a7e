"""Puts one trial of load on a target and returns a Round: by openloop or by wrk.

openloop verifies every answer. wrk costs a third of its CPU per request, so it runs where openloop
is the bottleneck; but wrk checks only the status, and has only a closed loop. Both open new
connections for each trial.

`mark` is called before and after the load, so that the caller can read what the servers used in
between. openloop calls it after connecting and again before disconnecting; for wrk, the two calls
surround its whole run, including its connects.
"""

import json
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from lab.chain.processes import end
from lab.compare.result import Cost, Latency, Round
from loadtest import openloop
from loadtest.openloop.plan import Plan

WRK: Final = "wrk"
OPENLOOP: Final = "openloop"
_SCRIPT: Final = Path(__file__).with_name("wrk.lua")
_PATIENCE: Final = 30.0  # seconds for wrk to end after SIGINT

Mark = Callable[[], None]


class NotDriven(RuntimeError):
    """The driver could not put load on the target; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to send, where, and for how long."""

    url: str
    body: bytes
    """The body that every answer must have."""
    connections: int
    seconds: float
    rate: float | None = None
    timeout: float = 2.0
    processes: int = 1


def drive(trial: Trial, mark: Mark) -> tuple[Round, str]:
    """Run a trial by openloop; return the round without the servers' cost, and its histogram."""
    try:
        target = openloop.parse_target(trial.url)
        plan = Plan(
            target=target,
            request=openloop.make_request(target),
            expected=trial.body,
            rate=trial.rate,
            duration=trial.seconds,
            connections=trial.connections,
            processes=min(trial.processes, trial.connections),
            timeout=trial.timeout,
        )
        found = openloop.run(plan, mark)
    except (openloop.PlanError, openloop.DriverFailed) as error:
        raise NotDriven(str(error)) from None
    user, kernel = (sum(getattr(cpu, kind) for cpu in found.cpu) for kind in ("user", "system"))
    return Round(
        driver=OPENLOOP,
        seconds=found.elapsed,
        answered=found.answered,
        rate=_achieved(found, trial),
        latency=latency_of(found.latency),
        asked=found.connections,
        established=found.established,
        least=min(found.per_connection),
        mean=found.answered / found.connections,
        errors=found.errors,
        wrong=found.wrong,
        evidence=found.evidence,
        generator_busy=max((cpu.user + cpu.system) / cpu.elapsed for cpu in found.cpu),
        cost=own_cost(user, kernel, found.answered),
    ), found.latency


def latency_of(histogram: str) -> Latency:
    """Return the percentiles of an encoded histogram of µs."""
    times = HdrHistogram.decode(histogram)
    return Latency(*(times.get_value_at_percentile(p) / 1000 for p in (50, 90, 99, 99.9, 100)))


def own_cost(user: float, kernel: float, answered: int) -> dict[str, Cost]:
    """Return the generator's cost per request, from its CPU seconds in user and kernel mode."""
    per = 1e6 / max(answered, 1)
    return {"generator": Cost(user * per, kernel * per)}


def _achieved(found: openloop.Result, trial: Trial) -> float:
    """Return the answers per second.

    In an open loop the last answer comes after the last intended time, however fast the server is.
    In a short trial this is some percent, so the time of the fastest answer is not counted.
    """
    if trial.rate is None:
        return found.achieved
    late = found.elapsed - found.latency_us(0) / 1e6
    return found.answered / max(trial.seconds, late)


def warm(trial: Trial) -> None:
    """Put load on a target without counting it; by wrk if installed, because it starts at once."""
    if wrk_missing():
        drive(trial, lambda: None)
    else:
        drive_wrk(trial, lambda: None)


def wrk_missing() -> bool:
    """Whether wrk is not installed."""
    return shutil.which(WRK) is None


def drive_wrk(trial: Trial, mark: Mark) -> Round:
    """Run a trial by wrk; return the round without the servers' cost."""
    command = [WRK, "-t1", f"-c{trial.connections}", "-d600", f"--timeout={trial.timeout:g}"]
    mark()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = _run_for([*command, "-s", str(_SCRIPT), trial.url], trial.seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    mark()
    user, kernel = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return read_wrk(output, trial, user, kernel)


def _run_for(command: list[str], seconds: float) -> str:
    """Run wrk for `seconds`, then stop it by SIGINT: its -d takes only whole seconds."""
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            return process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            return end(process, _PATIENCE)[1]
        except BaseException:
            process.kill()
            raise


def read_wrk(output: str, trial: Trial, user: float, kernel: float) -> Round:
    """Return the round from wrk.lua's line; NotDriven, with wrk's output, if there is none."""
    try:
        found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise NotDriven(f"wrk: {output.strip() or 'no output'}") from None
    seconds, answered = found["duration"] / 1e6, found["requests"]
    errors = {kind: found[kind] for kind in ("connect", "read", "write", "timeout")}
    return Round(
        driver=WRK,
        seconds=seconds,
        answered=answered,
        rate=answered / seconds if seconds else 0.0,
        latency=Latency(*(found[name] / 1000 for name in ("p50", "p90", "p99", "p999", "max"))),
        asked=trial.connections,
        established=trial.connections - found["connect"],
        least=None,
        mean=None,
        errors={kind: count for kind, count in errors.items() if count},
        wrong={"status": found["status"]} if found["status"] else {},
        evidence=[],
        generator_busy=(user + kernel) / seconds if seconds else 0.0,
        cost=own_cost(user, kernel, answered),
    )
