"""RTP headers: parsing is the inverse of writing, the batch agrees with the single packet, no bytes crash either."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.media.packet import HEADER_SIZE, MalformedRTP, RTPPacket, parse_batch, write_headers

WIDTH = 256

packets = st.builds(
    RTPPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=80),
    marker=st.booleans(),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none() | st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=5).map(lambda data: data * 4)),
)


def batch_of(*datagrams: bytes):
    array = np.full((len(datagrams), WIDTH), 0xA5, np.uint8)
    for row, data in zip(array, datagrams, strict=True):
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return array, parse_batch(array, np.array([len(data) for data in datagrams]))


@given(packets)
def test_parsing_is_the_inverse_of_writing(packet):
    assert RTPPacket.parse(bytes(packet)) == packet


@given(st.lists(st.binary(max_size=WIDTH) | packets.map(bytes), min_size=1, max_size=5))
def test_batch_agrees_with_single_parser_on_any_bytes(datagrams):
    array, batch = batch_of(*datagrams)
    for index, data in enumerate(datagrams):
        try:
            packet = RTPPacket.parse(data)
        except MalformedRTP:
            assert not batch.valid[index]
            continue
        assert batch.valid[index]
        start, length = batch.start[index], batch.length[index]
        assert bytes(array[index, start : start + length]) == packet.payload
        assert (batch.payload_type[index], batch.marker[index]) == (packet.payload_type, packet.marker)
        assert (batch.sequence[index], batch.timestamp[index]) == (packet.sequence, packet.timestamp)
        assert batch.ssrc[index] == packet.ssrc


def test_padding_is_taken_off():
    data = bytearray(bytes(RTPPacket(0, 1, 2, 3, b"abcd\0\0\0\4")))
    data[0] |= 0x20
    assert RTPPacket.parse(bytes(data)).payload == b"abcd"
    _, batch = batch_of(bytes(data))
    assert batch.valid[0]
    assert batch.length[0] == 4


@pytest.mark.parametrize("padding", [0, 9, 255])
def test_padding_longer_than_payload_is_refused(padding):
    data = bytearray(bytes(RTPPacket(0, 1, 2, 3, b"abcdefg" + bytes([padding]))))
    data[0] |= 0x20
    with pytest.raises(MalformedRTP):
        RTPPacket.parse(bytes(data))
    assert not batch_of(bytes(data))[1].valid[0]


def test_written_headers_are_read_back_and_wrap():
    array = np.zeros((2, HEADER_SIZE + 3), np.uint8)
    write_headers(
        array,
        np.array([0, 101], np.uint8),
        np.array([True, False]),
        np.array([65535, 65536]),
        np.array([5, (1 << 32) + 7]),
        np.array([1, 0xFFFFFFFF]),
    )
    assert RTPPacket.parse(bytes(array[0])) == RTPPacket(0, 65535, 5, 1, bytes(3), marker=True)
    assert RTPPacket.parse(bytes(array[1])) == RTPPacket(101, 0, 7, 0xFFFFFFFF, bytes(3))
