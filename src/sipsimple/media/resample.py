"""Change of sample rate for many streams at once, by a polyphase FIR filter.

Every rate is a multiple of 50 Hz, so that a frame of 20 ms has a whole number of samples at both rates and every
frame begins at the same phase of the filter. A frame is cut into chunks, and a chunk is turned into output by one
matrix product with the filter laid out as a band matrix: all streams, all phases, all taps in one call.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
SampleArray = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float32]

FRAMES_PER_SECOND: Final = 50

# The filter passes 0.85 of the lower band (3.4 kHz of 4 kHz) and stops at 1.15 of it: 65 dB with 32 taps a phase.
TAPS_PER_PHASE: Final = 32
KAISER_BETA: Final = 6.2
# Shorter chunks multiply fewer zeros of the band matrix, longer ones copy the past less often; best near half of it.
MIN_CHUNK: Final = 32


class Resampler:
    """Frames of 20 ms from one rate to another, with the memory of every stream in a row of its own.

    `rows` are the streams of the frames and must not name a row twice. The delay is half the filter, 2 ms at 8000 Hz.
    """

    def __init__(self, rate_in: int, rate_out: int, capacity: int) -> None:
        """Rates in Hz, multiples of 50; `capacity` is the number of rows. Raises ValueError."""
        if rate_in <= 0 or rate_out <= 0 or rate_in % FRAMES_PER_SECOND or rate_out % FRAMES_PER_SECOND:
            raise ValueError(f"sample rates must be multiples of {FRAMES_PER_SECOND} Hz: {rate_in}, {rate_out}")
        self.rate_in: Final = rate_in
        self.rate_out: Final = rate_out
        self._matrix, self._chunk = _band_matrix(rate_in, rate_out)
        past, width = len(self._matrix) - self._chunk, len(self._matrix)
        self._memory = np.zeros((capacity, past), np.float32)
        # The work space of a single stream, and what is looked at in it.
        size = rate_in // FRAMES_PER_SECOND
        signal = np.zeros(past + size, np.float32)
        self._past, self._new, self._tail = signal[:past], signal[past:], signal[size:]
        step = signal.itemsize
        self._pieces: FloatArray = np.ndarray(
            (size // self._chunk, width), np.float32, signal, 0, (self._chunk * step, step)
        )
        self._output = np.zeros((size // self._chunk, self._matrix.shape[1]), np.float32)

    def reset(self, rows: IntArray) -> None:
        """Forget the past of these rows."""
        self._memory[rows] = 0

    def process(self, rows: IntArray, frames: SampleArray) -> SampleArray:
        """Convert `frames` (n, rate_in / 50) of the streams `rows` into (n, rate_out / 50), saturating."""
        count, size = frames.shape
        if count == 1:
            return self._process_one(int(rows[0]), frames[0])
        past = self._memory.shape[1]
        signal = np.empty((count, past + size), np.float32)
        signal[:, :past] = self._memory[rows]
        signal[:, past:] = frames
        self._memory[rows] = signal[:, size:]
        # What `sliding_window_view` and `np.clip` do; those look at their arguments for longer than one stream's work.
        width, item = past + self._chunk, signal.itemsize
        strides = (signal.strides[0], self._chunk * item, item)
        chunks: FloatArray = np.ndarray((count, size // self._chunk, width), np.float32, signal, 0, strides)
        output = chunks.reshape(-1, width) @ self._matrix
        np.rint(output, out=output)
        np.minimum(output, 32767, out=output)
        np.maximum(output, -32768, out=output)
        return output.astype(np.int16).reshape(count, -1)

    def _process_one(self, row: int, frame: SampleArray) -> SampleArray:
        """Do the same for one stream in half the time, without making arrays on the way."""
        memory, output = self._memory[row], self._output
        self._past[:] = memory
        self._new[:] = frame
        memory[:] = self._tail
        np.matmul(self._pieces, self._matrix, out=output)
        np.rint(output, out=output)
        np.minimum(output, 32767, out=output)
        np.maximum(output, -32768, out=output)
        return output.reshape(1, -1).astype(np.int16)


@lru_cache(maxsize=16)
def _band_matrix(rate_in: int, rate_out: int) -> tuple[FloatArray, int]:
    """Lay the filter out as a matrix (past + chunk, output of a chunk); also returns the chunk, in samples of input."""
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    past = TAPS_PER_PHASE * max(1, ceil(down / up)) - 1
    prototype = _prototype((past + 1) * up, up, max(up, down))
    chunk = _chunk_size(rate_in // FRAMES_PER_SECOND, down, max(MIN_CHUNK, past // 2))
    matrix = np.zeros((past + chunk, chunk * up // down), np.float32)
    for column in range(matrix.shape[1]):
        # Output n lies at input n * down / up: whole samples, and the phase of the filter between two of them.
        newest, phase = divmod(column * down, up)
        taps = prototype[phase::up]
        matrix[newest : newest + past + 1, column] = taps[::-1]
    return matrix, chunk


def _prototype(length: int, up: int, widest: int) -> npt.NDArray[np.float64]:
    """Make the low-pass at `up` times the input rate that both rates need; each phase has a gain of exactly one."""
    centre = (length - 1) / 2
    taps = np.sinc((np.arange(length) - centre) / widest) * np.kaiser(length, KAISER_BETA)
    for phase in range(up):
        taps[phase::up] /= taps[phase::up].sum()
    return taps


def _chunk_size(frame: int, down: int, least: int) -> int:
    """Choose the smallest multiple of `down` that divides the frame and is not under `least`, else the frame."""
    sizes = [size for size in range(down, frame + 1, down) if frame % size == 0 and size >= least]
    return sizes[0] if sizes else frame
