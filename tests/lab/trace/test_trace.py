"""`lab trace` on real chains: what must come before what, read from its JSON.

Of a request through a chain much is known: no part can answer before it was asked. So it is the
order that is asserted, and that every source saw what it must have seen; never how long it took.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.chain.backends import BACKENDS
from lab.trace.agents import capture, strace
from lab.trace.terminal import WIDTH
from tests.support.lab import Lab
from tests.support.peers import need

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool(refused := capture.refusal() or strace.refusal()) or not shutil.which("strace"),
        reason=refused[0] if refused else "strace is not installed: sudo apt install strace",
    ),
]
PATIENCE = 250.0
"""Seconds for one trace, which is some seconds on a machine that does nothing else."""

MILLISECOND = 1e-3
FASTCGI_TYPES = (1, 4, 5, 6, 3)  # BEGIN_REQUEST, PARAMS, STDIN, STDOUT, END_REQUEST


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "run") as found:
        yield found


def traced(lab: Lab, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Return the JSON of a trace and what it printed."""
    path = folder / "trace.json"
    printed = lab.good("trace", *options, "--json", str(path), seconds=PATIENCE)
    told = json.loads(path.read_text())
    assert (told["kind"], told["version"]) == ("chainlab-trace", 1)
    (trace,) = told["traces"]
    assert trace["missing"] == []
    return trace, printed


def order(trace: dict[str, Any]) -> list[str]:
    """Return what happened between the lanes, in the trace's order: `client>front SYN`."""
    lanes = {each["number"]: each["lanes"] for each in trace["connections"]}
    told = []
    for event in trace["events"]:
        if event["kind"] not in ("packet", "message"):
            continue
        side = event["sender"]
        sender = lanes[event["connection"]][side]
        receiver = lanes[event["connection"]]["server" if side == "client" else "client"]
        what = "+".join(event["flags"]) if event["kind"] == "packet" else event["name"]
        told.append(f"{sender}>{receiver} {what}")
    return told


def assert_in_order(told: list[str], *expected: str) -> None:
    """Assert that each of `expected` first happens after the one before it first happened."""
    places = [told.index(each) for each in expected]
    assert places == sorted(places), [told[place] for place in sorted(places)]


def assert_one_clock(trace: dict[str, Any]) -> None:
    assert {each["between"] for each in trace["skew"]} >= {"packets and system calls"}
    for skew in trace["skew"]:
        assert abs(skew["seconds"]) < MILLISECOND, skew
        assert skew["low"] <= skew["high"], skew


def assert_http_around(told: list[str]) -> None:
    assert_in_order(
        told,
        "client>front SYN",
        "front>client ACK+SYN",
        "client>front ACK",
        "client>front ACK+PSH",
        "client>front request",
        "front>backend BEGIN_REQUEST",
        "front>backend PARAMS",
        "front>backend STDIN",
        "backend>front STDOUT",
        "front>client response",
        "client>front ACK+FIN",
        "front>client ACK+FIN",
    )
    assert_in_order(told, "backend>front STDOUT", "backend>front END_REQUEST")


@pytest.mark.parametrize("backend", ["fcgi-worker", "php-fpm", "flup-fork"])
def test_a_request_through_the_gateway(lab: Lab, tmp_path: Path, backend: str) -> None:
    if reason := BACKENDS[backend].unavailable():
        pytest.skip(reason)
    trace, printed = traced(lab, tmp_path, "--backend", backend)
    told = order(trace)
    assert_http_around(told)
    assert_in_order(
        told, "client>front request", "front>backend SYN", "backend>front ACK+SYN",
        "front>backend BEGIN_REQUEST",
    )  # fmt: skip
    assert_one_clock(trace)
    assert trace["cost"]["alone"][0]["status"] == trace["cost"]["strace"][0]["status"] == 200
    assert [lane["title"] for lane in trace["lanes"]] == ["client", "gateway", backend]
    assert all(lane["processes"] for lane in trace["lanes"])
    assert all(each["agrees"] for each in trace["kernel_states"]), trace["kernel_states"]
    assert_calls(trace)
    assert_drawn(printed)
    fields = [[name.lower() for name, _ in answer["fields"]] for answer in trace["cost"]["alone"]]
    assert {"server-timing", "x-request-id"} <= set(fields[0])
    assert "server-timing: " in printed


