"""An application that crashes, hangs, grows, forks and looks around in its process.

`tests/fcgi_worker/test_gunicorn.py` runs it under gunicorn, too, and compares.
"""

import asyncio
import atexit
import gc
import json
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import IO, Any
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


# Looking around


def programs_signals(_environ: WSGIEnvironment) -> object:
    """The signals that a program started here ignores and blocks."""
    told = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True)
    lines = dict(line.split(":\t", 1) for line in told.stdout.splitlines() if line[:3] == "Sig")
    return {"ignored": int(lines["SigIgn"], 16), "blocked": int(lines["SigBlk"], 16)}


def handlers(_environ: WSGIEnvironment) -> object:
    """The dispositions of signals in a process forked here."""
    names = ("SIGTERM", "SIGQUIT", "SIGUSR1", "SIGHUP", "SIGINT", "SIGCHLD")
    found = in_fork(lambda: {n: str(signal.getsignal(getattr(signal, n))) for n in names})
    return {name: handler.split(" at 0x")[0] for name, handler in found.items()}


def in_fork(call: Callable[[], Any]) -> Any:
    """Return what `call` returns in a forked process, as JSON."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.write(theirs, json.dumps(call()).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as told:
        os.wait()
        return json.load(told)


def held(_environ: WSGIEnvironment) -> object:
    """What a process forked here has open, but for pipes and files."""

    def look() -> list[str]:
        found = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found.append(str(entry.readlink()).partition(":[")[0])
            except OSError:
                continue  # the folder's own descriptor
        return sorted(name for name in found if name in ("socket", "anon_inode"))

    def look_and_fork() -> list[list[str]]:
        """Also that a fork of the fork loses nothing that the fork has opened since."""
        here, own = look(), [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
        return [here, in_fork(look), in_fork(lambda: [n for n in own if not alive(n)])]

    def alive(descriptor: int) -> bool:
        try:
            return os.fstat(descriptor) is not None
        except OSError:
            return False

    return in_fork(look_and_fork)


def job(_environ: WSGIEnvironment) -> object:
    """Fork a process that goes on, and return its pid."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    return process.pid


def terminated(_environ: WSGIEnvironment) -> object:
    """The exit code of a process that was told to end."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3,))
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


def pools(_environ: WSGIEnvironment) -> object:
    """What process pools of every kind compute. They end in order: see `terminated`."""
    found: dict[str, object] = {}
    for method in ("fork", "spawn", "forkserver"):
        pool = multiprocessing.get_context(method).Pool(2)
        found[method] = pool.map(abs, [-1, -2, -3])
        pool.close()
        pool.join()
    return found


def executor(_environ: WSGIEnvironment) -> object:
    """The pids of a pool that stays."""
    if not EXECUTORS:
        fork = multiprocessing.get_context("fork")
        EXECUTORS.append(ProcessPoolExecutor(2, mp_context=fork))
    list(EXECUTORS[0].map(abs, range(8)))
    return list(EXECUTORS[0]._processes)  # noqa: SLF001


EXECUTORS: list[ProcessPoolExecutor] = []


def fork(environ: WSGIEnvironment) -> object:
    """Fork a process that does what it should not: leave the application. Return its exit code."""
    how = argument(environ, "how")
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "raise":
        raise ValueError("in a forked process")
    if how == "exit":
        sys.exit(3)
    return "the forked process answers"


RAISED: dict[str, type[BaseException]] = {
    kind.__name__: kind
    for kind in (
        ValueError, RecursionError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit,
        asyncio.CancelledError, BaseException, StopIteration, OSError, ConnectionResetError,
    )
}  # fmt: skip


def raising(environ: WSGIEnvironment) -> object:
    raise RAISED[argument(environ, "what")]("raised on purpose")


def run_asyncio(_environ: WSGIEnvironment) -> object:
    """What a coroutine and a program started by asyncio tell."""

    async def main() -> str:
        process = await asyncio.create_subprocess_exec(
            "echo", "from a program", stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        return told.decode().strip()

    return asyncio.run(main())


def alarm(_environ: WSGIEnvironment) -> object:
    """An exception that a signal handler of the application raises."""

    def ring(_number: int, _frame: object) -> None:
        raise TimeoutError("the alarm rang")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        time.sleep(60)
    except TimeoutError as error:
        return str(error)
    finally:
        signal.signal(signal.SIGALRM, before)
    return "it did not ring"


FILES: list[IO[bytes]] = []


def many_files(_environ: WSGIEnvironment) -> object:
    """Hold 1,100 files open; return how many."""
    while len(FILES) < 1100:
        FILES.append(Path("/dev/null").open("rb"))  # noqa: SIM115 - they stay open
    return len(FILES)


def exhaust(_environ: WSGIEnvironment) -> object:
    """Open files until none can be opened."""
    try:
        while True:
            FILES.append(Path("/dev/null").open("rb"))  # noqa: SIM115 - they stay open
    except OSError as error:
        return error.errno


def release(_environ: WSGIEnvironment) -> object:
    """Close the files again."""
    while FILES:
        FILES.pop().close()
    return "closed"


def chatter(environ: WSGIEnvironment) -> object:
    for _ in range(1000):
        environ["wsgi.errors"].write("x" * 99 + "\n")
    return "said"


def root_logger(_environ: WSGIEnvironment) -> object:
    return {"handlers": len(logging.root.handlers), "level": logging.root.level}


def lingering(environ: WSGIEnvironment) -> object:
    """Leave a thread running that writes a file when a gate opens."""
    gate = Path(argument(environ, "file"))

    def work() -> None:
        while not gate.exists():
            time.sleep(0.005)
        Path(f"{gate}.done").touch()

    threading.Thread(target=work).start()
    return "started"


def process_state(_environ: WSGIEnvironment) -> object:
    """What a library may look at."""
    return {
        "path": sys.path[0] == str(Path.cwd()),
        "main thread": threading.current_thread() is threading.main_thread(),
        "threads": [thread.name for thread in threading.enumerate()],
        "wakeup": signal.set_wakeup_fd(-1) == -1,
        "recursion": sys.getrecursionlimit(),
        "collects": gc.isenabled(),
        "stdout": sys.stdout is sys.__stdout__,
        "interrupt": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
        "child": str(signal.getsignal(signal.SIGCHLD)),
        "loggers": logging.root.manager.disable,
        "umask": umask(),
        "folder": str(Path.cwd()),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
    }


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def file_limit(_environ: WSGIEnvironment) -> object:
    """The soft limit of open files, which programs started here inherit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


ROUTES: dict[str, Callable[[WSGIEnvironment], object]] = {
    "/" + function.__name__.replace("_", "-"): function
    for function in (
        pid, crash, loop, grow, programs_signals, handlers, held, job, terminated, pools, executor,
        fork, raising, run_asyncio, alarm, many_files, exhaust, release, root_logger, lingering,
        process_state, chatter, file_limit,
    )
}  # fmt: skip


def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/hold":
        return hold(environ, start)
    told = ROUTES[environ["PATH_INFO"]](environ)
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def create(folder: str) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """The application, with what is to happen at the end of the process."""
    mark = Path(folder, f"exit-{os.getpid()}")
    atexit.register(mark.write_text, "exit handler")
    sys.stdout = Path(folder, f"stdout-{os.getpid()}").open("w")  # noqa: SIM115
    print("no newline, no flush", end="")
    return application
