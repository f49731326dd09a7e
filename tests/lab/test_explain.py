"""`lab explain`: one screen for each, and calls per request that are counted, not claimed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.chain.backends import BACKENDS, Backend
from lab.explain import WIDTH, lines, measured_calls
from lab.trace import syscall_counts as system_calls
from tests.support.lab import Lab

ROOT = Path(__file__).parents[2]

SUMMARY = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000300           1       300           epoll_wait
 40.00    0.000200           1       200       100 recvfrom
  0.00    0.000000           0         1           execve
------ ----------- ----------- --------- --------- ----------------
100.00    0.000500           1       501       100 total
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        yield found


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)
def test_it_is_one_screen_and_says_all(backend: Backend) -> None:
    calls = "  ".join(f"a_system_call_{number} 1.25" for number in range(12))
    screen = [line.plain for line in lines(backend, calls, WIDTH)]
    assert len(screen) <= 24
    assert max(map(len, screen)) <= WIDTH
    text = "\n".join(screen)
    spec = backend.spec
    assert len(spec.model) <= 5
    told = (spec.title, *spec.model, *spec.sleeps, spec.good, spec.bad, *spec.limits, spec.source)
    flat = " ".join(text.split())
    assert [one for one in told if " ".join(one.split()) not in flat] == []
    assert all(claim in text for claim in spec.claims)
    assert (ROOT / spec.source).exists()
    assert set(spec.neighbours) <= set(BACKENDS)


def test_the_summary_of_strace() -> None:
    assert system_calls.read_summary(SUMMARY) == {"epoll_wait": 300, "recvfrom": 200, "execve": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iterative", ("recvfrom", "sendto")),
        ("epoll-lt", ("epoll_wait", "recvfrom", "sendto")),
        ("fcgi-worker", ("epoll_wait", "read", "write", "epoll_ctl")),
        ("io-uring", ("io_uring_enter",)),
    ],
)
def test_calls_per_request(name: str, expected: tuple[str, ...]) -> None:
    backend = BACKENDS[name]
    if reason := system_calls.unavailable() or backend.unavailable():
        pytest.skip(reason)
    rates = system_calls.count_per_request(backend)
    assert set(expected) <= set(rates)
    assert all(0.5 <= rates[call] <= 3 for call in expected), rates
    assert all(rate < 3 for rate in rates.values()), rates


def test_without_strace_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    backend = BACKENDS["iterative"]
    calls = measured_calls(backend)
    assert calls == "not measured: strace is not installed: run sudo apt install strace"
    assert calls in "\n".join(line.plain for line in lines(backend, calls, WIDTH))


def test_the_command(lab: Lab) -> None:
    shown = lab.good("explain", "epoll-lt")
    assert shown.startswith("epoll-lt: readiness by epoll")
    assert "servers/multiplexing/epoll_level.py" in shown
    refused = lab.run("explain", "apache")
    assert refused.returncode == 1
    assert "neither an architecture nor a claim" in refused.stderr
