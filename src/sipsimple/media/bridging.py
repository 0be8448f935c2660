"""Sound between two that are known: what stands in for a lost frame when the one behind it is there already.

A jitter buffer holds the next packet when it finds that one is missing. So the continuation of what was heard before
(`concealment`) is led to what comes after: it is stretched by a part of a period, so that it arrives in step, its
loudness becomes that of the other side, and the other side, continued backwards, takes a growing share of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

MATCH: Final = 0.01
"""Seconds at the beginning of what comes after that the continuation is brought in step with."""
MAX_SHIFT: Final = 0.2
"""Part of a period by which the continuation is stretched or compressed at most."""
LEAST_GAIN, MOST_GAIN = 0.3, 1.3
PERIOD_LEAST, PERIOD_MOST = 0.8, 1.25
"""Between these parts of the period before, the one behind is looked for."""
LIKENESS: Final = 0.5
"""Least normalised correlation that makes a sound periodic: only then is it continued backwards."""
SHARE: Final = 0.65
"""Part of the sound that what comes after has at the end."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def reach(longest_period: int) -> int:
    """Tell how many samples more than a frame and `MATCH` of the continuation are looked at."""
    return int(MAX_SHIFT * longest_period)


def bridge(
    past: FloatArray, future: FloatArray, periods: IntArray, rate: int, longest: int
) -> tuple[FloatArray, IntArray, FloatArray, FloatArray]:
    """Make frames between a continuation and what comes after it.

    Also tells their shifts, in samples, and at their ends the gains and the shares of what comes after.

    `past` (n, frame + reach + match) is the continuation without regard to what follows; `future` (n, frame) is that.
    A shift is how many samples more of the continuation than a frame were used up. `longest` is the longest period.
    """
    n, size = future.shape
    row = np.arange(n)
    shifts, gains = _step(past, future, periods, rate, longest)
    time = np.arange(size, dtype=np.float32) * ((size + shifts) / size).astype(np.float32)[:, None]
    before = time.astype(np.int64)
    part = time - before
    sound = past[row[:, None], before] * (1 - part) + past[row[:, None], before + 1] * part
    ramp = np.arange(size, dtype=np.float32) / size
    sound *= 1 + ramp * (gains[:, None] - 1)
    period, likeness = _periods(future, periods, longest)
    # Backwards from the beginning of what comes after, by whole periods.
    behind = future[row[:, None], (np.arange(size) - size) % period[:, None]]
    shares = np.where(likeness >= LIKENESS, np.float32(SHARE), np.float32(0))
    sound += (behind - sound) * (shares[:, None] * ramp)
    return np.asarray(sound, np.float32), shifts, gains, shares


def _step(
    past: FloatArray, future: FloatArray, periods: IntArray, rate: int, longest: int
) -> tuple[IntArray, FloatArray]:
    """Find the shifts at which the continuations match what comes after, and how loud they are there."""
    size, match, most = future.shape[1], int(MATCH * rate), reach(longest)
    begin = future[:, :match]
    windows = np.lib.stride_tricks.sliding_window_view(past[:, size - most :], match, axis=1)[:, : 2 * most + 1]
    product = np.matmul(windows, begin[:, :, None])[:, :, 0]
    energy = np.einsum("nlw,nlw->nl", windows, windows)
    power = np.einsum("nw,nw->n", begin, begin)
    likeness = product / np.sqrt(energy * power[:, None] + 1)
    likeness[np.abs(np.arange(-most, most + 1)) > MAX_SHIFT * periods[:, None]] = -1
    best = likeness.argmax(axis=1)
    row = np.arange(len(past))
    best = np.where(likeness[row, best] >= LIKENESS, best, most)
    gains = np.sqrt((power + 1) / (energy[row, best] + 1))
    return best - most, np.clip(gains, LEAST_GAIN, MOST_GAIN).astype(np.float32)


def _periods(future: FloatArray, periods: IntArray, longest: int) -> tuple[IntArray, FloatArray]:
    """Find the periods of what comes after, near those of before, and how periodic it is."""
    size = future.shape[1]
    spectrum = np.fft.rfft(future, 2 * size)
    product = np.fft.irfft(np.abs(spectrum) ** 2, 2 * size)[:, : longest + 1]
    sums = np.zeros((len(future), size + 1))
    np.cumsum(np.square(future, dtype=np.float64), axis=1, out=sums[:, 1:])
    lags = np.arange(longest + 1)
    # Of each lag, the energies of the two parts that overlap.
    energy = sums[:, size - lags] * (sums[:, [size]] - sums[:, lags])
    likeness = product / np.sqrt(energy + 1)
    near = (lags >= PERIOD_LEAST * periods[:, None]) & (lags <= PERIOD_MOST * periods[:, None])
    likeness[~near] = -1
    best = likeness.argmax(axis=1)
    return np.maximum(best, 1), likeness[np.arange(len(future)), best].astype(np.float32)
