"""Sound for what is missing: waveform substitution for packets that were lost, noise for silence that was announced.

What was heard last is repeated by whole periods of its pitch, one period at first and three after a while, so that it
does not buzz, and fades from the twentieth to the hundredth millisecond; where the real sound comes back, the two
overlap. This is in the spirit of G.711 Appendix I, with two differences: nothing is delayed, so that the seam at the
beginning is closed by correcting the first millisecond; and what is known of the sound behind the hole is used
(`bridging`). All rows that lost something in a tick are worked on together.

Comfort noise (RFC 3389) is white here: of the payload, only the level counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .bridging import MATCH, bridge, reach
from .columns import Cells, cells

ABSENT: Final = -32768
"""Marks a sample that has not arrived; no codec makes it."""

FRAME_MS: Final = 20
HISTORY_FRAMES: Final = 3
SHORTEST_PERIOD, LONGEST_PERIOD = 0.0025, 0.015
"""Seconds; 400 Hz and 66 Hz, as in G.711 Appendix I."""
TEMPLATE: Final = 0.02
"""Seconds of sound that are compared to find the pitch."""
STEADY, FADED = 0.02, 0.1
"""Seconds until substitution begins to fade, and until nothing is left of it."""
OVERLAP: Final = 0.005
"""Seconds over which substitution gives way to the real sound."""
SEAM: Final = 0.001
"""Seconds in which the correction of the first seam dies away."""
MAX_BRIDGES: Final = 64
"""Streams in a tick whose substitute is led to what comes after the hole."""
MAX_PITCHES: Final = 64
"""Pitches that are looked for in a tick; where more streams lose something at once, the others keep their last one."""
NOISE_ONSET: Final = 0.02
FULL_SCALE: Final = 32767.0
MAX_NOISE_LEVEL: Final = 127

IntArray = npt.NDArray[np.int64]
ShortIntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
SampleArray = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float32]
Ahead = Callable[[IntArray], SampleArray]


class Concealer:
    """What each row played last, and what it plays instead of what is missing."""

    def __init__(self, capacity: int, sample_rate: int) -> None:
        self._rate: Final = sample_rate
        self._frame: Final = sample_rate * FRAME_MS // 1000
        self._length: Final = int(sample_rate * (FADED + OVERLAP)) + self._frame
        self._overlap: Final = int(sample_rate * OVERLAP)
        self._history: Final = np.zeros((capacity, HISTORY_FRAMES, self._frame), np.int16)
        self._slot: Final = np.zeros(capacity, np.int64)
        # What was heard before the hole, up to where, and its pitch. Not initialised: this costs memory only where
        # something was lost.
        self._heard: Final = np.empty((capacity, (HISTORY_FRAMES + 1) * self._frame), np.float32)
        self._end: Final = np.zeros(capacity, np.int64)
        self._period: Final = np.full(capacity, int(sample_rate * LONGEST_PERIOD), np.int64)
        self._busy: Final = np.zeros(capacity, np.bool_)
        self._elapsed: Final = np.zeros(capacity, np.int64)
        self._resumed: Final = np.zeros(capacity, np.int64)
        self._gain: Final = np.ones(capacity, np.float32)
        self._noise: Final = np.zeros(capacity, np.float32)
        self._random: Final = np.random.default_rng(0)
        self.busy_cells: Final[Cells] = cells(self._busy)
        """Rows that play a substitute, or come back from one."""
        self._slot_cells: Final = cells(self._slot)

    def open(self, row: int) -> None:
        """Begin a stream in this row: silence is its past."""
        self._history[row] = 0
        self._busy[row] = False
        self._noise[row] = 0
        self._period[row] = int(self._rate * LONGEST_PERIOD)

    def announce_noise(self, row: int, level: int) -> None:
        """Play noise of this level, in dB below full scale, where samples are missing, until some arrive."""
        self._noise[row] = FULL_SCALE * 10 ** (-(level & MAX_NOISE_LEVEL) / 20)

    def past(self, row: int) -> SampleArray:
        """Return the last `HISTORY_FRAMES` frames that the row played."""
        slot = int(self._slot[row])
        return np.concatenate([self._history[row, slot + 1 :], self._history[row, : slot + 1]], axis=None)

    def remember_one(self, row: int, frame: SampleArray) -> None:
        """Take note of what a row plays."""
        slot = self._slot_cells[row] + 1
        if slot == HISTORY_FRAMES:
            slot = 0
        self._slot_cells[row] = slot
        self._history[row, slot] = frame

    def remember(self, rows: IntArray, frames: SampleArray) -> None:
        """Take note of what the rows play."""
        slots = (self._slot[rows] + 1) % HISTORY_FRAMES
        self._slot[rows] = slots
        self._history[rows, slots] = frames

    def conceal(self, rows: IntArray, frames: SampleArray, ahead: Ahead | None = None) -> None:
        """Fill what is `ABSENT` in the next frames of the rows, in place, and blend over to what is not.

        `ahead` tells the frames behind these, as far as they are there; it is asked for those rows that need it.
        """
        holed = frames.min(axis=1) == ABSENT
        busy = self._busy[rows]
        if holed.any() or busy.any():
            # What has faded away is silence, for as long as a stream is silent.
            over = holed & busy & (self._elapsed[rows] >= self._length) & (self._noise[rows] == 0)
            over[over] = frames[over].max(axis=1) == ABSENT
            frames[over] = 0
            self._elapsed[rows[over]] += self._frame
            holed &= ~over
            blending = busy & ~holed & ~over
            if ahead is not None and holed.any():
                self._bridge(rows, frames, holed, ahead)
            for needy, width in ((holed, self._frame), (blending, self._overlap)):
                chosen = np.flatnonzero(needy)
                if chosen.size:
                    frames[chosen, :width] = self._fill(rows[chosen], frames[chosen, :width])
        self.remember(rows, frames)

    def _bridge(self, rows: IntArray, frames: SampleArray, holed: BoolArray, ahead: Ahead) -> None:
        """Fill the frames that are missing as a whole and have another behind them; they are no longer `holed`."""
        chosen = np.flatnonzero(holed)
        chosen = chosen[(frames[chosen].max(axis=1) == ABSENT) & (self._noise[rows[chosen]] <= 0)][:MAX_BRIDGES]
        future = ahead(rows[chosen])
        known = future.min(axis=1, initial=0) > ABSENT
        chosen, future = chosen[known], future[known]
        fresh = chosen[~self._busy[rows[chosen]]]
        if fresh.size:
            self._prepare(rows[fresh], frames[fresh], np.zeros(len(fresh), np.int64))
        audible = self._elapsed[rows[chosen]] < FADED * self._rate
        chosen, future = chosen[audible], future[audible]
        if not chosen.size:
            return
        longest = int(self._rate * LONGEST_PERIOD)
        length = self._frame + reach(longest) + int(MATCH * self._rate)
        bridged = rows[chosen]
        at = self._elapsed[bridged].astype(np.int32)[:, None] + np.arange(length, dtype=np.int32)
        past = self._substituted(bridged, at)
        sound, shifts, gains, shares = bridge(
            past, future.astype(np.float32), self._period[bridged], self._rate, longest
        )
        frames[chosen] = np.clip(np.rint(sound), -32767, 32767).astype(np.int16)
        self._gain[bridged] *= gains
        self._elapsed[bridged] += self._frame + shifts
        # The blending over goes on from here.
        self._resumed[bridged] = self._overlap * shares
        holed[chosen] = False

    def _fill(self, rows: IntArray, frames: SampleArray) -> SampleArray:
        """Fill the frames; of those that only blend over, the beginning is enough."""
        missing = frames == ABSENT
        fresh = np.flatnonzero(~self._busy[rows])
        if fresh.size:
            self._prepare(rows[fresh], frames[fresh], missing[fresh].argmax(axis=1))
        axis = np.arange(frames.shape[1], dtype=np.int32)
        # What is later than the end is as silent as the end.
        elapsed = np.minimum(self._elapsed[rows], self._length).astype(np.int32)
        substitute = self._substituted(rows, elapsed[:, None] + axis)
        last_missing = np.maximum.accumulate(np.where(missing, axis, np.int32(-1)), axis=1)
        resumed = np.minimum(self._resumed[rows], self._overlap).astype(np.int32)
        since = np.where(last_missing >= 0, axis - last_missing, resumed[:, None] + axis + np.int32(1))
        # Where nothing is left of the substitute, the real sound begins as it is.
        faded = (elapsed >= self._length) & (self._noise[rows] <= 0)
        weight = np.minimum(since * np.float32(1 / self._overlap), np.float32(1))
        weight[faded] = 1
        weight[missing] = 0
        self._elapsed[rows] += self._frame
        self._resumed[rows] = since[:, -1]
        over = rows[since[:, -1] >= self._overlap]
        self._busy[over] = False
        self._noise[over] = 0
        mixed = frames * weight + substitute * (1 - weight)
        filled: SampleArray = np.clip(np.rint(mixed), -32767, 32767).astype(np.int16)
        return filled

    def _substituted(self, rows: IntArray, at: ShortIntArray) -> FloatArray:
        """Take the substitute of the rows at these times, in samples since the hole began."""
        sound = continued(self._heard[rows], self._end[rows], self._period[rows], np.maximum(at, 0), self._rate)
        sound *= self._gain[rows][:, None]
        noisy = np.flatnonzero(self._noise[rows] > 0)
        if noisy.size:
            onset = np.clip(at[noisy] / (NOISE_ONSET * self._rate), 0, 1)
            noise = self._random.standard_normal(onset.shape, np.float32) * self._noise[rows[noisy]][:, None]
            sound[noisy] += noise * onset
        return sound

    def _prepare(self, rows: IntArray, frames: SampleArray, begin: IntArray) -> None:
        """Make the substitutes of holes that begin at these samples of the frames."""
        order = (self._slot[rows][:, None] + 1 + np.arange(HISTORY_FRAMES)) % HISTORY_FRAMES
        past = self._history[rows[:, None], order].reshape(len(rows), -1)
        heard = np.concatenate([past, frames], axis=1).astype(np.float32)
        ends = past.shape[1] + begin
        self._heard[rows], self._end[rows] = heard, ends
        self._period[rows[:MAX_PITCHES]] = periods(heard[:MAX_PITCHES], ends[:MAX_PITCHES], self._rate)
        self._busy[rows] = True
        self._gain[rows] = 1
        self._elapsed[rows] = np.where(past.any(axis=1) | (begin > 0), -begin, self._length)
        # Nothing is blended before the hole.
        self._resumed[rows] = self._overlap


def continued(heard: FloatArray, ends: IntArray, periods: IntArray, at: ShortIntArray, rate: int) -> FloatArray:
    """Go on with what was heard, `heard` (n, samples) up to `ends`, by its period; fading.

    `at` (n, samples) are the times wanted, in samples since the end.
    """
    end, period = ends.astype(np.int32)[:, None], periods.astype(np.int32)[:, None]
    first = np.arange(0, heard.size, heard.shape[1], dtype=np.int32)[:, None]
    flat = heard.reshape(-1)
    number = at // period
    phase = at - number * period

    def source(number: ShortIntArray) -> ShortIntArray:
        """Where a repetition begins: the last period at first, then the last two and three in turn."""
        began = number * period
        variety = np.add(began >= STEADY * rate, began >= 2 * STEADY * rate, dtype=np.int32) + np.int32(1)
        begin: ShortIntArray = first + end - variety * period + period * (number % variety)
        return begin

    sound = flat.take(source(number) + phase)
    # The last quarter of a period becomes what came before the one that follows.
    quarter = np.maximum(period // 4, 1)
    weight = np.clip((phase - (period - quarter)) / quarter.astype(np.float32), 0, 1, dtype=np.float32)
    before_next = flat.take(source(number + np.int32(1)) - (period - phase))
    sound += (before_next - sound) * weight
    step = flat.take(first + end - 1) - flat.take(first + end - 1 - period)
    time = at.astype(np.float32)
    sound += step * np.exp(time * np.float32(-1 / (SEAM * rate)))
    sound *= np.clip((np.float32(FADED * rate) - time) * np.float32(1 / ((FADED - STEADY) * rate)), 0, 1)
    return sound


def periods(heard: FloatArray, ends: IntArray, rate: int) -> IntArray:
    """Find the pitch before `ends` by correlation, in samples, at 4 to 8 kHz and then by the sample."""
    coarse = max(rate // 8000, 2)
    template, least, most = (int(rate / coarse * span) for span in (TEMPLATE, SHORTEST_PERIOD, LONGEST_PERIOD))
    n = np.arange(len(heard))[:, None]
    recent = heard[n, ends[:, None] + np.arange(-(template + most) * coarse, 0)]
    thinned = np.add.reduce([recent[:, number::coarse] for number in range(coarse)])
    windows = np.lib.stride_tricks.sliding_window_view(thinned, template, axis=1)[:, : most - least + 1]
    lag: IntArray = most - _best(
        np.einsum("nlw,nw->nl", windows, thinned[:, -template:]), _energies(thinned, template, most - least + 1)
    )
    near = np.clip(lag[:, None] * coarse + np.arange(1 - coarse, coarse), least * coarse, most * coarse)
    spread = np.arange(-template * coarse, 0)
    shifted = heard[n[:, :, None], ends[:, None, None] - near[:, :, None] + spread]
    latest = heard[n, ends[:, None] + spread]
    best = _best(np.einsum("nlw,nw->nl", shifted, latest), np.einsum("nlw,nlw->nl", shifted, shifted))
    return np.asarray(near[np.arange(len(heard)), best])


def _energies(samples: FloatArray, length: int, count: int) -> npt.NDArray[np.float64]:
    """The energy of the first `count` windows of this length."""
    sums = np.zeros((len(samples), samples.shape[1] + 1))
    np.cumsum(np.square(samples, dtype=np.float64), axis=1, out=sums[:, 1:])
    return np.asarray(sums[:, length : length + count] - sums[:, :count])


def _best(correlation: FloatArray, energy: npt.NDArray[np.floating[Any]]) -> IntArray:
    """Choose the lag at which sound is most like itself, whatever its loudness there."""
    likeness = correlation * np.abs(correlation) / (energy + 1)
    return np.asarray(likeness.argmax(axis=1))
