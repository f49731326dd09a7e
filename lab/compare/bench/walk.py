"""`python -m lab.compare.bench.walk`: one kept request through the gateway, call by call.

Runs one serving process of the gateway in this process, before a real worker, with a profiler that
sees every Python call (sys.setprofile). Counts the calls of one GET on a kept connection, and the
moves from one file to another: each is a place where a reader must turn to another page.
"""

import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import click

from chainlab.transport import Address, bind_listener, bound_address
from gateway.config import Log, simple_config
from gateway.process import Process
from gateway.scoreboard import Scoreboard
from lab.chain.backends import find_backend
from lab.chain.processes import stop_part
from lab.chain.rundir import RunDir

REQUEST = b"GET /hello HTTP/1.1\r\nHost: walk\r\n\r\n"


class Walk:
    """The Python calls of the gateway's files while it is recording."""

    def __init__(self) -> None:
        self.recording = False
        self.steps: list[tuple[int, str, str]] = []  # depth, file, function

    def on_profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note a call; the signature is that of a profile function (sys.setprofile)."""
        if event != "call" or not self.recording:
            return
        code = frame.f_code
        depth, above = 0, frame.f_back
        while above is not None:
            depth, above = depth + 1, above.f_back
        self.steps.append((depth, Path(code.co_filename).name, code.co_qualname))

    @property
    def moves(self) -> int:
        """How often a call stands in another file than the call before it."""
        files = [file for _, file, _ in self.steps]
        return sum(a != b for a, b in pairwise(files))


@contextmanager
def worker() -> Iterator[Address]:
    """Run a FastCGI worker; yield its address."""
    with tempfile.TemporaryDirectory(prefix="walk-") as folder:
        part = find_backend("fcgi-worker").start(RunDir(Path(folder)), 1, 1)
        try:
            yield Address(path=part.address.removeprefix("unix:"))
        finally:
            stop_part(part)


def ask(client: socket.socket) -> bytes:
    """Send one request; return its answer, which fits one read."""
    client.sendall(REQUEST)
    return client.recv(65536)


def record(back: Address) -> Walk:
    """Return the walk of one request on a kept connection."""
    walk = Walk()
    ours, theirs = socket.socketpair()
    with bind_listener(Address("127.0.0.1", 0)) as listener, ours, theirs:
        log = Log(access="/dev/null")
        config = simple_config([bound_address(listener)], "fastcgi", [back], log=log)
        process = Process(config, 1, 1, [listener], theirs, Scoreboard(), 0)

        def drive() -> None:
            try:
                with socket.create_connection(listener.getsockname(), timeout=5) as client:
                    for number in range(5):  # heads, parameters and the connection are known soon
                        walk.recording = number >= 2
                        ask(client)
            finally:
                process.loop.stop()

        driver = threading.Thread(target=drive)
        driver.start()
        sys.setprofile(walk.on_profile)
        try:
            process.run()
        finally:
            sys.setprofile(None)
            driver.join()
    begins = [n for n, step in enumerate(walk.steps) if step[2] == "Client.on_event"]
    walk.steps = walk.steps[begins[1] : begins[2] - 1]  # what is left is the loop's clock
    return walk


@click.command()
def main() -> None:
    """Print the calls of one kept request through the gateway."""
    with worker() as back:
        walk = record(back)
    top = min(depth for depth, _, _ in walk.steps)
    for depth, file, function in walk.steps:
        click.echo(f"{'  ' * (depth - top)}{file}: {function}")
    click.echo(f"{len(walk.steps)} calls, {walk.moves} moves between files")


if __name__ == "__main__":
    main()
