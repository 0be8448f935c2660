"""GSM 06.10 full rate (RFC 3551 4.5.8) by libgsm, where the system has it: 33 octets for every 20 ms."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import numpy as np

from ..errors import CodecUnavailable
from ..libraries import library, why_missing
from .codec import SampleArray, StreamCodec

SAMPLE_RATE: Final = 8000
FRAME: Final = 160
FRAME_OCTETS: Final = 33


@cache
def _gsm() -> ctypes.CDLL:
    """Bind libgsm; raises `CodecUnavailable`."""
    gsm = library("gsm")
    if gsm is None:
        raise CodecUnavailable("GSM", why_missing("GSM") or "")
    pointer = ctypes.c_void_p
    gsm.gsm_create.argtypes, gsm.gsm_create.restype = [], pointer
    gsm.gsm_destroy.argtypes, gsm.gsm_destroy.restype = [pointer], None
    gsm.gsm_encode.argtypes, gsm.gsm_encode.restype = [pointer, pointer, pointer], None
    gsm.gsm_decode.argtypes, gsm.gsm_decode.restype = [pointer, ctypes.c_char_p, pointer], ctypes.c_int
    return gsm


class _Coder:
    def __init__(self) -> None:
        self._gsm = _gsm()
        self._state = self._gsm.gsm_create()
        self._samples = np.zeros(FRAME, np.int16)
        self._samples_address = self._samples.ctypes.data

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._gsm.gsm_destroy(self._state)


class GSMEncoder(_Coder):
    """Encodes packets of whole frames of 20 ms of one stream."""

    def __init__(self) -> None:
        super().__init__()
        self._octets = ctypes.create_string_buffer(FRAME_OCTETS)

    def encode(self, samples: SampleArray) -> bytes:
        frames = []
        for start in range(0, len(samples) - FRAME + 1, FRAME):
            self._samples[:] = samples[start : start + FRAME]
            self._gsm.gsm_encode(self._state, self._samples_address, self._octets)
            frames.append(self._octets.raw)
        return b"".join(frames)

    def expect_loss(self, fraction: float) -> None:
        """Do nothing: GSM repeats nothing."""


class GSMDecoder(_Coder):
    """Decodes the packets of one stream."""

    def duration(self, payload: bytes) -> int:
        return len(payload) // FRAME_OCTETS * FRAME

    def decode(self, payload: bytes) -> SampleArray | None:
        frames = []
        for start in range(0, len(payload) - FRAME_OCTETS + 1, FRAME_OCTETS):
            frame = payload[start : start + FRAME_OCTETS]
            if self._gsm.gsm_decode(self._state, frame, self._samples_address):
                return None
            frames.append(np.maximum(self._samples, -32767))
        return np.concatenate(frames) if frames else None

    def conceal(self, length: int) -> SampleArray | None:
        """Leave it to the concealment by waveform."""
        return None

    def recover(self, following: bytes, length: int) -> SampleArray | None:
        """Leave it to the concealment by waveform: nothing is repeated."""
        return None


def gsm() -> StreamCodec:
    """Make the codec; raises `CodecUnavailable`."""
    _gsm()
    return StreamCodec("GSM", SAMPLE_RATE, SAMPLE_RATE, lambda _: GSMEncoder(), lambda _: GSMDecoder())
