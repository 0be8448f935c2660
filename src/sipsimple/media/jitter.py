"""Adaptive jitter buffers for many streams at once.

A stream is a ring of samples indexed by RTP timestamp, so that packets of any duration, in any order, meet playout
frames of 20 ms without a notion of packets: what has not arrived when it is due is a hole in the samples. Playout
follows the clock, never the packets; the only thing that adapts is where playout reads.

The measure is the *lead*: how far ahead of the read position a packet begins when it arrives. A lead under zero is too
late. The least lead of a window is what could be taken away without harm. Hence the rules, in frames of 20 ms:

* a new source is read one frame behind its first packet;
* a packet too late moves reading back one frame at once, which makes the delay larger by that much;
* a least lead of two frames or more over a window moves reading forward one frame, or by all that is too much when that
  is far. This also absorbs a sender whose clock is fast;
* nearly all leads of a window under half a frame move it back, as with a sender whose clock is slow. That a packet just
  misses its tick now and then harms nothing, and is no reason for a hole;
* nothing but late packets on several ticks on end, or a timestamp far off, is a new beginning; so is a packet that is
  late or early after a pause, because there is nothing left for it to be in order with.

Holes are concealed by repeating the last frame while fading it out. A codec that conceals on its own, or whose decoder
must see packets in order, queues packets in front of the ring and fills the hole before it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .columns import FEW, cells

FRAME_MS: Final = 20
RING_MS: Final = 1200
"""Length of a ring: a common multiple of all packet durations, so that an aligned packet never crosses the end."""
MAX_PACKET_MS: Final = 120
"""Longest packet that is taken in (RFC 3551 asks for 200 at most; nobody sends them)."""
MAX_LEAD_MS: Final = 600
"""Bound of the delay: a packet further ahead, or this much too late, is a jump of the sender's timestamps."""
PAUSE_MS: Final = 200
"""Without samples for this long, a stream has paused: the next packet may set the read position anew."""
MAX_LATE_TICKS: Final = 4
"""Ticks on end that bring nothing but late packets before reading begins anew."""
WINDOW_TICKS: Final = 150
"""Ticks over which the least lead is taken before the delay is made smaller."""
MOSTLY: Final = 0.9
"""Part of the packets of a window whose leads have to be small before the delay is made larger for it."""
FAR_FRAMES: Final = 5
"""Frames of needless delay that are skipped at once instead of one a window."""
FADE: Final = (1.0, 0.75, 0.4, 0.1, 0.0)
"""Level at the beginning of each concealed frame, and at the end of the one before it."""

ABSENT: Final = -32768
"""Marks a sample that has not arrived; no codec makes it."""

IntArray = npt.NDArray[np.int64]
SampleArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]

_TIMESTAMPS: Final = 1 << 32
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(slots=True)
class _Rings:
    """The samples of all streams in one flat array, read and written in runs at any place of a ring."""

    flat: SampleArray
    size: int

    def fill(self, row: int) -> None:
        """Make a whole ring absent."""
        self.flat[row * self.size : (row + 1) * self.size] = ABSENT

    def take(self, rows: IntArray, places: IntArray, length: int) -> SampleArray:
        """Copy `length` samples from each place and leave them absent."""
        inside, starts = self._split(rows, places, length)
        windows = self._windows(length)
        if inside.all():
            samples = windows[starts]
            windows[starts] = ABSENT
            return samples
        samples = np.empty((len(rows), length), np.int16)
        samples[inside] = windows[starts[inside]]
        windows[starts[inside]] = ABSENT
        scattered = self._scatter(rows[~inside], places[~inside], length)
        samples[~inside] = self.flat[scattered]
        self.flat[scattered] = ABSENT
        return samples

    def put(self, rows: IntArray, places: IntArray, samples: SampleArray) -> None:
        """Write samples at each place."""
        length = samples.shape[1]
        inside, starts = self._split(rows, places, length)
        if inside.all():
            self._windows(length)[starts] = samples
        else:
            self._windows(length)[starts[inside]] = samples[inside]
            self.flat[self._scatter(rows[~inside], places[~inside], length)] = samples[~inside]

    def run(self, row: int, place: int, length: int) -> SampleArray | None:
        """View a run of one ring; None when it crosses the end."""
        offset = place % self.size
        if offset > self.size - length:
            return None
        start = row * self.size + offset
        return self.flat[start : start + length]

    def _split(self, rows: IntArray, places: IntArray, length: int) -> tuple[BoolArray, IntArray]:
        """Tell the runs that do not cross the end of their ring, and where in `flat` each begins."""
        offsets = places % self.size
        return offsets <= self.size - length, rows * self.size + offsets

    def _windows(self, length: int) -> SampleArray:
        """View `flat` as all its runs of this length, so that one index names a run."""
        return np.lib.stride_tricks.sliding_window_view(self.flat, length, writeable=True)

    def _scatter(self, rows: IntArray, places: IntArray, length: int) -> IntArray:
        indices: IntArray = rows[:, None] * self.size + (places[:, None] + np.arange(length)) % self.size
        return indices


