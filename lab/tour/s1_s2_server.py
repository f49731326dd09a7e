"""S1 and S2: a TCP server and HTTP from scratch."""

import time
from typing import Final

from lab.tour import clients
from lab.tour.sandbox import Sandbox
from lab.tour.stage import Measured, Number, Pick, Stage, Step

_SILENCE: Final = 1.0
"""Seconds that a client stays silent, or waits before it concludes that nothing comes."""


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
            return Measured("a", ["answered while the silent client was still connected"])
        silent.close()
        left = time.monotonic()
        other.wait()
        waited = (time.monotonic() - left) * 1000
        return Measured("b", [
            f"no answer for {_SILENCE:g} s",
            f"then the silent client closed; {waited:.1f} ms later: {other.answers[0].status}",
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
            result = f"{answer.seconds * 1000:.1f} ms later: {answer.head.splitlines()[0]}"
            seen = [f"no answer for {_SILENCE:g} s", f"empty line sent; {result}"]
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
    "The server `iterative`: bind, listen, then accept, read, answer, close in a loop. One "
    "process, one connection at a time.",
    [
        Step(
            setup="Two clients connect at the same moment. Each sends a request that takes the "
            "application 1 second (GET /wait?ms=1000).",
            by_hand="python -m servers iterative --listen 127.0.0.1:8000",
            question=Number("After how many seconds are both clients answered?", "s", near=0.2),
            measure=_two_at_once,
            why="Both are connected, because the kernel does the handshake. But the process "
            "makes one call at a time, and has not accepted the second client while it waits for "
            "the first. Read servers/blocking/iterative.py.",
        ),
        Step(
            setup="A client connects and sends nothing. A second client sends GET /hello, which "
            "takes no time.",
            question=Pick(
                "When does the second client get its answer?",
                {"a": "at once: the first client sent no request",
                 "b": "only after the first client closes"},
            ),
            measure=_silent_client,
            why="read(2) on the first connection blocks until a byte arrives, however long that "
            "takes. A real server of this kind needs a timeout for silent clients; all the other "
            "models avoid the problem in different ways.",
        ),
    ],
)  # fmt: skip

S2 = Stage(
    "S2",
    "HTTP from scratch",
    "TCP delivers bytes in order, in pieces of any size. HTTP defines where a request ends.",
    [
        Step(
            setup="A client sends the request line and the header fields, all lines complete, "
            "but not the empty line after them. Then it waits.",
            by_hand=r"printf 'GET /hello HTTP/1.1\r\nHost: x\r\n' | nc 127.0.0.1 8000",
            question=Pick(
                "What does the server do?",
                {"a": "it answers: it knows the path", "b": "it waits", "c": "it answers 400"},
            ),
            measure=_unfinished_head,
            why="The header section ends with an empty line (RFC 9112, section 2.1); until then "
            "more fields may change the request. So the server keeps what it has and continues "
            "when more arrives: chainlab/wire/http1/ takes bytes and returns events; it never "
            "reads.",
        ),
        Step(
            setup="A request states the end of its content in two contradictory ways: "
            "Content-Length: 6, and Transfer-Encoding: chunked with an empty chunk followed by "
            "an X. By the first, the X is content; by the second, it starts the next request.",
            question=Number("With which status does the server answer?"),
            measure=_two_framings,
            why="If a front end believes one and the server behind it the other, one client's X "
            "becomes the start of another client's request: request smuggling. So the server "
            "refuses the request and closes the connection (RFC 9112, section 6.3). Read "
            "chainlab/wire/http1/framing.py.",
        ),
    ],
)  # fmt: skip
