"""Format a result as text, for the terminal."""

from collections.abc import Callable, Iterator

from loadtest.openloop.plan import Plan
from loadtest.openloop.result import PERCENTILES, Result


def lines(plan: Plan, result: Result) -> Iterator[str]:
    """Yield the report line by line."""
    if plan.rate is None:
        mode = "closed loop"
    else:
        mode = f"open loop, {plan.rate:g} requests/s, {plan.arrivals} arrivals"
    kept = "kept connections" if plan.keep else "at a time, one connection per request"
    yield f"{mode}, {plan.connections} {kept}, {plan.processes} driver process(es)"
    yield f"requests   {result.intended} intended, {result.sent} sent, {result.answered} answered"
    yield f"achieved   {result.achieved:.0f}/s over {result.elapsed:.2f} s"
    yield f"latency    {_times(result.latency_us)} from the intended time"
    yield f"lateness   {_times(result.lateness_us)} of the driver itself"
    yield f"waited     {result.waited} found no free connection at their time"
    cpu = sum(each.user + each.system for each in result.cpu)
    busy = ", ".join(f"{each.busy:.0%}" for each in result.cpu)
    waiting = sum(each.waiting for each in result.cpu)
    per_request = cpu / max(result.answered, 1) * 1e6
    yield f"driver     {per_request:.1f} µs of CPU per answer; busy {busy}"
    yield f"           {waiting:.2f} s runnable without a CPU"
    yield _connections(plan, result)
    for name, counts in (("errors", result.errors), ("wrong", result.wrong)):
        yield f"{name:10} {_kinds(counts) or 'none'}"
    for text in result.evidence:
        yield f"           {text}"


def _times(percentile_us: Callable[[float], int]) -> str:
    names = [f"p{each:g}" if each < 100 else "max" for each in PERCENTILES]
    values = [percentile_us(each) / 1000 for each in PERCENTILES]
    pairs = (f"{name} {value:.3f}" for name, value in zip(names, values, strict=True))
    return " ".join(pairs) + " ms"


def _connections(plan: Plan, result: Result) -> str:
    counts = result.per_connection
    mean = sum(counts) / len(counts)
    answers = f"answers on each: least {min(counts)}, mean {mean:.0f}, most {max(counts)}"
    if not plan.keep:
        return f"connected  {result.opened} opened; {answers}"
    text = f"connected  {result.established} of {result.connections} wanted; {answers}"
    kinds = _kinds(result.unconnected)
    return f"{text}; not connected: {kinds}" if kinds else text


def _kinds(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
