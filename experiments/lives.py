"""Whole lives of TCP connections, each held still wherever its state changes.

A life is a generator: it does something to a connection and yields what it did, with the states
that the two ends ought to be in by then; `live` waits for them and notes what both ends really are
in, by the kernel's table and by the sockets themselves. What a filter keeps out is sent again, by
the kernel's own timers, once it is let in.
"""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from experiments import sockets, tcp_states
from experiments.frame import Numbers
from experiments.tcp_states import keep_out, let_in, name_of

PATIENCE: Final = 20.0
"""Seconds for a state: what was kept out is sent again after 0.2 s, 0.4 s, 0.8 s, …"""

LATE: Final = b"still sent after the other's FIN"


class Step(NamedTuple):
    """What was done, and the states that ought to come of it."""

    what: str
    client: str
    server: str
    resets: bool = False
    """Whether a reset is a part of it."""


class Connection:
    """One connection's two ends; the server's is None until it is accepted."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.client = socket.socket()
        self.client.bind(("127.0.0.1", 0))
        self.client.settimeout(PATIENCE)
        self.server: socket.socket | None = None
        self.ports = self.client.getsockname()[1], self.listener.getsockname()[1]
        self.noted: Numbers = {}
        self._arrived = False  # whether the server's end was ever more than the listener

    def accept(self) -> socket.socket:
        """Return the server's end."""
        self.server = self.listener.accept()[0]
        self.server.settimeout(PATIENCE)
        return self.server

    def open(self) -> socket.socket:
        """Listen and connect without holding anything; return the server's end."""
        self.listener.listen()
        self.client.connect(("127.0.0.1", self.ports[1]))
        return self.accept()

    def look(self) -> dict[str, str]:
        """Return the states of both ends: by the table, and as each socket says."""
        table, (ours, theirs) = tcp_states.rows(), self.ports
        mine, other = table.get((ours, theirs)), table.get((theirs, ours))
        listening = None if self._arrived or other else table.get((theirs, 0))
        self._arrived |= other is not None
        at_server = other or listening
        return {
            "client": mine.state if mine else "CLOSED",
            "server": at_server.state if at_server else "CLOSED",
            "client_says": tcp_states.told(self.client),
            "server_says": tcp_states.told(self.listener if listening else self.server),
        }

    def close(self) -> None:
        """Leave nothing but what the kernel keeps."""
        for each in (self.client, self.server, self.listener):
            if each is not None:
                each.close()


def live(life: Callable[[Connection], Iterator[Step]]) -> Numbers:
    """Run one life; return its steps with the states seen at each, and what it noted."""
    connection = Connection()
    try:
        steps = [_settled(connection, step) for step in life(connection)]
        return {"steps": steps, **connection.noted}
    finally:
        connection.close()


def _settled(connection: Connection, step: Step) -> Numbers:
    """Return what is seen twice in a row, as soon as it is what ought to come, or at last."""
    deadline = time.monotonic() + PATIENCE
    before: dict[str, str] = {}
    while True:
        found = connection.look()
        there = found["client"] == step.client and found["server"] == step.server
        if found == before and (there or time.monotonic() > deadline):
            return {"what": step.what, "resets": step.resets, **found}
        before = found


def one_after_the_other(at: Connection) -> Iterator[Step]:
    """The textbook's life: the client opens and closes first, the server sends a while longer."""
    yield Step("two sockets, each bound to a port", "CLOSED", "CLOSED")
    at.listener.listen()
    yield Step("the server listens", "CLOSED", "LISTEN")
    keep_out(at.listener)
    at.client.setblocking(False)
    at.client.connect_ex(("127.0.0.1", at.ports[1]))
    yield Step("the client connects; its SYN is lost", "SYN_SENT", "LISTEN")
    keep_out(at.listener, all_but_syn=True)
    yield Step("its SYN is sent again and arrives; the last ACK is lost", "ESTABLISHED", "SYN_RECV")
    let_in(at.listener)
    yield Step("the SYN-ACK is sent again, and the ACK arrives", "ESTABLISHED", "ESTABLISHED")
    at.client.settimeout(PATIENCE)
    server = at.accept()
    keep_out(server)
    at.client.shutdown(socket.SHUT_WR)
    yield Step("the client closes its half; its FIN is lost", "FIN_WAIT1", "ESTABLISHED")
    let_in(server)
    yield Step("its FIN is sent again and arrives", "FIN_WAIT2", "CLOSE_WAIT")
    at.noted |= _half_closed(at.client, server)
    yield Step("the server still sends, the client reads", "FIN_WAIT2", "CLOSE_WAIT")
    keep_out(at.client)
    server.shutdown(socket.SHUT_WR)
    yield Step("the server closes its half too; its FIN is lost", "FIN_WAIT2", "LAST_ACK")
    let_in(at.client)
    begin = time.monotonic()
    yield Step("its FIN is sent again and arrives", "TIME_WAIT", "CLOSED")
    at.noted["time_wait"] = _time_wait(at.ports, begin)


