"""Digits that are only sound: DTMF tones in audio, found and made (ITU-T Q.23, Q.24).

A digit is two tones, one of four low and one of four high frequencies, for 40 ms or more. The audio is looked at in
windows of 25 ms, each overlapping the one before by half; a digit counts when `CONFIRM` windows in a row agree, and
again only after a pause. Speech fails one of the tests of a window: two tones hold nearly all of its energy, neither is
much weaker than the other, and no neighbour comes close to them. All streams of one rate are looked at together, and
only the windows in which the tones are more than a tenth of what is heard are looked at again, one by one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from .errors import StreamError
from .stream import FRAMES_PER_SECOND
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
MIN_FIRST_SHARE: Final = 0.1
"""What is left of that share at the first look, where a tone is a little off its frequency: half its amplitude."""
MAX_TWIST: Final = 10.0
"""How many times stronger one tone may be than the other, in energy: 10 dB."""
MIN_LEAD: Final = 5.0
"""How many times stronger each tone is than the others of its group, in energy: 7 dB."""

Samples = npt.NDArray[np.int16]
_Floats = npt.NDArray[np.float64]


class ToneDetector:
    """Finds digits in any number of streams of audio that have one rate."""

    def __init__(self, rate: int) -> None:
        """`rate` in Hz, 8000 or more."""
        self._tones = _tones(rate)
        self._first_look = _first_look(rate)
        self._size = self._tones.shape[1]
        self._hop = self._size // 2
        self._rows = np.zeros(0, np.int64)
        # What the next window begins with, of each of the rows.
        self._rest: Samples = np.zeros((0, 0), np.int16)
        # The rows where there was a digit not long ago.
        self._presses: dict[int, _Press] = {}
        self._places: tuple[object, npt.NDArray[np.int64]] | None = None

    @property
    def listens(self) -> bool:
        """Whether there is any stream to listen to."""
        return bool(self._rows.size)

    def listen(self, row: int) -> None:
        """Look for digits in another stream."""
        at = int(self._rows.searchsorted(row))
        self._rows = np.insert(self._rows, at, row)
        self._rest = np.insert(self._rest, at, 0, axis=0)
        self._places = None

    def forget(self, row: int) -> None:
        """Look no longer for digits in a stream."""
        at = int(self._rows.searchsorted(row))
        self._rows = np.delete(self._rows, at)
        self._rest = np.delete(self._rest, at, axis=0)
        self._presses.pop(row, None)
        self._places = None

    def feed(self, rows: npt.NDArray[np.int64], frames: Samples) -> list[tuple[int, str]]:
        """Take the next frame of each of `rows`, ascending, and return the digits; a stream without one is silent."""
        if self._places is None or self._places[0] is not rows:
            self._places = rows, np.flatnonzero(np.isin(rows, self._rows, assume_unique=True))
        chosen = self._places[1]
        if len(chosen) == len(self._rows):
            heard = frames[chosen]
        else:
            heard = np.zeros((len(self._rows), frames.shape[1]), np.int16)
            heard[np.isin(self._rows, rows[chosen])] = frames[chosen]
        signal = np.concatenate((self._rest, heard), axis=1)
        digits: list[tuple[int, str]] = []
        start = 0
        while start + self._size <= signal.shape[1]:
            digits += self._look(signal[:, start : start + self._size])
            start += self._hop
        self._rest = signal[:, start:]
        return digits

    def _look(self, windows: Samples) -> list[tuple[int, str]]:
        """Look at a window of each row; returns the digits that it makes certain."""
        keys: dict[int, str] = {}
        for index in self._promising(windows.astype(np.float32)).tolist():
            key = self._key(windows[index].astype(np.float64))
            if key is not None:
                keys[int(self._rows[index])] = key
        digits = []
        for row in [*self._presses, *(row for row in keys if row not in self._presses)]:
            press = self._presses.setdefault(row, _Press())
            if press.step(keys.get(row)):
                digits.append((row, keys[row]))
            if press.is_over:
                del self._presses[row]
        return digits

    def _promising(self, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Tell in which windows the tones are strong enough to look again."""
        energy = np.einsum("nw,nw->n", windows, windows)
        parts = np.square(windows @ self._first_look)
        amplitudes = (parts[:, :8] + parts[:, 8:]).reshape(-1, 2, 4).max(axis=2)
        loud = energy >= self._size * MIN_AMPLITUDE**2
        found = amplitudes.sum(axis=1) * (self._size / 2) >= MIN_FIRST_SHARE * energy
        return np.asarray(np.flatnonzero(loud & found))

    def _key(self, window: _Floats) -> str | None:
        """The key whose tones the window holds, or None."""
        energy = float(window @ window)
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


class _Press:
    """What the last windows of one stream held."""

    def __init__(self) -> None:
        self._candidate: str | None = None
        self._count = 0
        self._held: str | None = None
        self._pause = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to remember."""
        return self._candidate is None and self._held is None

    def step(self, key: str | None) -> bool:
        """Take what the next window holds; tells whether that is a digit that begins to count."""
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
            return False
        self._held, self._pause = key, 0
        return True


class InbandDigits:
    """The streams whose digits travel as sound, by row; most do neither."""

    def __init__(self) -> None:
        self._detectors: dict[int, ToneDetector] = {}
        self._rates: dict[int, int] = {}
        self._sources: dict[int, ToneSource] = {}

    @property
    def listens(self) -> bool:
        """Whether any stream has to be listened to."""
        return bool(self._rates)

    @property
    def speaks(self) -> bool:
        """Whether digits are under way in any stream."""
        return bool(self._sources)

    def listen(self, row: int, rate: int | None) -> None:
        """Look for digits in what the stream hears, at this rate in Hz; with None no longer."""
        before = self._rates.pop(row, None)
        if before is not None and before != rate:
            self._detectors[before].forget(row)
        if rate is None:
            return
        self._rates[row] = rate
        if before != rate:
            if rate not in self._detectors:
                self._detectors[rate] = ToneDetector(rate)
            self._detectors[rate].listen(row)

    def forget(self, row: int) -> None:
        """The stream has ended."""
        self.listen(row, None)
        self._sources.pop(row, None)

    def hear(self, rows: npt.NDArray[np.int64], frames: Samples) -> list[tuple[int, str]]:
        """Look at 20 ms of each of `rows`, ascending; returns the digits by row."""
        detector = self._detectors.get(frames.shape[1] * FRAMES_PER_SECOND)
        return [] if detector is None or not detector.listens else detector.feed(rows, frames)

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


@lru_cache(maxsize=8)
def _first_look(rate: int) -> npt.NDArray[np.float32]:
    """What to multiply windows with for the real and then the imaginary amplitudes of all eight tones as they are."""
    tones = _tones(rate).reshape(len(DETUNINGS), 8, -1)[len(DETUNINGS) // 2]
    return np.ascontiguousarray(np.concatenate((tones.real, tones.imag)).T, np.float32)
