"""Trial: the name server is silent while the gateway reloads, and looks a back end up each second.

A name server of our own answers at an address of the loopback network. The gateway asks it because
it runs in a mount namespace of its own, in which /etc/resolv.conf is another file: the machine's
stays as it is. That needs root.
"""

import contextlib
import random
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

from lab.trials.little_disk import can_mount
from lab.trials.load import HELLO, generation
from lab.trials.programs import Program, configuration, gateway, wait_for, worker
from lab.trials.shortage import RECOVERY, TO_HOLD, Shortage, endure
from lab.trials.trial import Settings, Trial, Verdict

_NAME: Final = "app.trial.test"
_PORT: Final = 53  # resolv.conf(5) knows no other
_BIND: Final = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
_HEADER: Final = struct.Struct(">HHHHHH")  # RFC 1035 section 4.1.1
_A: Final = 1


class NameServer:
    """Answers every A query with 127.0.0.1, and every other with nothing, unless `silent`."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.silent = False
        self.unanswered = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, _PORT))
        self._socket.settimeout(0.2)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                query, peer = self._socket.recvfrom(512)
                if self.silent:
                    self.unanswered += 1
                else:
                    self._socket.sendto(_answer(query), peer)

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._socket.close()


def _answer(query: bytes) -> bytes:
    number, _, questions, *_ = _HEADER.unpack_from(query)
    end = query.index(b"\0", _HEADER.size) + 5
    question = query[_HEADER.size : end]
    record = b""
    if question[-4:-2] == struct.pack(">H", _A):
        record = struct.pack(">HHHIH", 0xC00C, _A, 1, 0, 4) + socket.inet_aton("127.0.0.1")
    return _HEADER.pack(number, 0x8180, questions, bool(record), 0, 0) + question + record


@contextlib.contextmanager
def _name_server(seed: int) -> Iterator[NameServer]:
    chance = random.Random(seed)
    host = ".".join(["127", *(str(chance.randrange(2, 250)) for _ in range(3))])
    with NameServer(host) as server:
        yield server


def run(settings: Settings, verdict: Verdict) -> None:
    """Silence the name server, reload, let it speak again, reload."""
    if not can_mount():
        verdict.skipped = "a private /etc/resolv.conf needs root and unshare(1)"
        return
    with contextlib.ExitStack() as stack:
        try:
            names = stack.enter_context(_name_server(settings.seed))
        except OSError as error:
            verdict.skipped = f"cannot bind a name server to port {_PORT}: {error.strerror}"
            return
        resolver = settings.folder / "resolv.conf"
        resolver.write_text(f"nameserver {names.host}\noptions timeout:1 attempts:1\n")
        back = stack.enter_context(worker(settings.folder, bind="127.0.0.1:0"))
        config = configuration(f"{_NAME}:{back.address.port}", workers=2)
        prefix = (
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _BIND,
            str(resolver),
        )
        front = stack.enter_context(gateway(settings.folder, config, prefix=prefix))
        _silence(settings, verdict, names, front, back)


def _silence(
    settings: Settings, verdict: Verdict, names: NameServer, front: Program, back: Program
) -> None:
    taken: list[float] = []

    def begin() -> None:
        if not names.silent:
            names.silent = True
            front.signal(signal.SIGHUP)

    def end() -> None:
        wait_for(lambda: names.unanswered, "the gateway has asked for the name")
        names.silent = False
        before = generation(front.address)
        front.signal(signal.SIGHUP)
        taken.append(wait_for(lambda: generation(front.address) > before, "the reload is taken"))

    shortage = Shortage(begin, end, [HELLO], needy_kept=False, must_hurt=False)
    endure(settings, verdict, front.address, shortage, (front, back))
    verdict.require(names.unanswered > 0, f"{names.unanswered} queries unanswered")
    verdict.require(
        taken[0] <= RECOVERY * settings.slack,
        f"a reload after the end is taken in {taken[0]:.2f} s",
    )


TRIAL: Final = Trial(
    "resources/names",
    "silent name server for 10 s under load, gateway; a reload meanwhile and one after",
    TO_HOLD,
    run,
)
