"""A swap whose switch fails: the front may use either back end, so the lab keeps track of both."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.chain import fronts, lifecycle
from lab.chain.fronts import find_nginx
from lab.chain.lifecycle import start_chain, stop_chain, swap_backend
from lab.chain.rundir import LabError, Part, RunDir, State
from tests.support.processes import wait_until


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    found = RunDir(tmp_path)
    yield found
    stop_chain(found)


def before_the_switch(number: signal.Signals, part: Part) -> Callable[[str], None]:
    """Return a listener to a swap's steps that sends `part` a signal just before the switch."""

    def listen(step: str) -> None:
        if step.startswith("switching"):
            assert part.process is not None
            part.process.send_signal(number)
            # The kernel stops or kills it a moment later.
            wait_until(lambda: part.process is None or part.process.status() == "stopped", "done")

    return listen


def test_a_front_that_dies_during_a_swap_leaves_nothing_that_down_misses(run_dir: RunDir) -> None:
    before = start_chain(run_dir, "gateway", "iterative", 0, 1)
    with pytest.raises(LabError, match=r"does not answer|has exited"):
        swap_backend(run_dir, "select", before_the_switch(signal.SIGKILL, before.front))
    now = run_dir.load()
    assert now is not None
    assert before.backend.process is not None
    assert now.backend.process is not None
    assert now.backend.name == "select"
    stop_chain(run_dir)
    assert before.backend.process is None
    assert now.backend.process is None


def test_a_swap_after_one_that_did_not_finish_stops_all_old_back_ends(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_nginx() is None:
        pytest.skip("nginx is not installed: sudo apt install nginx-light")
    first = start_chain(run_dir, "nginx", "iterative", 0, 1)
    with monkeypatch.context() as impatient:
        impatient.setattr(fronts, "SWITCH_PATIENCE", 0.1)
        with pytest.raises(LabError, match="nginx did not switch"):
            swap_backend(run_dir, "select", before_the_switch(signal.SIGSTOP, first.front))
    second = run_dir.load()
    assert second is not None
    assert first.backend.process is not None
    assert first.front.process is not None
    first.front.process.send_signal(signal.SIGCONT)
    third = swap_backend(run_dir, "poll", lambda _step: None)
    assert run_dir.load() == third
    assert third.backend.process is not None
    assert first.backend.process is None
    assert second.backend.process is None


def test_a_state_that_cannot_be_stored_leaves_nothing_running(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[State] = []

    def full(state: State) -> None:
        lost.append(state)
        raise OSError("no space left on device")

    monkeypatch.setattr(run_dir, "store", full)
    with pytest.raises(OSError, match="no space left"):
        start_chain(run_dir, "gateway", "iterative", 0, 1)
    assert lost[0].front.process is None
    assert lost[0].backend.process is None
    monkeypatch.undo()
    running = start_chain(run_dir, "gateway", "iterative", 0, 1)
    monkeypatch.setattr(run_dir, "store", full)
    with pytest.raises(OSError, match="no space left"):
        swap_backend(run_dir, "select", lambda _step: None)
    assert lost[1].backend.process is None
    assert running.backend.process is not None
    assert lifecycle.require_state(run_dir) == running
