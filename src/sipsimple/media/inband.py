"""Digits that are only sound: DTMF tones in audio, found and made (ITU-T Q.23, Q.24).

A digit is two tones, one of four low and one of four high frequencies, for 40 ms or more. The audio is looked at in
windows of 25 ms, each overlapping the one before by half; a digit counts when `CONFIRM` windows in a row agree, and
again only after a pause. Speech fails one of the tests of a window: two tones hold nearly all of its energy, neither is
much weaker than the other, and no neighbour comes close to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from .errors import StreamError
from .tones import ToneSource, dtmf_tones

LOW: Final = (697, 770, 852, 941)
HIGH: Final = (1209, 1336, 1477, 1633)
KEYS: Final = ("123A", "456B", "789C", "*0#D")

WINDOWS_PER_SECOND: Final = 40
CONFIRM: Final = 2
"""Windows that have to agree; three of them touch 40 ms of a tone, wherever it begins."""
RELEASE: Final = 2
"""Windows without a digit before the same one counts again."""

DETUNINGS: Final = (0.985, 1.0, 1.015)
"""Each tone is looked for where a receiver has to accept it, and a little below and above (Q.24: 1.5 %)."""

MIN_AMPLITUDE: Final = 200.0
"""The weaker tone, of 32767: 44 dB below full scale."""
MIN_SHARE: Final = 0.70
"""Of the energy of the window; a tone that begins or ends in it has less."""
MAX_TWIST: Final = 10.0
"""How many times stronger one tone may be than the other, in energy: 10 dB."""
MIN_LEAD: Final = 5.0
"""How many times stronger each tone is than the others of its group, in energy: 7 dB."""

Samples = npt.NDArray[np.int16]
_Floats = npt.NDArray[np.float64]


class ToneDetector:
    """Finds digits in one stream of audio."""

    def __init__(self, rate: int) -> None:
        """`rate` in Hz, 8000 or more."""
        self._tones = _tones(rate)
        self._size = self._tones.shape[1]
        self._hop = self._size // 2
        self._rest: Samples = np.zeros(0, np.int16)
        self._candidate: str | None = None
        self._count = 0
        self._held: str | None = None
        self._pause = 0

    def feed(self, samples: Samples) -> str:
        """Take the next samples; return the digits that were recognised in them, mostly none."""
        signal = np.concatenate((self._rest, samples))
        digits = ""
        start = 0
        while start + self._size <= len(signal):
            digits += self._step(self._key(signal[start : start + self._size].astype(np.float64)))
            start += self._hop
        self._rest = signal[start:]
        return digits

    def _key(self, window: _Floats) -> str | None:
        """The key whose tones the window holds, or None."""
        energy = float(window @ window)
        if energy < len(window) * MIN_AMPLITUDE**2:
            return None
        amplitudes = np.abs(self._tones @ window).reshape(len(DETUNINGS), -1).max(axis=0)
        low, high = amplitudes[:4] ** 2, amplitudes[4:] ** 2
        row, column = int(low.argmax()), int(high.argmax())
        one, other = float(low[row]), float(high[column])
        # A sine of amplitude a has an energy of a² / 2 for each sample.
        if (one + other) * len(window) / 2 < MIN_SHARE * energy or min(one, other) < MIN_AMPLITUDE**2:
            return None
        if max(one, other) > MAX_TWIST * min(one, other):
            return None
        if one < MIN_LEAD * float(np.partition(low, 2)[2]) or other < MIN_LEAD * float(np.partition(high, 2)[2]):
            return None
        return KEYS[row][column]

    def _step(self, key: str | None) -> str:
        if key is None or key != self._candidate:
            self._candidate, self._count = key, 0
        self._count += 1
        if key is None or key != self._held:
            self._pause += 1
            if self._pause >= RELEASE:
                self._held = None
        else:
            self._pause = 0
        if key is None or key == self._held or self._count < CONFIRM:
            return ""
        self._held, self._pause = key, 0
        return key


class InbandDigits:
    """The streams whose digits travel as sound, by row; most do neither."""

    def __init__(self) -> None:
        self._detectors: dict[int, tuple[int, ToneDetector]] = {}
        self._sources: dict[int, ToneSource] = {}

    @property
    def listens(self) -> bool:
        """Whether any stream has to be listened to."""
        return bool(self._detectors)

    @property
    def speaks(self) -> bool:
        """Whether digits are under way in any stream."""
        return bool(self._sources)

    def listen(self, row: int, rate: int | None) -> None:
        """Look for digits in what the stream hears, at this rate in Hz; with None no longer."""
        if rate is None:
            self._detectors.pop(row, None)
        elif row not in self._detectors or self._detectors[row][0] != rate:
            self._detectors[row] = rate, ToneDetector(rate)

    def forget(self, row: int) -> None:
        """The stream has ended."""
        self._detectors.pop(row, None)
        self._sources.pop(row, None)

    def hear(self, rows: npt.NDArray[np.int64], frames: Samples) -> Iterator[tuple[int, str]]:
        """Look at a frame of each of `rows`, ascending; yields the digits."""
        for row, (_, detector) in self._detectors.items():
            index = int(rows.searchsorted(row))
            if index < len(rows) and rows[index] == row:
                for digit in detector.feed(frames[index]):
                    yield row, digit

    def press(self, row: int, digit: str, rate: int) -> None:
        """Queue a digit for the stream, whose frames have this rate in Hz; raises StreamError."""
        source = self._sources.get(row) or ToneSource(rate)
        try:
            source.play(dtmf_tones(digit))
        except ValueError as error:
            raise StreamError(str(error)) from error
        self._sources[row] = source

    def speak(self, rows: npt.NDArray[np.int64], frames: Samples) -> Samples:
        """Put the digits that are under way in place of the audio of their streams."""
        frames = frames.copy()
        for row, source in list(self._sources.items()):
            for index in np.flatnonzero(rows == row).tolist():
                source.fill(frames[index])
            if not source.busy:
                del self._sources[row]
        return frames


@lru_cache(maxsize=8)
def _tones(rate: int) -> npt.NDArray[np.complex128]:
    """What to multiply a window with for the amplitudes of all eight tones, once for each detuning."""
    size = rate // WINDOWS_PER_SECOND
    times = np.arange(size) / rate
    frequencies = np.outer(DETUNINGS, LOW + HIGH).reshape(-1, 1)
    angles = 2 * np.pi * frequencies * times
    tones: npt.NDArray[np.complex128] = (np.cos(angles) - 1j * np.sin(angles)).astype(np.complex128) * (2 / size)
    return tones
