"""Did the audio arrive? A recording is compared with what was played, by normalised cross-correlation.

The recording may begin late and end late; one delay has to explain all of it. The correlation over the whole source is
1 for a perfect copy at any volume. A fault that is short hides in it, so every stretch of the source that is not
silent has to match by itself too, at the same delay.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]

COMPARED_RATE: Final = 8000
"""Samples per second of the comparison: the telephone band, which is all that PCMU and PCMA carry."""

MIN_CORRELATION: Final = 0.98
MIN_STRETCH_CORRELATION: Final = 0.90
STRETCH_SECONDS: Final = 0.25
QUIET: Final = 0.05
"""A stretch below this part of the loudest one's amplitude is silence, where only the noise floor is compared."""

FRACTIONS: Final = 32
"""Parts of a sample in which the delay is found."""

MAX_SECONDS: Final = 600
"""Longer recordings than this are not compared: the transform needs memory in proportion."""


class AudioUnusable(Exception):
    """A file cannot be compared; the text says which and why."""


@dataclass(frozen=True)
class Verdict:
    """What the comparison found; times are in seconds."""

    correlation: float
    worst_stretch: float
    worst_at: float
    delay: float
    gain_db: float
    source_seconds: float
    recording_seconds: float
    faults_besides: list[str] = field(default_factory=list)
    """What else went wrong, that has nothing to do with the audio."""

    @property
    def faults(self) -> list[str]:
        """Why the audio is not accepted, in words; empty when it is."""
        faults = []
        if not self.recording_seconds:
            faults.append("the recording is empty")
        if self.correlation < MIN_CORRELATION:
            faults.append(f"the correlation with the source is {self.correlation:.4f}, less than {MIN_CORRELATION}")
        if self.worst_stretch < MIN_STRETCH_CORRELATION:
            faults.append(
                f"the audio at {self.worst_at:.2f} s does not match: "
                f"correlation {self.worst_stretch:.4f}, less than {MIN_STRETCH_CORRELATION}"
            )
        return faults + self.faults_besides

    @property
    def passed(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        if self.passed:
            return f"the recording matches the source: correlation {self.correlation:.4f}"
        return "; ".join(self.faults)


def read_wave(path: Path) -> tuple[Samples, int]:
    """The samples of a 16-bit WAV file as mono from -1 to 1, and their rate; raises AudioUnusable."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise AudioUnusable(f"{path} has {8 * file.getsampwidth()}-bit samples: convert it to 16 bits")
            if file.getnframes() > MAX_SECONDS * file.getframerate():
                raise AudioUnusable(f"{path} is longer than {MAX_SECONDS} seconds")
            data = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
            return data.mean(axis=1) / 32768, file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise AudioUnusable(f"{path} cannot be read as a WAV file: {error}") from error


def compare_files(source: Path, recording: Path) -> Verdict:
    """Compare two WAV files; raises AudioUnusable."""
    return compare(*read_wave(source), *read_wave(recording))


def compare(source: Samples, source_rate: int, recording: Samples, recording_rate: int) -> Verdict:
    """Compare what was recorded with what was played; raises AudioUnusable when there is nothing to look for."""
    pair = align(source, source_rate, recording, recording_rate)
    worst, worst_at = worst_stretch(pair.played, pair.heard)
    return Verdict(
        correlation=correlation(pair.played, pair.heard),
        worst_stretch=worst,
        worst_at=worst_at,
        delay=pair.delay,
        gain_db=float(20 * np.log10(abs(pair.gain))) if pair.gain else float("-inf"),
        source_seconds=len(source) / source_rate,
        recording_seconds=len(recording) / recording_rate,
    )


@dataclass(frozen=True)
class Pair:
    """What was played, and the stretch of the recording where it is heard; both at COMPARED_RATE and of one length.

    `gain` is what the one has to be multiplied with to come closest to the other.
    """

    played: Samples
    heard: Samples
    delay: float
    gain: float


def align(source: Samples, source_rate: int, recording: Samples, recording_rate: int) -> Pair:
    """Find the source in the recording; raises AudioUnusable when the source is silent."""
    played = resample(source, source_rate, COMPARED_RATE)
    recorded = resample(recording, recording_rate, COMPARED_RATE)
    if not played.size or not np.any(played):
        raise AudioUnusable("the source is silent: there is nothing to compare with")
    lag = best_lag(played, recorded)
    heard, fraction = shifted(played, stretch_of(recorded, lag, len(played)))
    return Pair(played, heard, (lag + fraction) / COMPARED_RATE, float(played @ heard) / float(played @ played))


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """The same sound at another rate, by cutting or extending its spectrum."""
    if rate == new_rate or not samples.size:
        return samples
    # A count that is rounded would change the speed by a part of a sample, and round counts make fast transforms.
    period = rate // gcd(rate, new_rate) * 1000
    padded = -(-len(samples) // period) * period
    count = padded * new_rate // rate
    spectrum = np.fft.rfft(samples, padded)
    wanted = np.zeros(count // 2 + 1, np.complex128)
    kept = min(len(spectrum), len(wanted))
    wanted[:kept] = spectrum[:kept]
    return np.fft.irfft(wanted, count)[: -(-len(samples) * new_rate // rate)] * (count / padded)


def correlation(one: Samples, other: Samples) -> float:
    """The normalised correlation of two signals of one length, from -1 to 1; 0 when one is silent."""
    norm = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / norm if norm else 0.0


def best_lag(played: Samples, heard: Samples) -> int:
    """The sample of `heard` at which the played signal begins, by its best match; negative when its start is lost."""
    if not heard.size:
        return 0
    size = len(played) + len(heard) - 1
    padded = _fast(size)
    spectrum = np.fft.rfft(heard, padded) * np.conj(np.fft.rfft(played, padded))
    # Lags -(len(played) - 1) .. len(heard) - 1, in that order.
    products = np.roll(np.fft.irfft(spectrum, padded), len(played) - 1)[:size]
    padding = np.zeros(len(played))
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((padding[1:], heard, padding)) ** 2)))
    energies = sums[len(played) : len(played) + size] - sums[:size]
    # Where hardly anything was heard, a chance likeness must not count.
    floor = 0.05 * float(energies.max()) or 1.0
    return int(np.argmax(products / np.sqrt(np.maximum(energies, floor)))) - (len(played) - 1)


def shifted(played: Samples, heard: Samples) -> tuple[Samples, float]:
    """`heard`, moved by the part of a sample that makes it match best, and that part, from -0.5 to 0.5.

    A delay of one sample at a higher rate is a part of one here, and that alone would cost the high tones.
    """
    count = len(played)
    padded = _fast(2 * count)
    spectrum = np.fft.rfft(heard, padded)
    angles = 2 * np.pi * np.arange(len(spectrum)) / padded
    products = spectrum * np.conj(np.fft.rfft(played, padded))
    fractions = np.linspace(-0.5, 0.5, FRACTIONS + 1)
    likeness = [float((products * np.exp(1j * angles * fraction)).real.sum()) for fraction in fractions]
    best = float(fractions[int(np.argmax(likeness))])
    return np.fft.irfft(spectrum * np.exp(1j * angles * best), padded)[:count], best


def stretch_of(heard: Samples, start: int, count: int) -> Samples:
    """`count` samples from `start` on, with silence for what lies outside of the signal."""
    result = np.zeros(count)
    first, last = max(start, 0), min(start + count, len(heard))
    if first < last:
        result[first - start : last - start] = heard[first:last]
    return result


def worst_stretch(played: Samples, aligned: Samples) -> tuple[float, float]:
    """The lowest correlation of a stretch, and where it begins in seconds.

    In the pauses of the source the recording has to be quiet as well: what sounds there counts as mismatch.
    """
    size = int(STRETCH_SECONDS * COMPARED_RATE)
    starts = range(0, max(1, len(played) - size + 1), size // 2)
    loudest = max(_amplitude(played[start : start + size]) for start in starts)
    scale = _amplitude(played) / (_amplitude(aligned) or 1.0)
    found = []
    for start in starts:
        one, other = played[start : start + size], aligned[start : start + size] * scale
        if _amplitude(one) >= QUIET * loudest:
            found.append((correlation(one, other), start / COMPARED_RATE))
        elif _amplitude(other) >= 2 * QUIET * loudest:
            found.append((0.0, start / COMPARED_RATE))
    return min(found)


def _fast(count: int) -> int:
    """A length not below `count` that is transformed fast."""
    return 1 << (count - 1).bit_length()


def _amplitude(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples**2))) if samples.size else 0.0
