"""WSGI applications that the worker's tests serve: each route exercises one clause of PEP 3333.

A route that must stand still waits for a file (`?file=PATH`) and says that it stands by making
PATH.started, so that a test orders events by conditions and never by time.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

PIECE = b"0123456789abcdef" * 4096  # 64 KiB
TEXT = [("Content-Type", "text/plain")]

Environ = WSGIEnvironment
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


def argument(environ: Environ, name: str) -> str:
    found: str = parse_qs(environ["QUERY_STRING"])[name][0]
    return found


def wait_for_file(environ: Environ) -> None:
    path = Path(argument(environ, "file"))
    Path(f"{path}.started").touch()
    for _ in range(12_000):
        if path.exists():
            return
        time.sleep(0.005)
    raise TimeoutError(f"{path} never came")


def current_exception() -> ExcInfo:
    kind, error, trace = sys.exc_info()
    assert kind is not None
    assert error is not None
    assert trace is not None
    return kind, error, trace


class Closing:
    """An iterable that appends a line to a file when it is closed."""

    def __init__(self, environ: Environ, pieces: Iterable[bytes]) -> None:
        self._path = Path(argument(environ, "closed"))
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        with self._path.open("a") as record:
            record.write("closed\n")


def hello(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return [b"hello\n"]


def pid(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return [b"%d" % os.getpid()]


def memory(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """The child's pid, so that its memory can be read from outside, and its open descriptors."""
    start("200 OK", TEXT)
    return [b"%d %d" % (os.getpid(), len(os.listdir("/proc/self/fd")))]  # noqa: PTH208


