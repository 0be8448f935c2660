"""What a codec is: one that works on batches, or one with a coder for each stream (RFC 3551 4.5).

G.711 has no memory: all payloads of one size are coded at once, whichever streams they are of, and in any order. Most
codecs do have one. Those are kept by `StreamCodec`, an encoder and a decoder for each row, and their packets have to be
decoded in order, which `waiting` sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
SampleArray = npt.NDArray[np.int16]

Parameters = Mapping[str, str]
"""What the remote said of a format in its `fmtp` line, names in lower case."""


class BatchCodec(Protocol):
    """One audio codec without memory, mono.

    Decoded samples stay inside -32767..32767: -32768 marks a missing sample in the jitter buffer.
    """

    @property
    def name(self) -> str:
        """The encoding name of the SDP, in the spelling of its registration."""

    @property
    def clock_rate(self) -> int:
        """The rate that SDP and RTP timestamps speak of, in Hz."""

    @property
    def sample_rate(self) -> int:
        """The rate of the audio here: differs from `clock_rate` for G.722 (RFC 3551 4.5.2) and Opus (RFC 7587 4.1)."""

    def configure(self, row: int, parameters: Parameters) -> None:
        """Begin a stream in this row, with what the remote asked for; forget what was there."""

    def release(self, row: int) -> None:
        """End the stream in this row."""

    def decode(self, rows: IntArray, payloads: ByteArray) -> SampleArray:
        """Decode payloads (n, octets) of the streams `rows` into (n, samples)."""

    def encode(self, rows: IntArray, samples: SampleArray) -> ByteArray:
        """Encode samples (n, samples) of the streams `rows` into (n, octets)."""


class Encoder(Protocol):
    """The sending half of a codec for one stream."""

    def encode(self, samples: SampleArray) -> bytes:
        """Encode the samples of one packet; empty when nothing has to be sent for them."""

    def expect_loss(self, fraction: float) -> None:
        """Prepare for this share of the packets, 0 to 1, to be lost."""


class Decoder(Protocol):
    """The receiving half of a codec for one stream; samples stay inside -32767..32767."""

    def duration(self, payload: bytes) -> int:
        """Tell how many samples the payload decodes to; 0 for one that is malformed."""

    def decode(self, payload: bytes) -> SampleArray | None:
        """Decode a payload; None for one that is malformed."""

    def conceal(self, length: int) -> SampleArray | None:
        """Make up for `length` samples that are missing; None when the codec cannot."""

    def recover(self, following: bytes, length: int) -> SampleArray | None:
        """Get the `length` samples before the payload `following` out of what it repeats; None when it cannot."""


class StreamCodec:
    """A codec with memory: an encoder and a decoder for each row."""

    def __init__(
        self,
        name: str,
        clock_rate: int,
        sample_rate: int,
        encoder: Callable[[Parameters], Encoder],
        decoder: Callable[[Parameters], Decoder],
    ) -> None:
        self.name: Final = name
        self.clock_rate: Final = clock_rate
        self.sample_rate: Final = sample_rate
        self._make_encoder = encoder
        self._make_decoder = decoder
        self._encoders: Final[dict[int, Encoder]] = {}
        self._decoders: Final[dict[int, Decoder]] = {}

    def configure(self, row: int, parameters: Parameters) -> None:
        self._encoders[row] = self._make_encoder(parameters)
        self._decoders[row] = self._make_decoder(parameters)

    def release(self, row: int) -> None:
        self._encoders.pop(row, None)
        self._decoders.pop(row, None)

    def decoder(self, row: int) -> Decoder:
        """The decoder of a stream that was configured."""
        return self._decoders[row]

    def encode(self, rows: IntArray, samples: SampleArray) -> list[bytes]:
        """Encode samples (n, samples) of the streams `rows` into payloads; an empty one is not sent."""
        encoders = self._encoders
        return [encoders[row].encode(frame) for row, frame in zip(rows.tolist(), samples, strict=True)]

    def expect_loss(self, row: int, fraction: float) -> None:
        """Prepare the encoder of a stream for this share of its packets to be lost."""
        self._encoders[row].expect_loss(fraction)


Codec: TypeAlias = BatchCodec | StreamCodec
