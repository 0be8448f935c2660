"""The two ways through the columns do the same: whatever arrives, one row at a time or all at once."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.media.columns import FEW, cells, one_row
from sipsimple.media.counters import Extremes
from sipsimple.media.net import Received
from sipsimple.media.packet import MAX_PACKET_SIZE, RTPPacket, parse_batch, parse_plain, plain_header
from sipsimple.media.streams import StreamConfig, StreamTable

ROWS = 3
TICK = 0.02
SIGNALLED = ("127.0.0.1", 40000)
STRANGER = ("127.0.0.1", 40002)
PORTS = (22000, 60000)

RARE = (
    *("lost", "lost", "twice", "swapped", "late", "jump", "restart", "leap", "long", "empty", "odd"),
    *("marked", "noise", "event", "unknown", "stranger", "moved", "short", "control"),
)
FATES = st.sampled_from(("next",) * 12 + RARE)
CALLS = st.lists(st.tuples(*[FATES] * ROWS), min_size=1, max_size=60)


class Talker:
    """One remote: makes the datagrams that a fate asks for."""

    def __init__(self, row: int):
        self.row = row
        self.number = 0
        self.offset = 0
        self.timestamp = (1 << 32) - 1600 * row
        self.ssrc = 10 + row
        self.source = SIGNALLED
        self.held: bytes | None = None

    def packet(self, **fields) -> bytes:
        self.number += 1
        self.timestamp += 160
        packet = RTPPacket(
            **{
                "payload_type": 0,
                "sequence": (65500 + self.number + self.offset) % 65536,
                "timestamp": self.timestamp % (1 << 32),
                "ssrc": self.ssrc,
                "payload": bytes([self.number % 256]) * 160,
                **fields,
            }
        )
        return bytes(packet)

    def datagrams(self, fate: str) -> list[tuple[tuple[str, int], bytes]]:
        source = self.source
        match fate:
            case "lost":
                self.packet()
                return []
            case "twice":
                data = [self.packet()] * 2
            case "swapped":
                data = [self.packet(), self.packet()][::-1]
            case "late":
                self.held, data = self.packet(), [self.held] if self.held else []
            case "jump":
                self.timestamp += 160 * 80
                data = [self.packet()]
            case "leap":
                self.offset += 5000
                data = [self.packet(), self.packet()]
            case "restart":
                self.ssrc += 100
                data = [self.packet()]
            case "long":
                data = [self.packet(payload=b"\x55" * 1200)]
            case "empty":
                data = [self.packet(payload=b"")]
            case "odd":
                data = [self.packet(payload=b"\x33" * 97)]
            case "marked":
                data = [self.packet(marker=True)]
            case "noise":
                data = [self.packet(payload_type=13, payload=b"\x40")]
            case "event":
                data = [self.packet(payload_type=101, payload=b"\x01\x0a\x00\xa0")]
            case "unknown":
                data = [self.packet(payload_type=77)]
            case "stranger":
                source, data = STRANGER, [self.packet()]
            case "moved":
                self.source = source = STRANGER if self.source == SIGNALLED else SIGNALLED
                data = [self.packet()]
            case "short":
                data = [b"\x80\x00\x01"]
            case "control":
                data = [struct.pack("!BBHI", 0x80, 201, 1, self.ssrc)]
            case _:
                data = [self.packet()]
        return [(source, datagram) for datagram in data]


class Side:
    """A table whose network is lists."""

    def __init__(self, few: int, mixer_rate: int):
        self.rate = mixer_rate
        self.table = StreamTable(8, random=random.Random(1), few=few)
        self.sent: list[tuple[int, bytes]] = []
        for index in range(ROWS):
            info = self.table.open_transport("127.0.0.1", PORTS)
            ptime_ms = 30 if index == 2 else 20
            config = StreamConfig(*SIGNALLED, "PCMU", 0, mixer_rate, ptime_ms=ptime_ms, telephone_event_type=101)
            row = self.table.add(info.id, config, 0.0)
            self.table._sender.direct(row, lambda data, row: self.sent.append((row, bytes(data))) or len(data), row)
        # Nothing leaves for where the remote moves to.
        self.table._sender.direct = lambda *_: None

    def arrive(self, round_of: list[tuple[int, tuple[str, int], bytes]], now: float) -> None:
        if not round_of:
            return
        datagrams = np.full((len(round_of), MAX_PACKET_SIZE), 0xEE, np.uint8)
        for place, (_, _, data) in zip(datagrams, round_of, strict=True):
            place[: len(data)] = np.frombuffer(data, np.uint8)
        keys, sources, data = zip(*round_of, strict=True)
        views = [place.data for place in datagrams]
        self.table._arrivals.take(Received(list(keys), list(sources), [len(d) for d in data], datagrams, views), now)

    def turn(self, now: float) -> np.ndarray:
        rows, frames = self.table.playout(now, self.rate)
        self.table.send(now, self.table.sending_rows(self.rate), frames.copy())
        assert rows.tolist() == list(range(ROWS))
        return frames.copy()

    def close(self):
        self.table.close(1e6)


@settings(max_examples=50, deadline=None)
@given(CALLS, st.sampled_from([8000, 16000]))
def test_few_streams_sound_and_count_as_many_do(fates, mixer_rate):
    sides = [Side(0, mixer_rate), Side(FEW, mixer_rate)]
    talkers = [Talker(row) for row in range(ROWS)]
    try:
        for tick, of_rows in enumerate(fates):
            now = tick * TICK
            queues = [talker.datagrams(fate) for talker, fate in zip(talkers, of_rows, strict=True)]
            while any(queues):
                round_of = [(2 * row, *queue.pop(0)) for row, queue in enumerate(queues) if queue]
                for side in sides:
                    side.arrive(round_of, now)
            many, few = (side.turn(now) for side in sides)
            assert np.array_equal(many, few)
        many, few = (side.table for side in sides)
        assert sides[0].sent == sides[1].sent
        assert many.events(now) == few.events(now)
        assert many.refused == few.refused
        for row in range(ROWS):
            assert many.statistics(row) == few.statistics(row)
            assert many._reception.report(row) == few._reception.report(row)
    finally:
        for side in sides:
            side.close()


@given(st.binary(max_size=40))
def test_plain_headers_are_read_as_a_batch_reads_them(data):
    place = np.full((1, 64), 0xEE, np.uint8)
    place[0, : len(data)] = np.frombuffer(data, np.uint8)
    plain = parse_plain(place[0].data, len(data))
    if plain is not None:
        batch = parse_batch(place, np.array([len(data)]))
        assert batch.valid[0]
        assert not batch.marker[0]
        assert plain == tuple(int(f[0]) for f in (batch.payload_type, batch.sequence, batch.timestamp, batch.ssrc))
        assert (batch.start[0], batch.length[0]) == (12, len(data) - 12)


@given(st.integers(0, 127), st.booleans(), st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 2**32 - 1))
def test_header_that_is_made_is_the_one_of_the_packet(payload_type, marker, sequence, timestamp, ssrc):
    packet = RTPPacket(payload_type, sequence % 65536, timestamp % (1 << 32), ssrc, marker=marker)
    assert plain_header(payload_type, marker, sequence, timestamp, ssrc) == bytes(packet)


@given(st.lists(st.floats(0, 1e7), max_size=20))
def test_single_measurements_count_as_batches_do(values):
    many, few = Extremes(2), Extremes(2)
    for value in values:
        many.add(np.array([1]), np.array([value]))
        few.add_one(1, value)
    assert many.read(1) == few.read(1)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float64])
def test_cells_are_the_column_itself(dtype):
    column = np.zeros((3, 2), dtype)
    view = cells(column)
    view[3] = 1
    assert column.tolist() == [[0, 0], [0, 1], [0, 0]]
    column[2, 0] = 1
    assert view[4] == 1


def test_each_row_has_an_index_of_its_own():
    assert [row.tolist() for row in one_row(3)] == [[0], [1], [2]]
