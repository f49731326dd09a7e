"""Locust users for the lab's application: one task per route, every answer verified.

A wrong answer counts as a failure, whatever its status: a server that answers quickly and wrongly
must not win. Runs under `lab load`, and by itself:

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8080 [--tags hello wait]

`--shape NAME` makes the number of users change over time (curves.py); in a `crowd`, a few are
ChainUsers and the others IdleUsers. `--record FILE` writes every request as a line of CSV (time it
ended, milliseconds, name, failure); `lab demo` uses it to separate requests before and after a
swap.
"""

import csv
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from locust import FastHttpUser, between, constant, events, tag, task
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest import shapes
from loadtest.curves import CROWD, CURVES
from loadtest.history import History
from loadtest.verifying import verify


def digest_after(rounds: int) -> bytes:
    """Return the answer of /cpu."""
    digest = b""
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex().encode() + b"\n"


HELLO = b"Hello, world!\n"
FILE = b"Hello, file!\n"
JSON = b'{"message":"Hello, world!"}'
ECHO = bytes(range(256)) * 16
PATTERN = bytes(range(256)) * 64
CPU_ROUNDS = 100
CPU_DIGEST = digest_after(CPU_ROUNDS)


class ChainUser(FastHttpUser):
    """A client that keeps its connection and sends the next request after the answer."""

    host = os.environ.get("CHAINLAB_URL", "http://127.0.0.1:8080")
    wait_time = constant(0)
    network_timeout = 30.0  # seconds
    connection_timeout = 10.0

    def expect(self, path: str, wanted: bytes, name: str, **request: Any) -> None:
        """Send a request; anything but 200 with the body `wanted` is a failure."""
        self.check(path, lambda got: got == wanted, name, **request)

    def check(self, path: str, good: Callable[[bytes], bool], name: str, **request: Any) -> None:
        """Send a request; it fails unless the status is 200 and `good` accepts the body."""
        method = "POST" if "data" in request else "GET"
        with self.client.request(
            method, path, name=name, catch_response=True, **request
        ) as response:
            verify(response, good)

    @tag("hello")
    @task(10)
    def get_hello(self) -> None:
        """A fixed text: the overhead per request."""
        self.expect("/hello", HELLO, "/hello")

    @tag("json")
    @task(3)
    def get_json(self) -> None:
        """A fixed value through the JSON serialiser."""
        self.expect("/json", JSON, "/json")

    @tag("wait")
    @task(1)
    def get_wait(self) -> None:
        """A request that waits."""
        self.expect("/wait?ms=20", b"waited 20 ms\n", "/wait?ms=20")

    @tag("cpu")
    @task(1)
    def get_cpu(self) -> None:
        """A request that computes."""
        self.expect(f"/cpu?n={CPU_ROUNDS}", CPU_DIGEST, "/cpu?n=100")

    @tag("bytes")
    @task(1)
    def get_bytes(self) -> None:
        """16 KiB of content."""
        self.expect(f"/bytes?n={len(PATTERN)}", PATTERN, "/bytes?n=16384")

    @tag("file")
    @task(1)
    def get_file(self) -> None:
        """A file."""
        self.expect("/file/hello.txt", FILE, "/file/hello.txt")

    @tag("echo")
    @task(1)
    def post_echo(self) -> None:
        """4 KiB of content there and back."""
        self.expect("/echo", ECHO, "/echo", data=ECHO)

    @tag("stream")
    @task(1)
    def get_stream(self) -> None:
        """Lines sent one by one."""
        self.check("/stream?n=3&ms=5", lambda got: got.count(b"\n") == 3, "/stream?n=3&ms=5")

    @tag("whoami")
    @task(1)
    def get_whoami(self) -> None:
        """The answering process."""
        self.check("/whoami", lambda got: b'"architecture"' in got, "/whoami")


class IdleUser(ChainUser):
    """A crowd's idle client: sends a request every 5 to 15 s and keeps its connection open."""

    abstract = True  # else locust would always run it beside ChainUser
    weight = CROWD - 1
    wait_time = between(5, 15)  # seconds; a server keeps an idle connection for 75


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add `--shape` and `--record`."""
    parser.add_argument(
        "--shape",
        choices=sorted(CURVES),
        help="How the number of users changes over --run-time, or over 60 s. Default: no change.",
        include_in_web_ui=False,  # a choice on the page would come too late
    )
    parser.add_argument("--record", metavar="FILE", default="", help="Write requests as CSV.")


@events.init.add_listener
def take_shape(environment: Environment, **_: Any) -> None:
    """Set the run's shape; a worker has none, because its master sets the number of users."""
    shape = getattr(environment.parsed_options, "shape", None) or ""
    is_worker = isinstance(environment.runner, WorkerRunner)
    if shape == "crowd" or is_worker:
        environment.user_classes.append(IdleUser)
    if not is_worker:
        History(environment, shape)
    if shape and not is_worker:
        environment.shape_class = shapes.Shape(shape)
        environment.shape_class.runner = environment.runner


@events.init.add_listener
def start_recording(environment: Environment, **_: Any) -> None:
    """Record every request if --record is given."""
    options = environment.parsed_options
    path = options.record if options is not None else ""
    if path:
        Recorder(environment, Path(path).open("w", encoding="utf-8", newline=""))  # noqa: SIM115


class Recorder:
    """Writes a line per request; the file is complete when locust has quit."""

    def __init__(self, environment: Environment, file: IO[str]) -> None:
        self._file = file
        self._writer = csv.writer(file)
        environment.events.request.add_listener(self.on_request)
        environment.events.quitting.add_listener(self.on_quitting)

    def on_request(
        self, response_time: float, name: str, exception: BaseException | None, **_: Any
    ) -> None:
        """Write one request: seconds since the epoch, milliseconds, name, failure or ""."""
        failure = str(exception) if exception else ""
        self._writer.writerow((f"{time.time():.3f}", f"{response_time:.3f}", name, failure))

    def on_quitting(self, **_: Any) -> None:
        """Close the file."""
        self._file.close()
