"""Log files that can be moved and reopened (SIGUSR1); writing to them never blocks.

Lines are buffered up to 32 KiB or for one second: a few hundred requests share one system call.

Facts. Standard output and error are often a pipe to a supervisor. While its reader stands still,
write(2) blocks. O_NONBLOCK is no way out: the open file description is shared with the programs
that started us. poll(2) is none, either: another process may fill the pipe before our write.

Decision. Into a pipe that we did not open, splice(2) with SPLICE_F_NONBLOCK moves the lines from a
pipe of our own; a socket is written with MSG_DONTWAIT; what we open ourselves is nonblocking. Into
pipes and sockets go whole lines of at most PIPE_BUF bytes together, which are never mixed with
those of other processes (pipe(7)). A file gets each batch in one call, in append mode. Lines that
cannot be written now (a full pipe, a full disk) wait, up to 256 KiB; then new ones are dropped and
counted, and the owner of the log reports the number.

Trade-off. A spliced piece occupies a whole page of the reader's pipe, however short it is. The
alternative, a writer thread, costs the loop switches, and no thread survives the fork of a master.
"""

import json
import os
import select
import socket
import stat
import sys
import time
from contextlib import suppress
from functools import lru_cache
from typing import Final, Protocol, TextIO

_BUFFER: Final = 32768  # maximum bytes buffered
_LONGEST: Final = 1.0  # maximum seconds that a line waits while others follow
_WAITING: Final = 262144  # maximum bytes that wait for a file that cannot be written now
_MODE: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
)  # fmt: skip
PIPE_BUF: Final = select.PIPE_BUF
"""Maximum bytes of a write into a pipe that no other process's write can split (pipe(7))."""


class LogError(ValueError):
    """A log file cannot be opened; the message names the file and the remedy."""


class LogFile:
    """An open log: `target` is a path, "-" for the descriptor `standard`, or "off" for none.

    A `standard` below 0 is a closed stream: its lines go nowhere. The constructor raises LogError
    if the path cannot be opened.
    """

    def __init__(self, target: str, standard: int) -> None:
        self._target = target
        self._standard = standard
        self._outlet: _Outlet | None = None
        self._waiting = bytearray()
        self._lost = 0
        self._trouble = ""
        self.reopen()

    def reopen(self) -> None:
        """Reopen the path after a log rotation; on LogError the old file stays open."""
        if self._target == "off" or (self._target == "-" and self._outlet is not None):
            return
        try:
            fresh = _open_standard(self._standard) if self._target == "-" else _Path(self._target)
        except OSError as error:
            raise LogError(f"log: {self._target}: {error.strerror}; name a writable file") from None
        if self._outlet is not None:
            self._outlet.close()
        self._outlet = fresh

    @property
    def longest(self) -> int:
        """Maximum bytes of a line that stays in one piece."""
        return self._outlet.piece if self._outlet is not None else sys.maxsize

    @property
    def waiting(self) -> bool:
        """True if lines wait because the file cannot be written now."""
        return bool(self._waiting)

    @property
    def lost(self) -> int:
        """Number of lines dropped since `take_lost`."""
        return self._lost

    def take_lost(self) -> str:
        """Return how many lines were lost and why, for a log; start to count again."""
        lost, self._lost = self._lost, 0
        return f"{lost} lines were lost: {self._trouble}"

    def write(self, data: bytes) -> None:
        """Append `data`, which consists of whole lines, now or as soon as possible."""
        if self._outlet is None:
            return
        if self._waiting and len(self._waiting) + len(data) > _WAITING:
            self._lost += data.count(b"\n")
            return
        self._waiting += data
        self.flush()

    def flush(self) -> bool:
        """Write the waiting lines; return False if some must wait on."""
        outlet = self._outlet
        while self._waiting and outlet is not None:
            try:
                sent = outlet.write(self._next_piece(outlet.piece))
            except OSError as error:
                full = isinstance(error, BlockingIOError)
                self._trouble = "its reader is too slow" if full else str(error.strerror)
                return False
            del self._waiting[:sent]
        return True

    def _next_piece(self, most: int) -> bytes:
        """Return the first waiting lines, up to `most` bytes; part of a line that is longer."""
        piece = bytes(self._waiting[:most])
        if len(self._waiting) <= most:
            return piece
        return piece[: piece.rfind(b"\n") + 1] or piece

    def drain(self, seconds: float) -> None:
        """Write the waiting lines; wait up to `seconds` for a slow reader."""
        deadline = time.monotonic() + seconds
        while not self.flush() and self._outlet is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._outlet.wait(left):
                return

    def close(self) -> None:
        """Write what can be written now and close the file; leave a standard stream open."""
        self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Close the file without writing: after fork, the lines are the parent's."""
        self._lost += self._waiting.count(b"\n")
        self._waiting.clear()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None


def standard_descriptor(stream: TextIO | None) -> int:
    """Return the descriptor of `sys.__stdout__` or `sys.__stderr__`; -1 if it was closed at start.

    Its number may then belong to any file opened since.
    """
    return stream.fileno() if stream is not None else -1


