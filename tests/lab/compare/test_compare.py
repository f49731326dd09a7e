"""`lab compare`: small real runs, and what comes of them."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lab.chain.processes import free_port
from lab.chain.rundir import RunDir
from lab.compare.drive.drivers import NotDriven, Trial, drive, read_wrk
from lab.compare.drive.levels import CLOSED, SHARES, Level, level_of
from lab.compare.drive.locust_driver import drive_locust
from lab.compare.drive.session import Session
from lab.compare.drive.targets import Target
from lab.compare.measure import syscalls_and_memory
from lab.compare.outcome import make_result
from lab.compare.result import from_json, to_json
from lab.compare.settings import ROUTES, Settings
from tests.lab.compare.comparing import (
    ODD,
    backend,
    by_name,
    compare,
    described,
    odd,
    open_loop,
    settings,
)
from tests.support.processes import Process

pytestmark = pytest.mark.long


def test_every_kind_is_measured_with_its_cost(tmp_path: Path, baseline: Target) -> None:
    names = ("epoll-lt", "fcgi-worker", "wsgiref", "busy-poll")
    result = compare(tmp_path, settings(rounds=2), *map(backend, names), baseline=baseline)
    cells = by_name(result)
    assert list(cells) == list(names)
    for cell in cells.values():
        assert cell.verdict in ("noisy", "generator-bound"), cell.checks
        assert [each.driver for each in cell.rounds[:2]] == ["openloop"] * 2
        parts = {"front", "back", "generator"} if cell.front == "gateway" else {"back", "generator"}
        for each in cell.rounds:
            assert each.answered > 0
            assert set(each.cost) == parts
            assert all(cost.user_us + cost.kernel_us > 0 for cost in each.cost.values())
    held = cells["epoll-lt"].rounds[0].cost["back"]
    assert held.descriptors is not None
    assert held.descriptors >= 4 + 3, "read while the clients are connected"
    assert held.threads == 1
    assert cells["fcgi-worker"].front == "gateway"
    assert result.ceilings[0].connections == 4
    assert len(result.standings) == 2


def test_the_order_is_drawn_anew_and_repeats_with_its_seed(tmp_path: Path) -> None:
    def order(seed: int) -> list[str]:
        told: list[str] = []
        plan = Settings({"hello": ROUTES["hello"]}, (1,), 4, 0.1, 1.0, seed=seed, quick=True)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        names = [backend(name) for name in ("epoll-lt", "select", "poll")]
        Session(plan, names, None, folder, lambda what, _: told.append(what)).run()
        return [what for what in told if "round" in what]

    first = order(1)
    assert first == order(1)
    rounds = [sorted(first[at : at + 3]) for at in range(0, 12, 3)]
    assert all(len({what.split(": ")[1] for what in each}) == 3 for each in rounds), "interleaved"
    orders = {tuple(what.split(": ")[1] for what in first[at : at + 3]) for at in range(0, 12, 3)}
    assert len(orders) > 1


def test_calls_and_idle_connections_are_measured(tmp_path: Path) -> None:
    if not syscalls_and_memory.events():
        pytest.skip(syscalls_and_memory.lacking())
    result = compare(tmp_path, settings(deeply=True), backend("epoll-lt"), backend("fcgi-worker"))
    cells = by_name(result)
    calls = cells["epoll-lt"].system_calls
    assert calls["back"]["recvfrom"] == pytest.approx(1, abs=0.1)
    assert calls["back"]["sendto"] == pytest.approx(1, abs=0.1)
    assert set(cells["fcgi-worker"].system_calls) == {"front", "back"}
    assert all(cell.calls_missing == "" for cell in cells.values())
    idle = result.architectures[0].idle_bytes["back"]
    assert 0 < idle < 20_000


@pytest.fixture
def without_perf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without perf, as long as the test lasts."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    syscalls_and_memory.find.cache_clear()
    yield
    syscalls_and_memory.find.cache_clear()


@pytest.mark.usefixtures("without_perf")
def test_what_was_not_measured_says_why(tmp_path: Path) -> None:
    missing = replace(described("missing"), unavailable="it is not installed")
    absent = replace(backend("epoll-lt"), described=missing)
    result = compare(tmp_path, settings(deeply=True), backend("epoll-lt"), absent)
    perf = "perf is not installed: sudo apt install linux-perf"
    assert [cell.calls_missing for cell in result.cells] == [perf, "it is not installed"]
    able, absent_one = result.architectures
    assert able.idle_bytes["back"] > 0
    assert able.idle_missing == "" or "kernel" not in able.idle_bytes
    assert absent_one.idle_missing == "it is not installed"


def test_what_was_left_out_says_so(tmp_path: Path) -> None:
    quick = compare(tmp_path, settings(), backend("epoll-lt"))
    (tmp_path / "late").mkdir()
    plan = replace(settings(deeply=True), allowed=0.0)
    late = compare(tmp_path / "late", plan, backend("epoll-lt"))
    told = [
        (each.cells[0].calls_missing, each.architectures[0].idle_missing) for each in (quick, late)
    ]
    assert told[0] == ("--quick skips it",) * 2
    if syscalls_and_memory.events():
        assert told[1] == ("no time was left",) * 2


def test_locust_is_a_witness_and_gives_nobody_a_place(tmp_path: Path) -> None:
    plan = replace(settings(deeply=True), duration=1.5)
    result = compare(tmp_path, plan, backend("epoll-lt"), backend("wsgiref"))
    for cell in result.cells:
        (own, witness) = cell.rounds
        assert (own.driver, witness.driver) == ("openloop", "locust")
        assert witness.answered > 0
        assert witness.errors == witness.wrong == {}
        assert 0 < witness.latency.p50_ms <= witness.latency.p99_ms <= witness.latency.max_ms
        assert set(witness.cost) == {"back", "generator"}
        assert cell.summary
        assert cell.summary.driver == "openloop"
        assert any(note.startswith("by locust ") for note in cell.notes), cell.notes


def test_locust_finds_a_wrong_answer_and_one_that_never_comes() -> None:
    with Process([sys.executable, str(ODD), "hello"]) as process:
        url = f"http://{process.wait_until_listening()}"
        found = drive_locust(Trial(f"{url}/hello", b"Hello, world?\n", 2, 1.0), lambda: None)
    assert found.wrong["body"] > 0
    assert found.wrong == {"body": found.answered}, "none of them was asked for"
    nobody = f"http://127.0.0.1:{free_port()}"
    found = drive_locust(Trial(f"{nobody}/hello", b"", 2, 0.5), lambda: None)
    assert found.answered == 0
    assert sum(found.errors.values()) > 0


def test_what_perf_writes_is_read() -> None:
    text = (
        "# started\n\n600,,syscalls:sys_enter_recvfrom,1,100.00,,\n3,,syscalls:sys_enter_close,,,\n"
    )
    counts = syscalls_and_memory.read_perf(
        text + "<not counted>,,syscalls:sys_enter_read,0,0.00,,\n"
    )
    assert counts == {"recvfrom": 600, "close": 3}
    assert syscalls_and_memory.per_request(counts, 300) == {"recvfrom": 2.0}
    assert syscalls_and_memory.per_request(counts, 0) == {}


def test_what_wrk_writes_is_read() -> None:
    trial = Trial("http://127.0.0.1:1/hello", b"", 8, 1.0)
    line = {
        "requests": 2000, "duration": 500000, "connect": 1, "read": 0, "write": 0, "status": 3,
        "timeout": 2, "p50": 100, "p90": 200, "p99": 1500, "p999": 3000, "max": 4000,
    }  # fmt: skip
    found = read_wrk(f"noise\n{json.dumps(line)}\n", trial, 0.1, 0.15)
    assert (found.rate, found.seconds, found.established) == (4000, 0.5, 7)
    assert found.errors == {"connect": 1, "timeout": 2}
    assert found.wrong == {"status": 3}
    assert found.latency.p99_ms == 1.5
    assert found.generator_busy == pytest.approx(0.5)
    with pytest.raises(NotDriven, match="unable to connect"):
        read_wrk("unable to connect\n", trial, 0, 0)


def test_the_time_of_the_last_answer_is_not_held_against_a_rate(tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = odd("delay").start(RunDir(tmp_path), 1, stack)
        trial = Trial(running.url + "/", b"Hello, world!\n", 1, 0.2, rate=5.0)
        found, _ = drive(trial, lambda: None)
    assert found.answered == 1
    assert found.seconds > 0.19, "it was answered after 200 ms or more, of 200"
    assert found.rate == pytest.approx(5.0, rel=0.05)


def test_an_open_loop_goes_to_shares_of_the_peaks_it_finds(
    tmp_path: Path, baseline: Target
) -> None:
    told: list[str] = []
    plan = replace(open_loop(rounds=2), routes={name: ROUTES[name] for name in ("hello", "wait")})
    names = ("epoll-lt", "select")
    chosen = [backend(name) for name in names]
    session = Session(plan, chosen, baseline, tmp_path, lambda what, _: told.append(what))
    session.run()
    result = make_result(session, plan, chosen, started=0.0, seconds=1.0, complete=True)
    assert from_json(to_json(result)) == result
    cells = {(cell.architecture, cell.route, level_of(cell)): cell for cell in result.cells}
    assert len(cells) == len(result.cells) == 2 * 2 * plan.loads
    for route in plan.routes:
        peaks = {}
        for name in names:
            closed = cells[name, route, CLOSED]
            assert closed.summary is not None
            assert (closed.mode, len(closed.rounds)) == ("closed", 2)
            peaks[name] = closed.summary.throughput.median
            for share in SHARES:
                cell = cells[name, route, Level(of_peak=share)]
                assert cell.rate == pytest.approx(share * peaks[name])
                checks = {check.name: check for check in cell.checks}
                assert checks["peak"].numbers["peak"] == peaks[name]
                assert checks["rate"].numbers["intended"] == cell.rate
                assert len(cell.rounds) == 2
        (equal,) = {level for _, where, level in cells if where == route and level.rate}
        assert equal.rate == pytest.approx(min(peaks.values()) / 2, rel=0.01)
    levels = [level_of(each) for each in result.standings if each.route == "wait"]
    assert len(set(levels)) == plan.loads, "each load has tables of its own"
    assert len(result.ceilings) == 1
    rounds = [what.partition(": ")[2] for what in told if "round" in what]
    closed_trials, shares = rounds[: 2 * 5], rounds[2 * 5 :]
    assert sorted(closed_trials[:5]) == sorted(closed_trials[5:])
    assert sorted(shares[:16]) == sorted(shares[16:]), "interleaved, loads too"
    assert sum("90 % of its own peak" in what for what in shares[:16]) == 4
