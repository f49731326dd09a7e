"""One turn of load, as a Round: by openloop, which verifies every answer, or by wrk.

wrk costs a third of openloop's CPU per request, so it goes where openloop is at its end; it looks
at the status alone, and in a closed loop only. Both begin with new connections in each turn.

`mark` is called before and after, for whoever reads what the servers have used meanwhile: with
openloop between connecting and asking, and again while all is connected still; around wrk's whole
life otherwise, connecting included.
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
_PATIENCE: Final = 30.0  # seconds for wrk to end when told

Mark = Callable[[], None]


class NotDriven(RuntimeError):
    """No load was put on it; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to send, to whom, for how long."""

    url: str
    body: bytes
    """What every answer must be."""
    connections: int
    seconds: float
    rate: float | None = None
    timeout: float = 2.0
    processes: int = 1


def drive(turn: Trial, mark: Mark) -> tuple[Round, str]:
    """Put openloop on it; return the round without the servers' cost, and its histogram."""
    try:
        target = openloop.parse_target(turn.url)
        plan = Plan(
            target=target,
            request=openloop.make_request(target),
            expected=turn.body,
            rate=turn.rate,
            duration=turn.seconds,
            connections=turn.connections,
            processes=min(turn.processes, turn.connections),
            timeout=turn.timeout,
        )
        found = openloop.run(plan, mark)
    except (openloop.PlanError, openloop.DriverFailed) as error:
        raise NotDriven(str(error)) from None
    user, kernel = (sum(getattr(cpu, kind) for cpu in found.cpu) for kind in ("user", "system"))
    return Round(
        driver=OPENLOOP,
        seconds=found.elapsed,
        answered=found.answered,
        rate=_achieved(found, turn),
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
    """Return the generator's cost per request, of CPU seconds in user and kernel mode."""
    per = 1e6 / max(answered, 1)
    return {"generator": Cost(user * per, kernel * per)}


def _achieved(found: openloop.Result, turn: Trial) -> float:
    """Return the answers per second.

    In an open loop the last answer comes after the last intended time, however fast the server is:
    of a short turn that is percents. What the fastest answer took is therefore not counted.
    """
    if turn.rate is None:
        return found.achieved
    late = found.elapsed - found.latency_us(0) / 1e6
    return found.answered / max(turn.seconds, late)


def warm(turn: Trial) -> None:
    """Put load on it that counts for nothing: by wrk where it is, for it is there at once."""
    if wrk_missing():
        drive(turn, lambda: None)
    else:
        drive_wrk(turn, lambda: None)


def wrk_missing() -> bool:
    """Whether wrk is not installed."""
    return shutil.which(WRK) is None


def drive_wrk(turn: Trial, mark: Mark) -> Round:
    """Put wrk on it; return the round without the servers' cost."""
    command = [WRK, "-t1", f"-c{turn.connections}", "-d600", f"--timeout={turn.timeout:g}"]
    mark()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = _for_a_time([*command, "-s", str(_SCRIPT), turn.url], turn.seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    mark()
    return read_wrk(said, turn, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


def _for_a_time(command: list[str], seconds: float) -> str:
    """Run wrk for a fraction of a second too: it takes whole ones, and ends well by SIGINT."""
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


def read_wrk(said: str, turn: Trial, user: float, kernel: float) -> Round:
    """Return the round that wrk.lua's line tells; NotDriven when it tells none."""
    try:
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise NotDriven(f"wrk: {said.strip() or 'it said nothing'}") from None
    seconds, answered = found["duration"] / 1e6, found["requests"]
    errors = {kind: found[kind] for kind in ("connect", "read", "write", "timeout")}
    return Round(
        driver=WRK,
        seconds=seconds,
        answered=answered,
        rate=answered / seconds if seconds else 0.0,
        latency=Latency(*(found[name] / 1000 for name in ("p50", "p90", "p99", "p999", "max"))),
        asked=turn.connections,
        established=turn.connections - found["connect"],
        least=None,
        mean=None,
        errors={kind: count for kind, count in errors.items() if count},
        wrong={"status": found["status"]} if found["status"] else {},
        evidence=[],
        generator_busy=(user + kernel) / seconds if seconds else 0.0,
        cost=own_cost(user, kernel, answered),
    )
