"""Trials: mutated HTTP for the gateway, FastCGI for the worker, and back ends' mutated answers.

Each connection carries a few mutated messages, is closed for sending, and is read to its end: a
program that keeps it open hangs. What a connection carries depends on the seed and on its number
alone. After every hundredth the next valid requests have to be right.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final, Self

from chainlab.transport import Address
from lab.trials.corpora import CGI_ANSWERS, HTTP_ANSWERS, QUESTIONS, REQUESTS
from lab.trials.fuzz import AMOUNT, HANG, Fuzz
from lab.trials.mutate import Mutator
from lab.trials.programs import configuration, gateway, worker
from lab.trials.trial import Settings, Trial, Verdict

_TIMEOUTS: Final = "[timeouts]\nheader = 2\nbody = 2\nread = 0.5\nidle = 2\n"
_NUMBER: Final = re.compile(rb"/(?:fastcgi|http)/([0-9]+)")
_STAYS: Final = 0.05  # share of the mutated answers after which the back end does not hang up


def _deliver(address: Address, data: bytes, pieces: int, half_close: bool = True) -> int:
    """Send `data` on a connection of its own and read to the end; TimeoutError if none comes."""
    with socket.socket(address.family) as peer:
        peer.settimeout(HANG)
        peer.connect(address.sockaddr)
        size = len(data) // pieces + 1
        try:
            for at in range(0, len(data), size):
                peer.sendall(data[at : at + size])
            if half_close:
                peer.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:  # refused in the middle: what was answered is still there to read
            pass
        with contextlib.suppress(ConnectionResetError):
            while peer.recv(65536):
                pass
    return len(data)


class Answerer:
    """A back end that answers request /PROTOCOL/NUMBER with the mutated answer of that number."""

    def __init__(self, address: Address, corpus: Sequence[bytes], seed: int) -> None:
        self._corpus = corpus
        self._seed = seed
        self._listener = socket.socket(address.family)
        self._listener.bind(address.sockaddr)
        self._listener.listen(128)
        name = self._listener.getsockname()
        self.address = address if address.path else Address(*name[:2])
        self._thread = threading.Thread(target=self._accept)

    def answer(self, number: int) -> tuple[bytes, bool]:
        """Return what is sent for a number, and whether the connection stays open after it."""
        mutator = Mutator(self._corpus, self._seed + number)
        return mutator.draw(), mutator.chance.random() < _STAYS

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            peer.settimeout(HANG)
            received = b""
            while data := peer.recv(65536):
                received += data
                if found := _NUMBER.search(received):
                    received = b""
                    content, stays = self.answer(int(found[1]))
                    peer.sendall(content)
                    if not stays:
                        return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def _sender(
    corpus: tuple[bytes, ...], address: Address, settings: Settings
) -> Callable[[int], int]:
    """Return what sends the mutated messages of a connection, given its number."""

    def send(number: int) -> int:
        mutator = Mutator(corpus, settings.seed + number)
        data = b"".join(mutator.draw() for _ in range(mutator.chance.randint(1, 3)))
        return _deliver(address, data, mutator.chance.choice((1, 1, 2, 5)))

    return send


def http(settings: Settings, verdict: Verdict) -> None:
    """Mutated requests for the gateway."""
    with (
        worker(settings.folder) as back,
        gateway(settings.folder, configuration(back.address, more=_TIMEOUTS)) as front,
    ):
        send = _sender(REQUESTS, front.address, settings)
        _judge(Fuzz(settings, send, front.address, (front, back)), settings, verdict)


def fastcgi(settings: Settings, verdict: Verdict) -> None:
    """Mutated FastCGI for the worker."""
    with (
        worker(settings.folder, "--read-timeout", "1") as back,
        gateway(settings.folder, configuration(back.address)) as front,
    ):
        send = _sender(QUESTIONS, back.address, settings)
        _judge(Fuzz(settings, send, front.address, (front, back)), settings, verdict)


def answers(settings: Settings, verdict: Verdict) -> None:
    """Mutated answers of FastCGI and HTTP back ends to the gateway."""
    unix, tcp = Address(path=str(settings.folder / "mutated.sock")), Address("127.0.0.1", 0)
    with (
        worker(settings.folder) as back,
        Answerer(unix, CGI_ANSWERS, settings.seed) as cgi,
        Answerer(tcp, HTTP_ANSWERS, settings.seed) as http_peer,
    ):
        sources = {"fastcgi": cgi, "http": http_peer}
        more = _TIMEOUTS + '[[route]]\nprefix = "/"\nupstream = "app"\n'
        for protocol, source in sources.items():
            more += f'[upstream.{protocol}]\nprotocol = "{protocol}"\n'
            more += f'addresses = ["{source.address}"]\n'
            more += f'[[route]]\nprefix = "/{protocol}"\nupstream = "{protocol}"\n'
        with gateway(settings.folder, configuration(back.address, more=more)) as front:

            def send(number: int) -> int:
                protocol = ("fastcgi", "http")[number // 4 % 2]
                head = f"GET /{protocol}/{number} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
                _deliver(front.address, head.encode(), 1, half_close=False)
                return len(sources[protocol].answer(number)[0])

            _judge(Fuzz(settings, send, front.address, (front, back)), settings, verdict)


def _judge(fuzz: Fuzz, settings: Settings, verdict: Verdict) -> None:
    fuzz.run()
    fuzz.judge(verdict)
    verdict.note(f"seed {settings.seed}")


def _trial(name: str, sent: str, run: Callable[[Settings, Verdict], None]) -> Trial:
    return Trial(
        f"mutations/{name}",
        f"{AMOUNT // 1_000_000} million bytes of {sent}",
        "no crash, no hang, memory bounded, the next request right",
        run,
    )


TRIALS: Final = (
    _trial("http", "mutated HTTP to the gateway", http),
    _trial("fastcgi", "mutated FastCGI to the worker", fastcgi),
    _trial("answers", "mutated FastCGI and HTTP answers to the gateway", answers),
)