class JitterBuffer:
    """The rings of all streams whose codec has one sample rate, one row each.

    Per tick: any number of `write`, then one `read`. Positions are timestamps extended to never wrap, in samples.
    """

    def __init__(self, capacity: int, sample_rate: int, *, few: int = FEW) -> None:
        """`sample_rate` is that of the decoded audio, a multiple of 50 Hz; up to `few` rows are read one by one."""
        self._few: Final = few
        self.frame_size: Final = sample_rate * FRAME_MS // 1000
        self._max_lead: Final = sample_rate * MAX_LEAD_MS // 1000
        self._pause: Final = sample_rate * PAUSE_MS // 1000
        self.max_packet_size: Final = sample_rate * MAX_PACKET_MS // 1000
        # Not initialised: a ring costs memory only when a stream begins to use it.
        size = sample_rate * RING_MS // 1000
        self._rings: Final = _Rings(np.empty(capacity * size, np.int16), size)
        self._started: Final = np.zeros(capacity, np.bool_)
        self._new: Final = np.zeros(capacity, np.bool_)
        self._origin: Final = np.zeros(capacity, np.int64)
        self._position: Final = np.zeros(capacity, np.int64)
        self._newest: Final = np.zeros(capacity, np.int64)
        self._newest_start: Final = np.zeros(capacity, np.int64)
        self._late: Final = np.zeros(capacity, np.bool_)
        self._timely: Final = np.zeros(capacity, np.bool_)
        self._late_ticks: Final = np.zeros(capacity, np.int64)
        self._least_lead: Final = np.full(capacity, _NEVER, np.int64)
        self._packets: Final = np.zeros(capacity, np.int64)
        self._small_leads: Final = np.zeros(capacity, np.int64)
        self._window_ticks: Final = np.zeros(capacity, np.int64)
        self._last_frame: Final = np.zeros((capacity, self.frame_size), np.int16)
        self._concealed: Final = np.zeros(capacity, np.int64)
        self._writing: Final = (
            *(cells(column) for column in (self._started, self._timely, self._least_lead)),
            *(cells(column) for column in (self._position, self._origin, self._newest, self._newest_start)),
            *(cells(column) for column in (self._packets, self._small_leads)),
        )
        self._reading: Final = (
            *(cells(column) for column in (self._started, self._new, self._late, self._timely)),
            *(cells(column) for column in (self._late_ticks, self._window_ticks, self._concealed)),
            *(cells(column) for column in (self._position, self._origin)),
        )

    def open(self, row: int) -> None:
        """Begin a stream in this row: silence until something is written."""
        self._last_frame[row] = 0
        self.restart(np.array([row]))

    def restart(self, rows: IntArray) -> None:
        """Forget what is buffered; the next packet of each row sets the read position."""
        self._started[rows] = False

    def delay(self, row: int) -> int:
        """Tell how many samples are between the read position and the end of the newest packet."""
        return int(self._newest[row] - self._position[row]) if self._started[row] else 0

    def write(self, rows: IntArray, timestamps: IntArray, samples: SampleArray) -> BoolArray:
        """Take in one packet for each of `rows` (no row twice) and tell which came in time to be heard.

        `timestamps` count samples modulo 2**32 (RTP timestamps times sample rate / clock rate). A packet is at most
        `max_packet_size` samples.
        """
        length = samples.shape[1]
        newest = self._newest_start[rows]
        position = newest + (timestamps - newest + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        lead = position - self._position[rows]
        begin = ~self._started[rows] | (np.abs(lead) > self._max_lead)
        paused = self._position[rows] - self._newest[rows] > self._pause
        if paused.any():
            begin |= paused & ((lead < 0) | (lead > 3 * self.frame_size))
        if begin.any():
            self._begin(rows[begin], position[begin])
            lead = position - self._position[rows]
        timely = lead >= 0
        if timely.all():
            self._rings.put(rows, position - self._origin[rows], samples)
            heard = timely
        else:
            heard = lead > -length
            self._rings.put(rows[heard], (position - self._origin[rows])[heard], samples[heard])
            self._forget_past(rows, position, ~timely & heard)
        self._newest_start[rows] = np.maximum(self._newest_start[rows], position)
        self._newest[rows] = np.maximum(self._newest[rows], position + length)
        self._late[rows] |= ~timely
        self._timely[rows] |= timely
        self._least_lead[rows] = np.where(timely, np.minimum(self._least_lead[rows], lead), self._least_lead[rows])
        self._packets[rows] += 1
        self._small_leads[rows] += lead < self.frame_size // 2
        return heard

    def append(self, row: int, timestamp: int, samples: SampleArray) -> bool:
        """Take in one packet as `write` does, if it is in time and nothing has to be moved; else do nothing: False.

        `samples` has one dimension.
        """
        started, timely, least_lead, positions, origins, newest, newest_start, packets, small_leads = self._writing
        before = newest_start[row]
        start = before + (timestamp - before + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        lead = start - positions[row]
        if not started[row] or not 0 <= lead <= self._max_lead or lead > newest[row] - start + self._pause:
            return False
        length = len(samples)
        run = self._rings.run(row, start - origins[row], length)
        if run is None:
            return False
        run[:] = samples
        newest_start[row] = max(before, start)
        newest[row] = max(newest[row], start + length)
        timely[row] = True
        least_lead[row] = min(least_lead[row], lead)
        packets[row] += 1
        small_leads[row] += lead < self.frame_size // 2
        return True

    def read(self, rows: IntArray) -> SampleArray:
        """Play 20 ms of each of `rows` (no row twice): holes concealed, silence before the first packet."""
        if len(rows) > self._few:
            return self._read_all(rows)
        frames = np.empty((len(rows), self.frame_size), np.int16)
        left = [index for index, row in enumerate(rows.tolist()) if not self._read_next(row, frames[index])]
        if left:
            frames[left] = self._read_all(rows[left])
        return frames

    def _read_next(self, row: int, frame: SampleArray) -> bool:
        """Play into `frame` as `_read_all` does, if it has no hole and nothing has to be moved; else do nothing."""
        started, new, late, timely, late_ticks, window_ticks, concealed, positions, origins = self._reading
        if not started[row] or new[row] or late[row] or window_ticks[row] + 1 >= WINDOW_TICKS:
            return False
        position = positions[row]
        run = self._rings.run(row, position - origins[row], self.frame_size)
        if run is None or np.minimum.reduce(run) == ABSENT:
            return False
        frame[:] = run
        run[:] = ABSENT
        self._last_frame[row] = frame
        concealed[row] = 0
        positions[row] = position + self.frame_size
        window_ticks[row] += 1
        if timely[row]:
            late_ticks[row] = 0
            timely[row] = False
        return True

    def _read_all(self, rows: IntArray) -> SampleArray:
        self._adapt(rows[self._started[rows]])
        started = self._started[rows]
        playing = rows if started.all() else rows[started]
        position = self._position[playing]
        heard = self._rings.take(playing, position - self._origin[playing], self.frame_size)
        self._position[playing] = position + self.frame_size
        if len(playing) == len(rows):
            frames = heard
        else:
            frames = np.full((len(rows), self.frame_size), ABSENT, np.int16)
            frames[started] = heard
        return self._conceal(rows, frames)

    def _begin(self, rows: IntArray, position: IntArray) -> None:
        for row in rows.tolist():
            self._rings.fill(row)
        self._started[rows] = self._new[rows] = True
        self._origin[rows] = position
        self._position[rows] = position - self.frame_size
        self._newest[rows] = self._newest_start[rows] = position
        self._late[rows] = self._timely[rows] = False
        self._late_ticks[rows] = 0
        self._open_window(rows)

    def _open_window(self, rows: IntArray) -> None:
        self._least_lead[rows] = _NEVER
        self._packets[rows] = self._small_leads[rows] = self._window_ticks[rows] = 0

    def _forget_past(self, rows: IntArray, position: IntArray, partly: BoolArray) -> None:
        """Blank what a partly late packet wrote behind the read position: the ring would play it one turn later."""
        for row, start in zip(rows[partly].tolist(), position[partly].tolist(), strict=True):
            self._skip(row, start, int(self._position[row]) - start)

    def _skip(self, row: int, start: int, length: int) -> None:
        at = np.array([start - self._origin[row]])
        self._rings.take(np.array([row]), at, length)

    def _adapt(self, rows: IntArray) -> None:
        """Move the read positions by the rules of this module."""
        late, timely = self._late[rows], self._timely[rows]
        self._window_ticks[rows] += 1
        troubled = late | self._new[rows] | (self._window_ticks[rows] >= WINDOW_TICKS)
        self._late_ticks[rows[timely]] = 0
        if troubled.any():
            self._trim_new(rows[self._new[rows]])
            self._delay_late(rows[late], rows[late & ~timely])
            self._close_windows(rows[self._window_ticks[rows] >= WINDOW_TICKS])
        self._late[rows] = self._timely[rows] = False

    def _trim_new(self, rows: IntArray) -> None:
        """Begin with the newest packet: a burst that waited for us is not a delay to keep."""
        for row in rows.tolist():
            surplus = int(self._newest_start[row] - self._position[row]) - self.frame_size
            if surplus > 0:
                self._forward(row, surplus)
        self._new[rows] = False
        self._least_lead[rows] = _NEVER
        self._packets[rows] = self._small_leads[rows] = 0

    def _delay_late(self, late: IntArray, only_late: IntArray) -> None:
        self._late_ticks[only_late] += 1
        roomy = late[self._newest[late] - self._position[late] < self._max_lead - self.frame_size]
        self._position[roomy] -= self.frame_size
        self._open_window(late)
        self.restart(only_late[self._late_ticks[only_late] >= MAX_LATE_TICKS])

    def _close_windows(self, rows: IntArray) -> None:
        least = self._least_lead[rows]
        self._position[rows[self._small_leads[rows] > MOSTLY * self._packets[rows]]] -= self.frame_size
        surplus = np.where(least == _NEVER, 0, least // self.frame_size - 1)
        for row, frames in zip(rows[surplus > 0].tolist(), surplus[surplus > 0].tolist(), strict=True):
            self._forward(row, self.frame_size * (frames if frames >= FAR_FRAMES else 1))
        self._open_window(rows)

    def _forward(self, row: int, length: int) -> None:
        """Read on from `length` samples ahead; the samples passed over are blanked for the next turn of the ring."""
        self._skip(row, int(self._position[row]), length)
        self._position[row] += length

    def _conceal(self, rows: IntArray, frames: SampleArray) -> SampleArray:
        """Fill holes with the last frame of the row, fading; `frames` is changed."""
        # No decoder makes ABSENT, so the least sample of a whole frame is above it.
        holed = np.flatnonzero(frames.min(axis=1) == ABSENT)
        if holed.size:
            damaged = rows[holed]
            step = np.minimum(self._concealed[damaged], len(FADE) - 2)
            fade = np.array(FADE, np.float32)
            ramp = np.linspace(0, 1, self.frame_size, dtype=np.float32)
            level = fade[step][:, None] * (1 - ramp) + fade[step + 1][:, None] * ramp
            # The fade is over: nothing is left of what was said.
            level[self._concealed[damaged] >= len(FADE) - 1] = 0
            repeated = (self._last_frame[damaged] * level).astype(np.int16)
            broken = frames[holed]
            missing = broken == ABSENT
            frames[holed] = np.where(missing, repeated, broken)
            wholly = missing.all(axis=1)
            whole = np.ones(len(rows), np.bool_)
            whole[holed[wholly]] = False
            self._concealed[rows[whole]] = 0
            self._last_frame[rows[whole]] = frames[whole]
            self._concealed[damaged[wholly]] += 1
        else:
            self._concealed[rows] = 0
            self._last_frame[rows] = frames
        return frames
