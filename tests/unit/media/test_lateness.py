"""How late ticks are."""

from __future__ import annotations

import pytest

from sipsimple.media.lateness import STEP, STEPS, Lateness, percentile


def test_a_percentile_is_the_end_of_its_step():
    lateness = Lateness()
    for _ in range(999):
        lateness.add(0.0012)
    lateness.add(0.0301)
    assert sum(lateness.counts) == 1000
    assert percentile(lateness.counts, 50) == pytest.approx(0.0015)
    assert percentile(lateness.counts, 99.9) == pytest.approx(0.0015)
    assert percentile(lateness.counts, 100) == pytest.approx(0.0305)


def test_what_is_out_of_bounds_is_counted_at_the_ends():
    lateness = Lateness()
    lateness.add(-0.001)
    lateness.add(1e6)
    assert (lateness.counts[0], lateness.counts[-1]) == (1, 1)
    assert percentile(lateness.counts, 100) == pytest.approx(STEP * STEPS)


def test_no_ticks_are_not_late():
    assert percentile(Lateness().counts, 99.9) == 0
