"""How late the ticks of an engine are, counted in steps of half a millisecond: any share of them can be asked for.

The counts only grow. Those of a time are the difference of two looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

STEP: Final = 0.0005
"""Seconds that ticks of one count differ by at most."""
STEPS: Final = 200
"""Counts that there are; the last one is of all that are later still."""


class Lateness:
    """The counts of one engine."""

    def __init__(self) -> None:
        self._counts: Final = [0] * STEPS

    @property
    def counts(self) -> tuple[int, ...]:
        """How many ticks were late by how many steps."""
        return tuple(self._counts)

    def add(self, seconds: float) -> None:
        """Count one tick that was this late."""
        self._counts[min(max(int(seconds / STEP), 0), STEPS - 1)] += 1


def percentile(counts: Sequence[int], percent: float) -> float:
    """Tell by how many seconds at most this percentage of the ticks were late; to the step, 0 when there were none."""
    wanted = percent * sum(counts) / 100
    reached = 0
    for step, count in enumerate(counts):
        reached += count
        if reached >= wanted and reached:
            return (step + 1) * STEP
    return 0.0
