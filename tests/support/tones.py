"""Tones as WAV files, and what can be heard in a recording."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def write_tone(
    path: Path, frequency: float, seconds: float = 30.0, level: float = -12.0, rate: int = 8000, channels: int = 1
) -> Path:
    """Write a sine of `level` dB below full scale (its peak) as a WAV file of 16 bits, the same in all channels."""
    times = np.arange(int(seconds * rate)) / rate
    samples = 32767 * 10 ** (level / 20) * np.sin(2 * np.pi * frequency * times)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").repeat(channels).tobytes())
    return path


def read(path: Path) -> tuple[NDArray[np.float64], int]:
    """The samples of a WAV file of 16 bits, channels mixed, from -1 to 1; and the rate."""
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2, f"{path} has {8 * file.getsampwidth()} bits"
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768
        return samples.reshape(-1, file.getnchannels()).mean(axis=1), file.getframerate()


class Tone(NamedTuple):
    """What a recording holds: the strongest frequency, its peak level, its share of the power, and for how long."""

    frequency: float  # Hz
    level: float  # dB below full scale, of the peak of the sine
    purity: float  # 1 when there is nothing but this tone
    seconds: float  # from the first to the last audible sample


def hear(path: Path) -> Tone:
    """Measure the audible part of a recording, without the tenth of a second at either end."""
    return measure(*read(path))


def measure(samples: NDArray[np.float64], rate: int) -> Tone:
    """As `hear`, of samples from -1 to 1."""
    audible = np.flatnonzero(np.abs(samples) > 0.005)
    if audible.size < rate // 2:
        return Tone(0.0, -100.0, 0.0, audible.size / rate)
    part = samples[audible[0] + rate // 10 : audible[-1] - rate // 10]
    window = np.hanning(part.size)
    power = np.abs(np.fft.rfft(part * window)) ** 2
    peak = int(np.argmax(power[1:])) + 1
    near = slice(max(0, peak - 3), peak + 4)
    amplitude = 2 * np.sqrt(power[near].sum() / (window**2).sum() / part.size)
    return Tone(
        frequency=peak * rate / part.size,
        level=float(20 * np.log10(amplitude)),
        purity=float(power[near].sum() / power[1:].sum()),
        seconds=(audible[-1] - audible[0] + 1) / rate,
    )
