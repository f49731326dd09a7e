"""One read of one datagram by one of the five models, observed from three sides.

The reader timestamps its calls (`models`). Another process sends the datagram after a delay and
until then samples the reader's state in /proc. The kernel supplies the arrival time
(SIOCGSTAMPNS, man socket(7)). All times are nanoseconds of the monotonic clock.
"""

import json
import os
import resource
import signal
import socket
import struct
import time
from collections import Counter
from dataclasses import asdict
from fcntl import ioctl
from typing import Any, Final

from experiments import proc
from experiments.frame import Numbers
from experiments.models import MODELS

SIZE: Final = 60_000
"""Bytes of the datagram: large enough to take time to copy, and still one loopback packet."""

_SIOCGSTAMPNS: Final = 0x8907
_TIMESPEC: Final = struct.Struct("@ll")
_LOOK: Final = 0.0005  # seconds between two samples of the reader's state
_DATA: Final = bytes(range(250)) * (SIZE // 250)


def read_once(model: str, delay: float) -> Numbers:
    """Read one datagram sent after `delay` seconds; return timestamps, states and costs.

    NotHere if this machine does not support the model.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        _arrival(sock)  # the first request turns on timestamps for this socket
        reader = MODELS[model](sock)
        child, go, report = _start_sender(sock, delay)
        buffer = bytearray(SIZE)
        try:
            before, cpu = resource.getrusage(resource.RUSAGE_SELF), time.process_time_ns()
            os.write(go, b"x")
            marks = reader.read(buffer)
            cpu = time.process_time_ns() - cpu
            after = resource.getrusage(resource.RUSAGE_SELF)
            arrived = _arrival(sock)
        finally:
            reader.close()
            os.close(go)
        sender = json.loads(os.read(report, 4096))
        os.close(report)
        os.waitpid(child, 0)
    return {
        **asdict(marks),
        "arrived": arrived,
        "sent": sender["sent"],
        "states": sender["states"],
        "cpu": cpu,
        "slept": after.ru_nvcsw - before.ru_nvcsw,
        "right": bytes(buffer) == _DATA,
    }


def read_often(model: str, delay: float, times: int) -> Numbers:
    """Repeat the read; return the one with the least time from arrival to done: least disturbed."""
    found = [read_once(model, delay) for _ in range(times)]
    return min(found, key=lambda each: each["done"] - each["arrived"])


def _arrival(sock: socket.socket) -> int:
    """Return when the last datagram read had arrived, on the monotonic clock."""
    answer = bytearray(_TIMESPEC.size)
    try:
        ioctl(sock, _SIOCGSTAMPNS, answer)
    except FileNotFoundError:  # ENOENT: nothing read yet
        return 0
    seconds, nanoseconds = _TIMESPEC.unpack(answer)
    found: int = seconds * 1_000_000_000 + nanoseconds - (time.time_ns() - time.monotonic_ns())
    return found


def _start_sender(sock: socket.socket, delay: float) -> tuple[int, int, int]:
    """Return its pid, the pipe that starts it, and the pipe that carries its report."""
    gate, go = os.pipe()
    report, tell = os.pipe()
    reader, address = os.getpid(), sock.getsockname()
    child = os.fork()
    if child:
        os.close(gate)
        os.close(tell)
        return child, go, report
    try:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        os.read(gate, 1)
        os.write(tell, json.dumps(_send(reader, address, delay)).encode())
    finally:
        os._exit(0)


def _send(reader: int, address: Any, delay: float) -> Numbers:
    """Sample the reader's state until the delay is over, then send."""
    states: Counter[str] = Counter()
    until = time.monotonic() + delay
    with socket.socket(type=socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZE)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))
            states[proc.task(reader).state] += 1
        before = time.monotonic_ns()
        out.sendto(_DATA, address)
        return {"sent": [before, time.monotonic_ns()], "states": states}
