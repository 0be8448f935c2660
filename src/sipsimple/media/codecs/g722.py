"""G.722 at 64 kbit/s (ITU-T G.722, RFC 3551 4.5.2) by `av`: audio of 16 kHz, and an RTP clock of 8000 Hz for ever.

The first use imports `av`, which takes some tenths of a second that no other call may wait for: it is done in a thread
of its own, and until it is there, nothing is sent and silence is heard.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from functools import cache
from typing import Any, Final

import numpy as np

from ..errors import CodecUnavailable
from ..libraries import why_missing
from .codec import SampleArray, StreamCodec

CLOCK_RATE: Final = 8000
SAMPLE_RATE: Final = 16000
SAMPLES_PER_OCTET: Final = 2
IMPORT_TIMEOUT: Final = 10.0


class _Import:
    """The package `av`, once it is there."""

    def __init__(self) -> None:
        self.module: Any = None
        self._thread = threading.Thread(target=self._import, name="media-import-av", daemon=True)
        self._thread.start()

    def _import(self) -> None:
        import av

        self.module = av

    def wait(self) -> None:
        """Wait until it is imported, for at most `IMPORT_TIMEOUT` seconds."""
        self._thread.join(IMPORT_TIMEOUT)


@cache
def _av() -> _Import:
    return _Import()


class G722Encoder:
    """Encodes one stream; an octet for every two samples."""

    def __init__(self) -> None:
        self._import = _av()
        self._context: Any = None

    def encode(self, samples: SampleArray) -> bytes:
        av = self._import.module
        if av is None:
            return b""
        if self._context is None:
            context = self._context = av.CodecContext.create("g722", "w")
            context.sample_rate, context.layout, context.format = SAMPLE_RATE, "mono", "s16"
            context.time_base = Fraction(1, SAMPLE_RATE)
            context.open()
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
        frame.sample_rate = SAMPLE_RATE
        frame.planes[0].update(np.ascontiguousarray(samples))
        return b"".join([bytes(packet) for packet in self._context.encode(frame)])

    def expect_loss(self, fraction: float) -> None:
        """Do nothing: G.722 repeats nothing."""


class G722Decoder:
    """Decodes one stream."""

    def __init__(self) -> None:
        self._import = _av()
        self._context: Any = None

    def duration(self, payload: bytes) -> int:
        return SAMPLES_PER_OCTET * len(payload)

    def decode(self, payload: bytes) -> SampleArray | None:
        av = self._import.module
        if av is None:
            return np.zeros(self.duration(payload), np.int16)
        if self._context is None:
            context = self._context = av.CodecContext.create("g722", "r")
            context.sample_rate, context.layout = SAMPLE_RATE, "mono"
            context.open()
        try:
            frames = self._context.decode(av.Packet(payload))
        except av.FFmpegError:
            return None
        if not frames:
            return None
        parts = [np.frombuffer(frame.planes[0], np.int16, frame.samples) for frame in frames]
        return np.maximum(np.concatenate(parts), -32767)

    def conceal(self, length: int) -> SampleArray | None:
        """Leave it to the concealment by waveform."""
        return None

    def recover(self, following: bytes, length: int) -> SampleArray | None:
        """Leave it to the concealment by waveform: nothing is repeated."""
        return None


def g722() -> StreamCodec:
    """Make the codec; raises `CodecUnavailable`."""
    if reason := why_missing("g722"):
        raise CodecUnavailable("G722", reason)
    _av()
    return StreamCodec("G722", CLOCK_RATE, SAMPLE_RATE, lambda _: G722Encoder(), lambda _: G722Decoder())
