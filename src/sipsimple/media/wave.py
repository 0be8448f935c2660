"""WAV files, read and written a block at a time (RIFF WAVE; formats 1, 3, 6, 7 and WAVE_FORMAT_EXTENSIBLE around them).

The reader gives int16 mono: channels are averaged, other sample sizes converted. A `RateConverter` brings it to the
mixer's rate. The writer makes 16-bit PCM whose header is true after every block, so that a recording that was cut
off by a crash can be played. Everything here blocks; `files` keeps it away from the tick.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from .codecs.g711 import PCMA, PCMU
from .errors import RecordingError, WaveFileUnreadable, WaveFormatError
from .resample import FRAMES_PER_SECOND, Resampler

Samples = npt.NDArray[np.int16]

PCM: Final = 1
IEEE_FLOAT: Final = 3
A_LAW: Final = 6
MU_LAW: Final = 7
EXTENSIBLE: Final = 0xFFFE

MAX_CHANNELS: Final = 32
MIN_SAMPLE_RATE: Final = 1_000
MAX_SAMPLE_RATE: Final = 384_000
MAX_FORMAT_CHUNK: Final = 1_024
MAX_CHUNKS_BEFORE_DATA: Final = 64
# The sizes in the header have 32 bits; 64 KiB are left for the header and the last block.
MAX_DATA_SIZE: Final = 2**32 - 2**16
# A ratio of rates with larger numbers is rounded, which shifts the pitch by less than 0.001 percent.
MAX_RATIO_TERM: Final = 500
HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")

_FORMAT: Final = struct.Struct("<HHIIHH")
_CHUNK: Final = struct.Struct("<4sI")
_DECODED: Final = {
    *((PCM, bits) for bits in (8, 16, 24, 32)),
    *((IEEE_FLOAT, bits) for bits in (32, 64)),
    (A_LAW, 8),
    (MU_LAW, 8),
}
_FIRST_ROW: Final = np.zeros(1, np.int64)


class WaveReader:
    """A WAV file as int16 mono samples at its own rate."""

    def __init__(self, path: str) -> None:
        """Open the file and read up to its first sample. Raises WaveFileUnreadable and WaveFormatError."""
        self.path = path
        try:
            if Path(path).exists() and not Path(path).is_file():
                raise WaveFileUnreadable(path, "is no file: choose a WAV file")
            self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - closed by close()
        except (OSError, ValueError) as error:
            raise WaveFileUnreadable(path, f"cannot be opened: {_reason(error)}") from error
        try:
            self._read_header()
        except OSError as error:
            self.close()
            raise WaveFileUnreadable(path, f"cannot be read: {_reason(error)}") from error
        except WaveFormatError:
            self.close()
            raise

    def _read_header(self) -> None:
        start = self._file.read(12)
        if start[:4] in (b"RF64", b"RIFX", b"riff"):
            raise WaveFormatError(self.path, f"is a {start[:4].decode()} file: convert it to a plain WAV file")
        if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
            raise WaveFormatError(self.path, "is not a WAV file: convert it to WAV, 16-bit PCM")
        format = b""
        for _ in range(MAX_CHUNKS_BEFORE_DATA):
            name, size = self._read_chunk_header()
            padding = size & 1
            if name == b"data":
                self._set_format(format)
                # A file that was written as a stream says 0 or the largest size: then the data go to the end.
                self._left = size if 0 < size < 2**32 - 1 else None
                return
            if name == b"fmt ":
                format = self._file.read(min(size, MAX_FORMAT_CHUNK))
                size -= len(format)
            self._file.seek(size + padding, 1)
        raise WaveFormatError(self.path, f"has no sound in its first {MAX_CHUNKS_BEFORE_DATA} chunks: it is damaged")

    def _read_chunk_header(self) -> tuple[bytes, int]:
        header = self._file.read(_CHUNK.size)
        if len(header) < _CHUNK.size:
            raise WaveFormatError(self.path, "ends before its sound begins: it is cut off or damaged")
        name, size = _CHUNK.unpack(header)
        return name, size

    def _set_format(self, format: bytes) -> None:
        if len(format) < _FORMAT.size:
            raise WaveFormatError(self.path, "does not describe its encoding: it is damaged")
        self._encoding, self._channels, self.sample_rate, _, _, self._bits = _FORMAT.unpack(format[: _FORMAT.size])
        if self._encoding == EXTENSIBLE and len(format) >= 26:
            (self._encoding,) = struct.unpack("<H", format[24:26])
        if (self._encoding, self._bits) not in _DECODED:
            encoding = f"encoding {self._encoding} with {self._bits} bits"
            raise WaveFormatError(self.path, f"has {encoding}, which is not decoded: convert it to 16-bit PCM")
        if not 0 < self._channels <= MAX_CHANNELS:
            raise WaveFormatError(self.path, f"has {self._channels} channels: convert it to 1 or 2")
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise WaveFormatError(self.path, f"has a sample rate of {self.sample_rate} Hz: convert it to 8000 to 48000")
        self._frame_bytes = self._channels * self._bits // 8

    def read(self, count: int) -> Samples:
        """Read up to `count` samples; none at the end. Raises WaveFileUnreadable."""
        wanted = count * self._frame_bytes
        if self._left is not None:
            wanted = min(wanted, self._left)
        try:
            data = self._file.read(wanted)
        except OSError as error:
            raise WaveFileUnreadable(self.path, f"cannot be read: {_reason(error)}") from error
        if self._left is not None:
            self._left -= len(data)
        whole = len(data) - len(data) % self._frame_bytes
        samples: Samples = self._to_mono(self._decode(data[:whole]))
        return samples

    def _decode(self, data: bytes) -> Any:
        match self._encoding, self._bits:
            case 1, 8:
                return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8
            case 1, 16:
                return np.frombuffer(data, "<i2").astype(np.int16)
            case 1, 24:
                # The two upper bytes are the 16-bit sample.
                upper = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, 1:]
                return np.ascontiguousarray(upper).view("<i2").astype(np.int16).reshape(-1)
            case 1, _:
                return np.right_shift(np.frombuffer(data, "<i4"), 16).astype(np.int16)
            case 3, bits:
                values = np.nan_to_num(np.frombuffer(data, "<f4" if bits == 32 else "<f8"))
                return np.rint(np.clip(values, -1, 1) * 32_767).astype(np.int16)
            case law, _:
                return (PCMU if law == MU_LAW else PCMA).decode(_FIRST_ROW, np.frombuffer(data, np.uint8))

    def _to_mono(self, samples: Samples) -> Any:
        if self._channels == 1:
            return samples
        channels = samples.reshape(-1, self._channels).astype(np.int32)
        return np.floor_divide(channels.sum(axis=1), self._channels).astype(np.int16)

    def close(self) -> None:
        self._file.close()


class RateConverter:
    """A stream of samples from one rate to another; the lengths of its blocks are free."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._converter: Resampler | None = None
        self._rest: Samples = np.zeros(0, np.int16)
        if rate_in != rate_out:
            ratio = Fraction(rate_out, rate_in).limit_denominator(MAX_RATIO_TERM)
            # Only the ratio matters to the filter: a frame may be any number of terms, and 400 samples are efficient.
            terms = max(1, 400 // ratio.denominator)
            self._frame = ratio.denominator * terms
            per_second = FRAMES_PER_SECOND * terms
            self._converter = Resampler(ratio.denominator * per_second, ratio.numerator * per_second, capacity=1)

    def convert(self, samples: Samples) -> Samples:
        """Convert as many whole frames as there are; the rest waits for the next call."""
        if self._converter is None:
            return samples
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) - len(samples) % self._frame
        self._rest = samples[whole:]
        blocks = [
            self._converter.process(_FIRST_ROW, samples[start : start + self._frame].reshape(1, -1))[0]
            for start in range(0, whole, self._frame)
        ]
        return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)

    def flush(self) -> Samples:
        """Convert what waits, with silence after it."""
        if self._converter is None:
            return np.zeros(0, np.int16)
        padding = -len(self._rest) % self._frame
        return self.convert(np.zeros(padding, np.int16))


