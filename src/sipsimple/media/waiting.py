"""Packets of codecs with memory, decoded in order before they go into the ring of their stream.

A packet that follows what was decoded is decoded at once; one that is ahead waits for those between. When the hole
before it is due to be played, the decoder makes up for what is missing: from the next packet, where that repeats it
(in-band FEC), else by its own concealment, else not at all, and then the ring fills the hole. A packet that comes after
it was made up for is decoded all the same when the jitter buffer has stepped back to play it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from .codecs import Decoder
from .jitter import JitterBuffer

MAX_WAITING: Final = 64
"""Packets of a stream that wait for those before them; more than fit into the bound of the delay."""
FAR_AHEAD: Final = 0.5
"""Seconds behind which the decoder does not make up for a hole: it is a pause, or another beginning."""

IntArray = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Line:
    """What waits of one stream, by position."""

    decoder: Decoder
    packets: dict[int, bytes] = field(default_factory=dict)
    decoded: int | None = None
    """Position up to which there is sound; None before the first packet."""
    invented: int | None = None
    """Position from which all sound was made up; None when the last one was real."""
    usual: int = 0
    """Samples of the last packet."""


class WaitingLine:
    """The packets of all streams of codecs with memory that decode to one sample rate."""

    def __init__(self, buffer: JitterBuffer) -> None:
        self._buffer: Final = buffer
        self._rows: Final[dict[int, _Line]] = {}

    def open(self, row: int, decoder: Decoder) -> None:
        """Begin a stream in this row."""
        self._rows[row] = _Line(decoder)

    def close(self, row: int) -> None:
        """End the stream in this row; one that is not there is left as it is."""
        self._rows.pop(row, None)

    def restart(self, row: int) -> None:
        """Another source speaks now: what waits is dropped."""
        self._rows[row] = _Line(self._rows[row].decoder)

    def take(self, row: int, rows: IntArray, timestamp: int, payload: bytes) -> bool:
        """Take in one packet, `rows` being the array of `row` alone; False when it is of no use any more."""
        line, buffer = self._rows[row], self._buffer
        if line.decoded is not None and not line.packets and line.invented is None:
            position = buffer.position_of(row, timestamp)
            if position == line.decoded and (samples := line.decoder.decode(payload)) is not None:
                if not buffer.append(row, timestamp, samples):
                    placed, _ = buffer.place(rows, np.array([timestamp]), len(samples))
                    position = int(placed[0])
                    buffer.put(row, position, samples)
                line.usual = len(samples)
                line.decoded = position + line.usual
                return True
        return self._take_unusual(row, line, rows, timestamp, payload)

    def _take_unusual(self, row: int, line: _Line, rows: IntArray, timestamp: int, payload: bytes) -> bool:
        length = min(line.decoder.duration(payload), self._buffer.max_packet_size)
        if not length:
            return False
        placed, heard = self._buffer.place(rows, np.array([timestamp]), length)
        position = int(placed[0])
        line.usual = length
        if not heard[0] or len(line.packets) >= MAX_WAITING:
            return False
        if line.decoded is None or position - line.decoded > FAR_AHEAD * 50 * self._buffer.frame_size:
            line.packets.clear()
            line.decoded, line.invented = position, None
        elif position < line.decoded:
            if line.invented is None or position < line.invented:
                return False
            line.decoded = position
            line.invented = None
        line.packets[position] = payload
        self._decode(row, line)
        return True

    def _decode(self, row: int, line: _Line) -> None:
        """Decode what is next in order, and what follows it."""
        while line.decoded is not None and (payload := line.packets.pop(line.decoded, None)) is not None:
            position = line.decoded
            samples = line.decoder.decode(payload)
            line.decoded += line.usual if samples is None else len(samples)
            line.invented = None
            if samples is not None:
                self._buffer.put(row, position, samples)
            for passed in [position for position in line.packets if position < line.decoded]:
                del line.packets[passed]

    def prepare(self, rows: IntArray) -> None:
        """Make up for what is missing of the next frame of each row."""
        for row in rows.tolist():
            line = self._rows[row]
            if line.decoded is not None and line.decoded < self._buffer.due(row):
                self._make_up(row, line, self._buffer.due(row))

    def _make_up(self, row: int, line: _Line, due: int) -> None:
        while line.decoded is not None and line.decoded < due:
            position = line.decoded
            following = min(line.packets) if line.packets else None
            samples = self._invent(line, following)
            if samples is None:
                # The ring fills the hole; what waits behind it is decoded when it is reached.
                if following is None or following > due:
                    return
                line.decoded = following
            else:
                self._buffer.put(row, position, samples)
                line.invented = position if line.invented is None else line.invented
                line.decoded += len(samples)
            self._decode(row, line)

    def _invent(self, line: _Line, following: int | None) -> npt.NDArray[np.int16] | None:
        if following is None or line.decoded is None:
            return line.decoder.conceal(line.usual)
        gap = following - line.decoded
        if gap <= line.usual:
            samples = line.decoder.recover(line.packets[following], gap)
        else:
            samples = line.decoder.conceal(min(line.usual, gap))
        # A decoder that works in steps of its own must not run past what was not lost.
        return None if samples is None else samples[:gap]
