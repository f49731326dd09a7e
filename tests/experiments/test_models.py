"""What the experiments on I/O models stand on: a read in each model, echo servers, io_uring."""

import errno
from typing import Any

import pytest

from experiments import uring
from experiments.echo import KINDS, ask, serving
from experiments.frame import NotHere
from experiments.models import MODELS
from experiments.reading import read_once


@pytest.mark.parametrize("model", MODELS)
def test_a_read_is_seen_from_three_sides(model: str) -> None:
    try:
        found = read_once(model, 0.02)
    except NotHere as lack:
        pytest.skip(lack.reason)
    assert found["right"]
    assert found["call"] < found["arrived"] <= found["done"]
    assert found["call"] <= found["told"] <= found["done"]
    assert found["sent"][0] <= found["arrived"]
    assert (found["refused"] > 0) == (model == "nonblocking")
    assert (found["work"] > 0) == (model in {"signal-driven", "asynchronous"})
    assert set(found["states"]) <= set("RSD")


@pytest.mark.parametrize("kind", KINDS)
def test_an_echo_server_counts_what_it_did(kind: str) -> None:
    with serving(kind, 3) as server:
        clients = server.connect(3)
        ask(clients, 10)
        for client in clients:
            client.close()
        counts = server.counts()
    assert counts.requests == 30
    assert counts.processes == (3 if kind == "blocking" else 1)
    assert counts.calls >= 60
    assert counts.cpu_ns > 0


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        (errno.EPERM, "io_uring is forbidden here (EPERM)", "io_uring_disabled"),
        (errno.ENOSYS, "this kernel has no io_uring", "Linux 5.6"),
    ],
)
def test_io_uring_that_is_refused_is_what_the_machine_lacks(
    monkeypatch: pytest.MonkeyPatch, code: int, reason: str, remedy: str
) -> None:
    def refuse(*_arguments: Any) -> int:
        raise OSError(code, "refused")

    monkeypatch.setattr(uring, "_call", refuse)
    with pytest.raises(NotHere) as caught:
        uring.Ring()
    assert caught.value.reason == reason
    assert remedy in caught.value.remedy
