"""Whole lives of TCP connections, each held still wherever its state changes.

On the loopback a segment has arrived before the call that sent it returns, so that most states last
for microseconds. Three things hold them, none of which needs a privilege:

- a full queue of the listener drops a SYN; it is sent again after a second;
- TCP_DEFER_ACCEPT (man tcp(7)) takes no notice of the handshake's last ACK until data come;
- a FIN goes out behind the data before it, and those wait as long as the peer does not read.

A life is a generator: it does something to a connection and yields what it did, with the states
that the two ends ought to be in by then; `live` waits for them and notes what both ends really are
in, by the kernel's table and by the sockets themselves.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from experiments import sockets, tcp_states
from experiments.frame import Numbers

PATIENCE: Final = 20.0
"""Seconds for a state; a SYN is sent again after 1 s, and then less and less often."""

ROOM: Final = 16 << 10
"""Bytes asked for as each end's receive buffer (SO_RCVBUF); the kernel doubles it."""

AHEAD: Final = 128 << 10
"""Bytes before a FIN that is to wait: more than the receive buffer can ever hold."""


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
        self.listener, self.client = (self._bound() for _ in range(2))
        self.server: socket.socket | None = None
        self.ports = self.client.getsockname()[1], self.listener.getsockname()[1]
        self.noted: Numbers = {}
        self._arrived = False  # whether the server's end was ever more than the listener

    @staticmethod
    def _bound() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * AHEAD)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        return sock

    def accept(self) -> socket.socket:
        """Return the server's end."""
        self.server = self.listener.accept()[0]
        self.server.settimeout(PATIENCE)
        return self.server

    def open(self) -> socket.socket:
        """Listen and connect without holding anything; return the server's end."""
        self.listener.listen()
        self.client.connect(self.listener.getsockname())
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
    with _full(at.listener):
        yield Step("the server listens, and its queue is full", "CLOSED", "LISTEN")
        at.client.setblocking(False)
        at.client.connect_ex(at.listener.getsockname())
        yield Step("the client connects; its SYN is dropped", "SYN_SENT", "LISTEN")
        at.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(PATIENCE))
    yield Step("there is room: the SYN, sent again, is answered", "ESTABLISHED", "SYN_RECV")
    at.client.settimeout(PATIENCE)
    at.client.sendall(b"x")
    yield Step("the client sends a byte, and its ACK counts", "ESTABLISHED", "ESTABLISHED")
    server = at.accept()
    _close_behind_data(at.client)
    yield Step("the client closes its half, behind data", "FIN_WAIT1", "ESTABLISHED")
    _read_to_the_end(server)
    yield Step("the server reads all, and the end", "FIN_WAIT2", "CLOSE_WAIT")
    _close_behind_data(server)
    yield Step("the server sends, and closes its half too", "FIN_WAIT2", "LAST_ACK")
    at.noted["client_send"] = _said(lambda: at.client.send(b"x"))
    begin = time.monotonic()
    at.noted["late"] = [AHEAD, _read_to_the_end(at.client)]
    yield Step("the client reads all, and the end", "TIME_WAIT", "CLOSED")
    at.noted["time_wait"] = _time_wait(at.ports, begin)


@contextmanager
def _full(listener: socket.socket) -> Iterator[None]:
    """Have the queue of a listener full, inside the block, of connections that nobody needs."""
    listener.listen(1)  # it holds one more than it is told (sk_acceptq_is_full)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE))
        deadline = time.monotonic() + PATIENCE
        while tcp_states.queued(listener) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        yield
        for _ in range(2):
            sockets.reset(listener.accept()[0])


def server_first(at: Connection) -> Iterator[Step]:
    """The server closes first; then its port is wanted again."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    _close_behind_data(server)
    yield Step("the server closes its half, behind data", "ESTABLISHED", "FIN_WAIT1")
    _read_to_the_end(at.client)
    yield Step("the client reads all, and the end", "CLOSE_WAIT", "FIN_WAIT2")
    _close_behind_data(at.client)
    yield Step("the client closes its half too, behind data", "LAST_ACK", "FIN_WAIT2")
    begin = time.monotonic()
    _read_to_the_end(server)
    yield Step("the server reads all, and the end", "CLOSED", "TIME_WAIT")
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
    _close_behind_data(at.client)
    _close_behind_data(server)
    yield Step("both close their half, behind data", "FIN_WAIT1", "FIN_WAIT1")
    _read_to_the_end(at.client)
    yield Step("the client reads all, and the end", "CLOSING", "FIN_WAIT2")
    _read_to_the_end(server)
    yield Step("the server reads all, and the end", "TIME_WAIT", "TIME_WAIT")


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
    at.client.sendall(bytes(AHEAD))
    at.client.close()
    yield Step("the client closes both halves, behind data", "FIN_WAIT1", "ESTABLISHED")
    _read_to_the_end(server)
    yield Step("the server reads all, and the end", "FIN_WAIT2", "CLOSE_WAIT")
    at.noted["first"] = _said(lambda: server.send(b"x"))
    yield Step("the server sends to it", "CLOSED", "CLOSED", resets=True)
    at.noted["second"] = _said(lambda: server.send(b"x"))


def _close_behind_data(sock: socket.socket) -> None:
    """Send more than the peer has room for, and close this half: the FIN has to wait."""
    sock.sendall(bytes(AHEAD))
    sock.shutdown(socket.SHUT_WR)


def _read_to_the_end(sock: socket.socket) -> int:
    """Read until the peer's FIN; return how many bytes came before it."""
    count = 0
    while piece := sock.recv(1 << 16):
        count += len(piece)
    return count


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
        return errno.errorcode.get(error.errno or 0, str(error))


LIVES: Final = {
    "one closes after the other": one_after_the_other,
    "both close at once": both_at_once,
    "the server closes first": server_first,
    "the same, with SO_REUSEADDR": server_first_reusing,
    "a reset": reset,
    "data to a closed socket": data_to_a_closed_socket,
}
