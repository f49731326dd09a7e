"""`lab compare` and `lab diff` as they are typed."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lab.chain.rundir import LabError
from lab.compare import report
from lab.compare.commands import deliver
from lab.compare.result import from_json
from tests.lab.compare.report_pages import sample
from tests.support.lab import Lab
from tests.support.processes import Process, wait_until

pytestmark = pytest.mark.long


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
        (("compare", "epoll-lt", "--from", "x"), "leave out IDs"),
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


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    line = ["compare", "epoll-lt", "--quick", "--connections", "1", "--rounds", "1000"]
    command = [sys.executable, "-m", "lab", *line, "--duration", "0.1", "--json", str(file)]
    with Process(command, environment={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        drivers: set[int] = set()

        def seen() -> bool:
            for child in psutil.Process(process.pid).children():
                with suppress(psutil.NoSuchProcess):  # a zombie is one of these, too
                    if "loadtest.openloop.worker" in child.cmdline():
                        drivers.add(child.pid)
            return len(drivers) > 2

        wait_until(seen, "two trials are done")
        children = psutil.Process(process.pid).children(recursive=True)
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        wait_until(lambda: not any(map(psutil.Process.is_running, children)), "nothing is left")
    result = from_json(file.read_text())
    assert not result.manifest.complete
    assert len(result.cells[0].rounds) >= 1
    assert len(result.cells[0].rounds) < 1000
