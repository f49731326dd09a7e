"""The tour: every step measured without anybody, and walked through by keys in a terminal."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.tour.stage import NotAnAnswer, Number, Pick
from lab.tour.stages import STAGES
from tests.support.processes import wait_until
from tests.support.terminal import Terminal

COMMAND = [sys.executable, "-m", "lab", "tour"]

CERTAIN = {
    "S1": ["b) only after the first client closes"],
    "S2": ["b) it waits", "400"],
    "S4": [
        "a) it succeeds",
        "b) the server's",
        "a) the client's",
        "a) yes",
        "b) it fails: connection reset",
    ],
    "S5": ["b) a 5xx answer from the gateway"],
    "S6": ["1"],
    "S8": ["1"],
    "S10": ["b) a few", "405"],
}
"""What does not depend on how fast a machine is."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short: unix sockets are made in it."""
    with tempfile.TemporaryDirectory(prefix="tour-", dir="/tmp") as name:
        yield Path(name)


def run(folder: Path, *arguments: str, columns: int = 100) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": str(columns)},
    )  # fmt: skip


def left_behind(folder: Path) -> list[str]:
    """What lives and was started by the tour: its environment names the folder."""
    return [
        " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline", "environ", "status"])
        if (process.info["environ"] or {}).get("TMPDIR") == str(folder)
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_without_anybody_and_measures_its_answers(name: str, folder: Path) -> None:
    done = run(folder, name.lower())
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    measured = [line.removeprefix("measured: ") for line in lines if line.startswith("measured: ")]
    skipped = [line for line in lines if line.startswith("skipped: ")]
    assert len(measured) + len(skipped) == len(STAGES[name].steps), done.stdout
    if not skipped:
        assert [each for each in measured if each in CERTAIN.get(name, [])] == CERTAIN.get(name, [])
    assert "your prediction" not in done.stdout
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []


def test_the_stages_are_listed(folder: Path) -> None:
    done = run(folder, "--list", columns=300)  # what a user lacks is a column of its own
    assert done.returncode == 0
    assert all(
        stage.name in done.stdout and stage.title in done.stdout for stage in STAGES.values()
    )


def test_a_stage_that_is_not_there_is_refused_with_the_list(folder: Path) -> None:
    done = run(folder, "S12")
    assert done.returncode == 1
    assert "no stage S12" in done.stderr
    assert "S11" in done.stderr


def test_a_prediction_is_compared_with_the_measurement(folder: Path) -> None:
    with Terminal([*COMMAND, "S2"], {"TMPDIR": str(folder)}) as terminal:
        terminal.expect("What does the server do?")
        terminal.expect("> ")
        terminal.type("y\n")
        terminal.expect("type one of a, b, c")
        terminal.expect("> ")
        terminal.type("b\n")
        terminal.expect("measured: b) it waits")
        terminal.expect("as you predicted")
        terminal.expect("Enter: next")
        terminal.type("\n")
        terminal.expect("> ")
        terminal.type("200\n")
        terminal.expect("measured: 400")
        terminal.expect("you predicted: 200")
        terminal.expect("Enter: next")
        terminal.type("\n")
        terminal.expect("you predicted 1 of 2 correctly")
        assert terminal.end() == 0
    assert list(folder.iterdir()) == []


def test_a_reader_may_skip_and_end(folder: Path) -> None:
    with Terminal([*COMMAND, "s2", "S1"], {"TMPDIR": str(folder)}) as terminal:
        terminal.expect("S1  A TCP server")  # in the order of the notes
        terminal.expect("> ")
        terminal.type("\n")
        terminal.expect("measured: ")
        terminal.expect("q: quit ")
        terminal.type("q\n")
        terminal.expect("the end of the tour")
        assert terminal.end() == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("while_measuring", [False, True])
def test_ctrl_c_leaves_nothing_behind(while_measuring: bool, folder: Path) -> None:
    with Terminal([*COMMAND, "S1"], {"TMPDIR": str(folder)}) as terminal:
        terminal.expect("> ")
        if while_measuring:
            terminal.type("2\n")
            wait_until(lambda: list(folder.glob("*/*.log")), "a server is being started")
        terminal.type("\x03")
        assert terminal.end() == 128 + signal.SIGINT
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []


def test_a_terminal_that_closes_leaves_nothing_behind(folder: Path) -> None:
    with Terminal([*COMMAND, "S4"], {"TMPDIR": str(folder)}) as terminal:
        terminal.expect("> ")
        terminal.type("\n")
        terminal.expect("q: quit ")
        assert left_behind(folder), "a server runs"
        terminal.close()  # the end of what is typed, and SIGHUP, at once
        assert terminal.end() == 130
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []


def test_answers_are_read_and_compared() -> None:
    pick = Pick("Which?", {"a": "one", "b": "the other"})
    assert pick.read(" B) ") == "b"
    with pytest.raises(NotAnAnswer, match="a, b"):
        pick.read("c")
    number = Number("How long?", "s", near=0.2)
    assert number.read("1,5 s") == 1.5
    assert number.matches(1.2, 1.0)
    assert not number.matches(1.21, 1.0)
    assert not number.matches(0.79, 1.0)
    with pytest.raises(NotAnAnswer, match="a number in s"):
        number.read("soon")
    exact = Number("How many?")
    assert exact.matches(3.0, 3.0)
    assert not exact.matches(2.0, 3.0)


def test_a_count_per_request_need_not_be_whole() -> None:
    (question,) = (s.question for s in STAGES["S7"].steps if "How many calls" in s.question.text)
    assert question.matches(3.0, 3.01)  # a timer or a signal adds a call now and then
    assert not question.matches(2.0, 3.01)