def assert_calls(trace: dict[str, Any]) -> None:
    """Assert that the calls are there which must have moved the bytes, and what they waited for."""
    calls = [event for event in trace["events"] if event["kind"] == "call"]
    for lane in ("client", "front", "backend"):
        roles = {call["role"] for call in calls if call["lane"] == lane and call["connection"]}
        assert {"read", "write"} <= roles, lane
    (connect,) = [call for call in calls if call["lane"] == "client" and call["role"] == "connect"]
    syn = next(e for e in trace["events"] if e["kind"] == "packet" and e["flags"] == ["SYN"])
    assert connect["start"] <= syn["at"] <= connect["end"]
    answer = next(e for e in calls if e["lane"] == "client" and e["role"] == "read" and e["bytes"])
    assert answer["slept"] == answer["waiting"]
    assert answer["start"] + answer["waiting"] + answer["copying"] == pytest.approx(answer["end"])
    states = [
        (event["side"], event["state"]) for event in trace["events"] if event["kind"] == "state"
    ]
    assert states[:4] == [
        ("client", "SYN_SENT"), ("server", "SYN_RECV"),
        ("client", "ESTABLISHED"), ("server", "ESTABLISHED"),
    ]  # fmt: skip
    assert ("client", "TIME_WAIT") in states
    assert ("server", "CLOSED") in states


def assert_drawn(printed: str) -> None:
    lines = [line for line in printed.splitlines() if "SCHEMA.md" not in line]
    assert max(map(len, lines)) <= WIDTH, max(lines, key=len)
    assert "\x1b" not in printed
    for text in ("── SYN ──", "◀─ SYN ACK ", "BEGIN_REQUEST", "STDOUT", "TIME_WAIT", "no skew"):
        assert text in printed, text
    assert "under strace" in printed


def test_a_hop_by_unix_socket_is_drawn_from_the_calls(lab: Lab, tmp_path: Path) -> None:
    lab.up("--workers", "2")
    trace, _ = traced(lab, tmp_path, "/whoami")
    kinds = {(each["kind"], each["lanes"]["server"]) for each in trace["connections"]}
    assert kinds == {("tcp", "front"), ("unix", "backend")}
    told = order(trace)
    assert_http_around(told)
    assert "front>backend SYN" not in told
    params = [e for e in trace["events"] if e["kind"] == "message" and e["name"] == "PARAMS"]
    assert ["REQUEST_URI", "/whoami"] in params[0]["fields"]
    assert_one_clock(trace)
    assert lab.status["front"]["processes"], "the chain goes on"


def test_requests_on_one_connection_by_curl_through_nginx(lab: Lab, tmp_path: Path) -> None:
    need("curl", "curl")
    need("nginx", "nginx-light")
    trace, _ = traced(
        lab, tmp_path, "--front", "nginx", "--backend", "epoll-lt", "--count", "2", "--reuse",
        "--client", "curl",
    )  # fmt: skip
    told = order(trace)
    assert told.count("client>front SYN") == 1
    assert told.count("client>front request") == 2
    assert told.count("backend>front response") == 2
    first = told.index("front>client response")
    assert told.index("client>front request", first) > first
    assert [lane["title"] for lane in trace["lanes"]] == ["curl", "nginx", "epoll-lt"]
    assert len(trace["cost"]["strace"]) == 2