def show_environ(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return [json.dumps({name: str(value) for name, value in environ.items()}).encode()]


def hold(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    wait_for_file(environ)
    start("200 OK", TEXT)
    return [b"%d" % os.getpid()]


def spin(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Keep the CPU busy: a child that does not even sleep."""
    end = time.monotonic() + float(argument(environ, "seconds"))
    Path(argument(environ, "file") + ".started").touch()
    while time.monotonic() < end:
        pass
    start("200 OK", TEXT)
    return [b"done"]


def drip(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """A piece, then nothing until the file is there, then the rest."""
    start("200 OK", TEXT)
    yield b"first"
    wait_for_file(environ)
    yield b""
    yield b"second"


def big(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    pieces = int(argument(environ, "pieces"))
    start("200 OK", TEXT)
    return (PIECE for _ in range(pieces))


def big_list(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return [PIECE] * int(argument(environ, "pieces"))


def closing_big(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return Closing(environ, (PIECE for _ in range(int(argument(environ, "pieces")))))


def echo(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    while piece := environ["wsgi.input"].read(65536):
        yield piece


def lines(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Send each line of the body back before the next one is read."""
    start("200 OK", TEXT)
    while line := environ["wsgi.input"].readline():
        yield line


def digest(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Read the body in pieces: length, SHA-256 and who read it."""
    length, checksum = 0, hashlib.sha256()
    while piece := environ["wsgi.input"].read(65536):
        length += len(piece)
        checksum.update(piece)
    start("200 OK", TEXT)
    return [f"{length} {checksum.hexdigest()} {os.getpid()}".encode()]


def measured(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Read as much as CONTENT_LENGTH says, as Django does; tell what was said of the body."""
    told = [environ.get(name) for name in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")]
    body = environ["wsgi.input"].read(int(told[0] or 0))
    start("200 OK", TEXT)
    return [json.dumps([*told, hashlib.sha256(body).hexdigest()]).encode()]


READS: dict[str, Callable[[Environ], object]] = {
    "read-all": lambda environ: environ["wsgi.input"].read(-1),
    "read-3": lambda environ: [environ["wsgi.input"].read(3) for _ in range(3)],
    "read-0": lambda environ: environ["wsgi.input"].read(0),
    "read-past-end": lambda environ: [environ["wsgi.input"].read(1 << 20) for _ in range(2)],
    "readline": lambda environ: [environ["wsgi.input"].readline() for _ in range(4)],
    "readline-2": lambda environ: [environ["wsgi.input"].readline(2) for _ in range(3)],
    "readlines": lambda environ: environ["wsgi.input"].readlines(),
    "readlines-1": lambda environ: environ["wsgi.input"].readlines(1),
    "iterate": lambda environ: list(environ["wsgi.input"]),
}


def read(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    found = READS[argument(environ, "how")](environ)
    start("200 OK", TEXT)
    return [repr(found).encode()]


def write(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """The imperative way: what is written is on its way before write() returns."""
    push = start("200 OK", TEXT)
    push(b"written ")
    wait_for_file(environ)
    push(b"")
    push(b"twice ")
    return [b"and", b" returned"]


def file(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    source = Path(argument(environ, "path")).open("rb")  # noqa: SIM115 - the server closes it
    headers = list(TEXT)
    if "length=" in environ["QUERY_STRING"]:
        source.seek(int(argument(environ, "from")))
        headers.append(("Content-Length", argument(environ, "length")))
    start("200 OK", headers)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](source, 8192)
    return wrapped


def errors(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    environ["wsgi.errors"].write("one Größe\n")
    environ["wsgi.errors"].writelines(["two\n", "three\n"])
    environ["wsgi.errors"].flush()
    start("200 OK", TEXT)
    return [b"said"]


def many_errors(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    for _ in range(1000):
        environ["wsgi.errors"].write("x" * 99 + "\n")
    start("200 OK", TEXT)
    return [b"said"]


def no_content(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("204 No Content", [])
    return []


def own_length(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Content-Length 10, a body of `bytes`, in pieces or as a list."""
    body = b"x" * int(argument(environ, "bytes"))
    push = start("200 OK", [*TEXT, ("Content-Length", "10")])
    shape = argument(environ, "shape")
    if shape == "write":
        push(body[:4])
        push(body[4:])
        push(b"more")
        return []
    if shape == "endless":
        return repeat(b"xxx")
    return [body] if shape == "list" else iter([body[:4], body[4:]])


def replaced(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Nothing is out yet: exc_info replaces the head."""
    start("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise KeyError("told in the second head")
    except KeyError:
        start("503 Service Unavailable", TEXT, current_exception())
    return [b"sorry"]


def too_late(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """A piece is out: start_response raises the exception again."""
    start("200 OK", TEXT)
    yield b"a piece"
    try:
        raise KeyError("too late for another head")
    except KeyError:
        start("503 Service Unavailable", TEXT, current_exception())
    yield b"never"


def started_twice(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    start("200 OK", TEXT)
    return [b"never"]


def raises_at_once(environ: Environ, _start: StartResponse) -> Iterable[bytes]:
    raise ZeroDivisionError(f"raised in {environ['PATH_INFO']}")


def raises_late(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """After start_response, before any piece: still a clean 500."""
    start("200 OK", TEXT)

    def pieces() -> Iterator[bytes]:
        raise ZeroDivisionError("before the first piece")
        yield b""

    return Closing(environ, pieces())


def raises_torn(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)

    def pieces() -> Iterator[bytes]:
        yield b"a piece"
        if "file=" in environ["QUERY_STRING"]:
            wait_for_file(environ)
        raise ZeroDivisionError("after the first piece")

    return Closing(environ, pieces())


def raises_exit(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
    sys.exit("not the application's to decide")


def raises_interrupt(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
    raise KeyboardInterrupt


def raises_in_close(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    class Bad(list[bytes]):
        def close(self) -> None:
            raise ZeroDivisionError("in close")

    start("200 OK", TEXT)
    return Bad([b"complete"])


def errors_in_close(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    class Talking(list[bytes]):
        def close(self) -> None:
            environ["wsgi.errors"].write("said in close\n")
            environ["wsgi.errors"].flush()

    start("200 OK", TEXT)
    return Talking([b"complete"])


def errors_in_close_unflushed(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    class Talking(list[bytes]):
        def close(self) -> None:
            environ["wsgi.errors"].write("said in close without a flush\n")

    start("200 OK", TEXT)
    return Talking([b"complete"])


def stubborn(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    """Nobody reads: write() fails in the middle, and the application tells of it as an error."""
    push = start("200 OK", TEXT)
    try:
        while True:
            push(PIECE)
    except ConnectionError:
        raise ValueError("told after half a record") from None


def silent(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
    return [b"no head"]


def text_body(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return ["not bytes"]  # type: ignore[list-item]  # what a careless application does


def bad_head(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    which = argument(environ, "which")
    status = {"status": "OK 200", "status-newline": "200 OK\r\nX: y"}.get(which, "200 OK")
    header = {
        "name": ("Bad Name", "x"),
        "value": ("X-Split", "a\r\nSet-Cookie: b"),
        "length": ("Content-Length", "-5"),
    }.get(which, ("X-Good", "x"))
    start(status, [*TEXT, header])
    return [b"never"]


def die(_environ: Environ, _start: StartResponse) -> Iterable[bytes]:
    os._exit(7)


ROUTES: dict[str, Callable[[Environ, StartResponse], Iterable[bytes]]] = {
    "/" + function.__name__.replace("_", "-"): function
    for function in (
        hello, pid, memory, show_environ, hold, spin, drip, big, big_list, closing_big, echo, lines,
        digest, measured, read, write, file, errors, many_errors, no_content, own_length, replaced,
        too_late, started_twice, raises_at_once, raises_late, raises_torn, raises_exit,
        raises_interrupt, raises_in_close, errors_in_close, errors_in_close_unflushed, stubborn,
        silent, text_body, bad_head, die,
    )
}  # fmt: skip


def application(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    return ROUTES[environ["PATH_INFO"]](environ, start)


validated = validator(application)
"""The same, with every call on either side checked by wsgiref.validate."""

not_callable = 3


def create(name: str | None = None) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    """A factory of applications."""

    def made(_environ: Environ, start: StartResponse) -> Iterable[bytes]:
        start("200 OK", TEXT)
        return [f"made {name}".encode()]

    return made


class factories:  # noqa: N801 - a namespace
    create = staticmethod(create)
    made = staticmethod(create("dotted"))


def creates_nothing() -> None:
    """A factory that has forgotten its return."""
