"""Log files: what is gathered, when it is written, and where after a rotation."""

import contextlib
import fcntl
import json
import os
import resource
import socket
from collections.abc import Iterator
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


# A file that cannot be written now


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_short_write_is_continued_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path), 1)
    lines = b"".join(b"line %d\n" % number for number in range(200))
    with largest_file(1000):
        log.write(lines)
        assert path.stat().st_size == 1000
        assert log.waiting
        log.write(b"later\n")
    assert log.flush()
    assert path.read_bytes() == lines + b"later\n"
    assert not log.lost


def test_lines_that_cannot_wait_are_counted() -> None:
    log = LogFile("/dev/full", 1)
    for _ in range(400):
        log.write(b"x" * 999 + b"\n")
    assert log.lost == 400 - 262144 // 1000
    assert log.take_lost() == f"{400 - 262} lines were lost: No space left on device"
    assert not log.lost


@contextlib.contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds 4 KiB."""
    source, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield source, sink
    finally:
        os.close(source)
        os.close(sink)


def test_a_pipe_that_nobody_reads_does_not_block() -> None:
    lines = b"".join(b"line %d\n" % number for number in range(3000))
    with small_pipe() as (source, sink):
        log = LogFile("-", sink)
        log.write(lines)
        assert log.waiting
        assert os.get_blocking(sink)  # the description is shared with others
        got = b""
        while not log.flush():
            piece = os.read(source, 65536)
            assert len(piece) <= 4096
            assert piece.endswith(b"\n")  # whole lines
            got += piece
        assert got + os.read(source, 65536) == lines
        log.close()
        os.write(sink, b"still open")


def test_a_socket_that_nobody_reads_does_not_block() -> None:
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        log = LogFile("-", ours.fileno())
        log.write(lines)
        assert log.waiting
        got = b""
        while not log.flush():
            got += theirs.recv(65536)
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                got += theirs.recv(65536)
        assert got == lines
        log.close()


def test_a_stopped_terminal_does_not_block() -> None:
    screen, terminal = os.openpty()
    log = LogFile("-", terminal)
    for _ in range(100):
        log.write(b"x" * 999 + b"\n")
    assert log.waiting
    log.close()
    os.close(screen)
    os.close(terminal)


def test_a_named_pipe_without_a_reader_is_refused_and_with_one_is_used(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(LogError, match="No such device or address; name a writable file"):
        LogFile(str(path), 1)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = LogFile(str(path), 1)
    log.write(b"line\n")
    assert os.read(reader, 100) == b"line\n"
    log.close()
    os.close(reader)


def test_the_end_waits_for_a_slow_reader_and_not_for_one_that_stands_still() -> None:
    with small_pipe() as (source, sink):
        log = LogFile("-", sink)
        log.write(b"x" * 4095 + b"\n" + b"last\n")
        log.drain(0.01)
        assert log.waiting
        os.read(source, 65536)
        log.drain(10)
        assert os.read(source, 65536) == b"last\n"
        log.close()


def test_a_closed_stream_takes_nothing() -> None:
    log = LogFile("-", -1)
    log.write(b"nowhere\n")
    assert not log.waiting
    log.close()