def test_two_back_ends_straight(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    printed = lab.good(
        "trace", "--compare", "iterative", "epoll-et", "--json", str(path), seconds=PATIENCE
    )
    traces = json.loads(path.read_text())["traces"]
    names = [
        {event["name"] for event in trace["events"] if event.get("lane") == "backend"}
        for trace in traces
    ]
    assert "epoll_wait" not in names[0]
    assert {"epoll_wait", "epoll_ctl", "recvfrom", "sendto"} <= names[1]
    for trace in traces:
        assert_in_order(order(trace), "client>backend SYN", "client>backend request",
                        "backend>client response", "client>backend ACK+FIN")  # fmt: skip
    assert "system calls of the server" in printed


def test_a_server_that_reads_without_a_call(lab: Lab, tmp_path: Path) -> None:
    if reason := BACKENDS["io-uring"].unavailable():
        pytest.skip(reason)
    trace, _ = traced(lab, tmp_path, "--front", "none", "--backend", "io-uring")
    server = [event for event in trace["events"] if event.get("lane") == "backend"]
    assert not [call for call in server if call["bytes"]]
    assert_in_order(order(trace), "client>backend request", "backend>client response")


def test_the_packets_as_tshark_reads_them(lab: Lab, tmp_path: Path) -> None:
    tshark = need("tshark", "tshark")
    path, perfetto = tmp_path / "packets.pcapng", tmp_path / "perfetto.json"
    printed = lab.good("trace", "--pcap", str(path), "--perfetto", str(perfetto), seconds=PATIENCE)
    line = next(line for line in printed.splitlines() if f"{path}: wireshark" in line)
    decode = line.partition(f"-r {path} ")[2].split()
    command = [tshark, "-n", "-r", str(path), *decode, "-T", "fields", "-e", "fcgi.type"]
    done = subprocess.run(
        [*command, "-Y", "fcgi"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kinds = [int(kind) for kind in done.stdout.replace("\n", ",").split(",") if kind]
    places = [kinds.index(kind) for kind in FASTCGI_TYPES]
    assert places == sorted(places), kinds
    assert_perfetto(json.loads(perfetto.read_text())["traceEvents"])


def assert_perfetto(events: list[dict[str, Any]]) -> None:
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert {"client", "gateway", "fcgi-worker"} <= names
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")
    starts, ends = (
        {event["id"]: event for event in events if event["ph"] == kind} for kind in "sf"
    )
    assert starts.keys() == ends.keys()
    assert {event["name"] for event in starts.values()} >= {"request", "BEGIN_REQUEST", "STDOUT"}
    assert all(starts[each]["ts"] <= ends[each]["ts"] for each in starts)


def trace_without_the_right_to_capture(
    lab: Lab, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Trace a server, straight, as a root who has lost CAP_NET_RAW."""
    setpriv = need("setpriv", "util-linux")
    command = lab.command("trace", "--front", "none", "--backend", "iterative", *options)
    return subprocess.run(
        [setpriv, "--bounding-set=-net_raw", *command],
        env={**os.environ, "CHAINLAB_RUN": str(lab.folder), **environment},
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip


def test_without_rights_and_tools_it_says_what_lacks(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    done = trace_without_the_right_to_capture(lab, "--json", str(path), PATH="/nowhere")
    for text in ("CAP_NET_RAW", "sudo lab trace", "strace is not installed", "apt install strace"):
        assert text in done.stdout
    (trace,) = json.loads(path.read_text())["traces"]
    assert len(trace["missing"]) == 2
    assert trace["cost"]["alone"][0]["status"] == 200


def test_without_the_right_to_capture_the_calls_are_drawn(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    done = trace_without_the_right_to_capture(lab, "--json", str(path))
    assert "missing: no right to capture packets" in done.stdout
    for text in ("GET /hello", "HTTP/1.1 200 OK"):
        assert text in done.stdout, done.stdout
    for name in ("connect", "accept4"):  # the terminal cuts a long row of calls
        assert f'"{name}"' in path.read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("hello",), "hello: give a path such as /hello, or http://"),
        (("https://127.0.0.1/",), "https://127.0.0.1/: give a path"),
        (("--backend", "apache"), "no back end 'apache'"),
        (("--backend", "fcgi-worker", "--front", "none"), "speaks FastCGI"),
        (("--json", "/nowhere/x.json"), "--json /nowhere/x.json: folder /nowhere does not exist"),
        (("--compare", "select", "poll", "--pcap", "x.pcapng"), "trace select and poll separately"),
        (("http://127.0.0.1:1/", "--front", "nginx"), "with a URL, leave out --front"),
        (("http://127.0.0.1:1/",), "127.0.0.1:1 did not answer"),
    ],
)
def test_what_cannot_be_is_refused(lab: Lab, options: tuple[str, ...], told: str) -> None:
    done = lab.run("trace", *options)
    assert done.returncode == 1
    assert told in done.stderr
