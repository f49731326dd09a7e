"""S4: the life of a TCP connection, from the states of its two ends in /proc/net/tcp."""

import socket
from pathlib import Path
from typing import Final

from lab.chain.rundir import Part
from lab.tour import clients
from lab.tour.sandbox import PATIENCE, Sandbox, stopped, wait_until
from lab.tour.stage import Measured, Pick, Stage, Step

_STATES: Final = {
    "01": "ESTABLISHED", "05": "FIN_WAIT2", "06": "TIME_WAIT", "08": "CLOSE_WAIT"
}  # fmt: skip
"""The states of /proc/net/tcp (include/net/tcp_states.h) that this stage meets."""

_SIDES: Final = {"a": "the client's", "b": "the server's", "c": "both"}


def _states(server: str, client: int) -> dict[str, str]:
    """Return the states of a connection's ends, "client" and "server"; a closed end is missing."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(each.rpartition(":")[2], 16) for each in fields[1:3]]
        if ends == [client, int(server)]:
            found["client"] = fields[3]
        elif ends == [int(server), client]:
            found["server"] = fields[3]
    return found


def _stopped_server(sandbox: Sandbox) -> Measured:
    part = sandbox.server("iterative")
    clients.ask(part, "/hello")
    with stopped(part):
        try:
            sock = clients.connect(part)
        except TimeoutError:
            return Measured("b", ["connect(2) did not return"])
        except OSError as error:
            return Measured("c", [str(error)])
        with sock:
            ends = _named(_states(part.address.rpartition(":")[2], sock.getsockname()[1]))
            return Measured("a", [f"connected; {ends}", "the server's process is still stopped"])


def _named(ends: dict[str, str]) -> str:
    return ", ".join(
        f"the {side}'s end is {_STATES.get(state, state)}" for side, state in sorted(ends.items())
    )


def _server_closes(sandbox: Sandbox) -> Measured:
    return _time_wait(sandbox.server("iterative"), keep=False)


def _client_closes(sandbox: Sandbox) -> Measured:
    return _time_wait(sandbox.server("iterative"), keep=True)


def _time_wait(part: Part, *, keep: bool) -> Measured:
    """Make one request; the client closes first if `keep`, else the server."""
    port = part.address.rpartition(":")[2]
    with clients.connect(part) as sock:
        ours = sock.getsockname()[1]
        if keep:
            sock.sendall(clients.request("/hello", keep=True))
            sock.recv(65536)
        else:
            clients.read_answer(sock, clients.request("/hello"))
    wait_until(
        lambda: set(_states(port, ours).values()) == {"06"},
        "one end is in TIME_WAIT and the other is gone",
    )
    ends = _states(port, ours)
    key = "c" if len(ends) == 2 else "a" if "client" in ends else "b"
    return Measured(key, [f"in /proc/net/tcp: {_named(ends)}; the other end is gone"])


def _killed(sandbox: Sandbox) -> Measured:
    part = sandbox.server("thread")
    with clients.connect(part) as sock:
        sock.sendall(clients.request("/hello", keep=True))
        sock.recv(65536)
        process = part.process
        assert process is not None
        with stopped(part):
            sock.sendall(clients.request("/hello", keep=True))
            process.kill()
            process.wait(PATIENCE)
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            return Measured("b", ["recv(2) failed with ECONNRESET"])
        except TimeoutError:
            return Measured("c", [f"no result for {clients.TIMEOUT:g} s"])
        return Measured("a", [f"recv(2) returned {len(data)} bytes"])


def _half_close(sandbox: Sandbox) -> Measured:
    part = sandbox.server("iterative")
    with clients.connect(part) as sock:
        ours = sock.getsockname()[1]
        sock.sendall(clients.request("/wait?ms=1000"))
        sock.shutdown(socket.SHUT_WR)
        port = part.address.rpartition(":")[2]
        closed = {"client": "05", "server": "08"}
        wait_until(lambda: _states(port, ours) == closed, "the server's end has received the FIN")
        ends = _named(_states(port, ours))
        answer = clients.read_answer(sock)
    got = f"{answer.status}, {len(answer.body)} bytes" if answer.status else "no answer"
    return Measured("b" if answer.status == clients.CUT else "a", [ends, f"then: {got}"])


S4 = Stage(
    "S4",
    "The life of a TCP connection",
    "From the handshake to the last state. /proc/net/tcp shows both ends, as both are local.",
    [
        Step(
            setup="The server is stopped (kill -STOP): its process exists but does not run, so "
            "it cannot call accept. A client connects.",
            question=Pick(
                "What does connect(2) do?",
                {"a": "it succeeds", "b": "it blocks until the server runs again",
                 "c": "it fails: connection refused"},
            ),
            measure=_stopped_server,
            why="The kernel does the handshake. The connection waits in the listener's backlog "
            "until accept(2) takes it; the client can even send. So a successful connect says "
            "little about the program behind the port.",
        ),
        Step(
            setup="A client sends a request with Connection: close: the server answers and "
            "closes first.",
            by_hand="lab trace --front none --backend iterative",
            question=Pick("Whose end remains in TIME_WAIT?", _SIDES),
            measure=_server_closes,
            why="The end that closes first waits, 60 s on Linux, so that no new connection "
            "receives a late packet of the old one, and a lost last ACK can be resent.",
        ),
        Step(
            setup="A client sends a request on a connection that the server would keep open; now "
            "the client closes first.",
            question=Pick("Whose end remains in TIME_WAIT?", _SIDES),
            measure=_client_closes,
            why="TIME_WAIT depends on which end closes first, not on client and server. A server "
            "that closes tens of thousands of connections first holds as many in TIME_WAIT.",
        ),
        Step(
            setup="A client sends a request that takes 1 second and closes its half of the "
            "connection at once (shutdown(2) with SHUT_WR): it will send no more.",
            by_hand="lab trace --front none --backend iterative",
            question=Pick(
                "Does the client get an answer?",
                {"a": "yes", "b": "no: the server takes it for closed"},
            ),
            measure=_half_close,
            why="A FIN ends one direction. The server's end is in CLOSE_WAIT (the peer has "
            "closed, the server has not), the client's in FIN_WAIT2. Only a server that mistakes "
            "end of input for a closed connection drops such a client.",
        ),
        Step(
            setup="A connection is open. The server is stopped, a request is sent and stays "
            "unread in its socket; then the process is killed (kill -9).",
            question=Pick(
                "What does the client's recv(2) do?",
                {"a": "it returns the end of the stream, as after a close",
                 "b": "it fails: connection reset",
                 "c": "it blocks: the process can send nothing any more"},
            ),
            measure=_killed,
            why="The kernel closes the sockets of a process that dies. With unread bytes it "
            "sends a reset, because a FIN would claim that all data was received (RFC 2525, "
            "section 2.17); with nothing unread it sends a FIN.",
        ),
    ],
)  # fmt: skip
