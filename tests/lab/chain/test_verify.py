"""`lab verify`: back ends that keep or break the contract, and exceptions."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from chainlab.transport import Address
from lab.chain import verify_table
from lab.chain.backends import BACKENDS, Backend, of_spec
from lab.chain.rundir import LabError
from lab.chain.verify import Result, Verifier, choose
from servers.app.contract import checks
from servers.common.registry import SPECS, Spec
from tests.support.lab import Lab
from tests.support.processes import wait_until


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        yield found


def verified(backend: Backend) -> tuple[Result, str]:
    """Return the result, and what the terminal shows."""
    verifier = Verifier([backend])
    shown = StringIO()
    verify_table.watch(Console(file=shown, width=200), verifier)
    return verifier.results[0], shown.getvalue()


def liar(*exceptions: tuple[str, str]) -> Backend:
    spec = replace(SPECS["wsgiref"], name="liar", exceptions=exceptions)

    def command(address: Address, _workers: int, _folder: Path) -> list[str]:
        return [sys.executable, "-m", "tests.lab.chain.liar", "--listen", str(address)]

    return Backend(spec, command)


def test_who_keeps_the_contract_is_asked_both_ways(lab: Lab) -> None:
    rows = json.loads(lab.good("verify", "iterative", "--json"))
    assert [row["name"] for row in rows] == ["iterative"]
    assert rows[0]["direct"] == rows[0]["through_gateway"] == rows[0]["problems"] == []
    assert rows[0]["seconds"] > 0


def test_a_fastcgi_back_end_is_asked_through_the_gateway_alone() -> None:
    result, shown = verified(BACKENDS["fcgi-worker"])
    assert (result.direct, result.through) == (None, [])
    assert result.problems == []
    assert "1 of 1 keep the contract" in shown


def test_who_breaks_it_is_told_with_check_got_and_expected() -> None:
    result, shown = verified(liar())
    assert result.direct is not None
    assert result.through is not None
    for way in (result.direct, result.through):
        assert {failure.name for failure in way} >= {"hello"}
        assert len(way) < len(checks()), "the rest holds"
    problem = result.problems[0]
    assert problem.startswith("direct: hello: GET /hello: status 200, body b'Hello, World!\\n'")
    assert problem in shown
    assert "through the gateway: hello: " in shown
    assert "0 of 1 keep the contract" in shown


def test_an_exception_is_told_and_not_counted() -> None:
    broken = ("hello", "percent-encoding", "connection")
    result, shown = verified(liar(*((name, "it cannot help lying") for name in broken)))
    assert result.problems == []
    assert "liar: may fail hello: it cannot help lying" in shown
    assert "all but 3 pass" in shown
    assert "1 of 1 keep the contract" in shown


def test_an_exception_that_is_no_longer_needed_is_a_problem() -> None:
    spec = replace(SPECS["wsgiref"], exceptions=(("hello", "it could not greet once"),))
    result, shown = verified(of_spec(spec))
    assert result.direct == result.through == []
    assert result.problems == ["hello: the check passes; remove its exception from the Spec"]
    assert result.problems[0] in shown


def test_what_does_not_start_is_a_problem() -> None:
    spec = replace(SPECS["wsgiref"], name="nobody")
    result, shown = verified(of_spec(spec))
    assert len(result.problems) == 1
    assert "nobody did not start" in shown


def lacking() -> Spec:
    return replace(SPECS["wsgiref"], name="lacking", probe=lambda: "no such thing: get it")


def test_what_this_machine_lacks_is_listed_and_not_failed() -> None:
    result, shown = verified(of_spec(lacking()))
    assert result.problems == []
    assert "lacking: no such thing: get it" in shown
    assert "0 of 0 keep the contract; 1 cannot run on this machine" in shown


def test_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("all") == list(BACKENDS.values())
    with pytest.raises(LabError, match="no back end 'apache'; choose from: all, fcgi-worker, "):
        choose("apache")
    monkeypatch.setitem(BACKENDS, "lacking", of_spec(lacking()))
    with pytest.raises(LabError, match="lacking cannot run here: no such thing: get it"):
        choose("lacking")


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # so that what is started names this folder
    lab = Lab(tmp_path)
    with lab.start("verify", "all") as process:
        started: list[psutil.Process] = []

        def several() -> bool:
            started[:] = psutil.Process(process.pid).children(recursive=True)
            return len(started) >= 3

        wait_until(several, "servers are under way")
        os.killpg(process.pid, signal.SIGINT)
        shown, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in shown
    assert not [one for one in started if one.is_running()]
    assert lab.processes() == []
    assert not list(tmp_path.glob("chainlab-*"))
