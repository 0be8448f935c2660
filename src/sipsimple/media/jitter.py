"""Adaptive jitter buffers for many streams at once.

A stream is a ring of samples indexed by RTP timestamp, so that packets of any duration, in any order, meet playout
frames of 20 ms without a notion of packets: what has not arrived when it is due is a hole in the samples. Playout
follows the clock, never the packets; the only thing that adapts is where playout reads.

The measure is the *lead*: how far ahead of the read position a packet begins when it arrives. A lead under zero is too
late. The least lead of a window is what could be taken away without harm. Hence the rules:

* a new source is read one frame behind its first packet;
* a packet too late moves reading back at once, so that it is heard, and the delay is larger by that much. What only
  was overtaken by others moves it by a frame at most;
* a least lead of two frames or more over a window shortens what is played next, until one frame of it is left. This
  also absorbs a sender whose clock is fast;
* nearly all leads of a window of no more than half a frame lengthen what is played next, as with a sender whose clock
  is slow. That a packet just misses its tick now and then harms nothing, and is no reason for a hole;
* nothing but late packets on several ticks on end, or a timestamp far off, is a new beginning; so is a packet that is
  late or early after a pause, because there is nothing left for it to be in order with.

Shorter and longer is done by `stretching`, where it is not heard; holes are filled by `concealment`. A codec whose
decoder must see packets in order has them wait in front of the ring (`waiting`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt

from .columns import FEW, cells
from .concealment import ABSENT, Concealer
from .stretching import LONGEST, SHORTEST, lengthen, shorten

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
FIRST_WINDOW_TICKS: Final = 20
"""Ticks of the first window: what is corrected before somebody speaks is not heard."""
MOSTLY: Final = 0.9
"""Part of the packets of a window whose leads have to be small before the delay is made larger for it."""
FAR_FRAMES: Final = 15
"""Frames of needless delay that are skipped at once instead of being played faster."""
HURRY_FRAMES: Final = 4
"""Frames of needless delay from which on every frame that is played is shortened, instead of every second."""
MAX_STRETCHED: Final = 16
"""Streams that are tried to be stretched in a tick; when the host was held up, all want to be, and can take turns."""
MAX_TRIES: Final = 25
"""Frames that may pass in search of a place where stretching is not heard."""

IntArray = npt.NDArray[np.int64]
SampleArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]

_TIMESTAMPS: Final = 1 << 32
_NEVER: Final = np.iinfo(np.int64).max
_NOTHING: Final = int(np.iinfo(np.int64).min)


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

    def look(self, rows: IntArray, places: IntArray, length: int) -> SampleArray:
        """Copy `length` samples from each place."""
        samples: SampleArray = self.flat[self._scatter(rows, places, length)]
        return samples

    def peek(self, row: int, place: int, length: int) -> SampleArray:
        """Copy `length` samples of one ring."""
        run = self.run(row, place, length)
        if run is None:
            run = np.take(self.flat, self._scatter(np.array([row]), np.array([place]), length)[0])
        return run.copy()

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
        self._rate: Final = sample_rate
        self.frame_size: Final = sample_rate * FRAME_MS // 1000
        self._shortest, self._longest = int(sample_rate * SHORTEST), int(sample_rate * LONGEST)
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
        # Samples that are to be left out of what is played, or to be added to it where negative.
        self._surplus: Final = np.zeros(capacity, np.int64)
        self._tries: Final = np.zeros(capacity, np.int64)
        self._remembers: Final = np.zeros(capacity, np.bool_)
        self._turn = 0
        self._concealer: Final = Concealer(capacity, sample_rate)
        # RTP timestamps, extended to never wrap, times `up` over `down` are positions.
        self._stamp: Final = np.zeros(capacity, np.int64)
        self._up: Final = np.ones(capacity, np.int64)
        self._down: Final = np.ones(capacity, np.int64)
        self._writing: Final = (
            *(cells(column) for column in (self._started, self._timely, self._least_lead)),
            *(cells(column) for column in (self._position, self._origin, self._newest, self._newest_start)),
            *(cells(column) for column in (self._packets, self._small_leads)),
            *(cells(column) for column in (self._stamp, self._up, self._down)),
        )
        self._reading: Final = (
            *(cells(column) for column in (self._started, self._new, self._late, self._timely)),
            *(cells(column) for column in (self._late_ticks, self._window_ticks, self._surplus)),
            *(cells(column) for column in (self._position, self._origin)),
        )

    def open(self, row: int, clock_rate: int | None = None, *, remembers: bool = False) -> None:
        """Begin a stream in this row: silence until something is written.

        `clock_rate` is that of its timestamps, in Hz, by default the sample rate. The decoder of a codec that
        `remembers` is out of step behind a loss: the beginning of what comes after tells nothing about the hole.
        """
        self._remembers[row] = remembers
        common = gcd(self._rate, clock_rate or self._rate)
        self._up[row], self._down[row] = self._rate // common, (clock_rate or self._rate) // common
        self._concealer.open(row)
        self.restart(np.array([row]))

    def restart(self, rows: IntArray) -> None:
        """Forget what is buffered; the next packet of each row sets the read position."""
        self._started[rows] = False

    def announce_noise(self, row: int, level: int) -> None:
        """Silence was announced: play noise of this level, in dB below full scale, until there is sound again."""
        self._concealer.announce_noise(row, level)

    def delay(self, row: int) -> int:
        """Tell how many samples are between the read position and the end of the newest packet."""
        return int(self._newest[row] - self._position[row]) if self._started[row] else 0

    def due(self, row: int) -> int:
        """Tell the position up to which the next frame of the row reads; one before any when it plays nothing yet."""
        return int(self._position[row]) + self.frame_size if self._started[row] else _NOTHING

    def position_of(self, row: int, timestamp: int) -> int:
        """Tell the position that belongs to a timestamp, seen from the newest packet."""
        newest = int(self._stamp[row])
        stamp = newest + (timestamp - newest + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        return stamp * int(self._up[row]) // int(self._down[row])

    def write(self, rows: IntArray, timestamps: IntArray, samples: SampleArray) -> BoolArray:
        """Take in one packet for each of `rows` (no row twice) and tell which came in time to be heard.

        `timestamps` are those of RTP. A packet is at most `max_packet_size` samples.
        """
        position, heard = self.place(rows, timestamps, samples.shape[1])
        if heard.all():
            self._rings.put(rows, position - self._origin[rows], samples)
        else:
            self._rings.put(rows[heard], (position - self._origin[rows])[heard], samples[heard])
        self._forget_past(rows, position, heard & (position < self._position[rows]))
        return heard

    def put(self, row: int, position: int, samples: SampleArray) -> None:
        """Write samples at a position, those that were to be played already left out; at most `MAX_LEAD_MS` ahead."""
        passed = max(int(self._position[row]) - position, 0)
        samples = samples[passed : passed + self._rings.size]
        if len(samples) and self._started[row]:
            at = np.array([position + passed - self._origin[row]])
            self._rings.put(np.array([row]), at, samples.reshape(1, -1))

    def place(self, rows: IntArray, timestamps: IntArray, length: int) -> tuple[IntArray, BoolArray]:
        """Find where one packet of `length` samples for each of `rows` belongs, and which can be heard.

        Read positions move as the rules of this module want.
        """
        newest = self._stamp[rows]
        stamp = newest + (timestamps - newest + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        position = stamp * self._up[rows] // self._down[rows]
        lead = position - self._position[rows]
        begin = ~self._started[rows] | (np.abs(lead) > self._max_lead)
        paused = self._position[rows] - self._newest[rows] > self._pause
        if paused.any():
            begin |= paused & ((lead < 0) | (lead > 3 * self.frame_size))
        if begin.any():
            self._begin(rows[begin], position[begin])
            self._stamp[rows[begin]] = stamp[begin]
            lead = position - self._position[rows]
        timely = lead >= 0
        if not timely.all():
            self._step_back(rows[~timely], position[~timely], -lead[~timely])
            lead = position - self._position[rows]
        heard = lead > -length
        self._stamp[rows] = np.maximum(self._stamp[rows], stamp)
        self._newest_start[rows] = np.maximum(self._newest_start[rows], position)
        self._newest[rows] = np.maximum(self._newest[rows], position + length)
        self._late[rows] |= ~timely
        self._timely[rows] |= timely
        self._least_lead[rows] = np.where(timely, np.minimum(self._least_lead[rows], lead), self._least_lead[rows])
        self._packets[rows] += 1
        self._small_leads[rows] += lead <= self.frame_size // 2
        return position, heard

    def _step_back(self, rows: IntArray, position: IntArray, late_by: IntArray) -> None:
        """Read what comes late after all, as far as the bound of the delay lets us."""
        overtaken = position < self._newest_start[rows]
        room = self._max_lead - self.frame_size - (self._newest[rows] - self._position[rows])
        step = np.minimum(np.where(overtaken, self.frame_size, late_by), room)
        self._position[rows] -= np.maximum(step, 0)

    def append(self, row: int, timestamp: int, samples: SampleArray) -> bool:
        """Take in one packet as `write` does, if it is in time and nothing has to be moved; else do nothing: False.

        `samples` has one dimension.
        """
        started, timely, least_lead, positions, origins, newest, newest_start, *others = self._writing
        packets, small_leads, stamps, up, down = others
        stamp = before = stamps[row]
        stamp += (timestamp - before + _TIMESTAMPS // 2) % _TIMESTAMPS - _TIMESTAMPS // 2
        start = stamp * up[row] // down[row]
        lead = start - positions[row]
        if not started[row] or not 0 <= lead <= self._max_lead or lead > newest[row] - start + self._pause:
            return False
        length = len(samples)
        run = self._rings.run(row, start - origins[row], length)
        if run is None:
            return False
        run[:] = samples
        stamps[row] = max(before, stamp)
        newest_start[row] = max(newest_start[row], start)
        newest[row] = max(newest[row], start + length)
        timely[row] = True
        least_lead[row] = min(least_lead[row], lead)
        packets[row] += 1
        small_leads[row] += lead <= self.frame_size // 2
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
        started, new, late, timely, late_ticks, window_ticks, surplus, positions, origins = self._reading
        if not started[row] or new[row] or late[row] or surplus[row] or window_ticks[row] + 1 >= WINDOW_TICKS:
            return False
        position = positions[row]
        run = self._rings.run(row, position - origins[row], self.frame_size)
        if run is None or self._concealer.busy_cells[row] or np.minimum.reduce(run) == ABSENT:
            return False
        frame[:] = run
        run[:] = ABSENT
        self._concealer.remember_one(row, frame)
        positions[row] = position + self.frame_size
        window_ticks[row] += 1
        if timely[row]:
            late_ticks[row] = 0
            timely[row] = False
        return True

    def _read_all(self, rows: IntArray) -> SampleArray:
        self._adapt(rows[self._started[rows]])
        started = self._started[rows]
        stretched = self._stretch(rows) if self._surplus[rows].any() else {}
        if stretched:
            started[list(stretched)] = False
        playing = rows if started.all() else rows[started]
        position = self._position[playing]
        frames = self._rings.take(playing, position - self._origin[playing], self.frame_size)
        self._position[playing] = position + self.frame_size
        if playing is not rows:
            some, frames = frames, np.full((len(rows), self.frame_size), ABSENT, np.int16)
            frames[started] = some
        for index, frame in stretched.items():
            frames[index] = frame
        self._concealer.conceal(rows, frames, self._ahead)
        return frames

    def _ahead(self, rows: IntArray) -> SampleArray:
        """Copy what the rows play next, `ABSENT` where that is not there."""
        frames = self._rings.look(rows, self._position[rows] - self._origin[rows], self.frame_size)
        frames[~self._started[rows] | self._remembers[rows]] = ABSENT
        return frames

    def _stretch(self, rows: IntArray) -> dict[int, SampleArray]:
        """Play longer or shorter what is to be; which of the rows, and their frames."""
        frames = {}
        wanted = np.flatnonzero(self._surplus[rows] != 0)
        if len(wanted) > MAX_STRETCHED:
            self._turn += MAX_STRETCHED
            wanted = wanted.take(np.arange(self._turn, self._turn + MAX_STRETCHED), mode="wrap")
        for index in wanted.tolist():
            row = int(rows[index])
            hurry = self._surplus[row] >= HURRY_FRAMES * self.frame_size
            # Between two seams the sound is left in peace.
            if self._started[row] and not self._concealer.busy_cells[row] and (hurry or self._window_ticks[row] & 1):
                frame = self._stretched(row)
                if frame is not None:
                    frames[index] = frame
        return frames

    def _stretched(self, row: int) -> SampleArray | None:
        """Read a frame of one row that uses up more or fewer samples; None when that would be heard."""
        surplus, place, size = int(self._surplus[row]), int(self._position[row] - self._origin[row]), self.frame_size
        samples = self._rings.peek(row, place, size + self._longest if surplus > 0 else size)
        if samples.min() == ABSENT:
            return None
        self._tries[row] += 1
        anyhow = bool(self._tries[row] > MAX_TRIES)
        if surplus > 0:
            frame, lag = shorten(samples, size, self._rate, anyhow=anyhow)
        else:
            frame, lag = lengthen(self._concealer.past(row), samples, size, self._rate, anyhow=anyhow)
            lag = -lag
        if not lag:
            return None
        self._skip(row, int(self._position[row]), size + lag)
        self._position[row] += size + lag
        if self._least_lead[row] != _NEVER:
            self._least_lead[row] -= lag
        left = surplus - lag
        # Too much delay by less than a period is kept; too little by anything would make the next slip a hole.
        self._surplus[row] = min(left, 0) if surplus < 0 else left if left >= self._shortest else 0
        self._tries[row] = 0
        return frame

    def _begin(self, rows: IntArray, position: IntArray) -> None:
        for row in rows.tolist():
            self._rings.fill(row)
        self._started[rows] = self._new[rows] = True
        self._origin[rows] = position
        self._position[rows] = position - self.frame_size
        self._newest[rows] = self._newest_start[rows] = position
        self._late[rows] = self._timely[rows] = False
        self._late_ticks[rows] = self._surplus[rows] = self._tries[rows] = 0
        self._open_window(rows)
        self._window_ticks[rows] = WINDOW_TICKS - FIRST_WINDOW_TICKS

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
            # What came with a late packet, after a stall, says nothing of the leads from now on.
            self._open_window(rows[late])
            self._give_up_late(rows[late & ~timely])
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

    def _give_up_late(self, only_late: IntArray) -> None:
        """Begin anew where nothing is in time any more."""
        self._late_ticks[only_late] += 1
        self.restart(only_late[self._late_ticks[only_late] >= MAX_LATE_TICKS])

    def _close_windows(self, rows: IntArray) -> None:
        least = self._least_lead[rows]
        tight = self._small_leads[rows] > MOSTLY * self._packets[rows]
        surplus = np.where((least == _NEVER) | (least < 2 * self.frame_size), 0, least - self.frame_size)
        # A frame of lead bears the next slip of a slow clock.
        missing = np.clip(self.frame_size - least, 0, self.frame_size)
        self._surplus[rows] = np.where(tight, -missing, surplus)
        for row in rows[surplus >= FAR_FRAMES * self.frame_size].tolist():
            self._forward(row, int(self._surplus[row]))
            self._surplus[row] = 0
        self._open_window(rows)

    def _forward(self, row: int, length: int) -> None:
        """Read on from `length` samples ahead; the samples passed over are blanked for the next turn of the ring."""
        self._skip(row, int(self._position[row]), length)
        self._position[row] += length
