"""A program's own sound as a slot of the mixer: what it writes is heard, and what is sent to the slot goes back to it.

Samples are kept here, in the engine, so that a program that is busy for a moment is not heard; what was not played yet
can be thrown away at once. The program chooses its rate, which is changed here from and to that of the mixer.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .commands import PCMReport
from .errors import CommandError
from .resample import FRAMES_PER_SECOND, Resampler
from .sample_queue import SampleQueue, Samples

MAX_QUEUED: Final = 60.0
"""Seconds of samples that may wait in the engine."""

_ROW: Final = np.zeros(1, np.int64)


class PCMSlot:
    """The samples that wait to be played, and those that were just heard."""

    def __init__(self, pcm: int, sample_rate: int, mixer_rate: int, capture: bool) -> None:
        """Rates in Hz, multiples of 50; `capture` sends back what the slot hears. Raises CommandError."""
        self._pcm: Final = pcm
        self._rate: Final = sample_rate
        self._capture: Final = capture
        self._out, self._in = self._converters(sample_rate, mixer_rate)
        self._queue = SampleQueue()
        self._waiting = 0
        self._played = 0
        self._flushed = 0
        self._told = (0, 0)

    @staticmethod
    def _converters(rate: int, mixer_rate: int) -> tuple[Resampler | None, Resampler | None]:
        if rate == mixer_rate:
            return None, None
        try:
            return Resampler(rate, mixer_rate, 1), Resampler(mixer_rate, rate, 1)
        except ValueError as error:
            raise CommandError(str(error)) from error

    @property
    def busy(self) -> bool:
        """Whether the tick has anything to do for it."""
        return self._capture or self._waiting > 0 or self._told != (self._played, self._flushed)

    def write(self, data: bytes) -> None:
        """Queue samples, 16 bits each in the order of this machine. Raises CommandError when too many wait."""
        samples = np.frombuffer(data, np.int16)
        if self._waiting + len(samples) > MAX_QUEUED * self._rate:
            raise CommandError(f"{MAX_QUEUED:g} seconds of samples wait to be played already: write them later")
        self._queue.append(samples)
        self._waiting += len(samples)

    def flush(self) -> None:
        """Throw away what was not played yet."""
        self._flushed += self._waiting
        self._waiting = 0
        self._queue.clear()

    def fill(self, source: Samples) -> None:
        """Put the next 20 ms into the mixer; silence where nothing is left."""
        if self._out is None:
            self._take(source)
        elif self._waiting or source.any():
            frame = np.empty(self._rate // FRAMES_PER_SECOND, np.int16)
            self._take(frame)
            # Of what the filter still holds of flushed samples, 2 ms are heard: an end without a click.
            source[:] = self._out.process(_ROW, frame[np.newaxis])[0]

    def _take(self, frame: Samples) -> None:
        filled = self._queue.take(frame)
        self._played += filled
        self._waiting -= filled

    def report(self, sink: Samples) -> PCMReport | None:
        """Tell the program what was played and heard in this tick; None when there is no news."""
        told = (self._played, self._flushed)
        if not self._capture and told == self._told:
            return None
        self._told = told
        heard = None
        if self._capture:
            frame = sink if self._in is None else self._in.process(_ROW, sink[np.newaxis])[0]
            heard = frame.tobytes()
        return PCMReport(self._pcm, self._played, self._flushed, heard)
