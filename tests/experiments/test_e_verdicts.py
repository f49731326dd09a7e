"""Verdicts on select, poll and epoll from made-up numbers, on both sides of each threshold."""

import copy
from typing import Any

import pytest

from experiments import e14_events, poller_verdicts
from experiments.catalogue import find
from experiments.frame import CONFIRMED, REFUTED

Numbers = dict[str, Any]

READY = {
    "watched": 5, "bits_in": [5, 1, 5], "bits_out": [1, 1, 1], "said": 3, "walked": 30,
    "found": [[4], [5], [9]], "expected": [[4], [5], [9]], "epoll_returned": 3,
}  # fmt: skip
LIMITED = {
    "language": {"1023": "ready", "1024": "ValueError: out of range", "1500": "ValueError: …"},
    "kernel": {"1023": "ready", "1024": "ready", "1500": "ready"},
    "poll": {"1023": "ready", "1024": "ready", "1500": "ready"},
}
ARRAY = {
    "entry_bytes": 8, "pointer_bytes": 8, "entries": 8,
    "said": 2, "ready": [1, 6], "one_more": "EFAULT",
}  # fmt: skip
PORTABLE = {
    "system": "Linux",
    "works": {"select": True, "poll": True, "epoll": True, "devpoll": False, "kqueue": False},
    "unconditional": ["SelectSelector"],
}
SIZED = {
    "size": 1, "added": 100, "maxevents": 100, "events": 100,
    "size_0": "EINVAL", "maxevents_0": "EINVAL", "maxevents_beyond": "EINVAL",
}  # fmt: skip
LEAKED = {
    "link": "anon_inode:[eventpoll]", "before": 5, "with_one": 6, "after_close": 5, "limit": 256,
    "leaked": 251, "leak_error": "EMFILE", "open_error": "EMFILE", "after_leak": 5,
    "open_again": "opened",
}  # fmt: skip
TIMED = {
    "look_us": 0.4, "look_events": 0, "wait_ms": 310.0, "wait_cpu_ms": 0.1, "wait_events": 1,
    "states": {"S": 50}, "woke_after_send_us": 90.0,
}  # fmt: skip
REPORTED = {
    "arrival": 4096, "step": 1024,
    "level": {"left": [4096, 3072, 2048, 1024, 0], "reports": [0, 1, 2, 3]},
    "edge": {"left": [4096, 3072, 2048, 1024, 0], "reports": [0]},
    "stalled": {"first": 1, "while_waiting": 0, "waited": 0.3, "left": 3072, "after_more": 1},
}  # fmt: skip
STARVED = {
    "blocking": {"waited_ms": 300.0, "reads_before": 1},
    "blocking_cured": {"waited_ms": 0.2, "reads_before": 1},
    "endless": {"waited_ms": 200.0, "reads_before": 2048},
    "endless_cured": {"waited_ms": 0.2, "reads_before": 1},
    "flood_reads": 2048, "hold_ms": 300.0,
}  # fmt: skip
NOTIFIED = {
    "requests": 640, "piece": 4096,
    "rows": [
        {"reads": 0.5, "level": {"reports": 1.0, "reads": 1.0, "waits": 0.1},
         "edge": {"reports": 1.0, "reads": 1.0, "waits": 0.1}},
        {"reads": 16, "level": {"reports": 16.0, "reads": 16.0, "waits": 1.0},
         "edge": {"reports": 1.0, "reads": 17.0, "waits": 0.1}},
    ],
}  # fmt: skip
ARMED = {
    "threads": 4, "messages": 40, "alone": {"first": 1, "more": 0, "armed_again": 1},
    "modes": {
        "level": {"reports": 60, "double": 40, "found_nothing": 20, "rearmed": 0},
        "edge": {"reports": 50, "double": 20, "found_nothing": 5, "rearmed": 0},
        "oneshot": {"reports": 40, "double": 0, "found_nothing": 0, "rearmed": 40},
    },
}  # fmt: skip
RAISED = {
    "cases": {
        name: {"event": name, "before": [], "after": [name], "errno": None}
        for name in e14_events.NAMES
    }
}


