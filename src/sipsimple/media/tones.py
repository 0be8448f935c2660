"""Tones: pairs of sine waves one after another, for the ears (RFC 4733 digits travel in the stream, not as tones)."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from .commands import Tone

Samples = npt.NDArray[np.int16]

# One of two frequencies; together they stay 6 dB under full scale.
AMPLITUDE: Final = 8_192
# A tone that begins or ends at once clicks.
RAMP: Final = 0.002  # seconds
MAX_QUEUED_TONES: Final = 256
DTMF_ON: Final = 200  # ms
DTMF_OFF: Final = 50  # ms

_ROWS: Final = (697, 770, 852, 941)
_COLUMNS: Final = (1209, 1336, 1477, 1633)
_KEYS: Final = ("123A", "456B", "789C", "*0#D")
DTMF_FREQUENCIES: Final = {
    key: (row, column)
    for row, keys in zip(_ROWS, _KEYS, strict=True)
    for column, key in zip(_COLUMNS, keys, strict=True)
}


def dtmf_tones(digit: str) -> tuple[Tone, Tone]:
    """Make the tone and the pause of a digit (ITU-T Q.23). Raises ValueError."""
    if digit not in DTMF_FREQUENCIES:
        raise ValueError(f"{digit!r} is no DTMF digit: use one of 0-9 * # A B C D")
    return Tone(*DTMF_FREQUENCIES[digit], DTMF_ON), Tone(0, 0, DTMF_OFF)


class ToneSource:
    """Tones in a queue as frames at the mixer's rate."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._tones: deque[Tone] = deque()
        self._at = 0  # samples of the first tone that were taken

    @property
    def busy(self) -> bool:
        return bool(self._tones)

    def play(self, tones: tuple[Tone, ...]) -> None:
        """Queue the tones. Raises ValueError when there are too many, or one is impossible at this sample rate."""
        if len(self._tones) + len(tones) > MAX_QUEUED_TONES:
            raise ValueError(f"more than {MAX_QUEUED_TONES} tones are waiting: wait until some were played")
        for tone in tones:
            for frequency in (tone.frequency1, tone.frequency2):
                if not 0 <= frequency <= self._rate // 2:
                    raise ValueError(
                        f"a tone of {frequency} Hz needs a sample rate of at least {2 * abs(frequency)} Hz"
                    )
            if tone.duration < 0:
                raise ValueError(f"a tone cannot last {tone.duration} ms")
        self._tones.extend(tones)

    def stop(self) -> None:
        self._tones.clear()
        self._at = 0

    def fill(self, frame: Samples) -> None:
        """Take the next samples; silence after the last tone."""
        filled = 0
        while filled < len(frame) and self._tones:
            tone = self._tones[0]
            length = tone.duration * self._rate // 1000
            count = min(length - self._at, len(frame) - filled)
            frame[filled : filled + count] = self._render(tone, length, count)
            filled += count
            self._at += count
            if self._at == length:
                self._tones.popleft()
                self._at = 0
        frame[filled:] = 0

    def _render(self, tone: Tone, length: int, count: int) -> npt.NDArray[np.float64]:
        at = np.arange(self._at, self._at + count)
        frequencies = [frequency for frequency in (tone.frequency1, tone.frequency2) if frequency]
        waves = sum(
            (np.sin(2 * np.pi * frequency / self._rate * at) for frequency in frequencies), start=np.zeros(count)
        )
        ramp = np.minimum(at + 1, length - at) / (RAMP * self._rate)
        return AMPLITUDE * waves * np.minimum(ramp, 1.0)
