"""Speex (RFC 5574) by libspeex, where the system has it: 8, 16 or 32 kHz, frames of 20 ms."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import numpy as np

from ..errors import CodecUnavailable
from ..libraries import library, why_missing
from .codec import SampleArray, StreamCodec

MODES: Final = {8000: 0, 16000: 1, 32000: 2}
FRAMES_PER_SECOND: Final = 50
MAX_FRAMES: Final = 6
"""Frames of one packet that are decoded; as many as 120 ms have."""
MAX_PAYLOAD: Final = 1200
QUALITY: Final = 8
_SET_QUALITY: Final = 4
_MIN_FRAME_BITS: Final = 5


class _Bits(ctypes.Structure):
    """`SpeexBits` of libspeex 1.x."""

    _fields_ = [
        ("chars", ctypes.c_void_p),
        ("bit_count", ctypes.c_int),
        ("char_position", ctypes.c_int),
        ("bit_position", ctypes.c_int),
        ("owner", ctypes.c_int),
        ("overflow", ctypes.c_int),
        ("size", ctypes.c_int),
        ("reserved1", ctypes.c_int),
        ("reserved2", ctypes.c_void_p),
    ]


@cache
def _speex() -> ctypes.CDLL:
    """Bind libspeex; raises `CodecUnavailable`."""
    speex = library("speex")
    if speex is None:
        raise CodecUnavailable("speex", why_missing("speex") or "")
    integer, pointer, bits = ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_Bits)
    for name, arguments, result in (
        ("speex_lib_get_mode", [integer], pointer),
        ("speex_encoder_init", [pointer], pointer),
        ("speex_encoder_destroy", [pointer], None),
        ("speex_encoder_ctl", [pointer, integer, pointer], integer),
        ("speex_encode_int", [pointer, pointer, bits], integer),
        ("speex_decoder_init", [pointer], pointer),
        ("speex_decoder_destroy", [pointer], None),
        ("speex_decode_int", [pointer, bits, pointer], integer),
        ("speex_bits_init", [bits], None),
        ("speex_bits_destroy", [bits], None),
        ("speex_bits_reset", [bits], None),
        ("speex_bits_insert_terminator", [bits], None),
        ("speex_bits_read_from", [bits, ctypes.c_char_p, integer], None),
        ("speex_bits_remaining", [bits], integer),
        ("speex_bits_write", [bits, pointer, integer], integer),
    ):
        function = getattr(speex, name)
        function.argtypes, function.restype = arguments, result
    return speex


class _Coder:
    def __init__(self, sample_rate: int) -> None:
        self._speex = _speex()
        self._mode = self._speex.speex_lib_get_mode(MODES[sample_rate])
        self._bits = _Bits()
        self._speex.speex_bits_init(self._bits)
        self._frame = sample_rate // FRAMES_PER_SECOND
        self._samples = np.zeros(self._frame, np.int16)
        self._samples_address = self._samples.ctypes.data


class SpeexEncoder(_Coder):
    """Encodes packets of whole frames of 20 ms of one stream."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self._state = self._speex.speex_encoder_init(self._mode)
        self._speex.speex_encoder_ctl(self._state, _SET_QUALITY, ctypes.byref(ctypes.c_int(QUALITY)))
        self._octets = ctypes.create_string_buffer(MAX_PAYLOAD)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._speex.speex_encoder_destroy(self._state)
            self._speex.speex_bits_destroy(self._bits)

    def encode(self, samples: SampleArray) -> bytes:
        self._speex.speex_bits_reset(self._bits)
        for start in range(0, len(samples) - self._frame + 1, self._frame):
            self._samples[:] = samples[start : start + self._frame]
            self._speex.speex_encode_int(self._state, self._samples_address, self._bits)
        # RFC 5574 3.3: what fills the last octet says where the frames end.
        self._speex.speex_bits_insert_terminator(self._bits)
        length = self._speex.speex_bits_write(self._bits, self._octets, MAX_PAYLOAD)
        return self._octets.raw[:length]

    def expect_loss(self, fraction: float) -> None:
        """Do nothing: Speex repeats nothing."""


class SpeexDecoder(_Coder):
    """Decodes the packets of one stream."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self._state = self._speex.speex_decoder_init(self._mode)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._speex.speex_decoder_destroy(self._state)
            self._speex.speex_bits_destroy(self._bits)

    def duration(self, payload: bytes) -> int:
        """Tell the samples of one frame: how many there are shows in the decoding."""
        return self._frame if payload else 0

    def decode(self, payload: bytes) -> SampleArray | None:
        self._speex.speex_bits_read_from(self._bits, payload, len(payload))
        frames: list[SampleArray] = []
        while len(frames) < MAX_FRAMES and self._speex.speex_bits_remaining(self._bits) >= _MIN_FRAME_BITS:
            if self._speex.speex_decode_int(self._state, self._bits, self._samples_address):
                break
            frames.append(np.maximum(self._samples, -32767))
        return np.concatenate(frames) if frames else None

    def conceal(self, length: int) -> SampleArray | None:
        """Leave it to the concealment by waveform."""
        return None

    def recover(self, following: bytes, length: int) -> SampleArray | None:
        """Leave it to the concealment by waveform: nothing is repeated."""
        return None


def speex(sample_rate: int) -> StreamCodec:
    """Make the codec for 8000, 16000 or 32000 Hz; raises `CodecUnavailable`."""
    _speex()
    if sample_rate not in MODES:
        raise CodecUnavailable("speex", f"it is coded at {', '.join(map(str, MODES))} Hz, not at {sample_rate}")
    return StreamCodec(
        "speex", sample_rate, sample_rate, lambda _: SpeexEncoder(sample_rate), lambda _: SpeexDecoder(sample_rate)
    )
