"""An application that crashes, hangs, grows, forks and looks around in its process.

`tests/fcgi_worker/test_gunicorn.py` runs it under gunicorn, too, and compares.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from tests.fcgi_worker.apps import argument, hold

HOARD: list[bytes] = []


def pid(_environ: WSGIEnvironment) -> object:
    return os.getpid()


def crash(_environ: WSGIEnvironment) -> object:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "never"


def loop(environ: WSGIEnvironment) -> object:
    """Hang: in Python, or in a call that does not return to Python."""
    Path(argument(environ, "file")).touch()
    if argument(environ, "where") == "C":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.waitpid(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}), 0)
    while True:
        time.sleep(0.01)


def grow(_environ: WSGIEnvironment) -> object:
    HOARD.append(os.urandom(64) * (1 << 20))
    return os.getpid()


ROUTES: dict[str, Callable[[WSGIEnvironment], object]] = {
    "/" + function.__name__.replace("_", "-"): function for function in (pid, crash, loop, grow)
}


def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/hold":
        return hold(environ, start)
    told = ROUTES[environ["PATH_INFO"]](environ)
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(told).encode()]
