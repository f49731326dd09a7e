"""Verdicts of made-up numbers, on both sides of each threshold: K1 to K6, M0 to M6."""

from copy import deepcopy
from typing import Any

import pytest

from experiments import k1_address_space as k1
from experiments import k2_crossing as k2
from experiments import k3_switch as k3
from experiments import k4_blocked as k4
from experiments import k5_descriptors as k5
from experiments import k6_copies as k6
from experiments import m0_two_phases as m0
from experiments import m2_nonblocking as m2
from experiments import m3_one_process as m3
from experiments import m4_crossing as m4
from experiments import m5_signal as m5
from experiments import m6_asynchronous as m6
from experiments.frame import CONFIRMED, NOT_MEASURED, REFUTED, Finding, Numbers

Change = tuple[str, Any]
"""Where, as `servers/recv/cpu_seconds`, and what stands there."""


def changed(numbers: Numbers, *changes: Change) -> Numbers:
    copy = deepcopy(numbers)
    for path, value in changes:
        *way, last = path.split("/")
        at: Any = copy
        for step in way:
            at = at[int(step) if isinstance(at, list) else step]
        assert last in at
        at[last] = value
    return copy


def verdicts(findings: list[Finding]) -> list[str]:
    assert all(each.key for each in findings)
    return [each.verdict for each in findings]


K1: Numbers = {
    "kernel_address": "0xffffffff81000000",
    "read_kernel": "SIGSEGV",
    "read_own": "exit 0",
    "write_from_kernel": "EFAULT",
    "write_from_own": "1 byte",
    "highest_mapping": "0x7ffc35d01000",
    "user_bits": 47,
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("user_bits", 47), CONFIRMED),
        (("read_kernel", "exit 0"), REFUTED),
        (("write_from_kernel", "1 byte"), REFUTED),
        (("read_own", "SIGSEGV"), NOT_MEASURED),
    ],
)
def test_k1_the_kernel_half_is_refused(change: Change, verdict: str) -> None:
    assert verdicts(k1.judge(changed(K1, change))) == [verdict]


def test_k1_says_how_much_is_the_user_s() -> None:
    assert "128 TiB" in k1.judge(K1)[0].scope
    assert "64 PiB" in k1.judge(changed(K1, ("user_bits", 56)))[0].scope


@pytest.mark.parametrize(
    ("extra", "verdict"), [(k2.CROSSING_NS, CONFIRMED), (k2.CROSSING_NS - 1, REFUTED)]
)
def test_k2_a_crossing_costs(extra: float, verdict: str) -> None:
    pair = {"function": "f", "function_ns": 100.0, "call": "c", "call_ns": 300.0}
    numbers = {"pairs": [pair, {**pair, "call_ns": 100.0 + extra}]}
    assert verdicts(k2.judge(numbers)) == [verdict]


K3: Numbers = {
    "turns": 1000,
    "processes": {"ns": 300.0, "voluntary": 1000, "involuntary": 0},
    "threads": {"ns": 300.0, "voluntary": 2000, "involuntary": 0},
    "generators": {"ns": 100.0, "voluntary": 0, "involuntary": 0},
    "no switch": {"ns": 200.0, "voluntary": 0, "involuntary": 0},
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("processes/voluntary", 901), CONFIRMED),
        (("processes/voluntary", 1099), CONFIRMED),
        (("processes/voluntary", 899), REFUTED),
        (("processes/voluntary", 1101), REFUTED),
        (("generators/voluntary", 101), REFUTED),
        (("processes/ns", 299.0), REFUTED),
    ],
)
def test_k3_a_switch_for_each_turn(change: Change, verdict: str) -> None:
    assert verdicts(k3.judge(changed(K3, change))) == [verdict]


def k4_server(cpu: float, sleeping: float) -> Numbers:
    return {"cpu_seconds": cpu, "sleeping": sleeping, "voluntary": 0, "answered": True}


K4: Numbers = {
    "seconds": 2.0,
    "servers": {
        "accept": k4_server(0, 1),
        "recv": k4_server(0, 1),
        k4.POLLER: k4_server(0.2, 0),
    },
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("seconds", 2.0), CONFIRMED),
        (("servers/recv/cpu_seconds", 0.01), REFUTED),
        (("servers/recv/sleeping", 0.9), REFUTED),
        (("servers/accept/voluntary", 1), REFUTED),
        ((f"servers/{k4.POLLER}/cpu_seconds", 0.19), NOT_MEASURED),
        (("servers/recv/answered", False), NOT_MEASURED),
    ],
)
def test_k4_a_blocked_process_uses_nothing(change: Change, verdict: str) -> None:
    assert verdicts(k4.judge(changed(K4, change))) == [verdict]


