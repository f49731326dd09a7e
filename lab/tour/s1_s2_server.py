"""S1 and S2: a TCP server and HTTP, each from scratch."""

import time
from typing import Final

from lab.tour import clients
from lab.tour.sandbox import Sandbox
from lab.tour.stage import Measured, Number, Pick, Stage, Step

_SILENCE: Final = 1.0
"""Seconds that a client stays silent, or waits for what does not come."""


def _two_at_once(sandbox: Sandbox) -> Measured:
    with clients.together(sandbox.server("iterative"), 2, "/wait?ms=1000") as crowd:
        crowd.wait()
        times = sorted(answer.seconds for answer in crowd.answers)
        seen = [f"the first answer came after {times[0]:.2f} s, the second after {times[1]:.2f} s"]
        return Measured(crowd.seconds, seen)


def _silent_client(sandbox: Sandbox) -> Measured:
    part = sandbox.server("iterative")
    with clients.connect(part) as silent, clients.together(part, 1, "/hello") as other:
        if other.finished(within=_SILENCE):
            return Measured("a", ["answered while the silent one was still there"])
        silent.close()
        left = time.monotonic()
        other.wait()
        waited = (time.monotonic() - left) * 1000
        return Measured("b", [
            f"no answer for {_SILENCE:g} s",
            f"then the silent one left; {waited:.1f} ms later: {other.answers[0].status}",
        ])  # fmt: skip


def _unfinished_head(sandbox: Sandbox) -> Measured:
    with clients.connect(sandbox.server("iterative")) as sock:
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: tour\r\nConnection: close\r\n")
        sock.settimeout(_SILENCE)
        try:
            early = sock.recv(65536)
        except TimeoutError:
            sock.settimeout(clients.TIMEOUT)
            answer = clients.read_answer(sock, b"\r\n")
            said = f"{answer.seconds * 1000:.1f} ms later: {answer.head.splitlines()[0]}"
            seen = [f"nothing came for {_SILENCE:g} s", f"the empty line was sent; {said}"]
            return Measured("b", seen)
        answer = clients.parse(early)
        return Measured("a" if answer.status == 200 else "c", [answer.head.splitlines()[0]])


def _two_framings(sandbox: Sandbox) -> Measured:
    with clients.connect(sandbox.server("iterative")) as sock:
        answer = clients.read_answer(
            sock,
            b"POST /echo HTTP/1.1\r\nHost: tour\r\nContent-Length: 6\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
        )
        return Measured(float(answer.status), [answer.head.splitlines()[0]])


S1 = Stage(
    "S1",
    "A TCP server from scratch",
    "The server `iterative`: bind, listen, then for ever accept, read, answer, close. One process, "
    "one connection at a time.",
    [
        Step(
            look="Two clients connect at the same moment, and each asks for an answer that takes "
            "the application 1 second (GET /wait?ms=1000).",
            by_hand="python -m servers iterative --listen 127.0.0.1:8000",
            question=Number("After how many seconds do both have their answer?", "s", near=0.2),
            measure=_two_at_once,
            why="Both are connected: the kernel does that. But the process is in one call at a "
            "time, and while it waits for the first it has not yet accepted the second. Read "
            "servers/blocking/iterative.py.",
        ),
        Step(
            look="A client connects and says nothing. Another one asks GET /hello, which takes no "
            "time.",
            question=Pick(
                "When is the second one answered?",
                {"a": "at once: the first one asked for nothing", "b": "not as long as the first "
                 "one stays"},
            ),
            measure=_silent_client,
            why="read(2) on the first connection blocks, and a byte that does not come costs more "
            "than any work. A real server of this kind must give up on a silent client after "
            "a time; all the other models are ways out of this one.",
        ),
    ],
)  # fmt: skip

S2 = Stage(
    "S2",
    "HTTP from scratch",
    "TCP brings bytes, in order, in pieces of any size. Where a request ends is HTTP's business.",
    [
        Step(
            look="A client sends the request line and the fields, each line complete, but not yet "
            "the empty line behind them. Then it waits.",
            by_hand=r"printf 'GET /hello HTTP/1.1\r\nHost: x\r\n' | nc 127.0.0.1 8000",
            question=Pick(
                "What does the server do?",
                {"a": "it answers: it knows the path", "b": "it waits", "c": "it answers 400"},
            ),
            measure=_unfinished_head,
            why="A head ends with an empty line (RFC 9112, section 2.1); until then more fields "
            "may come that change what is asked. So a server keeps what it has, and goes on when "
            "more comes: chainlab/wire/http1/ takes bytes and returns events; it never reads.",
        ),
        Step(
            look="A request says where its content ends in two ways that contradict each other: "
            "Content-Length: 6, and Transfer-Encoding: chunked with an empty chunk and an X "
            "behind it. By the first the X is content, by the second it begins a next request.",
            question=Number("With which status is it answered?"),
            measure=_two_framings,
            why="If a front believes one of them and the server behind it the other, an X of one "
            "client becomes the beginning of another's request: request smuggling. So it is "
            "refused, and the connection closed (RFC 9112, section 6.3). Read "
            "chainlab/wire/http1/framing.py.",
        ),
    ],
)  # fmt: skip
