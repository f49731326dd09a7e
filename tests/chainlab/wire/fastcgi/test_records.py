"""The record and pair layers: cut anywhere, padded anyhow, bounded always."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainlab.wire.fastcgi import ProtocolError, decode_pairs, encode_pairs
from chainlab.wire.fastcgi.pairs import read_pairs
from chainlab.wire.fastcgi.records import (
    HEADER,
    HEADER_LENGTH,
    MAX_CONTENT,
    STDIN,
    RecordReader,
    encode_record,
    encode_stream,
)


def raw_record(record_type: int, request_id: int, content: bytes, padding: int) -> bytes:
    header = HEADER.pack(1, record_type, request_id, len(content), padding)
    return header + content + b"\xaa" * padding


def read_all(reader: RecordReader) -> list[tuple[int, int, bytes, bool]]:
    found = []
    while reader.records or reader.cut():
        found.append(reader.records.pop())
    return found


def whole_records(fragments: list[tuple[int, int, bytes, bool]]) -> list[tuple[int, int, bytes]]:
    records, content = [], b""
    for record_type, request_id, piece, ends in fragments:
        content += piece
        if ends:
            records.append((record_type, request_id, content))
            content = b""
    assert content == b""
    return records


RECORDS = st.lists(
    st.tuples(
        st.integers(0, 255),
        st.integers(0, 65535),
        st.binary(max_size=300),
        st.integers(0, 255),
    ),
    max_size=8,
)


@given(RECORDS, st.lists(st.integers(1, 40), max_size=60))
def test_records_survive_any_fragmentation_and_padding(
    records: list[tuple[int, int, bytes, int]], cuts: list[int]
) -> None:
    stream = b"".join(raw_record(*record) for record in records)
    reader, fragments, at = RecordReader(), [], 0
    for cut in [*cuts, len(stream)]:
        if at < len(stream):
            reader.receive_data(stream[at : at + cut])
            fragments += read_all(reader)
            at += cut
    assert whole_records(fragments) == [record[:3] for record in records]
    assert reader.between_records


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 65528, 65535])
def test_written_records_are_aligned_to_eight_bytes(length: int) -> None:
    record = encode_record(STDIN, 1, b"x" * length)
    assert len(record) % 8 == 0
    assert HEADER.unpack_from(record)[3:] == (length, -length % 8)


def test_a_long_stream_becomes_full_records_and_one_rest() -> None:
    data = bytes(range(256)) * 1024
    reader = RecordReader()
    reader.receive_data(encode_stream(STDIN, 7, data))
    records = whole_records(read_all(reader))
    assert b"".join(content for _, _, content in records) == data
    assert [len(content) for _, _, content in records[:-1]] == [MAX_CONTENT] * (len(records) - 1)


def test_an_empty_stream_makes_no_record_because_that_would_end_it() -> None:
    assert encode_stream(STDIN, 1, b"") == b""


@pytest.mark.parametrize("given_bytes", [b"\x00", b"\x02\x01", b"GET / HT", b"\x16\x03\x01"])
def test_a_wrong_version_is_refused_at_its_first_byte(given_bytes: bytes) -> None:
    reader = RecordReader()
    reader.receive_data(given_bytes)
    with pytest.raises(ProtocolError, match="version"):
        reader.cut()


def test_a_reader_holds_no_more_than_a_header_of_a_slow_record() -> None:
    reader = RecordReader()
    reader.receive_data(raw_record(STDIN, 1, b"x" * 60000, 0)[: HEADER_LENGTH + 100])
    assert read_all(reader) == [(STDIN, 1, b"x" * 100, False)]
    reader.receive_data(b"y")
    assert read_all(reader) == [(STDIN, 1, b"y", False)]


NAMES = st.one_of(st.binary(max_size=20), st.binary(min_size=126, max_size=130))
VALUES = st.one_of(st.binary(max_size=200), st.binary(min_size=126, max_size=130))
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=10, unique_by=lambda pair: pair[0])


@given(PAIRS)
def test_pairs_come_back_as_they_went(pairs: list[tuple[bytes, bytes]]) -> None:
    expected = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    assert decode_pairs(encode_pairs(pairs)) == expected


@given(PAIRS, st.data())
def test_a_cut_pair_stays_for_the_next_call(
    pairs: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    block = encode_pairs(pairs)
    cut = data.draw(st.integers(0, len(block)))
    found: dict[str, str] = {}
    taken = read_pairs(block[:cut], found, 1 << 20)
    assert taken <= cut
    assert read_pairs(block[taken:], found, 1 << 20) == len(block) - taken
    assert found == decode_pairs(block)


@pytest.mark.parametrize("length", [127, 128, 65536])
def test_both_length_forms(length: int) -> None:
    block = encode_pairs([(b"N" * length, b"V" * length)])
    assert block[0] == (length if length < 128 else 0x80)
    assert decode_pairs(block) == {"N" * length: "V" * length}


def test_a_long_form_for_a_short_length_is_read() -> None:
    assert decode_pairs(b"\x80\x00\x00\x01\x01AB") == {"A": "B"}


def test_a_pair_that_claims_too_much_is_refused_before_it_arrives() -> None:
    with pytest.raises(ProtocolError, match="pair of"):
        read_pairs(b"\xff\xff\xff\xff\x01A", {}, 1 << 20)


def test_a_complete_block_may_not_end_inside_a_pair() -> None:
    with pytest.raises(ProtocolError, match="cut off"):
        decode_pairs(b"\x03\x03ABC")


def test_a_length_beyond_31_bits_cannot_be_written() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 31

    with pytest.raises(ProtocolError, match="31 bits"):
        encode_pairs([(b"A", Huge())])
