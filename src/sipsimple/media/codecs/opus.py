"""Opus (RFC 6716, RTP payload RFC 7587) by libopus, which is called through ctypes.

The RTP clock is 48000 Hz whatever is coded (RFC 7587 4.1); libopus codes at 8, 12, 16, 24 or 48 kHz, so that it runs
at the rate of the mixer and nothing has to be resampled. Packets that were lost are had from the next one, which
repeats them when the sender enabled FEC (RFC 6716 2.1.7), and else are made up by the decoder.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

import numpy as np

from ..errors import CodecUnavailable
from ..libraries import library, why_missing
from .codec import Parameters, SampleArray, StreamCodec

CLOCK_RATE: Final = 48000
RATES: Final = (8000, 12000, 16000, 24000, 48000)
MAX_PACKET_SECONDS: Final = 0.12
MAX_PAYLOAD: Final = 1275
"""Octets of one frame (RFC 6716 3.4); nothing that we encode has more than one, or comes near it."""
BITRATES: Final = {8000: 16000, 12000: 20000, 16000: 28000, 24000: 32000, 48000: 48000}
"""Bits per second for speech at each rate, from the middle of what RFC 7587 3.1.1 recommends."""
MIN_BITRATE, MAX_BITRATE = 6000, 510000
COMPLEXITY: Final = 9
"""Of 10; measured, 5 would save a tenth of the time."""
FIRST_EXPECTED_LOSS: Final = 0.05
"""Before the remote reports anything: enough to have the encoder repeat what matters."""
MAX_CONCEALED_SECONDS: Final = 0.5

_VOIP: Final = 2048
_SET_BITRATE, _SET_MAX_BANDWIDTH, _SET_VBR, _SET_COMPLEXITY = 4002, 4004, 4006, 4010
_SET_INBAND_FEC, _SET_PACKET_LOSS, _SET_DTX = 4012, 4014, 4016
_BANDWIDTHS: Final = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104), (48000, 1105))
_DTX_OCTETS: Final = 2
"""A packet up to this long says nothing but that there is silence (opus_encode)."""


class _Library:
    """The functions of libopus that are used here."""

    def __init__(self, opus: ctypes.CDLL) -> None:
        integer, pointer = ctypes.c_int, ctypes.c_void_p
        self.encoder_create = opus.opus_encoder_create
        self.encoder_create.argtypes = [integer, integer, integer, ctypes.POINTER(integer)]
        self.encoder_create.restype = pointer
        self.encoder_destroy = opus.opus_encoder_destroy
        self.encoder_destroy.argtypes, self.encoder_destroy.restype = [pointer], None
        self.encode = opus.opus_encode
        self.encode.argtypes, self.encode.restype = [pointer, pointer, integer, pointer, ctypes.c_int32], ctypes.c_int32
        # Variadic: only what comes before the dots has a type, and the calling convention may depend on that.
        self.encoder_ctl = opus.opus_encoder_ctl
        self.encoder_ctl.argtypes, self.encoder_ctl.restype = [pointer, integer], integer
        self.decoder_create = opus.opus_decoder_create
        self.decoder_create.argtypes = [integer, integer, ctypes.POINTER(integer)]
        self.decoder_create.restype = pointer
        self.decoder_destroy = opus.opus_decoder_destroy
        self.decoder_destroy.argtypes, self.decoder_destroy.restype = [pointer], None
        self.decode = opus.opus_decode
        self.decode.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, integer, integer]
        self.decode.restype = integer
        self.samples = opus.opus_packet_get_nb_samples
        self.samples.argtypes, self.samples.restype = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32], integer


@cache
def _opus() -> _Library:
    """Bind libopus; raises `CodecUnavailable`."""
    opened = library("opus")
    if opened is None:
        raise CodecUnavailable("opus", why_missing("opus") or "")
    return _Library(opened)


def rate_for(mixer_rate: int) -> int:
    """Choose the rate to code at: the mixer's, or the next one above it."""
    return next((rate for rate in RATES if rate >= mixer_rate), RATES[-1])


