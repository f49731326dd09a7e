"""The shapes of a load: how many users there are when, as figures and under real locust."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from lab.chain.load import SHAPES
from loadtest.curves import CURVES, Course, drawn
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        yield found


def followed(name: str, *, users: int, rate: float, seconds: int) -> list[int]:
    """Return the users of each second, until the shape ends the run."""
    course = Course(CURVES[name])
    found = []
    for now in range(seconds + 1):
        count = course.at(float(now), users=users, rate=rate, seconds=float(seconds))
        if count is None:
            break
        found.append(count)
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_keeps_within_its_users_and_ends_in_time(name: str) -> None:
    counts = followed(name, users=50, rate=1000, seconds=60)
    assert len(counts) == 60
    assert min(counts) >= 1
    assert max(counts) == 50


def test_steps_rise_by_a_fifth_in_each_fifth_of_the_time() -> None:
    counts = followed("steps", users=50, rate=1000, seconds=50)
    assert counts == [10] * 10 + [20] * 10 + [30] * 10 + [40] * 10 + [50] * 10


def test_a_spike_is_the_middle_fifth() -> None:
    counts = followed("spike", users=50, rate=1000, seconds=50)
    assert counts == [5] * 20 + [50] * 10 + [5] * 20


def test_a_soak_goes_up_and_down_slowly() -> None:
    counts = followed("soak", users=50, rate=1000, seconds=100)
    assert counts[:11] == sorted(counts[:11])
    assert set(counts[10:91]) == {50}
    assert counts[90:] == sorted(counts[90:], reverse=True)
    assert counts[-1] < 10


def test_the_spawn_rate_bounds_every_change() -> None:
    counts = followed("spike", users=50, rate=3, seconds=50)
    steps = [abs(after - before) for before, after in pairwise(counts)]
    assert max(steps) == 3
    assert counts[0] <= 3


def test_a_second_run_begins_anew() -> None:
    course = Course(CURVES["steady"])
    for now in (0.0, 5.0, 9.0):
        course.at(now, users=50, rate=5, seconds=10)
    assert course.at(0.0, users=50, rate=5, seconds=10) == 5


def test_users_are_drawn_on_one_line() -> None:
    assert drawn([0, 1, 2, 4, 8]) == " ▁▂▄█"
    line = drawn(list(range(1000)))
    assert len(line) == 40
    assert line == "".join(sorted(line))


def test_a_spike_on_the_chain(lab: Lab) -> None:
    lab.up()
    done = lab.run(
        "load", "--users", "20", "--rate", "100", "--duration", "5", "--shape", "spike",
        "--route", "hello",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "in one process, shape spike" in said
    (line,) = [line for line in said.splitlines() if line.startswith("users over time")]
    assert line.endswith("at most 20")
    bars = line.removeprefix("users over time ").partition(" at most")[0]
    assert bars.count("█") < len(bars) / 2  # the middle fifth, and the moments beside it
    assert bars[0] == bars[-1] == "▁"


def test_a_crowd_in_two_processes_is_mostly_idle(lab: Lab) -> None:
    lab.up()
    done = lab.run(
        "load", "--users", "20", "--rate", "100", "--duration", "4", "--shape", "crowd",
        "--processes", "2", "--route", "hello",
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "in 2 worker processes, shape crowd" in said
    assert "at most 20" in said


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--processes", "3", "--users", "2"), "give --users 3 or more"),
        (("--shape", "crowd", "--users", "5"), "give --users 10 or more"),
        (("--shape", "wave"), "'wave' is not one of"),
    ],
)
def test_what_cannot_be_is_said(lab: Lab, options: tuple[str, ...], wanted: str) -> None:
    done = lab.run("load", *options)
    assert done.returncode != 0
    assert wanted in " ".join((done.stdout + done.stderr).split())


def test_lab_does_not_import_locust_which_patches_the_whole_process() -> None:
    code = "import lab.cli, lab.compare.drive.locust_driver, sys; print('locust' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
