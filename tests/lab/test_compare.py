"""`lab compare`: small real runs, and what comes of them."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lab.backends import BACKENDS
from lab.compare import deep, footprint
from lab.compare.commands import deliver
from lab.compare.contestants import NULL, Contestant
from lab.compare.outcome import make_result
from lab.compare.session import Session
from lab.compare.settings import ROUTES, Settings, count_loads, decide
from lab.compare.turn import Cores
from lab.processes import free_port, start_part
from lab.rundir import LabError, Part, RunDir
from loadtest import report
from loadtest.compare.budget import FULL, LOCUST_TURN, QUICK, SHORTEST, Budget
from loadtest.compare.driver import NotDriven, Turn, drive, read_wrk
from loadtest.compare.levels import CLOSED, SHARES, Level, level_of
from loadtest.compare.locust import drive_locust
from loadtest.compare.result import from_json, to_json
from servers.app import contract
from tests.lab.comparing import ODD, backend, by_name, compare, described, odd, open_loop, settings
from tests.loadtest.report_pages import sample
from tests.support.lab import Lab
from tests.support.processes import Process, wait_until
from transport import Address


def test_every_kind_is_measured_with_its_cost(tmp_path: Path, floor: Contestant) -> None:
    names = ("epoll-lt", "fcgi-worker", "wsgiref", "busy-poll")
    result = compare(tmp_path, settings(rounds=2), *map(backend, names), null=floor)
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
        plan = Settings({"hello": ROUTES["hello"]}, (1,), 4, 0.1, 1.0, seed=seed, deep=False)
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
    if not deep.events():
        pytest.skip(deep.lacking())
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
    deep.find.cache_clear()
    yield
    deep.find.cache_clear()


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
    assert told[0] == ("--quick leaves it out",) * 2
    if deep.events():
        assert told[1] == ("there was no time left for it",) * 2


def test_locust_is_a_witness_and_gives_nobody_a_place(tmp_path: Path) -> None:
    result = compare(tmp_path, settings(deeply=True), backend("epoll-lt"), backend("wsgiref"))
    for cell in result.cells:
        (own, witness) = cell.rounds
        assert (own.driver, witness.driver) == ("openloop", "locust")
        assert witness.answered > 10
        assert witness.errors == witness.wrong == {}
        assert 0 < witness.latency.p50_ms <= witness.latency.p99_ms <= witness.latency.max_ms
        assert set(witness.cost) == {"back", "generator"}
        assert cell.summary
        assert cell.summary.driver == "openloop"
        assert any(note.startswith("by locust ") for note in cell.notes), cell.notes


def test_locust_finds_a_wrong_answer_and_one_that_never_comes() -> None:
    with Process([sys.executable, str(ODD), "hello"]) as process:
        url = f"http://{process.wait_until_listening()}"
        found = drive_locust(Turn(f"{url}/hello", b"Hello, world?\n", 2, 1.0), lambda: None)
    assert found.wrong["body"] > 0
    assert found.wrong == {"body": found.answered}, "none of them was asked for"
    nobody = f"http://127.0.0.1:{free_port()}"
    found = drive_locust(Turn(f"{nobody}/hello", b"", 2, 0.5), lambda: None)
    assert found.answered == 0
    assert sum(found.errors.values()) > 0


@contextmanager
def spinning(folder: Path) -> Iterator[Part]:
    """A part that listens and burns CPU."""
    path = folder / "spin.sock"
    bind = f"l = s.socket(s.AF_UNIX); l.bind({str(path)!r}); l.listen()"
    code = f"import socket as s; {bind}\nwhile 1: 0"
    address = Address(path=str(path))
    part = start_part("spin", [sys.executable, "-c", code], address, RunDir(folder))
    try:
        yield part
    finally:
        assert part.process is not None
        part.process.kill()
        wait_until(lambda: part.process is None, "it is gone")


def test_a_footprint_grows_and_ends(tmp_path: Path) -> None:
    with spinning(tmp_path) as part:
        before = footprint.used(part)
        deadline = time.monotonic() + 20
        after = footprint.used(part)
        while after and before and after.seconds < before.seconds + 0.05:
            assert time.monotonic() < deadline
            after = footprint.used(part)
        assert before is not None
        assert after is not None
        cost = footprint.cost(before, after, 1000)
        assert cost is not None
        spent = (after.seconds - before.seconds) * 1000
        assert cost.user_us + cost.kernel_us == pytest.approx(spent)
        assert cost.threads == 1
        assert footprint.cost(before, after, 0) is None
        assert footprint.cost(after, before, 1000) is None
    assert footprint.used(part) is None
    assert footprint.cost(before, None, 1000) is None


def test_what_perf_writes_is_read() -> None:
    text = (
        "# started\n\n600,,syscalls:sys_enter_recvfrom,1,100.00,,\n3,,syscalls:sys_enter_close,,,\n"
    )
    counts = deep.read_perf(text + "<not counted>,,syscalls:sys_enter_read,0,0.00,,\n")
    assert counts == {"recvfrom": 600, "close": 3}
    assert deep.per_request(counts, 300) == {"recvfrom": 2.0}
    assert deep.per_request(counts, 0) == {}


def test_what_wrk_writes_is_read() -> None:
    turn = Turn("http://127.0.0.1:1/hello", b"", 8, 1.0)
    line = {
        "requests": 2000, "duration": 500000, "connect": 1, "read": 0, "write": 0, "status": 3,
        "timeout": 2, "p50": 100, "p90": 200, "p99": 1500, "p999": 3000, "max": 4000,
    }  # fmt: skip
    found = read_wrk(f"noise\n{json.dumps(line)}\n", turn, 0.1, 0.15)
    assert (found.rate, found.seconds, found.established) == (4000, 0.5, 7)
    assert found.errors == {"connect": 1, "timeout": 2}
    assert found.wrong == {"status": 3}
    assert found.latency.p99_ms == 1.5
    assert found.generator_busy == pytest.approx(0.5)
    with pytest.raises(NotDriven, match="unable to connect"):
        read_wrk("unable to connect\n", turn, 0, 0)


@pytest.mark.parametrize("name", ROUTES)
def test_the_expected_answers_are_the_contracts(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = backend("epoll-lt").start(RunDir(tmp_path), 1, stack)
        contract.fetch(running.url, ROUTES[name].path).expect(200, ROUTES[name].body)


def test_all_of_it_fits_into_the_time() -> None:
    everything = len(BACKENDS) + 1
    numbers, rounds, duration, expected = decide(
        everything, ("hello",), None, None, None, quick=False
    )
    assert (numbers, rounds) == ((1, 8, 64, 512), 5)
    assert duration >= SHORTEST
    assert expected < FULL
    quick = decide(everything, ("hello",), None, None, None, quick=True)
    assert quick[:2] == ((8,), 5)
    assert quick[2] >= SHORTEST
    assert quick[3] < QUICK
    few = decide(4, ("hello",), None, None, None, quick=True)
    assert few[0] == (1, 8, 64, 512)
    assert few[3] < QUICK
    given = decide(everything, ("hello", "wait"), (1, 2), 7, 9.0, quick=True)
    assert given[:3] == ((1, 2), 7, 9.0), "what was asked for is done, and its time told"
    assert given[3] > QUICK


def test_what_does_not_take_place_costs_no_time() -> None:
    with_locust = decide(4, ("hello",), (64,), 5, 1.0, quick=False)[3]
    open_loop = decide(4, ("hello",), (64,), 5, 1.0, quick=False, mode="open", rates=(9.0,))[3]
    assert with_locust - open_loop == pytest.approx(3 * (1.0 + LOCUST_TURN))
    many = decide(4, ("hello",), (512,), 5, 1.0, quick=False)[3]
    assert many < with_locust, "no process of locust has so many users"
    few = [Budget(4, 1, (number,), 5).seconds(1.0) for number in (1, 512)]
    assert few[0] < few[1], "who has more connections takes longer to open them"


def test_the_peaks_and_their_shares_fit_into_the_time() -> None:
    assert [count_loads("closed", ()), count_loads("open", (5.0, 6.0))] == [1, 2]
    assert count_loads("open", ()) == 1 + len(SHARES) + 1
    everything = len(BACKENDS) + 1
    numbers, rounds, _, expected = decide(
        everything, ("hello",), None, None, None, quick=False, mode="open"
    )
    assert (numbers, rounds) == ((64,), 5), "fewer numbers of connections, not fewer rounds"
    assert expected < FULL
    assert decide(7, ("hello",), None, None, None, quick=True, mode="open")[3] < QUICK


def test_the_time_of_the_last_answer_is_not_held_against_a_rate(tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = odd("delay").start(RunDir(tmp_path), 1, stack)
        turn = Turn(running.url + "/", b"Hello, world!\n", 1, 0.2, rate=5.0)
        found, _ = drive(turn, lambda: None)
    assert found.answered == 1
    assert found.seconds > 0.19, "it was answered after 200 ms or more, of 200"
    assert found.rate == pytest.approx(5.0, rel=0.05)


def test_the_command_writes_draws_and_compares_a_file(tmp_path: Path) -> None:
    lab, file = Lab(tmp_path), tmp_path / "result.json"
    line = ("compare", "epoll-lt", "fcgi-worker", "--quick", "--connections", "1,2")
    shown = lab.good(*line, "--duration", "0.2", "--rounds", "1", "--json", str(file))
    assert "2 architectures × hello × 1, 2 connections, 1 rounds of 0.2 s: about" in shown
    result = from_json(file.read_text())
    assert result.manifest.complete
    assert len(result.cells) == 4
    page = tmp_path / "report.html"
    drawn = lab.good("compare", "--from", str(file), "--html", str(page))
    assert "epoll-lt" in page.read_text()
    assert drawn in shown, "the same tables"
    assert "/hello, 2 connections" in drawn
    assert "nothing changed beyond the noise, in 4 cells" in lab.good("diff", str(file), str(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("compare",), "name architectures"),
        (("compare", "nonsense"), "choose from: all, fcgi-worker"),
        (("compare", "epoll-lt", "--rate", "100"), "add --mode open"),
        (("compare", "epoll-lt", "--mode", "open", "--rate", "1,x"), "write 500,2000"),
        (("compare", "epoll-lt", "--mode", "open", "--rate", "0,5"), "above 0"),
        (("compare", "epoll-lt", "--route", "none"), "choose from: hello"),
        (("compare", "epoll-lt", "--connections", "0"), "numbers from 1"),
        (("compare", "epoll-lt", "--connections", "x"), "write 1,8,64"),
        (("compare", "--from", "/nowhere.json"), "No such file"),
        (("compare", "epoll-lt", "--from", "x"), "leave IDs"),
        (("compare", "epoll-lt", "--json", "/nowhere/x.json"), "no folder /nowhere"),
        (("diff", "/nowhere.json", "/nowhere.json"), "No such file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, line: tuple[str, ...], message: str) -> None:
    done = Lab(tmp_path).run(*line)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_what_took_long_is_not_lost_with_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LIMIT", 300_000)
    with pytest.raises(LabError, match=r"--connections; the whole result is in .*report\.json"):
        deliver(sample(), None, tmp_path / "report.html")
    assert from_json((tmp_path / "report.json").read_text()) == sample()


def test_an_open_loop_keeps_to_the_rates_that_are_given(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    line = ("compare", "epoll-lt", "--quick", "--connections", "2", "--mode", "open")
    shown = Lab(tmp_path).good(
        *line, "--rate", "200,50", "--duration", "0.4", "--rounds", "1", "--json", str(file)
    )
    assert "2 connections × 50/s, 200/s, 1 rounds" in " ".join(shown.split())
    assert "/hello, 2 connections, 200/s, by p99" in shown
    result = from_json(file.read_text())
    assert [(cell.mode, cell.rate, cell.of_peak) for cell in result.cells] == [
        ("open", 50.0, None), ("open", 200.0, None),
    ]  # fmt: skip
    assert [cell.rounds[0].answered for cell in result.cells] == [20, 80]
    assert all("rate" in {check.name for check in cell.checks} for cell in result.cells)
    assert [(each.rate, each.metric) for each in result.standings] == [
        (50.0, "p99"), (50.0, "cpu"), (200.0, "p99"), (200.0, "cpu"),
    ]  # fmt: skip


def test_an_open_loop_goes_to_shares_of_the_peaks_it_finds(
    tmp_path: Path, floor: Contestant
) -> None:
    told: list[str] = []
    plan = replace(open_loop(rounds=2), routes={name: ROUTES[name] for name in ("hello", "wait")})
    names = ("epoll-lt", "select")
    chosen = [backend(name) for name in names]
    session = Session(plan, chosen, floor, tmp_path, lambda what, _: told.append(what))
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
    closed_turns, shares = rounds[: 2 * 5], rounds[2 * 5 :]
    assert sorted(closed_turns[:5]) == sorted(closed_turns[5:])
    assert sorted(shares[:16]) == sorted(shares[16:]), "interleaved, loads too"
    assert sum("90 % of its own peak" in what for what in shares[:16]) == 4


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    line = ["compare", "epoll-lt", "--quick", "--connections", "1", "--rounds", "1000"]
    command = [sys.executable, "-m", "lab", *line, "--duration", "0.1", "--json", str(file)]
    with Process(command, environment={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        drivers: set[int] = set()

        def seen() -> bool:
            for child in psutil.Process(process.pid).children():
                with suppress(psutil.NoSuchProcess):  # a zombie is one of these, too
                    if "loadtest.openloop.part" in child.cmdline():
                        drivers.add(child.pid)
            return len(drivers) > 2

        wait_until(seen, "two turns are done")
        children = psutil.Process(process.pid).children(recursive=True)
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        wait_until(lambda: not any(map(psutil.Process.is_running, children)), "nothing is left")
    result = from_json(file.read_text())
    assert not result.manifest.complete
    assert len(result.cells[0].rounds) >= 1
    assert len(result.cells[0].rounds) < 1000


@pytest.mark.parametrize(
    ("cores", "told"),
    [
        ([0, 1], "2 cores: generator and servers share them"),
        ([0, 1, 2, 3], "generator on cores 3, servers on 0, 1, 2"),
        (list(range(8)), "generator on cores 6, 7, servers on 0, 1, 2, 3, 4, 5"),
    ],
)
def test_the_generator_has_cores_of_its_own_where_there_are_four(
    cores: list[int], told: str
) -> None:
    assert str(Cores(cores)) == told
    assert Cores(cores).processes == max(1, len(cores) // 4)


def test_the_null_server_is_no_contestant(floor: Contestant) -> None:
    assert floor.name == NULL
    assert NULL not in BACKENDS
