"""One run: the client asks, and the agents watch."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from lab.chain.rundir import LabError
from lab.trace.helpers import Agent, Place, Unable
from lab.trace.model import Answer, Lane, LaneId, Missing, Process
from lab.trace.segments import Captured, read_capture
from lab.trace.strace_lines import Note, RawCall, parse

ANSWER: Final = 180.0
"""Seconds for the client to have all answers: /wait may take 60, and strace slows all down."""

SETTLING: Final = 0.3
"""Seconds for the parts to close what they close after the answer; only a capture sees that."""

_CURL: Final = """\
printf '{"ready": true, "pid": %d}\\n' $$
read -r _
url=$1 count=$2 urls=
while [ "$count" -gt 0 ]; do
    count=$((count - 1))
    if [ "$3" = reuse ]; then urls="$urls -o /dev/null $url"
    else curl -gsS -w '%{json}\\n' -o /dev/null "$url" || exit; fi
done
[ -z "$urls" ] || curl -gsS -w '%{json}\\n' $urls
"""
"""curl as an agent: the shell is there before it, so that strace has hold of it in time."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A lane, and where its processes are: the place, and the leading one's pid there."""

    lane: Lane
    place: Place
    leader: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """What the client does, and where it runs."""

    host: str
    port: int
    target: str
    count: int = 1
    reuse: bool = False
    client: str = "own"
    place: Place = field(default_factory=Place)


@dataclass(slots=True)
class Seen:
    """What came of a run."""

    answers: Sequence[Mapping[str, Any]] = ()
    captured: Captured | None = None
    calls: dict[LaneId, list[RawCall | Note]] = field(default_factory=dict)
    processes: dict[LaneId, tuple[Process, ...]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


def watch(question: Question, lanes: Sequence[Watched], *, strace: bool) -> Seen:
    """Ask once, with a capture, and with strace on every lane where it is wanted."""
    seen = Seen()
    with ExitStack() as stack:
        client = stack.enter_context(_client(question))
        capture = _try(stack, seen, question.place, "capture", *_ports(lanes, question))
        traces: dict[LaneId, Agent] = {}
        if strace:
            seen.missing += _unknown(lanes)
            for lane_id, place, leader in _leaders(lanes, question, client):
                agent = _try(stack, seen, place, "strace", leader)
                if agent is not None:
                    traces[lane_id] = agent
                    seen.processes[lane_id] = tuple(
                        Process(*each) for each in agent.greeting["processes"]
                    )
        client.tell()
        seen.answers = _answers(client.finish(ANSWER))
        if capture is None:
            time.sleep(SETTLING)
        else:
            seen.captured = read_capture(capture.finish().splitlines())
        for lane_id, agent in traces.items():
            seen.calls[lane_id] = list(parse(agent.finish().splitlines()))
    return seen


def _client(question: Question) -> Agent:
    mode = "reuse" if question.reuse else "close"
    if question.client == "curl":
        host = f"[{question.host}]" if ":" in question.host else question.host
        url = f"http://{host}:{question.port}{question.target}"
        script = ["sh", "-c", _CURL, "curl", url, str(question.count), mode]
        return question.place.start(script)
    asked = (question.host, question.port, question.target, question.count, mode)
    return question.place.agent("client", *asked)


def _ports(lanes: Sequence[Watched], question: Question) -> list[int]:
    """Return the ports to capture, that of the client's connections first."""
    return list(dict.fromkeys([question.port, *(w.lane.port for w in lanes if w.lane.port)]))


def _leaders(
    lanes: Sequence[Watched], question: Question, client: Agent
) -> Iterator[tuple[LaneId, Place, int]]:
    yield "client", question.place, client.greeting["pid"]
    for watched in lanes:
        if watched.leader is not None:
            yield watched.lane.id, watched.place, watched.leader


def _unknown(lanes: Sequence[Watched]) -> list[Missing]:
    return [
        Missing(
            f"the system calls of {watched.lane.title}: whose process it is, is not known",
            "run it as root, on the machine where that runs: sudo lab trace",
        )
        for watched in lanes
        if watched.leader is None
    ]


def _try(stack: ExitStack, seen: Seen, place: Place, name: str, *arguments: object) -> Agent | None:
    """Start an agent; where it cannot work, note once why and what helps."""
    try:
        return stack.enter_context(place.agent(name, *arguments))
    except Unable as error:
        lack = Missing(error.what, error.remedy)
        if lack not in seen.missing:
            seen.missing.append(lack)
        return None


def _answers(text: str) -> list[Mapping[str, Any]]:
    """Return what the client got, ours in one line, curl's in a line for each."""
    answers: list[Mapping[str, Any]] = []
    for line in text.splitlines():
        said = json.loads(line)
        if "error" in said:
            raise LabError(said["error"])
        answers += said.get("answers", [said])
    if not answers:
        raise LabError("the client got no answer, see above")
    return answers


def client_ports(answers: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the ports that the client had, as ours or curl tells them."""
    return {said.get("port", said.get("local_port")) for said in answers}


def answer_of(said: Mapping[str, Any]) -> Answer:
    """Return one answer in the words of the model, from ours or from curl's."""
    if "times" not in said:  # curl counts seconds
        steps = ("time_connect", "time_starttransfer", "time_total")
        connected, first, done = (round(said[step] * 1e9) for step in steps)
        return Answer(said["response_code"], said["size_download"], connected, first, done)
    times = said["times"]
    steps = ("connected", "first_byte", "done")
    connected, first, done = (times.get(step, times["start"]) - times["start"] for step in steps)
    fields = [(name, value) for name, value in said["fields"]]
    return Answer(said["status"], said["bytes"], connected, first, done, fields)
