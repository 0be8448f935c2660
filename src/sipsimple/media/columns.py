"""Columns: arrays with a row per stream, worked on for all streams at once, or row by row where there are few.

An array operation costs a few microseconds however short the arrays are, and a tick has two hundred of them. With a
thousand streams that is nothing; with one it is all. Hence two ways through the same columns: arrays for whatever may
happen to many streams, and Python for what usually happens to one (the next packet in order, the next frame without a
hole). The second way says no to anything unusual and leaves it to the first, so that each rule is written once.

A `memoryview` of a column gives and takes single values as Python numbers in a third of the time of an array.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

FEW: Final = 24
"""Up to so many rows are worked on one by one; where the two ways cost the same, measured with PCMU."""

Cells: TypeAlias = "memoryview[Any]"


def cells(column: npt.NDArray[Any]) -> Cells:
    """View a column so that single values are read and written quickly; rows of a wider one follow each other."""
    return column.reshape(-1).data


def one_row(capacity: int) -> list[npt.NDArray[np.int64]]:
    """Make, for each row, the index array that names it alone."""
    return list(np.arange(capacity).reshape(-1, 1))
