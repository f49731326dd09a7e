"""S3: packets, with tcpdump and with `lab trace`."""

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Final

from lab.chain.rundir import LabError
from lab.tour import clients
from lab.tour.sandbox import PATIENCE, Sandbox
from lab.tour.stage import Measured, Number, Stage, Step


def _without_capture() -> str | None:
    """Return why packets cannot be captured here and what helps, or None."""
    if shutil.which("tcpdump") is None:
        return "tcpdump is not installed; run: sudo apt install tcpdump"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return "capturing packets needs root or CAP_NET_RAW; run the tour as root"
    except OSError as error:
        return f"packets cannot be captured here: {error}"
    return None


def _capture(sandbox: Sandbox) -> Measured:
    part = sandbox.server("iterative")
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
    """Yield tcpdump's lines for a client's port, up to the ACK of the second FIN."""
    assert tcpdump.stdout is not None
    ours = re.compile(rf"\.{port}\b")
    fins = 0
    for line in filter(ours.search, tcpdump.stdout):
        yield line.rstrip()
        if fins == 2:  # this packet acknowledges the second FIN
            return
        fins += "Flags [F" in line
    raise LabError(f"tcpdump did not see the connection end within {PATIENCE:g} s")


def _records(sandbox: Sandbox) -> Measured:
    """Trace one request through the chain; count its FastCGI records."""
    file = sandbox.run_dir.path / "trace.json"
    sandbox.run(["trace", "/hello", "--backend", "fcgi-worker", "--json", str(file)])
    events = json.loads(file.read_text())["traces"][0]["events"]
    records = [each for each in events if each.get("protocol") == "fastcgi"]
    ways = {"client": "gateway -> worker", "server": "gateway <- worker"}
    seen = [f"{ways[each['sender']]}  {each['name']}, {each['length']} bytes" for each in records]
    return Measured(float(len(records)), seen)


def _await_listening(tcpdump: "subprocess.Popen[str]") -> None:
    assert tcpdump.stderr is not None
    last = ""
    for line in tcpdump.stderr:
        if line.startswith("listening on"):
            return
        last = line
    raise LabError(f"tcpdump did not start: {last.strip()}")


def _shortened(line: str, port: str) -> str:
    """Shorten tcpdump's line for a packet and name its two ends."""
    found = re.search(r"\.(\d+) > \S+: Flags \[(\S+?)\].*length (\d+)", line)
    if found is None:
        return line
    sender, flags, length = found.groups()
    direction = "client <- server" if sender == port else "client -> server"
    names = ", ".join(_FLAGS.get(flag, flag) for flag in flags)
    return f"{direction}  {names}" + (f", {length} bytes" if length != "0" else "")


_FLAGS: Final = {"S": "SYN", ".": "ACK", "P": "PSH", "F": "FIN", "R": "RST"}


S3 = Stage(
    "S3",
    "tcpdump",
    "Below the system calls are packets. tcpdump shows the packets, `lab trace` shows both.",
    [
        Step(
            setup="One request, GET /hello with Connection: close, is captured on the loopback "
            "from the first packet to the last, in both directions.",
            by_hand="tcpdump -i lo -nn tcp port 8000",
            question=Number("How many packets does it take?", "packets", near=0.25),
            measure=_capture,
            why="Three for the handshake (SYN, SYN-ACK, ACK), the request and the answer, each "
            "with an ACK, and a FIN each way with its ACK; some share a packet. All that for 14 "
            "bytes of content: on a keep-alive connection two or three packets would do.",
            unavailable=_without_capture,
        ),
        Step(
            setup="The same request through the chain. Gateway and worker speak FastCGI, a "
            "protocol of records. lab trace merges the packets with the system calls of all "
            "processes and decodes their content.",
            by_hand="lab trace /hello",
            question=Number("How many records pass, in both directions?", "records", near=0.25),
            measure=_records,
            why="BEGIN_REQUEST, PARAMS, an empty PARAMS that ends the parameters, an empty "
            "STDIN; in the other direction STDOUT, its end, and END_REQUEST (FastCGI 1.0, "
            "sections 3.3 and 5). All of it fits one segment each way. Read "
            "chainlab/wire/fastcgi/.",
            unavailable=_without_capture,
        ),
    ],
)
