"""Trace one request over TCP and over a unix socket; read the capture with another program.

`lab trace` runs as a subprocess. From its JSON (lab/trace/SCHEMA.md) this module keeps who sent
what to whom, in order, and for each direction of each connection the number of bytes that packets
carried and that system calls wrote.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from experiments.frame import NotHere, Numbers
from experiments.lab_process import LabFailed, LabProcess

CLIENT, GATEWAY, WORKER = "client", "gateway", "fcgi-worker"

ASKED: Final = ("trace", "/hello", "--front", GATEWAY, "--backend", WORKER)

REMEDY: Final = (
    "run it as root: sudo .venv/bin/lab experiment s3; in a container: docker compose run --rm "
    "--user root --cap-add NET_RAW --cap-add SETUID --cap-add SETGID --entrypoint lab tests "
    "experiment s3"
)
"""tcpdump needs SETUID and SETGID to drop its privileges."""

Ways = dict[tuple[Any, Any], dict[str, Any]]
"""By connection number and sending side: both ends, and the bytes sent in that direction."""

_READING: Final = 30.0  # seconds to read a file of about twenty packets


def take() -> Numbers:
    """Trace the request over TCP and over a unix socket; read the TCP capture back."""
    with tempfile.TemporaryDirectory(prefix="chainlab-s3-") as name:
        folder = Path(name)
        lab = LabProcess(folder)
        pcap = folder / "hello.pcapng"
        tcp = _traced(lab, *ASKED, "--pcap", str(pcap))
        read = _read(pcap, tcp["ports"])
        with lab.chain("--workers", "1"):
            unix = _traced(lab, "trace", "/hello")
    return {"tcp": tcp, "unix": unix, "read": read}


def _traced(lab: LabProcess, *arguments: str) -> Numbers:
    """Run a trace and return what it saw; NotHere if no packets can be captured."""
    path = lab.folder / "trace.json"
    path.unlink(missing_ok=True)
    try:
        lab.run(*arguments, "--json", str(path))
    except LabFailed:
        if not path.exists():
            raise
    (trace,) = json.loads(path.read_text())["traces"]
    missing = trace["missing"]
    if not any(event["kind"] == "packet" for event in trace["events"]):
        raise NotHere(
            "; ".join(each["what"] for each in missing) or "no packets were captured", REMEDY
        )
    lacks = [f"{each['what']}; {each['remedy']}" for each in missing]
    return {"lacks": lacks, **_summary(trace)}


def _summary(trace: Mapping[str, Any]) -> Numbers:
    """Return packets and messages in order, and each direction's bytes in packets and in calls."""
    titles = {lane["id"]: lane["title"] for lane in trace["lanes"]}
    ways: Ways = {}
    for each in trace["connections"]:
        ends = {side: titles[lane] for side, lane in each["lanes"].items()}
        for side, other in (("client", "server"), ("server", "client")):
            ways[each["number"], side] = {
                "kind": each["kind"], "from": ends[side], "to": ends[other],
                "in_packets": 0, "in_calls": 0,
            }  # fmt: skip
    events = [entry for event in trace["events"] if (entry := _counted(ways, event))]
    ports = [
        int(each["ends"]["server"].rpartition(":")[2])
        for each in trace["connections"]
        if each["kind"] == "tcp" and titles[each["lanes"]["server"]] == WORKER
    ]
    return {"events": events, "ways": list(ways.values()), "ports": ports}


def _counted(ways: Ways, event: Mapping[str, Any]) -> list[Any] | None:
    """Count an event's bytes; return [from, to, what, length], or None for a system call.

    The length of a message is None.
    """
    side = event.get("sender") or event.get("side")
    way = ways.get((event.get("connection"), side))
    if way is None:
        return None
    if event["kind"] == "packet":
        if event["length"]:
            way["in_packets"] = max(way["in_packets"], event["seq"] + event["length"])
        return [way["from"], way["to"], _kind(event), event["length"]]
    if event["kind"] == "message":
        return [way["from"], way["to"], event["name"], None]
    if event["kind"] == "call" and event["role"] == "write":
        way["in_calls"] += event["bytes"]
    return None


def _kind(packet: Mapping[str, Any]) -> str:
    flags = packet["flags"]
    if "RST" in flags:
        return "RST"
    if "SYN" in flags:
        return "SYN-ACK" if "ACK" in flags else "SYN"
    if "FIN" in flags:
        return "FIN"
    return "content" if packet["length"] else "ACK"


def _read(pcap: Path, ports: Sequence[int]) -> Numbers | None:
    """Read the capture with tshark, else tcpdump; return None if neither is installed."""
    decode = [option for port in ports for option in ("-d", f"tcp.port=={port},fcgi")]
    fields = ["-T", "fields", "-e", "frame.number", "-e", "fcgi.type"]
    if shutil.which("tshark"):
        shown = ["tshark", "-n", "-r", pcap.name, *decode]
        command = [*shown, *fields]
    elif shutil.which("tcpdump"):
        shown = command = ["tcpdump", "-nn", "-r", pcap.name]
    else:
        return None
    done = subprocess.run(
        command, cwd=pcap.parent, capture_output=True, text=True, timeout=_READING, check=False
    )
    lines = done.stdout.splitlines()
    decoded = [line.partition("\t")[2] for line in lines]
    return {
        "command": " ".join(shown),
        "exit": done.returncode,
        "said": done.stderr.strip().splitlines()[-1:],
        "packets": len(lines),
        "records": [int(each) for types in decoded for each in types.split(",") if each]
        if command != shown
        else None,
    }
