"""Which bytes of a message have come, when its parts may come in any order and more than once (RFC 4975 7.3.1)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

__all__ = ["MAX_GAPS", "Coverage"]

MAX_GAPS: Final = 256
"""Separate stretches that are remembered; in practice there is one, which grows."""


class Coverage:
    """A set of positions, kept as stretches `[start, end)` that do not touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> bool:
        """Add the positions from `start` up to `end`; False when that would make too many separate stretches."""
        if start >= end:
            return True
        if self._ends and start == self._ends[-1]:
            self._ends[-1] = end
            return True
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first == last and len(self._starts) >= MAX_GAPS:
            return False
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return True

    def contains(self, start: int, end: int) -> bool:
        """Whether all positions from `start` up to `end` were added."""
        if start >= end:
            return True
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and self._ends[index] >= end

    def end_of(self, start: int) -> int:
        """Where the stretch that holds `start` ends; `start` itself when it was not added."""
        index = bisect_right(self._starts, start) - 1
        return max(start, self._ends[index]) if index >= 0 else start

    @property
    def count(self) -> int:
        """How many positions were added."""
        return sum(self._ends) - sum(self._starts)
