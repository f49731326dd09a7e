"""S3 and S4: looking at packets, and the life of a TCP connection."""

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lab.rundir import LabError, Part
from lab.tour import clients
from lab.tour.stage import Measured, Number, Pick, Stage, Step
from lab.tour.workbench import PATIENCE, Workbench, stopped, wait_until

_STATES: Final = {"01": "ESTABLISHED", "06": "TIME_WAIT", "08": "CLOSE_WAIT"}
"""Of /proc/net/tcp (include/net/tcp_states.h); those that are looked for here."""

_SIDES: Final = {"a": "the client's", "b": "the server's", "c": "both"}


def _without_capture() -> str | None:
    """Return why packets cannot be captured here, and what helps."""
    if shutil.which("tcpdump") is None:
        return "tcpdump is not installed: run sudo apt install tcpdump"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return "capturing packets is root's: run it as root, or with CAP_NET_RAW"
    except OSError as error:
        return f"no capture here: {error}"
    return None


def _capture(bench: Workbench) -> Measured:
    part = bench.server("iterative")
    port = part.address.rpartition(":")[2]
    command = ["tcpdump", "-i", "lo", "-nn", "-l", "-t", "--immediate-mode", f"tcp port {port}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as tcpdump:
        end = threading.Timer(PATIENCE, tcpdump.kill)
        end.start()
        try:
            _await_listening(tcpdump)
            with clients.connect(part) as sock:
                ours = sock.getsockname()[1]
                clients.read_answer(sock, clients.request("/hello"))
            packets = [_shortened(line, port) for line in _whole_life(tcpdump, ours)]
        finally:
            end.cancel()
            tcpdump.kill()
    return Measured(float(len(packets)), packets)


def _whole_life(tcpdump: "subprocess.Popen[str]", port: int) -> Iterator[str]:
    """Yield the packets of a client's port, up to the acknowledgement of the second FIN."""
    assert tcpdump.stdout is not None
    ours = re.compile(rf"\.{port}\b")
    fins = 0
    for line in filter(ours.search, tcpdump.stdout):
        yield line.rstrip()
        if fins == 2:  # what is behind the second one acknowledges it
            return
        fins += "Flags [F" in line
    raise LabError(f"tcpdump did not see the connection end within {PATIENCE:g} s")


def _await_listening(tcpdump: "subprocess.Popen[str]") -> None:
    assert tcpdump.stderr is not None
    said = ""
    for line in tcpdump.stderr:
        if line.startswith("listening on"):
            return
        said = line
    raise LabError(f"tcpdump did not start: {said.strip()}")


def _shortened(line: str, port: str) -> str:
    """Return what tcpdump says of a packet, with the two ends named."""
    found = re.search(r"\.(\d+) > \S+: Flags \[(\S+?)\].*length (\d+)", line)
    if found is None:
        return line
    sender, flags, length = found.groups()
    way = "client <- server" if sender == port else "client -> server"
    spelled = ", ".join(_FLAGS.get(flag, flag) for flag in flags)
    return f"{way}  {spelled}" + (f", {length} bytes" if length != "0" else "")


_FLAGS: Final = {"S": "SYN", ".": "ACK", "P": "PSH", "F": "FIN", "R": "RST"}


def _states(server: str, client: int) -> dict[str, str]:
    """Return the states of a connection's two ends: "client", "server"; what is gone is not in."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(each.rpartition(":")[2], 16) for each in fields[1:3]]
        if ends == [client, int(server)]:
            found["client"] = fields[3]
        elif ends == [int(server), client]:
            found["server"] = fields[3]
    return found


def _stopped_server(bench: Workbench) -> Measured:
    part = bench.server("iterative")
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
            return Measured("a", [f"connected; {ends}", "and the server's process does not run"])


def _named(ends: dict[str, str]) -> str:
    return ", ".join(
        f"the {side}'s end is {_STATES.get(state, state)}" for side, state in sorted(ends.items())
    )


def _server_closes(bench: Workbench) -> Measured:
    return _time_wait(bench.server("iterative"), keep=False)


def _client_closes(bench: Workbench) -> Measured:
    return _time_wait(bench.server("iterative"), keep=True)


def _time_wait(part: Part, *, keep: bool) -> Measured:
    """Have an answer; with `keep` we close first, without it the server does."""
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
        "one end is in TIME_WAIT and the other one gone",
    )
    ends = _states(port, ours)
    key = "c" if len(ends) == 2 else "a" if "client" in ends else "b"
    return Measured(key, [f"in /proc/net/tcp: {_named(ends)}; nothing of the other one"])


def _killed(bench: Workbench) -> Measured:
    part = bench.server("thread")
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
            said = sock.recv(65536)
        except ConnectionResetError:
            return Measured("b", ["recv(2) failed with ECONNRESET"])
        except TimeoutError:
            return Measured("c", [f"nothing for {clients.TIMEOUT:g} s"])
        return Measured("a", [f"recv(2) returned {len(said)} bytes"])


S3 = Stage(
    "S3",
    "tcpdump",
    "Below the calls are packets. tcpdump shows them; `lab trace` puts them beside the calls.",
    [
        Step(
            look="One request, GET /hello with Connection: close, on the loopback, captured from "
            "the first packet to the last, in both directions.",
            by_hand="tcpdump -i lo -nn tcp port 8000",
            question=Number("How many packets are that?", "packets", near=0.25),
            measure=_capture,
            why="Three to begin with (SYN, SYN-ACK, ACK), the request and the answer, each with "
            "an acknowledgement, and a FIN each way with its own; some ride on others. 14 bytes "
            "were wanted: what a kept connection saves is all but two or three.",
            unavailable=_without_capture,
        )
    ],
)

S4 = Stage(
    "S4",
    "The life of a TCP connection",
    "From the handshake to the last state of it. /proc/net/tcp has both ends, as both are here.",
    [
        Step(
            look="The server is stopped (kill -STOP): its process is there but does not run, so "
            "it calls no accept. A client connects.",
            question=Pick(
                "What does connect(2) say?",
                {"a": "connected", "b": "nothing, until the server runs again", "c": "refused"},
            ),
            measure=_stopped_server,
            why="The handshake is the kernel's. A connection waits in the listener's backlog until "
            "accept(2) takes it; the client may even send. So that a port connects says little "
            "about the program behind it.",
        ),
        Step(
            look="A request with Connection: close: the server answers and closes first.",
            by_hand="ss -tan | grep 8000",
            question=Pick("Whose end remains in TIME_WAIT?", _SIDES),
            measure=_server_closes,
            why="Who closes first waits, 60 s on Linux, so that a late packet finds nobody who "
            "could take it for his own, and a lost last ACK can be sent again.",
        ),
        Step(
            look="A request on a connection that the server would keep: now the client closes "
            "first.",
            question=Pick("Whose end remains in TIME_WAIT?", _SIDES),
            measure=_client_closes,
            why="It is not about client and server but about first and second. A server that "
            "closes tens of thousands of connections itself holds as many in TIME_WAIT.",
        ),
        Step(
            look="A connection is open; the server is held, a request is sent and lies unread in "
            "its socket; then the process is killed (kill -9).",
            question=Pick(
                "What does the client's recv(2) say?",
                {"a": "the end of the stream, as after a close", "b": "connection reset",
                 "c": "nothing: nobody is there to say anything"},
            ),
            measure=_killed,
            why="The kernel closes the sockets of a process that dies. Where bytes lie unread a "
            "FIN would say that all was taken, so it is a reset (RFC 2525, section 2.17); with "
            "nothing unread it would have been a FIN.",
        ),
    ],
)  # fmt: skip
