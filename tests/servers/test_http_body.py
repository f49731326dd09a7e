"""Request content that ends where it ends, however it was framed and cut."""

import io

import pytest

from servers.third_party.http_body import ChunkedBody, LengthBody


def read(body: io.RawIOBase) -> bytes:
    return io.BufferedReader(body).read()


@pytest.mark.parametrize("length", [0, 1, 5, 100_000])
def test_length(length: int) -> None:
    stream = io.BytesIO(b"x" * length + b"next")
    body = LengthBody(stream, length)
    assert read(body) == b"x" * length
    assert body.ended
    assert stream.read() == b"next"


def test_length_cut_off() -> None:
    body = LengthBody(io.BytesIO(b"x"), 2)
    with pytest.raises(ConnectionAbortedError, match="broke off"):
        read(body)
    assert not body.ended


@pytest.mark.parametrize(
    ("framed", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"00A;name=value\r\n0123456789\r\n1 \r\nx\r\n0\r\n\r\n", b"0123456789x"),
        (b"1\r\nx\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\n", b"x"),
        (b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n", b"x" * 65536),
    ],
    ids=["none", "one", "extension", "trailers", "large"],
)
def test_chunked(framed: bytes, content: bytes) -> None:
    stream = io.BytesIO(framed + b"next")
    body = ChunkedBody(stream)
    assert read(body) == content
    assert body.ended
    assert stream.read() == b"next"
    assert body.read(1) == b""


@pytest.mark.parametrize(
    "framed",
    [
        b"", b"3", b"3\r\nab", b"3\r\nabc", b"3\r\nabcd\r\n", b"3\r\nabc\r\n", b"0\r\n",
        b"\r\n", b"x\r\n", b"-1\r\n", b"+1\r\nx\r\n", b"0x1\r\nx\r\n", b"1\nx\n0\n\n",
        b"11111111111111111\r\n", b"0\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"1;" + b"x" * 5000,
    ],
)  # fmt: skip
def test_chunks_broken(framed: bytes) -> None:
    body = ChunkedBody(io.BytesIO(framed))
    with pytest.raises(ConnectionAbortedError):
        read(body)
    assert not body.ended


def test_a_silent_client() -> None:
    class Silent(io.BytesIO):
        def read1(self, _size: int | None = -1) -> bytes:
            raise TimeoutError

    with pytest.raises(ConnectionAbortedError, match="silent"):
        read(LengthBody(Silent(), 1))
