"""Whole lives of TCP connections, paused in each state.

On the loopback a segment arrives before the call that sent it returns, so most states last only
microseconds. Three tricks, none of which needs privileges, prolong them:

- the listener's full accept queue drops the SYN, which is resent after a second;
- TCP_DEFER_ACCEPT (man tcp(7)) ignores the handshake's last ACK until data arrives;
- a FIN queues behind unsent data, which waits until the peer reads.

A life is a generator. At each step it acts on the connection and yields a description and the
states it expects at both ends. `live` waits for these states and records the actual ones, from the
kernel's table and from the sockets themselves.
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
"""Seconds to wait for a state. A SYN is resent after 1 s, then with growing delays."""

ROOM: Final = 16 << 10
"""Bytes requested as each end's receive buffer (SO_RCVBUF); the kernel doubles the value."""

AHEAD: Final = 128 << 10
"""Bytes sent before a FIN to delay it: more than the receive buffer can hold."""


class Step(NamedTuple):
    """An action, and the states expected after it."""

    what: str
    client: str
    server: str
    resets: bool = False
    """True if the action sends a reset."""


class Connection:
    """Both ends of one connection; `server` is None until the connection is accepted."""

    def __init__(self) -> None:
        self.listener, self.client = (self._bound() for _ in range(2))
        self.server: socket.socket | None = None
        self.ports = self.client.getsockname()[1], self.listener.getsockname()[1]
        self.noted: Numbers = {}
        self._arrived = False  # True once the table has shown the server's end

    @staticmethod
    def _bound() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * AHEAD)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        return sock

    def accept(self) -> socket.socket:
        """Accept and return the server's end."""
        self.server = self.listener.accept()[0]
        self.server.settimeout(PATIENCE)
        return self.server

    def open(self) -> socket.socket:
        """Listen and connect without any pause; return the server's end."""
        self.listener.listen()
        self.client.connect(self.listener.getsockname())
        return self.accept()

    def look(self) -> dict[str, str]:
        """Return the states of both ends, from /proc/net/tcp and from each socket."""
        table, (ours, theirs) = tcp_states.rows(), self.ports
        mine, other = table.get((ours, theirs)), table.get((theirs, ours))
        listening = None if self._arrived or other else table.get((theirs, 0))
        self._arrived |= other is not None
        at_server = other or listening
        return {
            "client": mine.state if mine else "CLOSED",
            "server": at_server.state if at_server else "CLOSED",
            "client_says": tcp_states.socket_state(self.client),
            "server_says": tcp_states.socket_state(self.listener if listening else self.server),
        }

    def close(self) -> None:
        """Close all sockets; the kernel may keep TIME_WAIT entries."""
        for each in (self.client, self.server, self.listener):
            if each is not None:
                each.close()


def live(life: Callable[[Connection], Iterator[Step]]) -> Numbers:
    """Run one life; return its steps with the observed states, and `noted`."""
    connection = Connection()
    try:
        steps = [_settled(connection, step) for step in life(connection)]
        return {"steps": steps, **connection.noted}
    finally:
        connection.close()


def _settled(connection: Connection, step: Step) -> Numbers:
    """Return the observed states once two looks in a row agree and match the step.

    After PATIENCE seconds, return whatever two looks agree on.
    """
    deadline = time.monotonic() + PATIENCE
    before: dict[str, str] = {}
    while True:
        found = connection.look()
        expected = found["client"] == step.client and found["server"] == step.server
        if found == before and (expected or time.monotonic() > deadline):
            return {"what": step.what, "resets": step.resets, **found}
        before = found


def one_after_the_other(at: Connection) -> Iterator[Step]:
    """The textbook case: the client opens and closes first; the server sends a while longer."""
    yield Step("both sockets are bound to a port", "CLOSED", "CLOSED")
    with _full(at.listener):
        yield Step("the server listens with a full accept queue", "CLOSED", "LISTEN")
        at.client.setblocking(False)
        at.client.connect_ex(at.listener.getsockname())
        yield Step("the client connects; its SYN is dropped", "SYN_SENT", "LISTEN")
        at.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(PATIENCE))
    yield Step("the queue has room: the resent SYN is answered", "ESTABLISHED", "SYN_RECV")
    at.client.settimeout(PATIENCE)
    at.client.sendall(b"x")
    yield Step("the client sends a byte: the handshake is complete", "ESTABLISHED", "ESTABLISHED")
    server = at.accept()
    _close_behind_data(at.client)
    yield Step("the client closes its half, behind unread data", "FIN_WAIT1", "ESTABLISHED")
    _read_to_the_end(server)
    yield Step("the server reads all data and the FIN", "FIN_WAIT2", "CLOSE_WAIT")
    _close_behind_data(server)
    yield Step("the server sends, then closes its half too", "FIN_WAIT2", "LAST_ACK")
    at.noted["client_send"] = _result(lambda: at.client.send(b"x"))
    begin = time.monotonic()
    at.noted["late"] = [AHEAD, _read_to_the_end(at.client)]
    yield Step("the client reads all data and the FIN", "TIME_WAIT", "CLOSED")
    at.noted["time_wait"] = _time_wait(at.ports, begin)


