"""The loop survives whatever its handlers do, and runs what was put off."""

import socket

from gateway.loop import NEVER, READ, Loop


class Faulty:
    """Counts its calls, and raises in each of them."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.calls: list[str] = []
        self.deadline = NEVER
        self._loop = loop
        self._sock = sock

    def _fail(self, what: str) -> None:
        self.calls.append(what)
        if len(self.calls) == 4:
            self._loop.stop()
        raise RuntimeError(what)

    def on_event(self, _mask: int) -> None:
        self._sock.recv(1)
        self._fail("event")

    def on_deadline(self) -> None:
        self.deadline = NEVER
        self._fail("deadline")

    def on_soon(self) -> None:
        self._fail("soon")

    def on_later(self) -> None:
        self._fail("later")


def test_no_exception_ends_the_loop_and_its_owner_is_reported() -> None:
    reported: list[object] = []

    def report(owner: object) -> None:
        reported.append(owner)
        raise OSError("the log is full, too")

    loop = Loop(report, sweep=0.01)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        faulty = Faulty(loop, ours)
        loop.register(ours, READ, faulty.on_event)
        loop.watch(faulty)
        loop.soon(faulty.on_soon)
        loop.later(0.02, faulty.on_later)
        faulty.deadline = loop.now
        theirs.send(b"x")
        loop.run()
    assert sorted(faulty.calls) == ["deadline", "event", "later", "soon"]
    assert len(reported) == 4


class Chain:
    """Schedules itself again a thousand times."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.left = 1000

    def step(self) -> None:
        self.left -= 1
        if self.left:
            self._loop.soon(self.step)
        else:
            self._loop.stop()


def test_calls_that_schedule_calls_run_without_waiting_and_without_recursion() -> None:
    loop = Loop(lambda _owner: None)
    chain = Chain(loop)
    loop.soon(chain.step)
    loop.run()
    assert chain.left == 0