K5: Numbers = {
    "lowest": {"first": 4, "closed": 5, "last": 6, "opened": 5},
    "two_processes": {"number": 4, "here": "ours", "there_number": 4, "there": "theirs"},
    "offset": {"shared": 10, "opened_apart": 0},
    "limit": {
        "limit": 37, "highest": 36, "error": "EMFILE", "looks": 100, "reports": 100,
        "reports_with_reserve": 0, "client_read": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        (("lowest/opened", 7), 0),
        (("two_processes/there", "ours"), 1),
        (("two_processes/there_number", 5), 1),
        (("offset/shared", 0), 2),
        (("offset/opened_apart", 10), 2),
        (("limit/highest", 20), 3),
        (("limit/error", "ENFILE"), 3),
        (("limit/reports", 1), 3),
        (("limit/reports_with_reserve", 1), 3),
    ],
)
def test_k5_each_part_is_judged_by_itself(change: Change, refuted: int) -> None:
    assert verdicts(k5.judge(K5)) == [CONFIRMED] * 4
    found = verdicts(k5.judge(changed(K5, change)))
    assert found == [REFUTED if at == refuted else CONFIRMED for at in range(4)]


def k6_way(cpu: float, crossed: float) -> Numbers:
    return {"cpu_us_per_mib": cpu, "calls_per_mib": 16.0, "crossed": crossed, "disk": 0.0}


K6: Numbers = {
    state: {
        "read, send": k6_way(120, 2), "mmap, send": k6_way(110, 1), "sendfile": k6_way(100, 0),
        "splice": k6_way(100, 0),
    }
    for state in ("warm", "cold")
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("warm/read, send/cpu_us_per_mib", 120.0), CONFIRMED),
        (("warm/read, send/cpu_us_per_mib", 119.0), REFUTED),
        (("warm/read, send/crossed", 1.0), REFUTED),
        (("warm/sendfile/crossed", 1.0), REFUTED),
    ],
)
def test_k6_copies_cost(change: Change, verdict: str) -> None:
    assert verdicts(k6.judge(changed(K6, change))) == [verdict]


def test_k6_says_whether_the_cache_was_cold() -> None:
    assert "did not evict" in k6.judge(K6)[0].scope
    assert "From a cold cache" in k6.judge(changed(K6, ("cold/read, send/disk", 1.0)))[0].scope


def read(**other: Any) -> Numbers:
    """A read that waited 20 ms for its data, and had them 50 µs later."""
    return {
        "call": 0, "told": 20_030_000, "copy": 20_030_000, "done": 20_050_000, "calls": 1,
        "refused": 0, "work": 0, "arrived": 20_000_000, "sent": [0, 0], "states": {"S": 1},
        "cpu": 100_000, "slept": 1, "right": True, **other,
    }  # fmt: skip


M0: Numbers = {
    "delay_ms": 20.0,
    "models": {
        "blocking": read(),
        "nonblocking": read(slept=0),
        "multiplexing": read(calls=2),
        "signal-driven": read(slept=0, work=1000),
        "asynchronous": read(slept=0, work=1000),
    },
    "absent": {},
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("models/blocking/call", 10_000_000), [CONFIRMED, CONFIRMED, CONFIRMED]),
        (("models/nonblocking/call", 10_000_001), [REFUTED, CONFIRMED, CONFIRMED]),
        (("models/signal-driven/done", 19_999_999), [REFUTED, CONFIRMED, CONFIRMED]),
        (("models/multiplexing/right", False), [REFUTED, CONFIRMED, CONFIRMED]),
        (("models/multiplexing/slept", 0), [CONFIRMED, REFUTED, CONFIRMED]),
        (("models/asynchronous/slept", 1), [CONFIRMED, REFUTED, CONFIRMED]),
        (("models/blocking/slept", 0), [CONFIRMED, REFUTED, REFUTED]),
        (("models/blocking/calls", 2), [CONFIRMED, CONFIRMED, REFUTED]),
        (("models/blocking/cpu", 2_005_000), [CONFIRMED, CONFIRMED, CONFIRMED]),
        (("models/blocking/cpu", 2_005_001), [CONFIRMED, CONFIRMED, REFUTED]),
    ],
)
def test_m0_m1_phases_and_who_sleeps(change: Change, verdict: list[str]) -> None:
    assert verdicts(m0.judge(changed(M0, change))) == verdict


def test_m0_a_model_that_is_missing_is_told() -> None:
    models = {name: each for name, each in M0["models"].items() if name != "asynchronous"}
    found = m0.judge({**M0, "models": models, "absent": {"asynchronous": "forbidden"}})
    assert verdicts(found) == [CONFIRMED, CONFIRMED, NOT_MEASURED, CONFIRMED]
    assert found[2].key == "forbidden"


def waits(*refused: int, cpu: float = 5.0, longest: float = 50.0) -> list[Numbers]:
    both = zip((2.0, longest), refused, strict=True)
    return [{"waited_ms": ms, "cpu_ms": cpu, "refused": count} for ms, count in both]


@pytest.mark.parametrize(
    ("asked", "slept", "verdict"),
    [
        (waits(100, 300), waits(0, 0, cpu=1.0), CONFIRMED),
        (waits(100, 299), waits(0, 0, cpu=1.0), REFUTED),
        (waits(100, 300), waits(0, 0, cpu=1.01), REFUTED),
        (waits(100, 300, longest=15.9), waits(0, 0, cpu=1.0), NOT_MEASURED),
        (waits(0, 3), waits(0, 0, cpu=1.0), CONFIRMED),
    ],
)
def test_m2_the_longer_the_more_is_asked(asked: Any, slept: Any, verdict: str) -> None:
    assert verdicts(m2.judge({"nonblocking": asked, "blocking": slept})) == [verdict]


