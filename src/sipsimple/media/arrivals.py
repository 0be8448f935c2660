"""What arrives on the sockets of all streams: told apart, counted, decoded and put where it waits to be played.

RTP and RTCP are told apart by RFC 5761 4. Comfort noise (RFC 3389) has its static payload type. Packets of an unknown
payload type or from a stranger are refused, before they can change anything. The usual packet, audio that follows the
one before it, is taken in at once while there are few; all else goes through the arrays in one batch.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from .codecs import BatchCodec, Codec, StreamCodec
from .columns import FEW, cells, one_row
from .dtmf import DigitReceiver, MalformedEvent, TelephoneEvent
from .jitter import JitterBuffer
from .net import Received
from .packet import FIRST_RTCP_TYPE, HEADER_SIZE, LAST_RTCP_TYPE, ParsedBatch, parse_batch, parse_plain
from .reception import Reception
from .reports import Reporter
from .rtcp import MalformedRTCP, parse_compound
from .sending import groups
from .sources import Sources
from .stream import StreamConfig
from .waiting import WaitingLine

COMFORT_NOISE_TYPE: Final = 13
NO_TYPE: Final = 255

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
SampleArray = npt.NDArray[np.int16]


class Arrivals:
    """How the packets of each stream are understood, one row each, and the jitter buffers they go to.

    The keys of what is `Received` are twice the row for RTP, and one more for RTCP.
    """

    def __init__(
        self, capacity: int, reception: Reception, sources: Sources, reporter: Reporter, *, few: int = FEW
    ) -> None:
        """Up to `few` packets are looked at one by one."""
        self._capacity: Final = capacity
        self._few: Final = few
        self._reception: Final = reception
        self._sources: Final = sources
        self._reporter: Final = reporter
        self._codecs: Final[list[Codec]] = []
        self.buffers: Final[dict[int, JitterBuffer]] = {}
        """By sample rate."""
        self.lines: Final[dict[int, WaitingLine]] = {}
        """By sample rate."""
        self._payload_type: Final = np.full(capacity, NO_TYPE, np.uint8)
        self._event_type: Final = np.full(capacity, NO_TYPE, np.uint8)
        self._codec_index: Final = np.zeros(capacity, np.int64)
        self._receives: Final = np.zeros(capacity, np.bool_)
        self._cells: Final = tuple(cells(column) for column in (self._payload_type, self._codec_index, self._receives))
        self._rows: Final = one_row(capacity)
        self._digits: Final[dict[int, DigitReceiver]] = {}
        self.goodbyes: Final[list[int]] = []
        """The rows whose remote said BYE; the owner empties it."""
        self.digits: Final[list[tuple[int, str]]] = []
        """Rows and the keys that their remote pressed; the owner empties it."""
        self.refused = 0
        """Datagrams that were not for us: not RTP, of an unknown payload type, or from a stranger."""

    def configure(self, row: int, config: StreamConfig, codec: Codec) -> None:
        """Set how the packets of a stream are understood from now on."""
        if codec not in self._codecs:
            self._codecs.append(codec)
        self._payload_type[row] = _received(config.payload_type, config.receive_type)
        self._event_type[row] = _received(config.telephone_event_type, config.telephone_event_receive_type)
        self._codec_index[row] = self._codecs.index(codec)
        self._receives[row] = config.receives

    def prepare(self, row: int, codec: Codec) -> None:
        """Empty the jitter buffer of the stream; make it where this sample rate is new."""
        rate = codec.sample_rate
        if rate not in self.buffers:
            self.buffers[rate] = JitterBuffer(self._capacity, rate, few=self._few)
            self.lines[rate] = WaitingLine(self.buffers[rate])
        self.buffers[rate].open(row, codec.clock_rate, remembers=isinstance(codec, StreamCodec))
        self._leave_lines(row)
        if isinstance(codec, StreamCodec):
            self.lines[rate].open(row, codec.decoder(row))
        digits = self._digits.get(row)
        if digits is None or digits.clock_rate != codec.clock_rate:
            # Else the press that is under way is known already, as after a hold that was short.
            self._digits[row] = DigitReceiver(codec.clock_rate)

    def _leave_lines(self, row: int) -> None:
        for line in self.lines.values():
            line.close(row)

    def close(self, row: int) -> None:
        """End a stream: no payload type is known any more."""
        self._receives[row] = False
        self._leave_lines(row)
        del self._digits[row]
        self._payload_type[row] = self._event_type[row] = NO_TYPE

    def take(self, received: Received, now: float) -> None:
        """Take in a round of datagrams."""
        if len(received.keys) <= self._few:
            left = [index for index in range(len(received.keys)) if not self._take_usual(received, index, now)]
            if not left:
                return
            received = received.pick(left)
        self._take_all(received, now)

    def _take_usual(self, received: Received, index: int, now: float) -> bool:
        """Take in one datagram if it is audio that follows the packet before it; else do nothing: False."""
        row, is_control = divmod(received.keys[index], 2)
        size = received.sizes[index]
        header = parse_plain(received.views[index], size)
        if is_control or header is None or size <= HEADER_SIZE:
            return False
        payload_types, codec_indices, receives = self._cells
        kind, sequence, timestamp, ssrc = header
        if kind != payload_types[row] or not self._sources.arrived(row, received.sources[index], now):
            return False
        if not self._reception.follow(row, sequence, timestamp, ssrc, size - HEADER_SIZE, now):
            return False
        if receives[row]:
            codec = self._codecs[codec_indices[row]]
            if isinstance(codec, StreamCodec):
                self._queue(codec, row, timestamp, bytes(received.views[index][HEADER_SIZE:size]))
                return True
            samples = codec.decode(self._rows[row], received.datagrams[index : index + 1, HEADER_SIZE:size])
            buffer = self.buffers[codec.sample_rate]
            if samples.shape[1] > buffer.max_packet_size or not buffer.append(row, timestamp, samples[0]):
                self._buffer(codec, self._rows[row], np.array([timestamp]), samples)
        return True

    def _take_all(self, received: Received, now: float) -> None:
        keys, sizes = np.array(received.keys), np.array(received.sizes)
        kinds = received.datagrams[:, 1]
        control = (keys & 1 == 1) | ((kinds >= FIRST_RTCP_TYPE) & (kinds <= LAST_RTCP_TYPE) & (sizes > 1))
        rows = keys >> 1
        for index in np.flatnonzero(control).tolist():
            self._take_rtcp(int(rows[index]), bytes(received.datagrams[index, : sizes[index]]), now)
        batch = parse_batch(received.datagrams, sizes)
        kind = batch.payload_type
        audio = kind == self._payload_type[rows]
        known = audio | (kind == self._event_type[rows]) | (kind == COMFORT_NOISE_TYPE)
        welcome = batch.valid & known & ~control
        self._sources.admit(rows, received.sources, welcome, now)
        if welcome.all():
            self._take_rtp(rows, received, batch, slice(None), audio, now)
        else:
            self.refused += int((~welcome & ~control).sum())
            chosen = np.flatnonzero(welcome)
            if chosen.size:
                self._take_rtp(rows[chosen], received, batch, chosen, audio[chosen], now)

    def _take_rtp(
        self,
        rows: IntArray,
        received: Received,
        batch: ParsedBatch,
        chosen: slice | IntArray,
        audio: BoolArray,
        now: float,
    ) -> None:
        length, timestamp = batch.length[chosen], batch.timestamp[chosen]
        datagrams, start = received.datagrams[chosen], batch.start[chosen]
        verdict = self._reception.arrive(
            rows, batch.sequence[chosen], timestamp, batch.ssrc[chosen], length, audio, now
        )
        self._sources.last_arrival[rows] = now
        for row in rows[verdict.restarted].tolist():
            self._restart(row)
        event = (
            ~audio & verdict.accepted & self._receives[rows] & (batch.payload_type[chosen] == self._event_type[rows])
        )
        for index in np.flatnonzero(event).tolist():
            self._take_event(int(rows[index]), int(timestamp[index]), datagrams[index, start[index] :][: length[index]])
        heard = verdict.accepted & self._receives[rows] & (length > 0)
        noise = heard & ~audio & (batch.payload_type[chosen] == COMFORT_NOISE_TYPE)
        for index in np.flatnonzero(noise).tolist():
            self._buffer_of(int(rows[index])).announce_noise(int(rows[index]), int(datagrams[index, start[index]]))
        played = audio & heard
        # Packets of one codec and one size are decoded together.
        shape = np.where(played, self._codec_index[rows] << 16 | length, -1)
        for value, selection in groups(shape):
            if value >= 0:
                codec = self._codecs[value >> 16]
                payloads = _payloads(datagrams[selection], start[selection], value & 0xFFFF)
                if isinstance(codec, StreamCodec):
                    stamps = timestamp[selection].tolist()
                    for row, stamp, payload in zip(rows[selection].tolist(), stamps, payloads, strict=True):
                        self._queue(codec, row, stamp, payload.tobytes())
                else:
                    samples = codec.decode(rows[selection], payloads)
                    self._buffer(codec, rows[selection], timestamp[selection], samples)

    def _restart(self, row: int) -> None:
        """Another source speaks in this row."""
        codec = self._codecs[self._codec_index[row]]
        self.buffers[codec.sample_rate].restart(self._rows[row])
        if isinstance(codec, StreamCodec):
            self.lines[codec.sample_rate].restart(row)
        self._digits[row].restart()

    def _queue(self, codec: StreamCodec, row: int, timestamp: int, payload: bytes) -> None:
        if not self.lines[codec.sample_rate].take(row, self._rows[row], timestamp, payload):
            self._reception.discarded[row] += 1

    def _buffer_of(self, row: int) -> JitterBuffer:
        return self.buffers[self._codecs[self._codec_index[row]].sample_rate]

    def _take_event(self, row: int, timestamp: int, payload: ByteArray) -> None:
        try:
            event = TelephoneEvent.parse(payload.tobytes())
        except MalformedEvent:
            self._reception.discarded[row] += 1
            return
        digit = self._digits[row].receive(timestamp, event)
        if digit is not None:
            self.digits.append((row, digit))

    def _buffer(self, codec: BatchCodec, rows: IntArray, timestamp: IntArray, samples: SampleArray) -> None:
        buffer = self.buffers[codec.sample_rate]
        heard = buffer.write(rows, timestamp, samples[:, : buffer.max_packet_size])
        if not heard.all():
            self._reception.discarded[rows[~heard]] += 1

    def _take_rtcp(self, row: int, data: bytes, now: float) -> None:
        try:
            packets = parse_compound(data)
        except MalformedRTCP:
            self.refused += 1
            return
        if self._reporter.hear(row, packets, now):
            self.goodbyes.append(row)


def _received(number: int | None, own: int | None) -> int:
    """Choose the payload type that the remote uses: the one that we gave, by default the one it gave."""
    if number is None:
        return NO_TYPE
    return number if own is None else own


def _payloads(datagrams: ByteArray, start: IntArray, length: int) -> ByteArray:
    """Take `length` octets from each datagram, from where each payload starts."""
    if (start == start[0]).all():
        return datagrams[:, start[0] : start[0] + length]
    return np.take_along_axis(datagrams, start[:, None] + np.arange(length), axis=1)
