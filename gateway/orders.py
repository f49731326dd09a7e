"""What the master and its processes say to each other, over a SOCK_SEQPACKET pair for each process.

    process -> master   Report(1)               it serves the configuration that it was forked with
    master -> process   Order(2, configuration, listeners)
    process -> master   Report(2), or Report(2, problem) if it goes on with what it had

The configuration travels pickled in an anonymous file (memfd_create(2)) whose descriptor is passed
along with the listeners' (unix(7)). It needs no second parsing and no second name resolution, so a
process cannot come to another result than its master.
"""

import json
import os
import pickle
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.config import MOST_LISTENERS, Config

_LONGEST: Final = 4096  # bytes of a message


class OrderError(Exception):
    """An order arrived without all its descriptors: this process may open no more."""

    def __init__(self, generation: int) -> None:
        super().__init__("no descriptors left for its listeners; raise the limit (ulimit -n)")
        self.generation = generation


@dataclass(frozen=True, slots=True)
class Order:
    """A new configuration for a process, which owns the listeners."""

    generation: int
    processes: int
    config: Config
    listeners: list[socket.socket]


@dataclass(frozen=True, slots=True)
class Report:
    """Whether a process serves configuration `generation`; `problem` says why it does not."""

    generation: int
    problem: str = ""


def pack_config(config: Config) -> int:
    """Return the descriptor of an anonymous file that holds `config`; the caller closes it."""
    memory = os.memfd_create("configuration")
    with os.fdopen(memory, "wb", closefd=False) as file:
        pickle.dump(config, file)
    return memory


def send_order(
    control: socket.socket,
    generation: int,
    processes: int,
    memory: int,
    listeners: Iterable[socket.socket],
) -> None:
    """Send an order with a packed configuration; OSError if the process does not read orders."""
    descriptors = [memory, *(listener.fileno() for listener in listeners)]
    order = {"generation": generation, "processes": processes, "descriptors": len(descriptors)}
    socket.send_fds(control, [json.dumps(order).encode()], descriptors)


def receive_order(control: socket.socket) -> Order:
    """Return the next order; BlockingIOError if there is none, EOFError if the master is gone.

    OrderError if the order lacks descriptors: the kernel drops those that do not fit the limit.
    """
    try:
        message, descriptors, _, _ = socket.recv_fds(control, _LONGEST, MOST_LISTENERS + 1)
    except BlockingIOError:
        raise
    except OSError:
        message, descriptors = b"", []
    if not message:
        raise EOFError
    order = json.loads(message)
    generation = order["generation"]
    if len(descriptors) != order["descriptors"]:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OrderError(generation)
    with os.fdopen(descriptors[0], "rb") as memory:  # pread: the processes share one offset
        config = pickle.loads(os.pread(memory.fileno(), os.fstat(memory.fileno()).st_size, 0))
    listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors[1:]]
    return Order(generation, order["processes"], config, listeners)


def send_report(control: socket.socket, generation: int, problem: str = "") -> None:
    """Send a report; a master that is gone needs none."""
    message = json.dumps({"generation": generation, "problem": problem[:1000]}).encode()
    try:
        control.send(message)
    except OSError:
        pass  # the control socket's end tells the rest


def receive_report(control: socket.socket) -> Report:
    """Return the next report; BlockingIOError if there is none, EOFError if the process is gone."""
    try:
        message = control.recv(_LONGEST * 2)
    except BlockingIOError:
        raise
    except OSError:
        message = b""
    if not message:
        raise EOFError
    return Report(**json.loads(message))
