"""One run: the client sends its requests while the agents watch."""

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
"""Seconds for the client to get all answers: /wait may take 60, and strace slows everything."""

SETTLING: Final = 0.3
"""Seconds for the parts to close their connections, when no capture shows that they have."""

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
"""curl as an agent: strace attaches to the shell, which then starts curl."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A lane, the place where its processes run, and the pid of their leader (None: unknown)."""

    lane: Lane
    place: Place
    leader: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """What the client requests, and where the client runs."""

    host: str
    port: int
    target: str
    count: int = 1
    reuse: bool = False
    client: str = "own"
    place: Place = field(default_factory=Place)


@dataclass(slots=True)
class Seen:
    """The results of one run."""

    answers: Sequence[Mapping[str, Any]] = ()
    captured: Captured | None = None
    calls: dict[LaneId, list[RawCall | Note]] = field(default_factory=dict)
    processes: dict[LaneId, tuple[Process, ...]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


def watch(question: Question, lanes: Sequence[Watched], *, strace: bool) -> Seen:
    """Run the client once, with a packet capture and, if `strace`, with strace on every lane."""
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
        client.tell()  # every agent is attached: the client may start
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
    """Return the ports to capture; the port that the client connects to comes first."""
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
            f"the system calls of {watched.lane.title}: its process was not found",
            f"run it as root, on the machine where {watched.lane.title} runs: sudo lab trace",
        )
        for watched in lanes
        if watched.leader is None
    ]


def _try(stack: ExitStack, seen: Seen, place: Place, name: str, *arguments: object) -> Agent | None:
    """Start an agent; if it cannot work, record why and the remedy, once."""
    try:
        return stack.enter_context(place.agent(name, *arguments))
    except Unable as error:
        lack = Missing(error.what, error.remedy)
        if lack not in seen.missing:
            seen.missing.append(lack)
        return None


def _answers(text: str) -> list[Mapping[str, Any]]:
    """Parse the answers: our client writes one line for all, curl one line each."""
    answers: list[Mapping[str, Any]] = []
    for line in text.splitlines():
        reported = json.loads(line)
        if "error" in reported:
            raise LabError(reported["error"])
        answers += reported.get("answers", [reported])
    if not answers:
        raise LabError("the client got no answer: see its error message above")
    return answers


def client_ports(answers: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the client's local ports, as reported by our client or by curl."""
    return {answer.get("port", answer.get("local_port")) for answer in answers}


def answer_of(reported: Mapping[str, Any]) -> Answer:
    """Convert one reported answer, from our client or from curl, to an Answer."""
    if "times" not in reported:  # from curl, in seconds
        steps = ("time_connect", "time_starttransfer", "time_total")
        connected, first, done = (round(reported[step] * 1e9) for step in steps)
        return Answer(reported["response_code"], reported["size_download"], connected, first, done)
    times = reported["times"]
    steps = ("connected", "first_byte", "done")
    connected, first, done = (times.get(step, times["start"]) - times["start"] for step in steps)
    fields = [(name, value) for name, value in reported["fields"]]
    return Answer(reported["status"], reported["bytes"], connected, first, done, fields)