@pytest.mark.parametrize(
    ("claim", "numbers", "changed", "verdicts"),
    [
        ("E1", READY, {}, [CONFIRMED]),
        ("E1", READY, {"found": [[4], [5], []]}, [REFUTED]),
        ("E1", READY, {"bits_out": [5, 1, 5]}, [REFUTED]),
        ("E1", READY, {"walked": 3}, [REFUTED]),
        ("E2", LIMITED, {}, [CONFIRMED]),
        ("E2", LIMITED, {"language.1024": "ready"}, [REFUTED]),
        ("E2", LIMITED, {"language.1023": "ValueError: …"}, [REFUTED]),
        ("E5", ARRAY, {}, [REFUTED]),
        ("E5", ARRAY, {"one_more": "2"}, [CONFIRMED]),
        ("E5", ARRAY, {"ready": [1]}, [CONFIRMED]),
        ("E6", PORTABLE, {}, [CONFIRMED]),
        ("E6", PORTABLE, {"works.select": False}, [REFUTED]),
        ("E6", PORTABLE, {"unconditional": ["SelectSelector", "PollSelector"]}, [REFUTED]),
        ("E7", SIZED, {}, [CONFIRMED, REFUTED]),
        ("E7", SIZED, {"events": 1}, [CONFIRMED, CONFIRMED]),
        ("E7", SIZED, {"added": 1}, [REFUTED, REFUTED]),
        ("E8", LEAKED, {}, [CONFIRMED]),
        ("E8", LEAKED, {"with_one": 5}, [REFUTED]),
        ("E8", LEAKED, {"leak_error": "none"}, [REFUTED]),
        ("E8", LEAKED, {"open_again": "EMFILE"}, [REFUTED]),
        ("E9", TIMED, {"look_us": 999.0}, [CONFIRMED]),
        ("E9", TIMED, {"look_us": 1001.0}, [REFUTED]),
        ("E9", TIMED, {"states": {"R": 1, "S": 49}}, [REFUTED]),
        ("E9", TIMED, {"woke_after_send_us": -5.0}, [REFUTED]),
        ("E10", REPORTED, {}, [CONFIRMED]),
        ("E10", REPORTED, {"level.reports": [0]}, [REFUTED]),
        ("E10", REPORTED, {"edge.reports": [0, 1]}, [REFUTED]),
        ("E10", REPORTED, {"stalled.while_waiting": 1}, [REFUTED]),
        ("E11", STARVED, {}, [CONFIRMED]),
        ("E11", STARVED, {"blocking.waited_ms": 149.0}, [REFUTED]),
        ("E11", STARVED, {"blocking_cured.waited_ms": 151.0}, [REFUTED]),
        ("E11", STARVED, {"endless.reads_before": 64}, [CONFIRMED]),
        ("E11", STARVED, {"endless.reads_before": 63}, [REFUTED]),
        ("E11", STARVED, {"endless_cured.reads_before": 2}, [CONFIRMED]),
        ("E11", STARVED, {"endless_cured.reads_before": 3}, [REFUTED]),
        ("E12", NOTIFIED, {"rows.1.edge.reports": 14.3}, [CONFIRMED]),
        ("E12", NOTIFIED, {"rows.1.edge.reports": 14.5}, [REFUTED]),
        ("E13", ARMED, {}, [CONFIRMED]),
        ("E13", ARMED, {"modes.oneshot.double": 1}, [REFUTED]),
        ("E13", ARMED, {"modes.level.double": 0}, [REFUTED]),
        ("E13", ARMED, {"alone.more": 1}, [REFUTED]),
        ("E14", RAISED, {}, [CONFIRMED]),
        ("E14", RAISED, {"cases.EPOLLPRI.after": ["EPOLLIN"]}, [REFUTED]),
        ("E14", RAISED, {"cases.EPOLLHUP.before": ["EPOLLHUP"]}, [REFUTED]),
    ],
)
def test_the_verdict_follows_the_numbers(
    claim: str, numbers: Numbers, changed: Numbers, verdicts: list[str]
) -> None:
    found = find(claim).judge(with_changes(numbers, changed))
    assert [each.verdict for each in found] == verdicts
    assert all(each.key for each in found)


def with_changes(numbers: Numbers, changed: Numbers) -> Numbers:
    """Return a copy in which what a path of keys and places leads to is another value."""
    whole: Any = copy.deepcopy(numbers)
    for path, value in changed.items():
        *way, last = path.split(".")
        place = whole
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value
    made: Numbers = whole
    return made


def curves(poll_power: float, epoll_power: float, epoll_each: float = 0.0) -> Numbers:
    """Costs that follow the number of idle connections to given powers."""
    rows = [
        {
            "idle": size,
            "select": size**poll_power / 10 if size < 1000 else None,
            "poll": size**poll_power / 10,
            "epoll": size**epoll_power + epoll_each * size,
            "add": 1.5,
            "watched": size + 1,
            "handed_out": 1,
        }
        for size in (10, 100, 300, 900, 3000, 10000, 19000)
    ]
    return {
        "rows": rows,
        "by_ready": [[count, 1 + count / 10] for count in (1, 10, 100, 1000)],
        "beside": 900,
        "epoll_ctl": {"modify": 1.0, "delete": 1.0},
        "order": {"arrived": [2, 0, 1], "epoll": [2, 0, 1], "poll": [0, 1, 2]},
    }


@pytest.mark.parametrize(
    ("numbers", "verdicts"),
    [
        (curves(1, 0), [CONFIRMED, CONFIRMED, CONFIRMED]),
        (curves(0.51, 0), [CONFIRMED, CONFIRMED, CONFIRMED]),
        (curves(0.49, 0), [REFUTED, CONFIRMED, CONFIRMED]),
        (curves(1, 0.49), [CONFIRMED, CONFIRMED, CONFIRMED]),
        (curves(1, 0.6), [CONFIRMED, REFUTED, REFUTED]),
        (curves(1, 0, epoll_each=0.02), [CONFIRMED, REFUTED, REFUTED]),  # ns 20 of 100
        ({**curves(1, 0), "order": {"arrived": [2, 0, 1], "epoll": [0, 1, 2], "poll": [0, 1, 2]}},
         [CONFIRMED, CONFIRMED, REFUTED]),
    ],
)  # fmt: skip
def test_pollers_are_judged_by_how_their_costs_grow(numbers: Numbers, verdicts: list[str]) -> None:
    found = poller_verdicts.judge(numbers)
    assert [each.claim for each in found] == ["E3", "E4", "E15"]
    assert [each.verdict for each in found] == verdicts
    assert [chart.key for chart in poller_verdicts.figures(numbers)] == ["e3-cost", "e3-follows"]


def test_the_fitted_slope_is_that_of_the_line() -> None:
    numbers = curves(1, 0)
    found = poller_verdicts.points(numbers["rows"], "poll")
    assert poller_verdicts.slope(found) == pytest.approx(100)  # 0.1 µs each
    assert poller_verdicts.power(found)[0] == pytest.approx(1)