@contextmanager
def _full(listener: socket.socket) -> Iterator[None]:
    """Fill a listener's accept queue with dummy connections inside the block."""
    listener.listen(1)  # the queue holds backlog + 1 connections (sk_acceptq_is_full)
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
    """The server closes first; then its port is bound again."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    _close_behind_data(server)
    yield Step("the server closes its half, behind unread data", "ESTABLISHED", "FIN_WAIT1")
    _read_to_the_end(at.client)
    yield Step("the client reads all data and the FIN", "CLOSE_WAIT", "FIN_WAIT2")
    _close_behind_data(at.client)
    yield Step("the client closes its half too, behind unread data", "LAST_ACK", "FIN_WAIT2")
    begin = time.monotonic()
    _read_to_the_end(server)
    yield Step("the server reads all data and the FIN", "CLOSED", "TIME_WAIT")
    server.close()
    at.listener.close()
    at.noted["time_wait"] = _time_wait(at.ports[::-1], begin)
    at.noted["bind"] = _bind(at.ports[1], reuse=False)
    at.noted["bind_reusing"] = _bind(at.ports[1], reuse=True)


def server_first_reusing(at: Connection) -> Iterator[Step]:
    """The same with SO_REUSEADDR on the old listener; its connections inherit the option."""
    at.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server = at.open()
    server.close()
    at.client.close()
    yield Step("a connection that the server closes first", "CLOSED", "TIME_WAIT")
    at.listener.close()
    at.noted["bind"] = _bind(at.ports[1], reuse=False)
    at.noted["bind_reusing"] = _bind(at.ports[1], reuse=True)


def both_at_once(at: Connection) -> Iterator[Step]:
    """Both ends close before either has received the other's FIN."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    _close_behind_data(at.client)
    _close_behind_data(server)
    yield Step("both close their half, behind unread data", "FIN_WAIT1", "FIN_WAIT1")
    _read_to_the_end(at.client)
    yield Step("the client reads all data and the FIN", "CLOSING", "FIN_WAIT2")
    _read_to_the_end(server)
    yield Step("the server reads all data and the FIN", "TIME_WAIT", "TIME_WAIT")


def reset(at: Connection) -> Iterator[Step]:
    """The client closes with a reset (SO_LINGER with 0 seconds)."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    sockets.reset(at.client)
    yield Step("the client closes with SO_LINGER 0", "CLOSED", "CLOSED", resets=True)
    at.noted["recv"] = _result(lambda: server.recv(1))


def data_to_a_closed_socket(at: Connection) -> Iterator[Step]:
    """The server sends to a client that has closed both halves."""
    server = at.open()
    yield Step("a connection", "ESTABLISHED", "ESTABLISHED")
    at.client.sendall(bytes(AHEAD))
    at.client.close()
    yield Step("the client closes both halves, behind unread data", "FIN_WAIT1", "ESTABLISHED")
    _read_to_the_end(server)
    yield Step("the server reads all data and the FIN", "FIN_WAIT2", "CLOSE_WAIT")
    at.noted["first"] = _result(lambda: server.send(b"x"))
    yield Step("the server sends to the closed client", "CLOSED", "CLOSED", resets=True)
    at.noted["second"] = _result(lambda: server.send(b"x"))


def _close_behind_data(sock: socket.socket) -> None:
    """Send more than the peer can buffer, then close this half: the FIN has to wait."""
    sock.sendall(bytes(AHEAD))
    sock.shutdown(socket.SHUT_WR)


def _read_to_the_end(sock: socket.socket) -> int:
    """Read until the peer's FIN; return how many bytes came before it."""
    count = 0
    while piece := sock.recv(1 << 16):
        count += len(piece)
    return count


def _time_wait(ports: tuple[int, int], begin: float) -> Numbers:
    """Return the seconds left on the kernel's timer, and those since `begin`.

    The timer started after `begin`, so it has run no longer than that.
    """
    row = tcp_states.rows().get(ports)
    return {"left": row.seconds if row else None, "since": time.monotonic() - begin}


def _bind(port: int, *, reuse: bool) -> str:
    """Try to bind a new socket to a port; return the result or the error's name."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        return _result(lambda: sock.bind(("127.0.0.1", port)))


def _result(call: Callable[[], Any]) -> str:
    """Return a call's result, or its error's name."""
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
