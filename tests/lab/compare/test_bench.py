"""`lab bench` of the architectures: figures are taken and judged; no test depends on their size."""

import os
import shutil
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lab.compare.bench import architectures
from lab.compare.bench.architectures import Entry, measure, show
from lab.compare.bench.measuring import Bench, Cost, load

pytestmark = pytest.mark.long


def entry(name: str, *totals: float) -> Entry:
    return Entry(name, rounds=[Cost(total / 4, total * 3 / 4) for total in totals])


def test_a_ratio_is_to_the_baseline_of_the_same_round() -> None:
    baseline = entry("baseline", 1, 2, 4)
    assert entry("epoll-lt", 3, 4, 16).ratios(baseline) == [2, 3, 4]


def test_the_median_is_held_against_the_target() -> None:
    baseline = entry("baseline", 1, 1, 1)
    assert entry("epoll-lt", 3, 4, 100).met(baseline)
    assert not entry("epoll-lt", 3, 4.1, 100).met(baseline)
    assert entry("iterative", 50, 50, 50).met(baseline), "it has none"
    assert not Entry("iterative", failure="it fell over").met(baseline)


def shown(entries: list[Entry]) -> str:
    out = StringIO()
    show(Console(file=out, width=80), entries)
    return out.getvalue()


def test_the_table_has_the_cheapest_first_and_names_what_failed() -> None:
    entries = [entry("baseline", 2), entry("epoll-lt", 10), entry("c-extension", 2.5)]
    text = shown([*entries, Entry("go", failure="it fell over")])
    assert text.index("baseline") < text.index("c-extension") < text.index("epoll-lt")
    assert "≤ 1.5 met" in text
    assert "≤ 4 missed" in text
    assert "✗ go: it fell over" in text


def test_every_kind_of_architecture_is_measured(tmp_path: Path) -> None:
    for program in ("wrk", "gcc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: sudo apt install {program}")
    names = ("iterative", "fork", "busy-poll", "wsgiref", "fcgi-worker")
    with ExitStack() as stack:
        bench = Bench(tmp_path, stack)
        entries = measure(Console(file=StringIO()), bench, names, 0.3, 2)
    assert [one.name for one in entries] == [architectures.BASELINE, *names]
    assert [one.failure for one in entries] == [""] * 6
    assert all(len(one.rounds) == 2 for one in entries)
    assert all(cost.total > 0 for one in entries for cost in one.rounds)
    notes = {one.name: one.note for one in entries}
    assert notes["busy-poll"] == "burns a core"
    assert notes["fcgi-worker"] == "FastCGI"
    assert "closes each" in shown(entries)


def test_wrk_that_is_interrupted_while_it_starts_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrk, started = tmp_path / "wrk", tmp_path / "started"
    wrk.write_text(f"#!/bin/sh\n[ -e {started} ] && echo 5 requests in 1s\ntouch {started}\n")
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert load("http://127.0.0.1:1", 1, 0.1) == 5
