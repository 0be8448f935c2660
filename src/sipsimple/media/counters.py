"""Running count, extremes, last value and average of measurements, for all streams at once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .columns import cells

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Extremes:
    """Measurements in microseconds, one row a stream."""

    def __init__(self, capacity: int) -> None:
        self._count: Final = np.zeros(capacity, np.int64)
        self._largest: Final = np.zeros(capacity)
        self._smallest: Final = np.zeros(capacity)
        self._last: Final = np.zeros(capacity)
        self._sum: Final = np.zeros(capacity)
        self._cells: Final = tuple(
            cells(column) for column in (self._count, self._largest, self._smallest, self._last, self._sum)
        )

    def clear(self, row: int) -> None:
        """Forget what was measured."""
        for values in (self._largest, self._smallest, self._last, self._sum):
            values[row] = 0
        self._count[row] = 0

    def add(self, rows: IntArray, values: FloatArray) -> None:
        """Take in one value for each of `rows`, no row twice."""
        self._smallest[rows] = np.where(self._count[rows] == 0, values, np.minimum(self._smallest[rows], values))
        self._largest[rows] = np.maximum(self._largest[rows], values)
        self._count[rows] += 1
        self._last[rows] = values
        self._sum[rows] += values

    def add_one(self, row: int, value: float) -> None:
        """Take in one value, as `add` does."""
        count, largest, smallest, last, total = self._cells
        if not count[row] or value < smallest[row]:
            smallest[row] = value
        largest[row] = max(largest[row], value)
        count[row] += 1
        last[row] = value
        total[row] += value

    def read(self, row: int) -> dict[str, Any]:
        """Return count, max, min, last and avg in whole microseconds; zeros when nothing was measured."""
        count = int(self._count[row])
        return {
            "count": count,
            "max": int(self._largest[row]),
            "min": int(self._smallest[row]),
            "last": int(self._last[row]),
            "avg": int(self._sum[row] / count) if count else 0,
        }
