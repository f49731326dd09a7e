"""One read of one datagram, by one of the five models, seen from three sides.

The reader notes the time around its calls (`models`). Another process sends the datagram after a
while, and until then looks at the reader's state in /proc. When it arrived in the socket is the
kernel's own word (SIOCGSTAMPNS, man socket(7)). All times are nanoseconds of the monotonic clock.
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
"""Bytes of the datagram: much to copy, and on the loopback still one packet."""

_SIOCGSTAMPNS: Final = 0x8907
_TIMESPEC: Final = struct.Struct("@ll")
_LOOK: Final = 0.0005  # seconds between two looks at the reader's state
_DATA: Final = bytes(range(250)) * (SIZE // 250)


def read_once(model: str, delay: float) -> Numbers:
    """Read one datagram that is sent after `delay` seconds; return marks, states and costs.

    NotHere when this machine does not have the model.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        _arrival(sock)  # from now on the kernel notes it
        reader = MODELS[model](sock)
        child, go, said = _start_sender(sock, delay)
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
        sender = json.loads(os.read(said, 4096))
        os.close(said)
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
    """Return the read of several that others disturbed least: its data came to hand first."""
    found = [read_once(model, delay) for _ in range(times)]
    return min(found, key=lambda each: each["done"] - each["arrived"])


def _arrival(sock: socket.socket) -> int:
    """When the datagram that was read last had come, on the monotonic clock."""
    answer = bytearray(_TIMESPEC.size)
    try:
        ioctl(sock, _SIOCGSTAMPNS, answer)
    except FileNotFoundError:  # none was read yet
        return 0
    seconds, nanoseconds = _TIMESPEC.unpack(answer)
    found: int = seconds * 1_000_000_000 + nanoseconds - (time.time_ns() - time.monotonic_ns())
    return found


def _start_sender(sock: socket.socket, delay: float) -> tuple[int, int, int]:
    """Return its pid, the pipe at which it waits, and the pipe on which it tells what it noted."""
    gate, go = os.pipe()
    said, tell = os.pipe()
    reader, address = os.getpid(), sock.getsockname()
    child = os.fork()
    if child:
        os.close(gate)
        os.close(tell)
        return child, go, said
    try:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        os.read(gate, 1)
        os.write(tell, json.dumps(_send(reader, address, delay)).encode())
    finally:
        os._exit(0)


def _send(reader: int, address: Any, delay: float) -> Numbers:
    """Look at the reader until the time has come, then send."""
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
