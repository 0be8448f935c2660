"""Shorter and longer sound without a change of pitch, by overlap and add at a period of the sound (WSOLA).

This is how a jitter buffer makes its delay smaller or larger without being heard: a whole period is left out or said
twice. Where the sound has no period, it says so, and another moment may be better.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SHORTEST, LONGEST = 0.0025, 0.015
"""Seconds that are left out or added at once."""
TEMPLATE: Final = 0.01
LIKENESS: Final = 0.7
"""Least normalised correlation at which nobody hears the seam."""
TOLERANCE: Final = 0.01
SILENCE: Final = 60.0
"""Root mean square of samples under which it does not matter where the seam is: -55 dB."""

SampleArray = npt.NDArray[np.int16]


def shorten(samples: SampleArray, size: int, rate: int, *, anyhow: bool = False) -> tuple[SampleArray, int]:
    """Make a frame of `size` samples out of more; also tells how many more were used up, 0 when that would be heard.

    `samples` are `size` and as many as `LONGEST` lasts; `anyhow` accepts a seam that may be heard.
    """
    lag = _lag(samples[: int(TEMPLATE * rate)], samples[int(SHORTEST * rate) :], rate, anyhow)
    if not lag:
        return samples[:size], 0
    return _blend(samples[:size], samples[lag : lag + size]), lag


def lengthen(
    past: SampleArray, samples: SampleArray, size: int, rate: int, *, anyhow: bool = False
) -> tuple[SampleArray, int]:
    """Make a frame of `size` samples out of fewer; also tells how many were saved, 0 when that would be heard.

    `past` is what was played before `samples`, which are `size`.
    """
    longest = int(LONGEST * rate)
    both = np.concatenate([past[-longest:], samples])
    # Reversed, the past lies ahead.
    template = samples[: int(TEMPLATE * rate)][::-1]
    reversed_past = both[: longest + len(template) - int(SHORTEST * rate)][::-1]
    lag = _lag(template, reversed_past, rate, anyhow)
    if not lag:
        return samples[:size], 0
    return _blend(samples[:size], both[longest - lag : longest - lag + size]), lag


def _lag(template: SampleArray, candidates: SampleArray, rate: int, anyhow: bool) -> int:
    """Find how far ahead, from `SHORTEST` on, the candidates are most like the template; 0 where they are not."""
    wanted = template.astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(candidates.astype(np.float32), len(template))
    windows = windows[: int(LONGEST * rate) - int(SHORTEST * rate) + 1]
    energy = np.einsum("lw,lw->l", windows, windows)
    power = float(wanted @ wanted)
    if max(power, float(energy.max())) < SILENCE**2 * len(template):
        return int(SHORTEST * rate) + len(windows) - 1
    likeness = windows @ wanted / np.sqrt(energy * power + 1)
    best = float(likeness.max())
    if best < LIKENESS and not anyhow:
        return 0
    # Of seams that are as good, the one that moves farthest spares others.
    return int(SHORTEST * rate) + int(np.flatnonzero(likeness >= best - TOLERANCE)[-1])


def _blend(first: SampleArray, second: SampleArray) -> SampleArray:
    weight = np.linspace(0, 1, len(first), dtype=np.float32)
    return np.rint(first * (1 - weight) + second * weight).astype(np.int16)
