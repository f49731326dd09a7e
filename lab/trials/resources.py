"""Trials: a full disk for buffers, a full disk for logs, few descriptors, a stalled log pipe."""

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from lab.trials.little_disk import LittleDisk
from lab.trials.load import Ask
from lab.trials.programs import Program, configuration, gateway, wait_for, worker
from lab.trials.shortage import TO_HOLD, Shortage, endure
from lab.trials.trial import Settings, Trial, Verdict

_BODY: Final = bytes(1 << 20)
UPLOAD: Final = Ask("upload", "POST", "/echo", body=_BODY, chunks=16, answer=_BODY)
"""A chunked upload, whose length is unknown: the gateway has to keep it until its end."""

FAILS: Final = Ask("fails", "GET", "/fail?how=raise", status=500)
_BAD: Final = Ask("bad", "GET", "/hello", fields={"Content-Length": "none"}, status=400)
_NEW: Final = Ask("new", "GET", "/wait?ms=50", answer=b"waited 50 ms\n")
_DESCRIPTORS: Final = 64
_CLIENTS: Final = 100
_IDLE: Final = 160  # connections: more than two processes have descriptors


def full_disk(settings: Settings, verdict: Verdict) -> None:
    """TMPDIR of both programs is full."""
    here = settings.folder
    front_disk, back_disk = LittleDisk(here / "front"), LittleDisk(here / "back")
    # `env` comes after the mount: the programs take their disk for TMPDIR.
    front_prefix = (*front_disk.prefix, "env", f"TMPDIR={front_disk.path}")
    back_prefix = (*back_disk.prefix, "env", f"TMPDIR={back_disk.path}")
    with (
        worker(here, prefix=back_prefix) as back,
        gateway(here, configuration(back.address, workers=2), prefix=front_prefix) as front,
    ):

        def begin() -> None:
            front_disk.fill(front)
            back_disk.fill(back)

        def end() -> None:
            front_disk.free(front)
            back_disk.free(back)

        verdict.note(front_disk.kind)
        endure(settings, verdict, front.address, Shortage(begin, end, [UPLOAD]), (front, back))


def full_log_disk(settings: Settings, verdict: Verdict) -> None:
    """The file system of the logs is full: access and error log, and the worker's access log."""
    here = settings.folder
    front_disk, back_disk = LittleDisk(here / "front"), LittleDisk(here / "back")
    logs = front_disk.path / "access.log", back_disk.path / "access.log"
    config = configuration(
        f"unix:{here}/worker.sock", workers=2, access=f"{logs[0]}",
        error=f"{front_disk.path}/error.log",
    )  # fmt: skip
    with (
        worker(here, "--access-log", str(logs[1]), prefix=back_disk.prefix) as back,
        gateway(here, config, prefix=front_disk.prefix) as front,
    ):
        seen = [disk.seen_from(program) / "access.log"
                for disk, program in ((front_disk, front), (back_disk, back))]  # fmt: skip
        freed: list[float] = []

        def begin() -> None:
            front_disk.fill(front)
            back_disk.fill(back)

        def end() -> None:
            sizes = [log.stat().st_size for log in seen]
            front_disk.free(front)
            back_disk.free(back)
            begun = time.monotonic()
            wait_for(
                lambda: all(
                    log.stat().st_size > size for log, size in zip(seen, sizes, strict=True)
                ),
                "both logs grow again",
            )
            freed.append(time.monotonic() - begun)

        shortage = Shortage(begin, end, [FAILS], must_hurt=False)
        verdict.note(front_disk.kind)
        endure(settings, verdict, front.address, shortage, (front, back))
        verdict.require(
            freed[0] <= settings.slack * 2.0,
            f"logs written again after {freed[0]:.1f} s (lines wait up to 1 s anyway)",
        )


def few_descriptors(settings: Settings, verdict: Verdict) -> None:
    """`ulimit -n 64` for every process of both programs."""
    with (
        worker(settings.folder) as back,
        gateway(settings.folder, configuration(back.address, workers=2)) as front,
    ):

        def limit(value: int | None) -> None:
            for program in (front, back):
                program.limit(resource.RLIMIT_NOFILE, value)

        shortage = Shortage(
            lambda: limit(_DESCRIPTORS),
            lambda: limit(None),
            [_NEW],
            needy_clients=_CLIENTS,
            needy_rate=60.0,
            needy_kept=False,
            ordinary_refused=True,
            must_hurt=False,  # a connection that waits in the backlog is served later
        )
        with _idle_clients(front, _IDLE):
            endure(settings, verdict, front.address, shortage, (front, back))


@contextlib.contextmanager
def _idle_clients(front: Program, count: int) -> Iterator[None]:
    """Keep connections open that take the gateway's descriptors."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection((front.address.host, front.address.port)))
        yield


def stalled_pipe(settings: Settings, verdict: Verdict) -> None:
    """The readers of the pipes into which both programs write their logs are stopped."""
    here = settings.folder
    with contextlib.ExitStack() as stack:
        readers, logs = [], []
        for name in ("back", "front"):
            log, reader, writing = stack.enter_context(_pipe(here, name))
            readers.append(reader)
            logs.append(log)
            if name == "back":
                back = stack.enter_context(
                    worker(here, "--access-log", "-", log=log, output=writing)
                )
            else:
                config = configuration(back.address, workers=2, access="-")
                front = stack.enter_context(gateway(here, config, log=log, output=writing))

        def tell(number: signal.Signals) -> None:
            for reader in readers:
                reader.signal(number)

        shortage = Shortage(
            lambda: tell(signal.SIGSTOP),
            lambda: tell(signal.SIGCONT),
            [FAILS, _BAD],
            needy_rate=200.0,
            must_hurt=False,
        )
        endure(settings, verdict, front.address, shortage, (front, back))
    lost = sum(log.read_text(errors="replace").count("lines were lost") for log in logs)
    verdict.note(f"log lines that tell how many were lost: {lost}")


@contextlib.contextmanager
def _pipe(folder: Path, name: str) -> Iterator[tuple[Path, Program, int]]:
    """Yield a file, the program that copies a pipe into it, and the pipe's other end."""
    log = folder / f"{name}.piped"
    reading, writing = os.pipe()
    try:
        with (
            log.open("wb") as target,
            Program(["cat"], folder / f"{name}.cat", source=reading, output=target.fileno()) as cat,
        ):
            yield log, cat, writing
            cat.signal(signal.SIGCONT)  # a stopped process does not take SIGTERM
    finally:
        os.close(reading)
        os.close(writing)


def _trial(name: str, sent: str, run: Callable[[Settings, Verdict], None]) -> Trial:
    return Trial(f"resources/{name}", f"{sent} for 10 s under load", TO_HOLD, run)


TRIALS: Final = (
    _trial(
        "disk", "TMPDIR full, gateway and worker; chunked uploads of 1 MiB that need it", full_disk
    ),
    _trial("log-disk", "log file system full, gateway and worker", full_log_disk),
    _trial(
        "descriptors",
        f"ulimit -n {_DESCRIPTORS}, gateway and worker; {_IDLE} idle and many new connections",
        few_descriptors,
    ),
    _trial(
        "log-pipe", "readers of both programs' log pipes stopped; failing requests", stalled_pipe
    ),
)
