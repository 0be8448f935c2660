"""G.711: mu-law and A-law by table (ITU-T G.711, RFC 3551 4.5.14).

The tables are computed from the segment formulas of the recommendation when the module is loaded: 256 samples to
decode, 65536 octets to encode, so that a batch of any shape is coded by one look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
SampleArray = npt.NDArray[np.int16]

_MU_BIAS: Final = 132
_MU_CLIP: Final = 32635
_A_TOGGLE: Final = 0x55  # G.711 3.2: every other bit of A-law is inverted on the wire


class G711:
    """One of the two laws; samples are 16 bit, of which the law keeps 14 (mu) or 13 (A)."""

    clock_rate: Final = 8000
    sample_rate: Final = 8000

    def __init__(self, name: str, decoding: SampleArray, encoding: ByteArray) -> None:
        """`decoding` is indexed by the octet, `encoding` by the sample as an unsigned 16-bit number."""
        self.name: Final = name
        self._decoding = decoding
        self._encoding = encoding

    def configure(self, row: int, parameters: Mapping[str, str]) -> None:
        """Do nothing: no octet depends on the one before it, and nothing can be asked for."""

    def release(self, row: int) -> None:
        """Do nothing: there is nothing of the stream here."""

    def decode(self, rows: IntArray, payloads: ByteArray) -> SampleArray:
        """Decode one sample from each octet; the shape stays."""
        return self._decoding.take(payloads)

    def encode(self, rows: IntArray, samples: SampleArray) -> ByteArray:
        """Encode one octet from each sample; the shape stays."""
        return self._encoding.take(samples.view(np.uint16))


def _segment(magnitude: IntArray) -> IntArray:
    """Number the segments of a logarithmic law: 0 for magnitudes under 256, one more for every doubling."""
    return np.maximum(np.log2(np.maximum(magnitude, 1)).astype(np.int64) - 7, 0)


def mu_law_encoding() -> ByteArray:
    """Compute the octet for every sample, indexed by the sample as an unsigned number (G.711 table 2)."""
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    magnitude = np.minimum(np.abs(samples), _MU_CLIP) + _MU_BIAS
    exponent = _segment(magnitude)
    code = (samples < 0).astype(np.int64) << 7 | exponent << 4 | (magnitude >> exponent + 3) & 0x0F
    return (~code & 0xFF).astype(np.uint8)


def mu_law_decoding() -> SampleArray:
    """Compute the sample for every octet (G.711 table 2)."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + _MU_BIAS << (code >> 4 & 7)) - _MU_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def a_law_encoding() -> ByteArray:
    """Compute the octet for every sample, indexed by the sample as an unsigned number (G.711 table 1)."""
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    magnitude = np.where(samples < 0, ~samples, samples)
    exponent = _segment(magnitude)
    mantissa = magnitude >> np.maximum(exponent + 3, 4) & 0x0F
    code = (samples >= 0).astype(np.int64) << 7 | exponent << 4 | mantissa
    return (code ^ _A_TOGGLE).astype(np.uint8)


def a_law_decoding() -> SampleArray:
    """Compute the sample for every octet (G.711 table 1)."""
    code = np.arange(256) ^ _A_TOGGLE
    exponent = code >> 4 & 7
    linear = ((code & 0x0F) << 4) + 8 + np.where(exponent > 0, 256, 0)
    magnitude = linear << np.maximum(exponent - 1, 0)
    samples: SampleArray = np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
    return samples


PCMU: Final = G711("PCMU", mu_law_decoding(), mu_law_encoding())
PCMA: Final = G711("PCMA", a_law_decoding(), a_law_encoding())
