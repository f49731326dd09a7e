"""Verdicts on the stages from made-up numbers, on both sides of each threshold."""

from typing import Any

import pytest

from experiments import s3_tcpdump as s3
from experiments import s4_connection_life as s4
from experiments.connection_lives import LIVES
from experiments.frame import CONFIRMED, NOT_MEASURED, REFUTED, Numbers
from tests.experiments.test_e_verdicts import with_changes

State = tuple[str, str]
OPEN = ("ESTABLISHED", "ESTABLISHED")


def life(*states: State, resets: int = -1, **noted: Any) -> Numbers:
    """Numbers of a life whose ends go through these states; step `resets` does it by a reset."""
    steps = [
        {
            "what": f"step {at}", "resets": at == resets, "client": client, "server": server,
            "client_says": "CLOSED" if client == "TIME_WAIT" else client, "server_says": "",
        }
        for at, (client, server) in enumerate(states)
    ]  # fmt: skip
    return {"steps": steps, **noted}


def lives(**changed: Any) -> Numbers:
    """Numbers as a kernel that keeps to the RFC gives them, but for what is changed by a path."""
    minute = {"left": 59.5, "since": 0.5}
    found = [
        life(
            ("CLOSED", "CLOSED"), ("CLOSED", "LISTEN"), ("SYN_SENT", "LISTEN"),
            ("ESTABLISHED", "SYN_RECV"), OPEN, ("FIN_WAIT1", "ESTABLISHED"),
            ("FIN_WAIT2", "CLOSE_WAIT"), ("FIN_WAIT2", "LAST_ACK"), ("TIME_WAIT", "CLOSED"),
            late=[9, 9], client_send="EPIPE", time_wait=minute,
        ),
        life(OPEN, ("FIN_WAIT1", "FIN_WAIT1"), ("FIN_WAIT1", "CLOSING"), ("TIME_WAIT",) * 2),
        life(
            OPEN, ("ESTABLISHED", "FIN_WAIT1"), ("CLOSE_WAIT", "FIN_WAIT2"),
            ("LAST_ACK", "FIN_WAIT2"), ("CLOSED", "TIME_WAIT"),
            time_wait=minute, bind="EADDRINUSE", bind_reusing="EADDRINUSE",
        ),
        life(("CLOSED", "TIME_WAIT"), bind="EADDRINUSE", bind_reusing="None"),
        life(OPEN, ("CLOSED", "CLOSED"), resets=1, recv="ECONNRESET"),
        life(
            OPEN, ("FIN_WAIT1", "ESTABLISHED"), ("FIN_WAIT2", "CLOSE_WAIT"), ("CLOSED", "CLOSED"),
            resets=3, first="1", second="EPIPE",
        ),
    ]  # fmt: skip
    whole = with_changes({"lives": found}, changed)
    return {"lives": dict(zip(LIVES, whole["lives"], strict=True))}


PARTS = ["the states", "half close", "reset", "TIME_WAIT"]


@pytest.mark.parametrize(
    ("path", "value", "refuted"),
    [
        ("0.late", [9, 9], ()),
        ("0.steps.5.client", "FIN_WAIT2", "the states"),  # a state was leapt over
        ("1.steps.2.server", "CLOSE_WAIT", "the states"),  # no such arrow
        ("1.steps.2.server", "FIN_WAIT1", "the states"),  # CLOSING was never seen
        ("4.steps.1.resets", False, "the states"),  # closed, but nothing was reset
        ("0.steps.4.client_says", "SYN_SENT", "the states"),  # the two words disagree
        ("0.late", [9, 8], "half close"),
        ("0.client_send", "1", "half close"),
        ("4.recv", "b''", "reset"),
        ("5.first", "EPIPE", "reset"),
        ("5.second", "1", "reset"),
        ("5.second", "ECONNRESET", ()),
        ("0.time_wait.left", 58.5, ()),
        ("0.time_wait.left", 58.4, "TIME_WAIT"),
        ("0.time_wait.left", 61.1, "TIME_WAIT"),
        ("2.time_wait.left", None, "TIME_WAIT"),
        ("2.bind", "None", "TIME_WAIT"),
        ("3.bind_reusing", "EADDRINUSE", "TIME_WAIT"),
    ],
)
def test_s4_the_life_is_the_rfc_s(path: str, value: Any, refuted: str) -> None:
    numbers = lives(**{f"lives.{path}": value})
    found = s4.judge(numbers)
    assert [each.part for each in found] == PARTS
    assert [each.part for each in found if each.verdict == REFUTED] == (
        [refuted] if refuted else []
    )
    assert {each.verdict for each in found} <= {CONFIRMED, REFUTED}
    assert all(each.key for each in found)
    assert [chart.key for chart in s4.figures(numbers)] == ["s4-ladder", "s4-arrows"]


