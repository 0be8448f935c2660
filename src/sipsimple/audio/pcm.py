"""Sound as arrays: the audio port of a voice bot, a recogniser or a synthesiser."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zope.interface import implementer

from sipsimple.audio.port import IAudioPort, slots_changed
from sipsimple.core import AudioMixer
from sipsimple.core.media import SampleSlot
from sipsimple.loop import Result, bound_loop, run_in_loop

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sipsimple.media.commands import PCMReport

    Samples = npt.NDArray[np.int16]

FRAMES_PER_SECOND: Final = 50
MAX_BACKLOG: Final = 250
"""Frames of 20 ms that wait for a reader; the oldest go when there are more."""
MAX_BUFFER: Final = 30.0
"""Seconds of samples that may be written ahead."""


class PortClosed(Exception):
    """The port was stopped, or never started: nothing can be written to it or read from it."""


class _Piece(NamedTuple):
    """Samples that wait for room; the result belongs to the last piece of a `write`."""

    data: bytes
    accepted: Result[None] | None


class _Goal(NamedTuple):
    """A `drain` that waits until so many samples are done with."""

    samples: int
    reached: Result[None]


@implementer(IAudioPort)
class PCMPort:
    """A program's own sound in a bridge: arrays in, arrays out, at a rate that the program chooses.

        port = PCMPort(SIPApplication.voice_audio_mixer, sample_rate=16000)
        port.start()
        stream.bridge.add(port)
        async for frame in port:               # int16, 20 ms each: what the others in the bridge say
            answer = recogniser.feed(frame)
            if answer.interrupts:
                port.flush()                   # barge-in: silence within 20 ms
            await port.write(answer.samples)   # paces itself by `buffer`
        await port.drain()                     # until the last sample was played

    Samples are 16-bit integers, mono, in numpy arrays of one dimension. What was written waits in the media engine, so
    that a program which is busy for a moment is not heard; when nothing waits, the port is silent.
    `write`, `flush` and `drain` are for any thread; reading is for coroutines in the loop of the middleware.
    """

    def __init__(
        self, mixer: AudioMixer, sample_rate: int = 16000, *, capture: bool = True, buffer: float = 2.0
    ) -> None:
        """`sample_rate` in Hz, a multiple of 50; `capture=False` for a port that only speaks.

        `buffer` is how many seconds may be written ahead of what is played, at most 30. Raises ValueError.
        """
        if sample_rate <= 0 or sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"sample_rate must be positive and divisible by {FRAMES_PER_SECOND}: {sample_rate}")
        if not 0 < buffer <= MAX_BUFFER:
            raise ValueError(f"buffer is in seconds, more than 0 and at most {MAX_BUFFER:g}: {buffer}")
        self.mixer = mixer
        self.sample_rate = sample_rate
        self.capture = capture
        self.overruns = 0
        self._room = max(1, int(buffer * sample_rate))
        self._slot: SampleSlot | None = None
        self._heard: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._queue: deque[_Piece] = deque()
        self._goals: deque[_Goal] = deque()
        self._written = 0  # samples handed to the engine
        self._asked = 0  # samples that `write` was given
        self._played = 0
        self._dropped = 0  # samples that were flushed, here and in the engine
        self._flushed_by_engine = 0

    # -- the port -----------------------------------------------------------------------------------------------------

    @property
    def consumer_slot(self) -> int | None:
        """The slot that the program hears, None when it does not listen or is not active."""
        return self._slot.slot if self._slot is not None and self.capture else None

    @property
    def producer_slot(self) -> int | None:
        """The slot that the program speaks from, None when it is not active."""
        return self._slot.slot if self._slot is not None else None

    @property
    def is_active(self) -> bool:
        """True between `start()` and `stop()`."""
        return self._slot is not None

    def start(self) -> None:
        """Take part in the mixer; does nothing when it does. Raises SIPCoreError when no slot is free."""
        if self._slot is not None:
            return
        bound_loop()  # without the middleware there would be nobody to bring the news
        slot = SampleSlot(self.mixer, self._take_report, self._leave)
        slot.start(self.sample_rate, self.capture)
        self._slot = slot
        self._heard.clear()
        self._written = self._asked = self._played = self._dropped = self._flushed_by_engine = 0
        consumer = (None, slot.slot) if self.capture else None
        slots_changed(self, consumer=consumer, producer=(None, slot.slot))

    def stop(self) -> None:
        """Be silent at once and leave the mixer; readers come to the end, writers get `PortClosed`.

        The same happens when the media engine dies; `start` makes the port usable again.
        """
        self._leave("the port was stopped")

    def _leave(self, reason: str) -> None:
        slot, self._slot = self._slot, None
        if slot is None:
            return
        number = slot.last_slot
        slot.stop()
        run_in_loop(self._release, PortClosed(reason))
        consumer = (number, None) if self.capture else None
        slots_changed(self, consumer=consumer, producer=(number, None))

    def _release(self, error: PortClosed) -> None:
        for piece in self._queue:
            if piece.accepted is not None:
                piece.accepted.set_exception(error)
        for goal in self._goals:
            goal.reached.set_exception(error)
        self._queue.clear()
        self._goals.clear()
        self._news.set()

    # -- speaking -----------------------------------------------------------------------------------------------------

    @property
    def played(self) -> int:
        """Samples, at the rate of this port, that have been played since `start()`; 20 ms behind at most."""
        return self._played

    @property
    def pending(self) -> int:
        """Samples that were written and are neither played nor flushed."""
        return self._asked - self._played - self._dropped

    def write(self, samples: Any) -> Result[None]:
        """Play samples after those that were written before; the result is settled when the last one has room.

        `samples` is an array of int16, or of floats between -1 and 1, which are scaled and clipped; bytes are int16 in
        the order of this machine. Flushing settles it as well. Raises PortClosed, TypeError, ValueError.
        """
        if self._slot is None:
            raise PortClosed("the port is not active: start it before you write to it")
        data = _as_bytes(samples)
        accepted: Result[None] = Result()
        run_in_loop(self._enqueue, data, accepted)
        return accepted

    def _enqueue(self, data: bytes, accepted: Result[None]) -> None:
        if self._slot is None:
            accepted.set_exception(PortClosed("the port was stopped"))
            return
        self._asked += len(data) // 2
        step = 2 * self._room
        pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
        self._queue.extend(_Piece(piece, None) for piece in pieces[:-1])
        self._queue.append(_Piece(pieces[-1], accepted))
        self._feed()

    def _feed(self) -> None:
        """Hand on what there is room for."""
        slot = self._slot
        while self._queue and slot is not None:
            room = self._room - (self._written - self._played - self._flushed_by_engine)
            piece = self._queue[0]
            now, later = piece.data[: 2 * room], piece.data[2 * room :]
            if room <= 0 and piece.data:
                return
            if now:
                slot.write(now)
                self._written += len(now) // 2
            if later:
                self._queue[0] = _Piece(later, piece.accepted)
                return
            self._queue.popleft()
            if piece.accepted is not None:
                piece.accepted.set_result(None)

    def flush(self) -> None:
        """Throw away everything that was written and not played: silence within 20 ms (barge-in)."""
        run_in_loop(self._flush)

    def _flush(self) -> None:
        for piece in self._queue:
            self._dropped += len(piece.data) // 2
            if piece.accepted is not None:
                piece.accepted.set_result(None)
        self._queue.clear()
        slot = self._slot
        if slot is not None:
            slot.flush()
        self._reach_goals()

    def drain(self) -> Result[None]:
        """Wait until all that was written so far is played or flushed. Fails with PortClosed when stopped before."""
        reached: Result[None] = Result()
        run_in_loop(self._add_goal, reached)
        return reached

    def _add_goal(self, reached: Result[None]) -> None:
        self._goals.append(_Goal(self._asked, reached))
        self._reach_goals()

    def _reach_goals(self) -> None:
        while self._goals and self._played + self._dropped >= self._goals[0].samples:
            self._goals.popleft().reached.set_result(None)

    # -- hearing ------------------------------------------------------------------------------------------------------

    async def read(self) -> Samples:
        """Wait for the next 20 ms of what the others say: an int16 array of `sample_rate / 50` samples.

        A reader that is more than five seconds behind loses the oldest frames, which `overruns` counts.
        Raises PortClosed after `stop()`, once all that was heard is read.
        """
        import numpy as np

        while not self._heard:
            if self._slot is None:
                raise PortClosed("the port is not active: there is nothing to read")
            self._news.clear()
            await self._news.wait()
        return np.frombuffer(self._heard.popleft(), np.int16)

    async def __aiter__(self) -> AsyncIterator[Samples]:
        """The frames of `read`, until the port is stopped."""
        while True:
            try:
                frame = await self.read()
            except PortClosed:
                return
            yield frame

    def _take_report(self, report: PCMReport) -> None:
        if self._slot is None:
            return
        self._played = report.played
        self._dropped += report.flushed - self._flushed_by_engine
        self._flushed_by_engine = report.flushed
        if report.heard is not None:
            if len(self._heard) == MAX_BACKLOG:
                self._heard.popleft()
                self.overruns += 1
            self._heard.append(report.heard)
            self._news.set()
        self._feed()
        self._reach_goals()


def _as_bytes(samples: Any) -> bytes:
    """The samples as int16 in the order of this machine."""
    import numpy as np

    if isinstance(samples, bytes | bytearray | memoryview):
        data = bytes(samples)
        if len(data) % 2:
            raise ValueError(f"{len(data)} bytes are no whole number of 16-bit samples")
        return data
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(f"samples are mono, an array of one dimension, not of shape {array.shape}")
    if array.dtype.kind == "f":
        array = np.clip(np.rint(array * 32767.0), -32768, 32767)
    elif array.dtype != np.int16:
        raise TypeError(f"samples are int16, or floats between -1 and 1, not {array.dtype}")
    return array.astype(np.int16).tobytes()
