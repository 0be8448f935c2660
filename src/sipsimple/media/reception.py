"""What is known of the sources heard: sequence, loss, jitter (RFC 3550 6.4.1, A.1, A.3, A.8), for all streams at once.

A stream hears one source at a time. A new SSRC, or a sequence that jumped and stayed there, is a new source: what RTCP
reports begins again, the totals for the application go on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .columns import cells
from .counters import Extremes

# RFC 3550 A.1: how far a sequence may leap ahead or lie back before it is taken for a restart.
MAX_DROPOUT: Final = 3000
MAX_MISORDER: Final = 100
SEEN_WINDOW: Final = 128
"""Sequence numbers that are remembered to tell duplicates; more than `MAX_MISORDER`, a power of two."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SEQUENCES: Final = 1 << 16
_TIMESTAMPS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `Reception.arrive` found, one element a packet."""

    accepted: BoolArray
    """Neither a duplicate nor far out of sequence."""
    restarted: BoolArray
    """The first packet of a source."""


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver report says of the source (RFC 3550 6.4.1); `jitter` in units of the RTP clock."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int


class Reception:
    """The sources of all streams, one row each."""

    def __init__(self, capacity: int) -> None:
        self.ssrc: Final = np.full(capacity, -1, np.int64)
        self.packets: Final = np.zeros(capacity, np.int64)
        self.octets: Final = np.zeros(capacity, np.int64)
        self.discarded: Final = np.zeros(capacity, np.int64)
        self.reordered: Final = np.zeros(capacity, np.int64)
        self.duplicates: Final = np.zeros(capacity, np.int64)
        self.burst_loss: Final = np.zeros(capacity, np.bool_)
        self.random_loss: Final = np.zeros(capacity, np.bool_)
        self.clock_rate: Final = np.full(capacity, 8000, np.int64)
        self.jitter: Final = Extremes(capacity)
        self.loss_period: Final = Extremes(capacity)
        # The source of the moment; sequences are extended to never wrap.
        self._first: Final = np.zeros(capacity, np.int64)
        self._highest: Final = np.zeros(capacity, np.int64)
        self._unique: Final = np.zeros(capacity, np.int64)
        self._expected_if_bad: Final = np.full(capacity, -1, np.int64)
        self._seen: Final = np.full((capacity, SEEN_WINDOW), -1, np.int64)
        self._lost_before: Final = np.zeros(capacity, np.int64)
        self._reported_expected: Final = np.zeros(capacity, np.int64)
        self._reported_unique: Final = np.zeros(capacity, np.int64)
        # The last packet of audio; the arrival is not a number before there was one.
        self._arrival: Final = np.full(capacity, np.nan)
        self._timestamp: Final = np.zeros(capacity, np.int64)
        self._jitter: Final = np.zeros(capacity)
        self._cells: Final = (
            *(cells(column) for column in (self.ssrc, self.packets, self.octets, self.clock_rate)),
            *(cells(column) for column in (self._highest, self._unique, self._seen)),
            *(cells(column) for column in (self._arrival, self._timestamp, self._jitter)),
        )

    def open(self, row: int, clock_rate: int) -> None:
        """Begin a stream in this row."""
        self.ssrc[row] = -1
        self.clock_rate[row] = clock_rate
        for totals in (self.packets, self.octets, self.discarded, self.reordered, self.duplicates, self._lost_before):
            totals[row] = 0
        self.burst_loss[row] = self.random_loss[row] = False
        self.jitter.clear(row)
        self.loss_period.clear(row)
        self._first[row] = self._highest[row] = self._unique[row] = 0

    def change_clock(self, row: int, clock_rate: int) -> None:
        """Go on with timestamps of another clock: jitter is measured anew."""
        self.clock_rate[row] = clock_rate
        self._arrival[row] = np.nan
        self._jitter[row] = 0

    def arrive(
        self,
        rows: IntArray,
        sequence: IntArray,
        timestamp: IntArray,
        ssrc: IntArray,
        octets: IntArray,
        audio: BoolArray,
        now: float,
    ) -> Verdict:
        """Take in one packet from each of `rows` (no row twice); `audio` says whose timestamp is its sampling time."""
        self.packets[rows] += 1
        self.octets[rows] += octets
        delta = (sequence - self._highest[rows] + _SEQUENCES // 2) % _SEQUENCES - _SEQUENCES // 2
        foreign = ssrc != self.ssrc[rows]
        far = ((delta > MAX_DROPOUT) | (delta < -MAX_MISORDER)) & ~foreign
        restarted = foreign
        if far.any():
            # RFC 3550 A.1: one packet far off may be a stray; the one that follows it makes it a restart.
            restarted = foreign | (far & (sequence == self._expected_if_bad[rows]))
            self._expected_if_bad[rows[far]] = (sequence[far] + 1) % _SEQUENCES
        if restarted.any():
            self._restart(rows[restarted], sequence[restarted], ssrc[restarted])
            delta = np.where(restarted, 1, delta)
        extended = self._highest[rows] + delta
        slot = extended % SEEN_WINDOW
        duplicate = self._seen[rows, slot] == extended
        accepted = ~duplicate & (restarted | ~far)
        good = rows[accepted]
        self._seen[good, slot[accepted]] = extended[accepted]
        self._unique[good] += 1
        self._highest[good] = np.maximum(self._highest[good], extended[accepted])
        if not (accepted & (delta == 1)).all():
            self.duplicates[rows[duplicate & ~far]] += 1
            self.discarded[rows[~accepted]] += 1
            self.reordered[rows[accepted & (delta < 0)]] += 1
            self._note_gap(rows, np.where(accepted, delta - 1, 0), timestamp)
        self._measure_jitter(rows, timestamp, accepted & audio, now)
        return Verdict(accepted, restarted)

    def follow(self, row: int, sequence: int, timestamp: int, ssrc: int, octets: int, now: float) -> bool:
        """Take in one packet of audio as `arrive` does, if it is the next one in order; else do nothing: False."""
        source, packets, total, clock_rate, highest, unique, seen, arrival, last, jitter = self._cells
        extended = highest[row] + 1
        arrived = arrival[row]
        if ssrc != source[row] or sequence != extended % _SEQUENCES or math.isnan(arrived):
            return False
        packets[row] += 1
        total[row] += octets
        highest[row] = extended
        unique[row] += 1
        seen[row * SEEN_WINDOW + extended % SEEN_WINDOW] = extended
        spacing = (timestamp - last[row] + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        rate = clock_rate[row]
        value = jitter[row]
        value += (abs((now - arrived) * rate - spacing) - value) / 16
        jitter[row] = value
        arrival[row] = now
        last[row] = timestamp
        self.jitter.add_one(row, value / rate * 1e6)
        return True

    def _restart(self, rows: IntArray, sequence: IntArray, ssrc: IntArray) -> None:
        self._lost_before[rows] += np.maximum(self._lost(rows), 0)
        self.ssrc[rows] = ssrc
        # One turn of the sequence is put on top, so that a packet from before the first one is not negative.
        self._first[rows] = sequence + _SEQUENCES
        self._highest[rows] = self._first[rows] - 1
        self._unique[rows] = 0
        self._expected_if_bad[rows] = -1
        self._seen[rows] = -1
        self._reported_expected[rows] = self._reported_unique[rows] = 0
        self._arrival[rows] = np.nan
        self._jitter[rows] = 0

    def _note_gap(self, rows: IntArray, gap: IntArray, timestamp: IntArray) -> None:
        """Record how long the losses lasted, by the timestamps on both sides, in microseconds."""
        hole = gap > 0
        rows, gap = rows[hole], gap[hole]
        span = (timestamp[hole] - self._timestamp[rows]) % _TIMESTAMPS / self.clock_rate[rows] * 1e6
        self.loss_period.add(rows, span * gap / (gap + 1))
        self.burst_loss[rows] |= gap > 1
        self.random_loss[rows] |= gap == 1

    def _measure_jitter(self, rows: IntArray, timestamp: IntArray, timed: BoolArray, now: float) -> None:
        """RFC 3550 A.8. Arrivals are known to the tick, which makes single values coarse and leaves the mean true."""
        rows, timestamp = rows[timed], timestamp[timed]
        rate = self.clock_rate[rows]
        spacing = (timestamp - self._timestamp[rows] + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        difference = np.abs((now - self._arrival[rows]) * rate - spacing)
        known = ~np.isnan(difference)
        self._jitter[rows] += np.where(known, difference - self._jitter[rows], 0) / 16
        self._arrival[rows] = now
        self._timestamp[rows] = timestamp
        self.jitter.add(rows, self._jitter[rows] / rate * 1e6)

    def _lost(self, rows: IntArray | int) -> IntArray:
        """Expected minus received of the source of the moment; negative when duplicates were counted, as in A.3."""
        expected = np.where(self.ssrc[rows] >= 0, self._highest[rows] - self._first[rows] + 1, 0)
        return np.asarray(expected - self._unique[rows])

    def lost(self, row: int) -> int:
        """Packets that never came, of all sources of the stream."""
        return int(self._lost_before[row] + max(int(self._lost(row)), 0))

    def statistics(self, row: int) -> dict[str, Any]:
        """Return what is known of all sources of the stream: packets and octets of payload; times are microseconds."""
        return {
            "packets": int(self.packets[row]),
            "bytes": int(self.octets[row]),
            "packets_discarded": int(self.discarded[row]),
            "packets_lost": self.lost(row),
            "packets_reordered": int(self.reordered[row]),
            "packets_duplicate": int(self.duplicates[row]),
            "loss_period": self.loss_period.read(row),
            "burst_loss": bool(self.burst_loss[row]),
            "random_loss": bool(self.random_loss[row]),
            "jitter": self.jitter.read(row),
        }

    def report(self, row: int) -> ReportBlock | None:
        """Make the report on the source of the moment and begin the next interval; None when nothing was heard."""
        if self.ssrc[row] < 0:
            return None
        expected = int(self._highest[row] - self._first[row]) + 1
        unique = int(self._unique[row])
        expected_now = expected - int(self._reported_expected[row])
        lost_now = expected_now - (unique - int(self._reported_unique[row]))
        self._reported_expected[row], self._reported_unique[row] = expected, unique
        fraction = min((lost_now << 8) // expected_now, 255) if expected_now > 0 and lost_now > 0 else 0
        cumulative = min(max(expected - unique, -(1 << 23)), (1 << 23) - 1)
        # The turn that `_restart` put on top is no turn of the source's.
        highest = int(self._highest[row]) - _SEQUENCES
        return ReportBlock(int(self.ssrc[row]), fraction, cumulative, highest & 0xFFFFFFFF, int(self._jitter[row]))