M3: Numbers = {
    "connections": 10,
    "servers": {
        "epoll": {
            "threads": 1, "descriptors": 14, "state": "S", "cpu_seconds": 0.0, "where": "ep_poll",
            "processes": 1, "requests": 10 * m3.ROUNDS,
        },
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("where", "do_epoll_wait"), CONFIRMED),
        (("where", ""), CONFIRMED),
        (("where", "inet_csk_accept"), REFUTED),
        (("threads", 2), REFUTED),
        (("processes", 2), REFUTED),
        (("requests", 49), REFUTED),
        (("state", "R"), REFUTED),
        (("cpu_seconds", 0.01), REFUTED),
    ],
)
def test_m3_one_process_asleep_in_the_multiplexer(change: Change, verdict: str) -> None:
    numbers = changed(M3, (f"servers/epoll/{change[0]}", change[1]))
    assert verdicts(m3.judge(numbers)) == [verdict]


def m4_server(one: float, cpu: dict[int, float], calls: float, spread: float = 1.0) -> Numbers:
    return {
        str(count): {"round_us": one, "calls": calls, "cpu_us": cpu.get(count, 10.0),
                     "processes": 1, "spread": spread}
        for count in m4.CONNECTIONS
    }  # fmt: skip


def m4_numbers(
    multiplexed: float, calls: float, cpu: dict[int, float], spread: float = 1.0
) -> Numbers:
    return {
        "blocking": m4_server(100.0, {}, 2.0, spread),
        **{kind: m4_server(multiplexed, cpu, calls) for kind in m4.MULTIPLEXERS},
    }


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        (m4_numbers(90.0, 3.0, {128: 9.9}), [CONFIRMED, CONFIRMED]),
        (m4_numbers(89.9, 3.0, {128: 9.9}), [REFUTED, CONFIRMED]),
        (m4_numbers(90.0, 2.0, {128: 9.9}), [REFUTED, CONFIRMED]),
        (m4_numbers(89.9, 3.0, {128: 9.9}, 1.2), [REFUTED, CONFIRMED]),
        (m4_numbers(89.9, 3.0, {128: 9.9}, 1.21), [NOT_MEASURED, CONFIRMED]),
        (m4_numbers(89.9, 2.0, {128: 9.9}, 1.21), [REFUTED, CONFIRMED]),
        (m4_numbers(90.0, 3.0, {}), [CONFIRMED, REFUTED]),
        (m4_numbers(90.0, 3.0, {64: 9.9}), [CONFIRMED, REFUTED]),
    ],
)
def test_m4_one_connection_and_many(numbers: Numbers, verdict: list[str]) -> None:
    assert verdicts(m4.judge(numbers)) == verdict


@pytest.mark.parametrize(
    ("cpu", "since"),
    [
        ({1: 9.0, 8: 9.0, 16: 9.0, 32: 9.0, 64: 9.0, 128: 9.0}, "from 8 connections on"),
        (dict.fromkeys(m4.CONNECTIONS, 9.0), "from 1 connection on"),
        ({1: 9.0}, "never"),
    ],
)
def test_m4_the_crossing_is_where_it_stays_cheaper(cpu: dict[int, float], since: str) -> None:
    assert since in m4.judge(m4_numbers(100.0, 3.0, cpu))[1].key


M5: Numbers = {
    "delay_ms": 20.0,
    "read": read(slept=0, work=1000),
    "overflow": {"sockets": 32, "queue": 8, "real_time": 8, "sigio": 1, "ready": 32},
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("read/told", 30_000_000), [CONFIRMED, CONFIRMED]),
        (("read/told", 30_000_001), [REFUTED, CONFIRMED]),
        (("read/told", 19_999_999), [REFUTED, CONFIRMED]),
        (("read/slept", 1), [REFUTED, CONFIRMED]),
        (("read/work", 0), [REFUTED, CONFIRMED]),
        (("overflow/sigio", 0), [CONFIRMED, REFUTED]),
        (("overflow/real_time", 32), [CONFIRMED, REFUTED]),
    ],
)
def test_m5_told_and_not_told(change: Change, verdict: list[str]) -> None:
    assert verdicts(m5.judge(changed(M5, change))) == verdict


M6: Numbers = {"asynchronous": read(slept=0, work=1000), "signal": read(slept=0, work=1000)}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (("work", 1), CONFIRMED),
        (("calls", 2), REFUTED),
        (("slept", 1), REFUTED),
        (("work", 0), REFUTED),
        (("right", False), REFUTED),
        (("done", 19_999_999), REFUTED),
        (("call", 20_000_000), REFUTED),
    ],
)
def test_m6_neither_phase_blocks(change: Change, verdict: str) -> None:
    numbers = changed(M6, (f"asynchronous/{change[0]}", change[1]))
    assert verdicts(m6.judge(numbers)) == [verdict]