class OpusEncoder:
    """Encodes packets of 10, 20, 40 or 60 ms of one stream."""

    def __init__(self, sample_rate: int, parameters: Parameters) -> None:
        """`parameters` are those of RFC 7587 6.1 by which the remote says what it wants to receive."""
        self._lib = _opus()
        self._state = self._lib.encoder_create(sample_rate, 1, _VOIP, None)
        self._input = np.zeros(int(sample_rate * MAX_PACKET_SECONDS), np.int16)
        self._input_address = self._input.ctypes.data
        self._output = ctypes.create_string_buffer(MAX_PAYLOAD)
        self._output_address = ctypes.addressof(self._output)
        self._fec = parameters.get("useinbandfec") == "1"
        self._dtx = parameters.get("usedtx") == "1"
        self._loss = FIRST_EXPECTED_LOSS
        wanted = _number(parameters, "maxaveragebitrate", MAX_BITRATE)
        self._set(_SET_BITRATE, max(MIN_BITRATE, min(BITRATES[sample_rate], wanted)))
        playback = _number(parameters, "maxplaybackrate", CLOCK_RATE)
        bandwidth = next((width for rate, width in _BANDWIDTHS if rate >= playback), _BANDWIDTHS[-1][1])
        self._set(_SET_MAX_BANDWIDTH, bandwidth)
        self._set(_SET_VBR, int(parameters.get("cbr") != "1"))
        self._set(_SET_COMPLEXITY, COMPLEXITY)
        self._set(_SET_INBAND_FEC, int(self._fec))
        self._set(_SET_DTX, int(self._dtx))
        self._announce_loss()

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._lib.encoder_destroy(self._state)

    def encode(self, samples: SampleArray) -> bytes:
        size = len(samples)
        self._input[:size] = samples
        length = self._lib.encode(self._state, self._input_address, size, self._output_address, MAX_PAYLOAD)
        if length <= 0 or (self._dtx and length <= _DTX_OCTETS):
            return b""
        return ctypes.string_at(self._output_address, length)

    def expect_loss(self, fraction: float) -> None:
        # A loss is believed at once and forgotten slowly, as a report covers seconds and the next burst comes.
        self._loss = max(fraction, self._loss * 0.8 + fraction * 0.2)
        self._announce_loss()

    def _announce_loss(self) -> None:
        self._set(_SET_PACKET_LOSS, round(100 * min(self._loss, 1.0)) if self._fec else 0)

    def _set(self, request: int, value: int) -> None:
        self._lib.encoder_ctl(self._state, request, ctypes.c_int32(value))


class OpusDecoder:
    """Decodes the packets of one stream, mono or stereo, of any mode, bandwidth and duration, to mono."""

    def __init__(self, sample_rate: int) -> None:
        self._lib = _opus()
        self._rate = sample_rate
        self._state = self._lib.decoder_create(sample_rate, 1, None)
        self._step = sample_rate // 400  # 2.5 ms, of which everything is a multiple
        self._longest = int(sample_rate * MAX_PACKET_SECONDS)
        self._output = np.zeros(self._longest, np.int16)
        self._output_address = self._output.ctypes.data
        self._concealed = 0

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._lib.decoder_destroy(self._state)

    def duration(self, payload: bytes) -> int:
        return max(int(self._lib.samples(payload, len(payload), self._rate)), 0)

    def decode(self, payload: bytes) -> SampleArray | None:
        decoded = self._run(payload, len(payload), self._longest, fec=0)
        if decoded is not None:
            self._concealed = 0
        return decoded

    def conceal(self, length: int) -> SampleArray | None:
        if self._concealed > MAX_CONCEALED_SECONDS * self._rate:
            return None
        self._concealed += length
        return self._run(None, 0, self._whole(length), fec=0)

    def recover(self, following: bytes, length: int) -> SampleArray | None:
        # Where nothing is repeated, libopus conceals instead.
        return self._run(following, len(following), self._whole(length), fec=1)

    def _whole(self, length: int) -> int:
        return max(min(length // self._step * self._step, self._longest), self._step)

    def _run(self, payload: bytes | None, size: int, length: int, *, fec: int) -> SampleArray | None:
        count = self._lib.decode(self._state, payload, size, self._output_address, length, fec)
        if count <= 0:
            return None
        return np.maximum(self._output[:count], -32767)


def opus(mixer_rate: int) -> StreamCodec:
    """Make the codec for streams of a mixer; raises `CodecUnavailable`."""
    _opus()
    rate = rate_for(mixer_rate)
    return StreamCodec(
        "opus", CLOCK_RATE, rate, lambda parameters: OpusEncoder(rate, parameters), lambda _: OpusDecoder(rate)
    )


def _number(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 8 else default