class WaveWriter:
    """A WAV file of 16-bit PCM; the samples of several channels are interleaved."""

    def __init__(self, path: str, sample_rate: int, channels: int = 1) -> None:
        """Create the file, replacing an older one. Raises RecordingError."""
        self.path = path
        self.sample_rate = sample_rate
        self._channels = channels
        self._size = 0
        try:
            self._file: BinaryIO = Path(path).open("wb", buffering=0)  # noqa: SIM115 - closed by close()
            self._write_header()
        except (OSError, ValueError) as error:
            raise RecordingError(path, f"cannot be created: {_reason(error)}") from error

    @property
    def sample_count(self) -> int:
        """How many samples there are, of all channels together."""
        return self._size // 2

    def write(self, samples: Samples) -> None:
        """Append the samples, then make the header true. Raises RecordingError, and keeps what was written before."""
        data = samples.astype("<i2", copy=False).tobytes()
        if self._size + len(data) > MAX_DATA_SIZE:
            raise RecordingError(self.path, "has reached 4 GiB, the most that a WAV file can hold: start another one")
        try:
            self._write_all(data)
            self._size += len(data)
            self._write_header()
        except OSError as error:
            raise RecordingError(self.path, f"cannot be written: {_reason(error)}") from error

    def _write_header(self) -> None:
        sizes = HEADER.size - 8 + self._size, self._size
        width = 2 * self._channels
        format = (16, PCM, self._channels, self.sample_rate, self.sample_rate * width, width, 16)
        header = HEADER.pack(b"RIFF", sizes[0], b"WAVE", b"fmt ", *format, b"data", sizes[1])
        self._file.seek(0)
        self._write_all(header)
        self._file.seek(HEADER.size + self._size)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        """Close the file. Raises RecordingError."""
        try:
            self._file.close()
        except OSError as error:
            raise RecordingError(self.path, f"cannot be closed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
