"""Log files: what is gathered, when it is written, and where after a rotation."""

import json
from pathlib import Path

import pytest

from chainlab.transport.logfile import GatheredLog, LogError, LogFile, quote, quote_id


def test_lines_wait_for_a_second_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = GatheredLog(str(path), 1)
    log.add("one\n", 100.0)
    log.flush_when_due(100.9)
    assert path.read_text() == ""
    log.add("two\n", 100.9)
    log.flush_when_due(101.0)
    assert path.read_text() == "one\ntwo\n"
    log.add("three\n", 200.0)
    log.add("four\n", 201.0)  # nobody looks at the clock, but lines come
    assert path.read_text() == "one\ntwo\nthree\nfour\n"


def test_many_lines_are_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = GatheredLog(str(path), 1)
    for _ in range(40):
        log.add("x" * 999 + "\n", 1.0)
    assert path.stat().st_size == 33_000
    log.close()
    assert path.stat().st_size == 40_000


def test_what_waits_goes_into_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = GatheredLog(str(path), 1)
    log.add("old\n", 1.0)
    path.rename(tmp_path / "old")
    log.reopen()
    log.add("new\n", 1.0)
    log.close()
    assert (tmp_path / "old").read_text() == "old\n"
    assert path.read_text() == "new\n"


def test_a_path_that_cannot_be_opened_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = LogFile(str(folder / "log"), 1)
    folder.rename(tmp_path / "moved")
    with pytest.raises(LogError, match="name a writable file"):
        log.reopen()
    log.write(b"still here\n")
    assert (tmp_path / "moved" / "log").read_bytes() == b"still here\n"


@pytest.mark.parametrize("text", ["", "abc123", 'a"b', "a\\b\n", "é", "a-b"])
def test_json_strings(text: str) -> None:
    assert json.loads(quote(text)) == json.loads(quote_id(text)) == text