class _Outlet(Protocol):
    """Where the lines go."""

    piece: int
    """Maximum bytes of a write."""

    def write(self, data: bytes) -> int:
        """Return how many bytes were taken; raise OSError, BlockingIOError if none can be now."""

    def wait(self, seconds: float) -> bool:
        """Return True once more can be written, False if waiting does not help."""

    def close(self) -> None:
        """Close what this class opened."""


class _Path:
    """A path, opened in append mode."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, _MODE, 0o644)
        self.piece = _piece_of(os.fstat(self._fd).st_mode)

    def write(self, data: bytes) -> int:
        """Write to the file."""
        return os.write(self._fd, data)

    def wait(self, seconds: float) -> bool:
        """Wait for the reader of a pipe; a full disk is not waited for."""
        return self.piece == PIPE_BUF and _is_writable(self._fd, seconds)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class _File:
    """A standard stream that is a file, or a device that does not block."""

    piece = sys.maxsize

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> int:
        """Write to the file."""
        return os.write(self._fd, data)

    def wait(self, seconds: float) -> bool:  # noqa: ARG002 - an _Outlet
        """Return False: a full disk is not waited for."""
        return False

    def close(self) -> None:
        """Leave the stream open."""


class _Pipe:
    """A standard stream that is a pipe: filled by splice(2) from a pipe of our own."""

    piece = PIPE_BUF

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._source, self._sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._inside = 0  # bytes in our pipe: the first ones of the data that `write` is given

    def write(self, data: bytes) -> int:
        """Move `data`, or what an earlier call left in our own pipe."""
        if not self._inside:
            self._inside = os.write(self._sink, data)
        moved = os.splice(self._source, self._fd, self._inside, flags=os.SPLICE_F_NONBLOCK)
        self._inside -= moved
        return moved

    def wait(self, seconds: float) -> bool:
        """Wait for the reader."""
        return _is_writable(self._fd, seconds)

    def close(self) -> None:
        """Close our own pipe."""
        os.close(self._source)
        os.close(self._sink)


class _Socket:
    """A standard stream that is a socket, as systemd's journal and Node.js pass.

    A unix socket cuts a write at half its send buffer (unix_stream_sendmsg in the kernel), and
    another process may write in between; so a piece stays below that.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=os.dup(fd))
        buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self.piece = min(PIPE_BUF, max(buffer // 2 - 64, 512))

    def write(self, data: bytes) -> int:
        """Send without waiting."""
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def wait(self, seconds: float) -> bool:
        """Wait for the reader."""
        return _is_writable(self._socket.fileno(), seconds)

    def close(self) -> None:
        """Close our copy of the descriptor."""
        self._socket.close()


def _open_standard(fd: int) -> _Outlet | None:
    if fd < 0:
        return None
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return _Pipe(fd)
    if stat.S_ISSOCK(mode):
        return _Socket(fd)
    if os.isatty(fd):  # Ctrl-S stops a terminal
        with suppress(OSError):
            return _Path(f"/proc/self/fd/{fd}")
    return _File(fd)


def _piece_of(mode: int) -> int:
    return PIPE_BUF if stat.S_ISFIFO(mode) else sys.maxsize


def _is_writable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(mask & select.POLLOUT for _, mask in poll.poll(seconds * 1000))


class GatheredLog:
    """Buffers lines for a file. The caller passes the time, in monotonic seconds."""

    def __init__(self, target: str, standard: int) -> None:
        self._file = LogFile(target, standard)
        self._lines: list[str] = []
        self._size = 0
        self._since = 0.0  # arrival of the oldest buffered line

    @property
    def file(self) -> LogFile:
        """The file that the lines go to."""
        return self._file

    def add(self, line: str, now: float) -> None:
        """Buffer a line, which ends in a newline."""
        if not self._lines:
            self._since = now
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _BUFFER or now - self._since >= _LONGEST:
            self.flush()

    def flush_when_due(self, now: float) -> None:
        """Write the buffered lines if the oldest is a second old, and lines that had to wait."""
        if self._lines and now - self._since >= _LONGEST:
            self.flush()
        elif self._file.waiting:
            self._file.flush()

    def flush(self) -> None:
        """Write the buffered lines."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            self._file.write("".join(lines).encode("utf-8", "replace"))

    def reopen(self) -> None:
        """Write the buffered lines, then reopen the path; LogError if that fails."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write the buffered lines and close the file."""
        self.flush()
        self._file.close()


@lru_cache(1024)
def quote(text: str) -> str:
    """Return `text` as a JSON string; cached, for texts that repeat."""
    return json.dumps(text)


def quote_id(text: str) -> str:
    """Return `text` as a JSON string; not cached, for ids, which never repeat."""
    return f'"{text}"' if text.isalnum() and text.isascii() else json.dumps(text)


def format_time(seconds: float) -> str:
    """Return seconds since the epoch with six decimals, 3 times faster than float formatting."""
    whole, rest = divmod(int(seconds * 1e6), 1_000_000)
    return f"{whole}.{rest:06}"
