"""What a codec is, and the list of those that are there (RFC 3551 6 for the static payload types).

A codec works on batches: all payloads of one size at once, one row a stream. A codec without state (G.711) ignores
which streams they are; a codec with state keeps one coder a row behind the same methods, made new by `reset`.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import CodecUnavailable
from ..stream import SUPPORTED_CODECS
from .g711 import PCMA, PCMU

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
SampleArray = npt.NDArray[np.int16]


class Codec(Protocol):
    """One audio codec, mono, for all streams that use it.

    Decoded samples stay inside -32767..32767: -32768 marks a missing sample in the jitter buffer.
    """

    @property
    def name(self) -> str:
        """The encoding name of the SDP, in the spelling of its registration."""

    @property
    def payload_type(self) -> int | None:
        """The static RTP payload type, None for a dynamic one."""

    @property
    def clock_rate(self) -> int:
        """The rate that SDP and RTP timestamps speak of, in Hz."""

    @property
    def sample_rate(self) -> int:
        """The rate of the audio; differs from `clock_rate` for G.722 alone (RFC 3551 4.5.2)."""

    def reset(self, row: int) -> None:
        """Forget what the stream in this row was; called when a stream begins to use the codec."""

    def decode(self, rows: IntArray, payloads: ByteArray) -> SampleArray:
        """Decode payloads (n, octets) of the streams `rows` into (n, samples)."""

    def encode(self, rows: IntArray, samples: SampleArray) -> ByteArray:
        """Encode samples (n, samples) of the streams `rows` into (n, octets)."""


CODECS: Final[dict[str, Codec]] = {"PCMU": PCMU, "PCMA": PCMA}
"""The codecs behind `SUPPORTED_CODECS`."""


def codec(name: str) -> Codec:
    """Find a codec by its encoding name, in any case; raises `CodecUnavailable`."""
    try:
        return CODECS[name.upper()]
    except KeyError:
        raise CodecUnavailable(name, f"only {', '.join(SUPPORTED_CODECS)} are known here") from None
