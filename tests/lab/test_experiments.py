"""`lab experiment`, as it is typed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import child_pids, is_alive, wait_until


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", "experiment", *arguments],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_verdicts_are_printed_and_written(tmp_path: Path) -> None:
    json_file, html_file = tmp_path / "found.json", tmp_path / "book.html"
    done = lab("k1", "E5", "k1", "--json", str(json_file), "--html", str(html_file))
    assert done.returncode == 0, done.stderr  # though E5 is refuted
    assert "SIGSEGV" in done.stdout
    assert "1 confirmed, 1 refuted, 0 not measured here" in done.stdout
    found = json.loads(json_file.read_text(encoding="utf-8"))
    assert [each["key"] for each in found["experiments"]] == ["K1", "E5"]
    assert "lab experiment e5" in html_file.read_text(encoding="utf-8")


def test_ctrl_c_keeps_what_is_done_and_leaves_nothing_behind(tmp_path: Path) -> None:
    json_file = tmp_path / "found.json"
    command = [sys.executable, "-m", "lab", "experiment", "k1", "m4", "--json", str(json_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("K1"):
                break
        wait_until(lambda: child_pids(running.pid), "M4 runs")
        (child,) = child_pids(running.pid)
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
        assert running.wait(60) == 130
    assert "1 confirmed" in rest
    found = json.loads(json_file.read_text(encoding="utf-8"))
    assert [each["key"] for each in found["experiments"]] == ["K1"]
    assert not is_alive(child)


def test_an_unknown_id_is_refused_with_the_list() -> None:
    done = lab("k1", "q7")
    assert done.returncode == 1
    assert "q7: no such experiment; choose from K1, K2" in done.stderr
    assert "SIGSEGV" not in done.stdout


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = lab("k1", "--html", str(tmp_path / "none" / "book.html"))
    assert done.returncode == 1
    assert "there is no folder" in done.stderr
    assert "SIGSEGV" not in done.stdout


def test_no_id_is_refused() -> None:
    done = lab()
    assert done.returncode == 2
    assert "ID…|all" in done.stderr
