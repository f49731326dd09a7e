"""Starts and stops the parts of a chain, and measures their CPU time and memory.

Each part leads a session of its own, so Ctrl-C in the terminal reaches only the lab, which then
stops the parts in order. Each part's output goes to a log file in the run folder.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import AnyStr, Final

import psutil

from chainlab.transport import Address, ListenError, bind_listener, parse_address
from lab.chain.rundir import LabError, Part, RunDir

PATIENCE = 15.0
"""Seconds within which a part must accept connections."""

GRACE = 10.0
"""Seconds for running requests to finish when a part stops."""

_KILLED: Final = 3.0
"""Seconds to wait for the rest of a killed program's output."""

_PRIVILEGED: Final = 1024
"""Ports below this one need root."""

_ATTEMPTS: Final = 1000
"""Ports to try before giving up."""

_READINGS: Final = 50
"""How often to read a family's CPU time again if a process ended meanwhile."""

_started: list[subprocess.Popen[bytes]] = []
_claims: list[socket.socket] = []


def start_part(
    name: str,
    command: Sequence[str],
    address: Address,
    run_dir: RunDir,
    environment: Mapping[str, str] | None = None,
    bound: socket.socket | None = None,
) -> Part:
    """Start `command`; return once `address` accepts connections, or raise LabError.

    `bound` is a listener already bound to that address, which the command inherits.
    """
    if bound is None and not address.path:  # another program's listener could pass for this part
        try:
            bind_listener(address).close()
        except ListenError as error:
            raise LabError(str(error)) from None
    log_path = run_dir.log_path(name)
    with log_path.open("ab") as log:
        begin = log.tell()
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            pass_fds=() if bound is None else (bound.fileno(),),
        )
    _started.append(popen)
    try:
        if not _wait_until_accepting(address, popen):
            said = log_path.read_bytes()[begin:].decode(errors="replace").strip()
            last = said.splitlines()[-1] if said else "it printed nothing"
            raise LabError(f"{name} did not start: {last} (more in {log_path})")
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        raise
    started = psutil.Process(popen.pid).create_time()
    return Part(name, popen.pid, started, str(address))


def _wait_until_accepting(address: Address, popen: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not accepts(address):
        if popen.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def accepts(address: Address) -> bool:
    """Return True if a server accepts connections at `address`."""
    with socket.socket(address.family) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(address.sockaddr) == 0


def free_port() -> int:
    """Return a free port of 127.0.0.1, below the kernel's range of ephemeral ports.

    An ephemeral port may belong to some client by the time a server binds it. And if two labs
    picked the same port, the second would take the first one's server for its own. So each port
    is claimed with an abstract unix socket until this process ends (man unix(7)).
    """
    span = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    lowest = int(span[0])
    chance = random.SystemRandom()  # tests seed the default one: all would draw the same ports
    for _ in range(_ATTEMPTS):
        port = chance.randrange(lowest // 2, lowest) if lowest > _PRIVILEGED * 2 else 0
        if port and not _claim(port):
            continue  # do not probe it: that would keep its claimant from binding it
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port:
                return port
            port = int(probe.getsockname()[1])
            if _claim(port):
                return port
    raise LabError("no port of 127.0.0.1 is free")


def _claim(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0chainlab-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def end(process: "subprocess.Popen[AnyStr]", patience: float = 5.0) -> tuple[AnyStr, AnyStr]:
    """End a program that stops cleanly at SIGINT; return what it wrote to its pipes.

    A SIGINT that arrives before the program has its handler is lost where SIGINT was inherited as
    ignored, so SIGINT is sent twice, then SIGTERM, then SIGKILL. `patience` (seconds) is how long
    the program may take to write its results.
    """
    first = min(1.0, patience)
    return _end(process, ((signal.SIGINT, first), (signal.SIGINT, patience), (signal.SIGTERM, 3.0)))


def terminate(process: "subprocess.Popen[AnyStr]", patience: float = GRACE) -> None:
    """End a program that cleans up at SIGTERM; after `patience` seconds kill it."""
    if process.poll() is None:
        _end(process, ((signal.SIGTERM, patience),))


def _end(
    process: "subprocess.Popen[AnyStr]", signals: Sequence[tuple[signal.Signals, float]]
) -> tuple[AnyStr, AnyStr]:
    for number, seconds in signals:
        process.send_signal(number)
        try:
            return process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    try:
        return process.communicate(timeout=_KILLED)
    except subprocess.TimeoutExpired:  # a child of its own still has the pipes open
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise LabError(
            f"process {process.pid} was killed, but a process it started holds its output open"
        ) from None


def stop_part(part: Part, grace: float = GRACE) -> None:
    """Stop `part` and all it started: SIGQUIT, which finishes running requests, then harder.

    SIGTERM follows after `grace` seconds, SIGKILL three seconds later.
    """
    process = part.process
    if process is None:
        return
    family = family_of(part)
    for number, seconds in ((signal.SIGQUIT, grace), (signal.SIGTERM, 3.0)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        if not _wait(family, seconds):
            break
    for left in _wait(family, 0):
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    _wait(family, 3.0)
    address = parse_address(part.address)
    if address.path and not accepts(address):
        Path(address.path).unlink(missing_ok=True)


def _wait(family: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended (zombies count as ended); return those still running."""
    deadline = time.monotonic() + seconds
    while True:
        left = [process for process in family if _is_running(process)]
        if not left or time.monotonic() >= deadline:
            return left
        _reap_ours()
        time.sleep(0.02)


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reap_ours() -> None:
    """Reap the processes that this command started, so that none is left a zombie."""
    for popen in _started:
        popen.poll()


def family_of(part: Part) -> list[psutil.Process]:
    """Return the leader and all its descendants; an empty list if it has ended."""
    process = part.process
    if process is None:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def cpu_times(part: Part) -> tuple[float, float]:
    """Return the CPU seconds, user and kernel, that `part` has used in all its processes.

    A reaped child's time moves to its parent (proc_pid_stat(5): cutime, cstime). If a process ends
    while the family is being added up, its time could count twice or not at all, so the sum is
    taken again.
    """
    user = kernel = 0.0
    for _ in range(_READINGS):
        family = family_of(part)
        user = kernel = 0.0
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                user += times.user + times.children_user
                kernel += times.system + times.children_system
        if family == family_of(part):
            break
    return user, kernel


def cpu_seconds(part: Part) -> float:
    """Return the CPU time, user and kernel together."""
    return sum(cpu_times(part))


def resident_bytes(part: Part) -> int:
    """Return the resident memory of `part` in all its processes."""
    total = 0
    for process in family_of(part):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total