def _half_closed(client: socket.socket, server: socket.socket) -> Numbers:
    """Return what each side may still do when the client has closed its half."""
    end = server.recv(1)
    server.sendall(LATE)
    received = b""
    while len(received) < len(LATE):
        received += client.recv(len(LATE))
    return {
        "end_seen": end == b"",
        "late": [len(LATE), len(received) if received == LATE else -1],
        "client_send": _said(lambda: client.send(b"x")),
    }


def server_first(at: Connection) -> Iterator[Step]:
    """The server closes first; then its port is wanted again."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    keep_out(at.client)
    server.shutdown(socket.SHUT_WR)
    yield Step("the server closes its half; its FIN is lost", "ESTABLISHED", "FIN_WAIT1")
    let_in(at.client)
    yield Step("its FIN is sent again and arrives", "CLOSE_WAIT", "FIN_WAIT2")
    keep_out(server)
    at.client.close()
    yield Step("the client closes; its FIN is lost", "LAST_ACK", "FIN_WAIT2")
    let_in(server)
    begin = time.monotonic()
    yield Step("its FIN is sent again and arrives", "CLOSED", "TIME_WAIT")
    server.close()
    at.listener.close()
    at.noted["time_wait"] = _time_wait(at.ports[::-1], begin)
    at.noted["bind"] = _bind(at.ports[1], reuse=False)
    at.noted["bind_reusing"] = _bind(at.ports[1], reuse=True)


def server_first_reusing(at: Connection) -> Iterator[Step]:
    """The same with SO_REUSEADDR on the old listener, whose connections have it too."""
    at.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server = at.open()
    server.close()
    at.client.close()
    yield Step("a connection, which the server closes first", "CLOSED", "TIME_WAIT")
    at.listener.close()
    at.noted["bind"] = _bind(at.ports[1], reuse=False)
    at.noted["bind_reusing"] = _bind(at.ports[1], reuse=True)


def both_at_once(at: Connection) -> Iterator[Step]:
    """Both close before either has heard of it."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    keep_out(server)
    keep_out(at.client)
    at.client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    yield Step("both close their half; both FINs are lost", "FIN_WAIT1", "FIN_WAIT1")
    let_in(server)
    yield Step("the client's FIN is sent again and arrives", "FIN_WAIT1", "CLOSING")
    let_in(at.client)
    yield Step("the server's FIN is sent again and arrives", "TIME_WAIT", "TIME_WAIT")


def reset(at: Connection) -> Iterator[Step]:
    """The client closes by a reset (SO_LINGER with 0 seconds)."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    sockets.reset(at.client)
    yield Step("the client closes with SO_LINGER 0", "CLOSED", "CLOSED", resets=True)
    at.noted["recv"] = _said(lambda: server.recv(1))


def data_to_a_closed_socket(at: Connection) -> Iterator[Step]:
    """The client has closed both halves; the server sends all the same."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    keep_out(server)
    at.client.close()
    yield Step("the client closes; its FIN is lost", "FIN_WAIT1", "ESTABLISHED")
    let_in(server)
    yield Step("its FIN is sent again and arrives", "FIN_WAIT2", "CLOSE_WAIT")
    at.noted["first"] = _said(lambda: server.send(b"x"))
    yield Step("the server sends to it", "CLOSED", "CLOSED", resets=True)
    at.noted["second"] = _said(lambda: server.send(b"x"))


def _time_wait(ports: tuple[int, int], begin: float) -> Numbers:
    """Return what the kernel's timer says, and how long at most it has run since `begin`."""
    row = tcp_states.rows().get(ports)
    return {"left": row.seconds if row else None, "since": time.monotonic() - begin}


def _bind(port: int, *, reuse: bool) -> str:
    """Return what comes of binding a new socket to a port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        return _said(lambda: sock.bind(("127.0.0.1", port)))


def _said(call: Callable[[], Any]) -> str:
    """Return what a call says: its result, or the error's name."""
    try:
        return str(call())
    except OSError as error:
        return name_of(error)


LIVES: Final = {
    "one closes after the other": one_after_the_other,
    "both close at once": both_at_once,
    "the server closes first": server_first,
    "the same, with SO_REUSEADDR": server_first_reusing,
    "a reset": reset,
    "data to a closed socket": data_to_a_closed_socket,
}
