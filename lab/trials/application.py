"""The application of the trials: the lab's own, and requests that harm their process.

/fail?how=segv|exit|kill|hang|raise   end the process, never end, or raise an exception
/family                               start processes in every way, and leave some running
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from servers.app.wsgi import application as ordinary

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_pools: list[Any] = []  # kept, as an application that computes beside its requests keeps them


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _hang() -> None:
    threading.Event().wait(3600)


def _exit() -> None:
    os._exit(3)


def _raise() -> None:
    raise ZeroDivisionError("a request of the trial that fails")


FAILURES: Final[dict[str, Callable[[], None]]] = {
    "segv": _crash, "exit": _exit, "kill": _killed, "hang": _hang, "raise": _raise,
}  # fmt: skip


def application(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    """Answer one request."""
    path = environ["PATH_INFO"]
    if path == "/fail":
        FAILURES[environ["QUERY_STRING"].removeprefix("how=")]()
    if path == "/family":
        return _family(start)
    return ordinary(environ, start)


def _family(start: "StartResponse") -> Iterable[bytes]:
    """Use a pool of processes, fork a process and wait for it, run a program."""
    if not _pools:
        _pools.append(multiprocessing.Pool(1))
    doubled = _pools[0].map(abs, [-1, -2])
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    said = subprocess.run(
        [sys.executable, "-S", "-c", "print('child')"], capture_output=True, check=True
    ).stdout
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"%d %s" % (sum(doubled), said)]
