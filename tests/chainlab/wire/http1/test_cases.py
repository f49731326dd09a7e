"""Every case file, whole, byte by byte and cut at random: the same bytes, the same result."""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainlab.wire.http1 import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    ClientConnection,
    Data,
    EndOfMessage,
    Limits,
    RemoteProtocolError,
    RequestHead,
    ResponseHead,
    ServerConnection,
)

CASES = Path(__file__).parent / "cases"
OK = ResponseHead(200)


def cases(kind: str) -> list[Any]:
    found = sorted((CASES / kind).glob("*.raw"))
    assert found, f"no cases in {kind}"
    return [
        pytest.param(
            path.read_bytes(), json.loads(path.with_suffix(".json").read_text()), id=path.stem
        )
        for path in found
    ]


def splits(raw: bytes) -> Iterator[list[bytes]]:
    yield [raw]
    yield [raw[i : i + 1] for i in range(len(raw))]
    dice = random.Random(len(raw))
    for _ in range(5):
        cuts = sorted(dice.choices(range(len(raw) + 1), k=4))
        yield [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def text(data: bytes) -> str:
    return data.decode("latin-1")


def pairs(fields: Iterable[tuple[bytes, bytes]]) -> list[list[str]]:
    return [[text(name), text(value)] for name, value in fields]


def limits(expected: dict[str, Any], **default: Any) -> Limits:
    return Limits(**{**default, **expected.get("limits", {})})


def describe_request(head: RequestHead) -> dict[str, Any]:
    return {
        "method": text(head.method),
        "target": text(head.target),
        "path": text(head.path),
        "query": text(head.query),
        "host": text(head.host),
        "minor": head.minor,
        "keep_alive": head.keep_alive,
        "chunked": head.chunked,
        "expect_continue": head.expect_continue,
        "fields": pairs(head.fields),
        "body": "",
        "trailers": [],
    }


class Serving:
    """A server connection whose every request is answered as soon as it is complete."""

    def __init__(self, limits: Limits) -> None:
        self.connection = ServerConnection(limits)
        self.messages: list[dict[str, Any]] = []

    def feed(self, chunks: list[bytes], *, eof: bool = False) -> None:
        for chunk in chunks:
            if chunk:
                self.connection.receive_data(chunk)
                self.drain()
        if eof:
            self.connection.receive_eof()
            self.drain()

    def drain(self) -> None:
        while (event := self.connection.next_event()) not in (NEED_DATA, PAUSED, CLOSED):
            if isinstance(event, RequestHead):
                self.messages.append(describe_request(event))
            elif isinstance(event, Data):
                self.messages[-1]["body"] += text(event.data)
            elif isinstance(event, EndOfMessage):
                self.messages[-1]["trailers"] = pairs(event.trailers)
                assert self.connection.send_complete(OK, b"").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("raw", "expected"), cases("server/valid"))
def test_a_valid_request_is_read(raw: bytes, expected: dict[str, Any]) -> None:
    for chunks in splits(raw):
        serving = Serving(limits(expected))
        serving.feed(chunks, eof=expected.get("eof", False))
        assert len(serving.messages) == len(expected["messages"])
        for message, wanted in zip(serving.messages, expected["messages"], strict=True):
            assert {key: message[key] for key in wanted} == wanted


@pytest.mark.parametrize(("raw", "expected"), cases("server/invalid"))
def test_an_invalid_request_is_refused_and_closed(raw: bytes, expected: dict[str, Any]) -> None:
    for chunks in splits(raw):
        serving = Serving(limits(expected))
        with pytest.raises(RemoteProtocolError) as refused:
            serving.feed(chunks, eof=expected.get("eof", False))
        assert refused.value.status == expected["status"]
        # An empty reason: which of two mistakes is met first depends on the cut.
        assert expected["reason"] in refused.value.reason
        connection = serving.connection
        answer = connection.send_complete(ResponseHead(refused.value.status), b"refused\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert connection.must_close
        assert connection.next_event() is CLOSED


def read_responses(
    raw: list[bytes], expected: dict[str, Any], *, eof: bool
) -> tuple[ClientConnection, list[dict[str, Any]], bool]:
    connection = ClientConnection(limits(expected, body=None))
    connection.send_request(expected.get("method", "GET").encode(), b"/", [(b"host", b"a")])
    responses: list[dict[str, Any]] = []
    ended = False

    def drain() -> None:
        nonlocal ended
        while not ended and (event := connection.next_event()) not in (NEED_DATA, CLOSED):
            if isinstance(event, ResponseHead):
                responses.append(
                    {"status": event.status, "reason": text(event.reason), "minor": event.minor}
                    | {"body": "", "trailers": []}
                )
            elif isinstance(event, Data):
                responses[-1]["body"] += text(event.data)
            elif isinstance(event, EndOfMessage):
                responses[-1]["trailers"] = pairs(event.trailers)
                ended = True

    for chunk in raw:
        if chunk:
            connection.receive_data(chunk)
            drain()
    if eof:
        connection.receive_eof()
        drain()
    return connection, responses, ended


@pytest.mark.parametrize(("raw", "expected"), cases("client/valid"))
def test_a_valid_response_is_read(raw: bytes, expected: dict[str, Any]) -> None:
    for chunks in splits(raw):
        connection, responses, ended = read_responses(
            chunks, expected, eof=expected.get("eof", False)
        )
        assert ended
        assert len(responses) == len(expected["responses"])
        for response, wanted in zip(responses, expected["responses"], strict=True):
            assert {key: response[key] for key in wanted} == wanted
        assert connection.reusable == expected["reusable"]


@pytest.mark.parametrize(("raw", "expected"), cases("client/invalid"))
def test_an_invalid_response_is_a_bad_gateway(raw: bytes, expected: dict[str, Any]) -> None:
    for chunks in splits(raw):
        with pytest.raises(RemoteProtocolError) as refused:
            read_responses(chunks, expected, eof=expected.get("eof", False))
        assert refused.value.status == 502
        assert expected["reason"] in refused.value.reason
