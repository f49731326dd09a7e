"""The queue before a client: bytes leave in the order in which they came, wherever they waited."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbox import Outbox
from gateway.spool import HIGH, Spool, SpoolFull, SpoolSpace

SIZES = st.integers(0, 3 * HIGH)


@given(
    st.lists(st.tuples(SIZES, st.integers(0, 200_000)), max_size=20),
    st.sampled_from([0, 1000, HIGH, 1 << 30]),
    st.sampled_from([0, 100_000, 1 << 30]),
)
def test_bytes_leave_in_order(steps: list[tuple[int, int]], limit: int, space: int) -> None:
    shared = SpoolSpace(space)
    outbox = Outbox(shared)
    outbox.limit = limit
    expected, received = bytearray(), bytearray()
    for number, (size, taken) in enumerate(steps):
        data = bytes([number % 251]) * size
        expected += data
        outbox.append(data)
        while taken > 0 and outbox.memory:
            piece = outbox.front()[:taken]
            received += piece
            outbox.drop(len(piece))
            taken -= len(piece)
        assert shared.taken <= space
    while outbox.memory:
        piece = outbox.front()
        received += piece
        outbox.drop(len(piece))
    assert received == expected
    outbox.clear()
    assert shared.taken == 0


def test_it_is_full_when_its_file_is_and_not_before() -> None:
    outbox = Outbox(SpoolSpace(1 << 30))
    outbox.limit = 10 * HIGH
    for _ in range(10):
        assert not outbox.full
        outbox.append(b"x" * HIGH)
    outbox.append(b"x" * HIGH)
    assert outbox.full
    outbox.clear()


def test_a_spool_that_cannot_be_written_keeps_what_it_has() -> None:
    space = SpoolSpace(100)
    spool = Spool(space)
    spool.append(b"first")
    with pytest.raises(SpoolFull):
        spool.append(b"x" * 96)
    spool.append(b" second")
    assert spool.take(100) == b"first second"
    spool.rewind()
    assert spool.take(5) == b"first"
    assert spool.left == 7
    spool.clear()
    assert (space.taken, spool.left) == (0, 0)
    spool.close()
    spool.close()
    assert space.taken == 0