def test_s4_a_time_wait_on_the_wrong_side_is_refuted() -> None:
    numbers = lives(**{"lives.2.steps.4.client": "TIME_WAIT", "lives.2.steps.4.server": "CLOSED"})
    assert {each.part: each.verdict for each in s4.judge(numbers)}["TIME_WAIT"] == REFUTED


def test_s4_a_change_that_is_no_arrow_is_named_and_drawn() -> None:
    numbers = lives(**{"lives.0.steps.5.client": "FIN_WAIT2"})
    assert "ESTABLISHED to FIN_WAIT2" in s4.judge(numbers)[0].key
    table = s4.figures(numbers)[1].table
    row = next(row for row in table.rows if row[0] == "ESTABLISHED")
    assert "seen, not an RFC arrow" in row


Told = list[Any]


def said(chain: int) -> list[Told]:
    """Events as one of the orders has them: packets have a length, messages none."""
    return [[*each, None if each[2] in MESSAGES else 0] for each in s3.ORDER[chain]]


MESSAGES = {*s3.TYPES, "request", "response"}


def ways(kind: str, in_packets: int) -> list[Numbers]:
    ends = [("client", "gateway", "tcp"), ("gateway", "fcgi-worker", kind)]
    return [
        {"kind": of, "from": sender, "to": to, "in_calls": 9,
         "in_packets": 9 if of == "tcp" else in_packets}
        for one, other, of in ends for sender, to in ((one, other), (other, one))
    ]  # fmt: skip


READ = {
    "command": "tshark -r x", "exit": 0, "said": ["no"], "packets": 8, "records": [1, 4, 5, 6, 3],
}  # fmt: skip
CAPTURED: Numbers = {
    "tcp": {"lacks": [], "events": [*said(0), said(1)[1], said(2)[1]], "ways": ways("tcp", 9)},
    "unix": {"lacks": [], "events": [*said(0), said(1)[1]], "ways": ways("unix", 0)},
    "read": READ,
}
S3_PARTS = ["one request", "every byte", "a unix socket", "the file"]


@pytest.mark.parametrize(
    ("path", "value", "verdicts"),
    [
        ("read.exit", 0, {}),
        ("tcp.events.0.2", "ACK", {"one request": REFUTED}),  # no SYN
        ("tcp.events.3.2", "response", {"one request": REFUTED}),  # answered before it was asked
        ("tcp.events.13.2", "STDOUT", {"one request": REFUTED, "the file": REFUTED}),  # no end
        ("tcp.events.14.2", "ACK", {"one request": REFUTED}),  # one FIN of two
        ("tcp.ways.2.in_packets", 8, {"every byte": REFUTED}),
        ("tcp.ways.2.in_calls", 8, {"every byte": REFUTED}),
        ("tcp.ways.2.kind", "unix", {"every byte": REFUTED}),
        ("unix.ways.2.in_packets", 1, {"a unix socket": REFUTED}),
        ("unix.ways.3.in_calls", 0, {"a unix socket": REFUTED}),
        ("unix.events.8.2", "BEGIN_REQUEST", {"a unix socket": REFUTED}),  # no PARAMS
        ("read.exit", 1, {"the file": REFUTED}),
        ("read", {**READ, "exit": 1, "packets": 0}, {"the file": NOT_MEASURED}),
        ("read.packets", 7, {"the file": REFUTED}),
        ("read.records", [1, 4, 5, 6], {"the file": REFUTED}),
        ("read.records", None, {}),  # tcpdump does not decode them
        ("read", None, {"the file": NOT_MEASURED}),
        ("tcp.lacks", ["no strace; install it"],
         {"every byte": NOT_MEASURED, "a unix socket": NOT_MEASURED}),
    ],
)  # fmt: skip
def test_s3_a_capture_holds_the_request(path: str, value: Any, verdicts: dict[str, str]) -> None:
    numbers = with_changes(CAPTURED, {path: value})
    found = {each.part: each.verdict for each in s3.judge(numbers)}
    assert found == {**dict.fromkeys(S3_PARTS, CONFIRMED), **verdicts}
    assert all(each.key for each in s3.judge(numbers))
    assert s3.figures(numbers)[0].key == "s3-packets"


def test_s3_without_strace_says_what_helps_and_draws_the_packets() -> None:
    numbers = with_changes(CAPTURED, {"unix.lacks": ["no strace; install it"]})
    assert s3.judge(numbers)[1].key == "no strace; install it"
    assert len(s3.figures(numbers)) == 1
    assert len(s3.figures(CAPTURED)) == 2
