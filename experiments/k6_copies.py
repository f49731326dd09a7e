"""K6: buffered I/O copies data several times between user space and the kernel, which costs CPU.

One file is sent over TCP in four ways. read and send copy every byte twice: from the page cache
into our buffer, and from there into the socket's. mmap and send save the first copy. sendfile(2)
and splice(2) hand the pages of the page cache to the socket: no byte reaches user space. Each way
runs with the file in the page cache, and again after posix_fadvise(2) asked the kernel to evict it.
Not every file system evicts, so /proc/self/io tells how much was read from the disk.
"""

import mmap
import os
import resource
import socket
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from chainlab.pages.charts import Chart
from experiments.drawing import bars
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict

SIZE: Final = 32 << 20
"""Bytes of the file: more than a core's caches, much less than memory."""

PIECE: Final = 64 << 10
"""Bytes per call, the same for all ways: a pipe's capacity, which limits splice."""

COSTS: Final = 1.2
"""Least CPU ratio of two copies to none. A copy at memory speed (some 10 GB/s) takes 100 µs per
MiB, sending a few hundred; less than a fifth more would hardly matter."""

ROUNDS: Final = 5
_MIB: Final = SIZE / (1 << 20)


class Sent(NamedTuple):
    """What sending the file took."""

    calls: int
    crossed: int
    """Bytes copied into or out of user space."""


def _read_send(source: int, sock: socket.socket) -> Sent:
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    calls = crossed = 0
    while count := os.readv(source, [buffer]):
        sent = 0
        while sent < count:
            sent += sock.send(view[sent:count])
            calls += 1
        crossed += count + sent
        calls += 1
    return Sent(calls + 1, crossed)


def _mmap_send(source: int, sock: socket.socket) -> Sent:
    calls = crossed = 0
    with mmap.mmap(source, 0, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
        while crossed < SIZE:
            crossed += sock.send(view[crossed : crossed + PIECE])
            calls += 1
    return Sent(calls + 2, crossed)


def _sendfile(source: int, sock: socket.socket) -> Sent:
    calls = sent = 0
    while sent < SIZE:
        sent += os.sendfile(sock.fileno(), source, sent, PIECE)
        calls += 1
    return Sent(calls, 0)


def _splice(source: int, sock: socket.socket) -> Sent:
    reader, writer = os.pipe()
    calls = 0
    while count := os.splice(source, writer, PIECE):
        calls += 1
        while count:
            count -= os.splice(reader, sock.fileno(), count)
            calls += 1
    os.close(reader)
    os.close(writer)
    return Sent(calls + 1, 0)


Way = Callable[[int, socket.socket], Sent]
WAYS: Final[dict[str, Way]] = {
    "read, send": _read_send, "mmap, send": _mmap_send, "sendfile": _sendfile, "splice": _splice,
}  # fmt: skip


def measure(_limits: Limits) -> Numbers:
    """Send the file in each way, in turn."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        state: {way: [] for way in WAYS} for state in ("warm", "cold")
    }
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(os.urandom(1 << 20) * (SIZE >> 20))
        file.flush()
        os.fsync(file.fileno())  # dirty pages cannot be evicted
        for state, ways in found.items():
            for _ in range(ROUNDS if state == "warm" else 2):
                for way, rounds in ways.items():
                    rounds.append(_once(WAYS[way], file.name, cold=state == "cold"))
    return {
        "mib": _MIB,
        **{
            state: {way: _medians(rounds) for way, rounds in ways.items()}
            for state, ways in found.items()
        },
    }


def _once(way: Way, path: str, *, cold: bool) -> dict[str, float]:
    source = os.open(path, os.O_RDONLY)
    if cold:
        os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)
    else:
        while os.read(source, PIECE):
            pass
        os.lseek(source, 0, os.SEEK_SET)
    with _taker() as sock:
        disk, before = _disk(), resource.getrusage(resource.RUSAGE_SELF)
        sent = way(source, sock)
        after = resource.getrusage(resource.RUSAGE_SELF)
        disk = _disk() - disk
    os.close(source)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_us_per_mib": cpu * 1e6 / _MIB,
        "calls_per_mib": sent.calls / _MIB,
        "crossed": sent.crossed / SIZE,
        "disk": disk / SIZE,
    }


@contextmanager
def _taker() -> Iterator[socket.socket]:
    """Connect to a child that discards the data and sends a byte when it has all of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        try:
            taken, left = listener.accept()[0], SIZE
            while left and (data := taken.recv(1 << 18)):
                left -= len(data)
            taken.sendall(b"y")
        finally:
            os._exit(0)
    with socket.create_connection(listener.getsockname()) as sock:
        listener.close()
        yield sock
        sock.recv(1)
    os.waitpid(child, 0)


def _disk() -> int:
    """Return how many bytes were read from disk for this process."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}


def judge(numbers: Numbers) -> list[Finding]:
    """Copies must match the expected counts, and cost CPU."""
    warm, cold = numbers["warm"], numbers["cold"]
    double, none = warm["read, send"], warm["sendfile"]
    ratio = double["cpu_us_per_mib"] / max(none["cpu_us_per_mib"], 1e-9)
    copies = double["crossed"] == 2 and warm["mmap, send"]["crossed"] == 1 and not none["crossed"]
    key = (
        f"read and send copied each byte {double['crossed']:g} times between kernel and user "
        f"space and took {double['cpu_us_per_mib']:.0f} µs of CPU per MiB; sendfile copied it "
        f"{none['crossed']:g} times and took {none['cpu_us_per_mib']:.0f} µs: a ratio of "
        f"{ratio:.1f}"
    )
    evicted = cold["read, send"]["disk"]
    after = (
        f"From a cold cache, read and send take {cold['read, send']['cpu_us_per_mib']:.0f} µs"
        if evicted > 0.5
        else "The file system did not evict the file: no measurement from a cold cache"
    )
    scope = (
        f"{after}. Not counted: the page cache itself, a copy shared by all processes, and the "
        "receiver, which is the same for all four ways."
    )
    return [Finding("K6", verdict(copies and ratio >= COSTS), key, scope)]


def figures(numbers: Numbers) -> Sequence[Chart]:
    """Draw the CPU time of each way, warm and cold."""
    charts = []
    for state, where in (("warm", "in the page cache"), ("cold", "evicted from the page cache")):
        ways = numbers[state]
        rows = {way: each["cpu_us_per_mib"] for way, each in ways.items()}
        text = (
            f"The file was {where}: {max(each['disk'] for each in ways.values()):.0%} of it came "
            "from the disk."
        )
        more = {
            "copies of a byte": [f"{each['crossed']:g}" for each in ways.values()],
            "calls per MiB": [f"{each['calls_per_mib']:.0f}" for each in ways.values()],
            "from the disk": [f"{each['disk']:.0%}" for each in ways.values()],
        }
        charts.append(
            bars(f"k6-{state}", f"Sender's CPU, {state}", text, rows, "µs of CPU per MiB", more)
        )
    return charts


EXPERIMENT = Experiment(
    claims={
        "K6": "Buffered I/O copies data several times between user space and the kernel, and "
        "that costs CPU and memory."
    },
    title="What copies cost",
    method=f"A file of {_MIB:.0f} MiB is sent over TCP by read and send, mmap and send, sendfile "
    "and splice, in turn, with a warm and a cold cache; CPU is the sender's (getrusage).",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=60, cpu_seconds=40),
)
