"""The sending half of the streams: packet times, encoding, sequences and timestamps (RFC 3550 5.1, RFC 3551 4.1)."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .codecs import Codec
from .columns import FEW, cells
from .dtmf import EventFrame
from .net import Address
from .packet import HEADER_SIZE, plain_header, write_headers
from .stream import MAX_PTIME_MS

FRAME_MS: Final = 20

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
SampleArray = npt.NDArray[np.int16]

Selection = slice | IntArray
SendTo = Callable[[memoryview | bytes, Any], int]
"""`socket.sendto` with an address, or `socket.send` of a connected socket with flags."""


def groups(values: npt.NDArray[Any]) -> Iterator[tuple[int, Selection]]:
    """Split a batch by value; the usual batch, all of one value, is not copied but selected by a slice."""
    if not len(values):
        return
    first = values[0]
    if (values == first).all():
        yield int(first), slice(None)
        return
    for value in np.unique(values).tolist():
        yield value, np.flatnonzero(values == value)


class _PacketBuffer:
    """Room for one packet of one size of every stream, with a view of each made beforehand."""

    def __init__(self, capacity: int, size: int) -> None:
        self.packets: Final = np.zeros((capacity, size), np.uint8)
        self.views: Final = [packet.data for packet in self.packets]


class _Fifo:
    """Samples that wait for a packet longer or shorter than a frame to be full."""

    def __init__(self, capacity: int, sample_rate: int) -> None:
        self._samples: Final = np.zeros((capacity, sample_rate * (MAX_PTIME_MS + FRAME_MS) // 1000), np.int16)
        self._fill: Final = np.zeros(capacity, np.int64)

    def clear(self, row: int) -> int:
        """Drop what waits and return how many samples that was."""
        dropped = int(self._fill[row])
        self._fill[row] = 0
        return dropped

    def push(self, rows: IntArray, frames: SampleArray) -> None:
        length = frames.shape[1]
        for fill, selection in groups(self._fill[rows]):
            self._samples[rows[selection], fill : fill + length] = frames[selection]
        self._fill[rows] += length

    def pop(self, rows: IntArray, length: int) -> tuple[IntArray, SampleArray]:
        """Take the first `length` samples of the rows that have as many."""
        full = rows[self._fill[rows] >= length]
        samples = self._samples[full, :length]
        self._samples[full, :-length] = self._samples[full, length:]
        self._fill[full] -= length
        return full, samples


class Sender:
    """What each stream has sent and sends next, one row each."""

    def __init__(self, capacity: int, random: random_module.Random, *, few: int = FEW) -> None:
        """Up to `few` packets are made one by one."""
        self._few: Final = few
        self._capacity = capacity
        self._random = random
        self.ssrc: Final = np.zeros(capacity, np.int64)
        self.packets: Final = np.zeros(capacity, np.int64)
        self.octets: Final = np.zeros(capacity, np.int64)
        self.failed: Final = np.zeros(capacity, np.int64)
        self.last_sent: Final = np.full(capacity, -np.inf)
        self._sequence: Final = np.zeros(capacity, np.int64)
        self._timestamp: Final = np.zeros(capacity, np.int64)
        self._marker: Final = np.zeros(capacity, np.bool_)
        self._payload_type: Final = np.zeros(capacity, np.uint8)
        self._clock_rate: Final = np.zeros(capacity, np.int64)
        self._cells: Final = (
            *(cells(column) for column in (self._payload_type, self._marker, self._sequence, self._timestamp)),
            *(cells(column) for column in (self.ssrc, self.last_sent, self.packets, self.octets)),
        )
        self._send: Final[list[SendTo]] = [_nowhere] * capacity
        self._target: Final[list[Address | int]] = [0] * capacity
        # Rows that are encrypted, and how they would send if they were not.
        self._protect: Final[dict[int, Callable[[bytes], bytes]]] = {}
        self._plain_send: Final[dict[int, SendTo]] = {}
        self._buffers: Final[dict[int, _PacketBuffer]] = {}
        self._fifos: Final[dict[int, _Fifo]] = {}

    def open(self, row: int) -> None:
        """Begin a stream: everything that the RFC wants random is drawn anew."""
        self.ssrc[row] = self._random.getrandbits(32)
        self._sequence[row] = self._random.getrandbits(15)  # RFC 3711 3.3.1: the upper half makes early loss harmful
        self._timestamp[row] = self._random.getrandbits(32)
        self.packets[row] = self.octets[row] = self.failed[row] = 0
        self.last_sent[row] = -np.inf

    def configure(self, row: int, codec: Codec, payload_type: int) -> None:
        """Set how packets are made from now on; what waited for a full packet is dropped."""
        self._payload_type[row] = payload_type
        self._clock_rate[row] = codec.clock_rate
        self._marker[row] = True
        for fifo in self._fifos.values():
            fifo.clear(row)

    def direct(self, row: int, send: SendTo, target: Address | int) -> None:
        """Send by calling `send(packet, target)` from now on."""
        protect = self._protect.get(row)
        if protect is not None:
            self._plain_send[row] = send
            send = _protected(protect, send)
        self._send[row] = send
        self._target[row] = target

    def secure(self, row: int, protect: Callable[[bytes], bytes] | None) -> None:
        """Encrypt every packet of the row by this from now on; None sends them as they are.

        `protect` raises OSError when a packet cannot be encrypted; it is then not sent.
        """
        send = self._plain_send.pop(row, self._send[row])
        if protect is None:
            self._protect.pop(row, None)
        else:
            self._protect[row] = protect
        self.direct(row, send, self._target[row])

    def resume(self, row: int, now: float) -> None:
        """Continue after a pause: the timestamp is moved by the time that has passed, and the packet is marked."""
        if self.last_sent[row] > -np.inf:
            frames = round((now - float(self.last_sent[row])) * 1000 / FRAME_MS) - 1
            self._timestamp[row] += max(frames, 0) * self._clock_rate[row] * FRAME_MS // 1000
        self._marker[row] = True

    def timestamp(self, row: int, now: float) -> int:
        """Tell the RTP timestamp that belongs to this moment (RFC 3550 6.4.1, for sender reports)."""
        elapsed = now - float(self.last_sent[row]) - FRAME_MS / 1000
        return int(self._timestamp[row] + round(elapsed * int(self._clock_rate[row]))) & 0xFFFFFFFF

    def send(self, now: float, codec: Codec, ptime_ms: int, rows: IntArray, frames: SampleArray) -> None:
        """Send a frame of 20 ms, at the codec's sample rate, for each of `rows`; all are configured by these two."""
        if ptime_ms == FRAME_MS:
            self._emit(now, codec, rows, frames)
            return
        fifo = self._fifos.get(codec.sample_rate)
        if fifo is None:
            fifo = self._fifos[codec.sample_rate] = _Fifo(self._capacity, codec.sample_rate)
        fifo.push(rows, frames)
        length = codec.sample_rate * ptime_ms // 1000
        full, packet = fifo.pop(rows, length)
        while full.size:
            self._emit(now, codec, full, packet)
            full, packet = fifo.pop(full, length)

    def send_event(self, now: float, row: int, payload_type: int, event: EventFrame) -> None:
        """Send a telephone-event in place of a frame of audio; audio that waited for a full packet is dropped."""
        clock_rate = int(self._clock_rate[row])
        for sample_rate, fifo in self._fifos.items():
            self._timestamp[row] += fifo.clear(row) * clock_rate // sample_rate
        step = clock_rate * FRAME_MS // 1000
        began = int(self._timestamp[row]) - event.age * step
        header = plain_header(payload_type, event.marker, int(self._sequence[row]), began, int(self.ssrc[row]))
        self._sequence[row] += 1
        self._timestamp[row] += step
        self.last_sent[row] = now
        self.packets[row] += 1
        self.octets[row] += len(event.payload)
        self._transmit((row,), (header + event.payload,))

    def _emit(self, now: float, codec: Codec, rows: IntArray, samples: SampleArray) -> None:
        payloads = codec.encode(rows, samples)
        step = samples.shape[1] * codec.clock_rate // codec.sample_rate
        if isinstance(payloads, list):
            for row, payload in zip(rows.tolist(), payloads, strict=True):
                if payload:
                    self._emit_one(now, row, payload, step)
                else:
                    self._keep_silent(row, step)
        elif len(rows) > self._few:
            self._emit_all(now, rows, payloads, step)
        else:
            for row, octets in zip(rows.tolist(), payloads, strict=True):
                self._emit_one(now, row, octets.tobytes(), step)

    def _keep_silent(self, row: int, step: int) -> None:
        """Send nothing for a packet (discontinuous transmission); the next one is marked (RFC 3551 4.1)."""
        self._timestamp[row] += step
        self._marker[row] = True

    def _emit_one(self, now: float, row: int, payload: bytes, step: int) -> None:
        payload_type, marker, sequence, timestamp, ssrc, last_sent, packets, octets = self._cells
        packet = plain_header(payload_type[row], marker[row], sequence[row], timestamp[row], ssrc[row]) + payload
        marker[row] = False
        sequence[row] += 1
        timestamp[row] += step
        last_sent[row] = now
        packets[row] += 1
        octets[row] += len(payload)
        self._transmit((row,), (packet,))

    def _emit_all(self, now: float, rows: IntArray, payloads: ByteArray, step: int) -> None:
        octets = payloads.shape[1]
        buffer = self._buffers.get(octets)
        if buffer is None:
            buffer = self._buffers[octets] = _PacketBuffer(self._capacity, HEADER_SIZE + octets)
        packets = buffer.packets[: len(rows)]
        packets[:, HEADER_SIZE:] = payloads
        write_headers(
            packets,
            self._payload_type[rows],
            self._marker[rows],
            self._sequence[rows],
            self._timestamp[rows],
            self.ssrc[rows],
        )
        self._marker[rows] = False
        self._sequence[rows] += 1
        self._timestamp[rows] += step
        self.last_sent[rows] = now
        self.packets[rows] += 1
        self.octets[rows] += octets
        self._transmit(rows.tolist(), buffer.views)

    def statistics(self, row: int) -> dict[str, int]:
        """Return what we know of what we sent: packets and octets of payload."""
        return {
            "packets": int(self.packets[row]),
            "bytes": int(self.octets[row]),
            "packets_discarded": int(self.failed[row]),
            "packets_reordered": 0,
            "packets_duplicate": 0,
        }

    def _transmit(self, rows: Iterable[int], packets: Iterable[memoryview | bytes]) -> None:
        """Send a packet for each of `rows`."""
        send, target = self._send, self._target
        for row, packet in zip(rows, packets, strict=False):
            try:
                send[row](packet, target[row])
            except OSError:  # full buffer, no route, ICMP error of an earlier packet: one packet is lost, RTP lives on
                self.failed[row] += 1


def _protected(protect: Callable[[bytes], bytes], send: SendTo) -> SendTo:
    return lambda packet, target: send(protect(bytes(packet)), target)


def _nowhere(packet: memoryview | bytes, target: Address | int) -> int:
    """Stand in for the socket of a row without a stream."""
    return len(packet)
