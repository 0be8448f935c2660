"""Samples that wait to be played, in the blocks in which they came."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]


class SampleQueue:
    """One thread may append while another one takes; only appending and taking are for different threads."""

    def __init__(self) -> None:
        self._blocks: deque[Samples] = deque()
        self._at = 0  # where the next sample lies in the first block

    def append(self, block: Samples) -> None:
        """Put samples behind all others."""
        self._blocks.append(block)

    def clear(self) -> None:
        """Forget them all."""
        self._blocks.clear()
        self._at = 0

    def take(self, frame: Samples) -> int:
        """Fill the frame with the next samples, and with silence after the last; return how many there were."""
        filled = 0
        while filled < len(frame) and self._blocks:
            block = self._blocks[0]
            piece = block[self._at : self._at + len(frame) - filled]
            frame[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._at += len(piece)
            if self._at == len(block):
                self._blocks.popleft()
                self._at = 0
        frame[filled:] = 0
        return filled
